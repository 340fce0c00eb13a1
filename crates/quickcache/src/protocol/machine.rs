//! The protocol of one process: who runs a function, who waits for it, and whose value may be stored.
//!
//! A [`Machine`] is told events and answers with the next step. It does no I/O, has no clock, no thread and no lock: its
//! driver guards it (a mutex in Rust, the GIL in Python) and does what it says. Every transition is short, and none of
//! them calls back, drops a key or drops a cell: what is left over goes to the driver, to be dropped outside the guard.
//! Why the promises follow from these transitions is told in `docs/protocol.md`.
//!
//! Use one machine per process. A cycle of functions is seen only inside one machine; over two machines patience ends it.
//!
//! The life of a call that missed, and of a clear, over a memory tier and tiers without compare-and-set:
//!
//! ```text
//! started = begin()
//! enter ── Lead(ticket) ──► look again ► slower tiers ► run ► store_begin ► set ► store_end ► land + memory tier ► wake
//!      ├── Follow(f, cell) ► wait for the cell ► wait_end(f) ► validate: Take, or Again: enter once more
//!      │                     patience over ► give_up(f): run, do not store
//!      └── Alone(ticket) ──► run ► (store as a leader does) ► land
//!
//! clear_begin ► wait until stores_running() == 0 ► delete, outermost tier first ► clear_end + memory tier
//!          └──► overtake: may not wait ──────────┘ and each of those stores: set ► overtaken ► delete ► store_end
//! ```
//!
//! `a + b` means: under one hold of the guard.

use std::sync::atomic::{AtomicU64, Ordering};

pub use super::flights::FlightId;
use super::flights::Flights;
pub use super::generations::{FunctionId, KeyOf, Seq};
use super::generations::{Generations, SLOTS};
use super::stores::{Last, Stores};

/// What a call says about itself when it enters.
#[derive(Clone, Copy, Default, Debug)]
pub struct Call {
    /// The flight whose execution makes this call: the innermost one on this thread or task (a thread-local, a context
    /// variable). It is what tells a call that would wait for itself. `None` outside of every flight.
    pub within: Option<FlightId>,
    /// The machine-wide generation of the key, read after the call began; 0 where there is none. A flight is joined by
    /// calls of its own generation only.
    pub generation: u64,
}

/// The answer to a call that missed.
#[derive(Debug)]
#[must_use]
pub enum Enter<C> {
    /// Run the function; others wait for it. Ends with [`Machine::land`], or [`Machine::abandon`].
    Lead(Ticket),
    /// Wait for the cell. Ends with [`Machine::wait_end`], or [`Machine::give_up`].
    Follow(Following, C),
    /// Waiting would be waiting for oneself: run the function, nobody waits for it. Ends with [`Machine::land`].
    Alone(Ticket),
}

/// The right and the duty to run the function.
#[derive(Debug)]
#[must_use]
pub struct Ticket {
    flight: Option<FlightId>,
    function: FunctionId,
    hash: u64,
    token: Seq,
}

impl Ticket {
    /// `within` for the calls this execution makes; `None` if it is not a flight (then keep the one around it).
    pub fn flight(&self) -> Option<FlightId> {
        self.flight
    }

    /// The moment before any tier was read for this execution. Never good if its result must not be stored.
    pub fn token(&self) -> Seq {
        self.token
    }
}

/// A follower's place in a flight.
#[derive(Debug)]
#[must_use]
pub struct Following {
    flight: FlightId,
    within: Option<FlightId>,
}

impl Following {
    pub fn flight(&self) -> FlightId {
        self.flight
    }
}

/// From when on a flight's result is as fresh as an execution of the caller's own. The leader leaves it in the cell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ValidFrom {
    /// Every clear that matters detaches flights of this machine: whoever was let in may take the result.
    Joined,
    /// Clears elsewhere are not seen here: only calls that began by then may take it. `now()` at the instant before the
    /// read was sent (a hit in a shared tier), before the fill was sent (accepted), before the function began (not
    /// stored; for a function that raised see protocols 2.8, rule 10).
    At(Seq),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Join {
    Take,
    /// Enter again, with the same `started`. The next flight began after this one ended, so it is the last one.
    Again,
}

/// How a flight ended.
#[derive(Debug)]
#[must_use]
pub struct Landed<K, C> {
    /// May the value be kept in a tier that is written under this same hold of the guard?
    pub good: bool,
    /// The cell to fill and wake, and the key to drop, outside the guard. `None` for a call that ran alone.
    pub left: Option<(K, C)>,
}

/// A store on its way into a tier without compare-and-set.
#[derive(Debug)]
#[must_use]
pub struct StoreId {
    function: FunctionId,
    hash: u64,
    id: u64,
    token: Seq,
}

/// A clear, or a superseding store, between its begin and its end.
#[derive(Debug)]
#[must_use]
pub struct Clearing {
    function: FunctionId,
    hash: u64,
    /// The stores of the key that ran when it began: none begins before it ends.
    stores: Option<u64>,
    /// How many of those are its own: 1 for a superseding store.
    own: u32,
    moved: Seq,
    /// Of a superseding store: when its execution began.
    superseding: Option<Seq>,
}

/// How a store, a clear or a superseding store ended.
#[derive(Debug)]
#[must_use]
pub struct Ended<K> {
    /// Nothing cleared the key meanwhile: the value may be kept in the tiers written under this hold of the guard.
    pub stands: bool,
    /// Someone may be waiting for the end of stores: wake all who wait for that.
    pub wake: bool,
    /// To drop outside the guard.
    pub left: Option<K>,
}

/// The protocol as a state machine; see the head of this file.
pub struct Machine<K, C> {
    pub(super) generations: Generations,
    flights: Flights<K, C>,
    stores: Stores<K>,
    next_flight: u64,
}

impl<K: Eq + Clone, C: Clone> Default for Machine<K, C> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Eq + Clone, C: Clone> Machine<K, C> {
    pub fn new() -> Self {
        Self::with_slots(SLOTS)
    }

    /// With this many clear words (rounded up to a power of two; 16 bytes each). Fewer words refuse more fills.
    pub fn with_slots(slots: usize) -> Self {
        // Ids of two machines differ, so that `within` of one means nothing in the other.
        static MACHINES: AtomicU64 = AtomicU64::new(0);
        Machine {
            generations: Generations::new(slots),
            flights: Flights::new(),
            stores: Stores::new(),
            next_flight: MACHINES.fetch_add(1, Ordering::Relaxed) << 40,
        }
    }

    // ---- time ----

    /// The present moment: a token, read at or before the start of an execution; a [`ValidFrom::At`].
    pub fn now(&self) -> Seq {
        self.generations.now()
    }

    /// A call begins (at the latest moment before its first `enter`). Differs from every moment read before it.
    pub fn begin(&mut self) -> Seq {
        self.generations.tick()
    }

    /// May a value whose execution (or whose read of a slower tier) began at `token` be kept for this key? Only true
    /// for as long as the guard is held; a tier written later needs [`Machine::store_begin`].
    pub fn good(&self, function: FunctionId, hash: u64, token: Seq) -> bool {
        self.generations.good(function, hash, token)
    }

    /// When `clear_all` of this function or `clear_everything` came last: entries of a smaller token are misses.
    pub fn cleared_at(&self, function: FunctionId) -> Seq {
        self.generations.cleared_at(function)
    }

    // ---- calls ----

    /// A call missed. At most one flight per key can be joined; a call that may not join it takes its place.
    pub fn enter(
        &mut self,
        key: KeyOf<'_, K>,
        call: Call,
        make_cell: impl FnOnce() -> C,
    ) -> Enter<C> {
        if let Some((id, flight)) = self.flights.attached(key) {
            let cleared = self.cleared_at(key.function);
            if flight.generation != call.generation || flight.began < cleared {
                self.flights.detach(id);
            } else {
                let cell = flight.cell.clone();
                let within = call.within;
                if within.is_some_and(|within| self.flights.depends_on(id, within)) {
                    return Enter::Alone(self.ticket(key, None));
                }
                self.flights.needs(within, id);
                return Enter::Follow(Following { flight: id, within }, cell);
            }
        }
        self.next_flight += 1;
        let id = FlightId(self.next_flight);
        let ticket = self.ticket(key, Some(id));
        let began = ticket.token;
        self.flights
            .insert(id, key, call.generation, began, make_cell(), call.within);
        Enter::Lead(ticket)
    }

    /// A follower woke up (or was cancelled): it waits no longer.
    pub fn wait_end(&mut self, following: Following) {
        self.flights
            .needs_no_longer(following.within, following.flight);
    }

    /// A follower's patience is over. It runs the function itself; the ticket's token is never good, so nothing is stored.
    pub fn give_up(&mut self, key: KeyOf<'_, K>, following: Following) -> Ticket {
        self.wait_end(following);
        Ticket {
            token: Seq::NEVER,
            ..self.ticket(key, None)
        }
    }

    /// May a follower that began at `started` take what it found in the cell, value or exception?
    pub fn validate(started: Seq, valid_from: ValidFrom) -> Join {
        match valid_from {
            ValidFrom::At(instant) if started > instant => Join::Again,
            ValidFrom::At(_) | ValidFrom::Joined => Join::Take,
        }
    }

    /// The execution ended, with a value or an exception. Later calls do not see the flight any more.
    pub fn land(&mut self, ticket: Ticket) -> Landed<K, C> {
        let good = self.good(ticket.function, ticket.hash, ticket.token);
        Landed {
            good,
            left: self.abandon(ticket),
        }
    }

    /// The execution ended with nothing (cancelled, panicked): its followers enter again, and one of them leads.
    pub fn abandon(&mut self, ticket: Ticket) -> Option<(K, C)> {
        let flight = self.flights.remove(ticket.flight?)?; // none in the child of a fork
        Some((flight.key, flight.cell))
    }

    /// Later calls do not see this flight; those who wait for it still do. (A clear does this; so does an event loop that
    /// is closed with the flight in it.)
    pub fn detach(&mut self, id: FlightId) {
        self.flights.detach(id);
    }

    // ---- clears ----

    /// Clears a key in one step: for tiers whose entry is removed under this same hold of the guard.
    pub fn clear(&mut self, key: KeyOf<'_, K>) {
        self.move_on(key);
    }

    /// Begins to clear a key in tiers without compare-and-set. Then wait for [`Machine::stores_running`] to be 0, delete
    /// outermost tier first, and call [`Machine::clear_end`], whatever happened. Until then no store of the key begins.
    pub fn clear_begin(&mut self, key: KeyOf<'_, K>) -> Clearing {
        self.change_begin(key, None)
    }

    fn change_begin(&mut self, key: KeyOf<'_, K>, superseding: Option<Seq>) -> Clearing {
        let moved = self.move_on_for(key, superseding);
        self.generations.close(key.function, key.hash);
        let stores = self.stores.id(key);
        Clearing {
            function: key.function,
            hash: key.hash,
            stores,
            own: 0,
            moved,
            superseding,
        }
    }

    /// The stores this clear has to wait for.
    pub fn stores_running(&self, clearing: &Clearing) -> u32 {
        let stores = clearing.stores;
        stores.map_or(0, |id| self.stores.count(clearing.hash, id) - clearing.own)
    }

    /// The stores this clear would have to wait for are *overtaken*: it waits for none of them. For a clear that is made from
    /// inside a store, of whichever key (two that waited for each other's stores would wait for ever), or whose patience is
    /// over. Each of those stores, when it has set, asks [`Machine::overtaken`], and removes what it has set. Until the last of
    /// them has ended no other store of the key begins, and what slower tiers say of it is in [`Machine::doubt`].
    pub fn overtake(&mut self, clearing: &Clearing) {
        if self.stores_running(clearing) > 0
            && let Some(id) = clearing.stores
            && self.stores.overtake(clearing.hash, id)
        {
            self.generations.close(clearing.function, clearing.hash);
        }
    }

    /// A clear may have returned while a store of this key still runs: a slower tier may hold, or get, the old value. Asked by
    /// whoever is about to read one, after its call began; then it is a miss.
    pub fn doubt(&self, key: KeyOf<'_, K>) -> bool {
        let stores = self.stores.id(key);
        stores.is_some_and(|id| self.stores.overtaken(key.hash, id))
    }

    /// Does a clear of this key run? Until it ends nothing is stored. For tiers that go by generations of their own, and so need
    /// not announce their stores.
    pub fn clearing(&self, function: FunctionId, hash: u64) -> bool {
        self.generations.clearing(function, hash) > 0
    }

    /// Ends a clear, or a superseding store: whoever read a slower tier since the begin may have read the old value, so
    /// the generation moves again. Remove the key from the tiers written under the guard, in the same hold.
    pub fn clear_end(&mut self, key: KeyOf<'_, K>, clearing: Clearing) -> Ended<K> {
        let (function, hash) = (clearing.function, clearing.hash);
        self.generations.open(function, hash);
        let stands = self.good(function, hash, clearing.moved);
        self.move_on_for(key, clearing.superseding);
        let left = match clearing.stores {
            Some(id) if clearing.own > 0 => self.end_of_store(function, hash, id),
            _ => None,
        };
        Ended {
            stands,
            wake: self.generations.clearing(function, hash) > 0,
            left,
        }
    }

    /// Clears every key of a function. Tiers compare their entries with [`Machine::cleared_at`].
    pub fn clear_all(&mut self, function: FunctionId) {
        self.generations.clear_all(function);
    }

    /// Clears every key of every function.
    pub fn clear_everything(&mut self) {
        self.generations.clear_everything();
    }

    // ---- stores ----

    /// Announces a store (a fill or a backfill) into a tier without compare-and-set. `None`: do not store.
    pub fn store_begin(&mut self, key: KeyOf<'_, K>, token: Seq) -> Option<StoreId> {
        self.good(key.function, key.hash, token).then(|| {
            let id = self.stores.begin(key);
            StoreId {
                function: key.function,
                hash: key.hash,
                id,
                token,
            }
        })
    }

    /// Must this store, which has set, remove what it has set? Asked before its end.
    pub fn overtaken(&self, store: &StoreId) -> bool {
        self.stores.overtaken(store.hash, store.id)
    }

    /// As [`Machine::overtaken`], of a superseding store.
    pub fn superseding_overtaken(&self, clearing: &Clearing) -> bool {
        let stores = clearing.stores.filter(|_| clearing.own > 0);
        stores.is_some_and(|id| self.stores.overtaken(clearing.hash, id))
    }

    /// The announced store ended, well or not.
    pub fn store_end(&mut self, store: StoreId) -> Ended<K> {
        let (function, hash) = (store.function, store.hash);
        let left = self.end_of_store(function, hash, store.id);
        let wake = self.generations.clearing(function, hash) > 0;
        Ended {
            stands: self.good(function, hash, store.token),
            wake,
            left,
        }
    }

    /// A value that is no fill (skip_arg, refresh, set_cached_value) and whose execution began at `token` replaces what
    /// is there, in tiers written under this same hold of the guard. An older flight does not overwrite it. `false`: a
    /// clear, or another such value whose execution began later, came between; do not store.
    pub fn supersede(&mut self, key: KeyOf<'_, K>, token: Seq) -> bool {
        let may = self.generations.supersedes(key.function, key.hash, token);
        if may {
            self.move_on_for(key, Some(token));
        }
        may
    }

    /// [`Machine::supersede`] for tiers without compare-and-set. As with a clear: wait for [`Machine::stores_running`] to
    /// be 0, set outermost tier first, [`Machine::clear_end`]. A clear that comes between waits for it.
    pub fn supersede_begin(&mut self, key: KeyOf<'_, K>, token: Seq) -> Option<Clearing> {
        let may = self.generations.supersedes(key.function, key.hash, token);
        may.then(|| {
            self.stores.begin(key);
            Clearing {
                own: 1,
                ..self.change_begin(key, Some(token))
            }
        })
    }

    // ---- the rest ----

    /// In the child of a fork, where no other thread lives: no flight, wait, store or clear is left. Drop what is returned
    /// outside the guard.
    pub fn after_fork_in_child(&mut self) -> Vec<(K, Option<C>)> {
        self.generations.open_all();
        let flights = self
            .flights
            .drain()
            .map(|flight| (flight.key, Some(flight.cell)));
        let stores = self.stores.drain().map(|key| (key, None));
        flights.chain(stores).collect()
    }

    /// Nothing runs and nothing is waited for: the machine holds no key.
    pub fn is_idle(&self) -> bool {
        self.flights.is_empty() && self.stores.is_empty()
    }

    /// With the last store that was overtaken the clear that overtook it ends.
    fn end_of_store(&mut self, function: FunctionId, hash: u64, id: u64) -> Option<K> {
        let Last { key, overtaken } = self.stores.end(hash, id)?;
        if overtaken {
            self.generations.open(function, hash);
            let key = &key;
            self.move_on(KeyOf {
                function,
                hash,
                key,
            });
        }
        Some(key)
    }

    fn ticket(&self, key: KeyOf<'_, K>, flight: Option<FlightId>) -> Ticket {
        Ticket {
            flight,
            function: key.function,
            hash: key.hash,
            token: self.now(),
        }
    }

    /// What every clear does: fills of older executions are refused, and later calls do not see the flight.
    pub(super) fn move_on(&mut self, key: KeyOf<'_, K>) -> Seq {
        self.move_on_for(key, None)
    }

    /// For a clear, or for a value whose execution began at `superseding`.
    fn move_on_for(&mut self, key: KeyOf<'_, K>, superseding: Option<Seq>) -> Seq {
        if let Some((id, _)) = self.flights.attached(key) {
            self.flights.detach(id);
        }
        match superseding {
            Some(token) => self.generations.supersede(key.function, key.hash, token),
            None => self.generations.clear(key.function, key.hash),
        }
    }
}
