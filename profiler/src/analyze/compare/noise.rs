//! How far a figure would be another one if the same thing were measured again.

/// Times that slices are drawn anew.
const DRAWS: usize = 400;

/// Of a figure that is one sum over another: in each slice, what is above the line and what is below it.
pub type Slices = Vec<(f64, f64)>;

/// One sum over the other; 0 where there is nothing below the line.
pub fn ratio<'a>(slices: impl IntoIterator<Item = &'a (f64, f64)>) -> f64 {
    let (above, below) = slices
        .into_iter()
        .fold((0.0, 0.0), |(above, below), slice| (above + slice.0, below + slice.1));
    if below > 0.0 { above / below } else { 0.0 }
}

/// The standard error of such a figure, by a moving block bootstrap (Künsch 1989): neighbouring slices are
/// like each other, so runs of them are drawn, as long as the cube root of their number.
pub fn standard_error(slices: &[(f64, f64)]) -> f64 {
    let length = block(slices.len());
    if slices.len() < 2 {
        return f64::INFINITY;
    }
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let draws: Vec<f64> = (0..DRAWS)
        .map(|_| {
            let mut drawn = Vec::with_capacity(slices.len() + length);
            while drawn.len() < slices.len() {
                let start = random.below(slices.len());
                drawn.extend((start..start + length).map(|at| slices[at % slices.len()]));
            }
            drawn.truncate(slices.len());
            ratio(&drawn)
        })
        .collect();
    let mean = draws.iter().sum::<f64>() / DRAWS as f64;
    let squares: f64 = draws.iter().map(|draw| (draw - mean).powi(2)).sum();
    (squares / (DRAWS - 1) as f64).sqrt()
}

/// Length of the runs that are drawn.
pub fn block(slices: usize) -> usize {
    (slices as f64).cbrt().round().max(1.0) as usize
}

/// How many standard errors two figures must lie apart to differ, where so many pairs are looked at and
/// one in twenty lookings may be a false alarm: Student's t by its expansion (Abramowitz and Stegun
/// 26.7.5) at a normal quantile (26.2.23), for the level that Bonferroni leaves for one pair.
pub fn errors_apart(pairs: usize, slices: usize) -> f64 {
    let level = 0.05 / pairs.max(1) as f64 / 2.0;
    let t = (-2.0 * level.ln()).sqrt();
    let z = t
        - (2.515_517 + 0.802_853 * t + 0.010_328 * t * t)
            / (1.0 + 1.432_788 * t + 0.189_269 * t * t + 0.001_308 * t * t * t);
    let freedom = (slices / block(slices)).saturating_sub(1).max(1) as f64;
    z + (z.powi(3) + z) / (4.0 * freedom)
        + (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / (96.0 * freedom * freedom)
}

/// Numbers that look drawn (xorshift64*); the same each time, so that a report does not change when it is
/// printed again.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let drawn = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d);
        ((u128::from(drawn) * end as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Slices with this mean and a spread around it that is known.
    fn slices(number: usize, mean: f64, spread: f64, seed: u64) -> Slices {
        let mut random = Random(seed);
        let mut uniform = || random.below(1_000_000) as f64 / 500_000.0 - 1.0;
        (0..number).map(|_| ((mean + spread * uniform()) * 100.0, 100.0)).collect()
    }

    #[test]
    fn the_error_is_that_of_a_mean() {
        // A uniform spread of ±1 has a standard deviation of 1/√3.
        let found = standard_error(&slices(400, 10.0, 1.0, 7));
        let exact = 1.0 / 3f64.sqrt() / 20.0;
        assert!((found / exact - 1.0).abs() < 0.25, "{found} {exact}");
        assert!(standard_error(&slices(400, 10.0, 0.0, 7)) < 1e-12);
        assert!(standard_error(&slices(1, 10.0, 1.0, 7)).is_infinite());
    }

    #[test]
    fn like_neighbours_make_it_larger() {
        let slow: Slices = (0..400).map(|at| ((f64::from(at) / 30.0).sin() + 9.0, 1.0)).collect();
        let mut mixed = slow.clone();
        mixed.sort_by_key(|(value, _)| (value * 1e9) as u64 % 1013);
        assert!(standard_error(&slow) > 1.5 * standard_error(&mixed));
    }

    #[test]
    fn few_slices_and_many_pairs_need_a_larger_difference() {
        assert!((errors_apart(1, 100_000) - 1.96).abs() < 0.01);
        // Twenty slices are six blocks of three; t for 5 %, two-sided, with the five degrees of
        // freedom those leave is 2.571.
        let few = errors_apart(1, 20);
        assert!((few / 2.571 - 1.0).abs() < 0.02, "{few}");
        assert!(errors_apart(20, 60) > errors_apart(5, 60));
    }

    #[test]
    fn at_most_one_look_in_twenty_sees_what_is_not_there() {
        let alarms = (0..400_u64)
            .filter(|seed| {
                let (a, b) =
                    (slices(30, 10.0, 3.0, 2 * seed + 1), slices(30, 10.0, 3.0, 2 * seed + 2));
                let apart = (ratio(&a) - ratio(&b)).abs();
                apart > errors_apart(1, 30) * standard_error(&a).hypot(standard_error(&b))
            })
            .count();
        assert!(alarms <= 20, "{alarms} of 400");
    }
}
