//! `WRITE_ROWS_EVENT`, `UPDATE_ROWS_EVENT`, `DELETE_ROWS_EVENT`, versions 1 and 2: rows of one
//! table, as images of their columns.

use super::reader::{Reader, bit};
use super::{Column, ColumnKind, DecodeError, EventType, TableMap};

/// What happened to the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RowsKind {
    /// Inserted.
    Write,
    /// Updated.
    Update,
    /// Deleted.
    Delete,
}

/// Flags of a rows event (`Rows_event::enum_flag`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RowsFlags(pub u16);

impl RowsFlags {
    /// The last rows event of its statement; table ids end with it.
    pub fn statement_end(self) -> bool {
        self.0 & 1 != 0
    }

    /// The session had `foreign_key_checks=0`.
    pub fn no_foreign_key_checks(self) -> bool {
        self.0 & 2 != 0
    }

    /// Foreign keys cascaded in the SQL layer, so that the rows they touched are logged too
    /// (`USE_SQL_FOREIGN_KEY_F`, MySQL 9.6 and later without `innodb_native_foreign_keys`).
    pub fn sql_foreign_keys(self) -> bool {
        self.0 & 16 != 0
    }

    /// The session had `unique_checks=0`.
    pub fn relaxed_unique_checks(self) -> bool {
        self.0 & 4 != 0
    }
}

/// The event (`Rows_event` in `rows_event.cpp`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowsEvent<'a> {
    /// Names the table map before it.
    pub table_id: u64,
    /// Flags.
    pub flags: RowsFlags,
    /// What happened to the rows.
    pub kind: RowsKind,
    /// Number of columns of the table.
    pub column_count: usize,
    /// Bitmap of the columns in the before images; empty for `Write`.
    pub columns_before: &'a [u8],
    /// Bitmap of the columns in the after images; empty for `Delete`.
    pub columns_after: &'a [u8],
    /// Whether after images may have parts of JSON documents (`PARTIAL_UPDATE_ROWS_EVENT`).
    pub partial_json: bool,
    rows: &'a [u8],
}

const WHAT: &str = "rows event";

impl<'a> RowsEvent<'a> {
    /// The table id of an event that only ends its statement (`DUMMY_TABLE_ID`).
    pub const NO_TABLE: u64 = 0xff_ffff;

    /// Table id and flags alone.
    ///
    /// # Errors
    /// Cut short.
    #[inline]
    pub fn table_id_and_flags(body: &[u8]) -> Result<(u64, RowsFlags), DecodeError> {
        let mut r = Reader::new(WHAT, body);
        Ok((r.uint(6)?, RowsFlags(r.u16()?)))
    }

    /// Reads the body of a rows event.
    ///
    /// # Errors
    /// Another type, or cut short.
    pub fn parse(event_type: EventType, body: &'a [u8]) -> Result<RowsEvent<'a>, DecodeError> {
        let (kind, v2) = match event_type {
            EventType::WRITE_ROWS => (RowsKind::Write, true),
            EventType::UPDATE_ROWS => (RowsKind::Update, true),
            EventType::DELETE_ROWS => (RowsKind::Delete, true),
            EventType::WRITE_ROWS_V1 => (RowsKind::Write, false),
            EventType::UPDATE_ROWS_V1 => (RowsKind::Update, false),
            EventType::DELETE_ROWS_V1 => (RowsKind::Delete, false),
            EventType::PARTIAL_UPDATE_ROWS => (RowsKind::Update, true),
            found => {
                return Err(DecodeError::UnexpectedEvent {
                    expected: "a rows event",
                    found,
                });
            }
        };
        let mut r = Reader::new(WHAT, body);
        let table_id = r.uint(6)?;
        let flags = RowsFlags(r.u16()?);
        if v2 {
            // Extra data (NDB, partition ids) counts its own two bytes of length.
            let extra = r.u16()?;
            let Some(len) = extra.checked_sub(2) else {
                return Err(r.malformed(format_args!("extra data of {extra} bytes")));
            };
            r.bytes(usize::from(len))?;
        }
        let column_count = r.lenenc_size()?;
        let bitmap_len = column_count.div_ceil(8);
        let columns_before = if kind == RowsKind::Write {
            &[]
        } else {
            r.bytes(bitmap_len)?
        };
        let columns_after = if kind == RowsKind::Delete {
            &[]
        } else {
            r.bytes(bitmap_len)?
        };
        Ok(RowsEvent {
            table_id,
            flags,
            kind,
            column_count,
            columns_before,
            columns_after,
            partial_json: event_type == EventType::PARTIAL_UPDATE_ROWS,
            rows: r.rest(),
        })
    }

    /// Whether the images that it has are of all columns (`binlog_row_image=FULL`).
    pub fn has_all_columns(&self) -> bool {
        [self.columns_before, self.columns_after]
            .into_iter()
            .filter(|bitmap| !bitmap.is_empty())
            .all(|bitmap| (0..self.column_count).all(|at| bit(bitmap, at)))
    }

    /// Whether the after images have a column.
    pub fn has_column_after(&self, index: usize) -> bool {
        bit(self.columns_after, index)
    }

    /// Its rows, in the order in which they were changed.
    ///
    /// # Errors
    /// `table` has another number of columns.
    pub fn rows(&self, table: &'a TableMap) -> Result<Rows<'a>, DecodeError> {
        if self.column_count != table.columns.len() {
            return Err(DecodeError::ColumnCount {
                table_id: self.table_id,
                rows: self.column_count,
                table_map: table.columns.len(),
                database: table.database.as_str().into(),
                table: table.table.as_str().into(),
            });
        }
        let shape = |columns| ImageShape::new(table, columns);
        Ok(Rows {
            before: (self.kind != RowsKind::Write).then(|| shape(self.columns_before)),
            after: (self.kind != RowsKind::Delete).then(|| shape(self.columns_after)),
            table,
            partial_json: self.partial_json,
            len: self.rows.len(),
            rest: self.rows,
        })
    }
}

/// A row: its image before the change, after it, or both. An insert has `after`, a delete
/// `before`.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// Before the change.
    pub before: Option<RowImage<'a>>,
    /// After the change. A cell of a JSON column that `partial_json` names is no document but
    /// [`super::JsonDiffs`].
    pub after: Option<RowImage<'a>>,
    /// Which JSON columns of the after image are parts.
    pub partial_json: PartialJson<'a>,
}

/// Which JSON columns of an after image are changes to the document that was there before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PartialJson<'a> {
    /// A bit for each JSON column of the table.
    bits: &'a [u8],
}

impl PartialJson<'_> {
    /// Whether the row has none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.bits.iter().all(|byte| *byte == 0)
    }

    /// Whether the cell of the table's column `index` is [`super::JsonDiffs`].
    pub fn has(&self, table: &TableMap, index: usize) -> bool {
        if self.bits.is_empty() || !table.columns.get(index).is_some_and(is_json) {
            return false;
        }
        let before = table.columns.iter().take(index).filter(|c| is_json(c));
        bit(self.bits, before.count())
    }
}

fn is_json(column: &Column) -> bool {
    matches!(column.kind, ColumnKind::Json { .. })
}

/// `binlog_row_value_options`: after images have parts of JSON documents.
const PARTIAL_JSON_UPDATES: u64 = 1;

/// Iterator over the rows of an event. Ends after the first error.
#[derive(Clone, Debug)]
pub struct Rows<'a> {
    before: Option<ImageShape<'a>>,
    after: Option<ImageShape<'a>>,
    table: &'a TableMap,
    partial_json: bool,
    len: usize,
    rest: &'a [u8],
}

impl<'a> Rows<'a> {
    fn image(
        &mut self,
        shape: Option<ImageShape<'a>>,
    ) -> Result<Option<RowImage<'a>>, DecodeError> {
        let Some(shape) = shape else {
            return Ok(None);
        };
        let image = shape.split(self.rest, self.len - self.rest.len())?;
        self.rest = self.rest.get(image.bytes.len()..).unwrap_or_default();
        Ok(Some(image))
    }

    /// What stands between the images of a row (`unpack_row` in `rpl_record.cc`): the options, and
    /// which JSON columns are parts.
    fn value_options(&mut self) -> Result<PartialJson<'a>, DecodeError> {
        let mut r = Reader::new("value options of a row", self.rest);
        let bits = match r.lenenc()? {
            0 => &[][..],
            PARTIAL_JSON_UPDATES => {
                let columns = self.table.columns.iter().filter(|c| is_json(c)).count();
                r.bytes(columns.div_ceil(8))?
            }
            other => return Err(r.malformed(format_args!("options {other}"))),
        };
        self.rest = r.rest();
        Ok(PartialJson { bits })
    }

    fn row(&mut self) -> Result<Row<'a>, DecodeError> {
        let remaining = self.rest.len();
        let before = self.image(self.before)?;
        let partial_json = if self.partial_json {
            self.value_options()?
        } else {
            PartialJson::default()
        };
        let after = self.image(self.after)?;
        if self.rest.len() == remaining {
            // No columns at all: the next row would be the same, for ever.
            return Err(DecodeError::malformed(
                WHAT,
                self.len - remaining,
                "bytes behind the last row",
            ));
        }
        Ok(Row {
            before,
            after,
            partial_json,
        })
    }
}

impl<'a> Iterator for Rows<'a> {
    type Item = Result<Row<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let item = self.row();
        if item.is_err() {
            self.rest = &[];
        }
        Some(item)
    }
}

/// What all images of one side of an event have in common.
#[derive(Clone, Copy, Debug)]
struct ImageShape<'a> {
    table: &'a TableMap,
    /// Bitmap of the columns that the image has.
    columns: &'a [u8],
    /// Length of the bitmap of NULLs: a bit for each column that the image has.
    nulls_len: usize,
}

impl<'a> ImageShape<'a> {
    fn new(table: &'a TableMap, columns: &'a [u8]) -> Self {
        let count = table.columns.len();
        let present = (0..count).filter(|index| bit(columns, *index)).count();
        Self {
            table,
            columns,
            nulls_len: present.div_ceil(8),
        }
    }

    /// Takes one image off the front of `bytes`, which is at `offset` of the rows.
    fn split(self, bytes: &'a [u8], offset: usize) -> Result<RowImage<'a>, DecodeError> {
        let Some((nulls, values)) = bytes.split_at_checked(self.nulls_len) else {
            return Err(DecodeError::Truncated {
                what: "row image",
                offset,
                needed: self.nulls_len,
                available: bytes.len(),
            });
        };
        let mut rest = values;
        let mut present = 0;
        for (index, layout) in self.table.layouts.iter().enumerate() {
            if !bit(self.columns, index) {
                continue;
            }
            let null = bit(nulls, present);
            present += 1;
            if null {
                continue;
            }
            match layout.split(rest) {
                Some((_, behind)) => rest = behind,
                None => return Err(self.short(index, offset, rest.len())),
            }
        }
        let (image, _) = bytes
            .split_at_checked(bytes.len() - rest.len())
            .unwrap_or((bytes, &[]));
        Ok(RowImage {
            shape: self,
            bytes: image,
        })
    }

    #[cold]
    fn short(self, column: usize, offset: usize, available: usize) -> DecodeError {
        self.table.column_error(
            column,
            DecodeError::Truncated {
                what: "row image",
                offset,
                needed: available.saturating_add(1),
                available,
            },
        )
    }
}

/// The columns of one row before or after a change: a bitmap of NULLs and the values.
#[derive(Clone, Copy, Debug)]
pub struct RowImage<'a> {
    shape: ImageShape<'a>,
    bytes: &'a [u8],
}

impl<'a> RowImage<'a> {
    /// Views bytes again that [`RowImage::as_bytes`] gave, with the same table and bitmap.
    ///
    /// # Errors
    /// The bytes are not exactly one image.
    pub fn new(
        table: &'a TableMap,
        columns: &'a [u8],
        bytes: &'a [u8],
    ) -> Result<Self, DecodeError> {
        let image = ImageShape::new(table, columns).split(bytes, 0)?;
        if image.bytes.len() == bytes.len() {
            Ok(image)
        } else {
            Err(DecodeError::malformed(
                "row image",
                image.bytes.len(),
                "bytes behind the image",
            ))
        }
    }

    /// Bitmap of NULLs and values, as they lie in the event.
    #[inline]
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The table.
    #[inline]
    pub fn table(&self) -> &'a TableMap {
        self.shape.table
    }

    /// Bitmap of the columns that it has.
    #[inline]
    pub fn columns(&self) -> &'a [u8] {
        self.shape.columns
    }

    /// Whether it has all of the table's columns (`binlog_row_image=FULL`).
    pub fn is_full(&self) -> bool {
        (0..self.shape.table.columns.len()).all(|index| bit(self.shape.columns, index))
    }

    /// Its cells in the table's order.
    #[inline]
    pub fn cells(&self) -> Cells<'a> {
        let (nulls, rest) = self
            .bytes
            .split_at_checked(self.shape.nulls_len)
            .unwrap_or_default();
        Cells {
            shape: self.shape,
            nulls,
            rest,
            column: 0,
            present: 0,
        }
    }
}

/// Iterator over the cells of a row image: the index of the column, and the bytes of the value
/// without a length before them, or `None` for NULL. Columns that the image does not have are left
/// out. [`super::Column::value`] tells what the bytes mean. Ends after the first error.
#[derive(Clone, Debug)]
pub struct Cells<'a> {
    shape: ImageShape<'a>,
    nulls: &'a [u8],
    rest: &'a [u8],
    column: usize,
    present: usize,
}

impl<'a> Iterator for Cells<'a> {
    type Item = Result<(usize, Option<&'a [u8]>), DecodeError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let index = self.column;
            let layout = self.shape.table.layouts.get(index)?;
            self.column += 1;
            if !bit(self.shape.columns, index) {
                continue;
            }
            let null = bit(self.nulls, self.present);
            self.present += 1;
            if null {
                return Some(Ok((index, None)));
            }
            let Some((cell, rest)) = layout.split(self.rest) else {
                self.column = usize::MAX;
                return Some(Err(self.shape.short(index, 0, self.rest.len())));
            };
            self.rest = rest;
            return Some(Ok((index, Some(cell))));
        }
    }
}
