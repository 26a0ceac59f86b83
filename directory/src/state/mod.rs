//! The whole replicated state: the tree, the sessions, and the number of the last command.
//! One command in, one outcome out; deterministic, like the tree within.

pub mod batch;
pub mod command;
pub mod snapshot;

pub use command::{Command, Kind, Origin};

use crate::code::Code;
use crate::session::table::{Session, Sessions};
use crate::tree::op::{Change, Done};
use crate::tree::{Context, Tree};
use crate::wire::request::decode_write;

/// What every member has the same.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// The nodes.
    pub tree: Tree,
    /// The sessions.
    pub sessions: Sessions,
    /// Number of the last command.
    pub zxid: i64,
}

/// What a command came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A session exists.
    Opened(i64),
    /// A session has ended.
    Closed(i64),
    /// A change of the tree.
    Done(Done),
    /// A container or TTL node was removed, or was no longer due.
    Reaped,
}

impl State {
    /// Applies the next command; what happened to nodes is added to `changes`.
    ///
    /// # Errors
    /// The protocol's codes. A command that failed has still had its number.
    pub fn apply(
        &mut self,
        command: &Command<'_>,
        changes: &mut Vec<Change>,
    ) -> Result<Outcome, Code> {
        self.zxid += 1;
        let zxid = self.zxid;
        match &command.kind {
            Kind::Open {
                session,
                timeout_ms,
                password,
            } => {
                let entry = Session {
                    timeout_ms: *timeout_ms,
                    password: *password,
                };
                self.sessions.open(*session, entry)?;
                Ok(Outcome::Opened(*session))
            }
            Kind::Close { session } => {
                self.sessions.close(*session)?;
                self.tree.close_session(*session, zxid, changes);
                Ok(Outcome::Closed(*session))
            }
            Kind::Write {
                session,
                ids,
                opcode,
                body,
            } => {
                if self.sessions.get(*session).is_none() {
                    return Err(Code::SessionExpired);
                }
                let op = decode_write(*opcode, body)?;
                let context = Context {
                    zxid,
                    time_ms: command.time_ms,
                    session: *session,
                    ids,
                };
                self.tree.apply(op, context, changes).map(Outcome::Done)
            }
            Kind::Reap { path } => {
                self.tree.reap(path, command.time_ms, zxid, changes)?;
                Ok(Outcome::Reaped)
            }
        }
    }
}
