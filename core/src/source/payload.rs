//! Compressed transactions: a TRANSACTION_PAYLOAD event holds a transaction's events, compressed
//! with zstd (MySQL manual, "Binary Log Transaction Compression";
//! `libs/mysql/binlog/event/codecs/binary.cpp`).
//!
//! The inner events come out one by one, while the payload comes in: memory is bounded by the
//! largest one and zstd's window, whatever the transaction inflates to. A payload that ends early,
//! goes on too long, or contains anything but whole events is an error; nothing is ever skipped.
//!
//! A large payload is inflated before its event's checksum has come, so what comes out of it may be
//! anything until then; a length that it claims is never memory before it is bytes.

use std::ops::Range;

use zstd::stream::raw::{DParameter, Decoder, Operation};

use super::buffer::{BASE_LEN, ReadBuffer};
use super::packet::PACKET_LEN_MAX;
use crate::decode::EventHeader;

/// The largest zstd window accepted, as a power of two: 128 MiB, which is what the highest level
/// of `binlog_transaction_compression_level_zstd` (22) makes. The default level needs 2 MiB.
pub const WINDOW_LOG_MAX: u32 = 27;

/// Fields of the event, each with a type, a length and a value.
const FIELD_END: u64 = 0;
const FIELD_PAYLOAD_SIZE: u64 = 1;
const FIELD_COMPRESSION: u64 = 2;
const FIELD_UNCOMPRESSED_SIZE: u64 = 3;

const COMPRESSION_ZSTD: u64 = 0;
const COMPRESSION_NONE: u64 = 255;

/// Inflates one payload at a time; its buffers are reused.
pub(super) struct Inflater {
    decoder: Decoder<'static>,
    /// Inflated bytes that no event was made of yet.
    inflated: ReadBuffer,
    compressed: bool,
    /// Inflated bytes still to come, if the event says so.
    to_come: Option<u64>,
    /// At the end of a zstd frame, where a payload may end.
    at_frame_end: bool,
}

/// What there is next in a payload.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Inner {
    /// An event, as a range for `bytes`.
    Event(Range<usize>),
    /// More of the payload is needed.
    Awaited,
    /// Its proper end.
    End,
}

impl std::fmt::Debug for Inflater {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inflater")
            .field("to_come", &self.to_come)
            .finish_non_exhaustive()
    }
}

impl Inflater {
    pub(super) fn new() -> Result<Self, String> {
        let mut decoder = Decoder::new().map_err(|error| error.to_string())?;
        decoder
            .set_parameter(DParameter::WindowLogMax(WINDOW_LOG_MAX))
            .map_err(|error| error.to_string())?;
        Ok(Self {
            decoder,
            inflated: ReadBuffer::new(PACKET_LEN_MAX),
            compressed: true,
            to_come: None,
            at_frame_end: false,
        })
    }

    /// Begins with the payload event whose body has `body_len` bytes and begins so; returns where
    /// in it the payload begins.
    pub(super) fn begin(&mut self, head: &[u8], body_len: usize) -> Result<usize, String> {
        let (mut rest, mut payload_len, mut compression, mut uncompressed_len) =
            (head, None, COMPRESSION_ZSTD, None);
        loop {
            let kind = lenenc(&mut rest)?;
            if kind == FIELD_END {
                break;
            }
            let len = lenenc(&mut rest)?;
            let mut value = take(&mut rest, len)?;
            match kind {
                FIELD_PAYLOAD_SIZE => payload_len = Some(lenenc(&mut value)?),
                FIELD_COMPRESSION => compression = lenenc(&mut value)?,
                FIELD_UNCOMPRESSED_SIZE => uncompressed_len = Some(lenenc(&mut value)?),
                other => return Err(format!("its header has a field of unknown type {other}")),
            }
        }
        let start = head.len() - rest.len();
        let found = body_len.saturating_sub(start);
        if let Some(len) = payload_len.filter(|len| *len != found as u64) {
            return Err(format!("it says that it has {len} bytes and has {found}"));
        }
        self.compressed = match compression {
            COMPRESSION_ZSTD => true,
            COMPRESSION_NONE => false,
            other => return Err(format!("compression type {other} is not known")),
        };
        self.decoder.reinit().map_err(|error| error.to_string())?;
        self.inflated.consume(usize::MAX);
        self.to_come = uncompressed_len;
        self.at_frame_end = !self.compressed;
        Ok(start)
    }

    /// What there is next. `input` is what has come of the payload and was not used; it is advanced
    /// by what is used now, all of it if more is `Awaited`. `whole`: no more will come.
    pub(super) fn next(&mut self, input: &mut &[u8], whole: bool) -> Result<Inner, String> {
        loop {
            let held = self.inflated.filled();
            let want = match EventHeader::parse(held) {
                Err(_) => EventHeader::LEN,
                Ok((header, _)) => header.event_size as usize,
            };
            if !(EventHeader::LEN..=PACKET_LEN_MAX).contains(&want) {
                return Err(format!("an event in it says that it has {want} bytes"));
            }
            if held.len() >= want {
                let start = self.inflated.filled_range().start;
                self.inflated.consume(want);
                return Ok(Inner::Event(start..start + want));
            }
            let missing = (want - held.len()) as u64;
            if !held.is_empty() && self.to_come.is_some_and(|to_come| to_come < missing) {
                return Err("its last event is cut short".to_owned());
            }
            // What is claimed may be wrong: the buffer grows with what has come.
            let room = want.min(2 * held.len() + BASE_LEN);
            if !self.inflate(input, room)? {
                if whole {
                    return self.end().map(|()| Inner::End);
                }
                if !input.is_empty() {
                    return Err("it can't be inflated further".to_owned());
                }
                return Ok(Inner::Awaited);
            }
        }
    }

    /// An inner event's bytes, valid until the next call of `next`.
    pub(super) fn bytes(&self, range: Range<usize>) -> &[u8] {
        self.inflated.bytes(range)
    }

    /// The memory that a large inner event was inflated into, where its range stays valid.
    pub(super) fn take_large(&mut self) -> Option<Vec<u8>> {
        self.inflated.take_large()
    }

    /// Inflates more; false if there is no more.
    fn inflate(&mut self, input: &mut &[u8], want: usize) -> Result<bool, String> {
        let room = self.inflated.spare(want);
        let (read, written) = if self.compressed {
            let status = self
                .decoder
                .run_on_buffers(input, room)
                .map_err(|error| error.to_string())?;
            if status.bytes_read > 0 || status.bytes_written > 0 {
                self.at_frame_end = status.remaining == 0;
            }
            (status.bytes_read, status.bytes_written)
        } else {
            let len = room.len().min(input.len());
            for (to, from) in room
                .chunks_mut(len.max(1))
                .zip(input.chunks(len.max(1)))
                .take(1)
            {
                to.copy_from_slice(from);
            }
            (len, len)
        };
        self.inflated.written(written);
        *input = input.get(read..).unwrap_or_default();
        if let Some(to_come) = &mut self.to_come {
            *to_come = to_come
                .checked_sub(written as u64)
                .ok_or_else(|| "it inflates to more than it says".to_owned())?;
        }
        Ok(read > 0 || written > 0)
    }

    fn end(&self) -> Result<(), String> {
        let held = self.inflated.filled().len();
        if !self.at_frame_end {
            Err("its compressed data is cut short".to_owned())
        } else if held > 0 {
            Err(format!("{held} bytes at its end are no whole event"))
        } else if let Some(to_come @ 1..) = self.to_come {
            Err(format!("it inflates to {to_come} bytes less than it says"))
        } else {
            Ok(())
        }
    }
}

fn take<'a>(from: &mut &'a [u8], len: u64) -> Result<&'a [u8], String> {
    let split = usize::try_from(len)
        .ok()
        .and_then(|len| from.split_at_checked(len));
    let (head, rest) = split.ok_or_else(|| "its header is cut short".to_owned())?;
    *from = rest;
    Ok(head)
}

/// A length-encoded integer (MySQL internals, "Integer Types").
fn lenenc(from: &mut &[u8]) -> Result<u64, String> {
    let first = take(from, 1)?.first().copied().unwrap_or_default();
    let len = match first {
        0..=0xfa => return Ok(u64::from(first)),
        0xfc => 2,
        0xfd => 3,
        0xfe => 8,
        _ => return Err("its header has a length that is none".to_owned()),
    };
    let bytes = take(from, len)?;
    Ok(bytes
        .iter()
        .rev()
        .fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An event of type QUERY with `len` bytes in all.
    fn event(len: usize) -> Vec<u8> {
        let mut bytes = vec![0; 4];
        bytes.push(2);
        bytes.extend_from_slice(&1_u32.to_le_bytes());
        bytes.extend_from_slice(&(len as u32).to_le_bytes());
        bytes.extend_from_slice(&[0; 6]);
        bytes.extend((0..len - EventHeader::LEN).map(|i| (i % 253) as u8));
        bytes
    }

    fn body(payload: &[u8], compression: u8, uncompressed_len: usize) -> Vec<u8> {
        let mut body = vec![2, 1, compression];
        if compression == 255 {
            body = vec![2, 3, 0xfc, 255, 0];
        }
        body.extend_from_slice(&[3, 9, 0xfe]);
        body.extend_from_slice(&(uncompressed_len as u64).to_le_bytes());
        body.extend_from_slice(&[1, 9, 0xfe]);
        body.extend_from_slice(&(payload.len() as u64).to_le_bytes());
        body.push(0);
        body.extend_from_slice(payload);
        body
    }

    fn inflate(body: &[u8]) -> Result<Vec<Vec<u8>>, String> {
        inflate_in_pieces(body, usize::MAX)
    }

    /// As the payload comes in pieces.
    fn inflate_in_pieces(body: &[u8], piece_len: usize) -> Result<Vec<Vec<u8>>, String> {
        let mut inflater = Inflater::new().unwrap();
        let head = &body[..body.len().min(64)];
        let mut rest = &body[inflater.begin(head, body.len())?..];
        let mut input = &rest[..0];
        let mut events = Vec::new();
        loop {
            match inflater.next(&mut input, rest.is_empty())? {
                Inner::Event(range) => events.push(inflater.bytes(range).to_vec()),
                Inner::Awaited => (input, rest) = rest.split_at(piece_len.min(rest.len())),
                Inner::End => return Ok(events),
            }
        }
    }

    fn sample() -> (Vec<Vec<u8>>, Vec<u8>) {
        let events = vec![event(19), event(500), event(900_000), event(20)];
        let plain = events.concat();
        (events, plain)
    }

    #[test]
    fn inner_events_come_out_one_by_one() {
        let (events, plain) = sample();
        let packed = zstd::encode_all(&plain[..], 3).unwrap();
        assert_eq!(inflate(&body(&packed, 0, plain.len())).unwrap(), events);
        assert_eq!(inflate(&body(&plain, 255, plain.len())).unwrap(), events);
        for len in [1, 7, 1000] {
            for body in [
                body(&packed, 0, plain.len()),
                body(&plain, 255, plain.len()),
            ] {
                assert_eq!(inflate_in_pieces(&body, len).unwrap(), events);
            }
        }
    }

    #[test]
    fn a_length_that_is_only_claimed_takes_no_memory() {
        let mut plain = event(1000);
        let claimed = (PACKET_LEN_MAX as u32).to_le_bytes();
        plain[9..13].copy_from_slice(&claimed);
        let packed = zstd::encode_all(&plain[..], 3).unwrap();
        let body = body(&packed, 0, PACKET_LEN_MAX);
        let mut inflater = Inflater::new().unwrap();
        let start = inflater.begin(&body, body.len()).unwrap();
        let outcome = inflater.next(&mut &body[start..], false);
        assert_eq!(outcome, Ok(Inner::Awaited));
        assert!(inflater.inflated.capacity() <= 2 * BASE_LEN);
    }

    #[test]
    fn every_truncation_is_an_error() {
        let (_, plain) = sample();
        let packed = zstd::encode_all(&plain[..], 3).unwrap();
        for len in 0..packed.len() {
            let body = body(&packed[..len], 0, plain.len());
            assert!(
                inflate(&body).is_err(),
                "{len} of {} bytes pass for all",
                packed.len()
            );
        }
        // A whole frame that holds too little, too much, or half an event.
        for len in [plain.len() - 1, plain.len() - 20] {
            let packed = zstd::encode_all(&plain[..len], 3).unwrap();
            assert!(inflate(&body(&packed, 0, plain.len())).is_err());
        }
        let packed = zstd::encode_all(&plain[..], 3).unwrap();
        assert!(inflate(&body(&packed, 0, plain.len() - 20)).is_err());
        let half = zstd::encode_all(&plain[..plain.len() - 1], 3).unwrap();
        assert!(inflate(&body(&half, 0, plain.len() - 1)).is_err());
    }

    #[test]
    fn memory_is_bounded_by_the_largest_inner_event() {
        let plain = event(8192).repeat(2000);
        let packed = zstd::encode_all(&plain[..], 3).unwrap();
        let body = body(&packed, 0, plain.len());
        let mut inflater = Inflater::new().unwrap();
        let mut input = &body[inflater.begin(&body, body.len()).unwrap()..];
        let mut count = 0;
        while inflater.next(&mut input, true).unwrap() != Inner::End {
            count += 1;
        }
        assert_eq!(count, 2000);
        assert_eq!(inflater.inflated.capacity(), BASE_LEN);
    }

    #[test]
    fn a_window_over_the_bound_is_refused() {
        let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
        encoder.window_log(WINDOW_LOG_MAX + 1).unwrap();
        std::io::Write::write_all(&mut encoder, &event(1000).repeat(200_000)).unwrap();
        let packed = encoder.finish().unwrap();
        let error = inflate(&body(&packed, 0, 200_000_000)).unwrap_err();
        assert!(
            error.contains("memory") || error.contains("window"),
            "{error}"
        );
    }

    proptest! {
        #[test]
        fn garbage_never_panics(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = inflate(&body);
        }

        #[test]
        fn a_damaged_payload_is_an_error_or_events(at in 0_usize..100, byte in any::<u8>()) {
            let plain = [event(40), event(60)].concat();
            let mut body = body(&zstd::encode_all(&plain[..], 3).unwrap(), 0, plain.len());
            let at = at % body.len();
            body[at] = byte;
            let _ = inflate(&body);
        }
    }
}
