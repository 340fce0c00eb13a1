//! Every companion, on every shape of function that can be cached.

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quickcache::{Cleared, Miss, quickcache};

/// What a function returns next: each execution is told from the others.
static NEXT: AtomicU64 = AtomicU64::new(1);

fn next() -> u64 {
    NEXT.fetch_add(1, Ordering::SeqCst)
}

/// `path [turbofish] (all arguments) (those of the key) (none | .await)`
macro_rules! every_companion {
    ($($f:ident)::+ [$($fish:tt)*] ($($all:expr),*) ($($key:expr),*) ($($awaits:tt)*)) => {{
        let call = || $($f)::+ $($fish)* ($($all),*);
        let first = call() $($awaits)*;
        assert_eq!(call() $($awaits)*, first);
        assert_eq!($($f)::+::get_cached_value $($fish)* ($($key),*) $($awaits)*, Some(first));

        let cleared = $($f)::+::clear $($fish)* ($($key),*) $($awaits)*;
        assert_eq!(cleared.wait(), Cleared::Applied);
        assert_eq!($($f)::+::get_cached_value $($fish)* ($($key),*) $($awaits)*, None);
        let second = call() $($awaits)*;
        assert!(second > first);

        $($f)::+::set_cached_value $($fish)* ($($key),*).to(7_000_000) $($awaits)*;
        assert_eq!(call() $($awaits)*, 7_000_000);
        let alone = $($f)::+::uncached $($fish)* ($($all),*) $($awaits)*;
        assert!(alone > second);
        assert_eq!(call() $($awaits)*, 7_000_000);
        let third = $($f)::+::refresh $($fish)* ($($all),*) $($awaits)*;
        assert!(third > alone);
        assert_eq!(call() $($awaits)*, third);

        let explained = $($f)::+::explain $($fish)* ($($key),*) $($awaits)*;
        assert_eq!(explained.tier.as_deref(), Some("memory"));
        assert_eq!(explained.last_miss, Some(Miss::Skipped));
        assert_eq!(explained.key, $($f)::+::key $($fish)* ($($key),*));
        assert!($($f)::+::stats().executions >= 3);
        let all = $($f)::+::clear_all() $($awaits)*;
        assert!(all.strict().is_ok());
        assert_eq!($($f)::+::get_cached_value $($fish)* ($($key),*) $($awaits)*, None);
    }};
}

/// `a call, its entry, (the arguments that the key does not mention) (none | .await)`
macro_rules! every_operation {
    ($call:expr, $entry:expr, ($($rest:expr),*) ($($awaits:tt)*)) => {{
        let call = || $call;
        let first = call() $($awaits)*;
        assert_eq!(call() $($awaits)*, first);
        assert_eq!($entry.get_cached_value() $($awaits)*, Some(first));

        assert_eq!($entry.clear() $($awaits)*.wait(), Cleared::Applied);
        assert_eq!($entry.get_cached_value() $($awaits)*, None);
        let second = call() $($awaits)*;
        assert!(second > first);

        $entry.set_cached_value().to(7_000_000) $($awaits)*;
        assert_eq!(call() $($awaits)*, 7_000_000);
        let alone = $entry.uncached($($rest),*) $($awaits)*;
        assert!(alone > second);
        assert_eq!(call() $($awaits)*, 7_000_000);
        let third = $entry.refresh($($rest),*) $($awaits)*;
        assert!(third > alone);
        assert_eq!(call() $($awaits)*, third);

        let explained = $entry.explain() $($awaits)*;
        assert_eq!(explained.tier.as_deref(), Some("memory"));
        assert_eq!(explained.last_miss, Some(Miss::Skipped));
        assert_eq!(explained.key, $entry.key());
        assert!($entry.stats().executions >= 3);
        assert!($entry.clear_all() $($awaits)*.strict().is_ok());
        assert_eq!($entry.get_cached_value() $($awaits)*, None);
    }};
}

#[quickcache(vary_on = [name], skip_arg = force)]
fn free(name: &str, force: bool) -> u64 {
    next()
}

#[quickcache(vary_on = [of.to_string(), N])]
fn generic<T: Display, const N: usize>(of: &T, more: Vec<T>) -> u64 {
    drop(more);
    next()
}

#[quickcache(vary_on = [name])]
async fn asynchronous(name: &str, more: String) -> u64 {
    tokio::task::yield_now().await;
    drop(more);
    next()
}

#[quickcache(vary_on = [of.to_string()])]
async fn asynchronous_generic<T: Display + Sync>(of: &T) -> u64 {
    tokio::task::yield_now().await;
    next()
}

fn key_of(name: &str, n: u64) -> (String, bool) {
    (name.to_owned(), n > 10)
}

#[quickcache(vary_on = key_of, skip_arg = force)]
fn by_function(name: &str, force: bool, n: u64) -> u64 {
    next()
}

mod outer {
    pub(super) mod inner {
        #[quickcache::quickcache(vary_on = [])]
        pub(crate) fn nested() -> u64 {
            super::super::next()
        }
    }
    pub(super) use inner::nested as reexported;
}

#[test]
fn of_functions() {
    every_companion!(free [] ("a", false) ("a") ());
    every_companion!(generic [::<u8, 2>] (&1, vec![1]) (&1) ());
    every_companion!(outer::inner::nested [] () () ());
    every_companion!(outer::reexported [] () () ());
}

#[test]
fn of_a_vary_on_function_take_all_but_the_skip_arg() {
    every_companion!(by_function [] ("a", false, 5) ("a", 5) ());
    assert_eq!(by_function("a", false, 6), by_function("a", false, 7));
    assert!(by_function("a", true, 6) < by_function("a", false, 60));
}

#[test]
fn of_a_function_in_a_function_with_a_local_type() {
    #[derive(quickcache::KeyPart, Clone, Copy)]
    struct Local(u64);
    #[quickcache(vary_on = [local])]
    fn local(local: Local) -> u64 {
        next()
    }
    every_companion!(local [] (Local(1)) (Local(1)) ());
}

#[tokio::test]
async fn of_async_functions() {
    every_companion!(asynchronous [] ("a", String::new()) ("a") (.await));
    every_companion!(asynchronous_generic [::<u8>] (&1) (&1) (.await));
}

#[derive(Clone)]
struct Repo<T> {
    name: T,
}

#[quickcache]
impl<T: Display> Repo<T> {
    #[quickcache(vary_on = [self.name.to_string(), key], skip_arg = force)]
    fn get(&self, key: &str, force: bool, more: Vec<u64>) -> u64 {
        drop(more);
        next()
    }

    #[quickcache(vary_on = [key])]
    fn without_a_receiver(key: &str) -> u64 {
        next()
    }

    #[quickcache(vary_on = [self.name.to_string()])]
    fn of_a_mutable(&mut self) -> u64 {
        next()
    }

    #[quickcache(vary_on = [self.name.to_string()])]
    fn of_an_arc(self: Arc<Self>) -> u64 {
        next()
    }

    #[quickcache(vary_on = [self.name.to_string()])]
    fn of_itself(self, more: u64) -> u64 {
        next() + more
    }

    #[quickcache(vary_on = [self.name.to_string(), of.to_string()])]
    async fn later<U>(&self, of: &U) -> u64
    where
        T: Sync,
        U: Display + Sync,
    {
        tokio::task::yield_now().await;
        next()
    }
}

trait Source<K> {
    fn fetch(&self, key: K) -> u64;
}

#[quickcache]
impl<T: Display, K: Display> Source<K> for Repo<T> {
    #[quickcache(vary_on = [self.name.to_string(), key.to_string()])]
    fn fetch(&self, key: K) -> u64 {
        next()
    }
}

#[tokio::test]
async fn of_methods() {
    let mut repo = Repo { name: "a" };
    every_operation!(
        repo.get("k", false, vec![]),
        repo.get_entry("k"),
        (false, vec![])()
    );
    every_operation!(
        Repo::<u8>::without_a_receiver("k"),
        Repo::<u8>::without_a_receiver_entry("k"),
        ()()
    );
    every_operation!(repo.fetch('k'), repo.fetch_entry('k'), ()());
    every_operation!(repo.later(&1), repo.later_entry(&1), ()(.await));
    every_operation!(
        repo.clone().of_itself(0),
        repo.clone().of_itself_entry(),
        (0)()
    );
    let arc = Arc::new(repo.clone());
    every_operation!(arc.clone().of_an_arc(), arc.clone().of_an_arc_entry(), ()());
    assert_eq!(repo.of_a_mutable(), repo.of_a_mutable());
    assert!(repo.of_a_mutable_entry().refresh() < repo.of_a_mutable_entry().uncached());
}
