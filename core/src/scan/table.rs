//! A table as it is read: its definition, its key, and the SELECT of its rows.

use std::sync::atomic::{AtomicU64, Ordering};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};

use super::chunk::{ScanChunk, ScanRows, bytes};
use super::value::Reading;
use super::{Key, KeyRange, ScanError};
use crate::apply::target::{TargetColumn, TargetTable, compares_as_literal, quote_name};

/// `information_schema.tables` knows no average for a new table; then rows are taken to be of this
/// many bytes until some were read.
const ROW_BYTES_DEFAULT: u64 = 100;

/// A table that can be read by its key.
#[derive(Debug)]
pub struct ScanTable {
    definition: TargetTable,
    name: String,
    columns: Vec<Reading>,
    key: Vec<KeyPart>,
    rows_estimate: Option<u64>,
    /// Bytes of an average row's literals, of the chunk before this one.
    row_bytes: AtomicU64,
}

#[derive(Clone, Copy, Debug)]
struct KeyPart {
    column: usize,
    descending: bool,
}

impl ScanTable {
    /// Reads a table's definition in a session made by [`super::prepare`]; `None` if there is no
    /// such table.
    ///
    /// # Errors
    /// [`ScanError::Sql`]; [`ScanError::Value`] for a column of a type that isn't known here,
    /// [`ScanError::JsonTypes`].
    pub async fn read(
        conn: &mut Conn,
        database: &str,
        table: &str,
    ) -> Result<Option<ScanTable>, ScanError> {
        let name = format!("{database}.{table}");
        let failed = |cause| ScanError::sql(&name, "read the definition", cause);
        let Some(definition) = TargetTable::read(conn, database, table)
            .await
            .map_err(failed)?
        else {
            return Ok(None);
        };
        let statistics: Option<(Option<u64>, Option<u64>)> = conn
            .exec_first(
                "SELECT TABLE_ROWS, AVG_ROW_LENGTH FROM information_schema.tables \
                 WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?",
                (database, table),
            )
            .await
            .map_err(failed)?;
        let (rows_estimate, row_bytes) = statistics.unwrap_or_default();
        let descending: Vec<String> = conn
            .exec(
                "SELECT COLUMN_NAME FROM information_schema.statistics WHERE TABLE_SCHEMA = ? \
                 AND TABLE_NAME = ? AND INDEX_NAME = ? AND COLLATION = 'D'",
                (database, table, &definition.key_index),
            )
            .await
            .map_err(failed)?;
        let version: Option<String> = conn.query_first("SELECT VERSION()").await.map_err(failed)?;
        let version = version.unwrap_or_default();

        let mut columns = Vec::with_capacity(definition.columns.len());
        for (at, column) in definition.columns.iter().enumerate() {
            let refused = |what| ScanError::Value {
                table: name.clone(),
                column: column.name.clone(),
                what,
            };
            let reading = Reading::of(column, definition.key.contains(&at)).map_err(refused)?;
            if reading == Reading::Json && !lists_types(&version) {
                return Err(ScanError::JsonTypes {
                    table: name.clone(),
                    column: column.name.clone(),
                    version,
                });
            }
            columns.push(reading);
        }
        let column = |at: &usize| definition.columns.get(*at);
        let is_usable = definition
            .key
            .iter()
            .filter_map(column)
            .all(compares_as_literal);
        let key = definition.key.iter().filter(|_| is_usable);
        let key = key
            .map(|at| KeyPart {
                column: *at,
                descending: column(at).is_some_and(|column| descending.contains(&column.name)),
            })
            .collect();
        Ok(Some(ScanTable {
            name,
            columns,
            key,
            definition,
            rows_estimate,
            row_bytes: AtomicU64::new(row_bytes.filter(|n| *n > 0).unwrap_or(ROW_BYTES_DEFAULT)),
        }))
    }

    /// Database and table, for messages: `shop.orders`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The definition: columns in the order of a chunk's cells.
    pub fn definition(&self) -> &TargetTable {
        &self.definition
    }

    /// Whether it can be read in chunks.
    pub fn has_key(&self) -> bool {
        !self.key.is_empty()
    }

    /// Positions of the key's columns, in key order; empty without a key.
    pub fn key(&self) -> impl Iterator<Item = usize> + '_ {
        self.key.iter().map(|part| part.column)
    }

    /// Names of the key's columns.
    pub fn key_columns(&self) -> Vec<&str> {
        let column = |at: usize| self.definition.columns.get(at);
        self.key()
            .filter_map(column)
            .map(|column| column.name.as_str())
            .collect()
    }

    /// How many rows it has, as the server guesses without counting.
    pub fn rows_estimate(&self) -> Option<u64> {
        self.rows_estimate
    }

    /// The largest key; `None` if there are no rows.
    ///
    /// # Errors
    /// [`ScanError::NoKey`]; those of [`ScanTable::chunk`].
    pub async fn last_key(&self, conn: &mut Conn) -> Result<Option<Key>, ScanError> {
        let tail = self.tail(&KeyRange::default(), None, Order::LastFirst, Some(1));
        self.read_key(conn, tail).await
    }

    /// The key of a range's `n`-th row, counted from 1; `None` if it has fewer. Only the key's
    /// index is read, as far as that row.
    ///
    /// # Errors
    /// Those of [`ScanTable::last_key`].
    pub async fn nth_key(
        &self,
        conn: &mut Conn,
        range: &KeyRange,
        n: u32,
    ) -> Result<Option<Key>, ScanError> {
        let before = n.saturating_sub(1);
        let tail = self.tail(range, None, Order::ByKey, None);
        self.read_key(conn, format!("{tail} LIMIT {before}, 1"))
            .await
    }

    /// The key of the first row that a SELECT of the table with this tail answers.
    async fn read_key(&self, conn: &mut Conn, tail: String) -> Result<Option<Key>, ScanError> {
        self.need_key()?;
        let table = self.definition.quoted();
        let parts = || {
            let part = |part: &KeyPart| {
                let column = self.definition.columns.get(part.column)?;
                Some((column, self.columns.get(part.column)?))
            };
            self.key.iter().filter_map(part)
        };
        let values: Vec<String> = parts()
            .map(|(column, reading)| reading.expression(&quote_name(&column.name)))
            .collect();
        let sql = format!("SELECT {} FROM {table}{tail}", values.join(", "));
        let row: Option<Row> = conn
            .query_first(sql)
            .await
            .map_err(|cause| ScanError::sql(&self.name, "read a key", cause))?;
        let Some(row) = row else { return Ok(None) };
        let mut literals = Vec::new();
        for (at, (column, reading)) in parts().enumerate() {
            let mut literal = Vec::new();
            let written = reading.write(&mut literal, bytes(&row, at), None);
            let literal = written
                .and_then(|()| String::from_utf8(literal).map_err(|error| error.to_string()))
                .map_err(|what| ScanError::Value {
                    table: self.name.clone(),
                    column: column.name.clone(),
                    what,
                })?;
            literals.push(literal);
        }
        Ok(Some(Key::new(literals)))
    }

    /// Reads the next rows of a range, in key order, in one read view: those that also meet
    /// `condition` (an expression in the source's SQL, read in UTC), at most `rows_max`, and about
    /// `bytes_max` bytes of literals: the row with which they are reached is the last one. Who
    /// writes them asks [`ScanTable::confirm`] first.
    ///
    /// # Errors
    /// [`ScanError::NoKey`], [`ScanError::Stale`], [`ScanError::Sql`], [`ScanError::Value`].
    pub async fn chunk(
        &self,
        conn: &mut Conn,
        range: &KeyRange,
        condition: Option<&str>,
        rows_max: u32,
        bytes_max: u64,
    ) -> Result<ScanChunk, ScanError> {
        self.need_key()?;
        // What comes behind the last row that is taken is read and thrown away: not much of it,
        // please.
        let row_bytes = self.row_bytes.load(Ordering::Relaxed).max(1);
        let enough = (2 * (bytes_max / row_bytes)).clamp(1, u64::from(rows_max.max(1)));
        let sql = self.select(range, condition, Some(enough));
        let mut rows = ScanRows::open(self, conn, sql).await?;
        let chunk = rows.next(enough, bytes_max).await?;
        rows.close().await?;
        if let Some(row_bytes) = chunk.bytes.checked_div(chunk.rows) {
            self.row_bytes.store(row_bytes, Ordering::Relaxed);
        }
        Ok(chunk)
    }

    /// Reads all rows that meet `condition` in one read view, in key order if there is a key: for a
    /// table without one. Rows wait at the server until they are asked for.
    ///
    /// # Errors
    /// Those of [`ScanTable::chunk`].
    pub async fn rows<'a>(
        &'a self,
        conn: &'a mut Conn,
        condition: Option<&str>,
    ) -> Result<ScanRows<'a>, ScanError> {
        let sql = self.select(&KeyRange::default(), condition, None);
        ScanRows::open(self, conn, sql).await
    }

    /// Looks whether the table is still as it was read: if so, then all rows that were read in
    /// between were of that definition. Another type or character set of a column, or other labels,
    /// do not show in the rows themselves.
    ///
    /// # Errors
    /// [`ScanError::Stale`] if it isn't; [`ScanError::Sql`].
    pub async fn confirm(&self, conn: &mut Conn) -> Result<(), ScanError> {
        let (database, table) = (&self.definition.database, &self.definition.table);
        let present = TargetTable::read(conn, database, table)
            .await
            .map_err(|cause| ScanError::sql(&self.name, "read the definition", cause))?;
        let detail = match present {
            Some(present) if present == self.definition => return Ok(()),
            Some(_) => "its columns or keys are others",
            None => "it is gone",
        };
        Err(ScanError::Stale {
            table: self.name.clone(),
            detail: detail.to_owned(),
        })
    }

    /// The key's columns, quoted, and whether they descend.
    pub fn key_names(&self) -> Vec<(String, bool)> {
        self.key
            .iter()
            .filter_map(|part| {
                let column = self.definition.columns.get(part.column)?;
                Some((quote_name(&column.name), part.descending))
            })
            .collect()
    }

    /// The key's columns in the key's own order, for ORDER BY.
    pub(crate) fn key_order(&self) -> String {
        self.order(Order::ByKey)
    }

    fn order(&self, order: Order) -> String {
        let by: Vec<String> = self
            .key_names()
            .into_iter()
            .map(|(name, descending)| {
                if descending == (order == Order::LastFirst) {
                    name
                } else {
                    format!("{name} DESC")
                }
            })
            .collect();
        by.join(", ")
    }

    pub(super) fn readings(&self) -> &[Reading] {
        &self.columns
    }

    fn need_key(&self) -> Result<(), ScanError> {
        if self.has_key() {
            return Ok(());
        }
        Err(ScanError::NoKey {
            table: self.name.clone(),
        })
    }

    fn select(&self, range: &KeyRange, condition: Option<&str>, limit: Option<u64>) -> String {
        let table = self.definition.quoted();
        let named = |column: &TargetColumn| format!("{table}.{}", quote_name(&column.name));
        let columns = || self.columns.iter().zip(&self.definition.columns);
        let mut values: Vec<String> = columns()
            .map(|(reading, column)| reading.expression(&named(column)))
            .collect();
        // Behind all values.
        values.extend(columns().filter_map(|(reading, column)| reading.types(&named(column))));
        let tail = self.tail(range, condition, Order::ByKey, limit);
        format!("SELECT {} FROM {table}{tail}", values.join(", "))
    }

    /// What follows the table's name.
    fn tail(
        &self,
        range: &KeyRange,
        condition: Option<&str>,
        order: Order,
        limit: Option<u64>,
    ) -> String {
        let mut sql = String::new();
        if self.has_key() {
            sql.push_str(&format!(
                " FORCE INDEX ({})",
                quote_name(&self.definition.key_index)
            ));
        }
        sql.push_str(&format!(" WHERE {}", range.predicate(self)));
        if let Some(condition) = condition {
            // On a line of its own: it may end in a comment.
            sql.push_str(&format!(" AND ({condition}\n)"));
        }
        if self.has_key() {
            sql.push_str(&format!(" ORDER BY {}", self.order(order)));
        }
        if let Some(limit) = limit {
            sql.push_str(&format!(" LIMIT {limit}"));
        }
        sql
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    ByKey,
    LastFirst,
}

/// Whether the server has JSON_TABLE (8.0.4).
fn lists_types(version: &str) -> bool {
    let mut numbers = version
        .split(|c: char| !c.is_ascii_digit())
        .map(|number| number.parse::<u32>().unwrap_or(0));
    let mut next = || numbers.next().unwrap_or(0);
    (next(), next(), next()) >= (8, 0, 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_table_came_with_8_0_4() {
        assert!(lists_types("9.7.0"));
        assert!(lists_types("8.0.4-rc-log"));
        assert!(!lists_types("8.0.3"));
        assert!(!lists_types("5.7.44-log"));
    }
}
