//! What the ring buffer carries: only what has to be an event.

use crate::thread::{Comm, ThreadRecord};

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

const _: () = assert!(size_of::<NewStack>() == 24);
const _: () = assert!(size_of::<ThreadExit>() == 16 + size_of::<ThreadRecord>());
const _: () = assert!(size_of::<UntrackedExit>() == 48);
