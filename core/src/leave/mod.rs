//! What takes a sink off the path of its source's transactions, and how it comes back: going back
//! to an older place ([`rewind`]), leaving transactions out ([`skip`]), giving a place to another
//! directory ([`adopt`]).
//!
//! All three are one transaction of the sink under its locked offset row
//! ([`crate::commit::intervene`]): `commit_seq` goes up by one, so a lane that was under way is
//! refused at its next commit, and one that rests sees it; the next epoch begins at the new place.
//! The pipeline may run meanwhile, or stand still.
//!
//! Invariants: what is given up or comes twice is known before anything is changed, by reading it
//! in the source's binlog ([`survey`]), and known anew once the row is locked; nothing is written
//! to a source; a place is never moved to where the pipeline could not go on from.

mod error;
mod source;
pub mod survey;
pub mod rewind;
pub mod skip;
pub mod adopt;

pub use adopt::Adopt;
pub use error::LeaveError;
pub use rewind::{Replay, Rewind};
pub use skip::Skip;
pub use survey::{RowCounts, SchemaChange, Survey};

use towpath_protocol::gtid::GtidSet;
use towpath_protocol::spec::{PipelineSpec, SinkSpec};

use crate::commit::SinkError;
use crate::commit::preflight::{Offset, StoredOffset, read_offset};
use crate::commit::session::Session;

/// What a sink's place was and is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    /// The GTIDs that the sink held.
    pub before: GtidSet,
    /// Those that it counts as holding now.
    pub after: GtidSet,
}

/// What is in both sets.
fn both(one: &GtidSet, other: &GtidSet) -> GtidSet {
    one.subtract(&one.subtract(other))
}

/// The only sink of a pipeline, or the first one.
fn sink_of(spec: &PipelineSpec) -> Result<&SinkSpec, LeaveError> {
    spec.sinks.first().ok_or(LeaveError::NoSink)
}

/// The offset row as it is now, without a lock.
async fn look(
    spec: &PipelineSpec,
    sink: &SinkSpec,
    session: &mut Session,
) -> Result<Box<StoredOffset>, LeaveError> {
    let (pipeline, sink) = (spec.name.as_str(), sink.name.as_str());
    let offset = read_offset(session.conn(), pipeline, sink).await;
    let offset =
        offset.map_err(|error| SinkError::from_driver(sink, "read the offset row", error))?;
    let unreadable = |why: String| SinkError::OffsetRow {
        sink: sink.to_owned(),
        pipeline: pipeline.to_owned(),
        what: "towpath.offset",
        why,
    };
    match offset {
        Offset::Stored(stored) => Ok(stored),
        Offset::Absent => Err(LeaveError::no_place(pipeline, sink)),
        Offset::Unreadable(why) => Err(unreadable(why).into()),
        Offset::Hidden => Err(unreadable("the account may not read it".to_owned()).into()),
    }
}

/// What the sink holds as it is now, without a lock.
async fn held(
    spec: &PipelineSpec,
    sink: &SinkSpec,
    session: &mut Session,
) -> Result<GtidSet, LeaveError> {
    let stored = look(spec, sink, session).await?;
    stored
        .gtids
        .ok_or_else(|| LeaveError::no_place(spec.name.as_str(), sink.name.as_str()))
}
