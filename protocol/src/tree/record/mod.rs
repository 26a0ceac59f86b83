//! What the nodes of the tree hold: JSON objects, each with a `version`.
//!
//! Compatibility: a field is only ever added, with a default; a meaning never changes. So an old
//! program reads a new record, and what it doesn't know it keeps in [`Versioned::unknown`] and
//! writes back. A value of an enum that it doesn't know is kept as it is, in `Other`.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Declares a record with its example, which is also in its documentation.
macro_rules! record {
    (
        $(#[$doc:meta])*
        example = $example:literal;
        $(#[$attribute:meta])*
        pub struct $name:ident { $($fields:tt)* }
    ) => {
        $(#[$doc])*
        ///
        #[doc = concat!("```json\n", $example, "\n```")]
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        $(#[$attribute])*
        pub struct $name { $($fields)* }

        impl $crate::tree::record::Record for $name {
            const NAME: &'static str = stringify!($name);
            const VERSION: u32 = 1;
            const EXAMPLE: &'static str = $example;
        }
    };
}

mod cluster;
mod config;
mod member;
mod pipeline;
mod instance;
mod progress;
mod life;
mod journal;
mod command;
mod alert;
mod lock;
#[cfg(test)]
mod tests;

pub use alert::{Alert, AlertState, Notified, Seen, SeenHolder, Severity};
pub use cluster::{Cluster, DataSource};
pub use command::{Action, Answer, Command, DirectoryAction, MemberAddress, Outcome, Taken};
pub use config::{LimitsConfig, LogConfig};
pub use instance::{Assignment, EpochHolder, Instance, InstanceState};
pub use journal::{Journal, Operation, OperationStep, Restart, Retry};
pub use life::{Drain, Failure, HISTORY_MAX, HistoryEvent, LifeState, PipelineStatus, Probe};
pub use lock::LockHolder;
pub use member::{DirectoryMembers, Load, Member, MemberBehind};
pub use pipeline::{AppliedSpec, Desired, DesiredState};
pub use progress::{
    Committed, Progress, QueuePlace, SnapshotProgress, TABLES_LISTED_MAX, TableProgress, TaskState,
};

/// The most bytes of a record; the directory refuses nodes of about 1 MiB.
pub const RECORD_BYTES_MAX: usize = 900 << 10;

/// What a node of the tree can hold.
pub trait Record: Serialize + DeserializeOwned + Clone + Send + Sync + 'static {
    /// What it's called in errors.
    const NAME: &'static str;
    /// The version that this program writes.
    const VERSION: u32;
    /// A whole record, as it is in the tree.
    const EXAMPLE: &'static str;
}

/// A node's data that can't be read, or a record that can't be written.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Not the record's JSON.
    #[error("not a {record} record; see `towpath dir get`, and correct or remove the node")]
    Json {
        /// Which record.
        record: &'static str,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// Too large for a node.
    #[error("a {record} record of {bytes} bytes; a node holds {RECORD_BYTES_MAX}")]
    TooLarge {
        /// Which record.
        record: &'static str,
        /// Its size.
        bytes: usize,
    },
}

/// A record with its version, and whatever a newer program added to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(bound = "T: Record")]
pub struct Versioned<T> {
    /// The version that its last writer knew.
    pub version: u32,
    /// The record.
    #[serde(flatten)]
    pub record: T,
    /// Fields that this program doesn't know.
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

impl<T: Record> Versioned<T> {
    /// A record that is new, in the version of this program.
    pub fn new(record: T) -> Self {
        Self {
            version: T::VERSION,
            record,
            unknown: Map::new(),
        }
    }

    /// Reads a node's data.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn from_json(data: &[u8]) -> Result<Self, RecordError> {
        check_size(T::NAME, data)?;
        serde_json::from_slice(data).map_err(|source| RecordError::Json {
            record: T::NAME,
            source,
        })
    }

    /// The node's data. Keeps a newer version's number with its unknown fields.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn to_json(&self) -> Result<Vec<u8>, RecordError> {
        let data = serde_json::to_vec(self).map_err(|source| RecordError::Json {
            record: T::NAME,
            source,
        })?;
        check_size(T::NAME, &data)?;
        Ok(data)
    }
}

impl<T: Record> From<T> for Versioned<T> {
    fn from(record: T) -> Self {
        Self::new(record)
    }
}

fn check_size(record: &'static str, data: &[u8]) -> Result<(), RecordError> {
    if data.len() > RECORD_BYTES_MAX {
        return Err(RecordError::TooLarge {
            record,
            bytes: data.len(),
        });
    }
    Ok(())
}
