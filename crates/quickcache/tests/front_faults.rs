//! Code of a user that fails: the fault goes to the call that met it, and every later call is served.

use std::convert::Infallible;
use std::hash::Hasher;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Barrier, LazyLock};
use std::time::Duration;

use quickcache::key::Value;
use quickcache::{Cache, KeyPart, Memory, QuickCache, Tier, TieredCache, quickcache};

fn panics<T>(call: impl FnOnce() -> T) -> bool {
    catch_unwind(AssertUnwindSafe(call)).is_err()
}

/// A switch that makes code of a user panic.
struct Fuse(AtomicBool);

impl Fuse {
    const fn new() -> Self {
        Fuse(AtomicBool::new(false))
    }

    fn set(&self, on: bool) {
        self.0.store(on, Ordering::SeqCst);
    }

    fn check(&self) {
        assert!(!self.0.load(Ordering::SeqCst), "as told");
    }
}

#[test]
fn p11_followers_of_a_panic_are_served() {
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    static CALLING: AtomicUsize = AtomicUsize::new(0);
    static BEGUN: Barrier = Barrier::new(2);
    #[quickcache(vary_on = [])]
    fn first_panics() -> usize {
        let run = RUNS.fetch_add(1, Ordering::SeqCst);
        if run == 0 {
            BEGUN.wait();
            while CALLING.load(Ordering::SeqCst) < 4 {
                std::thread::yield_now();
            }
            panic!("as told");
        }
        run
    }
    std::thread::scope(|scope| {
        let leader = scope.spawn(|| panics(first_panics));
        BEGUN.wait();
        let follow = || {
            CALLING.fetch_add(1, Ordering::SeqCst);
            first_panics()
        };
        let followers: Vec<_> = (0..4).map(|_| scope.spawn(follow)).collect();
        assert!(leader.join().unwrap(), "the panic is its caller's");
        for follower in followers {
            assert_eq!(follower.join().unwrap(), 1, "one of them ran for all");
        }
    });
    assert_eq!((first_panics(), RUNS.load(Ordering::SeqCst)), (1, 2));
}

#[test]
fn a_panic_in_a_value_s_clone_spares_the_entry() {
    static FUSE: Fuse = Fuse::new();
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    #[derive(Debug)]
    struct Fragile(u64);
    impl Clone for Fragile {
        fn clone(&self) -> Self {
            FUSE.check();
            Fragile(self.0)
        }
    }
    #[quickcache(vary_on = [n])]
    fn fragile(n: u64) -> Fragile {
        RUNS.fetch_add(1, Ordering::SeqCst);
        Fragile(n)
    }
    assert_eq!(fragile(1).0, 1);
    FUSE.set(true);
    assert!(panics(|| fragile(1)));
    assert!(panics(|| fragile::get_cached_value(1)));
    FUSE.set(false);
    assert_eq!((fragile(1).0, RUNS.load(Ordering::SeqCst)), (1, 1));
    assert!(fragile::clear(1).is_applied());
}

static HASH: Fuse = Fuse::new();
static EQ: Fuse = Fuse::new();
static OWNED_EQ: Fuse = Fuse::new();
static TO_OWNED: Fuse = Fuse::new();
static VALUE: Fuse = Fuse::new();

struct Part(u64);

struct Owned(u64);

impl PartialEq for Owned {
    fn eq(&self, other: &Self) -> bool {
        OWNED_EQ.check();
        self.0 == other.0
    }
}

impl Eq for Owned {}

impl KeyPart for Part {
    type Owned = Owned;
    fn hash_part<H: Hasher>(&self, state: &mut H) {
        HASH.check();
        state.write_u64(self.0);
    }
    fn eq_owned(&self, owned: &Owned) -> bool {
        EQ.check();
        self.0 == owned.0
    }
    fn to_owned_part(&self) -> Owned {
        TO_OWNED.check();
        Owned(self.0)
    }
    fn value(&self) -> Value<'_> {
        VALUE.check();
        Value::Int(self.0 as i64)
    }
}

#[test]
fn a_panic_in_a_key_locks_nothing_for_good() {
    #[quickcache(vary_on = [part])]
    fn keyed(part: Part) -> u64 {
        part.0
    }
    assert_eq!(keyed(Part(1)), 1);
    let clears = || keyed::clear(Part(1)).is_applied();
    // A hit hashes and compares; a miss keeps and writes the key too; a clear or a store compares kept ones.
    let cases: [(&Fuse, &dyn Fn() -> bool); 5] = [
        (&HASH, &|| panics(|| keyed(Part(1)))),
        (&EQ, &|| panics(|| keyed(Part(1)))),
        (&TO_OWNED, &|| panics(|| keyed(Part(2)))),
        (&VALUE, &|| panics(|| keyed(Part(2)))),
        (&OWNED_EQ, &|| {
            panics(clears) && panics(|| keyed::refresh(Part(1)))
        }),
    ];
    for (at, (fuse, panicked)) in cases.into_iter().enumerate() {
        fuse.set(true);
        assert!(panicked(), "case {at}");
        fuse.set(false);
        assert_eq!((keyed(Part(1)), keyed(Part(3))), (1, 3), "case {at}");
        assert!(clears(), "case {at}");
        assert_eq!(keyed(Part(1)), 1, "case {at}");
    }
}

static GET: Fuse = Fuse::new();
static SET: Fuse = Fuse::new();
static DELETE: Fuse = Fuse::new();

struct Panicky;

impl Cache for Panicky {
    type Error = Infallible;
    fn get(&self, _: &str) -> Result<Option<Vec<u8>>, Infallible> {
        GET.check();
        Ok(None)
    }
    fn set(&self, _: &str, _: &[u8], _: Duration) -> Result<(), Infallible> {
        SET.check();
        Ok(())
    }
    fn delete(&self, _: &str) -> Result<(), Infallible> {
        DELETE.check();
        Ok(())
    }
}

#[test]
fn a_panic_in_a_cache_object_ends_its_call_and_no_other() {
    static CACHE: LazyLock<QuickCache> = LazyLock::new(|| {
        QuickCache::new(TieredCache::new([
            Memory::new().into(),
            Tier::cache(Panicky),
        ]))
    });
    #[quickcache(cache = CACHE, vary_on = [n])]
    fn cached(n: u64) -> u64 {
        n
    }
    GET.set(true);
    assert!(panics(|| cached(1)));
    GET.set(false);
    assert_eq!(cached(1), 1);

    SET.set(true);
    assert!(panics(|| cached(2)));
    assert!(panics(|| cached::refresh(1)));
    assert!(panics(|| cached::set_cached_value(3).to(7)));
    SET.set(false);
    assert_eq!((cached(1), cached(2), cached(3)), (1, 2, 3));

    DELETE.set(true);
    assert!(panics(|| cached::clear(2)));
    assert_eq!(
        cached::get_cached_value(2),
        None,
        "the memory tier is cleared all the same"
    );
    DELETE.set(false);
    // The clear is no longer in progress: what is computed is kept.
    assert_eq!(cached(2), 2);
    assert_eq!(cached::get_cached_value(2), Some(2));
    assert!(cached::clear(2).is_applied());
}

#[test]
fn a_value_heavier_than_the_memory_is_handed_out_and_not_kept() {
    static MEMORY: LazyLock<Memory> = LazyLock::new(|| Memory::new().bytes(1 << 16));
    static CACHE: LazyLock<QuickCache> = LazyLock::new(|| QuickCache::new(MEMORY.clone()));
    #[quickcache(cache = CACHE, vary_on = [size])]
    fn zeros(size: usize) -> Vec<u8> {
        vec![0; size]
    }
    assert_eq!(zeros(100).len(), 100);
    assert_eq!(zeros(1 << 20).len(), 1 << 20);
    assert_eq!(zeros::get_cached_value(1 << 20), None);
    assert_eq!(
        zeros::get_cached_value(100).map(|zeros| zeros.len()),
        Some(100)
    );
    zeros::set_cached_value(100).to(vec![0; 1 << 20]);
    assert_eq!(
        zeros::get_cached_value(100),
        None,
        "the old value is not the value any more"
    );
    assert!(MEMORY.is_empty());
}

#[test]
fn a_memory_of_nothing_keeps_nothing() {
    static NONE: LazyLock<QuickCache> = LazyLock::new(|| QuickCache::new(Memory::new().entries(0)));
    static NO_BYTES: LazyLock<QuickCache> =
        LazyLock::new(|| QuickCache::new(Memory::new().bytes(0)));
    #[quickcache(cache = NONE, vary_on = [n])]
    fn none(n: u64) -> u64 {
        n
    }
    #[quickcache(cache = NO_BYTES, vary_on = [n])]
    fn no_bytes(n: u64) -> u64 {
        n
    }
    assert_eq!((none(1), none(1), none::get_cached_value(1)), (1, 1, None));
    assert_eq!(
        (no_bytes(1), no_bytes(1), no_bytes::get_cached_value(1)),
        (1, 1, None)
    );
}

#[test]
fn a_timeout_that_is_none_names_the_option_and_what_is_wrong() {
    let message = |make: &dyn Fn()| {
        let panic = catch_unwind(AssertUnwindSafe(make)).unwrap_err();
        panic.downcast_ref::<String>().cloned().unwrap_or_default()
    };
    let builder = || QuickCache::builder(Memory::new());
    for bad in ["0s", "", "5", "-1s", "1.5h", "999999999999999999d"] {
        let cases: [(&str, &dyn Fn()); 5] = [
            ("QuickCache: timeout", &|| {
                drop(builder().timeout(bad).build())
            }),
            ("memoize_timeout", &|| {
                drop(builder().memoize_timeout(bad).build())
            }),
            ("patience", &|| drop(builder().patience(bad).build())),
            ("Memory: timeout", &|| drop(Memory::new().timeout(bad))),
            ("timeout", &|| drop(Tier::cache(Panicky).timeout(bad))),
        ];
        for (option, make) in cases {
            let message = message(make);
            assert!(message.contains(option), "{message}");
            let what = if bad == "0s" { "zero" } else { bad };
            assert!(message.contains(what), "{message}");
        }
    }
    assert!(message(&|| drop(builder().timeout(Duration::ZERO))).contains("zero"));
}
