//! Is a history linearizable? That is: could each operation have happened at one moment between
//! its call and its return, one after the other, on one copy of the data?
//!
//! * [`model`] says what the operations do to the data. [`nodes`] is the model of the directory's.
//! * [`search`] walks through the events in order and keeps every way in which things may stand
//!   (Wing and Gong, with the laziness of Lowe, "Testing for linearizability", 2017).
//! * [`explain`] cuts a contradiction down to what a person can read.
//!
//! Invariants:
//! * The answer is exact. Where deciding would take more than a bound, it says so, and never guesses.
//! * An operation whose outcome isn't known may have happened at any moment after its call, or never.
//! * An operation that certainly didn't happen isn't part of a history.

pub mod model;
pub mod nodes;
mod search;
mod explain;
#[cfg(test)]
mod tests;

use std::fmt;

use anyhow::{Result, bail};

pub use nodes::History;

/// One operation of one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation<C, A> {
    /// Who asked.
    pub client: u32,
    /// What was asked.
    pub call: C,
    /// When, in nanoseconds of a clock that all clients share: not after the request was sent.
    pub called_ns: u64,
    /// What came of it.
    pub outcome: Outcome<A>,
}

/// What came of an operation, as its client knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<A> {
    /// It happened, or was refused as it had to be.
    Answered {
        /// What the client was told.
        answer: A,
        /// When, on the same clock: not before the answer came.
        returned_ns: u64,
    },
    /// The connection was lost: it may have happened, may happen yet, or never.
    Unknown,
}

/// What a history turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There's an order that explains every answer.
    Linearizable,
    /// There's none; the text shows the contradiction.
    Refused(String),
    /// Too many operations without an outcome at once; the text says where.
    Undecided(String),
}

impl Verdict {
    /// An error unless the history is linearizable.
    ///
    /// # Errors
    /// It's not, or that is undecided.
    pub fn accepted(&self) -> Result<()> {
        match self {
            Self::Linearizable => Ok(()),
            Self::Refused(why) | Self::Undecided(why) => bail!("{why}"),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Linearizable => f.write_str("linearizable"),
            Self::Refused(why) | Self::Undecided(why) => f.write_str(why),
        }
    }
}
