//! Files that were damaged while nobody had them open: one byte changed in a region, or the end cut off.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Read;
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::processes::{Place, ends_within, signal};
use crate::table::Table;
use crate::values::{Random, is_whole, key, value};
use crate::within;

const BYTES: u64 = 16 << 20;
const KEYS: u64 = 2_000;
const ROUNDS: usize = 300;
const PAGE: usize = 4096;

const OUTCOMES: [&str; 8] = [
    "all whole",
    "some missing",
    "changed bytes, for the checksum to find",
    "refused to open",
    "SIGSEGV",
    "SIGBUS",
    "SIGABRT",
    "hangs",
];

fn size(n: u64) -> usize {
    [40, 200, 1_000, 3_000, 10_000][(n % 5) as usize]
}

/// Part of a file by what a changed byte would hit.
struct Region {
    name: &'static str,
    file: PathBuf,
    places: Vec<usize>,
}

fn used(bytes: &[u8], range: Range<usize>) -> Vec<usize> {
    range.filter(|&at| bytes[at] != 0).collect()
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word[..N].copy_from_slice(&bytes[at..at + N]);
    u64::from_le_bytes(word)
}

fn regions_of_lmdb(file: &Path, bytes: &[u8]) -> Vec<Region> {
    let mut tree = Vec::new();
    for start in (2 * PAGE..bytes.len()).step_by(PAGE) {
        // A page: number 8 | pad 2 | flags 2 | lower 2 | upper 2 | pointers. A branch is 1, a leaf 2.
        let lower = number::<2>(bytes, start + 12) as usize;
        let plausible = number::<8>(bytes, start) == (start / PAGE) as u64
            && matches!(number::<2>(bytes, start + 10), 1 | 2)
            && lower < PAGE;
        if plausible {
            tree.extend(start..start + 16.max(lower));
        }
    }
    let region = |name, places| Region {
        name,
        file: file.into(),
        places,
    };
    vec![
        region("first two pages", used(bytes, 0..2 * PAGE)),
        region("heads of tree pages", tree),
        region("anywhere", used(bytes, 0..bytes.len())),
    ]
}

/// The drawings at the heads of its `ring.rs` and `generations.rs` say what lies where.
fn regions_of_ring(values: (&Path, &[u8]), table: (&Path, &[u8])) -> Vec<Region> {
    let index_end = PAGE + (number::<8>(values.1, 4 * 8) as usize * 64).next_multiple_of(PAGE);
    let region = |name, file: (&Path, &[u8]), range: Range<usize>| Region {
        name,
        file: file.0.into(),
        places: used(file.1, range),
    };
    let heads = [16 * 8..17 * 8, 24 * 8..25 * 8].into_iter().flatten();
    let everything = 16 * 8..17 * 8;
    let (parts, end) = (512 * 8, table.1.len());
    vec![
        region("values: what they are", values, 0..8 * 8),
        Region {
            name: "values: heads of the rings",
            file: values.0.into(),
            places: heads.collect(),
        },
        region("values: index", values, PAGE..index_end),
        region("values: records", values, index_end..values.1.len()),
        region("table: what it is", table, 0..11 * 8),
        region("table: everything's generation", table, everything),
        region("table: functions, leases, slots", table, parts..end),
    ]
}

/// Every file of a folder.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder of ours").flatten() {
            if entry.metadata().expect("a file of ours").is_dir() {
                folders.push(entry.path());
            } else {
                let bytes = fs::read(entry.path()).expect("a file of ours");
                found.insert(entry.path(), bytes);
            }
        }
    }
    found
}

/// Puts the files into the folder, and nothing else; where they have pages of zeros they get holes.
fn restore(folder: &Path, files: &BTreeMap<PathBuf, Vec<u8>>) {
    fs::remove_dir_all(folder).expect("a folder of ours");
    for (path, bytes) in files {
        let parent = path.parent().expect("a file lies in a folder");
        let mut folders = DirBuilder::new();
        folders.recursive(true).mode(0o700);
        folders.create(parent).expect("a folder of ours");
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600);
        let file = file.open(path).expect("a file of ours");
        file.set_len(bytes.len() as u64)
            .expect("a length of a file");
        for (at, page) in bytes.chunks(PAGE).enumerate() {
            if page.iter().any(|byte| *byte != 0) {
                file.write_all_at(page, (at * PAGE) as u64)
                    .expect("room for a page");
            }
        }
    }
}

/// One bit changed, 300 times in each region; then files cut in half. A process opens the store, reads every key and writes 200.
pub fn damage(candidate: &str) {
    let mut head = vec!["damaged"];
    head.extend(OUTCOMES);
    let mut table = Table::new("Damaged files: one bit changed while closed", &head);
    within(candidate, BYTES, |place| {
        {
            let store = place.open();
            for n in 0..KEYS {
                store.put(&key(n), &value(n, 0, size(n)));
            }
        }
        let folder = place.store();
        let mut sound = files(&folder);
        let values = folder.join("values-1");
        let regions = match sound.get(&values) {
            Some(bytes) => {
                let table = folder.join("generations");
                regions_of_ring((&values, bytes), (&table, &sound[&table]))
            }
            None => {
                let longest = sound.iter().max_by_key(|(_, bytes)| bytes.len());
                let (file, bytes) = longest.expect("a store has files");
                regions_of_lmdb(file, bytes)
            }
        };
        let mut random = Random(4711);
        let mut row = |name: &str, outcomes: Vec<&'static str>| {
            let count = |of: &str| outcomes.iter().filter(|outcome| **outcome == of).count();
            let mut row = vec![format!("{name}, {}", outcomes.len())];
            row.extend(OUTCOMES.map(|outcome| match count(outcome) {
                0 => "-".into(),
                count => count.to_string(),
            }));
            table.row(row);
        };
        let once = |files: &BTreeMap<PathBuf, Vec<u8>>| {
            restore(&folder, files);
            outcome(place)
        };
        row("nothing", vec![once(&sound)]);
        for region in &regions {
            let mut outcomes = Vec::new();
            for _ in 0..ROUNDS {
                let at = region.places[random.below(region.places.len() as u64) as usize];
                let bit = 1 << random.below(8);
                let flip = |files: &mut BTreeMap<PathBuf, Vec<u8>>| {
                    files.get_mut(&region.file).expect("it has that file")[at] ^= bit;
                };
                flip(&mut sound);
                outcomes.push(once(&sound));
                flip(&mut sound);
            }
            row(region.name, outcomes);
        }
        let cut: BTreeSet<&Path> = regions.iter().map(|region| &*region.file).collect();
        for path in cut {
            let mut files = sound.clone();
            let file = files.get_mut(path).expect("it has that file");
            file.truncate(file.len() / 2);
            let name = path.file_name().expect("a file has a name");
            let outcomes = vec![once(&files)];
            row(&format!("{} cut in half", name.to_string_lossy()), outcomes);
        }
    });
}

fn outcome(place: &Place) -> &'static str {
    let mut child = place.spawn("read-all", &[]);
    if !ends_within(&mut child, Duration::from_secs(5)) {
        signal(&child, libc::SIGKILL);
        child.wait().expect("a child of ours");
        return OUTCOMES[7];
    }
    let status = child.wait().expect("a child of ours");
    let mut report = String::new();
    child
        .stdout
        .as_mut()
        .expect("piped")
        .read_to_string(&mut report)
        .expect("text");
    match (status.signal(), report.trim()) {
        (Some(libc::SIGSEGV), _) => OUTCOMES[4],
        (Some(libc::SIGBUS), _) => OUTCOMES[5],
        (Some(_), _) => OUTCOMES[6],
        (None, "whole") => OUTCOMES[0],
        (None, "missing") => OUTCOMES[1],
        (None, "wrong") => OUTCOMES[2],
        (None, _) => OUTCOMES[3],
    }
}

/// The worker.
pub fn read_all(place: &Place) {
    let Ok(store) = crate::candidate::open(&place.candidate, &place.store(), place.bytes) else {
        return println!("closed");
    };
    let (mut missing, mut wrong, mut out) = (0, 0, Vec::new());
    for n in 0..KEYS {
        match store.get(&key(n), &mut out) {
            false => missing += 1,
            true => wrong += u64::from(!is_whole(n, &out) || out.len() != size(n)),
        }
    }
    for n in 0..200 {
        store.put(&key(n), &value(n, 1, size(n)));
    }
    println!(
        "{}",
        if wrong > 0 {
            "wrong"
        } else if missing > 0 {
            "missing"
        } else {
            "whole"
        }
    );
}
