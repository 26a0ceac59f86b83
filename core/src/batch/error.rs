//! What in a binlog cannot be carried.

use towpath_protocol::code::{self, Code};

use crate::decode::{DecodeError, EventType};

/// The binlog holds something that has no place in a row-based stream of transactions.
///
/// All of these are definite: reading the same binlog again ends at the same event.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    /// An event's framing is broken.
    #[error("{file}:{offset}: {source}")]
    Decode {
        /// Binlog file.
        file: String,
        /// End offset of the event, bytes.
        offset: u64,
        /// What is wrong.
        source: DecodeError,
    },
    /// A change was logged as a statement.
    #[error(
        "{file}:{offset}: transaction {gtid} logs a change as a statement ({statement}); only row format \
         can be replicated exactly: SET GLOBAL binlog_format = 'ROW' on the source, let old sessions \
         end, then step over this transaction"
    )]
    StatementFormat {
        /// Binlog file.
        file: String,
        /// End offset of the event, bytes.
        offset: u64,
        /// The transaction.
        gtid: String,
        /// The statement, shortened.
        statement: String,
    },
    /// A half of an XA transaction that can't be carried.
    #[error(
        "{file}:{offset}: transaction {gtid} (XA {xid}): {reason}; then step over this transaction \
         (docs/schema-changes.md)"
    )]
    Xa {
        /// Binlog file.
        file: String,
        /// End offset of the event, bytes.
        offset: u64,
        /// The transaction.
        gtid: String,
        /// The XA transaction's id, as logged.
        xid: String,
        /// Why it cannot be carried and what to do.
        reason: &'static str,
    },
    /// An event kind that this version does not carry.
    #[error("{file}:{offset}: transaction {gtid} holds a {event_type} event: {reason}")]
    Unsupported {
        /// Binlog file.
        file: String,
        /// End offset of the event, bytes.
        offset: u64,
        /// The transaction, or `-` outside of one.
        gtid: String,
        /// The event's type.
        event_type: EventType,
        /// Why it cannot be carried and what to do.
        reason: &'static str,
    },
    /// An event stands where it must not, e.g. rows outside of a transaction.
    #[error(
        "{file}:{offset}: {event_type} event out of place ({detail}); the binlog is damaged or was \
         entered in the middle of a transaction"
    )]
    OutOfPlace {
        /// Binlog file.
        file: String,
        /// End offset of the event, bytes.
        offset: u64,
        /// The event's type.
        event_type: EventType,
        /// What was expected.
        detail: &'static str,
    },
}

impl BatchError {
    /// The error's code.
    pub fn code(&self) -> Code {
        match self {
            Self::Decode { source, .. } => source.code(),
            Self::StatementFormat { .. } => code::STATEMENT_FORMAT,
            Self::Xa { .. } => code::NOT_CARRIED,
            Self::Unsupported { event_type, .. } => of_event(*event_type),
            Self::OutOfPlace { .. } => code::DAMAGED,
        }
    }
}

/// Why an event of this type is not carried.
fn of_event(event_type: EventType) -> Code {
    match event_type {
        EventType::ANONYMOUS_GTID => code::ANONYMOUS,
        EventType::INCIDENT => code::INCIDENT,
        // Changes as statements, and what goes with them.
        EventType::INTVAR
        | EventType::RAND
        | EventType::USER_VAR
        | EventType::APPEND_BLOCK
        | EventType::BEGIN_LOAD_QUERY
        | EventType::EXECUTE_LOAD_QUERY
        | EventType::DELETE_FILE => code::STATEMENT_FORMAT,
        EventType::XA_PREPARE | EventType::QUERY | EventType::TABLE_MAP => code::NOT_CARRIED,
        _ => code::UNKNOWN_EVENT,
    }
}
