//! Chunks to messages: the producer's side of `docs/queue-protocol.md`.
//!
//! Pure: what is to be written comes out as sealed bytes, in order. Small transactions share a body,
//! large ones are cut into parts, an event larger than a body is cut itself. A message is sealed
//! once; whoever must write it again writes the same bytes. An OPEN comes by itself every
//! [`OPEN_EVERY`] messages, never inside a transaction; by the clock it's the caller's.

use bytes::Bytes;
use towpath_protocol::gtid::{Gtid, GtidSet};
use uuid::Uuid;

use super::Term;
use super::wire::{
    Compression, EntryWriter, HEADER_BYTES, Header, Kind, Part, WireError, encode_heartbeat,
    encode_open, seal,
};
use crate::batch::{self, Chunk};
use crate::decode::EventHeader;

/// After so many messages comes an OPEN, as soon as no transaction is open: how far back a reader
/// may have to begin, against what an OPEN costs.
pub const OPEN_EVERY: u32 = 64;

/// The smallest body that may be aimed at: room for a part's own fields and the longest file name,
/// and still for events.
pub const BODY_BYTES_MIN: usize = 4 * 1024;

/// Whose log it is, and how it is written.
#[derive(Clone, Debug)]
pub struct Format {
    /// The pipeline.
    pub pipeline: Uuid,
    /// The producer's term; no other producer ever has the same.
    pub term: Term,
    /// Bytes of a body that are aimed at and, but for an OPEN, not exceeded: [`BODY_BYTES_MIN`] to
    /// [`super::wire::BODY_BYTES_MAX`].
    pub body_bytes: usize,
    /// Whether bodies are compressed.
    pub compression: Compression,
}

/// A message, ready to be written.
#[derive(Clone, Debug)]
pub struct Sealed {
    /// Its number in the term.
    pub seq: u64,
    /// Its bytes.
    pub bytes: Bytes,
}

/// Why a message can't be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PackError {
    /// A chunk's events aren't whole events.
    #[error(
        "the events of transaction {gtid} are no events at byte {offset} of a chunk of {length} bytes"
    )]
    Events {
        /// The transaction.
        gtid: Gtid,
        /// Where, in the chunk.
        offset: usize,
        /// The chunk's length.
        length: usize,
    },
    /// A chunk that doesn't follow the one before.
    #[error("a part of transaction {gtid} came where it has no place")]
    Disorder {
        /// The transaction.
        gtid: Gtid,
    },
    /// An OPEN of which the GTID set is too large, by its number of intervals.
    #[error(
        "the GTID set is too large for the queue ({intervals} intervals): it has too many holes; \
         let the source fill them, or purge them into one"
    )]
    Gtids {
        /// Its intervals.
        intervals: usize,
    },
    /// A message that its own rules forbid.
    #[error(transparent)]
    Wire(#[from] WireError),
}

/// A term that was claimed, and not opened yet.
#[derive(Debug)]
pub struct Claimed {
    writer: Writer,
}

/// Makes the messages of an open term.
#[derive(Debug)]
pub struct Packer {
    writer: Writer,
    entries: EntryWriter,
    /// What the entries begin within, or with.
    entries_ord: u64,
    /// Of the open transaction, else of the next one.
    ord: u64,
    /// All whole transactions before the next one.
    before: GtidSet,
    open: Option<Open>,
    /// Messages since the last OPEN.
    since_open: u32,
}

#[derive(Debug)]
struct Open {
    gtid: Gtid,
    /// Number of the next part.
    part: u32,
}

/// Numbers, links and seals.
#[derive(Debug)]
struct Writer {
    format: Format,
    seq: u64,
    back_link: u32,
}

impl Writer {
    fn seal(
        &mut self,
        kind: Kind,
        ord: u64,
        body: &[u8],
        now_us: u64,
    ) -> Result<Sealed, WireError> {
        let header = Header {
            kind,
            pipeline: self.format.pipeline,
            term: self.format.term,
            seq: self.seq,
            back_link: self.back_link,
            ord,
            made_us: now_us,
            checksum: 0,
        };
        let (bytes, checksum) = seal(&header, body, self.format.compression)?;
        let seq = self.seq;
        self.seq += 1;
        self.back_link = checksum;
        Ok(Sealed { seq, bytes })
    }
}

impl Claimed {
    /// Begins a term; the message closes all lower ones.
    ///
    /// # Errors
    /// None that a caller could cause.
    pub fn new(format: Format, now_us: u64) -> Result<(Self, Sealed), PackError> {
        let mut writer = Writer {
            format,
            seq: 0,
            back_link: 0,
        };
        let sealed = writer.seal(Kind::Claim, 0, &[], now_us)?;
        Ok((Self { writer }, sealed))
    }

    /// Opens the term: `before` is what the source need not be asked for any more, `ord` the number
    /// of the next transaction, at least 1.
    ///
    /// # Errors
    /// [`PackError::Gtids`].
    pub fn open(
        self,
        before: GtidSet,
        ord: u64,
        now_us: u64,
    ) -> Result<(Packer, Sealed), PackError> {
        let mut packer = Packer {
            writer: self.writer,
            entries: EntryWriter::default(),
            entries_ord: ord,
            ord,
            before,
            open: None,
            since_open: 0,
        };
        let sealed = packer.seal_open(now_us)?;
        Ok((packer, sealed))
    }
}

impl Packer {
    /// Takes in what comes next from the source. What is complete is added to `out`; the rest waits
    /// for more, or for [`Packer::flush`].
    ///
    /// # Errors
    /// [`PackError`]; nothing more can be packed then.
    pub fn push(
        &mut self,
        message: &batch::Message,
        now_us: u64,
        out: &mut Vec<Sealed>,
    ) -> Result<(), PackError> {
        match message {
            batch::Message::Chunk(chunk) => self.chunk(chunk, now_us, out),
            batch::Message::Prepared(gtid) => {
                if self.open.is_some() {
                    return Err(PackError::Disorder { gtid: gtid.clone() });
                }
                self.make_room(64, now_us, out)?;
                self.entries.prepared(gtid);
                Ok(())
            }
            batch::Message::CaughtUp { position } => {
                if self.open.is_some() {
                    return Ok(());
                }
                self.flush(now_us, out)?;
                let body = encode_heartbeat(position);
                out.push(self.writer.seal(Kind::Heartbeat, self.ord, &body, now_us)?);
                self.since_open += 1;
                self.open_if_due(now_us, out)
            }
        }
    }

    /// Hands out what waits for more.
    ///
    /// # Errors
    /// As [`Packer::push`].
    pub fn flush(&mut self, now_us: u64, out: &mut Vec<Sealed>) -> Result<(), PackError> {
        if !self.entries.is_empty() {
            let body = self.entries.finish();
            let sealed = self
                .writer
                .seal(Kind::Data, self.entries_ord, &body, now_us)?;
            out.push(sealed);
            self.since_open += 1;
        }
        self.entries_ord = self.ord;
        Ok(())
    }

    /// Writes an OPEN, unless a transaction is open or nothing came since the last one.
    ///
    /// # Errors
    /// As [`Packer::push`].
    pub fn open(&mut self, now_us: u64, out: &mut Vec<Sealed>) -> Result<(), PackError> {
        if self.open.is_some() {
            return Ok(());
        }
        self.flush(now_us, out)?;
        if self.since_open > 0 {
            out.push(self.seal_open(now_us)?);
        }
        Ok(())
    }

    /// Whole transactions that were pushed, and what came before them.
    pub fn before(&self) -> &GtidSet {
        &self.before
    }

    /// Whether bytes wait for more.
    pub fn is_waiting(&self) -> bool {
        !self.entries.is_empty()
    }

    fn seal_open(&mut self, now_us: u64) -> Result<Sealed, PackError> {
        let body = encode_open(&self.before);
        let sealed = self.writer.seal(Kind::Open, self.ord, &body, now_us);
        self.since_open = 0;
        sealed.map_err(|_| PackError::Gtids {
            intervals: self.before.interval_count(),
        })
    }

    fn open_if_due(&mut self, now_us: u64, out: &mut Vec<Sealed>) -> Result<(), PackError> {
        if self.since_open >= OPEN_EVERY {
            self.open(now_us, out)?;
        }
        Ok(())
    }

    /// Flushes unless `bytes` more fit.
    fn make_room(
        &mut self,
        bytes: usize,
        now_us: u64,
        out: &mut Vec<Sealed>,
    ) -> Result<(), PackError> {
        let is_full = self.entries.body_bytes() + bytes > self.writer.format.body_bytes;
        if is_full || self.entries.is_full() {
            self.flush(now_us, out)?;
        }
        Ok(())
    }

    fn chunk(
        &mut self,
        chunk: &Chunk,
        now_us: u64,
        out: &mut Vec<Sealed>,
    ) -> Result<(), PackError> {
        let follows = match &self.open {
            None => chunk.part == 0,
            Some(open) => chunk.part > 0 && open.gtid == chunk.gtid,
        };
        if !follows {
            return Err(PackError::Disorder {
                gtid: chunk.gtid.clone(),
            });
        }
        let mut cutter = Cutter::new(chunk);
        loop {
            let mut part = Part {
                gtid: chunk.gtid.clone(),
                ord: self.ord,
                commit_time_us: chunk.commit_time_us,
                part: self.open.as_ref().map_or(0, |open| open.part),
                last: false,
                cut: false,
                ends: None,
                after: chunk.after.clone(),
                events: Bytes::new(),
            };
            // Also where it isn't the last one: the bound is on the safe side.
            part.ends.clone_from(&chunk.ends);
            let around = EntryWriter::part_bytes_max(&part);
            self.make_room(around, now_us, out)?;
            let body_bytes = self.writer.format.body_bytes;
            let room = body_bytes.saturating_sub(self.entries.body_bytes() + around);
            let is_alone = self.entries.is_empty();
            let Some((events, cut)) = cutter.next(room, is_alone)? else {
                // The next event gets a body of its own, or the beginning of one.
                self.flush(now_us, out)?;
                continue;
            };
            (part.events, part.cut) = (events, cut);
            part.last = chunk.last && cutter.is_done();
            if !part.last {
                part.ends = None;
            }
            if !part.events.is_empty() || part.last {
                self.entries.part(&part);
                self.open = (!part.last).then(|| Open {
                    gtid: chunk.gtid.clone(),
                    part: part.part + 1,
                });
            }
            if cutter.is_done() {
                break;
            }
        }
        if chunk.last {
            self.before.add(&chunk.gtid);
            if let Some(ended) = &chunk.ends {
                self.before.add(ended);
            }
            self.ord += 1;
            if self.entries.is_empty() {
                self.entries_ord = self.ord;
            }
            self.open_if_due(now_us, out)?;
        }
        Ok(())
    }
}

/// Cuts a chunk's events.
struct Cutter<'a> {
    chunk: &'a Chunk,
    at: usize,
    /// Bytes of the event that was cut that are still to come.
    event_rest: usize,
}

impl<'a> Cutter<'a> {
    fn new(chunk: &'a Chunk) -> Self {
        Self {
            chunk,
            at: 0,
            event_rest: 0,
        }
    }

    fn is_done(&self) -> bool {
        self.at == self.chunk.events.len()
    }

    /// As many whole events as fit into `room`; where not even one does, a piece of one if
    /// `is_alone`, else nothing. With whether the last event goes on.
    fn next(&mut self, room: usize, is_alone: bool) -> Result<Option<(Bytes, bool)>, PackError> {
        if self.event_rest > 0 {
            return Ok(Some(self.piece(room)));
        }
        let mut end = self.at;
        while end < self.chunk.events.len() {
            let size = self.event_bytes(end)?;
            if end - self.at + size > room {
                break;
            }
            end += size;
        }
        if end == self.at && !self.is_done() {
            if !is_alone {
                return Ok(None);
            }
            self.event_rest = self.event_bytes(self.at)?;
            return Ok(Some(self.piece(room)));
        }
        let events = self.chunk.events.slice(self.at..end);
        self.at = end;
        Ok(Some((events, false)))
    }

    fn piece(&mut self, room: usize) -> (Bytes, bool) {
        let length = self.event_rest.min(room.max(1));
        let events = self.chunk.events.slice(self.at..self.at + length);
        self.at += length;
        self.event_rest -= length;
        (events, self.event_rest > 0)
    }

    /// Bytes of the event at `offset`, as its header says; it lies within the chunk.
    fn event_bytes(&self, offset: usize) -> Result<usize, PackError> {
        let rest = self.chunk.events.get(offset..).unwrap_or_default();
        EventHeader::parse(rest)
            .ok()
            .map(|(header, _)| header.event_size as usize)
            .filter(|size| (EventHeader::LEN..=rest.len()).contains(size))
            .ok_or_else(|| PackError::Events {
                gtid: self.chunk.gtid.clone(),
                offset,
                length: self.chunk.events.len(),
            })
    }
}

/// Bytes of the largest message whose body has `body_bytes`.
pub const fn message_bytes(body_bytes: usize) -> usize {
    HEADER_BYTES + body_bytes
}
