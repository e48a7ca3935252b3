//! One worker's limiter: leases of the keys it serves, and the holds of its running requests.
//!
//! In: what a request asks of its limits ([`Demand`]), and a time. Out: a [`Hold`] or a [`Refused`].
//! Most requests find a lease and touch nothing that another worker sees; the rest move one shared
//! word of the [`Bank`] for each limit. Absent on purpose: any clock but the caller's, and any
//! lock but the one on the first sight of an address.
//!
//! Invariant: every [`Hold`] is settled once; a worker without a running request has
//! `held() == 0`.

use std::sync::Arc;

use hashbrown::HashMap;
use thiserror::Error;

use crate::clock::Now;
use crate::limit::bank::{Bank, BankFull, WordIndex};
use crate::limit::book::{Book, Verdict};
use crate::limit::compiled::{CompiledLimit, Shape};
use crate::limit::concurrency::ConcurrencyEntry;
use crate::limit::entry::{Context, Denied, Entry};
use crate::limit::hold::{Claim, Claimed, Hold, Holds, Outcome};
use crate::limit::journal::Spent;
use crate::limit::quota::QuotaEntry;
use crate::limit::rate::RateEntry;
use crate::limit::schedule::{Point, Share, X16_PER_S};
use crate::limit::subjects::Demand;
use crate::limit::tag::Tag;
use crate::snapshot::catalog::LimitUnit;

/// Entries that one call of [`Shard::reconcile`] visits in each book: bounded, so that a worker with
/// many active keys answers its requests in between.
const VISITS_MAX: usize = 1_024;
/// Quotas that one call of [`Shard::take_spent`] tells about: a worker that calls it on every beat
/// tells of fifty thousand within a second.
const REPORTS_MAX: usize = 4_096;

/// How a shard shares with the others.
#[derive(Clone, Copy, Debug)]
pub struct ShardSettings {
    /// Workers of the node, at least 1.
    pub workers: u32,
    /// The worker calls [`Shard::reconcile`] about this often, in milliseconds.
    pub reconcile_ms: u32,
    /// A lease is worth at most so many requests, at least 1.
    pub lease_units_max: u64,
    /// Limits of subjects of each shape that this worker remembers, at least 1; beyond it the one that
    /// was reconciled longest ago is forgotten. An entry takes 140 bytes of address space.
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
            workers,
        }
    }
}

/// Why no hold was given; nothing was spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refused {
    /// A limit is spent.
    #[error("limit {limit} is spent for {retry_after_ns} ns")]
    Spent {
        /// Place of the limit in [`Demand::all`]: of several that are spent, the one that lasts
        /// longest.
        limit: usize,
        /// Nanoseconds until the request fits, or could; at least 1.
        retry_after_ns: u64,
    },
    /// The request cannot be counted, so it cannot be let through.
    #[error(transparent)]
    Bank(#[from] BankFull),
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

/// How often one limit said no.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitTally {
    /// Requests that it refused.
    pub refused: u64,
    /// Requests that it would have refused, did it not only watch.
    pub shadowed: u64,
}

/// One worker's limiter.
#[derive(Debug)]
pub struct Shard {
    pub(super) bank: Arc<Bank>,
    share: Share,
    pub(super) rates: Book<RateEntry>,
    pub(super) quotas: Book<QuotaEntry>,
    pub(super) places: Book<ConcurrencyEntry>,
    holds: Holds,
    counts: ShardCounts,
    /// By the limit's number.
    tallies: HashMap<u32, LimitTally, ahash::RandomState>,
    /// Quotas that have something to tell the journal.
    to_report: Vec<Tag>,
    spent: Vec<Spent>,
}

impl Shard {
    /// A shard on `bank`, which it shares with the other workers.
    pub fn new(bank: Arc<Bank>, settings: ShardSettings) -> Self {
        Self {
            bank,
            share: settings.share(),
            rates: Book::new(settings.entries_max),
            quotas: Book::new(settings.entries_max),
            places: Book::new(settings.entries_max),
            holds: Holds::default(),
            counts: ShardCounts::default(),
            tallies: HashMap::default(),
            to_report: Vec::new(),
            spent: Vec::new(),
        }
    }

    /// Takes what a request needs of every limit, or of none at all. A limit that only watches
    /// never stands in the way.
    pub fn hold(&mut self, demand: &Demand<'_>, now: Now) -> Result<Hold, Refused> {
        let at = Point::of(now.tick);
        let hold = self.holds.begin(now);
        for (place, limit) in demand.all().enumerate() {
            match self.take(demand, limit, now, at) {
                Ok(claim) => self.holds.push(&hold, claim),
                Err(Denied::Spent { .. }) if limit.shadow => {
                    self.tally(limit).shadowed += 1;
                }
                Err(Denied::Bank(_)) if limit.shadow => {}
                Err(denied) => {
                    self.settle(hold, Outcome::Unused);
                    return Err(self.refuse(denied, demand, (place, limit), now));
                }
            }
        }
        Ok(hold)
    }

    /// Returns what is left of leases to the shared words, and forgets idle entries: call it every [`ShardSettings::reconcile_ms`].
    ///
    /// Visits at most a thousand entries of a book, so a worker with more active keys than that
    /// passes them all in several calls. Nothing is lost by it but promptness: a lease is worth a
    /// few milliseconds of its limit's rate.
    pub fn reconcile(&mut self, now: Now) {
        let Self {
            bank,
            share,
            counts,
            rates,
            quotas,
            places,
            spent,
            ..
        } = self;
        let at = Point::of(now.tick);
        let mut cx = Context {
            bank,
            share,
            counts,
            spent,
            now,
            at,
        };
        pass(rates, &mut cx);
        pass(quotas, &mut cx);
        pass(places, &mut cx);
    }

    /// Holds that were given and not settled.
    pub fn held(&self) -> u64 {
        self.holds.len() as u64
    }

    /// What a hold claims.
    #[cfg(test)]
    pub(super) fn claims(&self, hold: &Hold) -> &super::hold::Claims {
        self.holds.claims(hold)
    }

    /// Limits of subjects that are remembered.
    pub fn entries(&self) -> usize {
        self.rates.len() + self.quotas.len() + self.places.len()
    }

    /// What the shard did so far.
    pub fn counts(&self) -> ShardCounts {
        self.counts
    }

    /// How often limits said no since the last call of this function, by their numbers.
    pub fn take_tallies(&mut self) -> impl Iterator<Item = (u32, LimitTally)> + '_ {
        self.tallies.drain()
    }

    /// What was consumed of quotas since the last call of this function; of many, in several calls.
    /// What is not fetched stays, and is told as one sum.
    pub fn take_spent(&mut self) -> Vec<Spent> {
        let from = self.to_report.len().saturating_sub(REPORTS_MAX);
        for tag in self.to_report.drain(from..) {
            if let Some(entry) = self.quotas.find_mut(tag) {
                entry.report(&mut self.spent);
            }
        }
        std::mem::take(&mut self.spent)
    }

    fn tally(&mut self, limit: &CompiledLimit) -> &mut LimitTally {
        self.tallies.entry(limit.number.get()).or_default()
    }

    #[inline]
    fn take(
        &mut self,
        asked: &Demand<'_>,
        limit: &CompiledLimit,
        now: Now,
        at: Point,
    ) -> Result<Claim, Denied> {
        let tag = asked.subjects.tag(limit, self.bank.hasher());
        let Self {
            bank,
            share,
            counts,
            spent,
            ..
        } = self;
        let mut cx = Context {
            bank,
            share,
            counts,
            spent,
            now,
            at,
        };
        let claimed = match &limit.shape {
            Shape::Rate(rate) => {
                let fresh = |word| RateEntry::new(tag, word, rate.terms, at);
                let units = units(limit.unit, asked).min(rate.burst);
                let slots = with_entry(&mut self.rates, tag, &mut cx, fresh, |entry, cx| {
                    entry.take(cx, rate, units)
                });
                Claimed::Slots(slots?, limit.unit)
            }
            Shape::Quota(quota) => {
                let fresh = |word| QuotaEntry::new(tag, word, at);
                let units = units(limit.unit, asked).min(quota.units);
                let to_report = &mut self.to_report;
                let taken = with_entry(&mut self.quotas, tag, &mut cx, fresh, |entry, cx| {
                    let taken = entry.take(cx, quota, units)?;
                    entry.list(to_report);
                    Ok(taken)
                });
                Claimed::Units(taken?, limit.unit)
            }
            Shape::Concurrent(most) => {
                let fresh = |word| ConcurrencyEntry::new(tag, word, at);
                let most = *most;
                with_entry(&mut self.places, tag, &mut cx, fresh, |entry, cx| {
                    entry.take(cx, most)
                })?;
                Claimed::Place(most)
            }
        };
        Ok(Claim { tag, claimed })
    }

    /// Ends a hold. The claim of a forgotten entry is lost, which errs on the safe side.
    pub fn settle(&mut self, hold: Hold, outcome: Outcome) {
        let claims = self.holds.claims(&hold);
        if !claims.is_open && outcome != Outcome::Unused {
            // It cost what was held: nothing is left to do.
            self.holds.end(&hold);
            return;
        }
        self.settle_claims(&hold, outcome);
        self.holds.end(&hold);
    }

    fn settle_claims(&mut self, hold: &Hold, outcome: Outcome) {
        let claims = self.holds.claims(hold);
        let mut cx = Context {
            bank: &self.bank,
            share: &self.share,
            counts: &mut self.counts,
            spent: &mut self.spent,
            now: claims.now,
            at: Point::of(claims.now.tick),
        };
        for claim in claims.iter() {
            match claim.claimed {
                Claimed::Place(most) => {
                    if let Some(entry) = self.places.find_mut(claim.tag) {
                        entry.end(&mut cx, most);
                    }
                }
                Claimed::Slots(slots, unit) => {
                    if let Some(cost) = outcome.cost(unit)
                        && let Some(entry) = self.rates.find_mut(claim.tag)
                    {
                        entry.settle(&mut cx, slots, cost);
                    }
                }
                Claimed::Units(taken, unit) => {
                    if let Some(cost) = outcome.cost(unit)
                        && let Some(entry) = self.quotas.find_mut(claim.tag)
                    {
                        entry.settle(&mut cx, taken, cost);
                        entry.list(&mut self.to_report);
                    }
                }
            }
        }
    }

    /// The refusal of a request that one limit denied; looks at the further limits too, so that the
    /// caller is told when all of them would admit.
    #[cold]
    fn refuse(
        &mut self,
        denied: Denied,
        asked: &Demand<'_>,
        (place, limit): (usize, &CompiledLimit),
        now: Now,
    ) -> Refused {
        let wait_ns = match denied {
            Denied::Spent { wait_ns } => wait_ns,
            Denied::Bank(full) => {
                self.counts.refused_bank_full += 1;
                return Refused::Bank(full);
            }
        };
        self.counts.refused_spent += 1;
        self.tally(limit).refused += 1;
        let mut longest = (place, wait_ns);
        for (later, limit) in asked.all().enumerate().skip(place + 1) {
            if limit.shadow {
                continue;
            }
            let wait_ns = self.wait_ns(&asked.subjects, limit, now);
            if wait_ns > longest.1 {
                longest = (later, wait_ns);
            }
        }
        Refused::Spent {
            limit: longest.0,
            retry_after_ns: longest.1.max(1),
        }
    }
}

/// Passes the entries that were passed longest ago, as many as one call may.
fn pass<E: Entry>(book: &mut Book<E>, cx: &mut Context<'_>) {
    for _ in 0..book.len().min(VISITS_MAX) {
        book.pass_oldest(|entry| {
            entry.release(cx);
            if !entry.is_idle(cx.at) {
                return Verdict::Keep;
            }
            cx.counts.forgotten += 1;
            Verdict::Forget
        });
    }
}

/// Takes from the entry of `tag`; from a new one, if it is not remembered.
#[inline]
fn with_entry<E: Entry, T>(
    book: &mut Book<E>,
    tag: Tag,
    cx: &mut Context<'_>,
    fresh: impl FnOnce(WordIndex) -> E,
    take: impl FnOnce(&mut E, &mut Context<'_>) -> Result<T, Denied>,
) -> Result<T, Denied> {
    if let Some(entry) = book.find_mut(tag) {
        return take(entry, cx);
    }
    let entry = remember(book, tag, cx, fresh)?;
    take(entry, cx)
}

/// Makes an entry for a limit that this worker does not remember.
#[cold]
fn remember<'b, E: Entry>(
    book: &'b mut Book<E>,
    tag: Tag,
    cx: &mut Context<'_>,
    fresh: impl FnOnce(WordIndex) -> E,
) -> Result<&'b mut E, Denied> {
    let word = cx.bank.find_or_insert(tag, cx.now)?;
    if book.is_full() {
        // What cannot be returned is lost with it, which errs on the safe side.
        let made_room = book.make_room(|entry| {
            entry.release(cx);
            entry.may_go()
        });
        if !made_room {
            return Err(Denied::Bank(BankFull));
        }
    }
    Ok(book.insert(fresh(word)))
}

/// What a request takes of a limit in advance; at its end it is settled at the real cost.
#[inline]
fn units(unit: LimitUnit, asked: &Demand<'_>) -> u64 {
    match unit {
        LimitUnit::Requests => 1,
        LimitUnit::BytesIn => asked.bytes_in.max(1),
        // Nobody knows yet how long the answer is; who has one byte left gets one.
        LimitUnit::BytesOut => 1,
    }
}
