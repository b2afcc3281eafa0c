//! What CPU time the host lets the target have over a window.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{AffinityGroup, CpuQuota, CpuSupply, CpuUse, Nanos, group_name};
use crate::symbol::clean;
use crate::target::{
    Affinity, CpuTimes, LimitedCgroup, Limits, Pinned, Snapshot, Throttling, affinity_of, limits_of,
};

/// Sets of CPUs that are told apart, and names told for each: a target can choose new ones for
/// every thread.
const MOST_SETS: usize = 256;
const MOST_NAMES: usize = 32;

/// What is read before, at the beginning of, and at the end of a window.
#[derive(Default)]
pub struct CpuWatch {
    limits: Limits,
    /// Where threads may run, as long as nobody is left at the end to be asked.
    affinity: Affinity,
    has_looked: bool,
    opened: Snapshot,
    closed: Snapshot,
}

impl CpuWatch {
    /// What takes time, before the window begins: whom the limits and the affinities are of.
    pub fn prepare(pids: &[u32]) -> Self {
        let online = Snapshot::take(&[]).online();
        let (limits, affinity) = (limits_of(pids), affinity_of(pids, &online));
        Self { limits, affinity, ..Self::default() }
    }

    /// The window begins.
    pub fn open(&mut self) {
        self.opened = Snapshot::take(&self.limits.cgroups);
    }

    /// Asks again, inside the window, where the threads of these processes may run.
    pub fn look(&mut self, pids: &[u32]) {
        self.has_looked = true;
        let affinity = affinity_of(pids, &self.opened.online());
        // Nobody is left where the window ends with the target.
        if affinity.read > 0 {
            self.affinity = affinity;
        }
    }

    /// Whether that was done.
    pub fn has_looked(&self) -> bool {
        self.has_looked
    }

    /// The window ends, or a part of it.
    pub fn close(&mut self) {
        self.closed = Snapshot::take(&self.limits.cgroups);
    }

    /// What follows up to where it was closed.
    pub fn supply(&self) -> CpuSupply {
        let affinity = &self.affinity;
        let (groups, unlisted) = affinity_groups(affinity);
        let (quotas, gone) = quotas(&self.limits.cgroups, &self.opened, &self.closed);
        let pressure = self.closed.pressure_ns.zip(self.opened.pressure_ns);
        let mut unavailable = self.limits.unavailable.clone();
        if gone > 0 {
            unavailable.push(format!("CPU limits of cgroups removed in the window: {gone}"));
        }
        if pressure.is_none() {
            unavailable.push("CPU pressure: not counted by this kernel".to_owned());
        }
        CpuSupply {
            quotas,
            affinity: groups,
            affinity_unlisted: affinity.unread + unlisted,
            per_cpu: per_cpu(&self.opened.cpus, &self.closed.cpus),
            pressure_some_ns: pressure.map(|(after, before)| difference(after, before)),
            unavailable,
        }
    }
}

fn difference(after: u64, before: u64) -> Nanos {
    Nanos(after.saturating_sub(before))
}

/// What the limits did, and how many cgroups did not last.
fn quotas(
    cgroups: &[LimitedCgroup],
    opened: &Snapshot,
    closed: &Snapshot,
) -> (Vec<CpuQuota>, usize) {
    let counted = cgroups.iter().zip(&opened.quotas).zip(&closed.quotas);
    let quotas: Vec<CpuQuota> = counted
        .filter_map(|((cgroup, before), after)| Some(quota(cgroup, &(*before)?, &(*after)?)))
        .collect();
    let gone = cgroups.len() - quotas.len();
    (quotas, gone)
}

fn quota(cgroup: &LimitedCgroup, before: &Throttling, after: &Throttling) -> CpuQuota {
    let used = after.used_ns.zip(before.used_ns);
    CpuQuota {
        cgroup: clean(cgroup.path.as_bytes()),
        quota_ns: Nanos(cgroup.limit.quota_us.saturating_mul(1000)),
        period_ns: Nanos(cgroup.limit.period_us.saturating_mul(1000)),
        periods: after.periods.saturating_sub(before.periods),
        throttled_periods: after.throttled.saturating_sub(before.throttled),
        throttled_ns: difference(after.throttled_ns, before.throttled_ns),
        used_ns: used.map(|(after, before)| difference(after, before)),
    }
}

/// CPUs that were there at both ends.
fn per_cpu(opened: &[CpuTimes], closed: &[CpuTimes]) -> Vec<CpuUse> {
    let before: BTreeMap<u32, &CpuTimes> = opened.iter().map(|times| (times.cpu, times)).collect();
    closed
        .iter()
        .filter_map(|after| {
            let before = before.get(&after.cpu)?;
            Some(CpuUse {
                cpu: after.cpu,
                busy_ns: difference(after.busy_ns, before.busy_ns),
                iowait_ns: difference(after.iowait_ns, before.iowait_ns),
                steal_ns: difference(after.steal_ns, before.steal_ns),
                idle_ns: difference(after.idle_ns, before.idle_ns),
            })
        })
        .collect()
}

/// Threads by the CPUs they may run on, most threads first; and how many found no place.
fn affinity_groups(affinity: &Affinity) -> (Vec<AffinityGroup>, u64) {
    let mut sets: BTreeMap<&[u32], (u64, BTreeSet<String>)> = BTreeMap::new();
    let mut unlisted = 0;
    for Pinned { comm, cpus } in &affinity.pinned {
        if sets.len() >= MOST_SETS && !sets.contains_key(cpus.as_slice()) {
            unlisted += 1;
            continue;
        }
        let (threads, names) = sets.entry(cpus).or_default();
        *threads += 1;
        if names.len() < MOST_NAMES {
            names.insert(clean(group_name(comm).as_bytes()));
        }
    }
    let group = |(cpus, (threads, names)): (&[u32], (u64, BTreeSet<String>))| AffinityGroup {
        cpus: cpus.to_vec(),
        threads,
        thread_groups: names.into_iter().collect(),
    };
    let mut groups: Vec<AffinityGroup> = sets.into_iter().map(group).collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.threads));
    (groups, unlisted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pinned(comm: impl Into<String>, cpus: &[u32]) -> Pinned {
        Pinned { comm: comm.into(), cpus: cpus.to_vec() }
    }

    #[test]
    fn threads_are_grouped_by_their_cpus() {
        let threads = [("main", &[1][..]), ("worker-1", &[0, 2]), ("worker-2", &[0, 2])];
        let pinned = threads.into_iter().map(|(comm, cpus)| pinned(comm, cpus)).collect();
        let affinity = Affinity { pinned, read: 9, unread: 0 };
        let (groups, unlisted) = affinity_groups(&affinity);
        let name = |group: &AffinityGroup| group.thread_groups.join(" ");
        let shown: Vec<_> = groups.iter().map(|group| (group.threads, name(group))).collect();
        assert_eq!(shown, [(2, "worker-*".to_owned()), (1, "main".to_owned())]);
        assert_eq!((groups[0].cpus.as_slice(), unlisted), (&[0, 2][..], 0));
    }

    #[test]
    fn sets_and_names_are_bounded() {
        let names = (0..1000_u32)
            .map(|number| pinned(format!("{}x", "a".repeat(number as usize % 99)), &[0]));
        let sets = (0..1000).map(|cpu| pinned("y", &[cpu]));
        let affinity = Affinity { pinned: names.chain(sets).collect(), read: 2000, unread: 0 };
        let (groups, unlisted) = affinity_groups(&affinity);
        assert_eq!((groups.len(), unlisted), (MOST_SETS, 1000 - MOST_SETS as u64));
        assert_eq!(groups[0].thread_groups.len(), MOST_NAMES);
        let listed: u64 = groups.iter().map(|group| group.threads).sum();
        assert_eq!(listed + unlisted, 2000);
    }

    #[test]
    fn only_cpus_that_last_count() {
        let at = |cpu, busy_ns| CpuTimes { cpu, busy_ns, ..CpuTimes::default() };
        let uses = per_cpu(&[at(0, 5), at(1, 9)], &[at(1, 30), at(2, 7)]);
        let shown: Vec<_> = uses.iter().map(|cpu| (cpu.cpu, cpu.busy_ns.0)).collect();
        assert_eq!(shown, [(1, 21)]);
    }
}
