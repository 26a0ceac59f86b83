//! Compressed transactions: a TRANSACTION_PAYLOAD event holds a transaction's events, compressed
//! with zstd (MySQL manual, "Binary Log Transaction Compression";
//! `libs/mysql/binlog/event/codecs/binary.cpp`).
//!
//! The inner events come out one by one: memory is bounded by the largest one and zstd's window,
//! whatever the transaction inflates to. A payload that ends early, goes on too long, or contains
//! anything but whole events is an error; nothing is ever skipped.

use std::ops::Range;

use zstd::stream::raw::{DParameter, Decoder, Operation};

use super::buffer::ReadBuffer;
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

    /// Begins with the payload event whose body this is; returns where in it the payload lies.
    pub(super) fn begin(&mut self, body: &[u8]) -> Result<Range<usize>, String> {
        let (mut rest, mut payload_len, mut compression, mut uncompressed_len) =
            (body, None, COMPRESSION_ZSTD, None);
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
        if payload_len.is_some_and(|len| len != rest.len() as u64) {
            return Err(format!(
                "it says that it has {} bytes and has {}",
                payload_len.unwrap_or_default(),
                rest.len()
            ));
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
        Ok(body.len() - rest.len()..body.len())
    }

    /// The next inner event, as a range for `bytes`, or None at the payload's proper end. `input`
    /// is what is left of the payload and is advanced by what was used.
    pub(super) fn next(&mut self, input: &mut &[u8]) -> Result<Option<Range<usize>>, String> {
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
                return Ok(Some(start..start + want));
            }
            let missing = (want - held.len()) as u64;
            if !held.is_empty() && self.to_come.is_some_and(|to_come| to_come < missing) {
                return Err("its last event is cut short".to_owned());
            }
            if !self.inflate(input, want)? {
                return self.end().map(|()| None);
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
        let mut inflater = Inflater::new().unwrap();
        let range = inflater.begin(body)?;
        let mut input = &body[range];
        let mut events = Vec::new();
        while let Some(range) = inflater.next(&mut input)? {
            events.push(inflater.bytes(range).to_vec());
        }
        Ok(events)
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
        let range = inflater.begin(&body).unwrap();
        let mut input = &body[range];
        let mut count = 0;
        while inflater.next(&mut input).unwrap().is_some() {
            count += 1;
        }
        assert_eq!(count, 2000);
        assert_eq!(
            inflater.inflated.capacity(),
            crate::source::buffer::BASE_LEN
        );
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
