//! Who serves, and what clients see when that changes.

use std::time::{Duration, Instant};

use super::{Cluster, Session, until};
use crate::raw::{create, get, set};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_of_a_follower_sees_its_writes() {
    let cluster = Cluster::of(3).await;
    let mut session = Session::open(cluster.address(cluster.follower().await), 5000).await;
    assert_eq!(session.call(&create(1, "/a", 0)).await.error, 0);
    for i in 0..50_i32 {
        assert_eq!(session.call(&set(2, "/a", &i.to_be_bytes())).await.error, 0);
        for id in cluster.running.keys() {
            let mut other = Session::open(cluster.address(*id), 5000).await;
            let reply = other.call(&get(3, "/a", false)).await;
            assert_eq!(reply.body[4..8], i.to_be_bytes(), "seen at member {id}");
        }
    }
    cluster.level().await;
    let nodes: Vec<_> = cluster.running.values().map(|d| d.status().nodes).collect();
    assert!(nodes.iter().all(|count| *count == nodes[0]), "{nodes:?}");
    cluster.stop_all().await;
}

/// Whether the leader goes by itself or is cut off, another serves soon, and sessions live on with
/// their ephemeral nodes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_outlive_their_leader() {
    for cut_off in [false, true] {
        let mut cluster = Cluster::of(3).await;
        let leader = cluster.leader().await;
        let follower = cluster.follower().await;
        let mut session = Session::open(cluster.address(follower), 3000).await;
        assert_eq!(session.call(&create(1, "/e", 1)).await.error, 0);
        let since = Instant::now();
        match cut_off {
            true => cluster.pull_cable(leader),
            false => cluster.stop(leader).await,
        }
        let next = until("another member serves", || async {
            let mut others = cluster.running.iter().filter(|(id, _)| **id != leader);
            others.find(|(_, d)| d.status().serving).map(|(id, _)| *id)
        })
        .await;
        let took = since.elapsed();
        println!("cut off {cut_off}: member {next} serves after {took:?}");
        assert!(took < Duration::from_secs(3), "{took:?}");
        // At the member where it was, and at the one that leads.
        for (at, id) in [follower, next].into_iter().enumerate() {
            session.resume(cluster.address(id)).await;
            assert_eq!(session.call(&get(2, "/e", false)).await.error, 0);
            assert_eq!(
                session.call(&create(3, &format!("/by{at}"), 1)).await.error,
                0
            );
        }
        if cut_off {
            cluster.plug_in(leader);
        } else {
            cluster.start(leader).await;
        }
        cluster.level().await;
        cluster.stop_all().await;
    }
}

/// Raft remembers who led, and nobody tells it that the others are gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_left_alone_knows_that_nobody_leads() {
    let cluster = Cluster::of(3).await;
    let left = cluster.follower().await;
    until("it follows", || async {
        cluster.running[&left].status().follows.then_some(())
    })
    .await;
    let others: Vec<u64> = cluster
        .running
        .keys()
        .copied()
        .filter(|id| *id != left)
        .collect();
    // As if their machines lost power: nobody hands over.
    for id in others {
        cluster.pull_cable(id);
    }
    until("it follows nobody", || async {
        let directory = &cluster.running[&left];
        let knows = directory.cluster().view().leader.is_none() && !directory.status().follows;
        knows.then_some(())
    })
    .await;
    for id in [1, 2, 3] {
        cluster.plug_in(id);
    }
    until("somebody leads again", || async {
        let directory = &cluster.running[&left];
        directory.cluster().view().leader.map(drop)
    })
    .await;
    cluster.stop_all().await;
}

/// A leader counts on whom it has acknowledged for as long, restarted or not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_comes_back_keeps_what_it_has_promised() {
    let mut cluster = Cluster::of(3).await;
    let follower = cluster.follower().await;
    cluster.stop(follower).await;
    let since = Instant::now();
    cluster.start(follower).await;
    let promised = cluster.configs[&follower].timers.election_max;
    assert!(since.elapsed() >= promised, "{:?}", since.elapsed());
    cluster.stop_all().await;
}

/// What a leader that is cut off would say may be long past.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_cut_off_answers_nobody() {
    let cluster = Cluster::of(3).await;
    let old = cluster.leader().await;
    let mut session = Session::open(cluster.address(old), 10_000).await;
    assert_eq!(session.call(&create(1, "/a", 0)).await.error, 0);
    let mut silent = Session::open(cluster.address(old), 10_000).await;
    cluster.pull_cable(old);
    let since = Instant::now();
    // It may answer as long as nobody else can lead.
    let mut last_answer = since;
    while session.try_call(&get(2, "/a", false)).await.is_some() {
        last_answer = Instant::now();
        assert!(since.elapsed() < Duration::from_secs(5), "it answers on");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let new = until("another member serves", || async {
        let mut others = cluster.running.iter().filter(|(id, _)| **id != old);
        others.find(|(_, d)| d.status().serving).map(|(id, _)| *id)
    })
    .await;
    let served = since.elapsed();
    println!(
        "the old one answered for {:?}, the new one serves after {served:?}",
        last_answer - since
    );
    assert!(last_answer - since < served, "never both");
    // Who asked nothing meanwhile is sent away as well.
    assert!(silent.raw.as_mut().unwrap().frame().await.is_none());
    let mut other = Session::open(cluster.address(new), 10_000).await;
    assert_eq!(other.call(&set(3, "/a", b"new")).await.error, 0);
    let refused = Session::open(cluster.address(old), 10_000);
    let refused = tokio::time::timeout(Duration::from_secs(1), refused).await;
    assert!(refused.is_err(), "the old one opens no session");
    // Back again it follows, and shows what the other one has written.
    cluster.plug_in(old);
    session.resume(cluster.address(old)).await;
    let reply = session.call(&get(4, "/a", false)).await;
    assert_eq!(&reply.body[4..7], b"new");
    cluster.stop_all().await;
}
