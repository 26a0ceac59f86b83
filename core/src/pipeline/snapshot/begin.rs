//! What a first copy begins with: the list of tables, and what must be so on both sides.

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use towpath_protocol::spec::PipelineSpec;

use super::error::CopyError;
use super::keyless;
use crate::apply::target::quote_name;
use crate::commit::SinkError;
use crate::commit::copies::TableCopy;
use crate::commit::session::Session;
use crate::pipeline::PipelineError;
use crate::pipeline::error::Course;
use crate::scan::{Definitions, prepare};
use crate::source::{SourceError, SourceFacts};

/// How often the definitions are read until they hold still.
const READINGS_MAX: usize = 20;
/// Tables named in a message.
const NAMED_MAX: usize = 10;

/// What an operator can do about a table without a key.
pub(crate) const KEYLESS_ADVICE: &str = "give it one, leave it out of source.tables, or name it in \
    snapshot.allow_keyless: then the stream rests while it is copied";

/// What a first copy begins with.
pub(in crate::pipeline) struct Beginning {
    /// The source at the moment from which on the stream is followed.
    pub(in crate::pipeline) facts: SourceFacts,
    /// What is to be copied.
    pub(in crate::pipeline) copies: Vec<TableCopy>,
}

/// Finds where a first copy begins, makes the tables that the sink lacks as they were then, and
/// lists what is to be copied.
///
/// The stream brings every schema change behind its beginning, and none before: so the definitions
/// must be those of that very moment. They are read before it and after it, until nothing has
/// changed in between.
pub(in crate::pipeline) async fn begin(
    spec: &PipelineSpec,
    source: &mut Conn,
    sink: &mut Session,
) -> Result<Beginning, PipelineError> {
    prepare(source).await.map_err(CopyError::Scan)?;
    let filter = &spec.source.tables;
    let mut before = Definitions::read(source, filter)
        .await
        .map_err(CopyError::Create)?;
    for _ in 0..READINGS_MAX {
        let facts = SourceFacts::read(source).await?;
        let after = Definitions::read(source, filter)
            .await
            .map_err(CopyError::Create)?;
        if before.is_same(&after) {
            // What can't be copied is said before anything is made.
            let listed = tables_to_copy(spec, &facts, &after, source, sink).await?;
            after.create(sink.conn()).await.map_err(CopyError::Create)?;
            return Ok(Beginning {
                facts,
                copies: listed,
            });
        }
        before = after;
    }
    Err(CopyError::Altered.into())
}

/// The tables that the filter takes, to be copied. Where the sink has them, they must be without
/// rows.
async fn tables_to_copy(
    spec: &PipelineSpec,
    facts: &SourceFacts,
    definitions: &Definitions,
    source: &mut Conn,
    sink: &mut Session,
) -> Result<Vec<TableCopy>, PipelineError> {
    if let Some(parts) = logs_parts(facts) {
        return Err(parts.into());
    }
    let taken = &definitions.facts().by_name;
    let (mut refused, mut filled) = (Vec::new(), Vec::new());
    for ((database, table), facts) in taken {
        let name = || format!("{database}.{table}");
        if !facts.has_scan_key {
            if keyless::is_allowed(&spec.snapshot, database, table) {
                // Whether it can be, at all.
                may_lock(spec, database, table).await?;
            } else {
                refused.push(name());
            }
        }
        let look = format!(
            "SELECT COUNT(*) FROM (SELECT 1 FROM {}.{} LIMIT 1) AS t",
            quote_name(database),
            quote_name(table)
        );
        match sink.first::<u64>("look for rows", &look).await {
            Ok(Some(0) | None) => {}
            Ok(Some(_)) => filled.push(name()),
            // ER_NO_SUCH_TABLE, ER_BAD_DB_ERROR
            Err(SinkError::Server {
                code: 1146 | 1049, ..
            }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let names: Vec<(&str, &str)> = taken
        .keys()
        .map(|(database, table)| (database.as_str(), table.as_str()))
        .collect();
    if let Some(hindrance) = hindrance(facts, source, &names).await? {
        return Err(hindrance.into());
    }
    if !refused.is_empty() {
        return Err(CopyError::Keyless {
            tables: named(&refused),
            next: KEYLESS_ADVICE,
        }
        .into());
    }
    if !filled.is_empty() {
        return Err(CopyError::NotEmpty {
            tables: named(&filled),
        }
        .into());
    }
    Ok(taken
        .keys()
        .map(|(database, table)| TableCopy::waiting(database, table))
        .collect())
}

/// Why rows can't be written beside the stream, which then comes again to what they have already: the source logs
/// parts of rows, or changes rows of these tables without logging it. `None` if they can.
///
/// # Errors
/// Those of the connection.
pub(crate) async fn hindrance(
    facts: &SourceFacts,
    source: &mut Conn,
    tables: &[(&str, &str)],
) -> Result<Option<CopyError>, SourceError> {
    if let Some(parts) = logs_parts(facts) {
        return Ok(Some(parts));
    }
    if logs_cascades(facts) {
        return Ok(None);
    }
    let cascading = cascading(source, tables).await?;
    Ok((!cascading.is_empty()).then(|| CopyError::Cascades {
        tables: named(&cascading),
    }))
}

/// Whether the source logs parts of rows.
fn logs_parts(facts: &SourceFacts) -> Option<CopyError> {
    facts
        .logs_parts()
        .map(|(variable, wanted)| CopyError::Parts {
            variable,
            value: format!("'{}'", facts.variable(variable)),
            wanted,
        })
}

/// Whether our account may lock a table. One that is in use says nothing about that.
async fn may_lock(spec: &PipelineSpec, database: &str, table: &str) -> Result<(), PipelineError> {
    match keyless::lock(&spec.source.endpoint, database, table).await {
        Ok(Some(lock)) => {
            let _ = lock.disconnect().await;
            Ok(())
        }
        Ok(None) => Ok(()),
        Err(error) if error.course() == Course::End => Err(error),
        Err(_in_use) => Ok(()),
    }
}

/// Whether the rows that foreign keys change or delete are in the binlog: in MySQL 9.6 and later,
/// unless InnoDB does it by itself.
pub(crate) fn logs_cascades(facts: &SourceFacts) -> bool {
    let mut parts = facts
        .version()
        .split(|c: char| !c.is_ascii_digit())
        .map(str::parse::<u32>);
    let mut next = || parts.next().and_then(Result::ok).unwrap_or(0);
    let is_native = matches!(facts.variable("innodb_native_foreign_keys"), "ON" | "1");
    !facts.is_mariadb() && (next(), next()) >= (9, 6) && !is_native
}

/// Those of some tables whose rows change with rows of another one.
pub(crate) async fn cascading(
    source: &mut Conn,
    tables: &[(&str, &str)],
) -> Result<Vec<String>, SourceError> {
    let children: Vec<(String, String)> = source
        .query(
            "SELECT DISTINCT CONSTRAINT_SCHEMA, TABLE_NAME FROM information_schema.referential_constraints \
             WHERE DELETE_RULE IN ('CASCADE', 'SET NULL', 'SET DEFAULT') \
             OR UPDATE_RULE IN ('CASCADE', 'SET NULL', 'SET DEFAULT')",
        )
        .await
        .map_err(|error| SourceError::Sql {
            about: "its foreign keys",
            cause: Box::new(error),
        })?;
    Ok(children
        .iter()
        .filter(|child| tables.contains(&(child.0.as_str(), child.1.as_str())))
        .map(|(database, table)| format!("{database}.{table}"))
        .collect())
}

fn named(tables: &[String]) -> String {
    let shown = tables.get(..NAMED_MAX).unwrap_or(tables).join(", ");
    match tables.len().checked_sub(NAMED_MAX) {
        Some(more) if more > 0 => format!("{shown} and {more} more"),
        _ => shown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_names_some_tables() {
        let tables: Vec<String> = (0..12).map(|n| format!("d.t{n}")).collect();
        assert_eq!(named(&tables[..2]), "d.t0, d.t1");
        assert!(named(&tables).ends_with("d.t9 and 2 more"));
    }
}
