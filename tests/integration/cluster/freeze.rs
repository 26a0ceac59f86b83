//! SIGSTOP and SIGCONT: a process that stands still, as on a machine that is paused, and wakes up
//! without knowing.

use std::time::Duration;

use anyhow::Result;

use super::{FEW, MEMBERS, ROUNDS, Storm, grow};

/// Shorter than an election, about as long, longer than a client's patience. The leader has been
/// replaced after the first.
const FREEZES_MS: [u64; 5] = [2_500, 1_200, 300, 700, 50];
/// Others lead by then, so they must have gone on.
const REPLACED_MS: u64 = 2_000;

async fn freezes(rounds: usize) -> Result<()> {
    let storm = Storm::start(grow::places(MEMBERS)?).await?;
    let frozen = async |storm: &mut Storm, round: usize| {
        let leader = storm.leader().await?;
        let freezes_ms = FREEZES_MS.iter().cycle().skip(round);
        let freeze_ms = freezes_ms.copied().next().unwrap_or_default();
        // Once more than there are lengths, so that each length meets both.
        let leads = (round / FREEZES_MS.len()).is_multiple_of(2);
        let victim = if leads { leader } else { storm.next(leader) };
        storm.ensemble.process(victim)?.freeze()?;
        if leads && freeze_ms > REPLACED_MS {
            storm.goes_on_without(leader).await?;
        } else {
            // How long it stands still is what this is about.
            tokio::time::sleep(Duration::from_millis(freeze_ms)).await;
        }
        storm.ensemble.process(victim)?.thaw()
    };
    storm.rounds(rounds, frozen).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_leader_answers_nothing_that_is_over() -> Result<()> {
    freezes(FEW).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a minute"]
async fn a_frozen_member_answers_nothing_that_is_over_in_twenty_rounds() -> Result<()> {
    freezes(ROUNDS).await
}
