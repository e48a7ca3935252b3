//! The virtual schedule of a limit: pure arithmetic of the generic cell rate algorithm (GCRA).
//!
//! In: a [`LimitEntry`] as control wrote it, the shared word of a subject, and a time. Out: a
//! [`Slice`] of the schedule to be debited, or how long to wait. Nothing here is shared, stored
//! or atomic; [`bank`](super::bank) and [`shard`](super::shard) apply the answers.
//!
//! The unit of time is a sixteenth of a nanosecond (`_x16`) since the clock's start: fine enough
//! that rounding the interval up costs less than 0.01 % of the rate at a million requests a
//! second, and wide enough for 36 years in a `u64`.

use std::num::NonZeroU32;

use thiserror::Error;

use crate::clock::Tick;
use crate::limit::lease::Slice;
use crate::snapshot::catalog::LimitEntry;

/// Sixteenths in a nanosecond.
const X16_PER_NS: u64 = 16;
/// Sixteenths of a nanosecond in a millisecond.
const X16_PER_MS: u64 = 1_000_000 * X16_PER_NS;
/// Sixteenths of a nanosecond in a second.
pub(super) const X16_PER_S: u64 = 1_000 * X16_PER_MS;
/// The longest capacity, nine years, and the latest time, eighteen: their sum fits a word.
const CAPACITY_MAX_X16: u64 = 1 << 62;
const NOW_MAX_NS: u64 = (1 << 63) / X16_PER_NS;

/// A point of the virtual schedule: sixteenths of a nanosecond since the clock's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Point(pub(super) u64);

impl Point {
    /// The point at which the schedule stands at `now`.
    #[inline]
    pub fn of(now: Tick) -> Self {
        Self(now.0.min(NOW_MAX_NS) * X16_PER_NS)
    }

    /// The point `span_x16` later.
    #[inline]
    #[must_use]
    pub fn plus(self, span_x16: u64) -> Self {
        Self(self.0.saturating_add(span_x16))
    }

    /// How far `earlier` lies back; zero if it lies ahead.
    #[inline]
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// A span of the schedule in nanoseconds, rounded up.
pub(super) fn ns_ceil(span_x16: u64) -> u64 {
    span_x16.div_ceil(X16_PER_NS)
}

/// What a limit asks of the schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Length of one unit's slot, the emission interval T: the period divided by the requests,
    /// rounded up, so that the rate granted is never above the rate set.
    pub interval_x16: u64,
    /// How far the schedule may run ahead of the clock: `burst` intervals.
    pub capacity_x16: u64,
}

/// Why a limit of the catalog cannot be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum LimitError {
    /// Numbers start at one.
    #[error("number: is 0; numbers start at 1")]
    NumberZero,
    /// A limit of nothing would refuse everything; leave the API out of the plan instead.
    #[error("requests: is 0; at least 1 is needed")]
    RequestsZero,
    /// More than one request in a sixteenth of a nanosecond cannot be told apart.
    #[error("requests: is more than 16 a nanosecond over period_ms; lower it")]
    RateTooHigh,
    /// No period.
    #[error("period_ms: is 0; at least 1 is needed")]
    PeriodZero,
    /// A burst of nothing would refuse everything.
    #[error("burst: is 0; at least 1 is needed")]
    BurstZero,
    /// The schedule would run ahead further than a word can tell.
    #[error("burst: takes more than nine years to come back at this rate; lower it")]
    BurstTooLong,
}

/// One limit of a plan, ready for the decision: made once a generation from its [`LimitEntry`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompiledLimit {
    /// Stable number over all plans: names the limit's words in the bank.
    pub number: NonZeroU32,
    /// Name in `RateLimit` and `RateLimit-Policy`.
    pub name: Box<str>,
    /// Requests per window of the advertised policy.
    pub quota: u64,
    /// The advertised window in whole seconds.
    pub window_s: u64,
    /// Requests that may come at once.
    pub burst: u64,
    /// The schedule that the limit is held to.
    pub terms: Terms,
}

impl CompiledLimit {
    /// Compiles one limit.
    ///
    /// The schedule is exact to a sixteenth of a nanosecond per request. The advertised window is
    /// the period; one that is no whole number of seconds is advertised rounded up, with the
    /// requests of that longer window.
    pub fn new(entry: &LimitEntry) -> Result<Self, LimitError> {
        let number = NonZeroU32::new(entry.number).ok_or(LimitError::NumberZero)?;
        if entry.requests == 0 {
            return Err(LimitError::RequestsZero);
        }
        if entry.period_ms == 0 {
            return Err(LimitError::PeriodZero);
        }
        if entry.burst == 0 {
            return Err(LimitError::BurstZero);
        }
        let period_x16 = u128::from(entry.period_ms) * u128::from(X16_PER_MS);
        if u128::from(entry.requests) > period_x16 {
            return Err(LimitError::RateTooHigh);
        }
        let interval_x16 = period_x16.div_ceil(u128::from(entry.requests));
        let capacity_x16 = interval_x16
            .checked_mul(u128::from(entry.burst))
            .and_then(|capacity| u64::try_from(capacity).ok())
            .filter(|capacity| *capacity <= CAPACITY_MAX_X16)
            .ok_or(LimitError::BurstTooLong)?;
        // Not above the capacity, since a burst is at least one interval.
        let interval_x16 = u64::try_from(interval_x16).map_err(|_| LimitError::BurstTooLong)?;
        let window_s = entry.period_ms.div_ceil(1_000);
        let quota =
            u128::from(entry.requests) * u128::from(window_s) * 1_000 / u128::from(entry.period_ms);
        Ok(Self {
            number,
            name: entry.name.as_str().into(),
            quota: u64::try_from(quota).unwrap_or(u64::MAX),
            window_s,
            burst: entry.burst,
            terms: Terms {
                interval_x16,
                capacity_x16,
            },
        })
    }
}

/// How much one worker may take at once.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    /// Longest lease as a span of the schedule: what the rate gives in a quarter of a
    /// reconciliation period, divided among the workers.
    pub span_x16: u64,
    /// A lease takes at most one part in this many of what is available.
    pub parts: u64,
    /// Most units of a lease, whatever the rate.
    pub units_max: u64,
}

impl Share {
    /// Units of the next lease when `free_x16` of the schedule is free: at least one, since the
    /// caller saw that one fits.
    fn units(&self, free_x16: u64, interval_x16: u64) -> u64 {
        // Most limits are too slow for leases of two: they pay for no division.
        if self.span_x16 / 2 < interval_x16 {
            return 1;
        }
        let part = free_x16 / interval_x16 / self.parts;
        part.min(self.span_x16 / interval_x16)
            .clamp(1, self.units_max)
    }
}

/// The limit is spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shortfall {
    /// Span until one unit fits.
    pub wait_x16: u64,
}

/// The slice that a worker may take at `at`, given the shared word and the slice it holds already.
///
/// The slice taken replaces `own`. When nobody debited since `own` was taken (the word still
/// stands at its end), what is left of it counts as free, so a lone worker loses nothing between
/// two leases. The caller makes it true by moving the word from `word` to the slice's end.
pub fn debit(
    word: Point,
    own: Slice,
    terms: Terms,
    share: &Share,
    at: Point,
) -> Result<Slice, Shortfall> {
    let base = if word == own.end { own.start } else { word };
    let start = base.max(at);
    let horizon = at.plus(terms.capacity_x16);
    let first_end = start.plus(terms.interval_x16);
    if first_end > horizon {
        return Err(Shortfall {
            wait_x16: first_end.since(horizon),
        });
    }
    let units = share.units(horizon.since(start), terms.interval_x16);
    Ok(Slice {
        start,
        end: start.plus(units * terms.interval_x16),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::model::{entry, limit};

    const ALONE: Share = Share {
        span_x16: u64::MAX,
        parts: 1,
        units_max: u64::MAX,
    };

    fn slice(start: u64, end: u64) -> Slice {
        Slice {
            start: Point(start),
            end: Point(end),
        }
    }

    const TEN: Terms = Terms {
        interval_x16: 10,
        capacity_x16: 100,
    };

    #[test]
    fn the_interval_is_the_period_over_the_requests_rounded_up() {
        let interval = |requests, period_ms| limit(1, requests, period_ms, 1).terms.interval_x16;
        assert_eq!(interval(1, 1_000), 16_000_000_000);
        assert_eq!(interval(3, 1_000), 5_333_333_334);
        assert_eq!(interval(1_000_000, 1_000), 16_000);
        assert_eq!(interval(7, 3_600_000), 8_228_571_428_572);
        assert_eq!(interval(16_000_000_000, 1_000), 1);
        assert_eq!(limit(1, 3, 1_000, 5).terms.capacity_x16, 5 * 5_333_333_334);
    }

    #[test]
    fn a_limit_that_cannot_be_held_says_why() {
        let error = |number, requests, period_ms, burst| {
            CompiledLimit::new(&entry(number, requests, period_ms, burst)).unwrap_err()
        };
        assert_eq!(error(0, 1, 1_000, 1), LimitError::NumberZero);
        assert_eq!(error(1, 0, 1_000, 1), LimitError::RequestsZero);
        assert_eq!(error(1, 1, 0, 1), LimitError::PeriodZero);
        assert_eq!(error(1, 1, 1_000, 0), LimitError::BurstZero);
        assert_eq!(error(1, 16_000_001, 1, 1), LimitError::RateTooHigh);
        assert_eq!(error(1, 1, u64::MAX, 1), LimitError::BurstTooLong);
        assert_eq!(error(1, 1, 3_600_000, u64::MAX), LimitError::BurstTooLong);
        assert_eq!(
            error(1, u64::MAX, u64::MAX, u64::MAX),
            LimitError::BurstTooLong
        );
    }

    #[test]
    fn the_advertised_window_is_whole_seconds() {
        let policy = |requests, period_ms| {
            let limit = limit(1, requests, period_ms, 1);
            (limit.quota, limit.window_s)
        };
        assert_eq!(policy(10, 1_000), (10, 1));
        assert_eq!(policy(10, 3_600_000), (10, 3_600));
        assert_eq!(policy(10, 500), (20, 1));
        assert_eq!(policy(3, 1_500), (4, 2));
    }

    #[test]
    fn a_lease_begins_where_the_word_stands_and_ends_within_the_capacity() {
        let fresh = Slice::default();
        assert_eq!(
            debit(Point(0), fresh, TEN, &ALONE, Point(1_000)),
            Ok(slice(1_000, 1_100))
        );
        assert_eq!(
            debit(Point(1_035), fresh, TEN, &ALONE, Point(1_000)),
            Ok(slice(1_035, 1_095))
        );
        assert_eq!(
            debit(Point(1_090), fresh, TEN, &ALONE, Point(1_000)),
            Ok(slice(1_090, 1_100))
        );
    }

    #[test]
    fn a_spent_schedule_says_when_one_unit_fits() {
        let wait = |word| debit(Point(word), Slice::default(), TEN, &ALONE, Point(1_000));
        assert_eq!(wait(1_091), Err(Shortfall { wait_x16: 1 }));
        assert_eq!(wait(1_100), Err(Shortfall { wait_x16: 10 }));
    }

    #[test]
    fn a_worker_that_nobody_overtook_continues_where_its_lease_stands() {
        let rest = slice(1_026, 1_030);
        assert_eq!(
            debit(Point(1_030), rest, TEN, &ALONE, Point(1_000)),
            Ok(slice(1_026, 1_096))
        );
        assert_eq!(
            debit(Point(1_040), rest, TEN, &ALONE, Point(1_000)),
            Ok(slice(1_040, 1_100))
        );
    }

    #[test]
    fn a_lease_is_a_small_share_and_one_unit_near_the_limit() {
        let share = Share {
            span_x16: 40,
            parts: 4,
            units_max: 3,
        };
        let units = |word, share: &Share| {
            let lease = debit(Point(word), Slice::default(), TEN, share, Point(1_000)).unwrap();
            lease.units(10, Point(1_000))
        };
        assert_eq!(units(1_000, &share), 2, "a quarter of ten");
        assert_eq!(units(1_060, &share), 1, "a quarter of four");
        assert_eq!(units(1_090, &share), 1, "the last one");
        assert_eq!(
            units(1_000, &Share { parts: 1, ..share }),
            3,
            "at most three"
        );
        assert_eq!(
            units(
                1_000,
                &Share {
                    span_x16: 19,
                    parts: 1,
                    ..share
                }
            ),
            1,
            "a short span"
        );
    }

    #[test]
    fn the_latest_time_and_the_longest_capacity_fit_a_word() {
        let latest = Point::of(Tick(u64::MAX));
        let terms = Terms {
            interval_x16: CAPACITY_MAX_X16,
            capacity_x16: CAPACITY_MAX_X16,
        };
        let lease = debit(latest, Slice::default(), terms, &ALONE, latest).unwrap();
        assert_eq!(lease.end.since(lease.start), CAPACITY_MAX_X16);
    }
}
