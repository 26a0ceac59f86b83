//! Rows that were read, as literals.

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, QueryResult, Row, TextProtocol, Value};

use super::value::Reading;
use super::{Key, ScanError, ScanTable};

/// Rows of a table that were read in one read view.
#[derive(Debug)]
pub struct ScanChunk {
    /// How many.
    pub rows: u64,
    /// The key of the last one: where the next chunk goes on. `None` if there are no rows, or no
    /// key.
    pub last: Option<Key>,
    /// Bytes of all literals.
    pub bytes: u64,
    /// Whether nothing comes behind the last row. Where it isn't known yet, the next chunk is
    /// empty.
    pub ended: bool,
    cells: Vec<u8>,
    /// Where each cell ends in `cells`, row by row.
    ends: Vec<usize>,
    width: usize,
    key: Vec<usize>,
}

impl ScanChunk {
    /// A cell as an SQL literal (`NULL` for NULL); the table's columns are in the order of its
    /// definition. Two rows of tables with the same definition are the same, to the byte and to the
    /// type of each JSON member, exactly if their literals are.
    pub fn cell(&self, row: usize, column: usize) -> Option<&[u8]> {
        if column >= self.width {
            return None;
        }
        let at = row.checked_mul(self.width)?.checked_add(column)?;
        let begin = match at.checked_sub(1) {
            Some(before) => *self.ends.get(before)?,
            None => 0,
        };
        self.cells.get(begin..*self.ends.get(at)?)
    }

    /// The key of a row; `None` if there is no such row, or no key.
    pub fn key(&self, row: usize) -> Option<Key> {
        if self.key.is_empty() {
            return None;
        }
        let literal = |column: &usize| {
            let cell = self.cell(row, *column)?;
            Some(std::str::from_utf8(cell).ok()?.to_owned())
        };
        let literals: Option<Vec<String>> = self.key.iter().map(literal).collect();
        literals.map(Key::new)
    }
}

/// Rows that come from the server as they are asked for.
pub struct ScanRows<'a> {
    table: &'a ScanTable,
    result: QueryResult<'a, 'static, TextProtocol>,
}

impl<'a> ScanRows<'a> {
    pub(super) async fn open(
        table: &'a ScanTable,
        conn: &'a mut Conn,
        sql: String,
    ) -> Result<ScanRows<'a>, ScanError> {
        let result = conn
            .query_iter(sql)
            .await
            .map_err(|cause| ScanError::sql(table.name(), "read rows", cause))?;
        Ok(Self { table, result })
    }

    /// The next rows: at most `rows_max`, and about `bytes_max` bytes.
    ///
    /// # Errors
    /// Those of [`ScanTable::chunk`].
    pub async fn next(&mut self, rows_max: u64, bytes_max: u64) -> Result<ScanChunk, ScanError> {
        let mut chunk = ScanChunk {
            rows: 0,
            last: None,
            bytes: 0,
            ended: false,
            cells: Vec::new(),
            ends: Vec::new(),
            width: self.table.readings().len(),
            key: self.table.key().collect(),
        };
        while chunk.rows < rows_max && (chunk.cells.len() as u64) < bytes_max {
            let row = self
                .result
                .next()
                .await
                .map_err(|cause| ScanError::sql(self.table.name(), "read rows", cause))?;
            let Some(row) = row else {
                chunk.ended = true;
                break;
            };
            write_row(&mut chunk, self.table, &row)?;
            chunk.rows += 1;
        }
        chunk.bytes = chunk.cells.len() as u64;
        if let Some(last) = (chunk.rows as usize).checked_sub(1)
            && self.table.has_key()
        {
            let key = chunk.key(last).ok_or_else(|| ScanError::Value {
                table: self.table.name().to_owned(),
                column: "of the key".to_owned(),
                what: "a literal that is not UTF-8".to_owned(),
            })?;
            chunk.last = Some(key);
        }
        Ok(chunk)
    }

    /// Reads what is left and throws it away, so that the connection can be used again.
    ///
    /// # Errors
    /// [`ScanError::Sql`].
    pub async fn close(self) -> Result<(), ScanError> {
        let name = self.table.name();
        self.result
            .drop_result()
            .await
            .map_err(|cause| ScanError::sql(name, "read rows", cause))
    }
}

fn write_row(chunk: &mut ScanChunk, table: &ScanTable, row: &Row) -> Result<(), ScanError> {
    let readings = table.readings();
    let mut types_at = readings.len();
    for (at, reading) in readings.iter().enumerate() {
        let types = match reading {
            Reading::Json => {
                types_at += 1;
                bytes(row, types_at - 1)
            }
            _ => None,
        };
        reading
            .write(&mut chunk.cells, bytes(row, at), types)
            .map_err(|what| ScanError::Value {
                table: table.name().to_owned(),
                column: table
                    .definition()
                    .columns
                    .get(at)
                    .map(|column| column.name.clone())
                    .unwrap_or_default(),
                what,
            })?;
        chunk.ends.push(chunk.cells.len());
    }
    Ok(())
}

/// A value's text; `None` for NULL, which is all else that the text protocol has.
pub(super) fn bytes(row: &Row, at: usize) -> Option<&[u8]> {
    match row.as_ref(at) {
        Some(Value::Bytes(bytes)) => Some(bytes),
        _ => None,
    }
}
