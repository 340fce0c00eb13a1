//! The driver for futures, polled by hand: every order of events is written down.

use std::cell::{Cell, RefCell};
use std::future::{Future, pending, poll_fn, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use quickcache::protocol::asynchronous::{clear, run, supersede};
use quickcache::protocol::guarded::{Asked, Found, Guarded, Steps};
use quickcache::protocol::machine::KeyOf;

type Value = Result<u32, &'static str>;
type Protocol = Guarded<u8, Value>;

const KEYS: [u8; 3] = [0, 1, 2];

fn key(key: usize) -> KeyOf<'static, u8> {
    KeyOf {
        function: 1,
        hash: key as u64,
        key: &KEYS[key],
    }
}

/// A call; `compute` is its function.
async fn call(protocol: &Protocol, at: usize, compute: impl Future<Output = Value>) -> Value {
    call_with(protocol, at, pending(), compute, |_| ()).await
}

async fn call_with(
    protocol: &Protocol,
    at: usize,
    patience: impl Future<Output = ()>,
    compute: impl Future<Output = Value>,
    keep: impl FnOnce(&Value),
) -> Value {
    let asked = Asked {
        key: key(at),
        generation: 0,
    };
    let steps = Steps {
        look: ready(None),
        compute,
        store: None::<fn(Value) -> std::future::Ready<()>>,
        unstore: ready(()),
        keep,
    };
    run(protocol, asked, patience, steps).await
}

/// A future polled by hand, with a waker that counts.
struct Task<'a, T>(Pin<Box<dyn Future<Output = T> + 'a>>, Arc<Wakes>);

#[derive(Default)]
struct Wakes(AtomicU32);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl<'a, T> Task<'a, T> {
    fn new(future: impl Future<Output = T> + 'a) -> Self {
        Task(Box::pin(future), Arc::default())
    }

    /// Polled once, and not ready.
    #[track_caller]
    fn waiting(future: impl Future<Output = T> + 'a) -> Self {
        let mut task = Task::new(future);
        assert!(task.poll().is_none(), "it waits");
        task
    }

    fn poll(&mut self) -> Option<T> {
        let waker = Waker::from(self.1.clone());
        match self.0.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        }
    }

    fn wakes(&self) -> u32 {
        self.1.0.load(Ordering::SeqCst)
    }
}

/// A function that ends when it is told to.
#[derive(Clone, Default)]
struct Gate(Rc<Cell<Option<Value>>>);

impl Gate {
    fn open(&self, value: Value) {
        self.0.set(Some(value));
    }
}

impl Future for Gate {
    type Output = Value;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Value> {
        self.0.get().map_or(Poll::Pending, Poll::Ready)
    }
}

async fn never() -> Value {
    panic!("the function is not to run")
}

#[test]
fn p7_one_execution_for_all_tasks() {
    let (protocol, gate) = (Protocol::new(), Gate::default());
    let mut leader = Task::waiting(call(&protocol, 0, gate.clone()));
    let mut followers = [(); 3].map(|()| Task::waiting(call(&protocol, 0, never())));
    gate.open(Ok(1));
    assert_eq!(leader.poll(), Some(Ok(1)));
    assert!(followers.iter().all(|follower| follower.wakes() == 1));
    assert!(
        followers
            .iter_mut()
            .all(|follower| follower.poll() == Some(Ok(1)))
    );
    assert!(protocol.lock().is_idle());
}

#[test]
fn p11_cancelling_the_leader_hands_the_lead_to_one_follower() {
    let (protocol, gate) = (Protocol::new(), Gate::default());
    let leader = Task::waiting(call(&protocol, 0, pending()));
    let mut first = Task::waiting(call(&protocol, 0, gate.clone()));
    let mut second = Task::waiting(call(&protocol, 0, never()));
    drop(leader);
    assert_eq!((first.wakes(), second.wakes()), (1, 1));
    assert_eq!((first.poll(), second.poll()), (None, None));
    gate.open(Ok(2));
    assert_eq!(first.poll(), Some(Ok(2)));
    assert_eq!(second.poll(), Some(Ok(2)));
    assert!(protocol.lock().is_idle());
}

#[test]
fn p11_cancelling_a_follower_affects_no_one() {
    let (protocol, gate) = (Protocol::new(), Gate::default());
    let mut leader = Task::waiting(call(&protocol, 0, gate.clone()));
    let cancelled = Task::waiting(call(&protocol, 0, never()));
    let mut stays = Task::waiting(call(&protocol, 0, never()));
    let wakes = cancelled.1.clone();
    drop(cancelled);
    assert_eq!(Arc::strong_count(&wakes), 1, "its waker went with it");
    gate.open(Ok(1));
    assert_eq!(leader.poll(), Some(Ok(1)));
    assert_eq!(stays.poll(), Some(Ok(1)));
    assert_eq!(wakes.0.load(Ordering::SeqCst), 0);
}

#[test]
fn p11_when_all_are_cancelled_nothing_is_left() {
    let protocol = Protocol::new();
    let tasks = [(); 3].map(|()| Task::waiting(call(&protocol, 0, pending())));
    drop(tasks);
    assert!(protocol.lock().is_idle());
    assert_eq!(
        Task::new(call(&protocol, 0, ready(Ok(1)))).poll(),
        Some(Ok(1))
    );
}

#[test]
fn p11_exception_reaches_each_waiter_once() {
    let (protocol, gate) = (Protocol::new(), Gate::default());
    let mut leader = Task::waiting(call(&protocol, 0, gate.clone()));
    let mut follower = Task::waiting(call(&protocol, 0, never()));
    gate.open(Err("refused"));
    assert_eq!(leader.poll(), Some(Err("refused")));
    assert_eq!(follower.poll(), Some(Err("refused")));
    assert_eq!(
        Task::new(call(&protocol, 0, ready(Ok(1)))).poll(),
        Some(Ok(1))
    );
}

#[test]
fn p11_no_exception_of_a_flight_that_may_not_be_joined() {
    let (protocol, gate) = (Protocol::new(), Gate::default());
    let mut old = Task::waiting(call(&protocol, 0, gate.clone()));
    protocol.clear(key(0), || ());
    let mut new = Task::new(call(&protocol, 0, ready(Ok(1))));
    gate.open(Err("of before the clear"));
    assert_eq!(new.poll(), Some(Ok(1)));
    assert_eq!(old.poll(), Some(Err("of before the clear")));
}

#[test]
fn p11_a_panic_in_the_function_hands_the_lead_on() {
    let (protocol, open) = (Protocol::new(), Cell::new(false));
    let panics = poll_fn(|_| {
        if open.get() {
            panic!("the function's own")
        } else {
            Poll::Pending
        }
    });
    let mut leader = Task::waiting(call(&protocol, 0, panics));
    let mut follower = Task::waiting(call(&protocol, 0, ready(Ok(2))));
    open.set(true);
    assert!(catch_unwind(AssertUnwindSafe(|| leader.poll())).is_err());
    drop(leader);
    assert_eq!(follower.poll(), Some(Ok(2)));
    assert!(protocol.lock().is_idle());
}

#[test]
fn p11_a_task_that_calls_itself_ends() {
    let protocol = Protocol::new();
    let inner = call(&protocol, 0, ready(Ok(1)));
    assert_eq!(Task::new(call(&protocol, 0, inner)).poll(), Some(Ok(1)));
}

#[test]
fn p11_a_cycle_of_two_functions_and_two_tasks_ends() {
    let (protocol, gate) = (Protocol::new(), Gate::default());
    let after_gate = |then| {
        let gate = gate.clone();
        let protocol = &protocol;
        async move {
            gate.await?;
            call(protocol, then, ready(Ok(7))).await
        }
    };
    let mut one = Task::waiting(call(&protocol, 0, after_gate(1)));
    let mut two = Task::waiting(call(&protocol, 1, after_gate(0)));
    gate.open(Ok(0));
    assert_eq!(one.poll(), None, "it waits for the other");
    assert_eq!(two.poll(), Some(Ok(7)), "which would wait for it");
    assert_eq!(one.poll(), Some(Ok(7)));
    assert!(protocol.lock().is_idle());
}

#[test]
fn p11_a_wait_that_was_cancelled_is_no_part_of_a_cycle() {
    let (protocol, f_gate, g_gate) = (Protocol::new(), Gate::default(), Gate::default());
    let mut g = Task::waiting(call(&protocol, 1, async {
        g_gate.clone().await?;
        call(&protocol, 0, never()).await
    }));
    let mut f = Task::waiting(call(&protocol, 0, async {
        let mut waits = Box::pin(call(&protocol, 1, never()));
        let polled = poll_fn(|context| Poll::Ready(waits.as_mut().poll(context))).await;
        assert!(polled.is_pending());
        drop(waits);
        f_gate.clone().await
    }));
    g_gate.open(Ok(0));
    assert_eq!(g.poll(), None, "it follows f");
    f_gate.open(Ok(1));
    assert_eq!(f.poll(), Some(Ok(1)));
    assert_eq!(g.poll(), Some(Ok(1)));
}

#[test]
fn p11_tasks_on_one_thread_are_told_apart() {
    let (protocol, gate) = (Protocol::new(), Gate::default());
    let mut outer = Task::waiting(call(&protocol, 0, call(&protocol, 1, gate.clone())));
    let mut stranger = Task::waiting(call(&protocol, 0, never())); // follows: it is not within the flight
    gate.open(Ok(1));
    assert_eq!(outer.poll(), Some(Ok(1)));
    assert_eq!(stranger.poll(), Some(Ok(1)));
}

#[test]
fn p11_a_follower_whose_patience_is_over_runs_and_keeps_nothing() {
    let (protocol, gate) = (Protocol::new(), Gate::default());
    let kept = RefCell::new(Vec::new());
    let keep = |value: &Value| kept.borrow_mut().push(*value);
    let mut leader = Task::waiting(call_with(&protocol, 0, pending(), gate.clone(), keep));
    let mut hurried = Task::new(call_with(&protocol, 0, ready(()), ready(Ok(2)), keep));
    assert_eq!(hurried.poll(), Some(Ok(2)));
    gate.open(Ok(1));
    assert_eq!(leader.poll(), Some(Ok(1)));
    assert_eq!(*kept.borrow(), [Ok(1)]);
}

#[test]
fn p1_a_clear_waits_for_a_running_store_and_the_fill_is_refused() {
    let (protocol, gate) = (Protocol::new(), Gate::default());
    let (kept, deleted) = (Cell::new(false), Cell::new(false));
    let steps = Steps {
        look: ready(None),
        compute: ready(Ok(1)),
        store: Some(|_| {
            let gate = gate.clone();
            async move {
                let _ = gate.await;
            }
        }),
        unstore: ready(()),
        keep: |_: &Value| kept.set(true),
    };
    let asked = Asked {
        key: key(0),
        generation: 0,
    };
    let mut leader = Task::waiting(run(&protocol, asked, pending(), steps));
    let delete = async { deleted.set(true) };
    let mut clearing = Task::waiting(clear(&protocol, key(0), delete, || kept.set(false)));
    assert!(!deleted.get());
    gate.open(Ok(0));
    assert_eq!(leader.poll(), Some(Ok(1)));
    assert!(!kept.get());
    assert_eq!(clearing.wakes(), 1);
    assert_eq!(clearing.poll(), Some(()));
    assert!(deleted.get());
}

#[test]
fn p1_a_clear_that_is_dropped_half_way_has_cleared_the_memory_tier() {
    let protocol = Protocol::new();
    let kept = Cell::new(true);
    let clearing = Task::waiting(clear(&protocol, key(0), pending::<()>(), || {
        kept.set(false)
    }));
    assert!(kept.get());
    drop(clearing);
    assert!(!kept.get());
    let token = protocol.lock().now();
    assert!(protocol.announce(key(0), token).is_some(), "stores go on");
}

#[test]
fn p1_a_store_that_is_dropped_half_way_lets_the_clear_go_on() {
    let protocol = Protocol::new();
    let store = Some(|_| pending());
    let steps = Steps {
        look: ready(None),
        compute: ready(Ok(1)),
        store,
        unstore: ready(()),
        keep: |_: &Value| (),
    };
    let leader = Task::waiting(run(
        &protocol,
        Asked {
            key: key(0),
            generation: 0,
        },
        pending(),
        steps,
    ));
    let mut clearing = Task::waiting(clear(&protocol, key(0), ready(()), || ()));
    drop(leader);
    assert_eq!(clearing.wakes(), 1);
    assert_eq!(clearing.poll(), Some(()));
    assert!(protocol.lock().is_idle());
}

#[test]
fn p1_a_superseding_store_waits_for_a_running_one_and_is_kept() {
    let protocol = Protocol::new();
    let token = protocol.lock().now();
    let running = protocol.announce(key(0), token).unwrap();
    let (set, kept) = (Cell::new(false), Cell::new(false));
    let setting = async { set.set(true) };
    let mut task = Task::waiting(supersede(
        &protocol,
        key(0),
        token,
        setting,
        ready(()),
        |stands| kept.set(stands),
    ));
    assert!(!set.get());
    drop(running);
    assert_eq!(task.wakes(), 1);
    assert_eq!(task.poll(), Some(Some(())));
    assert!(set.get() && kept.get());
    let refused = supersede(
        &protocol,
        key(0),
        token,
        async { panic!() },
        ready(()),
        |_| (),
    );
    assert_eq!(Task::new(refused).poll(), Some(None::<()>));
}

#[test]
fn p1_a_superseding_store_that_is_dropped_half_way_keeps_nothing() {
    let protocol = Protocol::new();
    let token = protocol.lock().now();
    let kept = Cell::new(false);
    let setting = pending::<()>();
    drop(Task::waiting(supersede(
        &protocol,
        key(0),
        token,
        setting,
        ready(()),
        |stands| kept.set(stands),
    )));
    assert!(!kept.get() && protocol.lock().is_idle());
}

#[test]
fn p1_a_superseding_store_does_not_outlive_a_clear_of_its_function() {
    let (protocol, gate, kept) = (Protocol::new(), Gate::default(), Cell::new(false));
    let token = protocol.lock().now();
    let keep = |stands| kept.set(stands);
    let mut task = Task::waiting(supersede(
        &protocol,
        key(0),
        token,
        gate.clone(),
        ready(()),
        keep,
    ));
    protocol.lock().clear_all(1);
    gate.open(Ok(0));
    assert_eq!(task.poll(), Some(Some(Ok(0))));
    assert!(!kept.get());
}

#[test]
fn p7_what_the_memory_tier_gave_is_neither_stored_nor_kept_again() {
    let protocol = Protocol::new();
    for (backfill, written) in [(false, 0), (true, 2)] {
        let writes = Cell::new(0);
        let write = || writes.set(writes.get() + 1);
        let steps = Steps {
            look: ready(Some(Found {
                value: Ok(5),
                backfill,
            })),
            compute: never(),
            store: Some(|_| {
                write();
                ready(())
            }),
            unstore: ready(()),
            keep: |_: &Value| write(),
        };
        let asked = Asked {
            key: key(0),
            generation: 0,
        };
        let value = Task::new(run(&protocol, asked, pending(), steps)).poll();
        assert_eq!(value, Some(Ok(5)));
        assert_eq!(writes.get(), written);
    }
}
