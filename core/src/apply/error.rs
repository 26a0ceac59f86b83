//! What in a change cannot be applied.

use towpath_protocol::code::{self, Code};

use crate::decode::DecodeError;

/// A change that has no exact counterpart on the sink. All of these are definite: an operator must
/// act.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// An event can't be decoded.
    #[error("transaction {gtid}: {source}")]
    Decode {
        /// The source transaction.
        gtid: String,
        /// What is wrong.
        source: DecodeError,
    },
    /// The source doesn't log column names, and it can't be known by other means which column is
    /// which.
    #[error(
        "transaction {gtid}, table {table}: its table map has no column names, and {detail}; on the source: \
         SET PERSIST binlog_row_metadata = 'FULL'. What is logged already stays without names: bring the \
         sink's table to the source's state by hand and step over these transactions (towpath explain TP1303 \
         says how), or leave the table out"
    )]
    NoMetadata {
        /// The source transaction.
        gtid: String,
        /// Database and table.
        table: String,
        /// Why the names of the source's columns can't be taken.
        detail: String,
    },
    /// An INSERT left a column to its default, which the sink's table has not.
    #[error(
        "transaction {gtid}, table {table}: an INSERT was logged without column {column}, which took its \
         default {source_default} at the source, but the sink's default is {sink_default}; give the sink's \
         column the source's default, or on the source: SET PERSIST binlog_row_image = 'FULL'"
    )]
    Default {
        /// The source transaction.
        gtid: String,
        /// Database and table.
        table: String,
        /// The column.
        column: String,
        /// The source's present default.
        source_default: String,
        /// The sink's.
        sink_default: String,
    },
    /// The sink has no such table.
    #[error(
        "transaction {gtid}: table {table} does not exist on the sink; create it there (and copy its rows \
         as of the start), or exclude it in source.tables"
    )]
    NoTable {
        /// The source transaction.
        gtid: String,
        /// Database and table.
        table: String,
    },
    /// The sink's table lacks a column.
    #[error(
        "transaction {gtid}, table {table}: the sink lacks column {column}; add it there with the source's \
         definition, or drop it at the source"
    )]
    NoColumn {
        /// The source transaction.
        gtid: String,
        /// Database and table.
        table: String,
        /// The column.
        column: String,
    },
    /// The sink's column can't hold every value of the source's.
    #[error(
        "transaction {gtid}, table {table}: column {column} is {at_sink} on the sink, but {at_source} at the \
         source; change the sink's"
    )]
    ColumnDiffers {
        /// The source transaction.
        gtid: String,
        /// Database and table.
        table: String,
        /// The column.
        column: String,
        /// Its type on the sink.
        at_sink: String,
        /// What it is at the source.
        at_source: String,
    },
    /// The source's row image is partial, and can't be applied.
    #[error(
        "transaction {gtid}, table {table}: the row image is not full, and {detail}; on the source: \
         SET PERSIST binlog_row_image = 'FULL', SET PERSIST binlog_row_value_options = '', let old sessions \
         end, then start after this transaction"
    )]
    PartialImage {
        /// The source transaction.
        gtid: String,
        /// Database and table.
        table: String,
        /// Why it takes a full one.
        detail: &'static str,
    },
    /// Two changes of one key contradict each other.
    #[error(
        "transaction {gtid}, table {table}: {detail}; the sink's key of this table is not a key at the \
         source, or the binlog is damaged"
    )]
    Contradiction {
        /// The source transaction.
        gtid: String,
        /// Database and table.
        table: String,
        /// What was expected.
        detail: &'static str,
    },
    /// A statement would not fit in the sink's max_allowed_packet.
    #[error(
        "transaction {gtid}, table {table}: one row needs a statement of {bytes} bytes, but the sink takes \
         {bytes_max}: SET GLOBAL max_allowed_packet = {wanted} on the sink (at most 1 GiB)"
    )]
    RowTooLarge {
        /// The source transaction.
        gtid: String,
        /// Database and table.
        table: String,
        /// Bytes of the statement.
        bytes: u64,
        /// The sink's bound, bytes.
        bytes_max: u64,
        /// A value that would do, bytes.
        wanted: u64,
    },
}

impl ApplyError {
    /// The error's code.
    pub fn code(&self) -> Code {
        match self {
            Self::Decode { source, .. } => source.code(),
            Self::NoMetadata { .. } => code::NO_METADATA,
            Self::Default { .. } => code::DEFAULT_DIFFERS,
            Self::NoTable { .. } => code::NO_TABLE,
            Self::NoColumn { .. } => code::NO_COLUMN,
            Self::ColumnDiffers { .. } => code::COLUMN_DIFFERS,
            Self::PartialImage { .. } => code::PARTIAL_IMAGE,
            Self::Contradiction { .. } => code::CONTRADICTION,
            Self::RowTooLarge { .. } => code::ROW_TOO_LARGE,
        }
    }
}
