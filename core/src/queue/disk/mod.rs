//! A log in one file, for producer and consumers on one machine, in one process or several.
//!
//! The file is a redb database: a B-tree from offsets to messages. One process writes, any number
//! read at the same time, each a consistent state (`ConcurrencyMode::SingleWriter`).
//!
//! - What is confirmed is synced to the disk, unlike in RabbitMQ. Messages that wait are committed
//!   together, so that a sync is shared.
//! - An offset is used once, also across a crash: it is written in the same commit as its message.
//! - Retention is by bytes of messages; the newest message is always kept. A consumer that it passes
//!   meets a gap, as `docs/queue-protocol.md` says. The file doesn't shrink; its free pages are used
//!   again.
//! - Readers look for new messages every few milliseconds: no signal crosses processes.

mod error;
mod writer;
mod reader;
#[cfg(test)]
mod tests;

pub use error::DiskError;
pub use reader::DiskReader;
pub use writer::DiskWriter;

use std::path::PathBuf;

use redb::{Builder, ConcurrencyMode, Database, TableDefinition};

/// Messages by their offsets.
const MESSAGES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("messages");

/// Counters.
const STATE: TableDefinition<'_, &str, u64> = TableDefinition::new("state");

/// The offset of the next message.
const NEXT: &str = "next";

/// Bytes of all messages that are kept.
const BYTES: &str = "bytes";

/// Bytes of pages that each end keeps in memory: a message is written once, and mostly read soon
/// after.
const PAGES_BYTES_MAX: usize = 32 << 20;

/// A log on a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskOptions {
    /// The file. Its directory must be there.
    pub path: PathBuf,
    /// Bytes of messages that are kept.
    pub retention_bytes: u64,
    /// Bytes that may wait for a commit; one message may exceed them.
    pub window_bytes: usize,
}

fn builder() -> Builder {
    let mut builder = Database::builder();
    builder
        .set_cache_size(PAGES_BYTES_MAX)
        .set_concurrency_mode(ConcurrencyMode::SingleWriter);
    builder
}
