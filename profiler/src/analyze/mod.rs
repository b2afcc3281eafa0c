//! What follows from a profile: what is idle, where the working time goes, what stands out.
//!
//! Computes every figure that is not in the profile itself, and never puts one into words.

mod budget;
mod compare;
mod cost;
mod cpu;
mod deadlock;
#[cfg(test)]
pub(crate) mod fixture;
mod frames;
mod functions;
mod graph;
mod groups;
mod headline;
mod heat;
mod idle;
mod locks;
mod requests;
mod spike;
mod timeline;
mod top;
mod verdict;

pub use budget::Budget;
pub use compare::{
    Compared, Comparison, Culprit, Difference, Metric, Outcome, Pair, Series, StackChange, Unfair,
    WaitName, choose_service, compare_all, compare_stacks,
};
pub use cost::{Cost, cost};
pub use cpu::{Shortage, Waiting, shortages, waiting_for_cpu};
pub use deadlock::{Deadlock, deadlocks};
pub use frames::{culprit, meaningful};
pub use functions::is_reading_command;
pub use graph::{End, Graph, Leaf, Source, What, graph};
pub use groups::{ProcessRows, Row, groups, like_named};
pub use headline::{Activity, Headline, Share, activity, headline};
pub use heat::{Column, Heat, ROWS_IN_OCTAVE, Row as HeatRow};
pub use idle::{Idle, idle, is_lock, is_waiting_for_work};
pub use locks::{
    Behind, By, LockRow, Part, Sort, database_lock, is_in_locks, lock_at, locks, taken_in, waits_in,
};
pub use requests::{
    Accepting, Change, Dependency, Doubtful, Fan, GroupRow, Load, Quantiles, ServiceRows, Set,
    Sets, Spread, dependencies, services,
};
pub use spike::{SliceLatency, Spike, Threshold, find_spike, p99};
pub use timeline::{
    Loads, LongestWait, ServiceLoad, ServingThread, TimedPart, TimedRequest, timeline,
};
pub use top::{TopWait, alike, top_waits, top_waits_of};
pub use verdict::{
    Basis, Cause, Confidence, Constraint, Doubt, Finding, Hog, Thin, Verdict, Worker, verdict,
};
