//! What the host lets the target have of its CPUs, as /proc and the cgroup file system tell it.
//!
//! Needs no probe. Nothing here fails: what cannot be read is left out, and said.

mod affinity;
mod counters;
#[cfg(test)]
mod fuzz;
mod quota;

pub use affinity::{Affinity, Pinned, affinity_of};
pub use counters::{CpuTimes, Snapshot};
pub use quota::{LimitedCgroup, Limits, Throttling, limits_of};
