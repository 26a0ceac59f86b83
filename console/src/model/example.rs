//! A cluster in which much is wrong, at a moment that doesn't move.

use jiff::Timestamp;
use serde_json::{Value, json};
use towpath_protocol::tree::record::{
    Alert, AppliedSpec, Assignment, Committed, DataSource, Desired, Drain, Failure, HistoryEvent,
    Instance, Member, PipelineStatus, Probe, Progress,
};
use towpath_protocol::tree::{NodePath, Record, path};

use super::View;
use crate::tree::Tree;

/// The record's example, with some of its fields changed.
fn like<T: Record>(changes: Value) -> T {
    let mut value: Value = serde_json::from_str(T::EXAMPLE).unwrap();
    for (name, change) in changes.as_object().unwrap() {
        value[name] = change.clone();
    }
    serde_json::from_value(value).unwrap()
}

pub(crate) fn now() -> Timestamp {
    "2026-11-22T03:00:00Z".parse().unwrap()
}

fn at(text: &str) -> NodePath {
    NodePath::parse(&format!("/towpath/{text}")).unwrap()
}

/// `orders` has failed, `users` runs with a standby, `audit` is being taken over, `old` is stopped,
/// `new` was never seen by a leader.
pub(crate) fn tree() -> Tree {
    let mut tree = Tree::default();
    for (id, role) in [("server-1", "leader"), ("server-2", "follower")] {
        let server = json!({"client": format!("10.0.0.1:218{}", &id[7..]), "raft_role": role});
        tree.put::<Member>(at(&format!("servers/{id}")), like(server));
    }
    for (id, pid) in [("core-1", 101), ("core-2", 102)] {
        let core = json!({"pid": pid, "client": null, "raft_role": null});
        tree.put::<Member>(at(&format!("cores/{id}")), like(core));
    }
    tree.put::<Drain>(at("drained/core-9"), like(json!({})));
    for name in ["orders", "users", "audit", "old", "new"] {
        let text = format!(
            "name = \"{name}\"\n[source]\nurl = \"mysql://repl:${{SOURCE_PASSWORD}}@db1:3306\"\n\
             [[sink]]\nname = \"replica\"\nurl = \"mysql://app:secret@db2\"\n"
        );
        tree.put::<AppliedSpec>(
            at(&format!("pipelines/{name}/spec")),
            like(json!({"text": text})),
        );
    }
    for (name, state, cause) in [
        (
            "orders",
            "failed",
            "a conflict in the sink, which trying again can't mend",
        ),
        ("users", "running", "replica runs on core-1"),
        ("audit", "running", "replica ran on core-3"),
        ("old", "stopped", "stopped by anna"),
    ] {
        let status = json!({"state": state, "cause": cause});
        tree.put::<PipelineStatus>(at(&format!("pipelines/{name}/status")), like(status));
        let desired = json!({"state": if name == "old" { "stopped" } else { "running" }});
        tree.put::<Desired>(at(&format!("pipelines/{name}/desired")), like(desired));
    }
    let instance = |core: &str, pid: u32, state: &str| -> Instance {
        like(json!({"member": core, "pid": pid, "state": state}))
    };
    let task = |name: &str, node: &str| at(&format!("pipelines/{name}/tasks/replica/{node}"));
    tree.put(
        task("orders", "instances/core-2-0000000009"),
        instance("core-2", 102, "failed"),
    );
    tree.put::<Failure>(task("orders", "failure"), like(json!({"core": "core-2"})));
    tree.put::<Committed>(task("orders", "commit"), like(json!({})));
    tree.put::<Assignment>(
        task("orders", "assignment"),
        like(json!({"cores": ["core-2"]})),
    );
    tree.put(
        task("users", "instances/core-2-0000000012"),
        instance("core-2", 102, "standby"),
    );
    tree.put(
        task("users", "instances/core-1-0000000011"),
        instance("core-1", 101, "running"),
    );
    tree.put::<Assignment>(task("users", "assignment"), like(json!({})));
    tree.put::<Progress>(
        task("users", "progress"),
        like(json!({"updated": "2026-11-22T02:59:59Z"})),
    );
    tree.put(
        task("audit", "instances/core-1-0000000002"),
        instance("core-1", 101, "standby"),
    );
    tree.put::<Assignment>(
        task("audit", "assignment"),
        like(json!({"cores": ["core-3", "core-1"]})),
    );
    let critical = json!({"severity": "critical", "subject": "orders/replica", "rule": "failed",
        "text": "failed; see towpath describe orders", "acknowledged_by": null, "acknowledged": null});
    tree.put::<Alert>(at("alerts/orders-replica-failed"), like(critical));
    tree.put::<Alert>(
        at("alerts/audit-lag"),
        like(json!({"subject": "audit/replica"})),
    );
    let resolved = json!({"state": "resolved", "resolved": "2026-11-22T02:50:00Z", "subject": "users/replica"});
    tree.put::<Alert>(at("alerts/users-lag"), like(resolved));
    tree.put::<DataSource>(at("datasources/primary"), like(json!({})));
    tree.put::<Probe>(at("probes/primary"), like(json!({})));
    tree.put_data(path::drained().listed("core-8").unwrap(), b"{}");
    // What a deleted pipeline may leave: no pipeline.
    tree.put_data(at("pipelines/gone/commands"), b"");
    tree
}

pub(crate) fn view() -> View {
    View::new(&tree(), now())
}

/// Two events of a pipeline's history.
pub(crate) fn events() -> Vec<HistoryEvent> {
    let applied = json!({"what": "applied", "text": "revision 3", "by": "anna@node1", "task": null,
        "at": "2026-11-22T02:30:00Z"});
    vec![like(applied), like(json!({}))]
}
