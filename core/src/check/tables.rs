//! The tables that a pipeline takes, as a server's information_schema describes them.

use std::collections::{BTreeMap, BTreeSet};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, Params, Value};
use towpath_protocol::spec::TableFilter;

use crate::apply::ddl::TableName;
use crate::apply::target::{EXPRESSION, TargetColumn, UniqueIndex, quote_name};

/// Tables whose rows are looked for in one statement.
const TABLES_PER_STATEMENT_MAX: usize = 200;

/// The tables of one server that a filter takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    /// By database and table, as far as our account sees them.
    pub by_name: BTreeMap<(String, String), TableFacts>,
    /// Databases of which the filter could take tables.
    pub databases: BTreeSet<String>,
}

/// A table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableFacts {
    /// Its columns in order.
    pub columns: Vec<ColumnFacts>,
    /// Its storage engine.
    pub engine: String,
    /// Whether that engine has transactions.
    pub transactional: bool,
    /// Whether it has a primary key, or else a unique key without NULLs.
    pub has_key: bool,
    /// Whether it can be read in chunks by such a key.
    pub has_scan_key: bool,
    /// Its unique indexes.
    pub unique: Vec<UniqueIndex>,
    /// Its triggers, as far as our account sees them.
    pub triggers: Vec<String>,
}

/// A column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnFacts {
    /// Name and type.
    pub column: TargetColumn,
    /// Whether an INSERT must name it: NOT NULL without a default.
    pub needs_value: bool,
}

impl Tables {
    /// Reads them.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn read(conn: &mut Conn, filter: &TableFilter) -> Result<Self, Error> {
        let databases: Vec<String> = conn
            .query("SELECT SCHEMA_NAME FROM information_schema.schemata")
            .await?;
        let databases: BTreeSet<String> = databases
            .into_iter()
            .filter(|name| filter.may_match_database(name))
            .collect();
        let mut tables = Self {
            databases,
            ..Self::default()
        };
        if tables.databases.is_empty() {
            return Ok(tables);
        }
        let marks = vec!["?"; tables.databases.len()].join(", ");
        let values: Vec<Value> = tables
            .databases
            .iter()
            .map(|name| Value::from(name.as_str()))
            .collect();
        let in_databases = || Params::Positional(values.clone());

        let rows: Vec<(String, String, Option<String>, bool)> = conn
            .exec(
                format!(
                    "SELECT t.TABLE_SCHEMA, t.TABLE_NAME, t.ENGINE, \
                     t.ENGINE IN (SELECT e.ENGINE FROM information_schema.engines e \
                                  WHERE e.TRANSACTIONS = 'YES') IS TRUE \
                     FROM information_schema.tables t \
                     WHERE t.TABLE_TYPE = 'BASE TABLE' AND t.TABLE_SCHEMA IN ({marks})"
                ),
                in_databases(),
            )
            .await?;
        for (database, table, engine, transactional) in rows {
            if filter.matches(&database, &table) {
                let engine = engine.unwrap_or_default();
                let facts = TableFacts {
                    engine,
                    transactional,
                    ..TableFacts::default()
                };
                tables.by_name.insert((database, table), facts);
            }
        }
        tables.read_columns(conn, &marks, in_databases()).await?;

        type Part = (
            String,
            String,
            String,
            Option<String>,
            Option<u64>,
            Option<String>,
        );
        let parts: Vec<Part> = conn
            .exec(
                format!(
                    "SELECT TABLE_SCHEMA, TABLE_NAME, INDEX_NAME, COLUMN_NAME, SUB_PART, {EXPRESSION} \
                     FROM information_schema.statistics \
                     WHERE NON_UNIQUE = 0 AND TABLE_SCHEMA IN ({marks}) \
                     ORDER BY TABLE_SCHEMA, TABLE_NAME, INDEX_NAME, SEQ_IN_INDEX"
                ),
                in_databases(),
            )
            .await?;
        for (database, table, index, column, prefix, expression) in parts {
            if let Some(table) = tables.by_name.get_mut(&(database, table)) {
                UniqueIndex::add(&mut table.unique, (index, column, prefix, expression));
            }
        }
        for table in tables.by_name.values_mut() {
            let columns: Vec<&TargetColumn> =
                table.columns.iter().map(|facts| &facts.column).collect();
            let any = |is: &dyn Fn(&UniqueIndex) -> bool| table.unique.iter().any(is);
            (table.has_key, table.has_scan_key) = (
                any(&|index| index.is_key(&columns)),
                any(&|index| index.is_scan_key(&columns)),
            );
        }
        let triggers: Vec<(String, String, String)> = conn
            .exec(
                format!(
                    "SELECT EVENT_OBJECT_SCHEMA, EVENT_OBJECT_TABLE, TRIGGER_NAME \
                     FROM information_schema.triggers WHERE EVENT_OBJECT_SCHEMA IN ({marks}) \
                     ORDER BY TRIGGER_NAME"
                ),
                in_databases(),
            )
            .await?;
        for (database, table, trigger) in triggers {
            if let Some(table) = tables.by_name.get_mut(&(database, table)) {
                table.triggers.push(trigger);
            }
        }
        Ok(tables)
    }

    async fn read_columns(
        &mut self,
        conn: &mut Conn,
        marks: &str,
        in_databases: Params,
    ) -> Result<(), Error> {
        type Row = (
            (String, String, String, String, String),
            (Option<String>, Option<String>, String, String, bool),
        );
        let rows: Vec<mysql_async::Row> = conn
            .exec(
                format!(
                    "SELECT TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME, LOWER(DATA_TYPE), \
                     CAST(COLUMN_TYPE AS CHAR), CHARACTER_SET_NAME, COLLATION_NAME, EXTRA, \
                     IS_NULLABLE, COLUMN_DEFAULT IS NOT NULL FROM information_schema.columns \
                     WHERE TABLE_SCHEMA IN ({marks}) \
                     ORDER BY TABLE_SCHEMA, TABLE_NAME, ORDINAL_POSITION"
                ),
                in_databases,
            )
            .await?;
        let read = |row: &mysql_async::Row| -> Option<Row> {
            let text = |at: usize| row.get_opt::<String, _>(at)?.ok();
            let maybe = |at: usize| row.get_opt::<Option<String>, _>(at)?.ok();
            Some((
                (text(0)?, text(1)?, text(2)?, text(3)?, text(4)?),
                (
                    maybe(5)?,
                    maybe(6)?,
                    text(7)?,
                    text(8)?,
                    row.get_opt(9)?.ok()?,
                ),
            ))
        };
        for row in rows.iter().filter_map(read) {
            let (
                (database, table, name, data_type, column_type),
                (charset, collation, extra, nullable, has_default),
            ) = row;
            let Some(facts) = self.by_name.get_mut(&(database, table)) else {
                continue;
            };
            let extra = extra.to_ascii_uppercase();
            let generated =
                extra.contains("VIRTUAL GENERATED") || extra.contains("STORED GENERATED");
            facts.columns.push(ColumnFacts {
                column: TargetColumn {
                    name,
                    data_type,
                    column_type,
                    charset,
                    collation,
                    bytes_max: None,
                    nullable: nullable == "YES",
                    default: None,
                    generated,
                    stamped: extra.contains("ON UPDATE"),
                },
                needs_value: nullable == "NO"
                    && !has_default
                    && !generated
                    && !extra.contains("AUTO_INCREMENT"),
            });
        }
        Ok(())
    }
}

/// Which of these tables have rows; None where our account may not look.
///
/// # Errors
/// Those of the connection.
pub(super) async fn with_rows(
    conn: &mut Conn,
    names: &[TableName],
) -> Result<Option<BTreeSet<usize>>, Error> {
    let mut found = BTreeSet::new();
    for (chunk, names) in names.chunks(TABLES_PER_STATEMENT_MAX).enumerate() {
        let first = chunk * TABLES_PER_STATEMENT_MAX;
        let parts: Vec<String> = names
            .iter()
            .enumerate()
            .map(|(n, name)| format!("(SELECT {} FROM {} LIMIT 1)", first + n, name.quoted()))
            .collect();
        match conn.query::<usize, _>(parts.join(" UNION ALL ")).await {
            Ok(some) => found.extend(some),
            // ER_TABLEACCESS_DENIED_ERROR, ER_COLUMNACCESS_DENIED_ERROR, and a table dropped
            // meanwhile.
            Err(Error::Server(error)) if matches!(error.code, 1142 | 1143 | 1146) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(Some(found))
}

/// A table's definition as the server prints it; None if it can't be seen.
///
/// # Errors
/// Those of the connection.
pub(super) async fn definition(conn: &mut Conn, name: &TableName) -> Result<Option<String>, Error> {
    let row: Result<Option<(String, String)>, Error> = conn
        .query_first(format!("SHOW CREATE TABLE {}", name.quoted()))
        .await;
    match row {
        Ok(row) => Ok(row.map(|(_, definition)| definition)),
        Err(Error::Server(error)) if matches!(error.code, 1142 | 1146) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The statement that creates a table elsewhere, in one line; in InnoDB if its engine has no
/// transactions. The server breaks lines only between the parts of a definition; in its strings it
/// writes them as `\n`.
pub(super) fn create_statement(name: &TableName, definition: &str, transactional: bool) -> String {
    let mut statement = format!("CREATE TABLE {} (", name.quoted());
    for line in definition.lines().skip(1) {
        let line = line.trim();
        match line.strip_prefix(") ENGINE=") {
            Some(options) => statement.push_str(&table_options(options, transactional)),
            None => {
                if !statement.ends_with('(') {
                    statement.push(' ');
                }
                statement.push_str(line);
            }
        }
    }
    statement
}

/// The end of a definition, from the engine on, without the counter of AUTO_INCREMENT. Both come
/// before anything that is quoted.
fn table_options(options: &str, transactional: bool) -> String {
    let (engine, rest) = options.split_once(' ').unwrap_or((options, ""));
    let engine = if transactional { engine } else { "InnoDB" };
    let rest = match rest.strip_prefix("AUTO_INCREMENT=") {
        Some(rest) => rest.split_once(' ').map_or("", |(_, rest)| rest),
        None => rest,
    };
    format!(") ENGINE={engine} {rest}").trim_end().to_owned()
}

/// The definition of one column, as ALTER TABLE takes it: its character set and collation are
/// spelled out, since the default of another table may differ.
pub(super) fn column_definition(definition: &str, column: &TargetColumn) -> Option<String> {
    let head = format!("  {} ", quote_name(&column.name));
    let line = definition
        .lines()
        .find_map(|line| line.strip_prefix(&head))?;
    let line = line.strip_suffix(',').unwrap_or(line);
    let (Some(charset), Some(collation)) = (&column.charset, &column.collation) else {
        return Some(format!("{} {line}", quote_name(&column.name)));
    };
    let mut rest = line.strip_prefix(&column.column_type)?;
    for word in ["CHARACTER SET", "COLLATE"] {
        if let Some(after) = rest.strip_prefix(&format!(" {word} ")) {
            rest = after.find(' ').and_then(|at| after.get(at..)).unwrap_or("");
        }
    }
    Some(format!(
        "{} {} CHARACTER SET {charset} COLLATE {collation}{rest}",
        quote_name(&column.name),
        column.column_type
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFINITION: &str = "CREATE TABLE `orders` (\n  `id` int NOT NULL AUTO_INCREMENT,\n  \
        `note` varchar(200) DEFAULT 'a\\nb, ( c ) ENGINE=' COMMENT 'x',\n  \
        `code` char(3) CHARACTER SET latin1 COLLATE latin1_bin NOT NULL,\n  \
        PRIMARY KEY (`id`)\n) ENGINE=InnoDB AUTO_INCREMENT=9 DEFAULT CHARSET=utf8mb4 \
        COLLATE=utf8mb4_0900_ai_ci";

    fn column(name: &str, column_type: &str, text: Option<(&str, &str)>) -> TargetColumn {
        TargetColumn {
            name: name.to_owned(),
            data_type: String::new(),
            column_type: column_type.to_owned(),
            charset: text.map(|(charset, _)| charset.to_owned()),
            collation: text.map(|(_, collation)| collation.to_owned()),
            bytes_max: None,
            nullable: true,
            default: None,
            generated: false,
            stamped: false,
        }
    }

    #[test]
    fn a_table_is_created_by_one_line() {
        let name = TableName {
            database: "shop".to_owned(),
            table: "orders".to_owned(),
        };
        assert_eq!(
            create_statement(&name, DEFINITION, true),
            "CREATE TABLE `shop`.`orders` (`id` int NOT NULL AUTO_INCREMENT, \
             `note` varchar(200) DEFAULT 'a\\nb, ( c ) ENGINE=' COMMENT 'x', \
             `code` char(3) CHARACTER SET latin1 COLLATE latin1_bin NOT NULL, \
             PRIMARY KEY (`id`)) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_0900_ai_ci"
        );
        let definition = "CREATE TABLE `log` (\n  `a` int\n) ENGINE=MyISAM";
        let created = create_statement(&name, definition, false);
        assert_eq!(
            created,
            "CREATE TABLE `shop`.`orders` (`a` int) ENGINE=InnoDB"
        );
    }

    #[test]
    fn a_columns_definition_says_its_character_set() {
        let of = |column: TargetColumn| column_definition(DEFINITION, &column);
        assert_eq!(
            of(column("id", "int", None)).unwrap(),
            "`id` int NOT NULL AUTO_INCREMENT"
        );
        assert_eq!(
            of(column(
                "note",
                "varchar(200)",
                Some(("utf8mb4", "utf8mb4_0900_ai_ci"))
            ))
            .unwrap(),
            "`note` varchar(200) CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_ai_ci \
             DEFAULT 'a\\nb, ( c ) ENGINE=' COMMENT 'x'"
        );
        assert_eq!(
            of(column("code", "char(3)", Some(("latin1", "latin1_bin")))).unwrap(),
            "`code` char(3) CHARACTER SET latin1 COLLATE latin1_bin NOT NULL"
        );
        assert_eq!(of(column("gone", "int", None)), None);
    }
}
