//! When to try a lost source again: exponential backoff with jitter.
//!
//! Pure: it computes pauses and never sleeps, connects or reads a clock.

use std::time::{Duration, Instant};

/// First pause: a source that was merely restarted or a cut connection is found again at once.
pub const PAUSE_MIN: Duration = Duration::from_millis(100);

/// Longest pause: a source that comes back after an hour is noticed within ten seconds, and a
/// thousand pipelines still ask it only a hundred times per second.
pub const PAUSE_MAX: Duration = Duration::from_secs(10);

/// A connection that held this long was healthy: the next loss starts at the shortest pause. A
/// shorter one keeps the count, so that a source that fails right after login isn't hammered.
pub const HEALTHY_AFTER: Duration = Duration::from_secs(60);

/// Whether a failed attempt is worth another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Try again after a pause.
    Again,
    /// Trying again can't help; a person must act.
    Stop,
}

/// The pauses of one source connection.
#[derive(Clone, Debug, Default)]
pub struct Backoff {
    failures: u32,
    connected_at: Option<Instant>,
}

impl Backoff {
    /// No failures yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The connection stands since `now`.
    pub fn connected(&mut self, now: Instant) {
        self.connected_at = Some(now);
    }

    /// The attempt or the connection failed at `now`: how long to wait before the next attempt.
    ///
    /// The pause doubles from `PAUSE_MIN` to `PAUSE_MAX`. `jitter`, uniform in 0..1, takes up to
    /// half of it away, so that many pipelines that lost one source don't return in step.
    pub fn failed(&mut self, now: Instant, jitter: f64) -> Duration {
        if self
            .connected_at
            .take()
            .is_some_and(|since| now.saturating_duration_since(since) >= HEALTHY_AFTER)
        {
            self.failures = 0;
        }
        let doubled =
            PAUSE_MIN.saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX));
        self.failures = self.failures.saturating_add(1);
        doubled
            .min(PAUSE_MAX)
            .mul_f64(1.0 - jitter.clamp(0.0, 1.0) / 2.0)
    }

    /// What the connection is for has been done: the next loss starts at the shortest pause.
    pub fn progressed(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_bound() {
        let mut backoff = Backoff::new();
        let now = Instant::now();
        let pauses: Vec<u128> = (0..9)
            .map(|_| backoff.failed(now, 0.0).as_millis())
            .collect();
        assert_eq!(
            pauses,
            [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]
        );
        for _ in 0..100 {
            assert_eq!(backoff.failed(now, 0.0), PAUSE_MAX);
        }
    }

    #[test]
    fn jitter_takes_at_most_half() {
        let now = Instant::now();
        assert_eq!(Backoff::new().failed(now, 1.0), PAUSE_MIN / 2);
        assert_eq!(Backoff::new().failed(now, 0.5), PAUSE_MIN * 3 / 4);
        assert_eq!(Backoff::new().failed(now, 7.0), PAUSE_MIN / 2);
    }

    #[test]
    fn only_a_healthy_connection_starts_anew() {
        let mut backoff = Backoff::new();
        let start = Instant::now();
        backoff.failed(start, 0.0);
        backoff.failed(start, 0.0);
        backoff.connected(start);
        let short = start + HEALTHY_AFTER - Duration::from_millis(1);
        assert_eq!(backoff.failed(short, 0.0), PAUSE_MIN * 4);
        backoff.connected(short);
        assert_eq!(backoff.failed(short + HEALTHY_AFTER, 0.0), PAUSE_MIN);
        // The connection that was lost counts once.
        assert_eq!(
            backoff.failed(short + HEALTHY_AFTER * 2, 0.0),
            PAUSE_MIN * 2
        );
    }
}
