//! Leases: one execution for a key over all processes of the machine, while its leader lives.
//!
//! A key has a lease, a line of words in the table. Who claims it writes who it is, of which key and at which generation, in one
//! word by one compare-and-set; so there is no state between, whoever dies. Leases save executions and nothing else: whether a value
//! may be handed out is said by generations alone. Hence whatever is odd (the line is another key's, the holder is this very
//! process) is answered by running the function without one.
//!
//! ```text
//! word 0   worker + 1: 12 bits · waited for: 1 · key: 31 · stamp: 20       0: free
//! word 1   since when, in milliseconds of the boot clock
//! word 2   bell: moved on, and rung as a futex, when somebody waited for the end
//! ```

use super::generations::LEASE_WORDS;
use super::shim::{AtomicU64, Ordering};

/// Of a process that has the table open, see `workers`.
pub(super) type Worker = u16;

/// Worker numbers fit their bits, and 0 is nobody.
pub(super) const MOST_WORKERS: u16 = (1 << WORKER_BITS) - 1;

const WORKER_BITS: u32 = 12;
const WAITED: u64 = 1 << WORKER_BITS;
const KEY_SHIFT: u32 = WORKER_BITS + 1;
const KEY_BITS: u32 = 31;
const STAMP_SHIFT: u32 = KEY_SHIFT + KEY_BITS;

/// A lease that is held for longer is void: no execution takes an hour, a damaged word does.
const LONGEST: u64 = 3_600_000;

/// One line.
#[derive(Clone, Copy)]
pub(super) struct Line<'a> {
    word: &'a AtomicU64,
    since: &'a AtomicU64,
    bell: &'a AtomicU64,
}

/// Whose it would be: worker, key and generation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Claimant(u64);

impl Claimant {
    /// Of hashes of the key and of its stamp.
    pub(super) fn new(worker: Worker, key: u64, stamp: u64) -> Self {
        debug_assert!(worker < MOST_WORKERS);
        Claimant(
            u64::from(worker + 1) | (key >> (64 - KEY_BITS)) << KEY_SHIFT | stamp << STAMP_SHIFT,
        )
    }
}

/// What became of a claim.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Claim {
    /// Run the function, then release.
    Mine,
    /// Another process runs it: wait, then look again.
    Wait(Waited),
    /// Run it without a lease.
    Without,
}

/// A lease of another process as it was seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Waited {
    word: u64,
    /// What the bell said before the word was looked at.
    pub(super) bell: u64,
}

impl Waited {
    pub(super) fn holder(self) -> Worker {
        holder(self.word).expect("a lease that is waited for has a holder")
    }
}

fn holder(word: u64) -> Option<Worker> {
    ((word & (WAITED - 1)) as Worker).checked_sub(1)
}

fn key(word: u64) -> u64 {
    word >> KEY_SHIFT & ((1 << KEY_BITS) - 1)
}

impl<'a> Line<'a> {
    /// Line number `at` of all lines.
    pub(super) fn of(lines: &'a [AtomicU64], at: usize) -> Self {
        let line = &lines[at * LEASE_WORDS..(at + 1) * LEASE_WORDS];
        Line {
            word: &line[0],
            since: &line[1],
            bell: &line[2],
        }
    }

    pub(super) fn bell(&self) -> &'a AtomicU64 {
        self.bell
    }

    /// Claims the lease. Whoever waited for a lease that this takes over is to be woken: then `true` comes with it.
    pub(super) fn claim(&self, mine: Claimant, now: u64) -> (Claim, bool) {
        loop {
            let bell = self.bell.load(Ordering::Acquire);
            let word = self.word.load(Ordering::Acquire);
            let same_key = key(word) == key(mine.0);
            let void = now.abs_diff(self.since.load(Ordering::Relaxed)) > LONGEST;
            if holder(word).is_none() || (same_key && !same_claim(word, mine)) || void {
                // Free, or damaged; or the key has been cleared since it was claimed, and what its holder stores is void.
                match self.take(word, mine, now) {
                    Some(waited) => return (Claim::Mine, waited),
                    None => continue,
                }
            }
            if !same_key || holder(word) == holder(mine.0) {
                return (Claim::Without, false);
            }
            let waited = word | WAITED;
            if word == waited
                || self
                    .word
                    .compare_exchange(word, waited, Ordering::Relaxed, Ordering::Relaxed)
                    .is_ok()
            {
                return (Claim::Wait(Waited { word: waited, bell }), false);
            }
        }
    }

    /// Takes a lease over whose holder died, or for which patience is over. `None`: it has changed meanwhile.
    pub(super) fn take_over(&self, from: Waited, mine: Claimant, now: u64) -> Option<bool> {
        self.take(from.word, mine, now)
    }

    /// Whether somebody waited for the one before.
    fn take(&self, from: u64, mine: Claimant, now: u64) -> Option<bool> {
        // Before the claim, so that nobody sees it with the time of an older one. If another is quicker this is its time too.
        self.since.store(now, Ordering::Relaxed);
        self.word
            .compare_exchange(from, mine.0, Ordering::AcqRel, Ordering::Relaxed)
            .ok()?;
        Some(self.ring(from))
    }

    /// Releases the lease, if it still is this one. Whether there is somebody to wake. Release: what was stored is seen by whoever
    /// sees the lease free.
    pub(super) fn release(&self, mine: Claimant) -> bool {
        let mut word = mine.0;
        loop {
            match self
                .word
                .compare_exchange(word, 0, Ordering::Release, Ordering::Relaxed)
            {
                Ok(_) => return self.ring(word),
                Err(now) if now == mine.0 | WAITED || now == mine.0 => word = now,
                Err(_) => return false,
            }
        }
    }

    /// Frees a lease that a process of this number left behind when it died.
    pub(super) fn bury(&self, worker: Worker) -> bool {
        let mut word = self.word.load(Ordering::Relaxed);
        // Again if somebody marks meanwhile that he waits for it.
        while holder(word) == Some(worker) {
            match self
                .word
                .compare_exchange(word, 0, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => return self.ring(word),
                Err(now) => word = now,
            }
        }
        false
    }

    /// Release: who sees the bell rung sees the lease ended.
    fn ring(&self, from: u64) -> bool {
        let waited = from & WAITED != 0;
        if waited {
            self.bell.fetch_add(1, Ordering::Release);
        }
        waited
    }
}

fn same_claim(word: u64, mine: Claimant) -> bool {
    const OF: u64 = !((WAITED << 1) - 1);
    word & OF == mine.0 & OF
}
