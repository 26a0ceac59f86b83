//! Events other than rows, of the recorded binlog and by hand.

use std::collections::BTreeSet;

use super::recorded::{self, FILE};
use crate::decode::checksum;
use crate::decode::{
    Charset, DecodeError, EventHeader, EventType, Events, FormatDescription, GtidEvent,
    HeartbeatEvent, QueryEvent, RotateEvent, RowsQueryEvent, StatusVars, XidEvent, previous_gtids,
};

#[test]
fn format_description_names_its_server() {
    let event = &FILE[4..];
    let size = EventHeader::parse(event).unwrap().0.event_size as usize;
    let format = FormatDescription::parse(&event[..size]).unwrap();
    assert!(
        format.server_version.starts_with("9.7."),
        "{}",
        format.server_version
    );
    assert_eq!(format.created, 0);
    assert_eq!(
        format.post_header_lengths.len(),
        usize::from(EventType::GTID_TAGGED.0)
    );
    let mut damaged = event[..size].to_vec();
    damaged[30] ^= 1;
    assert!(matches!(
        FormatDescription::parse(&damaged),
        Err(DecodeError::Checksum { .. })
    ));
}

#[test]
fn every_event_of_the_file_is_known_and_whole() {
    let types: BTreeSet<EventType> = recorded::events()
        .iter()
        .map(|event| event.header.event_type)
        .collect();
    assert!(types.iter().all(|event_type| event_type.name().is_some()));
    for needed in [
        EventType::FORMAT_DESCRIPTION,
        EventType::PREVIOUS_GTIDS,
        EventType::GTID,
        EventType::GTID_TAGGED,
        EventType::QUERY,
        EventType::TABLE_MAP,
        EventType::WRITE_ROWS,
        EventType::UPDATE_ROWS,
        EventType::DELETE_ROWS,
        EventType::ROWS_QUERY,
        EventType::XID,
        EventType::XA_PREPARE,
        EventType::ROTATE,
        EventType::USER_VAR,
        EventType::RAND,
    ] {
        assert!(types.contains(&needed), "{needed}");
    }
}

#[test]
fn a_flipped_bit_fails_the_checksum() {
    let size = EventHeader::parse(&FILE[4..]).unwrap().0.event_size as usize;
    let mut event = FILE[4..4 + size].to_vec();
    assert_eq!(checksum::verify(&event).unwrap().len(), size - 4);
    event[40] ^= 0x10;
    let error = checksum::verify(&event).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("Format_desc event fails its checksum"),
        "{error}"
    );
    assert!(matches!(
        checksum::verify(&event[..20]),
        Err(DecodeError::Truncated { .. })
    ));
}

#[test]
fn previous_gtids_are_a_set() {
    let event = recorded::of_type(EventType::PREVIOUS_GTIDS)[0];
    let set = previous_gtids::parse(event.body()).unwrap();
    assert_eq!((set.origins().count(), set.count()), (1, 2));
    assert!(previous_gtids::parse(&event.body()[..7]).is_err());
}

#[test]
fn gtids_count_up_and_lengths_lead_to_the_next_transaction() {
    let events = recorded::events();
    let starts: Vec<_> = events
        .iter()
        .filter(|event| {
            matches!(
                event.header.event_type,
                EventType::GTID | EventType::GTID_TAGGED
            )
        })
        .collect();
    let mut tagged = 0;
    let mut untagged_number = None;
    for (index, event) in starts.iter().enumerate() {
        let gtid = GtidEvent::parse(event.header.event_type, event.body()).unwrap();
        assert_eq!(gtid.sequence_number, index as i64 + 1);
        assert!(gtid.last_committed < gtid.sequence_number);
        assert_eq!(gtid.immediate_commit_us, gtid.original_commit_us);
        assert_eq!(gtid.immediate_server_version / 100, 907);
        assert_eq!(gtid.original_server_version, gtid.immediate_server_version);
        let start = event.end - u64::from(event.header.event_size);
        let next = start + gtid.transaction_length;
        let next_start = starts
            .get(index + 1)
            .map(|next| next.end - u64::from(next.header.event_size));
        if let Some(next_start) = next_start {
            assert_eq!(next, next_start);
        }
        let id = gtid.gtid.unwrap();
        if id.origin.tag.is_empty() {
            if let Some(before) = untagged_number.replace(id.number) {
                assert_eq!(id.number, before + 1);
            }
        } else {
            assert_eq!((id.origin.tag.as_str(), id.number), ("towpath_1", 1));
            tagged += 1;
        }
    }
    assert_eq!(tagged, 1);
}

#[test]
fn gtid_of_other_servers() {
    // Two commit times and two versions that differ: a transaction that came through a replica.
    let mut body = vec![1];
    body.extend([7; 16]);
    body.extend(42_u64.to_le_bytes());
    body.push(2);
    body.extend(10_u64.to_le_bytes());
    body.extend(11_u64.to_le_bytes());
    let whole = body.len();
    body.extend(&(2_000_000_u64 | 1 << 55).to_le_bytes()[..7]);
    body.extend(&1_000_000_u64.to_le_bytes()[..7]);
    body.extend([252, 0, 1]);
    body.extend((90_704_u32 | 1 << 31).to_le_bytes());
    body.extend(80_036_u32.to_le_bytes());
    let gtid = GtidEvent::parse(EventType::GTID, &body).unwrap();
    assert_eq!(
        (gtid.immediate_commit_us, gtid.original_commit_us),
        (2_000_000, 1_000_000)
    );
    assert_eq!(gtid.transaction_length, 256);
    assert_eq!(
        (gtid.immediate_server_version, gtid.original_server_version),
        (90_704, 80_036)
    );
    assert_eq!((gtid.last_committed, gtid.sequence_number), (10, 11));
    // MySQL 5.7 ends behind the logical clock, 5.6 behind the number.
    assert_eq!(
        GtidEvent::parse(EventType::GTID, &body[..whole])
            .unwrap()
            .sequence_number,
        11
    );
    assert_eq!(
        GtidEvent::parse(EventType::GTID, &body[..25])
            .unwrap()
            .sequence_number,
        0
    );
    assert_eq!(
        GtidEvent::parse(EventType::ANONYMOUS_GTID, &body)
            .unwrap()
            .gtid,
        None
    );
    assert!(GtidEvent::parse(EventType::GTID, &body[..24]).is_err());
}

fn queries() -> Vec<(String, StatusVars, String)> {
    recorded::of_type(EventType::QUERY)
        .iter()
        .map(|event| {
            let query = QueryEvent::parse(event.body()).unwrap();
            assert_eq!(query.error_code, 0);
            let sql = String::from_utf8_lossy(query.sql).into_owned();
            let schema = String::from_utf8_lossy(query.schema).into_owned();
            (sql, query.status_vars().unwrap(), schema)
        })
        .collect()
}

#[test]
fn statements_come_with_their_settings() {
    let queries = queries();
    let (_, vars, schema) = queries
        .iter()
        .find(|(sql, ..)| sql.starts_with("CREATE TABLE settings"))
        .unwrap();
    assert_eq!(schema, "types");
    assert_eq!(vars.sql_mode, Some(0));
    assert_eq!(vars.auto_increment, Some((7, 3)));
    assert_eq!(vars.charset.map(|charset| charset.client), Some(8));
    assert_eq!(vars.lc_time_names, Some(4));
    assert_eq!(vars.sql_require_primary_key, Some(1));
    assert_eq!(vars.default_collation_for_utf8mb4, Some(45));
    assert_eq!(vars.explicit_defaults_for_timestamp, Some(true));
    assert!(vars.ddl_xid.is_some());
    assert_eq!(
        vars.updated_databases.as_deref(),
        Some(&["types".to_owned()][..])
    );
    let flags = vars.flags2.unwrap();
    assert_eq!((flags >> 26 & 1, flags >> 27 & 1), (1, 1));

    let (_, vars, _) = queries
        .iter()
        .find(|(sql, ..)| sql.contains("VIEW `definer`"))
        .unwrap();
    assert_eq!(vars.charset.map(|charset| charset.client), Some(255));

    let (_, vars, _) = queries
        .iter()
        .find(|(sql, ..)| sql.starts_with("CREATE DATABASE"))
        .unwrap();
    assert_eq!(
        vars.charset,
        Some(Charset {
            client: 255,
            connection: 255,
            server: 255
        })
    );
    assert_eq!(vars.auto_increment, None);
    assert_eq!(vars.default_table_encryption, Some(0));
}

#[test]
fn an_unknown_status_variable_is_an_error() {
    let error = StatusVars::parse(&[0, 0, 0, 0, 0, 99]).unwrap_err();
    assert_eq!(
        error,
        DecodeError::UnknownStatusVariable {
            code: 99,
            offset: 5
        }
    );
    assert_eq!(
        StatusVars::parse(&[12, 254]).unwrap().updated_databases,
        None
    );
    let invoker = StatusVars::parse(b"\x0b\x04root\x09localhost")
        .unwrap()
        .invoker;
    assert_eq!(invoker, Some(("root".to_owned(), "localhost".to_owned())));
}

#[test]
fn small_events() {
    let rotate = RotateEvent::parse(recorded::of_type(EventType::ROTATE)[0].body()).unwrap();
    assert_eq!(rotate.position, 4);
    assert!(rotate.file.starts_with(b"binlog."));
    let statement = RowsQueryEvent::parse(recorded::of_type(EventType::ROWS_QUERY)[0].body());
    assert_eq!(statement.unwrap().sql, b"INSERT INTO settings () VALUES ()");
    for event in recorded::of_type(EventType::XID) {
        assert!(XidEvent::parse(event.body()).unwrap().xid > 0);
    }
}

#[test]
fn heartbeats_of_both_versions() {
    let mut header = recorded::events()[0].header;
    header.event_type = EventType::HEARTBEAT;
    header.log_pos = 157;
    let heartbeat = HeartbeatEvent::parse(&header, b"binlog.000007").unwrap();
    assert_eq!(
        heartbeat,
        HeartbeatEvent {
            file: b"binlog.000007",
            position: 157
        }
    );
    header.event_type = EventType::HEARTBEAT_V2;
    let body = b"\x01\x0dbinlog.000007\x02\x09\xfe\x00\x00\x00\x00\x01\x00\x00\x00\x00";
    let heartbeat = HeartbeatEvent::parse(&header, body).unwrap();
    assert_eq!(
        heartbeat,
        HeartbeatEvent {
            file: b"binlog.000007",
            position: 1 << 32
        }
    );
    assert!(HeartbeatEvent::parse(&header, &body[..10]).is_err());
    header.event_type = EventType::XID;
    assert!(HeartbeatEvent::parse(&header, body).is_err());
}

#[test]
fn events_follow_one_another() {
    let mut bytes = Vec::new();
    let recorded = recorded::events();
    for event in &recorded {
        let start = bytes.len();
        bytes.extend_from_slice(event.bytes);
        let size = (event.bytes.len() as u32).to_le_bytes();
        bytes[start + 9..start + 13].copy_from_slice(&size);
    }
    let events: Vec<_> = Events::new(&bytes).collect::<Result<_, _>>().unwrap();
    assert_eq!(events.len(), recorded.len());
    for (event, recorded) in events.iter().zip(&recorded) {
        assert_eq!(event.header.event_type, recorded.header.event_type);
        assert_eq!(event.body, recorded.body());
        assert_eq!(event.bytes.len(), event.header.event_size as usize);
    }
    let cut = Events::new(&bytes[..bytes.len() - 1]).collect::<Vec<_>>();
    assert_eq!(cut.len(), recorded.len());
    assert!(cut.last().unwrap().is_err());
    bytes[9] = 3;
    bytes[10..13].fill(0);
    assert_eq!(Events::new(&bytes).filter(Result::is_err).count(), 1);
    assert_eq!(Events::new(&bytes).count(), 1);
}
