//! JSON lines of the recorded binlog of a real MySQL 9.7 (`core/tests/data/types.sql` says what is
//! in it), read back by a JSON parser that knows nothing of this writer.

use serde_json::{Value as Json, json};
use towpath_protocol::spec::TableFilter;

use super::{JsonLines, TailError};
use crate::decode::EventType;
use crate::decode::tests::recorded;

fn lines(rules: &[&str]) -> Vec<(String, Json)> {
    let mut writer = JsonLines::new(TableFilter::parse(rules).unwrap());
    let mut out = Vec::new();
    let mut count = 0;
    for event in recorded::events() {
        let position = ("binlog.000002", event.end);
        count += writer
            .event(&event.header, event.body(), position, &mut out)
            .unwrap();
    }
    let text = String::from_utf8(out).unwrap();
    assert_eq!(text.lines().count(), count);
    text.lines()
        .map(|line| (line.to_owned(), serde_json::from_str(line).unwrap()))
        .collect()
}

fn rows(table: &str) -> Vec<Json> {
    lines(&[&format!("types.{table}")])
        .into_iter()
        .map(|(_, line)| line)
        .filter(|line| line["op"] != "ddl")
        .collect()
}

fn after(table: &str) -> Vec<Json> {
    rows(table)
        .iter()
        .map(|line| line["after"].clone())
        .collect()
}

#[test]
fn lines_have_fixed_fields_in_a_fixed_order() {
    let lines = lines(&["types.keyed"]);
    let texts: Vec<&str> = lines
        .iter()
        .map(|(line, _)| line.as_str())
        .filter(|line| !line.contains("\"ddl\""))
        .collect();
    assert_eq!(texts.len(), 6);
    let blank = |line: &str| {
        let mut line: Json = serde_json::from_str(line).unwrap();
        let gtid = line["gtid"].as_str().unwrap().to_owned();
        assert_eq!(gtid.split(':').next().map(str::len), Some(36));
        assert!(line["ts_us"].as_u64().unwrap() > 1_700_000_000_000_000);
        line["ts_us"] = 0.into();
        (gtid, line["pos"].as_u64().unwrap())
    };
    let (gtid, pos) = blank(texts[2]);
    let ts_us = lines.iter().find(|(line, _)| line == texts[2]).unwrap().1["ts_us"].clone();
    assert_eq!(
        texts[2],
        format!(
            "{{\"op\":\"update\",\"ts_us\":{ts_us},\"gtid\":\"{gtid}\",\"file\":\"binlog.000002\",\
             \"pos\":{pos},\"database\":\"types\",\"table\":\"keyed\",\
             \"key\":{{\"a\":\"k2\",\"b\":2,\"c\":\"second\"}},\
             \"before\":{{\"a\":\"k2\",\"b\":2,\"c\":\"second\",\"hidden\":null,\"v\":3,\"n\":null}},\
             \"after\":{{\"a\":\"k2\",\"b\":2,\"c\":\"second\",\"hidden\":5,\"v\":3,\"n\":2}}}}"
        )
    );
    let images: Vec<(bool, bool)> = texts
        .iter()
        .map(|line| (line.contains("\"before\":"), line.contains("\"after\":")))
        .collect();
    assert_eq!(
        images,
        [
            (false, true),
            (false, true),
            (true, true),
            (true, false),
            (true, true),
            (true, false)
        ]
    );
    // Rows of one statement share their place, transactions do not share a GTID.
    assert_eq!(blank(texts[0]), blank(texts[1]));
    assert_ne!(blank(texts[1]).0, blank(texts[2]).0);
    // Minimal images: the key before, what changed after.
    assert!(texts[4].ends_with(
        "\"key\":{\"a\":\"k2\",\"b\":2,\"c\":\"second\"},\
         \"before\":{\"a\":\"k2\",\"b\":2,\"c\":\"second\"},\"after\":{\"n\":3}}"
    ));
}

#[test]
fn integers_are_exact_numbers() {
    assert_eq!(
        after("ints")[0],
        json!({"id": 1, "y": 2155, "t": -128, "tu": 255, "s": -32768, "su": 65535, "m": -8388608,
            "mu": 16777215, "i": -2147483648_i64, "iu": 4294967295_u64, "b": i64::MIN,
            "bu": u64::MAX, "z": 7, "bo": 1})
    );
    assert_eq!(after("ints")[2]["m"], json!(-3));
    assert_eq!(after("ints")[2]["y"], json!(0));
    assert_eq!(after("ints")[4]["bu"], Json::Null);
}

#[test]
fn decimals_are_strings_and_floats_come_back() {
    let rows = after("numbers");
    assert_eq!(
        rows[0]["d1"],
        json!("99999999999999999999999999999999999.999999999999999999999999999999")
    );
    assert_eq!(rows[2]["d2"], json!("0.00"));
    assert_eq!(rows[3]["d3"], json!("-0.00001"));
    assert_eq!(rows[0]["d"], json!(f64::MAX));
    assert_eq!(rows[3]["d"], json!(-5e-324));
    // FLOAT as the shortest text of the FLOAT, not of the DOUBLE that it is equal to.
    assert_eq!(rows[0]["fu"], json!(0.1));
    assert_eq!(rows[0]["f"].as_f64().map(|f| f as f32), Some(f32::MAX));
    assert_eq!(rows[0]["b64"], json!(u64::MAX));
    assert_eq!(rows[0]["b13"], json!(0b1_0000_0000_0001));
}

#[test]
fn times_are_mysql_text_and_timestamps_utc() {
    let rows = after("temporals");
    assert_eq!(rows[1]["d"], json!("0000-00-00"));
    assert_eq!(rows[1]["t6"], json!("-838:59:58.999999"));
    assert_eq!(rows[2]["d"], json!("2024-00-00"));
    assert_eq!(rows[2]["t1"], json!("-00:00:00.1"));
    assert_eq!(rows[0]["dt3"], json!("9999-12-31 23:59:59.999"));
    assert_eq!(rows[0]["ts6"], json!("2038-01-19T03:14:07.999999Z"));
    assert_eq!(rows[3]["ts0"], json!("2000-02-29T12:00:00Z"));
    assert_eq!(rows[1]["ts0"], json!("0000-00-00T00:00:00Z"));
}

#[test]
fn text_is_utf8_and_the_rest_base64() {
    let rows = after("strings");
    assert_eq!(rows[0]["c63"], json!("é".repeat(63)));
    assert_eq!(rows[0]["l"], json!("äöü€"));
    assert_eq!(rows[0]["l255"], json!("y".repeat(255)));
    assert_eq!(rows[0]["u3"], json!("日本"));
    assert_eq!(rows[0]["g"], json!("1tDOxA=="));
    assert_eq!(rows[2]["v63"], json!("\"quoted\""));
    assert_eq!(rows[2]["c63"], json!("tab\there"));
    assert_eq!(rows[2]["c255"], json!("back\\slash"));
    assert_eq!(rows[2]["l255"], json!("nul\0byte"));
    assert_eq!(rows[2]["v64"], json!("\u{1a}\u{8}\r"));
    assert_eq!(rows[2]["l"], json!("ÿ"));
    assert_eq!(rows[3]["t"], Json::Null);
}

#[test]
fn bytes_are_base64_and_binary_has_its_length() {
    let rows = after("bytes");
    assert_eq!(rows[0]["b5"], json!("AAECAwA="));
    assert_eq!(rows[1]["b5"], json!("AAAAAAA="));
    assert_eq!(rows[0]["b255"].as_str().unwrap().len(), 340);
    assert_eq!(rows[0]["vb10"], json!("AP8="));
    assert_eq!(rows[0]["v"], json!([1.5, -2.0, 3e10]));
    assert_eq!(rows[2]["g"], json!("AAAAAAEBAAAAAAAAAAAA8L8AAAAAAADwPw=="));
}

#[test]
fn labels_and_documents() {
    let rows = after("labels");
    assert_eq!(rows[1]["e1"], json!("it's"));
    assert_eq!(rows[3]["e1"], json!(""));
    assert_eq!(rows[1]["s1"], json!("x,y,z"));
    assert_eq!(rows[1]["s8"], json!("b1,b64"));
    assert_eq!(rows[2]["s1"], json!(""));
    assert_eq!(rows[0]["el"], json!("ä"));
    assert_eq!(rows[1]["e2"], json!("label300"));

    let rows = after("docs");
    assert_eq!(rows[27]["j"], json!({"a": 1, "b": [true, null, false]}));
    assert_eq!(rows[18]["j"], json!(u64::MAX));
    assert_eq!(rows[24]["j"], json!("a\"b\\c\n\u{1}"));
    assert_eq!(rows[33]["j"]["big"].as_str().unwrap().len(), 70_000);
    assert_eq!(rows[33]["j"]["a"], json!([1, 100_000, "x"]));
}

#[test]
fn without_names_columns_are_numbered() {
    assert_eq!(
        after("minimal"),
        [json!({"@1": 4294967295_u64, "@2": "ä", "@3": "AA==", "@4": 1})]
    );
    assert_eq!(rows("minimal")[0].get("key"), None);
}

#[test]
fn ddl_comes_with_its_sql_and_transaction_control_does_not() {
    let ddl: Vec<Json> = lines(&["types.*"])
        .into_iter()
        .map(|(_, line)| line)
        .filter(|line| line["op"] == "ddl")
        .collect();
    assert!(
        ddl[0]["sql"]
            .as_str()
            .unwrap()
            .starts_with("CREATE DATABASE types")
    );
    assert_eq!(ddl[0]["database"], json!("types"));
    for line in &ddl {
        let sql = line["sql"].as_str().unwrap();
        assert!(
            !["BEGIN", "COMMIT", "XA"]
                .iter()
                .any(|word| sql.starts_with(word)),
            "{sql}"
        );
    }
    assert_eq!(lines(&["other.*"]), []);
}

#[test]
fn tagged_gtids_have_their_tag() {
    let tagged = rows("settings")
        .into_iter()
        .filter(|line| line["gtid"].as_str().unwrap().contains(":towpath_1:1"))
        .count();
    assert_eq!(tagged, 1);
}

#[test]
fn the_same_events_give_the_same_bytes() {
    assert_eq!(lines(&["types.*"]), lines(&["*.*"]));
}

#[test]
fn many_tables_make_room_for_each_other() {
    let mut writer = JsonLines::new(TableFilter::parse(&["*.*"]).unwrap());
    let events = recorded::events();
    let map = events
        .iter()
        .find(|event| event.header.event_type == EventType::TABLE_MAP)
        .unwrap();
    let rows = events
        .iter()
        .find(|event| event.header.event_type.is_rows())
        .unwrap();
    let mut expected = Vec::new();
    writer
        .event(&map.header, map.body(), ("f", 1), &mut expected)
        .unwrap();
    writer
        .event(&rows.header, rows.body(), ("f", 2), &mut expected)
        .unwrap();
    for number in 0..3_000_u32 {
        // The same table under ever new ids and names: `ints` becomes `0000` and so on.
        let mut body = map.body().to_vec();
        body[..4].copy_from_slice(&(1_000_000 + number).to_le_bytes());
        body[16..20].copy_from_slice(format!("{number:04}").as_bytes());
        let mut out = Vec::new();
        writer
            .event(&map.header, &body, ("f", 1), &mut out)
            .unwrap();
        let mut body = rows.body().to_vec();
        body[..4].copy_from_slice(&(1_000_000 + number).to_le_bytes());
        assert!(
            writer
                .event(&rows.header, &body, ("f", 2), &mut out)
                .unwrap()
                > 0
        );
        let renamed = String::from_utf8(expected.clone()).unwrap();
        let renamed = renamed.replace("\"ints\"", &format!("\"{number:04}\""));
        assert_eq!(String::from_utf8(out).unwrap(), renamed);
    }
}

#[test]
fn rows_without_their_table_map_are_an_error() {
    let mut writer = JsonLines::new(TableFilter::parse(&["*.*"]).unwrap());
    let rows = recorded::of_type(EventType::WRITE_ROWS)[0];
    let mut out = b"before".to_vec();
    let error = writer.event(&rows.header, rows.body(), ("binlog.000002", 77), &mut out);
    assert!(matches!(error, Err(TailError::NoTableMap { .. })));
    let error = error.unwrap_err().to_string();
    assert!(
        error.starts_with("the Write_rows event that ends at binlog.000002:77"),
        "{error}"
    );
    assert_eq!(out, b"before");
}
