//! Where a pipeline without an offset begins: the start of the pipeline file, turned into the set
//! of GTIDs that count as already applied.
//!
//! A file position and a time are found in the binlog itself: its PREVIOUS_GTIDS event and the
//! GTIDs behind it, read by a dump of that one file that ends where the binlog ends. At most one
//! file is read in whole, and the answer is exact: a place inside a transaction is refused rather
//! than rounded.

use jiff::Timestamp;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use towpath_protocol::gtid::GtidSet;
use towpath_protocol::position::{BinlogPosition, FIRST_EVENT_OFFSET};
use towpath_protocol::spec::{Endpoint, StartAt};
use uuid::Uuid;

use super::dump::{DumpFrom, DumpOptions};
use super::error::SourceError;
use super::preflight::{SourceFacts, check_position, sql};
use super::stream::{EventStream, StreamEvent};
use crate::decode::{DecodeError, EventType, GtidEvent, previous_gtids};

/// Resolves a start to the GTID set after which the dump begins; `check_position` holds for it.
///
/// `facts` are those of the source at `endpoint`, just read over `conn`.
///
/// # Errors
/// The source has no GTIDs, a file that is gone, a position that is not between two transactions,
/// a time before the oldest file, a set that misses purged transactions or has unknown ones.
pub async fn resolve(
    start: &StartAt,
    endpoint: &Endpoint,
    options: &DumpOptions,
    facts: &SourceFacts,
    conn: &mut Conn,
) -> Result<GtidSet, SourceError> {
    if facts.variable("gtid_mode") != "ON" {
        let what = format!(
            "gtid_mode is {:?}, a start needs ON",
            facts.variable("gtid_mode")
        );
        return Err(SourceError::BadStart {
            start: start.to_string(),
            what,
        });
    }
    // The search is no replica to be seen, and must not end a dump that runs with our UUID.
    let options = DumpOptions {
        replica_uuid: Some(Uuid::new_v4()),
        ..options.clone()
    };
    let set = match start {
        StartAt::Now => facts.gtid_executed.clone(),
        StartAt::Earliest => facts.gtid_purged.clone(),
        StartAt::Gtid(set) => with_unnamed_purged(set, &facts.gtid_purged),
        StartAt::Position(position) => at_position(endpoint, &options, position).await?,
        StartAt::Time(time) => at_time(endpoint, &options, *time, facts, conn).await?,
    };
    check_position(&set, facts)?;
    Ok(set)
}

/// A set as a user means it: they name the servers that they know. What was purged of servers
/// that they don't name can't be sent anyway and counts as applied; a gap in one that they do
/// name stays, and is an error.
fn with_unnamed_purged(named: &GtidSet, purged: &GtidSet) -> GtidSet {
    let mut set = named.clone();
    for (origin, intervals) in purged.origins() {
        if named.origins().all(|(known, _)| known.uuid != origin.uuid) {
            for (first, last) in intervals {
                // In bounds, as they come from a set.
                let _ = set.add_interval(origin, *first, *last);
            }
        }
    }
    set
}

/// What a file holds before a place in it.
#[derive(Debug, Default)]
struct FileScan {
    /// GTIDs of all earlier files, and of the transactions that ended.
    before: GtidSet,
    /// The transaction that has begun and not yet ended.
    open: Option<Transaction>,
}

#[derive(Debug)]
struct Transaction {
    gtid: towpath_protocol::gtid::Gtid,
    /// Offset of its first event.
    start: u64,
    /// In microseconds since 1970.
    committed_us: u64,
}

impl FileScan {
    /// Takes the next event. A transaction ends where the next one, or the file's end, begins.
    fn event(&mut self, event: &StreamEvent<'_>) -> Result<(), DecodeError> {
        let kind = event.header.event_type;
        match kind {
            EventType::PREVIOUS_GTIDS => self.before.add_set(&previous_gtids::parse(event.body)?),
            EventType::GTID | EventType::GTID_TAGGED => {
                self.end_transaction();
                let parsed = GtidEvent::parse(kind, event.body)?;
                // Servers before 8.0 write no commit time, only when the statement began.
                let seconds_us = u64::from(event.header.timestamp) * 1_000_000;
                self.open = parsed.gtid.map(|gtid| Transaction {
                    gtid,
                    start: event.end.saturating_sub(u64::from(event.header.event_size)),
                    committed_us: match parsed.immediate_commit_us {
                        0 => seconds_us,
                        committed => committed,
                    },
                });
            }
            EventType::ROTATE | EventType::STOP | EventType::ANONYMOUS_GTID => {
                self.end_transaction();
            }
            _ => {}
        }
        Ok(())
    }

    fn end_transaction(&mut self) {
        if let Some(transaction) = self.open.take() {
            self.before.add(&transaction.gtid);
        }
    }
}

/// The GTIDs before a file position.
async fn at_position(
    endpoint: &Endpoint,
    options: &DumpOptions,
    position: &BinlogPosition,
) -> Result<GtidSet, SourceError> {
    let bad = |what: String| SourceError::BadPosition {
        file: position.file.clone(),
        offset: position.offset,
        what,
    };
    let mut file = FileReader::open(endpoint, options, &position.file).await?;
    let mut scan = FileScan::default();
    let mut end = FIRST_EVENT_OFFSET;
    let mut is_edge = position.offset == FIRST_EVENT_OFFSET;
    loop {
        let Some(event) = file.next().await? else {
            break;
        };
        let begin = event.end.saturating_sub(u64::from(event.header.event_size));
        if event.header.event_type == EventType::ANONYMOUS_GTID && begin < position.offset {
            return Err(bad("a transaction without a GTID is before it".to_owned()));
        }
        // The file's own events come before the first transaction, wherever a start lies.
        let is_head = matches!(
            event.header.event_type,
            EventType::FORMAT_DESCRIPTION | EventType::PREVIOUS_GTIDS
        );
        if begin >= position.offset && !is_head {
            let is_between =
                is_edge && (scan.open.is_none() || is_boundary(event.header.event_type));
            if !is_between {
                return Err(bad(match &scan.open {
                    Some(open) => format!("transaction {} began at {}", open.gtid, open.start),
                    None => format!("it lies inside the event that ends at {end}"),
                }));
            }
            scan.end_transaction();
            return Ok(scan.before);
        }
        end = event.end;
        is_edge |= end == position.offset;
        scan.event(&event).map_err(|error| bad(error.to_string()))?;
    }
    // The binlog ends only between transactions.
    if position.offset > end {
        return Err(bad(format!("the file ends at {end}")));
    }
    if !is_edge {
        return Err(bad(format!("it lies inside the event that ends at {end}")));
    }
    scan.end_transaction();
    Ok(scan.before)
}

/// Events before which every transaction has ended.
fn is_boundary(kind: EventType) -> bool {
    matches!(
        kind,
        EventType::GTID
            | EventType::GTID_TAGGED
            | EventType::ANONYMOUS_GTID
            | EventType::ROTATE
            | EventType::STOP
    )
}

/// The GTIDs of all transactions that were committed before a time, in the binlog's order up to
/// the first one that wasn't.
async fn at_time(
    endpoint: &Endpoint,
    options: &DumpOptions,
    time: Timestamp,
    facts: &SourceFacts,
    conn: &mut Conn,
) -> Result<GtidSet, SourceError> {
    let bad = |what: String| SourceError::BadStart {
        start: time.to_string(),
        what,
    };
    let rows: Vec<mysql_async::Row> = conn
        .query("SHOW BINARY LOGS")
        .await
        .map_err(|cause| sql("its binlog files", cause))?;
    let files: Vec<String> = rows
        .iter()
        .filter_map(|row| row.get_opt::<String, _>(0)?.ok())
        .collect();
    // Files are in order of time: search for the last one that began not after it.
    let (mut begun, mut later) = (0, files.len());
    while begun < later {
        let middle = begun + (later - begun) / 2;
        let Some(name) = files.get(middle) else { break };
        if began_at(endpoint, options, name).await? <= time.as_second() {
            begun = middle + 1;
        } else {
            later = middle;
        }
    }
    let Some(name) = begun.checked_sub(1).and_then(|index| files.get(index)) else {
        if facts.gtid_purged.is_empty() {
            return Ok(GtidSet::new());
        }
        let oldest = files.first().map_or("none", String::as_str);
        return Err(bad(format!(
            "the source's oldest binlog file, {oldest}, begins after it"
        )));
    };
    let time_us = u64::try_from(time.as_microsecond()).unwrap_or(0);
    let mut file = FileReader::open(endpoint, options, name).await?;
    let mut scan = FileScan::default();
    while let Some(event) = file.next().await? {
        scan.event(&event).map_err(|error| bad(error.to_string()))?;
        if scan
            .open
            .as_ref()
            .is_some_and(|open| open.committed_us >= time_us)
        {
            return Ok(scan.before);
        }
    }
    scan.end_transaction();
    Ok(scan.before)
}

/// When a file was begun, in seconds since 1970.
async fn began_at(
    endpoint: &Endpoint,
    options: &DumpOptions,
    name: &str,
) -> Result<i64, SourceError> {
    let mut file = FileReader::open(endpoint, options, name).await?;
    while let Some(event) = file.next().await? {
        if event.header.event_type == EventType::FORMAT_DESCRIPTION {
            return Ok(i64::from(event.header.timestamp));
        }
    }
    Err(SourceError::Malformed {
        file: name.to_owned(),
        offset: FIRST_EVENT_OFFSET,
        what: "no FORMAT_DESCRIPTION event".to_owned(),
    })
}

/// The events of one file, from its first one to its last one now.
struct FileReader {
    stream: EventStream,
    name: String,
}

impl FileReader {
    async fn open(
        endpoint: &Endpoint,
        options: &DumpOptions,
        name: &str,
    ) -> Result<Self, SourceError> {
        let from = BinlogPosition {
            file: name.to_owned(),
            offset: FIRST_EVENT_OFFSET,
        };
        let stream = EventStream::open_until_end(endpoint, options, DumpFrom::File(&from)).await?;
        Ok(Self {
            stream,
            name: from.file,
        })
    }

    /// The next event that lies in the file, or None behind its last one.
    async fn next(&mut self) -> Result<Option<StreamEvent<'_>>, SourceError> {
        loop {
            match self.stream.advance_or_fill().await {
                Ok(()) => {}
                Err(SourceError::Ended) => return Ok(None),
                Err(SourceError::NoSuchFile { .. }) => {
                    return Err(SourceError::NoSuchFile {
                        file: self.name.clone(),
                    });
                }
                Err(error) => return Err(error),
            }
            let event = self.stream.current();
            if event.file != self.name {
                return Ok(None);
            }
            if !event.artificial {
                break;
            }
        }
        Ok(Some(self.stream.current()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
    const B: &str = "aaaaaaaa-71ca-11e1-9e33-c80aa9429562";

    #[test]
    fn purged_transactions_of_servers_that_are_not_named_count_as_applied() {
        let named: GtidSet = format!("{A}:1-5").parse().unwrap();
        let purged: GtidSet = format!("{A}:1-9,{B}:1-4,{B}:tag:1-2").parse().unwrap();
        let set = with_unnamed_purged(&named, &purged);
        // A's own gap, 6-9, stays for check_position to refuse.
        assert_eq!(set, format!("{A}:1-5,{B}:1-4,{B}:tag:1-2").parse().unwrap());
    }
}
