//! What the tests of the store on real files have in common: folders, other processes, values that show what they are, and the log.

#![allow(dead_code)] // each test uses a part of it

use std::fs::File;
use std::io::Write;
use std::mem::ManuallyDrop;
use std::os::fd::FromRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, Once, PoisonError};
use std::time::{Duration, Instant};

use quickcache::clock;
use quickcache::entry::Head;
use quickcache::tier::store::{Lease, Opened, Shared, Spot, StoreKey, Turn, Unstored, Waiting};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

/// The least store.
pub const SMALL: u64 = 64 << 10;

/// Longer than anything takes that does not hang, on a machine that is kept busy by a hundred others.
pub const HANGS: Duration = Duration::from_secs(300);

// ---- folders ----

/// A folder for a store, that nobody else has; removed at the end.
pub struct Place(PathBuf);

impl Place {
    pub fn new() -> Place {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let at = std::env::temp_dir().join(format!(
            "quickcache-store-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        ));
        std::fs::create_dir(&at).unwrap();
        Place(at)
    }

    /// Around the store's folder.
    pub fn around(&self) -> &Path {
        &self.0
    }

    /// The store's folder, which need not exist.
    pub fn store(&self) -> PathBuf {
        self.0.join("store")
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.store().join(name)
    }

    pub fn open_file(&self, name: &str) -> File {
        let mut options = File::options();
        options
            .read(true)
            .write(true)
            .open(self.file(name))
            .unwrap()
    }

    /// The names in the store's folder, in order, but for those of the workers.
    pub fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.store()).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// What the folder takes on the disk, in bytes.
    pub fn on_disk(&self) -> u64 {
        fn of(path: &Path) -> u64 {
            let Ok(metadata) = std::fs::symlink_metadata(path) else {
                return 0;
            };
            let own = metadata.blocks() * 512;
            let Ok(entries) = std::fs::read_dir(path) else {
                return own;
            };
            own + entries
                .flatten()
                .map(|entry| of(&entry.path()))
                .sum::<u64>()
        }
        of(&self.store())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // What is left over is in the folder of temporary files.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A disk of our own.
pub struct Disk<'a>(&'a Path);

impl Disk<'_> {
    /// Nothing if this process may not mount one.
    pub fn mount<'a>(at: &'a Path, size: &str) -> Option<Disk<'a>> {
        let of = format!("size={size},mode=0755");
        let done = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &of, "quickcache-test"])
            .arg(at)
            .output();
        done.is_ok_and(|done| done.status.success())
            .then_some(Disk(at))
    }

    pub fn grow(&self, size: &str) {
        let of = format!("remount,size={size}");
        let done = Command::new("mount").args(["-o", &of]).arg(self.0).output();
        assert!(done.unwrap().status.success());
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        // Lazily: a process that has just ended may still have it.
        let _ = Command::new("umount").arg("-l").arg(self.0).output();
    }
}

/// Flips a bit of a file.
pub fn flip(file: &File, bit: u64) {
    let mut byte = [0];
    file.read_exact_at(&mut byte, bit / 8).unwrap();
    byte[0] ^= 1 << (bit % 8);
    file.write_all_at(&byte, bit / 8).unwrap();
}

/// Numbers that look random: xorshift.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

// ---- a function at the store ----

/// A function of one number whose values tell which version of which number they are.
#[derive(Clone, Copy)]
pub struct AtStore {
    pub shared: &'static Shared,
}

const NAME: &[u8] = b"a function";

impl AtStore {
    pub fn new(path: &Path, max_bytes: u64) -> AtStore {
        listen();
        AtStore {
            shared: Shared::of(Some(path), max_bytes),
        }
    }

    pub fn of(place: &Place) -> AtStore {
        Self::new(&place.store(), SMALL)
    }

    pub fn opened(&self) -> Option<&'static Opened> {
        self.shared.open()
    }

    pub fn spot(opened: &Opened, n: u64) -> Spot {
        opened.spot(StoreKey::of_text(&n.to_string()))
    }

    /// The version that is stored, if there is one. That it is of this number, and whole, is looked at.
    pub fn get(&self, n: u64) -> Option<u64> {
        let opened = self.opened()?;
        let (function, spot) = (opened.function(NAME), Self::spot(opened, n));
        let stamp = opened.stamp(function, &spot);
        let read = |entry: &quickcache::entry::Entry<'_>| Some(version_of(n, &entry.payload));
        opened
            .get(function, &spot, stamp, clock::boot(), read)
            .unwrap_or(None)
    }

    /// Stores a version, computed now.
    pub fn put(&self, n: u64, version: u64) -> Result<(), Unstored> {
        self.put_sized(n, version, 200)
    }

    pub fn put_sized(&self, n: u64, version: u64, bytes: usize) -> Result<(), Unstored> {
        let Some(opened) = self.opened() else {
            return Ok(());
        };
        let (function, spot) = (opened.function(NAME), Self::spot(opened, n));
        let generation = opened.stamp(function, &spot).sum;
        let entry = entry_of(opened, n, generation, version, bytes);
        opened.put(function, &spot, &entry)
    }

    pub fn clear(&self, n: u64) {
        let opened = self.opened().expect("a store to clear");
        opened.clear(&Self::spot(opened, n));
    }

    pub fn claim(&self, n: u64) -> Turn {
        let opened = self.opened().expect("a store");
        let (function, spot) = (opened.function(NAME), Self::spot(opened, n));
        opened.claim(&spot, opened.stamp(function, &spot))
    }

    /// The right to run the function, however it comes.
    pub fn lead(&self, n: u64) -> Option<Lease> {
        let mut waited = 0;
        loop {
            match self.claim(n) {
                Turn::Lead(lease) => return lease,
                Turn::Wait(waiting) => {
                    waited += 1;
                    if let Some(lease) = waiting.take_over(waited > 3) {
                        return Some(lease);
                    }
                    waiting.wait(Duration::from_millis(1));
                }
            }
        }
    }

    pub fn waiting(&self, n: u64) -> Waiting {
        match self.claim(n) {
            Turn::Wait(waiting) => waiting,
            Turn::Lead(_) => panic!("another process leads"),
        }
    }

    /// Whether a value that is stored now is found.
    pub fn works(&self, n: u64) -> bool {
        let version = 1_000_000 + self.get(n).unwrap_or(0);
        self.put(n, version).is_ok() && self.get(n) == Some(version)
    }
}

/// An entry whose payload is the number, the version, and bytes that follow from both.
pub fn entry_of(opened: &Opened, n: u64, generation: u64, version: u64, bytes: usize) -> Vec<u8> {
    let now = clock::boot();
    let head = Head {
        generation,
        started: now,
        deadline: now + 3_600_000,
    };
    let key = StoreKey::of_text(&n.to_string());
    let written = opened.seal().write(key.bytes(), head, |payload| {
        payload.extend_from_slice(&n.to_le_bytes());
        payload.extend_from_slice(&version.to_le_bytes());
        let mut random = Random(n << 32 | version << 1 | 1);
        payload.extend((16..bytes).map(|_| random.below(251) as u8));
        Ok::<u8, ()>(1)
    });
    written.unwrap()
}

fn version_of(n: u64, payload: &[u8]) -> u64 {
    let number = |at: usize| u64::from_le_bytes(payload[at..at + 8].try_into().unwrap());
    let version = number(8);
    assert_eq!(number(0), n, "a value of another key");
    let mut random = Random(n << 32 | version << 1 | 1);
    let whole = payload[16..]
        .iter()
        .all(|byte| *byte == random.below(251) as u8);
    assert!(whole, "version {version} of {n} is damaged");
    version
}

// ---- processes ----

unsafe extern "C" {
    fn fork() -> i32;
    fn alarm(seconds: u32) -> u32;
    fn _exit(status: i32) -> !;
}

/// Another process. It is killed if nobody waits for its end.
pub struct Process(Option<Pid>);

impl Process {
    /// Runs `body` in a child, which is ended by an alarm if it hangs.
    pub fn start(body: impl FnOnce()) -> Process {
        tell_of_panics_in_children();
        // SAFETY: the child runs `body` alone, and leaves without unwinding.
        let pid = unsafe { fork() };
        assert!(pid >= 0, "no process could be started");
        if pid == 0 {
            unsafe { alarm(HANGS.as_secs() as u32 * 2) };
            let well = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).is_ok();
            unsafe { _exit(i32::from(!well)) };
        }
        Process(Pid::from_raw(pid))
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.0.unwrap(), signal).unwrap();
    }

    /// Waits for its end: whether all was well.
    pub fn ends_well(mut self) -> bool {
        let (_, status) = waitpid(self.0.take(), WaitOptions::empty())
            .unwrap()
            .unwrap();
        status.exit_status() == Some(0)
    }

    pub fn kill(mut self) {
        self.signal(Signal::KILL);
        waitpid(self.0.take(), WaitOptions::empty()).unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(pid) = self.0.take() {
            // It is ours until it is waited for.
            let _ = kill_process(pid, Signal::KILL);
            let _ = waitpid(Some(pid), WaitOptions::empty());
        }
    }
}

/// What a child says on its end would else stay in the parent's test. Set by the parent, and written past the standard library: a thread that
/// is not in the child may have been about to panic, and has the locks of hooks, traces and the output for ever.
fn tell_of_panics_in_children() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let parent = std::process::id();
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| match std::process::id() {
            own if own == parent => before(panic),
            own => {
                // SAFETY: it is open as long as the process lives, and is not closed here.
                let stderr = ManuallyDrop::new(unsafe { File::from_raw_fd(2) });
                let said = format!("in the child {own}: {panic}\n");
                let _ = (&*stderr).write_all(said.as_bytes());
            }
        }));
    });
}

/// Whether all was well in a process of its own.
pub fn in_a_process(body: impl FnOnce()) -> bool {
    Process::start(body).ends_well()
}

/// Words that processes share which were started after this.
pub fn page() -> &'static [AtomicU64] {
    use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
    const WORDS: usize = 4096;
    // SAFETY: fresh memory, zeros, never unmapped.
    unsafe {
        let prot = ProtFlags::READ | ProtFlags::WRITE;
        let at = mmap_anonymous(std::ptr::null_mut(), WORDS * 8, prot, MapFlags::SHARED).unwrap();
        std::slice::from_raw_parts(at.cast(), WORDS)
    }
}

/// Waits until something is so.
pub fn until(what: &str, mut so: impl FnMut() -> bool) {
    let end = Instant::now() + HANGS;
    while !so() {
        assert!(Instant::now() < end, "it never came about that {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Makes this process one of a user without rights, if it is one of root.
pub fn drop_rights() {
    const NOBODY: u32 = 65534;
    unsafe extern "C" {
        fn setgroups(count: usize, groups: *const u32) -> i32;
        fn setgid(group: u32) -> i32;
        fn setuid(user: u32) -> i32;
    }
    if is_root() {
        // SAFETY: no pointer is followed for no groups.
        let done = unsafe {
            [
                setgroups(0, std::ptr::null()),
                setgid(NOBODY),
                setuid(NOBODY),
            ]
        };
        assert_eq!(done, [0; 3]);
    }
}

/// Gives a path to the user that `drop_rights` makes us.
pub fn give_away(path: &Path) {
    if is_root() {
        std::os::unix::fs::chown(path, Some(65534), Some(65534)).unwrap();
    }
}

// ---- the log ----

struct Log(Mutex<Vec<String>>);

static LOG: Log = Log(Mutex::new(Vec::new()));

impl log::Log for Log {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.push(format!("{}: {}", record.level(), record.args()));
    }

    fn flush(&self) {}
}

pub fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&LOG).unwrap();
        log::set_max_level(log::LevelFilter::Info);
    });
}

/// What this process has logged about a store.
pub fn logged(place: &Place) -> Vec<String> {
    let about = place.store().display().to_string();
    let lines = LOG.0.lock().unwrap_or_else(PoisonError::into_inner);
    let lines = lines.iter().filter(|line| line.contains(&about));
    lines.cloned().collect()
}

/// That one warning was logged, and says this.
pub fn warned_once(place: &Place, says: &str) {
    let lines = logged(place);
    assert!(
        lines.len() == 1 && lines[0].starts_with("WARN") && lines[0].contains(says),
        "{says:?} is not all of {lines:?}"
    );
}
