//! What the workers stand on: a server and its replica, and for each machine a network to them. All that can be done to it is here.

use std::time::Duration;

use quickcache_testing::{Door, Mode, Proxy, Server};

/// A pair of servers, of which one is the primary, and the networks.
pub struct Ground {
    servers: [Server; 2],
    /// By which the other one replicates each.
    links: [Proxy; 2],
    /// By which machines reach the primary.
    pub fronts: Vec<Proxy>,
    primary: usize,
    state: State,
    /// The other server replicates the primary.
    follows: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum State {
    Runs,
    Stopped,
    Killed,
}

/// What becomes of the primary when another one takes its place.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum FailOver {
    Kills,
    Lives,
    /// It lives, and so do the connections to it on which clears are heard.
    LeavesListeners,
}

impl Ground {
    pub fn new(machines: usize) -> Ground {
        let servers = [Server::start(), Server::start()];
        let links = [0, 1].map(|at: usize| Proxy::to(servers[at].address()));
        let fronts = (0..machines).map(|_| Proxy::to(servers[0].address()));
        let mut ground = Ground {
            fronts: fronts.collect(),
            servers,
            links,
            primary: 0,
            state: State::Runs,
            follows: false,
        };
        ground.rejoin();
        ground
    }

    pub fn state(&self) -> State {
        self.state
    }

    pub fn follows(&self) -> bool {
        self.follows
    }

    fn server(&self) -> &Server {
        &self.servers[self.primary]
    }

    /// A command to the primary. What it answers is its own affair: it may be out of memory.
    pub fn tell(&self, words: &[&str]) {
        let _ = self.server().command(words);
    }

    /// What is in it now is there again after a restart.
    pub fn save(&self) {
        self.tell(&["SAVE"]);
    }

    pub fn stop(&mut self) {
        self.server().stop();
        self.state = State::Stopped;
    }

    pub fn go_on(&mut self) {
        if self.state == State::Stopped {
            self.server().cont();
            self.state = State::Runs;
        }
    }

    pub fn kill(&mut self) {
        self.servers[self.primary].kill();
        self.state = State::Killed;
    }

    /// With what was saved last.
    pub fn start_again(&mut self) {
        if self.state == State::Killed {
            self.servers[self.primary].restart();
            self.state = State::Runs;
        }
    }

    /// The replica hears nothing of the primary for a while.
    pub fn lag(&self, lags: bool) {
        let link = &self.links[self.primary];
        match lags {
            true => {
                link.set(Mode::Blackhole(quickcache_testing::Direction::ToClient));
            }
            false => link.heal(),
        }
    }

    /// The replica, with what it has, takes the primary's place; that is killed, or goes on without calls. Whether it came to that.
    ///
    /// In this order no call is left with a server that is not the primary any more, while another is with the new one: that is outside
    /// the promise (docs/redis.md).
    pub fn fail_over(&mut self, how: FailOver) -> bool {
        let other = 1 - self.primary;
        if !self.follows || self.servers[other].info("master_link_status") != "up" {
            return false;
        }
        for front in &self.fronts {
            front.door(Door::Closed);
            if how != FailOver::LeavesListeners || !only_listeners_are_left(front) {
                front.reset();
            }
        }
        if how == FailOver::Kills {
            self.servers[self.primary].kill();
        }
        let promoted = self.servers[other].command(&["REPLICAOF", "NO", "ONE"]);
        promoted.expect("a replica is promoted");
        for front in &self.fronts {
            front.aim(self.servers[other].address());
            front.heal();
        }
        self.links[self.primary].heal();
        self.primary = other;
        self.follows = false;
        true
    }

    /// The one that is not the primary, or is no more, replicates it from now on.
    pub fn rejoin(&mut self) {
        let other = 1 - self.primary;
        if !self.servers[other].runs() {
            self.servers[other].restart();
        }
        let port = self.links[self.primary].port().to_string();
        let words = ["REPLICAOF", "127.0.0.1", &port];
        self.follows = self.servers[other].command(&words).is_ok();
    }

    /// The primary may use no more than this, of which others' values take the most, and throws away what is the oldest or refuses.
    pub fn little_memory(&self, policy: &str) {
        self.tell(&["CONFIG", "SET", "maxmemory-policy", policy]);
        self.tell(&["CONFIG", "SET", "maxmemory", "2mb"]);
        let others = "for i = 1, 150 do redis.call('SET', 'other:' .. i, string.rep('x', 10000), 'PX', 1000) end";
        self.tell(&["EVAL", others, "0"]);
    }

    pub fn enough_memory(&self) {
        for server in &self.servers {
            // One that is stopped, or killed, has to wait for the next time.
            let _ = server.command(&["CONFIG", "SET", "maxmemory", "0"]);
        }
    }

    /// Everything works again.
    pub fn mend(&mut self) {
        self.go_on();
        self.start_again();
        self.enough_memory();
        for front in self.fronts.iter().chain(&self.links) {
            front.heal();
        }
    }
}

/// Ends the connections of calls. Whether that could be done, and left none but those that listen: one that is being made cannot be
/// told from them.
fn only_listeners_are_left(front: &Proxy) -> bool {
    front.only(b"SCRIPT").reset();
    let listeners = front.only(super::faults::LISTENER).set(Mode::Pass);
    listeners > 0 && front.counts().live == listeners as u64
}

/// So long, at random.
pub fn up_to(choices: &mut crate::history::Choices, millis: u64) -> Duration {
    choices.micros(millis * 1000)
}
