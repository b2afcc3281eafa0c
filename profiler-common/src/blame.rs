//! Why waits took so long: who ended them, and what that thread was doing meanwhile.
//!
//! Each thread keeps its last long waits ([`Past`]). When one thread ends the wait of another, the
//! probe looks back over the same span of time in the past of the one that ends it, and adds each
//! part up under a [`Reason`]. A part that was a wait itself names the reason of that wait, so
//! reasons make chains in which each link lies inside the one before.

use crate::thread::Comm;
use crate::wait::WaitKey;

/// Spans kept of a thread's past.
pub const SPANS: usize = 8;

/// Waits shorter than this are not kept in a thread's past: they count as running.
pub const SHORTEST_SPAN_NS: u64 = 20_000;

/// Like waits that are shorter than this, and follow each other within it, are one span; so are long ones
/// that follow each other at once.
pub const LONG_SPAN_NS: u64 = 1_000_000;

/// A thread looks for a reason when it has waited for so long since it last did. So every wait of
/// this length is explained, and of shorter ones as many as their time is worth.
pub const EXPLAIN_EVERY_NS: u64 = 100_000;

/// Some time of a thread in which it did not run.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Span {
    /// Beginning (CLOCK_MONOTONIC).
    pub start_ns: u64,
    /// End; 0: nothing is kept here.
    pub end_ns: u64,
    /// Time inside that it waited; less than from beginning to end where like waits are one span.
    pub waited_ns: u64,
    /// The wait; its serial is not used.
    pub key: WaitKey,
    /// Why it took so long, see [`Reason`]; 0 where nobody looked or no thread ended it.
    pub reason: u64,
    /// When what the reason tells of was over.
    pub reason_end_ns: u64,
}

/// A wait that was cut short.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct CutWait {
    /// The wait.
    pub key: WaitKey,
    /// When it began first (CLOCK_MONOTONIC).
    pub since_ns: u64,
    /// When it was cut short last; 0 for none.
    pub end_ns: u64,
    /// Time in its pieces.
    pub ns: u64,
}

/// A thread that comes back to the same wait within this time has never left it, as far as those go
/// who keep it waiting.
pub const RESUMED_WITHIN_NS: u64 = 1_000_000;

/// A thread that blocks within this time after it was woken has been woken for this wait: it had only
/// not left its CPU yet.
pub const WOKEN_EARLY_NS: u64 = 50_000;

/// What a thread did lately.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Past {
    /// In the order of their ends, `next` being the oldest.
    pub spans: [Span; SPANS],
    /// The span that is given up next.
    pub next: u32,
    /// What sort of lock of the kernel it waits for, see [`crate::lock::KernelLockKey::flags`].
    pub kernel_lock_flags: u32,
    /// Why the wait that ended last took so long.
    pub reason: u64,
    /// When what that tells of was over.
    pub reason_end_ns: u64,
    /// Time in waits that a thread ended, since one was looked at.
    pub unexplained_ns: u64,
    /// A wait that no thread ended: a timer or a signal did, after which a thread often goes back to
    /// the same wait.
    pub cut: CutWait,
    /// When it was last woken while it was still on its CPU; its waker is noted.
    pub woken_early_ns: u64,
    /// The futex that it waited for last.
    pub futex: u64,
    /// When that wait ended: if it is a lock, the thread has held it from then on.
    pub futex_since_ns: u64,
    /// The lock of the kernel that it waits for; 0 for none.
    pub kernel_lock: u64,
    /// Since when.
    pub kernel_lock_since_ns: u64,
    /// Why the last wait took so long that a thread ended which is not followed; 0 for none.
    pub stranger_reason: u64,
    /// That thread, in dwell's own PID namespace.
    pub stranger_tid: u32,
    /// Named so that no padding is left undefined.
    pub reserved: u32,
}

/// [`Reason::kind`]: the thread that ended the wait is not followed.
pub const DOING_NOT_FOLLOWED: u8 = 254;
/// [`Reason::kind`]: so far back its past is not kept.
pub const DOING_FORGOTTEN: u8 = 253;

/// [`Reason::kind`]: it waited for the same lock, and nobody looked who held that then.
pub const DOING_QUEUED: u8 = 252;

/// Who ended a wait, from where, and what that thread was doing while the other waited.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Reason {
    /// User stack from which it ended the wait; 0 where none was taken.
    pub release: u64,
    /// What it waited for itself; see [`crate::object`].
    pub object: u64,
    /// Its user stack while it waited.
    pub stack: u64,
    /// Why that wait took so long; 0 where that is not known.
    pub next: u64,
    /// Its process, in dwell's own PID namespace.
    pub pid: u32,
    /// Links of the chain from here on.
    pub depth: u32,
    /// Its name, with each digit as `0`: like-named threads share their reasons.
    pub comm: Comm,
    /// System call of its own wait.
    pub syscall: u16,
    /// What it was doing: a raw [`crate::state::State`], or a `DOING_`.
    pub kind: u8,
    /// Futex operation or socket direction of its own wait.
    pub detail: u8,
    /// Named so that no padding is left undefined.
    pub reserved: u32,
}

/// Links that a chain of reasons can have.
pub const LONGEST_CHAIN: u32 = 8;

/// A wait and one of its reasons.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct BlameKey {
    /// The wait.
    pub wait: WaitKey,
    /// Key of the table of reasons.
    pub reason: u64,
}

/// How much of a wait goes to a reason.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Blame {
    /// Time, in nanoseconds; with that of shorter waits for which this one stands.
    pub ns: u64,
    /// Waits that were looked at.
    pub count: u64,
}

const _: () = assert!(size_of::<Span>() == 64);
const _: () = assert!(size_of::<Past>() == SPANS * 64 + 64 + 72);
const _: () = assert!(size_of::<Reason>() == 64);
const _: () = assert!(size_of::<BlameKey>() == 32);
