//! The connection on which clears of other machines are heard: two for each machine at most, by whichever processes are first, so that
//! one that dies or is stopped leaves nobody deaf. What it hears it does to the machine's table; how far that is proven is in `common`.

use std::fs::File;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use redis::Value;

use super::common::Common;
use super::link::{Link, enter, read_fence};
use super::message::Message;
use super::record::{Fence, random};
use super::scripts;
use super::server::Server;
use super::wire::{Broken, Wire};
use crate::clock;
use crate::tier::store::proof::Proof;
use crate::tier::store::{Opened, Shared, StoreKey, lock, wake};

/// How many processes of a machine listen.
const SEATS: u8 = 2;

/// How often it is tried whether what is published arrives.
const CANARY: Duration = Duration::from_secs(10);

/// The longest that connecting may take.
const CONNECT: Duration = Duration::from_secs(1);

/// Locks of seats, which the child of a fork lets go of.
static SEATED: Mutex<Vec<File>> = Mutex::new(Vec::new());

/// Listens for as long as the process lives.
pub(super) fn start(server: &'static Server, shared: &'static Shared) -> bool {
    let thread = thread::Builder::new().name("quickcache-clears".to_owned());
    thread.spawn(move || run(server, shared)).is_ok()
}

/// Its lock, held until this is dropped: for the moment of a fork.
#[cfg(unix)]
pub(super) fn hold() -> impl Sized {
    lock(&SEATED)
}

#[cfg(unix)]
pub(super) fn forget() {
    lock(&SEATED).clear();
}

fn run(server: &'static Server, shared: &'static Shared) {
    let bound = server.options.staleness;
    loop {
        let heard = match shared.open() {
            Some(_) => match server.meeting(shared) {
                Some(meeting) => listen_in_turn(server, meeting.opened(), meeting.common()),
                None => return, // told by who asked first
            },
            None => Ok(()),
        };
        if let Err(Broken(why)) = heard {
            log::debug!(target: "quickcache", "{server:?}: listening for clears ended: {why}");
        }
        thread::sleep(bound / 4);
    }
}

/// Listens, if there is a seat; or if nobody is heard of, seat or not: those who have them may be stopped.
fn listen_in_turn(
    server: &'static Server,
    opened: &'static Opened,
    common: Common,
) -> Result<(), Broken> {
    let bound = clock::millis(server.options.staleness);
    if server.is_away() {
        return Ok(());
    }
    for seat in 0..SEATS {
        let name = format!("listener-{:016x}-{seat}", server.id());
        let Ok(file) = opened.seat(&name) else {
            continue;
        };
        if file.try_lock().is_ok() {
            let taken = file.try_clone();
            lock(&SEATED).extend(taken);
            let heard = listen(server, opened, common);
            lock(&SEATED).clear();
            return heard;
        }
    }
    match common.is_proven(4 * bound) {
        true => Ok(()),
        false => listen(server, opened, common),
    }
}

/// One connection, from its beginning to its end.
fn listen(server: &'static Server, opened: &'static Opened, common: Common) -> Result<(), Broken> {
    let mut listener = Listener::begin(server, opened, common)?;
    while !opened.is_left() {
        listener.beat()?;
    }
    Ok(())
}

struct Listener {
    server: &'static Server,
    opened: &'static Opened,
    common: Common,
    wire: Wire,
    fence: Fence,
    /// When the server had confirmed that it would be told.
    since: u64,
    /// Of the chain that it proves.
    chain: Option<u16>,
    canary: Canary,
}

/// What is published to oneself.
struct Canary {
    nonce: u64,
    sent: Instant,
    heard: bool,
}

impl Listener {
    fn begin(
        server: &'static Server,
        opened: &'static Opened,
        common: Common,
    ) -> Result<Self, Broken> {
        let end = Instant::now() + CONNECT;
        let options = &server.options;
        let mut wire = Wire::connect(&Link::address(options, end)?, options, end)?;
        enter(&mut wire, options, end)?;
        let fence = read_fence(&mut wire, end)?;
        agree(&mut wire, server, end)?;
        let mut subscribe = redis::cmd("SUBSCRIBE");
        subscribe.arg(server.channel());
        match wire.ask(&scripts::one(subscribe), end)?.as_slice() {
            [Value::Array(confirmed)]
                if confirmed.first() == Some(&Value::BulkString(b"subscribe".to_vec())) => {}
            other => return Err(Broken(format!("it does not let us listen: {other:?}"))),
        }
        let mut listener = Listener {
            server,
            opened,
            common,
            wire,
            fence,
            since: clock::boot(),
            chain: None,
            canary: Canary {
                nonce: 0,
                sent: Instant::now(),
                heard: false,
            },
        };
        listener.send_canary()?;
        Ok(listener)
    }

    /// Publishes something by way of the connections that calls use: that it arrives shows that both lead to the same server, and that
    /// this one is not deaf.
    fn send_canary(&mut self) -> Result<(), Broken> {
        self.canary = Canary {
            nonce: random(),
            sent: Instant::now(),
            heard: false,
        };
        let message = Message::Canary(self.canary.nonce).bytes(&self.opened.origin());
        let mut publish = redis::cmd("PUBLISH");
        publish.arg(self.server.channel()).arg(message);
        match self.server.ask(&scripts::one(publish), Some(self.fence)) {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err(Broken("calls go to another server".to_owned())),
            Err(error) => Err(Broken(error.to_string())),
        }
    }

    /// A PING, all that comes before its PONG, and a pause in which messages are heard too. One PING at a time, or it would be
    /// unknown which of them a PONG answers.
    fn beat(&mut self) -> Result<(), Broken> {
        let bound = self.server.options.staleness;
        let sent = clock::boot();
        let next = Instant::now() + bound / 4;
        let end = Instant::now() + bound;
        let ping = redis::cmd("PING").get_packed_command();
        self.wire.send(&ping, end)?;
        loop {
            match self.wire.listen(end)? {
                None => return Err(Broken("it does not answer in time".to_owned())),
                Some(value) if is_pong(&value) => break,
                Some(value) => self.hear(&value),
            }
        }
        if self.canary.heard {
            self.prove(sent)?;
            if self.canary.sent.elapsed() > CANARY {
                self.send_canary()?;
            }
        } else if self.canary.sent.elapsed() > bound {
            return Err(Broken("what is published does not arrive".to_owned()));
        }
        while let Some(value) = self.wire.listen(next)? {
            self.hear(&value);
        }
        Ok(())
    }

    /// All that the server had executed at a moment has been heard.
    fn prove(&mut self, millis: u64) -> Result<(), Broken> {
        let Listener { common, fence, .. } = self;
        if let Some(chain) = self.chain {
            if common.prove(chain, fence, millis) {
                return Ok(());
            }
            self.chain = None;
        }
        let proof = common.proof();
        if proof.is_fresh(clock::millis(self.server.options.staleness)) {
            if !common.listens_to(fence) {
                return Err(Broken("others listen to another server".to_owned()));
            }
            // Others listen. As soon as they have heard all from before this connection, this one goes on where they are.
            if proof.millis >= self.since && common.prove(proof.chain, fence, millis) {
                self.chain = Some(proof.chain);
            }
            return Ok(());
        }
        self.chain = self.begin_chain(proof, millis);
        Ok(())
    }

    fn begin_chain(&self, before: Proof, millis: u64) -> Option<u16> {
        self.common.begin(before, &self.fence, millis, || {
            self.opened.clear_everything()
        })
    }

    fn hear(&mut self, value: &Value) {
        let Value::Array(parts) = value else { return };
        let [_, _, Value::BulkString(bytes)] = parts.as_slice() else {
            return;
        };
        let Some((message, origin)) = Message::read(bytes) else {
            return;
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
            Message::Canary(nonce) if nonce == self.canary.nonce => {
                self.canary.heard = true;
                self.common.set_lag(self.canary.sent.elapsed());
            }
            Message::Canary(_) => {}
        }
    }
}

fn is_pong(value: &Value) -> bool {
    matches!(value, Value::Array(parts) if parts.first() == Some(&Value::BulkString(b"pong".to_vec())))
}

/// All that use the server have one bound, or a clear that waits would wait too short.
fn agree(wire: &mut Wire, server: &Server, end: Instant) -> Result<(), Broken> {
    let mine = clock::millis(server.options.staleness).to_string();
    let key = format!("{}:staleness", server.options.namespace);
    let mut pipeline = redis::pipe();
    pipeline.cmd("SET").arg(&key).arg(&mine).arg("NX");
    pipeline.cmd("GET").arg(&key);
    let replies = wire.ask(&pipeline, end)?;
    match replies.as_slice() {
        [_, Value::BulkString(agreed)] if *agreed == mine.as_bytes() => Ok(()),
        [_, Value::BulkString(agreed)] => {
            let agreed = String::from_utf8_lossy(agreed);
            server.disagrees(&agreed);
            Err(Broken(format!(
                "its users have agreed on a staleness of {agreed} ms"
            )))
        }
        _ => Err(Broken(
            "it does not say on which staleness its users agreed".to_owned(),
        )),
    }
}
