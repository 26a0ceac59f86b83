//! Between connections and the log. One lock holds the replicated state, the watches, the leases
//! and the connections' queues, so what a client sees has one order:
//!
//! * a connection's requests are answered in the order they came, reads behind its own writes;
//! * a watch event goes out before the answer of the write that caused it, and before any answer
//!   that already shows the change;
//! * a session has one connection: resuming it closes the former one, and is answered behind the
//!   writes of it that are on their way to the log, so that a client which looks what became of
//!   them sees all there will ever be;
//! * whatever happens to a write's proposal, it's answered once it's applied, or the connection
//!   is dropped, which tells a client that the outcome is unknown. SESSIONMOVED is never sent:
//!   some clients take it for the end of the session.
//!
//! Nothing here waits or does I/O: the log calls [`Front::apply`] with what is committed, and
//! gets what is proposed through a channel.

mod outbox;
mod answer;
mod connect;
#[cfg(test)]
mod resume_test;

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tokio::sync::{mpsc, watch};

pub use connect::Refused;
pub use outbox::Outbox;

use crate::code::Code;
use crate::config::{Limits, Timers};
use crate::roles::{Access, Roles, WrongToken};
use crate::session::lease::Leases;
use crate::state::{Command, Kind, Origin, Outcome, State, batch};
use crate::tree::acl::{self, Id};
use crate::tree::op::{Change, ChangeKind};
use crate::watch::{EventKind, Watches};
use crate::wire::jute::{JuteError, Reader};
use crate::wire::reply;
use crate::wire::request::{Read, Request, decode, decode_write};

/// Most names that one connection may prove.
const IDS_MAX: usize = 64;
/// What a read takes while it waits, against its frame: a path of few bytes becomes a string.
const READ_BYTES_FACTOR: usize = 8;

/// Most commands that are applied while nobody else gets at the state: some tenths of a
/// millisecond.
const APPLIED_TOGETHER: usize = 128;

/// A connection's number within this process's life.
pub type ConnId = u64;

/// Something for the log, on its way from the front: the seam between the two. It comes back
/// through [`Front::apply`] with its number, or through [`Front::proposal_failed`].
#[derive(Clone, Debug)]
pub struct Proposal {
    /// Which request it is.
    pub request: i64,
    /// What is to be logged.
    pub command: Bytes,
}

/// The one place where connections, sessions and the replicated state meet.
#[derive(Debug)]
pub struct Front {
    core: Mutex<Core>,
    timers: Timers,
    limits: Limits,
    super_digest: Option<String>,
    node_id: u8,
    life: i64,
    serving: watch::Sender<bool>,
}

#[derive(Debug)]
struct Core {
    state: State,
    roles: Option<Arc<Roles>>,
    watches: Watches,
    leases: Leases,
    conns: HashMap<ConnId, Conn>,
    by_session: HashMap<i64, ConnId>,
    waiting: HashMap<i64, (Waiting, usize)>,
    /// Bytes of the commands that are waited for.
    waiting_bytes: usize,
    proposals: mpsc::UnboundedSender<Proposal>,
    last_conn: ConnId,
    last_request: i64,
    last_time_ms: i64,
    last_scan: Option<Instant>,
    serving: bool,
    /// Until when nobody else can lead; none if nobody ever can.
    sole_until: Option<Instant>,
    stats: Stats,
    /// Connections whose writes have been answered, to be woken when the lock is released: if
    /// they ran before, they would only wait for it.
    answered: Vec<Arc<Outbox>>,
}

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default)]
struct Stats {
    received: u64,
    sent: u64,
    expired: u64,
}

/// What `srvr` and `mntr` tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "named as what they count")]
pub struct Status {
    pub serving: bool,
    /// Clients are passed on to the member that leads.
    pub follows: bool,
    pub zxid: i64,
    pub nodes: usize,
    pub ephemerals: usize,
    pub data_bytes: u64,
    pub watches: usize,
    pub sessions: usize,
    pub connections: usize,
    pub outstanding: usize,
    pub received: u64,
    pub sent: u64,
    pub expired_sessions: u64,
}

#[derive(Debug)]
struct Conn {
    outbox: Arc<Outbox>,
    peer: SocketAddr,
    session: Option<i64>,
    ids: Arc<[Id]>,
    /// Writes that are not applied yet, and what came after the first of them.
    queue: VecDeque<Item>,
}

#[derive(Debug)]
enum Item {
    Write {
        request: i64,
        xid: i32,
    },
    /// A write of the session's former connection: what comes behind it waits, nobody is answered.
    Former {
        request: i64,
    },
    Read {
        xid: i32,
        read: Read,
        bytes: usize,
    },
}

#[derive(Clone, Copy, Debug)]
enum Waiting {
    Open { conn: ConnId, has_read_only: bool },
    Write { conn: ConnId, session: i64 },
    Close { conn: ConnId, session: i64 },
    Expire { session: i64 },
    Reap,
}

/// The connection is to be dropped: it sent what is no request, or its session has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dropped;

impl Front {
    /// An idle front over an empty state; what it proposes comes out of the receiver.
    pub fn new(
        node_id: u8,
        timers: Timers,
        limits: Limits,
        access: Access,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<Proposal>) {
        let (proposals, receiver) = mpsc::unbounded_channel();
        let core = Core {
            state: State::default(),
            roles: access.roles,
            watches: Watches::default(),
            leases: Leases::default(),
            conns: HashMap::new(),
            by_session: HashMap::new(),
            waiting: HashMap::new(),
            waiting_bytes: 0,
            proposals,
            last_conn: 0,
            last_request: 0,
            last_time_ms: 0,
            last_scan: None,
            serving: false,
            sole_until: None,
            stats: Stats::default(),
            answered: Vec::new(),
        };
        let front = Self {
            core: Mutex::new(core),
            timers,
            limits,
            super_digest: access.super_digest,
            node_id,
            life: rand::random(),
            serving: watch::Sender::new(false),
        };
        (Arc::new(front), receiver)
    }

    fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a request of a connection whose session is open. True if so many are outstanding
    /// that the connection should be read no further until [`Self::room`].
    ///
    /// # Errors
    /// [`Dropped`].
    pub fn submit(&self, id: ConnId, frame: &[u8]) -> Result<bool, Dropped> {
        let mut reader = Reader::new(frame);
        let (Ok(xid), Ok(opcode)) = (reader.i32(), reader.i32()) else {
            return Err(Dropped);
        };
        let body = reader.rest();
        let bytes = frame.len().saturating_mul(READ_BYTES_FACTOR);
        let request =
            decode(opcode, body).unwrap_or_else(|code| Request::Read(Read::Header(Some(code))));
        let mut core = self.core();
        let core = &mut *core;
        let now = Instant::now();
        let serves = core.serves(now);
        let conn = core.conns.get_mut(&id).ok_or(Dropped)?;
        let session = conn.session.ok_or(Dropped)?;
        if !serves || !core.leases.touch(session, now) {
            return Err(Dropped);
        }
        core.stats.received += 1;
        match request {
            Request::Write if !may_write(core.roles.as_deref(), &conn.ids, opcode, body) => {
                self.read(core, id, xid, Read::Header(Some(Code::NoAuth)), bytes);
            }
            Request::Write => {
                let ids = conn.ids.clone();
                let kind = Kind::Write {
                    session,
                    ids: Cow::Borrowed(&ids),
                    opcode,
                    body,
                };
                let waiting = Waiting::Write { conn: id, session };
                let request = core.propose(self.life, waiting, kind);
                core.enqueue(id, Item::Write { request, xid });
            }
            Request::Close => {
                core.leases.close(session);
                let request = core.propose(
                    self.life,
                    Waiting::Close { conn: id, session },
                    Kind::Close { session },
                );
                core.enqueue(id, Item::Write { request, xid });
            }
            Request::Auth {
                scheme,
                credentials,
            } => {
                let proven = core
                    .roles
                    .as_deref()
                    .filter(|_| scheme == "digest")
                    .and_then(|roles| roles.proven(&credentials));
                let shown = match proven {
                    Some(Ok(role)) => Ok(vec![role]),
                    Some(Err(WrongToken)) => Err(Code::AuthFailed),
                    None => acl::authenticate(
                        &scheme,
                        &credentials,
                        conn.peer.ip(),
                        self.super_digest.as_deref(),
                    ),
                };
                let code = match shown {
                    Ok(ids) if conn.ids.len() + ids.len() <= IDS_MAX => {
                        let new = ids.into_iter().filter(|id| !conn.ids.contains(id));
                        conn.ids = conn.ids.iter().cloned().chain(new).collect();
                        None
                    }
                    Ok(_) => Some(Code::AuthFailed),
                    Err(code) => Some(code),
                };
                self.read(core, id, xid, Read::Header(code), bytes);
                if code.is_some() {
                    tracing::warn!(peer = %self.peer(core, id), scheme, "credentials refused");
                    core.drop_conn(id);
                }
            }
            Request::Read(read) => {
                let roles = core.roles.as_deref();
                let read = match roles.is_none_or(|roles| roles.allow_read(&conn.ids, &read)) {
                    true => read,
                    false => Read::Header(Some(Code::NoAuth)),
                };
                self.read(core, id, xid, read, bytes);
            }
        }
        Ok(core.is_full(id, &self.limits))
    }

    fn peer(&self, core: &Core, id: ConnId) -> String {
        core.conns
            .get(&id)
            .map(|conn| conn.peer.to_string())
            .unwrap_or_default()
    }

    fn read(&self, core: &mut Core, id: ConnId, xid: i32, read: Read, bytes: usize) {
        match core.conns.get_mut(&id) {
            Some(conn) if conn.queue.is_empty() => {
                core.execute(self.limits.outbox_bytes_max, id, xid, read)
            }
            Some(conn) => {
                conn.queue.push_back(Item::Read { xid, read, bytes });
                core.waiting_bytes += bytes;
            }
            None => {}
        }
    }

    /// Waits until the connection has room for further requests, or has ended.
    pub async fn room(&self, id: ConnId, outbox: &Outbox) {
        while self.core().is_full(id, &self.limits) {
            outbox.room.notified().await;
        }
    }

    /// Applies an entry of the log, a [`batch`] of commands: changes the state, fires watches,
    /// answers.
    pub fn apply(&self, entry: &[u8]) {
        let mut commands = batch::commands(entry).peekable();
        while commands.peek().is_some() {
            let answered = {
                let mut core = self.core();
                for command in commands.by_ref().take(APPLIED_TOGETHER) {
                    self.apply_one(&mut core, command);
                }
                std::mem::take(&mut core.answered)
            };
            for outbox in answered {
                outbox.wake();
            }
        }
    }

    fn apply_one(&self, core: &mut Core, command: Result<&[u8], JuteError>) {
        let command = match command.and_then(Command::decode) {
            Ok(command) => command,
            Err(error) => {
                // Every member does the same with it: nothing.
                core.state.zxid += 1;
                tracing::error!(zxid = core.state.zxid, %error, "skipped a log entry that no version of this program has written");
                return;
            }
        };
        let serves = core.serves(Instant::now());
        if core.serving && !serves {
            core.stop_serving();
        }
        let mut changes = Vec::new();
        let outcome = core.state.apply(&command, &mut changes);
        let zxid = core.state.zxid;
        let waiting = match command.origin.life == self.life {
            true => core.take_waiting(command.origin.request),
            false => None,
        };
        if !serves {
            return;
        }
        for change in &changes {
            core.tell(self.limits.outbox_bytes_max, change);
        }
        if let (Ok(Outcome::Opened(session)), Kind::Open { timeout_ms, .. }) =
            (&outcome, &command.kind)
        {
            core.leases.grant(*session, *timeout_ms, Instant::now());
        }
        if let Some(waiting) = waiting {
            self.answer(core, waiting, command.origin.request, zxid, &outcome);
        }
        if let Ok(Outcome::Closed(session)) = outcome {
            core.leases.remove(session);
            if let Some(conn) = core.by_session.get(&session).copied() {
                core.drop_conn(conn);
            }
        }
    }

    /// A proposal will not be applied, or nobody knows whether it will.
    pub fn proposal_failed(&self, request: i64) {
        let mut core = self.core();
        match core.take_waiting(request) {
            Some(Waiting::Open { conn, .. } | Waiting::Write { conn, .. }) => core.drop_conn(conn),
            Some(Waiting::Close { conn, session }) => {
                core.drop_conn(conn);
                core.regrant(session);
            }
            Some(Waiting::Expire { session }) => core.regrant(session),
            Some(Waiting::Reap) | None => {}
        }
    }

    /// This member leads, with all that was committed applied, and nobody else can until
    /// `sole_until` (ever, if that's none): clients are served, and every session gets its timeout
    /// but for the `silence` in which nobody led. If they are already, only the end is moved.
    pub fn begin_serving(&self, sole_until: Option<Instant>, silence: Duration) {
        let mut core = self.core();
        let core = &mut *core;
        let now = Instant::now();
        let served = core.serves(now);
        core.sole_until = sole_until;
        if served {
            return;
        }
        // What was served before, another member may have changed in between.
        core.stop_serving();
        core.leases.clear();
        for (id, session) in core.state.sessions.iter() {
            core.leases.inherit(id, session.timeout_ms, now, silence);
        }
        // Their end may be in the log already.
        for (waiting, _) in core.waiting.values() {
            if let Waiting::Close { session, .. } | Waiting::Expire { session } = waiting {
                core.leases.close(*session);
            }
        }
        core.last_scan = None;
        core.serving = true;
        self.serving.send_replace(true);
        tracing::info!(
            zxid = core.state.zxid,
            sessions = core.state.sessions.len(),
            nodes = core.state.tree.len(),
            "serving clients"
        );
    }

    /// This member doesn't lead, or can't tell: nobody is answered from here on.
    pub fn stop_serving(&self) {
        self.core().stop_serving();
        self.serving.send_replace(false);
    }

    /// Turns true when clients are served, and false when they no longer are.
    pub fn serving(&self) -> watch::Receiver<bool> {
        self.serving.subscribe()
    }

    /// Whether clients are served now.
    pub fn is_serving(&self) -> bool {
        self.core().serves(Instant::now())
    }

    /// Proposes the end of the sessions whose lease has run out. To be called every
    /// [`Timers::expiry_scan`]: time in which it wasn't, this process stood still, which is no
    /// client's fault, so it doesn't count.
    pub fn scan_leases(&self) {
        let mut core = self.core();
        let core = &mut *core;
        let now = Instant::now();
        if !core.serves(now) {
            return;
        }
        let late = core.last_scan.map_or(Duration::ZERO, |last| {
            now.saturating_duration_since(last)
                .saturating_sub(self.timers.expiry_scan)
        });
        core.last_scan = Some(now);
        if late > self.timers.expiry_scan {
            core.leases.extend(late);
        }
        for session in core.leases.expire(now) {
            tracing::info!(session = format_args!("{session:#x}"), "session expired");
            core.stats.expired += 1;
            core.propose(
                self.life,
                Waiting::Expire { session },
                Kind::Close { session },
            );
        }
    }

    /// Proposes the removal of containers and TTL nodes that are due.
    pub fn scan_mortal(&self) {
        let mut core = self.core();
        if !core.serves(Instant::now()) {
            return;
        }
        let now_ms = core.now_ms();
        for path in core.state.tree.due(now_ms) {
            core.propose(self.life, Waiting::Reap, Kind::Reap { path: &path });
        }
    }

    /// The state as it is now, to be written elsewhere; costs a pointer per node.
    pub fn view(&self) -> State {
        self.core().state.clone()
    }

    /// Number of the last command that was applied.
    pub fn zxid(&self) -> i64 {
        self.core().state.zxid
    }

    /// Nodes of the tree now.
    pub fn nodes(&self) -> usize {
        self.core().state.tree.len()
    }

    /// Replaces the state; never while serving.
    pub fn install(&self, state: State) {
        self.core().state = state;
    }

    /// Numbers for operators.
    pub fn status(&self) -> Status {
        let core = self.core();
        Status {
            serving: core.serves(Instant::now()),
            follows: false,
            zxid: core.state.zxid,
            nodes: core.state.tree.len(),
            ephemerals: core.state.tree.ephemerals_len(),
            data_bytes: core.state.tree.data_bytes(),
            watches: core.watches.len(),
            sessions: core.state.sessions.len(),
            connections: core.conns.len(),
            outstanding: core.waiting.len(),
            received: core.stats.received,
            sent: core.stats.sent,
            expired_sessions: core.stats.expired,
        }
    }
}

/// Whether the roles, if there are any, let the connection make this change.
fn may_write(roles: Option<&Roles>, ids: &[Id], opcode: i32, body: &[u8]) -> bool {
    roles.is_none_or(|roles| decode_write(opcode, body).is_ok_and(|op| roles.allow_write(ids, &op)))
}

impl Core {
    /// Whether clients may be answered: what is known here is the newest that there is.
    fn serves(&self, now: Instant) -> bool {
        self.serving && self.sole_until.is_none_or(|until| now < until)
    }

    fn stop_serving(&mut self) {
        self.serving = false;
        self.leases.clear();
        let conns: Vec<ConnId> = self.conns.keys().copied().collect();
        for conn in conns {
            self.drop_conn(conn);
        }
        // What is on its way to the log may be applied yet, in this term too, once this member serves
        // again: who comes back then waits for it.
        self.waiting.retain(|_, (waiting, _)| match waiting {
            Waiting::Write { .. } | Waiting::Close { .. } | Waiting::Expire { .. } => true,
            Waiting::Open { .. } | Waiting::Reap => false,
        });
        self.waiting_bytes = self.waiting.values().map(|(_, bytes)| bytes).sum();
    }

    fn now_ms(&mut self) -> i64 {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let now_ms = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
        self.last_time_ms = self.last_time_ms.max(now_ms);
        self.last_time_ms
    }

    /// Sends a command to the log; who waits for it is noted under the number returned.
    fn propose(&mut self, life: i64, waiting: Waiting, kind: Kind<'_>) -> i64 {
        self.last_request += 1;
        let request = self.last_request;
        let command = Command {
            time_ms: self.now_ms(),
            origin: Origin { life, request },
            kind,
        };
        let command = command.encode();
        self.waiting_bytes += command.len();
        self.waiting.insert(request, (waiting, command.len()));
        // Without a log the process is ending, and connections with it.
        let _ = self.proposals.send(Proposal { request, command });
        request
    }

    /// Who waits for `request`, if anyone does; once.
    fn take_waiting(&mut self, request: i64) -> Option<Waiting> {
        let (waiting, bytes) = self.waiting.remove(&request)?;
        self.waiting_bytes = self.waiting_bytes.saturating_sub(bytes);
        Some(waiting)
    }

    /// Whether the connection should be read no further for now.
    fn is_full(&self, id: ConnId, limits: &Limits) -> bool {
        let waiting = self.conns.get(&id).map_or(0, |conn| conn.queue.len());
        waiting >= limits.outstanding_max
            || (waiting > 0 && self.waiting_bytes > limits.outstanding_bytes_max)
    }

    fn enqueue(&mut self, id: ConnId, item: Item) {
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.queue.push_back(item);
        }
    }

    /// The session's end could not be decided, so it goes on, with a full lease.
    fn regrant(&mut self, id: i64) {
        if let Some(session) = self.state.sessions.get(id)
            && self.serving
        {
            self.leases.grant(id, session.timeout_ms, Instant::now());
        }
    }

    /// Forgets a connection; what waits in its outbox is still written.
    fn drop_conn(&mut self, id: ConnId) {
        let Some(conn) = self.conns.remove(&id) else {
            return;
        };
        if let Some(session) = conn.session
            && self.by_session.get(&session) == Some(&id)
        {
            self.by_session.remove(&session);
        }
        for item in &conn.queue {
            if let Item::Read { bytes, .. } = item {
                self.waiting_bytes = self.waiting_bytes.saturating_sub(*bytes);
            }
        }
        self.watches.remove_watcher(id);
        conn.outbox.close();
        conn.outbox.room.notify_one();
    }

    fn tell(&mut self, outbox_bytes_max: usize, change: &Change) {
        let conns = &self.conns;
        let stats = &mut self.stats;
        let mut slow = Vec::new();
        self.watches.fire(change, |fired| {
            let Some(conn) = conns.get(&fired.watcher) else {
                return;
            };
            let list = match (fired.kind, change.kind) {
                (EventKind::NodeChildrenChanged, _) => &change.parent_acl,
                (_, ChangeKind::Created | ChangeKind::Deleted | ChangeKind::DataSet) => &change.acl,
            };
            if acl::check(list, acl::READ, &conn.ids).is_err() {
                return;
            }
            stats.sent += 1;
            if !conn.outbox.push(outbox_bytes_max, |out| {
                reply::event(out, fired.kind, fired.path)
            }) {
                slow.push(fired.watcher);
            }
        });
        for id in slow {
            self.drop_slow(id);
        }
    }

    fn drop_slow(&mut self, id: ConnId) {
        if let Some(conn) = self.conns.get(&id) {
            tracing::warn!(peer = %conn.peer, "dropped a client that doesn't read its answers");
        }
        self.drop_conn(id);
    }
}
