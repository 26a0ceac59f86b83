//! Merging against a naive model, and the statements and literals that come out.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use towpath_protocol::gtid::{Gtid, GtidOrigin};

use super::ApplyError;
use super::batch::{BatchBuilder, History};
use super::literal::{BINARY_COLLATION, Form, write_cell, write_quoted};
use super::names::differing_defaults;
use super::net::{Arena, Entry, TableEffect};
use super::plan::{TablePlan, mask_bit};
use super::statement::{Operation, Statement, of_effect};
use super::target::{TargetColumn, TargetTable};
use crate::decode::{Column, ColumnKind, EventType, RowImage, RowsEvent, TableMap};

const INT_COLUMN: u8 = 3;
const ALL: &[u8] = &[0b111];

/// The body of a table map for `d.t (id INT, u INT NULL, v INT)` with names.
fn table_map() -> TableMap {
    let mut body = vec![1, 0, 0, 0, 0, 0, 1, 0];
    body.extend_from_slice(b"\x01d\0\x01t\0");
    body.extend_from_slice(&[3, INT_COLUMN, INT_COLUMN, INT_COLUMN, 0, 0b010]);
    // SIGNEDNESS, COLUMN_NAME.
    body.extend_from_slice(&[1, 1, 0]);
    body.extend_from_slice(b"\x04\x07\x02id\x01u\x01v");
    TableMap::parse(&body).unwrap()
}

fn target_column(name: &str) -> TargetColumn {
    TargetColumn {
        name: name.into(),
        data_type: "int".into(),
        column_type: "int".into(),
        charset: None,
        collation: None,
        bytes_max: None,
        nullable: true,
        default: None,
        generated: false,
        stamped: false,
    }
}

/// `PRIMARY KEY (id)`, `UNIQUE (u)`.
fn target() -> TargetTable {
    TargetTable {
        database: "d".into(),
        table: "t".into(),
        columns: ["id", "u", "v"].map(target_column).into(),
        key: vec![0],
        key_index: "PRIMARY".into(),
        unique: vec![1],
        unique_indexes: Vec::new(),
        foreign_keys: false,
    }
}

fn plan(target: TargetTable) -> Arc<TablePlan> {
    Arc::new(TablePlan::new(table_map(), Arc::new(target), true, "-").unwrap())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Row {
    u: Option<i32>,
    v: i32,
}

type Model = BTreeMap<i32, Row>;

fn image(id: i32, row: Row) -> Vec<u8> {
    let mut bytes = vec![if row.u.is_none() { 0b010 } else { 0 }];
    bytes.extend(id.to_le_bytes());
    bytes.extend(row.u.into_iter().flat_map(i32::to_le_bytes));
    bytes.extend(row.v.to_le_bytes());
    bytes
}

fn number(cell: Option<&[u8]>) -> Option<i32> {
    cell.map(|cell| i32::from_le_bytes(cell.try_into().unwrap()))
}

fn read(plan: &TablePlan, arena: &Arena, entry: &Entry) -> (i32, Row) {
    let row = view(plan, arena.bytes(entry.image));
    let cells: Vec<_> = row.cells().map(|cell| cell.unwrap().1).collect();
    (
        number(cells[0]).unwrap(),
        Row {
            u: number(cells[1]),
            v: number(cells[2]).unwrap(),
        },
    )
}

/// What a client of the source may try; what the source would refuse does nothing.
#[derive(Clone, Copy, Debug)]
enum Step {
    Insert(i32, Row),
    Update(i32, Row),
    Move(i32, i32, Row),
    Delete(i32),
}

fn row() -> impl Strategy<Value = Row> {
    (prop::option::of(0..5), 0..3).prop_map(|(u, v)| Row { u, v })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let id = || -3..4;
    let step = prop_oneof![
        (id(), row()).prop_map(|(id, row)| Step::Insert(id, row)),
        (id(), row()).prop_map(|(id, row)| Step::Update(id, row)),
        (id(), id(), row()).prop_map(|(id, to, row)| Step::Move(id, to, row)),
        id().prop_map(Step::Delete),
    ];
    prop::collection::vec(step, 0..60)
}

/// Adds a row as the server does, or not.
fn add(model: &mut Model, id: i32, row: Row) -> Result<(), String> {
    if model.contains_key(&id) {
        return Err(format!("duplicate key {id}"));
    }
    if row.u.is_some() && model.values().any(|other| other.u == row.u) {
        return Err(format!("duplicate value {:?}", row.u));
    }
    model.insert(id, row);
    Ok(())
}

/// Replaces a row as the server does, or not.
fn change(model: &mut Model, id: i32, to: i32, row: Row) -> Result<Row, String> {
    let before = model.remove(&id).ok_or_else(|| format!("no row {id}"))?;
    if let Err(refused) = add(model, to, row) {
        model.insert(id, before);
        return Err(refused);
    }
    Ok(before)
}

fn view<'a>(plan: &'a TablePlan, bytes: &'a [u8]) -> RowImage<'a> {
    RowImage::new(&plan.map, ALL, bytes).unwrap()
}

/// The step's effect on the source, and on what is merged from its binlog.
fn take(source: &mut Model, effect: &mut TableEffect, arena: &mut Arena, n: u32, step: Step) {
    let (before, after) = match step {
        Step::Insert(id, row) => match add(source, id, row) {
            Ok(()) => (None, Some((id, row))),
            Err(_) => return,
        },
        Step::Update(id, row) => match change(source, id, id, row) {
            Ok(before) => (Some((id, before)), Some((id, row))),
            Err(_) => return,
        },
        Step::Move(id, to, row) => match change(source, id, to, row) {
            Ok(before) => (Some((id, before)), Some((to, row))),
            Err(_) => return,
        },
        Step::Delete(id) => match source.remove(&id) {
            Some(before) => (Some((id, before)), None),
            None => return,
        },
    };
    let plan = Arc::clone(&effect.plan);
    let image = |at: Option<(i32, Row)>| at.map(|(id, row)| image(id, row));
    let result = match (image(before), image(after)) {
        (None, Some(after)) => effect.insert(arena, view(&plan, &after), n, &"g"),
        (Some(before), Some(after)) => {
            effect.update(arena, view(&plan, &before), view(&plan, &after), n, &"g")
        }
        (Some(before), None) => effect.delete(arena, view(&plan, &before), n, &"g"),
        (None, None) => Ok(()),
    };
    result.unwrap();
}

/// The merged effect, as the statements apply it: DELETE, UPDATE, INSERT, each strict, and row by
/// row against the unique key.
fn apply(sink: &mut Model, effect: &TableEffect, arena: &Arena) -> Result<(), String> {
    let entries = effect.sorted();
    for entry in &entries {
        let (id, _) = read(&effect.plan, arena, entry);
        if entry.existed && (!entry.present || entry.replace) {
            sink.remove(&id)
                .ok_or_else(|| format!("DELETE misses {id}"))?;
        }
    }
    for entry in &entries {
        let (id, row) = read(&effect.plan, arena, entry);
        if entry.existed && entry.present && !entry.replace {
            let mut new = *sink.get(&id).ok_or_else(|| format!("UPDATE misses {id}"))?;
            if effect.changed & mask_bit(1) != 0 {
                new.u = row.u;
            }
            if effect.changed & mask_bit(2) != 0 {
                new.v = row.v;
            }
            change(sink, id, id, new).map_err(|refused| format!("UPDATE of {id}: {refused}"))?;
        }
    }
    for entry in &entries {
        let (id, row) = read(&effect.plan, arena, entry);
        if entry.present && (!entry.existed || entry.replace) {
            add(sink, id, row).map_err(|refused| format!("INSERT of {id}: {refused}"))?;
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// Whatever the source did, the merged statements are accepted by a sink that was its equal
    /// before, and make it its equal again.
    #[test]
    fn the_net_effect_is_the_effect(
        initial in prop::collection::vec((-3..4, row()), 0..7), steps in steps()
    ) {
        let mut source = Model::new();
        for (id, row) in initial {
            let _ = add(&mut source, id, row);
        }
        let mut sink = source.clone();
        let (mut effect, mut arena) = (TableEffect::new(plan(target())), Arena::default());
        for (n, step) in steps.into_iter().enumerate() {
            take(&mut source, &mut effect, &mut arena, n as u32, step);
        }
        prop_assert_eq!(apply(&mut sink, &effect, &arena), Ok(()));
        prop_assert_eq!(sink, source);
    }

    /// Any bytes, read as the server reads a literal.
    #[test]
    fn a_quoted_literal_holds_its_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut literal = Vec::new();
        write_quoted(&mut literal, "_binary", &bytes);
        let inside = literal.strip_prefix(b"_binary'").unwrap();
        let mut read = Vec::new();
        let mut rest = inside.iter();
        let ended = loop {
            match rest.next() {
                Some(b'\'') => break rest.next().is_none(),
                Some(b'\\') => read.push(match rest.next() { Some(b'0') => 0, Some(c) => *c, None => break false }),
                Some(c) => read.push(*c),
                None => break false,
            }
        };
        prop_assert!(ended);
        prop_assert_eq!(read, bytes);
    }
}

const OLD: Row = Row { u: Some(1), v: 1 };

fn contradiction(
    act: impl Fn(&mut TableEffect, &mut Arena, RowImage<'_>) -> Result<(), ApplyError>,
) -> String {
    let plan = plan(target());
    let bytes = image(7, OLD);
    let row = view(&plan, &bytes);
    let (mut effect, mut arena) = (TableEffect::new(Arc::clone(&plan)), Arena::default());
    act(&mut effect, &mut arena, row).unwrap_err().to_string()
}

#[test]
fn contradictions_are_errors_that_name_table_and_transaction() {
    let said = contradiction(|effect, arena, row| {
        effect.insert(arena, row, 0, &"g:1")?;
        effect.insert(arena, row, 1, &"g:2")
    });
    assert!(
        said.contains("g:2") && said.contains("d.t") && said.contains("INSERT"),
        "{said}"
    );
    let said = contradiction(|effect, arena, row| {
        effect.delete(arena, row, 0, &"g:1")?;
        effect.update(arena, row, row, 1, &"g:2")
    });
    assert!(said.contains("UPDATE of a row that is not there"), "{said}");
    let said = contradiction(|effect, arena, row| {
        effect.delete(arena, row, 0, &"g:1")?;
        effect.delete(arena, row, 1, &"g:2")
    });
    assert!(said.contains("DELETE of a row that is not there"), "{said}");
}

/// The statements of some changes, with their operation and how many rows each must match.
fn statements(plan: &Arc<TablePlan>, before: &Model, steps: &[Step]) -> Vec<Statement> {
    let mut source = before.clone();
    let (mut effect, mut arena) = (TableEffect::new(Arc::clone(plan)), Arena::default());
    for (n, step) in steps.iter().enumerate() {
        take(&mut source, &mut effect, &mut arena, n as u32, *step);
    }
    let mut out = Vec::new();
    of_effect(&effect, &arena, ALL, &mut out).unwrap();
    out
}

fn texts(statements: &[Statement]) -> Vec<(Operation, usize, String)> {
    let text = |s: &Statement| {
        (
            s.operation,
            s.rows.len(),
            String::from_utf8(s.sql.clone()).unwrap(),
        )
    };
    statements.iter().map(text).collect()
}

#[test]
fn statements_are_in_order_and_know_their_rows() {
    let before: Model = (1..=4).map(|id| (id, Row { u: Some(id), v: 0 })).collect();
    let statements = statements(
        &plan(target()),
        &before,
        &[
            Step::Insert(-9, Row { u: None, v: 5 }),
            Step::Update(1, Row { u: Some(1), v: 6 }),
            Step::Delete(2),
            Step::Update(3, Row { u: Some(2), v: 0 }),
        ],
    );
    assert_eq!(
        texts(&statements),
        [
            (Operation::Delete, 2, "DELETE /*+ INDEX(`t` `PRIMARY`) */ FROM `d`.`t` WHERE `id` IN (2,3)".to_owned()),
            (
                Operation::Update,
                1,
                "UPDATE (VALUES ROW(1,1,6)) AS v(c0,c1,c2) STRAIGHT_JOIN `d`.`t` AS t FORCE INDEX FOR JOIN (`PRIMARY`) ON t.`id` = v.c0 \
                 SET t.`u` = v.c1, t.`v` = v.c2"
                    .to_owned()
            ),
            (
                Operation::Insert,
                2,
                "INSERT INTO `d`.`t` (`id`,`u`,`v`) VALUES (-9,NULL,5),(3,2,0)".to_owned()
            ),
        ]
    );
    let keys: Vec<_> = statements
        .iter()
        .flat_map(|s| s.rows.iter().map(|row| (s.key_text(row), row.transaction)))
        .collect();
    let keys: Vec<(&str, u32)> = keys.iter().map(|(key, n)| (key.as_str(), *n)).collect();
    assert_eq!(keys, [("2", 2), ("3", 3), ("1", 1), ("-9", 0), ("3", 3)]);
}

#[test]
fn an_update_names_what_changed_and_what_the_sink_would_stamp() {
    let before: Model = [(1, OLD)].into();
    let change = [Step::Update(1, Row { v: 2, ..OLD })];
    let set = |target| {
        let sql = texts(&statements(&plan(target), &before, &change))
            .remove(0)
            .2;
        sql.split_once(" SET ").unwrap().1.to_owned()
    };
    assert_eq!(set(target()), "t.`v` = v.c1");
    let mut stamped = target();
    stamped.columns[1].stamped = true;
    assert_eq!(set(stamped), "t.`u` = v.c1, t.`v` = v.c2");
}

#[test]
fn a_computed_unique_column_makes_every_update_a_replacement() {
    let mut target = target();
    target.columns[1].generated = true;
    assert_eq!(plan(target).unique_mask, u64::MAX);
}

#[test]
fn many_rows_are_spread_over_statements() {
    let rows: Vec<_> = (0..250)
        .map(|id| Step::Insert(id, Row { u: None, v: 0 }))
        .collect();
    let sizes: Vec<_> = statements(&plan(target()), &Model::new(), &rows)
        .iter()
        .map(|s| s.rows.len())
        .collect();
    assert_eq!(sizes, [100, 100, 50]);
    let before: Model = (0..2500).map(|id| (id, Row { u: None, v: 0 })).collect();
    let deletes: Vec<_> = (0..2500).map(Step::Delete).collect();
    let sizes: Vec<_> = statements(&plan(target()), &before, &deletes)
        .iter()
        .map(|s| s.rows.len())
        .collect();
    assert_eq!(sizes, [1000, 1000, 500]);
}

/// The body of a version 2 rows event without extra data, for the table map above.
fn rows_body(kind: EventType, flags: u16, images: &[Vec<u8>]) -> Vec<u8> {
    let mut body = vec![1, 0, 0, 0, 0, 0];
    body.extend(flags.to_le_bytes());
    body.extend([2, 0, 3]);
    body.extend_from_slice(ALL);
    if kind == EventType::UPDATE_ROWS {
        body.extend_from_slice(ALL);
    }
    body.extend(images.concat());
    body
}

fn gtid(number: u64) -> Gtid {
    Gtid {
        origin: GtidOrigin {
            uuid: uuid::Uuid::nil(),
            tag: String::new(),
        },
        number,
    }
}

const NO_FOREIGN_KEY_CHECKS: u16 = 2;
const RELAXED_UNIQUE_CHECKS: u16 = 4;
/// `USE_SQL_FOREIGN_KEY_F`.
const SQL_FOREIGN_KEYS: u16 = 16;

#[test]
fn a_batch_has_one_setting_of_the_checks() {
    let plan = plan(target());
    let plain = rows_body(EventType::WRITE_ROWS, 0, &[image(1, OLD)]);
    let plain = RowsEvent::parse(EventType::WRITE_ROWS, &plain).unwrap();
    let unchecked = rows_body(
        EventType::WRITE_ROWS,
        NO_FOREIGN_KEY_CHECKS,
        &[image(2, Row { u: None, v: 0 })],
    );
    let unchecked = RowsEvent::parse(EventType::WRITE_ROWS, &unchecked).unwrap();
    let relaxed = rows_body(
        EventType::WRITE_ROWS,
        RELAXED_UNIQUE_CHECKS,
        &[image(3, OLD)],
    );
    let relaxed = RowsEvent::parse(EventType::WRITE_ROWS, &relaxed).unwrap();

    let mut builder = BatchBuilder::new();
    builder.begin(&gtid(1));
    assert!(
        builder.accepts(&plain, History::Strict) && builder.accepts(&unchecked, History::Strict)
    );
    builder.rows(&plan, &plain, History::Strict).unwrap();
    assert!(
        builder.accepts(&plain, History::Strict)
            && !builder.accepts(&unchecked, History::Strict)
            && !builder.accepts(&relaxed, History::Strict)
    );
    let batch = builder.take().unwrap();
    assert!(batch.foreign_key_checks && batch.unique_checks);
    assert_eq!((batch.changes, batch.transactions), (1, vec![gtid(1)]));
    assert!(builder.accepts(&relaxed, History::Strict));

    // Where the source logs what its foreign keys cascade to, the sink must not cascade again.
    let logged = rows_body(EventType::WRITE_ROWS, SQL_FOREIGN_KEYS, &[image(1, OLD)]);
    let logged = RowsEvent::parse(EventType::WRITE_ROWS, &logged).unwrap();
    let mut builder = BatchBuilder::new();
    builder.begin(&gtid(2));
    builder.rows(&plan, &logged, History::Strict).unwrap();
    assert!(
        builder.accepts(&unchecked, History::Strict)
            && !builder.accepts(&relaxed, History::Strict)
            && !builder.accepts(&plain, History::Strict)
    );
    builder.rows(&plan, &unchecked, History::Strict).unwrap();
    assert!(!builder.take().unwrap().foreign_key_checks);
}

/// What runs on the sink for an insert, an update and a delete of a table that is being copied.
#[test]
fn a_table_that_is_copied_takes_its_rows_whatever_is_there() {
    let plan = plan(target());
    let event = |event_type, flags, rows: &[Vec<u8>]| rows_body(event_type, flags, rows);
    let write = event(EventType::WRITE_ROWS, 0, &[image(1, OLD)]);
    let write = RowsEvent::parse(EventType::WRITE_ROWS, &write).unwrap();
    let update = event(
        EventType::UPDATE_ROWS,
        0,
        &[image(2, OLD), image(2, Row { v: 9, ..OLD })],
    );
    let update = RowsEvent::parse(EventType::UPDATE_ROWS, &update).unwrap();
    let delete = event(EventType::DELETE_ROWS, 0, &[image(3, OLD)]);
    let delete = RowsEvent::parse(EventType::DELETE_ROWS, &delete).unwrap();
    for (history, verbs, checked) in [
        (
            History::Strict,
            ["DELETE", "UPDATE", "INSERT"].as_slice(),
            true,
        ),
        (History::Relaxed, ["DELETE", "REPLACE"].as_slice(), false),
    ] {
        let mut builder = BatchBuilder::new();
        builder.begin(&gtid(1));
        for event in [&write, &update, &delete] {
            builder.rows(&plan, event, history).unwrap();
        }
        let batch = builder.take().unwrap();
        let verb = |statement: &Statement| {
            let text = String::from_utf8_lossy(&statement.sql).into_owned();
            text.split_whitespace().next().unwrap().to_owned()
        };
        let found: Vec<_> = batch.statements.iter().map(verb).collect();
        assert_eq!(found, verbs);
        assert!(
            batch
                .statements
                .iter()
                .all(|statement| statement.checked == checked)
        );
        assert_eq!(batch.foreign_key_checks, history == History::Strict);
    }
}

#[test]
fn rows_stay_in_order_where_the_sink_cascades_and_where_there_is_no_key() {
    let sql = |target: TargetTable, cascades_logged: bool| {
        let flags = if cascades_logged { SQL_FOREIGN_KEYS } else { 0 };
        let insert = rows_body(EventType::WRITE_ROWS, flags, &[image(1, OLD)]);
        let delete = rows_body(EventType::DELETE_ROWS, flags, &[image(1, OLD)]);
        let update = rows_body(
            EventType::UPDATE_ROWS,
            flags,
            &[image(1, OLD), image(1, Row { v: 9, ..OLD })],
        );
        let plan = plan(target);
        let mut builder = BatchBuilder::new();
        for (n, (kind, body)) in [
            (EventType::WRITE_ROWS, &insert),
            (EventType::UPDATE_ROWS, &update),
            (EventType::DELETE_ROWS, &delete),
            (EventType::WRITE_ROWS, &insert),
        ]
        .into_iter()
        .enumerate()
        {
            builder.begin(&gtid(n as u64 + 1));
            // The image before the DELETE is that after the UPDATE.
            let body = if kind == EventType::DELETE_ROWS {
                rows_body(kind, flags, &[image(1, Row { v: 9, ..OLD })])
            } else {
                body.clone()
            };
            builder
                .rows(
                    &plan,
                    &RowsEvent::parse(kind, &body).unwrap(),
                    History::Strict,
                )
                .unwrap();
        }
        let batch = builder.take().unwrap();
        assert_eq!((batch.changes, batch.transactions.len()), (4, 4));
        texts(&batch.statements)
            .into_iter()
            .map(|(_, _, sql)| sql)
            .collect::<Vec<_>>()
    };
    let insert = "INSERT INTO `d`.`t` (`id`,`u`,`v`) VALUES (1,1,1)";
    assert_eq!(sql(target(), true), [insert]);
    let family = TargetTable {
        foreign_keys: true,
        ..target()
    };
    assert_eq!(sql(family.clone(), true), [insert]);
    assert_eq!(
        sql(family, false),
        [
            insert,
            "UPDATE `d`.`t` SET `id`=1,`u`=1,`v`=9 WHERE (`id`) = (1)",
            "DELETE FROM `d`.`t` WHERE (`id`) = (1)",
            insert
        ]
    );
    let bare = TargetTable {
        key: vec![],
        key_index: String::new(),
        unique: vec![],
        ..target()
    };
    assert_eq!(
        sql(bare, true),
        [
            insert,
            "UPDATE `d`.`t` SET `id`=1,`u`=1,`v`=9 WHERE `id` <=> 1 AND `u` <=> 1 AND `v` <=> 1 LIMIT 1",
            "DELETE FROM `d`.`t` WHERE `id` <=> 1 AND `u` <=> 1 AND `v` <=> 9 LIMIT 1",
            insert
        ]
    );
}

/// The body of an update of a part of a row: the before image's columns and cells, and the after
/// image's.
fn part_body(before: (u8, &[i32]), after: (u8, &[i32])) -> Vec<u8> {
    let mut body = rows_body(EventType::WRITE_ROWS, 0, &[]);
    body.pop();
    body.extend([before.0, after.0]);
    for (_, cells) in [before, after] {
        body.push(0);
        body.extend(cells.iter().flat_map(|cell| cell.to_le_bytes()));
    }
    body
}

#[test]
fn a_part_of_a_row_goes_alone_and_in_order() {
    let plan = plan(target());
    let mut builder = BatchBuilder::new();
    builder.begin(&gtid(1));
    let mut add = |kind, body: Vec<u8>| {
        let event = RowsEvent::parse(kind, &body).unwrap();
        builder.rows(&plan, &event, History::Strict).unwrap();
    };
    let whole = |id, v| image(id, Row { u: Some(id), v });
    add(
        EventType::WRITE_ROWS,
        rows_body(EventType::WRITE_ROWS, 0, &[whole(1, 1)]),
    );
    // Only v, then only u, of the row with id 1; then its key.
    add(
        EventType::UPDATE_ROWS,
        part_body((0b001, &[1]), (0b100, &[7])),
    );
    add(
        EventType::UPDATE_ROWS,
        part_body((0b001, &[1]), (0b010, &[9])),
    );
    add(
        EventType::UPDATE_ROWS,
        part_body((0b001, &[1]), (0b001, &[2])),
    );
    // Of a row that only another unique key identifies.
    add(
        EventType::UPDATE_ROWS,
        part_body((0b010, &[5]), (0b100, &[8])),
    );
    add(
        EventType::WRITE_ROWS,
        rows_body(EventType::WRITE_ROWS, 0, &[whole(1, 1)]),
    );
    let texts: Vec<String> = texts(&builder.take().unwrap().statements)
        .into_iter()
        .map(|(_, rows, sql)| format!("{rows} {sql}"))
        .collect();
    let insert = "1 INSERT INTO `d`.`t` (`id`,`u`,`v`) VALUES (1,1,1)";
    assert_eq!(
        texts,
        [
            insert,
            "1 UPDATE `d`.`t` SET `v`=7 WHERE (`id`) = (1)",
            "1 UPDATE `d`.`t` SET `u`=9 WHERE (`id`) = (1)",
            "1 UPDATE `d`.`t` SET `id`=2 WHERE (`id`) = (1)",
            "1 UPDATE `d`.`t` SET `v`=8 WHERE `u` <=> 5",
            insert,
        ]
    );
}

/// Rows of `d.t (id INT, v BLOB)`: each is inserted, or updated.
fn of_blobs(existed: bool, sizes: &[usize]) -> Vec<Statement> {
    let mut body = vec![1, 0, 0, 0, 0, 0, 1, 0];
    body.extend_from_slice(b"\x01d\0\x01t\0");
    body.extend_from_slice(&[2, INT_COLUMN, 252, 1, 4, 0]);
    // SIGNEDNESS, DEFAULT_CHARSET (utf8mb4), COLUMN_NAME.
    body.extend_from_slice(&[1, 1, 0, 2, 1, 45]);
    body.extend_from_slice(b"\x04\x05\x02id\x01v");
    let mut table = target();
    table.columns.truncate(2);
    table.unique.clear();
    let blob = &mut table.columns[1];
    (blob.name, blob.data_type) = ("v".into(), "longtext".into());
    let map = TableMap::parse(&body).unwrap();
    let plan = Arc::new(TablePlan::new(map, Arc::new(table), true, "-").unwrap());
    let mut builder = BatchBuilder::new();
    builder.begin(&gtid(1));
    let image = |id: usize, size: usize| {
        let mut row = vec![0];
        row.extend((id as u32).to_le_bytes());
        row.extend((size as u32).to_le_bytes());
        row.resize(row.len() + size, b'x');
        row
    };
    for (id, size) in sizes.iter().enumerate() {
        let kind = if existed {
            EventType::UPDATE_ROWS
        } else {
            EventType::WRITE_ROWS
        };
        let mut body = vec![1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 2, 0b11];
        if existed {
            body.push(0b11);
            body.extend(image(id, 1));
        }
        body.extend(image(id, *size));
        let event = RowsEvent::parse(kind, &body).unwrap();
        builder.rows(&plan, &event, History::Strict).unwrap();
    }
    builder.take().unwrap().statements
}

/// A sink that takes a row alone must not be asked to take it with half a megabyte of others.
#[test]
fn a_large_row_goes_alone() {
    const LARGE: usize = 2 * 1024 * 1024;
    for existed in [false, true] {
        let statements = of_blobs(existed, &[100_000, 100_000, LARGE, 100_000, 10]);
        let rows: Vec<usize> = statements.iter().map(|s| s.rows.len()).collect();
        assert_eq!(rows, [2, 1, 2], "{existed}");
        assert!(statements[1].sql.len() < LARGE + 200, "{existed}");
        for statement in &statements {
            let text = String::from_utf8_lossy(&statement.sql);
            let (head, tail) = match existed {
                true => ("UPDATE (VALUES ROW(", " SET t.`v` = v.c1"),
                false => ("INSERT INTO `d`.`t` (`id`,`v`) VALUES (", "x')"),
            };
            assert!(text.starts_with(head) && text.ends_with(tail), "{existed}");
            assert!(!text.contains(",,") && !text.contains(",)"), "{existed}");
        }
        // Each row's key is where its statement says.
        let keys = statements
            .iter()
            .flat_map(|s| s.rows.iter().map(|row| s.key_text(row)));
        assert_eq!(
            keys.collect::<Vec<_>>(),
            ["0", "1", "2", "3", "4"],
            "{existed}"
        );
        // Small rows go on together up to the bound.
        let statements = of_blobs(existed, &[60_000; 10]);
        let rows: Vec<usize> = statements.iter().map(|s| s.rows.len()).collect();
        assert_eq!(rows, [9, 1], "{existed}");
    }
}

/// What the image leaves out counts, not what only the sink has.
#[test]
fn defaults_that_differ_are_found() {
    let with = |default: Option<&str>| {
        let mut table = target();
        table.columns[2].default = default.map(str::to_owned);
        table
    };
    let differing = |source: Option<&TargetTable>, sink: &TargetTable| {
        let found = differing_defaults(&table_map(), source, sink);
        let found = found.into_iter();
        found
            .map(|d| (d.at, d.column, d.source, d.sink))
            .collect::<Vec<_>>()
    };
    let five = with(Some("5"));
    assert_eq!(differing(Some(&five), &five), []);
    let said = |source: &str| (2, "v".to_owned(), source.to_owned(), "5".to_owned());
    assert_eq!(differing(Some(&with(None)), &five), [said("NULL")]);
    let mut own = five.clone();
    own.columns.push(target_column("own"));
    assert_eq!(differing(Some(&five), &own), []);
    let mut gone = five.clone();
    gone.columns.truncate(2);
    let text = "(the source has no such column any more)";
    assert_eq!(differing(Some(&gone), &five), [said(text)]);
}

#[test]
fn an_insert_of_a_part_leaves_the_defaults_to_the_sink() {
    let mut body = rows_body(EventType::WRITE_ROWS, 0, &[]);
    *body.last_mut().unwrap() = 0b101;
    body.extend([0, 1, 0, 0, 0, 7, 0, 0, 0]);
    let mut builder = BatchBuilder::new();
    builder.begin(&gtid(1));
    let event = RowsEvent::parse(EventType::WRITE_ROWS, &body).unwrap();
    builder
        .rows(&plan(target()), &event, History::Strict)
        .unwrap();
    assert_eq!(
        texts(&builder.take().unwrap().statements)[0].2,
        "INSERT INTO `d`.`t` (`id`,`v`) VALUES (1,7)"
    );
}

#[test]
fn a_part_that_identifies_no_row_is_refused() {
    let mut body = rows_body(EventType::WRITE_ROWS, 0, &[]);
    *body.last_mut().unwrap() = 0b110;
    body.extend([0, 1, 0, 0, 0, 1, 0, 0, 0]);
    let mut builder = BatchBuilder::new();
    builder.begin(&gtid(1));
    let event = RowsEvent::parse(EventType::WRITE_ROWS, &body).unwrap();
    let error = builder
        .rows(&plan(target()), &event, History::Strict)
        .unwrap_err();
    assert!(matches!(error, ApplyError::PartialImage { .. }), "{error}");
    assert!(
        error.to_string().contains("binlog_row_image = 'FULL'"),
        "{error}"
    );
}

fn literal(kind: ColumnKind, unsigned: bool, collation: u16, cell: &[u8]) -> String {
    let column = Column {
        name: "c".into(),
        kind,
        nullable: true,
        unsigned,
        collation,
        labels: Vec::new(),
        visible: true,
        geometry_type: None,
        vector_dimension: None,
    };
    let mut out = Vec::new();
    write_cell(&mut out, &column, &Form::of(&column), Some(cell)).unwrap();
    out.push(b' ');
    write_cell(&mut out, &column, &Form::of(&column), None).unwrap();
    let text = String::from_utf8(out).unwrap();
    text.strip_suffix(" NULL").unwrap().to_owned()
}

#[test]
fn each_literal_means_its_value() {
    const LATIN1: u16 = 8;
    const GBK: u16 = 28;
    const UTF16: u16 = 54;
    const UTF8MB4: u16 = 255;
    let varchar = ColumnKind::VarChar { bytes_max: 100 };
    let binary = ColumnKind::Char { bytes_max: 4 };
    for (kind, unsigned, collation, cell, expected) in [
        (ColumnKind::Tiny, false, 0, &[0x80_u8][..], "-128"),
        (ColumnKind::Tiny, true, 0, &[0x80], "128"),
        (ColumnKind::Int24, false, 0, &[0xff, 0xff, 0xff], "-1"),
        (
            ColumnKind::LongLong,
            true,
            0,
            &[0xff; 8],
            "18446744073709551615",
        ),
        // The double that the float is, not its shortest text, which is another double.
        (
            ColumnKind::Float,
            false,
            0,
            &0.1_f32.to_le_bytes(),
            "0.10000000149011612e0",
        ),
        (
            ColumnKind::Double,
            false,
            0,
            &(-0.0_f64).to_le_bytes(),
            "-0.0e0",
        ),
        (
            ColumnKind::Double,
            false,
            0,
            &1e300_f64.to_le_bytes(),
            "1e300",
        ),
        (ColumnKind::Enum { bytes: 1 }, false, UTF8MB4, &[2], "2"),
        (ColumnKind::Set { bytes: 1 }, false, UTF8MB4, &[3], "3"),
        (varchar, false, UTF8MB4, b"it's \\ \0", "'it\\'s \\\\ \\0'"),
        (varchar, false, LATIN1, b"a", "_latin1'a'"),
        (varchar, false, GBK, &[0xbf, 0x5c], "_gbk X'BF5C'"),
        (varchar, false, UTF16, &[0x00, 0x27], "_utf16 X'0027'"),
        (varchar, false, BINARY_COLLATION, b"a\n", "_binary'a\n'"),
        // The binlog cuts the zeros off; of a VARBINARY there are none to add.
        (binary, false, BINARY_COLLATION, b"a", "_binary'a\\0\\0\\0'"),
        (binary, false, BINARY_COLLATION, b"abcd", "_binary'abcd'"),
        (binary, false, UTF8MB4, b"a", "'a'"),
        (
            ColumnKind::Blob { length_bytes: 1 },
            false,
            BINARY_COLLATION,
            b"",
            "_binary''",
        ),
    ] {
        assert_eq!(
            literal(kind, unsigned, collation, cell),
            expected,
            "{kind:?} {cell:?}"
        );
    }
}
