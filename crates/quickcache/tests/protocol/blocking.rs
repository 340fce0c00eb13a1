//! The driver for blocking Rust, with threads that meet at known points.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Barrier, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use quickcache::protocol::blocking::{clear, run, supersede};
use quickcache::protocol::guarded::{Asked, Found, Guarded, Steps};
use quickcache::protocol::machine::KeyOf;

type Value = Result<u32, String>;

/// For ever.
const PATIENCE: Duration = Duration::MAX;

/// A key that counts how often it was compared: a call that found a flight has compared its key with the flight's.
#[derive(Clone)]
struct Key<'a>(u8, &'a AtomicU32);

impl PartialEq for Key<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.1.fetch_add(1, Ordering::SeqCst);
        self.0 == other.0
    }
}

impl Eq for Key<'_> {}

fn asked<'a, 'k>(key: &'k Key<'a>) -> Asked<'k, Key<'a>> {
    Asked {
        key: KeyOf {
            function: 1,
            hash: u64::from(key.0),
            key,
        },
        generation: 0,
    }
}

fn call<'a>(
    protocol: &Guarded<Key<'a>, Value>,
    key: &Key<'a>,
    patience: Duration,
    compute: impl FnOnce() -> Value,
) -> Value {
    let steps = Steps {
        look: || None,
        compute,
        store: None::<fn(&Value)>,
        unstore: || (),
        keep: |_: &Value| (),
    };
    run(protocol, asked(key), patience, steps)
}

/// Waits for the guard to be taken and let go after a key was compared.
fn until_compared(compared: &AtomicU32, times: u32) {
    while compared.load(Ordering::SeqCst) < times {
        thread::yield_now();
    }
}

#[test]
fn p11_exception_reaches_each_waiter_once_and_is_not_kept() {
    let (compared, executions) = (AtomicU32::new(0), AtomicU32::new(0));
    let (protocol, key) = (Guarded::new(), Key(1, &compared));
    let failing = || {
        executions.fetch_add(1, Ordering::SeqCst);
        until_compared(&compared, 3);
        Err("no such person".to_owned())
    };
    thread::scope(|scope| {
        let calls = [(); 4].map(|()| scope.spawn(|| call(&protocol, &key, PATIENCE, failing)));
        for call in calls {
            assert_eq!(call.join().unwrap(), Err("no such person".to_owned()));
        }
    });
    assert_eq!(executions.load(Ordering::SeqCst), 1);
    assert_eq!(call(&protocol, &key, PATIENCE, || Ok(1)), Ok(1));
}

#[test]
fn p11_a_panic_reaches_its_caller_and_one_follower_leads() {
    let compared = AtomicU32::new(0);
    let (protocol, key) = (Guarded::new(), Key(1, &compared));
    let (led, leading) = mpsc::channel();
    thread::scope(|scope| {
        let leader = scope.spawn(|| {
            catch_unwind(AssertUnwindSafe(|| {
                call(&protocol, &key, PATIENCE, || {
                    led.send(()).unwrap();
                    until_compared(&compared, 1);
                    panic!("the function's own panic");
                })
            }))
        });
        leading.recv().unwrap();
        let follower = scope.spawn(|| call(&protocol, &key, PATIENCE, || Ok(2)));
        let panic = leader.join().unwrap().unwrap_err();
        assert_eq!(panic.downcast_ref(), Some(&"the function's own panic"));
        assert_eq!(follower.join().unwrap(), Ok(2));
    });
    assert!(protocol.lock().is_idle());
}

#[test]
fn p11_cycle_of_two_functions_and_two_threads_ends() {
    let compared = AtomicU32::new(0);
    let (protocol, f, g) = (Guarded::new(), Key(1, &compared), Key(2, &compared));
    let both_lead = Barrier::new(2);
    let nested = |outer, inner| {
        call(&protocol, outer, PATIENCE, || {
            both_lead.wait();
            call(&protocol, inner, PATIENCE, || Ok(7))
        })
    };
    thread::scope(|scope| {
        let one = scope.spawn(|| nested(&f, &g));
        let two = scope.spawn(|| nested(&g, &f));
        assert_eq!((one.join().unwrap(), two.join().unwrap()), (Ok(7), Ok(7)));
    });
    assert!(protocol.lock().is_idle());
}

#[test]
fn p11_a_leader_that_waits_for_another_thread_with_its_key_is_ended_by_patience() {
    let compared = AtomicU32::new(0);
    let (protocol, key) = (Guarded::new(), Key(1, &compared));
    let value = call(&protocol, &key, PATIENCE, || {
        thread::scope(|scope| {
            let worker = scope.spawn(|| call(&protocol, &key, Duration::from_millis(1), || Ok(1)));
            worker.join().unwrap()
        })
    });
    assert_eq!(value, Ok(1));
    assert!(protocol.lock().is_idle());
}

#[test]
fn p1_a_clear_waits_for_a_running_store_and_then_deletes() {
    let compared = AtomicU32::new(0);
    let (protocol, key) = (Guarded::<Key<'_>, Value>::new(), Key(1, &compared));
    let (memory, slower) = (Mutex::new(None), Mutex::new(None));
    let (stored, storing) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(|| {
            let store = |value: &Value| {
                stored.send(()).unwrap();
                until_compared(&compared, 2); // the clear found the flight, and the store
                *slower.lock().unwrap() = Some(value.clone());
            };
            let keep = |value: &Value| memory.lock().unwrap().replace(value.clone());
            let steps = Steps {
                look: || None,
                compute: || Ok(1),
                store: Some(store),
                unstore: || (),
                keep,
            };
            run(&protocol, asked(&key), PATIENCE, steps)
        });
        storing.recv().unwrap();
        let delete = || {
            assert_eq!(
                slower.lock().unwrap().take(),
                Some(Ok(1)),
                "deleted before it was set"
            )
        };
        clear(&protocol, asked(&key).key, delete, || {
            memory.lock().unwrap().take()
        });
    });
    assert_eq!(*memory.lock().unwrap(), None, "the fill is refused");
    assert_eq!(*slower.lock().unwrap(), None);
}

#[test]
fn p1_a_clear_whose_delete_panics_still_clears_the_memory_tier_and_ends() {
    let compared = AtomicU32::new(0);
    let (protocol, key) = (Guarded::<Key<'_>, Value>::new(), Key(1, &compared));
    let memory = Mutex::new(Some(1));
    let delete = || panic!("the user's cache");
    let cleared = catch_unwind(AssertUnwindSafe(|| {
        clear(&protocol, asked(&key).key, delete, || {
            memory.lock().unwrap().take()
        })
    }));
    assert!(cleared.is_err());
    assert_eq!(*memory.lock().unwrap(), None);
    let token = protocol.lock().now();
    assert!(
        protocol.announce(asked(&key).key, token).is_some(),
        "stores go on"
    );
}

#[test]
fn p1_a_superseding_value_is_kept_only_if_it_was_set() {
    let compared = AtomicU32::new(0);
    let (protocol, key) = (Guarded::<Key<'_>, Value>::new(), Key(1, &compared));
    let kept = Mutex::new(Vec::new());
    let token = protocol.lock().now();
    let broken = catch_unwind(AssertUnwindSafe(|| {
        let set = || panic!("the user's cache");
        supersede(
            &protocol,
            asked(&key).key,
            token,
            set,
            || (),
            |stands| stands.then(|| kept.lock().unwrap().push(1)),
        )
    }));
    assert!(broken.is_err());
    let refused = supersede(
        &protocol,
        asked(&key).key,
        token,
        || (),
        || (),
        |_| kept.lock().unwrap().push(2),
    );
    assert!(
        refused.is_none(),
        "its execution began before the other was stored"
    );
    let token = protocol.lock().now();
    assert!(
        supersede(
            &protocol,
            asked(&key).key,
            token,
            || (),
            || (),
            |stands| stands.then(|| kept.lock().unwrap().push(3))
        )
        .is_some()
    );
    assert_eq!(*kept.lock().unwrap(), [3]);
}

#[test]
fn p7_what_the_memory_tier_gave_is_neither_stored_nor_kept_again() {
    let compared = AtomicU32::new(0);
    let (protocol, key) = (Guarded::<Key<'_>, Value>::new(), Key(1, &compared));
    for (backfill, written) in [(false, 0), (true, 2)] {
        let writes = AtomicU32::new(0);
        let write = |_: &Value| writes.fetch_add(1, Ordering::SeqCst);
        let steps = Steps {
            look: || {
                Some(Found {
                    value: Ok(5),
                    backfill,
                })
            },
            compute: || panic!("it was found"),
            store: Some(|value: &Value| {
                write(value);
            }),
            unstore: || (),
            keep: write,
        };
        assert_eq!(run(&protocol, asked(&key), PATIENCE, steps), Ok(5));
        assert_eq!(writes.load(Ordering::SeqCst), written);
    }
}

#[cfg(unix)]
#[test]
fn p11_child_of_fork_waits_for_no_flight_and_no_store_of_its_parent() {
    unsafe extern "C" {
        fn fork() -> i32;
        fn waitpid(child: i32, status: *mut i32, options: i32) -> i32;
        fn alarm(seconds: u32) -> u32;
        fn _exit(status: i32) -> !;
    }
    for clears_first in [false, true] {
        let compared = AtomicU32::new(0);
        let (protocol, led, stored) = (Guarded::new(), Key(1, &compared), Key(2, &compared));
        let child_ended = Barrier::new(2);
        let (leads, leading) = mpsc::channel();
        thread::scope(|scope| {
            let flight = scope.spawn(|| {
                call(&protocol, &led, PATIENCE, || {
                    let token = protocol.lock().now();
                    let _announced = protocol.announce(asked(&stored).key, token);
                    leads.send(()).unwrap();
                    child_ended.wait();
                    Ok(1)
                })
            });
            leading.recv().unwrap();
            // SAFETY: the child runs what needs no other thread, and leaves without unwinding.
            let child = unsafe { fork() };
            if child == 0 {
                unsafe { alarm(20) };
                let clears = || clear(&protocol, asked(&stored).key, || (), || ());
                if clears_first {
                    clears();
                }
                let value = call(&protocol, &led, PATIENCE, || Ok(2));
                clears();
                unsafe { _exit(i32::from(value != Ok(2))) };
            }
            let mut status = -1;
            // SAFETY: the child is ours.
            assert_eq!(unsafe { waitpid(child, &mut status, 0) }, child);
            assert_eq!(status, 0, "the child waited, or got another value");
            child_ended.wait();
            assert_eq!(flight.join().unwrap(), Ok(1), "the parent is not disturbed");
        });
    }
}
