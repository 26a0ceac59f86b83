//! DDL: statements that commit by themselves, carried exactly once all the same.
//!
//! Before a statement runs, its intent is committed to the offset row. On a sink with GTIDs it then runs
//! under a GTID of its own, `<pipeline uuid>:<n>`: the server skips a GTID that it has executed, so
//! running the statement again after a crash does nothing, whoever runs it. Elsewhere the definitions of
//! the tables it names are fingerprinted before; if they have changed since the intent, it ran (MySQL's
//! DDL on one table is atomic since 8.0).

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use towpath_protocol::gtid::GtidSet;
use tracing::info;
use uuid::Uuid;

use super::session::{SQL_MODE, ServerFacts, Session, quote};
use super::{Advice, SinkError};
use crate::apply::ddl::TableName;
use crate::decode::{Charset, StatusVars};
use crate::failpoint::Point;

/// The record of a DDL statement in progress.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DdlIntent {
    /// Its number: `n` of the GTID under which it runs.
    pub seq: u64,
    /// The source transaction.
    pub gtid: String,
    /// The statement, for people to read.
    pub statement: String,
    /// Fingerprint of the definitions of the tables that it names, before it ran.
    pub before: String,
}

impl DdlIntent {
    /// As stored in the offset row.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads what [`DdlIntent::to_json`] wrote.
    ///
    /// # Errors
    /// What is wrong with the JSON.
    pub fn from_json(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }
}

/// A DDL statement of the source, with the session it ran in there.
#[derive(Debug)]
pub struct DdlStatement<'a> {
    /// The source transaction.
    pub gtid: String,
    /// The statement's bytes, in its own client character set.
    pub sql: &'a [u8],
    /// The default database, empty for none.
    pub database: &'a str,
    /// The session's variables.
    pub vars: &'a StatusVars,
    /// When it ran, seconds since 1970: what `NOW()` says.
    pub timestamp_s: u32,
    /// The tables that it names.
    pub tables: &'a [TableName],
}

/// Fingerprint of the present definitions of tables; `AUTO_INCREMENT` counters don't count.
///
/// # Errors
/// Those of the connection.
pub async fn fingerprint(session: &mut Session, tables: &[TableName]) -> Result<String, SinkError> {
    let mut digest = Sha256::new();
    for table in tables {
        let sql = format!("SHOW CREATE TABLE {}", table.quoted());
        let definition = match session
            .first::<(String, String)>("read a definition", &sql)
            .await
        {
            Ok(row) => row.map(|(_, definition)| definition).unwrap_or_default(),
            // ER_BAD_DB_ERROR, ER_NO_SUCH_TABLE: absent is a definition too.
            Err(SinkError::Server {
                code: 1049 | 1146, ..
            }) => String::new(),
            Err(error) => return Err(error),
        };
        digest.update(without_auto_increment(&definition).as_bytes());
        digest.update([0]);
    }
    Ok(digest
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
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

/// The number of a new statement: above the last one's, and above all that the sink's server has run for this
/// pipeline. It remembers those also after the offset row was restored to an older state, where a number that is
/// used again would be taken for a statement that ran.
///
/// # Errors
/// Those of the connection.
pub async fn next_seq(
    session: &mut Session,
    facts: &ServerFacts,
    pipeline: Uuid,
    last: u64,
) -> Result<u64, SinkError> {
    if !facts.gtids {
        return Ok(last + 1);
    }
    let all = format!("{pipeline}:1-{}", i64::MAX - 1);
    // The part of a set that the server has: all of it without what it lacks.
    let ran: Option<String> = session
        .first(
            "ask which DDL statements ran",
            &format!(
                "SELECT GTID_SUBTRACT('{all}', GTID_SUBTRACT('{all}', @@global.gtid_executed))"
            ),
        )
        .await?;
    let ran: GtidSet = ran
        .unwrap_or_default()
        .parse()
        .map_err(|_| SinkError::Answers {
            sink: session.sink().to_owned(),
            doing: "ask which DDL statements ran",
            statements: 1,
            answered: 0,
        })?;
    let numbers = ran.origins().flat_map(|(_, intervals)| intervals);
    let highest = numbers.map(|(_, end)| *end).max().unwrap_or(0);
    Ok(last.max(highest) + 1)
}

/// Runs a statement whose intent is committed, unless it ran already. Answers whether it ran now.
///
/// # Errors
/// [`SinkError::DdlRefused`] if the sink refuses the statement, which then did not run; and those of the
/// connection and of what passes by itself, after which it may have run.
pub async fn run(
    session: &mut Session,
    facts: &ServerFacts,
    pipeline: Uuid,
    intent: &DdlIntent,
    ddl: &DdlStatement<'_>,
) -> Result<bool, SinkError> {
    if facts.gtids {
        let gtid = format!("{pipeline}:{}", intent.seq);
        let ran: Option<u8> = session
            .first(
                "ask whether a DDL statement ran",
                &format!("SELECT GTID_SUBSET('{gtid}', @@global.gtid_executed)"),
            )
            .await?;
        if ran == Some(1) {
            return Ok(false);
        }
        restore_session(session, ddl).await?;
        session
            .execute(
                "set gtid_next for DDL",
                &format!("SET gtid_next = '{gtid}'"),
            )
            .await?;
        session.reach(Point::DdlBeforeStatement).await?;
        let result = session.packet("run DDL", ddl.sql, 1).await;
        session.reach(Point::DdlAfterStatement).await?;
        if !matches!(result, Err((_, SinkError::Connection { .. }))) {
            session
                .execute("end gtid_next", "SET gtid_next = 'AUTOMATIC'")
                .await?;
        }
        refused(session.sink(), ddl, result)?;
    } else {
        if fingerprint(session, ddl.tables).await? != intent.before {
            return Ok(false);
        }
        restore_session(session, ddl).await?;
        session.reach(Point::DdlBeforeStatement).await?;
        let result = session.packet("run DDL", ddl.sql, 1).await;
        session.reach(Point::DdlAfterStatement).await?;
        refused(session.sink(), ddl, result)?;
    }
    leave_session(session).await?;
    info!(gtid = ddl.gtid, statement = %String::from_utf8_lossy(ddl.sql), "ran DDL");
    Ok(true)
}

/// Definitions are read on this connection: back to the fixed session.
async fn leave_session(session: &mut Session) -> Result<(), SinkError> {
    let sql = format!("SET NAMES utf8mb4, sql_mode = '{SQL_MODE}', timestamp = DEFAULT");
    session.execute("leave the DDL's session", &sql).await?;
    Ok(())
}

fn refused(
    sink: &str,
    ddl: &DdlStatement<'_>,
    result: Result<Vec<u64>, (usize, SinkError)>,
) -> Result<(), SinkError> {
    match result {
        Ok(_) => Ok(()),
        // Interrupted or out of patience: the next epoch runs it.
        Err((_, error)) if error.advice() == Advice::Retry => Err(error),
        Err((_, SinkError::Server { code, message, .. })) => Err(SinkError::DdlRefused {
            sink: sink.to_owned(),
            gtid: ddl.gtid.clone(),
            code,
            message,
            statement: String::from_utf8_lossy(ddl.sql).into_owned(),
        }),
        Err((_, error)) => Err(error),
    }
}

/// Makes the session as the statement's own was at the source.
async fn restore_session(session: &mut Session, ddl: &DdlStatement<'_>) -> Result<(), SinkError> {
    for statement in session_statements(ddl) {
        session
            .execute("restore the DDL's session", &statement)
            .await?;
    }
    if !ddl.database.is_empty() {
        let quoted = format!("`{}`", ddl.database.replace('`', "``"));
        match session
            .execute("use the DDL's database", &format!("USE {quoted}"))
            .await
        {
            Ok(_) => {}
            // A default database that isn't replicated need not exist, if every name is qualified.
            Err(SinkError::Server { code: 1049, .. })
                if ddl
                    .tables
                    .iter()
                    .all(|table| table.database != ddl.database) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The statements that restore a session; sources: "Query_event" in MySQL's source documentation, and
/// what mysqlbinlog prints.
fn session_statements(ddl: &DdlStatement<'_>) -> Vec<String> {
    const OPTION_AUTO_IS_NULL: u32 = 1 << 14;
    const OPTION_NO_FOREIGN_KEY_CHECKS: u32 = 1 << 26;
    const OPTION_RELAXED_UNIQUE_CHECKS: u32 = 1 << 27;
    let vars = ddl.vars;
    let mut set = vec![format!(
        "timestamp = {}.{:06}",
        ddl.timestamp_s,
        vars.microseconds.unwrap_or(0).min(999_999)
    )];
    if let Some(mode) = vars.sql_mode {
        set.push(format!("sql_mode = {mode}"));
    }
    if let Some(flags) = vars.flags2 {
        set.push(format!(
            "sql_auto_is_null = {}",
            u8::from(flags & OPTION_AUTO_IS_NULL != 0)
        ));
        set.push(format!(
            "foreign_key_checks = {}",
            u8::from(flags & OPTION_NO_FOREIGN_KEY_CHECKS == 0)
        ));
        set.push(format!(
            "unique_checks = {}",
            u8::from(flags & OPTION_RELAXED_UNIQUE_CHECKS == 0)
        ));
    }
    if let Some(zone) = &vars.time_zone {
        set.push(format!("time_zone = {}", quote(zone)));
    }
    if let Some(explicit) = vars.explicit_defaults_for_timestamp {
        set.push(format!(
            "explicit_defaults_for_timestamp = {}",
            u8::from(explicit)
        ));
    }
    if let Some(collation) = vars.default_collation_for_utf8mb4 {
        set.push(format!("default_collation_for_utf8mb4 = {collation}"));
    }
    if let Some(required) = vars.sql_require_primary_key {
        set.push(format!("sql_require_primary_key = {required}"));
    }
    if let Some(encryption) = vars.default_table_encryption {
        set.push(format!("default_table_encryption = {encryption}"));
    }
    if let Some(names) = vars.lc_time_names {
        set.push(format!("lc_time_names = {names}"));
    }
    // A generated invisible primary key is in the statement as the source logged it, or not at all.
    let no_further_key = "/*!80030 , sql_generate_invisible_primary_key = OFF */";
    let mut statements = vec![format!("SET {} {no_further_key}", set.join(", "))];
    // Last, since the statement's own bytes are in this character set.
    if let Some(Charset {
        client,
        connection,
        server,
    }) = vars.charset
    {
        statements.push(format!(
            "SET character_set_client = {client}, collation_connection = {connection}, \
             collation_server = {server}"
        ));
    }
    statements
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

    #[test]
    fn an_intent_survives_its_storage() {
        let intent = DdlIntent {
            seq: 3,
            gtid: "00000000-0000-0000-0000-000000000001:5".into(),
            statement: "ALTER TABLE `t` ADD c VARCHAR(9) DEFAULT 'it''s'".into(),
            before: "ab".into(),
        };
        assert_eq!(DdlIntent::from_json(&intent.to_json()).unwrap(), intent);
        assert!(DdlIntent::from_json("{").is_err());
    }
}
