//! Latencies over time: whether requests are slow at the moment, and when they were slowest.

use std::fmt;
use std::str::FromStr;

use crate::model::{Durations, Nanos, Profile};

/// What is called slow: `p99>50ms`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Threshold {
    /// Which latency: 0 to 1, 1 for the longest.
    share: f64,
    above: Nanos,
}

impl FromStr for Threshold {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let usage = || "give a quantile and a time: 'p99>50ms', 'p50>2ms' or 'max>1s'".to_owned();
        let (which, time) = text.split_once('>').ok_or_else(usage)?;
        let share = match which.trim() {
            "max" => 1.0,
            name => {
                let percent = name.strip_prefix('p').and_then(|number| number.parse::<f64>().ok());
                let percent = percent.filter(|percent| (0.0..=100.0).contains(percent));
                percent.ok_or_else(usage)? / 100.0
            }
        };
        let time = time.trim();
        let split = time.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(usage)?;
        let (number, unit) = time.split_at(split);
        let ns = match unit {
            "us" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            _ => return Err(usage()),
        };
        let number: f64 = number.trim().parse().map_err(|_| usage())?;
        if !(number * ns >= 1.0 && number * ns < 1e15) {
            return Err(usage());
        }
        Ok(Self { share, above: Nanos((number * ns) as u64) })
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name =
            if self.share >= 1.0 { "max".to_owned() } else { format!("p{}", self.share * 100.0) };
        write!(f, "{name}>{}ms", self.above.0 as f64 / 1e6)
    }
}

/// Tells slices apart of which only profiles of everything so far are known.
#[derive(Debug, Default)]
pub struct SliceLatency {
    before: Durations,
}

impl SliceLatency {
    /// Whether the requests since the last call were slow; not where there were none.
    pub fn is_slow(&mut self, so_far: &Profile, threshold: Threshold) -> bool {
        let now = latencies(so_far);
        let slice = now.since(&self.before);
        self.before = now;
        slice.count() > 0 && slice.quantile(threshold.share) > threshold.above
    }
}

/// When requests were slowest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spike {
    /// The first slice of it, and the one behind its last.
    pub slices: (usize, usize),
    /// 99th percentile of its slowest slice.
    pub slowest: Nanos,
    /// Of the slice in the middle.
    pub usual: Nanos,
}

/// A spike is this many times as slow as usual.
const SPIKE: u64 = 2;

/// Finds the slices that are slowest, with their neighbours, from the 99th percentile of each; none where no
/// slice stands out.
pub fn find_spike(slices: &[Option<Nanos>]) -> Option<Spike> {
    let mut known: Vec<Nanos> = slices.iter().copied().flatten().collect();
    known.sort();
    let usual = *known.get(known.len().checked_sub(1)? / 2)?;
    let slowest = *known.last()?;
    if slowest.0 < usual.0.saturating_mul(SPIKE) || known.len() < 3 {
        return None;
    }
    let place = slices.iter().position(|slice| *slice == Some(slowest))?;
    // As long as they are nearer to the slowest than to the usual ones, on the scale of ratios.
    let is_slow = |slice: &Option<Nanos>| {
        slice.is_some_and(|one| {
            u128::from(one.0) * u128::from(one.0) >= u128::from(usual.0) * u128::from(slowest.0)
        })
    };
    let before = slices[..place].iter().rev().take_while(|slice| is_slow(slice)).count();
    let after = slices[place..].iter().take_while(|slice| is_slow(slice)).count();
    Some(Spike { slices: (place - before, place + after.max(1)), slowest, usual })
}

/// The 99th percentile of the latencies of a profile; none without requests.
pub fn p99(profile: &Profile) -> Option<Nanos> {
    let latencies = latencies(profile);
    (latencies.count() > 0).then(|| latencies.quantile(0.99))
}

/// The latencies of all requests of a profile.
pub(super) fn latencies(profile: &Profile) -> Durations {
    let mut all = Durations::default();
    let groups = profile.requests.services.iter().flat_map(|service| &service.groups);
    groups.for_each(|group| all.merge(&group.latency));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_that_people_write() {
        for (text, shown) in
            [("p99>50ms", "p99>50ms"), ("p99.9 > 1.5s", "p99.9>1500ms"), ("max>200us", "max>0.2ms")]
        {
            let threshold: Threshold = text.parse().unwrap();
            assert_eq!(threshold.to_string(), shown);
        }
        for text in ["", "p99", "p99>", "p101>5ms", "q9>5ms", "p99>5", "p99>-5ms", "p99>nans"] {
            assert!(text.parse::<Threshold>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_spike_is_what_stands_out() {
        let of = |ms: &[u64]| {
            let slices: Vec<_> =
                ms.iter().map(|ms| (*ms > 0).then_some(Nanos(ms * 1_000_000))).collect();
            find_spike(&slices).map(|spike| spike.slices)
        };
        assert_eq!(of(&[4, 4, 5, 40, 90, 50, 4, 0, 4]), Some((3, 6)));
        assert_eq!(of(&[90, 4, 5, 4, 4]), Some((0, 1)));
        assert_eq!(of(&[4, 4, 5, 4, 7, 4]), None);
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[0, 0, 9]), None);
    }

    #[test]
    fn only_what_came_since_counts() {
        let mut profile = crate::analyze::fixture::requests::lock();
        let mut latency = SliceLatency::default();
        let threshold: Threshold = "p50>10us".parse().unwrap();
        assert!(latency.is_slow(&profile, threshold));
        assert!(!latency.is_slow(&profile, threshold), "there is nothing new");
        let group = &mut profile.requests.services[0].groups[0];
        group.latency.add(Nanos(9_000));
        assert!(!latency.is_slow(&profile, threshold));
        profile.requests.services[0].groups[0].latency.add(Nanos(11_000));
        assert!(latency.is_slow(&profile, threshold));
    }
}
