//! A signal that wakes threads and tasks alike. It counts how often it was raised; whoever waits names the round it saw.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use super::guarded::lock;
use super::shim::{Condvar, Mutex};

#[derive(Default)]
pub(super) struct Signal {
    waiting: Mutex<Waiting>,
    threads: Condvar,
}

#[derive(Default)]
struct Waiting {
    round: u64,
    next: u64,
    /// A task that stops waiting takes its waker along, so that a long flight gathers none. Ordered: the first to wait is
    /// the first to be woken.
    tasks: BTreeMap<u64, Waker>,
}

impl Signal {
    /// Read it under the guard of what is waited for: then no raise is missed.
    pub(super) fn round(&self) -> u64 {
        lock(&self.waiting).round
    }

    pub(super) fn hold(&self) -> impl Sized + '_ {
        lock(&self.waiting)
    }

    pub(super) fn raise(&self) {
        let tasks = {
            let mut waiting = lock(&self.waiting);
            waiting.round += 1;
            std::mem::take(&mut waiting.tasks)
        };
        self.threads.notify_all();
        tasks.into_values().for_each(Waker::wake);
    }

    /// Blocks until the signal is raised after `round`, or until the deadline. Was it raised?
    pub(super) fn wait(&self, round: u64, deadline: Option<Instant>) -> bool {
        let mut waiting = lock(&self.waiting);
        while waiting.round == round {
            waiting = match deadline {
                None => match self.threads.wait(waiting) {
                    Ok(waiting) => waiting,
                    Err(poison) => poison.into_inner(),
                },
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return false;
                    }
                    match self.threads.wait_timeout(waiting, left) {
                        Ok((waiting, _)) => waiting,
                        Err(poison) => poison.into_inner().0,
                    }
                }
            };
        }
        true
    }

    /// The same for a task; without a deadline: whoever has patience polls a timer beside it.
    pub(super) fn raised(&self, round: u64) -> Raised<'_> {
        Raised {
            signal: self,
            round,
            id: None,
        }
    }
}

pub(super) struct Raised<'a> {
    signal: &'a Signal,
    round: u64,
    id: Option<u64>,
}

impl Future for Raised<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let waker = context.waker().clone();
        let mut waiting = lock(&self.signal.waiting);
        if waiting.round != self.round {
            return Poll::Ready(());
        }
        let id = self.id.unwrap_or(waiting.next);
        waiting.next = waiting.next.max(id + 1);
        let old = waiting.tasks.insert(id, waker);
        drop(waiting);
        drop(old); // outside the lock: a waker's destructor is foreign code
        self.id = Some(id);
        Poll::Pending
    }
}

impl Drop for Raised<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            let waker = lock(&self.signal.waiting).tasks.remove(&id);
            drop(waker);
        }
    }
}
