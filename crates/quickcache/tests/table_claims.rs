//! What the table of the memory tier promises besides what the model of `table_model.rs` knows, claim by claim.

use quickcache::tier::memory::{Inserted, Limits, NEVER, Table, mix};

type Small = Table<(u64, u64)>;

fn table(entries: usize) -> Small {
    Table::new(Limits {
        entries,
        bytes: u64::MAX,
    })
}

fn insert(table: &mut Small, key: u64, deadline: u64, now: u64) -> (Inserted, Vec<(u64, u64)>) {
    let mut out = Vec::new();
    (
        table.insert(
            mix(key, 1),
            (key, now),
            0,
            deadline,
            now,
            |p| p.0 == key,
            &mut out,
        ),
        out,
    )
}

fn get(table: &Small, key: u64, now: u64) -> bool {
    table
        .get(mix(key, 1), |deadline| deadline <= now, |p| p.0 == key)
        .is_some()
}

#[test]
fn a_scan_does_not_evict_what_was_asked_for() {
    let mut table = table(100);
    for key in 0..50 {
        insert(&mut table, key, NEVER, 0);
        assert!(get(&table, key, 0));
    }
    for key in 1_000..1_600 {
        insert(&mut table, key, NEVER, 0);
    }
    assert_eq!((0..50).filter(|&key| get(&table, key, 0)).count(), 50);
}

#[test]
fn a_key_that_comes_back_soon_enters_the_main_queue() {
    let mut table = table(100);
    let main = |table: &Small, key| table.standing(mix(key, 1), |p| p.0 == key).map(|s| s.main);
    for key in 0..200 {
        insert(&mut table, key, NEVER, 0);
    }
    let gone = (0..200)
        .rev()
        .find(|&key| !get(&table, key, 0))
        .expect("something was evicted");
    insert(&mut table, gone, NEVER, 0);
    insert(&mut table, 1_000, NEVER, 0);
    assert_eq!(
        (main(&table, gone), main(&table, 1_000)),
        (Some(true), Some(false))
    );
    // Nor does a clear cost it its standing.
    assert!(table.remove(mix(gone, 1), |p| p.0 == gone).is_some());
    insert(&mut table, 1_001, NEVER, 0);
    insert(&mut table, gone, NEVER, 0);
    assert_eq!(
        (main(&table, gone), main(&table, 1_001)),
        (Some(true), Some(false))
    );
}

#[test]
fn inserts_free_what_expired_though_nobody_asks_for_it() {
    let mut table = table(10_000);
    for key in 0..400 {
        insert(&mut table, key, 10, 0);
    }
    let mut freed = 0;
    for key in 1_000..1_110 {
        freed += insert(&mut table, key, NEVER, 20).1.len();
    }
    assert_eq!((freed, table.len()), (400, 110));
}

#[test]
fn the_clock_is_asked_only_where_there_is_a_deadline() {
    let mut table = table(10);
    insert(&mut table, 1, NEVER, 0);
    insert(&mut table, 2, 10, 0);
    assert!(
        table
            .get(mix(1, 1), |_| unreachable!(), |p| p.0 == 1)
            .is_some()
    );
    let mut asked = false;
    assert!(
        table
            .get(
                mix(2, 1),
                |_| {
                    asked = true;
                    false
                },
                |p| p.0 == 2
            )
            .is_some()
    );
    assert!(asked && !get(&table, 2, 10));
}

#[test]
fn the_age_is_known_to_a_thousandth() {
    let mut table = table(10);
    for (key, life) in [1, 2_047, 2_048, 300_000, 86_400_000, 1 << 40]
        .into_iter()
        .enumerate()
    {
        let key = key as u64;
        insert(&mut table, key, 5_000 + life, 5_000);
        let standing = table.standing(mix(key, 1), |p| p.0 == key).unwrap();
        let (age, asked_after) = (standing.age(5_000 + life / 2).unwrap(), life / 2);
        assert!(
            age <= asked_after && asked_after - age <= life / 1_000,
            "{life}: {age}"
        );
    }
    insert(&mut table, 9, NEVER, 5_000);
    assert_eq!(
        table.standing(mix(9, 1), |p| p.0 == 9).unwrap().age(6_000),
        None
    );
}

#[test]
fn one_eviction_is_bounded_however_popular_all_are() {
    let mut table = table(300);
    for key in 0..300 {
        insert(&mut table, key, NEVER, 0);
        (0..5).for_each(|_| assert!(get(&table, key, 0)));
    }
    let visits = |table: &Small| {
        table
            .iter()
            .map(|(_, standing)| u64::from(standing.visits))
            .sum::<u64>()
    };
    let before = visits(&table);
    insert(&mut table, 3_000, NEVER, 0);
    assert!(before - visits(&table) < 64 * 3 + 4);
}

#[test]
fn a_closure_that_panics_leaves_the_table_as_it_was() {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    let mut table = table(10);
    insert(&mut table, 1, NEVER, 0);
    let hash = mix(1, 1);
    let mut out = Vec::new();
    catch_unwind(AssertUnwindSafe(|| table.remove(hash, |_| panic!()))).unwrap_err();
    catch_unwind(AssertUnwindSafe(|| {
        table.insert(hash, (1, 1), 0, NEVER, 0, |_| panic!(), &mut out)
    }))
    .unwrap_err();
    catch_unwind(AssertUnwindSafe(|| {
        table.sweep(0, 10, |_| panic!(), &mut out)
    }))
    .unwrap_err();
    assert!(get(&table, 1, 0) && out.is_empty());
    assert_eq!(table.len(), 1);
}

#[test]
fn readers_share_the_table() {
    let mut table = table(1_000);
    for key in 0..100 {
        insert(&mut table, key, NEVER, 0);
    }
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| (0..100).for_each(|key| assert!(get(&table, key, 0))));
        }
    });
    assert!(
        table
            .iter()
            .all(|(_, standing)| (1..=2).contains(&standing.visits) && !standing.main)
    );
}

#[test]
fn a_drained_table_gives_its_memory_back() {
    let mut table = table(200);
    for key in 0..1_000 {
        insert(&mut table, key, 10, 0);
    }
    let mut out = Vec::new();
    assert!(table.memory() >= 200 * (24 + 16 + 8 + 1));
    table.drain(&mut out);
    assert_eq!(
        (out.len(), table.memory(), table.len(), table.bytes()),
        (200, 0, 0, 0)
    );
    assert_eq!(insert(&mut table, 1, NEVER, 0).0, Inserted::New);
}

#[test]
fn the_overhead_is_32_bytes_beside_payload_index_and_ghost() {
    assert_eq!(Table::<[u64; 3]>::OVERHEAD, 32 + 24 + 24);
}

/// How often each key is asked for between its insert and the shrink, of as many keys as there is room for.
fn shrunk(asked: impl Fn(u64) -> u8, to: usize) -> Vec<u64> {
    let mut table = table(1_000);
    for key in 0..1_000 {
        insert(&mut table, key, NEVER, 0);
    }
    for key in 0..1_000 {
        (0..asked(key)).for_each(|_| assert!(get(&table, key, 0)));
    }
    let mut out = Vec::new();
    table.shrink(to, 0, &mut out);
    assert_eq!((table.len(), out.len()), (to, 1_000 - to));
    assert_eq!(table.limits().entries, 1_000);
    (0..1_000).filter(|&key| get(&table, key, 0)).collect()
}

#[test]
fn what_was_asked_for_stays_when_a_table_shrinks() {
    let some = |keys: std::ops::Range<u64>| shrunk(|key| keys.contains(&key).into(), 300);
    for keys in [0..300, 350..650, 700..1_000] {
        assert_eq!(some(keys.clone()), keys.collect::<Vec<_>>());
    }
}

#[test]
fn what_was_asked_for_most_stays_when_a_table_shrinks() {
    let most = |key: u64| key.is_multiple_of(5);
    let kept = shrunk(|key| if most(key) { 3 } else { 1 }, 200);
    assert!(kept.iter().all(|&key| most(key)), "{kept:?}");
}

#[test]
fn the_newest_stay_when_a_table_shrinks_of_which_nothing_was_asked_for() {
    let kept = shrunk(|_| 0, 300);
    assert!(kept.iter().all(|&key| key >= 600), "{kept:?}");
}

#[test]
fn expired_entries_go_first_when_a_table_shrinks() {
    let mut table = table(100);
    for key in 0..100 {
        insert(&mut table, key, if key < 50 { 10 } else { NEVER }, 0);
        if key < 50 {
            assert!(get(&table, key, 0));
        }
    }
    table.shrink(50, 10, &mut Vec::new());
    assert!((50..100).all(|key| get(&table, key, 10)));
    table.shrink(0, 10, &mut Vec::new());
    assert!(table.is_empty());
    insert(&mut table, 1, NEVER, 10);
    assert!(get(&table, 1, 10), "the bounds are what they were");
}
