//! Reads a table of a MySQL server in chunks by its key, and writes what was read elsewhere: what
//! copying and comparing tables share.
//!
//! - A chunk is one SELECT, so one read view. Rows come in the key's own order, each exactly once:
//!   where a chunk ends, the next one goes on behind its last key, and the server compares keys by
//!   the column's own collation.
//! - Values become the same literals that the stream writes (`apply::literal`), once, when they are
//!   read: two rows are the same exactly if their literals are. JSON keeps its inner types
//!   ([`json`]).
//! - Memory: a chunk holds about as many bytes as were asked for, and one row more.
//! - It never writes to the server that it reads ([`session`]), and never decides when a chunk may
//!   be written: that is the snapshot's gate.

pub mod session;
pub mod key;
pub mod table;
pub mod chunk;
pub mod upsert;
pub mod create;
mod executed;
mod value;
mod json;
mod error;

pub use chunk::{ScanChunk, ScanRows};
pub(crate) use create::without_counter;
pub use create::{CreateError, Definitions};
pub use error::ScanError;
pub use executed::{Executed, executed_with_all_seen};
pub use key::{Key, KeyRange};
pub use session::prepare;
pub use table::ScanTable;
pub use upsert::upserts;
