//! How long requests took.

use serde::{Deserialize, Serialize};

/// Latencies in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Latencies(Vec<u64>);

/// What a client says of its requests: one line of JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Driven {
    /// Those that were answered.
    pub requests: u64,
    /// Those that were not.
    pub errors: u64,
    /// Half of the answers took no longer.
    pub p50_us: f64,
    /// 99 of 100 took no longer.
    pub p99_us: f64,
    /// The longest.
    pub max_us: f64,
    /// From the first request to the last answer.
    pub seconds: f64,
}

/// What a server says of its requests: one line of JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered {
    /// Those that it answered.
    pub requests: u64,
    /// Connections that it accepted.
    pub connections: u32,
    /// Calls to other servers that failed.
    pub failed_calls: u64,
}

impl Latencies {
    /// In nanoseconds, in any order.
    pub fn of(latencies: impl IntoIterator<Item = u64>) -> Self {
        let mut latencies: Vec<u64> = latencies.into_iter().collect();
        latencies.sort_unstable();
        Self(latencies)
    }

    /// The least of them that a share of all does not exceed, in nanoseconds; 0 where there are none.
    pub fn at(&self, share: f64) -> u64 {
        let rank = (self.0.len() as f64 * share).ceil() as usize;
        self.0.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    }

    /// Half of them take no longer, in nanoseconds.
    pub fn p50_ns(&self) -> u64 {
        self.at(0.5)
    }

    /// 99 of 100 take no longer, in nanoseconds.
    pub fn p99_ns(&self) -> u64 {
        self.at(0.99)
    }

    /// The longest, in nanoseconds.
    pub fn max_ns(&self) -> u64 {
        self.at(1.0)
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.0.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_latencies_that_occurred() {
        let latencies = Latencies::of((1..=1000).rev());
        assert_eq!(latencies.p50_ns(), 500);
        assert_eq!(latencies.p99_ns(), 990);
        assert_eq!((latencies.at(0.999), latencies.max_ns()), (999, 1000));
        assert_eq!((latencies.at(0.0), latencies.count()), (1, 1000));
    }

    #[test]
    fn of_few_and_of_none() {
        let one = Latencies::of([7]);
        assert_eq!((one.p50_ns(), one.p99_ns(), one.max_ns()), (7, 7, 7));
        assert_eq!(Latencies::default().p99_ns(), 0);
    }
}
