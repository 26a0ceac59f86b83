//! What a plan is made of: the cluster as it's seen at one moment.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use towpath_protocol::spec::{PipelineName, PlacementSpec};
use towpath_protocol::tree::record::Assignment;
use towpath_protocol::tree::{MemberId, TaskName};

/// Which task, in the whole directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId {
    /// Its pipeline.
    pub pipeline: PipelineName,
    /// Its name there.
    pub task: TaskName,
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.pipeline, self.task)
    }
}

/// A live Core.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CoreView {
    /// Its machine.
    pub host: String,
    /// What a spec may ask for.
    pub labels: BTreeMap<String, String>,
}

/// A task that is to have Cores.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskView {
    /// Which Cores may run it, and how many are to.
    pub placement: PlacementSpec,
    /// The server_id that its spec gives.
    pub server_id: Option<u32>,
    /// What holds now.
    pub assigned: Option<Assigned>,
    /// Whether it's to move data or hold its place. A task that isn't keeps what it has, and
    /// counts for nobody's load.
    pub wanted: bool,
    /// Cores that stand in its election, the one that runs first.
    pub standing: Vec<MemberId>,
    /// Of these, the ones that are ready to take over, or run.
    pub in_sync: BTreeSet<MemberId>,
    /// Cores that mustn't have it for now, and why.
    pub distrusted: BTreeMap<MemberId, String>,
    /// Where it's on its way to.
    pub moving: Option<Moving>,
}

/// What a task has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assigned {
    /// Its candidates, preferred first.
    pub cores: Vec<MemberId>,
    /// Its server_id.
    pub server_id: u32,
    /// Whether work goes back.
    pub fail_back: bool,
}

impl From<&Assignment> for Assigned {
    fn from(assignment: &Assignment) -> Self {
        Self {
            cores: assignment.cores.clone(),
            server_id: assignment.server_id,
            fail_back: assignment.fail_back,
        }
    }
}

/// A task is on its way to another Core, as asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moving {
    /// Where to.
    pub to: MemberId,
    /// Who asked.
    pub by: String,
}

/// The cluster as it's seen at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterView {
    /// The Cores that live.
    pub cores: BTreeMap<MemberId, CoreView>,
    /// For how long the Cores have been away that have been here.
    pub away: BTreeMap<MemberId, Duration>,
    /// The Cores that are to have no work.
    pub drained: BTreeSet<MemberId>,
    /// All tasks.
    pub tasks: BTreeMap<TaskId, TaskView>,
}

/// What is to be changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The new assignments, of tasks whose assignment changes.
    pub changes: BTreeMap<TaskId, Change>,
    /// The tasks that no Core may run now, and why.
    pub unplaced: BTreeMap<TaskId, String>,
    /// When a Core that is away is to be replaced, if it doesn't return.
    pub again_in: Option<Duration>,
}

/// A new assignment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What the task is to have.
    pub assigned: Assigned,
    /// Why, for people.
    pub cause: String,
}
