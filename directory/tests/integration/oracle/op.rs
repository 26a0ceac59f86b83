//! What a session can ask, and its bytes. Nothing is refused here: nonsense is asked on purpose.

use bytes::BytesMut;
use towpath_directory::wire::jute::JuteWrite as _;
use towpath_directory::wire::request::opcode;

use crate::raw::request;

/// Permissions, scheme, id.
pub(super) type Acl = (i32, &'static str, String);

/// The transaction that made a step of the sequence, whose zxid each server has its own of.
pub(super) type Mark = usize;

#[derive(Clone, Debug)]
pub(super) enum Op {
    Create {
        /// [`opcode::CREATE`], `CREATE2`, `CREATE_CONTAINER` or `CREATE_TTL`.
        opcode: i32,
        path: String,
        data: Option<Vec<u8>>,
        acl: Vec<Acl>,
        flags: i32,
        ttl_ms: i64,
    },
    Delete(String, i32),
    Set(String, Option<Vec<u8>>, i32),
    SetAcl(String, Vec<Acl>, i32),
    Check(String, i32),
    Multi(Vec<Op>),
    Get(String, bool),
    Exists(String, bool),
    GetAcl(String),
    Children(String, bool),
    Children2(String, bool),
    MultiRead(Vec<Op>),
    Sync(String),
    Ephemerals(String),
    Descendants(String),
    WhoAmI,
    CheckWatches(String, i32),
    RemoveWatches(String, i32),
    AddWatch(String, i32),
    /// What changed since a mark; watches on data, existence, children, persistent, recursive.
    SetWatches(Mark, Vec<String>, Vec<String>, Vec<String>),
    SetWatches2(Mark, [Vec<String>; 5]),
    Auth(&'static str, Vec<u8>),
    /// An operation without a body.
    Bare(i32),
    /// A record that is cut off: the operation, and a path alone.
    Cut(i32, String),
    /// The end of the session; the next one takes its place.
    Close,
    /// The connection breaks, and the session goes on over another.
    Reconnect,
    /// The same with a wrong password, and then the right one.
    Forget,
}

impl Op {
    pub(super) fn opcode(&self) -> i32 {
        match self {
            Self::Create { opcode, .. } => *opcode,
            Self::Delete(..) => opcode::DELETE,
            Self::Set(..) => opcode::SET_DATA,
            Self::SetAcl(..) => opcode::SET_ACL,
            Self::Check(..) => opcode::CHECK,
            Self::Multi(_) => opcode::MULTI,
            Self::Get(..) => opcode::GET_DATA,
            Self::Exists(..) => opcode::EXISTS,
            Self::GetAcl(_) => opcode::GET_ACL,
            Self::Children(..) => opcode::GET_CHILDREN,
            Self::Children2(..) => opcode::GET_CHILDREN2,
            Self::MultiRead(_) => opcode::MULTI_READ,
            Self::Sync(_) => opcode::SYNC,
            Self::Ephemerals(_) => opcode::GET_EPHEMERALS,
            Self::Descendants(_) => opcode::GET_ALL_CHILDREN_NUMBER,
            Self::WhoAmI => opcode::WHO_AM_I,
            Self::CheckWatches(..) => opcode::CHECK_WATCHES,
            Self::RemoveWatches(..) => opcode::REMOVE_WATCHES,
            Self::AddWatch(..) => opcode::ADD_WATCH,
            Self::SetWatches(..) => opcode::SET_WATCHES,
            Self::SetWatches2(..) => opcode::SET_WATCHES2,
            Self::Auth(..) => opcode::AUTH,
            Self::Bare(opcode) | Self::Cut(opcode, _) => *opcode,
            Self::Close | Self::Reconnect | Self::Forget => opcode::CLOSE_SESSION,
        }
    }

    /// The xid that clients give it.
    pub(super) fn xid(&self, next: i32) -> i32 {
        match self {
            Self::Auth(..) => -4,
            Self::SetWatches(..) | Self::SetWatches2(..) => -8,
            _ => next,
        }
    }

    /// Whether a success has a zxid of its own.
    pub(super) fn is_write(&self) -> bool {
        matches!(
            self,
            Self::Create { .. }
                | Self::Delete(..)
                | Self::Set(..)
                | Self::SetAcl(..)
                | Self::Multi(_)
                | Self::Close
        )
    }

    /// The request; `zxid` gives a server's number of a mark.
    pub(super) fn bytes(&self, xid: i32, zxid: impl Fn(Mark) -> i64) -> BytesMut {
        request(xid, self.opcode(), |out| self.put(out, &zxid))
    }

    fn put(&self, out: &mut BytesMut, zxid: &dyn Fn(Mark) -> i64) {
        match self {
            Self::Create {
                opcode,
                path,
                data,
                acl,
                flags,
                ttl_ms,
            } => {
                out.ustring(path);
                out.buffer(data.as_deref());
                put_acl(out, acl);
                out.int(*flags);
                if *opcode == opcode::CREATE_TTL {
                    out.long(*ttl_ms);
                }
            }
            Self::Delete(path, version) | Self::Check(path, version) => {
                out.ustring(path);
                out.int(*version);
            }
            Self::Set(path, data, version) => {
                out.ustring(path);
                out.buffer(data.as_deref());
                out.int(*version);
            }
            Self::SetAcl(path, acl, version) => {
                out.ustring(path);
                put_acl(out, acl);
                out.int(*version);
            }
            Self::Multi(steps) | Self::MultiRead(steps) => {
                for step in steps {
                    out.int(step.opcode());
                    out.boolean(false);
                    out.int(-1);
                    step.put(out, zxid);
                }
                out.int(-1);
                out.boolean(true);
                out.int(-1);
            }
            Self::Get(path, watch)
            | Self::Exists(path, watch)
            | Self::Children(path, watch)
            | Self::Children2(path, watch) => {
                out.ustring(path);
                out.boolean(*watch);
            }
            Self::GetAcl(path)
            | Self::Sync(path)
            | Self::Ephemerals(path)
            | Self::Descendants(path)
            | Self::Cut(_, path) => out.ustring(path),
            Self::CheckWatches(path, kind)
            | Self::RemoveWatches(path, kind)
            | Self::AddWatch(path, kind) => {
                out.ustring(path);
                out.int(*kind);
            }
            Self::SetWatches(mark, data, exist, child) => {
                out.long(zxid(*mark));
                for list in [data, exist, child] {
                    put_strings(out, list);
                }
            }
            Self::SetWatches2(mark, lists) => {
                out.long(zxid(*mark));
                lists.iter().for_each(|list| put_strings(out, list));
            }
            Self::Auth(scheme, credentials) => {
                out.int(0);
                out.ustring(scheme);
                out.buffer(Some(credentials));
            }
            Self::WhoAmI | Self::Bare(_) | Self::Close | Self::Reconnect | Self::Forget => {}
        }
    }
}

fn put_strings(out: &mut BytesMut, list: &[String]) {
    out.count(list.len());
    list.iter().for_each(|item| out.ustring(item));
}

fn put_acl(out: &mut BytesMut, acl: &[Acl]) {
    out.count(acl.len());
    for (perms, scheme, id) in acl {
        out.int(*perms);
        out.ustring(scheme);
        out.ustring(id);
    }
}
