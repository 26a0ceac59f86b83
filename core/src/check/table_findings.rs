//! What the tables of both servers come to, as findings. Pure.

use std::collections::BTreeMap;

use towpath_protocol::code;

use super::compare::{Difference, describe, risk};
use super::finding::{Finding, FindingState, Fix};
use super::tables::{Tables, column_definition, create_statement};
use crate::apply::ddl::TableName;
use crate::apply::target::{TargetColumn, quote_name};
use crate::check::grants::Grants;

/// Findings about single tables of one server; the rest is counted. An operator mends these, and
/// checks again.
pub(super) const TABLES_LISTED_MAX: usize = 20;

/// Names in one line.
const NAMES_MAX: usize = 5;

/// Definitions of the source's tables, as SHOW CREATE TABLE prints them.
pub(super) type Definitions = BTreeMap<(String, String), String>;

/// The findings about the source's tables. `sees_all` says whether our account may read every
/// definition.
pub(super) fn of_source(
    tables: &Tables,
    rules: &str,
    account: &str,
    sees_all: bool,
) -> Vec<Finding> {
    use FindingState::Warning;
    let what = format!("there are tables to replicate (source.tables = {rules})");
    if tables.by_name.is_empty() {
        let finding = if sees_all {
            let fix = "correct source.tables, unless its tables are still to be created; names are \
                       compared exactly, case included";
            Finding::new(what, Warning, "none match", Fix::hand(fix))
        } else {
            let fix = Fix::sql(format!("GRANT SELECT ON *.* TO {account}"));
            Finding::new(what, Warning, "none that the account can see", fix)
                .why("changes are read all the same, but the tables can't be checked here")
        };
        return vec![finding];
    }
    let seen = if sees_all {
        ""
    } else {
        " that the account can see"
    };
    let of = |wanted: &dyn Fn(&super::tables::TableFacts) -> bool| -> Vec<String> {
        let found = tables.by_name.iter().filter(|(_, facts)| wanted(facts));
        found
            .map(|((database, table), _)| format!("{database}.{table}"))
            .collect()
    };
    let all = of(&|_| true);
    let keyless = of(&|facts| !facts.has_key);
    let plain = of(&|facts| !facts.transactional);
    let alter: Vec<String> = tables
        .by_name
        .iter()
        .filter(|(_, facts)| !facts.transactional)
        .map(|((database, table), _)| alter_engine(database, table))
        .collect();
    vec![
        Finding::ok(what, format!("{}{seen}", names(&all))),
        Finding::new(
            "every table has a primary key, or a unique one without NULLs",
            FindingState::ok_if(keyless.is_empty(), Warning),
            if keyless.is_empty() {
                "yes".to_owned()
            } else {
                format!("not {}", names(&keyless))
            },
            Fix::hand(
                "make a primary key of columns that the table has (an AUTO_INCREMENT column added \
                 now would number the rows differently on each server)",
            ),
        )
        .why("without, each changed row is searched for by all of its columns: exact, but slow"),
        Finding::new(
            "every table is transactional (InnoDB)",
            FindingState::ok_if(plain.is_empty(), Warning),
            if plain.is_empty() {
                "yes".to_owned()
            } else {
                format!("not {}", names(&plain))
            },
            Fix::sql(alter.join("; ")),
        )
        .why("after a crash of the source, its other tables and its binlog may disagree"),
    ]
}

/// The findings about the sink's tables. `is_current`: the sink has, or starts with, all that the
/// source has, so that no DDL statement comes before the next row; `is_copied`: a first copy fills them.
pub(super) fn of_sink(
    source: &Tables,
    differences: &[(TableName, Difference)],
    definitions: &Definitions,
    sink: &Tables,
    is_current: bool,
    is_copied: bool,
) -> Vec<Finding> {
    let mut all = Vec::new();
    if differences.is_empty() && !source.by_name.is_empty() {
        let count = source.by_name.len();
        let found = if count == 1 {
            "1 table".to_owned()
        } else {
            format!("{count} tables")
        };
        all.push(Finding::ok(
            "every table is on the sink, with the same columns",
            found,
        ));
    }
    let (listed, rest) = differences.split_at(differences.len().min(TABLES_LISTED_MAX));
    for (name, difference) in listed {
        let definition = definitions.get(&(name.database.clone(), name.table.clone()));
        let definition = definition.map(String::as_str);
        let missing_database = !sink.databases.contains(&name.database);
        let facts = source
            .by_name
            .get(&(name.database.clone(), name.table.clone()));
        let is_copied_by_key = is_copied && facts.is_some_and(|facts| facts.has_scan_key);
        all.push(of_difference(
            name,
            difference,
            definition,
            missing_database,
            is_current,
            is_copied,
            is_copied_by_key,
        ));
    }
    if !rest.is_empty() {
        let found = format!("{} further differences between source and sink", rest.len());
        let state = if is_current {
            FindingState::Failed
        } else {
            FindingState::Warning
        };
        let fix = "copy the definitions at once, with mysqldump --no-data, and check again";
        all.push(
            Finding::new(
                "the other tables are the same",
                state,
                found,
                Fix::hand(fix),
            )
            .code(code::TABLE_DIFFERS),
        );
    }
    all
}

fn of_difference(
    name: &TableName,
    difference: &Difference,
    definition: Option<&str>,
    missing_database: bool,
    is_current: bool,
    is_copied: bool,
    is_copied_by_key: bool,
) -> Finding {
    use FindingState::{Failed, Warning};
    // A DDL statement that comes before the next row may make good for what the sink lacks.
    let if_current = if is_current { Failed } else { Warning };
    let table = format!("{}.{}", name.database, name.table);
    let quoted = name.quoted();
    let of_column = |column: &TargetColumn| {
        definition.and_then(|definition| column_definition(definition, column))
    };
    let as_at_source = |what: &str| {
        Fix::hand(format!(
            "{what} as at the source; SHOW CREATE TABLE {quoted} there tells how"
        ))
    };
    let still_to_come = if is_current { "" } else { WHEN_BEHIND };
    match difference {
        Difference::NoTable { transactional } => {
            let fix = definition.map(|definition| {
                let create = create_statement(name, definition, *transactional);
                if missing_database {
                    let database = quote_name(&name.database);
                    return Fix::Sql(format!(
                        "CREATE DATABASE IF NOT EXISTS {database}; {create}"
                    ));
                }
                Fix::Sql(create)
            });
            let fix = fix.or_else(|| as_at_source("create it"));
            Finding::new(
                format!("table {table} is on the sink"),
                if_current,
                "missing",
                fix,
            )
            .code(code::NO_TABLE)
            .why(still_to_come)
        }
        Difference::NoColumn { column, after } => {
            let fix = of_column(column).map(|definition| {
                let place = after
                    .as_ref()
                    .map(|name| format!(" AFTER {}", quote_name(name)));
                let place = place.unwrap_or_else(|| " FIRST".to_owned());
                Fix::Sql(format!(
                    "ALTER TABLE {quoted} ADD COLUMN {definition}{place}"
                ))
            });
            let what = format!("table {table} has column {} on the sink", column.name);
            let fix = fix.or_else(|| as_at_source("add it"));
            Finding::new(what, if_current, "missing", fix)
                .code(code::NO_COLUMN)
                .why(still_to_come)
        }
        Difference::Refused { source, sink } | Difference::Unlike { source, sink } => {
            let is_refused = matches!(difference, Difference::Refused { .. });
            let fix = of_column(source)
                .map(|definition| {
                    Fix::Sql(format!("ALTER TABLE {quoted} MODIFY COLUMN {definition}"))
                })
                .or_else(|| as_at_source("change it"));
            let found = format!("{}, at the source {}", describe(sink), describe(source));
            let what = format!(
                "table {table} has the same column {} on the sink",
                source.name
            );
            let state = if is_refused { if_current } else { Warning };
            let why = match (is_refused, is_current) {
                (true, true) => "it can't hold every value of the source's",
                (true, false) => WHEN_BEHIND,
                (false, _) => risk(source, sink),
            };
            let code = if is_refused {
                code::COLUMN_DIFFERS
            } else {
                code::SINK_VALUE
            };
            Finding::new(what, state, found, fix).code(code).why(why)
        }
        Difference::NeedsValue { column } => Finding::new(
            format!("table {table} takes rows without the sink's own column {column}"),
            if_current,
            "it is NOT NULL and has no default",
            Fix::hand(format!(
                "on the sink, give {column} a default or let it be NULL"
            )),
        )
        .code(code::COLUMN_NEEDS_VALUE),
        Difference::NoKey => Finding::new(
            format!("table {table} has a primary key on the sink"),
            if is_copied_by_key { Failed } else { Warning },
            "none, the source's has one",
            as_at_source("give it the primary key"),
        )
        .code_if(is_copied_by_key, code::COPY_KEYLESS)
        .why("without, each changed row is searched for by all of its columns"),
        Difference::OwnUnique { index } => Finding::new(
            format!("table {table} takes all rows that the source's table takes"),
            if is_copied { Failed } else { Warning },
            format!("unique index {index} is the sink's alone"),
            Fix::sql(format!(
                "ALTER TABLE {quoted} DROP INDEX {}",
                quote_name(index)
            )),
        )
        .code(code::COPY_SINK_UNIQUE)
        .why("of two rows that it forbids, a copy would keep one, and a change would stop the pipeline"),
        Difference::NotTransactional { engine } => Finding::new(
            format!("table {table} is transactional on the sink"),
            Failed,
            engine.as_str(),
            Fix::sql(alter_engine(&name.database, &name.table)),
        )
        .code(code::TABLE_DIFFERS)
        .why("its rows could not commit together with the place"),
    }
}

const WHEN_BEHIND: &str = "leave it if the statement that changes it comes after the start: then it \
    is carried, and would fail on a table that is changed already";

/// The finding about triggers on the sink's tables.
pub(super) fn triggers(sink: &Tables, grants: &Grants, account: &str) -> Option<Finding> {
    if sink.by_name.is_empty() {
        return None;
    }
    let what = "no trigger of the sink fires on replicated rows";
    let why = "what a trigger did at the source is in the binlog and would be done twice";
    let found = |(database, trigger): &(&str, &str)| format!("{database}.{trigger}");
    let triggers: Vec<(&str, &str)> = sink
        .by_name
        .iter()
        .flat_map(|((database, _), facts)| {
            facts
                .triggers
                .iter()
                .map(|trigger| (database.as_str(), trigger.as_str()))
        })
        .collect();
    if !triggers.is_empty() {
        let drop: Vec<String> = triggers
            .iter()
            .map(|(database, trigger)| {
                format!(
                    "DROP TRIGGER {}.{}",
                    quote_name(database),
                    quote_name(trigger)
                )
            })
            .collect();
        let found: Vec<String> = triggers.iter().map(found).collect();
        let finding = Finding::new(
            what,
            FindingState::Warning,
            names(&found),
            Fix::sql(drop.join("; ")),
        );
        return Some(finding.code(code::SINK_TRIGGER).why(why));
    }
    let databases = sink.by_name.keys().map(|(database, _)| database.as_str());
    let mut hidden: Vec<&str> = databases
        .filter(|database| !grants.has_on_schema("TRIGGER", database))
        .collect();
    hidden.dedup();
    if hidden.is_empty() {
        return Some(Finding::ok(what, "there are none"));
    }
    let grant: Vec<String> = hidden
        .iter()
        .map(|database| {
            format!(
                "GRANT TRIGGER ON {}.* TO {account}",
                grants.quote_schema(database)
            )
        })
        .collect();
    let finding = Finding::new(
        what,
        FindingState::Warning,
        "not known, only an account with TRIGGER sees them",
        Fix::sql(grant.join("; ")),
    );
    Some(finding.why(why))
}

/// What is told of tables that the first copy makes, if there are some.
pub(super) fn to_be_made(missing: usize) -> Option<Finding> {
    let what = "what the sink lacks is made by the first copy (snapshot)";
    match missing {
        0 => None,
        1 => Some(Finding::ok(what, "1 table")),
        count => Some(Finding::ok(what, format!("{count} tables"))),
    }
}

/// The finding about tables that are to be copied, and have rows on the sink.
pub(super) fn filled(filled: &[TableName]) -> Finding {
    let listed: Vec<String> = filled.iter().map(ToString::to_string).collect();
    let fix: Vec<String> = filled
        .iter()
        .map(|name| format!("TRUNCATE TABLE {}", name.quoted()))
        .collect();
    Finding::new(
        "the tables that the first copy is to fill are empty on the sink",
        FindingState::ok_if(filled.is_empty(), FindingState::Failed),
        match filled.is_empty() {
            true => "no table has rows".to_owned(),
            false => format!("with rows: {}", names(&listed)),
        },
        Fix::sql(fix.join("; ")),
    )
    .code(code::COPY_NOT_EMPTY)
    .why("if they are a copy already, write snapshot = \"never\" and a start that fits it")
}

/// The finding about tables that have rows at the source and none on the sink.
pub(super) fn copies(without_copy: &[TableName]) -> Finding {
    let empty: Vec<String> = without_copy
        .iter()
        .map(|name| format!("{}.{}", name.database, name.table))
        .collect();
    Finding::new(
        "the sink has a copy of the rows that are older than the start",
        FindingState::ok_if(empty.is_empty(), FindingState::Warning),
        if empty.is_empty() {
            "no table is empty that has rows at the source".to_owned()
        } else {
            format!(
                "empty on the sink, but not at the source: {}",
                names(&empty)
            )
        },
        Fix::hand(
            "load a dump made with mysqldump --single-transaction --set-gtid-purged=COMMENTED, and \
             set start = \"gtid:…\" to the set of GTIDs at its head",
        ),
    )
    .code(code::ROW_MISSING)
    .why("the first change of a row that the sink lacks stops the pipeline")
}

fn alter_engine(database: &str, table: &str) -> String {
    format!(
        "ALTER TABLE {}.{} ENGINE = InnoDB",
        quote_name(database),
        quote_name(table)
    )
}

/// Some names, and how many there are beside them.
pub(super) fn names(all: &[String]) -> String {
    let (first, rest) = all.split_at(all.len().min(NAMES_MAX));
    let first = first.join(", ");
    if rest.is_empty() {
        first
    } else {
        format!("{first} and {} more", rest.len())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tables::TableFacts;
    use super::*;

    fn name(table: &str) -> TableName {
        TableName {
            database: "shop".to_owned(),
            table: table.to_owned(),
        }
    }

    fn tables(some: &[(&str, TableFacts)]) -> Tables {
        let by_name = some
            .iter()
            .map(|(table, facts)| (("shop".to_owned(), (*table).to_owned()), facts.clone()))
            .collect();
        Tables {
            by_name,
            databases: ["shop".to_owned()].into(),
        }
    }

    fn good() -> TableFacts {
        TableFacts {
            transactional: true,
            has_key: true,
            has_scan_key: true,
            ..TableFacts::default()
        }
    }

    fn fix(finding: &Finding) -> String {
        finding.fix.as_ref().map(Fix::to_string).unwrap_or_default()
    }

    #[test]
    fn tables_of_the_source_without_key_or_transactions_are_named() {
        let log = TableFacts {
            has_key: false,
            transactional: false,
            ..good()
        };
        let all = of_source(
            &tables(&[("a", good()), ("log", log)]),
            "shop.*",
            "'r'@'%'",
            true,
        );
        let states: Vec<_> = all
            .iter()
            .map(|finding| (finding.state, &*finding.found))
            .collect();
        assert_eq!(
            states,
            [
                (FindingState::Ok, "shop.a, shop.log"),
                (FindingState::Warning, "not shop.log"),
                (FindingState::Warning, "not shop.log"),
            ]
        );
        assert_eq!(fix(&all[2]), "ALTER TABLE `shop`.`log` ENGINE = InnoDB;");
    }

    #[test]
    fn no_table_is_a_warning_and_so_is_being_blind() {
        let none = |sees_all| of_source(&tables(&[]), "shop.*", "'r'@'%'", sees_all);
        assert_eq!(none(true)[0].found, "none match");
        assert_eq!(fix(&none(false)[0]), "GRANT SELECT ON *.* TO 'r'@'%';");
    }

    #[test]
    fn what_the_sink_lacks_is_sure_to_fail_only_if_no_ddl_can_come_before() {
        let differences = [(
            name("a"),
            Difference::NoTable {
                transactional: true,
            },
        )];
        let source = tables(&[("a", good())]);
        let of = |is_current, databases: &[&str]| {
            let databases = databases.iter().map(|name| (*name).to_owned()).collect();
            let sink = Tables {
                databases,
                ..Tables::default()
            };
            let definition = "CREATE TABLE `a` (\n  `i` int\n) ENGINE=InnoDB".to_owned();
            let definitions = [(("shop".to_owned(), "a".to_owned()), definition)].into();
            of_sink(
                &source,
                &differences,
                &definitions,
                &sink,
                is_current,
                false,
            )
            .remove(0)
        };
        assert_eq!(of(true, &["shop"]).state, FindingState::Failed);
        assert_eq!(of(false, &["shop"]).state, FindingState::Warning);
        let create = "CREATE TABLE `shop`.`a` (`i` int) ENGINE=InnoDB;";
        assert_eq!(fix(&of(true, &["shop"])), create);
        assert_eq!(
            fix(&of(true, &[])),
            format!("CREATE DATABASE IF NOT EXISTS `shop`; {create}")
        );
    }

    #[test]
    fn a_long_list_ends_with_a_count() {
        let differences: Vec<_> = (0..30)
            .map(|n| (name(&format!("t{n}")), Difference::NoKey))
            .collect();
        let all = of_sink(
            &tables(&[]),
            &differences,
            &Definitions::new(),
            &Tables::default(),
            true,
            false,
        );
        assert_eq!(all.len(), TABLES_LISTED_MAX + 1);
        assert_eq!(
            all[TABLES_LISTED_MAX].found,
            "10 further differences between source and sink"
        );
        let many: Vec<String> = (0..7).map(|n| n.to_string()).collect();
        assert_eq!(names(&many), "0, 1, 2, 3, 4 and 2 more");
    }

    #[test]
    fn triggers_are_named_or_said_to_be_hidden() {
        let with = TableFacts {
            triggers: vec!["tr".to_owned()],
            ..good()
        };
        let none = Grants::default();
        let finding = triggers(&tables(&[("a", with)]), &none, "'a'@'%'").unwrap();
        assert_eq!(fix(&finding), "DROP TRIGGER `shop`.`tr`;");
        let finding = triggers(&tables(&[("a", good())]), &none, "'a'@'%'").unwrap();
        assert_eq!(fix(&finding), "GRANT TRIGGER ON `shop`.* TO 'a'@'%';");
        let all = Grants::parse(&["GRANT ALL PRIVILEGES ON *.* TO `a`@`%`"], false);
        let finding = triggers(&tables(&[("a", good())]), &all, "'a'@'%'").unwrap();
        assert_eq!(finding.state, FindingState::Ok);
        assert_eq!(triggers(&tables(&[]), &none, "'a'@'%'"), None);
    }

    #[test]
    fn tables_without_their_rows_are_named() {
        assert_eq!(copies(&[]).state, FindingState::Ok);
        let finding = copies(&[name("a")]);
        assert_eq!(finding.state, FindingState::Warning);
        assert!(finding.found.ends_with("shop.a"), "{}", finding.found);
    }
}
