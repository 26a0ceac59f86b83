//! The framing of transactions, from events as a server sends them.

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
        assert!(feed.assembler.in_transaction());
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
        assert!(!feed.assembler.in_transaction());
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
    assert!(!feed.assembler.in_transaction());
}

#[test]
fn a_lost_dump_is_forgotten_with_its_transaction() {
    let mut feed = Feed::new();
    feed.begin(1);
    feed.silent(EventType::TABLE_MAP, &table_map(1, "yes"));
    let before = feed.assembler.position().clone();
    feed.assembler.reset();
    assert!(!feed.assembler.in_transaction());
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
        (inside(EventType::INTVAR, &[]), "binlog_format = 'ROW'"),
        (inside(EventType::XA_PREPARE, &[]), "XA COMMIT"),
        (inside(EventType::INCIDENT, &[]), "copy the data anew"),
        (inside(EventType(250), &[]), "does not know this event"),
        (alone("XA START X'01',X'',1"), "XA transactions"),
        (
            inside(
                EventType::QUERY,
                &query("CREATE TABLE `u` (`a` int) START TRANSACTION"),
            ),
            "CREATE TABLE ... SELECT",
        ),
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
