//! What an operator should know.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

record! {
    /// `/towpath/alerts/{id}`.
    example = r#"{"version":1,"rule":"lag","severity":"warning","state":"firing","subject":"orders/replica","text":"68 s behind the source","since":"2026-11-22T02:40:00Z","acknowledged_by":"anna","acknowledged":"2026-11-22T02:45:00Z"}"#;
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
    }
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
