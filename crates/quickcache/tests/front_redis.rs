//! A Redis behind the memory tier, as a Rust function sees it. Caches with a folder of their own stand for machines: they share nothing
//! but the server.

#![cfg(all(target_os = "linux", feature = "redis"))]

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use quickcache::{Cleared, Memory, QuickCache, Redis, TieredCache, quickcache};
use quickcache_testing::{Folder, Server};

/// Never dropped, as statics are not; it ends with the process.
static SERVER: LazyLock<Server> = LazyLock::new(Server::start);

fn redis() -> Redis {
    let folder: &'static Folder = Box::leak(Box::new(Folder::new()));
    Redis::new(&SERVER.url())
        .budget("5s") // a machine that is kept busy is not out of reach
        .timeout("5m")
        .folder(folder.path().join("machine"))
}

/// With a memory tier, and without.
fn machine() -> QuickCache {
    QuickCache::new(TieredCache::new([
        Memory::new().timeout("1m").into(),
        redis().into(),
    ]))
}

static ONE: LazyLock<QuickCache> = LazyLock::new(machine);
static TWO: LazyLock<QuickCache> = LazyLock::new(machine);
static BARE: LazyLock<QuickCache> = LazyLock::new(|| QuickCache::new(redis()));

static NOW: AtomicU64 = AtomicU64::new(0);

/// One and the same function on all of them.
macro_rules! everywhere {
    ($name:literal, $one:ident, $two:ident, $bare:ident, $(skip_arg = $skip:ident,)? |$n:ident $(, $force:ident)?| -> $value:ty $body:block) => {
        #[quickcache(cache = ONE, name = $name, version = 1, vary_on = [$n] $(, skip_arg = $skip)?)]
        #[allow(dead_code)]
        fn $one($n: u64 $(, $force: bool)?) -> $value $body
        #[quickcache(cache = TWO, name = $name, version = 1, vary_on = [$n] $(, skip_arg = $skip)?)]
        #[allow(dead_code)]
        fn $two($n: u64 $(, $force: bool)?) -> $value $body
        #[quickcache(cache = BARE, name = $name, version = 1, vary_on = [$n] $(, skip_arg = $skip)?)]
        #[allow(dead_code)]
        fn $bare($n: u64 $(, $force: bool)?) -> $value $body
    };
}

fn until(what: &str, holds: impl FnMut() -> bool) {
    within(10, what, holds);
}

fn within(seconds: u64, what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(seconds);
    while !holds() {
        assert!(Instant::now() < end, "{what}");
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn what_one_machine_computed_another_hits() {
    everywhere!("hits", one, two, bare, |n| -> String {
        format!("{n} of {}", NOW.load(Ordering::SeqCst))
    });
    let value = one(1);
    assert_eq!(
        (two(1), bare(1), bare(1)),
        (value.clone(), value.clone(), value)
    );
    assert_eq!((one::stats().executions, two::stats().executions), (1, 0));
    assert_eq!(
        (two::stats().tier_hits, bare::stats().tier_hits),
        (vec![1], vec![2])
    );
}

#[test]
fn the_memory_tier_serves_as_soon_as_clears_are_listened_for() {
    everywhere!("memory", one, two, bare, |n| -> u64 { n });
    until("a hit in memory", || {
        one(1);
        one::stats().memory_hits > 0
    });
    assert_eq!(one::stats().executions, 1);
}

#[test]
fn p3_a_clear_is_in_force_on_every_machine_that_has_no_memory_tier() {
    everywhere!("clears", one, two, bare, |n| -> (u64, u64) {
        (n, NOW.fetch_add(1, Ordering::SeqCst))
    });
    for _ in 0..100 {
        let before = bare(1);
        assert_eq!(one::clear(1), Cleared::Applied);
        assert!(bare(1).1 > before.1);
    }
}

#[test]
fn p4_a_clear_reaches_the_memory_of_another_machine_within_the_bound() {
    everywhere!("reaches", one, two, bare, |n| -> (u64, u64) {
        (n, NOW.fetch_add(1, Ordering::SeqCst))
    });
    until("a hit in memory", || {
        two(1);
        two::stats().memory_hits > 0
    });
    let before = two(1);
    assert_eq!(one::clear(1), Cleared::Applied);
    thread::sleep(Duration::from_millis(250));
    assert!(two(1).1 > before.1);
}

#[test]
fn p5_a_clear_that_waits_is_in_force_in_the_memory_of_every_machine() {
    everywhere!("waits", one, two, bare, |n| -> (u64, u64) {
        (n, NOW.fetch_add(1, Ordering::SeqCst))
    });
    for _ in 0..5 {
        until("a hit in memory", || {
            let hits = two::stats().memory_hits;
            two(1);
            two::stats().memory_hits > hits
        });
        let before = two(1);
        assert_eq!(one::clear(1).wait(), Cleared::Applied);
        assert!(two(1).1 > before.1);
    }
}

#[test]
fn explain_and_stats_tell_of_it() {
    everywhere!("told", one, two, bare, |n| -> u64 { n });
    assert_eq!(bare::explain(1).tier, None);
    bare(1);
    let told = bare::explain(1);
    assert_eq!(told.tier.as_deref(), Some("redis"));
    assert!(
        told.time_left
            .is_some_and(|left| left > Duration::from_secs(290))
    );
    until("the lag is measured", || {
        one(1);
        one::stats().lag.is_some()
    });
}

#[test]
fn clear_all_takes_every_key_of_the_function_and_no_other() {
    everywhere!("all", one, two, bare, |n| -> (u64, u64) {
        (n, NOW.fetch_add(1, Ordering::SeqCst))
    });
    everywhere!("others", other, _other_two, _other_bare, |n| -> u64 { n });
    other(1);
    let before: Vec<_> = (0..10).map(bare).collect();
    assert_eq!(two::clear_all(), Cleared::Applied);
    assert!(
        (0..10)
            .map(bare)
            .zip(before)
            .all(|(after, before)| after.1 > before.1)
    );
    other(1);
    assert_eq!(other::stats().executions, 1);
}

#[test]
fn clear_everything_takes_every_function_of_the_cache() {
    static CACHE: LazyLock<QuickCache> = LazyLock::new(|| QuickCache::new(redis()));
    #[quickcache(cache = CACHE, name = "everything", version = 1, vary_on = [n])]
    fn one(n: u64) -> (u64, u64) {
        (n, NOW.fetch_add(1, Ordering::SeqCst))
    }
    let before = one(1);
    assert_eq!(one(1), before);
    CACHE.clear_everything();
    assert!(one(1).1 > before.1);
}

#[test]
fn a_value_that_is_set_or_computed_anew_replaces_the_one_everywhere() {
    everywhere!("anew", one, two, bare, |n| -> (u64, u64) {
        (n, NOW.fetch_add(1, Ordering::SeqCst))
    });
    let before = bare(1);
    let anew = one::refresh(1);
    assert!(anew.1 > before.1);
    assert_eq!(bare(1), anew);
    two::set_cached_value(1).to((1, 77));
    assert_eq!(bare(1), (1, 77));
    assert_eq!(bare::get_cached_value(1), Some((1, 77)));
    thread::sleep(Duration::from_millis(250));
    assert_eq!(one(1), (1, 77));
}

#[test]
fn p7_one_execution_over_all_machines() {
    everywhere!("flight", one, two, bare, |n| -> u64 {
        thread::sleep(Duration::from_millis(300));
        n
    });
    one(0);
    let began = Instant::now();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| one(1));
            scope.spawn(|| two(1));
            scope.spawn(|| bare(1));
        }
    });
    let executions = one::stats().executions + two::stats().executions + bare::stats().executions;
    assert_eq!(executions, 2, "one of them warmed up");
    assert!(began.elapsed() < Duration::from_secs(2));
}

#[test]
fn a_function_that_panics_gives_its_lease_back() {
    everywhere!("panics", one, two, bare, |n| -> u64 {
        assert!(NOW.load(Ordering::SeqCst) == u64::MAX, "it fails");
        n
    });
    let began = Instant::now();
    for _ in 0..3 {
        assert!(std::panic::catch_unwind(|| bare(1)).is_err());
        assert!(std::panic::catch_unwind(|| one(1)).is_err());
    }
    assert!(began.elapsed() < Duration::from_secs(3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn async_functions_share_values_leases_and_clears_with_the_others() {
    #[quickcache(cache = ONE, name = "async", version = 1, vary_on = [n])]
    async fn one(n: u64) -> (u64, u64) {
        tokio::time::sleep(Duration::from_millis(100)).await;
        (n, NOW.fetch_add(1, Ordering::SeqCst))
    }
    #[quickcache(cache = BARE, name = "async", version = 1, vary_on = [n])]
    async fn bare(n: u64) -> (u64, u64) {
        tokio::time::sleep(Duration::from_millis(100)).await;
        (n, NOW.fetch_add(1, Ordering::SeqCst))
    }
    let all: Vec<_> = (0..20)
        .map(|n| {
            tokio::spawn(async move {
                if n % 2 == 0 {
                    one(1).await
                } else {
                    bare(1).await
                }
            })
        })
        .collect();
    let mut values = Vec::new();
    for task in all {
        values.push(task.await.expect("it ends"));
    }
    assert!(values.iter().all(|value| *value == values[0]));
    assert_eq!(one::stats().executions + bare::stats().executions, 1);
    for _ in 0..20 {
        let before = bare(1).await;
        assert_eq!(one::clear(1).await, Cleared::Applied);
        assert!(bare(1).await.1 > before.1);
    }
    one::set_cached_value(1).to((1, 99)).await;
    assert_eq!(bare::get_cached_value(1).await, Some((1, 99)));
    let anew = bare::refresh(1).await;
    assert_eq!(bare(1).await, anew);
}

#[tokio::test]
async fn p11_a_call_that_is_dropped_gives_its_lease_back() {
    // Of its own: the other tests have leases too.
    static OWN: LazyLock<Server> = LazyLock::new(Server::start);
    static LONE: LazyLock<QuickCache> = LazyLock::new(|| {
        let folder: &'static Folder = Box::leak(Box::new(Folder::new()));
        QuickCache::new(
            Redis::new(&OWN.url())
                .budget("5s")
                .folder(folder.path().join("machine")),
        )
    });
    #[quickcache(cache = LONE, name = "dropped", version = 1, vary_on = [n])]
    async fn bare(n: u64) -> u64 {
        if n > 0 {
            tokio::time::sleep(Duration::from_millis(50 * n)).await;
        }
        n
    }
    assert_eq!(bare(0).await, 0); // connects
    for _ in 0..3 {
        let left = tokio::time::timeout(Duration::from_millis(20), bare(40)).await;
        assert!(left.is_err());
    }
    // Else it would end by itself, after three seconds.
    let mut server = OWN.connect().expect("a connection");
    within(2, "the lease is given back", || {
        server.leases().expect("a count") == 0
    });
}

#[test]
fn p11_a_function_that_calls_itself_does_not_wait_for_its_own_lease() {
    static BARE: LazyLock<QuickCache> = LazyLock::new(|| QuickCache::new(redis()));
    #[quickcache(cache = BARE, vary_on = [])]
    fn itself(deep: u64) -> u64 {
        if deep > 0 { itself(deep - 1) } else { 7 }
    }
    #[quickcache(cache = BARE, vary_on = [])]
    async fn awaited(deep: u64) -> u64 {
        if deep > 0 {
            Box::pin(awaited(deep - 1)).await
        } else {
            7
        }
    }
    let (tell, told) = std::sync::mpsc::channel();
    thread::spawn(move || {
        tell.send(itself(3)).expect("somebody listens");
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        tell.send(runtime.block_on(awaited(3)))
            .expect("somebody listens");
    });
    // Who has never run it waits for a minute.
    for _ in 0..2 {
        assert_eq!(told.recv_timeout(Duration::from_secs(20)), Ok(7));
    }
}
