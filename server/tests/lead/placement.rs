use std::time::Duration;

use towpath_protocol::tree::path;
use towpath_protocol::tree::record::{Action, Assignment, LifeState, Outcome};

use crate::rig::{Rig, member, pipeline, replica, spec};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn applied_assigned_and_run() {
    let rig = Rig::start().await;
    let leader = rig.lead("server-1").await;
    let (_a, _b) = (rig.core("a").await, rig.core("b").await);
    let answer = rig.apply(&spec("orders", ""), 0).await;
    assert!(
        answer
            .text
            .starts_with("revision 1 is in force; orders is running: replica runs on a"),
        "{answer:?}"
    );
    assert_eq!(answer.details["revision"], 1);
    let assignment = rig.has("orders", "a b").await;
    assert_eq!(
        (assignment.revision, &*assignment.cause),
        (1, "new pipeline")
    );
    let status = rig.state("orders", LifeState::Running).await;
    assert_eq!(
        (status.spec_revision, &*status.cause),
        (1, "replica runs on a")
    );
    leader.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_core_is_replaced_after_the_grace_and_only_its_tasks_move() {
    let rig = Rig::start().await;
    let _leader = rig.lead("server-1").await;
    let a = rig.core("a").await;
    let (_b, _c) = (rig.core("b").await, rig.core("c").await);
    for name in ["p1", "p2", "p3"] {
        rig.apply(&spec(name, ""), 0).await;
    }
    let before: Vec<_> = ["p1", "p2", "p3"]
        .map(|name| rig.assigned(name).unwrap())
        .into();
    let died = std::time::Instant::now();
    a.kill().await;
    for (name, before) in ["p1", "p2", "p3"].iter().zip(&before) {
        if !before.cores.contains(&member("a")) {
            continue;
        }
        let survivor = before
            .cores
            .iter()
            .find(|core| **core != member("a"))
            .unwrap();
        let other = if survivor.as_str() == "b" { "c" } else { "b" };
        let after = rig.has(name, &format!("{survivor} {other}")).await;
        assert!(
            died.elapsed() >= Duration::from_millis(1400),
            "after the grace"
        );
        assert_eq!(after.cause, "a left");
        assert_eq!(after.server_id, before.server_id);
        rig.state(name, LifeState::Running).await;
    }
    for (name, before) in ["p1", "p2", "p3"].iter().zip(&before) {
        if !before.cores.contains(&member("a")) {
            assert_eq!(rig.assigned(name).as_ref(), Some(before), "{name} stays");
        }
    }
    let history = rig.history("p1");
    assert!(
        history.iter().any(|event| event.starts_with("failover: ")),
        "{history:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_core_that_restarts_keeps_its_place() {
    let rig = Rig::start().await;
    let _leader = rig.lead("server-1").await;
    let (_a, b) = (rig.core("a").await, rig.core("b").await);
    let _c = rig.core("c").await;
    rig.apply(&spec("orders", ""), 0).await;
    let before = rig.has("orders", "a b").await;
    b.kill().await;
    let _b = rig.core("b").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(rig.assigned("orders"), Some(before));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drained_moved_and_undrained() {
    let rig = Rig::start().await;
    let _leader = rig.lead("server-1").await;
    let _a = rig.core("a").await;
    let _b = rig.core("b").await;
    let _c = rig.core_with("c", &[("zone", "x")]).await;
    rig.apply(&spec("orders", ""), 0).await;
    rig.has("orders", "a b").await;
    let drain = |core: &str| Action::Drain {
        core: member(core),
        reason: None,
    };
    let refused = rig.ask_cluster(drain("z")).await;
    assert_eq!(refused.outcome, Outcome::Refused);
    assert_eq!(refused.text, "there is no Core z; there are: a, b, c");
    let drained = rig.ask_cluster(drain("a")).await;
    assert_eq!(drained.text, "a is drained: it has no work");
    let assignment = rig.has("orders", "b c").await;
    assert_eq!(assignment.cause, "a is drained");
    let again = rig.ask_cluster(drain("a")).await;
    assert_eq!(again.text, "nothing to do: a is drained already");

    let to = |core: &str| Action::Move { to: member(core) };
    for (core, text) in [
        ("a", "a is drained; towpath undrain a"),
        ("z", "z isn't there; there are a, b, c"),
    ] {
        let refused = rig.ask("orders", to(core)).await;
        assert_eq!((refused.outcome, &*refused.text), (Outcome::Refused, text));
    }
    let undrained = rig.ask_cluster(Action::Undrain { core: member("a") }).await;
    assert_eq!(undrained.text, "a may get work");
    let moved = rig.ask("orders", to("a")).await;
    assert_eq!(
        (moved.outcome, &*moved.text),
        (Outcome::Done, "orders/replica is on a")
    );
    let node = path::assignment(&pipeline("orders"), &replica());
    rig.until("a standby again", |nodes| {
        let assignment = nodes.record::<Assignment>(&node)?;
        (assignment.cores.len() == 2 && assignment.cores[0] == member("a")).then_some(())
    })
    .await;
    let there = rig.ask("orders", to("a")).await;
    assert_eq!(there.text, "nothing to do: orders/replica is on a already");

    rig.apply(&spec("zoned", "[placement]\nlabels.zone = \"x\"\n"), 0)
        .await;
    let refused = rig.ask("zoned", to("a")).await;
    assert!(
        refused
            .text
            .starts_with("zoned asks for zone=x, which a hasn't"),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_has_its_labels() {
    let rig = Rig::start().await;
    let mut timings = crate::rig::timings();
    timings.answer = Duration::from_millis(500);
    let _leader = rig.lead_with("server-1", timings).await;
    let _a = rig.core("a").await;
    let answer = rig
        .apply(&spec("orders", "[placement]\nlabels.zone = \"x\"\n"), 0)
        .await;
    assert!(answer.text.contains("not yet reached"), "{answer:?}");
    let status = rig.state("orders", LifeState::Unplaced).await;
    assert_eq!(
        status.cause,
        "replica: no live Core has zone=x; start one that has, or change placement.labels"
    );
    let _b = rig.core_with("b", &[("zone", "x")]).await;
    let status = rig.state("orders", LifeState::Running).await;
    assert_eq!(
        status.cause,
        "replica runs on b, without a standby: no other live Core may run it"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_core_that_falls_silent_loses_its_task() {
    let rig = Rig::start().await;
    let _leader = rig.lead("server-1").await;
    let (a, _b) = (rig.core("a").await, rig.core("b").await);
    let _c = rig.core("c").await;
    rig.apply(&spec("orders", ""), 0).await;
    rig.has("orders", "a b").await;
    a.fall_silent();
    let assignment = rig.has("orders", "b c").await;
    assert!(
        assignment.cause.starts_with("a: no heartbeat for"),
        "{assignment:?}"
    );
    let history = rig.history("orders");
    let told = history
        .iter()
        .any(|event| event.starts_with("out-of-sync: a: heartbeat rule"));
    assert!(told, "{history:?}");
}
