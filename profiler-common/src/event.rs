//! What the ring buffer carries: only what has to be an event.

use crate::thread::{Comm, ThreadRecord};
use crate::wait::StackFrames;

/// [`Header::kind`] of [`ThreadExit`].
pub const THREAD_EXIT: u32 = 1;
/// [`Header::kind`] of [`UntrackedExit`].
pub const UNTRACKED_EXIT: u32 = 2;

/// [`Header::kind`] of [`NewStack`].
pub const NEW_STACK: u32 = 3;

/// Head of every record.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Header {
    /// Which record this is.
    pub kind: u32,
    /// Named so that no padding is left undefined.
    pub reserved: u32,
}

/// A followed thread switched out for the last time.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ThreadExit {
    /// [`THREAD_EXIT`].
    pub header: Header,
    /// When (CLOCK_MONOTONIC).
    pub end_ns: u64,
    /// Its final books.
    pub thread: ThreadRecord,
}

/// A thread of a followed process ended for which the thread table had no place.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct UntrackedExit {
    /// [`UNTRACKED_EXIT`].
    pub header: Header,
    /// When it was created (CLOCK_MONOTONIC).
    pub start_ns: u64,
    /// When it exited (CLOCK_MONOTONIC).
    pub end_ns: u64,
    /// Process, in dwell's own PID namespace.
    pub pid: u32,
    /// Thread, likewise.
    pub tid: u32,
    /// Its name.
    pub comm: Comm,
}

/// A user stack was seen for the first time: its files can be looked up while the process lives.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct NewStack {
    /// [`NEW_STACK`].
    pub header: Header,
    /// Key of the stack table.
    pub id: u64,
    /// The process, in dwell's own PID namespace.
    pub pid: u32,
    /// Named so that no padding is left undefined.
    pub reserved: u32,
}

/// [`Header::kind`] of [`PartialStack`].
pub const PARTIAL_STACK: u32 = 4;

/// Most bytes of a stack that [`PartialStack`] carries.
pub const COPY_BYTES: usize = 16 << 10;

/// A walk met an address that has no row yet. User space walks on through the copy, and adds the
/// rows that it needs. `length` bytes of the thread's stack, from `sp` up, follow the record.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct PartialStack {
    /// [`PARTIAL_STACK`].
    pub header: Header,
    /// Under what number the wait is added up.
    pub id: u64,
    /// Stack pointer in the last frame that was reached.
    pub sp: u64,
    /// Frame pointer there.
    pub bp: u64,
    /// Number of the address space.
    pub space: u32,
    /// The thread, in dwell's own PID namespace.
    pub tid: u32,
    /// Process in the initial namespace: the key of the table of followed processes.
    pub tgid: u32,
    /// Bytes that follow.
    pub length: u32,
    /// Whether the last frame is where the thread stands or was interrupted, not a return address.
    pub exact: u32,
    /// Named so that no padding is left undefined.
    pub reserved: u32,
    /// What was walked; the last frame is the one that has no row.
    pub stack: StackFrames,
}

const _: () = assert!(size_of::<PartialStack>() == 56 + size_of::<StackFrames>());
const _: () = assert!(size_of::<NewStack>() == 24);
const _: () = assert!(size_of::<ThreadExit>() == 16 + size_of::<ThreadRecord>());
const _: () = assert!(size_of::<UntrackedExit>() == 48);
