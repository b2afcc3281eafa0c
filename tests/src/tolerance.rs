//! When two figures for the same thing agree.

use std::ops::RangeInclusive;

use anyhow::{Result, ensure};

/// How far apart two figures may be: a share of the expected one, or an absolute amount,
/// whichever is more; or both together.
#[derive(Clone, Copy, Debug)]
pub struct Tolerance {
    /// Share of the expected figure.
    pub share: f64,
    /// Absolute amount.
    pub floor: u64,
    /// What is allowed beyond these.
    pub beyond: u64,
}

impl Tolerance {
    /// A share and nothing else.
    pub const fn share(share: f64) -> Self {
        Self { share, floor: 0, beyond: 0 }
    }

    /// A share, or an amount where that is more.
    pub const fn share_or(share: f64, floor: u64) -> Self {
        Self { share, floor, beyond: 0 }
    }

    /// A share and an amount.
    pub const fn share_and(share: f64, beyond: u64) -> Self {
        Self { share, floor: 0, beyond }
    }

    /// Whether `actual` is near enough to `expected`.
    pub fn holds(&self, actual: u64, expected: u64) -> bool {
        let allowed = (expected as f64 * self.share).max(self.floor as f64);
        actual.abs_diff(expected) as f64 <= allowed + self.beyond as f64
    }

    /// The same where the truth is known to lie within bounds.
    pub fn holds_within(&self, actual: u64, bounds: RangeInclusive<u64>) -> bool {
        self.holds(actual, actual.clamp(*bounds.start(), *bounds.end()))
    }

    /// [`Self::check`] where the truth is known to lie within bounds.
    pub fn check_within(&self, what: &str, actual: u64, bounds: RangeInclusive<u64>) -> Result<()> {
        self.check(what, actual, actual.clamp(*bounds.start(), *bounds.end()))
    }

    /// [`Self::check`] of running time against the scheduler's books. Those leave out what a hypervisor took of a
    /// thread's CPU meanwhile (`CONFIG_PARAVIRT_TIME_ACCOUNTING`); for dwell, as for the thread, that is running.
    pub fn check_running(&self, actual: u64, booked: u64, stolen: u64) -> Result<()> {
        self.check_within("running", actual, booked..=booked + stolen)
    }

    /// Fails with both figures, and how far apart they are, unless they agree.
    pub fn check(&self, what: &str, actual: u64, expected: u64) -> Result<()> {
        let difference = actual as f64 - expected as f64;
        let percent = 100.0 * difference / (expected as f64).max(1.0);
        ensure!(
            self.holds(actual, expected),
            "{what}: dwell says {actual}, the truth is {expected} ({percent:+.3} %; allowed: {:.1} % or {}, and {})",
            100.0 * self.share,
            self.floor,
            self.beyond,
        );
        Ok(())
    }
}

/// Planned waits: 2 %.
pub const TRUTH: Tolerance = Tolerance::share(0.02);
/// How often something was waited for: 2 %, or two.
pub const COUNT: Tolerance = Tolerance::share_or(0.02, 2);
/// Queues, holds and counts of locks: 5 %.
pub const LOCKS: Tolerance = Tolerance::share(0.05);
/// Another program's own samples of its waits: 10 %.
pub const ORACLE: Tolerance = Tolerance::share(0.1);
/// A thread's books: 0.1 %, or 100 µs.
pub const BOOKS: Tolerance = Tolerance::share_or(0.001, 100_000);
/// The kernel's own accounting: 1 %, or 5 ms.
pub const SCHEDSTAT: Tolerance = Tolerance::share_or(0.01, 5_000_000);
/// A request's time, by two clocks that are read at different places: 20 µs + 1 %.
pub const LATENCY: Tolerance = Tolerance::share_and(0.01, 20_000);
/// Parts of a request's time, added up: 1 %, or what is lost by rounding.
pub const BUDGET: Tolerance = Tolerance::share_or(0.01, 32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_larger_of_share_and_floor_counts() {
        assert!(BOOKS.holds(1_000_100_000, 1_000_000_000));
        assert!(BOOKS.holds(1_001_000_000, 1_000_000_000));
        assert!(!BOOKS.holds(1_001_000_001, 1_000_000_000));
        assert!(BOOKS.holds(0, 100_000) && !BOOKS.holds(0, 100_001));
    }

    #[test]
    fn a_share_and_an_amount_are_both_allowed() {
        assert!(LATENCY.holds(1_030_000, 1_000_000) && !LATENCY.holds(1_030_001, 1_000_000));
    }

    #[test]
    fn between_bounds_all_is_true() {
        let holds = |actual| LATENCY.holds_within(actual, 1_000_000..=2_000_000);
        assert!(holds(1_500_000) && holds(970_000) && holds(2_040_000));
        assert!(!holds(969_999) && !holds(2_040_001));
    }
}
