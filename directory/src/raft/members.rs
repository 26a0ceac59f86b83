//! What is asked and told about members; plain data, as JSON where it goes from one to another.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::identity::DirectoryId;
use super::member::Member;

/// Most voters: with more, each change waits for more disks, and nothing gets safer.
pub const VOTERS_MAX: usize = 5;

/// All members, as one of them sees them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Members {
    /// Whose view this is. Only the leader knows how far the others are.
    pub seen_by: u64,
    /// Who leads, if that's known.
    pub leader: Option<u64>,
    /// The leader's term.
    pub term: u64,
    /// The last entry of the log there.
    pub last_index: u64,
    /// A change of voters is under way: majorities of the old and of the new ones are needed.
    pub changing: bool,
    /// How long ago a majority has acknowledged the leader, milliseconds; none if it isn't known, or
    /// the leader is the only voter.
    pub quorum_acked_ms: Option<u64>,
    /// Each of them, by number.
    pub members: Vec<MemberStatus>,
}

/// One member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberStatus {
    /// Its number.
    pub id: u64,
    /// Where it is.
    pub member: Member,
    /// What it does.
    pub role: Role,
    /// The last entry that it's known to have; the leader alone knows.
    pub matched_index: Option<u64>,
    /// How many entries it lags behind.
    pub lag_entries: Option<u64>,
    /// How long ago it has acknowledged the leader, milliseconds.
    pub acked_ms: Option<u64>,
}

/// What a member does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// It leads.
    Leader,
    /// It has a vote, and what all others need.
    Follower,
    /// It gets all, and has no vote yet.
    Learner,
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Leader => "leader",
            Self::Follower => "follower",
            Self::Learner => "learner",
        })
    }
}

/// A change of who the members are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// One more: it runs, with an empty data directory, and waits to be added. It gets a vote once
    /// it has caught up. Repeating it finishes what was interrupted.
    Add {
        /// Its number, which no member has had before.
        id: u64,
        /// Where it is.
        member: Member,
    },
    /// One less. A leader hands over first. Its data directory must never be used again.
    Remove {
        /// Which.
        id: u64,
    },
    /// One in place of another, in one step: there's no moment with one less.
    Replace {
        /// Which one goes.
        id: u64,
        /// The number of the one that comes.
        by: u64,
        /// Where that one is.
        member: Member,
    },
    /// A member has moved; its number and its data stay.
    Move {
        /// Which.
        id: u64,
        /// Where it is now.
        member: Member,
    },
}

/// Why members are not changed, or not shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "lowercase")]
pub enum MemberError {
    /// A directory that was founded to be alone has no others.
    #[error(
        "this directory was started without a peer port, so it has one member; start it with one"
    )]
    Alone,
    /// Nobody leads.
    #[error("no member leads now; is a majority of them running, and do they reach each other?")]
    NoLeader,
    /// The leader can't be asked.
    #[error("member {leader}, which leads, can't be asked: {reason}")]
    Unreachable {
        /// Who leads.
        leader: u64,
        /// What went wrong.
        reason: String,
    },
    /// There's another change.
    #[error("members are being changed already; one change at a time")]
    Busy,
    /// The number is no member's.
    #[error("there is no member {0}")]
    Unknown(u64),
    /// A number is never used again.
    #[error(
        "number {0} was a member's before; a number belongs to one data directory for good, so take another one"
    )]
    Used(u64),
    /// It's there already.
    #[error(
        "member {id} is there already, as {member}; if it is to be reached elsewhere, restart it with the address that it shall advertise"
    )]
    Present {
        /// Which.
        id: u64,
        /// Where it is.
        member: Member,
    },
    /// A number is out of range.
    #[error("{0} is not between 1 and 126")]
    Number(u64),
    /// An address is none, or another member's.
    #[error(
        "{0:?} can't be a member's address: it needs host:port, and no other member may have it"
    )]
    Address(String),
    /// Enough.
    #[error("a directory has at most {VOTERS_MAX} members with a vote; replace one instead")]
    Full,
    /// The last one stays.
    #[error("member {0} is the only one with a vote; add another one first, or replace it")]
    Last(u64),
    /// The change would stop the directory.
    #[error(
        "of the members that would have a vote then, too few are answering: {answering} of {voters}; bring them back first, or change those that don't answer"
    )]
    Majority {
        /// How many answer.
        answering: usize,
        /// Of how many.
        voters: usize,
    },
    /// The new member doesn't answer as it should.
    #[error("member {id} can't be added: {reason}")]
    Refused {
        /// Which.
        id: u64,
        /// Why.
        reason: String,
    },
    /// The new member doesn't catch up.
    #[error(
        "member {id} lags {lag_entries} entries behind and gets no closer; it stays without a vote. Repeat the change when it does, or remove it"
    )]
    Lags {
        /// Which.
        id: u64,
        /// By how much.
        lag_entries: u64,
    },
    /// The leader can't hand over.
    #[error("no other member took over leadership in time; repeat the change")]
    HandOver,
    /// It has been begun, and how it ended isn't known.
    #[error(
        "the change was begun, and its end isn't known: {0}; look at the members, and repeat it if it's needed"
    )]
    Unclear(String),
}

/// What a member tells of itself to one that wants to add it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    /// It has a log, or has voted: it has been a member.
    pub(crate) initialized: bool,
    /// To which directory it belongs, if it knows.
    #[serde(default)]
    pub(crate) directory: Option<DirectoryId>,
}

/// What one member asks another beside Raft.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Question {
    /// Who are you?
    Hello,
    /// Who are you? If you're new, you belong to this directory from now on.
    Join(DirectoryId),
    /// The members as you see them.
    Members,
    /// Change them; only the leader does.
    Change(Change),
}

/// The answer to a [`Question`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Answer {
    /// To the first two.
    Hello(Hello),
    /// To the others.
    Members(Members),
    /// It won't, or can't.
    Failed(MemberError),
}

pub(crate) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
