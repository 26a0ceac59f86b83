//! The session of the source in which a statement ran, made again on the sink.
//!
//! What any statement may depend on is set for each: where an event lacks it, it had its default.
//! Some variables come only with the statements that depend on them
//! (`explicit_defaults_for_timestamp`, the character sets, `default_collation_for_utf8mb4`,
//! `sql_require_primary_key`, `default_table_encryption`): those are set where the event has them,
//! and stay until the next one.
//!
//! Not restored: `collation_database`, which only LOAD DATA reads; the definer (`invoker`), which
//! the source writes out in views; `enable_cascade_triggers` and `table_map_for_update`, which are
//! about rows; and what isn't in the binlog at all, such as `default_storage_engine`,
//! `innodb_strict_mode` and `innodb_default_row_format`: have those alike.

use super::DdlStatement;
use crate::apply::ddl::ObjectName;
use crate::apply::target::quote_name;
use crate::commit::SinkError;
use crate::commit::session::{SQL_MODE, Session, quote};
use crate::decode::Charset;

/// The bits of sql_mode that MySQL 8 and later know (`MODE_ALLOWED_MASK` in `system_variables.h`):
/// a source of an earlier version may send NO_AUTO_CREATE_USER and its kin.
const SQL_MODE_KNOWN: u64 = 0x1_efff_ffff & !0x3_ff00;

/// Collation ids of utf8mb4: what we write ourselves is in it.
const UTF8MB4: u16 = 45;

/// Definitions are read on this connection: back to the fixed session.
pub(super) async fn leave_session(session: &mut Session) -> Result<(), SinkError> {
    let sql = format!("SET NAMES utf8mb4, sql_mode = '{SQL_MODE}', timestamp = DEFAULT");
    session.execute("leave the DDL's session", &sql).await?;
    Ok(())
}

/// Makes the session as the statement's own was at the source.
pub(super) async fn restore_session(
    session: &mut Session,
    ddl: &DdlStatement<'_>,
) -> Result<(), SinkError> {
    for statement in session_statements(ddl) {
        session
            .execute("restore the DDL's session", &statement)
            .await?;
    }
    // ALTER TABLE numbers the rows of a new AUTO_INCREMENT column by these. To set them takes a
    // privilege, which isn't asked for where they are as they should be.
    let wanted = ddl.vars.auto_increment.unwrap_or((1, 1));
    let sql = "SELECT @@auto_increment_increment, @@auto_increment_offset";
    let now: Option<(u16, u16)> = session.first("restore the DDL's session", sql).await?;
    if now != Some(wanted) {
        let (increment, offset) = wanted;
        let sql =
            format!("SET auto_increment_increment = {increment}, auto_increment_offset = {offset}");
        session.execute("restore the DDL's session", &sql).await?;
    }
    if ddl.database.is_empty() {
        return Ok(());
    }
    let quoted = quote_name(ddl.database);
    match session
        .execute("use the DDL's database", &format!("USE {quoted}"))
        .await
    {
        Ok(_) => Ok(()),
        // A default database that isn't replicated need not exist, if every name is qualified. A
        // name that isn't must not be found in the database of the statement before.
        Err(SinkError::Server { code: 1049, .. }) if !names_default_database(ddl) => {
            session
                .execute("use no database", "USE information_schema")
                .await?;
            Ok(())
        }
        Err(error) => Err(error),
    }
}

fn names_default_database(ddl: &DdlStatement<'_>) -> bool {
    ddl.objects
        .iter()
        .any(|object| matches!(object, ObjectName::Table(table) if table.database == ddl.database))
}

/// The statements that restore a session; sources: "Query_event" in MySQL's source documentation,
/// and what mysqlbinlog prints.
fn session_statements(ddl: &DdlStatement<'_>) -> Vec<String> {
    const OPTION_AUTO_IS_NULL: u32 = 1 << 14;
    const OPTION_NO_FOREIGN_KEY_CHECKS: u32 = 1 << 26;
    const OPTION_RELAXED_UNIQUE_CHECKS: u32 = 1 << 27;
    let vars = ddl.vars;
    let flags = vars.flags2.unwrap_or(0);
    let on = |flag: bool| u8::from(flag);
    let mut set = vec![
        format!(
            "timestamp = {}.{:06}",
            ddl.timestamp_s,
            vars.microseconds.unwrap_or(0).min(999_999)
        ),
        format!("sql_mode = {}", vars.sql_mode.unwrap_or(0) & SQL_MODE_KNOWN),
        format!(
            "sql_auto_is_null = {}",
            on(flags & OPTION_AUTO_IS_NULL != 0)
        ),
        format!(
            "foreign_key_checks = {}",
            on(flags & OPTION_NO_FOREIGN_KEY_CHECKS == 0)
        ),
        format!(
            "unique_checks = {}",
            on(flags & OPTION_RELAXED_UNIQUE_CHECKS == 0)
        ),
        // Absent where the statement does not depend on it.
        format!(
            "time_zone = {}",
            quote(vars.time_zone.as_deref().unwrap_or("+00:00"))
        ),
        format!("lc_time_names = {}", vars.lc_time_names.unwrap_or(0)),
    ];
    if let Some(explicit) = vars.explicit_defaults_for_timestamp {
        set.push(format!(
            "explicit_defaults_for_timestamp = {}",
            u8::from(explicit)
        ));
    }
    // A generated invisible primary key is in the statement as the source logged it, or not at all.
    let mut mysql_8 = vec!["sql_generate_invisible_primary_key = OFF".to_owned()];
    if let Some(collation) = vars.default_collation_for_utf8mb4 {
        mysql_8.push(format!("default_collation_for_utf8mb4 = {collation}"));
    }
    if let Some(required) = vars.sql_require_primary_key {
        mysql_8.push(format!("sql_require_primary_key = {required}"));
    }
    if let Some(encryption) = vars.default_table_encryption {
        mysql_8.push(format!("default_table_encryption = {encryption}"));
    }
    let mut statements = vec![format!(
        "SET {} /*!80030 , {} */",
        set.join(", "),
        mysql_8.join(", ")
    )];
    // Last, since the statement's own bytes are in this character set.
    if let Some(Charset {
        client,
        connection,
        server,
    }) = vars.charset
    {
        let client = if ddl.rewritten { UTF8MB4 } else { client };
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
    use crate::apply::ddl::TableName;
    use crate::decode::StatusVars;

    fn statements(vars: &StatusVars, rewritten: bool) -> Vec<String> {
        session_statements(&DdlStatement {
            gtid: String::new(),
            sql: b"",
            rewritten,
            database: "",
            vars,
            timestamp_s: 7,
            objects: &[],
            way_past: "",
            pipeline: "p",
        })
    }

    #[test]
    fn every_setting_is_set_also_where_the_event_is_silent() {
        let vars = StatusVars::default();
        let [set] = &statements(&vars, false)[..] else {
            panic!()
        };
        assert_eq!(
            set,
            "SET timestamp = 7.000000, sql_mode = 0, sql_auto_is_null = 0, foreign_key_checks = 1, \
             unique_checks = 1, time_zone = '+00:00', lc_time_names = 0 \
             /*!80030 , sql_generate_invisible_primary_key = OFF */"
        );
    }

    #[test]
    fn what_the_event_says_is_set() {
        let vars = StatusVars {
            flags2: Some(1 << 26 | 1 << 14),
            // STRICT_TRANS_TABLES, and NO_AUTO_CREATE_USER and ORACLE of earlier versions.
            sql_mode: Some(1 << 21 | 1 << 28 | 1 << 9),
            charset: Some(Charset {
                client: 8,
                connection: 8,
                server: 255,
            }),
            time_zone: Some("Europe/Rome".into()),
            microseconds: Some(123),
            explicit_defaults_for_timestamp: Some(false),
            sql_require_primary_key: Some(1),
            ..StatusVars::default()
        };
        let [set, charset] = &statements(&vars, false)[..] else {
            panic!()
        };
        for part in [
            "timestamp = 7.000123",
            "sql_mode = 2097152,",
            "sql_auto_is_null = 1",
            "foreign_key_checks = 0",
            "time_zone = 'Europe/Rome'",
            "explicit_defaults_for_timestamp = 0",
            "/*!80030 , sql_generate_invisible_primary_key = OFF, sql_require_primary_key = 1 */",
        ] {
            assert!(set.contains(part), "{part}: {set}");
        }
        assert!(charset.starts_with("SET character_set_client = 8, "));
        let [_, charset] = &statements(&vars, true)[..] else {
            panic!()
        };
        assert!(charset.starts_with("SET character_set_client = 45, collation_connection = 8"));
    }

    #[test]
    fn only_names_of_the_default_database_need_it() {
        let vars = StatusVars::default();
        for (database, needs) in [("d", true), ("e", false)] {
            let objects = [ObjectName::Table(TableName {
                database: "d".into(),
                table: "t".into(),
            })];
            let ddl = DdlStatement {
                gtid: String::new(),
                sql: b"",
                rewritten: false,
                database,
                vars: &vars,
                timestamp_s: 7,
                objects: &objects,
                way_past: "",
                pipeline: "p",
            };
            assert_eq!(names_default_database(&ddl), needs);
        }
    }
}
