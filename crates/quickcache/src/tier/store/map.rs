//! A file of this machine mapped into memory, as words that processes change at the same time.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::ptr::{self, NonNull};
use std::sync::atomic::AtomicU64;

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// The first so many bytes of a file, shared with every process that maps it. The file is not made shorter while it is open: that is
/// the one thing that other processes must not do, and `docs/store.md` says so.
pub(super) struct Map {
    words: NonNull<AtomicU64>,
    len: usize,
}

// SAFETY: it is memory like any other, and everything in it is atomic.
unsafe impl Send for Map {}
// SAFETY: as above.
unsafe impl Sync for Map {}

impl Map {
    /// Maps `words` words. The file has them.
    pub(super) fn new(file: &File, words: usize) -> io::Result<Map> {
        debug_assert!(file.metadata()?.len() >= words as u64 * 8);
        // SAFETY: a fresh mapping, at a place of the system's choice, overlaps nothing.
        let start = unsafe {
            mmap(
                ptr::null_mut(),
                words * 8,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                file.as_fd(),
                0,
            )
        }?;
        let words_at = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Map {
            words: words_at,
            len: words,
        })
    }

    pub(super) fn words(&self) -> &[AtomicU64] {
        // SAFETY: the mapping lives as long as this, is aligned to a page, and is read and written by atomics alone.
        unsafe { std::slice::from_raw_parts(self.words.as_ptr(), self.len) }
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this length; nobody has a reference any more. That it fails cannot be helped, and then it
        // stays mapped.
        let _ = unsafe { munmap(self.words.as_ptr().cast(), self.len * 8) };
    }
}
