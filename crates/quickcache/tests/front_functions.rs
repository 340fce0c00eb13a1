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
    Person {
        id,
        name: format!("person {id}"),
    }
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
    vec![Post {
        title: format!("{} in {locale}", person.name),
    }]
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
    let renamed = Person {
        id: 11,
        name: "renamed".to_owned(),
    };
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
    let renamed = Person {
        id: 31,
        name: "renamed".to_owned(),
    };
    let new = get_all_posts(&renamed, "en", true);
    assert_eq!(new[0].title, "renamed in en");
    assert_eq!(get_all_posts(&ann, "en", false), new);
}

mod blog {
    use super::{Post, run};
    thread_local! { static NESTED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) }; }

    pub mod inner {
        #[quickcache::quickcache(vary_on = [id])]
        pub fn titles(id: u64) -> Vec<super::Post> {
            super::run(&super::NESTED);
            vec![super::Post {
                title: id.to_string(),
            }]
        }
    }
    pub use inner::titles;
    pub(super) fn nested_runs() -> usize {
        super::ran(&NESTED)
    }
}

#[test]
fn a_reexported_function_brings_its_companions_along() {
    use blog::titles as renamed;
    renamed(1);
    blog::titles(1);
    assert_eq!(blog::nested_runs(), 1);
    assert!(blog::inner::titles::clear(1).is_applied());
    assert_eq!(renamed::get_cached_value(1), None);
}

#[test]
fn a_function_in_a_function_may_use_local_types() {
    #[derive(Clone, Debug, PartialEq)]
    struct Local(u64);
    runs!(LOCAL);
    #[quickcache(vary_on = [n])]
    fn local(n: u64) -> Local {
        run(&LOCAL);
        Local(n)
    }
    assert_eq!(local(1), local(1));
    assert_eq!(ran(&LOCAL), 1);
    local::clear(1);
    local(1);
    assert_eq!(ran(&LOCAL), 1);
}

runs!(SINGLE, FALLIBLE, KEPT, ALIASED, OPTIONAL, UNIT);

#[quickcache(vary_on = [])]
fn singleton() -> String {
    run(&SINGLE);
    "one".to_owned()
}

#[test]
fn an_empty_vary_on_is_a_singleton() {
    assert_eq!(singleton(), singleton());
    assert_eq!(ran(&SINGLE), 1);
    singleton::clear();
    singleton();
    assert_eq!(ran(&SINGLE), 1);
}

/// Neither Clone nor Sync.
#[derive(Debug, PartialEq)]
struct Refused(Cell<u64>);

#[quickcache(vary_on = [n])]
fn fallible(n: u64) -> Result<u64, Refused> {
    run(&FALLIBLE);
    if n == 0 {
        Err(Refused(Cell::new(n)))
    } else {
        Ok(n)
    }
}

#[test]
fn ok_is_cached_and_err_is_not() {
    assert_eq!(fallible(1), Ok(1));
    assert_eq!(fallible(1), Ok(1));
    assert_eq!(ran(&FALLIBLE), 1);
    assert_eq!(fallible::get_cached_value(1), Some(1));
    assert!(fallible(0).is_err());
    assert!(fallible(0).is_err());
    assert_eq!(ran(&FALLIBLE), 2);
    fallible::set_cached_value(0).to(7);
    assert_eq!(fallible(0), Ok(7));
}

#[quickcache(vary_on = [n], errors = keep)]
fn kept(n: u64) -> Result<u64, String> {
    run(&KEPT);
    Err(n.to_string())
}

#[test]
fn errors_are_kept_where_it_says_so() {
    assert_eq!(kept(1), kept(1));
    assert_eq!(ran(&KEPT), 1);
    assert_eq!(kept::get_cached_value(1), Some(Err("1".to_owned())));
}

type Answer = Result<u64, String>;

#[quickcache(vary_on = [n])]
fn aliased(n: u64) -> Answer {
    run(&ALIASED);
    if n == 0 {
        Err("zero".to_owned())
    } else {
        Ok(n)
    }
}

#[test]
fn a_result_behind_an_alias_is_a_result() {
    assert!(aliased(0).is_err() && aliased(0).is_err());
    assert_eq!(ran(&ALIASED), 2);
    assert!(aliased(1) == aliased(1));
    assert_eq!(ran(&ALIASED), 1);
    assert_eq!(aliased::get_cached_value(1), Some(Ok(1)));
    aliased::set_cached_value(0).to(Err("not stored".to_owned()));
    assert_eq!(aliased::get_cached_value(0), None);
    aliased::set_cached_value(0).to(Ok(5));
    assert_eq!(aliased(0), Ok(5));
}

#[quickcache(vary_on = [n])]
fn optional(n: Option<u64>) -> Option<u64> {
    run(&OPTIONAL);
    n
}

#[test]
fn none_is_cached() {
    assert_eq!((optional(None), optional(None)), (None, None));
    assert_eq!(ran(&OPTIONAL), 1);
    assert_eq!(optional::get_cached_value(None), Some(None));
}

#[quickcache(vary_on = [n])]
fn unit(n: u64) {
    let _ = n;
    run(&UNIT);
}

#[test]
fn a_function_without_a_result_runs_once() {
    unit(1);
    unit(1);
    assert_eq!(ran(&UNIT), 1);
}

runs!(OWNED, MUTATED, GENERIC, CONST, LIFETIMES, IMPL);

#[quickcache(vary_on = [name])]
fn owned(name: String, mut rest: Vec<u64>) -> usize {
    run(&OWNED);
    rest.push(1);
    let moved: String = name;
    moved.len() + rest.len()
}

#[test]
fn owned_and_mutable_arguments_move_into_the_function() {
    assert_eq!(owned("abc".to_owned(), vec![]), 4);
    assert_eq!(owned("abc".to_owned(), vec![1, 2]), 4);
    assert_eq!(ran(&OWNED), 1);
    owned::clear("abc".to_owned());
    assert_eq!(owned::refresh("abc".to_owned(), vec![1]), 5);
    assert_eq!(owned::uncached("abc".to_owned(), vec![]), 4);
    assert_eq!(owned::get_cached_value("abc".to_owned()), Some(5));
}

trait Named {
    const NAME: &'static str;
}

struct A;

struct B;

impl Named for A {
    const NAME: &'static str = "a";
}

impl Named for B {
    const NAME: &'static str = "b";
}

#[quickcache(vary_on = [n])]
fn generic<T: Named>(n: u64) -> String {
    run(&GENERIC);
    format!("{}{n}", T::NAME)
}

#[test]
fn a_type_parameter_that_is_in_neither_key_nor_value_tells_entries_apart() {
    assert_eq!(generic::<A>(1), "a1");
    assert_eq!(generic::<B>(1), "b1");
    assert_eq!(generic::<A>(1), "a1");
    assert_eq!(ran(&GENERIC), 2);
    generic::clear::<A>(1);
    assert_eq!(generic::get_cached_value::<A>(1), None);
    assert_eq!(generic::get_cached_value::<B>(1), Some("b1".to_owned()));
}

#[quickcache(vary_on = [])]
fn sized<const N: usize, const UP: bool>() -> [u8; N] {
    run(&CONST);
    [UP.into(); N]
}

#[test]
fn const_parameters_tell_entries_apart() {
    assert_eq!(sized::<2, true>(), [1, 1]);
    assert_eq!(sized::<2, false>(), [0, 0]);
    assert_eq!(sized::<3, true>(), [1, 1, 1]);
    assert_eq!(sized::<2, true>(), [1, 1]);
    assert_eq!(ran(&CONST), 3);
}

#[quickcache(vary_on = [text.as_ref()])]
fn measured<S>(text: S) -> usize
where
    S: AsRef<str> + std::fmt::Debug,
{
    run(&GENERIC);
    text.as_ref().len()
}

#[test]
fn entries_belong_to_the_type_parameters_that_a_call_names_or_implies() {
    assert_eq!((measured("abc"), measured("abc".to_owned())), (3, 3));
    assert_eq!(ran(&GENERIC), 2);
    measured::clear("abc");
    assert_eq!(measured::get_cached_value("abc".to_owned()), Some(3));
    measured::clear_all();
    assert_eq!(measured::get_cached_value("abc".to_owned()), None);
}

struct Parts<'a> {
    names: &'a [&'a str],
}

#[quickcache(vary_on = [parts.names[0], *other, parts.names.len() + 1])]
fn lifetimes<'a, 'b: 'a>(parts: &Parts<'a>, other: &'b str) -> String {
    run(&LIFETIMES);
    format!("{}{other}", parts.names[0])
}

#[test]
fn lifetimes_indexes_derefs_and_arithmetic_are_parts() {
    let names = [String::from("x")];
    let names = [names[0].as_str()];
    let parts = Parts { names: &names };
    assert_eq!(lifetimes(&parts, "y"), lifetimes(&parts, "y"));
    assert_eq!(ran(&LIFETIMES), 1);
    assert!(lifetimes::clear(&parts, "y").is_applied());
    lifetimes(&parts, "y");
    assert_eq!(ran(&LIFETIMES), 1);
}

#[quickcache(vary_on = [text.to_string()])]
fn displayed(text: impl std::fmt::Display, unused: impl FnOnce() -> u64) -> u64 {
    run(&IMPL);
    let _ = text;
    unused()
}

#[test]
fn impl_trait_arguments_are_arguments() {
    assert_eq!(displayed(1, || 5), 5);
    assert_eq!(displayed("1", || 6), 5);
    assert_eq!(ran(&IMPL), 1);
    displayed::clear('1');
    assert_eq!(displayed(1, || 7), 7);
}

fn by_name_and_len(person: &Person, n: u64) -> (String, u64) {
    (person.name.clone(), n % 10)
}

fn is_zero(_: &Person, n: u64) -> bool {
    n == 0
}

runs!(BY_FUNCTION);

#[quickcache(vary_on = by_name_and_len, skip_arg = is_zero)]
fn by_function(person: &Person, n: u64) -> u64 {
    run(&BY_FUNCTION);
    person.id + n
}

#[test]
fn vary_on_and_skip_arg_may_be_functions() {
    let ann = person(1);
    assert_eq!(by_function(&ann, 12), 13);
    assert_eq!(by_function(&ann, 22), 13);
    assert_eq!(ran(&BY_FUNCTION), 1);
    by_function(&ann, 0);
    by_function(&ann, 0);
    assert_eq!(ran(&BY_FUNCTION), 2);
    assert!(by_function::clear(&ann, 2).is_applied());
    assert_eq!(by_function::get_cached_value(&ann, 32), None);
}

#[derive(quickcache::KeyPart, Clone, Copy)]
enum Order {
    Newest,
    Best(u8),
    Between { low: i32, high: i32 },
}

#[derive(quickcache::KeyPart)]
struct Page<T> {
    of: T,
    order: Order,
}

runs!(DERIVED);

#[quickcache(vary_on = [page])]
fn derived(page: &Page<&str>) -> String {
    run(&DERIVED);
    page.of.to_owned()
}

#[test]
fn derived_key_parts_are_key_values() {
    let orders = [
        Order::Newest,
        Order::Best(1),
        Order::Best(2),
        Order::Between { low: 1, high: 2 },
    ];
    for order in orders.into_iter().chain(orders) {
        derived(&Page { of: "x", order });
    }
    assert_eq!(ran(&DERIVED), 4);
}

static CLOCK: LazyLock<FakeClock> = LazyLock::new(FakeClock::new);
static CACHE: LazyLock<QuickCache> = LazyLock::new(|| {
    QuickCache::builder(Memory::new())
        .timeout("10s")
        .clock(&CLOCK)
        .build()
});
static LONGER: LazyLock<QuickCache> =
    LazyLock::new(|| CACHE.but_with(|options| options.timeout("20s")));

runs!(STAGES, SLOW);

#[quickcache(cache = CACHE, vary_on = [])]
fn ten() -> u64 {
    run(&STAGES);
    10
}

#[quickcache(cache = LONGER, vary_on = [])]
fn twenty() -> u64 {
    run(&STAGES);
    20
}

#[quickcache(cache = LONGER, vary_on = [], timeout = "30s")]
fn thirty() -> u64 {
    run(&STAGES);
    30
}

#[quickcache(cache = CACHE, vary_on = [by])]
fn slow(by: u64) -> u64 {
    run(&SLOW);
    CLOCK.advance(Duration::from_secs(by));
    by
}

#[test]
fn p6_a_value_lives_as_long_as_the_last_stage_says_counted_from_its_start() {
    let all = || (ten(), twenty(), thirty());
    all();
    assert_eq!(ran(&STAGES), 3);
    for expired in 1..=3 {
        CLOCK.advance(Duration::from_millis(9_999));
        let _ = (ten::get_cached_value(), twenty::get_cached_value());
        CLOCK.advance(Duration::from_millis(1));
        let left = [
            ten::get_cached_value(),
            twenty::get_cached_value(),
            thirty::get_cached_value(),
        ];
        assert_eq!(left.iter().flatten().count(), 3 - expired);
    }
    ten();
    assert_eq!(ten::explain().last_miss, Some(Miss::Expired));
    // The clock is shared, so the slow function is tried here too.
    slow(4);
    CLOCK.advance(Duration::from_secs(5));
    slow(4);
    assert_eq!(
        ran(&SLOW),
        1,
        "4 s of running and 5 s of waiting are less than 10"
    );
    CLOCK.advance(Duration::from_secs(1));
    assert_eq!(slow::get_cached_value(4), None, "age counts from the start");
    slow(10);
    assert_eq!(
        slow::get_cached_value(10),
        None,
        "slower than its timeout: not stored"
    );
    assert_eq!(slow::stats().refused_fills, 1);
}

#[test]
fn set_cached_value_replaces_what_is_there() {
    runs!(SET);
    #[quickcache(vary_on = [n])]
    fn set(n: u64) -> u64 {
        run(&SET);
        n
    }
    set(1);
    set::set_cached_value(1).to(100);
    assert_eq!(set(1), 100);
    set::clear_all();
    assert_eq!(set(1), 1);
    assert_eq!(ran(&SET), 2);
}

#[test]
fn explain_and_stats_tell_what_happened() {
    #[quickcache(vary_on = [name, n % 2], name = "told", version = 3)]
    fn told(name: &str, n: u64) -> u64 {
        let _ = name;
        n
    }
    let before = told::explain("a", 5);
    assert_eq!(before.tier, None);
    assert_eq!(before.last_miss, None);
    told("a", 5);
    told("a", 7);
    let after = told::explain("a", 5);
    assert_eq!(after.function, "told");
    assert_eq!(
        after.parts,
        [
            ("name".to_owned(), "\"a\"".to_owned()),
            ("n % 2".to_owned(), "1".to_owned())
        ]
    );
    assert_eq!(after.tier.as_deref(), Some("memory"));
    assert_eq!(after.last_miss, Some(Miss::First));
    assert_eq!(after.key, told::key("a", 1));
    assert!(
        after
            .time_left
            .is_some_and(|left| left > Duration::from_secs(290))
    );
    told::clear("a", 5);
    told("a", 5);
    assert_eq!(told::explain("a", 5).last_miss, Some(Miss::Cleared));
    let stats = told::stats();
    assert_eq!(
        (
            stats.memory_hits,
            stats.misses,
            stats.fills,
            stats.executions
        ),
        (1, 2, 2, 2)
    );
    assert_eq!(stats.entries, 1);
    assert!(stats.bytes > 0);
}

#[test]
fn a_disabled_cache_runs_the_function_every_time() {
    static OFF: LazyLock<QuickCache> = LazyLock::new(|| QuickCache::new(Memory::new()));
    runs!(DISABLED);
    #[quickcache(cache = OFF, vary_on = [])]
    fn disabled() -> u64 {
        run(&DISABLED);
        1
    }
    disabled();
    OFF.set_enabled(false);
    disabled();
    disabled();
    assert_eq!(ran(&DISABLED), 3);
    OFF.set_enabled(true);
    disabled();
    assert_eq!(ran(&DISABLED), 0);
    OFF.clear_everything();
    disabled();
    assert_eq!(ran(&DISABLED), 1);
}

#[test]
fn p7_many_threads_on_a_cold_key_run_the_function_once() {
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    #[quickcache(vary_on = [n])]
    fn cold(n: u64) -> u64 {
        RUNS.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(20));
        n
    }
    let together = Barrier::new(8);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                together.wait();
                assert_eq!(cold(5), 5);
            });
        }
    });
    assert_eq!(RUNS.load(Ordering::SeqCst), 1);
}

#[test]
fn p11_a_panic_goes_to_its_caller_and_the_next_call_computes() {
    static FAIL: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(true);
    #[quickcache(vary_on = [n])]
    fn fragile(n: u64) -> u64 {
        assert!(!FAIL.load(Ordering::SeqCst), "as told");
        n
    }
    assert!(std::panic::catch_unwind(|| fragile(1)).is_err());
    FAIL.store(false, Ordering::SeqCst);
    assert_eq!(fragile(1), 1);
}

#[test]
fn p11_a_function_that_calls_itself_with_its_own_key_ends() {
    #[quickcache(vary_on = [])]
    fn again(depth: u64) -> u64 {
        if depth == 0 { 0 } else { again(depth - 1) + 1 }
    }
    assert_eq!(again(3), 3);
}

#[test]
fn p1_clear_beats_a_running_flight() {
    use std::sync::mpsc::{Receiver, Sender, channel};
    static ROUND: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static STEPS: std::cell::RefCell<Option<(Sender<()>, Receiver<()>)>> = const { std::cell::RefCell::new(None) };
    }
    #[quickcache(vary_on = [])]
    fn source() -> usize {
        let value = ROUND.load(Ordering::SeqCst);
        STEPS.with_borrow(|steps| {
            if let Some((running, go_on)) = steps {
                running.send(()).unwrap();
                go_on.recv().unwrap();
            }
        });
        value
    }
    let (running, is_running) = channel();
    let (go_on, goes_on) = channel();
    let old = std::thread::spawn(move || {
        STEPS.set(Some((running, goes_on)));
        source()
    });
    is_running.recv().unwrap();
    ROUND.store(1, Ordering::SeqCst);
    assert!(source::clear().is_applied());
    assert_eq!(
        source(),
        1,
        "a call after the clear does not join a flight from before it"
    );
    go_on.send(()).unwrap();
    assert_eq!(
        old.join().unwrap(),
        0,
        "who began before the clear gets the old value"
    );
    assert_eq!(source(), 1, "and does not store it");
}
