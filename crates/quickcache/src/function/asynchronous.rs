//! The async door of a call and of the companions: the same life as in `call` and `entry`, with futures for what takes time.
//! A blocking cache behind an async function is asked in place.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use futures_timer::Delay;

use super::call::{How, Pending};
use super::entry::{Cleared, Handle};
use super::redis::Soon;
use super::work::Work;
use super::{Flown, Function, Site, protocol};
use crate::key::v1::Digest;
use crate::probe::Outcome;
use crate::protocol::asynchronous;
use crate::protocol::guarded::{Asked, Found, Steps};
use crate::protocol::machine::Seq;
use crate::stats::{Event, Explanation};
use crate::tier::store::{Next, Patience};
use crate::tier::user::{Done, Erased, Outer};

pub(super) async fn get(tier: &Outer, key: &str) -> Done<Option<Vec<u8>>> {
    match &tier.cache {
        Erased::Blocking(cache) => cache.get(key),
        Erased::Async(cache) => cache.get(key).await,
    }
}

impl Function {
    async fn delete_async(&self, key: &Digest) -> Vec<String> {
        let text = key.text();
        let mut failures = Vec::new();
        for tier in self.outer.iter().rev() {
            let deleted = match &tier.cache {
                Erased::Blocking(cache) => cache.delete(&text),
                Erased::Async(cache) => cache.delete(&text).await,
            };
            if let Err(error) = deleted {
                self.failed(tier, "delete", &error);
                failures.push(format!("tier `{}`: {error}", tier.name));
            }
        }
        failures.extend(self.clear_in_redis(&Soon, key).await);
        failures.extend(self.clear_in_store(key));
        failures
    }
}

impl<K: Eq + Send + Sync + 'static, O: Outcome> Pending<K, O> {
    /// Ends the call: `body` makes the function's future.
    pub async fn lead_async<F: Future<Output = O::Returned>>(
        self,
        body: impl FnOnce() -> F,
    ) -> O::Returned {
        match self.how {
            How::Alone => body().await,
            How::Anew => self.refresh_async(body).await,
            How::Cached => self.fly_async(body).await,
        }
    }

    async fn fly_async<F: Future<Output = O::Returned>>(
        self,
        body: impl FnOnce() -> F,
    ) -> O::Returned {
        let patience = self.function.patience();
        let followers = &self.function.followers;
        let work = Work::new(self);
        let whole = work.whole();
        let asked = Asked {
            key: work.key_of(&whole),
            generation: work.see(),
        };
        let mut body = Some(body);
        let flown = asynchronous::run_from(
            protocol(),
            asked,
            followers.wait(patience), // begun when it is polled: by a follower
            Steps {
                look: || work.look_and_put_async(),
                compute: || work.compute_async(body.take()),
                store: work
                    .has_outer()
                    .then_some(async |flown: Flown| work.store_async(&flown).await),
                unstore: || work.delete_async(),
                keep: |flown: &Flown| work.keep(flown),
            },
            || work.valid_from(),
        )
        .await;
        match work.end(flown) {
            Ok(returned) => returned,
            // Only a follower has nothing of its own.
            Err(_) => match body.take() {
                Some(body) => body().await,
                None => unreachable!("a result that is not shared is another call's"),
            },
        }
    }

    /// Runs the function, and stores the result in place of what is there.
    pub async fn refresh_async<F: Future<Output = O::Returned>>(
        self,
        body: impl FnOnce() -> F,
    ) -> O::Returned {
        if !self.function.enabled() {
            return body().await;
        }
        let token = protocol().lock().now();
        let work = Work::new(self);
        work.see();
        work.take_in_redis(&Soon).await;
        let run = work.begin();
        let flown = work.finish(run, body().await);
        work.supersede_async(token, &flown).await;
        match work.end(flown) {
            Ok(returned) => returned,
            Err(_) => unreachable!("the result is the call's own"),
        }
    }
}

impl<K: Eq + Send + Sync + 'static, O: Outcome> Work<K, O> {
    /// In every tier, in place of what is there.
    async fn supersede_async(&self, token: Seq, flown: &Flown) {
        if !matches!(flown, Flown::Value(_)) {
            return;
        }
        if !self.supersede_in_redis(&Soon, flown).await {
            return self.clear_older();
        }
        if !self.has_outer() {
            return self.supersede_here(token, flown);
        }
        if !self.supersede_in_store(flown) {
            return;
        }
        let whole = self.whole();
        asynchronous::supersede(
            protocol(),
            self.key_of(&whole),
            token,
            self.store_async(flown),
            self.delete_async(),
            |stands| self.keep_or_remove(stands, flown),
        )
        .await;
    }

    /// As a leader looks: what slower tiers have is put into the store too.
    async fn look_and_put_async(&self) -> Option<Found<Flown>> {
        let mut found = self.look_async().await?;
        if found.backfill {
            found.value = self.put_in_store(found.value, true);
        }
        Some(found)
    }

    async fn compute_async<F: Future<Output = O::Returned>>(
        &self,
        body: Option<impl FnOnce() -> F>,
    ) -> Flown {
        let run = self.begin();
        let Some(body) = body else {
            return Flown::Lone;
        };
        let flown = self.finish(run, body().await);
        self.fill_redis(&Soon, &flown).await;
        let flown = self.or_stale_async(flown).await;
        self.put_in_store(flown, true)
    }

    async fn look_async(&self) -> Option<Found<Flown>> {
        if let Some(found) = self.look_again() {
            return Some(found);
        }
        self.hooks().codec?;
        if let Some(found) = self.look_at_store_async().await {
            return Some(found);
        }
        if let Some(found) = self.look_at_redis(&Soon).await {
            return Some(found);
        }
        self.look_outside_async().await
    }

    /// Asks every tier, and waits for none.
    async fn peek_async(&self) -> Option<Found<Flown>> {
        if let Some(found) = self.look_again() {
            return Some(found);
        }
        self.hooks().codec?;
        if let Some(found) = self.peek_at_store() {
            return Some(found);
        }
        match self.peek_at_redis(&Soon).await {
            Some(found) => Some(found),
            None => self.look_outside_async().await,
        }
    }

    /// As `look_at_store`. A task cannot sleep on a futex: it looks again after one millisecond, two, and so on up to twenty.
    async fn look_at_store_async(&self) -> Option<Found<Flown>> {
        const MOST: Duration = Duration::from_millis(20);
        let mut patience = Patience::new(self.function.patience());
        let (mut pause, mut waiting) = (Duration::from_millis(1), None);
        loop {
            match self.turn(waiting.as_ref(), patience.is_over()) {
                Next::Found(outside) => return self.found(0, outside),
                Next::Run => return None,
                Next::Wait(next) => {
                    waiting = Some(next);
                    Delay::new(pause.min(patience.left())).await;
                    pause = (pause * 2).min(MOST);
                }
            }
        }
    }

    async fn look_outside_async(&self) -> Option<Found<Flown>> {
        if !self.has_outer() || self.in_doubt() {
            return None;
        }
        let text = self.digest.text();
        let first = self.function.times.own();
        for (at, tier) in self.function.outer.iter().enumerate() {
            match get(tier, &text).await {
                Ok(None) => {}
                Ok(Some(bytes)) => {
                    if let Some(outside) =
                        self.function
                            .read(&self.kind, &self.digest, &bytes, Duration::ZERO)
                    {
                        return self.found(first + at, outside);
                    }
                }
                Err(error) => self.function.failed(tier, "get", &error),
            }
        }
        None
    }

    /// Deletes from every slower tier; what fails is counted and logged.
    async fn delete_async(&self) {
        self.function.delete_async(&self.digest).await;
    }

    async fn store_async(&self, flown: &Flown) {
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
            let stored = match &tier.cache {
                Erased::Blocking(cache) => cache.set(&text, &bytes, life),
                Erased::Async(cache) => cache.set(&text, &bytes, life).await,
            };
            if let Err(error) = stored {
                self.function.failed(tier, "set", &error);
            }
        }
    }
}

/// `set_cached_value(...)` of an async function, before `.to(value).await`.
#[must_use = "say which value: `.to(value).await`"]
pub struct SettingAsync<V>(Box<dyn FnOnce(V) -> Stored + Send>);

type Stored = Pin<Box<dyn Future<Output = ()> + Send>>;

impl<V> std::fmt::Debug for SettingAsync<V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SettingAsync").finish_non_exhaustive()
    }
}

impl<V> SettingAsync<V> {
    /// Caches the value, in place of what is there. A clear that comes between takes it away again.
    pub async fn to(self, value: V) {
        (self.0)(value).await;
    }
}

impl<K: Eq + Send + Sync + 'static, O: Outcome> Handle<K, O> {
    /// Clears it.
    pub async fn clear_async(self) -> Cleared {
        if self.function.outer.is_empty() {
            let failures = self.function.delete_async(&self.digest).await;
            return self.cleared(failures);
        }
        let whole = *self.digest.as_bytes();
        let key = self.key_of(&whole);
        let delete = self.function.delete_async(&self.digest);
        let failures = asynchronous::clear(protocol(), key, delete, || self.remove()).await;
        self.function.counters.happened(self.hash, Event::Cleared);
        Cleared::new(self.function, failures)
    }

    /// Its value, if it has one.
    pub async fn get_async(self) -> Option<O::Value> {
        // Without what the function returns around the value, which may be tied to this thread.
        self.of_value().value_async().await
    }

    async fn value_async(self) -> Option<O::Value> {
        if !self.function.enabled() {
            return None;
        }
        let work = Work::new(self.pending());
        let found = work.peek_async().await?;
        work.value(found.value)
    }

    /// Its value as what the function would have returned.
    pub async fn get_whole_async(self) -> Option<O::Returned> {
        let kind = self.kind;
        self.of_value()
            .value_async()
            .await
            .map(|value| kind.join(value))
    }

    /// For `.to(value)`.
    pub fn set_async(self) -> SettingAsync<O::Value> {
        SettingAsync(Box::new(move |value| {
            Box::pin(self.of_value().store_async(value))
        }))
    }

    /// For `.to(returned)`: an `Err` is not stored.
    pub fn set_whole_async(self) -> SettingAsync<O::Returned> {
        let kind = self.kind;
        SettingAsync(Box::new(move |returned| match kind.split(returned) {
            Ok(value) => Box::pin(self.of_value().store_async(value)),
            Err(_) => Box::pin(async {}),
        }))
    }

    async fn store_async(self, value: O::Value) {
        if !self.function.enabled() {
            return;
        }
        let token = protocol().lock().now();
        let work = Work::new(self.pending());
        work.see();
        work.take_in_redis(&Soon).await;
        let flown = work.given(value);
        work.supersede_async(token, &flown).await;
        work.settle();
    }

    /// What is known of it.
    pub async fn explain_async(self) -> Explanation {
        let mut explanation = self.explanation();
        if !explanation.has_fresh() {
            self.explain_store(&mut explanation);
        }
        if !explanation.has_fresh() {
            self.explain_redis(&Soon, &mut explanation).await;
        }
        let text = self.digest.text();
        for tier in &self.function.outer {
            if !explanation.has_fresh()
                && let Ok(Some(bytes)) = get(tier, &text).await
            {
                self.explain_bytes(tier, &bytes, &mut explanation);
            }
        }
        explanation
    }
}

impl Site {
    /// As `clear_all`.
    pub async fn clear_all_async(&'static self) -> Cleared {
        let failures = self.clear_all_in_redis(&Soon).await;
        self.clear_all_here(failures)
    }
}
