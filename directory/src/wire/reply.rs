//! Answers and watch events, each as one frame: a length, a header (xid, zxid, error), a body.
//! Fields are those of `zookeeper.jute` of ZooKeeper 3.8.

use bytes::BytesMut;

use super::jute::JuteWrite as _;
use super::request::{XID_EVENT, opcode, put_acls};
use crate::code::Code;
use crate::tree::acl::Acl;
use crate::tree::node::Stat;
use crate::tree::op::Done;
use crate::watch::EventKind;

const KEEPER_STATE_SYNC_CONNECTED: i32 = 3;

/// A frame around what `body` writes.
pub fn frame(out: &mut BytesMut, body: impl FnOnce(&mut BytesMut)) {
    let start = out.len();
    out.int(0);
    body(out);
    let len = i32::try_from(out.len() - start - 4).unwrap_or(i32::MAX);
    if let Some(head) = out.get_mut(start..start + 4) {
        head.copy_from_slice(&len.to_be_bytes());
    }
}

/// The answer to the connect record. All zero says that the session is gone.
pub fn connect(
    out: &mut BytesMut,
    timeout_ms: i32,
    session: i64,
    password: &[u8; 16],
    has_read_only: bool,
) {
    frame(out, |out| {
        out.int(0);
        out.int(timeout_ms);
        out.long(session);
        out.buffer(Some(password));
        if has_read_only {
            out.boolean(false);
        }
    });
}

/// An answer that has a header only: an error, or success without a body.
pub fn header(out: &mut BytesMut, xid: i32, zxid: i64, code: Option<Code>) {
    frame(out, |out| put_header(out, xid, zxid, code));
}

/// An answer with a body.
pub fn body(out: &mut BytesMut, xid: i32, zxid: i64, body: impl FnOnce(&mut BytesMut)) {
    frame(out, |out| {
        put_header(out, xid, zxid, None);
        body(out);
    });
}

fn put_header(out: &mut BytesMut, xid: i32, zxid: i64, code: Option<Code>) {
    out.int(xid);
    out.long(zxid);
    out.int(code.map_or(0, Code::number));
}

/// A watch event.
pub fn event(out: &mut BytesMut, kind: EventKind, path: &str) {
    body(out, XID_EVENT, -1, |out| {
        out.int(kind as i32);
        out.int(KEEPER_STATE_SYNC_CONNECTED);
        out.ustring(path);
    });
}

/// The answer to a change.
pub fn done(out: &mut BytesMut, xid: i32, zxid: i64, done: &Done) {
    body(out, xid, zxid, |out| match done {
        Done::Multi(steps) => {
            for step in steps {
                let code = match step {
                    Done::Created(_, None) => opcode::CREATE,
                    Done::Created(_, Some(_)) => opcode::CREATE2,
                    Done::Stat(_) => opcode::SET_DATA,
                    Done::Deleted => opcode::DELETE,
                    Done::Checked => opcode::CHECK,
                    Done::Multi(_) | Done::MultiFailed(_) => continue,
                };
                put_multi_header(out, code, false, 0);
                put_done(out, step);
            }
            put_multi_header(out, -1, true, -1);
        }
        Done::MultiFailed(steps) => {
            for code in steps {
                put_multi_error(out, *code);
            }
            put_multi_header(out, -1, true, -1);
        }
        step => put_done(out, step),
    });
}

fn put_done(out: &mut BytesMut, done: &Done) {
    match done {
        Done::Created(path, stat) => {
            out.ustring(path);
            if let Some(stat) = stat {
                put_stat(out, stat);
            }
        }
        Done::Stat(stat) => put_stat(out, stat),
        Done::Deleted | Done::Checked | Done::Multi(_) | Done::MultiFailed(_) => {}
    }
}

/// One step's error within a multi's or multi-read's answer.
pub fn put_multi_error(out: &mut BytesMut, code: Option<Code>) {
    let number = code.map_or(0, Code::number);
    put_multi_header(out, -1, false, number);
    out.int(number);
}

/// The header before each step's answer, and after the last.
pub fn put_multi_header(out: &mut BytesMut, code: i32, done: bool, error: i32) {
    out.int(code);
    out.boolean(done);
    out.int(error);
}

/// Data and numbers.
pub fn put_data(out: &mut BytesMut, data: Option<&[u8]>, stat: &Stat) {
    out.buffer(data);
    put_stat(out, stat);
}

/// An access list and numbers.
pub fn put_acl(out: &mut BytesMut, acl: &[Acl], stat: &Stat) {
    put_acls(out, acl);
    put_stat(out, stat);
}

/// A list of strings.
pub fn put_strings<'a>(out: &mut BytesMut, len: usize, strings: impl Iterator<Item = &'a str>) {
    out.count(len);
    for string in strings.take(len) {
        out.ustring(string);
    }
}

/// A node's numbers.
pub fn put_stat(out: &mut BytesMut, stat: &Stat) {
    out.long(stat.czxid);
    out.long(stat.mzxid);
    out.long(stat.ctime_ms);
    out.long(stat.mtime_ms);
    out.int(stat.version);
    out.int(stat.cversion);
    out.int(stat.aversion);
    out.long(stat.ephemeral_owner);
    out.int(stat.data_length);
    out.int(stat.num_children);
    out.long(stat.pzxid);
}
