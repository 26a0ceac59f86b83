//! The header that every event starts with, and events that lie behind one another.

use super::reader::Reader;
use super::{DecodeError, EventType};

/// The common header of an event (MySQL: "Common-Header", `binlog_event.h`), 19 bytes since 5.0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventHeader {
    /// When the statement began on the source, in seconds since 1970; 0 in artificial events.
    pub timestamp: u32,
    /// What the body is.
    pub event_type: EventType,
    /// `server_id` of the server on which it first happened.
    pub server_id: u32,
    /// Header, body and, where the stream has one, checksum, in bytes.
    pub event_size: u32,
    /// Offset of the next event in the file modulo 2^32; 0 inside a transaction payload.
    pub log_pos: u32,
    /// `LOG_EVENT_*_F` flags.
    pub flags: u16,
}

impl EventHeader {
    /// Length in bytes.
    pub const LEN: usize = 19;
    /// Where `event_size` is in it.
    pub const SIZE_AT: usize = 9;
    /// `LOG_EVENT_ARTIFICIAL_F`: made by the sending server, not part of the file.
    pub const ARTIFICIAL: u16 = 0x20;
    /// `LOG_EVENT_IGNORABLE_F`: a reader that does not know the type may go on.
    pub const IGNORABLE: u16 = 0x80;

    /// Splits an event into its header and its body.
    ///
    /// # Errors
    /// The event is shorter than a header.
    #[inline]
    pub fn parse(event: &[u8]) -> Result<(EventHeader, &[u8]), DecodeError> {
        let mut r = Reader::new("event header", event);
        let header = EventHeader {
            timestamp: r.u32()?,
            event_type: EventType(r.u8()?),
            server_id: r.u32()?,
            event_size: r.u32()?,
            log_pos: r.u32()?,
            flags: r.u16()?,
        };
        Ok((header, r.rest()))
    }
}

/// One event out of [`Events`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// Its header.
    pub header: EventHeader,
    /// What is behind the header.
    pub body: &'a [u8],
    /// Header and body.
    pub bytes: &'a [u8],
}

/// Events that lie behind one another without checksums, each as long as its header says: the
/// content of a transaction payload, or of a binlog file behind its magic number where checksums
/// are off. Ends after the first error.
#[derive(Clone, Debug)]
pub struct Events<'a> {
    rest: &'a [u8],
    offset: usize,
}

impl<'a> Events<'a> {
    /// Over `bytes`, which start with a header.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            offset: 0,
        }
    }

    fn read(&mut self) -> Result<Event<'a>, DecodeError> {
        let (header, _) = EventHeader::parse(self.rest)?;
        let size = header.event_size as usize;
        if size < EventHeader::LEN {
            return Err(DecodeError::malformed(
                "sequence of events",
                self.offset,
                format_args!(
                    "a {} event says it has {size} bytes, less than its header",
                    header.event_type
                ),
            ));
        }
        let Some((bytes, rest)) = self.rest.split_at_checked(size) else {
            return Err(DecodeError::Truncated {
                what: "sequence of events",
                offset: self.offset,
                needed: size,
                available: self.rest.len(),
            });
        };
        self.rest = rest;
        self.offset += size;
        let body = bytes.get(EventHeader::LEN..).unwrap_or_default();
        Ok(Event {
            header,
            body,
            bytes,
        })
    }
}

impl<'a> Iterator for Events<'a> {
    type Item = Result<Event<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let item = self.read();
        if item.is_err() {
            self.rest = &[];
        }
        Some(item)
    }
}
