//! Worker processes and what they share with the harness: a page of counters, signals, and samples of latencies.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering::*};
use std::thread::sleep;
use std::time::{Duration, Instant};

use memmap2::MmapRaw;

/// Counters that harness and workers share. All zero at first.
#[repr(C)]
pub struct Counters {
    pub ready: AtomicU64,
    pub go: AtomicU64,
    pub puts: AtomicU64,
    pub refused: AtomicU64,
    pub hits: AtomicU64,
    pub gets: AtomicU64,
    pub torn: AtomicU64,
    /// Nanoseconds.
    pub longest_put: AtomicU64,
    pub longest_get: AtomicU64,
}

/// The mapped page.
pub struct Shared(MmapRaw);

impl Deref for Shared {
    type Target = Counters;
    fn deref(&self) -> &Counters {
        // SAFETY: the page is longer than the counters, zero bytes are valid counters, and all access is atomic.
        unsafe { &*self.0.as_ptr().cast() }
    }
}

/// One measurement's folder: the store's in it, the counters beside it.
pub struct Place {
    pub candidate: String,
    pub folder: PathBuf,
    pub bytes: u64,
    pub shared: Shared,
}

impl Place {
    pub fn at(candidate: &str, folder: &Path, bytes: u64) -> Place {
        let page = folder.join("counters");
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(page)
            .expect("the counters' file");
        file.set_len(4096).expect("room for the counters");
        let shared = Shared(MmapRaw::map_raw(&file).expect("the counters' mapping"));
        Place {
            candidate: candidate.into(),
            folder: folder.into(),
            bytes,
            shared,
        }
    }

    pub fn store(&self) -> PathBuf {
        self.folder.join("store")
    }

    pub fn open(&self) -> Box<dyn crate::candidate::Candidate> {
        crate::candidate::open(&self.candidate, &self.store(), self.bytes).expect("the store opens")
    }

    /// Starts this program again as a worker.
    pub fn spawn(&self, role: &str, arguments: &[String]) -> Child {
        Command::new(std::env::current_exe().expect("this program's path"))
            .args([
                "worker",
                role,
                &self.candidate,
                &self.folder.to_string_lossy(),
                &self.bytes.to_string(),
            ])
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(if role == "read-all" {
                Stdio::null()
            } else {
                Stdio::inherit()
            })
            .spawn()
            .expect("a worker starts")
    }

    /// In a worker: ready, wait for the start.
    pub fn meet(&self) {
        self.shared.ready.fetch_add(1, AcqRel);
        while self.shared.go.load(Acquire) == 0 {
            std::thread::yield_now();
        }
    }

    /// In the harness: wait until so many are ready.
    pub fn await_ready(&self, workers: u64) {
        while self.shared.ready.load(Acquire) < workers {
            sleep(Duration::from_millis(1));
        }
    }

    /// Bytes of the store's files: the longest one's length, and all allocated blocks.
    pub fn file_bytes(&self) -> (u64, u64) {
        use std::os::unix::fs::MetadataExt;
        fn walk(path: &Path, sum: &mut (u64, u64)) {
            for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
                match entry.metadata() {
                    Ok(meta) if meta.is_dir() => walk(&entry.path(), sum),
                    Ok(meta) => *sum = (sum.0.max(meta.len()), sum.1 + meta.blocks() * 512),
                    Err(_) => (),
                }
            }
        }
        let mut sum = (0, 0);
        walk(&self.store(), &mut sum);
        sum
    }
}

pub fn signal(child: &Child, signal: i32) {
    // SAFETY: a syscall; the child has not been waited for, so the pid is still its own.
    unsafe { libc::kill(child.id() as i32, signal) };
}

/// In a worker: a harness that was interrupted leaves none behind.
pub fn die_with_the_harness() {
    // SAFETY: a syscall.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
}

/// Stops the process that calls it.
pub fn stop_myself() {
    // SAFETY: a syscall.
    unsafe { libc::raise(libc::SIGSTOP) };
}

/// Waits until the child has stopped.
pub fn await_stop(child: &Child) {
    let mut status = 0;
    // SAFETY: a syscall; a stopped child is reported, not reaped.
    let pid = unsafe { libc::waitpid(child.id() as i32, &mut status, libc::WUNTRACED) };
    assert!(
        pid > 0 && libc::WIFSTOPPED(status),
        "the worker ended instead of stopping: {status:#x}"
    );
}

/// Whether it ended within this time.
pub fn ends_within(child: &mut Child, time: Duration) -> bool {
    let start = Instant::now();
    while child.try_wait().expect("a child of ours").is_none() {
        if start.elapsed() > time {
            return false;
        }
        sleep(Duration::from_millis(1));
    }
    true
}

/// Latencies in nanoseconds, in the order they happened.
#[derive(Default)]
pub struct Samples(pub Vec<u32>);

impl Samples {
    pub fn time<T>(&mut self, run: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let done = run();
        self.0
            .push(start.elapsed().as_nanos().min(u128::from(u32::MAX)) as u32);
        done
    }

    /// p50, p99, p99.9 and the longest.
    pub fn quantiles(mut self) -> [u32; 4] {
        self.0.sort_unstable();
        let at = |share: f64| {
            self.0
                .get(((self.0.len() as f64 * share) as usize).min(self.0.len().saturating_sub(1)))
                .copied()
        };
        [at(0.5), at(0.99), at(0.999), self.0.last().copied()].map(Option::unwrap_or_default)
    }

    pub fn send(&self, out: &mut impl Write) {
        let bytes: Vec<u8> = self
            .0
            .iter()
            .flat_map(|sample| sample.to_le_bytes())
            .collect();
        out.write_all(&(self.0.len() as u32).to_le_bytes())
            .and_then(|()| out.write_all(&bytes))
            .expect("the harness reads");
    }

    pub fn receive(&mut self, from: &mut impl Read) {
        let mut word = [0; 4];
        from.read_exact(&mut word)
            .expect("a worker sends its samples");
        let mut bytes = vec![0; u32::from_le_bytes(word) as usize * 4];
        from.read_exact(&mut bytes)
            .expect("a worker sends its samples");
        self.0.extend(
            bytes
                .chunks_exact(4)
                .map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]])),
        );
    }
}
