//! Splits an API's requests between upstreams, by weight.
//!
//! Weighted rendezvous hashing: each upstream draws a score from the request's value and its own
//! number, and the highest score wins ("Weighted Distributed Hash Tables", Schindelhauer and
//! Schomaker, 2005). The value alone decides, so every worker of every node decides alike; and when
//! a weight changes, requests move to or from that upstream only, no more than its share changes
//! by.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::route::UpstreamIndex;
use crate::snapshot::catalog::Affinity;

/// One upstream's share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// The upstream.
    pub upstream: UpstreamIndex,
    /// Its stable number: its index may change from one catalog to the next.
    pub number: u32,
    /// At least 1.
    pub weight: u32,
}

/// Upstreams and their weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    shares: Box<[Share]>,
    /// What makes two requests go the same way.
    pub by: Option<Affinity>,
}

impl Split {
    /// A split between these; `None` if there are none.
    pub fn new(shares: Vec<Share>, by: Option<Affinity>) -> Option<Self> {
        (!shares.is_empty()).then(|| Self {
            shares: shares.into(),
            by,
        })
    }

    /// The upstream for a request with this value.
    pub fn choose(&self, value: u64) -> UpstreamIndex {
        let first = self.shares[0];
        if self.shares.len() == 1 {
            return first.upstream;
        }
        let mut best = (f64::MIN, first.upstream);
        for share in &self.shares {
            let score = share.score(value);
            if score > best.0 {
                best = (score, share.upstream);
            }
        }
        best.1
    }
}

impl Share {
    fn score(&self, value: u64) -> f64 {
        let drawn = xxh3_64_with_seed(&value.to_le_bytes(), u64::from(self.number));
        // Within (0, 1), so that its logarithm is neither zero nor infinite.
        let drawn = ((drawn >> 12) as f64 + 0.5) / (1_u64 << 52) as f64;
        f64::from(self.weight) / -drawn.ln()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUES: u64 = 100_000;

    fn split(weights: &[u32]) -> Split {
        let shares = weights.iter().zip(0..).map(|(weight, place)| Share {
            upstream: UpstreamIndex(place),
            number: place + 7,
            weight: *weight,
        });
        Split::new(shares.collect(), None).expect("there are some")
    }

    /// Values as requests have them: hashes.
    fn values() -> impl Iterator<Item = u64> {
        (0..VALUES).map(|value| xxh3_64_with_seed(&value.to_le_bytes(), 1))
    }

    /// `count` is `share` of all values, give or take five standard deviations.
    #[track_caller]
    fn assert_share(count: usize, share: f64) {
        let expected = VALUES as f64 * share;
        let deviation = (expected * (1.0 - share)).sqrt();
        assert!(
            (count as f64 - expected).abs() <= 5.0 * deviation,
            "{count} for {expected}"
        );
    }

    #[test]
    fn each_upstream_gets_its_share() {
        for weights in [&[1][..], &[1, 1], &[95, 5], &[50, 30, 20], &[1000, 1]] {
            let split = split(weights);
            let sum: u32 = weights.iter().sum();
            for (place, weight) in (0..).zip(weights) {
                let got = values().filter(|value| split.choose(*value) == UpstreamIndex(place));
                assert_share(got.count(), f64::from(*weight) / f64::from(sum));
            }
        }
    }

    #[test]
    fn a_changed_weight_moves_no_more_than_the_share_that_changed() {
        let (before, after) = (split(&[50, 30, 20]), split(&[50, 30, 70]));
        let mut moved = 0;
        for value in values() {
            let (old, new) = (before.choose(value), after.choose(value));
            if old != new {
                assert_eq!(new, UpstreamIndex(2), "only the one that grew takes");
                moved += 1;
            }
        }
        assert_share(moved, 70.0 / 150.0 - 20.0 / 100.0);
    }

    #[test]
    fn the_choice_is_the_same_on_every_node_and_in_every_release() {
        let split = split(&[50, 30, 20]);
        let chosen: Vec<u32> = (0..16).map(|value| split.choose(value).0).collect();
        assert_eq!(chosen, [1, 0, 0, 2, 1, 1, 0, 0, 1, 1, 2, 2, 2, 1, 1, 1]);
    }
}
