//! Why a sink's place is left as it is.

use towpath_protocol::code::{self, Code};

use crate::commit::SinkError;
use crate::endpoint::EndpointError;
use crate::pipeline::PipelineError;
use crate::source::SourceError;

/// A change of a sink's place that was not made.
#[derive(Debug, thiserror::Error)]
pub enum LeaveError {
    /// The source can't be asked, or hasn't what would be needed.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The sink can't be asked, or refused the change.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// An address can't be used.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The binlog can't be read.
    #[error(transparent)]
    Pipeline(Box<PipelineError>),
    /// The pipeline has no sink.
    #[error("the pipeline has no [[sink]]")]
    NoSink,
    /// The set isn't a part of the present place.
    #[error(
        "--to names transactions that the sink doesn't hold ({extra}): that would skip them, not go back; \
         name a part of what it holds ({held}), or see towpath skip"
    )]
    NotBehind {
        /// What is in the set and not in the place.
        extra: String,
        /// The place.
        held: String,
    },
    /// Schema changes lie between.
    #[error(
        "there {} between --to and the present place:{changes}\n{ways}",
        schema_changes(*.count)
    )]
    SchemaChanges {
        /// How many.
        count: usize,
        /// Each on a line of its own: GTID and statement.
        changes: String,
        /// What can be done.
        ways: &'static str,
    },
    /// Rows that can't be applied a second time.
    #[error("what lies between --to and the present place can't be applied again: {tables}: {why}")]
    NotRepeatable {
        /// Databases and tables.
        tables: String,
        /// Why, and what to do.
        why: &'static str,
    },
    /// Transactions that the source has not executed.
    #[error(
        "the source has not executed {gtids}, so nobody knows what would be left out; name transactions of \
         its gtid_executed, as the pipeline's error or towpath status shows them"
    )]
    NotExecuted {
        /// Which.
        gtids: String,
    },
    /// The place of another directory was taken over meanwhile.
    #[error(
        "the place was taken over meanwhile, by {owner} under generation {generation}; nothing was changed: look \
         whether it is to be adopted at all, and ask again"
    )]
    ChangedHands {
        /// Who has it now.
        owner: String,
        /// Under which generation.
        generation: u64,
    },
    /// A DDL statement was begun on the sink, and may be running now.
    #[error("the schema change of {gtid} is under way on the sink ({statement}): {next}")]
    UnderWay {
        /// The source transaction.
        gtid: String,
        /// The statement.
        statement: String,
        /// What to do.
        next: &'static str,
    },
}

fn schema_changes(count: usize) -> String {
    match count {
        1 => "is 1 schema change".to_owned(),
        count => format!("are {count} schema changes"),
    }
}

impl From<PipelineError> for LeaveError {
    fn from(error: PipelineError) -> Self {
        Self::Pipeline(Box::new(error))
    }
}

impl LeaveError {
    /// The pipeline never ran into the sink.
    pub(super) fn no_place(pipeline: &str, sink: &str) -> Self {
        SinkError::NoPlace {
            sink: sink.to_owned(),
            pipeline: pipeline.to_owned(),
        }
        .into()
    }

    /// The error's code.
    pub fn code(&self) -> Code {
        match self {
            Self::Source(error) => error.code(),
            Self::Sink(error) => error.code(),
            Self::Endpoint(error) => error.code(),
            Self::Pipeline(error) => error.code(),
            Self::NoSink => code::FILE_INVALID,
            Self::NotBehind { .. } => code::PLACE_NOT_BEHIND,
            Self::SchemaChanges { .. } => code::SCHEMA_CHANGES_BETWEEN,
            Self::NotRepeatable { .. } => code::NOT_REPEATABLE,
            Self::NotExecuted { .. } => code::NOT_EXECUTED,
            Self::ChangedHands { .. } => code::OFFSET_OF_ANOTHER_DIRECTORY,
            Self::UnderWay { .. } => code::SCHEMA_CHANGE_UNDER_WAY,
        }
    }
}
