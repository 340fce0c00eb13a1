//! Leases: one leader for a key, and nobody sleeps on.

use super::generations::LEASE_WORDS;
use super::leases::{Claim, Claimant, Line, Waited, Worker};
use super::shim::{AtomicU64, Ordering};
use super::{beside, check, check_with};
use loom::cell::UnsafeCell;
use loom::sync::{Condvar, Mutex};
use std::sync::Arc;

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
