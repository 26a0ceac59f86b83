//! How well a pipeline is, and the words for it.

use std::cmp::Reverse;

use towpath_protocol::tree::record::{DesiredState, LifeState, Severity, TaskState};

use super::{PipelineView, View};

/// How well a pipeline is. Worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Health {
    /// It needs an operator.
    Bad,
    /// It's in trouble, and something is done about it.
    Troubled,
    /// On its way from one state to another.
    Changing,
    /// Moves data.
    Good,
    /// Does nothing, as asked.
    Resting,
}

impl PipelineView {
    /// How well it is.
    pub(crate) fn health(&self) -> Health {
        let Some(status) = &self.status else {
            return Health::Changing;
        };
        let alarmed = |usual| match self.firing.first() {
            Some((_, alert)) if alert.severity == Severity::Critical => Health::Troubled,
            _ => usual,
        };
        let idle = self.tasks.iter().any(|task| task.running().is_none());
        match status.state {
            LifeState::Failed | LifeState::Unplaced => Health::Bad,
            LifeState::Restarting | LifeState::RollingBack => Health::Troubled,
            // A takeover is under way, or nobody is left to do it.
            LifeState::Running if idle => Health::Troubled,
            LifeState::Running => alarmed(Health::Good),
            LifeState::Paused | LifeState::Stopped => alarmed(Health::Resting),
            LifeState::Provisioning
            | LifeState::Ready
            | LifeState::Updating
            | LifeState::Stopping
            | LifeState::Other(_) => alarmed(Health::Changing),
        }
    }

    /// Its state in a word; `unknown` before the Servers' leader has seen it.
    pub(crate) fn state(&self) -> String {
        match &self.status {
            Some(status) => life_word(&status.state).to_owned(),
            None => "unknown".to_owned(),
        }
    }
}

impl View {
    /// The pipelines, worst first; among equals those with more and worse alerts, then those that
    /// are further behind, then by name.
    pub(crate) fn worst_first(&self) -> Vec<&PipelineView> {
        let mut pipelines: Vec<_> = self.pipelines.iter().collect();
        pipelines.sort_by_key(|pipeline| {
            (
                pipeline.health(),
                Reverse(pipeline.firing.len()),
                Reverse(pipeline.lag_ms()),
                pipeline.name.clone(),
            )
        });
        pipelines
    }

    /// What is wrong with the cluster itself, beside what pipelines and alerts say.
    pub(crate) fn troubles(&self) -> Vec<String> {
        let mut troubles = Vec::new();
        match (self.servers.is_empty(), self.leader()) {
            (true, _) => troubles.push(
                "no Server is registered: nobody plans, and nobody takes commands".to_owned(),
            ),
            (false, None) => troubles.push(
                "no Server leads: nobody plans, and nobody takes commands (towpath get servers)"
                    .to_owned(),
            ),
            (false, Some(_)) => {}
        }
        if self.cores.is_empty() && !self.pipelines.is_empty() {
            troubles.push("no Core is registered: nothing runs (towpath core)".to_owned());
        }
        if self.monitors.is_empty() {
            troubles.push(
                "no Monitor is registered: nobody raises alerts (towpath monitor)".to_owned(),
            );
        }
        let resting = |pipeline: &PipelineView| pipeline.state() == "stopped";
        for pipeline in self.pipelines.iter().filter(|pipeline| !resting(pipeline)) {
            for task in &pipeline.tasks {
                let assigned = task.assignment.iter().flat_map(|plan| &plan.cores);
                for core in assigned.filter(|core| !self.cores.contains_key(core)) {
                    troubles.push(format!(
                        "Core {core} isn't there; {}/{} is assigned to it",
                        pipeline.name, task.name
                    ));
                }
            }
        }
        for (name, (source, probe)) in &self.sources {
            if let Some(probe) = probe.as_ref().filter(|probe| !probe.answers) {
                troubles.push(format!(
                    "data source {name} at {} doesn't answer: {}",
                    source.address, probe.text
                ));
            }
        }
        let unreadable = self.unreadable.iter();
        troubles.extend(unreadable.map(|node| format!("can't be read: {node}")));
        troubles
    }
}

fn life_word(state: &LifeState) -> &str {
    match state {
        LifeState::Provisioning => "provisioning",
        LifeState::Ready => "ready",
        LifeState::Running => "running",
        LifeState::Paused => "paused",
        LifeState::Updating => "updating",
        LifeState::RollingBack => "rolling-back",
        LifeState::Restarting => "restarting",
        LifeState::Stopping => "stopping",
        LifeState::Stopped => "stopped",
        LifeState::Failed => "failed",
        LifeState::Unplaced => "unplaced",
        LifeState::Other(word) => word,
    }
}

/// What a task is doing, in a word.
pub(crate) fn task_word(state: &TaskState) -> &str {
    match state {
        TaskState::TakingOver => "taking-over",
        TaskState::Snapshot => "snapshot",
        TaskState::Running => "running",
        TaskState::Paused => "paused",
        TaskState::Stopping => "stopping",
        TaskState::Failed => "failed",
        TaskState::Other(word) => word,
    }
}

/// What a pipeline is to do, in a word.
pub(crate) fn desired_word(state: &DesiredState) -> &str {
    match state {
        DesiredState::Running => "running",
        DesiredState::Paused => "paused",
        DesiredState::Stopped => "stopped",
        DesiredState::Other(word) => word,
    }
}

/// How bad an alert is, in a word.
pub(crate) fn severity_word(severity: &Severity) -> &str {
    match severity {
        Severity::Info => "info",
        Severity::Warning => "warning",
        Severity::Critical => "critical",
        Severity::Other(word) => word,
    }
}
