//! Measures the waits of the calling thread.

use std::io;

use dwell_tests::clock::{monotonic_ns, thread_cpu_ns};
use dwell_tests::outcome::Measured;
use dwell_tests::schedstat::OwnSchedstat;

/// Adds up waits: wall time, and the part of it in which the thread was neither on a CPU nor in
/// a run queue by the kernel's own books.
pub struct Meter {
    schedstat: OwnSchedstat,
    waits: Measured,
    /// Start and end of those of [`Meter::measure_if_blocked`].
    intervals: Vec<(u64, u64)>,
}

struct Instant {
    runnable_ns: u64,
    switches: u64,
    cpu_ns: u64,
    wall_ns: u64,
}

impl Meter {
    /// Of the calling thread; it is not to be moved to another.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            schedstat: OwnSchedstat::open()?,
            waits: Measured::default(),
            intervals: Vec::new(),
        })
    }

    /// Does `wait`, and measures it.
    pub fn measure<T>(&mut self, wait: impl FnOnce() -> T) -> T {
        let start = self.instant();
        let result = wait();
        let end = self.instant();
        self.add(&start, &end);
        result
    }

    /// The same, but forgets a wait in which the thread never blocked.
    pub fn measure_if_blocked<T>(&mut self, wait: impl FnOnce() -> T) -> T {
        let start = self.instant();
        let result = wait();
        let end = self.instant();
        if end.switches > start.switches {
            self.add(&start, &end);
            self.intervals.push((start.wall_ns, end.wall_ns));
        }
        result
    }

    fn add(&mut self, start: &Instant, end: &Instant) {
        let wall_ns = end.wall_ns - start.wall_ns;
        let cpu_ns = end.cpu_ns - start.cpu_ns;
        let runnable_ns = end.runnable_ns - start.runnable_ns;
        let blocked_ns = wall_ns.saturating_sub(cpu_ns + runnable_ns);
        let switches = end.switches - start.switches;
        self.waits.add(start.wall_ns, end.wall_ns, blocked_ns, switches);
    }

    /// What was measured.
    pub fn waits(self) -> Measured {
        self.waits
    }

    /// What was measured, and the interval of each wait that [`Self::measure_if_blocked`] kept.
    pub fn into_parts(self) -> (Measured, Vec<(u64, u64)>) {
        (self.waits, self.intervals)
    }

    /// All clocks at one instant: a thread that lost its CPU between them reads them again.
    fn instant(&self) -> Instant {
        loop {
            let runnable_ns = self.schedstat.runnable_ns();
            let switches = voluntary_switches();
            let cpu_ns = thread_cpu_ns();
            let wall_ns = monotonic_ns();
            if self.schedstat.runnable_ns() == runnable_ns {
                return Instant { runnable_ns, switches, cpu_ns, wall_ns };
            }
        }
    }
}

fn voluntary_switches() -> u64 {
    // SAFETY: the structure is plain numbers, for which zero is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: `usage` is a valid place for the answer.
    unsafe { libc::getrusage(libc::RUSAGE_THREAD, &mut usage) };
    usage.ru_nvcsw as u64
}
