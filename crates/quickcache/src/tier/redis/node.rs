//! A node as this process knows it: its connections, and whether it can be reached. A server has one, a cluster many. Calls never connect: they
//! wait for a connection no longer than their budget, and while the node is out of reach not at all. Who connects, and finds out when it is
//! back, is the agent, a thread.

use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::agent;
use super::commands::Commands;
use super::lanes::Lanes;
use super::link::{Link, Out, Outcome, Outcomes, Request, unexpected};
use super::look::{self, Look};
use super::options::Address;
use super::record::{Era, Fence, Token, random};
use super::server::Server;
use super::slots::Bucket;
use super::wire::Broken;
use crate::clock::{self, Millis};
use crate::tier::store::lock;

/// A node, for as long as the process lives.
pub struct Node {
    pub(super) server: &'static Server,
    /// Where it is, in a cluster; else that is to be found out.
    pub(super) address: Option<Address>,
    pub(super) state: Mutex<State>,
    /// What `state` says of that, for those who ask before each call.
    is_away: AtomicBool,
    /// There is a connection for one of those who wait, or none for any.
    changed: Condvar,
    /// There is something to do for the agent.
    pub(super) tasks: Condvar,
    /// For those who may not wait in place.
    pub(super) lanes: Lanes,
}

/// What a node's lock guards.
#[derive(Default)]
pub(super) struct State {
    pub(super) idle: Vec<Link>,
    /// Connections, those in use among them.
    pub(super) live: usize,
    /// Callers that wait for a connection.
    pub(super) wanted: usize,
    /// Since it is out of reach.
    pub(super) away: Option<Away>,
    /// When it was found again, and how long the pause before that was.
    back: Option<(Instant, Duration)>,
    /// The agent runs.
    pub(super) agent: bool,
    /// Leases to keep alive.
    pub(super) leases: Vec<Lease>,
    /// Leases to give back, when that is due.
    pub(super) abandoned: Vec<Lease>,
    /// What it says of its cluster is to be asked.
    pub(super) asks_for_view: bool,
    /// What is pending is to be looked for at once.
    pub(super) looks: bool,
    warned: bool,
}

/// Of a node that is out of reach.
pub(super) struct Away {
    /// When it is tried next.
    pub(super) next: Instant,
    pub(super) pause: Duration,
}

/// What is left when a node goes out of reach. To be dropped when its lock is released: a logger may run any code, which may wait for
/// whoever waits for that lock.
pub(super) struct Lost {
    #[allow(dead_code, reason = "closed when this is dropped")]
    idle: Vec<Link>,
    said: Option<String>,
}

impl Drop for Lost {
    fn drop(&mut self) {
        if let Some(said) = &self.said {
            log::warn!(target: "quickcache", "{said}");
        }
    }
}

/// A lease in use.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Lease {
    pub(super) key: Vec<u8>,
    pub(super) bucket: Bucket,
    pub(super) era: Era,
    pub(super) token: Token,
    /// When it is to be renewed, or given back.
    pub(super) due: Instant,
    /// It was to be given back once already, and was not there: the claim was perhaps still on its way.
    pub(super) again: bool,
}

impl Node {
    pub(super) fn new(server: &'static Server, address: Option<Address>) -> &'static Node {
        Box::leak(Box::new(Node {
            server,
            address,
            state: Mutex::default(),
            is_away: AtomicBool::new(false),
            changed: Condvar::new(),
            tasks: Condvar::new(),
            lanes: Lanes::new(),
        }))
    }

    /// Whether it is known to be out of reach.
    pub(super) fn is_away(&self) -> bool {
        self.is_away.load(Ordering::Acquire)
    }

    /// Has what it says of its cluster asked, soon.
    pub(super) fn ask_for_view(&'static self) {
        let mut state = lock(&self.state);
        state.asks_for_view = true;
        agent::rouse(self, &mut state);
    }

    /// Sends a request, and awaits the replies.
    ///
    /// # Errors
    /// If the server is out of reach, or refuses: counted, and logged once for each time that it goes out of reach.
    pub fn ask(&'static self, commands: Commands, of: Option<Fence>) -> Outcome {
        let end = self.server.end();
        let asked = self.ask_all(&[], &[Request::new(commands, of)], end)?;
        asked.outcomes.into_iter().next().unwrap_or(Ok(None))
    }

    /// Looks what is under a key.
    ///
    /// # Errors
    /// As `ask`.
    pub fn look(&'static self, look: Look) -> look::Outcome {
        let looked = self.ask_all(&[look], &[], self.server.end())?.looked;
        looked
            .into_iter()
            .next()
            .unwrap_or_else(|| Err(unexpected()))
    }

    /// Sends looks and requests in one go, and awaits the replies, until `end`.
    pub(super) fn ask_all(
        &'static self,
        looks: &[Look],
        requests: &[Request],
        end: Instant,
    ) -> Result<Outcomes, Out> {
        loop {
            let link = self.take(end)?;
            if let Some(link) = self.verified(link, end)? {
                return self.exchange(link, looks, requests, end);
            }
        }
    }

    /// A connection that leads to a primary. `None`: it was closed while it was idle, and nothing was sent yet; is there a better one?
    pub(super) fn verified(&self, mut link: Link, end: Instant) -> Result<Option<Link>, Out> {
        match link.verify(end) {
            Ok(()) => Ok(Some(link)),
            Err(_) if Instant::now() < end => {
                self.close(link);
                Ok(None)
            }
            Err(Broken(why)) => {
                self.broke(link, &why);
                Err(Out::Broken(why))
            }
        }
    }

    /// Sends looks and requests on this connection.
    pub(super) fn exchange(
        &self,
        mut link: Link,
        looks: &[Look],
        requests: &[Request],
        end: Instant,
    ) -> Result<Outcomes, Out> {
        let began = Instant::now();
        match link.ask(looks, requests, end) {
            Ok(asked) => {
                self.give(link);
                let failed = |out: &Out| !matches!(out, Out::Moved(_));
                let refused = asked
                    .outcomes
                    .iter()
                    .filter_map(|outcome| outcome.as_ref().err());
                let looked = asked
                    .looked
                    .iter()
                    .filter_map(|looked| looked.as_ref().err());
                let refused: Vec<&Out> = refused.chain(looked).filter(|out| failed(out)).collect();
                if !refused.is_empty() {
                    self.server.refused(&refused);
                }
                Ok(asked)
            }
            Err(Broken(why)) => {
                // Most of the time had gone by before its turn came: that is no fault of the server.
                let had_time =
                    end.saturating_duration_since(began) > self.server.options.budget / 2;
                if had_time || Instant::now() < end {
                    self.broke(link, &why);
                } else {
                    self.server.failures.fetch_add(1, Ordering::Relaxed);
                    self.close(link);
                }
                Err(Out::Broken(why))
            }
        }
    }

    /// A connection, now or until `end`.
    pub(super) fn take(&'static self, end: Instant) -> Result<Link, Out> {
        let mut state = lock(&self.state);
        loop {
            if state.away.is_some() {
                self.begin_agent(&mut state);
                return Err(Out::Away);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let none = "there is no connection in time";
                if state.live == 0 {
                    drop(state);
                    self.server.note_lost(self.budget_ago());
                    let mut state = lock(&self.state);
                    // A server without TLS says nothing to who begins with it.
                    let why = match self.server.options.tls {
                        Some(_) => "it cannot be connected to in time; does its port speak TLS?",
                        None => "it cannot be connected to in time",
                    };
                    let lost = (state.live == 0).then(|| self.lose(&mut state, why));
                    drop(state);
                    drop(lost);
                } else if !state.idle.is_empty() {
                    // What this one was woken for is another's.
                    self.changed.notify_one();
                }
                return Err(Out::Broken(none.to_owned()));
            }
            if let Some(link) = state.idle.pop() {
                return Ok(link);
            }
            state.wanted += 1;
            if state.live < self.server.options.connections {
                agent::rouse(self, &mut state);
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            state.wanted = state.wanted.saturating_sub(1);
        }
    }

    /// Whether it is out of reach; then somebody finds out that it is back.
    pub(super) fn is_left_alone(&'static self) -> bool {
        if self.is_away() {
            self.has_agent();
        }
        self.is_away()
    }

    /// Somebody sees to it from now on, if nobody does.
    pub(super) fn has_agent(&'static self) {
        self.begin_agent(&mut lock(&self.state));
    }

    fn begin_agent(&'static self, state: &mut State) {
        if !state.agent {
            agent::rouse(self, state);
        }
    }

    fn give(&self, link: Link) {
        let mut state = lock(&self.state);
        if state.away.is_some() {
            state.live -= 1;
            drop(state);
            return drop(link);
        }
        state.idle.push(link);
        let waits = state.wanted > 0;
        drop(state);
        if waits {
            self.changed.notify_one();
        }
    }

    fn close(&self, link: Link) {
        lock(&self.state).live -= 1;
        drop(link);
    }

    fn broke(&self, link: Link, why: &str) {
        self.server.failures.fetch_add(1, Ordering::Relaxed);
        self.server.note_lost(self.budget_ago());
        let mut state = lock(&self.state);
        state.live -= 1;
        let lost = self.lose(&mut state, why);
        drop(state);
        drop((link, lost));
    }

    /// When an operation began, at the earliest, that ends now.
    fn budget_ago(&self) -> Millis {
        clock::boot().saturating_sub(clock::millis(self.server.options.budget))
    }

    /// It is out of reach from now on. The connections that are left over.
    pub(super) fn lose(&self, state: &mut State, why: &str) -> Lost {
        let mut said = None;
        if state.away.is_none() {
            // One that can be connected to, and fails whoever asks it then, was never back.
            let back = state.back.take();
            let fails_again = back.filter(|(since, pause)| since.elapsed() < 10 * *pause);
            state.away = Some(match fails_again {
                Some((_, pause)) => Away::after(pause),
                None => Away::new(),
            });
            self.is_away.store(true, Ordering::Release);
            self.changed.notify_all();
            self.tasks.notify_all();
            if fails_again.is_none() {
                said = self.warning(state, why);
            }
        }
        Lost {
            idle: state.take_idle(),
            said,
        }
    }

    /// It cannot be connected to.
    pub(super) fn lose_for_longer(&self, state: &mut State, why: &str) -> Lost {
        let mut lost = self.lose(state, why);
        lost.said = lost.said.take().or_else(|| self.warning(state, why));
        if let Some(away) = &mut state.away {
            away.again();
        }
        lost
    }

    fn warning(&self, state: &mut State, why: &str) -> Option<String> {
        (!mem::replace(&mut state.warned, true)).then(|| {
            format!(
                "{self:?}: {why}; until it is back functions run without it, and clears are written down"
            )
        })
    }

    /// It is there, by this connection.
    pub(super) fn found(&self, link: Link) {
        let mut state = lock(&self.state);
        state.live += 1;
        state.idle.push(link);
        let away = state.away.take();
        let is_news = away.is_some() && mem::take(&mut state.warned);
        if let Some(away) = away {
            state.back = Some((Instant::now(), away.pause));
        }
        self.is_away.store(false, Ordering::Release);
        drop(state);
        self.changed.notify_one();
        if is_news {
            log::info!(target: "quickcache", "{self:?}: it is back");
        }
    }

    /// Keeps a lease alive until it is let go: the agent sees to it in time.
    pub(super) fn keep_alive(&'static self, lease: Lease) {
        let mut state = lock(&self.state);
        state.leases.push(lease);
        self.begin_agent(&mut state);
    }

    /// The lease is not kept any more.
    pub(super) fn let_go(&self, token: Token) -> Option<Lease> {
        let leases = &mut lock(&self.state).leases;
        let at = leases.iter().position(|lease| lease.token == token)?;
        Some(leases.swap_remove(at))
    }

    /// The lease is given back, soon.
    pub(super) fn abandon(&'static self, token: Token) {
        let Some(lease) = self.let_go(token) else {
            return;
        };
        let mut state = lock(&self.state);
        state.abandoned.push(Lease {
            due: Instant::now(),
            ..lease
        });
        agent::rouse(self, &mut state);
    }

    /// In the child of a fork: all that was there is the parent's. What owns sockets is not dropped: they are closed by their list.
    #[cfg(unix)]
    pub(super) fn forget(&self) {
        let mut state = lock(&self.state);
        mem::forget(mem::take(&mut *state));
        self.is_away.store(false, Ordering::Release);
        self.lanes.forget();
    }
}

impl State {
    /// Whether nobody has, or wants, anything of the node.
    pub(super) fn is_left(&self) -> bool {
        self.wanted == 0 && self.leases.is_empty() && self.abandoned.is_empty()
    }

    /// Takes the connections away that nobody uses.
    pub(super) fn take_idle(&mut self) -> Vec<Link> {
        let idle = mem::take(&mut self.idle);
        self.live -= idle.len();
        idle
    }
}

impl Away {
    const FIRST: Duration = Duration::from_millis(50);
    /// With its jitter less than a second: clears are applied within one after the server is back.
    const LONGEST: Duration = Duration::from_millis(800);

    fn new() -> Away {
        Away {
            next: Instant::now() + Away::FIRST,
            pause: Away::FIRST,
        }
    }

    /// After a pause of that length.
    fn after(pause: Duration) -> Away {
        let mut away = Away {
            next: Instant::now(),
            pause,
        };
        away.again();
        away
    }

    /// It is still out of reach.
    fn again(&mut self) {
        self.pause = (self.pause * 2).min(Away::LONGEST);
        // So that those who lost it together do not come back together.
        let jitter = random() % 41;
        self.next = Instant::now() + self.pause * (80 + jitter as u32) / 100;
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.address {
            Some(address) => write!(f, "{:?}, node {address}", self.server),
            None => write!(f, "{:?}", self.server),
        }
    }
}
