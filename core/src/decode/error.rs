//! What can be wrong with the bytes of an event.

use towpath_protocol::code::{self, Code};
use towpath_protocol::gtid::GtidDecodeError;

use super::EventType;

/// Bytes that are not what MySQL writes, or that this version cannot read. Retrying does not help:
/// the same bytes give the same error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end before the thing does.
    #[error("{what} is cut short: {needed} bytes wanted at offset {offset}, {available} are there")]
    Truncated {
        /// What was being read.
        what: &'static str,
        /// Offset in it, in bytes.
        offset: usize,
        /// Bytes that the next field takes.
        needed: usize,
        /// Bytes that are left.
        available: usize,
    },
    /// The bytes are complete but cannot mean what they say.
    #[error("{what} is malformed at offset {offset}: {detail}")]
    Malformed {
        /// What was being read.
        what: &'static str,
        /// Offset in it, in bytes.
        offset: usize,
        /// What is wrong.
        detail: Box<str>,
    },
    /// The CRC32 behind an event differs from the one of its bytes.
    #[error(
        "{event_type} event fails its checksum: the event says {stored:08x}, its bytes give \
         {computed:08x}; it was damaged on the way or on the source's disk, `mysqlbinlog \
         --verify-binlog-checksum` on the source tells which"
    )]
    Checksum {
        /// The type that the (possibly damaged) header names.
        event_type: EventType,
        /// The checksum behind the event.
        stored: u32,
        /// The checksum of the bytes.
        computed: u32,
    },
    /// An event of another type than the parser is for.
    #[error("expected {expected}, found a {found} event")]
    UnexpectedEvent {
        /// What was asked for.
        expected: &'static str,
        /// What is there.
        found: EventType,
    },
    /// A feature that this version does not read.
    #[error("{what} cannot be read: {hint}")]
    Unsupported {
        /// The feature.
        what: Box<str>,
        /// What the operator can do.
        hint: &'static str,
    },
    /// A status variable of a query event that is not known: the statement would run under other
    /// settings than on the source.
    #[error(
        "query event has status variable code {code} at offset {offset}, which is not known; the \
         source may be newer than this version supports"
    )]
    UnknownStatusVariable {
        /// The code (`Query_event_post_header` codes in `statement_events.h`).
        code: u8,
        /// Offset in the status variables, in bytes.
        offset: usize,
    },
    /// A rows event and the table map before it have different numbers of columns.
    #[error(
        "rows event for table id {table_id} has {rows} columns, the table map of \
         `{database}`.`{table}` has {table_map}"
    )]
    ColumnCount {
        /// Table id in the rows event.
        table_id: u64,
        /// Columns of the rows event.
        rows: usize,
        /// Columns of the table map.
        table_map: usize,
        /// Database of the table map.
        database: Box<str>,
        /// Table of the table map.
        table: Box<str>,
    },
    /// The GTIDs of earlier files cannot be read.
    #[error("previous gtids event: {0}")]
    PreviousGtids(#[from] GtidDecodeError),
    /// A column's value cannot be read.
    #[error("column {column} of `{database}`.`{table}`: {source}")]
    Column {
        /// Database.
        database: Box<str>,
        /// Table.
        table: Box<str>,
        /// Name, or number from 1 where the source does not send names.
        column: Box<str>,
        /// What is wrong with it.
        source: Box<DecodeError>,
    },
}

impl DecodeError {
    /// The error's code.
    pub fn code(&self) -> Code {
        match self {
            Self::Checksum { .. } => code::CHECKSUM,
            Self::Truncated { .. }
            | Self::Malformed { .. }
            | Self::UnexpectedEvent { .. }
            | Self::ColumnCount { .. }
            | Self::PreviousGtids(_) => code::DAMAGED,
            Self::Unsupported { .. } | Self::UnknownStatusVariable { .. } => code::UNKNOWN_EVENT,
            Self::Column { source, .. } => source.code(),
        }
    }

    /// A [`DecodeError::Malformed`].
    #[cold]
    pub(crate) fn malformed(
        what: &'static str,
        offset: usize,
        detail: impl std::fmt::Display,
    ) -> Self {
        Self::Malformed {
            what,
            offset,
            detail: detail.to_string().into(),
        }
    }
}
