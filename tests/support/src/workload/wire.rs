//! The few records of the ZooKeeper protocol that the load needs, as in `zookeeper.jute` of
//! ZooKeeper 3.8: numbers are big-endian, strings and buffers have their length before them.
//!
//! Written anew rather than shared with the directory, so that a mistake there can't cancel out.

use std::time::Duration;

use crate::linear::nodes::{Answer, Call, Group, NODES, Node, Refusal, Step};

const CREATE2: i32 = 15;
const CREATE: i32 = 1;
const DELETE: i32 = 2;
const GET_DATA: i32 = 4;
const SET_DATA: i32 = 5;
const CHECK: i32 = 13;
const MULTI: i32 = 14;
const MULTI_READ: i32 = 22;
const ERROR: i32 = -1;

const NO_NODE: i32 = -101;
const BAD_VERSION: i32 = -103;
const NODE_EXISTS: i32 = -110;
const RUNTIME_INCONSISTENCY: i32 = -2;
const OK: i32 = 0;

const ANY_VERSION: i32 = -1;
const PERMISSIONS_ALL: i32 = 31;
/// Bytes of a `Stat`, and where in it the version is.
const STAT_BYTES: usize = 68;
const STAT_VERSION_AT: usize = 32;

/// An answer that this doesn't understand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Garbled(pub(super) String);

/// What an answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// What the model knows.
    Answer(Answer),
    /// Another error, after which nobody knows.
    Other(i32),
}

/// A frame to be sent.
#[derive(Debug, Default)]
struct Frame(Vec<u8>);

impl Frame {
    fn int(&mut self, value: i32) -> &mut Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    fn long(&mut self, value: i64) -> &mut Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    fn bool(&mut self, value: bool) -> &mut Self {
        self.0.push(value.into());
        self
    }

    fn bytes(&mut self, value: &[u8]) -> &mut Self {
        self.int(i32::try_from(value.len()).unwrap_or(i32::MAX));
        self.0.extend_from_slice(value);
        self
    }

    fn step(&mut self, step: Step, path: &impl Fn(usize) -> String) -> &mut Self {
        let version = |version: Option<i32>| version.unwrap_or(ANY_VERSION);
        match step {
            Step::Create { node, value } => self
                .bytes(path(node).as_bytes())
                .bytes(&value.to_be_bytes())
                .open_to_all()
                .int(0),
            Step::Set {
                node,
                value,
                version: at,
            } => self
                .bytes(path(node).as_bytes())
                .bytes(&value.to_be_bytes())
                .int(version(at)),
            Step::Delete { node, version: at } | Step::Check { node, version: at } => {
                self.bytes(path(node).as_bytes()).int(version(at))
            }
        }
    }

    fn open_to_all(&mut self) -> &mut Self {
        self.int(1)
            .int(PERMISSIONS_ALL)
            .bytes(b"world")
            .bytes(b"anyone")
    }

    fn multi_header(&mut self, opcode: i32, is_last: bool) -> &mut Self {
        self.int(opcode).bool(is_last).int(-1)
    }

    fn framed(&self) -> Vec<u8> {
        let mut framed = Self::default();
        framed.bytes(&self.0);
        framed.0
    }
}

/// The first record of a connection: a new session that has seen nothing yet. A client that tells
/// what it has seen is refused by a server that is behind, which would hide what is looked for.
pub(super) fn connect(session_timeout: Duration) -> Vec<u8> {
    let timeout_ms = i32::try_from(session_timeout.as_millis()).unwrap_or(i32::MAX);
    let mut frame = Frame::default();
    frame
        .int(0)
        .long(0)
        .int(timeout_ms)
        .long(0)
        .bytes(&[0; 16])
        .bool(false);
    frame.framed()
}

/// Whether the answer to the first record gives a session.
pub(super) fn is_connected(body: &[u8]) -> Result<bool, Garbled> {
    let mut reader = Reader(body);
    reader.int()?;
    reader.int()?;
    Ok(reader.long()? != 0)
}

/// A persistent node for the groups to be in.
pub(super) fn create_parent(xid: i32, path: &str) -> Vec<u8> {
    let mut frame = Frame::default();
    frame.int(xid).int(CREATE).bytes(path.as_bytes()).bytes(b"");
    frame.open_to_all().int(0);
    frame.framed()
}

/// A call; `path` is where the nodes of its group are.
pub(super) fn request(xid: i32, call: &Call, path: impl Fn(usize) -> String) -> Vec<u8> {
    let mut frame = Frame::default();
    frame.int(xid);
    match call {
        Call::Read(node) => {
            frame
                .int(GET_DATA)
                .bytes(path(*node).as_bytes())
                .bool(false);
        }
        Call::ReadAll => {
            frame.int(MULTI_READ);
            for node in 0..NODES {
                frame
                    .multi_header(GET_DATA, false)
                    .bytes(path(node).as_bytes())
                    .bool(false);
            }
            frame.multi_header(-1, true);
        }
        Call::Write(steps) => match steps[..] {
            [step] if !matches!(step, Step::Check { .. }) => {
                frame.int(opcode(step)).step(step, &path);
            }
            _ => {
                frame.int(MULTI);
                for step in steps {
                    frame.multi_header(opcode(*step), false).step(*step, &path);
                }
                frame.multi_header(-1, true);
            }
        },
    }
    frame.framed()
}

fn opcode(step: Step) -> i32 {
    match step {
        Step::Create { .. } => CREATE2,
        Step::Set { .. } => SET_DATA,
        Step::Delete { .. } => DELETE,
        Step::Check { .. } => CHECK,
    }
}

/// The answer to a request, `body` being its frame; the xid must be that of the request.
pub(super) fn answer(xid: i32, call: &Call, body: &[u8]) -> Result<Told, Garbled> {
    let mut reader = Reader(body);
    let answered = reader.int()?;
    if answered != xid {
        return Err(Garbled(format!(
            "request {xid} got the answer to {answered}"
        )));
    }
    reader.long()?;
    let error = reader.int()?;
    let told = match call {
        Call::Read(node) => {
            let seen = match error {
                OK => Some(reader.node()?),
                NO_NODE => None,
                other => return Ok(Told::Other(other)),
            };
            let mut group = Group::default();
            if let Some(place) = group.0.get_mut(*node) {
                *place = seen;
            }
            Answer::Seen(group)
        }
        Call::ReadAll if error == OK => {
            let mut group = Group::default();
            for place in &mut group.0 {
                *place = match reader.multi_header()? {
                    GET_DATA => Some(reader.node()?),
                    ERROR => match reader.int()? {
                        NO_NODE => None,
                        other => return Ok(Told::Other(other)),
                    },
                    other => return Err(Garbled(format!("a read was answered as {other}"))),
                };
            }
            Answer::Seen(group)
        }
        Call::ReadAll => return Ok(Told::Other(error)),
        Call::Write(steps) => match steps[..] {
            [step] if !matches!(step, Step::Check { .. }) => match refusal(error) {
                None if error == OK => Answer::Done(vec![reader.done(step)?]),
                None => return Ok(Told::Other(error)),
                Some(why) => Answer::Refused { step: 0, why },
            },
            _ => return reader.multi(steps, error),
        },
    };
    Ok(Told::Answer(told))
}

/// The error of an answer that has nothing else.
pub(super) fn error(body: &[u8]) -> Result<i32, Garbled> {
    let mut reader = Reader(body);
    reader.int()?;
    reader.long()?;
    reader.int()
}

/// Whether a parent is there now.
pub(super) fn is_there(error: i32) -> bool {
    matches!(error, OK | NODE_EXISTS)
}

fn refusal(error: i32) -> Option<Refusal> {
    match error {
        NO_NODE => Some(Refusal::NoNode),
        NODE_EXISTS => Some(Refusal::NodeExists),
        BAD_VERSION => Some(Refusal::BadVersion),
        _ => None,
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], Garbled> {
        let (taken, rest) = self
            .0
            .split_at_checked(len)
            .ok_or_else(|| Garbled("an answer ends too early".to_owned()))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Garbled> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn int(&mut self) -> Result<i32, Garbled> {
        self.array().map(i32::from_be_bytes)
    }

    fn long(&mut self) -> Result<i64, Garbled> {
        self.array().map(i64::from_be_bytes)
    }

    fn bytes(&mut self) -> Result<&'a [u8], Garbled> {
        let len = self.int()?;
        self.take(usize::try_from(len).unwrap_or_default())
    }

    /// The version in a `Stat`.
    fn version(&mut self) -> Result<i32, Garbled> {
        let stat = self.take(STAT_BYTES)?;
        Reader(stat.get(STAT_VERSION_AT..).unwrap_or_default()).int()
    }

    fn node(&mut self) -> Result<Node, Garbled> {
        let data = self.bytes()?;
        let value = <[u8; 8]>::try_from(data)
            .map_err(|_| Garbled(format!("nobody wrote {data:?}")))
            .map(u64::from_be_bytes)?;
        let version = self.version()?;
        Ok(Node { value, version })
    }

    fn done(&mut self, step: Step) -> Result<Option<i32>, Garbled> {
        match step {
            Step::Create { .. } => {
                self.bytes()?;
                self.version().map(Some)
            }
            Step::Set { .. } => self.version().map(Some),
            Step::Delete { .. } | Step::Check { .. } => Ok(None),
        }
    }

    fn multi_header(&mut self) -> Result<i32, Garbled> {
        let opcode = self.int()?;
        self.take(1)?;
        self.int()?;
        Ok(opcode)
    }

    /// A transaction's answer: a result of each step, or an error of each, where the one that isn't
    /// 0 and not [`RUNTIME_INCONSISTENCY`] is the cause.
    fn multi(&mut self, steps: &[Step], error: i32) -> Result<Told, Garbled> {
        if self.0.is_empty() {
            return Ok(Told::Other(error));
        }
        let mut versions = Vec::new();
        let mut cause = None;
        for (at, step) in steps.iter().enumerate() {
            match self.multi_header()? {
                ERROR => {
                    let error = self.int()?;
                    if !matches!(error, OK | RUNTIME_INCONSISTENCY) {
                        cause.get_or_insert((at, error));
                    }
                }
                // Where the step is a create, the answer says whether a Stat comes with it.
                CREATE => {
                    self.bytes()?;
                    versions.push(None);
                }
                _ => versions.push(self.done(*step)?),
            }
        }
        Ok(match cause {
            None if versions.len() == steps.len() => Told::Answer(Answer::Done(versions)),
            None => return Err(Garbled("a transaction failed for no reason".to_owned())),
            Some((step, error)) => refusal(error).map_or(Told::Other(error), |why| {
                Told::Answer(Answer::Refused { step, why })
            }),
        })
    }
}
