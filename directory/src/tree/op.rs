//! What can be asked of the tree, and what it answers. Pure data: the wire decodes into these,
//! `apply` and `read` work on them.

use super::acl::{Acl, AclList};
use super::node::{Owner, Stat, TTL_MS_MAX};
use crate::code::Code;

/// Most steps of one multi or multi-read: each is a node looked up under the tree's lock.
pub const MULTI_STEPS_MAX: usize = 4096;

/// The kind of node that a create asks for. Source: `CreateMode` of ZooKeeper 3.8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CreateMode {
    /// What keeps it alive.
    pub kind: CreateKind,
    /// Whether ten digits, the parent's count of creations, are added to the name.
    pub sequential: bool,
}

/// What keeps a new node alive; the session is that of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreateKind {
    /// Nothing.
    Persistent,
    /// The session.
    Ephemeral,
    /// Its children.
    Container,
    /// Time, in milliseconds.
    Ttl(i64),
}

impl CreateMode {
    /// The mode of a create's `flags`; `ttl_ms` is what a request for a TTL node carries.
    ///
    /// # Errors
    /// [`Code::BadArguments`] for unknown flags and for a TTL of 0, below, or above
    /// [`TTL_MS_MAX`].
    pub fn from_flags(flags: i32, ttl_ms: Option<i64>) -> Result<Self, Code> {
        let ttl = || match ttl_ms {
            Some(ms) if (1..=TTL_MS_MAX).contains(&ms) => Ok(CreateKind::Ttl(ms)),
            _ => Err(Code::BadArguments),
        };
        let (kind, sequential) = match flags {
            0 => (CreateKind::Persistent, false),
            1 => (CreateKind::Ephemeral, false),
            2 => (CreateKind::Persistent, true),
            3 => (CreateKind::Ephemeral, true),
            4 => (CreateKind::Container, false),
            5 => (ttl()?, false),
            6 => (ttl()?, true),
            _ => return Err(Code::BadArguments),
        };
        Ok(Self { kind, sequential })
    }

    pub(super) fn owner(self, session: i64) -> Owner {
        match self.kind {
            CreateKind::Persistent => Owner::Persistent,
            CreateKind::Ephemeral => Owner::Session(session),
            CreateKind::Container => Owner::Container,
            CreateKind::Ttl(ms) => Owner::Ttl(ms),
        }
    }
}

/// A change of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Makes a node; `with_stat` tells whether the client wants its numbers too.
    Create {
        /// Where; a prefix if the mode is sequential.
        path: String,
        /// Data, if any.
        data: Option<Box<[u8]>>,
        /// Access list as the client gave it.
        acl: Vec<Acl>,
        /// Kind.
        mode: CreateMode,
        /// Whether the answer carries the numbers.
        with_stat: bool,
    },
    /// Removes a node without children.
    Delete {
        /// Which.
        path: String,
        /// Expected version; -1 for any.
        version: i32,
    },
    /// Replaces a node's data.
    Set {
        /// Which.
        path: String,
        /// New data, if any.
        data: Option<Box<[u8]>>,
        /// Expected version; -1 for any.
        version: i32,
    },
    /// Replaces a node's access list.
    SetAcl {
        /// Which.
        path: String,
        /// New access list as the client gave it.
        acl: Vec<Acl>,
        /// Expected version of the access list; -1 for any.
        version: i32,
    },
    /// Only looks whether a node has a version.
    Check {
        /// Which.
        path: String,
        /// Expected version; -1 for any.
        version: i32,
    },
    /// A step of a multi that can't be done, as its bytes already tell.
    Refused(Code),
    /// All of these, or none.
    Multi(Vec<Op>),
}

/// What a change answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// A create: the final path, and the numbers if asked for.
    Created(String, Option<Stat>),
    /// A set or a change of the access list.
    Stat(Stat),
    /// A delete.
    Deleted,
    /// A check.
    Checked,
    /// A multi that was done: each step's answer.
    Multi(Vec<Done>),
    /// A multi of which nothing was done: each step's code, `None` for steps before the one
    /// that failed.
    MultiFailed(Vec<Option<Code>>),
}

/// What happened to one node, for those who watch. It carries the access lists, since who may
/// not read a node isn't told about it either (CVE-2024-23944).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What.
    pub kind: ChangeKind,
    /// To which node.
    pub path: String,
    /// The node's access list.
    pub acl: AclList,
    /// The parent's.
    pub parent_acl: AclList,
}

/// The kinds of [`Change`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// It was made.
    Created,
    /// It was removed.
    Deleted,
    /// Its data was set.
    DataSet,
}
