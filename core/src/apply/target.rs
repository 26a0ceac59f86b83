//! A table's definition on the sink, as far as applying rows needs it.

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error};

use super::plan::target_labels;

/// A table of the sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetTable {
    /// Database.
    pub database: String,
    /// Table.
    pub table: String,
    /// Its columns in order.
    pub columns: Vec<TargetColumn>,
    /// The primary key, or else a unique key without NULLs and computed columns: positions in `columns`, in key
    /// order. One by which the table can be read in chunks comes first. Empty if there is none.
    pub key: Vec<usize>,
    /// The index of that key, e.g. `PRIMARY`; empty if there is none.
    pub key_index: String,
    /// Columns of unique keys other than `key`; functional key parts count as all columns.
    pub unique: Vec<usize>,
    /// All unique indexes, the key's among them.
    pub unique_indexes: Vec<UniqueIndex>,
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

/// A unique index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UniqueIndex {
    /// Its name, e.g. `PRIMARY`.
    pub name: String,
    /// In the index's order.
    pub parts: Vec<UniquePart>,
}

/// A part of a unique index.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UniquePart {
    /// The column; `None` for an expression.
    pub column: Option<String>,
    /// The expression, where the server tells it.
    pub expression: Option<String>,
    /// Characters or bytes of the column, where it isn't the whole one.
    pub prefix: Option<u64>,
}

/// A row of `information_schema.statistics`: index, column, prefix, expression.
pub type IndexRow = (String, Option<String>, Option<u64>, Option<String>);

/// Where `information_schema.statistics` tells a part's expression; NULL where it doesn't. (MariaDB has neither
/// the column nor such indexes, and takes this for a comment, as MySQL before 8.0.13 does.)
pub const EXPRESSION: &str = "/*!80013 IFNULL(EXPRESSION, */ NULL /*!80013 ) */";

impl UniqueIndex {
    /// Gathers rows of `information_schema.statistics`, in the order of indexes and their parts.
    pub fn add(indexes: &mut Vec<UniqueIndex>, (index, column, prefix, expression): IndexRow) {
        let part = UniquePart {
            column,
            expression,
            prefix,
        };
        match indexes.last_mut() {
            Some(last) if last.name == index => last.parts.push(part),
            _ => indexes.push(UniqueIndex {
                name: index,
                parts: vec![part],
            }),
        }
    }

    /// Whether rows can be found by it: no part of it is NULL, less than a column, or computed by the server.
    pub fn is_key(&self, columns: &[&TargetColumn]) -> bool {
        self.are_all(columns, |column| !column.nullable && !column.generated)
    }

    /// Whether a table can also be read in chunks by it.
    pub fn is_scan_key(&self, columns: &[&TargetColumn]) -> bool {
        self.is_key(columns) && self.are_all(columns, compares_as_literal)
    }

    fn are_all(&self, columns: &[&TargetColumn], are: impl Fn(&TargetColumn) -> bool) -> bool {
        self.parts.iter().all(|part| {
            let name = part.column.as_ref();
            let column = name.and_then(|name| columns.iter().find(|column| column.name == *name));
            part.prefix.is_none() && column.is_some_and(|column| are(column))
        })
    }

    /// Whether it allows only one row for each value of some columns, as far as they are compared alike.
    fn is_within(&self, columns: &[&str]) -> bool {
        self.parts.iter().all(|part| {
            let name = part.column.as_deref();
            name.is_some_and(|name| {
                columns
                    .iter()
                    .any(|column| column.eq_ignore_ascii_case(name))
            })
        })
    }

    /// Whether rows that `other` allows beside each other are allowed by this one, too.
    fn follows_from(&self, other: &UniqueIndex) -> bool {
        let is_within = |part: &UniquePart| self.parts.iter().any(|own| own.is_of_same(part));
        other.parts.iter().all(is_within)
    }
}

impl UniquePart {
    fn is_of_same(&self, other: &UniquePart) -> bool {
        let is_same = match (&self.column, &other.column) {
            (Some(one), Some(other)) => one.eq_ignore_ascii_case(other),
            (None, None) => self.expression == other.expression,
            _ => false,
        };
        is_same && self.prefix == other.prefix
    }
}

/// A unique index of the sink that forbids rows which the source's allow: written with REPLACE, one of them would
/// take the other's place.
pub fn own_unique<'a>(source: &[UniqueIndex], sink: &'a [UniqueIndex]) -> Option<&'a UniqueIndex> {
    sink.iter()
        .find(|own| !source.iter().any(|other| own.follows_from(other)))
}

/// Whether two tables with the same columns forbid the same rows. What isn't known of an expression may differ.
pub fn forbid_the_same(one: &TargetTable, other: &TargetTable) -> bool {
    let sets = |table: &TargetTable| {
        let mut sets: Vec<Vec<UniquePart>> = Vec::new();
        for index in &table.unique_indexes {
            let mut parts = index.parts.clone();
            parts.sort_unstable();
            sets.push(parts);
        }
        sets.sort_unstable();
        sets
    };
    let is_known = |part: &UniquePart| part.column.is_some() || part.expression.is_some();
    let mut parts = one.unique_indexes.iter().flat_map(|index| &index.parts);
    parts.all(is_known)
        && sets(one) == sets(other)
        && one
            .columns
            .iter()
            .zip(&other.columns)
            .all(|(one_column, other_column)| {
                one_column.collation == other_column.collation
                    || !one.is_in_unique(&one_column.name)
            })
}

/// A SET compares as a double: more labels than it has bits would make different values equal.
const SET_LABELS_IN_KEY_MAX: usize = 53;

/// Whether literals of the column compare as its values do.
pub fn compares_as_literal(column: &TargetColumn) -> bool {
    match column.data_type.as_str() {
        "float" => false,
        "set" => target_labels(&column.column_type).len() <= SET_LABELS_IN_KEY_MAX,
        _ => true,
    }
}

impl TargetTable {
    /// Whether there is at most one row for each value of these columns.
    pub fn is_unique_by(&self, columns: &[&str]) -> bool {
        let mut indexes = self.unique_indexes.iter();
        indexes.any(|index| index.is_within(columns))
    }

    /// Whether a unique index may compare values of the column.
    fn is_in_unique(&self, name: &str) -> bool {
        let mut parts = self.unique_indexes.iter().flat_map(|index| &index.parts);
        parts.any(|part| part.column.as_deref().is_none_or(|column| column == name))
    }

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
        let parts: Vec<IndexRow> = conn
            .exec(
                format!(
                    "SELECT INDEX_NAME, COLUMN_NAME, SUB_PART, {EXPRESSION} \
                     FROM information_schema.statistics \
                     WHERE table_schema = ? AND table_name = ? AND NON_UNIQUE = 0 \
                     ORDER BY INDEX_NAME <> 'PRIMARY', INDEX_NAME, SEQ_IN_INDEX"
                ),
                (database, table),
            )
            .await?;
        let mut unique_indexes = Vec::new();
        for part in parts {
            UniqueIndex::add(&mut unique_indexes, part);
        }
        let (chosen, unique) = choose_key(&unique_indexes, &columns);
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
            unique_indexes,
            foreign_keys: foreign.unwrap_or(0) > 0,
        }))
    }
}

/// The key by which rows are found, with its index's name, and the columns of all other unique keys.
fn choose_key(
    indexes: &[UniqueIndex],
    columns: &[TargetColumn],
) -> (Option<(String, Vec<usize>)>, Vec<usize>) {
    let position = |part: &UniquePart| {
        let name = part.column.as_ref()?;
        columns.iter().position(|column| column.name == *name)
    };
    let named: Vec<&TargetColumn> = columns.iter().collect();
    // The primary key is sorted first.
    let mut all = indexes.iter();
    let chosen = all
        .position(|index| index.is_scan_key(&named))
        .or_else(|| indexes.iter().position(|index| index.is_key(&named)));
    let key = chosen.and_then(|at| indexes.get(at)).map(|index| {
        let columns = index.parts.iter().filter_map(position).collect();
        (index.name.clone(), columns)
    });
    let mut unique = Vec::new();
    for (at, index) in indexes.iter().enumerate() {
        if Some(at) == chosen {
            continue;
        }
        for part in &index.parts {
            match position(part) {
                Some(column) if !unique.contains(&column) => unique.push(column),
                Some(_) => {}
                None => unique = (0..columns.len()).collect(),
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

    /// `a`, `b` and `c`; those named may be NULL.
    fn columns(nullable: &str) -> Vec<TargetColumn> {
        let column = |name: &str| TargetColumn {
            name: name.to_owned(),
            data_type: "varchar".to_owned(),
            column_type: "varchar(40)".to_owned(),
            charset: Some("utf8mb4".to_owned()),
            collation: Some("utf8mb4_bin".to_owned()),
            bytes_max: Some(160),
            nullable: nullable.contains(name),
            default: None,
            generated: false,
            stamped: false,
        };
        ["a", "b", "c"].map(column).into()
    }

    /// `a`, `a(9)` or `(a + 1)`.
    fn index(name: &str, parts: &[&str]) -> UniqueIndex {
        let part = |part: &&str| {
            let (column, prefix) = match part.split_once('(') {
                None => (Some(*part), None),
                Some(("", _)) => (None, None),
                Some((column, prefix)) => (Some(column), prefix.trim_end_matches(')').parse().ok()),
            };
            UniquePart {
                column: column.map(str::to_owned),
                expression: column.is_none().then(|| (*part).to_owned()),
                prefix,
            }
        };
        UniqueIndex {
            name: name.to_owned(),
            parts: parts.iter().map(part).collect(),
        }
    }

    #[test]
    fn the_primary_key_is_the_key_and_other_unique_columns_are_known() {
        let indexes = [index("PRIMARY", &["b", "a"]), index("u", &["c"])];
        assert_eq!(
            choose_key(&indexes, &columns("c")),
            (Some(("PRIMARY".to_owned(), vec![1, 0])), vec![2])
        );
    }

    #[test]
    fn a_prefix_or_nullable_unique_key_is_no_key() {
        let indexes = [index("p", &["a(9)"]), index("n", &["b"])];
        assert_eq!(choose_key(&indexes, &columns("bc")), (None, vec![0, 1]));
    }

    #[test]
    fn what_the_server_computes_is_no_key_and_a_float_only_if_nothing_else_is() {
        let mut all = columns("");
        all[0].generated = true;
        all[1].data_type = "float".to_owned();
        let indexes = [index("PRIMARY", &["a"]), index("f", &["b"])];
        assert_eq!(
            choose_key(&indexes, &all),
            (Some(("f".to_owned(), vec![1])), vec![0])
        );
        let indexes = [&indexes[..], &[index("z", &["c"])]].concat();
        let (key, unique) = choose_key(&indexes, &all);
        assert_eq!((key.unwrap().0, unique), ("z".to_owned(), vec![0, 1]));
        assert_eq!(choose_key(&indexes[..1], &all), (None, vec![0]));
    }

    #[test]
    fn rows_are_found_by_a_unique_index_of_no_other_columns() {
        let table = |parts: &[&str]| TargetTable {
            database: "d".to_owned(),
            table: "t".to_owned(),
            columns: columns(""),
            key: Vec::new(),
            key_index: String::new(),
            unique: Vec::new(),
            unique_indexes: vec![index("x", parts)],
            foreign_keys: false,
        };
        assert!(table(&["b", "A"]).is_unique_by(&["a", "b"]));
        assert!(table(&["b"]).is_unique_by(&["a", "b"]));
        assert!(!table(&["a", "b"]).is_unique_by(&["a"]));
        assert!(!table(&["(a)"]).is_unique_by(&["a"]));
    }

    #[test]
    fn an_expression_makes_every_column_unique() {
        let indexes = [index("PRIMARY", &["a"]), index("e", &["(a + 1)"])];
        assert_eq!(
            choose_key(&indexes, &columns("bc")),
            (Some(("PRIMARY".to_owned(), vec![0])), vec![0, 1, 2])
        );
    }

    #[test]
    fn a_unique_index_of_the_sinks_own_is_one_that_forbids_more() {
        let source = [index("PRIMARY", &["a"]), index("u", &["b", "c"])];
        let own = |parts: &[&str]| {
            let sink = [index("PRIMARY", &["a"]), index("x", parts)];
            own_unique(&source, &sink).is_some()
        };
        // The same under another name and in another order, and what says no more than those.
        assert!(!own(&["C", "b"]) && !own(&["c", "a"]));
        assert!(own(&["b"]) && own(&["c"]) && own(&["a(9)"]) && own(&["(a + 1)"]));
        let expressions = [index("e", &["(a + 1)"])];
        assert!(own_unique(&expressions, &expressions).is_none());
        assert!(own_unique(&source, &source[..1]).is_none());
    }

    #[test]
    fn tables_forbid_the_same_rows_if_their_unique_indexes_compare_alike() {
        let table = |indexes: &[UniqueIndex]| TargetTable {
            database: "d".to_owned(),
            table: "t".to_owned(),
            columns: columns(""),
            key: vec![0],
            key_index: "PRIMARY".to_owned(),
            unique: Vec::new(),
            unique_indexes: indexes.to_vec(),
            foreign_keys: false,
        };
        let (key, pair) = (index("PRIMARY", &["a"]), index("u", &["b", "c"]));
        let one = table(&[key.clone(), pair]);
        assert!(forbid_the_same(
            &one,
            &table(&[index("v", &["c", "b"]), key.clone()])
        ));
        for other in [vec![key.clone()], vec![key.clone(), index("u", &["b"])]] {
            assert!(!forbid_the_same(&one, &table(&other)), "{other:?}");
            assert!(!forbid_the_same(&table(&other), &one), "{other:?}");
        }
        // Another collation is another key, and only in one.
        let collated = |indexes: &[UniqueIndex], column: usize| {
            let mut other = table(indexes);
            other.columns[column].collation = Some("utf8mb4_0900_ai_ci".to_owned());
            forbid_the_same(&table(indexes), &other)
        };
        assert!(collated(std::slice::from_ref(&key), 1) && !collated(&[key], 0));
        assert!(!collated(&[index("e", &["(a)"])], 1));
        // An expression that the server doesn't tell may be any.
        let mut hidden = index("e", &["(a)"]);
        hidden.parts[0].expression = None;
        assert!(!forbid_the_same(
            &table(&[hidden.clone()]),
            &table(&[hidden])
        ));
    }
}
