//! The patience of async followers. To begin a timer wakes the thread that has them, which is much for a call that waits for some microseconds:
//! followers that begin to wait about the same time have one together.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use futures_timer::Delay;

use crate::tier::store::lock;

/// The timer of the followers of one function.
#[derive(Default)]
pub(super) struct Timers(Mutex<Option<Arc<Timer>>>);

struct Timer {
    begun: Instant,
    time: Duration,
    delay: Mutex<Delay>,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    last: u64,
    wakers: HashMap<u64, Waker>,
}

impl Timers {
    /// Is ready after so long, or up to an eighth later, counted from when it is first polled.
    pub(super) async fn wait(&self, most: Duration) {
        let timer = self.timer(most);
        let mut place = Place {
            timer: &timer,
            number: None,
        };
        poll_fn(|context| place.poll(context)).await;
    }

    fn timer(&self, most: Duration) -> Arc<Timer> {
        let longest = most.saturating_add(most / 8);
        let mut latest = lock(&self.0);
        if let Some(timer) = &*latest {
            let left = timer.time.saturating_sub(timer.begun.elapsed());
            if (most..=longest).contains(&left) {
                return timer.clone();
            }
        }
        let timer = Timer::begin(longest);
        *latest = Some(timer.clone());
        timer
    }
}

impl Timer {
    fn begin(time: Duration) -> Arc<Timer> {
        let timer = Arc::new(Timer {
            begun: Instant::now(),
            time,
            delay: Mutex::new(Delay::new(time)),
            waiting: Mutex::default(),
        });
        timer.poll();
        timer
    }

    /// Whether it is over; if not, its waker is told when it is.
    fn poll(self: &Arc<Self>) -> bool {
        let waker = Waker::from(self.clone());
        let mut delay = lock(&self.delay);
        let polled = Pin::new(&mut *delay).poll(&mut Context::from_waker(&waker));
        polled.is_ready()
    }
}

impl Wake for Timer {
    fn wake(self: Arc<Self>) {
        let waiting = std::mem::take(&mut lock(&self.waiting).wakers);
        waiting.into_values().for_each(Waker::wake);
    }
}

/// Of one follower.
struct Place<'a> {
    timer: &'a Arc<Timer>,
    number: Option<u64>,
}

impl Place<'_> {
    fn poll(&mut self, context: &Context<'_>) -> Poll<()> {
        let mut waiting = lock(&self.timer.waiting);
        let number = *self.number.get_or_insert_with(|| {
            waiting.last += 1;
            waiting.last
        });
        waiting.wakers.insert(number, context.waker().clone());
        drop(waiting);
        // After the waker is there: who is told between the two is told.
        match self.timer.poll() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            lock(&self.timer.waiting).wakers.remove(&number);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::thread;

    use super::*;

    struct Unpark(thread::Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    fn block_on(future: impl Future<Output = ()>) {
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut future = pin!(future);
        while future
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
        {
            thread::park();
        }
    }

    #[test]
    fn all_that_wait_on_one_timer_are_woken_and_none_too_early() {
        let timers = Timers::default();
        let most = Duration::from_millis(80);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let begun = Instant::now();
                    block_on(timers.wait(most));
                    assert!(begun.elapsed() >= most);
                });
            }
        });
        let timer = lock(&timers.0).clone().expect("the latest");
        assert!(lock(&timer.waiting).wakers.is_empty());
    }

    #[test]
    fn who_waits_no_longer_leaves_nothing_behind() {
        let timers = Timers::default();
        {
            let mut waits = pin!(timers.wait(Duration::from_secs(3600)));
            let mut context = Context::from_waker(Waker::noop());
            assert!(waits.as_mut().poll(&mut context).is_pending());
        }
        let timer = lock(&timers.0).clone().expect("the latest");
        assert!(lock(&timer.waiting).wakers.is_empty());
        assert!(Arc::ptr_eq(
            &timer,
            &timers.timer(Duration::from_secs(3700))
        ));
        assert!(!Arc::ptr_eq(&timer, &timers.timer(Duration::from_secs(60))));
    }
}
