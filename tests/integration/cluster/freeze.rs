//! SIGSTOP and SIGCONT: a process that stands still, as on a machine that is paused, and wakes up
//! without knowing.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::{Storm, ensemble};

/// Shorter and longer than an election, a client's patience, and a session's lease.
const FREEZES_MS: [u64; 6] = [50, 300, 1_200, 2_500, 700, 7_000];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes half a minute"]
async fn a_frozen_member_answers_nothing_that_is_over() -> Result<()> {
    let storm = Storm::start(ensemble()?).await?;
    for (round, freeze_ms) in FREEZES_MS.into_iter().enumerate() {
        storm.get_on().await?;
        // Whoever leads; every other time, whoever comes next.
        let members = storm.ensemble.places().len();
        let leader = storm.ensemble.leader().await.unwrap_or_default();
        let member = storm.ensemble.process((leader + round % 2) % members)?;
        member.freeze()?;
        // How long it stands still is what this is about.
        tokio::time::sleep(Duration::from_millis(freeze_ms)).await;
        member.thaw()?;
    }
    storm.get_on().await?;
    let counts = storm.accepted().await?.counts;
    ensure!(counts.unknown > 0, "no client noticed: {counts:?}");
    Ok(())
}
