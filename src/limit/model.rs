//! The naive limiter that tests compare with: one schedule, one thread, exact fractions.
//!
//! Shares no code with the limiter: its times are multiplied by the requests instead of dividing
//! the period by them, so it knows no rounding.

use crate::clock::Tick;
use crate::limit::schedule::CompiledLimit;
use crate::snapshot::catalog::LimitEntry;

/// A limit as the catalog writes it.
pub fn entry(number: u32, requests: u64, period_ms: u64, burst: u64) -> LimitEntry {
    LimitEntry {
        number,
        name: format!("limit-{number}"),
        requests,
        period_ms,
        burst,
    }
}

/// A limit as the limiter takes it.
pub fn limit(number: u32, requests: u64, period_ms: u64, burst: u64) -> CompiledLimit {
    CompiledLimit::new(&entry(number, requests, period_ms, burst)).unwrap()
}

/// Nanoseconds as a time.
pub fn ns(ns: u64) -> Tick {
    Tick(ns)
}

/// Milliseconds as a time.
pub fn ms(ms: u64) -> Tick {
    Tick(ms * 1_000_000)
}

/// The generic cell rate algorithm, word by word.
#[derive(Clone, Debug)]
pub struct Ideal {
    /// Time scale: one nanosecond in units of the schedule.
    scale: u128,
    /// One request in units of the schedule.
    step: u128,
    burst: u128,
    tat: u128,
}

impl Ideal {
    /// Exactly the rate that was written, without any rounding.
    pub fn exact(entry: &LimitEntry) -> Self {
        Self {
            scale: u128::from(entry.requests),
            step: u128::from(entry.period_ms) * 1_000_000,
            burst: u128::from(entry.burst),
            tat: 0,
        }
    }

    /// The rate after rounding the interval up to a sixteenth of a nanosecond.
    pub fn rounded(limit: &CompiledLimit) -> Self {
        Self {
            scale: 16,
            step: u128::from(limit.terms.interval_x16),
            burst: u128::from(limit.burst),
            tat: 0,
        }
    }

    /// Whether a request at `now` is admitted; counts it if so.
    pub fn admits(&mut self, now: Tick) -> bool {
        let at = u128::from(now.0) * self.scale;
        let next = self.tat.max(at) + self.step;
        if next > at + self.burst * self.step {
            return false;
        }
        self.tat = next;
        true
    }
}

/// Panics unless `admitted` conforms over every interval: an ideal limiter that sees only these
/// requests refuses none of them.
pub fn assert_conforms(entry: &LimitEntry, mut admitted: Vec<Tick>) {
    admitted.sort_unstable();
    let mut ideal = Ideal::exact(entry);
    for (index, now) in admitted.iter().enumerate() {
        assert!(
            ideal.admits(*now),
            "request {index} of {} at {} ns exceeds {entry:?}",
            admitted.len(),
            now.0,
        );
    }
}

/// The model has to be right itself: it is compared with the definition, interval by interval.
#[test]
fn the_model_refuses_exactly_what_exceeds_some_interval() {
    let entry = entry(1, 3, 1000, 2);
    let arrivals = [
        0, 0, 0, 300, 333, 334, 334, 700, 1000, 1001, 1001, 1400, 9000, 9000, 9000,
    ];
    let mut ideal = Ideal::exact(&entry);
    let mut admitted: Vec<u64> = Vec::new();
    for now_ms in arrivals {
        admitted.push(now_ms);
        let within = (0..admitted.len()).all(|first| {
            let count = u64::try_from(admitted.len() - first).unwrap();
            let span_ms = now_ms - admitted[first];
            // count <= burst + rate * span, in thousandths of requests
            count * 1000 <= entry.burst * 1000 + entry.requests * span_ms
        });
        assert_eq!(ideal.admits(ms(now_ms)), within, "at {now_ms} ms");
        if !within {
            admitted.pop();
        }
    }
}
