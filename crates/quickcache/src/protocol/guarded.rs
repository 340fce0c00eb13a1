//! A machine under a mutex, and what its two Rust drivers share: the cell of a flight, and guards that end what was begun
//! however the scope is left, so that a panic or a dropped future keeps nobody waiting. How a call waits is told in
//! `blocking` and `asynchronous`.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError};

use super::machine::{
    Call, Clearing, Enter, FlightId, Following, Join, KeyOf, Machine, Seq, StoreId, Ticket,
    ValidFrom,
};
use super::shim::{Mutex, MutexGuard, forks, thread_local};
use super::signal::Signal;

/// No code of a user runs under these locks but `K::eq`, and no transition is half done when that panics.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The protocol of this process. One for all functions if it can be: cycles of functions are seen inside one only.
pub struct Guarded<K: Eq + Clone, V: Clone> {
    machine: Mutex<Machine<K, Arc<Cell<V>>>>,
    /// The process the flights belong to, by `forks`.
    process: AtomicU32,
    /// Raised when a store ends for which a clear may be waiting.
    pub(super) stores_ended: Signal,
}

/// A call that missed.
pub struct Asked<'a, K> {
    pub key: KeyOf<'a, K>,
    /// The machine-wide generation of the key, or 0.
    pub generation: u64,
}

/// What the life of a call is made of; what the types of the steps are, each driver says.
pub struct Steps<L, F, S, D, P> {
    /// Reads the tiers, the memory tier (again) first.
    pub look: L,
    /// Runs the function.
    pub compute: F,
    /// Stores into the tiers without compare-and-set; `None` if there are none.
    pub store: Option<S>,
    /// Deletes what `store` has set, outermost tier first: a clear has overtaken it.
    pub unstore: D,
    /// Keeps the value in the memory tier. It runs under the guard: short, and no code of a user. What it returns (entries
    /// that were evicted) is dropped outside.
    pub keep: P,
}

/// What `look` found.
pub struct Found<V> {
    pub value: V,
    /// It comes from a slower tier: call `store` and `keep` with it. (They know from `look` which tiers lack it.)
    pub backfill: bool,
}

/// Where a leader leaves its result.
pub struct Cell<V> {
    outcome: Mutex<Option<Outcome<V>>>,
    pub(super) landed: Signal,
}

enum Outcome<V> {
    Landed(V, ValidFrom),
    /// The leader was cancelled or panicked: its followers enter again.
    Abandoned,
}

impl<V: Clone> Cell<V> {
    fn settle(&self, outcome: Outcome<V>) {
        lock(&self.outcome).get_or_insert(outcome);
        self.landed.raise();
    }
}

/// Settles a cell in any case, so that no follower waits for a leader that panicked after its flight had landed.
struct Unsettled<V: Clone>(Arc<Cell<V>>);

impl<V: Clone> Drop for Unsettled<V> {
    fn drop(&mut self) {
        // Nobody joins a landed flight: when this is the only handle, nobody waits.
        if Arc::strong_count(&self.0) > 1 {
            self.0.settle(Outcome::Abandoned);
        }
    }
}

impl<K: Eq + Clone, V: Clone> Default for Guarded<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Eq + Clone, V: Clone> Guarded<K, V> {
    pub fn new() -> Self {
        Guarded {
            machine: Mutex::new(Machine::new()),
            process: AtomicU32::new(forks()),
            stores_ended: Signal::default(),
        }
    }

    /// The guard, for what no driver does.
    pub fn lock(&self) -> MutexGuard<'_, Machine<K, Arc<Cell<V>>>> {
        lock(&self.machine)
    }

    /// Every lock that is not a flight's own, held until this is dropped: for the moment of a fork.
    pub fn hold(&self) -> impl Sized + '_ {
        let machine = self.lock();
        (machine, self.stores_ended.hold())
    }

    /// Clears a key whose only tier is the memory tier. `remove` runs under the guard, as `keep` does.
    pub fn clear<R>(&self, key: KeyOf<'_, K>, remove: impl FnOnce() -> R) -> R {
        let mut machine = self.lock();
        machine.clear(key);
        remove()
    }

    /// Replaces the value of a key whose only tier is the memory tier: skip_arg, refresh, set_cached_value.
    pub fn supersede<R>(
        &self,
        key: KeyOf<'_, K>,
        token: Seq,
        keep: impl FnOnce() -> R,
    ) -> Option<R> {
        let mut machine = self.lock();
        machine.supersede(key, token).then(keep)
    }

    /// May what slower tiers hold of a key be what a clear that has returned was to remove? Asked before they are, after the
    /// call began.
    pub fn doubt(&self, key: KeyOf<'_, K>) -> bool {
        self.lock().doubt(key)
    }

    /// Keeps in the memory tier what a reader without a flight found in a slower one.
    pub fn backfill<R>(
        &self,
        key: KeyOf<'_, K>,
        token: Seq,
        keep: impl FnOnce() -> R,
    ) -> Option<R> {
        let machine = self.lock();
        machine.good(key.function, key.hash, token).then(keep)
    }

    /// Announces a store into the tiers without compare-and-set. `None`: do not store.
    pub fn announce(&self, key: KeyOf<'_, K>, token: Seq) -> Option<Announced<'_, K, V>> {
        let store = self.lock().store_begin(key, token)?;
        Some(Announced {
            protocol: self,
            store: Some(store),
        })
    }

    pub(super) fn begin(&self) -> Seq {
        self.forget_the_parent();
        self.lock().begin()
    }

    /// In the child of a fork: nothing that a thread of the parent had begun will ever end. (Asked once a call, at its
    /// beginning; a fork at the very moment that another thread holds the guard is beyond help.)
    fn forget_the_parent(&self) {
        let process = forks();
        if self.process.load(Ordering::Relaxed) != process
            && self.process.swap(process, Ordering::Relaxed) != process
        {
            let left = self.lock().after_fork_in_child();
            drop(left);
        }
    }

    pub(super) fn enter<'a>(&'a self, asked: &Asked<'a, K>) -> Entered<'a, K, V> {
        let call = Call {
            within: CURRENT.with(|current| current.get()),
            generation: asked.generation,
        };
        let make_cell = || {
            Arc::new(Cell {
                outcome: Mutex::new(None),
                landed: Signal::default(),
            })
        };
        let entered = self.lock().enter(asked.key, call, make_cell);
        match entered {
            Enter::Lead(ticket) | Enter::Alone(ticket) => Entered::Run(Execution {
                protocol: self,
                key: asked.key,
                ticket: Some(ticket),
            }),
            Enter::Follow(following, cell) => Entered::Wait(Waiting {
                protocol: self,
                key: asked.key,
                following: Some(following),
                cell,
            }),
        }
    }
}

/// A store that was announced; it ends when this is dropped.
pub struct Announced<'a, K: Eq + Clone, V: Clone> {
    protocol: &'a Guarded<K, V>,
    store: Option<StoreId>,
}

impl<K: Eq + Clone, V: Clone> Announced<'_, K, V> {
    /// Asked when it has set: must it remove that?
    pub(super) fn overtaken(&self) -> bool {
        let store = self.store.as_ref();
        store.is_some_and(|store| self.protocol.lock().overtaken(store))
    }
}

impl<K: Eq + Clone, V: Clone> Drop for Announced<'_, K, V> {
    fn drop(&mut self) {
        if let Some(store) = self.store.take() {
            let ended = self.protocol.lock().store_end(store);
            if ended.wake {
                self.protocol.stores_ended.raise();
            }
        }
    }
}

pub(super) enum Entered<'a, K: Eq + Clone, V: Clone> {
    Run(Execution<'a, K, V>),
    Wait(Waiting<'a, K, V>),
}

/// A leader, or a call that runs alone. Dropped before it landed, it abandons its flight.
pub(super) struct Execution<'a, K: Eq + Clone, V: Clone> {
    protocol: &'a Guarded<K, V>,
    key: KeyOf<'a, K>,
    ticket: Option<Ticket>,
}

impl<K: Eq + Clone, V: Clone> Execution<'_, K, V> {
    pub(super) fn flight(&self) -> Option<FlightId> {
        self.ticket.as_ref().and_then(Ticket::flight)
    }

    pub(super) fn announce(&self) -> Option<Announced<'_, K, V>> {
        self.protocol
            .announce(self.key, self.ticket.as_ref()?.token())
    }

    /// `keep` is `None` for a value that the memory tier gave.
    pub(super) fn land<R>(
        mut self,
        value: &V,
        valid_from: ValidFrom,
        keep: Option<impl FnOnce(&V) -> R>,
    ) {
        let Some(ticket) = self.ticket.take() else {
            return;
        };
        let mut machine = self.protocol.lock();
        let landed = machine.land(ticket);
        let left = landed.left.map(|(key, cell)| (key, Unsettled(cell)));
        let evicted = keep.filter(|_| landed.good).map(|keep| keep(value));
        drop(machine);
        if let Some((_, Unsettled(cell))) = &left
            && Arc::strong_count(cell) > 1
        {
            cell.settle(Outcome::Landed(value.clone(), valid_from));
        }
        drop(evicted);
    }
}

impl<K: Eq + Clone, V: Clone> Drop for Execution<'_, K, V> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            let left = self.protocol.lock().abandon(ticket);
            drop(left.map(|(key, cell)| (key, Unsettled(cell))));
        }
    }
}

/// A follower. Dropped, it waits no longer.
pub(super) struct Waiting<'a, K: Eq + Clone, V: Clone> {
    protocol: &'a Guarded<K, V>,
    key: KeyOf<'a, K>,
    following: Option<Following>,
    pub(super) cell: Arc<Cell<V>>,
}

impl<'a, K: Eq + Clone, V: Clone> Waiting<'a, K, V> {
    /// What a call that began at `started` may take from the flight that ended; `None`: it enters again.
    pub(super) fn take(self, started: Seq) -> Option<V> {
        match &*lock(&self.cell.outcome) {
            Some(Outcome::Landed(value, valid_from)) => {
                let join = Machine::<K, Arc<Cell<V>>>::validate(started, *valid_from);
                (join == Join::Take).then(|| value.clone())
            }
            Some(Outcome::Abandoned) | None => None,
        }
    }

    /// Its patience is over.
    pub(super) fn give_up(mut self) -> Option<Execution<'a, K, V>> {
        let ticket = self
            .protocol
            .lock()
            .give_up(self.key, self.following.take()?);
        Some(Execution {
            protocol: self.protocol,
            key: self.key,
            ticket: Some(ticket),
        })
    }
}

impl<K: Eq + Clone, V: Clone> Drop for Waiting<'_, K, V> {
    fn drop(&mut self) {
        if let Some(following) = self.following.take() {
            self.protocol.lock().wait_end(following);
        }
    }
}

/// A clear, or a superseding store, in tiers without compare-and-set. Dropped, it ends, with `last` under the guard: that
/// removes the entry from the memory tier, or keeps the new value there if it is told that it still stands.
pub(super) struct Changing<'a, K: Eq + Clone, V: Clone, P: FnOnce(bool) -> R, R> {
    protocol: &'a Guarded<K, V>,
    key: KeyOf<'a, K>,
    clearing: Option<Clearing>,
    last: Option<P>,
    /// The slower tiers were written, not left by a panic or a cancellation.
    pub(super) done: bool,
}

impl<'a, K: Eq + Clone, V: Clone, P: FnOnce(bool) -> R, R> Changing<'a, K, V, P, R> {
    /// `begin` is one of the machine's `clear_begin` and `supersede_begin`.
    pub(super) fn begin(
        protocol: &'a Guarded<K, V>,
        key: KeyOf<'a, K>,
        begin: impl FnOnce(&mut Machine<K, Arc<Cell<V>>>) -> Option<Clearing>,
        last: P,
    ) -> Option<Self> {
        protocol.forget_the_parent();
        let clearing = begin(&mut protocol.lock())?;
        Some(Changing {
            protocol,
            key,
            clearing: Some(clearing),
            last: Some(last),
            done: false,
        })
    }

    /// The round of `stores_ended` to wait for, while stores of the key are still running.
    pub(super) fn stores_running(&self) -> Option<u64> {
        let machine = self.protocol.lock();
        let running = machine.stores_running(self.clearing.as_ref()?);
        (running > 0).then(|| self.protocol.stores_ended.round())
    }

    /// It waits for no store.
    pub(super) fn overtake(&self) {
        if let Some(clearing) = &self.clearing {
            self.protocol.lock().overtake(clearing);
        }
    }

    /// Of a superseding store that has set: must it remove that?
    pub(super) fn overtaken(&self) -> bool {
        let machine = self.protocol.lock();
        let clearing = self.clearing.as_ref();
        clearing.is_some_and(|clearing| machine.superseding_overtaken(clearing))
    }
}

impl<K: Eq + Clone, V: Clone, P: FnOnce(bool) -> R, R> Drop for Changing<'_, K, V, P, R> {
    fn drop(&mut self) {
        let (Some(clearing), Some(last)) = (self.clearing.take(), self.last.take()) else {
            return;
        };
        let mut machine = self.protocol.lock();
        let ended = machine.clear_end(self.key, clearing);
        let removed = last(ended.stands && self.done);
        drop(machine);
        if ended.wake {
            self.protocol.stores_ended.raise();
        }
        drop((ended.left, removed));
    }
}

thread_local! {
    /// The innermost flight whose execution runs on this thread now.
    static CURRENT: std::cell::Cell<Option<FlightId>> = const { std::cell::Cell::new(None) };
    static ALONE: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };

    /// Code of a user's cache that stores runs on this thread now.
    static STORING: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// For as long as it lives, clears on this thread are made from inside a store, and wait for none.
pub(super) struct Storing(bool);

impl Storing {
    pub(super) fn enter() -> Self {
        Storing(STORING.with(|storing| storing.replace(true)))
    }

    pub(super) fn now() -> bool {
        STORING.with(|storing| storing.get())
    }
}

impl Drop for Storing {
    fn drop(&mut self) {
        STORING.with(|storing| storing.set(self.0));
    }
}

/// For as long as it lives, calls on this thread are made within a flight. A call that runs alone changes nothing.
pub(super) struct Inside(Option<FlightId>, bool);

impl Inside {
    pub(super) fn enter(flight: Option<FlightId>) -> Self {
        let alone = ALONE.with(|alone| alone.replace(flight.is_none()));
        let before = CURRENT.with(|current| current.replace(flight.or(current.get())));
        Inside(before, alone)
    }
}

/// Whether the call that takes a step now runs alone, from inside a flight of its key: whoever else has the right to store may be waiting for it.
pub fn runs_alone() -> bool {
    ALONE.with(std::cell::Cell::get)
}

impl Drop for Inside {
    fn drop(&mut self) {
        CURRENT.with(|current| current.set(self.0));
        ALONE.with(|alone| alone.set(self.1));
    }
}
