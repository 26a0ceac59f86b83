//! What outlives a process: restarts, snapshots, backups; and what must not start at all.

use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use towpath_directory::{Config, Directory, RaftError, StartError, restore};

use crate::raw::{Raw, create, directory, get, set};

async fn data(raw: &mut Raw, path: &str) -> Option<Vec<u8>> {
    let reply = raw.call(&get(1, path, false)).await;
    (reply.error == 0).then(|| reply.body[4..reply.body.len() - 68].to_vec())
}

async fn fill(raw: &mut Raw, from: i32, to: i32) {
    for i in from..to {
        assert_eq!(raw.call(&create(i, &format!("/n{i}"), 0)).await.error, 0);
        assert_eq!(
            raw.call(&set(i, &format!("/n{i}"), &i.to_be_bytes()))
                .await
                .error,
            0
        );
    }
}

fn snapshots(dir: &Path) -> usize {
    std::fs::read_dir(dir.join("snapshots"))
        .unwrap()
        .filter(|file| {
            file.as_ref()
                .unwrap()
                .path()
                .extension()
                .is_some_and(|e| e == "snapshot")
        })
        .count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_keeps_nodes_and_sessions() {
    let dir = TempDir::new().unwrap();
    let mut config = Config::new(dir.path());
    // Several snapshots and purges on the way.
    config.limits.snapshot_commands = 50;
    config.limits.snapshot_keep_entries = 10;
    let mut session: Option<(i64, Vec<u8>)> = None;
    let mut last_zxid = 0;
    for round in 0..4_i32 {
        let directory = Directory::start(config.clone()).await.unwrap();
        let mut raw = match &session {
            None => Raw::open(directory.address()).await,
            Some((id, password)) => {
                Raw::resume(directory.address(), last_zxid, 5000, *id, password)
                    .await
                    .unwrap()
            }
        };
        assert_ne!(raw.session, 0, "round {round}: the session goes on");
        for i in 0..round * 60 {
            assert_eq!(
                data(&mut raw, &format!("/n{i}")).await,
                Some(i.to_be_bytes().to_vec()),
                "round {round}, node {i}"
            );
        }
        if round == 0 {
            raw.call(&create(1, "/e", 1)).await;
        }
        fill(&mut raw, round * 60, (round + 1) * 60).await;
        let reply = raw.call(&get(1, "/e", false)).await;
        assert_eq!(reply.error, 0);
        assert!(reply.zxid > last_zxid);
        last_zxid = reply.zxid;
        session = Some((raw.session, raw.password.clone()));
        directory.stop().await;
        assert_eq!(snapshots(dir.path()), 1, "older ones are removed");
    }
}

#[tokio::test]
async fn a_backup_restores_elsewhere() {
    let dir = TempDir::new().unwrap();
    let backup = dir.path().join("backup.snapshot");
    // Each start is a term of its own, and the backup is of a later one than a new member begins with.
    for _ in 0..2 {
        directory(&dir.path().join("a")).await.stop().await;
    }
    let first = directory(&dir.path().join("a")).await;
    let mut raw = Raw::open(first.address()).await;
    fill(&mut raw, 0, 20).await;
    first.backup(&backup).await.unwrap();
    fill(&mut raw, 20, 30).await;
    let ahead = raw.call(&get(1, "/", false)).await.zxid;
    let (session, password) = (raw.session, raw.password.clone());

    let place = dir.path().join("b");
    restore(&backup, &place, 7).await.unwrap();
    assert!(
        restore(&backup, &place, 7).await.is_err(),
        "never over a directory that is there"
    );
    let mut config = Config::new(&place);
    config.node_id = 7;
    for round in 0..2 {
        let second = Directory::start(config.clone()).await.unwrap();
        assert!(
            Raw::resume(second.address(), ahead, 5000, session, &password)
                .await
                .is_none(),
            "it has seen what isn't here"
        );
        let mut raw = Raw::open(second.address()).await;
        for i in 0..20_i32 {
            assert_eq!(
                data(&mut raw, &format!("/n{i}")).await,
                Some(i.to_be_bytes().to_vec())
            );
        }
        assert_eq!(data(&mut raw, "/n20").await, None);
        assert_eq!(
            raw.call(&create(1, &format!("/round{round}"), 0))
                .await
                .error,
            0
        );
        second.stop().await;
    }
    first.stop().await;
}

/// Whoever led when it was made, and however often somebody had been elected.
#[tokio::test]
async fn a_backup_of_a_later_term_restores_under_a_smaller_number() {
    let dir = TempDir::new().unwrap();
    let backup = dir.path().join("backup.snapshot");
    let mut config = Config::new(dir.path().join("a"));
    config.node_id = 9;
    for _ in 0..3 {
        let directory = Directory::start(config.clone()).await.unwrap();
        directory.stop().await;
    }
    let first = Directory::start(config).await.unwrap();
    fill(&mut Raw::open(first.address()).await, 0, 3).await;
    assert!(first.cluster().members().await.unwrap().term > 2);
    first.backup(&backup).await.unwrap();
    first.stop().await;

    let mut config = Config::new(dir.path().join("b"));
    config.node_id = 2;
    config.timers.recovery = Duration::from_secs(20);
    restore(&backup, &config.data_dir, 2).await.unwrap();
    for round in 3_i32..5 {
        let second = Directory::start(config.clone()).await.unwrap();
        let mut raw = Raw::open(second.address()).await;
        for i in 0..round {
            let expected = Some(i.to_be_bytes().to_vec());
            assert_eq!(data(&mut raw, &format!("/n{i}")).await, expected);
        }
        fill(&mut raw, round, round + 1).await;
        second.stop().await;
    }
}

/// Writing a large tree again and again for few changes would cost more than they do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshots_of_a_large_tree_wait_for_more_entries() {
    let dir = TempDir::new().unwrap();
    let mut config = Config::new(dir.path());
    config.limits.snapshot_commands = 20;
    let directory = Directory::start(config).await.unwrap();
    let mut raw = Raw::open(directory.address()).await;
    let mut taken = std::collections::BTreeSet::new();
    for i in 0..1000 {
        assert_eq!(raw.call(&create(i, &format!("/n{i}"), 0)).await.error, 0);
        for file in std::fs::read_dir(dir.path().join("snapshots")).unwrap() {
            taken.insert(file.unwrap().file_name());
        }
    }
    taken.retain(|name| name.to_str().unwrap().ends_with(".snapshot"));
    // Each is half as large again as the one before, not twenty entries later.
    assert!((3..20).contains(&taken.len()), "{taken:?}");
    directory.stop().await;
}

#[tokio::test]
async fn a_damaged_snapshot_is_never_taken_for_none() {
    let dir = TempDir::new().unwrap();
    let first = directory(dir.path()).await;
    let mut raw = Raw::open(first.address()).await;
    fill(&mut raw, 0, 5).await;
    first.snapshot().await.unwrap();
    while snapshots(dir.path()) == 0 {
        tokio::task::yield_now().await;
    }
    first.stop().await;
    let file = std::fs::read_dir(dir.path().join("snapshots"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let error = Directory::start(Config::new(dir.path())).await.unwrap_err();
    assert!(error.to_string().contains("damaged"), "{error}");
}

#[tokio::test]
async fn two_members_never_share_a_place() {
    let dir = TempDir::new().unwrap();
    let first = directory(dir.path()).await;
    let mut config = Config::new(dir.path());
    config.timers.predecessor = Duration::from_millis(100);
    let error = Directory::start(config.clone()).await.unwrap_err();
    assert!(
        matches!(error, StartError::Raft(RaftError::InUse { .. })),
        "{error}"
    );
    // One that is going is waited for.
    config.timers.predecessor = Duration::from_secs(20);
    let second = tokio::spawn(Directory::start(config));
    let mut raw = Raw::open(first.address()).await;
    assert_eq!(raw.call(&create(1, "/before", 0)).await.error, 0);
    assert!(!second.is_finished());
    first.stop().await;
    let second = second.await.unwrap().unwrap();
    let mut raw = Raw::open(second.address()).await;
    assert_eq!(raw.call(&get(1, "/before", false)).await.error, 0);
    second.stop().await;
}
