//! `kill -9`, and a start where it was.

use anyhow::Result;

use super::{ALONE, FEW, MEMBERS, ROUNDS, Storm, grow};

/// Kills the one that leads and another one by turns, each while clients write. The others go on, and
/// it starts again.
async fn kills(rounds: usize) -> Result<()> {
    let storm = Storm::start(grow::places(MEMBERS)?).await?;
    let killed = async |storm: &mut Storm, round| {
        let leader = storm.leader().await?;
        if round % 2 == 0 {
            storm.ensemble.kill9(leader)?;
            storm.goes_on_without(leader).await?;
        } else {
            let other = storm.next(leader);
            storm.ensemble.kill9(other)?;
            storm.get_on().await?;
        }
        storm.ensemble.start().await
    };
    storm.rounds(rounds, killed).await
}

/// Kills all members at once, as when the power fails in one room.
async fn kills_of_all(members: usize, rounds: usize) -> Result<()> {
    let storm = Storm::start(grow::places(members)?).await?;
    let killed = async |storm: &mut Storm, _| {
        for member in 0..storm.ensemble.places().len() {
            storm.ensemble.kill9(member)?;
        }
        storm.ensemble.start().await
    };
    storm.rounds(rounds, killed).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_loses_nothing_and_repeats_nothing() -> Result<()> {
    kills(FEW).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a minute"]
async fn twenty_kills_lose_nothing_and_repeat_nothing() -> Result<()> {
    kills(ROUNDS).await
}

/// Nobody else has what its disk hasn't.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_alone_keeps_what_it_acknowledged() -> Result<()> {
    kills_of_all(ALONE, 4).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a minute"]
async fn a_member_alone_keeps_it_through_sixty_kills() -> Result<()> {
    kills_of_all(ALONE, 3 * ROUNDS).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a minute"]
async fn all_members_are_killed_at_once() -> Result<()> {
    kills_of_all(MEMBERS, ROUNDS).await
}
