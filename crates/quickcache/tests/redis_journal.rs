//! P9 at the journal of pending clears, with real processes: killed, stopped and forked at any point, full disks, files that somebody
//! removes or damages. What was promised to an append is applied after it began, and pending for all until then.

#![cfg(all(target_os = "linux", feature = "redis"))]

mod on_store;

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use on_store::*;
use quickcache::tier::redis::journal::{Journal, Left, Record, Replayed, lose};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};

const JOURNAL: &str = "journal-a";
const HEAD: usize = 8;
const RECORD: usize = 41;
const NONE: [u8; 32] = [0; 32];

fn open(place: &Place, word: &'static AtomicU64) -> &'static Journal {
    Journal::open(&place.store(), "a", word).unwrap()
}

/// A key by its number, as unlike others as a hash is.
fn key(n: u64) -> [u8; 32] {
    *blake3::hash(&n.to_le_bytes()).as_bytes()
}

fn append(journal: &Journal, n: u64) {
    journal.append(Record::Key(key(n))).unwrap();
}

fn holds(journal: &Journal, n: u64) -> bool {
    journal.holds(&key(n), &NONE)
}

/// Replays all: what it was.
fn replayed(journal: &Journal) -> BTreeSet<Record> {
    let mut all = BTreeSet::new();
    let Ok(Replayed { records, left }) = journal.replay(|batch| {
        assert!(batch.len() <= 1000);
        all.extend(batch.iter().copied());
        Ok::<_, Infallible>(())
    });
    assert!(matches!(left, Left::Nothing), "{left:?}");
    assert!(records >= all.len());
    assert!(journal.is_quiet());
    all
}

fn keys(of: impl IntoIterator<Item = u64>) -> BTreeSet<Record> {
    of.into_iter().map(|n| Record::Key(key(n))).collect()
}

fn everything() -> BTreeSet<Record> {
    BTreeSet::from([Record::Everything])
}

fn limit_files(bytes: Option<u64>) {
    let limit = Rlimit {
        current: bytes,
        ..getrlimit(Resource::Fsize)
    };
    setrlimit(Resource::Fsize, limit).unwrap();
}

// ---- what is pending ----

#[test]
fn p9_an_append_is_pending_in_every_process_until_it_is_replayed() {
    let (place, page) = (Place::new(), page());
    let other = Process::start(|| {
        let journal = open(&place, &page[0]);
        assert!(journal.is_quiet() && !holds(journal, 1));
        page[1].store(1, Ordering::SeqCst);
        until("it was appended", || page[1].load(Ordering::SeqCst) == 2);
        assert!(!journal.is_quiet());
        assert!(holds(journal, 1) && !holds(journal, 2));
        // Of a function.
        assert!(journal.holds(&key(2), &key(100)));
        assert!(!journal.holds(&key(100), &key(1)));
        page[1].store(3, Ordering::SeqCst);
        until("it was replayed", || page[1].load(Ordering::SeqCst) == 4);
        assert!(!holds(journal, 1) && journal.is_quiet());
    });
    until("the other is there", || page[1].load(Ordering::SeqCst) == 1);
    let journal = open(&place, &page[0]);
    assert_eq!(replayed(journal), keys([]));
    append(journal, 1);
    journal.append(Record::Function(key(100))).unwrap();
    assert!(holds(journal, 1));
    page[1].store(2, Ordering::SeqCst);
    until("the other has seen it", || {
        page[1].load(Ordering::SeqCst) == 3
    });
    let mut both = keys([1]);
    both.insert(Record::Function(key(100)));
    assert_eq!(replayed(journal), both);
    page[1].store(4, Ordering::SeqCst);
    assert!(other.ends_well());
    assert_eq!(place.names(), [""; 0]);
}

#[test]
fn p9_everything_is_every_key() {
    let (place, page) = (Place::new(), page());
    let journal = open(&place, &page[0]);
    append(journal, 1);
    journal.append(Record::Everything).unwrap();
    assert!(holds(journal, 1) && holds(journal, 2));
    append(journal, 2);
    assert_eq!(replayed(journal), everything());
}

#[test]
fn p9_what_is_pending_survives_the_machine_and_a_table_that_is_new() {
    let (place, page) = (Place::new(), page());
    append(open(&place, &page[0]), 1);
    let after = open(&place, &page[1]);
    assert!(!after.is_quiet() && holds(after, 1) && !holds(after, 2));
    // Also what somebody had begun to replay.
    let taken = "replaying-a-0123456789abcdef";
    std::fs::rename(place.file(JOURNAL), place.file(taken)).unwrap();
    append(after, 2);
    let third = open(&place, &page[2]);
    assert!(holds(third, 1) && holds(third, 2) && !holds(third, 3));
    assert_eq!(replayed(third), keys([1, 2]));
}

#[test]
fn p9_a_table_that_is_replaced_takes_what_is_pending_along() {
    let (place, page) = (Place::new(), page());
    let quiet = open(&place, &page[0]);
    append(quiet, 1);
    assert_eq!(replayed(quiet), keys([1]));
    let new = open(&place, &page[1]);
    new.succeed(quiet).unwrap();
    assert!(new.is_quiet());

    append(quiet, 1);
    std::fs::remove_dir_all(place.store()).unwrap();
    let new = open(&place, &page[2]);
    assert!(new.is_quiet());
    new.succeed(quiet).unwrap();
    assert!(holds(new, 1));
    assert_eq!(replayed(new), everything());
}

#[test]
fn tiers_of_one_folder_have_nothing_to_do_with_one_another() {
    let (place, page) = (Place::new(), page());
    let of = |name, word| Journal::open(&place.store(), name, word).unwrap();
    let (a, b) = (of("a", &page[0]), of("a-b", &page[1]));
    append(a, 1);
    append(b, 2);
    let failed = b.replay(|_| Err(()));
    assert!(failed.is_err());
    assert!(holds(a, 1) && !holds(a, 2));
    assert_eq!(replayed(a), keys([1]));
    assert_eq!(replayed(b), keys([2]));
    for name in ["", "a/b", "..", "a_b"] {
        assert!(Journal::open(&place.store(), name, &page[2]).is_err());
    }
}

#[test]
fn what_is_pending_is_written_once_by_each_process() {
    let (place, page) = (Place::new(), page());
    let journal = open(&place, &page[0]);
    for n in [1, 2, 1, 1, 2] {
        append(journal, n);
    }
    let length = || place.open_file(JOURNAL).metadata().unwrap().len() as usize;
    assert_eq!(length(), HEAD + 2 * RECORD);
    // What another one has written may not be on the disk yet.
    append(open(&place, &page[0]), 1);
    assert_eq!(length(), HEAD + 3 * RECORD);
    assert_eq!(replayed(journal), keys([1, 2]));
}

#[test]
fn files_are_private_whatever_the_umask_is() {
    let (place, page) = (Place::new(), page());
    for mask in [0, 0o777] {
        assert!(in_a_process(|| {
            rustix::process::umask(rustix::fs::Mode::from_raw_mode(mask));
            append(open(&place, &page[0]), 1);
            let mode = place.open_file(JOURNAL).metadata().unwrap().permissions();
            assert_eq!(mode.mode() & 0o777, 0o600);
            std::fs::remove_dir_all(place.store()).unwrap();
        }));
    }
}

/// A reader that finds the key of an append that has returned to be pending: always, since the word moved when all was written.
#[test]
fn p9_an_append_that_has_returned_is_seen_by_the_next_read() {
    let (place, page) = (Place::new(), page());
    let (word, done) = (&page[0], &page[1]);
    let readers: Vec<_> = (0..2)
        .map(|_| {
            Process::start(|| {
                let journal = open(&place, word);
                while done.load(Ordering::Acquire) < 2000 {
                    let last = done.load(Ordering::Acquire);
                    assert!(last == 0 || holds(journal, last), "{last} is not pending");
                }
            })
        })
        .collect();
    let journal = open(&place, word);
    for n in 1..=2000 {
        append(journal, n);
        done.store(n, Ordering::Release);
    }
    assert!(readers.into_iter().all(Process::ends_well));
}

// ---- replays ----

#[test]
fn p9_a_replay_that_fails_in_the_midst_leaves_all_of_it_pending() {
    let (place, page) = (Place::new(), page());
    let journal = open(&place, &page[0]);
    for n in 0..2500 {
        append(journal, n);
    }
    let mut batches = 0;
    let failed = journal.replay(|_| {
        batches += 1;
        if batches == 3 {
            Err("no answer")
        } else {
            Ok(())
        }
    });
    assert_eq!(failed.unwrap_err(), "no answer");
    assert!((0..2500).all(|n| holds(journal, n)));
    assert_eq!(replayed(journal), keys(0..2500));
}

#[test]
fn p9_a_clear_while_its_key_is_replayed_is_replayed_after_it() {
    let (place, page) = (Place::new(), page());
    let journal = open(&place, &page[0]);
    append(journal, 1);
    let mut times = 0;
    let Ok(Replayed { records, left }) = journal.replay(|batch| {
        assert_eq!(batch, [Record::Key(key(1))]);
        times += 1;
        if times == 1 {
            // It was applied before this clear began.
            append(journal, 1);
        }
        assert!(holds(journal, 1));
        Ok::<_, Infallible>(())
    });
    assert!(matches!(left, Left::Nothing) && (times, records) == (2, 2));
}

#[test]
fn a_replay_during_which_there_are_always_more_ends() {
    let (place, page) = (Place::new(), page());
    let journal = open(&place, &page[0]);
    append(journal, 0);
    let mut n = 0;
    let Ok(replayed) = journal.replay(|_| {
        n += 1;
        append(journal, n);
        Ok::<_, Infallible>(())
    });
    assert!(matches!(replayed.left, Left::More) && replayed.records < 100);
    assert!(holds(journal, n));
}

#[test]
fn of_two_replays_one_says_that_there_is_another() {
    let (place, page) = (Place::new(), page());
    let (journal, other) = (open(&place, &page[0]), open(&place, &page[0]));
    append(journal, 1);
    let Ok(_) = journal.replay(|_| {
        let Ok(second) = other.replay(|_| -> Result<(), Infallible> { panic!("taken") });
        assert!(matches!(second.left, Left::Elsewhere) && second.records == 0);
        assert!(holds(other, 1));
        // What came meanwhile it takes nevertheless.
        append(journal, 2);
        assert!(holds(journal, 2) && holds(other, 2));
        let mut found = BTreeSet::new();
        let Ok(_) = other.replay(|batch| {
            found.extend(batch.iter().copied());
            Ok::<_, Infallible>(())
        });
        assert_eq!(found, keys([2]));
        for journal in [journal, other] {
            assert!(holds(journal, 1) && !holds(journal, 2));
        }
        Ok::<_, Infallible>(())
    });
    assert_eq!(replayed(other), keys([]));
}

/// A process that replays, and comes no further than its first batch.
fn a_replayer(place: &Place, page: &'static [AtomicU64]) -> Process {
    let process = Process::start(|| {
        let journal = open(place, &page[0]);
        let Ok(_) = journal.replay(|_| {
            let _ = page[1].compare_exchange(0, 1, Ordering::SeqCst, Ordering::SeqCst);
            until("it may go on", || page[1].load(Ordering::SeqCst) == 2);
            Ok::<_, Infallible>(())
        });
    });
    until("it replays", || page[1].load(Ordering::SeqCst) == 1);
    process
}

#[test]
fn p9_what_a_replay_had_taken_that_was_killed_is_taken_up_by_the_next() {
    let (place, page) = (Place::new(), page());
    let journal = open(&place, &page[0]);
    append(journal, 1);
    let process = a_replayer(&place, page);
    append(journal, 2);
    process.kill();
    assert!(holds(journal, 1) && holds(journal, 2));
    assert_eq!(replayed(journal), keys([1, 2]));
}

#[test]
fn p9_a_replay_that_is_stopped_is_overtaken_and_removes_nothing_of_others_when_it_goes_on() {
    let (place, page) = (Place::new(), page());
    let journal = open(&place, &page[0]);
    append(journal, 1);
    let process = a_replayer(&place, page);
    process.signal(Signal::STOP);
    let mut found = BTreeSet::new();
    until("it is overtaken", || {
        let Ok(replayed) = journal.replay(|batch| {
            found.extend(batch.iter().copied());
            Ok::<_, Infallible>(())
        });
        matches!(replayed.left, Left::Nothing)
    });
    assert_eq!(found, keys([1]));
    assert!(journal.is_quiet());
    append(journal, 2);
    let failed = journal.replay(|_| {
        append(journal, 3);
        page[1].store(2, Ordering::SeqCst);
        process.signal(Signal::CONT);
        // It takes what was appended meanwhile.
        until("the other has done", || !holds(journal, 3));
        Err(())
    });
    assert!(failed.is_err() && process.ends_well());
    assert_eq!(replayed(journal), keys([2]));
}

#[test]
fn p9_whoever_removed_the_last_file_may_be_killed_before_it_says_so() {
    let (place, page) = (Place::new(), page());
    let (journal, other) = (open(&place, &page[0]), open(&place, &page[0]));
    append(journal, 1);
    assert!(holds(journal, 1) && holds(other, 1));
    place
        .open_file(JOURNAL)
        .write_all_at(b"qcjrnl-0", 0)
        .unwrap();
    std::fs::remove_file(place.file(JOURNAL)).unwrap();
    assert_eq!(replayed(other), keys([]));
    assert!(!holds(journal, 1) && journal.is_quiet());
}

#[test]
fn p9_a_file_that_was_applied_and_got_its_first_name_back_takes_no_appends() {
    let (place, page) = (Place::new(), page());
    append(open(&place, &page[0]), 1);
    // The machine went down before the other name was on the disk.
    place
        .open_file(JOURNAL)
        .write_all_at(b"qcjrnl-0", 0)
        .unwrap();
    let journal = open(&place, &page[1]);
    append(journal, 2);
    assert!(holds(journal, 2));
    assert_eq!(replayed(journal), keys([2]));
}

// ---- all at once ----

const KEYS: usize = 32;

/// What is known of keys, in memory that processes share: the last version that somebody began to clear, that such an append returned
/// for, and that was cleared in Redis.
struct Model {
    page: &'static [AtomicU64],
}

impl Model {
    fn word(&self) -> &'static AtomicU64 {
        &self.page[0]
    }

    fn is_over(&self) -> bool {
        self.page[1].load(Ordering::SeqCst) != 0
    }

    fn of(&self, what: usize, n: u64) -> &'static AtomicU64 {
        &self.page[16 + KEYS * what + n as usize]
    }

    fn begun(&self, n: u64) -> &'static AtomicU64 {
        self.of(0, n)
    }

    fn promised(&self, n: u64) -> &'static AtomicU64 {
        self.of(1, n)
    }

    fn applied(&self, n: u64) -> &'static AtomicU64 {
        self.of(2, n)
    }

    fn clear(&self, journal: &Journal, n: u64) {
        let version = self.begun(n).fetch_add(1, Ordering::SeqCst) + 1;
        append(journal, n);
        self.promised(n).fetch_max(version, Ordering::SeqCst);
        self.page[2].fetch_add(1, Ordering::Relaxed);
    }

    fn apply(&self, batch: &[Record]) {
        for n in 0..KEYS as u64 {
            let begun = self.begun(n).load(Ordering::SeqCst);
            if batch.contains(&Record::Key(key(n))) || batch == [Record::Everything] {
                self.applied(n).fetch_max(begun, Ordering::SeqCst);
            }
        }
        if batch == [Record::Everything] {
            self.page[5].fetch_add(1, Ordering::SeqCst);
        }
    }

    fn read(&self, journal: &Journal, n: u64) {
        let promised = self.promised(n).load(Ordering::SeqCst);
        if !holds(journal, n) {
            let applied = self.applied(n).load(Ordering::SeqCst);
            assert!(
                applied >= promised,
                "{n}: {promised} is lost, {applied} was applied"
            );
            self.page[3].fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[test]
fn p9_no_append_that_returned_is_lost_whoever_is_killed_or_stopped() {
    let place = Place::new();
    let model = Model { page: page() };
    let mut random = Random(0xBAD_5EED);
    let reader = Process::start(|| {
        let journal = open(&place, model.word());
        while !model.is_over() {
            (0..KEYS as u64).for_each(|n| model.read(journal, n));
        }
    });
    let appends = |seed| {
        let (place, model) = (&place, &model);
        Process::start(move || {
            let journal = open(place, model.word());
            let threads = |seed| {
                move || {
                    let mut random = Random(seed);
                    loop {
                        let n = random.below(KEYS as u64);
                        model.clear(journal, n);
                        model.read(journal, n);
                    }
                }
            };
            std::thread::scope(|scope| {
                scope.spawn(threads(seed));
                scope.spawn(threads(seed + 1));
            });
        })
    };
    let replays = || {
        Process::start(|| {
            let journal = open(&place, model.word());
            loop {
                let Ok(_) = journal.replay(|batch| {
                    model.apply(batch);
                    Ok::<_, Infallible>(())
                });
                model.page[4].fetch_add(1, Ordering::Relaxed);
            }
        })
    };
    for round in 0..100 {
        let processes = [
            appends(round * 16 + 1),
            appends(round * 16 + 5),
            replays(),
            replays(),
        ];
        std::thread::sleep(Duration::from_micros(random.below(30_000)));
        let stopped = &processes[random.below(4) as usize];
        stopped.signal(Signal::STOP);
        std::thread::sleep(Duration::from_micros(random.below(20_000)));
        stopped.signal(Signal::CONT);
        std::thread::sleep(Duration::from_micros(random.below(10_000)));
        processes.into_iter().for_each(Process::kill);
    }
    model.page[1].store(1, Ordering::SeqCst);
    assert!(reader.ends_well());
    assert!(in_a_process(|| {
        let journal = open(&place, model.word());
        let Ok(_) = journal.replay(|batch| {
            model.apply(batch);
            Ok::<_, Infallible>(())
        });
        assert!(journal.is_quiet());
        (0..KEYS as u64).for_each(|n| model.read(journal, n));
    }));
    // One that is being made when its maker is killed is swept by the next one.
    let left: Vec<_> = place
        .names()
        .into_iter()
        .filter(|name| !name.contains(".new-") && name != "lock")
        .collect();
    assert_eq!(left, [""; 0]);
    assert_eq!(
        model.page[5].load(Ordering::SeqCst),
        0,
        "everything was cleared"
    );
    let counted: Vec<_> = model.page[2..5]
        .iter()
        .map(|count| count.load(Ordering::Relaxed))
        .collect();
    assert!(
        counted.iter().all(|count| *count > 100),
        "hardly anything was done: {counted:?}"
    );
}

// ---- what cannot be written down ----

/// Everything is pending when a clear could not be written, also for other processes, and when its process is gone; until all is replayed.
fn is_lost_and_heals(place: &Place, word: &'static AtomicU64, fill: impl Fn(), free: impl Fn()) {
    let journal = open(place, word);
    append(journal, 1);
    assert!(in_a_process(|| {
        let journal = open(place, word);
        fill();
        for _ in 0..3 {
            assert!(journal.append(Record::Key(key(2))).is_err());
        }
        assert!(holds(journal, 2) && holds(journal, 3));
        // One that is known to be pending needs no room, but this process has not written it.
        assert!(journal.append(Record::Key(key(1))).is_err());
        free();
    }));
    for journal in [journal, open(place, word)] {
        assert!(!journal.is_quiet() && holds(journal, 1) && holds(journal, 2) && holds(journal, 3));
    }
    // A replay that fails leaves it.
    assert!(journal.replay(|_| Err(())).is_err());
    assert!(holds(journal, 3));
    // It is written down as soon as that can be.
    append(journal, 4);
    assert!(holds(open(place, Box::leak(Box::default())), 2));
    assert_eq!(replayed(journal), everything());
    append(journal, 1);
    assert!(holds(journal, 1) && !holds(journal, 2));
    assert_eq!(replayed(journal), keys([1]));
}

#[test]
fn p9_a_clear_that_a_limit_on_the_size_of_files_forbids_is_not_lost() {
    let (place, page) = (Place::new(), page());
    is_lost_and_heals(&place, &page[0], || limit_files(Some(4096)), || ());
}

#[test]
fn p9_a_clear_that_the_disk_has_no_room_for_is_not_lost() {
    let place = Place::new();
    let Some(disk) = Disk::mount(place.around(), "1m") else {
        return; // the limit on the size of files stands for it above
    };
    let filler = place.around().join("filler");
    let fill = || {
        let mut file = File::create(&filler).unwrap();
        while file.write(&[1; 4096]).is_ok_and(|written| written > 0) {}
        // What is left of the last page of the journal.
        let mut journal = File::options()
            .append(true)
            .open(place.file(JOURNAL))
            .unwrap();
        while journal.write(b"torn").is_ok_and(|written| written > 0) {}
    };
    let free = || {
        std::fs::remove_file(&filler).unwrap();
        // What filled the page is no damage of the journal's.
        let file = place.open_file(JOURNAL);
        file.set_len((HEAD + RECORD) as u64).unwrap();
    };
    is_lost_and_heals(&place, &page()[0], fill, free);
    drop(disk);
}

#[test]
fn p9_what_is_lost_while_everything_is_replayed_is_replayed_after_it() {
    let (place, page) = (Place::new(), page());
    assert!(in_a_process(|| {
        let journal = open(&place, &page[0]);
        append(journal, 1);
        let mut times = 0;
        let Ok(Replayed { records, left }) = journal.replay(|batch| {
            times += 1;
            let expected = [keys([1]), everything(), everything()];
            assert_eq!(
                BTreeSet::from_iter(batch.iter().copied()),
                expected[times - 1]
            );
            if times < 3 {
                limit_files(Some(4096));
                assert!(journal.append(Record::Key(key(2))).is_err());
            }
            Ok::<_, Infallible>(())
        });
        assert!(
            matches!(left, Left::Nothing) && (times, records) == (3, 3),
            "{left:?}"
        );
    }));
}

#[test]
fn p9_a_clear_without_a_journal_makes_everything_pending_for_who_has_one() {
    let (place, page) = (Place::new(), page());
    let journal = open(&place, &page[0]);
    assert!(in_a_process(|| lose(&page[0])));
    assert!(!journal.is_quiet() && holds(journal, 1));
    assert_eq!(replayed(journal), everything());
    assert!(!holds(journal, 1));
}

#[test]
fn p9_a_folder_that_nothing_can_be_written_to_loses_nothing_and_heals() {
    let (place, page) = (Place::new(), page());
    std::fs::create_dir(place.store()).unwrap();
    give_away(place.around());
    give_away(&place.store());
    assert!(in_a_process(|| {
        drop_rights();
        let mode = |mode| {
            let permissions = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(place.store(), permissions).unwrap();
        };
        let journal = open(&place, &page[0]);
        mode(0o500);
        assert!(journal.append(Record::Key(key(1))).is_err());
        assert!(holds(journal, 1) && holds(journal, 2));
        assert_eq!(replayed(journal), everything());
        mode(0o700);
        append(journal, 1);
        mode(0o500);
        assert!(journal.append(Record::Key(key(1))).is_ok() && holds(journal, 1));
        let Ok(stuck) = journal.replay(|_| Ok::<_, Infallible>(()));
        assert!(matches!(stuck.left, Left::Unknown(_)) && holds(journal, 1));
        mode(0o700);
        assert_eq!(replayed(journal), keys([1]));
    }));
}

#[test]
fn p9_a_journal_that_somebody_removes_is_known_to_whoever_had_it_open() {
    let removes: [fn(&Place); 3] = [
        |place| std::fs::remove_file(place.file(JOURNAL)).unwrap(),
        |place| std::fs::remove_dir_all(place.store()).unwrap(),
        |place| std::fs::rename(place.store(), place.around().join("other")).unwrap(),
    ];
    for remove in removes {
        let (place, page) = (Place::new(), page());
        let journal = open(&place, &page[0]);
        append(journal, 1);
        assert!(holds(journal, 1));
        remove(&place);
        // Nothing is promised by what nobody will find.
        let again = journal.append(Record::Key(key(1)));
        assert!(holds(journal, 1));
        let new = open(&place, &page[1]);
        new.succeed(journal).unwrap();
        assert!(again.is_err() && holds(new, 1) || holds(open(&place, &page[2]), 1));
    }
}

#[test]
fn p9_a_journal_that_somebody_removes_makes_everything_pending_at_the_next_look() {
    let appends: fn(&Journal) = |other| append(other, 2);
    for moves in [appends, |_| ()] {
        let (place, page) = (Place::new(), page());
        let (journal, other) = (open(&place, &page[0]), open(&place, &page[0]));
        append(journal, 1);
        assert!(holds(journal, 1));
        std::fs::remove_file(place.file(JOURNAL)).unwrap();
        moves(other);
        assert!(holds(journal, 1));
        assert_eq!(replayed(journal), everything());
    }
}

#[test]
fn a_million_records_are_enough() {
    let (place, page) = (Place::new(), page());
    let journal = open(&place, &page[0]);
    append(journal, 0);
    let mut bytes = vec![0; RECORD];
    let file = place.open_file(JOURNAL);
    file.read_exact_at(&mut bytes, HEAD as u64).unwrap();
    let write = |count: usize| {
        let file = File::options()
            .append(true)
            .open(place.file(JOURNAL))
            .unwrap();
        (&file).write_all(&bytes.repeat(count)).unwrap();
    };
    write(1_000_000 - 2);
    append(journal, 1);
    assert!(holds(journal, 1) && !holds(journal, 2));
    append(journal, 2);
    assert!(holds(journal, 3), "it holds everything");
    let length = file.metadata().unwrap().len() as usize;
    assert_eq!(length, HEAD + RECORD * 1_000_001);
    for n in 3..1000 {
        append(journal, n);
    }
    assert_eq!(file.metadata().unwrap().len() as usize, length);
    assert_eq!(replayed(journal), everything());
    append(journal, 3);
    assert!(!holds(journal, 2));
}

// ---- what is damaged, or none of ours ----

#[test]
fn p9_what_was_cut_off_is_skipped_and_later_appends_work() {
    for cut in 1..RECORD as u64 {
        let (place, page) = (Place::new(), page());
        let journal = open(&place, &page[0]);
        append(journal, 1);
        append(journal, 2);
        place
            .open_file(JOURNAL)
            .set_len((HEAD + RECORD) as u64 + cut)
            .unwrap();
        append(journal, 3);
        let other = open(&place, &page[0]);
        assert!(holds(other, 1) && !holds(other, 2) && holds(other, 3));
        assert_eq!(replayed(other), keys([1, 3]));
    }
}

#[test]
fn p9_damage_makes_everything_pending() {
    let mut random = Random(0xDA7A6E);
    for round in 0..200 {
        let (place, page) = (Place::new(), page());
        let journal = open(&place, &page[0]);
        (0..5).for_each(|n| append(journal, n));
        let length = (HEAD + 5 * RECORD) as u64;
        let file = place.open_file(JOURNAL);
        match round % 4 {
            0 => flip(&file, random.below(length * 8)),
            1 => file.set_len(random.below(HEAD as u64)).unwrap(),
            2 => {
                let bytes: Vec<_> = (0..length).map(|_| random.below(256) as u8).collect();
                file.write_all_at(&bytes, 0).unwrap();
            }
            _ => file.write_all_at(&[0; RECORD], length).unwrap(),
        }
        let other = open(&place, &page[1]);
        assert!(!other.is_quiet() && (0..5).all(|n| holds(other, n)));
        append(other, 6);
        assert_eq!(replayed(other), everything());
        assert!(other.is_quiet());
        append(other, 7);
        assert_eq!(replayed(other), keys([7]));
    }
}

#[test]
fn p9_a_journal_of_another_version_is_set_aside_and_everything_is_pending() {
    let (place, page) = (Place::new(), page());
    append(open(&place, &page[0]), 1);
    place
        .open_file(JOURNAL)
        .write_all_at(b"qcjrnl-2", 0)
        .unwrap();
    let (journal, other) = (open(&place, &page[0]), open(&place, &page[0]));
    assert!(holds(journal, 2) && holds(other, 2));
    assert_eq!(replayed(journal), everything());
    assert!(!holds(other, 2) && other.is_quiet());
    assert_eq!(place.names(), ["journal-a.set-aside"]);
}

#[test]
fn p9_what_is_no_file_of_this_user_alone_makes_everything_pending() {
    let puts: [fn(&Place); 4] = [
        |place| {
            append(open(place, Box::leak(Box::default())), 1);
            let mode = std::fs::Permissions::from_mode(0o644);
            std::fs::set_permissions(place.file(JOURNAL), mode).unwrap();
        },
        |place| symlink("/etc/passwd", place.file(JOURNAL)).unwrap(),
        |place| std::fs::create_dir(place.file(JOURNAL)).unwrap(),
        |place| {
            let mode = rustix::fs::Mode::from_raw_mode(0o600);
            let fifo = rustix::fs::FileType::Fifo;
            rustix::fs::mknodat(rustix::fs::CWD, place.file(JOURNAL), fifo, mode, 0).unwrap();
        },
    ];
    for put in puts {
        for appends in [false, true] {
            let (place, page) = (Place::new(), page());
            let mut builder = std::fs::DirBuilder::new();
            std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
            builder.create(place.store()).unwrap();
            put(&place);
            let journal = open(&place, &page[0]);
            assert!(!journal.is_quiet() && holds(journal, 1));
            if appends {
                append(journal, 2);
                assert!(holds(open(&place, &page[1]), 1));
            }
            assert_eq!(replayed(journal), everything());
            append(journal, 3);
            assert_eq!(replayed(journal), keys([3]));
        }
    }
}

// ---- forks ----

#[test]
fn p11_a_child_keeps_no_lock_of_a_parent_that_dies_while_it_replays() {
    let (place, page) = (Place::new(), page());
    let journal = open(&place, &page[0]);
    append(journal, 1);
    let parent = Process::start(|| {
        let journal = open(&place, &page[0]);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let Ok(_) = journal.replay(|_| {
                    page[1].store(1, Ordering::SeqCst);
                    until("never", || false);
                    Ok::<_, Infallible>(())
                });
            });
            until("it replays", || page[1].load(Ordering::SeqCst) == 1);
            let _child = Process::start(|| {
                page[1].store(2, Ordering::SeqCst);
                until("it is over", || page[1].load(Ordering::SeqCst) == 3);
                page[1].store(4, Ordering::SeqCst);
            });
            until("never", || false);
        });
    });
    until("there is a child", || page[1].load(Ordering::SeqCst) == 2);
    parent.kill();
    // At once, not when patience is over.
    assert_eq!(replayed(journal), keys([1]));
    page[1].store(3, Ordering::SeqCst);
    until("the child has ended", || {
        page[1].load(Ordering::SeqCst) == 4
    });
}

#[test]
fn p11_a_parent_that_replays_keeps_its_lock_when_a_child_is_begun() {
    let (place, page) = (Place::new(), page());
    let journal = open(&place, &page[0]);
    append(journal, 1);
    let Ok(_) = journal.replay(|_| {
        assert!(in_a_process(|| {
            let Ok(replayed) = journal.replay(|_| -> Result<(), Infallible> { panic!("taken") });
            assert!(matches!(replayed.left, Left::Elsewhere));
        }));
        Ok::<_, Infallible>(())
    });
    assert!(journal.is_quiet());
}

#[test]
fn p11_the_child_of_a_process_whose_threads_append_and_replay_can_do_so_too() {
    let (place, page) = (Place::new(), page());
    assert!(in_a_process(|| {
        let journal = open(&place, &page[0]);
        let applied = Mutex::new(BTreeSet::new());
        std::thread::scope(|scope| {
            for thread in 0..3 {
                scope.spawn(move || {
                    for n in 0_u64.. {
                        append(journal, thread * 1_000_000 + n);
                        let _ = holds(journal, n);
                        if page[1].load(Ordering::SeqCst) != 0 {
                            break;
                        }
                    }
                });
            }
            scope.spawn(|| {
                while page[1].load(Ordering::SeqCst) == 0 {
                    let Ok(_) = journal.replay(|batch| {
                        applied.lock().unwrap().extend(batch.iter().copied());
                        Ok::<_, Infallible>(())
                    });
                }
            });
            let well = (10_000_000..10_000_100).all(|n| {
                in_a_process(|| {
                    append(journal, n);
                    let _ = holds(journal, n);
                    let Ok(_) = journal
                        .replay(|_| Err(()))
                        .or(Ok::<_, Infallible>(Replayed {
                            records: 0,
                            left: Left::Nothing,
                        }));
                })
            });
            page[1].store(1, Ordering::SeqCst);
            assert!(well);
        });
        let mut applied = applied.into_inner().unwrap();
        applied.extend(replayed(journal));
        let all = keys(10_000_000..10_000_100);
        let missing = all.difference(&applied).count();
        let everything = applied.contains(&Record::Everything);
        assert!(missing == 0 && !everything, "{missing}, {everything}");
    }));
}
