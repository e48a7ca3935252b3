//! The virtual schedule of a limit: pure arithmetic of the generic cell rate algorithm (GCRA).
//!
//! In: the [`Terms`] of a limit, the shared word of a subject, and a time. Out: a
//! [`Slice`] of the schedule to be debited, or how long to wait. Nothing here is shared, stored
//! or atomic; [`bank`](super::bank) and [`shard`](super::shard) apply the answers.
//!
//! The unit of time is a sixteenth of a nanosecond (`_x16`) since the clock's start: fine enough
//! that rounding the interval up costs less than 0.01 % of the rate at a million requests a
//! second, and wide enough for 36 years in a `u64`.

use crate::clock::Tick;
use crate::limit::lease::Slice;

/// Sixteenths in a nanosecond.
const X16_PER_NS: u64 = 16;
/// Sixteenths of a nanosecond in a millisecond.
pub(super) const X16_PER_MS: u64 = 1_000_000 * X16_PER_NS;
/// Sixteenths of a nanosecond in a second.
pub(super) const X16_PER_S: u64 = 1_000 * X16_PER_MS;
/// The latest time, in eighteen years.
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

impl Terms {
    /// The span of so many units' slots.
    #[inline]
    pub(super) fn span_x16(&self, units: u64) -> u64 {
        self.interval_x16.saturating_mul(units)
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
    /// A lease is worth at most so many requests like the one it is taken for, whatever the rate.
    pub units_max: u64,
    /// Workers that share.
    pub workers: u64,
}

impl Share {
    /// Units of the next lease when `free_x16` of the schedule is free: at least `units`, since the
    /// caller saw that they fit.
    fn units(&self, free_x16: u64, interval_x16: u64, units: u64) -> u64 {
        // Most limits are too slow for leases of two: they pay for no division.
        if self.span_x16 / 2 < interval_x16 {
            return units;
        }
        let part = free_x16 / interval_x16 / self.parts;
        part.min(self.span_x16 / interval_x16)
            .min(self.units_max.saturating_mul(units))
            .max(units)
    }
}

/// The limit is spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shortfall {
    /// Span until what was asked for fits.
    pub wait_x16: u64,
}

/// The slice that a worker may take at `at` for `units`, given the shared word and the slice it
/// holds already.
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
    units: u64,
) -> Result<Slice, Shortfall> {
    let base = if word == own.end { own.start } else { word };
    let start = base.max(at);
    let horizon = at.plus(terms.capacity_x16);
    let first_end = start.plus(terms.span_x16(units));
    if first_end > horizon {
        return Err(Shortfall {
            wait_x16: first_end.since(horizon),
        });
    }
    let units = share.units(horizon.since(start), terms.interval_x16, units);
    Ok(Slice {
        start,
        end: start.plus(units * terms.interval_x16),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALONE: Share = Share {
        span_x16: u64::MAX,
        parts: 1,
        units_max: u64::MAX,
        workers: 1,
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
    fn a_lease_begins_where_the_word_stands_and_ends_within_the_capacity() {
        let fresh = Slice::default();
        assert_eq!(
            debit(Point(0), fresh, TEN, &ALONE, Point(1_000), 1),
            Ok(slice(1_000, 1_100))
        );
        assert_eq!(
            debit(Point(1_035), fresh, TEN, &ALONE, Point(1_000), 1),
            Ok(slice(1_035, 1_095))
        );
        assert_eq!(
            debit(Point(1_090), fresh, TEN, &ALONE, Point(1_000), 1),
            Ok(slice(1_090, 1_100))
        );
    }

    #[test]
    fn a_spent_schedule_says_when_one_unit_fits() {
        let wait = |word| debit(Point(word), Slice::default(), TEN, &ALONE, Point(1_000), 1);
        assert_eq!(wait(1_091), Err(Shortfall { wait_x16: 1 }));
        assert_eq!(wait(1_100), Err(Shortfall { wait_x16: 10 }));
    }

    #[test]
    fn a_worker_that_nobody_overtook_continues_where_its_lease_stands() {
        let rest = slice(1_026, 1_030);
        assert_eq!(
            debit(Point(1_030), rest, TEN, &ALONE, Point(1_000), 1),
            Ok(slice(1_026, 1_096))
        );
        assert_eq!(
            debit(Point(1_040), rest, TEN, &ALONE, Point(1_000), 1),
            Ok(slice(1_040, 1_100))
        );
    }

    #[test]
    fn a_lease_is_a_small_share_and_one_unit_near_the_limit() {
        let share = Share {
            span_x16: 40,
            parts: 4,
            units_max: 3,
            workers: 2,
        };
        let units = |word, share: &Share| {
            let lease = debit(Point(word), Slice::default(), TEN, share, Point(1_000), 1).unwrap();
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
            interval_x16: 1 << 62,
            capacity_x16: 1 << 62,
        };
        let lease = debit(latest, Slice::default(), terms, &ALONE, latest, 1).unwrap();
        assert_eq!(lease.end.since(lease.start), 1 << 62);
    }
}
