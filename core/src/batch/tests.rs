//! The framing of transactions, from events as a server sends them.

use towpath_protocol::code;
use towpath_protocol::position::BinlogPosition;
use towpath_protocol::spec::TableFilter;

use super::{Assembler, BatchError, CHUNK_BYTES_MAX, Chunk, Message};
use crate::decode::{EventHeader, EventType, Events};

const FILE: &str = "binlog.000001";

/// Feeds an assembler; each event ends 100 bytes behind the one before.
struct Feed {
    assembler: Assembler,
    offset: u64,
}

impl Feed {
    fn new() -> Self {
        let filter = TableFilter::parse(&["d.*", "!d.no"]).unwrap();
        let start = BinlogPosition {
            file: FILE.into(),
            offset: 4,
        };
        Self {
            assembler: Assembler::new(filter, start),
            offset: 4,
        }
    }

    fn push(&mut self, event_type: EventType, body: &[u8]) -> Result<Option<Message>, BatchError> {
        self.offset += 100;
        let header = EventHeader {
            timestamp: 1,
            event_type,
            server_id: 1,
            event_size: 100,
            log_pos: 0,
            flags: 0,
        };
        self.assembler.push(&header, body, FILE, self.offset)
    }

    /// An event that must be taken without a message.
    fn silent(&mut self, event_type: EventType, body: &[u8]) {
        let message = self.push(event_type, body).unwrap();
        assert!(message.is_none(), "{event_type}: {message:?}");
    }

    fn chunk(&mut self, event_type: EventType, body: &[u8]) -> Chunk {
        match self.push(event_type, body).unwrap() {
            Some(Message::Chunk(chunk)) => chunk,
            other => panic!("{event_type}: {other:?}"),
        }
    }

    fn error(&mut self, event_type: EventType, body: &[u8]) -> String {
        self.push(event_type, body).unwrap_err().to_string()
    }

    /// Up to and including BEGIN.
    fn begin(&mut self, number: u64) {
        self.silent(EventType::GTID, &gtid(number));
        self.silent(EventType::QUERY, &query("BEGIN"));
    }
}

fn gtid(number: u64) -> Vec<u8> {
    let mut body = vec![1];
    body.extend([7; 16]);
    body.extend(number.to_le_bytes());
    body.push(2);
    body.extend([0; 16]);
    body.extend(&1_000_000_u64.to_le_bytes()[..7]);
    body
}

fn query(sql: &str) -> Vec<u8> {
    let mut body = vec![0; 8];
    body.extend([1, 0, 0, 0, 0]);
    body.extend_from_slice(b"d\0");
    body.extend_from_slice(sql.as_bytes());
    body
}

fn table_map(id: u8, table: &str) -> Vec<u8> {
    let mut body = vec![id, 0, 0, 0, 0, 0, 1, 0];
    body.extend_from_slice(b"\x01d\0");
    body.push(table.len() as u8);
    body.extend_from_slice(table.as_bytes());
    body.extend([0, 1, 3, 0, 0]);
    body
}

const STATEMENT_END: u16 = 1;

/// Rows of `bytes` bytes, which nobody reads here.
fn rows(id: u8, flags: u16, bytes: usize) -> Vec<u8> {
    let mut body = vec![id, 0, 0, 0, 0, 0];
    body.extend(flags.to_le_bytes());
    body.extend([2, 0, 1, 1]);
    body.resize(body.len() + bytes, 0);
    body
}

fn types(chunk: &Chunk) -> Vec<EventType> {
    Events::new(&chunk.events)
        .map(|event| event.unwrap().header.event_type)
        .collect()
}

#[test]
fn a_transaction_is_one_chunk_of_its_rows() {
    let mut feed = Feed::new();
    for ord in 1..=2 {
        feed.begin(ord + 10);
        assert!(feed.assembler.gtid().is_some());
        feed.silent(EventType::ROWS_QUERY, b"x");
        feed.silent(EventType::TABLE_MAP, &table_map(1, "yes"));
        feed.silent(EventType::WRITE_ROWS, &rows(1, STATEMENT_END, 5));
        feed.silent(EventType::QUERY, &query("SAVEPOINT `a`"));
        let chunk = feed.chunk(EventType::XID, &[0; 8]);
        assert_eq!(types(&chunk), [EventType::TABLE_MAP, EventType::WRITE_ROWS]);
        assert_eq!(
            (chunk.ord, chunk.gtid.number, chunk.part, chunk.last),
            (ord, ord + 10, 0, true)
        );
        assert_eq!(
            (chunk.commit_time_us, chunk.after.offset),
            (1_000_000, feed.offset)
        );
        assert_eq!(feed.assembler.position(), &chunk.after);
        assert_eq!(feed.assembler.gtid(), None);
    }
}

#[test]
fn what_the_filter_leaves_out_still_moves_the_offset() {
    let mut feed = Feed::new();
    feed.begin(1);
    // One statement on two tables, one of which is taken.
    feed.silent(EventType::TABLE_MAP, &table_map(1, "no"));
    feed.silent(EventType::TABLE_MAP, &table_map(2, "yes"));
    feed.silent(EventType::DELETE_ROWS, &rows(1, 0, 5));
    feed.silent(EventType::UPDATE_ROWS, &rows(2, STATEMENT_END, 6));
    // The same id stands for another table in the next statement.
    feed.silent(EventType::TABLE_MAP, &table_map(1, "yes"));
    feed.silent(EventType::WRITE_ROWS, &rows(1, STATEMENT_END, 7));
    let chunk = feed.chunk(EventType::XID, &[0; 8]);
    let taken = [
        EventType::TABLE_MAP,
        EventType::UPDATE_ROWS,
        EventType::TABLE_MAP,
        EventType::WRITE_ROWS,
    ];
    assert_eq!(types(&chunk), taken);

    feed.begin(2);
    feed.silent(EventType::TABLE_MAP, &table_map(1, "no"));
    feed.silent(EventType::WRITE_ROWS, &rows(1, STATEMENT_END, 5));
    let chunk = feed.chunk(EventType::XID, &[0; 8]);
    assert!(chunk.events.is_empty() && chunk.last && chunk.part == 0);
    assert_eq!((chunk.gtid.number, chunk.after.offset), (2, feed.offset));
    // Nothing happened in it at all.
    feed.begin(3);
    assert!(feed.chunk(EventType::QUERY, &query("COMMIT")).last);
}

/// An event without data, as `Rows_log_event::do_apply_event` knows it.
#[test]
fn rows_of_no_table_only_end_their_statement() {
    let mut feed = Feed::new();
    feed.begin(1);
    feed.silent(EventType::TABLE_MAP, &table_map(1, "no"));
    feed.silent(EventType::TABLE_MAP, &table_map(2, "yes"));
    feed.silent(EventType::WRITE_ROWS, &rows(1, 0, 5));
    feed.silent(EventType::WRITE_ROWS, &rows(2, 0, 5));
    let mut ends = rows(0xff, STATEMENT_END, 0);
    ends[1..3].fill(0xff);
    feed.silent(EventType::WRITE_ROWS, &ends);
    // In the next statement the id stands for another table.
    feed.silent(EventType::TABLE_MAP, &table_map(1, "yes"));
    feed.silent(EventType::DELETE_ROWS, &rows(1, STATEMENT_END, 5));
    let chunk = feed.chunk(EventType::XID, &[0; 8]);
    assert_eq!(
        types(&chunk),
        [
            EventType::TABLE_MAP,
            EventType::WRITE_ROWS,
            EventType::TABLE_MAP,
            EventType::DELETE_ROWS
        ]
    );
}

/// A table without transactions keeps what was written before the savepoint was rolled back to.
#[test]
fn a_rollback_in_the_binlog_is_no_statement_format() {
    for sql in ["ROLLBACK TO `s`", "ROLLBACK"] {
        let mut feed = Feed::new();
        feed.begin(5);
        feed.silent(EventType::TABLE_MAP, &table_map(1, "yes"));
        feed.silent(EventType::WRITE_ROWS, &rows(1, STATEMENT_END, 5));
        let error = feed.push(EventType::QUERY, &query(sql)).unwrap_err();
        assert_eq!(error.code(), code::NOT_CARRIED);
        let said = error.to_string();
        assert!(
            said.contains("MyISAM") && !said.contains("binlog_format"),
            "{said}"
        );
    }
    // Of what isn't taken it may roll back whatever it likes.
    let mut feed = Feed::new();
    feed.begin(6);
    feed.silent(EventType::TABLE_MAP, &table_map(1, "no"));
    feed.silent(EventType::WRITE_ROWS, &rows(1, STATEMENT_END, 5));
    feed.silent(EventType::QUERY, &query("ROLLBACK TO `s`"));
    assert!(feed.chunk(EventType::QUERY, &query("ROLLBACK")).last);
}

#[test]
fn a_large_transaction_comes_in_parts_that_are_bounded() {
    const EVENT: usize = 300 * 1024;
    let mut feed = Feed::new();
    feed.begin(1);
    feed.silent(EventType::TABLE_MAP, &table_map(1, "yes"));
    let mut parts = Vec::new();
    for n in 0..10 {
        assert_eq!(feed.assembler.handed_out_a_part(), !parts.is_empty());
        match feed
            .push(EventType::WRITE_ROWS, &rows(1, u16::from(n == 9), EVENT))
            .unwrap()
        {
            Some(Message::Chunk(part)) => parts.push(part),
            None => {}
            other => panic!("{other:?}"),
        }
    }
    parts.push(feed.chunk(EventType::XID, &[0; 8]));
    assert_eq!(parts.len(), 4);
    for (n, part) in parts.iter().enumerate() {
        assert_eq!((part.part, part.last, part.ord), (n as u32, n == 3, 1));
        assert!(!part.events.is_empty() && part.events.len() <= CHUNK_BYTES_MAX);
    }
    let events: usize = parts.iter().map(|part| types(part).len()).sum();
    assert_eq!(events, 11);

    // One event over the bound travels alone, and the next transaction begins at part 0.
    feed.begin(2);
    feed.silent(EventType::TABLE_MAP, &table_map(1, "yes"));
    let first = feed.chunk(
        EventType::WRITE_ROWS,
        &rows(1, STATEMENT_END, 2 * CHUNK_BYTES_MAX),
    );
    let second = feed.chunk(EventType::XID, &[0; 8]);
    assert_eq!((first.part, types(&first)), (0, vec![EventType::TABLE_MAP]));
    assert_eq!(
        (second.part, types(&second)),
        (1, vec![EventType::WRITE_ROWS])
    );
    assert!(second.last && !first.last);
}

#[test]
fn a_statement_stands_alone() {
    let mut feed = Feed::new();
    feed.silent(EventType::GTID, &gtid(1));
    let chunk = feed.chunk(EventType::QUERY, &query("ALTER TABLE yes ADD c INT"));
    assert_eq!((types(&chunk), chunk.last), (vec![EventType::QUERY], true));
    assert_eq!(feed.assembler.gtid(), None);
}

#[test]
fn a_lost_dump_is_forgotten_with_its_transaction() {
    let mut feed = Feed::new();
    feed.begin(1);
    feed.silent(EventType::TABLE_MAP, &table_map(1, "yes"));
    let before = feed.assembler.position().clone();
    feed.assembler.reset();
    assert_eq!(feed.assembler.gtid(), None);
    assert_eq!(feed.assembler.position(), &before);
    feed.begin(1);
    assert!(feed.chunk(EventType::XID, &[0; 8]).events.is_empty());
}

#[test]
fn a_heartbeat_tells_the_place_between_transactions_only() {
    let mut feed = Feed::new();
    match feed.push(EventType::HEARTBEAT, &[]).unwrap() {
        Some(Message::CaughtUp { position }) => assert_eq!(position.offset, feed.offset),
        other => panic!("{other:?}"),
    }
    feed.begin(1);
    feed.silent(EventType::HEARTBEAT, &[]);
}

#[test]
fn what_cannot_be_carried_is_named() {
    let inside = |event_type, body: &[u8]| {
        let mut feed = Feed::new();
        feed.begin(5);
        feed.error(event_type, body)
    };
    let alone = |sql: &str| {
        let mut feed = Feed::new();
        feed.silent(EventType::GTID, &gtid(5));
        feed.error(EventType::QUERY, &query(sql))
    };
    let gtid_text = "07070707-0707-0707-0707-070707070707:5";
    for (said, what) in [
        (
            inside(EventType::QUERY, &query("INSERT INTO yes VALUES (1)")),
            "binlog_format = 'ROW'",
        ),
        (inside(EventType::INCIDENT, &[]), "copy the data anew"),
        (inside(EventType(250), &[]), "does not know this event"),
        (alone("XA COMMIT X'01',X'',1"), "XA X'01',X'',1"),
    ] {
        assert!(
            said.contains(what) && said.contains(gtid_text) && said.contains(FILE),
            "{what:?}: {said}"
        );
    }
    for (said, what) in [
        (
            Feed::new().error(EventType::XID, &[0; 8]),
            "no GTID event came before it",
        ),
        (
            Feed::new().error(EventType::WRITE_ROWS, &rows(1, 0, 0)),
            "no GTID event came before it",
        ),
        (inside(EventType::GTID, &gtid(6)), "has not ended"),
        (inside(EventType::XA_PREPARE, &[0]), "without XA START"),
        (alone("XA END X'01',X'',1"), "without XA START"),
        (
            Feed::new().error(EventType::ANONYMOUS_GTID, &[0; 42]),
            "gtid_mode = ON",
        ),
        (Feed::new().error(EventType::GTID, &[1, 2, 3]), FILE),
    ] {
        assert!(said.contains(what), "{what:?}: {said}");
    }
    // A reader may skip what says so.
    let mut feed = Feed::new();
    let header = EventHeader {
        timestamp: 1,
        event_type: EventType(250),
        server_id: 1,
        event_size: 100,
        log_pos: 0,
        flags: EventHeader::IGNORABLE,
    };
    assert!(
        feed.assembler
            .push(&header, &[], FILE, 104)
            .unwrap()
            .is_none()
    );
}

/// A query event of a session that changed tables of these databases.
fn query_on(databases: &[&str], sql: &str) -> Vec<u8> {
    let mut status = vec![12, databases.len() as u8];
    for database in databases {
        status.extend_from_slice(database.as_bytes());
        status.push(0);
    }
    let mut body = vec![0; 8];
    body.extend([1, 0, 0, status.len() as u8, 0]);
    body.extend(status);
    body.extend_from_slice(b"d\0");
    body.extend_from_slice(sql.as_bytes());
    body
}

#[test]
fn a_table_that_is_created_with_rows_is_one_transaction() {
    let mut feed = Feed::new();
    feed.begin(1);
    let create = query("CREATE TABLE `yes` (`a` int) START TRANSACTION");
    feed.silent(EventType::QUERY, &create);
    feed.silent(EventType::TABLE_MAP, &table_map(1, "yes"));
    feed.silent(EventType::WRITE_ROWS, &rows(1, STATEMENT_END, 5));
    let chunk = feed.chunk(EventType::XID, &[0; 8]);
    assert_eq!(
        types(&chunk),
        [
            EventType::QUERY,
            EventType::TABLE_MAP,
            EventType::WRITE_ROWS
        ]
    );
    assert!(chunk.last);
}

#[test]
fn statements_outside_of_the_filter_are_passed_over() {
    let mut feed = Feed::new();
    feed.begin(1);
    for stray in [EventType::INTVAR, EventType::RAND, EventType::USER_VAR] {
        feed.silent(stray, &[]);
    }
    let insert = "INSERT INTO other.t VALUES (RAND())";
    feed.silent(EventType::QUERY, &query_on(&["other"], insert));
    feed.silent(EventType::BEGIN_LOAD_QUERY, &[]);
    let mut load = query_on(&["other", "more"], "LOAD DATA INFILE 'x' INTO TABLE t");
    load.splice(13..13, [0; 13]);
    feed.silent(EventType::EXECUTE_LOAD_QUERY, &load);
    assert!(feed.chunk(EventType::XID, &[0; 8]).events.is_empty());

    for databases in [&["other", "d"][..], &[]] {
        let mut feed = Feed::new();
        feed.begin(2);
        feed.silent(EventType::INTVAR, &[]);
        let said = feed.error(EventType::QUERY, &query_on(databases, insert));
        assert!(
            said.contains("RAND()") && said.contains("binlog_format"),
            "{said}"
        );
        let mut load = query_on(databases, "LOAD DATA INFILE 'x' INTO TABLE t");
        load.splice(13..13, [0; 13]);
        let said = feed.error(EventType::EXECUTE_LOAD_QUERY, &load);
        assert!(said.contains("LOAD DATA"), "{said}");
    }
    let mut feed = Feed::new();
    feed.begin(3);
    // Cut short.
    feed.error(EventType::EXECUTE_LOAD_QUERY, &[0; 20]);
}

impl Feed {
    /// An XA transaction up to its end, with rows of a table or without.
    fn xa(&mut self, number: u64, xid: &str, table: Option<&str>) {
        self.silent(EventType::GTID, &gtid(number));
        self.silent(EventType::QUERY, &query(&format!("XA START {xid}")));
        if let Some(table) = table {
            self.silent(EventType::TABLE_MAP, &table_map(1, table));
            self.silent(EventType::WRITE_ROWS, &rows(1, STATEMENT_END, 5));
        }
        self.silent(EventType::QUERY, &query(&format!("XA END {xid}")));
    }

    /// It is prepared.
    fn xa_prepared(&mut self, number: u64) {
        match self.push(EventType::XA_PREPARE, &[0, 1]).unwrap() {
            Some(Message::Prepared(gtid)) => assert_eq!(gtid.number, number),
            other => panic!("{other:?}"),
        }
    }

    fn xa_ends(&mut self, number: u64, statement: &str) -> Chunk {
        self.silent(EventType::GTID, &gtid(number));
        self.chunk(EventType::QUERY, &query(statement))
    }
}

#[test]
fn an_xa_transaction_that_is_not_taken_counts_as_done_when_it_ends() {
    let mut feed = Feed::new();
    let (first, second) = ("X'01',X'',1", "X'02',X'62',7");
    feed.xa(1, first, Some("no"));
    feed.xa_prepared(1);
    assert_eq!(feed.assembler.gtid(), None);
    feed.xa(2, second, None);
    feed.xa_prepared(2);
    feed.begin(3);
    let between = feed.chunk(EventType::XID, &[0; 8]);
    assert_eq!((between.gtid.number, between.ends), (3, None));
    for (number, statement, ended) in [
        (4, format!("XA ROLLBACK {second}"), 2),
        (5, format!("XA COMMIT {first}"), 1),
    ] {
        let chunk = feed.xa_ends(number, &statement);
        assert_eq!(chunk.gtid.number, number);
        assert_eq!(chunk.ends.map(|gtid| gtid.number), Some(ended));
        assert!(chunk.last && chunk.events.is_empty());
    }
    // Its id is free again, and the dump may send the prepared half a second time.
    for _ in 0..2 {
        feed.xa(6, first, Some("no"));
        feed.xa_prepared(6);
    }
    let chunk = feed.xa_ends(7, &format!("XA COMMIT {first}"));
    assert_eq!(chunk.ends.map(|gtid| gtid.number), Some(6));
}

#[test]
fn an_xa_transaction_in_one_phase_is_one_like_any_other() {
    let mut feed = Feed::new();
    feed.xa(1, "X'01',X'',1", Some("yes"));
    let chunk = feed.chunk(EventType::XA_PREPARE, &[1, 1]);
    assert_eq!(types(&chunk), [EventType::TABLE_MAP, EventType::WRITE_ROWS]);
    assert!(chunk.last);
}

#[test]
fn a_prepared_xa_transaction_on_what_is_taken_stops_at_its_prepare() {
    let mut feed = Feed::new();
    feed.xa(1, "X'01',X'',1", Some("yes"));
    let said = feed.error(EventType::XA_PREPARE, &[0, 1]);
    for part in ["X'01',X'',1", "XA ROLLBACK", "docs/schema-changes.md"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    // One that was stepped over, or prepared before the beginning.
    let mut feed = Feed::new();
    let chunk = feed.xa_ends(2, "XA ROLLBACK X'01',X'',1");
    assert_eq!(chunk.ends, None);
    feed.silent(EventType::GTID, &gtid(3));
    let said = feed.error(EventType::QUERY, &query("XA COMMIT X'01',X'',1"));
    assert!(said.contains("before the place"), "{said}");
}
