use jiff::Timestamp;
use std::time::{Duration, Instant};

use towpath_coordination::{Candidate, Election, Loss, Session, Standing};
use towpath_protocol::spec::PipelineName;
use towpath_protocol::tree::record::{EpochHolder, Instance, InstanceState};
use towpath_protocol::tree::{TaskName, path};
use uuid::Uuid;

use crate::support::{Server, soon};

fn names() -> (PipelineName, TaskName) {
    ("orders".parse().unwrap(), "replica".parse().unwrap())
}

async fn stand(session: &Session, core: &str) -> Candidate {
    let (pipeline, task) = names();
    let member = core.parse().unwrap();
    let instance = Instance {
        member: core.parse().unwrap(),
        host: "node1".into(),
        pid: 1,
        candidacy: Uuid::new_v4(),
        since: Timestamp::now(),
        state: InstanceState::Standby,
    };
    Election::task(&pipeline, &task, &member)
        .stand(session, instance)
        .await
        .unwrap()
}

async fn until(candidate: &Candidate, what: impl Fn(&Standing) -> bool) -> Standing {
    let mut standings = candidate.standings();
    soon(standings.wait_for(what)).await.unwrap().clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_sessions_hand_over_and_the_token_rises() {
    let server = Server::start().await;
    let watcher = server.session().await;
    watcher.found_cluster().await.unwrap();
    let (first, first_link) = server.fragile().await;
    let (second, second_link) = server.fragile().await;
    let third = server.session().await;
    let a = stand(&first, "core-a").await;
    let b = stand(&second, "core-b").await;
    let c = stand(&third, "core-c").await;
    let token_a = soon(a.leading()).await.unwrap();
    assert_eq!(b.standing(), Standing::Standby);
    assert_eq!(c.standing(), Standing::Standby);

    first_link.freeze(true);
    let killed = Instant::now();
    let token_b = soon(b.leading()).await.unwrap();
    assert!(
        killed.elapsed() < Duration::from_secs(3),
        "{:?}",
        killed.elapsed()
    );
    assert!(token_b > token_a);
    assert_eq!(c.standing(), Standing::Standby);

    second_link.freeze(true);
    let token_c = soon(c.leading()).await.unwrap();
    assert!(token_c > token_b);
    let (pipeline, task) = names();
    let epoch = path::epoch(&pipeline, &task);
    let holder = watcher.read::<EpochHolder>(&epoch).await.unwrap().unwrap();
    assert_eq!(holder.value.record.member.as_str(), "core-c");
    assert_eq!(holder.zxid as u64, token_c.epoch.0);

    first_link.freeze(false);
    assert_eq!(
        until(&a, |standing| matches!(standing, Standing::Lost(_))).await,
        Standing::Lost(Loss::SessionEnded)
    );
    // The one that was lost stands again, behind the one that leads.
    let again = stand(&first, "core-a").await;
    assert_eq!(again.standing(), Standing::Standby);
    c.resign().await.unwrap();
    assert!(soon(again.leading()).await.unwrap() > token_c);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_leader_is_told_before_another_leads() {
    let server = Server::start().await;
    let healthy = server.session().await;
    healthy.found_cluster().await.unwrap();
    let (frozen, link) = server.fragile().await;
    let a = stand(&frozen, "core-a").await;
    let token_a = soon(a.leading()).await.unwrap();
    let b = stand(&healthy, "core-b").await;
    link.freeze(true);
    let standing = until(&a, |standing| *standing != Standing::Leading(token_a)).await;
    assert_eq!(standing, Standing::Suspended(token_a));
    assert_eq!(
        b.standing(),
        Standing::Standby,
        "suspended before another leads"
    );
    assert!(soon(b.leading()).await.unwrap() > token_a);
    let standing = until(&a, |standing| matches!(standing, Standing::Lost(_))).await;
    assert_eq!(standing, Standing::Lost(Loss::SessionEnded));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_the_server_suspends_and_confirms() {
    let mut server = Server::start().await;
    let session = server.session().await;
    session.found_cluster().await.unwrap();
    let a = stand(&session, "core-a").await;
    let token = soon(a.leading()).await.unwrap();
    server.stop().await;
    until(&a, |standing| *standing == Standing::Suspended(token)).await;
    assert!(a.renew().await.is_err());
    server.start_again().await;
    until(&a, |standing| *standing == Standing::Leading(token)).await;
    assert!(soon(a.renew()).await.unwrap() > token);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewed_epoch_is_higher_and_a_removed_node_loses() {
    let server = Server::start().await;
    let session = server.session().await;
    session.found_cluster().await.unwrap();
    let a = stand(&session, "core-a").await;
    let first = soon(a.leading()).await.unwrap();
    let second = soon(a.renew()).await.unwrap();
    assert!(second > first);
    until(&a, |standing| *standing == Standing::Leading(second)).await;
    let (pipeline, task) = names();
    let parent = path::instances(&pipeline, &task);
    let nodes = session.children(&parent).await.unwrap();
    let own = parent.listed(&nodes[0]).unwrap();
    session.remove(&own, None).await.unwrap();
    let standing = until(&a, |standing| matches!(standing, Standing::Lost(_))).await;
    assert_eq!(standing, Standing::Lost(Loss::Removed));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_without_identity_elects_nobody() {
    let server = Server::start().await;
    let session = server.session().await;
    let a = stand(&session, "core-a").await;
    assert!(matches!(soon(a.leading()).await, Err(Loss::Refused(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_candidate_makes_way_at_once() {
    let server = Server::start().await;
    let session = server.session().await;
    session.found_cluster().await.unwrap();
    let a = stand(&session, "core-a").await;
    let token = soon(a.leading()).await.unwrap();
    let b = stand(&session, "core-b").await;
    drop(a);
    assert!(soon(b.leading()).await.unwrap() > token);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_of_ours_that_nobody_knows_of_is_in_nobody_s_way() {
    // As when the answer to its creation comes in the moment in which its owner gives up.
    let server = Server::start().await;
    let session = server.session().await;
    session.found_cluster().await.unwrap();
    let forgotten = stand(&session, "core-1").await;
    until(&forgotten, |standing| {
        matches!(standing, Standing::Leading(_))
    })
    .await;
    let again = stand(&session, "core-1").await;
    until(&again, |standing| matches!(standing, Standing::Leading(_))).await;
    until(&forgotten, |standing| {
        matches!(standing, Standing::Lost(Loss::Removed))
    })
    .await;
    // Another member waits.
    let other = stand(&session, "core-2").await;
    assert_eq!(other.standing(), Standing::Standby);
    assert!(matches!(again.standing(), Standing::Leading(_)));
}
