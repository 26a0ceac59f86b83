//! A member's disk that is slow, fails, or is full.
//!
//! Slow and failing: `fsync` and `fdatasync` of a library that is loaded before the C library's
//! (`tests/support/src/nemesis/preload.rs`). Full: a small file system in memory.

use std::process::ExitStatus;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use towpath_testing::TowpathProcess;
use towpath_testing::nemesis::disk::{SlowDisk, SmallDisk};
use towpath_testing::nemesis::sandbox::{sandboxed, sandboxed_if_allowed};

use super::{ALONE, FEW, MEMBERS, ROUNDS, Storm, grow};
use crate::harness::WAIT;

/// Much longer than a flush and a leader's sign of life; several of them fit into a client's patience.
const SLOW: Duration = Duration::from_millis(150);
/// Longer than a client's patience: none is answered in time.
const STUCK: Duration = Duration::from_millis(1_500);
/// A Server that can't write says so by then, and ends.
const SOON: Duration = Duration::from_secs(10);
/// Room of a small disk, MiB.
const SMALL_MIB: u32 = 64;

/// A directory of so many members, each with a disk that obeys.
async fn with_slow_disks(members: usize) -> Result<(Storm, Vec<SlowDisk>)> {
    let mut ensemble = grow::places(members)?;
    let mut disks = Vec::new();
    for member in 0..members {
        let disk = SlowDisk::new(&ensemble.path().join(format!("disk-{member}")))?;
        let place = ensemble.places_mut().get_mut(member);
        place.context("a place")?.envs = disk.envs();
        disks.push(disk);
    }
    Ok((Storm::start(ensemble).await?, disks))
}

/// A member whose log can't be written ends by itself: another start reads what the disk holds, which
/// it doesn't know any more.
async fn ends_by_itself(process: &TowpathProcess) -> Result<ExitStatus> {
    let says = |line: &str| line.contains("log can't be written");
    process.wait_for_line(says, WAIT).await?;
    let status = process.wait_exit(SOON).await?;
    ensure!(status.code() == Some(1), "{status}: {}", process.tail());
    Ok(status)
}

/// The leader's disk is slow, then those of a majority are stuck, and one is killed while it writes.
async fn slow_disks(rounds: usize) -> Result<()> {
    let (storm, disks) = with_slow_disks(MEMBERS).await?;
    let slowed = async |storm: &mut Storm, _| {
        let leader = storm.leader().await?;
        let next = storm.next(leader);
        let both = [leader, next].map(|member| disks.get(member));
        disks.get(leader).context("its disk")?.slow(SLOW)?;
        storm.get_on().await?;
        for disk in both.into_iter().flatten() {
            disk.slow(STUCK)?;
        }
        // A flush that nobody waits for until it's done.
        tokio::time::sleep(STUCK).await;
        for disk in both.into_iter().flatten() {
            disk.slow(SLOW)?;
        }
        storm.get_on().await?;
        storm.ensemble.kill9(leader)?;
        for disk in both.into_iter().flatten() {
            disk.heal()?;
        }
        storm.goes_on_without(leader).await?;
        storm.ensemble.start().await
    };
    storm.rounds(rounds, slowed).await
}

/// After a flush that failed nobody knows what is on the disk, so nothing may be acknowledged until a
/// start has read it. Others lead meanwhile.
async fn failing_disks(members: usize, rounds: usize) -> Result<()> {
    let (storm, disks) = with_slow_disks(members).await?;
    let failed = async |storm: &mut Storm, _| {
        let leader = storm.leader().await?;
        let disk = disks.get(leader).context("its disk")?;
        disk.fail()?;
        ends_by_itself(storm.ensemble.process(leader)?).await?;
        if members > ALONE {
            storm.goes_on_without(leader).await?;
        }
        disk.heal()?;
        storm.ensemble.kill9(leader)?;
        storm.ensemble.start().await
    };
    storm.rounds(rounds, failed).await
}

/// A start with no room left fails at once, or as soon as something is written.
async fn starts_in_vain(storm: &mut Storm) -> Result<()> {
    let began = Instant::now();
    if storm.ensemble.start().await.is_ok() {
        ends_by_itself(storm.ensemble.process(0)?).await?;
        storm.ensemble.kill9(0)?;
    }
    let took = began.elapsed();
    ensure!(took < SOON, "a start in vain took {took:?}");
    Ok(())
}

/// The same with no room left.
async fn full_disks(members: usize, rounds: usize) -> Result<()> {
    let ensemble = grow::places(members)?;
    let places = ensemble.places().iter();
    let disks = places.map(|place| SmallDisk::mount(&place.data, SMALL_MIB));
    let disks: Vec<SmallDisk> = disks.collect::<Result<_>>()?;
    let storm = Storm::start(ensemble).await?;
    let filled = async |storm: &mut Storm, _| {
        let leader = storm.leader().await?;
        let disk = disks.get(leader).context("its disk")?;
        disk.fill()?;
        ends_by_itself(storm.ensemble.process(leader)?).await?;
        storm.ensemble.kill9(leader)?;
        if members > ALONE {
            storm.goes_on_without(leader).await?;
        } else {
            starts_in_vain(storm).await?;
        }
        disk.free()?;
        storm.ensemble.start().await
    };
    storm.rounds(rounds, filled).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes half a minute"]
async fn a_slow_disk_makes_it_slow_and_not_wrong() -> Result<()> {
    slow_disks(1).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes three minutes"]
async fn slow_disks_make_it_slow_and_not_wrong_in_twenty_rounds() -> Result<()> {
    slow_disks(ROUNDS).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_disk_ends_its_server_and_another_leads() -> Result<()> {
    failing_disks(MEMBERS, 1).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a minute"]
async fn failing_disks_acknowledge_nothing_in_twenty_rounds() -> Result<()> {
    failing_disks(MEMBERS, ROUNDS).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes half a minute"]
async fn a_member_alone_acknowledges_nothing_that_its_disk_refused() -> Result<()> {
    failing_disks(ALONE, ROUNDS).await
}

#[test]
fn a_full_disk_ends_its_server_and_another_leads() -> Result<()> {
    const NAME: &str = "cluster::disk::a_full_disk_ends_its_server_and_another_leads";
    sandboxed_if_allowed(NAME, || full_disks(MEMBERS, FEW))
}

#[test]
#[ignore = "takes a minute, and namespaces"]
fn full_disks_lose_nothing_in_twenty_rounds() -> Result<()> {
    const NAME: &str = "cluster::disk::full_disks_lose_nothing_in_twenty_rounds";
    sandboxed(NAME, || full_disks(MEMBERS, ROUNDS))
}

#[test]
#[ignore = "takes half a minute, and namespaces"]
fn a_full_disk_loses_nothing_of_a_member_alone() -> Result<()> {
    const NAME: &str = "cluster::disk::a_full_disk_loses_nothing_of_a_member_alone";
    sandboxed(NAME, || full_disks(ALONE, ROUNDS))
}
