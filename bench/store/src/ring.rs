//! The ring, the store of values that the project has, as its functions use it: an entry is sealed before each put, and each get looks for
//! the generation of its key, checks the entry's tag and copies the payload out. Its figures are those of the whole store.

use std::cell::Cell;
use std::convert::Infallible;
use std::ffi::c_void;
use std::io;
use std::path::Path;
use std::ptr;

use quickcache::entry::Head;
use quickcache::tier::memory::NEVER;
use quickcache::tier::store::{AtStore, Seen, Shared, StoreKey};

use crate::candidate::{Candidate, Key};

pub struct Ring {
    at: AtStore,
    base: StoreKey,
}

impl Ring {
    pub fn open(folder: &Path, bytes: u64) -> io::Result<Ring> {
        let shared = Shared::of(Some(folder), bytes);
        if shared.open().is_none() {
            return Err(io::Error::other("the store cannot be opened now"));
        }
        Ok(Ring {
            at: AtStore::new(shared, b"candidates", None),
            base: StoreKey::of_text("candidates"),
        })
    }

    fn see(&self, key: &Key) -> Option<Seen> {
        let number = u64::from_le_bytes(*key.first_chunk().expect("32 bytes are more than 8"));
        Some(self.at.bound()?.see(self.base.beside(number)))
    }
}

impl Candidate for Ring {
    fn get(&self, key: &Key, out: &mut Vec<u8>) -> bool {
        self.get_pausing(key, out, &mut || ())
    }

    fn put(&self, key: &Key, value: &[u8]) -> bool {
        let Some(seen) = self.see(key) else {
            return false;
        };
        let now = quickcache::clock::boot();
        let head = Head {
            generation: seen.generation(),
            started: now,
            deadline: NEVER,
        };
        let encode = |bytes: &mut Vec<u8>| {
            bytes.extend_from_slice(value);
            Ok::<u8, Infallible>(0)
        };
        let entry = seen
            .opened()
            .seal()
            .write(seen.key().bytes(), head, encode)
            .expect("values of the harness are not too large");
        seen.put(&entry).is_ok()
    }

    /// Nothing is held while a reader is between finding a record and having done with it.
    fn get_pausing(&self, key: &Key, out: &mut Vec<u8>, pause: &mut dyn FnMut()) -> bool {
        out.clear();
        let Some(seen) = self.see(key) else {
            return false;
        };
        let found = seen.get(quickcache::clock::boot(), |entry| {
            pause();
            out.extend_from_slice(&entry.payload);
            Some(())
        });
        matches!(found, Ok(Some(())))
    }

    /// The pause is where the place has been reserved and the record not been written.
    fn put_pausing(&self, key: &Key, value: &[u8], pause: &mut dyn FnMut()) -> bool {
        let mut pause: Pause = pause;
        PAUSE.set(ptr::from_mut(&mut pause).cast());
        self.put(key, value)
    }
}

type Pause<'a> = &'a mut dyn FnMut();

thread_local! {
    /// What this thread does before it next writes at a place of a file: a `Pause`, or null.
    static PAUSE: Cell<*mut Pause<'static>> = const { Cell::new(ptr::null_mut()) };
}

/// In place of the C library's, which is asked by its other name: the only way to be in the midst of a write without a door in the
/// store for it.
///
/// # Safety
/// As for the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pwrite64(
    fd: i32,
    bytes: *const c_void,
    count: usize,
    at: libc::off_t,
) -> isize {
    let pause = PAUSE.replace(ptr::null_mut());
    // SAFETY: `put_pausing` has put it there, and is further up this thread's stack.
    if let Some(pause) = unsafe { pause.as_mut() } {
        pause();
    }
    // SAFETY: as the caller has promised.
    unsafe { libc::pwrite(fd, bytes, count, at) }
}
