//! Members whose data was lost, or is that of another directory.

use std::time::Duration;

use tempfile::TempDir;
use towpath_directory::{Change, MemberError, Start, restore};

use super::{Cluster, Session, soon, until};
use crate::raw::{create, get, set};

/// How long somebody who could lead would need at most.
const ELECTED: Duration = Duration::from_secs(4);

/// It has forgotten what it acknowledged, so it must neither acknowledge nor vote again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_without_its_data_takes_no_part() {
    let mut cluster = Cluster::of(3).await;
    let leader = cluster.leader().await;
    let lost = cluster.follower().await;
    let mut session = Session::open(cluster.address(leader), 20_000).await;
    assert_eq!(session.call(&create(1, "/a", 0)).await.error, 0);
    cluster.stop(lost).await;
    std::fs::remove_dir_all(cluster.dir.path().join(lost.to_string())).unwrap();
    let config = cluster.configs.get_mut(&lost).unwrap();
    config.peers.as_mut().unwrap().start = Start::Join;
    cluster.start(lost).await;

    assert_eq!(session.call(&set(2, "/a", b"new")).await.error, 0);
    let leader = cluster.leader().await;
    until("it acknowledges nothing", || async {
        let seen = cluster.running[&leader].cluster().members().await.ok()?;
        let acked = seen.members.iter().find(|m| m.id == lost)?.acked_ms;
        acked.is_none_or(|ms| ms > 2000).then_some(())
    })
    .await;
    let add = Change::Add {
        id: lost,
        member: cluster.member(lost),
    };
    let refused = soon(cluster.running[&leader].cluster().change(add)).await;
    let Err(MemberError::Refused { id, reason }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(id, lost);
    assert!(reason.contains("another number"), "{reason}");

    // One of three is not a majority, with or without it.
    cluster.stop(leader).await;
    let elected = until("somebody leads", || async {
        let mut running = cluster.running.values();
        running.any(|d| d.status().serving).then_some(())
    });
    let elected = tokio::time::timeout(ELECTED, elected).await;
    assert!(elected.is_err(), "it votes");

    // With the former leader's data, all is there; and another one takes its place.
    cluster.start(leader).await;
    session.resume(cluster.address(leader)).await;
    let reply = session.call(&get(3, "/a", false)).await;
    assert_eq!(&reply.body[4..7], b"new");
    cluster.stop(lost).await;
    cluster.start(4).await;
    let replace = Change::Replace {
        id: lost,
        by: 4,
        member: cluster.member(4),
    };
    let members = cluster.change(&cluster.running[&leader], replace).await;
    assert!(members.members.iter().all(|m| m.id != lost));
    cluster.stop_all().await;
}

/// A directory that was restored under a number of the one before, at its address, while the others
/// of that one come back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_of_two_directories_stay_apart() {
    let mut cluster = Cluster::of(3).await;
    let mut session = Session::open(cluster.address(cluster.leader().await), 20_000).await;
    assert_eq!(session.call(&create(1, "/both", 0)).await.error, 0);
    cluster.level().await;
    let backups = TempDir::new().unwrap();
    let backup = backups.path().join("backup");
    cluster.running[&1].backup(&backup).await.unwrap();
    assert_eq!(session.call(&create(2, "/former", 0)).await.error, 0);
    cluster.level().await;
    for id in [1, 2, 3] {
        cluster.stop(id).await;
    }
    let place = cluster.dir.path().join("restored");
    restore(&backup, &place, 1).await.unwrap();
    cluster.configs.get_mut(&1).unwrap().data_dir = place;
    cluster.start(1).await;
    assert!(cluster.running[&1].status().serving);
    for id in [2, 3] {
        cluster.start(id).await;
    }
    let leader = until("the others go on", || async {
        let mut others = cluster.running.iter().filter(|(id, _)| **id != 1);
        others.find(|(_, d)| d.status().serving).map(|(id, _)| *id)
    })
    .await;
    // They would have 1 follow.
    let mut former = Session::open(cluster.address(leader), 20_000).await;
    for i in 0..20 {
        assert_eq!(former.call(&create(3, &format!("/n{i}"), 0)).await.error, 0);
    }
    let seen = cluster.running[&leader].cluster().members().await.unwrap();
    let first = seen.members.iter().find(|m| m.id == 1).unwrap();
    assert_eq!((first.matched_index, first.acked_ms), (None, None));
    assert_eq!(former.call(&get(4, "/former", false)).await.error, 0);
    let mut restored = Session::open(cluster.address(1), 20_000).await;
    assert_eq!(restored.call(&get(1, "/both", false)).await.error, 0);
    assert_ne!(restored.call(&get(2, "/former", false)).await.error, 0);
    assert_eq!(restored.call(&create(3, "/restored", 0)).await.error, 0);
    assert!(cluster.running[&1].status().serving);
    cluster.stop_all().await;
}
