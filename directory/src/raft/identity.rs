//! Which directory a member belongs to. A number of its own, drawn when a directory is founded or
//! restored, goes with all that its members say to each other, so that members of two directories
//! never take each other for one: a directory that was restored has the numbers, and perhaps the
//! addresses, of those that may still be at work in the one before.
//!
//! A member learns it when it founds the directory, or from the leader that adds it, and keeps it in
//! its log. One that doesn't know it takes no part: whose data directory was lost has forgotten what
//! it had acknowledged and for whom it had voted, so it must not go on under its old number.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

/// Which directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct DirectoryId(pub(crate) u64);

impl DirectoryId {
    /// That of all whose members were first started before there were ids.
    pub(super) const FORMER: Self = Self(0);

    /// One that no other directory has.
    pub(super) fn random() -> Self {
        Self(rand::random_range(1..=u64::MAX))
    }
}

impl fmt::Display for DirectoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Which directory this member belongs to, if it knows; clones show the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Belongs(Arc<Mutex<Option<DirectoryId>>>);

impl Belongs {
    pub(super) fn to(&self) -> Option<DirectoryId> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set(&self, directory: DirectoryId) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(directory);
    }
}
