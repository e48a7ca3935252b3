//! The naive limiter that tests compare with: one schedule, one thread, exact fractions.
//!
//! Shares no code with the limiter: its times are multiplied by the requests instead of dividing
//! the period by them, so it knows no rounding.

use crate::clock::{Now, Tick, WallTime};
use crate::limit::compiled::{CompiledLimit, Rate, Shape};
use crate::limit::{Demand, Hold, Refused, Shard, Standing, Subjects};
use crate::snapshot::catalog::{CalendarUnit, LimitEntry, LimitShape, LimitSubject, LimitUnit};

/// A rate of each key as the catalog writes it.
pub fn entry(number: u32, requests: u64, period_ms: u64, burst: u64) -> LimitEntry {
    of_shape(
        number,
        LimitShape::Rate {
            units: requests,
            period_ms,
            burst,
        },
    )
}

/// A quota of each key, by UTC.
pub fn quota(number: u32, units: u64, window: CalendarUnit) -> LimitEntry {
    let zone = "UTC".into();
    of_shape(
        number,
        LimitShape::Quota {
            units,
            window,
            zone,
        },
    )
}

/// A limit on what each key has in flight.
pub fn concurrent(number: u32, requests: u32) -> LimitEntry {
    of_shape(number, LimitShape::Concurrent { requests })
}

fn of_shape(number: u32, shape: LimitShape) -> LimitEntry {
    LimitEntry {
        number,
        name: format!("limit-{number}"),
        subject: LimitSubject::Key,
        unit: LimitUnit::Requests,
        shape,
        shadow: false,
    }
}

/// A limit as the limiter takes it.
pub fn compiled(entry: &LimitEntry) -> CompiledLimit {
    CompiledLimit::new(entry).unwrap()
}

/// A rate as the limiter takes it.
pub fn limit(number: u32, requests: u64, period_ms: u64, burst: u64) -> CompiledLimit {
    compiled(&entry(number, requests, period_ms, burst))
}

/// What a rate is held to.
pub fn rate(limit: &CompiledLimit) -> &Rate {
    match &limit.shape {
        Shape::Rate(rate) => rate,
        other => panic!("expected a rate, got {other:?}"),
    }
}

/// Requests, period in milliseconds and burst of a rate.
pub fn numbers(entry: &LimitEntry) -> (u64, u64, u64) {
    match entry.shape {
        LimitShape::Rate {
            units,
            period_ms,
            burst,
        } => (units, period_ms, burst),
        ref other => panic!("expected a rate, got {other:?}"),
    }
}

/// A moment of both clocks: the wall clock began at this machine's start, in 2026.
pub fn now(tick: Tick) -> Now {
    Now {
        tick,
        wall: WallTime(1_767_225_600_000 + tick.millis()),
    }
}

/// Whose request it is, where only the key matters.
pub fn of_key(key: u32) -> Subjects {
    Subjects {
        key,
        ..Subjects::default()
    }
}

/// Holds for a request of a key.
pub fn ask(
    shard: &mut Shard,
    key: u32,
    limits: &[CompiledLimit],
    tick: Tick,
) -> Result<Hold, Refused> {
    let demand = Demand {
        subjects: of_key(key),
        limits: [&[], limits],
        bytes_in: 0,
    };
    shard.hold(&demand, now(tick))
}

/// What a key may be told.
pub fn standing(shard: &Shard, key: u32, limit: &CompiledLimit, tick: Tick) -> Standing {
    shard.standing(&of_key(key), limit, now(tick))
}

/// Nanoseconds as a time.
pub fn ns(ns: u64) -> Tick {
    Tick(ns)
}

/// Milliseconds as a time.
pub fn ms(ms: u64) -> Tick {
    Tick(ms * 1_000_000)
}

/// A reproducible source of numbers (splitmix64).
pub struct Dice(u64);

impl Dice {
    /// The numbers of this seed.
    pub fn of(seed: u64) -> Self {
        Self(seed)
    }

    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.roll() % end.max(1)
    }

    /// One of so many.
    pub fn one_of(&mut self, count: usize) -> usize {
        usize::try_from(self.below(count as u64)).unwrap()
    }
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
        let (requests, period_ms, burst) = numbers(entry);
        Self {
            scale: u128::from(requests),
            step: u128::from(period_ms) * 1_000_000,
            burst: u128::from(burst),
            tat: 0,
        }
    }

    /// The rate after rounding the interval up to a sixteenth of a nanosecond.
    pub fn rounded(limit: &CompiledLimit) -> Self {
        Self {
            scale: 16,
            step: u128::from(rate(limit).terms.interval_x16),
            burst: u128::from(rate(limit).burst),
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
    let (requests, _, burst) = numbers(&entry);
    let mut ideal = Ideal::exact(&entry);
    let mut admitted: Vec<u64> = Vec::new();
    for now_ms in arrivals {
        admitted.push(now_ms);
        let within = (0..admitted.len()).all(|first| {
            let count = u64::try_from(admitted.len() - first).unwrap();
            let span_ms = now_ms - admitted[first];
            // count <= burst + rate * span, in thousandths of requests
            count * 1000 <= burst * 1000 + requests * span_ms
        });
        assert_eq!(ideal.admits(ms(now_ms)), within, "at {now_ms} ms");
        if !within {
            admitted.pop();
        }
    }
}
