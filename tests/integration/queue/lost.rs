//! What the log has lost: all of it, or what a sink that rested still needs.

use anyhow::{Context as _, Result, ensure};
use mysql_async::prelude::Queryable as _;

use super::bus::Bus;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_is_gone_is_written_again_from_the_source() -> Result<()> {
    let mut bus = Bus::start(2, "", true).await?;
    let second = bus.second.as_ref().context("a second sink")?;
    let (mut first, mut second) = (bus.pair.sink.conn().await?, second.conn().await?);
    bus.moves_on(&mut second, 30).await?;
    second.query_drop("FLUSH TABLES WITH READ LOCK").await?;
    bus.moves_on(&mut first, 100).await?;
    let queues = bus
        .broker
        .ctl(&["list_queues", "-q", "--no-table-headers", "name"])?;
    let queue = queues.trim().to_owned();
    ensure!(queue.starts_with("towpath."), "{queues:?}");
    bus.broker.ctl(&["delete_queue", &queue])?;
    second.query_drop("UNLOCK TABLES").await?;
    bus.moves_on(&mut first, 100).await?;
    bus.moves_on(&mut second, 200).await?;
    bus.compare().await?;
    bus.stop().await
}
