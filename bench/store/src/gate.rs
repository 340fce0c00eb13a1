//! A mutex in a mapped file that all processes share: a wait for it ends after a patience, and it passes on when its owner is
//! killed. LMDB's own locks wait for ever, so whoever may take one of them passes a gate first.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::mem::size_of;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use libc::{CLOCK_REALTIME, EBUSY, EOWNERDEAD, pthread_mutex_t, timespec};
use memmap2::MmapRaw;

pub struct Gate {
    file: MmapRaw,
    /// How many had passed when a wait was last in vain. As long as nobody has passed since, the same holder is in there, and
    /// waiting again would cost every caller its patience.
    stuck: AtomicU64,
}

/// Where in the file it is counted who passes: behind the mutex, on the same page.
const PASSES: usize = 64;

/// The right to take LMDB's locks, given back when dropped.
pub struct Pass<'a>(&'a Gate);

impl Gate {
    /// Opens the gate in this file. Whoever is first makes it elsewhere and links it here, so that nobody sees half a mutex.
    pub fn open(path: &Path) -> io::Result<Gate> {
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC);
        if !path.exists() {
            let draft = path.with_extension(std::process::id().to_string());
            let mut file = options.clone().create(true).truncate(true).open(&draft)?;
            file.write_all(&[0; 4096])?;
            let gate = Gate::map(&file)?;
            gate.init()?;
            let linked = std::fs::hard_link(&draft, path);
            std::fs::remove_file(&draft)?;
            linked.or_else(|error| if path.exists() { Ok(()) } else { Err(error) })?;
        }
        let file = options.open(path)?;
        if file.metadata()?.len() < 4096 {
            return Err(io::Error::other("the gate's file is too short"));
        }
        Gate::map(&file)
    }

    fn map(file: &File) -> io::Result<Gate> {
        const { assert!(size_of::<pthread_mutex_t>() <= PASSES) };
        Ok(Gate {
            file: MmapRaw::map_raw(file)?,
            stuck: AtomicU64::new(u64::MAX),
        })
    }

    fn mutex(&self) -> *mut pthread_mutex_t {
        self.file.as_mut_ptr().cast()
    }

    fn init(&self) -> io::Result<()> {
        // SAFETY: the file is ours alone until it is linked; the mapping is aligned to a page and outlives the calls.
        let code = unsafe {
            let mut attributes = std::mem::zeroed();
            libc::pthread_mutexattr_init(&mut attributes);
            libc::pthread_mutexattr_setpshared(&mut attributes, libc::PTHREAD_PROCESS_SHARED);
            libc::pthread_mutexattr_setrobust(&mut attributes, libc::PTHREAD_MUTEX_ROBUST);
            libc::pthread_mutex_init(self.mutex(), &attributes)
        };
        if code == 0 {
            Ok(())
        } else {
            Err(io::Error::from_raw_os_error(code))
        }
    }

    fn passes(&self) -> &AtomicU64 {
        // SAFETY: aligned, within the page, and only ever used as an atomic.
        unsafe { &*self.file.as_ptr().add(PASSES).cast() }
    }

    /// None when the gate is held longer than the patience, or still by who held it so long the last time. The wait ends by the
    /// wall clock, which a step may shorten or lengthen.
    pub fn pass(&self, patience: Duration) -> Option<Pass<'_>> {
        // SAFETY: the mutex was initialised before the file had this name, and the mapping lives as long as `self`.
        let mut code = unsafe { libc::pthread_mutex_trylock(self.mutex()) };
        if code == EBUSY && self.stuck.load(Relaxed) != self.passes().load(Relaxed) {
            // SAFETY: as above.
            code = unsafe {
                let mut until: timespec = std::mem::zeroed();
                libc::clock_gettime(CLOCK_REALTIME, &mut until);
                let nanoseconds = until.tv_nsec as u128 + patience.as_nanos();
                until.tv_sec += (nanoseconds / 1_000_000_000) as i64;
                until.tv_nsec = (nanoseconds % 1_000_000_000) as i64;
                libc::pthread_mutex_timedlock(self.mutex(), &until)
            };
        }
        match code {
            0 => (),
            // Nothing to mend: what the gate guards is LMDB's, which mends itself.
            // SAFETY: we own the mutex.
            EOWNERDEAD => unsafe {
                libc::pthread_mutex_consistent(self.mutex());
            },
            _ => {
                self.stuck.store(self.passes().load(Relaxed), Relaxed);
                return None;
            }
        }
        self.passes().fetch_add(1, Relaxed);
        Some(Pass(self))
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        // SAFETY: this thread took the mutex in `pass`.
        unsafe { libc::pthread_mutex_unlock(self.0.mutex()) };
    }
}
