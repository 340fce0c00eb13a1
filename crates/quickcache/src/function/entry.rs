//! What the companions do with one entry: clear it, read it, set it, explain it.

use std::time::Duration;

use super::call::{Call, How, Pending};
use super::redis::InPlace;
use super::work::Work;
use super::{Flown, Function, Site, protocol};
use crate::Error;
use crate::clock::NEVER;
use crate::key::v1::Digest;
use crate::key::{Key, Value};
use crate::probe::{Outcome, Whole};
use crate::protocol::blocking;
use crate::protocol::machine::KeyOf;
use crate::stats::{Event, Explanation, Standing};
use crate::tier::memory::{Held, KeyHash, Left};
use crate::tier::user::Outer;

/// How a clear ended. A call that starts after an applied clear returned gets a value computed after the clear began.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cleared {
    /// In force in every tier.
    Applied,
    /// In force in the memory tier, but a tier behind it could not be reached, and may still hand the old value out.
    Pending(Error),
}

impl Cleared {
    pub(super) fn new(function: &Function, failures: Vec<String>) -> Self {
        if failures.is_empty() {
            Cleared::Applied
        } else {
            Cleared::Pending(Error::pending(&function.site.declared.name(), failures))
        }
    }

    /// Whether it is in force in every tier.
    #[must_use]
    pub fn is_applied(&self) -> bool {
        matches!(self, Cleared::Applied)
    }

    /// Waits until the memory tiers of other machines have heard of an applied clear, or are off: the longest `staleness` of a Redis of this
    /// process. Then no call anywhere gets what was cleared. Without a Redis there is nothing to wait for.
    #[must_use = "a clear can be pending"]
    pub fn wait(self) -> Self {
        if let Some(time) = self.time_to_wait() {
            std::thread::sleep(time);
        }
        self
    }

    /// As [`wait`](Cleared::wait), for a task.
    #[must_use = "a clear can be pending"]
    pub async fn wait_async(self) -> Self {
        if let Some(time) = self.time_to_wait() {
            futures_timer::Delay::new(time).await;
        }
        self
    }

    fn time_to_wait(&self) -> Option<Duration> {
        match self {
            Cleared::Applied => super::redis::longest_staleness(),
            Cleared::Pending(_) => None,
        }
    }

    /// A pending clear as an error.
    ///
    /// # Errors
    /// If a tier could not be reached: the error names it.
    pub fn strict(self) -> Result<(), Error> {
        match self {
            Cleared::Applied => Ok(()),
            Cleared::Pending(error) => Err(error),
        }
    }
}

/// `set_cached_value(...)`, before `.to(value)`.
#[must_use = "say which value: `.to(value)`"]
pub struct Setting<V>(pub(super) Box<dyn FnOnce(V) + Send>);

impl<V> std::fmt::Debug for Setting<V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Setting").finish_non_exhaustive()
    }
}

impl<V> Setting<V> {
    /// Caches the value, in place of what is there. A clear that comes between takes it away again, as it does with a
    /// value that the function computed.
    pub fn to(self, value: V) {
        (self.0)(value);
    }
}

/// One entry of a function.
pub struct Handle<K, O> {
    pub(super) function: &'static Function,
    pub(super) kind: O,
    pub(super) hash: KeyHash,
    pub(super) digest: Digest,
    pub(super) key: K,
    key_heap: usize,
    /// For `explain`.
    values: Vec<String>,
}

impl<O: Outcome, F: Fn() -> O + Copy> Call<F> {
    /// The entry of these arguments.
    pub fn entry<K: Key>(self, key: &K) -> Handle<K::Owned, O> {
        self.handle(key, Vec::new())
    }

    /// The same, with the values as a person reads them.
    pub fn entry_to_explain<K: Key>(self, key: &K) -> Handle<K::Owned, O> {
        self.handle(key, key.values().iter().map(shown).collect())
    }

    fn handle<K: Key>(self, key: &K, values: Vec<String>) -> Handle<K::Owned, O> {
        let (function, kind, hash, digest) = self.parts(key);
        let owned = key.to_owned_part();
        Handle {
            function,
            kind,
            hash,
            digest,
            key_heap: K::owned_heap(&owned),
            key: owned,
            values,
        }
    }
}

impl<K: Eq + Send + Sync + 'static, O: Outcome> Handle<K, O> {
    /// Clears it.
    pub fn clear(self) -> Cleared {
        if self.function.outer.is_empty() {
            let failures = self.function.delete(&self.digest);
            return self.cleared(failures);
        }
        let whole = *self.digest.as_bytes();
        let failures = blocking::clear(
            protocol(),
            self.key_of(&whole),
            || self.function.delete(&self.digest),
            || self.remove(),
        );
        self.function.counters.happened(self.hash, Event::Cleared);
        Cleared::new(self.function, failures)
    }

    /// Out of the memory tier too, when it is out of those behind it that know generations.
    pub(super) fn cleared(&self, failures: Vec<String>) -> Cleared {
        let whole = *self.digest.as_bytes();
        drop(protocol().clear(self.key_of(&whole), || self.remove()));
        self.function.counters.happened(self.hash, Event::Cleared);
        Cleared::new(self.function, failures)
    }

    /// Its value, if it has one.
    pub fn get(self) -> Option<O::Value> {
        if !self.function.enabled() {
            return None;
        }
        let work = Work::new(self.pending());
        let found = work.peek()?;
        work.value(found.value)
    }

    /// Its value as what the function would have returned.
    pub fn get_whole(self) -> Option<O::Returned> {
        let kind = self.kind;
        self.get().map(|value| kind.join(value))
    }

    /// For `.to(value)`.
    pub fn set(self) -> Setting<O::Value> {
        Setting(Box::new(move |value| self.store(value)))
    }

    /// For `.to(returned)`: an `Err` is not stored.
    pub fn set_whole(self) -> Setting<O::Returned> {
        let kind = self.kind;
        Setting(Box::new(move |returned| {
            if let Ok(value) = kind.split(returned) {
                self.store(value);
            }
        }))
    }

    /// The entry without what the function returns around its value.
    pub(super) fn of_value(self) -> Handle<K, Whole<O::Value>> {
        let Handle {
            function,
            kind,
            hash,
            digest,
            key,
            key_heap,
            values,
        } = self;
        Handle {
            function,
            kind: Whole::of(kind.hooks()),
            hash,
            digest,
            key,
            key_heap,
            values,
        }
    }

    fn store(self, value: O::Value) {
        if !self.function.enabled() {
            return;
        }
        let token = protocol().lock().now();
        let work = Work::new(self.pending());
        work.see();
        blocking::now(work.take_in_redis(&InPlace));
        let flown = work.given(value);
        work.supersede(token, &flown);
        work.settle();
    }

    /// The text of its key.
    pub fn text(&self) -> String {
        self.digest.text()
    }

    /// What is known of it.
    pub fn explain(self) -> Explanation {
        let mut explanation = self.explanation();
        if !explanation.has_fresh() {
            self.explain_store(&mut explanation);
        }
        if !explanation.has_fresh() {
            blocking::now(self.explain_redis(&InPlace, &mut explanation));
        }
        let text = self.digest.text();
        for tier in &self.function.outer {
            if !explanation.has_fresh()
                && let Ok(Some(bytes)) = self.function.blocking(tier).get(&text)
            {
                self.explain_bytes(tier, &bytes, &mut explanation);
            }
        }
        explanation
    }

    /// What a user's tier had.
    pub(super) fn explain_bytes(&self, tier: &Outer, bytes: &[u8], explanation: &mut Explanation) {
        let stale = self.function.times.stale;
        if let Some(outside) = self.function.read(&self.kind, &self.digest, bytes, stale) {
            explanation.found(&tier.name, outside.standing());
        }
    }

    /// What is known of it in this process.
    pub(super) fn explanation(&self) -> Explanation {
        let declared = &self.function.site.declared;
        let names = declared.parts.iter().map(|name| (*name).to_owned());
        let mut explanation = Explanation {
            function: declared.name(),
            key: self.digest.text(),
            parts: names.zip(self.values.iter().cloned()).collect(),
            tier: None,
            age: None,
            time_left: None,
            stale: false,
            last_miss: self.function.counters.last_miss(self.hash),
        };
        if let Some(tables) = &self.function.tables {
            let same = |key: &K| *key == self.key;
            // SAFETY: the types are those that `Site::function` was asked with.
            let holds = |found: &Held<'_>| self.function.holds(found);
            let standing = unsafe {
                tables.standing::<K, O::Value>(self.function.stamp(), self.hash, same, holds)
            };
            let now = self.function.clock.now();
            if let Some(standing) = standing.filter(|standing| standing.deadline > now) {
                let left = Duration::from_millis(standing.deadline - now);
                let fresh = left.saturating_sub(self.function.times.stale);
                let stale = fresh.is_zero();
                let left = if stale { left } else { fresh };
                let found = Standing {
                    age: standing.age(now).map(Duration::from_millis),
                    time_left: (standing.deadline != NEVER).then_some(left),
                    stale,
                };
                explanation.found("memory", found);
            }
        }
        explanation
    }

    /// What the store knows of it.
    pub(super) fn explain_store(&self, explanation: &mut Explanation) {
        let stale = self.function.times.stale;
        if let Some(seen) = self.function.see(&self.digest)
            && let Some(outside) = self.function.read_store(&self.kind, &seen, stale)
        {
            explanation.found(super::store::NAME, outside.standing());
        }
    }

    pub(super) fn key_of<'a>(&self, whole: &'a super::WholeKey) -> KeyOf<'a, super::WholeKey> {
        KeyOf {
            function: self.function.number,
            hash: self.hash,
            key: whole,
        }
    }

    /// Out of the memory tier. Runs under the guard of the protocol.
    pub(super) fn remove(&self) -> Option<Left> {
        let tables = self.function.tables.as_ref()?;
        let same = |key: &K| *key == self.key;
        // SAFETY: the types are those that `Site::function` was asked with.
        Some(unsafe { tables.remove::<K, O::Value>(self.function.stamp(), self.hash, same) })
    }

    pub(super) fn pending(self) -> Pending<K, O> {
        let Handle {
            function,
            kind,
            hash,
            digest,
            key,
            key_heap,
            ..
        } = self;
        Pending {
            function,
            kind,
            hash,
            digest,
            key,
            key_heap,
            how: How::Cached,
        }
    }
}

impl<K: Eq + Send + Sync + 'static, O: Outcome> Work<K, O> {
    /// A value of the caller's own: its execution begins and ends now.
    pub(super) fn given(&self, value: O::Value) -> Flown {
        let run = self.begin();
        self.keep_value(run, value)
    }

    pub(super) fn value(&self, flown: Flown) -> Option<O::Value> {
        let Flown::Value(any) = flown else {
            return None;
        };
        let entry = any
            .downcast::<crate::tier::memory::Stored<O::Value>>()
            .ok()?;
        Some(crate::tier::memory::Stored::into_value(entry))
    }
}

impl Site {
    /// Clears every entry of the function, of all its instantiations, in a moment.
    #[must_use = "not every tier can do it"]
    pub fn clear_all(&'static self) -> Cleared {
        self.clear_all_here(self.clear_redis())
    }

    /// In Redis alone; what failed.
    pub(crate) fn clear_redis(&self) -> Option<String> {
        blocking::now(self.clear_all_in_redis(&InPlace))
    }

    /// In the tiers but Redis, of which it is told what failed.
    pub(super) fn clear_all_here(&'static self, failure: Option<String>) -> Cleared {
        let mut failures = Vec::from_iter(failure);
        failures.extend(self.clear_all_in_store());
        for function in self.functions() {
            function.clear_all();
        }
        if let Some(tier) = self.cache().config.tiers.outer().last() {
            return Cleared::Pending(Error::cannot_clear_all(&self.declared.name(), &tier.name));
        }
        match failures.is_empty() {
            true => Cleared::Applied,
            false => Cleared::Pending(Error::pending(&self.declared.name(), failures)),
        }
    }
}

/// A key value as a person reads it.
fn shown(value: &Value<'_>) -> String {
    let many = |values: &[Value<'_>]| values.iter().map(shown).collect::<Vec<_>>().join(", ");
    match value {
        Value::None => "None".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Float(value) => format!("{value:?}"),
        Value::Str(text) => format!("{text:?}"),
        Value::List(values) => format!("[{}]", many(values)),
        Value::Tuple(values) => format!("({})", many(values)),
        other => format!("{other:?}"),
    }
}
