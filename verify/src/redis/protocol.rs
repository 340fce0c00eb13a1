//! The protocol written a second time, small and by hand, against the same real server: with one thing left out it is a mutant. It shares no
//! code with the library. Every process is a machine of its own here.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::ears::Ears;
use super::mutant::Mutant;
use super::servers::{Servers, lock};
use super::subject::{Kind, Subject};
use super::worker::{Orders, STALENESS};
use crate::history::{Choices, MOST_KEYS, now};
use crate::worker::execute;

/// How long memory and Redis keep a value; longer than the bound.
const MEMORY: u64 = 3_000_000_000;
const REDIS: &str = "10000";

/// The functions with memory.
pub const NEAR: usize = 1;

const CLAIM: &str = "local held = redis.call('GET', KEYS[1])
if held and string.sub(held, 3, 42) == ARGV[1] then
  if string.sub(held, 1, 1) == 'V' then return held end
  return 'wait'
end
redis.call('SET', KEYS[1], 'L ' .. ARGV[1] .. ' ' .. ARGV[2], 'PX', 3000)
return 'lead'";

const FILL: &str =
    "if redis.call('GET', KEYS[1]) ~= 'L ' .. ARGV[1] .. ' ' .. ARGV[2] then return 0 end
redis.call('SET', KEYS[1], 'V ' .. ARGV[1] .. ' ' .. ARGV[3], 'PX', ARGV[4])
return 1";

const CLEAR: &str = "redis.call('DEL', KEYS[1]) redis.call(ARGV[3], ARGV[1], ARGV[2]) return 1";

pub fn kinds(mutant: Mutant, orders: &Orders) -> Vec<Kind> {
    let servers = Arc::new(Servers::new(mutant, orders));
    let at = |family: usize, has_memory: bool| Protocol {
        mutant,
        family,
        has_memory,
        number: orders.number,
        servers: servers.clone(),
        flights: Mutex::default(),
        choices: Mutex::new(Choices(orders.seed)),
        memory: Arc::new(Memory::default()),
    };
    let (bare, near) = (at(0, false), at(NEAR, true));
    let ears = Ears {
        servers: servers.clone(),
        memory: near.memory.clone(),
        keys: orders.keys,
        own: orders.number,
    };
    ears.open();
    let kind = |protocol: Protocol| Kind {
        family: protocol.family,
        has_memory: protocol.has_memory,
        subject: Box::new(protocol),
    };
    vec![kind(bare), kind(near)]
}

struct Protocol {
    mutant: Mutant,
    family: usize,
    has_memory: bool,
    number: usize,
    servers: Arc<Servers>,
    flights: Mutex<HashMap<u64, Arc<Flight>>>,
    choices: Mutex<Choices>,
    memory: Arc<Memory>,
}

/// The channel on which clears of a key are told: one for all, or in a cluster of its slot.
pub fn channel(servers: &Servers, family: usize, key: u64) -> String {
    match servers.are_a_cluster() {
        true => format!("clears:{{{family}:{key}}}"),
        false => "clears".to_owned(),
    }
}

/// What this process has, and what it has heard.
pub struct Memory {
    entries: Mutex<HashMap<u64, Entry>>,
    generations: [AtomicU64; MOST_KEYS],
    /// Until when all clears have been heard, by the connections of this number, and to which servers those lead.
    pub proof: AtomicU64,
    pub connection: AtomicU64,
    pub fences: Mutex<Vec<String>>,
}

impl Default for Memory {
    fn default() -> Self {
        Memory {
            entries: Mutex::default(),
            generations: [const { AtomicU64::new(0) }; MOST_KEYS],
            proof: AtomicU64::new(0),
            connection: AtomicU64::new(0),
            fences: Mutex::default(),
        }
    }
}

#[derive(Clone, Copy)]
struct Entry {
    version: u64,
    stamp: Stamp,
    until: u64,
}

/// Generation of the key, and number of the connection.
type Stamp = (u64, u64);

struct Flight {
    stamp: Stamp,
    /// A version, and from when on it counts.
    landed: Mutex<Option<(u64, u64)>>,
    bell: Condvar,
}

impl Memory {
    fn stamp(&self, key: u64) -> Stamp {
        let generation = self.generations[key as usize].load(Ordering::SeqCst);
        (generation, self.connection.load(Ordering::SeqCst))
    }

    pub fn clear(&self, key: u64) {
        self.generations[key as usize].fetch_add(1, Ordering::SeqCst);
        lock(&self.entries).remove(&key);
    }

    fn is_proven(&self) -> bool {
        now() < self.proof.load(Ordering::SeqCst) + STALENESS.as_nanos() as u64
    }
}

impl Protocol {
    fn key(&self, key: u64) -> String {
        format!("k:{{{}:{key}}}", self.family)
    }

    fn clear_in_redis(&self, key: u64) -> bool {
        let message = format!("{} {key}", self.number);
        let (name, channel) = (self.key(key), channel(&self.servers, self.family, key));
        let publish = match self.servers.are_a_cluster() {
            true => "SPUBLISH",
            false => "PUBLISH",
        };
        let words = ["EVAL", CLEAR, "1", &name, &channel, &message, publish];
        let cleared = self
            .servers
            .ask(&name, |connection, _| connection.command(&words));
        cleared.is_some() || self.mutant == Mutant::Applied
    }

    fn in_memory(&self, key: u64) -> Option<u64> {
        let memory = &self.memory;
        let entry = |memory: &Memory| lock(&memory.entries).get(&key).copied();
        let counts = |entry: &Entry| now() < entry.until && entry.stamp == memory.stamp(key);
        match self.mutant {
            Mutant::Timeout => entry(memory).filter(|entry| now() < entry.until),
            Mutant::Proof => {
                let found = entry(memory).filter(counts)?;
                // The moment in which it matters is short: wait for it.
                if !memory.is_proven() && lock(&self.choices).below(2) == 0 {
                    thread::sleep(Duration::from_millis(5));
                }
                memory.is_proven().then_some(found)
            }
            _ => match memory.is_proven() {
                true => entry(memory).filter(counts),
                false => None,
            },
        }
        .map(|entry| entry.version)
    }

    /// The version that Redis has or an execution read, from when on it counts, and who said so.
    fn lead(&self, key: u64) -> (u64, u64, Option<String>) {
        let name = self.key(key);
        let token = format!("{} {}", self.number, lock(&self.choices).next());
        let end = now() + 300_000_000;
        while now() < end {
            let since = now();
            let claimed = self.servers.ask(&name, |connection, fence| {
                let words = ["EVAL", CLAIM, "1", &name, fence, &token];
                Ok(connection.command(&words)?.text())
            });
            let Some((reply, fence)) = claimed else { break };
            match reply.as_str() {
                "wait" => thread::sleep(Duration::from_millis(2)),
                "lead" => return self.compute_and_fill(key, &name, &token, fence),
                value => {
                    let version = value.rsplit(' ').next().and_then(|text| text.parse().ok());
                    return (version.expect("a version"), since, Some(fence));
                }
            }
        }
        let since = now();
        (execute(key), since, None)
    }

    fn compute_and_fill(
        &self,
        key: u64,
        name: &str,
        token: &str,
        leased: String,
    ) -> (u64, u64, Option<String>) {
        let began = now();
        let version = execute(key);
        let since = now();
        let text = version.to_string();
        let filled = self.servers.ask(name, |connection, fence| {
            let value = format!("V {leased} {text}");
            let plain = ["SET", name, &value, "PX", REDIS];
            let words = ["EVAL", FILL, "1", name, &leased, token, &text, REDIS];
            if self.mutant == Mutant::Fill {
                return connection.command(&plain).map(|_| true);
            }
            if *fence != leased {
                return Ok(false);
            }
            Ok(connection.command(&words)?.int() == 1)
        });
        match filled {
            Some((true, _)) => (version, since, Some(leased)),
            _ => (version, began, None),
        }
    }

    fn fly(&self, key: u64, stamp: Stamp, flight: &Flight) -> u64 {
        let (version, since, fence) = self.lead(key);
        // Kept if it is of the server whose clears are heard.
        let heard = fence.is_some_and(|fence| lock(&self.memory.fences).contains(&fence));
        if self.has_memory && (heard || self.mutant == Mutant::Timeout) {
            let until = now() + MEMORY;
            let entry = Entry {
                version,
                stamp,
                until,
            };
            lock(&self.memory.entries).insert(key, entry);
        }
        *lock(&flight.landed) = Some((version, since));
        flight.bell.notify_all();
        version
    }
}

impl Subject for Protocol {
    fn call(&self, key: u64) -> u64 {
        let began = now();
        loop {
            if self.has_memory
                && let Some(version) = self.in_memory(key)
            {
                return version;
            }
            let stamp = self.memory.stamp(key);
            let (flight, leads) = {
                let mut flights = lock(&self.flights);
                match flights.get(&key) {
                    Some(flight) if flight.stamp == stamp => (flight.clone(), false),
                    _ => {
                        let flight = Arc::new(Flight {
                            stamp,
                            landed: Mutex::default(),
                            bell: Condvar::new(),
                        });
                        flights.insert(key, flight.clone());
                        (flight, true)
                    }
                }
            };
            if leads {
                let version = self.fly(key, stamp, &flight);
                let mut flights = lock(&self.flights);
                if flights
                    .get(&key)
                    .is_some_and(|own| Arc::ptr_eq(own, &flight))
                {
                    flights.remove(&key);
                }
                return version;
            }
            let landed = flight
                .bell
                .wait_while(lock(&flight.landed), |landed| landed.is_none())
                .unwrap_or_else(PoisonError::into_inner);
            if let Some((version, since)) = *landed
                && (began <= since || self.mutant == Mutant::Join)
            {
                return version;
            }
        }
    }

    fn call_anew(&self, key: u64) -> u64 {
        self.call(key)
    }

    fn refresh(&self, key: u64) -> u64 {
        self.call(key)
    }

    fn peek(&self, key: u64) -> Option<u64> {
        self.in_memory(key).filter(|_| self.has_memory)
    }

    fn set(&self, _key: u64, _version: u64) {}

    fn drop_midway(&self, _key: u64) -> bool {
        false
    }

    fn clear(&self, key: u64, wait: bool) -> bool {
        let applied = if self.mutant == Mutant::Order {
            self.memory.clear(key);
            self.clear_in_redis(key)
        } else {
            let applied = self.clear_in_redis(key);
            self.memory.clear(key);
            applied
        };
        if applied && wait {
            thread::sleep(STALENESS + Duration::from_millis(5));
        }
        applied
    }

    fn clear_all(&self) -> Option<bool> {
        None
    }

    fn clear_everything(&self) -> bool {
        false
    }
}
