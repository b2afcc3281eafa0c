//! Random numbers that can be had again: the seed is printed, and taken from the environment.

use std::time::{SystemTime, UNIX_EPOCH};

/// A generator that needs no more than to be different each time (SplitMix64).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// With a seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// With `DWELL_SOAK_SEED`, or another one each time; printed, so that a failure can be repeated.
    pub fn announced(test: &str) -> Self {
        let given = std::env::var("DWELL_SOAK_SEED").ok().and_then(|text| text.parse().ok());
        let seed = given.unwrap_or_else(|| {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            now.as_nanos() as u64
        });
        println!("{test}: DWELL_SOAK_SEED={seed}");
        Self(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.number() % bound
    }

    /// A number from `low` to below `high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_gives_one_sequence() {
        let ten = |seed| {
            let mut random = Random::new(seed);
            std::array::from_fn::<u64, 10, _>(|_| random.between(5, 50))
        };
        assert_eq!(ten(7), ten(7));
        assert_ne!(ten(7), ten(8));
        assert!(ten(9).iter().all(|number| (5..50).contains(number)));
    }
}
