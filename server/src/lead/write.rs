//! What was decided, as transactions: each under the versions on which it was decided.

use jiff::Timestamp;
use towpath_coordination::{CoordinationError, Transaction};
use towpath_protocol::spec::PipelineName;
use towpath_protocol::tree::record::{Assignment, HistoryEvent, Journal};
use towpath_protocol::tree::{MemberId, TaskName, Versioned, path};

use super::view::Pipeline;
use crate::life::Step;
use crate::planner::Change;

/// The new assignments of one pipeline.
pub(super) fn assignments(
    name: &PipelineName,
    pipeline: &Pipeline,
    changes: &[(&TaskName, &Change)],
    leader: &MemberId,
    now: Timestamp,
) -> Result<Transaction, CoordinationError> {
    let mut transaction = Transaction::new();
    // The placement is as it was read, and the pipeline is there.
    transaction.check(path::spec(name), pipeline.spec.version);
    for (task, change) in changes {
        let former = pipeline
            .tasks
            .get(*task)
            .and_then(|task| task.assignment.as_ref());
        let revision = former.map_or(0, |former| former.value.record.revision);
        let assignment = Assignment {
            revision: revision + 1,
            cores: change.assigned.cores.clone(),
            server_id: change.assigned.server_id,
            fail_back: change.assigned.fail_back,
            since: now,
            cause: change.cause.clone(),
        };
        let record = match former {
            Some(former) => Versioned {
                record: assignment,
                ..former.value.clone()
            },
            None => Versioned::new(assignment),
        };
        let version = former.map(|former| former.version);
        transaction.put(path::assignment(name, task), record, version)?;
        let cores: Vec<&str> = change.assigned.cores.iter().map(MemberId::as_str).collect();
        let cores = match cores.as_slice() {
            [] => "nobody".to_owned(),
            cores => cores.join(", "),
        };
        tracing::info!(pipeline = %name, %task, %cores, cause = %change.cause, "assigned");
        let event = HistoryEvent {
            at: now,
            what: "assigned".to_owned(),
            text: format!("to {cores}: {}", change.cause),
            by: leader.to_string(),
            task: Some(task.to_string()),
        };
        transaction.append(path::history_event(name), event)?;
    }
    Ok(transaction)
}

/// Takes away the assignments of tasks that the pipeline no longer has: another kind of queue makes
/// other tasks, and sinks go.
pub(super) fn without_former(
    name: &PipelineName,
    pipeline: &Pipeline,
    leader: &MemberId,
    now: Timestamp,
) -> Result<Transaction, CoordinationError> {
    let mut transaction = Transaction::new();
    // It is this revision that doesn't have them.
    transaction.check(path::spec(name), pipeline.spec.version);
    for (task, version) in &pipeline.former {
        transaction.remove(path::assignment(name, task), Some(*version));
        tracing::info!(pipeline = %name, %task, "no longer a task of this pipeline");
        let event = HistoryEvent {
            at: now,
            what: "unassigned".to_owned(),
            text: "no longer a task of this pipeline".to_owned(),
            by: leader.to_string(),
            task: Some(task.to_string()),
        };
        transaction.append(path::history_event(name), event)?;
    }
    Ok(transaction)
}

/// A step in a pipeline's life; `None` if there is nothing to write.
pub(super) fn step(
    name: &PipelineName,
    pipeline: &Pipeline,
    step: &Step,
) -> Result<Option<Transaction>, CoordinationError> {
    let mut transaction = Transaction::new();
    let former = pipeline.status.as_ref().map(|status| &status.value.record);
    let status_changes = former != Some(&step.status);
    let journal = pipeline.journal.as_ref();
    let journal_changes = match journal {
        Some(journal) => journal.value.record != step.journal,
        None => step.journal != Journal::default(),
    };
    let decides = journal_changes
        || step.desired.is_some()
        || step.spec.is_some()
        || !step.cleared.is_empty();
    if !status_changes && !decides {
        return Ok(None);
    }
    match &step.spec {
        Some(spec) => {
            let former = pipeline.spec.value.clone();
            let mut record = former.clone();
            let revision = former.record.revision;
            record.record = spec.clone();
            transaction.set(path::spec(name), record, pipeline.spec.version)?;
            transaction.create(path::spec_revision(name, revision), former)?;
        }
        None => transaction.check(path::spec(name), pipeline.spec.version),
    }
    match &step.desired {
        Some(desired) => {
            let mut record = pipeline.desired.value.clone();
            record.record = desired.clone();
            transaction.set(path::desired(name), record, pipeline.desired.version)?;
        }
        None => transaction.check(path::desired(name), pipeline.desired.version),
    }
    if status_changes {
        let record = match &pipeline.status {
            Some(former) => Versioned {
                record: step.status.clone(),
                ..former.value.clone()
            },
            None => Versioned::new(step.status.clone()),
        };
        let version = pipeline.status.as_ref().map(|status| status.version);
        transaction.put(path::status(name), record, version)?;
    }
    if journal_changes {
        let record = match journal {
            Some(former) => Versioned {
                record: step.journal.clone(),
                ..former.value.clone()
            },
            None => Versioned::new(step.journal.clone()),
        };
        transaction.put(
            path::journal(name),
            record,
            journal.map(|node| node.version),
        )?;
    }
    for task in &step.cleared {
        let failure = pipeline
            .tasks
            .get(task)
            .and_then(|task| task.failure.as_ref());
        if let Some(failure) = failure {
            transaction.remove(path::failure(name, task), Some(failure.version));
        }
    }
    for event in &step.events {
        tracing::info!(pipeline = %name, what = %event.what, cause = %event.text, "pipeline");
        transaction.append(path::history_event(name), event.clone())?;
    }
    Ok(Some(transaction))
}
