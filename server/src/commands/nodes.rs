//! A pipeline's nodes as a command finds them, with the versions under which it changes them.

use jiff::Timestamp;
use towpath_coordination::{CoordinationError, Entry, Session, Transaction};
use towpath_protocol::spec::PipelineName;
use towpath_protocol::tree::record::{
    AppliedSpec, Desired, DesiredState, Failure, HistoryEvent, Instance, Journal, Operation,
    OperationStep, Outcome, PipelineStatus,
};
use towpath_protocol::tree::{MemberId, TaskName, path};

use super::{Decision, Refusal};

/// What a command needs to know of a pipeline.
#[derive(Debug)]
pub(super) struct Nodes {
    pub(super) name: PipelineName,
    pub(super) spec: Option<Entry<AppliedSpec>>,
    pub(super) desired: Option<Entry<Desired>>,
    pub(super) journal: Option<Entry<Journal>>,
    pub(super) status: Option<PipelineStatus>,
    pub(super) tasks: Vec<TaskNodes>,
}

/// What it needs to know of a task.
#[derive(Debug)]
pub(super) struct TaskNodes {
    pub(super) name: TaskName,
    pub(super) failure: Option<i32>,
    pub(super) standing: Vec<MemberId>,
}

/// A pipeline that is there.
pub(super) struct Present<'a> {
    pub(super) nodes: &'a Nodes,
    pub(super) spec: &'a Entry<AppliedSpec>,
    pub(super) desired: &'a Entry<Desired>,
}

impl Nodes {
    pub(super) async fn read(
        session: &Session,
        name: &PipelineName,
    ) -> Result<Self, CoordinationError> {
        let spec = session.read(&path::spec(name)).await?;
        let mut tasks = Vec::new();
        for task in session.children(&path::tasks(name)).await? {
            let Ok(task) = task.parse::<TaskName>() else {
                continue;
            };
            let failure = session
                .read::<Failure>(&path::failure(name, &task))
                .await?
                .map(|entry| entry.node_version);
            let parent = path::instances(name, &task);
            let mut standing = Vec::new();
            for instance in session.children(&parent).await? {
                let Some(node) = parent.listed(&instance) else {
                    continue;
                };
                if let Some(entry) = session.read::<Instance>(&node).await? {
                    standing.push(entry.value.record.member);
                }
            }
            tasks.push(TaskNodes {
                name: task,
                failure,
                standing,
            });
        }
        let status = session.read::<PipelineStatus>(&path::status(name)).await?;
        Ok(Self {
            name: name.clone(),
            spec,
            desired: session.read(&path::desired(name)).await?,
            journal: session.read(&path::journal(name)).await?,
            status: status.map(|entry| entry.value.record),
            tasks,
        })
    }

    /// The pipeline, if it's there.
    pub(super) fn present(&self) -> Result<Present<'_>, Refusal> {
        match (&self.spec, &self.desired) {
            (Some(spec), Some(desired)) => Ok(Present {
                nodes: self,
                spec,
                desired,
            }),
            _ => Err(Refusal(format!(
                "there is no pipeline {}; towpath apply FILE makes one",
                self.name
            ))),
        }
    }

    pub(super) fn journal(&self) -> Journal {
        self.journal
            .as_ref()
            .map(|entry| entry.value.record.clone())
            .unwrap_or_default()
    }

    /// Writes the journal under the version that was read.
    pub(super) fn put_journal(
        &self,
        transaction: &mut Transaction,
        journal: Journal,
    ) -> Result<(), CoordinationError> {
        let version = self.journal.as_ref().map(|entry| entry.node_version);
        transaction.put(path::journal(&self.name), journal, version)
    }

    /// Nothing is to be done. The nodes were read one by one, and others may have written in
    /// between: so it's said only if they are still as they were read.
    pub(super) fn as_they_are(&self, text: String) -> Decision {
        let spec = self.spec.as_ref().map(|entry| entry.node_version);
        let desired = self.desired.as_ref().map(|entry| entry.node_version);
        let journal = self.journal.as_ref().map(|entry| entry.node_version);
        let mut transaction = Transaction::new();
        for (node, version) in [
            (path::spec(&self.name), spec),
            (path::desired(&self.name), desired),
            (path::journal(&self.name), journal),
        ] {
            if let Some(version) = version {
                transaction.check(node, version);
            }
        }
        Decision::new(transaction, text)
    }

    /// What was decided on these nodes; a refusal, too, is said only if they are as they were read.
    pub(super) fn as_decided(&self, decided: Result<Decision, Refusal>) -> Decision {
        decided.unwrap_or_else(|Refusal(text)| Decision {
            outcome: Outcome::Refused,
            ..self.as_they_are(text)
        })
    }

    /// Appends to the pipeline's history.
    pub(super) fn tell(
        &self,
        transaction: &mut Transaction,
        what: &str,
        text: String,
        by: &str,
        now: Timestamp,
    ) -> Result<(), CoordinationError> {
        let event = HistoryEvent {
            at: now,
            what: what.to_owned(),
            text,
            by: by.to_owned(),
            task: None,
        };
        transaction.append(path::history_event(&self.name), event)
    }

    /// Who stands for any task.
    pub(super) fn standing(&self) -> Vec<&MemberId> {
        self.tasks
            .iter()
            .flat_map(|task| task.standing.iter())
            .collect()
    }
}

impl Present<'_> {
    /// What the user wants: while runs are stopped for an update, what comes after it.
    pub(super) fn wanted(&self) -> DesiredState {
        let journal = self.nodes.journal();
        let desired = &self.desired.value.record.state;
        journal.after_the_stop().unwrap_or(desired).clone()
    }

    /// Writes what the user wants; during an update as what comes after it.
    pub(super) fn want(
        &self,
        transaction: &mut Transaction,
        state: DesiredState,
        by: &str,
        cause: &str,
        now: Timestamp,
    ) -> Result<(), CoordinationError> {
        let mut journal = self.nodes.journal();
        if let Some(
            Operation::Update {
                step: OperationStep::Stopping,
                then,
                ..
            }
            | Operation::Rollback {
                step: OperationStep::Stopping,
                then,
                ..
            },
        ) = &mut journal.operation
        {
            *then = state;
            return self.nodes.put_journal(transaction, journal);
        }
        let mut desired = self.desired.value.clone();
        desired.record = Desired {
            state,
            since: now,
            by: by.to_owned(),
            cause: cause.to_owned(),
        };
        let version = self.desired.node_version;
        transaction.set(path::desired(&self.nodes.name), desired, version)
    }
}
