//! DDL: carried with the rows around it, exactly once whatever is killed when, and refused where
//! it can't be.

mod classes;
mod swaps;
mod strays;
mod rules;
mod undecided;
mod steps;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Row};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use towpath_core::apply::ddl::{ObjectName, TableName};
use towpath_core::commit::ddl::{DdlIntent, Definitions};
use towpath_core::commit::lock::Lane;
use towpath_core::commit::session::Session;
use towpath_testing::{gtid_executed, wait_until};

use crate::harness::{Pair, SINK, WAIT, endpoint, number, same, same_table, stop, until};

/// Tables that are made, changed and dropped while the program is killed.
const ROUNDS: u32 = 6;
const KILLS: u32 = 10;

/// A stopping program that waits for a statement gives it up after this long.
const STOP_MAX: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_runs_once_whatever_is_killed() -> Result<()> {
    killed_around_ddl(&Pair::start().await?, true, ROUNDS, KILLS).await
}

#[ignore = "minutes: the long form of the one before"]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_runs_once_whatever_is_killed_many_times() -> Result<()> {
    killed_around_ddl(&Pair::start().await?, true, 6 * ROUNDS, 4 * KILLS).await
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
    killed_around_ddl(&pair, false, ROUNDS, KILLS).await?;
    intents(&pair, false).await?;
    undecided::answered_by_the_operator(&pair).await?;
    refused_and_repaired(&pair).await
}

/// The first word of what isn't DDL.
const ROWS: [&str; 3] = ["INSERT", "UPDATE", "DELETE"];

/// One round of every class: statements with rows between them that depend on them.
fn round(n: u32, gtids: bool) -> Vec<String> {
    let t = format!("t{n}");
    let mut all = vec![
        format!("CREATE TABLE {t} (id INT AUTO_INCREMENT PRIMARY KEY, v VARCHAR(20))"),
        format!("INSERT INTO {t} (v) VALUES ('a'), ('b'), ('c')"),
        format!("INSERT INTO base VALUES ({n})"),
        format!("ALTER TABLE {t} ADD COLUMN c{n} INT NOT NULL DEFAULT {n}, ADD KEY (v)"),
        format!("INSERT INTO {t} (v, c{n}) VALUES ('d', 4)"),
        format!("UPDATE {t} SET c{n} = id"),
        format!("ALTER TABLE {t} DROP KEY v, MODIFY v VARCHAR(40) NOT NULL"),
        format!("DELETE FROM {t} WHERE v = 'a'"),
        format!("CREATE TABLE `made{n}` (PRIMARY KEY (id)) SELECT id, v FROM {t}"),
        format!("UPDATE made{n} SET v = 'made'"),
        format!("CREATE TABLE {t}_new LIKE {t}"),
        format!("ALTER TABLE {t}_new ADD w INT NOT NULL DEFAULT 1"),
        format!("INSERT INTO {t}_new (id, v, c{n}) SELECT id, v, c{n} FROM {t}"),
        format!("RENAME TABLE {t} TO {t}_old, {t}_new TO {t}"),
        format!("UPDATE {t} SET w = id"),
        format!("CREATE INDEX i ON {t} (w)"),
        format!("ALTER TABLE {t}_old RENAME TO {t}_older"),
        format!("TRUNCATE TABLE {t}_older"),
        format!("INSERT INTO {t}_older (v) VALUES ('cut')"),
        format!("CREATE DATABASE d_{n}"),
        format!("CREATE TABLE d_{n}.t (id INT PRIMARY KEY)"),
        format!("INSERT INTO d_{n}.t VALUES (1)"),
    ];
    if gtids {
        // Elsewhere they leave no trace, and a crash is a question to the operator.
        all.extend([
            "RENAME TABLE base TO x, base2 TO base, x TO base2".to_owned(),
            format!("INSERT INTO base VALUES (1000 + {n})"),
            "ALTER TABLE parts EXCHANGE PARTITION p WITH TABLE base2".to_owned(),
            format!("INSERT INTO base2 VALUES (2000 + {n})"),
        ]);
    }
    if n.is_multiple_of(3) {
        all.push(format!("DROP TABLE t{}", n - 1));
        all.push(format!("DROP DATABASE d_{}", n - 1));
    }
    all
}

/// Whether the source writes a statement anew, without its mark.
fn is_written_anew(statement: &str) -> bool {
    statement.starts_with("DROP TABLE") || statement.contains(" SELECT ")
}

async fn killed_around_ddl(pair: &Pair, gtids: bool, rounds: u32, kills: u32) -> Result<()> {
    let mut pipeline = pair
        .pipeline(
            "d",
            &[
                "CREATE TABLE base (id INT PRIMARY KEY)",
                "CREATE TABLE base2 (id INT PRIMARY KEY)",
                "CREATE TABLE parts (id INT PRIMARY KEY) PARTITION BY HASH (id) PARTITIONS 1",
                "ALTER TABLE parts PARTITION BY RANGE (id) (PARTITION p VALUES LESS THAN MAXVALUE)",
            ],
        )
        .await?;
    pipeline.tables = r#"d.*", "d_*.*"#.to_owned();
    let (mut source, mut sink) = pair.conns().await?;
    let mut writer = pair.source.conn().await?;
    let load = tokio::spawn(async move {
        writer.query_drop("USE d").await?;
        let (mut ddl, mut marked) = (0, 0);
        for n in 1..=rounds {
            for statement in round(n, gtids) {
                let is_ddl = !ROWS.iter().any(|rows| statement.starts_with(rows));
                ddl += u64::from(is_ddl);
                // TRUNCATE may rightly run twice at once where there are no GTIDs.
                let counts = is_ddl && (gtids || !statement.starts_with("TRUNCATE"));
                marked += usize::from(counts && !is_written_anew(&statement));
                let statement = if counts {
                    format!("{statement} /* ddl {ddl} */")
                } else {
                    statement
                };
                writer.query_drop(&statement).await.context(statement)?;
            }
        }
        anyhow::Ok((ddl, marked))
    });
    let seed = rand::random();
    let mut rng = StdRng::seed_from_u64(seed);
    let killed = async {
        let mut process = pipeline.run()?;
        for _ in 0..kills {
            tokio::time::sleep(Duration::from_millis(rng.random_range(50..500))).await;
            process.kill9()?;
            process = pipeline.run()?;
        }
        let counts = tokio::time::timeout(WAIT, load).await???;
        pipeline.caught_up(&process, &mut source, &mut sink).await?;
        stop(&process).await?;
        anyhow::Ok(counts)
    };
    let (ddl, marked) = killed.await.with_context(|| format!("seed {seed}"))?;

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
        ran.len() == marked,
        "seed {seed}: {marked} marked, {} ran: {ran:?}",
        ran.len()
    );
    for database in (1..=rounds)
        .map(|n| format!("d_{n}"))
        .chain(["d".to_owned()])
    {
        compare_database(&mut source, &mut sink, &database)
            .await
            .with_context(|| format!("seed {seed}"))?;
    }
    Ok(())
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

/// The same tables and views, definitions (apart from counters) and rows.
async fn compare_database(source: &mut Conn, sink: &mut Conn, database: &str) -> Result<()> {
    let objects = format!(
        "SELECT table_name, table_type FROM information_schema.tables WHERE table_schema = '{database}'"
    );
    let tables: Vec<String> = source
        .query(format!(
            "SELECT table_name FROM ({objects}) o WHERE table_type = 'BASE TABLE'"
        ))
        .await?;
    for conn in [&mut *source, &mut *sink] {
        conn.query_drop("SET NAMES utf8mb4, sql_mode = '', time_zone = '+00:00'")
            .await?;
    }
    same(source, sink, &objects).await?;
    for name in tables {
        let table = format!("`{database}`.`{}`", name.replace('`', "``"));
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
    let row: Option<Row> = conn
        .query_first(format!("SHOW CREATE TABLE {table}"))
        .await?;
    let definition: String = row.context("no definition")?.get(1).context("no text")?;
    let words = definition
        .split(' ')
        .filter(|word| !word.starts_with("AUTO_INCREMENT="));
    Ok(words.collect::<Vec<_>>().join(" "))
}

/// The same view, and it answers alike.
async fn compare_view(source: &mut Conn, sink: &mut Conn, view: &str) -> Result<()> {
    for conn in [&mut *source, &mut *sink] {
        // The server writes what a view reads without the default database.
        conn.query_drop("USE information_schema").await?;
    }
    let (there, here) = (
        definition(source, view).await?,
        definition(sink, view).await?,
    );
    ensure!(there == here, "source: {there}\nsink: {here}");
    same(source, sink, &format!("SELECT * FROM {view}")).await
}

/// The statement in an error that marks a transaction as done.
fn way_past(said: &str) -> Result<&str> {
    let at = said
        .find("UPDATE towpath.offset_gtid")
        .context("no way past")?;
    let rest = said.get(at..).unwrap_or_default();
    let end = rest.find("tag = ''").context("the statement is cut off")?;
    Ok(rest.get(..end + "tag = ''".len()).unwrap_or_default())
}

/// A connection as the program makes it.
async fn session(pair: &Pair) -> Result<Session> {
    Ok(Session::connect(SINK, &endpoint(&pair.sink)).await?)
}

/// A record of intent that a crash left, before and after its statement ran.
async fn intents(pair: &Pair, gtids: bool) -> Result<()> {
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
        let mut session = session(pair).await?;
        let table = ObjectName::Table(TableName {
            database: name.into(),
            table: "t".into(),
        });
        let intent = DdlIntent {
            seq: row.ddl_seq + 1,
            gtid: format!("{uuid}:{last}"),
            statement: statement.clone(),
            before: Definitions::read(&mut session, &[table])
                .await?
                .fingerprint(),
            traceless: false,
            answer: None,
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
        "CREATE TABLE elsewhere.copied SELECT * FROM here.t",
        "ALTER TABLE elsewhere.u RENAME TO elsewhere.v",
        "RENAME TABLE elsewhere.v TO elsewhere.u",
        "DROP TABLE elsewhere.copied",
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

    rules::partly_filtered(&pair).await?;
    rules::rules_per_class(&pair).await?;
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
