//! Distributions of durations.

use hdrhistogram::Histogram;
use profiler_common::histogram::{BUCKETS, bounds_of, bucket_of};

use super::Nanos;

/// A distribution of wait times, in the kernel's log-linear buckets.
///
/// Only buckets that hold something are kept: most rows have one or a few, and a host with 10,000
/// threads has as many rows.
#[derive(Clone, Debug, Default)]
pub struct Latency {
    /// In the order of the buckets.
    filled: Vec<Bucket>,
    max: Nanos,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    index: u32,
    count: u64,
    /// Of all durations in it, in nanoseconds.
    total: u64,
}

impl Latency {
    /// Adds the counts of the kernel's buckets, each at the middle of its bucket.
    pub fn add_buckets(&mut self, buckets: &[u32; BUCKETS], max: Nanos) {
        for (index, &count) in (0..).zip(buckets).filter(|(_, count)| **count > 0) {
            let count = u64::from(count);
            self.record(Bucket { index, count, total: at_middle(index, count) });
        }
        self.max = self.max.max(max);
    }

    /// Adds one duration.
    pub fn add(&mut self, duration: Nanos) {
        self.record(Bucket { index: bucket_of(duration.0), count: 1, total: duration.0 });
        self.max = self.max.max(duration);
    }

    fn record(&mut self, more: Bucket) {
        match self.filled.binary_search_by_key(&more.index, |bucket| bucket.index) {
            Ok(place) => {
                let bucket = &mut self.filled[place];
                bucket.count += more.count;
                bucket.total = bucket.total.saturating_add(more.total);
            }
            Err(place) => self.filled.insert(place, more),
        }
    }

    /// Adds all of another distribution.
    pub fn merge(&mut self, other: &Latency) {
        for bucket in &other.filled {
            self.record(*bucket);
        }
        self.max = self.max.max(other.max);
    }

    /// The same with no duration longer than `most`.
    pub fn at_most(&self, most: Nanos) -> Latency {
        let mut cut = Latency { max: self.max.min(most), ..Latency::default() };
        for &Bucket { index, count, total } in &self.filled {
            let is_longer = total / count > most.0;
            let index = if is_longer { bucket_of(most.0) } else { index };
            let total = if is_longer { most.0.saturating_mul(count) } else { total };
            cut.record(Bucket { index, count, total });
        }
        cut
    }

    /// The duration that this share (0 to 1) of the waits does not exceed; at most 6.4 % off
    /// (a bucket and three digits; 33 ns below 512 ns), and never above the maximum, which is exact.
    pub fn quantile(&self, share: f64) -> Nanos {
        Nanos(self.histogram().value_at_quantile(share)).min(self.max)
    }

    /// All of it as a histogram of 20 kB, made when a quantile is wanted.
    fn histogram(&self) -> Histogram<u64> {
        // Three significant digits add next to nothing to the width of a bucket.
        let mut histogram =
            Histogram::new(3).unwrap_or_else(|_| unreachable!("3 digits are allowed"));
        for bucket in &self.filled {
            // The histogram resizes itself; it has no bound that a duration could exceed.
            let _recorded = histogram.record_n(bucket.total / bucket.count, bucket.count);
        }
        histogram
    }

    /// The longest, exactly.
    pub fn max(&self) -> Nanos {
        self.max
    }

    /// How many.
    pub fn count(&self) -> u64 {
        self.filled.iter().map(|bucket| bucket.count).sum()
    }

    /// Each bucket that holds something: its number, how many durations, and how much more these are
    /// together (modulo 2^64) than if each lay in its middle.
    pub fn buckets(&self) -> impl Iterator<Item = (u32, u64, u64)> {
        self.filled.iter().map(|bucket| {
            let more = bucket.total.wrapping_sub(at_middle(bucket.index, bucket.count));
            (bucket.index, bucket.count, more)
        })
    }

    /// From what [`Self::buckets`] gives, in their order. The longest is at most `max`.
    pub fn from_buckets(buckets: impl Iterator<Item = (u32, u64, u64)>, max: Nanos) -> Self {
        let buckets = buckets.filter(|(index, count, _)| *count > 0 && *index < BUCKETS as u32);
        let mut latency = Self::default();
        for (index, count, more) in buckets {
            let total = at_middle(index, count).wrapping_add(more);
            latency.record(Bucket { index, count, total });
        }
        // The last bucket has no upper bound.
        let last = latency.filled.last().filter(|bucket| bucket.index + 1 < BUCKETS as u32);
        let most = last.map_or(max.0, |bucket| bounds_of(bucket.index).1);
        latency.max = if latency.filled.is_empty() { Nanos(0) } else { max.min(Nanos(most)) };
        latency
    }
}

/// Durations in a bucket, all together, if each lay in its middle.
fn at_middle(index: u32, count: u64) -> u64 {
    let (low, high) = bounds_of(index);
    count.saturating_mul(u64::midpoint(low, high))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_a_sixteenth() {
        for exact in [600u64, 5_000, 1_234_567, 20_000_000, 3_000_000_000] {
            let mut buckets = [0; BUCKETS];
            buckets[bucket_of(exact) as usize] = 100;
            let mut latency = Latency::default();
            latency.add_buckets(&buckets, Nanos(u64::MAX));
            let p50 = latency.quantile(0.5).0 as f64;
            let error = (p50 - exact as f64).abs() / exact as f64;
            // A sixteenth, and the rounding of three digits in the histogram.
            assert!(error <= 0.0625 + 0.001, "{exact}: {p50}, {error}");
        }
    }

    #[test]
    fn quantiles_of_a_merged_distribution_are_those_of_all_of_it() {
        let (mut all, mut slow) = (Latency::default(), Latency::default());
        for _ in 0..98 {
            all.add(Nanos(1_000));
        }
        slow.add(Nanos(9_000_000));
        slow.add(Nanos(5_000));
        all.merge(&slow);
        for (share, exact) in [(0.5, 1_000), (0.98, 1_000), (0.99, 5_000), (1.0, 9_000_000)] {
            let found = all.quantile(share).0;
            assert!(found.abs_diff(exact) <= exact / 1000, "{share}: {found}, not {exact}");
        }
        assert_eq!(all.max(), Nanos(9_000_000));
    }

    #[test]
    fn what_is_longer_is_cut() {
        let mut latency = Latency::default();
        [1_000, 2_000_000, 3_000_000].into_iter().for_each(|ns| latency.add(Nanos(ns)));
        let cut = latency.at_most(Nanos(1_500_000));
        assert_eq!((cut.count(), cut.max()), (3, Nanos(1_500_000)));
        assert!(cut.quantile(0.3).0.abs_diff(1_000) <= 1);
        assert!(cut.quantile(0.6).0.abs_diff(1_500_000) <= 1_500);
    }

    #[test]
    fn no_quantile_exceeds_the_maximum() {
        let mut latency = Latency::default();
        latency.add(Nanos(1_000_003));
        assert_eq!(latency.quantile(0.99), Nanos(1_000_003));
        assert_eq!(Latency::default().quantile(0.5), Nanos(0));
    }
}
