//! Whose turn it is to run a function, over all processes of the machine: leases as calls hold them, and wait for them.

use std::io;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use super::generations::Stamp;
use super::key::StoreKey;
use super::leases::{Claim, Claimant, Line, Waited, Worker};
use super::opened::{Opened, Spot};
use super::workers::Workers;
use crate::clock;

/// Where the right to change a key is, beside the key.
const CHANGES: u64 = u64::from_le_bytes(*b"changes ");

/// How long a waiter sleeps before it looks whether the leader still lives.
const SLICE: Duration = Duration::from_millis(10);

impl Opened {
    fn line(&self, spot: &Spot) -> Line<'static> {
        let line = spot.hash.rotate_left(16) & (self.head.shape.leases - 1);
        Line::of(self.leases, line as usize)
    }

    /// The right to run the function for a key at a generation, or whom to wait for.
    pub fn claim(&'static self, spot: &Spot, stamp: Stamp) -> Turn {
        let Ok(worker) = self.worker() else {
            return Turn::Lead(None);
        };
        self.claim_as(spot, Claimant::new(worker, spot.hash, twist(stamp.sum)))
    }

    fn claim_as(&'static self, spot: &Spot, mine: Claimant) -> Turn {
        let line = self.line(spot);
        let (claim, waiters) = line.claim(mine, clock::boot());
        if waiters {
            wake(line.bell());
        }
        match claim {
            Claim::Mine => Turn::Lead(Some(Lease { line, mine })),
            Claim::Without => Turn::Lead(None),
            Claim::Wait(waited) => Turn::Wait(Waiting {
                opened: self,
                line,
                mine,
                waited,
            }),
        }
    }

    /// The right to change a key in several steps, as ordinary caches do, or whom to wait for. `Lead(None)`: another key, or this very
    /// process, is in its place; `None`: this process is no worker, and holds nothing.
    pub fn claim_change(&'static self, key: &StoreKey) -> Option<Turn> {
        let worker = self.worker().ok()?;
        // Beside the lease of its function, of which it takes nothing away.
        let spot = self.spot(key.beside(CHANGES));
        Some(self.claim_as(&spot, Claimant::new(worker, spot.hash, 0)))
    }

    fn worker(&self) -> io::Result<Worker> {
        self.workers.mine(&self.folder, |worker| {
            for at in 0..self.head.shape.leases as usize {
                let line = Line::of(self.leases, at);
                if line.bury(worker) {
                    wake(line.bell());
                }
            }
        })
    }
}

/// The lower bits of a stamp move by `STEP`, whose lower bits are as good as any; but they are few.
fn twist(sum: u64) -> u64 {
    sum ^ sum >> 32
}

/// Whose turn it is.
#[must_use]
pub enum Turn {
    /// Run the function. Without a lease somebody else may run it too.
    Lead(Option<Lease>),
    /// Another process runs it.
    Wait(Waiting),
}

/// The right to run a function for a key, over all processes of the machine. Dropped, it is released, and whoever waits is woken.
pub struct Lease {
    line: Line<'static>,
    mine: Claimant,
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.line.release(self.mine) {
            wake(self.line.bell());
        }
    }
}

/// How long a call waits for other processes, counted from when it first does.
pub struct Patience {
    most: Duration,
    since: Option<Instant>,
}

impl Patience {
    /// So much of it.
    #[must_use]
    pub fn new(most: Duration) -> Self {
        Patience { most, since: None }
    }

    /// Whether it is over.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.since.is_some_and(|since| since.elapsed() >= self.most)
    }

    /// What is left of it. The first time it begins.
    pub fn left(&mut self) -> Duration {
        let since = self.since.get_or_insert_with(Instant::now);
        self.most.saturating_sub(since.elapsed())
    }
}

/// A place behind another process's lease.
pub struct Waiting {
    opened: &'static Opened,
    line: Line<'static>,
    mine: Claimant,
    waited: Waited,
}

impl Waiting {
    /// Waits until the lease ends, or a moment. Then look, and claim, again.
    pub fn wait(&self, most: Duration) {
        sleep(self.line.bell(), self.waited.bell, most.min(SLICE));
    }

    /// The lease, if its holder has died or `patience_is_over`.
    #[must_use]
    pub fn take_over(&self, patience_is_over: bool) -> Option<Lease> {
        let gone = || {
            // If that cannot be found out patience decides.
            Workers::lives(&self.opened.folder, self.waited.holder()).is_ok_and(|lives| !lives)
        };
        if !(patience_is_over || gone()) {
            return None;
        }
        let waiters = self.line.take_over(self.waited, self.mine, clock::boot())?;
        if waiters {
            wake(self.line.bell());
        }
        Some(Lease {
            line: self.line,
            mine: self.mine,
        })
    }
}

/// The lower half of a bell, as the futex it is.
#[cfg(target_os = "linux")]
fn futex(bell: &AtomicU64) -> &std::sync::atomic::AtomicU32 {
    let lower = std::ptr::from_ref(bell).cast::<std::sync::atomic::AtomicU32>();
    // SAFETY: it is inside the word, which lives as long, and it is aligned. Only the system reads through it.
    unsafe { &*lower.add(usize::from(cfg!(target_endian = "big"))) }
}

/// Not process-private: the waiters are elsewhere.
#[cfg(target_os = "linux")]
pub(in crate::tier) fn wake(bell: &AtomicU64) {
    use rustix::thread::futex;
    // It cannot fail but for an address that is none.
    let _ = futex::wake(futex(bell), futex::Flags::empty(), i32::MAX as u32);
}

#[cfg(target_os = "linux")]
pub(in crate::tier) fn sleep(bell: &AtomicU64, seen: u64, most: Duration) {
    use rustix::thread::futex;
    let timeout = rustix::time::Timespec {
        tv_sec: most.as_secs() as _,
        tv_nsec: most.subsec_nanos() as _,
    };
    // Woken, rung meanwhile, interrupted or over: the caller looks again in any case.
    let _ = futex::wait(
        futex(bell),
        futex::Flags::empty(),
        seen as u32,
        Some(&timeout),
    );
}

#[cfg(not(target_os = "linux"))]
pub(in crate::tier) fn wake(_bell: &AtomicU64) {}

#[cfg(not(target_os = "linux"))]
pub(in crate::tier) fn sleep(bell: &AtomicU64, seen: u64, most: Duration) {
    let mut step = Duration::from_micros(200);
    let mut slept = Duration::ZERO;
    while slept < most && bell.load(std::sync::atomic::Ordering::Acquire) == seen {
        std::thread::sleep(step);
        slept += step;
        step = (step * 2).min(most);
    }
}
