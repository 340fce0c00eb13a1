//! Which calls share an entry: never two of different types, always two of one name and version.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use quickcache::key::Value;
use quickcache::key::v1::{Identity, Scheme};
use quickcache::{KeyPart, Memory, QuickCache, quickcache};

trait Describe {
    fn describe(&self) -> String;
}

#[derive(KeyPart)]
struct User(u64);

#[derive(KeyPart)]
struct Post(u64);

impl Describe for User {
    fn describe(&self) -> String {
        format!("user {}", self.0)
    }
}

impl Describe for Post {
    fn describe(&self) -> String {
        format!("post {}", self.0)
    }
}

impl Describe for f32 {
    fn describe(&self) -> String {
        format!("f32 {self}")
    }
}

impl Describe for u32 {
    fn describe(&self) -> String {
        format!("u32 {self}")
    }
}

#[quickcache(vary_on = [of])]
fn described<T: Describe + KeyPart>(of: &T) -> String {
    of.describe()
}

#[test]
fn keys_of_two_types_that_are_kept_alike_are_two_keys() {
    assert_eq!(described(&User(1)), "user 1");
    assert_eq!(described(&Post(1)), "post 1");
    assert_ne!(described::key(&User(1)), described::key(&Post(1)));
    assert_eq!(described(&1.0_f32), "f32 1");
    assert_eq!(described(&1.0_f32.to_bits()), "u32 1065353216");
}

struct Repo;

struct Shelf<T>(T);

#[quickcache]
impl Repo {
    #[quickcache(vary_on = [id], name = "row", version = 3)]
    fn row(id: u64) -> u64 {
        id
    }
}

#[quickcache]
impl<T: Into<u64> + Clone> Shelf<T> {
    #[quickcache(vary_on = [id], name = "row", version = 3)]
    fn row(&self, id: u64) -> u64 {
        id + self.0.clone().into()
    }
}

#[quickcache(vary_on = [id], name = "row", version = 3)]
fn row(id: u64) -> u64 {
    id
}

static SECRET: LazyLock<QuickCache> = LazyLock::new(|| {
    QuickCache::builder(Memory::new())
        .version(3)
        .secret(b"open sesame")
        .build()
});

#[quickcache(cache = SECRET, vary_on = [id], name = "row")]
fn keyed_row(id: u64) -> u64 {
    id
}

/// What docs/keys.md says of a function with an explicit name: nothing of Rust is in its keys, so any language can make them.
#[test]
fn a_name_and_a_version_are_all_that_a_key_says_of_a_function() {
    let key = |secret: &[u8]| {
        let identity = Identity {
            name: "row",
            version: "3",
            ..Identity::default()
        };
        let scheme = Scheme::new(secret);
        scheme.function(identity).key(&[Value::Int(5)]).text()
    };
    assert_eq!(row::key(5), key(b""));
    assert_eq!(Repo::row_entry(5).key(), key(b""));
    assert_eq!(keyed_row::key(5), key(b"open sesame"));
    assert_ne!(
        Shelf(1_u8).row_entry(5).key(),
        key(b""),
        "a type parameter is a part of the name"
    );
    assert_ne!(
        Shelf(1_u8).row_entry(5).key(),
        Shelf(1_u32).row_entry(5).key()
    );
}

#[cfg(all(
    feature = "uuid",
    feature = "chrono",
    feature = "jiff",
    feature = "time"
))]
#[test]
fn floats_options_slices_tuples_uuids_and_times_are_key_values() {
    use std::time::SystemTime;
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    type Pair<'a> = ((u8, char), [&'a str; 2]);
    #[quickcache(vary_on = [at, id, list, pair, times.0, times.1, times.2, since, until])]
    fn keyed(
        at: f64,
        id: Option<uuid::Uuid>,
        list: &[Option<i32>],
        pair: Pair<'_>,
        times: &(chrono::NaiveDate, jiff::Timestamp, time::Date),
        since: SystemTime,
        until: Duration,
    ) -> usize {
        RUNS.fetch_add(1, Ordering::SeqCst)
    }
    let times = (
        chrono::NaiveDate::default(),
        jiff::Timestamp::UNIX_EPOCH,
        time::Date::MIN,
    );
    let (epoch, second) = (SystemTime::UNIX_EPOCH, Duration::from_secs(1));
    let pair: Pair<'_> = ((1, 'c'), ["a", "b"]);
    let id = Some(uuid::Uuid::nil());
    for _ in 0..2 {
        keyed(f64::NAN, id, &[None, Some(1)], pair, &times, epoch, second);
        keyed(0.0, id, &[None, Some(1)], pair, &times, epoch, second);
        keyed(-0.0, id, &[None, Some(1)], pair, &times, epoch, second);
        keyed(0.0, None, &[None, Some(1)], pair, &times, epoch, second);
        keyed(0.0, id, &[Some(1), None], pair, &times, epoch, second);
        keyed(
            0.0,
            id,
            &[None, Some(1)],
            ((1, 'c'), ["ab", ""]),
            &times,
            epoch,
            second,
        );
        keyed(
            0.0,
            id,
            &[None, Some(1)],
            pair,
            &times,
            epoch + second,
            second,
        );
        keyed(0.0, id, &[None, Some(1)], pair, &times, epoch, second * 2);
    }
    assert_eq!(RUNS.load(Ordering::SeqCst), 8);
}

fn of_users() -> String {
    const TABLE: &str = "users";
    #[quickcache(vary_on = [id])]
    fn row(id: u64) -> String {
        format!("{TABLE} {id}")
    }
    row(1);
    row::key(1)
}

fn of_posts() -> String {
    const TABLE: &str = "posts";
    #[quickcache(vary_on = [id])]
    fn row(id: u64) -> String {
        format!("{TABLE} {id}")
    }
    row(1);
    row::key(1)
}

#[quickcache(vary_on = [])]
fn outermost() -> u64 {
    7
}

/// The same name, the same text, the same module: in a tier that others share they must not meet.
#[test]
fn nested_functions_of_one_name_and_text_have_keys_of_their_own() {
    assert_ne!(of_users(), of_posts());
    assert_eq!(of_users(), of_users());
    outermost();
    assert_ne!(outermost::key(), of_users());
}
