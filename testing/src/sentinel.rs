//! Servers that are watched by sentinels, which name another primary when one is gone.

use std::time::{Duration, Instant};

use crate::resp::Reply;
use crate::server::Server;

/// How long sentinels may take to agree: they try anew after 3 s when two of them wanted to lead at once.
const AGREED: Duration = Duration::from_secs(30);

/// A primary, its replicas and three sentinels of which two must agree. A primary that does not answer for 0.5 s is given up; another
/// is there about 1 to 3 s later.
pub struct Sentinel {
    servers: Vec<Server>,
    sentinels: Vec<Server>,
}

impl Sentinel {
    /// The name that clients ask the sentinels for.
    pub const NAME: &str = "main";

    /// With so many replicas (at least one). Takes about a second: every sentinel knows all others and all replicas then.
    pub fn start(replicas: usize) -> Sentinel {
        assert!(
            replicas > 0,
            "without a replica there is nothing to fail over to"
        );
        let primary = Server::start();
        let mut servers = vec![primary];
        for _ in 0..replicas {
            let replica = Server::builder().replica_of(&servers[0]);
            servers.push(replica.start());
        }
        let port = servers[0].port().to_string();
        let sentinels = (0..3).map(|_| {
            let sentinel = Server::builder()
                .sentinel()
                .config(&["sentinel", "monitor", Self::NAME, "127.0.0.1", &port, "2"])
                .config(&["sentinel", "down-after-milliseconds", Self::NAME, "500"])
                .config(&["sentinel", "failover-timeout", Self::NAME, "3000"])
                .start();
            hurry(&sentinel, "INFO-PERIOD", "100");
            // Only until they know each other: a server that calls itself the primary against their will they put in its place after
            // four of these, and of one that is promoted the others learn within a second.
            hurry(&sentinel, "PUBLISH-PERIOD", "100");
            sentinel
        });
        let started = Sentinel {
            sentinels: sentinels.collect(),
            servers,
        };
        started.until(
            "the sentinels know each other and the replicas",
            |started| {
                started.sentinels.iter().all(|sentinel| {
                    counted(sentinel, "SENTINELS") == 2 && counted(sentinel, "REPLICAS") == replicas
                })
            },
        );
        for sentinel in &started.sentinels {
            hurry(sentinel, "PUBLISH-PERIOD", "600");
        }
        started
    }

    /// Where the sentinels listen.
    pub fn addresses(&self) -> Vec<String> {
        self.sentinels.iter().map(Server::address).collect()
    }

    /// The sentinels themselves, to kill or to stop one.
    pub fn sentinels(&mut self) -> &mut [Server] {
        &mut self.sentinels
    }

    /// All servers they watch; the first was the first primary.
    pub fn servers(&mut self) -> &mut [Server] {
        &mut self.servers
    }

    /// The server that all sentinels that run name as the primary and that says so itself. Waits until there is one.
    pub fn primary(&mut self) -> &mut Server {
        let place = self.agreed(None);
        &mut self.servers[place]
    }

    /// Kills the primary and waits until there is another; the killed one.
    pub fn kill_primary(&mut self) -> &mut Server {
        let old = self.agreed(None);
        self.servers[old].kill();
        self.agreed(Some(old));
        &mut self.servers[old]
    }

    /// Has another server made the primary while the old one lives, and waits until it is. The old one is its replica soon after.
    pub fn fail_over(&mut self) {
        let old = self.agreed(None);
        self.until("there is another primary", |all| {
            let is_old = match all.named() {
                Some(place) => place == old,
                None => return false,
            };
            if is_old {
                // A sentinel that has taken the order gives it up if it did not hear from the replica lately.
                let order = ["SENTINEL", "FAILOVER", Self::NAME];
                let mut sentinels = all.sentinels.iter();
                sentinels.any(|sentinel| sentinel.command(&order).is_ok());
            }
            !is_old
        });
    }

    fn agreed(&self, not: Option<usize>) -> usize {
        let mut place = None;
        self.until("the sentinels agree on a primary", |all| {
            place = all.named().filter(|place| Some(*place) != not);
            place.is_some()
        });
        place.expect("a primary that was just found")
    }

    /// The server that all name and that agrees.
    fn named(&self) -> Option<usize> {
        let mut ports = Vec::new();
        for sentinel in self.sentinels.iter().filter(|sentinel| sentinel.runs()) {
            let seen = sentinel.command(&["SENTINEL", "MASTER", Self::NAME]).ok()?;
            let field = |name: &str| {
                let pair = seen.items().chunks(2).find(|pair| pair[0].text() == name);
                pair.map(|pair| pair[1].text())
            };
            // It is well, and no failover is under way.
            if field("flags")? != "master" {
                return None;
            }
            ports.push(field("port")?);
        }
        ports.dedup();
        let [port] = &ports[..] else {
            return None;
        };
        let place = self
            .servers
            .iter()
            .position(|server| server.port().to_string() == *port)?;
        let role = self.servers[place].command(&["ROLE"]).ok()?;
        (role.items()[0].text() == "master").then_some(place)
    }

    fn until(&self, what: &str, mut holds: impl FnMut(&Sentinel) -> bool) {
        let end = Instant::now() + AGREED;
        while !holds(self) {
            if Instant::now() > end {
                let logs: Vec<String> = self.sentinels.iter().map(Server::log).collect();
                panic!(
                    "{what}: not within {AGREED:?}; their logs:\n{}",
                    logs.join("\n")
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Has a sentinel do something every so many milliseconds that it does every 1 to 10 s otherwise.
fn hurry(sentinel: &Server, period: &str, milliseconds: &str) {
    // Before version 7 they do not know it, and take their time.
    let _ = sentinel.command(&["SENTINEL", "DEBUG", period, milliseconds]);
}

/// How many of these a sentinel knows.
fn counted(sentinel: &Server, what: &str) -> usize {
    match sentinel.command(&["SENTINEL", what, Sentinel::NAME]) {
        Ok(Reply::Array(known)) => known.len(),
        _ => 0,
    }
}
