//! A server and its replica, and for each machine a network to them.

use std::time::{Duration, Instant};

use quickcache_testing::{Direction, Door, Mode, Proxy, Server};

use super::ground::{Ground, Later, State, up_to};
use super::network::{ANY, CALLS, Harm, LISTENER, harm};
use crate::history::Choices;

/// A pair of servers, of which one is the primary, and the networks.
pub struct Pair {
    servers: [Server; 2],
    /// By which the other one replicates each.
    links: [Proxy; 2],
    /// By which machines reach the primary.
    fronts: Vec<Proxy>,
    primary: usize,
    state: State,
    /// The other server replicates the primary.
    follows: bool,
    later: Later<End>,
}

#[derive(Clone, Copy)]
enum Fault {
    Stop,
    Kill,
    Save,
    FlushAll,
    ScriptFlush,
    LittleMemory,
    Lag,
    FailOver(FailOver),
    /// To the network of a machine, or to its connections on which clears are heard.
    Network(Harm),
    Listener(Harm),
}

const FAULTS: [(Fault, u64, &str); 21] = [
    (Fault::Stop, 6, "server stopped"),
    (Fault::Kill, 4, "server killed, restarted"),
    (Fault::Save, 8, "state saved"),
    (Fault::FlushAll, 3, "flushed"),
    (Fault::ScriptFlush, 3, "scripts flushed"),
    (Fault::LittleMemory, 3, "out of memory"),
    (Fault::Lag, 4, "replica lags"),
    (
        Fault::FailOver(FailOver::Kills),
        2,
        "replica promoted, primary killed",
    ),
    (
        Fault::FailOver(FailOver::Lives),
        1,
        "replica promoted, primary left",
    ),
    (
        Fault::FailOver(FailOver::LeavesListeners),
        1,
        "replica promoted, listeners left",
    ),
    (Fault::Network(Harm::Delay(60)), 6, "network slow"),
    (Fault::Network(Harm::Hole), 8, "network silent"),
    (Fault::Network(Harm::Drip), 3, "network dripping"),
    (Fault::Network(Harm::Cut), 4, "connections cut"),
    (Fault::Network(Harm::Reset), 4, "connections reset"),
    (
        Fault::Network(Harm::HalfClose),
        4,
        "connections half closed",
    ),
    (Fault::Network(Harm::Refuse), 4, "connections refused"),
    (Fault::Listener(Harm::Delay(400)), 3, "listener slow"),
    (Fault::Listener(Harm::Hole), 8, "listener deaf"),
    (Fault::Listener(Harm::Reset), 4, "listener reset"),
    (Fault::Listener(Harm::HalfClose), 3, "listener half closed"),
];

/// What ends a fault.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    GoesOn,
    Starts,
    EnoughMemory,
    InStep,
    Rejoin,
    Heal(usize),
}

/// What becomes of the primary when another one takes its place.
#[derive(Clone, Copy, PartialEq, Eq)]
enum FailOver {
    Kills,
    Lives,
    /// It lives, and so do the connections to it on which clears are heard.
    LeavesListeners,
}

impl Ground for Pair {
    fn address(&self, machine: usize) -> String {
        self.fronts[machine].address().to_string()
    }

    fn faults(&self) -> Vec<(u64, &'static str)> {
        FAULTS.map(|(_, weight, name)| (weight, name)).to_vec()
    }

    fn begin(&mut self, fault: usize, choices: &mut Choices) -> Option<usize> {
        let fault = FAULTS[fault].0;
        match fault {
            Fault::Network(harm) => return self.of_network(ANY, harm, choices),
            Fault::Listener(harm) => return self.of_network(LISTENER, harm, choices),
            _ if self.state != State::Runs => return None,
            Fault::Stop => {
                self.server().stop();
                self.state = State::Stopped;
                self.later.add(up_to(choices, 500), End::GoesOn);
            }
            Fault::Kill => {
                self.servers[self.primary].kill();
                self.state = State::Killed;
                self.later.add(up_to(choices, 300), End::Starts);
            }
            // What is in it now is there again after a restart.
            Fault::Save => self.tell(&["SAVE"]),
            Fault::FlushAll => self.tell(&["FLUSHALL"]),
            Fault::ScriptFlush => self.tell(&["SCRIPT", "FLUSH"]),
            Fault::LittleMemory => {
                let policies = ["noeviction", "allkeys-lru", "allkeys-random"];
                self.little_memory(policies[choices.below(3) as usize]);
                self.later.add(up_to(choices, 800), End::EnoughMemory);
            }
            Fault::Lag if self.follows => {
                self.lag(true);
                self.later.add(up_to(choices, 600), End::InStep);
            }
            Fault::Lag => return None,
            Fault::FailOver(how) => {
                if !self.fail_over(how) {
                    return None;
                }
                self.later.add(up_to(choices, 600), End::Rejoin);
            }
        }
        Some(0)
    }

    fn go_on(&mut self, now: Instant) {
        let due = self.later.due(now);
        due.into_iter().for_each(|end| self.end(end));
    }

    fn mend(&mut self) {
        let all = self.later.all();
        all.into_iter().for_each(|end| self.end(end));
        // One that was stopped, or killed, could not be told.
        self.enough_memory();
        for front in self.fronts.iter().chain(&self.links) {
            front.heal();
        }
    }

    fn tell(&self) {
        for (at, server) in self.servers.iter().enumerate() {
            let is = if at == self.primary {
                "primary"
            } else {
                "other"
            };
            println!("server {at}, the {is}: {:?}", server.command(&["ROLE"]));
        }
        for (machine, front) in self.fronts.iter().enumerate() {
            for (at, server) in self.servers.iter().enumerate() {
                let of = |whom| front.only(whom).to(server.at());
                let (all, calls, listeners) = (of(ANY), of(CALLS), of(LISTENER));
                println!(
                    "  of machine {machine} to server {at}: {all}, of which {calls} for calls, {listeners} that listen"
                );
            }
        }
    }
}

impl Pair {
    pub fn new(machines: usize) -> Pair {
        let servers = [Server::start(), Server::start()];
        let links = [0, 1].map(|at: usize| Proxy::to(servers[at].address()));
        let fronts = (0..machines).map(|_| Proxy::to(servers[0].address()));
        let mut pair = Pair {
            fronts: fronts.collect(),
            servers,
            links,
            primary: 0,
            state: State::Runs,
            follows: false,
            later: Later::new(),
        };
        pair.rejoin();
        pair
    }

    /// To the network of one machine; one at a time.
    fn of_network(&mut self, whom: &[u8], what: Harm, choices: &mut Choices) -> Option<usize> {
        let machine = choices.below(self.fronts.len() as u64) as usize;
        if self.later.has(&End::Heal(machine)) {
            return None;
        }
        if let Some(time) = harm(&self.fronts[machine], whom, what, choices) {
            self.later.add(time, End::Heal(machine));
        }
        Some(machine)
    }

    fn end(&mut self, end: End) {
        match end {
            End::GoesOn if self.state == State::Stopped => {
                self.server().cont();
                self.state = State::Runs;
            }
            // With what was saved last.
            End::Starts if self.state == State::Killed => {
                self.servers[self.primary].restart();
                self.state = State::Runs;
            }
            End::GoesOn | End::Starts => {}
            End::EnoughMemory if self.state == State::Stopped => {
                self.later.add(Duration::from_millis(50), End::EnoughMemory);
            }
            End::EnoughMemory => self.enough_memory(),
            End::InStep => self.lag(false),
            End::Rejoin => self.rejoin(),
            End::Heal(machine) => self.fronts[machine].heal(),
        }
    }

    fn server(&self) -> &Server {
        &self.servers[self.primary]
    }

    /// A command to the primary. What it answers is its own affair: it may be out of memory.
    fn tell(&self, words: &[&str]) {
        let _ = self.server().command(words);
    }

    /// The replica hears nothing of the primary for a while.
    fn lag(&self, lags: bool) {
        let link = &self.links[self.primary];
        match lags {
            true => {
                link.set(Mode::Blackhole(Direction::ToClient));
            }
            false => link.heal(),
        }
    }

    /// The replica, with what it has, takes the primary's place; that is killed, or goes on without calls. Whether it came to that.
    ///
    /// In this order no call is left with a server that is not the primary any more, while another is with the new one: that is outside
    /// the promise (docs/redis.md).
    fn fail_over(&mut self, how: FailOver) -> bool {
        let other = 1 - self.primary;
        if !self.follows || self.servers[other].info("master_link_status") != "up" {
            return false;
        }
        for front in &self.fronts {
            front.door(Door::Closed);
            match how {
                FailOver::LeavesListeners => front.all_but(LISTENER).reset(),
                FailOver::Kills | FailOver::Lives => front.reset(),
            };
        }
        if how == FailOver::Kills {
            self.servers[self.primary].kill();
        }
        let former = self.server().at();
        for (machine, front) in self.fronts.iter().enumerate() {
            let left = front.all_but(LISTENER).to(former);
            assert_eq!(left, 0, "calls of machine {machine} are left with it");
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
    fn rejoin(&mut self) {
        let other = 1 - self.primary;
        if !self.servers[other].runs() {
            self.servers[other].restart();
        }
        let port = self.links[self.primary].port().to_string();
        let words = ["REPLICAOF", "127.0.0.1", &port];
        self.follows = self.servers[other].command(&words).is_ok();
    }

    /// The primary may use no more than this, of which others' values take the most, and throws away what is the oldest or refuses.
    fn little_memory(&self, policy: &str) {
        self.tell(&["CONFIG", "SET", "maxmemory-policy", policy]);
        self.tell(&["CONFIG", "SET", "maxmemory", "2mb"]);
        let others = "for i = 1, 150 do redis.call('SET', 'other:' .. i, string.rep('x', 10000), 'PX', 1000) end";
        self.tell(&["EVAL", others, "0"]);
    }

    fn enough_memory(&self) {
        for server in &self.servers {
            // One that is stopped, or killed, has to wait for the next time.
            let _ = server.command(&["CONFIG", "SET", "maxmemory", "0"]);
        }
    }
}
