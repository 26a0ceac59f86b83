//! Statements that apply rows, each with the number of rows that it must match.
//!
//! DELETE by a list of keys, UPDATE joined with a list of values, INSERT of many rows. The order
//! within a table is DELETE, UPDATE, INSERT. No REPLACE and no ON DUPLICATE KEY UPDATE: with
//! another unique key they silently change or delete a different row.

use std::ops::Range;
use std::sync::Arc;

use super::ApplyError;
use super::literal::{Form, write_cell, write_inserted_cell, write_json_diffs};
use super::net::{Arena, Entry, Image, TableEffect};
use super::ordered::OrderedChange;
use super::plan::{PlannedColumn, TablePlan, mask_bit};
use super::target::quote_name;
use crate::decode::{Column, ColumnKind, DecodeError, RowImage, Value, bit};

/// Rows of one INSERT: more per statement is slower, the parser's cost grows faster than the gain.
const INSERT_ROWS_MAX: usize = 100;

/// Keys of one UPDATE or DELETE.
const KEYS_MAX: usize = 1000;

/// A statement is ended when it exceeds this many bytes, so that it stays far below any
/// max_allowed_packet; one row alone may exceed it.
const STATEMENT_BYTES_MAX: usize = 512 * 1024;

/// A row of more bytes goes alone where it would exceed that bound behind others: the sink may take
/// it, but not with them.
const ROW_BYTES_APPENDED_MAX: usize = STATEMENT_BYTES_MAX / 8;

/// What a statement does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Inserts rows that must not be there.
    Insert,
    /// Updates rows that must be there.
    Update,
    /// Deletes rows that must be there.
    Delete,
}

impl Operation {
    /// SQL's word.
    pub fn name(self) -> &'static str {
        match self {
            Operation::Insert => "INSERT",
            Operation::Update => "UPDATE",
            Operation::Delete => "DELETE",
        }
    }
}

/// A row of a statement: where its key's literals are, and which transaction it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowOrigin {
    /// The key's literals in the statement's text, separated by commas.
    pub key: Range<u32>,
    /// Number of the transaction within the batch.
    pub transaction: u32,
}

/// One statement.
#[derive(Debug)]
pub struct Statement {
    /// The table.
    pub plan: Arc<TablePlan>,
    /// What it does.
    pub operation: Operation,
    /// Its text.
    pub sql: Vec<u8>,
    /// Its rows; it must match as many if it is `checked`.
    pub rows: Vec<RowOrigin>,
    /// Whether it must match as many rows as it has.
    pub checked: bool,
    /// Whether it writes what a strict session refuses: an ENUM's empty label of an invalid value.
    lenient: bool,
}

/// Takes strictness, and nothing else, off one statement.
const LENIENT: &[u8] =
    b" /*+ SET_VAR(sql_mode = 'NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES,NO_ENGINE_SUBSTITUTION') */";

/// Builds the statements of one table's net effect and appends them.
///
/// # Errors
/// A row is damaged.
pub fn of_effect(
    effect: &TableEffect,
    arena: &Arena,
    columns: &[u8],
    out: &mut Vec<Statement>,
) -> Result<(), DecodeError> {
    let entries = effect.sorted();
    let builder = Builder {
        plan: &effect.plan,
        arena,
        columns,
    };
    let deleted = |e: &&&Entry| e.existed && (!e.present || e.replace);
    let updated = |e: &&&Entry| e.existed && e.present && !e.replace;
    let inserted = |e: &&&Entry| e.present && (!e.existed || e.replace);
    builder.delete(entries.iter().filter(deleted).copied(), out)?;
    builder.update(entries.iter().filter(updated).copied(), effect.changed, out)?;
    builder.insert(entries.iter().filter(inserted).copied(), out)
}

/// Builds the statement of one change that must stay in order.
///
/// # Errors
/// A row is damaged.
pub fn of_change(
    change: &OrderedChange,
    arena: &Arena,
    columns: &[u8],
    out: &mut Vec<Statement>,
) -> Result<(), DecodeError> {
    let part = change.part.as_deref();
    let (before, after) = part.map_or((columns, columns), |part| (&*part.before, &*part.after));
    let builder = |columns| Builder {
        plan: &change.plan,
        arena,
        columns,
    };
    match (change.before, change.after) {
        (None, Some(image)) => {
            let entry = Entry {
                existed: false,
                present: true,
                replace: false,
                transaction: change.transaction,
                image,
            };
            builder(after).insert(std::iter::once(&entry), out)
        }
        (Some(image), next) => {
            let json_diffs = part.map_or(&[][..], |part| &part.json_diffs);
            let next = next.map(|image| Next {
                image,
                columns: after,
                json_diffs,
            });
            builder(before).one_row(image, next, change.transaction, out)
        }
        (None, None) => Ok(()),
    }
}

/// What one row becomes.
#[derive(Clone, Copy)]
struct Next<'a> {
    image: Image,
    /// Bitmap of the image's columns.
    columns: &'a [u8],
    /// Bitmap of the columns whose cell is changes to a JSON document.
    json_diffs: &'a [u8],
}

struct Builder<'a> {
    plan: &'a Arc<TablePlan>,
    arena: &'a Arena,
    /// Bitmap of the images' columns; all of them but for parts of rows.
    columns: &'a [u8],
}

/// [`write_cell`], or one of its kin.
type WriteCell = fn(&mut Vec<u8>, &Column, &Form, Option<&[u8]>) -> Result<(), DecodeError>;

/// A row's cells by column, for writing them in another order than they are stored in.
struct Cells<'a> {
    cells: Vec<Option<&'a [u8]>>,
    /// Whether one of them is the empty label of an invalid ENUM value.
    invalid_label: bool,
}

impl<'a> Builder<'a> {
    fn delete<'e>(
        &self,
        entries: impl Iterator<Item = &'e Entry>,
        out: &mut Vec<Statement>,
    ) -> Result<(), DecodeError> {
        let key = self.plan.key();
        let mut open: Option<Statement> = None;
        let mut cells = Cells::new(self.plan);
        for entry in entries {
            cells.read(self, entry.image)?;
            let statement = open.get_or_insert_with(|| {
                let mut sql = format!(
                    "DELETE /*+ INDEX({} {}) */ FROM {} WHERE ",
                    quote_name(&self.plan.target.table),
                    self.plan.key_index,
                    self.plan.quoted
                )
                .into_bytes();
                write_names(&mut sql, key.iter(), key.len() > 1);
                sql.extend_from_slice(b" IN (");
                self.statement(Operation::Delete, sql)
            });
            statement.begin_row();
            statement.parenthesis(key.len() > 1, b'(');
            statement.key(self.plan, &cells, entry.transaction)?;
            statement.parenthesis(key.len() > 1, b')');
            if statement.is_full(KEYS_MAX) {
                finish(&mut open, b")", out)?;
            }
        }
        finish(&mut open, b")", out)?;
        Ok(())
    }

    fn update<'e>(
        &self,
        entries: impl Iterator<Item = &'e Entry>,
        changed: u64,
        out: &mut Vec<Statement>,
    ) -> Result<(), DecodeError> {
        if !self.plan.join_update {
            for entry in entries {
                let next = Next {
                    image: entry.image,
                    columns: self.columns,
                    json_diffs: &[],
                };
                self.one_row(entry.image, Some(next), entry.transaction, out)?;
            }
            return Ok(());
        }
        let key = self.plan.key();
        let changed = changed | self.plan.stamped_mask;
        let mut columns: Vec<_> = self
            .plan
            .values()
            .iter()
            .filter(|column| changed & mask_bit(column.source) != 0)
            .collect();
        if columns.is_empty() {
            // Nothing but the key is left to write: the rows must still be there.
            columns = self.plan.values().iter().take(1).collect();
        }
        let mut tail = String::from(" SET ");
        if columns.is_empty() {
            tail.push_str(&format!(
                "t.{0} = t.{0}",
                key.first().map_or("", |c| c.quoted.as_str())
            ));
        }
        for (n, column) in columns.iter().enumerate() {
            if n > 0 {
                tail.push_str(", ");
            }
            tail.push_str(&format!("t.{} = v.c{}", column.quoted, key.len() + n));
        }
        let tail = format!("{}{tail}", self.join_condition(columns.len()));
        let head = b"UPDATE (VALUES ";
        let mut open: Option<Statement> = None;
        let mut cells = Cells::new(self.plan);
        for entry in entries {
            cells.read(self, entry.image)?;
            let statement =
                open.get_or_insert_with(|| self.statement(Operation::Update, head.to_vec()));
            let row = statement.begin_row();
            statement.sql.extend_from_slice(b"ROW(");
            statement.key(self.plan, &cells, entry.transaction)?;
            for column in &columns {
                statement.sql.push(b',');
                cells.write(&mut statement.sql, self.plan, column)?;
            }
            statement.sql.push(b')');
            finish(&mut statement.part_with(row, head), tail.as_bytes(), out)?;
            statement.lenient |= cells.invalid_label;
            if statement.is_full(KEYS_MAX) {
                finish(&mut open, tail.as_bytes(), out)?;
            }
        }
        finish(&mut open, tail.as_bytes(), out)?;
        Ok(())
    }

    /// The values come first and the key's index is named, so that the table is looked up by it,
    /// whatever the optimizer thinks of a list whose size it doesn't know and of a table whose
    /// statistics are old.
    fn join_condition(&self, values: usize) -> String {
        let key = self.plan.key();
        let mut text = String::from(") AS v(");
        for n in 0..key.len() + values {
            if n > 0 {
                text.push(',');
            }
            text.push_str(&format!("c{n}"));
        }
        text.push_str(&format!(
            ") STRAIGHT_JOIN {} AS t FORCE INDEX FOR JOIN ({}) ON ",
            self.plan.quoted, self.plan.key_index
        ));
        for (n, column) in key.iter().enumerate() {
            if n > 0 {
                text.push_str(" AND ");
            }
            match &column.text {
                // In the key's own collation, so that its index serves.
                Some((charset, collation)) => text.push_str(&format!(
                    "t.{} = CONVERT(v.c{n} USING {charset}) COLLATE {collation}",
                    column.quoted
                )),
                None => text.push_str(&format!("t.{} = v.c{n}", column.quoted)),
            }
        }
        text
    }

    fn insert<'e>(
        &self,
        entries: impl Iterator<Item = &'e Entry>,
        out: &mut Vec<Statement>,
    ) -> Result<(), DecodeError> {
        let mut entries = entries.peekable();
        if entries.peek().is_none() {
            return Ok(());
        }
        // A column that wasn't logged had its default at the source, and has it here.
        let logged = |column: &&PlannedColumn| bit(self.columns, column.source);
        let mut head = format!("INSERT INTO {} ", self.plan.quoted).into_bytes();
        write_names(&mut head, self.plan.columns.iter().filter(logged), true);
        head.extend_from_slice(b" VALUES ");
        let mut open: Option<Statement> = None;
        let mut cells = Cells::new(self.plan);
        for entry in entries {
            cells.read(self, entry.image)?;
            let statement =
                open.get_or_insert_with(|| self.statement(Operation::Insert, head.clone()));
            let row = statement.begin_row();
            statement.sql.push(b'(');
            statement.key(self.plan, &cells, entry.transaction)?;
            for (n, column) in self.plan.values().iter().filter(logged).enumerate() {
                if n > 0 || self.plan.key_columns > 0 {
                    statement.sql.push(b',');
                }
                cells.write_as(write_inserted_cell, &mut statement.sql, self.plan, column)?;
            }
            statement.sql.push(b')');
            finish(&mut statement.part_with(row, &head), b"", out)?;
            statement.lenient |= cells.invalid_label;
            if statement.is_full(INSERT_ROWS_MAX) {
                finish(&mut open, b"", out)?;
            }
        }
        finish(&mut open, b"", out)?;
        Ok(())
    }

    /// UPDATE or DELETE of one row, found by its key or, without one, by all the columns that were
    /// logged.
    fn one_row(
        &self,
        before: Image,
        next: Option<Next<'a>>,
        transaction: u32,
        out: &mut Vec<Statement>,
    ) -> Result<(), DecodeError> {
        let mut cells = Cells::new(self.plan);
        let mut statement;
        if let Some(next) = next {
            statement = self.statement(
                Operation::Update,
                format!("UPDATE {} SET ", self.plan.quoted).into_bytes(),
            );
            let after = Builder {
                columns: next.columns,
                ..*self
            };
            cells.read(&after, next.image)?;
            statement.lenient = cells.invalid_label;
            after.write_assignments(&mut statement.sql, &cells, next.json_diffs)?;
        } else {
            statement = self.statement(
                Operation::Delete,
                format!("DELETE FROM {}", self.plan.quoted).into_bytes(),
            );
        }
        let mut cells = Cells::new(self.plan);
        cells.read(self, before)?;
        statement.sql.extend_from_slice(b" WHERE ");
        let logged = |column: &PlannedColumn| bit(self.columns, column.source);
        if self.plan.key_columns > 0 && self.plan.key().iter().all(logged) {
            write_names(&mut statement.sql, self.plan.key().iter(), true);
            statement.sql.extend_from_slice(b" = (");
            statement.key(self.plan, &cells, transaction)?;
            statement.sql.push(b')');
        } else {
            // Equal rows there may be several. Where only some columns were logged, these identify
            // the row: two of them are a difference between source and sink, and must be counted.
            let whole = self.plan.columns.iter().all(logged);
            let computed = self.plan.computed.iter().filter(|_| !whole);
            let columns = self.plan.columns.iter().chain(computed);
            for (n, column) in columns.filter(|column| logged(column)).enumerate() {
                if n > 0 {
                    statement.sql.extend_from_slice(b" AND ");
                }
                self.write_same(&mut statement.sql, &cells, column)?;
            }
            if whole {
                statement.sql.extend_from_slice(b" LIMIT 1");
            }
            statement.rows.push(RowOrigin {
                key: 0..0,
                transaction,
            });
        }
        statement.end(out)
    }

    /// Each column that was logged, and those that the sink would otherwise stamp with the present
    /// time.
    fn write_assignments(
        &self,
        sql: &mut Vec<u8>,
        cells: &Cells<'_>,
        json_diffs: &[u8],
    ) -> Result<(), DecodeError> {
        let mut first = true;
        let mut begin = |sql: &mut Vec<u8>, column: &PlannedColumn| {
            if !std::mem::take(&mut first) {
                sql.push(b',');
            }
            sql.extend_from_slice(column.quoted.as_bytes());
            sql.push(b'=');
        };
        for column in &self.plan.columns {
            if bit(self.columns, column.source) {
                begin(sql, column);
                if bit(json_diffs, column.source) {
                    let diffs = cells.cells.get(column.source).copied().flatten();
                    write_json_diffs(sql, &column.quoted, diffs)?;
                } else {
                    cells.write(sql, self.plan, column)?;
                }
            } else if self.plan.is_stamped(column) {
                begin(sql, column);
                sql.extend_from_slice(column.quoted.as_bytes());
            }
        }
        // Nothing that the sink has was logged; the row must still be there.
        if let (true, Some(column)) = (first, self.plan.columns.first()) {
            sql.extend_from_slice(format!("{0}={0}", column.quoted).as_bytes());
        }
        Ok(())
    }

    /// A condition that only the very same value meets. The server's own comparison takes values
    /// for equal that aren't: texts that a collation equates, -0.0 and 0.0, JSON's 1 and 1.0.
    fn write_same(
        &self,
        sql: &mut Vec<u8>,
        cells: &Cells<'_>,
        column: &PlannedColumn,
    ) -> Result<(), DecodeError> {
        let Some(source) = self.plan.source_column(column) else {
            return Ok(());
        };
        let quoted = &column.quoted;
        let cell = cells.cells.get(column.source).copied().flatten();
        if let Some((charset, _)) = &column.text {
            sql.extend_from_slice(format!("CAST({quoted} AS BINARY) <=> CAST(CONVERT(").as_bytes());
            cells.write(sql, self.plan, column)?;
            sql.extend_from_slice(format!(" USING {charset}) AS BINARY)").as_bytes());
            return Ok(());
        }
        let left = match source.kind {
            // Compared with a number, it would be a double.
            ColumnKind::Set { .. } => format!("CAST({quoted} AS UNSIGNED) <=> "),
            ColumnKind::Vector { .. } => format!("CAST({quoted} AS BINARY) <=> "),
            _ => format!("{quoted} <=> "),
        };
        sql.extend_from_slice(left.as_bytes());
        cells.write(sql, self.plan, column)?;
        let Some(cell) = cell else { return Ok(()) };
        match source.value(cell)? {
            Value::Float(0.0) | Value::Double(0.0) => {
                let negative = cell.last().is_some_and(|byte| byte & 0x80 != 0);
                let text = if negative { "-0" } else { "0" };
                sql.extend_from_slice(format!(" AND CAST({quoted} AS CHAR) = '{text}'").as_bytes());
            }
            Value::Json(_) => {
                sql.extend_from_slice(format!(" AND CAST({quoted} AS CHAR) <=> CAST(").as_bytes());
                cells.write(sql, self.plan, column)?;
                sql.extend_from_slice(b" AS CHAR)");
            }
            _ => {}
        }
        Ok(())
    }

    fn statement(&self, operation: Operation, sql: Vec<u8>) -> Statement {
        Statement {
            plan: Arc::clone(self.plan),
            operation,
            sql,
            rows: Vec::new(),
            checked: true,
            lenient: false,
        }
    }
}

impl Statement {
    /// Nothing is appended to it any more.
    fn end(mut self, out: &mut Vec<Statement>) -> Result<(), DecodeError> {
        if self.lenient {
            self.make_lenient()?;
        }
        out.push(self);
        Ok(())
    }

    /// Puts the hint behind the first word.
    #[cold]
    fn make_lenient(&mut self) -> Result<(), DecodeError> {
        if let Some(column) = &self.plan.narrower {
            // The rest of the row must not be cut without a word.
            return Err(DecodeError::Unsupported {
                what: format!(
                    "the invalid ENUM value of a row of {} whose column {column} is shorter on the sink",
                    self.plan.name()
                )
                .into(),
                hint: "give the sink's column the source's definition, or the ENUM a valid value",
            });
        }
        let at = self.operation.name().len();
        self.sql.splice(at..at, LENIENT.iter().copied());
        for row in &mut self.rows {
            let moved = LENIENT.len() as u32;
            row.key = row.key.start + moved..row.key.end + moved;
        }
        Ok(())
    }

    /// Whether its size calls for the next one.
    fn is_full(&self, rows_max: usize) -> bool {
        self.rows.len() >= rows_max || self.sql.len() >= STATEMENT_BYTES_MAX
    }

    /// Puts a comma behind the row before, if there is one; answers where the next row begins.
    fn begin_row(&mut self) -> usize {
        if !self.rows.is_empty() {
            self.sql.push(b',');
        }
        self.sql.len()
    }

    /// Parts with the rows before the one that begins at `row_at`, if that one is large and has
    /// exceeded the bound behind them: they are answered as a statement of their own, without its
    /// tail, and the large one stays, behind `head`, in the memory that it was written into.
    fn part_with(&mut self, row_at: usize, head: &[u8]) -> Option<Statement> {
        let is_large = self.sql.len() > STATEMENT_BYTES_MAX
            && self.sql.len() - row_at > ROW_BYTES_APPENDED_MAX;
        if !is_large || self.rows.len() < 2 {
            return None;
        }
        let mut row = self.rows.pop()?;
        let before = self.sql.get(..row_at)?.strip_suffix(b",")?.to_vec();
        self.sql.splice(..row_at, head.iter().copied());
        let moved = (row_at - head.len()) as u32;
        row.key = row.key.start - moved..row.key.end - moved;
        Some(Statement {
            plan: Arc::clone(&self.plan),
            operation: self.operation,
            sql: before,
            rows: std::mem::replace(&mut self.rows, vec![row]),
            checked: self.checked,
            lenient: std::mem::take(&mut self.lenient),
        })
    }

    fn parenthesis(&mut self, wanted: bool, which: u8) {
        if wanted {
            self.sql.push(which);
        }
    }

    fn key(
        &mut self,
        plan: &TablePlan,
        cells: &Cells<'_>,
        transaction: u32,
    ) -> Result<(), DecodeError> {
        let start = self.sql.len() as u32;
        for (n, column) in plan.key().iter().enumerate() {
            if n > 0 {
                self.sql.push(b',');
            }
            cells.write(&mut self.sql, plan, column)?;
        }
        self.rows.push(RowOrigin {
            key: start..self.sql.len() as u32,
            transaction,
        });
        Ok(())
    }

    /// A row's key as literals, for messages and for finding what differs.
    pub fn key_text(&self, row: &RowOrigin) -> String {
        let range = row.key.start as usize..row.key.end as usize;
        String::from_utf8_lossy(self.sql.get(range).unwrap_or_default()).into_owned()
    }

    /// Refuses a statement that the sink would not take.
    ///
    /// # Errors
    /// [`ApplyError::RowTooLarge`].
    pub fn check_size(&self, bytes_max: u64, gtid: &str) -> Result<(), ApplyError> {
        check_size(self.sql.len(), bytes_max, gtid, &self.plan.name())
    }
}

/// [`Statement::check_size`] for a statement of `bytes` bytes.
///
/// # Errors
/// [`ApplyError::RowTooLarge`].
pub fn check_size(bytes: usize, bytes_max: u64, gtid: &str, table: &str) -> Result<(), ApplyError> {
    // A margin for the packet's header and for what precedes the statement.
    const MARGIN: u64 = 4096;
    let bytes = bytes as u64 + MARGIN;
    if bytes <= bytes_max {
        return Ok(());
    }
    Err(ApplyError::RowTooLarge {
        gtid: gtid.to_owned(),
        table: table.to_owned(),
        bytes,
        bytes_max,
        wanted: bytes.next_power_of_two().min(1 << 30),
    })
}

impl<'a> Cells<'a> {
    fn new(plan: &TablePlan) -> Self {
        Self {
            cells: vec![None; plan.map.columns.len()],
            invalid_label: false,
        }
    }

    fn read(&mut self, builder: &Builder<'a>, image: Image) -> Result<(), DecodeError> {
        let row = RowImage::new(
            &builder.plan.map,
            builder.columns,
            builder.arena.bytes(image),
        )?;
        for cell in row.cells() {
            let (at, cell) = cell?;
            if let Some(slot) = self.cells.get_mut(at) {
                *slot = cell;
            }
        }
        if builder.plan.has_enum {
            self.invalid_label = self.holds_invalid_label(builder.plan);
        }
        Ok(())
    }

    fn holds_invalid_label(&self, plan: &TablePlan) -> bool {
        plan.columns.iter().any(|column| {
            plan.source_column(column)
                .is_some_and(|column| matches!(column.kind, ColumnKind::Enum { .. }))
                && self
                    .cells
                    .get(column.source)
                    .copied()
                    .flatten()
                    .is_some_and(|cell| cell.iter().all(|byte| *byte == 0))
        })
    }

    fn write(
        &self,
        out: &mut Vec<u8>,
        plan: &TablePlan,
        column: &PlannedColumn,
    ) -> Result<(), DecodeError> {
        self.write_as(write_cell, out, plan, column)
    }

    fn write_as(
        &self,
        write: WriteCell,
        out: &mut Vec<u8>,
        plan: &TablePlan,
        column: &PlannedColumn,
    ) -> Result<(), DecodeError> {
        let Some(source) = plan.source_column(column) else {
            return Ok(());
        };
        let cell = self.cells.get(column.source).copied().flatten();
        write(out, source, &column.form, cell)
    }
}

fn write_names<'c>(
    sql: &mut Vec<u8>,
    columns: impl Iterator<Item = &'c PlannedColumn>,
    parentheses: bool,
) {
    if parentheses {
        sql.push(b'(');
    }
    for (n, column) in columns.enumerate() {
        if n > 0 {
            sql.push(b',');
        }
        sql.extend_from_slice(column.quoted.as_bytes());
    }
    if parentheses {
        sql.push(b')');
    }
}

fn finish(
    open: &mut Option<Statement>,
    tail: &[u8],
    out: &mut Vec<Statement>,
) -> Result<(), DecodeError> {
    if let Some(mut statement) = open.take() {
        statement.sql.extend_from_slice(tail);
        statement.end(out)?;
    }
    Ok(())
}
