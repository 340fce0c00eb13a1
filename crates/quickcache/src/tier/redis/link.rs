//! A connection that is ready for use: authenticated, at its database, with the scripts there, and its fence known.

use std::mem;
use std::time::{Duration, Instant};

use redis::Value;

use super::commands::Commands;
use super::look::{self, Look};
use super::names::Names;
use super::options::{Address, LONGEST_STALENESS, Options};
use super::record::Fence;
use super::scripts;
use super::slots::{Bucket, Moved, View};
use super::wire::{Broken, Wire};
use crate::clock;

/// A server that has become another one under a connection is found out within this.
const VERIFIED_FOR: Duration = Duration::from_millis(800);

pub struct Link {
    wire: Wire,
    fence: Fence,
    verified: Instant,
    /// Whether the server says which life of which server it is.
    pub(super) tells: bool,
    /// On which staleness its users have agreed, in milliseconds.
    pub(super) agreed: Option<u64>,
    names: Names,
    /// Nothing, in a place that has been made.
    commands: Commands,
}

/// What came of a request.
#[derive(Clone, Debug)]
pub enum Out {
    /// Nobody tried: the server is known to be out of reach.
    Away,
    /// The connection is lost, and the server out of reach until the agent has found it again.
    Broken(String),
    /// The server answers, and says no.
    Refused(String),
    /// Another node of the cluster is to be asked.
    Moved(Moved),
}

impl std::fmt::Display for Out {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Out::Away => f.write_str("it is out of reach"),
            Out::Broken(why) | Out::Refused(why) => f.write_str(why),
            Out::Moved(moved) => moved.fmt(f),
        }
    }
}

impl From<Broken> for Out {
    fn from(Broken(why): Broken) -> Self {
        Out::Broken(why)
    }
}

/// Commands, and for which server they are meant, if not for any.
pub struct Request {
    commands: Commands,
    of: Option<Fence>,
}

impl Request {
    pub fn new(commands: Commands, of: Option<Fence>) -> Self {
        Request { commands, of }
    }

    fn is_for(&self, fence: &Fence) -> bool {
        self.of.is_none_or(|of| of == *fence)
    }
}

/// What came of a request; nothing, if it was meant for another server.
pub type Outcome = Result<Option<Answer>, Out>;

/// What came of looks and requests that were sent in one go.
pub struct Outcomes {
    pub looked: Vec<look::Outcome>,
    pub outcomes: Vec<Outcome>,
}

/// Replies, none of which is an error, and who gave them.
#[derive(Debug)]
pub struct Answer {
    pub replies: Vec<Value>,
    pub fence: Fence,
}

impl Link {
    /// Makes a connection that leads to this address ready for use. What the node says of its cluster.
    pub fn begin(
        mut wire: Wire,
        address: &Address,
        options: &Options,
        end: Instant,
    ) -> Result<(Link, Option<View>), Broken> {
        enter(&mut wire, options, end)?;
        let (fence, tells) = read_fence(&mut wire, end)?;
        for reply in wire.ask(&scripts::load(), end)? {
            refuse(&reply)?;
        }
        let names = options.names();
        let (view, bucket) = match options.cluster {
            true => {
                require_shards(&mut wire, end)?;
                let view = read_view(&mut wire, address, options, end)?;
                let own = view.primaries.iter().find(|primary| primary.was_asked);
                let bucket = own.and_then(|own| own.buckets().next());
                (Some(view), bucket)
            }
            false => (None, Some(Bucket(0))),
        };
        let agreed = bucket.map(|bucket| names.staleness(bucket));
        let agreed = agree(&mut wire, agreed.as_slice(), options, end)?;
        let link = Link {
            wire,
            fence,
            verified: Instant::now(),
            tells,
            agreed,
            names,
            commands: Commands::default(),
        };
        Ok((link, view))
    }

    /// Where the server is at present.
    pub fn address(options: &Options, end: Instant) -> Result<Address, Broken> {
        match &options.primary {
            None => first(options).cloned(),
            Some(primary) => ask_sentinels(options, primary, end),
        }
    }

    /// Asks again who the server is, if that was long ago. What was closed while it was idle is no outage.
    pub fn verify(&mut self, end: Instant) -> Result<(), Broken> {
        if !self.wire.is_quiet() {
            return Err(Broken("it has ended the connection".to_owned()));
        }
        if self.verified.elapsed() > VERIFIED_FOR {
            (self.fence, self.tells) = read_fence(&mut self.wire, end)?;
            self.verified = Instant::now();
        }
        Ok(())
    }

    /// Sends looks and requests in one go, and awaits the replies to each. A request that is meant for another server is not sent.
    pub fn ask(
        &mut self,
        looks: &[Look],
        requests: &[Request],
        end: Instant,
    ) -> Result<Outcomes, Broken> {
        let mut commands = mem::take(&mut self.commands);
        let by_bucket = look::ByBucket::of(looks, &self.names);
        let bucket = |look: &Look| self.names.bucket(&look.key);
        let mut together = Vec::new();
        for looks in by_bucket.looks.chunk_by(|a, b| bucket(a) == bucket(b)) {
            let before = commands.count();
            look::pack(looks, &self.names, &mut commands);
            together.push((looks, commands.count() - before));
        }
        for request in requests {
            if request.is_for(&self.fence) {
                commands.append(&request.commands);
            }
        }
        if commands.count() > 0 {
            self.wire.send(commands.bytes(), end)?;
        }
        commands.empty();
        self.commands = commands;
        let mut looked = Vec::with_capacity(looks.len());
        for (looks, count) in together {
            let replies = self.receive(count, end)?;
            looked.extend(self.looked(looks, replies)?);
        }
        let looked = by_bucket.in_place(looked);
        let mut outcomes: Vec<Outcome> = Vec::with_capacity(requests.len());
        let mut unknown = Vec::new();
        for (at, request) in requests.iter().enumerate() {
            if !request.is_for(&self.fence) {
                outcomes.push(Ok(None));
                continue;
            }
            let replies = self.receive(request.commands.count(), end)?;
            if replies.iter().any(|reply| code(reply) == Some("NOSCRIPT")) {
                unknown.push(at);
            }
            outcomes.push(self.outcome(replies)?);
        }
        if !unknown.is_empty() {
            // Somebody had it forget the scripts. (What was said before them may be said again.)
            for reply in self.wire.ask(&scripts::load(), end)? {
                refuse(&reply)?;
            }
            for at in unknown {
                let replies = self.wire.ask(&requests[at].commands, end)?;
                outcomes[at] = self.outcome(replies)?;
            }
        }
        Ok(Outcomes { looked, outcomes })
    }

    fn receive(&mut self, count: usize, end: Instant) -> Result<Vec<Value>, Broken> {
        (0..count).map(|_| self.wire.receive(end)).collect()
    }

    fn looked(&self, looks: &[Look], replies: Vec<Value>) -> Result<Vec<look::Outcome>, Broken> {
        let why = match self.outcome(replies)? {
            Ok(Some(answer)) => match look::unpack(looks, self.fence, answer.replies) {
                Some(looked) => return Ok(looked.into_iter().map(Ok).collect()),
                None => unexpected(),
            },
            Ok(None) => unexpected(),
            Err(out) => out,
        };
        Ok(looks.iter().map(|_| Err(why.clone())).collect())
    }

    fn outcome(&self, replies: Vec<Value>) -> Result<Outcome, Broken> {
        for reply in &replies {
            match code(reply) {
                None => {}
                Some(code) if is_out_of_order(code, reply) => return Err(Broken(text(reply))),
                Some(_) => {
                    return Ok(Err(match moved(reply) {
                        Some(moved) => Out::Moved(moved),
                        None => Out::Refused(text(reply)),
                    }));
                }
            }
        }
        Ok(Ok(Some(Answer {
            replies,
            fence: self.fence,
        })))
    }
}

/// Whether the server, and not this one request, is at fault.
fn is_out_of_order(code: &str, reply: &Value) -> bool {
    match code {
        "LOADING" | "READONLY" | "MASTERDOWN" | "NOAUTH" | "WRONGPASS" | "BUSY" => true,
        // That nobody has a slot is no matter of the others.
        "CLUSTERDOWN" => !text(reply).contains("Hash slot not served"),
        _ => false,
    }
}

fn code(reply: &Value) -> Option<&str> {
    match reply {
        Value::ServerError(error) => Some(error.code()),
        _ => None,
    }
}

/// Which node it says is to be asked.
fn moved(reply: &Value) -> Option<Moved> {
    match reply {
        Value::ServerError(error) => Moved::read(error.code(), error.details()?),
        _ => None,
    }
}

fn text(reply: &Value) -> String {
    match reply {
        Value::ServerError(error) => match error.details() {
            Some(details) => format!("{} {details}", error.code()),
            None => error.code().to_owned(),
        },
        _ => "an unexpected reply".to_owned(),
    }
}

pub(super) fn unexpected() -> Out {
    Out::Refused("an unexpected reply".to_owned())
}

fn refuse(reply: &Value) -> Result<(), Broken> {
    match code(reply) {
        Some(_) => Err(Broken(text(reply))),
        None => Ok(()),
    }
}

fn first(options: &Options) -> Result<&Address, Broken> {
    let first = options.addresses.first();
    first.ok_or_else(|| Broken("it has no address".to_owned()))
}

/// The address of the primary, from the first sentinel that knows it.
fn ask_sentinels(options: &Options, primary: &str, end: Instant) -> Result<Address, Broken> {
    let mut last = Broken("no sentinel knows it".to_owned());
    for address in &options.addresses {
        match ask_sentinel(address, options, primary, end) {
            Ok(Some(address)) => return Ok(address),
            Ok(None) => {}
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn ask_sentinel(
    address: &Address,
    options: &Options,
    primary: &str,
    end: Instant,
) -> Result<Option<Address>, Broken> {
    // Half of what is left for each, so that one that is silent does not use up all of it.
    let end = Instant::now() + end.saturating_duration_since(Instant::now()) / 2;
    let mut wire = Wire::connect(address, options, end)?;
    if let Some(password) = &options.sentinel_password {
        wire.ask(&Commands::one([b"AUTH", password.as_bytes()]), end)?
            .iter()
            .try_for_each(refuse)?;
    }
    let question = Commands::one([b"SENTINEL", b"get-master-addr-by-name", primary.as_bytes()]);
    let replies = wire.ask(&question, end)?;
    replies.iter().try_for_each(refuse)?;
    let Some(Value::Array(of)) = replies.into_iter().next() else {
        return Ok(None);
    };
    match of.as_slice() {
        [Value::BulkString(host), Value::BulkString(port)] => {
            let host = String::from_utf8_lossy(host).into_owned();
            let port = String::from_utf8_lossy(port).parse();
            Ok(port.ok().map(|port| Address::Tcp(host, port)))
        }
        _ => Ok(None),
    }
}

/// Says who we are, and to which database we want.
pub fn enter(wire: &mut Wire, options: &Options, end: Instant) -> Result<(), Broken> {
    let mut commands = Commands::default();
    if let Some(password) = &options.password {
        match &options.user {
            Some(user) => commands.add([b"AUTH", user.as_bytes(), password.as_bytes()]),
            None => commands.add([b"AUTH", password.as_bytes()]),
        }
    }
    if options.database != 0 {
        commands.add([b"SELECT", options.database.to_string().as_bytes()]);
    }
    if commands.count() > 0 {
        for reply in wire.ask(&commands, end)? {
            refuse(&reply)?;
        }
    }
    Ok(())
}

/// All that use the server have one staleness, or a clear that waits would wait too short: the one that was said first, in milliseconds, under
/// each of these keys. If they differ, one that is not ours. `None`: it could not be written down.
pub fn agree(
    wire: &mut Wire,
    keys: &[Vec<u8>],
    options: &Options,
    end: Instant,
) -> Result<Option<u64>, Broken> {
    let mine = clock::millis(options.staleness);
    let text = mine.to_string();
    let mut commands = Commands::default();
    for key in keys {
        commands.add([b"SET", key, text.as_bytes(), b"NX"]);
        commands.add([b"GET", key]);
    }
    let replies = wire.ask(&commands, end)?;
    let mut all = None;
    for (replies, key) in replies.chunks(2).zip(keys) {
        // A server that is full refuses to set what is set already.
        let agreed: u64 = match replies {
            [_, Value::BulkString(agreed)] => {
                let agreed: Option<u64> = String::from_utf8_lossy(agreed).parse().ok();
                let longest = clock::millis(LONGEST_STALENESS);
                let agreed = agreed.filter(|agreed| *agreed <= longest);
                agreed.ok_or_else(|| {
                    let key = String::from_utf8_lossy(key);
                    Broken(format!("{key} is no number of milliseconds up to a day"))
                })?
            }
            // Its slot is on its way, or was while we asked.
            [_, got] if moved(got).is_some() => continue,
            [set, got] => {
                refuse(got)?;
                if code(set) == Some("NOPERM") {
                    refuse(set)?;
                }
                continue;
            }
            _ => return Err(Broken("an unexpected reply".to_owned())),
        };
        if all.is_none() || agreed != mine {
            all = Some(agreed);
        }
    }
    Ok(all)
}

/// Channels that stay with the node of their slot came with version 7.
fn require_shards(wire: &mut Wire, end: Instant) -> Result<(), Broken> {
    let replies = wire.ask(&Commands::one([b"INFO", b"server"]), end)?;
    let info = match replies.as_slice() {
        [Value::BulkString(bytes)] => String::from_utf8_lossy(bytes).into_owned(),
        _ => String::new(),
    };
    let version = info
        .lines()
        .find_map(|line| line.strip_prefix("redis_version:"));
    let major = version.and_then(|version| version.split('.').next()?.parse().ok());
    match major {
        Some(..7_u32) => Err(Broken("a cluster must be of version 7 or newer".to_owned())),
        _ => Ok(()),
    }
}

/// What a node says of its cluster.
pub fn read_view(
    wire: &mut Wire,
    address: &Address,
    options: &Options,
    end: Instant,
) -> Result<View, Broken> {
    let replies = wire.ask(&view(), end)?;
    replies.iter().try_for_each(refuse)?;
    viewed(&replies, address, options).ok_or_else(|| Broken("an unexpected reply".to_owned()))
}

/// The question what a node says of its cluster.
pub fn view() -> Commands {
    Commands::one([b"CLUSTER", b"NODES"])
}

/// What the reply to that says, of the node at this address.
pub fn viewed(replies: &[Value], address: &Address, options: &Options) -> Option<View> {
    let text = match replies {
        [Value::BulkString(bytes)] => String::from_utf8_lossy(bytes),
        [Value::VerbatimString { text, .. }] => text.into(),
        _ => return None,
    };
    // A certificate is for a name.
    View::read(&text, address, options.tls.is_some())
}

/// Which life of which server this is, and whether it says so. It must be a primary.
pub fn read_fence(wire: &mut Wire, end: Instant) -> Result<(Fence, bool), Broken> {
    let mut commands = Commands::one([b"INFO", b"server"]);
    commands.add([b"INFO", b"replication"]);
    let replies = wire.ask(&commands, end)?;
    let mut all = String::new();
    for reply in &replies {
        refuse(reply)?;
        match reply {
            Value::BulkString(bytes) => all.push_str(&String::from_utf8_lossy(bytes)),
            Value::VerbatimString { text, .. } => all.push_str(text),
            _ => return Err(Broken(text(reply))),
        }
    }
    let field = |name: &str| {
        let line = all.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.strip_prefix(':'))
    };
    if field("role").is_some_and(|role| role != "master") {
        return Err(Broken("it is a replica".to_owned()));
    }
    let (life, tells) = match (field("run_id"), field("master_replid")) {
        (Some(run), Some(replication)) => (format!("{run} {replication}"), true),
        // A service that hides them: its restarts are not seen (docs/redis.md).
        _ => ("unknown".to_owned(), false),
    };
    let hash = blake3::hash(life.as_bytes());
    let mut fence = [0; 16];
    fence.copy_from_slice(&hash.as_bytes()[..16]);
    Ok((fence, tells))
}
