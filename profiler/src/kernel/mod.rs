//! The running kernel: loading the probes, steering them, and reading their tables.
//!
//! The only user of aya. What comes out is plain data of `profiler_common`.

mod batch;
mod error;
mod layout;
#[cfg(feature = "probe-log")]
mod log;
mod privileges;
mod probes;
mod symbols;
mod tables;
mod warm;

pub use error::KernelError;
pub use layout::{kernel_layout, missing_features};
pub use privileges::{Capability, missing_capabilities};
pub use probes::{Limits, Probes, Setup};
pub use symbols::sched_text;
pub use tables::Tables;

/// Current CLOCK_MONOTONIC time in nanoseconds, the clock of all of the probes' times.
pub fn monotonic_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a valid pointer; the call cannot fail for this clock.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
