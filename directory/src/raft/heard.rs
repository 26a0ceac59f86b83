//! When somebody last led, as far as this member knows. Nobody was served by a leader that is silent,
//! so whoever leads next needn't give clients that time anew.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The last sign of a leader, be it another member or this one. Never too early: what it tells as
/// silence was silence here.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard(Arc<Mutex<Option<Instant>>>);

impl Heard {
    /// Somebody leads now.
    pub(super) fn note(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// For how long nobody was heard. A member that never heard of a leader knows of no silence: it
    /// has only just started.
    pub(super) fn silence(&self) -> Duration {
        let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.map_or(Duration::ZERO, |last| last.elapsed())
    }
}
