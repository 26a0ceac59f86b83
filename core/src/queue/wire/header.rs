//! The 100 bytes before each body, and the checksum over both.

use bytes::{Buf, BufMut, Bytes};
use towpath_protocol::epoch::{Epoch, Generation};
use uuid::Uuid;

use super::{VERSION, WireError};
use crate::queue::Term;

/// Bytes of a header.
pub const HEADER_BYTES: usize = 100;

/// Bytes of a body at most, compressed or not: what a reader takes for one message.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;

const MAGIC: [u8; 4] = *b"TOWQ";

/// Where the checksum is: behind everything else in the header.
const CHECKSUM_AT: usize = 96;

const FLAG_COMPRESSED: u8 = 1;

/// zstd's level: streams of row events shrink to a third or less; higher levels cost more CPU than
/// they save in bytes.
const ZSTD_LEVEL: i32 = 1;

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A term begins.
    Claim,
    /// Whoever holds its set may read on from here.
    Open,
    /// Transactions.
    Data,
    /// Nothing newer.
    Heartbeat,
}

impl Kind {
    const ALL: [(Self, u8); 4] = [
        (Self::Claim, 1),
        (Self::Open, 2),
        (Self::Data, 3),
        (Self::Heartbeat, 4),
    ];

    fn byte(self) -> u8 {
        match self {
            Self::Claim => 1,
            Self::Open => 2,
            Self::Data => 3,
            Self::Heartbeat => 4,
        }
    }
}

/// Whether bodies are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// As they are.
    #[default]
    None,
    /// zstd, where that makes them smaller.
    Zstd,
}

/// What a header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The message's kind.
    pub kind: Kind,
    /// The pipeline whose log it is in.
    pub pipeline: Uuid,
    /// The producer's term.
    pub term: Term,
    /// Its number in the term, from 0.
    pub seq: u64,
    /// Checksum of the message before it in the term; 0 for the first.
    pub back_link: u32,
    /// Number of the transaction that it begins within, else of the next one.
    pub ord: u64,
    /// When it was made, microseconds since 1970.
    pub made_us: u64,
    /// The message's checksum. [`seal`] computes it.
    pub checksum: u32,
}

/// Makes the bytes of a message; gives its checksum too. `header.checksum` isn't looked at.
///
/// # Errors
/// [`WireError::Length`] if the body is beyond [`BODY_BYTES_MAX`].
pub(in crate::queue) fn seal(
    header: &Header,
    body: &[u8],
    compression: Compression,
) -> Result<(Bytes, u32), WireError> {
    if body.len() > BODY_BYTES_MAX {
        return Err(WireError::Length {
            what: "a body",
            found: body.len(),
            expected: BODY_BYTES_MAX,
        });
    }
    let compressed = match compression {
        Compression::None => None,
        // What can't be compressed goes as it is.
        Compression::Zstd => zstd::bulk::compress(body, ZSTD_LEVEL)
            .ok()
            .filter(|compressed| compressed.len() < body.len()),
    };
    let stored = compressed.as_deref().unwrap_or(body);
    let mut out = Vec::with_capacity(HEADER_BYTES + stored.len());
    out.put_slice(&MAGIC);
    out.put_u8(VERSION);
    out.put_u8(header.kind.byte());
    out.put_u8(if compressed.is_some() {
        FLAG_COMPRESSED
    } else {
        0
    });
    out.put_u8(0);
    out.put_slice(header.pipeline.as_bytes());
    out.put_u64_le(header.term.generation.0);
    out.put_u64_le(header.term.epoch.0);
    out.put_u32_le(header.term.run);
    out.put_slice(header.term.producer.as_bytes());
    out.put_u64_le(header.seq);
    out.put_u32_le(header.back_link);
    out.put_u64_le(header.ord);
    out.put_u64_le(header.made_us);
    out.put_u32_le(stored.len() as u32);
    out.put_u32_le(body.len() as u32);
    let checksum = checksum(&out, stored);
    out.put_u32_le(checksum);
    out.put_slice(stored);
    Ok((Bytes::from(out), checksum))
}

fn checksum(head: &[u8], stored: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(head);
    hasher.update(stored);
    hasher.finalize()
}

impl Header {
    /// Reads a header, checks the checksum, and gives the body, inflated.
    ///
    /// # Errors
    /// As [`super::Message::open`].
    pub fn open(bytes: &Bytes) -> Result<(Self, Bytes), WireError> {
        let length = bytes.len();
        let mut head = match bytes.split_first_chunk::<HEADER_BYTES>() {
            Some((head, _)) if head.starts_with(&MAGIC) => head.as_slice(),
            _ if bytes.starts_with(&MAGIC) => {
                return Err(WireError::Truncated { what: "its header" });
            }
            _ => return Err(WireError::Foreign { length }),
        };
        let checked = head.get(..CHECKSUM_AT).unwrap_or_default();
        let stored = bytes.slice(HEADER_BYTES..);
        head.advance(MAGIC.len());
        let version = u8(&mut head)?;
        if version != VERSION {
            return Err(WireError::Version {
                version,
                known: VERSION,
            });
        }
        let (kind, flags, reserved) = (u8(&mut head)?, u8(&mut head)?, u8(&mut head)?);
        let pipeline = uuid(&mut head)?;
        let term = Term {
            generation: Generation(u64(&mut head)?),
            epoch: Epoch(u64(&mut head)?),
            run: u32(&mut head)?,
            producer: uuid(&mut head)?,
        };
        let seq = u64(&mut head)?;
        let back_link = u32(&mut head)?;
        let ord = u64(&mut head)?;
        let made_us = u64(&mut head)?;
        let stored_bytes = u32(&mut head)? as usize;
        let body_bytes = u32(&mut head)? as usize;
        let says = u32(&mut head)?;
        if stored.len() != stored_bytes {
            return Err(WireError::Length {
                what: "a body",
                found: stored.len(),
                expected: stored_bytes,
            });
        }
        let computed = checksum(checked, &stored);
        if computed != says {
            return Err(WireError::Checksum {
                stored: says,
                computed,
            });
        }
        let kind = Kind::ALL
            .into_iter()
            .find(|(_, byte)| *byte == kind)
            .ok_or(WireError::Value {
                what: "kind",
                value: kind.into(),
            })?
            .0;
        if flags & !FLAG_COMPRESSED != 0 || reserved != 0 {
            return Err(WireError::Value {
                what: "flag",
                value: u64::from(flags) << 8 | u64::from(reserved),
            });
        }
        let header = Self {
            kind,
            pipeline,
            term,
            seq,
            back_link,
            ord,
            made_us,
            checksum: computed,
        };
        let body = inflate(stored, body_bytes, flags & FLAG_COMPRESSED != 0)?;
        Ok((header, body))
    }
}

/// The body as it was before it was compressed.
fn inflate(stored: Bytes, body_bytes: usize, compressed: bool) -> Result<Bytes, WireError> {
    let longest = stored.len().max(body_bytes);
    if longest > BODY_BYTES_MAX {
        return Err(WireError::Length {
            what: "a body",
            found: longest,
            expected: BODY_BYTES_MAX,
        });
    }
    let body = if compressed {
        let inflated = zstd::bulk::decompress(&stored, body_bytes);
        Bytes::from(inflated.map_err(|cause| WireError::Inflate {
            cause: cause.to_string(),
        })?)
    } else {
        stored
    };
    if body.len() != body_bytes {
        return Err(WireError::Length {
            what: "a body",
            found: body.len(),
            expected: body_bytes,
        });
    }
    Ok(body)
}

const SHORT: WireError = WireError::Truncated { what: "its header" };

fn u8(head: &mut &[u8]) -> Result<u8, WireError> {
    head.try_get_u8().map_err(|_| SHORT)
}

fn u32(head: &mut &[u8]) -> Result<u32, WireError> {
    head.try_get_u32_le().map_err(|_| SHORT)
}

fn u64(head: &mut &[u8]) -> Result<u64, WireError> {
    head.try_get_u64_le().map_err(|_| SHORT)
}

fn uuid(head: &mut &[u8]) -> Result<Uuid, WireError> {
    let mut bytes = [0; 16];
    head.try_copy_to_slice(&mut bytes).map_err(|_| SHORT)?;
    Ok(Uuid::from_bytes(bytes))
}
