//! A worker: a process whose threads call, change and clear, until they are told to stop or are killed.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Instant;

use crate::history::{Choices, Count, Event, History, Lane};
use crate::mutant::{Mutant, Wrong};
use crate::subject::{self, Both, BothAsync, StoreAlone, Subject};

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
    pub mutant: Option<Mutant>,
}

/// The file of the history, beside the store's folder.
pub fn history_in(folder: &std::path::Path) -> PathBuf {
    folder.join("history")
}

static HISTORY: OnceLock<History> = OnceLock::new();

thread_local! {
    static LANE: Cell<Option<Lane>> = const { Cell::new(None) };
    static CHOICES: RefCell<Choices> = const { RefCell::new(Choices(0)) };
    /// So many of 256 executions sleep.
    static SLEEPERS: Cell<u64> = const { Cell::new(1) };
}

/// The body of the cached functions: reads the database, and now and then takes its time after that.
pub fn execute(key: u64) -> u64 {
    let history = HISTORY.get().expect("set at the start");
    let key = key as usize;
    let version = history.database(key).load(Ordering::SeqCst);
    if let Some(lane) = LANE.get() {
        lane.add(Count::Execution, 1);
        lane.note(Event::Execution, key, version);
    }
    let (choice, sleepers) = (
        CHOICES.with_borrow_mut(|all| all.below(256)),
        SLEEPERS.get(),
    );
    let pause = |most| CHOICES.with_borrow_mut(|choices| choices.micros(most));
    if choice < sleepers {
        std::thread::sleep(pause(3000));
    } else if choice < 64 {
        spin(pause(30));
    }
    version
}

fn spin(pause: std::time::Duration) {
    let began = Instant::now();
    while began.elapsed() < pause {
        std::hint::spin_loop();
    }
}

/// The history that executions are written to.
pub fn share(history: History) {
    HISTORY.get_or_init(|| history);
}

/// What a thread goes by from now on.
pub fn begin_thread(choices: Choices, lane: Lane, sleepers: u64) {
    CHOICES.set(choices);
    SLEEPERS.set(sleepers);
    LANE.set(Some(lane));
}

/// Runs until the history is over.
pub fn run(orders: &Orders) {
    let history = History::open(&history_in(&orders.folder)).expect("the history can be mapped");
    share(history);
    subject::store_in(orders.folder.join("store"));
    let wrong = orders
        .mutant
        .map(|mutant| Wrong::new(mutant, &orders.folder));
    let subjects: Vec<&dyn Subject> = match &wrong {
        Some(wrong) => vec![wrong],
        None => vec![&Both, &BothAsync, &StoreAlone],
    };
    let own_keys = Mutex::new(());
    let started = crate::history::now();
    std::thread::scope(|scope| {
        for thread in 0..orders.threads {
            let work = Work {
                history,
                lane: history.lane(orders.number, thread),
                orders,
                subjects: &subjects,
                own_keys: &own_keys,
            };
            scope.spawn(move || {
                let parts = [orders.number as u64, thread as u64, started];
                begin_thread(Choices::of(orders.seed, &parts), work.lane, 1);
                work.run(Choices::of(!orders.seed, &parts));
            });
        }
    });
}

struct Work<'a> {
    history: History,
    lane: Lane,
    orders: &'a Orders,
    subjects: &'a [&'a dyn Subject],
    /// Versions of owned keys are set, and so only one may be under way.
    own_keys: &'a Mutex<()>,
}

impl Work<'_> {
    fn run(&self, mut choices: Choices) {
        while !self.history.is_over() {
            let subject = self.subjects[choices.below(self.subjects.len() as u64) as usize];
            let reads = choices.below(200);
            for _ in 0..reads {
                self.read(choices.below(self.orders.keys as u64) as usize, |key| {
                    Some(subject.call(key))
                });
            }
            self.lane.add(Count::Read, reads);
            let key = choices.below(self.orders.keys as u64) as usize;
            match choices.below(100) {
                0..70 => self.change(key),
                70..78 => self.clear(key),
                78..85 => {
                    self.read(key, |key| Some(subject.refresh(key)));
                    self.lane.add(Count::Refresh, 1);
                }
                85..91 => {
                    self.read(key, |key| Some(subject.call_anew(key)));
                    self.lane.add(Count::Refresh, 1);
                }
                91..94 => self.read(key, |key| subject.peek(key)),
                94..98 => self.set(key),
                98 => self.change_all(|subject| subject.clear_all()),
                _ => self.change_all(|subject| subject.clear_everything()),
            }
        }
    }

    #[inline]
    fn read(&self, key: usize, call: impl FnOnce(u64) -> Option<u64>) {
        let floor = self.history.floor(key).load(Ordering::SeqCst);
        if let Some(version) = call(key as u64) {
            self.lane.check(key, floor, version);
        }
    }

    /// Whether this worker alone writes versions of a key, so that it may also set them. Every other key everybody changes.
    fn owns(&self, key: usize) -> bool {
        key % 2 == 1 && key / 2 % self.orders.workers == self.orders.number
    }

    fn change(&self, key: usize) {
        if key % 2 == 1 && !self.owns(key) {
            return self.clear(key);
        }
        let _alone = self.alone_with(key);
        let version = self.next_version(key);
        self.lane.note(Event::Change, key, version);
        self.clear(key);
        self.lane.note(Event::Changed, key, version);
        self.raise(key, version);
    }

    fn clear(&self, key: usize) {
        for subject in self.subjects {
            subject.clear(key as u64);
        }
        self.lane.add(Count::Clear, self.subjects.len() as u64);
    }

    fn change_all(&self, clear: impl Fn(&dyn Subject)) {
        let versions: Vec<_> = (0..self.orders.keys)
            .step_by(2)
            .map(|key| {
                let version = self.next_version(key);
                self.lane.note(Event::Change, key, version);
                (key, version)
            })
            .collect();
        for subject in self.subjects {
            clear(*subject);
        }
        self.lane.add(Count::Clear, self.subjects.len() as u64);
        for (key, version) in versions {
            self.lane.note(Event::Changed, key, version);
            self.raise(key, version);
        }
    }

    fn set(&self, key: usize) {
        if !self.owns(key) {
            return;
        }
        let _alone = self.alone_with(key);
        let version = self.next_version(key);
        for subject in self.subjects {
            subject.set(key as u64, version);
        }
        self.lane.add(Count::Set, self.subjects.len() as u64);
        self.lane.note(Event::Set, key, version);
        self.raise(key, version);
    }

    fn alone_with(&self, key: usize) -> Option<impl Sized + '_> {
        (key % 2 == 1).then(|| self.own_keys.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn next_version(&self, key: usize) -> u64 {
        self.history.database(key).fetch_add(1, Ordering::SeqCst) + 1
    }

    fn raise(&self, key: usize, version: u64) {
        self.history.floor(key).fetch_max(version, Ordering::SeqCst);
    }
}
