//! What an operator should know.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::epoch::Epoch;
use crate::tree::name::MemberId;

record! {
    /// `/towpath/alerts/{id}`.
    example = r#"{"version":1,"rule":"lag","severity":"warning","state":"firing","subject":"orders/replica","text":"68 s behind the source","since":"2026-11-22T02:40:00Z","acknowledged_by":"anna","acknowledged":"2026-11-22T02:45:00Z","pipeline":"orders","occurrence":8123,"notified":{"oncall":{"state":"firing","at":"2026-11-22T02:40:01Z"}}}"#;
    pub struct Alert {
        /// Which rule found it.
        pub rule: String,
        /// How bad it is.
        pub severity: Severity,
        /// Whether it still is.
        pub state: AlertState,
        /// What it's about: `pipeline/task`, a member.
        pub subject: String,
        /// What it is, and what to do.
        pub text: String,
        /// Since when.
        pub since: Timestamp,
        /// When it ended.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub resolved: Option<Timestamp>,
        /// Who has seen it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub acknowledged_by: Option<String>,
        /// When.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub acknowledged: Option<Timestamp>,
        /// Whose hooks are told; those of the Monitors if there is none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub pipeline: Option<String>,
        /// The code of the error behind it, `TP1611`, if there is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub code: Option<String>,
        /// Of an event: which one, so that the same is never raised twice.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub occurrence: Option<u64>,
        /// What each hook has been told, by its name. Those of the moment when it began to fire are
        /// all here; who comes later is told only while it fires.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        pub notified: BTreeMap<String, Notified>,
    }
}

/// What a hook has been told of an alert.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Notified {
    /// The last transition that it has been told, or that was given up; none yet if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<AlertState>,
    /// When, by the Monitor's clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// Why that one was given up: the hook has **not** been told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub given_up: Option<String>,
}

record! {
    /// What the Monitors remember, so that a new leader among them misses nothing: `/towpath/seen`.
    example = r#"{"version":1,"tasks":{"orders/replica":{"member":"core-1","epoch":8123}},"servers":{"server-1":"2026-11-22T02:40:00Z"}}"#;
    #[derive(Default)]
    pub struct Seen {
        /// Who ran each task, by `pipeline/task`.
        #[serde(default)]
        pub tasks: BTreeMap<String, SeenHolder>,
        /// The Servers that were there, and since when they have been.
        #[serde(default)]
        pub servers: BTreeMap<String, Timestamp>,
    }
}

/// Who ran a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenHolder {
    /// Which Core.
    pub member: MemberId,
    /// By which right.
    pub epoch: Epoch,
}

/// How bad it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Good to know.
    Info,
    /// Look at it today.
    Warning,
    /// Wake somebody.
    Critical,
    /// Something that a newer program knows.
    #[serde(untagged)]
    Other(String),
}

impl Severity {
    /// Orders them; one that isn't known counts as the worst.
    pub fn rank(&self) -> u8 {
        match self {
            Self::Info => 0,
            Self::Warning => 1,
            Self::Critical | Self::Other(_) => 2,
        }
    }

    /// The word for it.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
            Self::Other(word) => word,
        }
    }
}

impl AlertState {
    /// The word for it.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Firing => "firing",
            Self::Resolved => "resolved",
            Self::Other(word) => word,
        }
    }
}

/// Whether an alert still holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AlertState {
    /// It does.
    Firing,
    /// It did.
    Resolved,
    /// Something that a newer program knows.
    #[serde(untagged)]
    Other(String),
}
