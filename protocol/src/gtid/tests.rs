//! Sets against a naive model, both formats there and back, garbage.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const A: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
const B: &str = "4350f323-7565-4e59-8763-4b1b83a0ce0e";

fn set(text: &str) -> GtidSet {
    text.parse().unwrap()
}

fn origin(index: usize) -> GtidOrigin {
    let (uuid, tag) = [(A, ""), (A, "mytag"), (A, "other"), (B, ""), (B, "z")][index];
    GtidOrigin::new(uuid.parse().unwrap(), tag).unwrap()
}

/// A set and what is in it, as pairs of origin and number.
type Model = BTreeSet<(usize, u64)>;

fn build(intervals: &[(usize, u64, u64)]) -> (GtidSet, Model) {
    let (mut set, mut model) = (GtidSet::new(), Model::new());
    for &(index, first, length) in intervals {
        if length == 0 {
            set.add(&Gtid::new(origin(index), first).unwrap());
            model.insert((index, first));
        } else {
            set.add_interval(&origin(index), first, first + length)
                .unwrap();
            model.extend((first..=first + length).map(|number| (index, number)));
        }
    }
    (set, model)
}

fn from_model(model: &Model) -> GtidSet {
    model
        .iter()
        .map(|&(index, number)| Gtid::new(origin(index), number).unwrap())
        .collect()
}

fn intervals(tags: bool) -> impl Strategy<Value = Vec<(usize, u64, u64)>> {
    let origins = if tags {
        (0..5_usize).boxed()
    } else {
        prop_oneof![Just(0), Just(3)].boxed()
    };
    prop::collection::vec((origins, 1..50_u64, prop_oneof![Just(0), 0..8_u64]), 0..25)
}

proptest! {
    #[test]
    fn algebra_agrees_with_the_model(a in intervals(true), b in intervals(true)) {
        let ((a, model_a), (b, model_b)) = (build(&a), build(&b));
        prop_assert_eq!(&a, &from_model(&model_a), "intervals aren't normal");
        prop_assert_eq!(a.count(), model_a.len() as u64);
        prop_assert_eq!(a.is_empty(), model_a.is_empty());
        prop_assert_eq!(a.union(&b), from_model(&(&model_a | &model_b)));
        prop_assert_eq!(a.subtract(&b), from_model(&(&model_a - &model_b)));
        prop_assert_eq!(a.is_subset(&b), model_a.is_subset(&model_b));
        prop_assert!(a.is_subset(&a.union(&b)));
        prop_assert!(a.subtract(&b).is_subset(&a));
        prop_assert_eq!(a.intersects(&b), !model_a.is_disjoint(&model_b));
        for index in 0..5 {
            for number in 1..60 {
                let gtid = Gtid::new(origin(index), number).unwrap();
                prop_assert_eq!(a.contains(&gtid), model_a.contains(&(index, number)));
            }
        }
    }

    #[test]
    fn intervals_are_ascending_and_apart(a in intervals(true)) {
        let (a, _) = build(&a);
        prop_assert_eq!(a.interval_count(), a.origins().map(|(_, list)| list.len()).sum::<usize>());
        for (_, list) in a.origins() {
            prop_assert!(!list.is_empty());
            prop_assert!(list.iter().all(|(first, last)| first <= last));
            prop_assert!(list.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0));
        }
    }

    #[test]
    fn text_and_bytes_return_the_set(a in prop_oneof![intervals(true), intervals(false)]) {
        let (a, _) = build(&a);
        prop_assert_eq!(&set(&a.to_string()), &a);
        let loose = a.to_string().to_uppercase().replace(':', " :\n").replace(',', ",\n ,");
        prop_assert_eq!(&set(&loose), &a);
        prop_assert_eq!(GtidSet::decode_binary(&a.encode_dump()).unwrap(), a.clone());
        let mut again = GtidSet::new();
        for (origin, _) in a.origins() {
            let text = a.intervals_text(origin).unwrap();
            again.add_set(&GtidSet::from_intervals_text(origin, &text).unwrap());
        }
        prop_assert_eq!(again, a);
    }

    #[test]
    fn garbage_text_never_panics(text in "[0-9a-fA-F:,\\-_ \nxyz…]{0,60}", any in ".{0,60}") {
        for text in [text.clone(), any, format!("{A}:{text}")] {
            let _ = text.parse::<GtidSet>();
            let _ = text.parse::<Gtid>();
            let _ = GtidSet::from_intervals_text(&origin(0), &text);
        }
    }

    #[test]
    fn damaged_bytes_never_panic(
        a in intervals(true), at in any::<prop::sample::Index>(), byte: u8, cut: bool,
    ) {
        let (a, _) = build(&a);
        let mut bytes = a.encode_dump();
        let at = at.index(bytes.len());
        if cut {
            bytes.truncate(at);
            prop_assert!(GtidSet::decode_binary(&bytes).is_err());
        } else {
            bytes[at] = byte;
            if let Ok(other) = GtidSet::decode_binary(&bytes) {
                prop_assert_eq!(GtidSet::decode_binary(&other.encode_dump()).unwrap(), other);
            }
        }
    }

    #[test]
    fn garbage_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = GtidSet::decode_binary(&bytes);
    }
}

#[test]
fn the_server_text_is_kept() {
    for text in [
        "",
        "3e11fa47-71ca-11e1-9e33-c80aa9429562:1",
        "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5:7:9-9223372036854775806",
        "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-26:mytag:1:other:3-4,\
         4350f323-7565-4e59-8763-4b1b83a0ce0e:5",
        "3e11fa47-71ca-11e1-9e33-c80aa9429562:_t:2,4350f323-7565-4e59-8763-4b1b83a0ce0e:b:5:c:1-2",
    ] {
        assert_eq!(set(text).to_string(), text);
    }
}

#[test]
fn what_the_server_tolerates_is_read() {
    for (loose, strict) in [
        (" \n\t", ""),
        (",, ,", ""),
        (
            "3E11FA47-71CA-11E1-9E33-C80AA9429562:MyTag:1",
            &format!("{A}:mytag:1"),
        ),
        (&format!("{A}:1-3,\n{B}:5"), &format!("{A}:1-3,{B}:5")),
        (
            &format!(" {A} : 1 - 3 : mytag : 2 ,"),
            &format!("{A}:1-3:mytag:2"),
        ),
        (&format!("{A}:3:1-2:9:2-4"), &format!("{A}:1-4:9")),
        (&format!("{B}:1,{A}:007,{B}:2"), &format!("{A}:7,{B}:1-2")),
        (&format!("{A}:z:1:b:2:z:2"), &format!("{A}:b:2:z:1-2")),
    ] {
        assert_eq!(set(loose).to_string(), strict, "{loose:?}");
    }
}

#[test]
fn errors_name_the_offending_part() {
    let long = "t".repeat(33);
    let uuid = |part: &str| GtidParseError::Uuid { part: part.into() };
    let tag = |part: &str| GtidParseError::Tag { part: part.into() };
    let interval = |part: &str| GtidParseError::Interval { part: part.into() };
    let none = |part: &str| GtidParseError::NoNumbers { part: part.into() };
    for (text, error) in [
        ("1-5".into(), uuid("1-5")),
        (
            "3e11fa4771ca11e19e33c80aa9429562:1".into(),
            uuid("3e11fa4771ca11e19e33c80aa9429562"),
        ),
        (
            format!("{A}:1,x{}:2", &B[1..]),
            uuid(&format!("x{}", &B[1..])),
        ),
        (A.into(), none(A)),
        (format!("{A}:"), none(A)),
        (format!("{A}:1:"), none(A)),
        (format!("{A}:1:mytag"), none("mytag")),
        (format!("{A}:one:two:1"), none("one")),
        (format!("{A}:{long}:1"), tag(&long)),
        (format!("{A}:my-tag:1"), tag("my-tag")),
        (format!("{A}:né:1"), tag("né")),
        (format!("{A}:+1"), tag("+1")),
        (format!("{A}:0"), interval("0")),
        (format!("{A}:5-3"), interval("5-3")),
        (format!("{A}:1-"), interval("1-")),
        (format!("{A}:1-+2"), interval("1-+2")),
        (format!("{A}:1-2-3"), interval("1-2-3")),
        (
            format!("{A}:9223372036854775807"),
            interval("9223372036854775807"),
        ),
        (
            format!("{A}:99999999999999999999"),
            interval("99999999999999999999"),
        ),
    ] {
        let found = text.parse::<GtidSet>().unwrap_err();
        assert_eq!(found, error, "{text:?}");
    }
    assert_eq!(
        uuid("x").to_string(),
        "\"x\" is no server UUID; write 32 hexadecimal digits in groups of 8-4-4-4-12, \
         as @@server_uuid prints it",
    );
    let shown = "é".repeat(200).parse::<GtidSet>().unwrap_err();
    assert_eq!(shown, uuid(&format!("{}…", "é".repeat(80))));
}

#[test]
fn single_gtids_return() {
    for text in [format!("{A}:7"), format!("{A}:mytag:9223372036854775806")] {
        let gtid: Gtid = text.parse().unwrap();
        assert_eq!(gtid.to_string(), text);
        assert!(set(&text).contains(&gtid));
        assert_eq!(set(&text).count(), 1);
    }
    assert_eq!(
        format!(" {} : MY : 3 ", A.to_uppercase())
            .parse::<Gtid>()
            .unwrap(),
        format!("{A}:my:3").parse().unwrap()
    );
    for text in [
        "",
        A,
        &format!("{A}:1-2"),
        &format!("{A}::1"),
        &format!("{A}:a:b:1"),
        "x:1",
    ] {
        assert!(text.parse::<Gtid>().is_err(), "{text:?}");
    }
}

#[test]
fn bounds_are_the_servers() {
    let mut set = GtidSet::new();
    for (first, last) in [(0, 1), (2, 1), (1, NUMBER_MAX + 1), (u64::MAX, u64::MAX)] {
        let error = set.add_interval(&origin(0), first, last).unwrap_err();
        assert_eq!(error, GtidBoundsError { first, last });
        assert!(Gtid::new(origin(0), 0).is_err());
    }
    assert!(set.is_empty());
    set.add_interval(&origin(0), 1, NUMBER_MAX).unwrap();
    set.add_interval(&origin(1), 1, NUMBER_MAX).unwrap();
    set.add_interval(&origin(3), 1, NUMBER_MAX).unwrap();
    assert_eq!(set.count(), u64::MAX, "the count stops");
    assert_eq!(GtidSet::decode_binary(&set.encode_dump()).unwrap(), set);
}

#[test]
fn a_number_out_of_bounds_breaks_nothing() {
    let mut set = GtidSet::new();
    for number in [u64::MAX, 0, u64::MAX - 1, 1, u64::MAX] {
        set.add(&Gtid {
            origin: origin(0),
            number,
        });
    }
    assert_eq!(set.interval_count(), 2);
    assert!(set.subtract(&set).is_empty());
    assert!(GtidSet::decode_binary(&set.encode_dump()).is_err());
}

/// Bodies of `Previous_gtids` events that MySQL 9.7.0 wrote.
const SERVER_BYTES: &[(&str, &str)] = &[
    ("", "0000000000000000"),
    (
        "ba0a3718-e610-11f1-99d9-02fc00000001:1-3",
        "0100000000000000ba0a3718e61011f199d902fc000000010100000000000000\
         01000000000000000400000000000000",
    ),
    (
        "4350f323-7565-4e59-8763-4b1b83a0ce0e:other:77,\
         ba0a3718-e610-11f1-99d9-02fc00000001:1-3:mytag:1-2",
        "01030000000000014350f32375654e5987634b1b83a0ce0e0a6f746865720100\
         0000000000004d000000000000004e00000000000000ba0a3718e61011f199d9\
         02fc0000000100010000000000000001000000000000000400000000000000ba\
         0a3718e61011f199d902fc000000010a6d797461670100000000000000010000\
         00000000000300000000000000",
    ),
];

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect()
}

#[test]
fn the_server_bytes_are_kept() {
    for (text, hex) in SERVER_BYTES {
        assert_eq!(GtidSet::decode_binary(&bytes(hex)).unwrap(), set(text));
        assert_eq!(set(text).encode_dump(), bytes(hex), "{text}");
    }
}

#[test]
fn damaged_bytes_are_told() {
    use GtidDecodeError as E;
    let good = bytes(SERVER_BYTES[2].1);
    let change = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        GtidSet::decode_binary(&bytes).unwrap_err()
    };
    let length = good.len();
    assert_eq!(change(7, 2), E::Format { format: 2 });
    assert_eq!(change(1, 2), E::Trailing { offset: 95, length });
    assert_eq!(
        change(1, 4),
        E::Truncated {
            what: "server UUID",
            length
        }
    );
    assert_eq!(change(24, 0xff), E::Tag { offset: 24 }, "a long length");
    assert_eq!(change(24, 33 << 1), E::Tag { offset: 24 });
    assert_eq!(change(25, b'-'), E::Tag { offset: 24 });
    assert_eq!(change(25, 0xff), E::Tag { offset: 24 }, "no UTF-8");
    assert_eq!(
        change(30, 200),
        E::Truncated {
            what: "intervals",
            length
        }
    );
    assert_eq!(
        change(38, 0),
        E::Interval {
            offset: 38,
            first: 0,
            end: 78
        }
    );
    assert_eq!(
        change(46, 77),
        E::Interval {
            offset: 38,
            first: 77,
            end: 77
        }
    );
    assert_eq!(
        change(53, 0x80),
        E::Interval {
            offset: 38,
            first: 77,
            end: 1 << 63 | 78
        }
    );

    let mut two = set(&format!("{A}:1:3")).encode_dump();
    two[48] = 2;
    assert_eq!(
        GtidSet::decode_binary(&two).unwrap_err(),
        E::Interval {
            offset: 48,
            first: 2,
            end: 4
        },
        "adjacent intervals are one",
    );
}

#[test]
fn serialised_as_text() {
    let text = format!("{A}:1-5:mytag:7");
    let value = toml::Value::try_from(set(&text)).unwrap();
    assert_eq!(value, toml::Value::String(text.clone()));
    assert_eq!(value.try_into::<GtidSet>().unwrap(), set(&text));
    let error = toml::Value::String("x".into())
        .try_into::<Gtid>()
        .unwrap_err();
    assert!(
        error.to_string().contains("\"x\" is not a single GTID"),
        "{error}"
    );
}
