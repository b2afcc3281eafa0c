//! What a hypervisor may have made slow.

use crate::analyze::requests::{ServiceRows, Set};
use crate::model::{CpuUse, Nanos, Part, Profile, State};

/// What the slowest requests have more of that a hypervisor may have made, all of it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stolen {
    /// Running. A CPU that is taken away is that, for all that a thread can tell: a server that is done after
    /// 300 µs by the clock ran 2.7 ms for one request in 1,000, on a machine that lost half a percent of its CPUs.
    pub running: bool,
    /// Waiting to be taken up. A thread that is woken on an idle CPU stays asleep until the hypervisor lets that
    /// CPU run: on such a machine, 0.9 ms of a mean request among the slowest, where threads had time.
    pub queued: bool,
    /// Its part of what they are slower by, 0 to 1.
    pub share: f64,
}

impl Stolen {
    pub fn of(profile: &Profile, row: &ServiceRows<'_>) -> Self {
        let stolen = from_target(profile);
        let sets = &row.sets;
        let more = |time: fn(&Set) -> Nanos| time(&sets.tail).since(time(&sets.median)).0 as f64;
        let count = sets.tail.count as f64;
        let (ran, queued) = (more(ran), more(queued));
        let running = ran * count < stolen;
        let queues = running && queued > 0.0 && (ran + queued) * count < stolen;
        let made = if running { ran } else { 0.0 } + if queues { queued } else { 0.0 };
        let excess = sets.excess().0 as f64;
        let share = if excess > 0.0 { (made / excess).min(1.0) } else { 0.0 };
        Self { running, queued: queues, share }
    }
}

/// What the target lost of its CPUs, if as much as its part of what ran on them, in nanoseconds.
fn from_target(profile: &Profile) -> f64 {
    let of_cpus = |time: fn(&CpuUse) -> Nanos| profile.cpu.per_cpu.iter().map(time).sum::<Nanos>();
    let own: Nanos = profile.threads.iter().map(|thread| thread.times.of(State::Running)).sum();
    let own_share = own.share_of(of_cpus(|cpu| cpu.busy_ns)).min(1.0);
    of_cpus(|cpu| cpu.steal_ns).0 as f64 * own_share
}

fn ran(set: &Set) -> Nanos {
    set.part(Part::In(State::Running))
}

fn queued(set: &Set) -> Nanos {
    set.part(Part::Queued)
}
