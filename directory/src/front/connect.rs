//! How connections begin and end: the handshake, new sessions, resumed ones.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::CertificateDer;

use super::{Conn, ConnId, Core, Front, Item, Outbox, Waiting};
use crate::state::Kind;
use crate::tree::acl::Id;
use crate::wire::reply;
use crate::wire::request::Connect;

/// Why a connection isn't taken. The client is told nothing, and tries elsewhere or again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// This member doesn't lead.
    #[error("this member does not lead")]
    NotServing,
    /// The client has seen what this member hasn't.
    #[error(
        "the client has seen a later zxid than this member; was the directory restored from a backup?"
    )]
    Behind,
}

impl Front {
    /// A connection that has sent its first record. The answer to it comes through the outbox,
    /// since a new session waits for the log; so may further requests, which
    /// [`Self::opened`] holds back until then.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn connect(
        &self,
        peer: SocketAddr,
        connect: &Connect,
    ) -> Result<(ConnId, Arc<Outbox>), Refused> {
        let mut core = self.core();
        let core = &mut *core;
        if !core.serves(Instant::now()) {
            return Err(Refused::NotServing);
        }
        if connect.last_zxid_seen > core.state.zxid {
            return Err(Refused::Behind);
        }
        core.last_conn += 1;
        let id = core.last_conn;
        let outbox = Arc::new(Outbox::default());
        let ids = Arc::new([Id::new("ip", &peer.ip().to_canonical().to_string())]);
        let conn = Conn {
            outbox: outbox.clone(),
            peer,
            session: None,
            ids,
            queue: Default::default(),
        };
        core.conns.insert(id, conn);
        if connect.session == 0 {
            let timeout_ms = self.negotiate(connect.timeout_ms);
            // The upper byte tells who opened it, as in ZooKeeper; with 1 to 126 there it's
            // neither 0 nor the mark of a container or TTL node.
            let session =
                (i64::from(self.node_id) << 56) | (rand::random::<i64>() & 0x00ff_ffff_ffff_ffff);
            let waiting = Waiting::Open {
                conn: id,
                has_read_only: connect.has_read_only,
            };
            core.propose(
                self.life,
                waiting,
                Kind::Open {
                    session,
                    timeout_ms,
                    password: rand::random(),
                },
            );
        } else {
            self.resume(core, id, connect);
        }
        Ok((id, outbox))
    }

    /// What the connection's certificate proves, before its first request.
    pub fn vouch(&self, id: ConnId, certificate: &CertificateDer<'_>) {
        let mut core = self.core();
        let core = &mut *core;
        if let (Some(roles), Some(conn)) = (&core.roles, core.conns.get_mut(&id)) {
            let proven = roles.vouched(certificate);
            conn.ids = conn.ids.iter().cloned().chain(proven).collect();
        }
    }

    fn resume(&self, core: &mut Core, id: ConnId, connect: &Connect) {
        let known = core.state.sessions.get(connect.session);
        match known {
            Some(session)
                if session.password[..] == connect.password[..]
                    && !core.leases.is_closing(connect.session) =>
            {
                let session = session.clone();
                core.leases
                    .grant(connect.session, session.timeout_ms, Instant::now());
                if let Some(former) = core.by_session.get(&connect.session).copied() {
                    core.drop_conn(former);
                }
                core.bind(
                    id,
                    connect.session,
                    session.timeout_ms,
                    &session.password,
                    connect.has_read_only,
                );
                core.wait_for_former(id, connect.session);
            }
            _ => {
                if let Some(conn) = core.conns.get(&id) {
                    conn.outbox.push(usize::MAX, |out| {
                        reply::connect(out, 0, 0, &[0; 16], connect.has_read_only)
                    });
                }
                core.drop_conn(id);
            }
        }
    }

    fn negotiate(&self, wished_ms: i32) -> i32 {
        let ms = |duration: Duration| i32::try_from(duration.as_millis()).unwrap_or(i32::MAX);
        let (min, max) = (
            ms(self.timers.session_timeout_min),
            ms(self.timers.session_timeout_max),
        );
        wished_ms.clamp(min, max.max(min))
    }

    /// Waits until the connection's session is open, or the connection has ended; false if so.
    pub async fn opened(&self, id: ConnId, outbox: &Outbox) -> bool {
        loop {
            match self
                .core()
                .conns
                .get(&id)
                .map(|conn| conn.session.is_some())
            {
                Some(true) => return true,
                None => return false,
                Some(false) => {}
            }
            outbox.room.notified().await;
        }
    }

    /// The connection has ended; its session lives on until its lease runs out.
    pub fn disconnect(&self, id: ConnId) {
        self.core().drop_conn(id);
    }
}

impl Core {
    /// Gives a connection its session, and tells the client.
    pub(super) fn bind(
        &mut self,
        id: ConnId,
        session: i64,
        timeout_ms: i32,
        password: &[u8; 16],
        has_read_only: bool,
    ) {
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        conn.session = Some(session);
        self.by_session.insert(session, id);
        conn.outbox.push(usize::MAX, |out| {
            reply::connect(out, timeout_ms, session, password, has_read_only)
        });
        conn.outbox.room.notify_one();
    }

    /// Puts a session's writes that are on their way to the log, whichever connection sent them, in
    /// front of all that its new connection asks.
    fn wait_for_former(&mut self, id: ConnId, session: i64) {
        let mut former = Vec::new();
        for (request, (waiting, _)) in &mut self.waiting {
            if let Waiting::Write { conn, session: of } = waiting
                && *of == session
            {
                *conn = id;
                former.push(*request);
            }
        }
        // As they were proposed, which is the order in which they are applied.
        former.sort_unstable();
        if let Some(conn) = self.conns.get_mut(&id) {
            let items = former.into_iter().map(|request| Item::Former { request });
            conn.queue.extend(items);
        }
    }
}
