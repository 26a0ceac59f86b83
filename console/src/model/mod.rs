//! What an operator looks at: the tree's records, put together. Pure: built from nodes that were
//! read, at a moment that is given.
//!
//! It shows what is written, and marks what contradicts it (a Core that is assigned and isn't
//! there, a running pipeline that nobody runs); it never decides anything.

mod build;
mod health;
pub(crate) mod json;
#[cfg(test)]
pub(crate) mod example;

use std::cmp::Reverse;
use std::collections::BTreeMap;

use jiff::Timestamp;
use towpath_protocol::spec::PipelineName;
use towpath_protocol::tree::record::{
    Alert, AlertState, AppliedSpec, Assignment, Committed, DataSource, Desired, Drain, Failure,
    Instance, InstanceState, Member, PipelineStatus, Probe, Progress, Severity, SnapshotProgress,
};
use towpath_protocol::tree::{AlertId, DataSourceName, MemberId, TaskName};

pub(crate) use build::is_shown;
pub(crate) use health::{Health, desired_word, severity_word, task_word};

/// Everything that the reading verbs show, of one moment.
#[derive(Clone, Debug)]
pub(crate) struct View {
    /// That moment.
    pub(crate) now: Timestamp,
    /// By name.
    pub(crate) pipelines: Vec<PipelineView>,
    pub(crate) servers: BTreeMap<MemberId, Member>,
    pub(crate) cores: BTreeMap<MemberId, Member>,
    pub(crate) monitors: BTreeMap<MemberId, Member>,
    /// Cores that get no work, whether they are there or not.
    pub(crate) drained: BTreeMap<MemberId, Drain>,
    pub(crate) sources: BTreeMap<DataSourceName, (DataSource, Option<Probe>)>,
    /// All, resolved ones too.
    pub(crate) alerts: BTreeMap<AlertId, Alert>,
    /// Nodes whose record can't be read, each with the reason.
    pub(crate) unreadable: Vec<String>,
}

/// A pipeline.
#[derive(Clone, Debug)]
pub(crate) struct PipelineView {
    pub(crate) name: PipelineName,
    pub(crate) spec: Option<AppliedSpec>,
    pub(crate) desired: Option<Desired>,
    pub(crate) status: Option<PipelineStatus>,
    /// By name.
    pub(crate) tasks: Vec<TaskView>,
    /// What fires about it or one of its tasks, worst first.
    pub(crate) firing: Vec<(AlertId, Alert)>,
}

/// A task.
#[derive(Clone, Debug)]
pub(crate) struct TaskView {
    pub(crate) name: TaskName,
    pub(crate) assignment: Option<Assignment>,
    /// The candidates, lowest first: that one runs.
    pub(crate) instances: Vec<Instance>,
    pub(crate) progress: Option<Progress>,
    pub(crate) committed: Option<Committed>,
    pub(crate) failure: Option<Failure>,
}

/// What a Core does, each as `pipeline/task`.
#[derive(Clone, Debug, Default)]
pub(crate) struct CoreTasks {
    pub(crate) running: Vec<String>,
    pub(crate) standby: Vec<String>,
}

impl TaskView {
    /// Who has the task: the lowest candidate, once it has begun to take it.
    pub(crate) fn running(&self) -> Option<&Instance> {
        let lowest = self.instances.first()?;
        let has = matches!(
            lowest.state,
            InstanceState::TakingOver
                | InstanceState::Running
                | InstanceState::Paused
                | InstanceState::Stopping
        );
        has.then_some(lowest)
    }

    /// Who could take it over at once.
    pub(crate) fn standby(&self) -> impl Iterator<Item = &Instance> {
        self.instances
            .iter()
            .filter(|instance| instance.state == InstanceState::Standby)
    }

    /// What the sink has, as far as anybody told.
    pub(crate) fn gtid_set(&self) -> &str {
        let told = self.progress.as_ref().map(|progress| &*progress.gtid_set);
        let committed = || self.committed.as_ref().map(|last| &*last.gtid_set);
        told.filter(|set| !set.is_empty())
            .or_else(committed)
            .unwrap_or_default()
    }

    /// How far it's behind.
    pub(crate) fn lag_ms(&self) -> Option<u64> {
        self.progress.as_ref()?.lag_ms
    }
}

impl PipelineView {
    /// How far the task that is furthest behind is.
    pub(crate) fn lag_ms(&self) -> Option<u64> {
        self.tasks.iter().filter_map(TaskView::lag_ms).max()
    }

    /// The first copies that are under way.
    pub(crate) fn copies(&self) -> impl Iterator<Item = &SnapshotProgress> {
        let told = self.tasks.iter().filter_map(|task| task.progress.as_ref());
        told.filter_map(|progress| progress.snapshot.as_ref())
    }

    /// What the sink of the task that is furthest behind has.
    pub(crate) fn gtid_set(&self) -> &str {
        let behind = self.tasks.iter().max_by_key(|task| task.lag_ms());
        behind.map(TaskView::gtid_set).unwrap_or_default()
    }

    /// Rows that go into its sinks each second; `None` if nobody tells.
    pub(crate) fn rows_per_second(&self) -> Option<u64> {
        let rates = self.tasks.iter().filter_map(|task| task.progress.as_ref());
        rates
            .map(|progress| progress.rows_per_second)
            .reduce(u64::saturating_add)
    }

    /// The failure that is to be seen first.
    pub(crate) fn failure(&self) -> Option<(&TaskView, &Failure)> {
        self.tasks
            .iter()
            .find_map(|task| Some((task, task.failure.as_ref()?)))
    }
}

impl View {
    /// A pipeline by its name.
    pub(crate) fn pipeline(&self, name: &str) -> Option<&PipelineView> {
        self.pipelines
            .iter()
            .find(|pipeline| pipeline.name.as_str() == name)
    }

    /// What fires, worst first, then the oldest.
    pub(crate) fn firing(&self) -> Vec<(&AlertId, &Alert)> {
        let mut firing: Vec<_> = self
            .alerts
            .iter()
            .filter(|(_, alert)| alert.state == AlertState::Firing)
            .collect();
        firing.sort_by_key(|(_, alert)| (severity_rank(&alert.severity), alert.since));
        firing
    }

    /// What fires; with `all` also the others, the last one that ended first.
    pub(crate) fn alerts(&self, all: bool) -> Vec<(&AlertId, &Alert)> {
        let mut alerts = self.firing();
        if all {
            let others = self.alerts.iter();
            let mut others: Vec<_> = others
                .filter(|(_, alert)| alert.state != AlertState::Firing)
                .collect();
            others.sort_by_key(|(_, alert)| Reverse(alert.resolved.unwrap_or(alert.since)));
            alerts.extend(others);
        }
        alerts
    }

    /// What a Core does.
    pub(crate) fn tasks_of(&self, core: &MemberId) -> CoreTasks {
        let mut tasks = CoreTasks::default();
        for pipeline in &self.pipelines {
            for task in &pipeline.tasks {
                let name = format!("{}/{}", pipeline.name, task.name);
                if task
                    .running()
                    .is_some_and(|instance| instance.member == *core)
                {
                    tasks.running.push(name);
                } else if task.standby().any(|instance| instance.member == *core) {
                    tasks.standby.push(name);
                }
            }
        }
        tasks
    }

    /// The Server that leads, if one says so.
    pub(crate) fn leader(&self) -> Option<&MemberId> {
        self.servers
            .iter()
            .find(|(_, server)| server.raft_role.as_deref() == Some("leader"))
            .map(|(id, _)| id)
    }
}

/// Worst first.
pub(crate) fn severity_rank(severity: &Severity) -> u8 {
    match severity {
        Severity::Critical => 0,
        Severity::Warning => 1,
        Severity::Other(_) => 2,
        Severity::Info => 3,
    }
}
