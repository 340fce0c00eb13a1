//! For callers that may not wait in place: tasks of any runtime. Two threads take whatever requests there are, send them in one go, and wake
//! who waits for the replies; while one of them awaits replies the other takes what has come meanwhile. So the more there are at once, the
//! less each costs.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use super::commands::Commands;
use super::link::{Answer, Out, Outcomes, Request};
use super::look::{self, Look};
use super::node::Node;
use super::record::Fence;
use crate::tier::store::lock;

/// How many of them a node has: one to send while the other receives.
const LANES: usize = 2;

/// How many requests go at once, at first and at most: a batch is as slow as its slowest, and takes the longer the larger values are.
const MOST: (usize, usize) = (32, 256);

pub(super) struct Lanes {
    queue: Mutex<Queue>,
    filled: Condvar,
    /// How many requests go at once at present.
    most: AtomicUsize,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    /// Threads, and those of them that have nothing to do.
    threads: usize,
    idle: usize,
}

struct Waiting {
    end: Instant,
    what: What,
}

/// What is asked, and where the outcome is left.
enum What {
    Look(Look, Promise<look::Looked>),
    Request(Request, Promise<Option<Answer>>),
}

impl What {
    fn fail(self, out: Out) {
        match self {
            What::Look(_, promise) => promise.settle(Err(out)),
            What::Request(_, promise) => promise.settle(Err(out)),
        }
    }
}

/// Whoever awaits it is told, whatever becomes of what was asked.
struct Promise<T>(Arc<Slot<T>>);

impl<T> Promise<T> {
    fn settle(&self, outcome: Result<T, Out>) {
        self.0.settle(outcome);
    }
}

impl<T> Drop for Promise<T> {
    fn drop(&mut self) {
        if !lock(&self.0.0).is_settled {
            self.settle(Err(Out::Broken("nobody asked it".to_owned())));
        }
    }
}

/// Where an outcome is left.
struct Slot<T>(Mutex<State<T>>);

struct State<T> {
    is_settled: bool,
    outcome: Option<Result<T, Out>>,
    waker: Option<Waker>,
}

impl<T> Slot<T> {
    fn new() -> Arc<Self> {
        Arc::new(Slot(Mutex::new(State {
            is_settled: false,
            outcome: None,
            waker: None,
        })))
    }

    /// The first time counts.
    fn settle(&self, outcome: Result<T, Out>) {
        let mut slot = lock(&self.0);
        if std::mem::replace(&mut slot.is_settled, true) {
            return;
        }
        slot.outcome = Some(outcome);
        let waker = slot.waker.take();
        drop(slot);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// An outcome, to be awaited. Dropped, what was asked goes its way all the same.
pub(super) struct Reply<T>(Option<Arc<Slot<T>>>);

impl<T> Future for Reply<T> {
    type Output = Result<T, Out>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(slot) = &self.0 else {
            return Poll::Ready(Err(Out::Away));
        };
        let mut guard = lock(&slot.0);
        match guard.outcome.take() {
            Some(outcome) => {
                drop(guard);
                self.0 = None;
                Poll::Ready(outcome)
            }
            None => {
                guard.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Node {
    /// As `ask`, for a task.
    pub(super) fn ask_soon(
        &'static self,
        commands: Commands,
        of: Option<Fence>,
    ) -> Reply<Option<Answer>> {
        let request = Request::new(commands, of);
        self.soon(|promise| What::Request(request, promise))
    }

    /// As `look`, for a task.
    pub(super) fn look_soon(&'static self, look: Look) -> Reply<look::Looked> {
        self.soon(|promise| What::Look(look, promise))
    }

    fn soon<T>(&'static self, what: impl FnOnce(Promise<T>) -> What) -> Reply<T> {
        if self.is_left_alone() {
            return Reply(None);
        }
        let slot = Slot::new();
        let waiting = Waiting {
            end: self.server.end(),
            what: what(Promise(slot.clone())),
        };
        let mut queue = lock(&self.lanes.queue);
        queue.waiting.push_back(waiting);
        if queue.idle == 0 && queue.threads < LANES {
            let thread = thread::Builder::new().name("quickcache-lane".to_owned());
            if thread.spawn(move || run(self)).is_ok() {
                queue.threads += 1;
            } else if queue.threads == 0 {
                let nobodys = queue.waiting.pop_back();
                drop(queue);
                drop(nobodys);
                return Reply(None); // nobody would take it
            }
        }
        // Who is busy looks again by itself: to wake nobody is a call of the system too.
        let wakes = queue.idle > 0;
        drop(queue);
        if wakes {
            self.lanes.filled.notify_one();
        }
        Reply(Some(slot))
    }
}

impl Lanes {
    pub(super) fn new() -> Self {
        Lanes {
            queue: Mutex::default(),
            filled: Condvar::new(),
            most: AtomicUsize::new(MOST.0),
        }
    }

    /// What has come, as soon as something has.
    fn next(&self) -> Vec<Waiting> {
        let mut queue = lock(&self.queue);
        if queue.waiting.is_empty() {
            queue.idle += 1;
            while queue.waiting.is_empty() {
                queue = self
                    .filled
                    .wait(queue)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            queue.idle -= 1;
            // Whoever may run on this processor is perhaps about to ask something, too.
            drop(queue);
            thread::yield_now();
            queue = lock(&self.queue);
        }
        let many = queue.waiting.len().min(self.most.load(Ordering::Relaxed));
        queue.waiting.drain(..many).collect()
    }

    /// How many requests go at once from now on, after a batch has taken so much of its time, or more than all of it.
    fn learn(&self, many: usize, took: Duration, budget: Duration) {
        let most = self.most.load(Ordering::Relaxed);
        if took > budget / 2 {
            self.most.store((many / 2).max(1), Ordering::Relaxed);
        } else if took < budget / 8 && many == most {
            self.most.store((2 * most).min(MOST.1), Ordering::Relaxed);
        }
    }

    /// Its lock, held until this is dropped: for the moment of a fork.
    #[cfg(unix)]
    pub(super) fn hold(&self) -> impl Sized + '_ {
        lock(&self.queue)
    }

    /// In the child of a fork: the threads are the parent's, and so is who waits.
    #[cfg(unix)]
    pub(super) fn forget(&self) {
        let parents = std::mem::take(&mut *lock(&self.queue));
        // Wakers are of runtimes that are not here: they are not even dropped.
        std::mem::forget(parents);
    }
}

/// However a lane ends (a logger may panic), another one is begun by the next request, and who waits is told.
struct Running(&'static Node);

impl Drop for Running {
    fn drop(&mut self) {
        let mut queue = lock(&self.0.lanes.queue);
        queue.threads -= 1;
        let nobodys = match queue.threads {
            0 => std::mem::take(&mut queue.waiting),
            _ => VecDeque::new(),
        };
        drop(queue);
        drop(nobodys);
    }
}

fn run(node: &'static Node) {
    let _running = Running(node);
    let budget = node.server.budget();
    loop {
        let batch = node.lanes.next();
        let now = Instant::now();
        let (mut looks, mut looking) = (Vec::new(), Vec::new());
        let (mut requests, mut asking) = (Vec::new(), Vec::new());
        let mut end: Option<Instant> = None;
        for waiting in batch {
            // What has waited for too long would leave the others too little of their time.
            if waiting.end.saturating_duration_since(now) <= budget / 2 {
                let late = "its turn did not come in time".to_owned();
                waiting.what.fail(Out::Broken(late));
                continue;
            }
            end = Some(end.map_or(waiting.end, |end| end.min(waiting.end)));
            match waiting.what {
                What::Look(look, promise) => {
                    looks.push(look);
                    looking.push(promise);
                }
                What::Request(request, promise) => {
                    requests.push(request);
                    asking.push(promise);
                }
            }
        }
        let Some(end) = end else {
            continue;
        };
        let asked = node.ask_all(&looks, &requests, end);
        let many = looks.len() + requests.len();
        node.lanes.learn(many, now.elapsed(), budget);
        match asked {
            Ok(Outcomes { looked, outcomes }) => {
                settle(looking, looked);
                settle(asking, outcomes);
            }
            Err(out) => {
                looking
                    .iter()
                    .for_each(|promise| promise.settle(Err(out.clone())));
                asking
                    .iter()
                    .for_each(|promise| promise.settle(Err(out.clone())));
            }
        }
    }
}

fn settle<T>(promises: Vec<Promise<T>>, outcomes: Vec<Result<T, Out>>) {
    for (promise, outcome) in promises.into_iter().zip(outcomes) {
        promise.settle(outcome);
    }
}
