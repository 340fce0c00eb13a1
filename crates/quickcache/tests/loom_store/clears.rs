//! Generations: what was computed before a clear is found by nobody who begins after it.

use super::generations::{self, Generations, Stamp};
use super::shim::{AtomicU64, Ordering};
use super::{beside, check, check_with};
use loom::cell::UnsafeCell;
use loom::sync::Mutex;
use std::sync::Arc;

/// What a clear is of.
#[derive(Clone, Copy, Debug)]
enum Of {
    Key,
    Function,
    Everything,
}

const EACH: [Of; 3] = [Of::Key, Of::Function, Of::Everything];

/// A machine: one key, its table, its store, the memory tier of one process, and the database behind the function.
struct World {
    replaced: AtomicU64,
    everything: AtomicU64,
    regions: [AtomicU64; 1],
    functions: [AtomicU64; 1],
    slots: [AtomicU64; 1],
    /// The version that the function reads.
    database: AtomicU64,
    /// The newest version whose clear has returned.
    floor: AtomicU64,
    records: [Record; 2],
    memory: Mutex<Option<Arc<Kept>>>,
}

/// An entry of the memory tier. Readers renew its mark, under a lock that does not order them.
struct Kept {
    mark: AtomicU64,
    stamp: u64,
    version: u64,
}

impl Kept {
    fn new(stamp: Stamp, version: u64) -> Arc<Kept> {
        let guard = stamp.guard();
        Arc::new(Kept {
            mark: AtomicU64::new(guard.mark),
            stamp: guard.stamp,
            version,
        })
    }
}

/// A value in the store, and the word of the index that leads to it.
struct Record {
    sum_and_version: UnsafeCell<(u64, u64)>,
    word: AtomicU64,
}

// SAFETY: whether the accesses of its cell are ordered is what loom checks.
unsafe impl Sync for Record {}

impl Record {
    fn new() -> Self {
        Record {
            sum_and_version: UnsafeCell::new((0, 0)),
            word: AtomicU64::new(0),
        }
    }

    fn publish(&self, sum: u64, version: u64) {
        // SAFETY: the pointer is the cell's; that nobody else uses it now is what loom checks.
        self.sum_and_version
            .with_mut(|record| unsafe { *record = (sum, version) });
        self.word.store(1, Ordering::Release);
    }

    fn read(&self) -> Option<(u64, u64)> {
        // SAFETY: as above.
        (self.word.load(Ordering::Acquire) == 1)
            .then(|| self.sum_and_version.with(|record| unsafe { *record }))
    }
}

impl World {
    fn new() -> Arc<World> {
        Arc::new(World {
            replaced: AtomicU64::new(0),
            everything: AtomicU64::new(0),
            regions: [AtomicU64::new(0)],
            functions: [AtomicU64::new(0)],
            slots: [AtomicU64::new(0)],
            database: AtomicU64::new(0),
            floor: AtomicU64::new(0),
            records: [Record::new(), Record::new()],
            memory: Mutex::new(None),
        })
    }

    fn generations(&self) -> Generations<'_> {
        Generations::of_parts(
            &self.replaced,
            &self.everything,
            &self.regions,
            &self.functions,
            &self.slots,
        )
    }

    fn stamp(&self) -> Stamp {
        self.generations().stamp(0, 0)
    }

    fn clear(&self, of: Of) {
        match of {
            Of::Key => self.generations().clear(0),
            Of::Function => self.generations().clear_function(0),
            Of::Everything => self.generations().clear_everything(),
        }
    }

    /// Changes the database, clears, and says so to whoever looks.
    fn change(&self, of: Of) {
        self.database.store(1, Ordering::Relaxed);
        self.clear(of);
        self.floor.store(1, Ordering::Release);
    }

    fn execute(&self) -> u64 {
        self.database.load(Ordering::Relaxed)
    }

    /// A call that runs the function and stores the value as record `at`.
    fn fill(&self, at: usize) {
        let stamp = self.stamp();
        let version = self.execute();
        self.records[at].publish(stamp.sum, version);
    }

    /// The same, storing in the memory tier.
    fn fill_memory(&self) {
        let stamp = self.stamp();
        let version = self.execute();
        self.keep(stamp, version);
    }

    fn keep(&self, stamp: Stamp, version: u64) {
        *self.memory.lock().unwrap() = Some(Kept::new(stamp, version));
    }

    /// A call that computes anew, storing in the memory tier.
    fn refresh_memory(&self) {
        let stamp = self.stamp();
        let version = self.execute();
        if let Some(stamp) = self.generations().supersede(stamp) {
            self.keep(stamp, version);
        }
    }

    /// A call that computes anew.
    fn refresh(&self, at: usize) -> bool {
        let stamp = self.stamp();
        let version = self.execute();
        let Some(stamp) = self.generations().supersede(stamp) else {
            return false;
        };
        self.records[at].publish(stamp.sum, version);
        true
    }

    /// What a call finds in the store.
    fn find(&self) -> Option<u64> {
        let stamp = self.stamp();
        self.records.iter().find_map(|record| {
            let (sum, version) = record.read()?;
            (sum == stamp.sum && self.generations().stands(0, stamp)).then_some(version)
        })
    }

    /// What a call finds in the memory tier.
    fn find_in_memory(&self) -> Option<u64> {
        let kept = self.memory.lock().unwrap().clone()?;
        let watch = self.generations().watch(0);
        if !watch.is_quiet(kept.mark.load(Ordering::Relaxed)) {
            kept.mark
                .store(watch.renewed(kept.stamp)?, Ordering::Relaxed);
        }
        Some(kept.version)
    }

    /// F, for a call that begins now.
    fn is_fresh(&self, call: impl FnOnce(&Self) -> Option<u64>) {
        let floor = self.floor.load(Ordering::Acquire);
        let version = call(self).unwrap_or_else(|| self.execute());
        assert!(version >= floor, "a value from before the clear");
    }
}

#[test]
fn f_holds_for_what_the_memory_tier_has() {
    for of in EACH {
        check(move || {
            let world = World::new();
            beside(&world, World::fill_memory);
            beside(&world, move |world| world.change(of));
            world.is_fresh(World::find_in_memory);
        });
    }
}

/// Who renews the mark of an entry may do so for hits of others.
#[test]
fn f_holds_for_an_entry_whose_mark_is_renewed() {
    for of in EACH {
        for other in EACH {
            check_with(2, move || {
                let world = World::new();
                world.fill_memory();
                beside(&world, World::find_in_memory);
                beside(&world, move |world| world.clear(other));
                beside(&world, move |world| world.change(of));
                world.is_fresh(World::find_in_memory);
            });
        }
    }
}

/// What took the key over is of the region as it was before: a clear between the two steps moves that on.
#[test]
fn f_holds_for_what_a_refresh_keeps_in_memory() {
    for of in EACH {
        check(move || {
            let world = World::new();
            beside(&world, World::refresh_memory);
            beside(&world, move |world| world.change(of));
            world.is_fresh(World::find_in_memory);
        });
    }
}

#[test]
fn an_entry_that_nothing_cleared_is_found_while_its_region_moves() {
    loom::model(|| {
        let world = World::new();
        world.fill_memory();
        world.generations().leap(0);
        assert_eq!(world.find_in_memory(), Some(0));
        assert_eq!(world.find_in_memory(), Some(0));
        world.clear(Of::Key);
        assert_eq!(world.find_in_memory(), None);
    });
}

#[test]
fn f_holds_for_what_the_store_has() {
    for of in EACH {
        check(move || {
            let world = World::new();
            beside(&world, |world| world.fill(0));
            beside(&world, move |world| world.change(of));
            world.is_fresh(World::find);
        });
    }
}

/// The words of a stamp are read at different moments, so that one who has seen the first clear only and one who has seen the second only
/// have the same sum.
#[test]
fn f_holds_while_another_word_is_cleared() {
    for of in EACH {
        for other in EACH {
            check_with(2, move || {
                let world = World::new();
                beside(&world, |world| world.fill(0));
                beside(&world, move |world| world.change(of));
                beside(&world, move |world| world.clear(other));
                world.is_fresh(World::find);
            });
        }
    }
}

#[test]
fn f_holds_for_a_backfill_from_the_store() {
    for of in EACH {
        check(move || {
            let world = World::new();
            beside(&world, |world| world.fill(0));
            beside(&world, move |world| world.change(of));
            let stamp = world.stamp();
            let Some(version) = world.find() else { return };
            world.keep(stamp, version);
            world.is_fresh(World::find_in_memory);
        });
    }
}

/// A refresh adds the step of a clear to the word of the key: a sum that a clear of the function leads to as well.
#[test]
fn f_holds_for_what_a_refresh_stores() {
    for of in EACH {
        check(move || {
            let world = World::new();
            beside(&world, |world| world.refresh(0));
            beside(&world, move |world| world.change(of));
            world.is_fresh(World::find);
        });
    }
}

#[test]
fn what_a_refresh_stored_is_not_followed_by_a_fill_that_is_older() {
    check(|| {
        let world = World::new();
        beside(&world, |world| world.fill(0));
        beside(&world, |world| {
            world.database.store(1, Ordering::Relaxed);
            if world.refresh(1) {
                world.floor.store(1, Ordering::Release);
            }
        });
        world.is_fresh(World::find);
    });
}

#[test]
fn what_a_refresh_stored_is_found() {
    loom::model(|| {
        let world = World::new();
        world.fill(0);
        world.database.store(1, Ordering::Relaxed);
        assert!(world.refresh(1));
        assert_eq!(world.find(), Some(1));
    });
}

#[test]
fn what_a_refresh_took_over_is_in_no_memory() {
    check(|| {
        let world = World::new();
        world.fill_memory();
        beside(&world, |world| {
            world.database.store(1, Ordering::Relaxed);
            if world.refresh(0) {
                world.floor.store(1, Ordering::Release);
            }
        });
        world.is_fresh(World::find_in_memory);
    });
}

#[test]
fn of_two_refreshes_of_a_generation_one_is_stored() {
    check(|| {
        let world = World::new();
        let stamp = world.stamp();
        let other = beside(&world, move |world| world.generations().supersede(stamp));
        let mine = world.generations().supersede(stamp);
        assert!(mine.is_some() != other.join().unwrap().is_some());
    });
}

#[test]
fn an_execution_of_the_new_generation_sees_what_was_written_before_the_clear() {
    for of in EACH {
        check(move || {
            let shared = Arc::new((World::new(), Record::new()));
            beside(&shared, move |(world, written)| {
                // SAFETY: the pointer is the cell's; that nobody else uses it now is what loom checks.
                written.sum_and_version.with_mut(|written| unsafe {
                    *written = (0, 1);
                });
                world.clear(of);
            });
            let (world, written) = &*shared;
            if world.stamp().sum != 0 {
                // SAFETY: as above.
                let version = written
                    .sum_and_version
                    .with(|written| unsafe { *written })
                    .1;
                assert_eq!(version, 1);
            }
        });
    }
}

#[test]
fn clears_at_the_same_time_are_each_a_step() {
    for of in EACH {
        check(move || {
            let world = World::new();
            let other = beside(&world, move |world| world.clear(of));
            world.clear(of);
            other.join().unwrap();
            let both = world.stamp().sum;
            assert_eq!(both, generations::STEP.wrapping_mul(2));
        });
    }
}
