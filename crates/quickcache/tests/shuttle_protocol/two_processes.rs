//! Two processes, each with flights of its own and no memory tier, on one shared tier with leases (protocols 2.4): one key
//! that holds a lease or a value. A clear in one process is not seen by the flights of the other: only the validated join is
//! between them and a stale value.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use shuttle::sync::atomic::AtomicU64;
use shuttle::sync::{Condvar, Mutex};
use shuttle::thread;

use crate::floor::{Floor, clean, found};
use crate::machine::{Call, Enter, Join, KeyOf, Machine, Seq, Ticket, ValidFrom};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Right,
    /// Whoever finds a flight takes its result.
    JoinWithoutValidation,
    /// The leader says that its result is as fresh as the moment it arrived.
    ValidFromArrival,
    /// A fill is a plain set.
    NoLeaseAtFill,
}

const KEY: KeyOf<'static, u8> = KeyOf {
    function: 1,
    hash: 7,
    key: &7,
};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Entry {
    Nothing,
    Lease(u64),
    Value(u64),
}

#[derive(Default)]
struct Cell {
    landed: Mutex<Option<(u64, ValidFrom)>>,
    wake: Condvar,
}

struct Shared {
    protocol: Protocol,
    entry: Mutex<Entry>,
    leases: AtomicU64,
    floor: Floor,
}

struct Process {
    shared: Arc<Shared>,
    machine: Mutex<Machine<u8, Arc<Cell>>>,
}

impl Process {
    fn new(shared: &Arc<Shared>) -> Arc<Self> {
        Arc::new(Process {
            shared: shared.clone(),
            machine: Mutex::new(Machine::with_slots(1)),
        })
    }

    fn now(&self) -> Seq {
        self.machine.lock().unwrap().now()
    }

    fn call(&self) -> u64 {
        let started = self.machine.lock().unwrap().begin();
        let mut waited = 0;
        loop {
            let entered = self
                .machine
                .lock()
                .unwrap()
                .enter(KEY, Call::default(), Arc::default);
            let (following, cell) = match entered {
                Enter::Lead(ticket) | Enter::Alone(ticket) => return self.lead(ticket),
                Enter::Follow(following, cell) => (following, cell),
            };
            let (value, valid_from) = wait(&cell);
            self.machine.lock().unwrap().wait_end(following);
            waited += 1;
            assert!(waited <= 2, "a follower waited for a third flight");
            let join = Machine::<u8, Arc<Cell>>::validate(started, valid_from);
            if join == Join::Take || self.shared.protocol == Protocol::JoinWithoutValidation {
                return value;
            }
        }
    }

    fn lead(&self, ticket: Ticket) -> u64 {
        let (value, mut valid_from) = self.miss();
        if self.shared.protocol == Protocol::ValidFromArrival {
            valid_from = self.now();
        }
        let landed = self.machine.lock().unwrap().land(ticket);
        if let Some((_, cell)) = landed.left {
            *cell.landed.lock().unwrap() = Some((value, ValidFrom::At(valid_from)));
            cell.wake.notify_all();
        }
        value
    }

    fn miss(&self) -> (u64, Seq) {
        let shared = &*self.shared;
        let lease = shared.leases.fetch_add(1, Ordering::Relaxed);
        for _ in 0..3 {
            let before = self.now();
            let mut entry = shared.entry.lock().unwrap();
            match *entry {
                Entry::Value(value) => return (value, before),
                Entry::Lease(_) => {
                    drop(entry);
                    thread::yield_now(); // another process computes: ask again
                }
                Entry::Nothing => {
                    *entry = Entry::Lease(lease);
                    drop(entry);
                    let before_function = self.now();
                    let value = shared.floor.compute();
                    let before_fill = self.now();
                    let mut entry = shared.entry.lock().unwrap();
                    let accepted = *entry == Entry::Lease(lease);
                    if accepted || shared.protocol == Protocol::NoLeaseAtFill {
                        *entry = Entry::Value(value);
                    }
                    return (
                        value,
                        if accepted {
                            before_fill
                        } else {
                            before_function
                        },
                    );
                }
            }
        }
        let before_function = self.now(); // patience is over: compute, do not store
        (shared.floor.compute(), before_function)
    }

    /// The outer tier first, then the process' own flights.
    fn clear(&self) {
        *self.shared.entry.lock().unwrap() = Entry::Nothing;
        self.machine.lock().unwrap().clear(KEY);
    }
}

fn wait(cell: &Cell) -> (u64, ValidFrom) {
    let mut landed = cell.landed.lock().unwrap();
    loop {
        match *landed {
            Some(result) => return result,
            None => landed = cell.wake.wait(landed).unwrap(),
        }
    }
}

fn model(protocol: Protocol) -> impl Fn() + Clone + Send + Sync + 'static {
    move || {
        let shared = Arc::new(Shared {
            protocol,
            entry: Mutex::new(Entry::Nothing),
            leases: AtomicU64::new(0),
            floor: Floor::new(),
        });
        let (one, two) = (Process::new(&shared), Process::new(&shared));
        let mut threads = Vec::new();
        let mut spawn = |process: &Arc<Process>, work: fn(&Process)| {
            let process = process.clone();
            threads.push(thread::spawn(move || work(&process)));
        };
        let read = |process: &Process| process.shared.floor.read(|| process.call());
        let change = |process: &Process| process.shared.floor.change(|| process.clear());
        spawn(&one, change);
        spawn(&one, read);
        for _ in 0..3 {
            spawn(&two, read);
        }
        spawn(&two, change);
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        shared.floor.read(|| two.call());
        assert!(
            [one, two]
                .iter()
                .all(|process| process.machine.lock().unwrap().is_idle())
        );
    }
}

#[test]
fn p1_no_stale_value_over_two_processes_with_leases() {
    clean("two processes", 10_000, model(Protocol::Right));
}

#[test]
fn p1_mutant_join_without_validation_is_found() {
    found(
        "join without validation",
        "stale",
        model(Protocol::JoinWithoutValidation),
    );
}

#[test]
fn p1_mutant_valid_from_arrival_is_found() {
    found(
        "valid from arrival",
        "stale",
        model(Protocol::ValidFromArrival),
    );
}

#[test]
fn p1_mutant_fill_without_lease_is_found() {
    found(
        "fill without lease",
        "stale",
        model(Protocol::NoLeaseAtFill),
    );
}
