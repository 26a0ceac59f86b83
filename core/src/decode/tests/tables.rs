//! Table maps and row images of the recorded binlog.

use super::recorded;
use crate::decode::{
    ColumnKind, EventType, KeyPart, RowImage, RowsEvent, RowsKind, TableMap, Value,
};

fn names(table: &TableMap) -> Vec<&str> {
    table
        .columns
        .iter()
        .map(|column| column.name.as_str())
        .collect()
}

#[test]
fn full_metadata_names_everything() {
    let (table, _) = recorded::table("keyed");
    assert_eq!(
        (table.database.as_str(), table.table.as_str()),
        ("types", "keyed")
    );
    assert!(table.full_metadata);
    assert_eq!(names(&table), ["a", "b", "c", "hidden", "v", "n"]);
    assert_eq!(
        table.primary_key,
        [
            KeyPart {
                column: 2,
                prefix: 10
            },
            KeyPart {
                column: 1,
                prefix: 0
            },
            KeyPart {
                column: 0,
                prefix: 0
            }
        ]
    );
    assert_eq!(
        table
            .columns
            .iter()
            .map(|column| column.visible)
            .collect::<Vec<_>>(),
        [true, true, true, false, true, true]
    );
    assert_eq!(
        table
            .columns
            .iter()
            .map(|column| column.unsigned)
            .collect::<Vec<_>>(),
        [false, true, false, false, false, false]
    );
    assert_eq!(
        table
            .columns
            .iter()
            .map(|column| column.nullable)
            .collect::<Vec<_>>(),
        [false, false, false, true, true, true]
    );
}

#[test]
fn signedness_counts_year() {
    let (table, _) = recorded::table("ints");
    let unsigned: Vec<&str> = table
        .columns
        .iter()
        .filter(|column| column.unsigned && column.kind != ColumnKind::Year)
        .map(|column| column.name.as_str())
        .collect();
    assert_eq!(unsigned, ["tu", "su", "mu", "iu", "bu", "z"]);
}

#[test]
fn lengths_and_collations_of_strings() {
    let (table, _) = recorded::table("strings");
    let column = |name: &str| {
        table
            .columns
            .iter()
            .find(|column| column.name == name)
            .unwrap()
    };
    // Collation ids from information_schema.collations.
    for (name, kind, collation) in [
        ("c3", ColumnKind::Char { bytes_max: 12 }, 255),
        ("c63", ColumnKind::Char { bytes_max: 252 }, 255),
        ("c64", ColumnKind::Char { bytes_max: 256 }, 255),
        ("c255", ColumnKind::Char { bytes_max: 1020 }, 255),
        ("l255", ColumnKind::Char { bytes_max: 255 }, 8),
        ("v63", ColumnKind::VarChar { bytes_max: 252 }, 255),
        ("v64", ColumnKind::VarChar { bytes_max: 256 }, 255),
        ("v300", ColumnKind::VarChar { bytes_max: 1200 }, 255),
        ("tt", ColumnKind::Blob { length_bytes: 1 }, 255),
        ("t", ColumnKind::Blob { length_bytes: 2 }, 255),
        ("mt", ColumnKind::Blob { length_bytes: 3 }, 255),
        ("lt", ColumnKind::Blob { length_bytes: 4 }, 255),
        ("a", ColumnKind::VarChar { bytes_max: 10 }, 11),
        ("l", ColumnKind::VarChar { bytes_max: 10 }, 8),
        ("u16", ColumnKind::VarChar { bytes_max: 40 }, 54),
        ("g", ColumnKind::VarChar { bytes_max: 20 }, 28),
        ("u3", ColumnKind::VarChar { bytes_max: 30 }, 33),
    ] {
        assert_eq!(
            (column(name).kind, column(name).collation),
            (kind, collation),
            "{name}"
        );
        assert!(column(name).is_text());
    }
}

#[test]
fn bytes_have_the_binary_collation() {
    let (table, _) = recorded::table("bytes");
    for column in &table.columns[1..=8] {
        assert_eq!(column.collation, 63, "{}", column.name);
        assert!(!column.is_text());
    }
    assert_eq!(
        table.columns[9].kind,
        ColumnKind::Vector { length_bytes: 4 }
    );
    assert_eq!(table.columns[9].vector_dimension, Some(3));
    assert_eq!(table.columns[10].geometry_type, Some(0));
    assert_eq!(table.columns[11].geometry_type, Some(1));
}

#[test]
fn labels_and_their_collations() {
    let (table, _) = recorded::table("labels");
    assert_eq!(
        table.columns[1].labels,
        [b"a".to_vec(), b"it's".to_vec(), "ü".into()]
    );
    assert_eq!(table.columns[1].collation, 255);
    assert_eq!(table.columns[2].labels.len(), 300);
    assert_eq!(table.columns[2].kind, ColumnKind::Enum { bytes: 2 });
    assert_eq!(table.columns[4].kind, ColumnKind::Set { bytes: 8 });
    assert_eq!(table.columns[5].collation, 8);
    assert_eq!(table.columns[6].kind, ColumnKind::Set { bytes: 2 });
}

#[test]
fn minimal_metadata_has_no_names_but_signs_and_character_sets() {
    let (table, events) = recorded::table("minimal");
    assert!(!table.full_metadata);
    assert!(table.primary_key.is_empty());
    assert_eq!(names(&table), ["", "", "", ""]);
    assert!(table.columns[0].unsigned);
    assert_eq!(table.columns[1].collation, 8);
    assert_eq!(table.columns[2].collation, 63);
    let rows = RowsEvent::parse(events[0].header.event_type, events[0].body()).unwrap();
    let row = rows.rows(&table).unwrap().next().unwrap().unwrap();
    let (_, cell) = row.after.unwrap().cells().next().unwrap().unwrap();
    assert_eq!(
        table.columns[0].value(cell.unwrap()),
        Ok(Value::UInt(4_294_967_295))
    );
}

#[test]
fn images_have_the_columns_that_the_bitmaps_say() {
    let (table, events) = recorded::table("keyed");
    let mut found = Vec::new();
    for event in &events {
        let rows = RowsEvent::parse(event.header.event_type, event.body()).unwrap();
        assert!(rows.flags.statement_end());
        assert!(!rows.flags.no_foreign_key_checks());
        for row in rows.rows(&table).unwrap() {
            let row = row.unwrap();
            let columns = |image: Option<RowImage<'_>>| -> Vec<(String, Option<Vec<u8>>)> {
                image
                    .iter()
                    .flat_map(RowImage::cells)
                    .map(|cell| {
                        let (index, cell) = cell.unwrap();
                        (table.columns[index].name.clone(), cell.map(<[u8]>::to_vec))
                    })
                    .collect()
            };
            found.push((rows.kind, columns(row.before), columns(row.after)));
            for image in [row.before, row.after].into_iter().flatten() {
                let again = RowImage::new(&table, image.columns(), image.as_bytes()).unwrap();
                assert_eq!(columns(Some(again)), columns(Some(image)));
            }
        }
    }
    let kinds: Vec<RowsKind> = found.iter().map(|(kind, ..)| *kind).collect();
    use RowsKind::{Delete, Update, Write};
    assert_eq!(kinds, [Write, Write, Update, Delete, Update, Delete]);
    let number = |value: u32| Some(value.to_le_bytes().to_vec());
    let cell = |name: &str, value: Option<Vec<u8>>| (name.to_owned(), value);
    let text = |value: &str| Some(value.as_bytes().to_vec());
    assert_eq!(
        found[2].2,
        [
            cell("a", text("k2")),
            cell("b", number(2)),
            cell("c", text("second")),
            cell("hidden", number(5)),
            cell("v", number(3)),
            cell("n", number(2)),
        ]
    );
    assert_eq!(found[0].1, []);
    assert_eq!(found[3].2, []);
    // binlog_row_image=MINIMAL: the key before, what changed after.
    let key = [
        cell("a", text("k2")),
        cell("b", number(2)),
        cell("c", text("second")),
    ];
    assert_eq!(found[4].1, key);
    assert_eq!(found[4].2, [cell("n", number(3))]);
    assert_eq!(found[5].1, key);
}

#[test]
fn session_flags_come_along() {
    let (_, events) = recorded::table("settings");
    let rows = RowsEvent::parse(events[0].header.event_type, events[0].body()).unwrap();
    assert!(rows.flags.no_foreign_key_checks());
    assert!(rows.flags.relaxed_unique_checks());
}

#[test]
fn names_need_no_parsing() {
    for event in recorded::of_type(EventType::TABLE_MAP) {
        let table = TableMap::parse(event.body()).unwrap();
        let names = (
            table.table_id,
            table.database.as_bytes(),
            table.table.as_bytes(),
        );
        assert_eq!(TableMap::names(event.body()), Ok(names));
        assert_eq!(TableMap::table_id(event.body()), Ok(table.table_id));
    }
}

#[test]
fn another_number_of_columns_is_an_error() {
    let (ints, _) = recorded::table("ints");
    let (_, events) = recorded::table("keyed");
    let rows = RowsEvent::parse(events[0].header.event_type, events[0].body()).unwrap();
    let error = rows.rows(&ints).unwrap_err().to_string();
    assert!(
        error.contains("has 6 columns") && error.contains("`types`.`ints` has 14"),
        "{error}"
    );
}

#[test]
fn a_temporal_type_of_before_5_6_is_an_error_that_names_the_column() {
    let event = recorded::of_type(EventType::TABLE_MAP)
        .into_iter()
        .find(|event| TableMap::parse(event.body()).unwrap().table == "ints")
        .unwrap();
    let mut body = event.body().to_vec();
    // table id, flags, `types`, `ints`, column count, then the types: INT, YEAR, ...
    let year = 6 + 2 + 7 + 6 + 1 + 1;
    assert_eq!(body[year], 13);
    body[year] = 12;
    let error = TableMap::parse(&body).unwrap_err().to_string();
    assert_eq!(
        error,
        "column `y` of `types`.`ints`: DATETIME in the format of before MySQL 5.6 cannot be read: \
         rebuild the table on the source with ALTER TABLE ... FORCE, which converts the column"
    );
}
