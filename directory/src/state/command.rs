//! What is in the log: a version byte, when and by whom it was proposed, and what. A client's
//! change is logged as it came over the wire, operation and body, so there's one codec for both.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};

use crate::session::table::Password;
use crate::tree::acl::Id;
use crate::wire::jute::{JuteError, JuteWrite as _, Reader};
use crate::wire::request::{id, put_id};

/// The version that this program writes, and the newest that it reads.
pub const VERSION: u8 = 1;
const OPEN: u8 = 1;
const CLOSE: u8 = 2;
const WRITE: u8 = 3;
const REAP: u8 = 4;

/// Who waits for the outcome: a request of one process's life. Entries from earlier lives are
/// applied like all others, but nobody waits for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// Random number of the process's life.
    pub life: i64,
    /// The request within it.
    pub request: i64,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command<'a> {
    /// The proposer's clock, milliseconds since 1970: the only time that the state machine knows.
    pub time_ms: i64,
    /// Who waits.
    pub origin: Origin,
    /// What is to be done.
    pub kind: Kind<'a>,
}

/// The kinds of [`Command`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind<'a> {
    /// A new session.
    Open {
        /// Its id, chosen by the proposer.
        session: i64,
        /// Its timeout in milliseconds.
        timeout_ms: i32,
        /// Its password, chosen by the proposer.
        password: Password,
    },
    /// The end of a session, asked for by its client or decided by the leader.
    Close {
        /// Which.
        session: i64,
    },
    /// A change of the tree.
    Write {
        /// Who asks.
        session: i64,
        /// What the connection has proven.
        ids: Cow<'a, [Id]>,
        /// The wire's number of the operation.
        opcode: i32,
        /// The wire's body.
        body: &'a [u8],
    },
    /// Removal of a container or TTL node that is due.
    Reap {
        /// Which.
        path: &'a str,
    },
}

impl<'a> Command<'a> {
    /// As it's logged.
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(
            64 + if let Kind::Write { body, .. } = &self.kind {
                body.len()
            } else {
                0
            },
        );
        let tag = match &self.kind {
            Kind::Open { .. } => OPEN,
            Kind::Close { .. } => CLOSE,
            Kind::Write { .. } => WRITE,
            Kind::Reap { .. } => REAP,
        };
        out.extend_from_slice(&[VERSION, tag]);
        out.long(self.time_ms);
        out.long(self.origin.life);
        out.long(self.origin.request);
        match &self.kind {
            Kind::Open {
                session,
                timeout_ms,
                password,
            } => {
                out.long(*session);
                out.int(*timeout_ms);
                out.extend_from_slice(password);
            }
            Kind::Close { session } => out.long(*session),
            Kind::Write {
                session,
                ids,
                opcode,
                body,
            } => {
                out.long(*session);
                out.count(ids.len());
                ids.iter().for_each(|id| put_id(&mut out, id));
                out.int(*opcode);
                out.extend_from_slice(body);
            }
            Kind::Reap { path } => out.ustring(path),
        }
        out.freeze()
    }

    /// From the log.
    ///
    /// # Errors
    /// [`JuteError`] for bytes that no version of this program has written.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, JuteError> {
        let mut r = Reader::new(bytes);
        if r.u8()? != VERSION {
            return Err(JuteError::Range);
        }
        let tag = r.u8()?;
        let time_ms = r.i64()?;
        let origin = Origin {
            life: r.i64()?,
            request: r.i64()?,
        };
        let kind = match tag {
            OPEN => Kind::Open {
                session: r.i64()?,
                timeout_ms: r.i32()?,
                password: *r.rest().first_chunk().ok_or(JuteError::Short)?,
            },
            CLOSE => Kind::Close { session: r.i64()? },
            WRITE => Kind::Write {
                session: r.i64()?,
                ids: Cow::Owned(r.vector(id)?),
                opcode: r.i32()?,
                body: r.rest(),
            },
            REAP => Kind::Reap { path: r.string()? },
            _ => return Err(JuteError::Range),
        };
        Ok(Self {
            time_ms,
            origin,
            kind,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip() {
        let kinds = [
            Kind::Open {
                session: 1 << 56,
                timeout_ms: 1500,
                password: [7; 16],
            },
            Kind::Close { session: -1 },
            Kind::Write {
                session: 5,
                ids: vec![Id::new("ip", "::1")].into(),
                opcode: 1,
                body: b"body",
            },
            Kind::Reap { path: "/a" },
        ];
        for kind in kinds {
            let command = Command {
                time_ms: 12,
                origin: Origin {
                    life: 3,
                    request: 4,
                },
                kind,
            };
            let bytes = command.encode();
            assert_eq!(Command::decode(&bytes), Ok(command.clone()));
            let fixed = matches!(command.kind, Kind::Write { .. });
            for cut in 0..bytes.len() - if fixed { 4 } else { 0 } {
                assert!(
                    Command::decode(&bytes[..cut]).is_err(),
                    "{command:?} cut at {cut}"
                );
            }
        }
    }
}
