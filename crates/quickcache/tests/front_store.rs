//! The machine's store behind the memory tier, as a Rust function sees it. Two caches with a memory each stand for two processes:
//! what one clears the other must not have from its own memory.

#![cfg(target_os = "linux")]

mod on_store;

use std::path::PathBuf;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use on_store::{Place, listen, logged};
use quickcache::{Cleared, FakeClock, Memory, Miss, QuickCache, Store, TieredCache, quickcache};

/// Never dropped: statics are not. It lies in the system's folder of temporary files.
static FOLDER: LazyLock<Place> = LazyLock::new(Place::new);
static CLOCK: LazyLock<FakeClock> = LazyLock::new(FakeClock::new);

fn store() -> Store {
    Store::at(FOLDER.store()).max_bytes(8 << 20)
}

fn process() -> QuickCache {
    let tiers = [
        Memory::new().timeout("10s").into(),
        store().timeout("5m").into(),
    ];
    QuickCache::builder(TieredCache::new(tiers))
        .clock(&CLOCK)
        .build()
}

static ONE: LazyLock<QuickCache> = LazyLock::new(process);
static TWO: LazyLock<QuickCache> = LazyLock::new(process);

static RUNS: AtomicU64 = AtomicU64::new(0);
static NOW: AtomicU64 = AtomicU64::new(0);

/// What a database says, and how often it was asked.
fn ask(n: u64) -> (u64, u64) {
    RUNS.fetch_add(1, Ordering::SeqCst);
    (n, NOW.load(Ordering::SeqCst))
}

/// One and the same function, as two processes have it.
macro_rules! in_both {
    ($name:literal, $one:ident, $two:ident, $(skip_arg = $skip:ident,)? |$n:ident $(, $force:ident)?| -> $value:ty $body:block) => {
        #[quickcache(cache = ONE, name = $name, version = 1, vary_on = [$n] $(, skip_arg = $skip)?)]
        #[allow(dead_code)] // some tests want the companions only
        fn $one($n: u64 $(, $force: bool)?) -> $value $body
        #[quickcache(cache = TWO, name = $name, version = 1, vary_on = [$n] $(, skip_arg = $skip)?)]
        #[allow(dead_code)]
        fn $two($n: u64 $(, $force: bool)?) -> $value $body
    };
}

#[test]
fn what_one_process_computed_another_hits() {
    in_both!("hits", one, two, |n| -> String {
        format!("{n} of {}", NOW.load(Ordering::SeqCst))
    });
    let value = one(1);
    assert_eq!(two(1), value);
    assert_eq!((one::stats().executions, two::stats().executions), (1, 0));
    assert_eq!(two::stats().tier_hits, [1]);
    // The backfill serves the next.
    assert_eq!(two(1), value);
    assert_eq!(
        (two::stats().memory_hits, two::stats().tier_hits),
        (1, vec![1])
    );
}

#[test]
fn p2_a_clear_in_one_process_is_seen_by_the_memory_tier_of_another() {
    in_both!("clears", one, two, |n| -> (u64, u64) { ask(n) });
    let before = one(1);
    assert_eq!((two(1), two(1)), (before, before));
    NOW.fetch_add(1, Ordering::SeqCst);
    assert_eq!(one::clear(1), Cleared::Applied);
    let after = two(1);
    assert!(after.1 > before.1, "a value of before the clear");
    assert_eq!(two::explain(1).last_miss, Some(Miss::Cleared));
    assert_eq!(one(1), after);
    // The other way round, and every key of the function.
    let other = two(2);
    assert_eq!(one(2), other);
    NOW.fetch_add(1, Ordering::SeqCst);
    assert_eq!(two::clear_all(), Cleared::Applied);
    assert!(one(1).1 > after.1 && one(2).1 > other.1);
    assert_eq!(one::explain(2).last_miss, Some(Miss::Cleared));
}

/// Clears move the words of regions, which many entries share: those are looked at more closely, once, and stay.
#[test]
fn a_clear_of_one_key_leaves_the_others_in_the_memory_tiers() {
    const KEYS: u64 = 3000;
    in_both!("neighbours", one, two, |n| -> (u64, u64) { ask(n) });
    let before: Vec<_> = (0..KEYS).map(one).collect();
    assert_eq!((0..KEYS).map(two).collect::<Vec<_>>(), before);
    NOW.fetch_add(1, Ordering::SeqCst);
    for n in (0..KEYS).step_by(10) {
        assert!(one::clear(n).is_applied());
    }
    for round in 0..2 {
        let hits = two::stats().memory_hits;
        for (n, before) in (0..KEYS).zip(&before) {
            let (_, version) = two(n);
            assert!(n % 10 != 0 || version > before.1);
        }
        let hits = two::stats().memory_hits - hits;
        // A few share the slot of one that was cleared.
        let all = if round == 0 { KEYS - KEYS / 10 } else { KEYS };
        assert!(hits > all - 50 && hits <= all, "{hits} of {all}");
    }
}

/// A process that has just started has called nothing yet.
#[test]
fn p2_clear_all_reaches_what_this_process_has_never_called() {
    in_both!("never called", one, two, |n| -> (u64, u64) { ask(n) });
    let before = one(1);
    NOW.fetch_add(1, Ordering::SeqCst);
    assert_eq!(two::clear_all(), Cleared::Applied);
    assert!(one(1).1 > before.1, "a value of before the clear");
}

#[test]
fn p2_a_cache_that_is_cleared_is_cleared_in_processes_that_call_other_functions() {
    static APART: LazyLock<Place> = LazyLock::new(Place::new);
    fn apart() -> QuickCache {
        let store = Store::at(APART.store()).max_bytes(1 << 20);
        QuickCache::new(TieredCache::new([Memory::new().into(), store.into()]))
    }
    static CACHE: LazyLock<QuickCache> = LazyLock::new(apart);
    static OTHER: LazyLock<QuickCache> = LazyLock::new(apart);
    #[quickcache(cache = CACHE, vary_on = [n])]
    fn cached(n: u64) -> (u64, u64) {
        ask(n)
    }
    let before = cached(1);
    NOW.fetch_add(1, Ordering::SeqCst);
    OTHER.clear_everything();
    let after = cached(1);
    assert!(after.1 > before.1, "a value of before the clear");
    CACHE.clear_everything();
    assert_eq!(cached::get_cached_value(1), None);
}

#[test]
fn clear_all_of_one_function_leaves_another_alone() {
    in_both!("all-1", one, two, |n| -> u64 { n });
    in_both!("all-2", three, four, |n| -> u64 { n });
    for n in 0..10 {
        let _ = (one(n), two(n), three(n), four(n));
    }
    assert_eq!(one::clear_all(), Cleared::Applied);
    for n in 0..10 {
        let _ = (one(n), two(n), three(n), four(n));
    }
    assert_eq!(one::stats().executions + two::stats().executions, 20);
    assert_eq!(
        (three::stats().executions, four::stats().executions),
        (10, 0)
    );
}

#[test]
fn a_refresh_a_skip_and_a_value_that_is_set_take_the_key_over_in_every_process() {
    in_both!("takes", one, two, skip_arg = force, |n,
                                                   force|
     -> (u64, u64) {
        let _ = force;
        ask(n)
    });
    let mut last = one(1, false);
    assert_eq!(two(1, false), last);
    for step in 0..4 {
        NOW.fetch_add(1, Ordering::SeqCst);
        let next = match step {
            0 => one::refresh(1, false),
            1 => two(1, true),
            2 => two::refresh(1, false),
            _ => {
                one::set_cached_value(1).to((1, u64::MAX));
                (1, u64::MAX)
            }
        };
        assert!(next.1 > last.1);
        assert_eq!(
            (one(1, false), two(1, false)),
            (next, next),
            "after step {step}"
        );
        assert_eq!(
            (one::get_cached_value(1), two::get_cached_value(1)),
            (Some(next), Some(next))
        );
        last = next;
    }
}

#[test]
fn p1_a_value_that_is_set_after_a_clear_came_between_is_not_stored() {
    in_both!("between", one, two, |n| -> u64 { n });
    let setting = one::set_cached_value(1);
    // Its execution begins when `.to` does: a clear before that is none of its business.
    assert_eq!(two::clear(1), Cleared::Applied);
    setting.to(5);
    assert_eq!(two::get_cached_value(1), Some(5));

    static IN: LazyLock<std::sync::Barrier> = LazyLock::new(|| std::sync::Barrier::new(2));
    in_both!("between-2", three, four, |n| -> u64 {
        if n == 7 && NOW.load(Ordering::SeqCst) != u64::MAX {
            IN.wait();
            IN.wait();
        }
        n
    });
    let refreshing = std::thread::spawn(|| three::refresh(7));
    IN.wait();
    assert_eq!(four::clear(7), Cleared::Applied);
    IN.wait();
    assert_eq!(refreshing.join().unwrap(), 7);
    assert_eq!(
        (three::get_cached_value(7), four::get_cached_value(7)),
        (None, None)
    );
    assert_eq!(three::stats().refused_fills, 1);
}

#[test]
fn p2_a_fill_that_a_clear_of_another_process_overtook_is_never_found() {
    static IN: LazyLock<std::sync::Barrier> = LazyLock::new(|| std::sync::Barrier::new(2));
    in_both!("overtaken", one, two, |n| -> u64 {
        if RUNS.fetch_add(0, Ordering::SeqCst) != u64::MAX
            && n == 9
            && FIRST.swap(0, Ordering::SeqCst) == 1
        {
            IN.wait();
            IN.wait();
            return 0;
        }
        n
    });
    static FIRST: AtomicU64 = AtomicU64::new(1);
    let old = std::thread::spawn(|| one(9));
    IN.wait();
    assert_eq!(two::clear(9), Cleared::Applied);
    // A call that begins now waits for nobody: the flight and the lease are of another generation.
    assert_eq!(two(9), 9);
    IN.wait();
    assert_eq!(
        old.join().unwrap(),
        0,
        "a caller of before the clear may have the old value"
    );
    assert_eq!((one(9), two(9)), (9, 9));
}

#[test]
fn p6_a_value_dies_at_its_timeout_counted_from_the_start_of_its_execution() {
    static OWN: LazyLock<FakeClock> = LazyLock::new(FakeClock::new);
    static CACHE: LazyLock<QuickCache> = LazyLock::new(|| {
        let tiers = [Memory::new().timeout("10s").into(), store().into()];
        QuickCache::builder(TieredCache::new(tiers))
            .timeout("60s")
            .clock(&OWN)
            .build()
    });
    #[quickcache(cache = CACHE, vary_on = [n])]
    fn slow(n: u64) -> u64 {
        OWN.advance(Duration::from_secs(20));
        n
    }
    let seconds = Duration::from_secs;
    slow(1);
    // Too slow for the memory tier, and 40 s are left of it in the store.
    let explanation = slow::explain(1);
    assert_eq!(explanation.tier.as_deref(), Some("store"));
    assert_eq!(
        (explanation.age, explanation.time_left),
        (Some(seconds(20)), Some(seconds(40)))
    );
    OWN.advance(seconds(39));
    slow(1);
    assert_eq!(
        (slow::stats().executions, slow::stats().tier_hits),
        (1, vec![1])
    );
    // In memory it lives no longer than what was left.
    assert_eq!(slow::explain(1).tier.as_deref(), Some("memory"));
    OWN.advance(seconds(1));
    assert_eq!(slow::get_cached_value(1), None);
    slow(1);
    assert_eq!(slow::stats().executions, 2);
}

#[test]
fn a_value_without_a_codec_stays_in_memory_and_is_still_cleared_from_elsewhere() {
    #[derive(Clone, PartialEq, Debug)]
    struct Opaque(u64);
    in_both!("opaque", one, two, |n| -> Opaque { Opaque(ask(n).1) });
    let before = (one(1), two(1));
    assert_eq!((one(1), two(1)), before);
    assert_eq!(one::stats().unencodable, 1);
    assert_eq!((one::stats().memory_hits, two::stats().executions), (1, 1));
    NOW.fetch_add(1, Ordering::SeqCst);
    assert_eq!(two::clear(1), Cleared::Applied);
    assert_ne!((one(1), two(1)), before);
    assert_eq!((one::stats().executions, two::stats().executions), (2, 2));
}

#[test]
fn results_options_and_large_values_go_through_the_store() {
    in_both!("result", one, two, |n| -> Result<Option<String>, String> {
        match n {
            0 => Err("none".to_owned()),
            1 => Ok(None),
            n => Ok(Some("x".repeat(n as usize))),
        }
    });
    for n in [1, 2, 5_000, 500_000] {
        let value = one(n);
        assert_eq!(two(n), value);
    }
    assert_eq!(
        (one(0), two(0)),
        (Err("none".to_owned()), Err("none".to_owned()))
    );
    assert_eq!((one::stats().executions, two::stats().executions), (5, 1));
}

#[test]
fn a_value_larger_than_the_store_takes_is_returned_and_counted_and_said_once() {
    listen();
    static SMALL: LazyLock<(Place, PathBuf)> = LazyLock::new(|| {
        let folder = Place::new();
        let path = folder.store();
        (folder, path)
    });
    static CACHE: LazyLock<QuickCache> =
        LazyLock::new(|| QuickCache::new(Store::at(&SMALL.1).max_bytes(10)));
    // Not compressible.
    #[quickcache(cache = CACHE, vary_on = [n])]
    fn noise(n: usize) -> Vec<u32> {
        let mut state = 1_u32;
        (0..n)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                state
            })
            .collect()
    }
    for _ in 0..2 {
        assert_eq!(noise(100).len(), 100);
        assert_eq!(noise(50_000).len(), 50_000);
        assert_eq!(noise(60_000).len(), 60_000);
    }
    assert_eq!((noise::stats().executions, noise::stats().unstored), (5, 4));
    let lines = logged(&SMALL.0);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("max_bytes"), "{lines:?}");
}

#[test]
fn a_folder_that_cannot_be_is_an_uncached_function_a_pending_clear_and_one_warning() {
    listen();
    static PATH: LazyLock<(Place, PathBuf)> = LazyLock::new(|| {
        let folder = Place::new();
        let file = folder.store();
        std::fs::write(&file, "a file in its place").unwrap();
        (folder, file)
    });
    static CACHE: LazyLock<QuickCache> = LazyLock::new(|| {
        QuickCache::new(TieredCache::new([
            Memory::new().into(),
            Store::at(&PATH.1).into(),
        ]))
    });
    static RUNS: AtomicU64 = AtomicU64::new(0);
    #[quickcache(cache = CACHE, vary_on = [n])]
    fn count(n: u64) -> u64 {
        n + RUNS.fetch_add(1, Ordering::SeqCst)
    }
    assert_eq!(
        (count(1), count(1), count(1)),
        (1, 2, 3),
        "clears elsewhere would not be seen"
    );
    count::set_cached_value(1).to(7);
    assert_eq!(count::get_cached_value(1), None);
    let cleared = count::clear(1);
    assert!(!cleared.is_applied());
    assert!(cleared.strict().unwrap_err().to_string().contains("store"));
    let lines = logged(&PATH.0);
    assert_eq!(lines.len(), 1, "{lines:?}");
    // It heals by itself, within the second after which it tries again.
    std::fs::remove_file(&PATH.1).unwrap();
    let healed = || count(1) == count(1);
    assert!((0..300).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        healed()
    }));
    assert_eq!(count::clear(1), Cleared::Applied);
}

#[tokio::test]
async fn async_functions_share_the_store_too() {
    #[quickcache(cache = ONE, name = "async", version = 1, vary_on = [n])]
    async fn one(n: u64) -> (u64, u64) {
        tokio::task::yield_now().await;
        ask(n)
    }
    #[quickcache(cache = TWO, name = "async", version = 1, vary_on = [n])]
    async fn two(n: u64) -> (u64, u64) {
        tokio::task::yield_now().await;
        ask(n)
    }
    let before = one(1).await;
    // Another thread stores it; a process that asked now would wait for that.
    while two::get_cached_value(1).await.is_none() {
        tokio::task::yield_now().await;
    }
    assert_eq!((two(1).await, two(1).await), (before, before));
    assert_eq!(two::stats().executions, 0);
    assert_eq!(two::explain(1).await.tier.as_deref(), Some("memory"));
    NOW.fetch_add(1, Ordering::SeqCst);
    assert_eq!(one::clear(1).await, Cleared::Applied);
    assert_eq!(two::get_cached_value(1).await, None);
    let after = two(1).await;
    assert!(after.1 > before.1);
    NOW.fetch_add(1, Ordering::SeqCst);
    let newest = one::refresh(1).await;
    assert_eq!(two(1).await, newest);
    two::set_cached_value(1).to((0, 0)).await;
    assert_eq!(
        (one(1).await, one::get_cached_value(1).await),
        ((0, 0), Some((0, 0)))
    );
    assert_eq!(one::explain(1).await.tier.as_deref(), Some("memory"));
}
