//! P2, P7 and P11 at the store, with real processes: files and folders that go away while they are open, full disks, workers killed and
//! stopped at any point, forks, and leases over processes.

#![cfg(target_os = "linux")]

mod on_store;

use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use on_store::*;
use quickcache::tier::store::{Turn, Unstored};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};

const TABLE: &str = "generations";
const VALUES: &str = "values-1";

/// What the table takes on the disk, and what the folders and the files of workers may take besides.
const TABLE_BYTES: u64 = 2_400 << 10;
const FOLDERS: u64 = 64 << 10;

// ---- a slow disk ----

#[test]
fn what_the_disk_has_to_be_asked_for_is_known_before() {
    const TMPFS: i64 = 0x0102_1994;
    let place = Place::new();
    let at = AtStore::new(&place.store(), 8 << 20);
    let opened = at.opened().unwrap();
    let (small, large) = (AtStore::spot(opened, 1), AtStore::spot(opened, 2));
    // What this process has looked at would stay.
    assert!(in_a_process(|| {
        let at = AtStore::new(&place.store(), 8 << 20);
        at.put(1, 11).unwrap();
        at.put_sized(2, 22, 100_000).unwrap();
    }));
    if rustix::fs::statfs(place.store()).unwrap().f_type as i64 == TMPFS {
        assert!(opened.is_near(&small) && opened.is_near(&large));
        return;
    }
    let values = place.open_file(VALUES);
    values.sync_all().unwrap();
    rustix::fs::fadvise(&values, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    assert!(!opened.is_near(&small) && !opened.is_near(&large));
    for (spot, n) in [(small, 1), (large, 2)] {
        opened.fetch(&spot, 0);
        assert!(opened.is_near(&spot));
        assert_eq!(at.get(n), Some(11 * n));
    }
}

#[test]
fn what_a_hit_would_write_again_is_known_before() {
    let place = Place::new();
    let at = AtStore::of(&place);
    let opened = at.opened().unwrap();
    let spot = AtStore::spot(opened, 1);
    at.put(1, 11).unwrap();
    let later = (100..10_000).find(|n| {
        at.put(*n, 1).unwrap();
        !opened.is_near(&spot)
    });
    assert!(later.is_some());
    opened.fetch(&spot, 0);
    assert!(opened.is_near(&spot));
    assert_eq!(at.get(1), Some(11));
}

// ---- what goes away while it is open ----

/// Whatever is done to the files of an open store, it works again soon, with one table for all.
fn heals(done: impl Fn(&Place)) {
    let place = Place::new();
    let page = page();
    let other = Process::start(|| {
        let at = AtStore::of(&place);
        assert!(at.works(1));
        page[0].store(1, Ordering::Release);
        until("the files are gone", || {
            page[1].load(Ordering::Acquire) == 1
        });
        until("it works again", || at.works(2));
        until("it sees what the other stores", || at.get(3) == Some(33));
        at.clear(3);
        page[0].store(2, Ordering::Release);
    });
    assert!(in_a_process(|| {
        let at = AtStore::of(&place);
        assert!(at.works(1));
        until("the other has opened it", || {
            page[0].load(Ordering::Acquire) == 1
        });
        done(&place);
        page[1].store(1, Ordering::Release);
        until("it works again", || at.works(1));
        until("the other has the same table", || {
            at.put(3, 33).is_ok() && page[0].load(Ordering::Acquire) == 2
        });
        at.put(4, 44).unwrap();
        assert_eq!(at.get(4), Some(44));
    }));
    assert!(other.ends_well());
}

#[test]
fn a_folder_that_is_removed_while_it_is_open_is_made_anew() {
    heals(|place| std::fs::remove_dir_all(place.store()).unwrap());
}

#[test]
fn a_folder_that_is_replaced_while_it_is_open_is_opened_anew() {
    heals(|place| {
        std::fs::rename(place.store(), place.around().join("before")).unwrap();
        assert!(in_a_process(|| assert!(AtStore::of(place).works(9))));
    });
}

#[test]
fn files_that_are_removed_while_they_are_open_are_made_anew() {
    for names in [&[TABLE][..], &[VALUES], &[TABLE, VALUES]] {
        heals(|place| {
            for name in names {
                std::fs::remove_file(place.file(name)).unwrap();
            }
        });
    }
}

#[test]
fn files_that_are_replaced_while_they_are_open_are_opened_anew() {
    heals(|place| {
        let other = Place::new();
        assert!(in_a_process(|| assert!(AtStore::of(&other).works(9))));
        for name in [TABLE, VALUES] {
            std::fs::copy(other.file(name), place.file("copy")).unwrap();
            std::fs::rename(place.file("copy"), place.file(name)).unwrap();
        }
    });
}

/// A table that loses its name is void for those who have it open, what its memory tiers hold included.
#[test]
fn f_stamps_of_a_table_that_was_replaced_hold_no_more() {
    stamps_are_void_after(|place| std::fs::remove_dir_all(place.store()).unwrap());
}

#[test]
fn f_nor_do_they_if_who_said_that_it_is_replaced_was_killed_before_the_rest() {
    stamps_are_void_after(|place| {
        let replaced = 17 * 8;
        let table = place.open_file(TABLE);
        table.write_all_at(&[1], replaced).unwrap();
        std::fs::remove_dir_all(place.store()).unwrap();
    });
}

fn stamps_are_void_after(lost: impl Fn(&Place)) {
    let place = Place::new();
    assert!(in_a_process(|| {
        let at = AtStore::of(&place);
        let old = at.opened().unwrap();
        let (function, spot) = (old.function(b"f"), AtStore::spot(old, 1));
        let stamp = old.stamp(function, &spot);
        assert!(old.watch(function).holds(stamp.guard()));
        lost(&place);
        until("another is opened", || {
            !std::ptr::eq(at.opened().unwrap(), old)
        });
        assert!(!old.watch(function).holds(stamp.guard()));
    }));
}

// ---- full disks ----

/// How often this process has mapped the table.
fn mappings(place: &Place) -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let around = place.around().display().to_string();
    maps.lines().filter(|line| line.contains(&around)).count()
}

#[test]
fn a_disk_that_is_full_when_it_is_opened_is_no_fault_of_the_call_and_heals() {
    let place = Place::new();
    let Some(disk) = Disk::mount(place.around(), "1m") else {
        return; // the limit on the size of files stands for it below
    };
    let page = page();
    let process = Process::start(|| {
        let at = AtStore::new(&place.store(), 8 << 20);
        for _ in 0..1000 {
            assert!(at.opened().is_none() && at.get(1).is_none());
        }
        warned_once(&place, "No space left");
        page[0].store(1, Ordering::Release);
        until("there is a table", || at.opened().is_some());
        // The table only: clears work, and nothing is stored.
        assert!(at.put(1, 1).is_ok() && at.get(1).is_none());
        at.clear(1);
        let mapped = mappings(&place);
        let failures = at.shared.failures();
        until("it was tried again", || {
            at.opened();
            at.shared.failures() > failures + 1
        });
        assert_eq!(mappings(&place), mapped, "each try maps it once more");
        page[0].store(2, Ordering::Release);
        until("there are values", || at.works(1));
        warned_once(&place, "No space left");
    });
    until("it was refused", || page[0].load(Ordering::Acquire) == 1);
    disk.grow("2600k");
    until("there were no values", || {
        page[0].load(Ordering::Acquire) == 2
    });
    disk.grow("16m");
    assert!(process.ends_well());
    drop(disk);
}

/// Bytes that this process has written so far.
fn written() -> u64 {
    let said = std::fs::read_to_string("/proc/self/io").unwrap();
    let line = said.lines().find_map(|line| line.strip_prefix("wchar: "));
    line.unwrap().parse().unwrap()
}

#[test]
fn a_store_that_is_larger_than_its_disk_and_than_memory_keeps_no_values() {
    let keeps_none = |place: &Place| {
        assert!(in_a_process(|| {
            let before = written();
            let at = AtStore::new(&place.store(), u64::MAX / 4);
            // A disk is not filled in order to find out.
            assert!(at.opened().is_some() && written() - before < TABLE_BYTES + FOLDERS);
            assert!(at.put(1, 1).is_ok() && at.get(1).is_none());
            at.clear(1);
            warned_once(place, "it keeps no values");
            assert_eq!(place.names(), ["generations"]);
        }));
    };
    keeps_none(&Place::new());
    let place = Place::new();
    let disk = Disk::mount(place.around(), "16m");
    keeps_none(&place);
    drop(disk);
}

#[test]
fn p10_a_disk_that_fills_while_it_is_written_to_refuses_values_and_gives_nothing_wrong() {
    let place = Place::new();
    let Some(disk) = Disk::mount(place.around(), "4m") else {
        return; // as above
    };
    assert!(in_a_process(|| {
        let at = AtStore::new(&place.store(), 16 << 20);
        let mut refused = 0;
        for n in 0..400 {
            match at.put_sized(n, 1, 10_000) {
                Ok(()) => {}
                Err(why @ Unstored::Io(_)) => {
                    at.shared.unstored(&why);
                    refused += 1;
                }
                Err(other) => panic!("{other:?}"),
            }
        }
        assert!(refused > 100, "{refused}");
        warned_once(&place, "No space left");
        let found = (0..400).filter(|n| at.get(*n) == Some(1)).count();
        assert!(found > 10, "{found}");
        for n in 0..400 {
            at.clear(n);
            assert_eq!(at.get(n), None);
        }
        disk.grow("32m");
        for n in 0..400 {
            at.put_sized(n, 2, 10_000).unwrap();
            assert_eq!(at.get(n), Some(2));
        }
    }));
    drop(disk);
}

/// The system ends a process that writes beyond the limit.
#[test]
fn a_limit_on_the_size_of_files_ends_no_process() {
    let limited = |bytes: u64| {
        let limit = Rlimit {
            current: Some(bytes),
            ..getrlimit(Resource::Fsize)
        };
        setrlimit(Resource::Fsize, limit).unwrap();
    };
    let place = Place::new();
    assert!(in_a_process(|| {
        limited(1 << 20);
        let at = AtStore::new(&place.store(), 8 << 20);
        assert!(at.opened().is_none());
        warned_once(&place, "RLIMIT_FSIZE");
        limited(4 << 20);
        until("there is a table", || at.opened().is_some());
        assert!(at.put(1, 1).is_ok() && at.get(1).is_none());
        limited(8 << 20);
        until("there are values", || at.works(1));
        // And when it is open.
        limited(64 << 10);
        assert!(matches!(at.put(2, 1), Err(Unstored::Io(_))));
        at.clear(1);
        assert_eq!((at.get(1), at.get(2)), (None, None));
    }));
}

// ---- killed and stopped ----

/// Writers with versions that only grow, killed in the midst; whoever reads finds whole values, and none from before a clear.
#[test]
fn p2_writers_killed_at_any_point_leave_nothing_wrong() {
    let place = Place::new();
    let (page, mut random) = (page(), Random(0xF00D));
    let (versions, floors) = (&page[..8], &page[8..16]);
    let at = || AtStore::new(&place.store(), 1 << 20);
    let reader = Process::start(|| {
        let at = at();
        while page[16].load(Ordering::Acquire) == 0 {
            for (n, floor) in (0..).zip(floors) {
                let floor = floor.load(Ordering::SeqCst);
                if let Some(found) = at.get(n) {
                    assert!(found >= floor, "{n}: {found} is older than {floor}");
                    page[17].fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    });
    for _ in 0..120 {
        let writers: Vec<_> = (0..2)
            .map(|writer| {
                Process::start(move || {
                    let at = at();
                    for round in writer.. {
                        let n = round % 8;
                        let opened = at.opened().unwrap();
                        let (function, spot) =
                            (opened.function(b"a function"), AtStore::spot(opened, n));
                        // A fill, and then a change.
                        let stamp = opened.stamp(function, &spot);
                        let version = versions[n as usize].load(Ordering::SeqCst);
                        let entry = entry_of(opened, n, stamp.sum, version, 40_000);
                        opened.put(function, &spot, &entry).unwrap();
                        if round % 16 == 0 {
                            let version = versions[n as usize].fetch_add(1, Ordering::SeqCst) + 1;
                            at.clear(n);
                            floors[n as usize].fetch_max(version, Ordering::SeqCst);
                        }
                    }
                })
            })
            .collect();
        std::thread::sleep(Duration::from_micros(random.below(20_000)));
        // One of them is first stopped for a while, in which the other goes on.
        writers[0].signal(Signal::STOP);
        std::thread::sleep(Duration::from_micros(random.below(10_000)));
        writers[0].signal(Signal::CONT);
        writers.into_iter().for_each(Process::kill);
    }
    page[16].store(1, Ordering::Release);
    assert!(reader.ends_well());
    let found = page[17].load(Ordering::Relaxed);
    assert!(found > 100, "hardly anything was found: {found}");
    assert!(in_a_process(|| assert!(at().works(1))));
}

/// A million, or as many as the environment says.
#[test]
fn overwrites_with_processes_killed_at_random_stay_within_the_bound() {
    let overwrites: u64 = std::env::var("QUICKCACHE_TEST_OVERWRITES")
        .map_or(1_000_000, |count| count.parse().expect("a number"));
    let place = Place::new();
    let (page, mut random) = (page(), Random(0xD0));
    let max_bytes = 4 << 20;
    let at = || AtStore::new(&place.store(), max_bytes);
    let overwrite = || {
        let at = at();
        let opened = at.opened().unwrap();
        let function = opened.function(b"a function");
        let mut random = Random(u64::from(std::process::id()));
        // What an entry is made of is no matter here, and takes longer than storing it.
        let entries: Vec<_> = (0..64)
            .map(|n| {
                let spot = AtStore::spot(opened, n);
                let stamp = opened.stamp(function, &spot);
                let bytes = 100 + random.below(2000) as usize;
                (spot, entry_of(opened, n, stamp.sum, 1, bytes))
            })
            .collect();
        while page[0].fetch_add(1, Ordering::Relaxed) < overwrites {
            let (spot, entry) = &entries[random.below(64) as usize];
            opened.put(function, spot, entry).unwrap();
        }
    };
    let (mut kills, mut most) = (0, 0);
    let mut workers: Vec<_> = (0..2).map(|_| Process::start(overwrite)).collect();
    while page[0].load(Ordering::Relaxed) < overwrites {
        std::thread::sleep(Duration::from_millis(5 + random.below(40)));
        let mut killed = Process::start(overwrite);
        std::mem::swap(&mut killed, &mut workers[random.below(2) as usize]);
        killed.kill();
        kills += 1;
        most = place.on_disk().max(most);
    }
    drop(workers);
    assert!(kills > 10, "{kills}");
    assert!(most <= max_bytes + TABLE_BYTES + FOLDERS, "{most} bytes");
    assert!(in_a_process(|| {
        let at = at();
        assert!(at.works(1));
        assert!((0..64).all(|n| n == 1 || at.get(n).is_none_or(|version| version == 1)));
    }));
}

// ---- leases ----

#[test]
fn p7_who_waits_for_another_process_is_woken_by_its_release() {
    let place = Place::new();
    let page = page();
    let leads = Process::start(|| {
        let at = AtStore::of(&place);
        for round in 1..=40 {
            let lease = at.lead(1);
            assert!(lease.is_some());
            page[0].store(round, Ordering::Release);
            until("the other waits", || {
                page[1].load(Ordering::Acquire) == round
            });
            // It has said so just before it sleeps.
            std::thread::sleep(Duration::from_micros(500));
            at.put(1, round).unwrap();
            drop(lease);
            until("the other has it", || {
                page[2].load(Ordering::Acquire) == round
            });
        }
    });
    let at = AtStore::of(&place);
    let mut quickest = HANGS;
    for round in 1..=40 {
        until("the other leads", || {
            page[0].load(Ordering::Acquire) == round
        });
        let waiting = at.waiting(1);
        assert!(waiting.take_over(false).is_none(), "it lives");
        page[1].store(round, Ordering::Release);
        let began = Instant::now();
        waiting.wait(HANGS);
        quickest = quickest.min(began.elapsed());
        until("it was stored", || at.get(1) == Some(round));
        page[2].store(round, Ordering::Release);
    }
    assert!(leads.ends_well());
    // A sleep that nobody ends takes ten milliseconds.
    assert!(quickest < Duration::from_millis(8), "{quickest:?}");
}

#[test]
fn p7_a_leader_that_dies_is_found_out_without_patience() {
    let place = Place::new();
    let page = page();
    let leads = Process::start(|| {
        let lease = AtStore::of(&place).lead(1);
        assert!(lease.is_some());
        page[0].store(1, Ordering::Release);
        loop {
            std::thread::park();
        }
    });
    until("it leads", || page[0].load(Ordering::Acquire) == 1);
    let at = AtStore::of(&place);
    let waiting = at.waiting(1);
    for _ in 0..10 {
        assert!(waiting.take_over(false).is_none(), "it lives");
    }
    leads.kill();
    assert!(waiting.take_over(false).is_some());
    assert!(
        matches!(at.claim(1), Turn::Lead(Some(_))),
        "and was released"
    );
}

#[test]
fn p7_a_leader_that_is_stopped_is_waited_for_until_patience_is_over_and_then_releases_nothing() {
    let place = Place::new();
    let page = page();
    let leads = Process::start(|| {
        let lease = AtStore::of(&place).lead(1);
        page[0].store(1, Ordering::Release);
        until("it is over", || page[1].load(Ordering::Acquire) == 1);
        drop(lease);
        page[0].store(2, Ordering::Release);
    });
    until("it leads", || page[0].load(Ordering::Acquire) == 1);
    leads.signal(Signal::STOP);
    let at = AtStore::of(&place);
    let waiting = at.waiting(1);
    assert!(waiting.take_over(false).is_none(), "it may go on");
    let lease = waiting.take_over(true);
    assert!(lease.is_some());
    assert!(waiting.take_over(true).is_none(), "once");
    page[1].store(1, Ordering::Release);
    leads.signal(Signal::CONT);
    until("it has released", || page[0].load(Ordering::Acquire) == 2);
    assert!(leads.ends_well());
    assert!(in_a_process(|| {
        assert!(
            matches!(AtStore::of(&place).claim(1), Turn::Wait(_)),
            "ours was released"
        );
    }));
}

#[test]
fn a_clear_makes_the_way_free_for_another_leader() {
    let place = Place::new();
    let at = AtStore::of(&place);
    let lease = at.lead(1);
    assert!(in_a_process(|| {
        let at = AtStore::of(&place);
        assert!(matches!(at.claim(1), Turn::Wait(_)));
        at.clear(1);
        assert!(matches!(at.claim(1), Turn::Lead(Some(_))));
    }));
    drop(lease);
}

// ---- forks ----

#[test]
fn p11_the_child_of_a_fork_is_a_worker_of_its_own() {
    let place = Place::new();
    let at = AtStore::of(&place);
    let lease = at.lead(1);
    assert!(lease.is_some());
    assert!(
        matches!(at.claim(1), Turn::Lead(None)),
        "for itself nobody waits"
    );
    assert!(in_a_process(|| {
        // A copy of the parent's: not to be released here.
        assert!(matches!(at.claim(1), Turn::Wait(_)));
        assert!(at.works(2));
        let own = at.lead(3);
        assert!(own.is_some());
        assert!(in_a_process(|| {
            assert!(matches!(at.claim(3), Turn::Wait(_)));
        }));
    }));
    assert!(
        matches!(at.claim(3), Turn::Lead(Some(_))),
        "the child's was released"
    );
    drop(lease);
}

#[test]
fn p11_a_parent_that_dies_frees_its_leases_though_its_child_lives() {
    let place = Place::new();
    let page = page();
    let parent = Process::start(|| {
        let at = AtStore::of(&place);
        let lease = at.lead(1);
        assert!(lease.is_some());
        let _child = Process::start(|| {
            page[0].store(1, Ordering::Release);
            until("it is over", || page[1].load(Ordering::Acquire) == 1);
            page[2].store(1, Ordering::Release);
        });
        loop {
            std::thread::park();
        }
    });
    until("the child lives", || page[0].load(Ordering::Acquire) == 1);
    let waiting = AtStore::of(&place).waiting(1);
    assert!(waiting.take_over(false).is_none());
    parent.kill();
    let lease = waiting.take_over(false);
    page[1].store(1, Ordering::Release);
    until("the child has ended", || {
        page[2].load(Ordering::Acquire) == 1
    });
    assert!(lease.is_some());
}

/// Forks while other threads open, store, read, clear and claim: each child is served.
#[test]
fn p11_the_child_of_a_busy_process_is_served() {
    let place = Place::new();
    let at = AtStore::of(&place);
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let stop = &stop;
            let place = &place;
            scope.spawn(move || {
                for round in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let n = thread * 100 + round % 20;
                    at.put(n, round).unwrap();
                    at.get(n);
                    at.clear(n);
                    drop(at.lead(n));
                    if round % 50 == 0 {
                        let another = place.around().join((round % 500).to_string());
                        AtStore::new(&another, SMALL).works(1);
                    }
                }
            });
        }
        let served = (0..60).all(|round| {
            in_a_process(|| {
                assert!(at.works(1000 + round));
                drop(at.lead(1000 + round));
                let another = place.around().join(format!("of-{round}"));
                assert!(AtStore::new(&another, SMALL).works(1));
            })
        });
        stop.store(true, Ordering::Relaxed);
        assert!(served);
    });
}
