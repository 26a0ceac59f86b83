//! A whole pipeline in one process, without a directory: all its tasks beside each other.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinSet;
use towpath_protocol::spec::{PipelineSpec, TaskRole};
use uuid::Uuid;

use super::consume::{FromLog, consume};
use super::produce::{InProcess, produce};
use super::{Controls, NoDirectory, PipelineError, Progress, asked, run};
use crate::queue::QueueError;
use crate::queue::store::Log;

/// Runs all of a pipeline until it is stopped, or its copies are done and it was for them alone. The
/// progress is the first sink's.
///
/// # Errors
/// That of the first task that can't go on; the others are stopped.
pub async fn run_whole(
    spec: &PipelineSpec,
    owner: &str,
    mut controls: Controls,
) -> Result<(), PipelineError> {
    let Some(log) = Log::of(spec, uuid(spec)).map_err(QueueError::from)? else {
        return run(spec, owner, &mut NoDirectory, controls).await;
    };
    let (stop, stopped) = watch::channel(false);
    let mut consumers = JoinSet::new();
    let mut told = Vec::new();
    for (_, role) in spec.tasks() {
        let TaskRole::Consumer(name) = role else {
            continue;
        };
        let mut spec = spec.clone();
        spec.sinks.retain(|sink| sink.name == name);
        let progress = match told.is_empty() {
            true => Arc::clone(&controls.progress),
            false => Arc::new(Progress::new()),
        };
        told.push((name.to_string(), Arc::clone(&progress)));
        let controls = Controls {
            progress,
            limits: controls.limits.clone(),
            stop: stopped.clone(),
        };
        let (log, owner) = (log.clone(), owner.to_owned());
        consumers.spawn(async move {
            let from = FromLog::new(log, None);
            consume(&spec, &owner, &mut NoDirectory, controls, from).await
        });
    }
    let producer = Controls {
        progress: Arc::new(Progress::new()),
        limits: controls.limits.clone(),
        stop: stopped,
    };
    let mut told = InProcess(told);
    let mut authority = NoDirectory;
    let produced = produce(spec, &log, &mut authority, &mut told, producer);
    tokio::pin!(produced);
    let mut result = tokio::select! {
        // It ends by itself only where it can't go on.
        produced = &mut produced => produced,
        consumed = all(&mut consumers) => consumed,
        () = asked(&mut controls.stop) => Ok(()),
    };
    let _ = stop.send(true);
    while !consumers.is_empty() {
        // Who is stopped ends in order; the first error is the one that counts.
        result = result.and(all(&mut consumers).await);
    }
    result
}

/// Waits for all, or for the first that can't go on.
async fn all(tasks: &mut JoinSet<Result<(), PipelineError>>) -> Result<(), PipelineError> {
    while let Some(ended) = tasks.join_next().await {
        ended.map_err(PipelineError::Task)??;
    }
    Ok(())
}

/// The same for each run of a pipeline, and another for one of the same name with another source.
fn uuid(spec: &PipelineSpec) -> Uuid {
    let source = &spec.source.endpoint;
    let text = format!("{}/{}:{}", spec.name, source.host, source.port);
    Uuid::new_v5(&Uuid::NAMESPACE_OID, text.as_bytes())
}
