//! XA transactions and changes logged as statements: they stop the pipeline where they could touch what
//! it takes, and only there.

use anyhow::{Result, ensure};
use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;

use super::{compare_database, last_gtid, way_past};
use crate::harness::{Pair, Pipeline, same_table};

async fn run(conn: &mut Conn, statements: &[&str]) -> Result<()> {
    for statement in statements {
        conn.query_drop(*statement)
            .await
            .map_err(|error| anyhow::anyhow!("{statement}: {error}"))?;
    }
    Ok(())
}

/// Adds a GTID to those that the sink holds, as docs/schema-changes.md says.
async fn step_over(pipeline: &Pipeline, sink: &mut Conn, gtid: &str) -> Result<()> {
    let stored = pipeline.stored(sink).await?;
    let (uuid, intervals) = stored.split_once(':').unwrap_or_default();
    let number = gtid.rsplit(':').next().unwrap_or_default();
    sink.exec_drop(
        "UPDATE towpath.offset_gtid SET intervals = ? WHERE pipeline = ? AND source_uuid = ?",
        (format!("{intervals}:{number}"), &pipeline.name, uuid),
    )
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn xa_and_statements_stop_only_where_they_could_matter() -> Result<()> {
    let pair = Pair::start().await?;
    xa(&pair).await?;
    statements(&pair).await
}

async fn xa(pair: &Pair) -> Result<()> {
    let pipeline = pair
        .pipeline("xa", &["CREATE TABLE t (id INT PRIMARY KEY)"])
        .await?;
    let (mut source, mut sink) = pair.conns().await?;
    run(
        &mut source,
        &[
            "CREATE DATABASE afar",
            "CREATE TABLE afar.t (id INT PRIMARY KEY)",
            "USE afar",
            "XA START 'a', 'b', 7",
            "INSERT INTO t VALUES (1)",
            "XA END 'a', 'b', 7",
            "XA PREPARE 'a', 'b', 7",
        ],
    )
    .await?;
    let prepared = last_gtid(&mut source).await?;
    run(&mut source, &["INSERT INTO xa.t VALUES (1)"]).await?;
    // Until it ends, the prepared half isn't done, so that a restart reads it again.
    let process = pipeline.run()?;
    let number: &str = prepared.rsplit(':').next().unwrap_or_default();
    let next = number.parse::<u64>()? + 1;
    towpath_testing::wait_until("the row behind it", crate::harness::WAIT, async || {
        let stored = pipeline.stored(&mut sink).await?;
        Ok(stored.ends_with(&format!(":{next}")))
    })
    .await
    .map_err(|error| anyhow::anyhow!("{error:#}; {}", process.tail()))?;
    process.kill9()?;
    run(
        &mut source,
        &[
            "XA COMMIT 'a', 'b', 7",
            "XA START 'c'",
            "INSERT INTO t VALUES (2)",
            "XA END 'c'",
            "XA PREPARE 'c'",
            "XA ROLLBACK 'c'",
            // In one phase it is a transaction like any other, taken or not.
            "XA START 'd'",
            "INSERT INTO t VALUES (3)",
            "INSERT INTO xa.t VALUES (3)",
            "XA END 'd'",
            "XA COMMIT 'd' ONE PHASE",
        ],
    )
    .await?;
    pipeline.run_until_caught_up(&mut source, &mut sink).await?;
    same_table(&mut source, &mut sink, "xa.t").await?;

    // On a table that is taken.
    run(
        &mut source,
        &[
            "XA START 'e'",
            "INSERT INTO xa.t VALUES (4)",
            "XA END 'e'",
            "XA PREPARE 'e'",
        ],
    )
    .await?;
    let prepare = last_gtid(&mut source).await?;
    let stored = pipeline.stored(&mut sink).await?;
    let said = pipeline.run_until_it_fails().await?;
    for part in [
        prepare.as_str(),
        "XA X'65'",
        "XA ROLLBACK",
        "docs/schema-changes.md",
    ] {
        ensure!(said.contains(part), "{part:?} is not in\n{said}");
    }
    ensure!(
        pipeline.stored(&mut sink).await? == stored,
        "the offset moved"
    );
    // The way on: end it, do on the sink what it did, and mark both halves.
    run(&mut source, &["XA COMMIT 'e'"]).await?;
    let commit = last_gtid(&mut source).await?;
    step_over(&pipeline, &mut sink, &prepare).await?;
    let said = pipeline.run_until_it_fails().await?;
    ensure!(
        said.contains(&commit) && said.contains("stepped over"),
        "{said}"
    );
    step_over(&pipeline, &mut sink, &commit).await?;
    run(&mut sink, &["INSERT INTO xa.t VALUES (4)"]).await?;
    run(&mut source, &["INSERT INTO xa.t VALUES (5)"]).await?;
    pipeline.run_until_caught_up(&mut source, &mut sink).await?;
    compare_database(&mut source, &mut sink, "xa").await
}

async fn statements(pair: &Pair) -> Result<()> {
    let pipeline = pair
        .pipeline(
            "strays",
            &["CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, v INT)"],
        )
        .await?;
    let (mut source, mut sink) = pair.conns().await?;
    run(
        &mut source,
        &[
            "SET GLOBAL local_infile = ON",
            "CREATE DATABASE yonder",
            "CREATE TABLE yonder.t (id INT AUTO_INCREMENT PRIMARY KEY, v DOUBLE)",
            "CREATE TABLE yonder.copied SELECT 1 AS one",
            "SET SESSION binlog_format = 'STATEMENT'",
            "SET @v = 5",
            // With the default database of the pipeline: what counts is what is changed.
            "USE strays",
            "INSERT INTO yonder.t (v) VALUES (@v)",
            "INSERT INTO yonder.t (v) VALUES (RAND())",
            "BEGIN",
            "UPDATE yonder.t SET v = 1",
            "DELETE FROM yonder.t",
            "COMMIT",
            "SET SESSION binlog_format = 'ROW'",
            "INSERT INTO t (v) VALUES (1)",
        ],
    )
    .await?;
    pipeline.run_until_caught_up(&mut source, &mut sink).await?;
    same_table(&mut source, &mut sink, "strays.t").await?;
    run(
        &mut source,
        &[
            "SET SESSION binlog_format = 'STATEMENT'",
            "INSERT INTO t (v) VALUES (@v)",
            "SET SESSION binlog_format = 'ROW'",
        ],
    )
    .await?;
    let gtid = last_gtid(&mut source).await?;
    let said = pipeline.run_until_it_fails().await?;
    for part in [
        gtid.as_str(),
        "INSERT INTO t (v) VALUES (@v)",
        "binlog_format = 'ROW'",
    ] {
        ensure!(said.contains(part), "{part:?} is not in\n{said}");
    }
    step_over(&pipeline, &mut sink, &gtid).await?;
    run(&mut sink, &["INSERT INTO strays.t (v) VALUES (5)"]).await?;
    // CREATE TABLE ... SELECT is carried, and one that can't be says how to go on.
    run(&mut sink, &["CREATE TABLE strays.made (id INT)"]).await?;
    run(&mut source, &["CREATE TABLE made SELECT id FROM t"]).await?;
    let said = pipeline.run_until_it_fails().await?;
    ensure!(
        said.contains("ERROR 1050") && said.contains("CREATE TABLE `made`"),
        "{said}"
    );
    ensure!(!way_past(&said)?.is_empty());
    run(&mut sink, &["DROP TABLE strays.made"]).await?;
    pipeline.run_until_caught_up(&mut source, &mut sink).await?;
    compare_database(&mut source, &mut sink, "strays").await
}
