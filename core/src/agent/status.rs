//! What a Core's tasks are doing, for whoever asks this process: a cheap snapshot, taken when
//! asked.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use towpath_protocol::tree::record::InstanceState;

use super::TaskKey;
use crate::pipeline::Progress;
use crate::pipeline::progress::View;

/// What a task is doing here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskPhase {
    /// Not to be run: stopped, as asked.
    Stopped,
    /// It stands for election, or runs.
    Standing(InstanceState),
    /// It failed, here or elsewhere, and waits to be mended.
    Failed,
    /// Its spec can't be resolved in this process.
    Unresolved,
}

impl fmt::Display for TaskPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stopped => "stopped",
            Self::Standing(state) => state.word(),
            Self::Failed => "failed",
            Self::Unresolved => "unresolved",
        })
    }
}

/// A task of this Core.
#[derive(Clone, Debug)]
pub struct TaskStatus {
    /// Which.
    pub key: TaskKey,
    /// What it's doing.
    pub phase: TaskPhase,
    /// Since when.
    pub since: Timestamp,
    /// Why, where there is something to say.
    pub detail: Option<String>,
    /// Counters, place and lag of the present run.
    pub view: Option<View>,
}

/// A moment's view of all tasks, in the order of their names.
#[derive(Clone, Debug, Default)]
pub struct AgentStatus {
    /// The tasks that are assigned to this Core.
    pub tasks: Vec<TaskStatus>,
}

#[derive(Debug)]
struct Entry {
    phase: TaskPhase,
    since: Timestamp,
    detail: Option<String>,
    progress: Option<Arc<Progress>>,
}

/// Where the tasks say what they are doing.
#[derive(Clone, Debug, Default)]
pub struct StatusBoard {
    entries: Arc<Mutex<BTreeMap<TaskKey, Entry>>>,
}

impl StatusBoard {
    fn entries(&self) -> MutexGuard<'_, BTreeMap<TaskKey, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What all tasks are doing now.
    pub fn snapshot(&self) -> AgentStatus {
        let tasks = self.entries();
        let status = |(key, entry): (&TaskKey, &Entry)| TaskStatus {
            key: key.clone(),
            phase: entry.phase.clone(),
            since: entry.since,
            detail: entry.detail.clone(),
            view: entry.progress.as_ref().map(|progress| progress.view()),
        };
        AgentStatus {
            tasks: tasks.iter().map(status).collect(),
        }
    }

    /// Of each task that runs: rows that it has moved in its present run.
    pub(super) fn rows(&self) -> BTreeMap<TaskKey, u64> {
        let tasks = self.entries();
        let moved = |(key, entry): (&TaskKey, &Entry)| {
            let progress = entry.progress.as_ref()?;
            Some((key.clone(), progress.rows()))
        };
        tasks.iter().filter_map(moved).collect()
    }

    pub(super) fn set(
        &self,
        key: &TaskKey,
        phase: TaskPhase,
        detail: Option<String>,
        progress: Option<Arc<Progress>>,
    ) {
        let mut entries = self.entries();
        let since = match entries.get(key) {
            Some(before) if before.phase == phase => before.since,
            _ => {
                tracing::info!(pipeline = %key.pipeline, task = %key.task, ?phase, "task");
                Timestamp::now()
            }
        };
        let entry = Entry {
            phase,
            since,
            detail,
            progress,
        };
        entries.insert(key.clone(), entry);
    }

    pub(super) fn remove(&self, key: &TaskKey) {
        self.entries().remove(key);
    }
}
