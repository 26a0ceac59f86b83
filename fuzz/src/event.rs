//! Events of a binlog, as they are behind their checksum: framed, decoded, printed, and made into
//! statements.

use towpath_core::apply::ddl::{Statement, decide};
use towpath_core::apply::mirrored;
use towpath_core::batch::Assembler;
use towpath_core::decode::{EventType, Events, GtidEvent, QueryEvent, TableMap};
use towpath_core::tail::JsonLines;
use towpath_protocol::position::BinlogPosition;
use towpath_protocol::spec::{DdlSpec, TableFilter};

/// Statements and lines may be this much longer than the bytes they are made of: a NULL is a bit,
/// and its text names the column.
const GROWTH_MAX: usize = 4096;

const FILE: &str = "binlog.000001";

/// Where the recorded events begin, behind the file's magic number.
const MAGIC_BYTES: usize = 4;
const HEADER_BYTES: usize = 19;
const CHECKSUM_BYTES: usize = 4;

/// The first byte says whether the sink's tables have keys; events without checksums follow.
pub fn check(data: &[u8]) {
    let Some((&flags, data)) = data.split_first() else {
        return;
    };
    let keyed = flags & 1 != 0;
    let filter = TableFilter::parse(&["*.*"]).expect("a filter");
    let rules = DdlSpec::default();
    let after = BinlogPosition {
        file: FILE.to_owned(),
        offset: MAGIC_BYTES as u64,
    };
    let mut assembler = Assembler::new(filter.clone(), after);
    let mut lines = JsonLines::new(filter.clone());
    let mut out = Vec::new();
    let mut map = None;
    for event in Events::new(data) {
        let Ok(event) = event else { break };
        let (header, body) = (&event.header, event.body);
        // The stream of a source ends at its first error.
        if assembler.push(header, body, FILE, 0).is_err() {
            assembler.reset();
        }
        out.clear();
        let _ = lines.event(header, body, (FILE, 0), &mut out);
        assert!(out.len() <= (data.len() + 1) * GROWTH_MAX);
        match header.event_type {
            EventType::TABLE_MAP => map = TableMap::parse(body).ok(),
            EventType::QUERY => query(body, &filter, &rules),
            EventType::GTID | EventType::GTID_TAGGED => {
                let _ = GtidEvent::parse(header.event_type, body);
            }
            rows => {
                if let Some(map) = &map
                    && let Some(bytes) = mirrored::statements(map, rows, body, keyed)
                {
                    let names: usize = map.columns.iter().map(|column| column.name.len()).sum();
                    assert!(bytes <= (body.len() + 1) * (GROWTH_MAX + names * 8));
                }
            }
        }
    }
}

fn query(body: &[u8], filter: &TableFilter, rules: &DdlSpec) {
    let Ok(query) = QueryEvent::parse(body) else {
        return;
    };
    let _ = query.status_vars();
    let sql = String::from_utf8_lossy(query.sql);
    for sql_mode in [0, 4] {
        let statement = Statement {
            sql: &sql,
            sql_mode,
            database: "d",
            updated_databases: None,
            lower_case_names: false,
        };
        let _ = decide(&statement, filter, rules);
    }
}

/// A recorded binlog of all types, in pieces: each statement's events by themselves, then all
/// together.
pub fn seeds() -> Vec<Vec<u8>> {
    let recorded = include_bytes!("../../core/tests/data/types.binlog");
    let mut rest = &recorded[MAGIC_BYTES..];
    let mut seeds = Vec::new();
    let mut piece = vec![1];
    while rest.len() > HEADER_BYTES {
        let size = u32::from_le_bytes(rest[9..13].try_into().expect("four bytes")) as usize;
        let (event, behind) = rest.split_at(size);
        rest = behind;
        let mut event = event[..size - CHECKSUM_BYTES].to_vec();
        let bytes = event.len() as u32;
        event[9..13].copy_from_slice(&bytes.to_le_bytes());
        if matches!(EventType(event[4]), EventType::GTID | EventType::GTID_TAGGED) && piece.len() > 1 {
            seeds.push(std::mem::replace(&mut piece, vec![1]));
        }
        piece.extend(event);
    }
    seeds.push(piece);
    for statement in [
        "CREATE TABLE `a`.`b` /* c */ (id INT)",
        "RENAME TABLE t TO u, v TO t",
        "ALTER TABLE t ADD c INT, EXCHANGE PARTITION p WITH TABLE u",
        "DROP DATABASE IF EXISTS d",
    ] {
        seeds.push([&[1], query_event(statement).as_slice()].concat());
    }
    seeds
}

fn query_event(sql: &str) -> Vec<u8> {
    // thread id, time, length of the database, error code, length of the variables, "d\0"
    let mut body = vec![0; 8];
    body.extend([1, 0, 0, 0, 0, b'd', 0]);
    body.extend(sql.as_bytes());
    let mut event = vec![0; 4];
    event.push(EventType::QUERY.0);
    event.extend(1_u32.to_le_bytes());
    event.extend(((HEADER_BYTES + body.len()) as u32).to_le_bytes());
    event.extend([0; 6]);
    event.extend(body);
    event
}
