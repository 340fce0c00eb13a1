//! LMDB through heed, done as well as it can be for a cache: a bound with random eviction, a gate with a patience before each of
//! LMDB's two locks, one environment per process, opened anew after a fork.
//!
//! * One database, key to value. Keys are hashes, so the entry after a random key is a random entry: eviction needs no order table,
//!   and the run it deletes lies on few pages.
//! * The database may fill three quarters of the map. The rest is for pages that a reader still holds and for the free list.
//! * Readers keep a slot for each thread (no NOTLS): with NOTLS each read takes the lock of the readers' table, and waits for whoever
//!   was stopped in it. The first read of a thread takes it too, so it passes a gate, and is a miss if the gate is stuck. That gate is
//!   not the writers': who is stopped in the midst of a write is in no reader's way.
//! * No WRITEMAP: a full disk is an error, not a SIGBUS. The lock file is allocated for the same reason.
//! * The folder is named after the boot: without fsync a crash of the machine may leave anything, and no value survives it anyway.

use std::cell::Cell;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering::*};
use std::sync::{Mutex, Once, PoisonError};
use std::time::{Duration, Instant};

use heed::types::Bytes;
use heed::{Database, Env, EnvFlags, EnvOpenOptions, MdbError, RoTxn, RwTxn, WithTls};

use crate::candidate::{Candidate, Key};
use crate::gate::{Gate, Pass};

const PAGE: u64 = 4096;
const READERS: u32 = 2046;
const PATIENCE: Duration = Duration::from_millis(10);
const READER_CHECK: Duration = Duration::from_secs(60);
/// More than this many evictions are left to the next puts.
const EVICTIONS: usize = 4096;

/// Moves on in every forked child: `getpid` would be a syscall on each read.
pub static FORKS: AtomicU64 = AtomicU64::new(0);
static OPENED: AtomicU64 = AtomicU64::new(1);

thread_local! {
    /// The environment in whose table of readers this thread has a slot.
    static SLOT: Cell<u64> = const { Cell::new(0) };
}

pub struct Lmdb {
    folder: PathBuf,
    bytes: u64,
    /// None: the bare candidate, which goes straight to LMDB's locks.
    gates: Option<Gates>,
    opened: AtomicPtr<Opened>,
    opening: Mutex<()>,
    checked: Mutex<Instant>,
    random: AtomicU64,
}

/// Whoever holds both has passed the writers' first.
struct Gates {
    writers: Gate,
    /// Before the lock of the readers' table, and before opening.
    readers: Gate,
}

struct Opened {
    env: Env<WithTls>,
    values: Database<Bytes, Bytes>,
    id: u64,
    forks: u64,
}

impl Lmdb {
    pub fn open(folder: &Path, bytes: u64) -> io::Result<Lmdb> {
        Lmdb::make(folder, bytes, true)
    }

    pub fn open_bare(folder: &Path, bytes: u64) -> io::Result<Lmdb> {
        Lmdb::make(folder, bytes, false)
    }

    fn make(folder: &Path, bytes: u64, gated: bool) -> io::Result<Lmdb> {
        static ATFORK: Once = Once::new();
        extern "C" fn child() {
            FORKS.fetch_add(1, Relaxed);
        }
        // SAFETY: the handler is one atomic addition.
        ATFORK.call_once(|| unsafe {
            libc::pthread_atfork(None, None, Some(child));
        });
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
        let ours = folder.join(format!("values-{}", boot.trim()));
        DirBuilder::new()
            .mode(0o700)
            .recursive(true)
            .create(&ours)?;
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path != ours
                && path
                    .file_name()
                    .is_some_and(|name| name.as_encoded_bytes().starts_with(b"values-"))
            {
                fs::remove_dir_all(path)?;
            }
        }
        let lmdb = Lmdb {
            gates: if gated {
                let (writers, readers) = (
                    Gate::open(&ours.join("writers"))?,
                    Gate::open(&ours.join("readers"))?,
                );
                Some(Gates { writers, readers })
            } else {
                None
            },
            folder: ours,
            bytes: bytes / PAGE * PAGE,
            opened: AtomicPtr::new(ptr::null_mut()),
            opening: Mutex::new(()),
            checked: Mutex::new(Instant::now()),
            random: AtomicU64::new(u64::from(std::process::id()) << 32),
        };
        match lmdb.env() {
            Some(_) => Ok(lmdb),
            None => Err(io::Error::other("the environment cannot be opened now")),
        }
    }

    /// None: LMDB's lock may be held by a process that does not go on.
    fn pass(&self, gate: impl FnOnce(&Gates) -> &Gate) -> Option<Option<Pass<'_>>> {
        match &self.gates {
            Some(gates) => gate(gates).pass(PATIENCE).map(Some),
            None => Some(None),
        }
    }

    fn clear_stale_readers(&self, opened: &Opened) -> Option<()> {
        let _pass = self.pass(|gates| &gates.readers)?;
        opened.env.clear_stale_readers().ok().map(drop)
    }

    /// This process's environment.
    fn env(&self) -> Option<&Opened> {
        let opened = self.opened.load(Acquire);
        // SAFETY: an environment is freed only by `reopen` in a forked child, before any use of it there, or by `drop`.
        match unsafe { opened.as_ref() } {
            Some(opened) if self.gates.is_none() || opened.forks == FORKS.load(Relaxed) => {
                Some(opened)
            }
            _ => self.reopen(),
        }
    }

    #[cold]
    fn reopen(&self) -> Option<&Opened> {
        let _one = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        let forks = FORKS.load(Relaxed);
        let old = self.opened.load(Acquire);
        // SAFETY: as in `env`; one thread at a time is here.
        if let Some(opened) = unsafe { old.as_ref() } {
            if opened.forks == forks {
                return Some(opened);
            }
            self.opened.store(ptr::null_mut(), Release);
            // SAFETY: `old` came from a Box, and after the fork nobody else has used it: `env` leads here first.
            drop(unsafe { Box::from_raw(old) });
        }
        let _pass = self.pass(|gates| &gates.readers)?;
        let lock = self.folder.join("lock.mdb");
        if self.gates.is_some() && !lock.exists() {
            // The descriptor is closed before LMDB opens the file: closing it later would drop LMDB's fcntl locks.
            let file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&lock)
                .ok()?;
            // SAFETY: a syscall on a descriptor we own.
            if unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, i64::from(READERS + 2) * 64) }
                != 0
            {
                return None;
            }
        }
        let mut options = EnvOpenOptions::new();
        options.map_size(self.bytes as usize).max_readers(READERS);
        // SAFETY: opened once per process (by `opening`), and nobody truncates the file while it is open.
        let env = unsafe {
            options
                .flags(EnvFlags::NO_SYNC | EnvFlags::NO_META_SYNC | EnvFlags::NO_MEM_INIT)
                .open(&self.folder)
        };
        let env = env.ok()?;
        env.clear_stale_readers().ok()?;
        // The unnamed database is always there: no write is needed to open it.
        let txn = env.read_txn().ok()?;
        let values = env.open_database(&txn, None).ok()??;
        drop(txn);
        let opened = Box::into_raw(Box::new(Opened {
            env,
            values,
            id: OPENED.fetch_add(1, Relaxed),
            forks,
        }));
        self.opened.store(opened, Release);
        // SAFETY: as in `env`.
        Some(unsafe { &*opened })
    }

    fn read<T>(&self, key: &Key, out: &mut Vec<u8>, then: impl FnOnce(&RoTxn) -> T) -> Option<T> {
        out.clear();
        let opened = self.env()?;
        let pass = if SLOT.get() == opened.id {
            None
        } else {
            Some(self.pass(|gates| &gates.readers)?)
        };
        let txn = match opened.env.read_txn() {
            Err(heed::Error::Mdb(MdbError::ReadersFull)) => {
                opened.env.clear_stale_readers().ok()?;
                opened.env.read_txn()
            }
            txn => txn,
        };
        let txn = txn.ok()?;
        SLOT.set(opened.id);
        drop(pass);
        let value = opened.values.get(&txn, key).ok()??;
        let done = then(&txn);
        out.extend_from_slice(value);
        Some(done)
    }

    fn write<T>(
        &self,
        room: usize,
        mut each: impl FnMut(&Opened, &mut RwTxn) -> heed::Result<T>,
    ) -> Option<T> {
        if room as u64 > self.bytes / 8 {
            return None;
        }
        let opened = self.env()?;
        let _pass = self.pass(|gates| &gates.writers)?;
        self.check_readers(opened);
        let mut once = || {
            let mut txn = opened.env.write_txn()?;
            self.evict(opened, &mut txn, room as u64 / PAGE + 2)?;
            let done = each(opened, &mut txn)?;
            txn.commit()?;
            heed::Result::Ok(done)
        };
        match once() {
            Err(heed::Error::Mdb(MdbError::MapFull)) => {
                // Pages are held by a reader that died, or lie in pieces: free both, and try once more.
                self.clear_stale_readers(opened)?;
                let mut txn = opened.env.write_txn().ok()?;
                self.evict(opened, &mut txn, room as u64 / PAGE * 4 + 64)
                    .ok()?;
                txn.commit().ok()?;
                once().ok()
            }
            done => done.ok(),
        }
    }

    fn evict(&self, opened: &Opened, txn: &mut RwTxn, pages: u64) -> heed::Result<()> {
        let limit = self.bytes / PAGE * 3 / 4;
        let mut from = None;
        for _ in 0..EVICTIONS {
            let stat = opened.values.stat(txn)?;
            if (stat.branch_pages + stat.leaf_pages + stat.overflow_pages) as u64 + pages <= limit {
                break;
            }
            let start = from.unwrap_or_else(|| self.random_key());
            match opened.values.get_greater_than_or_equal_to(txn, &start)? {
                Some((key, _)) => {
                    let mut found = [0; 32];
                    found.copy_from_slice(key);
                    opened.values.delete(txn, &found)?;
                    from = Some(found);
                }
                None if opened.values.is_empty(txn)? => break,
                None => from = Some([0; 32]),
            }
        }
        Ok(())
    }

    fn random_key(&self) -> Key {
        let mut key = [0; 32];
        let state = self.random.fetch_add(1, Relaxed);
        key[..8].copy_from_slice(&xxhash_rust::xxh3::xxh3_64(&state.to_ne_bytes()).to_be_bytes());
        key
    }

    /// Each minute, in a put.
    fn check_readers(&self, opened: &Opened) {
        if let Ok(mut checked) = self.checked.try_lock()
            && checked.elapsed() > READER_CHECK
            && self.clear_stale_readers(opened).is_some()
        {
            *checked = Instant::now();
        }
    }
}

impl Candidate for Lmdb {
    fn get(&self, key: &Key, out: &mut Vec<u8>) -> bool {
        self.read(key, out, |_| ()).is_some()
    }

    fn put(&self, key: &Key, value: &[u8]) -> bool {
        self.write(value.len(), |opened, txn| {
            opened.values.put(txn, key, value)
        })
        .is_some()
    }

    fn put_batch(&self, entries: &[(Key, Vec<u8>)]) -> usize {
        let room = entries.iter().map(|(_, value)| value.len()).sum();
        let put = self.write(room, |opened, txn| {
            entries
                .iter()
                .try_for_each(|(key, value)| opened.values.put(txn, key, value))
        });
        if put.is_some() { entries.len() } else { 0 }
    }

    fn get_pausing(&self, key: &Key, out: &mut Vec<u8>, pause: &mut dyn FnMut()) -> bool {
        self.read(key, out, |_| pause()).is_some()
    }

    fn put_pausing(&self, key: &Key, value: &[u8], pause: &mut dyn FnMut()) -> bool {
        let put = self.write(value.len(), |opened, txn| {
            opened.values.put(txn, key, value)?;
            pause();
            Ok(())
        });
        put.is_some()
    }
}

impl Drop for Lmdb {
    fn drop(&mut self) {
        let opened = *self.opened.get_mut();
        if !opened.is_null() {
            // SAFETY: it came from a Box, and `&mut self` says that nobody uses it.
            drop(unsafe { Box::from_raw(opened) });
        }
    }
}
