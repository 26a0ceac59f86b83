//! From the nodes of the tree to what the planner and the life rules decide on.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use towpath_coordination::Nodes;
use towpath_protocol::spec::{PipelineName, PipelineSpec, PlacementSpec, RestartSpec};
use towpath_protocol::tree::record::{
    AppliedSpec, Assignment, Desired, DesiredState, Failure, Instance, InstanceState, Journal,
    Member, Operation, PipelineStatus, Progress, Record,
};
use towpath_protocol::tree::{MemberId, NodePath, Sequenced, TaskName, Versioned, path};

use crate::life::liveness::Sign;
use crate::planner::{CoreView, TaskId};

/// A record with its node's version.
#[derive(Clone, Debug)]
pub(super) struct Seen<T> {
    pub(super) value: Versioned<T>,
    pub(super) version: i32,
}

fn seen<T: Record>(nodes: &Nodes, path: &NodePath) -> Option<Seen<T>> {
    let node = nodes.get(path)?;
    Some(Seen {
        value: Versioned::from_json(&node.data).ok()?,
        version: node.stat.version,
    })
}

/// What of a spec the leader needs.
#[derive(Clone, Debug)]
pub(super) struct Parsed {
    pub(super) placement: PlacementSpec,
    pub(super) restart: RestartSpec,
    pub(super) server_id: Option<u32>,
    pub(super) tasks: Vec<TaskName>,
    pub(super) problem: Option<String>,
}

impl Parsed {
    fn of(name: &PipelineName, text: &str) -> Self {
        match PipelineSpec::parse_without_secrets(text, name.as_str()) {
            Ok(spec) => Self {
                tasks: spec.tasks().into_iter().map(|(name, _)| name).collect(),
                placement: spec.placement,
                restart: spec.restart,
                server_id: spec.source.server_id,
                problem: None,
            },
            Err(error) => Self {
                placement: PlacementSpec::default(),
                restart: RestartSpec::default(),
                server_id: None,
                tasks: Vec::new(),
                problem: Some(error.to_string()),
            },
        }
    }
}

/// Specs as they were parsed, by the zxid of their node.
pub(super) type Specs = BTreeMap<PipelineName, (i64, Parsed)>;

/// A pipeline's nodes.
#[derive(Clone, Debug)]
pub(super) struct Pipeline {
    pub(super) spec: Seen<AppliedSpec>,
    pub(super) parsed: Parsed,
    pub(super) desired: Seen<Desired>,
    pub(super) journal: Option<Seen<Journal>>,
    pub(super) status: Option<Seen<PipelineStatus>>,
    pub(super) texts: BTreeMap<u64, String>,
    pub(super) tasks: BTreeMap<TaskName, Task>,
    /// Assignments of tasks that an earlier revision had, with their nodes' versions.
    pub(super) former: BTreeMap<TaskName, i32>,
    /// The names of its events, oldest first.
    pub(super) history: Vec<NodePath>,
}

/// A task's nodes.
#[derive(Clone, Debug)]
pub(super) struct Task {
    pub(super) assignment: Option<Seen<Assignment>>,
    pub(super) instances: Vec<Instance>,
    pub(super) progress: Option<Progress>,
    pub(super) heartbeat: Option<i64>,
    pub(super) failure: Option<Seen<Failure>>,
}

/// The whole tree, as far as it matters here.
#[derive(Clone, Debug, Default)]
pub(super) struct View {
    pub(super) cores: BTreeMap<MemberId, CoreView>,
    pub(super) drained: BTreeSet<MemberId>,
    pub(super) pipelines: BTreeMap<PipelineName, Pipeline>,
    /// Pipelines' names that hold commands at most.
    pub(super) remains: BTreeSet<PipelineName>,
    pub(super) history: Vec<NodePath>,
}

impl View {
    pub(super) fn read(nodes: &Nodes, specs: &mut Specs) -> Self {
        let mut view = Self::default();
        let cores = path::members(path::MemberKind::Core);
        for name in nodes.children(&cores) {
            if let Ok(id) = name.parse::<MemberId>()
                && let Some(node) = cores.listed(name)
                && let Some(member) = nodes.record::<Member>(&node)
            {
                let core = CoreView {
                    host: member.host,
                    labels: member.labels,
                };
                view.cores.insert(id, core);
            }
        }
        let drained = path::drained();
        let ids = nodes.children(&drained).filter_map(|id| id.parse().ok());
        view.drained.extend(ids);
        let pipelines = path::pipelines();
        for name in nodes.children(&pipelines) {
            let Ok(name) = name.parse::<PipelineName>() else {
                continue;
            };
            match Pipeline::read(nodes, &name, specs) {
                Some(pipeline) => drop(view.pipelines.insert(name, pipeline)),
                None => drop(view.remains.insert(name)),
            }
        }
        specs.retain(|name, _| view.pipelines.contains_key(name));
        view.history = listed(nodes, &path::cluster_history());
        view
    }
}

/// The sequential nodes below one, oldest first.
fn listed(nodes: &Nodes, parent: &NodePath) -> Vec<NodePath> {
    Sequenced::sorted(nodes.children(parent))
        .iter()
        .filter_map(|node| parent.listed(&node.name))
        .collect()
}

impl Pipeline {
    fn read(nodes: &Nodes, name: &PipelineName, specs: &mut Specs) -> Option<Self> {
        let spec_path = path::spec(name);
        let zxid = nodes.get(&spec_path)?.stat.modified_zxid;
        let spec = seen::<AppliedSpec>(nodes, &spec_path)?;
        let desired = seen::<Desired>(nodes, &path::desired(name))?;
        let parsed = match specs.get(name) {
            Some((known, parsed)) if *known == zxid => parsed.clone(),
            _ => {
                let parsed = Parsed::of(name, &spec.value.record.text);
                specs.insert(name.clone(), (zxid, parsed.clone()));
                parsed
            }
        };
        let status = seen::<PipelineStatus>(nodes, &path::status(name));
        let good = status
            .as_ref()
            .and_then(|status| status.value.record.good_revision);
        let journal = seen::<Journal>(nodes, &path::journal(name));
        let mut texts = BTreeMap::new();
        let target = match journal
            .as_ref()
            .map(|journal| &journal.value.record.operation)
        {
            Some(Some(Operation::Rollback { to, .. })) => Some(*to),
            _ => None,
        };
        for revision in [good, target].into_iter().flatten() {
            let node = path::spec_revision(name, revision);
            if let Some(applied) = nodes.record::<AppliedSpec>(&node) {
                texts.insert(revision, applied.text);
            }
        }
        let mut names: BTreeSet<TaskName> = parsed.tasks.iter().cloned().collect();
        if parsed.problem.is_some() {
            let parent = path::tasks(name);
            names.extend(nodes.children(&parent).filter_map(|task| task.parse().ok()));
        }
        let is_former = |task: &TaskName| !names.contains(task);
        let former = nodes
            .children(&path::tasks(name))
            .filter_map(|task| task.parse().ok())
            .filter(is_former)
            .filter_map(|task| {
                let assignment = seen::<Assignment>(nodes, &path::assignment(name, &task))?;
                Some((task, assignment.version))
            })
            .collect();
        let tasks = names
            .into_iter()
            .map(|task| {
                let read = Task::read(nodes, name, &task);
                (task, read)
            })
            .collect();
        Some(Self {
            spec,
            parsed,
            desired,
            journal,
            status,
            texts,
            tasks,
            former,
            history: listed(nodes, &path::history(name)),
        })
    }

    /// Whether its tasks are to have Cores: not if it's stopped, but while its runs are stopped
    /// for an update.
    pub(super) fn wanted(&self) -> bool {
        let journal = self.journal.as_ref().map(|journal| &journal.value.record);
        let between = journal.and_then(Journal::after_the_stop);
        let state = between.unwrap_or(&self.desired.value.record.state);
        matches!(state, DesiredState::Running | DesiredState::Paused)
            && self.parsed.problem.is_none()
    }

    /// Whether a newer program asked for something that this one doesn't know.
    pub(super) fn is_strange(&self) -> bool {
        matches!(self.desired.value.record.state, DesiredState::Other(_))
    }
}

impl Task {
    fn read(nodes: &Nodes, pipeline: &PipelineName, task: &TaskName) -> Self {
        let progress_path = path::progress(pipeline, task);
        let instances = listed(nodes, &path::instances(pipeline, task))
            .iter()
            .filter_map(|node| nodes.record::<Instance>(node))
            .collect();
        Self {
            assignment: seen(nodes, &path::assignment(pipeline, task)),
            instances,
            progress: nodes.record(&progress_path),
            heartbeat: nodes
                .get(&progress_path)
                .map(|node| node.stat.modified_zxid),
            failure: seen(nodes, &path::failure(pipeline, task)),
        }
    }

    /// What is seen of its run, if it runs.
    pub(super) fn sign(&self) -> Option<Sign> {
        let runner = self.instances.first()?;
        if runner.state != InstanceState::Running {
            return None;
        }
        let progress = self
            .progress
            .as_ref()
            .filter(|progress| progress.core == runner.member);
        Some(Sign {
            core: runner.member.clone(),
            heartbeat: progress.and(self.heartbeat),
            place: progress.map_or_else(String::new, |progress| {
                format!(
                    "{} {}:{}",
                    progress.gtid_set, progress.file, progress.position
                )
            }),
            receiving: progress.is_some_and(|progress| progress.bytes_per_second > 0),
        })
    }

    /// The Cores that are ready to take over, or run.
    pub(super) fn ready(&self) -> impl Iterator<Item = &MemberId> {
        self.instances
            .iter()
            .filter(|instance| {
                matches!(
                    instance.state,
                    InstanceState::Standby
                        | InstanceState::TakingOver
                        | InstanceState::Running
                        | InstanceState::Paused
                )
            })
            .map(|instance| &instance.member)
    }
}

/// Since when Cores are away, by the leader's own clock.
#[derive(Clone, Debug, Default)]
pub(super) struct Absences(BTreeMap<MemberId, Duration>);

impl Absences {
    /// Takes in who is there now, of those who were, and those who are named in assignments.
    pub(super) fn look(&mut self, view: &View, now: Duration) -> BTreeMap<MemberId, Duration> {
        let mut named = BTreeSet::new();
        for pipeline in view.pipelines.values() {
            for task in pipeline.tasks.values() {
                if let Some(assignment) = &task.assignment {
                    named.extend(assignment.value.record.cores.iter().cloned());
                }
            }
        }
        self.0
            .retain(|core, _| named.contains(core) && !view.cores.contains_key(core));
        for core in named {
            if !view.cores.contains_key(&core) {
                self.0.entry(core).or_insert(now);
            }
        }
        self.0
            .iter()
            .map(|(core, since)| (core.clone(), now.saturating_sub(*since)))
            .collect()
    }
}

/// The id of a task.
pub(super) fn id(pipeline: &PipelineName, task: &TaskName) -> TaskId {
    TaskId {
        pipeline: pipeline.clone(),
        task: task.clone(),
    }
}
