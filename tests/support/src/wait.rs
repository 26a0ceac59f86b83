//! Waiting for a condition, never for a time.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How often a condition is asked; short against anything a test waits for.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Asks `condition` until it is true. An error after `timeout`, or the condition's own at once.
/// `what` completes the sentence "waited N s in vain for …".
///
/// # Errors
/// When the time is over, or when `condition` fails.
pub async fn wait_until(
    what: &str,
    timeout: Duration,
    mut condition: impl AsyncFnMut() -> Result<bool>,
) -> Result<()> {
    let start = Instant::now();
    loop {
        if condition().await? {
            return Ok(());
        }
        if start.elapsed() >= timeout {
            bail!("waited {:.1} s in vain for {what}", timeout.as_secs_f64());
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}
