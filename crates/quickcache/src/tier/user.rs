//! A user's own cache as a tier: bytes by text key, for a time. What it must have is small on purpose; flights, clears that
//! win, codecs and outages are our business.

use std::fmt::Display;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::config::Timeout;

/// A cache of your own: any store of bytes by text keys.
///
/// Its errors never reach a caller of a cached function: a failed `get` is a miss, a failed `set` is not stored, a failed
/// `delete` makes a clear [`Cleared::Pending`](crate::Cleared). They are counted, and logged.
///
/// ```
/// use quickcache::{Cache, Memory, QuickCache, Tier, TieredCache};
/// use std::collections::HashMap;
/// use std::convert::Infallible;
/// use std::sync::Mutex;
/// use std::time::Duration;
///
/// #[derive(Default)]
/// struct Dict(Mutex<HashMap<String, Vec<u8>>>);
///
/// impl Cache for Dict {
///     type Error = Infallible;
///     fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Infallible> {
///         Ok(self.0.lock().unwrap().get(key).cloned())
///     }
///     fn set(&self, key: &str, value: &[u8], _timeout: Duration) -> Result<(), Infallible> {
///         self.0.lock().unwrap().insert(key.to_owned(), value.to_owned());
///         Ok(())
///     }
///     fn delete(&self, key: &str) -> Result<(), Infallible> {
///         self.0.lock().unwrap().remove(key);
///         Ok(())
///     }
/// }
///
/// let cache = QuickCache::new(TieredCache::new([
///     Memory::new().timeout("10s").into(),
///     Tier::cache(Dict::default()).timeout("5m"),
/// ]));
/// # drop(cache);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a cache",
    label = "cannot be a tier",
    note = "implement `quickcache::Cache` for `{Self}`: get, set and delete on bytes, and the type of its errors"
)]
pub trait Cache: Send + Sync + 'static {
    /// What can go wrong.
    type Error: Display;

    /// The bytes stored under a key, if there are any.
    ///
    /// # Errors
    /// If the cache cannot say.
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Self::Error>;

    /// Stores bytes under a key, in place of what is there, for at most `timeout`.
    ///
    /// # Errors
    /// If the bytes may not have been stored.
    fn set(&self, key: &str, value: &[u8], timeout: Duration) -> Result<(), Self::Error>;

    /// Removes what is stored under a key, if anything.
    ///
    /// # Errors
    /// If it may not have been removed.
    fn delete(&self, key: &str) -> Result<(), Self::Error>;
}

/// As [`Cache`], for async functions.
///
/// A `set` whose future is dropped counts as ended: spawn it if it goes on all the same.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an async cache",
    label = "cannot be a tier of async functions",
    note = "implement `quickcache::AsyncCache` for `{Self}`: get, set and delete on bytes, and the type of its errors"
)]
pub trait AsyncCache: Send + Sync + 'static {
    /// What can go wrong.
    type Error: Display;

    /// The bytes stored under a key, if there are any.
    fn get(&self, key: &str) -> impl Future<Output = Result<Option<Vec<u8>>, Self::Error>> + Send;

    /// Stores bytes under a key, in place of what is there, for at most `timeout`.
    fn set(
        &self,
        key: &str,
        value: &[u8],
        timeout: Duration,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Removes what is stored under a key, if anything.
    fn delete(&self, key: &str) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

/// A handle to a cache is one: keep the other for yourself.
#[diagnostic::do_not_recommend]
impl<C: Cache> Cache for Arc<C> {
    type Error = C::Error;

    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, C::Error> {
        C::get(self, key)
    }
    fn set(&self, key: &str, value: &[u8], timeout: Duration) -> Result<(), C::Error> {
        C::set(self, key, value, timeout)
    }
    fn delete(&self, key: &str) -> Result<(), C::Error> {
        C::delete(self, key)
    }
}

/// As for [`Cache`].
#[diagnostic::do_not_recommend]
impl<C: AsyncCache> AsyncCache for Arc<C> {
    type Error = C::Error;

    fn get(&self, key: &str) -> impl Future<Output = Result<Option<Vec<u8>>, C::Error>> + Send {
        C::get(self, key)
    }
    fn set(
        &self,
        key: &str,
        value: &[u8],
        timeout: Duration,
    ) -> impl Future<Output = Result<(), C::Error>> + Send {
        C::set(self, key, value, timeout)
    }
    fn delete(&self, key: &str) -> impl Future<Output = Result<(), C::Error>> + Send {
        C::delete(self, key)
    }
}

/// One tier of a [`TieredCache`](crate::TieredCache): memory, the machine's store, a Redis, or a cache of your own.
#[derive(Clone, Debug)]
pub struct Tier {
    pub(crate) kind: Kind,
}

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Memory(super::memory::Memory),
    Store(super::store::Store),
    #[cfg(feature = "redis")]
    Redis(Box<super::redis::Redis>),
    Outer(Outer),
}

/// A tier behind those of ours.
#[derive(Clone)]
pub(crate) struct Outer {
    pub(crate) name: String,
    pub(crate) timeout: Option<Duration>,
    pub(crate) cache: Erased,
}

#[derive(Clone)]
pub(crate) enum Erased {
    Blocking(Arc<dyn Blocking>),
    Async(Arc<dyn Asynchronous>),
}

impl std::fmt::Debug for Outer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tier")
            .field("name", &self.name)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

impl Tier {
    /// A cache of your own.
    #[must_use]
    pub fn cache<C: Cache>(cache: C) -> Self {
        Self::outer::<C>(Erased::Blocking(Arc::new(cache)))
    }

    /// An async cache of your own. It serves async functions only.
    #[must_use]
    pub fn async_cache<C: AsyncCache>(cache: C) -> Self {
        Self::outer::<C>(Erased::Async(Arc::new(cache)))
    }

    fn outer<C>(cache: Erased) -> Self {
        let name = std::any::type_name::<C>();
        let name = name
            .trim_start_matches("alloc::sync::Arc<")
            .split(['<', '>'])
            .next()
            .unwrap_or(name)
            .rsplit("::")
            .next()
            .unwrap_or(name);
        Tier {
            kind: Kind::Outer(Outer {
                name: name.to_owned(),
                timeout: None,
                cache,
            }),
        }
    }

    /// How long a value may live in this tier, if the function or the cache says nothing else.
    ///
    /// # Panics
    /// If it is text that is not a span of time, or less than a millisecond.
    #[must_use]
    pub fn timeout(mut self, timeout: impl Into<Timeout>) -> Self {
        match &mut self.kind {
            Kind::Memory(memory) => {
                memory.timeout = Some(timeout.into().duration("Memory", "timeout"))
            }
            Kind::Store(store) => store.timeout = Some(timeout.into().duration("Store", "timeout")),
            #[cfg(feature = "redis")]
            Kind::Redis(redis) => redis.timeout = Some(timeout.into().duration("Redis", "timeout")),
            Kind::Outer(outer) => {
                outer.timeout = Some(timeout.into().duration(&outer.name, "timeout"))
            }
        }
        self
    }

    /// What the tier is called in statistics and messages. Default: the name of its type.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        if let Kind::Outer(outer) = &mut self.kind {
            name.clone_into(&mut outer.name);
        }
        self
    }
}

impl From<super::memory::Memory> for Tier {
    fn from(memory: super::memory::Memory) -> Self {
        Tier {
            kind: Kind::Memory(memory),
        }
    }
}

impl From<super::store::Store> for Tier {
    fn from(store: super::store::Store) -> Self {
        Tier {
            kind: Kind::Store(store),
        }
    }
}

#[cfg(feature = "redis")]
impl From<super::redis::Redis> for Tier {
    fn from(redis: super::redis::Redis) -> Self {
        Tier {
            kind: Kind::Redis(Box::new(redis)),
        }
    }
}

pub(crate) type Done<T> = Result<T, String>;
pub(crate) type Soon<'a, T> = Pin<Box<dyn Future<Output = Done<T>> + Send + 'a>>;

/// A [`Cache`] that has forgotten its type.
pub(crate) trait Blocking: Send + Sync {
    fn get(&self, key: &str) -> Done<Option<Vec<u8>>>;
    fn set(&self, key: &str, value: &[u8], timeout: Duration) -> Done<()>;
    fn delete(&self, key: &str) -> Done<()>;
}

impl<C: Cache> Blocking for C {
    fn get(&self, key: &str) -> Done<Option<Vec<u8>>> {
        Cache::get(self, key).map_err(|error| error.to_string())
    }
    fn set(&self, key: &str, value: &[u8], timeout: Duration) -> Done<()> {
        Cache::set(self, key, value, timeout).map_err(|error| error.to_string())
    }
    fn delete(&self, key: &str) -> Done<()> {
        Cache::delete(self, key).map_err(|error| error.to_string())
    }
}

/// An [`AsyncCache`] that has forgotten its type.
pub(crate) trait Asynchronous: Send + Sync {
    fn get<'a>(&'a self, key: &'a str) -> Soon<'a, Option<Vec<u8>>>;
    fn set<'a>(&'a self, key: &'a str, value: &'a [u8], timeout: Duration) -> Soon<'a, ()>;
    fn delete<'a>(&'a self, key: &'a str) -> Soon<'a, ()>;
}

impl<C: AsyncCache> Asynchronous for C {
    fn get<'a>(&'a self, key: &'a str) -> Soon<'a, Option<Vec<u8>>> {
        Box::pin(async move {
            AsyncCache::get(self, key)
                .await
                .map_err(|error| error.to_string())
        })
    }
    fn set<'a>(&'a self, key: &'a str, value: &'a [u8], timeout: Duration) -> Soon<'a, ()> {
        Box::pin(async move {
            let done = AsyncCache::set(self, key, value, timeout).await;
            done.map_err(|error| error.to_string())
        })
    }
    fn delete<'a>(&'a self, key: &'a str) -> Soon<'a, ()> {
        Box::pin(async move {
            AsyncCache::delete(self, key)
                .await
                .map_err(|error| error.to_string())
        })
    }
}
