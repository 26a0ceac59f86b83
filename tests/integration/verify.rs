//! `towpath verify`: what differs is found and mended, under load, and what is only late is no difference.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use serde_json::Value;
use tokio::task::JoinHandle;
use towpath_testing::{MysqlServer, TowpathProcess, wait_until};

use crate::harness::{Pair, Pipeline, WAIT, failure, rows, same, same_table, stop};

/// What a verb answered.
pub(crate) struct Answer {
    code: Option<i32>,
    pub(crate) report: Value,
    stderr: String,
}

/// Runs `towpath verify --json`.
pub(crate) async fn verify(pipeline: &Pipeline, arguments: &[&str]) -> Result<Answer> {
    answer(&begin(pipeline, arguments, "")?).await
}

fn begin(pipeline: &Pipeline, arguments: &[&str], failpoints: &str) -> Result<TowpathProcess> {
    TowpathProcess::builder()
        .program(env!("CARGO_BIN_EXE_towpath"))
        .arg("verify")
        .arg(&pipeline.file)
        .args(["--json"])
        .args(arguments)
        .env("TOWPATH_FAILPOINTS", failpoints)
        .spawn()
}

async fn answer(process: &TowpathProcess) -> Result<Answer> {
    let status = process.wait_exit(2 * WAIT).await?;
    Ok(Answer {
        code: status.code(),
        report: serde_json::from_str(&process.stdout().concat()).unwrap_or_default(),
        stderr: process.stderr().join("\n"),
    })
}

impl Answer {
    /// Every difference of rows as `table key what`, sorted.
    pub(crate) fn differences(&self) -> Result<Vec<String>> {
        let tables = self.report["tables"].as_array();
        let tables = tables.with_context(|| format!("{:?}: {}", self.code, self.stderr))?;
        let mut all = Vec::new();
        for table in tables {
            for row in table["differences"].as_array().context("no differences")? {
                let text = |value: &Value| -> Vec<String> {
                    let list = value.as_array().into_iter().flatten();
                    list.filter_map(|part| part.as_str().map(str::to_owned))
                        .collect()
                };
                all.push(
                    format!(
                        "{} {} {} {}",
                        table["table"].as_str().unwrap_or_default(),
                        text(&row["key"]).join(","),
                        row["what"].as_str().unwrap_or_default(),
                        text(&row["columns"]).join(",")
                    )
                    .trim_end()
                    .to_owned(),
                );
            }
        }
        all.sort();
        Ok(all)
    }

    /// Nothing differs, and everything was compared.
    fn is_equal(&self) -> Result<()> {
        ensure!(
            self.code == Some(0) && self.report["verdict"] == "equal",
            "{:?}: {:#}\n{}",
            self.code,
            self.report,
            self.stderr
        );
        ensure!(self.differences()?.is_empty());
        Ok(())
    }

    /// Whether nothing else kept a table from being compared.
    pub(crate) fn only_hindrance(&self, code: &str) -> bool {
        let tables = self.report["tables"].as_array().into_iter().flatten();
        let mut hindrances = tables.map(|table| &table["hindrance"]);
        hindrances.all(|hindrance| hindrance.is_null() || hindrance["code"] == code)
    }

    fn table(&self, name: &str) -> Result<&Value> {
        let mut tables = self.report["tables"].as_array().into_iter().flatten();
        let found = tables.find(|table| table["table"] == name);
        found.with_context(|| format!("no {name} in {:#}\n{}", self.report, self.stderr))
    }
}

const SCHEMA: &[&str] = &[
    "CREATE TABLE t (id INT PRIMARY KEY, v BIGINT NOT NULL, s VARCHAR(40), j JSON, f FLOAT, d DOUBLE, \
     g GEOMETRY, long_text TEXT, sum BIGINT AS (v + 1) STORED)",
    // To its collation, a7 and A7 are one key.
    "CREATE TABLE k (k VARCHAR(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_ai_ci PRIMARY KEY, n INT)",
    "CREATE TABLE two (a INT, b VARBINARY(8), v INT, PRIMARY KEY (a DESC, b))",
];

/// Rows 2, 4 … 6000.
const ROWS: &[&str] = &[
    "SET SESSION cte_max_recursion_depth = 100000",
    "INSERT INTO t (id, v, s, j, f, d, g, long_text) \
     WITH RECURSIVE n AS (SELECT 2 AS id UNION ALL SELECT id + 2 FROM n WHERE id < 6000) \
     SELECT id, id, CONCAT('s', id), JSON_OBJECT('id', id, 'list', JSON_ARRAY(1, 'x', id)), id / 3, id / 7, \
     ST_GeomFromText(CONCAT('POINT(', id, ' 2)')), REPEAT('text', id % 50) FROM n",
    "INSERT INTO k WITH RECURSIVE n AS (SELECT 1 AS id UNION ALL SELECT id + 1 FROM n WHERE id < 100) \
     SELECT CONCAT('a', id), id FROM n",
    "INSERT INTO two WITH RECURSIVE n AS (SELECT 1 AS id UNION ALL SELECT id + 1 FROM n WHERE id < 500) \
     SELECT id DIV 10, CHAR(id % 10, 0), id FROM n",
    "UPDATE t SET s = 'x', j = '{\"a\": 1.5}' WHERE id BETWEEN 2 AND 60",
    "UPDATE t SET s = NULL WHERE id = 36",
    "UPDATE t SET j = 'null' WHERE id = 48",
    "UPDATE t SET j = NULL WHERE id = 50",
];

/// What is done to the sink behind the pipeline's back, and how it is told.
const PLANTED: &[(&str, &str)] = &[
    ("UPDATE t SET v = -1 WHERE id = 2", "t 2 changed v"),
    ("DELETE FROM t WHERE id = 4", "t 4 missing"),
    ("INSERT INTO t (id, v) VALUES (31, 31)", "t 31 extra"),
    ("INSERT INTO t (id, v) VALUES (-5, 31)", "t -5 extra"),
    (
        "INSERT INTO t (id, v) VALUES (1000000, 1)",
        "t 1000000 extra",
    ),
    (
        "UPDATE t SET j = JSON_OBJECT('a', CAST(1.5 AS DECIMAL(3,1))) WHERE id = 32",
        "t 32 changed j",
    ),
    ("UPDATE t SET j = NULL WHERE id = 48", "t 48 changed j"),
    ("UPDATE t SET j = 'null' WHERE id = 50", "t 50 changed j"),
    ("UPDATE t SET s = 'x ' WHERE id = 34", "t 34 changed s"),
    ("UPDATE t SET s = '' WHERE id = 36", "t 36 changed s"),
    ("UPDATE t SET s = 'X' WHERE id = 38", "t 38 changed s"),
    (
        "UPDATE t SET f = f + 0.000001 WHERE id = 40",
        "t 40 changed f",
    ),
    (
        "UPDATE t SET d = d + 0.000000000000001 WHERE id = 42",
        "t 42 changed d",
    ),
    (
        "UPDATE t SET g = ST_SRID(g, 3857) WHERE id = 44",
        "t 44 changed g",
    ),
    (
        "UPDATE t SET long_text = CONCAT(long_text, '\\0') WHERE id = 46",
        "t 46 changed long_text",
    ),
    ("UPDATE k SET k = 'A7' WHERE k = 'a7'", "k 'a7' changed k"),
    (
        "DELETE FROM two WHERE a = 3 AND b = X'0100'",
        "two 3,X'0100' missing",
    ),
    ("INSERT INTO two VALUES (3, X'01', 1)", "two 3,X'01' extra"),
];

/// Random changes at a source, by several clients, of rows that nothing was planted in.
struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    clients: Vec<JoinHandle<Result<()>>>,
}

impl Load {
    async fn start(source: &MysqlServer, database: &str) -> Result<Self> {
        let (stop, done) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let mut clients = Vec::new();
        for client in 0..3_u64 {
            let mut conn = source.conn().await?;
            conn.query_drop(format!("USE {database}")).await?;
            let (stop, done) = (stop.clone(), done.clone());
            clients.push(tokio::spawn(async move {
                let mut n = client;
                while !stop.load(Ordering::Relaxed) {
                    for statement in changes(n) {
                        let ran = conn.query_drop(&statement).await;
                        let passes = matches!(&ran, Err(mysql_async::Error::Server(error))
                            if matches!(error.code, 1205 | 1213 | 1062));
                        if !passes {
                            ran.context(statement)?;
                        }
                    }
                    n += 3;
                    done.fetch_add(1, Ordering::Relaxed);
                    // A load that the sink keeps up with, on a machine with other tests too.
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                Ok(())
            }));
        }
        Ok(Self {
            stop,
            done,
            clients,
        })
    }

    /// Waits until each client has changed something since.
    async fn goes_on(&self) -> Result<()> {
        let before = self.done.load(Ordering::Relaxed);
        wait_until("the load to go on", WAIT, async || {
            Ok(self.done.load(Ordering::Relaxed) > before + 6)
        })
        .await
    }

    async fn end(self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await??;
        }
        Ok(())
    }
}

/// Changes number `n`: values that come back, rows that come and go, keys that move.
fn changes(n: u64) -> Vec<String> {
    let id = 100 + n.wrapping_mul(7919) % 2000 * 2;
    vec![
        format!(
            "UPDATE t SET v = 1 - v WHERE id BETWEEN {id} AND {} ",
            id + 20
        ),
        format!("UPDATE t SET s = CONCAT('s', {n}), j = JSON_SET(j, '$.n', {n}) WHERE id = {id}"),
        format!("DELETE FROM t WHERE id = {}", 4500 + n % 200),
        format!(
            "INSERT INTO t (id, v) VALUES ({}, {n})",
            4500 + (n + 100) % 200
        ),
        format!(
            "UPDATE IGNORE k SET k = CONCAT('b', {n}) WHERE n = {}",
            20 + n % 50
        ),
        format!("UPDATE two SET v = v + 1 WHERE a = {}", 20 + n % 10),
    ]
}

/// Waits until no table of a pipeline is copied or settles any more, and some did.
async fn until_done(sink: &mut Conn, name: &str) -> Result<()> {
    wait_until("the tables to settle", WAIT, async || {
        let query = format!("SELECT state FROM towpath.snapshot WHERE pipeline = '{name}'");
        let states = rows(sink, &query).await?;
        Ok(!states.is_empty() && states.iter().all(|state| state == "'done'"))
    })
    .await
}

async fn filled(pair: &Pair, name: &str) -> Result<(Pipeline, TowpathProcess, Conn, Conn)> {
    let pipeline = pair.pipeline(name, SCHEMA).await?;
    let (mut source, mut sink) = pair.conns().await?;
    for conn in [&mut source, &mut sink] {
        conn.query_drop(format!("USE {name}")).await?;
    }
    let process = pipeline.run()?;
    for statement in ROWS {
        source.query_drop(*statement).await.context(*statement)?;
    }
    pipeline.caught_up(&process, &mut source, &mut sink).await?;
    Ok((pipeline, process, source, sink))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_planted_is_found_and_mended_under_load() -> Result<()> {
    let pair = Pair::start().await?;
    let (pipeline, process, mut source, mut sink) = filled(&pair, "planted").await?;
    verify(&pipeline, &[]).await?.is_equal()?;

    let mut expected: Vec<String> = Vec::new();
    // To an UPDATE, the same number of another JSON type is no change.
    sink.query_drop("UPDATE t SET j = NULL WHERE id = 32")
        .await?;
    for (statement, told) in PLANTED {
        sink.query_drop(*statement).await.context(*statement)?;
        ensure!(sink.affected_rows() == 1, "planted nothing: {statement}");
        expected.push(format!("planted.{told}"));
    }
    expected.sort();
    let load = Load::start(&pair.source, "planted").await?;
    load.goes_on().await?;

    let found = verify(&pipeline, &[]).await?;
    assert_eq!(found.differences()?, expected);
    assert_eq!(
        (found.code, &found.report["verdict"]),
        (Some(1), &"different".into())
    );
    // A table alone, and for people.
    let one = verify(&pipeline, &["--table", "planted.k"]).await?;
    assert_eq!(one.differences()?, ["planted.k 'a7' changed k"]);

    let before = pipeline.row(&mut sink).await?;
    let repaired = verify(&pipeline, &["--repair"]).await?;
    assert_eq!(repaired.differences()?, expected);
    assert_eq!(repaired.code, Some(0), "{:#}", repaired.report);
    let after = pipeline.row(&mut sink).await?;
    ensure!(after.uuid == before.uuid && after.commit_seq > before.commit_seq);
    load.goes_on().await?;
    verify(&pipeline, &[]).await?.is_equal()?;
    load.end().await?;

    pipeline.caught_up(&process, &mut source, &mut sink).await?;
    // Strict again.
    until_done(&mut sink, "planted")
        .await
        .with_context(|| process.tail())?;
    for table in ["t", "k", "two"] {
        same_table(&mut source, &mut sink, &format!("planted.{table}")).await?;
    }
    let types = "SELECT id, JSON_TYPE(j->'$.a'), ST_SRID(g), HEX(s), f * 1e0, d FROM planted.t";
    same(&mut source, &mut sink, types).await?;
    same(&mut source, &mut sink, "SELECT HEX(k), n FROM planted.k").await?;
    stop(&process).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn late_rows_are_no_differences() -> Result<()> {
    runs_without_differences(4).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "half a minute; the same runs, more of them"]
async fn late_rows_are_no_differences_for_long() -> Result<()> {
    runs_without_differences(20).await
}

async fn runs_without_differences(runs: u32) -> Result<()> {
    let pair = Pair::start().await?;
    let (pipeline, process, _, _) = filled(&pair, "late").await?;
    let load = Load::start(&pair.source, "late").await?;
    for run in 0..runs {
        load.goes_on().await?;
        let answer = verify(&pipeline, &[]).await?;
        answer.is_equal().with_context(|| format!("run {run}"))?;
    }
    load.end().await?;
    stop(&process).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_t_be_compared_is_never_equal() -> Result<()> {
    let pair = Pair::start().await?;
    let (pipeline, process, mut source, mut sink) = filled(&pair, "still").await?;
    source.query_drop("CREATE TABLE bare (n INT)").await?;
    source
        .query_drop("CREATE TABLE wide (id INT PRIMARY KEY, a INT, b INT)")
        .await?;
    source
        .query_drop("INSERT INTO wide VALUES (1, 1, 1)")
        .await?;
    source
        .query_drop(
            "CREATE TABLE family (id INT PRIMARY KEY, u INT UNIQUE, up INT, \
             FOREIGN KEY (up) REFERENCES family (id))",
        )
        .await?;
    source
        .query_drop("INSERT INTO family VALUES (1, 10, NULL), (2, 20, 1)")
        .await?;
    pipeline.caught_up(&process, &mut source, &mut sink).await?;
    stop(&process).await?;

    // Stopped and up to date: the rows are still what they are.
    verify(&pipeline, &["--table", "still.t"])
        .await?
        .is_equal()?;
    sink.query_drop("UPDATE t SET v = -1 WHERE id = 2").await?;
    let found = verify(&pipeline, &["--table", "still.t"]).await?;
    assert_eq!(found.differences()?, ["still.t 2 changed v"]);

    // A table without a key is left out, and definitions are told.
    sink.query_drop("ALTER TABLE wide DROP COLUMN b, MODIFY a BIGINT")
        .await?;
    let found = verify(
        &pipeline,
        &["--table", "still.bare", "--table", "still.wide"],
    )
    .await?;
    assert_eq!(found.table("still.bare")?["hindrance"]["code"], "TP2003");
    let notes = found.table("still.wide")?["definitions"].to_string();
    ensure!(
        notes.contains("lacks column b") && notes.contains("bigint on the sink"),
        "{notes}"
    );
    assert_eq!((found.code, found.differences()?.len()), (Some(1), 0));
    let bare = verify(&pipeline, &["--table", "still.bare"]).await?;
    assert_eq!(
        (bare.code, &bare.report["verdict"]),
        (Some(2), &"unknown".into())
    );

    // A unique value is at another row; the table has foreign keys.
    for planted in [
        "SET SESSION foreign_key_checks = 0",
        "DELETE FROM family WHERE id = 1",
        "UPDATE family SET u = 10 WHERE id = 2",
        "SET SESSION foreign_key_checks = 1",
    ] {
        sink.query_drop(planted).await?;
    }
    let family = ["--table", "still.family"];
    let repaired = verify(&pipeline, &[&family[..], &["--repair"]].concat()).await?;
    assert_eq!(repaired.code, Some(0), "{:#}", repaired.report);
    verify(&pipeline, &family).await?.is_equal()?;

    // Without the source's key, the sink would get rows twice.
    sink.query_drop("ALTER TABLE two DROP PRIMARY KEY").await?;
    sink.query_drop("UPDATE two SET v = -1 WHERE a = 3 AND b = X'0100'")
        .await?;
    let left = verify(&pipeline, &["--table", "still.two", "--repair"]).await?;
    assert_eq!(left.differences()?, ["still.two 3,X'0100' changed v"]);
    assert_eq!(left.table("still.two")?["hindrance"]["code"], "TP2003");
    let count = rows(&mut sink, "SELECT COUNT(*) FROM two").await?;
    assert_eq!((left.code, count), (Some(1), vec!["'500'".to_owned()]));

    // Behind, and nobody at work: nothing is proven, neither equal nor different.
    source.query_drop("UPDATE t SET v = 7 WHERE id = 4").await?;
    let behind = verify(&pipeline, &["--table", "still.t", "--patience", "300ms"]).await?;
    let table = behind.table("still.t")?;
    assert_eq!(table["hindrance"]["code"], "TP2006", "{:#}", behind.report);
    assert_eq!(table["unproven"], 2);
    assert_eq!((behind.code, behind.differences()?.len()), (Some(2), 0));

    // From parts of rows no table that is written beside the stream could be brought up to date.
    source
        .query_drop("SET GLOBAL binlog_row_image = MINIMAL")
        .await?;
    let repair = verify(&pipeline, &["--table", "still.t", "--repair"]).await?;
    ensure!(repair.stderr.contains("TP1302"), "{}", repair.stderr);
    let resnapshot = TowpathProcess::builder()
        .program(env!("CARGO_BIN_EXE_towpath"))
        .arg("resnapshot")
        .arg(&pipeline.file)
        .args(["--table", "still.t"])
        .spawn()?;
    let said = failure(&resnapshot).await?;
    ensure!(said.contains("TP1302"), "{said}");

    let wrong = verify(&pipeline, &["--table", "still.T2"]).await?;
    ensure!(
        wrong.code == Some(2) && wrong.stderr.contains("TP2002"),
        "{}",
        wrong.stderr
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_s_change_refuses_the_commit_that_was_under_way() -> Result<()> {
    let pair = Pair::start().await?;
    let (pipeline, process, mut source, mut sink) = filled(&pair, "operated").await?;
    let resnapshot = async |arguments: &[&str]| {
        let process = TowpathProcess::builder()
            .program(env!("CARGO_BIN_EXE_towpath"))
            .arg("resnapshot")
            .arg(&pipeline.file)
            .args(arguments)
            .spawn()?;
        anyhow::Ok(process)
    };
    let refused = resnapshot(&["--table", "operated.t", "--where", "nothing > 1"]).await?;
    let said = failure(&refused).await?;
    ensure!(
        said.contains("TP2005") && said.contains("nothing"),
        "{said}"
    );
    sink.query_drop("DELETE FROM t WHERE id IN (4, 5000)")
        .await?;
    sink.query_drop("INSERT INTO t (id, v) VALUES (31, 31)")
        .await?;
    // A row that meets the condition here alone.
    sink.query_drop("UPDATE t SET v = 1 WHERE id = 4000")
        .await?;
    let before = pipeline.row(&mut sink).await?;

    let done = resnapshot(&["--table", "operated.t", "--where", "v < 1000"]).await?;
    let status = done.wait_exit(WAIT).await?;
    ensure!(status.success(), "{}", done.tail());
    // The running lane knows another number: its next commit is refused, and its next epoch copies.
    source
        .query_drop("UPDATE k SET n = 1000 WHERE k = 'a1'")
        .await?;
    pipeline.caught_up(&process, &mut source, &mut sink).await?;
    let after = pipeline.row(&mut sink).await?;
    ensure!(
        after.epoch > before.epoch && after.commit_seq > before.commit_seq + 1,
        "{after:?}"
    );
    same_table(&mut source, &mut sink, "operated.k").await?;
    until_done(&mut sink, "operated")
        .await
        .with_context(|| process.tail())?;
    let copies = rows(
        &mut sink,
        "SELECT `table`, `condition` FROM towpath.snapshot",
    )
    .await?;
    assert_eq!(copies, ["'t', 'v < 1000'"]);
    // What the condition leaves out is as it was, and nothing was removed.
    let found = verify(&pipeline, &[]).await?;
    assert_eq!(
        found.differences()?,
        [
            "operated.t 31 extra",
            "operated.t 4000 changed v",
            "operated.t 5000 missing"
        ]
    );
    stop(&process).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_condition_that_few_rows_meet_is_looked_at_in_chunks() -> Result<()> {
    let pair = Pair::start().await?;
    let (pipeline, process, mut source, mut sink) = filled(&pair, "few").await?;
    sink.query_drop("DELETE FROM t WHERE id > 5900").await?;
    for setting in [
        "log_output = 'TABLE'",
        "long_query_time = 0",
        "slow_query_log = ON",
    ] {
        source.query_drop(format!("SET GLOBAL {setting}")).await?;
    }
    let resnapshot = TowpathProcess::builder()
        .program(env!("CARGO_BIN_EXE_towpath"))
        .arg("resnapshot")
        .arg(&pipeline.file)
        .args(["--table", "few.t", "--where", "v > 5900"])
        .spawn()?;
    let status = resnapshot.wait_exit(WAIT).await?;
    ensure!(status.success(), "{}", resnapshot.tail());
    until_done(&mut sink, "few")
        .await
        .with_context(|| process.tail())?;
    verify(&pipeline, &[]).await?.is_equal()?;
    // All 3000 rows were looked at, 500 at first and at most twice as many each time.
    let statements: Vec<u64> = source
        .query(
            "SELECT rows_examined FROM mysql.slow_log \
             WHERE CONVERT(sql_text USING utf8mb4) LIKE 'SELECT%FORCE INDEX%v > 5900%'",
        )
        .await?;
    ensure!(
        statements.len() >= 3 && statements.iter().all(|rows| *rows <= 2000),
        "{statements:?}"
    );
    stop(&process).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changes_during_a_repair_comes_again_without_harm() -> Result<()> {
    let pair = Pair::start().await?;
    let (pipeline, process, mut source, mut sink) = filled(&pair, "again").await?;
    for planted in [
        "INSERT INTO t (id, v) VALUES (31, 31)",
        "DELETE FROM t WHERE id = 4",
        "UPDATE t SET v = -1 WHERE id = 2",
    ] {
        sink.query_drop(planted).await?;
    }
    let arguments = ["--repair", "--table", "again.t"];
    let repair = begin(&pipeline, &arguments, "repair.locked=1*sleep(3000)")?;
    wait_until("the repair to hold the offset row", WAIT, async || {
        let held = "SELECT 1 FROM towpath.`offset` FOR UPDATE NOWAIT";
        match sink.query_drop(held).await {
            Ok(()) => Ok(false),
            // ER_LOCK_NOWAIT.
            Err(mysql_async::Error::Server(error)) if error.code == 3572 => Ok(true),
            Err(error) => Err(error.into()),
        }
    })
    .await
    .with_context(|| repair.tail())?;
    // The repair reads these; the stream, which stands before them, brings them again.
    for change in [
        "INSERT INTO t (id, v) VALUES (31, 5)",
        "UPDATE t SET v = 70 WHERE id = 4",
        "DELETE FROM t WHERE id = 2",
    ] {
        source.query_drop(change).await?;
    }
    let repaired = answer(&repair).await?;
    assert_eq!(
        repaired.code,
        Some(0),
        "{:#}\n{}",
        repaired.report,
        repaired.stderr
    );
    pipeline.caught_up(&process, &mut source, &mut sink).await?;
    until_done(&mut sink, "again")
        .await
        .with_context(|| process.tail())?;
    same_table(&mut source, &mut sink, "again.t").await?;
    stop(&process).await
}
