//! Giving a sink's place to another directory, when the one that it belonged to is gone.
//!
//! Epochs of two directories can't be compared, so the new one's generation must be above the
//! row's: then each of its epochs is. Who still holds the sink for the former one is refused at its
//! next commit by `commit_seq`, and at its next takeover by the row's directory.

use towpath_protocol::epoch::Generation;
use towpath_protocol::spec::{PipelineSpec, SinkSpec};
use uuid::Uuid;

use super::{LeaveError, look, sink_of};
use crate::commit::intervene::{Intervention, Owner};
use crate::commit::preflight::Holder;
use crate::commit::session::Session;

/// A place that could be given to a directory.
pub struct Adopt<'a> {
    spec: &'a PipelineSpec,
    sink: &'a SinkSpec,
    owner: Owner,
    holder: Option<Holder>,
}

impl<'a> Adopt<'a> {
    /// Finds out whose the place is. Changes nothing.
    ///
    /// # Errors
    /// There is none, or it can't be read.
    pub async fn plan(spec: &'a PipelineSpec) -> Result<Adopt<'a>, LeaveError> {
        let sink = sink_of(spec)?;
        let (pipeline, name) = (spec.name.as_str(), sink.name.as_str());
        let mut session = Session::connect(name, &sink.endpoint).await?;
        let holder = look(spec, sink, &mut session).await?.holder;
        session.disconnect().await;
        let change = Intervention::begin_of_row(pipeline, name, &sink.endpoint).await?;
        let owner = change.owner().clone();
        change.give_up().await;
        Ok(Adopt {
            spec,
            sink,
            owner,
            holder,
        })
    }

    /// Whose it is.
    pub fn owner(&self) -> &Owner {
        &self.owner
    }

    /// Who writes under it now.
    pub fn holder(&self) -> Option<&Holder> {
        self.holder.as_ref()
    }

    /// Makes it that of the directory `cluster`, whose generation is `generation`.
    ///
    /// # Errors
    /// The row has changed hands since, or the sink refused it. Nothing is changed then.
    pub async fn make(self, cluster: Uuid, generation: Generation) -> Result<(), LeaveError> {
        let (pipeline, sink) = (self.spec.name.as_str(), self.sink.name.as_str());
        let mut change = Intervention::begin_of_row(pipeline, sink, &self.sink.endpoint).await?;
        let owner = change.owner().clone();
        if owner.cluster != self.owner.cluster || owner.generation >= generation {
            change.give_up().await;
            return Err(LeaveError::ChangedHands {
                owner: owner.name,
                generation: owner.generation.0,
            });
        }
        change.give_to(cluster);
        Ok(change.commit().await?)
    }
}
