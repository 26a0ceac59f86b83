use std::time::Duration;

use serde_json::{Value, json};
use towpath_console::Screen;
use towpath_protocol::tree::record::{
    Alert, AppliedSpec, HistoryEvent, Instance, Member, PipelineStatus, Progress,
};

use crate::support::{Kept, World, file};

async fn world() -> World {
    let world = World::start().await;
    world.put::<Member>("servers/server-1", json!({})).await;
    for (core, pid) in [("core-1", 11), ("core-2", 12)] {
        world
            .put::<Member>(
                &format!("cores/{core}"),
                json!({"pid": pid, "client": null, "raft_role": null}),
            )
            .await;
    }
    world
        .put::<AppliedSpec>(
            "pipelines/orders/spec",
            json!({"text": file("orders", "shop.*")}),
        )
        .await;
    world
        .put::<PipelineStatus>("pipelines/orders/status", json!({}))
        .await;
    let task = "pipelines/orders/tasks/replica";
    world
        .put::<Progress>(&format!("{task}/progress"), json!({"pid": 11}))
        .await;
    world
        .put::<Instance>(
            &format!("{task}/instances/core-1-0000000001"),
            json!({"state": "running", "pid": 11}),
        )
        .await;
    world
        .put::<Instance>(
            &format!("{task}/instances/core-2-0000000002"),
            json!({"member": "core-2", "pid": 12}),
        )
        .await;
    world.put::<Alert>("alerts/lag-orders", json!({})).await;
    world
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_read_what_is_there() {
    let world = world().await;
    let status = world.json("status --json").await;
    let orders = &status["pipelines"][0];
    assert_eq!(orders["name"], "orders");
    assert_eq!(orders["state"], "running");
    assert_eq!(orders["lag_seconds"], 0.12);
    assert_eq!(
        orders["gtid_set"],
        "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-77"
    );
    let task = &orders["tasks"][0];
    assert_eq!(
        (&task["running"]["core"], &task["running"]["pid"]),
        (&"core-1".into(), &11.into())
    );
    assert_eq!(task["standby"][0]["core"], "core-2");
    let servers = world.json("get servers --json").await;
    assert_eq!(servers[0]["id"], "server-1");
    assert_eq!(servers[0]["client"], "10.0.0.1:2181");
    assert_eq!(servers[0]["raft_role"], "leader");
    assert_eq!(world.json("get cores --json").await[1]["pid"], 12);
    for (kind, count) in [
        ("pipelines", 1),
        ("tasks", 1),
        ("monitors", 0),
        ("datasources", 0),
        ("alerts", 1),
    ] {
        let list = world.json(&format!("get {kind} --json")).await;
        assert_eq!(list.as_array().unwrap().len(), count, "{kind}");
    }
    assert_eq!(world.json("alerts --json").await[0]["severity"], "warning");
    let described = world.json("describe orders --json").await;
    assert_eq!(described["spec"]["revision"], 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_read_what_is_there() {
    let world = world().await;
    let status = world.good("status").await;
    assert!(
        status.contains("1 pipeline (1 fine)") && status.contains("✓  orders    running"),
        "{status}"
    );
    assert!(
        !status.contains('\u{1b}'),
        "colours are for terminals: {status:?}"
    );
    assert!(world.good("status orders").await.starts_with("   PIPELINE"));
    assert!(
        world
            .bad("status order")
            .await
            .contains("did you mean orders?")
    );
    for (words, said) in [
        ("get pipelines", "orders"),
        ("get tasks", "orders/replica"),
        ("get cores", "core-2"),
        ("get servers", "10.0.0.1:2181"),
        ("get monitors", "no Monitors"),
        ("get sources", "no named data sources"),
        ("alerts", "68 s behind the source"),
        ("alerts --all", "lag-orders"),
        ("describe orders", "${SOURCE_PASSWORD}"),
        ("describe orders/replica", "Task orders/replica"),
        ("describe core/core-1", "Runs:        orders/replica"),
        ("describe server-1", "Raft role:   leader"),
        ("describe lag-orders", "Rule:        lag"),
    ] {
        let out = world.good(words).await;
        assert!(out.contains(said), "{words}: {out}");
    }
    world.put::<Member>("monitors/core-1", json!({})).await;
    let error = world.bad("describe core-1").await;
    assert!(error.contains("core/core-1, monitor/core-1"), "{error}");
    let error = world.bad("describe ordres").await;
    assert!(error.contains("did you mean orders?"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_histories_are_told_in_the_order_of_their_times() {
    let world = world().await;
    let minute = |minute: u32| format!("2026-11-22T02:{minute:02}:00Z");
    for number in 0..12 {
        let event =
            json!({"at": minute(number * 2), "what": format!("event-{number}"), "task": null});
        world
            .put::<HistoryEvent>(&format!("pipelines/orders/history/h-{number:010}"), event)
            .await;
    }
    let event = json!({"at": minute(21), "what": "drained", "task": null});
    world
        .put::<HistoryEvent>("history/h-0000000000", event)
        .await;
    let what = |events: &Value| -> Vec<String> {
        let events = events.as_array().unwrap().iter();
        events
            .map(|event| event["what"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(
        what(&world.json("history -n 3 --json").await),
        ["event-10", "drained", "event-11"]
    );
    assert_eq!(
        what(&world.json("history orders -n 2 --json").await),
        ["event-10", "event-11"]
    );
    let out = world.good("history orders").await;
    assert_eq!(out.lines().count(), 13, "{out}");
    assert!(
        world
            .bad("history order")
            .await
            .contains("did you mean orders?")
    );
    let described = world.json("describe orders --json").await;
    assert_eq!(what(&described["history"]).len(), 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watched_status_is_drawn_again_when_something_changed() {
    let world = world().await;
    let out = Kept::default();
    let mut screen = Screen::plain(out.clone(), Kept::default());
    let verb = world.verb("status --watch --json");
    let watching = tokio::spawn(async move { verb.run_on(&mut screen).await.map(|_| ()) });
    let drawn = async |said: &str| {
        let soon = Duration::from_secs(20);
        tokio::time::timeout(soon, async {
            while !out
                .text()
                .lines()
                .last()
                .is_some_and(|line| line.contains(said))
            {
                assert!(!watching.is_finished(), "it goes on");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await
        .unwrap();
    };
    drawn(r#""state":"running""#).await;
    world
        .put::<PipelineStatus>("pipelines/orders/status", json!({"state": "failed"}))
        .await;
    drawn(r#""state":"failed""#).await;
    watching.abort();
    for line in out.text().lines() {
        serde_json::from_str::<Value>(line).unwrap();
    }
}
