//! A pipeline as it's seen at one moment, and what is to be done about it.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use towpath_protocol::spec::{PipelineName, RestartSpec};
use towpath_protocol::tree::record::{
    AppliedSpec, Desired, Failure, HistoryEvent, Instance, Journal, PipelineStatus, Progress,
};
use towpath_protocol::tree::{MemberId, TaskName};

/// Times that decide.
#[derive(Clone, Copy, Debug)]
pub struct LifeTimings {
    /// A revision that ran for so long has run well.
    pub good_after: SignedDuration,
    /// The runs of a former revision end within this, or an update is given up.
    pub stop_max: SignedDuration,
    /// A Core that a task is to move to is ready within this, or the move is given up.
    pub move_max: SignedDuration,
    /// The first pause before a failed task is tried again; it doubles with each try.
    pub backoff_min: SignedDuration,
    /// The longest such pause.
    pub backoff_max: SignedDuration,
}

impl Default for LifeTimings {
    fn default() -> Self {
        Self {
            good_after: SignedDuration::from_secs(30),
            stop_max: SignedDuration::from_secs(30),
            move_max: SignedDuration::from_secs(60),
            backoff_min: SignedDuration::from_secs(1),
            backoff_max: SignedDuration::from_secs(60),
        }
    }
}

/// A pipeline as it's seen at one moment.
#[derive(Clone, Debug)]
pub struct PipelineView {
    /// Its name.
    pub name: PipelineName,
    /// What is in force.
    pub spec: AppliedSpec,
    /// Why its text can't be read, if it can't.
    pub unreadable: Option<String>,
    /// How often it's tried again.
    pub restart: RestartSpec,
    /// What it's to do.
    pub desired: Desired,
    /// What was written of it.
    pub status: Option<PipelineStatus>,
    /// What is under way.
    pub journal: Journal,
    /// Texts of older revisions.
    pub texts: BTreeMap<u64, String>,
    /// Its tasks.
    pub tasks: Vec<TaskLife>,
}

/// A task as it's seen at one moment.
#[derive(Clone, Debug)]
pub struct TaskLife {
    /// Its name.
    pub name: TaskName,
    /// The Cores that it's assigned to.
    pub cores: Vec<MemberId>,
    /// Those of them that aren't there.
    pub away: Vec<MemberId>,
    /// How many its spec asks for.
    pub replicas: usize,
    /// Why nobody may have it, if nobody may.
    pub unplaced: Option<String>,
    /// Its candidates, the one that runs first.
    pub instances: Vec<Instance>,
    /// How far it is.
    pub progress: Option<Progress>,
    /// Why it stopped by itself.
    pub failure: Option<Failure>,
    /// Who ran it when it was last looked at.
    pub ran_on: Option<MemberId>,
}

impl TaskLife {
    /// Who is first in the election.
    pub fn runner(&self) -> Option<&Instance> {
        self.instances.first()
    }
}

/// What is to be written, together.
#[derive(Clone, Debug)]
pub struct Step {
    /// How it is.
    pub status: PipelineStatus,
    /// What is under way.
    pub journal: Journal,
    /// What it's to do from now on, if that changes.
    pub desired: Option<Desired>,
    /// What is in force from now on, if that changes; the former goes to the history.
    pub spec: Option<AppliedSpec>,
    /// The tasks whose failures are to be removed, by which they are tried again.
    pub cleared: Vec<TaskName>,
    /// What happened.
    pub events: Vec<HistoryEvent>,
    /// When to look again, if nothing happens.
    pub again: Option<Timestamp>,
}
