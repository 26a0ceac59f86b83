//! Answers: to writes when they are applied, to reads when it's their turn.

use bytes::BytesMut;

use super::{Conn, ConnId, Core, Front, Item, Waiting};
use crate::code::Code;
use crate::roles::Roles;
use crate::state::{Outcome, State};
use crate::tree::path;
use crate::watch::{EventKind, Watches};
use crate::wire::jute::JuteWrite as _;
use crate::wire::reply;
use crate::wire::request::{Read, SetWatches, opcode};

impl Front {
    /// Tells who waited for `request` what it came to.
    pub(super) fn answer(
        &self,
        core: &mut Core,
        waiting: Waiting,
        request: i64,
        zxid: i64,
        outcome: &Result<Outcome, Code>,
    ) {
        match waiting {
            Waiting::Open {
                conn,
                has_read_only,
            } => {
                let session = match outcome {
                    Ok(Outcome::Opened(id)) => core
                        .state
                        .sessions
                        .get(*id)
                        .cloned()
                        .map(|session| (*id, session)),
                    _ => None,
                };
                match session {
                    Some((id, session)) => core.bind(
                        conn,
                        id,
                        session.timeout_ms,
                        &session.password,
                        has_read_only,
                    ),
                    None => {
                        tracing::warn!(?outcome, "a session could not be opened");
                        core.drop_conn(conn);
                    }
                }
            }
            Waiting::Write { conn, .. } => {
                core.answer_write(self.limits.outbox_bytes_max, conn, request, zxid, outcome);
                core.drain(self.limits.outbox_bytes_max, conn);
            }
            Waiting::Close { conn, .. } => {
                core.answer_write(self.limits.outbox_bytes_max, conn, request, zxid, outcome);
                core.drop_conn(conn);
            }
            Waiting::Expire { .. } | Waiting::Reap => {}
        }
    }
}

impl Core {
    /// A connection's writes are applied in the order it sent them, those of the connection that
    /// had its session before it first, and what came before the first of them has been answered;
    /// so what is answered here is the head of the queue.
    fn answer_write(
        &mut self,
        outbox_bytes_max: usize,
        id: ConnId,
        request: i64,
        zxid: i64,
        outcome: &Result<Outcome, Code>,
    ) {
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        let xid = match conn.queue.pop_front() {
            Some(Item::Write { request: head, xid }) if head == request => xid,
            Some(Item::Former { request: head }) if head == request => return,
            // Its writes were not applied in its order: what it would be told is unknown.
            _ => return self.drop_conn(id),
        };
        self.stats.sent += 1;
        let fits = conn.outbox.put(outbox_bytes_max, |out| match outcome {
            Ok(Outcome::Done(done)) => reply::done(out, xid, zxid, done),
            Ok(Outcome::Opened(_) | Outcome::Closed(_) | Outcome::Reaped) => {
                reply::header(out, xid, zxid, None)
            }
            Err(code) => reply::header(out, xid, zxid, Some(*code)),
        });
        match fits {
            true => self.answered.push(conn.outbox.clone()),
            false => self.drop_slow(id),
        }
    }

    /// Answers the reads that waited for a write, up to the next write.
    fn drain(&mut self, outbox_bytes_max: usize, id: ConnId) {
        while let Some(conn) = self.conns.get_mut(&id) {
            match conn.queue.pop_front() {
                Some(Item::Read { xid, read, bytes }) => {
                    self.waiting_bytes = self.waiting_bytes.saturating_sub(bytes);
                    self.execute(outbox_bytes_max, id, xid, read);
                }
                Some(write) => {
                    conn.queue.push_front(write);
                    break;
                }
                None => break,
            }
        }
    }

    /// Answers a read from the state as it is.
    pub(super) fn execute(&mut self, outbox_bytes_max: usize, id: ConnId, xid: i32, read: Read) {
        let Some(conn) = self.conns.get(&id) else {
            return;
        };
        let zxid = self.state.zxid;
        let mut scope = Scope {
            state: &self.state,
            roles: self.roles.as_deref(),
            watches: &mut self.watches,
            id,
            conn,
            outbox_bytes_max,
        };
        self.stats.sent += 1;
        let fits = conn.outbox.push(outbox_bytes_max, |out| {
            if let Read::SetWatches(set) = &read {
                for (kind, path) in missed(scope.state, set) {
                    reply::event(out, kind, path);
                }
            }
            let start = out.len();
            let mut refused = None;
            reply::body(out, xid, zxid, |out| refused = scope.put(out, read).err());
            if let Some(code) = refused {
                out.truncate(start);
                reply::header(out, xid, zxid, Some(code));
            }
        });
        if !fits {
            self.drop_slow(id);
        }
    }
}

/// All that a read may touch.
struct Scope<'a> {
    state: &'a State,
    roles: Option<&'a Roles>,
    watches: &'a mut Watches,
    id: ConnId,
    conn: &'a Conn,
    outbox_bytes_max: usize,
}

impl Scope<'_> {
    /// Writes the body of the answer.
    fn put(&mut self, out: &mut BytesMut, read: Read) -> Result<(), Code> {
        let tree = &self.state.tree;
        let ids = &self.conn.ids;
        match read {
            Read::Header(None) | Read::Ping => {}
            Read::Header(Some(code)) => return Err(code),
            Read::Exists(path, watch) => {
                let found = tree.exists(&path);
                // Also on a node that isn't there: that's how its creation is waited for.
                if watch && matches!(found, Ok(_) | Err(Code::NoNode)) {
                    self.watches.watch_data(self.id, &path)?;
                }
                reply::put_stat(out, &found?);
            }
            Read::Get(path, watch) => {
                let node = tree.readable(&path, ids)?;
                reply::put_data(out, node.data.as_deref(), &node.stat());
                if watch {
                    self.watches.watch_data(self.id, &path)?;
                }
            }
            Read::GetAcl(path) => {
                let (mut list, stat) = tree.acl(&path, ids)?;
                if let Some(roles) = self.roles {
                    list = roles.list(&path);
                }
                reply::put_acl(out, &list, &stat);
            }
            Read::Children(path, watch, with_stat) => {
                let node = tree.readable(&path, ids)?;
                reply::put_strings(out, node.children_len(), node.child_names());
                if with_stat {
                    reply::put_stat(out, &node.stat());
                }
                if watch {
                    self.watches.watch_children(self.id, &path)?;
                }
            }
            Read::Sync(path) => {
                path::validate(&path, false)?;
                out.ustring(&path);
            }
            Read::Multi(reads) => self.put_multi(out, reads),
            Read::Ephemerals(prefix) => {
                let session = self.conn.session.unwrap_or_default();
                // Blanks and the root stand for all, as in `FinalRequestProcessor`.
                let trimmed = prefix.trim_matches(|c| c <= ' ');
                let all = matches!(trimmed, "" | "/");
                let found: Vec<&str> = tree
                    .ephemerals(session)
                    .filter(|path| all || path.starts_with(&prefix))
                    .collect();
                reply::put_strings(out, found.len(), found.iter().copied());
            }
            Read::Descendants(path) => {
                let count = tree.descendants(&path, ids)?;
                out.int(i32::try_from(count).unwrap_or(i32::MAX));
            }
            Read::WhoAmI => {
                out.count(ids.len());
                for id in &**ids {
                    out.ustring(&id.scheme);
                    out.ustring(
                        id.id
                            .split(':')
                            .next()
                            .filter(|_| &*id.scheme == "digest")
                            .unwrap_or(&id.id),
                    );
                }
            }
            Read::CheckWatches(path, table) => {
                if !self.watches.contains(self.id, &path, table) {
                    return Err(Code::NoWatcher);
                }
            }
            Read::RemoveWatches(path, table) => {
                if !self.watches.remove(self.id, &path, table) {
                    return Err(Code::NoWatcher);
                }
            }
            Read::AddWatch(path, mode) => {
                self.watches.add(self.id, &path, mode)?;
                // The answer is an ErrorResponse record.
                out.int(0);
            }
            Read::SetWatches(set) => return self.set_watches(&set),
        }
        Ok(())
    }

    fn put_multi(&self, out: &mut BytesMut, reads: Vec<Read>) {
        let tree = &self.state.tree;
        for read in reads {
            // A small request can name a large node thousands of times. The client will be
            // dropped for what it has caused already.
            if out.len() > self.outbox_bytes_max {
                return;
            }
            match read {
                Read::Get(path, _) => match tree.readable(&path, &self.conn.ids) {
                    Ok(node) => {
                        reply::put_multi_header(out, opcode::GET_DATA, false, 0);
                        reply::put_data(out, node.data.as_deref(), &node.stat());
                    }
                    Err(code) => reply::put_multi_error(out, Some(code)),
                },
                Read::Children(path, ..) => match tree.readable(&path, &self.conn.ids) {
                    Ok(node) => {
                        reply::put_multi_header(out, opcode::GET_CHILDREN, false, 0);
                        reply::put_strings(out, node.children_len(), node.child_names());
                    }
                    Err(code) => reply::put_multi_error(out, Some(code)),
                },
                _ => reply::put_multi_error(out, Some(Code::Unimplemented)),
            }
        }
        reply::put_multi_header(out, -1, true, -1);
    }

    /// Sets the watches again that have [`missed`] nothing.
    fn set_watches(&mut self, set: &SetWatches) -> Result<(), Code> {
        let tree = &self.state.tree;
        for path in &set.data {
            if tree
                .get(path)
                .is_some_and(|node| node.mzxid <= set.relative_zxid)
            {
                self.watches.watch_data(self.id, path)?;
            }
        }
        for path in &set.exist {
            // What can never be made isn't waited for; it could be as long as a frame, too.
            if tree.get(path).is_none() && path::validate(path, false).is_ok() {
                self.watches.watch_data(self.id, path)?;
            }
        }
        for path in &set.child {
            if tree
                .get(path)
                .is_some_and(|node| node.pzxid <= set.relative_zxid)
            {
                self.watches.watch_children(self.id, path)?;
            }
        }
        for path in &set.persistent {
            self.watches
                .add(self.id, path, crate::watch::AddMode::Persistent)?;
        }
        for path in &set.recursive {
            self.watches
                .add(self.id, path, crate::watch::AddMode::Recursive)?;
        }
        Ok(())
    }
}

/// What a client that was away has missed, in the order of its lists.
fn missed<'a>(state: &State, set: &'a SetWatches) -> Vec<(EventKind, &'a str)> {
    let tree = &state.tree;
    let mut events = Vec::new();
    for path in &set.data {
        match tree.get(path) {
            None => events.push((EventKind::NodeDeleted, &**path)),
            Some(node) if node.mzxid > set.relative_zxid => {
                events.push((EventKind::NodeDataChanged, &**path))
            }
            Some(_) => {}
        }
    }
    for path in &set.exist {
        if tree.get(path).is_some() {
            events.push((EventKind::NodeCreated, path));
        }
    }
    for path in &set.child {
        match tree.get(path) {
            None => events.push((EventKind::NodeDeleted, path)),
            Some(node) if node.pzxid > set.relative_zxid => {
                events.push((EventKind::NodeChildrenChanged, path))
            }
            Some(_) => {}
        }
    }
    events
}
