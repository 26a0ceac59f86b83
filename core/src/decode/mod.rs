//! Decoder of MySQL's binlog events: what the bytes of an event mean, and nothing else.
//!
//! - Everything is borrowed from the event's bytes and decoded when it is asked for. A table map is
//!   parsed once into an owned [`TableMap`]; rows are read with it without an allocation per row.
//! - Every read is checked. No sequence of bytes makes it panic; bytes that are not what MySQL
//!   writes give a [`DecodeError`] that says what was being read, and where.
//! - An event is the 19-byte header and its body. Checksums are taken off first, with
//!   [`checksum::verify`]; nothing else here expects them.
//! - It never reads a socket or a file, never asks a server, never guesses: a type, a status
//!   variable or a metadata field that changes the meaning and is not known is an error.
//!
//! Formats follow MySQL's own sources (`libs/mysql/binlog/event/`, `sql-common/json_binary.cc`,
//! `mysys/my_time.cc`, `strings/decimal.cc`), file by file, under MySQL's names.

mod reader;
pub mod error;
pub mod event_type;
pub mod header;
pub mod checksum;
pub mod format_description;
pub mod rotate;
pub mod heartbeat;
pub mod previous_gtids;

pub mod gtid_event;
pub mod query;
pub mod status_vars;
pub mod xid;
pub mod rows_query;
pub mod column;
pub mod table_map;
pub mod table_metadata;
pub mod rows;
pub mod value;
pub mod decimal;
pub mod temporal;
pub mod json;

pub use column::{Column, ColumnKind};
pub use decimal::Decimal;
pub use error::DecodeError;
pub use event_type::EventType;
pub use format_description::{ChecksumAlgorithm, FormatDescription};
pub use gtid_event::GtidEvent;
pub use header::{Event, EventHeader, Events};
pub use heartbeat::HeartbeatEvent;
pub use json::{
    JsonArray, JsonDiff, JsonDiffOperation, JsonDiffs, JsonDocument, JsonObject, JsonValue,
};
pub use query::QueryEvent;
pub(crate) use reader::bit;
pub use rotate::RotateEvent;
pub use rows::{Cells, PartialJson, Row, RowImage, Rows, RowsEvent, RowsFlags, RowsKind};
pub use rows_query::RowsQueryEvent;
pub use status_vars::{Charset, StatusVars};
pub use table_map::{KeyPart, TableMap};
pub use temporal::{Date, DateTime, Time, Timestamp};
pub use value::Value;
pub use xid::XidEvent;

#[cfg(test)]
pub(crate) mod tests;
