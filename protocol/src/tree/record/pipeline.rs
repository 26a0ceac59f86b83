//! What the user wants of a pipeline.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

record! {
    /// What was applied: `/towpath/pipelines/{p}/spec`, and older ones in
    /// `spec/history/{revision}`.
    example = r#"{"version":1,"uuid":"0b9a4f0e-7a64-4b52-9a39-8b4f6f3b9f55","revision":3,"text":"name = \"orders\"\n","applied":"2026-11-22T02:40:00Z","by":"anna"}"#;
    pub struct AppliedSpec {
        /// The pipeline's identity: a second pipeline of the same name has another.
        pub uuid: Uuid,
        /// Counts what was applied, from 1.
        pub revision: u64,
        /// The pipeline file, `${NAME}` as it stands there: no secret.
        pub text: String,
        /// When it was applied.
        pub applied: Timestamp,
        /// By whom.
        pub by: String,
    }
}

record! {
    /// What the pipeline is to do: `/towpath/pipelines/{p}/desired`.
    example = r#"{"version":1,"state":"running","since":"2026-11-22T02:40:00Z","by":"anna","cause":"towpath apply"}"#;
    pub struct Desired {
        /// To do what.
        pub state: DesiredState,
        /// Since when.
        pub since: Timestamp,
        /// Who wants it.
        pub by: String,
        /// Why.
        pub cause: String,
    }
}

/// What a pipeline is to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DesiredState {
    /// Move data.
    Running,
    /// Hold its place, and its standbys.
    Paused,
    /// Nobody runs it.
    Stopped,
    /// Something that a newer program knows; leave the pipeline as it is.
    #[serde(untagged)]
    Other(String),
}
