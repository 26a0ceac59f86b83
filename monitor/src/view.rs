//! What the rules look at: the tree, read into values once per pass.
//!
//! A node that can't be read counts as absent. Nothing here knows a clock or does I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use towpath_coordination::Nodes;
use towpath_protocol::spec::{AlertReading, AlertSpec, PipelineName};
use towpath_protocol::tree::path::{self, MemberKind};
use towpath_protocol::tree::record::{
    Alert, AppliedSpec, Assignment, Cluster, Desired, DesiredState, EpochHolder, Failure, Instance,
    Member, PipelineStatus, Probe, Progress, Record, Seen,
};
use towpath_protocol::tree::{AlertId, DataSourceName, MemberId, NodePath, Sequenced, TaskName};

/// The environment of the Monitor, from which hooks get their secrets.
pub type Environment = dyn Fn(&str) -> Option<String> + Send + Sync;

/// The tree as of one moment.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// The directory's id; empty if it has none yet.
    pub cluster: String,
    /// The Servers that are there.
    pub servers: BTreeMap<MemberId, Member>,
    /// The Cores that are there.
    pub cores: BTreeSet<MemberId>,
    /// The Cores that are to have no work.
    pub drained: BTreeSet<MemberId>,
    /// The pipelines.
    pub pipelines: BTreeMap<PipelineName, PipelineView>,
    /// What the Servers know of data sources.
    pub probes: BTreeMap<DataSourceName, Probe>,
    /// The alerts that there are.
    pub alerts: BTreeMap<AlertId, Alert>,
    /// What the Monitors remember.
    pub seen: Seen,
}

/// A pipeline.
#[derive(Clone, Debug, Default)]
pub struct PipelineView {
    /// What it is to do.
    pub desired: Option<Desired>,
    /// zxid of the last change of that.
    pub desired_zxid: i64,
    /// How the Servers see it.
    pub status: Option<PipelineStatus>,
    /// Its bounds and hooks.
    pub alert: Arc<AlertReading>,
    /// Its tasks.
    pub tasks: BTreeMap<TaskName, TaskView>,
}

impl PipelineView {
    /// Whether it is to move data.
    pub fn to_run(&self) -> bool {
        self.desired
            .as_ref()
            .is_some_and(|desired| desired.state == DesiredState::Running)
    }
}

/// A task.
#[derive(Clone, Debug, Default)]
pub struct TaskView {
    /// Who may run it.
    pub assignment: Option<Assignment>,
    /// Who stands for it, the one who runs first.
    pub instances: Vec<Instance>,
    /// How far it is.
    pub progress: Option<Progress>,
    /// zxid of the last change of that.
    pub progress_zxid: i64,
    /// Why it stopped.
    pub failure: Option<Failure>,
    /// Who won it last, and the epoch.
    pub epoch: Option<(u64, EpochHolder)>,
}

/// Alert sections, read once per version of a spec.
#[derive(Debug, Default)]
pub struct SpecCache(BTreeMap<PipelineName, (i64, Arc<AlertReading>)>);

impl SpecCache {
    fn reading(
        &mut self,
        nodes: &Nodes,
        name: &PipelineName,
        environment: &Environment,
    ) -> Arc<AlertReading> {
        let node = path::spec(name);
        let Some(zxid) = nodes.get(&node).map(|node| node.stat.modified_zxid) else {
            self.0.remove(name);
            return Arc::default();
        };
        if let Some((of, reading)) = self.0.get(name)
            && *of == zxid
        {
            return reading.clone();
        }
        let reading = nodes.record::<AppliedSpec>(&node).map(|spec| {
            let file = format!("{name} (revision {})", spec.revision);
            AlertSpec::read(&spec.text, Path::new(&file), environment)
        });
        let reading = Arc::new(reading.unwrap_or_default());
        self.0.insert(name.clone(), (zxid, reading.clone()));
        reading
    }
}

impl View {
    /// Reads the tree.
    pub fn read(nodes: &Nodes, specs: &mut SpecCache, environment: &Environment) -> Self {
        let pipelines: BTreeMap<_, _> = names::<PipelineName>(nodes, &path::pipelines())
            .map(|name| {
                let view = pipeline(nodes, &name, specs.reading(nodes, &name, environment));
                (name, view)
            })
            .collect();
        specs.0.retain(|name, _| pipelines.contains_key(name));
        let cluster = nodes.record::<Cluster>(&path::cluster());
        Self {
            cluster: cluster.map_or_else(String::new, |cluster| cluster.id.to_string()),
            servers: records(nodes, &path::members(MemberKind::Server)),
            cores: names(nodes, &path::members(MemberKind::Core)).collect(),
            drained: names(nodes, &path::drained()).collect(),
            pipelines,
            probes: records(nodes, &path::probes()),
            alerts: records(nodes, &path::alerts()),
            seen: nodes.record(&path::seen()).unwrap_or_default(),
        }
    }
}

fn names<'a, T: std::str::FromStr + 'a>(
    nodes: &'a Nodes,
    parent: &'a NodePath,
) -> impl Iterator<Item = T> + 'a {
    nodes
        .children(parent)
        .filter_map(|child| child.parse().ok())
}

fn records<K: std::str::FromStr + Ord, T: Record>(
    nodes: &Nodes,
    parent: &NodePath,
) -> BTreeMap<K, T> {
    nodes
        .children(parent)
        .filter_map(|child| {
            let record = nodes.record(&parent.listed(child)?)?;
            Some((child.parse().ok()?, record))
        })
        .collect()
}

fn pipeline(nodes: &Nodes, name: &PipelineName, alert: Arc<AlertReading>) -> PipelineView {
    let desired = path::desired(name);
    PipelineView {
        desired: nodes.record(&desired),
        desired_zxid: zxid(nodes, &desired),
        status: nodes.record(&path::status(name)),
        alert,
        tasks: names::<TaskName>(nodes, &path::tasks(name))
            .map(|task| (task.clone(), self::task(nodes, name, &task)))
            .collect(),
    }
}

fn task(nodes: &Nodes, pipeline: &PipelineName, task: &TaskName) -> TaskView {
    let instances = path::instances(pipeline, task);
    let progress = path::progress(pipeline, task);
    let epoch = path::epoch(pipeline, task);
    TaskView {
        assignment: nodes.record(&path::assignment(pipeline, task)),
        instances: Sequenced::sorted(nodes.children(&instances))
            .iter()
            .filter_map(|node| nodes.record(&instances.listed(&node.name)?))
            .collect(),
        progress: nodes.record(&progress),
        progress_zxid: zxid(nodes, &progress),
        failure: nodes.record(&path::failure(pipeline, task)),
        epoch: nodes
            .record(&epoch)
            .zip(u64::try_from(zxid(nodes, &epoch)).ok())
            .map(|(holder, zxid)| (zxid, holder)),
    }
}

fn zxid(nodes: &Nodes, path: &NodePath) -> i64 {
    nodes.get(path).map_or(0, |node| node.stat.modified_zxid)
}
