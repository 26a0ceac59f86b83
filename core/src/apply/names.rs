//! Names for the columns of a table map that has none (`binlog_row_metadata=MINIMAL`), and defaults
//! of columns that an image leaves out.
//!
//! Names are taken by position, and only where three descriptions agree: the table map, the
//! source's present table, and the sink's table. The last one is at the row's place in history,
//! since DDL is carried in order: a column that was dropped, added, renamed or moved behind the row
//! differs there.

use mysql_common::collations::{Collation, CollationId};

use super::plan::difference;
use super::target::{TargetColumn, TargetTable};
use crate::decode::{Column, ColumnKind, TableMap};

/// Gives the columns of `map` the names of the source's present table.
///
/// # Errors
/// What doesn't agree. The map is unchanged then.
pub fn take_names(
    map: &mut TableMap,
    source: Option<&TargetTable>,
    sink: &TargetTable,
) -> Result<(), String> {
    let Some(source) = source else {
        return Err("the source has no such table any more".to_owned());
    };
    let counts = [map.columns.len(), source.columns.len(), sink.columns.len()];
    if let [logged, at_source, at_sink] = counts
        && (logged != at_source || logged != at_sink)
    {
        return Err(format!(
            "the row has {logged} columns, the source's table {at_source} now, and the sink's {at_sink}"
        ));
    }
    let columns = map.columns.iter().zip(&source.columns).zip(&sink.columns);
    for (at, ((logged, there), here)) in columns.enumerate() {
        let at = at + 1;
        if !there.name.eq_ignore_ascii_case(&here.name) {
            return Err(format!(
                "column {at} is {} at the source now, but {} on the sink, which is where the row is",
                there.name, here.name
            ));
        }
        if let Some(differs) = unlike(logged, there) {
            return Err(format!(
                "column {at} ({}) was logged with another {differs} than the source's table has now",
                there.name
            ));
        }
        if there.column_type != here.column_type || there.collation != here.collation {
            return Err(format!(
                "column {at} ({}) is {} at the source now, but {} on the sink",
                there.name, there.column_type, here.column_type
            ));
        }
    }
    for (column, there) in map.columns.iter_mut().zip(&source.columns) {
        column.name.clone_from(&there.name);
    }
    Ok(())
}

/// In what a logged column is unlike a table's; `None` if it may well be that column.
fn unlike(logged: &Column, table: &TargetColumn) -> Option<&'static str> {
    // Wide enough, and no wider: the table's column is described by what would be logged for it.
    let same_width = match (&logged.kind, table.data_type.as_str()) {
        (ColumnKind::Tiny, name) => name == "tinyint",
        (ColumnKind::Short, name) => name == "smallint",
        (ColumnKind::Int24, name) => name == "mediumint",
        (ColumnKind::Long, name) => name == "int",
        (ColumnKind::Float, name) => name == "float",
        (ColumnKind::Char { .. }, name) => matches!(name, "char" | "binary"),
        (ColumnKind::VarChar { .. }, name) => matches!(name, "varchar" | "varbinary"),
        (ColumnKind::Blob { length_bytes: 1 }, name) => matches!(name, "tinytext" | "tinyblob"),
        (ColumnKind::Blob { length_bytes: 2 }, name) => matches!(name, "text" | "blob"),
        (ColumnKind::Blob { length_bytes: 3 }, name) => matches!(name, "mediumtext" | "mediumblob"),
        (ColumnKind::Blob { .. }, name) => matches!(name, "longtext" | "longblob"),
        (ColumnKind::Decimal { precision, scale }, _) => table
            .column_type
            .starts_with(&format!("decimal({precision},{scale})")),
        (ColumnKind::Bit { bits }, _) => table.column_type == format!("bit({bits})"),
        (ColumnKind::Json { .. }, name) => name == "json",
        (ColumnKind::Time { fsp }, _) => table.column_type == temporal("time", *fsp),
        (ColumnKind::DateTime { fsp }, _) => table.column_type == temporal("datetime", *fsp),
        (ColumnKind::Timestamp { fsp }, _) => table.column_type == temporal("timestamp", *fsp),
        _ => true,
    };
    let is_number = !matches!(logged.kind, ColumnKind::Year)
        && (table.column_type.contains("unsigned") || logged.unsigned);
    let bytes_max = match logged.kind {
        ColumnKind::Char { bytes_max } | ColumnKind::VarChar { bytes_max } => {
            Some(u64::from(bytes_max))
        }
        _ => None,
    };
    let collation = Collation::resolve(CollationId::from(logged.collation));
    if is_number && table.column_type.contains("unsigned") != logged.unsigned {
        Some("sign")
    } else if difference(logged, table).is_some() || !same_width {
        Some("type")
    } else if logged.nullable != table.nullable {
        Some("nullability")
    } else if bytes_max.is_some() && bytes_max != table.bytes_max {
        Some("length")
    } else if logged.is_text()
        && logged.collation != 0
        && table
            .collation
            .as_deref()
            .is_some_and(|name| !same_collation(name, collation.collation()))
    {
        Some("collation")
    } else {
        None
    }
}

/// By the names of before and since 8.0.30, in which utf8 became utf8mb3.
fn same_collation(a: &str, b: &str) -> bool {
    let plain = |name: &str| name.replace("utf8mb3_", "utf8_");
    // An id that isn't known has no name to compare.
    b.is_empty() || plain(a) == plain(b)
}

fn temporal(name: &str, fsp: u8) -> String {
    if fsp == 0 {
        name.to_owned()
    } else {
        format!("{name}({fsp})")
    }
}

/// A column whose default isn't the same at the source and on the sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DifferingDefault {
    /// Position in the table map.
    pub at: usize,
    /// The sink's name for it.
    pub column: String,
    /// The source's default.
    pub source: String,
    /// The sink's.
    pub sink: String,
}

/// The columns of a table map whose default the source's present table doesn't share with the
/// sink's. Columns that only the sink has are its own affair.
pub fn differing_defaults(
    map: &TableMap,
    source: Option<&TargetTable>,
    sink: &TargetTable,
) -> Vec<DifferingDefault> {
    fn of<'t>(table: &'t TargetTable, column: &Column) -> Option<&'t TargetColumn> {
        let mut columns = table.columns.iter();
        columns.find(|there| there.name.eq_ignore_ascii_case(&column.name))
    }
    let said = |default: &Option<String>| default.clone().unwrap_or_else(|| "NULL".to_owned());
    let columns = map.columns.iter().enumerate();
    columns
        .filter_map(|(at, column)| {
            let here = of(sink, column).filter(|here| !here.generated)?;
            let there = source.and_then(|source| of(source, column));
            if there.is_some_and(|there| there.default == here.default) {
                return None;
            }
            let gone = || "(the source has no such column any more)".to_owned();
            Some(DifferingDefault {
                at,
                column: here.name.clone(),
                source: there.map_or_else(gone, |there| said(&there.default)),
                sink: said(&here.default),
            })
        })
        .collect()
}
