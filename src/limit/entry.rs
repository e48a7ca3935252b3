//! What all limits of a worker have in common: where their words are, what they are asked with,
//! and when they are forgotten.

use crate::clock::Now;
use crate::limit::bank::{Bank, BankFull, Exchange, WordIndex};
use crate::limit::journal::Spent;
use crate::limit::schedule::{Point, Share, X16_PER_S};
use crate::limit::shard::ShardCounts;
use crate::limit::tag::Tag;

/// An entry without a live lease is forgotten when it was not used for this long.
const IDLE_X16: u64 = 10 * X16_PER_S;

/// What a limit is asked with.
#[derive(Debug)]
pub(super) struct Context<'a> {
    pub(super) bank: &'a Bank,
    pub(super) share: &'a Share,
    pub(super) counts: &'a mut ShardCounts,
    /// What was consumed of quotas, for the disk.
    pub(super) spent: &'a mut Vec<Spent>,
    pub(super) now: Now,
    /// The monotonic part of `now`.
    pub(super) at: Point,
}

impl Context<'_> {
    /// Moves a shared word; counts if another worker was faster.
    pub(super) fn exchange(&mut self, word: WordIndex, tag: Tag, from: u64, to: u64) -> Exchange {
        let exchanged = self.bank.exchange(word, tag, from, to);
        self.counts.contentions += u64::from(exchanged == Exchange::Moved);
        exchanged
    }
}

/// Why one limit gave nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Denied {
    /// It is spent.
    Spent {
        /// Until what was asked for fits, or could.
        wait_ns: u64,
    },
    /// It cannot be counted.
    Bank(BankFull),
}

impl Denied {
    pub(super) const fn spent(wait_ns: u64) -> Self {
        Self::Spent { wait_ns }
    }
}

impl From<BankFull> for Denied {
    fn from(full: BankFull) -> Self {
        Self::Bank(full)
    }
}

/// An entry that a book keeps for a while.
pub(super) trait Entry {
    /// What it is found by.
    fn tag(&self) -> Tag;

    /// When it was last asked, by [`coarse`].
    fn used(&self) -> u32;

    /// Returns what is left of its lease, where it can.
    fn release(&mut self, cx: &mut Context<'_>);

    /// Whether nothing is lost with it at `at`.
    fn is_spent(&self, at: Point) -> bool;

    /// Whether it may be forgotten for want of room; what it still holds is then lost, which errs
    /// on the safe side.
    fn may_go(&self) -> bool {
        true
    }

    /// Whether it is idle, and nothing is lost by forgetting it.
    fn is_idle(&self, at: Point) -> bool {
        let idle_for = coarse(at).wrapping_sub(self.used());
        idle_for > coarse(Point(IDLE_X16)) && self.is_spent(at)
    }
}

/// A point in units of about 17 ms, as a clock hand that goes round once in two years.
#[inline]
pub(super) fn coarse(at: Point) -> u32 {
    u32::try_from((at.0 >> 28) & u64::from(u32::MAX)).expect("masked to 32 bits")
}
