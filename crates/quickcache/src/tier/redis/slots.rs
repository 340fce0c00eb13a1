//! The slots of a cluster, in which keys lie that one node has; the buckets in which ours lie; and what a node says of who has which slots.
//!
//! A slot is chosen by what stands between braces in a key. Ours stand in one of 256 *buckets*, by the first byte of the value's key; so that a
//! value, its function's own key and the channel on which its clears are told are of one slot, a look is one MGET, and a script may do all that
//! belongs together. A function has a key of its own in every bucket. The tags of the buckets are numbers that lie as evenly as can be among
//! the slots: however a cluster divides these, each node has its part of the buckets.

use std::sync::LazyLock;

use super::options::Address;

/// How many slots a cluster has.
const SLOTS: u16 = 16_384;

/// How many buckets there are.
pub(super) const BUCKETS: usize = 256;

/// One of them. Where there is no cluster there is only the first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Bucket(pub(super) u8);

/// What stands between the braces, and in which slot that is.
static TAGS: LazyLock<Vec<(String, u16)>> = LazyLock::new(|| {
    let mut tags = vec![None; BUCKETS];
    let mut left = BUCKETS;
    for number in 0_u32.. {
        let tag = number.to_string();
        let slot = slot(tag.as_bytes());
        let place = &mut tags[usize::from(slot) * BUCKETS / usize::from(SLOTS)];
        if place.is_none() {
            *place = Some((tag, slot));
            left -= 1;
            if left == 0 {
                break;
            }
        }
    }
    tags.into_iter().flatten().collect()
});

impl Bucket {
    /// That of a value's key.
    pub(super) fn of(key: &[u8; 20]) -> Bucket {
        Bucket(key[0])
    }

    /// All of a cluster.
    pub(super) fn all() -> impl Iterator<Item = Bucket> {
        (0..=u8::MAX).map(Bucket)
    }

    /// What stands between the braces.
    pub(super) fn tag(self) -> &'static str {
        &TAGS[usize::from(self.0)].0
    }

    pub(super) fn slot(self) -> u16 {
        TAGS[usize::from(self.0)].1
    }
}

/// CRC16 of the XMODEM kind, as the cluster's specification has it.
fn slot(tag: &[u8]) -> u16 {
    let crc = tag.iter().fold(0_u16, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte) << 8, |crc, _| {
            (crc << 1) ^ if crc & 0x8000 == 0 { 0 } else { 0x1021 }
        })
    });
    crc % SLOTS
}

/// What one node says of its cluster.
#[derive(Debug)]
pub(super) struct View {
    /// Those that have slots.
    pub(super) primaries: Vec<Primary>,
    /// Where all nodes are that are known, each by every address it has.
    pub(super) places: Vec<Vec<Address>>,
}

/// A node that has slots.
#[derive(Debug)]
pub(super) struct Primary {
    id: String,
    pub(super) address: Address,
    /// Of those who say that they have a slot the one with the higher epoch has it.
    pub(super) epoch: u64,
    slots: Vec<(u16, u16)>,
    /// It is the node that was asked.
    pub(super) was_asked: bool,
}

impl Primary {
    pub(super) fn has(&self, bucket: Bucket) -> bool {
        let slot = bucket.slot();
        self.slots
            .iter()
            .any(|(first, last)| (*first..=*last).contains(&slot))
    }

    pub(super) fn buckets(&self) -> impl Iterator<Item = Bucket> + '_ {
        Bucket::all().filter(|bucket| self.has(*bucket))
    }
}

impl View {
    /// Of the reply to `CLUSTER NODES` of the node at `asked`. `names`: nodes are to be called by their host names, if they have some.
    pub(super) fn read(text: &str, asked: &Address, names: bool) -> Option<View> {
        let mut view = View {
            primaries: Vec::new(),
            places: Vec::new(),
        };
        for line in text.lines() {
            let mut words = line.split(' ');
            let mut word = || words.next();
            let (id, place, flags) = (word()?, word()?, word()?);
            let (_primary, _sent, _received) = (word()?, word()?, word()?);
            let (epoch, _link) = (word()?.parse().ok()?, word()?);
            let has = |flag| flags.split(',').any(|of| of == flag);
            if has("noaddr") || has("handshake") {
                continue;
            }
            let addresses = places(place, asked, names)?;
            // What stands in brackets is on its way.
            let slots = words.filter(|slots| !slots.starts_with('['));
            let slots: Vec<_> = slots.map(range).collect::<Option<_>>()?;
            if !slots.is_empty() && has("master") {
                view.primaries.push(Primary {
                    id: id.to_owned(),
                    address: addresses.first()?.clone(),
                    epoch,
                    slots,
                    was_asked: has("myself"),
                });
            }
            view.places.push(addresses);
        }
        view.primaries.sort_by(|a, b| a.id.cmp(&b.id));
        Some(view)
    }

    /// Who has which slots: the same for all who see it the same way.
    pub(super) fn shape(&self) -> Vec<u8> {
        let mut shape = Vec::new();
        for Primary { id, slots, .. } in &self.primaries {
            shape.extend(id.as_bytes());
            shape.extend((slots.len() as u64).to_le_bytes());
            for (first, last) in slots {
                shape.extend(first.to_le_bytes());
                shape.extend(last.to_le_bytes());
            }
        }
        shape
    }
}

/// `1-5`, or `1`.
fn range(slots: &str) -> Option<(u16, u16)> {
    let (first, last) = slots.split_once('-').unwrap_or((slots, slots));
    Some((first.parse().ok()?, last.parse().ok()?))
}

/// The addresses of a node, that by which it is called first: `ip:port@bus,hostname,..`. A node does not know where it is itself before another one has told it.
fn places(text: &str, asked: &Address, names: bool) -> Option<Vec<Address>> {
    let (address, rest) = text.split_once('@').unwrap_or((text, ""));
    let (ip, port) = address.rsplit_once(':')?;
    let port = port.parse().ok()?;
    let own = match asked {
        Address::Tcp(host, _) => host.as_str(),
        Address::Unix(_) => return None,
    };
    let host = rest.split(',').nth(1).filter(|host| !host.is_empty());
    let host = host.filter(|host| !host.contains('='));
    let ip = if ip.is_empty() { own } else { ip };
    let mut hosts = vec![ip];
    hosts.extend(host);
    if names {
        hosts.reverse();
    }
    let address = |host: &str| Address::Tcp(host.to_owned(), port);
    Some(hosts.into_iter().map(address).collect())
}

/// Where a node says that a key is: `MOVED 3999 127.0.0.1:6381`, or `ASK ..`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    /// The host; nothing: the same as that of who says so.
    host: String,
    port: u16,
    /// For this one request only: the slot is on its way there.
    pub(super) is_on_its_way: bool,
}

impl Moved {
    /// Of an error's code and what follows it.
    pub(super) fn read(code: &str, details: &str) -> Option<Moved> {
        let is_on_its_way = match code {
            "MOVED" => false,
            "ASK" => true,
            _ => return None,
        };
        let (_slot, place) = details.split_once(' ')?;
        let (host, port) = place.trim().rsplit_once(':')?;
        let host = match host {
            "?" => "",
            host => host,
        };
        Some(Moved {
            host: host.to_owned(),
            port: port.parse().ok()?,
            is_on_its_way,
        })
    }

    /// Where that is, said by the node at `by`.
    pub(super) fn address(&self, by: &Address) -> Address {
        match by {
            Address::Tcp(host, _) if self.host.is_empty() => Address::Tcp(host.clone(), self.port),
            _ => Address::Tcp(self.host.clone(), self.port),
        }
    }
}

impl std::fmt::Display for Moved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.is_on_its_way {
            true => "its slot is on its way to another node",
            false => "its slot is at another node",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(host: &str, port: u16) -> Address {
        Address::Tcp(host.to_owned(), port)
    }

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(slot(b"123456789"), 0x31c3);
        assert_eq!(slot(b"7"), 1716);
        assert_eq!(slot(b""), 0);
    }

    /// They are in the names of keys: another version must know the same.
    #[test]
    fn buckets_are_where_they_are() {
        let some = [0, 1, 2, 127, 254, 255].map(|at| (Bucket(at).tag(), Bucket(at).slot()));
        let own = |at: u8| usize::from(Bucket(at).slot()) / 64;
        assert!((0..=255).all(|at| own(at) == usize::from(at)));
        assert_eq!(some, GOLDEN);
        let all: std::collections::BTreeSet<_> = Bucket::all().map(Bucket::slot).collect();
        assert_eq!(all.len(), BUCKETS);
    }

    const GOLDEN: [(&str, u16); 6] = [
        ("460", 5),
        ("14", 115),
        ("278", 156),
        ("46", 8132),
        ("44", 16262),
        ("430", 16368),
    ];

    const NODES: &str = "\
aa 127.0.0.1:7001@17001,,tls-port=0,shard-id=1 myself,master - 0 0 2 connected 0-9 11 [11->-bb]
cc 127.0.0.1:7003@17003 slave aa 0 1 2 connected
bb 10.0.0.2:7002@17002,two.example master,fail - 0 1 7 disconnected 10 12-16383
dd :0@0 master,noaddr - 0 1 3 disconnected
ee 127.0.0.1:7005@17005 master - 0 1 4 connected
";

    #[test]
    fn a_view_is_who_has_which_slots() {
        let view = View::read(NODES, &at("localhost", 7001), false).expect("it is one");
        let [one, two] = &view.primaries[..] else {
            panic!("{view:?}");
        };
        assert_eq!((&one.address, one.epoch), (&at("127.0.0.1", 7001), 2));
        assert_eq!(one.slots, [(0, 9), (11, 11)]);
        assert!(one.was_asked && !two.was_asked);
        assert_eq!((&two.address, two.epoch), (&at("10.0.0.2", 7002), 7));
        assert_eq!(view.places.len(), 4);
        assert_eq!(one.buckets().count() + two.buckets().count(), BUCKETS);

        let named = View::read(NODES, &at("localhost", 7001), true).expect("it is one");
        assert_eq!(named.primaries[1].address, at("two.example", 7002));
        assert_eq!(named.shape(), view.shape());
        let moved = NODES.replace("0-9 11", "0-8 11");
        let moved = View::read(&moved, &at("localhost", 7001), false).expect("it is one");
        assert_ne!(moved.shape(), view.shape());

        let unknown = ":7001@17001 myself,master - 0 0 2 connected 0-9";
        let unknown = View::read(&format!("aa {unknown}"), &at("one", 7001), false);
        let unknown = unknown.expect("it is one");
        assert_eq!(unknown.primaries[0].address, at("one", 7001));
        assert!(View::read("no such thing", &at("one", 1), false).is_none());
    }

    #[test]
    fn where_a_key_is_said_to_be() {
        let by = at("one", 1);
        let moved = Moved::read("MOVED", "3999 127.0.0.1:6381").expect("it is one");
        assert_eq!(moved.address(&by), at("127.0.0.1", 6381));
        assert!(!moved.is_on_its_way);
        let ask = Moved::read("ASK", "3999 ::1:6381").expect("it is one");
        assert_eq!(ask.address(&by), at("::1", 6381));
        assert!(ask.is_on_its_way);
        let same = Moved::read("MOVED", "1 :6381").expect("it is one");
        assert_eq!(same.address(&by), at("one", 6381));
        assert_eq!(Moved::read("ERR", "1 a:1"), None);
        assert_eq!(Moved::read("MOVED", "nonsense"), None);
    }
}
