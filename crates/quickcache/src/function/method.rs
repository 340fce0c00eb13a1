//! The entry of a method, `x.name_entry(...)`: one type for all methods, so that a sibling can name what it returns.

use std::future::Future;
use std::pin::Pin;

use super::Site;
use super::asynchronous::SettingAsync;
use super::call::{How, Pending};
use super::entry::{Cleared, Handle, Setting};
use crate::probe::Outcome;
use crate::stats::{Explanation, Stats};

/// One entry of a cached method, and what can be done with it.
///
/// `#[quickcache]` on an impl block gives each cached method such a sibling: `repo.get(key)` has `repo.get_entry(key)`. It
/// takes the arguments that `vary_on` mentions; `refresh` and `uncached` take the others.
///
/// ```
/// use quickcache::quickcache;
///
/// struct Repo { name: String }
///
/// #[quickcache]
/// impl Repo {
///     #[quickcache(vary_on = [self.name, key])]
///     fn get(&self, key: &str) -> String {
///         format!("{key} of {}", self.name)
///     }
/// }
///
/// let repo = Repo { name: "main".into() };
/// assert_eq!(repo.get("a"), "a of main");
/// assert_eq!(repo.get_entry("a").get_cached_value(), Some("a of main".into()));
/// repo.get_entry("a").clear();
/// assert_eq!(repo.get_entry("a").get_cached_value(), None);
/// ```
#[must_use = "an entry does nothing until it is asked"]
pub struct Entry<'e, V, R, A> {
    operations: Box<dyn Operations<V> + 'e>,
    run: Box<dyn FnOnce(How, A) -> R + 'e>,
}

/// One entry of a cached async method; see [`Entry`]. What asks a tier is async.
#[must_use = "an entry does nothing until it is asked"]
pub struct EntryAsync<'e, V, R, A> {
    operations: Box<dyn Operations<V> + Send + 'e>,
    run: Run<'e, R, A>,
}

type Run<'e, R, A> = Box<dyn FnOnce(How, A) -> Pin<Box<dyn Future<Output = R> + 'e>> + 'e>;
type Soon<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What an entry can do, whatever the types of its key and outcome.
pub trait Operations<V>: Send {
    fn clear(self: Box<Self>) -> Cleared;
    fn get(self: Box<Self>) -> Option<V>;
    fn set(self: Box<Self>) -> Setting<V>;
    fn key(&self) -> String;
    fn explain(self: Box<Self>) -> Explanation;
    fn site(&self) -> &'static Site;
    fn clear_async(self: Box<Self>) -> Soon<Cleared>;
    fn get_async(self: Box<Self>) -> Soon<Option<V>>;
    fn set_async(self: Box<Self>) -> SettingAsync<V>;
    fn explain_async(self: Box<Self>) -> Soon<Explanation>;
}

/// The entry speaks of the value that is stored.
pub struct OfValue<K, O>(pub Handle<K, O>);

/// The entry speaks of what the method returns.
pub struct OfWhole<K, O>(pub Handle<K, O>);

macro_rules! operations {
    ($($of:ident: $value:ident, $get:ident, $set:ident, $get_async:ident, $set_async:ident;)*) => {$(
        impl<K: Eq + Send + Sync + 'static, O: Outcome> Operations<O::$value> for $of<K, O> {
            fn clear(self: Box<Self>) -> Cleared {
                self.0.clear()
            }
            fn get(self: Box<Self>) -> Option<O::$value> {
                self.0.$get()
            }
            fn set(self: Box<Self>) -> Setting<O::$value> {
                self.0.$set()
            }
            fn key(&self) -> String {
                self.0.text()
            }
            fn explain(self: Box<Self>) -> Explanation {
                self.0.explain()
            }
            fn site(&self) -> &'static Site {
                self.0.function.site
            }
            fn clear_async(self: Box<Self>) -> Soon<Cleared> {
                Box::pin(self.0.clear_async())
            }
            fn get_async(self: Box<Self>) -> Soon<Option<O::$value>> {
                Box::pin(self.0.$get_async())
            }
            fn set_async(self: Box<Self>) -> SettingAsync<O::$value> {
                self.0.$set_async()
            }
            fn explain_async(self: Box<Self>) -> Soon<Explanation> {
                Box::pin(self.0.explain_async())
            }
        }
    )*};
}
operations! {
    OfValue: Value, get, set, get_async, set_async;
    OfWhole: Returned, get_whole, set_whole, get_whole_async, set_whole_async;
}

impl<'e, V, R, A> Entry<'e, V, R, A> {
    #[doc(hidden)]
    pub fn new(operations: impl Operations<V> + 'e, run: impl FnOnce(How, A) -> R + 'e) -> Self {
        Entry {
            operations: Box::new(operations),
            run: Box::new(run),
        }
    }

    /// Clears it: a call that starts after this returned gets a new value.
    pub fn clear(self) -> Cleared {
        self.operations.clear()
    }

    /// Its value if one is cached; runs nothing.
    #[must_use]
    pub fn get_cached_value(self) -> Option<V> {
        self.operations.get()
    }

    /// `set_cached_value().to(value)` caches a value of the caller's own.
    pub fn set_cached_value(self) -> Setting<V> {
        self.operations.set()
    }

    /// The text of its key, as a tier outside the process knows it.
    #[must_use]
    pub fn key(&self) -> String {
        self.operations.key()
    }

    /// The key and its parts, which tier holds it, its age and time left, why the last call missed.
    #[must_use]
    pub fn explain(self) -> Explanation {
        self.operations.explain()
    }

    /// Clears every entry of the method, whatever its arguments, at once.
    pub fn clear_all(self) -> Cleared {
        self.operations.site().clear_all()
    }

    /// What the cache did for the method so far, whatever its arguments.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.operations.site().stats()
    }
}

impl<'e, V, R, A> EntryAsync<'e, V, R, A> {
    #[doc(hidden)]
    pub fn new<F: Future<Output = R> + 'e>(
        operations: impl Operations<V> + 'e,
        run: impl FnOnce(How, A) -> F + 'e,
    ) -> Self {
        EntryAsync {
            operations: Box::new(operations),
            run: Box::new(move |how, rest| Box::pin(run(how, rest))),
        }
    }

    /// Clears it: a call that starts after this returned gets a new value.
    pub fn clear(self) -> impl Future<Output = Cleared> + Send {
        self.operations.clear_async()
    }

    /// Its value if one is cached; runs nothing.
    pub fn get_cached_value(self) -> impl Future<Output = Option<V>> + Send + use<V, R, A> {
        self.operations.get_async()
    }

    /// `set_cached_value().to(value).await` caches a value of the caller's own.
    pub fn set_cached_value(self) -> SettingAsync<V> {
        self.operations.set_async()
    }

    /// The text of its key, as a tier outside the process knows it.
    #[must_use]
    pub fn key(&self) -> String {
        self.operations.key()
    }

    /// The key and its parts, which tier holds it, its age and time left, why the last call missed.
    pub fn explain(self) -> impl Future<Output = Explanation> + Send {
        self.operations.explain_async()
    }

    /// Clears every entry of the method, whatever its arguments, at once.
    pub fn clear_all(self) -> impl Future<Output = Cleared> + Send {
        self.operations.site().clear_all_async()
    }

    /// What the cache did for the method so far, whatever its arguments.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.operations.site().stats()
    }
}

/// An argument whose type cannot be named outside of the method: then there is no `refresh`.
pub enum Unnameable {}

macro_rules! rest {
    ($(($($name:ident: $rest:ident),*))*) => {$(
        impl<'e, V, R, $($rest),*> Entry<'e, V, R, ($($rest,)*)> {
            /// Runs the method now and caches the result, whatever was cached. Takes the arguments that `vary_on` does not mention.
            pub fn refresh(self, $($name: $rest),*) -> R {
                (self.run)(How::Anew, ($($name,)*))
            }
            /// Runs the method without a cache. Takes the arguments that `vary_on` does not mention.
            pub fn uncached(self, $($name: $rest),*) -> R {
                (self.run)(How::Alone, ($($name,)*))
            }
        }
        impl<'e, V, R, $($rest),*> EntryAsync<'e, V, R, ($($rest,)*)> {
            /// Runs the method now and caches the result, whatever was cached. Takes the arguments that `vary_on` does not mention.
            pub async fn refresh(self, $($name: $rest),*) -> R {
                (self.run)(How::Anew, ($($name,)*)).await
            }
            /// Runs the method without a cache. Takes the arguments that `vary_on` does not mention.
            pub async fn uncached(self, $($name: $rest),*) -> R {
                (self.run)(How::Alone, ($($name,)*)).await
            }
        }
    )*};
}
rest! {
    ()
    (a: A)
    (a: A, b: B)
    (a: A, b: B, c: C)
    (a: A, b: B, c: C, d: D)
    (a: A, b: B, c: C, d: D, e: E)
    (a: A, b: B, c: C, d: D, e: E, f: F)
}

impl<K: Eq + Send + Sync + 'static, O: Outcome> Pending<K, O> {
    /// The same call, wanting something else of the cache.
    #[must_use]
    pub fn how(self, how: How) -> Self {
        Pending {
            how: if self.function.enabled() {
                how
            } else {
                How::Alone
            },
            ..self
        }
    }
}
