//! The lock of a shard under a model checker that knows weak memory: every order of its atomics that the language allows is
//! tried, and what it guards are cells that report two threads at once.

#[path = "../src/tier/memory/lock.rs"]
mod lock;

mod shim {
    use std::cell::Cell;

    pub(super) use loom::hint::spin_loop;
    pub(super) use loom::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
    pub(super) use loom::thread::yield_now;

    pub(super) const MOST: usize = 3;

    loom::thread_local! {
        static STRIPE: Cell<usize> = Cell::new(0);
    }

    pub(super) fn stripe() -> usize {
        STRIPE.with(Cell::get)
    }

    pub(super) fn set_stripe(stripe: usize) {
        STRIPE.with(|cell| cell.set(stripe));
    }
}

use std::panic::{AssertUnwindSafe, catch_unwind};

use lock::Writing;
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

/// A counter without atomics: loom panics if an access does not happen after the one before it that changed something.
#[derive(Default)]
struct Counter(UnsafeCell<u32>);

// SAFETY: whether its accesses are ordered is what loom checks.
unsafe impl Sync for Counter {}

impl Counter {
    fn count(&self) -> u32 {
        self.0.with_mut(|count| {
            // SAFETY: the pointer is that of the cell; that nobody else uses it is what loom checks.
            unsafe {
                *count += 1;
                *count
            }
        })
    }

    fn get(&self) -> u32 {
        // SAFETY: as above.
        self.0.with(|count| unsafe { *count })
    }
}

type Lock = lock::Lock<Counter, Counter>;

fn lock() -> Arc<Lock> {
    Arc::new(Lock::new(Counter::default()))
}

fn write(lock: &Lock) -> u32 {
    lock.write().count()
}

/// Reads under `stripe`, counts there, and returns what was read.
fn read(lock: &Lock, stripe: usize) -> u32 {
    shim::set_stripe(stripe);
    let mut reading = lock.read();
    let (value, own) = reading.parts();
    own.count();
    value.get()
}

fn reads(lock: &Lock) -> u32 {
    let mut sum = 0;
    lock.each(|own| sum += own.get());
    sum
}

fn beside(lock: &Arc<Lock>, run: impl FnOnce(&Lock) -> u32 + 'static) -> thread::JoinHandle<u32> {
    let lock = lock.clone();
    thread::spawn(move || run(&lock))
}

#[test]
fn writers_are_one_at_a_time_and_who_comes_later_sees_all_that_was_done() {
    loom::model(|| {
        let lock = lock();
        let others = [beside(&lock, write), beside(&lock, write)];
        others
            .into_iter()
            .for_each(|other| assert!(other.join().is_ok()));
        assert_eq!(write(&lock), 3);
    });
}

#[test]
fn a_reader_of_any_stripe_sees_a_writer_wholly_or_not_at_all() {
    for stripe in [0, 1] {
        loom::model(move || {
            let lock = lock();
            let writer = beside(&lock, write);
            let before = read(&lock, stripe);
            assert!(before <= 1);
            writer.join().unwrap();
            assert_eq!(read(&lock, stripe), 1);
            assert_eq!(reads(&lock), 2);
        });
    }
}

#[test]
fn a_stripe_that_comes_into_use_is_seen_by_writers_and_its_readers_see_what_they_did() {
    loom::model(|| {
        let lock = lock();
        let other = beside(&lock, |lock| read(lock, 1));
        assert_eq!(write(&lock) + read(&lock, 2), 2);
        assert!(other.join().unwrap() <= 1);
        assert_eq!(reads(&lock), 2);
    });
}

#[test]
fn readers_that_meet_part_and_both_are_counted() {
    let parted = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let seen = parted.clone();
    loom::model(move || {
        let lock = lock();
        let other = beside(&lock, |lock| {
            read(lock, 0);
            shim::stripe() as u32
        });
        read(&lock, 0);
        let stripes = shim::stripe() as u32 + other.join().unwrap();
        seen.fetch_or(stripes == 1, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(reads(&lock), 2);
    });
    assert!(parted.load(std::sync::atomic::Ordering::Relaxed));
}

#[test]
fn stripes_that_come_into_use_at_the_same_time_stay_in_use() {
    let mut few = loom::model::Builder::new();
    few.preemption_bound = Some(3); // all of them take minutes
    few.check(|| {
        let lock = lock();
        let other = beside(&lock, |lock| read(lock, 1) + write(lock));
        assert!(read(&lock, 2) <= 1);
        assert!(read(&lock, 2) <= 1);
        assert_eq!(other.join().unwrap(), 1);
        assert_eq!(reads(&lock), 3);
    });
}

#[test]
fn a_try_takes_every_stripe_or_leaves_all_as_they_are() {
    for stripe in [0, 1] {
        loom::model(move || {
            let lock = lock();
            read(&lock, 1);
            let reader = beside(&lock, move |lock| read(lock, stripe));
            let mine = lock.try_write().map(|writing| writing.count());
            let others = reader.join().unwrap();
            assert!(others == 0 || mine == Some(1));
            let writing: Option<Writing<_, _>> = lock.try_write();
            assert!(writing.is_some(), "a failed try left a stripe taken");
            assert!(lock.try_write().is_none());
            drop(writing);
            assert!(lock.try_write().is_some());
        });
    }
}

#[test]
fn a_panic_releases_it() {
    loom::model(|| {
        let lock = lock();
        for read in [true, false] {
            let panicked = catch_unwind(AssertUnwindSafe(|| {
                let _guards = if read {
                    (Some(lock.read()), None)
                } else {
                    (None, Some(lock.write()))
                };
                panic!("as told");
            }));
            assert!(panicked.is_err() && lock.try_write().is_some());
        }
    });
}

#[test]
fn who_holds_every_stripe_shuts_out_the_readers_of_those_that_are_not_in_use() {
    for stripe in [0, 2] {
        loom::model(move || {
            let lock = lock();
            let alone = Arc::new(Counter::default());
            let reader = beside(&lock, {
                let alone = alone.clone();
                move |lock| {
                    shim::set_stripe(stripe);
                    let reading = lock.read();
                    let count = alone.count();
                    drop(reading);
                    count
                }
            });
            let held = lock.hold();
            let count = alone.count();
            drop(held);
            assert_eq!(count + reader.join().unwrap(), 3);
        });
    }
}
