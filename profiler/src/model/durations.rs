//! How long requests take, one by one: a distribution.

use std::collections::HashMap;

use hdrhistogram::Histogram;

use super::Nanos;

/// Durations, to three digits.
#[derive(Clone, Debug)]
pub struct Durations(Histogram<u32>);

impl Default for Durations {
    fn default() -> Self {
        Self(Histogram::new(3).unwrap_or_else(|_| unreachable!("3 digits are allowed")))
    }
}

impl Durations {
    /// Adds one.
    pub fn add(&mut self, duration: Nanos) {
        // It resizes itself; it has no bound that a duration could exceed.
        let _recorded = self.0.record(duration.0);
    }

    /// Adds all of another.
    pub fn merge(&mut self, other: &Durations) {
        let _resizes = self.0.add(&other.0);
    }

    /// The duration that this share (0 to 1) does not exceed.
    pub fn quantile(&self, share: f64) -> Nanos {
        Nanos(self.0.value_at_quantile(share).min(self.0.max()))
    }

    /// How many.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// What has been added since they were `before`.
    pub fn since(&self, before: &Durations) -> Durations {
        let before: HashMap<u32, u64> = before.steps().collect();
        Self::from_steps(self.steps().map(|(step, count)| {
            let earlier = before.get(&step).copied().unwrap_or(0);
            (step, count.saturating_sub(earlier))
        }))
    }

    /// Each step that holds something: its number, and how many durations. Below 2,048 ns a step is 1 ns
    /// wide; from there on there are 1,024 of them in each octave, as in the histogram.
    pub fn steps(&self) -> impl Iterator<Item = (u32, u64)> {
        self.0
            .iter_recorded()
            .map(|step| (step_of(step.value_iterated_to()), step.count_at_value()))
            .map(|(step, count)| (step, u64::from(count)))
    }

    /// The shortest duration of a step.
    pub fn step_start(step: u32) -> Nanos {
        Nanos(lowest_of(step.min(STEPS)))
    }

    /// From what [`Self::steps`] gives.
    pub fn from_steps(steps: impl Iterator<Item = (u32, u64)>) -> Self {
        let mut durations = Self::default();
        for (step, count) in steps.filter(|(step, _)| *step < STEPS) {
            let count = u32::try_from(count).unwrap_or(u32::MAX);
            let _recorded = durations.0.record_n(lowest_of(step), count);
        }
        durations
    }

    /// The end of the last step that holds something.
    pub fn bound(&self) -> Nanos {
        Nanos(self.0.max())
    }
}

/// log2 of the number of steps in an octave, with three digits.
const STEP_BITS: u32 = 10;
/// Number of steps up to 2^63.
const STEPS: u32 = 54 << STEP_BITS;

fn step_of(ns: u64) -> u32 {
    let octave = ns.max(1).ilog2().saturating_sub(STEP_BITS);
    (octave << STEP_BITS) + (ns >> octave) as u32
}

fn lowest_of(step: u32) -> u64 {
    let octave = (step >> STEP_BITS).saturating_sub(1);
    u64::from(step - (octave << STEP_BITS)) << octave
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_those_of_the_histogram() {
        let mut durations = Durations::default();
        let all =
            (0..4_000).chain((12..40).flat_map(|shift| [(1 << shift) - 1, 1 << shift, 3 << shift]));
        all.clone().for_each(|ns| durations.add(Nanos(ns)));
        let again = Durations::from_steps(durations.steps());
        assert_eq!(again.count(), all.count() as u64);
        for share in [0.0, 0.1, 0.5, 0.9, 0.99, 1.0] {
            assert_eq!(again.quantile(share), durations.quantile(share), "{share}");
        }
        assert!(again.steps().eq(durations.steps()));
    }
}
