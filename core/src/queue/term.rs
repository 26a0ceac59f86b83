//! The life of a producer in a log, and which of two is right.

use std::fmt;

use towpath_protocol::epoch::{Epoch, Generation};
use uuid::Uuid;

/// One life of a producer. Of two terms the greater one is right, wherever its messages lie in the
/// log; no two producers have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term {
    /// Of the directory that granted the epoch.
    pub generation: Generation,
    /// Of the election that the producer has won.
    pub epoch: Epoch,
    /// How often the log was opened before under this epoch.
    pub run: u32,
    /// Random, so that two that believe to have one epoch are not taken for one another.
    pub producer: Uuid,
}

impl fmt::Display for Term {
    /// `generation.epoch.run`, and the beginning of the producer's UUID.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let producer = self.producer.as_fields().0;
        write!(
            f,
            "{}.{}.{}-{producer:08x}",
            self.generation, self.epoch, self.run
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_are_ordered_by_generation_then_epoch_then_run_then_producer() {
        let term = |generation, epoch, run, producer| Term {
            generation: Generation(generation),
            epoch: Epoch(epoch),
            run,
            producer: Uuid::from_u128(producer),
        };
        let ascending = [
            term(1, 1, 0, 9),
            term(1, 1, 1, 1),
            term(1, 2, 0, 1),
            term(1, 2, 0, 2),
            term(2, 0, 0, 0),
        ];
        assert!(ascending.is_sorted_by(|a, b| a < b));
        assert_eq!(term(1, 77, 2, 0xabcd << 96).to_string(), "1.77.2-0000abcd");
    }
}
