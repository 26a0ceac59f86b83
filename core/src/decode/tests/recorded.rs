//! The recorded binlog, event by event.

use crate::decode::checksum;
use crate::decode::{ChecksumAlgorithm, EventHeader, EventType, FormatDescription, TableMap};

pub(crate) const FILE: &[u8] = include_bytes!("../../../tests/data/types.binlog");
const MAGIC: &[u8] = b"\xfebin";

/// An event without its checksum.
#[derive(Clone, Copy)]
pub(crate) struct Recorded {
    pub(crate) header: EventHeader,
    pub(crate) bytes: &'static [u8],
    /// Offset of the next event in the file.
    pub(crate) end: u64,
}

impl Recorded {
    pub(crate) fn body(&self) -> &'static [u8] {
        &self.bytes[EventHeader::LEN..]
    }
}

/// All events of the file, checksums verified.
pub(crate) fn events() -> Vec<Recorded> {
    let mut rest = FILE.strip_prefix(MAGIC).unwrap();
    let mut events = Vec::new();
    while !rest.is_empty() {
        let (header, _) = EventHeader::parse(rest).unwrap();
        let (event, behind) = rest.split_at(header.event_size as usize);
        rest = behind;
        if header.event_type == EventType::FORMAT_DESCRIPTION {
            let format = FormatDescription::parse(event).unwrap();
            assert_eq!(format.checksum, ChecksumAlgorithm::Crc32);
        }
        let bytes = checksum::verify(event).unwrap();
        events.push(Recorded {
            header,
            bytes,
            end: (FILE.len() - rest.len()) as u64,
        });
    }
    events
}

pub(crate) fn of_type(event_type: EventType) -> Vec<Recorded> {
    events()
        .into_iter()
        .filter(|event| event.header.event_type == event_type)
        .collect()
}

/// The table map of a table, and the rows events behind it.
pub(crate) fn table(name: &str) -> (TableMap, Vec<Recorded>) {
    let mut found: Option<TableMap> = None;
    let mut rows = Vec::new();
    let mut inside = false;
    for event in events() {
        if event.header.event_type == EventType::TABLE_MAP {
            let table = TableMap::parse(event.body()).unwrap();
            inside = table.table == name;
            if inside {
                found = Some(table);
            }
        } else if event.header.event_type.is_rows() && inside {
            rows.push(event);
        }
    }
    (found.unwrap(), rows)
}
