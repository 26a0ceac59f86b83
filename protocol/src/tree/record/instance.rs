//! Who may run a task, who does, and by which right.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::epoch::Generation;
use crate::tree::name::MemberId;

record! {
    /// Which Cores may run a task: `…/tasks/{t}/assignment`.
    example = r#"{"version":1,"revision":7,"cores":["core-1","core-2"],"server_id":1000017,"fail_back":false,"since":"2026-11-22T02:40:00Z","cause":"core-3 left"}"#;
    pub struct Assignment {
        /// Counts the plans of this task.
        pub revision: u64,
        /// The candidates, preferred first; the first is to run, the others stand by.
        pub cores: Vec<MemberId>,
        /// The replica's server_id for dumps, unique in the directory.
        pub server_id: u32,
        /// Whether work goes back to a preferred Core that returns.
        #[serde(default)]
        pub fail_back: bool,
        /// Since when.
        pub since: Timestamp,
        /// Why.
        pub cause: String,
    }
}

record! {
    /// A candidate: `…/tasks/{t}/instances/{core}-…` and `/towpath/monitors-election/n-…`,
    /// ephemeral and sequential; the lowest runs.
    example = r#"{"version":1,"member":"core-1","host":"node1","pid":4711,"candidacy":"a9a6f0c0-1fb2-4b0e-8f43-6f3a3f0e7c01","since":"2026-11-22T02:40:00Z","state":"standby"}"#;
    pub struct Instance {
        /// Who it is.
        pub member: MemberId,
        /// Its machine.
        pub host: String,
        /// Its process there.
        pub pid: u32,
        /// Made anew for each candidacy, so that a node whose creation wasn't confirmed is found.
        pub candidacy: Uuid,
        /// Since when it stands.
        pub since: Timestamp,
        /// What it is ready for.
        pub state: InstanceState,
    }
}

/// What an instance is ready for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InstanceState {
    /// Getting ready.
    Provisioning,
    /// Ready to take over.
    Standby,
    /// Takes over.
    TakingOver,
    /// Moves data.
    Running,
    /// Holds its place.
    Paused,
    /// On its way out.
    Stopping,
    /// Can't go on; see the alerts.
    Failed,
    /// Something that a newer program knows.
    #[serde(untagged)]
    Other(String),
}

impl InstanceState {
    /// In a word, as it is stored.
    pub fn word(&self) -> &str {
        match self {
            Self::Provisioning => "provisioning",
            Self::Standby => "standby",
            Self::TakingOver => "taking-over",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopping => "stopping",
            Self::Failed => "failed",
            Self::Other(word) => word,
        }
    }
}

record! {
    /// The right to write to a sink: `…/tasks/{t}/epoch`, set under a check that `instance` still
    /// stands. The zxid of that change is the epoch.
    example = r#"{"version":1,"generation":1,"member":"core-1","instance":"core-1-0000000007","since":"2026-11-22T02:40:00Z"}"#;
    pub struct EpochHolder {
        /// Of `/towpath/cluster` at that moment.
        pub generation: Generation,
        /// Who won.
        pub member: MemberId,
        /// The name of its election node.
        pub instance: String,
        /// Since when, by the winner's clock.
        pub since: Timestamp,
    }
}
