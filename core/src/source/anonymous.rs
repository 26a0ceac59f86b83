//! Transactions without a GTID behind a place, which a dump by GTID passes over without a word.
//!
//! They are written while `gtid_mode` isn't ON. Once it is again, a source that is asked by GTID
//! begins with the last file before which nothing is missing by GTID: whole files of anonymous
//! transactions lie before that one and are never read. So the binlog is looked at from the file
//! and offset where the last transaction ended, up to the first transaction: a dump reads on from
//! there by itself, and the source refuses it if an anonymous one is among what it reads.
//!
//! What can't be seen: files that are purged, and positions of another server, which the caller
//! must not ask about.

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Error, Row};
use towpath_protocol::position::{BinlogPosition, FIRST_EVENT_OFFSET};

use super::error::SourceError;
use super::preflight::sql;

/// Events that are asked for in each file: more than stand before the first transaction or, where
/// there is none, before the end.
const EVENTS_MAX: u32 = 8;

/// Files that are looked at: each restart of the server and each change of `gtid_mode` begins one.
const FILES_MAX: u32 = 1_000;

/// What comes first in a part of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum First {
    Numbered,
    /// At this offset.
    Anonymous(u64),
    /// No transaction at all.
    Nothing,
    /// There is no such part, or we may not look.
    Unknown,
}

/// Whether the first transaction behind `position`, where one ended on this very server, has a
/// GTID; also where there is none, and where that can't be seen.
///
/// # Errors
/// [`SourceError::Anonymous`], and those of the connection.
pub async fn check_behind(conn: &mut Conn, position: &BinlogPosition) -> Result<(), SourceError> {
    let mut file = position.file.clone();
    let mut from = position.offset;
    for _ in 0..FILES_MAX {
        match first(conn, &file, from).await? {
            First::Numbered | First::Unknown => return Ok(()),
            First::Anonymous(offset) => {
                let message = format!("at {file}:{offset}, behind the place {position}");
                return Err(SourceError::Anonymous { message });
            }
            First::Nothing => {}
        }
        let Some(next) = next_file(&file) else {
            return Ok(());
        };
        (file, from) = (next, FIRST_EVENT_OFFSET);
    }
    Ok(())
}

async fn first(conn: &mut Conn, file: &str, from: u64) -> Result<First, SourceError> {
    // ER_ERROR_WHEN_EXECUTING_COMMAND, of a file or an offset that isn't there;
    // ER_SPECIFIC_ACCESS_DENIED_ERROR.
    const UNKNOWN: [u16; 2] = [1220, 1227];
    let name = file.replace('\\', "\\\\").replace('\'', "''");
    let show = format!("SHOW BINLOG EVENTS IN '{name}' FROM {from} LIMIT {EVENTS_MAX}");
    let rows: Vec<Row> = match conn.query(show).await {
        Ok(rows) => rows,
        Err(Error::Server(error)) if UNKNOWN.contains(&error.code) => return Ok(First::Unknown),
        Err(cause) => return Err(sql("its binlog events", cause)),
    };
    // Log_name, Pos, Event_type, Server_id, End_log_pos, Info.
    let events = rows.iter().filter_map(|row| {
        let kind: String = row.get_opt(2)?.ok()?;
        Some((kind, row.get_opt(1)?.ok()?))
    });
    Ok(first_of(events))
}

/// By the names that SHOW BINLOG EVENTS has for event types (`Log_event_type_helper` in
/// `log_event.cc`).
fn first_of(events: impl Iterator<Item = (String, u64)>) -> First {
    for (kind, offset) in events {
        match kind.as_str() {
            "Anonymous_Gtid" => return First::Anonymous(offset),
            "Format_desc" | "Previous_gtids" | "Rotate" | "Stop" | "Heartbeat" => {}
            _ => return First::Numbered,
        }
    }
    First::Nothing
}

/// The file that comes after one: its number plus one, of six digits or more.
fn next_file(file: &str) -> Option<String> {
    let (base, number) = file.rsplit_once('.')?;
    let next = number.parse::<u64>().ok()?.checked_add(1)?;
    Some(format!("{base}.{next:06}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_transaction_decides() {
        let first = |kinds: &[&str]| {
            let events = kinds.iter().zip(100..);
            first_of(events.map(|(kind, offset)| ((*kind).to_owned(), offset)))
        };
        let head = ["Format_desc", "Previous_gtids"];
        assert_eq!(first(&[]), First::Nothing);
        assert_eq!(first(&["Rotate"]), First::Nothing);
        assert_eq!(first(&head), First::Nothing);
        let with = |kind| first(&[head[0], head[1], kind, "Anonymous_Gtid"]);
        assert_eq!(with("Anonymous_Gtid"), First::Anonymous(102));
        assert_eq!(with("Gtid"), First::Numbered);
        assert_eq!(with("Gtid_tagged"), First::Numbered);
    }

    #[test]
    fn files_are_counted_on() {
        assert_eq!(next_file("binlog.000009").as_deref(), Some("binlog.000010"));
        assert_eq!(next_file("a.b.999999").as_deref(), Some("a.b.1000000"));
        assert_eq!(next_file("binlog"), None);
        assert_eq!(next_file("binlog.x"), None);
    }
}
