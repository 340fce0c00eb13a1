//! Which node has what. A server that stands alone has one node, which has everything. In a cluster it is by the bucket of a key: at first all are asked
//! of the first address that was said, then of whom a node names (`MOVED`), or what it says of its cluster (`slots::View`). That is asked on each
//! new connection, from time to time, and of others when a node is lost; of two that differ the one with the higher epoch is right.

use std::future::Future;
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use redis::Value;

use super::agent;
use super::at::{InPlace, Via};
use super::commands::Commands;
use super::link::{Out, Outcome, Request, unexpected};
use super::look::{self, Look};
use super::node::Node;
use super::options::Address;
use super::record::Fence;
use super::scripts;
use super::server::Server;
use super::slots::{BUCKETS, Bucket, Moved, View};
use crate::protocol::blocking::now;
use crate::tier::store::lock;

#[derive(Default)]
pub(super) struct Routes {
    /// All nodes that were ever asked; none is ever dropped.
    pub(super) nodes: Mutex<Vec<&'static Node>>,
    /// The only one of a server that is no cluster.
    alone: OnceLock<&'static Node>,
    /// Who has which bucket; one, if there is no cluster.
    pub(super) map: Mutex<Map>,
    /// When clears that are pending are to be applied next.
    pub(super) replays: Mutex<Replays>,
}

#[derive(Default)]
pub(super) struct Replays {
    next: Option<Instant>,
    /// After one that did not apply all.
    pause: Duration,
}

/// How many nodes one request is sent to: two that name each other are left alone.
const MOVES: u32 = 4;

/// How often a cluster is asked who has what, if nothing makes us doubt it.
const SEEN_FOR: Duration = Duration::from_secs(2);

/// How long after a replay that did not apply all the next one comes, at first and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(800));

#[derive(Default)]
pub(super) struct Map {
    owners: Vec<Owner>,
    /// Where nodes are, each by every address it has.
    pub(super) places: Vec<Vec<Address>>,
    /// Those that led there when the first of the node's addresses did not.
    pub(super) leads: Vec<Address>,
    /// When a node was asked last.
    seen: Option<Instant>,
}

#[derive(Clone, Copy)]
struct Owner {
    node: &'static Node,
    /// By which it has that.
    epoch: u64,
}

/// A clear that is to be told.
pub(super) struct Clear {
    pub(super) bucket: Bucket,
    pub(super) key: Vec<u8>,
    pub(super) message: Vec<u8>,
}

/// How many of them go at once.
const CLEARS: usize = 1000;

impl Server {
    /// To be called once, before it is asked anything.
    pub(super) fn begin_routes(&'static self) {
        let (node, buckets) = match self.options.cluster {
            true => (self.node_at(&self.options.addresses[0]), BUCKETS),
            false => {
                let node = Node::new(self, None);
                lock(&self.routes.nodes).push(node);
                (*self.routes.alone.get_or_init(|| node), 1)
            }
        };
        lock(&self.routes.map).owners = vec![Owner { node, epoch: 0 }; buckets];
    }

    /// All nodes that were ever asked.
    pub(super) fn nodes(&self) -> Vec<&'static Node> {
        lock(&self.routes.nodes).clone()
    }

    /// Those that have anything.
    pub(super) fn nodes_in_use(&self) -> Vec<&'static Node> {
        self.shares().into_iter().map(|(node, _)| node).collect()
    }

    pub(super) fn is_in_use(&self, node: &Node) -> bool {
        if self.routes.alone.get().is_some() {
            return true;
        }
        let map = lock(&self.routes.map);
        map.owners
            .iter()
            .any(|owner| std::ptr::eq(owner.node, node))
    }

    /// The node that has a bucket.
    pub(super) fn node(&self, bucket: Bucket) -> &'static Node {
        if let Some(node) = self.routes.alone.get() {
            return node;
        }
        lock(&self.routes.map).owners[usize::from(bucket.0)].node
    }

    /// The nodes, each with what it has.
    pub(super) fn shares(&self) -> Vec<(&'static Node, Vec<Bucket>)> {
        let map = lock(&self.routes.map);
        let mut shares: Vec<(&'static Node, Vec<Bucket>)> = Vec::new();
        for (owner, bucket) in map.owners.iter().zip(Bucket::all()) {
            match shares
                .iter_mut()
                .find(|(node, _)| std::ptr::eq(*node, owner.node))
            {
                Some((_, buckets)) => buckets.push(bucket),
                None => shares.push((owner.node, vec![bucket])),
            }
        }
        shares
    }

    /// The node at an address.
    pub(super) fn node_at(&'static self, address: &Address) -> &'static Node {
        let mut nodes = lock(&self.routes.nodes);
        let known = nodes
            .iter()
            .find(|node| node.address.as_ref() == Some(address));
        if let Some(node) = known {
            return node;
        }
        let node = Node::new(self, Some(address.clone()));
        nodes.push(node);
        node
    }

    /// Where its nodes may be asked what they say of their cluster.
    pub(super) fn places(&self) -> Vec<Address> {
        let mut all = self.options.addresses.clone();
        let map = lock(&self.routes.map);
        let known = map.places.iter().filter_map(|place| place.first());
        let nodes = map
            .owners
            .iter()
            .filter_map(|owner| owner.node.address.as_ref());
        for address in nodes.chain(known) {
            if !all.contains(address) {
                all.push(address.clone());
            }
        }
        all
    }

    /// A node has said this of its cluster.
    pub(super) fn see(&'static self, view: &View) {
        let nodes: Vec<_> = view
            .primaries
            .iter()
            .map(|primary| self.node_at(&primary.address))
            .collect();
        let mut new = Vec::new();
        let mut map = lock(&self.routes.map);
        map.places.clone_from(&view.places);
        map.seen = Some(Instant::now());
        for (node, primary) in nodes.into_iter().zip(&view.primaries) {
            for bucket in primary.buckets() {
                let owner = &mut map.owners[usize::from(bucket.0)];
                // One that is gone may have been of another cluster, whose epochs were higher.
                if primary.epoch < owner.epoch && !owner.node.is_away() {
                    continue;
                }
                if !std::ptr::eq(owner.node, node) {
                    new.push(node);
                }
                *owner = Owner {
                    node,
                    epoch: primary.epoch,
                };
            }
        }
        drop(map);
        // A node that has nothing has no agent.
        for node in new {
            agent::rouse(node, &mut lock(&node.state));
        }
    }

    /// Whether it is time to ask again who has what. Whoever is told so asks.
    pub(super) fn is_seen_long_ago(&self) -> bool {
        let mut map = lock(&self.routes.map);
        let is_due = map.seen.is_none_or(|seen| seen.elapsed() > SEEN_FOR);
        if is_due {
            map.seen = Some(Instant::now());
        }
        is_due
    }

    /// Whether what is pending is to be applied now, as far as it can be; not so for a while after that has failed.
    pub(super) fn may_replay_now(&self) -> bool {
        let next = lock(&self.routes.replays).next;
        next.is_none_or(|next| next <= Instant::now())
    }

    /// Not all of it could be applied.
    pub(super) fn replay_later(&self) {
        let mut replays = lock(&self.routes.replays);
        if !self.options.cluster {
            return; // who does not answer is found out of reach
        }
        replays.pause = (replays.pause * 2).clamp(PAUSE.0, PAUSE.1);
        replays.next = Some(Instant::now() + replays.pause);
    }

    /// Some node is back.
    pub(super) fn replay_soon(&self) {
        *lock(&self.routes.replays) = Replays::default();
    }

    /// The node that `by` has named.
    fn named(&'static self, by: &Node, moved: &Moved) -> &'static Node {
        let by = by.address.as_ref().unwrap_or(&self.options.addresses[0]);
        let address = moved.address(by);
        let map = lock(&self.routes.map);
        let place = map.places.iter().find(|place| place.contains(&address));
        let address = place
            .and_then(|place| place.first())
            .unwrap_or(&address)
            .clone();
        drop(map);
        self.node_at(&address)
    }

    /// The node `by` has said that another one has a bucket.
    pub(super) fn follow(&'static self, bucket: Bucket, by: &'static Node, moved: &Moved) {
        if moved.is_on_its_way || !self.options.cluster {
            return;
        }
        let node = self.named(by, moved);
        // Whoever says something else of it, with whatever epoch, is right until somebody is asked.
        lock(&self.routes.map).owners[usize::from(bucket.0)] = Owner { node, epoch: 0 };
        by.ask_for_view();
    }

    /// Asks whoever has a bucket; and once more, if that has another node by now, as long as there is time.
    async fn route<T, F: Future<Output = Result<T, Out>>>(
        &'static self,
        bucket: Bucket,
        mut ask: impl FnMut(&'static Node) -> F,
    ) -> Result<T, Out> {
        let end = Instant::now() + self.options.budget / 2;
        let mut moves = 0;
        loop {
            let node = self.node(bucket);
            match ask(node).await {
                Err(Out::Moved(moved)) if !moved.is_on_its_way => {
                    self.follow(bucket, node, &moved);
                    moves += 1;
                    if moves == MOVES || Instant::now() > end {
                        return Err(Out::Moved(moved));
                    }
                }
                outcome => return outcome,
            }
        }
    }

    /// Sends a request to whoever has a bucket, and awaits the replies.
    pub(super) async fn ask(
        &'static self,
        via: &impl Via,
        bucket: Bucket,
        commands: &Commands,
    ) -> Outcome {
        self.route(bucket, |node| via.ask(node, commands.clone(), None))
            .await
    }

    /// Looks what is under a key.
    pub(super) async fn look(&'static self, via: &impl Via, look: Look) -> look::Outcome {
        let bucket = self.names.bucket(&look.key);
        self.route(bucket, |node| via.look(node, look)).await
    }

    /// Sends a request that is meant for one node only, and only as long as that has the bucket.
    pub(super) async fn ask_there(
        &'static self,
        via: &impl Via,
        (bucket, node): (Bucket, &'static Node),
        commands: Commands,
        of: Fence,
    ) -> Outcome {
        match via.ask(node, commands, Some(of)).await {
            Err(Out::Moved(moved)) => {
                self.follow(bucket, node, &moved);
                Ok(None)
            }
            outcome => outcome,
        }
    }

    /// Clears a key, and tells everybody who listens.
    pub(super) async fn clear_at(
        &'static self,
        via: &impl Via,
        bucket: Bucket,
        key: &[u8],
        message: &[u8],
    ) -> Result<(), Out> {
        let channel = self.names.channel(bucket);
        let clear = scripts::clear(key, &channel, message);
        match self.ask(via, bucket, &clear).await {
            Err(Out::Moved(moved)) if moved.is_on_its_way => {}
            outcome => return scripts::cleared(outcome),
        }
        // The slot is on its way from one node to another: the key is not at the first any more, and may be at the second. Who listens does so
        // at the first until the slot has arrived.
        let quietly = scripts::clear(key, &channel, b"");
        self.route(bucket, |node| self.ask_the_next(via, node, &quietly))
            .await?;
        let publish = Commands::one([b"SPUBLISH", &channel, message]);
        self.ask(via, bucket, &publish).await.map(|_| ())
    }

    /// Has a key cleared where its slot is going, if it is; else where it is.
    async fn ask_the_next(
        &'static self,
        via: &impl Via,
        node: &'static Node,
        clear: &Commands,
    ) -> Result<(), Out> {
        match via.ask(node, clear.clone(), None).await {
            Err(Out::Moved(moved)) if moved.is_on_its_way => {
                let mut asking = Commands::one([b"ASKING"]);
                asking.append(clear);
                let next = self.named(node, &moved);
                let asked = via.ask(next, asking, None).await;
                let mut replies = asked?.ok_or_else(unexpected)?.replies.into_iter().skip(1);
                match replies.next() {
                    Some(Value::Int(1)) => Ok(()),
                    _ => Err(unexpected()),
                }
            }
            outcome => scripts::cleared(outcome),
        }
    }

    /// Clears a key of one function in every bucket: its own ones, so that no value counts any more that is beside them. On each node who listens is told
    /// when all is done there; what is told at another one may come too early for what is read here.
    pub(super) async fn clear_function(
        &'static self,
        via: &impl Via,
        function: &[u8; 20],
        message: &[u8],
    ) -> Result<(), Out> {
        let mut cleared = Ok(());
        for (node, buckets) in self.shares() {
            let mut commands = Commands::default();
            for (at, bucket) in buckets.iter().enumerate() {
                let key = self.names.function(function, *bucket);
                let is_last = at + 1 == buckets.len();
                let message = if is_last { message } else { b"" };
                commands.append(&scripts::clear(&key, &self.names.channel(*bucket), message));
            }
            match scripts::cleared(via.ask(node, commands, None).await) {
                Ok(()) => {}
                // Some are not there any more.
                Err(Out::Moved(_)) => {
                    for bucket in buckets {
                        let key = self.names.function(function, bucket);
                        let one = self.clear_at(via, bucket, &key, message).await;
                        cleared = cleared.and(one);
                    }
                }
                Err(out) => cleared = Err(out),
            }
        }
        cleared
    }

    /// Takes away what every function's own keys hold, so that nothing that is stored counts any more.
    pub(super) fn clear_everything(
        &'static self,
        message: &[u8],
        ask: &mut impl FnMut(&'static Node, &[Request]) -> Result<Vec<Outcome>, Out>,
    ) -> Result<(), Out> {
        for (node, buckets) in self.shares() {
            let mut cursor = b"0".to_vec();
            loop {
                let scan = Request::new(scripts::scan(&cursor, &self.names.functions()), None);
                let found = ask(node, &[scan])?.pop().unwrap_or(Ok(None))?;
                let found = found.and_then(|answer| scripts::scanned(answer.replies));
                let (next, keys) = found.ok_or_else(unexpected)?;
                let clearing = |key: &Vec<u8>| Request::new(scripts::clear(key, b"", b""), None);
                let requests: Vec<Request> = keys.iter().map(clearing).collect();
                for outcome in ask(node, &requests)? {
                    scripts::cleared(outcome)?;
                }
                if next == b"0" {
                    break;
                }
                cursor = next;
            }
            // What was moved from here to a node that was cleared before counts there no more; but who has read it here is told.
            let channel = self.names.channel(buckets[0]);
            let publish = Commands::one([self.names.publish(), &channel, message]);
            for outcome in ask(node, &[Request::new(publish, None)])? {
                outcome?;
            }
        }
        Ok(())
    }

    /// Clears keys, as far as the nodes can be reached that have them.
    pub(super) fn clear_each(
        &'static self,
        clears: Vec<Clear>,
        ask: &mut impl FnMut(&'static Node, &[Request]) -> Result<Vec<Outcome>, Out>,
    ) -> Result<(), Out> {
        let mut cleared = Ok(());
        for (node, buckets) in self.shares() {
            let of_node = clears
                .iter()
                .filter(|clear| buckets.contains(&clear.bucket));
            let of_node: Vec<&Clear> = of_node.collect();
            for clears in of_node.chunks(CLEARS) {
                let request = |(at, clear): (usize, &&Clear)| {
                    let channel = self.names.channel(clear.bucket);
                    // One for all that say the same, when all is done.
                    let next = clears.get(at + 1).map(|next| &next.message);
                    let message = match next == Some(&clear.message) {
                        true => &[][..],
                        false => &clear.message,
                    };
                    Request::new(scripts::clear(&clear.key, &channel, message), None)
                };
                let requests: Vec<Request> = clears.iter().enumerate().map(request).collect();
                match ask(node, &requests) {
                    Ok(outcomes) => {
                        for (clear, outcome) in clears.iter().zip(outcomes) {
                            let outcome = match outcome {
                                Err(Out::Moved(_)) => now(self.clear_at(
                                    &InPlace,
                                    clear.bucket,
                                    &clear.key,
                                    &clear.message,
                                )),
                                outcome => scripts::cleared(outcome),
                            };
                            cleared = cleared.and(outcome);
                        }
                    }
                    Err(out) => {
                        cleared = Err(out);
                        break;
                    }
                }
            }
        }
        cleared
    }
}
