//! The connection on which clears of other machines are heard: two for each machine, by whichever processes have its `seat`s. What it hears
//! it does to the machine's table; how far that is proven is in `common`.

use std::thread;
use std::time::{Duration, Instant};

use redis::Value;

use super::commands::Commands;
use super::common::Common;
use super::link::{Link, agree, enter, read_fence};
use super::meeting::Meeting;
use super::message::Message;
use super::record::{Fence, random};
use super::seat::{Seat, Silence};
use super::server::Server;
use super::wire::{Broken, Wire};
use crate::clock;
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
    if server.is_away() {
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
    wire: Wire,
    fence: Fence,
    /// When the server had confirmed that it would be told.
    since: u64,
    /// Of the chain that it proves.
    chain: Option<u16>,
    canary: Canary,
    /// It proves nothing, to see whether others do.
    holds_back: bool,
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
        let began = clock::boot();
        let connect = || {
            let mut wire = Wire::connect(&Link::address(options, end)?, options, end)?;
            enter(&mut wire, options, end)?;
            let (fence, tells) = read_fence(&mut wire, end)?;
            Ok((wire, fence, tells))
        };
        let (mut wire, fence, tells) =
            connect().inspect_err(|_: &Broken| server.note_lost(began))?;
        server.note_reached();
        let agreed = agree(&mut wire, options, end)?;
        if !server.learn(agreed, tells) {
            return Err(Broken(
                "its users have agreed on another staleness, or could not".to_owned(),
            ));
        }
        let subscribe = Commands::one([b"SUBSCRIBE", &server.channel()]);
        match wire.ask(&subscribe, end)?.as_slice() {
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
            holds_back: false,
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
        let publish = Commands::one([b"PUBLISH", &self.server.channel(), &message]);
        match self.server.ask(publish, Some(self.fence)) {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err(elsewhere()),
            Err(error) => Err(Broken(error.to_string())),
        }
    }

    /// Whether calls still go to the server that is listened to. This connection may have been left with a former primary, which hears
    /// of no clear any more. Unknown while nobody can ask: then nothing is proven, and nothing lost.
    fn calls_come_here(&self) -> Result<bool, Broken> {
        let ping = Commands::one([b"PING"]);
        match self.server.ask(ping, Some(self.fence)) {
            Ok(Some(_)) => Ok(true),
            Ok(None) => Err(elsewhere()),
            Err(_) => Ok(false),
        }
    }

    /// A PING, all that comes before its PONG, and a pause in which messages are heard too. One PING at a time, or it would be
    /// unknown which of them a PONG answers.
    fn beat(&mut self) -> Result<(), Broken> {
        let bound = self.server.options.staleness;
        let sent = clock::boot();
        let next = Instant::now() + bound / 4;
        let end = Instant::now() + bound;
        self.ping(end)
            .inspect_err(|_| self.server.note_lost(sent))?;
        if self.canary.heard {
            if !self.holds_back && self.calls_come_here()? {
                self.prove(sent)?;
            }
            if self.canary.sent.elapsed() > CANARY {
                self.send_canary()?;
            }
        } else if self.canary.sent.elapsed() > bound {
            return Err(Broken("what is published does not arrive".to_owned()));
        }
        while let Some(value) =
            (self.wire.listen(next)).inspect_err(|_| self.server.note_lost(clock::boot()))?
        {
            self.hear(&value);
        }
        Ok(())
    }

    fn ping(&mut self, end: Instant) -> Result<(), Broken> {
        self.wire.send(Commands::one([b"PING"]).bytes(), end)?;
        loop {
            match self.wire.listen(end)? {
                None => return Err(Broken("it does not answer in time".to_owned())),
                Some(value) if is_pong(&value) => return Ok(()),
                Some(value) => self.hear(&value),
            }
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

fn elsewhere() -> Broken {
    Broken("calls go to another server".to_owned())
}

fn is_pong(value: &Value) -> bool {
    matches!(value, Value::Array(parts) if parts.first() == Some(&Value::BulkString(b"pong".to_vec())))
}
