//! A sink's table as the source's would be, made of a table map alone: what damaged and invented
//! events are tried on. In tests and fuzzing only.

use std::sync::Arc;

use towpath_protocol::gtid::{Gtid, GtidOrigin};
use uuid::Uuid;

use super::plan::TablePlan;
use super::target::{TargetColumn, TargetTable};
use super::{BatchBuilder, History};
use crate::decode::{Column, ColumnKind, EventType, RowsEvent, TableMap};

/// The sink's table that a table map's would be, with a key or without.
fn target_of(map: &TableMap, keyed: bool) -> TargetTable {
    let column = |column: &Column| {
        let (data_type, column_type) = type_of(column);
        let text = column.is_text().then(|| "utf8mb4".to_owned());
        TargetColumn {
            name: column.name.clone(),
            data_type,
            column_type,
            collation: text.as_ref().map(|_| "utf8mb4_bin".to_owned()),
            charset: text,
            bytes_max: Some(u64::from(u32::MAX)),
            nullable: column.nullable,
            default: None,
            generated: false,
            stamped: false,
        }
    };
    TargetTable {
        database: map.database.clone(),
        table: map.table.clone(),
        columns: map.columns.iter().map(column).collect(),
        key: if keyed { vec![0] } else { Vec::new() },
        key_index: "PRIMARY".to_owned(),
        unique: Vec::new(),
        unique_indexes: Vec::new(),
        foreign_keys: false,
    }
}

fn type_of(column: &Column) -> (String, String) {
    let name = match &column.kind {
        ColumnKind::Tiny => "tinyint",
        ColumnKind::Short => "smallint",
        ColumnKind::Int24 => "mediumint",
        ColumnKind::Long => "int",
        ColumnKind::LongLong => "bigint",
        ColumnKind::Float => "float",
        ColumnKind::Double => "double",
        ColumnKind::Decimal { .. } => "decimal",
        ColumnKind::Year => "year",
        ColumnKind::Date => "date",
        ColumnKind::Time { .. } => "time",
        ColumnKind::DateTime { .. } => "datetime",
        ColumnKind::Timestamp { .. } => "timestamp",
        ColumnKind::Bit { .. } => "bit",
        ColumnKind::Enum { .. } => "enum",
        ColumnKind::Set { .. } => "set",
        ColumnKind::Char { .. } | ColumnKind::VarChar { .. } | ColumnKind::Blob { .. } => {
            if column.is_text() {
                "longtext"
            } else {
                "longblob"
            }
        }
        ColumnKind::Json { .. } => "json",
        ColumnKind::Geometry { .. } => "geometry",
        ColumnKind::Vector { .. } => "vector",
    };
    let full = match &column.kind {
        ColumnKind::Decimal { precision, scale } => format!("decimal({precision},{scale})"),
        ColumnKind::Time { fsp } | ColumnKind::DateTime { fsp } | ColumnKind::Timestamp { fsp } => {
            format!("{name}({fsp})")
        }
        ColumnKind::Enum { .. } | ColumnKind::Set { .. } => {
            let labels = column
                .labels
                .iter()
                .map(|label| format!("'{}'", String::from_utf8_lossy(label).replace('\'', "''")));
            format!("{name}({})", labels.collect::<Vec<_>>().join(","))
        }
        _ if column.unsigned => format!("{name} unsigned"),
        _ => name.to_owned(),
    };
    (name.to_owned(), full)
}

/// Bytes of the statements that a rows event becomes on such a table; `None` if it is refused.
pub fn statements(
    map: &TableMap,
    event_type: EventType,
    body: &[u8],
    keyed: bool,
) -> Option<usize> {
    let gtid = Gtid {
        origin: GtidOrigin {
            uuid: Uuid::nil(),
            tag: String::new(),
        },
        number: 1,
    };
    let mut map = map.clone();
    for (at, column) in map.columns.iter_mut().enumerate() {
        // As names are taken for a table map without them.
        if column.name.is_empty() {
            column.name = format!("c{at}");
        }
    }
    let target = Arc::new(target_of(&map, keyed));
    let plan = Arc::new(TablePlan::new(map, target, true, "-").ok()?);
    let rows = RowsEvent::parse(event_type, body).ok()?;
    let mut builder = BatchBuilder::new();
    builder.begin(&gtid);
    builder.rows(&plan, &rows, History::Strict).ok()?;
    let batch = builder.take().ok()?;
    Some(batch.statements.iter().map(|s| s.sql.len()).sum())
}
