//! Requests: the connect record, the header of all others, and the body of each operation.
//! Numbers and fields are those of `ZooDefs.OpCode` and `zookeeper.jute` of ZooKeeper 3.8.

use bytes::BytesMut;

use super::jute::{JuteError, JuteWrite as _, Reader};
use crate::code::Code;
use crate::tree::acl::{Acl, Id};
use crate::tree::op::{CreateKind, CreateMode, MULTI_STEPS_MAX, Op};
use crate::watch::{AddMode, Table};

/// xid of a watch event.
pub const XID_EVENT: i32 = -1;

/// Numbers of operations.
#[expect(missing_docs, reason = "named as in the protocol")]
pub mod opcode {
    pub const CREATE: i32 = 1;
    pub const DELETE: i32 = 2;
    pub const EXISTS: i32 = 3;
    pub const GET_DATA: i32 = 4;
    pub const SET_DATA: i32 = 5;
    pub const GET_ACL: i32 = 6;
    pub const SET_ACL: i32 = 7;
    pub const GET_CHILDREN: i32 = 8;
    pub const SYNC: i32 = 9;
    pub const PING: i32 = 11;
    pub const GET_CHILDREN2: i32 = 12;
    pub const CHECK: i32 = 13;
    pub const MULTI: i32 = 14;
    pub const CREATE2: i32 = 15;
    pub const RECONFIG: i32 = 16;
    pub const CHECK_WATCHES: i32 = 17;
    pub const REMOVE_WATCHES: i32 = 18;
    pub const CREATE_CONTAINER: i32 = 19;
    pub const CREATE_TTL: i32 = 21;
    pub const MULTI_READ: i32 = 22;
    pub const AUTH: i32 = 100;
    pub const SET_WATCHES: i32 = 101;
    pub const GET_EPHEMERALS: i32 = 103;
    pub const GET_ALL_CHILDREN_NUMBER: i32 = 104;
    pub const SET_WATCHES2: i32 = 105;
    pub const ADD_WATCH: i32 = 106;
    pub const WHO_AM_I: i32 = 107;
    pub const CLOSE_SESSION: i32 = -11;
}

/// The first record of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connect {
    /// The highest zxid that the client has seen.
    pub last_zxid_seen: i64,
    /// The session timeout it wishes for, milliseconds.
    pub timeout_ms: i32,
    /// The session that it resumes; 0 for a new one.
    pub session: i64,
    /// That session's password.
    pub password: Vec<u8>,
    /// Whether the record ended with the read-only flag, which the answer then has too.
    pub has_read_only: bool,
}

impl Connect {
    /// Reads the record.
    ///
    /// # Errors
    /// [`JuteError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, JuteError> {
        let mut reader = Reader::new(bytes);
        let _protocol_version = reader.i32()?;
        Ok(Self {
            last_zxid_seen: reader.i64()?,
            timeout_ms: reader.i32()?,
            session: reader.i64()?,
            password: reader.buffer()?.unwrap_or_default().to_vec(),
            has_read_only: !reader.rest().is_empty(),
        })
    }
}

/// One request after the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// A change of the tree: to be logged as it came, operation and body.
    Write,
    /// What is answered from the tree as it is.
    Read(Read),
    /// Further credentials.
    Auth {
        /// Their scheme.
        scheme: String,
        /// What it understands.
        credentials: Vec<u8>,
    },
    /// The end of the session.
    Close,
}

/// What is answered in its turn, without the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// An answer that was known at once: the header alone, with this code.
    Header(Option<Code>),
    /// The session lives.
    Ping,
    /// Numbers of a node.
    Exists(String, bool),
    /// Data and numbers.
    Get(String, bool),
    /// Access list and numbers.
    GetAcl(String),
    /// Names of the children; the second flag asks for the node's numbers too.
    Children(String, bool, bool),
    /// All that was written before is seen after.
    Sync(String),
    /// Several of get and children.
    Multi(Vec<Read>),
    /// The session's ephemeral nodes below a prefix.
    Ephemerals(String),
    /// Nodes below a path.
    Descendants(String),
    /// What the connection has proven.
    WhoAmI,
    /// Whether there is such a watch.
    CheckWatches(String, Table),
    /// Removes watches.
    RemoveWatches(String, Table),
    /// Adds a persistent watch.
    AddWatch(String, AddMode),
    /// Sets a former connection's watches again.
    SetWatches(Box<SetWatches>),
}

/// A former connection's watches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SetWatches {
    /// The highest zxid that the client has seen: what changed since then fires at once.
    pub relative_zxid: i64,
    /// Watches on data.
    pub data: Vec<String>,
    /// Watches on nodes that weren't there.
    pub exist: Vec<String>,
    /// Watches on children.
    pub child: Vec<String>,
    /// Persistent watches.
    pub persistent: Vec<String>,
    /// Persistent recursive watches.
    pub recursive: Vec<String>,
}

/// Why a body was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused(pub Code);

impl From<JuteError> for Refused {
    fn from(_: JuteError) -> Self {
        Self(Code::MarshallingError)
    }
}

impl From<Code> for Refused {
    fn from(code: Code) -> Self {
        Self(code)
    }
}

/// Reads the body of operation `code`.
///
/// # Errors
/// The code that the client is to be told.
pub fn decode(code: i32, body: &[u8]) -> Result<Request, Code> {
    decode_body(code, &mut Reader::new(body)).map_err(|refused| refused.0)
}

fn decode_body(code: i32, r: &mut Reader<'_>) -> Result<Request, Refused> {
    use opcode::*;
    let read = match code {
        CREATE | CREATE2 | CREATE_CONTAINER | CREATE_TTL | DELETE | SET_DATA | SET_ACL | CHECK
        | MULTI => {
            decode_op(code, r)?;
            return Ok(Request::Write);
        }
        AUTH => {
            r.i32()?;
            let scheme = r.string()?.to_owned();
            let credentials = r.buffer()?.unwrap_or_default().to_vec();
            return Ok(Request::Auth {
                scheme,
                credentials,
            });
        }
        CLOSE_SESSION => return Ok(Request::Close),
        PING => Read::Ping,
        EXISTS => Read::Exists(string(r)?, r.bool()?),
        GET_DATA => Read::Get(string(r)?, r.bool()?),
        GET_ACL => Read::GetAcl(string(r)?),
        GET_CHILDREN => Read::Children(string(r)?, r.bool()?, false),
        GET_CHILDREN2 => Read::Children(string(r)?, r.bool()?, true),
        SYNC => Read::Sync(string(r)?),
        MULTI_READ => Read::Multi(decode_multi_read(r)?),
        GET_EPHEMERALS => Read::Ephemerals(string(r)?),
        GET_ALL_CHILDREN_NUMBER => Read::Descendants(string(r)?),
        WHO_AM_I => Read::WhoAmI,
        CHECK_WATCHES => Read::CheckWatches(string(r)?, table(r.i32()?)?),
        REMOVE_WATCHES => Read::RemoveWatches(string(r)?, table(r.i32()?)?),
        ADD_WATCH => {
            let path = string(r)?;
            let mode = match r.i32()? {
                0 => AddMode::Persistent,
                1 => AddMode::Recursive,
                _ => return Err(Code::MarshallingError.into()),
            };
            Read::AddWatch(path, mode)
        }
        SET_WATCHES | SET_WATCHES2 => {
            let mut set = SetWatches {
                relative_zxid: r.i64()?,
                data: strings(r)?,
                exist: strings(r)?,
                child: strings(r)?,
                ..SetWatches::default()
            };
            if code == SET_WATCHES2 {
                set.persistent = strings(r)?;
                set.recursive = strings(r)?;
            }
            Read::SetWatches(Box::new(set))
        }
        RECONFIG => Read::Header(Some(Code::ReconfigDisabled)),
        _ => Read::Header(Some(Code::Unimplemented)),
    };
    Ok(Request::Read(read))
}

/// Reads the change that `body` of operation `code` asks for.
///
/// # Errors
/// The code that the client is to be told.
pub fn decode_write(code: i32, body: &[u8]) -> Result<Op, Code> {
    decode_op(code, &mut Reader::new(body)).map_err(|refused| refused.0)
}

fn decode_op(code: i32, r: &mut Reader<'_>) -> Result<Op, Refused> {
    use opcode::*;
    if code != MULTI {
        return decode_step(code, r, false);
    }
    let mut steps = Vec::new();
    loop {
        let (code, done) = multi_header(r)?;
        if done {
            return Ok(Op::Multi(steps));
        }
        if steps.len() >= MULTI_STEPS_MAX {
            return Err(Code::BadArguments.into());
        }
        if code == SET_ACL {
            return Err(Code::MarshallingError.into());
        }
        steps.push(match decode_step(code, r, true) {
            // Only this step is wrong, and it was read to its end.
            Err(Refused(Code::BadArguments)) => Op::Refused(Code::BadArguments),
            step => step?,
        });
    }
}

fn decode_step(code: i32, r: &mut Reader<'_>, in_multi: bool) -> Result<Op, Refused> {
    use opcode::*;
    Ok(match code {
        CREATE | CREATE2 | CREATE_CONTAINER | CREATE_TTL => {
            let path = string(r)?;
            let data = data(r)?;
            let acl = acls(r)?;
            let flags = r.i32()?;
            let ttl_ms = if code == CREATE_TTL {
                Some(r.i64()?)
            } else {
                None
            };
            let mut mode = CreateMode::from_flags(flags, ttl_ms)?;
            if !in_multi {
                // The operation decides what keeps the node alive, whatever its flags say.
                mode.kind = match (code, mode.kind) {
                    (CREATE_CONTAINER, _) => CreateKind::Container,
                    (CREATE_TTL, CreateKind::Ttl(ms)) => CreateKind::Ttl(ms),
                    (CREATE_TTL, _) => return Err(Code::BadArguments.into()),
                    (_, CreateKind::Container) => CreateKind::Persistent,
                    (_, kind) => kind,
                };
            }
            let with_stat = if in_multi {
                // In a multi the flags decide, on the answer's form too: see
                // `MultiOperationRecord.deserialize` and `Op.Create`.
                matches!(mode.kind, CreateKind::Container | CreateKind::Ttl(_))
            } else {
                code != CREATE
            };
            Op::Create {
                path,
                data,
                acl,
                mode,
                with_stat,
            }
        }
        DELETE => Op::Delete {
            path: string(r)?,
            version: r.i32()?,
        },
        SET_DATA => Op::Set {
            path: string(r)?,
            data: data(r)?,
            version: r.i32()?,
        },
        SET_ACL => Op::SetAcl {
            path: string(r)?,
            acl: acls(r)?,
            version: r.i32()?,
        },
        CHECK => Op::Check {
            path: string(r)?,
            version: r.i32()?,
        },
        _ => return Err(Code::MarshallingError.into()),
    })
}

fn decode_multi_read(r: &mut Reader<'_>) -> Result<Vec<Read>, Refused> {
    let mut reads = Vec::new();
    loop {
        let (code, done) = multi_header(r)?;
        if done {
            return Ok(reads);
        }
        if reads.len() >= MULTI_STEPS_MAX {
            return Err(Code::BadArguments.into());
        }
        reads.push(match code {
            opcode::GET_DATA => Read::Get(string(r)?, r.bool()?),
            opcode::GET_CHILDREN => Read::Children(string(r)?, r.bool()?, false),
            _ => return Err(Code::MarshallingError.into()),
        });
    }
}

fn multi_header(r: &mut Reader<'_>) -> Result<(i32, bool), JuteError> {
    let code = r.i32()?;
    let done = r.bool()?;
    r.i32()?;
    Ok((code, done))
}

fn table(kind: i32) -> Result<Table, Refused> {
    match kind {
        1 => Ok(Table::Child),
        2 => Ok(Table::Data),
        3 => Ok(Table::Any),
        4 => Ok(Table::Persistent),
        5 => Ok(Table::Recursive),
        _ => Err(Code::MarshallingError.into()),
    }
}

fn string(r: &mut Reader<'_>) -> Result<String, JuteError> {
    r.string().map(str::to_owned)
}

fn strings(r: &mut Reader<'_>) -> Result<Vec<String>, JuteError> {
    r.vector(string)
}

fn data(r: &mut Reader<'_>) -> Result<Option<Box<[u8]>>, JuteError> {
    Ok(r.buffer()?.map(Into::into))
}

/// Reads an access list.
///
/// # Errors
/// [`JuteError`].
pub fn acls(r: &mut Reader<'_>) -> Result<Vec<Acl>, JuteError> {
    r.vector(|r| {
        Ok(Acl {
            perms: r.i32()?,
            id: id(r)?,
        })
    })
}

/// Reads a name.
///
/// # Errors
/// [`JuteError`].
pub fn id(r: &mut Reader<'_>) -> Result<Id, JuteError> {
    Ok(Id {
        scheme: r.string()?.into(),
        id: r.string()?.into(),
    })
}

/// Writes an access list.
pub fn put_acls(out: &mut BytesMut, acl: &[Acl]) {
    out.count(acl.len());
    for entry in acl {
        out.int(entry.perms);
        put_id(out, &entry.id);
    }
}

/// Writes a name.
pub fn put_id(out: &mut BytesMut, id: &Id) {
    out.ustring(&id.scheme);
    out.ustring(&id.id);
}
