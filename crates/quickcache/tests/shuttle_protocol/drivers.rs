//! The two Rust drivers themselves: threads and tasks that call, clear and refresh over a memory tier and a slower tier,
//! tasks that are dropped half-way, and functions that call each other in a circle. A lost wake-up is a deadlock here, for
//! in these models patience never ends.

use std::future::{Future, pending, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use shuttle::rand::{Rng, thread_rng};
use shuttle::sync::Mutex;
use shuttle::{future, thread};

use crate::floor::{Floor, clean};
use crate::guarded::{Asked, Found, Guarded, Steps};
use crate::machine::KeyOf;
use crate::{asynchronous, blocking};

const FOREVER: Duration = Duration::from_secs(1_000_000);

fn key_of(key: &u8) -> KeyOf<'_, u8> {
    KeyOf {
        function: 1,
        hash: u64::from(*key),
        key,
    }
}

fn asked(key: &u8) -> Asked<'_, u8> {
    Asked {
        key: key_of(key),
        generation: 0,
    }
}

struct Process {
    protocol: Guarded<u8, u64>,
    memory: Mutex<Option<u64>>,
    slower: Mutex<Option<u64>>,
    floor: Floor,
}

impl Process {
    fn new() -> Arc<Self> {
        Arc::new(Process {
            protocol: Guarded::new(),
            memory: Mutex::new(None),
            slower: Mutex::new(None),
            floor: Floor::new(),
        })
    }

    fn keep(&self, value: u64) {
        *self.memory.lock().unwrap() = Some(value);
    }

    fn look(&self) -> Option<Found<u64>> {
        let recalled = *self.memory.lock().unwrap();
        let found = recalled.or_else(|| {
            let doubt = self.protocol.doubt(key_of(&1));
            (!doubt).then(|| *self.slower.lock().unwrap())?
        });
        found.map(|value| Found {
            value,
            backfill: recalled.is_none(),
        })
    }

    fn call(&self) -> u64 {
        self.call_whose_set(|| ())
    }

    /// The slower tier's own `set` does something before the value is there.
    fn set(&self, value: u64, inside: impl FnOnce()) {
        inside();
        *self.slower.lock().unwrap() = Some(value);
    }

    fn call_whose_set(&self, inside: impl FnOnce()) -> u64 {
        if let Some(value) = *self.memory.lock().unwrap() {
            return value;
        }
        let steps = Steps {
            look: || self.look(),
            compute: || self.floor.compute(),
            store: Some(|value: &u64| self.set(*value, inside)),
            unstore: || *self.slower.lock().unwrap() = None,
            keep: |value: &u64| self.keep(*value),
        };
        blocking::run(&self.protocol, asked(&1), FOREVER, steps)
    }

    fn clear(&self) {
        let delete = || *self.slower.lock().unwrap() = None;
        blocking::clear(&self.protocol, key_of(&1), delete, || {
            self.memory.lock().unwrap().take()
        });
    }

    fn refresh(&self) {
        self.refresh_whose_set(|| ());
    }

    fn refresh_whose_set(&self, inside: impl FnOnce()) {
        let token = self.protocol.lock().now();
        let value = self.floor.compute();
        let set = || self.set(value, inside);
        let delete = || *self.slower.lock().unwrap() = None;
        let mut kept = false;
        let last = |stands: bool| {
            *self.memory.lock().unwrap() = stands.then_some(value);
            kept = stands;
        };
        blocking::supersede(&self.protocol, key_of(&1), token, set, delete, last);
        if kept {
            self.floor.raise(value);
        }
    }

    async fn call_async(&self) -> u64 {
        if let Some(value) = *self.memory.lock().unwrap() {
            return value;
        }
        let steps = Steps {
            look: async {
                future::yield_now().await;
                self.look()
            },
            compute: async {
                let value = self.floor.compute();
                future::yield_now().await;
                value
            },
            store: Some(|value: u64| async move {
                future::yield_now().await;
                *self.slower.lock().unwrap() = Some(value);
                future::yield_now().await;
            }),
            unstore: async { *self.slower.lock().unwrap() = None },
            keep: |value: &u64| self.keep(*value),
        };
        asynchronous::run(&self.protocol, asked(&1), pending(), steps).await
    }

    async fn clear_async(&self) {
        let delete = async {
            future::yield_now().await;
            *self.slower.lock().unwrap() = None;
        };
        asynchronous::clear(&self.protocol, key_of(&1), delete, || {
            self.memory.lock().unwrap().take()
        })
        .await;
    }

    fn end(&self) {
        self.floor.read(|| self.call());
        assert!(
            self.protocol.lock().is_idle(),
            "the machine still holds a key"
        );
    }
}

/// Polls a future a few times, then drops it.
async fn cancelled<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut left: u32 = thread_rng().gen_range(0..4);
    let mut future = pin!(future);
    poll_fn(move |context| match future.as_mut().poll(context) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending if left == 0 => Poll::Ready(None),
        Poll::Pending => {
            left -= 1;
            context.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await
}

#[test]
fn p1_the_blocking_driver_is_never_stale_and_never_stuck() {
    clean("blocking driver", 3_000, || {
        let process = Process::new();
        let mut threads = Vec::new();
        let mut spawn = |work: fn(&Process)| {
            let process = process.clone();
            threads.push(thread::spawn(move || work(&process)));
        };
        for _ in 0..2 {
            spawn(|process| (0..2).for_each(|_| process.floor.read(|| process.call())));
            spawn(|process| process.floor.change(|| process.clear()));
        }
        spawn(|process| process.refresh());
        spawn(|process| *process.memory.lock().unwrap() = None); // evicted
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        process.end();
    });
}

#[test]
fn p1_a_refresh_is_not_undone_by_an_older_fill() {
    clean("refresh", 3_000, || {
        let process = Process::new();
        let calling = process.clone();
        let caller = thread::spawn(move || calling.floor.read(|| calling.call()));
        process.floor.change_silently();
        process.refresh();
        process.memory.lock().unwrap().take(); // evicted: the slower tier answers
        process.floor.read(|| process.call());
        caller.join().unwrap();
        process.end();
    });
}

/// What the slower tier's `set` may do inside itself, and what others do meanwhile.
fn model_of_a_set(inside: fn(&Process)) -> impl Fn() + Clone + Send + Sync + 'static {
    move || {
        let process = Process::new();
        let mut threads = Vec::new();
        let mut spawn = |work: fn(&Process, fn(&Process))| {
            let process = process.clone();
            threads.push(thread::spawn(move || work(&process, inside)));
        };
        spawn(|process, inside| {
            process
                .floor
                .read(|| process.call_whose_set(|| inside(process)))
        });
        spawn(|process, inside| process.refresh_whose_set(|| inside(process)));
        spawn(|process, _| (0..3).for_each(|_| process.floor.read(|| process.call())));
        spawn(|process, _| process.floor.change(|| process.clear()));
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        process.end();
    }
}

#[test]
fn p1_a_clear_from_inside_a_set_of_its_key_is_never_stale_and_never_stuck() {
    let clears = |process: &Process| process.floor.change(|| process.clear());
    clean("clear inside a set", 3_000, model_of_a_set(clears));
}

#[test]
fn p1_a_refresh_from_inside_a_set_of_its_key_is_never_stale_and_never_stuck() {
    let refreshes = |process: &Process| {
        process.floor.change_silently();
        process.refresh();
    };
    clean("refresh inside a set", 3_000, model_of_a_set(refreshes));
}

#[test]
fn p11_two_sets_that_clear_each_others_key_do_not_wait_for_each_other() {
    clean("sets that clear each other's key", 3_000, || {
        let protocol = Arc::new(Guarded::<u8, u64>::new());
        let threads = [1, 2].map(|key: u8| {
            let protocol = protocol.clone();
            thread::spawn(move || {
                let steps = Steps {
                    look: || None,
                    compute: || 1,
                    store: Some(|_: &u64| {
                        blocking::clear(&protocol, key_of(&(3 - key)), || (), || ())
                    }),
                    unstore: || (),
                    keep: |_: &u64| (),
                };
                blocking::run(&protocol, asked(&key), FOREVER, steps);
            })
        });
        for thread in threads {
            thread.join().unwrap();
        }
        assert!(protocol.lock().is_idle());
    });
}

#[test]
fn p11_tasks_that_are_dropped_anywhere_leave_no_one_waiting() {
    clean("asynchronous driver", 3_000, || {
        let process = Process::new();
        let mut tasks = Vec::new();
        for _ in 0..2 {
            let process = process.clone();
            tasks.push(future::spawn(async move {
                cancelled(process.call_async()).await;
                process.floor.read_async(process.call_async()).await;
            }));
        }
        let clearing = process.clone();
        tasks.push(future::spawn(async move {
            cancelled(clearing.clear_async()).await;
        }));
        let reading = process.clone();
        let thread = thread::spawn(move || {
            reading.floor.read(|| reading.call());
            reading.floor.change(|| reading.clear());
        });
        for task in tasks {
            future::block_on(task).unwrap();
        }
        thread.join().unwrap();
        process.end();
    });
}

#[test]
fn p11_a_cycle_of_functions_and_threads_never_deadlocks() {
    fn call(protocol: &Guarded<u8, u64>, key: u8, depth: u32) -> u64 {
        let steps = Steps {
            look: || None,
            compute: || {
                if depth == 0 {
                    1
                } else {
                    call(protocol, (key + 1) % 3, depth - 1)
                }
            },
            store: None::<fn(&u64)>,
            unstore: || (),
            keep: |_: &u64| (),
        };
        blocking::run(protocol, asked(&key), FOREVER, steps)
    }
    clean("cycle", 3_000, || {
        let protocol = Arc::new(Guarded::new());
        let threads: Vec<_> = (0..3)
            .map(|key| {
                let protocol = protocol.clone();
                thread::spawn(move || assert_eq!(call(&protocol, key, 4), 1))
            })
            .collect();
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        assert!(protocol.lock().is_idle());
    });
}

#[test]
fn p7_one_execution_for_many_callers() {
    clean("one execution", 3_000, || {
        let process = Process::new();
        let executions = Arc::new(Mutex::new(0));
        let callers: Vec<_> = (0..3)
            .map(|_| {
                let (process, executions) = (process.clone(), executions.clone());
                thread::spawn(move || {
                    if process.memory.lock().unwrap().is_some() {
                        return;
                    }
                    let steps = Steps {
                        look: || process.look(),
                        compute: || {
                            *executions.lock().unwrap() += 1;
                            1
                        },
                        store: None::<fn(&u64)>,
                        unstore: || (),
                        keep: |value: &u64| process.keep(*value),
                    };
                    blocking::run(&process.protocol, asked(&1), FOREVER, steps);
                })
            })
            .collect();
        callers
            .into_iter()
            .for_each(|caller| caller.join().unwrap());
        assert_eq!(*executions.lock().unwrap(), 1);
    });
}
