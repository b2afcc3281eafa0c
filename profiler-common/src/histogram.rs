//! The log-linear histogram of wait durations, filled in the kernel.
//!
//! Eight buckets an octave: a bucket is at most 1/8 of its lower bound wide, so its midpoint is
//! at most 1/16 (6.25 %) from any value in it. Below 512 ns buckets are 64 ns wide (a context
//! switch alone takes longer), and the last octave ends at 2^40 ns (18 minutes); longer waits
//! land in the last bucket, and the exact maximum is kept beside the histogram.

/// Number of buckets.
pub const BUCKETS: usize = 256;

/// log2 of the width of the linear buckets, in nanoseconds.
const UNIT_SHIFT: u32 = 6;

/// log2 of the number of buckets in an octave.
const SUB_BITS: u32 = 3;

/// The bucket that a duration in nanoseconds falls into.
#[inline(always)]
pub const fn bucket_of(ns: u64) -> u32 {
    let units = ns >> UNIT_SHIFT;
    if units < (1 << SUB_BITS) {
        return units as u32;
    }
    let octave = log2(units) - SUB_BITS;
    let index = ((octave + 1) << SUB_BITS) + ((units >> octave) as u32 & ((1 << SUB_BITS) - 1));
    if index < BUCKETS as u32 { index } else { BUCKETS as u32 - 1 }
}

/// Lower bound (inclusive) and upper bound (exclusive) of a bucket, in nanoseconds.
pub const fn bounds_of(bucket: u32) -> (u64, u64) {
    let sub = 1u64 << SUB_BITS;
    let (low, width) = if (bucket as u64) < sub {
        (bucket as u64, 1)
    } else {
        let octave = (bucket >> SUB_BITS) - 1;
        ((sub + (bucket as u64 & (sub - 1))) << octave, 1 << octave)
    };
    (low << UNIT_SHIFT, (low + width) << UNIT_SHIFT)
}

/// floor(log2(value)) for a value above 0. BPF has no instruction for it, and LLVM expands
/// `leading_zeros` into a longer sequence than these six steps.
#[inline(always)]
const fn log2(value: u64) -> u32 {
    let mut rest = value;
    let mut log = 0;
    let mut step = 32;
    while step > 0 {
        if rest >> step != 0 {
            rest >>= step;
            log += step;
        }
        step /= 2;
    }
    log
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_touch_and_hold_what_they_say() {
        for bucket in 0..BUCKETS as u32 - 1 {
            let (low, high) = bounds_of(bucket);
            assert_eq!(bucket_of(low), bucket);
            assert_eq!(bucket_of(high - 1), bucket);
            assert_eq!(bounds_of(bucket + 1).0, high);
        }
    }

    #[test]
    fn the_midpoint_is_within_a_sixteenth() {
        for bucket in 8..BUCKETS as u32 {
            let (low, high) = bounds_of(bucket);
            let middle = (low + high) / 2;
            assert!((high - middle) * 16 <= low, "bucket {bucket}: {low}..{high}");
        }
    }

    #[test]
    fn absurd_durations_land_in_the_last_bucket() {
        assert_eq!(bucket_of(u64::MAX), BUCKETS as u32 - 1);
        assert_eq!(bucket_of(1 << 40), BUCKETS as u32 - 1);
        assert_eq!(bucket_of((1 << 40) - 1), BUCKETS as u32 - 1);
        assert_eq!(bucket_of(0), 0);
    }
}
