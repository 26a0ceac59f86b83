//! Fencing: who may write to a sink.

/// The term of one owner of a sink; a higher epoch supersedes a lower one of the same generation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

/// Raised when a directory is rebuilt, so that epochs that start anew still supersede.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u64);
