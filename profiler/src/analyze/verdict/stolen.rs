//! What a hypervisor may have made slow.

use super::Basis;
use super::crew::odd;
use super::split::{Key, queued};
use crate::analyze::requests::{ServiceRows, Set, ratio};
use crate::model::{CpuUse, Nanos, Part, Profile, State};

/// What the mean of the slowest requests has more of than those around the median, and a hypervisor may have made:
/// all of it, or nothing. One request after the other: where a CPU is taken away for a while, several requests can
/// be late by all of that, which is not excused.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stolen {
    /// Running. A CPU that is taken away is that, for all that a thread can tell: a server that is done after
    /// 300 µs by the clock ran 2.7 ms for one request in 1,000, on a machine that lost half a percent of its CPUs.
    pub ran: Nanos,
    /// Waiting for a thread that had time. One that is woken on an idle CPU stays asleep until the hypervisor lets
    /// that CPU run: on such a machine, 0.9 ms of a mean request among the slowest.
    pub queued: Nanos,
    /// The part of both of what they are slower by, 0 to 1.
    pub share: f64,
}

impl Stolen {
    pub fn of(profile: &Profile, row: &ServiceRows<'_>, basis: Basis) -> Self {
        let sets = &row.sets;
        if basis == Basis::Whole {
            return Self::default();
        }
        let stolen = from_target(profile);
        let may_be_stolen = |time: Nanos| (time.0 as f64) * (sets.tail.count as f64) < stolen;
        let more = |part: Part| sets.tail.part(part).since(sets.median.part(part));
        let ran = more(Part::In(State::Running));
        if !may_be_stolen(ran) {
            return Self::default();
        }
        let is_unserved = queued(row, odd(row).is_some(), &sets.tail) == Key::Unserved;
        let late = more(Part::Queued);
        let queued = if is_unserved && may_be_stolen(ran + late) { late } else { Nanos(0) };
        let excess = Nanos(u64::try_from(sets.excess().0).unwrap_or(0));
        Self { ran, queued, share: (ran + queued).share_of(excess).min(1.0) }
    }

    /// What the mean of all requests waited longer for that.
    pub fn queued_of_all(self, tail: &Set, all: &Set) -> Nanos {
        Nanos((self.queued.0 as f64 * ratio(tail.count, all.count)) as u64)
    }
}

/// What the target lost of its CPUs, if as much as its part of what ran on them, in nanoseconds.
fn from_target(profile: &Profile) -> f64 {
    let of_cpus = |time: fn(&CpuUse) -> Nanos| profile.cpu.per_cpu.iter().map(time).sum::<Nanos>();
    let own: Nanos = profile.threads.iter().map(|thread| thread.times.of(State::Running)).sum();
    let own_share = own.share_of(of_cpus(|cpu| cpu.busy_ns)).min(1.0);
    of_cpus(|cpu| cpu.steal_ns).0 as f64 * own_share
}
