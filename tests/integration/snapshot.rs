//! The first copy, while the source goes on: equal at the end, strict from then on, and never from the start
//! again.

mod begin;
mod keyless;
mod large;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Error};
use towpath_testing::{TowpathProcess, wait_until};

use crate::crash::{killed, run_with};
use crate::harness::{Pair, Pipeline, WAIT, failure, number, same, same_table, stop};

/// `t` has a unique value beside its key, `s` a key of two columns, one of them a text.
const TABLES: [&str; 2] = [
    "CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, u INT UNIQUE, v VARCHAR(200))",
    "CREATE TABLE s (a VARCHAR(40) COLLATE utf8mb4_0900_ai_ci, b INT, v DECIMAL(9,2), j JSON, PRIMARY KEY (a, b))",
];

/// Rows of `t`, and of `s`.
const ROWS: u32 = 6000;

fn numbers(rows: u32) -> String {
    format!(
        "WITH RECURSIVE q (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM q WHERE n < {rows}) SELECT"
    )
}

async fn fill(source: &mut Conn, database: &str, rows: u32) -> Result<()> {
    let sql = [
        format!("USE {database}"),
        "SET SESSION cte_max_recursion_depth = 1000000".to_owned(),
        format!(
            "INSERT INTO t (id, u, v) {} n, n, REPEAT('x', n % 100) FROM q",
            numbers(rows)
        ),
        format!(
            "INSERT INTO s {} CONCAT(IF(n % 2, 'Key ', 'kéy '), n DIV 7), n, n / 3, \
             JSON_OBJECT('n', n, 'd', CAST(n / 7 AS DECIMAL(9,3))) FROM q",
            numbers(rows)
        ),
    ];
    for sql in sql {
        source.query_drop(&sql).await.with_context(|| sql.clone())?;
    }
    Ok(())
}

/// A pipeline that copies, with small chunks: at most so many rows per second.
async fn copying(pair: &Pair, name: &str, schema: &[&str], per_second: u32) -> Result<Pipeline> {
    let mut pipeline = pair.pipeline(name, schema).await?;
    pipeline.start = "now".into();
    pipeline.snapshot = "initial";
    pipeline.further = format!(
        "[snapshot]\ntables_at_once = 8\nchunk_time = \"20ms\"\nrows_per_second_max = {per_second}\n"
    );
    Ok(pipeline)
}

/// State and copied rows of each table.
async fn copies(sink: &mut Conn, pipeline: &Pipeline) -> Result<BTreeMap<String, (String, u64)>> {
    let listed: Option<u8> = sink
        .query_first(
            "SELECT 1 FROM information_schema.tables WHERE table_schema = 'towpath' AND table_name = 'snapshot'",
        )
        .await?;
    if listed.is_none() {
        return Ok(BTreeMap::new());
    }
    let rows: Vec<(String, String, u64)> = sink
        .exec(
            "SELECT `table`, state, rows_copied FROM towpath.snapshot WHERE pipeline = ?",
            (&pipeline.name,),
        )
        .await?;
    Ok(rows
        .into_iter()
        .map(|(table, state, rows)| (table, (state, rows)))
        .collect())
}

/// Waits until all tables are as accepted; a program that ends meanwhile is an error.
async fn until_copies(
    process: &TowpathProcess,
    sink: &mut Conn,
    pipeline: &Pipeline,
    accept: impl Fn(&str, u64) -> bool,
) -> Result<()> {
    wait_until("the copies", WAIT, async || {
        if let Some(status) = process.exit_status()? {
            anyhow::bail!("towpath ended: {status}");
        }
        let copies = copies(sink, pipeline).await?;
        Ok(!copies.is_empty() && copies.values().all(|(state, rows)| accept(state, *rows)))
    })
    .await
    .with_context(|| process.tail())
}

fn is_done(state: &str, _: u64) -> bool {
    state == "done"
}

/// Changes of every kind, until it is told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    workers: Vec<tokio::task::JoinHandle<Result<u64>>>,
}

impl Load {
    async fn start(pair: &Pair, database: &str) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut workers = Vec::new();
        for worker in 1..=2u64 {
            let mut conn = pair.source.conn_as("app").await?;
            conn.query_drop(format!("USE {database}")).await?;
            let stop = Arc::clone(&stop);
            workers.push(tokio::spawn(async move {
                let mut seed = worker;
                let mut done = 0;
                while !stop.load(Ordering::Relaxed) {
                    done += u64::from(change(&mut conn, worker, &mut seed).await?);
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                Ok(done)
            }));
        }
        Ok(Self { stop, workers })
    }

    async fn stop(self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        let mut done = 0;
        for worker in self.workers {
            done += worker.await??;
        }
        Ok(done)
    }
}

/// One transaction; answers whether it committed.
async fn change(conn: &mut Conn, worker: u64, seed: &mut u64) -> Result<bool> {
    let mut next = |below: u64| {
        *seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (*seed >> 33) % below
    };
    let (a, b) = (next(7000), next(7000));
    let unique = worker * 100_000_000 + next(90_000_000);
    let statements: Vec<String> = match next(8) {
        0 => vec![format!(
            "INSERT INTO t (u, v) VALUES ({unique}, 'new'), (NULL, 'new')"
        )],
        1 => vec![format!(
            "UPDATE t SET id = id + 20000 + {} WHERE id = {a}",
            next(1000) * 10_000
        )],
        2 => vec![format!("DELETE FROM t WHERE id IN ({a}, {b})")],
        3 => vec![
            "BEGIN".into(),
            format!("SET @a = NULL, @b = NULL"),
            format!("SELECT u INTO @a FROM t WHERE id = {a} FOR UPDATE"),
            format!("SELECT u INTO @b FROM t WHERE id = {b} FOR UPDATE"),
            format!("UPDATE t SET u = NULL WHERE id = {a}"),
            format!("UPDATE t SET u = @a WHERE id = {b}"),
            format!("UPDATE t SET u = @b WHERE id = {a}"),
            "COMMIT".into(),
        ],
        4 => vec![format!(
            "UPDATE t SET v = CONCAT('v', {unique}) WHERE id BETWEEN {a} AND {a} + 5"
        )],
        5 => vec![format!(
            "INSERT INTO s VALUES (CONCAT('KEY ', {a} DIV 7), {b}, 1.5, '[1, 2.5]') \
             ON DUPLICATE KEY UPDATE v = v + 1"
        )],
        6 => vec![format!(
            "UPDATE s SET a = CONCAT('z', a) WHERE b = {a} AND a NOT LIKE 'zzz%'"
        )],
        _ => vec![format!("DELETE FROM s WHERE b = {a}")],
    };
    commits(conn, &statements).await
}

/// Does a transaction; answers whether it committed.
async fn commits(conn: &mut Conn, statements: &[String]) -> Result<bool> {
    for sql in statements {
        match conn.query_drop(sql).await {
            Ok(()) => {}
            // Another worker was there before: a value that exists, a deadlock, a lock wait.
            Err(Error::Server(error)) if matches!(error.code, 1062 | 1213 | 1205) => {
                conn.query_drop("ROLLBACK").await?;
                return Ok(false);
            }
            Err(error) => return Err(error).with_context(|| sql.clone()),
        }
    }
    Ok(true)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_under_load_is_equal_and_strict_afterwards() -> Result<()> {
    let pair = Pair::start().await?;
    let pipeline = copying(&pair, "c", &TABLES, 4000).await?;
    let (mut source, mut sink) = pair.conns().await?;
    fill(&mut source, "c", ROWS).await?;
    let load = Load::start(&pair, "c").await?;
    let process = pipeline.run()?;
    until_copies(&process, &mut sink, &pipeline, is_done).await?;
    let transactions = load.stop().await?;
    pipeline.caught_up(&process, &mut source, &mut sink).await?;
    for table in ["c.t", "c.s"] {
        same_table(&mut source, &mut sink, table).await?;
    }
    same(
        &mut source,
        &mut sink,
        "SELECT a, b, JSON_TYPE(JSON_EXTRACT(j, '$.d')), JSON_TYPE(JSON_EXTRACT(j, '$[1]')) FROM c.s",
    )
    .await?;
    let copied: u64 = copies(&mut sink, &pipeline)
        .await?
        .values()
        .map(|(_, rows)| rows)
        .sum();
    ensure!(
        transactions > 100 && copied > u64::from(ROWS),
        "{transactions} transactions, {copied} rows copied"
    );

    // From now on a row that isn't what it was at the source stops it.
    let id = number(&mut source, "SELECT MIN(id) FROM c.t").await?;
    sink.query_drop(format!("DELETE FROM c.t WHERE id = {id}"))
        .await?;
    source
        .query_drop(format!("UPDATE c.t SET v = 'planted' WHERE id = {id}"))
        .await?;
    let said = failure(&process).await?;
    ensure!(said.contains("TP1610"), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_during_the_copy_no_table_begins_again() -> Result<()> {
    let pair = Pair::start().await?;
    let pipeline = copying(&pair, "k", &TABLES, 1_000_000).await?;
    let (mut source, mut sink) = pair.conns().await?;
    fill(&mut source, "k", 8_000).await?;
    let load = Load::start(&pair, "k").await?;
    let mut before = BTreeMap::new();
    let mut grew = 0;
    for (point, action) in [
        ("copy.before-rows", "5*off->kill"),
        ("copy.after-rows", "4*off->kill"),
        ("copy.after-rows", "kill"),
        ("commit.before-offset", "4*off->kill"),
        ("commit.after-commit", "4*off->kill"),
        ("copy.after-rows", "3*off->kill"),
    ] {
        let process = run_with(&pipeline, &format!("{point}={action}"))?;
        killed(&process, point).await?;
        let now = copies(&mut sink, &pipeline).await?;
        for (table, (state, rows)) in &now {
            let (_, earlier) = before.get(table).cloned().unwrap_or_default();
            ensure!(
                *rows >= earlier,
                "{table} went back from {earlier} to {rows} ({state}) at {point}"
            );
            grew += u64::from(*rows > earlier);
        }
        before = now;
    }
    ensure!(
        grew >= 2 && before.values().any(|(state, _)| state != "done"),
        "the copy was over before the last kill, or never began: {grew} {before:?}"
    );
    let process = pipeline.run()?;
    until_copies(&process, &mut sink, &pipeline, is_done).await?;
    load.stop().await?;
    pipeline.caught_up(&process, &mut source, &mut sink).await?;
    for table in ["k.t", "k.s"] {
        same_table(&mut source, &mut sink, table).await?;
    }
    stop(&process).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schema_changes_during_the_copy() -> Result<()> {
    const COLUMNS: &str =
        "(id INT PRIMARY KEY, v VARCHAR(50), w VARCHAR(50), e ENUM('a','b') NOT NULL)";
    const NAMES: [&str; 6] = ["trunc", "added", "moved", "dropped", "rekeyed", "changed"];
    let pair = Pair::start().await?;
    let schema = NAMES.map(|name| format!("CREATE TABLE {name} {COLUMNS}"));
    let mut schema: Vec<&str> = schema.iter().map(String::as_str).collect();
    schema.push("CREATE TABLE freed (id INT PRIMARY KEY, u INT, UNIQUE (u))");
    let mut pipeline = copying(&pair, "d", &schema, 6000).await?;
    pipeline
        .further
        .push_str("[limits]\nbytes_per_second_max = \"64KiB\"\n");
    let (mut source, mut sink) = pair.conns().await?;
    source.query_drop("USE d").await?;
    source
        .query_drop("SET SESSION cte_max_recursion_depth = 1000000")
        .await?;
    for name in NAMES {
        source
            .query_drop(format!(
                "INSERT INTO {name} {} n, CONCAT('v', n), CONCAT('w', n), 1 + n % 2 FROM q",
                numbers(4500)
            ))
            .await?;
    }
    source
        .query_drop(format!("INSERT INTO freed {} n, n FROM q", numbers(4500)))
        .await?;
    let process = pipeline.run()?;
    until_copies(&process, &mut sink, &pipeline, |_, rows| rows > 0).await?;
    // To the source this has run; to the stream it comes only when it ends.
    for sql in [
        "CREATE DATABASE outside",
        "CREATE TABLE outside.x (id INT PRIMARY KEY)",
        "XA START 'half'",
        "INSERT INTO outside.x VALUES (1)",
        "XA END 'half'",
        "XA PREPARE 'half'",
    ] {
        source.query_drop(sql).await.context(sql)?;
    }
    let early = copies(&mut sink, &pipeline).await?;
    ensure!(
        early.values().all(|(state, _)| state == "copying"),
        "nothing is under way any more: {early:?}"
    );
    for sql in [
        // The stream takes some seconds for this, so that rows are read that were written after statements
        // that the sink has yet to run.
        "CREATE TABLE held_up (v LONGTEXT, id INT PRIMARY KEY)",
        "INSERT INTO held_up VALUES (REPEAT('x', 250000), 1)",
        "TRUNCATE trunc",
        "INSERT INTO trunc VALUES (1, 'x', 'y', 'a'), (4000, 'x', 'y', 'b'), (9000, 'x', 'y', 'a')",
        "ALTER TABLE added ADD COLUMN n INT NOT NULL DEFAULT 7 AFTER id",
        "UPDATE added SET n = id WHERE id % 100 = 0",
        "RENAME TABLE moved TO moved2",
        "CREATE TABLE moved (other INT PRIMARY KEY)",
        "INSERT INTO moved VALUES (1), (2)",
        "UPDATE moved2 SET v = 'moved' WHERE id > 4490",
        "DROP TABLE dropped",
        "ALTER TABLE rekeyed DROP PRIMARY KEY, ADD PRIMARY KEY (v, id)",
        "DELETE FROM rekeyed WHERE id % 50 = 0",
        "ALTER TABLE changed MODIFY e ENUM('b','a') NOT NULL, RENAME COLUMN v TO w, RENAME COLUMN w TO v",
        "UPDATE changed SET e = 'a' WHERE id % 70 = 0",
        // Two rows with the same value, which the sink's index forbids until the stream has come to this.
        "ALTER TABLE freed DROP INDEX u",
        "UPDATE freed SET u = id - 1 WHERE id % 2 = 0 ORDER BY id DESC",
    ] {
        source
            .query_drop(sql)
            .await
            .with_context(|| sql.to_owned())?;
    }
    until_copies(&process, &mut sink, &pipeline, is_done).await?;
    source.query_drop("XA COMMIT 'half'").await?;
    pipeline.caught_up(&process, &mut source, &mut sink).await?;
    same(&mut source, &mut sink, "SHOW TABLES FROM d").await?;
    for table in [
        "held_up", "trunc", "added", "moved", "moved2", "rekeyed", "changed", "freed",
    ] {
        same_table(&mut source, &mut sink, &format!("d.{table}")).await?;
    }
    // Strict, under the new names and keys, too.
    for sql in [
        "UPDATE moved2 SET w = 'after' WHERE id = 3",
        "UPDATE rekeyed SET w = 'after' WHERE id = 3",
        "UPDATE changed SET w = 'after' WHERE id = 3",
    ] {
        source.query_drop(sql).await?;
    }
    pipeline.caught_up(&process, &mut source, &mut sink).await?;
    for table in ["moved2", "rekeyed", "changed"] {
        same_table(&mut source, &mut sink, &format!("d.{table}")).await?;
    }
    stop(&process).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_is_streamed_before_it_is_visible() -> Result<()> {
    let pair = Pair::start().await?;
    let pipeline = copying(&pair, "g", &TABLES, 5000).await?;
    let (mut source, mut sink) = pair.conns().await?;
    fill(&mut source, "g", ROWS).await?;
    // With nobody to acknowledge, the source logs and sends a transaction, and shows it 3 s later.
    for sql in [
        "INSTALL PLUGIN rpl_semi_sync_source SONAME 'semisync_source.so'",
        "SET GLOBAL rpl_semi_sync_source_timeout = 3000",
        "SET GLOBAL rpl_semi_sync_source_wait_point = 'AFTER_SYNC'",
    ] {
        source.query_drop(sql).await?;
    }
    let process = pipeline.run()?;
    until_copies(&process, &mut sink, &pipeline, |_, rows| rows > 0).await?;
    source
        .query_drop("SET GLOBAL rpl_semi_sync_source_enabled = ON")
        .await?;
    // In the part that isn't copied yet; `u` moves from one row to another.
    for sql in [
        "USE g",
        "BEGIN",
        "DELETE FROM t WHERE id > 5000 AND id % 3 = 0",
        "UPDATE t SET v = 'seen late' WHERE id > 5000 AND id % 3 = 1",
        "UPDATE t SET id = id + 50000 WHERE id > 5000 AND id % 30 = 2",
        "INSERT INTO s VALUES ('Key 99', 100000, 1, NULL)",
        "DELETE FROM s WHERE b % 5 = 0 AND b < 100000",
        "COMMIT",
    ] {
        source.query_drop(sql).await?;
    }
    let waits = number(
        &mut source,
        "SELECT COUNT(*) FROM performance_schema.global_status \
         WHERE variable_name = 'Rpl_semi_sync_source_no_times' AND variable_value > 0",
    )
    .await?;
    ensure!(waits == 1, "the source did not wait for an acknowledgement");
    until_copies(&process, &mut sink, &pipeline, is_done).await?;
    pipeline.caught_up(&process, &mut source, &mut sink).await?;
    for table in ["g.t", "g.s"] {
        same_table(&mut source, &mut sink, table).await?;
    }
    stop(&process).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_alone_of_a_quiet_source() -> Result<()> {
    let pair = Pair::start().await?;
    let schema = [
        TABLES[0],
        TABLES[1],
        "CREATE TABLE blank (id INT PRIMARY KEY)",
    ];
    let mut pipeline = copying(&pair, "q", &schema, 1_000_000).await?;
    pipeline.snapshot = "only";
    let (mut source, mut sink) = pair.conns().await?;
    fill(&mut source, "q", ROWS).await?;
    for again in [false, true] {
        let process = pipeline.run()?;
        let status = process.wait_exit(WAIT).await?;
        ensure!(
            status.success(),
            "{status}, again: {again}; {}",
            process.tail()
        );
        let copies = copies(&mut sink, &pipeline).await?;
        let rows = u64::from(ROWS);
        for (table, rows) in [("t", rows), ("s", rows), ("blank", 0)] {
            ensure!(
                copies.get(table) == Some(&("done".to_owned(), rows)),
                "{table}: {copies:?}"
            );
            same_table(&mut source, &mut sink, &format!("q.{table}")).await?;
        }
    }
    // Afterwards it may be followed, without a gap.
    source.query_drop("INSERT INTO q.blank VALUES (1)").await?;
    pipeline.snapshot = "never";
    pipeline.run_until_caught_up(&mut source, &mut sink).await?;
    same_table(&mut source, &mut sink, "q.blank").await?;

    // What can't be copied is said before anything is written.
    pipeline.snapshot = "initial";
    pipeline.name = "filled".into();
    refused(&pipeline, &mut sink, "TP1410", "q.blank, q.s, q.t").await?;
    source.query_drop("CREATE DATABASE nokey").await?;
    // Unique, and yet no key: it may be NULL, or is the server's to compute.
    for sql in [
        "CREATE TABLE nokey.n (n INT UNIQUE)",
        "CREATE TABLE nokey.c (n INT, c INT AS (n + 1) STORED NOT NULL PRIMARY KEY)",
    ] {
        source.query_drop(sql).await?;
    }
    pipeline.name = "keyless".into();
    pipeline.tables = "nokey.*".into();
    refused(&pipeline, &mut sink, "TP1409", "nokey.c, nokey.n").await?;
    let made = "SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name = 'nokey'";
    ensure!(number(&mut sink, made).await? == 0, "a table was made");
    source.query_drop("DROP TABLE nokey.c").await?;
    source
        .query_drop("ALTER TABLE nokey.n ADD PRIMARY KEY (n)")
        .await?;
    for sql in [
        "CREATE DATABASE nokey",
        "CREATE TABLE nokey.n (n INT NOT NULL)",
    ] {
        sink.query_drop(sql).await?;
    }
    pipeline.name = "sinkless".into();
    refused(&pipeline, &mut sink, "TP1409", "nokey.n").await?;
    sink.query_drop("DROP DATABASE nokey").await?;
    source
        .query_drop("SET GLOBAL binlog_row_image = MINIMAL")
        .await?;
    pipeline.name = "parts".into();
    refused(&pipeline, &mut sink, "TP1302", "binlog_row_image").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_left_out_is_copied_no_further() -> Result<()> {
    let pair = Pair::start().await?;
    let mut pipeline = copying(&pair, "lo", &TABLES, 2000).await?;
    let (mut source, mut sink) = pair.conns().await?;
    fill(&mut source, "lo", 2000).await?;
    let process = pipeline.run()?;
    until_copies(&process, &mut sink, &pipeline, |_, rows| rows > 0).await?;
    stop(&process).await?;
    let before = copies(&mut sink, &pipeline).await?;
    ensure!(before["t"].0 == "copying", "{before:?}");

    pipeline.snapshot = "only";
    for (tables, t) in [("lo.s", ("waiting", 0)), ("lo.*", ("done", 2000))] {
        pipeline.tables = tables.into();
        // The stream brings none of these while the table is left out.
        source
            .query_drop("UPDATE lo.t SET v = 'unseen' WHERE id < 400")
            .await?;
        let process = pipeline.run()?;
        let status = process.wait_exit(WAIT).await?;
        ensure!(status.success(), "{status}; {}", process.tail());
        let copies = copies(&mut sink, &pipeline).await?;
        ensure!(
            copies["s"] == ("done".to_owned(), 2000) && copies["t"] == (t.0.to_owned(), t.1),
            "{tables}: {copies:?}"
        );
    }
    for table in ["lo.t", "lo.s"] {
        same_table(&mut source, &mut sink, table).await?;
    }
    Ok(())
}

async fn refused(pipeline: &Pipeline, sink: &mut Conn, code: &str, what: &str) -> Result<()> {
    let said = pipeline.run_until_it_fails().await?;
    ensure!(
        said.contains(&format!("error[{code}]: ")) && said.contains(what),
        "{code} and {what:?} are not in\n{said}"
    );
    ensure!(
        pipeline.stored(sink).await?.is_empty() && copies(sink, pipeline).await?.is_empty(),
        "{}: something is written",
        pipeline.name
    );
    let check = TowpathProcess::builder()
        .program(env!("CARGO_BIN_EXE_towpath"))
        .args(["check", "--json"])
        .arg(&pipeline.file)
        .spawn()?;
    check.wait_exit(WAIT).await?;
    let report: serde_json::Value = serde_json::from_str(&check.stdout().concat())?;
    let findings = report["findings"].as_array().context("no findings")?;
    ensure!(
        findings
            .iter()
            .any(|finding| finding["state"] == "failed" && finding["code"] == code),
        "towpath check doesn't say {code}: {report:#}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_source_cascades_without_a_trace_is_not_copied() -> Result<()> {
    let pair = Pair::with(
        |source| source.option("innodb_native_foreign_keys", "ON"),
        |sink| sink,
    )
    .await?;
    let schema = [
        "CREATE TABLE parent (id INT PRIMARY KEY)",
        "CREATE TABLE child (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES parent (id) ON DELETE CASCADE)",
    ];
    let mut pipeline = copying(&pair, "f", &schema, 1_000_000).await?;
    let (mut source, mut sink) = pair.conns().await?;
    refused(&pipeline, &mut sink, "TP1412", "f.child").await?;
    // One that cascades nothing is no trouble.
    for sql in [
        "ALTER TABLE f.child DROP FOREIGN KEY child_ibfk_1",
        "ALTER TABLE f.child ADD FOREIGN KEY (p) REFERENCES f.parent (id)",
        "INSERT INTO f.parent VALUES (1)",
        "INSERT INTO f.child VALUES (1, 1)",
    ] {
        source.query_drop(sql).await?;
    }
    pipeline.snapshot = "only";
    let process = pipeline.run()?;
    let status = process.wait_exit(WAIT).await?;
    ensure!(status.success(), "{status}; {}", process.tail());
    same_table(&mut source, &mut sink, "f.child").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_least_once_copies_too() -> Result<()> {
    let pair = Pair::start().await?;
    let mut pipeline = copying(&pair, "l", &TABLES, 4000).await?;
    // The sink's keys go on where the sections begin.
    pipeline.further = format!("delivery = \"at-least-once\"\n{}", pipeline.further);
    let (mut source, mut sink) = pair.conns().await?;
    fill(&mut source, "l", ROWS).await?;
    let load = Load::start(&pair, "l").await?;
    let process = run_with(&pipeline, "copy.after-rows=3*off->kill")?;
    killed(&process, "copy.after-rows").await?;
    let process = pipeline.run()?;
    until_copies(&process, &mut sink, &pipeline, is_done).await?;
    load.stop().await?;
    pipeline.caught_up(&process, &mut source, &mut sink).await?;
    for table in ["l.t", "l.s"] {
        same_table(&mut source, &mut sink, table).await?;
    }
    stop(&process).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_are_exchanged_during_the_copy() -> Result<()> {
    let pair = Pair::start().await?;
    let schema = [
        "CREATE TABLE parts (id INT PRIMARY KEY, v VARCHAR(50)) PARTITION BY RANGE (id) \
         (PARTITION low VALUES LESS THAN (3000), PARTITION high VALUES LESS THAN MAXVALUE)",
        "CREATE TABLE plain (id INT PRIMARY KEY, v VARCHAR(50))",
        "CREATE TABLE other (id INT PRIMARY KEY, v VARCHAR(50))",
    ];
    let pipeline = copying(&pair, "x", &schema, 4000).await?;
    let (mut source, mut sink) = pair.conns().await?;
    for sql in [
        "USE x".to_owned(),
        "SET SESSION cte_max_recursion_depth = 1000000".to_owned(),
        format!(
            "INSERT INTO parts {} n, CONCAT('parts', n) FROM q",
            numbers(6000)
        ),
        format!(
            "INSERT INTO plain {} n, CONCAT('plain', n) FROM q WHERE n > 500",
            numbers(2900)
        ),
        format!(
            "INSERT INTO other {} n, CONCAT('other', n) FROM q",
            numbers(3000)
        ),
    ] {
        source.query_drop(&sql).await.with_context(|| sql.clone())?;
    }
    let process = pipeline.run()?;
    until_copies(&process, &mut sink, &pipeline, |_, rows| rows > 0).await?;
    for sql in [
        "UPDATE parts SET v = 'before' WHERE id % 100 = 0",
        "ALTER TABLE parts EXCHANGE PARTITION low WITH TABLE plain",
        "UPDATE parts SET v = 'after' WHERE id % 77 = 0",
        "DELETE FROM plain WHERE id % 55 = 0",
    ] {
        source.query_drop(sql).await.context(sql)?;
    }
    let early = copies(&mut sink, &pipeline).await?;
    ensure!(
        early.values().any(|(state, _)| state == "copying"),
        "nothing is under way any more: {early:?}"
    );
    pipeline.caught_up(&process, &mut source, &mut sink).await?;
    until_copies(&process, &mut sink, &pipeline, is_done).await?;
    for table in ["x.parts", "x.plain", "x.other"] {
        same_table(&mut source, &mut sink, table).await?;
    }
    stop(&process).await
}
