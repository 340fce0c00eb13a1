//! How the protocol that is written by hand hears of clears: a connection to each server, all of which must have answered before anything is proven.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use quickcache_testing::{Connection, Error, Reply, resp};

use super::mutant::Mutant;
use super::protocol::{Memory, channel};
use super::servers::{Link, Servers, addresses, lock, owner, shares};
use super::worker::STALENESS;
use crate::history::now;

/// The pause between two beats.
const PAUSE: Duration = Duration::from_millis(50);

/// What one process listens to.
pub struct Ears {
    pub servers: Arc<Servers>,
    pub memory: Arc<Memory>,
    /// Of how many keys.
    pub keys: usize,
    /// The number of the process.
    pub own: usize,
}

/// One server.
struct Ear {
    connection: Connection,
    /// In a cluster it is asked on this one who has what.
    asks: Option<Link>,
}

impl Ears {
    /// Hears clears for as long as the process lives.
    pub fn open(self) {
        thread::spawn(move || {
            loop {
                // It is made again when it breaks.
                let _ = self.hear();
                thread::sleep(Duration::from_millis(20));
            }
        });
    }

    fn hear(&self) -> Result<(), Error> {
        let Ears {
            servers, memory, ..
        } = self;
        let seen = servers.see()?;
        let (mut ears, mut fences) = (Vec::new(), Vec::new());
        for address in addresses(&seen) {
            let Link {
                mut connection,
                fence,
                ..
            } = servers.connect(&address)?;
            for channel in self.channels() {
                if owner(&seen, &channel).as_ref() == Some(&address) {
                    connection.command(&[self.subscribe(), &channel])?;
                }
            }
            connection.patience(STALENESS / 4)?;
            let asks = match servers.are_a_cluster() {
                true => Some(servers.connect(&address)?),
                false => None,
            };
            fences.push(fence);
            ears.push(Ear { connection, asks });
        }
        if servers.mutant != Mutant::Gap {
            // Nobody knows what was cleared in between.
            memory.connection.fetch_add(1, Ordering::SeqCst);
        }
        (*lock(&memory.fences)).clone_from(&fences);
        loop {
            let sent = now();
            if servers.mutant == Mutant::Part {
                ears.retain_mut(|ear| self.beat(ear, sent).is_ok());
                if ears.is_empty() {
                    return Ok(());
                }
            } else {
                for ear in &mut ears {
                    self.beat(ear, sent)?;
                }
            }
            if servers.mutant != Mutant::Slot {
                for link in ears.iter_mut().filter_map(|ear| ear.asks.as_mut()) {
                    if shares(&mut link.connection)? != seen {
                        return Ok(());
                    }
                }
            }
            match self.calls_come_to(&fences) {
                Some(true) => memory.proof.store(sent, Ordering::SeqCst),
                Some(false) => return Ok(()),
                // Nobody can ask: nothing is proven, and nothing lost.
                None => {}
            }
            thread::sleep(PAUSE);
        }
    }

    /// Whether calls still go to the server that is listened to; the nodes of a cluster have said it themselves.
    fn calls_come_to(&self, fences: &[String]) -> Option<bool> {
        if self.servers.are_a_cluster() || self.servers.mutant == Mutant::Former {
            return Some(true);
        }
        let asked = self.servers.ask("", |calls, _| calls.command(&["PING"]));
        asked.map(|(_, fence)| fences.contains(&fence))
    }

    fn subscribe(&self) -> &'static str {
        match self.servers.are_a_cluster() {
            true => "SSUBSCRIBE",
            false => "SUBSCRIBE",
        }
    }

    /// Those on which clears are told of what this process has in memory.
    fn channels(&self) -> Vec<String> {
        let all =
            (0..self.keys).map(|key| channel(&self.servers, super::protocol::NEAR, key as u64));
        let mut all: Vec<String> = all.collect();
        all.dedup();
        all
    }

    /// A PING, and all that comes before its PONG.
    fn beat(&self, ear: &mut Ear, sent: u64) -> Result<(), Error> {
        ear.connection.send(&resp::command(&["PING"]))?;
        loop {
            match ear.connection.receive() {
                Ok(reply) if is(&reply, "pong") => return Ok(()),
                Ok(reply) if is(&reply, "sunsubscribe") && self.servers.mutant != Mutant::Slot => {
                    return Err(Error::Malformed("a slot has moved"));
                }
                Ok(reply) => self.heard(&reply),
                Err(error) if is_silence(&error) && now() - sent < 250_000_000 => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn heard(&self, reply: &Reply) {
        let Reply::Array(parts) = reply else { return };
        let [_, _, Reply::Bulk(message)] = parts.as_slice() else {
            return;
        };
        let message = String::from_utf8_lossy(message);
        let parts = message.split_once(' ');
        let of = parts.and_then(|(of, key)| Some((of.parse::<usize>().ok()?, key.parse().ok()?)));
        // One's own was done when it was said.
        if let Some((of, key)) = of
            && of != self.own
        {
            self.memory.clear(key);
        }
    }
}

fn is_silence(error: &Error) -> bool {
    use std::io::ErrorKind::{TimedOut, WouldBlock};
    matches!(error, Error::Io(error) if matches!(error.kind(), WouldBlock | TimedOut))
}

/// Whether it is a message of this kind.
fn is(reply: &Reply, kind: &str) -> bool {
    matches!(reply, Reply::Array(parts) if parts.first() == Some(&Reply::Bulk(kind.as_bytes().to_vec())))
}
