//! The state in a file: streamed both ways, so that neither writing nor reading holds it twice in
//! memory; checked by a CRC per block; versioned.
//!
//! ```text
//! file   = "TOWPATH\x01" block* end
//! block  = length u32, crc32 u32 of what follows, kind u8, payload (length - 1 bytes)
//! header = zxid i64, what the log needs to know (a buffer that is not looked into here)
//! sessions, nodes = records one after another
//! end    = sessions u64, nodes u64
//! ```
//! A file without its end block, or with a wrong CRC, is refused as a whole.

use std::io::{self, Read, Write};

use bytes::BytesMut;

use super::State;
use crate::session::table::{Session, Sessions};
use crate::tree::node::{Node, Owner};
use crate::tree::{Misplaced, Tree};
use crate::wire::jute::{JuteError, JuteWrite as _, Reader};
use crate::wire::request::{acls, put_acls};

const MAGIC: &[u8; 8] = b"TOWPATH\x01";
const VERSION: u8 = 1;
const HEADER: u8 = 1;
const SESSIONS: u8 = 2;
const NODES: u8 = 3;
const END: u8 = 4;
const BLOCK_BYTES: usize = 64 << 10;
/// Longest block: one record more than fills it, and a record is no longer than a frame.
const BLOCK_BYTES_MAX: usize = 64 << 20;

/// Why a snapshot can't be read.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The file can't be read.
    #[error("the snapshot can't be read")]
    Io(#[from] io::Error),
    /// It isn't one.
    #[error("this is no snapshot of a directory")]
    NotASnapshot,
    /// A newer program has written it.
    #[error(
        "the snapshot is of version {0}, and this release knows version {VERSION}: run the newer release \
         that has written it; nothing was changed"
    )]
    Newer(u8),
    /// It's damaged.
    #[error(
        "the snapshot is damaged at byte {at}: {what}; restore from a backup or from another member"
    )]
    Damaged {
        /// Where the block starts.
        at: u64,
        /// What is wrong.
        what: String,
    },
}

impl From<SnapshotError> for io::Error {
    fn from(error: SnapshotError) -> Self {
        match error {
            SnapshotError::Io(error) => error,
            other => Self::new(io::ErrorKind::InvalidData, other),
        }
    }
}

/// Writes `state` to `out`; `log` is kept with it for whoever reads it.
///
/// # Errors
/// Those of `out`.
pub fn write(state: &State, log: &[u8], out: &mut impl Write) -> io::Result<()> {
    out.write_all(MAGIC)?;
    let mut block = BytesMut::with_capacity(2 * BLOCK_BYTES);
    block.long(state.zxid);
    block.buffer(Some(log));
    flush(HEADER, &mut block, out)?;
    for (id, session) in state.sessions.iter() {
        block.long(id);
        block.int(session.timeout_ms);
        block.extend_from_slice(&session.password);
        if block.len() >= BLOCK_BYTES {
            flush(SESSIONS, &mut block, out)?;
        }
    }
    flush(SESSIONS, &mut block, out)?;
    let nodes = state.tree.sorted();
    for (path, node) in &nodes {
        put_node(&mut block, path, node);
        if block.len() >= BLOCK_BYTES {
            flush(NODES, &mut block, out)?;
        }
    }
    flush(NODES, &mut block, out)?;
    block.long(state.sessions.len() as i64);
    block.long(nodes.len() as i64);
    flush(END, &mut block, out)
}

fn flush(kind: u8, block: &mut BytesMut, out: &mut impl Write) -> io::Result<()> {
    if block.is_empty() {
        return Ok(());
    }
    let mut crc = crc32fast::Hasher::new();
    crc.update(&[kind]);
    crc.update(block);
    let len = u32::try_from(block.len() + 1).map_err(io::Error::other)?;
    out.write_all(&len.to_be_bytes())?;
    out.write_all(&crc.finalize().to_be_bytes())?;
    out.write_all(&[kind])?;
    out.write_all(block)?;
    block.clear();
    Ok(())
}

fn put_node(out: &mut BytesMut, path: &str, node: &Node) {
    out.ustring(path);
    out.buffer(node.data.as_deref());
    put_acls(out, &node.acl);
    for long in [
        node.owner.field(),
        node.czxid,
        node.mzxid,
        node.pzxid,
        node.ctime_ms,
        node.mtime_ms,
    ] {
        out.long(long);
    }
    for int in [node.version, node.aversion, node.creates] {
        out.int(int);
    }
}

fn node(r: &mut Reader<'_>) -> Result<(String, Node), JuteError> {
    let path = r.string()?.to_owned();
    let data = r.buffer()?.map(Into::into);
    let acl = acls(r)?.into();
    let owner = Owner::from_field(r.i64()?);
    let node = Node {
        data,
        acl,
        owner,
        czxid: r.i64()?,
        mzxid: r.i64()?,
        pzxid: r.i64()?,
        ctime_ms: r.i64()?,
        mtime_ms: r.i64()?,
        version: r.i32()?,
        aversion: r.i32()?,
        creates: r.i32()?,
        children: None,
    };
    Ok((path, node))
}

/// Reads a state, and what was kept with it for the log.
///
/// # Errors
/// [`SnapshotError`].
pub fn read(input: impl Read) -> Result<(State, Vec<u8>), SnapshotError> {
    let mut blocks = Blocks::open(input)?;
    let (zxid, log) = read_header(&mut blocks)?;
    let mut sessions = Sessions::default();
    let mut kind = blocks.next()?;
    while kind == SESSIONS {
        let mut r = Reader::new(&blocks.payload);
        while !r.rest().is_empty() {
            let (id, session) = session(&mut r).map_err(|error| blocks.damaged(error))?;
            sessions
                .open(id, session)
                .map_err(|code| blocks.damaged(code))?;
        }
        kind = blocks.next()?;
    }
    let mut nodes = NodeStream {
        blocks,
        kind,
        offset: 0,
        failed: false,
    };
    let tree = Tree::from_sorted(&mut nodes)?;
    let NodeStream { blocks, .. } = nodes;
    let mut r = Reader::new(&blocks.payload);
    let counts = (r.i64().unwrap_or(-1), r.i64().unwrap_or(-1));
    if counts != (sessions.len() as i64, tree.len() as i64) {
        return Err(blocks.damaged("sessions or nodes are missing"));
    }
    Ok((
        State {
            tree,
            sessions,
            zxid,
        },
        log,
    ))
}

/// Reads only what was kept for the log, and the zxid.
///
/// # Errors
/// [`SnapshotError`].
pub fn peek(input: impl Read) -> Result<(i64, Vec<u8>), SnapshotError> {
    read_header(&mut Blocks::open(input)?)
}

fn read_header<R: Read>(blocks: &mut Blocks<R>) -> Result<(i64, Vec<u8>), SnapshotError> {
    if blocks.next()? != HEADER {
        return Err(blocks.damaged("there is no header"));
    }
    let mut r = Reader::new(&blocks.payload);
    let zxid = r.i64().map_err(|error| blocks.damaged(error))?;
    let log = r
        .buffer()
        .map_err(|error| blocks.damaged(error))?
        .unwrap_or_default()
        .to_vec();
    Ok((zxid, log))
}

fn session(r: &mut Reader<'_>) -> Result<(i64, Session), JuteError> {
    let id = r.i64()?;
    let timeout_ms = r.i32()?;
    let mut password = [0; 16];
    for byte in &mut password {
        *byte = r.u8()?;
    }
    Ok((
        id,
        Session {
            timeout_ms,
            password,
        },
    ))
}

struct Blocks<R> {
    input: R,
    at: u64,
    next_at: u64,
    payload: Vec<u8>,
}

impl<R: Read> Blocks<R> {
    fn open(mut input: R) -> Result<Self, SnapshotError> {
        let mut magic = [0; 8];
        match input.read_exact(&mut magic) {
            Ok(()) if &magic == MAGIC => Ok(Self {
                input,
                at: 0,
                next_at: 8,
                payload: Vec::new(),
            }),
            Ok(()) => match (magic.split_last(), MAGIC.split_last()) {
                (Some((version, name)), Some((_, ours))) if name == ours => {
                    Err(SnapshotError::Newer(*version))
                }
                _ => Err(SnapshotError::NotASnapshot),
            },
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => Err(error.into()),
            Err(_) => Err(SnapshotError::NotASnapshot),
        }
    }

    fn damaged(&self, what: impl ToString) -> SnapshotError {
        SnapshotError::Damaged {
            at: self.at,
            what: what.to_string(),
        }
    }

    /// The next block's kind; its payload is in `self.payload`.
    fn next(&mut self) -> Result<u8, SnapshotError> {
        self.at = self.next_at;
        let (mut len, mut crc, mut kind) = ([0; 4], [0; 4], [0; 1]);
        for field in [&mut len[..], &mut crc[..], &mut kind[..]] {
            self.fill(field)?;
        }
        let len = u32::from_be_bytes(len) as usize;
        if !(1..=BLOCK_BYTES_MAX).contains(&len) {
            return Err(self.damaged("a block has no sensible length"));
        }
        self.payload.clear();
        let wanted = len as u64 - 1;
        if (&mut self.input)
            .take(wanted)
            .read_to_end(&mut self.payload)? as u64
            != wanted
        {
            return Err(self.damaged("it ends within a block"));
        }
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&kind);
        hasher.update(&self.payload);
        if hasher.finalize() != u32::from_be_bytes(crc) {
            return Err(self.damaged("a block's checksum is wrong"));
        }
        self.next_at = self.at + 8 + len as u64;
        Ok(u8::from_be_bytes(kind))
    }

    fn fill(&mut self, field: &mut [u8]) -> Result<(), SnapshotError> {
        self.input
            .read_exact(field)
            .map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => self.damaged("it ends before its end block"),
                _ => error.into(),
            })
    }
}

/// The nodes of all node blocks; stops at the end block.
struct NodeStream<R> {
    blocks: Blocks<R>,
    kind: u8,
    offset: usize,
    failed: bool,
}

impl<R: Read> NodeStream<R> {
    fn step(&mut self) -> Result<Option<(String, Node)>, SnapshotError> {
        loop {
            match self.kind {
                NODES => {}
                END => return Ok(None),
                _ => return Err(self.blocks.damaged("a block is of an unknown kind")),
            }
            let rest = self.blocks.payload.get(self.offset..).unwrap_or_default();
            if rest.is_empty() {
                self.kind = self.blocks.next()?;
                self.offset = 0;
                continue;
            }
            let mut r = Reader::new(rest);
            let found = node(&mut r).map_err(|error| self.blocks.damaged(error))?;
            self.offset += rest.len() - r.rest().len();
            return Ok(Some(found));
        }
    }
}

impl<R: Read> Iterator for NodeStream<R> {
    type Item = Result<(String, Node), SnapshotError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let item = self.step().transpose();
        self.failed = matches!(item, Some(Err(_)));
        item
    }
}

impl From<Misplaced> for SnapshotError {
    fn from(misplaced: Misplaced) -> Self {
        Self::Damaged {
            at: 0,
            what: format!("node {} is out of place", misplaced.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{Command, Kind, Origin};
    use crate::tree::acl;

    fn sample() -> State {
        let mut state = State::default();
        let run = |state: &mut State, kind: Kind<'_>| {
            let command = Command {
                time_ms: 1001 + state.zxid,
                origin: Origin {
                    life: 0,
                    request: 0,
                },
                kind,
            };
            state.apply(&command, &mut Vec::new()).unwrap();
        };
        run(
            &mut state,
            Kind::Open {
                session: 9,
                timeout_ms: 1000,
                password: [1; 16],
            },
        );
        for (path, data, flags) in [
            ("/a", Some(&b"x"[..]), 0),
            ("/a/e", None, 1),
            ("/a/s-", Some(b""), 2),
            ("/c", None, 4),
        ] {
            let mut body = BytesMut::new();
            body.ustring(path);
            body.buffer(data);
            put_acls(&mut body, &acl::OPEN);
            body.int(flags);
            run(
                &mut state,
                Kind::Write {
                    session: 9,
                    ids: vec![].into(),
                    opcode: 1,
                    body: &body,
                },
            );
        }
        state
    }

    fn same(a: &State, b: &State) {
        assert_eq!((a.zxid, &a.sessions), (b.zxid, &b.sessions));
        assert_eq!(a.tree.data_bytes(), b.tree.data_bytes());
        assert_eq!(
            a.tree.ephemerals(9).collect::<Vec<_>>(),
            b.tree.ephemerals(9).collect::<Vec<_>>()
        );
        let list = |s: &State| {
            s.tree
                .sorted()
                .iter()
                .map(|(p, n)| (p.to_string(), n.stat(), n.data.clone()))
                .collect::<Vec<_>>()
        };
        assert_eq!(list(a), list(b));
    }

    #[test]
    fn round_trip() {
        let state = sample();
        let mut bytes = Vec::new();
        write(&state, b"log", &mut bytes).unwrap();
        let (read_back, log) = read(&bytes[..]).unwrap();
        assert_eq!(log, b"log");
        same(&state, &read_back);
        assert_eq!(peek(&bytes[..]).unwrap(), (state.zxid, b"log".to_vec()));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_found() {
        let mut bytes = Vec::new();
        write(&sample(), b"", &mut bytes).unwrap();
        for at in 0..bytes.len() {
            let mut wrong = bytes.clone();
            wrong[at] ^= 0x10;
            assert!(read(&wrong[..]).is_err(), "flipped at {at}");
            assert!(read(&bytes[..at]).is_err(), "cut at {at}");
        }
    }
}
