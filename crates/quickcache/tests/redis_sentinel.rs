//! Servers that sentinels watch: the primary they name, failover while calls go on, a primary that is none any more and still answers.

#![cfg(all(target_os = "linux", feature = "redis"))]

mod on_redis;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{LazyLock, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use on_redis::{Stop, bare, cached, listen, logged, machine, until, with_memory};
use quickcache::{Cleared, Redis};
use quickcache_testing::{Sentinel, Server};

/// Sentinels of a test, never dropped, as statics are not.
struct Watch {
    all: Mutex<Sentinel>,
    addresses: Vec<String>,
}

impl Watch {
    fn start() -> Watch {
        let all = Sentinel::start(1);
        Watch {
            addresses: all.addresses(),
            all: Mutex::new(all),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Sentinel> {
        self.all.lock().expect("no test panics with it")
    }

    fn redis(&self) -> Redis {
        let urls: Vec<String> = self
            .addresses
            .iter()
            .map(|at| format!("redis://{at}"))
            .collect();
        let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
        Redis::sentinel(&urls, Sentinel::NAME)
            .timeout("5m")
            .folder(machine())
    }
}

fn listeners(server: &Server) -> i64 {
    match server.command(&["PUBSUB", "NUMSUB", "qc:0:clears"]) {
        Ok(counted) => counted.items()[1].int(),
        Err(_) => 0,
    }
}

#[test]
fn p3_failover_while_calls_go_on() {
    static WATCH: LazyLock<Watch> = LazyLock::new(Watch::start);
    static NOW: AtomicU64 = AtomicU64::new(1);
    static STOP: AtomicBool = AtomicBool::new(false);
    static ONE: LazyLock<quickcache::QuickCache> = LazyLock::new(|| bare(WATCH.redis()));
    static TWO: LazyLock<quickcache::QuickCache> = LazyLock::new(|| with_memory(WATCH.redis()));
    #[quickcache::quickcache(cache = ONE, name = "now", version = 1, vary_on = [])]
    fn one() -> u64 {
        NOW.load(SeqCst)
    }
    #[quickcache::quickcache(cache = TWO, name = "now", version = 1, vary_on = [])]
    fn two() -> u64 {
        NOW.load(SeqCst)
    }
    until("memory serves", || {
        two();
        two::stats().memory_hits > 0
    });
    // What was cleared last, and applied.
    let floor = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let _all = Stop(&STOP);
                while !STOP.load(SeqCst) {
                    let least = floor.load(SeqCst);
                    let got = one();
                    assert!(got >= least, "{got} after {least} was cleared");
                    two();
                    thread::sleep(Duration::from_millis(1));
                }
            });
        }
        let clearing = scope.spawn(|| {
            let (mut applied, mut pending) = (0, 0);
            while !STOP.load(SeqCst) {
                let now = NOW.fetch_add(1, SeqCst) + 1;
                if two::clear() == Cleared::Applied {
                    applied += 1;
                    floor.store(now, SeqCst);
                } else {
                    pending += 1;
                }
                thread::sleep(Duration::from_millis(5));
            }
            (applied, pending)
        });
        let stop = Stop(&STOP);
        for _ in 0..2 {
            WATCH.lock().kill_primary().restart();
            until("clears are applied", || {
                let before = floor.load(SeqCst);
                thread::sleep(Duration::from_millis(200));
                floor.load(SeqCst) > before + 5
            });
            until("it is listened to", || {
                listeners(WATCH.lock().primary()) == 1
            });
        }
        drop(stop);
        let (applied, pending) = clearing.join().expect("it ends");
        assert!(applied > 0, "{pending}");
    });
    until("memory serves", || {
        let hits = two::stats().memory_hits;
        two();
        two::stats().memory_hits > hits
    });
    // Each may still have what a pending clear was to remove, until that is applied.
    on_redis::agree(|| [one(), two()] == [NOW.load(SeqCst); 2], two::clear);
}

#[test]
fn p3_a_primary_that_is_a_replica_now_and_still_answers_is_left() {
    static WATCH: LazyLock<Watch> = LazyLock::new(Watch::start);
    cached! {
        HERE here = bare(WATCH.redis());
        THERE there = bare(WATCH.redis());
    }
    until("hits", || here(1) == there(1));
    {
        let old = here(1);
        WATCH.lock().fail_over();
        // A client that comes now is led to the new one.
        until("it is cleared at the new primary", || {
            there::clear(1) == Cleared::Applied
        });
        let cleared = Instant::now();
        // It may have been said to the old one, while that was the primary still.
        until("hits", || there(1) == there(1));
        // Found out within a second, and half of one is for a machine that is busy.
        thread::sleep(Duration::from_millis(1500).saturating_sub(cleared.elapsed()));
        until("one value", || here(1) == there(1));
        assert!(here(1).1 > old.1);
    }
}

#[test]
fn sentinels_that_are_dead_are_passed_over_and_without_any_it_is_out_of_reach() {
    listen();
    static WATCH: LazyLock<Watch> = LazyLock::new(Watch::start);
    cached! {
        FIRST first = bare(WATCH.redis());
        SECOND second = bare(WATCH.redis());
    }
    WATCH.lock().sentinels()[0].stop();
    until("hits", || first(1) == first(1));
    WATCH.lock().sentinels()[0].kill();
    WATCH.lock().sentinels()[1].kill();
    WATCH.lock().sentinels()[2].kill();
    assert_eq!(first(1), first(1), "who is connected goes on");
    let began = Instant::now();
    for n in 0..20 {
        assert_eq!(second(n).0, n);
    }
    assert!(
        began.elapsed() < Duration::from_millis(1500),
        "{:?}",
        began.elapsed()
    );
    until("it is told", || {
        logged("WARN", &WATCH.addresses[0])
            .iter()
            .any(|line| line.contains("refused"))
    });
}

#[test]
fn sentinels_may_have_a_password_of_their_own() {
    listen();
    static WATCH: LazyLock<Watch> = LazyLock::new(|| {
        let watch = Watch::start();
        for sentinel in watch.lock().sentinels() {
            // Of the user that clients are. (Sentinels speak to each other by it too.)
            let set = sentinel.command(&["ACL", "SETUSER", "default", "resetpass", ">sesame"]);
            set.expect("set");
        }
        watch
    });
    cached! {
        WITH with = bare(WATCH.redis().sentinel_password("sesame"));
        WITHOUT without = bare(WATCH.redis());
    }
    until("hits", || with(1) == with(1));
    assert_ne!(without(1), without(1));
    until("it is told", || {
        logged("WARN", &WATCH.addresses[0])
            .iter()
            .any(|line| line.contains("NOAUTH"))
    });
}
