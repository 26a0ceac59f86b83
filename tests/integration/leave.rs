//! `towpath rewind`, `skip` and `adopt`: a sink's place is moved under a running pipeline, which goes on from there.

use anyhow::{Context as _, Result, ensure};
use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use towpath_testing::cluster::ready;
use towpath_testing::{Cluster, TowpathProcess, gtid_executed, wait_until};

use crate::harness::{
    Pair, Pipeline, SINK, WAIT, failure, number, same, same_table, stop, until, until_blocked,
};
use crate::verify::verify;

/// How a verb ended.
#[derive(Debug)]
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Said {
    fn is_done(&self) -> Result<()> {
        ensure!(self.code == Some(0), "{self:#?}");
        Ok(())
    }

    /// Refused with this code, and with these words.
    fn is_refused(&self, code: &str, words: &str) -> Result<()> {
        let is_so = self.code == Some(1) && self.err.contains(code) && self.err.contains(words);
        ensure!(is_so, "{code}, {words:?}: {self:#?}");
        Ok(())
    }
}

async fn ask(verb: &str, pipeline: &Pipeline, arguments: &[&str]) -> Result<Said> {
    pipeline.write()?;
    let process = TowpathProcess::builder()
        .program(env!("CARGO_BIN_EXE_towpath"))
        .arg(verb)
        .arg(&pipeline.file)
        .args(arguments)
        .spawn()?;
    let status = process.wait_exit(WAIT).await?;
    Ok(Said {
        code: status.code(),
        out: process.stdout().join("\n"),
        err: process.stderr().join("\n"),
    })
}

async fn run_all(conn: &mut Conn, statements: &[&str]) -> Result<()> {
    for statement in statements {
        let done = conn.query_drop(*statement).await;
        done.with_context(|| (*statement).to_owned())?;
    }
    Ok(())
}

/// Every table is strict again.
async fn until_strict(sink: &mut Conn, pipeline: &str) -> Result<()> {
    let query = format!(
        "SELECT COUNT(*) FROM towpath.snapshot WHERE pipeline = '{pipeline}' AND state <> 'done'"
    );
    until("the tables to be settled", sink, &query, |open| open == 0).await
}

const SCHEMA: &[&str] = &[
    "CREATE TABLE t (id INT PRIMARY KEY, v INT, u INT UNIQUE)",
    "CREATE TABLE parent (id INT PRIMARY KEY, v INT)",
    "CREATE TABLE child (id INT PRIMARY KEY, p INT, \
     FOREIGN KEY (p) REFERENCES parent (id) ON DELETE CASCADE)",
    "CREATE TABLE quiet (id INT PRIMARY KEY)",
];

/// What was there at the place that is gone back to.
const FIRST: &[&str] = &[
    "INSERT INTO t VALUES (1, 1, 1), (2, 2, 2), (3, 3, 3), (4, 4, 4)",
    "INSERT INTO parent VALUES (1, 1), (2, 2)",
    "INSERT INTO child VALUES (1, 1), (2, 2)",
    "INSERT INTO quiet VALUES (1)",
];

/// What comes again: unique values that move, keys that change, rows that go and come, and cascades.
const AGAIN: &[&str] = &[
    "UPDATE t SET u = u + 10 WHERE id < 3",
    "UPDATE t SET u = 1 WHERE id = 3",
    "DELETE FROM t WHERE id = 4",
    "INSERT INTO t VALUES (4, 40, 3), (5, 5, 5)",
    "UPDATE t SET id = 6 WHERE id = 5",
    "INSERT INTO t VALUES (5, 50, NULL)",
    "UPDATE parent SET v = 9",
    "INSERT INTO child VALUES (3, 2)",
    "DELETE FROM parent WHERE id = 2",
    "INSERT INTO parent VALUES (2, 7)",
    "INSERT INTO child VALUES (2, 2)",
    "UPDATE t SET v = v + 1",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_came_since_is_applied_again_and_ends_equal() -> Result<()> {
    let pair = Pair::start().await?;
    let pipeline = pair.pipeline("back", SCHEMA).await?;
    let (mut source, mut sink) = pair.conns().await?;
    run_all(&mut source, &["USE back"]).await?;
    run_all(&mut source, FIRST).await?;
    let process = pipeline.run()?;
    pipeline.caught_up(&process, &mut source, &mut sink).await?;
    let place = pipeline.stored(&mut sink).await?;
    run_all(&mut source, AGAIN).await?;
    pipeline.caught_up(&process, &mut source, &mut sink).await?;
    let before = pipeline.row(&mut sink).await?;
    let held = pipeline.stored(&mut sink).await?;

    // Nobody can be asked, so nothing is done.
    let asked = ask("rewind", &pipeline, &["--to", &place]).await?;
    asked.is_refused("towpath:", "nothing was changed; --yes")?;
    ensure!(pipeline.stored(&mut sink).await? == held && pipeline.row(&mut sink).await? == before);
    for words in ["12 transactions", "back.t", "back.child", "2 inserted"] {
        ensure!(asked.out.contains(words), "{words:?} in {asked:#?}");
    }
    ensure!(!asked.out.contains("back.quiet"), "{asked:#?}");

    // The pipeline runs and has nothing to do. What was lost at the sink comes again.
    run_all(
        &mut sink,
        &[
            "SET foreign_key_checks = 0",
            "DELETE FROM back.t WHERE id IN (4, 5, 6)",
            "UPDATE back.parent SET v = -1",
            "INSERT INTO back.child VALUES (3, 2)",
        ],
    )
    .await?;
    let done = ask("rewind", &pipeline, &["--to", &place, "--yes"]).await?;
    done.is_done()?;
    pipeline.caught_up(&process, &mut source, &mut sink).await?;
    until_strict(&mut sink, "back")
        .await
        .with_context(|| process.tail())?;
    for table in ["t", "parent", "child", "quiet"] {
        same_table(&mut source, &mut sink, &format!("back.{table}")).await?;
    }
    let after = pipeline.row(&mut sink).await?;
    ensure!(
        after.uuid == before.uuid
            && after.epoch > before.epoch
            && after.commit_seq > before.commit_seq + 1,
        "{before:?}, {after:?}"
    );
    // What had no changes was never loosened.
    let loosened = "SELECT COUNT(*) FROM towpath.snapshot WHERE `table` = 'quiet'";
    assert_eq!(number(&mut sink, loosened).await?, 0);

    // And strict it is.
    run_all(&mut sink, &["DELETE FROM back.t WHERE id = 1"]).await?;
    run_all(&mut source, &["UPDATE t SET v = 0 WHERE id = 1"]).await?;
    let said = failure(&process).await?;
    ensure!(said.contains("back.t"), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_place_that_can_t_be_gone_back_to_is_refused() -> Result<()> {
    let pair = Pair::start().await?;
    let schema = [
        "CREATE TABLE t (id INT PRIMARY KEY, v INT)",
        "CREATE TABLE bare (n INT)",
    ];
    let pipeline = pair.pipeline("refused", &schema).await?;
    let (mut source, mut sink) = pair.conns().await?;
    let never = ask("rewind", &pipeline, &["--to", "now", "--yes"]).await?;
    never.is_refused("TP2001", "no place")?;
    run_all(
        &mut source,
        &["USE refused", "INSERT INTO t VALUES (1, 1), (2, 2)"],
    )
    .await?;
    let first = gtid_executed(&mut source).await?;
    run_all(
        &mut source,
        &[
            "INSERT INTO t VALUES (3, 3)",
            "TRUNCATE TABLE t",
            "INSERT INTO t VALUES (1, 10), (4, 4)",
        ],
    )
    .await?;
    let emptied = gtid_executed(&mut source).await?;
    run_all(
        &mut source,
        &[
            "UPDATE t SET v = 11 WHERE id = 1",
            "ALTER TABLE t ADD COLUMN w INT NOT NULL DEFAULT 5",
            "INSERT INTO t VALUES (5, 5, 6)",
        ],
    )
    .await?;
    pipeline.run_until_caught_up(&mut source, &mut sink).await?;
    let held = pipeline.row(&mut sink).await?;
    let back = async |to: &str, arguments: &[&str]| {
        let arguments = [&["--to", to, "--yes"], arguments].concat();
        ask("rewind", &pipeline, &arguments).await
    };

    // Ahead of it, and where it is.
    run_all(&mut source, &["INSERT INTO t VALUES (9, 9, 9)"]).await?;
    let ahead = gtid_executed(&mut source).await?;
    back(&ahead, &[])
        .await?
        .is_refused("TP2007", "towpath skip")?;
    let here = pipeline.stored(&mut sink).await?;
    let nothing = back(&here, &[]).await?;
    nothing.is_done()?;
    ensure!(nothing.out.contains("nothing to do"), "{nothing:?}");
    let wrong = back("yesterday", &[]).await?;
    ensure!(wrong.code == Some(2), "{wrong:?}");

    // A schema change lies between; it may be left out.
    back(&first, &[])
        .await?
        .is_refused("TP2008", "ADD COLUMN w")?;
    assert_eq!(pipeline.row(&mut sink).await?, held);
    run_all(&mut sink, &["DELETE FROM refused.t WHERE id = 4"]).await?;
    let done = back(&first, &["--ddl-ran"]).await?;
    done.is_done()?;
    ensure!(
        done.out.contains("runs again") && done.out.contains("TRUNCATE TABLE t"),
        "{done:#?}"
    );
    pipeline.run_until_caught_up(&mut source, &mut sink).await?;
    same_table(&mut source, &mut sink, "refused.t").await?;

    // Where the sink's tables are as they were, it runs again.
    run_all(&mut sink, &["ALTER TABLE refused.t DROP COLUMN w"]).await?;
    back(&emptied, &["--ddl-again"]).await?.is_done()?;
    pipeline.run_until_caught_up(&mut source, &mut sink).await?;
    same_table(&mut source, &mut sink, "refused.t").await?;

    // Rows without a key would be there twice; a table that was dropped isn't there.
    let keyed = gtid_executed(&mut source).await?;
    run_all(&mut source, &["INSERT INTO bare VALUES (1), (1)"]).await?;
    pipeline.run_until_caught_up(&mut source, &mut sink).await?;
    back(&keyed, &[])
        .await?
        .is_refused("TP2009", "refused.bare")?;
    run_all(&mut source, &["DROP TABLE bare"]).await?;
    pipeline.run_until_caught_up(&mut source, &mut sink).await?;
    let dropped = back(&keyed, &["--ddl-ran"]).await?;
    dropped.is_refused("TP2008", "DROP TABLE")?;

    // Parts of rows can't be written whole.
    let whole = gtid_executed(&mut source).await?;
    run_all(
        &mut source,
        &[
            "SET SESSION binlog_row_image = 'MINIMAL'",
            "UPDATE t SET v = 12 WHERE id = 1",
        ],
    )
    .await?;
    pipeline.run_until_caught_up(&mut source, &mut sink).await?;
    back(&whole, &[])
        .await?
        .is_refused("TP2009", "binlog_row_image")?;

    // And what the source has no more can't come.
    run_all(&mut source, &["FLUSH BINARY LOGS"]).await?;
    let file: Option<(String, u64, String, String, String)> =
        source.query_first("SHOW BINARY LOG STATUS").await?;
    let (file, ..) = file.context("a binlog")?;
    run_all(&mut source, &[&format!("PURGE BINARY LOGS TO '{file}'")]).await?;
    back(&first, &["--ddl-ran"])
        .await?
        .is_refused("TP1210", "")?;
    same_table(&mut source, &mut sink, "refused.t").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_left_out_is_never_applied() -> Result<()> {
    let pair = Pair::start().await?;
    let schema = ["CREATE TABLE t (id INT PRIMARY KEY, v INT)"];
    let pipeline = pair.pipeline("skipped", &schema).await?;
    let (mut source, mut sink) = pair.conns().await?;
    run_all(&mut source, &["USE skipped", "INSERT INTO t VALUES (1, 1)"]).await?;
    let process = pipeline.run()?;
    pipeline.caught_up(&process, &mut source, &mut sink).await?;
    let last = async |source: &mut Conn, before: &str| {
        let query = format!("SELECT GTID_SUBTRACT(@@GLOBAL.gtid_executed, '{before}')");
        let gtid: Option<String> = source.query_first(query).await?;
        gtid.context("a GTID")
    };

    // Its rows are in the sink's transaction, and wait for a lock.
    let before = gtid_executed(&mut source).await?;
    run_all(&mut sink, &["INSERT INTO skipped.t VALUES (9, 9)", "BEGIN"]).await?;
    run_all(&mut sink, &["UPDATE skipped.t SET v = 8 WHERE id = 9"]).await?;
    run_all(&mut source, &["INSERT INTO t VALUES (2, 2), (9, 0)"]).await?;
    let gtid = last(&mut source, &before).await?;
    let mut other = pair.sink.conn().await?;
    until_blocked(&mut other, "skipped").await?;
    let row = pipeline.row(&mut other).await?;
    let said = ask("skip", &pipeline, &["--gtid", &gtid, "--yes"]).await?;
    said.is_done()?;
    for words in [
        "1 transaction\n",
        "skipped.t  2 rows: 2 inserted",
        "towpath verify",
    ] {
        ensure!(said.out.contains(words), "{words:?} in {said:#?}");
    }
    run_all(&mut sink, &["COMMIT"]).await?;
    run_all(&mut source, &["INSERT INTO t VALUES (3, 3)"]).await?;
    pipeline.caught_up(&process, &mut source, &mut sink).await?;
    let after = pipeline.row(&mut sink).await?;
    ensure!(
        after.epoch > row.epoch && after.commit_seq > row.commit_seq,
        "{row:?}, {after:?}"
    );
    let ids = "SELECT GROUP_CONCAT(id * 10 + v ORDER BY id SEPARATOR '') + 0 FROM skipped.t";
    assert_eq!(number(&mut sink, ids).await?, 113398, "1, 3 and 9");

    let again = ask("skip", &pipeline, &["--gtid", &gtid, "--yes"]).await?;
    again.is_done()?;
    ensure!(again.out.contains("nothing to do"), "{again:#?}");
    assert_eq!(pipeline.row(&mut sink).await?, after);
    let (uuid, _) = gtid.split_once(':').context("a GTID")?;
    let unknown = ask(
        "skip",
        &pipeline,
        &["--gtid", &format!("{uuid}:1-999"), "--yes"],
    )
    .await?;
    unknown.is_refused("TP2010", &format!("{uuid}:"))?;

    // It is as it was told: what was left out differs, and can be mended.
    let found = verify(&pipeline, &[]).await?;
    assert_eq!(
        found.differences()?,
        ["skipped.t 2 missing", "skipped.t 9 changed v"]
    );
    verify(&pipeline, &["--repair"]).await?;
    same_table(&mut source, &mut sink, "skipped.t").await?;

    // What has stopped a pipeline.
    run_all(&mut sink, &["INSERT INTO skipped.t VALUES (20, 20)"]).await?;
    run_all(&mut source, &["INSERT INTO t VALUES (4, 4)"]).await?;
    pipeline.caught_up(&process, &mut source, &mut sink).await?;
    until_strict(&mut sink, "skipped").await?;
    let before = gtid_executed(&mut source).await?;
    run_all(&mut source, &["INSERT INTO t VALUES (20, 20)"]).await?;
    let gtid = last(&mut source, &before).await?;
    failure(&process).await?;
    ask("skip", &pipeline, &["--gtid", &gtid, "--yes"])
        .await?
        .is_done()?;
    run_all(&mut source, &["UPDATE t SET v = 21 WHERE id = 20"]).await?;
    pipeline.run_until_caught_up(&mut source, &mut sink).await?;
    same(&mut source, &mut sink, "SELECT * FROM skipped.t").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_of_another_directory_is_taken_into_this_one() -> Result<()> {
    let program = env!("CARGO_BIN_EXE_towpath").into();
    let (pair, cluster) = tokio::try_join!(Pair::start(), Cluster::start(Some(program)))?;
    let schema = ["CREATE TABLE t (id INT PRIMARY KEY)"];
    let pipeline = pair.pipeline("moved", &schema).await?;
    let (mut source, mut sink) = pair.conns().await?;
    run_all(&mut source, &["USE moved", "INSERT INTO t VALUES (1)"]).await?;
    let process = pipeline.run()?;
    pipeline.caught_up(&process, &mut source, &mut sink).await?;
    let adopt = async || {
        let arguments = ["--yes", "--directory", cluster.directory()];
        ask("adopt", &pipeline, &arguments).await
    };
    let said = adopt().await?;
    said.is_done()?;
    ensure!(said.out.contains("nothing to do"), "{said:#?}");

    // Another directory's, and it is at work: it is refused from then on.
    let of_another = "UPDATE towpath.`offset` SET cluster = UUID()";
    run_all(&mut sink, &[of_another]).await?;
    let before = pipeline.row(&mut sink).await?;
    let said = adopt().await?;
    said.is_done()?;
    ensure!(said.out.contains("by connection"), "{said:#?}");
    let said = failure(&process).await?;
    ensure!(said.contains("TP1605"), "{said}");
    assert_eq!(
        pipeline.row(&mut sink).await?.commit_seq,
        before.commit_seq + 1
    );

    // Its generation is above ours: no Core of ours could ever take it over.
    run_all(&mut sink, &[of_another]).await?;
    let above = "UPDATE towpath.`offset` SET generation = 5, epoch = 1000000000";
    run_all(&mut sink, &[above]).await?;
    let core = cluster.core("core-1").spawn()?;
    ready(&core).await?;
    cluster.apply(&pipeline.file).await?;
    wait_until("it to be refused", WAIT, async || {
        let status = cluster.good("status").await?;
        Ok(status.contains("TP1605"))
    })
    .await
    .with_context(|| core.tail())?;
    let said = adopt().await?;
    said.is_done()?;
    ensure!(said.out.contains("in generation 6"), "{said:#?}");
    cluster.good("start moved").await?;
    run_all(&mut source, &["INSERT INTO t VALUES (2)"]).await?;
    pipeline.caught_up(&core, &mut source, &mut sink).await?;
    same_table(&mut source, &mut sink, "moved.t").await?;
    let generation = "SELECT generation FROM towpath.`offset`";
    assert_eq!(number(&mut sink, generation).await?, 6);
    let said = adopt().await?;
    ensure!(said.out.contains("nothing to do"), "{said:#?}");
    ensure!(said.out.contains(SINK), "{said:#?}");
    stop(&core).await
}
