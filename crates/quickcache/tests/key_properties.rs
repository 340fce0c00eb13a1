//! Properties of text keys over generated values: which values share a key.

use std::collections::HashSet;

use proptest::prelude::*;
use proptest::sample::select;
use quickcache::key::{BigInt, Date, DateTime, Time, Value, seed, v1};

/// What v1 holds equal, said without its encoding: `docs/keys.md`, "What is equal".
fn equal_v1(a: &Value, b: &Value) -> bool {
    use Value::*;
    let number = |value: &Value| match value {
        Int(number) => Some(number.to_string()),
        BigInt(number) => Some(number.as_str().to_owned()),
        _ => Option::None,
    };
    match (a, b) {
        (Int(_) | BigInt(_), _) => number(a) == number(b),
        (None, None) => true,
        (Bool(a), Bool(b)) => a == b,
        (Float(a), Float(b)) => a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan(),
        (Str(a), Str(b)) => a == b,
        (Bytes(a), Bytes(b)) => a == b,
        (List(a), List(b)) | (Tuple(a), Tuple(b)) => in_order(a, b),
        (Set(a), Set(b)) | (FrozenSet(a), FrozenSet(b)) => in_any_order(a, b, equal_v1),
        (Dict(a), Dict(b)) => {
            in_any_order(a, b, |a, b| equal_v1(&a.0, &b.0) && equal_v1(&a.1, &b.1))
        }
        (Uuid(a), Uuid(b)) => a == b,
        (DateTime(a), DateTime(b)) => a == b,
        (Date(a), Date(b)) => a == b,
        (Time(a), Time(b)) => a == b,
        (TimeDelta(a), TimeDelta(b)) => a == b,
        (Decimal(a), Decimal(b)) => a == b,
        (
            Named {
                type_name,
                variant,
                values,
            },
            Named {
                type_name: other_type,
                variant: other_variant,
                values: others,
            },
        ) => type_name == other_type && variant == other_variant && in_order(values, others),
        _ => false,
    }
}

fn in_order(a: &[Value], b: &[Value]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal_v1(a, b))
}

fn in_any_order<T>(a: &[T], b: &[T], equal: impl Fn(&T, &T) -> bool) -> bool {
    let mut left: Vec<&T> = b.iter().collect();
    a.len() == b.len()
        && a.iter().all(|a| {
            left.iter()
                .position(|b| equal(a, b))
                .map(|at| left.swap_remove(at))
                .is_some()
        })
}

/// Few distinct leaves, chosen to be mistaken for each other, so that equal trees come up often.
fn leaf() -> impl Strategy<Value = Value<'static>> {
    let big = |text: &'static str| Value::BigInt(BigInt::new(text).unwrap());
    let local = DateTime::local(Date::from_days(1), 5);
    select(vec![
        Value::None,
        Value::Bool(true),
        Value::Bool(false),
        Value::Int(0),
        Value::Int(1),
        big("1"),
        big("9223372036854775808"),
        Value::Float(1.0),
        Value::Float(0.0),
        Value::Float(-0.0),
        Value::Float(f64::NAN),
        Value::Float(f64::from_bits(0xfff8_0000_0000_0001)),
        Value::Str("".into()),
        Value::Str("1".into()),
        Value::Str("s\u{1}1".into()),
        Value::Bytes((&b"1"[..]).into()),
        Value::Decimal("1".into()),
        Value::Uuid([0; 16]),
        Value::DateTime(local),
        Value::DateTime(local.at_offset(0)),
        Value::DateTime(DateTime::from_unix_nanos(86_400_000_005_000)),
        Value::Date(Date::from_days(1)),
        Value::Time(Time::from_nanos(1)),
        Value::Time(Time::from_nanos(1).at_offset(0)),
        Value::Time(Time::from_nanos(1).at_offset(1)),
        Value::TimeDelta(1),
    ])
}

fn tree() -> impl Strategy<Value = Value<'static>> {
    leaf().prop_recursive(3, 12, 3, |inner| {
        let some = prop::collection::vec(inner.clone(), 0..3);
        prop_oneof![
            some.clone().prop_map(Value::List),
            some.clone().prop_map(Value::Tuple),
            some.clone().prop_map(Value::Set),
            some.clone().prop_map(Value::FrozenSet),
            prop::collection::vec((inner.clone(), inner), 0..3).prop_map(Value::Dict),
            (
                select(vec!["", "A", "AB"]),
                select(vec!["", "B", "AB"]),
                some
            )
                .prop_map(|(name, variant, values)| {
                    Value::Named {
                        type_name: name.into(),
                        variant: variant.into(),
                        values,
                    }
                }),
        ]
    })
}

fn encoded(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    v1::write(&mut out, value);
    out
}

fn seed_text(value: &Value) -> Option<String> {
    let mut out = String::new();
    seed::write(&mut out, value).ok().map(|()| out)
}

/// The same value written differently: other order in sets and dicts, other form of integers and NaN.
fn rewritten(value: &Value<'static>) -> Value<'static> {
    let all = |values: &[Value<'static>]| values.iter().map(rewritten).collect::<Vec<_>>();
    let reversed =
        |values: &[Value<'static>]| values.iter().rev().map(rewritten).collect::<Vec<_>>();
    match value {
        Value::Int(number) => Value::BigInt(BigInt::new(number.to_string()).unwrap()),
        Value::Float(float) if float.is_nan() => Value::Float(-*float),
        Value::List(values) => Value::List(all(values)),
        Value::Tuple(values) => Value::Tuple(all(values)),
        Value::Set(values) => Value::Set(reversed(values)),
        Value::FrozenSet(values) => Value::FrozenSet(reversed(values)),
        Value::Dict(items) => Value::Dict(
            items
                .iter()
                .rev()
                .map(|(k, v)| (rewritten(k), rewritten(v)))
                .collect(),
        ),
        other => other.clone(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn v1_two_values_share_bytes_if_and_only_if_they_are_equal(a in tree(), b in tree()) {
        prop_assert_eq!(encoded(&a) == encoded(&b), equal_v1(&a, &b), "{:?} {:?}", a, b);
    }

    #[test]
    fn v1_two_calls_share_bytes_if_and_only_if_their_values_are_equal(
        a in prop::collection::vec(leaf(), 0..3), b in prop::collection::vec(leaf(), 0..3)
    ) {
        let function = v1::Scheme::new(b"").function(v1::Identity::default());
        prop_assert_eq!(function.key(&a).text() == function.key(&b).text(), in_order(&a, &b));
    }

    #[test]
    fn both_schemes_give_one_text_however_a_value_is_written(a in tree()) {
        let b = rewritten(&a);
        prop_assert_eq!(encoded(&a), encoded(&b));
        prop_assert_eq!(seed_text(&a), seed_text(&b));
    }
}

#[test]
fn v1_no_part_of_an_identity_runs_into_the_next() {
    let id = |secret: &[u8], module, name, version, source: &[u8]| {
        *v1::Scheme::new(secret)
            .function(v1::Identity {
                module,
                name,
                version,
                source,
            })
            .id()
    };
    let all = [
        id(b"", "ab", "c", "", b""),
        id(b"", "a", "bc", "", b""),
        id(b"", "ab", "", "c", b""),
        id(b"", "ab", "", "", b"c"),
        id(b"", "", "abc", "", b""),
        id(b"x", "ab", "c", "", b""),
    ];
    assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
}

#[test]
fn a_big_int_has_one_form() {
    for good in ["0", "-1", "10", "123456789012345678901234567890"] {
        assert_eq!(BigInt::new(good).unwrap().as_str(), good);
    }
    for bad in [
        "", "-", "-0", "00", "01", "+1", " 1", "1 ", "1_0", "1.0", "x",
    ] {
        assert!(BigInt::new(bad).is_none(), "{bad:?}");
    }
}
