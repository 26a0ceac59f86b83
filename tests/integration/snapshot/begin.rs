//! How a first copy begins and ends: the tables that the sink lacks, a source that is being altered at that very
//! moment, and a pipeline that was for a copy alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use rand::RngExt as _;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use towpath_core::commit::lock::Lane;
use towpath_testing::cluster::ready;
use towpath_testing::{Cluster, TowpathProcess, wait_until};

use super::{TABLES, copies, copying, fill, is_done, until_copies};
use crate::harness::{Pair, Pipeline, WAIT, number, rows, same, same_table, stop};

/// What a definition can have. By name, children come before their parents.
const SHOP: [&str; 6] = [
    "CREATE DATABASE shop CHARACTER SET latin1 COLLATE latin1_german2_ci",
    "CREATE TABLE shop.z_parent (id INT UNSIGNED NOT NULL AUTO_INCREMENT, code CHAR(4) NOT NULL, name VARCHAR(40), \
     PRIMARY KEY (id), UNIQUE (code)) AUTO_INCREMENT = 5000 COMMENT = 'it''s; a parent'",
    "CREATE TABLE shop.a_child (id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, parent INT UNSIGNED, \
     net DECIMAL(9,2), vat DECIMAL(9,2) AS (net * 0.2) STORED, gross DECIMAL(9,2) AS (net + vat) VIRTUAL, \
     secret VARCHAR(20) INVISIBLE DEFAULT 'none', made TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3), \
     KEY (gross), FOREIGN KEY (parent) REFERENCES z_parent (id) ON DELETE SET NULL ON UPDATE CASCADE)",
    "CREATE TABLE shop.b_tree (id INT PRIMARY KEY, up INT, FOREIGN KEY (up) REFERENCES b_tree (id))",
    "CREATE TABLE shop.hidden_key (v VARCHAR(10) CHARACTER SET utf8mb4, rid BIGINT UNSIGNED NOT NULL \
     AUTO_INCREMENT INVISIBLE PRIMARY KEY)",
    "CREATE TABLE shop.parts (id INT, day DATE, PRIMARY KEY (id, day)) PARTITION BY RANGE (YEAR(day)) \
     (PARTITION old VALUES LESS THAN (2026), PARTITION new VALUES LESS THAN MAXVALUE)",
];

const SHOP_ROWS: [&str; 6] = [
    "INSERT INTO shop.z_parent (code, name) VALUES ('a1', 'Grün'), ('b2', 'ß'), ('c3', NULL)",
    "INSERT INTO shop.a_child (parent, net, secret) VALUES (5000, 1.5, 'x'), (5001, 2.25, DEFAULT), (NULL, 3, NULL)",
    "INSERT INTO shop.b_tree VALUES (9, NULL), (1, 9), (5, 1)",
    "INSERT INTO shop.hidden_key (v) VALUES ('same'), ('same'), ('ß')",
    "INSERT INTO shop.parts VALUES (1, '2020-01-01'), (1, '2027-01-01')",
    // The counter is beyond what the rows say.
    "DELETE FROM shop.a_child WHERE id = 3",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn into_an_empty_server() -> Result<()> {
    let pair = Pair::start().await?;
    let (mut source, mut sink) = pair.conns().await?;
    for sql in SHOP.iter().chain(&SHOP_ROWS) {
        source.query_drop(*sql).await.context(*sql)?;
    }
    let mut pipeline = copying(&pair, "elsewhere", &[], 1_000_000).await?;
    pipeline.tables = "shop.*".into();
    let process = pipeline.run()?;
    until_copies(&process, &mut sink, &pipeline, is_done).await?;
    let tables = ["a_child", "b_tree", "hidden_key", "parts", "z_parent"];
    same(&mut source, &mut sink, "SHOW CREATE DATABASE shop").await?;
    for table in tables {
        // MySQL names a column's character set or not, by how the statement that made it was written.
        let show = format!("SHOW CREATE TABLE shop.{table}");
        let (there, here) = (
            rows(&mut source, &show).await?,
            rows(&mut sink, &show).await?,
        );
        let plain = |text: Vec<String>| text.concat().replace(" CHARACTER SET latin1", "");
        ensure!(
            plain(there.clone()) == plain(here.clone()),
            "{there:#?}\n{here:#?}"
        );
    }
    // From here on strictly; cascades and generated values, too.
    for sql in [
        "UPDATE shop.z_parent SET id = 6000 WHERE id = 5000",
        "DELETE FROM shop.z_parent WHERE id = 5001",
        "INSERT INTO shop.a_child (parent, net, secret) VALUES (6000, 10, 'later')",
        "UPDATE shop.hidden_key SET v = 'other' WHERE rid = 2",
        "INSERT INTO shop.parts VALUES (2, '2021-01-01')",
    ] {
        source.query_drop(sql).await.context(sql)?;
    }
    pipeline.caught_up(&process, &mut source, &mut sink).await?;
    for table in tables {
        same_table(&mut source, &mut sink, &format!("shop.{table}")).await?;
    }
    same(
        &mut source,
        &mut sink,
        "SELECT id, secret, vat, gross FROM shop.a_child",
    )
    .await?;
    same(&mut source, &mut sink, "SELECT rid, v FROM shop.hidden_key").await?;
    stop(&process).await
}

/// Alters tables of a database without a rest, until it is told to stop; answers how many statements that were.
async fn alter(
    mut conn: Conn,
    database: String,
    seed: u64,
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU32>,
) -> Result<()> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut tables: Vec<String> = Vec::new();
    let mut n = 0;
    conn.query_drop(format!("USE {database}")).await?;
    while !stop.load(Ordering::Relaxed) {
        n += 1;
        let at = |rng: &mut StdRng, tables: &[String]| rng.random_range(0..tables.len());
        let sql = match rng.random_range(0..6) {
            0 | 1 => {
                let name = format!("t{n}");
                let sql = format!("CREATE TABLE {name} (id INT PRIMARY KEY, v VARCHAR(20))");
                tables.push(name);
                sql
            }
            _ if tables.is_empty() => continue,
            2 => {
                let name = &tables[at(&mut rng, &tables)];
                format!("ALTER TABLE {name} ADD COLUMN c{n} INT DEFAULT {n} FIRST")
            }
            3 => {
                let at = at(&mut rng, &tables);
                format!("DROP TABLE {}", tables.swap_remove(at))
            }
            4 => {
                let (at, new) = (at(&mut rng, &tables), format!("r{n}"));
                let old = std::mem::replace(&mut tables[at], new.clone());
                format!("RENAME TABLE {old} TO {new}")
            }
            _ => {
                let name = &tables[at(&mut rng, &tables)];
                let values: Vec<String> = (0..40).map(|id| format!("({n}{id:02}, 'v')")).collect();
                format!("INSERT INTO {name} (id, v) VALUES {}", values.join(", "))
            }
        };
        conn.query_drop(&sql).await.context(sql)?;
        done.fetch_add(1, Ordering::Relaxed);
        // Sometimes the definitions hold still for as long as they are read, and sometimes not.
        tokio::time::sleep(Duration::from_millis(rng.random_range(0..120))).await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_tables_come_and_go() -> Result<()> {
    let pair = Pair::start().await?;
    let (mut source, mut sink) = pair.conns().await?;
    for round in 0..4 {
        let name = format!("w{round}");
        let fixed = ["CREATE TABLE fixed (id INT PRIMARY KEY)"];
        let pipeline = copying(&pair, &name, &fixed, 1_000_000).await?;
        let (halt, done) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU32::new(0)),
        );
        let seed = rand::random();
        eprintln!("seed of round {round}: {seed}");
        let altering = tokio::spawn(alter(
            pair.source.conn_as("app").await?,
            name.clone(),
            seed,
            Arc::clone(&halt),
            Arc::clone(&done),
        ));
        let some = |more: u32| {
            let (done, wanted) = (Arc::clone(&done), done.load(Ordering::Relaxed) + more);
            async move {
                wait_until("statements at the source", WAIT, async || {
                    Ok(done.load(Ordering::Relaxed) >= wanted)
                })
                .await
            }
        };
        some(20).await?;
        let process = pipeline.run()?;
        wait_until("the copy to begin", WAIT, async || {
            if let Some(status) = process.exit_status()? {
                anyhow::bail!("towpath ended: {status}");
            }
            Ok(!pipeline.stored(&mut sink).await?.is_empty())
        })
        .await
        .with_context(|| process.tail())?;
        some(20).await?;
        halt.store(true, Ordering::Relaxed);
        altering.await??;
        pipeline.caught_up(&process, &mut source, &mut sink).await?;
        until_copies(&process, &mut sink, &pipeline, is_done).await?;
        let tables = format!("SHOW TABLES FROM {name}");
        same(&mut source, &mut sink, &tables).await?;
        let names: Vec<String> = source.query(&tables).await?;
        for table in names {
            let table = format!("{name}.{table}");
            let create = format!("SHOW CREATE TABLE {table}");
            same(&mut source, &mut sink, &create).await?;
            same_table(&mut source, &mut sink, &table).await?;
        }
        stop(&process).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_for_a_copy_alone_ends() -> Result<()> {
    let pair = Pair::start().await?;
    let mut pipeline = copying(&pair, "o", &TABLES, 1_000_000).await?;
    pipeline.snapshot = "only";
    pipeline.write()?;
    let (mut source, mut sink) = pair.conns().await?;
    fill(&mut source, "o", 2000).await?;
    // Without --standalone.
    let process = TowpathProcess::builder()
        .program(env!("CARGO_BIN_EXE_towpath"))
        .arg("run")
        .arg(&pipeline.file)
        .spawn()?;
    let status = process.wait_exit(WAIT).await?;
    ensure!(status.success(), "{status}; {}", process.tail());
    for table in ["o.t", "o.s"] {
        same_table(&mut source, &mut sink, table).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_a_core_a_copy_alone_comes_to_rest() -> Result<()> {
    let program = env!("CARGO_BIN_EXE_towpath").into();
    let (pair, cluster) = tokio::try_join!(Pair::start(), Cluster::start(Some(program)))?;
    let mut pipeline = copying(&pair, "r", &TABLES, 1_000_000).await?;
    pipeline.snapshot = "only";
    pipeline.write()?;
    let (mut source, mut sink) = pair.conns().await?;
    fill(&mut source, "r", 2000).await?;
    let core = cluster.core("core-1").spawn()?;
    ready(&core).await?;
    let said = cluster.apply(&pipeline.file).await?;
    ensure!(said.code == Some(0), "{said:?}");
    rests(&cluster, &pipeline, &mut sink)
        .await
        .with_context(|| core.tail())?;
    for table in ["r.t", "r.s"] {
        same_table(&mut source, &mut sink, table).await?;
    }
    let epoch = pipeline.row(&mut sink).await?.epoch;
    source
        .query_drop("UPDATE r.t SET v = 'later' WHERE id = 7")
        .await?;

    // Another process finds it done, and rests too.
    core.kill9()?;
    let core = cluster.core("core-1").spawn()?;
    ready(&core).await?;
    wait_until("the next epoch", WAIT, async || {
        Ok(pipeline.row(&mut sink).await?.epoch > epoch)
    })
    .await
    .with_context(|| core.tail())?;
    rests(&cluster, &pipeline, &mut sink)
        .await
        .with_context(|| core.tail())?;
    let later = "SELECT COUNT(*) FROM r.t WHERE v = 'later'";
    ensure!(
        number(&mut sink, later).await? == 0,
        "it went on behind the copy"
    );

    pipeline.snapshot = "never";
    pipeline.write()?;
    let said = cluster.apply(&pipeline.file).await?;
    ensure!(said.code == Some(0), "{said:?}");
    pipeline.caught_up(&core, &mut source, &mut sink).await?;
    same_table(&mut source, &mut sink, "r.t").await?;
    ensure!(number(&mut sink, later).await? == 1);
    stop(&core).await
}

/// Waits until it is told that the task does nothing, and nobody holds the sink.
async fn rests(cluster: &Cluster, pipeline: &Pipeline, sink: &mut Conn) -> Result<()> {
    let mut told = serde_json::Value::Null;
    wait_until("the copy to be told as over", WAIT, async || {
        let status = cluster.json("status").await?;
        told = status["pipelines"][0].clone();
        let task = &told["tasks"][0];
        let copied = copies(sink, pipeline).await?;
        Ok(task["state"] == "paused"
            && !copied.is_empty()
            && copied.values().all(|(state, _)| state == "done")
            && pipeline.holder(sink, Lane::Ddl).await?.is_none())
    })
    .await
    .with_context(|| format!("{told:#}"))?;
    ensure!(told["tasks"][0]["failure"].is_null(), "{told:#}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_rows_per_second_than_allowed() -> Result<()> {
    const PER_SECOND: u32 = 3000;
    const ROWS: u32 = 5000;
    let pair = Pair::start().await?;
    let pipeline = copying(&pair, "slow", &TABLES, PER_SECOND).await?;
    let (mut source, mut sink) = pair.conns().await?;
    fill(&mut source, "slow", ROWS).await?;
    let process = pipeline.run()?;
    until_copies(&process, &mut sink, &pipeline, is_done).await?;
    let took_ms = number(
        &mut sink,
        "SELECT TIMESTAMPDIFF(MICROSECOND, MIN(begun), MAX(ended)) DIV 1000 FROM towpath.snapshot",
    )
    .await?;
    // A second's rows may come at once, for the rest before, and a chunk is paid for afterwards.
    let least_ms = u64::from(2 * ROWS - PER_SECOND - 2000) * 1000 / u64::from(PER_SECOND);
    ensure!(took_ms >= least_ms, "{took_ms} ms instead of {least_ms}");
    for table in ["slow.t", "slow.s"] {
        ensure!(
            rows(&mut sink, &format!("SELECT * FROM {table}"))
                .await?
                .len()
                == ROWS as usize
        );
    }
    stop(&process).await
}
