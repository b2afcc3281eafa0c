//! Distributions of durations.

use hdrhistogram::Histogram;
use profiler_common::histogram::{BUCKETS, bounds_of};

use super::Nanos;

/// A distribution of wait times, merged from the kernel's log-linear buckets.
#[derive(Clone, Debug)]
pub struct Latency {
    histogram: Histogram<u64>,
    max: Nanos,
}

impl Default for Latency {
    fn default() -> Self {
        // Two significant digits hold the kernel's buckets, which are 6.25 % wide at the least.
        let histogram = Histogram::new(2).unwrap_or_else(|_| unreachable!("2 digits are allowed"));
        Self { histogram, max: Nanos(0) }
    }
}

impl Latency {
    /// Adds the counts of the kernel's buckets, each at the middle of its bucket.
    pub fn add_buckets(&mut self, buckets: &[u32; BUCKETS], max: Nanos) {
        for (bucket, &count) in buckets.iter().enumerate().filter(|(_, count)| **count > 0) {
            let (low, high) = bounds_of(bucket as u32);
            self.record(u64::midpoint(low, high), u64::from(count));
        }
        self.max = self.max.max(max);
    }

    /// Adds one duration.
    pub fn add(&mut self, duration: Nanos) {
        self.record(duration.0, 1);
        self.max = self.max.max(duration);
    }

    fn record(&mut self, ns: u64, count: u64) {
        // The histogram resizes itself; it has no bound that a duration could exceed.
        let _recorded = self.histogram.record_n(ns, count);
    }

    /// Adds all of another distribution.
    pub fn merge(&mut self, other: &Latency) {
        // The histograms resize themselves and have the same precision: adding cannot fail.
        let _added = self.histogram.add(&other.histogram);
        self.max = self.max.max(other.max);
    }

    /// The duration that this share (0 to 1) of the waits does not exceed; at most 6.25 % off
    /// (32 ns below 512 ns), and never above the maximum, which is exact.
    pub fn quantile(&self, share: f64) -> Nanos {
        Nanos(self.histogram.value_at_quantile(share)).min(self.max)
    }

    /// The longest, exactly.
    pub fn max(&self) -> Nanos {
        self.max
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use profiler_common::histogram::bucket_of;

    #[test]
    fn quantiles_are_within_a_sixteenth() {
        for exact in [600u64, 5_000, 1_234_567, 20_000_000, 3_000_000_000] {
            let mut buckets = [0; BUCKETS];
            buckets[bucket_of(exact) as usize] = 100;
            let mut latency = Latency::default();
            latency.add_buckets(&buckets, Nanos(u64::MAX));
            let p50 = latency.quantile(0.5).0 as f64;
            let error = (p50 - exact as f64).abs() / exact as f64;
            // A sixteenth, and the rounding of two digits in the merged histogram.
            assert!(error <= 0.0625 + 0.008, "{exact}: {p50}, {error}");
        }
    }

    #[test]
    fn no_quantile_exceeds_the_maximum() {
        let mut latency = Latency::default();
        latency.add(Nanos(1_000_003));
        assert_eq!(latency.quantile(0.99), Nanos(1_000_003));
        assert_eq!(Latency::default().quantile(0.5), Nanos(0));
    }
}
