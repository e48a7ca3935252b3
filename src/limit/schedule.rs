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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
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
    /// Units of the next lease when `available` are left: at least one, since the caller saw that
    /// one fits.
    fn units(&self, available: u64, interval_x16: u64) -> u64 {
        (self.span_x16 / interval_x16)
            .min(available / self.parts)
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
    let available = horizon.since(start) / terms.interval_x16;
    let units = share.units(available, terms.interval_x16);
    Ok(Slice {
        start,
        end: start.plus(units * terms.interval_x16),
    })
}
