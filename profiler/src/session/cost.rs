//! What dwell itself costs.

use crate::model::Nanos;

/// CPU time of this process so far, in user space and in the kernel on its behalf.
pub fn own_cpu_time() -> Nanos {
    // SAFETY: all-zero bytes are a valid rusage.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: a valid pointer; the call cannot fail for RUSAGE_SELF.
    unsafe { libc::getrusage(libc::RUSAGE_SELF, &raw mut usage) };
    let ns = |time: libc::timeval| time.tv_sec as u64 * 1_000_000_000 + time.tv_usec as u64 * 1_000;
    Nanos(ns(usage.ru_utime) + ns(usage.ru_stime))
}

/// Gives memory that is free back to the kernel. Attaching takes tens of megabytes, for the
/// kernel's types for one, that the C library would otherwise keep for as long as dwell follows.
pub fn give_back_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim may be called at any time; it touches only memory that nobody uses.
    unsafe {
        libc::malloc_trim(0);
    }
}
