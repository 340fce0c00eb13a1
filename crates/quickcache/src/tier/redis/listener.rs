//! The connection on which clears of other machines are heard, in a cluster one to each node: for each machine twice, by whichever processes have its
//! `seat`s. What is heard there is done to the machine's table; how far that is proven is in `common`.

use std::thread;
use std::time::{Duration, Instant};

use redis::Value;

use super::agent;
use super::commands::Commands;
use super::common::Common;
use super::heard::Heard;
use super::link;
use super::meeting::Meeting;
use super::message::Message;
use super::node::Node;
use super::record::{Fence, random};
use super::seat::{Seat, Silence};
use super::server::Server;
use super::slots::{BUCKETS, Bucket};
use super::wire::{Broken, Wire};
use crate::clock::{self, Millis};
use crate::tier::store::proof::Proof;
use crate::tier::store::{Opened, Shared, StoreKey, wake};

/// How often it is tried whether what is published arrives.
const CANARY: Duration = Duration::from_secs(10);

/// The longest that connecting may take.
const CONNECT: Duration = Duration::from_secs(1);

/// Listens for as long as the process lives.
pub(super) fn start(server: &'static Server, shared: &'static Shared) -> bool {
    let thread = thread::Builder::new().name("quickcache-clears".to_owned());
    thread.spawn(move || run(server, shared)).is_ok()
}

/// However it ends (a logger may panic), another one is begun by the next call that goes to the server.
struct Listening(&'static Server, &'static Shared);

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.listens_no_more(self.1);
    }
}

fn run(server: &'static Server, shared: &'static Shared) {
    let listening = Listening(server, shared);
    let mut silence = Silence::new(server.options.staleness);
    loop {
        let heard = match shared.open() {
            Some(_) => match server.meeting(shared) {
                Some(meeting) => listen_in_turn(server, meeting, &mut silence),
                None => {
                    // Told by who asked first; it stays so.
                    std::mem::forget(listening);
                    return;
                }
            },
            None => Ok(()),
        };
        if let Err(Broken(why)) = heard {
            log::debug!(target: "quickcache", "{server:?}: listening for clears ended: {why}");
        }
        thread::sleep(server.options.staleness / 4);
    }
}

/// Listens, if there is a seat.
fn listen_in_turn(
    server: &'static Server,
    meeting: &'static Meeting,
    silence: &mut Silence,
) -> Result<(), Broken> {
    // One node is enough that nothing can be proven.
    if server.nodes_in_use().iter().any(|node| node.is_away()) {
        return Ok(());
    }
    let (opened, common) = (meeting.opened(), meeting.common());
    let seats = silence.seats(common.is_proven());
    let name = format!("listener-{:016x}", server.id());
    let Some(seat) = Seat::take(opened, &name, seats) else {
        return Ok(());
    };
    let mut listener = Listener::begin(server, opened, common)?;
    let mut looked = Instant::now();
    while !opened.is_left() {
        listener.beat()?;
        if seat.is_extra() && looked.elapsed() > CANARY {
            looked = Instant::now();
            if listener.is_needless()? {
                break;
            }
        }
    }
    Ok(())
}

struct Listener {
    server: &'static Server,
    opened: &'static Opened,
    common: Common,
    ears: Vec<Ear>,
    /// Whom it listens to: the fence of a server that stands alone, or a hash of those of all nodes and their buckets.
    fence: Fence,
    /// What all nodes of a cluster must say.
    cluster: Option<Cluster>,
    /// When the server had confirmed that it would be told.
    since: u64,
    /// Of the chain that it proves.
    chain: Option<u16>,
    /// When canaries were sent last.
    sent: Instant,
    /// It proves nothing, to see whether others do.
    holds_back: bool,
}

/// A cluster as it was when it began to be listened to.
struct Cluster {
    /// Who has which slots.
    shape: Vec<u8>,
    heard: Heard,
}

/// A connection to one node, on which its clears are heard.
struct Ear {
    node: &'static Node,
    wire: Wire,
    fence: Fence,
    /// One of those that it is subscribed to.
    channel: Vec<u8>,
    canary: Canary,
}

/// What is published to oneself.
struct Canary {
    nonce: u64,
    heard: bool,
}

impl Listener {
    fn begin(
        server: &'static Server,
        opened: &'static Opened,
        common: Common,
    ) -> Result<Self, Broken> {
        let (ears, cluster) = match server.options.cluster {
            true => {
                let (ears, cluster) = listen_to_nodes(server)?;
                (ears, Some(cluster))
            }
            false => (
                vec![Ear::begin(server, server.node(Bucket(0)), &[Bucket(0)])?],
                None,
            ),
        };
        let mut listener = Listener {
            server,
            opened,
            common,
            fence: match &cluster {
                Some(cluster) => cluster.heard.hash(),
                None => ears[0].fence,
            },
            ears,
            cluster,
            since: clock::boot(),
            chain: None,
            sent: Instant::now(),
            holds_back: false,
        };
        listener.send_canaries()?;
        Ok(listener)
    }

    /// Publishes something by way of the connections that calls use: that it arrives shows that both lead to the same server, and that
    /// this one is not deaf.
    fn send_canaries(&mut self) -> Result<(), Broken> {
        self.sent = Instant::now();
        for ear in &mut self.ears {
            ear.canary = Canary {
                nonce: random(),
                heard: false,
            };
            let message = Message::Canary(ear.canary.nonce).bytes(&self.opened.origin());
            let publish = self.server.names.publish();
            let publish = Commands::one([publish, &ear.channel, &message]);
            match ear.node.ask(publish, Some(ear.fence)) {
                Ok(Some(_)) => {}
                Ok(None) => return Err(elsewhere()),
                Err(error) => return Err(Broken(error.to_string())),
            }
        }
        if let Some(cluster) = &self.cluster
            && self.chain.is_some()
        {
            self.server.tell_heard(self.opened, &cluster.heard);
        }
        Ok(())
    }

    /// Whether calls still go to the server that is listened to. This connection may have been left with a former primary, which hears
    /// of no clear any more. In a cluster all nodes must say that each has what it had. Unknown while nobody can ask: then nothing is proven,
    /// and nothing lost.
    fn calls_come_here(&self) -> Result<bool, Broken> {
        for ear in &self.ears {
            let question = match &self.cluster {
                Some(_) => link::view(),
                None => Commands::one([b"PING"]),
            };
            let replies = match ear.node.ask(question, Some(ear.fence)) {
                Ok(Some(answer)) => answer.replies,
                Ok(None) => return Err(elsewhere()),
                Err(_) => return Ok(false),
            };
            if let (Some(cluster), Some(address)) = (&self.cluster, &ear.node.address) {
                let view = link::viewed(&replies, address, &self.server.options);
                let Some(view) = view else { return Ok(false) };
                if view.shape() != cluster.shape {
                    self.server.see(&view);
                    return Err(Broken("slots have moved".to_owned()));
                }
            }
        }
        Ok(true)
    }

    /// A PING to each node, all that comes before its PONG, and a pause in which messages are heard too. One PING at a time, or it would be
    /// unknown which of them a PONG answers.
    fn beat(&mut self) -> Result<(), Broken> {
        let bound = self.server.options.staleness;
        let sent = clock::boot();
        let next = Instant::now() + bound / 4;
        let end = Instant::now() + bound;
        self.ping(sent, end)?;
        if self.ears.iter().all(|ear| ear.canary.heard) {
            if !self.holds_back && self.calls_come_here()? {
                self.prove(sent)?;
            }
            if self.sent.elapsed() > CANARY {
                self.send_canaries()?;
            }
        } else if self.sent.elapsed() > bound {
            return Err(Broken("what is published does not arrive".to_owned()));
        }
        self.listen_until(next)
    }

    fn ping(&mut self, sent: Millis, end: Instant) -> Result<(), Broken> {
        let server = self.server;
        let is_lost = |_: &Broken| server.note_lost(sent);
        for ear in &mut self.ears {
            let ping = Commands::one([b"PING"]);
            ear.wire.send(ping.bytes(), end).inspect_err(is_lost)?;
        }
        for at in 0..self.ears.len() {
            loop {
                let heard = self.ears[at].wire.listen(end).inspect_err(is_lost)?;
                match heard {
                    None => {
                        server.note_lost(sent);
                        return Err(Broken("it does not answer in time".to_owned()));
                    }
                    Some(value) if is_pong(&value) => break,
                    Some(value) => self.hear(at, &value)?,
                }
            }
        }
        Ok(())
    }

    /// Hears what there is to be heard, from whichever node.
    fn listen_until(&mut self, end: Instant) -> Result<(), Broken> {
        let server = self.server;
        let is_lost = |_: &Broken| server.note_lost(clock::boot());
        if self.ears.len() == 1 {
            while let Some(value) = self.ears[0].wire.listen(end).inspect_err(is_lost)? {
                self.hear(0, &value)?;
            }
            return Ok(());
        }
        loop {
            for at in 0..self.ears.len() {
                // What has come already; if that is not all of a message, the others are not kept waiting for the rest.
                while let Some(value) = self.ears[at].wire.glance().inspect_err(is_lost)? {
                    self.hear(at, &value)?;
                }
            }
            if Instant::now() >= end {
                return Ok(());
            }
            let wires: Vec<&Wire> = self.ears.iter().map(|ear| &ear.wire).collect();
            Wire::wait_for_any(&wires, end)?;
        }
    }

    /// Whether others prove what this one does: those who were stopped go on. For one beat it does not; a proof lasts for four.
    fn is_needless(&mut self) -> Result<bool, Broken> {
        let before = self.common.proof();
        self.holds_back = true;
        let beaten = self.beat();
        self.holds_back = false;
        beaten.map(|()| before.is_fresh() && self.common.proof().until > before.until)
    }

    /// All that the server had executed when a PING was sent has been heard.
    fn prove(&mut self, sent: u64) -> Result<(), Broken> {
        let bound = clock::millis(self.server.options.staleness);
        let until = sent + bound;
        let Listener { common, fence, .. } = self;
        if common.is_out() {
            common.reached(sent); // others do not reach it
        }
        if let Some(chain) = self.chain {
            if common.prove(chain, fence, until) {
                return Ok(());
            }
            self.chain = None;
        }
        let proof = common.proof();
        if proof.is_fresh() {
            if !common.listens_to(fence) {
                return Err(Broken("others listen to another server".to_owned()));
            }
            // Others listen. As soon as they have heard all from before this connection, this one goes on where they are.
            if proof.until >= self.since + bound && common.prove(proof.chain, fence, until) {
                self.chain = Some(proof.chain);
            }
            return Ok(());
        }
        self.chain = self.begin_chain(proof, until);
        Ok(())
    }

    fn begin_chain(&self, before: Proof, until: u64) -> Option<u16> {
        self.common.begin(before, &self.fence, until, || {
            self.opened.clear_everything();
            if let Some(cluster) = &self.cluster {
                self.server.tell_heard(self.opened, &cluster.heard);
            }
        })
    }

    fn hear(&mut self, at: usize, value: &Value) -> Result<(), Broken> {
        let Value::Array(parts) = value else {
            return Ok(());
        };
        if parts.first() == Some(&Value::BulkString(b"sunsubscribe".to_vec())) {
            return Err(Broken("a slot has moved".to_owned()));
        }
        let [_, _, Value::BulkString(bytes)] = parts.as_slice() else {
            return Ok(());
        };
        let Some((message, origin)) = Message::read(bytes) else {
            return Ok(());
        };
        let own = origin == self.opened.origin();
        match message {
            Message::Key(key) if !own => self
                .opened
                .clear(&self.opened.spot(StoreKey::of_bytes(*key))),
            Message::Function(name) if !own => {
                self.opened.clear_function(self.opened.function(name))
            }
            Message::Everything if !own => self.opened.clear_everything(),
            // It was done before it was said.
            Message::Key(_) | Message::Function(_) | Message::Everything => {}
            Message::Wake => {
                use std::sync::atomic::Ordering;
                self.common.bell().fetch_add(1, Ordering::Release);
                wake(self.common.bell());
            }
            Message::Canary(nonce) if nonce == self.ears[at].canary.nonce => {
                self.ears[at].canary.heard = true;
                self.common.set_lag(self.sent.elapsed());
            }
            Message::Canary(_) => {}
        }
        Ok(())
    }
}

impl Ear {
    /// Listens to a node, or to the server that stands alone, on the channels of these buckets.
    fn begin(
        server: &'static Server,
        node: &'static Node,
        buckets: &[Bucket],
    ) -> Result<Ear, Broken> {
        let (end, options) = (Instant::now() + CONNECT, &server.options);
        let began = clock::boot();
        let connect = || {
            let (mut wire, _) = server.reach(node.address.as_ref(), end)?;
            link::enter(&mut wire, options, end)?;
            let (fence, tells) = link::read_fence(&mut wire, end)?;
            Ok((wire, fence, tells))
        };
        let (mut wire, fence, tells) =
            connect().inspect_err(|_: &Broken| server.note_lost(began))?;
        server.note_reached(node);
        let keys = buckets.iter().map(|bucket| server.names.staleness(*bucket));
        let keys: Vec<_> = keys.collect();
        let agreed = link::agree(&mut wire, &keys, options, end)?;
        if !server.learn(agreed, tells) {
            return Err(Broken(
                "its users have agreed on another staleness, or could not".to_owned(),
            ));
        }
        let subscribe: &[u8] = match options.cluster {
            true => b"SSUBSCRIBE",
            false => b"SUBSCRIBE",
        };
        let mut commands = Commands::default();
        for bucket in buckets {
            commands.add([subscribe, &server.names.channel(*bucket)]);
        }
        let confirmation = Value::BulkString(subscribe.to_ascii_lowercase());
        let message = Value::BulkString(b"smessage".to_vec());
        wire.send(commands.bytes(), end)?;
        let mut lacking = commands.count();
        while lacking > 0 {
            match &wire.receive(end)? {
                Value::Array(said) if said.first() == Some(&confirmation) => lacking -= 1,
                // Told on a channel that was confirmed already. Nothing is proven of before the last of them.
                Value::Array(said) if said.first() == Some(&message) => {}
                other => return Err(Broken(format!("it does not let us listen: {other:?}"))),
            }
        }
        Ok(Ear {
            node,
            wire,
            fence,
            channel: server.names.channel(buckets[0]),
            canary: Canary {
                nonce: 0,
                heard: false,
            },
        })
    }
}

/// Listens to every node of a cluster that has a bucket, as one of them says who that is.
fn listen_to_nodes(server: &'static Server) -> Result<(Vec<Ear>, Cluster), Broken> {
    let view = agent::ask_around(server)?;
    server.see(&view);
    let mut ears = Vec::new();
    let mut heard = Vec::new();
    let mut all = 0;
    for primary in &view.primaries {
        let buckets: Vec<Bucket> = primary.buckets().collect();
        if !buckets.is_empty() {
            let node = server.node_at(&primary.address);
            // Whether it is out of reach is for its agent to find out, and when it is back.
            let ear = Ear::begin(server, node, &buckets).inspect_err(|_| node.ask_for_view())?;
            all += buckets.len();
            heard.push((ear.fence, buckets));
            ears.push(ear);
        }
    }
    if all < BUCKETS {
        return Err(Broken("some of its slots are nobody's".to_owned()));
    }
    let cluster = Cluster {
        shape: view.shape(),
        heard: Heard::new(heard),
    };
    Ok((ears, cluster))
}

fn elsewhere() -> Broken {
    Broken("calls go to another server".to_owned())
}

fn is_pong(value: &Value) -> bool {
    matches!(value, Value::Array(parts) if parts.first() == Some(&Value::BulkString(b"pong".to_vec())))
}
