//! A server as this process knows it: its connections, and whether it can be reached. Calls never connect: they wait for a connection no
//! longer than their budget, and while the server is out of reach not at all. Who connects, and finds out when it is back, is the
//! agent, a thread.

use std::mem;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::agent;
use super::commands::Commands;
use super::common::Common;
use super::lanes::Lanes;
use super::link::{Link, Out, Outcome, Outcomes, Request, unexpected};
use super::listener;
use super::look::{self, Look};
use super::meeting::Meeting;
use super::options::Options;
use super::record::{Era, Fence, Token, random};
use super::wire::Broken;
use crate::clock::{self, Millis};
use crate::tier::store::{Opened, Proven, Shared, lock};

/// A server, for as long as the process lives.
pub struct Server {
    pub(super) options: Options,
    pub(super) state: Mutex<State>,
    /// What `state` says of that, for those who ask before each call.
    is_away: AtomicBool,
    /// There is a connection for one of those who wait, or none for any.
    changed: Condvar,
    /// There is something to do for the agent.
    pub(super) tasks: Condvar,
    /// Where this process meets the others of its machine.
    pub(super) meetings: Mutex<Vec<&'static Meeting>>,
    /// For those who may not wait in place.
    pub(super) lanes: Lanes,
    failures: AtomicU64,
    identity: [u8; 32],
    /// A clear was not told, and could not be written down: nothing is read, and everything is cleared when it is back.
    owes: AtomicBool,
    /// The staleness that its users have agreed on, in milliseconds; 0: not known yet.
    agreed: AtomicU64,
    warned_crowded: AtomicBool,
    warned_staleness: AtomicBool,
    warned_hidden: AtomicBool,
}

/// What a server's lock guards.
#[derive(Default)]
pub(super) struct State {
    pub(super) idle: Vec<Link>,
    /// Connections, those in use among them.
    pub(super) live: usize,
    /// Callers that wait for a connection.
    pub(super) wanted: usize,
    /// Since it is out of reach.
    pub(super) away: Option<Away>,
    /// The agent runs.
    pub(super) agent: bool,
    /// For which tables clears are to be listened for, and whether a thread does, or tries to.
    listens: Vec<(&'static Shared, bool)>,
    /// Leases to keep alive.
    pub(super) leases: Vec<Lease>,
    /// Leases to give back, when that is due.
    pub(super) abandoned: Vec<Lease>,
    warned: bool,
}

/// Of a server that is out of reach.
pub(super) struct Away {
    /// When it is tried next.
    pub(super) next: Instant,
    pub(super) pause: Duration,
}

/// What is left when a server goes out of reach. To be dropped when its lock is released: a logger may run any code, which may wait for
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
    pub(super) era: Era,
    pub(super) token: Token,
    /// When it is to be renewed, or given back.
    pub(super) due: Instant,
    /// It was to be given back once already, and was not there: the claim was perhaps still on its way.
    pub(super) again: bool,
}

/// Every server of this process, none of which is ever dropped.
pub(super) fn all() -> MutexGuard<'static, Vec<&'static Server>> {
    static ALL: Mutex<Vec<&'static Server>> = Mutex::new(Vec::new());
    lock(&ALL)
}

impl Server {
    /// The server of these options.
    pub(super) fn of(options: &Options) -> &'static Server {
        #[cfg(unix)]
        super::fork::expect();
        let mut all = all();
        if let Some(server) = all.iter().find(|server| server.options == *options) {
            return server;
        }
        let server = Box::leak(Box::new(Server {
            options: options.clone(),
            state: Mutex::default(),
            is_away: AtomicBool::new(false),
            changed: Condvar::new(),
            tasks: Condvar::new(),
            meetings: Mutex::default(),
            lanes: Lanes::new(),
            failures: AtomicU64::new(0),
            identity: options.identity(),
            owes: AtomicBool::new(false),
            agreed: AtomicU64::new(0),
            warned_crowded: AtomicBool::new(false),
            warned_staleness: AtomicBool::new(false),
            warned_hidden: AtomicBool::new(false),
        }));
        all.push(server);
        drop(all);
        if options.is_open_to_others() {
            log::warn!(
                target: "quickcache",
                "{server:?}: it is on another machine, and is reached without TLS or without a password: whoever is on the way can read and \
                 change what it holds"
            );
        }
        server
    }

    /// The longest staleness of the servers of this process, as it was said, or as others have agreed on it.
    pub fn longest_staleness() -> Option<Duration> {
        all().iter().map(|server| server.staleness()).max()
    }

    /// The channel on which clears are told.
    pub(super) fn channel(&self) -> Vec<u8> {
        let Options {
            namespace,
            database,
            ..
        } = &self.options;
        format!("{namespace}:{database}:clears").into_bytes()
    }

    /// The key of a value, as Redis has it.
    pub(super) fn key(&self, key: &[u8; 20]) -> Vec<u8> {
        look::name_of_value(&self.options.namespace, key)
    }

    /// A function's own key there.
    pub(super) fn key_of_function(&self, function: &[u8; 20]) -> Vec<u8> {
        look::name_of_function(&self.options.namespace, function)
    }

    /// What proves that this machine knows what was cleared on others.
    pub fn proven(&self) -> Proven {
        Proven {
            id: self.id(),
            while_out: self.options.serve_while_unreachable,
        }
    }

    /// An attempt that began at `since` has failed: it is out of reach, for every process of the machine.
    pub(super) fn note_lost(&self, since: Millis) {
        if self.options.serve_while_unreachable {
            let bound = clock::millis(self.options.staleness);
            for meeting in self.known_meetings() {
                let clear = || meeting.opened().clear_everything();
                meeting.common().lost(since, bound, clear);
            }
        }
    }

    /// It has answered just now.
    pub(super) fn note_reached(&self) {
        let now = clock::boot();
        for meeting in self.known_meetings() {
            meeting.common().reached(now);
        }
    }

    /// Names it among the network tiers of a machine; not 0.
    pub(super) fn id(&self) -> u64 {
        let (first, _) = self.identity.split_first_chunk().expect("32 bytes");
        u64::from_le_bytes(*first) | 1
    }

    /// What the machine's processes know of it together. `None`: the table has room for two, and others have it.
    pub(super) fn common(&self, opened: &'static Opened) -> Option<Common> {
        let words = opened.network(self.id());
        if words.is_none() && !self.warned_crowded.swap(true, Ordering::Relaxed) {
            log::warn!(
                target: "quickcache",
                "{self:?}: two others use its folder already, so that memory tiers before it are off; give it a `folder` of its own"
            );
        }
        words.map(Common::new)
    }

    /// What a new connection was told: whether this process agrees with the others on the bound, if that is known.
    pub(super) fn learn(&self, agreed: Option<u64>, tells: bool) -> bool {
        if !tells && !self.warned_hidden.swap(true, Ordering::Relaxed) {
            log::warn!(
                target: "quickcache",
                "{self:?} does not tell its run_id and master_replid (INFO server, INFO replication): if it restarts from an old state, or \
                 fails over to a replica that lags, what was cleared meanwhile can come back until its timeout"
            );
        }
        let Some(agreed) = agreed else {
            return false;
        };
        self.agreed.store(agreed, Ordering::Relaxed);
        let agrees = agreed == clock::millis(self.options.staleness);
        if !agrees && !self.warned_staleness.swap(true, Ordering::Relaxed) {
            log::warn!(
                target: "quickcache",
                "{self:?}: its users have agreed on a staleness of {agreed} ms, and this process says {:?}: its memory tiers are off",
                self.options.staleness
            );
        }
        agrees
    }

    /// Has clears listened for, on the machine of this table.
    pub(super) fn listen(&'static self, shared: &'static Shared) {
        let mut state = lock(&self.state);
        if !state
            .listens
            .iter()
            .any(|(table, _)| ptr::eq(*table, shared))
        {
            state.listens.push((shared, false));
        }
        self.start_listeners(&mut state);
    }

    /// Starts the threads that are to listen and do not: after a fork, and after one that has ended.
    pub(super) fn start_listeners(&'static self, state: &mut State) {
        for (shared, runs) in &mut state.listens {
            *runs = *runs || listener::start(self, shared);
        }
    }

    /// The thread has ended that listened for this table.
    pub(super) fn listens_no_more(&self, shared: &'static Shared) {
        for (table, runs) in &mut lock(&self.state).listens {
            *runs = *runs && !ptr::eq(*table, shared);
        }
    }

    /// A clear could neither be told nor written down.
    pub(super) fn owe(&self) {
        self.owes.store(true, Ordering::SeqCst);
    }

    /// Whether there was one.
    pub(super) fn owes(&self) -> bool {
        self.owes.load(Ordering::SeqCst)
    }

    /// Everything was cleared, since before `owes` was asked.
    pub(super) fn paid(&self) {
        self.owes.store(false, Ordering::SeqCst);
    }

    /// What went wrong with it so far.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// When an operation that begins now is given up: a tenth before its budget ends, since the system counts in steps of some
    /// milliseconds, and the caller has more to do.
    pub(super) fn end(&self) -> Instant {
        Instant::now() + self.options.budget * 9 / 10
    }

    /// How long a memory tier may still serve what was cleared on another machine, as it was said, or as others have agreed on it.
    pub fn staleness(&self) -> Duration {
        let agreed = Duration::from_millis(self.agreed.load(Ordering::Relaxed));
        self.options.staleness.max(agreed)
    }

    /// The longest that one operation takes.
    pub fn budget(&self) -> Duration {
        self.options.budget
    }

    /// Whether it is known to be out of reach.
    pub fn is_away(&self) -> bool {
        self.is_away.load(Ordering::Acquire)
    }

    /// Sends a request, and awaits the replies.
    ///
    /// # Errors
    /// If the server is out of reach, or refuses: counted, and logged once for each time that it goes out of reach.
    pub fn ask(&'static self, commands: Commands, of: Option<Fence>) -> Outcome {
        let end = self.end();
        let asked = self.ask_all(&[], &[Request::new(commands, of)], end)?;
        asked.outcomes.into_iter().next().unwrap_or(Ok(None))
    }

    /// Looks what is under a key.
    ///
    /// # Errors
    /// As `ask`.
    pub fn look(&'static self, look: Look) -> look::Outcome {
        let looked = self.ask_all(&[look], &[], self.end())?.looked;
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
                let refused = asked.outcomes.iter().filter(|outcome| outcome.is_err());
                let refused =
                    refused.count() + asked.looked.iter().filter(|looked| looked.is_err()).count();
                if refused > 0 {
                    self.failures.fetch_add(refused as u64, Ordering::Relaxed);
                }
                Ok(asked)
            }
            Err(Broken(why)) => {
                // Most of the time had gone by before its turn came: that is no fault of the server.
                let had_time = end.saturating_duration_since(began) > self.options.budget / 2;
                if had_time || Instant::now() < end {
                    self.broke(link, &why);
                } else {
                    self.failures.fetch_add(1, Ordering::Relaxed);
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
                if !state.agent {
                    // Nobody would find out that it is back.
                    agent::rouse(self, &mut state);
                }
                return Err(Out::Away);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let none = "there is no connection in time";
                if state.live == 0 {
                    drop(state);
                    self.note_lost(self.budget_ago());
                    let mut state = lock(&self.state);
                    let lost = (state.live == 0)
                        .then(|| self.lose(&mut state, "it cannot be connected to in time"));
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
            if state.live < self.options.connections {
                agent::rouse(self, &mut state);
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            state.wanted = state.wanted.saturating_sub(1);
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
        self.failures.fetch_add(1, Ordering::Relaxed);
        self.note_lost(self.budget_ago());
        let mut state = lock(&self.state);
        state.live -= 1;
        let lost = self.lose(&mut state, why);
        drop(state);
        drop((link, lost));
    }

    /// When an operation began, at the earliest, that ends now.
    fn budget_ago(&self) -> Millis {
        clock::boot().saturating_sub(clock::millis(self.options.budget))
    }

    /// It is out of reach from now on. The connections that are left over.
    pub(super) fn lose(&self, state: &mut State, why: &str) -> Lost {
        let mut said = None;
        if state.away.is_none() {
            state.away = Some(Away::new());
            self.is_away.store(true, Ordering::Release);
            self.changed.notify_all();
            self.tasks.notify_all();
            if !mem::replace(&mut state.warned, true) {
                said = Some(format!(
                    "{self:?}: {why}; until it is back functions run without it, and clears are written down"
                ));
            }
        }
        let idle = mem::take(&mut state.idle);
        state.live -= idle.len();
        Lost { idle, said }
    }

    /// It is there, by this connection.
    pub(super) fn found(&self, link: Link) {
        let mut state = lock(&self.state);
        state.live += 1;
        state.idle.push(link);
        let is_news = state.away.take().is_some() && mem::take(&mut state.warned);
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
        if !state.agent {
            agent::rouse(self, &mut state);
        }
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
        let before = mem::take(&mut *state);
        state.listens = before
            .listens
            .iter()
            .map(|(table, _)| (*table, false))
            .collect();
        mem::forget(before);
        self.is_away.store(false, Ordering::Release);
        self.lanes.forget();
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

    /// It is still out of reach.
    pub(super) fn again(&mut self) {
        self.pause = (self.pause * 2).min(Away::LONGEST);
        // So that those who lost it together do not come back together.
        let jitter = random() % 41;
        self.next = Instant::now() + self.pause * (80 + jitter as u32) / 100;
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the Redis at {}", self.options.name())
    }
}
