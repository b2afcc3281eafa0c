//! Entry points. Each hook has a `tp_btf` program and a `raw_tp` twin; both see the same
//! arguments, and call the same body.

pub mod cgroup;
pub mod contention;
pub mod lifetime;
pub mod page_fault;
pub mod request;
pub mod seed;
pub mod socket;
pub mod switch;
pub mod wakeup;

/// Declares the two programs of one hook: `$name` and `$raw`, which call
/// `$body(context, arguments…)`.
macro_rules! hook {
    ($hook:literal, $name:ident, $raw:ident, |$context:ident| $body:expr) => {
        #[aya_ebpf::macros::btf_tracepoint(function = $hook)]
        pub fn $name($context: aya_ebpf::programs::BtfTracePointContext) -> i32 {
            $body;
            0
        }

        #[aya_ebpf::macros::raw_tracepoint(tracepoint = $hook)]
        pub fn $raw($context: aya_ebpf::programs::RawTracePointContext) -> i32 {
            $body;
            0
        }
    };
}
pub(crate) use hook;

/// Current time (CLOCK_MONOTONIC, nanoseconds), and the start of the window; `None` after its end.
#[inline(always)]
pub fn clock() -> Option<(u64, u64)> {
    let control = crate::maps::control()?;
    // SAFETY: no arguments, no preconditions.
    let now = unsafe { aya_ebpf::helpers::generated::bpf_ktime_get_ns() };
    // SAFETY: user space writes these words while the probes run.
    let (start, stop) = unsafe {
        (
            core::ptr::read_volatile(&raw const control.start_ns),
            core::ptr::read_volatile(&raw const control.stop_ns),
        )
    };
    if now < stop { Some((now, start)) } else { None }
}
