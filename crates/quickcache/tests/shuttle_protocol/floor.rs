//! The floor checker, and how a model is run: F holds if no call returns a value older than the newest whose clear had
//! returned when the call began.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::sync::atomic::AtomicU64;
use shuttle::{Config, FailurePersistence, Runner};

/// The source of values and the floor under them.
pub struct Floor {
    source: AtomicU64,
    floor: AtomicU64,
}

impl Floor {
    pub fn new() -> Self {
        Floor {
            source: AtomicU64::new(1),
            floor: AtomicU64::new(0),
        }
    }

    /// The function that is cached.
    pub fn compute(&self) -> u64 {
        self.source.load(Ordering::SeqCst)
    }

    /// Changes the source, and tells nobody.
    pub fn change_silently(&self) {
        self.source.fetch_add(1, Ordering::SeqCst);
    }

    /// Changes the source, then clears.
    pub fn change(&self, clear: impl FnOnce()) {
        let version = self.source.fetch_add(1, Ordering::SeqCst) + 1;
        clear();
        self.raise(version);
    }

    /// From here on nobody may see a value older than this one.
    pub fn raise(&self, version: u64) {
        self.floor.fetch_max(version, Ordering::SeqCst);
    }

    fn now(&self) -> u64 {
        self.floor.load(Ordering::SeqCst)
    }

    pub fn read(&self, call: impl FnOnce() -> u64) {
        let floor = self.now();
        check(floor, call());
    }

    pub async fn read_async(&self, call: impl Future<Output = u64>) {
        let floor = self.now();
        check(floor, call.await);
    }
}

fn check(floor: u64, value: u64) {
    assert!(
        value >= floor,
        "stale: {value}, and {floor} was cleared before the call"
    );
}

/// Runs a model over so many schedules of each kind, or as many as the environment says: all must be clean.
pub fn clean(
    name: &str,
    schedules_by_default: usize,
    model: impl Fn() + Clone + Send + Sync + 'static,
) {
    let schedules = schedules(schedules_by_default);
    for (scheduler, run) in runs(&model, schedules) {
        let begun = Instant::now();
        let outcome = run();
        let seconds = begun.elapsed().as_secs_f32();
        println!(
            "{name}: {scheduler}: {} schedules, {seconds:.1} s",
            outcome.schedules
        );
        assert!(
            outcome.failure.is_none(),
            "{name}: {scheduler}: {:?}",
            outcome.failure
        );
    }
}

/// Runs a wrong protocol through the same model: it must be found, by either scheduler, for the reason given.
pub fn found(name: &str, reason: &str, model: impl Fn() + Clone + Send + Sync + 'static) {
    let mut caught = false;
    for (scheduler, run) in runs(&model, schedules(5_000).min(100_000)) {
        let begun = Instant::now();
        let outcome = run();
        let seconds = begun.elapsed().as_secs_f32();
        match outcome.failure {
            Some(failure) => {
                println!(
                    "{name}: {scheduler}: found at schedule {}, {seconds:.2} s",
                    outcome.schedules
                );
                assert!(
                    failure.contains(reason),
                    "{name} was found for another reason: {failure}"
                );
                caught = true;
            }
            None => println!(
                "{name}: {scheduler}: not found in {} schedules, {seconds:.2} s",
                outcome.schedules
            ),
        }
    }
    assert!(caught, "{name} was not found: the model cannot see it");
}

fn schedules(default: usize) -> usize {
    let given = std::env::var("SHUTTLE_SCHEDULES");
    given
        .ok()
        .and_then(|number| number.parse().ok())
        .unwrap_or(default)
}

struct Outcome {
    schedules: usize,
    failure: Option<String>,
}

type Run = Box<dyn FnOnce() -> Outcome>;

fn runs<M>(model: &M, schedules: usize) -> [(&'static str, Run); 2]
where
    M: Fn() + Clone + Send + Sync + 'static,
{
    const SEED: u64 = 0x5eed;
    let (random, pct) = (model.clone(), model.clone());
    [
        (
            "random",
            Box::new(move || run(RandomScheduler::new_from_seed(SEED, schedules), random)),
        ),
        (
            "pct",
            Box::new(move || run(PctScheduler::new_from_seed(SEED, 3, schedules), pct)),
        ),
    ]
}

fn run(scheduler: impl Scheduler + 'static, model: impl Fn() + Send + Sync + 'static) -> Outcome {
    let mut config = Config::new();
    config.failure_persistence = FailurePersistence::None;
    config.silence_warnings = true;
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    let model = move || {
        counted.fetch_add(1, Ordering::Relaxed);
        model();
    };
    let result = catch_unwind(AssertUnwindSafe(|| {
        Runner::new(scheduler, config).run(model)
    }));
    let failure = result.err().map(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string))
            .unwrap_or_default()
    });
    Outcome {
        schedules: count.load(Ordering::Relaxed),
        failure,
    }
}
