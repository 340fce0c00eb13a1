//! What a Redis has for a call whose function has failed.

use std::time::Duration;

use super::Function;
use super::entry::Handle;
use super::outer::{Outside, late_by};
use super::redis::{AtRedis, moment};
use super::stale::Last;
use super::work::Work;
use crate::clock;
use crate::entry::Entry;
use crate::probe::Outcome;
use crate::tier::redis::{Held, Hit, Past, Released, Via};
use crate::tier::store::StoreKey;

/// An entry that is too old by this machine's clock alone, and how long it may yet be served.
pub(super) struct Late {
    entry: Vec<u8>,
    left: Duration,
}

impl Function {
    /// What is lost with an entry that could not be read as a hit.
    pub(super) fn late_by_clock(&self, key: &StoreKey, hit: &Hit) -> Option<Late> {
        let (now, stale) = (clock::unix(), self.times.stale);
        if stale.is_zero() {
            return None;
        }
        let entry = hit.entry();
        let seal = self.seal_of_redis();
        let Entry { head, .. } = seal.read(key.bytes(), late_by(now, stale), entry).ok()?;
        let left = clock::deadline(head.deadline, stale).saturating_sub(now);
        Some(Late {
            entry: entry.to_vec(),
            left: Duration::from_millis(left),
        })
    }

    /// As `read_hit`, of an entry that may be past its deadline, though no longer than `stale_timeout`.
    fn read_past<O: Outcome>(
        &self,
        kind: &O,
        key: &StoreKey,
        past: &Past,
    ) -> Option<Outside<O::Value>> {
        let codec = kind.hooks().codec?;
        let (now, stale) = (clock::unix(), self.times.stale);
        let read = self
            .seal_of_redis()
            .read(key.bytes(), late_by(now, stale), past.entry());
        let Entry { head, payload, .. } = read.ok()?.of_codec(codec.id).ok()?;
        // Here too the clocks of others may shorten, and what the server says holds.
        let since = past
            .since
            .max(Duration::from_millis(now.saturating_sub(head.deadline)));
        let left = stale.checked_sub(since)?.min(past.left);
        if left.is_zero() {
            return None;
        }
        let life = Duration::from_millis(head.deadline.saturating_sub(head.started));
        let by_clock = Duration::from_millis(now.saturating_sub(head.started));
        let is_stale = !since.is_zero();
        Some(Outside {
            value: (codec.decode)(&payload).ok()?,
            age: if is_stale {
                by_clock.max(life + since)
            } else {
                by_clock
            },
            left,
            stale: is_stale,
        })
    }
}

impl<K: Eq + Send + Sync + 'static, O: Outcome> Handle<K, O> {
    /// For `explain`.
    pub(super) async fn past_of_redis(
        &self,
        via: &impl Via,
        at: &AtRedis,
        key: &StoreKey,
    ) -> Option<Outside<O::Value>> {
        if self.function.times.stale.is_zero() {
            return None;
        }
        let past = at.look_past(via, key).await.ok()??;
        self.function.read_past(&self.kind, key, &past)
    }
}

impl<K: Eq + Send + Sync + 'static, O: Outcome> Work<K, O> {
    /// Gives back the lease of a function that failed, and with it the entry which that replaced.
    pub(super) async fn put_back(&self, via: &impl Via, held: Held, late: Late) {
        let since = moment();
        let Late { entry, left } = late;
        let stood = held
            .beyond(left)
            .fill(via, &entry, Duration::ZERO, None)
            .await;
        match stood {
            // Nobody had cleared it by then.
            Ok(true) => self.hand().redis.since = Some(since),
            Ok(false) => self.hand().redis.released = Some(Released::Lost),
            Err(error) => {
                self.hand().redis.released = Some(Released::Lost);
                self.function.redis_failed("set", &error);
            }
        }
    }

    /// The last value that Redis has, of a key whose function has failed.
    pub(super) async fn stale_in_redis(&self, via: &impl Via) -> Last<O::Value> {
        let Some(at) = &self.function.redis else {
            return Last::Unknown;
        };
        let key = self.redis_key();
        let since = moment();
        if self.is_pending_in_redis(at, &key) {
            return Last::Unknown; // this machine's tiers know of the clear
        }
        let released = self.hand().redis.released.take();
        let past = match released {
            Some(Released::Lost) => None,
            Some(Released::Stood(past)) => past,
            // Another call has the lease.
            None => match at.look_past(via, &key).await {
                Ok(past) => {
                    self.hand().redis.since = Some(since);
                    past
                }
                Err(error) => {
                    self.function.redis_failed("get", &error);
                    return Last::Unknown;
                }
            },
        };
        let read = |past| self.function.read_past(&self.kind, &key, &past);
        past.and_then(read).map_or(Last::None, Last::Is)
    }
}
