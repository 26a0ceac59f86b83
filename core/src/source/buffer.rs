//! One reused read buffer: bytes arrive at its end and are handed out from its start.
//!
//! It grows only for a packet that needs it and shrinks back once packets are small again. Bytes
//! that were handed out stay where they are until room for more is asked for, so that a reader
//! can keep ranges instead of copies. It never reads by itself and never grows past its limit.

use std::ops::Range;

/// Ordinary size in bytes: large enough that a read is rare (one per about 1,500 small events),
/// small enough to stay in a core's cache.
pub(super) const BASE_LEN: usize = 256 * 1024;

/// How many times room is asked for at the ordinary size before a grown buffer is given back. A
/// few rounds, so that a run of large packets doesn't grow and shrink it for each.
const CALM_ROUNDS: u32 = 16;

/// From here on memory counts more than copies.
const LARGE_LEN: usize = 8 * 1024 * 1024;

/// A growing byte buffer with a read end and a write end.
#[derive(Debug)]
pub(super) struct ReadBuffer {
    /// Always fully initialised; its length is the buffer's capacity.
    data: Vec<u8>,
    start: usize,
    end: usize,
    limit: usize,
    calm: u32,
}

impl ReadBuffer {
    /// An empty buffer that never holds more than `limit` bytes.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            data: vec![0; BASE_LEN.min(limit)],
            start: 0,
            end: 0,
            limit,
            calm: 0,
        }
    }

    /// The bytes that are there and not consumed.
    pub(super) fn filled(&self) -> &[u8] {
        self.bytes(self.start..self.end)
    }

    /// The unconsumed bytes' place, as a range for `bytes`.
    pub(super) fn filled_range(&self) -> Range<usize> {
        self.start..self.end
    }

    /// Bytes by their place; empty if the range lies outside the buffer.
    pub(super) fn bytes(&self, range: Range<usize>) -> &[u8] {
        debug_assert!(range.end <= self.data.len());
        self.data.get(range).unwrap_or_default()
    }

    /// Marks `len` bytes from the start as read. They stay in place until `spare` is called.
    pub(super) fn consume(&mut self, len: usize) {
        self.start = (self.start + len).min(self.end);
    }

    /// Cuts `len` bytes out, `at` bytes after the start, and closes the gap.
    pub(super) fn cut(&mut self, at: usize, len: usize) {
        let (to, from) = (self.start + at, self.start + at + len);
        if from <= self.end {
            self.data.copy_within(from..self.end, to);
            self.end -= len;
        }
    }

    /// Room to write to, so that at least `want` unconsumed bytes fit in all. Invalidates ranges.
    /// Empty only if the buffer is full at its limit.
    pub(super) fn spare(&mut self, want: usize) -> &mut [u8] {
        let held = self.end - self.start;
        if held == 0 {
            (self.start, self.end) = (0, 0);
        }
        if want <= BASE_LEN && self.data.len() > BASE_LEN {
            self.calm += 1;
            if self.calm >= CALM_ROUNDS && held < BASE_LEN {
                self.move_to_front();
                self.data.truncate(BASE_LEN);
                self.data.shrink_to_fit();
                self.calm = 0;
            }
        } else {
            self.calm = 0;
        }
        // A quarter of the base keeps reads large when an unfinished packet sits near the end.
        if self.data.len() - self.end < want.saturating_sub(held).max(BASE_LEN / 4) {
            self.move_to_front();
        }
        if self.data.len() < want {
            // For a large packet no more than it needs: what is filled with zeros is in memory.
            let ahead = if want < LARGE_LEN {
                self.data.len() / 2
            } else {
                0
            };
            let grown = want.max(self.data.len() + ahead).min(self.limit);
            if grown > self.data.len() {
                self.data.reserve_exact(grown - self.data.len());
                self.data.resize(grown, 0);
            }
        }
        self.data.get_mut(self.end..).unwrap_or_default()
    }

    /// Tells that `len` bytes were written to the room that `spare` gave.
    pub(super) fn written(&mut self, len: usize) {
        self.end = (self.end + len).min(self.data.len());
    }

    /// The memory of a large buffer, in which ranges stay valid; what is not consumed goes on in a
    /// new one. None if the buffer isn't large.
    pub(super) fn take_large(&mut self) -> Option<Vec<u8>> {
        let held = self.end - self.start;
        if self.data.len() < LARGE_LEN || held > BASE_LEN {
            return None;
        }
        let mut data = Vec::with_capacity(BASE_LEN);
        data.extend_from_slice(self.filled());
        data.resize(BASE_LEN, 0);
        (self.start, self.end) = (0, held);
        Some(std::mem::replace(&mut self.data, data))
    }

    /// Bytes that the buffer occupies.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.data.len()
    }

    fn move_to_front(&mut self) {
        self.data.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(buffer: &mut ReadBuffer, bytes: &[u8], want: usize) {
        let room = buffer.spare(want);
        room[..bytes.len()].copy_from_slice(bytes);
        buffer.written(bytes.len());
    }

    #[test]
    fn bytes_come_out_as_they_went_in() {
        let mut buffer = ReadBuffer::new(1 << 20);
        push(&mut buffer, b"abcdef", 6);
        buffer.consume(2);
        push(&mut buffer, b"gh", 6);
        assert_eq!(buffer.filled(), b"cdefgh");
        buffer.cut(1, 2);
        assert_eq!(buffer.filled(), b"cfgh");
    }

    #[test]
    fn grows_when_asked_and_never_past_its_limit() {
        let mut buffer = ReadBuffer::new(BASE_LEN * 3);
        assert!(buffer.spare(BASE_LEN * 2).len() >= BASE_LEN * 2);
        assert_eq!(buffer.spare(BASE_LEN * 9).len(), BASE_LEN * 3);
    }

    #[test]
    fn shrinks_once_packets_are_small_again() {
        let mut buffer = ReadBuffer::new(1 << 30);
        push(&mut buffer, b"tail", 64 << 20);
        assert!(buffer.capacity() >= 64 << 20);
        for _ in 0..CALM_ROUNDS {
            buffer.spare(4);
        }
        assert_eq!(buffer.capacity(), BASE_LEN);
        assert_eq!(buffer.filled(), b"tail");
    }

    #[test]
    fn a_large_buffer_is_taken_and_the_rest_goes_on() {
        let mut buffer = ReadBuffer::new(1 << 30);
        push(&mut buffer, b"largetail", 64 << 20);
        assert_eq!(buffer.capacity(), 64 << 20);
        buffer.consume(5);
        let taken = buffer.take_large().unwrap();
        assert_eq!(taken[..9], *b"largetail");
        assert!(buffer.take_large().is_none());
        assert_eq!(buffer.capacity(), BASE_LEN);
        assert_eq!(buffer.filled(), b"tail");
    }

    #[test]
    fn held_bytes_survive_a_move_to_the_front() {
        let mut buffer = ReadBuffer::new(1 << 20);
        let most = vec![7; BASE_LEN - 10];
        push(&mut buffer, &most, most.len());
        buffer.consume(BASE_LEN - 13);
        assert!(buffer.spare(100).len() >= BASE_LEN / 4);
        assert_eq!(buffer.filled(), [7, 7, 7]);
    }
}
