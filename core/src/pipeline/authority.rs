//! By which right each epoch of a pipeline writes, and whether that right is confirmed now.
//!
//! The pipeline asks; who answers stands outside of it: nobody (`towpath run` by itself), or an
//! election in the directory. Rows need no confirmation within an epoch, since the sink itself
//! judges every commit; a DDL statement, which commits by itself, waits for it.

use std::future::Future;

use tokio::sync::watch;

use super::PipelineError;
use crate::commit::takeover::Right;

/// Whether the right is confirmed at present. A sender that is gone leaves the last word.
pub type Confirmed = watch::Receiver<bool>;

/// Who grants the right to write.
pub trait Authority: Send {
    /// The right for the next epoch; a higher one each time. May wait, for a directory that
    /// doesn't answer: the pipeline stays stoppable.
    ///
    /// # Errors
    /// [`PipelineError::NotElected`] when another is to run, which ends the pipeline.
    fn right(&mut self) -> impl Future<Output = Result<Right, PipelineError>> + Send;

    /// Whether the pipeline is known to have run before. Asked only where the sink has no offset.
    ///
    /// # Errors
    /// [`PipelineError::NotElected`] when nobody can say.
    fn ran_before(&mut self) -> impl Future<Output = Result<bool, PipelineError>> + Send;

    /// Whether the right is confirmed, and each change of that.
    fn confirmed(&self) -> Confirmed;
}

/// No directory: the sink's row is all there is.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoDirectory;

impl Authority for NoDirectory {
    async fn right(&mut self) -> Result<Right, PipelineError> {
        Ok(Right::RowPlusOne)
    }

    async fn ran_before(&mut self) -> Result<bool, PipelineError> {
        Ok(false)
    }

    fn confirmed(&self) -> Confirmed {
        watch::channel(true).1
    }
}
