//! The Redis tier behind a Rust function, beside the client it is made with and another cache, on a real server on loopback: hits, an outage,
//! and a cold key that several processes ask for at once. The contestants take turns; the medians are of paired samples, by the clock on
//! the wall, since most of the work is the server's.
//!
//!     cargo run --release --bin redis              ends with 1 if a figure is over its bound (ratios: by more than ten per cent)

use std::hint::black_box;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio, exit};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use cached::macros::concurrent_cached;
use quickcache::{Memory, QuickCache, Redis, TieredCache, quickcache};
use quickcache_testing::{Folder, Server};
use redis::aio::MultiplexedConnection;

const KEYS: u64 = 10_000;
const TASKS: u64 = 64;
const ROUNDS: usize = 15;
/// What says where the server is, to another process too.
const URL: &str = "QUICKCACHE_BENCH_REDIS";

fn value(n: u64) -> String {
    format!("{n:0200}")
}

fn redis() -> Redis {
    static FOLDER: LazyLock<Folder> = LazyLock::new(Folder::new);
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let folder = FOLDER.path().join(number.to_string());
    let url = std::env::var(URL).expect("main has set it");
    Redis::new(&url).timeout("1h").folder(folder)
}

static BARE: LazyLock<QuickCache> = LazyLock::new(|| QuickCache::new(redis()));
/// Its memory is too small for what is asked, so that each call goes to Redis and fills it.
static FILLING: LazyLock<QuickCache> = LazyLock::new(|| {
    let memory = Memory::new().entries(16).timeout("1h");
    QuickCache::new(TieredCache::new([memory.into(), redis().into()]))
});

#[quickcache(cache = BARE, vary_on = [n])]
async fn bare(n: u64) -> String {
    value(n)
}

#[quickcache(cache = FILLING, vary_on = [n])]
async fn filling(n: u64) -> String {
    value(n)
}

#[quickcache(cache = BARE, vary_on = [n])]
fn bare_blocking(n: u64) -> String {
    value(n)
}

#[concurrent_cached(
    map_error = r##"|error| format!("{error:?}")"##,
    ty = "cached::AsyncRedisCache<u64, String>",
    create = r##" {
        cached::AsyncRedisCache::builder("cached")
            .ttl(Duration::from_secs(3600))
            .connection_string(&std::env::var(URL).expect("main has set it"))
            .build()
            .await
            .expect("a cache")
    } "##
)]
async fn peer(n: u64) -> Result<String, String> {
    Ok(value(n))
}

#[derive(Clone, Copy)]
enum Contestant {
    Client,
    Bare,
    Filling,
    Peer,
}

const CONTESTANTS: [(&str, Contestant); 4] = [
    ("redis-rs, GET", Contestant::Client),
    ("quickcache, Redis", Contestant::Bare),
    (
        "quickcache, Memory (filling) and Redis",
        Contestant::Filling,
    ),
    ("cached, AsyncRedisCache", Contestant::Peer),
];

async fn call(contestant: Contestant, client: &mut MultiplexedConnection, n: u64) {
    match contestant {
        Contestant::Client => {
            let text: redis::RedisResult<String> = redis::cmd("GET")
                .arg(format!("key {n}"))
                .query_async(client)
                .await;
            black_box(text.expect("the client's value"));
        }
        Contestant::Bare => drop(black_box(bare(n).await)),
        Contestant::Filling => drop(black_box(filling(n).await)),
        Contestant::Peer => drop(black_box(peer(n).await)),
    }
}

/// Keys that tasks rarely ask for at the same time: who does shares one answer.
fn at_random(n: u64) -> u64 {
    let n = (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (n ^ n >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93) >> 32
}

/// Calls a second, of so many tasks at once.
async fn throughput(
    contestant: Contestant,
    client: &MultiplexedConnection,
    tasks: u64,
    each: u64,
) -> f64 {
    let began = Instant::now();
    let all: Vec<_> = (0..tasks)
        .map(|task| {
            let mut client = client.clone();
            tokio::spawn(async move {
                for i in 0..each {
                    call(contestant, &mut client, at_random(task * each + i) % KEYS).await;
                }
            })
        })
        .collect();
    for task in all {
        task.await.expect("it ends");
    }
    (tasks * each) as f64 / began.elapsed().as_secs_f64()
}

fn quartiles(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| values[(values.len() - 1) * quarter / 4])
}

/// Whether a bound was missed.
async fn hits(client: &mut MultiplexedConnection) -> bool {
    for n in 0..KEYS {
        let set: redis::RedisResult<()> = redis::cmd("SET")
            .arg(format!("key {n}"))
            .arg(value(n))
            .query_async(client)
            .await;
        set.expect("the client's value is set");
        for (_, contestant) in CONTESTANTS {
            call(contestant, client, n).await;
        }
    }
    let mut over = false;
    for (tasks, each, bounds) in [
        // Most of a second, so that it is calls a second that are measured; and how it is at the beginning.
        (TASKS, 3_000, [None, Some(0.9), Some(0.75), None]),
        (TASKS, 300, [None; 4]),
        (1, 2_000, [None; 4]),
    ] {
        println!("hits of 200 bytes, {tasks} task(s) at once, {each} calls each");
        let mut samples = [const { Vec::new() }; CONTESTANTS.len()];
        for round in 0..=ROUNDS {
            for ((_, contestant), samples) in CONTESTANTS.iter().zip(&mut samples) {
                let rate = throughput(*contestant, client, tasks, each).await;
                if round > 0 {
                    samples.push(rate);
                }
            }
        }
        for (at, (name, _)) in CONTESTANTS.iter().enumerate() {
            let [low, middle, high] = quartiles(samples[at].clone());
            let paired = samples[at]
                .iter()
                .zip(&samples[0])
                .map(|(own, client)| own / client);
            let [least, ratio, most] = quartiles(paired.collect());
            print!(
                "  {name:<40}{middle:>9.0} calls/s  {low:.0} to {high:.0}   ratio {ratio:.2}, {least:.2} to {most:.2}"
            );
            if let Some(bound) = bounds[at] {
                let missed = ratio < bound * 0.9;
                over |= missed;
                print!("   bound: {bound}{}", if missed { "  OVER" } else { "" });
            }
            println!();
        }
    }
    let bare = bare::stats();
    assert_eq!(
        (bare.executions, bare.tier_errors),
        (KEYS, 0),
        "every other call was a hit"
    );
    over
}

fn blocking() {
    (0..KEYS).for_each(|n| drop(bare_blocking(n)));
    let client = redis::Client::open(std::env::var(URL).expect("main has set it"));
    let mut client = client
        .and_then(|client| client.get_connection())
        .expect("a connection");
    let mut samples = [Vec::new(), Vec::new()];
    for round in 0..=ROUNDS {
        for (at, samples) in samples.iter_mut().enumerate() {
            let began = Instant::now();
            for n in 0..KEYS {
                match at {
                    0 => drop(black_box(
                        redis::cmd("GET")
                            .arg(format!("key {n}"))
                            .query::<String>(&mut client),
                    )),
                    _ => drop(black_box(bare_blocking(n))),
                }
            }
            if round > 0 {
                samples.push(began.elapsed().as_secs_f64() * 1e6 / KEYS as f64);
            }
        }
    }
    println!("hits of 200 bytes, blocking, one thread");
    for (name, samples) in ["redis-rs, GET", "quickcache, Redis"].iter().zip(samples) {
        let [low, middle, high] = quartiles(samples);
        println!("  {name:<40}{middle:>9.1} us  {low:.1} to {high:.1}");
    }
}

/// The server is stopped under load.
fn outage(server: &Server) -> bool {
    server.stop();
    let took = |n: u64| {
        let began = Instant::now();
        black_box(bare_blocking(KEYS + n));
        began.elapsed().as_secs_f64() * 1e3
    };
    let first = took(0);
    let mut rest: Vec<f64> = (1..20_000).map(took).collect();
    rest.sort_by(f64::total_cmp);
    let (median, late) = (rest[rest.len() / 2], rest[rest.len() * 999 / 1000]);
    server.cont();
    let over = first > 100.0 || late > 1.0;
    println!(
        "the server is stopped: the first call took {first:.1} ms (bound: 100), of the next 20,000 the median {:.1} us, p99.9 {:.1} us \
         (bound: 1,000){}",
        median * 1e3,
        late * 1e3,
        if over { "  OVER" } else { "" }
    );
    over
}

#[quickcache(cache = BARE, name = "cold", version = 1, vary_on = [n])]
fn cold(n: u64) -> u64 {
    thread::sleep(Duration::from_millis(300));
    n
}

/// As another process: eight threads ask for a key as soon as they are told which.
fn worker() {
    cold(u64::MAX); // connects
    println!("ready");
    for line in std::io::stdin().lines() {
        let n: u64 = line.expect("a line").parse().expect("a number");
        let began = Instant::now();
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| cold(n));
            }
        });
        println!(
            "{} {}",
            began.elapsed().as_secs_f64(),
            cold::stats().executions
        );
    }
}

fn cold_key() -> bool {
    let mut workers: Vec<_> = (0..4)
        .map(|_| {
            let program = std::env::current_exe().expect("this program");
            let mut child = Command::new(program)
                .arg("worker")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .expect("a worker");
            let input = child.stdin.take().expect("it is piped");
            let mut output = BufReader::new(child.stdout.take().expect("it is piped")).lines();
            output.next().expect("it is ready").expect("a line");
            (child, input, output)
        })
        .collect();
    let (mut times, mut before) = (Vec::new(), None);
    let mut executions = Vec::new();
    for n in 0..10_u64 {
        for (_, input, _) in &mut workers {
            writeln!(input, "{n}").expect("it listens");
        }
        let (mut longest, mut sum) = (0.0_f64, 0_u64);
        for (_, _, output) in &mut workers {
            let line = output.next().expect("an answer").expect("a line");
            let (time, ran) = line.split_once(' ').expect("two numbers");
            longest = longest.max(time.parse().expect("seconds"));
            sum += ran.parse::<u64>().expect("a count");
        }
        if let Some(before) = before {
            executions.push(sum - before);
        }
        before = Some(sum);
        times.push(longest);
    }
    for (mut child, input, _) in workers {
        drop(input);
        let _code = child.wait();
    }
    let [low, middle, high] = quartiles(times);
    let most = executions.iter().max().copied().unwrap_or_default();
    let over = middle > 0.35 || most > 1;
    println!(
        "a cold key, 4 processes (as 4 machines) of 8 threads, 0.3 s of work: all back in {middle:.3} s, {low:.3} to {high:.3} (bound: 0.35); \
         executions at most {most} (bound: 1){}",
        if over { "  OVER" } else { "" }
    );
    over
}

fn main() {
    if std::env::args().nth(1).as_deref() == Some("worker") {
        return worker();
    }
    let server = Server::start();
    // SAFETY: there is no other thread yet that reads the environment.
    unsafe { std::env::set_var(URL, server.url()) };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let mut over = runtime.block_on(async {
        let client = redis::Client::open(server.url()).expect("a client");
        let client = client.get_multiplexed_async_connection().await;
        hits(&mut client.expect("a connection")).await
    });
    blocking();
    over |= cold_key();
    over |= outage(&server);
    exit(i32::from(over));
}
