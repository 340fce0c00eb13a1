//! The driver for blocking Rust: followers park their thread, with patience. A panic in the function abandons the flight
//! and goes on to the caller; one follower leads then.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::guarded::{Asked, Changing, Entered, Execution, Found, Guarded, Inside, Steps, Storing};
use super::machine::{KeyOf, Seq, ValidFrom};

/// The outcome of a future that waits in place: of steps that are written once for both drivers.
pub fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => unreachable!("a blocking caller waits in place"),
    }
}

/// How long a clear waits for the stores of its key that have begun.
const STORE_PATIENCE: Duration = Duration::from_secs(60);

/// The life of a call that missed. A follower that waited for `patience` runs the function itself and stores nothing.
pub fn run<K, V, L, F, S, D, P, R>(
    protocol: &Guarded<K, V>,
    asked: Asked<'_, K>,
    patience: Duration,
    steps: Steps<L, F, S, D, P>,
) -> V
where
    K: Eq + Clone,
    V: Clone,
    L: FnOnce() -> Option<Found<V>>,
    F: FnOnce() -> V,
    S: FnOnce(&V),
    D: FnOnce(),
    P: FnOnce(&V) -> R,
{
    // No tier here is cleared from elsewhere: who was let in may take it.
    run_from(protocol, asked, patience, steps, || ValidFrom::Joined)
}

/// The same over a tier that is cleared from elsewhere: from when on the value counts is asked when the flight has ended.
pub fn run_from<K, V, L, F, S, D, P, R>(
    protocol: &Guarded<K, V>,
    asked: Asked<'_, K>,
    patience: Duration,
    steps: Steps<L, F, S, D, P>,
    valid_from: impl FnOnce() -> ValidFrom,
) -> V
where
    K: Eq + Clone,
    V: Clone,
    L: FnOnce() -> Option<Found<V>>,
    F: FnOnce() -> V,
    S: FnOnce(&V),
    D: FnOnce(),
    P: FnOnce(&V) -> R,
{
    let started = protocol.begin();
    let mut deadline: Option<Option<Instant>> = None; // read when it is needed; none at all if it is beyond all time
    loop {
        let waiting = match protocol.enter(&asked) {
            Entered::Run(execution) => return lead(execution, steps, valid_from),
            Entered::Wait(waiting) => waiting,
        };
        let deadline = *deadline.get_or_insert_with(|| Instant::now().checked_add(patience));
        if waiting.cell.landed.wait(0, deadline) {
            if let Some(value) = waiting.take(started) {
                return value;
            }
        } else if let Some(_execution) = waiting.give_up() {
            return (steps.compute)();
        }
    }
}

fn lead<K, V, L, F, S, D, P, R>(
    execution: Execution<'_, K, V>,
    steps: Steps<L, F, S, D, P>,
    valid_from: impl FnOnce() -> ValidFrom,
) -> V
where
    K: Eq + Clone,
    V: Clone,
    L: FnOnce() -> Option<Found<V>>,
    F: FnOnce() -> V,
    S: FnOnce(&V),
    D: FnOnce(),
    P: FnOnce(&V) -> R,
{
    let inside = Inside::enter(execution.flight());
    let found = (steps.look)();
    let fill = found.as_ref().is_none_or(|found| found.backfill);
    let value = found.map_or_else(steps.compute, |found| found.value);
    if let Some(store) = steps.store.filter(|_| fill)
        && let Some(announced) = execution.announce()
    {
        let _storing = Storing::enter();
        let stored = catch_unwind(AssertUnwindSafe(|| store(&value)));
        if announced.overtaken() {
            (steps.unstore)();
        }
        stored.unwrap_or_else(|panic| resume_unwind(panic));
    }
    drop(inside);
    execution.land(&value, valid_from(), Some(steps.keep).filter(|_| fill));
    value
}

/// Clears a key: waits for the stores of the key that run, `delete`s it from the slower tiers (outermost first), and at the
/// end `remove`s it from the memory tier, under the guard, even if `delete` panicked. From inside a store it waits for none:
/// they remove what they set.
pub fn clear<K: Eq + Clone, V: Clone, T, R>(
    protocol: &Guarded<K, V>,
    key: KeyOf<'_, K>,
    delete: impl FnOnce() -> T,
    remove: impl FnOnce() -> R,
) -> T {
    let changing = Changing::begin(
        protocol,
        key,
        |machine| Some(machine.clear_begin(key)),
        |_| remove(),
    );
    if let Some(changing) = &changing {
        wait_for_stores(protocol, changing);
    }
    delete()
}

/// Replaces the value of a key by one whose execution began at `token` (skip_arg, refresh, set_cached_value): `set`s it in
/// the slower tiers, outermost first. `last` runs under the guard: it keeps the value in the memory tier if it is told that it
/// stands, else it removes what is there. `None`: refused, nothing stored; from inside another store of the key, what is
/// there is `delete`d too.
pub fn supersede<K: Eq + Clone, V: Clone, T, R>(
    protocol: &Guarded<K, V>,
    key: KeyOf<'_, K>,
    token: Seq,
    set: impl FnOnce() -> T,
    delete: impl FnOnce(),
    last: impl FnOnce(bool) -> R,
) -> Option<T> {
    let mut changing = Changing::begin(
        protocol,
        key,
        |machine| machine.supersede_begin(key, token),
        last,
    )?;
    if !wait_for_stores(protocol, &changing) {
        delete();
        return None;
    }
    let _storing = Storing::enter();
    let result = set();
    if changing.overtaken() {
        delete();
    }
    changing.done = true;
    Some(result)
}

/// Whether no store of the key runs any more; else it has been overtaken.
fn wait_for_stores<K: Eq + Clone, V: Clone, P: FnOnce(bool) -> R, R>(
    protocol: &Guarded<K, V>,
    changing: &Changing<'_, K, V, P, R>,
) -> bool {
    let deadline = Instant::now() + STORE_PATIENCE;
    while let Some(round) = changing.stores_running() {
        if Storing::now() || !protocol.stores_ended.wait(round, Some(deadline)) {
            changing.overtake();
            return false;
        }
    }
    true
}
