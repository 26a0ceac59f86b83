//! Directories that break their word, which the check must notice.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use towpath_testing::TowpathProcess;
use towpath_testing::ensemble::Ensemble;
use towpath_testing::linear::Verdict;
use towpath_testing::workload::{Options, Workload};

use super::{ALONE, CLIENTS, Storm, grow, verdict};
use crate::harness::WAIT;

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy(&entry.path(), &target)?,
            false => fs::copy(entry.path(), target).map(drop)?,
        }
    }
    Ok(())
}

/// Copies every member's data as it is at one moment.
fn copies(ensemble: &Ensemble, into: &Path) -> Result<()> {
    let members = 0..ensemble.places().len();
    let processes = members.map(|member| ensemble.process(member));
    let processes: Vec<&TowpathProcess> = processes.collect::<Result<_>>()?;
    for process in &processes {
        process.freeze()?;
    }
    for (member, place) in ensemble.places().iter().enumerate() {
        copy(&place.data, &into.join(member.to_string()))?;
    }
    for process in &processes {
        process.thaw()?;
    }
    Ok(())
}

/// A disk that says that it has written, and hasn't: after a crash, what was acknowledged is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_forgets_is_noticed() -> Result<()> {
    let mut storm = Storm::start(grow::places(ALONE)?).await?;
    storm.get_on().await?;
    let old = storm.ensemble.path().join("old");
    copies(&storm.ensemble, &old)?;
    storm.get_on().await?;
    for member in 0..storm.ensemble.places().len() {
        storm.ensemble.kill9(member)?;
    }
    for (member, place) in storm.ensemble.places().iter().enumerate() {
        fs::remove_dir_all(&place.data)?;
        fs::rename(old.join(member.to_string()), &place.data)?;
    }
    storm.ensemble.start().await?;
    storm.get_on().await?;
    let record = storm.load.stop().await?;
    let verdict = verdict(&record);
    println!("{verdict}");
    ensure!(matches!(verdict, Verdict::Refused(_)), "{verdict}");
    Ok(())
}

/// Two that both think that they lead: a client of the one reads what the other has replaced.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_leaders_at_once_are_noticed() -> Result<()> {
    let mut one = grow::places(ALONE)?;
    one.start().await?;
    let mut other = grow::places(ALONE)?;
    // Nothing but the parent of the groups, which both have.
    let mut options = Options::new(CLIENTS, &one.addresses());
    options.operations_max = 0;
    Workload::start(options.clone()).await?.stop().await?;
    let copied = one.path().join("copy");
    copies(&one, &copied)?;
    for (member, place) in other.places_mut().iter_mut().enumerate() {
        place.data = copied.join(member.to_string());
    }
    other.start().await?;
    options.operations_max = 100_000;
    let split = options.clients.iter_mut().skip(CLIENTS / 2);
    split.for_each(|servers| *servers = other.addresses());
    let load = Workload::start(options).await?;
    load.until_answered(super::SOME, WAIT)
        .await
        .context("clients of two leaders")?;
    let record = load.stop().await?;
    let verdict = verdict(&record);
    println!("{verdict}");
    ensure!(matches!(verdict, Verdict::Refused(_)), "{verdict}");
    Ok(())
}
