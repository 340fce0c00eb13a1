//! The golden entries, which `tools/golden_entries.py` made from docs/entry.md alone: Rust reads them, writes them again, and reads
//! what Python wrote in the types that have a form for it.

#![cfg(feature = "messagepack")]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Debug;
use std::time::Duration;

use quickcache::entry::{HEADER, Head, Key, Seal};
use quickcache::{Codec, MessagePack};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

fn file() -> Json {
    serde_json::from_str(include_str!("data/golden-entries.json")).unwrap()
}

fn hex(node: &Json) -> Vec<u8> {
    let digits = node.as_str().unwrap();
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
        .collect()
}

struct Golden {
    key: Key,
    seals: [(&'static str, Seal); 2],
    rows: Vec<Json>,
}

fn golden() -> Golden {
    let file = file();
    let epoch = u64::from_str_radix(file["epoch"].as_str().unwrap(), 16).unwrap();
    Golden {
        key: hex(&file["key"]).try_into().unwrap(),
        seals: [
            ("keyed", Seal::keyed(&hex(&file["secret"]))),
            ("plain", Seal::plain(epoch)),
        ],
        rows: file["rows"].as_array().unwrap().clone(),
    }
}

fn head(row: &Json) -> Head {
    let time = |at: usize| row["times"][at].as_u64().unwrap();
    Head {
        generation: time(0),
        started: time(1),
        deadline: time(2),
    }
}

#[test]
fn every_golden_entry_is_read() {
    let Golden { key, seals, rows } = golden();
    assert!(rows.len() > 50);
    for row in &rows {
        for (form, seal) in &seals {
            let (bytes, head) = (hex(&row[form]), head(row));
            let entry = seal.read(&key, head.deadline - 1, &bytes).unwrap();
            assert_eq!(entry.head, head, "{}", row["name"]);
            assert_eq!(u64::from(entry.codec), row["codec"].as_u64().unwrap());
            if row["payload"].is_string() {
                assert_eq!(*entry.payload, *hex(&row["payload"]), "{}", row["name"]);
            }
        }
    }
}

#[test]
fn every_golden_entry_is_written_again() {
    let Golden { key, seals, rows } = golden();
    for row in &rows {
        for (form, seal) in &seals {
            let (bytes, head) = (hex(&row[form]), head(row));
            let read = seal.read(&key, 0, &bytes).unwrap();
            let again = |out: &mut Vec<u8>| {
                out.extend_from_slice(&read.payload);
                Ok::<u8, ()>(read.codec)
            };
            let written = seal.write(&key, head, again).unwrap();
            if bytes[4] == 0 {
                assert_eq!(written, bytes, "{}", row["name"]);
            } else {
                // There is more than one way to compress.
                assert_eq!(written[4], 1, "{}", row["name"]);
                let back = seal.read(&key, 0, &written).unwrap();
                assert_eq!(back.payload, read.payload);
                assert!(written.len() < HEADER + read.payload.len());
            }
        }
    }
}

fn payload(name: &str) -> Vec<u8> {
    let Golden { key, seals, rows } = golden();
    let row = rows.iter().find(|row| row["name"] == name);
    let row = row.unwrap_or_else(|| panic!("no row `{name}`"));
    let bytes = hex(&row["plain"]);
    let entry = seals[1].1.read(&key, 0, &bytes).unwrap();
    entry.payload.into_owned()
}

fn reads<V: DeserializeOwned + Serialize + PartialEq + Debug>(name: &str, value: V) {
    let read: V = MessagePack::decode(&payload(name)).unwrap_or_else(|e| panic!("`{name}`: {e}"));
    assert_eq!(read, value, "`{name}`");
}

/// And writes it as Python does.
fn shares<V: DeserializeOwned + Serialize + PartialEq + Debug>(name: &str, value: V) {
    let mut written = Vec::new();
    MessagePack::encode(&value, &mut written).unwrap();
    assert_eq!(written, payload(name), "`{name}`");
    reads(name, value);
}

fn refuses<V: DeserializeOwned + Serialize + Debug>(name: &str) {
    let read: Result<V, _> = MessagePack::decode(&payload(name));
    read.expect_err(name);
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Row {
    id: u8,
    name: String,
    tags: Vec<String>,
    boss: Option<String>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Point {
    x: i64,
    y: Vec<String>,
}

/// As of the crate serde_bytes.
#[derive(Debug, PartialEq)]
struct Bytes(Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Bytes;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(bytes.to_vec()))
            }
        }
        deserializer.deserialize_bytes(Visitor)
    }
}

#[test]
fn plain_values_have_the_same_bytes_in_both_languages() {
    shares("none", None::<u8>);
    shares("none", ());
    shares("true", true);
    shares("false", false);
    shares("zero", 0_u64);
    shares("zero", 0_i8);
    shares("int 7", 127_i32);
    shares("int 8", 255_u8);
    shares("int 8", 255_i64);
    shares("int 16", 65_535_u64);
    shares("int 32", u32::MAX);
    shares("int 63", i64::MAX);
    shares("int 64", u64::MAX);
    shares("int -5", -32_i64);
    shares("int -8", i8::MIN);
    shares("int -16", i16::MIN);
    shares("int -32", i32::MIN);
    shares("int -63", i64::MIN);
    shares("float", 1.5_f64);
    reads("float", 1.5_f32);
    shares("infinite", f64::INFINITY);
    shares("empty str", String::new());
    shares("str", "na\u{ef}ve \u{1f9a6}".to_owned());
    shares("str 8", "x".repeat(255));
    shares("str 16", "x".repeat(256));
    shares("bytes", Bytes(vec![0, 255]));
    shares("bytes 16", Bytes(vec![255; 256]));
    shares("list", (1, "a".to_owned(), None::<()>));
    shares("list 16", vec![true; 16]);
    shares(
        "dict 16",
        (0..16).map(|n| (n, ())).collect::<BTreeMap<u8, ()>>(),
    );
    shares(
        "numbers by name",
        BTreeMap::from([("one".to_owned(), 1), ("two".to_owned(), 2)]),
    );
    let row = Row {
        id: 7,
        name: "Ann".to_owned(),
        tags: vec!["a".to_owned(), "b".to_owned()],
        boss: None,
    };
    shares("struct", row);
    shares("compressed list", vec!["again and ".to_owned(); 1000]);
}

#[test]
fn what_only_python_has_is_read_in_the_types_of_rust() {
    reads("tuple", (1_u8, "a".to_owned()));
    reads("nested tuple", vec![(1_u8, (2.5_f64, [0_u8; 0]))]);
    reads("set", vec![1_u8]);
    reads("set", HashSet::from([1_u8]));
    reads("frozenset", HashSet::from(["a".to_owned()]));
    reads("empty set", HashSet::<String>::new());
    reads("int 65", 1_i128 << 64);
    reads("int 65", 1_u128 << 64);
    reads("int -64", i128::from(i64::MIN) - 1);
    refuses::<i128>("int 200");
    let (x, y) = (1, vec!["a".to_owned()]);
    reads("dataclass", Point { x, y });
    let three = serde_json::json!({"x": 3, "y": []});
    let deep = HashMap::from([((1_u8, 2_u8), (three, serde_json::json!({"x": [null]})))]);
    reads("in each other", deep);
    refuses::<u8>("tuple");
    refuses::<String>("pickle");
    reads("decimal", "1.00".to_owned());
}

#[test]
fn dates_and_times_of_python_are_read_in_the_types_of_rust() {
    reads("timedelta", Duration::new(2 * 86_400 + 3, 4_000));
    refuses::<Duration>("negative timedelta");
    let id = uuid::Uuid::from_u128(0x1234_5678_9abc_def0_1234_5678_9abc_def0);
    reads("uuid", id);
    reads("uuid safe", uuid::Uuid::from_u128(1));

    let text = "2024-02-29T01:02:03.000004";
    reads("datetime", text.parse::<chrono::NaiveDateTime>().unwrap());
    reads("datetime", text.parse::<jiff::civil::DateTime>().unwrap());
    let utc = format!("{text}Z");
    reads(
        "datetime utc",
        utc.parse::<chrono::DateTime<chrono::Utc>>().unwrap(),
    );
    reads("datetime utc", utc.parse::<jiff::Timestamp>().unwrap());
    let offset = "2024-02-29T01:02:03-03:30";
    reads(
        "datetime offset",
        offset
            .parse::<chrono::DateTime<chrono::FixedOffset>>()
            .unwrap(),
    );
    reads(
        "datetime offset",
        offset.parse::<jiff::Timestamp>().unwrap(),
    );
    refuses::<chrono::DateTime<chrono::Utc>>("datetime");
    refuses::<chrono::DateTime<chrono::Utc>>("datetime zone");
    reads("date", "2024-02-29".parse::<chrono::NaiveDate>().unwrap());
    reads("date", "2024-02-29".parse::<jiff::civil::Date>().unwrap());
    reads(
        "time",
        "23:59:58.999999".parse::<chrono::NaiveTime>().unwrap(),
    );
    reads(
        "time",
        "23:59:58.999999".parse::<jiff::civil::Time>().unwrap(),
    );
    refuses::<chrono::NaiveTime>("time utc");
    let micro = chrono::TimeDelta::microseconds(-1);
    reads("negative timedelta", micro);
}

#[test]
fn p10_a_payload_that_is_cut_or_changed_is_an_error_or_a_value() {
    type Everything = HashMap<(u8, u8), (Point, serde_json::Value)>;
    let whole = payload("in each other");
    for at in 0..whole.len() {
        assert!(<MessagePack as Codec<Everything>>::decode(&whole[..at]).is_err());
        for byte in 0..=255 {
            let mut changed = whole.clone();
            changed[at] = byte;
            let _ = <MessagePack as Codec<Everything>>::decode(&changed);
        }
    }
    // Extensions in each other, and lists in each other, deeper than a stack could bear.
    for header in [&b"\xc9\x00\x00\xff\xff\x02"[..], b"\x91"] {
        let deep = [header.repeat(200_000), vec![0xc0]].concat();
        assert!(<MessagePack as Codec<u8>>::decode(&deep).is_err());
    }
}
