//! What the tree wants of this Core, read from it without a doubt or a wait.
//!
//! Pure: it looks at nodes and says which tasks are this Core's business, and what is to be done
//! about each. It never connects, and never remembers.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use towpath_coordination::Nodes;
use towpath_protocol::spec::PipelineName;
use towpath_protocol::tree::record::{
    AppliedSpec, Assignment, DataSource, Desired, DesiredState, Failure, Instance, InstanceState,
    LimitsConfig,
};
use towpath_protocol::tree::{
    ConfigName, DataSourceName, MemberId, NodePath, Sequenced, TaskName, path,
};

/// A task of a pipeline.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskKey {
    /// The pipeline.
    pub pipeline: PipelineName,
    /// The task, as [`towpath_protocol::spec::TaskRole`] names it.
    pub task: TaskName,
}

impl fmt::Display for TaskKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.pipeline, self.task)
    }
}

/// All that the tree says of a task which is assigned to this Core.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Wanted {
    pub(super) spec: AppliedSpec,
    pub(super) desired: DesiredState,
    pub(super) assignment: Assignment,
    /// Why it stopped by itself.
    pub(super) failure: Option<Failure>,
    /// Who stands for it, lowest node first.
    pub(super) instances: Vec<(MemberId, InstanceState)>,
    /// Where named databases are.
    pub(super) datasources: BTreeMap<DataSourceName, String>,
    /// Bounds that hold from now on.
    pub(super) limits: LimitsConfig,
}

/// What is to be done about a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Aim {
    /// Stand for it, and move data when it's our turn.
    Run,
    /// Stand for it, and hold the place.
    Pause,
    /// Not stand for it: nobody does.
    Stop,
    /// Not stand for it: it failed, and has not been mended.
    Failed,
}

impl Wanted {
    /// What is to be done.
    pub(super) fn aim(&self) -> Aim {
        if self.is_failed() && self.desired != DesiredState::Stopped {
            return Aim::Failed;
        }
        match self.desired {
            DesiredState::Running => Aim::Run,
            DesiredState::Paused => Aim::Pause,
            DesiredState::Stopped | DesiredState::Other(_) => Aim::Stop,
        }
    }

    /// Whether the spec that is in force has failed.
    fn is_failed(&self) -> bool {
        let revision = self.spec.revision;
        self.failure
            .as_ref()
            .is_some_and(|failure| failure.spec_revision == revision)
    }

    /// Whether `core` is the one that is to run it.
    pub(super) fn prefers(&self, core: &MemberId) -> bool {
        self.assignment.cores.first() == Some(core)
    }

    /// Whether `core`, which runs it, hands it over: the spec asks for that, and the preferred one
    /// stands by.
    pub(super) fn hands_over(&self, core: &MemberId) -> bool {
        let Some(preferred) = self.assignment.cores.first() else {
            return false;
        };
        let ready = |(member, state): &(MemberId, InstanceState)| {
            member == preferred && *state == InstanceState::Standby
        };
        self.assignment.fail_back && preferred != core && self.instances.iter().any(ready)
    }

    /// Whether another one than `core` could take over at once.
    pub(super) fn has_standby(&self, core: &MemberId) -> bool {
        let stands_by = |(member, state): &(MemberId, InstanceState)| {
            member != core && *state == InstanceState::Standby
        };
        self.instances.iter().any(stands_by)
    }
}

/// Whether a Core looks at a node: not at what only people and Servers read, which is most of what
/// changes.
pub(super) fn concerns(node: &NodePath) -> bool {
    let steps: Vec<&str> = match node.below(&path::pipelines()) {
        Some(steps) => steps.collect(),
        None => return true,
    };
    !matches!(
        &*steps,
        [_, "commands" | "status" | "journal" | "history", ..]
            | [_, "spec", "history", ..]
            | [_, "tasks", _, "progress" | "commit" | "epoch", ..]
    )
}

/// The subtrees that a Core looks at.
#[derive(Clone, Copy)]
pub(super) struct Trees<'a> {
    pub(super) pipelines: &'a Nodes,
    pub(super) datasources: &'a Nodes,
    pub(super) config: &'a Nodes,
}

/// The tasks of a Core. Of a desired state that only a newer program knows, the one `before` goes
/// on.
pub(super) fn tasks(
    trees: Trees<'_>,
    core: &MemberId,
    before: &BTreeMap<TaskKey, Arc<Wanted>>,
) -> BTreeMap<TaskKey, Arc<Wanted>> {
    let datasources = datasources(trees.datasources);
    let nodes = trees.pipelines;
    let mut out = BTreeMap::new();
    let top = path::pipelines();
    for name in nodes.children(&top) {
        let Ok(pipeline) = name.parse::<PipelineName>() else {
            continue;
        };
        let Some(spec) = nodes.record::<AppliedSpec>(&path::spec(&pipeline)) else {
            continue;
        };
        let desired = nodes
            .record::<Desired>(&path::desired(&pipeline))
            .map_or(DesiredState::Stopped, |desired| desired.state);
        let limits: LimitsConfig = ConfigName::new(pipeline.as_str())
            .ok()
            .and_then(|name| trees.config.record(&path::limits_config(&name)))
            .unwrap_or_default();
        let tasks = path::tasks(&pipeline);
        for name in nodes.children(&tasks) {
            let Ok(task) = name.parse::<TaskName>() else {
                continue;
            };
            let Some(assignment) = nodes.record::<Assignment>(&path::assignment(&pipeline, &task))
            else {
                continue;
            };
            if !assignment.cores.contains(core) {
                continue;
            }
            let key = TaskKey {
                pipeline: pipeline.clone(),
                task,
            };
            let desired = match (&desired, before.get(&key)) {
                (DesiredState::Other(_), Some(before)) => before.desired.clone(),
                (desired, _) => desired.clone(),
            };
            let wanted = Wanted {
                spec: spec.clone(),
                desired,
                assignment,
                failure: nodes.record(&path::failure(&key.pipeline, &key.task)),
                instances: instances(nodes, &path::instances(&key.pipeline, &key.task)),
                datasources: datasources.clone(),
                limits: limits.clone(),
            };
            out.insert(key, Arc::new(wanted));
        }
    }
    out
}

fn instances(nodes: &Nodes, parent: &NodePath) -> Vec<(MemberId, InstanceState)> {
    Sequenced::sorted(nodes.children(parent))
        .iter()
        .filter_map(|node| {
            let instance: Instance = nodes.record(&parent.listed(&node.name)?)?;
            Some((instance.member, instance.state))
        })
        .collect()
}

fn datasources(nodes: &Nodes) -> BTreeMap<DataSourceName, String> {
    let top = path::datasources();
    nodes
        .children(&top)
        .filter_map(|name| {
            let name: DataSourceName = name.parse().ok()?;
            let source: DataSource = nodes.record(&path::datasource(&name))?;
            Some((name, source.address))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use towpath_protocol::tree::record::Record as _;

    fn wanted() -> Wanted {
        Wanted {
            spec: serde_json::from_str(AppliedSpec::EXAMPLE).unwrap(),
            desired: DesiredState::Running,
            assignment: serde_json::from_str(Assignment::EXAMPLE).unwrap(),
            failure: None,
            instances: Vec::new(),
            datasources: BTreeMap::new(),
            limits: LimitsConfig::default(),
        }
    }

    #[test]
    fn a_failure_holds_until_it_is_gone_or_the_spec_is_another() {
        let mut wanted = wanted();
        assert_eq!(wanted.aim(), Aim::Run);
        let failure: Failure = serde_json::from_str(Failure::EXAMPLE).unwrap();
        assert_eq!(failure.spec_revision, wanted.spec.revision);
        wanted.failure = Some(failure);
        assert_eq!(wanted.aim(), Aim::Failed);
        wanted.desired = DesiredState::Paused;
        assert_eq!(wanted.aim(), Aim::Failed);
        wanted.desired = DesiredState::Stopped;
        assert_eq!(wanted.aim(), Aim::Stop);
        wanted.desired = DesiredState::Running;
        wanted.spec.revision += 1;
        assert_eq!(wanted.aim(), Aim::Run);
    }

    #[test]
    fn work_goes_back_only_if_asked_and_to_one_that_stands_by() {
        let mut wanted = wanted();
        let (first, second) = ("core-1".parse().unwrap(), "core-2".parse().unwrap());
        let stands = |state| vec![(MemberId::new("core-1").unwrap(), state)];
        wanted.instances = stands(InstanceState::Standby);
        assert!(wanted.prefers(&first) && !wanted.prefers(&second));
        assert!(!wanted.hands_over(&second));
        wanted.assignment.fail_back = true;
        assert!(wanted.hands_over(&second) && !wanted.hands_over(&first));
        wanted.instances = stands(InstanceState::Provisioning);
        assert!(!wanted.hands_over(&second));
    }

    #[test]
    fn a_core_looks_at_what_it_decides_by() {
        let (pipeline, task) = ("status".parse().unwrap(), "commit".parse().unwrap());
        let core = "core-1".parse().unwrap();
        for node in [
            path::pipelines(),
            path::pipeline(&pipeline),
            path::spec(&pipeline),
            path::desired(&pipeline),
            path::tasks(&pipeline),
            path::task(&pipeline, &task),
            path::assignment(&pipeline, &task),
            path::failure(&pipeline, &task),
            path::instances(&pipeline, &task),
            path::instance(&pipeline, &task, &core),
        ] {
            assert!(concerns(&node), "{node}");
        }
        for node in [
            path::spec_revision(&pipeline, 3),
            path::status(&pipeline),
            path::journal(&pipeline),
            path::command(&pipeline),
            path::history_event(&pipeline),
            path::progress(&pipeline, &task),
            path::commit(&pipeline, &task),
            path::epoch(&pipeline, &task),
        ] {
            assert!(!concerns(&node), "{node}");
        }
    }
}
