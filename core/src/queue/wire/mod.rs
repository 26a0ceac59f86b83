//! The messages of a log, byte by byte: `docs/queue-protocol.md`.
//!
//! - A message is sealed once ([`seal`]); whoever writes it again writes the same bytes.
//! - Reading ([`Message::open`]) checks everything that can be checked without the messages before:
//!   checksum, lengths, indices, bounds. No sequence of bytes makes it panic, and it takes no more
//!   memory than [`BODY_BYTES_MAX`] beside the bytes themselves.
//! - Events aren't copied: they stay in the body that they came in.
//! - It never decides whether a message counts; that is [`super::follow`]'s.

mod header;
mod body;
mod entries;
mod error;
#[cfg(test)]
pub(in crate::queue) mod tests;

use bytes::Bytes;
use towpath_protocol::gtid::{Gtid, GtidSet};
use towpath_protocol::position::BinlogPosition;
use uuid::Uuid;

pub(super) use body::{encode_heartbeat, encode_open};
pub(super) use entries::EntryWriter;
pub use error::WireError;
pub(super) use header::seal;
pub use header::{BODY_BYTES_MAX, Compression, HEADER_BYTES, Header, Kind};

use super::Term;

/// The version of the protocol that is written and read.
pub const VERSION: u8 = 1;

/// A message, read and checked by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The pipeline whose log it is in.
    pub pipeline: Uuid,
    /// The producer's term.
    pub term: Term,
    /// Its number in the term, from 0.
    pub seq: u64,
    /// Checksum of the message before it in the term; 0 for the first.
    pub back_link: u32,
    /// Its own checksum.
    pub checksum: u32,
    /// Number of the transaction that it begins within, else of the next one.
    pub ord: u64,
    /// When it was made, microseconds since 1970.
    pub made_us: u64,
    /// What it says.
    pub body: Body,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// A term begins, and all lower ones are over.
    Claim,
    /// Whoever holds all of `before` misses nothing by reading on from here.
    Open {
        /// What came before.
        before: GtidSet,
    },
    /// Transactions in the source's order.
    Data(Vec<Entry>),
    /// The source has nothing newer than what came before.
    Heartbeat {
        /// The source's position; of an unknown one the file is empty.
        position: BinlogPosition,
    },
}

/// A piece of a DATA message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A transaction or a part of one.
    Part(Part),
    /// An XA transaction was prepared that holds nothing of what is taken.
    Prepared(Gtid),
}

/// A run of a transaction's events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The transaction.
    pub gtid: Gtid,
    /// Its number, from the message's `ord` on.
    pub ord: u64,
    /// When it committed at its origin, microseconds since 1970.
    pub commit_time_us: u64,
    /// Number of the part within the transaction, from 0.
    pub part: u32,
    /// Whether the transaction ends with it.
    pub last: bool,
    /// Whether its last event goes on in the next part.
    pub cut: bool,
    /// The prepared XA transaction that ends with this one.
    pub ends: Option<Gtid>,
    /// The source's position behind it.
    pub after: BinlogPosition,
    /// Concatenated events without checksums.
    pub events: Bytes,
}

impl Message {
    /// Reads a message.
    ///
    /// # Errors
    /// [`WireError`] for whatever isn't exactly a message of this version.
    pub fn open(bytes: &Bytes) -> Result<Self, WireError> {
        let (header, body) = Header::open(bytes)?;
        let body = match header.kind {
            Kind::Claim => body::decode_claim(&body)?,
            Kind::Open => body::decode_open(&body)?,
            Kind::Data => Body::Data(entries::decode(body, header.ord)?),
            Kind::Heartbeat => body::decode_heartbeat(&body)?,
        };
        Ok(Self {
            pipeline: header.pipeline,
            term: header.term,
            seq: header.seq,
            back_link: header.back_link,
            checksum: header.checksum,
            ord: header.ord,
            made_us: header.made_us,
            body,
        })
    }
}
