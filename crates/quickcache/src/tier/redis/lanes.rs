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

use redis::Pipeline;

use super::link::{Out, Outcome, Request};
use super::record::Fence;
use super::server::Server;
use crate::tier::store::lock;

/// How many of them a server has: one to send while the other receives.
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
    request: Request,
    end: Instant,
    reply: Promise,
}

/// Whoever awaits it is told, whatever becomes of the request.
struct Promise(Arc<Slot>);

impl Promise {
    fn settle(&self, outcome: Outcome) {
        self.0.settle(outcome);
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        self.0
            .settle(Err(Out::Broken("nobody asked it".to_owned())));
    }
}

/// Where the outcome of a request is left.
#[derive(Default)]
struct Slot(Mutex<State>);

#[derive(Default)]
struct State {
    is_settled: bool,
    outcome: Option<Outcome>,
    waker: Option<Waker>,
}

impl Slot {
    /// The first time counts.
    fn settle(&self, outcome: Outcome) {
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

/// The outcome of a request, to be awaited. Dropped, the request goes its way all the same.
pub(super) struct Reply(Option<Arc<Slot>>);

impl Future for Reply {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome> {
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

impl Server {
    /// As `ask`, for a task.
    pub(super) fn ask_soon(&'static self, pipeline: &Pipeline, of: Option<Fence>) -> Reply {
        if self.is_away() {
            return Reply(None);
        }
        let reply = Arc::new(Slot::default());
        let waiting = Waiting {
            request: Request::new(pipeline, of),
            end: self.end(),
            reply: Promise(reply.clone()),
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
        drop(queue);
        self.lanes.filled.notify_one();
        Reply(Some(reply))
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
        queue.idle += 1;
        while queue.waiting.is_empty() {
            queue = self
                .filled
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        }
        queue.idle -= 1;
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
struct Running(&'static Server);

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

fn run(server: &'static Server) {
    let _running = Running(server);
    let budget = server.budget();
    loop {
        let batch = server.lanes.next();
        let now = Instant::now();
        // What has waited for too long would leave the others too little of their time.
        let (batch, overdue): (Vec<_>, Vec<_>) = batch
            .into_iter()
            .partition(|waiting| waiting.end.saturating_duration_since(now) > budget / 2);
        for late in overdue {
            late.reply
                .settle(Err(Out::Broken("its turn did not come in time".to_owned())));
        }
        let Some(end) = batch.iter().map(|waiting| waiting.end).min() else {
            continue;
        };
        let (requests, replies): (Vec<_>, Vec<_>) = batch
            .into_iter()
            .map(|waiting| (waiting.request, waiting.reply))
            .unzip();
        let outcome = server.ask_all(&requests, end);
        server.lanes.learn(requests.len(), now.elapsed(), budget);
        match outcome {
            Ok(outcomes) => {
                for (reply, outcome) in replies.iter().zip(outcomes) {
                    reply.settle(outcome);
                }
            }
            Err(out) => replies
                .iter()
                .for_each(|reply| reply.settle(Err(out.clone()))),
        }
    }
}
