//! How a pipeline is, as the Servers' leader sees it, and what led there.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::tree::name::MemberId;

record! {
    /// What a pipeline is doing as a whole: `/towpath/pipelines/{p}/status`. Written by the
    /// Servers' leader when it changes; how far each task is stands in its progress.
    example = r#"{"version":1,"state":"running","since":"2026-11-22T02:40:00Z","cause":"replica runs on core-1","spec_revision":3,"good_revision":3}"#;
    pub struct PipelineStatus {
        /// Where it is in its life.
        pub state: LifeState,
        /// Since when.
        pub since: Timestamp,
        /// Why, for people.
        pub cause: String,
        /// The revision of the spec that is in force.
        pub spec_revision: u64,
        /// The newest revision that has run well: where a rollback goes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub good_revision: Option<u64>,
    }
}

/// Where a pipeline is in its life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LifeState {
    /// Has no Core yet, or its Cores get ready.
    Provisioning,
    /// Its Cores stand by; it's about to run.
    Ready,
    /// Moves data.
    Running,
    /// Holds its place, as asked.
    Paused,
    /// A new spec is being put in force.
    Updating,
    /// The former spec is being put in force again.
    RollingBack,
    /// Failed, and is tried again soon.
    Restarting,
    /// On its way to stopped.
    Stopping,
    /// Nobody runs it, as asked.
    Stopped,
    /// Can't go on without an operator.
    Failed,
    /// No live Core may run it.
    Unplaced,
    /// Something that a newer program knows.
    #[serde(untagged)]
    Other(String),
}

record! {
    /// Why a task stopped by itself: `…/tasks/{t}/failure`. Written by the Core whose run it was;
    /// removed by the Servers' leader, by which the task is tried again, or by a run that has
    /// committed something.
    example = r#"{"version":1,"id":"7b1f0e1c-1c1e-4a53-9a63-0c9f4c6d5b1a","core":"core-1","code":"TP1611","text":"row (7) of shop.orders is there already; transaction 3e11fa47-71ca-11e1-9e33-c80aa9429562:78","next":"correct the row, then towpath start orders","transient":false,"spec_revision":3,"at":"2026-11-22T02:40:00Z"}"#;
    pub struct Failure {
        /// Made anew for each failure.
        pub id: Uuid,
        /// On which Core.
        pub core: MemberId,
        /// What kind, `TP1611`: see [`Code`](crate::code::Code). Text, for a newer program may know
        /// more of them.
        pub code: String,
        /// What happened, with the GTID, the table, the key where there is one.
        pub text: String,
        /// What to do.
        #[serde(default)]
        pub next: String,
        /// Whether trying again may help by itself.
        pub transient: bool,
        /// The revision of the spec that ran.
        pub spec_revision: u64,
        /// When, by the Core's clock.
        pub at: Timestamp,
    }
}

record! {
    /// What happened, and why: `/towpath/pipelines/{p}/history/h-…` and `/towpath/history/h-…`,
    /// persistent and sequential. The oldest are removed when there are more than
    /// [`HISTORY_MAX`].
    example = r#"{"version":1,"at":"2026-11-22T02:40:00Z","what":"failover","text":"core-2 took over from core-1: its session expired","by":"server-1","task":"replica"}"#;
    pub struct HistoryEvent {
        /// When, by the writer's clock.
        pub at: Timestamp,
        /// What kind: applied, started, paused, assigned, failover, restart, rollback, …
        pub what: String,
        /// What and why, for people.
        pub text: String,
        /// Who did it: a member, a user.
        pub by: String,
        /// Which task, if it's about one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub task: Option<String>,
    }
}

/// The most events that one history keeps: some days of trouble, and a small node list.
pub const HISTORY_MAX: usize = 200;

record! {
    /// A Core that is to have no work: `/towpath/drained/{core}`.
    example = r#"{"version":1,"since":"2026-11-22T02:40:00Z","by":"anna","reason":"kernel update"}"#;
    pub struct Drain {
        /// Since when.
        pub since: Timestamp,
        /// Who asked.
        pub by: String,
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub reason: Option<String>,
    }
}

record! {
    /// Whether a data source answers: `/towpath/probes/{name}`. Written by the Servers' leader
    /// when it changes.
    example = r#"{"version":1,"address":"db2.example.net:3306","answers":false,"text":"connection refused","since":"2026-11-22T02:40:00Z"}"#;
    pub struct Probe {
        /// Which address was tried.
        pub address: String,
        /// Whether a MySQL server greeted there.
        pub answers: bool,
        /// The server's version, or what went wrong.
        pub text: String,
        /// Since when that is so.
        pub since: Timestamp,
    }
}
