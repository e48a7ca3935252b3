//! A rate of one subject, as one worker remembers it: its lease, and where its shared word is.
//!
//! Here the pure answers of [`schedule`](super::schedule) and [`lease`](super::lease) are applied
//! to the shared word: taking, returning, taking more than was asked for, and, after a change of
//! terms, letting go of old debt.

use crate::limit::bank::{Bank, Exchange, WordIndex};
use crate::limit::compiled::Rate;
use crate::limit::entry::{Context, Denied, Entry, coarse};
use crate::limit::lease::{Lease, Slice};
use crate::limit::schedule::{Point, Terms, debit, ns_ceil};
use crate::limit::tag::Tag;

/// A rate of one subject, as this worker remembers it.
#[derive(Debug)]
pub(super) struct RateEntry {
    tag: Tag,
    /// What the lease was taken under.
    terms: Terms,
    lease: Lease,
    word: WordIndex,
    /// When it was last asked, by [`coarse`].
    used: u32,
}

// One cache line an entry: a held request touches no second one beside the table's control bytes.
const _: () = assert!(size_of::<RateEntry>() == 64);

impl RateEntry {
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

    /// Takes the slots of `units`, at most a burst, nearly always from the lease in hand.
    #[inline]
    pub(super) fn take(
        &mut self,
        cx: &mut Context<'_>,
        rate: &Rate,
        units: u64,
    ) -> Result<Slice, Denied> {
        self.used = coarse(cx.at);
        if self.terms == rate.terms
            && let Some(slots) = self.lease.slice.spend(rate.terms.span_x16(units), cx.at)
        {
            return Ok(slots);
        }
        self.renew(cx, rate, units)
    }

    /// Takes back slots that were not used.
    pub(super) fn give_back(&mut self, slots: Slice) {
        self.lease.give_back(slots);
    }

    /// Ends a hold of `slots` at its real cost of `units`: gives back what was too much; what was
    /// too little becomes debt, which later requests wait for.
    pub(super) fn settle(&mut self, cx: &mut Context<'_>, slots: Slice, units: u64) {
        let span_x16 = self.terms.span_x16(units);
        let covered = slots.start.plus(span_x16);
        if covered < slots.end {
            self.give_back(Slice {
                start: covered,
                end: slots.end,
            });
            return;
        }
        let mut debt_x16 = covered.since(slots.end);
        debt_x16 -= self.lease.slice.take_span(debt_x16, cx.at);
        if debt_x16 == 0 {
            return;
        }
        loop {
            let word = cx.bank.load(self.word);
            let indebted = Point(word).max(cx.at).plus(debt_x16);
            match cx.exchange(self.word, self.tag, word, indebted.0) {
                Exchange::Done => return,
                Exchange::Moved => {}
                Exchange::Gone => match cx.bank.find_or_insert(self.tag, cx.now) {
                    Ok(word) => self.word = word,
                    // An address that cannot be counted is refused from now on anyway.
                    Err(_) => return,
                },
            }
        }
    }

    /// From where on the schedule is free for this worker, and how many units it holds before
    /// that; changes nothing.
    pub(super) fn peek(&self, bank: &Bank, terms: Terms, at: Point) -> (Point, u64) {
        let word = Point(bank.peek(self.word, self.tag).unwrap_or(0));
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

    /// Takes slots that the slice in hand does not hold: from what came back, or by a new lease.
    #[inline(never)]
    fn renew(&mut self, cx: &mut Context<'_>, rate: &Rate, units: u64) -> Result<Slice, Denied> {
        let terms = rate.terms;
        if self.terms != terms {
            // What was spent stays spent, since the word stays; units of the old length do not
            // fit the new schedule.
            self.release(cx);
            self.lease = Lease::default();
            self.terms = terms;
        }
        let span_x16 = terms.span_x16(units);
        if let Some(slots) = self.lease.spare.spend(span_x16, cx.at) {
            return Ok(slots);
        }
        // Another worker's success is the only thing that repeats this, so some worker proceeds.
        loop {
            let word = cx.bank.load(self.word);
            match debit(Point(word), self.lease.slice, terms, cx.share, cx.at, units) {
                Ok(slice) => match cx.exchange(self.word, self.tag, word, slice.end.0) {
                    Exchange::Done => {
                        cx.counts.leases_taken += 1;
                        return Ok(self.begin(slice, span_x16, Point(word), cx.at));
                    }
                    Exchange::Moved => {}
                    Exchange::Gone => self.word = cx.bank.find_or_insert(self.tag, cx.now)?,
                },
                Err(shortfall) => {
                    let most_x16 = rate.overdue_x16.saturating_add(span_x16);
                    let wait_x16 = if shortfall.wait_x16 > most_x16 {
                        self.lower(cx.bank, Point(word), terms, cx.at);
                        span_x16
                    } else {
                        shortfall.wait_x16
                    };
                    return Err(Denied::spent(ns_ceil(wait_x16)));
                }
            }
        }
    }

    /// Spends the first slots of a new lease; the old one is kept aside if it still holds a unit
    /// and was not taken into the new one.
    fn begin(&mut self, mut slice: Slice, span_x16: u64, word: Point, at: Point) -> Slice {
        let old = self.lease.slice;
        let is_apart = word != old.end;
        if is_apart && self.lease.spare.units(self.terms.interval_x16, at) == 0 {
            self.lease.spare = old;
        }
        let slots = slice.spend(span_x16, at);
        self.lease.slice = slice;
        slots.expect("a lease begins with what it was taken for")
    }

    /// Lets go of debt that the terms do not know: when a limit was changed from hours to
    /// seconds, a word may stand hours ahead of what a full burst would explain.
    ///
    /// The word is then set to a burst just spent. No word comes that far ahead under unchanged
    /// terms: a worker debits up to its own reading of the clock plus the capacity, a reading
    /// is used within the same decision, and the debt of a limit on bytes is worth a day at most.
    fn lower(&self, bank: &Bank, word: Point, terms: Terms, at: Point) {
        // Whether it succeeds or another worker was faster: the next request sees what came of it.
        let _ = bank.exchange(self.word, self.tag, word.0, at.plus(terms.capacity_x16).0);
    }
}

impl Entry for RateEntry {
    fn tag(&self) -> Tag {
        self.tag
    }

    fn used(&self) -> u32 {
        self.used
    }

    /// Returns what is left of the lease if nobody debited after it; else keeps what still holds
    /// a unit.
    fn release(&mut self, cx: &mut Context<'_>) {
        self.lease.tidy(self.terms.interval_x16, cx.at);
        let slice = self.lease.slice;
        if slice.is_empty() {
            return;
        }
        let (end, start) = (slice.end.0, slice.start.0);
        if cx.bank.exchange(self.word, self.tag, end, start) == Exchange::Done {
            cx.counts.leases_returned += 1;
            self.lease.slice.end = slice.start;
        }
    }

    fn is_spent(&self, at: Point) -> bool {
        self.lease.units(self.terms, at) == 0
    }
}
