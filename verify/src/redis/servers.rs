//! Where the protocol that is written by hand finds its server, or the nodes of a cluster.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quickcache_testing::{Connection, Error};

use super::cluster::{PASSWORD, user};
use super::mutant::Mutant;
use super::worker::Orders;

/// The longest that a command takes.
const BUDGET: Duration = Duration::from_millis(100);

const SLOTS: u16 = 16_384;

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub struct Servers {
    pub mutant: Mutant,
    seeds: Vec<String>,
    /// Who it is at the nodes of a cluster; `None`: there is one server.
    user: Option<String>,
    links: Mutex<Vec<Link>>,
    shares: Mutex<Shares>,
}

/// First and last slot, and where they are.
pub type Shares = Vec<(u16, u16, String)>;

/// A connection, and which life of which server it leads to.
pub struct Link {
    pub connection: Connection,
    pub fence: String,
    address: String,
}

impl Servers {
    pub fn new(mutant: Mutant, orders: &Orders) -> Servers {
        Servers {
            mutant,
            seeds: orders.address.split(',').map(str::to_owned).collect(),
            user: orders.cluster.then(|| user(orders.machine())),
            links: Mutex::default(),
            shares: Mutex::default(),
        }
    }

    pub fn are_a_cluster(&self) -> bool {
        self.user.is_some()
    }

    pub fn connect(&self, address: &str) -> Result<Link, Error> {
        let mut connection = Connection::tcp(address)?;
        connection.patience(BUDGET)?;
        if let Some(user) = &self.user {
            connection.command(&["AUTH", user, PASSWORD])?;
        }
        let fence = fence(&mut connection, self.mutant)?;
        Ok(Link {
            connection,
            fence,
            address: address.to_owned(),
        })
    }

    /// Who has what, as the first node says that can be asked.
    pub fn see(&self) -> Result<Shares, Error> {
        if !self.are_a_cluster() {
            return Ok(vec![(0, SLOTS - 1, self.seeds[0].clone())]);
        }
        let mut places = addresses(&lock(&self.shares));
        places.extend(self.seeds.iter().cloned());
        let mut last = Error::from(io::Error::from(io::ErrorKind::NotFound));
        for place in places {
            let seen = self.connect(&place);
            match seen.and_then(|mut link| shares(&mut link.connection)) {
                Ok(shares) => {
                    (*lock(&self.shares)).clone_from(&shares);
                    return Ok(shares);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Asks whoever has a key, on a connection that is given back if all went well; once more, if another one has it by now.
    pub fn ask<T>(
        &self,
        key: &str,
        mut question: impl FnMut(&mut Connection, &str) -> Result<T, Error>,
    ) -> Option<(T, String)> {
        for _ in 0..2 {
            let known = lock(&self.shares).clone();
            let address = match owner(&known, key) {
                Some(address) => address,
                None => owner(&self.see().ok()?, key)?,
            };
            let idle = {
                let mut links = lock(&self.links);
                let at = links.iter().position(|link| link.address == address);
                at.map(|at| links.swap_remove(at))
            };
            let link = match idle {
                Some(link) => Ok(link),
                None => self.connect(&address),
            };
            let asked = link.and_then(|mut link| {
                let reply = question(&mut link.connection, &link.fence)?;
                Ok((reply, link))
            });
            match asked {
                Ok((reply, link)) => {
                    let fence = link.fence.clone();
                    lock(&self.links).push(link);
                    return Some((reply, fence));
                }
                Err(error) => {
                    let is_elsewhere =
                        matches!(&error, Error::Reply(why) if why.starts_with("MOVED"));
                    // Whether anybody can be asked is found out by the next call.
                    let _ = self.see();
                    if !is_elsewhere {
                        return None;
                    }
                }
            }
        }
        None
    }
}

/// Each once.
pub fn addresses(shares: &Shares) -> Vec<String> {
    let mut all: Vec<String> = shares.iter().map(|(_, _, at)| at.clone()).collect();
    all.sort();
    all.dedup();
    all
}

/// Where a key is.
pub fn owner(shares: &Shares, key: &str) -> Option<String> {
    let slot = slot(key);
    let share = shares
        .iter()
        .find(|(first, last, _)| (*first..=*last).contains(&slot))?;
    Some(share.2.clone())
}

/// By what stands between braces.
fn slot(key: &str) -> u16 {
    let tag = key.split(['{', '}']).nth(1).unwrap_or(key);
    let crc = tag.bytes().fold(0_u16, |crc, byte| {
        (0..8).fold(crc ^ u16::from(byte) << 8, |crc, _| {
            (crc << 1) ^ if crc & 0x8000 == 0 { 0 } else { 0x1021 }
        })
    });
    crc % SLOTS
}

/// Who has what, as this node sees it.
pub fn shares(connection: &mut Connection) -> Result<Shares, Error> {
    let seen = connection.command(&["CLUSTER", "SLOTS"])?;
    let share = |share: &quickcache_testing::Reply| {
        let share = share.items();
        let node = share[2].items();
        let address = format!("{}:{}", node[0].text(), node[1].int());
        (share[0].int() as u16, share[1].int() as u16, address)
    };
    let mut shares: Shares = seen.items().iter().map(share).collect();
    shares.sort();
    Ok(shares)
}

/// Which life of which server: 40 letters.
fn fence(connection: &mut Connection, mutant: Mutant) -> Result<String, Error> {
    if mutant == Mutant::Fence {
        return Ok("0".repeat(40));
    }
    let mut both = String::new();
    for section in ["server", "replication"] {
        let info = connection.command(&["INFO", section])?.text();
        let lines = info.lines();
        let wanted =
            |line: &&str| line.starts_with("run_id:") || line.starts_with("master_replid:");
        lines.filter(wanted).for_each(|line| {
            let (_, value) = line.split_once(':').unwrap_or_default();
            both += &value.trim()[..20];
        });
    }
    Ok(both)
}
