//! The statements that compare a table: what each server is asked. Pure.

use super::cell::{ALIAS, Cell, row_hash};
use super::key::KeyColumns;
use crate::check::Side;
use crate::scan::{Key, KeyRange, ScanTable};

/// What the rows of a range come to: the same on both servers if the rows are. Each row has a hash
/// of 256 bits, of which 64 are folded by XOR and 60 others added up: a difference of any number of
/// rows goes unseen with a chance of about one in 2^124.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RangeDigest {
    pub(super) rows: u64,
    pub(super) folded: u64,
    pub(super) sum: String,
}

/// A table, ready to be compared.
#[derive(Debug)]
pub(super) struct Statements {
    name: String,
    table: ScanTable,
    at_sink: String,
    cells: Vec<Cell>,
    source_key: KeyColumns,
    sink_key: KeyColumns,
}

impl Statements {
    pub(super) fn new(
        table: ScanTable,
        at_sink: String,
        cells: Vec<Cell>,
        (source_key, sink_key): (KeyColumns, KeyColumns),
    ) -> Self {
        Self {
            name: table.name().to_owned(),
            table,
            at_sink,
            cells,
            source_key,
            sink_key,
        }
    }

    /// Database and table, for messages.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The table as the source has it.
    pub(super) fn table(&self) -> &ScanTable {
        &self.table
    }

    /// How many columns the key has.
    pub(super) fn key_width(&self) -> usize {
        self.source_key.len()
    }

    /// The names of the columns that are compared, in the order of a found row's cells.
    pub(super) fn columns(&self) -> impl Iterator<Item = &str> {
        self.cells.iter().map(|cell| cell.name.as_str())
    }

    /// The names of the key's columns, as the source has them.
    pub(super) fn key_names(&self) -> impl Iterator<Item = &str> {
        self.source_key.names()
    }

    fn key(&self, side: Side) -> &KeyColumns {
        match side {
            Side::Source => &self.source_key,
            Side::Sink => &self.sink_key,
        }
    }

    fn pieces(&self, side: Side) -> impl Iterator<Item = &str> {
        self.cells.iter().map(move |cell| match side {
            Side::Source => cell.at_source.as_str(),
            Side::Sink => cell.at_sink.as_str(),
        })
    }

    fn from(&self, side: Side) -> String {
        let quoted = self.table.definition().quoted();
        let table = match side {
            Side::Source => &quoted,
            Side::Sink => &self.at_sink,
        };
        format!("FROM {table} AS {ALIAS}{}", self.key(side).hint)
    }

    /// The hash of a range: `rows`, those with a hash, and the two folds.
    pub(super) fn digest(&self, side: Side, range: &KeyRange) -> String {
        // Merged, the hash would be computed once for each place that uses it.
        format!(
            "SELECT COUNT(*), COUNT(r.h), \
             CAST(IFNULL(BIT_XOR(CAST(CONV(LEFT(r.h, 16), 16, 10) AS UNSIGNED)), 0) AS UNSIGNED), \
             CAST(IFNULL(SUM(CAST(CONV(SUBSTR(r.h, 17, 15), 16, 10) AS UNSIGNED)), 0) AS CHAR) \
             FROM (SELECT /*+ NO_MERGE() */ {} AS h {} WHERE {}) AS r",
            row_hash(self.pieces(side)),
            self.from(side),
            range.predicate(&self.table)
        )
    }

    /// The key of the `rows`-th row of a range, and that of the one behind it.
    pub(super) fn boundary(&self, side: Side, range: &KeyRange, rows: u64) -> String {
        format!(
            "SELECT {} {} WHERE {} ORDER BY {} LIMIT {}, 2",
            self.key(side).literals(),
            self.from(side),
            range.predicate(&self.table),
            self.table.key_order(),
            rows.max(1) - 1
        )
    }

    /// The rows of a range: key and hash.
    pub(super) fn hashed(&self, side: Side, range: &KeyRange) -> String {
        format!(
            "SELECT {}, {} {} WHERE {}",
            self.key(side).literals(),
            row_hash(self.pieces(side)),
            self.from(side),
            range.predicate(&self.table)
        )
    }

    /// The rows of some keys, each with its key's number, from `first` on, key, key for people, and
    /// a hash per cell.
    pub(super) fn look_up(&self, side: Side, first: usize, keys: &[&Key]) -> String {
        let cells: String = self
            .pieces(side)
            .map(|piece| format!(", LEFT(SHA2({piece}, 256), 32)"))
            .collect();
        let key = self.key(side);
        let selects: Vec<String> = keys
            .iter()
            .enumerate()
            .map(|(n, of)| {
                format!(
                    "(SELECT '{}', {}, {}{cells} {} WHERE {})",
                    first + n,
                    key.literals(),
                    key.shown(),
                    self.from(side),
                    key.is(of.literals())
                )
            })
            .collect();
        selects.join(" UNION ALL ")
    }

    /// Deletes the sink's rows of these keys.
    pub(super) fn delete<'a>(&self, keys: impl Iterator<Item = &'a [String]>) -> String {
        let keys = self.any_of(Side::Sink, keys);
        format!("DELETE FROM {} WHERE {keys}", self.at_sink)
    }

    /// Whether a row has one of these keys; for a statement of one table.
    pub(super) fn any_of<'a>(
        &self,
        side: Side,
        keys: impl Iterator<Item = &'a [String]>,
    ) -> String {
        let key = self.key(side);
        let all: Vec<String> = keys.map(|literals| key.is(literals)).collect();
        all.join(" OR ")
    }
}
