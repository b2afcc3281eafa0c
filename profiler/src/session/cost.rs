//! What dwell itself costs.

use std::time::{Duration, Instant};

use crate::kernel::{ProbeCost, Probes, Tables};
use crate::model::Nanos;

/// The kernel counts the probes' time in one of so many ticks: counting takes two clock reads for each
/// run of a program, a quarter of all that attaching costs where threads do nothing but switch.
const COUNTED_TICKS: u32 = 10;

/// Measures the CPU time of the probes by a part of the window.
pub struct Meter {
    ticks: u32,
    counting: Option<(Instant, ProbeCost)>,
    counted: Duration,
    cost: ProbeCost,
}

impl Meter {
    /// Begins to count.
    pub fn start(probes: &mut Probes, tables: &Tables) -> Self {
        let mut meter =
            Self { ticks: 0, counting: None, counted: Duration::ZERO, cost: ProbeCost::default() };
        meter.resume(probes, tables);
        meter
    }

    /// A tenth of a second has gone by.
    pub fn tick(&mut self, probes: &mut Probes, tables: &Tables) {
        self.pause(probes, tables);
        self.ticks += 1;
        if self.ticks.is_multiple_of(COUNTED_TICKS) {
            self.resume(probes, tables);
        }
    }

    /// Counts no more.
    pub fn stop(&mut self, probes: &mut Probes, tables: &Tables) {
        self.pause(probes, tables);
    }

    /// The cost of the whole window so far, by what was counted; nothing where the kernel counts nothing.
    pub fn cost(&self, window: Duration) -> Option<ProbeCost> {
        if self.counted.is_zero() {
            return None;
        }
        let scale = (window.as_secs_f64() / self.counted.as_secs_f64()).max(1.0);
        let scaled = |count: u64| (count as f64 * scale) as u64;
        Some(ProbeCost { ns: scaled(self.cost.ns), runs: scaled(self.cost.runs) })
    }

    fn resume(&mut self, probes: &mut Probes, tables: &Tables) {
        if probes.count_cost(true)
            && let Some(cost) = tables.cost()
        {
            self.counting = Some((Instant::now(), cost));
        }
    }

    fn pause(&mut self, probes: &mut Probes, tables: &Tables) {
        // The difference, since somebody else may have the kernel count all the time.
        if let Some((since, before)) = self.counting.take()
            && let Some(cost) = tables.cost()
        {
            self.cost.ns += cost.ns.saturating_sub(before.ns);
            self.cost.runs += cost.runs.saturating_sub(before.runs);
            self.counted += since.elapsed();
        }
        probes.count_cost(false);
    }
}

/// CPU time of this process so far, in user space and in the kernel on its behalf.
pub fn own_cpu_time() -> Nanos {
    // SAFETY: all-zero bytes are a valid rusage.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: a valid pointer; the call cannot fail for RUSAGE_SELF.
    unsafe { libc::getrusage(libc::RUSAGE_SELF, &raw mut usage) };
    let ns = |time: libc::timeval| time.tv_sec as u64 * 1_000_000_000 + time.tv_usec as u64 * 1_000;
    Nanos(ns(usage.ru_utime) + ns(usage.ru_stime))
}

/// Gives memory that is free back to the kernel. Attaching takes tens of megabytes, for the
/// kernel's types for one, that the C library would otherwise keep for as long as dwell follows.
pub fn give_back_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim may be called at any time; it touches only memory that nobody uses.
    unsafe {
        libc::malloc_trim(0);
    }
}
