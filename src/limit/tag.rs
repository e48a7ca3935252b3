//! Names of words: which limit of which subject a word of the bank belongs to, and how it counts.
//!
//! A [`Tag`] of a numbered subject is injective, so two of them never share a word by an accident
//! of hashing. A client's address does not fit a number; its tag is a keyed hash of 61 bits, which
//! two of a million addresses share with a chance of one in four million, and which nobody
//! outside can aim at. No tag is zero, so zero can mean "free" in the bank.
//!
//! ```text
//! bits 63..62  how the word counts: 0 rate, 1 quota, 2 concurrency
//! bit  61      an address: bits 60..0 are a hash
//! bits 60..32  the limit's number
//! bits 31..0   the subject's number
//! ```
//!
//! The way of counting is part of the name: a limit that changes from a rate to a quota begins
//! with a fresh word instead of misreading the old one.

use std::net::IpAddr;
use std::num::NonZeroU32;

/// How a word counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// How far a schedule is debited: a [`Point`](super::schedule::Point).
    Rate,
    /// A window and what is used of it.
    Quota,
    /// Requests in flight, by process.
    Concurrency,
}

impl Kind {
    const fn bits(self) -> u64 {
        match self {
            Self::Rate => 0,
            Self::Quota => 1 << 62,
            Self::Concurrency => 2 << 62,
        }
    }
}

/// What a word is found by; never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(u64);

const ADDRESS: u64 = 1 << 61;

/// Odd, with bits in no pattern: the fractional part of the golden ratio.
const SCATTER: u64 = 0x9e37_79b9_7f4a_7c15;
/// A second such number, to tell the segments of a bank apart: the square root of three.
const TURN: u64 = 0xbb67_ae85_84ca_a73b;

/// What hashes addresses: secret, and the same for all processes that share a bank.
#[derive(Clone)]
pub struct AddressHasher(ahash::RandomState);

impl std::fmt::Debug for AddressHasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AddressHasher(..)")
    }
}

impl AddressHasher {
    /// A hasher by these random numbers.
    pub fn new([first, second]: [u64; 2]) -> Self {
        Self(ahash::RandomState::with_seeds(
            first, second, !first, !second,
        ))
    }
}

impl Tag {
    /// The tag of the limit numbered `limit` for the subject with this number.
    ///
    /// The catalog admits limit numbers below 2^29 only; higher ones would share words.
    #[inline]
    pub const fn numbered(kind: Kind, limit: NonZeroU32, subject: u32) -> Self {
        let limit = (limit.get() as u64) & ((1 << 29) - 1);
        Self(kind.bits() | limit << 32 | subject as u64)
    }

    /// The tag of a limit for a client's address. An IPv6 client has its whole /64, since a host is
    /// given one and may speak from any address in it.
    #[inline]
    pub fn of_address(
        kind: Kind,
        limit: NonZeroU32,
        client: IpAddr,
        hasher: &AddressHasher,
    ) -> Self {
        let network = match client.to_canonical() {
            IpAddr::V4(v4) => (false, u128::from(v4.to_bits())),
            IpAddr::V6(v6) => (true, v6.to_bits() >> 64),
        };
        let hash = hasher.0.hash_one((limit.get(), network));
        Self(kind.bits() | ADDRESS | (hash & (ADDRESS - 1)))
    }

    /// The tag that was [`Tag::get`], if it is one.
    pub const fn of_word(word: u64) -> Option<Self> {
        match (word, word >> 62) {
            (0, _) | (_, 3) => None,
            _ => Some(Self(word)),
        }
    }

    /// The tag as a word; never zero.
    #[inline]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// How its word counts.
    #[inline]
    pub const fn kind(self) -> Kind {
        match self.0 >> 62 {
            0 => Kind::Rate,
            1 => Kind::Quota,
            _ => Kind::Concurrency,
        }
    }

    /// Whether its word is one of an address, which others may have after it.
    #[inline]
    pub const fn is_address(self) -> bool {
        self.0 & ADDRESS != 0
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

    const KINDS: [Kind; 3] = [Kind::Rate, Kind::Quota, Kind::Concurrency];

    fn number(limit: u32) -> NonZeroU32 {
        NonZeroU32::new(limit).unwrap()
    }

    #[test]
    fn different_limits_subjects_and_ways_of_counting_have_different_tags() {
        let limits = [1, 2, (1 << 29) - 2, (1 << 29) - 1];
        let subjects = [0, 1, 2, u32::MAX - 1, u32::MAX];
        let mut all = HashSet::new();
        for kind in KINDS {
            for limit in limits {
                for subject in subjects {
                    let tag = Tag::numbered(kind, number(limit), subject);
                    assert_eq!((tag.kind(), tag.is_address()), (kind, false));
                    assert_eq!(Tag::of_word(tag.get()), Some(tag));
                    all.insert(tag.get());
                }
            }
        }
        assert_eq!(all.len(), KINDS.len() * limits.len() * subjects.len());
        assert!(!all.contains(&0));
        assert_eq!((Tag::of_word(0), Tag::of_word(3 << 62)), (None, None));
    }

    #[test]
    fn an_address_has_a_tag_of_its_own_and_an_ipv6_host_one_for_its_network() {
        let hasher = AddressHasher::new([1, 2]);
        let tag = |limit, client: &str| {
            let client = client.parse().unwrap();
            Tag::of_address(Kind::Quota, number(limit), client, &hasher)
        };
        let one = tag(1, "192.0.2.1");
        assert!(one.is_address() && one.kind() == Kind::Quota);
        assert_eq!(one, tag(1, "::ffff:192.0.2.1"));
        assert_ne!(one, tag(2, "192.0.2.1"));
        assert_ne!(one, tag(1, "192.0.2.2"));
        assert_eq!(tag(1, "2001:db8:0:1::1"), tag(1, "2001:db8:0:1:ffff::9"));
        assert_ne!(tag(1, "2001:db8:0:1::1"), tag(1, "2001:db8:0:2::1"));
        let other = AddressHasher::new([1, 3]);
        let client = "192.0.2.1".parse().unwrap();
        assert_ne!(one, Tag::of_address(Kind::Quota, number(1), client, &other));
    }

    /// Control counts subjects up from one, so neighbors are the common case.
    #[test]
    fn neighboring_subjects_scatter_over_a_table() {
        for round in 0..4 {
            let mut low = vec![0_u32; 1 << 10];
            let mut high = vec![0_u32; 1 << 10];
            for subject in 0..(8 << 10) {
                let bits = Tag::numbered(Kind::Rate, number(3), subject).scatter(round);
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
                let tag = Tag::numbered(Kind::Rate, number(1), *subject);
                tag.scatter(0) & 0xff == tag.scatter(1) & 0xff
            })
            .count();
        assert!(shared < 30, "{shared} of 1000 fall together in both rounds");
    }
}
