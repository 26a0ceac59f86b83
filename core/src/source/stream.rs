//! A source's events in order, each checked and with its place.
//!
//! Invariants:
//! - Events come in the order of the binlog, none is left out, and an event is handed out only if
//!   its checksum (where the source writes them) and its length are right.
//! - Compressed transactions are flattened: their inner events come out in place of the payload
//!   event, with that event's end as their end. Out of a large one they come while it comes in,
//!   before its checksum: [`EventStream::verify`] must be called before its transaction takes
//!   effect.
//! - After an error there is no next event: the caller connects anew from a position it knows.
//!
//! The usual event costs a few comparisons and its CRC32: no allocation, no copy, no await while
//! the next one is already buffered.

mod arriving;
mod flatten;

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use towpath_protocol::position::{BinlogPosition, FIRST_EVENT_OFFSET};
use towpath_protocol::spec::Endpoint;

use super::connection::SourceConnection;
use super::dump::{self, Dump, DumpFrom, DumpOptions};
use super::error::SourceError;
use super::packet::Piece;
use super::payload::{Inflater, Inner};
use crate::decode::{
    ChecksumAlgorithm, DecodeError, EventHeader, EventType, FormatDescription, HeartbeatEvent,
    RotateEvent, checksum,
};
use arriving::Arriving;
use flatten::Payload;

/// The shortest silence that counts as a dead connection, however short the heartbeat is: a
/// source under load is late by more than a heartbeat of a few milliseconds.
pub const SILENCE_MIN: Duration = Duration::from_secs(3);

/// How many heartbeats must be missed.
const HEARTBEATS_MISSED: u32 = 3;

/// Bound on the wait for the first event: the source looks for the file to begin with by opening
/// its binlog files one after another, and sends nothing meanwhile.
pub const FIRST_EVENT_TIMEOUT: Duration = Duration::from_secs(60);

/// One event, borrowed until the next one is asked for.
#[derive(Clone, Copy, Debug)]
pub struct StreamEvent<'a> {
    /// Its header, as the source wrote it: `event_size` counts the checksum too.
    pub header: EventHeader,
    /// What is behind the header, without the checksum; nothing of a large event where a search
    /// skips it. Only a FORMAT_DESCRIPTION event still has its own, as it is needed to read it.
    pub body: &'a [u8],
    /// Header and body.
    pub bytes: &'a [u8],
    /// The binlog file it lies in; for an artificial ROTATE the file that it names.
    pub file: &'a str,
    /// Where the next event of the file begins, in bytes: unlike `header.log_pos` not modulo
    /// 4 GiB, and for an inner event the end of its payload event.
    pub end: u64,
    /// Made for this connection and not in the file: a ROTATE that names the file, a heartbeat.
    pub artificial: bool,
    /// Came out of a compressed transaction.
    pub inner: bool,
}

/// A dump, event by event.
#[derive(Debug)]
pub struct EventStream {
    conn: SourceConnection,
    heartbeat: Duration,
    checksum: bool,
    begun: bool,
    failed: bool,
    flatten: bool,
    position: BinlogPosition,
    current: Current,
    inflater: Option<Box<Inflater>>,
    payload: Option<Payload>,
}

/// The event that was read last.
#[derive(Debug)]
struct Current {
    header: EventHeader,
    bytes: Range<usize>,
    artificial: bool,
    inner: bool,
}

impl EventStream {
    /// Connects, logs in and asks for the binlog from `from` on. The dump has begun only when the
    /// first event has come: until then the source can still refuse the position.
    ///
    /// # Errors
    /// No connection, no login, no privilege, or an offset beyond 4 GiB.
    pub async fn open(
        endpoint: &Endpoint,
        options: &DumpOptions,
        from: DumpFrom<'_>,
    ) -> Result<Self, SourceError> {
        let dump = dump::begin(endpoint, options, from, false).await?;
        Ok(Self::new(dump, options, true))
    }

    /// As `open`, but `SourceError::Ended` comes where the binlog ends now.
    ///
    /// # Errors
    /// As `open`.
    pub async fn open_to_end(
        endpoint: &Endpoint,
        options: &DumpOptions,
        from: DumpFrom<'_>,
    ) -> Result<Self, SourceError> {
        let dump = dump::begin(endpoint, options, from, true).await?;
        Ok(Self::new(dump, options, true))
    }

    /// As `open_to_end`, but compressed transactions are left as they are.
    pub(super) async fn open_until_end(
        endpoint: &Endpoint,
        options: &DumpOptions,
        from: DumpFrom<'_>,
    ) -> Result<Self, SourceError> {
        let dump = dump::begin(endpoint, options, from, true).await?;
        Ok(Self::new(dump, options, false))
    }

    fn new(dump: Dump, options: &DumpOptions, flatten: bool) -> Self {
        let header = EventHeader {
            timestamp: 0,
            event_type: EventType(0),
            server_id: 0,
            event_size: 0,
            log_pos: 0,
            flags: 0,
        };
        Self {
            conn: dump.conn,
            heartbeat: options.heartbeat,
            checksum: dump.checksum,
            begun: false,
            failed: false,
            flatten,
            position: BinlogPosition {
                file: String::new(),
                offset: FIRST_EVENT_OFFSET,
            },
            current: Current {
                header,
                bytes: 0..0,
                artificial: true,
                inner: false,
            },
            inflater: None,
            payload: None,
        }
    }

    /// The next event, waiting for it if need be. Cancelling it loses nothing.
    ///
    /// # Errors
    /// The connection is lost or silent, the source ends the dump or refuses, or an event is
    /// corrupt. All later calls fail too.
    pub async fn next(&mut self) -> Result<StreamEvent<'_>, SourceError> {
        self.advance_or_fill().await?;
        Ok(self.current())
    }

    /// Waits until the next event is the current one.
    pub(super) async fn advance_or_fill(&mut self) -> Result<(), SourceError> {
        while !self.advance()? {
            self.fill().await?;
        }
        Ok(())
    }

    /// The next event if all of it is buffered. When it is None, `fill` and try again.
    ///
    /// # Errors
    /// As `next`.
    #[inline]
    pub fn try_next(&mut self) -> Result<Option<StreamEvent<'_>>, SourceError> {
        Ok(if self.advance()? {
            Some(self.current())
        } else {
            None
        })
    }

    /// Waits until the source has sent more. Cancelling it loses nothing.
    ///
    /// # Errors
    /// As `next`.
    pub async fn fill(&mut self) -> Result<(), SourceError> {
        if self.failed {
            return Err(SourceError::Closed);
        }
        let silence = self
            .heartbeat
            .saturating_mul(HEARTBEATS_MISSED)
            .max(SILENCE_MIN);
        let patience = if self.begun {
            silence
        } else {
            silence.max(FIRST_EVENT_TIMEOUT)
        };
        let outcome = match self.conn.fill(patience).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(SourceError::Silent {
                after: patience,
                heartbeat: self.heartbeat,
            }),
            Err(error) => Err(error),
        };
        self.failed = outcome.is_err();
        outcome
    }

    /// The event that was handed out last, without its checksum. It is not copied but moved out
    /// with the memory that it was read into, if that is large, and can't be asked for again.
    pub fn take(&mut self) -> Bytes {
        let range = std::mem::take(&mut self.current.bytes);
        let (taken, bytes) = match (self.current.inner, &mut self.inflater) {
            (true, Some(inflater)) => match inflater.take_large() {
                Some(memory) => (Some(memory), &[][..]),
                None => (None, inflater.bytes(range.clone())),
            },
            _ => match self.conn.reader.take_large() {
                Some(memory) => (Some(memory), &[][..]),
                None => (None, self.conn.reader.bytes(range.clone())),
            },
        };
        let (mut memory, range) = match taken {
            Some(memory) => (memory, range),
            None => (bytes.to_vec(), 0..bytes.len()),
        };
        // Its length, now that the checksum is off.
        let size = u32::try_from(range.len()).unwrap_or(u32::MAX).to_le_bytes();
        let at = range.start + EventHeader::SIZE_AT;
        if let Some(field) = memory.get_mut(at..at + size.len()) {
            field.copy_from_slice(&size);
        }
        let end = range.end.min(memory.len());
        Bytes::from(memory).slice(range.start.min(end)..end)
    }

    /// The file and the end of the event that was handed out last; an empty file name before the
    /// first one.
    pub fn position(&self) -> &BinlogPosition {
        &self.position
    }

    /// The source's version as it gives it at login.
    pub fn server_version(&self) -> &str {
        self.conn.server_version()
    }

    /// The source's id for this connection, as in its SHOW PROCESSLIST.
    pub fn connection_id(&self) -> u32 {
        self.conn.connection_id()
    }

    /// The event that was read last.
    #[inline]
    pub(super) fn current(&self) -> StreamEvent<'_> {
        let Current {
            header,
            bytes,
            artificial,
            inner,
        } = &self.current;
        let bytes = match (inner, &self.inflater) {
            (true, Some(inflater)) => inflater.bytes(bytes.clone()),
            _ => self.conn.reader.bytes(bytes.clone()),
        };
        StreamEvent {
            header: *header,
            body: bytes.get(EventHeader::LEN..).unwrap_or_default(),
            bytes,
            file: &self.position.file,
            end: self.position.offset,
            artificial: *artificial,
            inner: *inner,
        }
    }

    /// Makes the next event the current one; false if it is not yet buffered.
    #[inline]
    fn advance(&mut self) -> Result<bool, SourceError> {
        if self.failed {
            return Err(SourceError::Closed);
        }
        let outcome = self.advance_checked();
        self.failed = outcome.is_err();
        outcome
    }

    #[inline]
    fn advance_checked(&mut self) -> Result<bool, SourceError> {
        if self.payload.is_some() {
            match self.advance_inner()? {
                Inner::Event(_) => return Ok(true),
                Inner::Awaited => return Ok(false),
                Inner::End => {}
            }
        }
        loop {
            let Some(packet) = self.conn.reader.next_buffered()? else {
                return Ok(self.begin_arriving()? && self.advance_inner()? != Inner::Awaited);
            };
            let event = self.conn.reader.bytes(packet.clone());
            let Some((0x00, event)) = event.split_first() else {
                return Err(self.not_an_event(packet));
            };
            let (header, _) = EventHeader::parse(event).map_err(|e| self.malformed(&e))?;
            if header.event_size as usize != event.len() {
                return Err(self.wrong_size(&header, event.len()));
            }
            let start = packet.start + 1;
            let mut end = packet.end;
            if self.checksum && header.event_type != EventType::FORMAT_DESCRIPTION {
                checksum::verify(event).map_err(|e| self.malformed(&e))?;
                end -= checksum::LEN;
            }
            self.begun = true;
            let artificial = header.flags & EventHeader::ARTIFICIAL != 0;
            self.current = Current {
                header,
                bytes: start..end,
                artificial,
                inner: false,
            };
            match header.event_type {
                EventType::ROTATE
                | EventType::FORMAT_DESCRIPTION
                | EventType::HEARTBEAT
                | EventType::HEARTBEAT_V2
                | EventType::TRANSACTION_PAYLOAD => {
                    if self.special(header)? {
                        return Ok(true);
                    }
                }
                _ => {
                    self.position.offset = extend(self.position.offset, header.log_pos);
                    return Ok(true);
                }
            }
        }
    }

    /// Events that concern the stream itself. False if another event is to be read in its place.
    #[cold]
    fn special(&mut self, header: EventHeader) -> Result<bool, SourceError> {
        let bytes = self.conn.reader.bytes(self.current.bytes.clone());
        let body = bytes.get(EventHeader::LEN..).unwrap_or_default();
        match header.event_type {
            EventType::ROTATE if self.current.artificial => {
                let rotate = RotateEvent::parse(body).map_err(|e| self.malformed(&e))?;
                let file = String::from_utf8_lossy(rotate.file).into_owned();
                self.position = BinlogPosition {
                    file,
                    offset: rotate.position,
                };
            }
            EventType::HEARTBEAT | EventType::HEARTBEAT_V2 => {
                let heartbeat =
                    HeartbeatEvent::parse(&header, body).map_err(|e| self.malformed(&e))?;
                let offset = match header.event_type {
                    EventType::HEARTBEAT => extend(self.position.offset, header.log_pos),
                    _ => heartbeat.position,
                };
                if heartbeat.file != self.position.file.as_bytes() {
                    self.position.file = String::from_utf8_lossy(heartbeat.file).into_owned();
                }
                self.position.offset = offset;
                self.current.artificial = true;
            }
            EventType::FORMAT_DESCRIPTION => {
                let format = FormatDescription::parse(bytes).map_err(|e| self.malformed(&e))?;
                self.checksum = format.checksum == ChecksumAlgorithm::Crc32;
                self.position.offset = extend(self.position.offset, header.log_pos);
            }
            EventType::TRANSACTION_PAYLOAD if self.flatten => {
                self.position.offset = extend(self.position.offset, header.log_pos);
                return self.begin_payload();
            }
            _ => self.position.offset = extend(self.position.offset, header.log_pos),
        }
        Ok(true)
    }

    #[cold]
    fn not_an_event(&self, packet: Range<usize>) -> SourceError {
        let packet = self.conn.reader.bytes(packet);
        match packet.first() {
            Some(0xff) => self.conn.server_error("the dump", packet),
            Some(0xfe) if packet.len() < 9 => SourceError::Ended,
            other => SourceError::Protocol {
                doing: "reading the dump",
                what: format!("a packet that starts with {other:02x?}"),
            },
        }
    }

    #[cold]
    fn malformed(&self, cause: &DecodeError) -> SourceError {
        let BinlogPosition { file, offset } = self.position.clone();
        match cause {
            DecodeError::Checksum { .. } => SourceError::Checksum {
                file,
                offset,
                cause: cause.clone(),
            },
            _ => SourceError::Malformed {
                file,
                offset,
                what: cause.to_string(),
            },
        }
    }

    #[cold]
    fn wrong_size(&self, header: &EventHeader, found: usize) -> SourceError {
        let BinlogPosition { file, offset } = self.position.clone();
        let (kind, size) = (header.event_type, header.event_size);
        let what = format!("a {kind} event says that it has {size} bytes, {found} came");
        SourceError::Malformed { file, offset, what }
    }

    #[cold]
    fn bad_payload(&self, what: String) -> SourceError {
        let BinlogPosition { file, offset: end } = self.position.clone();
        SourceError::Payload { file, end, what }
    }
}

/// The offset that `log_pos` means, which MySQL writes modulo 4 GiB, given the offset before it.
/// 0 means that the event has no place of its own. A file is over 4 GiB only if one transaction
/// is, so an offset that seems to go back by more than half of that has wrapped.
#[inline]
fn extend(before: u64, log_pos: u32) -> u64 {
    const SPAN: u64 = 1 << 32;
    if log_pos == 0 {
        return before;
    }
    let end = (before & !(SPAN - 1)) | u64::from(log_pos);
    if end + SPAN / 2 < before {
        end + SPAN
    } else {
        end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_go_on_where_log_pos_wraps() {
        assert_eq!(extend(4, 126), 126);
        assert_eq!(extend(126, 0), 126);
        assert_eq!(extend(0xffff_ff00, 0x10), 0x1_0000_0010);
        assert_eq!(extend(0x1_0000_0010, 0x40), 0x1_0000_0040);
        assert_eq!(extend(0x1_ffff_fff0, 0x40), 0x2_0000_0040);
        // An event of almost 1 GiB across the edge.
        assert_eq!(extend(0xe000_0000, 0x1000_0000), 0x1_1000_0000);
        // A little back is not a wrap.
        assert_eq!(extend(500, 400), 400);
    }
}
