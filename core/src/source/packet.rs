//! MySQL packets: a three-byte length, a sequence id, a payload; a payload of 16 MiB - 1 bytes is
//! continued by the next packet (MySQL internals, "MySQL Packets"; `sql-common/net_serv.cc`).
//!
//! Reading needs no copy and no allocation for a packet: payloads are ranges of one buffer. The
//! parts of a payload over 16 MiB are joined in place. A reader that needs no whole payload can
//! have it in pieces, as they come; then the buffer does not grow. Sequence ids are always checked:
//! a gap means that bytes were lost or that the peer does not speak this protocol.

use std::ops::Range;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::buffer::ReadBuffer;
use super::error::SourceError;

/// The longest payload accepted, in bytes: MySQL's largest `max_allowed_packet` (1 GiB) and a
/// little for the headers that the server adds to an event of that size.
pub const PACKET_LEN_MAX: usize = (1 << 30) + 1024;

/// A payload of this length goes on in the next packet.
const PART_LEN: usize = 0xff_ff_ff;

const HEADER_LEN: usize = 4;

/// So much of a payload is there before the buffer grows for the rest of it: its reader decides by
/// that whether it wants pieces. In bytes; more than the headers of any event.
pub(super) const HEAD_LEN: usize = 256;

/// Reads packets out of one buffer.
#[derive(Debug)]
pub(super) struct PacketReader {
    buffer: ReadBuffer,
    /// The sequence id that the next part must carry.
    sequence: u8,
    state: State,
    payload_len_max: usize,
}

#[derive(Debug)]
enum State {
    /// The next bytes are a packet's first header.
    Header,
    /// `len` payload bytes are announced behind the first header; `more`: another part follows.
    Payload { len: usize, more: bool },
    /// A payload goes out in pieces: `left` bytes of the present part are still to be handed out,
    /// and `len` bytes are announced so far in all.
    Pieces { left: usize, len: usize, more: bool },
}

/// What there is of a payload that goes out in pieces.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Its next bytes; valid for `bytes` until the next `fill`.
    Bytes(Range<usize>),
    /// They have not come yet.
    Awaited,
    /// There are no more.
    End,
}

impl PacketReader {
    pub(super) fn new() -> Self {
        Self::with_limit(PACKET_LEN_MAX)
    }

    fn with_limit(payload_len_max: usize) -> Self {
        // The headers of two parts can be in the buffer beside a joined payload.
        let buffer = ReadBuffer::new(payload_len_max + 2 * HEADER_LEN);
        Self {
            buffer,
            sequence: 0,
            state: State::Header,
            payload_len_max,
        }
    }

    /// The sequence id that the next packet must have.
    pub(super) fn sequence(&self) -> u8 {
        self.sequence
    }

    /// Sets the sequence id that the next packet must have: one more than the last one written.
    pub(super) fn expect(&mut self, sequence: u8) {
        self.sequence = sequence;
    }

    /// Whether unread bytes are buffered; a TLS handshake must not begin while there are.
    pub(super) fn has_buffered(&self) -> bool {
        !self.buffer.filled().is_empty()
    }

    /// The next packet's payload, if all of it is buffered. The range is valid for `bytes` until
    /// the next `fill`.
    #[inline]
    pub(super) fn next_buffered(&mut self) -> Result<Option<Range<usize>>, SourceError> {
        loop {
            match self.state {
                State::Header => {
                    let Some((len, sequence)) = header(self.buffer.filled()) else {
                        return Ok(None);
                    };
                    self.check_sequence(sequence)?;
                    self.state = State::Payload {
                        len,
                        more: len == PART_LEN,
                    };
                }
                State::Payload { len, more: false } => {
                    let held = self.buffer.filled_range();
                    if held.len() < HEADER_LEN + len {
                        return Ok(None);
                    }
                    let start = held.start + HEADER_LEN;
                    self.buffer.consume(HEADER_LEN + len);
                    self.state = State::Header;
                    return Ok(Some(start..start + len));
                }
                State::Payload { len, more: true } => {
                    if !self.join(len)? {
                        return Ok(None);
                    }
                }
                State::Pieces { .. } => return Ok(None),
            }
        }
    }

    /// What has come of a payload of at least `len_min` bytes that is not all there: at least
    /// `HEAD_LEN` bytes.
    pub(super) fn head(&self, len_min: usize) -> Option<Range<usize>> {
        let State::Payload { len, .. } = self.state else {
            return None;
        };
        let held = self.buffer.filled_range();
        let start = held.start + HEADER_LEN;
        let end = held.end.min(start + len);
        (len >= len_min && end >= start + HEAD_LEN).then_some(start..end)
    }

    /// The payload that `head` showed goes out in pieces, without its first `skip` bytes, which are
    /// in its head.
    pub(super) fn in_pieces(&mut self, skip: usize) {
        if let State::Payload { len, more } = self.state {
            self.buffer.consume(HEADER_LEN + skip);
            self.state = State::Pieces {
                left: len.saturating_sub(skip),
                len,
                more,
            };
        }
    }

    /// The next piece of a payload that goes out in pieces.
    pub(super) fn next_piece(&mut self) -> Result<Piece, SourceError> {
        while let State::Pieces { left, len, more } = self.state {
            let held = self.buffer.filled_range();
            if left > 0 {
                let piece = left.min(held.len());
                if piece == 0 {
                    return Ok(Piece::Awaited);
                }
                self.buffer.consume(piece);
                let left = left - piece;
                self.state = State::Pieces { left, len, more };
                return Ok(Piece::Bytes(held.start..held.start + piece));
            }
            if !more {
                self.state = State::Header;
                break;
            }
            let Some((part_len, sequence)) = header(self.buffer.filled()) else {
                return Ok(Piece::Awaited);
            };
            self.check_sequence(sequence)?;
            let len = self.check_joined(len + part_len)?;
            self.buffer.consume(HEADER_LEN);
            self.state = State::Pieces {
                left: part_len,
                len,
                more: part_len == PART_LEN,
            };
        }
        Ok(Piece::End)
    }

    /// Takes the next part's header out, so that its payload continues the one before.
    #[cold]
    fn join(&mut self, len: usize) -> Result<bool, SourceError> {
        let at = HEADER_LEN + len;
        let Some((part_len, sequence)) = self.buffer.filled().get(at..).and_then(header) else {
            return Ok(false);
        };
        self.check_sequence(sequence)?;
        let joined = self.check_joined(len + part_len)?;
        self.buffer.cut(at, HEADER_LEN);
        self.state = State::Payload {
            len: joined,
            more: part_len == PART_LEN,
        };
        Ok(true)
    }

    fn check_joined(&self, len: usize) -> Result<usize, SourceError> {
        if len > self.payload_len_max {
            return Err(SourceError::PacketTooLong {
                len,
                len_max: self.payload_len_max,
            });
        }
        Ok(len)
    }

    fn check_sequence(&mut self, found: u8) -> Result<(), SourceError> {
        if found != self.sequence {
            return Err(SourceError::Sequence {
                expected: self.sequence,
                found,
            });
        }
        self.sequence = self.sequence.wrapping_add(1);
        Ok(())
    }

    /// The payload at a range that `next_buffered` returned.
    #[inline]
    pub(super) fn bytes(&self, range: Range<usize>) -> &[u8] {
        self.buffer.bytes(range)
    }

    /// Reads what the peer has sent, at least one byte. Cancelling it loses nothing.
    pub(super) async fn fill<R: AsyncRead + Unpin>(
        &mut self,
        io: &mut R,
    ) -> Result<(), SourceError> {
        let want = match self.state {
            State::Header | State::Pieces { .. } => HEADER_LEN,
            State::Payload { .. } if self.buffer.filled().len() < HEADER_LEN + HEAD_LEN => {
                HEADER_LEN + HEAD_LEN
            }
            State::Payload { len, more } => HEADER_LEN * (1 + usize::from(more)) + len,
        };
        let len = io
            .read(self.buffer.spare(want))
            .await
            .map_err(SourceError::Lost)?;
        if len == 0 {
            return Err(SourceError::Closed);
        }
        self.buffer.written(len);
        Ok(())
    }

    /// The memory that a large packet was read into, where its range stays valid.
    pub(super) fn take_large(&mut self) -> Option<Vec<u8>> {
        self.buffer.take_large()
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.buffer.capacity()
    }
}

/// Length and sequence id, if a whole header is there.
#[inline]
fn header(bytes: &[u8]) -> Option<(usize, u8)> {
    let word = u32::from_le_bytes(*bytes.first_chunk()?);
    Some(((word & 0xff_ff_ff) as usize, (word >> 24) as u8))
}

/// Writes a payload as one packet, or as several if it's over 16 MiB. Returns the next sequence id.
pub(super) async fn write_packet<W: AsyncWrite + Unpin>(
    io: &mut W,
    mut sequence: u8,
    payload: &[u8],
) -> Result<u8, SourceError> {
    let mut rest = payload;
    loop {
        let (part, behind) = rest.split_at(rest.len().min(PART_LEN));
        let mut framed = Vec::with_capacity(HEADER_LEN + part.len());
        framed.extend_from_slice(&(part.len() as u32 | u32::from(sequence) << 24).to_le_bytes());
        framed.extend_from_slice(part);
        io.write_all(&framed).await.map_err(SourceError::Lost)?;
        sequence = sequence.wrapping_add(1);
        rest = behind;
        if part.len() < PART_LEN {
            break;
        }
    }
    io.flush().await.map_err(SourceError::Lost)?;
    Ok(sequence)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    async fn framed(payloads: &[&[u8]]) -> Vec<u8> {
        let mut wire = Vec::new();
        let mut sequence = 0;
        for payload in payloads {
            sequence = write_packet(&mut wire, sequence, payload).await.unwrap();
        }
        wire
    }

    async fn read_all(wire: &[u8], chunk: usize) -> Result<Vec<Vec<u8>>, SourceError> {
        let mut reader = PacketReader::new();
        let mut found = Vec::new();
        for part in wire.chunks(chunk) {
            let mut part = part;
            while !part.is_empty() {
                reader.fill(&mut part).await?;
                while let Some(range) = reader.next_buffered()? {
                    found.push(reader.bytes(range).to_vec());
                }
            }
        }
        Ok(found)
    }

    #[tokio::test]
    async fn packets_come_out_whole_however_the_bytes_arrive() {
        let wire = framed(&[b"one", b"", b"three"]).await;
        for chunk in 1..wire.len() {
            let found = read_all(&wire, chunk).await.unwrap();
            assert_eq!(found, [&b"one"[..], b"", b"three"]);
        }
    }

    #[tokio::test]
    async fn a_payload_over_16_mib_is_joined_and_the_buffer_shrinks_back() {
        // Exactly one part, exactly two, and one that ends inside the third.
        for len in [PART_LEN, 2 * PART_LEN, 2 * PART_LEN + 70_000] {
            // Of prime length, so that parts don't begin alike.
            let mut large: Vec<u8> = (0..=250).collect::<Vec<u8>>().repeat(len / 251 + 1);
            large.truncate(len);
            let wire = framed(&[b"before", &large, b"after"]).await;
            let found = read_all(&wire, 1 << 20).await.unwrap();
            assert_eq!(found.len(), 3);
            assert!(found[1] == large, "a joined payload of {len} bytes differs");
            assert_eq!(found[2], b"after");
        }
        let large = vec![1; 20 << 20];
        let wire = framed(&[&large]).await;
        let mut reader = PacketReader::new();
        let mut rest = &wire[..];
        while reader.next_buffered().unwrap().is_none() {
            reader.fill(&mut rest).await.unwrap();
        }
        assert!(reader.capacity() > 16 << 20);
        let small = framed(&[&b"x"[..]; 64]).await;
        reader.expect(0);
        for mut byte in small.chunks(5) {
            reader.fill(&mut byte).await.unwrap();
            assert!(reader.next_buffered().unwrap().is_some());
        }
        assert_eq!(reader.capacity(), crate::source::buffer::BASE_LEN);
    }

    #[tokio::test]
    async fn a_payload_in_pieces_takes_no_more_than_the_ordinary_buffer() {
        for len in [
            1 << 20,
            PART_LEN,
            PART_LEN + 1,
            2 * PART_LEN,
            2 * PART_LEN + 70_000,
        ] {
            let mut large: Vec<u8> = (0..=250).collect::<Vec<u8>>().repeat(len / 251 + 1);
            large.truncate(len);
            let wire = framed(&[b"before", &large, b"after"]).await;
            let mut rest = &wire[..];
            let mut reader = PacketReader::new();
            let (mut found, mut pieces, mut packets) = (Vec::new(), false, Vec::new());
            while packets.len() < 2 {
                if pieces {
                    match reader.next_piece().unwrap() {
                        Piece::Bytes(range) => found.extend_from_slice(reader.bytes(range)),
                        Piece::Awaited => reader.fill(&mut rest).await.unwrap(),
                        Piece::End => pieces = false,
                    }
                } else if let Some(range) = reader.next_buffered().unwrap() {
                    packets.push(reader.bytes(range).to_vec());
                } else if let Some(head) = reader.head(1 << 20) {
                    found.extend_from_slice(&reader.bytes(head)[..20]);
                    reader.in_pieces(20);
                    pieces = true;
                } else {
                    reader.fill(&mut rest).await.unwrap();
                }
            }
            assert!(found == large, "{len} bytes in pieces differ");
            assert_eq!(packets, [&b"before"[..], b"after"]);
            assert_eq!(reader.capacity(), crate::source::buffer::BASE_LEN);
        }
    }

    #[tokio::test]
    async fn a_gap_in_the_sequence_is_an_error() {
        let mut wire = framed(&[b"one", b"two"]).await;
        wire[7 + 3] = 5;
        let error = read_all(&wire, 4096).await.unwrap_err();
        assert!(
            matches!(
                error,
                SourceError::Sequence {
                    expected: 1,
                    found: 5
                }
            ),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_payload_over_the_bound_is_refused_before_it_is_read() {
        let len_max = 20 << 20;
        for (len, accepted) in [(len_max, true), (len_max + 1, false)] {
            let wire = framed(&[&vec![0; len]]).await;
            // Only as far as the second part's header.
            let mut rest = &wire[..PART_LEN + 2 * HEADER_LEN];
            let mut reader = PacketReader::with_limit(len_max);
            let outcome = loop {
                match reader.next_buffered() {
                    Ok(None) if !rest.is_empty() => reader.fill(&mut rest).await.unwrap(),
                    outcome => break outcome,
                }
            };
            assert_eq!(outcome.is_ok(), accepted, "{outcome:?}");
        }
    }

    #[tokio::test]
    async fn a_closed_connection_is_an_error() {
        let mut reader = PacketReader::new();
        assert!(matches!(
            reader.fill(&mut &b""[..]).await,
            Err(SourceError::Closed)
        ));
    }

    proptest! {
        #[test]
        fn garbage_never_panics(wire in proptest::collection::vec(any::<u8>(), 0..600), chunk in 1_usize..64) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            // Garbage may frame by chance; what counts is that it's a result, not a panic.
            let _ = runtime.block_on(read_all(&wire, chunk));
        }
    }
}
