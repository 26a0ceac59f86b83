use std::time::Duration;

use serde_json::json;
use towpath_coordination::{CommandQueue, Inbox};
use towpath_protocol::tree::path;
use towpath_protocol::tree::record::{
    Action, Alert, AppliedSpec, Assignment, DataSource, Drain, LogConfig, Member, Outcome,
};

use crate::support::{World, done, is_misused};

async fn world() -> World {
    let world = World::start().await;
    for name in ["orders", "users"] {
        world
            .put::<AppliedSpec>(&format!("pipelines/{name}/spec"), json!({}))
            .await;
    }
    world
        .put::<Assignment>("pipelines/orders/tasks/replica/assignment", json!({}))
        .await;
    world.put::<Member>("cores/core-1", json!({})).await;
    world.put::<Member>("cores/core-2", json!({})).await;
    world.put::<Alert>("alerts/lag-orders", json!({})).await;
    world
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_verb_asks_for_what_it_says() {
    let world = world().await;
    world.put::<Drain>("drained/core-2", json!({})).await;
    world.answering(&["orders", "users"], done).await;
    let core = |core: &str| core.parse().unwrap();
    for (words, shown, action, task) in [
        ("start orders", "orders: it is so\n", Action::Start, None),
        ("stop orders", "orders: it is so\n", Action::Stop, None),
        ("pause orders", "orders: it is so\n", Action::Pause, None),
        ("resume users", "users: it is so\n", Action::Resume, None),
        (
            "delete orders --yes",
            "orders: it is so\n",
            Action::Delete,
            None,
        ),
        (
            "move orders --to core-2",
            "orders: it is so\n",
            Action::Move { to: core("core-2") },
            None,
        ),
        (
            "move orders/replica --to core-1",
            "orders: it is so\n",
            Action::Move { to: core("core-1") },
            Some("replica"),
        ),
        (
            "drain core-1 --reason kernel",
            "core-1: it is so\n",
            Action::Drain {
                core: core("core-1"),
                reason: Some("kernel".into()),
            },
            None,
        ),
        (
            "undrain core-2",
            "core-2: it is so\n",
            Action::Undrain {
                core: core("core-2"),
            },
            None,
        ),
        (
            "ack lag-orders",
            "lag-orders: it is so\n",
            Action::Acknowledge {
                alert: "lag-orders".parse().unwrap(),
            },
            None,
        ),
        (
            "source set primary db2:3306 --yes",
            "primary: it is so\n",
            Action::SetSource {
                name: "primary".parse().unwrap(),
                address: "db2:3306".into(),
                reason: None,
            },
            None,
        ),
        (
            "log-level debug",
            "it is so\n",
            Action::LogLevel {
                filter: Some("debug".into()),
            },
            None,
        ),
        (
            "log-level --reset",
            "it is so\n",
            Action::LogLevel { filter: None },
            None,
        ),
    ] {
        assert_eq!(world.good(words).await, shown, "{words}");
        assert_eq!(
            world.asked(),
            [(action, task.map(str::to_owned))],
            "{words}"
        );
    }
    assert_eq!(
        world.good("start orders users").await,
        "orders: it is so\nusers: it is so\n"
    );
    assert_eq!(world.asked().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_or_fails_says_why() {
    let world = world().await;
    world
        .answering(&["orders", "users"], |action| match action {
            Action::Resume => (Outcome::Refused, "it isn't paused\u{1b}[2J".to_owned()),
            Action::Stop => (Outcome::Failed, "core-1 doesn't answer".to_owned()),
            Action::Pause => (Outcome::Other("maybe".to_owned()), "who knows".to_owned()),
            _ => (Outcome::Done, "it is so".to_owned()),
        })
        .await;
    let said = world.bad("resume orders users").await;
    let refused = "refused, nothing was changed: it isn't paused\\u{1b}[2J";
    assert_eq!(
        said,
        format!("towpath: orders: {refused}\ntowpath: users: {refused}\n")
    );
    assert_eq!(
        world.asked().len(),
        2,
        "one that is refused doesn't keep the next from being asked"
    );
    assert!(
        world
            .bad("stop orders")
            .await
            .contains("begun, and failed: core-1 doesn't answer")
    );
    assert!(world.bad("pause orders").await.contains("\"maybe\""));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_there_is_never_asked_for() {
    let world = world().await;
    world.answering(&["orders", "users"], done).await;
    for (words, said) in [
        (
            "start order",
            "there is no pipeline \"order\"; did you mean orders?",
        ),
        (
            "stop orders invoices",
            "there is no pipeline \"invoices\"; see towpath get pipelines",
        ),
        ("delete --yes odrers", "did you mean orders?"),
        (
            "move orders/replicas --to core-1",
            "there is no task of orders called \"replicas\"; did you mean replica?",
        ),
        (
            "move orders --to core1",
            "there is no Core \"core1\"; did you mean core-",
        ),
        ("drain core-7", "did you mean core-"),
        (
            "undrain core-1",
            "there is no drained Core \"core-1\", nor any other",
        ),
        ("ack lag-order", "did you mean lag-orders?"),
        ("delete orders", "nothing was deleted; --yes says yes"),
        (
            "source set primary db2:3306",
            "nothing was changed; --yes says yes",
        ),
    ] {
        let error = world.bad(words).await;
        assert!(error.contains(said), "{words}: {error}");
        assert_eq!(world.asked(), [], "{words}");
    }
    for words in [
        "start",
        "start Orders",
        "move orders",
        "drain ../x",
        "source set primary db2",
        "log-level info,=x",
        "log-level debug --reset",
        "start orders --timeout 1y",
        "get nothing",
    ] {
        assert!(is_misused(words), "{words}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_takes_is_withdrawn() {
    let world = world().await;
    let error = world.bad("stop orders --timeout 300ms").await;
    for said in [
        "no Server took the command within 300 ms",
        "nothing was changed",
        "no Server is registered",
    ] {
        assert!(error.contains(said), "{error}");
    }
    let commands = path::commands(&"orders".parse().unwrap());
    assert_eq!(world.session.children(&commands).await.unwrap(), [""; 0]);
    world
        .put::<Member>("servers/server-7", json!({"raft_role": "follower"}))
        .await;
    let error = world.bad("log-level debug --timeout 300ms").await;
    assert!(
        error.contains("registered are server-7 (follower)"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_isn_t_answered_says_where_the_answer_will_be() {
    let world = world().await;
    let queue = CommandQueue::Pipeline("orders".parse().unwrap());
    let mut inbox = Inbox::new(&world.session, queue, "server-1");
    let (error, taken) = tokio::join!(world.bad("stop orders --timeout 2s"), async {
        tokio::time::timeout(Duration::from_secs(20), inbox.next(|_| true)).await
    });
    let taken = taken.unwrap().unwrap();
    let place = format!("towpath dir get {}", taken.path());
    for said in [
        "server-1 took the command",
        "within 2 s",
        "it may still be done",
        &place,
    ] {
        assert!(error.contains(said), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_holds_already_is_told() {
    let world = world().await;
    assert_eq!(
        world.good("log-level").await,
        "each process logs what it was started with\n"
    );
    world.put::<LogConfig>("config/log", json!({})).await;
    assert_eq!(
        world.good("log-level").await,
        "info,towpath_core::apply=debug\n"
    );
    world
        .put::<DataSource>("datasources/primary", json!({}))
        .await;
    let already = world.good("source set primary db2.example.net:3306").await;
    assert_eq!(already, "primary is at db2.example.net:3306 already\n");
    assert!(
        world
            .good("source ls")
            .await
            .contains("db1 is being replaced")
    );
    assert_eq!(world.json("source ls --json").await[0]["name"], "primary");
}
