//! Openraft's types, chosen once; and how an entry lies in the log file.

use std::fmt;
use std::io;

use bytes::Bytes;
use openraft::type_config::alias as of;
use openraft::{EntryPayload, LogId};
use serde::{Deserialize, Serialize};

use super::member::Member;

/// What the front proposed, uninterpreted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Payload(pub(super) Bytes);

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

openraft::declare_raft_types!(
    /// A log of bytes whose outcome is told elsewhere.
    pub(super) Types:
        D = Payload,
        R = (),
        Node = Member,
);

pub(super) type Entry = of::EntryOf<Types>;
pub(super) type EntryId = of::LogIdOf<Types>;
pub(super) type Vote = of::VoteOf<Types>;
pub(super) type Membership = of::StoredMembershipOf<Types>;
pub(super) type SnapshotMeta = of::SnapshotMetaOf<Types>;
pub(super) type LeaderId = of::CommittedLeaderIdOf<Types>;

const VERSION: u8 = 1;
const BLANK: u8 = 0;
const NORMAL: u8 = 1;
const MEMBERSHIP: u8 = 2;
const HEAD: usize = 1 + 4 + 8 + 8 + 1;

/// An entry as a row of the log: version, crc32 of what follows, term, node, kind, payload.
pub(super) fn encode(entry: &Entry) -> io::Result<Vec<u8>> {
    let json;
    let (kind, payload): (u8, &[u8]) = match &entry.payload {
        EntryPayload::Blank => (BLANK, &[]),
        EntryPayload::Normal(Payload(bytes)) => (NORMAL, bytes),
        EntryPayload::Membership(membership) => {
            json = serde_json::to_vec(membership)?;
            (MEMBERSHIP, &json)
        }
    };
    let mut row = Vec::with_capacity(HEAD + payload.len());
    row.push(VERSION);
    row.extend_from_slice(&[0; 4]);
    row.extend_from_slice(&entry.log_id.leader_id.term.to_be_bytes());
    row.extend_from_slice(&entry.log_id.leader_id.node_id.to_be_bytes());
    row.push(kind);
    row.extend_from_slice(payload);
    let crc = row.get(5..).map(crc32fast::hash).unwrap_or_default();
    if let Some(place) = row.get_mut(1..5) {
        place.copy_from_slice(&crc.to_be_bytes());
    }
    Ok(row)
}

/// What can't be read here, and must not be left out: other members read it.
pub(super) fn newer(index: u64, version: u8, known: u8) -> io::Error {
    let what = format!(
        "log entry {index} is of version {version}, and this release knows version {known}: run the \
         newer release that has written it; or the entry is damaged. Nothing was changed"
    );
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// The entry at `index` from its row.
pub(super) fn decode(index: u64, row: &[u8]) -> io::Result<Entry> {
    let damaged = || {
        let what =
            format!("log entry {index} is damaged; restore from a backup or from another member");
        io::Error::new(io::ErrorKind::InvalidData, what)
    };
    let (version, rest) = row.split_first().ok_or_else(damaged)?;
    if *version != VERSION {
        return Err(newer(index, *version, VERSION));
    }
    let (crc, rest) = rest.split_first_chunk::<4>().ok_or_else(damaged)?;
    if crc32fast::hash(rest) != u32::from_be_bytes(*crc) {
        return Err(damaged());
    }
    let (term, rest) = rest.split_first_chunk::<8>().ok_or_else(damaged)?;
    let (node_id, rest) = rest.split_first_chunk::<8>().ok_or_else(damaged)?;
    let (kind, payload) = rest.split_first().ok_or_else(damaged)?;
    let payload = match *kind {
        BLANK => EntryPayload::Blank,
        NORMAL => EntryPayload::Normal(Payload(Bytes::copy_from_slice(payload))),
        MEMBERSHIP => EntryPayload::Membership(serde_json::from_slice(payload)?),
        _ => return Err(damaged()),
    };
    let leader_id = LeaderId {
        term: u64::from_be_bytes(*term),
        node_id: u64::from_be_bytes(*node_id),
    };
    Ok(Entry {
        log_id: LogId { leader_id, index },
        payload,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_round_trip_and_damage_is_found() {
        let leader_id = LeaderId {
            term: 3,
            node_id: 1,
        };
        let entry = Entry {
            log_id: LogId {
                leader_id,
                index: 9,
            },
            payload: EntryPayload::Normal(Payload(Bytes::from_static(b"abc"))),
        };
        let row = encode(&entry).unwrap();
        let back = decode(9, &row).unwrap();
        assert_eq!(back.log_id, entry.log_id);
        assert!(
            matches!(back.payload, EntryPayload::Normal(Payload(bytes)) if bytes == b"abc"[..])
        );
        for at in 0..row.len() {
            let mut wrong = row.clone();
            wrong[at] ^= 1;
            assert!(decode(9, &wrong).is_err(), "flipped at {at}");
            assert!(decode(9, &row[..at]).is_err(), "cut at {at}");
        }
        let mut newer = row;
        newer[0] = 2;
        let said = decode(9, &newer).unwrap_err().to_string();
        assert!(said.contains("entry 9 is of version 2"), "{said}");
        assert!(said.contains("run the newer release"), "{said}");
    }
}
