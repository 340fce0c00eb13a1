//! The announced stores: keys that are on their way into a tier without compare-and-set. A key is here only while a store
//! of it runs.

use hashbrown::HashTable;

use super::generations::KeyOf;

struct Running<K> {
    key: K,
    function: u32,
    hash: u64,
    id: u64,
    count: u32,
    /// A clear has gone by while these ran.
    overtaken: bool,
}

/// The last store of a key has ended.
pub(super) struct Last<K> {
    /// To drop.
    pub(super) key: K,
    pub(super) overtaken: bool,
}

pub(super) struct Stores<K> {
    by_key: HashTable<Running<K>>,
    next_id: u64,
}

impl<K: Eq + Clone> Stores<K> {
    pub(super) fn new() -> Self {
        Stores {
            by_key: HashTable::new(),
            next_id: 0,
        }
    }

    /// One store more; the id is the key's, shared by all its stores until the last of them has ended.
    pub(super) fn begin(&mut self, key: KeyOf<'_, K>) -> u64 {
        if let Some(running) = self.by_key.find_mut(key.hash, |running| same(running, key)) {
            running.count += 1;
            return running.id;
        }
        self.next_id += 1;
        let running = Running {
            key: key.key.clone(),
            function: key.function,
            hash: key.hash,
            id: self.next_id,
            count: 1,
            overtaken: false,
        };
        self.by_key
            .insert_unique(key.hash, running, |running| running.hash);
        self.next_id
    }

    /// Something if it was the last of its key. (In the child of a fork the id may mean nothing.)
    pub(super) fn end(&mut self, hash: u64, id: u64) -> Option<Last<K>> {
        let entry = self.by_key.find_entry(hash, |running| running.id == id);
        let mut entry = entry.ok()?;
        entry.get_mut().count -= 1;
        (entry.get().count == 0).then(|| {
            let Running { key, overtaken, .. } = entry.remove().0;
            Last { key, overtaken }
        })
    }

    /// Marks the stores of a key that run now; whether they were not marked yet.
    pub(super) fn overtake(&mut self, hash: u64, id: u64) -> bool {
        let running = self.by_key.find_mut(hash, |running| running.id == id);
        running.is_some_and(|running| !std::mem::replace(&mut running.overtaken, true))
    }

    pub(super) fn overtaken(&self, hash: u64, id: u64) -> bool {
        let running = self.by_key.find(hash, |running| running.id == id);
        running.is_some_and(|running| running.overtaken)
    }

    pub(super) fn id(&self, key: KeyOf<'_, K>) -> Option<u64> {
        let running = self.by_key.find(key.hash, |running| same(running, key));
        running.map(|running| running.id)
    }

    pub(super) fn count(&self, hash: u64, id: u64) -> u32 {
        let running = self.by_key.find(hash, |running| running.id == id);
        running.map_or(0, |running| running.count)
    }

    pub(super) fn drain(&mut self) -> impl Iterator<Item = K> {
        self.by_key.drain().map(|running| running.key)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }
}

fn same<K: Eq>(running: &Running<K>, key: KeyOf<'_, K>) -> bool {
    running.function == key.function && running.key == *key.key
}
