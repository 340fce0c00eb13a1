//! Both text schemes against vectors made elsewhere: by the replaced Python library, and by `tools/golden_v1.py`.

use quickcache::key::{BigInt, Date, DateTime, Time, Value, seed, v1};
use serde_json::Value as Json;

fn read(text: &str) -> Json {
    serde_json::from_str(text).unwrap()
}

fn seed_file() -> Json {
    read(include_str!("data/golden-keys.json"))
}

fn rows(file: &Json, name: &str, at_least: usize) -> Vec<Json> {
    let rows = file[name].as_array().unwrap().clone();
    assert!(rows.len() >= at_least, "only {} rows", rows.len());
    rows
}

fn text(node: &Json) -> String {
    node.as_str().unwrap().to_owned()
}

fn hex(node: &Json) -> Vec<u8> {
    let digits = node.as_str().unwrap();
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
        .collect()
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn values(node: &Json) -> Vec<Value<'static>> {
    node.as_array().unwrap().iter().map(value).collect()
}

fn date(fields: &[i64]) -> Date {
    Date::from_ymd(fields[0] as i32, fields[1] as u8, fields[2] as u8)
}

fn value(node: &Json) -> Value<'static> {
    let v = &node["v"];
    let numbers = || {
        v.as_array()
            .unwrap()
            .iter()
            .map(|n| n.as_i64().unwrap())
            .collect::<Vec<_>>()
    };
    let offset = || node["off"].as_i64().map(|minutes| minutes * 60_000_000);
    match node["t"].as_str().unwrap() {
        "none" => Value::None,
        "bool" => Value::Bool(v.as_bool().unwrap()),
        "int" => match v.as_str().unwrap().parse() {
            Ok(number) => Value::Int(number),
            Err(_) => Value::BigInt(BigInt::new(text(v)).unwrap()),
        },
        "float" => Value::Float(v.as_str().unwrap().parse().unwrap()),
        "str" => Value::Str(text(v).into()),
        "bytes" => Value::Bytes(hex(v).into()),
        "list" => Value::List(values(v)),
        "tuple" => Value::Tuple(values(v)),
        "set" => Value::Set(values(v)),
        "frozenset" => Value::FrozenSet(values(v)),
        "dict" => Value::Dict(
            v.as_array()
                .unwrap()
                .iter()
                .map(|item| (value(&item[0]), value(&item[1])))
                .collect(),
        ),
        "uuid" => Value::Uuid(
            hex(&v.as_str().unwrap().replace('-', "").into())
                .try_into()
                .unwrap(),
        ),
        "datetime" => {
            let fields = numbers();
            let micros = ((fields[3] * 60 + fields[4]) * 60 + fields[5]) * 1_000_000 + fields[6];
            let local = DateTime::local(date(&fields), micros as u64);
            Value::DateTime(offset().map_or(local, |micros| local.at_offset(micros)))
        }
        "date" => Value::Date(date(&numbers())),
        "time" => {
            let local = Time::from_nanos(v.as_u64().unwrap());
            Value::Time(offset().map_or(local, |micros| local.at_offset(micros)))
        }
        "timedelta" => Value::TimeDelta(v.as_str().unwrap().parse().unwrap()),
        "decimal" => Value::Decimal(text(v).into()),
        "named" => Value::Named {
            type_name: text(&node["type"]).into(),
            variant: text(&node["variant"]).into(),
            values: values(v),
        },
        other => panic!("a kind of value this test does not know: {other}"),
    }
}

#[test]
fn seed_every_golden_value_has_the_text_of_the_replaced_library() {
    for row in rows(&seed_file(), "rows", 500) {
        let mut out = String::new();
        seed::write(&mut out, &value(&row["value"])).unwrap();
        assert_eq!(out, row["ser"].as_str().unwrap(), "{}", row["value"]);
    }
}

#[test]
fn seed_every_golden_call_has_the_arguments_text_of_the_replaced_library() {
    let (mut plain, mut hashed) = (0, 0);
    for row in rows(&seed_file(), "args", 50) {
        let expected = format!(
            "quickcache.f.01234567/{}",
            row["args_string"].as_str().unwrap()
        );
        assert_eq!(
            seed::key("f.01234567", &values(&row["values"])).unwrap(),
            expected
        );
        if expected.contains("/H") {
            hashed += 1
        } else {
            plain += 1
        }
    }
    assert!(plain > 5 && hashed > 5, "{plain} plain, {hashed} hashed");
}

#[test]
fn seed_floats_are_printed_as_python_prints_them() {
    let file = include_str!("data/floats.txt");
    let lines: Vec<_> = file.lines().filter(|line| !line.starts_with('#')).collect();
    assert!(lines.len() > 1_900);
    for line in lines {
        let (bits, repr) = line.split_once(' ').unwrap();
        let mut out = String::new();
        seed::write_float(
            &mut out,
            f64::from_bits(u64::from_str_radix(bits, 16).unwrap()),
        );
        assert_eq!(out, format!("n{repr}"), "{bits}");
    }
}

#[test]
fn seed_arguments_of_more_than_150_characters_are_hashed() {
    // Characters, not bytes: 150 of two bytes each stay.
    assert_eq!(
        seed::finish("p", &"é".repeat(150)),
        format!("quickcache.p/{}", "é".repeat(150))
    );
    // printf 'a%.0s' {1..151} | md5sum
    assert_eq!(
        seed::finish("p", &"a".repeat(151)),
        "quickcache.p/Hfdcd84c4143286f6fc70c69208acd18d"
    );
}

#[test]
fn seed_prefix_is_the_name_cut_and_the_end_of_the_md5_of_the_source() {
    // md5 of "def f(): pass\n" is 87d1450e1c01dbf549454594d84685d2
    assert_eq!(seed::prefix("f", "def f(): pass\n"), "f.d84685d2");
    assert_eq!(
        seed::prefix(&"é".repeat(40), "def f(): pass\n"),
        format!("{}.d84685d2", "é".repeat(40))
    );
    assert_eq!(
        seed::prefix(&"é".repeat(41), "def f(): pass\n"),
        format!("{}...d84685d2", "é".repeat(40))
    );
}

#[test]
fn seed_refuses_what_the_replaced_library_refuses_and_says_no_value() {
    let secret = Value::Decimal("271828".into());
    let error = seed::key("p", &[Value::List(vec![secret])]).unwrap_err();
    assert_eq!(error, seed::Refused::Type("decimal"));
    assert!(!error.to_string().contains("271828"));
    let year_zero = DateTime::local(Date::from_ymd(0, 12, 31), 0);
    assert_eq!(
        seed::key("p", &[Value::DateTime(year_zero)]),
        Err(seed::Refused::Year)
    );
    let year_one = DateTime::local(Date::from_ymd(1, 1, 1), 0);
    assert_eq!(
        seed::key("p", &[Value::DateTime(year_one)]).unwrap(),
        "quickcache.p/DT0001-01-01T00:00:00"
    );
}

#[test]
fn v1_every_golden_call_has_the_key_of_the_independent_script() {
    for row in rows(&read(include_str!("data/golden-keys-v1.json")), "rows", 150) {
        let names = [
            text(&row["module"]),
            text(&row["name"]),
            text(&row["version"]),
        ];
        let source = hex(&row["source"]);
        let [module, name, version] = &names;
        let identity = v1::Identity {
            module,
            name,
            version,
            source: &source,
        };
        let function = v1::Scheme::new(&hex(&row["secret"])).function(identity);
        let values = values(&row["values"]);
        let mut encoded = String::new();
        let written = function.key_of(values.len(), |message| {
            values.iter().for_each(|value| v1::write(message, value));
            encoded = to_hex(&message[33..]);
            Ok::<_, ()>(())
        });
        assert_eq!(
            encoded,
            row["encoded"].as_str().unwrap(),
            "{}",
            row["values"]
        );
        assert_eq!(to_hex(function.id()), row["function"].as_str().unwrap());
        let digest = function.key(&values);
        assert_eq!(Ok(digest), written);
        assert_eq!(digest.text(), row["key"].as_str().unwrap());
        assert_eq!(digest.text().len(), v1::TEXT_LEN);
        assert_eq!(to_hex(&digest.rest()), row["rest"].as_str().unwrap());
    }
}

/// One moment, day and length of time, as every crate that has a type for it gives them: `expected` is from Python.
#[cfg(all(
    feature = "chrono",
    feature = "jiff",
    feature = "time",
    feature = "uuid"
))]
mod other_crates {
    use quickcache::key::{Key, Value, seed};

    fn texts(key: impl Key) -> Vec<String> {
        let text = |value: &Value| seed::key("p", std::slice::from_ref(value)).unwrap();
        key.values()
            .iter()
            .map(|value| text(value).split_off("quickcache.p/".len()))
            .collect()
    }

    #[test]
    fn seed_moments_have_the_text_of_python() {
        let zoned = jiff::Zoned::new(
            "2024-02-29T23:34:56.000004Z".parse().unwrap(),
            jiff::tz::offset(2).to_time_zone(),
        );
        let offset = time::UtcOffset::from_hms(-9, -30, 0).unwrap();
        let unix = 1_709_249_696_000_004_000;
        let key = (
            zoned.timestamp(),
            zoned.clone(),
            chrono::DateTime::from_timestamp_nanos(unix).fixed_offset(),
            time::OffsetDateTime::from_unix_timestamp_nanos(unix.into())
                .unwrap()
                .to_offset(offset),
        );
        assert_eq!(texts(key), ["DT2024-02-29T23:34:56.000004+00:00"; 4]);
        let time = time::Time::from_hms_micro(1, 34, 56, 4).unwrap();
        let key = (
            zoned.datetime(),
            "2024-03-01T01:34:56.000004"
                .parse::<chrono::NaiveDateTime>()
                .unwrap(),
            time::PrimitiveDateTime::new(
                time::Date::from_calendar_date(2024, time::Month::March, 1).unwrap(),
                time,
            ),
        );
        assert_eq!(texts(key), ["DT2024-03-01T01:34:56.000004"; 3]);
        let id = "12345678-1234-5678-1234-567812345678";
        assert_eq!(
            texts((id.parse::<uuid::Uuid>().unwrap(),)),
            [format!("U{id}")]
        );
    }

    #[test]
    fn days_clocks_and_durations_are_one_value_in_every_crate() {
        // date(2024, 2, 29).toordinal() - date(1970, 1, 1).toordinal() is 19782
        let days = (
            jiff::civil::date(2024, 2, 29),
            chrono::NaiveDate::from_ymd_opt(2024, 2, 29).unwrap(),
            time::Date::from_calendar_date(2024, time::Month::February, 29).unwrap(),
        );
        for value in days.values() {
            assert!(
                matches!(value, Value::Date(day) if day.days() == 19_782),
                "{value:?}"
            );
        }
        let clocks = (
            jiff::civil::time(23, 59, 58, 7),
            chrono::NaiveTime::from_hms_nano_opt(23, 59, 58, 7).unwrap(),
            time::Time::from_hms_nano(23, 59, 58, 7).unwrap(),
        );
        for value in clocks.values() {
            assert!(
                matches!(value, Value::Time(time) if time.nanos() == 86_398_000_000_007),
                "{value:?}"
            );
        }
        let lengths = (
            jiff::SignedDuration::new(-1, -500_000_000),
            chrono::TimeDelta::milliseconds(-1_500),
            time::Duration::milliseconds(-1_500),
        );
        for value in lengths.values() {
            assert!(
                matches!(value, Value::TimeDelta(-1_500_000_000)),
                "{value:?}"
            );
        }
    }
}
