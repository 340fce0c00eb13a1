//! P10 at the store: whatever its files and its folder are found to be, nothing wrong comes out of them, and the store begins anew or keeps
//! off. Each store is opened in a process of its own, as it is found.

#![cfg(target_os = "linux")]

mod on_store;

use std::fs::Permissions;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::Ordering;

use on_store::*;

const TABLE: &str = "generations";
const VALUES: &str = "values-1";
const KEYS: u64 = 40;

/// A store that was filled, cleared and filled again, and closed: odd numbers have version 2, even ones were cleared.
fn filled() -> Place {
    let place = Place::new();
    assert!(in_a_process(|| {
        let at = AtStore::of(&place);
        for n in 0..KEYS {
            at.put(n, 1).unwrap();
            at.clear(n);
        }
        for n in (1..KEYS).step_by(2) {
            at.put(n, 2).unwrap();
        }
        assert_eq!((at.get(1), at.get(2)), (Some(2), None));
    }));
    place
}

/// The same, at another place: as a file's bytes, not as the file.
fn copied(from: &Place) -> Place {
    let place = Place::new();
    std::fs::create_dir(place.store()).unwrap();
    chmod(&place.store(), 0o700);
    for name in [TABLE, VALUES] {
        std::fs::copy(from.file(name), place.file(name)).unwrap();
    }
    place
}

fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Nothing that was cleared, nothing damaged; and what is stored now is found.
fn is_sound(at: AtStore) {
    for n in 0..KEYS {
        let found = at.get(n);
        assert!(
            found.is_none() || (n % 2 == 1 && found == Some(2)),
            "{n}: {found:?}"
        );
    }
    for n in 0..KEYS {
        at.clear(n);
        assert_eq!(at.get(n), None);
        at.put(n, 3).unwrap();
        assert_eq!(at.get(n), Some(3), "{n} is not found again");
        drop(at.lead(n));
    }
}

/// Where the parts of the files are, in bytes. (The rings of the values begin behind the index.)
const REGIONS: [(&str, &str, u64, u64); 10] = [
    ("head", TABLE, 0, 88),
    ("everything and replaced", TABLE, 128, 144),
    ("rest of the header", TABLE, 88, 4096),
    ("functions", TABLE, 4096, 4096 + (8 << 12)),
    (
        "leases",
        TABLE,
        4096 + (8 << 12),
        4096 + (8 << 12) + (64 << 12),
    ),
    (
        "slots",
        TABLE,
        4096 + (72 << 12),
        4096 + (72 << 12) + (8 << 18),
    ),
    ("head of the values", VALUES, 0, 64),
    ("heads of the rings", VALUES, 128, 200),
    ("index", VALUES, 4096, 8192),
    ("records", VALUES, 8192, SMALL),
];

#[test]
fn p10_a_bit_that_flipped_while_the_files_were_closed_gives_nothing_wrong() {
    let filled = filled();
    let mut random = Random(0x5EED);
    for (region, name, start, end) in REGIONS {
        for _ in 0..25 {
            let place = copied(&filled);
            let bit = start * 8 + random.below((end - start) * 8);
            flip(&place.open_file(name), bit);
            let well = in_a_process(|| is_sound(AtStore::of(&place)));
            assert!(well, "bit {bit} of {name} ({region})");
        }
    }
}

#[test]
fn p10_a_bit_that_flips_while_the_files_are_open_gives_nothing_wrong() {
    let filled = filled();
    for (region, name, start, end) in REGIONS {
        let well = in_a_process(|| {
            let at = AtStore::of(&filled);
            is_sound(at);
            let mut random = Random(start + 77);
            for round in 4..84 {
                // By its name: the file may have been set aside.
                flip(
                    &filled.open_file(name),
                    start * 8 + random.below((end - start) * 8),
                );
                for n in 0..KEYS {
                    let found = at.get(n);
                    assert!(
                        found.is_none() || found == Some(round - 1),
                        "{n}: {found:?}"
                    );
                    at.clear(n);
                    assert_eq!(at.get(n), None);
                    at.put(n, round).unwrap();
                    assert_eq!(at.get(n), Some(round), "{n} is not found again");
                }
                drop(at.lead(random.below(KEYS)));
            }
            // As the next process is to find it.
            for n in 0..KEYS {
                at.clear(n);
                if n % 2 == 1 {
                    at.put(n, 2).unwrap();
                }
            }
        });
        assert!(well, "{name} ({region})");
    }
}

/// Every lease and every word of the lease of a key, with every bit flipped: nobody hangs, nobody panics.
#[test]
fn p10_a_damaged_lease_holds_nobody_up() {
    let place = Place::new();
    assert!(in_a_process(|| {
        let at = AtStore::of(&place);
        let table = {
            assert!(at.works(1));
            place.open_file(TABLE)
        };
        let leases = 4096 + (8 << 12)..4096 + (8 << 12) + (64 << 12);
        for n in 0..4 {
            let lease = at.lead(n);
            let mut words = vec![0; (leases.end - leases.start) as usize];
            table.read_exact_at(&mut words, leases.start).unwrap();
            let line = words
                .chunks(64)
                .position(|line| line[..8] != [0; 8])
                .unwrap();
            drop(lease);
            // As another process that died would have left it: claimed and waited for, with a bit flipped.
            let held = words[line * 64..line * 64 + 24].to_vec();
            for bit in 0..192 {
                let mut damaged = held.clone();
                damaged[1] |= 0x10;
                damaged[bit / 8] ^= 1 << (bit % 8);
                let at_line = leases.start + line as u64 * 64;
                table.write_all_at(&damaged, at_line).unwrap();
                // From another process: its own leases a process does not wait for.
                assert!(in_a_process(|| drop(at.lead(n))), "bit {bit}");
                table.write_all_at(&[0; 24], at_line).unwrap();
            }
        }
    }));
}

// ---- files that are none ----

/// Whatever is at the name of a file is set aside, with one warning, and another one begun.
fn is_set_aside(name: &'static str, why: &str, damage: impl Fn(&Place)) {
    let place = filled();
    damage(&place);
    assert!(in_a_process(|| {
        let at = AtStore::of(&place);
        is_sound(at);
        warned_once(&place, &format!("`{name}` was set aside"));
        warned_once(&place, why);
        assert_eq!(at.shared.failures(), 1);
        assert!(place.names().contains(&format!("{name}.set-aside")));
    }));
    assert!(in_a_process(|| {
        let at = AtStore::of(&place);
        assert_eq!(at.get(1), Some(3), "the next process has it");
        assert!(logged(&place).is_empty());
    }));
}

#[test]
fn p10_files_of_a_wrong_length_are_set_aside() {
    for (name, why) in [
        (TABLE, "its length is wrong"),
        (VALUES, "damaged, or of another program or version"),
    ] {
        is_set_aside(name, why, |place| {
            let file = place.open_file(name);
            file.set_len(file.metadata().unwrap().len() - 4096).unwrap();
        });
        is_set_aside(name, why, |place| {
            let file = place.open_file(name);
            file.set_len(file.metadata().unwrap().len() + 1).unwrap();
        });
    }
    is_set_aside(TABLE, "too short", |place| {
        place.open_file(TABLE).set_len(0).unwrap();
    });
    is_set_aside(VALUES, "damaged", |place| {
        place.open_file(VALUES).set_len(0).unwrap();
    });
    is_set_aside(TABLE, "too short", |place| {
        place.open_file(TABLE).set_len(4095).unwrap();
    });
}

#[test]
fn p10_files_of_other_programs_and_of_later_versions_are_set_aside() {
    for name in [TABLE, VALUES] {
        is_set_aside(name, "damaged, or of another program", |place| {
            let len = place.open_file(name).metadata().unwrap().len();
            std::fs::write(place.file(name), vec![b'x'; len as usize]).unwrap();
        });
        is_set_aside(name, "damaged, or of another program", |place| {
            // The magic of the next version, its own check and all.
            place.open_file(name).write_all_at(b"2", 7).unwrap();
        });
    }
}

#[test]
fn p10_what_is_no_file_is_set_aside_and_what_a_link_leads_to_is_not_touched() {
    for name in [TABLE, VALUES] {
        is_set_aside(name, "not a file of this user", |place| {
            std::fs::rename(place.file(name), place.around().join("elsewhere")).unwrap();
            symlink(place.around().join("elsewhere"), place.file(name)).unwrap();
        });
        is_set_aside(name, "not a file of this user", |place| {
            std::fs::remove_file(place.file(name)).unwrap();
            std::fs::create_dir(place.file(name)).unwrap();
        });
        is_set_aside(name, "others than this user", |place| {
            std::fs::remove_file(place.file(name)).unwrap();
            let fifo = rustix::fs::FileType::Fifo;
            rustix::fs::mknodat(rustix::fs::CWD, place.file(name), fifo, 0o600.into(), 0).unwrap();
        });
        is_set_aside(name, "not a file of this user", |place| {
            std::fs::remove_file(place.file(name)).unwrap();
            std::os::unix::net::UnixListener::bind(place.file(name)).unwrap();
        });
    }
}

#[test]
fn p10_files_that_others_may_read_are_set_aside() {
    for name in [TABLE, VALUES] {
        for mode in [0o640, 0o602, 0o644] {
            is_set_aside(name, "others than this user", |place| {
                chmod(&place.file(name), mode)
            });
        }
    }
}

#[test]
fn p10_files_of_another_user_are_set_aside() {
    if !is_root() {
        return; // nobody else can give a file away
    }
    for name in [TABLE, VALUES] {
        is_set_aside(name, "others than this user", |place| {
            give_away(&place.file(name))
        });
    }
}

#[test]
fn p10_what_was_set_aside_before_makes_room() {
    is_set_aside(VALUES, "damaged", |place| {
        std::fs::write(place.file("values-1.set-aside"), "older").unwrap();
        place.open_file(VALUES).write_all_at(b"x", 0).unwrap();
    });
}

#[test]
fn files_are_private_whatever_the_umask_is() {
    for umask in [0, 0o002, 0o077, 0o177, 0o277, 0o777] {
        let place = Place::new();
        let path = place.around().join("of").join("this").join("store");
        let well = in_a_process(|| {
            rustix::process::umask(umask.into());
            let at = AtStore::new(&path, SMALL);
            assert!(at.works(1));
            drop(at.lead(1));
        });
        assert!(well, "umask {umask:o}");
        let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o7777;
        assert_eq!(mode(&path), 0o700, "umask {umask:o}");
        assert_eq!(mode(path.parent().unwrap()), 0o700);
        assert_eq!(mode(&path.join("workers")), 0o700);
        for name in [TABLE, VALUES, "workers/0"] {
            assert_eq!(mode(&path.join(name)), 0o600, "umask {umask:o}");
        }
    }
}

// ---- folders that are refused ----

/// A folder that is refused, once mended, is used.
fn is_refused(why: &str, damage: impl Fn(&Place), mend: impl Fn(&Place)) {
    let place = filled();
    if is_root() {
        for path in [
            place.around().to_owned(),
            place.store(),
            place.file(TABLE),
            place.file(VALUES),
        ] {
            give_away(&path);
        }
        for worker in std::fs::read_dir(place.store()).unwrap().flatten() {
            give_away(&worker.path());
        }
    }
    damage(&place);
    let page = page();
    let process = Process::start(|| {
        drop_rights();
        let at = AtStore::of(&place);
        for _ in 0..100 {
            assert!(at.opened().is_none());
            assert!(at.put(1, 9).is_ok());
            assert_eq!(at.get(1), None);
        }
        warned_once(&place, why);
        warned_once(&place, "cannot be used");
        assert!(at.shared.failures() > 0);
        page[0].store(1, Ordering::Release);
        until("it is used again", || at.opened().is_some());
        is_sound(at);
        warned_once(&place, why);
    });
    until("it was refused", || page[0].load(Ordering::Acquire) == 1);
    mend(&place);
    assert!(process.ends_well(), "{why}");
}

#[test]
fn a_folder_that_others_may_write_to_is_refused_until_it_is_mended() {
    for mode in [0o770, 0o702, 0o777] {
        is_refused(
            "others may write to it: chmod 0700 it",
            |place| chmod(&place.store(), mode),
            |place| chmod(&place.store(), 0o700),
        );
        is_refused(
            "others may write to the folder it lies in",
            |place| chmod(place.around(), mode),
            |place| chmod(place.around(), 0o755),
        );
    }
}

/// By whoever cleared, before it finds anything there; one that only looked has cleared nothing.
#[test]
fn p9_a_clear_that_finds_no_store_is_made_up_for_when_it_opens() {
    for (clears, found) in [(false, Some(2)), (true, None)] {
        let place = filled();
        assert!(in_a_process(|| {
            let at = AtStore::of(&place);
            chmod(&place.store(), 0o777);
            let opened = match clears {
                true => at.shared.open_to_clear(),
                false => at.shared.open(),
            };
            assert!(opened.is_none());
            chmod(&place.store(), 0o700);
            until("it is open", || at.opened().is_some());
            assert_eq!(at.get(1), found);
            is_sound(at);
        }));
        // Once.
        assert!(in_a_process(|| assert_eq!(
            AtStore::of(&place).get(1),
            Some(3)
        )));
    }
}

#[test]
fn a_folder_with_the_sticky_bit_around_it_will_do() {
    let place = filled();
    chmod(place.around(), 0o1777);
    assert!(in_a_process(|| is_sound(AtStore::of(&place))));
}

#[test]
fn a_folder_without_rights_is_refused_until_it_is_mended() {
    // Read-only, with nothing in it: there is nothing to write the table to.
    is_refused(
        "Permission denied",
        |place| {
            std::fs::remove_dir_all(place.store()).unwrap();
            std::fs::create_dir(place.store()).unwrap();
            give_away(&place.store());
            chmod(&place.store(), 0o500);
        },
        |place| chmod(&place.store(), 0o700),
    );
    is_refused(
        "Permission denied",
        |place| chmod(&place.store(), 0o000),
        |place| chmod(&place.store(), 0o700),
    );
}

#[test]
fn a_read_only_folder_with_files_in_it_is_used() {
    let place = filled();
    for path in [place.store(), place.file(TABLE), place.file(VALUES)] {
        give_away(&path);
    }
    give_away(place.around());
    chmod(&place.store(), 0o500);
    assert!(in_a_process(|| {
        drop_rights();
        is_sound(AtStore::of(&place));
    }));
    chmod(&place.store(), 0o700);
}

#[test]
fn a_folder_of_another_user_is_refused() {
    if !is_root() {
        return; // nobody else can give a folder away
    }
    let place = filled();
    give_away(&place.store());
    assert!(in_a_process(|| {
        let at = AtStore::of(&place);
        assert!(at.opened().is_none());
        warned_once(&place, "it belongs to another user");
    }));
}

#[test]
fn a_link_or_a_file_in_place_of_the_folder_is_refused() {
    let place = filled();
    std::fs::rename(place.store(), place.around().join("elsewhere")).unwrap();
    symlink(place.around().join("elsewhere"), place.store()).unwrap();
    assert!(in_a_process(|| {
        assert!(AtStore::of(&place).opened().is_none());
        warned_once(&place, "cannot be used");
    }));
    std::fs::remove_file(place.store()).unwrap();
    std::fs::write(place.store(), "a file").unwrap();
    assert!(in_a_process(|| {
        assert!(AtStore::of(&place).opened().is_none());
        warned_once(&place, "cannot be used");
    }));
    assert_eq!(std::fs::read(place.store()).unwrap(), b"a file");
}

#[test]
fn a_path_that_is_too_long_is_refused() {
    for name in ["x".repeat(300), "x/".repeat(3000)] {
        let place = Place::new();
        assert!(in_a_process(|| {
            let at = AtStore::new(&place.store().join(&name), SMALL);
            assert!(at.opened().is_none() && at.get(1).is_none());
            warned_once(&place, "File name too long");
            // Not half of its folders either.
            assert!(!place.store().join("x").exists());
        }));
    }
}

// ---- other versions, sizes and starts of the machine ----

#[test]
fn value_files_of_two_versions_stand_side_by_side() {
    let place = filled();
    std::fs::write(place.file("values-2"), "of a later version").unwrap();
    assert!(in_a_process(|| {
        let at = AtStore::of(&place);
        assert_eq!(at.get(1), Some(2));
        is_sound(at);
        assert!(logged(&place).is_empty());
    }));
    assert_eq!(
        std::fs::read(place.file("values-2")).unwrap(),
        b"of a later version"
    );
}

#[test]
fn who_comes_with_another_size_replaces_the_values_and_who_has_them_open_goes_over() {
    let place = filled();
    let page = page();
    let first = Process::start(|| {
        let at = AtStore::of(&place);
        assert_eq!(at.get(1), Some(2));
        page[0].store(1, Ordering::Release);
        until("it sees what the other stored", || at.get(1) == Some(7));
        assert!(at.works(2));
        assert_eq!(
            std::fs::metadata(place.file(VALUES)).unwrap().len(),
            2 * SMALL
        );
        assert!(logged(&place).is_empty());
    });
    until("the first has it open", || {
        page[0].load(Ordering::Acquire) == 1
    });
    assert!(in_a_process(|| {
        let at = AtStore::new(&place.store(), 2 * SMALL);
        assert_eq!(at.get(1), None);
        at.clear(1);
        at.put(1, 7).unwrap();
        assert_eq!(at.get(1), Some(7));
    }));
    assert!(first.ends_well());
}

#[test]
fn a_value_that_is_larger_than_the_store_takes_is_not_stored() {
    let place = Place::new();
    assert!(in_a_process(|| {
        for (n, max_bytes) in [(1, SMALL), (2, 1)] {
            // Less than the least is the least.
            let at = AtStore::new(&place.around().join(n.to_string()), max_bytes);
            assert!(at.put_sized(n, 1, 200_000).is_err());
            assert_eq!(at.get(n), None);
            assert!(at.works(n));
        }
    }));
}

/// The table as an earlier start of the machine would have left it.
fn of_another_boot(place: &Place) {
    let table = place.open_file(TABLE);
    let mut words = [0; 88];
    table.read_exact_at(&mut words, 0).unwrap();
    words[16] ^= 1;
    let check = twox_hash::XxHash3_64::oneshot(&words[..80]);
    words[80..].copy_from_slice(&check.to_le_bytes());
    table.write_all_at(&words, 0).unwrap();
}

#[test]
fn f_nothing_of_an_earlier_start_of_the_machine_is_found() {
    let place = filled();
    let epoch = |place: &Place| {
        let mut epoch = [0; 8];
        let table = place.open_file(TABLE);
        table.read_exact_at(&mut epoch, 32).unwrap();
        epoch
    };
    let before = epoch(&place);
    of_another_boot(&place);
    assert!(in_a_process(|| {
        let at = AtStore::of(&place);
        assert!((0..KEYS).all(|n| at.get(n).is_none()));
        is_sound(at);
        assert!(logged(&place).is_empty(), "that is nothing to warn of");
    }));
    assert_ne!(epoch(&place), before);
    assert_eq!(place.names(), [TABLE, "lock", VALUES, "workers"]);
}

/// The stamp is asked for once more when an entry was found: its words were read one after the other, and before that.
#[test]
fn f_what_is_cleared_while_it_is_read_is_not_found() {
    let place = Place::new();
    assert!(in_a_process(|| {
        let at = AtStore::of(&place);
        let opened = at.opened().unwrap();
        let (function, spot) = (opened.function(b"a function"), AtStore::spot(opened, 1));
        let clears: [&dyn Fn(); 3] = [
            &|| opened.clear(&spot),
            &|| opened.clear_function(function),
            &|| opened.clear_everything(),
        ];
        for clear in clears {
            at.put(1, 1).unwrap();
            let stamp = opened.stamp(function, &spot);
            let now = quickcache::clock::boot();
            let found = |read: &dyn Fn()| {
                let found = opened.get(function, &spot, stamp, now, |_| {
                    read();
                    Some(())
                });
                found.unwrap().is_some()
            };
            assert!(found(&|| ()));
            assert!(!found(clear));
        }
    }));
}

/// The values of another table are nobody's, though they are whole and of the same key.
#[test]
fn f_values_of_another_table_are_not_found() {
    let (place, other) = (filled(), filled());
    std::fs::copy(other.file(VALUES), place.file(VALUES)).unwrap();
    assert!(in_a_process(|| {
        let at = AtStore::of(&place);
        assert_eq!(
            at.opened().unwrap().standing().0,
            0,
            "another file was begun"
        );
        assert!((0..KEYS).all(|n| at.get(n).is_none()));
        is_sound(at);
    }));
}

// ---- many at once, and killed ----

/// Which file this process has mapped as its table.
fn inode_of_the_table(place: &Place) -> u64 {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let table = place.file(TABLE).display().to_string();
    let line = maps.lines().find(|line| line.ends_with(&table)).unwrap();
    line.split_whitespace().nth(4).unwrap().parse().unwrap()
}

#[test]
fn two_hundred_processes_that_open_it_at_the_same_moment_have_one_table() {
    let place = Place::new();
    let page = page();
    // Held until all wait for it.
    let gate = std::fs::File::create(place.around().join("gate")).unwrap();
    gate.lock().unwrap();
    let processes: Vec<_> = (0..200)
        .map(|n| {
            Process::start(|| {
                let gate = std::fs::File::open(place.around().join("gate")).unwrap();
                page[0].fetch_add(1, Ordering::AcqRel);
                gate.lock_shared().unwrap();
                let at = AtStore::of(&place);
                assert!(at.works(n));
                assert!(logged(&place).is_empty());
                page[10 + n as usize].store(inode_of_the_table(&place), Ordering::Release);
                drop(at.lead(n));
                // All are there at the same time.
                page[2].fetch_add(1, Ordering::AcqRel);
                until("all have opened it", || {
                    page[2].load(Ordering::Acquire) == 200
                });
            })
        })
        .collect();
    until("all are there", || page[0].load(Ordering::Acquire) == 200);
    // Not dropped: the children have copies of it.
    gate.unlock().unwrap();
    for process in processes {
        assert!(process.ends_well());
    }
    let inode = std::fs::metadata(place.file(TABLE)).unwrap().ino();
    for n in 0..200 {
        assert_eq!(page[10 + n].load(Ordering::Acquire), inode);
    }
    assert_eq!(
        place.names(),
        [TABLE, VALUES, "workers"],
        "nothing was left"
    );
}

#[test]
fn processes_killed_while_they_open_it_leave_nothing_that_piles_up() {
    let place = Place::new();
    let mut random = Random(0xD1E);
    for round in 0..150 {
        let processes: Vec<_> = (0..2)
            .map(|_| {
                Process::start(|| {
                    AtStore::of(&place).works(1);
                    loop {
                        std::thread::park();
                    }
                })
            })
            .collect();
        for _ in 0..random.below(20_000) {
            std::hint::spin_loop();
        }
        std::thread::sleep(std::time::Duration::from_micros(random.below(4000)));
        processes.into_iter().for_each(Process::kill);
        if round % 3 == 0 {
            // So that the next ones make them anew.
            for name in [TABLE, VALUES] {
                let _if_there = std::fs::remove_file(place.file(name));
            }
        }
    }
    for name in [TABLE, VALUES] {
        let _if_there = std::fs::remove_file(place.file(name));
    }
    assert!(in_a_process(|| {
        assert!(AtStore::of(&place).works(1));
        assert!(logged(&place).is_empty());
    }));
    let names: Vec<_> = place
        .names()
        .into_iter()
        .filter(|name| name != "lock")
        .collect();
    assert_eq!(names, [TABLE, VALUES]);
}

#[test]
fn a_process_has_a_store_open_once() {
    let place = Place::new();
    assert!(in_a_process(|| {
        let (a, b) = (AtStore::of(&place), AtStore::of(&place));
        assert!(a.works(1) && b.works(2) && std::ptr::eq(a.shared, b.shared));
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        assert_eq!(
            maps.matches(&place.file(TABLE).display().to_string())
                .count(),
            1
        );
    }));
}
