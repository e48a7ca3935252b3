//! When to say no before everything fails: too many requests in flight, a loop that falls behind,
//! too much memory.
//!
//! A request is refused by what its own worker counts, and what the others told on their last beat;
//! so `overload.inflight_max` is the node's to within a beat, and exact with one worker. Each
//! threshold is left again only well below it, or an overloaded node would flap between all and
//! nothing. Far above one, new connections are turned away too. Time is passed in.

use std::cell::Cell;
use std::rc::Rc;

use crate::record::load::{Level, Load, Told};
use crate::record::throttle::Throttle;
use crate::settings::OverloadLimits;

/// A beat's share in the smoothed lag: one eighth.
const SMOOTHING: u64 = 8;

/// One late beat counts as at most this many times the threshold, so that a single pause, of the
/// whole machine perhaps, is no overload.
const SAMPLE_MAX: u64 = 4;

/// Pause between two lines of the log.
const LOG_PAUSE_MS: u64 = 10_000;

/// A threshold that is left lower than it is entered.
#[derive(Clone, Copy, Debug)]
struct Threshold {
    /// Over at this and above; 0 for never.
    max: u64,
    /// Over until below this.
    low: u64,
    over: bool,
}

impl Threshold {
    const fn new(max: u64, low_percent: u64) -> Self {
        Self {
            max,
            low: max.saturating_mul(low_percent).div_ceil(100),
            over: false,
        }
    }

    fn measure(&mut self, value: u64) -> bool {
        let bound = if self.over { self.low } else { self.max };
        self.over = self.max != 0 && value >= bound;
        self.over
    }
}

/// What is measured once a beat.
#[derive(Clone, Copy, Debug)]
struct Strain {
    beat_us: u64,
    last_us: Option<u64>,
    lag_us: u64,
    lag: Threshold,
    lag_far: Threshold,
    memory: Threshold,
    memory_far: Threshold,
}

impl Strain {
    fn new(limits: &OverloadLimits, beat_us: u64) -> Self {
        let lag_us = limits.lag_max_ms.saturating_mul(1_000);
        let memory = limits.memory_max_bytes;
        Self {
            beat_us,
            last_us: None,
            lag_us: 0,
            lag: Threshold::new(lag_us, 50),
            lag_far: Threshold::new(lag_us.saturating_mul(2), 75),
            memory: Threshold::new(memory, 95),
            memory_far: Threshold::new(memory.saturating_add(memory / 10), 95),
        }
    }

    fn beat(&mut self, now_us: u64, resident_bytes: u64) -> Level {
        let late_us = self.last_us.map_or(0, |last_us| {
            now_us.saturating_sub(last_us).saturating_sub(self.beat_us)
        });
        self.last_us = Some(now_us);
        let sample_us = match self.lag.max {
            0 => late_us,
            max => late_us.min(max.saturating_mul(SAMPLE_MAX)),
        };
        self.lag_us = (self.lag_us * (SMOOTHING - 1) + sample_us) / SMOOTHING;
        // All four, for each remembers whether it is over.
        let lag = self.lag.measure(self.lag_us);
        let memory = self.memory.measure(resident_bytes);
        let lag_far = self.lag_far.measure(self.lag_us);
        let memory_far = self.memory_far.measure(resident_bytes);
        if lag_far || memory_far {
            Level::Closed
        } else if lag || memory {
            Level::Overloaded
        } else {
            Level::Normal
        }
    }

    fn cause(&self) -> &'static str {
        match (self.lag.over, self.memory.over) {
            (_, true) => "more memory than overload.memory_max_bytes",
            (true, _) => "the loop is late by more than overload.lag_max_ms",
            _ => "overload.inflight_max requests are in flight",
        }
    }
}

/// One worker's judgment of its load.
#[derive(Debug)]
pub struct Overload {
    in_flight: Cell<u64>,
    elsewhere: Cell<u64>,
    full: Cell<Threshold>,
    /// The worst since the last beat, so that a short overload is told of too.
    was_full: Cell<bool>,
    strain: Cell<Strain>,
    level: Cell<Level>,
    told: Cell<bool>,
    log: Cell<Throttle>,
}

impl Overload {
    /// By these limits, for a worker that beats every `beat_us`.
    pub fn new(limits: &OverloadLimits, beat_us: u64) -> Self {
        Self {
            in_flight: Cell::new(0),
            elsewhere: Cell::new(0),
            full: Cell::new(Threshold::new(limits.inflight_max, 90)),
            was_full: Cell::new(false),
            strain: Cell::new(Strain::new(limits, beat_us)),
            level: Cell::new(Level::Normal),
            told: Cell::new(false),
            log: Cell::new(Throttle::every_ms(LOG_PAUSE_MS)),
        }
    }

    /// Whether a request that is here now is refused.
    pub fn refuses_request(&self) -> bool {
        let mut full = self.full.get();
        let is_full = full.measure(self.in_flight.get() + self.elsewhere.get());
        self.full.set(full);
        if is_full {
            self.was_full.set(true);
        }
        is_full || self.level.get() >= Level::Overloaded
    }

    /// Whether a connection that comes now is turned away.
    pub fn refuses_connection(&self) -> bool {
        self.level.get() >= Level::Closed
    }

    /// A request is in flight until the result is dropped.
    pub fn enter(self: &Rc<Self>) -> InFlight {
        self.in_flight.set(self.in_flight.get() + 1);
        InFlight(Rc::clone(self))
    }

    /// The worker's beat: measures, and tells the others. True if an overload begins.
    pub fn beat(&self, now_us: u64, load: &Load, index: usize) -> bool {
        let mut strain = self.strain.get();
        let level = strain.beat(now_us, load.resident_bytes());
        self.strain.set(strain);
        self.level.set(level);
        self.elsewhere.set(load.in_flight_beside(index));
        // Measured again: with nobody asking, a full node would stay full for ever.
        let mut full = self.full.get();
        let is_full = full.measure(self.in_flight.get() + self.elsewhere.get());
        self.full.set(full);
        let full = self.was_full.take() | is_full;
        let level = level.max(if full {
            Level::Overloaded
        } else {
            Level::Normal
        });
        load.tell(
            index,
            Told {
                in_flight: self.in_flight.get(),
                lag_us: strain.lag_us,
                level,
            },
        );
        self.tell(level, strain, now_us / 1_000, index)
    }

    /// Tells the log, and the caller, that an overload begins, and the log that it is over.
    fn tell(&self, level: Level, strain: Strain, now_ms: u64, worker: usize) -> bool {
        let is_over = level != Level::Normal;
        if self.told.replace(is_over) == is_over {
            return false;
        }
        let mut log = self.log.get();
        if !is_over {
            tracing::info!(worker, "no longer overloaded");
        } else if let Some(times) = log.tell(now_ms) {
            let cause = strain.cause();
            tracing::warn!(worker, times, cause, "overloaded: new requests are refused");
        }
        self.log.set(log);
        is_over
    }
}

/// A request in flight.
#[derive(Debug)]
pub struct InFlight(Rc<Overload>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.set(self.0.in_flight.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEAT_US: u64 = 50_000;

    fn limits(inflight_max: u64, lag_max_ms: u64, memory_max_bytes: u64) -> OverloadLimits {
        OverloadLimits {
            inflight_max,
            lag_max_ms,
            memory_max_bytes,
        }
    }

    fn overload(limits: &OverloadLimits) -> Rc<Overload> {
        Rc::new(Overload::new(limits, BEAT_US))
    }

    #[test]
    fn a_full_worker_refuses_until_a_tenth_is_free_again() {
        let overload = overload(&limits(10, 0, 0));
        let mut running: Vec<_> = (0..10).map(|_| overload.enter()).collect();
        assert!(overload.refuses_request());
        running.pop();
        assert!(overload.refuses_request(), "one free place is no relief");
        running.pop();
        assert!(!overload.refuses_request());
        running.extend((0..2).map(|_| overload.enter()));
        assert!(overload.refuses_request());
        assert!(!overload.refuses_connection());
    }

    #[test]
    fn what_runs_on_other_workers_counts_as_of_their_last_beat() {
        let load = Load::new(2);
        let [one, other] = [0, 1].map(|_| overload(&limits(10, 0, 0)));
        let _running: Vec<_> = (0..7).map(|_| other.enter()).collect();
        let _mine: Vec<_> = (0..3).map(|_| one.enter()).collect();
        assert!(!one.refuses_request());
        other.beat(0, &load, 1);
        one.beat(0, &load, 0);
        assert!(one.refuses_request());
        assert_eq!(load.of(0).level, Level::Overloaded);
    }

    #[test]
    fn one_long_pause_is_no_overload_and_a_loop_that_stays_late_is() {
        let load = Load::new(1);
        let overload = overload(&limits(0, 100, 0));
        let mut now_us = 0;
        let mut beat = |late_ms: u64| {
            now_us += BEAT_US + late_ms * 1_000;
            overload.beat(now_us, &load, 0);
            (overload.refuses_request(), overload.refuses_connection())
        };
        beat(0);
        assert_eq!(beat(60_000), (false, false));
        (0..50).for_each(|_| assert_eq!(beat(0), (false, false)));
        // Late by a little more than is allowed: refused in a while, and connections never.
        let refused = (0..100).map(|_| beat(110)).position(|(refused, _)| refused);
        assert!(
            refused.is_some_and(|beats| (8..40).contains(&beats)),
            "{refused:?}"
        );
        assert_eq!(beat(110), (true, false));
        // Far more: connections too.
        for _ in 0..50 {
            beat(300);
        }
        assert_eq!(beat(300), (true, true));
        // On time again: first connections, then requests, and for good.
        let calm: Vec<_> = (0..100).map(|_| beat(0)).collect();
        assert!(calm.contains(&(true, false)));
        assert_eq!(calm[99], (false, false));
        let changes = calm.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert_eq!(changes, 2);
    }

    #[test]
    fn memory_has_two_thresholds_and_each_is_left_lower_than_entered() {
        let load = Load::new(1);
        let overload = overload(&limits(0, 0, 1_000));
        let mut told = Vec::new();
        for bytes in [999, 1_000, 960, 949, 1_099, 1_100, 1_046, 1_044, 100] {
            load.note_resident(bytes);
            overload.beat(0, &load, 0);
            told.push(load.of(0).level);
        }
        use Level::{Closed, Normal, Overloaded};
        assert_eq!(
            told,
            [
                Normal, Overloaded, Overloaded, Normal, Overloaded, Closed, Closed, Overloaded,
                Normal
            ]
        );
    }

    #[test]
    fn without_thresholds_nothing_is_refused() {
        let load = Load::new(1);
        let overload = overload(&limits(0, 0, 0));
        let _running: Vec<_> = (0..1_000).map(|_| overload.enter()).collect();
        load.note_resident(u64::MAX);
        for beat in 0..100 {
            overload.beat(beat * 10_000_000, &load, 0);
        }
        assert!(!overload.refuses_request() && !overload.refuses_connection());
    }

    #[test]
    fn an_overload_between_two_beats_is_told_of_and_so_is_its_end() {
        let load = Load::new(1);
        let overload = overload(&limits(1, 0, 0));
        let running = overload.enter();
        assert!(overload.refuses_request());
        drop(running);
        assert!(!overload.refuses_request());
        assert!(overload.beat(0, &load, 0));
        assert_eq!(load.of(0).level, Level::Overloaded);
        assert!(!overload.beat(BEAT_US, &load, 0));
        assert_eq!(load.of(0).level, Level::Normal);
    }
}
