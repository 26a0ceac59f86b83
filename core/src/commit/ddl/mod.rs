//! DDL: statements that commit by themselves, carried exactly once all the same.
//!
//! Before a statement runs, its intent is committed to the offset row. On a sink with GTIDs it then
//! runs under a GTID of its own, `<pipeline uuid>:<n>`: the server skips a GTID that it has
//! executed, so running the statement again after a crash does nothing, whoever runs it. Elsewhere
//! the definitions of what it names are fingerprinted before; if they have changed since the
//! intent, it ran (MySQL's DDL is atomic since 8.0). If they have not, it didn't, or running it
//! again at once does nothing (TRUNCATE: no row can have come since). The exceptions are a swap of
//! equal tables and EXCHANGE PARTITION: there the operator is asked, and answers in the intent.

mod intent;
mod definitions;
mod session;

use towpath_protocol::gtid::GtidSet;
use tracing::info;
use uuid::Uuid;

use super::session::{ServerFacts, Session, quote};
use super::{Advice, SinkError};
use crate::apply::ddl::ObjectName;
use crate::decode::StatusVars;
use crate::failpoint::Point;

pub use definitions::Definitions;
pub use intent::{Answer, DdlIntent};
use session::{leave_session, restore_session};

/// A DDL statement of the source, with the session it ran in there.
#[derive(Debug)]
pub struct DdlStatement<'a> {
    /// The source transaction.
    pub gtid: String,
    /// The statement's bytes, in its own client character set.
    pub sql: &'a [u8],
    /// Whether `sql` was written by us, in utf8mb4.
    pub rewritten: bool,
    /// The default database, empty for none.
    pub database: &'a str,
    /// The session's variables.
    pub vars: &'a StatusVars,
    /// When it ran, seconds since 1970: what `NOW()` says.
    pub timestamp_s: u32,
    /// What it defines, changes or drops.
    pub objects: &'a [ObjectName],
    /// How the operator goes on if it can't run, or has been dealt with by hand.
    pub way_past: &'a str,
    /// The pipeline's name.
    pub pipeline: &'a str,
}

/// The number of a new statement: above the last one's, and above all that the sink's server has
/// run for this pipeline. It remembers those also after the offset row was restored to an older
/// state, where a number that is used again would be taken for a statement that ran.
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
/// [`SinkError::DdlRefused`] if the sink refuses the statement, which then did not run;
/// [`SinkError::DdlUndecided`] if nobody but the operator knows whether it ran; and those of the
/// connection and of what passes by itself, after which it may have run.
pub async fn run(
    session: &mut Session,
    facts: &ServerFacts,
    pipeline: Uuid,
    intent: &DdlIntent,
    resumed: bool,
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
        if resumed && ran_before(session, intent, ddl).await? {
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

/// Whether a statement ran whose intent was found, on a sink whose GTIDs don't tell.
async fn ran_before(
    session: &mut Session,
    intent: &DdlIntent,
    ddl: &DdlStatement<'_>,
) -> Result<bool, SinkError> {
    match intent.answer {
        Some(Answer::Ran) => return Ok(true),
        Some(Answer::NotRun) => return Ok(false),
        None => {}
    }
    let now = Definitions::read(session, ddl.objects).await?;
    if now.fingerprint() != intent.before {
        return Ok(true);
    }
    if intent.traceless {
        return Err(SinkError::DdlUndecided {
            sink: session.sink().to_owned(),
            gtid: ddl.gtid.clone(),
            ways_on: ways_on(session.sink(), ddl),
            statement: intent.statement.clone(),
        });
    }
    Ok(false)
}

/// How an operator answers whether a statement ran.
fn ways_on(sink: &str, ddl: &DdlStatement<'_>) -> String {
    let answer = |answer: &str| {
        format!(
            "UPDATE towpath.`offset` SET ddl_intent = JSON_SET(ddl_intent, '$.answer', '{answer}') \
             WHERE pipeline = {} AND sink = {}",
            quote(ddl.pipeline),
            quote(sink)
        )
    };
    format!(
        "if it has run: {}; if it has not: {}",
        answer("ran"),
        answer("not-run")
    )
}

fn refused(
    sink: &str,
    ddl: &DdlStatement<'_>,
    result: Result<Vec<u64>, (usize, SinkError)>,
) -> Result<(), SinkError> {
    /// ER_NO_SUCH_TABLE, ER_FK_CANNOT_OPEN_PARENT
    const NEEDS_ANOTHER_TABLE: [u16; 2] = [1146, 1824];
    match result {
        Ok(_) => Ok(()),
        // Interrupted or out of patience: the next epoch runs it.
        Err((_, error)) if error.advice() == Advice::Retry => Err(error),
        Err((_, SinkError::Server { code, message, .. })) => Err(SinkError::DdlRefused {
            sink: sink.to_owned(),
            gtid: ddl.gtid.clone(),
            code,
            message: if NEEDS_ANOTHER_TABLE.contains(&code) {
                format!(
                    "{message}; if that table isn't in source.tables, add it, or exclude what needs it"
                )
            } else {
                message
            },
            way_past: ddl.way_past.into(),
            statement: String::from_utf8_lossy(ddl.sql).into_owned(),
        }),
        Err((_, error)) => Err(error),
    }
}
