//! The entry of a method, `x.name_entry(...)`: one type for all methods, so that a sibling can name what it returns.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

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
pub struct EntryAsync<'e, V, R, A, X> {
    operations: Box<dyn Operations<V> + Send + 'e>,
    run: X,
    takes: PhantomData<fn(A) -> R>,
}

impl<V, R, A> std::fmt::Debug for Entry<'_, V, R, A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let key = self.operations.key();
        f.debug_struct("Entry")
            .field("key", &key)
            .finish_non_exhaustive()
    }
}

impl<V, R, A, X> std::fmt::Debug for EntryAsync<'_, V, R, A, X> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let key = self.operations.key();
        f.debug_struct("EntryAsync")
            .field("key", &key)
            .finish_non_exhaustive()
    }
}

/// Runs an async method, once it is told how: a type of its own for each method, so that the compiler sees whether it may go
/// to another thread.
pub trait Run<A, R> {
    fn start(&mut self, how: How, rest: A);
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<R>;
}

/// The call of an async method that has not begun, or its future.
pub enum Running<C, F> {
    Not(Option<C>),
    Is(Pin<Box<F>>),
}

impl<C, F> Unpin for Running<C, F> {}

impl<A, C: FnOnce(How, A) -> F, F: Future> Run<A, F::Output> for Running<C, F> {
    fn start(&mut self, how: How, rest: A) {
        if let Running::Not(call) = self
            && let Some(call) = call.take()
        {
            *self = Running::Is(Box::pin(call(how, rest)));
        }
    }
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<F::Output> {
        match self {
            Running::Is(future) => future.as_mut().poll(context),
            Running::Not(_) => unreachable!("it is started before it is polled"),
        }
    }
}

/// The future of [`Run`].
struct Ran<X, A, R>(X, PhantomData<fn(A) -> R>);

impl<X, A, R> Unpin for Ran<X, A, R> {}

impl<X: Run<A, R>, A, R> Future for Ran<X, A, R> {
    type Output = R;
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<R> {
        self.0.poll(context)
    }
}

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

impl<'e, V, R, A, C, F> EntryAsync<'e, V, R, A, Running<C, F>>
where
    C: FnOnce(How, A) -> F,
    F: Future<Output = R>,
{
    #[doc(hidden)]
    pub fn new(operations: impl Operations<V> + 'e, run: C) -> Self {
        EntryAsync {
            operations: Box::new(operations),
            run: Running::Not(Some(run)),
            takes: PhantomData,
        }
    }
}

impl<'e, V, R, A, X> EntryAsync<'e, V, R, A, X> {
    /// Clears it: a call that starts after this returned gets a new value.
    pub fn clear(self) -> impl Future<Output = Cleared> + Send {
        self.operations.clear_async()
    }

    /// Its value if one is cached; runs nothing.
    pub fn get_cached_value(self) -> impl Future<Output = Option<V>> + Send + use<V, R, A, X> {
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

impl<V, R, A, X: Run<A, R>> EntryAsync<'_, V, R, A, X> {
    fn run(mut self, how: How, rest: A) -> Ran<X, A, R> {
        self.run.start(how, rest);
        Ran(self.run, PhantomData)
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
        impl<'e, V, R, $($rest,)* X> EntryAsync<'e, V, R, ($($rest,)*), X>
        where
            X: Run<($($rest,)*), R>,
        {
            /// Runs the method now and caches the result, whatever was cached. Takes the arguments that `vary_on` does not mention.
            pub fn refresh(self, $($name: $rest),*) -> impl Future<Output = R> {
                self.run(How::Anew, ($($name,)*))
            }
            /// Runs the method without a cache. Takes the arguments that `vary_on` does not mention.
            pub fn uncached(self, $($name: $rest),*) -> impl Future<Output = R> {
                self.run(How::Alone, ($($name,)*))
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
