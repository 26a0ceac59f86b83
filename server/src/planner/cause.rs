//! Why a task has other Cores than before, and why it has none.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use towpath_protocol::tree::MemberId;

use super::view::{Assigned, ClusterView, TaskView};

/// Why `assigned` is another than before, from what became of the Cores that it doesn't have any
/// more.
pub(super) fn cause(
    view: &ClusterView,
    task: &TaskView,
    assigned: &Assigned,
    grace: Duration,
) -> String {
    let Some(former) = &task.assigned else {
        return "new pipeline".to_owned();
    };
    if let Some(moving) = &task.moving
        && assigned.cores.contains(&moving.to)
        && former.cores.first() != Some(&moving.to)
    {
        return if assigned.cores.first() == Some(&moving.to) {
            format!("moved by {}", moving.by)
        } else {
            format!(
                "{} gets ready for the move that {} asked for",
                moving.to, moving.by
            )
        };
    }
    let lost: Vec<String> = former
        .cores
        .iter()
        .filter(|core| !assigned.cores.contains(core))
        .map(|core| fate(view, task, core, grace))
        .collect();
    if !lost.is_empty() {
        return lost.join(", ");
    }
    let joined: Vec<&str> = assigned
        .cores
        .iter()
        .filter(|core| !former.cores.contains(core))
        .map(MemberId::as_str)
        .collect();
    if !joined.is_empty() {
        let verb = if joined.len() == 1 { "stands" } else { "stand" };
        return format!("{} {verb} by", joined.join(", "));
    }
    if assigned.cores != former.cores
        && let Some(first) = assigned.cores.first()
    {
        return format!("{first} runs it");
    }
    if assigned.server_id != former.server_id {
        return "its server_id changed".to_owned();
    }
    "its spec changed".to_owned()
}

/// What became of a Core that the task had.
fn fate(view: &ClusterView, task: &TaskView, core: &MemberId, grace: Duration) -> String {
    if view.drained.contains(core) {
        return format!("{core} is drained");
    }
    if let Some(reason) = task.distrusted.get(core) {
        return format!("{core}: {reason}");
    }
    match view.cores.get(core) {
        None if view.away.get(core).is_none_or(|away| *away >= grace) => format!("{core} left"),
        None => format!("{core} is away"),
        Some(live) => match missing_labels(task, &live.labels).as_slice() {
            [] => format!("{core} had more than others"),
            missing => format!("{core} has no {}", missing.join(", ")),
        },
    }
}

/// The labels that a task asks for and that aren't there, as `key=value`.
fn missing_labels(task: &TaskView, labels: &BTreeMap<String, String>) -> Vec<String> {
    task.placement
        .labels
        .iter()
        .filter(|(key, value)| labels.get(*key) != Some(*value))
        .map(|(key, value)| format!("{key}={value}"))
        .collect()
}

/// Whether a Core has the labels that a task asks for.
pub(super) fn has_labels(view: &ClusterView, task: &TaskView, core: &MemberId) -> bool {
    view.cores
        .get(core)
        .is_some_and(|core| missing_labels(task, &core.labels).is_empty())
}

/// Why no Core may have a task.
pub(super) fn nobody(view: &ClusterView, task: &TaskView) -> String {
    if view.cores.is_empty() {
        return "no Core is there; start one with towpath core".to_owned();
    }
    let fitting: Vec<&MemberId> = view
        .cores
        .keys()
        .filter(|core| has_labels(view, task, core))
        .collect();
    if !fitting.is_empty() {
        let kept = |core: &&MemberId| match task.distrusted.get(*core) {
            Some(reason) if !view.drained.contains(*core) => format!("{core}: {reason}"),
            _ => format!("{core} is drained"),
        };
        let reasons: Vec<String> = fitting.iter().map(kept).collect();
        return format!(
            "no Core may run it: {}; towpath undrain one, or start another",
            reasons.join(", ")
        );
    }
    let asked: Vec<String> = missing_labels(task, &BTreeMap::new());
    let nobodys: BTreeSet<&String> = asked
        .iter()
        .filter(|label| {
            !view.cores.values().any(|core| {
                core.labels
                    .iter()
                    .any(|(key, value)| format!("{key}={value}") == **label)
            })
        })
        .collect();
    if nobodys.is_empty() {
        return format!(
            "no live Core has all of {}; start one that has, or change placement.labels",
            asked.join(", ")
        );
    }
    let nobodys: Vec<&str> = nobodys.into_iter().map(String::as_str).collect();
    format!(
        "no live Core has {}; start one that has, or change placement.labels",
        nobodys.join(", ")
    )
}
