//! Names of words: which limit of which subject a word of the bank belongs to.
//!
//! A [`Tag`] is injective, so two subjects never share a word by an accident of hashing, and
//! never zero, so that zero can mean "free" in the bank. Tags come from numbers that control
//! assigns; callers cannot choose them, so their hash needs to scatter, not to resist.

use std::num::NonZeroU32;

/// A limit's number and a subject's number, as one nonzero word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(u64);

/// Odd, with bits in no pattern: the fractional part of the golden ratio.
const SCATTER: u64 = 0x9e37_79b9_7f4a_7c15;
/// A second such number, to tell the segments of a bank apart: the square root of three.
const TURN: u64 = 0xbb67_ae85_84ca_a73b;

impl Tag {
    /// The tag of the limit numbered `limit_number` for `subject`.
    #[inline]
    pub const fn new(limit_number: NonZeroU32, subject: u32) -> Self {
        Self(((limit_number.get() as u64) << 32) | subject as u64)
    }

    /// The tag as a word; never zero.
    #[inline]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Scattered bits, high and low ones alike; each `round` gives other bits.
    ///
    /// A folded multiplication: the high half of the product depends on all lower bits of the
    /// tag, the low half on none above, and their sum (exclusive or) serves tables that look at
    /// either end.
    #[inline]
    pub fn scatter(self, round: u64) -> u64 {
        let keyed = self.0 ^ TURN.wrapping_mul(round.wrapping_add(1));
        let (low, high) = keyed.carrying_mul(SCATTER, 0);
        low ^ high
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn tag(limit: u32, subject: u32) -> Tag {
        Tag::new(NonZeroU32::new(limit).unwrap(), subject)
    }

    #[test]
    fn different_limits_and_subjects_have_different_tags() {
        let edges = [0, 1, 2, u32::MAX - 1, u32::MAX];
        let all: Vec<Tag> = edges[1..]
            .iter()
            .flat_map(|limit| edges.iter().map(|subject| tag(*limit, *subject)))
            .collect();
        let different: HashSet<u64> = all.iter().map(|tag| tag.get()).collect();
        assert_eq!(different.len(), all.len());
        assert!(!different.contains(&0));
    }

    /// Control counts subjects up from one, so neighbors are the common case.
    #[test]
    fn neighboring_subjects_scatter_over_a_table() {
        for round in 0..4 {
            let mut low = vec![0_u32; 1 << 10];
            let mut high = vec![0_u32; 1 << 10];
            for subject in 0..(8 << 10) {
                let bits = tag(3, subject).scatter(round);
                low[usize::try_from(bits & 0x3ff).unwrap()] += 1;
                high[usize::try_from(bits >> 54).unwrap()] += 1;
            }
            for filled in [low, high] {
                assert!(
                    filled.iter().all(|count| *count <= 32),
                    "round {round} clusters"
                );
            }
        }
    }

    #[test]
    fn rounds_give_different_bits() {
        let shared = (0..1000_u32)
            .filter(|subject| {
                let tag = tag(1, *subject);
                tag.scatter(0) & 0xff == tag.scatter(1) & 0xff
            })
            .count();
        assert!(shared < 30, "{shared} of 1000 fall together in both rounds");
    }
}
