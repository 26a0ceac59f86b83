//! How rows of one table map go into one table of the sink: made once per table map, used per row.

use std::sync::Arc;

use super::ApplyError;
use super::literal::{BINARY_COLLATION, Form, charset_name};
use super::target::{TargetColumn, TargetTable, quote_name};
use crate::decode::{Column, ColumnKind, RowImage, TableMap};

/// MySQL's bound on the columns of a key.
const KEY_PARTS_MAX: usize = 16;

/// A collation id that says no more than that a column is text: any that isn't binary.
const TEXT_COLLATION: u16 = 255;

/// A column's bit in a mask of columns; columns from the 64th on share the last bit.
pub fn mask_bit(column: usize) -> u64 {
    1 << column.min(63)
}

/// A source table joined with its counterpart on the sink.
#[derive(Debug)]
pub struct TablePlan {
    /// The source's table map.
    pub map: TableMap,
    /// The sink's table.
    pub target: Arc<TargetTable>,
    /// The sink's table, quoted.
    pub quoted: String,
    /// Columns to write, the key's first and in its order.
    pub columns: Vec<PlannedColumn>,
    /// How many of `columns` are the key; 0 for a table without one.
    pub key_columns: usize,
    /// The key's index on the sink, quoted; statements name it, since the optimizer scans the whole
    /// table where its statistics are older than the rows.
    pub key_index: String,
    /// Source columns that further unique keys of the sink cover, as a mask; all of them if such a
    /// key has a computed column.
    pub unique_mask: u64,
    /// Source columns that every UPDATE must name, as a mask: the sink would set them to the
    /// present time, also where the source had left them as they were.
    pub stamped_mask: u64,
    /// Whether UPDATE can join a list of values: every key column is an integer or a string, and
    /// the server knows `VALUES ROW`.
    pub join_update: bool,
    /// Whether the sink has columns that the source lacks.
    pub extra_columns: bool,
    /// Columns that the sink computes as the source does: never written, but a row of which only a
    /// part was logged may be found by them.
    pub computed: Vec<PlannedColumn>,
    /// Whether a column is an ENUM, which may hold the empty label of an invalid value.
    pub has_enum: bool,
    /// A column whose longest value the sink could not hold. A strict session refuses such a value.
    pub narrower: Option<String>,
}

/// One column of the source that is written to the sink.
#[derive(Debug)]
pub struct PlannedColumn {
    /// Position in the source's table map.
    pub source: usize,
    /// The sink's name for it, quoted.
    pub quoted: String,
    /// How its literals are written.
    pub form: Form,
    /// For text: the sink's character set and collation.
    pub text: Option<(String, String)>,
}

impl PlannedColumn {
    fn new(source: usize, column: &Column, wanted: &TargetColumn) -> Self {
        Self {
            source,
            quoted: quote_name(&wanted.name),
            form: Form::of(column),
            // ENUM and SET have a character set too, but go by their numbers.
            text: wanted
                .charset
                .clone()
                .zip(wanted.collation.clone())
                .filter(|_| !matches!(wanted.data_type.as_str(), "enum" | "set")),
        }
    }
}

impl TablePlan {
    /// Matches a table map with the sink's table by column names.
    ///
    /// # Errors
    /// [`ApplyError::NoMetadata`]; [`ApplyError::NoColumn`], and [`ApplyError::ColumnDiffers`] for
    /// one whose type can't hold every value of the source's.
    pub fn new(
        map: TableMap,
        target: Arc<TargetTable>,
        values_row: bool,
        gtid: &str,
    ) -> Result<TablePlan, ApplyError> {
        let table = format!("{}.{}", map.database, map.table);
        if map.columns.iter().any(|column| column.name.is_empty()) {
            return Err(ApplyError::NoMetadata {
                gtid: gtid.to_owned(),
                table: table.clone(),
                detail: "no names were taken from the source".to_owned(),
            });
        }
        let mut at_source = vec![None; target.columns.len()];
        let mut columns = Vec::with_capacity(map.columns.len());
        let mut computed = Vec::new();
        for (source, column) in map.columns.iter().enumerate() {
            let found = target
                .columns
                .iter()
                .position(|candidate| candidate.name.eq_ignore_ascii_case(&column.name));
            let Some((position, wanted)) = found.and_then(|at| Some((at, target.columns.get(at)?)))
            else {
                return Err(ApplyError::NoColumn {
                    gtid: gtid.to_owned(),
                    table,
                    column: column.name.clone(),
                });
            };
            let difference = difference(column, wanted);
            if wanted.generated {
                if difference.is_none() {
                    computed.push(PlannedColumn::new(source, column, wanted));
                }
                continue;
            }
            if let Some(difference) = difference {
                return Err(ApplyError::ColumnDiffers {
                    gtid: gtid.to_owned(),
                    table,
                    column: column.name.clone(),
                    at_sink: wanted.column_type.clone(),
                    at_source: difference,
                });
            }
            if let Some(slot) = at_source.get_mut(position) {
                *slot = Some(source);
            }
            columns.push((position, PlannedColumn::new(source, column, wanted)));
        }
        let missing_in_key = target
            .key
            .iter()
            .any(|position| at_source.get(*position).is_none_or(Option::is_none));
        let key: &[usize] = if missing_in_key { &[] } else { &target.key };
        // The key first, in its order; the rest as at the source.
        columns.sort_by_key(|(position, column)| {
            (
                key.iter()
                    .position(|part| part == position)
                    .unwrap_or(usize::MAX),
                column.source,
            )
        });
        // What the sink computes may depend on any column.
        let is_computed = |position: &usize| {
            target
                .columns
                .get(*position)
                .is_some_and(|column| column.generated)
        };
        let unique_mask = if target.unique.iter().any(is_computed) {
            u64::MAX
        } else {
            let sources = target
                .unique
                .iter()
                .filter_map(|at| at_source.get(*at).copied().flatten());
            sources.fold(0, |mask, source| mask | mask_bit(source))
        };
        let stamped_mask = target
            .columns
            .iter()
            .zip(&at_source)
            .filter(|(column, _)| column.stamped)
            .filter_map(|(_, source)| *source)
            .fold(0, |mask, source| mask | mask_bit(source));
        let join_update = values_row
            && key.iter().all(|position| {
                target.columns.get(*position).is_some_and(|column| {
                    matches!(
                        column.data_type.as_str(),
                        "tinyint"
                            | "smallint"
                            | "mediumint"
                            | "int"
                            | "bigint"
                            | "binary"
                            | "varbinary"
                            | "char"
                            | "varchar"
                            | "tinytext"
                            | "text"
                            | "mediumtext"
                            | "longtext"
                    )
                })
            });
        let extra_columns = target
            .columns
            .iter()
            .zip(&at_source)
            .any(|(column, source)| source.is_none() && !column.generated);
        let narrower = target
            .columns
            .iter()
            .zip(&at_source)
            .find(|(column, source)| {
                source
                    .and_then(|source| map.columns.get(source))
                    .is_some_and(|source| is_narrower(source, column) || takes_less(source, column))
            })
            .map(|(column, _)| column.name.clone());
        Ok(TablePlan {
            has_enum: map
                .columns
                .iter()
                .any(|column| matches!(column.kind, ColumnKind::Enum { .. })),
            narrower,
            computed,
            quoted: target.quoted(),
            key_columns: key.len().min(KEY_PARTS_MAX),
            key_index: quote_name(&target.key_index),
            columns: columns.into_iter().map(|(_, column)| column).collect(),
            map,
            target,
            unique_mask,
            stamped_mask,
            join_update,
            extra_columns,
        })
    }

    /// Database and table, for messages.
    pub fn name(&self) -> String {
        format!("{}.{}", self.map.database, self.map.table)
    }

    /// The key's columns.
    pub fn key(&self) -> &[PlannedColumn] {
        self.columns.get(..self.key_columns).unwrap_or_default()
    }

    /// The columns beside the key.
    pub fn values(&self) -> &[PlannedColumn] {
        self.columns.get(self.key_columns..).unwrap_or_default()
    }

    /// The source's definition of a planned column.
    pub fn source_column(&self, column: &PlannedColumn) -> Option<&Column> {
        self.map.columns.get(column.source)
    }

    /// Whether the sink would set the column to the present time in an UPDATE that doesn't name it.
    pub fn is_stamped(&self, column: &PlannedColumn) -> bool {
        // Columns from the 64th on share a bit: one named too often is one that keeps its value.
        self.stamped_mask & mask_bit(column.source) != 0
    }

    /// Appends the key of a row in a form that sorts as the key does, for integers, and that is
    /// equal only for equal bytes. Keys that a collation holds for equal are different here: the
    /// statements' order (DELETE before UPDATE before INSERT) makes that right.
    ///
    /// # Errors
    /// The row is damaged.
    pub fn write_key(
        &self,
        image: RowImage<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), crate::decode::DecodeError> {
        let mut parts: [Option<&[u8]>; KEY_PARTS_MAX] = [None; KEY_PARTS_MAX];
        let mut missing = self.key_columns;
        for cell in image.cells() {
            let (at, cell) = cell?;
            for (part, column) in parts.iter_mut().zip(self.key()) {
                if column.source == at {
                    *part = Some(cell.unwrap_or_default());
                    missing -= 1;
                }
            }
            if missing == 0 {
                break;
            }
        }
        for (part, column) in parts.iter().zip(self.key()) {
            let cell = part.unwrap_or_default();
            let signed = self
                .source_column(column)
                .is_some_and(|column| !column.unsigned);
            match self.source_column(column).map(|column| &column.kind) {
                Some(
                    ColumnKind::Tiny
                    | ColumnKind::Short
                    | ColumnKind::Int24
                    | ColumnKind::Long
                    | ColumnKind::LongLong,
                ) => {
                    // Little-endian to big-endian, the sign bit flipped.
                    let start = out.len();
                    out.extend(cell.iter().rev());
                    if signed && let Some(first) = out.get_mut(start) {
                        *first ^= 0x80;
                    }
                }
                _ => {
                    out.extend_from_slice(&(cell.len() as u32).to_be_bytes());
                    out.extend_from_slice(cell);
                }
            }
        }
        Ok(())
    }
}

/// What of a source column the sink's could not hold; `None` if its type holds every value. Lengths
/// and character sets are not compared: a value that doesn't fit is refused by the sink itself.
pub fn difference(source: &Column, target: &TargetColumn) -> Option<String> {
    let target_type = target.data_type.as_str();
    let unsigned = target.column_type.contains("unsigned");
    let integer = |width: u8, name: &str| {
        let width_target = match target_type {
            "tinyint" => 1,
            "smallint" => 2,
            "mediumint" => 3,
            "int" => 4,
            "bigint" => 8,
            _ => 0,
        };
        let holds = if source.unsigned == unsigned {
            width_target >= width
        } else {
            source.unsigned && width_target > width
        };
        (!holds).then(|| format!("{name}{}", if source.unsigned { " unsigned" } else { "" }))
    };
    let fsp = |name: &str, fsp: u8| {
        let fsp_target = target
            .column_type
            .split_once('(')
            .and_then(|(_, rest)| rest.split_once(')'))
            .and_then(|(digits, _)| digits.parse::<u8>().ok())
            .unwrap_or(0);
        (target_type != name || fsp_target < fsp).then(|| format!("{name}({fsp})"))
    };
    let one_of =
        |names: &[&str], said: &str| (!names.contains(&target_type)).then(|| said.to_owned());
    let binary = source.collation == BINARY_COLLATION;
    match &source.kind {
        ColumnKind::Tiny => integer(1, "tinyint"),
        ColumnKind::Short => integer(2, "smallint"),
        ColumnKind::Int24 => integer(3, "mediumint"),
        ColumnKind::Long => integer(4, "int"),
        ColumnKind::LongLong => integer(8, "bigint"),
        ColumnKind::Float => one_of(&["float", "double"], "float"),
        ColumnKind::Double => one_of(&["double"], "double"),
        ColumnKind::Decimal { precision, scale } => {
            let digits = target
                .column_type
                .split_once('(')
                .and_then(|(_, rest)| rest.split_once(')'))
                .and_then(|(digits, _)| digits.split_once(','))
                .and_then(|(p, s)| {
                    Some((p.trim().parse::<u8>().ok()?, s.trim().parse::<u8>().ok()?))
                });
            let holds = target_type == "decimal"
                && digits.is_some_and(|(p, s)| {
                    s >= *scale && p.saturating_sub(s) >= precision.saturating_sub(*scale)
                });
            (!holds).then(|| format!("decimal({precision},{scale})"))
        }
        ColumnKind::Year => one_of(&["year"], "year"),
        ColumnKind::Date => one_of(&["date"], "date"),
        ColumnKind::Time { fsp: digits } => fsp("time", *digits),
        ColumnKind::DateTime { fsp: digits } => fsp("datetime", *digits),
        ColumnKind::Timestamp { fsp: digits } => fsp("timestamp", *digits),
        ColumnKind::Bit { .. } => one_of(&["bit"], "bit"),
        ColumnKind::Enum { .. } => labels_differ("enum", source, target),
        ColumnKind::Set { .. } => labels_differ("set", source, target),
        ColumnKind::Char { .. } | ColumnKind::VarChar { .. } | ColumnKind::Blob { .. } => {
            let names: &[&str] = if binary {
                &[
                    "binary",
                    "varbinary",
                    "tinyblob",
                    "blob",
                    "mediumblob",
                    "longblob",
                ]
            } else {
                &[
                    "char",
                    "varchar",
                    "tinytext",
                    "text",
                    "mediumtext",
                    "longtext",
                ]
            };
            one_of(names, if binary { "binary" } else { "text" })
        }
        // MariaDB's JSON is LONGTEXT.
        ColumnKind::Json { .. } => one_of(&["json", "longtext"], "json"),
        ColumnKind::Geometry { .. } => one_of(
            &[
                "geometry",
                "point",
                "linestring",
                "polygon",
                "multipoint",
                "multilinestring",
                "multipolygon",
                "geomcollection",
                "geometrycollection",
            ],
            "geometry",
        ),
        ColumnKind::Vector { .. } => one_of(&["vector"], "vector"),
    }
}

/// Whether the sink's column refuses some value of the source's whatever its length: NULL, or a
/// character that its character set hasn't.
fn takes_less(source: &Column, target: &TargetColumn) -> bool {
    let other_charset = match (source.is_text(), target.charset.as_deref()) {
        (true, Some(theirs)) if theirs != "utf8mb4" => {
            charset_name(source.collation).as_deref() != Some(theirs)
        }
        _ => false,
    };
    other_charset || (source.nullable && !target.nullable)
}

/// Whether the sink's column is too short for some value of the source's.
fn is_narrower(source: &Column, target: &TargetColumn) -> bool {
    let bytes_max = match source.kind {
        ColumnKind::Char { bytes_max } | ColumnKind::VarChar { bytes_max } => u64::from(bytes_max),
        ColumnKind::Blob { length_bytes } => (1 << (8 * u32::from(length_bytes))) - 1,
        ColumnKind::Bit { bits } => {
            let wanted = format!("bit({bits})");
            return target.column_type != wanted;
        }
        ColumnKind::Vector { .. } => return true,
        _ => return false,
    };
    target.bytes_max.is_none_or(|held| held < bytes_max)
}

/// ENUM and SET go by their numbers, so the labels must be the same ones in the same order; the
/// sink may have further ones at the end.
fn labels_differ(name: &str, source: &Column, target: &TargetColumn) -> Option<String> {
    let labels: Vec<String> = source
        .labels
        .iter()
        .map(|label| String::from_utf8_lossy(label).into_owned())
        .collect();
    let said = || {
        Some(format!(
            "{name}({})",
            labels
                .iter()
                .map(|label| format!("'{label}'"))
                .collect::<Vec<_>>()
                .join(",")
        ))
    };
    if target.data_type != name {
        return said();
    }
    let at_target = target_labels(&target.column_type);
    // Labels in another character set than UTF-8 are compared by their number only.
    let comparable = source
        .labels
        .iter()
        .all(|label| std::str::from_utf8(label).is_ok());
    let same = if comparable {
        at_target.starts_with(&labels)
    } else {
        at_target.len() >= labels.len()
    };
    if same { None } else { said() }
}

/// The column as its table map would describe it, as far as `difference` looks; None for a type
/// that isn't known here.
pub fn as_logged(column: &TargetColumn) -> Option<Column> {
    let digits = || {
        column
            .column_type
            .split_once('(')?
            .1
            .split_once(')')
            .map(|(digits, _)| digits)
    };
    let fsp = || digits().and_then(|digits| digits.parse().ok()).unwrap_or(0);
    let is_text = column
        .charset
        .as_deref()
        .is_some_and(|name| name != "binary");
    let kind = match column.data_type.as_str() {
        "tinyint" => ColumnKind::Tiny,
        "smallint" => ColumnKind::Short,
        "mediumint" => ColumnKind::Int24,
        "int" => ColumnKind::Long,
        "bigint" => ColumnKind::LongLong,
        "float" => ColumnKind::Float,
        "double" => ColumnKind::Double,
        "decimal" => {
            let (precision, scale) = digits()?.split_once(',')?;
            ColumnKind::Decimal {
                precision: precision.trim().parse().ok()?,
                scale: scale.trim().parse().ok()?,
            }
        }
        "year" => ColumnKind::Year,
        "date" => ColumnKind::Date,
        "time" => ColumnKind::Time { fsp: fsp() },
        "datetime" => ColumnKind::DateTime { fsp: fsp() },
        "timestamp" => ColumnKind::Timestamp { fsp: fsp() },
        "bit" => ColumnKind::Bit {
            bits: digits()?.parse().ok()?,
        },
        "enum" => ColumnKind::Enum { bytes: 1 },
        "set" => ColumnKind::Set { bytes: 1 },
        "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" | "binary"
        | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => {
            ColumnKind::VarChar { bytes_max: 0 }
        }
        "json" => ColumnKind::Json { length_bytes: 4 },
        "geometry" | "point" | "linestring" | "polygon" | "multipoint" | "multilinestring"
        | "multipolygon" | "geomcollection" | "geometrycollection" => {
            ColumnKind::Geometry { length_bytes: 4 }
        }
        "vector" => ColumnKind::Vector { length_bytes: 4 },
        _ => return None,
    };
    let labels = match kind {
        ColumnKind::Enum { .. } | ColumnKind::Set { .. } => target_labels(&column.column_type),
        _ => Vec::new(),
    };
    Some(Column {
        name: column.name.clone(),
        kind,
        nullable: true,
        unsigned: column.column_type.contains("unsigned"),
        collation: if is_text {
            TEXT_COLLATION
        } else {
            BINARY_COLLATION
        },
        labels: labels.into_iter().map(String::into_bytes).collect(),
        visible: true,
        geometry_type: None,
        vector_dimension: None,
    })
}

/// The labels in a `COLUMN_TYPE` such as `enum('a','it''s')`.
pub fn target_labels(column_type: &str) -> Vec<String> {
    let mut labels = Vec::new();
    let mut chars = column_type
        .chars()
        .skip_while(|c| *c != '(')
        .skip(1)
        .peekable();
    while let Some(c) = chars.next() {
        if c != '\'' {
            continue;
        }
        let mut label = String::new();
        while let Some(c) = chars.next() {
            if c == '\'' && chars.next_if_eq(&'\'').is_none() {
                break;
            }
            label.push(c);
        }
        labels.push(label);
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_read_with_their_quotes() {
        assert_eq!(target_labels("enum('a','it''s','')"), ["a", "it's", ""]);
        assert_eq!(target_labels("set('x,y')"), ["x,y"]);
    }
}
