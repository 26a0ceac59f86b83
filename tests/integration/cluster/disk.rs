//! A member's disk that is slow, fails, or is full.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use towpath_testing::nemesis::disk::{SlowDisk, SmallDisk};
use towpath_testing::nemesis::sandbox::sandboxed;

use super::{Storm, ensemble};
use crate::harness::WAIT;

/// Much longer than a flush and a leader's sign of life; several of them fit into a client's patience.
const SLOW: Duration = Duration::from_millis(150);
/// Longer than a client's patience: none is answered in time.
const STUCK: Duration = Duration::from_millis(1_500);

/// A directory whose first member has a disk that obeys.
async fn with_slow_disk() -> Result<(Storm, SlowDisk)> {
    let mut ensemble = ensemble()?;
    let disk = SlowDisk::new(&ensemble.path().join("disk"))?;
    let place = ensemble.places_mut().first_mut();
    place.context("there are no members")?.envs = disk.envs();
    Ok((Storm::start(ensemble).await?, disk))
}

/// The member at 0 says in its log that it can't write it.
async fn until_it_says_so(storm: &Storm) -> Result<()> {
    let says = |line: &str| line.contains("log can't be written");
    let member = storm.ensemble.process(0)?;
    member.wait_for_line(says, WAIT).await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes half a minute"]
async fn a_slow_disk_makes_it_slow_and_not_wrong() -> Result<()> {
    let (mut storm, disk) = with_slow_disk().await?;
    for _ in 0..2 {
        storm.get_on().await?;
        disk.slow(SLOW)?;
        storm.get_on().await?;
        disk.slow(STUCK)?;
        // Two flushes that nobody waits for until they're done.
        tokio::time::sleep(STUCK * 2).await;
        disk.heal()?;
        storm.get_on().await?;
        // Killed while a flush is under way.
        disk.slow(SLOW)?;
        tokio::time::sleep(SLOW).await;
        storm.ensemble.kill9(0)?;
        disk.heal()?;
        storm.ensemble.start().await?;
    }
    storm.get_on().await?;
    let record = storm.accepted().await?;
    ensure!(
        record.counts.unknown > 0,
        "nobody lost patience: {:?}",
        record.counts
    );
    Ok(())
}

/// After a flush that failed nobody knows what is on the disk, so nothing may be acknowledged until a
/// start has read it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes half a minute"]
async fn a_failing_disk_acknowledges_nothing() -> Result<()> {
    let (mut storm, disk) = with_slow_disk().await?;
    for _ in 0..4 {
        storm.get_on().await?;
        disk.fail()?;
        until_it_says_so(&storm).await?;
        disk.heal()?;
        storm.ensemble.kill9(0)?;
        storm.ensemble.start().await?;
    }
    storm.get_on().await?;
    storm.accepted().await.map(drop)
}

#[test]
#[ignore = "takes half a minute, and namespaces"]
fn a_full_disk_loses_nothing() -> Result<()> {
    sandboxed("cluster::disk::a_full_disk_loses_nothing", full_disk)
}

async fn full_disk() -> Result<()> {
    let ensemble = ensemble()?;
    let place = ensemble.places().first().context("there are no members")?;
    let disk = SmallDisk::mount(&place.data, 64)?;
    let mut storm = Storm::start(ensemble).await?;
    for _ in 0..4 {
        storm.get_on().await?;
        disk.fill()?;
        until_it_says_so(&storm).await?;
        storm.ensemble.kill9(0)?;
        disk.free()?;
        storm.ensemble.start().await?;
    }
    storm.get_on().await?;
    storm.accepted().await.map(drop)
}
