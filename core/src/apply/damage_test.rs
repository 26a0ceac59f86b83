//! Recorded events, damaged: what is sent under a checksum is refused whole; what gets past it, or
//! was written wrong, may be refused, too, or become some statements, but never a panic, and never
//! more memory than in proportion to the bytes.

use proptest::prelude::*;

use super::mirrored::statements;
use crate::decode::tests::recorded;
use crate::decode::{EventType, RowsEvent, TableMap, checksum};

/// Every rows event, with the table map before it.
fn rows_events() -> Vec<(recorded::Recorded, recorded::Recorded)> {
    let mut map = None;
    let mut found = Vec::new();
    for event in recorded::events() {
        if event.header.event_type == EventType::TABLE_MAP {
            map = Some(event);
        } else if event.header.event_type.is_rows() && event.bytes.len() < 10_000 {
            found.push((map.unwrap(), event));
        }
    }
    found
}

/// All of them undamaged: the statements that the damaged ones are measured against exist.
#[test]
fn recorded_rows_become_statements() {
    let mut whole = 0;
    for (map, event) in rows_events() {
        let map = TableMap::parse(map.body()).unwrap();
        let rows = RowsEvent::parse(event.header.event_type, event.body()).unwrap();
        // A part of a row needs the sink's own keys.
        if !rows.has_all_columns() {
            continue;
        }
        for keyed in [true, false] {
            let bytes = statements(&map, event.header.event_type, event.body(), keyed);
            assert!(bytes.is_some_and(|bytes| bytes > 0), "{}", map.table);
            whole += 1;
        }
    }
    assert!(whole > 20, "{whole}");
}

/// Each single bit of each recorded event: the checksum tells.
#[test]
fn every_flipped_bit_is_refused_by_the_checksum() {
    let mut rest = recorded::FILE.get(4..).unwrap();
    let mut flips = 0_u64;
    while let Some(size) = rest.get(9..13) {
        let size = u32::from_le_bytes(size.try_into().unwrap()) as usize;
        let (event, behind) = rest.split_at(size);
        rest = behind;
        // Each flip costs a checksum of the whole.
        let step = (event.len() / 400).max(1);
        let mut event = event.to_vec();
        assert!(checksum::verify(&event).is_ok());
        for at in (0..event.len()).step_by(step) {
            for bit in 0..8 {
                event[at] ^= 1 << bit;
                assert!(checksum::verify(&event).is_err(), "byte {at} bit {bit}");
                event[at] ^= 1 << bit;
                flips += 1;
            }
        }
        for keep in (0..event.len()).step_by(step) {
            assert!(checksum::verify(&event[..keep]).is_err(), "cut at {keep}");
        }
    }
    assert!(flips > 10_000, "{flips}");
}

fn flip(bytes: &mut [u8], flips: &[(prop::sample::Index, u32)]) {
    for (at, bit) in flips {
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, ..ProptestConfig::default() })]

    #[test]
    fn damaged_events_become_statements_in_proportion_or_errors(
        (map, event) in proptest::sample::select(rows_events().into_iter().map(|(map, event)| (map.body().to_vec(), (event.header.event_type, event.body().to_vec()))).collect::<Vec<_>>()),
        in_map in proptest::collection::vec((any::<prop::sample::Index>(), 0_u32..8), 0..3),
        in_rows in proptest::collection::vec((any::<prop::sample::Index>(), 0_u32..8), 0..6),
        keep in proptest::option::of(any::<prop::sample::Index>()),
        event_type in proptest::option::of(any::<u8>()),
        keyed in any::<bool>(),
    ) {
        let (mut map, (recorded_type, mut rows)) = (map, event);
        flip(&mut map, &in_map);
        flip(&mut rows, &in_rows);
        if let Some(keep) = keep {
            rows.truncate(keep.index(rows.len()));
        }
        let event_type = event_type.map_or(recorded_type, EventType);
        if let Ok(map) = TableMap::parse(&map)
            && let Some(bytes) = statements(&map, event_type, &rows, keyed)
        {
            // The longest text for a byte of a row: a column's name, a cast and its character set;
            // and a bit of it can be a NULL, written with its name.
            let names: usize = map.columns.iter().map(|c| c.name.len() + 200).sum();
            prop_assert!(
                bytes <= (rows.len() + 1) * (names * 8 + 400),
                "{bytes} bytes of statements from {} of rows", rows.len()
            );
        }
    }
}
