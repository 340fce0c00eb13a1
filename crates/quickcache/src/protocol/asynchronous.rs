//! The driver for futures, on any runtime: followers leave a waker. A leader whose future is dropped abandons its flight,
//! and one of its followers leads then, with a future of its own (futures borrow, so they cannot be handed on).

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use super::guarded::{Asked, Changing, Entered, Execution, Found, Guarded, Inside, Steps, Storing};
use super::machine::{FlightId, KeyOf, Seq, ValidFrom};

/// The life of a call that missed. `look`, `compute` and `unstore` are futures, made by the caller and not yet polled;
/// `store` makes one. A follower for which `patience` is over (a timer of the caller's runtime, or `std::future::pending()`) runs the
/// function itself and stores nothing.
///
/// If the future is dropped while `store` is under way, the store has ended for the protocol: a cache whose store goes on
/// after its future was dropped is to spawn it.
pub async fn run<K, V, L, F, S, W, D, P, R>(
    protocol: &Guarded<K, V>,
    asked: Asked<'_, K>,
    patience: impl Future<Output = ()>,
    steps: Steps<L, F, S, D, P>,
) -> V
where
    K: Eq + Clone,
    V: Clone,
    L: Future<Output = Option<Found<V>>>,
    F: Future<Output = V>,
    S: FnOnce(V) -> W,
    W: Future<Output = ()>,
    D: Future<Output = ()>,
    P: FnOnce(&V) -> R,
{
    // No tier here is cleared from elsewhere: who was let in may take it.
    run_from(protocol, asked, patience, steps, || ValidFrom::Joined).await
}

/// The same over a tier that is cleared from elsewhere: from when on the value counts is asked when the flight has ended.
pub async fn run_from<K, V, L, F, S, W, D, P, R>(
    protocol: &Guarded<K, V>,
    asked: Asked<'_, K>,
    patience: impl Future<Output = ()>,
    steps: Steps<L, F, S, D, P>,
    valid_from: impl FnOnce() -> ValidFrom,
) -> V
where
    K: Eq + Clone,
    V: Clone,
    L: Future<Output = Option<Found<V>>>,
    F: Future<Output = V>,
    S: FnOnce(V) -> W,
    W: Future<Output = ()>,
    D: Future<Output = ()>,
    P: FnOnce(&V) -> R,
{
    let started = protocol.begin();
    let mut patience = pin!(patience);
    loop {
        let waiting = match protocol.enter(&asked) {
            Entered::Run(execution) => return lead(execution, steps, valid_from).await,
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

async fn lead<K, V, L, F, S, W, D, P, R>(
    execution: Execution<'_, K, V>,
    steps: Steps<L, F, S, D, P>,
    valid_from: impl FnOnce() -> ValidFrom,
) -> V
where
    K: Eq + Clone,
    V: Clone,
    L: Future<Output = Option<Found<V>>>,
    F: Future<Output = V>,
    S: FnOnce(V) -> W,
    W: Future<Output = ()>,
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
        && let Some(announced) = execution.announce()
    {
        inside(flight, storing(store(value.clone()))).await;
        if announced.overtaken() {
            inside(flight, storing(steps.unstore)).await;
        }
    }
    execution.land(&value, valid_from(), Some(steps.keep).filter(|_| fill));
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
    if let Some(changing) = &changing {
        wait_for_stores(protocol, changing).await;
    }
    delete.await
}

/// Replaces the value of a key; as `blocking::supersede`.
pub async fn supersede<K: Eq + Clone, V: Clone, T, R>(
    protocol: &Guarded<K, V>,
    key: KeyOf<'_, K>,
    token: Seq,
    set: impl Future<Output = T>,
    delete: impl Future<Output = ()>,
    last: impl FnOnce(bool) -> R,
) -> Option<T> {
    let mut changing = Changing::begin(
        protocol,
        key,
        |machine| machine.supersede_begin(key, token),
        last,
    )?;
    if !wait_for_stores(protocol, &changing).await {
        delete.await;
        return None;
    }
    let result = storing(set).await;
    if changing.overtaken() {
        storing(delete).await;
    }
    changing.done = true;
    Some(result)
}

/// Whether no store of the key runs any more; else it has been overtaken.
async fn wait_for_stores<K: Eq + Clone, V: Clone, P: FnOnce(bool) -> R, R>(
    protocol: &Guarded<K, V>,
    changing: &Changing<'_, K, V, P, R>,
) -> bool {
    while let Some(round) = changing.stores_running() {
        if Storing::now() {
            changing.overtake();
            return false;
        }
        protocol.stores_ended.raised(round).await;
    }
    true
}

/// Polls a future such that the clears it makes are made from inside a store.
async fn storing<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    poll_fn(move |context: &mut Context<'_>| {
        let _storing = Storing::enter();
        Pin::as_mut(&mut future).poll(context)
    })
    .await
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
