//! What operators ask: checked, done, and answered in words.
//!
//! Each command is decided from what the directory holds at that moment, and written in one
//! transaction under the versions that were read. If another writes meanwhile, it's read and
//! decided again, never overwritten. The answer comes when what was asked for is reached, or, after
//! [`WAIT_MAX`], says why it isn't yet.
//!
//! What needs several steps (an update, a move) is only begun here: the leader goes on from the
//! pipeline's journal ([`life`](crate::life)), whoever leads then.

mod nodes;
mod apply;
mod verbs;
mod cluster;
mod directory;
#[cfg(test)]
mod tests;

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};
use towpath_coordination::{
    CommandQueue, CoordinationError, Mirror, Nodes as Tree, Session, Transaction,
};
use towpath_protocol::spec::PipelineName;
use towpath_protocol::tree::record::{
    Action, AppliedSpec, Assignment, Command, DesiredState, Instance, InstanceState, Journal,
    LifeState, Outcome, PipelineStatus,
};
use towpath_protocol::tree::{MemberId, Sequenced, TaskName, path};

use nodes::Nodes;

pub use apply::SPEC_BYTES_MAX;
pub use directory::{Hosted, carry_out};

/// How long an answer waits for what was asked to be reached; those who ask wait for a minute.
pub const WAIT_MAX: Duration = Duration::from_secs(40);
/// How often a command is decided again when others write at the same moment.
const RACES_MAX: usize = 8;

/// Why a command isn't begun, for the operator.
#[derive(Debug)]
struct Refusal(String);

/// What is to be written, and when it's reached.
#[derive(Debug)]
struct Decision {
    transaction: Transaction,
    outcome: Outcome,
    text: String,
    goal: Option<Goal>,
}

impl Decision {
    fn new(transaction: Transaction, text: String) -> Self {
        Self {
            transaction,
            outcome: Outcome::Done,
            text,
            goal: None,
        }
    }

    fn done(text: String) -> Self {
        Self::new(Transaction::new(), text)
    }

    fn until(mut self, goal: Goal) -> Self {
        self.goal = Some(goal);
        self
    }
}

/// What a command is to lead to.
#[derive(Clone, Debug)]
enum Goal {
    /// The pipeline does this.
    State {
        pipeline: PipelineName,
        state: DesiredState,
    },
    /// This revision is in force, and does this.
    Revision {
        pipeline: PipelineName,
        revision: u64,
        then: DesiredState,
    },
    /// The task is on this Core.
    On {
        pipeline: PipelineName,
        task: TaskName,
        core: MemberId,
    },
    /// Nothing is assigned to this Core.
    Empty { core: MemberId },
}

/// How a command was begun.
#[derive(Debug)]
pub struct Begun {
    outcome: Outcome,
    text: String,
    goal: Option<Goal>,
    asked: Timestamp,
}

/// An answer for the one who asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// How it ended.
    pub outcome: Outcome,
    /// For the operator.
    pub text: String,
    /// For programs.
    pub details: Value,
}

/// Decides and writes; doesn't wait for what comes of it.
///
/// # Errors
/// [`CoordinationError`], if the directory failed: whether it was done may be unknown.
pub async fn begin(
    session: &Session,
    queue: &CommandQueue,
    command: &Command,
) -> Result<Begun, CoordinationError> {
    let asked = Timestamp::now();
    let mut races = 0;
    loop {
        let decided = decide(session, queue, command, asked).await?;
        let decision = match decided {
            Ok(decision) => decision,
            Err(Refusal(text)) => {
                return Ok(Begun {
                    outcome: Outcome::Refused,
                    text,
                    goal: None,
                    asked,
                });
            }
        };
        match session.transact(decision.transaction).await {
            Ok(()) => {
                return Ok(Begun {
                    outcome: decision.outcome,
                    text: decision.text,
                    goal: decision.goal,
                    asked,
                });
            }
            Err(
                CoordinationError::Changed { .. }
                | CoordinationError::Exists { .. }
                | CoordinationError::NotFound { .. },
            ) if races < RACES_MAX => races += 1,
            Err(error) => return Err(error),
        }
    }
}

async fn decide(
    session: &Session,
    queue: &CommandQueue,
    command: &Command,
    now: Timestamp,
) -> Result<Result<Decision, Refusal>, CoordinationError> {
    let (action, by) = (&command.action, command.by.as_str());
    match (queue, action) {
        (CommandQueue::Cluster, Action::Apply { text, revision }) => {
            let spec = match apply::parse(text) {
                Ok(spec) => spec,
                Err(refusal) => return Ok(Err(refusal)),
            };
            if let Err(refusal) = apply::check_server_id(session, &spec).await? {
                return Ok(Err(refusal));
            }
            let nodes = Nodes::read(session, &spec.name).await?;
            let decided = apply::decide(&nodes, &spec, text, *revision, by, now)?;
            Ok(Ok(nodes.as_decided(decided)))
        }
        (CommandQueue::Cluster, action) => cluster::decide(session, action, by, now).await,
        (CommandQueue::Pipeline(name), action) => {
            let nodes = Nodes::read(session, name).await?;
            let decided = match action {
                Action::Start | Action::Stop | Action::Pause | Action::Resume => {
                    verbs::desire(&nodes, action, by, now)
                }
                Action::Move { to } => {
                    verbs::relocate(session, &nodes, command.task.as_ref(), to, by, now).await
                }
                Action::Delete => verbs::delete(session, &nodes).await,
                _ => Ok(Err(Refusal(
                    "this release doesn't know that, or it isn't asked of a pipeline; use a newer \
                     towpath"
                        .to_owned(),
                ))),
            };
            Ok(Ok(nodes.as_decided(decided?)))
        }
    }
}

/// Waits for what a command is to lead to, and puts it into words.
pub async fn finish(session: &Session, mirror: &Mirror, begun: Begun, wait: Duration) -> Reply {
    let Some(goal) = begun.goal else {
        return Reply {
            outcome: begun.outcome,
            text: begun.text,
            details: Value::Null,
        };
    };
    let reply = |outcome, text| Reply {
        outcome,
        text,
        details: goal.details(),
    };
    let deadline = Instant::now() + wait;
    let mut changes = mirror.changes();
    loop {
        changes.mark_unchanged();
        let why = match mirror.look(|tree| goal.reached(tree, begun.asked)) {
            Reached::Yes(text) => return reply(Outcome::Done, text),
            Reached::Never(text) => return reply(Outcome::Failed, text),
            Reached::GivenUp { text, otherwise } => {
                let given_up = timeout_at(deadline, goal.is_given_up(session)).await;
                if matches!(given_up, Ok(Ok(true))) {
                    return reply(Outcome::Failed, text);
                }
                otherwise
            }
            Reached::NotYet(why) => why,
        };
        // In a busy cluster there is always a change: it's no reason to wait beyond the end.
        let in_time = Instant::now() < deadline;
        if in_time && matches!(timeout_at(deadline, changes.changed()).await, Ok(Ok(()))) {
            continue;
        }
        let text = format!("asked ({}); not yet reached: {why}", begun.text);
        return reply(Outcome::Done, text);
    }
}

enum Reached {
    Yes(String),
    NotYet(String),
    Never(String),
    /// So it seems, by nodes that may be older than what was begun, and of different moments.
    GivenUp {
        text: String,
        otherwise: String,
    },
}

impl Goal {
    fn details(&self) -> Value {
        match self {
            Self::Revision { revision, .. } => json!({ "revision": revision }),
            _ => Value::Null,
        }
    }

    fn reached(&self, tree: &Tree, asked: Timestamp) -> Reached {
        match self {
            Self::State { pipeline, state } => state_reached(tree, pipeline, state, asked),
            Self::Revision {
                pipeline,
                revision,
                then,
            } => revision_reached(tree, pipeline, *revision, then, asked),
            Self::On {
                pipeline,
                task,
                core,
            } => on_core(tree, pipeline, task, core),
            Self::Empty { core } => emptied(tree, core),
        }
    }

    /// Whether, at one moment after it was begun, a revision isn't in force and nobody has it
    /// under way.
    async fn is_given_up(&self, session: &Session) -> Result<bool, CoordinationError> {
        let Self::Revision {
            pipeline, revision, ..
        } = self
        else {
            return Ok(false);
        };
        let (spec, journal) = (path::spec(pipeline), path::journal(pipeline));
        let applied = session.read::<AppliedSpec>(&spec).await?;
        let under_way = session.read::<Journal>(&journal).await?;
        let (Some(applied), Some(under_way)) = (applied, under_way) else {
            return Ok(false);
        };
        if applied.value.record.revision >= *revision || under_way.value.record.operation.is_some()
        {
            return Ok(false);
        }
        let mut both = Transaction::new();
        both.check(spec, applied.node_version);
        both.check(journal, under_way.node_version);
        session.transact(both).await.map(|()| true)
    }
}

fn status(tree: &Tree, pipeline: &PipelineName) -> Option<PipelineStatus> {
    tree.record(&path::status(pipeline))
}

fn state_reached(
    tree: &Tree,
    pipeline: &PipelineName,
    state: &DesiredState,
    asked: Timestamp,
) -> Reached {
    let Some(status) = status(tree, pipeline) else {
        return Reached::NotYet(format!("{pipeline} has just been applied"));
    };
    let goal = match state {
        DesiredState::Running => LifeState::Running,
        DesiredState::Paused => LifeState::Paused,
        _ => LifeState::Stopped,
    };
    let text = format!(
        "{pipeline} is {}: {}",
        verbs::word(&status.state),
        status.cause
    );
    if status.state == goal {
        Reached::Yes(text)
    } else if status.state == LifeState::Failed && status.since > asked {
        Reached::Never(text)
    } else {
        Reached::NotYet(text)
    }
}

fn revision_reached(
    tree: &Tree,
    pipeline: &PipelineName,
    revision: u64,
    then: &DesiredState,
    asked: Timestamp,
) -> Reached {
    let Some(status) = status(tree, pipeline) else {
        return Reached::NotYet(format!("{pipeline} has just been applied"));
    };
    let state = format!(
        "{pipeline} is {}: {}",
        verbs::word(&status.state),
        status.cause
    );
    if status.spec_revision > revision {
        return Reached::Never(format!(
            "revision {revision} isn't in force any more, {} is; {state}; see towpath history \
             {pipeline}",
            status.spec_revision
        ));
    }
    if status.spec_revision < revision {
        let journal: Option<Journal> = tree.record(&path::journal(pipeline));
        let given_up =
            journal.is_some_and(|journal| journal.operation.is_none()) && status.since > asked;
        return if given_up {
            Reached::GivenUp {
                text: format!(
                    "revision {revision} is given up, {} stays in force; {state}",
                    status.spec_revision
                ),
                otherwise: state,
            }
        } else {
            Reached::NotYet(state)
        };
    }
    match state_reached(tree, pipeline, then, asked) {
        Reached::Yes(_) => Reached::Yes(format!("revision {revision} is in force; {state}")),
        other => other,
    }
}

fn on_core(tree: &Tree, pipeline: &PipelineName, task: &TaskName, core: &MemberId) -> Reached {
    let parent = path::instances(pipeline, task);
    let first = Sequenced::sorted(tree.children(&parent)).into_iter().next();
    let first = first
        .and_then(|first| parent.listed(&first.name))
        .and_then(|node| tree.record::<Instance>(&node));
    let journal: Option<Journal> = tree.record(&path::journal(pipeline));
    let under_way = journal.is_some_and(|journal| journal.operation.is_some());
    match first {
        Some(first)
            if first.member == *core
                && matches!(first.state, InstanceState::Running | InstanceState::Paused) =>
        {
            Reached::Yes(format!("{pipeline}/{task} is on {core}"))
        }
        _ if under_way => Reached::NotYet(format!("{core} gets ready")),
        Some(first) if first.member == *core => {
            Reached::NotYet(format!("{core} takes {task} over"))
        }
        _ => Reached::NotYet(format!("{core} doesn't have {task}")),
    }
}

fn emptied(tree: &Tree, core: &MemberId) -> Reached {
    let mut left = Vec::new();
    let top = path::pipelines();
    for name in tree.children(&top) {
        let Ok(pipeline) = name.parse::<PipelineName>() else {
            continue;
        };
        let tasks = path::tasks(&pipeline);
        for task in tree.children(&tasks) {
            let Ok(task) = task.parse::<TaskName>() else {
                continue;
            };
            let assignment = tree.record::<Assignment>(&path::assignment(&pipeline, &task));
            let instances = path::instances(&pipeline, &task);
            let prefix = format!("{core}-");
            let stands = Sequenced::sorted(tree.children(&instances))
                .iter()
                .any(|instance| instance.prefix() == prefix);
            let stopped = stands_still(tree, &pipeline);
            let assigned = assignment.is_some_and(|assignment| assignment.cores.contains(core));
            if stands || (assigned && !stopped) {
                left.push(format!("{pipeline}/{task}"));
            }
        }
    }
    match left.as_slice() {
        [] => Reached::Yes(format!("{core} is drained: it has no work")),
        [first] => Reached::NotYet(format!("{core} still has {first}")),
        [first, rest @ ..] => {
            Reached::NotYet(format!("{core} still has {first} and {} more", rest.len()))
        }
    }
}

/// Whether a pipeline is to be stopped: it keeps its assignment, and nobody follows it.
fn stands_still(tree: &Tree, pipeline: &PipelineName) -> bool {
    tree.record(&path::desired(pipeline)).is_some_and(
        |desired: towpath_protocol::tree::record::Desired| desired.state == DesiredState::Stopped,
    )
}
