//! What a hostile program does to a cached function: calls it in circles, clears it from inside, panics as its values are
//! dropped, ends threads in the midst of it. Every call still ends, and F still holds.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, LazyLock, mpsc};
use std::time::Duration;

use quickcache::{Memory, QuickCache, quickcache};

#[test]
fn p11_functions_that_call_each_other_on_two_threads_end() {
    static MEET: Barrier = Barrier::new(2);
    thread_local! { static FIRST: Cell<bool> = const { Cell::new(false) }; }
    fn meet() {
        if FIRST.replace(false) {
            MEET.wait();
        }
    }
    #[quickcache(vary_on = [])]
    fn ping(depth: u64) -> u64 {
        meet();
        if depth == 0 { 0 } else { pong(depth - 1) + 1 }
    }
    #[quickcache(vary_on = [])]
    fn pong(depth: u64) -> u64 {
        meet();
        if depth == 0 { 0 } else { ping(depth - 1) + 1 }
    }
    let (done, waited) = mpsc::channel();
    for function in [ping as fn(u64) -> u64, pong] {
        let done = done.clone();
        std::thread::spawn(move || {
            FIRST.set(true);
            done.send(function(3)).unwrap();
        });
    }
    // Each leads a flight that the other wants; one of them runs the other's function itself.
    for _ in 0..2 {
        assert!(waited.recv_timeout(Duration::from_secs(30)).is_ok());
    }
}

#[tokio::test]
async fn p11_an_async_function_that_calls_itself_ends() {
    #[quickcache(vary_on = [n % 2])]
    async fn down(n: u64) -> u64 {
        tokio::task::yield_now().await;
        if n == 0 {
            0
        } else {
            Box::pin(down(n - 1)).await + 1
        }
    }
    // Of two keys, the third call meets the first one's flight: it is its own.
    assert_eq!(tokio::spawn(down(5)).await.unwrap(), 5);
}

#[test]
fn p1_a_clear_from_inside_the_function_drops_what_it_computes() {
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    static CLEARS: AtomicBool = AtomicBool::new(true);
    #[quickcache(vary_on = [n])]
    fn clears_itself(n: u64) -> usize {
        if CLEARS.load(Ordering::SeqCst) {
            assert!(clears_itself::clear(n).is_applied());
        }
        RUNS.fetch_add(1, Ordering::SeqCst)
    }
    assert_eq!(clears_itself(1), 0);
    assert_eq!(clears_itself::get_cached_value(1), None);
    CLEARS.store(false, Ordering::SeqCst);
    assert_eq!((clears_itself(1), clears_itself(1)), (1, 1));
}

#[test]
fn p1_a_value_set_from_inside_the_function_stays() {
    #[quickcache(vary_on = [n])]
    fn sets_itself(n: u64) -> u64 {
        sets_itself::set_cached_value(n).to(100);
        n
    }
    assert_eq!(sets_itself(1), 1, "the caller gets what was computed");
    assert_eq!(
        sets_itself(1),
        100,
        "the cache what was set, which is newer"
    );
    assert_eq!(sets_itself::refresh(1), 1);
}

#[test]
fn p1_a_clear_of_everything_from_inside_a_first_call_does_not_hang() {
    static CACHE: LazyLock<QuickCache> = LazyLock::new(|| QuickCache::new(Memory::new()));
    #[quickcache(cache = CACHE, vary_on = [])]
    fn first() -> u64 {
        CACHE.clear_everything();
        first::clear_all();
        1
    }
    assert_eq!((first(), first::get_cached_value()), (1, None));
}

/// The floor checker of protocols.md 3.1 over functions that nobody called before.
#[test]
fn p1_first_calls_never_see_less_than_a_clear_of_everything_before_them() {
    const ROUNDS: usize = 24;
    static CACHE: LazyLock<QuickCache> = LazyLock::new(|| QuickCache::new(Memory::new()));
    static SOURCE: AtomicU64 = AtomicU64::new(0);
    static FLOOR: AtomicU64 = AtomicU64::new(0);
    #[quickcache(cache = CACHE, vary_on = [])]
    fn read<const N: usize>() -> u64 {
        let value = SOURCE.load(Ordering::SeqCst);
        std::thread::yield_now();
        value
    }
    fn check<const N: usize>() {
        // On a busy machine the readers could be done before anything was cleared.
        let before = FLOOR.load(Ordering::SeqCst);
        while FLOOR.load(Ordering::SeqCst) == before {
            std::thread::yield_now();
        }
        for _ in 0..50 {
            let floor = FLOOR.load(Ordering::SeqCst);
            let value = read::<N>();
            assert!(value >= floor, "got {value} after a clear at {floor}");
        }
    }
    macro_rules! checks {
        ($($n:literal)*) => { [$(check::<$n>),*] };
    }
    let checks: [fn(); ROUNDS] =
        checks!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::SeqCst) {
                let version = SOURCE.fetch_add(1, Ordering::SeqCst) + 1;
                CACHE.clear_everything();
                FLOOR.fetch_max(version, Ordering::SeqCst);
            }
        });
        let readers: Vec<_> = (0..2)
            .map(|_| scope.spawn(|| checks.iter().for_each(|check| check())))
            .collect();
        let ended: Vec<_> = readers.into_iter().map(|reader| reader.join()).collect();
        stop.store(true, Ordering::SeqCst);
        assert!(ended.iter().all(Result::is_ok));
    });
}

/// Panics when it is dropped, while it is told to.
struct Sour(&'static AtomicBool);

impl Drop for Sour {
    fn drop(&mut self) {
        assert!(!self.0.load(Ordering::SeqCst), "as told");
    }
}

#[test]
fn a_value_whose_drop_panics_harms_only_the_call_that_drops_it() {
    static TOLD: AtomicBool = AtomicBool::new(false);
    static MEMORY: LazyLock<Memory> = LazyLock::new(|| Memory::new().entries(4));
    static CACHE: LazyLock<QuickCache> = LazyLock::new(|| QuickCache::new(MEMORY.clone()));
    #[quickcache(cache = CACHE, vary_on = [n])]
    fn sour(n: u64) -> Arc<Sour> {
        let _ = n;
        Arc::new(Sour(&TOLD))
    }
    #[quickcache(cache = CACHE, vary_on = [n])]
    fn sweet(n: u64) -> u64 {
        n
    }
    for n in 0..4 {
        drop(sour(n));
    }
    TOLD.store(true, Ordering::SeqCst);
    let mut panics = 0;
    for n in 0..100 {
        // The entry that is evicted is dropped in the call that took its place.
        match catch_unwind(AssertUnwindSafe(|| sweet(n))) {
            Ok(value) => assert_eq!(value, n),
            Err(_) => panics += 1,
        }
    }
    assert!((1..=4).contains(&panics), "{panics} of 4 were dropped");
    assert!(MEMORY.len() <= 4);
    TOLD.store(false, Ordering::SeqCst);
    assert_eq!((sweet(1), sweet::get_cached_value(1)), (1, Some(1)));
    drop(sour(1));
    TOLD.store(true, Ordering::SeqCst);
    assert!(catch_unwind(AssertUnwindSafe(|| sour::clear(1))).is_err());
    TOLD.store(false, Ordering::SeqCst);
    assert_eq!(
        sour::get_cached_value(1).map(drop),
        None,
        "cleared all the same"
    );
    drop(sour(1));
    assert!(sour::get_cached_value(1).is_some());
}

#[test]
fn a_thread_may_call_cached_functions_while_its_locals_are_dropped() {
    static DROPPED: AtomicU64 = AtomicU64::new(0);
    #[quickcache(vary_on = [n])]
    fn late(n: u64) -> u64 {
        n + 1
    }
    struct Last;
    impl Drop for Last {
        fn drop(&mut self) {
            DROPPED.store(late(late(1)), Ordering::SeqCst);
            late::clear(1);
        }
    }
    thread_local! { static LAST: Last = const { Last }; }
    std::thread::spawn(|| LAST.with(|_| late(7)))
        .join()
        .unwrap();
    assert_eq!(DROPPED.load(Ordering::SeqCst), 3);
}

#[test]
fn the_longest_of_times_are_times() {
    static CACHE: LazyLock<QuickCache> = LazyLock::new(|| {
        QuickCache::builder(Memory::new().timeout(Duration::MAX))
            .timeout(Duration::MAX)
            .patience(Duration::MAX)
            .build()
    });
    #[quickcache(cache = CACHE, vary_on = [n])]
    fn lasting(n: u64) -> u64 {
        n
    }
    assert_eq!(lasting(1), 1);
    assert_eq!(lasting::get_cached_value(1), Some(1));
}

#[tokio::test]
async fn the_longest_patience_is_a_patience_of_tasks_too() {
    static CACHE: LazyLock<QuickCache> = LazyLock::new(|| {
        QuickCache::builder(Memory::new())
            .patience(Duration::MAX)
            .build()
    });
    #[quickcache(cache = CACHE, vary_on = [])]
    async fn lasting() -> u64 {
        tokio::task::yield_now().await;
        1
    }
    assert_eq!(tokio::join!(lasting(), lasting()), (1, 1));
}

#[test]
fn a_time_that_is_none_is_named_with_its_function() {
    const NOTHING: Duration = Duration::ZERO;
    const TOO_SHORT: Duration = Duration::from_micros(999);
    #[quickcache(vary_on = [], timeout = NOTHING)]
    fn for_nothing() {}
    #[quickcache(vary_on = [], memoize_timeout = TOO_SHORT)]
    fn for_a_moment() {}
    let message = |call: fn()| {
        let panic = catch_unwind(call).unwrap_err();
        panic.downcast_ref::<String>().cloned().unwrap_or_default()
    };
    for _ in 0..2 {
        let text = message(for_nothing);
        assert!(
            text.contains("for_nothing") && text.contains("timeout"),
            "{text}"
        );
    }
    let text = message(for_a_moment);
    assert!(
        text.contains("for_a_moment") && text.contains("memoize_timeout"),
        "{text}"
    );
}

#[test]
fn hundreds_of_functions_share_one_memory() {
    static MEMORY: LazyLock<Memory> = LazyLock::new(|| Memory::new().entries(1_000));
    static CACHE: LazyLock<QuickCache> = LazyLock::new(|| QuickCache::new(MEMORY.clone()));
    #[quickcache(cache = CACHE, vary_on = [n])]
    fn one_of_many<const A: u64, const B: u64>(n: u64) -> u64 {
        A * 1_000 + B * 10 + n
    }
    struct One {
        call: fn(u64) -> u64,
        get: fn(u64) -> Option<u64>,
        clear: fn(u64) -> quickcache::Cleared,
    }
    macro_rules! row {
        ($a:literal: $($b:literal)*) => {
            [$(One {
                call: one_of_many::<$a, $b>,
                get: one_of_many::get_cached_value::<$a, $b>,
                clear: one_of_many::clear::<$a, $b>,
            }),*]
        };
    }
    macro_rules! all {
        ($($a:literal)*) => { [$(row!($a: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15)),*] };
    }
    let all = all!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
    let of = |a: usize, b: usize, n: u64| a as u64 * 1_000 + b as u64 * 10 + n;
    for n in 0..2 {
        for (a, row) in all.iter().enumerate() {
            for (b, one) in row.iter().enumerate() {
                assert_eq!((one.call)(n), of(a, b, n));
                assert_eq!((one.get)(n), Some(of(a, b, n)), "{a} {b} {n}");
            }
        }
    }
    assert_eq!((one_of_many::stats().executions, MEMORY.len()), (512, 512));
    assert!((all[3][4].clear)(1).is_applied());
    assert_eq!((all[3][4].get)(1), None);
    assert_eq!((all[3][5].get)(1), Some(3_051), "that of another stays");
    for n in 2..20 {
        all.iter().flatten().for_each(|one| _ = (one.call)(n));
    }
    assert!(MEMORY.len() <= 1_000, "the bound is of all together");
    assert!(one_of_many::clear_all().is_applied());
    assert!(all.iter().flatten().all(|one| (one.get)(0).is_none()));
}
