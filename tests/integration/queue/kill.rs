//! Whoever is killed: the rows are those of the source.

use anyhow::{Result, ensure};

use super::bus::Bus;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn producer_consumer_and_broker_are_killed_and_rows_are_equal() -> Result<()> {
    let mut bus = Bus::start(2, "", false).await?;
    let mut sink = bus.pair.sink.conn().await?;
    bus.moves_on(&mut sink, 20).await?;
    let (producer, consumer) = (
        bus.runs("producer").await?,
        bus.runs("consumer-replica").await?,
    );
    ensure!(producer != consumer, "both on core-{producer}");

    bus.core(producer)?.kill9()?;
    bus.start_core(producer).await?;
    bus.moves_on(&mut sink, 50).await?;

    let consumer = bus.runs("consumer-replica").await?;
    bus.core(consumer)?.kill9()?;
    bus.start_core(consumer).await?;
    bus.moves_on(&mut sink, 50).await?;

    bus.broker.kill()?;
    bus.broker.resume()?;
    bus.moves_on(&mut sink, 50).await?;
    println!("{} transactions", bus.committed());
    bus.compare().await?;
    bus.stop().await
}
