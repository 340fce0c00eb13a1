//! An open store: the table of generations, the values, and the workers, as calls use them.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::TABLE_ONLY;
use super::files::{TableFile, ValuesFile, boot_id, poison};
use super::folder::{Folder, Identity, Kind};
use super::generations::{Generations, HEADER, Head, LEASE_WORDS, NETWORK, Stamp, Watch};
use super::key::StoreKey;
use super::map::Map;
use super::ring::{Read, Refused, Ring};
use super::workers::Workers;
use crate::clock::Millis;
use crate::entry::{self, Entry, Rejected, Seal};
use crate::scratch::Scratch;

/// Words of a network tier in the table, and which of them are its proof and its reach.
const NETWORK_WORDS: usize = 8;
pub(super) const PROOF: usize = 1;
pub(super) const REACH: usize = 7;

/// An open store. The memory tier's hits look into its table at any time, so it is never dropped; the file of values can be.
pub struct Opened {
    pub(super) folder: Folder,
    identity: Identity,
    pub(super) head: Head,
    generations: Generations<'static>,
    /// Of the network tiers.
    network: &'static [AtomicU64],
    pub(super) leases: &'static [AtomicU64],
    values: RwLock<Option<Arc<Values>>>,
    pub(super) workers: Workers,
    seal: Seal,
}

struct Values {
    ring: Ring,
    identity: Identity,
}

impl Values {
    fn unstored(&self, why: Refused, entry: &[u8]) -> Unstored {
        match why {
            Refused::TooLarge => Unstored::TooLarge(entry.len(), self.ring.largest()),
            Refused::Crowded => Unstored::Crowded,
            Refused::Io(error) => Unstored::Io(error),
        }
    }
}

/// Where an entry was found.
pub struct Place {
    values: Arc<Values>,
    read: Read,
}

/// Where a key is: its slot, its lease, its bucket.
#[derive(Clone, Copy)]
pub struct Spot {
    key: StoreKey,
    slot: u32,
    pub(super) hash: u64,
}

impl Spot {
    /// The key.
    #[must_use]
    pub fn key(&self) -> &StoreKey {
        &self.key
    }
}

/// What came of an attempt to store.
#[derive(Debug)]
pub enum Unstored {
    /// Larger than this store takes: bytes, and the most it takes.
    TooLarge(usize, usize),
    /// Others kept changing the same place; it is not worth a second try.
    Crowded,
    /// The disk is full, or the like.
    Io(io::Error),
}

/// Why another file was set aside, if one was.
pub(super) struct Aside(pub(super) &'static str, pub(super) &'static str);

/// A store that was opened.
pub(super) struct Opening {
    pub(super) opened: Opened,
    pub(super) set_aside: Vec<Aside>,
    /// Why it has a table only, for the time being: clears work, and memory tiers.
    pub(super) no_values: Option<io::Error>,
}

impl Opened {
    /// Opens the store of a folder. Waits for nobody.
    pub(super) fn open(path: &Path, max_bytes: u64) -> io::Result<Opening> {
        let folder = Folder::open(path)?;
        let boot = boot_id()?;
        let (file, head, aside) = folder.file(&TableFile { boot })?;
        let mut set_aside: Vec<Aside> = aside
            .into_iter()
            .map(|why| Aside(TableFile::NAME, why))
            .collect();
        let identity = Identity::of(&file)?;
        let map = Map::new(&file, head.shape.words() as usize)?;
        // Hits look into it without a lock.
        let words: &'static [AtomicU64] = Box::leak(Box::new(map)).words();
        let generations = Generations::new(words, head.shape);
        let leases = HEADER + head.shape.functions as usize;
        let leases = &words[leases..leases + head.shape.leases as usize * LEASE_WORDS];
        let opened = Opened {
            folder,
            identity,
            head,
            generations,
            network: &words[NETWORK],
            leases,
            values: RwLock::new(None),
            workers: Workers::new(),
            seal: Seal::plain(head.epoch),
        };
        let no_values = match max_bytes {
            TABLE_ONLY => None,
            _ => match opened.open_values(max_bytes, false) {
                Ok(aside) => {
                    set_aside.extend(aside);
                    None
                }
                Err(error) => Some(error),
            },
        };
        Ok(Opening {
            opened,
            set_aside,
            no_values,
        })
    }

    fn open_values(&self, max_bytes: u64, any_size: bool) -> io::Result<Option<Aside>> {
        let kind = ValuesFile {
            epoch: self.head.epoch,
            max_bytes,
            any_size,
        };
        let (file, shape, aside) = self.folder.file(&kind)?;
        let identity = Identity::of(&file)?;
        let values = Values {
            ring: Ring::open(file, shape)?,
            identity,
        };
        let mut place = self.values.write().unwrap_or_else(PoisonError::into_inner);
        *place = Some(Arc::new(values));
        Ok(aside.map(|why| Aside(ValuesFile::NAME, why)))
    }

    fn values(&self) -> Option<Arc<Values>> {
        self.values
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Whether another table has taken the place of this one.
    pub(super) fn is_replaced(&self) -> bool {
        self.generations.replaced.load(Ordering::Acquire) != 0
    }

    /// Looks whether the files are still those of the folder. `false`: the table is not, and everybody is told. If there are no values
    /// they are opened, unless that is `too_soon` to try.
    pub(super) fn look_after(
        &self,
        max_bytes: u64,
        too_soon: bool,
    ) -> io::Result<(bool, Option<Aside>)> {
        // Whoever said that it is replaced may have been stopped before it moved everything on.
        if self.is_replaced()
            || !self.folder.is_there()
            || self.folder.named(TableFile::NAME) != Some(self.identity)
        {
            poison(&self.generations);
            return Ok((false, None));
        }
        if max_bytes == TABLE_ONLY {
            return Ok((true, None));
        }
        let named = self.folder.named(ValuesFile::NAME);
        let sound = self.values().map(|values| values.identity) == named && named.is_some();
        if sound || too_soon {
            return Ok((true, None));
        }
        Ok((true, self.open_values(max_bytes, true)?))
    }

    /// It is not used any more: the values are let go. The table stays, since hits may look into it.
    pub(super) fn leave(&self) {
        let left = self
            .values
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        drop(left);
        self.workers.forget();
    }

    /// Every lock, held until this is dropped: for the moment of a fork.
    pub(super) fn hold(&self) -> impl Sized + '_ {
        (
            self.values.write().unwrap_or_else(PoisonError::into_inner),
            self.workers.hold(),
        )
    }

    // ---- generations ----

    /// Where a key is.
    #[must_use]
    pub fn spot(&self, key: StoreKey) -> Spot {
        let hash = twox_hash::XxHash3_64::oneshot_with_seed(self.head.seed[0], key.bytes());
        Spot {
            key,
            slot: self.generations.slot(hash.rotate_left(32)),
            hash,
        }
    }

    /// The number of a function, by what its keys begin with.
    #[must_use]
    pub fn function(&self, name: &[u8]) -> u32 {
        let hash = twox_hash::XxHash3_64::oneshot_with_seed(self.head.seed[1], name);
        (hash & (self.head.shape.functions - 1)) as u32
    }

    /// What the hits of a function look at.
    #[must_use]
    pub fn watch(&self, function: u32) -> Watch<'static> {
        self.generations.watch(function)
    }

    /// The present generation of a key: read it before the execution begins.
    #[must_use]
    pub fn stamp(&self, function: u32, spot: &Spot) -> Stamp {
        self.generations.stamp(function, spot.slot)
    }

    /// Whether a stamp is still the present one.
    #[must_use]
    pub fn stands(&self, function: u32, stamp: Stamp) -> bool {
        self.generations.stands(function, stamp)
    }

    /// Clears a key, at once and in every process.
    pub fn clear(&self, spot: &Spot) {
        self.generations.clear(spot.slot);
    }

    /// Clears every key of a function.
    pub fn clear_function(&self, function: u32) {
        self.generations.clear_function(function);
    }

    /// Clears everything.
    pub fn clear_everything(&self) {
        self.generations.clear_everything();
    }

    /// For a value that is no fill: the stamp to store it under, if nothing cleared the key since `stamp` was read.
    #[must_use]
    pub fn supersede(&self, stamp: Stamp) -> Option<Stamp> {
        self.generations.supersede(stamp)
    }

    // ---- network tiers ----

    /// The words of a network tier, by what names it. `None`: those of this table are all taken by others.
    #[must_use]
    pub fn network(&self, id: u64) -> Option<&'static [AtomicU64; NETWORK_WORDS]> {
        let (tiers, _) = self.network.as_chunks::<NETWORK_WORDS>();
        tiers.iter().find(|words| {
            let taken = words[0].compare_exchange(0, id, Ordering::AcqRel, Ordering::Acquire);
            taken.is_ok() || taken == Err(id)
        })
    }

    /// Whether another table has taken the place of this one.
    #[must_use]
    pub fn is_left(&self) -> bool {
        self.is_replaced()
    }

    /// What tells this table from those of other machines and users.
    #[must_use]
    pub fn origin(&self) -> [u8; 8] {
        self.head.epoch.to_le_bytes()
    }

    /// A file to be locked by one process at a time.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn seat(&self, name: &dyn std::fmt::Display) -> io::Result<std::fs::File> {
        self.folder.of_worker(name)
    }

    // ---- values ----

    /// The entry of a key at a generation, if it is there, whole and in time. `read` decodes it.
    ///
    /// # Errors
    /// If there was one that is damaged, or that `read` refuses.
    pub fn get<T>(
        &self,
        function: u32,
        spot: &Spot,
        stamp: Stamp,
        now: Millis,
        read: impl FnMut(&Entry<'_>) -> Option<T>,
    ) -> Result<Option<T>, Rejected> {
        let found = self.get_in_place(function, spot, stamp, now, read)?;
        Ok(found.map(|(value, _)| value))
    }

    /// The same, and where it is.
    ///
    /// # Errors
    /// As for `get`.
    pub fn get_in_place<T>(
        &self,
        function: u32,
        spot: &Spot,
        stamp: Stamp,
        now: Millis,
        read: impl FnMut(&Entry<'_>) -> Option<T>,
    ) -> Result<Option<(T, Place)>, Rejected> {
        let wanted = |of: u32, generation: u64| of == function && generation == stamp.sum;
        let found = self.find(spot, now, wanted, read)?;
        Ok(found.filter(|_| self.generations.stands(function, stamp)))
    }

    fn find<T>(
        &self,
        spot: &Spot,
        now: Millis,
        wanted: impl Fn(u32, u64) -> bool,
        mut read: impl FnMut(&Entry<'_>) -> Option<T>,
    ) -> Result<Option<(T, Place)>, Rejected> {
        let Some(values) = self.values() else {
            return Ok(None);
        };
        let mut scratch = Scratch::take();
        let mut rejected = None;
        let found = values.ring.get(
            spot.hash,
            &mut scratch.0,
            |function, header: &[u8; entry::HEADER]| {
                entry::generation_of(header).is_some_and(|of| wanted(function, of))
            },
            |_, bytes| match self.seal.read(spot.key.bytes(), now, bytes) {
                Ok(entry) => {
                    let value = read(&entry);
                    if value.is_none() {
                        rejected = Some(Rejected::OtherCodec);
                    }
                    value
                }
                Err(Rejected::Expired | Rejected::Foreign) => None,
                Err(why) => {
                    rejected = Some(why);
                    None
                }
            },
        );
        match (found, rejected) {
            (Some((value, read)), _) => {
                let read = values.ring.renew(read, &scratch.0);
                Ok(Some((value, Place { values, read })))
            }
            (None, Some(why)) => Err(why),
            (None, None) => Ok(None),
        }
    }

    /// Whether a key can be looked for without waiting for the disk: for callers that may not, who else ask another thread to
    /// [`fetch`](Opened::fetch) it before. Two or three calls to the system.
    #[must_use]
    pub fn is_near(&self, spot: &Spot) -> bool {
        self.values()
            .is_none_or(|values| values.ring.is_near(spot.hash))
    }

    /// Reads what there is of a key, so that it is near.
    pub fn fetch(&self, spot: &Spot, now: Millis) {
        // What is damaged is told to whoever asks for it.
        let _damaged = self.find(spot, now, |_, _| true, |_| Some(()));
    }

    /// Which function an entry of this key is of, whatever its generation.
    #[must_use]
    pub fn function_of(&self, spot: &Spot) -> Option<u32> {
        let values = self.values()?;
        let mut scratch = Scratch::take();
        let found = values.ring.get(
            spot.hash,
            &mut scratch.0,
            |_, header| entry::generation_of(header).is_some(),
            |function, bytes| {
                let read = self.seal.read(spot.key.bytes(), 0, bytes);
                read.is_ok().then_some(function)
            },
        );
        found.map(|(function, _)| function)
    }

    /// Stores an entry, which [`Opened::seal`] has made for this key. That its stamp may be old does not matter: then it is never found.
    ///
    /// # Errors
    /// If it is not stored.
    pub fn put(&self, function: u32, spot: &Spot, entry: &[u8]) -> Result<(), Unstored> {
        let Some(values) = self.values() else {
            return Ok(());
        };
        let put = values.ring.put(spot.hash, function, entry);
        put.map_err(|why| values.unstored(why, entry))
    }

    /// Stores an entry in place of one that was found. `false`: it has been changed since, and nothing is stored.
    ///
    /// # Errors
    /// As for `put`.
    pub fn put_in_place(&self, place: &Place, entry: &[u8]) -> Result<bool, Unstored> {
        let Place { values, read } = place;
        let put = values.ring.put_over(*read, entry);
        put.map_err(|why| values.unstored(why, entry))
    }

    /// What makes and reads its entries.
    #[must_use]
    pub fn seal(&self) -> &Seal {
        &self.seal
    }

    /// Entries that have a place, and the bytes of the file: looks at the whole index.
    #[must_use]
    pub fn standing(&self) -> (u64, u64) {
        self.values()
            .map_or((0, 0), |values| values.ring.standing())
    }
}
