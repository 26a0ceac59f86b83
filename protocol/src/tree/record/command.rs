//! What an operator asks of a pipeline, and what came of it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::epoch::Generation;
use crate::tree::name::{AlertId, DataSourceName, MemberId, TaskName};

record! {
    /// `/towpath/pipelines/{p}/commands/c-…`, and `/towpath/commands/c-…` for what isn't about one
    /// pipeline that is there; persistent and sequential. Written by the one who
    /// asks; `taken` and then `answer` by the one who does it.
    example = r#"{"version":1,"id":"5f4c7a2e-07e6-4b3b-a0b9-4d7f2b7d1e10","action":{"kind":"move","to":"core-2"},"task":"replica","by":"anna","asked":"2026-11-22T02:40:00Z","take_before":"2026-11-22T02:40:10Z","taken":{"by":"server-1","nonce":"d3c8a1a4-39f5-4df1-8f19-0c6ae7b1a9b2","at":"2026-11-22T02:40:01Z"},"answer":{"outcome":"done","text":"orders/replica is on core-2","at":"2026-11-22T02:40:02Z"}}"#;
    pub struct Command {
        /// Made by the one who asks.
        pub id: Uuid,
        /// What is to be done.
        pub action: Action,
        /// To which task; to the whole pipeline if there is none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub task: Option<TaskName>,
        /// Who asks.
        pub by: String,
        /// When, by the asker's clock.
        pub asked: Timestamp,
        /// Not to be taken after this, by the asker's clock: an old command never surprises.
        pub take_before: Timestamp,
        /// Who does it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub taken: Option<Taken>,
        /// What came of it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub answer: Option<Answer>,
    }
}

/// Who does a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// Its name.
    pub by: String,
    /// Made anew each time, so that a take that wasn't confirmed is recognised.
    pub nonce: Uuid,
    /// When, by its clock.
    pub at: Timestamp,
}

/// What came of a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// How it ended.
    pub outcome: Outcome,
    /// For the operator.
    pub text: String,
    /// For programs.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub details: Value,
    /// When, by the clock of the one who answers.
    pub at: Timestamp,
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It's done.
    Done,
    /// It was not begun; the text says why.
    Refused,
    /// It was begun and didn't succeed; the text says what holds now.
    Failed,
    /// Something that a newer program knows.
    #[serde(untagged)]
    Other(String),
}

/// What can be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Action {
    /// Run.
    Start,
    /// End.
    Stop,
    /// Hold the place.
    Pause,
    /// Go on.
    Resume,
    /// To the cluster: before a sink's row of another directory is taken over, the generation is
    /// raised above it.
    Adopt {
        /// The row's generation.
        above: Generation,
    },
    /// Run a task, or all, on another Core.
    Move {
        /// Which Core is to run it.
        to: MemberId,
    },
    /// Forget a pipeline, with its history. The sink's offset row stays.
    Delete,
    /// To the cluster: put a pipeline file in force, a new one or a new version.
    Apply {
        /// The pipeline file, `${NAME}` as it stands there.
        text: String,
        /// The revision that it's based on: 0 for a new pipeline. If another is in force by now,
        /// it's refused.
        revision: u64,
    },
    /// To the cluster: a Core gets no work, and what it has goes to others.
    Drain {
        /// Which.
        core: MemberId,
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// To the cluster: a Core may get work again.
    Undrain {
        /// Which.
        core: MemberId,
    },
    /// To the cluster: a named data source is at this address from now on.
    SetSource {
        /// Its name.
        name: DataSourceName,
        /// `host:port`.
        address: String,
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// To the cluster: what every process logs from now on; what it was started with if there is
    /// no filter.
    LogLevel {
        /// A filter in the syntax of `tracing-subscriber`'s `EnvFilter`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        filter: Option<String>,
    },
    /// To the cluster: somebody has seen an alert.
    Acknowledge {
        /// Which.
        alert: AlertId,
    },
    /// To the cluster: what is asked of the members that host the directory.
    Directory {
        /// What.
        ask: DirectoryAction,
    },
    /// Something that a newer program knows, or that lacks something: to be refused.
    #[serde(untagged)]
    Other(Value),
}

/// What can be asked of the members that host the directory. Members have numbers, 1 to 126; a
/// number belongs to one data folder for good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum DirectoryAction {
    /// Who they are, and how they are: the details of the answer.
    Members,
    /// One more, which runs and waits for that.
    Add {
        /// Its number.
        id: u8,
        /// Where it is.
        #[serde(flatten)]
        at: MemberAddress,
    },
    /// One less.
    Remove {
        /// Which.
        id: u8,
    },
    /// One in place of another, in one step.
    Replace {
        /// Which one goes.
        id: u8,
        /// The number of the one that comes.
        by: u8,
        /// Where that one is.
        #[serde(flatten)]
        at: MemberAddress,
    },
    /// Fold the log into a snapshot now.
    Snapshot,
    /// Write the tree as it is now into a file of the leading Server's.
    Backup {
        /// The file's name, without a folder.
        name: String,
    },
}

/// Where a member of the directory is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberAddress {
    /// `host:port` at which the other members reach it.
    pub peer: String,
    /// `host:port` at which clients do.
    pub client: String,
}
