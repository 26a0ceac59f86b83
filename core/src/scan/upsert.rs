//! Statements that write the rows of a chunk into the sink's table, whatever is there.
//!
//! As `apply::idempotent` does, and for its reasons: REPLACE, so that a row takes a unique value
//! back from another one; INSERT … ON DUPLICATE KEY UPDATE where REPLACE would delete more than the
//! row: columns that only the sink has. (Such a table's row may then be written over another one
//! that has its second unique value yet.) Rows that refer to a replaced one stay: the session
//! doesn't check foreign keys. A sink's table without a key gets plain INSERTs.

use super::{ScanChunk, ScanError, ScanTable};
use crate::apply::plan::{as_logged, difference};
use crate::apply::target::{TargetTable, quote_name};

/// A statement is ended before it exceeds this many bytes, far below any max_allowed_packet; one
/// row alone may exceed it.
const STATEMENT_BYTES_MAX: usize = 1024 * 1024;

/// Takes strictness, and nothing else, off one statement: an ENUM's empty label of an invalid value
/// is refused otherwise.
const LENIENT: &str = " /*+ SET_VAR(sql_mode = 'NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES,NO_ENGINE_SUBSTITUTION') */";

/// The statements that write a chunk's rows into `target`, columns matched by name; each about 1
/// MiB at most, for a session of the lane's kind (utf8mb4, UTC, `NO_AUTO_VALUE_ON_ZERO`) that checks
/// no foreign keys. No rows give no statement. How many rows they change proves nothing.
///
/// # Errors
/// [`ScanError::NoColumn`], and [`ScanError::ColumnDiffers`] where the target's column can't hold
/// every value.
pub fn upserts(
    chunk: &ScanChunk,
    table: &ScanTable,
    target: &TargetTable,
) -> Result<Vec<Vec<u8>>, ScanError> {
    let plan = Plan::new(table, target)?;
    let mut statements: Vec<Vec<u8>> = Vec::new();
    let mut open: Option<(Vec<u8>, bool)> = None;
    for row in 0..chunk.rows as usize {
        let lenient = plan.has_invalid_label(chunk, row);
        let cells = plan.columns.iter().filter_map(|at| chunk.cell(row, *at));
        let bytes: usize = cells.map(<[u8]>::len).sum();
        // A statement is lenient as a whole, so that rows of others stay checked.
        let is_full = |(sql, was): &(Vec<u8>, bool)| {
            sql.len() + bytes > STATEMENT_BYTES_MAX || *was != lenient
        };
        if open.as_ref().is_some_and(is_full) {
            statements.extend(open.take().map(|(sql, _)| plan.end(sql)));
        }
        let (sql, _) = match &mut open {
            Some(open) => {
                open.0.push(b',');
                open
            }
            none => none.insert((plan.begin(lenient, chunk), lenient)),
        };
        let mut separator = b'(';
        for column in &plan.columns {
            sql.push(separator);
            separator = b',';
            sql.extend_from_slice(chunk.cell(row, *column).unwrap_or(b"NULL"));
        }
        sql.push(b')');
    }
    statements.extend(open.map(|(sql, _)| plan.end(sql)));
    Ok(statements)
}

struct Plan {
    verb: &'static str,
    /// `INTO … VALUES `.
    head: String,
    tail: String,
    /// Positions in a chunk's row.
    columns: Vec<usize>,
    /// Those of ENUM columns.
    enums: Vec<usize>,
}

impl Plan {
    fn new(table: &ScanTable, target: &TargetTable) -> Result<Self, ScanError> {
        let name = || table.name().to_owned();
        let mut columns = Vec::new();
        let mut names = Vec::new();
        let mut enums = Vec::new();
        let mut written = vec![false; target.columns.len()];
        for (at, column) in table.definition().columns.iter().enumerate() {
            let found = target
                .columns
                .iter()
                .position(|other| other.name.eq_ignore_ascii_case(&column.name));
            let Some((position, other)) = found.and_then(|at| Some((at, target.columns.get(at)?)))
            else {
                return Err(ScanError::NoColumn {
                    table: name(),
                    column: column.name.clone(),
                });
            };
            if other.generated {
                continue;
            }
            let holds =
                as_logged(column).is_some_and(|column| difference(&column, other).is_none());
            if !holds {
                return Err(ScanError::ColumnDiffers {
                    table: name(),
                    column: column.name.clone(),
                    at_sink: other.column_type.clone(),
                    at_source: column.column_type.clone(),
                });
            }
            if let Some(written) = written.get_mut(position) {
                *written = true;
            }
            if column.data_type == "enum" {
                enums.push(at);
            }
            columns.push(at);
            names.push((position, quote_name(&other.name)));
        }
        let own = target.columns.iter().zip(&written);
        let has_own = own
            .into_iter()
            .any(|(column, written)| !written && !column.generated);
        let list: Vec<&str> = names.iter().map(|(_, name)| name.as_str()).collect();
        let head = format!(" INTO {} ({}) VALUES ", target.quoted(), list.join(","));
        let mut plan = Plan {
            verb: "INSERT",
            head,
            tail: String::new(),
            columns,
            enums,
        };
        if target.key.is_empty() {
            return Ok(plan);
        }
        if has_own {
            let mut values: Vec<&str> = names
                .iter()
                .filter(|(position, _)| !target.key.contains(position))
                .map(|(_, name)| name.as_str())
                .collect();
            if values.is_empty() {
                values.extend(list.first());
            }
            let values: Vec<String> = values
                .iter()
                .map(|name| format!("{name} = VALUES({name})"))
                .collect();
            plan.tail = format!(" ON DUPLICATE KEY UPDATE {}", values.join(", "));
        } else {
            plan.verb = "REPLACE";
        }
        Ok(plan)
    }

    fn has_invalid_label(&self, chunk: &ScanChunk, row: usize) -> bool {
        self.enums
            .iter()
            .any(|column| chunk.cell(row, *column) == Some(b"0"))
    }

    fn begin(&self, lenient: bool, chunk: &ScanChunk) -> Vec<u8> {
        // Grown at once to what it comes to: chunks are of about one statement, or of many.
        let bytes = (chunk.bytes as usize).min(STATEMENT_BYTES_MAX);
        let mut sql = Vec::with_capacity(bytes + bytes / 8 + self.head.len());
        sql.extend_from_slice(self.verb.as_bytes());
        if lenient {
            sql.extend_from_slice(LENIENT.as_bytes());
        }
        sql.extend_from_slice(self.head.as_bytes());
        sql
    }

    fn end(&self, mut sql: Vec<u8>) -> Vec<u8> {
        sql.extend_from_slice(self.tail.as_bytes());
        sql
    }
}
