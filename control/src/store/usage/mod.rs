//! Usage: segments of nodes added up exactly once, by minute, hour and day.
//!
//! A segment is kept as it came ([`ingest`]) for a while, so that the sums can be made again
//! ([`rebuild`](super::Tx::usage_rebuild)); the sums ([`read`]) are what everything is answered from. [`retain`]
//! forgets both in their time.

mod bill;
mod functions;
mod ingest;
mod read;
mod retain;
#[cfg(test)]
mod tests;
mod top;
mod watch;

pub use bill::BilledUsage;
pub(super) use functions::register;
pub use ingest::Ingested;
pub use read::{Dimension, UsageFilter, UsageSum};
pub use retain::Retention;
pub use top::TopCaller;
pub use watch::{FINDINGS_MAX, QuotaOwner, Watch};

use serde::{Deserialize, Serialize};

/// How finely usage is told.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// 60 s.
    Minute,
    /// 3600 s.
    Hour,
    /// 86 400 s, from midnight to midnight in UTC.
    Day,
}

impl Step {
    /// All, the finest first.
    pub const ALL: [Self; 3] = [Self::Minute, Self::Hour, Self::Day];

    /// Length in milliseconds.
    pub const fn ms(self) -> u64 {
        self.minutes() * 60_000
    }

    /// Length in minutes.
    const fn minutes(self) -> u64 {
        match self {
            Self::Minute => 1,
            Self::Hour => 60,
            Self::Day => 1_440,
        }
    }

    const fn table(self) -> &'static str {
        match self {
            Self::Minute => "usage_minutes",
            Self::Hour => "usage_hours",
            Self::Day => "usage_days",
        }
    }
}

/// The first of the last minutes, the running one included.
fn first_minute(now_ms: u64, minutes: u32) -> i64 {
    clamp((now_ms / Step::Minute.ms() + 1).saturating_sub(minutes.into()))
}

/// SQLite's integers end at 2^63.
fn clamp(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
