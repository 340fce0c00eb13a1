//! The driver for futures, on any runtime: followers leave a waker. A leader whose future is dropped abandons its flight,
//! and one of its followers leads then, with a future of its own (futures borrow, so they cannot be handed on).

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use super::guarded::{Asked, Changing, Entered, Found, Guarded, Inside, Steps, Storing};
use super::machine::{KeyOf, Seq, ValidFrom};

/// Awaits a future where it is made: `.await` moves it there first. With a flight, the calls it makes are made within that.
macro_rules! here {
    ($future:expr) => {{
        let mut future = pin!($future);
        poll_fn(|context| future.as_mut().poll(context)).await
    }};
    ($flight:expr, $future:expr) => {{
        let mut future = pin!($future);
        poll_fn(|context| {
            let _inside = Inside::enter($flight);
            future.as_mut().poll(context)
        })
        .await
    }};
}

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
    let Steps {
        look,
        compute,
        store,
        unstore,
        keep,
    } = steps;
    let steps = Steps {
        look: || look,
        compute: || compute,
        store,
        unstore: || unstore,
        keep,
    };
    // No tier here is cleared from elsewhere: who was let in may take it.
    run_from(protocol, asked, patience, steps, || ValidFrom::Joined).await
}

/// The same over a tier that is cleared from elsewhere: from when on the value counts is asked when the flight has ended. The steps make
/// their futures: one that is made where it is awaited is not moved there, and they are large.
pub async fn run_from<K, V, L, LF, C, CF, S, SF, U, UF, P, R>(
    protocol: &Guarded<K, V>,
    asked: Asked<'_, K>,
    patience: impl Future<Output = ()>,
    steps: Steps<L, C, S, U, P>,
    valid_from: impl FnOnce() -> ValidFrom,
) -> V
where
    K: Eq + Clone,
    V: Clone,
    L: FnOnce() -> LF,
    LF: Future<Output = Option<Found<V>>>,
    C: FnOnce() -> CF,
    CF: Future<Output = V>,
    S: FnOnce(V) -> SF,
    SF: Future<Output = ()>,
    U: FnOnce() -> UF,
    UF: Future<Output = ()>,
    P: FnOnce(&V) -> R,
{
    let started = protocol.begin();
    let execution = {
        let mut patience = pin!(patience);
        loop {
            let waiting = match protocol.enter(&asked) {
                Entered::Run(execution) => break Ok(execution),
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
            } else if let Some(execution) = waiting.give_up() {
                break Err(execution);
            }
        }
    };
    let execution = match execution {
        Ok(execution) => execution,
        Err(_alone) => return here!((steps.compute)()),
    };
    let flight = execution.flight();
    let found = here!(flight, (steps.look)());
    let fill = found.as_ref().is_none_or(|found| found.backfill);
    let value = match found {
        Some(found) => found.value,
        None => here!(flight, (steps.compute)()),
    };
    if let Some(store) = steps.store.filter(|_| fill)
        && let Some(announced) = execution.announce()
    {
        here!(flight, storing(store(value.clone())));
        if announced.overtaken() {
            here!(flight, storing((steps.unstore)()));
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
