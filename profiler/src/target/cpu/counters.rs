//! What the CPUs did: counters of one instant, whose differences tell of a window.

use std::fs;

use super::{LimitedCgroup, Throttling};

/// USER_HZ is 100 on every architecture that matters (include/asm-generic/param.h).
const NS_PER_TICK: u64 = 10_000_000;

/// Counters of one instant.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Every CPU that is online.
    pub cpus: Vec<CpuTimes>,
    /// Time in which some thread of the host waited for a CPU; none where it is not counted.
    pub pressure_ns: Option<u64>,
    /// What the limits of the cgroups have done, in the order of these; none of one that is gone.
    pub quotas: Vec<Option<Throttling>>,
}

/// What a CPU has done since the start of the host, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuTimes {
    /// Its number.
    pub cpu: u32,
    /// Ran threads, or served interrupts.
    pub busy_ns: u64,
    /// Idle while a thread waited for block I/O.
    pub iowait_ns: u64,
    /// The hypervisor ran something else.
    pub steal_ns: u64,
    /// Idle otherwise.
    pub idle_ns: u64,
}

impl Snapshot {
    /// Reads them now.
    pub fn take(cgroups: &[LimitedCgroup]) -> Self {
        let quotas = cgroups.iter().map(LimitedCgroup::throttling).collect();
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let pressure_ns = parse_pressure(&read("/proc/pressure/cpu"));
        Self { cpus: parse_cpus(&read("/proc/stat")), pressure_ns, quotas }
    }

    /// Numbers of the CPUs that are online.
    pub fn online(&self) -> Vec<u32> {
        self.cpus.iter().map(|times| times.cpu).collect()
    }
}

/// The lines of /proc/stat that are about one CPU each.
pub(super) fn parse_cpus(stat: &str) -> Vec<CpuTimes> {
    stat.lines().filter_map(parse_cpu).collect()
}

/// `cpu0 user nice system idle iowait irq softirq steal guest guest_nice`; the time of guests is
/// part of `user` and `nice`.
fn parse_cpu(line: &str) -> Option<CpuTimes> {
    // The first line, about all CPUs, has no number.
    let (cpu, times) = line.strip_prefix("cpu")?.split_once(' ')?;
    let cpu = cpu.parse().ok()?;
    let mut fields = times.split_ascii_whitespace();
    let mut ns = [0_u64; 8];
    for place in &mut ns {
        let ticks: u64 = fields.next()?.parse().ok()?;
        *place = ticks.saturating_mul(NS_PER_TICK);
    }
    let [user, nice, system, idle_ns, iowait_ns, irq, softirq, steal_ns] = ns;
    let busy_ns = [user, nice, system, irq, softirq].into_iter().fold(0, u64::saturating_add);
    Some(CpuTimes { cpu, busy_ns, iowait_ns, steal_ns, idle_ns })
}

/// The microseconds at the end of `some avg10=0.60 avg60=0.15 avg300=1.81 total=3714350027`.
pub(super) fn parse_pressure(text: &str) -> Option<u64> {
    let some = text.lines().find_map(|line| line.strip_prefix("some "))?;
    let total = some.split(' ').find_map(|field| field.strip_prefix("total="))?;
    total.trim().parse::<u64>().ok().map(|us| us.saturating_mul(1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cpu_has_a_line() {
        let stat = "cpu  13 2 3 4 5 6 7 8 9 10\n\
                    cpu0 10 2 3 4 5 6 7 8 9 10\n\
                    cpu11 3 0 0 0 0 0 0 0\n\
                    intr 5 0 1\nctxt 4\n";
        let ticks = |number: u64| number * NS_PER_TICK;
        let expected = [
            CpuTimes {
                cpu: 0,
                busy_ns: ticks(28),
                iowait_ns: ticks(5),
                steal_ns: ticks(8),
                idle_ns: ticks(4),
            },
            CpuTimes { cpu: 11, busy_ns: ticks(3), ..CpuTimes::default() },
        ];
        assert_eq!(parse_cpus(stat), expected);
    }

    #[test]
    fn pressure_is_the_total_of_some() {
        let text = "some avg10=0.60 avg60=0.15 avg300=1.81 total=37\n\
                    full avg10=0.00 avg60=0.00 avg300=0.00 total=5\n";
        assert_eq!(parse_pressure(text), Some(37_000));
        assert_eq!(parse_pressure("full total=5\n"), None);
        assert_eq!(parse_pressure(""), None);
    }

    #[test]
    fn this_host_has_cpus() {
        let snapshot = Snapshot::take(&[]);
        assert!(snapshot.online().len() >= std::thread::available_parallelism().unwrap().get());
        assert!(snapshot.cpus.iter().any(|times| times.busy_ns > 0));
    }
}
