//! `kill -9`, and a start where it was.

use anyhow::{Result, ensure};

use super::{Storm, ensemble};

/// Kills one member after the other, each while clients write, and starts it again.
async fn kills(kills: usize) -> Result<()> {
    let mut storm = Storm::start(ensemble()?).await?;
    for kill in 0..kills {
        storm.get_on().await?;
        let member = kill % storm.ensemble.places().len();
        storm.ensemble.kill9(member)?;
        storm.ensemble.start().await?;
    }
    storm.get_on().await?;
    let record = storm.accepted().await?;
    ensure!(
        record.counts.unknown > 0,
        "no kill met an operation: {:?}",
        record.counts
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_loses_nothing_and_repeats_nothing() -> Result<()> {
    kills(4).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a minute"]
async fn sixty_kills_lose_nothing_and_repeat_nothing() -> Result<()> {
    kills(60).await
}

/// All members at once, as when the power fails in one room.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes half a minute"]
async fn all_members_are_killed_at_once() -> Result<()> {
    let mut storm = Storm::start(ensemble()?).await?;
    for _ in 0..10 {
        storm.get_on().await?;
        for member in 0..storm.ensemble.places().len() {
            storm.ensemble.kill9(member)?;
        }
        storm.ensemble.start().await?;
    }
    storm.get_on().await?;
    storm.accepted().await.map(drop)
}
