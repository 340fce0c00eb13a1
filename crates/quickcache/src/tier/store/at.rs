//! A function at a store, and one call of it there: what both fronts do with a store, whatever they make of values.

use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use super::later;
use super::opened::{PROOF, REACH};
use super::proof::{Proven, Proving};
use super::{Guard, Lease, Opened, Shared, Spot, Stamp, StoreKey, Turn, Unstored, Waiting, Watch};
use crate::clock::Millis;
use crate::entry::{Entry, Rejected};
use crate::tier::memory::Found;

/// A function at a store.
pub struct AtStore {
    shared: &'static Shared,
    /// What its keys begin with: names it in the table.
    name: Box<[u8]>,
    /// What is behind it.
    proven: Option<Proven>,
    /// At the store as it was opened last; null before that.
    bound: AtomicPtr<Bound>,
}

/// A function at an open store. Made again when another table takes the place of one, and never dropped.
pub struct Bound {
    opened: &'static Opened,
    function: u32,
    watched: Watched,
}

/// What the hits of a function in the memory tier look at: what was cleared, and whether it is proven that this is all there is.
#[derive(Clone, Copy)]
pub struct Watched {
    watch: Watch<'static>,
    proving: Proving,
}

impl Watched {
    /// Whether an entry may be handed out.
    #[inline(always)]
    pub fn holds<P, A>(&self, found: &Found<'_, P, A>) -> bool {
        self.proving.holds() && found.holds(&self.watch)
    }

    /// The same, by the proof of another one if this needs none: of two functions that share their entries.
    #[must_use]
    pub fn proven_as(self, other: Watched) -> Self {
        match self.proving {
            Proving::Needless => Watched {
                proving: other.proving,
                ..self
            },
            _ => self,
        }
    }
}

impl AtStore {
    /// A function by its name: functions of one name share what they store, in every process. With the tier behind it, if there is
    /// one that several machines share.
    #[must_use]
    pub fn new(shared: &'static Shared, name: &[u8], proven: Option<Proven>) -> Self {
        AtStore {
            shared,
            name: name.into(),
            proven,
            bound: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// The store.
    pub fn shared(&self) -> &'static Shared {
        self.shared
    }

    /// Whether an entry of the memory tier may be handed out: nobody on the machine has cleared it. What a hit asks.
    #[inline(always)]
    pub fn holds<P, A>(&self, found: &Found<'_, P, A>) -> bool {
        // SAFETY: what is put here is leaked.
        let bound = unsafe { self.bound.load(Ordering::Acquire).as_ref() };
        bound.is_some_and(|bound| bound.watched.holds(found))
    }

    /// At the store as it is open now; `None` if it cannot be opened, which has been counted and, once, logged.
    pub fn bound(&self) -> Option<&'static Bound> {
        Some(self.bound_to(self.shared.open()?))
    }

    /// The same, for a clear: one that finds no store is made up for when there is one.
    pub fn bound_to_clear(&self) -> Option<&'static Bound> {
        Some(self.bound_to(self.shared.open_to_clear()?))
    }

    fn bound_to(&self, opened: &'static Opened) -> &'static Bound {
        // SAFETY: as above.
        let bound = unsafe { self.bound.load(Ordering::Acquire).as_ref() };
        match bound {
            Some(bound) if ptr::eq(bound.opened, opened) => bound,
            _ => self.bind(opened),
        }
    }

    #[cold]
    fn bind(&self, opened: &'static Opened) -> &'static Bound {
        let function = opened.function(&self.name);
        let bound = Box::leak(Box::new(Bound {
            opened,
            function,
            watched: Watched {
                watch: opened.watch(function),
                proving: match self.proven {
                    None => Proving::Needless,
                    Some(proven) => match opened.network(proven.id) {
                        Some(words) if proven.while_out => {
                            Proving::ByOrOut(&words[PROOF], &words[REACH])
                        }
                        Some(words) => Proving::By(&words[PROOF]),
                        None => Proving::Never,
                    },
                },
            },
        }));
        // Two threads may do it at once: either will do, they say the same.
        self.bound.store(bound, Ordering::Release);
        bound
    }
}

impl Bound {
    /// What the hits of the function look at.
    #[must_use]
    pub fn watched(&self) -> Watched {
        self.watched
    }

    /// The present generation of a key, read now.
    #[must_use]
    pub fn see(&'static self, key: StoreKey) -> Seen {
        let spot = self.opened.spot(key);
        Seen {
            bound: self,
            stamp: self.opened.stamp(self.function, &spot),
            spot,
            lease: None,
        }
    }

    /// Whether a key can be looked for without waiting for the disk.
    #[must_use]
    pub fn is_near(&self, key: StoreKey) -> bool {
        self.opened.is_near(&self.opened.spot(key))
    }

    /// Reads what there is of a key, so that it is near.
    pub fn fetch(&self, key: StoreKey, now: Millis) {
        self.opened.fetch(&self.opened.spot(key), now);
    }

    /// Clears a key in every process.
    pub fn clear(&self, key: StoreKey) {
        self.opened.clear(&self.opened.spot(key));
    }

    /// Clears every key of the function in every process.
    pub fn clear_all(&self) {
        self.opened.clear_function(self.function);
    }
}

/// What a call knows of its key in a store. It keeps the lease, if it has one, until it is dropped.
pub struct Seen {
    bound: &'static Bound,
    spot: Spot,
    stamp: Stamp,
    lease: Option<Lease>,
}

/// What a call is to do next.
pub enum Next<T> {
    /// It has the value.
    Found(T),
    /// Run the function.
    Run,
    /// Another process runs it: wait, then ask again, with this.
    Wait(Waiting),
}

impl Seen {
    /// The generation that flights are joined by, and that a value is stored under.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.stamp.sum
    }

    /// What an entry of the memory tier is to carry.
    #[must_use]
    pub fn guard(&self) -> Guard {
        self.stamp.guard()
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &StoreKey {
        self.spot.key()
    }

    /// Where it is open.
    #[must_use]
    pub fn opened(&self) -> &'static Opened {
        self.bound.opened
    }

    /// The value at this generation. `read` decodes an entry, or refuses it.
    ///
    /// # Errors
    /// If there is an entry that is damaged, or that `read` refuses.
    pub fn get<T>(
        &self,
        now: Millis,
        read: impl FnMut(&Entry<'_>) -> Option<T>,
    ) -> Result<Option<T>, Rejected> {
        let Bound {
            opened,
            function,
            watched,
        } = self.bound;
        // Before the table, which `get` looks at once more at its end.
        if !watched.proving.holds() {
            return Ok(None);
        }
        opened.get(*function, &self.spot, self.stamp, now, read)
    }

    /// Looks for the value; if it is not there, claims the right to run the function. `look` is `get` with what the front makes of it.
    /// With `patience_is_over` nobody is waited for.
    pub fn turn<T>(
        &mut self,
        waiting: Option<&Waiting>,
        patience_is_over: bool,
        mut look: impl FnMut(&Seen) -> Option<T>,
    ) -> Next<T> {
        if let Some(found) = self.look_now(&mut look) {
            return Next::Found(found);
        }
        let lease = match waiting.and_then(|waiting| waiting.take_over(patience_is_over)) {
            Some(lease) => Some(lease),
            None => match self.bound.opened.claim(&self.spot, self.stamp) {
                Turn::Lead(lease) => lease,
                Turn::Wait(waiting) => return Next::Wait(waiting),
            },
        };
        // Whoever had it may have stored between the look and the claim.
        if let Some(found) = self.look_now(&mut look) {
            return Next::Found(found);
        }
        self.lease = lease;
        Next::Run
    }

    /// At the generation of this very moment, which is no older than the one the call began in.
    fn look_now<T>(&mut self, look: &mut impl FnMut(&Seen) -> Option<T>) -> Option<T> {
        self.stamp = self.bound.opened.stamp(self.bound.function, &self.spot);
        look(self)
    }

    /// Stores an entry, which the store's seal has made for this key and generation. If that is no longer the present one nobody would
    /// find it, and it would take the place of what may be there by now: then this does nothing.
    ///
    /// # Errors
    /// If it is not stored.
    pub fn put(&self, entry: &[u8]) -> Result<(), Unstored> {
        let Bound {
            opened, function, ..
        } = self.bound;
        if !opened.stands(*function, self.stamp) {
            return Ok(());
        }
        opened.put(*function, &self.spot, entry)
    }

    /// As `put`, by another thread: for async calls, which may not wait for a disk. It takes the lease along, and releases it when it
    /// is done.
    pub fn put_later(&mut self, shared: &'static Shared, entry: Vec<u8>) {
        let seen = Seen {
            lease: self.lease.take(),
            ..*self
        };
        later::put(shared, seen, entry);
    }

    /// For a value that is no fill, whose execution began after this was seen: takes the key over, so that it may be stored at the
    /// generation that is seen from now on. `false`: something came between, it may not be stored, and nothing older stays either.
    #[must_use]
    pub fn supersede(&mut self) -> bool {
        match self.bound.opened.supersede(self.stamp) {
            Some(stamp) => {
                self.stamp = stamp;
                true
            }
            None => {
                self.bound.opened.clear(&self.spot);
                false
            }
        }
    }
}
