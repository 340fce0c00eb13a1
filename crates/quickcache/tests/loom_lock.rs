//! The lock of a shard under a model checker that knows weak memory: every order of its atomics that the language allows is
//! tried, and what it guards is a cell that reports two threads at once.

#[path = "../src/tier/memory/lock.rs"]
mod lock;

mod shim {
    pub(super) use loom::hint::spin_loop;
    pub(super) use loom::sync::atomic::{AtomicBool, Ordering};
    pub(super) use loom::thread::yield_now;
}

use std::panic::{AssertUnwindSafe, catch_unwind};

use lock::{Guard, Lock};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

/// A counter without atomics: loom panics if an access does not happen after the one before.
struct Counter(UnsafeCell<u32>);

fn counter() -> Arc<Lock<Counter>> {
    Arc::new(Lock::new(Counter(UnsafeCell::new(0))))
}

fn count(guard: &Guard<'_, Counter>) -> u32 {
    guard.0.with_mut(|count| {
        // SAFETY: the pointer is that of the cell; that nobody else uses it is what loom checks.
        unsafe {
            *count += 1;
            *count
        }
    })
}

#[test]
fn one_at_a_time_and_who_comes_later_sees_all_that_was_done() {
    loom::model(|| {
        let lock = counter();
        let others: Vec<_> = (0..2)
            .map(|_| {
                let lock = lock.clone();
                thread::spawn(move || count(&lock.lock()))
            })
            .collect();
        others
            .into_iter()
            .for_each(|other| assert!(other.join().is_ok()));
        assert_eq!(count(&lock.lock()), 3);
    });
}

#[test]
fn a_try_takes_the_lock_or_leaves_it_as_it_is() {
    loom::model(|| {
        let lock = counter();
        let other = {
            let lock = lock.clone();
            thread::spawn(move || lock.try_lock().map(|guard| count(&guard)))
        };
        let guard = lock.lock();
        let mine = count(&guard);
        assert!(lock.try_lock().is_none());
        assert!(lock.try_lock().is_none(), "a failed try released it");
        drop(guard);
        let others = other.join().unwrap();
        assert!(matches!((mine, others), (1, None | Some(2)) | (2, Some(1))));
        assert!(lock.try_lock().is_some());
    });
}

#[test]
fn a_panic_releases_it() {
    loom::model(|| {
        let lock = counter();
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let _guard = lock.lock();
            panic!("as told");
        }));
        assert!(panicked.is_err() && lock.try_lock().is_some());
    });
}
