//! Locks: who waits for a futex at the same time, and locks of the kernel.

use crate::histogram::BUCKETS;

/// A futex, as the threads that wait for it name it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct QueueKey {
    /// User address.
    pub address: u64,
    /// Whose address it is: the process (initial namespace) of a private futex, the address space
    /// of a shared one.
    pub owner: u32,
    /// Whether it is private to the process.
    pub private: u32,
}

/// The threads that wait for a futex. Written by several CPUs at a time: counters are added to
/// atomically, the others may lose a race, and are off by the length of one then.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Queue {
    /// Threads that wait now.
    pub waiting: u64,
    /// Most that waited at a time.
    pub most: u64,
    /// Since when at least one waits (CLOCK_MONOTONIC).
    pub busy_since_ns: u64,
    /// Time inside the window in which at least one waited, up to the last time that none did.
    pub busy_ns: u64,
    /// When a thread was last woken out of it.
    pub last_release_ns: u64,
    /// Times that it was held whose beginning is known: since its holder was woken, or since the
    /// release before where others were waiting all the time.
    pub holds: u64,
    /// Their time.
    pub hold_ns: u64,
    /// The longest.
    pub hold_max_ns: u64,
    /// Times that it was held from before anybody waited.
    pub partial_holds: u64,
    /// One of the processes that wait, in dwell's own PID namespace.
    pub pid: u32,
    /// The value that the first waiter expected in it.
    pub value: u32,
    /// Non-zero when others expected another value.
    pub values_mixed: u32,
    /// Named so that no padding is left undefined.
    pub reserved: u32,
}

/// A lock inside the kernel that a thread had to wait for.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct KernelLockKey {
    /// Kernel stack.
    pub stack: u64,
    /// [`crate::thread::ThreadRecord::serial`].
    pub serial: u32,
    /// What sort of lock: `LCB_F_` bits (include/trace/events/lock.h).
    pub flags: u32,
}

/// Spins.
pub const LCB_SPIN: u32 = 1;
/// Taken for reading.
pub const LCB_READ: u32 = 2;
/// Taken for writing.
pub const LCB_WRITE: u32 = 4;
/// A real-time mutex.
pub const LCB_RT: u32 = 8;
/// A per-CPU reader-writer semaphore.
pub const LCB_PERCPU: u32 = 16;
/// A mutex.
pub const LCB_MUTEX: u32 = 32;

/// Sums over the waits for such a lock.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct KernelLockStats {
    /// Waits.
    pub count: u64,
    /// Their time, in nanoseconds.
    pub total_ns: u64,
    /// The longest.
    pub max_ns: u64,
    /// Address of the lock that was waited for first.
    pub lock: u64,
    /// Waits for another one than that.
    pub others: u64,
    /// Waits for the `mmap_lock` of the thread's own address space.
    pub mmap_locks: u64,
    /// Durations, see [`crate::histogram`].
    pub histogram: [u32; BUCKETS],
}

/// Where a thread was last looked at while it spun.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct SpinPlace {
    /// Kernel stack.
    pub stack: u64,
    /// Time that it has spun since, in nanoseconds.
    pub since_ns: u64,
}

/// A thread that spins for a lock of the kernel is looked at when it has spun for so long since it last was. To
/// take its stack needs 2 µs, and most spins are not much longer: 1.9 a transaction of `pgbench -N`, of 4 µs on
/// average, for which that was a fifth of the probes' time.
pub const LOOK_EVERY_NS: u64 = 50_000;

const _: () = assert!(size_of::<QueueKey>() == 16);
const _: () = assert!(size_of::<Queue>() == 88);
const _: () = assert!(size_of::<KernelLockKey>() == 16);
const _: () = assert!(size_of::<KernelLockStats>() == 48 + 4 * BUCKETS);
