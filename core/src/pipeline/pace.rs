//! A bound on how much passes each second, which may change while it is in force.
//!
//! What passes is paid for afterwards: a transaction is never cut, however slow it is to go. Of an
//! idle time a second is kept at most, so that a bound holds after a pause, too.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use towpath_protocol::spec::LimitsSpec;

/// The bounds that hold now, and each change of them.
pub type Limits = watch::Receiver<LimitsSpec>;

/// What a second of rest allows at once.
const SAVED_MAX: Duration = Duration::from_secs(1);

/// One bound of a pipeline.
pub(super) struct Pace {
    limits: Limits,
    bound: fn(&LimitsSpec) -> Option<u64>,
    /// When what has passed is paid for.
    paid_at: Instant,
}

impl Pace {
    pub(super) fn new(limits: Limits, bound: fn(&LimitsSpec) -> Option<u64>) -> Self {
        Self {
            limits,
            bound,
            paid_at: Instant::now(),
        }
    }

    /// Units per second; `None` if there is no bound.
    pub(super) fn per_second(&self) -> Option<u64> {
        (self.bound)(&self.limits.borrow()).map(|bound| bound.max(1))
    }

    /// Whether something may pass now.
    pub(super) fn is_free(&self) -> bool {
        self.is_free_at(Instant::now())
    }

    fn is_free_at(&self, now: Instant) -> bool {
        self.per_second().is_none() || self.paid_at <= now
    }

    /// Waits until something may pass. Cancelling it loses nothing.
    pub(super) async fn free(&mut self) {
        while !self.is_free() {
            tokio::select! {
                () = tokio::time::sleep_until(self.paid_at) => {}
                changed = self.limits.changed() => if changed.is_err() {
                    // The last bound stays.
                    tokio::time::sleep_until(self.paid_at).await;
                }
            }
        }
    }

    /// Something has passed.
    pub(super) fn passed(&mut self, units: u64) {
        self.passed_at(Instant::now(), units);
    }

    fn passed_at(&mut self, now: Instant, units: u64) {
        let Some(rate) = self.per_second() else {
            self.paid_at = now;
            return;
        };
        let saved = now.checked_sub(SAVED_MAX).unwrap_or(now);
        let cost = Duration::try_from_secs_f64(units as f64 / rate as f64);
        let began = self.paid_at.max(saved);
        self.paid_at = cost
            .ok()
            .and_then(|cost| began.checked_add(cost))
            .unwrap_or(began);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_holds_over_time_and_may_change() {
        let rows = |rows_per_second_max| LimitsSpec {
            rows_per_second_max,
            ..LimitsSpec::default()
        };
        let (sender, limits) = watch::channel(rows(Some(100)));
        let mut pace = Pace::new(limits, |limits| limits.rows_per_second_max);
        let ms = Duration::from_millis;
        let began = pace.paid_at;
        let mut now = began;
        let mut passed = 0;
        while passed < 500 {
            if pace.is_free_at(now) {
                pace.passed_at(now, 50);
                passed += 50;
            } else {
                now += ms(10);
            }
        }
        // Nine fifties were paid for before the tenth could pass.
        assert_eq!(now - began, ms(4500));
        sender.send_replace(rows(None));
        assert!(pace.is_free_at(now));
        pace.passed_at(now, 1_000_000);
        // A second of rest is kept, no more.
        sender.send_replace(rows(Some(100)));
        now += ms(60_000);
        pace.passed_at(now, 100);
        assert!(pace.is_free_at(now));
        pace.passed_at(now, 1);
        assert!(!pace.is_free_at(now) && pace.is_free_at(now + ms(10)));
    }
}
