//! Fencing: who may write to a sink.
//!
//! Terms are compared by generation first, then epoch: `(Generation, Epoch)` as a tuple.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The term of one owner of a sink; a higher epoch supersedes a lower one of the same generation.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Epoch(pub u64);

/// Raised when a directory is rebuilt, so that epochs that start anew still supersede.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Generation(pub u64);

impl Epoch {
    /// The epoch after this one; `None` when there is none left (never in practice: one takeover
    /// per nanosecond lasts 584 years), so that an overflow can't hand a zombie its right back.
    pub fn next(self) -> Option<Self> {
        self.0.checked_add(1).map(Self)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_generation_supersedes_any_epoch() {
        let term = |generation, epoch| (Generation(generation), Epoch(epoch));
        assert!(term(1, 2) > term(1, 1));
        assert!(term(2, 0) > term(1, u64::MAX));
    }

    #[test]
    fn epochs_never_wrap() {
        assert_eq!(Epoch(1).next(), Some(Epoch(2)));
        assert_eq!(Epoch(u64::MAX).next(), None);
    }
}
