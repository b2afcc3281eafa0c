//! The probes: they keep, in the kernel, the books of every thread of the target.
//!
//! Entry points are in `probes/`, one file a subsystem; each has a `tp_btf` form and, for kernels
//! that refuse it, a `raw_tp` twin, and both call the same body. `task`, `file` and `socket` are
//! the only readers of kernel structures. The books of a thread have one writer at a time: the switches of its
//! CPU while it has one, and whoever wakes it while it has none. So they need no atomics.
#![no_std]
#![no_main]
// Or LLVM makes a call of `memset` of any two words of zeroes, which for this target writes byte by byte
// (docs/cost.md).
#![no_builtins]
// The target has atomic addition but no compare-and-swap, so core's atomics offer loads and stores
// only there.
#![feature(core_intrinsics)]
#![expect(internal_features, reason = "atomic addition, which core does not offer on this target")]

mod adopt;
mod blame;
mod books;
mod classify;
mod conn;
mod contention;
mod file;
mod globals;
mod http;
mod label;
mod letters;
mod log;
mod maps;
mod memo;
mod peer;
mod probes;
mod queue;
mod ready;
mod registers;
mod restart;
mod serving;
mod socket;
mod stack;
mod task;
mod turn;
mod unwind;
mod waker;

/// The kernel offers several helpers only to programs under a GPL-compatible licence
/// (include/linux/license.h).
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier would refuse a reachable loop: this is never reached.
    loop {}
}
