//! `GTID_LOG_EVENT`, `ANONYMOUS_GTID_LOG_EVENT` and `GTID_TAGGED_LOG_EVENT`: the start of a
//! transaction.
//!
//! The first two have fields at fixed places, cut off at the end by older servers. The third
//! (MySQL 8.3) is written by MySQL's serialization library (`libs/mysql/serialization`): a version,
//! the message's size, the last field that may not be ignored, and fields, each behind its number.

use towpath_protocol::gtid::{Gtid, GtidOrigin};
use uuid::Uuid;

use super::reader::Reader;
use super::{DecodeError, EventType};

/// The event (`Gtid_event` in `control_events.cpp`), of all three types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GtidEvent {
    /// The transaction's identifier; `None` for an anonymous one.
    pub gtid: Option<Gtid>,
    /// Bit 0: the transaction may have statements in statement format.
    pub flags: u8,
    /// Logical clock: the newest transaction that had been committed when this one was prepared.
    /// Together with `sequence_number` it tells which ones may run at the same time. 0: not known.
    pub last_committed: i64,
    /// Logical clock: this transaction's number in its file, from 1. 0: not known.
    pub sequence_number: i64,
    /// Commit on the server that sent it, in microseconds since 1970; 0 before MySQL 8.0.
    pub immediate_commit_us: u64,
    /// Commit on the server where it first happened, in microseconds since 1970; 0 if not known.
    pub original_commit_us: u64,
    /// Bytes of all events of the transaction with this one and checksums; 0 if not known. Counts
    /// the compressed payload where there is one.
    pub transaction_length: u64,
    /// Version of the server that sent it, such as 90704; 0 if not known.
    pub immediate_server_version: u32,
    /// Version of the server where it first happened; 0 if not known.
    pub original_server_version: u32,
    /// Binlog group commit ticket (Group Replication).
    pub commit_group_ticket: Option<u64>,
}

const WHAT: &str = "gtid event";
/// `LOGICAL_TIMESTAMP_TYPECODE`: another value is from MySQL 5.7.4 or earlier, and ends the fields.
const LOGICAL_TIMESTAMP: u8 = 2;
/// `UNDEFINED_SERVER_VERSION`.
const VERSION_UNDEFINED: u32 = 999_999;
/// `SERIALIZATION_VERSION` of the library, as the encoder writes it.
const SERIALIZATION_VERSION: u64 = 1;
/// `GNO_END`: numbers are below it.
const GNO_END: u64 = i64::MAX as u64;
const TAG_LEN_MAX: usize = 32;

impl GtidEvent {
    /// Reads the body of an event of one of the three types.
    ///
    /// # Errors
    /// Another type, cut short, a number out of range, or a field that may not be ignored and is
    /// not known.
    pub fn parse(event_type: EventType, body: &[u8]) -> Result<GtidEvent, DecodeError> {
        match event_type {
            EventType::GTID | EventType::ANONYMOUS_GTID => {
                Self::parse_untagged(event_type == EventType::ANONYMOUS_GTID, body)
            }
            EventType::GTID_TAGGED => Self::parse_tagged(body),
            found => Err(DecodeError::UnexpectedEvent {
                expected: "a gtid event",
                found,
            }),
        }
    }

    fn empty() -> GtidEvent {
        GtidEvent {
            gtid: None,
            flags: 0,
            last_committed: 0,
            sequence_number: 0,
            immediate_commit_us: 0,
            original_commit_us: 0,
            transaction_length: 0,
            immediate_server_version: 0,
            original_server_version: 0,
            commit_group_ticket: None,
        }
    }

    fn parse_untagged(anonymous: bool, body: &[u8]) -> Result<GtidEvent, DecodeError> {
        let mut r = Reader::new(WHAT, body);
        let mut event = Self::empty();
        event.flags = r.u8()?;
        let uuid = Uuid::from_bytes(r.array()?);
        let number = r.u64()?;
        if !anonymous {
            check_number(&r, number)?;
            event.gtid = Some(Gtid {
                origin: GtidOrigin {
                    uuid,
                    tag: String::new(),
                },
                number,
            });
        }
        if r.is_empty() || r.u8()? != LOGICAL_TIMESTAMP {
            return Ok(event);
        }
        event.last_committed = r.u64()? as i64;
        event.sequence_number = r.u64()? as i64;
        // The highest bit of a first value says that a second one, which differs, follows.
        if r.is_empty() {
            return Ok(event);
        }
        let immediate = r.uint(7)?;
        event.immediate_commit_us = immediate & !(1 << 55);
        event.original_commit_us = if immediate >> 55 == 1 {
            r.uint(7)?
        } else {
            event.immediate_commit_us
        };
        if r.is_empty() {
            return Ok(event);
        }
        event.transaction_length = r.lenenc()?;
        if r.is_empty() {
            return Ok(event);
        }
        let immediate = r.u32()?;
        event.immediate_server_version = known_version(immediate & !(1 << 31));
        event.original_server_version = if immediate >> 31 == 1 {
            known_version(r.u32()?)
        } else {
            event.immediate_server_version
        };
        if !r.is_empty() {
            event.commit_group_ticket = Some(r.u64()?);
        }
        Ok(event)
    }

    fn parse_tagged(body: &[u8]) -> Result<GtidEvent, DecodeError> {
        let mut r = Reader::new(WHAT, body);
        let version = varlen(&mut r)?;
        if version != SERIALIZATION_VERSION {
            return Err(r.malformed(format_args!("serialization version {version} is not known")));
        }
        // The size counts from the version on.
        let size = varlen(&mut r)?;
        let Some(message) = usize::try_from(size).ok().and_then(|size| body.get(..size)) else {
            return Err(r.malformed(format_args!("a message of {size} bytes in {}", body.len())));
        };
        let mut r = Reader::new(WHAT, message);
        varlen(&mut r)?;
        varlen(&mut r)?;
        let last_non_ignorable = varlen(&mut r)?;

        let mut event = Self::empty();
        let (mut uuid, mut number, mut tag) = (None, None, String::new());
        let (mut original_commit_us, mut original_server_version) = (None, None);
        while !r.is_empty() {
            match varlen(&mut r)? {
                0 => event.flags = varlen(&mut r)? as u8,
                1 => uuid = Some(varlen_uuid(&mut r)?),
                2 => number = Some(varlen_signed(&mut r)?),
                3 => tag = varlen_tag(&mut r)?,
                4 => event.last_committed = varlen_signed(&mut r)?,
                5 => event.sequence_number = varlen_signed(&mut r)?,
                6 => event.immediate_commit_us = varlen(&mut r)?,
                7 => original_commit_us = Some(varlen(&mut r)?),
                8 => event.transaction_length = varlen(&mut r)?,
                9 => event.immediate_server_version = known_version(varlen(&mut r)? as u32),
                10 => original_server_version = Some(known_version(varlen(&mut r)? as u32)),
                11 => event.commit_group_ticket = Some(varlen(&mut r)?),
                field if field <= last_non_ignorable => {
                    return Err(r.malformed(format_args!(
                        "field {field} is not known and may not be ignored; the source is newer \
                         than this version supports"
                    )));
                }
                // Fields come in ascending order: what follows may be ignored too.
                _ => break,
            }
        }
        event.original_commit_us = original_commit_us.unwrap_or(event.immediate_commit_us);
        event.original_server_version =
            original_server_version.unwrap_or(event.immediate_server_version);
        let (Some(uuid), Some(number)) = (uuid, number) else {
            return Err(r.malformed("no UUID or no number"));
        };
        let number = number as u64;
        check_number(&r, number)?;
        event.gtid = Some(Gtid {
            origin: GtidOrigin { uuid, tag },
            number,
        });
        Ok(event)
    }
}

fn check_number(r: &Reader<'_>, number: u64) -> Result<(), DecodeError> {
    if (1..GNO_END).contains(&number) {
        Ok(())
    } else {
        Err(r.malformed(format_args!("transaction number {number} is out of range")))
    }
}

fn known_version(version: u32) -> u32 {
    if version == VERSION_UNDEFINED {
        0
    } else {
        version
    }
}

/// A variable-length integer (`variable_length_integers.h`): as many low one bits as bytes follow
/// the first, a zero bit, the value.
fn varlen(r: &mut Reader<'_>) -> Result<u64, DecodeError> {
    let Some(first) = r.rest().first() else {
        return r.uint(1);
    };
    let more = first.trailing_ones() as usize;
    if more == 8 {
        r.u8()?;
        return r.u64();
    }
    Ok(r.uint(1 + more)? >> (1 + more))
}

/// A signed one: the lowest bit is the sign, negative values are stored as their complement.
fn varlen_signed(r: &mut Reader<'_>) -> Result<i64, DecodeError> {
    let value = varlen(r)?;
    let magnitude = (value >> 1) as i64;
    Ok(if value & 1 == 1 {
        !magnitude
    } else {
        magnitude
    })
}

/// Sixteen integers of one byte each.
fn varlen_uuid(r: &mut Reader<'_>) -> Result<Uuid, DecodeError> {
    let mut bytes = [0; 16];
    for byte in &mut bytes {
        let value = varlen(r)?;
        *byte = u8::try_from(value)
            .map_err(|_| r.malformed(format_args!("{value} as a byte of a UUID")))?;
    }
    Ok(Uuid::from_bytes(bytes))
}

fn varlen_tag(r: &mut Reader<'_>) -> Result<String, DecodeError> {
    let len = varlen(r)?;
    let Some(len) = usize::try_from(len).ok().filter(|len| *len <= TAG_LEN_MAX) else {
        return Err(r.malformed(format_args!("a tag of {len} bytes")));
    };
    let tag = r.bytes(len)?;
    if !tag
        .iter()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'_')
    {
        return Err(r.malformed("a tag may have only a to z, 0 to 9 and _"));
    }
    Ok(String::from_utf8_lossy(tag).into_owned())
}
