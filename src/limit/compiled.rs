//! A limit of the catalog, ready for the decision: made once a generation.

use std::num::NonZeroU32;

use thiserror::Error;

use crate::limit::calendar::{Calendar, ZoneUnknown};
use crate::limit::schedule::{Terms, X16_PER_MS, X16_PER_S};
use crate::limit::tag::Kind;
use crate::snapshot::catalog::{LIMIT_NUMBER_MAX, LimitEntry, LimitShape, LimitSubject, LimitUnit};

/// The longest capacity, nine years; a schedule's latest time is eighteen: their sum fits a word.
const CAPACITY_MAX_X16: u64 = 1 << 62;
/// A word this far beyond what its limit allows was debited under older terms.
const OVERDUE_X16: u64 = 10 * X16_PER_S;
/// What bytes cost is known at the end only; the debt of one answer is waited for so long at most.
const OVERDUE_OF_BYTES_X16: u64 = 24 * 3_600 * X16_PER_S;
/// Bytes of a quota's granule: 43 bits of them are 8 PiB.
const BYTES_PER_GRANULE: u64 = 1_024;

/// Why a limit of the catalog cannot be held.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LimitError {
    /// Numbers start at one.
    #[error("number: is 0; numbers start at 1")]
    NumberZero,
    /// The number does not fit its words' names.
    #[error("number: must be at most {LIMIT_NUMBER_MAX}")]
    NumberTooGreat,
    /// A limit of nothing would refuse everything; leave the API out of the plan instead.
    #[error("requests: is 0; at least 1 is needed")]
    UnitsZero,
    /// More than one unit in a sixteenth of a nanosecond cannot be told apart.
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
    /// A quota that its granules cannot tell.
    #[error("requests: is less than {BYTES_PER_GRANULE} bytes in a window; raise it")]
    QuotaTooSmall,
    /// The windows' time zone.
    #[error("zone: {0}")]
    Zone(#[from] ZoneUnknown),
    /// Bytes are not in flight.
    #[error("unit: requests in flight are counted in requests")]
    ConcurrentBytes,
}

/// A rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// The schedule that it is held to.
    pub terms: Terms,
    /// Units that may come at once.
    pub burst: u64,
    /// A word so far beyond the schedule was debited under older terms.
    pub(super) overdue_x16: u64,
}

/// A quota.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Units in a window.
    pub units: u64,
    /// Its windows.
    pub calendar: Calendar,
    /// Units that the shared word counts as one.
    pub(super) granule: u64,
}

impl Quota {
    pub(super) fn granules(&self) -> u64 {
        self.units / self.granule
    }
}

/// How a limit counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// So many units a period.
    Rate(Rate),
    /// So many units a window of the calendar.
    Quota(Quota),
    /// So many requests at the same time.
    Concurrent(u32),
}

/// One limit, ready for the decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompiledLimit {
    /// Stable number over all plans and APIs: names the limit's words in the bank.
    pub number: NonZeroU32,
    /// Name in `RateLimit` and `RateLimit-Policy`.
    pub name: Box<str>,
    /// Whose requests are counted together.
    pub subject: LimitSubject,
    /// What is counted.
    pub unit: LimitUnit,
    /// It refuses nobody.
    pub shadow: bool,
    /// How it counts.
    pub shape: Shape,
    /// Units per window of the advertised policy.
    pub quota: u64,
    /// The advertised window in whole seconds; 0 where there is none.
    pub window_s: u64,
}

impl CompiledLimit {
    /// Compiles one limit.
    ///
    /// A rate's schedule is exact to a sixteenth of a nanosecond per unit. The advertised window is
    /// the period; one that is no whole number of seconds is advertised rounded up, with the
    /// units of that longer window.
    pub fn new(entry: &LimitEntry) -> Result<Self, LimitError> {
        let number = NonZeroU32::new(entry.number).ok_or(LimitError::NumberZero)?;
        if entry.number > LIMIT_NUMBER_MAX {
            return Err(LimitError::NumberTooGreat);
        }
        let (shape, quota, window_s) = match &entry.shape {
            LimitShape::Rate {
                units,
                period_ms,
                burst,
            } => {
                let rate = rate(*units, *period_ms, *burst, entry.unit)?;
                let window_s = period_ms.div_ceil(1_000);
                let quota =
                    u128::from(*units) * u128::from(window_s) * 1_000 / u128::from(*period_ms);
                let quota = u64::try_from(quota).unwrap_or(u64::MAX);
                (Shape::Rate(rate), quota, window_s)
            }
            LimitShape::Quota {
                units,
                window,
                zone,
            } => {
                let calendar = Calendar::new(*window, zone)?;
                let window_s = calendar.usual_s();
                let quota = quota(*units, calendar, entry.unit)?;
                (Shape::Quota(quota), *units, window_s)
            }
            LimitShape::Concurrent { .. } if entry.unit != LimitUnit::Requests => {
                return Err(LimitError::ConcurrentBytes);
            }
            LimitShape::Concurrent { requests: 0 } => return Err(LimitError::UnitsZero),
            LimitShape::Concurrent { requests } => {
                (Shape::Concurrent(*requests), u64::from(*requests), 0)
            }
        };
        Ok(Self {
            number,
            name: entry.name.as_str().into(),
            subject: entry.subject,
            unit: entry.unit,
            shadow: entry.shadow,
            shape,
            quota,
            window_s,
        })
    }

    /// How its words count.
    pub(super) fn kind(&self) -> Kind {
        match self.shape {
            Shape::Rate(_) => Kind::Rate,
            Shape::Quota(_) => Kind::Quota,
            Shape::Concurrent(_) => Kind::Concurrency,
        }
    }
}

fn rate(units: u64, period_ms: u64, burst: u64, unit: LimitUnit) -> Result<Rate, LimitError> {
    if units == 0 {
        return Err(LimitError::UnitsZero);
    }
    if period_ms == 0 {
        return Err(LimitError::PeriodZero);
    }
    if burst == 0 {
        return Err(LimitError::BurstZero);
    }
    let period_x16 = u128::from(period_ms) * u128::from(X16_PER_MS);
    if u128::from(units) > period_x16 {
        return Err(LimitError::RateTooHigh);
    }
    let interval_x16 = period_x16.div_ceil(u128::from(units));
    let capacity_x16 = interval_x16
        .checked_mul(u128::from(burst))
        .and_then(|capacity| u64::try_from(capacity).ok())
        .filter(|capacity| *capacity <= CAPACITY_MAX_X16)
        .ok_or(LimitError::BurstTooLong)?;
    // Not above the capacity, since a burst is at least one interval.
    let interval_x16 = u64::try_from(interval_x16).map_err(|_| LimitError::BurstTooLong)?;
    Ok(Rate {
        terms: Terms {
            interval_x16,
            capacity_x16,
        },
        burst,
        overdue_x16: match unit {
            LimitUnit::Requests => OVERDUE_X16,
            LimitUnit::BytesIn | LimitUnit::BytesOut => OVERDUE_OF_BYTES_X16,
        },
    })
}

fn quota(units: u64, calendar: Calendar, unit: LimitUnit) -> Result<Quota, LimitError> {
    let granule = match unit {
        LimitUnit::Requests => 1,
        LimitUnit::BytesIn | LimitUnit::BytesOut => BYTES_PER_GRANULE,
    };
    match units {
        0 => Err(LimitError::UnitsZero),
        _ if units < granule => Err(LimitError::QuotaTooSmall),
        _ => Ok(Quota {
            units,
            calendar,
            granule,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::model::{entry, limit};
    use crate::snapshot::catalog::CalendarUnit;

    fn rate_of(requests: u64, period_ms: u64, burst: u64) -> Terms {
        match limit(1, requests, period_ms, burst).shape {
            Shape::Rate(rate) => rate.terms,
            other => panic!("expected a rate, got {other:?}"),
        }
    }

    #[test]
    fn the_interval_is_the_period_over_the_requests_rounded_up() {
        let interval = |requests, period_ms| rate_of(requests, period_ms, 1).interval_x16;
        assert_eq!(interval(1, 1_000), 16_000_000_000);
        assert_eq!(interval(3, 1_000), 5_333_333_334);
        assert_eq!(interval(1_000_000, 1_000), 16_000);
        assert_eq!(interval(7, 3_600_000), 8_228_571_428_572);
        assert_eq!(interval(16_000_000_000, 1_000), 1);
        assert_eq!(rate_of(3, 1_000, 5).capacity_x16, 5 * 5_333_333_334);
    }

    #[test]
    fn a_limit_that_cannot_be_held_says_why() {
        let error = |number, requests, period_ms, burst| {
            CompiledLimit::new(&entry(number, requests, period_ms, burst)).unwrap_err()
        };
        assert_eq!(error(0, 1, 1_000, 1), LimitError::NumberZero);
        assert_eq!(error(1, 0, 1_000, 1), LimitError::UnitsZero);
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
    fn a_limit_of_another_shape_that_cannot_be_held_says_why() {
        let error = |shape: LimitShape, unit| {
            let entry = LimitEntry {
                shape,
                unit,
                ..entry(1, 1, 1, 1)
            };
            CompiledLimit::new(&entry).unwrap_err()
        };
        let quota = |units, zone: &str| LimitShape::Quota {
            units,
            window: CalendarUnit::Day,
            zone: zone.into(),
        };
        let concurrent = |requests| LimitShape::Concurrent { requests };
        let (requests, bytes) = (LimitUnit::Requests, LimitUnit::BytesOut);
        assert_eq!(error(quota(0, "UTC"), requests), LimitError::UnitsZero);
        assert_eq!(error(quota(1_023, "UTC"), bytes), LimitError::QuotaTooSmall);
        assert!(matches!(
            error(quota(1, "Nowhere"), requests),
            LimitError::Zone(_)
        ));
        assert_eq!(error(concurrent(0), requests), LimitError::UnitsZero);
        assert_eq!(error(concurrent(1), bytes), LimitError::ConcurrentBytes);
    }
}
