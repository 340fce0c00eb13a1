//! A Redis and the processes of a machine: forks of a process with live connections, and many processes of which two listen.

#![cfg(all(target_os = "linux", feature = "redis"))]

mod on_redis;
mod on_store;

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::LazyLock;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::{Duration, Instant};

use on_redis::{bare, cached, machine, redis, until, with_memory};
use on_store::{Process, drop_rights, give_away, in_a_process, page};
use quickcache::{Cleared, quickcache};
use quickcache_testing::{Certificates, Direction, Mode, Proxy, Server};
use rustix::process::Signal;

/// Clients of a server, those of the test itself apart: their numbers.
fn clients(server: &Server) -> Vec<u64> {
    let list = server.command(&["CLIENT", "LIST"]).expect("a list").text();
    let lines = list.lines().filter(|line| !line.contains("user=control"));
    let number = |line: &str| line.split(' ').next()?.strip_prefix("id=")?.parse().ok();
    lines.filter_map(number).collect()
}

fn listeners(server: &Server) -> i64 {
    let counted = server.command(&["PUBSUB", "NUMSUB", "qc:0:clears"]);
    match counted.expect("a count").items() {
        [_, count] => count.int(),
        other => panic!("{other:?}"),
    }
}

fn rest(millis: u64) {
    thread::sleep(Duration::from_millis(millis));
}

// ---- forks ----

#[test]
fn p11_a_child_works_at_once_on_connections_of_its_own_and_the_parent_goes_on() {
    static SERVER: LazyLock<Server> = LazyLock::new(Server::start);
    cached! {
        HERE here = with_memory(redis(&SERVER.url()).budget("5s").staleness("5s"));
        BARE plain = bare(redis(&SERVER.url()).budget("5s").staleness("5s"));
    }
    #[quickcache(cache = BARE, name = "soon", version = 1, vary_on = [n])]
    async fn soon(n: u64) -> u64 {
        n
    }
    #[quickcache(cache = BARE, name = "slow", version = 1, vary_on = [n])]
    fn slow(n: u64) -> u64 {
        until("it may end", || MAY_END.load(SeqCst));
        n
    }
    static MAY_END: AtomicBool = AtomicBool::new(false);
    static OTHER: LazyLock<quickcache::QuickCache> =
        LazyLock::new(|| bare(redis(&SERVER.url()).budget("5s").staleness("5s")));
    #[quickcache(cache = OTHER, name = "slow", version = 1, vary_on = [n], patience = "1m")]
    fn slow_elsewhere(n: u64) -> u64 {
        n
    }
    // Tasks wait here whose threads are not in the child.
    fn runtime() -> tokio::runtime::Runtime {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_time().build().expect("a runtime")
    }
    until("a hit in memory", || {
        here(1);
        here::stats().memory_hits > 0
    });
    let old = plain(1);
    assert_eq!(runtime().block_on(soon(7)), 7);
    let before = clients(&SERVER);
    thread::scope(|scope| {
        let leader = scope.spawn(|| slow(1));
        rest(300);
        for _ in 0..3 {
            assert!(in_a_process(|| {
                assert_eq!(plain(1), here(1));
                assert_eq!(runtime().block_on(soon(7)), 7);
                assert!(soon::stats().tier_hits[0] > 0);
                let inner = in_a_process(|| {
                    assert_eq!(plain::clear(1), Cleared::Applied);
                    assert!(plain(1).1 > 0);
                    assert_eq!(plain::stats().tier_errors, 0);
                });
                assert!(inner, "the child of a child");
                assert_eq!(plain::stats().tier_errors + soon::stats().tier_errors, 0);
            }));
        }
        // The lease is the parent's, and was not given back.
        let leases = SERVER.connect().and_then(|mut server| server.leases());
        assert_eq!(leases.expect("a count"), 1);
        MAY_END.store(true, SeqCst);
        assert_eq!(leader.join().expect("it ends"), 1);
    });
    assert_eq!(
        (slow_elsewhere(1), slow_elsewhere::stats().executions),
        (1, 0)
    );
    let after = clients(&SERVER);
    assert!(
        before.iter().all(|id| after.contains(id)),
        "{before:?} {after:?}"
    );
    // Children have gone without a trace. (The parent may have made more of its own meanwhile: it renewed a lease.)
    assert!(after.len() <= before.len() + 2, "{before:?} {after:?}");
    assert!(plain(1) != old, "a child has cleared it");
    assert_eq!(runtime().block_on(soon(7)), 7);
    assert_eq!(plain::stats().tier_errors + here::stats().tier_errors, 0);
    until("the parent's memory goes on", || {
        let hits = here::stats().memory_hits;
        here(1);
        here::stats().memory_hits > hits
    });
}

#[test]
fn p11_a_child_says_nothing_on_the_connections_of_its_parent() {
    static PLAIN: LazyLock<Server> = LazyLock::new(Server::start);
    static SECURE: LazyLock<Server> =
        LazyLock::new(|| Server::builder().tls(&Certificates::new()).start());
    static TO_PLAIN: LazyLock<Proxy> = LazyLock::new(|| Proxy::to(PLAIN.address()));
    static TO_SECURE: LazyLock<Proxy> = LazyLock::new(|| Proxy::to(SECURE.address()));
    cached! {
        ONE one = bare(redis(&format!("redis://{}", TO_PLAIN.address())).budget("5s"));
        TWO two = bare(redis(&format!("rediss://{}", TO_SECURE.address())).budget("5s").ca_file(SECURE.authority()));
    }
    let _ready = (&*PLAIN, &*SECURE);
    until("hits", || one(1) == one(1) && two(1) == two(1));
    let counts = || [TO_PLAIN.counts(), TO_SECURE.counts()];
    let before = counts();
    for _ in 0..5 {
        // It ends as a process does whose statics and stacks are dropped by nobody, and once by `exit`.
        assert!(in_a_process(|| rest(20)));
    }
    let exits = unsafe {
        unsafe extern "C" {
            fn fork() -> i32;
            fn exit(status: i32) -> !;
        }
        match fork() {
            0 => exit(0),
            pid => pid,
        }
    };
    let _ended = rustix::process::waitpid(
        rustix::process::Pid::from_raw(exits),
        rustix::process::WaitOptions::empty(),
    );
    assert_eq!(counts(), before);
    assert_eq!((one(1), two(1)), (one(1), two(1)));
    assert_eq!(one::stats().tier_errors + two::stats().tier_errors, 0);
    assert_eq!(
        counts().map(|counts| counts.accepted),
        before.map(|counts| counts.accepted)
    );
}

#[test]
fn p11_a_child_that_goes_on_in_a_running_function_stores_nothing_under_its_parents_lease() {
    unsafe extern "C" {
        fn fork() -> i32;
        fn _exit(status: i32) -> !;
    }
    static SERVER: LazyLock<Server> = LazyLock::new(Server::start);
    static BARE: LazyLock<quickcache::QuickCache> =
        LazyLock::new(|| bare(redis(&SERVER.url()).budget("5s")));
    static IN_CHILD: AtomicBool = AtomicBool::new(false);
    #[quickcache(cache = BARE, name = "forks", version = 1, vary_on = [n])]
    fn forks(n: u64) -> (u64, bool) {
        // SAFETY: the child returns from here, and leaves without unwinding.
        let pid = unsafe { fork() };
        IN_CHILD.store(pid == 0, SeqCst);
        if pid != 0 {
            let child = rustix::process::Pid::from_raw(pid);
            let ended = rustix::process::waitpid(child, rustix::process::WaitOptions::empty());
            let (_, status) = ended.expect("it is ours").expect("it has ended");
            assert_eq!(status.exit_status(), Some(0));
        }
        (n, pid == 0)
    }
    let got = forks(1);
    if IN_CHILD.load(SeqCst) {
        let well = got == (1, true);
        unsafe { _exit(i32::from(!well)) };
    }
    assert_eq!(got, (1, false));
    assert_eq!(forks::get_cached_value(1), Some((1, false)));
}

#[test]
fn p8_a_fork_while_the_server_is_away() {
    static SERVER: LazyLock<Server> = LazyLock::new(Server::start);
    static PROXY: LazyLock<Proxy> = LazyLock::new(|| Proxy::to(SERVER.address()));
    cached! { BARE plain = bare(redis(&format!("redis://{}", PROXY.address()))); }
    until("hits", || plain(1) == plain(1));
    PROXY.set(Mode::Blackhole(Direction::Both));
    plain(1);
    let shared = page();
    let child = Process::start(|| {
        let began = Instant::now();
        for n in 0..20 {
            assert_eq!(plain(n).0, n);
        }
        assert!(
            began.elapsed() < Duration::from_millis(1500),
            "{:?}",
            began.elapsed()
        );
        assert!(!plain::clear(1).is_applied());
        shared[0].store(1, SeqCst);
        until("the child's hits", || plain(2) == plain(2));
    });
    until("the child has seen it", || shared[0].load(SeqCst) == 1);
    PROXY.heal();
    assert!(child.ends_well());
    until("the parent's hits", || plain(2) == plain(2));
    assert!(plain::clear(1).is_applied());
}

#[test]
fn p11_fifty_children_at_once() {
    static SERVER: LazyLock<Server> = LazyLock::new(Server::start);
    cached! {
        HERE here = with_memory(redis(&SERVER.url()).budget("5s").staleness("5s"));
    }
    until("a hit in memory", || {
        here(1);
        here::stats().memory_hits > 0
    });
    let before = clients(&SERVER);
    let children: Vec<_> = (0..50)
        .map(|child| {
            Process::start(move || {
                for n in 0..10 {
                    // Not among the keys that the others clear.
                    let own = 100 * (child + 1) + n;
                    assert_eq!(here(own), here(own));
                    assert_eq!(here::clear(n), Cleared::Applied);
                }
                assert_eq!(here::stats().tier_errors, 0);
            })
        })
        .collect();
    assert!(children.into_iter().all(Process::ends_well));
    until("their connections are gone", || {
        clients(&SERVER).len() <= before.len() + 1
    });
    assert!(before.iter().all(|id| clients(&SERVER).contains(id)));
    assert_eq!(here::stats().tier_errors, 0);
}

/// Whether nobody has locked a seat of a machine.
fn is_free(seat: &std::path::Path) -> bool {
    std::fs::File::open(seat).is_ok_and(|file| file.try_lock().is_ok())
}

fn seats(machine: &std::path::Path) -> Vec<PathBuf> {
    let all = std::fs::read_dir(machine.join("workers"))
        .expect("a folder")
        .flatten();
    let all = all.map(|entry| entry.path());
    all.filter(|path| path.to_string_lossy().contains("listener-"))
        .collect()
}

#[test]
fn p11_nothing_of_a_parent_that_dies_lives_on_in_its_child() {
    static SERVER: LazyLock<Server> = LazyLock::new(Server::start);
    static MACHINE: LazyLock<PathBuf> = LazyLock::new(machine);
    cached! { HERE here = with_memory(redis(&SERVER.url()).folder(&*MACHINE)); }
    let _ready = (&*SERVER, &*MACHINE);
    let shared = page();
    let parent = Process::start(|| {
        until("a hit in memory", || {
            here(1);
            here::stats().memory_hits > 0
        });
        let _child = Process::start(|| {
            until("the parent is dead", || shared[1].load(SeqCst) == 1);
            // What served its memory so far was the parent.
            let began = Instant::now();
            until("a hit in memory", || {
                let hits = here::stats().memory_hits;
                here(2);
                here::stats().memory_hits > hits
            });
            assert!(
                began.elapsed() < Duration::from_secs(10),
                "{:?}",
                began.elapsed()
            );
            until("it listens, once", || listeners(&SERVER) == 1);
            shared[2].store(1, SeqCst);
        });
        shared[0].store(1, SeqCst);
        rest(100_000);
    });
    until("they run", || shared[0].load(SeqCst) == 1);
    until("one listens", || listeners(&SERVER) == 1);
    parent.kill();
    until("its connections are gone", || clients(&SERVER).is_empty());
    assert!(!seats(&MACHINE).is_empty() && seats(&MACHINE).iter().all(|seat| is_free(seat)));
    shared[1].store(1, SeqCst);
    until("the child has listened", || shared[2].load(SeqCst) == 1);
}

#[test]
fn p9_a_journal_that_could_not_be_opened_is_opened_as_soon_as_it_can() {
    static SERVER: LazyLock<Server> = LazyLock::new(Server::start);
    static MACHINE: LazyLock<PathBuf> = LazyLock::new(machine);
    cached! {
        OTHER other = bare(redis(&format!("redis://{}/1", SERVER.address())).folder(&*MACHINE).budget("5s"));
        BARE plain = bare(redis(&SERVER.url()).folder(&*MACHINE).budget("5s"));
    }
    let _ready = &*SERVER;
    std::fs::create_dir_all(&*MACHINE).expect("a folder");
    give_away(MACHINE.parent().expect("it is in one"));
    give_away(&MACHINE);
    assert!(in_a_process(|| {
        drop_rights();
        let mode = |mode| {
            let permissions = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(&*MACHINE, permissions).expect("it is ours");
        };
        // Its table is open; and then nobody may open the folder.
        assert_eq!(other(1), other(1));
        mode(0o300);
        assert!(plain(1) != plain(1) && plain(1) != plain(1));
        assert_eq!(plain::stats().tier_hits[0], 0);
        assert_eq!(plain::stats().tier_errors, 0);
        mode(0o700);
        until("hits", || plain(1) == plain(1));
        assert!(plain::clear(1).is_applied());
    }));
}

#[test]
fn p9_what_is_pending_is_applied_by_a_process_that_calls_nothing_else() {
    static SERVER: LazyLock<Server> = LazyLock::new(Server::start);
    cached! { BARE plain = bare(redis(&SERVER.url()).folder(&*MACHINE).budget("1s")); }
    static MACHINE: LazyLock<PathBuf> = LazyLock::new(machine);
    let _ready = (&*SERVER, &*MACHINE);
    assert!(in_a_process(|| {
        until("hits", || plain(1) == plain(1));
        SERVER.stop();
        assert!(!plain::clear_all().is_applied());
    }));
    SERVER.cont();
    assert!(in_a_process(|| until("hits", || plain(1) == plain(1))));
}

// ---- many processes ----

/// Which processes have locked the seats of a machine.
fn seated(machine: &std::path::Path) -> Vec<i32> {
    let locks = std::fs::read_to_string("/proc/locks").expect("the locks");
    let inodes = seats(machine)
        .into_iter()
        .filter_map(|seat| Some(seat.metadata().ok()?.ino()));
    inodes
        .filter_map(|inode| {
            let line = locks
                .lines()
                .find(|line| line.contains("FLOCK") && line.contains(&format!(":{inode} ")))?;
            line.split_whitespace().nth(4)?.parse().ok()
        })
        .collect()
}

#[test]
fn two_of_many_processes_listen_and_others_take_their_place() {
    static SERVER: LazyLock<Server> = LazyLock::new(Server::start);
    static MACHINE: LazyLock<PathBuf> = LazyLock::new(machine);
    // The processes of the other tests keep this machine busy.
    cached! { HERE here = with_memory(redis(&SERVER.url()).folder(&*MACHINE).budget("5s").staleness("1s")); }
    let _ready = (&*SERVER, &*MACHINE);
    let shared = page();
    // Each says who it is, and how many hits it had in memory.
    let processes: Vec<_> = (0..6)
        .map(|at| {
            Process::start(move || {
                shared[10 + at].store(u64::from(std::process::id()), SeqCst);
                loop {
                    here(1);
                    shared[20 + at].store(here::stats().memory_hits, SeqCst);
                    rest(1);
                }
            })
        })
        .collect();
    let pid = |at: usize| shared[10 + at].load(SeqCst) as i32;
    // Those that run have hits in memory: after how long.
    let all_hit = |but: &[i32]| {
        let began = Instant::now();
        let hits = |at: usize| shared[20 + at].load(SeqCst);
        let before: Vec<_> = (0..6).map(hits).collect();
        until("memory serves in all processes", || {
            (0..6).all(|at| but.contains(&pid(at)) || hits(at) > before[at] + 20)
        });
        began.elapsed()
    };
    let tell = |pids: &[i32], signal| {
        for (at, process) in processes.iter().enumerate() {
            if pids.contains(&pid(at)) {
                process.signal(signal);
            }
        }
    };
    all_hit(&[]);
    until("two listen", || {
        listeners(&SERVER) == 2 && seated(&MACHINE).len() == 2
    });
    rest(1500);
    assert_eq!(listeners(&SERVER), 2);
    // One is stopped: the other goes on.
    let stopped = seated(&MACHINE);
    tell(&stopped[..1], Signal::STOP);
    all_hit(&stopped);
    rest(600);
    assert!(all_hit(&stopped) < Duration::from_secs(3));
    // Both are: others take over.
    tell(&stopped, Signal::STOP);
    until("another listens", || listeners(&SERVER) > 2);
    assert!(all_hit(&stopped) < Duration::from_secs(10));
    let many = listeners(&SERVER);
    assert!((3..=4).contains(&many), "{many}");
    // And leave it when they are back.
    tell(&stopped, Signal::CONT);
    all_hit(&[]);
    until("two listen again", || listeners(&SERVER) == 2);
    all_hit(&[]);
    // They are killed.
    until("two have a seat, and listen", || {
        seated(&MACHINE).len() == 2 && listeners(&SERVER) == 2
    });
    let killed = seated(&MACHINE);
    tell(&killed, Signal::KILL);
    let took = all_hit(&killed);
    assert!(took < Duration::from_secs(10), "{took:?}");
    until("two listen again", || listeners(&SERVER) == 2);
}

// ---- what threads do ----

#[test]
fn who_waits_for_a_connection_does_not_keep_the_processor_busy() {
    static SERVER: LazyLock<Server> = LazyLock::new(Server::start);
    static PROXY: LazyLock<Proxy> = LazyLock::new(|| Proxy::to(SERVER.address()));
    cached! { BARE plain = bare(redis(&format!("redis://{}", PROXY.address())).connections(1).budget("5s")); }
    until("hits", || plain(1) == plain(1));
    PROXY.set(Mode::Delay(Direction::ToClient, Duration::from_millis(30)));
    let spent: Duration = thread::scope(|scope| {
        let threads: Vec<_> = (0..16)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..4 {
                        plain(1);
                    }
                    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
                    Duration::new(spent.tv_sec as u64, spent.tv_nsec as u32)
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("it ends"))
            .sum()
    });
    assert_eq!(plain::stats().tier_errors, 0);
    // 64 calls, some two seconds: of some ten microseconds each.
    assert!(spent < Duration::from_millis(200), "{spent:?}");
}

#[test]
fn a_logger_that_panics_ends_no_thread_for_ever() {
    on_redis::listen();
    static SERVER: LazyLock<Server> = LazyLock::new(Server::start);
    static PROXY: LazyLock<Proxy> = LazyLock::new(|| Proxy::to(SERVER.address()));
    cached! { BARE plain = bare(redis(&format!("redis://{}", PROXY.address()))); }
    until("hits", || plain(1) == plain(1));
    let about = format!("{}: it is back", PROXY.address());
    *on_redis::FATAL.lock().unwrap() = Some(about.clone());
    for round in 1..4 {
        PROXY.set(Mode::Blackhole(Direction::Both));
        plain(1);
        let address = PROXY.address().to_string();
        until("it is warned of", || {
            on_redis::logged("WARN", &address).len() >= round
        });
        PROXY.heal();
        until("it is back", || {
            plain(1);
            on_redis::logged("INFO", &about).len() >= round
        });
        PROXY.drop_connections();
        until("hits", || plain(1) == plain(1));
    }
    *on_redis::FATAL.lock().unwrap() = None;
}

#[test]
fn connections_that_the_server_ends_while_a_lease_is_kept_are_no_outage() {
    on_redis::listen();
    static SERVER: LazyLock<Server> = LazyLock::new(Server::start);
    static BARE: LazyLock<quickcache::QuickCache> =
        LazyLock::new(|| bare(redis(&SERVER.url()).budget("5s")));
    #[quickcache(cache = BARE, name = "slow", version = 1, vary_on = [n])]
    fn slow(n: u64) -> u64 {
        for _ in 0..4 {
            rest(600);
            let all = SERVER.command(&["CLIENT", "KILL", "USER", "default"]);
            all.expect("killed");
        }
        rest(1200);
        n
    }
    assert_eq!((slow(1), slow(1)), (1, 1));
    assert_eq!(slow::stats().executions, 1);
    assert_eq!(on_redis::logged("WARN", &SERVER.address()), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p11_calls_that_are_dropped_before_their_claim_is_sent_keep_no_lease() {
    static SERVER: LazyLock<Server> = LazyLock::new(Server::start);
    static PROXY: LazyLock<Proxy> = LazyLock::new(|| Proxy::to(SERVER.address()));
    static BARE: LazyLock<quickcache::QuickCache> =
        LazyLock::new(|| bare(redis(&format!("redis://{}", PROXY.address())).budget("500ms")));
    #[quickcache(cache = BARE, name = "long", version = 1, vary_on = [n])]
    async fn long(n: u64) -> u64 {
        tokio::time::sleep(Duration::from_secs(60)).await;
        n
    }
    let _warm = tokio::time::timeout(Duration::from_millis(500), long(0)).await;
    PROXY.set(Mode::Delay(Direction::ToServer, Duration::from_millis(40)));
    let all: Vec<_> = (1..120)
        .map(|n| {
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(3 * n)).await;
                tokio::time::timeout(Duration::from_millis(20 + n), long(n)).await
            })
        })
        .collect();
    for task in all {
        assert!(task.await.expect("it ends").is_err());
    }
    PROXY.heal();
    let mut server = SERVER.connect().expect("a connection");
    // A lease that is not given back lasts for three seconds; those whose claim may still be on its way are given back again after one.
    tokio::time::sleep(Duration::from_millis(2200)).await;
    assert_eq!(server.leases().expect("a count"), 0);
}

// ---- one bound for all ----

#[test]
fn p5_a_clear_waits_as_long_as_the_users_have_agreed() {
    static SERVER: LazyLock<Server> = LazyLock::new(Server::start);
    static PROXY: LazyLock<Proxy> = LazyLock::new(|| Proxy::to(SERVER.address()));
    cached! {
        HERE here = with_memory(redis(&format!("redis://{}", PROXY.address())).staleness("3s"));
        BARE plain = bare(redis(&SERVER.url()));
    }
    until("a hit in memory", || {
        here(1);
        here::stats().memory_hits > 0
    });
    for _ in 0..2 {
        let old = here(1);
        PROXY
            .only(b"SUBSCRIBE")
            .set(Mode::Blackhole(Direction::ToClient));
        assert_eq!(plain::clear(1).wait(), Cleared::Applied);
        assert!(here(1).1 > old.1);
        PROXY.heal();
    }
}

#[test]
fn p4_a_process_that_says_another_bound_serves_no_longer_than_was_agreed_on() {
    on_redis::listen();
    static SERVER: LazyLock<Server> = LazyLock::new(Server::start);
    static PROXY: LazyLock<Proxy> = LazyLock::new(|| Proxy::to(SERVER.address()));
    static MACHINE: LazyLock<PathBuf> = LazyLock::new(machine);
    static URL: LazyLock<String> = LazyLock::new(|| format!("redis://{}", PROXY.address()));
    cached! {
        AGREES agrees = with_memory(redis(&URL).folder(&*MACHINE));
        DIFFERS differs = with_memory(redis(&URL).folder(&*MACHINE).staleness("20s"));
        ELSEWHERE elsewhere = bare(redis(&SERVER.url()));
    }
    until("a hit in memory", || {
        agrees(1);
        agrees::stats().memory_hits > 0
    });
    // One folder: who agrees proves it for both.
    until("a hit in memory", || {
        differs(1);
        differs::stats().memory_hits > 0
    });
    let old = differs(1);
    PROXY
        .only(b"SUBSCRIBE")
        .set(Mode::Blackhole(Direction::ToClient));
    assert_eq!(elsewhere::clear(1), Cleared::Applied);
    rest(250);
    assert!(differs(1).1 > old.1);
    until("it is told", || {
        on_redis::logged("WARN", &URL["redis://".len()..])
            .iter()
            .any(|line| line.contains("agreed on a staleness of 250 ms"))
    });
}
