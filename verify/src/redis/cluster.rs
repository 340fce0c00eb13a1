//! A cluster: three primaries, each with a replica, and before each node a network that all machines and the other nodes' replicas go by.
//!
//! One thing is kept out, since it is outside the promise (docs/redis.md): that a node still answers some, as the primary that it was, while another one has
//! been promoted. Whatever may have been replaced lets nobody in (it is *shut*) until all nodes agree on who has what.

mod agreement;
mod slots;

use std::time::{Duration, Instant};

use quickcache_testing::{Cluster as Nodes, Direction, Mode, Proxy, Reply};

use super::floors::MOST_MACHINES;
use super::ground::{Ground, Later, State, up_to};
use super::network::{ANY, Harm, LISTENER, harm};
use crate::history::Choices;
use slots::Move;

/// Nodes at this distance are a primary and its replica, whichever is which.
const PAIRS: usize = 3;
const NODES: usize = 2 * PAIRS;

/// A primary that has not answered for so long is given up by the others. So long nodes are stopped that are not, and that are.
const NODE_TIMEOUT: &str = "2000";
const SHORT: u64 = 700;
const LONG: u64 = 4000;

/// Who was stopped for longer may have been replaced.
const SAFE: Duration = Duration::from_millis(1000);

/// When it is given up to promote a replica.
const PROMOTION: Duration = Duration::from_secs(6);

/// How long nodes may take to agree.
const AGREED: Duration = Duration::from_secs(40);

/// How often nodes are asked whether they agree.
const LOOK: Duration = Duration::from_millis(30);

pub struct Cluster {
    nodes: Nodes,
    ids: Vec<String>,
    /// The only way to each node, for machines and for replicas of it.
    fronts: Vec<Proxy>,
    states: [State; NODES],
    /// Since it is stopped.
    stopped: [Instant; NODES],
    /// No machine is let in.
    shut: [bool; NODES],
    /// Who was told to take a node's place, and until when that may come to be.
    promotions: [Option<(usize, Instant)>; NODES],
    machines: usize,
    later: Later<End>,
    looked: Instant,
}

#[derive(Clone, Copy)]
enum Fault {
    Stop,
    StopLong,
    HalfGone,
    Kill,
    KillAndPromote,
    Promote,
    LagAndPromote,
    Save,
    FlushAll,
    ScriptFlush,
    MoveSlot,
    /// To the network of all machines at one node, of one machine at one node, or at half of them or all.
    Network(Harm),
    OfMachine(Harm),
    Part(Harm),
    Listeners(Harm),
}

const FAULTS: [(Fault, u64, &str); 26] = [
    (Fault::Stop, 6, "node stopped"),
    (Fault::StopLong, 2, "node stopped until it is replaced"),
    (Fault::HalfGone, 3, "half of the cluster gone"),
    (Fault::Kill, 3, "node killed, restarted"),
    (Fault::KillAndPromote, 3, "node killed, replica promoted"),
    (Fault::Promote, 4, "replica promoted"),
    (Fault::LagAndPromote, 3, "replica promoted that lags"),
    (Fault::Save, 6, "state saved"),
    (Fault::FlushAll, 2, "flushed"),
    (Fault::ScriptFlush, 2, "scripts flushed"),
    (Fault::MoveSlot, 14, "slot moved"),
    (Fault::Network(Harm::Delay(60)), 3, "network of a node slow"),
    (Fault::Network(Harm::Hole), 4, "network of a node silent"),
    (
        Fault::Network(Harm::Reset),
        3,
        "connections to a node reset",
    ),
    (
        Fault::Network(Harm::Refuse),
        3,
        "connections to a node refused",
    ),
    (Fault::OfMachine(Harm::Delay(60)), 3, "network slow"),
    (Fault::OfMachine(Harm::Hole), 5, "network silent"),
    (Fault::OfMachine(Harm::Drip), 3, "network dripping"),
    (Fault::OfMachine(Harm::Cut), 3, "connections cut"),
    (
        Fault::OfMachine(Harm::HalfClose),
        3,
        "connections half closed",
    ),
    (Fault::Part(Harm::Hole), 4, "a part out of reach"),
    (Fault::Part(Harm::Reset), 3, "connections to a part reset"),
    (Fault::Listeners(Harm::Delay(400)), 3, "listeners slow"),
    (Fault::Listeners(Harm::Hole), 6, "listeners deaf"),
    (Fault::Listeners(Harm::Reset), 4, "listeners reset"),
    (
        Fault::Listeners(Harm::HalfClose),
        3,
        "listeners half closed",
    ),
];

/// What ends a fault, or goes on with it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    GoesOn(usize),
    Starts(usize),
    Heal(usize),
    /// The primary is killed, and its replica promoted.
    Promote {
        dies: usize,
        follows: usize,
    },
    Arrive(Move),
}

/// What a machine calls itself, by which its connections are known.
pub fn user(machine: usize) -> String {
    format!("{USERS}{machine}")
}

const USERS: &str = "machine-";

/// Of no worth: it is in the open here.
pub const PASSWORD: &str = "word";

impl Cluster {
    pub fn new(machines: usize) -> Cluster {
        let nodes = Nodes::of(1, |node| {
            let node = node
                .config(&["cluster-node-timeout", NODE_TIMEOUT])
                .config(&["cluster-require-full-coverage", "no"]);
            (0..MOST_MACHINES).fold(node, |node, machine| {
                node.acl(&format!("{} on >{PASSWORD} ~* &* +@all", user(machine)))
            })
        });
        let fronts: Vec<Proxy> = nodes.addresses().iter().map(Proxy::to).collect();
        let mut ids = Vec::new();
        for (place, front) in fronts.iter().enumerate() {
            let node = nodes.node(place);
            let port = front.port().to_string();
            let told = node.command(&["CONFIG", "SET", "cluster-announce-port", &port]);
            told.expect("a node is told where it is");
            let kept = node.command(&["CONFIG", "REWRITE"]);
            kept.expect("and keeps that");
            ids.push(node.command(&["CLUSTER", "MYID"]).expect("its name").text());
        }
        let cluster = Cluster {
            nodes,
            ids,
            fronts,
            states: [State::Runs; NODES],
            stopped: [Instant::now(); NODES],
            shut: [false; NODES],
            promotions: [None; NODES],
            machines,
            later: Later::new(),
            looked: Instant::now(),
        };
        cluster.wait();
        cluster
    }

    fn runs(&self, node: usize) -> bool {
        self.states[node] == State::Runs
    }

    fn running(&self) -> impl Iterator<Item = usize> {
        (0..NODES).filter(|node| self.runs(*node))
    }

    /// A command to a node that runs.
    fn tell(&self, node: usize, words: &[&str]) -> Option<Reply> {
        self.nodes.node(node).command(words).ok()
    }

    /// The primaries that run and are open.
    fn primaries(&self) -> Vec<usize> {
        let is_one = |node: &usize| !self.shut[*node] && self.is_primary(*node);
        self.running().filter(is_one).collect()
    }

    fn is_primary(&self, node: usize) -> bool {
        let role = self.tell(node, &["ROLE"]);
        role.is_some_and(|role| role.items()[0].text() == "master")
    }

    /// The replica of a primary, if it runs.
    fn replica(&self, node: usize) -> Option<usize> {
        let other = (node + PAIRS) % NODES;
        (self.runs(other) && !self.is_primary(other)).then_some(other)
    }

    /// Whether something is under way at a node or its other half.
    fn is_busy(&self, node: usize) -> bool {
        [node, (node + PAIRS) % NODES]
            .iter()
            .any(|node| !self.runs(*node) || self.shut[*node])
    }

    /// One of the primaries of which both halves are well.
    fn some_primary(&self, choices: &mut Choices) -> Option<usize> {
        let mut all = self.primaries();
        all.retain(|node| !self.is_busy(*node));
        let count = all.len() as u64;
        (count > 0).then(|| all[choices.below(count) as usize])
    }

    fn stop(&mut self, node: usize) {
        self.nodes.node(node).stop();
        self.states[node] = State::Stopped;
        self.stopped[node] = Instant::now();
    }

    fn kill(&mut self, node: usize) {
        self.nodes.kill(node);
        self.states[node] = State::Killed;
    }

    /// Nodes of pairs, each a primary and its replica.
    fn half_gone(&mut self, choices: &mut Choices) -> Option<usize> {
        let first = choices.below(PAIRS as u64) as usize;
        let pairs: Vec<usize> = (0..1 + choices.below(2) as usize)
            .map(|more| (first + more) % PAIRS)
            .collect();
        if pairs.iter().any(|pair| self.is_busy(*pair)) {
            return None;
        }
        let time = up_to(choices, LONG);
        for pair in pairs {
            for node in [pair, pair + PAIRS] {
                self.stop(node);
                self.later.add(time, End::GoesOn(node));
            }
        }
        Some(first)
    }

    /// A replica is promoted, while its primary lives.
    fn promote(&mut self, node: usize) -> Option<usize> {
        let replica = self.replica(node)?;
        if !self.is_in_step(replica) {
            return None;
        }
        self.shut(node);
        self.promotions[node] = Some((replica, Instant::now() + PROMOTION));
        self.tell(replica, &["CLUSTER", "FAILOVER"]);
        Some(node)
    }

    fn promote_over_the_dead(&mut self, dies: usize, replica: usize) {
        self.kill(dies);
        self.promotions[dies] = Some((replica, Instant::now() + PROMOTION));
        self.tell(replica, &["CLUSTER", "FAILOVER", "FORCE"]);
    }

    // ---- networks ----

    fn of_network(&mut self, node: usize, whom: &[u8], what: Harm, choices: &mut Choices) -> bool {
        if self.later.has(&End::Heal(node)) || self.shut[node] {
            return false; // one at a time
        }
        if let Some(time) = harm(&self.fronts[node], whom, what, choices) {
            self.later.add(time, End::Heal(node));
        }
        true
    }

    /// Of one machine, or of all, to one node, to half of them, or to all.
    fn of_part(&mut self, what: Harm, choices: &mut Choices) -> Option<usize> {
        let machine = choices.below(self.machines as u64 + 1) as usize;
        let whom = match machine < self.machines {
            true => user(machine).into_bytes(),
            false => ANY.to_vec(),
        };
        let pairs = 1 + choices.below(PAIRS as u64) as usize;
        let first = choices.below(PAIRS as u64) as usize;
        let mut any = false;
        for at in first..first + pairs {
            for node in [at % PAIRS, at % PAIRS + PAIRS] {
                any |= self.of_network(node, &whom, what, choices);
            }
        }
        any.then_some(machine)
    }

    fn heal(&mut self, node: usize) {
        self.fronts[node].heal();
        if self.shut[node] {
            self.shut(node);
        }
    }

    fn end(&mut self, end: End) {
        match end {
            End::GoesOn(node) if self.states[node] == State::Stopped => {
                // Whoever asks it then may be told what was true before.
                if self.stopped[node].elapsed() > SAFE {
                    self.shut(node);
                }
                self.nodes.node(node).cont();
                self.states[node] = State::Runs;
            }
            End::Starts(node) if self.states[node] == State::Killed => {
                self.shut(node);
                self.nodes.restart(node);
                self.states[node] = State::Runs;
            }
            End::GoesOn(_) | End::Starts(_) => {}
            End::Heal(node) => self.heal(node),
            End::Promote { dies, follows } => {
                if self.runs(dies) && self.runs(follows) && self.is_primary(dies) {
                    self.promote_over_the_dead(dies, follows);
                    self.later
                        .add(Duration::from_millis(1500), End::Starts(dies));
                }
            }
            End::Arrive(moved) => self.arrive(moved),
        }
    }
}

impl Ground for Cluster {
    fn address(&self, _machine: usize) -> String {
        // Not all of them: the others have to be found.
        let some = [0, 1, PAIRS];
        let some = some.map(|node| self.fronts[node].address().to_string());
        some.join(",")
    }

    fn faults(&self) -> Vec<(u64, &'static str)> {
        FAULTS.map(|(_, weight, name)| (weight, name)).to_vec()
    }

    fn begin(&mut self, fault: usize, choices: &mut Choices) -> Option<usize> {
        let any = choices.below(NODES as u64) as usize;
        match FAULTS[fault].0 {
            Fault::Network(what) => {
                return self.of_network(any, ANY, what, choices).then_some(any);
            }
            Fault::OfMachine(what) => {
                let machine = choices.below(self.machines as u64) as usize;
                let whom = user(machine);
                let done = self.of_network(any, whom.as_bytes(), what, choices);
                return done.then_some(machine);
            }
            Fault::Listeners(what) => {
                return self.of_network(any, LISTENER, what, choices).then_some(any);
            }
            Fault::Part(what) => return self.of_part(what, choices),
            Fault::HalfGone => return self.half_gone(choices),
            Fault::MoveSlot => return self.begin_move(choices),
            _ => {}
        }
        let node = self.some_primary(choices)?;
        let replica = self.replica(node);
        match FAULTS[fault].0 {
            Fault::Stop => {
                self.stop(node);
                self.later.add(up_to(choices, SHORT), End::GoesOn(node));
            }
            Fault::StopLong => {
                replica?;
                self.stop(node);
                let time = Duration::from_millis(LONG / 2) + up_to(choices, LONG / 2);
                self.later.add(time, End::GoesOn(node));
            }
            Fault::Kill => {
                self.kill(node);
                self.later.add(up_to(choices, SHORT), End::Starts(node));
            }
            Fault::KillAndPromote => {
                self.promote_over_the_dead(node, replica?);
                self.later.add(up_to(choices, LONG), End::Starts(node));
            }
            Fault::Promote => return self.promote(node),
            Fault::LagAndPromote => {
                let follows = replica?;
                let whom = self.fronts[node].only(b"REPLCONF");
                whom.set(Mode::Blackhole(Direction::ToClient));
                let promote = End::Promote {
                    dies: node,
                    follows,
                };
                self.later.add(up_to(choices, 400), promote);
                self.later.add(Duration::from_millis(450), End::Heal(node));
            }
            // What is in it now is there again after a restart.
            Fault::Save => drop(self.tell(node, &["SAVE"])),
            Fault::FlushAll => drop(self.tell(node, &["FLUSHALL"])),
            Fault::ScriptFlush => drop(self.tell(node, &["SCRIPT", "FLUSH"])),
            _ => return None,
        }
        Some(node)
    }

    fn go_on(&mut self, now: Instant) {
        let due = self.later.due(now);
        due.into_iter().for_each(|end| self.end(end));
        self.open_some();
    }

    fn mend(&mut self) {
        // What is killed on the way has to start again.
        for _ in 0..2 {
            let all = self.later.all();
            all.into_iter().for_each(|end| self.end(end));
        }
        let end = Instant::now() + AGREED;
        while self.shut.contains(&true) {
            assert!(Instant::now() < end, "{}", self.views());
            self.open_some();
            std::thread::sleep(LOOK / 2);
        }
        self.fronts.iter().for_each(|front| front.heal());
        self.wait();
    }
}
