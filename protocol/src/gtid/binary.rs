//! GTID sets as bytes: the "SID block" of `COM_BINLOG_DUMP_GTID` and the body of a
//! `Previous_gtids` event (without its checksum). All integers are little-endian.
//!
//! ```text
//! untagged (every MySQL since 5.6)       tagged (MySQL 8.3+, written if any tag is in the set)
//!   8  number of entries, below 2^56       1  1
//!                                          6  number of entries
//!                                          1  format, 1 (it is 0 above: the number's top byte)
//! then per entry                         then per entry
//!  16  server UUID                        16  server UUID
//!                                          1  length of the tag, shifted left by 1; 0: no tag
//!                                          n  tag
//!   8  number of intervals                 8  number of intervals
//!      per interval: 8 first,                 per interval: 8 first,
//!      8 last + 1                             8 last + 1
//! ```
//!
//! The tag's length is a variable-length integer of the server's serialisation library, of which
//! lengths up to 32 need the one-byte form only. Entries are sorted by UUID, then tag.
//!
//! Sources: `sql/rpl_gtid_set.cc`, `Gtid_set::encode`, `Gtid_set::add_gtid_encoding` and
//! `encode_nsids_format`; `libs/mysql/gtid/tag.cpp`, `Tag::encode_tag`;
//! `libs/mysql/serialization/variable_length_integers.h`.

use uuid::Uuid;

use super::set::check_bounds;
use super::text::parse_tag;
use super::{GtidOrigin, GtidSet};

const FORMAT_UNTAGGED: u64 = 0;
const FORMAT_TAGGED: u64 = 1;

/// Why bytes are no GTID set. Offsets are in bytes from the start of the set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GtidDecodeError {
    /// The bytes end inside of something.
    #[error("a GTID set ends at byte {length} inside its {what}; the event or packet is cut off")]
    Truncated {
        /// What was being read.
        what: &'static str,
        /// How many bytes there are.
        length: usize,
    },
    /// Bytes follow the last entry.
    #[error(
        "a GTID set of {length} bytes ends at byte {offset}; \
         the event or packet is damaged, or a checksum was left at its end"
    )]
    Trailing {
        /// Where the set ends.
        offset: usize,
        /// How many bytes there are.
        length: usize,
    },
    /// A format that this version doesn't know.
    #[error("a GTID set is in format {format}, known are 0 and 1; the server may be newer")]
    Format {
        /// The format's number.
        format: u64,
    },
    /// A tag that the server wouldn't accept.
    #[error("a GTID set has an invalid tag at byte {offset}; the event or packet is damaged")]
    Tag {
        /// Where the tag's length stands.
        offset: usize,
    },
    /// An interval that is reversed, out of bounds, or not after the one before.
    #[error(
        "a GTID set has the interval {first} to before {end} at byte {offset}, \
         out of order or out of bounds; the event or packet is damaged"
    )]
    Interval {
        /// Where the interval stands.
        offset: usize,
        /// Its first number.
        first: u64,
        /// The number after its last one.
        end: u64,
    },
}

/// Checked reads, with the offset for errors.
struct Reader<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    fn truncated(&self, what: &'static str) -> GtidDecodeError {
        GtidDecodeError::Truncated {
            what,
            length: self.bytes.len(),
        }
    }

    fn remaining(&self) -> u64 {
        self.bytes.len().saturating_sub(self.offset) as u64
    }

    fn take(&mut self, length: usize, what: &'static str) -> Result<&'a [u8], GtidDecodeError> {
        let end = self
            .offset
            .checked_add(length)
            .ok_or_else(|| self.truncated(what))?;
        let taken = self
            .bytes
            .get(self.offset..end)
            .ok_or_else(|| self.truncated(what))?;
        self.offset = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], GtidDecodeError> {
        let taken = self.take(N, what)?;
        taken.try_into().map_err(|_| self.truncated(what))
    }

    fn u64(&mut self, what: &'static str) -> Result<u64, GtidDecodeError> {
        self.array(what).map(u64::from_le_bytes)
    }

    fn tag(&mut self) -> Result<String, GtidDecodeError> {
        let offset = self.offset;
        let invalid = || GtidDecodeError::Tag { offset };
        let [length] = self.array("length of a tag")?;
        if length & 1 != 0 {
            // A longer form of the integer: beyond 127 characters.
            return Err(invalid());
        }
        let tag = self.take(usize::from(length >> 1), "tag")?;
        if tag.is_empty() {
            return Ok(String::new());
        }
        let tag = std::str::from_utf8(tag).map_err(|_| invalid())?;
        parse_tag(tag).map_err(|_| invalid())
    }
}

impl GtidSet {
    /// The set as `COM_BINLOG_DUMP_GTID` carries it (without the length before it): in the
    /// untagged format when no tag is in the set, else in the tagged format, which only
    /// MySQL 8.3 and later understand.
    pub fn encode_dump(&self) -> Vec<u8> {
        let tagged = self.origins().any(|(origin, _)| origin.is_tagged());
        let entries = self.intervals.len() as u64;
        let header = if tagged {
            FORMAT_TAGGED << 56 | entries << 8 | FORMAT_TAGGED
        } else {
            FORMAT_UNTAGGED << 56 | entries
        };
        // 16 + 1 + 32 + 8 is the longest head of an entry.
        let mut out =
            Vec::with_capacity(8 + self.intervals.len() * 57 + self.interval_count() * 16);
        out.extend_from_slice(&header.to_le_bytes());
        for (origin, list) in self.origins() {
            out.extend_from_slice(origin.uuid.as_bytes());
            if tagged {
                out.push((origin.tag.len() << 1) as u8);
                out.extend_from_slice(origin.tag.as_bytes());
            }
            out.extend_from_slice(&(list.len() as u64).to_le_bytes());
            for (first, last) in list {
                out.extend_from_slice(&first.to_le_bytes());
                out.extend_from_slice(&last.saturating_add(1).to_le_bytes());
            }
        }
        out
    }

    /// Reads a set in either binary format, with the server's own checks. All of `bytes` must be
    /// the set: the checksum of an event is to be cut off before.
    ///
    /// # Errors
    /// `GtidDecodeError` with the place of the damage.
    pub fn decode_binary(bytes: &[u8]) -> Result<Self, GtidDecodeError> {
        let mut reader = Reader { bytes, offset: 0 };
        let header = reader.u64("header")?;
        let (tagged, entries) = match header >> 56 {
            FORMAT_UNTAGGED => (false, header),
            FORMAT_TAGGED => (true, (header << 8) >> 16),
            format => return Err(GtidDecodeError::Format { format }),
        };
        let mut set = Self::new();
        // Counts are never trusted for an allocation: the loops end where the bytes do.
        for _ in 0..entries {
            let uuid = Uuid::from_bytes(reader.array("server UUID")?);
            let tag = if tagged { reader.tag()? } else { String::new() };
            let origin = GtidOrigin { uuid, tag };
            let intervals = reader.u64("number of intervals")?;
            if intervals.saturating_mul(16) > reader.remaining() {
                return Err(reader.truncated("intervals"));
            }
            let mut previous_end = 0;
            for _ in 0..intervals {
                let offset = reader.offset;
                let (first, end) = (reader.u64("intervals")?, reader.u64("intervals")?);
                let invalid = GtidDecodeError::Interval { offset, first, end };
                let last = end.checked_sub(1).ok_or_else(|| invalid.clone())?;
                if first <= previous_end || check_bounds(first, last).is_err() {
                    return Err(invalid);
                }
                previous_end = end;
                set.add_interval(&origin, first, last)
                    .map_err(|_| invalid)?;
            }
        }
        if reader.offset == bytes.len() {
            Ok(set)
        } else {
            Err(GtidDecodeError::Trailing {
                offset: reader.offset,
                length: bytes.len(),
            })
        }
    }
}
