//! What a task does when it's its turn: the whole way, or one side of a log. And what a producer
//! hears of the consumers, through the tree.

use towpath_coordination::Session;
use towpath_protocol::spec::{PipelineName, PipelineSpec, TaskRole};
use towpath_protocol::tree::record::{
    Committed, Progress as ProgressRecord, QueuePlace, TaskState,
};
use towpath_protocol::tree::{TaskName, path};

use super::TaskKey;
use super::elected::Elected;
use super::resolve::Resolved;
use crate::pipeline::consume::{FromLog, consume};
use crate::pipeline::produce::{Consumers, Known, produce};
use crate::pipeline::{self, Controls, PipelineError};
use crate::queue::inlet::Place;
use crate::queue::store::Log;
use crate::queue::{QueueError, Term};

/// Runs a task until it's stopped, or can't go on.
pub(super) async fn run(
    key: &TaskKey,
    resolved: &Resolved,
    owner: &str,
    mut authority: Elected,
    controls: Controls,
) -> Result<(), PipelineError> {
    let spec = &resolved.spec;
    let log = Log::of(spec, resolved.uuid).map_err(QueueError::from)?;
    let session = authority.session.clone();
    match (&resolved.role, log) {
        (TaskRole::Producer, Some(log)) => {
            let mut consumers = Told::new(session, spec);
            produce(spec, &log, &mut authority, &mut consumers, controls).await
        }
        (TaskRole::Consumer(_), Some(log)) => {
            let place = remembered(&session, key).await;
            let from = FromLog::new(log, place);
            consume(spec, owner, &mut authority, controls, from).await
        }
        (TaskRole::Whole(_), _) | (_, None) => {
            pipeline::run(spec, owner, &mut authority, controls).await
        }
    }
}

/// Where reading the queue may begin, as it was told last. Nothing is lost without it but time.
async fn remembered(session: &Session, key: &TaskKey) -> Option<Place> {
    let node = path::commit(&key.pipeline, &key.task);
    let committed = session.read::<Committed>(&node).await.ok()??;
    committed.value.record.queue.map(place)
}

fn place(place: QueuePlace) -> Place {
    Place {
        offset: place.offset,
        term: Term {
            generation: place.generation,
            epoch: place.epoch,
            run: place.run,
            producer: place.producer,
        },
    }
}

/// The consumers, as their nodes in the tree tell of them.
struct Told {
    session: Session,
    pipeline: PipelineName,
    tasks: Vec<(TaskName, String)>,
}

impl Told {
    fn new(session: Session, spec: &PipelineSpec) -> Self {
        let consumers = spec
            .tasks()
            .into_iter()
            .filter_map(|(task, role)| match role {
                TaskRole::Consumer(sink) => Some((task, sink.to_string())),
                TaskRole::Whole(_) | TaskRole::Producer => None,
            });
        Self {
            session,
            pipeline: spec.name.clone(),
            tasks: consumers.collect(),
        }
    }
}

impl Consumers for Told {
    async fn look(&mut self) -> Result<Vec<Known>, PipelineError> {
        let over = |error: towpath_coordination::CoordinationError| PipelineError::NotElected {
            detail: error.to_string(),
        };
        let mut known = Vec::with_capacity(self.tasks.len());
        for (task, sink) in &self.tasks {
            let progress = path::progress(&self.pipeline, task);
            let progress = self.session.read::<ProgressRecord>(&progress).await;
            let progress = progress.map_err(over)?.map(|entry| entry.value.record);
            // What is told while it runs is what it took over, and more.
            let running = progress
                .filter(|told| matches!(told.state, TaskState::Running | TaskState::Snapshot));
            let (set, missing) = match running {
                Some(told) => (Some(told.gtid_set), told.missing),
                None => {
                    let commit = path::commit(&self.pipeline, task);
                    let commit = self.session.read::<Committed>(&commit).await;
                    let commit = commit.map_err(over)?;
                    (
                        commit.map(|entry| entry.value.record.gtid_set),
                        String::new(),
                    )
                }
            };
            known.push(Known {
                sink: sink.clone(),
                gtids: set.and_then(|set| set.parse().ok()),
                missing: missing.parse().unwrap_or_default(),
            });
        }
        Ok(known)
    }
}
