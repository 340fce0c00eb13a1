//! What the others see when a process is stopped or killed in the midst of a read or a write, when the disk is full, and after a fork.

use std::fs;
use std::io::{self, Write};
use std::process::{Command, exit};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::*};
use std::thread;
use std::time::{Duration, Instant};

use crate::candidate::Candidate;
use crate::processes::{Place, Samples, await_stop, ends_within, signal, stop_myself};
use crate::table::{Table, mib, micros};
use crate::values::{is_whole, key, value};
use crate::within;

const BYTES: u64 = 64 << 20;
/// Who waits longer than this waits for ever.
const FOR_EVER: Duration = Duration::from_secs(2);
const KEYS: u64 = 1_000;
const SIZE: usize = 4_096;

pub fn fill(store: &dyn Candidate) {
    for n in 0..KEYS {
        assert!(
            store.put(&key(n), &value(n, 0, SIZE)),
            "an empty store refuses nothing"
        );
    }
}

/// How many of the first `keys` are there and whole.
fn whole(store: &dyn Candidate, keys: u64) -> u64 {
    let mut out = Vec::new();
    (0..keys)
        .filter(|&n| store.get(&key(n), &mut out) && is_whole(n, &out))
        .count() as u64
}

/// Overwrites the keys so many times: how often it was refused, and the time of each.
fn overwrite(store: &dyn Candidate, puts: u64) -> (u64, Samples) {
    let mut samples = Samples::default();
    let refused = (0..puts).filter(|&n| {
        let (key, value) = (key(n % KEYS), value(n % KEYS, n, SIZE));
        !samples.time(|| store.put(&key, &value))
    });
    (refused.count() as u64, samples)
}

/// A process stopped inside a read while others overwrite 20,000 times, then killed.
pub fn stale_reader(candidate: &str) {
    const PUTS: u64 = 20_000;
    let mut table = Table::new(
        &format!(
            "A stale reader: bound {} MiB, {KEYS} keys of 4 kB",
            BYTES >> 20
        ),
        &[
            "",
            "file MiB",
            "refused",
            "put p50 us",
            "longest ms",
            "keys whole",
        ],
    );
    within(candidate, BYTES, |place| {
        let store = place.open();
        fill(&*store);
        let mut step = |name: &str| {
            let (refused, samples) = overwrite(&*store, PUTS);
            let [p50, .., longest] = samples.quantiles();
            table.row(vec![
                name.into(),
                mib(place.file_bytes().0),
                format!("{refused} of {PUTS}"),
                micros(p50),
                format!("{:.1}", f64::from(longest) / 1e6),
                format!("{} of {KEYS}", whole(&*store, KEYS)),
            ]);
        };
        step("nobody reads");
        let mut reader = place.spawn("pause-read", &[]);
        await_stop(&reader);
        step("a reader is stopped");
        signal(&reader, libc::SIGKILL);
        reader.wait().expect("a child of ours");
        step("it was killed");
    });
}

pub fn pause_read(place: &Place) {
    let store = place.open();
    store.get_pausing(&key(1), &mut Vec::new(), &mut || {
        place.shared.ready.fetch_add(1, Release);
        stop_myself();
    });
}

pub fn pause_write(place: &Place) {
    let store = place.open();
    store.put_pausing(&key(1), &value(1, 1, SIZE), &mut stop_myself);
}

/// A process stopped in the midst of a write: how long another one's reads and writes wait, and how long it takes to open the store.
pub fn stopped_writer(candidate: &str) {
    let mut table = Table::new(
        "A stopped writer, 4 kB",
        &[
            "",
            "get p50 us",
            "longest",
            "first put ms",
            "200 puts, longest ms",
            "stored",
            "opening ms",
        ],
    );
    within(candidate, BYTES, |place| {
        fill(&*place.open());
        let mut probe = place.spawn("probe", &[]);
        place.await_ready(1);
        let mut writer = place.spawn("pause-write", &[]);
        await_stop(&writer);
        place.shared.go.store(1, Release);
        let free = ends_within(&mut probe, FOR_EVER);
        let opening = thread::scope(|scope| {
            let opening = scope.spawn(|| {
                let start = Instant::now();
                let opened = crate::candidate::open(candidate, &place.store(), BYTES).is_ok();
                (start.elapsed(), opened)
            });
            let start = Instant::now();
            while !opening.is_finished() && start.elapsed() < FOR_EVER {
                thread::sleep(Duration::from_millis(1));
            }
            let text = opening.is_finished();
            signal(&writer, libc::SIGCONT);
            match opening.join().expect("no panic") {
                _ if !text => "for ever".into(),
                (time, opened) => format!(
                    "{:.1}{}",
                    time.as_secs_f64() * 1e3,
                    if opened { "" } else { ", refused" }
                ),
            }
        });
        writer.wait().expect("a child of ours");
        assert!(
            ends_within(&mut probe, FOR_EVER),
            "the probe ends when the writer goes on"
        );
        let out = probe.stdout.as_mut().expect("piped");
        let (mut gets, mut first, mut puts) =
            (Samples::default(), Samples::default(), Samples::default());
        gets.receive(out);
        first.receive(out);
        puts.receive(out);
        let [p50, .., longest] = gets.quantiles();
        let ms = |samples: Samples| format!("{:.2}", f64::from(samples.quantiles()[3]) / 1e6);
        table.row(vec![
            "a writer is stopped".into(),
            micros(p50),
            micros(longest),
            if free { ms(first) } else { "for ever".into() },
            if free { ms(puts) } else { "-".into() },
            if free {
                format!("{} of 200", place.shared.puts.load(Relaxed))
            } else {
                "-".into()
            },
            opening,
        ]);
        let store = place.open();
        let (refused, samples) = overwrite(&*store, 200);
        table.row(vec![
            "it went on".into(),
            String::new(),
            String::new(),
            micros(samples.0[0]) + " us",
            ms(samples),
            format!("{} of 200", 200 - refused),
            String::new(),
        ]);
    });
}

/// The worker: 1000 gets, a put, 200 puts.
pub fn probe(place: &Place) {
    let store = place.open();
    let mut out = Vec::new();
    store.get(&key(0), &mut out);
    place.meet();
    let (mut gets, mut first) = (Samples::default(), Samples::default());
    for n in 0..KEYS {
        let key = key(n);
        gets.time(|| store.get(&key, &mut out));
    }
    let (key, value) = (key(2), value(2, 2, SIZE));
    first.time(|| store.put(&key, &value));
    let (refused, puts) = overwrite(&*store, 200);
    place.shared.puts.fetch_add(200 - refused, Relaxed);
    let mut stdout = io::stdout().lock();
    [gets, first, puts]
        .iter()
        .for_each(|samples| samples.send(&mut stdout));
    stdout.flush().expect("the harness reads");
}

/// Writers killed in the midst of a write, one after the other: the next write's wait, and whether the old value stands.
pub fn killed_writer(candidate: &str) {
    const ROUNDS: u64 = 100;
    let mut table = Table::new(
        "Killed writers, 4 kB",
        &[
            "killed",
            "next put p50 us",
            "longest",
            "refused",
            "uncommitted seen",
            "keys whole",
            "file MiB",
        ],
    );
    within(candidate, BYTES, |place| {
        let store = place.open();
        fill(&*store);
        let (mut puts, mut refused, mut seen, mut out) = (Samples::default(), 0, 0, Vec::new());
        for round in 0..ROUNDS {
            let before = value(1, round + 2, SIZE);
            refused += u64::from(!puts.time(|| store.put(&key(1), &before)));
            let mut writer = place.spawn("pause-write", &[]);
            await_stop(&writer);
            signal(&writer, libc::SIGKILL);
            writer.wait().expect("a child of ours");
            store.get(&key(1), &mut out);
            seen += u64::from(out != before);
        }
        let [p50, .., longest] = puts.quantiles();
        table.row(vec![
            ROUNDS.to_string(),
            micros(p50),
            micros(longest),
            refused.to_string(),
            seen.to_string(),
            format!("{} of {KEYS}", whole(&*store, KEYS)),
            mib(place.file_bytes().0),
        ]);
    });
}

/// A file system of 16 MiB, half of it another's, under a store that may hold 64 MiB.
pub fn full_disk(candidate: &str) {
    let mut table = Table::new(
        "A full disk, 4 kB",
        &[
            "",
            "stored",
            "refused",
            "keys whole",
            "a process of 100 threads reads",
        ],
    );
    within(candidate, BYTES, |place| {
        let store = place.store();
        fs::create_dir_all(&store).expect("a folder");
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=16m,mode=0700", "tmpfs"])
            .arg(&store)
            .status();
        if !mount.is_ok_and(|status| status.success()) {
            println!("\nLeft out: a file system may not be mounted here.");
            return;
        }
        let filler = store.join("filler");
        fs::write(&filler, vec![1; 8 << 20]).expect("half of it");
        let opened = place.open();
        let mut stored = 0;
        let mut step = |name: &str, range: std::ops::Range<u64>| {
            let all = range.end - range.start;
            let put = range
                .filter(|&n| opened.put(&key(n), &value(n, 0, SIZE)))
                .count() as u64;
            stored += put;
            let ended = if name.ends_with("byte") {
                let mut readers = place.spawn("many-readers", &[]);
                let ended = ends_within(&mut readers, Duration::from_secs(10));
                let status = readers.try_wait().ok().flatten();
                status
                    .filter(|_| ended)
                    .map_or("waits for ever".into(), |status| status.to_string())
            } else {
                String::new()
            };
            table.row(vec![
                name.into(),
                put.to_string(),
                (all - put).to_string(),
                format!("{} of {stored}", whole(&*opened, 20_000)),
                ended,
            ]);
        };
        step("500 values", 0..500);
        step("until it is full", 500..3_000);
        fs::write(store.join("rest"), vec![1; 16 << 20])
            .expect_err("the disk is full to the last byte");
        step("full to the last byte", 3_000..4_000);
        fs::remove_file(&filler).expect("ours");
        fs::remove_file(store.join("rest")).expect("ours");
        step("room again", 4_000..4_500);
        drop(opened);
        // Lazily: the ring's table stays mapped for as long as this process lives.
        let unmounted = Command::new("umount").arg("--lazy").arg(&store).status();
        assert!(
            unmounted.is_ok_and(|status| status.success()),
            "what was mounted can be unmounted"
        );
    });
}

/// The worker: 100 threads, each of which reads and stays.
pub fn many_readers(place: &Place) {
    let store = &*place.open();
    let barrier = &std::sync::Barrier::new(100);
    thread::scope(|scope| {
        for n in 0..100 {
            scope.spawn(move || {
                store.get(&key(n), &mut Vec::new());
                barrier.wait();
            });
        }
    });
}

/// A process that forks while it has the store open.
pub fn fork(candidate: &str) {
    let mut table = Table::new(
        "Fork: 2,000 puts each, 4 kB",
        &[
            "",
            "child's gets",
            "child's puts",
            "longest ms",
            "parent's puts",
            "keys whole",
        ],
    );
    within(candidate, BYTES, |place| {
        let mut forking = place.spawn("fork", &[]);
        let ended = ends_within(&mut forking, Duration::from_secs(20));
        if !ended {
            signal(&forking, libc::SIGKILL);
        }
        let output = forking.wait_with_output().expect("a child of ours");
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            table.row(line.split(" | ").map(str::to_owned).collect());
        }
        if !output.status.success() {
            let mut row = vec![format!("it ended with {}", output.status)];
            row.resize(6, String::new());
            table.row(row);
        }
    });
}

/// The worker, alone in its process so that it may fork.
pub fn forking(place: &Place) {
    const PUTS: u64 = 2_000;
    let store: Arc<dyn Candidate> = Arc::from(place.open());
    fill(&*store);
    let shared = &place.shared;
    let child = |store: &dyn Candidate, puts: u64| {
        // SAFETY: the child uses the store and atomics, then ends without running what its parent would run at its end.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            shared.gets.store(whole(store, KEYS), Relaxed);
            let (refused, samples) = overwrite(store, puts);
            shared
                .longest_put
                .store(samples.quantiles()[3].into(), Relaxed);
            shared.puts.store(puts - refused, Relaxed);
            // SAFETY: as above.
            unsafe { libc::_exit(0) };
        }
        pid
    };
    let wait = |pid: i32, time: Duration| {
        let start = Instant::now();
        let mut status = 0;
        loop {
            // SAFETY: a syscall on a child of ours.
            if unsafe { libc::waitpid(pid, &mut status, libc::WNOHANG) } == pid {
                return if status == 0 {
                    String::new()
                } else {
                    format!(", child's status {status:#x}")
                };
            }
            if start.elapsed() > time {
                return ", child waits for ever".into();
            }
            thread::sleep(Duration::from_millis(1));
        }
    };
    let report = |name: &str, puts: u64, parents: String| {
        println!(
            "{name} | {} of {KEYS} | {} of {puts} | {:.1} | {parents} | {} of {KEYS}",
            shared.gets.swap(0, Relaxed),
            shared.puts.swap(0, Relaxed),
            shared.longest_put.swap(0, Relaxed) as f64 / 1e6,
            whole(&*store, KEYS),
        );
    };

    let pid = child(&*store, PUTS);
    let (refused, _) = overwrite(&*store, PUTS);
    let end = wait(pid, FOR_EVER * 3);
    report(
        &format!("both write{end}"),
        PUTS,
        format!("{} of {PUTS}", PUTS - refused),
    );

    let (inside, go_on) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicBool::new(false)),
    );
    let writer = thread::spawn({
        let (store, inside, go_on) = (store.clone(), inside.clone(), go_on.clone());
        move || {
            store.put_pausing(&key(1), &value(1, 5, SIZE), &mut || {
                inside.store(true, Release);
                while !go_on.load(Acquire) {
                    thread::yield_now();
                }
            })
        }
    });
    while !inside.load(Acquire) {
        thread::yield_now();
    }
    let pid = child(&*store, 200);
    let end = wait(pid, FOR_EVER);
    go_on.store(true, Release);
    let stored = writer.join().expect("no panic");
    if !end.is_empty() {
        wait(pid, FOR_EVER);
    }
    report(
        &format!("forked while another thread writes{end}"),
        200,
        format!("{} of 1", u64::from(stored)),
    );
    if end.contains("for ever") {
        // SAFETY: a child of ours.
        unsafe { libc::kill(pid, libc::SIGKILL) };
    }
    exit(0);
}
