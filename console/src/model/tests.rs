use serde_json::Value;
use towpath_protocol::tree::path;

use super::*;
use crate::tree::Tree;

#[test]
fn what_runs_and_what_stands_by() {
    let view = example::view();
    let users = view.pipeline("users").unwrap();
    let task = &users.tasks[0];
    assert_eq!(task.running().unwrap().member.as_str(), "core-1");
    let standby: Vec<_> = task.standby().map(|one| one.member.as_str()).collect();
    assert_eq!(standby, ["core-2"], "the lowest runs, whatever its name");
    assert!(view.pipeline("orders").unwrap().tasks[0].running().is_none());
    assert!(view.pipeline("gone").is_none(), "a leftover node is no pipeline");
    let tasks = view.tasks_of(&"core-1".parse().unwrap());
    assert_eq!((tasks.running, tasks.standby), (vec!["users/replica".into()], vec!["audit/replica".into()]));
}

#[test]
fn the_worst_comes_first() {
    let view = example::view();
    let order: Vec<_> = view
        .worst_first()
        .into_iter()
        .map(|pipeline| (pipeline.name.as_str(), pipeline.health()))
        .collect();
    assert_eq!(
        order,
        [
            ("orders", Health::Bad),
            ("audit", Health::Troubled),
            ("new", Health::Changing),
            ("users", Health::Good),
            ("old", Health::Resting),
        ]
    );
}

#[test]
fn the_shape_that_programs_rely_on() {
    let status = json::status(&example::view(), Some("users"));
    let pipelines = status["pipelines"].as_array().unwrap();
    assert_eq!(pipelines.len(), 1);
    let users = &pipelines[0];
    assert_eq!(users["name"], "users");
    assert_eq!(users["state"], "running");
    assert_eq!(users["lag_seconds"], 0.12);
    assert_eq!(users["gtid_set"], "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-77");
    let task = &users["tasks"][0];
    assert_eq!(task["name"], "replica");
    assert_eq!(task["running"]["core"], "core-1");
    assert_eq!(task["running"]["pid"], 101);
    assert_eq!(task["standby"].as_array().unwrap().len(), 1);
    assert_eq!(task["standby"][0]["core"], "core-2");
    assert_eq!(status["alerts"], Value::Array(vec![]), "others' alerts are left out");

    let all = json::status(&example::view(), None);
    let orders = &all["pipelines"][0];
    assert_eq!(orders["tasks"][0]["running"], Value::Null);
    assert_eq!(orders["lag_seconds"], Value::Null);
    assert_eq!(orders["gtid_set"], "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-77", "of the last commit");
    assert_eq!(all["alerts"].as_array().unwrap().len(), 2);

    let servers = json::servers(&example::view());
    assert_eq!(servers[0]["id"], "server-1");
    assert_eq!(servers[0]["client"], "10.0.0.1:2181");
    assert_eq!(servers[0]["raft_role"], "leader");
    let cores = json::cores(&example::view());
    assert_eq!((&cores[1]["id"], &cores[1]["pid"], &cores[1]["host"]), (&"core-2".into(), &102.into(), &"node1".into()));
    assert_eq!(cores[0]["started"], "2026-11-22T02:40:00Z");
}

#[test]
fn no_password_in_clear_is_described() {
    let view = example::view();
    let described = json::described(view.pipeline("orders").unwrap(), &example::events());
    let text = described["spec"]["text"].as_str().unwrap();
    assert!(text.contains("repl:${SOURCE_PASSWORD}@") && text.contains("app:***@"), "{text}");
    assert_eq!(described["history"][1]["what"], "failover");
}

#[test]
fn troubles_name_what_contradicts_itself() {
    let troubles = example::view().troubles();
    for said in [
        "no Monitor",
        "Core core-3 isn't there; audit/replica",
        "data source primary at db2.example.net:3306 doesn't answer: connection refused",
        "/towpath/drained/core-8",
    ] {
        assert!(troubles.iter().any(|trouble| trouble.contains(said)), "{said}: {troubles:?}");
    }
    assert_eq!(troubles.len(), 4, "{troubles:?}");
    let nothing = View::new(&Tree::default(), example::now());
    let troubles = nothing.troubles();
    assert!(troubles[0].contains("no Server is registered"), "{troubles:?}");
}

#[test]
fn only_what_is_shown_is_read() {
    let (p, t) = ("orders".parse().unwrap(), "replica".parse().unwrap());
    for wanted in [
        path::root(),
        path::spec(&p),
        path::status(&p),
        path::progress(&p, &t),
        path::instances(&p, &t),
        path::alerts(),
        path::drained(),
    ] {
        assert!(is_shown(&wanted), "{wanted}");
    }
    for unwanted in [path::spec_history(&p), path::history(&p), path::commands(&p), path::cluster_history()] {
        assert!(!is_shown(&unwanted), "{unwanted}");
    }
}
