//! The few words by which user space steers the probes, and the counters by which the probes
//! say what they had to refuse.

use crate::state::State;

/// Written by user space, read by every probe.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Control {
    /// Start of the window (CLOCK_MONOTONIC); `u64::MAX` until it is set. Nothing before counts.
    pub start_ns: u64,
    /// End of the window (CLOCK_MONOTONIC); `u64::MAX` until it is set. Nothing after counts.
    pub stop_ns: u64,
    /// What the task iterator does: a `SEED_` constant.
    pub seed_pass: u32,
    /// Named so that no padding is left undefined.
    pub reserved: u32,
}

/// [`Control::seed_pass`]: start to follow every thread of the target.
pub const SEED_ADOPT: u32 = 0;
/// [`Control::seed_pass`]: describe what threads without an event since then are doing.
pub const SEED_SETTLE: u32 = 1;

/// Fixed when the probes are loaded.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Policy {
    /// Follow every thread of the host.
    pub whole_host: u32,
    /// Follow processes that followed ones create.
    pub follow_children: u32,
    /// Follow processes that take this name on exec (`--comm`); all zero for none.
    pub comm: [u8; 16],
    /// Id of the cgroup (v2) whose processes are followed; 0 for none.
    pub cgroup_id: u64,
    /// Depth of that cgroup, to find it among a process's ancestors.
    pub cgroup_level: u32,
    /// Take user stacks.
    pub user_stacks: u32,
    /// The probes sit on typed tracepoints (`tp_btf`): the structures behind the arguments can be
    /// read without a helper's call.
    pub typed: u32,
    /// Follow requests on the target's sockets.
    pub requests: u32,
    /// Look into the first bytes of a request for what it asks for.
    pub labels: u32,
    /// Named so that no padding is left undefined.
    pub reserved: u32,
    /// First address of the kernel's scheduler text (`__sched_text_start`).
    pub sched_text_start: u64,
    /// End of it (`__sched_text_end`).
    pub sched_text_end: u64,
    /// Address of `do_no_restart_syscall`, which only a wait for a futex that goes on after a signal or a stop leaves in
    /// `restart_block` (`futex_wait_restart`).
    pub restart_futex: u64,
    /// What poll(2) leaves there (`do_restart_poll`).
    pub restart_poll: u64,
}

/// What the probes had to refuse, per CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loss {
    /// Threads for which the thread table had no place.
    pub threads: u64,
    /// Processes for which the process table had no place.
    pub processes: u64,
    /// Waits whose key found no place in the wait table, by kind: their time is part of the
    /// thread's books, and of no row.
    pub waits: [u64; State::COUNT],
    /// Futexes that found no place in the table of those.
    pub queues: u64,
    /// Reasons, and waits with their reasons, that found no place.
    pub reasons: u64,
    /// Locks of the kernel that found no place.
    pub kernel_locks: u64,
    /// Stacks that found no place in the stack table.
    pub stacks: u64,
    /// Stacks that could not be walked.
    pub stack_failures: u64,
    /// Objects that found no place in the object table.
    pub objects: u64,
    /// Connections that found no place in the table of those: their requests are not seen.
    pub conns: u64,
    /// Finished requests that found no place in the ring buffer.
    pub turns: u64,
    /// Labels that found no place: their requests go by the address alone.
    pub labels: u64,
    /// Records that found no place in the ring buffer.
    pub events: u64,
    /// Kernel memory that could not be read.
    pub reads: u64,
    /// Stacks that were walked in the kernel, the others were known.
    pub walks: u64,
    /// Stacks that should have gone to user space to be walked on, and found no place in the
    /// ring buffer: they are truncated.
    pub copies: u64,
    /// Known stacks that were walked all the same, to see whether they were right.
    pub rechecks: u64,
    /// Time of the waits behind `rechecks`, in nanoseconds.
    pub recheck_ns: u64,
    /// Of `recheck_ns`, the waits whose known stack was the wrong one.
    pub recheck_wrong_ns: u64,
    /// Threads found in a state that the last event does not lead to.
    pub anomalies: u64,
}

const _: () = assert!(size_of::<Control>() == 24);
const _: () = assert!(size_of::<Policy>() == 88);
