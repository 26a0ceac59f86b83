use std::time::Duration;

use serde_json::json;
use towpath_coordination::{Expect, Transaction};
use towpath_protocol::tree::Versioned;
use towpath_protocol::tree::path;
use towpath_protocol::tree::record::{
    Action, Alert, AppliedSpec, DataSource, Desired, DirectoryAction, HistoryEvent, LifeState,
    LogConfig, MemberAddress, Outcome, Probe, Record,
};

use crate::rig::{Rig, pipeline, spec};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paused_resumed_stopped_started_and_deleted() {
    let rig = Rig::start().await;
    let _leader = rig.lead("server-1").await;
    let (_a, _b) = (rig.core("a").await, rig.core("b").await);
    let nobody = rig.ask("orders", Action::Start).await;
    assert_eq!(
        (nobody.outcome, &*nobody.text),
        (
            Outcome::Refused,
            "there is no pipeline orders; towpath apply FILE makes one"
        )
    );
    rig.apply(&spec("orders", ""), 0).await;
    let running = "orders is running: replica runs on a";
    let paused = "orders is paused: replica holds its place on a";
    let stopped = "orders is stopped: replica runs nowhere";
    use Action::{Delete, Pause, Resume, Start, Stop};
    use Outcome::{Done, Refused};
    for (action, outcome, text) in [
        (Start, Done, format!("nothing to do: {running}")),
        (Resume, Done, format!("nothing to do: {running}")),
        (
            Delete,
            Refused,
            format!("{running}; towpath stop orders first"),
        ),
        (Pause, Done, paused.to_owned()),
        (Pause, Done, format!("nothing to do: {paused}")),
        (
            Start,
            Refused,
            "orders is paused; towpath resume orders".to_owned(),
        ),
        (Resume, Done, running.to_owned()),
        (Pause, Done, paused.to_owned()),
        (Stop, Done, stopped.to_owned()),
        (Stop, Done, format!("nothing to do: {stopped}")),
        (
            Pause,
            Refused,
            "orders is stopped; towpath start orders".to_owned(),
        ),
        (
            Resume,
            Refused,
            "orders is stopped; towpath start orders".to_owned(),
        ),
        (Start, Done, running.to_owned()),
        (Stop, Done, stopped.to_owned()),
    ] {
        let answer = rig.ask("orders", action.clone()).await;
        assert_eq!((answer.outcome, answer.text), (outcome, text), "{action:?}");
    }
    let deleted = rig.ask("orders", Delete).await;
    assert_eq!(
        (deleted.outcome, &*deleted.text),
        (
            Outcome::Done,
            "orders is deleted; its place in the sink stays, in towpath.offset"
        )
    );
    let name = pipeline("orders");
    rig.until("nothing but the commands is left", |nodes| {
        let left: Vec<_> = nodes
            .children(&path::pipeline(&name))
            .map(str::to_owned)
            .collect();
        (left == ["commands"]).then_some(())
    })
    .await;
    let answer = rig.apply(&spec("orders", ""), 0).await;
    assert!(
        answer.text.starts_with("revision 1 is in force"),
        "a new one of that name: {answer:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_does_is_refused_at_once() {
    let rig = Rig::start().await;
    let _leader = rig.lead("server-1").await;
    let _a = rig.core("a").await;
    rig.apply(&spec("orders", ""), 0).await;
    // Those by which one leaves the path are done by whoever asks, at the sink itself.
    for action in [
        json!({"kind": "skip", "gtid": "3e11fa47-71ca-11e1-9e33-c80aa9429562:78"}),
        json!({"kind": "rewind", "to": "2026-11-22T02:40:00Z"}),
        json!({"kind": "resnapshot", "tables": []}),
        json!({"kind": "verify", "repair": true}),
        json!({"kind": "teleport"}),
    ] {
        let refused = rig.ask("orders", Action::Other(action)).await;
        assert_eq!(refused.outcome, Outcome::Refused, "{refused:?}");
        assert!(refused.text.ends_with("use a newer towpath"), "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_pipeline_that_isn_t_there_yet_nothing_is_swept() {
    let rig = Rig::start().await;
    let (_one, _two) = (rig.lead("server-1").await, rig.lead("server-2").await);
    rig.apply(&spec("model", "[placement]\nreplicas = 1\n"), 0)
        .await;
    let model = pipeline("model");
    let (applied, desired) = rig.mirror.look(|nodes| {
        let applied = nodes.record::<AppliedSpec>(&path::spec(&model)).unwrap();
        let desired = nodes.record::<Desired>(&path::desired(&model)).unwrap();
        (applied, desired)
    });
    let names: Vec<_> = (0..300)
        .map(|number| pipeline(&format!("p{number}")))
        .collect();
    for name in &names {
        // As an apply does it: what is above them is made first, by itself.
        let mut transaction = Transaction::new();
        transaction
            .create(path::spec(name), applied.clone())
            .unwrap();
        transaction
            .create(path::desired(name), desired.clone())
            .unwrap();
        rig.session.transact(transaction).await.unwrap();
    }
    let remains = path::commands(&pipeline("remains"));
    let event = path::history_event(&pipeline("remains"));
    let mut transaction = Transaction::new();
    transaction.create(remains, desired.clone()).unwrap();
    transaction.create(event, desired).unwrap();
    rig.session.transact(transaction).await.unwrap();
    rig.until("what is left of one is swept", |nodes| {
        let top = path::pipeline(&pipeline("remains"));
        nodes.get(&top).is_none().then_some(())
    })
    .await;
    for name in &names {
        let spec = rig.session.read::<AppliedSpec>(&path::spec(name)).await;
        assert!(spec.unwrap().is_some(), "{name} is gone");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_that_isn_t_reached_says_why() {
    let rig = Rig::start().await;
    let mut timings = crate::rig::timings();
    timings.answer = Duration::from_millis(800);
    let _leader = rig.lead_with("server-1", timings).await;
    let a = rig.core("a").await;
    rig.apply(&spec("orders", ""), 0).await;
    rig.state("orders", LifeState::Running).await;
    a.get_stuck(true);
    let answer = rig.ask("orders", Action::Stop).await;
    assert_eq!(
        answer.text,
        "asked (stop orders); not yet reached: orders is stopping: a ends replica"
    );
    let refused = rig.ask("orders", Action::Delete).await;
    assert_eq!(
        refused.text,
        "orders is stopping: a didn't end its run yet; delete it again in a moment"
    );
    a.get_stuck(false);
    rig.state("orders", LifeState::Stopped).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_text_in_force_is_refused_while_another_is_on_its_way() {
    let rig = Rig::start().await;
    let mut timings = crate::rig::timings();
    timings.answer = Duration::from_millis(300);
    let _leader = rig.lead_with("server-1", timings).await;
    let a = rig.core("a").await;
    let (first, second) = (spec("orders", ""), spec("orders", "# another\n"));
    let apply = |text: &str, revision| Action::Apply {
        text: text.to_owned(),
        revision,
    };
    rig.apply(&first, 0).await;
    rig.state("orders", LifeState::Running).await;
    a.get_stuck(true);
    let begun = rig.ask_cluster(apply(&second, 1)).await;
    assert!(begun.text.contains("not yet reached"), "{begun:?}");
    let refused = rig.ask_cluster(apply(&first, 1)).await;
    assert_eq!(
        (refused.outcome, &*refused.text),
        (
            Outcome::Refused,
            "an update of orders is under way; apply again when it's over"
        )
    );
    a.get_stuck(false);
    let name = pipeline("orders");
    rig.until("the other one is in force", |nodes| {
        let applied = nodes.record::<AppliedSpec>(&path::spec(&name))?;
        (applied.revision == 2 && applied.text == second).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_t_be_applied_is_refused() {
    let rig = Rig::start().await;
    let _leader = rig.lead("server-1").await;
    let _a = rig.core("a").await;
    let apply = |text: &str, revision| Action::Apply {
        text: text.to_owned(),
        revision,
    };
    let wrong = spec("orders", "")
        .replace("shop.*", "shop")
        .replace("name = \"replica\"\n", "");
    let refused = rig.ask_cluster(apply(&wrong, 0)).await;
    assert_eq!(refused.outcome, Outcome::Refused);
    for problem in [
        "pipeline file:4: source.tables",
        "pipeline file:5: sink[1].name: missing",
    ] {
        assert!(refused.text.contains(problem), "{refused:?}");
    }
    let refused = rig.ask_cluster(apply(&spec("orders", ""), 3)).await;
    assert!(
        refused
            .text
            .starts_with("there is no pipeline orders any more"),
        "{refused:?}"
    );
    let large = format!("{}# {}", spec("orders", ""), "x".repeat(300_000));
    let refused = rig.ask_cluster(apply(&large, 0)).await;
    assert!(
        refused.text.ends_with("the directory takes 262144"),
        "{refused:?}"
    );

    let own = spec("orders", "").replace("[[sink]]", "server_id = 17\n[[sink]]");
    rig.apply(&own, 0).await;
    let same = rig.apply(&own, 1).await;
    assert!(
        same.text
            .starts_with("nothing to do: this is revision 1 of orders"),
        "{same:?}"
    );
    let refused = rig.ask_cluster(apply(&spec("orders", ""), 0)).await;
    assert!(
        refused
            .text
            .starts_with("revision 1 of orders is in force, applied by anna at "),
        "{refused:?}"
    );
    let renamed = own.replace("\"replica\"", "\"copy\"");
    let refused = rig.ask_cluster(apply(&renamed, 1)).await;
    assert!(
        refused
            .text
            .starts_with("the sink's name can't change from replica to copy"),
        "{refused:?}"
    );
    let clash = own.replace("\"orders\"", "\"others\"");
    let refused = rig.ask_cluster(apply(&clash, 0)).await;
    assert_eq!(
        refused.text,
        "source.server_id 17 is that of pipeline orders; give another, or leave it out"
    );
    assert_eq!(rig.assigned("orders").unwrap().server_id, 17);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_sources_logs_and_alerts() {
    let rig = Rig::start().await;
    let _leader = rig.lead("server-1").await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        use tokio::io::AsyncWriteExt;
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"\x08\0\0\0\x0a9.7.0\0\0").await;
        }
    });
    let name: towpath_protocol::tree::DataSourceName = "primary".parse().unwrap();
    let set = |address: &str| Action::SetSource {
        name: name.clone(),
        address: address.to_owned(),
        reason: None,
    };
    let refused = rig.ask_cluster(set("db1")).await;
    assert!(
        refused.text.starts_with("\"db1\" is no address"),
        "{refused:?}"
    );
    assert_eq!(rig.ask_cluster(set(&address)).await.outcome, Outcome::Done);
    let again = rig.ask_cluster(set(&address)).await;
    assert!(again.text.starts_with("nothing to do"), "{again:?}");
    let source = rig
        .session
        .read::<DataSource>(&path::datasource(&name))
        .await
        .unwrap();
    assert_eq!(source.unwrap().value.record.address, address);
    let probed = |answers: bool| {
        let node = path::probe(&name);
        move |nodes: &towpath_coordination::Nodes| {
            nodes
                .record::<Probe>(&node)
                .filter(|probe| probe.answers == answers)
        }
    };
    assert_eq!(rig.until("it answers", probed(true)).await.text, "9.7.0");
    rig.ask_cluster(set("127.0.0.1:1")).await;
    let down = rig.until("it doesn't", probed(false)).await;
    assert!(down.text.contains("refused"), "{down:?}");

    let level = |filter: Option<&str>| Action::LogLevel {
        filter: filter.map(str::to_owned),
    };
    let refused = rig.ask_cluster(level(Some("towpath=loud"))).await;
    assert_eq!(refused.outcome, Outcome::Refused);
    rig.ask_cluster(level(Some("debug"))).await;
    let config = rig
        .session
        .read::<LogConfig>(&path::log_config())
        .await
        .unwrap();
    assert_eq!(config.unwrap().value.record.filter, "debug");
    rig.ask_cluster(level(None)).await;
    assert_eq!(
        rig.session
            .read::<LogConfig>(&path::log_config())
            .await
            .unwrap(),
        None
    );

    let alert: towpath_protocol::tree::AlertId = "a1".parse().unwrap();
    let seen = || Action::Acknowledge {
        alert: alert.clone(),
    };
    assert_eq!(rig.ask_cluster(seen()).await.outcome, Outcome::Refused);
    let mut record = Versioned::<Alert>::from_json(Alert::EXAMPLE.as_bytes()).unwrap();
    record.record.acknowledged_by = None;
    let node = path::alert(&alert);
    rig.session
        .write(&node, record, Expect::Absent)
        .await
        .unwrap();
    assert_eq!(
        rig.ask_cluster(seen()).await.text,
        "alert a1 is acknowledged"
    );
    let written = rig.session.read::<Alert>(&node).await.unwrap().unwrap();
    assert_eq!(
        written.value.record.acknowledged_by.as_deref(),
        Some("anna")
    );
    assert!(
        rig.ask_cluster(seen())
            .await
            .text
            .contains("anna has seen it")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_of_the_directory() {
    let rig = Rig::start().await;
    let _leader = rig.lead("server-1").await;
    let directory = |ask| Action::Directory { ask };
    let shown = rig.ask_cluster(directory(DirectoryAction::Members)).await;
    assert_eq!(
        (shown.outcome, &*shown.text),
        (Outcome::Done, "1 member, 1 leads")
    );
    assert_eq!(shown.details["members"][0]["role"], "leader");

    let at = MemberAddress {
        peer: "a:1".to_owned(),
        client: "a:2".to_owned(),
    };
    let alone = directory(DirectoryAction::Add { id: 2, at });
    let alone = rig.ask_cluster(alone).await;
    assert_eq!(alone.outcome, Outcome::Refused);
    assert!(alone.text.contains("--peer-listen"), "{}", alone.text);

    let backup = |name: &str| {
        directory(DirectoryAction::Backup {
            name: name.to_owned(),
        })
    };
    let outside = rig.ask_cluster(backup("../elsewhere")).await;
    assert_eq!(outside.outcome, Outcome::Refused, "{}", outside.text);
    let done = rig.ask_cluster(backup("today")).await;
    assert_eq!(done.outcome, Outcome::Done, "{}", done.text);
    let file = rig.dir.path().join("backups").join("today");
    assert_eq!(done.details["bytes"], file.metadata().unwrap().len());
    let again = rig.ask_cluster(backup("today")).await;
    assert_eq!(again.outcome, Outcome::Failed, "{}", again.text);
    assert!(again.text.contains("is there already"), "{}", again.text);

    let parent = path::cluster_history();
    rig.until("an event of the backup", |nodes| {
        let mut events = nodes
            .children(&parent)
            .filter_map(|event| nodes.record::<HistoryEvent>(&parent.listed(event)?));
        events
            .any(|event| event.what == "backup" && event.by == "anna")
            .then_some(())
    })
    .await;
}
