//! How many connections each client address has, on all workers together.
//!
//! `SO_REUSEPORT` spreads the connections of one address over all workers, so a count that each
//! keeps for itself would be off by a factor. This table is the node's: a fixed array of words,
//! touched when a connection comes and when it ends and never in between. A word holds a count and
//! a tag, the upper bits of the address's keyed hash; the lower bits say where the words begin
//! among which it may stand.
//!
//! Invariants:
//! - An address that has connections stands in one word only: whoever adds to a word looks at the
//!   others afterwards, and takes its addition back if the address stands in a second one. Of two
//!   that add at the same time, the later one sees the earlier one's word.
//! - So never more than `connections_max` are counted for an address. In a race one too many may be
//!   refused, for as long as the race lasts.
//! - IPv6 counts by /64, which is what one subscriber has to choose addresses from.
//!
//! Two addresses with one tag in one window would share a count: with the node's secret hash keys
//! nobody can aim at that, and by chance it happens once in some 2^40 pairs of neighbors. A
//! connection that finds its whole window taken by other addresses is admitted uncounted.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};

/// Words among which an address may stand: two cache lines.
const WINDOW: usize = 16;

/// Low bits of a word that count connections; the tag has the rest.
const COUNT_BITS: u32 = 20;
const COUNT: u64 = (1 << COUNT_BITS) - 1;

/// Most connections of one address that a word can count.
pub const COUNTED_MAX: u32 = (1 << COUNT_BITS) - 1;

/// The table has at most this many words, 16 MiB.
const WORDS_MAX: usize = 1 << 21;

/// Attempts of one connection. Each failure means that another worker changed the same words at
/// the same moment.
const ATTEMPTS_MAX: u32 = 64;

/// The counts of all addresses.
#[derive(Debug)]
pub struct PerAddress {
    words: Box<[AtomicU64]>,
    connections_max: u32,
    hasher: ahash::RandomState,
}

/// Whether a connection may stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// Yes; its word, for [`PerAddress::leave`].
    At(u32),
    /// Yes, without being counted.
    Not,
    /// No: its address has as many as it may.
    Full,
}

impl PerAddress {
    /// A table for at most `connections_max` connections of an address, 0 for any number, on a node
    /// that has at most `node_connections_max`.
    pub fn new(connections_max: u32, node_connections_max: usize) -> Self {
        let words = match connections_max {
            0 => 0,
            // Half empty at the worst, so that no window fills up by chance.
            _ => node_connections_max
                .saturating_mul(2)
                .clamp(1024, WORDS_MAX)
                .next_power_of_two(),
        };
        Self {
            words: (0..words).map(|_| AtomicU64::new(0)).collect(),
            connections_max: connections_max.min(COUNTED_MAX),
            hasher: ahash::RandomState::new(),
        }
    }

    /// Counts a connection of `address`, unless it has as many as it may.
    pub fn enter(&self, address: IpAddr) -> Counted {
        if self.words.is_empty() {
            return Counted::Not;
        }
        let hash = self.hasher.hash_one(subscriber(address));
        for _ in 0..ATTEMPTS_MAX {
            let Some(at) = self.find(hash) else {
                return Counted::Not;
            };
            match self.add(at, hash) {
                Added::Yes if self.stands_elsewhere(hash, at) => self.leave(at),
                Added::Yes => return Counted::At(at),
                Added::Full => return Counted::Full,
                Added::Taken => {}
            }
        }
        Counted::Full
    }

    /// Ends the connection that was counted at `at`.
    pub fn leave(&self, at: u32) {
        if let Some(word) = self.word(at) {
            // The tag stays: a word whose count is zero is free whatever its tag says.
            word.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Where the address of `hash` stands, or else where it may.
    fn find(&self, hash: u64) -> Option<u32> {
        let mut free = None;
        for at in self.window(hash) {
            let word = self.load(at);
            if word & COUNT == 0 {
                free = free.or(Some(at));
            } else if word & !COUNT == hash & !COUNT {
                return Some(at);
            }
        }
        free
    }

    fn add(&self, at: u32, hash: u64) -> Added {
        let Some(word) = self.word(at) else {
            return Added::Taken;
        };
        let mut refused = Added::Taken;
        let added = word.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |seen| {
            let count = seen & COUNT;
            if count == 0 {
                return Some(hash & !COUNT | 1);
            }
            let same = seen & !COUNT == hash & !COUNT;
            let room = count < u64::from(self.connections_max);
            refused = if same { Added::Full } else { Added::Taken };
            (same && room).then_some(seen + 1)
        });
        added.map_or(refused, |_| Added::Yes)
    }

    fn stands_elsewhere(&self, hash: u64, here: u32) -> bool {
        self.window(hash).any(|at| {
            let word = self.load(at);
            at != here && word & COUNT != 0 && word & !COUNT == hash & !COUNT
        })
    }

    fn window(&self, hash: u64) -> impl Iterator<Item = u32> + use<> {
        // The length is a power of two, at most `WORDS_MAX`.
        let mask = u64::try_from(self.words.len() - 1).unwrap_or(0);
        (0..WINDOW as u64)
            .map(move |step| u32::try_from(hash.wrapping_add(step) & mask).unwrap_or(0))
    }

    fn word(&self, at: u32) -> Option<&AtomicU64> {
        self.words.get(usize::try_from(at).ok()?)
    }

    fn load(&self, at: u32) -> u64 {
        self.word(at).map_or(0, |word| word.load(Ordering::SeqCst))
    }
}

/// What became of an addition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Added {
    Yes,
    Full,
    /// The word went to another address in the meantime.
    Taken,
}

/// What counts as one address.
fn subscriber(address: IpAddr) -> u128 {
    match address.to_canonical() {
        // As a mapped one, which no IPv6 network shares.
        IpAddr::V4(v4) => Ipv6Addr::to_bits(v4.to_ipv6_mapped()),
        IpAddr::V6(v6) => v6.to_bits() >> 64 << 64,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::atomic::AtomicU32;

    use proptest::prelude::*;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn entered(table: &PerAddress, address: IpAddr) -> u32 {
        match table.enter(address) {
            Counted::At(at) => at,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_address_has_its_share_and_no_more_and_others_have_theirs() {
        let table = PerAddress::new(2, 100);
        let (one, other) = (ip("192.0.2.1"), ip("192.0.2.2"));
        let first = entered(&table, one);
        entered(&table, one);
        assert_eq!(table.enter(one), Counted::Full);
        entered(&table, other);
        table.leave(first);
        entered(&table, one);
        assert_eq!(table.enter(one), Counted::Full);
    }

    #[test]
    fn ipv6_counts_by_its_network_and_a_mapped_address_as_what_it_maps() {
        let table = PerAddress::new(1, 100);
        entered(&table, ip("2001:db8:0:1::1"));
        assert_eq!(table.enter(ip("2001:db8:0:1:ffff::2")), Counted::Full);
        entered(&table, ip("2001:db8:0:2::1"));
        entered(&table, ip("192.0.2.1"));
        assert_eq!(table.enter(ip("::ffff:192.0.2.1")), Counted::Full);
        // All of ::/64 would be one with IPv4, if that were not kept as mapped.
        entered(&table, ip("::1"));
    }

    #[test]
    fn without_a_cap_nothing_is_counted_and_no_memory_used() {
        let table = PerAddress::new(0, 100_000);
        assert_eq!(table.enter(ip("192.0.2.1")), Counted::Not);
        assert!(table.words.is_empty());
    }

    #[test]
    fn an_address_whose_window_is_taken_is_admitted_uncounted() {
        let table = PerAddress::new(1, 1);
        for word in &table.words {
            word.store(1, Ordering::SeqCst);
        }
        assert_eq!(table.enter(ip("192.0.2.1")), Counted::Not);
    }

    proptest! {
        #[test]
        fn it_counts_like_a_map(steps in prop::collection::vec((any::<bool>(), 0_u8..20), 0..400)) {
            let table = PerAddress::new(3, 100);
            let mut model: HashMap<u8, Vec<u32>> = HashMap::new();
            for (comes, last) in steps {
                let held = model.entry(last).or_default();
                if comes {
                    let counted = table.enter(IpAddr::from([10, 0, 0, last]));
                    if held.len() == 3 {
                        prop_assert_eq!(counted, Counted::Full);
                    } else if let Counted::At(at) = counted {
                        held.push(at);
                    } else {
                        prop_assert!(false, "{:?} with {} held", counted, held.len());
                    }
                } else if let Some(at) = held.pop() {
                    table.leave(at);
                }
            }
        }
    }

    /// The window is so small and so full that words change hands all the time.
    #[test]
    fn threads_that_come_and_go_never_have_more_than_the_cap() {
        let table = PerAddress::new(2, 1);
        let held: Vec<AtomicU32> = (0..200).map(|_| AtomicU32::new(0)).collect();
        std::thread::scope(|scope| {
            for thread in 0..4_usize {
                let (table, held) = (&table, &held);
                scope.spawn(move || {
                    for step in 0..40_000_usize {
                        let who = (step * 7 + thread * 13) % held.len();
                        let address = IpAddr::from([10, 0, 0, u8::try_from(who).unwrap()]);
                        if let Counted::At(at) = table.enter(address) {
                            assert!(held[who].fetch_add(1, Ordering::SeqCst) < 2);
                            held[who].fetch_sub(1, Ordering::SeqCst);
                            table.leave(at);
                        }
                    }
                });
            }
        });
        assert!(
            table
                .words
                .iter()
                .all(|word| word.load(Ordering::SeqCst) & COUNT == 0)
        );
    }
}
