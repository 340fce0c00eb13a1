//! The driver for futures, on any runtime: followers leave a waker. A leader whose future is dropped abandons its flight,
//! and one of its followers leads then, with a future of its own (futures borrow, so they cannot be handed on).

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use super::guarded::{Asked, Changing, Entered, Execution, Found, Guarded, Inside, Steps};
use super::machine::{FlightId, KeyOf, Seq, ValidFrom};

/// The life of a call that missed. `look` and `compute` are futures, made by the caller and not yet polled; `store` makes
/// one. A follower for which `patience` is over (a timer of the caller's runtime, or `std::future::pending()`) runs the
/// function itself and stores nothing.
///
/// If the future is dropped while `store` is under way, the store has ended for the protocol: a cache whose store goes on
/// after its future was dropped is to spawn it.
pub async fn run<K, V, L, F, S, D, P, R>(
    protocol: &Guarded<K, V>,
    asked: Asked<'_, K>,
    patience: impl Future<Output = ()>,
    steps: Steps<L, F, S, P>,
) -> V
where
    K: Eq + Clone,
    V: Clone,
    L: Future<Output = Option<Found<V>>>,
    F: Future<Output = V>,
    S: FnOnce(V) -> D,
    D: Future<Output = ()>,
    P: FnOnce(&V) -> R,
{
    let started = protocol.begin();
    let mut patience = pin!(patience);
    loop {
        let waiting = match protocol.enter(&asked) {
            Entered::Run(execution) => return lead(execution, steps).await,
            Entered::Wait(waiting) => waiting,
        };
        let cell = waiting.cell.clone();
        let mut landed = pin!(cell.landed.raised(0));
        let landed = poll_fn(|context| match landed.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(true),
            Poll::Pending => patience.as_mut().poll(context).map(|()| false),
        });
        if landed.await {
            if let Some(value) = waiting.take(started) {
                return value;
            }
        } else if let Some(_execution) = waiting.give_up() {
            return steps.compute.await;
        }
    }
}

async fn lead<K, V, L, F, S, D, P, R>(execution: Execution<'_, K, V>, steps: Steps<L, F, S, P>) -> V
where
    K: Eq + Clone,
    V: Clone,
    L: Future<Output = Option<Found<V>>>,
    F: Future<Output = V>,
    S: FnOnce(V) -> D,
    D: Future<Output = ()>,
    P: FnOnce(&V) -> R,
{
    let flight = execution.flight();
    let found = inside(flight, steps.look).await;
    let fill = found.as_ref().is_none_or(|found| found.backfill);
    let value = match found {
        Some(found) => found.value,
        None => inside(flight, steps.compute).await,
    };
    if let Some(store) = steps.store.filter(|_| fill)
        && let Some(_announced) = execution.announce()
    {
        inside(flight, store(value.clone())).await;
    }
    // No tier here is cleared from elsewhere: who was let in may take it.
    execution.land(&value, ValidFrom::Joined, Some(steps.keep).filter(|_| fill));
    value
}

/// Clears a key; as `blocking::clear`. The clear begins when the future is first polled. Dropped half-way, the key is removed
/// from the memory tier all the same.
pub async fn clear<K: Eq + Clone, V: Clone, T, R>(
    protocol: &Guarded<K, V>,
    key: KeyOf<'_, K>,
    delete: impl Future<Output = T>,
    remove: impl FnOnce() -> R,
) -> T {
    let changing = Changing::begin(
        protocol,
        key,
        |machine| Some(machine.clear_begin(key)),
        |_| remove(),
    );
    while let Some(round) = changing.as_ref().and_then(Changing::stores_running) {
        protocol.stores_ended.raised(round).await;
    }
    delete.await
}

/// Replaces the value of a key; as `blocking::supersede`.
pub async fn supersede<K: Eq + Clone, V: Clone, T, R>(
    protocol: &Guarded<K, V>,
    key: KeyOf<'_, K>,
    token: Seq,
    set: impl Future<Output = T>,
    keep: impl FnOnce() -> R,
) -> Option<T> {
    let mut changing = Changing::begin(
        protocol,
        key,
        |machine| machine.supersede_begin(key, token),
        |stands| stands.then(keep),
    )?;
    while let Some(round) = changing.stores_running() {
        protocol.stores_ended.raised(round).await;
    }
    let result = set.await;
    changing.done = true;
    Some(result)
}

/// Polls a future such that the calls it makes are made within `flight`.
async fn inside<T>(flight: Option<FlightId>, future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    poll_fn(move |context: &mut Context<'_>| {
        let _inside = Inside::enter(flight);
        Pin::as_mut(&mut future).poll(context)
    })
    .await
}
