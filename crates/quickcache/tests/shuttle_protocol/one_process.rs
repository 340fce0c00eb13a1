//! One process: a memory tier, and a slower tier without compare-and-set whose get, set and delete are steps of their own.
//! Two readers, two who change the source and clear, one who refreshes. In a second model the set of one call clears, from
//! inside itself.

use std::sync::Arc;

use shuttle::sync::{Condvar, Mutex};
use shuttle::thread;

use crate::floor::{Floor, clean, found};
use crate::machine::{Call, Enter, KeyOf, Machine, Seq, Ticket};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Right,
    /// Right, with the memory tier removed first: the mark that a clear is in progress makes the order a second net.
    InnerFirstButMarked,
    /// A fill asks whether the key is clear now, not whether it was cleared since the execution began.
    NoGenerationCheck,
    /// Ordinary single flight: whoever comes while a flight runs joins it, clear or no clear.
    JoinsDetached,
    /// The memory tier is cleared in one step, and the slower tier after that.
    InnerFirst,
    /// The end of a clear moves nothing.
    NoSecondMove,
    /// The generation is checked, and the set is sent after that.
    SetNotAnnounced,
    /// A refresh stores if nothing cleared the key, and leaves older flights as they are.
    RefreshMovesNothing,
    /// While an overtaken store runs, the slower tier is believed.
    NoDoubt,
    /// An overtaken store leaves what it has set.
    OvertakenStays,
}

const KEY: KeyOf<'static, u8> = KeyOf {
    function: 1,
    hash: 7,
    key: &7,
};

#[derive(Default)]
struct Cell {
    landed: Mutex<Option<u64>>,
    wake: Condvar,
}

struct Process {
    protocol: Protocol,
    machine: Mutex<Machine<u8, Arc<Cell>>>,
    stores_ended: Condvar,
    memory: Mutex<Option<u64>>,
    slower: Mutex<Option<u64>>,
    /// The flight that `JoinsDetached` joins.
    running: Mutex<Option<Arc<Cell>>>,
    floor: Floor,
}

impl Process {
    fn new(protocol: Protocol) -> Self {
        Process {
            protocol,
            machine: Mutex::new(Machine::with_slots(1)),
            stores_ended: Condvar::new(),
            memory: Mutex::new(None),
            slower: Mutex::new(None),
            running: Mutex::new(None),
            floor: Floor::new(),
        }
    }

    fn call(&self) -> u64 {
        self.call_whose_set_clears(0)
    }

    /// `clears`: how often, from inside.
    fn call_whose_set_clears(&self, clears: u32) -> u64 {
        if let Some(value) = *self.memory.lock().unwrap() {
            return value;
        }
        if self.protocol == Protocol::JoinsDetached {
            let running = self.running.lock().unwrap().clone();
            if let Some(cell) = running {
                return wait(&cell);
            }
        }
        let entered = self
            .machine
            .lock()
            .unwrap()
            .enter(KEY, Call::default(), Arc::default);
        match entered {
            Enter::Lead(ticket) | Enter::Alone(ticket) => self.lead(ticket, clears),
            Enter::Follow(following, cell) => {
                let value = wait(&cell);
                self.machine.lock().unwrap().wait_end(following);
                value
            }
        }
    }

    fn lead(&self, ticket: Ticket, clears: u32) -> u64 {
        let cell = Arc::new(Cell::default());
        if self.protocol == Protocol::JoinsDetached {
            *self.running.lock().unwrap() = Some(cell.clone());
        }
        let recalled = *self.memory.lock().unwrap();
        let value = recalled.or_else(|| self.look()).unwrap_or_else(|| {
            let value = self.floor.compute();
            self.store(ticket.token(), value, clears);
            value
        });
        let mut machine = self.machine.lock().unwrap();
        let landed = machine.land(ticket);
        if recalled.is_none() && (landed.good || self.protocol == Protocol::NoGenerationCheck) {
            *self.memory.lock().unwrap() = Some(value);
        }
        drop(machine);
        if let Some((_, cell)) = landed.left {
            land(&cell, value);
        }
        if self.protocol == Protocol::JoinsDetached {
            *self.running.lock().unwrap() = None;
            land(&cell, value);
        }
        value
    }

    fn look(&self) -> Option<u64> {
        if self.machine.lock().unwrap().doubt(KEY) && self.protocol != Protocol::NoDoubt {
            return None;
        }
        *self.slower.lock().unwrap()
    }

    fn store(&self, token: Seq, value: u64, clears: u32) {
        let mut machine = self.machine.lock().unwrap();
        if self.protocol == Protocol::SetNotAnnounced {
            let good = machine.good(KEY.function, KEY.hash, token);
            drop(machine);
            if good {
                *self.slower.lock().unwrap() = Some(value);
            }
            return;
        }
        let token = if self.protocol == Protocol::NoGenerationCheck {
            machine.now()
        } else {
            token
        };
        let store = machine.store_begin(KEY, token);
        drop(machine);
        if let Some(store) = store {
            for _ in 0..clears {
                self.floor.change(|| self.clear(true));
            }
            *self.slower.lock().unwrap() = Some(value);
            let overtaken = self.machine.lock().unwrap().overtaken(&store);
            if overtaken && self.protocol != Protocol::OvertakenStays {
                *self.slower.lock().unwrap() = None;
            }
            if self.machine.lock().unwrap().store_end(store).wake {
                self.stores_ended.notify_all();
            }
        }
    }

    fn clear(&self, from_inside_a_store: bool) {
        if self.protocol == Protocol::InnerFirst {
            let mut machine = self.machine.lock().unwrap();
            machine.clear(KEY);
            *self.memory.lock().unwrap() = None;
        }
        let mut machine = self.machine.lock().unwrap();
        let clearing = machine.clear_begin(KEY);
        if self.protocol == Protocol::InnerFirstButMarked {
            *self.memory.lock().unwrap() = None;
        }
        if from_inside_a_store {
            machine.overtake(&clearing);
        }
        while !from_inside_a_store && machine.stores_running(&clearing) > 0 {
            machine = self.stores_ended.wait(machine).unwrap();
        }
        if self.protocol == Protocol::InnerFirst {
            // Only the wait for the stores is taken from the right protocol.
            machine.generations.open(KEY.function, KEY.hash);
        }
        drop(machine);
        *self.slower.lock().unwrap() = None;
        let mut machine = self.machine.lock().unwrap();
        match self.protocol {
            Protocol::InnerFirst => return,
            Protocol::InnerFirstButMarked => {}
            _ => *self.memory.lock().unwrap() = None,
        }
        let wake = if self.protocol == Protocol::NoSecondMove {
            machine.generations.open(KEY.function, KEY.hash);
            true
        } else {
            machine.clear_end(KEY, clearing).wake
        };
        drop(machine);
        if wake {
            self.stores_ended.notify_all();
        }
    }

    /// Computes anew and stores; where that was not refused, the value is the floor.
    fn refresh(&self) {
        let token = self.machine.lock().unwrap().now();
        let value = self.floor.compute();
        if self.protocol == Protocol::RefreshMovesNothing {
            self.store(token, value, 0);
            let machine = self.machine.lock().unwrap();
            if machine.good(KEY.function, KEY.hash, token) {
                *self.memory.lock().unwrap() = Some(value);
                self.floor.raise(value);
            }
            return;
        }
        let mut machine = self.machine.lock().unwrap();
        let Some(clearing) = machine.supersede_begin(KEY, token) else {
            return;
        };
        while machine.stores_running(&clearing) > 0 {
            machine = self.stores_ended.wait(machine).unwrap();
        }
        drop(machine);
        *self.slower.lock().unwrap() = Some(value);
        let mut machine = self.machine.lock().unwrap();
        let ended = machine.clear_end(KEY, clearing);
        if ended.stands {
            *self.memory.lock().unwrap() = Some(value);
        }
        drop(machine);
        if ended.wake {
            self.stores_ended.notify_all();
        }
        if ended.stands {
            self.floor.raise(value);
        }
    }
}

fn wait(cell: &Cell) -> u64 {
    let mut landed = cell.landed.lock().unwrap();
    loop {
        match *landed {
            Some(value) => return value,
            None => landed = cell.wake.wait(landed).unwrap(),
        }
    }
}

fn land(cell: &Cell, value: u64) {
    *cell.landed.lock().unwrap() = Some(value);
    cell.wake.notify_all();
}

fn model(protocol: Protocol) -> impl Fn() + Clone + Send + Sync + 'static {
    move || {
        let process = Arc::new(Process::new(protocol));
        let mut threads = Vec::new();
        let mut spawn = |work: fn(&Process)| {
            let process = process.clone();
            threads.push(thread::spawn(move || work(&process)));
        };
        for _ in 0..2 {
            spawn(|process| (0..2).for_each(|_| process.floor.read(|| process.call())));
            spawn(|process| process.floor.change(|| process.clear(false)));
        }
        spawn(|process| process.refresh());
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        process.floor.read(|| process.call());
        let idle = process.machine.lock().unwrap().is_idle();
        assert!(
            idle || protocol != Protocol::Right,
            "the machine still holds a key"
        );
    }
}

/// The set of one call clears twice, from inside; one reads meanwhile, one clears from outside.
fn model_of_a_set_that_clears(protocol: Protocol) -> impl Fn() + Clone + Send + Sync + 'static {
    move || {
        let process = Arc::new(Process::new(protocol));
        let works: [fn(&Process); 3] = [
            |process| process.floor.read(|| process.call_whose_set_clears(2)),
            |process| (0..3).for_each(|_| process.floor.read(|| process.call())),
            |process| process.floor.change(|| process.clear(false)),
        ];
        let threads = works.map(|work| {
            let process = process.clone();
            thread::spawn(move || work(&process))
        });
        for thread in threads {
            thread.join().unwrap();
        }
        process.floor.read(|| process.call());
        process.floor.read(|| process.call());
        let idle = process.machine.lock().unwrap().is_idle();
        assert!(idle, "the machine still holds a key");
        let mut machine = process.machine.lock().unwrap();
        let now = machine.begin();
        assert!(
            machine.good(KEY.function, KEY.hash, now),
            "the slot stays marked"
        );
    }
}

#[test]
fn p1_no_stale_value_when_a_set_clears_its_key_from_inside() {
    clean(
        "a set that clears",
        10_000,
        model_of_a_set_that_clears(Protocol::Right),
    );
}

#[test]
fn p1_mutant_no_doubt_is_found() {
    found(
        "no doubt while an overtaken store runs",
        "stale",
        model_of_a_set_that_clears(Protocol::NoDoubt),
    );
}

#[test]
fn p1_mutant_overtaken_store_that_stays_is_found() {
    found(
        "an overtaken store stays",
        "stale",
        model_of_a_set_that_clears(Protocol::OvertakenStays),
    );
}

#[test]
fn p1_no_stale_value_over_a_tier_without_compare_and_set() {
    clean("one process", 10_000, model(Protocol::Right));
}

#[test]
fn p1_the_order_of_a_marked_clear_is_a_second_net() {
    clean(
        "one process, inner tier first, marked",
        3_000,
        model(Protocol::InnerFirstButMarked),
    );
}

#[test]
fn p1_mutant_no_generation_check_is_found() {
    found(
        "no generation check",
        "stale",
        model(Protocol::NoGenerationCheck),
    );
}

#[test]
fn p1_mutant_join_of_a_detached_flight_is_found() {
    found(
        "joins a detached flight",
        "stale",
        model(Protocol::JoinsDetached),
    );
}

#[test]
fn p1_mutant_inner_tier_first_is_found() {
    found("inner tier first", "stale", model(Protocol::InnerFirst));
}

#[test]
fn p1_mutant_no_second_move_is_found() {
    found("no second move", "stale", model(Protocol::NoSecondMove));
}

#[test]
fn p1_mutant_set_not_announced_is_found() {
    found(
        "set not announced",
        "stale",
        model(Protocol::SetNotAnnounced),
    );
}

#[test]
fn p1_mutant_refresh_that_moves_nothing_is_found() {
    found(
        "refresh moves nothing",
        "stale",
        model(Protocol::RefreshMovesNothing),
    );
}
