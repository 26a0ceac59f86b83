//! A pipeline file is put in force.

use std::collections::BTreeSet;

use jiff::Timestamp;
use towpath_coordination::{CoordinationError, Session, Transaction};
use towpath_protocol::spec::{PipelineName, PipelineSpec, SnapshotMode};
use towpath_protocol::tree::path;
use towpath_protocol::tree::record::{
    AppliedSpec, Desired, DesiredState, Journal, Operation, OperationStep,
};
use uuid::Uuid;

use super::nodes::Nodes;
use super::{Decision, Goal, Refusal};

/// The most bytes of a pipeline file: it's written into two nodes at once during an update, and
/// a transaction of the directory holds 1 MiB.
pub const SPEC_BYTES_MAX: usize = 256 << 10;

/// Reads the text, as far as it can be read without secrets.
pub(super) fn parse(text: &str) -> Result<PipelineSpec, Refusal> {
    if text.len() > SPEC_BYTES_MAX {
        return Err(Refusal(format!(
            "the pipeline file has {} bytes; the directory takes {SPEC_BYTES_MAX}",
            text.len()
        )));
    }
    PipelineSpec::parse_without_secrets(text, "pipeline file")
        .map_err(|error| Refusal(error.to_string()))
}

/// Refuses a server_id that another pipeline's spec gives too: the source would cut one of the
/// two off.
pub(super) async fn check_server_id(
    session: &Session,
    spec: &PipelineSpec,
) -> Result<Result<(), Refusal>, CoordinationError> {
    let Some(own) = spec.source.server_id else {
        return Ok(Ok(()));
    };
    for other in session.children(&path::pipelines()).await? {
        let Ok(other) = other.parse::<PipelineName>() else {
            continue;
        };
        if other == spec.name {
            continue;
        }
        let Some(applied) = session.read::<AppliedSpec>(&path::spec(&other)).await? else {
            continue;
        };
        let text = &applied.value.record.text;
        let parsed = PipelineSpec::parse_without_secrets(text, other.as_str());
        if parsed.is_ok_and(|parsed| parsed.source.server_id == Some(own)) {
            return Ok(Err(Refusal(format!(
                "source.server_id {own} is that of pipeline {other}; give another, or leave it out"
            ))));
        }
    }
    Ok(Ok(()))
}

/// Decides what to write.
pub(super) fn decide(
    nodes: &Nodes,
    spec: &PipelineSpec,
    text: &str,
    based_on: u64,
    by: &str,
    now: Timestamp,
) -> Result<Result<Decision, Refusal>, CoordinationError> {
    let name = &nodes.name;
    let Ok(present) = nodes.present() else {
        if based_on != 0 {
            return Ok(Err(Refusal(format!(
                "there is no pipeline {name} any more, and this is based on its revision \
                 {based_on}; apply it as a new one"
            ))));
        }
        return create(nodes, text, by, now).map(Ok);
    };
    let applied = &present.spec.value.record;
    let mut journal = nodes.journal();
    // While runs end for another text, the one in force isn't the one that will be.
    if applied.text == text && journal.after_the_stop().is_none() {
        return Ok(Ok(nodes.as_they_are(format!(
            "nothing to do: this is revision {} of {name}, in force since {}",
            applied.revision, applied.applied
        ))));
    }
    if let Some(Operation::Update { .. } | Operation::Rollback { .. }) = &journal.operation {
        return Ok(Err(Refusal(format!(
            "an update of {name} is under way; apply again when it's over"
        ))));
    }
    if applied.revision != based_on {
        return Ok(Err(Refusal(format!(
            "revision {} of {name} is in force, applied by {} at {}, and this is based on {}; \
             look at the difference, and apply again",
            applied.revision,
            applied.by,
            applied.applied,
            match based_on {
                0 => "none".to_owned(),
                revision => revision.to_string(),
            },
        ))));
    }
    if let Err(refusal) = same_sinks(&applied.text, spec) {
        return Ok(Err(refusal));
    }
    let revision = applied.revision + 1;
    let wanted = present.wanted();
    let mut transaction = Transaction::new();
    if wanted == DesiredState::Stopped {
        let new = AppliedSpec {
            uuid: applied.uuid,
            revision,
            text: text.to_owned(),
            applied: now,
            by: by.to_owned(),
        };
        let mut entry = present.spec.value.clone();
        entry.record = new;
        transaction.set(path::spec(name), entry, present.spec.node_version)?;
        transaction.create(
            path::spec_revision(name, applied.revision),
            present.spec.value.clone(),
        )?;
        // Who starts it meanwhile has runs of the old revision.
        transaction.check(path::desired(name), present.desired.node_version);
        let fresh = Journal::default();
        nodes.put_journal(&mut transaction, fresh)?;
        for task in nodes.tasks.iter() {
            if let Some(version) = task.failure {
                transaction.remove(path::failure(name, &task.name), Some(version));
            }
        }
        let told = format!("revision {revision} by {by}");
        nodes.tell(&mut transaction, "applied", told, by, now)?;
        let text = format!("revision {revision} of {name} is in force; towpath start {name}");
        return Ok(Ok(Decision::new(transaction, text)));
    }
    journal.operation = Some(Operation::Update {
        step: OperationStep::Stopping,
        text: text.to_owned(),
        from: applied.revision,
        then: wanted.clone(),
        by: by.to_owned(),
        since: now,
    });
    nodes.put_journal(&mut transaction, journal)?;
    let mut desired = present.desired.value.clone();
    desired.record = Desired {
        state: DesiredState::Stopped,
        since: now,
        by: by.to_owned(),
        cause: format!("update to revision {revision}"),
    };
    transaction.set(path::desired(name), desired, present.desired.node_version)?;
    // Nobody else puts another revision in force meanwhile.
    transaction.check(path::spec(name), present.spec.node_version);
    let decision = Decision::new(transaction, format!("revision {revision} of {name}"));
    Ok(Ok(decision.until(Goal::Revision {
        pipeline: name.clone(),
        revision,
        then: wanted,
    })))
}

fn create(
    nodes: &Nodes,
    text: &str,
    by: &str,
    now: Timestamp,
) -> Result<Decision, CoordinationError> {
    let name = &nodes.name;
    let mut transaction = Transaction::new();
    let spec = AppliedSpec {
        uuid: Uuid::new_v4(),
        revision: 1,
        text: text.to_owned(),
        applied: now,
        by: by.to_owned(),
    };
    let spec_version = nodes.spec.as_ref().map(|entry| entry.node_version);
    transaction.put(path::spec(name), spec, spec_version)?;
    let desired = Desired {
        state: DesiredState::Running,
        since: now,
        by: by.to_owned(),
        cause: "towpath apply".to_owned(),
    };
    let desired_version = nodes.desired.as_ref().map(|entry| entry.node_version);
    transaction.put(path::desired(name), desired, desired_version)?;
    nodes.put_journal(&mut transaction, Journal::default())?;
    let told = format!("revision 1 by {by}");
    nodes.tell(&mut transaction, "applied", told, by, now)?;
    let decision = Decision::new(transaction, format!("revision 1 of {name}"));
    Ok(decision.until(Goal::Revision {
        pipeline: name.clone(),
        revision: 1,
        then: DesiredState::Running,
    }))
}

/// The place in a sink belongs to the names of pipeline and sink: under another name it would
/// begin anew.
fn same_sinks(former: &str, spec: &PipelineSpec) -> Result<(), Refusal> {
    let Ok(former) = PipelineSpec::parse_without_secrets(former, "pipeline file in force") else {
        return Ok(());
    };
    let names = |spec: &PipelineSpec| {
        let names = spec.sinks.iter().map(|sink| sink.name.to_string());
        names.collect::<BTreeSet<_>>()
    };
    let (old, new) = (names(&former), names(spec));
    // Behind a log, sinks come and go: a new one begins with a copy of its own.
    let is_log = former.queue.kind.is_log() && spec.queue.kind.is_log();
    let begins_whole = spec.source.snapshot == SnapshotMode::Initial;
    let adds = !new.is_subset(&old);
    if old == new || (is_log && !old.is_disjoint(&new) && (begins_whole || !adds)) {
        return Ok(());
    }
    if is_log && !old.is_disjoint(&new) {
        return Err(Refusal(
            "a sink that joins a running pipeline begins with a copy of its own: write \
             source.snapshot = \"initial\""
                .to_owned(),
        ));
    }
    let list = |names: BTreeSet<String>| names.into_iter().collect::<Vec<_>>().join(", ");
    Err(Refusal(format!(
        "the sink's name can't change from {} to {}: the place in the sink belongs to it; to begin \
         anew, apply it under another pipeline name, then stop and delete {}",
        list(old),
        list(new),
        spec.name
    )))
}
