//! What an operator meets at 3 a.m., one by one on real servers: each stops (or holds) the pipeline with its code,
//! names the thing and what to do, moves nothing, and what it advises makes the pipeline go on.

mod another_source;

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Row};
use serde_json::Value;
use towpath_protocol::gtid::GtidSet;
use towpath_testing::{MysqlServer, TcpProxy, TowpathProcess, gtid_executed, wait_until};

use crate::harness::{Pair, Pipeline, SINK, WAIT, failure, rows, same, stop};

/// One pipeline of a pair, and all that a refusal must leave alone.
struct Scene {
    pipeline: Pipeline,
    source: Conn,
    sink: Conn,
}

/// The offset and the rows of a pipeline's table.
#[derive(Debug, PartialEq)]
struct Standing {
    gtids: String,
    rows: Vec<String>,
}

impl Scene {
    /// A pipeline `name` with a table `t (id, v)` that has replicated a row.
    async fn start(pair: &Pair, name: &str) -> Result<Self> {
        let schema = ["CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(20))"];
        let pipeline = pair.pipeline(name, &schema).await?;
        let (mut source, mut sink) = pair.conns().await?;
        source
            .query_drop(format!("INSERT INTO {name}.t VALUES (1, 'one')"))
            .await?;
        pipeline.run_until_caught_up(&mut source, &mut sink).await?;
        Ok(Self {
            pipeline,
            source,
            sink,
        })
    }

    async fn standing(&mut self) -> Result<Standing> {
        let query = format!("SELECT * FROM {}.t", self.pipeline.name);
        Ok(Standing {
            gtids: self.pipeline.stored(&mut self.sink).await?,
            rows: rows(&mut self.sink, &query).await?,
        })
    }

    /// It ends with exit code 1 and this code, says all of this, and nothing has moved.
    async fn refused(&mut self, code: &str, says: &[&str]) -> Result<String> {
        let pipeline = self.pipeline.clone();
        self.refused_as(&pipeline, code, says).await
    }

    /// The same of another file for the same sink.
    async fn refused_as(
        &mut self,
        pipeline: &Pipeline,
        code: &str,
        says: &[&str],
    ) -> Result<String> {
        let before = self.standing().await?;
        let said = refused(pipeline, code, says).await?;
        let after = self.standing().await?;
        ensure!(before == after, "{code}: {before:?} became {after:?}");
        Ok(said)
    }

    /// It goes on, and both sides have the same rows.
    async fn goes_on(&mut self) -> Result<()> {
        let pipeline = &self.pipeline;
        pipeline
            .run_until_caught_up(&mut self.source, &mut self.sink)
            .await?;
        let query = format!("SELECT * FROM {}.t", pipeline.name);
        same(&mut self.source, &mut self.sink, &query).await
    }

    /// A running process has applied all that the source has.
    async fn caught_up(&mut self, process: &TowpathProcess) -> Result<()> {
        self.pipeline
            .caught_up(process, &mut self.source, &mut self.sink)
            .await
    }

    async fn at_source(&mut self, statement: &str) -> Result<()> {
        let done = self.source.query_drop(statement).await;
        done.with_context(|| statement.to_owned())
    }

    /// One after the other, as the server wants it.
    async fn set_gtid_modes(&mut self, modes: &[&str]) -> Result<()> {
        for mode in modes {
            self.at_source(&format!("SET GLOBAL gtid_mode = {mode}"))
                .await?;
        }
        Ok(())
    }

    async fn at_sink(&mut self, statement: &str) -> Result<()> {
        let done = self.sink.query_drop(statement).await;
        done.with_context(|| statement.to_owned())
    }

    /// What `towpath check` says under a code: the finding, and what mends it.
    async fn checked(&self, code: &str) -> Result<(String, String)> {
        let (_, findings) = check(&self.pipeline).await?;
        let text = |finding: &Value, key: &str| {
            let text = finding.get(key).and_then(Value::as_str);
            text.unwrap_or_default().to_owned()
        };
        let with_code = |finding: &&Value| text(finding, "code") == code;
        let finding = findings.iter().find(with_code);
        let finding = finding.with_context(|| format!("check has no {code}: {findings:#?}"))?;
        let what = format!("{}: {}", text(finding, "what"), text(finding, "found"));
        Ok((what, text(finding, "fix")))
    }
}

/// Exit code 1, the code in its line once, where it is explained, and all of this; no password.
async fn refused(pipeline: &Pipeline, code: &str, says: &[&str]) -> Result<String> {
    let said = pipeline.run_until_it_fails().await?;
    let marks = [
        format!("error[{code}]: "),
        format!("towpath explain {code}"),
    ];
    for mark in &marks {
        let told = said.matches(mark.as_str()).count();
        ensure!(told == 1, "{mark:?} is told {told} times:\n{said}");
    }
    for part in says {
        ensure!(said.contains(part), "{part:?} is not in\n{said}");
    }
    ensure!(!said.contains("hunter2"), "a password is told:\n{said}");
    Ok(said)
}

/// The findings of `towpath check`, and its exit code.
async fn check(pipeline: &Pipeline) -> Result<(Option<i32>, Vec<Value>)> {
    pipeline.write()?;
    let process = TowpathProcess::builder()
        .program(env!("CARGO_BIN_EXE_towpath"))
        .args(["check", "--json"])
        .arg(&pipeline.file)
        .spawn()?;
    let status = process.wait_exit(WAIT).await?;
    let report: Value = serde_json::from_str(&process.stdout().concat())?;
    let findings = report.get("findings").and_then(Value::as_array);
    let findings = findings.context("no findings")?.clone();
    Ok((status.code(), findings))
}

/// The GTID of the server's own last transaction, as origin and number.
async fn last_gtid(conn: &mut Conn) -> Result<(String, u64)> {
    let uuid: Option<String> = conn.query_first("SELECT @@server_uuid").await?;
    let uuid = uuid.context("no UUID")?;
    let executed: GtidSet = gtid_executed(conn).await?.parse()?;
    let mut own = executed
        .origins()
        .filter(|(origin, _)| origin.uuid.to_string() == uuid);
    let (_, intervals) = own.next().context("nothing of its own")?;
    let (_, last) = intervals.last().context("no interval")?;
    Ok((uuid, *last))
}

/// Steps over a transaction, as the pages say: its number is added to the intervals.
async fn step_over(scene: &mut Scene, uuid: &str, number: u64) -> Result<()> {
    let name = &scene.pipeline.name;
    let statement = format!(
        "UPDATE towpath.offset_gtid SET intervals = '1-{number}' WHERE pipeline = '{name}' AND \
         sink = '{SINK}' AND source_uuid = '{uuid}' AND tag = ''"
    );
    scene.at_sink(&statement).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logins_and_privileges() -> Result<()> {
    let pair = Pair::start().await?;
    let mut scene = Scene::start(&pair, "p").await?;
    scene.at_source("INSERT INTO p.t VALUES (2, 'two')").await?;
    let epoch = scene.pipeline.row(&mut scene.sink).await?.epoch;

    // A wrong password at the source, then at the sink; the advice: give the account this one.
    scene.pipeline.source_user = "repl:hunter2".into();
    scene
        .refused(
            "TP1203",
            &[
                "the source refuses user `repl`",
                "Access denied",
                "SHOW GRANTS",
            ],
        )
        .await?;
    let (what, _) = scene.checked("TP1203").await?;
    ensure!(what.starts_with("repl can log in: ERROR 1045"), "{what}");
    // It did not take the sink over first: a healthy owner would have gone on.
    let now = scene.pipeline.row(&mut scene.sink).await?.epoch;
    ensure!(now == epoch, "the epoch was raised from {epoch} to {now}");
    scene
        .at_source("ALTER USER repl IDENTIFIED BY 'hunter2'")
        .await?;
    scene.pipeline.sink_user = "app:hunter2".into();
    scene
        .refused("TP1502", &["sink replica", "Access denied for user 'app'"])
        .await?;
    let (what, _) = scene.checked("TP1502").await?;
    ensure!(what.starts_with("app can log in: ERROR 1045"), "{what}");
    scene
        .at_sink("ALTER USER app IDENTIFIED BY 'hunter2'")
        .await?;
    scene.goes_on().await?;

    // No REPLICATION SLAVE: the advice has the GRANT, and check has it for this very account.
    scene
        .at_source("INSERT INTO p.t VALUES (3, 'three')")
        .await?;
    scene
        .at_source("REVOKE REPLICATION SLAVE ON *.* FROM repl")
        .await?;
    scene
        .refused(
            "TP1204",
            &["GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.*"],
        )
        .await?;
    let (_, fix) = scene.checked("TP1204").await?;
    ensure!(
        fix == "GRANT REPLICATION SLAVE ON *.* TO 'repl'@'%';",
        "{fix}"
    );
    scene.at_source(&fix).await?;
    scene.goes_on().await?;

    // No INSERT on a table.
    for statement in [
        "CREATE USER low IDENTIFIED BY 'low'",
        "GRANT ALL ON towpath.* TO low",
        "GRANT SELECT, UPDATE, DELETE ON p.* TO low",
        "GRANT SESSION_VARIABLES_ADMIN, CONNECTION_ADMIN ON *.* TO low",
    ] {
        scene.at_sink(statement).await?;
    }
    scene.pipeline.sink_user = "low:low".into();
    scene
        .at_source("INSERT INTO p.t VALUES (4, 'four')")
        .await?;
    scene
        .refused("TP1503", &["ERROR 1142", "INSERT command denied", "p.t"])
        .await?;
    let (what, fix) = scene.checked("TP1503").await?;
    ensure!(what.contains("lacks INSERT"), "{what}");
    scene.at_sink(&fix).await?;
    scene.goes_on().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_binlog_holds() -> Result<()> {
    let pair = Pair::start().await?;
    let mut scene = Scene::start(&pair, "p").await?;

    // A statement in mid-stream: what came before it is kept.
    scene.at_source("INSERT INTO p.t VALUES (2, 'two')").await?;
    scene
        .at_source("SET SESSION binlog_format = 'STATEMENT'")
        .await?;
    scene
        .at_source("INSERT INTO p.t VALUES (3, 'three')")
        .await?;
    let (uuid, number) = last_gtid(&mut scene.source).await?;
    scene.at_source("SET SESSION binlog_format = 'ROW'").await?;
    scene
        .at_source("INSERT INTO p.t VALUES (4, 'four')")
        .await?;
    let gtid = format!("transaction {uuid}:{number}");
    let says = [
        "INSERT INTO p.t VALUES (3",
        gtid.as_str(),
        "binlog_format = 'ROW'",
    ];
    refused(&scene.pipeline, "TP1301", &says).await?;
    ensure!(rows(&mut scene.sink, "SELECT id FROM p.t").await? == ["'1'", "'2'"]);
    scene.refused("TP1301", &says).await?;
    // As the page says: do the same on the sink, mark it as done, start again.
    scene.at_sink("INSERT INTO p.t VALUES (3, 'three')").await?;
    step_over(&mut scene, &uuid, number).await?;
    scene.goes_on().await?;

    // GTIDs are off, as a whole.
    scene
        .set_gtid_modes(&["ON_PERMISSIVE", "OFF_PERMISSIVE", "OFF"])
        .await?;
    scene
        .refused(
            "TP1209",
            &["gtid_mode = OFF", "OFF_PERMISSIVE, ON_PERMISSIVE and ON"],
        )
        .await?;
    // One that begins now writes no offset: an empty set would mean everything, once there are GTIDs.
    let fresh = Pipeline {
        name: "fresh".into(),
        file: scene.pipeline.file.with_file_name("fresh.toml"),
        start: "now".into(),
        ..scene.pipeline.clone()
    };
    refused(&fresh, "TP1209", &["gtid_mode = OFF"]).await?;
    ensure!(fresh.stored(&mut scene.sink).await?.is_empty());
    ensure!(fresh.row(&mut scene.sink).await.is_err(), "it has a row");
    let (_, fix) = scene.checked("TP1209").await?;
    scene.at_source(&fix).await?;
    scene
        .at_source("INSERT INTO p.t VALUES (5, 'five')")
        .await?;
    scene.goes_on().await?;

    // Anonymous transactions while nobody looks, which a dump by GTID would leave out without a word.
    scene
        .set_gtid_modes(&["ON_PERMISSIVE", "OFF_PERMISSIVE"])
        .await?;
    scene
        .at_source("INSERT INTO p.t VALUES (9, 'nine')")
        .await?;
    scene.set_gtid_modes(&["ON_PERMISSIVE", "ON"]).await?;
    scene.at_source("FLUSH BINARY LOGS").await?;
    scene
        .refused("TP1304", &["without a GTID", "behind the place binlog."])
        .await?;
    let (what, fix) = scene.checked("TP1304").await?;
    ensure!(what.contains("without a GTID"), "{what}");
    ensure!(fix.contains("gtid_mode stay ON"), "{fix}");
    // As the page says: its changes are made on the sink, then the file position is given up.
    scene.at_sink("INSERT INTO p.t VALUES (9, 'nine')").await?;
    scene
        .at_sink(
            "UPDATE towpath.`offset` SET source_file = NULL, source_offset = NULL \
             WHERE pipeline = 'p' AND sink = 'replica'",
        )
        .await?;
    scene.goes_on().await?;
    scene
        .at_source("INSERT INTO p.t VALUES (10, 'ten')")
        .await?;
    scene.goes_on().await?;

    // The same while the connection to the source is lost.
    let proxy = TcpProxy::start(pair.source.port()).await?;
    let port = std::mem::replace(&mut scene.pipeline.source_port, proxy.port().to_string());
    let process = scene.pipeline.run()?;
    process
        .wait_for_line(|line| line.contains("binlog dump begun"), WAIT)
        .await?;
    // Nothing listens there.
    proxy.retarget(1);
    proxy.cut();
    scene
        .set_gtid_modes(&["ON_PERMISSIVE", "OFF_PERMISSIVE"])
        .await?;
    scene
        .at_source("INSERT INTO p.t VALUES (11, 'eleven')")
        .await?;
    scene.set_gtid_modes(&["ON_PERMISSIVE", "ON"]).await?;
    proxy.retarget(pair.source.port());
    let said = failure(&process).await?;
    ensure!(said.contains("error[TP1304]: "), "{said}");
    scene.pipeline.source_port = port;
    scene
        .refused("TP1304", &["behind the place binlog."])
        .await?;
    scene
        .at_sink("INSERT INTO p.t VALUES (11, 'eleven')")
        .await?;
    scene
        .at_sink("UPDATE towpath.`offset` SET source_file = NULL, source_offset = NULL")
        .await?;
    scene.goes_on().await?;

    // An anonymous transaction in mid-stream, and GTIDs after it.
    let process = scene.pipeline.run()?;
    process
        .wait_for_line(|line| line.contains("binlog dump begun"), WAIT)
        .await?;
    scene
        .set_gtid_modes(&["ON_PERMISSIVE", "OFF_PERMISSIVE"])
        .await?;
    scene.at_source("INSERT INTO p.t VALUES (6, 'six')").await?;
    scene.set_gtid_modes(&["ON_PERMISSIVE", "ON"]).await?;
    scene
        .at_source("INSERT INTO p.t VALUES (7, 'seven')")
        .await?;
    let status = process.wait_exit(WAIT).await?;
    let said = process.stderr().join("\n");
    ensure!(
        status.code() == Some(1) && said.contains("error[TP1304]: ") && said.contains("gtid_mode"),
        "{said}"
    );
    // The way on is a copy as of a moment after it.
    let gtids = gtid_executed(&mut scene.source).await?;
    scene
        .at_sink("INSERT INTO p.t VALUES (6, 'six'), (7, 'seven')")
        .await?;
    scene.at_sink("DELETE FROM towpath.`offset`").await?;
    scene.at_sink("DELETE FROM towpath.offset_gtid").await?;
    scene.at_source("FLUSH BINARY LOGS").await?;
    scene.pipeline.start = format!("gtid:{gtids}");
    scene
        .at_source("INSERT INTO p.t VALUES (8, 'eight')")
        .await?;
    scene.goes_on().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_that_differ() -> Result<()> {
    let pair = Pair::start().await?;
    for (name, break_it, code, says) in [
        (
            "missing",
            "DROP TABLE missing.t",
            "TP1401",
            ["missing.t does not exist", "create it"],
        ),
        (
            "lacks",
            "ALTER TABLE lacks.t DROP COLUMN v",
            "TP1402",
            ["lacks.t", "lacks column v"],
        ),
        (
            "typed",
            "ALTER TABLE typed.t DROP COLUMN v, ADD COLUMN v INT",
            "TP1403",
            ["typed.t", "column v is int on the sink"],
        ),
        (
            "short",
            "ALTER TABLE short.t MODIFY v VARCHAR(5)",
            "TP1509",
            ["short.t", "Data too long for column 'v'"],
        ),
        (
            "extra",
            "ALTER TABLE extra.t ADD COLUMN region VARCHAR(20) NOT NULL",
            "TP1404",
            ["extra.t", "Field 'region' doesn't have a default value"],
        ),
        (
            "nulls",
            "ALTER TABLE nulls.t MODIFY v VARCHAR(20) NOT NULL",
            "TP1510",
            ["nulls.t", "Column 'v' cannot be null"],
        ),
    ] {
        let mut scene = Scene::start(&pair, name).await?;
        let value = if name == "short" {
            "'too long'"
        } else {
            "NULL"
        };
        let insert = format!("INSERT INTO {name}.t VALUES (2, {value})");
        scene.at_source(&insert).await?;
        scene.at_sink(break_it).await?;
        let (uuid, number) = last_gtid(&mut scene.source).await?;
        let gtid = format!("{uuid}:{number}");
        if name == "missing" {
            let before = scene.pipeline.stored(&mut scene.sink).await?;
            refused(&scene.pipeline, code, &says).await?;
            ensure!(scene.pipeline.stored(&mut scene.sink).await? == before);
        } else {
            let said = scene.refused(code, &says).await?;
            ensure!(said.contains(&gtid), "{gtid} is not in\n{said}");
        }
        // What check prints under that code mends it.
        if code == "TP1404" {
            let (what, _) = scene.checked(code).await?;
            ensure!(what.contains("region"), "{what}");
            scene
                .at_sink("ALTER TABLE extra.t ALTER COLUMN region SET DEFAULT 'none'")
                .await?;
            let Scene {
                pipeline,
                source,
                sink,
            } = &mut scene;
            pipeline.run_until_caught_up(source, sink).await?;
            same(source, sink, "SELECT id, v FROM extra.t").await?;
            continue;
        }
        if code == "TP1510" {
            // A finding of the definition, not of a value: with the code of what differs.
            scene
                .at_sink("ALTER TABLE nulls.t MODIFY v VARCHAR(20) NULL")
                .await?;
        } else {
            let (_, fix) = scene.checked(code).await?;
            scene.at_sink(&fix).await?;
        }
        // The page's next step: what the sink has lost besides the definition.
        if matches!(name, "lacks" | "typed") {
            let update = format!("UPDATE {name}.t SET v = 'one' WHERE id = 1");
            scene.at_sink(&update).await?;
        }
        if name == "missing" {
            scene
                .at_sink("INSERT INTO missing.t VALUES (1, 'one')")
                .await?;
        }
        scene.goes_on().await?;
    }
    Ok(())
}

/// All tables in one tablespace that may not grow: it holds, and goes on by itself when there is room.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_sink() -> Result<()> {
    let small = "ibdata1:12M:autoextend:max:32M";
    let pair = Pair::with(
        |source| source,
        |sink| {
            sink.option("innodb-data-file-path", small)
                .option("innodb-file-per-table", "OFF")
        },
    )
    .await?;
    let mut scene = Scene::start(&pair, "p").await?;
    scene.at_sink("CREATE DATABASE other").await?;
    scene
        .at_sink("CREATE TABLE other.filler (b LONGBLOB)")
        .await?;
    let filler = "INSERT INTO other.filler VALUES (REPEAT('x', 1048576))";
    wait_until("the sink to be full", WAIT, async || {
        let mut conn = pair.sink.conn().await?;
        match conn.query_drop(filler).await {
            Err(mysql_async::Error::Server(error)) if error.code == 1114 => Ok(true),
            result => result.map(|()| false).map_err(Into::into),
        }
    })
    .await?;
    scene
        .at_source("SET SESSION cte_max_recursion_depth = 100000")
        .await?;
    scene
        .at_source(
            "INSERT INTO p.t WITH RECURSIVE n (n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM n WHERE n < 60000) \
             SELECT n, 'abcdefghijklmnopqrst' FROM n",
        )
        .await?;
    let before = scene.standing().await?;
    let process = scene.pipeline.run()?;
    let full = |line: &str| line.contains("TP1506") && line.contains("ERROR 1114");
    process.wait_for_line(full, WAIT).await?;
    // It tries again, and each try is rolled back whole.
    wait_until("a second try", WAIT, async || {
        Ok(process.stderr().iter().filter(|line| full(line)).count() >= 2)
    })
    .await?;
    ensure!(process.exit_status()?.is_none(), "{}", process.tail());
    let after = scene.standing().await?;
    ensure!(
        before == after,
        "{} rows became {}",
        before.rows.len(),
        after.rows.len()
    );
    scene.at_sink("DROP TABLE other.filler").await?;
    scene.caught_up(&process).await?;
    same(&mut scene.source, &mut scene.sink, "CHECKSUM TABLE p.t").await?;
    stop(&process).await
}

/// Data and offset of an earlier backup: it goes on from there. Rows without the offset: it's told to begin, and
/// does so at `start`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_that_was_restored() -> Result<()> {
    let pair = Pair::start().await?;
    let mut scene = Scene::start(&pair, "p").await?;
    let backup = dump(&pair.sink, &["p", "towpath"])?;
    let old = scene.standing().await?;
    for statement in [
        "INSERT INTO p.t VALUES (2, 'two')",
        "UPDATE p.t SET v = 'uno' WHERE id = 1",
        "ALTER TABLE p.t ADD COLUMN w INT",
        "INSERT INTO p.t VALUES (3, 'three', 3)",
    ] {
        scene.at_source(statement).await?;
    }
    scene.goes_on().await?;
    for database in ["p", "towpath"] {
        scene.at_sink(&format!("DROP DATABASE {database}")).await?;
    }
    load(&pair.sink, &backup)?;
    ensure!(scene.standing().await? == old);
    scene.goes_on().await?;

    // Restored while it runs: it notices at its next commit, says so, and goes on when it is started again.
    let backup = dump(&pair.sink, &["p", "towpath"])?;
    let process = scene.pipeline.run()?;
    scene
        .at_source("INSERT INTO p.t VALUES (4, 'four', 4)")
        .await?;
    scene.caught_up(&process).await?;
    for database in ["p", "towpath"] {
        scene.at_sink(&format!("DROP DATABASE {database}")).await?;
    }
    load(&pair.sink, &backup)?;
    scene
        .at_source("INSERT INTO p.t VALUES (5, 'five', 5)")
        .await?;
    let status = process.wait_exit(WAIT).await?;
    let said = process.stderr().join("\n");
    ensure!(
        status.code() == Some(1)
            && said.contains("error[TP1608]: ")
            && said.contains("restored to an older state"),
        "{status}: {said}"
    );
    scene.goes_on().await
}

/// What `mysqldump` writes of some databases.
fn dump(server: &MysqlServer, databases: &[&str]) -> Result<Vec<u8>> {
    let output = Command::new(server.programs().program("mysqldump"))
        .args([
            "--no-defaults",
            "--user=root",
            "--protocol=TCP",
            "--host=127.0.0.1",
        ])
        .arg(format!("--port={}", server.port()))
        .args([
            "--single-transaction",
            "--set-gtid-purged=OFF",
            "--databases",
        ])
        .args(databases)
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "mysqldump: {said}");
    Ok(output.stdout)
}

/// Runs such a dump.
fn load(server: &MysqlServer, dump: &[u8]) -> Result<()> {
    use std::io::Write as _;

    let mut mysql = Command::new(server.programs().program("mysql"))
        .args([
            "--no-defaults",
            "--user=root",
            "--protocol=TCP",
            "--host=127.0.0.1",
        ])
        .arg(format!("--port={}", server.port()))
        .stdin(Stdio::piped())
        .spawn()?;
    mysql.stdin.take().context("no stdin")?.write_all(dump)?;
    ensure!(mysql.wait()?.success(), "the dump doesn't load");
    Ok(())
}
