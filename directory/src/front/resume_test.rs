//! What a client sees that resumes its session while writes of its former connection are on their
//! way to the log. The test is the log.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use futures_util::FutureExt as _;
use tokio::sync::mpsc::UnboundedReceiver;

use super::{ConnId, Front, Outbox, Proposal};
use crate::config::{Limits, Timers};
use crate::roles::Access;
use crate::state::batch::Batch;
use crate::wire::jute::{JuteWrite as _, Reader};
use crate::wire::request::{Connect, opcode};

/// A front that leads, and what it proposes.
struct Rig {
    front: Arc<Front>,
    proposals: UnboundedReceiver<Proposal>,
}

/// A connection.
struct Client {
    id: ConnId,
    outbox: Arc<Outbox>,
}

impl Rig {
    fn new() -> Self {
        let (front, proposals) =
            Front::new(1, Timers::default(), Limits::default(), Access::default());
        front.begin_serving(None, Duration::ZERO);
        Self { front, proposals }
    }

    fn connect(&self, session: i64, password: &[u8]) -> Client {
        let peer = SocketAddr::from(([127, 0, 0, 1], 1));
        let connect = Connect {
            last_zxid_seen: 0,
            timeout_ms: 10_000,
            session,
            password: password.to_vec(),
            has_read_only: false,
        };
        let (id, outbox) = self.front.connect(peer, &connect).unwrap();
        Client { id, outbox }
    }

    /// Logs and applies the oldest proposal.
    fn apply(&mut self) {
        let proposal = self.proposals.try_recv().unwrap();
        let mut batch = Batch::default();
        batch.push(&proposal.command);
        self.front.apply(&batch.take());
    }

    fn create(&self, client: &Client, xid: i32, path: &str) {
        let mut out = BytesMut::new();
        out.int(xid);
        out.int(opcode::CREATE);
        out.ustring(path);
        out.buffer(Some(b""));
        out.count(1);
        out.int(31);
        out.ustring("world");
        out.ustring("anyone");
        out.int(0);
        self.front.submit(client.id, &out).unwrap();
    }

    fn exists(&self, client: &Client, xid: i32, path: &str) {
        let mut out = BytesMut::new();
        out.int(xid);
        out.int(opcode::EXISTS);
        out.ustring(path);
        out.boolean(false);
        self.front.submit(client.id, &out).unwrap();
    }
}

impl Rig {
    fn close(&self, client: &Client, xid: i32) {
        let mut out = BytesMut::new();
        out.int(xid);
        out.int(opcode::CLOSE_SESSION);
        self.front.submit(client.id, &out).unwrap();
    }

    /// Its lease was over for a moment, and it still leads in the same term.
    fn lapse(&self) {
        self.front.stop_serving();
        self.front.begin_serving(None, Duration::ZERO);
    }
}

impl Client {
    /// What has been put out so far, a frame each.
    fn frames(&self) -> Vec<Vec<u8>> {
        let mut taken = BytesMut::new();
        if self.outbox.take(&mut taken).now_or_never() != Some(true) {
            return Vec::new();
        }
        let mut reader = Reader::new(&taken);
        let mut frames = Vec::new();
        while !reader.rest().is_empty() {
            frames.push(reader.buffer().unwrap().unwrap().to_vec());
        }
        frames
    }

    /// Answers so far: xid and error.
    fn answers(&self) -> Vec<(i32, i32)> {
        let frames = self.frames();
        let answer = |frame: &Vec<u8>| {
            let mut reader = Reader::new(frame);
            let xid = reader.i32().unwrap();
            reader.i64().unwrap();
            (xid, reader.i32().unwrap())
        };
        frames.iter().map(answer).collect()
    }

    /// Its session and password, from the first answer.
    fn session(&self) -> (i64, Vec<u8>) {
        let frames = self.frames();
        let mut reader = Reader::new(&frames[0]);
        reader.i32().unwrap();
        reader.i32().unwrap();
        let session = reader.i64().unwrap();
        (session, reader.buffer().unwrap().unwrap().to_vec())
    }
}

#[test]
fn a_resumed_session_is_answered_behind_the_writes_that_it_sent_before() {
    // The former connection is still there, or has been found to be gone.
    for is_gone in [false, true] {
        let mut rig = Rig::new();
        let first = rig.connect(0, &[]);
        rig.apply();
        let (session, password) = first.session();
        rig.create(&first, 1, "/a");
        rig.create(&first, 2, "/b");
        if is_gone {
            rig.front.disconnect(first.id);
        }
        let second = rig.connect(session, &password);
        assert_eq!(second.session().0, session);
        rig.exists(&second, 1, "/b");
        rig.create(&second, 2, "/b");
        rig.apply();
        assert_eq!(second.answers(), [], "/b may still be made");
        // A connection more, before the rest has come.
        let third = rig.connect(session, &password);
        assert_eq!(third.session().0, session);
        rig.exists(&third, 7, "/b");
        rig.apply();
        assert_eq!(third.answers(), [], "the second create may still be");
        rig.apply();
        assert_eq!(third.answers(), [(7, 0)]);
        rig.create(&third, 8, "/b");
        rig.apply();
        assert_eq!(third.answers(), [(8, -110)]);
    }
}

#[test]
fn a_former_write_that_nobody_knows_of_ends_the_connection_that_waits_for_it() {
    let mut rig = Rig::new();
    let first = rig.connect(0, &[]);
    rig.apply();
    let (session, password) = first.session();
    rig.create(&first, 1, "/a");
    let second = rig.connect(session, &password);
    rig.exists(&second, 1, "/a");
    let lost = rig.proposals.try_recv().unwrap();
    rig.front.proposal_failed(lost.request);
    assert_eq!(second.frames().len(), 1, "the session's, and no more");
    assert!(rig.front.submit(second.id, &[0; 8]).is_err());
}

#[test]
fn a_write_from_before_the_lease_lapsed_is_waited_for() {
    let mut rig = Rig::new();
    let first = rig.connect(0, &[]);
    rig.apply();
    let (session, password) = first.session();
    rig.create(&first, 1, "/a");
    rig.lapse();
    let second = rig.connect(session, &password);
    assert_eq!(second.session().0, session);
    rig.exists(&second, 1, "/a");
    assert_eq!(second.answers(), [], "/a may still be made");
    rig.apply();
    assert_eq!(second.answers(), [(1, 0)]);
    // What is applied meanwhile keeps nobody waiting, nor does what never is.
    rig.create(&second, 2, "/b");
    rig.create(&second, 3, "/c");
    rig.front.stop_serving();
    rig.apply();
    let lost = rig.proposals.try_recv().unwrap();
    rig.front.proposal_failed(lost.request);
    rig.front.begin_serving(None, Duration::ZERO);
    let third = rig.connect(session, &password);
    assert_eq!(third.session().0, session);
    rig.exists(&third, 4, "/b");
    rig.exists(&third, 5, "/c");
    assert_eq!(third.answers(), [(4, 0), (5, -101)]);
}

#[test]
fn a_session_whose_end_is_on_its_way_is_not_resumed_after_the_lease_lapsed() {
    let mut rig = Rig::new();
    let first = rig.connect(0, &[]);
    rig.apply();
    let (session, password) = first.session();
    rig.close(&first, 1);
    rig.lapse();
    assert_eq!(rig.connect(session, &password).session().0, 0);
    // It goes on if its end doesn't come.
    let lost = rig.proposals.try_recv().unwrap();
    rig.front.proposal_failed(lost.request);
    assert_eq!(rig.connect(session, &password).session().0, session);
}
