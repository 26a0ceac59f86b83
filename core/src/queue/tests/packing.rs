//! What goes in comes out, whatever the sizes.

use proptest::prelude::*;
use towpath_protocol::gtid::GtidSet;

use super::*;
use crate::decode::Events;
use crate::queue::follow::{Follower, Verdict};
use crate::queue::join::{JoinError, Joiner};
use crate::queue::pack::{Claimed, OPEN_EVERY, Packer, Sealed, message_bytes};
use crate::queue::wire::{Body, Entry, Message, Part};

/// A transaction, whole.
#[derive(Debug, PartialEq, Eq)]
struct Whole {
    gtid: Gtid,
    commit_time_us: u64,
    ends: Option<Gtid>,
    after: BinlogPosition,
    events: Vec<u8>,
}

/// Puts chunks together, and checks that each holds whole events.
fn wholes(messages: &[batch::Message]) -> Vec<Whole> {
    let mut wholes = Vec::new();
    let mut events = Vec::new();
    for message in messages {
        let batch::Message::Chunk(chunk) = message else {
            continue;
        };
        for event in Events::new(&chunk.events) {
            events.extend_from_slice(event.unwrap().bytes);
        }
        if chunk.last {
            wholes.push(Whole {
                gtid: chunk.gtid.clone(),
                commit_time_us: chunk.commit_time_us,
                ends: chunk.ends.clone(),
                after: chunk.after.clone(),
                events: std::mem::take(&mut events),
            });
        }
    }
    assert!(events.is_empty(), "a transaction has no end");
    wholes
}

fn open(body_bytes: usize, compression: Compression, out: &mut Vec<Sealed>) -> Packer {
    let (claimed, sealed) = Claimed::new(format(term(1, 0), body_bytes, compression), 1).unwrap();
    out.push(sealed);
    let (packer, sealed) = claimed.open(GtidSet::new(), 1, 1).unwrap();
    out.push(sealed);
    packer
}

/// Reads messages as a sink without anything does.
fn read(sealed: &[Sealed]) -> Vec<batch::Message> {
    let mut follower = Follower::new(PIPELINE, GtidSet::new(), None);
    let mut joiner = Joiner::default();
    let mut messages = Vec::new();
    for sealed in sealed {
        let message = Message::open(&sealed.bytes).unwrap();
        assert_eq!(message.seq, sealed.seq);
        let step = follower.follow(message).unwrap();
        assert_eq!(step.roll_back, None);
        match step.verdict {
            Verdict::Take(entries) => {
                for entry in entries {
                    messages.extend(joiner.push(entry).unwrap());
                }
            }
            Verdict::Claimed | Verdict::InSequence | Verdict::CaughtUp { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    messages
}

proptest! {
    #[test]
    fn what_is_packed_comes_out_whole_and_in_order(
        transactions in prop::collection::vec(
            prop::collection::vec(prop::collection::vec(0..3000_usize, 1..5), 0..4),
            1..40,
        ),
        body_bytes in 300..4000_usize,
        flush in prop::collection::vec(any::<bool>(), 40),
        compressed in any::<bool>(),
    ) {
        let compression = if compressed { Compression::Zstd } else { Compression::None };
        let mut sealed = Vec::new();
        let mut packer = open(body_bytes, compression, &mut sealed);
        let mut sent = Vec::new();
        for (at, parts) in transactions.iter().enumerate() {
            for message in transaction(at as u64 + 1, parts) {
                packer.push(&message, 2, &mut sealed).unwrap();
                sent.push(message);
            }
            if flush[at] {
                packer.flush(3, &mut sealed).unwrap();
            }
        }
        packer.flush(4, &mut sealed).unwrap();
        prop_assert!(!packer.is_waiting());
        prop_assert_eq!(packer.before().count(), transactions.len() as u64);
        prop_assert_eq!(wholes(&read(&sealed)), wholes(&sent));
        for message in &sealed {
            let open = matches!(Message::open(&message.bytes).unwrap().body, Body::Open { .. });
            prop_assert!(open || message.bytes.len() <= message_bytes(body_bytes), "{}", message.bytes.len());
        }
    }
}

#[test]
fn small_transactions_share_a_body() {
    let mut sealed = Vec::new();
    let mut packer = open(64 * 1024, Compression::None, &mut sealed);
    for number in 1..=500 {
        for message in transaction(number, &[vec![30, 30]]) {
            packer.push(&message, 1, &mut sealed).unwrap();
        }
    }
    packer.flush(1, &mut sealed).unwrap();
    // 500 times 98 bytes of events and 45 around them.
    assert_eq!(sealed.len(), 2 + 2);
}

#[test]
fn an_open_comes_soon_but_never_inside_a_transaction() {
    let mut sealed = Vec::new();
    let mut packer = open(2000, Compression::None, &mut sealed);
    // A transaction of about 200 messages, then small ones in a message each.
    for message in transaction(1, &vec![vec![1500, 1500]; 100]) {
        packer.push(&message, 1, &mut sealed).unwrap();
    }
    for number in 2..200 {
        for message in transaction(number, &[vec![10]]) {
            packer.push(&message, 1, &mut sealed).unwrap();
        }
        packer.flush(1, &mut sealed).unwrap();
    }
    packer.open(1, &mut sealed).unwrap();
    let messages: Vec<_> = sealed
        .iter()
        .map(|sealed| Message::open(&sealed.bytes).unwrap())
        .collect();
    let (mut since, mut inside, mut whole, mut opens) = (0, false, 0_u64, 0);
    for message in &messages {
        match &message.body {
            Body::Open { before } => {
                assert!(!inside, "inside a transaction");
                assert_eq!(before.count(), whole);
                assert_eq!(message.ord, whole + 1);
                (since, opens) = (0, opens + 1);
            }
            Body::Data(entries) => {
                since += 1;
                for entry in entries {
                    if let Entry::Part(part) = entry {
                        inside = !part.last;
                        whole += u64::from(part.last);
                    }
                }
                assert!(
                    inside || since <= OPEN_EVERY + 1 || whole == 1,
                    "{since} messages"
                );
            }
            _ => {}
        }
    }
    assert_eq!(whole, 199);
    assert!(opens >= 5, "{opens} OPENs");
}

#[test]
fn what_prepares_and_ends_xa_transactions_travels() {
    let mut sealed = Vec::new();
    let mut packer = open(4096, Compression::None, &mut sealed);
    packer
        .push(&batch::Message::Prepared(gtid(7)), 1, &mut sealed)
        .unwrap();
    let mut ending = transaction(8, &[]);
    if let batch::Message::Chunk(chunk) = &mut ending[0] {
        chunk.ends = Some(gtid(7));
    }
    packer.push(&ending[0], 1, &mut sealed).unwrap();
    packer.flush(1, &mut sealed).unwrap();
    assert_eq!(
        packer.before().to_string(),
        format!("{}:7-8", Uuid::from_u128(5))
    );
    let read = read(&sealed);
    assert!(matches!(&read[0], batch::Message::Prepared(of) if *of == gtid(7)));
    assert_eq!(wholes(&read)[0].ends, Some(gtid(7)));
}

#[test]
fn bytes_that_are_no_events_are_refused() {
    let mut sealed = Vec::new();
    let mut packer = open(4096, Compression::None, &mut sealed);
    let mut messages = transaction(1, &[vec![10, 10]]);
    if let batch::Message::Chunk(chunk) = &mut messages[0] {
        chunk.events = chunk.events.slice(..chunk.events.len() - 1);
    }
    let error = packer.push(&messages[0], 1, &mut sealed).unwrap_err();
    assert!(error.to_string().contains("at byte 29"), "{error}");
}

fn piece(part: u32, cut: bool, events: Vec<u8>) -> Entry {
    Entry::Part(Part {
        gtid: gtid(1),
        ord: 1,
        commit_time_us: 0,
        part,
        last: false,
        cut,
        ends: None,
        after: BinlogPosition {
            file: String::new(),
            offset: 0,
        },
        events: events.into(),
    })
}

#[test]
fn pieces_that_make_no_event_are_refused() {
    let whole = event(100, 1);
    let begin = |bytes: Vec<u8>| Joiner::default().push(piece(0, true, bytes));
    // Less than a header; all of it although it says that more comes; larger than any event is.
    assert!(matches!(
        begin(whole[..18].to_vec()),
        Err(JoinError::Beginning { .. })
    ));
    assert!(matches!(
        begin(whole.clone()),
        Err(JoinError::Beginning { .. })
    ));
    let mut huge = whole[..50].to_vec();
    huge[9..13].fill(0xff);
    assert!(matches!(begin(huge), Err(JoinError::Beginning { .. })));

    for (rest, cut, is_right) in [
        (69, false, true),
        (68, false, false),
        (70, false, false),
        (68, true, true),
        (69, true, false),
    ] {
        let mut joiner = Joiner::default();
        assert!(
            joiner
                .push(piece(0, true, whole[..50].to_vec()))
                .unwrap()
                .is_none()
        );
        let mut bytes = whole[50..].to_vec();
        bytes.resize(rest, 0);
        let joined = joiner.push(piece(1, cut, bytes));
        assert_eq!(joined.is_ok(), is_right, "{rest} bytes, cut: {cut}");
    }

    // Pieces of a transaction that was rolled back are forgotten.
    let mut joiner = Joiner::default();
    joiner.push(piece(0, true, whole[..50].to_vec())).unwrap();
    joiner.reset();
    assert!(joiner.push(piece(0, false, whole)).unwrap().is_some());
}
