//! The books of one thread.

use crate::blame::Past;
use crate::state::State;
use crate::turn::{Intermission, Serving};
use crate::unwind::{Position, StackMemo};
use crate::wait::WaitKey;

/// A process or thread name, NUL-padded (`TASK_COMM_LEN`, include/linux/sched.h).
pub type Comm = [u8; 16];

/// A kernel thread, or a kernel worker of a process: it has no user registers worth reading.
pub const FLAG_KERNEL_THREAD: u8 = 1;
/// Past `sched_process_exit`: what it blocks on now is its own dismantling.
pub const FLAG_EXITING: u8 = 2;
/// The seeding pass has described the wait in [`ThreadRecord::seed`].
pub const FLAG_SEED_WAIT: u8 = 4;
/// The seeding pass saw the thread ready and not on a CPU.
pub const FLAG_SEED_RUNNABLE: u8 = 8;
/// The seeding pass saw the thread on a CPU.
pub const FLAG_SEED_RUNNING: u8 = 16;

/// The thread has ended, and the ring buffer had no place for its books.
pub const FLAG_ENDED: u8 = 32;
/// [`ThreadRecord::unposted`]: the last wait is in its sums.
pub const POSTED: u8 = 0;
/// [`ThreadRecord::unposted`]: it has ended and is not in its sums yet, which comes when the thread leaves the CPU
/// that it was woken for.
pub const UNPOSTED: u8 = 1;
/// [`ThreadRecord::unposted`]: likewise, and it began before the window.
pub const UNPOSTED_CLIPPED: u8 = 2;

/// Who ended a wait.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waker {
    /// Thread, in dwell's own PID namespace; 0 where no thread did it.
    pub tid: u32,
    /// Its process, likewise.
    pub pid: u32,
    /// One of the `CAUSE_` constants.
    pub cause: u32,
    /// Occurrences (in [`crate::wait::WaitStats`]).
    pub count: u32,
    /// Its name when it woke the waiter.
    pub comm: Comm,
}

/// No wakeup was seen.
pub const CAUSE_UNKNOWN: u32 = 0;
/// A thread, in a system call of its own or in the kernel.
pub const CAUSE_THREAD: u32 = 1;
/// An interrupt: a timer, a device, or the network stack on its behalf.
pub const CAUSE_INTERRUPT: u32 = 2;
/// A signal (known for futexes only).
pub const CAUSE_SIGNAL: u32 = 3;

/// The file that a thread waited on last, and what came of looking at it. The inode number is
/// unique in the file systems of sockets and pipes, so together with the address of the file it
/// tells a file that was closed and whose memory was used again.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct FileMemo {
    /// Address of the `struct file`.
    pub file: u64,
    /// Its inode number.
    pub ino: u64,
    /// The object it was interned as.
    pub object: u64,
    /// Port of the peer, where the object leaves it open.
    pub peer_port: u16,
    /// What kind of file it is (known to the probes only).
    pub nature: u8,
    /// Named so that no padding is left undefined.
    pub reserved: u8,
    /// Nothing of the file: how often the thread was given a CPU before the last switch of it that was shown, by the
    /// scheduler's count. Here because the kernel gives out the memory of threads in powers of two, and that is used up.
    pub run_count: u32,
}

/// A wait that has not ended.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct OpenWait {
    /// What it will be added up under.
    pub key: WaitKey,
    /// Port of the peer, where the object leaves it open.
    pub peer_port: u16,
    /// Named so that no padding is left undefined.
    pub reserved: u16,
    /// The value that a waiter for a futex expects there.
    pub value: u32,
}

/// The books of one thread, kept by the probes: by its CPU while it has one, by who wakes it while it waits.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ThreadRecord {
    /// Nanoseconds spent in each state inside the window, indexed by [`State`].
    pub totals_ns: [u64; State::COUNT],
    /// When the current state began (CLOCK_MONOTONIC).
    pub since_ns: u64,
    /// When dwell began to follow the thread (CLOCK_MONOTONIC); its birth, for one born later.
    pub born_ns: u64,
    /// The wait it is in, where the state is one.
    pub open: OpenWait,
    /// The wait it was in when dwell came; of no meaning after its first event, see
    /// [`Self::early_waker`].
    pub seed: OpenWait,
    /// The file it waited on last.
    pub memo: FileMemo,
    /// Where it stood at that time: user space walks its stack from there.
    pub seed_position: Position,
    /// Who woke it last.
    pub waker: Waker,
    /// Length of the last wait while it is not in its sums; what else there is to know is in `open` and `waker`.
    pub unposted_ns: u64,
    /// Used by the probes to turn a pointer into a number.
    pub passage: u64,
    /// How long it last waited for a CPU, inside the window, in nanoseconds.
    pub last_ready_ns: u64,
    /// When it got a CPU after a wakeup that nobody showed, until it leaves it; else 0. The wait in
    /// `open` is then not closed yet: `since_ns` is its beginning.
    pub unseen_wakeup_ns: u64,
    /// All of its waits for a CPU by the scheduler's accounts, when it last left one.
    pub run_delay_ns: u64,
    /// Of the time in which it waited for a CPU, what followed a preemption or a yield; the rest
    /// followed a wakeup.
    pub preempted_ns: u64,
    /// Switches in which it blocked.
    pub voluntary: u64,
    /// Switches in which it was preempted or yielded.
    pub involuntary: u64,
    /// Inode and device of the file whose mapping it faulted on last.
    pub fault_ino: u64,
    /// See [`Self::fault_ino`].
    pub fault_dev: u32,
    /// Number of this thread, never used twice while dwell runs; 0 while being set up.
    pub serial: u32,
    /// Process, in dwell's own PID namespace (0: not visible from it).
    pub pid: u32,
    /// Thread, in dwell's own PID namespace (0: not visible from it).
    pub tid: u32,
    /// Process in the initial namespace: the key of the table of followed processes.
    pub tgid: u32,
    /// Number of its address space, see [`crate::unwind::RowKey`].
    pub space: u32,
    /// Raw [`State`].
    pub state: u8,
    /// `FLAG_` bits.
    pub flags: u8,
    /// Whether the stack of the wait in `open` was known and walked all the same: a `RECHECK_`.
    pub recheck: u8,
    /// Non-zero while it counts among those that wait for a futex ([`crate::lock::Queue`]).
    pub queued: u8,
    /// Non-zero when it was preempted, or yielded, and has not got a CPU since.
    pub preempted: u8,
    /// Whether the last wait is in its sums: [`POSTED`], [`UNPOSTED`] or [`UNPOSTED_CLIPPED`].
    pub unposted: u8,
    /// Non-zero: what the scheduler does not count as a wait for this CPU belongs to the wait before, all of it
    /// ([`crate::turn::Serving::moved_ns`]).
    pub settled: u8,
    /// Non-zero: a thread ended the last wait before this thread had left its CPU.
    pub woken_early: u8,
    /// Its name.
    pub comm: Comm,
}

impl ThreadRecord {
    /// Who woke it last before it had left its CPU, in the place of [`Self::seed`]: the kernel gives out the
    /// memory of threads in powers of two, and that is used up.
    pub fn early_waker(&mut self) -> &mut Waker {
        // SAFETY: as long and as aligned (checked below), and any bytes are a value of either.
        unsafe { &mut *(&raw mut self.seed).cast() }
    }
}

/// [`ThreadRecord::recheck`]: it was not.
pub const RECHECK_NONE: u8 = 0;
/// [`ThreadRecord::recheck`]: the walk gave the known stack.
pub const RECHECK_RIGHT: u8 = 1;
/// [`ThreadRecord::recheck`]: the walk gave another one.
pub const RECHECK_WRONG: u8 = 2;

/// All that the probes keep of a thread.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ThreadEntry {
    /// Its books.
    pub record: ThreadRecord,
    /// Its last stacks; of no use to user space, like all that follows.
    pub memo: StackMemo,
    /// Its last waits.
    pub past: Past,
    /// What it did since the last event of its connections.
    pub intermission: Intermission,
    /// What it serves.
    pub serving: Serving,
}

const _: () = assert!(size_of::<ThreadRecord>() == 424);
const _: () = assert!(
    size_of::<ThreadEntry>()
        == size_of::<ThreadRecord>()
            + size_of::<StackMemo>()
            + size_of::<Past>()
            + size_of::<Intermission>()
            + size_of::<Serving>()
);
const _: () = assert!(size_of::<Waker>() == 32);
const _: () = assert!(size_of::<OpenWait>() == 32 && align_of::<OpenWait>() >= align_of::<Waker>());
