//! P1 and P11 after fork: the child of a process whose other threads are in the midst of calls is served, and waits for none of them.

#![cfg(unix)]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError, mpsc};

use quickcache::{Memory, QuickCache, quickcache};

unsafe extern "C" {
    fn fork() -> i32;
    fn waitpid(child: i32, status: *mut i32, options: i32) -> i32;
    fn alarm(seconds: u32) -> u32;
    fn _exit(status: i32) -> !;
}

/// What `child` says in a child: whether all was well. A child that hangs is ended by its alarm.
fn in_a_child(child: impl FnOnce() -> bool) -> bool {
    // SAFETY: the child runs `child` alone, and leaves without unwinding.
    let pid = unsafe { fork() };
    if pid == 0 {
        unsafe { alarm(20) };
        let well = child();
        unsafe { _exit(i32::from(!well)) };
    }
    let mut status = -1;
    // SAFETY: the child is ours.
    assert_eq!(unsafe { waitpid(pid, &mut status, 0) }, pid);
    status == 0
}

/// One at a time: the clears of the busy one would now and then refuse a fill of another.
static ALONE: Mutex<()> = Mutex::new(());

static CACHE: LazyLock<QuickCache> =
    LazyLock::new(|| QuickCache::new(Memory::new().entries(1_000)));

#[quickcache(cache = CACHE, vary_on = [n])]
fn squared(n: u64) -> u64 {
    n * n
}

#[quickcache(cache = CACHE, vary_on = [n])]
fn text(n: u64) -> String {
    n.to_string()
}

#[test]
fn p11_the_child_of_a_busy_process_is_served() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    static STOP: AtomicBool = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for thread in 0..3 {
            scope.spawn(move || {
                for n in 0.. {
                    squared(n % 64);
                    text(n);
                    if n % 3 == thread {
                        squared::clear(n % 64);
                        let _ = (squared::stats(), text::explain(n));
                    }
                    if STOP.load(Ordering::Relaxed) {
                        break;
                    }
                }
            });
        }
        let served = || {
            (0..64).all(|n| {
                let well = squared(n) == n * n && text(n) == n.to_string();
                squared::clear(n);
                well && squared(n) == n * n && squared::explain(n).tier.is_some()
            })
        };
        let well = (0..100).all(|_| in_a_child(served));
        STOP.store(true, Ordering::Relaxed);
        assert!(well, "a child hung, or was given something else");
    });
    assert_eq!(squared(9), 81, "the parent goes on");
}

#[test]
fn p11_a_fork_inside_a_running_flight_is_the_end_of_no_call() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    static VERSION: AtomicU64 = AtomicU64::new(0);
    #[quickcache(cache = CACHE, vary_on = [n])]
    fn forks(n: u64) -> u64 {
        let version = VERSION.load(Ordering::SeqCst);
        assert!(in_a_child(|| {
            // The flight around this is the parent's: a new one may begin, and clears hold.
            VERSION.store(version + 1, Ordering::SeqCst);
            forks::clear(n);
            inner(n) == version + 1 && inner(n) == version + 1
        }));
        version
    }
    #[quickcache(cache = CACHE, vary_on = [n])]
    fn inner(n: u64) -> u64 {
        let _ = n;
        VERSION.load(Ordering::SeqCst)
    }
    assert_eq!((forks(1), forks(1), inner(1)), (0, 0, 0));
}

#[test]
fn p11_a_child_waits_for_no_flight_of_its_parent() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    static IN_CHILD: AtomicBool = AtomicBool::new(false);
    let (began, has_begun) = mpsc::channel();
    let (go_on, goes_on) = mpsc::channel::<()>();
    static STEPS: Mutex<Option<(mpsc::Sender<()>, mpsc::Receiver<()>)>> = Mutex::new(None);
    *STEPS.lock().unwrap() = Some((began, goes_on));
    #[quickcache(cache = CACHE, vary_on = [])]
    fn long() -> bool {
        if !IN_CHILD.load(Ordering::SeqCst) {
            let steps = STEPS.lock().unwrap().take();
            if let Some((began, goes_on)) = steps {
                began.send(()).unwrap();
                goes_on.recv().unwrap();
            }
        }
        IN_CHILD.load(Ordering::SeqCst)
    }
    let leader = std::thread::spawn(long);
    has_begun.recv().unwrap();
    assert!(in_a_child(|| {
        IN_CHILD.store(true, Ordering::SeqCst);
        long() && long::get_cached_value() == Some(true)
    }));
    go_on.send(()).unwrap();
    assert!(
        !leader.join().unwrap(),
        "the parent's flight is not disturbed"
    );
    assert_eq!(long::get_cached_value(), Some(false));
}
