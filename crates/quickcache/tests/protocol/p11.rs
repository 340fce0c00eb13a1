//! P11: no call waits for itself, whoever is between; the child of a fork waits for nobody.

use crate::{Claims, F, Flights, G, OUTSIDE, key, within};

#[test]
fn p11_a_function_that_calls_itself_runs_alone() {
    let mut machine = Flights::new();
    let outer = machine.leads(key(F, &"a"), OUTSIDE);
    let inner = machine.runs_alone(key(F, &"a"), within(&outer));
    assert_eq!(inner.flight(), None);
    assert!(machine.land(inner).good, "it may store what it computed");
    assert!(machine.land(outer).good);
}

#[test]
fn p11_a_recursion_through_another_key_runs_alone() {
    let mut machine = Flights::new();
    let a = machine.leads(key(F, &"a"), OUTSIDE);
    let b = machine.leads(key(F, &"b"), within(&a));
    let _ = machine.runs_alone(key(F, &"a"), within(&b));
}

#[test]
fn p11_cycle_of_two_functions_and_two_threads_never_deadlocks() {
    let mut machine = Flights::new();
    let f = machine.leads(key(F, &"a"), OUTSIDE); // thread 1
    let g = machine.leads(key(G, &"a"), OUTSIDE); // thread 2
    let waits = machine.follows(key(G, &"a"), within(&f)); // thread 1 waits for 2
    let alone = machine.runs_alone(key(F, &"a"), within(&g)); // thread 2 would wait for 1
    assert!(machine.land(alone).good);
    assert!(machine.land(g).good);
    machine.wait_end(waits);
    assert!(machine.land(f).good);
    assert!(machine.is_idle());
}

#[test]
fn p11_a_cycle_is_seen_through_any_chain() {
    let mut machine = Flights::new();
    let keys = [key(F, &"a"), key(F, &"b"), key(F, &"c"), key(F, &"d")];
    let leaders = keys.map(|key| machine.leads(key, OUTSIDE));
    let inner = machine.leads(key(G, &"z"), within(&leaders[3])); // the last leads one more on the way
    let _waits = [0, 1, 2].map(|at| machine.follows(keys[at + 1], within(&leaders[at])));
    let _ = machine.runs_alone(keys[0], within(&inner));
    let _ = machine.runs_alone(keys[3], within(&inner));
    let outside = machine.follows(keys[0], OUTSIDE);
    machine.wait_end(outside);
}

#[test]
fn p11_what_is_not_a_cycle_is_not_taken_for_one() {
    let mut machine = Flights::new();
    let f = machine.leads(key(F, &"a"), OUTSIDE);
    let g = machine.leads(key(G, &"a"), OUTSIDE);
    let waited = machine.follows(key(G, &"a"), within(&f));
    machine.wait_end(waited); // f waits no longer: it was cancelled, or took what it got
    let waits = machine.follows(key(F, &"a"), within(&g));
    machine.wait_end(waits);
}

#[test]
fn p11_who_gave_up_is_no_part_of_a_cycle() {
    let mut machine = Flights::new();
    let f = machine.leads(key(F, &"a"), OUTSIDE);
    let g = machine.leads(key(G, &"a"), OUTSIDE);
    let waited = machine.follows(key(G, &"a"), within(&f));
    let _ = machine.give_up(key(G, &"a"), waited);
    let waits = machine.follows(key(F, &"a"), within(&g));
    machine.wait_end(waits);
}

#[test]
fn p11_a_nested_flight_that_ended_is_no_part_of_a_cycle() {
    let mut machine = Flights::new();
    let f = machine.leads(key(F, &"a"), OUTSIDE);
    let g = machine.leads(key(G, &"a"), within(&f));
    let stale = within(&g);
    let _ = machine.land(g);
    let waits = machine.follows(key(F, &"a"), stale); // a task that g left behind may wait for f
    machine.wait_end(waits);
    assert!(machine.land(f).good);
}

#[test]
fn p11_one_of_several_waits_of_an_execution_is_enough_for_a_cycle() {
    let mut machine = Flights::new();
    let f = machine.leads(key(F, &"a"), OUTSIDE);
    let (g, h) = (
        machine.leads(key(G, &"a"), OUTSIDE),
        machine.leads(key(G, &"b"), OUTSIDE),
    );
    let first = machine.follows(key(G, &"a"), within(&f)); // join!(g(a), g(b), g(a))
    let second = machine.follows(key(G, &"b"), within(&f));
    let third = machine.follows(key(G, &"a"), within(&f));
    let _ = machine.runs_alone(key(F, &"a"), within(&g));
    let _ = machine.runs_alone(key(F, &"a"), within(&h));
    machine.wait_end(first);
    let _ = machine.runs_alone(key(F, &"a"), within(&g));
    machine.wait_end(third);
    let now_free = machine.follows(key(F, &"a"), within(&g));
    machine.wait_end(now_free);
    let _ = machine.runs_alone(key(F, &"a"), within(&h));
    machine.wait_end(second);
}

#[test]
fn p11_a_detached_flight_is_still_waited_for() {
    let mut machine = Flights::new();
    let f = machine.leads(key(F, &"a"), OUTSIDE);
    let g = machine.leads(key(G, &"a"), OUTSIDE);
    let waits = machine.follows(key(G, &"a"), within(&f));
    machine.clear(key(G, &"a")); // f goes on waiting for g's first flight
    let _ = machine.runs_alone(key(F, &"a"), within(&g));
    let _ = machine.land(g);
    machine.wait_end(waits);
}

#[test]
fn p11_after_a_clear_a_recursion_leads_anew() {
    let mut machine = Flights::new();
    let outer = machine.leads(key(F, &"a"), OUTSIDE);
    machine.clear(key(F, &"a"));
    let inner = machine.leads(key(F, &"a"), within(&outer));
    let _ = machine.runs_alone(key(F, &"a"), within(&inner));
    assert!(machine.land(inner).good);
    assert!(!machine.land(outer).good);
}

#[test]
fn p11_ids_of_two_machines_differ() {
    let (mut one, mut two) = (Flights::new(), Flights::new());
    let first = one.leads(key(F, &"a"), OUTSIDE);
    let second = two.leads(key(F, &"a"), OUTSIDE);
    assert_ne!(first.flight(), second.flight());
    let follower = two.follows(key(F, &"a"), within(&first));
    two.wait_end(follower);
}

#[test]
fn p11_child_of_fork_never_waits() {
    let mut machine = Flights::new();
    let flight = machine.leads(key(F, &"a"), OUTSIDE);
    let follower = machine.follows(key(F, &"a"), OUTSIDE);
    let store = machine.store_begin(key(F, &"b"), machine.now()).unwrap();
    let clearing = machine.clear_begin(key(F, &"c"));
    let during = machine.now();

    let mut left = machine.after_fork_in_child();
    left.sort_unstable();
    assert_eq!(left, [("a", Some(0)), ("b", None)]);
    assert!(machine.is_idle());
    let own = machine.leads(key(F, &"a"), OUTSIDE);
    assert!(machine.land(own).good);
    let clear = machine.clear_begin(key(F, &"b"));
    assert_eq!(machine.stores_running(&clear), 0);
    let _ = machine.clear_end(key(F, &"b"), clear);
    assert!(
        !machine.good(F, key(F, &"c").hash, during),
        "a clear the parent had begun is kept"
    );
    assert!(
        machine.good(F, key(F, &"c").hash, machine.now()),
        "and is not waited for"
    );

    // The thread that forked goes on, and ends what it had begun.
    assert!(machine.land(flight).left.is_none());
    machine.wait_end(follower);
    assert_eq!(machine.store_end(store).left, None);
    let _ = machine.clear_end(key(F, &"c"), clearing);
    assert!(machine.good(F, key(F, &"c").hash, machine.now()));
}

#[test]
fn p11_child_of_fork_keeps_what_was_cleared() {
    let mut machine = Flights::new();
    let token = machine.now();
    machine.clear(key(F, &"a"));
    machine.clear_all(G);
    machine.after_fork_in_child();
    assert!(!machine.good(F, key(F, &"a").hash, token));
    assert!(!machine.good(G, key(G, &"b").hash, token));
    assert!(machine.good(F, key(F, &"b").hash, token));
}
