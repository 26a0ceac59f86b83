//! The writer: events in, lines out.

use std::collections::HashMap;

use towpath_protocol::code::{self, Code};
use towpath_protocol::spec::TableFilter;

use super::diffs;
use super::plan::TablePlan;
use super::string::{self, TextEncoding};
use super::value;
use crate::decode::{
    DecodeError, EventHeader, EventType, GtidEvent, PartialJson, QueryEvent, RowImage, RowsEvent,
    RowsKind, TableMap,
};

/// Plans that are kept. A source with more tables than this in use costs time, not memory.
const PLANS_MAX: usize = 1_024;

/// Why an event cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum TailError {
    /// The event cannot be read.
    #[error("the {event_type} event that ends at {file}:{end_offset} cannot be read: {source}")]
    Decode {
        /// Its type.
        event_type: EventType,
        /// Its file.
        file: Box<str>,
        /// Offset of its end, in bytes.
        end_offset: u64,
        /// What is wrong.
        source: DecodeError,
    },
    /// Rows without a table map before them.
    #[error(
        "the {event_type} event that ends at {file}:{end_offset} is about table id {table_id}, \
         which no table map before it describes; begin at the start of a transaction"
    )]
    NoTableMap {
        /// Its type.
        event_type: EventType,
        /// Its file.
        file: Box<str>,
        /// Offset of its end, in bytes.
        end_offset: u64,
        /// The table id.
        table_id: u64,
    },
}

impl TailError {
    /// The error's code.
    pub fn code(&self) -> Code {
        match self {
            Self::Decode { source, .. } => source.code(),
            Self::NoTableMap { .. } => code::DAMAGED,
        }
    }
}

#[derive(Debug)]
struct KnownTable {
    /// The table map without its table id.
    definition: Box<[u8]>,
    /// `None` for a table that is filtered out.
    plan: Option<TablePlan>,
}

/// Writes events as JSON lines, see [the module](super).
#[derive(Debug)]
pub struct JsonLines {
    filter: TableFilter,
    /// `"ts_us":…,"gtid":…` of the current transaction.
    transaction: Vec<u8>,
    /// Everything of a line before the images; the same for all rows of an event.
    head: Vec<u8>,
    plans: Vec<KnownTable>,
    /// The plan that a table id had last: ids are stable while the source keeps a table open.
    by_table_id: HashMap<u64, usize>,
    /// Table id and plan of the current statement's tables.
    statement: Vec<(u64, usize)>,
}

impl JsonLines {
    /// Writes changes of the tables that `filter` takes.
    pub fn new(filter: TableFilter) -> Self {
        Self {
            filter,
            transaction: Vec::new(),
            head: Vec::new(),
            plans: Vec::new(),
            by_table_id: HashMap::new(),
            statement: Vec::new(),
        }
    }

    /// Appends the lines of one event and returns how many there are. Events come in order,
    /// transaction payloads unpacked; `position` is the file and where the event ends in it.
    ///
    /// # Errors
    /// The event cannot be read, or a table map is missing. Nothing is appended then, and events
    /// that follow would be read wrongly: it is the end.
    pub fn event(
        &mut self,
        header: &EventHeader,
        body: &[u8],
        position: (&str, u64),
        out: &mut Vec<u8>,
    ) -> Result<usize, TailError> {
        let start = out.len();
        self.write(header, body, position, out).map_err(|error| {
            out.truncate(start);
            let (file, end_offset) = position;
            let (event_type, file) = (header.event_type, file.into());
            match error {
                Failure::Decode(source) => TailError::Decode {
                    event_type,
                    file,
                    end_offset,
                    source,
                },
                Failure::NoTableMap(table_id) => TailError::NoTableMap {
                    event_type,
                    file,
                    end_offset,
                    table_id,
                },
            }
        })
    }

    fn write(
        &mut self,
        header: &EventHeader,
        body: &[u8],
        position: (&str, u64),
        out: &mut Vec<u8>,
    ) -> Result<usize, Failure> {
        match header.event_type {
            EventType::GTID | EventType::ANONYMOUS_GTID | EventType::GTID_TAGGED => {
                self.begin(GtidEvent::parse(header.event_type, body)?, header);
                Ok(0)
            }
            EventType::TABLE_MAP => {
                self.table_map(body)?;
                Ok(0)
            }
            event_type if event_type.is_rows() => self.rows(header, body, position, out),
            EventType::QUERY => self.query(header, &QueryEvent::parse(body)?, position, out),
            EventType::TRANSACTION_PAYLOAD => Err(DecodeError::UnexpectedEvent {
                expected: "the events of a transaction payload",
                found: header.event_type,
            }
            .into()),
            EventType::ROTATE | EventType::FORMAT_DESCRIPTION => {
                self.transaction.clear();
                self.statement.clear();
                Ok(0)
            }
            _ => Ok(0),
        }
    }

    fn begin(&mut self, event: GtidEvent, header: &EventHeader) {
        let ts_us = match event.immediate_commit_us {
            0 => u64::from(header.timestamp) * 1_000_000,
            ts_us => ts_us,
        };
        self.transaction.clear();
        self.transaction.extend_from_slice(b"\"ts_us\":");
        self.transaction
            .extend_from_slice(itoa::Buffer::new().format(ts_us).as_bytes());
        match &event.gtid {
            None => self.transaction.extend_from_slice(b",\"gtid\":null"),
            Some(gtid) => {
                let mut uuid = [0; uuid::fmt::Hyphenated::LENGTH];
                let uuid = gtid.origin.uuid.hyphenated().encode_lower(&mut uuid);
                self.transaction.extend_from_slice(b",\"gtid\":\"");
                self.transaction.extend_from_slice(uuid.as_bytes());
                self.transaction.push(b':');
                if !gtid.origin.tag.is_empty() {
                    self.transaction
                        .extend_from_slice(gtid.origin.tag.as_bytes());
                    self.transaction.push(b':');
                }
                let number = gtid.number;
                self.transaction
                    .extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
                self.transaction.push(b'"');
            }
        }
    }

    fn table_map(&mut self, body: &[u8]) -> Result<(), DecodeError> {
        let table_id = TableMap::table_id(body)?;
        let definition = TableMap::definition(body)?;
        let known = self.by_table_id.get(&table_id).copied();
        let index = match known {
            Some(index) if self.is_defined_as(index, definition) => index,
            _ => self.learn(table_id, definition, body)?,
        };
        self.statement.retain(|(id, _)| *id != table_id);
        self.statement.push((table_id, index));
        Ok(())
    }

    fn is_defined_as(&self, index: usize, definition: &[u8]) -> bool {
        self.plans
            .get(index)
            .is_some_and(|known| *known.definition == *definition)
    }

    /// A table id that is new, or that has come to mean another table or definition.
    #[cold]
    fn learn(
        &mut self,
        table_id: u64,
        definition: &[u8],
        body: &[u8],
    ) -> Result<usize, DecodeError> {
        let found = (0..self.plans.len()).find(|index| self.is_defined_as(*index, definition));
        let index = match found {
            Some(index) => index,
            None => {
                let (_, database, table) = TableMap::names(body)?;
                let taken = self.filter.matches(
                    &String::from_utf8_lossy(database),
                    &String::from_utf8_lossy(table),
                );
                let plan = if taken {
                    Some(TablePlan::new(body)?)
                } else {
                    None
                };
                if self.plans.len() >= PLANS_MAX {
                    self.forget_other_statements();
                }
                self.plans.push(KnownTable {
                    definition: definition.into(),
                    plan,
                });
                self.plans.len() - 1
            }
        };
        if self.by_table_id.len() >= PLANS_MAX {
            self.by_table_id.clear();
        }
        self.by_table_id.insert(table_id, index);
        Ok(index)
    }

    /// Keeps only the plans of the statement that is under way.
    fn forget_other_statements(&mut self) {
        let mut needed: Vec<usize> = self.statement.iter().map(|(_, index)| *index).collect();
        needed.sort_unstable();
        needed.dedup();
        for (_, index) in &mut self.statement {
            *index = needed.binary_search(index).unwrap_or(usize::MAX);
        }
        let mut index = 0;
        self.plans.retain(|_| {
            index += 1;
            needed.binary_search(&(index - 1)).is_ok()
        });
        self.by_table_id.clear();
    }

    fn rows(
        &mut self,
        header: &EventHeader,
        body: &[u8],
        position: (&str, u64),
        out: &mut Vec<u8>,
    ) -> Result<usize, Failure> {
        let (table_id, flags) = RowsEvent::table_id_and_flags(body)?;
        let known = self.statement.iter().rev().find(|(id, _)| *id == table_id);
        let plan = match known.map(|(_, index)| self.plans.get(*index)) {
            Some(Some(known)) => known.plan.as_ref(),
            // Only ends the statement: nothing of it was to be logged.
            None if table_id == RowsEvent::NO_TABLE => None,
            _ => return Err(Failure::NoTableMap(table_id)),
        };
        let Some(plan) = plan else {
            if flags.statement_end() {
                self.statement.clear();
            }
            return Ok(0);
        };
        let event = RowsEvent::parse(header.event_type, body)?;
        let op: &[u8] = match event.kind {
            RowsKind::Write => b"insert",
            RowsKind::Update => b"update",
            RowsKind::Delete => b"delete",
        };
        write_head(&mut self.head, op, header, &self.transaction, position);
        self.head.extend_from_slice(&plan.names);

        let mut lines = 0;
        for row in event.rows(&plan.table)? {
            let row = row?;
            out.extend_from_slice(&self.head);
            if let Some(image) = row.before.or(row.after) {
                write_key(plan, image, out)?;
            }
            if let Some(before) = row.before {
                out.extend_from_slice(b",\"before\":");
                write_image(plan, before, PartialJson::default(), out)?;
            }
            if let Some(after) = row.after {
                out.extend_from_slice(b",\"after\":");
                write_image(plan, after, row.partial_json, out)?;
                if !row.partial_json.is_empty() {
                    diffs::write(plan, after, row.partial_json, out)?;
                }
            }
            out.extend_from_slice(b"}\n");
            lines += 1;
        }
        if event.flags.statement_end() {
            self.statement.clear();
        }
        Ok(lines)
    }

    fn query(
        &mut self,
        header: &EventHeader,
        query: &QueryEvent<'_>,
        position: (&str, u64),
        out: &mut Vec<u8>,
    ) -> Result<usize, Failure> {
        if is_transaction_control(query.sql) {
            return Ok(0);
        }
        let vars = query.status_vars()?;
        let schema = String::from_utf8_lossy(query.schema);
        // A statement about no database at all (CREATE USER) is shown.
        let shown = match &vars.updated_databases {
            Some(databases) if !databases.is_empty() => databases
                .iter()
                .any(|database| self.filter.may_match_database(database)),
            _ => schema.is_empty() || self.filter.may_match_database(&schema),
        };
        if !shown {
            return Ok(0);
        }
        write_head(&mut self.head, b"ddl", header, &self.transaction, position);
        out.extend_from_slice(&self.head);
        out.extend_from_slice(b"\"database\":");
        string::push_str(&schema, out);
        out.extend_from_slice(b",\"sql\":");
        // In the client's character set, which is UTF-8 or close enough to latin1.
        let utf8 = std::str::from_utf8(query.sql).is_ok();
        let encoding = if utf8 {
            TextEncoding::Utf8
        } else {
            TextEncoding::Latin1
        };
        string::push(query.sql, encoding, out);
        out.extend_from_slice(b"}\n");
        Ok(1)
    }
}

/// What goes wrong inside, before the place is added.
enum Failure {
    Decode(DecodeError),
    NoTableMap(u64),
}

impl From<DecodeError> for Failure {
    fn from(error: DecodeError) -> Self {
        Self::Decode(error)
    }
}

/// `{"op":"…","ts_us":…,"gtid":…,"file":"…","pos":…,`
fn write_head(
    head: &mut Vec<u8>,
    op: &[u8],
    header: &EventHeader,
    transaction: &[u8],
    (file, end_offset): (&str, u64),
) {
    head.clear();
    head.extend_from_slice(b"{\"op\":\"");
    head.extend_from_slice(op);
    head.extend_from_slice(b"\",");
    if transaction.is_empty() {
        // No GTID event came before: MySQL 5.6 without GTIDs, or MariaDB.
        let ts_us = u64::from(header.timestamp) * 1_000_000;
        head.extend_from_slice(b"\"ts_us\":");
        head.extend_from_slice(itoa::Buffer::new().format(ts_us).as_bytes());
        head.extend_from_slice(b",\"gtid\":null");
    } else {
        head.extend_from_slice(transaction);
    }
    head.extend_from_slice(b",\"file\":");
    string::push_str(file, head);
    head.extend_from_slice(b",\"pos\":");
    head.extend_from_slice(itoa::Buffer::new().format(end_offset).as_bytes());
    head.push(b',');
}

/// `,"key":{…}`, or nothing if there is no key or the image has not all of it.
fn write_key(plan: &TablePlan, image: RowImage<'_>, out: &mut Vec<u8>) -> Result<(), DecodeError> {
    if plan.key.is_empty() {
        return Ok(());
    }
    let start = out.len();
    let mut missing = plan.key.iter().filter(|in_key| **in_key).count();
    out.extend_from_slice(b",\"key\":{");
    let mut first = true;
    for cell in image.cells() {
        let (index, cell) = cell?;
        match plan.key.get(index) {
            None => break,
            Some(false) => continue,
            Some(true) => {}
        }
        write_cell(plan, index, cell, std::mem::take(&mut first), out)?;
        missing -= 1;
        if missing == 0 {
            break;
        }
    }
    if missing == 0 {
        out.push(b'}');
    } else {
        out.truncate(start);
    }
    Ok(())
}

fn write_image(
    plan: &TablePlan,
    image: RowImage<'_>,
    partial_json: PartialJson<'_>,
    out: &mut Vec<u8>,
) -> Result<(), DecodeError> {
    out.push(b'{');
    let mut first = true;
    for cell in image.cells() {
        let (index, cell) = cell?;
        if partial_json.has(&plan.table, index) {
            continue;
        }
        write_cell(plan, index, cell, std::mem::take(&mut first), out)?;
    }
    out.push(b'}');
    Ok(())
}

#[inline]
fn write_cell(
    plan: &TablePlan,
    index: usize,
    cell: Option<&[u8]>,
    first: bool,
    out: &mut Vec<u8>,
) -> Result<(), DecodeError> {
    if let (Some(column), Some(how)) = (plan.table.columns.get(index), plan.columns.get(index)) {
        let skipped = usize::from(first);
        out.extend_from_slice(how.name.get(skipped..).unwrap_or_default());
        value::push(column, how, cell, out)
            .map_err(|source| plan.table.column_error(index, source))?;
    }
    Ok(())
}

/// Whether a statement only begins, ends or marks a transaction.
fn is_transaction_control(sql: &[u8]) -> bool {
    let words = [
        &b"BEGIN"[..],
        b"COMMIT",
        b"ROLLBACK",
        b"SAVEPOINT",
        b"XA ",
        b"RELEASE SAVEPOINT",
    ];
    words.iter().any(|word| {
        sql.split_at_checked(word.len())
            .is_some_and(|(head, rest)| {
                head.eq_ignore_ascii_case(word)
                    && (word.ends_with(b" ")
                        || rest
                            .first()
                            .is_none_or(|byte| !byte.is_ascii_alphanumeric()))
            })
    })
}
