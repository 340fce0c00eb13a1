//! What a call gives whose function has failed, where it may give a value beyond its timeout then: `stale_timeout`.
//!
//! Every tier keeps a value for so long after the deadline that it has there. It is looked for when the function has failed, in the way in
//! which a hit is looked for: so whatever was cleared by then is not found, in whichever process or on whichever machine it was cleared, as far
//! as a hit would know. Where there is a Redis, and it answers, what it has decides: a value of store or memory that it has not was cleared
//! perhaps, a moment ago. What is found goes to the followers of the flight too, and is stored nowhere, so that its age goes on.

use std::time::Duration;

use super::Flown;
use super::asynchronous::get;
use super::outer::Outside;
use super::redis::{InPlace, Soon};
use super::work::Work;
use crate::probe::Outcome;
use crate::protocol::blocking::now;
use crate::tier::memory::{Held, Stored};
use crate::tier::user::Outer;

/// What a Redis says to a call whose function has failed.
#[cfg_attr(not(feature = "redis"), allow(dead_code))]
pub(super) enum Last<V> {
    Is(Outside<V>),
    /// It has none, or none that may be served.
    None,
    /// There is no Redis, or it cannot be asked.
    Unknown,
}

impl<K: Eq + Send + Sync + 'static, O: Outcome> Work<K, O> {
    /// What the execution gave, or, if that is an error, the last value there is. Else than for a hit the slowest tier is asked
    /// first: everybody fills it.
    pub(super) fn or_stale(&self, flown: Flown) -> Flown {
        if !self.may_be_stale(&flown) {
            return flown;
        }
        let last = match now(self.stale_in_redis(&InPlace)) {
            Last::Unknown => self.stale_outside(),
            Last::None => return flown,
            Last::Is(outside) => Some(outside),
        };
        self.in_place_of(flown, last)
    }

    /// As `or_stale`, for a task.
    pub(super) async fn or_stale_async(&self, flown: Flown) -> Flown {
        if !self.may_be_stale(&flown) {
            return flown;
        }
        let last = match self.stale_in_redis(&Soon).await {
            Last::Unknown => self.stale_outside_async().await,
            Last::None => return flown,
            Last::Is(outside) => Some(outside),
        };
        self.in_place_of(flown, last)
    }

    fn may_be_stale(&self, flown: &Flown) -> bool {
        matches!(flown, Flown::Error(_) | Flown::Lone) && !self.function.times.stale.is_zero()
    }

    fn in_place_of(&self, failed: Flown, last: Option<Outside<O::Value>>) -> Flown {
        let stored = match last.or_else(|| self.stale_in_store()) {
            Some(Outside { value, .. }) => {
                let now = self.function.clock.now();
                Some(Stored::new(self.function.stamp(), now, now, value))
            }
            None => self.stale_in_memory(),
        };
        let Some(stored) = stored else {
            return failed;
        };
        // Apart: dropping it is code of a user.
        let error = self.hand().returned.take();
        drop(error);
        log::debug!(
            target: "quickcache",
            "`{}` failed: its last value is served",
            self.function.site.declared.name()
        );
        Flown::Stale(stored)
    }

    fn stale_in_memory(&self) -> Option<std::sync::Arc<Stored<O::Value>>> {
        let function = self.function;
        let tables = function.tables.as_ref()?;
        let hand = self.hand();
        let wanted = hand.key.as_ref()?;
        // SAFETY: the types are those that `Site::function` was asked with.
        unsafe {
            tables.peek::<K, O::Value>(
                function.stamp(),
                self.hash,
                |key: &K| key == wanted,
                |found: &Held<'_>| function.holds(found),
                function.clock.now(),
                |deadline| function.clock.passed(deadline),
            )
        }
    }

    /// At the generation of now.
    fn stale_in_store(&self) -> Option<Outside<O::Value>> {
        let function = self.function;
        let seen = function.see(&self.digest)?;
        function.read_store(&self.kind, &seen, function.times.stale)
    }

    fn stale_outside(&self) -> Option<Outside<O::Value>> {
        if !self.has_outer() || self.in_doubt() {
            return None;
        }
        let text = self.digest.text();
        let ask = |tier: &Outer| self.function.blocking(tier).get(&text).ok()?;
        (self.function.outer.iter().rev()).find_map(|tier| self.stale_bytes(&ask(tier)?))
    }

    async fn stale_outside_async(&self) -> Option<Outside<O::Value>> {
        if !self.has_outer() || self.in_doubt() {
            return None;
        }
        let text = self.digest.text();
        for tier in self.function.outer.iter().rev() {
            if let Ok(Some(bytes)) = get(tier, &text).await
                && let Some(outside) = self.stale_bytes(&bytes)
            {
                return Some(outside);
            }
        }
        None
    }

    fn stale_bytes(&self, bytes: &[u8]) -> Option<Outside<O::Value>> {
        let stale: Duration = self.function.times.stale;
        self.function.read(&self.kind, &self.digest, bytes, stale)
    }
}
