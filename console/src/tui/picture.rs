//! What the tree says of the cluster, read apart: pure, and tolerant of what it can't read.
//!
//! Made anew whenever the tree has changed. Histories and specs, the large part, are read only
//! where they are shown.

use std::cmp::Reverse;

use serde::Serialize;
use towpath_protocol::spec::PipelineName;
use towpath_protocol::tree::record::{
    Alert, AlertState, AppliedSpec, Assignment, Cluster, Committed, Desired, Drain, Failure,
    HistoryEvent, Instance, InstanceState, LifeState, Member, PipelineStatus, Progress, Severity,
};
use towpath_protocol::tree::{AlertId, MemberId, MemberKind, Sequenced, TaskName, path};

use super::tree::Tree;

/// How a thing is; the order is that of urgency, worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Health {
    /// Needs somebody now.
    Bad,
    /// Needs a look.
    Warn,
    /// On its way somewhere.
    Busy,
    /// As it should be.
    Good,
    /// At rest, as asked.
    Idle,
}

/// Everything that is shown, but for histories and specs.
#[derive(Clone, Debug, Default)]
pub(super) struct Picture {
    pub(super) tree: Tree,
    pub(super) cluster: Option<Cluster>,
    /// By name.
    pub(super) pipelines: Vec<Pipeline>,
    pub(super) servers: Vec<(MemberId, Member)>,
    pub(super) cores: Vec<(MemberId, Member)>,
    pub(super) monitors: Vec<(MemberId, Member)>,
    /// The Monitor that alerts.
    pub(super) leading_monitor: Option<MemberId>,
    pub(super) drained: Vec<(MemberId, Drain)>,
    /// Firing first, then the gravest, then the newest.
    pub(super) alerts: Vec<(AlertId, Alert)>,
}

/// A pipeline.
#[derive(Clone, Debug)]
pub(super) struct Pipeline {
    pub(super) name: PipelineName,
    pub(super) desired: Option<Desired>,
    pub(super) status: Option<PipelineStatus>,
    pub(super) tasks: Vec<Task>,
    pub(super) alerts_firing: usize,
    pub(super) alert_worst: Option<Health>,
}

/// One of its tasks.
#[derive(Clone, Debug)]
pub(super) struct Task {
    pub(super) name: TaskName,
    pub(super) assignment: Option<Assignment>,
    /// In the order of their election: the first runs.
    pub(super) instances: Vec<Instance>,
    pub(super) progress: Option<Progress>,
    pub(super) commit: Option<Committed>,
    pub(super) failure: Option<Failure>,
}

impl Picture {
    pub(super) fn of(tree: Tree) -> Self {
        let alerts = alerts(&tree);
        let all = path::pipelines();
        let pipelines = tree
            .children(&all)
            .filter_map(|node| node.name().parse().ok())
            .map(|name| Pipeline::of(&tree, name, &alerts))
            .collect();
        let election = path::monitors_election();
        let candidates = Sequenced::sorted(tree.children(&election).map(|node| node.name()));
        let leading_monitor = candidates.first().and_then(|lowest| {
            let node = election.listed(&lowest.name)?;
            Some(tree.record::<Instance>(&node)?.member)
        });
        let drained_all = path::drained();
        let drained = tree
            .children(&drained_all)
            .filter_map(|node| Some((node.name().parse().ok()?, tree.record(node)?)))
            .collect();
        Self {
            cluster: tree.record(&path::cluster()),
            pipelines,
            servers: members(&tree, MemberKind::Server),
            cores: members(&tree, MemberKind::Core),
            monitors: members(&tree, MemberKind::Monitor),
            leading_monitor,
            drained,
            alerts,
            tree,
        }
    }

    pub(super) fn pipeline(&self, name: &str) -> Option<&Pipeline> {
        self.pipelines.iter().find(|p| p.name.as_str() == name)
    }

    /// A pipeline's last events, newest first.
    pub(super) fn history(&self, name: &PipelineName) -> Vec<HistoryEvent> {
        let all = path::history(name);
        let mut events = Sequenced::sorted(self.tree.children(&all).map(|node| node.name()));
        events.reverse();
        events
            .iter()
            .filter_map(|event| self.tree.record(&all.listed(&event.name)?))
            .collect()
    }

    pub(super) fn spec(&self, name: &PipelineName) -> Option<AppliedSpec> {
        self.tree.record(&path::spec(name))
    }

    pub(super) fn is_drained(&self, core: &MemberId) -> bool {
        self.drained.iter().any(|(id, _)| id == core)
    }

    /// What a Core runs and what it stands by for: `pipeline/task`, and whether it runs it.
    pub(super) fn work_of(&self, core: &MemberId) -> Vec<(String, bool)> {
        let mut work = Vec::new();
        for pipeline in &self.pipelines {
            for task in &pipeline.tasks {
                let place = task.instances.iter().position(|i| i.member == *core);
                if let Some(place) = place {
                    work.push((format!("{}/{}", pipeline.name, task.name), place == 0));
                }
            }
        }
        work.sort_by_key(|(_, runs)| Reverse(*runs));
        work
    }

    /// Cores that an assignment counts on, and that aren't there.
    pub(super) fn lost_cores(&self) -> Vec<(&MemberId, Vec<String>)> {
        let mut lost: Vec<(&MemberId, Vec<String>)> = Vec::new();
        for pipeline in &self.pipelines {
            for task in &pipeline.tasks {
                for core in task.assignment.iter().flat_map(|a| &a.cores) {
                    if self.cores.iter().any(|(id, _)| id == core) {
                        continue;
                    }
                    let work = format!("{}/{}", pipeline.name, task.name);
                    match lost.iter_mut().find(|(id, _)| *id == core) {
                        Some((_, works)) => works.push(work),
                        None => lost.push((core, vec![work])),
                    }
                }
            }
        }
        lost.sort();
        lost
    }

    pub(super) fn alerts_firing(&self) -> usize {
        let firing = |(_, alert): &&(AlertId, Alert)| alert.state == AlertState::Firing;
        self.alerts.iter().filter(firing).count()
    }
}

fn members(tree: &Tree, kind: MemberKind) -> Vec<(MemberId, Member)> {
    tree.children(&path::members(kind))
        .filter_map(|node| Some((node.name().parse().ok()?, tree.record(node)?)))
        .collect()
}

fn alerts(tree: &Tree) -> Vec<(AlertId, Alert)> {
    let mut alerts: Vec<(AlertId, Alert)> = tree
        .children(&path::alerts())
        .filter_map(|node| Some((node.name().parse().ok()?, tree.record(node)?)))
        .collect();
    alerts.sort_by_key(|(id, alert)| {
        let seen = alert.acknowledged_by.is_some();
        let (health, since) = (alert_health(alert), Reverse(alert.since));
        (health, seen, since, id.clone())
    });
    alerts
}

/// How an alert is: one that has ended is at rest.
pub(super) fn alert_health(alert: &Alert) -> Health {
    match (&alert.state, &alert.severity) {
        (AlertState::Resolved, _) => Health::Idle,
        (_, Severity::Critical) => Health::Bad,
        (_, Severity::Info) => Health::Busy,
        _ => Health::Warn,
    }
}

impl Pipeline {
    fn of(tree: &Tree, name: PipelineName, alerts: &[(AlertId, Alert)]) -> Self {
        let about = |subject: &str| {
            let rest = subject.strip_prefix(name.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let firing = alerts
            .iter()
            .filter(|(_, alert)| alert.state == AlertState::Firing && about(&alert.subject));
        let healths: Vec<Health> = firing.map(|(_, alert)| alert_health(alert)).collect();
        let all = path::tasks(&name);
        let tasks = tree
            .children(&all)
            .filter_map(|node| node.name().parse().ok())
            .map(|task| Task::of(tree, &name, task))
            .collect();
        Self {
            desired: tree.record(&path::desired(&name)),
            status: tree.record(&path::status(&name)),
            tasks,
            alerts_firing: healths.len(),
            alert_worst: healths.into_iter().min(),
            name,
        }
    }

    /// Its state as a word: the Server's, or if there is none yet, what is wanted of it.
    pub(super) fn state(&self) -> String {
        match (&self.status, &self.desired) {
            (Some(status), _) => word(&status.state),
            (None, Some(desired)) => format!("to be {}", word(&desired.state)),
            (None, None) => "unknown".to_owned(),
        }
    }

    pub(super) fn health(&self) -> Health {
        let Some(status) = &self.status else {
            return Health::Busy;
        };
        let own = match status.state {
            LifeState::Failed | LifeState::Unplaced => Health::Bad,
            LifeState::Restarting | LifeState::RollingBack => Health::Warn,
            LifeState::Paused | LifeState::Stopped => Health::Idle,
            LifeState::Running => self.running_health(),
            _ => Health::Busy,
        };
        // An alert makes nothing look better, and what rests isn't in need.
        match self.alert_worst {
            Some(alert) if own != Health::Idle => own.min(alert),
            _ => own,
        }
    }

    fn running_health(&self) -> Health {
        let failed = self.tasks.iter().any(|task| task.failure.is_some());
        let nobody = self.tasks.iter().any(|task| task.progress.is_none());
        match failed || nobody {
            true => Health::Warn,
            false => Health::Good,
        }
    }

    /// The largest lag of its tasks, in ms.
    pub(super) fn lag_ms(&self) -> Option<u64> {
        let lags = self.tasks.iter().map(|task| task.progress.as_ref()?.lag_ms);
        lags.max().flatten()
    }

    /// Rows of all its tasks; `None` if nobody reports.
    pub(super) fn rows_per_second(&self) -> Option<u64> {
        let rates = self.tasks.iter().filter_map(|task| task.progress.as_ref());
        rates
            .map(|progress| progress.rows_per_second)
            .reduce(u64::saturating_add)
    }

    /// The Cores that run its tasks, each once.
    pub(super) fn running_on(&self) -> Vec<String> {
        distinct(self.tasks.iter().filter_map(Task::running))
    }

    /// The Cores that are ready to take over, each once.
    pub(super) fn standbys(&self) -> Vec<String> {
        distinct(self.tasks.iter().flat_map(Task::standbys))
    }

    /// Why it is as it is: a failure's text before the Server's cause.
    pub(super) fn cause(&self) -> String {
        let failure = self.tasks.iter().find_map(|task| task.failure.as_ref());
        match (failure, &self.status) {
            (Some(failure), _) => failure.text.clone(),
            (None, Some(status)) => status.cause.clone(),
            (None, None) => "no Server has looked at it yet".to_owned(),
        }
    }

    /// What to do about a failure.
    pub(super) fn next_step(&self) -> Option<&str> {
        let mut failures = self.tasks.iter().filter_map(|task| task.failure.as_ref());
        failures.find_map(|failure| (!failure.next.is_empty()).then_some(&*failure.next))
    }
}

impl Task {
    fn of(tree: &Tree, pipeline: &PipelineName, name: TaskName) -> Self {
        let all = path::instances(pipeline, &name);
        let instances = Sequenced::sorted(tree.children(&all).map(|node| node.name()))
            .iter()
            .filter_map(|instance| tree.record(&all.listed(&instance.name)?))
            .collect();
        Self {
            assignment: tree.record(&path::assignment(pipeline, &name)),
            instances,
            progress: tree.record(&path::progress(pipeline, &name)),
            commit: tree.record(&path::commit(pipeline, &name)),
            failure: tree.record(&path::failure(pipeline, &name)),
            name,
        }
    }

    /// The Core that has it; one that only stands by hasn't.
    pub(super) fn running(&self) -> Option<&MemberId> {
        if let Some(progress) = &self.progress {
            return Some(&progress.core);
        }
        let first = self.instances.first()?;
        let waits = matches!(
            first.state,
            InstanceState::Provisioning | InstanceState::Standby | InstanceState::Failed
        );
        (!waits).then_some(&first.member)
    }

    /// The Cores that are ready to take it over.
    pub(super) fn standbys(&self) -> impl Iterator<Item = &MemberId> {
        let running = self.running();
        self.instances
            .iter()
            .filter(|instance| instance.state == InstanceState::Standby)
            .map(|instance| &instance.member)
            .filter(move |member| Some(*member) != running)
    }
}

fn distinct<'a>(members: impl Iterator<Item = &'a MemberId>) -> Vec<String> {
    let mut names: Vec<String> = members.map(ToString::to_string).collect();
    names.sort();
    names.dedup();
    names
}

/// A state as it is written in the tree.
pub(super) fn word(state: &impl Serialize) -> String {
    match serde_json::to_value(state) {
        Ok(serde_json::Value::String(word)) => super::format::clean(&word),
        _ => "unknown".to_owned(),
    }
}
