//! A large event that is used while it comes in: what is known of it, and its checksum as far as it
//! is computed.
//!
//! Invariant: until [`Arriving::end`] has returned Ok, nothing that was read of the event is to be
//! trusted. It never holds the event's bytes.

use crate::decode::{DecodeError, EventHeader, checksum};

/// An event of which the head has come, and some of the rest.
#[derive(Debug)]
pub(super) struct Arriving {
    pub(super) header: EventHeader,
    /// Where the event before it ended, in bytes.
    pub(super) begins_at: u64,
    computed: crc32fast::Hasher,
    /// Bytes before the checksum that are still to come.
    left: usize,
    /// The checksum as far as it has come; empty if the source writes none.
    stored: Vec<u8>,
    has_checksum: bool,
    /// Nobody wants its bytes.
    pub(super) skipped: bool,
    /// What is wrong with it, if its checksum is right.
    pub(super) wrong: Option<String>,
}

impl Arriving {
    /// An event that begins with `head`; None if it says that it is shorter than that.
    pub(super) fn begin(header: EventHeader, head: &[u8], has_checksum: bool) -> Option<Self> {
        let mut computed = crc32fast::Hasher::new();
        computed.update(head);
        let behind = if has_checksum { checksum::LEN } else { 0 };
        Some(Self {
            header,
            begins_at: 0,
            computed,
            left: (header.event_size as usize).checked_sub(head.len() + behind)?,
            stored: Vec::new(),
            has_checksum,
            skipped: false,
            wrong: None,
        })
    }

    /// Takes the event's next bytes; returns how many of them stand before the checksum, or None if
    /// they are more than the event says that it has.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Option<usize> {
        let (data, behind) = bytes.split_at(self.left.min(bytes.len()));
        self.computed.update(data);
        self.left -= data.len();
        self.stored.extend_from_slice(behind);
        let stored_max = if self.has_checksum { checksum::LEN } else { 0 };
        (self.stored.len() <= stored_max).then_some(data.len())
    }

    /// Whether all bytes that it says to have have come.
    pub(super) fn is_whole(&self) -> bool {
        self.left == 0 && (!self.has_checksum || self.stored.len() == checksum::LEN)
    }

    /// How many of its bytes have come.
    pub(super) fn come(&self) -> usize {
        let behind = if self.has_checksum { checksum::LEN } else { 0 };
        (self.header.event_size as usize).saturating_sub(self.left + behind) + self.stored.len()
    }

    /// Checks the checksum, when all of it has come.
    pub(super) fn end(self) -> Result<(), DecodeError> {
        let Some(stored) = self.stored.first_chunk() else {
            return Ok(());
        };
        let (stored, computed) = (u32::from_le_bytes(*stored), self.computed.finalize());
        if stored != computed {
            return Err(DecodeError::Checksum {
                event_type: self.header.event_type,
                stored,
                computed,
            });
        }
        Ok(())
    }
}
