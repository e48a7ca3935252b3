//! One limit of one subject, as one worker remembers it: its lease, and where its shared word is.
//!
//! Here the pure answers of [`schedule`](super::schedule) and [`lease`](super::lease) are applied
//! to the shared word: taking, returning and, after a change of terms, letting go of old debt.

use crate::limit::bank::{Bank, WordIndex};
use crate::limit::lease::{Lease, Slice};
use crate::limit::schedule::{Point, Share, Shortfall, Terms, X16_PER_S, debit};
use crate::limit::shard::ShardCounts;
use crate::limit::tag::Tag;

/// An entry without a live lease is forgotten when it was not used for this long.
const IDLE_X16: u64 = 10 * X16_PER_S;
/// A word this far beyond what its limit allows was debited under older terms.
const OVERDUE_X16: u64 = 10 * X16_PER_S;

/// One limit of one subject, as this worker remembers it.
#[derive(Debug)]
pub(super) struct Entry {
    tag: Tag,
    /// What the lease was taken under.
    terms: Terms,
    lease: Lease,
    word: WordIndex,
    /// When it was last asked, by [`coarse`].
    used: u32,
}

// One cache line an entry: a held request touches no second one beside the table's control bytes.
const _: () = assert!(size_of::<Entry>() == 64);

impl Entry {
    /// An entry without a lease.
    pub(super) fn new(tag: Tag, word: WordIndex, terms: Terms, at: Point) -> Self {
        Self {
            tag,
            terms,
            lease: Lease::default(),
            word,
            used: coarse(at),
        }
    }

    /// What the entry is found by.
    #[inline]
    pub(super) fn tag(&self) -> Tag {
        self.tag
    }

    /// Takes one unit, nearly always from the lease in hand.
    #[inline]
    pub(super) fn take(
        &mut self,
        bank: &Bank,
        share: &Share,
        counts: &mut ShardCounts,
        terms: Terms,
        at: Point,
    ) -> Result<Slice, Shortfall> {
        self.used = coarse(at);
        if self.terms == terms
            && let Some(slot) = self.lease.slice.spend(terms.interval_x16, at)
        {
            return Ok(slot);
        }
        self.renew(bank, share, counts, terms, at)
    }

    /// Takes back the slot of a unit that was not used.
    pub(super) fn give_back(&mut self, slot: Slice) {
        self.lease.give_back(slot);
    }

    /// From where on the schedule is free for this worker, and how many units it holds before
    /// that; changes nothing.
    pub(super) fn peek(&self, bank: &Bank, terms: Terms, at: Point) -> (Point, u64) {
        let word = bank.load(self.word);
        if self.terms != terms {
            return (word.max(at), 0);
        }
        let Lease { slice, spare } = self.lease;
        let spare_units = spare.units(terms.interval_x16, at);
        if word == slice.end {
            return (slice.start.max(at), spare_units);
        }
        (
            word.max(at),
            spare_units + slice.units(terms.interval_x16, at),
        )
    }

    /// Takes a unit that the slice in hand does not hold: from what came back, or by a new lease.
    #[inline(never)]
    fn renew(
        &mut self,
        bank: &Bank,
        share: &Share,
        counts: &mut ShardCounts,
        terms: Terms,
        at: Point,
    ) -> Result<Slice, Shortfall> {
        if self.terms != terms {
            // What was spent stays spent, since the word stays; units of the old length do not
            // fit the new schedule.
            self.release(bank, counts, at);
            self.lease = Lease::default();
            self.terms = terms;
        }
        if let Some(slot) = self.lease.spare.spend(terms.interval_x16, at) {
            return Ok(slot);
        }
        // Another worker's success is the only thing that repeats this, so some worker proceeds.
        loop {
            let word = bank.load(self.word);
            match debit(word, self.lease.slice, terms, share, at) {
                Ok(mut slice) => {
                    if !bank.exchange(self.word, word, slice.end) {
                        counts.contentions += 1;
                        continue;
                    }
                    counts.leases_taken += 1;
                    let slot = slice.spend(terms.interval_x16, at);
                    self.lease.slice = slice;
                    return Ok(slot.expect("a lease begins with a whole unit"));
                }
                Err(shortfall) => {
                    return Err(self.lower(bank, word, shortfall, terms, at));
                }
            }
        }
    }

    /// Lets go of debt that the terms do not know: when a limit was changed from hours to
    /// seconds, a word may stand hours ahead of what a full burst would explain.
    ///
    /// The word is then set to a burst just spent. No word comes that far ahead under unchanged
    /// terms: a worker debits up to its own reading of the clock plus the capacity, and a reading
    /// is used within the same decision, not [`OVERDUE_X16`] later.
    fn lower(
        &self,
        bank: &Bank,
        word: Point,
        shortfall: Shortfall,
        terms: Terms,
        at: Point,
    ) -> Shortfall {
        if shortfall.wait_x16 <= OVERDUE_X16.saturating_add(terms.interval_x16) {
            return shortfall;
        }
        bank.exchange(self.word, word, at.plus(terms.capacity_x16));
        Shortfall {
            wait_x16: terms.interval_x16,
        }
    }

    /// Returns what is left of the lease if nobody debited after it; else keeps what still holds
    /// a unit.
    pub(super) fn release(&mut self, bank: &Bank, counts: &mut ShardCounts, at: Point) {
        self.lease.tidy(self.terms.interval_x16, at);
        let slice = self.lease.slice;
        if slice.is_empty() {
            return;
        }
        if bank.exchange(self.word, slice.end, slice.start) {
            counts.leases_returned += 1;
            self.lease.slice.end = slice.start;
        }
    }

    /// Whether nothing is lost by forgetting the entry.
    pub(super) fn is_idle(&self, at: Point) -> bool {
        let idle_for = coarse(at).wrapping_sub(self.used);
        idle_for > coarse(Point(IDLE_X16)) && self.lease.units(self.terms, at) == 0
    }
}

/// A point in units of about 17 ms, as a clock hand that goes round once in two years.
fn coarse(at: Point) -> u32 {
    u32::try_from((at.0 >> 28) & u64::from(u32::MAX)).expect("masked to 32 bits")
}
