//! Why tables can't be copied.

use towpath_protocol::code::{self, Code};

use crate::commit::Advice;
use crate::scan::{CreateError, ScanError};
use crate::source::{Retry, code_of_driver, retry_of_driver};

/// An error of a copy.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// Tables that the sink lacks.
    #[error(
        "the sink lacks {tables}, which the first copy is to fill; create them there with the source's definitions \
         (mysqldump --no-data), or leave them out of source.tables"
    )]
    NoTable {
        /// Databases and tables.
        tables: String,
    },
    /// Definitions can't be read, or made on the sink.
    #[error("{0}")]
    Create(#[source] CreateError),
    /// Schema changes at the source without a pause.
    #[error(
        "the source's tables are being altered without a pause, so that there is no moment of which the \
         definitions are known; start again when that has ended"
    )]
    Altered,
    /// Tables that have rows already.
    #[error(
        "the sink has rows in {tables} already, which a first copy would mix with the source's; if they may go, \
         TRUNCATE them on the sink and start again. If they are a copy made by other means, write \
         snapshot = \"never\" and a start that fits it"
    )]
    NotEmpty {
        /// Databases and tables.
        tables: String,
    },
    /// Tables without a key by which they could be copied.
    #[error(
        "{tables}: no primary key, nor a unique one without NULLs, by which rows could be copied in chunks and \
         found again; {next}"
    )]
    Keyless {
        /// Databases and tables.
        tables: String,
        /// What to do.
        next: &'static str,
    },
    /// A table that has a key on the sink alone.
    #[error(
        "table {table} has a key on the sink and none at the source: rows that are the same there could not all \
         be here; give the source's table that key, or drop the sink's"
    )]
    SinkHasKey {
        /// Database and table.
        table: String,
    },
    /// A unique index that the sink alone has.
    #[error(
        "table {table} has a unique index {index} on the sink that the source doesn't have: rows that are allowed \
         there would take each other's place here; on the sink: ALTER TABLE {table} DROP INDEX {index}, or give \
         the source's table that index"
    )]
    SinkUnique {
        /// Database and table.
        table: String,
        /// The index.
        index: String,
    },
    /// A table without a key can't be locked for the moment at which it is read.
    #[error(
        "the source: cannot lock table {table} against writes for a moment, without which a table that has no \
         key can't be copied: {cause}; where that is denied, {grant} to our account; where a transaction is long, \
         wait for its end"
    )]
    Lock {
        /// Database and table.
        table: String,
        /// The beginning of the statement that allows it.
        grant: String,
        /// The driver's error.
        #[source]
        cause: Box<mysql_async::Error>,
    },
    /// Tables whose rows the source changes without logging it.
    #[error(
        "foreign keys of {tables} cascade, or set columns, and this source doesn't log which rows they change: \
         such rows would be lost to a copy that is under way. Leave these tables out, copy by other means \
         with snapshot = \"never\", or replicate from MySQL 9.6 or later (innodb_native_foreign_keys = OFF)"
    )]
    Cascades {
        /// Databases and tables.
        tables: String,
    },
    /// The source logs parts of rows.
    #[error(
        "the source has {variable} = {value}: what it logs are parts of rows, from which a table that is being \
         copied can't be brought up to date; on the source: SET PERSIST {variable} = '{wanted}' (sessions keep \
         their old value until they reconnect)"
    )]
    Parts {
        /// The system variable.
        variable: &'static str,
        /// What it is.
        value: String,
        /// What it must be.
        wanted: &'static str,
    },
    /// The source that answers lacks what was streamed from it.
    #[error(
        "the source did not show {missing} within {waited_s} s, though it has sent these transactions; is it \
         another server than the one that streams, or does it wait for a replica's acknowledgement?"
    )]
    NotVisible {
        /// GTIDs.
        missing: String,
        /// Seconds waited.
        waited_s: u64,
    },
    /// A key of the sink's record can't be read.
    #[error(
        "towpath.snapshot on the sink: {column} of {table} can't be read: {why}; set it and after_key to NULL and \
         state to 'waiting', so that the table is copied anew"
    )]
    Record {
        /// Database and table.
        table: String,
        /// The column.
        column: &'static str,
        /// Why.
        why: String,
    },
    /// A table can't be read.
    #[error("source: {0}")]
    Scan(#[from] ScanError),
}

impl CopyError {
    /// The error's code.
    pub fn code(&self) -> Code {
        match self {
            CopyError::NoTable { .. } => code::NO_TABLE,
            CopyError::Create(error) => error.code(),
            CopyError::Altered => code::COPY_NOT_VISIBLE,
            CopyError::NotEmpty { .. } => code::COPY_NOT_EMPTY,
            CopyError::Keyless { .. } | CopyError::SinkHasKey { .. } => code::COPY_KEYLESS,
            CopyError::SinkUnique { .. } => code::COPY_SINK_UNIQUE,
            CopyError::Lock { cause, .. } => code_of_driver(cause),
            CopyError::Parts { .. } => code::PARTIAL_IMAGE,
            CopyError::Cascades { .. } => code::COPY_CASCADES,
            CopyError::NotVisible { .. } => code::COPY_NOT_VISIBLE,
            CopyError::Record { .. } => code::OFFSET_DAMAGED,
            CopyError::Scan(error) => error.code(),
        }
    }

    /// Whether trying again can help.
    pub fn advice(&self) -> Advice {
        match self {
            CopyError::NotVisible { .. } | CopyError::Altered => Advice::Retry,
            CopyError::Create(error) => match error.retry() {
                Retry::Again => Advice::Retry,
                Retry::Stop => Advice::Stop,
            },
            CopyError::Scan(error) => match error.retry() {
                Retry::Again => Advice::Retry,
                Retry::Stop => Advice::Stop,
            },
            CopyError::Lock { cause, .. } => match retry_of_driver(cause).0 {
                Retry::Again => Advice::Retry,
                Retry::Stop => Advice::Stop,
            },
            CopyError::NoTable { .. }
            | CopyError::SinkHasKey { .. }
            | CopyError::SinkUnique { .. }
            | CopyError::NotEmpty { .. }
            | CopyError::Keyless { .. }
            | CopyError::Parts { .. }
            | CopyError::Cascades { .. }
            | CopyError::Record { .. } => Advice::Stop,
        }
    }
}
