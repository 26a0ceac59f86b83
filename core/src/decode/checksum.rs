//! The CRC32 behind each event (`binlog_checksum=CRC32`, the default since MySQL 5.6.6).

use super::{DecodeError, EventHeader};

/// Length of the checksum in bytes.
pub const LEN: usize = 4;

/// Checks the checksum at the end of an event and returns the event without it. The header's
/// `event_size` is left as it is, 4 more than what is returned.
///
/// MySQL computes it over header and body (`event_checksum_test` in `binlog_event.cpp`).
///
/// # Errors
/// The event is shorter than header and checksum, or the checksum differs.
#[inline]
pub fn verify(event: &[u8]) -> Result<&[u8], DecodeError> {
    let (header, _) = EventHeader::parse(event)?;
    let Some((bytes, stored)) = event
        .split_last_chunk::<LEN>()
        .filter(|(bytes, _)| bytes.len() >= EventHeader::LEN)
    else {
        return Err(DecodeError::Truncated {
            what: "event with checksum",
            offset: EventHeader::LEN,
            needed: LEN,
            available: event.len().saturating_sub(EventHeader::LEN),
        });
    };
    let stored = u32::from_le_bytes(*stored);
    let computed = crc32fast::hash(bytes);
    if stored != computed {
        return Err(DecodeError::Checksum {
            event_type: header.event_type,
            stored,
            computed,
        });
    }
    Ok(bytes)
}
