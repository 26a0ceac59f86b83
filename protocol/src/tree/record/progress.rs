//! How far a task is. For people to see: the place to resume from is in the sink alone.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::epoch::{Epoch, Generation};
use crate::tree::name::MemberId;

record! {
    /// `…/tasks/{t}/progress`, ephemeral, of the Core that runs it.
    example = r#"{"version":1,"core":"core-1","pid":4711,"epoch":8123,"state":"running","gtid_set":"3e11fa47-71ca-11e1-9e33-c80aa9429562:1-77","file":"binlog.000004","position":1877,"lag_ms":120,"rows_per_second":12000,"bytes_per_second":2400000,"snapshot":{"tables":12,"tables_done":3,"rows":90000,"rows_estimated":400000,"rows_per_second":15500,"seconds_left":20,"under_way":[{"table":"shop.orders","state":"copying","rows":30000,"rows_estimated":120000,"rows_per_second":15500,"seconds_left":6}]},"since":"2026-11-22T02:40:00Z","updated":"2026-11-22T02:41:00Z"}"#;
    pub struct Progress {
        /// Who runs it.
        pub core: MemberId,
        /// Its process.
        pub pid: u32,
        /// By which right.
        pub epoch: Epoch,
        /// What it's doing.
        pub state: TaskState,
        /// What the sink has.
        #[serde(default)]
        pub gtid_set: String,
        /// Binlog file of the source; empty if it's not known.
        #[serde(default)]
        pub file: String,
        /// Offset in that file, in bytes.
        #[serde(default)]
        pub position: u64,
        /// How long ago the source committed what was committed last; `None` before the first.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub lag_ms: Option<u64>,
        /// Rows that go into the sink each second.
        #[serde(default)]
        pub rows_per_second: u64,
        /// Bytes that come from the source each second.
        #[serde(default)]
        pub bytes_per_second: u64,
        /// While a first copy is taken.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub snapshot: Option<SnapshotProgress>,
        /// A GTID set: what the sink needs and the queue doesn't have any more. The producer reads it from the
        /// source again.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        pub missing: String,
        /// Since when it's in this state.
        pub since: Timestamp,
        /// When this was written, by the Core's clock.
        pub updated: Timestamp,
    }
}

/// What a task is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TaskState {
    /// Takes the sink over.
    TakingOver,
    /// Takes the first copy, and follows.
    Snapshot,
    /// Follows.
    Running,
    /// Holds its place.
    Paused,
    /// Ends.
    Stopping,
    /// Can't go on.
    Failed,
    /// Something that a newer program knows.
    #[serde(untagged)]
    Other(String),
}

/// Most tables that [`SnapshotProgress::under_way`] lists.
pub const TABLES_LISTED_MAX: usize = 20;

/// How far a first copy is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SnapshotProgress {
    /// Tables to copy.
    pub tables: u64,
    /// Tables that are copied, and as of one moment.
    pub tables_done: u64,
    /// Rows that are copied.
    pub rows: u64,
    /// Rows that there are, by the source's statistics.
    pub rows_estimated: u64,
    /// Rows that are copied each second.
    pub rows_per_second: u64,
    /// Until the last row, by estimate and speed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds_left: Option<u64>,
    /// Tables that are not done, those under way first; at most [`TABLES_LISTED_MAX`].
    pub under_way: Vec<TableProgress>,
}

/// How far the copy of a table is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TableProgress {
    /// Database and table, with a dot between them.
    pub table: String,
    /// In a word: `waiting`, `copying`, `settling`.
    pub state: String,
    /// Rows that are copied.
    pub rows: u64,
    /// Rows that it has, by the source's statistics; `None` before its copy begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows_estimated: Option<u64>,
    /// Rows that are copied each second.
    pub rows_per_second: u64,
    /// Until its last row, by estimate and speed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds_left: Option<u64>,
}

record! {
    /// The last commit: `…/tasks/{t}/commit`. A copy of the sink's row, never resumed from.
    example = r#"{"version":1,"generation":1,"epoch":8123,"commit_seq":991,"gtid_set":"3e11fa47-71ca-11e1-9e33-c80aa9429562:1-77","at":"2026-11-22T02:41:00Z"}"#;
    pub struct Committed {
        /// Of the epoch.
        pub generation: Generation,
        /// Who committed.
        pub epoch: Epoch,
        /// Commits of this sink.
        pub commit_seq: u64,
        /// What the sink has.
        #[serde(default)]
        pub gtid_set: String,
        /// Where reading the queue may begin, for whoever has that: a hint.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub queue: Option<QueuePlace>,
        /// When, by the Core's clock.
        pub at: Timestamp,
    }
}

/// An OPEN in a queue between processes: `docs/queue-protocol.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueuePlace {
    /// Its offset.
    pub offset: u64,
    /// Its producer's term: the directory's generation,
    pub generation: Generation,
    /// the producer's epoch,
    pub epoch: Epoch,
    /// how often the queue was opened before under that epoch,
    #[serde(default)]
    pub run: u32,
    /// and the producer.
    pub producer: Uuid,
}
