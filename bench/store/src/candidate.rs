//! What a candidate for the store of values must do, and the list of them. How each does it lives in a file of its own.

use std::io;
use std::path::Path;

use crate::lmdb::Lmdb;
use crate::queued::Queued;
use crate::ring::Ring;

pub type Key = [u8; 32];

/// A store of values that all processes of a machine share. Keys are hashes; values carry their generation, deadline and
/// checksum already, so a candidate may return damaged bytes but must not return another key's.
pub trait Candidate: Send + Sync {
    /// Whether there is a value; `out` holds it then, and nothing else.
    fn get(&self, key: &Key, out: &mut Vec<u8>) -> bool;

    /// Whether the value was stored. It may be refused, but not wait for another process beyond 10 ms.
    fn put(&self, key: &Key, value: &[u8]) -> bool;

    /// How many of them were stored, together if that is cheaper.
    fn put_batch(&self, entries: &[(Key, Vec<u8>)]) -> usize {
        entries
            .iter()
            .filter(|(key, value)| self.put(key, value))
            .count()
    }

    /// Puts that were accepted and not stored.
    fn lost(&self) -> u64 {
        0
    }

    /// `get`, with a pause in its midst: where a process that is stopped there is in the way of most.
    fn get_pausing(&self, key: &Key, out: &mut Vec<u8>, pause: &mut dyn FnMut()) -> bool;

    /// `put`, with a pause in its midst.
    fn put_pausing(&self, key: &Key, value: &[u8], pause: &mut dyn FnMut()) -> bool;
}

/// `ring`: what the project has. `lmdb`: as well as LMDB can be done. `lmdb-bare`: without the gates before its locks and without a new beginning after a fork.
/// `lmdb-queued`: a thread of each process does its writes; for `processes` only, since the others ask what a put has done.
pub const NAMES: [&str; 4] = ["ring", "lmdb", "lmdb-bare", "lmdb-queued"];

/// Opens the candidate of that name in a folder, which it may make, bounded by `bytes`.
pub fn open(name: &str, folder: &Path, bytes: u64) -> io::Result<Box<dyn Candidate>> {
    match name {
        "ring" => Ok(Box::new(Ring::open(folder, bytes)?)),
        "lmdb" => Ok(Box::new(Lmdb::open(folder, bytes)?)),
        "lmdb-bare" => Ok(Box::new(Lmdb::open_bare(folder, bytes)?)),
        "lmdb-queued" => Ok(Box::new(Queued::open(folder, bytes)?)),
        _ => Err(io::Error::other(format!(
            "no candidate is named {name:?}: try {}",
            NAMES.join(", ")
        ))),
    }
}
