//! Members come and go while a client writes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use towpath_directory::{
    Change, Config, Directory, Member, MemberError, Members, RaftError, Role, StartError,
};

use super::{Cluster, Session, soon, until};
use crate::raw::{create, get, set};

fn voters(members: &Members) -> Vec<u64> {
    let mut voters: Vec<u64> = members
        .members
        .iter()
        .filter(|m| m.role != Role::Learner)
        .map(|m| m.id)
        .collect();
    voters.sort_unstable();
    voters
}

/// Sets `/count` to the next number, over and over, wherever it can; ends with the last number that
/// was acknowledged.
async fn write(addresses: Vec<std::net::SocketAddr>, stop: Arc<AtomicBool>, acked: Arc<AtomicU32>) {
    let mut session = Session::open(addresses[0], 20_000).await;
    assert_eq!(session.call(&create(1, "/count", 0)).await.error, 0);
    let mut at = 0;
    for next in 1_u32.. {
        // What had no answer is written again: it may be there, or not.
        loop {
            match session
                .try_call(&set(2, "/count", &next.to_be_bytes()))
                .await
            {
                Some(reply) => {
                    assert_eq!(reply.error, 0);
                    break;
                }
                None => {
                    at += 1;
                    let address = addresses[at % addresses.len()];
                    tokio::time::timeout(Duration::from_secs(20), session.resume(address))
                        .await
                        .expect("the session resumes");
                }
            }
        }
        acked.store(next, Ordering::SeqCst);
        if stop.load(Ordering::SeqCst) {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_becomes_three_becomes_five_and_nothing_is_lost() {
    let mut cluster = Cluster::of(1).await;
    let stop = Arc::new(AtomicBool::new(false));
    let acked = Arc::new(AtomicU32::new(0));
    let writer = tokio::spawn(write(vec![cluster.address(1)], stop.clone(), acked.clone()));
    until("it writes", || async {
        (acked.load(Ordering::SeqCst) > 0).then_some(())
    })
    .await;
    for id in 2..=5 {
        cluster.start(id).await;
        let members = cluster.add(id).await;
        assert_eq!(voters(&members), (1..=id).collect::<Vec<_>>());
        assert!(!members.changing);
        let before = acked.load(Ordering::SeqCst);
        until("it writes on", || async {
            (acked.load(Ordering::SeqCst) > before + 5).then_some(())
        })
        .await;
    }
    cluster.start(6).await;
    let full = Change::Add {
        id: 6,
        member: cluster.member(6),
    };
    let refused = cluster.running[&3].cluster().change(full).await;
    assert_eq!(refused, Err(MemberError::Full));
    stop.store(true, Ordering::SeqCst);
    soon(writer).await.unwrap();
    // Two of five may go; what was acknowledged is with the others.
    let leader = cluster.leader().await;
    for id in [leader, cluster.follower().await] {
        cluster.stop(id).await;
    }
    let left = *cluster.running.keys().next().unwrap();
    let mut session = Session::open(cluster.address(left), 5000).await;
    let reply = session.call(&get(1, "/count", false)).await;
    assert_eq!(reply.body[4..8], acked.load(Ordering::SeqCst).to_be_bytes());
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_go_and_their_numbers_never_come_back() {
    let mut cluster = Cluster::of(3).await;
    let leader = cluster.leader().await;
    let mut session = Session::open(cluster.address(cluster.follower().await), 20_000).await;
    assert_eq!(session.call(&create(1, "/e", 1)).await.error, 0);

    // The leader itself, asked of another.
    let asked = cluster.running[&cluster.follower().await].cluster();
    let members = soon(asked.change(Change::Remove { id: leader }))
        .await
        .unwrap();
    assert_eq!(members.members.len(), 2);
    assert!(members.members.iter().all(|m| m.id != leader));
    assert_ne!(members.leader, Some(leader));
    cluster.stop(leader).await;
    let next = cluster.leader().await;
    session.resume(cluster.address(next)).await;
    assert_eq!(session.call(&get(2, "/e", false)).await.error, 0);

    // Its number is not given again, neither to its own data nor to another's.
    let asked = cluster.running[&next].cluster();
    cluster.start(leader).await;
    let again = Change::Add {
        id: leader,
        member: cluster.member(leader),
    };
    assert_eq!(
        asked.change(again.clone()).await,
        Err(MemberError::Used(leader))
    );
    cluster.stop(leader).await;
    // After the log has been folded too, and by another leader.
    cluster.running[&next].snapshot().await.unwrap();
    let follower = cluster.follower().await;
    let (config, _) = (
        cluster.configs[&follower].clone(),
        cluster.stop(follower).await,
    );
    cluster.start(follower).await;
    assert_eq!(config.listen, cluster.address(follower));
    let asked = cluster.running[&follower].cluster();
    let refused = until("somebody leads", || async {
        match asked.change(again.clone()).await {
            Err(MemberError::NoLeader | MemberError::Unclear(_) | MemberError::Majority { .. }) => {
                None
            }
            other => Some(other),
        }
    })
    .await;
    assert_eq!(refused, Err(MemberError::Used(leader)));

    // One in place of another.
    cluster.start(7).await;
    let replace = Change::Replace {
        id: follower,
        by: 7,
        member: cluster.member(7),
    };
    let members = cluster.change(&cluster.running[&next], replace).await;
    let mut expected = vec![next, 7];
    expected.sort_unstable();
    assert_eq!(voters(&members), expected);
    cluster.stop(follower).await;
    session.resume(cluster.address(7)).await;
    assert_eq!(session.call(&get(2, "/e", false)).await.error, 0);

    // Nor is a directory that has been another member's ever that of one that comes.
    let mut config = cluster.configs[&follower].clone();
    config.node_id = 9;
    let error = Directory::start(config).await.unwrap_err();
    assert!(
        matches!(error, StartError::Raft(RaftError::Other { .. })),
        "{error}"
    );
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_would_stop_the_directory_is_refused() {
    let mut cluster = Cluster::of(3).await;
    let leader = cluster.leader().await;
    let asked = cluster.running[&leader].cluster();
    let change = |change| asked.change(change);
    assert_eq!(
        change(Change::Remove { id: 9 }).await,
        Err(MemberError::Unknown(9))
    );
    let at = |peer: &str| Member {
        peer: peer.into(),
        client: "127.0.0.1:1".into(),
    };
    let add = |id, member| Change::Add { id, member };
    assert_eq!(
        change(add(127, at("a:1"))).await,
        Err(MemberError::Number(127))
    );
    let refused = change(add(4, at("nowhere"))).await;
    assert!(
        matches!(refused, Err(MemberError::Address(_))),
        "{refused:?}"
    );
    let taken = cluster.member(leader).peer;
    assert_eq!(
        change(add(4, at(&taken))).await,
        Err(MemberError::Address(taken.clone()))
    );
    let refused = change(add(4, at("127.0.0.1:1"))).await;
    assert!(
        matches!(refused, Err(MemberError::Refused { id: 4, .. })),
        "{refused:?}"
    );
    // One that is somebody else.
    cluster.start(5).await;
    let asked = cluster.running[&leader].cluster();
    let refused = asked.change(add(4, cluster.member(5))).await;
    assert!(
        matches!(refused, Err(MemberError::Refused { id: 4, .. })),
        "{refused:?}"
    );
    // With one of three gone, another one must stay.
    let gone = *cluster
        .running
        .keys()
        .find(|id| **id != leader && **id != 5)
        .unwrap();
    cluster.stop(gone).await;
    let stays = *cluster
        .running
        .keys()
        .find(|id| **id != leader && **id != 5)
        .unwrap();
    let asked = cluster.running[&leader].cluster();
    let refused = until("it's seen to be gone", || async {
        let seen = asked.members().await.unwrap();
        let acked = seen.members.iter().find(|m| m.id == gone).unwrap().acked_ms;
        (acked.unwrap() > 4000).then_some(())
    });
    refused.await;
    assert_eq!(
        asked.change(Change::Remove { id: stays }).await,
        Err(MemberError::Majority {
            answering: 1,
            voters: 2
        })
    );
    // The one that is gone may go, though.
    let members = soon(asked.change(Change::Remove { id: gone }))
        .await
        .unwrap();
    assert_eq!(members.members.len(), 2);
    cluster.stop_all().await;
}

/// A member that comes back elsewhere tells the others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_has_moved_is_found() {
    let mut cluster = Cluster::of(3).await;
    let moves = cluster.follower().await;
    let before = cluster.member(moves);
    cluster.stop(moves).await;
    let fresh: Config = cluster.config(moves);
    cluster.configs.insert(moves, fresh);
    cluster.start(moves).await;
    let after = cluster.member(moves);
    assert_ne!(before, after);
    let leader = cluster.leader().await;
    until("it's found", || async {
        let members = cluster.running[&leader].cluster().members().await.ok()?;
        let found = members.members.iter().find(|m| m.id == moves)?;
        (found.member == after && found.lag_entries == Some(0)).then_some(())
    })
    .await;
    cluster.level().await;
    cluster.stop_all().await;
}
