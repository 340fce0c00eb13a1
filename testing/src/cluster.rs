//! A cluster of servers, each with a part of the slots.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use crate::resp::Reply;
use crate::server::{Builder, Server};

/// A primary that has not answered for so long is given up by the others.
const NODE_TIMEOUT: &str = "1000";
/// How long nodes may take to agree.
const AGREED: Duration = Duration::from_secs(30);
const SLOTS: usize = 16_384;

/// Primaries with equal parts of the slots, in order, and their replicas behind them: `nodes()[0]` has the first slots. Needs a server
/// of version 7 or newer.
pub struct Cluster {
    nodes: Vec<Server>,
    ids: Vec<String>,
    primaries: usize,
}

impl Cluster {
    /// Three primaries, each with so many replicas. Takes 2 to 3 s: all nodes say `cluster_state:ok` then.
    pub fn start(replicas: usize) -> Cluster {
        Cluster::of(replicas, |node| node)
    }

    /// The same, of nodes to which something was added: `Cluster::of(1, |node| node.password("word"))`.
    pub fn of(replicas: usize, add: impl Fn(Builder) -> Builder) -> Cluster {
        let primaries = 3;
        let nodes: Vec<Server> = (0..primaries * (1 + replicas))
            .map(|_| add(node()).start())
            .collect();
        let ids = nodes
            .iter()
            .map(|node| node.say(&["CLUSTER", "MYID"]).text());
        let cluster = Cluster {
            ids: ids.collect(),
            nodes,
            primaries,
        };
        cluster.introduce();
        cluster.give_slots();
        cluster.wait();
        cluster
    }

    /// All nodes: the primaries of the start, then the replicas of the first, of the second, ..
    pub fn nodes(&mut self) -> &mut [Server] {
        &mut self.nodes
    }

    /// The node at this place.
    pub fn node(&self, place: usize) -> &Server {
        &self.nodes[place]
    }

    /// Has one more node join, a primary without slots. Its place.
    pub fn join(&mut self) -> usize {
        let new = node().start();
        self.ids.push(new.say(&["CLUSTER", "MYID"]).text());
        self.nodes.push(new);
        let place = self.nodes.len() - 1;
        self.meet(place);
        self.wait_for_acquaintance();
        self.wait();
        place
    }

    /// Where the nodes listen.
    pub fn addresses(&self) -> Vec<String> {
        self.nodes.iter().map(Server::address).collect()
    }

    /// The slot of a key.
    pub fn slot(&self, key: &str) -> u16 {
        self.running()
            .next()
            .expect("a node that runs")
            .say(&["CLUSTER", "KEYSLOT", key])
            .int() as u16
    }

    /// The place in [`Cluster::nodes`] of the primary that has this slot, as the nodes see it that run.
    pub fn owner(&self, slot: u16) -> usize {
        let id = self.running().find_map(|node| owner_id(node, slot));
        let id = id.unwrap_or_else(|| panic!("slot {slot} is nobody's"));
        self.place(&id)
    }

    /// Begins to move a slot: the new owner imports it, and the old one answers `ASK` for keys that it has not. Where it was.
    pub fn begin_move(&self, slot: u16, to: usize) -> usize {
        let from = self.owner(slot);
        let number = slot.to_string();
        let order = |node: usize, what, other: usize| {
            self.nodes[node].say(&["CLUSTER", "SETSLOT", &number, what, &self.ids[other]])
        };
        order(to, "IMPORTING", from);
        order(from, "MIGRATING", to);
        from
    }

    /// Moves the keys of a slot, and lets the slot follow: the old owner answers `MOVED`. All nodes know it then.
    pub fn finish_move(&self, slot: u16, to: usize) {
        self.hand_over(slot, to);
        self.wait_for_owner(slot..=slot, to);
    }

    fn hand_over(&self, slot: u16, to: usize) {
        let from = self.owner(slot);
        let number = slot.to_string();
        let port = self.nodes[to].port().to_string();
        loop {
            let keys = self.nodes[from].say(&["CLUSTER", "GETKEYSINSLOT", &number, "100"]);
            if keys.items().is_empty() {
                break;
            }
            let keys: Vec<String> = keys.items().iter().map(Reply::text).collect();
            let mut words = ["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"].to_vec();
            words.extend(keys.iter().map(String::as_str));
            self.nodes[from].say(&words);
        }
        // The new owner first: the slot would be nobody's otherwise if the old one were killed now.
        for node in [to, from] {
            self.nodes[node].say(&["CLUSTER", "SETSLOT", &number, "NODE", &self.ids[to]]);
        }
    }

    fn wait_for_owner(&self, slots: RangeInclusive<u16>, to: usize) {
        self.until("all nodes know the new owner", |cluster| {
            cluster.running().all(|node| {
                let all = owners(node).unwrap_or_default();
                let mut ours = all.iter().filter(|(_, _, id)| *id == cluster.ids[to]);
                let (first, last) = (i64::from(*slots.start()), i64::from(*slots.end()));
                ours.any(|(from, until, _)| *from <= first && last <= *until)
            })
        });
    }

    /// Moves a slot with its keys to the node at this place, a primary.
    pub fn move_slot(&self, slot: u16, to: usize) {
        if self.owner(slot) != to {
            self.begin_move(slot, to);
            self.finish_move(slot, to);
        }
    }

    /// Moves all of these slots with their keys to the node at this place, a primary.
    pub fn move_slots(&self, slots: RangeInclusive<u16>, to: usize) {
        for slot in slots.clone() {
            if self.owner(slot) != to {
                self.begin_move(slot, to);
                self.hand_over(slot, to);
            }
        }
        self.wait_for_owner(slots, to);
    }

    /// SIGKILL for the node at this place. A replica takes over about 2 s later if it has one; [`Cluster::wait`] waits for that.
    pub fn kill(&mut self, place: usize) {
        self.nodes[place].kill();
    }

    /// Starts the node at this place again, which was killed.
    pub fn restart(&mut self, place: usize) {
        self.nodes[place].restart();
    }

    /// Waits until all nodes that run say `cluster_state:ok`, and agree on who has each slot.
    pub fn wait(&self) {
        self.until("all nodes are content", |cluster| {
            let mut owners: Vec<_> = cluster.running().map(owners).collect();
            owners.dedup();
            let [Some(agreed)] = &owners[..] else {
                return false;
            };
            let owner_runs = |id: &String| cluster.nodes[cluster.place(id)].runs();
            agreed.iter().all(|(_, _, id)| owner_runs(id)) && cluster.running().all(content)
        });
    }

    fn introduce(&self) {
        (1..self.nodes.len()).for_each(|place| self.meet(place));
        self.wait_for_acquaintance();
    }

    fn meet(&self, place: usize) {
        let node = &self.nodes[place];
        let (port, bus) = (node.port().to_string(), node.bus().to_string());
        self.nodes[0].say(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]);
    }

    fn wait_for_acquaintance(&self) {
        let known = format!("cluster_known_nodes:{}", self.nodes.len());
        self.until("all nodes know each other", |cluster| {
            cluster.nodes.iter().all(|node| {
                node.say(&["CLUSTER", "INFO"]).text().contains(&known)
                    && !node.say(&["CLUSTER", "NODES"]).text().contains("handshake")
            })
        });
    }

    fn give_slots(&self) {
        for (place, node) in self.nodes.iter().enumerate() {
            if place < self.primaries {
                let first = place * SLOTS / self.primaries;
                let last = (place + 1) * SLOTS / self.primaries - 1;
                let (first, last) = (first.to_string(), last.to_string());
                node.say(&["CLUSTER", "ADDSLOTSRANGE", &first, &last]);
            } else {
                let replicas = self.nodes.len() / self.primaries - 1;
                let primary = &self.ids[(place - self.primaries) / replicas];
                node.say(&["CLUSTER", "REPLICATE", primary]);
            }
        }
    }

    fn place(&self, id: &str) -> usize {
        let place = self.ids.iter().position(|own| own == id);
        place.unwrap_or_else(|| panic!("no node of this cluster is {id}"))
    }

    fn running(&self) -> impl Iterator<Item = &Server> {
        self.nodes.iter().filter(|node| node.runs())
    }

    fn until(&self, what: &str, mut holds: impl FnMut(&Cluster) -> bool) {
        let end = Instant::now() + AGREED;
        while !holds(self) {
            if Instant::now() > end {
                let views = self
                    .running()
                    .map(|node| node.say(&["CLUSTER", "NODES"]).text());
                let views: Vec<String> = views.collect();
                panic!(
                    "{what}: not within {AGREED:?}; as they see it:\n{}",
                    views.join("\n")
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A node that knows no other yet.
fn node() -> Builder {
    Server::builder()
        .cluster()
        .config(&["cluster-node-timeout", NODE_TIMEOUT])
}

/// It says that all is well, and has what its primary has if it is a replica.
fn content(node: &Server) -> bool {
    let info = node.say(&["CLUSTER", "INFO"]).text();
    let replication = node.say(&["INFO", "replication"]).text();
    info.contains("cluster_state:ok") && !replication.contains("master_link_status:down")
}

type Owners = Vec<(i64, i64, String)>;

/// First slot, last slot and primary of each range, in order; none while slots are nobody's.
fn owners(node: &Server) -> Option<Owners> {
    let slots = node.say(&["CLUSTER", "SLOTS"]);
    let range = |range: &Reply| {
        let range = range.items();
        (range[0].int(), range[1].int(), range[2].items()[2].text())
    };
    let mut owners: Owners = slots.items().iter().map(range).collect();
    owners.sort();
    let slots: i64 = owners.iter().map(|(first, last, _)| last - first + 1).sum();
    (slots == SLOTS as i64).then_some(owners)
}

fn owner_id(node: &Server, slot: u16) -> Option<String> {
    let slot = i64::from(slot);
    let owner = owners(node)?
        .into_iter()
        .find(|(first, last, _)| (*first..=*last).contains(&slot))?;
    Some(owner.2)
}

impl Server {
    /// A command that cannot fail while the node runs.
    fn say(&self, words: &[&str]) -> Reply {
        self.command(words)
            .unwrap_or_else(|error| panic!("{words:?} at {}: {error}", self.address()))
    }
}
