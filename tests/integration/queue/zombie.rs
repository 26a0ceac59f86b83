//! A producer that was frozen, and writes on when another one has begun.

use anyhow::Result;
use towpath_testing::wait_until;

use super::bus::Bus;
use crate::harness::WAIT;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_frozen_producer_writes_later_is_ignored() -> Result<()> {
    let mut bus = Bus::start(2, "", false).await?;
    let mut sink = bus.pair.sink.conn().await?;
    bus.moves_on(&mut sink, 20).await?;
    for _ in 0..3 {
        let first = bus.runs("producer").await?;
        bus.core(first)?.freeze()?;
        wait_until("another producer", WAIT, async || {
            Ok(bus.runs("producer").await? != first)
        })
        .await?;
        bus.moves_on(&mut sink, 50).await?;
        // What the source had sent to it by then is in its hands.
        bus.core(first)?.thaw()?;
        bus.moves_on(&mut sink, 50).await?;
    }
    bus.compare().await?;
    bus.stop().await
}
