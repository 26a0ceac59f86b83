//! Which tables a pipeline takes: globs over `database.table`.
//!
//! A table is taken if some include matches and no exclude does; order means nothing. Names are
//! compared exactly, case included. Schemas of the server's own, and Towpath's, are never taken,
//! whatever the rules say.

use std::fmt;
use std::str::{Chars, FromStr};

/// Schemas that are never replicated: the server's own, and the one that holds the place.
pub const SYSTEM_SCHEMAS: [&str; 5] = [
    "mysql",
    "sys",
    "information_schema",
    "performance_schema",
    "towpath",
];

/// One rule: `database.table` with `*` (any characters) and `?` (one character), `!` before an
/// exclude. Neither glob reaches over the dot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableRule {
    exclude: bool,
    database: String,
    table: String,
}

/// Rules that say which tables are taken; at least one includes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableFilter {
    rules: Vec<TableRule>,
}

/// Why rules can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableFilterError {
    /// A rule without a dot, or with nothing on one side of it.
    #[error(
        "{rule:?} is not database.table; write {hint:?} for every table of a database, \
         or name the table after a dot"
    )]
    NoDot {
        /// The rule as given.
        rule: String,
        /// How to write it for a whole database.
        hint: String,
    },
    /// A rule with more than one dot.
    #[error("{rule:?} has more than one dot; write database.table, and \"?\" for a dot in a name")]
    Dots {
        /// The rule as given.
        rule: String,
    },
    /// Quotes around a name.
    #[error("{rule:?} has quotes in it; write the names without")]
    Quoted {
        /// The rule as given.
        rule: String,
    },
    /// An include of a schema that is never replicated.
    #[error("{rule:?} includes a system schema, which is never replicated; remove the rule")]
    System {
        /// The rule as given.
        rule: String,
    },
    /// Only excludes, or no rule at all.
    #[error("no rule includes a table; add one without \"!\", as in \"shop.*\" or \"*.*\"")]
    NoInclude,
}

impl FromStr for TableRule {
    type Err = TableFilterError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rule = || text.to_owned();
        let (exclude, name) = match text.trim().strip_prefix('!') {
            Some(name) => (true, name.trim_start()),
            None => (false, text.trim()),
        };
        let mark = if exclude { "!" } else { "" };
        let Some((database, table)) = name.split_once('.') else {
            let database = if name.is_empty() { "*" } else { name };
            return Err(TableFilterError::NoDot {
                rule: rule(),
                hint: format!("{mark}{database}.*"),
            });
        };
        if database.is_empty() || table.is_empty() {
            let database = if database.is_empty() { "*" } else { database };
            return Err(TableFilterError::NoDot {
                rule: rule(),
                hint: format!("{mark}{database}.*"),
            });
        }
        if table.contains('.') {
            return Err(TableFilterError::Dots { rule: rule() });
        }
        if name.contains(['`', '"', '\'']) {
            return Err(TableFilterError::Quoted { rule: rule() });
        }
        if !exclude && SYSTEM_SCHEMAS.contains(&database) {
            return Err(TableFilterError::System { rule: rule() });
        }
        Ok(Self {
            exclude,
            database: database.into(),
            table: table.into(),
        })
    }
}

impl TableFilter {
    /// A filter of these rules.
    ///
    /// # Errors
    /// `TableFilterError::NoInclude` when nothing could ever be taken.
    pub fn new(rules: Vec<TableRule>) -> Result<Self, TableFilterError> {
        if rules.iter().all(|rule| rule.exclude) {
            return Err(TableFilterError::NoInclude);
        }
        Ok(Self { rules })
    }

    /// A filter of rules as written in a pipeline file.
    ///
    /// # Errors
    /// The first rule that is wrong, or `NoInclude`.
    pub fn parse<S: AsRef<str>>(rules: &[S]) -> Result<Self, TableFilterError> {
        let rules = rules
            .iter()
            .map(|rule| rule.as_ref().parse())
            .collect::<Result<_, _>>()?;
        Self::new(rules)
    }

    /// Is this table taken?
    pub fn matches(&self, database: &str, table: &str) -> bool {
        let hit = |rule: &&TableRule| glob(&rule.database, database) && glob(&rule.table, table);
        !SYSTEM_SCHEMAS.contains(&database)
            && self.rules.iter().filter(hit).any(|rule| !rule.exclude)
            && !self.rules.iter().filter(hit).any(|rule| rule.exclude)
    }

    /// Could any table of this database be taken? Never wrongly `false`; `true` for nothing only
    /// where several excludes cover a database together.
    pub fn may_match_database(&self, database: &str) -> bool {
        let hit = |rule: &&TableRule| glob(&rule.database, database);
        !SYSTEM_SCHEMAS.contains(&database)
            && self.rules.iter().filter(hit).any(|rule| !rule.exclude)
            && !self
                .rules
                .iter()
                .filter(hit)
                .any(TableRule::excludes_every_table)
    }

    /// Is every table of this database taken, whatever its name? Never wrongly `true`; `false` for
    /// all of it only where several includes cover a database together.
    pub fn takes_whole_database(&self, database: &str) -> bool {
        let hit = |rule: &&TableRule| glob(&rule.database, database);
        !SYSTEM_SCHEMAS.contains(&database)
            && self
                .rules
                .iter()
                .filter(hit)
                .any(|rule| !rule.exclude && rule.table.chars().all(|char| char == '*'))
            && !self.rules.iter().filter(hit).any(|rule| rule.exclude)
    }
}

impl TableRule {
    fn excludes_every_table(&self) -> bool {
        self.exclude && self.table.chars().all(|char| char == '*')
    }
}

impl fmt::Display for TableRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.exclude { "!" } else { "" };
        write!(f, "{mark}{}.{}", self.database, self.table)
    }
}

impl fmt::Display for TableFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for rule in &self.rules {
            write!(f, "{separator}{rule}")?;
            separator = ", ";
        }
        Ok(())
    }
}

/// Does the pattern match the whole text? Goes back only to the last star: at most
/// pattern × text steps.
fn glob(pattern: &str, text: &str) -> bool {
    let (mut pattern, mut text) = (pattern.chars(), text.chars());
    // Where to go on when the text after a star doesn't fit: the star takes one character more.
    let mut retry: Option<(Chars<'_>, Chars<'_>)> = None;
    loop {
        let (mut next_pattern, mut next_text) = (pattern.clone(), text.clone());
        match (next_pattern.next(), next_text.next()) {
            (Some('*'), _) => {
                retry = Some((next_pattern.clone(), text.clone()));
                pattern = next_pattern;
            }
            (Some(wanted), Some(found)) if wanted == '?' || wanted == found => {
                (pattern, text) = (next_pattern, next_text);
            }
            (None, None) => return true,
            _ => {
                let Some((after_star, from)) = &mut retry else {
                    return false;
                };
                if from.next().is_none() {
                    return false;
                }
                (pattern, text) = (after_star.clone(), from.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn naive(pattern: &[char], text: &[char]) -> bool {
        match (pattern, text) {
            ([], []) => true,
            (['*', rest @ ..], _) => {
                naive(rest, text) || !text.is_empty() && naive(pattern, &text[1..])
            }
            (['?', rest @ ..], [_, tail @ ..]) => naive(rest, tail),
            ([a, rest @ ..], [b, tail @ ..]) => a == b && naive(rest, tail),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn globs_agree_with_the_naive_matcher(pattern in "[ab*?é]{0,8}", text in "[abé*]{0,10}") {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            prop_assert_eq!(glob(&pattern, &text), naive(&chars(&pattern), &chars(&text)));
        }

        #[test]
        fn a_database_of_a_taken_table_may_match(
            rules in prop::collection::vec("!?[ab*?]{1,3}\\.[ab*?]{1,3}", 1..5),
            database in "[ab]{1,3}", table in "[ab]{1,3}",
        ) {
            if let Ok(filter) = TableFilter::parse(&rules) && filter.matches(&database, &table) {
                prop_assert!(filter.may_match_database(&database));
            }
            if let Ok(filter) = TableFilter::parse(&rules) && filter.takes_whole_database(&database) {
                prop_assert!(filter.matches(&database, &table));
            }
        }

        #[test]
        fn garbage_never_panics(rule in ".{0,20}") {
            if let Ok(rule) = rule.parse::<TableRule>() {
                prop_assert_eq!(rule.to_string().parse::<TableRule>(), Ok(rule));
            }
        }
    }

    #[test]
    fn includes_minus_excludes() {
        let filter = TableFilter::parse(&["!shop.audit_*", "shop.*", "crm?.t", "! old.*"]).unwrap();
        assert_eq!(filter.to_string(), "!shop.audit_*, shop.*, crm?.t, !old.*");
        for (database, table, taken) in [
            ("shop", "orders", true),
            ("shop", "audit_log", false),
            ("shop", "auditlog", true),
            ("Shop", "orders", false),
            ("shops", "orders", false),
            ("crm1", "t", true),
            ("crm1", "T", false),
            ("crm", "t", false),
            ("old", "t", false),
        ] {
            assert_eq!(filter.matches(database, table), taken, "{database}.{table}");
        }
        assert!(filter.may_match_database("shop"));
        for (database, whole) in [("shop", false), ("crm1", false), ("old", false)] {
            assert_eq!(filter.takes_whole_database(database), whole, "{database}");
        }
        let filter = TableFilter::parse(&["*.*", "!shop.x"]).unwrap();
        assert!(filter.takes_whole_database("crm") && !filter.takes_whole_database("shop"));
        assert!(!filter.takes_whole_database("mysql"));
        assert!(filter.may_match_database("crm9"));
        assert!(!filter.may_match_database("old"));
        assert!(!filter.may_match_database("other"));
    }

    #[test]
    fn system_schemas_are_never_taken() {
        let filter = TableFilter::parse(&["*.*"]).unwrap();
        assert!(filter.matches("mysql2", "user"));
        for schema in SYSTEM_SCHEMAS {
            assert!(!filter.matches(schema, "user"));
            assert!(!filter.may_match_database(schema));
        }
    }

    #[test]
    fn an_exclude_of_a_whole_database_rules_it_out() {
        let filter = TableFilter::parse(&["*.*", "!tmp*.**"]).unwrap();
        assert!(!filter.may_match_database("tmp1"));
        assert!(filter.may_match_database("t"));
    }

    #[test]
    fn bad_rules_show_how_to_write_them() {
        for (rule, message) in [
            (
                "shop",
                "\"shop\" is not database.table; write \"shop.*\" for every table of a \
                      database, or name the table after a dot",
            ),
            (
                "!shop",
                "\"!shop\" is not database.table; write \"!shop.*\" for every table of a \
                       database, or name the table after a dot",
            ),
            (
                "*",
                "\"*\" is not database.table; write \"*.*\" for every table of a database, \
                   or name the table after a dot",
            ),
            (
                "",
                "\"\" is not database.table; write \"*.*\" for every table of a database, \
                  or name the table after a dot",
            ),
            (
                "shop.",
                "\"shop.\" is not database.table; write \"shop.*\" for every table of a \
                       database, or name the table after a dot",
            ),
            (
                "a.b.c",
                "\"a.b.c\" has more than one dot; write database.table, and \"?\" for a \
                       dot in a name",
            ),
            (
                "`a`.b",
                "\"`a`.b\" has quotes in it; write the names without",
            ),
            (
                "mysql.*",
                "\"mysql.*\" includes a system schema, which is never replicated; \
                         remove the rule",
            ),
            (
                "!a.*",
                "no rule includes a table; add one without \"!\", as in \"shop.*\" or \
                      \"*.*\"",
            ),
        ] {
            assert_eq!(
                TableFilter::parse(&[rule]).unwrap_err().to_string(),
                message
            );
        }
    }
}
