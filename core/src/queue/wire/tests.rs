//! There and back, damage of every kind, and bytes that must never change.

use proptest::prelude::*;
use towpath_protocol::epoch::{Epoch, Generation};
use towpath_protocol::gtid::GtidOrigin;

use super::*;

/// Makes the bytes of any message, as a producer does.
pub(in crate::queue) fn encode(message: &Message, compression: Compression) -> Bytes {
    let (kind, body) = match &message.body {
        Body::Claim => (Kind::Claim, Vec::new()),
        Body::Open { before } => (Kind::Open, encode_open(before)),
        Body::Heartbeat { position } => (Kind::Heartbeat, encode_heartbeat(position)),
        Body::Data(entries) => {
            let mut writer = EntryWriter::default();
            for entry in entries {
                match entry {
                    Entry::Part(part) => writer.part(part),
                    Entry::Prepared(gtid) => writer.prepared(gtid),
                }
            }
            let expected = writer.body_bytes();
            let body = writer.finish();
            assert_eq!(body.len(), expected, "the writer miscounts");
            (Kind::Data, body)
        }
    };
    let header = Header {
        kind,
        pipeline: message.pipeline,
        term: message.term,
        seq: message.seq,
        back_link: message.back_link,
        ord: message.ord,
        made_us: message.made_us,
        checksum: 0,
    };
    seal(&header, &body, compression).unwrap().0
}

fn gtid() -> impl Strategy<Value = Gtid> {
    let tag = prop_oneof![Just(String::new()), "[a-z_][a-z0-9_]{0,31}"];
    (0..3_u128, tag, 1..1_u64 << 62).prop_map(|(uuid, tag, number)| {
        let origin = GtidOrigin::new(Uuid::from_u128(uuid), &tag).unwrap();
        Gtid::new(origin, number).unwrap()
    })
}

fn position() -> impl Strategy<Value = BinlogPosition> {
    ("[a-zé.0-9]{0,12}", any::<u64>()).prop_map(|(file, offset)| BinlogPosition { file, offset })
}

fn entry() -> impl Strategy<Value = Entry> {
    let events = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        (1..2000_usize).prop_map(|length| vec![7; length]),
    ];
    let part = (
        (gtid(), any::<u64>(), any::<u32>()),
        (0..3_u8, prop::option::of(gtid()), position(), events),
    );
    prop_oneof![
        1 => gtid().prop_map(Entry::Prepared),
        9 => part.prop_map(|((gtid, commit_time_us, part), (end, ends, after, events))| {
            Entry::Part(Part {
                gtid,
                ord: 0,
                commit_time_us,
                part,
                last: end == 1,
                cut: end == 2,
                ends,
                after,
                events: events.into(),
            })
        }),
    ]
}

fn body() -> impl Strategy<Value = Body> {
    prop_oneof![
        1 => Just(Body::Claim),
        1 => prop::collection::vec(gtid(), 0..20).prop_map(|gtids| Body::Open {
            before: gtids.into_iter().collect(),
        }),
        1 => position().prop_map(|position| Body::Heartbeat { position }),
        4 => prop::collection::vec(entry(), 1..12).prop_map(Body::Data),
    ]
}

fn message() -> impl Strategy<Value = Message> {
    (
        (
            any::<u128>(),
            any::<u128>(),
            any::<[u64; 2]>(),
            any::<u32>(),
        ),
        (any::<u64>(), any::<u32>(), 0..1_u64 << 62, any::<u64>()),
        body(),
    )
        .prop_map(
            |(
                (pipeline, producer, [generation, epoch], run),
                (seq, back_link, ord, made_us),
                mut body,
            )| {
                if let Body::Data(entries) = &mut body {
                    let mut ord = ord;
                    for entry in entries {
                        if let Entry::Part(part) = entry {
                            part.ord = ord;
                            ord += u64::from(part.last);
                        }
                    }
                }
                Message {
                    pipeline: Uuid::from_u128(pipeline),
                    term: Term {
                        generation: Generation(generation),
                        epoch: Epoch(epoch),
                        run,
                        producer: Uuid::from_u128(producer),
                    },
                    seq,
                    back_link,
                    checksum: 0,
                    ord,
                    made_us,
                    body,
                }
            },
        )
}

fn compression() -> impl Strategy<Value = Compression> {
    prop_oneof![Just(Compression::None), Just(Compression::Zstd)]
}

proptest! {
    #[test]
    fn bytes_return_the_message(message in message(), compression in compression()) {
        let bytes = encode(&message, compression);
        let mut read = Message::open(&bytes).unwrap();
        read.checksum = 0;
        prop_assert_eq!(read, message);
    }

    #[test]
    fn no_beginning_of_a_message_is_one(message in message(), compression in compression()) {
        let bytes = encode(&message, compression);
        for length in 0..bytes.len() {
            prop_assert!(Message::open(&bytes.slice(..length)).is_err(), "{length} bytes");
        }
        let mut longer = bytes.to_vec();
        longer.push(0);
        prop_assert!(Message::open(&longer.into()).is_err());
    }

    #[test]
    fn no_changed_bit_goes_unseen(
        message in message(),
        compression in compression(),
        bits in prop::collection::vec(any::<prop::sample::Index>(), 40),
    ) {
        let bytes = encode(&message, compression);
        let mut damaged = bytes.to_vec();
        for bit in bits.iter().map(|bit| bit.index(bytes.len() * 8)) {
            damaged[bit / 8] ^= 1 << (bit % 8);
            let read = Message::open(&Bytes::copy_from_slice(&damaged));
            prop_assert!(read.is_err(), "bit {bit}: {read:?}");
            damaged[bit / 8] ^= 1 << (bit % 8);
        }
    }

    /// A checksum that is right says nothing about the rest.
    #[test]
    fn any_body_under_a_right_checksum_is_read_or_refused(
        message in message(),
        kind in 0..4_usize,
        noise in prop::collection::vec(any::<u8>(), 0..60),
        at in any::<prop::sample::Index>(),
    ) {
        let whole = encode(&message, Compression::None);
        let mut body = whole[HEADER_BYTES..].to_vec();
        let at = at.index(body.len() + 1);
        let end = (at + noise.len()).min(body.len());
        body.splice(at..end, noise);
        let (header, _) = Header::open(&whole).unwrap();
        let kind = [Kind::Claim, Kind::Open, Kind::Data, Kind::Heartbeat][kind];
        let (bytes, _) = seal(&Header { kind, ..header }, &body, Compression::None).unwrap();
        if let Ok(read) = Message::open(&bytes) {
            // What is understood has one spelling only, but for GTID sets and unused names.
            if let Body::Data(entries) = &read.body {
                prop_assert!(!entries.is_empty());
            }
        }
    }

    #[test]
    fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300), magic in any::<bool>()) {
        let mut bytes = bytes;
        if magic {
            bytes.splice(0..0, *b"TOWQ\x01");
        }
        prop_assert!(Message::open(&bytes.into()).is_err());
    }
}

fn small(body: Body) -> Message {
    Message {
        pipeline: Uuid::from_u128(0x11111111_1111_1111_1111_111111111111),
        term: Term {
            generation: Generation(1),
            epoch: Epoch(258),
            run: 3,
            producer: Uuid::from_u128(0x22222222_2222_2222_2222_222222222222),
        },
        seq: 4,
        back_link: 0xa1b2c3d4,
        checksum: 0,
        ord: 5,
        made_us: 6,
        body,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn no_changed_bit_of_a_short_message_goes_unseen() {
    let position = BinlogPosition {
        file: "binlog.000001".into(),
        offset: 7,
    };
    let bytes = encode(&small(Body::Heartbeat { position }), Compression::None);
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.to_vec();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(Message::open(&damaged.into()).is_err(), "bit {bit}");
    }
}

/// Other programs, and this one's older versions, rely on it.
#[test]
fn the_layout_is_that_of_the_page() {
    let origin =
        GtidOrigin::new(Uuid::from_u128(0x33333333_3333_3333_3333_333333333333), "t").unwrap();
    let gtid = Gtid::new(origin, 9).unwrap();
    let head = |kind: &str, body: usize| {
        format!(
            "544f5751 01 {kind} 00 00 {} 0100000000000000 0201000000000000 03000000 {} \
             0400000000000000 d4c3b2a1 0500000000000000 0600000000000000 {length:08x} {length:08x}",
            "11".repeat(16),
            "22".repeat(16),
            length = (body as u32).swap_bytes(),
        )
        .replace(' ', "")
    };
    let position = BinlogPosition {
        file: "b.1".into(),
        offset: 7,
    };
    let part = Part {
        gtid: gtid.clone(),
        ord: 5,
        commit_time_us: 8,
        part: 1,
        last: true,
        cut: false,
        ends: Some(gtid.clone()),
        after: position.clone(),
        events: Bytes::from_static(&[0xee; 2]),
    };
    let cases = [
        (Body::Claim, "01", String::new()),
        (
            Body::Open {
                before: std::iter::once(gtid.clone()).collect(),
            },
            "02",
            // The tagged format: one entry, with a tag of one character.
            format!(
                "01 010000000000 01 {} 02 74 0100000000000000 0900000000000000 0a00000000000000",
                "33".repeat(16)
            )
            .replace(' ', ""),
        ),
        (
            Body::Heartbeat { position },
            "04",
            "0700000000000000622e31".to_owned(),
        ),
        (
            Body::Data(vec![Entry::Part(part), Entry::Prepared(gtid)]),
            "03",
            format!(
                "0100 {}0174 0100 0300622e31 02000000 \
                 01 05 00000900000000000000 00000900000000000000 0800000000000000 01000000 \
                 00000700000000000000 02000000 eeee \
                 02 00000900000000000000",
                "33".repeat(16)
            )
            .replace(' ', ""),
        ),
    ];
    for (body, kind, expected) in cases {
        let bytes = encode(&small(body), Compression::None);
        let (before, behind) = bytes.split_at(HEADER_BYTES);
        assert_eq!(hex(&before[..96]), head(kind, behind.len()), "kind {kind}");
        assert_eq!(hex(behind), expected, "kind {kind}");
        let mut all = crc32fast::Hasher::new();
        all.update(&before[..96]);
        all.update(behind);
        assert_eq!(before[96..], all.finalize().to_le_bytes(), "kind {kind}");
    }
}

#[test]
fn what_is_inflated_is_bounded_by_the_header_and_by_the_bound() {
    let message = small(Body::Heartbeat {
        position: BinlogPosition {
            file: "b".repeat(400),
            offset: 7,
        },
    });
    let bytes = encode(&message, Compression::Zstd);
    assert!(bytes.len() < HEADER_BYTES + 100, "{} bytes", bytes.len());
    for (says, refused) in [
        (407, true),
        (408, false),
        (409, true),
        (BODY_BYTES_MAX + 1, true),
    ] {
        let mut bytes = bytes.to_vec();
        bytes[92..96].copy_from_slice(&(says as u32).to_le_bytes());
        let mut checksum = crc32fast::Hasher::new();
        checksum.update(&bytes[..96]);
        checksum.update(&bytes[HEADER_BYTES..]);
        bytes[96..HEADER_BYTES].copy_from_slice(&checksum.finalize().to_le_bytes());
        let read = Message::open(&bytes.into());
        assert_eq!(read.is_err(), refused, "{says}: {read:?}");
    }
}

#[test]
fn a_body_beyond_the_bound_is_never_written() {
    let header = Header {
        kind: Kind::Data,
        pipeline: Uuid::nil(),
        term: small(Body::Claim).term,
        seq: 0,
        back_link: 0,
        ord: 0,
        made_us: 0,
        checksum: 0,
    };
    let body = vec![0; BODY_BYTES_MAX + 1];
    assert!(seal(&header, &body, Compression::Zstd).is_err());
    assert!(seal(&header, &body[1..], Compression::None).is_ok());
}

#[test]
fn another_version_and_another_program_are_named() {
    let bytes = encode(&small(Body::Claim), Compression::None);
    let mut newer = bytes.to_vec();
    newer[4] = 2;
    let error = Message::open(&newer.into()).unwrap_err();
    assert_eq!(
        error,
        WireError::Version {
            version: 2,
            known: 1
        }
    );
    let error = Message::open(&Bytes::from_static(b"hello")).unwrap_err();
    assert_eq!(error, WireError::Foreign { length: 5 });
}
