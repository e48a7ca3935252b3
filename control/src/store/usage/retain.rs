//! Forgetting in time, and making the sums again from what is kept.

use super::{Step, clamp};
use crate::store::{StoreError, Tx, sql};
use keyway::record::segment::Segment;
use rusqlite::params;

const DAY_MS: u64 = 24 * 3_600 * 1_000;

/// How long what is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Segments as they came, milliseconds.
    pub segments_ms: u64,
    /// Sums by minute.
    pub minutes_ms: u64,
    /// Sums by hour.
    pub hours_ms: u64,
    /// Sums by day.
    pub days_ms: u64,
}

impl Default for Retention {
    /// A week of segments, two days of minutes, a quarter of hours, three years of days.
    fn default() -> Self {
        Self {
            segments_ms: 7 * DAY_MS,
            minutes_ms: 2 * DAY_MS,
            hours_ms: 92 * DAY_MS,
            days_ms: 3 * 366 * DAY_MS,
        }
    }
}

/// Rows that one step of forgetting deletes: the writer is held up for some milliseconds by it.
const FORGOTTEN_MAX: u32 = 5_000;

impl Tx<'_> {
    /// Forgets a little of what is too old; true if there is more.
    pub fn usage_forget(&mut self, retention: &Retention) -> Result<bool, StoreError> {
        let now_ms = self.now().0;
        let oldest_ms = clamp(now_ms.saturating_sub(retention.segments_ms));
        let segments = "DELETE FROM usage_segments WHERE number IN
            (SELECT number FROM usage_segments WHERE received_ms < ?1 LIMIT 100)";
        let mut more = sql::run(self.connection(), segments, params![oldest_ms])? == 100;
        for step in Step::ALL {
            let kept_ms = match step {
                Step::Minute => retention.minutes_ms,
                Step::Hour => retention.hours_ms,
                Step::Day => retention.days_ms,
            };
            let table = step.table();
            let delete = format!(
                "DELETE FROM {table} WHERE (at, key, api, route, class, refusal) IN
                (SELECT at, key, api, route, class, refusal FROM {table} WHERE at < ?1 LIMIT ?2)"
            );
            let oldest = clamp(now_ms.saturating_sub(kept_ms) / step.ms());
            let deleted = sql::run(self.connection(), &delete, params![oldest, FORGOTTEN_MAX])?;
            more |= deleted == usize::try_from(FORGOTTEN_MAX).unwrap_or(usize::MAX);
        }
        let minute = clamp(now_ms.saturating_sub(retention.minutes_ms) / 60_000);
        let clients = "DELETE FROM refused_clients WHERE at < ?1";
        sql::run(self.connection(), clients, params![minute])?;
        Ok(more)
    }

    /// Makes the sums of whole days again from the segments that are kept; answers how many segments
    /// there were. Days of which a segment may be gone already are left alone.
    pub fn usage_rebuild(&mut self, from_ms: u64, to_ms: u64) -> Result<u64, StoreError> {
        let oldest = "SELECT coalesce(min(received_ms), 0) FROM usage_segments";
        let kept_from_ms = sql::number(self.connection(), oldest, &[])?;
        let first_day = from_ms.max(kept_from_ms).div_ceil(DAY_MS);
        let last_day = to_ms.div_ceil(DAY_MS);
        if kept_from_ms == 0 || first_day >= last_day {
            return Ok(0);
        }
        for step in Step::ALL {
            let delete = format!("DELETE FROM {} WHERE at >= ?1 AND at < ?2", step.table());
            let per_day = DAY_MS / step.ms();
            let days = params![clamp(first_day * per_day), clamp(last_day * per_day)];
            sql::run(self.connection(), &delete, days)?;
        }
        let (first, last) = (first_day * 1_440, last_day * 1_440);
        let select = "SELECT number, body FROM usage_segments
            WHERE last_minute >= ?1 AND first_minute < ?2 ORDER BY number";
        let bodies: Vec<Vec<u8>> = sql::all(
            self.connection(),
            select,
            params![clamp(first), clamp(last)],
            |row| Ok(row.get("body")?),
        )?;
        for body in &bodies {
            let mut segment = Segment::decode(body)
                .map_err(|error| StoreError::Corrupt(format!("a kept segment {error}")))?;
            segment
                .rows
                .retain(|row| (first..last).contains(&u64::from(row.counted.minute)));
            for step in Step::ALL {
                self.usage_sum(&segment, step)?;
            }
        }
        Ok(bodies.len() as u64)
    }
}
