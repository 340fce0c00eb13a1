//! Free functions: what is cached, by what, for how long, and what the companions do.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Barrier, LazyLock};
use std::time::Duration;

use quickcache::{FakeClock, Memory, Miss, QuickCache, quickcache};

#[derive(Clone, Debug, PartialEq)]
struct Post {
    title: String,
}

struct Person {
    id: u64,
    name: String,
}

fn person(id: u64) -> Person {
    Person { id, name: format!("person {id}") }
}

/// Counts the executions of a function on this thread.
macro_rules! runs {
    ($($name:ident),*) => {
        thread_local! { $(static $name: Cell<usize> = const { Cell::new(0) };)* }
    };
}

fn ran(counter: &'static std::thread::LocalKey<Cell<usize>>) -> usize {
    counter.replace(0)
}

fn run(counter: &'static std::thread::LocalKey<Cell<usize>>) {
    counter.set(counter.get() + 1);
}

runs!(POSTS);

#[quickcache(vary_on = [person.id, locale], skip_arg = force)]
fn get_all_posts(person: &Person, locale: &str, force: bool) -> Vec<Post> {
    let _ = force;
    run(&POSTS);
    vec![Post { title: format!("{} in {locale}", person.name) }]
}

#[test]
fn a_second_call_is_a_hit_and_another_key_is_a_miss() {
    let (ann, bob) = (person(1), person(2));
    let first = get_all_posts(&ann, "en", false);
    assert_eq!(get_all_posts(&ann, "en", false), first);
    assert_eq!(ran(&POSTS), 1);
    get_all_posts(&ann, "de", false);
    get_all_posts(&bob, "en", false);
    assert_eq!(ran(&POSTS), 2);
}

#[test]
fn only_vary_on_counts() {
    let renamed = Person { id: 11, name: "renamed".to_owned() };
    let before = get_all_posts(&person(11), "en", false);
    assert_eq!(get_all_posts(&renamed, "en", false), before);
    assert_eq!(ran(&POSTS), 1);
}

#[test]
fn clear_makes_the_next_call_compute() {
    let ann = person(21);
    get_all_posts(&ann, "en", false);
    get_all_posts(&ann, "de", false);
    assert!(get_all_posts::clear(&ann, "en").is_applied());
    assert_eq!(get_all_posts::get_cached_value(&ann, "en"), None);
    assert!(get_all_posts::get_cached_value(&ann, "de").is_some());
    get_all_posts(&ann, "en", false);
    assert_eq!(ran(&POSTS), 3);
}

#[test]
fn skip_arg_computes_and_stores() {
    let ann = person(31);
    get_all_posts(&ann, "en", false);
    get_all_posts(&ann, "en", true);
    assert_eq!(ran(&POSTS), 2);
    let renamed = Person { id: 31, name: "renamed".to_owned() };
    let new = get_all_posts(&renamed, "en", true);
    assert_eq!(new[0].title, "renamed in en");
    assert_eq!(get_all_posts(&ann, "en", false), new);
}
