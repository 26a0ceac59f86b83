//! Entries back to chunks, as a pipeline knows them: an event that was cut comes whole again.

use bytes::{Bytes, BytesMut};

use super::wire::{Entry, Part};
use crate::batch::{self, Chunk};
use crate::decode::EventHeader;

/// Bytes of one event at most. A source's dump thread sends no larger packet (`max_allowed_packet`
/// is at most 1 GiB), so no larger event can have come in.
pub const EVENT_BYTES_MAX: usize = 1024 * 1024 * 1024;

/// Pieces that make no event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// The first piece of an event is less than its header, or says what can't be.
    #[error("an event that was cut in the queue begins with {found} bytes and says it has {said}")]
    Beginning {
        /// Bytes of the first piece.
        found: usize,
        /// Bytes of the event, as its header says.
        said: usize,
    },
    /// The pieces have other bytes than the event says.
    #[error("an event that was cut in the queue has {found} bytes and says it has {said}")]
    Length {
        /// Bytes so far.
        found: usize,
        /// Bytes of the event, as its header says.
        said: usize,
    },
}

/// Joins pieces of events. Holds at most one event.
#[derive(Debug, Default)]
pub struct Joiner {
    cut: Option<Cut>,
}

#[derive(Debug)]
struct Cut {
    bytes: BytesMut,
    event_bytes: usize,
    part: u32,
}

impl Joiner {
    /// Forgets the pieces of an event: its transaction was rolled back.
    pub fn reset(&mut self) {
        self.cut = None;
    }

    /// Takes the next entry; gives a message unless more pieces of an event are to come.
    ///
    /// # Errors
    /// [`JoinError`]: the producer is broken.
    pub fn push(&mut self, entry: Entry) -> Result<Option<batch::Message>, JoinError> {
        let part = match entry {
            Entry::Prepared(gtid) => return Ok(Some(batch::Message::Prepared(gtid))),
            Entry::Part(part) => part,
        };
        let Some(cut) = &mut self.cut else {
            if part.cut {
                self.cut = Some(Cut::begin(&part)?);
                return Ok(None);
            }
            let events = part.events.clone();
            return Ok(Some(chunk(part, events, None)));
        };
        cut.bytes.extend_from_slice(&part.events);
        let (found, said) = (cut.bytes.len(), cut.event_bytes);
        let is_right = if part.cut {
            found < said
        } else {
            found == said
        };
        if !is_right {
            return Err(JoinError::Length { found, said });
        }
        if part.cut {
            return Ok(None);
        }
        let whole = self.cut.take();
        let (events, number) =
            whole.map_or((BytesMut::new(), part.part), |cut| (cut.bytes, cut.part));
        Ok(Some(chunk(part, events.freeze(), Some(number))))
    }
}

impl Cut {
    fn begin(part: &Part) -> Result<Self, JoinError> {
        let found = part.events.len();
        let said =
            EventHeader::parse(&part.events).map_or(0, |(header, _)| header.event_size as usize);
        if found >= said || said > EVENT_BYTES_MAX {
            return Err(JoinError::Beginning { found, said });
        }
        // All at once: growing step by step would take it twice.
        let mut bytes = BytesMut::with_capacity(said);
        bytes.extend_from_slice(&part.events);
        Ok(Self {
            bytes,
            event_bytes: said,
            part: part.part,
        })
    }
}

fn chunk(part: Part, events: Bytes, number: Option<u32>) -> batch::Message {
    batch::Message::Chunk(Chunk {
        ord: part.ord,
        gtid: part.gtid,
        commit_time_us: part.commit_time_us,
        part: number.unwrap_or(part.part),
        last: part.last,
        ends: part.ends,
        events,
        after: part.after,
    })
}
