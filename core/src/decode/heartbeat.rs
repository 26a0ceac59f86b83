//! `HEARTBEAT_LOG_EVENT` and `HEARTBEAT_LOG_EVENT_V2`: the source is alive, and where it is.

use super::reader::Reader;
use super::{DecodeError, EventHeader, EventType};

/// The event (`Heartbeat_event`, `Heartbeat_event_v2` in `control_events.cpp`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeartbeatEvent<'a> {
    /// The file that the source has sent last.
    pub file: &'a [u8],
    /// Offset in it up to which everything has been sent or skipped, in bytes.
    pub position: u64,
}

impl<'a> HeartbeatEvent<'a> {
    /// Reads header and body.
    ///
    /// # Errors
    /// Another event, or a body that is cut short.
    pub fn parse(header: &EventHeader, body: &'a [u8]) -> Result<HeartbeatEvent<'a>, DecodeError> {
        match header.event_type {
            EventType::HEARTBEAT => Ok(HeartbeatEvent {
                file: body,
                position: u64::from(header.log_pos),
            }),
            EventType::HEARTBEAT_V2 => Self::parse_v2(body),
            found => Err(DecodeError::UnexpectedEvent {
                expected: "a heartbeat",
                found,
            }),
        }
    }

    /// Fields of type, length and value (`codecs/binary.cpp`, `OTW_HB_*`): 0 ends the list, 1 is
    /// the file, 2 the position. Fields of other types are for later versions and are skipped.
    fn parse_v2(body: &'a [u8]) -> Result<HeartbeatEvent<'a>, DecodeError> {
        let mut r = Reader::new("heartbeat event", body);
        let (mut file, mut position) = (None, None);
        while !r.is_empty() {
            let field = r.lenenc()?;
            if field == 0 {
                break;
            }
            let value = r.lenenc_bytes()?;
            match field {
                1 => file = Some(value),
                2 => position = Some(Reader::new("heartbeat position", value).lenenc()?),
                _ => {}
            }
        }
        match (file, position) {
            (Some(file), Some(position)) => Ok(HeartbeatEvent { file, position }),
            _ => Err(r.malformed("no file or no position")),
        }
    }
}
