//! From the tree to a receiver and back.

use ring::hmac;
use towpath_coordination::{ConnectOptions, Election, Registration, Session};
use towpath_protocol::tree::path::{self, MemberKind};
use towpath_protocol::tree::record::{
    AlertState, Assignment, Instance, InstanceState, Member, Progress,
};

use crate::support::*;

#[tokio::test]
async fn each_transition_is_told_once_signed() {
    let cluster = Cluster::start().await;
    let receiver = Receiver::start().await;
    let hook = format!(
        "{}secret = \"${{HOOK_SECRET}}\"\nheaders = [\"X-Team: db\"]\n",
        receiver.hook("oncall")
    );
    cluster.apply("orders", &hook).await;
    let monitor = cluster.monitor("monitor-1").await;
    status(&monitor, |status| status.leading).await;
    cluster.fail("orders", "row (7) is \"there\"").await;

    let fired = receiver.next().await;
    let body = fired.json();
    assert_eq!(body["version"], 1);
    assert_eq!(body["id"], "failed.orders.replica");
    assert_eq!(body["rule"], "failed");
    assert_eq!(body["severity"], "critical");
    assert_eq!(body["state"], "firing");
    assert_eq!(body["subject"], "orders/replica");
    assert_eq!(body["pipeline"], "orders");
    assert_eq!(body["resolved"], serde_json::Value::Null);
    assert_eq!(body["notification"], fired.key());
    assert!(
        body["text"]
            .as_str()
            .unwrap()
            .contains("row (7) is \"there\"")
    );
    assert!(
        body["links"]["rule"]
            .as_str()
            .unwrap()
            .ends_with("docs/alerts.md#failed")
    );
    assert_eq!(fired.headers["x-team"], "db");
    assert_eq!(fired.headers["content-type"], "application/json");
    let signature = &fired.headers["towpath-signature"];
    let (time, tag) = signature
        .strip_prefix("t=")
        .unwrap()
        .split_once(",v1=")
        .unwrap();
    assert!((now().as_second() - time.parse::<i64>().unwrap()).abs() < 60);
    let tag: Vec<u8> = (0..tag.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&tag[at..at + 2], 16).unwrap())
        .collect();
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"tr0ub4dor");
    hmac::verify(&key, format!("{time}.{}", fired.body).as_bytes(), &tag).unwrap();

    cluster
        .alert("failed.orders.replica", |alert| {
            alert.notified["oncall"].state == Some(AlertState::Firing)
        })
        .await;
    cluster.mend("orders").await;
    let resolved = receiver.next().await;
    assert_eq!(resolved.json()["state"], "resolved");
    assert_eq!(resolved.json()["since"], body["since"]);
    let alert = cluster
        .alert("failed.orders.replica", |alert| {
            alert.notified["oncall"].state == Some(AlertState::Resolved)
        })
        .await;
    assert_eq!(alert.state, AlertState::Resolved);
    status(&monitor, |status| {
        let hook = status
            .hooks
            .get("orders/oncall")
            .copied()
            .unwrap_or_default();
        status.firing.is_empty() && (hook.accepted, hook.pending, hook.given_up) == (2, 0, 0)
    })
    .await;
    monitor.stop().await;
    assert_eq!(receiver.accepted().len(), 2);
}

/// A Core whose session ends with its instances is lost; one that resigns first isn't.
#[tokio::test]
async fn a_lost_core_is_told_from_one_that_left() {
    let cluster = Cluster::start().await;
    let (pipeline, task) = ("orders".parse().unwrap(), "replica".parse().unwrap());
    cluster.apply("orders", "").await;
    let assignment = example::<Assignment>();
    cluster
        .put(&path::assignment(&pipeline, &task), assignment)
        .await;
    let monitor = cluster.monitor("monitor-1").await;
    let mut sessions = Vec::new();
    for name in ["core-1", "core-2"] {
        let core = name.parse().unwrap();
        let connect = ConnectOptions::new([cluster.address.to_string()]);
        let session = Session::connect(connect).await.unwrap();
        let member = example::<Member>();
        let node = path::member(MemberKind::Core, &core);
        let pace = std::time::Duration::from_millis(1);
        let registration = Registration::new(&session, node, member, pace).unwrap();
        registration.present().await.unwrap();
        let instance = Instance {
            member: core.clone(),
            candidacy: uuid::Uuid::new_v4(),
            state: InstanceState::Standby,
            ..example()
        };
        let election = Election::task(&pipeline, &task, &core);
        let candidate = election.stand(&session, instance).await.unwrap();
        sessions.push((session, registration, candidate));
    }
    let progress = example::<Progress>();
    cluster
        .put(&path::progress(&pipeline, &task), progress)
        .await;
    status(&monitor, |status| status.leading).await;
    cluster.looked("both-are-there").await;
    let (session, registration, candidate) = sessions.pop().unwrap();
    candidate.resign().await.unwrap();
    registration.withdraw().await.unwrap();
    session.close().await;
    cluster.looked("one-left").await;
    let (session, _registration, _candidate) = sessions.pop().unwrap();
    session.close().await;
    let lost = cluster.alert("core-lost.core-1", |_| true).await;
    assert!(lost.text.contains("it has orders/replica"), "{}", lost.text);
    let alerts = cluster.session.children(&path::alerts()).await.unwrap();
    assert!(
        !alerts.iter().any(|id| id == "core-lost.core-2"),
        "{alerts:?}"
    );
}
