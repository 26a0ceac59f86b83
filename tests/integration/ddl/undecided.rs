//! Statements that leave no trace in the definitions, on a sink without GTIDs: after a crash the operator
//! is asked, and either answer works.

use anyhow::{Context as _, Result, ensure};
use mysql_async::prelude::Queryable as _;
use towpath_core::apply::ddl::{ObjectName, TableName, Trace};
use towpath_core::commit::ddl::{DdlIntent, Definitions};

use super::{compare_database, last_gtid, session};
use crate::harness::Pair;

const SCHEMA: &[&str] = &[
    "CREATE TABLE a (id INT PRIMARY KEY)",
    "CREATE TABLE b (id INT PRIMARY KEY)",
    "INSERT INTO a VALUES (1)",
    "INSERT INTO b VALUES (2)",
    "CREATE TABLE p (id INT PRIMARY KEY) PARTITION BY RANGE (id) (PARTITION p VALUES LESS THAN MAXVALUE)",
    "INSERT INTO p VALUES (3)",
];

pub(super) async fn answered_by_the_operator(pair: &Pair) -> Result<()> {
    for (name, ran, swap) in [
        ("swap_ran", true, true),
        ("swap_planned", false, true),
        ("exchange_ran", true, false),
        ("exchange_planned", false, false),
    ] {
        let pipeline = pair.pipeline(name, SCHEMA).await?;
        let (mut source, mut sink) = pair.conns().await?;
        for conn in [&mut source, &mut sink] {
            conn.query_drop(format!("USE {name}")).await?;
        }
        source.query_drop("INSERT INTO a VALUES (10)").await?;
        pipeline.run_until_caught_up(&mut source, &mut sink).await?;

        let statement = if swap {
            "RENAME TABLE a TO x, b TO a, x TO b"
        } else {
            "ALTER TABLE p EXCHANGE PARTITION p WITH TABLE a"
        };
        source.query_drop(statement).await?;
        let table = |table: &str| TableName {
            database: name.into(),
            table: table.into(),
        };
        let pairs = [("a", "x"), ("b", "a"), ("x", "b")];
        let (tables, trace) = if swap {
            let pairs = pairs.map(|(from, to)| (table(from), table(to)));
            (["a", "x", "b"].as_slice(), Trace::Renames(pairs.to_vec()))
        } else {
            (["p", "a"].as_slice(), Trace::None)
        };
        let objects: Vec<_> = tables
            .iter()
            .map(|name| ObjectName::Table(table(name)))
            .collect();
        // As a crash leaves it.
        let before = Definitions::read(&mut session(pair).await?, &objects).await?;
        let intent = DdlIntent {
            seq: pipeline.row(&mut sink).await?.ddl_seq + 1,
            gtid: last_gtid(&mut source).await?,
            statement: statement.to_owned(),
            before: before.fingerprint(),
            traceless: before.hide(&trace),
            answer: None,
        };
        ensure!(
            intent.traceless,
            "{name}: it would leave a trace: {before:?}"
        );
        sink.exec_drop(
            "UPDATE towpath.`offset` SET ddl_seq = ?, ddl_intent = ? WHERE pipeline = ?",
            (intent.seq, intent.to_json(), name),
        )
        .await?;
        if ran {
            sink.query_drop(statement).await?;
        }
        source.query_drop("UPDATE a SET id = id + 100").await?;

        let said = pipeline.run_until_it_fails().await?;
        for part in [statement, &intent.gtid, "the same whether it ran or not"] {
            ensure!(said.contains(part), "{name}: {part:?} is not in\n{said}");
        }
        let (if_ran, if_not) = said
            .split_once("if it has run: ")
            .and_then(|(_, rest)| rest.split_once("; if it has not: "))
            .context("no ways on")?;
        let if_not = if_not.split("'replica'").next().unwrap_or_default();
        let answer = if ran {
            if_ran.to_owned()
        } else {
            format!("{if_not}'replica'")
        };
        sink.query_drop(&answer).await.context(answer)?;
        pipeline.run_until_caught_up(&mut source, &mut sink).await?;
        compare_database(&mut source, &mut sink, name).await?;
        let row = pipeline.row(&mut sink).await?;
        // What has not run is run under an intent of its own: the answer is spent.
        let seq = intent.seq + u64::from(!ran);
        ensure!(row.ddl_intent.is_none() && row.ddl_seq == seq, "{row:?}");

        // In place: the intent that the program itself writes says so too, and it runs.
        source.query_drop(statement).await?;
        source.query_drop("INSERT INTO a VALUES (11)").await?;
        pipeline.run_until_caught_up(&mut source, &mut sink).await?;
        compare_database(&mut source, &mut sink, name).await?;
    }
    Ok(())
}
