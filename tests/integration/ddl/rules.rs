//! Statements that the filter takes only in part, and what the pipeline file says about classes.

use anyhow::{Context as _, Result, ensure};
use mysql_async::prelude::Queryable as _;

use super::{compare_database, last_gtid, way_past};
use crate::harness::{Pair, number, same_table, stop};

/// What is plainly right is done; else it stops, and the way that it tells works.
pub(super) async fn partly_filtered(pair: &Pair) -> Result<()> {
    let mut pipeline = pair
        .pipeline(
            "partly",
            &[
                "CREATE TABLE t (id INT PRIMARY KEY)",
                "CREATE TABLE u (id INT PRIMARY KEY)",
                "CREATE TABLE no_1 (id INT PRIMARY KEY)",
                "CREATE TABLE no_2 (id INT PRIMARY KEY)",
                "CREATE VIEW v AS SELECT 1 AS one",
                "CREATE VIEW no_v AS SELECT 1 AS one",
            ],
        )
        .await?;
    pipeline.tables = r#"partly.*", "!partly.no_*"#.to_owned();
    let (mut source, mut sink) = pair.conns().await?;
    source.query_drop("USE partly").await?;
    for statement in [
        "CREATE TABLE w (id INT PRIMARY KEY)",
        "DROP TABLE w, no_1",
        "DROP VIEW no_v, v",
        "RENAME TABLE u TO u2, no_2 TO no_3",
        "INSERT INTO u2 VALUES (1)",
        "INSERT INTO no_3 VALUES (1)",
    ] {
        source.query_drop(statement).await.context(statement)?;
    }
    pipeline.run_until_caught_up(&mut source, &mut sink).await?;
    let tables = "SELECT GROUP_CONCAT(table_name ORDER BY table_name) FROM information_schema.tables \
                  WHERE table_schema = 'partly'";
    let left: Option<String> = sink.query_first(tables).await?;
    ensure!(left.as_deref() == Some("no_1,no_2,no_v,t,u2"), "{left:?}");

    for (statement, why) in [
        ("RENAME TABLE t TO no_t", "partly.no_t is not taken"),
        ("RENAME TABLE no_t TO t", "take \"partly.no_t\""),
        ("ALTER TABLE t RENAME TO no_t", "partly.no_t is not taken"),
        ("ALTER TABLE no_t RENAME TO t", "take \"partly.no_t\""),
        ("CREATE TABLE x LIKE no_3", "the definition of partly.no_3"),
        // The sink finds that its table isn't there.
        ("CREATE VIEW seen AS SELECT * FROM no_3", "ERROR 1146"),
        ("DROP DATABASE partly", "only some of the tables of partly"),
    ] {
        source.query_drop(statement).await.context(statement)?;
        let gtid = last_gtid(&mut source).await?;
        let stored = pipeline.stored(&mut sink).await?;
        let said = pipeline.run_until_it_fails().await?;
        let text = statement.split(" AS ").next().unwrap_or_default();
        let text = text.strip_prefix("CREATE VIEW ").unwrap_or(text);
        for part in [text, &gtid, why] {
            ensure!(
                said.contains(part),
                "{statement}: {part:?} is not in\n{said}"
            );
        }
        ensure!(
            pipeline.stored(&mut sink).await? == stored,
            "{statement}: the offset moved"
        );
        sink.query_drop(way_past(&said)?).await?;
    }
    pipeline.run_until_caught_up(&mut source, &mut sink).await?;
    ensure!(number(&mut sink, "SELECT COUNT(*) FROM partly.u2").await? == 1);
    Ok(())
}

/// `[ddl]`: what is ignored is told with its consequence, what stops stops.
pub(super) async fn rules_per_class(pair: &Pair) -> Result<()> {
    let mut pipeline = pair
        .pipeline(
            "ruled",
            &[
                "CREATE TABLE t (id INT PRIMARY KEY, v INT)",
                "CREATE TABLE u (id INT PRIMARY KEY)",
            ],
        )
        .await?;
    pipeline.further = "[ddl]\ndefault = \"stop\"\ntable_alter = \"apply\"\nindex = \"ignore\"\n\
                        truncate = \"ignore\"\nview = \"ignore\"\n"
        .to_owned();
    let (mut source, mut sink) = pair.conns().await?;
    source.query_drop("USE ruled").await?;
    source.query_drop("INSERT INTO u VALUES (1)").await?;
    let process = pipeline.run()?;
    for statement in [
        "CREATE INDEX i ON t (v)",
        "TRUNCATE TABLE u",
        "CREATE VIEW seen AS SELECT 1",
        "ALTER TABLE t ADD COLUMN w INT",
        "INSERT INTO t VALUES (1, 2, 3)",
    ] {
        source.query_drop(statement).await.context(statement)?;
    }
    pipeline.caught_up(&process, &mut source, &mut sink).await?;
    same_table(&mut source, &mut sink, "ruled.t").await?;
    for (class, consequence) in [
        ("index", "keeps the indexes"),
        ("truncate", "the rows stay on the sink"),
        ("view", "keeps the views"),
    ] {
        let told = format!(r#""class":"{class}""#);
        let lines = process.stderr();
        ensure!(
            lines
                .iter()
                .any(|line| line.contains(&told) && line.contains(consequence)),
            "{class}: {}",
            process.tail()
        );
    }
    stop(&process).await?;
    ensure!(number(&mut sink, "SELECT COUNT(*) FROM ruled.u").await? == 1);
    ensure!(pipeline.row(&mut sink).await?.ddl_seq == 1);

    for (statement, class) in [
        ("CREATE TABLE made (id INT PRIMARY KEY)", "table_create"),
        ("RENAME TABLE made TO made2", "table_rename"),
        ("ALTER TABLE t PARTITION BY HASH (id)", "partition"),
        ("DROP TABLE made2", "table_drop"),
        ("ALTER DATABASE ruled COLLATE utf8mb4_bin", "database"),
    ] {
        source.query_drop(statement).await.context(statement)?;
        let said = pipeline.run_until_it_fails().await?;
        let why = format!("[ddl] says so: {class} is \"stop\"");
        ensure!(
            said.contains(&why),
            "{statement}: {why:?} is not in\n{said}"
        );
        sink.query_drop(way_past(&said)?).await?;
    }
    pipeline.further = String::new();
    for statement in ["TRUNCATE TABLE u", "ALTER TABLE t REMOVE PARTITIONING"] {
        source.query_drop(statement).await.context(statement)?;
    }
    // It was never partitioned here.
    let said = pipeline.run_until_it_fails().await?;
    ensure!(said.contains("ERROR 1505"), "{said}");
    sink.query_drop(way_past(&said)?).await?;
    for statement in ["DROP INDEX i ON ruled.t", "DROP VIEW ruled.seen"] {
        source.query_drop(statement).await?;
    }
    sink.query_drop("CREATE INDEX i ON ruled.t (v)").await?;
    sink.query_drop("CREATE VIEW ruled.seen AS SELECT 1")
        .await?;
    pipeline.run_until_caught_up(&mut source, &mut sink).await?;
    compare_database(&mut source, &mut sink, "ruled").await
}
