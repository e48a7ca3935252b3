//! Latencies of one count: a histogram that is small where it says little, and that merges.
//!
//! Log-linear, as HdrHistogram's: each doubling of the duration is cut into eight equal steps, so
//! a bucket is at most an eighth as wide as the durations in it, from a microsecond up to
//! a minute; what is longer counts in the last bucket. Only the buckets that were hit are kept, in
//! order, so a row of three requests takes three entries, and merging is exact: two histograms
//! merged are the histogram of both together.

use serde::{Deserialize, Serialize};

/// Steps of one doubling, as a power of two.
const STEP_BITS: u32 = 3;
const STEPS: u64 = 1 << STEP_BITS;

/// The longest duration that is told apart, in microseconds: 67 s.
const DURATION_MAX_US: u64 = (1 << 26) - 1;

/// Buckets there are; the numbers of buckets are below it.
pub const LATENCY_BUCKETS: u8 = bucket_of_us(DURATION_MAX_US) + 1;

/// The bucket of a duration in whole microseconds: below eight each has its own, then eight to a
/// doubling.
#[expect(
    clippy::cast_possible_truncation,
    reason = "below 192, since the duration is capped"
)]
const fn bucket_of_us(us: u64) -> u8 {
    let us = if us > DURATION_MAX_US {
        DURATION_MAX_US
    } else {
        us
    };
    if us < STEPS {
        return us as u8;
    }
    let shift = us.ilog2() - STEP_BITS;
    let step = (us >> shift) - STEPS;
    (shift as u8 + 1) * STEPS as u8 + step as u8
}

/// The longest duration, in microseconds, that falls into a bucket.
pub const fn bucket_end_us(bucket: u8) -> u64 {
    let (bucket, steps) = (bucket as u64, STEPS);
    if bucket < steps {
        return bucket;
    }
    let shift = bucket / steps - 1;
    ((bucket % steps + steps + 1) << shift) - 1
}

/// How often a bucket was hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hits {
    /// The bucket, below [`LATENCY_BUCKETS`].
    pub bucket: u8,
    /// Durations in it.
    pub count: u64,
}

/// A histogram of durations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<Hits>", into = "Vec<Hits>")]
pub struct Latency {
    /// Ascending by bucket, none twice, none with a count of zero.
    hits: Vec<Hits>,
}

impl From<Vec<Hits>> for Latency {
    fn from(hits: Vec<Hits>) -> Self {
        Self::of_hits(hits)
    }
}

impl From<Latency> for Vec<Hits> {
    fn from(latency: Latency) -> Self {
        latency.hits
    }
}

impl Latency {
    /// Counts one duration.
    pub fn add(&mut self, duration_ns: u64) {
        self.hit(bucket_of_us(duration_ns.div_ceil(1_000)), 1);
    }

    /// Adds what another histogram counted.
    pub fn merge(&mut self, other: &Latency) {
        for hits in &other.hits {
            self.hit(hits.bucket, hits.count);
        }
    }

    /// The buckets that were hit, ascending.
    pub fn hits(&self) -> &[Hits] {
        &self.hits
    }

    /// Takes hits as another process wrote them, in any order; buckets that do not exist count in
    /// the last one.
    pub fn of_hits(hits: impl IntoIterator<Item = Hits>) -> Self {
        let mut latency = Self::default();
        for hits in hits {
            latency.hit(hits.bucket.min(LATENCY_BUCKETS - 1), hits.count);
        }
        latency
    }

    /// Durations counted.
    pub fn count(&self) -> u64 {
        self.hits
            .iter()
            .fold(0, |sum, hits| sum.saturating_add(hits.count))
    }

    /// The duration in microseconds that `share` (0 to 1) of the durations do not exceed, rounded
    /// up to the end of its bucket; `None` when nothing was counted.
    pub fn quantile_us(&self, share: f64) -> Option<u64> {
        let count = self.count();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a rank among counted durations; a rounding error moves it by a few in 2^53"
        )]
        let rank = (count as f64 * share.clamp(0.0, 1.0)).ceil() as u64;
        let mut seen = 0_u64;
        for hits in &self.hits {
            seen = seen.saturating_add(hits.count);
            if seen >= rank.max(1) {
                return Some(bucket_end_us(hits.bucket));
            }
        }
        None
    }

    fn hit(&mut self, bucket: u8, count: u64) {
        if count == 0 {
            return;
        }
        match self.hits.binary_search_by_key(&bucket, |hits| hits.bucket) {
            Ok(at) => self.hits[at].count = self.hits[at].count.saturating_add(count),
            Err(at) => self.hits.insert(at, Hits { bucket, count }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_bucket_ends_where_the_next_one_begins() {
        for bucket in 0..LATENCY_BUCKETS {
            let end = bucket_end_us(bucket);
            assert_eq!(bucket_of_us(end), bucket, "{end} µs");
            if bucket + 1 < LATENCY_BUCKETS {
                assert_eq!(bucket_of_us(end + 1), bucket + 1, "{end} µs and one more");
            }
        }
        assert_eq!(bucket_of_us(u64::MAX), LATENCY_BUCKETS - 1);
    }

    #[test]
    fn a_bucket_is_at_most_an_eighth_as_wide_as_its_durations() {
        for bucket in 1..LATENCY_BUCKETS {
            let (begin, end) = (bucket_end_us(bucket - 1) + 1, bucket_end_us(bucket));
            assert!((end - begin) * 8 <= begin, "{begin} to {end} µs");
        }
    }

    #[test]
    fn nothing_counted_has_no_quantile() {
        assert_eq!(Latency::default().quantile_us(0.5), None);
    }

    proptest! {
        #[test]
        fn merged_histograms_are_the_histogram_of_both(
            first in prop::collection::vec(0_u64..100_000_000_000, 0..50),
            second in prop::collection::vec(0_u64..100_000_000_000, 0..50),
        ) {
            let of = |all: &[u64]| {
                let mut latency = Latency::default();
                all.iter().for_each(|ns| latency.add(*ns));
                latency
            };
            let mut merged = of(&first);
            merged.merge(&of(&second));
            prop_assert_eq!(&merged, &of(&[first, second].concat()));
            prop_assert_eq!(Latency::of_hits(merged.hits().iter().rev().copied()), merged);
        }

        #[test]
        fn a_quantile_is_the_true_one_rounded_up_by_at_most_an_eighth(
            mut durations_us in prop::collection::vec(1_u64..60_000_000, 1..200),
            share in 0.0..=1.0_f64,
        ) {
            let mut latency = Latency::default();
            durations_us.iter().for_each(|us| latency.add(us * 1_000));
            durations_us.sort_unstable();
            // The least duration that so large a share does not exceed.
            let all = durations_us.len() as f64;
            let exact = (0..durations_us.len()).find(|at| (at + 1) as f64 >= (all * share).ceil());
            let exact = durations_us[exact.expect("all of them are all")];
            let told = latency.quantile_us(share).expect("something was counted");
            prop_assert!(told >= exact && told <= exact + exact / 8, "{} for {}", told, exact);
        }
    }
}
