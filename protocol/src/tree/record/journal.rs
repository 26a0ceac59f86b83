//! What the Servers' leader has under way with a pipeline, so that the next leader goes on with it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::pipeline::DesiredState;
use crate::tree::name::{MemberId, TaskName};

record! {
    /// What the leader must not forget when another takes its place:
    /// `/towpath/pipelines/{p}/journal`. Written under a check of its version, in one transaction
    /// with what it's about: of two leaders one gets through.
    example = r#"{"version":1,"restarts":[{"task":"replica","code":"TP1201","at":"2026-11-22T02:40:00Z"}],"retry":{"task":"replica","failure":"7b1f0e1c-1c1e-4a53-9a63-0c9f4c6d5b1a","at":"2026-11-22T02:40:04Z"},"gave_up":"2d0c2f3e-8c4b-4a4e-8e1b-6a4f2f1c9d11","operation":{"kind":"update","step":"stopping","text":"name = \"orders\"\n","from":3,"then":"running","by":"anna","since":"2026-11-22T02:40:00Z"},"rolled_back_as":5}"#;
    #[derive(Default)]
    pub struct Journal {
        /// What was tried again lately; older ones than the spec's window are left out.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub restarts: Vec<Restart>,
        /// What will be tried again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub retry: Option<Retry>,
        /// The failure after which there are no more tries.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub gave_up: Option<Uuid>,
        /// What is under way in several steps.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub operation: Option<Operation>,
        /// The revision in force is an older text again; if it fails too, no other is tried.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub rolled_back_as: Option<u64>,
    }
}

/// A task was tried again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restart {
    /// Which.
    pub task: TaskName,
    /// After what kind of failure.
    pub code: String,
    /// When, by the leader's clock.
    pub at: Timestamp,
}

/// A task will be tried again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// Which.
    pub task: TaskName,
    /// After which failure.
    pub failure: Uuid,
    /// When, by the leader's clock.
    pub at: Timestamp,
}

/// Something that takes several steps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Operation {
    /// Another text is put in force: runs are stopped, it's written, and it runs.
    Update {
        /// How far it is.
        step: OperationStep,
        /// The new text, until it's the spec.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        text: String,
        /// The revision that was in force.
        from: u64,
        /// What the pipeline is to do afterwards.
        then: DesiredState,
        /// Who asked.
        by: String,
        /// Since when it's at this step.
        since: Timestamp,
    },
    /// The text of an older revision is put in force again, as a new revision.
    Rollback {
        /// How far it is.
        step: OperationStep,
        /// The revision that failed.
        from: u64,
        /// The revision whose text it will be.
        to: u64,
        /// What the pipeline is to do afterwards.
        then: DesiredState,
        /// What was wrong.
        cause: String,
        /// Since when it's at this step.
        since: Timestamp,
    },
    /// A task goes to another Core, which gets ready first.
    Move {
        /// Which task.
        task: TaskName,
        /// Where to.
        to: MemberId,
        /// Who asked.
        by: String,
        /// Since when.
        since: Timestamp,
    },
    /// Something that a newer program knows; leave it.
    #[serde(untagged)]
    Other(serde_json::Value),
}

/// How far an update or a rollback is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OperationStep {
    /// The runs of the former revision end.
    Stopping,
    /// The spec is written, and Cores begin with it.
    Starting,
}

impl Journal {
    /// What the pipeline is to do after runs that are stopped for an update or a rollback; `None`
    /// if none are. Meanwhile it counts as what the user wants.
    pub fn after_the_stop(&self) -> Option<&DesiredState> {
        match &self.operation {
            Some(
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
            ) => Some(then),
            _ => None,
        }
    }
}
