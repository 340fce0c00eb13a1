//! The flights of a machine: which can be joined, and which needs which. A flight needs another while its execution leads
//! it or waits for it; that graph is what keeps a call from waiting for itself, through any chain of functions, threads and
//! tasks. Whether a flight may be joined, and what its end means, is decided in `machine`.

use foldhash::{HashMap, HashMapExt};
use hashbrown::HashTable;

use super::generations::{KeyOf, Seq};

/// One flight of this process. Never used again, and never equal to a flight of another machine.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FlightId(pub(super) u64);

impl FlightId {
    /// As a number, for drivers that keep it where only numbers fit (a context variable of Python).
    pub fn to_bits(self) -> u64 {
        self.0
    }

    /// Of a number that `to_bits` gave.
    pub fn from_bits(bits: u64) -> Self {
        FlightId(bits)
    }
}

pub(super) struct Flight<K, C> {
    pub(super) key: K,
    pub(super) function: u32,
    pub(super) hash: u64,
    pub(super) generation: u64,
    /// The token of its ticket.
    pub(super) began: Seq,
    pub(super) cell: C,
    pub(super) within: Option<FlightId>,
    /// Usually none or one, several in an async function.
    needs: Vec<FlightId>,
    /// The last search that passed here.
    seen: u64,
}

pub(super) struct Flights<K, C> {
    /// Every flight that has not ended, detached ones included.
    running: HashMap<FlightId, Flight<K, C>>,
    /// The flights that later calls see, by hash: at most one per key.
    attached: HashTable<(u64, FlightId)>,
    searches: u64,
}

impl<K: Eq + Clone, C> Flights<K, C> {
    pub(super) fn new() -> Self {
        Flights {
            running: HashMap::new(),
            attached: HashTable::new(),
            searches: 0,
        }
    }

    pub(super) fn attached(&self, key: KeyOf<'_, K>) -> Option<(FlightId, &Flight<K, C>)> {
        let is_it = |&(_, id): &(u64, FlightId)| {
            let flight = &self.running[&id];
            flight.function == key.function && flight.key == *key.key
        };
        let &(_, id) = self.attached.find(key.hash, is_it)?;
        Some((id, &self.running[&id]))
    }

    /// A new flight. The key has no attached one.
    pub(super) fn insert(
        &mut self,
        id: FlightId,
        key: KeyOf<'_, K>,
        generation: u64,
        began: Seq,
        cell: C,
        within: Option<FlightId>,
    ) {
        let flight = Flight {
            key: key.key.clone(),
            function: key.function,
            hash: key.hash,
            generation,
            began,
            cell,
            within,
            needs: Vec::new(),
            seen: 0,
        };
        self.running.insert(id, flight);
        self.attached
            .insert_unique(key.hash, (key.hash, id), |&(hash, _)| hash);
        self.needs(within, id);
    }

    /// The end of a flight.
    pub(super) fn remove(&mut self, id: FlightId) -> Option<Flight<K, C>> {
        self.detach(id);
        let flight = self.running.remove(&id)?;
        self.needs_no_longer(flight.within, id);
        Some(flight)
    }

    pub(super) fn detach(&mut self, id: FlightId) {
        if let Some(flight) = self.running.get(&id) {
            let is_it = |&(_, attached): &(u64, FlightId)| attached == id;
            if let Ok(entry) = self.attached.find_entry(flight.hash, is_it) {
                entry.remove();
            }
        }
    }

    pub(super) fn drain(&mut self) -> impl Iterator<Item = Flight<K, C>> {
        self.attached.clear();
        self.running.drain().map(|(_, flight)| flight)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.running.is_empty() && self.attached.is_empty()
    }

    /// The execution of `within` leads or waits for `id`. (An outer flight that has ended needs nothing.)
    pub(super) fn needs(&mut self, within: Option<FlightId>, id: FlightId) {
        if let Some(outer) = within.and_then(|within| self.running.get_mut(&within)) {
            outer.needs.push(id);
        }
    }

    pub(super) fn needs_no_longer(&mut self, within: Option<FlightId>, id: FlightId) {
        if let Some(outer) = within.and_then(|within| self.running.get_mut(&within))
            && let Some(at) = outer.needs.iter().position(|&needed| needed == id)
        {
            outer.needs.swap_remove(at);
        }
    }

    /// Can `flight` end only after `other` did? A search along the edges: as long as the chain of calls that it follows.
    pub(super) fn depends_on(&mut self, flight: FlightId, other: FlightId) -> bool {
        self.searches += 1;
        let mut open = vec![flight];
        while let Some(id) = open.pop() {
            if id == other {
                return true;
            }
            if let Some(flight) = self.running.get_mut(&id)
                && flight.seen != self.searches
            {
                flight.seen = self.searches;
                open.extend_from_slice(&flight.needs);
            }
        }
        false
    }
}
