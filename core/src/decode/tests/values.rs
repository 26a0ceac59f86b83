//! Every type, with awkward values, against the server's own text.

use super::recorded;
use crate::decode::{Column, RowsEvent, Value};

const EXPECTED: &str = include_str!("../../../tests/data/types.expected");

fn expected(table: &str) -> Vec<Vec<&'static str>> {
    EXPECTED
        .lines()
        .skip_while(|line| *line != format!("== {table}"))
        .skip(1)
        .take_while(|line| !line.starts_with("== "))
        .map(|line| line.split('\t').collect())
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

/// As the client prints it in batch mode.
fn batch(text: &[u8]) -> String {
    String::from_utf8(text.to_vec())
        .unwrap()
        .replace('\\', "\\\\")
        .replace('\n', "\\n")
        .replace('\t', "\\t")
        .replace('\0', "\\0")
}

fn text(column: &Column, cell: Option<&[u8]>, expected: &str) -> String {
    let Some(cell) = cell else {
        return "NULL".to_owned();
    };
    match column.value(cell).unwrap() {
        Value::Int(value) => value.to_string(),
        Value::UInt(value) => value.to_string(),
        // Compared as numbers: the server writes exponents in another way.
        Value::Float(value) if expected.parse() == Ok(f64::from(value)) => expected.to_owned(),
        Value::Double(value) if expected.parse() == Ok(value) => expected.to_owned(),
        Value::Float(value) => value.to_string(),
        Value::Double(value) => value.to_string(),
        Value::Decimal(value) => value.to_string(),
        Value::Year(value) => value.to_string(),
        Value::Date(value) => value.to_string(),
        Value::Time(value) => value.to_string(),
        Value::DateTime(value) => value.to_string(),
        Value::Timestamp(value) => value.to_string(),
        Value::Bit(value) => value.to_string(),
        Value::Enum(0) => String::new(),
        // The recorded labels of the latin1 column are its letters of the upper half.
        Value::Enum(index) if column.collation == 8 => column.labels[usize::from(index) - 1]
            .iter()
            .map(|byte| char::from(*byte))
            .collect(),
        Value::Enum(index) => batch(&column.labels[usize::from(index) - 1]),
        Value::Set(bits) => {
            let labels: Vec<&[u8]> = column
                .labels
                .iter()
                .enumerate()
                .filter(|(index, _)| bits >> index & 1 == 1)
                .map(|(_, label)| label.as_slice())
                .collect();
            batch(&labels.join(&b","[..]))
        }
        Value::Bytes(bytes) | Value::Geometry(bytes) | Value::Vector(bytes) => hex(bytes),
        Value::Json(document) => {
            let mut out = Vec::new();
            document.write_text(&mut out).unwrap();
            batch(&out)
        }
    }
}

fn check(name: &str) {
    let (table, events) = recorded::table(name);
    let expected = expected(name);
    let mut lines = expected.iter();
    for event in &events {
        let rows = RowsEvent::parse(event.header.event_type, event.body()).unwrap();
        for row in rows.rows(&table).unwrap() {
            let line = lines.next().expect("no more rows than the server has");
            let image = row.unwrap().after.unwrap();
            assert_eq!(line.len(), table.columns.len());
            let mut cells = 0;
            for cell in image.cells() {
                let (index, cell) = cell.unwrap();
                assert_eq!(index, cells);
                cells += 1;
                let column = &table.columns[index];
                let found = text(column, cell, line[index]);
                assert_eq!(
                    found, line[index],
                    "{name}.{} of id {}",
                    column.name, line[0]
                );
            }
            assert_eq!(cells, table.columns.len());
        }
    }
    assert!(!expected.is_empty());
    assert_eq!(lines.next(), None, "rows of {name} are missing");
}

#[test]
fn integers() {
    check("ints");
}

#[test]
fn decimals_floats_and_bits() {
    check("numbers");
}

#[test]
fn dates_and_times() {
    check("temporals");
}

#[test]
fn strings_of_all_lengths() {
    check("strings");
}

#[test]
fn bytes_vectors_and_geometries() {
    check("bytes");
}

#[test]
fn enums_and_sets() {
    check("labels");
}

#[test]
fn json_documents() {
    check("docs");
}

#[test]
fn compact_json_differs_in_spaces_only() {
    let (table, events) = recorded::table("docs");
    for event in &events {
        let rows = RowsEvent::parse(event.header.event_type, event.body()).unwrap();
        for row in rows.rows(&table).unwrap() {
            let image = row.unwrap().after.unwrap();
            let (_, cell) = image.cells().nth(1).unwrap().unwrap();
            let Some(cell) = cell else { continue };
            let Value::Json(document) = table.columns[1].value(cell).unwrap() else {
                panic!()
            };
            let (mut server, mut compact) = (Vec::new(), Vec::new());
            document.write_text(&mut server).unwrap();
            document.write_compact(&mut compact).unwrap();
            // No string of the recorded documents has `": "` or `", "` in it.
            let server = String::from_utf8(server)
                .unwrap()
                .replace(": ", ":")
                .replace(", ", ",");
            let compact = String::from_utf8(compact).unwrap();
            assert_eq!(compact, server);
        }
    }
}
