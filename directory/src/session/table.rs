//! The replicated sessions. A session exists from its Open entry to its Close entry; that it has
//! expired is decided by the leader, and true once its Close is applied, nowhere before.

use std::collections::BTreeMap;

use crate::code::Code;

/// Most sessions; each costs about 100 bytes, and its lease is looked at ten times a second.
pub const SESSIONS_MAX: usize = 100_000;

/// What proves that a client may resume a session.
pub type Password = [u8; 16];

/// One session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Time without a sign of life after which it expires, milliseconds.
    pub timeout_ms: i32,
    /// What a client resumes it with.
    pub password: Password,
}

/// All sessions, by id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sessions {
    by_id: BTreeMap<i64, Session>,
}

impl Sessions {
    /// Adds a session.
    ///
    /// # Errors
    /// [`Code::NodeExists`] if the id is taken, [`Code::BadArguments`] for 0, which means none,
    /// [`Code::QuotaExceeded`] beyond [`SESSIONS_MAX`].
    pub fn open(&mut self, id: i64, session: Session) -> Result<(), Code> {
        if id == 0 {
            return Err(Code::BadArguments);
        }
        if self.by_id.len() >= SESSIONS_MAX {
            return Err(Code::QuotaExceeded);
        }
        match self.by_id.entry(id) {
            std::collections::btree_map::Entry::Occupied(_) => Err(Code::NodeExists),
            std::collections::btree_map::Entry::Vacant(place) => {
                place.insert(session);
                Ok(())
            }
        }
    }

    /// Removes a session.
    ///
    /// # Errors
    /// [`Code::SessionExpired`] if there's none such.
    pub fn close(&mut self, id: i64) -> Result<(), Code> {
        self.by_id.remove(&id).map(drop).ok_or(Code::SessionExpired)
    }

    /// The session `id`.
    pub fn get(&self, id: i64) -> Option<&Session> {
        self.by_id.get(&id)
    }

    /// All of them, in the order of ids.
    pub fn iter(&self) -> impl Iterator<Item = (i64, &Session)> {
        self.by_id.iter().map(|(id, session)| (*id, session))
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }
}
