//! `TABLE_MAP_EVENT`: which table, and which columns, the rows events behind it are about.

use super::DecodeError;
use super::column::{Column, ColumnKind, Layout, metadata_len};
use super::reader::{Reader, bit};
use super::table_metadata::Metadata;

/// One column of the primary key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeyPart {
    /// Index in [`TableMap::columns`].
    pub column: usize,
    /// Characters of the column that the key has; 0 for the whole column.
    pub prefix: u32,
}

/// The event (`Table_map_event` in `rows_event.cpp`), parsed once and then used for many rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableMap {
    /// Number that the rows events name; valid until the end of the statement.
    pub table_id: u64,
    /// Flags; none matters to a reader.
    pub flags: u16,
    /// Database.
    pub database: String,
    /// Table.
    pub table: String,
    /// Columns in the table's order; at least one, at most 4096.
    pub columns: Vec<Column>,
    /// Columns of the primary key in the key's order; empty if there is none, or without `FULL`.
    pub primary_key: Vec<KeyPart>,
    /// Whether the source sent names, labels and key (`binlog_row_metadata=FULL`).
    pub full_metadata: bool,
    /// How each column's value lies in a row.
    pub(super) layouts: Vec<Layout>,
}

const WHAT: &str = "table map event";
/// `MAX_FIELDS` of the server.
const COLUMNS_MAX: usize = 4096;

struct Start<'a> {
    table_id: u64,
    flags: u16,
    database: &'a [u8],
    table: &'a [u8],
}

fn start<'a>(r: &mut Reader<'a>) -> Result<Start<'a>, DecodeError> {
    let table_id = r.uint(6)?;
    let flags = r.u16()?;
    let mut name = || -> Result<&'a [u8], DecodeError> {
        let name = r.lenenc_bytes()?;
        match r.u8()? {
            0 => Ok(name),
            _ => Err(r.malformed("a name does not end where its length says")),
        }
    };
    Ok(Start {
        table_id,
        flags,
        database: name()?,
        table: name()?,
    })
}

impl TableMap {
    /// Reads the body.
    ///
    /// # Errors
    /// Cut short, fields that contradict each other, or a column of a type that is not read.
    pub fn parse(body: &[u8]) -> Result<TableMap, DecodeError> {
        let mut r = Reader::new(WHAT, body);
        let Start {
            table_id,
            flags,
            database,
            table,
        } = start(&mut r)?;
        let database = String::from_utf8_lossy(database).into_owned();
        let table = String::from_utf8_lossy(table).into_owned();

        let count = r.lenenc_size()?;
        if count > COLUMNS_MAX {
            return Err(r.malformed(format_args!("{count} columns, MySQL has at most 4096")));
        }
        let types = r.bytes(count)?;
        let mut meta = Reader::new("column metadata of a table map event", r.lenenc_bytes()?);
        let null_bits = r.bytes(count.div_ceil(8))?;
        let metadata = Metadata::parse(r.rest())?;
        let names = metadata.names(count)?;

        let mut columns = Vec::with_capacity(count);
        for (index, type_code) in types.iter().copied().enumerate() {
            let mut bytes = [0; 2];
            for (slot, byte) in bytes.iter_mut().zip(meta.bytes(metadata_len(type_code))?) {
                *slot = *byte;
            }
            let name = names.as_ref().and_then(|names| names.get(index)).cloned();
            let kind = ColumnKind::from_metadata(type_code, bytes).map_err(|source| {
                DecodeError::Column {
                    database: database.as_str().into(),
                    table: table.as_str().into(),
                    column: column_label(name.as_deref().unwrap_or_default(), index),
                    source: Box::new(source),
                }
            })?;
            columns.push(Column {
                name: name.unwrap_or_default(),
                kind,
                nullable: bit(null_bits, index),
                unsigned: false,
                collation: 0,
                labels: Vec::new(),
                visible: true,
                geometry_type: None,
                vector_dimension: None,
            });
        }
        metadata.apply(&mut columns)?;
        let layouts = columns.iter().map(|column| column.kind.layout()).collect();
        Ok(TableMap {
            table_id,
            flags,
            database,
            table,
            primary_key: metadata.primary_key(count)?,
            full_metadata: names.is_some(),
            columns,
            layouts,
        })
    }

    /// The table id of a table map or rows event.
    ///
    /// # Errors
    /// Cut short.
    #[inline]
    pub fn table_id(body: &[u8]) -> Result<u64, DecodeError> {
        Reader::new(WHAT, body).uint(6)
    }

    /// Table id, database and table, without an allocation.
    ///
    /// # Errors
    /// Cut short.
    #[inline]
    pub fn names(body: &[u8]) -> Result<(u64, &[u8], &[u8]), DecodeError> {
        let start = start(&mut Reader::new(WHAT, body))?;
        Ok((start.table_id, start.database, start.table))
    }

    /// `Table_map` events are compared by their bytes: the same bytes behind the table id describe
    /// the same table in the same way. Table ids change when a table is opened again.
    ///
    /// # Errors
    /// Cut short.
    #[inline]
    pub fn definition(body: &[u8]) -> Result<&[u8], DecodeError> {
        let mut r = Reader::new(WHAT, body);
        r.uint(6)?;
        Ok(r.rest())
    }

    /// An error about one of its columns.
    #[cold]
    pub(crate) fn column_error(&self, index: usize, source: DecodeError) -> DecodeError {
        let name = self.columns.get(index).map(|column| column.name.as_str());
        DecodeError::Column {
            database: self.database.as_str().into(),
            table: self.table.as_str().into(),
            column: column_label(name.unwrap_or_default(), index),
            source: Box::new(source),
        }
    }
}

/// A column's name, or its number from 1.
fn column_label(name: &str, index: usize) -> Box<str> {
    if name.is_empty() {
        format!("{}", index + 1).into()
    } else {
        format!("`{name}`").into()
    }
}
