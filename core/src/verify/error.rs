//! What keeps two tables from being compared, or a repair from being made.

use towpath_protocol::code::{self, Code};

use super::report::Hindrance;
use crate::check::Side;
use crate::commit::SinkError;
use crate::endpoint::EndpointError;
use crate::pipeline::snapshot::CopyError;
use crate::scan::ScanError;
use crate::source::SourceError;

/// A comparison or a repair that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The source can't be asked.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The sink can't be asked, or refused a change.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// A table can't be written beside the stream.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// An address can't be used.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// A statement of ours failed.
    #[error("{} {doing}{}: {cause}", .side.word(), of(.table))]
    Statement {
        /// Which server.
        side: Side,
        /// What was being done.
        doing: &'static str,
        /// Database and table; empty where it's about none.
        table: String,
        /// The driver's error.
        #[source]
        cause: Box<mysql_async::Error>,
    },
    /// A table can't be read, or its rows can't be written.
    #[error("{}: {error}", .side.word())]
    Scan {
        /// Which server was read.
        side: Side,
        /// What is wrong.
        #[source]
        error: ScanError,
    },
    /// A server answered what no statement of ours asks for.
    #[error("{} {doing}: the answer can't be read: {why}", .side.word())]
    Answer {
        /// Which server.
        side: Side,
        /// What was being done.
        doing: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// The pipeline has no sink.
    #[error("the pipeline has no [[sink]]")]
    NoSink,
    /// Nothing to compare.
    #[error(
        "{table} is no table that the pipeline takes: the source has no such table, our account can't see it, \
         or `tables` in [source] leaves it out{nearest}"
    )]
    NoSuchTable {
        /// As it was asked for.
        table: String,
        /// What may be meant; empty, or begins with a semicolon.
        nearest: String,
    },
    /// A table is in the course of being copied, so it isn't the pipeline's to repair.
    #[error(
        "{table} is being copied ({state}): what differs in it is about to be written; wait until the copy \
         is done (towpath status)"
    )]
    Copying {
        /// Database and table.
        table: String,
        /// Its state in `towpath.snapshot`.
        state: &'static str,
    },
    /// A table without a key.
    #[error(
        "{table} has no primary key, nor a unique one without NULLs, by which its rows could be told apart; \
         give it one"
    )]
    NoKey {
        /// Database and table.
        table: String,
    },
    /// The sink's table may have several rows of one key.
    #[error(
        "{table}: the sink's table has no unique index on {key} alone, the source's key, so a repair could write \
         rows a second time; give it one, with ALTER TABLE on the sink"
    )]
    NoSinkKey {
        /// Database and table.
        table: String,
        /// Columns.
        key: String,
    },
    /// The condition of a copy can't be used.
    #[error("--where {condition:?} is no condition on {table}: {why}")]
    Condition {
        /// Database and table.
        table: String,
        /// The condition.
        condition: String,
        /// The source's words.
        why: String,
    },
    /// The sink doesn't get up to the source.
    #[error(
        "the sink has not got up to the source: it holds {held}, and has got no nearer for {waited_s} s; {} the \
         source has executed are still to come, so what differs can't be told from what is late. See that the \
         pipeline runs (towpath status), and verify again",
        transactions(*.behind)
    )]
    StandsStill {
        /// The sink's GTID set.
        held: String,
        /// How many transactions it lacks.
        behind: u64,
        /// How long it got no nearer, seconds.
        waited_s: u64,
    },
}

fn of(table: &str) -> String {
    match table {
        "" => String::new(),
        table => format!(" of {table}"),
    }
}

fn transactions(count: u64) -> String {
    match count {
        1 => "1 transaction that".to_owned(),
        count => format!("{count} transactions that"),
    }
}

/// Whether a connection is gone, and with it all further comparing.
fn is_lost(error: &mysql_async::Error) -> bool {
    !matches!(error, mysql_async::Error::Server(_))
}

impl VerifyError {
    /// A statement of ours that a server refused, or didn't answer.
    pub(super) fn statement(
        side: Side,
        doing: &'static str,
        table: &str,
        cause: mysql_async::Error,
    ) -> Self {
        Self::Statement {
            side,
            doing,
            table: table.to_owned(),
            cause: Box::new(cause),
        }
    }

    /// The error's code.
    pub fn code(&self) -> Code {
        match self {
            Self::Source(error) => error.code(),
            Self::Sink(error) => error.code(),
            Self::Copy(error) => error.code(),
            Self::Endpoint(error) => error.code(),
            Self::Statement { side, cause, .. } => side.code(cause),
            Self::Scan { side, error } => match (side, error) {
                (Side::Sink, ScanError::Sql { cause, .. }) => side.code(cause),
                _ => error.code(),
            },
            Self::Answer { side, .. } => match side {
                Side::Source => code::SOURCE_PROTOCOL,
                Side::Sink => code::SINK_PROTOCOL,
            },
            Self::NoSink => code::FILE_INVALID,
            Self::NoSuchTable { .. } => code::NO_SUCH_TABLE,
            Self::NoKey { .. } | Self::NoSinkKey { .. } => code::NO_KEY,
            Self::Copying { .. } => code::TABLE_BEING_COPIED,
            Self::Condition { .. } => code::BAD_CONDITION,
            Self::StandsStill { .. } => code::SINK_STANDS_STILL,
        }
    }

    /// Whether it is in the way of one table, and others may well be compared.
    pub(super) fn is_of_one_table(&self) -> bool {
        match self {
            Self::NoSuchTable { .. }
            | Self::Copying { .. }
            | Self::NoKey { .. }
            | Self::NoSinkKey { .. }
            | Self::Copy(_) => true,
            // What can't be read, and what isn't ours to read.
            Self::Scan { error, .. } => {
                !matches!(error, ScanError::Sql { cause, .. } if is_lost(cause))
            }
            Self::Statement { cause, table, .. } => !table.is_empty() && !is_lost(cause),
            Self::Answer { .. } => true,
            Self::Source(_)
            | Self::Sink(_)
            | Self::Endpoint(_)
            | Self::NoSink
            | Self::Condition { .. }
            | Self::StandsStill { .. } => false,
        }
    }

    /// As a table's report tells it.
    pub(super) fn hindrance(&self) -> Hindrance {
        Hindrance {
            code: self.code(),
            text: self.to_string(),
        }
    }

    /// Whether the table has changed since its definition was read, and may be looked at anew.
    pub(super) fn is_stale(&self) -> bool {
        // ER_BAD_FIELD_ERROR, ER_NO_SUCH_TABLE, ER_KEY_DOES_NOT_EXIST, ER_TABLE_DEF_CHANGED.
        match self {
            Self::Scan { error, .. } => error.is_stale(),
            Self::Statement { cause, .. } => matches!(&**cause, mysql_async::Error::Server(error)
                if matches!(error.code, 1054 | 1146 | 1176 | 1412)),
            _ => false,
        }
    }

    /// Whether the sink's transaction was a victim of a lock, and may be tried again: a lane that
    /// was writing waits for the offset row that we hold, and we for its rows.
    pub(super) fn is_lock_clash(&self) -> bool {
        // ER_LOCK_WAIT_TIMEOUT, ER_LOCK_DEADLOCK.
        matches!(self, Self::Sink(SinkError::Server { code, .. }) if matches!(code, 1205 | 1213))
    }
}
