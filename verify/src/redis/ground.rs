//! What the workers stand on, servers and networks, and all that can be done to it: what is the same of every kind. A server and its
//! replica are in `pair`, a cluster is in `cluster`, what becomes of connections in `network`.

use std::time::{Duration, Instant};

use crate::history::Choices;

pub trait Ground {
    /// Where a machine finds it: servers, with commas between them.
    fn address(&self, machine: usize) -> String;

    /// What can be done to it: how often each is chosen, and what it is called.
    fn faults(&self) -> Vec<(u64, &'static str)>;

    /// Begins one of them. Whom it befell; `None`: it could not be, as things are.
    fn begin(&mut self, fault: usize, choices: &mut Choices) -> Option<usize>;

    /// Ends those that have lasted long enough.
    fn go_on(&mut self, now: Instant);

    /// Everything works again.
    fn mend(&mut self);

    /// Says how things are.
    fn tell(&self) {}
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum State {
    Runs,
    Stopped,
    Killed,
}

/// What is to be done later.
pub struct Later<E>(Vec<(Instant, E)>);

impl<E: PartialEq> Later<E> {
    pub fn new() -> Later<E> {
        Later(Vec::new())
    }

    pub fn add(&mut self, time: Duration, end: E) {
        self.0.push((Instant::now() + time, end));
    }

    pub fn has(&self, end: &E) -> bool {
        self.any(|of| of == end)
    }

    pub fn any(&self, is: impl Fn(&E) -> bool) -> bool {
        self.0.iter().any(|(_, end)| is(end))
    }

    /// What is to be done by now.
    pub fn due(&mut self, now: Instant) -> Vec<E> {
        let due = self.0.extract_if(.., |(at, _)| *at <= now);
        due.map(|(_, end)| end).collect()
    }

    /// All of it.
    pub fn all(&mut self) -> Vec<E> {
        self.0.drain(..).map(|(_, end)| end).collect()
    }

    pub fn forget(&mut self, end: &E) {
        self.0.retain(|(_, of)| of != end);
    }
}

/// So long, at random.
pub fn up_to(choices: &mut Choices, millis: u64) -> Duration {
    choices.micros(millis * 1000)
}
