//! Moments as people write them: RFC 3339, the only form of time in the admin API.

use crate::domain::{Invalid, Validity};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use utoipa::ToSchema;

/// A moment, in milliseconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, format = DateTime, examples("2026-11-21T08:00:00Z"))]
pub struct Moment(u64);

impl Moment {
    /// The moment this many milliseconds after the epoch.
    pub const fn at_ms(ms: u64) -> Self {
        Self(ms)
    }

    /// The moment this many seconds after the epoch.
    pub fn at_s(s: u32) -> Self {
        Self(u64::from(s) * 1_000)
    }

    /// Milliseconds since the epoch.
    pub const fn ms(self) -> u64 {
        self.0
    }

    /// The first whole second at or after this moment, for a beginning: never too early.
    fn second_from(self, field: &str) -> Result<u32, Invalid> {
        second(self.0.div_ceil(1_000), field)
    }

    /// The last whole second at or before this moment, for an end: never too late.
    fn second_until(self, field: &str) -> Result<u32, Invalid> {
        second(self.0 / 1_000, field)
    }
}

fn second(s: u64, field: &str) -> Result<u32, Invalid> {
    match u32::try_from(s) {
        Ok(s) if s > 0 => Ok(s),
        _ => Err(Invalid::at(
            field,
            "a key's validity lies between 1970 and 2106",
        )),
    }
}

/// When a key is valid, from the moments that a person wrote.
pub fn validity(
    not_before: Option<Moment>,
    not_after: Option<Moment>,
) -> Result<Validity, Invalid> {
    let from = not_before
        .map(|m| m.second_from("not_before"))
        .transpose()?;
    let until = not_after.map(|m| m.second_until("not_after")).transpose()?;
    if let (Some(from), Some(until)) = (from, until)
        && from >= until
    {
        return Err(Invalid::at("not_after", "validity ends after it begins"));
    }
    Validity::new(from, until)
}

impl FromStr for Moment {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let wrong = || Invalid::value("a time is written as 2026-11-21T08:00:00Z, from 1970 on");
        let timestamp: Timestamp = text.parse().map_err(|_| wrong())?;
        u64::try_from(timestamp.as_millisecond())
            .map(Self)
            .map_err(|_| wrong())
    }
}

impl TryFrom<String> for Moment {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<Moment> for String {
    fn from(moment: Moment) -> Self {
        moment.to_string()
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let timestamp = i64::try_from(self.0)
            .ok()
            .and_then(|ms| Timestamp::from_millisecond(ms).ok())
            // Beyond the year 9999 nothing is kept; a file that says otherwise is shown its end.
            .unwrap_or(Timestamp::MAX);
        timestamp.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_reads_back_as_it_was_written() {
        for text in [
            "2026-11-21T08:00:00Z",
            "1970-01-01T00:00:01Z",
            "2026-11-21T08:00:00.25Z",
        ] {
            let moment: Moment = text.parse().expect(text);
            assert_eq!(moment.to_string(), text);
        }
        let offset: Moment = "2026-11-21T10:00:00+02:00".parse().expect("an offset");
        assert_eq!(offset.to_string(), "2026-11-21T08:00:00Z");
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        for text in [
            "",
            "tomorrow",
            "2026-11-21",
            "2026-11-21T08:00:00",
            "1969-12-31T23:59:59Z",
        ] {
            assert!(text.parse::<Moment>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_fraction_of_a_second_never_widens_a_validity() {
        let (from, until) = (Moment::at_ms(1_001), Moment::at_ms(9_999));
        let validity = validity(Some(from), Some(until)).expect("in order");
        assert_eq!(validity.not_before_s(), Some(2));
        assert_eq!(validity.not_after_s(), Some(9));
    }
}
