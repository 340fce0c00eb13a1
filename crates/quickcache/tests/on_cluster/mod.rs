//! What the tests of clusters have in common.

#![allow(dead_code, unused_macros, unused_imports)] // each test uses a part of it

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard};

use quickcache::Redis;
use quickcache_testing::{Cluster, Proxy, Server};

use crate::on_redis::{machine, until};

/// A cluster of a test, never dropped, as statics are not.
pub struct Fleet {
    all: Mutex<Cluster>,
    pub addresses: Vec<String>,
}

impl Fleet {
    /// Three primaries, each with so many replicas. Nodes serve what they have when others are gone.
    pub fn start(replicas: usize) -> Fleet {
        Fleet::of(Cluster::start(replicas))
    }

    /// One that was made otherwise.
    pub fn of(mut all: Cluster) -> Fleet {
        for node in all.nodes() {
            let set = node.command(&["CONFIG", "SET", "cluster-require-full-coverage", "no"]);
            set.expect("set");
        }
        Fleet {
            addresses: all.addresses(),
            all: Mutex::new(all),
        }
    }

    pub fn lock(&self) -> MutexGuard<'_, Cluster> {
        self.all.lock().expect("no test panics with it")
    }

    /// It, on a machine of its own, by two of its nodes.
    pub fn redis(&self) -> Redis {
        let urls: Vec<String> = self.addresses[..2]
            .iter()
            .map(|at| format!("redis://{at}"))
            .collect();
        let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
        Redis::cluster(&urls).timeout("2h").folder(machine())
    }

    /// In which slot the one value is that there is of the function whose keys begin so.
    pub fn slot_of_the_value(&self) -> u16 {
        let mut all = self.lock();
        let keys = all.nodes().iter().flat_map(keys);
        // A replica has it too.
        let keys: BTreeSet<String> = keys.filter(|key| is_value(key)).collect();
        let keys: Vec<String> = keys.into_iter().collect();
        let [key] = &keys[..] else {
            panic!("{keys:?}");
        };
        all.slot(key)
    }

    /// The same, if values come and go.
    pub fn slot_of_some_value(&self) -> u16 {
        let mut slot = None;
        until("there is a value", || {
            let mut all = self.lock();
            let keys: Vec<String> = all.nodes().iter().flat_map(keys).collect();
            let value = keys.iter().find(|key| is_value(key));
            slot = value.map(|key| all.slot(key));
            slot.is_some()
        });
        slot.expect("there is one")
    }
}

pub fn keys(node: &Server) -> Vec<String> {
    let keys = node.command(&["KEYS", "*"]).expect("keys");
    keys.items().iter().map(|key| key.text()).collect()
}

/// Not a function's own, and not what was agreed upon.
pub fn is_value(key: &str) -> bool {
    key.starts_with("qc:{") && key.len() > 46
}

/// So many connections listen to a node.
pub fn ears(node: &Server) -> usize {
    let list = node.command(&["CLIENT", "LIST"]).expect("a list").text();
    let subscribed = |line: &&str| line.contains(" ssub=") && !line.contains(" ssub=0");
    list.lines().filter(subscribed).count()
}

/// Has each node say something of itself.
pub fn announce(fleet: &Fleet, setting: &str, of: impl Fn(usize) -> String) {
    for (place, node) in fleet.lock().nodes().iter().enumerate() {
        let set = node.command(&["CONFIG", "SET", setting, &of(place)]);
        set.expect("set");
    }
}

/// Waits until all nodes know this of all.
pub fn until_all_know(fleet: &Fleet, of_each: &[String]) {
    until("all nodes know it", || {
        let knows = |node: &Server| {
            let view = node.command(&["CLUSTER", "NODES"]).expect("a view").text();
            let mut lines = view.lines().filter(|line| !line.is_empty());
            let mut left = of_each.to_vec();
            lines.all(|line| {
                let at = left.iter().position(|what| line.contains(what.as_str()));
                at.map(|at| left.swap_remove(at)).is_some()
            })
        };
        fleet.lock().nodes().iter().all(knows)
    });
}

/// Proxies, one before each node, each of which says that it is there.
pub fn behind_proxies(fleet: &Fleet) -> Vec<Proxy> {
    let proxies: Vec<Proxy> = fleet.addresses.iter().map(Proxy::to).collect();
    let port = |place: usize| proxies[place].port().to_string();
    announce(fleet, "cluster-announce-port", port);
    until_all_know(fleet, &addresses(&proxies));
    proxies
}

/// As nodes have them in their views.
pub fn addresses(proxies: &[Proxy]) -> Vec<String> {
    let address = |proxy: &Proxy| format!("{}@", proxy.address());
    proxies.iter().map(address).collect()
}

pub const MANY: u64 = 60;

/// Calls and clears go on of one key, at a machine without memory and one with it, while `meddle` does something to the cluster.
macro_rules! while_calls_go_on {
    ($FLEET:ident, $meddle:expr) => {{
        static NOW: AtomicU64 = AtomicU64::new(1);
        static STOP: AtomicBool = AtomicBool::new(false);
        static ONE: LazyLock<QuickCache> = LazyLock::new(|| bare($FLEET.redis()));
        static TWO: LazyLock<QuickCache> = LazyLock::new(|| with_memory($FLEET.redis()));
        static THREE: LazyLock<QuickCache> = LazyLock::new(|| bare($FLEET.redis()));
        #[quickcache(cache = ONE, name = "now", version = 1, vary_on = [])]
        fn one() -> u64 {
            NOW.load(SeqCst)
        }
        #[quickcache(cache = TWO, name = "now", version = 1, vary_on = [])]
        fn two() -> u64 {
            NOW.load(SeqCst)
        }
        #[quickcache(cache = THREE, name = "now", version = 1, vary_on = [])]
        fn three() -> u64 {
            NOW.load(SeqCst)
        }
        let bound = Duration::from_millis(250);
        until("memory serves", || {
            two();
            two::stats().memory_hits > 0
        });
        // What was cleared, and applied, and when that was known.
        let floor = Mutex::new((0, Vec::<(Instant, u64)>::new()));
        let last = || floor.lock().expect("nobody panics with it").0;
        thread::scope(|scope| {
            let _stop = Stop(&STOP);
            scope.spawn(|| {
                while !STOP.load(SeqCst) {
                    let least = last();
                    let got = one();
                    assert!(got >= least, "{got} after {least} was cleared");
                    thread::sleep(Duration::from_millis(1));
                }
            });
            scope.spawn(|| {
                while !STOP.load(SeqCst) {
                    let began = Instant::now();
                    let least = {
                        let floor = floor.lock().expect("nobody panics with it");
                        let is_past = |(at, _): &&(Instant, u64)| *at + bound < began;
                        let past = floor.1.iter().rev().find(is_past);
                        past.map_or(0, |(_, version)| *version)
                    };
                    let got = two();
                    assert!(
                        got >= least,
                        "memory gave {got} long after {least} was cleared"
                    );
                    thread::sleep(Duration::from_millis(1));
                }
            });
            scope.spawn(|| {
                while !STOP.load(SeqCst) {
                    let now = NOW.fetch_add(1, SeqCst) + 1;
                    if three::clear() == Cleared::Applied {
                        let mut floor = floor.lock().expect("nobody panics with it");
                        floor.0 = now;
                        floor.1.push((Instant::now(), now));
                    }
                    thread::sleep(Duration::from_millis(4));
                }
            });
            let progress = || {
                let before = last();
                until("clears are applied", || last() > before + 5);
                let before = two::stats().memory_hits;
                until("memory serves", || two::stats().memory_hits > before);
            };
            progress();
            #[allow(clippy::redundant_closure_call)]
            ($meddle)(&progress);
        });
        // Each may still have what a pending clear was to remove, until that is applied.
        on_redis::agree(
            || [one(), two(), three()] == [NOW.load(SeqCst); 3],
            three::clear,
        );
    }};
}
pub(crate) use while_calls_go_on;
