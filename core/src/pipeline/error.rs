//! Why a pipeline ended an epoch, and whether another one may help.

use towpath_protocol::code::{self, Code};

use super::snapshot::CopyError;
use crate::apply::ApplyError;
use crate::batch::BatchError;
use crate::commit::{Advice, SinkError};
use crate::decode::DecodeError;
use crate::endpoint::EndpointError;
use crate::queue::QueueError;
use crate::source::{Retry, SourceError};

/// An error of a pipeline.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// The pipeline file names no sink.
    #[error("the pipeline has no [[sink]]")]
    NoSink,
    /// The source's address can't be used.
    #[error("source: {0}")]
    Endpoint(#[source] EndpointError),
    /// The source has no server UUID.
    #[error(
        "source: version {version} has no server_uuid; this version of Towpath replicates from MySQL 5.7 \
         and later"
    )]
    NoServerUuid {
        /// The source's version.
        version: String,
    },
    /// The source, or the connection to it.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The binlog holds what can't be carried.
    #[error("source: {0}")]
    Batch(#[from] BatchError),
    /// A queued event can't be read.
    #[error("queue: transaction {gtid}: {source}")]
    Decode {
        /// The source transaction.
        gtid: String,
        /// What is wrong.
        source: DecodeError,
    },
    /// Rows of a table that was not described before them.
    #[error(
        "queue: transaction {gtid} has rows for table id {table_id} without a table map before them; the \
         binlog is damaged"
    )]
    NoTableMap {
        /// The source transaction.
        gtid: String,
        /// The table id.
        table_id: u64,
    },
    /// A change that can't be applied.
    #[error("apply: {0}")]
    Apply(Box<ApplyError>),
    /// Existing rows can't be copied.
    #[error("snapshot: {0}")]
    Copy(Box<CopyError>),
    /// The sink.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// The log between producer and consumers.
    #[error(transparent)]
    Queue(Box<QueueError>),
    /// The other end of the queue is gone.
    #[error("the queue was closed while the pipeline ran")]
    QueueClosed,
    /// The dump was lost in the middle of a large transaction of which parts were queued already.
    #[error("the source was lost inside transaction {gtid}: {source}")]
    LostInside {
        /// The source transaction.
        gtid: String,
        /// Why.
        source: SourceError,
    },
    /// The directory lets another one run, or its answer has ended with our session.
    #[error("another Core may run this task now: {detail}")]
    NotElected {
        /// What the directory said.
        detail: String,
    },
    /// A task of the program itself failed.
    #[error("internal: a task ended unexpectedly: {0}")]
    Task(#[source] tokio::task::JoinError),
}

impl From<ApplyError> for PipelineError {
    fn from(error: ApplyError) -> Self {
        Self::Apply(Box::new(error))
    }
}

impl From<CopyError> for PipelineError {
    fn from(error: CopyError) -> Self {
        Self::Copy(Box::new(error))
    }
}

impl From<QueueError> for PipelineError {
    fn from(error: QueueError) -> Self {
        Self::Queue(Box::new(error))
    }
}

/// What a pipeline does about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Course {
    /// The next epoch, after a pause.
    TakeOverAgain,
    /// The end: an operator, or another owner, must act.
    End,
}

impl PipelineError {
    /// The error's code.
    pub fn code(&self) -> Code {
        match self {
            PipelineError::NoSink => code::SPEC_MISMATCH,
            PipelineError::Endpoint(error) => error.code(),
            PipelineError::NoServerUuid { .. } => code::SOURCE_PRODUCT,
            PipelineError::Source(error) => error.code(),
            PipelineError::Batch(error) => error.code(),
            PipelineError::Decode { source, .. } => source.code(),
            PipelineError::NoTableMap { .. } => code::DAMAGED,
            PipelineError::Apply(error) => error.code(),
            PipelineError::Copy(error) => error.code(),
            PipelineError::Sink(error) => error.code(),
            PipelineError::LostInside { source, .. } => source.code(),
            PipelineError::Queue(error) => error.code(),
            PipelineError::NotElected { .. } => code::NOT_ELECTED,
            PipelineError::QueueClosed | PipelineError::Task(_) => code::INTERNAL,
        }
    }

    /// Classifies every error.
    pub fn course(&self) -> Course {
        match self {
            // The dump's UUID is this pipeline's and sink's own, so the other one is a process of
            // this pipeline: whoever of the two was superseded learns it from the offset row.
            PipelineError::Source(SourceError::ServerIdClash) => Course::TakeOverAgain,
            PipelineError::Source(source) => match source.retry().0 {
                Retry::Again => Course::TakeOverAgain,
                Retry::Stop => Course::End,
            },
            PipelineError::Sink(sink) => match sink.advice() {
                Advice::Retry => Course::TakeOverAgain,
                Advice::GiveUp | Advice::Stop => Course::End,
            },
            PipelineError::Copy(error) => match error.advice() {
                Advice::Retry => Course::TakeOverAgain,
                Advice::GiveUp | Advice::Stop => Course::End,
            },
            PipelineError::Queue(error) => match error.passes() {
                true => Course::TakeOverAgain,
                false => Course::End,
            },
            PipelineError::QueueClosed | PipelineError::LostInside { .. } => Course::TakeOverAgain,
            PipelineError::NoSink
            | PipelineError::NotElected { .. }
            | PipelineError::Endpoint(_)
            | PipelineError::NoServerUuid { .. }
            | PipelineError::Batch(_)
            | PipelineError::Decode { .. }
            | PipelineError::NoTableMap { .. }
            | PipelineError::Apply(_)
            | PipelineError::Task(_) => Course::End,
        }
    }

    /// Whether it is about a change that can't be applied, which a batch may hold among others.
    pub fn is_of_a_change(&self) -> bool {
        match self {
            PipelineError::Apply(_) => true,
            PipelineError::Sink(SinkError::Diverged { .. } | SinkError::Server { .. }) => {
                self.course() == Course::End
            }
            _ => false,
        }
    }

    /// Whether another owner has taken the sink over, or may do so: no failure of this one.
    pub fn is_superseded(&self) -> bool {
        match self {
            PipelineError::Sink(SinkError::Superseded { .. })
            | PipelineError::NotElected { .. } => true,
            PipelineError::Queue(error) => error.is_superseded(),
            _ => false,
        }
    }
}
