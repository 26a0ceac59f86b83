//! Each [difference](super::differences) by itself, and what random sequences leave out.

use std::time::Duration;

use tempfile::TempDir;
use towpath_directory::wire::jute::JuteWrite as _;

use super::Pair;
use super::differences::ALL;
use super::op::Op;
use super::side::Seen;
use super::zookeeper::ZooKeeper;
use crate::raw::{Raw, create, event, request};

fn open(path: &str) -> Op {
    Op::Create {
        opcode: 1,
        path: path.into(),
        data: Some(vec![]),
        acl: vec![(31, "world", "anyone".into())],
        flags: 0,
        ttl_ms: 0,
    }
}

fn set(path: &str) -> Op {
    Op::Set(path.into(), None, -1)
}

/// All that session 0 was told.
fn text(seen: &Seen) -> String {
    seen[0].join(" ")
}

impl Pair {
    async fn same(&mut self, op: Op) {
        let (ours, theirs) = self.play(0, &op).await;
        assert_eq!(ours, theirs, "{op:?}");
    }

    async fn differs(&mut self, op: Op, ours_wanted: &str, theirs_wanted: &str) {
        let (ours, theirs) = self.play(0, &op).await;
        let (ours, theirs) = (text(&ours), text(&theirs));
        assert!(
            ours.starts_with(ours_wanted) && theirs.starts_with(theirs_wanted),
            "{op:.100?}: ours {ours}, theirs {theirs}"
        );
    }
}

#[tokio::test]
#[ignore = "needs ZooKeeper"]
async fn known_differences() {
    let mut pair = Pair::start().await;
    for path in ["/w", "/w/x", "/v"] {
        pair.same(open(path)).await;
    }

    pair.differs(Op::Get("/w/".into(), false), "error -8", "error -101")
        .await;
    pair.differs(Op::GetAcl(String::new()), "error -8", "ok")
        .await;
    let long = format!("/{}", "x".repeat(5000));
    pair.differs(open(&long), "error -8", "ok").await;
    pair.differs(open("/zookeeper/quota/w"), "error -6", "ok")
        .await;

    // One-shot beside persistent: theirs has gone after the first event.
    pair.same(Op::AddWatch("/w".into(), 0)).await;
    pair.same(Op::Exists("/w".into(), true)).await;
    pair.differs(set("/w"), "event 3", "event 3").await;
    pair.differs(set("/w"), "event 3", "ok").await;
    pair.differs(
        Op::RemoveWatches("/w".into(), 2),
        "error -121",
        "error -121",
    )
    .await;
    pair.differs(Op::RemoveWatches("/w".into(), 4), "ok", "error -5")
        .await;
    pair.same(Op::AddWatch("/v".into(), 0)).await;
    pair.differs(Op::RemoveWatches("/v".into(), 2), "error -121", "ok")
        .await;
    pair.differs(Op::CheckWatches("/v".into(), 4), "ok", "error -5")
        .await;
    // Someone else watches it.
    let (ours, theirs) = pair.play(3, &Op::Exists("/w/x".into(), true)).await;
    assert_eq!(ours, theirs);
    pair.differs(Op::CheckWatches("/w/x".into(), 2), "error -121", "ok")
        .await;

    pair.differs(Op::Bare(16), "error -123", "").await;
    pair.differs(Op::Bare(20), "error -6", "error -8").await;
    pair.differs(Op::Auth("digest", b"u:\xff".to_vec()), "error -115", "ok")
        .await;
    for (raw, goes_on) in [
        (&mut pair.ours.raws[1], true),
        (&mut pair.theirs.raws[1], false),
    ] {
        assert_eq!(raw.call(&request(1, 4711, |_| {})).await.error, -6);
        // Theirs may be gone before this is sent.
        let _ =
            tokio::io::AsyncWriteExt::write_all(&mut raw.stream, &request(-2, 11, |_| {})).await;
        assert_eq!(raw.reply().await.is_some(), goes_on);
    }
    let check = request(2, 13, |out| {
        out.ustring("/");
        out.int(-1);
    });
    assert_eq!(pair.ours.raws[2].call(&check).await.error, 0);
    pair.theirs.raws[2].send(&check).await;
    let answer = tokio::time::timeout(Duration::from_secs(2), pair.theirs.raws[2].reply()).await;
    assert!(answer.is_err(), "ZooKeeper says nothing: {answer:?}");

    for difference in &ALL {
        println!("known: {}; because {}", difference.what, difference.because);
    }
    pair.directory.stop().await;
}

#[tokio::test]
#[ignore = "needs ZooKeeper"]
async fn time_to_live_is_off_by_default_there() {
    let dir = TempDir::new().unwrap();
    let zookeeper = ZooKeeper::start(dir.path(), false).await;
    let mut raw = Raw::open(zookeeper.address).await;
    let ttl = request(1, 21, |out| {
        out.ustring("/t");
        out.buffer(None);
        out.count(1);
        out.int(31);
        out.ustring("world");
        out.ustring("anyone");
        out.int(5);
        out.long(1000);
    });
    assert_eq!(raw.call(&ttl).await.error, -6);
}

/// Nobody promises when exactly, so this is no part of a sequence.
#[tokio::test]
#[ignore = "needs ZooKeeper"]
async fn silent_sessions_expire() {
    let pair = Pair::start().await;
    for address in [pair.directory.address(), pair.zookeeper.address] {
        let mut silent = Raw::resume(address, 0, 1, 0, &[0; 16]).await.unwrap();
        assert_eq!(silent.timeout_ms, 1000);
        assert_eq!(silent.call(&create(1, "/e", 1)).await.error, 0);
        let (session, password) = (silent.session, silent.password.clone());
        drop(silent);
        let mut watcher = Raw::open(address).await;
        let exists = request(1, 3, |out| {
            out.ustring("/e");
            out.boolean(true);
        });
        assert_eq!(watcher.call(&exists).await.error, 0);
        assert_eq!(event(&watcher.reply().await.unwrap()), (2, "/e".into()));

        // ZooKeeper may still be at it, and ends a connection of the session without a word.
        let late = loop {
            if let Some(late) = Raw::resume(address, 0, 1, session, &password).await {
                break late;
            }
        };
        assert_eq!((late.session, late.timeout_ms), (0, 0));
    }
    pair.directory.stop().await;
}
