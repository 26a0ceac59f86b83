//! What the sink's definitions of tables, views and databases tell about a statement: on a sink
//! without GTIDs, whether it ran.

use std::collections::HashMap;

use mysql_async::Row;
use sha2::{Digest, Sha256};

use crate::apply::ddl::{ObjectName, TableName, Trace};
use crate::apply::target::quote_name;
use crate::commit::SinkError;
use crate::commit::session::Session;

/// The definition of a view whose tables are gone (ER_VIEW_INVALID).
const INVALID_VIEW: &str = "invalid view";

/// The present definitions of objects, in their order; empty for what doesn't exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definitions {
    objects: Vec<(ObjectName, String)>,
}

impl Definitions {
    /// Reads them; `AUTO_INCREMENT` counters don't count.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn read(
        session: &mut Session,
        objects: &[ObjectName],
    ) -> Result<Definitions, SinkError> {
        let mut read = Vec::with_capacity(objects.len());
        for object in objects {
            let sql = match object {
                ObjectName::Table(table) => format!("SHOW CREATE TABLE {}", table.quoted()),
                ObjectName::Database(name) => {
                    format!("SHOW CREATE DATABASE {}", quote_name(name))
                }
            };
            // A table has two columns here, a view four.
            let definition = match session.first::<Row>("read a definition", &sql).await {
                Ok(row) => row
                    .and_then(|row| row.get_opt::<String, _>(1))
                    .and_then(Result::ok)
                    .unwrap_or_default(),
                // ER_BAD_DB_ERROR, ER_NO_SUCH_TABLE: absent is a definition too.
                Err(SinkError::Server {
                    code: 1049 | 1146, ..
                }) => String::new(),
                Err(SinkError::Server { code: 1356, .. }) => INVALID_VIEW.to_owned(),
                Err(error) => return Err(error),
            };
            read.push((object.clone(), without_auto_increment(&definition)));
        }
        Ok(Definitions { objects: read })
    }

    /// A digest of them all, in hexadecimal.
    pub fn fingerprint(&self) -> String {
        let mut digest = Sha256::new();
        for (_, definition) in &self.objects {
            digest.update(definition.as_bytes());
            digest.update([0]);
        }
        let bytes = digest.finalize();
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Whether these would be the same after a statement that leaves such a trace, and the rows
    /// not.
    pub fn hide(&self, trace: &Trace) -> bool {
        match trace {
            Trace::Definitions => false,
            Trace::None => true,
            Trace::Renames(pairs) => self.same_after(pairs),
        }
    }

    fn same_after(&self, pairs: &[(TableName, TableName)]) -> bool {
        let before: HashMap<&TableName, String> = self
            .objects
            .iter()
            .filter_map(|(object, definition)| match object {
                ObjectName::Table(name) => Some((name, without_own_name(definition, &name.table))),
                ObjectName::Database(_) => None,
            })
            .collect();
        let mut after = before.clone();
        for (from, to) in pairs {
            let moved = after.insert(from, String::new()).unwrap_or_default();
            after.insert(to, moved);
        }
        after == before
    }
}

/// Cuts ` AUTO_INCREMENT=n` out of the table options.
fn without_auto_increment(definition: &str) -> String {
    let Some(options) = definition.rfind("\n)") else {
        return definition.to_owned();
    };
    let (columns, options) = definition.split_at(options);
    let mut out = columns.to_owned();
    for (n, word) in options.split(' ').enumerate() {
        if !word.starts_with("AUTO_INCREMENT=") {
            if n > 0 {
                out.push(' ');
            }
            out.push_str(word);
        }
    }
    out
}

/// Takes a table's own name out of its definition, where the server writes it and RENAME changes
/// it: behind CREATE TABLE, and in the names that it gives to foreign keys and checks.
fn without_own_name(definition: &str, table: &str) -> String {
    let quoted = quote_name(table);
    let prefix = quoted.strip_suffix('`').unwrap_or(&quoted);
    definition
        .replacen(&format!("TABLE {quoted}"), "TABLE", 1)
        .replace(&format!("CONSTRAINT {prefix}_ibfk_"), "CONSTRAINT `_ibfk_")
        .replace(&format!("CONSTRAINT {prefix}_chk_"), "CONSTRAINT `_chk_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_increment_is_no_part_of_a_definition() {
        let with = "CREATE TABLE `t` (\n  `a` int NOT NULL AUTO_INCREMENT,\n  PRIMARY KEY (`a`)\n) ENGINE=InnoDB AUTO_INCREMENT=17 DEFAULT CHARSET=utf8mb4";
        let without = "CREATE TABLE `t` (\n  `a` int NOT NULL AUTO_INCREMENT,\n  PRIMARY KEY (`a`)\n) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4";
        assert_eq!(without_auto_increment(with), without);
        assert_eq!(without_auto_increment(without), without);
    }

    fn name(table: &str) -> TableName {
        TableName {
            database: "d".into(),
            table: table.into(),
        }
    }

    fn definitions(tables: &[(&str, &str)]) -> Definitions {
        Definitions {
            objects: tables
                .iter()
                .map(|(table, definition)| {
                    (ObjectName::Table(name(table)), (*definition).to_owned())
                })
                .collect(),
        }
    }

    fn renames(pairs: &[(&str, &str)]) -> Trace {
        Trace::Renames(
            pairs
                .iter()
                .map(|(from, to)| (name(from), name(to)))
                .collect(),
        )
    }

    #[test]
    fn only_a_swap_of_equal_tables_leaves_no_trace() {
        let a = "CREATE TABLE `a` (\n  `x` int,\n  CONSTRAINT `a_ibfk_1` FOREIGN KEY (`x`) REFERENCES `p` (`x`)\n)";
        let b = "CREATE TABLE `b` (\n  `x` int,\n  CONSTRAINT `b_ibfk_1` FOREIGN KEY (`x`) REFERENCES `p` (`x`)\n)";
        let other = "CREATE TABLE `b` (\n  `x` bigint\n)";
        let swap = renames(&[("a", "t"), ("b", "a"), ("t", "b")]);
        assert!(definitions(&[("a", a), ("t", ""), ("b", b)]).hide(&swap));
        assert!(!definitions(&[("a", a), ("t", ""), ("b", other)]).hide(&swap));
        // As gh-ost does it: the ghost is gone afterwards, and the old table is there.
        let swap = renames(&[("a", "old"), ("b", "a")]);
        assert!(!definitions(&[("a", a), ("old", ""), ("b", b)]).hide(&swap));
        let there_and_back = renames(&[("a", "b"), ("b", "a")]);
        assert!(definitions(&[("a", a), ("b", "")]).hide(&there_and_back));
        assert!(definitions(&[("a", a), ("b", b)]).hide(&Trace::None));
        assert!(!definitions(&[("a", a)]).hide(&Trace::Definitions));
    }
}
