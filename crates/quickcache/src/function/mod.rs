//! A cached function: its identity, its configuration after all stages, and its counters. How a call lives is told in
//! `call` and `work`, what the companions do in `entry`, the tiers behind memory in `outer`.

pub(crate) mod asynchronous;
pub(crate) mod call;
pub(crate) mod entry;
#[cfg(unix)]
mod fork;
pub(crate) mod method;
mod outer;
mod patience;
#[cfg(feature = "redis")]
mod redis;
#[cfg(not(feature = "redis"))]
#[path = "redis_off.rs"]
mod redis;
#[cfg(feature = "redis")]
mod redis_past;
mod stale;
pub(crate) mod store;
mod work;

use std::any::{Any, TypeId};
use std::marker::PhantomData;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use foldhash::fast::RandomState;

use crate::clock::{Clock, Freshness};
use crate::config::{QuickCache, Timeout, Times};
use crate::entry::Seal;
use crate::key::v1;
use crate::protocol::guarded::{Cell, Guarded};
use crate::protocol::machine::Machine;
use crate::stats::{Counters, Stats};
use crate::tier::memory::{self, Stamp, Tables};
use crate::tier::store::{AtStore, Shared};
use crate::tier::user::Outer;

/// What flies from a leader to its followers.
#[derive(Clone)]
pub(crate) enum Flown {
    /// An entry of the function's types.
    Value(Arc<dyn Any + Send + Sync>),
    /// The same, too old: the function has failed. It is not stored.
    Stale(Arc<dyn Any + Send + Sync>),
    /// A result that is not stored.
    Error(Arc<dyn Any + Send + Sync>),
    /// A result that is not stored and cannot be copied: a follower runs the function itself.
    Lone,
}

/// The whole key: of function, arguments and version. Equal only for equal ones, in this process and outside.
pub(crate) type WholeKey = [u8; 32];

/// One protocol for the process: cycles of functions are seen inside one only.
pub(crate) fn protocol() -> &'static Guarded<WholeKey, Flown> {
    static PROTOCOL: LazyLock<Guarded<WholeKey, Flown>> = LazyLock::new(Guarded::new);
    &PROTOCOL
}

/// Every function there is. The lock is held while one comes to be, so that none is in use that a clear of everything, or a
/// fork, does not see.
pub(crate) fn all_functions() -> MutexGuard<'static, Vec<&'static Function>> {
    static ALL: Mutex<Vec<&'static Function>> = Mutex::new(Vec::new());
    ALL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the attribute says of a function.
pub struct Declared {
    pub module: &'static str,
    /// The path of a type beside the function: names the functions that it lies in.
    pub place: fn() -> &'static str,
    pub function: &'static str,
    pub name: Option<&'static str>,
    pub version: Option<u64>,
    pub source: u64,
    pub parts: &'static [&'static str],
    pub cache: Option<fn() -> &'static QuickCache>,
    pub timeout: Option<fn() -> Duration>,
    pub memoize_timeout: Option<fn() -> Duration>,
    pub stale_timeout: Option<fn() -> Duration>,
    pub patience: Option<fn() -> Duration>,
}

impl Declared {
    /// What keys and messages call the function.
    pub(crate) fn name(&self) -> String {
        match self.name {
            Some(name) => name.to_owned(),
            None => format!("{}::{}", self.module, self.function),
        }
    }

    /// The module, and after it the functions that a nested function lies in: two of them may have nested ones of one name and
    /// text. Nothing but names of functions is taken of the path; how the compiler writes other things in it may change.
    fn qualified_module(&self) -> String {
        let inside = || {
            let path = (self.place)().strip_prefix(self.module)?;
            let (outer, _) = path.split_once(&format!("::{}::", self.function))?;
            outer.split("::").all(is_name).then_some(outer)
        };
        format!("{}{}", self.module, inside().unwrap_or(""))
    }
}

fn is_name(segment: &str) -> bool {
    segment.chars().all(|c| c.is_alphanumeric() || c == '_')
}

/// Which instantiation of a generic function: the types that its key and value do not tell.
#[derive(Clone, Copy)]
pub struct Identity {
    types: TypeId,
    name: fn() -> &'static str,
}

impl Identity {
    /// Of the types in `T`, whose lifetimes do not count.
    #[inline(always)]
    #[must_use]
    pub fn of<T: ?Sized>() -> Self {
        Identity {
            types: type_id::<T>(),
            name: std::any::type_name::<T>,
        }
    }
}

/// The `TypeId` of a type that may borrow, as if all its lifetimes were `'static`. It tells types apart and nothing more:
/// nothing is cast by it that was not `'static` in the first place. (David Tolnay's crate `typeid` does it in this way.)
#[inline(always)]
fn type_id<T: ?Sized>() -> TypeId {
    trait Identify {
        fn id(&self) -> TypeId
        where
            Self: 'static;
    }
    impl<T: ?Sized> Identify for PhantomData<T> {
        #[inline(always)]
        fn id(&self) -> TypeId
        where
            Self: 'static,
        {
            TypeId::of::<T>()
        }
    }
    let phantom = PhantomData::<T>;
    // SAFETY: only the lifetime in the type of the reference changes; `id` reads nothing through it.
    let phantom =
        unsafe { std::mem::transmute::<&dyn Identify, &(dyn Identify + 'static)>(&phantom) };
    phantom.id()
}

/// The static that stands for a cached function, whatever the types of its key and value.
pub struct Site {
    pub(crate) declared: Declared,
    /// The instantiations, newest first: as good as always there is one.
    first: AtomicPtr<Function>,
}

/// What the entries of an instantiation are.
#[derive(Clone, Copy)]
struct Layout {
    types: TypeId,
    number: fn(bool) -> u32,
    copy: bool,
}

/// One instantiation of a cached function, made at its first call and never dropped.
pub(crate) struct Function {
    pub(crate) site: &'static Site,
    next: *const Function,
    identity: Identity,
    /// Of its key and its value: why an entry that carries `number` is of these types.
    types: TypeId,
    pub(crate) number: u32,
    /// Moved on by `clear_all`.
    epoch: AtomicU32,
    pub(crate) tables: Option<Tables>,
    pub(crate) clock: Clock,
    /// What a hit asks.
    pub(crate) freshness: Freshness,
    enabled: Arc<AtomicBool>,
    /// Its last step is one folded multiplication, as in [`memory::mix`]: good enough for the table, and every hit waits for it.
    pub(crate) hasher: RandomState,
    pub(crate) times: Times,
    /// At the machine's store, or at its table alone if other tiers go by that.
    pub(crate) store: Option<AtStore>,
    #[cfg_attr(not(feature = "redis"), allow(dead_code, reason = "there is none"))]
    pub(crate) redis: Option<redis::AtRedis>,
    pub(crate) outer: Vec<Outer>,
    patience: Option<Duration>,
    followers: patience::Timers,
    pub(crate) keys: v1::Function,
    pub(crate) seal: Seal,
    #[cfg_attr(not(feature = "redis"), allow(dead_code, reason = "there is none"))]
    redis_seal: Option<Seal>,
    pub(crate) counters: Counters,
    /// Warnings are given once.
    pub(crate) warned_slow: AtomicBool,
    pub(crate) warned_unencodable: AtomicBool,
}

impl Site {
    /// For the attribute.
    #[must_use]
    pub const fn new(declared: Declared) -> Self {
        Site {
            declared,
            first: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// The instantiation of these types. `copy`: values are `Copy` or an `Arc`, and lie in the
    /// entries themselves.
    #[inline(always)]
    pub(crate) fn function<K: 'static, V: 'static>(
        &'static self,
        identity: Identity,
        copy: bool,
    ) -> &'static Function {
        let first = self.first.load(Ordering::Acquire);
        let types = TypeId::of::<(K, V)>();
        // SAFETY: functions are leaked; a pointer in the list is null or points to one.
        if let Some(function) = unsafe { first.as_ref() }
            && function.types == types
            && function.identity.types == identity.types
        {
            return function;
        }
        // In parts, which go in registers: a reference to `identity` would have every hit write it to memory and read it back.
        let layout = Layout {
            types,
            number: memory::number::<K, V>,
            copy,
        };
        self.find_or_make(identity.types, identity.name, layout)
    }

    fn cache(&self) -> &'static QuickCache {
        self.declared
            .cache
            .map_or_else(QuickCache::shared, |cache| cache())
    }

    #[cold]
    fn find_or_make(
        &'static self,
        identity: TypeId,
        name: fn() -> &'static str,
        layout: Layout,
    ) -> &'static Function {
        let identity = Identity {
            types: identity,
            name,
        };
        let found = |function: &&Function| {
            function.types == layout.types && function.identity.types == identity.types
        };
        if let Some(function) = self.functions().find(found) {
            return function;
        }
        // Made before it is known whether another thread was faster: then it is a few hundred bytes for nothing, once.
        let made = Function::new(self, identity, layout);
        let mut functions = all_functions();
        if let Some(function) = self.functions().find(found) {
            return function;
        }
        let made = Box::leak(Box::new(made));
        made.next = self.first.load(Ordering::Acquire);
        let made: *mut Function = made;
        // Under the lock, so that nothing comes between; every instantiation of a site takes the same one.
        self.first.store(made, Ordering::Release);
        // SAFETY: leaked, and not written any more.
        let made = unsafe { &*made };
        functions.push(made);
        made
    }

    /// What makes the keys of an instantiation, by its type parameters.
    fn keys(&self, parameters: &str) -> v1::Function {
        let declared = &self.declared;
        let config = &*self.cache().config;
        let version = declared.version.or(config.version);
        let name = match (declared.name, parameters) {
            (Some(name), "()") => name.to_owned(),
            (Some(name), parameters) => format!("{name}<{parameters}>"),
            (None, "()") => declared.function.to_owned(),
            (None, parameters) => format!("{}<{parameters}>", declared.function),
        };
        let module = match declared.name {
            Some(_) => String::new(),
            None => declared.qualified_module(),
        };
        let identity_of_keys = v1::Identity {
            module: &module,
            name: &name,
            version: &version
                .map(|version| version.to_string())
                .unwrap_or_default(),
            source: if declared.name.is_some() || version.is_some() {
                &[]
            } else {
                &declared.source.to_be_bytes()
            },
        };
        v1::Scheme::new(&config.secret).function(identity_of_keys)
    }

    /// The machine's store, and what names the function there: all instantiations alike, since whoever clears them cannot know which ones
    /// other processes use.
    fn at_store(&self) -> Option<(&'static Shared, [u8; 32])> {
        let table = self.cache().config.tiers.table()?;
        Some((table, *self.keys("()").id()))
    }

    /// Every instantiation that was used so far.
    pub(crate) fn functions(&self) -> impl Iterator<Item = &'static Function> {
        // SAFETY: functions are leaked; a pointer in the list is null or points to one.
        let deref = |pointer: *const Function| unsafe { pointer.as_ref::<'static>() };
        let first = deref(self.first.load(Ordering::Acquire));
        std::iter::successors(first, move |function| deref(function.next))
    }

    /// The counters of all instantiations together.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let mut sum = Stats::default();
        for function in self.functions() {
            sum.add(&function.stats());
        }
        sum
    }
}

// SAFETY: `next` is written before the function is published, and points to another leaked function.
unsafe impl Send for Function {}
// SAFETY: as above; every other field is Sync.
unsafe impl Sync for Function {}

impl Function {
    fn new(site: &'static Site, identity: Identity, layout: Layout) -> Self {
        #[cfg(unix)]
        fork::expect();
        let declared = &site.declared;
        let config = &*site.cache().config;
        let option = |option: Option<fn() -> Duration>, name: &str| {
            option
                .map(|make| Timeout::from(make()).duration(&format!("`{}`", declared.name()), name))
        };
        let times = config.times(
            option(declared.timeout, "timeout"),
            option(declared.memoize_timeout, "memoize_timeout"),
            declared
                .stale_timeout
                .map(|make| Timeout::from(make()).stale(&format!("`{}`", declared.name()))),
        );
        let keys = site.keys((identity.name)());
        let redis = redis::at_redis(site);
        let tiers = times.behind().count();
        Function {
            site,
            next: ptr::null(),
            identity,
            types: layout.types,
            number: (layout.number)(layout.copy),
            epoch: AtomicU32::new(0),
            tables: config
                .tiers
                .memory()
                .map(|memory| memory.tables(layout.copy)),
            clock: config.clock.clone(),
            freshness: Freshness::new(&config.clock, times.stale),
            enabled: config.enabled.clone(),
            hasher: RandomState::default(),
            times,
            store: site
                .at_store()
                .map(|(shared, id)| AtStore::new(shared, &id, redis::proven_by(redis.as_ref()))),
            redis,
            outer: config.tiers.outer().to_vec(),
            patience: option(declared.patience, "patience").or(config.patience),
            keys,
            seal: Seal::keyed(&config.secret),
            redis_seal: redis::seal(site),
            counters: Counters::new(tiers),
            followers: patience::Timers::default(),
            warned_slow: AtomicBool::new(false),
            warned_unencodable: AtomicBool::new(false),
        }
    }

    /// What its entries carry now.
    #[inline]
    pub(crate) fn stamp(&self) -> Stamp {
        Stamp::new(self.number, self.epoch.load(Ordering::Acquire))
    }

    /// Whether its cache is the one that this switch belongs to, or of a `but_with` of it.
    pub(crate) fn is_of(&self, enabled: &Arc<AtomicBool>) -> bool {
        Arc::ptr_eq(&self.enabled, enabled)
    }

    #[inline]
    pub(crate) fn enabled(&self) -> bool {
        self.enabled.load(Ordering::Relaxed)
    }

    /// How long a call waits for another one's execution: what was said, else five times what it has taken on average.
    pub(crate) fn patience(&self) -> Duration {
        /// As long as nothing is known.
        const UNKNOWN: Duration = Duration::from_secs(60);
        const LEAST: Duration = Duration::from_secs(1);
        let average = || {
            let executions = self.counters.executions.load(Ordering::Relaxed);
            let nanos = self.counters.nanos.load(Ordering::Relaxed);
            let average = nanos.checked_div(executions)?;
            Some(Duration::from_nanos(average.saturating_mul(5)).max(LEAST))
        };
        self.patience.or_else(average).unwrap_or(UNKNOWN)
    }

    /// Ends the epoch: no entry stored so far is a hit any more, and no flight so far is joined or stored.
    pub(crate) fn clear_all(&self) {
        self.end_epoch(&mut protocol().lock());
        self.counters.all_cleared();
    }

    /// As `clear_all`, by who holds the guard.
    pub(crate) fn end_epoch(&self, machine: &mut Machine<WholeKey, Arc<Cell<Flown>>>) {
        machine.clear_all(self.number);
        self.epoch.fetch_add(1, Ordering::Release);
    }

    fn stats(&self) -> Stats {
        let mut stats = self.counters.stats();
        stats.lag = self.lag();
        if let Some(tables) = &self.tables {
            (stats.memory_hits, stats.entries, stats.bytes) = tables.of_function(self.stamp());
        }
        stats
    }
}
