//! The Core that runs and the Server that leads die in the same moment, as when they share a machine.
//!
//! The standby must wait for both: a Server is elected, and lets the dead Core's session expire.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use towpath_testing::wait_until;

use super::bus::Bus;
use crate::harness::WAIT;

/// From the kill to the successor's first commit.
const FAILOVER_MAX: Duration = Duration::from_secs(3);
/// The same, beside other tests.
const FAILOVER_BUSY_MAX: Duration = Duration::from_secs(6);

/// Kills both so many times, each while rows flow, and starts them again.
async fn kills(kills: usize, failover_max: Duration) -> Result<()> {
    let mut bus = Bus::start().await?;
    let mut times = Vec::with_capacity(kills);
    let mut sink = bus.pair.sink.conn().await?;
    for kill in 1..=kills {
        let core = bus.settled().await?;
        bus.moves_on(20).await?;
        let leader = bus.ensemble.another_leader(None, WAIT).await?;
        let killed = Instant::now();
        bus.core(core)?.kill9()?;
        bus.ensemble.kill9(leader)?;
        let before = bus.pipeline.row(&mut sink).await?;
        let elected = async {
            bus.ensemble.another_leader(Some(leader), WAIT).await?;
            anyhow::Ok(killed.elapsed())
        };
        let committed = async {
            let mut taken = before.clone();
            let mut taken_after = Duration::ZERO;
            wait_until("the standby to commit", WAIT, async || {
                let now = bus.pipeline.row(&mut sink).await?;
                if now.epoch > before.epoch && taken.epoch == before.epoch {
                    taken = now.clone();
                    taken_after = killed.elapsed();
                }
                Ok(taken.epoch > before.epoch && now.commit_seq > taken.commit_seq)
            })
            .await?;
            anyhow::Ok((taken_after, killed.elapsed()))
        };
        let (elected, (taken, committed)) =
            tokio::try_join!(elected, committed).with_context(|| bus.tails())?;
        println!(
            "kill {kill}: another Server led after {} ms, the standby had the sink after {} ms, and \
             committed after {} ms",
            elected.as_millis(),
            taken.as_millis(),
            committed.as_millis()
        );
        times.push(committed);
        bus.start_core(core)?;
        bus.ensemble.start().await?;
    }
    bus.settled().await?;
    bus.had_one_writer_at_a_time().await?;
    bus.compare().await?;
    times.sort_unstable();
    let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
    println!(
        "{kills} kills: median {} ms, worst {} ms",
        median.as_millis(),
        worst.as_millis()
    );
    ensure!(worst <= failover_max, "{worst:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_core_and_the_leader_are_killed_together() -> Result<()> {
    kills(1, FAILOVER_BUSY_MAX).await
}

/// For `make test-long`: how long it takes, over many times.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes two minutes"]
async fn a_core_and_the_leader_are_killed_together_many_times() -> Result<()> {
    kills(20, FAILOVER_MAX).await
}
