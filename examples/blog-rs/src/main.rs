//! The article's blog in Rust: the demo's database, read through `#[quickcache]` by several threads, without and with it.
//!
//!     blog-rs DATABASE [--seconds 5] [--threads 4]
//!     blog-rs DATABASE --store FOLDER         instead: two processes on one store
//!
//! DATABASE is a copy of the file that `examples/blog/demo.py` makes: this program writes posts into it. The exit code is 1
//! if a query failed, or a read missed a post that was written and cleared before it began, or something was computed twice.

mod blog;
mod latency;
mod load;
mod pair;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use blog::{Person, get_all_posts};
use load::Door;

const USAGE: &str = "usage: blog-rs DATABASE [--seconds S] [--threads N] [--store FOLDER]";

struct Options {
    database: PathBuf,
    store: Option<PathBuf>,
    /// This process is one of the two of a pair.
    obey: bool,
    seconds: f64,
    threads: usize,
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("blog-rs: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<bool, Box<dyn Error>> {
    let options = options()?;
    blog::use_database(options.database.clone());
    let people = blog::people()?;
    if people.is_empty() {
        return Err("the database has no people; run examples/blog/demo.py first".into());
    }
    if let Some(store) = &options.store {
        if options.obey {
            blog::use_store(store.clone());
            return pair::obey(&people);
        }
        return pair::run(&options.database, store, people.len());
    }
    let plain = Door {
        read: get_all_posts::uncached,
        clear: |_| {},
    };
    let mut fresh = phase("without the cache", &people, plain, &options)?;
    let cached = Door {
        read: get_all_posts,
        clear: |person| _ = get_all_posts::clear(person),
    };
    fresh &= phase("with the cache", &people, cached, &options)?;
    show_a_clear(&people[0])?;
    Ok(fresh)
}

/// Runs the load once and prints what was seen; false if a read was stale.
fn phase(
    title: &str,
    people: &[Person],
    door: Door,
    options: &Options,
) -> Result<bool, Box<dyn Error>> {
    println!(
        "{title}: {:.1} s, {} reading threads and one that writes",
        options.seconds, options.threads
    );
    let (queries, executions) = (
        blog::QUERIES.load(Ordering::Relaxed),
        blog::EXECUTIONS.load(Ordering::Relaxed),
    );
    let begin = Instant::now();
    let seen = load::run(
        people,
        door,
        options.threads,
        Duration::from_secs_f64(options.seconds),
    )?;
    let reads = seen.reads.count();
    println!(
        "  reads/s                       {:.0}",
        reads as f64 / begin.elapsed().as_secs_f64()
    );
    println!(
        "  read, p50 and p99             {:.1?}, {:.1?}",
        seen.reads.percentile(50.0),
        seen.reads.percentile(99.0)
    );
    println!(
        "  write and clear, p50 and p99  {:.1?}, {:.1?}",
        seen.writes.percentile(50.0),
        seen.writes.percentile(99.0)
    );
    let executed = blog::EXECUTIONS.load(Ordering::Relaxed) - executions;
    println!(
        "  database queries              {}",
        blog::QUERIES.load(Ordering::Relaxed) - queries
    );
    println!(
        "  executions, hits              {executed}, {}",
        reads.saturating_sub(executed)
    );
    println!("  posts written, then cleared   {}", seen.writes.count());
    println!(
        "  reads after a clear           {}, of them without the new post: {}",
        seen.after_clear, seen.stale
    );
    Ok(seen.stale == 0)
}

/// The article's last example, step by step.
fn show_a_clear(person: &Person) -> Result<(), Box<dyn Error>> {
    let first = get_all_posts(person, false)?.len();
    blog::write_post(person, "A new post")?;
    let stale = get_all_posts(person, false)?.len();
    let _ = get_all_posts::clear(person);
    let cleared = get_all_posts(person, false)?.len();
    println!(
        "what a clear does, with {}: {first} posts cached; one is written: {stale}; cleared: {cleared}",
        person.name
    );
    if (stale, cleared) != (first, first + 1) {
        return Err("these counts are not what a cache and its clear must give".into());
    }
    Ok(())
}

fn options() -> Result<Options, Box<dyn Error>> {
    let mut options = Options {
        database: PathBuf::new(),
        store: None,
        obey: false,
        seconds: 5.0,
        threads: 4,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--seconds" => options.seconds = number(words.next())?,
            "--threads" => options.threads = number(words.next())?,
            "--store" => options.store = Some(words.next().ok_or(USAGE)?.into()),
            pair::OBEY => options.obey = true,
            _ if word.starts_with('-') || options.database != PathBuf::new() => {
                return Err(USAGE.into());
            }
            _ => options.database = word.into(),
        }
    }
    if options.database == PathBuf::new()
        || options.seconds.is_nan()
        || options.seconds <= 0.0
        || options.threads == 0
    {
        return Err(USAGE.into());
    }
    Ok(options)
}

fn number<N: std::str::FromStr>(word: Option<String>) -> Result<N, &'static str> {
    word.and_then(|word| word.parse().ok()).ok_or(USAGE)
}
