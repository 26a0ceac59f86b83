//! A table's definition on the sink, as far as applying rows needs it.

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error};

/// A table of the sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetTable {
    /// Database.
    pub database: String,
    /// Table.
    pub table: String,
    /// Its columns in order.
    pub columns: Vec<TargetColumn>,
    /// The primary key, or else a unique key without NULLs: positions in `columns`, in key order.
    /// Empty if there is none.
    pub key: Vec<usize>,
    /// The index of that key, e.g. `PRIMARY`; empty if there is none.
    pub key_index: String,
    /// Columns of unique keys other than `key`; functional key parts count as all columns.
    pub unique: Vec<usize>,
    /// Whether a foreign key leads from it or to it.
    pub foreign_keys: bool,
}

/// A column of the sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetColumn {
    /// Name.
    pub name: String,
    /// `DATA_TYPE` of information_schema, lower case, e.g. `bigint`.
    pub data_type: String,
    /// `COLUMN_TYPE` of information_schema, e.g. `bigint unsigned`.
    pub column_type: String,
    /// Character set; `None` for what is no text.
    pub charset: Option<String>,
    /// Collation; `None` for what is no text.
    pub collation: Option<String>,
    /// Longest value of a string, in bytes; `None` for what is no string.
    pub bytes_max: Option<u64>,
    /// Whether it may be NULL.
    pub nullable: bool,
    /// `COLUMN_DEFAULT` of information_schema; `None` for NULL, and where there is none.
    pub default: Option<String>,
    /// Whether the sink computes it.
    pub generated: bool,
    /// Whether an UPDATE that doesn't name it sets it to the present time.
    pub stamped: bool,
}

impl TargetTable {
    /// Database and table, quoted for a statement.
    pub fn quoted(&self) -> String {
        format!("{}.{}", quote_name(&self.database), quote_name(&self.table))
    }

    /// Reads a table's definition; `None` if there is no such table.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn read(
        conn: &mut Conn,
        database: &str,
        table: &str,
    ) -> Result<Option<TargetTable>, Error> {
        type ColumnRow = (
            String,
            String,
            String,
            Option<String>,
            Option<String>,
            Option<u64>,
            String,
            String,
            Option<String>,
        );
        let columns: Vec<ColumnRow> = conn
            .exec(
                "SELECT COLUMN_NAME, LOWER(DATA_TYPE), CAST(COLUMN_TYPE AS CHAR), CHARACTER_SET_NAME, \
                 COLLATION_NAME, CHARACTER_OCTET_LENGTH, EXTRA, IS_NULLABLE, CAST(COLUMN_DEFAULT AS CHAR) FROM information_schema.columns \
                 WHERE table_schema = ? AND table_name = ? ORDER BY ORDINAL_POSITION",
                (database, table),
            )
            .await?;
        if columns.is_empty() {
            return Ok(None);
        }
        let nullable: Vec<bool> = columns.iter().map(|row| row.7 == "YES").collect();
        let columns: Vec<TargetColumn> = columns
            .into_iter()
            .map(
                |(
                    name,
                    data_type,
                    column_type,
                    charset,
                    collation,
                    bytes_max,
                    extra,
                    nullable,
                    default,
                )| {
                    let extra = extra.to_ascii_uppercase();
                    TargetColumn {
                        name,
                        data_type,
                        column_type,
                        charset,
                        collation,
                        bytes_max,
                        nullable: nullable == "YES",
                        default,
                        generated: extra.contains("VIRTUAL GENERATED")
                            || extra.contains("STORED GENERATED"),
                        stamped: extra.contains("ON UPDATE"),
                    }
                },
            )
            .collect();
        let parts: Vec<(String, Option<String>, Option<u64>)> = conn
            .exec(
                "SELECT INDEX_NAME, COLUMN_NAME, SUB_PART FROM information_schema.statistics \
                 WHERE table_schema = ? AND table_name = ? AND NON_UNIQUE = 0 \
                 ORDER BY INDEX_NAME <> 'PRIMARY', INDEX_NAME, SEQ_IN_INDEX",
                (database, table),
            )
            .await?;
        let mut indexes: Vec<(String, Vec<KeyPart>)> = Vec::new();
        for (index, column, sub_part) in parts {
            let position =
                column.and_then(|name| columns.iter().position(|column| column.name == name));
            let part = KeyPart {
                column: position,
                whole: sub_part.is_none(),
            };
            match indexes.last_mut() {
                Some((last, parts)) if *last == index => parts.push(part),
                _ => indexes.push((index, vec![part])),
            }
        }
        let (chosen, unique) = choose_key(&indexes, &nullable);
        let (key_index, key) = chosen.unwrap_or_default();
        let foreign: Option<u64> = conn
            .exec_first(
                "SELECT COUNT(*) FROM information_schema.key_column_usage \
                 WHERE REFERENCED_TABLE_NAME IS NOT NULL AND ((table_schema = ? AND table_name = ?) \
                 OR (REFERENCED_TABLE_SCHEMA = ? AND REFERENCED_TABLE_NAME = ?))",
                (database, table, database, table),
            )
            .await?;
        Ok(Some(TargetTable {
            database: database.to_owned(),
            table: table.to_owned(),
            columns,
            key,
            key_index,
            unique,
            foreign_keys: foreign.unwrap_or(0) > 0,
        }))
    }
}

struct KeyPart {
    /// `None` for an expression.
    column: Option<usize>,
    /// `false` for a prefix of the column.
    whole: bool,
}

/// The key by which rows are found, with its index's name, and the columns of all other unique
/// keys.
fn choose_key(
    indexes: &[(String, Vec<KeyPart>)],
    nullable: &[bool],
) -> (Option<(String, Vec<usize>)>, Vec<usize>) {
    let usable = |parts: &[KeyPart]| {
        parts.iter().all(|part| {
            part.whole
                && part
                    .column
                    .is_some_and(|at| nullable.get(at) == Some(&false))
        })
    };
    // The primary key is sorted first.
    let chosen = indexes.iter().position(|(_, parts)| usable(parts));
    let key = chosen.and_then(|at| indexes.get(at)).map(|(name, parts)| {
        let columns = parts.iter().filter_map(|part| part.column).collect();
        (name.clone(), columns)
    });
    let mut unique = Vec::new();
    for (at, (_, parts)) in indexes.iter().enumerate() {
        if Some(at) == chosen {
            continue;
        }
        for part in parts {
            match part.column {
                Some(column) if !unique.contains(&column) => unique.push(column),
                Some(_) => {}
                None => unique = (0..nullable.len()).collect(),
            }
        }
    }
    unique.sort_unstable();
    unique.dedup();
    (key, unique)
}

/// A name in backticks.
pub fn quote_name(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(column: usize) -> KeyPart {
        KeyPart {
            column: Some(column),
            whole: true,
        }
    }

    #[test]
    fn the_primary_key_is_the_key_and_other_unique_columns_are_known() {
        let indexes = [
            ("PRIMARY".to_owned(), vec![part(1), part(0)]),
            ("u".to_owned(), vec![part(2)]),
        ];
        assert_eq!(
            choose_key(&indexes, &[false, false, true]),
            (Some(("PRIMARY".to_owned(), vec![1, 0])), vec![2])
        );
    }

    #[test]
    fn a_prefix_or_nullable_unique_key_is_no_key() {
        let prefix = KeyPart {
            column: Some(0),
            whole: false,
        };
        let indexes = [
            ("p".to_owned(), vec![prefix]),
            ("n".to_owned(), vec![part(1)]),
        ];
        assert_eq!(choose_key(&indexes, &[false, true]), (None, vec![0, 1]));
    }

    #[test]
    fn an_expression_makes_every_column_unique() {
        let expression = KeyPart {
            column: None,
            whole: true,
        };
        let indexes = [
            ("PRIMARY".to_owned(), vec![part(0)]),
            ("e".to_owned(), vec![expression]),
        ];
        assert_eq!(
            choose_key(&indexes, &[false, true]),
            (Some(("PRIMARY".to_owned(), vec![0])), vec![0, 1])
        );
    }
}
