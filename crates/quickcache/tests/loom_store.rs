//! The store's generations and leases under a model checker that knows weak memory: every order of their words that the language
//! allows is tried. What is shared besides is modelled by the weakest that the store has: the database is read and written without any
//! order, records are cells that report whoever reads them unpublished, futexes are a lock and a bell.

#![cfg(target_os = "linux")]

// What opens files is not used here.
#[allow(dead_code)]
#[path = "../src/tier/store/generations.rs"]
mod generations;

#[allow(dead_code)]
#[path = "../src/tier/store/leases.rs"]
mod leases;

mod shim {
    pub(super) use loom::sync::atomic::{AtomicU64, Ordering};

    pub(super) const REGIONS: usize = 1;
}

use generations::{Generations, LEASE_WORDS, Stamp};
use leases::{Claim, Claimant, Line, Waited, Worker};
use loom::cell::UnsafeCell;
use loom::sync::{Condvar, Mutex};
use loom::thread;
use shim::{AtomicU64, Ordering};
use std::sync::Arc;

fn check(model: impl Fn() + Sync + Send + 'static) {
    check_with(3, model);
}

/// In every order that has so many preemptions at most: four threads in every order at all take hours.
fn check_with(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}

// ---- generations ----

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

fn beside<S: Send + Sync + 'static, T: 'static>(
    shared: &Arc<S>,
    run: impl FnOnce(&S) -> T + 'static,
) -> thread::JoinHandle<T> {
    let shared = shared.clone();
    thread::spawn(move || run(&shared))
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

// ---- leases ----

/// The boot clock: the machine has been up for long, and nobody has used the lease.
const NOW: u64 = 10_000_000;

const KEY: u64 = 0xABCD_EF01 << 33;

/// A lease, what its leaders do, and the futex behind its bell.
struct Leased {
    words: Vec<AtomicU64>,
    /// How often the function was run: a cell, so that loom reports two leaders at once and one who does not see what the last one did.
    runs: UnsafeCell<u32>,
    futex: Mutex<()>,
    rung: Condvar,
}

// SAFETY: whether the accesses of its cell are ordered is what loom checks.
unsafe impl Sync for Leased {}

impl Leased {
    fn new() -> Arc<Leased> {
        Arc::new(Leased {
            words: (0..LEASE_WORDS).map(|_| AtomicU64::new(0)).collect(),
            runs: UnsafeCell::new(0),
            futex: Mutex::new(()),
            rung: Condvar::new(),
        })
    }

    fn line(&self) -> Line<'_> {
        Line::of(&self.words, 0)
    }

    fn run(&self) -> u32 {
        // SAFETY: the pointer is the cell's; that nobody else uses it now is what loom checks.
        self.runs.with_mut(|runs| unsafe {
            *runs += 1;
            *runs
        })
    }

    fn claim(&self, mine: Claimant) -> Claim {
        let (claim, waiters) = self.line().claim(mine, NOW);
        self.wake(waiters);
        claim
    }

    fn release(&self, mine: Claimant) {
        let waiters = self.line().release(mine);
        self.wake(waiters);
    }

    fn take_over(&self, waited: Waited, mine: Claimant) -> bool {
        let taken = self.line().take_over(waited, mine, NOW);
        self.wake(taken == Some(true));
        taken.is_some()
    }

    fn bury(&self, worker: Worker) {
        let waiters = self.line().bury(worker);
        self.wake(waiters);
    }

    fn wake(&self, waiters: bool) {
        if waiters {
            drop(self.futex.lock().unwrap());
            self.rung.notify_all();
        }
    }

    /// Sleeps until the bell is rung, as the system lets a process sleep: it looks at the bell under the lock of its queue. There is no
    /// timeout, so that a lost wake-up is a deadlock, which loom reports.
    fn sleep(&self, seen: u64) {
        let queue = self.futex.lock().unwrap();
        if self.line().bell().load(Ordering::Relaxed) == seen {
            drop(self.rung.wait(queue).unwrap());
        }
    }

    /// Waits for its turn, runs the function and releases.
    fn lead_or_wait(&self, mine: Claimant) {
        loop {
            match self.claim(mine) {
                Claim::Mine => break,
                Claim::Wait(waited) => self.sleep(waited.bell),
                Claim::Without => panic!("the lease is of this key and of another process"),
            }
        }
        self.run();
        self.release(mine);
    }
}

/// Of one key at one generation.
fn claimant(worker: Worker) -> Claimant {
    Claimant::new(worker, KEY, 1)
}

#[test]
fn a_key_has_one_leader_at_a_time_and_the_next_sees_what_it_did() {
    check(|| {
        let leased = Leased::new();
        let others = [1, 2].map(|worker| {
            beside(&leased, move |leased| {
                let mine = claimant(worker);
                if leased.claim(mine) == Claim::Mine {
                    leased.run();
                    leased.release(mine);
                }
            })
        });
        let mine = claimant(0);
        if leased.claim(mine) == Claim::Mine {
            leased.run();
            leased.release(mine);
        }
        for other in others {
            other.join().unwrap();
        }
        assert_eq!(leased.claim(mine), Claim::Mine, "all have released it");
        assert!(leased.run() > 1);
    });
}

#[test]
fn who_waits_is_woken_by_the_release() {
    check_with(2, || {
        let leased = Leased::new();
        let others = [1, 2]
            .map(|worker| beside(&leased, move |leased| leased.lead_or_wait(claimant(worker))));
        leased.lead_or_wait(claimant(0));
        for other in others {
            other.join().unwrap();
        }
        assert_eq!(leased.run(), 4);
    });
}

/// A leader that has died, and two that wait for it: the one that finds it out takes over, the other is woken.
#[test]
fn a_lease_is_taken_over_by_one_and_the_others_are_woken() {
    check(|| {
        let leased = Leased::new();
        assert_eq!(leased.claim(claimant(0)), Claim::Mine);
        let other = beside(&leased, |leased| leased.lead_or_wait(claimant(1)));
        let mine = claimant(2);
        let took_over = match leased.claim(mine) {
            Claim::Wait(waited) => leased.take_over(waited, mine),
            _ => unreachable!("nobody has released it"),
        };
        if took_over {
            leased.run();
            leased.release(mine);
        } else {
            // The other marked it meanwhile: it is still the dead one's.
            match leased.claim(mine) {
                Claim::Wait(waited) => assert!(leased.take_over(waited, mine)),
                _ => unreachable!("nobody has released it"),
            }
            leased.run();
            leased.release(mine);
        }
        other.join().unwrap();
        assert_eq!(leased.run(), 3);
    });
}

#[test]
fn of_two_that_take_over_one_does() {
    check(|| {
        let leased = Leased::new();
        assert_eq!(leased.claim(claimant(0)), Claim::Mine);
        let Claim::Wait(waited) = leased.claim(claimant(1)) else {
            unreachable!("nobody has released it")
        };
        let other = beside(&leased, move |leased| {
            let took = leased.take_over(waited, claimant(1));
            if took {
                leased.run();
            }
            took
        });
        let mine = leased.take_over(waited, claimant(2));
        if mine {
            leased.run();
        }
        assert!(mine != other.join().unwrap());
    });
}

/// The owner of a dead worker's number buries what that left, whoever begins to wait for it meanwhile.
#[test]
fn what_a_dead_worker_left_is_buried_and_who_waits_for_it_is_woken() {
    check(|| {
        let leased = Leased::new();
        assert_eq!(leased.claim(claimant(0)), Claim::Mine);
        let other = beside(&leased, |leased| leased.lead_or_wait(claimant(1)));
        leased.bury(0);
        other.join().unwrap();
        assert_eq!(leased.run(), 2);
    });
}

/// What was stored before a release is found by the one that claims next, whoever rang or waited in between.
#[test]
fn who_leads_after_a_wait_sees_what_was_stored() {
    check(|| {
        let leased = Leased::new();
        let mine = claimant(0);
        assert_eq!(leased.claim(mine), Claim::Mine);
        let other = beside(&leased, |leased| leased.lead_or_wait(claimant(1)));
        assert_eq!(leased.run(), 1);
        leased.release(mine);
        other.join().unwrap();
    });
}

#[test]
fn a_claim_of_a_newer_generation_takes_the_lease_and_who_waited_is_woken() {
    check(|| {
        let leased = Leased::new();
        let old = claimant(0);
        assert_eq!(leased.claim(old), Claim::Mine);
        let Claim::Wait(waited) = leased.claim(claimant(1)) else {
            unreachable!("nobody has released it")
        };
        let waits = beside(&leased, move |leased| leased.sleep(waited.bell));
        let new = Claimant::new(2, KEY, 2);
        assert_eq!(leased.claim(new), Claim::Mine);
        leased.release(old);
        let another = leased.claim(Claimant::new(3, KEY, 2));
        assert!(matches!(another, Claim::Wait(_)), "it is not the old one's");
        leased.release(new);
        waits.join().unwrap();
    });
}

/// Bits flip.
#[test]
fn a_word_that_names_no_worker_is_free() {
    loom::model(|| {
        let leased = Leased::new();
        assert_eq!(leased.claim(claimant(0)), Claim::Mine);
        // Of this key and generation, and waited for.
        leased.words[0].fetch_and(!0xFFF, Ordering::Relaxed);
        leased.words[0].fetch_or(1 << 12, Ordering::Relaxed);
        assert_eq!(leased.claim(claimant(1)), Claim::Mine);
    });
}
