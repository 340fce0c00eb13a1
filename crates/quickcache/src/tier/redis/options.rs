//! What a user says of a Redis, and where it is.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::names::Names;
use super::server::Server;
use super::tls::Tls;
use super::url::Url;
use crate::config::{Secret, Timeout};
use crate::entry::Seal;
use crate::tier::store::{Shared, TABLE_ONLY, usual_folder};

/// The namespace of whoever names none.
const NAMESPACE: &str = "qc";

/// Where clients of a Redis are led.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Address {
    Tcp(String, u16),
    Unix(PathBuf),
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Address::Tcp(host, port) => write!(f, "{host}:{port}"),
            Address::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// What its users may say of it: nobody waits for longer.
pub(super) const LONGEST_STALENESS: Duration = Duration::from_secs(24 * 3600);

/// How a connection is made.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Options {
    /// The server, the sentinels, or some nodes of the cluster.
    pub(super) addresses: Vec<Address>,
    /// The name by which the sentinels know the primary.
    pub(super) primary: Option<String>,
    /// It is a cluster.
    pub(super) cluster: bool,
    pub(super) tls: Option<Tls>,
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    /// That of the sentinels.
    pub(super) sentinel_password: Option<String>,
    pub(super) database: i64,
    pub(super) namespace: String,
    /// The longest that one operation takes.
    pub(super) budget: Duration,
    /// The longest that a value of another machine's memory tier is served after a clear.
    pub(super) staleness: Duration,
    /// Memory and store serve while it is out of reach, though nothing is proven then.
    pub(super) serve_while_unreachable: bool,
    /// The most connections of this process, the one that listens apart.
    pub(super) connections: usize,
    /// Where the machine's processes meet; `None`: a folder of its own, by the platform's convention.
    pub(super) folder: Option<PathBuf>,
}

impl std::fmt::Debug for Options {
    /// Without its password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redis")
            .field("addresses", &self.addresses)
            .field("primary", &self.primary)
            .field("cluster", &self.cluster)
            .field("tls", &self.tls.is_some())
            .field("database", &self.database)
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

impl Options {
    /// Names the server, the database and the namespace: what two processes must share to share anything.
    pub(super) fn identity(&self) -> [u8; 32] {
        let of = match self.cluster {
            true => "Cluster",
            false => "",
        };
        let text = format!(
            "{of}{:?} {:?} {} {}",
            self.addresses, self.primary, self.database, self.namespace
        );
        blake3::hash(text.as_bytes()).into()
    }

    /// What messages call it: no user, no password.
    pub(super) fn name(&self) -> String {
        let all: Vec<String> = self.addresses.iter().map(Address::to_string).collect();
        let mut name = match &self.primary {
            Some(primary) => format!("{primary} by the sentinels {}", all.join(", ")),
            None if self.cluster => format!("the cluster of {}", all.join(", ")),
            None => all.join(", "),
        };
        if self.database != 0 {
            name += &format!(", database {}", self.database);
        }
        if self.namespace != NAMESPACE {
            name += &format!(", namespace {}", self.namespace);
        }
        name
    }

    /// What its keys and channels are called.
    pub(super) fn names(&self) -> Names {
        Names {
            namespace: self.namespace.clone(),
            database: self.database,
            cluster: self.cluster,
        }
    }

    /// Whether others may listen on the way there.
    pub(super) fn is_open_to_others(&self) -> bool {
        let is_here = |address: &Address| match address {
            Address::Tcp(host, _) => {
                host == "localhost"
                    || host
                        .parse::<std::net::IpAddr>()
                        .is_ok_and(|ip| ip.is_loopback())
            }
            Address::Unix(_) => true,
        };
        let is_safe = self.tls.is_some() && self.password.is_some();
        !is_safe && !self.addresses.iter().all(is_here)
    }
}

/// How URLs lead to a server.
#[doc(hidden)]
#[derive(Clone, Copy)]
pub enum Way<'a> {
    /// It is at the first of them.
    Server,
    /// The primary of this name is where the sentinels say that are at them.
    Sentinels(&'a str),
    /// It is a cluster, and they are some of its nodes.
    Cluster,
}

/// A Redis or Valkey that the processes of several machines share. Values there are MessagePack by serde, or what the function's `codec`
/// makes of them; who does not know the cache's `secret` cannot forge one.
///
/// Put it behind a [`Memory`](crate::Memory): then a hit costs nanoseconds, and a clear on one machine reaches the memory of all others
/// within `staleness`, whatever the network does. While the server cannot be reached calls run the function, clears are in
/// force on this machine and written down, and are applied as soon as it is back. Nothing it does is an error of a call.
///
/// ```no_run
/// use quickcache::{Memory, QuickCache, Redis, TieredCache};
///
/// let cache = QuickCache::builder(TieredCache::new([
///     Memory::new().timeout("10s").into(),
///     Redis::new("redis://localhost:6379/0").timeout("5m").into(),
/// ]))
/// .secret(b"what all its users know")
/// .build();
/// # drop(cache);
/// ```
#[derive(Clone, Debug)]
pub struct Redis {
    options: Options,
    pub(crate) timeout: Option<Duration>,
    /// What seals its values; none: the cache's.
    secrets: Vec<Secret>,
    server: Arc<OnceLock<&'static Server>>,
}

impl Redis {
    /// The server of a URL: `redis://[user:password@]host[:port][/database]`, `rediss://` for TLS (the certificate must be for that host),
    /// `redis+unix:///path?db=0&user=..&pass=..` for a socket. `valkey` means the same as `redis` there. In user and password `%40` stands for
    /// `@`, and so on. Nothing is connected before the first call.
    ///
    /// # Panics
    /// If it is not such a URL.
    #[must_use]
    pub fn new(url: &str) -> Self {
        Self::of_urls(&[url], Way::Server)
    }

    /// The server that sentinels call `primary` at the moment. The URLs are those of the sentinels; user, password, database and TLS are
    /// taken from the first of them, and meant for the servers.
    ///
    /// # Panics
    /// If there is no URL, or one that is none.
    #[must_use]
    pub fn sentinel(urls: &[&str], primary: &str) -> Self {
        Self::of_urls(urls, Way::Sentinels(primary))
    }

    /// A Redis Cluster, of version 7 or newer. The URLs are those of some of its nodes, by which the others are found; all users of it name the
    /// same ones. User, password and TLS are taken from the first of them, and meant for all nodes. A cluster has the database 0 only.
    ///
    /// ```no_run
    /// # use quickcache::Redis;
    /// Redis::cluster(&["redis://one:6379", "redis://two:6379", "redis://three:6379"]).timeout("5m")
    /// # ;
    /// ```
    ///
    /// # Panics
    /// If there is no URL, or one that is none, or of a socket, or that has another database.
    #[must_use]
    pub fn cluster(urls: &[&str]) -> Self {
        Self::of_urls(urls, Way::Cluster)
    }

    fn of_urls(urls: &[&str], way: Way<'_>) -> Self {
        Self::try_of_urls(urls, way).unwrap_or_else(|why| panic!("Redis: url is {why}"))
    }

    /// The server that some URLs lead to in a way; what the URL is, if it is none.
    #[doc(hidden)]
    pub fn try_of_urls(urls: &[&str], way: Way<'_>) -> Result<Self, String> {
        let mut urls: Vec<Url> = urls
            .iter()
            .map(|url| Url::read(url))
            .collect::<Result<_, _>>()?;
        let cluster = matches!(way, Way::Cluster);
        if cluster {
            if urls.iter().any(|url| url.database != 0) {
                return Err("that of a database; a cluster has the database 0 only".to_owned());
            }
            if urls
                .iter()
                .any(|url| matches!(url.address, Address::Unix(_)))
            {
                return Err(
                    "that of a socket; the nodes of a cluster name each other by host and port"
                        .to_owned(),
                );
            }
            // So that whoever names the same ones means the same, and no matter in which order.
            if let Some(first) = urls.first().cloned() {
                urls.sort_by_key(|url| url.address.to_string());
                urls[0] = Url {
                    address: urls[0].address.clone(),
                    ..first
                };
            }
        }
        let Some(first) = urls.first().cloned() else {
            return Err("no URL; give it one, for example \"redis://localhost:6379/0\"".to_owned());
        };
        if urls.iter().any(|url| url.tls != first.tls) {
            return Err(
                "of both redis:// and rediss://; sentinels and servers speak TLS, or none does"
                    .to_owned(),
            );
        }
        Ok(Redis {
            options: Options {
                addresses: urls.into_iter().map(|url| url.address).collect(),
                primary: match way {
                    Way::Sentinels(primary) => Some(primary.to_owned()),
                    Way::Server | Way::Cluster => None,
                },
                cluster,
                tls: first.tls.then(Tls::default),
                user: first.user,
                password: first.password,
                sentinel_password: None,
                database: first.database,
                namespace: NAMESPACE.to_owned(),
                budget: Duration::from_millis(100),
                staleness: Duration::from_millis(250),
                serve_while_unreachable: false,
                connections: 8,
                folder: None,
            },
            timeout: None,
            secrets: Vec::new(),
            server: Arc::default(),
        })
    }

    fn with(mut self, change: impl FnOnce(&mut Options)) -> Self {
        change(&mut self.options);
        self.server = Arc::default();
        self
    }

    /// How long a value may live in this tier, if the function or the cache says nothing else.
    ///
    /// # Panics
    /// If it is text that is not a span of time, or less than a millisecond.
    #[must_use]
    pub fn timeout(mut self, timeout: impl Into<Timeout>) -> Self {
        self.timeout = Some(timeout.into().duration("Redis", "timeout"));
        self
    }

    /// What its values are sealed with, in place of the cache's secret, which would be in its keys, too: who does not know it cannot forge
    /// a value, and programs in Python that give their `Redis` the same `secret` share them. Of several the first seals, and what any of
    /// them has sealed is read: put a new one in front, and take the old one away when its values are gone.
    ///
    /// # Panics
    /// If there is none, or an empty one.
    #[must_use]
    pub fn secrets(mut self, secrets: &[&[u8]]) -> Self {
        assert!(
            !secrets.is_empty() && secrets.iter().all(|secret| !secret.is_empty()),
            "Redis: secrets that are empty: give it bytes that all its users know, and nobody else"
        );
        self.secrets = secrets.iter().copied().map(Secret::new).collect();
        self
    }

    /// What seals its values, if that is not the cache's secret.
    pub(crate) fn seal(&self) -> Option<Seal> {
        let secrets = self.secrets.iter().map(|secret| &**secret);
        (!self.secrets.is_empty()).then(|| Seal::rotated(secrets))
    }

    /// What its keys and channels begin with: programs of different namespaces share a server and nothing on it. Default: `qc`.
    ///
    /// # Panics
    /// If it is empty, longer than 64 bytes, or has anything but letters, digits, `-`, `_` and `.` in it.
    #[must_use]
    pub fn namespace(self, namespace: &str) -> Self {
        let sound = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
        assert!(
            (1..=64).contains(&namespace.len()) && namespace.bytes().all(sound),
            "Redis: namespace {namespace:?}: give it 1 to 64 letters, digits, `-`, `_` or `.`"
        );
        self.with(|options| namespace.clone_into(&mut options.namespace))
    }

    /// The longest that one operation may take, the wait for a connection included; a call that finds the server silent is delayed by that
    /// once, and then not again until it answers. Default: 100 ms.
    ///
    /// # Panics
    /// If it is text that is not a span of time, or less than a millisecond.
    #[must_use]
    pub fn budget(self, budget: impl Into<Timeout>) -> Self {
        let budget = budget.into().duration("Redis", "budget");
        self.with(|options| options.budget = budget)
    }

    /// How long after a clear the memory tier of another machine may still serve what was cleared, whatever the network does. All users of
    /// the server say the same; one that says another keeps its memory tier off, with one warning. Default: 250 ms.
    ///
    /// # Panics
    /// If it is text that is not a span of time, less than 20 ms, or more than a day.
    #[must_use]
    pub fn staleness(self, staleness: impl Into<Timeout>) -> Self {
        let staleness = staleness.into().duration("Redis", "staleness");
        assert!(
            staleness >= Duration::from_millis(20),
            "Redis: staleness of {staleness:?}: 20 ms is the least, a fourth of it is the pause between two questions to the server"
        );
        assert!(
            staleness <= LONGEST_STALENESS,
            "Redis: staleness of {staleness:?}: a day is the most, a clear that waits takes as long"
        );
        self.with(|options| options.staleness = staleness)
    }

    /// Whether memory and store go on serving what they have while the server is known to be out of reach, though clears of other machines are
    /// not heard of then. Without it every call runs its function as soon as the outage has lasted for `staleness`. Default: `false`.
    ///
    /// Given up is the bound of `staleness`, for clears that are made on other machines in an outage or a second before it: until the server is back, or
    /// the value's `memoize_timeout` (in the store its `timeout`) is over. The outage is this machine's: if it is cut off, and others are not, they
    /// go on clearing, and a clear that waits does not wait for it. Clears of this machine are in force at once as always, and when the server answers again what was kept through the
    /// outage is not served any more. If every process of the machine that knew of the outage was killed or stopped, the bound holds again five seconds
    /// later.
    #[must_use]
    pub fn serve_while_unreachable(self, serve: bool) -> Self {
        self.with(|options| options.serve_while_unreachable = serve)
    }

    /// The most connections of this process to the server, besides the one that listens for clears. Default: 8.
    ///
    /// # Panics
    /// If it is 0.
    #[must_use]
    pub fn connections(self, most: usize) -> Self {
        assert!(most > 0, "Redis: connections of 0: one is the least");
        self.with(|options| options.connections = most)
    }

    /// A file of certificates (PEM) that vouch for a server with TLS, in place of the system's.
    ///
    /// # Panics
    /// If the URL is not that of a server with TLS.
    #[must_use]
    pub fn ca_file(self, path: impl AsRef<Path>) -> Self {
        self.with_tls("ca_file", |tls| {
            tls.ca_file = Some(path.as_ref().to_owned())
        })
    }

    /// Files (PEM) with the certificate of this client, and those that vouch for it, and with its private key: for a server that asks
    /// for one (`tls-auth-clients yes`, as it is by default).
    ///
    /// # Panics
    /// If the URL is not that of a server with TLS.
    #[must_use]
    pub fn client_cert(self, certificate: impl AsRef<Path>, key: impl AsRef<Path>) -> Self {
        let files = (certificate.as_ref().to_owned(), key.as_ref().to_owned());
        self.with_tls("client_cert", |tls| tls.client = Some(files))
    }

    #[doc(hidden)]
    #[must_use]
    pub fn has_tls(&self) -> bool {
        self.options.tls.is_some()
    }

    fn with_tls(self, option: &str, change: impl FnOnce(&mut Tls)) -> Self {
        self.with(|options| match &mut options.tls {
            Some(tls) => change(tls),
            None => panic!(
                "Redis: {option} without TLS; a url of a server with TLS begins with rediss://"
            ),
        })
    }

    /// The password of the sentinels themselves, if they have one.
    #[must_use]
    pub fn sentinel_password(self, password: &str) -> Self {
        self.with(|options| options.sentinel_password = Some(password.to_owned()))
    }

    /// Where the processes of this machine and user keep what they know together: generations, and clears that are not applied yet.
    /// Default: that of the [`Store`](crate::Store) before it, or else a folder of its own in the user's cache folder.
    #[must_use]
    pub fn folder(self, path: impl AsRef<Path>) -> Self {
        self.with(|options| options.folder = Some(path.as_ref().to_owned()))
    }

    #[doc(hidden)]
    #[must_use]
    pub fn server(&self) -> &'static Server {
        self.server.get_or_init(|| Server::of(&self.options))
    }

    /// The table of generations of a Redis without a store before it.
    #[doc(hidden)]
    #[must_use]
    pub fn table(&self) -> &'static Shared {
        let folder = match &self.options.folder {
            Some(folder) => folder.clone(),
            None => {
                let hash = blake3::Hash::from_bytes(self.options.identity()).to_hex();
                usual_folder().join(format!("redis-{}", &hash[..16]))
            }
        };
        Shared::of(Some(&folder), TABLE_ONLY)
    }
}
