//! Online schema changes as gh-ost and pt-online-schema-change make them: a ghost table is filled while
//! rows go into the original, then both change names in one statement.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result, ensure};
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Error};

use super::{compare_database, last_gtid, marked_statements, way_past};
use crate::harness::{Pair, number, stop};

/// Times that each tool changes its table.
const ROUNDS: u32 = 3;
/// Rows that are there before.
const ROWS: u64 = 2_000;
/// Rows per chunk of the copy.
const CHUNK: u64 = 400;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn online_schema_changes_are_carried_under_load() -> Result<()> {
    let pair = Pair::start().await?;
    let pipeline = pair
        .pipeline(
            "swaps",
            &[
                "CREATE TABLE gh (id INT PRIMARY KEY, v VARCHAR(40))",
                "CREATE TABLE pt (id INT PRIMARY KEY, v VARCHAR(40))",
            ],
        )
        .await?;
    let (mut source, mut sink) = pair.conns().await?;
    let process = pipeline.run()?;
    source.query_drop("USE swaps").await?;
    source
        .query_drop("SET cte_max_recursion_depth = 100000")
        .await?;
    for table in ["gh", "pt"] {
        source
            .query_drop(format!(
                "INSERT INTO {table} WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS}) \
                 SELECT i, CONCAT('row ', i) FROM n"
            ))
            .await?;
    }
    let goes_on = Arc::new(AtomicBool::new(true));
    let mut writers = Vec::new();
    for table in ["gh", "pt"] {
        let (mut conn, goes_on) = (pair.source.conn().await?, Arc::clone(&goes_on));
        writers.push(tokio::spawn(async move {
            write(&mut conn, table, &goes_on).await
        }));
    }
    for round in 1..=ROUNDS {
        gh_ost(&pair, &mut source, round).await.context("gh-ost")?;
        pt_osc(&mut source, round).await.context("pt-osc")?;
    }
    goes_on.store(false, Ordering::Relaxed);
    let mut written = 0;
    for writer in writers {
        written += writer.await??;
    }
    pipeline.caught_up(&process, &mut source, &mut sink).await?;
    stop(&process).await?;
    ensure!(
        written > 100,
        "only {written} statements beside the changes"
    );
    compare_database(&mut source, &mut sink, "swaps").await?;
    ensure!(number(&mut sink, "SELECT COUNT(*) FROM swaps.gh WHERE c3 = 3").await? > ROWS / 2);
    let ran = marked_statements(&mut sink).await?;
    ensure!(ran.values().all(|times| *times == 1), "not once: {ran:?}");
    ensure!(ran.len() as u32 == 2 * ROUNDS, "{ran:?}");

    ghost_outside(&pair).await
}

async fn write(conn: &mut Conn, table: &str, goes_on: &AtomicBool) -> Result<u64> {
    let mut done = 0;
    conn.query_drop("USE swaps").await?;
    while goes_on.load(Ordering::Relaxed) {
        let (old, new) = (done % ROWS + 1, 100_000 + done);
        for statement in [
            format!("UPDATE {table} SET v = CONCAT('w', {done}) WHERE id = {old}"),
            format!("INSERT INTO {table} (id, v) VALUES ({new}, 'new')"),
            format!("DELETE FROM {table} WHERE id = {new} - 5"),
        ] {
            match conn.query_drop(&statement).await {
                Ok(()) => {}
                // Deadlock with the copy: as an application does, it goes on.
                Err(Error::Server(error)) if error.code == 1213 => {}
                Err(error) => return Err(error).context(statement),
            }
        }
        done += 1;
    }
    Ok(done)
}

async fn copy(source: &mut Conn, from: &str, to: &str) -> Result<()> {
    let mut low = 0;
    while low < ROWS {
        let chunk = format!(
            "INSERT IGNORE INTO {to} (id, v) SELECT id, v FROM {from} WHERE id > {low} AND id <= {low} + {CHUNK} \
             LOCK IN SHARE MODE"
        );
        match source.query_drop(&chunk).await {
            Ok(()) => low += CHUNK,
            Err(Error::Server(error)) if error.code == 1213 => {}
            Err(error) => return Err(error).context(chunk),
        }
    }
    Ok(())
}

/// The ghost is filled in chunks; then, under a lock, it gets what changed meanwhile, and they swap.
async fn gh_ost(pair: &Pair, source: &mut Conn, round: u32) -> Result<()> {
    source
        .query_drop("CREATE /* gh-ost */ TABLE `swaps`.`_gh_gho` LIKE `swaps`.`gh`")
        .await?;
    source
        .query_drop(format!(
            "ALTER /* gh-ost */ TABLE `swaps`.`_gh_gho` ADD COLUMN c{round} INT NOT NULL DEFAULT {round}"
        ))
        .await?;
    copy(source, "gh", "_gh_gho").await?;
    let mut cut_over = pair.source.conn().await?;
    for statement in [
        "USE swaps".to_owned(),
        "LOCK TABLES gh WRITE, _gh_gho WRITE".to_owned(),
        "DELETE FROM _gh_gho WHERE id NOT IN (SELECT id FROM gh)".to_owned(),
        "REPLACE INTO _gh_gho (id, v) SELECT id, v FROM gh".to_owned(),
        format!(
            "RENAME /* gh-ost */ TABLE `swaps`.`gh` TO `swaps`.`_gh_del`, `swaps`.`_gh_gho` TO `swaps`.`gh` /* ddl gh {round} */"
        ),
        "UNLOCK TABLES".to_owned(),
        "DROP TABLE IF EXISTS `swaps`.`_gh_del`".to_owned(),
    ] {
        cut_over.query_drop(&statement).await.context(statement)?;
    }
    Ok(())
}

/// Triggers keep the new table alike while it is filled; then they swap.
async fn pt_osc(source: &mut Conn, round: u32) -> Result<()> {
    for statement in [
        "CREATE TABLE `swaps`.`_pt_new` LIKE `swaps`.`pt`".to_owned(),
        format!("ALTER TABLE `swaps`.`_pt_new` ADD COLUMN c{round} INT NOT NULL DEFAULT {round}, ADD KEY (v, c{round})"),
        "CREATE TRIGGER pt_del AFTER DELETE ON pt FOR EACH ROW DELETE IGNORE FROM `swaps`.`_pt_new` WHERE id <=> OLD.id".to_owned(),
        "CREATE TRIGGER pt_upd AFTER UPDATE ON pt FOR EACH ROW REPLACE INTO `swaps`.`_pt_new` (id, v) VALUES (NEW.id, NEW.v)".to_owned(),
        "CREATE TRIGGER pt_ins AFTER INSERT ON pt FOR EACH ROW REPLACE INTO `swaps`.`_pt_new` (id, v) VALUES (NEW.id, NEW.v)".to_owned(),
    ] {
        source.query_drop(&statement).await.context(statement)?;
    }
    copy(source, "pt", "_pt_new").await?;
    // Rows that were written before the triggers came and lie beyond the chunks.
    source
        .query_drop("INSERT IGNORE INTO _pt_new (id, v) SELECT id, v FROM pt LOCK IN SHARE MODE")
        .await?;
    for statement in [
        format!(
            "RENAME TABLE `swaps`.`pt` TO `swaps`.`_pt_old`, `swaps`.`_pt_new` TO `swaps`.`pt` /* ddl pt {round} */"
        ),
        "DROP TABLE IF EXISTS `swaps`.`_pt_old`".to_owned(),
    ] {
        source.query_drop(&statement).await.context(statement)?;
    }
    Ok(())
}

/// A filter that doesn't take the ghost: it stops, names the patterns, and the way that it tells works.
async fn ghost_outside(pair: &Pair) -> Result<()> {
    let mut pipeline = pair
        .pipeline("ghosts", &["CREATE TABLE t (id INT PRIMARY KEY, v INT)"])
        .await?;
    pipeline.tables = "ghosts.t".to_owned();
    let (mut source, mut sink) = pair.conns().await?;
    source.query_drop("USE ghosts").await?;
    for statement in [
        "INSERT INTO t VALUES (1, 1), (2, 2)",
        "CREATE TABLE _t_gho LIKE t",
        "ALTER TABLE _t_gho ADD c INT NOT NULL DEFAULT 5",
        "INSERT INTO _t_gho (id, v) SELECT * FROM t",
    ] {
        source.query_drop(statement).await?;
    }
    pipeline.run_until_caught_up(&mut source, &mut sink).await?;
    source
        .query_drop("RENAME TABLE t TO _t_del, _t_gho TO t")
        .await?;
    let gtid = last_gtid(&mut source).await?;
    source.query_drop("INSERT INTO t VALUES (3, 3, 3)").await?;
    let said = pipeline.run_until_it_fails().await?;
    for part in [
        &gtid,
        "ghosts._t_del, ghosts._t_gho are not taken",
        r#""ghosts._*_gho", "ghosts._*_ghc", "ghosts._*_del""#,
    ] {
        ensure!(said.contains(part), "{part:?} is not in\n{said}");
    }
    // What it says: the same change by ALTER TABLE, the mark, and the patterns for the next time.
    sink.query_drop("ALTER TABLE ghosts.t ADD c INT NOT NULL DEFAULT 5")
        .await?;
    sink.query_drop(way_past(&said)?).await?;
    pipeline.tables = r#"ghosts.t", "ghosts._*_gho", "ghosts._*_del"#.to_owned();
    pipeline.run_until_caught_up(&mut source, &mut sink).await?;
    source.query_drop("DROP TABLE _t_del").await?;
    source.query_drop("CREATE TABLE _t_gho LIKE t").await?;
    source
        .query_drop("INSERT INTO _t_gho SELECT * FROM t")
        .await?;
    source
        .query_drop("RENAME TABLE t TO _t_del, _t_gho TO t")
        .await?;
    source.query_drop("INSERT INTO t VALUES (4, 4, 4)").await?;
    let said = pipeline.run_until_it_fails().await?;
    // The old one of the first time isn't on the sink.
    ensure!(
        said.contains("DROP TABLE `_t_del`") && said.contains("ERROR 1051"),
        "{said}"
    );
    sink.query_drop(way_past(&said)?).await?;
    pipeline.run_until_caught_up(&mut source, &mut sink).await?;
    compare_database(&mut source, &mut sink, "ghosts").await
}
