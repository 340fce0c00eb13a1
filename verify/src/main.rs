//! `quickcache-verify`: shows on this machine that a call which starts after a clear returned is never given a value from before it.
//! Processes call, change and clear at the same time and are killed and stopped at random; every read is checked. `docs/verify.md`
//! says how to use it and what it has shown.

mod faults;
mod history;
mod mutant;
mod redis;
mod subject;
mod times;
mod worker;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use faults::Workers;
use history::{Count, Event, History, MOST_KEYS, MOST_THREADS, MOST_WORKERS};
use lexopt::ValueExt;
use mutant::Mutant;
use worker::Orders;

const USAGE: &str = "\
quickcache-verify: shows that no call which starts after a clear returned is given a value from before it

  --minutes N    how long to run; default 1
  --workers N    processes; default 3
  --threads N    threads in each; default 3
  --keys N       keys; default 32
  --seed N       what is chosen follows from it; default: from the clock. The system still chooses who runs when
  --folder PATH  where to make the store, a folder of a local file system; default: below the folder of temporary files
  --redis        functions at a Redis, on machines that share nothing else; default workers: 4
  --cluster      the same at a cluster of three primaries, each with a replica
  --machines N   how many machines there are; default 2
  --pending      also that a pending clear is in force on its machine at once, and applied when the server is back
  --mutant NAME  run a wrong protocol, which must be found
  --mutants      run each of them for a few seconds first: exit status 1 if one is not found

Exit status: 0, no violation; 1, a violation, with what happened around it, or a worker that ended by itself; 2, wrong usage.
";

/// How long a wrong protocol may last, and how long the one that is not wrong is looked at.
const MUTANT_LASTS: Duration = Duration::from_secs(30);
const NONE_LASTS: Duration = Duration::from_secs(3);

/// What the command line says.
struct Usage {
    orders: Orders,
    redis: Option<redis::Orders>,
    folder: Option<PathBuf>,
    minutes: f64,
    mutants: bool,
    is_worker: bool,
}

fn main() -> ExitCode {
    let usage = match usage() {
        Ok(Some(usage)) => usage,
        Ok(None) => return ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("quickcache-verify: {error}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match (&usage.redis, usage.is_worker) {
        (None, true) => {
            worker::run(&usage.orders);
            return ExitCode::SUCCESS;
        }
        (Some(orders), true) => {
            redis::work(orders);
            return ExitCode::SUCCESS;
        }
        _ => println!("seed {}", usage.orders.seed),
    }
    let verified = match &usage.redis {
        None => verify(&usage),
        Some(orders) => redis::verify(
            orders,
            usage.folder.as_deref(),
            usage.mutants,
            usage.minutes,
        ),
    };
    match verified {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("quickcache-verify: {error}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> Result<Option<Usage>, lexopt::Error> {
    use lexopt::prelude::{Long, Short};

    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let mut usage = Usage {
        orders: Orders {
            folder: PathBuf::new(),
            number: 0,
            workers: 0,
            threads: 3,
            keys: 32,
            seed: clock.map_or(0, |since| since.as_nanos() as u64 & 0xFFFF_FFFF),
            mutant: None,
        },
        redis: None,
        folder: None,
        minutes: 1.0,
        mutants: false,
        is_worker: false,
    };
    let (mut at_redis, mut cluster, mut machines, mut pending) = (false, false, 2, false);
    let (mut address, mut mutant) = (String::new(), None);
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("minutes") => usage.minutes = arguments.value()?.parse()?,
            Long("workers") => usage.orders.workers = arguments.value()?.parse()?,
            Long("threads") => usage.orders.threads = arguments.value()?.parse()?,
            Long("keys") => usage.orders.keys = arguments.value()?.parse()?,
            Long("seed") => usage.orders.seed = arguments.value()?.parse()?,
            Long("folder") => usage.folder = Some(arguments.value()?.into()),
            Long("redis") => at_redis = true,
            Long("cluster") => (at_redis, cluster) = (true, true),
            Long("machines") => machines = arguments.value()?.parse()?,
            Long("pending") => pending = true,
            Long("mutants") => usage.mutants = true,
            Long("mutant") => mutant = Some(arguments.value()?.string()?),
            // What a worker is started with.
            Long("worker") => {
                usage.is_worker = true;
                usage.orders.number = arguments.value()?.parse()?;
            }
            Long("address") => address = arguments.value()?.string()?,
            Short('h') | Long("help") => {
                print!("{USAGE}");
                return Ok(None);
            }
            other => return Err(other.unexpected()),
        }
    }
    if usage.orders.workers == 0 {
        usage.orders.workers = if at_redis { 4 } else { 3 };
    }
    for (name, value, most) in [
        ("workers", usage.orders.workers, MOST_WORKERS),
        ("threads", usage.orders.threads, MOST_THREADS),
        ("keys", usage.orders.keys, MOST_KEYS),
        ("machines", machines, redis::MOST),
    ] {
        if !(1..=most).contains(&value) {
            return Err(format!("--{name} {value}: from 1 to {most}").into());
        }
    }
    if usage.is_worker {
        usage.orders.folder = usage.folder.take().unwrap_or_default();
    }
    if at_redis {
        let Orders {
            folder,
            number,
            workers,
            threads,
            keys,
            seed,
            ..
        } = usage.orders.clone();
        usage.redis = Some(redis::Orders {
            folder,
            number,
            workers,
            threads,
            keys,
            seed,
            machines,
            address,
            cluster,
            pending,
            mutant: mutant
                .map(|name| named(&redis::MUTANTS, &name))
                .transpose()?,
        });
    } else {
        usage.orders.mutant = mutant.map(|name| named(&mutant::ALL, &name)).transpose()?;
    }
    Ok(Some(usage))
}

/// The mutant of this name.
fn named<M: Copy>(all: &[(&str, M)], name: &str) -> Result<M, String> {
    let found = all.iter().find(|(of, _)| *of == name);
    found.map(|(_, mutant)| *mutant).ok_or_else(|| {
        let names: Vec<_> = all.iter().map(|(name, _)| *name).collect();
        format!("there is no mutant `{name}`, but {}", names.join(", "))
    })
}

/// Whether nothing was found, but for what should be.
fn verify(usage: &Usage) -> std::io::Result<bool> {
    if usage.mutants {
        for (name, mutant) in mutant::ALL {
            let lasts = if mutant == Mutant::None {
                NONE_LASTS
            } else {
                MUTANT_LASTS
            };
            let began = Instant::now();
            let orders = Orders {
                mutant: Some(mutant),
                ..usage.orders.clone()
            };
            let found = run(&orders, usage.folder.as_deref(), lasts, true)?;
            let seconds = began.elapsed().as_secs_f64();
            println!(
                "mutant {name}: {} after {seconds:.1} s",
                if found { "clean" } else { "found" }
            );
            if found != (mutant == Mutant::None) {
                return Ok(false);
            }
        }
    }
    let lasts = Duration::from_secs_f64(usage.minutes * 60.0);
    run(&usage.orders, usage.folder.as_deref(), lasts, false)
}

/// Runs workers and disturbs them. Whether no call was given an old value.
fn run(
    orders: &Orders,
    folder: Option<&Path>,
    lasts: Duration,
    quietly: bool,
) -> std::io::Result<bool> {
    let folder = Folder::new(folder)?;
    let orders = Orders {
        folder: folder.0.clone(),
        ..orders.clone()
    };
    let history = History::open(&worker::history_in(&folder.0))?;
    let began = Instant::now();
    let mut workers = Workers::start(&orders, history)?;
    let mut next_line = Duration::from_secs(60);
    let (mut reads, mut went_on) = (0, Instant::now());
    while began.elapsed() < lasts && history.violations() == 0 {
        std::thread::sleep(Duration::from_millis(1));
        workers.disturb()?;
        let now = history.total(Count::Read);
        if now != reads {
            (reads, went_on) = (now, Instant::now());
        }
        if went_on.elapsed() > Duration::from_secs(20) {
            return Err(std::io::Error::other("for 20 seconds no call has returned"));
        }
        if !quietly && began.elapsed() >= next_line && next_line < lasts {
            tell(history, began.elapsed());
            next_line += Duration::from_secs(60);
        }
    }
    let ended = workers.finish()?;
    if !quietly {
        tell(history, began.elapsed());
        if history.violations() > 0 {
            tell_violation(history, &|_| "?");
        }
        if !ended {
            println!("a worker did not end, or not well");
        }
    }
    Ok(ended && history.violations() == 0)
}

fn tell(history: History, since: Duration) {
    let total = |count| history.total(count);
    println!(
        "{:.1} min: reads {}, clears {}, executions {}, refreshes {}, sets {}, kills {}, stops {}, restarts {}, violations {}",
        since.as_secs_f64() / 60.0,
        total(Count::Read),
        total(Count::Clear),
        total(Count::Execution),
        total(Count::Refresh),
        total(Count::Set),
        total(Count::Kill),
        total(Count::Stop),
        total(Count::Restart),
        history.violations()
    );
}

/// What happened to the key before the first call that was given an old value.
fn tell_violation(history: History, name_of_fault: &dyn Fn(usize) -> &'static str) {
    let noted = history.noted();
    let Some(first) = noted
        .iter()
        .position(|noted| matches!(noted.event, Event::Violation | Event::Panic))
    else {
        return;
    };
    let violation = noted[first];
    match violation.event {
        Event::Panic => println!("key {}: a call panicked", violation.key),
        _ => println!(
            "key {}: a call was given version {}",
            violation.key, violation.version
        ),
    }
    let of_all = [
        Event::Kill,
        Event::Stop,
        Event::Continue,
        Event::Restart,
        Event::Fault,
    ];
    let around: Vec<_> = noted[..=first]
        .iter()
        .filter(|noted| noted.key == violation.key || of_all.contains(&noted.event))
        .collect();
    for noted in &around[around.len().saturating_sub(60)..] {
        let before = (violation.at - noted.at) as f64 / 1000.0;
        let what = match noted.event {
            Event::Fault => format!("{} of {}", name_of_fault(noted.key), noted.version),
            event if of_all.contains(&event) => format!("worker {}", noted.key),
            _ => format!("version {}", noted.version),
        };
        println!(
            "{before:>14.3} µs before: {:<18} {:?} {what}",
            noted.who(),
            noted.event
        );
    }
}

/// A folder of this run, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn path(&self) -> &Path {
        &self.0
    }

    fn new(within: Option<&Path>) -> std::io::Result<Folder> {
        use std::os::unix::fs::DirBuilderExt;
        let within = within.map_or_else(std::env::temp_dir, Path::to_owned);
        let name = format!(
            "quickcache-verify-{}-{}",
            std::process::id(),
            history::now()
        );
        let folder = within.join(name);
        std::fs::DirBuilder::new().mode(0o700).create(&folder)?;
        Ok(Folder(folder))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Nobody needs it any more; what is left over lies in the folder that was named.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
