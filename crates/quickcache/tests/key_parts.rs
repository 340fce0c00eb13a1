//! Properties of typed parts: in place they are equal exactly when their texts are, and a hit allocates nothing.

use std::alloc::{GlobalAlloc, Layout, System};
use std::borrow::Cow;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proptest::prelude::*;
use proptest::sample::{Index, select};
use quickcache::key::{Key, KeyPart, Value, seed, v1};

/// Counts this thread's allocations.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator unchanged; the counter needs no allocation and no destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn encoded(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    v1::write(&mut out, value);
    out
}

fn seed_text(value: &Value) -> Option<String> {
    let mut out = String::new();
    seed::write(&mut out, value).ok().map(|()| out)
}

fn hash_of(part: &impl KeyPart) -> u64 {
    let mut state = DefaultHasher::new();
    part.hash_part(&mut state);
    state.finish()
}

/// In place, two parts are equal exactly when their texts are, and then have one hash.
fn agree<P: KeyPart + Debug>(a: &P, b: &P) {
    let same_v1 = encoded(&a.value()) == encoded(&b.value());
    if let (Some(a_text), Some(b_text)) = (seed_text(&a.value()), seed_text(&b.value())) {
        assert_eq!(
            a_text == b_text,
            same_v1,
            "the schemes differ on {a:?} and {b:?}"
        );
    }
    assert_eq!(a.eq_owned(&b.to_owned_part()), same_v1, "{a:?} {b:?}");
    assert_eq!(
        a.to_owned_part() == b.to_owned_part(),
        same_v1,
        "{a:?} {b:?}"
    );
    assert_eq!(hash_of(a) == hash_of(b), same_v1, "{a:?} {b:?}");
}

/// All pairs of a list, and that the list has this many different keys.
fn all_agree<P: KeyPart + Debug>(parts: &[P], different: usize) {
    for a in parts {
        parts.iter().for_each(|b| agree(a, b));
    }
    assert_eq!(
        parts
            .iter()
            .map(|part| encoded(&part.value()))
            .collect::<HashSet<_>>()
            .len(),
        different
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn typed_parts_agree_with_their_texts(
        a in generated(), b in generated(), at in any::<Index>(), number in any::<(u128, i128)>()
    ) {
        agree(&a, &b);
        agree(&a, &a.clone());
        // Of two that differ in one place only, too.
        let mut near = a.clone();
        let bytes = &mut near.2;
        if !bytes.is_empty() {
            let at = at.index(bytes.len());
            bytes[at] ^= 1;
        }
        agree(&a, &near);
        agree(&number, &(number.0 ^ 1, number.1));
    }
}

type Generated = (
    String,
    Option<Option<i64>>,
    Vec<u8>,
    Vec<(f64, bool)>,
    HashMap<u8, String>,
    BTreeSet<char>,
);

fn generated() -> impl Strategy<Value = Generated> {
    (
        "[ab]{0,2}",
        any::<Option<Option<bool>>>().prop_map(|x| x.map(|x| x.map(i64::from))),
        prop::collection::vec(0..2_u8, 0..2),
        prop::collection::vec(
            (select(vec![0.0, -0.0, f64::NAN, 1.0]), any::<bool>()),
            0..2,
        ),
        prop::collection::hash_map(0..2_u8, "[ab]?", 0..2),
        prop::collection::btree_set(select(vec!['a', 'é']), 0..2),
    )
}

#[test]
fn floats_are_keys() {
    all_agree(
        &[
            0.0,
            -0.0,
            f64::NAN,
            -f64::NAN,
            f64::from_bits(0x7ff0_0000_0000_0001),
            1.0,
            f64::INFINITY,
        ],
        5,
    );
    all_agree(&[0.0, -0.0, f32::NAN, -f32::NAN, 0.1, f32::MIN_POSITIVE], 5);
}

#[test]
fn nested_options_are_keys() {
    all_agree(
        &[None, Some(None), Some(Some(None)), Some(Some(Some(1_u8)))],
        4,
    );
    all_agree(&[None, Some((None,)), Some((Some(1_u8),))], 3);
    all_agree(&[None, Some(())], 2);
}

#[test]
fn borrowed_and_owned_forms_of_a_part_are_one_key() {
    let kept = "en".to_owned().to_owned_part();
    assert!(
        "en".eq_owned(&kept) && Cow::Borrowed("en").eq_owned(&kept) && !(&"de").eq_owned(&kept)
    );
    assert_eq!(hash_of(&"en"), hash_of(&"en".to_owned()));
    let bytes = vec![1_u8, 2].to_owned_part();
    assert!([1_u8, 2][..].eq_owned(&bytes) && ![2_u8, 1][..].eq_owned(&bytes));
    assert!(matches!(vec![1_u8].value(), Value::Bytes(_)));
    assert_eq!(String::owned_heap(&kept), 0, "short text lies in the entry");
    assert_eq!(String::owned_heap(&"x".repeat(30).to_owned_part()), 30);
    assert_eq!(
        <Vec<String>>::owned_heap(&vec!["abc".to_owned()].to_owned_part()),
        size_of::<quickcache::key::KeptText>()
    );
}

#[test]
fn sets_and_maps_are_keys_in_any_order() {
    let forward: HashSet<u32> = (0..100).collect();
    let backward: HashSet<u32> = (0..100).rev().collect();
    let other: HashSet<u32> = (1..101).collect();
    all_agree(&[forward, backward, other], 2);
    let map = |from: &[(&'static str, i32)]| from.iter().copied().collect::<HashMap<_, _>>();
    all_agree(
        &[
            map(&[("a", 1), ("b", 2)]),
            map(&[("b", 2), ("a", 1)]),
            map(&[("a", 2), ("b", 1)]),
            map(&[]),
        ],
        3,
    );
    all_agree(
        &[
            BTreeMap::from([(1, 2)]),
            BTreeMap::from([(2, 1)]),
            BTreeMap::new(),
        ],
        3,
    );
}

/// Told apart by Rust, the same as a key.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Tagged(u8, u8);

impl KeyPart for Tagged {
    type Owned = u8;
    fn hash_part<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
    fn eq_owned(&self, owned: &u8) -> bool {
        self.0 == *owned
    }
    fn to_owned_part(&self) -> u8 {
        self.0
    }
    fn value(&self) -> Value<'_> {
        self.0.value()
    }
}

#[test]
fn a_set_of_parts_that_are_one_key_counts_them() {
    let set = |of: &[(u8, u8)]| {
        of.iter()
            .map(|&(key, tag)| Tagged(key, tag))
            .collect::<HashSet<_>>()
    };
    all_agree(
        &[
            set(&[(1, 0), (1, 1), (2, 0)]),
            set(&[(1, 0), (2, 0), (2, 1)]),
            set(&[(1, 7), (1, 8), (2, 9)]),
        ],
        2,
    );
}

/// All of one hash.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Colliding(u8);

impl KeyPart for Colliding {
    type Owned = u8;
    fn hash_part<H: Hasher>(&self, _: &mut H) {}
    fn eq_owned(&self, owned: &u8) -> bool {
        self.0 == *owned
    }
    fn to_owned_part(&self) -> u8 {
        self.0
    }
    fn value(&self) -> Value<'_> {
        self.0.value()
    }
}

#[test]
fn a_set_is_compared_beyond_its_hash() {
    let set = |of: [u8; 2]| of.map(Colliding).into_iter().collect::<HashSet<_>>();
    let kept = set([1, 2]).to_owned_part();
    assert!(set([2, 1]).eq_owned(&kept) && set([2, 1]).to_owned_part() == kept);
    assert!(!set([1, 3]).eq_owned(&kept) && set([1, 3]).to_owned_part() != kept);
}

#[test]
fn std_times_are_keys() {
    let second = Duration::from_secs(1);
    all_agree(
        &[
            Duration::ZERO,
            second,
            Duration::from_millis(1_000),
            Duration::MAX,
        ],
        3,
    );
    all_agree(
        &[
            UNIX_EPOCH,
            UNIX_EPOCH + second,
            UNIX_EPOCH - second,
            SystemTime::UNIX_EPOCH,
        ],
        3,
    );
    let text = |time: SystemTime| seed_text(&time.value()).unwrap();
    assert_eq!(
        text(UNIX_EPOCH - Duration::from_nanos(1)),
        "DT1969-12-31T23:59:59.999999999+00:00"
    );
    assert_eq!(
        text(UNIX_EPOCH + Duration::from_micros(1_709_210_096_000_004)),
        "DT2024-02-29T12:34:56.000004+00:00"
    );
}

#[test]
fn a_hit_allocates_nothing() {
    let set: HashSet<String> = ["x", "y"].map(String::from).into();
    let map = HashMap::from([("k".to_owned(), 1.5)]);
    let day = UNIX_EPOCH + Duration::from_secs(86_400);
    let key = (
        "en",
        7_u64,
        Some(&b"bytes"[..]),
        &set,
        &map,
        [1_i32, 2],
        (true, 'c', f64::NAN),
        day,
        u128::MAX,
    );
    let kept = key.to_owned_part();
    let hash = hash_of(&key);
    let before = ALLOCATIONS.with(Cell::get);
    let hit = hash_of(&key) == hash && key.eq_owned(&kept);
    assert_eq!(ALLOCATIONS.with(Cell::get) - before, 0);
    assert!(hit);
    assert!(ALLOCATIONS.with(Cell::get) > 0, "the counter counts");
}

#[test]
fn a_key_is_a_tuple_of_its_values() {
    assert!(().values().is_empty());
    let key = (1, "a", (2, 3), 4, 5, 6, 7, 8, 9, 10, 11, 12).values();
    assert_eq!(
        (key.len(), encoded(&key[2])),
        (12, encoded(&(2, 3).value()))
    );
}

/// What `#[derive(KeyPart)]` writes: `docs/keys.md`.
#[derive(Clone, Debug)]
enum Lookup<'a> {
    All,
    ByName(&'a str),
    Page { number: u32, size: u32 },
}

const _: () = {
    #[doc(hidden)]
    #[derive(PartialEq, Eq)]
    pub enum Owned {
        All,
        ByName(<&'static str as KeyPart>::Owned),
        Page {
            number: <u32 as KeyPart>::Owned,
            size: <u32 as KeyPart>::Owned,
        },
    }
    impl<'a> KeyPart for Lookup<'a> {
        type Owned = Owned;
        fn hash_part<H: Hasher>(&self, state: &mut H) {
            match self {
                Lookup::All => state.write_u32(0),
                Lookup::ByName(f0) => {
                    state.write_u32(1);
                    KeyPart::hash_part(f0, state);
                }
                Lookup::Page { number, size } => {
                    state.write_u32(2);
                    KeyPart::hash_part(number, state);
                    KeyPart::hash_part(size, state);
                }
            }
        }
        fn eq_owned(&self, owned: &Owned) -> bool {
            match (self, owned) {
                (Lookup::All, Owned::All) => true,
                (Lookup::ByName(f0), Owned::ByName(o0)) => KeyPart::eq_owned(f0, o0),
                (
                    Lookup::Page { number, size },
                    Owned::Page {
                        number: o0,
                        size: o1,
                    },
                ) => KeyPart::eq_owned(number, o0) && KeyPart::eq_owned(size, o1),
                _ => false,
            }
        }
        fn to_owned_part(&self) -> Owned {
            match self {
                Lookup::All => Owned::All,
                Lookup::ByName(f0) => Owned::ByName(KeyPart::to_owned_part(f0)),
                Lookup::Page { number, size } => Owned::Page {
                    number: KeyPart::to_owned_part(number),
                    size: KeyPart::to_owned_part(size),
                },
            }
        }
        fn value(&self) -> Value<'_> {
            let (variant, values) = match self {
                Lookup::All => ("All", vec![]),
                Lookup::ByName(f0) => ("ByName", vec![KeyPart::value(f0)]),
                Lookup::Page { number, size } => {
                    ("Page", vec![KeyPart::value(number), KeyPart::value(size)])
                }
            };
            Value::Named {
                type_name: "Lookup".into(),
                variant: variant.into(),
                values,
            }
        }
        fn owned_heap(owned: &Owned) -> usize {
            match owned {
                Owned::All => 0,
                Owned::ByName(o0) => <&'static str as KeyPart>::owned_heap(o0),
                Owned::Page {
                    number: o0,
                    size: o1,
                } => u32::owned_heap(o0) + u32::owned_heap(o1),
            }
        }
    }
};

#[test]
fn a_derived_enum_is_a_key() {
    let page = Lookup::Page { number: 1, size: 2 };
    let other = Lookup::Page { number: 2, size: 1 };
    all_agree(
        &[
            Lookup::All,
            Lookup::ByName("a"),
            Lookup::ByName(&"ab"[..1]),
            Lookup::ByName(""),
            page,
            other,
        ],
        5,
    );
}
