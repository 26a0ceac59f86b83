//! Makes the tables that the sink lacks, as they are at the source.
//!
//! - A definition is the source's own (`SHOW CREATE TABLE`): generated and invisible columns,
//!   partitions, comments, foreign keys and the counter of AUTO_INCREMENT are kept. An engine
//!   without transactions becomes InnoDB. Where a file or a tablespace is refused by the sink, the
//!   table goes without.
//! - Triggers and events aren't made: what they did at the source is in the binlog. Neither are
//!   views.
//! - Foreign keys aren't checked meanwhile, so that the order of tables doesn't matter.
//! - Each statement says IF NOT EXISTS: after a crash it's done again. A table that is there is
//!   compared by `check`'s own rules instead, and refused if it can't take the source's rows.
//!
//! Statements are read and run with the same sql_mode as far as it changes what a text means, and
//! without NO_ZERO_DATE and its kin, under which the source's own definition could be refused.

use std::collections::{BTreeMap, BTreeSet};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};
use towpath_protocol::code::{self, Code};
use towpath_protocol::spec::TableFilter;

use super::ScanError;
use crate::apply::ddl::TableName;
use crate::apply::target::quote_name;
use crate::check::compare::{Difference, describe, differences};
use crate::check::tables::Tables;
use crate::commit::code_of_driver;
use crate::commit::session::SQL_MODE;
use crate::source::{Retry, retry_of_driver};

/// A table that can't be made, or one that is there and can't take the source's rows.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// The source's definitions can't be read.
    #[error(transparent)]
    Read(#[from] ScanError),
    /// A statement on the sink failed.
    #[error(
        "the sink: cannot {doing}: {cause}; see its error log, and whether a proxy is in between"
    )]
    Sink {
        /// What was tried.
        doing: &'static str,
        /// The driver's error.
        #[source]
        cause: Box<mysql_async::Error>,
    },
    /// The sink refuses a definition.
    #[error(
        "the sink refuses to create {object}: {cause}; create it there by hand, as SHOW CREATE at the source \
         says, or leave it out"
    )]
    Refused {
        /// The database or the table.
        object: String,
        /// The server's error.
        #[source]
        cause: Box<mysql_async::Error>,
    },
    /// A table that is there differs.
    #[error("table {table} is on the sink, but {detail}")]
    Differs {
        /// The table.
        table: TableName,
        /// How, and what to do.
        detail: String,
        /// What kind of difference.
        code: Code,
    },
}

impl CreateError {
    /// The error's code.
    pub fn code(&self) -> Code {
        match self {
            Self::Read(error) => error.code(),
            Self::Sink { cause, .. } => code_of_driver(cause),
            Self::Refused { .. } => code::DDL_REFUSED,
            Self::Differs { code, .. } => *code,
        }
    }

    /// Whether trying again can help.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Read(error) => error.retry(),
            Self::Sink { cause, .. } | Self::Refused { cause, .. } => retry_of_driver(cause).0,
            Self::Differs { .. } => Retry::Stop,
        }
    }

    fn sink(doing: &'static str) -> impl Fn(mysql_async::Error) -> Self {
        move |cause| Self::Sink {
            doing,
            cause: Box::new(cause),
        }
    }
}

/// What the tables that a filter takes are like at the source.
#[derive(Clone, Debug)]
pub struct Definitions {
    filter: TableFilter,
    tables: Tables,
    /// `CREATE TABLE` as the source prints it.
    statements: BTreeMap<TableName, String>,
    /// `CREATE DATABASE` of those that have such a table.
    databases: BTreeMap<String, String>,
    /// The collation that `utf8mb4` alone means.
    utf8mb4: Option<String>,
}

impl Definitions {
    /// Reads them, in a session made by [`super::prepare`]. A table that is dropped meanwhile is
    /// left out.
    ///
    /// # Errors
    /// [`CreateError::Read`].
    pub async fn read(source: &mut Conn, filter: &TableFilter) -> Result<Self, CreateError> {
        let failed = |cause| ScanError::sql("", "read the definitions", cause);
        let tables = Tables::read(source, filter).await.map_err(failed)?;
        let utf8mb4 = default_collation(source).await.map_err(failed)?;
        let mut all = Self {
            filter: filter.clone(),
            tables,
            statements: BTreeMap::new(),
            databases: BTreeMap::new(),
            utf8mb4,
        };
        let names: Vec<(String, String)> = all.tables.by_name.keys().cloned().collect();
        for (database, table) in names {
            let name = TableName { database, table };
            let show = format!("SHOW CREATE TABLE {}", name.quoted());
            match show_create(source, &show).await.map_err(failed)? {
                Some(statement) => {
                    all.statements.insert(name, statement);
                }
                None => {
                    let gone = (name.database, name.table);
                    all.tables.by_name.remove(&gone);
                }
            }
        }
        let databases: BTreeSet<&String> =
            all.statements.keys().map(|name| &name.database).collect();
        for database in databases {
            let show = format!("SHOW CREATE DATABASE {}", quote_name(database));
            if let Some(statement) = show_create(source, &show).await.map_err(failed)? {
                all.databases.insert(database.clone(), statement);
            }
        }
        Ok(all)
    }

    /// The tables, in the order of their names.
    pub fn tables(&self) -> impl Iterator<Item = &TableName> {
        self.statements.keys()
    }

    /// What they are like.
    pub fn facts(&self) -> &Tables {
        &self.tables
    }

    /// Whether nothing but counters of AUTO_INCREMENT changed between two readings: then what was read is the
    /// state of any moment between them, whose place in the binlog a copy may start at.
    pub fn is_same(&self, other: &Self) -> bool {
        let counted_out = |statements: &BTreeMap<TableName, String>| -> Vec<(TableName, String)> {
            statements
                .iter()
                .map(|(name, text)| (name.clone(), without_counter(text)))
                .collect()
        };
        self.databases == other.databases
            && counted_out(&self.statements) == counted_out(&other.statements)
    }

    /// Creates what the sink lacks, and compares what it has; answers the tables that it made. The
    /// session is afterwards as it was before, unless an error is answered.
    ///
    /// # Errors
    /// [`CreateError::Sink`], [`CreateError::Refused`], [`CreateError::Differs`].
    pub async fn create(&self, sink: &mut Conn) -> Result<Vec<TableName>, CreateError> {
        let restore = self.enter_session(sink).await?;
        let read = CreateError::sink("read the definitions");
        let present = Tables::read(sink, &self.filter).await.map_err(&read)?;
        self.refuse_others(&present, true)?;
        let missing: Vec<(&TableName, &String)> = self
            .statements
            .iter()
            .filter(|(name, _)| {
                let name = (name.database.clone(), name.table.clone());
                !present.by_name.contains_key(&name)
            })
            .collect();
        for (database, statement) in &self.databases {
            if present.databases.contains(database) {
                continue;
            }
            let statement = if_not_exists(statement, "CREATE DATABASE ", &quote_name(database));
            create(sink, database, &[statement]).await?;
            tracing::info!(database, "created a database on the sink");
        }
        let mut created = Vec::new();
        for (name, statement) in missing {
            let attempts = self.attempts(name, statement);
            create(sink, &name.to_string(), &attempts).await?;
            tracing::info!(table = %name, "created a table on the sink");
            created.push(name.clone());
        }
        let present = Tables::read(sink, &self.filter).await.map_err(&read)?;
        self.refuse_others(&present, false)?;
        for statement in restore {
            sink.query_drop(statement)
                .await
                .map_err(CreateError::sink("restore the session"))?;
        }
        Ok(created)
    }

    /// Refuses tables that are there and can't take the source's rows; `may_lack`: some aren't made yet.
    fn refuse_others(&self, present: &Tables, may_lack: bool) -> Result<(), CreateError> {
        for (table, difference) in differences(&self.tables, present) {
            if may_lack && matches!(difference, Difference::NoTable { .. }) {
                continue;
            }
            let facts = self
                .tables
                .by_name
                .get(&(table.database.clone(), table.table.clone()));
            let by_key = facts.is_some_and(|facts| facts.has_scan_key);
            if let Some((detail, code)) = obstacle(&difference, by_key) {
                return Err(CreateError::Differs {
                    table,
                    detail,
                    code,
                });
            }
        }
        Ok(())
    }

    /// The statement, and the one to try where it's refused.
    fn attempts(&self, name: &TableName, statement: &str) -> Vec<String> {
        let head = quote_name(&name.table);
        let mut first = if_not_exists(statement, "CREATE TABLE ", &head);
        first = first.replacen(&head, &name.quoted(), 1);
        let facts = self
            .tables
            .by_name
            .get(&(name.database.clone(), name.table.clone()));
        if let Some(facts) = facts.filter(|facts| !facts.transactional) {
            let engine = format!("\n) ENGINE={}", facts.engine);
            first = first.replacen(&engine, "\n) ENGINE=InnoDB", 1);
            tracing::warn!(table = %name, engine = facts.engine, "created in InnoDB: its engine has no transactions");
        }
        let second = without(&first, place_len);
        if second == first {
            vec![first]
        } else {
            vec![first, second]
        }
    }

    /// Makes the session one in which definitions mean what they meant at the source; answers what
    /// brings the present one back.
    async fn enter_session(&self, sink: &mut Conn) -> Result<Vec<String>, CreateError> {
        let failed = CreateError::sink("make the session");
        let present: Option<(String, Option<String>, String, String, u8)> = sink
            .query_first(
                "SELECT @@character_set_client, @@character_set_results, @@collation_connection, @@sql_mode, \
                 @@foreign_key_checks",
            )
            .await
            .map_err(&failed)?;
        let (client, results, connection, sql_mode, foreign_keys) = present.unwrap_or_default();
        let results = results.unwrap_or_else(|| "NULL".to_owned());
        let mut restore = vec![format!(
            "SET character_set_client = {client}, character_set_results = {results}, \
             collation_connection = {connection}, sql_mode = '{sql_mode}', foreign_key_checks = {foreign_keys}"
        )];
        sink.query_drop(format!(
            "SET NAMES utf8mb4, sql_mode = '{SQL_MODE}', foreign_key_checks = 0"
        ))
        .await
        .map_err(&failed)?;
        // Setting these takes a privilege: only where they aren't as they should be.
        let mut wanted = vec![
            ("sql_generate_invisible_primary_key", "OFF".to_owned()),
            ("explicit_defaults_for_timestamp", "ON".to_owned()),
        ];
        if let Some(collation) = &self.utf8mb4 {
            wanted.push(("default_collation_for_utf8mb4", collation.clone()));
        }
        for (variable, wanted) in wanted {
            let present: Option<(String, String)> = sink
                .query_first(format!("SHOW SESSION VARIABLES LIKE '{variable}'"))
                .await
                .map_err(&failed)?;
            if let Some((_, present)) = present.filter(|(_, present)| *present != wanted) {
                let set = |value: &str| format!("SET SESSION {variable} = {value}");
                sink.query_drop(set(&wanted)).await.map_err(&failed)?;
                restore.push(set(&present));
            }
        }
        Ok(restore)
    }
}

/// Runs the first of some statements that the sink takes.
async fn create(sink: &mut Conn, object: &str, attempts: &[String]) -> Result<(), CreateError> {
    let mut refusal = None;
    for statement in attempts {
        match sink.query_drop(statement).await {
            Ok(()) => return Ok(()),
            Err(cause @ mysql_async::Error::Server(_)) => {
                refusal.get_or_insert(cause);
            }
            Err(cause) => return Err(CreateError::sink("create a table")(cause)),
        }
    }
    match refusal {
        Some(cause) => Err(CreateError::Refused {
            object: object.to_owned(),
            cause: Box::new(cause),
        }),
        None => Ok(()),
    }
}

/// The second column of a SHOW CREATE; `None` if there is no such object.
async fn show_create(conn: &mut Conn, sql: &str) -> Result<Option<String>, mysql_async::Error> {
    let row: Option<Row> = match conn.query_first(sql).await {
        Ok(row) => row,
        // ER_BAD_DB_ERROR, ER_NO_SUCH_TABLE.
        Err(mysql_async::Error::Server(error)) if matches!(error.code, 1049 | 1146) => None,
        Err(error) => return Err(error),
    };
    Ok(row.and_then(|row| row.get_opt::<String, _>(1)?.ok()))
}

async fn default_collation(conn: &mut Conn) -> Result<Option<String>, mysql_async::Error> {
    conn.query_first(
        "SELECT COLLATION_NAME FROM information_schema.collations \
         WHERE CHARACTER_SET_NAME = 'utf8mb4' AND IS_DEFAULT = 'Yes'",
    )
    .await
}

/// Why a table of the sink can't take the rows, which are read `by_key` or all at once, what to do,
/// and the code; `None` if it can.
fn obstacle(difference: &Difference, by_key: bool) -> Option<(String, Code)> {
    let there = "as SHOW CREATE TABLE at the source says";
    match difference {
        Difference::NoTable { .. } => Some((
            "our account can't see it; GRANT it what `towpath check` names".to_owned(),
            code::NO_TABLE,
        )),
        Difference::NoColumn { column, .. } => Some((
            format!("lacks column {}; add it, {there}", column.name),
            code::NO_COLUMN,
        )),
        Difference::Refused { source, sink } => Some((
            format!(
                "its column {} is {}, at the source {}; change it, {there}",
                source.name,
                describe(sink),
                describe(source)
            ),
            code::COLUMN_DIFFERS,
        )),
        Difference::NeedsValue { column } => Some((
            format!(
                "its own column {column} is NOT NULL and has no default; give it one, or let it be NULL"
            ),
            code::COLUMN_NEEDS_VALUE,
        )),
        Difference::NotTransactional { engine } => Some((
            format!("its engine {engine} has no transactions; ALTER TABLE … ENGINE = InnoDB"),
            code::TABLE_DIFFERS,
        )),
        Difference::OwnUnique { index } => Some((
            format!(
                "its unique index {index} forbids rows that the source's table allows, which would take each \
                 other's place; drop it, or give the source's table that index"
            ),
            code::COPY_SINK_UNIQUE,
        )),
        Difference::NoKey if by_key => Some((
            format!("has no key by which its rows are found again; give it the source's, {there}"),
            code::COPY_KEYLESS,
        )),
        Difference::Unlike { .. } | Difference::NoKey => None,
    }
}

/// `CREATE TABLE x …` as `CREATE TABLE IF NOT EXISTS x …`; `name` is the quoted one that is
/// printed.
fn if_not_exists(statement: &str, verb: &str, name: &str) -> String {
    match statement.strip_prefix(verb) {
        Some(rest) if rest.starts_with(name) => format!("{verb}IF NOT EXISTS {rest}"),
        _ => statement.to_owned(),
    }
}

/// A definition without some parts: outside of quotes, `part` says how many bytes there are to
/// leave out.
fn without(definition: &str, part: impl Fn(&str) -> Option<usize>) -> String {
    let mut out = String::with_capacity(definition.len());
    let mut rest = definition;
    while let Some(c) = rest.chars().next() {
        if let Some(len) = part(rest) {
            rest = rest.get(len..).unwrap_or_default();
            continue;
        }
        let len = match c {
            '\'' | '"' | '`' => quoted_len(rest),
            c => c.len_utf8(),
        };
        let (taken, after) = rest.split_at_checked(len).unwrap_or((rest, ""));
        out.push_str(taken);
        rest = after;
    }
    out
}

/// Bytes of what is quoted at the begin of a text, quotes included.
fn quoted_len(text: &str) -> usize {
    let mut chars = text.char_indices();
    let quote = chars.next().map(|(_, quote)| quote);
    while let Some((at, c)) = chars.next() {
        if c == '\\' && quote != Some('`') {
            chars.next();
        } else if Some(c) == quote {
            // A doubled one is read as two quoted parts, which comes to the same.
            return at + 1;
        }
    }
    text.len()
}

/// A definition without the counter of its AUTO_INCREMENT column, which every INSERT moves.
pub(crate) fn without_counter(definition: &str) -> String {
    without(definition, counter_len)
}

/// ` AUTO_INCREMENT=9`.
fn counter_len(text: &str) -> Option<usize> {
    let head = " AUTO_INCREMENT=";
    let digits = text.strip_prefix(head)?;
    let len = digits.find(|c: char| !c.is_ascii_digit());
    Some(head.len() + len.unwrap_or(digits.len()))
}

/// ` DATA DIRECTORY='…'`, ` /*!50100 TABLESPACE `…` */` and their kin.
fn place_len(text: &str) -> Option<usize> {
    if text.starts_with(" /*!50100 TABLESPACE ") {
        return text.find("*/").map(|at| at + 2);
    }
    [" DATA DIRECTORY", " INDEX DIRECTORY", " TABLESPACE"]
        .iter()
        .find_map(|word| {
            let value = text.strip_prefix(word)?;
            let value = value.trim_start_matches([' ', '=']);
            let begin = text.len() - value.len();
            value
                .starts_with(['\'', '`'])
                .then(|| begin + quoted_len(value))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_left_out_and_nothing_that_only_looks_like_one() {
        let definition = "CREATE TABLE `t` (\n  `a DATA DIRECTORY='x'` int DEFAULT ' AUTO_INCREMENT=5',\n  \
            `b` int COMMENT 'it''s \\' DATA DIRECTORY=''y'''\n) /*!50100 TABLESPACE `ts` */ ENGINE=InnoDB \
            AUTO_INCREMENT=7 DEFAULT CHARSET=utf8mb4 DATA DIRECTORY='/a/b/'\n/*!50100 PARTITION BY RANGE (`a`)\n\
            (PARTITION p0 VALUES LESS THAN (1) DATA DIRECTORY = '/x/' ENGINE = InnoDB) */";
        let expected = definition
            .replace(" /*!50100 TABLESPACE `ts` */", "")
            .replace(" DATA DIRECTORY='/a/b/'", "")
            .replace(" DATA DIRECTORY = '/x/'", "");
        assert_eq!(without(definition, place_len), expected);
        assert_eq!(
            without_counter(definition),
            definition.replace(" AUTO_INCREMENT=7", "")
        );
    }

    #[test]
    fn what_is_created_need_not_be_missing() {
        assert_eq!(
            if_not_exists("CREATE TABLE `t` (\n `i` int)", "CREATE TABLE ", "`t`"),
            "CREATE TABLE IF NOT EXISTS `t` (\n `i` int)"
        );
    }
}
