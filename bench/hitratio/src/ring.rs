//! The ring of the machine's store as one cache among the others: entries of 200 bytes, in a file that has room for so many.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use quickcache::entry::Head;
use quickcache::tier::memory::NEVER;
use quickcache::tier::store::{AtStore, Shared, StoreKey};

use crate::caches::Cache;

const VALUE: [u8; 200] = [7; 200];
/// What one takes in the file: its own head, that of the entry, the value, in units of 16.
const RECORD: u64 = (16 + 64 + VALUE.len() as u64).next_multiple_of(16);
const PAGE: u64 = 4096;

pub struct Ring {
    at: AtStore,
    base: StoreKey,
    folder: PathBuf,
}

impl Ring {
    pub fn new(capacity: usize) -> Self {
        static MADE: AtomicU64 = AtomicU64::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("hitratio-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        // A page for the header, and a sixteenth for the index.
        let bytes = (capacity as u64 * RECORD + PAGE) * 16 / 15;
        Self {
            at: AtStore::new(
                Shared::of(Some(&folder), bytes.next_multiple_of(PAGE)),
                b"hitratio",
                None,
            ),
            base: StoreKey::of_text("hitratio"),
            folder,
        }
    }
}

impl Cache for Ring {
    fn request(&mut self, key: u64) -> bool {
        let bound = self.at.bound().expect("a folder for temporary files");
        let seen = bound.see(self.base.beside(key));
        let now = quickcache::clock::boot();
        if let Ok(Some(())) = seen.get(now, |_| Some(())) {
            return true;
        }
        let head = Head {
            generation: seen.generation(),
            started: now,
            deadline: NEVER,
        };
        let encode = |bytes: &mut Vec<u8>| {
            bytes.extend_from_slice(&VALUE);
            Ok::<u8, Infallible>(0)
        };
        let seal = seen.opened().seal();
        let entry = seal.write(seen.key().bytes(), head, encode);
        seen.put(&entry.expect("it is not too large"))
            .expect("room on the disk");
        false
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        let _left_behind_if_it_fails = std::fs::remove_dir_all(&self.folder);
    }
}
