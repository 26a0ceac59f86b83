//! From single events to chunks of transactions. Pure: events in, at most one message out per
//! event.
//!
//! Invariants: chunks come in the binlog's order; the parts of a transaction are contiguous; a
//! transaction that was begun ends with exactly one chunk whose `last` is true, or never does
//! ([`Assembler::gtid`] tells, so that a reader that lost its source can give up cleanly).
//!
//! An XA transaction none of whose tables are taken is no chunk when it is prepared
//! ([`Message::Prepared`] tells of it, for who waits until all that the source has executed has
//! come), but counts as done with its `XA COMMIT` or `XA ROLLBACK` ([`Chunk::ends`]): a dump that
//! begins between the two sends the prepared half again, so that nobody has to remember it.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use towpath_protocol::gtid::Gtid;
use towpath_protocol::position::BinlogPosition;
use towpath_protocol::spec::TableFilter;

use super::{BatchError, Chunk, Message};
use crate::decode::{
    DecodeError, EventHeader, EventType, GtidEvent, QueryEvent, RowsEvent, TableMap,
};

/// A transaction whose events exceed this many bytes is cut into parts, at event boundaries, so
/// that producer and consumer hold a part at a time and not the whole.
pub const CHUNK_BYTES_MAX: usize = 1024 * 1024;

/// From here on, room for a whole part is made: growing step by step copies, and leaves holes in
/// memory.
const PART_BEGUN: usize = CHUNK_BYTES_MAX / 4;

/// A larger event is not copied but goes into a part of its own, in the memory that it was read
/// into.
const EVENT_COPIED_MAX: usize = 8 * 1024 * 1024;

/// Events with this header flag may be skipped by readers that don't know them
/// (`LOG_EVENT_IGNORABLE_F` in MySQL's `binlog_event.h`).
const IGNORABLE: u16 = 0x80;

/// XA transactions that are prepared and not ended, at most: each is kept in memory, and MySQL
/// itself is in trouble long before.
const PREPARED_MAX: usize = 100_000;

/// A statement in an error message is cut to this many characters.
const STATEMENT_CHARS_MAX: usize = 200;

/// Groups the events of one dump into chunks.
pub struct Assembler {
    filter: TableFilter,
    ord: u64,
    open: Option<Open>,
    /// XA transactions that are prepared and hold nothing of what is taken, by their id as logged.
    prepared: HashMap<Vec<u8>, Gtid>,
    /// Where the last whole transaction ended.
    after: BinlogPosition,
}

/// The transaction that is being read.
struct Open {
    gtid: Gtid,
    commit_time_us: u64,
    part: u32,
    events: Vec<u8>,
    /// Set by the Query event `BEGIN`; DDL stands alone, without one.
    begun: bool,
    /// Set by the Query event `XA START`: its id as logged.
    xid: Option<Vec<u8>>,
    /// Values that the next statement was logged with, which only statement format needs.
    strays: bool,
    /// Table ids of the present statement that the filter does not take.
    skipped: HashSet<u64>,
    /// The event that was pushed last is large and was taken, but not copied.
    awaits_large: bool,
}

impl Assembler {
    /// Where a dump starts whose place isn't known by file and offset.
    pub const NOWHERE: BinlogPosition = BinlogPosition {
        file: String::new(),
        offset: 0,
    };

    /// An assembler for a dump that starts at `after`.
    pub fn new(filter: TableFilter, after: BinlogPosition) -> Self {
        Self {
            filter,
            ord: 0,
            open: None,
            prepared: HashMap::new(),
            after,
        }
    }

    /// Whether a part of the open transaction has been handed out already.
    pub fn handed_out_a_part(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.part > 0)
    }

    /// Forgets the open transaction, after the dump was lost in the middle of it.
    pub fn reset(&mut self) {
        self.open = None;
    }

    /// The dump goes on at another server, in whose binlog nothing has ended yet.
    pub fn forget_position(&mut self) {
        self.after = Self::NOWHERE;
    }

    /// Where the last whole transaction ended.
    pub fn position(&self) -> &BinlogPosition {
        &self.after
    }

    /// Takes the next event of the dump, in order and without checksum; `file` and `offset` are
    /// where it ends.
    ///
    /// # Errors
    /// What cannot be carried, see [`BatchError`].
    pub fn push(
        &mut self,
        header: &EventHeader,
        body: &[u8],
        file: &str,
        offset: u64,
    ) -> Result<Option<Message>, BatchError> {
        let place = Place { file, offset };
        match header.event_type {
            EventType::GTID | EventType::GTID_TAGGED => {
                if self.open.is_some() {
                    return Err(place.out_of_place(header, "the transaction before it has not ended"));
                }
                let event = GtidEvent::parse(header.event_type, body).map_err(|e| place.decode(e))?;
                let Some(gtid) = event.gtid else {
                    return Err(place.out_of_place(header, "a GTID event without a GTID"));
                };
                self.ord += 1;
                self.open = Some(Open {
                    gtid,
                    commit_time_us: event.original_commit_us,
                    part: 0,
                    events: Vec::new(),
                    begun: false,
                    xid: None,
                    strays: false,
                    skipped: HashSet::new(),
                    awaits_large: false,
                });
                Ok(None)
            }
            EventType::ANONYMOUS_GTID => Err(place.unsupported(
                header,
                None,
                "transactions without a GTID can't be followed exactly: SET GLOBAL gtid_mode = ON on the \
                 source (by way of OFF_PERMISSIVE and ON_PERMISSIVE) and start after them",
            )),
            EventType::QUERY => self.query(header, body, &place),
            EventType::TABLE_MAP => {
                let open = Self::opened(&mut self.open, header, &place)?;
                let (table_id, database, table) =
                    TableMap::names(body).map_err(|e| place.decode(e))?;
                let taken = match (std::str::from_utf8(database), std::str::from_utf8(table)) {
                    (Ok(database), Ok(table)) => self.filter.matches(database, table),
                    _ => {
                        return Err(place.unsupported(
                            header,
                            Some(&open.gtid),
                            "a table's name is not UTF-8",
                        ));
                    }
                };
                if taken {
                    open.skipped.remove(&table_id);
                    Ok(self.carry(header, body, &place))
                } else {
                    open.skipped.insert(table_id);
                    Ok(None)
                }
            }
            EventType::WRITE_ROWS_V1
            | EventType::UPDATE_ROWS_V1
            | EventType::DELETE_ROWS_V1
            | EventType::WRITE_ROWS
            | EventType::UPDATE_ROWS
            | EventType::DELETE_ROWS
            | EventType::PARTIAL_UPDATE_ROWS => {
                let open = Self::opened(&mut self.open, header, &place)?;
                let rows =
                    RowsEvent::parse(header.event_type, body).map_err(|e| place.decode(e))?;
                let skip = rows.table_id == RowsEvent::NO_TABLE
                    || open.skipped.contains(&rows.table_id);
                if rows.flags.statement_end() {
                    open.skipped.clear();
                }
                if skip { Ok(None) } else { Ok(self.carry(header, body, &place)) }
            }
            EventType::XID => {
                Self::opened(&mut self.open, header, &place)?;
                Ok(self.end(&place))
            }
            EventType::XA_PREPARE => self.xa_prepare(header, body, &place),
            EventType::INCIDENT => Err(place.unsupported(
                header,
                self.gtid(),
                "the source says that its binlog may lack changes: copy the data anew then step over it",
            )),
            EventType::INTVAR
            | EventType::RAND
            | EventType::USER_VAR
            | EventType::BEGIN_LOAD_QUERY
            | EventType::APPEND_BLOCK
            | EventType::DELETE_FILE => {
                // The statement that they belong to decides.
                Self::opened(&mut self.open, header, &place)?.strays = true;
                Ok(None)
            }
            EventType::EXECUTE_LOAD_QUERY => {
                let load = load_query(body);
                self.query(header, &load, &place)
            }
            EventType::HEARTBEAT | EventType::HEARTBEAT_V2 => {
                if self.open.is_some() {
                    return Ok(None);
                }
                if offset > 0 && !file.is_empty() {
                    self.after = BinlogPosition { file: file.to_owned(), offset };
                }
                Ok(Some(Message::CaughtUp { position: self.after.clone() }))
            }
            EventType::FORMAT_DESCRIPTION
            | EventType::ROTATE
            | EventType::STOP
            | EventType::PREVIOUS_GTIDS
            | EventType::ROWS_QUERY
            | EventType::IGNORABLE
            | EventType::TRANSACTION_CONTEXT
            | EventType::VIEW_CHANGE => Ok(None),
            _ if header.flags & IGNORABLE != 0 => Ok(None),
            _ => Err(place.unsupported(
                header,
                self.gtid(),
                "this version of Towpath does not know this event: report it with the source's version",
            )),
        }
    }

    fn query(
        &mut self,
        header: &EventHeader,
        body: &[u8],
        place: &Place<'_>,
    ) -> Result<Option<Message>, BatchError> {
        let query = QueryEvent::parse(body).map_err(|e| place.decode(e))?;
        let open = Self::opened(&mut self.open, header, place)?;
        // CREATE TABLE ... SELECT: it stands behind a BEGIN and before its rows.
        if open.begun && ends_with_words(query.sql, b"START TRANSACTION") {
            return Ok(self.carry(header, body, place));
        }
        let stands_first =
            !open.begun && open.xid.is_none() && open.part == 0 && open.events.is_empty();
        if stands_first {
            if query.sql.eq_ignore_ascii_case(b"BEGIN") {
                open.begun = true;
                return Ok(None);
            }
            if let Some((verb, xid)) = xa(query.sql) {
                return self.xa(header, place, verb, xid);
            }
            if !open.strays {
                // Stands alone: DDL and its kin are a transaction of their own.
                let part = self.carry(header, body, place);
                debug_assert!(part.is_none() || self.handed_out_a_part());
                return Ok(self.end(place));
            }
        }
        let word = first_word(query.sql);
        if query.sql.eq_ignore_ascii_case(b"COMMIT") {
            return Ok(self.end(place));
        }
        if word.eq_ignore_ascii_case(b"SAVEPOINT") || xa(query.sql) == Some((Xa::End, b"")) {
            return Ok(None);
        }
        if word.eq_ignore_ascii_case(b"ROLLBACK") {
            if open.part == 0 && open.events.is_empty() {
                // Nothing that is taken came before it.
                let is_end = query.sql.eq_ignore_ascii_case(word);
                return Ok(if is_end { self.end(place) } else { None });
            }
            return Err(place.unsupported(
                header,
                Some(&open.gtid),
                "it was rolled back, wholly or to a savepoint, behind changes that can't be: those of a table \
                 without transactions, such as MyISAM. Which of its rows are there is not in the binlog: make \
                 such tables InnoDB, look at its rows with mysqlbinlog, make them on the sink as they are at \
                 the source, then step over this transaction (towpath skip)",
            ));
        }
        let vars = query.status_vars().map_err(|e| place.decode(e))?;
        let outside = vars.updated_databases.as_deref().is_some_and(|databases| {
            !databases.is_empty()
                && !databases
                    .iter()
                    .any(|database| self.filter.may_match_database(database))
        });
        if outside {
            open.strays = false;
            return Ok(None);
        }
        Err(BatchError::StatementFormat {
            file: place.file.to_owned(),
            offset: place.offset,
            gtid: open.gtid.to_string(),
            statement: shorten(query.sql),
        })
    }

    /// An XA statement that stands first in its transaction.
    fn xa(
        &mut self,
        header: &EventHeader,
        place: &Place<'_>,
        verb: Xa,
        xid: &[u8],
    ) -> Result<Option<Message>, BatchError> {
        let open = Self::opened(&mut self.open, header, place)?;
        match verb {
            Xa::Start => {
                open.xid = Some(xid.to_vec());
                Ok(None)
            }
            Xa::Commit | Xa::Rollback => {
                let prepared = self.prepared.remove(xid);
                // What was rolled back has changed nothing, whatever it held.
                if prepared.is_none() && verb == Xa::Commit {
                    return Err(BatchError::Xa {
                        file: place.file.to_owned(),
                        offset: place.offset,
                        gtid: open.gtid.to_string(),
                        xid: String::from_utf8_lossy(xid).into_owned(),
                        reason: "this commits an XA transaction that was prepared before the place where \
                                 this pipeline began, or that was stepped over: unless its changes are on \
                                 the sink already, or in none of its tables, make them there",
                    });
                }
                Ok(self.end_with(place, prepared))
            }
            Xa::End => Err(place.out_of_place(header, "XA END without XA START")),
        }
    }

    /// The end of the first half of an XA transaction, or of one in one phase.
    fn xa_prepare(
        &mut self,
        header: &EventHeader,
        body: &[u8],
        place: &Place<'_>,
    ) -> Result<Option<Message>, BatchError> {
        let open = Self::opened(&mut self.open, header, place)?;
        let Some(xid) = open.xid.take() else {
            return Err(place.out_of_place(header, "XA PREPARE without XA START"));
        };
        // `one_phase` of `XA_prepare_event` in `control_events.h`: it is committed.
        if body.first().is_some_and(|one_phase| *one_phase != 0) {
            return Ok(self.end(place));
        }
        if open.part > 0 || !open.events.is_empty() {
            return Err(BatchError::Xa {
                file: place.file.to_owned(),
                offset: place.offset,
                gtid: open.gtid.to_string(),
                xid: String::from_utf8_lossy(&xid).into_owned(),
                reason: "XA transactions in two phases are not carried by this version: finish it on the \
                         source with XA COMMIT or XA ROLLBACK, and if that was a commit, make its changes \
                         on the sink",
            });
        }
        if self.prepared.len() >= PREPARED_MAX && !self.prepared.contains_key(&xid) {
            return Err(place.unsupported(
                header,
                self.gtid(),
                "too many XA transactions are prepared and neither committed nor rolled back: XA RECOVER \
                 on the source shows them; finish them",
            ));
        }
        Ok(self.open.take().map(|open| {
            self.prepared.insert(xid, open.gtid.clone());
            Message::Prepared(open.gtid)
        }))
    }

    /// Adds an event to the open transaction; hands out a part when it has grown large.
    fn carry(&mut self, header: &EventHeader, body: &[u8], place: &Place<'_>) -> Option<Message> {
        let open = self.open.as_mut()?;
        let full = !open.events.is_empty()
            && open.events.len() + EventHeader::LEN + body.len() > CHUNK_BYTES_MAX;
        let message = full.then(|| {
            let part = open.part;
            open.part += 1;
            Message::Chunk(Chunk {
                ord: self.ord,
                gtid: open.gtid.clone(),
                commit_time_us: open.commit_time_us,
                part,
                last: false,
                ends: None,
                events: Bytes::from(std::mem::take(&mut open.events)),
                after: place.position(),
            })
        });
        // A statement is copied whatever its size: it may be all that its transaction holds.
        if body.len() > EVENT_COPIED_MAX && header.event_type != EventType::QUERY {
            open.awaits_large = true;
            return message;
        }
        let len = open.events.len() + EventHeader::LEN + body.len();
        if len > PART_BEGUN && len > open.events.capacity() {
            let whole = CHUNK_BYTES_MAX.max(len) - open.events.len();
            open.events.reserve_exact(whole);
        }
        write_header(header, body.len(), &mut open.events);
        open.events.extend_from_slice(body);
        message
    }

    /// Whether the event that was pushed last must be given to [`Assembler::large`].
    pub fn awaits_large(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.awaits_large)
    }

    /// Takes the memory of a large event that was pushed just before: it becomes a part by itself.
    pub fn large(&mut self, event: Bytes, file: &str, offset: u64) -> Option<Message> {
        let open = self.open.as_mut()?;
        open.awaits_large = false;
        let after = Place { file, offset }.position();
        Some(open.part(self.ord, event, after))
    }

    fn end(&mut self, place: &Place<'_>) -> Option<Message> {
        self.end_with(place, None)
    }

    fn end_with(&mut self, place: &Place<'_>, ends: Option<Gtid>) -> Option<Message> {
        let open = self.open.take()?;
        self.after = place.position();
        Some(Message::Chunk(Chunk {
            ord: self.ord,
            gtid: open.gtid,
            commit_time_us: open.commit_time_us,
            part: open.part,
            last: true,
            ends,
            events: Bytes::from(open.events),
            after: self.after.clone(),
        }))
    }

    fn opened<'a>(
        open: &'a mut Option<Open>,
        header: &EventHeader,
        place: &Place<'_>,
    ) -> Result<&'a mut Open, BatchError> {
        open.as_mut()
            .ok_or_else(|| place.out_of_place(header, "no GTID event came before it"))
    }

    /// The open transaction's GTID.
    pub fn gtid(&self) -> Option<&Gtid> {
        self.open.as_ref().map(|open| &open.gtid)
    }
}

impl Open {
    /// A part that is not the last.
    fn part(&mut self, ord: u64, events: Bytes, after: BinlogPosition) -> Message {
        let part = self.part;
        self.part += 1;
        Message::Chunk(Chunk {
            ord,
            gtid: self.gtid.clone(),
            commit_time_us: self.commit_time_us,
            part,
            last: false,
            ends: None,
            events,
            after,
        })
    }
}

struct Place<'a> {
    file: &'a str,
    offset: u64,
}

impl Place<'_> {
    fn position(&self) -> BinlogPosition {
        BinlogPosition {
            file: self.file.to_owned(),
            offset: self.offset,
        }
    }

    fn decode(&self, source: DecodeError) -> BatchError {
        BatchError::Decode {
            file: self.file.to_owned(),
            offset: self.offset,
            source,
        }
    }

    fn out_of_place(&self, header: &EventHeader, detail: &'static str) -> BatchError {
        BatchError::OutOfPlace {
            file: self.file.to_owned(),
            offset: self.offset,
            event_type: header.event_type,
            detail,
        }
    }

    fn unsupported(
        &self,
        header: &EventHeader,
        gtid: Option<&Gtid>,
        reason: &'static str,
    ) -> BatchError {
        BatchError::Unsupported {
            file: self.file.to_owned(),
            offset: self.offset,
            gtid: gtid.map_or_else(|| "-".to_owned(), Gtid::to_string),
            event_type: header.event_type,
            reason,
        }
    }
}

/// An event's header for a body whose checksum was taken off.
fn write_header(header: &EventHeader, body_bytes: usize, out: &mut Vec<u8>) {
    let size = u32::try_from(EventHeader::LEN + body_bytes).unwrap_or(u32::MAX);
    out.extend_from_slice(&header.timestamp.to_le_bytes());
    out.push(header.event_type.0);
    out.extend_from_slice(&header.server_id.to_le_bytes());
    out.extend_from_slice(&size.to_le_bytes());
    out.extend_from_slice(&header.log_pos.to_le_bytes());
    out.extend_from_slice(&header.flags.to_le_bytes());
}

fn first_word(sql: &[u8]) -> &[u8] {
    let sql = sql.trim_ascii_start();
    let end = sql
        .iter()
        .position(|b| !b.is_ascii_alphanumeric())
        .unwrap_or(sql.len());
    sql.get(..end).unwrap_or_default()
}

/// Which XA statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Xa {
    Start,
    End,
    Commit,
    Rollback,
}

/// Reads an XA statement as the server logs it: the verb, and the transaction's id as text. The id
/// of XA END doesn't matter.
fn xa(sql: &[u8]) -> Option<(Xa, &[u8])> {
    let (xa, rest) = sql.split_at_checked(b"XA ".len())?;
    if !xa.eq_ignore_ascii_case(b"XA ") {
        return None;
    }
    let word = first_word(rest);
    let xid = rest
        .trim_ascii_start()
        .get(word.len()..)
        .unwrap_or_default()
        .trim_ascii();
    let verb = match word.to_ascii_uppercase().as_slice() {
        b"START" => Xa::Start,
        b"END" => return Some((Xa::End, b"")),
        b"COMMIT" => Xa::Commit,
        b"ROLLBACK" => Xa::Rollback,
        _ => return None,
    };
    Some((verb, xid))
}

/// An `EXECUTE_LOAD_QUERY` event's body as that of a query event: without the fields of its own
/// between the fixed ones and the status variables (`Execute_load_query_event` in
/// `statement_events.h`).
fn load_query(body: &[u8]) -> Vec<u8> {
    const FIXED_BYTES: usize = 13;
    const OWN_BYTES: usize = 13;
    let mut query = body.get(..FIXED_BYTES).unwrap_or_default().to_vec();
    query.extend_from_slice(body.get(FIXED_BYTES + OWN_BYTES..).unwrap_or_default());
    query
}

fn ends_with_words(sql: &[u8], words: &[u8]) -> bool {
    let sql = sql.trim_ascii_end();
    sql.len()
        .checked_sub(words.len())
        .and_then(|at| sql.get(at..))
        .is_some_and(|tail| tail.eq_ignore_ascii_case(words))
}

fn shorten(sql: &[u8]) -> String {
    let text = String::from_utf8_lossy(sql);
    match text.char_indices().nth(STATEMENT_CHARS_MAX) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text.into_owned(),
    }
}
