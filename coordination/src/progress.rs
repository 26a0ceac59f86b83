//! How far a task is, for people to see; nothing ever resumes from it.

use std::time::Duration;

use towpath_protocol::spec::PipelineName;
use towpath_protocol::tree::record::Progress;
use towpath_protocol::tree::{TaskName, path};

use crate::error::CoordinationError;
use crate::registration::Registration;
use crate::session::Session;

/// Between two writes of a task's progress, by default: smooth enough for an eye, and a thousand
/// tasks are no load for the directory.
pub const PROGRESS_PACE: Duration = Duration::from_millis(500);

/// Writes a task's progress into its ephemeral node, not more often than its pace.
#[derive(Debug)]
pub struct ProgressReporter(Registration<Progress>);

impl ProgressReporter {
    /// Begins to report; of the Core that runs the task only.
    ///
    /// # Errors
    /// [`CoordinationError::Record`].
    pub fn new(
        session: &Session,
        pipeline: &PipelineName,
        task: &TaskName,
        first: Progress,
        pace: Duration,
    ) -> Result<Self, CoordinationError> {
        let path = path::progress(pipeline, task);
        Registration::new(session, path, first, pace).map(Self)
    }

    /// Reports; returns at once. Of reports that come faster than the pace the last one counts.
    ///
    /// # Errors
    /// [`CoordinationError::Record`].
    pub fn report(&self, progress: Progress) -> Result<(), CoordinationError> {
        self.0.update(progress)
    }

    /// The node behind it.
    pub fn registration(&self) -> &Registration<Progress> {
        &self.0
    }

    /// Ends, and removes the node.
    ///
    /// # Errors
    /// [`CoordinationError`].
    pub async fn end(self) -> Result<(), CoordinationError> {
        self.0.withdraw().await
    }
}
