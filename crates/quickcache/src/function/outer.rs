//! The tiers behind memory, for blocking functions: asked in order, stored and deleted outermost first. Whatever goes wrong
//! there is counted and logged, and never reaches the caller.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::redis::InPlace;
use super::work::Work;
use super::{Flown, Function};
use crate::clock::{self, Millis};
use crate::entry::{Entry, Head, Rejected};
use crate::key::v1::Digest;
use crate::probe::Outcome;
use crate::protocol::blocking::now;
use crate::protocol::guarded::Found;
use crate::stats::{Standing, count};
use crate::tier::user::{Blocking, Erased, Outer};

/// A value that a slower tier had.
pub(super) struct Outside<V> {
    pub(super) value: V,
    pub(super) age: Duration,
    /// What is left of its life, or of the time in which it may still be served if the function fails.
    pub(super) left: Duration,
    /// Its time is over, but for that.
    pub(super) stale: bool,
}

impl<V> Outside<V> {
    /// A value that was stored with these times, of a tier whose clock says `now`, and that may be `late` by so long.
    pub(super) fn of(value: V, head: &Head, now: Millis, late: Duration) -> Self {
        let stale = now >= head.deadline;
        let until = match stale {
            true => clock::deadline(head.deadline, late),
            false => head.deadline,
        };
        Outside {
            value,
            age: Duration::from_millis(now.saturating_sub(head.started)),
            left: Duration::from_millis(until.saturating_sub(now)),
            stale,
        }
    }

    pub(super) fn standing(&self) -> Standing {
        Standing {
            age: Some(self.age),
            time_left: Some(self.left),
            stale: self.stale,
        }
    }
}

/// For who takes an entry whose deadline has come so long ago: the moment to read it at.
pub(super) fn late_by(now: Millis, late: Duration) -> Millis {
    now.saturating_sub(clock::millis(late))
}

/// Why a value cannot be written.
pub(super) const NO_CODEC: &str = "its type has no codec: derive serde's Serialize and Deserialize, or give the function a `codec`";

impl Function {
    /// The blocking cache of a tier.
    ///
    /// # Panics
    /// If the tier is async: that is how the program is written, and so at its first call.
    pub(super) fn blocking<'a>(&self, tier: &'a Outer) -> &'a dyn Blocking {
        match &tier.cache {
            Erased::Blocking(cache) => &**cache,
            Erased::Async(_) => panic!(
                "quickcache: `{}` is not async, but its tier `{}` is: make the function async, or give it a blocking cache",
                self.site.declared.name(),
                tier.name
            ),
        }
    }

    /// Counts and logs a failure of a tier.
    pub(super) fn failed(&self, tier: &Outer, what: &str, error: &str) {
        count(&self.counters.tier_errors);
        log::warn!(target: "quickcache", "`{}`: {what} of tier `{}` failed: {error}", self.site.declared.name(), tier.name);
    }

    /// Deletes a key from the slower tiers, outermost first, and says what failed.
    pub(super) fn delete(&self, key: &Digest) -> Vec<String> {
        let mut failures = Vec::new();
        if !self.outer.is_empty() {
            let text = key.text();
            for tier in self.outer.iter().rev() {
                if let Err(error) = self.blocking(tier).delete(&text) {
                    self.failed(tier, "delete", &error);
                    failures.push(format!("tier `{}`: {error}", tier.name));
                }
            }
        }
        failures.extend(now(self.clear_in_redis(&InPlace, key)));
        failures.extend(self.clear_in_store(key));
        failures
    }

    /// A stored value, unless it is damaged, of another version, or too old and later than `late`.
    pub(super) fn read<O: Outcome>(
        &self,
        kind: &O,
        key: &Digest,
        bytes: &[u8],
        late: Duration,
    ) -> Option<Outside<O::Value>> {
        let codec = kind.hooks().codec?;
        let now = clock::unix();
        let read = self
            .seal
            .read(key.as_bytes(), late_by(now, late), bytes)
            .and_then(|entry| entry.of_codec(codec.id));
        let expired = matches!(read, Err(Rejected::Expired));
        let outside = read.ok().and_then(|Entry { head, payload, .. }| {
            let value = (codec.decode)(&payload).ok()?;
            Some(Outside::of(value, &head, now, late))
        });
        // A stale one is where it belongs.
        if outside.is_none() && !(expired && late < self.times.stale) {
            count(&self.counters.rejected);
        }
        outside
    }

    /// The value of an execution that started so long ago, as bytes; `None`, with one warning, if it cannot be written.
    pub(super) fn write<O: Outcome>(
        &self,
        kind: &O,
        key: &Digest,
        value: &O::Value,
        age: Duration,
        life: Duration,
    ) -> Option<Vec<u8>> {
        let why = match kind.hooks().codec {
            Some(codec) => {
                let now = clock::unix();
                let head = Head {
                    generation: 0,
                    started: now.saturating_sub(clock::millis(age)),
                    deadline: clock::deadline(now, life),
                };
                let write = |bytes: &mut Vec<u8>| (codec.encode)(value, bytes).map(|()| codec.id);
                match self.seal.write(key.as_bytes(), head, write) {
                    Ok(bytes) => return Some(bytes),
                    Err(error) => error.to_string(),
                }
            }
            None => NO_CODEC.to_owned(),
        };
        self.unwritable(&why);
        None
    }

    /// Counts a value that has no form outside the process, and says so once.
    pub(super) fn unwritable(&self, why: &str) {
        count(&self.counters.unencodable);
        if !self.warned_unencodable.swap(true, Ordering::Relaxed) {
            log::warn!(
                target: "quickcache",
                "a value of `{}` cannot be stored outside the process: {why}",
                self.site.declared.name()
            );
        }
    }
}

impl<K: Eq + Send + Sync + 'static, O: Outcome> Work<K, O> {
    /// Asks every tier.
    pub(super) fn look(&self) -> Option<Found<Flown>> {
        if let Some(found) = self.look_again() {
            return Some(found);
        }
        self.hooks().codec?;
        if let Some(found) = self.look_at_store() {
            return Some(found);
        }
        if let Some(found) = now(self.look_at_redis(&InPlace)) {
            return Some(found);
        }
        self.look_outside()
    }

    /// Asks every tier, and waits for none.
    pub(super) fn peek(&self) -> Option<Found<Flown>> {
        if let Some(found) = self.look_again() {
            return Some(found);
        }
        self.hooks().codec?;
        self.peek_at_store()
            .or_else(|| now(self.peek_at_redis(&InPlace)))
            .or_else(|| self.look_outside())
    }

    /// Asks the tiers of users.
    fn look_outside(&self) -> Option<Found<Flown>> {
        if !self.has_outer() || self.in_doubt() {
            return None;
        }
        let (text, first) = (self.digest.text(), self.function.times.own());
        self.function
            .outer
            .iter()
            .enumerate()
            .find_map(|(at, tier)| self.ask(first + at, tier, &text))
    }

    fn ask(&self, at: usize, tier: &Outer, text: &str) -> Option<Found<Flown>> {
        let bytes = match self.function.blocking(tier).get(text) {
            Ok(bytes) => bytes?,
            Err(error) => {
                self.function.failed(tier, "get", &error);
                return None;
            }
        };
        let outside = self
            .function
            .read(&self.kind, &self.digest, &bytes, Duration::ZERO)?;
        self.found(at, outside)
    }

    /// Deletes from every slower tier; what fails is counted and logged.
    pub(super) fn delete(&self) {
        self.function.delete(&self.digest);
    }

    /// Stores into the tiers that lack the value.
    pub(super) fn store(&self, flown: &Flown) {
        let Some(entry) = self.entry(flown) else {
            return;
        };
        let text = self.digest.text();
        let age = self.age(&entry);
        for (at, life) in self.lacking(age) {
            let tier = &self.function.outer[at];
            let Some(bytes) =
                self.function
                    .write(&self.kind, &self.digest, &entry.value, age, life)
            else {
                return;
            };
            let life = life.saturating_add(self.function.times.stale);
            if let Err(error) = self.function.blocking(tier).set(&text, &bytes, life) {
                self.function.failed(tier, "set", &error);
            }
        }
    }
}
