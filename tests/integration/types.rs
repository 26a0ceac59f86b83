//! Every column type of MySQL 9.7: what is written at the source is what the sink holds, as new value,
//! as key of a table without one, and deleted again; in each form in which the source may log it.

mod names;
mod parts;
mod table;

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use serde_json::Value;

use self::table::{As, INNER, SPECIAL, TYPES};
use crate::harness::{Pair, same};

/// How the source's session logs.
struct Logging {
    name: &'static str,
    statements: &'static [&'static str],
}

const FULL: Logging = Logging {
    name: "t_full",
    statements: &[],
};

const COMPRESSED_AND_TAGGED: Logging = Logging {
    name: "t_zstd",
    statements: &[
        "SET SESSION binlog_transaction_compression = ON",
        "SET SESSION gtid_next = 'AUTOMATIC:types'",
    ],
};

const MINIMAL: Logging = Logging {
    name: "t_minimal",
    statements: &[
        "SET SESSION binlog_row_image = 'MINIMAL'",
        "SET SESSION binlog_row_value_options = 'PARTIAL_JSON'",
    ],
};

const NOBLOB: Logging = Logging {
    name: "t_noblob",
    statements: &["SET SESSION binlog_row_image = 'NOBLOB'"],
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a minute; rows without names are tried in names.rs too"]
async fn every_type_arrives_without_names() -> Result<()> {
    matrix("MINIMAL", &[FULL]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a minute; differs from the first one before rows are decoded"]
async fn every_type_arrives_compressed_and_tagged() -> Result<()> {
    matrix("FULL", &[COMPRESSED_AND_TAGGED]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "two minutes; parts of rows are tried in parts.rs too"]
async fn every_type_arrives_in_parts() -> Result<()> {
    matrix("FULL", &[MINIMAL, NOBLOB]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_type_arrives() -> Result<()> {
    matrix("FULL", &[FULL]).await
}

async fn matrix(metadata: &str, loggings: &[Logging]) -> Result<()> {
    // Both at an offset, so that a TIMESTAMP that isn't carried in UTC is seen.
    let pair = Pair::with(
        |source| {
            source
                .option("default-time-zone", "+03:00")
                .option("binlog_row_metadata", metadata)
        },
        |sink| sink.option("default-time-zone", "-05:00"),
    )
    .await?;
    let mut source = pair.source.conn().await?;
    prepare(&mut source).await?;
    for logging in loggings {
        one(&pair, &mut source, logging)
            .await
            .with_context(|| logging.name.to_owned())?;
    }
    Ok(())
}

/// Makes the source's session, and what some values are made of.
pub(crate) async fn prepare(source: &mut Conn) -> Result<()> {
    // Zero dates, and values that become the empty label of an ENUM.
    source
        .query_drop("SET NAMES utf8mb4, sql_mode = 'ALLOW_INVALID_DATES,NO_AUTO_VALUE_ON_ZERO'")
        .await?;
    source
        .query_drop("CREATE DATABASE types_inner; USE types_inner")
        .await?;
    for statement in INNER {
        source.query_drop(*statement).await.context(*statement)?;
    }
    Ok(())
}

async fn one(pair: &Pair, source: &mut Conn, logging: &Logging) -> Result<()> {
    let name = logging.name;
    let pipeline = pair.pipeline(name, &[]).await?;
    let mut sink = pair.sink.conn().await?;
    // As the source's session, so that both print the same text.
    sink.query_drop("SET NAMES utf8mb4, time_zone = '+03:00', sql_mode = 'ALLOW_INVALID_DATES'")
        .await?;
    sink.query_drop(format!("USE {name}")).await?;
    source.query_drop(format!("USE {name}")).await?;
    for statement in logging.statements {
        source.query_drop(*statement).await.context(*statement)?;
    }
    let process = pipeline.run()?;
    let tables = Tables::new();
    for create in &tables.create {
        source
            .query_drop(create)
            .await
            .with_context(|| create.clone())?;
    }
    for (what, statements) in tables.phases() {
        for statement in &statements {
            source
                .query_drop(statement)
                .await
                .with_context(|| statement.chars().take(300).collect::<String>())?;
        }
        pipeline
            .caught_up(&process, source, &mut sink)
            .await
            .with_context(|| format!("phase: {what}"))?;
        tables
            .compare(source, &mut sink)
            .await
            .with_context(|| format!("phase: {what}"))?;
        // No type is told as different that isn't. (Tables without a key aren't compared.)
        let found = crate::verify::verify(&pipeline, &[]).await?;
        anyhow::ensure!(
            found.differences()?.is_empty(),
            "{what}: {:#}",
            found.report
        );
        anyhow::ensure!(found.only_hindrance("TP2003"), "{what}: {:#}", found.report);
    }
    tables.same_definitions(source, &mut sink).await?;
    crate::harness::stop(&process).await
}

/// A table with a key and one without for each type, one of all character sets, and the special ones.
pub(crate) struct Tables {
    pub(crate) create: Vec<String>,
    pub(crate) insert: Vec<String>,
    change: Vec<String>,
    touch: Vec<String>,
    delete: Vec<String>,
    /// Table and what to select from it.
    pub(crate) compare: Vec<(String, String)>,
    /// Tables with documents.
    json: Vec<String>,
}

impl Tables {
    pub(crate) fn new() -> Self {
        let mut all = Self {
            create: Vec::new(),
            insert: Vec::new(),
            change: Vec::new(),
            touch: Vec::new(),
            delete: Vec::new(),
            compare: Vec::new(),
            json: Vec::new(),
        };
        for (at, (definition, how, values)) in TYPES.iter().enumerate() {
            all.add_type(at, definition, *how, values);
        }
        let labels: Vec<String> = (1..=64).map(|n| format!("'m{n}'")).collect();
        all.add_type(
            TYPES.len(),
            &format!("SET({})", labels.join(",")),
            As::Number,
            &[
                "'m64'",
                "18446744073709551615",
                "18446744073709551614",
                "'m1'",
                "0",
            ],
        );
        let labels: Vec<String> = (1..=300).map(|n| format!("'m{n}'")).collect();
        all.add_type(
            TYPES.len() + 1,
            &format!("ENUM({})", labels.join(",")),
            As::Number,
            &["'m300'", "'m1'", "'m256'", "'no such label'"],
        );
        for (definition, insert, changes) in SPECIAL {
            let name = definition.split(' ').next().unwrap();
            all.create.push(format!("CREATE TABLE {definition}"));
            all.insert.push(format!("INSERT INTO {name} {insert}"));
            all.change
                .extend(changes.iter().map(|change| (*change).to_owned()));
            all.delete.push(format!("DELETE FROM {name} LIMIT 1"));
            all.compare.push((name.to_owned(), "*".to_owned()));
        }
        all
    }

    fn add_type(&mut self, at: usize, definition: &str, how: As, values: &[&str]) {
        let (keyed, bare) = (format!("k{at}"), format!("b{at}"));
        // A TIMESTAMP says NULL, lest it be made NOT NULL.
        self.create.push(format!(
            "CREATE TABLE {keyed} (id INT PRIMARY KEY, v {definition} NULL, n INT)"
        ));
        self.create
            .push(format!("CREATE TABLE {bare} (v {definition} NULL, n INT)"));
        let values: Vec<&str> = values.iter().copied().chain(["NULL"]).collect();
        let row = |id: usize, value: &str| format!("({id}, {value}, 1)");
        let keyed_rows: Vec<String> = values
            .iter()
            .enumerate()
            .map(|(id, v)| row(id, v))
            .collect();
        self.insert.push(format!(
            "INSERT IGNORE INTO {keyed} VALUES {}",
            keyed_rows.join(", ")
        ));
        let bare_rows: Vec<String> = values.iter().map(|v| format!("({v}, 1)")).collect();
        // Each twice: one of two equal rows is a row, too.
        self.insert.push(format!(
            "INSERT IGNORE INTO {bare} VALUES {0}, {0}",
            bare_rows.join(", ")
        ));
        // Every value becomes the next one; in one transaction, so that the sink gets many rows in one
        // statement.
        self.change.push("BEGIN".to_owned());
        for id in 0..values.len() {
            let value = values[(id + 1) % values.len()];
            self.change.push(format!(
                "UPDATE IGNORE {keyed} SET v = {value} WHERE id = {id}"
            ));
        }
        self.change.push("COMMIT".to_owned());
        self.touch.push(format!("UPDATE {keyed} SET n = n + 1"));
        // Found by their values.
        self.touch.push(format!("UPDATE {bare} SET n = n + 1"));
        self.touch
            .push(format!("UPDATE {bare} SET v = NULL LIMIT 1"));
        self.delete
            .push(format!("DELETE FROM {keyed} WHERE id % 2"));
        let half = values.len();
        self.delete.push(format!("DELETE FROM {bare} LIMIT {half}"));
        let select = match how {
            As::Text => "CAST(v AS CHAR)",
            As::Hex => "HEX(CAST(v AS BINARY))",
            As::Double => "CAST(v AS DOUBLE)",
            As::Number => "v + 0, BIN(v + 0), CAST(v AS CHAR)",
            As::Json => "v",
        };
        for (table, further) in [(&keyed, ", id, n"), (&bare, ", n")] {
            self.compare
                .push((table.clone(), format!("{select}{further}")));
            if how == As::Json {
                self.json.push(table.clone());
            }
        }
    }

    /// Leaves tables out.
    pub(crate) fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        let named = |statement: &str, before: &str| {
            let mut words = statement.split(' ').skip_while(|word| *word != before);
            words.nth(1).is_none_or(&keep)
        };
        self.create.retain(|statement| named(statement, "TABLE"));
        self.insert.retain(|statement| named(statement, "INTO"));
        self.compare.retain(|(name, _)| keep(name));
        self.json.retain(|name| keep(name));
    }

    fn phases(&self) -> [(&'static str, Vec<String>); 4] {
        [
            ("INSERT", self.insert.clone()),
            ("UPDATE of the values", self.change.clone()),
            ("UPDATE by the values", self.touch.clone()),
            ("DELETE", self.delete.clone()),
        ]
    }

    pub(crate) async fn compare(&self, source: &mut Conn, sink: &mut Conn) -> Result<()> {
        for (table, select) in &self.compare {
            let definition = || {
                format!(
                    "{:?}",
                    self.create
                        .iter()
                        .find(|c| c.contains(&format!("TABLE {table} ")))
                )
            };
            same(source, sink, &format!("SELECT {select} FROM {table}"))
                .await
                .with_context(definition)?;
            // The server's checksum has random bytes of a multi-valued index's hidden column in it.
            if table != "multi_valued" {
                same(source, sink, &format!("CHECKSUM TABLE {table}"))
                    .await
                    .with_context(definition)?;
            }
        }
        for table in &self.json {
            same_members(source, sink, table).await?;
        }
        Ok(())
    }

    pub(crate) async fn same_definitions(&self, source: &mut Conn, sink: &mut Conn) -> Result<()> {
        for (table, _) in &self.compare {
            same(source, sink, &format!("SHOW CREATE TABLE {table}")).await?;
        }
        Ok(())
    }
}

/// Every member of every document has the same type on both sides.
async fn same_members(source: &mut Conn, sink: &mut Conn, table: &str) -> Result<()> {
    let id = if table.starts_with('k') { "id" } else { "" };
    same_documents(source, sink, table, "v", id).await
}

/// The same for any column; `id` is the key, or nothing.
async fn same_documents(
    source: &mut Conn,
    sink: &mut Conn,
    table: &str,
    column: &str,
    id: &str,
) -> Result<()> {
    let keyed = !id.is_empty();
    let id = if keyed { id } else { "0" };
    let documents: Vec<(u32, Option<String>)> = source
        .query(format!("SELECT {id}, CAST({column} AS CHAR) FROM {table}"))
        .await?;
    let mut shared = Vec::new();
    for (id, document) in documents {
        let Some(document) = document else { continue };
        let mut paths = Vec::new();
        members(&serde_json::from_str(&document)?, "$", &mut paths);
        if keyed {
            for paths in paths.chunks(1_000) {
                let rows = format!("{table} WHERE id = {id}");
                same_types(source, sink, &rows, column, paths).await?;
            }
        } else if paths.len() < 100 {
            // Without a key, every document is asked for the paths of all; the large ones are the same
            // as in the other table.
            shared.append(&mut paths);
        }
    }
    shared.sort_unstable();
    shared.dedup();
    same_types(source, sink, table, column, &shared).await
}

async fn same_types(
    source: &mut Conn,
    sink: &mut Conn,
    rows: &str,
    column: &str,
    paths: &[String],
) -> Result<()> {
    let mut select = String::new();
    for path in paths {
        let quoted = path.replace('\\', "\\\\").replace('\'', "\\'");
        write!(select, ", JSON_TYPE(JSON_EXTRACT({column}, '{quoted}'))")?;
    }
    let query = format!("SELECT CONCAT_WS('|', SHA2({column}, 256) {select}) FROM {rows}");
    same(source, sink, &query)
        .await
        .with_context(|| format!("types of members of {rows}: {paths:?}"))
}

/// A path to the value, and to each of its members.
fn members(value: &Value, path: &str, out: &mut Vec<String>) {
    // Longer ones than the server takes are in the text, which is compared too.
    if path.len() > 10_000 {
        return;
    }
    out.push(path.to_owned());
    match value {
        Value::Array(elements) => {
            for (at, element) in elements.iter().enumerate() {
                members(element, &format!("{path}[{at}]"), out);
            }
        }
        Value::Object(object) => {
            for (key, value) in object {
                members(
                    value,
                    &format!("{path}.{}", Value::String(key.clone())),
                    out,
                );
            }
        }
        _ => {}
    }
}
