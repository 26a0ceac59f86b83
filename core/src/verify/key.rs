//! What a SELECT names to get a row's key: as SQL literals, which either server compares by the
//! column's own collation, and as people read it. Pure.
//!
//! Ranges of keys are those of [`crate::scan`]. They are open below and above at the ends of a
//! table, so that every row of each server is in exactly one of them, also one with a key that the
//! other server lacks.

use crate::apply::target::{TargetColumn, TargetTable, quote_name};

use super::cell::ALIAS;

/// The key columns of one server's table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeyColumns {
    columns: Vec<KeyColumn>,
    /// `FORCE INDEX (…)`, or nothing where the server has no index of these columns.
    pub(super) hint: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct KeyColumn {
    name: String,
    literal: String,
    shown: String,
}

impl KeyColumns {
    /// The columns `key` of the source's table, as the source has them and as the sink has them.
    /// None if there are none, or the sink lacks one.
    pub(super) fn of(
        key: &[usize],
        source: &TargetTable,
        sink: &TargetTable,
    ) -> Option<(Self, Self)> {
        let columns: Vec<&TargetColumn> = key
            .iter()
            .map(|at| source.columns.get(*at))
            .collect::<Option<_>>()?;
        if columns.is_empty() {
            return None;
        }
        let others: Vec<&TargetColumn> = columns
            .iter()
            .map(|column| {
                let mut all = sink.columns.iter();
                all.find(|other| other.name.eq_ignore_ascii_case(&column.name))
            })
            .collect::<Option<_>>()?;
        Some((Self::new(&columns, source)?, Self::new(&others, sink)?))
    }

    fn new(columns: &[&TargetColumn], table: &TargetTable) -> Option<Self> {
        let own: Vec<Option<&TargetColumn>> =
            table.key.iter().map(|at| table.columns.get(*at)).collect();
        let is_key = own.len() == columns.len()
            && own
                .iter()
                .zip(columns)
                .all(|(own, column)| *own == Some(*column));
        let hint = if is_key {
            format!(" FORCE INDEX ({})", quote_name(&table.key_index))
        } else {
            String::new()
        };
        let columns = columns.iter().map(|column| KeyColumn::new(column));
        Some(Self {
            columns: columns.collect::<Option<_>>()?,
            hint,
        })
    }

    /// How many columns.
    pub(super) fn len(&self) -> usize {
        self.columns.len()
    }

    /// The columns' names.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|column| column.name.as_str())
    }

    /// What a SELECT names to get the key.
    pub(super) fn literals(&self) -> String {
        let all: Vec<&str> = self.columns.iter().map(|c| c.literal.as_str()).collect();
        all.join(", ")
    }

    /// What a SELECT names to get the key as people read it.
    pub(super) fn shown(&self) -> String {
        let all: Vec<&str> = self.columns.iter().map(|c| c.shown.as_str()).collect();
        all.join(", ")
    }

    /// Whether a row has the key of these literals, to the columns' collations; for a statement of
    /// one table.
    pub(super) fn is(&self, literals: &[String]) -> String {
        let parts: Vec<String> = self
            .columns
            .iter()
            .zip(literals)
            .map(|(column, literal)| format!("{} = {literal}", quote_name(&column.name)))
            .collect();
        format!("({})", parts.join(" AND "))
    }
}

impl KeyColumn {
    /// None for a type that can't be a literal which the server finds again.
    fn new(column: &TargetColumn) -> Option<Self> {
        let quoted = format!("{ALIAS}.{}", quote_name(&column.name));
        let (literal, shown) = match column.data_type.as_str() {
            "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "year" => {
                let number = format!("CAST({quoted} + 0 AS CHAR)");
                (number.clone(), number)
            }
            "decimal" => {
                let number = format!("CAST({quoted} AS CHAR)");
                (number.clone(), number)
            }
            "double" => (
                format!("CONCAT('CAST(\\'', {quoted} * 1e0, '\\' AS DOUBLE)')"),
                format!("CAST({quoted} * 1e0 AS CHAR)"),
            ),
            // Compared as numbers, as the index is ordered.
            "bit" => {
                let number = format!("CAST(CAST({quoted} AS UNSIGNED) AS CHAR)");
                (number.clone(), number)
            }
            "enum" | "set" => (
                format!("CAST(CAST({quoted} AS UNSIGNED) AS CHAR)"),
                format!("QUOTE(CONVERT({quoted} USING utf8mb4))"),
            ),
            "date" | "time" | "datetime" | "timestamp" => {
                let text = format!("CONCAT('\\'', CAST({quoted} AS CHAR), '\\'')");
                (text.clone(), text)
            }
            "char" | "varchar" => (
                format!(
                    "CONCAT('_{} X\\'', HEX({quoted}), '\\'')",
                    column.charset.as_deref()?
                ),
                format!("QUOTE(CONVERT({quoted} USING utf8mb4))"),
            ),
            "binary" | "varbinary" => {
                let bytes = format!("CONCAT('_binary X\\'', HEX({quoted}), '\\'')");
                let shown = format!("CONCAT('X\\'', HEX({quoted}), '\\'')");
                (bytes, shown)
            }
            _ => return None,
        };
        Some(Self {
            name: column.name.clone(),
            literal,
            shown,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(columns: &[(&str, &str)], key: Vec<usize>) -> TargetTable {
        let column = |(name, data_type): &(&str, &str)| TargetColumn {
            name: (*name).to_owned(),
            data_type: (*data_type).to_owned(),
            column_type: (*data_type).to_owned(),
            charset: (*data_type == "varchar").then(|| "gbk".to_owned()),
            collation: None,
            bytes_max: None,
            nullable: false,
            default: None,
            generated: false,
            stamped: false,
        };
        TargetTable {
            database: "d".to_owned(),
            table: "t".to_owned(),
            columns: columns.iter().map(column).collect(),
            key,
            key_index: "PRIMARY".to_owned(),
            unique: Vec::new(),
            unique_indexes: Vec::new(),
            foreign_keys: false,
        }
    }

    #[test]
    fn the_sink_s_own_key_is_not_needed_but_its_columns_are() {
        let source = table(&[("k", "varchar"), ("v", "json")], vec![0]);
        let sink = table(&[("v", "json"), ("K", "varchar")], vec![]);
        let (at_source, at_sink) = KeyColumns::of(&[0], &source, &sink).unwrap();
        assert_eq!(at_source.hint, " FORCE INDEX (`PRIMARY`)");
        assert_eq!(at_sink.hint, "");
        assert_eq!(at_sink.literals(), "CONCAT('_gbk X\\'', HEX(t.`K`), '\\'')");
        assert_eq!(at_source.names().collect::<Vec<_>>(), ["k"]);
        assert_eq!(at_sink.is(&["7".to_owned()]), "(`K` = 7)");
        let without = table(&[("v", "json")], vec![]);
        assert_eq!(KeyColumns::of(&[0], &source, &without), None);
        assert_eq!(KeyColumns::of(&[], &without, &sink), None);
    }
}
