//! The life of a call: a hit in the memory tier, in place and without an allocation; or a flight, whose leader asks the
//! slower tiers, runs the function and stores. The blocking door is here, the async one in `asynchronous`; the steps of
//! both are in `work`.

use std::cell::Cell;
use std::hash::{BuildHasher, Hasher};

use super::redis::InPlace;
use super::work::{NotShared, Work};
use super::{Flown, Function, Identity, Site, protocol};
use crate::key::v1::Digest;
use crate::key::{Key, KeyPart};
use crate::probe::Outcome;
use crate::protocol::blocking;
use crate::protocol::guarded::{Asked, Steps};
use crate::stats::Miss;
use crate::tier::memory::{Held, KeyHash};

/// What a call wants of the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// A value, cached or not.
    Cached,
    /// A new value, which is stored: `skip_arg`, `refresh`.
    Anew,
    /// The function alone.
    Alone,
}

impl From<bool> for How {
    #[inline]
    fn from(skip: bool) -> Self {
        if skip { How::Anew } else { How::Cached }
    }
}

/// A call of one instantiation of a function. `kind` makes its outcome: a function that the compiler sees through, so that a hit
/// does not put what only a miss needs into memory before it looks.
#[derive(Clone, Copy)]
pub struct Call<F> {
    site: &'static Site,
    identity: Identity,
    kind: F,
}

impl<O: Outcome, F: Fn() -> O + Copy> Call<F> {
    /// For the attribute.
    #[inline(always)]
    pub fn new(site: &'static Site, identity: Identity, kind: F) -> Self {
        Call {
            site,
            identity,
            kind,
        }
    }

    #[inline(always)]
    fn function<K: 'static>(self) -> &'static Function {
        let copy = (self.kind)().hooks().copy;
        self.site.function::<K, O::Value>(self.identity, copy)
    }

    /// The value from the memory tier, or what it takes to get it.
    ///
    /// # Errors
    /// The error is the call that missed.
    #[inline(always)]
    pub fn look<K: Key>(
        self,
        key: &K,
        how: impl Into<How>,
    ) -> Result<O::Returned, Pending<K::Owned, O>> {
        let how = how.into();
        let kind = (self.kind)();
        let function = self.function::<K::Owned>();
        let hash = hash(function, key);
        if let Some(tables) = &function.tables
            && how == How::Cached
            && function.enabled()
        {
            // SAFETY: `Site::function` gives one function, with a number of its own, for these very types.
            let hit = unsafe {
                let copy = kind.hooks().copy;
                let holds = |found: &Held<'_>| function.holds(found);
                tables.hit(
                    copy,
                    function.stamp(),
                    hash,
                    key,
                    holds,
                    &function.freshness,
                )
            };
            if let Some(value) = hit {
                return Ok(kind.join(value));
            }
        }
        Err(self.miss(function, hash, key, how))
    }

    #[cold]
    #[inline(never)]
    fn miss<K: Key>(
        self,
        function: &'static Function,
        hash: KeyHash,
        key: &K,
        how: How,
    ) -> Pending<K::Owned, O> {
        Pending::new(function, (self.kind)(), hash, key, how)
    }

    /// The call as one that missed, to compute anew.
    pub fn anew<K: Key>(self, key: &K) -> Pending<K::Owned, O> {
        let function = self.function::<K::Owned>();
        Pending::new(function, (self.kind)(), hash(function, key), key, How::Anew)
    }

    pub(super) fn parts<K: Key>(self, key: &K) -> (&'static Function, O, KeyHash, Digest) {
        let function = self.function::<K::Owned>();
        (
            function,
            (self.kind)(),
            hash(function, key),
            key.digest(&function.keys),
        )
    }
}

#[inline(always)]
fn hash(function: &Function, key: &impl KeyPart) -> KeyHash {
    let mut state = function.hasher.build_hasher();
    key.hash_part(&mut state);
    state.finish()
}

/// A call that missed. It owns its key, so that the arguments may move into the function.
pub struct Pending<K, O> {
    pub(super) function: &'static Function,
    pub(super) kind: O,
    pub(super) hash: KeyHash,
    pub(super) digest: Digest,
    pub(super) key: K,
    /// What the key holds on the heap.
    pub(super) key_heap: usize,
    pub(super) how: How,
}

impl<K: Eq + Send + Sync + 'static, O: Outcome> Pending<K, O> {
    fn new<P: Key<Owned = K>>(
        function: &'static Function,
        kind: O,
        hash: KeyHash,
        key: &P,
        how: How,
    ) -> Self {
        let owned = key.to_owned_part();
        let how = if function.enabled() { how } else { How::Alone };
        let pending = Pending {
            function,
            kind,
            hash,
            digest: key.digest(&function.keys),
            key_heap: P::owned_heap(&owned),
            key: owned,
            how,
        };
        if how != How::Alone {
            let known = match how {
                How::Anew => Some(Miss::Skipped),
                _ => pending.why_not(),
            };
            function.counters.missed(hash, known);
        }
        pending
    }

    /// Why the entry that is there is no hit, if one is.
    fn why_not(&self) -> Option<Miss> {
        let tables = self.function.tables.as_ref()?;
        let holds = Cell::new(true);
        // SAFETY: the types are those that `Site::function` was asked with.
        unsafe {
            let same = |key: &K| *key == self.key;
            let look = |found: &Held<'_>| {
                holds.set(self.function.holds(found));
                true
            };
            tables.standing::<K, O::Value>(self.function.stamp(), self.hash, same, look)
        }?;
        Some(match holds.get() {
            true => Miss::Expired,
            // By another process, or another cache over the same store.
            false => Miss::Cleared,
        })
    }

    /// Ends the call: `body` is the function. In a frame of its own: that of a hit is small.
    #[inline(never)]
    pub fn lead(self, body: impl FnOnce() -> O::Returned) -> O::Returned {
        match self.how {
            How::Alone => body(),
            How::Anew => self.refresh(body),
            How::Cached => self.fly(body),
        }
    }

    fn fly(self, body: impl FnOnce() -> O::Returned) -> O::Returned {
        let patience = self.function.patience();
        let work = Work::new(self);
        let mut body = Some(body);
        let whole = work.whole();
        let asked = Asked {
            key: work.key_of(&whole),
            generation: work.see(),
        };
        let flown = blocking::run_from(
            protocol(),
            asked,
            patience,
            Steps {
                look: || work.look_and_put(),
                compute: || {
                    let run = work.begin();
                    match body.take() {
                        Some(body) => {
                            let flown = work.finish(run, body());
                            blocking::now(work.fill_redis(&InPlace, &flown));
                            work.put_in_store(work.or_stale(flown), false)
                        }
                        None => Flown::Lone,
                    }
                },
                store: work
                    .has_outer()
                    .then_some(|flown: &Flown| work.store(flown)),
                unstore: || work.delete(),
                keep: |flown: &Flown| work.keep(flown),
            },
            || work.valid_from(),
        );
        match work.end(flown) {
            Ok(returned) => returned,
            Err(NotShared) => match body {
                Some(body) => body(),
                None => unreachable!("a result that is not shared is another call's"),
            },
        }
    }

    /// Runs the function, and stores the result in place of what is there.
    pub fn refresh(self, body: impl FnOnce() -> O::Returned) -> O::Returned {
        if !self.function.enabled() {
            return body();
        }
        let token = protocol().lock().now();
        let work = Work::new(self);
        work.see();
        blocking::now(work.take_in_redis(&InPlace));
        let run = work.begin();
        let flown = work.finish(run, body());
        work.supersede(token, &flown);
        match work.end(flown) {
            Ok(returned) => returned,
            Err(NotShared) => unreachable!("the result is the call's own"),
        }
    }
}
