//! A worker: a process of one of the machines whose threads call, change and clear, until they are told to stop or are killed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::floors::Floors;
use super::mutant::Mutant;
use super::protocol;
use super::subject::{self, Kind};
use crate::history::{Choices, Count, Event, History, Lane, now};
use crate::worker::{begin_thread, history_in, share};

/// The longest that memory and store serve what another machine cleared: the default.
pub const STALENESS: Duration = Duration::from_millis(250);

/// So many of 256 executions sleep: a clear comes in between, and calls that begin after it.
const SLEEPERS: u64 = 24;

/// What a worker is told.
#[derive(Clone, Debug)]
pub struct Orders {
    pub folder: PathBuf,
    /// Which of them it is, and how many there are; how many threads it has.
    pub number: usize,
    pub workers: usize,
    pub threads: usize,
    pub keys: usize,
    pub seed: u64,
    /// How many machines there are: worker n is on the n-th of them, counted round.
    pub machines: usize,
    /// Where its machine reaches the server, or some nodes of the cluster, with commas between them.
    pub address: String,
    pub cluster: bool,
    /// A pending clear is to be in force on its machine at once, and applied when the server is back.
    pub pending: bool,
    pub mutant: Option<Mutant>,
}

impl Orders {
    pub fn machine(&self) -> usize {
        self.number % self.machines
    }
}

/// What a thread does. Waiting for a clear to be known is no step whose time says anything.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Call,
    Anew,
    Refresh,
    Peek,
    Set,
    Drop,
    Clear,
    ClearAll,
    ClearEverything,
    Wait,
}

/// What the steps are called, in their order.
pub const STEPS: [&str; 9] = [
    "call",
    "skip",
    "refresh",
    "peek",
    "set",
    "drop",
    "clear",
    "clear_all",
    "clear_everything",
];

/// The file of the floors.
pub fn floors_in(folder: &Path) -> PathBuf {
    folder.join("floors")
}

/// Runs until the history is over.
pub fn run(orders: &Orders) {
    let history = History::open(&history_in(&orders.folder)).expect("the history can be mapped");
    let floors = Floors::open(&floors_in(&orders.folder), STALENESS);
    share(history);
    let kinds = match orders.mutant {
        Some(mutant) => protocol::kinds(mutant, orders),
        None => {
            let machine = orders.folder.join(format!("machine-{}", orders.machine()));
            subject::at(orders, machine);
            subject::kinds()
        }
    };
    let own_keys = Mutex::new(());
    let started = now();
    let floors = floors.expect("the floors can be mapped");
    std::thread::scope(|scope| {
        for thread in 0..orders.threads {
            let work = Work {
                history,
                floors,
                lane: history.lane(orders.number, thread),
                orders,
                kinds: &kinds,
                own_keys: &own_keys,
            };
            scope.spawn(move || {
                let parts = [orders.number as u64, thread as u64, started];
                begin_thread(Choices::of(orders.seed, &parts), work.lane, SLEEPERS);
                work.run(Choices::of(!orders.seed, &parts));
            });
        }
    });
}

struct Work<'a> {
    history: History,
    floors: Floors,
    lane: Lane,
    orders: &'a Orders,
    kinds: &'a [Kind],
    /// Versions of owned keys are set, and so only one may be under way.
    own_keys: &'a Mutex<()>,
}

impl Work<'_> {
    fn run(&self, mut choices: Choices) {
        while !self.history.is_over() {
            let number = choices.below(self.kinds.len() as u64) as usize;
            let kind = &self.kinds[number];
            let reads = choices.below(if kind.has_memory { 1000 } else { 32 });
            for _ in 0..reads {
                let key = self.key(&mut choices);
                self.read(Step::Call, kind, key, |key| Some(kind.subject.call(key)));
                self.lane.add_reads(number, 1);
            }
            let key = self.key(&mut choices);
            match choices.below(1000) {
                0..620 => self.change(key, &mut choices, false),
                620..630 => self.change(key, &mut choices, true),
                630..700 => {
                    self.clear(kind, key, false);
                }
                700..780 => {
                    self.read(Step::Refresh, kind, key, |key| {
                        Some(kind.subject.refresh(key))
                    });
                    self.lane.add(Count::Refresh, 1);
                }
                780..840 => {
                    self.read(Step::Anew, kind, key, |key| {
                        Some(kind.subject.call_anew(key))
                    });
                    self.lane.add(Count::Refresh, 1);
                }
                840..900 => self.read(Step::Peek, kind, key, |key| kind.subject.peek(key)),
                900..950 => self.set(kind, key),
                950..990 => {
                    if self.guarded(Step::Drop, key, || kind.subject.drop_midway(key as u64))
                        == Some(true)
                    {
                        self.lane.add(Count::Dropped, 1);
                    }
                }
                990..997 => self.change_all(Step::ClearAll, kind, || kind.subject.clear_all()),
                _ => self.change_all(Step::ClearEverything, kind, || {
                    // Whether it is applied it does not say: as if it were pending.
                    kind.subject.clear_everything().then_some(false)
                }),
            }
        }
    }

    /// Half of what is done is done to a few keys, so that calls also meet.
    fn key(&self, choices: &mut Choices) -> usize {
        let keys = self.orders.keys as u64;
        let most = if choices.below(2) == 0 {
            keys
        } else {
            keys.min(4)
        };
        choices.below(most) as usize
    }

    /// What must be given at least to a call that begins at this moment.
    #[inline]
    fn floor(&self, at: u64, kind: &Kind, key: usize) -> u64 {
        let Orders { pending, .. } = self.orders;
        let here = || {
            let floor = self
                .floors
                .of_machine(self.orders.machine(), kind.family, key);
            floor.load(Ordering::SeqCst)
        };
        match kind.has_memory {
            true => here().max(self.floors.known_at(at, kind.family, key)),
            false => {
                let applied = self.floors.applied(kind.family, key).load(Ordering::SeqCst);
                applied.max(if *pending { here() } else { 0 })
            }
        }
    }

    #[inline]
    fn read(&self, step: Step, kind: &Kind, key: usize, call: impl FnOnce(u64) -> Option<u64>) {
        let began = now();
        let floor = self.floor(began, kind, key);
        let version = self.guarded(step, key, || call(key as u64)).flatten();
        if let Some(version) = version
            && !self.lane.check(key, floor, version)
        {
            let at = self
                .kinds
                .iter()
                .position(|one| std::ptr::eq(one, kind))
                .unwrap_or_default();
            eprintln!(
                "worker {} of machine {}: key {key}: {} of {}, which began {:.3} us ago, was given version {version}, and not {floor} at least; \
                 now there is {}",
                self.orders.number,
                self.orders.machine(),
                STEPS[step as usize],
                subject::KINDS[at].0,
                (now() - began) as f64 / 1000.0,
                kind.subject.explain(key as u64),
            );
        }
    }

    /// Nothing raises out of a call. How long it took says something of the library if this process was not stopped meanwhile.
    #[inline]
    fn guarded<T>(&self, step: Step, key: usize, call: impl FnOnce() -> T) -> Option<T> {
        let stopped = self.history.pauses(self.orders.number);
        let (pauses, began) = (stopped.load(Ordering::SeqCst), now());
        let returned = catch_unwind(AssertUnwindSafe(call));
        if step != Step::Wait && stopped.load(Ordering::SeqCst) == pauses {
            self.lane.took(step as usize, now() - began);
        }
        if returned.is_err() {
            self.lane.panicked(key);
        }
        returned.ok()
    }

    /// Whether this worker alone writes versions of a key, so that it may also set them. Every other key everybody changes.
    fn owns(&self, key: usize) -> bool {
        key % 2 == 1 && key / 2 % self.orders.workers == self.orders.number
    }

    /// Changes a key and clears it in every family, by any of its functions.
    fn change(&self, key: usize, choices: &mut Choices, wait: bool) {
        let key = if key % 2 == 1 && !self.owns(key) {
            key - 1
        } else {
            key
        };
        let _alone = self.alone_with(key);
        let version = self.next_version(key);
        let first = choices.below(self.kinds.len() as u64) as usize;
        let mut families = Vec::new();
        for at in 0..self.kinds.len() {
            let kind = &self.kinds[(first + at) % self.kinds.len()];
            if families.contains(&kind.family) {
                continue;
            }
            families.push(kind.family);
            self.lane.note(Event::Change, key, version);
            if let Some(applied) = self.clear(kind, key, wait) {
                self.cleared(kind, key, version, applied, wait);
            }
        }
    }

    /// Whether it was applied.
    fn clear(&self, kind: &Kind, key: usize, wait: bool) -> Option<bool> {
        let step = if wait { Step::Wait } else { Step::Clear };
        let applied = self.guarded(step, key, || kind.subject.clear(key as u64, wait))?;
        self.lane.add(Count::Waited, u64::from(wait));
        self.count(applied);
        if !applied {
            // Without the server all is quick, and nothing is checked: leave the time to others.
            std::thread::sleep(Duration::from_millis(1));
        }
        Some(applied)
    }

    fn count(&self, applied: bool) {
        let count = if applied {
            Count::Applied
        } else {
            Count::Pending
        };
        self.lane.add(count, 1);
    }

    /// A clear that was to take all before this version away has returned.
    fn cleared(&self, kind: &Kind, key: usize, version: u64, applied: bool, waited: bool) {
        let (family, machine) = (kind.family, self.orders.machine());
        let raise = |floor: &std::sync::atomic::AtomicU64| {
            floor.fetch_max(version, Ordering::SeqCst);
        };
        if applied {
            self.lane.note(Event::Changed, key, version);
            raise(self.floors.of_machine(machine, family, key));
            raise(self.floors.applied(family, key));
            match waited {
                true => self.floors.everywhere(family, key, version),
                false => self.floors.later(family, key, version),
            }
        } else {
            self.lane.note(Event::Owed, key, version);
            if self.orders.pending {
                raise(self.floors.of_machine(machine, family, key));
                raise(self.floors.owed(machine, family, key));
            }
        }
    }

    fn change_all(&self, step: Step, kind: &Kind, clear: impl FnOnce() -> Option<bool>) {
        let versions: Vec<_> = (0..self.orders.keys)
            .step_by(2)
            .map(|key| (key, self.next_version(key)))
            .collect();
        for (key, version) in &versions {
            self.lane.note(Event::Change, *key, *version);
        }
        let Some(Some(applied)) = self.guarded(step, 0, clear) else {
            return;
        };
        self.count(applied);
        for (key, version) in versions {
            self.cleared(kind, key, version, applied, false);
        }
    }

    /// Nobody is told whether it was stored: what it was set to is not expected.
    fn set(&self, kind: &Kind, key: usize) {
        if !self.owns(key) {
            return;
        }
        let _alone = self.alone_with(key);
        let version = self.next_version(key);
        self.lane.note(Event::Set, key, version);
        self.guarded(Step::Set, key, || kind.subject.set(key as u64, version));
        self.lane.add(Count::Set, 1);
    }

    fn alone_with(&self, key: usize) -> Option<impl Sized + '_> {
        (key % 2 == 1).then(|| self.own_keys.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn next_version(&self, key: usize) -> u64 {
        self.history.database(key).fetch_add(1, Ordering::SeqCst) + 1
    }
}
