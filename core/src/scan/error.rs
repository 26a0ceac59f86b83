//! What can go wrong when a table is read or made.

use towpath_protocol::code::{self, Code};

use crate::source::{Retry, code_of_driver, retry_of_driver};

/// A table that can't be read, or whose rows can't be written as they were read.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// A statement failed.
    #[error("cannot {doing}{}: {cause}; see the server's error log, and whether a proxy is in between", of(.table))]
    Sql {
        /// Database and table; empty where it's about none.
        table: String,
        /// What was tried, e.g. `read rows`.
        doing: &'static str,
        /// The driver's error.
        #[source]
        cause: Box<mysql_async::Error>,
    },
    /// The table isn't there any more, or not as it was when its definition was read.
    #[error("table {table} has changed since its definition was read: {detail}; read it anew")]
    Stale {
        /// Database and table.
        table: String,
        /// The server's words.
        detail: String,
    },
    /// The table has no key by which it could be read in chunks.
    #[error(
        "table {table} has no primary key, nor a unique one without NULLs (FLOAT doesn't count), by which it \
         could be read in chunks; give it one"
    )]
    NoKey {
        /// Database and table.
        table: String,
    },
    /// A value that no literal stands for.
    #[error("table {table}, column {column}: {what}; change the value, or leave the table out")]
    Value {
        /// Database and table.
        table: String,
        /// The column.
        column: String,
        /// What it is.
        what: String,
    },
    /// The server can't tell which types the members of a document have.
    #[error(
        "table {table}, column {column}: MySQL {version} can't list the types of a JSON document's members, \
         which 8.0.4 and later can; copy the table by other means, or leave it out"
    )]
    JsonTypes {
        /// Database and table.
        table: String,
        /// The column.
        column: String,
        /// The server's version.
        version: String,
    },
    /// The other table lacks a column.
    #[error(
        "table {table}: the sink lacks column {column}; add it there with the source's definition, or drop it \
         at the source"
    )]
    NoColumn {
        /// Database and table.
        table: String,
        /// The column.
        column: String,
    },
    /// The other table's column can't hold every value.
    #[error(
        "table {table}: column {column} is {at_sink} on the sink, but {at_source} at the source; change the \
         sink's"
    )]
    ColumnDiffers {
        /// Database and table.
        table: String,
        /// The column.
        column: String,
        /// Its type on the sink.
        at_sink: String,
        /// What it is at the source.
        at_source: String,
    },
}

fn of(table: &str) -> String {
    if table.is_empty() {
        String::new()
    } else {
        format!(" of table {table}")
    }
}

impl ScanError {
    /// A failed statement; one that failed because the table has changed is told apart.
    pub(super) fn sql(table: &str, doing: &'static str, cause: mysql_async::Error) -> Self {
        match &cause {
            // ER_BAD_DB_ERROR, ER_BAD_FIELD_ERROR, ER_NO_SUCH_TABLE, ER_KEY_DOES_NOT_EXIST,
            // ER_TABLE_DEF_CHANGED.
            mysql_async::Error::Server(error)
                if matches!(error.code, 1049 | 1054 | 1146 | 1176 | 1412) && !table.is_empty() =>
            {
                Self::Stale {
                    table: table.to_owned(),
                    detail: error.message.clone(),
                }
            }
            _ => Self::Sql {
                table: table.to_owned(),
                doing,
                cause: Box::new(cause),
            },
        }
    }

    /// The error's code.
    pub fn code(&self) -> Code {
        match self {
            Self::Sql { cause, .. } => code_of_driver(cause),
            Self::Stale { .. } => code::NO_TABLE,
            Self::NoKey { .. } => code::TABLE_DIFFERS,
            Self::Value { .. } | Self::JsonTypes { .. } => code::UNKNOWN_EVENT,
            Self::NoColumn { .. } => code::NO_COLUMN,
            Self::ColumnDiffers { .. } => code::COLUMN_DIFFERS,
        }
    }

    /// Whether trying again can help, as for a source's other errors.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Sql { cause, .. } => retry_of_driver(cause).0,
            Self::Stale { .. } => Retry::Again,
            Self::NoKey { .. }
            | Self::Value { .. }
            | Self::JsonTypes { .. }
            | Self::NoColumn { .. }
            | Self::ColumnDiffers { .. } => Retry::Stop,
        }
    }

    /// Whether the table must be looked at anew: it is gone, or has other columns than were read.
    pub fn is_stale(&self) -> bool {
        matches!(self, Self::Stale { .. })
    }
}
