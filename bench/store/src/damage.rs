//! Files that were damaged while nobody had them open: one byte changed in a region, or the end cut off.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::processes::{Place, ends_within, signal};
use crate::table::Table;
use crate::values::{Random, is_whole, key, value};
use crate::within;

const BYTES: u64 = 64 << 20;
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

/// Regions of a file by what a changed byte would hit.
fn regions(file: &[u8]) -> [(&'static str, Vec<usize>); 3] {
    let mut tree = Vec::new();
    for start in (2 * PAGE..file.len()).step_by(PAGE) {
        // LMDB's page: number 8 | pad 2 | flags 2 | lower 2 | upper 2 | pointers. A branch is 1, a leaf 2.
        let number = |at: usize| u16::from_le_bytes([file[start + at], file[start + at + 1]]);
        let page = u64::from_le_bytes(file[start..start + 8].try_into().expect("eight bytes"));
        let plausible = page == (start / PAGE) as u64
            && matches!(number(10), 1 | 2)
            && (number(12) as usize) < PAGE;
        if plausible {
            tree.extend(start..start + 16.max(number(12) as usize));
        }
    }
    let used = (0..file.len()).filter(|&at| file[at] != 0).collect();
    [
        (
            "first two pages",
            (0..2 * PAGE).filter(|&at| file[at] != 0).collect(),
        ),
        ("heads of tree pages", tree),
        ("anywhere", used),
    ]
}

/// One byte changed in the longest file, 300 times in each region; then the file cut in half. A process opens the store,
/// reads every key and writes 200.
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
        let path = longest(&place.store());
        let sound = fs::read(&path).expect("the store's file");
        let mut random = Random(4711);
        let mut row = |name: &str, rounds: usize, damaged: &mut dyn FnMut(&mut Vec<u8>)| {
            let mut outcomes = BTreeMap::new();
            for _ in 0..rounds {
                let mut file = sound.clone();
                damaged(&mut file);
                fs::write(&path, &file).expect("the store's file");
                *outcomes.entry(outcome(place)).or_insert(0) += 1;
            }
            let mut row = vec![format!("{name}, {rounds}")];
            row.extend(OUTCOMES.map(|outcome| {
                outcomes
                    .get(outcome)
                    .map_or("-".into(), |count: &u64| count.to_string())
            }));
            table.row(row);
        };
        row("nothing", 1, &mut |_| ());
        for (name, places) in regions(&sound) {
            row(name, ROUNDS, &mut |file| {
                let at = places[random.below(places.len() as u64) as usize];
                file[at] ^= 1 << random.below(8);
            });
        }
        row("cut in half", 1, &mut |file| file.truncate(file.len() / 2));
    });
}

fn longest(folder: &Path) -> PathBuf {
    let mut found = (0, PathBuf::new());
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder of ours").flatten() {
            let meta = entry.metadata().expect("a file of ours");
            if meta.is_dir() {
                folders.push(entry.path());
            } else if meta.len() > found.0 {
                found = (meta.len(), entry.path());
            }
        }
    }
    found.1
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
