//! What is asked of a pipeline that is there: start, stop, pause, resume, move, delete.

use jiff::Timestamp;
use towpath_coordination::{CoordinationError, Session, Transaction};
use towpath_protocol::spec::PipelineSpec;
use towpath_protocol::tree::path::{self, MemberKind};
use towpath_protocol::tree::record::{
    Action, Assignment, DesiredState, Drain, LifeState, Member, Operation,
};
use towpath_protocol::tree::{MemberId, NodePath, TaskName};

use super::nodes::{Nodes, Present};
use super::{Decision, Goal, Refusal};

/// What a verb came to, unless the directory failed.
type Decided = Result<Result<Decision, Refusal>, CoordinationError>;

/// Start, stop, pause and resume.
pub(super) fn desire(nodes: &Nodes, action: &Action, by: &str, now: Timestamp) -> Decided {
    let present = match nodes.present() {
        Ok(present) => present,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let name = &nodes.name;
    let wanted = present.wanted();
    let failed = nodes
        .status
        .as_ref()
        .is_some_and(|status| status.state == LifeState::Failed)
        || nodes.tasks.iter().any(|task| task.failure.is_some());
    let refuse = |text: String| Ok(Err(Refusal(text)));
    let nothing = || {
        Ok(Ok(
            nodes.as_they_are(format!("nothing to do: {}", how(&present)))
        ))
    };
    let (state, verb) = match (action, &wanted) {
        (_, DesiredState::Other(state)) => {
            return refuse(format!(
                "{name} is to be {state:?}, which this release doesn't know; use a newer towpath"
            ));
        }
        (Action::Start, DesiredState::Running) if failed => (DesiredState::Running, "start"),
        (Action::Start | Action::Resume, DesiredState::Running) => {
            return nothing();
        }
        (Action::Start, DesiredState::Paused) => {
            return refuse(format!("{name} is paused; towpath resume {name}"));
        }
        (Action::Start, DesiredState::Stopped) => (DesiredState::Running, "start"),
        (Action::Stop, DesiredState::Stopped) => {
            return nothing();
        }
        (Action::Stop, _) => (DesiredState::Stopped, "stop"),
        (Action::Pause | Action::Resume, DesiredState::Stopped) => {
            return refuse(format!("{name} is stopped; towpath start {name}"));
        }
        (Action::Pause, DesiredState::Paused) => {
            return nothing();
        }
        (Action::Pause, DesiredState::Running) => (DesiredState::Paused, "pause"),
        (_, DesiredState::Paused) => (DesiredState::Running, "resume"),
        _ => return refuse(format!("{name}: nobody here does that")),
    };
    let mut transaction = Transaction::new();
    present.want(
        &mut transaction,
        state.clone(),
        by,
        &format!("towpath {verb}"),
        now,
    )?;
    if verb == "start" {
        forget_failures(nodes, &mut transaction)?;
    }
    nodes.tell(&mut transaction, verb, format!("asked by {by}"), by, now)?;
    let decision = Decision::new(transaction, format!("{verb} {name}"));
    Ok(Ok(decision.until(Goal::State {
        pipeline: name.clone(),
        state,
    })))
}

/// Removes the failures, and what was tried because of them.
fn forget_failures(nodes: &Nodes, transaction: &mut Transaction) -> Result<(), CoordinationError> {
    for task in &nodes.tasks {
        if let Some(version) = task.failure {
            transaction.remove(path::failure(&nodes.name, &task.name), Some(version));
        }
    }
    let mut journal = nodes.journal();
    let before = journal.clone();
    journal.restarts.clear();
    journal.retry = None;
    journal.gave_up = None;
    // During an update the journal is written with what comes after it.
    if journal != before
        && !matches!(
            journal.operation,
            Some(Operation::Update { .. } | Operation::Rollback { .. })
        )
    {
        nodes.put_journal(transaction, journal)?;
    }
    Ok(())
}

/// How the pipeline is, for an answer.
fn how(present: &Present<'_>) -> String {
    let name = &present.nodes.name;
    match &present.nodes.status {
        Some(status) => format!("{name} is {}: {}", word(&status.state), status.cause),
        None => format!("{name} is new"),
    }
}

/// A state as it's written in the tree.
pub(super) fn word(state: &LifeState) -> String {
    match state {
        LifeState::RollingBack => "rolling back".to_owned(),
        LifeState::Other(state) => state.clone(),
        state => format!("{state:?}").to_lowercase(),
    }
}

/// Moves a task, or the pipeline's only one.
pub(super) async fn relocate(
    session: &Session,
    nodes: &Nodes,
    task: Option<&TaskName>,
    to: &MemberId,
    by: &str,
    now: Timestamp,
) -> Decided {
    let present = match nodes.present() {
        Ok(present) => present,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let name = &nodes.name;
    let refuse = |text: String| Ok(Err(Refusal(text)));
    let text = &present.spec.value.record.text;
    let Ok(spec) = PipelineSpec::parse_without_secrets(text, name.as_str()) else {
        return refuse(format!("the spec of {name} can't be read; apply it again"));
    };
    let tasks: Vec<TaskName> = spec.tasks().into_iter().map(|(name, _)| name).collect();
    let task = match (task, tasks.as_slice()) {
        (Some(task), all) if all.contains(task) => task.clone(),
        (None, [only]) => only.clone(),
        (Some(task), _) => return refuse(format!("{name} has no task {task}")),
        (None, _) => return refuse(format!("{name} has several tasks; name one")),
    };
    if present.wanted() == DesiredState::Stopped {
        return refuse(format!("{name} is stopped; towpath start {name}"));
    }
    let cores = session.children(&path::members(MemberKind::Core)).await?;
    let member = session
        .read::<Member>(&path::member(MemberKind::Core, to))
        .await?;
    let Some(member) = member else {
        let known = match cores.as_slice() {
            [] => "no Core is there".to_owned(),
            cores => format!("there are {}", cores.join(", ")),
        };
        return refuse(format!("{to} isn't there; {known}"));
    };
    if session.read::<Drain>(&path::drain(to)).await?.is_some() {
        return refuse(format!("{to} is drained; towpath undrain {to}"));
    }
    let labels = &member.value.record.labels;
    for (key, value) in &spec.placement.labels {
        if labels.get(key) != Some(value) {
            return refuse(format!(
                "{name} asks for {key}={value}, which {to} hasn't; change placement.labels, or \
                 choose another Core"
            ));
        }
    }
    let assignment = session
        .read::<Assignment>(&path::assignment(name, &task))
        .await?;
    let first = assignment.and_then(|entry| entry.value.record.cores.first().cloned());
    let runner = nodes
        .tasks
        .iter()
        .find(|found| found.name == task)
        .and_then(|task| task.standing.first());
    let mut journal = nodes.journal();
    let is_leaving = matches!(
        &journal.operation,
        Some(Operation::Move { task: moved, to: there, .. }) if *moved == task && there != to
    );
    let is_there = first.as_ref() == Some(to) && runner.is_none_or(|runner| runner == to);
    if is_there && !is_leaving {
        let text = format!("nothing to do: {name}/{task} is on {to} already");
        return Ok(Ok(nodes.as_they_are(text)));
    }
    match &journal.operation {
        None | Some(Operation::Move { .. }) => {}
        Some(_) => {
            return refuse(format!(
                "an update of {name} is under way; move it when that's over"
            ));
        }
    }
    journal.operation = Some(Operation::Move {
        task: task.clone(),
        to: to.clone(),
        by: by.to_owned(),
        since: now,
    });
    let mut transaction = Transaction::new();
    nodes.put_journal(&mut transaction, journal)?;
    transaction.check(path::spec(name), present.spec.node_version);
    let told = format!("of {task} to {to}, asked by {by}");
    nodes.tell(&mut transaction, "move", told, by, now)?;
    let decision = Decision::new(transaction, format!("move {name}/{task} to {to}"));
    Ok(Ok(decision.until(Goal::On {
        pipeline: name.clone(),
        task,
        core: to.clone(),
    })))
}

/// Forgets a stopped pipeline. The commands stay, with the answer to this one, and are removed
/// later.
pub(super) async fn delete(session: &Session, nodes: &Nodes) -> Decided {
    let present = match nodes.present() {
        Ok(present) => present,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let name = &nodes.name;
    if present.wanted() != DesiredState::Stopped || nodes.journal().operation.is_some() {
        return Ok(Err(Refusal(format!(
            "{}; towpath stop {name} first",
            how(&present)
        ))));
    }
    let standing = nodes.standing();
    if !standing.is_empty() {
        let standing: Vec<&str> = standing.iter().map(|core| core.as_str()).collect();
        return Ok(Err(Refusal(format!(
            "{name} is stopping: {} didn't end its run yet; delete it again in a moment",
            standing.join(", ")
        ))));
    }
    let mut transaction = Transaction::new();
    // As they were read: whoever starts it or applies meanwhile is first.
    transaction.check(path::desired(name), present.desired.node_version);
    transaction.check(path::spec(name), present.spec.node_version);
    let top = path::pipeline(name);
    let commands = path::commands(name);
    for node in below(session, top.clone()).await? {
        if node != top && node.below(&commands).is_none() {
            transaction.remove(node, None);
        }
    }
    let text = format!("{name} is deleted; its place in the sink stays, in towpath.offset");
    Ok(Ok(Decision::new(transaction, text)))
}

/// All nodes of a subtree, the lower ones first.
async fn below(session: &Session, top: NodePath) -> Result<Vec<NodePath>, CoordinationError> {
    let mut found = vec![top];
    let mut next = 0;
    while let Some(path) = found.get(next).cloned() {
        next += 1;
        for child in session.children(&path).await? {
            found.extend(path.listed(&child));
        }
    }
    found.reverse();
    Ok(found)
}
