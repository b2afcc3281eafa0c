//! The whole of what was measured.

use serde::{Deserialize, Serialize};

use super::{
    CpuSupply, CpuWait, Futex, KernelLock, Nanos, Pid, Reason, ReasonId, Requests, State, Stuck,
    Tid, Wait,
};

/// Everything known about one window.
#[derive(Clone, Debug)]
pub struct Profile {
    /// When.
    pub window: Window,
    /// Where.
    pub host: Host,
    /// Whom.
    pub target: Target,
    /// How far to trust it.
    pub trust: Trust,
    /// What CPU time the host let the target have.
    pub cpu: CpuSupply,
    /// Every thread that lived inside the window.
    pub threads: Vec<ThreadBooks>,
    /// Every wait, most time first.
    pub waits: Vec<Wait>,
    /// Why they took so long; a [`ReasonId`] is a place here.
    pub reasons: Vec<Reason>,
    /// The futexes among what was waited for.
    pub futexes: Vec<Futex>,
    /// Waits for locks inside the kernel; part of the waits of kind `kernel` and others.
    pub kernel_locks: Vec<KernelLock>,
    /// Threads that wait for a futex at the end.
    pub stuck: Vec<Stuck>,
    /// Waits for a CPU.
    pub cpu_waits: Vec<CpuWait>,
    /// Requests that were answered.
    pub requests: Requests,
}

impl Profile {
    /// A reason by its number.
    pub fn reason(&self, id: ReasonId) -> Option<&Reason> {
        self.reasons.get(id.0 as usize)
    }
}

/// The time span that everything refers to, by CLOCK_MONOTONIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Beginning.
    pub start: Nanos,
    /// End.
    pub end: Nanos,
}

impl Window {
    /// Its length.
    pub fn duration(self) -> Nanos {
        self.end.since(self.start)
    }
}

/// The machine.
#[derive(Clone, Debug, Serialize)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// Kernel release.
    pub kernel: String,
    /// CPUs that are online.
    pub cpus: usize,
}

/// How a target is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetKind {
    /// Processes by their numbers.
    Pid,
    /// By their name.
    Comm,
    /// By their cgroup.
    Cgroup,
    /// All of the host.
    Host,
    /// A command that was started.
    Command,
}

/// What was asked for.
#[derive(Clone, Debug, Serialize)]
pub struct Target {
    /// How it was named.
    pub kind: TargetKind,
    /// In words.
    pub description: String,
    /// Whether processes that the target created were followed.
    pub children: bool,
}

/// Time by state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateTimes([Nanos; State::COUNT]);

impl Default for StateTimes {
    fn default() -> Self {
        Self([Nanos(0); State::COUNT])
    }
}

impl StateTimes {
    /// From the kernel's counters.
    pub fn from_raw(raw: &[u64; State::COUNT]) -> Self {
        let mut times = Self(raw.map(Nanos));
        // A thread that was never settled has no state that could be named.
        let unsettled = std::mem::take(&mut times.0[State::Unsettled as usize]);
        times.add(State::Unattributed, unsettled);
        times
    }

    /// Time in a state.
    pub fn of(&self, state: State) -> Nanos {
        self.0[state as usize]
    }

    /// Adds time to a state.
    pub fn add(&mut self, state: State, time: Nanos) {
        self.0[state as usize] += time;
    }

    /// Every time, in the order of the states.
    pub fn all_mut(&mut self) -> impl Iterator<Item = &mut Nanos> {
        self.0.iter_mut()
    }

    /// Takes time back from a state, at most what there is.
    pub fn take_back(&mut self, state: State, time: Nanos) {
        let left = self.of(state).since(time);
        self.0[state as usize] = left;
    }

    /// Adds all of another.
    pub fn merge(&mut self, other: &StateTimes) {
        for (mine, more) in self.0.iter_mut().zip(other.0) {
            *mine += more;
        }
    }

    /// Every state but the unattributed rest.
    pub fn attributed(&self) -> Nanos {
        self.total().since(self.of(State::Unattributed))
    }

    /// All time.
    pub fn total(&self) -> Nanos {
        self.0.iter().copied().sum()
    }

    /// Each kind of wait with its time.
    pub fn waits(&self) -> impl Iterator<Item = (State, Nanos)> {
        State::ALL.into_iter().filter(|state| state.is_wait()).map(|state| (state, self.of(state)))
    }
}

/// The books of one thread; or of several that lived and died, where there were too many to keep
/// apart.
#[derive(Clone, Debug)]
pub struct ThreadBooks {
    /// Process.
    pub pid: Pid,
    /// Thread; 0 for a row of several.
    pub tid: Tid,
    /// Name of the thread.
    pub comm: String,
    /// Name of the process.
    pub process: String,
    /// Lifetime inside the window.
    pub wall: Nanos,
    /// Time by state; sums to `wall`.
    pub times: StateTimes,
    /// Of the time waiting for a CPU, what followed a preemption or a yield.
    pub preempted: Nanos,
    /// Switches in which it blocked.
    pub voluntary: u64,
    /// Switches in which it was preempted or yielded.
    pub involuntary: u64,
    /// Threads in this row.
    pub folded: u64,
    /// It ended inside the window.
    pub ended: bool,
    /// A thread of the kernel.
    pub in_kernel: bool,
}

impl ThreadBooks {
    /// By what they are ordered in a profile.
    pub fn order(&self) -> impl Ord + '_ {
        (self.pid, self.tid, if self.tid.0 == 0 { self.comm.as_str() } else { "" })
    }
}

/// How far to trust the figures.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Trust {
    /// Records that found no place in the ring buffer.
    pub lost_events: u64,
    /// Stacks that found no place in their table.
    pub lost_stacks: u64,
    /// Entries that found no place in a table: threads, processes, waits, sockets and files.
    pub lost_keys: u64,
    /// Of these, waits: their time is in one row for each kind.
    pub lost_waits: u64,
    /// Futexes, reasons for waits, and locks of the kernel that found no place: their waits are there,
    /// but not who waited at the same time, or behind whom.
    pub lost_locks: u64,
    /// Of these, threads (their time is unattributed).
    pub lost_threads: u64,
    /// Of these, processes.
    pub lost_processes: u64,
    /// Of these, sockets and files (their waits name no object).
    pub lost_objects: u64,
    /// Waits without a user stack because none could be walked.
    pub failed_stacks: u64,
    /// Wait time of the target's own threads whose user stack reaches the function in which the
    /// thread began.
    pub stacks_complete_ns: Nanos,
    /// Likewise, of stacks whose walk ended early.
    pub stacks_truncated_ns: Nanos,
    /// Likewise, of waits without a user stack.
    pub stacks_missing_ns: Nanos,
    /// Stacks that were walked in the kernel; the others were known from the thread's last ones.
    pub stack_walks: u64,
    /// Stacks that could not be handed to user space to be walked to their end.
    pub refused_walks: u64,
    /// Rows of unwind tables for which the probes' table had no place.
    pub refused_rows: u64,
    /// Known stacks that were walked all the same, as a check.
    pub rechecks: u64,
    /// Wait time behind these.
    pub recheck_ns: Nanos,
    /// Of that, the time whose known stack was another than the walked one.
    pub recheck_wrong_ns: Nanos,
    /// Kernel memory that could not be read.
    pub failed_reads: u64,
    /// Files, memory regions or processes that the symbolizer refused to stay within its bounds:
    /// frames lack names for it.
    pub refused_names: u64,
    /// Context switches that went unseen: a thread left a CPU that it was not seen to get. How
    /// long it had run is then taken from the scheduler's own accounts, or else unattributed.
    pub missed_switches: u64,
    /// Waits cut off by the window's beginning or end.
    pub clipped_waits: u64,
    /// Time that could not be attributed to a state.
    pub unattributed_ns: Nanos,
    /// Attributed time over the sum of all threads' lifetimes.
    pub coverage: f64,
    /// CPU time of the probes inside the kernel; none where the kernel does not count it.
    pub probe_ns: Option<Nanos>,
    /// Times that a probe ran; likewise.
    pub probe_runs: Option<u64>,
    /// CPU time of dwell's own process inside the window: draining, remembering, taking over.
    pub collector_cpu_ns: Nanos,
    /// Memory of the probes' tables in the kernel.
    pub table_bytes: u64,
    /// What this kernel did not allow, by name.
    pub switched_off: Vec<String>,
}

impl Trust {
    /// Attributed time over the sum of all these threads' lifetimes; all of it where none lived.
    pub fn coverage_of(threads: &[ThreadBooks]) -> f64 {
        let wall: Nanos = threads.iter().map(|thread| thread.wall).sum();
        let attributed: Nanos = threads.iter().map(|thread| thread.times.attributed()).sum();
        if wall == Nanos(0) { 1.0 } else { attributed.share_of(wall) }
    }
}
