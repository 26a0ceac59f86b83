//! Bytes that nobody wrote: anything may come out but a panic, and work stays in proportion to the
//! bytes. proptest prints the seed and the smallest failing case.

use proptest::prelude::*;
use towpath_protocol::code;

use super::recorded;
use crate::decode::{
    Column, DecodeError, Event, EventHeader, EventType, Events, FormatDescription, GtidEvent,
    HeartbeatEvent, JsonDocument, QueryEvent, RotateEvent, RowsEvent, RowsQueryEvent, TableMap,
    Value, XidEvent, checksum, previous_gtids,
};

fn touch_value(column: &Column, cell: &[u8]) {
    match column.value(cell) {
        Ok(Value::Json(document)) => touch_json(document),
        Ok(Value::Decimal(value)) => drop(value.to_string()),
        Ok(Value::Date(value)) => drop(value.to_string()),
        Ok(Value::Time(value)) => drop(value.to_string()),
        Ok(Value::DateTime(value)) => drop(value.to_string()),
        Ok(Value::Timestamp(value)) => drop(value.to_string()),
        Ok(_) => {}
        Err(error) => drop(error.to_string()),
    }
}

fn touch_json(document: JsonDocument<'_>) {
    let mut out = Vec::new();
    let bytes = document.as_bytes().len();
    if document.write_text(&mut out).is_err() {
        assert!(out.is_empty());
    }
    // Six characters for a byte of a string, and what stands between two of the shortest values.
    assert!(
        out.len() <= 400 + 40 * bytes,
        "{} bytes of text from {bytes}",
        out.len()
    );
}

fn touch_rows(event_type: EventType, body: &[u8], table: &TableMap) -> Result<(), DecodeError> {
    let rows = RowsEvent::parse(event_type, body)?;
    for row in rows.rows(table)? {
        let row = row?;
        for image in [row.before, row.after].into_iter().flatten() {
            for cell in image.cells() {
                if let (index, Some(cell)) = cell? {
                    touch_value(&table.columns[index], cell);
                }
            }
        }
    }
    Ok(())
}

/// Every parser on every body, whatever the header says.
fn touch(header: &EventHeader, body: &[u8], table: &TableMap) {
    let _ = GtidEvent::parse(EventType::GTID, body);
    let _ = GtidEvent::parse(EventType::ANONYMOUS_GTID, body);
    let _ = GtidEvent::parse(EventType::GTID_TAGGED, body);
    let _ = QueryEvent::parse(body).and_then(|query| query.status_vars());
    let _ = RotateEvent::parse(body);
    let _ = XidEvent::parse(body);
    let _ = RowsQueryEvent::parse(body);
    let _ = previous_gtids::parse(body);
    let _ = HeartbeatEvent::parse(header, body);
    let _ = TableMap::names(body);
    if let Ok(parsed) = TableMap::parse(body) {
        let _ = touch_rows(header.event_type, body, &parsed);
    }
    for event_type in (0..=u8::MAX).map(EventType) {
        if event_type.is_rows() {
            let _ = touch_rows(event_type, body, table);
        }
    }
}

fn touch_event(event: &[u8], table: &TableMap) {
    let _ = checksum::verify(event);
    let _ = FormatDescription::parse(event);
    if let Ok((header, body)) = EventHeader::parse(event) {
        touch(&header, body, table);
    }
    for Event { header, body, .. } in Events::new(event).flatten() {
        touch(&header, body, table);
    }
}

/// A recorded event, and the table map that was in force there.
fn recorded_event() -> impl Strategy<Value = (Vec<u8>, TableMap)> {
    let mut table = recorded::table("ints").0;
    let mut events = Vec::new();
    for event in recorded::events() {
        if event.header.event_type == EventType::TABLE_MAP {
            table = TableMap::parse(event.body()).unwrap();
        }
        // The long documents only cost time.
        if event.bytes.len() < 10_000 {
            events.push((event.bytes.to_vec(), table.clone()));
        }
    }
    proptest::sample::select(events)
}

fn document() -> impl Strategy<Value = Vec<u8>> {
    let (table, events) = recorded::table("docs");
    let mut documents = Vec::new();
    for event in &events {
        let rows = RowsEvent::parse(event.header.event_type, event.body()).unwrap();
        for row in rows.rows(&table).unwrap() {
            let cell = row
                .unwrap()
                .after
                .unwrap()
                .cells()
                .nth(1)
                .unwrap()
                .unwrap()
                .1;
            documents.extend(cell.filter(|cell| cell.len() < 1_000).map(<[u8]>::to_vec));
        }
    }
    proptest::sample::select(documents)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        touch_event(&bytes, &recorded::table("keyed").0);
        touch_json(JsonDocument::new(&bytes));
    }

    #[test]
    fn cut_short((event, table) in recorded_event(), keep in any::<prop::sample::Index>()) {
        touch_event(&event[..keep.index(event.len())], &table);
    }

    #[test]
    fn flipped_bits(
        (mut event, table) in recorded_event(),
        flips in proptest::collection::vec((any::<prop::sample::Index>(), 0_u32..8), 1..6),
    ) {
        for (at, bit) in flips {
            let at = at.index(event.len());
            event[at] ^= 1 << bit;
        }
        touch_event(&event, &table);
    }

    #[test]
    fn damaged_documents(
        mut bytes in document(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        touch_json(JsonDocument::new(&bytes));
    }

    #[test]
    fn cells_of_any_length(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
        for name in ["ints", "numbers", "temporals", "strings", "bytes", "labels", "docs"] {
            for column in &TABLES.with(|tables| tables[name].clone()).columns {
                touch_value(column, &bytes);
            }
        }
    }
}

thread_local! {
    static TABLES: std::collections::HashMap<&'static str, TableMap> =
        ["ints", "numbers", "temporals", "strings", "bytes", "labels", "docs"]
            .into_iter()
            .map(|name| (name, recorded::table(name).0))
            .collect();
}

#[test]
fn a_number_that_json_has_no_text_for_is_an_error() {
    for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let mut bytes = vec![11];
        bytes.extend(number.to_le_bytes());
        let mut out = Vec::new();
        let error = JsonDocument::new(&bytes).write_compact(&mut out);
        let error = error.unwrap_err();
        assert_eq!(error.code(), code::DAMAGED, "{error}");
        assert!(error.to_string().contains("number"), "{error}");
        assert!(out.is_empty());
    }
}

/// Two entries of each array lead to the same next array: 2^90 values in 1 KiB.
#[test]
fn a_document_that_unfolds_is_an_error() {
    let levels = 90_u16;
    let mut bytes = vec![2];
    for level in (0..levels).rev() {
        // Count, size, two entries of a small array whose offset is behind them.
        bytes.extend(2_u16.to_le_bytes());
        bytes.extend(((level + 1) * 10).to_le_bytes());
        for _ in 0..2 {
            bytes.push(if level == 0 { 4 } else { 2 });
            bytes.extend(if level == 0 { 0_u16 } else { 10 }.to_le_bytes());
        }
    }
    let mut out = Vec::new();
    let error = JsonDocument::new(&bytes).write_text(&mut out).unwrap_err();
    assert!(error.to_string().contains("share their bytes"), "{error}");
    assert!(out.is_empty());
}
