//! A server, or a cluster of them, as this process knows it: what was said of it, what its users have agreed on, where they meet, who
//! listens. Its `Node`s are what is connected to; which of them has a key is in `routes`.

use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::common::Common;
use super::heard::Heard;
use super::link::Out;
use super::listener;
use super::meeting::Meeting;
use super::names::Names;
use super::node::Node;
use super::options::Options;
use super::record::Fence;
use super::routes::Routes;
use super::scripts;
use crate::clock::{self, Millis};
use crate::tier::store::{Opened, Proven, Shared, lock};

/// A server, for as long as the process lives.
pub struct Server {
    pub(super) options: Options,
    /// What its keys and channels are called.
    pub(super) names: Names,
    /// Its nodes, and which of them has what.
    pub(super) routes: Routes,
    /// Where this process meets the others of its machine.
    pub(super) meetings: Mutex<Vec<&'static Meeting>>,
    /// For which tables clears are to be listened for, and whether a thread does, or tries to.
    pub(super) listens: Mutex<Vec<(&'static Shared, bool)>>,
    /// Which nodes of a cluster are listened to, as far as it is known here, and the hash of that.
    pub(super) heard: Mutex<(Heard, Fence)>,
    pub(super) failures: AtomicU64,
    identity: [u8; 32],
    /// A clear was not told, and could not be written down: nothing is read, and everything is cleared when it is back.
    owes: AtomicBool,
    /// The staleness that its users have agreed on, in milliseconds; 0: not known yet.
    agreed: AtomicU64,
    warned_crowded: AtomicBool,
    warned_staleness: AtomicBool,
    warned_hidden: AtomicBool,
    warned_refused: AtomicBool,
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
        scripts::make();
        if let Some(server) = all.iter().find(|server| server.options == *options) {
            return server;
        }
        let server: &'static Server = Box::leak(Box::new(Server {
            options: options.clone(),
            names: options.names(),
            routes: Routes::default(),
            meetings: Mutex::default(),
            listens: Mutex::default(),
            heard: Mutex::default(),
            failures: AtomicU64::new(0),
            identity: options.identity(),
            owes: AtomicBool::new(false),
            agreed: AtomicU64::new(0),
            warned_crowded: AtomicBool::new(false),
            warned_staleness: AtomicBool::new(false),
            warned_hidden: AtomicBool::new(false),
            warned_refused: AtomicBool::new(false),
        }));
        server.begin_routes();
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

    /// What proves that this machine knows what was cleared on others.
    pub fn proven(&self) -> Proven {
        Proven {
            id: self.id(),
            while_out: self.options.serve_while_unreachable,
        }
    }

    /// An attempt that began at `since` has failed: it, or a part of it, is out of reach, for every process of the machine.
    pub(super) fn note_lost(&self, since: Millis) {
        if self.options.serve_while_unreachable {
            let bound = clock::millis(self.options.staleness);
            for meeting in self.known_meetings() {
                let clear = || meeting.opened().clear_everything();
                meeting.common().lost(since, bound, clear);
            }
        }
    }

    /// One of its nodes has answered just now. It is reached if no other is known to be gone.
    pub(super) fn note_reached(&self, by: &Node) {
        let is_gone = |node: &&'static Node| node.is_away() && !ptr::eq(*node, by);
        if self.options.cluster && self.nodes_in_use().iter().any(is_gone) {
            return;
        }
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

    /// Counts what it refused. If that is what an operator has to mend, says so once: it answers, so nothing else would.
    pub(super) fn refused(&self, outs: &[&Out]) {
        self.failures
            .fetch_add(outs.len() as u64, Ordering::Relaxed);
        let why = outs.iter().find_map(|out| match out {
            Out::Refused(why) if why.starts_with("OOM") || why.starts_with("NOPERM") => Some(why),
            _ => None,
        });
        if let Some(why) = why
            && !self.warned_refused.swap(true, Ordering::Relaxed)
        {
            log::warn!(
                target: "quickcache",
                "{self:?}: it refuses what it is asked: {why}; as long as it does each process computes its own values"
            );
        }
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
        let mut listens = lock(&self.listens);
        if !listens.iter().any(|(table, _)| ptr::eq(*table, shared)) {
            listens.push((shared, false));
        }
        drop(listens);
        self.start_listeners();
    }

    /// Starts the threads that are to listen and do not: after a fork, and after one that has ended.
    pub(super) fn start_listeners(&'static self) {
        for (shared, runs) in lock(&self.listens).iter_mut() {
            *runs = *runs || listener::start(self, shared);
        }
    }

    /// The thread has ended that listened for this table.
    pub(super) fn listens_no_more(&self, shared: &'static Shared) {
        for (table, runs) in lock(&self.listens).iter_mut() {
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
        self.nodes_in_use().iter().all(|node| node.is_away())
    }

    /// In the child of a fork: threads and connections are the parent's.
    #[cfg(unix)]
    pub(super) fn forget(&self) {
        for (_, runs) in lock(&self.listens).iter_mut() {
            *runs = false;
        }
        self.nodes().into_iter().for_each(|node| node.forget());
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the Redis at {}", self.options.name())
    }
}
