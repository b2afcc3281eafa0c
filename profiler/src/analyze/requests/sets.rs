//! Requests around the median beside the slowest ones.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Range;

use crate::model::{Band, Budget, Called, Nanos, Part, PeerId, PlaceId};

/// Ranks between which requests are around the median, as a share of all.
const AROUND: Range<f64> = 0.45..0.55;

/// A hundredth of all are the slowest.
const SLOWEST: u64 = 100;

/// A difference of two durations, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change(pub i64);

impl Change {
    /// What leads from one to the other.
    pub fn between(from: Nanos, to: Nanos) -> Self {
        let saturated = |time: Nanos| i64::try_from(time.0).unwrap_or(i64::MAX);
        Self(saturated(to).saturating_sub(saturated(from)))
    }

    /// As a share of another; 0 of none.
    pub fn share_of(self, whole: Change) -> f64 {
        if whole.0 == 0 { 0.0 } else { self.0 as f64 / whole.0 as f64 }
    }
}

/// Some requests, chosen by their latency.
#[derive(Clone, Debug, Default)]
pub struct Set {
    /// How many.
    pub count: u64,
    /// None is shorter.
    pub low: Nanos,
    /// All are shorter.
    pub high: Nanos,
    /// Sum of their latencies.
    pub total: Nanos,
    /// Sum of the time in which at least one call to a peer was open.
    pub calls_open: Nanos,
    /// The longest wait of each: how many requests, and time.
    pub longest: BTreeMap<PlaceId, (u64, Nanos)>,
    /// Calls to peers.
    pub calls: BTreeMap<PeerId, Called>,
    /// Sum of what they consist of.
    budget: Budget,
}

impl Set {
    fn of<'a>(bands: impl Iterator<Item = &'a Band>) -> Self {
        let mut set = Set { low: Nanos(u64::MAX), ..Set::default() };
        for band in bands.filter(|band| band.count > 0) {
            set.count += band.count;
            set.low = set.low.min(band.low);
            set.high = set.high.max(band.high);
            set.total += band.total;
            set.calls_open += band.calls_open;
            set.budget.merge(&band.budget);
            for (place, count, time) in &band.longest {
                let known = set.longest.entry(*place).or_default();
                *known = (known.0 + count, known.1 + *time);
            }
            band.calls.iter().for_each(|called| set.add_calls(called));
        }
        set.low = set.low.min(set.high);
        set
    }

    fn add_calls(&mut self, more: &Called) {
        match self.calls.entry(more.peer) {
            Entry::Occupied(mut known) => known.get_mut().merge(more),
            Entry::Vacant(place) => {
                place.insert(*more);
            }
        }
    }

    /// Mean latency.
    pub fn mean(&self) -> Nanos {
        self.share(self.total)
    }

    /// What each of them has of a sum.
    pub fn share(&self, sum: Nanos) -> Nanos {
        Nanos(sum.0 / self.count.max(1))
    }

    /// A part of the mean request.
    pub fn part(&self, part: Part) -> Nanos {
        self.share(self.budget.of(part))
    }

    /// Every part of the mean request. With [`Set::residual`] they sum to [`Set::mean`] exactly: each
    /// is rounded to where the sum of those before it ends.
    pub fn parts(&self) -> Vec<(Part, Nanos)> {
        let mut sum = Nanos(0);
        let part = |(part, time)| {
            let before = self.share(sum);
            sum += time;
            (part, self.share(sum).since(before))
        };
        self.budget.parts().map(part).collect()
    }

    /// What the mean latency has beyond the sum of its parts; negative where these are more.
    pub fn residual(&self) -> Change {
        Change::between(self.share(self.budget.total()), self.mean())
    }
}

/// The requests around the median, the slowest, and all.
#[derive(Clone, Debug, Default)]
pub struct Sets {
    /// Those between p45 and p55, as far as their bands tell; at least the band of the median.
    pub median: Set,
    /// From the band of p99 upwards: at least the slowest hundredth.
    pub tail: Set,
    /// All.
    pub all: Set,
}

impl Sets {
    /// Of these bands, in any order; those of the same bounds stay together.
    pub fn of<'a>(bands: impl Iterator<Item = &'a Band> + Clone) -> Self {
        let mut counts: BTreeMap<(Nanos, Nanos), u64> = BTreeMap::new();
        for band in bands.clone().filter(|band| band.count > 0) {
            *counts.entry((band.low, band.high)).or_default() += band.count;
        }
        let levels: Vec<_> = counts.into_iter().collect();
        let chosen = |range: Range<usize>| {
            let levels = &levels[range];
            let is_in = |band: &&Band| levels.iter().any(|(b, _)| *b == (band.low, band.high));
            Set::of(bands.clone().filter(is_in))
        };
        let numbers: Vec<u64> = levels.iter().map(|(_, count)| *count).collect();
        Self {
            median: chosen(around_median(&numbers)),
            tail: chosen(slowest(&numbers)),
            all: chosen(0..levels.len()),
        }
    }

    /// By how much the slowest are slower than those around the median.
    pub fn excess(&self) -> Change {
        Change::between(self.median.mean(), self.tail.mean())
    }
}

/// Bands with these numbers of requests: which are around the median.
fn around_median(counts: &[u64]) -> Range<usize> {
    let all: u64 = counts.iter().sum();
    let ranks = all as f64 * AROUND.start..all as f64 * AROUND.end;
    let mut range: Option<Range<usize>> = None;
    let mut before = 0;
    for (index, count) in counts.iter().enumerate() {
        let after = before + count;
        let is_middle = before < all.div_ceil(2) && all.div_ceil(2) <= after;
        if is_middle || (before as f64 >= ranks.start && after as f64 <= ranks.end) {
            range = Some(range.map_or(index, |range| range.start)..index + 1);
        }
        before = after;
    }
    range.unwrap_or_default()
}

/// Likewise: which hold the slowest hundredth.
fn slowest(counts: &[u64]) -> Range<usize> {
    let wanted = counts.iter().sum::<u64>().div_ceil(SLOWEST);
    let mut begin = counts.len();
    let mut held = 0;
    while begin > 0 && held < wanted {
        begin -= 1;
        held += counts[begin];
    }
    begin..counts.len()
}
