//! A user's own cache, alone and behind memory: values survive the process, clears win, errors never reach a caller.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, mpsc};
use std::time::Duration;

use quickcache::{AsyncCache, Cache, Memory, QuickCache, Tier, TieredCache, quickcache};
use serde::{Deserialize, Serialize};

#[derive(Default)]
struct Dict {
    entries: Mutex<HashMap<String, (Vec<u8>, Duration)>>,
    log: Mutex<Vec<&'static str>>,
    broken: AtomicBool,
}

impl Dict {
    fn done(&self, what: &'static str) -> Result<(), &'static str> {
        self.log.lock().unwrap().push(what);
        if self.broken.load(Ordering::SeqCst) {
            Err("broken")
        } else {
            Ok(())
        }
    }

    fn log(&self) -> Vec<&'static str> {
        std::mem::take(&mut *self.log.lock().unwrap())
    }

    fn damage(&self) {
        for (bytes, _) in self.entries.lock().unwrap().values_mut() {
            let last = bytes.len() - 1;
            bytes[last] ^= 1;
        }
    }
}

#[derive(Clone, Default)]
struct Handle(Arc<Dict>);

impl Cache for Handle {
    type Error = &'static str;
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Self::Error> {
        self.0.done("get")?;
        Ok(self
            .0
            .entries
            .lock()
            .unwrap()
            .get(key)
            .map(|(bytes, _)| bytes.clone()))
    }
    fn set(&self, key: &str, value: &[u8], timeout: Duration) -> Result<(), Self::Error> {
        self.0.done("set")?;
        self.0
            .entries
            .lock()
            .unwrap()
            .insert(key.to_owned(), (value.to_owned(), timeout));
        Ok(())
    }
    fn delete(&self, key: &str) -> Result<(), Self::Error> {
        self.0.done("delete")?;
        self.0.entries.lock().unwrap().remove(key);
        Ok(())
    }
}

impl AsyncCache for Handle {
    type Error = &'static str;
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Self::Error> {
        tokio::task::yield_now().await;
        Cache::get(self, key)
    }
    async fn set(&self, key: &str, value: &[u8], timeout: Duration) -> Result<(), Self::Error> {
        tokio::task::yield_now().await;
        Cache::set(self, key, value, timeout)
    }
    async fn delete(&self, key: &str) -> Result<(), Self::Error> {
        tokio::task::yield_now().await;
        Cache::delete(self, key)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Row {
    id: u64,
    name: String,
}

/// A cached function of its own for a test, over a memory that can be emptied and a cache that can be watched.
macro_rules! cached {
    ([$($asynchronous:tt)?] $name:ident, $tiers:expr) => {
        static DICT: LazyLock<Handle> = LazyLock::new(Handle::default);
        static CACHE: LazyLock<QuickCache> =
            LazyLock::new(|| QuickCache::builder($tiers(DICT.clone())).timeout("5m").build());
        static RUNS: AtomicUsize = AtomicUsize::new(0);
        #[quickcache(cache = CACHE, vary_on = [id], name = "row", version = 1)]
        $($asynchronous)? fn $name(id: u64) -> Row {
            RUNS.fetch_add(1, Ordering::SeqCst);
            Row { id, name: format!("row {id}") }
        }
    };
}

fn memory_first(dict: Handle) -> TieredCache {
    TieredCache::new([
        Memory::new().timeout("10s").into(),
        Tier::cache(dict).named("dict"),
    ])
}

fn alone(dict: Handle) -> TieredCache {
    Tier::cache(dict).into()
}

/// Empties the memory tier and nothing else, as a new process would.
fn new_process(cache: &QuickCache) {
    cache.clear_everything();
}

#[test]
fn a_value_outlives_the_memory_tier_in_the_cache_behind_it() {
    cached!([] row, memory_first);
    let first = row(1);
    assert_eq!(DICT.0.log(), ["get", "set"]);
    assert_eq!(row(1), first);
    assert_eq!(DICT.0.log(), [""; 0]);
    new_process(&CACHE);
    assert_eq!(row::explain(1).tier.as_deref(), Some("dict"));
    DICT.0.log();
    assert_eq!(row(1), first);
    assert_eq!(
        DICT.0.log(),
        ["get"],
        "a hit is copied into the memory tier and not set again"
    );
    assert_eq!(row(1), first);
    assert_eq!(DICT.0.log(), [""; 0]);
    assert_eq!(RUNS.load(Ordering::SeqCst), 1);
    let stats = row::stats();
    assert_eq!(
        (stats.tier_hits.as_slice(), stats.memory_hits, stats.misses),
        ([1].as_slice(), 2, 2)
    );
}

#[test]
fn a_clear_reaches_every_tier() {
    cached!([] row, memory_first);
    row(1);
    DICT.0.log();
    assert!(row::clear(1).is_applied());
    assert_eq!(DICT.0.log(), ["delete"]);
    assert!(DICT.0.entries.lock().unwrap().is_empty());
    row(1);
    assert_eq!(RUNS.load(Ordering::SeqCst), 2);
}

#[test]
fn a_cache_alone_serves_every_call() {
    cached!([] row, alone);
    assert_eq!(row(1), row(1));
    assert_eq!(DICT.0.log(), ["get", "set", "get"]);
    row::set_cached_value(1).to(Row {
        id: 9,
        name: "set".to_owned(),
    });
    assert_eq!(row::get_cached_value(1).unwrap().id, 9);
    assert_eq!(row::refresh(1).id, 1);
    assert_eq!(row(1).id, 1);
    assert_eq!(RUNS.load(Ordering::SeqCst), 2);
}

#[test]
fn errors_of_a_cache_are_counted_and_never_reach_the_caller() {
    cached!([] row, memory_first);
    DICT.0.broken.store(true, Ordering::SeqCst);
    assert_eq!(row(1).id, 1);
    assert_eq!(row::stats().tier_errors, 2);
    let cleared = row::clear(1);
    assert!(!cleared.is_applied());
    let error = cleared.strict().unwrap_err();
    assert!(error.is_pending());
    assert_eq!(
        error.to_string(),
        "the clear of `row` is not applied in every tier: tier `dict`: broken"
    );
    assert_eq!(row(1).id, 1);
    assert_eq!(
        RUNS.load(Ordering::SeqCst),
        2,
        "the clear is in force in the memory tier all the same"
    );
    DICT.0.broken.store(false, Ordering::SeqCst);
    assert!(row::clear(1).strict().is_ok());
}

#[test]
fn p10_a_damaged_value_is_a_miss() {
    cached!([] row, memory_first);
    row(1);
    new_process(&CACHE);
    DICT.0.damage();
    assert_eq!(row(1).name, "row 1");
    assert_eq!(RUNS.load(Ordering::SeqCst), 2);
    assert_eq!(row::stats().rejected_values, 1);
}

#[test]
fn functions_of_one_name_and_version_share_entries_and_others_do_not() {
    cached!([] row, alone);
    #[quickcache(cache = CACHE, vary_on = [id], name = "row", version = 1)]
    fn same(id: u64) -> Row {
        Row {
            id,
            name: "never".to_owned(),
        }
    }
    #[quickcache(cache = CACHE, vary_on = [id], name = "row", version = 2)]
    fn newer(id: u64) -> Row {
        Row {
            id,
            name: "newer".to_owned(),
        }
    }
    assert_eq!(
        same(1),
        Row {
            id: 1,
            name: "never".to_owned()
        }
    );
    assert_eq!(row(1).name, "never");
    assert_eq!(newer(1).name, "newer");
    assert_eq!(row::key(1), same::key(1));
    assert_ne!(row::key(1), newer::key(1));
    assert_eq!(RUNS.load(Ordering::SeqCst), 0);
}

#[test]
fn a_value_without_a_codec_stays_in_the_memory_tier() {
    static DICT: LazyLock<Handle> = LazyLock::new(Handle::default);
    static CACHE: LazyLock<QuickCache> =
        LazyLock::new(|| QuickCache::new(memory_first(DICT.clone())));
    #[derive(Clone, Debug, PartialEq)]
    struct Plain(u64);
    #[quickcache(cache = CACHE, vary_on = [n])]
    fn plain(n: u64) -> Plain {
        Plain(n)
    }
    assert_eq!(plain(1), plain(1));
    assert_eq!(DICT.0.log(), [""; 0]);
    assert_eq!(plain::stats().unencodable, 1);
    assert_eq!(plain::stats().memory_hits, 1);
}

#[test]
fn a_codec_of_the_users_own_is_used_where_it_is_named() {
    struct Digits;
    impl quickcache::Codec<u64> for Digits {
        fn encode(value: &u64, bytes: &mut Vec<u8>) -> Result<(), quickcache::Error> {
            bytes.extend_from_slice(value.to_string().as_bytes());
            Ok(())
        }
        fn decode(bytes: &[u8]) -> Result<u64, quickcache::Error> {
            let text = std::str::from_utf8(bytes).map_err(quickcache::Error::codec)?;
            text.parse().map_err(quickcache::Error::codec)
        }
    }
    static DICT: LazyLock<Handle> = LazyLock::new(Handle::default);
    static CACHE: LazyLock<QuickCache> = LazyLock::new(|| QuickCache::new(alone(DICT.clone())));
    #[quickcache(cache = CACHE, vary_on = [n], codec = Digits)]
    fn digits(n: u64) -> u64 {
        n
    }
    assert_eq!((digits(123), digits(123)), (123, 123));
    assert_eq!(digits::stats().executions, 1);
    let entries = DICT.0.entries.lock().unwrap();
    assert!(entries.values().all(|(bytes, _)| bytes.ends_with(b"123")));
}

#[test]
fn a_tier_is_told_what_is_left_of_the_timeout() {
    static DICT: LazyLock<Handle> = LazyLock::new(Handle::default);
    static CACHE: LazyLock<QuickCache> = LazyLock::new(|| QuickCache::new(alone(DICT.clone())));
    #[quickcache(cache = CACHE, vary_on = [], timeout = "1h")]
    fn hour() -> u64 {
        std::thread::sleep(Duration::from_millis(15));
        1
    }
    hour();
    let entries = DICT.0.entries.lock().unwrap();
    let timeout = entries.values().next().unwrap().1;
    assert!(
        timeout <= Duration::from_millis(3_600_000 - 14),
        "age counts from the start: {timeout:?}"
    );
    assert!(timeout > Duration::from_secs(3590));
}

#[test]
fn clear_all_is_an_error_on_a_tier_that_cannot_do_it() {
    cached!([] row, memory_first);
    row(1);
    let error = row::clear_all().strict().unwrap_err();
    assert!(
        error
            .to_string()
            .contains("`row::clear_all` cannot clear tier `dict`"),
        "{error}"
    );
}

#[tokio::test]
async fn an_async_cache_serves_async_functions() {
    fn asynchronous(dict: Handle) -> TieredCache {
        TieredCache::new([Memory::new().into(), Tier::async_cache(dict).named("dict")])
    }
    cached!([async] row, asynchronous);
    let first = row(1).await;
    assert_eq!(DICT.0.log(), ["get", "set"]);
    new_process(&CACHE);
    assert_eq!(row::get_cached_value(1).await, Some(first.clone()));
    assert_eq!(row(1).await, first);
    assert_eq!(RUNS.load(Ordering::SeqCst), 1);
    DICT.0.log();
    assert!(row::clear(1).await.is_applied());
    assert_eq!(DICT.0.log(), ["delete"]);
    row(1).await;
    assert_eq!(row::refresh(1).await, first);
    row::set_cached_value(1)
        .to(Row {
            id: 5,
            name: String::new(),
        })
        .await;
    new_process(&CACHE);
    assert_eq!(row(1).await.id, 5);
    assert_eq!(RUNS.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn errors_of_an_async_cache_are_counted_and_never_reach_the_caller() {
    fn asynchronous(dict: Handle) -> TieredCache {
        TieredCache::new([Memory::new().into(), Tier::async_cache(dict).named("dict")])
    }
    cached!([async] row, asynchronous);
    DICT.0.broken.store(true, Ordering::SeqCst);
    assert_eq!(row(1).await.id, 1);
    assert_eq!(row::stats().tier_errors, 2);
    let cleared = row::clear(1).await.wait();
    assert!(cleared.clone().strict().unwrap_err().is_pending());
    assert!(!cleared.is_applied());
    assert_eq!(row(1).await.id, 1);
    assert_eq!(RUNS.load(Ordering::SeqCst), 2);
    assert_eq!(row::get_cached_value(1).await.map(|row| row.id), Some(1));
    DICT.0.broken.store(false, Ordering::SeqCst);
    assert!(row::clear(1).await.strict().is_ok());
    let all = row::clear_all().await.strict().unwrap_err();
    assert!(all.is_unsupported() && all.to_string().contains("`dict`"));
}

/// A blocking function cannot ask an async cache: it says so at its first call, with what to do.
#[test]
fn an_async_cache_behind_a_blocking_function_is_named() {
    fn asynchronous(dict: Handle) -> TieredCache {
        Tier::async_cache(dict).named("dict").into()
    }
    cached!([] row, asynchronous);
    let panic = std::panic::catch_unwind(|| row(1)).unwrap_err();
    let message = panic.downcast_ref::<String>().cloned().unwrap_or_default();
    assert!(
        message.contains("`row` is not async") && message.contains("make the function async"),
        "{message}"
    );
    assert_eq!(RUNS.load(Ordering::SeqCst), 0);
}

/// Protocols 2.8, rule 1: a set that has begun when a clear comes is waited for, and deleted.
#[test]
fn p1_a_clear_waits_for_a_set_that_has_begun() {
    use std::sync::mpsc::{Receiver, Sender, channel};
    struct Slow(Handle, Mutex<Option<(Sender<()>, Receiver<()>)>>);
    impl Cache for Slow {
        type Error = &'static str;
        fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Self::Error> {
            Cache::get(&self.0, key)
        }
        fn set(&self, key: &str, value: &[u8], timeout: Duration) -> Result<(), Self::Error> {
            let steps = self.1.lock().unwrap().take();
            if let Some((in_set, go_on)) = steps {
                in_set.send(()).unwrap();
                go_on.recv().unwrap();
            }
            Cache::set(&self.0, key, value, timeout)
        }
        fn delete(&self, key: &str) -> Result<(), Self::Error> {
            Cache::delete(&self.0, key)
        }
    }
    static STEPS: Mutex<Option<(Sender<()>, Receiver<()>)>> = Mutex::new(None);
    static ROUND: AtomicUsize = AtomicUsize::new(0);
    static DICT: LazyLock<Handle> = LazyLock::new(Handle::default);
    static CACHE: LazyLock<QuickCache> = LazyLock::new(|| {
        let steps = STEPS.lock().unwrap().take();
        QuickCache::new(Tier::cache(Slow(DICT.clone(), Mutex::new(steps))))
    });
    #[quickcache(cache = CACHE, vary_on = [])]
    fn source() -> u64 {
        ROUND.load(Ordering::SeqCst) as u64
    }
    let (in_set, is_in_set) = channel();
    let (go_on, goes_on) = channel();
    *STEPS.lock().unwrap() = Some((in_set, goes_on));
    let old = std::thread::spawn(source);
    is_in_set.recv().unwrap();
    ROUND.store(1, Ordering::SeqCst);
    let clear = std::thread::spawn(source::clear);
    std::thread::sleep(Duration::from_millis(20));
    assert!(
        !clear.is_finished(),
        "the clear returned while an old value was on its way into the cache"
    );
    go_on.send(()).unwrap();
    assert_eq!(old.join().unwrap(), 0);
    assert!(clear.join().unwrap().is_applied());
    assert_eq!(source(), 1);
}

/// A cache that, when it is to store, first does something else, once.
type Inside = Mutex<Option<fn()>>;

struct Meddling(Handle, &'static Inside);

impl Meddling {
    fn meddle(&self) {
        let inside = self.1.lock().unwrap().take();
        if let Some(inside) = inside {
            inside();
        }
    }
}

impl Cache for Meddling {
    type Error = &'static str;
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Self::Error> {
        Cache::get(&self.0, key)
    }
    fn set(&self, key: &str, value: &[u8], timeout: Duration) -> Result<(), Self::Error> {
        self.meddle();
        Cache::set(&self.0, key, value, timeout)
    }
    fn delete(&self, key: &str) -> Result<(), Self::Error> {
        Cache::delete(&self.0, key)
    }
}

/// Runs on a thread of its own, which must not wait for itself.
fn ends<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, end) = mpsc::channel();
    std::thread::spawn(move || done.send(work()));
    end.recv_timeout(Duration::from_secs(30))
        .expect("it waits for itself")
}

#[test]
fn p11_a_clear_from_inside_a_set_of_its_key_waits_for_no_store() {
    static DICT: LazyLock<Handle> = LazyLock::new(Handle::default);
    static INSIDE: Inside = Mutex::new(None);
    static CACHE: LazyLock<QuickCache> = LazyLock::new(|| {
        let cache = Tier::cache(Meddling(DICT.clone(), &INSIDE));
        QuickCache::builder(TieredCache::new([Memory::new().into(), cache])).build()
    });
    #[quickcache(cache = CACHE, vary_on = [id], name = "row", version = 1)]
    fn row(id: u64) -> u64 {
        id
    }
    let clears = || assert!(row::clear(1).is_applied());
    for how in [|| row(1), || row::refresh(1)] {
        *INSIDE.lock().unwrap() = Some(clears);
        assert_eq!(ends(how), 1);
        assert!(
            DICT.0.entries.lock().unwrap().is_empty(),
            "it removes what it set"
        );
        assert_eq!(row::get_cached_value(1), None);
    }
    // What is to replace it from inside a fill takes the older value away, and is not kept either.
    *INSIDE.lock().unwrap() = Some(|| row::set_cached_value(1).to(7));
    assert_eq!(ends(|| row(1)), 1);
    assert_eq!(row::get_cached_value(1), None);
    assert_eq!(row(1), 1);
    assert_eq!(row::get_cached_value(1), Some(1));
}

#[tokio::test]
async fn p11_a_clear_from_inside_an_async_set_of_its_key_waits_for_no_store() {
    struct Clearing(Handle, AtomicBool);
    impl AsyncCache for Clearing {
        type Error = &'static str;
        async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Self::Error> {
            AsyncCache::get(&self.0, key).await
        }
        async fn set(&self, key: &str, value: &[u8], timeout: Duration) -> Result<(), Self::Error> {
            if self.1.swap(false, Ordering::SeqCst) {
                assert!(row::clear(1).await.is_applied());
                assert_eq!(row::get_cached_value(1).await, None);
            }
            AsyncCache::set(&self.0, key, value, timeout).await
        }
        async fn delete(&self, key: &str) -> Result<(), Self::Error> {
            AsyncCache::delete(&self.0, key).await
        }
    }
    static DICT: LazyLock<Handle> = LazyLock::new(Handle::default);
    static CACHE: LazyLock<QuickCache> = LazyLock::new(|| {
        let cache = Tier::async_cache(Clearing(DICT.clone(), AtomicBool::new(true)));
        QuickCache::builder(TieredCache::from(cache)).build()
    });
    #[quickcache(cache = CACHE, vary_on = [id], name = "row", version = 1)]
    async fn row(id: u64) -> u64 {
        id
    }
    let call = tokio::time::timeout(Duration::from_secs(30), row(1));
    assert_eq!(call.await.expect("it waits for itself"), 1);
    assert!(DICT.0.entries.lock().unwrap().is_empty());
    assert_eq!(row(1).await, 1);
    assert_eq!(row::get_cached_value(1).await, Some(1));
}
