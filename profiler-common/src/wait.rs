//! What is added up for each (thread, kind, object, stack).

use crate::histogram::BUCKETS;
use crate::thread::Waker;

/// Identity of a wait. `object` and `stack` are interned: 64-bit hashes of what the tables
/// `OBJECTS` and `STACKS` hold.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct WaitKey {
    /// User stack (kernel stack for a kernel thread); 0 where none was taken.
    pub stack: u64,
    /// What was waited for; its meaning depends on the kind, see [`crate::object`].
    pub object: u64,
    /// [`crate::thread::ThreadRecord::serial`].
    pub serial: u32,
    /// System call number on x86-64; [`NO_SYSCALL`] outside one.
    pub syscall: u16,
    /// Raw [`crate::state::State`].
    pub kind: u8,
    /// Futex operation or socket direction, see [`crate::object`].
    pub detail: u8,
}

/// In [`WaitKey::syscall`]: the thread was not inside a system call.
pub const NO_SYSCALL: u16 = u16::MAX;

/// Wakers kept by name for each wait; the rest are counted.
pub const WAKERS: usize = 8;

/// Sums over the waits of one key that ended inside the window.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct WaitStats {
    /// Waits.
    pub count: u64,
    /// Their time, in nanoseconds.
    pub total_ns: u64,
    /// The longest, in nanoseconds.
    pub max_ns: u64,
    /// Of `count`, those that began before the window: only the part inside it counts.
    pub clipped: u32,
    /// Waits ended by a waker that found no place in `wakers`.
    pub other_wakers: u32,
    /// Port of the peer where the object leaves it open, first seen.
    pub peer_port: u16,
    /// Non-zero when `peer_port` was not the only one.
    pub peer_ports_mixed: u16,
    /// Named so that no padding is left undefined.
    pub reserved: u32,
    /// Who ended them.
    pub wakers: [Waker; WAKERS],
    /// Durations, see [`crate::histogram`].
    pub histogram: [u32; BUCKETS],
}

const _: () = assert!(size_of::<WaitKey>() == 24);
const _: () = assert!(size_of::<WaitStats>() == 1320);

/// Deepest stack kept (the default of `kernel.perf_event_max_stack`).
pub const STACK_DEPTH: usize = 127;

/// The walk reached the function in which the thread began, or it is a kernel stack.
pub const END_ENTRY: u16 = 0;
/// The walk ended early: nobody knows how to go on from the last frame, or there were more than
/// [`STACK_DEPTH`].
pub const END_TRUNCATED: u16 = 1;

/// A user or kernel stack, innermost first.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct StackFrames {
    /// Frames in use.
    pub depth: u16,
    /// An `END_`.
    pub end: u16,
    /// The process that showed it first, in dwell's own PID namespace; 0 for a kernel stack.
    pub pid: u32,
    /// Return addresses; the first is where the thread stands.
    pub frames: [u64; STACK_DEPTH],
}

const _: () = assert!(size_of::<StackFrames>() == 8 * (STACK_DEPTH + 1));
