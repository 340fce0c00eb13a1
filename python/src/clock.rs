//! The monotonic clock of deadlines, in milliseconds. Coarse on Linux: steps of 1 to 10 ms for a tenth of the price.

/// The longest step of the clock, in milliseconds: that of a kernel with 100 ticks a second, on Linux.
pub const TICK: u64 = if cfg!(target_os = "linux") { 10 } else { 1 };

#[inline(always)]
pub fn now() -> u64 {
    #[cfg(target_os = "linux")]
    {
        let mut t = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: writes to `t` only; this clock exists since Linux 2.6.32.
        unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &mut t) };
        t.tv_sec as u64 * 1000 + t.tv_nsec as u64 / 1_000_000
    }
    #[cfg(not(target_os = "linux"))]
    {
        static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
        START
            .get_or_init(std::time::Instant::now)
            .elapsed()
            .as_millis() as u64
    }
}
