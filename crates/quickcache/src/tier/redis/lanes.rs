//! For callers that may not wait in place: tasks of any runtime. Two threads take whatever requests there are, send them in one go, and wake
//! who waits for the replies; while one of them awaits replies the other takes what has come meanwhile. So the more there are at once, the
//! less each costs.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Instant;

use redis::Pipeline;

use super::link::{Out, Outcome, Request};
use super::record::Fence;
use super::server::Server;
use crate::tier::store::lock;

/// How many of them a server has: one to send while the other receives.
const LANES: usize = 2;

/// How many requests go at once: a batch is as slow as its slowest.
const MOST: usize = 256;

pub(super) struct Lanes {
    queue: Mutex<Queue>,
    filled: Condvar,
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
    reply: Arc<Slot>,
}

/// Where the outcome of a request is left.
#[derive(Default)]
struct Slot(Mutex<(Option<Outcome>, Option<Waker>)>);

impl Slot {
    fn settle(&self, outcome: Outcome) {
        let mut slot = lock(&self.0);
        slot.0 = Some(outcome);
        let waker = slot.1.take();
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
        match guard.0.take() {
            Some(outcome) => {
                drop(guard);
                self.0 = None;
                Poll::Ready(outcome)
            }
            None => {
                guard.1 = Some(context.waker().clone());
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
            reply: reply.clone(),
        };
        let mut queue = lock(&self.lanes.queue);
        queue.waiting.push_back(waiting);
        if queue.idle == 0 && queue.threads < LANES {
            let thread = thread::Builder::new().name("quickcache-lane".to_owned());
            if thread.spawn(move || run(self)).is_ok() {
                queue.threads += 1;
            } else if queue.threads == 0 {
                queue.waiting.pop_back();
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
        let many = queue.waiting.len().min(MOST);
        queue.waiting.drain(..many).collect()
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

fn run(server: &'static Server) {
    loop {
        let batch = server.lanes.next();
        let Some(end) = batch.iter().map(|waiting| waiting.end).min() else {
            continue;
        };
        let (requests, replies): (Vec<_>, Vec<_>) = batch
            .into_iter()
            .map(|waiting| (waiting.request, waiting.reply))
            .unzip();
        match server.ask_all(&requests, end) {
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
