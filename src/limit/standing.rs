//! Where a limit stands: what a caller may be told of it, without taking anything.

use crate::clock::Now;
use crate::limit::compiled::{CompiledLimit, Quota, Rate, Shape};
use crate::limit::concurrency;
use crate::limit::quota;
use crate::limit::schedule::{Point, X16_PER_S, ns_ceil};
use crate::limit::shard::Shard;
use crate::limit::subjects::Subjects;
use crate::limit::tag::Tag;

/// What a caller may be told of one of its limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Units per advertised window.
    pub limit: u64,
    /// Units that this worker could admit now. Leases that other workers hold are not in it:
    /// at most a small part of what is left, and for no longer than a reconciliation.
    pub remaining: u64,
    /// Whole seconds, rounded up, until there is more than `remaining`; `None` where nobody knows.
    pub reset_s: Option<u64>,
}

impl Shard {
    /// What `subjects` may be told of `limit`; one relaxed load.
    pub fn standing(&self, subjects: &Subjects, limit: &CompiledLimit, now: Now) -> Standing {
        let tag = subjects.tag(limit, self.bank.hasher());
        let (remaining, reset_s) = match &limit.shape {
            Shape::Rate(rate) => {
                let (remaining, reset_s) = self.standing_of_rate(tag, rate, Point::of(now.tick));
                (remaining, Some(reset_s))
            }
            Shape::Quota(quota) => {
                let (remaining, reset_s) = self.standing_of_quota(tag, quota, now);
                (remaining, Some(reset_s))
            }
            Shape::Concurrent(most) => (u64::from(*most).saturating_sub(self.in_flight(tag)), None),
        };
        Standing {
            limit: limit.quota,
            remaining,
            reset_s,
        }
    }

    /// How long until `limit` has one unit; changes nothing.
    pub(super) fn wait_ns(&self, subjects: &Subjects, limit: &CompiledLimit, now: Now) -> u64 {
        let tag = subjects.tag(limit, self.bank.hasher());
        match &limit.shape {
            Shape::Rate(rate) => {
                let at = Point::of(now.tick);
                let (free_from, own_units) = self.peek_rate(tag, rate, at);
                let end = free_from.plus(rate.terms.interval_x16);
                match own_units {
                    0 => ns_ceil(end.since(at.plus(rate.terms.capacity_x16))),
                    _ => 0,
                }
            }
            Shape::Quota(quota) => match self.standing_of_quota(tag, quota, now) {
                (0, reset_s) => reset_s.saturating_mul(1_000_000_000),
                _ => 0,
            },
            Shape::Concurrent(most) if self.in_flight(tag) >= u64::from(*most) => {
                concurrency::WAIT_NS
            }
            Shape::Concurrent(_) => 0,
        }
    }

    fn standing_of_rate(&self, tag: Tag, rate: &Rate, at: Point) -> (u64, u64) {
        let interval_x16 = rate.terms.interval_x16;
        let (free_from, own_units) = self.peek_rate(tag, rate, at);
        let horizon = at.plus(rate.terms.capacity_x16);
        let shared_units = horizon.since(free_from) / interval_x16;
        let remaining = (shared_units + own_units).min(rate.burst);
        let next = free_from.plus((shared_units + 1).saturating_mul(interval_x16));
        let wait_x16 = if remaining < rate.burst {
            next.since(horizon)
        } else {
            0
        };
        (remaining, wait_x16.div_ceil(X16_PER_S))
    }

    fn standing_of_quota(&self, tag: Tag, quota: &Quota, now: Now) -> (u64, u64) {
        if let Some(entry) = self.quotas.find(tag) {
            return entry.peek(&self.bank, quota, now.wall);
        }
        let word = self.peek_word(tag).unwrap_or(0);
        let (left, _, reset_s) = quota::standing(word, quota, now.wall);
        (left, reset_s)
    }

    fn in_flight(&self, tag: Tag) -> u64 {
        match self.places.find(tag) {
            Some(entry) => entry.in_flight(&self.bank),
            None => concurrency::total(self.peek_word(tag).unwrap_or(0)),
        }
    }

    /// From where on the schedule of `tag` is free for this worker, and how many units it holds
    /// before that; changes nothing.
    fn peek_rate(&self, tag: Tag, rate: &Rate, at: Point) -> (Point, u64) {
        match self.rates.find(tag) {
            Some(entry) => entry.peek(&self.bank, rate.terms, at),
            None => (Point(self.peek_word(tag).unwrap_or(0)).max(at), 0),
        }
    }

    fn peek_word(&self, tag: Tag) -> Option<u64> {
        self.bank.peek(self.bank.find(tag)?, tag)
    }
}
