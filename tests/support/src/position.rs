//! Has the replica everything that the source had? Asked of the offset in the sink itself.

use std::time::Duration;

use anyhow::{Context as _, Result};
use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;

use crate::wait_until;

/// ER_BAD_DB_ERROR, ER_NO_SUCH_TABLE: the pipeline has not made its tables yet.
const NOT_THERE_YET: [u16; 2] = [1049, 1146];

/// Waits until the offset that `pipeline` has stored in the sink covers every GTID that the
/// source has executed at the time of the call. (An idle position is stored once a second.)
///
/// # Errors
/// When it doesn't within `timeout`, with both sets; or when a server doesn't answer.
pub async fn caught_up(
    source: &mut Conn,
    target: &mut Conn,
    pipeline: &str,
    timeout: Duration,
) -> Result<()> {
    let executed = gtid_executed(source).await?;
    let mut stored = String::new();
    wait_until(
        "the sink's offset to reach the source",
        timeout,
        async || {
            stored = stored_gtid_set(target, pipeline).await?;
            let covered: Option<bool> = source
                .exec_first("SELECT GTID_SUBSET(?, ?)", (&executed, &stored))
                .await?;
            Ok(covered == Some(true))
        },
    )
    .await
    .with_context(|| format!("the source has {executed}, the sink has '{stored}'"))
}

/// The GTIDs that the server has executed, without line breaks.
///
/// # Errors
/// When it doesn't answer, or isn't MySQL.
pub async fn gtid_executed(conn: &mut Conn) -> Result<String> {
    let set: Option<String> = conn.query_first("SELECT @@GLOBAL.gtid_executed").await?;
    Ok(set.context("no gtid_executed")?.replace('\n', ""))
}

/// The GTID set of `pipeline`'s offset in the sink; empty while there is none.
///
/// # Errors
/// When the sink doesn't answer.
pub async fn stored_gtid_set(target: &mut Conn, pipeline: &str) -> Result<String> {
    let rows: Result<Vec<(String, String, String)>, _> = target
        .exec(
            "SELECT source_uuid, tag, intervals FROM towpath.offset_gtid WHERE pipeline = ?",
            (pipeline,),
        )
        .await;
    match rows {
        Ok(rows) => Ok(gtid_set(&rows)),
        Err(mysql_async::Error::Server(error)) if NOT_THERE_YET.contains(&error.code) => {
            Ok(String::new())
        }
        Err(error) => Err(error).context("reading the sink's offset"),
    }
}

/// MySQL's text of a set: `uuid[:tag]:intervals` joined by commas.
fn gtid_set(rows: &[(String, String, String)]) -> String {
    let origins = rows
        .iter()
        .filter(|(_, _, intervals)| !intervals.is_empty());
    let texts: Vec<String> = origins
        .map(|(uuid, tag, intervals)| match tag.as_str() {
            "" => format!("{uuid}:{intervals}"),
            tag => format!("{uuid}:{tag}:{intervals}"),
        })
        .collect();
    texts.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_become_a_set_as_mysql_writes_it() {
        let row = |uuid: &str, tag: &str, intervals: &str| {
            (uuid.to_owned(), tag.to_owned(), intervals.to_owned())
        };
        assert_eq!(gtid_set(&[]), "");
        let rows = [
            row("u1", "", "1-5:7"),
            row("u1", "dba", "1"),
            row("u2", "", ""),
        ];
        assert_eq!(gtid_set(&rows), "u1:1-5:7,u1:dba:1");
    }
}
