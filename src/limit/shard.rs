//! One worker's limiter: leases of the keys it serves, and the holds of its running requests.
//!
//! In: a subject, the limits of its plan, and a time. Out: a [`Hold`] or a [`Refused`]. Most
//! requests find a lease and touch nothing that another worker sees; the rest move one shared
//! word of the [`Bank`]. Absent on purpose: any clock but the caller's, and any lock.
//!
//! Invariant: every [`Hold`] is settled once; a worker without a running request has
//! `held() == 0`.

use std::num::NonZeroU32;
use std::sync::Arc;

use thiserror::Error;

use crate::clock::Tick;
use crate::limit::bank::{Bank, BankFull};
use crate::limit::book::{Book, Verdict};
use crate::limit::entry::Entry;
use crate::limit::lease::Slice;
use crate::limit::schedule::{CompiledLimit, Point, Share, Shortfall, Terms, X16_PER_S, ns_ceil};
use crate::limit::tag::Tag;

/// Limits of a plan whose slots a hold carries in itself; those of further ones it allocates.
const SLOTS_MAX: usize = 4;
/// Entries that one call of [`Shard::reconcile`] visits: bounded, so that a worker with many
/// active keys answers its requests in between.
const VISITS_MAX: usize = 1024;

/// How a shard shares with the others.
#[derive(Clone, Copy, Debug)]
pub struct ShardSettings {
    /// Workers of the node, at least 1.
    pub workers: u32,
    /// The worker calls [`Shard::reconcile`] about this often, in milliseconds.
    pub reconcile_ms: u32,
    /// Most units of one lease, at least 1.
    pub lease_units_max: u64,
    /// Limits of subjects that this worker remembers, at least 1; beyond it the one that was
    /// reconciled longest ago is forgotten. An entry takes 140 bytes of address space.
    pub entries_max: usize,
}

impl ShardSettings {
    /// The usual settings for a node of `workers`.
    pub const fn for_workers(workers: u32) -> Self {
        Self {
            workers,
            reconcile_ms: 100,
            lease_units_max: 1024,
            entries_max: 1 << 17,
        }
    }

    fn share(&self) -> Share {
        let workers = u64::from(self.workers.max(1));
        let period_x16 = u64::from(self.reconcile_ms) * (X16_PER_S / 1_000);
        Share {
            span_x16: period_x16 / (4 * workers),
            parts: 2 * workers,
            units_max: self.lease_units_max.max(1),
        }
    }
}

/// Why no hold was given; nothing was spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refused {
    /// A limit is spent.
    #[error("limit {limit} is spent for {retry_after_ns} ns")]
    Spent {
        /// Index of the limit in the plan: of several that are spent, the one that lasts longest.
        limit: usize,
        /// Nanoseconds until one more request fits, at least 1.
        retry_after_ns: u64,
    },
    /// The request cannot be counted, so it cannot be let through.
    #[error(transparent)]
    Bank(#[from] BankFull),
}

/// What became of a request that was held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It reached its upstream, or may have: its units stay spent.
    Used,
    /// It certainly reached no upstream: its units are given back where possible.
    Unused,
}

/// One request's units of all limits of its plan. Given back to [`Shard::settle`] of the same
/// shard exactly once.
#[must_use = "a hold that is not settled leaves its request counted as running forever"]
#[derive(Debug)]
pub struct Hold {
    subject: u32,
    /// Numbers of the first limits; zero where there is none.
    numbers: [u32; SLOTS_MAX],
    slots: [Slice; SLOTS_MAX],
    more: Vec<(NonZeroU32, Slice)>,
}

impl Hold {
    #[inline]
    fn new(subject: u32) -> Self {
        Self {
            subject,
            numbers: [0; SLOTS_MAX],
            slots: [Slice::default(); SLOTS_MAX],
            more: Vec::new(),
        }
    }

    #[inline]
    fn push(&mut self, index: usize, number: NonZeroU32, slot: Slice) {
        if index < SLOTS_MAX {
            self.numbers[index] = number.get();
            self.slots[index] = slot;
        } else {
            self.more.push((number, slot));
        }
    }

    /// What was taken, of each limit.
    fn slots(&self) -> impl Iterator<Item = (NonZeroU32, Slice)> {
        let first = self.numbers.into_iter().zip(self.slots);
        let first = first.map_while(|(number, slot)| Some((NonZeroU32::new(number)?, slot)));
        first.chain(self.more.iter().copied())
    }
}

/// What a caller may be told of one of its limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Requests per advertised window.
    pub limit: u64,
    /// Requests that this worker could admit now. Leases that other workers hold are not in it:
    /// at most a small part of what is left, and for no longer than a reconciliation.
    pub remaining: u64,
    /// Whole seconds, rounded up, until one more than `remaining` is available.
    pub reset_s: u64,
}

/// What a shard did so far; only the slow paths count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShardCounts {
    /// Leases taken from shared words.
    pub leases_taken: u64,
    /// Leases of which something was returned.
    pub leases_returned: u64,
    /// Times another worker moved the word between reading and taking.
    pub contentions: u64,
    /// Requests refused because a limit was spent.
    pub refused_spent: u64,
    /// Requests refused because the bank was full.
    pub refused_bank_full: u64,
    /// Entries forgotten, being idle or for want of room.
    pub forgotten: u64,
}

/// Why one limit gave no slot.
enum Denied {
    Spent(Shortfall),
    Bank(BankFull),
}

impl From<Shortfall> for Denied {
    fn from(shortfall: Shortfall) -> Self {
        Self::Spent(shortfall)
    }
}

impl From<BankFull> for Denied {
    fn from(full: BankFull) -> Self {
        Self::Bank(full)
    }
}

/// One worker's limiter.
#[derive(Debug)]
pub struct Shard {
    bank: Arc<Bank>,
    share: Share,
    book: Book,
    held: u64,
    counts: ShardCounts,
}

impl Shard {
    /// A shard on `bank`, which it shares with the other workers.
    pub fn new(bank: Arc<Bank>, settings: ShardSettings) -> Self {
        Self {
            bank,
            share: settings.share(),
            book: Book::new(settings.entries_max),
            held: 0,
            counts: ShardCounts::default(),
        }
    }

    /// Takes one unit of every limit for a request of `subject`, or none at all.
    pub fn hold(
        &mut self,
        subject: u32,
        limits: &[CompiledLimit],
        now: Tick,
    ) -> Result<Hold, Refused> {
        let at = Point::of(now);
        let mut hold = Hold::new(subject);
        for (index, limit) in limits.iter().enumerate() {
            match self.take(Tag::new(limit.number, subject), limit.terms, at) {
                Ok(slot) => hold.push(index, limit.number, slot),
                Err(denied) => {
                    self.give_back(&hold);
                    return Err(self.refuse(denied, subject, limits, index, at));
                }
            }
        }
        self.held += 1;
        Ok(hold)
    }

    /// Ends a hold.
    pub fn settle(&mut self, hold: Hold, outcome: Outcome) {
        debug_assert!(self.held > 0, "a hold is settled by the shard that gave it");
        self.held = self.held.saturating_sub(1);
        if outcome == Outcome::Unused {
            self.give_back(&hold);
        }
    }

    /// What `subject` may be told of `limit`; one relaxed load.
    pub fn standing(&self, subject: u32, limit: &CompiledLimit, now: Tick) -> Standing {
        let at = Point::of(now);
        let Terms {
            interval_x16,
            capacity_x16,
        } = limit.terms;
        let (free_from, own_units) = self.peek(Tag::new(limit.number, subject), limit.terms, at);
        let horizon = at.plus(capacity_x16);
        let shared_units = horizon.since(free_from) / interval_x16;
        let remaining = (shared_units + own_units).min(limit.burst);
        let next = free_from.plus((shared_units + 1).saturating_mul(interval_x16));
        let wait_x16 = if remaining < limit.burst {
            next.since(horizon)
        } else {
            0
        };
        Standing {
            limit: limit.quota,
            remaining,
            reset_s: wait_x16.div_ceil(X16_PER_S),
        }
    }

    /// Returns what is left of leases to the shared words and forgets idle entries: call it every
    /// [`ShardSettings::reconcile_ms`].
    ///
    /// Visits at most a thousand entries a call, so a worker with more active keys than that
    /// passes them all in several calls. Nothing is lost by it but promptness: a lease is worth a
    /// few milliseconds of its limit's rate.
    pub fn reconcile(&mut self, now: Tick) {
        let at = Point::of(now);
        let Self {
            bank, counts, book, ..
        } = self;
        for _ in 0..book.len().min(VISITS_MAX) {
            book.pass_oldest(|entry| {
                entry.release(bank, counts, at);
                if !entry.is_idle(at) {
                    return Verdict::Keep;
                }
                counts.forgotten += 1;
                Verdict::Forget
            });
        }
    }

    /// Holds that were given and not settled.
    pub fn held(&self) -> u64 {
        self.held
    }

    /// Limits of subjects that are remembered.
    pub fn entries(&self) -> usize {
        self.book.len()
    }

    /// What the shard did so far.
    pub fn counts(&self) -> ShardCounts {
        self.counts
    }

    #[inline]
    fn take(&mut self, tag: Tag, terms: Terms, at: Point) -> Result<Slice, Denied> {
        match self.book.find_mut(tag) {
            Some(entry) => Ok(entry.take(&self.bank, &self.share, &mut self.counts, terms, at)?),
            None => self.take_first(tag, terms, at),
        }
    }

    /// [`Self::take`] for a limit that this worker does not remember.
    #[cold]
    fn take_first(&mut self, tag: Tag, terms: Terms, at: Point) -> Result<Slice, Denied> {
        let Self {
            bank,
            share,
            counts,
            book,
            ..
        } = self;
        let word = bank.find_or_insert(tag)?;
        if book.is_full() {
            // A lease that cannot be returned is lost with it, which errs on the safe side.
            book.pass_oldest(|entry| {
                entry.release(bank, counts, at);
                Verdict::Forget
            });
            counts.forgotten += 1;
        }
        let entry = book.insert(Entry::new(tag, word, terms, at));
        Ok(entry.take(bank, share, counts, terms, at)?)
    }

    fn give_back(&mut self, hold: &Hold) {
        for (number, slot) in hold.slots() {
            // The slot of a forgotten entry is lost, which errs on the safe side.
            if let Some(entry) = self.book.find_mut(Tag::new(number, hold.subject)) {
                entry.give_back(slot);
            }
        }
    }

    /// The refusal of a request that `limits[index]` denied; looks at the further limits too, so
    /// that the caller is told when all of them would admit.
    #[cold]
    fn refuse(
        &mut self,
        denied: Denied,
        subject: u32,
        limits: &[CompiledLimit],
        index: usize,
        at: Point,
    ) -> Refused {
        let shortfall = match denied {
            Denied::Spent(shortfall) => shortfall,
            Denied::Bank(full) => {
                self.counts.refused_bank_full += 1;
                return Refused::Bank(full);
            }
        };
        self.counts.refused_spent += 1;
        let mut longest = (index, shortfall.wait_x16);
        for (later, limit) in limits.iter().enumerate().skip(index + 1) {
            let tag = Tag::new(limit.number, subject);
            let (free_from, own_units) = self.peek(tag, limit.terms, at);
            let end = free_from.plus(limit.terms.interval_x16);
            let wait_x16 = end.since(at.plus(limit.terms.capacity_x16));
            if own_units == 0 && wait_x16 > longest.1 {
                longest = (later, wait_x16);
            }
        }
        Refused::Spent {
            limit: longest.0,
            retry_after_ns: ns_ceil(longest.1),
        }
    }

    /// From where on the schedule of `tag` is free for this worker, and how many units it holds
    /// before that; changes nothing.
    fn peek(&self, tag: Tag, terms: Terms, at: Point) -> (Point, u64) {
        if let Some(entry) = self.book.find(tag) {
            return entry.peek(&self.bank, terms, at);
        }
        let word = self.bank.find(tag).map(|word| self.bank.load(word));
        (word.unwrap_or_default().max(at), 0)
    }
}
