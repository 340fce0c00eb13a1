//! The same for functions at a Redis: processes of several machines, which share nothing but the server, or the cluster, and servers and a network that
//! fail at random too.

mod cluster;
mod ears;
mod faults;
mod floors;
mod ground;
mod mutant;
mod network;
mod pair;
mod protocol;
mod servers;
mod subject;
mod worker;

use std::io;
use std::path::Path;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use faults::Faults;
use floors::{Floors, MOST_MACHINES};
pub use mutant::{ALL as MUTANTS, Mutant};
pub use worker::{Orders, run as work};

use crate::history::{Count, History};
use crate::{Folder, tell_violation};

pub const MOST: usize = MOST_MACHINES;

/// How long a wrong protocol may last, and how long the one that is not wrong is looked at.
const MUTANT_LASTS: Duration = Duration::from_secs(60);
const NONE_LASTS: Duration = Duration::from_secs(3);

/// What a call may take longer than its function without its being told of: the budget of an operation, and as much again.
const SLOW: Duration = Duration::from_millis(200);

/// How long it takes at most until pending clears are applied when everything works again, with some time for a machine that is busy.
const SETTLED: Duration = Duration::from_secs(3);

/// Whether nothing was found, but for what should be.
pub fn verify(
    orders: &Orders,
    folder: Option<&Path>,
    mutants: bool,
    minutes: f64,
) -> io::Result<bool> {
    if mutants {
        for (name, mutant) in mutant::of(orders.cluster) {
            let lasts = match mutant {
                Mutant::None => NONE_LASTS,
                _ => MUTANT_LASTS,
            };
            let began = Instant::now();
            let clean = disturbed(&of_mutant(orders, mutant), folder, lasts, true)?;
            let seconds = began.elapsed().as_secs_f64();
            let what = if clean { "clean" } else { "found" };
            println!("mutant {name}: {what} after {seconds:.1} s");
            if clean != (mutant == Mutant::None) {
                return Ok(false);
            }
        }
    }
    let lasts = Duration::from_secs_f64(minutes * 60.0);
    match orders.mutant {
        Some(mutant) => disturbed(&of_mutant(orders, mutant), folder, lasts, false),
        None => disturbed(orders, folder, lasts, false),
    }
}

/// Every process is a machine of its own there, and has no journal.
fn of_mutant(orders: &Orders, mutant: Mutant) -> Orders {
    Orders {
        mutant: Some(mutant),
        workers: 3,
        machines: 3,
        keys: orders.keys.min(8),
        pending: false,
        ..orders.clone()
    }
}

/// Runs workers and disturbs them. Whether no call was given an old value.
fn disturbed(
    orders: &Orders,
    folder: Option<&Path>,
    lasts: Duration,
    quietly: bool,
) -> io::Result<bool> {
    let folder = Folder::new(folder)?;
    let orders = Orders {
        folder: folder.path().to_owned(),
        ..orders.clone()
    };
    for machine in 0..orders.machines {
        std::fs::create_dir(folder.path().join(format!("machine-{machine}")))?;
    }
    let history = History::open(&crate::worker::history_in(folder.path()))?;
    let floors = Floors::open(&worker::floors_in(folder.path()), worker::STALENESS)?;
    let mut faults = Faults::start(&orders, history)?;
    let began = Instant::now();
    let mut next_line = Duration::from_secs(60);
    while began.elapsed() < lasts && history.violations() == 0 {
        std::thread::sleep(Duration::from_millis(1));
        faults.disturb()?;
        if !quietly && began.elapsed() >= next_line && next_line < lasts {
            tell(&orders, history, &faults, began.elapsed());
            next_line += Duration::from_secs(60);
        }
    }
    if orders.pending && history.violations() == 0 {
        faults.mend();
        // What becomes pending after that (a clear of everything does not say that it is applied) is not waited for.
        let owed = owed(&orders, floors);
        std::thread::sleep(SETTLED);
        all_applied(&owed, floors);
        std::thread::sleep(SETTLED / 3);
    }
    if !quietly && history.violations() > 0 {
        faults.tell();
    }
    let ended = faults.finish()?;
    if !quietly {
        tell(&orders, history, &faults, began.elapsed());
        if history.violations() > 0 {
            tell_violation(history, &|number| faults.name(number));
        }
        if !ended {
            println!("a worker did not end, or not well");
        }
    }
    Ok(ended && history.violations() == 0)
}

/// What is pending: families, keys and versions.
fn owed(orders: &Orders, floors: Floors) -> Vec<(usize, usize, u64)> {
    let machines = 0..orders.machines;
    let all =
        (0..floors::FAMILIES).flat_map(|family| (0..orders.keys).map(move |key| (family, key)));
    all.map(|(family, key)| {
        let of = |machine| floors.owed(machine, family, key).load(SeqCst);
        (
            family,
            key,
            machines.clone().map(of).max().unwrap_or_default(),
        )
    })
    .collect()
}

/// What was pending must be in force everywhere by now.
fn all_applied(owed: &[(usize, usize, u64)], floors: Floors) {
    for (family, key, version) in owed {
        floors.applied(*family, *key).fetch_max(*version, SeqCst);
        floors.everywhere(*family, *key, *version);
    }
}

fn tell(orders: &Orders, history: History, faults: &Faults, since: Duration) {
    let total = |count| history.total(count);
    println!(
        "{:.1} min: reads {}, clears applied {}, pending {}, waited for {}, executions {}, refreshes {}, sets {}, dropped {}, panics {}, \
         violations {}",
        since.as_secs_f64() / 60.0,
        total(Count::Read),
        total(Count::Applied),
        total(Count::Pending),
        total(Count::Waited),
        total(Count::Execution),
        total(Count::Refresh),
        total(Count::Set),
        total(Count::Dropped),
        total(Count::Panic),
        history.violations()
    );
    if orders.mutant.is_none() {
        for (kind, (name, ..)) in subject::KINDS.iter().enumerate() {
            println!("  reads of {name}: {}", history.total_reads(kind));
        }
    }
    println!("  faults {}: {}", faults.total(), faults.counts());
    let times = history.times();
    println!(
        "  took, if the process was not stopped meanwhile: half {:?}, 99 % {:?}, 99.9 % {:?}, 99.99 % {:?} at most; longer than {SLOW:?} {}",
        times.quantile(500_000),
        times.quantile(990_000),
        times.quantile(999_000),
        times.quantile(999_900),
        times.longer_than(SLOW),
    );
    let steps = worker::STEPS.iter().enumerate();
    let longest: Vec<_> = steps
        .map(|(of, name)| format!("{name} {:.3} s", history.longest(of).as_secs_f64()))
        .collect();
    println!("  the longest: {}", longest.join(", "));
}
