//! A new leader neither repeats nor forgets.

use towpath_monitor::Monitor;
use towpath_protocol::tree::record::AlertState;

use crate::support::*;

#[tokio::test]
async fn a_leader_that_goes_is_followed_without_a_word() {
    let cluster = Cluster::start().await;
    let receiver = Receiver::start().await;
    cluster.apply("orders", &receiver.hook("oncall")).await;
    let link = Link::to(cluster.address).await;
    let first = Monitor::start(cluster.options("monitor-1", link.address))
        .await
        .unwrap();
    status(&first, |status| status.leading).await;
    let second = cluster.monitor("monitor-2").await;
    cluster.fail("orders", "a").await;
    let fired = receiver.accepts().await;
    cluster
        .alert("failed.orders.replica", |alert| {
            alert.notified["oncall"].state == Some(AlertState::Firing)
        })
        .await;
    assert!(!second.status().leading);

    // Cut off: it ceases to act before another begins.
    link.cut(true);
    status(&first, |status| !status.leading).await;
    status(&second, |status| status.leading && status.firing.len() == 1).await;
    cluster.mend("orders").await;
    let resolved = receiver.accepts().await;
    assert_eq!(resolved.json()["since"], fired.json()["since"]);
    // It comes back, and stands by.
    link.cut(false);
    cluster.fail("orders", "b").await;
    receiver.accepts().await;
    second.stop().await;
    status(&first, |status| status.leading && status.firing.len() == 1).await;
    cluster.mend("orders").await;
    let last = receiver.accepts().await;
    assert_eq!(last.json()["state"], "resolved");
    first.stop().await;
    let accepted = receiver.accepted();
    let states: Vec<_> = accepted
        .iter()
        .map(|key| key.split(':').nth(1).unwrap())
        .collect();
    assert_eq!(
        states,
        ["firing", "resolved", "firing", "resolved"],
        "{accepted:?}"
    );
}

/// What the former leader could not tell, the next one does.
#[tokio::test]
async fn what_is_owed_outlives_a_leader() {
    let cluster = Cluster::start().await;
    let receiver = Receiver::start().await;
    cluster.apply("orders", &receiver.hook("oncall")).await;
    receiver.answer.send_replace(Answer::Status(500, ""));
    let first = cluster.monitor("monitor-1").await;
    cluster.fail("orders", "a").await;
    let refused = receiver.next().await;
    drop(first);
    receiver.answer.send_replace(OK);
    let second = cluster.monitor("monitor-2").await;
    let accepted = receiver.accepts().await;
    assert_eq!(accepted.key(), refused.key(), "the same notification");
    cluster
        .alert("failed.orders.replica", |alert| {
            alert.notified["oncall"].state == Some(AlertState::Firing)
        })
        .await;
    // It ends while nobody leads.
    drop(second);
    cluster.mend("orders").await;
    let third = cluster.monitor("monitor-3").await;
    assert_eq!(receiver.accepts().await.json()["state"], "resolved");
    third.stop().await;
    assert_eq!(receiver.accepted().len(), 2);
}

#[tokio::test]
async fn two_at_once_tell_once() {
    let cluster = Cluster::start().await;
    let receiver = Receiver::start().await;
    cluster.apply("orders", &receiver.hook("oncall")).await;
    let (one, two) = tokio::join!(cluster.monitor("monitor-1"), cluster.monitor("monitor-2"));
    for text in ["a", "b", "c"] {
        cluster.fail("orders", text).await;
        assert_eq!(receiver.accepts().await.json()["state"], "firing");
        cluster.mend("orders").await;
        assert_eq!(receiver.accepts().await.json()["state"], "resolved");
    }
    assert_ne!(one.status().leading, two.status().leading);
    cluster.looked("all-told").await;
    assert_eq!(receiver.accepted().len(), 6);
}
