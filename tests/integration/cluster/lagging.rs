//! A member of the directory that doesn't keep up is told to people, until it has caught up.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use towpath_coordination::Session;
use towpath_protocol::tree::path;
use towpath_protocol::tree::record::{Alert, AlertState};
use towpath_testing::cluster::ready;
use towpath_testing::{TowpathProcess, wait_until};

use super::bus::{TOWPATH, session};
use super::{MEMBERS, Storm, grow};
use crate::harness::{WAIT, stop};

const RULE: &str = "directory-member-lags";
/// What a member lacks at most that has caught up, while others write.
const LAG_ENTRIES_MAX: u64 = 100;

/// Waits until the alert about a member is in this state, and answers what it says.
async fn alert(session: &Session, member: usize, state: AlertState) -> Result<Alert> {
    let node = path::alert(&format!("{RULE}.{}", member + 1).parse()?);
    let mut found = None;
    wait_until(&format!("{node} to be {state:?}"), WAIT, async || {
        found = session.read::<Alert>(&node).await?;
        let seen = found.as_ref().map(|entry| &entry.value.record.state);
        Ok(seen == Some(&state))
    })
    .await
    .with_context(|| format!("{found:?}"))?;
    Ok(found.context("an alert")?.value.record)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes half a minute"]
async fn an_alert_tells_of_a_frozen_member_until_it_has_caught_up() -> Result<()> {
    let storm = Storm::start(grow::places(MEMBERS)?).await?;
    let known = storm.ensemble.addresses();
    let known: Vec<String> = known.iter().map(ToString::to_string).collect();
    let monitor = TowpathProcess::builder()
        .program(TOWPATH)
        .args(["monitor", "--id", "monitor-1", "--directory"])
        .arg(known.join(","))
        .spawn()?;
    ready(&monitor).await?;
    let session = session(&storm.ensemble).await?;
    let frozen = storm.next(storm.leader().await?);
    storm.get_on().await?;

    let began = Instant::now();
    storm.ensemble.process(frozen)?.freeze()?;
    let told = alert(&session, frozen, AlertState::Firing).await;
    let told = told.with_context(|| monitor.tail())?;
    println!(
        "{} s after it froze: {}",
        began.elapsed().as_secs(),
        told.text
    );
    for part in [&*format!("member {} ", frozen + 1), "2 of 3 keep up"] {
        ensure!(
            told.text.contains(part),
            "{part:?} is not in {:?}",
            told.text
        );
    }
    // What it lacks grows.
    storm.get_on().await?;

    let began = Instant::now();
    storm.ensemble.process(frozen)?.thaw()?;
    let over = alert(&session, frozen, AlertState::Resolved).await;
    let over = over.with_context(|| monitor.tail())?;
    println!(
        "{} s after it woke it's resolved",
        began.elapsed().as_secs()
    );
    ensure!(over.since == told.since, "{over:?} {told:?}");
    let seen = grow::members(&storm.ensemble).await?;
    let all = seen["members"].as_array().context("members")?;
    let back = all.iter().find(|one| one["id"] == frozen + 1);
    let lag = back.and_then(|one| one["lag_entries"].as_u64());
    // None if it leads by now.
    ensure!(lag.is_none_or(|lag| lag < LAG_ENTRIES_MAX), "{seen}");

    // Nobody else was told of.
    let alerts = session.children(&path::alerts()).await?;
    let about = alerts.iter().filter(|id| id.starts_with(RULE));
    ensure!(about.count() == 1, "{alerts:?}");
    storm.get_on().await?;
    stop(&monitor).await
}
