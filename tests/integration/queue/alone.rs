//! `towpath run --standalone`: producer and consumer in one process, a log between them.

use anyhow::Result;
use mysql_async::prelude::Queryable as _;

use super::{Kind, broker, disk, rabbitmq};
use crate::harness::{Pair, same_table, stop};

/// Rows of every size: one transaction that is larger than a message, and a row that is.
const SCHEMA: &[&str] = &["CREATE TABLE t (id INT PRIMARY KEY, v LONGTEXT)"];

async fn a_run_goes_on_where_it_was(kind: Kind) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let broker = match kind {
        Kind::Disk => None,
        Kind::RabbitMq => Some(broker().await?),
    };
    let pair = Pair::start().await?;
    let mut pipeline = pair.pipeline("alone", SCHEMA).await?;
    pipeline.further = match &broker {
        Some(broker) => rabbitmq(broker, "compression = \"zstd\""),
        None => disk(folder.path(), "")?,
    };
    let (mut source, mut sink) = pair.conns().await?;
    source.query_drop("USE alone").await?;
    for round in 0..3 {
        source
            .query_drop(format!("INSERT INTO t (id, v) VALUES ({round}0, 'small')"))
            .await?;
        // Written while nobody runs: the log doesn't have it, and the source does.
        source
            .query_drop(format!(
                "INSERT INTO t (id, v) VALUES ({round}1, REPEAT('x', 700000))"
            ))
            .await?;
        let process = pipeline.run()?;
        pipeline.caught_up(&process, &mut source, &mut sink).await?;
        source
            .query_drop(format!(
                "BEGIN; INSERT INTO t (id, v) VALUES ({round}2, REPEAT('y', 300000)); \
                 INSERT INTO t (id, v) VALUES ({round}3, REPEAT('z', 300000)); \
                 UPDATE t SET v = CONCAT(v, '!') WHERE id = {round}0; COMMIT"
            ))
            .await?;
        source
            .query_drop(format!(
                "ALTER TABLE t ADD COLUMN c{round} INT DEFAULT {round}"
            ))
            .await?;
        source
            .query_drop(format!("DELETE FROM t WHERE id = {round}2"))
            .await?;
        pipeline.caught_up(&process, &mut source, &mut sink).await?;
        same_table(&mut source, &mut sink, "alone.t").await?;
        match round {
            0 => stop(&process).await?,
            _ => drop(process.kill9()?),
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_goes_on_where_it_was_on_a_disk() -> Result<()> {
    a_run_goes_on_where_it_was(Kind::Disk).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_goes_on_where_it_was_in_rabbitmq() -> Result<()> {
    a_run_goes_on_where_it_was(Kind::RabbitMq).await
}
