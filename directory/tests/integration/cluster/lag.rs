//! Members that were away.

use super::{Cluster, Session, until};
use crate::raw::{create, get, set};

/// One that was away for longer than the log reaches back gets a snapshot.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_behind_the_log_gets_a_snapshot() {
    let mut cluster = Cluster::with(3, |config| {
        config.limits.snapshot_commands = 50;
        config.limits.snapshot_keep_entries = 0;
    })
    .await;
    let away = cluster.follower().await;
    cluster.stop(away).await;
    let mut session = Session::open(cluster.address(cluster.leader().await), 20_000).await;
    // More than one chunk of a snapshot.
    for i in 0..60 {
        assert_eq!(
            session.call(&create(1, &format!("/n{i}"), 0)).await.error,
            0
        );
        let large = set(2, &format!("/n{i}"), &vec![7; 100_000]);
        assert_eq!(session.call(&large).await.error, 0);
    }
    let leader = cluster.leader().await;
    cluster.running[&leader].snapshot().await.unwrap();
    let snapshots = cluster
        .dir
        .path()
        .join(leader.to_string())
        .join("snapshots");
    until("the log is folded", || async {
        std::fs::read_dir(&snapshots).unwrap().next().map(drop)
    })
    .await;
    for i in 0..20 {
        assert_eq!(
            session.call(&create(1, &format!("/m{i}"), 0)).await.error,
            0
        );
    }
    cluster.start(away).await;
    cluster.level().await;
    let installed = cluster.dir.path().join(away.to_string());
    let count = |dir: &str| std::fs::read_dir(installed.join(dir)).unwrap().count();
    assert_eq!((count("snapshots"), count("incoming")), (1, 0));
    let nodes = |id: &u64| cluster.running[id].status().nodes;
    assert_eq!(nodes(&away), nodes(&leader));

    // What it has got is good enough to lead with.
    drop(session);
    for other in [1, 2, 3] {
        if other != away && other != leader {
            cluster.stop(other).await;
        }
    }
    cluster.stop(leader).await;
    let other = cluster
        .configs
        .keys()
        .copied()
        .find(|id| *id != away && *id != leader);
    cluster.start(other.unwrap()).await;
    let mut session = Session::open(cluster.address(away), 20_000).await;
    let reply = session.call(&get(3, "/n59", false)).await;
    assert_eq!((reply.error, reply.body.len()), (0, 4 + 100_000 + 68));
    cluster.stop_all().await;
}
