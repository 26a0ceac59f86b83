//! What came of telling somebody, and when it's tried again. Pure.

use std::time::Duration;

use towpath_protocol::spec::HookSpec;
use towpath_protocol::tree::record::{Alert, AlertState};

/// The first pause before another try.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// The longest pause: a receiver that is back hears of it within this.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// The longest pause that a receiver may ask for: beyond, it would seem forgotten.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(600);
/// How long one transition is tried: a night.
pub(crate) const TRIED_MAX: Duration = Duration::from_secs(12 * 3600);
/// The most characters of a receiver's words in a log or an alert.
pub(crate) const WORDS_MAX: usize = 200;

/// What came of telling somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Told.
    Accepted,
    /// Not told, as far as we know; it's tried again, no sooner than `after`.
    Retry {
        /// Why.
        why: String,
        /// What the receiver asked for.
        after: Option<Duration>,
    },
    /// Not told, and not tried again.
    GivenUp {
        /// Why.
        why: String,
    },
}

impl Outcome {
    pub(crate) fn retry(why: impl Into<String>) -> Self {
        Self::Retry {
            why: why.into(),
            after: None,
        }
    }

    pub(crate) fn given_up(why: impl Into<String>) -> Self {
        Self::GivenUp { why: why.into() }
    }
}

/// What an HTTP status means. `retry_after` is the header's value.
pub(crate) fn of_status(status: u16, retry_after: Option<&str>) -> Outcome {
    let why = format!("HTTP {status}");
    match status {
        200..=299 => Outcome::Accepted,
        // Request Timeout, Too Early, Too Many Requests: of the moment.
        408 | 425 | 429 | 500..=599 => Outcome::Retry {
            why,
            after: retry_after
                .and_then(|seconds| seconds.trim().parse().ok())
                .map(|seconds| Duration::from_secs(seconds).min(RETRY_AFTER_MAX)),
        },
        300..=399 => Outcome::given_up(format!(
            "{why}: redirected; give the address where it really is"
        )),
        _ => Outcome::given_up(why),
    }
}

/// The pause after a number of tries: doubled each time, and of random length, so that what failed
/// together isn't tried together. `random` is 0 to 1.
pub(crate) fn pause(tries: u32, after: Option<Duration>, random: f64) -> Duration {
    let doubled = PAUSE_MIN.saturating_mul(1 << tries.saturating_sub(1).min(16));
    let pause = doubled
        .min(PAUSE_MAX)
        .mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0);
    pause.max(after.unwrap_or_default())
}

/// Whether a hook is still to be told how an alert is.
pub(crate) fn owed(alert: &Alert, hook: &HookSpec) -> bool {
    if alert.severity.rank() < hook.severity_min.rank() {
        return false;
    }
    match (alert.notified.get(hook.name.as_str()), &alert.state) {
        // Who wasn't there when it began isn't told that it's over.
        (None, state) => *state == AlertState::Firing,
        (Some(_), AlertState::Other(_)) => false,
        (Some(told), state) => told.state.as_ref() != Some(state),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use towpath_protocol::spec::HookKind;
    use towpath_protocol::tree::record::{Notified, Record, Severity, Versioned};

    #[test]
    fn statuses() {
        let retry = |after| Outcome::Retry {
            why: String::new(),
            after,
        };
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        for (status, header, outcome) in [
            (200, None, Outcome::Accepted),
            (204, Some("9"), Outcome::Accepted),
            (500, None, retry(None)),
            (503, Some("7"), retry(seconds(7))),
            (429, Some("99999"), retry(seconds(600))),
            (429, Some("Wed, 21 Oct 2026 07:28:00 GMT"), retry(None)),
            (408, Some("-1"), retry(None)),
            (404, None, Outcome::given_up("")),
            (301, None, Outcome::given_up("")),
            (100, None, Outcome::given_up("")),
        ] {
            let found = of_status(status, header);
            let same = match (&found, &outcome) {
                (Outcome::Retry { after: a, .. }, Outcome::Retry { after: b, .. }) => a == b,
                (a, b) => std::mem::discriminant(a) == std::mem::discriminant(b),
            };
            assert!(same, "{status}: {found:?}");
        }
    }

    #[test]
    fn pauses_grow_to_a_bound() {
        let seconds = Duration::from_secs_f64;
        assert_eq!(pause(1, None, 0.0), seconds(0.5));
        assert_eq!(pause(1, None, 1.0), seconds(1.0));
        assert_eq!(pause(4, None, 1.0), seconds(8.0));
        assert_eq!(pause(u32::MAX, None, 1.0), seconds(60.0));
        assert_eq!(pause(1, Some(seconds(30.0)), 0.3), seconds(30.0));
    }

    #[test]
    fn each_transition_is_owed_once() {
        let mut alert = Versioned::<Alert>::from_json(Alert::EXAMPLE.as_bytes())
            .unwrap()
            .record;
        let hook = |severity_min| HookSpec {
            name: "oncall".parse().unwrap(),
            severity_min,
            kind: HookKind::Log,
        };
        let info = hook(Severity::Info);
        let told = |state: Option<AlertState>| Notified {
            state,
            at: Some(Timestamp::UNIX_EPOCH),
            given_up: None,
        };
        use AlertState::{Firing, Resolved};
        for (entry, state, expected) in [
            (None, Firing, true),
            (None, Resolved, false),
            (Some(told(None)), Firing, true),
            (Some(told(None)), Resolved, true),
            (Some(told(Some(Firing))), Firing, false),
            (Some(told(Some(Firing))), Resolved, true),
            (Some(told(Some(Resolved))), Resolved, false),
            (Some(told(None)), AlertState::Other("x".into()), false),
        ] {
            alert.notified = entry
                .clone()
                .map(|n| ("oncall".into(), n))
                .into_iter()
                .collect();
            alert.state = state.clone();
            assert_eq!(owed(&alert, &info), expected, "{entry:?} {state:?}");
            assert!(!owed(&alert, &hook(Severity::Critical)));
        }
    }
}
