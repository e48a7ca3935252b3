//! The bucket scheme of every duration: nine linear steps a decade from 1 µs to 60 s, and one
//! bucket for all beyond.
//!
//! The bounds are decimal so that each is an exact `le` of the exposition: what a scrape reads
//! is what was counted, not an interpolation. Bounds are inclusive, as Prometheus has them.

/// Buckets, the last one unbounded.
pub const BUCKETS: usize = 70;

/// Upper bounds in microseconds of all buckets but the last.
pub const BOUNDS_US: [u64; BUCKETS - 1] = bounds();

const fn bounds() -> [u64; BUCKETS - 1] {
    let mut bounds = [0; BUCKETS - 1];
    let (mut i, mut decade, mut step) = (0, 1, 1);
    while i < bounds.len() {
        bounds[i] = step * decade;
        i += 1;
        step += 1;
        if step == 10 {
            step = 1;
            decade *= 10;
        }
    }
    bounds
}

/// The bucket of a duration.
pub fn bucket(duration_ns: u64) -> usize {
    const DECADES: [u64; 8] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000];
    let us = duration_ns.div_ceil(1_000).max(1);
    if us > BOUNDS_US[BOUNDS_US.len() - 1] {
        return BUCKETS - 1;
    }
    // At most a minute here, so the decade is at most the eighth and the step at most ten. A
    // tenth step is the first one of the next decade, which is just what the sum gives.
    let decade = us.ilog10() as usize;
    let step = us.div_ceil(DECADES[decade]);
    decade * 9 + usize::try_from(step).unwrap_or(1) - 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_bounds_run_from_a_microsecond_to_a_minute() {
        assert_eq!(BOUNDS_US[0], 1);
        assert_eq!(BOUNDS_US[9], 10);
        assert_eq!(BOUNDS_US[68], 60_000_000);
        assert!(BOUNDS_US.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn a_duration_on_a_bound_belongs_to_that_bound() {
        for (i, bound) in BOUNDS_US.iter().enumerate() {
            assert_eq!(bucket(bound * 1_000), i, "{bound} µs");
            assert_eq!(bucket(bound * 1_000 + 1), i + 1, "just over {bound} µs");
        }
    }

    proptest! {
        #[test]
        fn a_duration_falls_into_the_first_bucket_that_holds_it(ns: u64, shift in 0..64u32) {
            let ns = ns >> shift;
            let naive = BOUNDS_US.iter().position(|&b| u128::from(ns) <= u128::from(b) * 1_000);
            prop_assert_eq!(bucket(ns), naive.unwrap_or(BUCKETS - 1));
        }
    }
}
