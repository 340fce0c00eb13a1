//! The least that a user of the server must be allowed: all of it suffices, and without any one of them something fails.

#![cfg(all(target_os = "linux", feature = "redis"))]

mod on_redis;

use std::path::PathBuf;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use on_redis::{bare, machine, with_memory};
use quickcache::{Cleared, QuickCache, Redis, quickcache};
use quickcache_testing::{Answer, Proxy, Server};

/// As `docs/redis.md` has them.
const RIGHTS: &[&str] = &[
    "~qc:*",
    "&qc:*",
    "+select",
    "+info",
    "+script|load",
    "+evalsha",
    "+get",
    "+mget",
    "+set",
    "+del",
    "+pttl",
    "+pexpire",
    "+getrange",
    "+setrange",
    "+publish",
    "+subscribe",
    "+ping",
    "+scan",
];

static SERVER: LazyLock<Server> = LazyLock::new(Server::start);
static PROXY: LazyLock<Proxy> = LazyLock::new(|| Proxy::to(SERVER.address()));

fn url(at: &str) -> String {
    format!("redis://me:word@{at}/1")
}

static MEMORY: LazyLock<QuickCache> = LazyLock::new(|| {
    with_memory(
        Redis::new(&url(&SERVER.address()))
            .timeout("5m")
            .folder(machine()),
    )
});
static BARE: LazyLock<QuickCache> = LazyLock::new(|| {
    bare(
        Redis::new(&url(&SERVER.address()))
            .timeout("5m")
            .folder(machine()),
    )
});
/// What is pending there cannot be read: it is everything. Without memory, and with: so that there is a seat that has the Redis' name.
static DAMAGED: LazyLock<QuickCache> = LazyLock::new(|| bare(on_damaged()));
static SEATED: LazyLock<QuickCache> = LazyLock::new(|| with_memory(on_damaged()));

fn on_damaged() -> Redis {
    let url = url(&PROXY.address().to_string());
    Redis::new(&url).timeout("5m").folder(&*FOLDER)
}

static FOLDER: LazyLock<PathBuf> = LazyLock::new(machine);

/// A file of the journal, and nothing that is one.
fn damage() {
    use std::os::unix::fs::OpenOptionsExt;
    let workers = std::fs::read_dir(FOLDER.join("workers")).expect("a folder");
    let names = workers
        .flatten()
        .map(|entry| entry.file_name().into_string());
    let id = names.flatten().find_map(|name| {
        Some(
            name.strip_prefix("listener-")?
                .strip_suffix("-0")?
                .to_owned(),
        )
    });
    let id = id.expect("a seat of the machine, after its Redis");
    let path = FOLDER.join(format!("replaying-{id}-0123456789abcdef"));
    let mut options = std::fs::File::options();
    let file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path);
    std::io::Write::write_all(&mut file.expect("a file"), b"of another time").expect("written");
}

static MAY_END: AtomicBool = AtomicBool::new(true);

macro_rules! functions {
    ($($CACHE:ident $name:ident;)*) => {$(
        #[quickcache(cache = $CACHE, name = "f", version = 1, vary_on = [n])]
        fn $name(n: u64) -> (u64, u64) {
            let limit = Instant::now() + Duration::from_secs(20);
            while !MAY_END.load(SeqCst) && Instant::now() < limit {
                thread::sleep(Duration::from_millis(1));
            }
            assert!(n % 10 != 9, "it fails");
            (n, on_redis::next())
        }
    )*};
}
functions! { MEMORY here; BARE there; DAMAGED damaged; SEATED seated; }

/// Whether something comes about, soon.
fn comes(mut holds: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + Duration::from_secs(2);
    while !holds() {
        if Instant::now() > end {
            return false;
        }
        thread::sleep(Duration::from_millis(5));
    }
    true
}

/// All that a program does with a server: the first of it that fails.
fn life() -> Result<(), &'static str> {
    static KEY: AtomicU64 = AtomicU64::new(0);
    let key = KEY.fetch_add(10, SeqCst);
    let check = |holds: bool, what| if holds { Ok(()) } else { Err(what) };
    check(comes(|| there(key) == there(key)), "a fill")?;
    let errors = || there::stats().tier_errors;
    check(comes(|| there(key) == there(key)), "a hit")?;
    check(
        comes(|| {
            let hits = here::stats().memory_hits;
            here(key);
            here::stats().memory_hits > hits && here::stats().lag.is_some()
        }),
        "a listener and its canary",
    )?;
    check(here(key) == there(key), "one value for all")?;
    let before = errors();
    check(there::clear(key) == Cleared::Applied, "a clear")?;
    let old = there(key);
    check(
        there::refresh(key).1 > old.1 && there(key).1 > old.1,
        "a refresh",
    )?;
    // Somebody waits for a lease; then it is taken over.
    MAY_END.store(false, SeqCst);
    let taken = thread::scope(|scope| {
        let leader = scope.spawn(|| there(key + 1));
        thread::sleep(Duration::from_millis(50));
        let follower = scope.spawn(|| here(key + 1));
        thread::sleep(Duration::from_millis(50));
        there::set_cached_value(key + 1).to((key + 1, 5));
        thread::sleep(Duration::from_millis(1100)); // it is renewed, or found to be taken over
        MAY_END.store(true, SeqCst);
        let _values = (leader.join(), follower.join());
        there::get_cached_value(key + 1) == Some((key + 1, 5))
    });
    check(taken, "a value that is set while another is computed")?;
    let fails = std::panic::catch_unwind(|| there(key + 9)).is_err();
    check(fails, "a function that fails")?;
    check(errors() == before, "a lease that is given back")?;
    check(there::clear_all() == Cleared::Applied, "clear_all")?;
    check(there(key) == there(key), "a hit after clear_all")?;
    check(errors() == before, "no error on the way")?;
    // Everything is made up for.
    let hits = || {
        comes(|| {
            let hits = damaged::stats().tier_hits.iter().sum::<u64>();
            damaged(key + 2);
            damaged::stats().tier_hits.iter().sum::<u64>() > hits
        })
    };
    let serves = || {
        comes(|| {
            let hits = seated::stats().memory_hits;
            seated(key + 3);
            seated::stats().memory_hits > hits
        })
    };
    check(serves(), "a listener by way of a proxy")?;
    check(hits(), "a hit by way of a proxy")?;
    damage();
    PROXY.answer(Answer::to("EVALSHA", b"-OOM it is full\r\n").times(1));
    let cleared = damaged::clear(key + 2).is_applied();
    PROXY.answer_no_more();
    check(!cleared, "a clear that was refused")?;
    check(hits(), "everything is cleared")
}

fn allow(rule: &str) {
    let set = SERVER.command(&["ACL", "SETUSER", "me", rule]);
    set.unwrap_or_else(|error| panic!("{rule}: {error}"));
}

#[test]
fn the_least_rights_suffice_and_each_of_them_is_needed() {
    on_redis::listen();
    std::panic::set_hook(Box::new(|panic| {
        if !panic.to_string().contains("it fails") {
            eprintln!("{panic}");
        }
    }));
    for rule in ["reset", "on", ">word"].iter().chain(RIGHTS) {
        allow(rule);
    }
    // Connections that failed before are tried again within a second.
    let is_well = || {
        let mut last = Ok(());
        for _ in 0..5 {
            last = life();
            if last.is_ok() {
                break;
            }
        }
        let logged = || on_redis::logged("", &PROXY.address().to_string());
        assert_eq!(
            last,
            Ok(()),
            "with all rights: {:#?} {:?}",
            logged(),
            damaged::stats()
        );
    };
    is_well();
    assert_eq!(life(), Ok(()));
    for right in RIGHTS {
        let without = match &right[..1] {
            "~" => "resetkeys".to_owned(),
            "&" => "resetchannels".to_owned(),
            _ => right.replace('+', "-"),
        };
        allow(&without);
        // Connections that are there have done what comes first already.
        let kill = || {
            SERVER
                .command(&["CLIENT", "KILL", "USER", "me"])
                .expect("killed")
        };
        kill();
        // What was proven before lasts for no longer.
        thread::sleep(Duration::from_millis(300));
        let failed = life();
        println!("without {right}: {failed:?}");
        assert!(failed.is_err(), "{right} is not needed");
        allow(right);
        kill();
        is_well();
    }
    let page = include_str!("../../../docs/redis.md");
    assert!(
        page.contains(&RIGHTS.join(" ")),
        "docs/redis.md says others"
    );
}
