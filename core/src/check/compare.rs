//! The tables of the source and those of the sink, side by side. Pure.
//!
//! What the pipeline itself would refuse is judged by its own rule (`apply::plan::difference`);
//! what it would accept, but isn't the same, is a warning that names both.

use crate::apply::ddl::TableName;
use crate::apply::plan::{as_logged, difference};
use crate::apply::target::{TargetColumn, own_unique};

use super::tables::{ColumnFacts, TableFacts, Tables};

/// How a table of the sink differs from the source's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Difference {
    /// There is no such table; `transactional` says whether the source's is.
    NoTable { transactional: bool },
    /// The sink lacks a column of the source; `after` is the one before it.
    NoColumn {
        column: TargetColumn,
        after: Option<String>,
    },
    /// A column can't hold the source's values.
    Refused {
        source: TargetColumn,
        sink: TargetColumn,
    },
    /// A column isn't the same, but its type holds the source's.
    Unlike {
        source: TargetColumn,
        sink: TargetColumn,
    },
    /// The sink has a column of its own that every INSERT would have to name.
    NeedsValue { column: String },
    /// The source's table has a key, the sink's hasn't.
    NoKey,
    /// The sink's table forbids rows that the source's allows.
    OwnUnique { index: String },
    /// The sink's table has no transactions.
    NotTransactional { engine: String },
}

/// All differences, by table.
pub(crate) fn differences(source: &Tables, sink: &Tables) -> Vec<(TableName, Difference)> {
    let mut all = Vec::new();
    for ((database, table), at_source) in &source.by_name {
        let name = TableName {
            database: database.clone(),
            table: table.clone(),
        };
        let found = match sink.by_name.get(&(database.clone(), table.clone())) {
            Some(at_sink) => of_table(at_source, at_sink),
            None => vec![Difference::NoTable {
                transactional: at_source.transactional,
            }],
        };
        all.extend(
            found
                .into_iter()
                .map(|difference| (name.clone(), difference)),
        );
    }
    all
}

fn of_table(source: &TableFacts, sink: &TableFacts) -> Vec<Difference> {
    let named = |columns: &[ColumnFacts], name: &str| {
        columns
            .iter()
            .position(|other| other.column.name.eq_ignore_ascii_case(name))
    };
    let mut all = Vec::new();
    if !sink.transactional {
        all.push(Difference::NotTransactional {
            engine: sink.engine.clone(),
        });
    }
    let mut before: Option<&str> = None;
    for ColumnFacts { column, .. } in &source.columns {
        let after = before.replace(&column.name).map(str::to_owned);
        let at = named(&sink.columns, &column.name).and_then(|at| sink.columns.get(at));
        let Some(ColumnFacts { column: other, .. }) = at else {
            all.push(Difference::NoColumn {
                column: column.clone(),
                after,
            });
            continue;
        };
        if is_same(column, other) {
            continue;
        }
        let (source, sink) = (column.clone(), other.clone());
        let is_refused = !other.generated
            && as_logged(column).is_none_or(|column| difference(&column, other).is_some());
        all.push(if is_refused {
            Difference::Refused { source, sink }
        } else {
            Difference::Unlike { source, sink }
        });
    }
    let own = sink
        .columns
        .iter()
        .filter(|own| own.needs_value && named(&source.columns, &own.column.name).is_none());
    all.extend(own.map(|own| Difference::NeedsValue {
        column: own.column.name.clone(),
    }));
    if source.has_key && !sink.has_key {
        all.push(Difference::NoKey);
    }
    if let Some(own) = own_unique(&source.unique, &sink.unique) {
        all.push(Difference::OwnUnique {
            index: own.name.clone(),
        });
    }
    all
}

/// A column's type for people: type, collation, and whether the server computes it.
pub(crate) fn describe(column: &TargetColumn) -> String {
    let collation = column.collation.as_deref().map(|name| format!(" {name}"));
    let generated = if column.generated { " generated" } else { "" };
    format!(
        "{}{}{generated}",
        column.column_type,
        collation.unwrap_or_default()
    )
}

/// What a difference that the pipeline accepts can come to.
pub(super) fn risk(source: &TargetColumn, sink: &TargetColumn) -> &'static str {
    let has_bounds = matches!(
        source.data_type.as_str(),
        "tinyint"
            | "smallint"
            | "mediumint"
            | "int"
            | "bigint"
            | "float"
            | "double"
            | "decimal"
            | "date"
            | "time"
            | "datetime"
            | "timestamp"
            | "year"
    );
    if source.generated != sink.generated {
        "the sink's value is computed there, or not kept up to date"
    } else if has_bounds {
        "every value fits now; after an ALTER of the source's column that may change"
    } else if source.collation == sink.collation {
        "it may refuse values that are longer"
    } else {
        "it may refuse values, or sort and compare them otherwise"
    }
}

/// Whether two servers' words mean the same type: before 8.0.19 integers had a display width, and
/// what is now utf8mb3 was called utf8.
fn is_same(a: &TargetColumn, b: &TargetColumn) -> bool {
    let collation = |column: &TargetColumn| {
        let name = column.collation.clone()?;
        Some(match name.strip_prefix("utf8_") {
            Some(rest) => format!("utf8mb3_{rest}"),
            None => name,
        })
    };
    a.generated == b.generated
        && a.data_type == b.data_type
        && without_width(a) == without_width(b)
        && collation(a) == collation(b)
}

fn without_width(column: &TargetColumn) -> String {
    let has_width =
        ["tinyint", "smallint", "mediumint", "int", "bigint", "year"].contains(&&*column.data_type);
    match column
        .column_type
        .split_once('(')
        .zip(column.column_type.split_once(')'))
    {
        Some(((before, _), (_, after))) if has_width => format!("{before}{after}"),
        _ => column.column_type.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, column_type: &str, collation: &str) -> ColumnFacts {
        let data_type: String = column_type
            .chars()
            .take_while(char::is_ascii_lowercase)
            .collect();
        let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        ColumnFacts {
            column: TargetColumn {
                name: name.to_owned(),
                data_type,
                column_type: column_type.to_owned(),
                charset: text(collation.split('_').next().unwrap()),
                collation: text(collation),
                bytes_max: None,
                nullable: true,
                default: None,
                generated: false,
                stamped: false,
            },
            needs_value: false,
        }
    }

    fn table(columns: Vec<ColumnFacts>) -> TableFacts {
        TableFacts {
            columns,
            engine: "InnoDB".to_owned(),
            transactional: true,
            has_key: true,
            has_scan_key: true,
            unique: Vec::new(),
            triggers: Vec::new(),
        }
    }

    /// What becomes of one column.
    fn judge(source: (&str, &str), sink: (&str, &str)) -> &'static str {
        let one = |(column_type, collation)| table(vec![column("c", column_type, collation)]);
        match of_table(&one(source), &one(sink)).as_slice() {
            [] => "same",
            [Difference::Refused { .. }] => "refused",
            [Difference::Unlike { .. }] => "unlike",
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_same_type_is_the_same_in_every_servers_words() {
        for (source, sink) in [
            (("int", ""), ("int(11)", "")),
            (("bigint(20) unsigned", ""), ("bigint unsigned", "")),
            (("year", ""), ("year(4)", "")),
            (("varchar(9)", "utf8_bin"), ("varchar(9)", "utf8mb3_bin")),
            (
                ("enum('a','b')", "utf8mb4_bin"),
                ("enum('a','b')", "utf8mb4_bin"),
            ),
            (("decimal(10,2)", ""), ("decimal(10,2)", "")),
            (("json", ""), ("json", "")),
        ] {
            assert_eq!(judge(source, sink), "same", "{source:?} {sink:?}");
        }
    }

    #[test]
    fn what_the_pipeline_refuses_is_refused_and_all_else_that_differs_is_named() {
        for (source, sink, verdict) in [
            (("bigint", ""), ("int", ""), "refused"),
            (("int", ""), ("bigint", ""), "unlike"),
            (("int unsigned", ""), ("int", ""), "refused"),
            (("decimal(10,2)", ""), ("decimal(8,2)", ""), "refused"),
            (("decimal(10,2)", ""), ("decimal(12,2)", ""), "unlike"),
            (("datetime(6)", ""), ("datetime", ""), "refused"),
            (("datetime", ""), ("datetime(3)", ""), "unlike"),
            (("timestamp", ""), ("datetime", ""), "refused"),
            (
                ("varchar(20)", "utf8mb4_bin"),
                ("varchar(10)", "utf8mb4_bin"),
                "unlike",
            ),
            (
                ("varchar(20)", "utf8mb4_bin"),
                ("varchar(20)", "latin1_bin"),
                "unlike",
            ),
            (
                ("varchar(20)", "utf8mb4_bin"),
                ("varbinary(20)", ""),
                "refused",
            ),
            (("blob", ""), ("text", "utf8mb4_bin"), "refused"),
            (("blob", ""), ("longblob", ""), "unlike"),
            (
                ("enum('a','b')", "utf8mb4_bin"),
                ("enum('b','a')", "utf8mb4_bin"),
                "refused",
            ),
            (
                ("enum('a')", "utf8mb4_bin"),
                ("enum('a','b')", "utf8mb4_bin"),
                "unlike",
            ),
            (("json", ""), ("longtext", "utf8mb4_bin"), "unlike"),
            (("point", ""), ("geometry", ""), "unlike"),
            (("inet6", ""), ("varchar(9)", "utf8mb4_bin"), "refused"),
        ] {
            assert_eq!(judge(source, sink), verdict, "{source:?} {sink:?}");
        }
    }

    #[test]
    fn the_risk_of_a_difference_is_named() {
        let of = |source: (&str, &str), sink: (&str, &str)| {
            let one = |(column_type, collation)| column("c", column_type, collation).column;
            risk(&one(source), &one(sink))
        };
        assert!(of(("int", ""), ("bigint", "")).starts_with("every value fits now"));
        let (long, short) = (("varchar(9)", "utf8mb4_bin"), ("varchar(3)", "utf8mb4_bin"));
        assert!(of(long, short).ends_with("longer"));
        assert!(of(long, ("varchar(9)", "latin1_bin")).contains("sort"));
        let mut computed = column("c", "int", "").column;
        computed.generated = true;
        assert!(risk(&column("c", "int", "").column, &computed).contains("computed"));
    }

    #[test]
    fn columns_and_keys_that_only_one_side_has_are_found() {
        let source = table(vec![column("id", "int", ""), column("a", "int", "")]);
        let mut own = column("b", "int", "");
        own.needs_value = true;
        let mut sink = table(vec![
            column("ID", "int", ""),
            own,
            column("free", "int", ""),
        ]);
        sink.has_key = false;
        sink.transactional = false;
        sink.engine = "MyISAM".to_owned();
        assert_eq!(
            of_table(&source, &sink),
            [
                Difference::NotTransactional {
                    engine: "MyISAM".to_owned()
                },
                Difference::NoColumn {
                    column: column("a", "int", "").column,
                    after: Some("id".to_owned())
                },
                Difference::NeedsValue {
                    column: "b".to_owned()
                },
                Difference::NoKey,
            ]
        );
    }

    #[test]
    fn a_computed_column_takes_no_value_and_is_named() {
        let source = table(vec![column("c", "bigint", "")]);
        let mut sink = table(vec![column("c", "int", "")]);
        sink.columns[0].column.generated = true;
        assert!(matches!(
            of_table(&source, &sink).as_slice(),
            [Difference::Unlike { .. }]
        ));
    }
}
