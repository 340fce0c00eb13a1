//! The tiers behind memory, for blocking functions: asked in order, stored and deleted outermost first. Whatever goes wrong
//! there is counted and logged, and never reaches the caller.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::work::Work;
use super::{Flown, Function};
use crate::key::v1::Digest;
use crate::probe::Outcome;
use crate::protocol::guarded::Found;
use crate::stats::count;
use crate::tier::user::{Blocking, Erased, Outer};

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
        let text = key.text();
        let mut failures = Vec::new();
        for tier in self.outer.iter().rev() {
            if let Err(error) = self.blocking(tier).delete(&text) {
                self.failed(tier, "delete", &error);
                failures.push(format!("tier `{}`: {error}", tier.name));
            }
        }
        failures
    }

    /// A stored value, unless it is damaged, too old or of another version.
    pub(super) fn read<O: Outcome>(
        &self,
        kind: &O,
        key: &Digest,
        bytes: &[u8],
    ) -> Option<(O::Value, Duration)> {
        let codec = kind.hooks().codec?;
        let read = self
            .seal
            .read(key, codec.id, bytes)
            .and_then(|(payload, left)| {
                let value = (codec.decode)(payload).ok()?;
                Some((value, left))
            });
        if read.is_none() {
            count(&self.counters.rejected);
        }
        read
    }

    /// The value as bytes; `None`, with one warning, if it cannot be written.
    pub(super) fn write<O: Outcome>(
        &self,
        kind: &O,
        key: &Digest,
        value: &O::Value,
        life: Duration,
    ) -> Option<Vec<u8>> {
        let why = match kind.hooks().codec {
            Some(codec) => {
                match self.seal.write(key, codec.id, life, |bytes| (codec.encode)(value, bytes)) {
                    Ok(bytes) => return Some(bytes),
                    Err(error) => error.to_string(),
                }
            }
            None => "its type has no codec: derive serde's Serialize and Deserialize, or give the function a `codec`".to_owned(),
        };
        count(&self.counters.unencodable);
        if !self.warned_unencodable.swap(true, Ordering::Relaxed) {
            log::warn!(
                target: "quickcache",
                "a value of `{}` cannot be stored outside the process: {why}",
                self.site.declared.name()
            );
        }
        None
    }
}

impl<K: Eq + Send + Sync + 'static, O: Outcome> Work<K, O> {
    /// Asks every tier.
    pub(super) fn look(&self) -> Option<Found<Flown>> {
        if let Some(found) = self.look_again() {
            return Some(found);
        }
        if !self.has_outer() || self.hooks().codec.is_none() {
            return None;
        }
        if self.in_doubt() {
            return None;
        }
        let text = self.digest.text();
        self.function
            .outer
            .iter()
            .enumerate()
            .find_map(|(at, tier)| {
                let bytes = match self.function.blocking(tier).get(&text) {
                    Ok(bytes) => bytes?,
                    Err(error) => {
                        self.function.failed(tier, "get", &error);
                        return None;
                    }
                };
                let (value, left) = self.function.read(&self.kind, &self.digest, &bytes)?;
                self.found(at, value, left)
            })
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
        for (at, life) in self.lacking(&entry) {
            let tier = &self.function.outer[at];
            let Some(bytes) = self
                .function
                .write(&self.kind, &self.digest, &entry.value, life)
            else {
                return;
            };
            if let Err(error) = self.function.blocking(tier).set(&text, &bytes, life) {
                self.function.failed(tier, "set", &error);
            }
        }
    }
}
