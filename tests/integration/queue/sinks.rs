//! Several sinks of one source, each at its own pace, and one that joins.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use mysql_async::prelude::Queryable as _;
use towpath_testing::{MysqlServer, gtid_executed, wait_until};

use super::bus::{Bus, SECOND};
use crate::harness::{WAIT, number};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_that_rests_holds_up_nobody() -> Result<()> {
    let mut bus = Bus::start(2, "", true).await?;
    let second = bus.second.as_ref().context("a second sink")?;
    let (mut first, mut second) = (bus.pair.sink.conn().await?, second.conn().await?);
    bus.moves_on(&mut first, 30).await?;
    bus.moves_on(&mut second, 30).await?;
    let began = Instant::now();
    bus.moves_on(&mut first, 200).await?;
    let both = began.elapsed();
    second.query_drop("FLUSH TABLES WITH READ LOCK").await?;
    let held = bus.bank.look(&mut second, 0).await?.sequence;
    let began = Instant::now();
    bus.moves_on(&mut first, 200).await?;
    let alone = began.elapsed();
    let now = bus.bank.look(&mut second, 0).await?.sequence;
    ensure!(now == held, "it did not rest: {held}, {now}");
    println!("200 transactions: {both:?} with both, {alone:?} while one rests");
    ensure!(alone < both * 3, "{both:?}, then {alone:?}");
    second.query_drop("UNLOCK TABLES").await?;
    bus.compare().await?;
    bus.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_joins_a_pipeline_that_runs() -> Result<()> {
    let mut bus = Bus::start(2, "", false).await?;
    let mut first = bus.pair.sink.conn().await?;
    bus.moves_on(&mut first, 50).await?;
    let server = MysqlServer::builder().server_id(3).start().await?;
    bus.pipeline.further += &format!(
        "[[sink]]\nname = \"{SECOND}\"\nurl = \"mysql://app:app@127.0.0.1:{}\"\n",
        server.port()
    );
    // Without a copy it would begin in the middle.
    bus.pipeline.start = format!("gtid:{}", gtid_executed(&mut first).await?);
    bus.pipeline.write()?;
    let refused = bus.cluster.apply(&bus.pipeline.file).await?;
    ensure!(
        refused.code == Some(1) && refused.err.contains("source.snapshot = \"initial\""),
        "{refused:?}"
    );
    bus.pipeline.start = "now".to_owned();
    bus.pipeline.snapshot = "initial";
    bus.apply().await?;
    let mut second = server.conn().await?;
    bus.second = Some(server);
    bus.moves_on(&mut first, 50).await?;
    bus.runs("consumer-second").await?;
    let copied = "SELECT COUNT(*) = 5 AND SUM(state <> 'done') = 0 FROM towpath.snapshot";
    wait_until("the copy", WAIT, async || {
        Ok(number(&mut second, copied)
            .await
            .is_ok_and(|done| done == 1))
    })
    .await
    .with_context(|| bus.tails())?;
    bus.moves_on(&mut second, 50).await?;
    bus.compare().await?;
    bus.stop().await
}
