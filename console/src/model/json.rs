//! A [`View`] for programs. Other programs rely on these shapes: names are only added.
//!
//! Times are RFC 3339, what isn't known is null.

use serde_json::{Value, json};
use towpath_protocol::tree::record::{
    Alert, AlertState, DataSource, HistoryEvent, Instance, Member, Probe,
};
use towpath_protocol::tree::{AlertId, DataSourceName, MemberId};

use super::{PipelineView, TaskView, View, desired_word, severity_word, task_word};
use crate::mask;

/// `status --json`: `pipelines`, worst first, `alerts` that fire, and `troubles` of the cluster.
pub(crate) fn status(view: &View, only: Option<&str>) -> Value {
    let pipelines = view.worst_first().into_iter();
    let pipelines =
        pipelines.filter(|pipeline| only.is_none_or(|name| name == pipeline.name.as_str()));
    let alerts = view
        .firing()
        .into_iter()
        .filter(|(_, alert)| only.is_none_or(|name| alert.subject.split('/').next() == Some(name)));
    json!({
        "time": view.now,
        "pipelines": pipelines.map(pipeline).collect::<Vec<_>>(),
        "alerts": alerts.map(|(id, record)| alert(id, record)).collect::<Vec<_>>(),
        "troubles": view.troubles(),
        "leader": view.leader().map(MemberId::as_str),
    })
}

/// A pipeline.
pub(crate) fn pipeline(pipeline: &PipelineView) -> Value {
    let status = pipeline.status.as_ref();
    let spec = pipeline.spec.as_ref();
    json!({
        "name": pipeline.name.as_str(),
        "state": pipeline.state(),
        "since": status.map(|status| status.since),
        "cause": status.map(|status| &status.cause),
        "desired": pipeline.desired.as_ref().map(|desired| desired_word(&desired.state)),
        "revision": spec.map(|spec| spec.revision),
        "lag_seconds": seconds(pipeline.lag_ms()),
        "gtid_set": pipeline.gtid_set(),
        "rows_per_second": pipeline.rows_per_second(),
        "tasks": pipeline.tasks.iter().map(task).collect::<Vec<_>>(),
        "alerts": pipeline.firing.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(),
    })
}

/// A task.
pub(crate) fn task(task: &TaskView) -> Value {
    let progress = task.progress.as_ref();
    let standby: Vec<_> = task.standby().map(instance).collect();
    let instances: Vec<_> = task.instances.iter().map(instance).collect();
    let assignment = task.assignment.as_ref();
    json!({
        "name": task.name.as_str(),
        "running": task.running().map(instance),
        "standby": standby,
        "instances": instances,
        "assigned": assignment.map(|plan| plan.cores.iter().map(MemberId::as_str).collect::<Vec<_>>()),
        "server_id": assignment.map(|plan| plan.server_id),
        "state": progress.map(|progress| task_word(&progress.state)),
        "epoch": progress.map(|progress| progress.epoch),
        "gtid_set": task.gtid_set(),
        "file": progress.map(|progress| &progress.file),
        "position": progress.map(|progress| progress.position),
        "lag_seconds": seconds(task.lag_ms()),
        "rows_per_second": progress.map(|progress| progress.rows_per_second),
        "bytes_per_second": progress.map(|progress| progress.bytes_per_second),
        "snapshot": progress.and_then(|progress| progress.snapshot.as_ref()),
        "updated": progress.map(|progress| progress.updated),
        "failure": task.failure.as_ref().map(|failure| json!({
            "code": failure.code,
            "text": failure.text,
            "next": failure.next,
            "transient": failure.transient,
            "core": failure.core.as_str(),
            "at": failure.at,
        })),
    })
}

fn instance(instance: &Instance) -> Value {
    json!({
        "core": instance.member.as_str(),
        "pid": instance.pid,
        "host": instance.host,
        "state": instance.state.word(),
        "since": instance.since,
    })
}

/// `describe PIPELINE --json`: the pipeline, its desired state, its spec, what happened to it.
pub(crate) fn described(view: &PipelineView, history: &[HistoryEvent]) -> Value {
    let mut value = pipeline(view);
    if let Value::Object(fields) = &mut value {
        let spec = view.spec.as_ref().map(|spec| {
            json!({
                "uuid": spec.uuid,
                "revision": spec.revision,
                "applied": spec.applied,
                "by": spec.by,
                "text": mask::secrets(&spec.text),
            })
        });
        let good = view.status.as_ref().and_then(|status| status.good_revision);
        fields.insert("spec".to_owned(), json!(spec));
        fields.insert("good_revision".to_owned(), json!(good));
        fields.insert("wanted".to_owned(), json!(view.desired));
        fields.insert("history".to_owned(), json!(history));
    }
    value
}

/// A member; Servers have `client` and `raft_role`, Cores `drained`.
pub(crate) fn member(id: &MemberId, member: &Member) -> Value {
    json!({
        "id": id.as_str(),
        "host": member.host,
        "pid": member.pid,
        "address": member.address,
        "release": member.release,
        "labels": member.labels,
        "started": member.started,
        "load": member.load,
    })
}

/// `get cores --json`.
pub(crate) fn cores(view: &View) -> Value {
    let cores = view.cores.iter().map(|(id, record)| core(view, id, record));
    cores.collect()
}

/// A Core.
pub(crate) fn core(view: &View, id: &MemberId, record: &Member) -> Value {
    let mut value = member(id, record);
    if let Value::Object(fields) = &mut value {
        let drain = view.drained.get(id);
        fields.insert("drained".to_owned(), json!(drain));
        let tasks = view.tasks_of(id);
        fields.insert("running".to_owned(), json!(tasks.running));
        fields.insert("standby".to_owned(), json!(tasks.standby));
    }
    value
}

/// `get servers --json`.
pub(crate) fn servers(view: &View) -> Value {
    let servers = view.servers.iter().map(|(id, record)| server(id, record));
    servers.collect()
}

/// A Server.
pub(crate) fn server(id: &MemberId, record: &Member) -> Value {
    let mut value = member(id, record);
    if let Value::Object(fields) = &mut value {
        fields.insert("client".to_owned(), json!(record.client));
        fields.insert("raft_role".to_owned(), json!(record.raft_role));
    }
    value
}

/// `get monitors --json`.
pub(crate) fn monitors(view: &View) -> Value {
    let monitors = view.monitors.iter().map(|(id, record)| member(id, record));
    monitors.collect()
}

/// `get datasources --json`.
pub(crate) fn sources(view: &View) -> Value {
    let sources = view.sources.iter();
    let sources = sources.map(|(name, (record, probe))| source(name, record, probe.as_ref()));
    sources.collect()
}

/// A named database. What a probe of another address found says nothing of this one.
pub(crate) fn source(name: &DataSourceName, source: &DataSource, probe: Option<&Probe>) -> Value {
    let probe = probe.filter(|probe| probe.address == source.address);
    json!({
        "name": name.as_str(),
        "address": source.address,
        "since": source.since,
        "by": source.by,
        "reason": source.reason,
        "answers": probe.map(|probe| probe.answers),
        "answer": probe.map(|probe| &probe.text),
        "answer_since": probe.map(|probe| probe.since),
    })
}

/// `get tasks --json`: as in `status`, each with its `pipeline`.
pub(crate) fn tasks(view: &View) -> Value {
    let mut tasks = Vec::new();
    for pipeline in &view.pipelines {
        for one in &pipeline.tasks {
            let mut value = task(one);
            if let Value::Object(fields) = &mut value {
                fields.insert("pipeline".to_owned(), json!(pipeline.name.as_str()));
            }
            tasks.push(value);
        }
    }
    Value::Array(tasks)
}

/// `alerts --json`, in the order of the list for people.
pub(crate) fn alerts(view: &View, all: bool) -> Value {
    let alerts = view.alerts(all).into_iter();
    alerts.map(|(id, record)| alert(id, record)).collect()
}

/// An alert.
pub(crate) fn alert(id: &AlertId, alert: &Alert) -> Value {
    let state = match &alert.state {
        AlertState::Firing => "firing",
        AlertState::Resolved => "resolved",
        AlertState::Other(word) => word,
    };
    json!({
        "id": id.as_str(),
        "rule": alert.rule,
        "code": alert.code,
        "severity": severity_word(&alert.severity),
        "state": state,
        "subject": alert.subject,
        "text": alert.text,
        "since": alert.since,
        "resolved": alert.resolved,
        "acknowledged_by": alert.acknowledged_by,
        "acknowledged": alert.acknowledged,
    })
}

fn seconds(ms: Option<u64>) -> Option<f64> {
    ms.map(|ms| ms as f64 / 1000.0)
}
