//! Time that may be spent at once, and what share of it in the long run.

use std::time::{Duration, Instant};

/// What was spent is owed, and paid back while time goes by; so much may be owed at once.
#[derive(Clone, Debug)]
pub struct Allowance {
    burst: Duration,
    share: u32,
    owed: Duration,
    since: Instant,
}

impl Allowance {
    /// `burst` at once, and one part in `share` of the time that goes by.
    pub fn new(burst: Duration, share: u32) -> Self {
        Self { burst, share, owed: Duration::ZERO, since: Instant::now() }
    }

    /// What may be spent now.
    pub fn left(&self, now: Instant) -> Duration {
        self.burst.saturating_sub(self.owed(now))
    }

    /// Notes what was spent, which may be more than was left.
    pub fn spend(&mut self, now: Instant, time: Duration) {
        self.owed = self.owed(now).saturating_add(time);
        self.since = now;
    }

    fn owed(&self, now: Instant) -> Duration {
        self.owed.saturating_sub(now.saturating_duration_since(self.since) / self.share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BURST: Duration = Duration::from_millis(500);

    #[test]
    fn what_is_owed_is_paid_back_slowly_and_no_more_is_saved_than_a_burst() {
        let mut allowance = Allowance::new(BURST, 50);
        let start = allowance.since;
        assert_eq!(allowance.left(start), BURST);
        allowance.spend(start, BURST / 10);
        assert_eq!(allowance.left(start), BURST / 10 * 9);
        assert_eq!(allowance.left(start + 50 * BURST), BURST);
        allowance.spend(start + 50 * BURST, BURST);
        assert_eq!(allowance.left(start + 50 * BURST), Duration::ZERO);
        assert_eq!(allowance.left(start + 75 * BURST), BURST / 2);
    }

    #[test]
    fn more_than_a_burst_takes_longer_to_pay_back() {
        let mut allowance = Allowance::new(BURST, 20);
        let start = allowance.since;
        allowance.spend(start, 3 * BURST);
        assert_eq!(allowance.left(start + 40 * BURST), Duration::ZERO);
        assert_eq!(allowance.left(start + 41 * BURST), BURST / 20);
    }
}
