//! How answers reach an event loop without a thread for each question: a question is a future of the engine, whose wakers leave a number in
//! the loop's mailbox and a byte on a socket that the loop reads from. However many have come by then, the loop is woken once, and nobody but
//! the loop's own thread takes the GIL.

use super::ask::{Answer, Asking};
use crate::cell::GilCell;
use crate::ffi;
use pyo3::prelude::*;
use quickcache::tier::redis::Out;
use std::collections::HashMap;
use std::future::Future;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// What an answer is awaited with.
pub type Question = Pin<Box<dyn Future<Output = Result<Answer, Out>> + Send>>;

/// Of one event loop, whose thread is the only one that uses it.
#[pyclass(module = "quickcache._native", frozen)]
pub struct Mailbox {
    awaited: GilCell<Awaited>,
    post: Arc<Post>,
}

#[derive(Default)]
struct Awaited {
    last: u64,
    questions: HashMap<u64, Awaiting, foldhash::fast::FixedState>,
}

struct Awaiting {
    question: Question,
    waker: Waker,
    asking: Py<Asking>,
    future: Py<PyAny>,
}

/// What other threads have of a mailbox.
struct Post {
    /// The numbers of questions to look at again.
    ready: Mutex<Vec<u64>>,
    outgoing: UnixStream,
    /// Here, so that it is open as long as there is anybody to write to it.
    incoming: UnixStream,
}

/// The waker of a question.
struct Letter {
    post: Arc<Post>,
    number: u64,
}

impl Wake for Letter {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut ready = self.post.lock();
        ready.push(self.number);
        let first = ready.len() == 1;
        drop(ready);
        if first {
            // There is room: one byte lies there at most for each time that all were taken.
            let _sent = (&self.post.outgoing).write(&[0]);
        }
    }
}

impl Post {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<u64>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl Mailbox {
    #[new]
    fn new() -> io::Result<Mailbox> {
        let (incoming, outgoing) = UnixStream::pair()?;
        incoming.set_nonblocking(true)?;
        outgoing.set_nonblocking(true)?;
        let post = Post {
            ready: Mutex::default(),
            outgoing,
            incoming,
        };
        Ok(Mailbox {
            awaited: GilCell::new(Awaited::default()),
            post: Arc::new(post),
        })
    }

    /// What the loop is to read from, and calls `receive` when it can.
    fn fileno(&self) -> i32 {
        self.post.incoming.as_raw_fd()
    }

    /// Asks. What `create_future` gives is done when the answer is there; `None`: it is there already.
    fn ask<'py>(
        &self,
        asking: &Bound<'py, Asking>,
        create_future: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = asking.py();
        let Some(mut question) = asking.get().question(py) else {
            return Ok(None);
        };
        let number = self.awaited.with(py, |awaited| {
            awaited.last += 1;
            awaited.last
        });
        let post = self.post.clone();
        let waker = Waker::from(Arc::new(Letter { post, number }));
        if let Poll::Ready(answer) = question.as_mut().poll(&mut Context::from_waker(&waker)) {
            asking.get().set_answer(py, answer);
            return Ok(None);
        }
        let future = create_future.call0()?;
        let awaiting = Awaiting {
            question,
            waker,
            asking: asking.clone().unbind(),
            future: future.clone().unbind(),
        };
        asking.get().number.with(py, |place| *place = number);
        self.awaited.with(py, |awaited| {
            awaited.questions.insert(number, awaiting);
        });
        Ok(Some(future))
    }

    /// Nobody awaits the answer any more: a right that it may give is given back.
    fn forget(&self, asking: &Bound<Asking>) {
        let py = asking.py();
        let number = asking.get().number.with(py, |number| *number);
        let forgotten = self
            .awaited
            .with(py, |awaited| awaited.questions.remove(&number));
        // Apart: what it holds may have any code run.
        drop(forgotten);
    }

    /// The loop was closed: nobody awaits anything.
    fn close(&self, py: Python) {
        let forgotten = self
            .awaited
            .with(py, |awaited| std::mem::take(&mut awaited.questions));
        drop(forgotten);
    }

    /// Looks at what has come.
    fn receive(&self, py: Python) -> PyResult<()> {
        // Before the numbers are taken: a byte that comes later has others.
        let mut bytes = [0; 64];
        while matches!((&self.post.incoming).read(&mut bytes), Ok(read) if read == bytes.len()) {}
        let ready = std::mem::take(&mut *self.post.lock());
        for number in ready {
            self.look(py, number)?;
        }
        Ok(())
    }

    fn __traverse__(&self, _visit: pyo3::PyVisit<'_>) -> Result<(), pyo3::PyTraverseError> {
        // What it holds is held until its answer comes, which does come.
        Ok(())
    }
}

impl Mailbox {
    fn look(&self, py: Python, number: u64) -> PyResult<()> {
        let taken = |awaited: &mut Awaited| awaited.questions.remove(&number);
        let Some(mut awaiting) = self.awaited.with(py, taken) else {
            return Ok(()); // woken twice
        };
        let mut context = Context::from_waker(&awaiting.waker);
        match awaiting.question.as_mut().poll(&mut context) {
            Poll::Pending => {
                self.awaited.with(py, |awaited| {
                    awaited.questions.insert(number, awaiting);
                });
                Ok(())
            }
            Poll::Ready(answer) => {
                let future = awaiting.future.bind(py);
                // Whoever asked may be gone; then a right that was given is given back.
                if ffi::method(future, pyo3::intern!(py, "done"), &[])?.is_truthy()? {
                    return Ok(());
                }
                awaiting.asking.get().set_answer(py, answer);
                let none = py.None();
                ffi::method(future, pyo3::intern!(py, "set_result"), &[none.bind(py)]).map(|_| ())
            }
        }
    }
}
