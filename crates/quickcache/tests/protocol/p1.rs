//! P1: a call that starts after a clear returned gets no value computed before it.

use quickcache::protocol::machine::{Call, Join, Seq, ValidFrom};

use crate::{Claims, F, Flights, G, OUTSIDE, key};

#[test]
fn p1_clear_beats_a_running_flight() {
    let mut machine = Flights::new();
    let old = machine.leads(key(F, &"a"), OUTSIDE);
    machine.clear(key(F, &"a"));
    assert!(!machine.land(old).good);
}

#[test]
fn p1_without_a_clear_the_fill_is_good() {
    let mut machine = Flights::new();
    let ticket = machine.leads(key(F, &"a"), OUTSIDE);
    machine.clear(key(F, &"b"));
    machine.clear_all(G);
    assert!(machine.land(ticket).good);
}

#[test]
fn p1_a_call_after_a_clear_does_not_join() {
    let mut machine = Flights::new();
    let old = machine.leads(key(F, &"a"), OUTSIDE);
    let early = machine.follows(key(F, &"a"), OUTSIDE);
    machine.clear(key(F, &"a"));
    let new = machine.leads(key(F, &"a"), OUTSIDE);
    assert_ne!(early.flight(), new.flight().unwrap());
    assert!(
        machine.land(old).left.is_some(),
        "those who began before still get its value"
    );
    machine.wait_end(early);
    let late = machine.follows(key(F, &"a"), OUTSIDE);
    assert_eq!(
        late.flight(),
        new.flight().unwrap(),
        "the old flight's end leaves the new one attached"
    );
    machine.wait_end(late);
    assert!(machine.land(new).good);
}

#[test]
fn p1_second_move_catches_a_backfill() {
    let mut machine = Flights::new();
    let clearing = machine.clear_begin(key(F, &"a"));
    let reader = machine.leads(key(F, &"a"), OUTSIDE); // reads the slower tier before the delete
    let _ = machine.clear_end(key(F, &"a"), clearing);
    assert!(machine.store_begin(key(F, &"a"), reader.token()).is_none());
    assert!(!machine.land(reader).good);
}

#[test]
fn p1_second_move_detaches_a_flight_begun_during_the_clear() {
    let mut machine = Flights::new();
    let clearing = machine.clear_begin(key(F, &"a"));
    let reader = machine.leads(key(F, &"a"), OUTSIDE);
    let _ = machine.clear_end(key(F, &"a"), clearing);
    let next = machine.leads(key(F, &"a"), OUTSIDE);
    assert!(!machine.land(reader).good);
    assert!(machine.land(next).good);
}

#[test]
fn p1_nothing_is_stored_or_kept_while_its_key_is_cleared() {
    let mut machine = Flights::new();
    let clearing = machine.clear_begin(key(F, &"a"));
    let token = machine.now();
    assert!(machine.store_begin(key(F, &"a"), token).is_none());
    assert!(!machine.supersede(key(F, &"a"), token));
    let reader = machine.leads(key(F, &"a"), OUTSIDE);
    assert!(!machine.land(reader).good);
    let _ = machine.clear_end(key(F, &"a"), clearing);
    assert!(machine.good(F, key(F, &"a").hash, machine.now()));
}

#[test]
fn p1_a_clear_waits_for_the_stores_of_its_key_and_no_others() {
    let mut machine = Flights::new();
    let token = machine.now();
    let first = machine.store_begin(key(F, &"ab"), token).unwrap();
    let second = machine.store_begin(key(F, &"ab"), token).unwrap();
    let neighbour = machine.store_begin(key(F, &"ac"), token).unwrap();
    let namesake = machine.store_begin(key(G, &"ab"), token).unwrap();

    let clearing = machine.clear_begin(key(F, &"ab"));
    assert_eq!(machine.stores_running(&clearing), 2);
    let ended = machine.store_end(first);
    assert!(ended.wake && !ended.stands && ended.left.is_none());
    assert_eq!(machine.stores_running(&clearing), 1);
    let ended = machine.store_end(second);
    assert!(ended.wake && !ended.stands);
    assert_eq!(ended.left, Some("ab"));
    assert_eq!(machine.stores_running(&clearing), 0);
    let _ = machine.clear_end(key(F, &"ab"), clearing);

    assert!(!machine.store_end(neighbour).wake);
    assert!(machine.store_end(namesake).stands);
    assert!(machine.is_idle());
}

#[test]
fn p1_two_clears_of_one_key_both_hold() {
    let mut machine = Flights::new();
    let store = machine.store_begin(key(F, &"a"), machine.now()).unwrap();
    let first = machine.clear_begin(key(F, &"a"));
    let second = machine.clear_begin(key(F, &"a"));
    assert_eq!(machine.stores_running(&first), 1);
    assert_eq!(machine.stores_running(&second), 1);
    let _ = machine.store_end(store);
    let _ = machine.clear_end(key(F, &"a"), first);
    let token = machine.now();
    assert!(
        machine.store_begin(key(F, &"a"), token).is_none(),
        "the second has not deleted yet"
    );
    let _ = machine.clear_end(key(F, &"a"), second);
    assert!(
        machine.store_begin(key(F, &"a"), token).is_none(),
        "it may have read what the second deleted"
    );
    let store = machine.store_begin(key(F, &"a"), machine.now());
    let _ = machine.store_end(store.unwrap());
}

#[test]
fn p1_a_token_taken_before_the_key_was_known_still_sees_the_clear() {
    let mut machine = Flights::new();
    let token = machine.now(); // skip_arg: the key is made after the function ran
    machine.clear(key(F, &"a"));
    assert!(!machine.supersede(key(F, &"a"), token));
    assert!(machine.supersede(key(F, &"b"), token));
}

#[test]
fn p1_keys_that_share_a_word_only_refuse() {
    let mut machine = Flights::new();
    let ticket = machine.leads(key(F, &"ab"), OUTSIDE);
    machine.clear(key(F, &"ac"));
    let follower = machine.follows(key(F, &"ab"), OUTSIDE);
    assert!(!machine.land(ticket).good);
    machine.wait_end(follower);
}

#[test]
fn p1_clear_all_is_compared_at_join_and_at_fill() {
    let mut machine = Flights::new();
    let (f, g) = (
        machine.leads(key(F, &"a"), OUTSIDE),
        machine.leads(key(G, &"a"), OUTSIDE),
    );
    machine.clear_all(F);
    assert!(machine.cleared_at(F) > f.token() && machine.cleared_at(G) <= g.token());
    let new = machine.leads(key(F, &"a"), OUTSIDE);
    let follower = machine.follows(key(G, &"a"), OUTSIDE);
    assert!(!machine.land(f).good);
    assert!(machine.land(g).good);
    assert!(machine.land(new).good);
    machine.wait_end(follower);
}

#[test]
fn p1_clear_everything_is_compared_at_join_and_at_fill() {
    let mut machine = Flights::new();
    machine.clear_all(F);
    let f = machine.leads(key(F, &"a"), OUTSIDE);
    let token = machine.now();
    machine.clear_everything();
    assert!(machine.store_begin(key(G, &"z"), token).is_none());
    let new = machine.leads(key(F, &"a"), OUTSIDE);
    assert!(!machine.land(f).good);
    assert!(machine.land(new).good);
}

#[test]
fn p1_an_older_flight_does_not_overwrite_a_superseding_value() {
    let mut machine = Flights::new();
    let old = machine.leads(key(F, &"a"), OUTSIDE);
    let token = machine.now();
    assert!(machine.supersede(key(F, &"a"), token));
    assert!(
        !machine.supersede(key(F, &"a"), token),
        "two that ran side by side: one is stored"
    );
    let new = machine.leads(key(F, &"a"), OUTSIDE);
    assert!(!machine.land(old).good);
    assert!(machine.land(new).good);
}

#[test]
fn p1_of_two_superseding_values_the_one_whose_execution_began_later_is_kept() {
    for begin_and_end in [false, true] {
        let mut machine = Flights::new();
        let stores = |machine: &mut Flights, token| {
            if !begin_and_end {
                return machine.supersede(key(F, &"a"), token);
            }
            let storing = machine.supersede_begin(key(F, &"a"), token);
            storing.is_some_and(|storing| machine.clear_end(key(F, &"a"), storing).stands)
        };
        let reader = machine.leads(key(F, &"a"), OUTSIDE);
        let older = machine.begin();
        let later = machine.begin();
        let latest = machine.begin();
        assert!(stores(&mut machine, older));
        assert!(
            stores(&mut machine, latest),
            "it would be outlived by an older value"
        );
        assert!(!stores(&mut machine, later), "a later one is there");
        assert!(!machine.land(reader).good);

        let token = machine.begin();
        machine.clear(key(F, &"a"));
        assert!(!stores(&mut machine, token), "a clear came between");
        let token = machine.begin();
        machine.clear_all(F);
        assert!(
            !stores(&mut machine, token),
            "a clear of the function came between"
        );
    }
}

#[test]
fn p1_a_superseding_store_waits_for_older_stores_and_a_clear_waits_for_it() {
    let mut machine = Flights::new();
    let token = machine.now();
    let old = machine.store_begin(key(F, &"a"), token).unwrap();
    let storing = machine.supersede_begin(key(F, &"a"), token).unwrap();
    assert!(
        machine
            .supersede_begin(key(F, &"a"), machine.now())
            .is_none()
    );
    assert_eq!(machine.stores_running(&storing), 1);
    assert!(machine.store_end(old).wake);
    assert_eq!(
        machine.stores_running(&storing),
        0,
        "it does not wait for itself"
    );

    let clearing = machine.clear_begin(key(F, &"a"));
    assert_eq!(machine.stores_running(&clearing), 1);
    let ended = machine.clear_end(key(F, &"a"), storing);
    assert!(ended.wake && !ended.stands);
    assert_eq!(machine.stores_running(&clearing), 0);
    let _ = machine.clear_end(key(F, &"a"), clearing);
    assert!(machine.is_idle());
}

#[test]
fn p1_a_superseding_store_that_nothing_disturbed_stands() {
    let mut machine = Flights::new();
    let reader = machine.leads(key(F, &"a"), OUTSIDE);
    let storing = machine
        .supersede_begin(key(F, &"a"), machine.now())
        .unwrap();
    let during = machine.leads(key(F, &"a"), OUTSIDE); // may read the old value
    assert!(machine.clear_end(key(F, &"a"), storing).stands);
    assert!(!machine.land(reader).good);
    assert!(!machine.land(during).good);
}

#[test]
fn p1_a_superseding_store_falls_with_its_function() {
    let mut machine = Flights::new();
    let storing = machine
        .supersede_begin(key(F, &"a"), machine.now())
        .unwrap();
    machine.clear_all(F);
    assert!(!machine.clear_end(key(F, &"a"), storing).stands);
}

#[test]
fn p1_a_flight_of_another_machine_wide_generation_is_not_joined() {
    let mut machine = Flights::new();
    let at = |generation| Call {
        within: None,
        generation,
    };
    let old = machine.leads(key(F, &"a"), at(5));
    let new = machine.leads(key(F, &"a"), at(6));
    let follower = machine.follows(key(F, &"a"), at(6));
    assert_eq!(follower.flight(), new.flight().unwrap());
    machine.wait_end(follower);
    let _ = (machine.land(old), machine.land(new));
}

#[test]
fn p1_a_validated_join_takes_only_what_is_as_fresh_as_the_call() {
    let mut machine = Flights::new();
    let early = machine.begin();
    let valid_from = ValidFrom::At(machine.now()); // the instant before a read elsewhere is sent
    let late = machine.begin();
    assert_eq!(Flights::validate(early, valid_from), Join::Take);
    assert_eq!(Flights::validate(late, valid_from), Join::Again);
    assert_eq!(Flights::validate(late, ValidFrom::Joined), Join::Take);
}

#[test]
fn p1_the_second_flight_a_follower_joins_is_always_fresh_enough() {
    let mut machine = Flights::new();
    let first = machine.leads(key(F, &"a"), OUTSIDE);
    let before_read = ValidFrom::At(machine.now());
    let started = machine.begin();
    let follower = machine.follows(key(F, &"a"), OUTSIDE);
    let _ = machine.land(first);
    machine.wait_end(follower);
    assert_eq!(Flights::validate(started, before_read), Join::Again);
    let second = machine.leads(key(F, &"a"), OUTSIDE); // another call is faster
    let before_read = ValidFrom::At(machine.now());
    let _ = machine.land(second);
    assert_eq!(Flights::validate(started, before_read), Join::Take);
}

#[test]
fn p1_who_gave_up_waiting_stores_nothing() {
    let mut machine = Flights::new();
    let leader = machine.leads(key(F, &"a"), OUTSIDE);
    let follower = machine.follows(key(F, &"a"), OUTSIDE);
    let ticket = machine.give_up(key(F, &"a"), follower);
    assert_eq!((ticket.token(), ticket.flight()), (Seq::NEVER, None));
    assert!(machine.store_begin(key(F, &"a"), ticket.token()).is_none());
    assert!(!machine.supersede(key(F, &"a"), ticket.token()));
    assert!(!machine.land(ticket).good);
    assert!(machine.land(leader).good, "the leader is not disturbed");
}

#[test]
fn p1_a_store_that_was_overtaken_removes_what_it_set_and_is_doubted_until_it_has() {
    let mut machine = Flights::new();
    let token = machine.begin();
    let own = machine.store_begin(key(F, &"a"), token).unwrap();
    let other = machine.store_begin(key(F, &"a"), token).unwrap();
    assert!(!machine.doubt(key(F, &"a")) && !machine.overtaken(&own));
    let clearing = machine.clear_begin(key(F, &"a"));
    machine.overtake(&clearing);
    let _ = machine.clear_end(key(F, &"a"), clearing);
    assert!(machine.overtaken(&own) && machine.overtaken(&other));
    for left in [own, other] {
        assert!(machine.doubt(key(F, &"a")));
        assert!(!machine.doubt(key(F, &"b")));
        let now = machine.begin();
        assert!(machine.store_begin(key(F, &"a"), now).is_none());
        let before = machine.now();
        let _ = machine.store_end(left);
        assert!(
            !machine.good(F, key(F, &"a").hash, before),
            "moved at the end"
        );
    }
    assert!(!machine.doubt(key(F, &"a")) && machine.is_idle());
    let now = machine.begin();
    let store = machine.store_begin(key(F, &"a"), now).unwrap();
    let _ = machine.store_end(store);
}

#[test]
fn p1_a_clear_with_no_store_to_wait_for_overtakes_none() {
    let mut machine = Flights::new();
    let clearing = machine.clear_begin(key(F, &"a"));
    machine.overtake(&clearing);
    let _ = machine.clear_end(key(F, &"a"), clearing);
    let now = machine.begin();
    let storing = machine.supersede_begin(key(F, &"a"), now).unwrap();
    machine.overtake(&storing);
    assert!(!machine.superseding_overtaken(&storing) && !machine.doubt(key(F, &"a")));
    assert!(machine.clear_end(key(F, &"a"), storing).stands);
}

#[test]
fn p1_a_superseding_store_that_was_overtaken_does_not_stand() {
    let mut machine = Flights::new();
    let now = machine.begin();
    let storing = machine.supersede_begin(key(F, &"a"), now).unwrap();
    let clearing = machine.clear_begin(key(F, &"a"));
    machine.overtake(&clearing);
    machine.overtake(&clearing);
    let _ = machine.clear_end(key(F, &"a"), clearing);
    assert!(machine.superseding_overtaken(&storing) && machine.doubt(key(F, &"a")));
    let ended = machine.clear_end(key(F, &"a"), storing);
    assert!(!ended.stands && ended.left.is_some() && machine.is_idle());
    let now = machine.begin();
    assert!(
        machine.good(F, key(F, &"a").hash, now),
        "the slot stays marked"
    );
}
