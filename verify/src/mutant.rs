//! Wrong protocols over the same store, each with one thing left out that the right one does. The checker must find every one of them;
//! what it then says of the right one is worth something. `none` is the same code with nothing left out, and must be found clean.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quickcache::clock;
use quickcache::entry::Head;
use quickcache::tier::memory::{Life, Limits, NEVER, Table, mix};
use quickcache::tier::store::{AtStore, Bound, Next, Seen, Shared, StoreKey};

use crate::subject::Subject;
use crate::worker::execute;

/// What is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    None,
    /// Hits in the memory tier do not look at the table.
    Memory,
    /// The stamp is read when the execution has ended.
    Stamp,
    /// A clear deletes the value, and moves no generation.
    Delete,
    /// Flights are joined without comparing stamps.
    Join,
    /// A clear returns when the memory tier is cleared, and clears the table a little later.
    Order,
    /// A start of the machine has the files as they were at an earlier moment, and the epoch is the same.
    Reboot,
    /// A value that was computed anew is stored without taking the key over.
    Supersede,
}

pub const ALL: [(&str, Mutant); 8] = [
    ("none", Mutant::None),
    ("memory", Mutant::Memory),
    ("stamp", Mutant::Stamp),
    ("delete", Mutant::Delete),
    ("join", Mutant::Join),
    ("order", Mutant::Order),
    ("reboot", Mutant::Reboot),
    ("supersede", Mutant::Supersede),
];

impl Mutant {
    pub fn name(self) -> &'static str {
        ALL.iter()
            .find(|(_, of)| *of == self)
            .map_or("", |(name, _)| name)
    }
}

/// A cached function written by hand.
pub struct Wrong {
    mutant: Mutant,
    store: AtStore,
    /// Versions by key.
    memory: Mutex<Table<(u64, u64)>>,
    flights: Mutex<HashMap<u64, Arc<Flight>>>,
    /// Clears that have returned and are yet to be done.
    owed: Mutex<Vec<u64>>,
}

struct Flight {
    generation: u64,
    version: Mutex<Option<u64>>,
    landed: Condvar,
}

const LIFE: u64 = 2000;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn key_of(key: u64) -> StoreKey {
    StoreKey::of_text(&key.to_string())
}

impl Wrong {
    pub fn new(mutant: Mutant, folder: &Path) -> Wrong {
        let shared = Shared::of(Some(&folder.join("store")), 256 << 10);
        Wrong {
            mutant,
            store: AtStore::new(shared, b"verified", None),
            memory: Mutex::new(Table::new(Limits::NONE)),
            flights: Mutex::default(),
            owed: Mutex::default(),
        }
    }

    fn bound(&self) -> &'static Bound {
        self.store.bound().expect("the store can be opened")
    }

    fn in_memory(&self, key: u64) -> Option<u64> {
        let memory = lock(&self.memory);
        let found = memory.look(mix(key, 0), |(of, _)| *of == key)?;
        let holds = self.mutant == Mutant::Memory || self.store.holds(&found);
        holds.then(|| found.payload().1)
    }

    fn keep(&self, key: u64, seen: &Seen, version: u64) {
        let life = Life {
            deadline: NEVER,
            born: 0,
            guard: seen.guard(),
        };
        let same = |(of, _): &(u64, u64)| *of == key;
        let mut out = Vec::new();
        lock(&self.memory).insert_for(mix(key, 0), (key, version), 0, life, 0, same, &mut out);
    }

    fn forget(&self, key: u64) {
        lock(&self.memory).remove(mix(key, 0), |(of, _)| *of == key);
    }

    /// The value of the store or of an execution.
    fn lead(&self, key: u64, seen: &mut Seen) -> u64 {
        let mut waiting = None;
        for turn in 0.. {
            match seen.turn(waiting.as_ref(), turn > 4, find) {
                Next::Found(version) => {
                    self.keep(key, seen, version);
                    return version;
                }
                Next::Run => break,
                Next::Wait(next) => {
                    next.wait(Duration::from_millis(10));
                    waiting = Some(next);
                }
            }
        }
        let version = execute(key);
        let late = (self.mutant == Mutant::Stamp).then(|| self.bound().see(key_of(key)));
        let seen = late.as_ref().unwrap_or(seen);
        put(seen, version, LIFE);
        self.keep(key, seen, version);
        version
    }

    fn pay(&self) {
        for key in std::mem::take(&mut *lock(&self.owed)) {
            self.bound().clear(key_of(key));
        }
    }
}

fn find(seen: &Seen) -> Option<u64> {
    seen.get(clock::boot(), |entry| {
        Some(u64::from_le_bytes(entry.payload.as_ref().try_into().ok()?))
    })
    .unwrap_or(None)
}

fn put(seen: &Seen, version: u64, life: u64) {
    let started = clock::boot();
    let head = Head {
        generation: seen.generation(),
        started,
        deadline: started + life,
    };
    let entry = seen
        .opened()
        .seal()
        .write(seen.key().bytes(), head, |payload| {
            payload.extend_from_slice(&version.to_le_bytes());
            Ok::<u8, ()>(1)
        });
    if let Ok(entry) = entry {
        // A refused value is a miss.
        let _ = seen.put(&entry);
    }
}

impl Subject for Wrong {
    fn call(&self, key: u64) -> u64 {
        self.pay();
        if let Some(version) = self.in_memory(key) {
            return version;
        }
        loop {
            let mut seen = self.bound().see(key_of(key));
            let (flight, leads) = {
                let mut flights = lock(&self.flights);
                match flights.get(&key) {
                    Some(flight)
                        if flight.generation == seen.generation()
                            || self.mutant == Mutant::Join =>
                    {
                        (flight.clone(), false)
                    }
                    _ => {
                        let flight = Arc::new(Flight {
                            generation: seen.generation(),
                            version: Mutex::default(),
                            landed: Condvar::new(),
                        });
                        flights.insert(key, flight.clone());
                        (flight, true)
                    }
                }
            };
            if leads {
                let version = self.lead(key, &mut seen);
                *lock(&flight.version) = Some(version);
                flight.landed.notify_all();
                let mut flights = lock(&self.flights);
                if flights
                    .get(&key)
                    .is_some_and(|own| Arc::ptr_eq(own, &flight))
                {
                    flights.remove(&key);
                }
                return version;
            }
            let landed = flight
                .landed
                .wait_while(lock(&flight.version), |version| version.is_none())
                .unwrap_or_else(PoisonError::into_inner);
            if let Some(version) = *landed {
                return version;
            }
        }
    }

    fn call_anew(&self, key: u64) -> u64 {
        self.refresh(key)
    }

    fn refresh(&self, key: u64) -> u64 {
        let mut seen = self.bound().see(key_of(key));
        let version = execute(key);
        if self.mutant == Mutant::Supersede {
            seen = self.bound().see(key_of(key));
        }
        if self.mutant == Mutant::Supersede || seen.supersede() {
            put(&seen, version, LIFE);
            self.keep(key, &seen, version);
        }
        version
    }

    fn peek(&self, key: u64) -> Option<u64> {
        self.in_memory(key)
            .or_else(|| find(&self.bound().see(key_of(key))))
    }

    fn set(&self, key: u64, version: u64) {
        let mut seen = self.bound().see(key_of(key));
        if self.mutant == Mutant::Supersede || seen.supersede() {
            put(&seen, version, LIFE);
            self.keep(key, &seen, version);
        }
    }

    fn clear(&self, key: u64) {
        match self.mutant {
            Mutant::Delete => {
                // What the store has of the key is over at once.
                put(&self.bound().see(key_of(key)), 0, 0);
                self.forget(key);
            }
            Mutant::Order => {
                self.forget(key);
                lock(&self.owed).push(key);
            }
            _ => {
                self.bound().clear(key_of(key));
                self.forget(key);
            }
        }
    }

    fn clear_all(&self) {
        self.bound().clear_all();
        lock(&self.memory).drain(&mut Vec::new());
    }

    fn clear_everything(&self) {
        let opened = self.store.shared().open();
        opened.expect("the store can be opened").clear_everything();
        lock(&self.memory).drain(&mut Vec::new());
    }
}
