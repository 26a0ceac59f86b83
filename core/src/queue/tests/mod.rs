//! Chunks through messages and back, and the rules of a log against a model.

mod packing;
mod rules;
mod model;
mod ends;

use bytes::Bytes;
use towpath_protocol::epoch::{Epoch, Generation};
use towpath_protocol::gtid::{Gtid, GtidOrigin};
use towpath_protocol::position::BinlogPosition;
use uuid::Uuid;

use super::pack::Format;
use super::wire::Compression;
use super::*;
use crate::batch::{self, Chunk};

pub(super) const PIPELINE: Uuid = Uuid::from_u128(77);

pub(super) fn term(epoch: u64, run: u32) -> Term {
    Term {
        generation: Generation(1),
        epoch: Epoch(epoch),
        run,
        producer: Uuid::from_u128(u128::from(epoch) << 32 | u128::from(run)),
    }
}

pub(super) fn format(term: Term, body_bytes: usize, compression: Compression) -> Format {
    Format {
        pipeline: PIPELINE,
        term,
        body_bytes,
        compression,
    }
}

pub(super) fn gtid(number: u64) -> Gtid {
    let origin = GtidOrigin::untagged(Uuid::from_u128(5));
    Gtid::new(origin, number).unwrap()
}

/// An event whose body has `bytes` bytes that tell it from others.
pub(super) fn event(bytes: usize, salt: u64) -> Vec<u8> {
    let mut event = vec![0; 19];
    event[4] = 30;
    event[9..13].copy_from_slice(&((19 + bytes) as u32).to_le_bytes());
    event.extend((0..bytes as u64).map(|at| (salt.wrapping_mul(31) ^ at.wrapping_mul(7)) as u8));
    event
}

/// A transaction as the assembler hands it out: parts of whole events.
pub(super) fn transaction(number: u64, parts: &[Vec<usize>]) -> Vec<batch::Message> {
    let count = parts.len().max(1);
    (0..count)
        .map(|part| {
            let sizes = parts.get(part).map(Vec::as_slice).unwrap_or_default();
            let events: Vec<u8> = sizes
                .iter()
                .enumerate()
                .flat_map(|(at, bytes)| event(*bytes, number * 1000 + (part * 10 + at) as u64))
                .collect();
            batch::Message::Chunk(Chunk {
                ord: 0,
                gtid: gtid(number),
                commit_time_us: number * 10,
                part: part as u32,
                last: part + 1 == count,
                ends: None,
                events: Bytes::from(events),
                after: BinlogPosition {
                    file: "binlog.000001".into(),
                    offset: number * 100,
                },
            })
        })
        .collect()
}
