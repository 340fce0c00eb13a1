//! P7: concurrent calls on a cold key run the function once; and nothing is held for keys that nobody asks for.

use crate::{Claims, F, Flights, G, OUTSIDE, key, within};

#[test]
fn p7_one_leads_and_all_others_follow() {
    let mut machine = Flights::new();
    let leader = machine.leads(key(F, &"a"), OUTSIDE);
    let followers: Vec<_> = (0..100)
        .map(|_| machine.follows(key(F, &"a"), OUTSIDE))
        .collect();
    assert!(
        followers
            .iter()
            .all(|follower| Some(follower.flight()) == leader.flight())
    );
    assert!(machine.land(leader).good);
    followers
        .into_iter()
        .for_each(|follower| machine.wait_end(follower));
    assert!(machine.is_idle());
}

#[test]
fn p7_other_keys_and_other_functions_do_not_wait() {
    let mut machine = Flights::new();
    let tickets = [
        machine.leads(key(F, &"ab"), OUTSIDE),
        machine.leads(key(F, &"ac"), OUTSIDE), // the same hash
        machine.leads(key(G, &"ab"), OUTSIDE), // the same key of another function
    ];
    assert!(tickets.into_iter().all(|ticket| machine.land(ticket).good));
}

#[test]
fn p7_a_clear_in_between_adds_one_execution() {
    let mut machine = Flights::new();
    let old = machine.leads(key(F, &"a"), OUTSIDE);
    machine.clear(key(F, &"a"));
    let new = machine.leads(key(F, &"a"), OUTSIDE);
    let follower = machine.follows(key(F, &"a"), OUTSIDE);
    let _ = (machine.land(old), machine.land(new));
    machine.wait_end(follower);
}

#[test]
fn p7_of_the_followers_of_an_abandoned_flight_one_leads() {
    let mut machine = Flights::new();
    let leader = machine.leads(key(F, &"a"), OUTSIDE);
    let first = machine.follows(key(F, &"a"), OUTSIDE);
    let second = machine.follows(key(F, &"a"), OUTSIDE);
    assert_eq!(machine.abandon(leader), Some(("a", 0)));
    machine.wait_end(first);
    machine.wait_end(second);
    let leader = machine.leads(key(F, &"a"), OUTSIDE);
    let second = machine.follows(key(F, &"a"), OUTSIDE);
    assert!(machine.land(leader).good);
    machine.wait_end(second);
}

#[test]
fn p7_two_calls_side_by_side_in_one_execution_share_a_flight() {
    let mut machine = Flights::new();
    let outer = machine.leads(key(F, &"a"), OUTSIDE);
    let first = machine.leads(key(G, &"a"), within(&outer));
    let second = machine.follows(key(G, &"a"), within(&outer)); // join!(g(a), g(a))
    let _ = machine.land(first);
    machine.wait_end(second);
    let _ = machine.land(outer);
    assert!(machine.is_idle());
}

#[test]
fn p7_a_detached_flight_is_not_joined_and_still_lands() {
    let mut machine = Flights::new();
    let lost = machine.leads(key(F, &"a"), OUTSIDE); // its event loop was closed
    machine.detach(lost.flight().unwrap());
    let new = machine.leads(key(F, &"a"), OUTSIDE);
    assert!(machine.land(new).good);
    assert!(machine.land(lost).good);
    assert!(machine.is_idle());
}

#[test]
fn p7_the_machine_holds_nothing_for_keys_that_are_gone() {
    let mut machine = quickcache::protocol::machine::Machine::<u64, ()>::new();
    for number in 0..100_000 {
        let key = quickcache::protocol::machine::KeyOf {
            function: F,
            hash: number,
            key: &number,
        };
        let quickcache::protocol::machine::Enter::Lead(ticket) = machine.enter(key, OUTSIDE, || ())
        else {
            panic!("leads");
        };
        let store = machine.store_begin(key, ticket.token()).unwrap();
        let _ = machine.store_end(store);
        let _ = machine.land(ticket);
        let clearing = machine.clear_begin(key);
        let _ = machine.clear_end(key, clearing);
    }
    assert!(machine.is_idle());
}
