//! What flows through the queue.

use bytes::Bytes;
use towpath_protocol::gtid::Gtid;
use towpath_protocol::position::BinlogPosition;

/// Bytes that a queued message costs beside its events: the struct and its heap strings.
const OVERHEAD_BYTES: usize = 256;

/// A source transaction, or one part of a large one.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// Number of the source transaction since the producer started, from 1.
    pub ord: u64,
    /// The transaction's GTID.
    pub gtid: Gtid,
    /// When the transaction committed where it was first executed, microseconds since 1970.
    pub commit_time_us: u64,
    /// Number of this part within the transaction, from 0.
    pub part: u32,
    /// Whether the transaction ends with this part.
    pub last: bool,
    /// The prepared XA transaction that this one ends, none of whose tables are taken: it counts as
    /// done with this one, not before.
    pub ends: Option<Gtid>,
    /// Concatenated events: table maps, rows and queries with their headers, without checksums.
    pub events: Bytes,
    /// The source's position after the last event of this part.
    pub after: BinlogPosition,
}

/// One entry of the queue.
#[derive(Clone, Debug)]
pub enum Message {
    /// A transaction or a part of one.
    Chunk(Chunk),
    /// An XA transaction that was prepared and holds nothing of what is taken. It is done when it ends
    /// ([`Chunk::ends`]), but the source counts it as executed from here on.
    Prepared(Gtid),
    /// The source has nothing newer than what was queued before this.
    CaughtUp {
        /// The source's position.
        position: BinlogPosition,
    },
}

impl Message {
    /// What this message counts against the queue's bound, bytes.
    pub fn cost_bytes(&self) -> usize {
        OVERHEAD_BYTES
            + match self {
                Message::Chunk(chunk) => chunk.events.len(),
                Message::Prepared(_) | Message::CaughtUp { .. } => 0,
            }
    }
}
