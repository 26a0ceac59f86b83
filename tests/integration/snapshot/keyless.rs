//! Tables without a key: every row as often as at the source, whatever is written, and killed, meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::{copies, copying, is_done, numbers, refused, until_copies};
use crate::crash::{killed, run_with};
use crate::harness::{Pair, failure, number, same_table, stop};

const SCHEMA: [&str; 3] = [
    "CREATE TABLE log (v INT, t VARCHAR(40), j JSON)",
    "CREATE TABLE queue (v INT, t VARCHAR(40))",
    "CREATE TABLE keyed (id INT PRIMARY KEY AUTO_INCREMENT, v INT)",
];

/// Rows of `log`, many of them twice; half of them in `queue`.
const ROWS: u32 = 4000;

async fn fill(source: &mut Conn, database: &str) -> Result<()> {
    for sql in [
        format!("USE {database}"),
        "SET SESSION cte_max_recursion_depth = 1000000".to_owned(),
        format!(
            "INSERT INTO log {} n DIV 2, CONCAT('t', n % 3), JSON_OBJECT('n', n % 2) FROM q",
            numbers(ROWS)
        ),
        format!(
            "INSERT INTO queue {} n DIV 5, 'same' FROM q",
            numbers(ROWS / 2)
        ),
        format!("INSERT INTO keyed {} n, n FROM q", numbers(ROWS)),
    ] {
        source.query_drop(&sql).await.with_context(|| sql.clone())?;
    }
    Ok(())
}

/// Writes all three tables from several connections until it is told to stop.
async fn write(mut conn: Conn, database: &str, seed: u64, stop: Arc<AtomicBool>) -> Result<u64> {
    let mut rng = StdRng::seed_from_u64(seed);
    conn.query_drop(format!("USE {database}")).await?;
    let mut done = 0;
    while !stop.load(Ordering::Relaxed) {
        let (a, b) = (rng.random_range(0..3000), rng.random_range(0..3000));
        let sql = match rng.random_range(0..7) {
            0 => format!("INSERT INTO log VALUES ({a}, 't1', '[1.5]'), ({a}, 't1', '[1.5]')"),
            1 => format!("DELETE FROM log WHERE v = {a} LIMIT 1"),
            2 => format!("UPDATE log SET v = {b} WHERE v = {a}"),
            3 => format!("INSERT INTO queue VALUES ({a}, 'same')"),
            4 => format!("DELETE FROM queue WHERE v BETWEEN {a} AND {a} + 2"),
            5 => format!("UPDATE queue SET t = 'other' WHERE v = {a} LIMIT 2"),
            _ => format!("UPDATE keyed SET v = v + 1 WHERE id = {a}"),
        };
        match conn.query_drop(&sql).await {
            Ok(()) => done += 1,
            // Rows of a table without a key are looked for one by one, and locked on the way.
            Err(mysql_async::Error::Server(error)) if matches!(error.code, 1213 | 1205) => {}
            Err(error) => return Err(error).context(sql),
        }
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    Ok(done)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_row_comes_as_often_as_at_the_source() -> Result<()> {
    let pair = Pair::start().await?;
    let mut pipeline = copying(&pair, "n", &SCHEMA, 2000).await?;
    let (mut source, mut sink) = pair.conns().await?;
    fill(&mut source, "n").await?;
    refused(&pipeline, &mut sink, "TP1409", "n.log, n.queue").await?;
    pipeline
        .further
        .push_str("allow_keyless = [\"n.log\", \"n.queue\"]\n");
    refused(
        &pipeline,
        &mut sink,
        "TP1204",
        "GRANT SELECT, LOCK TABLES ON `n`.*",
    )
    .await?;
    source
        .query_drop("GRANT LOCK TABLES ON n.* TO repl")
        .await?;

    let (halt, seed) = (Arc::new(AtomicBool::new(false)), rand::random::<u64>());
    eprintln!("seed {seed}");
    let mut writers = Vec::new();
    for n in 0..3 {
        let conn = pair.source.conn_as("app").await?;
        writers.push(tokio::spawn(write(conn, "n", seed ^ n, Arc::clone(&halt))));
    }
    for action in ["2*off->kill", "7*off->kill", "6*off->kill"] {
        let process = run_with(&pipeline, &format!("copy.after-rows={action}"))?;
        killed(&process, "copy.after-rows").await?;
    }
    let before = copies(&mut sink, &pipeline).await?;
    ensure!(
        ["log", "queue"]
            .iter()
            .any(|name| before[*name].0 == "copying"),
        "no table without a key was under way at the last kill: {before:?}"
    );
    let process = pipeline.run()?;
    until_copies(&process, &mut sink, &pipeline, is_done).await?;
    halt.store(true, Ordering::Relaxed);
    let mut transactions = 0;
    for writer in writers {
        transactions += writer.await??;
    }
    ensure!(transactions > 200, "only {transactions} transactions");
    pipeline.caught_up(&process, &mut source, &mut sink).await?;
    for table in ["n.log", "n.queue", "n.keyed"] {
        same_table(&mut source, &mut sink, table).await?;
    }
    // What the source has emptied meanwhile, and strictness from then on.
    source.query_drop("TRUNCATE n.queue").await?;
    source
        .query_drop("INSERT INTO n.queue VALUES (1, 'x'), (1, 'x')")
        .await?;
    pipeline.caught_up(&process, &mut source, &mut sink).await?;
    same_table(&mut source, &mut sink, "n.queue").await?;
    sink.query_drop("DELETE FROM n.queue").await?;
    source.query_drop("DELETE FROM n.queue LIMIT 1").await?;
    let said = failure(&process).await?;
    ensure!(said.contains("TP1610"), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_transaction_is_not_waited_for() -> Result<()> {
    let pair = Pair::start().await?;
    let mut pipeline = copying(&pair, "b", &SCHEMA, 1_000_000).await?;
    pipeline.further.push_str("allow_keyless = [\"b.*\"]\n");
    let (mut source, mut sink) = pair.conns().await?;
    source
        .query_drop("GRANT LOCK TABLES ON b.* TO repl")
        .await?;
    fill(&mut source, "b").await?;
    // It has written, and not ended: no state of the table is known to be whole.
    let mut open = pair.source.conn().await?;
    open.query_drop("BEGIN").await?;
    open.query_drop("INSERT INTO b.log VALUES (-1, 'open', NULL)")
        .await?;
    let process = pipeline.run()?;
    process
        .wait_for_line(
            |line| line.contains("was interrupted") && line.contains("b.log"),
            crate::harness::WAIT,
        )
        .await?;
    // Others write all the same, and the other tables come.
    until_copies(&process, &mut sink, &pipeline, |_, _| true).await?;
    source
        .query_drop("INSERT INTO b.log VALUES (-2, 'between', NULL)")
        .await?;
    crate::harness::until(
        "the other tables to be done",
        &mut sink,
        "SELECT COUNT(*) FROM towpath.snapshot WHERE state = 'done'",
        |done| done == 2,
    )
    .await?;
    ensure!(number(&mut sink, "SELECT COUNT(*) FROM b.log").await? <= 1);
    open.query_drop("COMMIT").await?;
    until_copies(&process, &mut sink, &pipeline, is_done).await?;
    pipeline.caught_up(&process, &mut source, &mut sink).await?;
    for table in ["b.log", "b.queue", "b.keyed"] {
        same_table(&mut source, &mut sink, table).await?;
    }
    stop(&process).await
}
