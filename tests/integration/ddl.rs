//! DDL: carried with the rows around it, exactly once whatever is killed when, and refused where
//! it can't be.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Row};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use towpath_core::apply::ddl::TableName;
use towpath_core::commit::ddl::{DdlIntent, fingerprint};
use towpath_core::commit::lock::Lane;
use towpath_core::commit::session::Session;
use towpath_protocol::spec::{Endpoint, Secret, TlsMode};
use towpath_testing::{gtid_executed, wait_until};

use crate::harness::{Pair, SINK, WAIT, number, rows, same_table, stop, until};

/// Tables that are made, changed and dropped while the program is killed.
const ROUNDS: u32 = 12;
const KILLS: u32 = 8;

/// A stopping program that waits for a statement gives it up after this long.
const STOP_MAX: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_runs_once_whatever_is_killed() -> Result<()> {
    killed_around_ddl(&Pair::start().await?, true).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_runs_once_on_a_sink_without_gtids() -> Result<()> {
    let pair = Pair::with(
        |source| source,
        |sink| {
            sink.option("gtid-mode", "OFF")
                .option("enforce-gtid-consistency", "OFF")
        },
    )
    .await?;
    killed_around_ddl(&pair, false).await?;
    intents(&pair, false).await?;
    refused_and_repaired(&pair).await
}

async fn killed_around_ddl(pair: &Pair, gtids: bool) -> Result<()> {
    let pipeline = pair
        .pipeline("d", &["CREATE TABLE base (id INT PRIMARY KEY)"])
        .await?;
    let (mut source, mut sink) = pair.conns().await?;
    let mut writer = pair.source.conn().await?;
    let load = tokio::spawn(async move {
        writer.query_drop("USE d").await?;
        let mut ddl = 0;
        for n in 1..=ROUNDS {
            let t = format!("t{n}");
            for statement in [
                format!("CREATE TABLE {t} (id INT AUTO_INCREMENT PRIMARY KEY, v VARCHAR(20))"),
                format!("INSERT INTO {t} (v) VALUES ('a'), ('b'), ('c')"),
                format!("INSERT INTO base VALUES ({n})"),
                format!("ALTER TABLE {t} ADD COLUMN c{n} INT NOT NULL DEFAULT {n}, ADD KEY (v)"),
                format!("INSERT INTO {t} (v, c{n}) VALUES ('d', 4)"),
                format!("UPDATE {t} SET c{n} = id"),
                format!("ALTER TABLE {t} DROP KEY v, MODIFY v VARCHAR(40) NOT NULL"),
                format!("DELETE FROM {t} WHERE v = 'a'"),
            ] {
                let is_ddl = !["INSERT", "UPDATE", "DELETE"]
                    .iter()
                    .any(|dml| statement.starts_with(dml));
                ddl += u64::from(is_ddl);
                let marked = if is_ddl {
                    format!("{statement} /* ddl {ddl} */")
                } else {
                    statement
                };
                writer.query_drop(marked).await?;
            }
            if n % 3 == 0 {
                ddl += 1;
                writer.query_drop(format!("DROP TABLE t{}", n - 1)).await?;
            }
        }
        anyhow::Ok(ddl)
    });
    let seed = rand::random();
    let mut rng = StdRng::seed_from_u64(seed);
    let killed = async {
        let mut process = pipeline.run()?;
        for _ in 0..KILLS {
            tokio::time::sleep(Duration::from_millis(rng.random_range(50..400))).await;
            process.kill9()?;
            process = pipeline.run()?;
        }
        let ddl = tokio::time::timeout(WAIT, load).await???;
        pipeline.caught_up(&process, &mut source, &mut sink).await?;
        stop(&process).await?;
        anyhow::Ok(ddl)
    };
    let ddl = killed.await.with_context(|| format!("seed {seed}"))?;

    let row = pipeline.row(&mut sink).await?;
    ensure!(
        row.ddl_seq == ddl && row.ddl_intent.is_none(),
        "seed {seed}: {ddl} of {row:?}"
    );
    if gtids {
        let executed = gtid_executed(&mut sink).await?;
        let ours = format!("{}:1-{ddl}", row.uuid);
        ensure!(
            executed.contains(&ours),
            "seed {seed}: {ours} is not in {executed}"
        );
    }
    let ran = marked_statements(&mut sink).await?;
    let twice: Vec<_> = ran.iter().filter(|(_, times)| **times != 1).collect();
    ensure!(twice.is_empty(), "seed {seed}: not once: {twice:?}");
    ensure!(
        ran.len() as u64 == ddl - u64::from(ROUNDS / 3),
        "seed {seed}: {ran:?}"
    );
    compare_database(&mut source, &mut sink, "d")
        .await
        .with_context(|| format!("seed {seed}"))
}

/// How often each statement with a mark is in the sink's binlog.
async fn marked_statements(sink: &mut Conn) -> Result<HashMap<String, u32>> {
    let files: Vec<Row> = sink.query("SHOW BINARY LOGS").await?;
    let mut times = HashMap::new();
    for file in files {
        let name: String = file.get(0).context("no name")?;
        let events: Vec<Row> = sink
            .query(format!("SHOW BINLOG EVENTS IN '{name}'"))
            .await?;
        for event in events {
            let info: String = event.get(5).unwrap_or_default();
            if let Some((_, mark)) = info.split_once("/* ddl ") {
                *times.entry(mark.to_owned()).or_default() += 1;
            }
        }
    }
    Ok(times)
}

/// The same tables, definitions (apart from counters) and rows.
async fn compare_database(source: &mut Conn, sink: &mut Conn, database: &str) -> Result<()> {
    let tables = format!(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = '{database}'"
    );
    let names: Vec<String> = source.query(&tables).await?;
    for conn in [&mut *source, &mut *sink] {
        conn.query_drop("SET NAMES utf8mb4, sql_mode = '', time_zone = '+00:00'")
            .await?;
    }
    ensure!(
        rows(source, &tables).await? == rows(sink, &tables).await?,
        "other tables"
    );
    for name in names {
        let table = format!("{database}.{name}");
        let (there, here) = (
            definition(source, &table).await?,
            definition(sink, &table).await?,
        );
        ensure!(there == here, "source: {there}\nsink: {here}");
        same_table(source, sink, &table).await?;
    }
    Ok(())
}

async fn definition(conn: &mut Conn, table: &str) -> Result<String> {
    let row: Option<(String, String)> = conn
        .query_first(format!("SHOW CREATE TABLE {table}"))
        .await?;
    let (_, definition) = row.context("no definition")?;
    let words = definition
        .split(' ')
        .filter(|word| !word.starts_with("AUTO_INCREMENT="));
    Ok(words.collect::<Vec<_>>().join(" "))
}

/// A record of intent that a crash left, before and after its statement ran.
async fn intents(pair: &Pair, gtids: bool) -> Result<()> {
    let endpoint = Endpoint {
        host: "127.0.0.1".into(),
        port: pair.sink.port(),
        user: "app".into(),
        password: Secret::new("app"),
        tls: TlsMode::Disabled,
        tls_ca: None,
    };
    for (name, ran) in [("ran", true), ("planned", false)] {
        let pipeline = pair
            .pipeline(name, &["CREATE TABLE t (id INT PRIMARY KEY)"])
            .await?;
        let (mut source, mut sink) = pair.conns().await?;
        source
            .query_drop(format!("INSERT INTO {name}.t VALUES (1)"))
            .await?;
        pipeline.run_until_caught_up(&mut source, &mut sink).await?;
        let row = pipeline.row(&mut sink).await?;

        // A second time it would fail.
        let statement = format!("ALTER TABLE {name}.t ADD COLUMN v INT /* intent {name} */");
        source.query_drop(&statement).await?;
        let set = gtid_executed(&mut source).await?;
        let (uuid, _) = set.split_once(':').context("no GTID")?;
        let last = set.rsplit(['-', ':']).next().context("no GTID")?;
        let mut session = Session::connect(SINK, &endpoint).await?;
        let table = TableName {
            database: name.into(),
            table: "t".into(),
        };
        let intent = DdlIntent {
            seq: row.ddl_seq + 1,
            gtid: format!("{uuid}:{last}"),
            statement: statement.clone(),
            before: fingerprint(&mut session, &[table]).await?,
        };
        sink.exec_drop(
            "UPDATE towpath.`offset` SET ddl_seq = ?, ddl_intent = ? WHERE pipeline = ?",
            (intent.seq, intent.to_json(), name),
        )
        .await?;
        if ran {
            if gtids {
                sink.query_drop(format!("SET gtid_next = '{}:{}'", row.uuid, intent.seq))
                    .await?;
            }
            sink.query_drop(&statement).await?;
            if gtids {
                sink.query_drop("SET gtid_next = 'AUTOMATIC'").await?;
            }
        }
        source
            .query_drop(format!("INSERT INTO {name}.t VALUES (2, 2)"))
            .await?;
        pipeline.run_until_caught_up(&mut source, &mut sink).await?;
        let after = pipeline.row(&mut sink).await?;
        ensure!(
            after.ddl_seq == intent.seq && after.ddl_intent.is_none(),
            "{name}: {after:?}"
        );
        compare_database(&mut source, &mut sink, name).await?;
    }
    Ok(())
}

/// A statement that the sink refuses runs once the sink is mended, though its tables have changed
/// since the intent.
async fn refused_and_repaired(pair: &Pair) -> Result<()> {
    let pipeline = pair
        .pipeline("mended", &["CREATE TABLE t (id INT PRIMARY KEY, v INT)"])
        .await?;
    let (mut source, mut sink) = pair.conns().await?;
    sink.query_drop("ALTER TABLE mended.t ADD KEY k (v)")
        .await?;
    source
        .query_drop("ALTER TABLE mended.t ADD UNIQUE KEY k (v) /* mended */")
        .await?;
    let said = pipeline.run_until_it_fails().await?;
    for part in [
        "ERROR 1061",
        "/* mended */",
        "start again",
        &last_gtid(&mut source).await?,
    ] {
        ensure!(said.contains(part), "{part:?} is not in\n{said}");
    }
    sink.query_drop("ALTER TABLE mended.t DROP KEY k").await?;
    source
        .query_drop("INSERT INTO mended.t VALUES (1, 1)")
        .await?;
    pipeline.run_until_caught_up(&mut source, &mut sink).await?;
    compare_database(&mut source, &mut sink, "mended").await
}

async fn last_gtid(source: &mut Conn) -> Result<String> {
    let set = gtid_executed(source).await?;
    let (uuid, _) = set.split_once(':').context("no GTID")?;
    let last = set.rsplit(['-', ':']).next().context("no GTID")?;
    Ok(format!("{uuid}:{last}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_outside_is_skipped_and_what_cant_be_carried_stops() -> Result<()> {
    let pair = Pair::start().await?;
    intents(&pair, true).await?;
    refused_and_repaired(&pair).await?;

    let (mut source, mut sink) = pair.conns().await?;
    let pipeline = pair
        .pipeline("here", &["CREATE TABLE t (id INT PRIMARY KEY)"])
        .await?;
    for statement in [
        "CREATE DATABASE elsewhere",
        "CREATE TABLE elsewhere.t (id INT PRIMARY KEY)",
        "ALTER TABLE elsewhere.t ADD COLUMN v INT",
        "INSERT INTO elsewhere.t VALUES (1, 1)",
        "INSERT INTO here.t VALUES (1)",
        "CREATE INDEX i ON elsewhere.t (v)",
        "TRUNCATE elsewhere.t",
        "RENAME TABLE elsewhere.t TO elsewhere.u",
        "CREATE VIEW elsewhere.w AS SELECT 1",
        "CREATE USER somebody@'%'",
        "DROP TABLE elsewhere.u",
        "DROP DATABASE elsewhere",
        "INSERT INTO here.t VALUES (2)",
    ] {
        source.query_drop(statement).await.context(statement)?;
    }
    pipeline.run_until_caught_up(&mut source, &mut sink).await?;
    compare_database(&mut source, &mut sink, "here").await?;
    ensure!(pipeline.row(&mut sink).await?.ddl_seq == 0);
    let foreign = "SELECT (SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name = 'elsewhere') \
                   + (SELECT COUNT(*) FROM mysql.user WHERE user = 'somebody')";
    ensure!(number(&mut sink, foreign).await? == 0);

    for (name, statement) in [
        ("cut", "TRUNCATE TABLE t"),
        ("renamed", "RENAME TABLE t TO u"),
        ("altered", "ALTER TABLE t RENAME TO u"),
        ("seen", "CREATE VIEW w AS SELECT 1"),
        ("copied", "CREATE TABLE u AS SELECT * FROM t"),
    ] {
        let pipeline = pair
            .pipeline(
                name,
                &[
                    "CREATE TABLE t (id INT PRIMARY KEY)",
                    "INSERT INTO t VALUES (1)",
                ],
            )
            .await?;
        source.query_drop(format!("USE {name}")).await?;
        source.query_drop("INSERT INTO t VALUES (2)").await?;
        pipeline.run_until_caught_up(&mut source, &mut sink).await?;
        let stored = pipeline.stored(&mut sink).await?;
        source.query_drop(statement).await?;
        let gtid = last_gtid(&mut source).await?;
        let said = pipeline.run_until_it_fails().await?;
        let named = match name {
            // Refused by the shape of its transaction, which has no text to show.
            "copied" => "CREATE TABLE ... SELECT",
            // The server writes out what the user left out.
            "seen" => "VIEW `w` AS SELECT 1",
            _ => statement,
        };
        for part in [
            named,
            &gtid,
            "not carried by this version",
            if name == "copied" {
                "step over"
            } else {
                "UPDATE towpath.offset_gtid SET intervals"
            },
        ] {
            ensure!(said.contains(part), "{name}: {part:?} is not in\n{said}");
        }
        ensure!(
            pipeline.stored(&mut sink).await? == stored,
            "{name}: the offset moved"
        );
        ensure!(number(&mut sink, &format!("SELECT COUNT(*) FROM {name}.t")).await? == 2);
        // The statement that the error prints is the way past it.
        if let Some(at) = said.find("UPDATE towpath.offset_gtid") {
            let rest = said.get(at..).unwrap_or_default();
            let end = rest.find("tag = ''").context("the statement is cut off")?;
            sink.query_drop(format!("{}tag = ''", &rest[..end])).await?;
            pipeline.run_until_caught_up(&mut source, &mut sink).await?;
        }
    }
    session_of_its_own(&pair).await?;
    stops_while_it_waits(&pair).await
}

/// Statements mean what they meant at the source, not what the sink's settings make of them.
async fn session_of_its_own(pair: &Pair) -> Result<()> {
    let pipeline = pair
        .pipeline("meant", &["CREATE TABLE base (id INT PRIMARY KEY)"])
        .await?;
    let (mut source, mut sink) = pair.conns().await?;
    for setting in [
        "SET GLOBAL sql_generate_invisible_primary_key = ON",
        "SET GLOBAL sql_require_primary_key = OFF",
        "SET GLOBAL sql_mode = 'ANSI_QUOTES,NO_ZERO_DATE,STRICT_ALL_TABLES'",
        "SET GLOBAL time_zone = '+05:00'",
        "SET GLOBAL explicit_defaults_for_timestamp = OFF",
        "SET GLOBAL foreign_key_checks = ON",
    ] {
        sink.query_drop(setting).await.context(setting)?;
    }
    let process = pipeline.run()?;
    for statement in [
        "USE meant",
        "SET sql_mode = ''",
        "CREATE TABLE bare (n INT, d DATE DEFAULT '0000-00-00', ts TIMESTAMP)",
        "INSERT INTO bare VALUES (1, '0000-00-00', '2024-07-01 12:00:00')",
        "SET time_zone = '-03:00'",
        "CREATE TABLE zoned (id INT PRIMARY KEY, ts TIMESTAMP DEFAULT '2024-07-01 12:00:00')",
        "INSERT INTO zoned (id) VALUES (1)",
        "SET sql_mode = 'ANSI_QUOTES'",
        "CREATE TABLE \"quoted\" (\"a\"\"b\" INT PRIMARY KEY, v VARCHAR(9) DEFAULT 'it''s')",
        "SET sql_mode = '', foreign_key_checks = 0",
        "CREATE TABLE early (id INT PRIMARY KEY, l INT, FOREIGN KEY (l) REFERENCES late (id))",
        "CREATE TABLE late (id INT PRIMARY KEY)",
        "SET NAMES latin1",
        "ALTER TABLE base COMMENT 'caf\u{c3}\u{a9}'",
    ] {
        source.query_drop(statement).await.context(statement)?;
    }
    pipeline.caught_up(&process, &mut source, &mut sink).await?;
    compare_database(&mut source, &mut sink, "meant").await?;
    stop(&process).await
}

/// SIGTERM is obeyed while a statement waits, and the statement is carried afterwards.
async fn stops_while_it_waits(pair: &Pair) -> Result<()> {
    let pipeline = pair
        .pipeline("waits", &["CREATE TABLE t (id INT PRIMARY KEY)"])
        .await?;
    let (mut source, mut sink) = pair.conns().await?;
    let mut reader = pair.sink.conn().await?;
    reader.query_drop("BEGIN").await?;
    reader.query_drop("SELECT * FROM waits.t").await?;
    let process = pipeline.run()?;
    source
        .query_drop("ALTER TABLE waits.t ADD COLUMN v INT")
        .await?;
    let waiting = "SELECT COUNT(*) FROM information_schema.processlist \
                   WHERE state = 'Waiting for table metadata lock'";
    until("the statement to wait", &mut sink, waiting, |waiting| {
        waiting == 1
    })
    .await?;
    // Interrupted, it is tried again.
    let epoch = pipeline.row(&mut sink).await?.epoch;
    let ddl = pipeline
        .holder(&mut sink, Lane::Ddl)
        .await?
        .context("DDL has no lock")?;
    sink.query_drop(format!("KILL QUERY {ddl}")).await?;
    wait_until("the next epoch", WAIT, async || {
        Ok(pipeline.row(&mut sink).await?.epoch > epoch)
    })
    .await
    .with_context(|| process.tail())?;
    until(
        "the statement to wait again",
        &mut sink,
        waiting,
        |waiting| waiting == 1,
    )
    .await?;
    let began = Instant::now();
    stop(&process).await?;
    ensure!(
        began.elapsed() <= STOP_MAX,
        "it stopped after {:?}",
        began.elapsed()
    );
    reader.query_drop("ROLLBACK").await?;
    source
        .query_drop("INSERT INTO waits.t VALUES (1, 1)")
        .await?;
    pipeline.run_until_caught_up(&mut source, &mut sink).await?;
    wait_until("no statement to wait", WAIT, async || {
        Ok(number(&mut sink, waiting).await? == 0)
    })
    .await?;
    compare_database(&mut source, &mut sink, "waits").await
}
