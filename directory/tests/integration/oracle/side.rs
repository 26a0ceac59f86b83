//! One of the two servers with its sessions. What it answers is told as text in which all that
//! may differ is replaced: zxids by the step of the sequence that made them, sessions by their
//! number, times by whether they are those of that step. So equal texts mean equal answers.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use towpath_directory::wire::jute::{JuteError, Reader};
use towpath_directory::wire::request::opcode;

use super::op::{Mark, Op};
use crate::raw::{Raw, Reply, request};

/// Sessions open at once.
pub(super) const SESSIONS: usize = 4;
/// Long enough that none expires by itself.
const TIMEOUT_MS: i32 = 30_000;
/// Clocks of two processes on one machine, and the time that a step takes.
const CLOCK_SLACK_MS: i64 = 30_000;

/// What one step came to: for each session, all that it was sent.
pub(super) type Seen = Vec<Vec<String>>;

pub(super) struct Side {
    pub(super) name: &'static str,
    address: SocketAddr,
    pub(super) raws: Vec<Raw>,
    xid: i32,
    last_zxid: i64,
    /// Steps by zxid, and back.
    steps: HashMap<i64, Mark>,
    zxids: HashMap<Mark, i64>,
    /// One time for each transaction.
    times: HashMap<i64, i64>,
    owners: HashMap<i64, usize>,
}

impl Side {
    pub(super) async fn open(name: &'static str, address: SocketAddr) -> Self {
        let mut side = Self {
            name,
            address,
            raws: vec![],
            xid: 0,
            last_zxid: 0,
            steps: HashMap::from([(0, 0)]),
            zxids: HashMap::from([(0, 0)]),
            times: HashMap::from([(0, 0)]),
            owners: HashMap::new(),
        };
        for _ in 0..SESSIONS {
            let raw = side.session().await;
            side.raws.push(raw);
        }
        side
    }

    async fn session(&mut self) -> Raw {
        let raw = Raw::resume(self.address, 0, TIMEOUT_MS, 0, &[0; 16]).await;
        let raw = raw.unwrap_or_else(|| panic!("{} opens a session", self.name));
        let number = self.owners.len();
        assert!(self.owners.insert(raw.session, number).is_none());
        assert_eq!(raw.password.len(), 16);
        raw
    }

    /// Plays one step on session `at`; then everyone pings, so that all that the step caused has
    /// come in.
    pub(super) async fn play(&mut self, step: Mark, at: usize, op: &Op) -> Seen {
        let mut seen: Seen = vec![vec![]; SESSIONS];
        match op {
            Op::Reconnect => seen[at].push(self.reconnect(at).await),
            Op::Forget => {
                let session = self.raws[at].session;
                let stranger = Raw::resume(self.address, 0, TIMEOUT_MS, session, &[1; 16]).await;
                seen[at].push(match stranger {
                    Some(mut raw) => {
                        let end = raw.reply().await;
                        format!("refused {} {} {end:?}", raw.session, raw.timeout_ms)
                    }
                    None => "closed".into(),
                });
                seen[at].push(self.reconnect(at).await);
            }
            op => {
                self.xid += 1;
                let xid = op.xid(self.xid);
                let bytes = op.bytes(xid, |mark| self.zxids.get(&mark).copied().unwrap_or(0));
                self.raws[at].send(&bytes).await;
                let open = self.until(at, xid, step, Some(op), &mut seen[at]).await;
                if matches!(op, Op::Close) {
                    let end = self.raws[at].reply().await;
                    assert_eq!(end, None, "{}: the connection ends", self.name);
                    let former = &self.raws[at];
                    let late = Raw::resume(
                        self.address,
                        0,
                        TIMEOUT_MS,
                        former.session,
                        &former.password,
                    );
                    let late = late.await.map(|raw| (raw.session, raw.timeout_ms));
                    seen[at].push(format!("resumed {late:?}"));
                    self.raws[at] = self.session().await;
                    seen[at].push(format!("timeout {}", self.raws[at].timeout_ms));
                } else if matches!(op, Op::Bare(_)) {
                    // ZooKeeper ends a connection that asked for what it doesn't know.
                    let resumed = self.reconnect(at).await;
                    seen[at].push(resumed);
                } else if !open
                    || matches!(op, Op::Auth(..))
                        && seen[at].last().is_some_and(|shown| shown.contains("error"))
                {
                    if open {
                        assert_eq!(self.raws[at].reply().await, None, "{}: ended", self.name);
                    }
                    let resumed = self.reconnect(at).await;
                    seen[at].push(resumed);
                }
            }
        }
        for session in 0..SESSIONS {
            self.raws[session]
                .send(&request(-2, opcode::PING, |_| {}))
                .await;
        }
        for (session, seen) in seen.iter_mut().enumerate() {
            let open = self.until(session, -2, step, None, seen).await;
            assert!(open, "{}: session {session} answers pings", self.name);
        }
        if matches!(op, Op::Close) {
            // A session's nodes go in no order that ZooKeeper promises.
            seen.iter_mut().for_each(|shown| shown.sort());
        }
        seen
    }

    async fn reconnect(&mut self, at: usize) -> String {
        let former = &self.raws[at];
        let (session, password) = (former.session, former.password.clone());
        let last = self.last_zxid;
        match Raw::resume(self.address, last, TIMEOUT_MS, session, &password).await {
            Some(raw) => {
                let same = raw.session == session && raw.password == password;
                let shown = format!("resumed {same} timeout {}", raw.timeout_ms);
                self.raws[at] = raw;
                shown
            }
            None => panic!("{}: session {at} is resumed", self.name),
        }
    }

    /// Reads up to the answer with `xid`; false if the connection ended instead. Without an `op`
    /// the answer itself is not told.
    async fn until(
        &mut self,
        at: usize,
        xid: i32,
        step: Mark,
        op: Option<&Op>,
        seen: &mut Vec<String>,
    ) -> bool {
        loop {
            let Some(reply) = self.raws[at].reply().await else {
                seen.push("closed".into());
                return false;
            };
            if reply.xid == -1 {
                seen.push(event(&reply));
                continue;
            }
            assert_eq!(reply.xid, xid, "{}: answers come in order", self.name);
            // ZooKeeper answers credentials and what it doesn't know without a number.
            let unnumbered =
                reply.zxid <= 0 && (reply.error == -6 || matches!(op, Some(Op::Auth(..))));
            assert!(
                reply.zxid >= self.last_zxid || unnumbered,
                "{}: zxids never go back, {op:?}",
                self.name
            );
            if let Some(op) = op {
                if op.is_write() && reply.error == 0 {
                    assert!(
                        reply.zxid > self.last_zxid,
                        "{}: a change has its own zxid",
                        self.name
                    );
                    self.steps.insert(reply.zxid, step);
                    self.zxids.insert(step, reply.zxid);
                }
                seen.push(self.tell(op, &reply));
            }
            self.last_zxid = self.last_zxid.max(reply.zxid);
            return true;
        }
    }

    fn tell(&mut self, op: &Op, reply: &Reply) -> String {
        let mut r = Reader::new(&reply.body);
        let mut out = String::new();
        if reply.error == 0 {
            out.push_str("ok");
            if self.body(op, &mut r, &mut out).is_err() {
                out.push_str(" cut off");
            }
        } else {
            let _ = write!(out, "error {}", reply.error);
        }
        let rest = r.rest();
        if !rest.is_empty() {
            let _ = write!(out, " rest {}", rest.escape_ascii());
        }
        out
    }

    fn body(&mut self, op: &Op, r: &mut Reader<'_>, out: &mut String) -> Result<(), JuteError> {
        match op {
            Op::Create { opcode, .. } => {
                let _ = write!(out, " {:?}", r.string()?);
                if *opcode != opcode::CREATE {
                    self.stat(r, out)?;
                }
            }
            Op::Set(..) | Op::SetAcl(..) | Op::Exists(..) => self.stat(r, out)?,
            Op::Get(..) => {
                self.data(r, out)?;
            }
            Op::GetAcl(_) => {
                // What `auth` stands for comes from a set.
                let mut entries = r.vector(|r| {
                    let (perms, scheme, id) = (r.i32()?, r.string()?, r.string()?);
                    Ok::<_, JuteError>(format!("{perms}:{scheme}:{id}"))
                })?;
                entries.sort();
                let _ = write!(out, " {entries:?}");
                self.stat(r, out)?;
            }
            Op::Children(..) | Op::Ephemerals(_) => names(r, out)?,
            Op::Children2(..) => {
                names(r, out)?;
                self.stat(r, out)?;
            }
            Op::Sync(_) => {
                let _ = write!(out, " {:?}", r.string()?);
            }
            Op::Descendants(_) | Op::AddWatch(..) => {
                let _ = write!(out, " {}", r.i32()?);
            }
            Op::WhoAmI => {
                let len = r.i32()?;
                let mut ids = Vec::new();
                for _ in 0..len {
                    ids.push(format!("{}:{}", r.string()?, r.string()?));
                }
                ids.sort();
                let _ = write!(out, " {ids:?}");
            }
            Op::Multi(_) | Op::MultiRead(_) => loop {
                let (code, done, error) = (r.i32()?, r.bool()?, r.i32()?);
                let _ = write!(out, " [{code} {done} {error}");
                if done {
                    out.push(']');
                    break;
                }
                match code {
                    opcode::CREATE => {
                        let _ = write!(out, " {:?}", r.string()?);
                    }
                    opcode::CREATE2 => {
                        let _ = write!(out, " {:?}", r.string()?);
                        self.stat(r, out)?;
                    }
                    opcode::SET_DATA => self.stat(r, out)?,
                    opcode::GET_DATA => self.data(r, out)?,
                    opcode::GET_CHILDREN => names(r, out)?,
                    -1 => {
                        let _ = write!(out, " {}", r.i32()?);
                    }
                    _ => {}
                }
                out.push(']');
            },
            _ => {}
        }
        Ok(())
    }

    fn data(&mut self, r: &mut Reader<'_>, out: &mut String) -> Result<(), JuteError> {
        match r.buffer()? {
            Some(data) => {
                let _ = write!(out, " \"{}\"", data.escape_ascii());
            }
            None => out.push_str(" none"),
        }
        self.stat(r, out)
    }

    fn stat(&mut self, r: &mut Reader<'_>, out: &mut String) -> Result<(), JuteError> {
        let (czxid, mzxid, ctime, mtime) = (r.i64()?, r.i64()?, r.i64()?, r.i64()?);
        let (version, cversion, aversion) = (r.i32()?, r.i32()?, r.i32()?);
        let (owner, len, children, pzxid) = (r.i64()?, r.i32()?, r.i32()?, r.i64()?);
        let owner = match self.owners.get(&owner) {
            Some(number) => format!("session {number}"),
            None => format!("{owner:#x}"),
        };
        let _ = write!(
            out,
            " (c {} m {} p {} v {version} cv {cversion} av {aversion} owner {owner} len {len} \
             children {children} times {} {})",
            self.step(czxid),
            self.step(mzxid),
            self.step(pzxid),
            self.time(czxid, ctime),
            self.time(mzxid, mtime),
        );
        Ok(())
    }

    fn step(&self, zxid: i64) -> String {
        match self.steps.get(&zxid) {
            Some(step) => format!("#{step}"),
            None => format!("unknown zxid {zxid:#x}"),
        }
    }

    fn time(&mut self, zxid: i64, time_ms: i64) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let now_ms = i64::try_from(now.as_millis()).unwrap();
        let first = match self.times.get(&zxid) {
            Some(first) => *first,
            None if (now_ms - time_ms).abs() > CLOCK_SLACK_MS => {
                return format!("{time_ms}, while it is {now_ms}");
            }
            None => {
                self.times.insert(zxid, time_ms);
                time_ms
            }
        };
        if first == time_ms {
            "ok".into()
        } else {
            format!("{time_ms}, which was {first}")
        }
    }
}

/// A list whose order means nothing.
fn names(r: &mut Reader<'_>, out: &mut String) -> Result<(), JuteError> {
    let mut names = r.vector(|r| r.string().map(str::to_owned))?;
    names.sort();
    let _ = write!(out, " {names:?}");
    Ok(())
}

fn event(reply: &Reply) -> String {
    let mut r = Reader::new(&reply.body);
    let (kind, state) = (r.i32().unwrap(), r.i32().unwrap());
    let path = r.string().unwrap();
    format!(
        "event {kind} state {state} {path:?} zxid {} error {} rest {}",
        reply.zxid,
        reply.error,
        r.rest().len()
    )
}
