use std::time::Duration;

use towpath_coordination::Expect;
use towpath_protocol::tree::path;
use towpath_protocol::tree::record::{
    Action, AppliedSpec, Assignment, Journal, LifeState, Operation, Outcome,
};

use crate::rig::{Rig, member, pipeline, replica, spec};

/// Waits until the revision in force has run well.
async fn good(rig: &Rig, name: &str, revision: u64) {
    let node = path::status(&pipeline(name));
    rig.until("it has run well", |nodes| {
        let status = nodes.record::<towpath_protocol::tree::record::PipelineStatus>(&node)?;
        (status.good_revision == Some(revision)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tried_again_within_a_budget_that_a_new_leader_knows() {
    let rig = Rig::start().await;
    let leader = rig.lead("server-1").await;
    let _a = rig.core("a").await;
    let text = spec("orders", "# stumbles\n[restart]\nmax = 3\n");
    let apply = Action::Apply { text, revision: 0 };
    let answer = rig.ask_cluster(apply).await;
    assert_eq!(answer.outcome, Outcome::Failed, "{answer:?}");
    let status = rig.state("orders", LifeState::Failed).await;
    assert!(
        status.cause.contains("failed again after 3 tries in 600 s"),
        "{status:?}"
    );
    let restarts = || {
        let history = rig.history("orders");
        history
            .iter()
            .filter(|event| event.starts_with("restart: "))
            .count()
    };
    assert_eq!(restarts(), 3);
    leader.stop().await;
    let _leader = rig.lead("server-2").await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(restarts(), 3, "the budget isn't forgotten");
    let answer = rig.ask("orders", Action::Start).await;
    assert_eq!(answer.outcome, Outcome::Failed, "{answer:?}");
    assert_eq!(restarts(), 6, "an operator gives a new one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_t_get_better_is_not_tried_again() {
    let rig = Rig::start().await;
    let _leader = rig.lead("server-1").await;
    let _a = rig.core("a").await;
    let text = spec("orders", "# breaks\n");
    let answer = rig.ask_cluster(Action::Apply { text, revision: 0 }).await;
    assert_eq!(answer.outcome, Outcome::Failed);
    assert_eq!(
        answer.text,
        "orders is failed: TP1514: it broke; correct the cause, then towpath start orders"
    );
    let answer = rig.apply(&spec("orders", ""), 1).await;
    assert!(
        answer
            .text
            .starts_with("revision 2 is in force; orders is running"),
        "{answer:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn updated_and_rolled_back() {
    let rig = Rig::start().await;
    let _leader = rig.lead("server-1").await;
    let (_a, _b) = (rig.core("a").await, rig.core("b").await);
    let first = spec("orders", "");
    rig.apply(&first, 0).await;
    let uuid = rig.spec("orders").uuid;
    let second = spec("orders", "[apply]\nbatch_rows_max = 7\n");
    let answer = rig.apply(&second, 1).await;
    assert!(
        answer
            .text
            .starts_with("revision 2 is in force; orders is running"),
        "{answer:?}"
    );
    assert_eq!(
        (rig.spec("orders").text, rig.spec("orders").uuid),
        (second.clone(), uuid)
    );
    let old = path::spec_revision(&pipeline("orders"), 1);
    let old = rig
        .session
        .read::<AppliedSpec>(&old)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(old.value.record.text, first);
    good(&rig, "orders", 2).await;

    let text = spec("orders", "# breaks\n");
    let answer = rig.ask_cluster(Action::Apply { text, revision: 2 }).await;
    assert_eq!(answer.outcome, Outcome::Failed);
    assert!(
        answer
            .text
            .starts_with("revision 3 isn't in force any more, 4 is"),
        "{answer:?}"
    );
    let status = rig.state("orders", LifeState::Running).await;
    assert_eq!(status.spec_revision, 4);
    assert_eq!(
        rig.spec("orders").text,
        second,
        "the old text, as a new revision"
    );
    let history = rig.history("orders");
    let told = "rollback: rolled back from 3 to 2, as revision 4: TP1514: it broke";
    assert!(history.iter().any(|event| event == told), "{history:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_leader_goes_on_with_an_update() {
    let rig = Rig::start().await;
    let leader = rig.lead("server-1").await;
    let a = rig.core("a").await;
    rig.apply(&spec("orders", ""), 0).await;
    good(&rig, "orders", 1).await;
    a.get_stuck(true);
    let second = spec("orders", "[apply]\nbatch_rows_max = 7\n");
    let asking = async {
        let queue = towpath_coordination::CommandQueue::Cluster;
        let action = Action::Apply {
            text: second.clone(),
            revision: 1,
        };
        let patience = towpath_coordination::Patience::default();
        rig.session
            .command(&queue, None, action, "anna", patience)
            .await
    };
    let node = path::journal(&pipeline("orders"));
    let interrupting = async {
        rig.until("the update is under way", |nodes| {
            let journal = nodes.record::<Journal>(&node)?;
            matches!(journal.operation, Some(Operation::Update { .. })).then_some(())
        })
        .await;
        rig.state("orders", LifeState::Updating).await;
        leader.stop().await;
    };
    tokio::select! {
        answer = asking => panic!("{answer:?}"),
        () = interrupting => {}
    }
    assert_eq!(rig.spec("orders").revision, 1);
    a.get_stuck(false);
    let _leader = rig.lead("server-2").await;
    let status = rig.until("revision 2 runs", |nodes| {
        let node = path::status(&pipeline("orders"));
        let status = nodes.record::<towpath_protocol::tree::record::PipelineStatus>(&node)?;
        (status.spec_revision == 2 && status.state == LifeState::Running).then_some(status)
    });
    status.await;
    assert_eq!(rig.spec("orders").text, second);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_whose_old_run_doesn_t_end_changes_nothing() {
    let rig = Rig::start().await;
    let mut timings = crate::rig::timings();
    timings.life.stop_max = jiff::SignedDuration::from_millis(500);
    let _leader = rig.lead_with("server-1", timings).await;
    let a = rig.core("a").await;
    rig.apply(&spec("orders", ""), 0).await;
    a.get_stuck(true);
    let text = spec("orders", "[apply]\nbatch_rows_max = 7\n");
    let answer = rig.ask_cluster(Action::Apply { text, revision: 1 }).await;
    assert_eq!(answer.outcome, Outcome::Failed, "{answer:?}");
    assert!(
        answer
            .text
            .starts_with("revision 2 is given up, 1 stays in force"),
        "{answer:?}"
    );
    rig.state("orders", LifeState::Running).await;
    assert_eq!(rig.spec("orders").revision, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_leaders_at_once_do_no_harm() {
    let rig = Rig::start().await;
    let (_one, _two) = (rig.lead("server-1").await, rig.lead("server-2").await);
    let a = rig.core("a").await;
    let (_b, _c) = (rig.core("b").await, rig.core("c").await);
    for number in 1..=6 {
        rig.apply(&spec(&format!("p{number}"), ""), 0).await;
    }
    for number in 1..=6 {
        let name = format!("p{number}");
        rig.state(&name, LifeState::Running).await;
        assert_eq!(
            rig.assigned(&name).unwrap().revision,
            1,
            "{name} was assigned once"
        );
        let history = rig.history(&name);
        let assigned = history
            .iter()
            .filter(|event| event.starts_with("assigned: "));
        assert_eq!(assigned.count(), 1, "{history:?}");
    }
    a.kill().await;
    rig.until("nobody waits for a", |nodes| {
        (1..=6)
            .all(|number| {
                let node = path::assignment(&pipeline(&format!("p{number}")), &replica());
                nodes
                    .record::<Assignment>(&node)
                    .is_some_and(|assignment| !assignment.cores.contains(&member("a")))
            })
            .then_some(())
    })
    .await;
    for number in 1..=6 {
        let assignment = rig.assigned(&format!("p{number}")).unwrap();
        assert!(assignment.revision <= 2, "{assignment:?}");
    }
    rig.apply(&spec("p1", "[apply]\nbatch_rows_max = 7\n"), 1)
        .await;
    assert_eq!(rig.spec("p1").revision, 2, "once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_history_is_bounded() {
    let rig = Rig::start().await;
    let _leader = rig.lead("server-1").await;
    let _a = rig.core("a").await;
    rig.apply(&spec("orders", ""), 0).await;
    let name = pipeline("orders");
    for number in 0..230 {
        let event = towpath_protocol::tree::record::HistoryEvent {
            at: jiff::Timestamp::now(),
            what: "test".to_owned(),
            text: number.to_string(),
            by: "test".to_owned(),
            task: None,
        };
        rig.session
            .append(&path::history_event(&name), event)
            .await
            .unwrap();
    }
    rig.until("the oldest are gone", |nodes| {
        (nodes.children(&path::history(&name)).count() <= 200).then_some(())
    })
    .await;
    assert_eq!(rig.history("orders").last().unwrap(), "test: 229");
    let journal = path::journal(&name);
    let written = rig
        .session
        .write(&journal, Journal::default(), Expect::Anything);
    written.await.unwrap();
}
