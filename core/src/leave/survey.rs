//! What transactions of the source hold, by its binlog: which rows of which tables, which schema
//! changes. Pure; the events are read in [`super::source`].
//!
//! Invariants: only what the pipeline takes is counted; a statement that isn't understood counts as
//! a schema change.

use std::collections::{BTreeMap, HashMap};

use towpath_protocol::gtid::{Gtid, GtidSet};
use towpath_protocol::spec::{DdlClass, DdlRule, DdlSpec, TableFilter};

use crate::apply::ddl::{Decision, Pass, Statement, TableName, decide};
use crate::decode::{DecodeError, EventType, GtidEvent, QueryEvent, RowsEvent, RowsKind, TableMap};

/// Characters of a statement that people are shown.
const STATEMENT_CHARS_MAX: usize = 200;

/// Rows of a table in some transactions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RowCounts {
    /// Inserted.
    pub inserted: u64,
    /// Updated.
    pub updated: u64,
    /// Deleted.
    pub deleted: u64,
    /// Whether the source wrote only parts of some: `binlog_row_image`, `binlog_row_value_options`.
    pub has_parts: bool,
    /// Whether the source wrote some without the names of their columns: `binlog_row_metadata`.
    pub lacks_names: bool,
}

impl RowCounts {
    /// All of them.
    pub fn all(&self) -> u64 {
        self.inserted + self.updated + self.deleted
    }
}

/// A statement that changes what the pipeline takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaChange {
    /// Its transaction.
    pub gtid: Gtid,
    /// What it is, as `[ddl]` has it.
    pub class: DdlClass,
    /// Its begin, for people to read.
    pub statement: String,
}

impl SchemaChange {
    /// Whether it may run again and again: a table that it empties is filled by what follows.
    pub(super) fn is_harmless(&self) -> bool {
        self.class == DdlClass::Truncate
    }

    /// Whether rows from before it can go into what it left behind: no table that they are of is
    /// gone, was emptied, or has another name.
    pub(super) fn keeps_rows(&self) -> bool {
        matches!(
            self.class,
            DdlClass::TableCreate | DdlClass::TableAlter | DdlClass::Index | DdlClass::View
        )
    }
}

/// What some transactions hold.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    /// The transactions that were read.
    pub read: GtidSet,
    /// Rows by table.
    pub tables: BTreeMap<TableName, RowCounts>,
    /// Schema changes in the binlog's order.
    pub schema_changes: Vec<SchemaChange>,
}

/// Takes in the events of transactions, one after the other.
pub(super) struct Surveyor<'a> {
    filter: &'a TableFilter,
    rules: &'a DdlSpec,
    lower_case_names: bool,
    wanted: &'a GtidSet,
    open: Option<Gtid>,
    maps: HashMap<u64, TableMap>,
    into: &'a mut Survey,
}

impl<'a> Surveyor<'a> {
    pub(super) fn new(
        filter: &'a TableFilter,
        rules: &'a DdlSpec,
        lower_case_names: bool,
        wanted: &'a GtidSet,
        into: &'a mut Survey,
    ) -> Self {
        Self {
            filter,
            rules,
            lower_case_names,
            wanted,
            open: None,
            maps: HashMap::new(),
            into,
        }
    }

    /// The transaction that is being read.
    pub(super) fn open(&self) -> Option<&Gtid> {
        self.open.as_ref()
    }

    /// Whether all that is wanted was read to its end.
    pub(super) fn is_done(&self) -> bool {
        self.open.is_none() && self.wanted.is_subset(&self.into.read)
    }

    /// The transaction that was read has ended: another one begins, or the binlog ends.
    pub(super) fn end(&mut self) {
        self.maps.clear();
        if let Some(gtid) = self.open.take() {
            self.into.read.add(&gtid);
        }
    }

    /// Takes the next event, payloads unpacked.
    ///
    /// # Errors
    /// It is damaged.
    pub(super) fn event(&mut self, event_type: EventType, body: &[u8]) -> Result<(), DecodeError> {
        match event_type {
            EventType::GTID | EventType::GTID_TAGGED => {
                self.end();
                let gtid = GtidEvent::parse(event_type, body)?.gtid;
                self.open = gtid.filter(|gtid| self.wanted.contains(gtid));
            }
            EventType::ANONYMOUS_GTID => self.end(),
            _ if self.open.is_none() => {}
            EventType::TABLE_MAP => {
                let map = TableMap::parse(body)?;
                match self.filter.matches(&map.database, &map.table) {
                    true => self.maps.insert(map.table_id, map),
                    false => self.maps.remove(&map.table_id),
                };
            }
            EventType::QUERY => self.query(&QueryEvent::parse(body)?),
            EventType::XID => self.end(),
            event_type if event_type.is_rows() => self.rows(event_type, body)?,
            _ => {}
        }
        Ok(())
    }

    fn rows(&mut self, event_type: EventType, body: &[u8]) -> Result<(), DecodeError> {
        let (table_id, _) = RowsEvent::table_id_and_flags(body)?;
        let Some(map) = self.maps.get(&table_id) else {
            return Ok(());
        };
        let event = RowsEvent::parse(event_type, body)?;
        let mut rows = 0;
        for row in event.rows(map)? {
            row?;
            rows += 1;
        }
        let name = TableName {
            database: map.database.clone(),
            table: map.table.clone(),
        };
        let counts = self.into.tables.entry(name).or_default();
        match event.kind {
            RowsKind::Write => counts.inserted += rows,
            RowsKind::Update => counts.updated += rows,
            RowsKind::Delete => counts.deleted += rows,
        }
        counts.lacks_names |= !map.full_metadata;
        counts.has_parts |=
            !event.has_all_columns() || event_type == EventType::PARTIAL_UPDATE_ROWS;
        Ok(())
    }

    fn query(&mut self, query: &QueryEvent<'_>) {
        let Some(gtid) = self.open.clone() else {
            return;
        };
        if query.sql.eq_ignore_ascii_case(b"BEGIN") {
            return;
        }
        let text = String::from_utf8_lossy(query.sql);
        let Some(class) = self.class(query, &text) else {
            return;
        };
        // On one line, and harmless to a terminal.
        let plain = |c: char| if c.is_control() { ' ' } else { c };
        let mut chars = text.chars().map(plain);
        let mut statement: String = chars.by_ref().take(STATEMENT_CHARS_MAX).collect();
        if chars.next().is_some() {
            statement.push('…');
        }
        self.into.schema_changes.push(SchemaChange {
            gtid,
            class,
            statement,
        });
    }

    /// Of which class a statement is, if the pipeline runs it or stops at it.
    fn class(&self, query: &QueryEvent<'_>, text: &str) -> Option<DdlClass> {
        let Ok(vars) = query.status_vars() else {
            return Some(DdlClass::Other);
        };
        let database = String::from_utf8_lossy(query.schema);
        let statement = Statement {
            sql: text,
            sql_mode: vars.sql_mode.unwrap_or(0),
            database: &database,
            updated_databases: vars.updated_databases.as_deref(),
            lower_case_names: self.lower_case_names,
        };
        if let Decision::Pass(_) = decide(&statement, self.filter, self.rules) {
            return None;
        }
        let ignored = DdlSpec::default().with_default(DdlRule::Ignore);
        match decide(&statement, self.filter, &ignored) {
            Decision::Pass(Pass::Ignored { class, .. }) => Some(class),
            _ => Some(DdlClass::Other),
        }
    }
}
