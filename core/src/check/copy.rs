//! What a first copy needs of its source beside what a stream needs, as findings. Pure: what the
//! copy itself would say, before it's begun. (Whole rows are `source::preflight`'s to judge.)

use towpath_protocol::code;
use towpath_protocol::spec::SnapshotSpec;

use super::finding::{Finding, FindingState, Fix};
use super::grants::Grants;
use super::table_findings::names;
use super::tables::{TableFacts, Tables};
use crate::apply::ddl::TableName;
use crate::pipeline::snapshot::{KEYLESS_ADVICE, is_allowed_keyless};
use crate::source::SourceFacts;

/// The findings about the source's tables.
pub(super) fn of_source(
    facts: &SourceFacts,
    tables: &Tables,
    settings: &SnapshotSpec,
) -> Vec<Finding> {
    let keyless = |is_wanted: &dyn Fn(&TableName) -> bool| -> Vec<TableName> {
        let named = |((database, table), facts): (&(String, String), &TableFacts)| {
            let name = TableName {
                database: database.clone(),
                table: table.clone(),
            };
            (!facts.has_scan_key && is_wanted(&name)).then_some(name)
        };
        tables.by_name.iter().filter_map(named).collect()
    };
    let is_allowed = |name: &TableName| is_allowed_keyless(settings, &name.database, &name.table);
    let (allowed, refused) = (
        keyless(&is_allowed),
        keyless(&|name: &TableName| !is_allowed(name)),
    );
    let mut all = vec![keys(&allowed, &refused)];
    all.extend(locks(facts, &allowed));
    all
}

fn listed(tables: &[TableName]) -> String {
    let all: Vec<String> = tables.iter().map(ToString::to_string).collect();
    names(&all)
}

fn keys(allowed: &[TableName], refused: &[TableName]) -> Finding {
    Finding::new(
        "every table can be copied in chunks, by a key (snapshot)",
        FindingState::ok_if(refused.is_empty(), FindingState::Failed),
        match (refused, allowed) {
            ([], []) => "yes".to_owned(),
            ([], allowed) => format!("all but {}, which may be copied whole", listed(allowed)),
            (refused, _) => format!("not {}", listed(refused)),
        },
        Fix::hand(KEYLESS_ADVICE),
    )
    .code(code::COPY_KEYLESS)
    .why(
        "a key is a primary one, or a unique one without NULLs, prefixes, expressions, generated \
         columns and FLOATs",
    )
}

/// About tables that are copied without a key.
fn locks(facts: &SourceFacts, tables: &[TableName]) -> Option<Finding> {
    if tables.is_empty() {
        return None;
    }
    let grants = Grants::parse(&facts.grants, facts.variable("partial_revokes") == "ON");
    let mut denied: Vec<&str> = tables
        .iter()
        .filter(|name| {
            !grants.has_on_schema("LOCK TABLES", &name.database)
                || !grants.has_on_table("SELECT", &name.database, &name.table)
        })
        .map(|name| name.database.as_str())
        .collect();
    denied.dedup();
    let grant: Vec<String> = denied
        .iter()
        .map(|database| {
            let database = grants.quote_schema(database);
            format!(
                "GRANT SELECT, LOCK TABLES ON {database}.* TO {}",
                facts.account
            )
        })
        .collect();
    let finding = Finding::new(
        "the account may lock tables without a key against writes (LOCK TABLES)",
        FindingState::ok_if(denied.is_empty(), FindingState::Failed),
        match denied.is_empty() {
            true => "granted".to_owned(),
            false => format!("not granted for {}", denied.join(", ")),
        },
        Fix::sql(grant.join("; ")),
    );
    let finding = finding.code(code::SOURCE_PRIVILEGE);
    Some(finding.why("for the moment of which such a table is copied"))
}

/// About tables whose rows change with those of another table, without being logged.
pub(super) fn cascades(cascading: &[String]) -> Finding {
    Finding::new(
        "all rows that foreign keys change are in the binlog",
        FindingState::ok_if(cascading.is_empty(), FindingState::Failed),
        match cascading.is_empty() {
            true => "yes".to_owned(),
            false => format!("not those of {}", names(cascading)),
        },
        Fix::hand(
            "leave these tables out, copy by other means with snapshot = \"never\", or replicate \
             from MySQL 9.6 or later (innodb_native_foreign_keys = OFF)",
        ),
    )
    .code(code::COPY_CASCADES)
    .why("such rows would be lost to a copy that is under way")
}

#[cfg(test)]
mod tests {
    use towpath_protocol::spec::TableFilter;

    use super::*;

    fn source(grants: &[&str]) -> SourceFacts {
        let mut facts = SourceFacts::default();
        facts.account = "'repl'@'%'".to_owned();
        facts.grants = grants.iter().map(|grant| (*grant).to_owned()).collect();
        facts
    }

    fn tables(some: &[(&str, &str, bool)]) -> Tables {
        let facts = |has_scan_key| TableFacts {
            has_key: true,
            has_scan_key,
            ..TableFacts::default()
        };
        let by_name = some
            .iter()
            .map(|(database, table, has_scan_key)| {
                let name = ((*database).to_owned(), (*table).to_owned());
                (name, facts(*has_scan_key))
            })
            .collect();
        Tables {
            by_name,
            ..Tables::default()
        }
    }

    fn allowing(tables: &[&str]) -> SnapshotSpec {
        SnapshotSpec {
            allow_keyless: Some(TableFilter::parse(tables).unwrap()),
            ..SnapshotSpec::default()
        }
    }

    #[test]
    fn a_table_without_a_key_is_refused_unless_it_is_named() {
        let all = tables(&[
            ("shop", "log", false),
            ("shop", "orders", true),
            ("shop", "queue", false),
        ]);
        let granted = source(&["GRANT SELECT, LOCK TABLES ON `shop`.* TO `repl`@`%`"]);
        let of = |settings: &SnapshotSpec| -> Vec<_> {
            let found = of_source(&granted, &all, settings).into_iter();
            found
                .map(|finding| (finding.state, finding.found, finding.code))
                .collect()
        };
        use FindingState::{Failed, Ok};
        let keyless = Some(code::COPY_KEYLESS);
        assert_eq!(
            of(&SnapshotSpec::default()),
            [(Failed, "not shop.log, shop.queue".to_owned(), keyless)]
        );
        assert_eq!(
            of(&allowing(&["shop.log"])),
            [
                (Failed, "not shop.queue".to_owned(), keyless),
                (Ok, "granted".to_owned(), None),
            ]
        );
        let whole = "all but shop.log, shop.queue, which may be copied whole".to_owned();
        assert_eq!(
            of(&allowing(&["shop.*"])),
            [(Ok, whole, None), (Ok, "granted".to_owned(), None)]
        );
    }

    #[test]
    fn a_table_is_locked_only_with_the_privileges_for_it() {
        let all = tables(&[("a_b", "log", false), ("c", "log", false)]);
        let fix = |grants: &[&str]| {
            let found = of_source(&source(grants), &all, &allowing(&["*.*"]));
            let fix = found.last().unwrap().fix.clone();
            fix.map(|fix| fix.to_string()).unwrap_or_default()
        };
        assert_eq!(fix(&["GRANT SELECT, LOCK TABLES ON *.* TO `repl`@`%`"]), "");
        assert_eq!(
            fix(&[
                "GRANT SELECT ON *.* TO `repl`@`%`",
                "GRANT LOCK TABLES ON `c`.* TO `repl`@`%`"
            ]),
            "GRANT SELECT, LOCK TABLES ON `a\\_b`.* TO 'repl'@'%';"
        );
        assert_eq!(
            fix(&["GRANT LOCK TABLES ON *.* TO `repl`@`%`"]),
            "GRANT SELECT, LOCK TABLES ON `a\\_b`.* TO 'repl'@'%'; \
             GRANT SELECT, LOCK TABLES ON `c`.* TO 'repl'@'%';"
        );
    }

    #[test]
    fn cascades_that_are_not_logged_are_refused() {
        assert_eq!(cascades(&[]).state, FindingState::Ok);
        let finding = cascades(&["shop.items".to_owned()]);
        assert_eq!(
            (finding.state, &*finding.found, finding.code),
            (
                FindingState::Failed,
                "not those of shop.items",
                Some(code::COPY_CASCADES)
            )
        );
    }
}
