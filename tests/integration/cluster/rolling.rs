//! Every process is ended in order and started anew, one after the other, as an upgrade does, while
//! rows flow.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use towpath_testing::cluster::ready;

use super::bus::Bus;
use crate::harness::{WAIT, stop};

/// The sink may be so far behind, whatever is restarted; on a busy machine.
const LAG_MAX: Duration = Duration::from_secs(4);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a minute"]
async fn everything_is_restarted_and_nothing_is_lost() -> Result<()> {
    let mut bus = Bus::start().await?;
    let monitor = ["monitor", "--id", "monitor-1"];
    let mut watcher = bus.role(&monitor)?;
    ready(&watcher).await?;
    bus.settled().await?;
    bus.moves_on(20).await?;
    let lag = bus.lag().await?;
    let mut worst = Duration::ZERO;
    let mut told = |what: String, began: Instant| -> Result<()> {
        let (took, behind) = (began.elapsed(), lag.largest()?);
        println!(
            "{what}: {} ms, largest lag {} ms",
            took.as_millis(),
            behind.as_millis()
        );
        worst = worst.max(behind);
        Ok(())
    };

    // The leader last, as docs/cluster.md says; then it's another that leads.
    let leader = bus.ensemble.another_leader(None, WAIT).await?;
    let members = bus.ensemble.places().len();
    for member in (1..=members).map(|n| (leader + n) % members) {
        let began = Instant::now();
        stop(bus.ensemble.process(member)?).await?;
        let stopped = began.elapsed();
        bus.ensemble.kill9(member)?;
        bus.ensemble.start().await?;
        bus.together().await?;
        let role = if member == leader { "leads" } else { "follows" };
        told(
            format!(
                "Server {}, which {role}, ended after {} ms",
                member + 1,
                stopped.as_millis()
            ),
            began,
        )?;
    }
    // Each that runs, which makes the other one run.
    for _ in 0..2 {
        let runs = bus.settled().await?;
        let began = Instant::now();
        bus.restart_core(runs).await?;
        bus.settled().await?;
        told(format!("core-{}, which runs", runs + 1), began)?;
    }
    let runs = bus.settled().await?;
    let began = Instant::now();
    bus.restart_core(1 - runs).await?;
    ensure!(
        bus.settled().await? == runs,
        "the standby only was restarted"
    );
    told(format!("core-{}, which stands by", 2 - runs), began)?;

    let began = Instant::now();
    stop(&watcher).await?;
    watcher = bus.role(&monitor)?;
    ready(&watcher).await?;
    told("the Monitor".to_owned(), began)?;

    bus.moves_on(20).await?;
    bus.had_one_writer_at_a_time().await?;
    stop(&watcher).await?;
    bus.compare().await?;
    ensure!(worst <= LAG_MAX, "{worst:?}");
    Ok(())
}
