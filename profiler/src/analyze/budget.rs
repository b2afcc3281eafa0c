//! Time by state, with the waits for work apart.

use std::collections::BTreeMap;

use super::is_waiting_for_work;
use crate::model::{Nanos, Pid, Profile, State, StateTimes};

/// Where the time of some threads went.
///
/// Running, runnable, blocked, idle and unattributed time sum to [`Budget::wall`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Budget {
    times: StateTimes,
    idle: StateTimes,
}

impl Budget {
    /// Of these times, that much was waiting for work; capped, kind by kind, at the time there is.
    pub fn new(times: StateTimes, idle: &StateTimes) -> Self {
        let mut capped = StateTimes::default();
        for (kind, time) in times.waits() {
            capped.add(kind, time.min(idle.of(kind)));
        }
        Self { times, idle: capped }
    }

    /// Adds all of another.
    pub fn merge(&mut self, other: &Budget) {
        self.times.merge(&other.times);
        self.idle.merge(&other.idle);
    }

    /// All time.
    pub fn wall(&self) -> Nanos {
        self.times.total()
    }

    /// On a CPU.
    pub fn running(&self) -> Nanos {
        self.times.of(State::Running)
    }

    /// Waiting for a CPU.
    pub fn runnable(&self) -> Nanos {
        self.times.of(State::Runnable)
    }

    /// Waits of this kind that are not waits for work.
    pub fn blocked_in(&self, kind: State) -> Nanos {
        self.times.of(kind).since(self.idle.of(kind))
    }

    /// Waits of every kind that are not waits for work.
    pub fn blocked(&self) -> Nanos {
        self.times.waits().map(|(kind, _)| self.blocked_in(kind)).sum()
    }

    /// Waiting for work.
    pub fn idle(&self) -> Nanos {
        self.idle.total()
    }

    /// In no state that is known.
    pub fn unattributed(&self) -> Nanos {
        self.times.of(State::Unattributed)
    }

    /// Running, waiting for a CPU, or waiting for something other than work.
    pub fn working(&self) -> Nanos {
        self.running() + self.runnable() + self.blocked()
    }
}

/// The budget of every process.
///
/// Time of waits without a row has no known reason: it counts as work.
pub fn by_process(profile: &Profile) -> BTreeMap<Pid, Budget> {
    let mut times: BTreeMap<Pid, StateTimes> = BTreeMap::new();
    for thread in &profile.threads {
        times.entry(thread.pid).or_default().merge(&thread.times);
    }
    let mut idle: BTreeMap<Pid, StateTimes> = BTreeMap::new();
    for wait in profile.waits.iter().filter(|wait| is_waiting_for_work(wait)) {
        idle.entry(wait.pid).or_default().add(wait.kind, wait.total);
    }
    let none = StateTimes::default();
    times
        .into_iter()
        .map(|(pid, times)| (pid, Budget::new(times, idle.get(&pid).unwrap_or(&none))))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    #[test]
    fn every_nanosecond_is_in_one_class() {
        for profile in [fixture::demo(), fixture::postgres(), fixture::empty()] {
            for budget in by_process(&profile).values() {
                assert_eq!(budget.working() + budget.idle() + budget.unattributed(), budget.wall());
            }
        }
    }

    #[test]
    fn waits_without_a_row_count_as_work() {
        let mut profile = fixture::demo();
        profile.waits.clear();
        for budget in by_process(&profile).values() {
            assert_eq!(budget.idle(), Nanos(0));
        }
    }

    #[test]
    fn idle_time_never_exceeds_the_time_of_the_threads() {
        let mut profile = fixture::demo();
        for wait in &mut profile.waits {
            wait.total = Nanos(u64::MAX);
        }
        for budget in by_process(&profile).values() {
            assert!(budget.idle() <= budget.wall());
        }
    }
}
