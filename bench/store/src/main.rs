//! Measures the candidates for the store of values side by side: their speed, and what they do when processes are killed or
//! stopped, disks are full and files are damaged.
//!
//!     cargo run --release                                  all of it, each table on the ring and then on LMDB: about 4 minutes
//!     cargo run --release -- ring latency                  one table: latency, processes, growth, stale-reader, stopped-writer,
//!                                                          killed-writer, full-disk, fork, namespaces, damage
//!     cargo run --release -- ring growth 10000000          so many overwrites
//!     cargo run --release -- lmdb-bare stopped-writer      LMDB's own locks, without the gates before them
//!     cargo run --release -- lmdb-queued processes         writes by a thread of each process
//!
//! `STORE_DIR` names the folder in which stores are made; else it is the platform's for temporary files.

mod candidate;
mod damage;
mod faults;
mod gate;
mod growth;
mod lmdb;
mod namespaces;
mod processes;
mod queued;
mod ring;
mod speed;
mod table;
mod values;

use std::path::Path;
use std::process::exit;

use processes::Place;

type Measurement = (&'static str, fn(&str));

const MEASUREMENTS: [Measurement; 10] = [
    ("latency", speed::latency),
    ("processes", speed::processes),
    ("growth", |candidate| growth::growth(candidate, 1_000_000)),
    ("stale-reader", faults::stale_reader),
    ("stopped-writer", faults::stopped_writer),
    ("killed-writer", faults::killed_writer),
    ("full-disk", faults::full_disk),
    ("fork", faults::fork),
    ("namespaces", namespaces::namespaces),
    ("damage", damage::damage),
];

/// Runs a measurement in a new folder, which goes afterwards.
fn within(candidate: &str, bytes: u64, run: impl FnOnce(&Place)) {
    let parent = std::env::var_os("STORE_DIR").map_or_else(std::env::temp_dir, Into::into);
    let folder = tempfile::Builder::new()
        .prefix("candidates-")
        .tempdir_in(parent)
        .expect("a folder for the store");
    run(&Place::at(candidate, folder.path(), bytes));
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["worker", role, candidate, folder, bytes, ref rest @ ..] => {
            processes::die_with_the_harness();
            let place = Place::at(candidate, Path::new(folder), bytes.parse().expect("bytes"));
            let number = |at: usize| {
                rest.get(at)
                    .and_then(|word| word.parse().ok())
                    .expect("a number")
            };
            match role {
                "load" => speed::load(&place, number(0), number(1)),
                "overwrite" => growth::overwrite(&place, number(0), number(1)),
                "pause-read" => faults::pause_read(&place),
                "pause-write" => faults::pause_write(&place),
                "probe" => faults::probe(&place),
                "many-readers" => faults::many_readers(&place),
                "fork" => faults::forking(&place),
                "opens" => namespaces::opens(&place),
                "read-all" => damage::read_all(&place),
                _ => unreachable!("no worker has the role {role}"),
            }
        }
        [] => {
            for (_, run) in MEASUREMENTS {
                for candidate in ["ring", "lmdb"] {
                    println!("\n# {candidate}");
                    run(candidate);
                }
            }
        }
        [candidate, "growth", overwrites] => match overwrites.parse() {
            Ok(overwrites) => growth::growth(candidate, overwrites),
            Err(_) => usage(),
        },
        [candidate] | [candidate, "all"] if candidate::NAMES.contains(&candidate) => {
            MEASUREMENTS.iter().for_each(|(_, run)| run(candidate));
        }
        [candidate, name] if candidate::NAMES.contains(&candidate) => {
            match MEASUREMENTS.iter().find(|(known, _)| *known == name) {
                Some((_, run)) => run(candidate),
                None => usage(),
            }
        }
        _ => usage(),
    }
}

fn usage() {
    let names = MEASUREMENTS.map(|(name, _)| name).join(" | ");
    eprintln!(
        "candidates [{} [all | {names} | growth OVERWRITES]]",
        candidate::NAMES.join(" | ")
    );
    exit(2);
}
