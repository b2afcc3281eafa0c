//! Whether threads lack CPU time for another reason than a busy host.

use std::collections::BTreeMap;

use super::budget::{Budget, by_process};

use crate::model::{
    AffinityGroup, CpuQuota, CpuUse, Latency, Nanos, Profile, State, StateTimes, group_name,
};

/// Periods in which a limit held threads back, as a share of all, from which on it is notable.
const THROTTLED: f64 = 0.01;

/// Time of waiting for a CPU, as a share of the time of having or wanting one, from which on it is
/// notable how the CPUs are shared out.
const WAITING: f64 = 0.05;

/// Likewise, as a share of all working time.
const OF_WORK: f64 = 0.02;

/// A CPU busier than this is full. CPUs less busy than `FREE` on average have time left.
const FULL: f64 = 0.9;
const FREE: f64 = 0.6;

/// How much busier the CPUs that threads are bound to have to be than the others.
const CROWDED: f64 = 0.2;

/// Share of CPU time taken by the hypervisor from which on it is notable.
const STOLEN: f64 = 0.05;

/// Why threads lack CPU time.
#[derive(Clone, Debug, PartialEq)]
pub enum Shortage<'a> {
    /// A limit held the threads of a cgroup back.
    Throttled {
        /// The limit.
        quota: &'a CpuQuota,
        /// How busy the CPUs of the host were on average, 0 to 1; none where it is not known.
        busy: Option<f64>,
    },
    /// Threads wait for the CPUs that they are bound to while others have time left.
    Crowded {
        /// These threads.
        group: &'a AffinityGroup,
        /// How busy their CPUs were on average.
        busy: f64,
        /// How busy the other CPUs were on average.
        others: f64,
    },
    /// Threads wait, a CPU is full, and the CPUs have time left on average.
    Unbalanced {
        /// The busiest CPU.
        busiest: CpuUse,
        /// How busy it was.
        busy: f64,
        /// How busy all were on average.
        mean: f64,
    },
    /// The hypervisor took CPU time away from the host.
    Stolen {
        /// As a share of the time of all CPUs.
        share: f64,
    },
}

/// How much threads wait for a CPU, and behind whom.
#[derive(Clone, Debug, PartialEq)]
pub struct Waiting {
    /// In all.
    pub total: Nanos,
    /// As a share of the time of having or wanting one.
    pub share: f64,
    /// Part of it that followed a preemption or a yield, 0 to 1; the rest followed a wakeup.
    pub preempted: f64,
    /// Waits that were long enough to be looked at one by one.
    pub long: u64,
    /// Half of those were no longer than this, of a hundred 99, and none.
    pub quantiles: [Nanos; 3],
    /// Who had the CPU before, as a share of those waits, most often first; no name where nobody had.
    pub behind: Vec<(String, f64)>,
}

/// What is notable, in the order of [`Shortage`].
pub fn shortages(profile: &Profile) -> Vec<Shortage<'_>> {
    let cpu = &profile.cpu;
    let busy = mean(&cpu.per_cpu, |_| true);
    let throttled = cpu.quotas.iter().filter(|quota| is_throttled(quota));
    let mut found: Vec<_> = throttled.map(|quota| Shortage::Throttled { quota, busy }).collect();
    let crowded = cpu.affinity.iter().filter_map(|group| crowded(profile, group));
    found.extend(crowded);
    // Where threads are bound to the full CPU, that is why it is full.
    let explained = found.iter().any(|shortage| matches!(shortage, Shortage::Crowded { .. }));
    found.extend(unbalanced(profile).filter(|_| !explained));
    found.extend(stolen(&cpu.per_cpu));
    found
}

/// How much threads wait for a CPU; none where that is not notable.
pub fn waiting_for_cpu(profile: &Profile) -> Option<Waiting> {
    let mut times = StateTimes::default();
    profile.threads.iter().for_each(|thread| times.merge(&thread.times));
    let total = times.of(State::Runnable);
    let working: Nanos = by_process(profile).values().map(Budget::working).sum();
    if !waits(&times) || total.share_of(working) < OF_WORK {
        return None;
    }
    let preempted: Nanos = profile.threads.iter().map(|thread| thread.preempted).sum();
    let mut latency = Latency::default();
    let mut behind: BTreeMap<String, u64> = BTreeMap::new();
    for wait in &profile.cpu_waits {
        latency.merge(&wait.latency);
        for before in &wait.behind {
            *behind.entry(group_name(&before.comm)).or_default() += before.count;
        }
    }
    let long: u64 = profile.cpu_waits.iter().map(|wait| wait.count).sum();
    let mut behind: Vec<(String, f64)> =
        behind.into_iter().map(|(name, count)| (name, count as f64 / long as f64)).collect();
    behind.sort_by(|a, b| b.1.total_cmp(&a.1));
    Some(Waiting {
        total,
        share: total.share_of(total + times.of(State::Running)),
        preempted: preempted.share_of(total).min(1.0),
        long,
        quantiles: [latency.quantile(0.5), latency.quantile(0.99), latency.max()],
        behind,
    })
}

fn is_throttled(quota: &CpuQuota) -> bool {
    quota.throttled_periods > 0
        && quota.throttled_periods as f64 >= THROTTLED * quota.periods as f64
}

/// How busy these CPUs were on average; none of none.
fn mean(cpus: &[CpuUse], wanted: impl Fn(u32) -> bool) -> Option<f64> {
    let wanted = || cpus.iter().filter(|cpu| wanted(cpu.cpu));
    let all: Nanos = wanted().map(CpuUse::total).sum();
    let busy: Nanos = wanted().map(|cpu| cpu.busy_ns).sum();
    (all > Nanos(0)).then(|| busy.share_of(all))
}

fn crowded<'a>(profile: &Profile, group: &'a AffinityGroup) -> Option<Shortage<'a>> {
    let cpus = &profile.cpu.per_cpu;
    let is_own = |cpu: u32| group.cpus.contains(&cpu);
    let busy = mean(cpus, is_own)?;
    let others = mean(cpus, |cpu| !is_own(cpu))?;
    let notable = busy >= FULL && busy - others >= CROWDED && waits(&times_of(profile, group));
    notable.then_some(Shortage::Crowded { group, busy, others })
}

/// The times of threads with these names.
fn times_of(profile: &Profile, group: &AffinityGroup) -> StateTimes {
    let mut times = StateTimes::default();
    for thread in &profile.threads {
        if group.thread_groups.contains(&group_name(&thread.comm)) {
            times.merge(&thread.times);
        }
    }
    times
}

fn waits(times: &StateTimes) -> bool {
    let (running, waiting) = (times.of(State::Running), times.of(State::Runnable));
    waiting > Nanos(0) && waiting.share_of(running + waiting) >= WAITING
}

fn unbalanced(profile: &Profile) -> Option<Shortage<'static>> {
    let cpus = &profile.cpu.per_cpu;
    let mean = mean(cpus, |_| true)?;
    let busiest = *cpus.iter().max_by(|a, b| share(a).total_cmp(&share(b)))?;
    let busy = share(&busiest);
    let mut times = StateTimes::default();
    profile.threads.iter().for_each(|thread| times.merge(&thread.times));
    let notable = busy >= FULL && mean <= FREE && waits(&times);
    notable.then_some(Shortage::Unbalanced { busiest, busy, mean })
}

fn share(cpu: &CpuUse) -> f64 {
    cpu.busy_ns.share_of(cpu.total())
}

fn stolen(cpus: &[CpuUse]) -> Option<Shortage<'static>> {
    let all: Nanos = cpus.iter().map(CpuUse::total).sum();
    let stolen: Nanos = cpus.iter().map(|cpu| cpu.steal_ns).sum();
    let share = stolen.share_of(all);
    (share >= STOLEN).then_some(Shortage::Stolen { share })
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    /// The demo, whose workers wait a quarter as long for a CPU as they have or want one, with
    /// CPUs that are so busy.
    fn with_cpus(busy: &[u64]) -> Profile {
        let mut profile = fixture::demo();
        profile.cpu.per_cpu = fixture::cpus(busy);
        profile
    }

    #[test]
    fn nothing_is_notable_in_a_quiet_profile() {
        for profile in [fixture::empty(), fixture::demo(), fixture::postgres()] {
            assert_eq!(shortages(&profile), []);
        }
    }

    #[test]
    fn limits_count_from_one_period_in_a_hundred() {
        for (throttled, notable) in [(0, false), (9, false), (10, true), (1000, true)] {
            let mut profile = with_cpus(&[20, 60]);
            profile.cpu.quotas = vec![fixture::quota(1000, throttled)];
            match shortages(&profile).as_slice() {
                [Shortage::Throttled { quota, busy: Some(busy) }] if notable => {
                    assert!((busy - 0.4).abs() < 1e-9);
                    assert!((quota.cpus() - 0.5).abs() < 1e-9);
                }
                found => assert!(!notable && found.is_empty(), "{throttled}: {found:?}"),
            }
        }
        let mut profile = fixture::empty();
        profile.cpu.quotas = vec![fixture::quota(0, 0)];
        assert_eq!(shortages(&profile), []);
    }

    #[test]
    fn bound_threads_that_wait_for_full_cpus() {
        let group = |cpus: &[u32], name| fixture::affinity(cpus, 8, name);
        for (busy, cpus, name, notable) in [
            (&[95, 10][..], &[0][..], "worker-*", true),
            // There is no room elsewhere; their CPU has time left; others are bound to it; they
            // are bound to the wrong CPU, but do not wait.
            (&[95, 80], &[0], "worker-*", false),
            (&[70, 10], &[0], "worker-*", false),
            (&[95, 10], &[1], "worker-*", false),
            (&[95, 75], &[0], "demo-server", false),
            (&[95, 100, 10, 10], &[0, 1], "worker-*", true),
        ] {
            let mut profile = with_cpus(busy);
            profile.cpu.affinity = vec![group(cpus, name)];
            let found = shortages(&profile);
            let crowded = found.iter().any(|found| matches!(found, Shortage::Crowded { .. }));
            assert_eq!(crowded, notable, "{busy:?} {cpus:?} {name}");
            assert!(found.len() <= 1, "{found:?}");
        }
    }

    #[test]
    fn one_full_cpu_matters_only_to_those_who_wait() {
        let mut profile = with_cpus(&[98, 10, 30]);
        let found = shortages(&profile);
        let [Shortage::Unbalanced { busiest, busy, mean }] = found.as_slice() else {
            panic!("{found:?}");
        };
        assert_eq!(busiest.cpu, 0);
        assert!((busy - 0.98).abs() < 1e-9 && (mean - 0.46).abs() < 1e-9);
        // One busy thread fills a CPU, and misses nothing.
        profile.threads.retain(|thread| thread.comm == "demo-server");
        assert_eq!(shortages(&profile), []);
        assert_eq!(shortages(&with_cpus(&[98, 90, 90])), []);
    }

    #[test]
    fn stolen_time_is_named() {
        for (percent, notable) in [(4, false), (5, true)] {
            let mut profile = fixture::empty();
            profile.cpu.per_cpu = fixture::cpus(&[50, 50]);
            for cpu in &mut profile.cpu.per_cpu {
                cpu.steal_ns = Nanos(cpu.total().0 * percent / 100);
                cpu.idle_ns = cpu.idle_ns.since(cpu.steal_ns);
            }
            assert_eq!(shortages(&profile).len(), usize::from(notable));
        }
    }
}
