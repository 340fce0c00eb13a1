//! The table of the memory tier against a naive model: a map of what must be there. The model does not say whom to evict; it
//! believes `out`, and checks that nothing leaves unsaid, twice, or without need.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use proptest::prelude::*;
use quickcache::tier::memory::{Inserted, Limits, NEVER, Table, mix};

/// The serial numbers of payloads that live somewhere.
type Alive = Rc<RefCell<BTreeSet<u64>>>;

struct Payload {
    key: u64,
    serial: u64,
    alive: Alive,
}

impl Drop for Payload {
    fn drop(&mut self) {
        assert!(
            self.alive.borrow_mut().remove(&self.serial),
            "payload {} dropped twice",
            self.serial
        );
    }
}

#[derive(Clone, Copy, Debug)]
struct Known {
    serial: u64,
    weight: u32,
    deadline: u64,
}

#[derive(Clone, Debug)]
enum Step {
    Get(u64),
    GetMut(u64),
    Peek(u64),
    Insert {
        key: u64,
        weight: u32,
        life: Option<u64>,
    },
    Remove(u64),
    Wait(u64),
    Sweep {
        budget: usize,
        dead: Option<u64>,
    },
    Retain(u64),
    Limit {
        entries: usize,
        bytes: u64,
    },
    Shrink(usize),
    Drain,
}

fn limits() -> impl Strategy<Value = (usize, u64)> {
    (
        prop_oneof![0..4usize, 4..40usize, Just(usize::MAX)],
        prop_oneof![0..4_000u64, Just(u64::MAX)],
    )
}

fn step() -> impl Strategy<Value = Step> {
    let key = || prop_oneof![3 => 0..12u64, 2 => 0..80u64];
    let insert = (
        key(),
        prop_oneof![0..300u32, Just(1_000_000)],
        prop::option::of(0..60u64),
    );
    prop_oneof![
        30 => key().prop_map(Step::Get),
        3 => key().prop_map(Step::GetMut),
        3 => key().prop_map(Step::Peek),
        50 => insert.prop_map(|(key, weight, life)| Step::Insert { key, weight, life }),
        8 => key().prop_map(Step::Remove),
        6 => (0..30u64).prop_map(Step::Wait),
        3 => (0..20usize, prop::option::of(0..12u64)).prop_map(|(budget, dead)| Step::Sweep { budget, dead }),
        1 => (2..5u64).prop_map(Step::Retain),
        1 => limits().prop_map(|(entries, bytes)| Step::Limit { entries, bytes }),
        1 => (0..20usize).prop_map(Step::Shrink),
        1 => Just(Step::Drain),
    ]
}

struct Run {
    table: Table<Payload>,
    model: BTreeMap<u64, Known>,
    alive: Alive,
    limits: Limits,
    /// Few hashes make many collisions.
    hashes: u64,
    now: u64,
    serial: u64,
}

impl Run {
    fn new(limits: Limits, hashes: u64) -> Self {
        let (model, alive) = Default::default();
        Self {
            table: Table::new(limits),
            model,
            alive,
            limits,
            hashes,
            now: 1_000,
            serial: 0,
        }
    }

    fn hash(&self, key: u64) -> u64 {
        mix(key % self.hashes, 42)
    }

    fn known(&self, key: u64) -> Option<u64> {
        self.model
            .get(&key)
            .filter(|known| self.now < known.deadline)
            .map(|known| known.serial)
    }

    /// What left the table leaves the model; every payload was current until now.
    fn left(&mut self, out: Vec<Payload>) {
        for payload in out {
            let known = self
                .model
                .remove(&payload.key)
                .expect("what leaves was there");
            assert_eq!(
                known.serial, payload.serial,
                "a value that had been replaced came back"
            );
        }
    }

    fn run(&mut self, step: &Step) {
        let (mut out, now) = (Vec::new(), self.now);
        match *step {
            Step::Get(key) => {
                let found = self
                    .table
                    .get(self.hash(key), |deadline| deadline <= now, |p| p.key == key)
                    .map(|p| p.serial);
                assert_eq!(found, self.known(key));
            }
            Step::GetMut(key) => {
                let hash = self.hash(key);
                let found = self
                    .table
                    .get_mut(hash, |deadline| deadline <= now, |p| p.key == key)
                    .map(|p| p.serial);
                assert_eq!(found, self.known(key));
            }
            Step::Peek(key) => {
                let before = self.table.standing(self.hash(key), |p| p.key == key);
                let found = self
                    .table
                    .peek(self.hash(key), |deadline| deadline <= now, |p| p.key == key)
                    .map(|p| p.serial);
                assert_eq!(found, self.known(key));
                assert_eq!(
                    self.table.standing(self.hash(key), |p| p.key == key),
                    before
                );
                assert_eq!(
                    before.map(|s| (s.weight, s.deadline)),
                    self.model.get(&key).map(|k| (k.weight, k.deadline))
                );
            }
            Step::Insert { key, weight, life } => {
                self.insert(key, weight, life.map_or(NEVER, |life| now + life))
            }
            Step::Remove(key) => {
                let gone = self.table.remove(self.hash(key), |p| p.key == key);
                assert_eq!(
                    gone.map(|p| p.serial),
                    self.model.remove(&key).map(|known| known.serial)
                );
            }
            Step::Wait(time) => self.now += time,
            Step::Sweep { budget, dead } => {
                let freed = self
                    .table
                    .sweep(now, budget, |p| Some(p.key) == dead, &mut out);
                assert_eq!(freed, out.len());
                assert!(freed <= budget);
                for p in &out {
                    assert!(
                        self.model[&p.key].deadline <= now || Some(p.key) == dead,
                        "swept without need"
                    );
                }
                self.left(out);
            }
            Step::Retain(divisor) => {
                self.table.retain(|p| p.key % divisor != 0, &mut out);
                assert!(
                    out.iter().all(|p| p.key % divisor == 0),
                    "lost without need"
                );
                self.left(out);
                assert!(
                    self.model.keys().all(|key| key % divisor != 0),
                    "kept what was not to be"
                );
            }
            Step::Limit { entries, bytes } => {
                self.limits = Limits { entries, bytes };
                self.table.set_limits(self.limits, now, &mut out);
                self.left(out);
            }
            Step::Shrink(entries) => {
                let before = self.table.len();
                let expired = self.model.values().filter(|known| known.deadline <= now);
                let live = before - expired.count();
                self.table.shrink(entries, now, &mut out);
                self.left(out);
                assert_eq!(self.table.len(), live.min(entries));
            }
            Step::Drain => {
                self.table.drain(&mut out);
                self.left(out);
                assert!(self.model.is_empty() && self.table.memory() == 0);
            }
        }
        self.check();
    }

    fn insert(&mut self, key: u64, weight: u32, deadline: u64) {
        let (mut out, now, serial) = (Vec::new(), self.now, self.serial);
        self.serial += 1;
        self.alive.borrow_mut().insert(serial);
        let payload = Payload {
            key,
            serial,
            alive: self.alive.clone(),
        };
        let cost = u64::from(weight + Table::<Payload>::OVERHEAD);
        let (old, full) = (
            self.model.get(&key).copied(),
            self.table.len() == self.limits.entries,
        );
        let crowded = full || self.table.bytes() + cost > self.limits.bytes;
        let got = self.table.insert(
            self.hash(key),
            payload,
            weight,
            deadline,
            now,
            |p| p.key == key,
            &mut out,
        );
        if self.limits.entries == 0 || cost > self.limits.bytes || deadline <= now {
            assert_eq!(got, Inserted::Refused);
            let refused = out
                .iter()
                .position(|p| p.serial == serial)
                .expect("the refused payload is handed back");
            drop(out.swap_remove(refused));
            assert_eq!(
                out.iter().map(|p| p.serial).collect::<Vec<_>>(),
                Vec::from_iter(old.map(|k| k.serial))
            );
            self.left(out);
        } else {
            assert_eq!(
                got,
                if old.is_some() {
                    Inserted::Replaced
                } else {
                    Inserted::New
                }
            );
            assert_eq!(
                out.iter().filter(|p| p.key == key).count(),
                usize::from(old.is_some())
            );
            for p in &out {
                let expired = self.model[&p.key].deadline <= now;
                assert!(crowded || expired || p.key == key, "evicted without need");
            }
            self.left(out);
            self.model.insert(
                key,
                Known {
                    serial,
                    weight,
                    deadline,
                },
            );
            let found = self
                .table
                .peek(self.hash(key), |deadline| deadline <= now, |p| p.key == key)
                .map(|p| p.serial);
            assert_eq!(found, Some(serial), "what was inserted is there");
        }
    }

    fn check(&self) {
        let weights: u64 = self
            .model
            .values()
            .map(|k| u64::from(k.weight + Table::<Payload>::OVERHEAD))
            .sum();
        assert_eq!(self.table.bytes(), weights);
        assert_eq!(self.table.len(), self.model.len());
        assert!(self.table.len() <= self.limits.entries && self.table.bytes() <= self.limits.bytes);
        let listed: BTreeSet<u64> = self.table.iter().map(|(p, _)| p.serial).collect();
        assert_eq!(
            listed,
            self.model.values().map(|known| known.serial).collect()
        );
        assert_eq!(
            listed,
            *self.alive.borrow(),
            "what is alive is in the table"
        );
    }

    /// The table must be able to give everything up by eviction alone, and a dropped one drops what it holds.
    fn end(mut self, by_eviction: bool) {
        if by_eviction {
            let mut out = Vec::new();
            self.table.set_limits(
                Limits {
                    entries: 0,
                    bytes: 0,
                },
                self.now,
                &mut out,
            );
            self.left(out);
            assert!(self.table.is_empty() && self.table.bytes() == 0);
        }
        drop(self.table);
        assert!(self.alive.borrow().is_empty(), "payloads leaked");
    }
}

/// Few under Miri, which is slow.
const CASES: u32 = if cfg!(miri) { 2 } else { 128 };
const STEPS: usize = if cfg!(miri) { 40 } else { 300 };

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_table_holds_what_the_model_holds(
        (entries, bytes) in limits(),
        hashes in prop_oneof![Just(u64::MAX), 1..8u64],
        steps in prop::collection::vec(step(), 0..STEPS),
        by_eviction: bool,
    ) {
        let mut run = Run::new(Limits { entries, bytes }, hashes);
        for step in &steps {
            run.run(step);
        }
        run.end(by_eviction);
    }

    #[test]
    fn a_sweep_frees_everything_expired_in_one_round(
        lives in prop::collection::vec(prop::option::of(1..100u64), 1..STEPS),
        wait in 0..120u64,
        budget in 1..50usize,
    ) {
        let mut run = Run::new(Limits::NONE, u64::MAX);
        for (key, life) in lives.iter().enumerate() {
            run.insert(key as u64, 1, life.map_or(NEVER, |life| run.now + life));
        }
        run.now += wait;
        for _ in 0..run.table.slots().div_ceil(budget) {
            let mut out = Vec::new();
            run.table.sweep(run.now, budget, |_| false, &mut out);
            run.left(out);
        }
        prop_assert!(run.model.values().all(|known| run.now < known.deadline));
        run.check();
    }
}
