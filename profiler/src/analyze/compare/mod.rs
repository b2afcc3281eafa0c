//! Compares recordings: before and after, or host against host.
//!
//! Figures are those of a request, or of a second of CPU time where no requests are known, so that more
//! load alone is no difference. What changed by less than the noise of its slices and a small share of
//! the whole together counts as unchanged.

mod fair;
mod noise;
mod series;
mod stacks;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

pub use fair::Unfair;
pub use series::{Metric, Series, WaitName, choose_service};
pub use stacks::{StackChange, compare_stacks};

use super::verdict::WAITERS;
use crate::model::{Part, State};
use noise::{Slices, errors_apart, ratio, standard_error};

/// Two runs of the same program differ by this share of the whole beyond what the slices of either tell:
/// in where its memory lies, which CPUs it gets, and who else is on the machine (Kalibera and Jones,
/// ISMM'13). Of 84 pairs of 5 s of the same load, seven recordings at a time, 5 lay further apart than
/// their slices allow, by 7 to 9 % of the whole.
const BETWEEN_RUNS: f64 = 0.1;

/// The same for a part of it. In a run that is slower, all parts are, so each of them by less: none of the parts of
/// 36 such pairs lay further apart, although two pairs did as a whole.
const PART_BETWEEN_RUNS: f64 = 0.05;

/// A figure in two recordings.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// Which.
    pub metric: Metric,
    /// In the first: nanoseconds of a request, or of a CPU second.
    pub before: f64,
    /// In the second.
    pub after: f64,
    /// What two measurements of the same thing may differ by: from slice to slice, and from run to run.
    pub noise: f64,
}

impl Difference {
    /// Whether it is more than noise.
    pub fn is_real(&self) -> bool {
        self.by().abs() > self.noise
    }

    /// The difference.
    pub fn by(&self) -> f64 {
        self.after - self.before
    }
}

/// A figure that has no parts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pair {
    /// In the first.
    pub before: f64,
    /// In the second.
    pub after: f64,
    /// What two measurements of the same thing may differ by.
    pub noise: f64,
}

/// Two recordings side by side.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// Requests a second, or CPU seconds a second.
    pub load: Pair,
    /// Mean latency, or time waited for each CPU second.
    pub whole: Difference,
    /// Median and 99th percentile, in nanoseconds; none without requests.
    pub quantiles: Option<[Pair; 2]>,
    /// What the whole consists of, largest change first.
    pub parts: Vec<Difference>,
    /// Waits, peers and kinds of requests, largest change first.
    pub details: Vec<Difference>,
    /// Threads that answered; 0 without requests.
    pub threads: [u64; 2],
}

/// What it comes to.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// No difference beyond noise.
    Same,
    /// The whole is more or less than before.
    Changed {
        /// What changed most in the same direction, at most two.
        causes: Vec<Culprit>,
    },
    /// The whole is the same, a part of it is not.
    Shifted {
        /// That part.
        part: Difference,
    },
}

/// A part that changed, and how much of the whole change it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Culprit {
    /// The part.
    pub part: Difference,
    /// Its share of the change.
    pub share: f64,
    /// What of it, where that is known.
    pub detail: Option<Difference>,
}

/// What explains less of a change is not named.
const NAMED: f64 = 0.1;

/// Compares two recordings whose services have been chosen.
pub fn compare(before: &Series, after: &Series) -> Comparison {
    let metrics: BTreeSet<&Metric> = [before, after]
        .into_iter()
        .flat_map(|series| &series.slices)
        .flat_map(|sums| sums.above.keys())
        .collect();
    let slices = before.len().min(after.len());
    // Waits and peers only explain what has changed: the parts are what is looked at for it.
    let parts = metrics.iter().filter(|metric| matches!(metric, Metric::Part(_))).count();
    let slices = if after.is_all { before.len() } else { slices };
    let apart = errors_apart(parts + 1, slices);
    let pair = |one: Slices, other: Slices| pair(&one, &other, after.is_all, apart);
    let whole = pair(before.of(&Metric::Whole), after.of(&Metric::Whole));
    let change = |metric: &Metric| {
        let Pair { before, after, noise } = pair(before.of(metric), after.of(metric));
        let between_runs = if *metric == Metric::Whole { BETWEEN_RUNS } else { PART_BETWEEN_RUNS };
        let noise = noise + between_runs * whole.before;
        Difference { metric: metric.clone(), before, after, noise }
    };
    let is_detail = |metric: &&&Metric| !matches!(metric, Metric::Whole | Metric::Part(_));
    let mut parts: Vec<Difference> = metrics
        .iter()
        .filter(|metric| matches!(metric, Metric::Part(_)))
        .map(|metric| change(metric))
        .collect();
    let mut details: Vec<Difference> =
        metrics.iter().filter(is_detail).map(|one| change(one)).collect();
    let by_size = |a: &Difference, b: &Difference| b.by().abs().total_cmp(&a.by().abs());
    parts.sort_by(by_size);
    details.sort_by(by_size);
    let quantile = |which| pair(before.quantile(which), after.quantile(which));
    let has_requests = before.service.is_some() && after.service.is_some();
    let threads =
        |series: &Series| series.service().map_or(0, |service| service.servers.len() as u64);
    Comparison {
        load: pair(before.load(), after.load()).times(1e9),
        whole: change(&Metric::Whole),
        quantiles: has_requests.then(|| [quantile(0), quantile(1)]),
        parts,
        details,
        threads: [threads(before), threads(after)],
    }
}

impl Pair {
    fn times(self, factor: f64) -> Self {
        Self {
            before: self.before * factor,
            after: self.after * factor,
            noise: self.noise * factor,
        }
    }
}

fn pair(before: &Slices, after: &Slices, is_all: bool, apart: f64) -> Pair {
    let error = if is_all {
        // That of as many of the others.
        standard_error(before) * (before.len() as f64 / after.len().max(1) as f64).sqrt()
    } else {
        standard_error(before).hypot(standard_error(after))
    };
    let noise = apart * error;
    Pair { before: ratio(before), after: ratio(after), noise }
}

impl Comparison {
    /// What it comes to.
    pub fn outcome(&self) -> Outcome {
        if !self.whole.is_real() {
            let part = self.parts.iter().find(|part| part.is_real());
            return part.map_or(Outcome::Same, |part| Outcome::Shifted { part: part.clone() });
        }
        let whole = self.whole.by();
        let causes = self.parts.iter().filter(|part| part.is_real()).map(|part| Culprit {
            part: part.clone(),
            share: part.by() / whole,
            detail: self.detail(part),
        });
        let mut causes: Vec<Culprit> = causes.filter(|cause| cause.share >= NAMED).collect();
        let is_lock = |cause: &Culprit| cause.part.metric == Metric::Part(Part::In(State::Futex));
        if let Some(place) = causes.iter().position(is_lock)
            && causes[place].share >= WAITERS * causes[0].share
        {
            causes[..=place].rotate_right(1);
        }
        causes.truncate(2);
        Outcome::Changed { causes }
    }

    /// What of a part has changed: at least half as much, in the same direction. A wait, or else the locks of one kind,
    /// which may be taken in several functions.
    fn detail(&self, part: &Difference) -> Option<Difference> {
        let Metric::Part(which) = &part.metric else { return None };
        let enough = |detail: &Difference| {
            detail.is_real()
                && detail.by().signum() == part.by().signum()
                && detail.by().abs() >= 0.5 * part.by().abs()
        };
        let of_part = |detail: &&Difference| match (&detail.metric, which) {
            (Metric::Wait(wait), Part::In(state)) => wait.kind == *state,
            (Metric::Peer(_), Part::Peers) => true,
            _ => false,
        };
        let mut of_part = self.details.iter().filter(of_part);
        let all = of_part.clone().cloned().collect::<Vec<_>>();
        of_part.find(|detail| enough(detail)).cloned().or_else(|| {
            let mut kinds = kinds_of_lock(&all);
            kinds.retain(enough);
            kinds.into_iter().max_by(|a, b| a.by().abs().total_cmp(&b.by().abs()))
        })
    }
}

/// Waits for locks, those for locks of the same kind in one.
fn kinds_of_lock(waits: &[Difference]) -> Vec<Difference> {
    let mut kinds: BTreeMap<WaitName, Difference> = BTreeMap::new();
    for wait in waits {
        let Metric::Wait(name) = &wait.metric else { continue };
        if name.lock.is_none() {
            continue;
        }
        let kind = WaitName { object: None, function: None, ..name.clone() };
        let metric = Metric::Wait(kind.clone());
        let none = Difference { metric, before: 0.0, after: 0.0, noise: 0.0 };
        let sum = kinds.entry(kind).or_insert(none);
        sum.before += wait.before;
        sum.after += wait.after;
        sum.noise = sum.noise.hypot(wait.noise);
    }
    kinds.into_values().collect()
}

/// All that is compared.
#[derive(Clone, Debug)]
pub struct Compared {
    /// What makes it unfair.
    pub unfair: Vec<Unfair>,
    /// Whether figures are those of a request.
    pub of_requests: bool,
    /// Of two: the second beside the first. Of more: each beside the one in the middle.
    pub pairs: Vec<(usize, usize, Comparison)>,
    /// Of more than two: the one in the middle by its whole, and the one that differs most from it.
    pub outlier: Option<usize>,
}

/// Compares recordings.
pub fn compare_all(all: &[Series]) -> Compared {
    let load = |series: &Series| ratio(&series.load()) * 1e9;
    let loads: Vec<f64> = all.iter().map(load).collect();
    let unfair = fair::unfair(all, &loads);
    let of_requests = all.iter().all(|series| series.service.is_some());
    if let [before, after] = all {
        let pairs = vec![(0, 1, compare(before, after))];
        return Compared { unfair, of_requests, pairs, outlier: None };
    }
    let whole = |place: &usize| ratio(&all[*place].of(&Metric::Whole));
    let mut order: Vec<usize> = (0..all.len()).collect();
    order.sort_by(|a, b| whole(a).total_cmp(&whole(b)));
    let middle = order[(order.len() - 1) / 2];
    let others = (0..all.len()).filter(|place| *place != middle);
    let pairs: Vec<(usize, usize, Comparison)> =
        others.map(|place| (middle, place, compare(&all[middle], &all[place]))).collect();
    let outlier = pairs
        .iter()
        .filter(|(_, _, pair)| pair.whole.is_real())
        .max_by(|(_, _, a), (_, _, b)| a.whole.by().abs().total_cmp(&b.whole.by().abs()))
        .map(|(_, place, _)| *place);
    Compared { unfair, of_requests, pairs, outlier }
}
