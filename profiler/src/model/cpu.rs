//! What CPU time the host lets the target have: limits, places, and how busy the CPUs are.

use serde::Serialize;

use super::Nanos;

/// The supply of CPU time over the window.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct CpuSupply {
    /// Each cgroup with a limit that a process of the target was in when the window began, itself
    /// or by an ancestor.
    pub quotas: Vec<CpuQuota>,
    /// Threads of the target that may not run on every CPU, by the CPUs that they may run on.
    pub affinity: Vec<AffinityGroup>,
    /// Threads whose CPUs are not known, or found no place in `affinity`.
    pub affinity_unlisted: u64,
    /// Each CPU that was online throughout.
    pub per_cpu: Vec<CpuUse>,
    /// Time in which at least one thread of the whole host waited for a CPU, from
    /// /proc/pressure/cpu; none where the kernel does not count it.
    pub pressure_some_ns: Option<Nanos>,
    /// What could not be read, and why.
    pub unavailable: Vec<String>,
}

/// A cgroup with a limit of CPU time, and what the limit did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CpuQuota {
    /// Its path, as in /proc/PID/cgroup.
    pub cgroup: String,
    /// CPU time that all its threads together may use in each period.
    pub quota_ns: Nanos,
    /// Length of a period.
    pub period_ns: Nanos,
    /// Periods that ended in the window; none passes while no thread of the cgroup is ready.
    pub periods: u64,
    /// Of these, periods in which the quota was used up and threads had to wait.
    pub throttled_periods: u64,
    /// How long its threads were held back, added up over the CPUs. The kernel adds it when they
    /// may go on.
    pub throttled_ns: Nanos,
    /// CPU time that its threads used; none with cgroup v1, unless its controller cpuacct is
    /// mounted together with cpu.
    pub used_ns: Option<Nanos>,
}

impl CpuQuota {
    /// The limit as a number of CPUs.
    pub fn cpus(&self) -> f64 {
        self.quota_ns.share_of(self.period_ns)
    }
}

/// Threads that may run on the same CPUs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AffinityGroup {
    /// Numbers of these CPUs.
    pub cpus: Vec<u32>,
    /// How many threads.
    pub threads: u64,
    /// Their names, each run of digits as `*`.
    pub thread_groups: Vec<String>,
}

/// What a CPU did. The kernel counts in steps of up to 10 ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct CpuUse {
    /// Number of the CPU.
    pub cpu: u32,
    /// Running threads of any process, or serving interrupts.
    pub busy_ns: Nanos,
    /// Idle, while a thread that last ran there waited for block I/O.
    pub iowait_ns: Nanos,
    /// Ready to run something, but the hypervisor ran something else.
    pub steal_ns: Nanos,
    /// Idle otherwise.
    pub idle_ns: Nanos,
}

impl CpuUse {
    /// All of its time.
    pub fn total(&self) -> Nanos {
        self.busy_ns + self.iowait_ns + self.steal_ns + self.idle_ns
    }
}
