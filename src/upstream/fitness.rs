//! Whether a target is fit, as its own answers tell: a circuit breaker, ejection by failure rate,
//! and a slow start for one that became fit again. Pure: time is passed in.
//!
//! Each worker judges for itself by what it sees; nothing is shared.
//!
//! Invariant: every [`Fitness::begin`] is followed by one [`Fitness::end`], so that trials of a half
//! open circuit are counted out again.

use std::cell::Cell;

use crate::snapshot::catalog::{Breaker, Outlier};

/// The longest pause of an open circuit.
const PAUSE_MAX_MS: u32 = 60_000;
/// Ejections in a row lengthen the next one no further than this many times.
const EJECTIONS_MAX: u32 = 10;
/// The share that a target begins with in a slow start, percent.
const FIRST_PERCENT: u64 = 10;

/// How an exchange with a target went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Went {
    /// It answered.
    Well,
    /// It did not, or with 500, 502, 503 or 504.
    Badly,
    /// The client went first: nothing was learned.
    Nowhere,
}

/// What an end changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The circuit opened.
    Opened,
    /// It closed again.
    Closed,
    /// The target is ejected.
    Ejected,
}

/// What a target is judged by.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rules<'r> {
    /// Stop after failures in a row.
    pub breaker: Option<&'r Breaker>,
    /// Ejection by failure rate.
    pub outlier: Option<&'r Outlier>,
}

#[derive(Clone, Copy, Debug)]
enum Circuit {
    Closed {
        failures: u32,
    },
    Open {
        until_ms: u64,
        pause_ms: u32,
    },
    HalfOpen {
        running: u32,
        good: u32,
        pause_ms: u32,
        /// When the last trial began.
        begun_ms: u64,
    },
}

#[derive(Clone, Copy, Debug, Default)]
struct Window {
    begun_ms: u64,
    requests: u32,
    failures: u32,
}

/// One target's state.
#[derive(Debug)]
pub struct Fitness {
    circuit: Cell<Circuit>,
    window: Cell<Window>,
    ejected_until_ms: Cell<u64>,
    ejections: Cell<u32>,
    fit_since_ms: Cell<u64>,
}

impl Default for Fitness {
    /// Fit until it shows otherwise, and as if it always had been.
    fn default() -> Self {
        Self {
            circuit: Cell::new(Circuit::Closed { failures: 0 }),
            window: Cell::default(),
            ejected_until_ms: Cell::new(0),
            ejections: Cell::new(0),
            fit_since_ms: Cell::new(0),
        }
    }
}

impl Fitness {
    /// One that begins to get requests at `now_ms`.
    pub fn new(now_ms: u64) -> Self {
        let fitness = Self::default();
        fitness.fit_since_ms.set(now_ms);
        fitness
    }

    /// It gets requests again from `now_ms` on, after a time without.
    pub fn starts(&self, now_ms: u64) {
        self.fit_since_ms.set(now_ms);
    }

    /// The circuit lets a request through.
    pub fn admits(&self, rules: Rules<'_>, now_ms: u64) -> bool {
        let Some(breaker) = rules.breaker else {
            return true;
        };
        match self.circuit.get() {
            Circuit::Closed { .. } => true,
            Circuit::Open { until_ms, .. } => until_ms <= now_ms,
            // A trial may be a stream of hours: one that outlasts the pause holds no other back.
            Circuit::HalfOpen {
                running,
                pause_ms,
                begun_ms,
                ..
            } => running < breaker.trials || now_ms >= begun_ms + u64::from(pause_ms),
        }
    }

    /// The target failed too often for now.
    pub fn is_ejected(&self, now_ms: u64) -> bool {
        now_ms < self.ejected_until_ms.get()
    }

    /// Its share of its weight, 10 to 100 percent, while it starts slowly.
    pub fn percent(&self, slow_start_ms: u32, now_ms: u64) -> u64 {
        let since = self.fit_since_ms.get().max(self.ejected_until_ms.get());
        let passed_ms = now_ms.saturating_sub(since);
        match passed_ms
            .saturating_mul(100)
            .checked_div(slow_start_ms.into())
        {
            Some(percent) if since > 0 => percent.clamp(FIRST_PERCENT, 100),
            _ => 100,
        }
    }

    /// A request goes to it.
    pub fn begin(&self, now_ms: u64) {
        match self.circuit.get() {
            Circuit::Open { until_ms, pause_ms } if until_ms <= now_ms => {
                self.circuit.set(Circuit::HalfOpen {
                    running: 1,
                    good: 0,
                    pause_ms,
                    begun_ms: now_ms,
                });
            }
            Circuit::HalfOpen {
                running,
                good,
                pause_ms,
                ..
            } => self.circuit.set(Circuit::HalfOpen {
                running: running + 1,
                good,
                pause_ms,
                begun_ms: now_ms,
            }),
            _ => {}
        }
    }

    /// It is over. `may_eject` says that not too many others are out already.
    pub fn end(
        &self,
        went: Went,
        rules: Rules<'_>,
        may_eject: bool,
        now_ms: u64,
    ) -> Option<Change> {
        let turned = self.turn_circuit(went, rules.breaker, now_ms);
        let ejected = rules
            .outlier
            .filter(|_| went != Went::Nowhere)
            .is_some_and(|outlier| self.look_at_rate(went, outlier, may_eject, now_ms));
        turned.or(ejected.then_some(Change::Ejected))
    }

    fn turn_circuit(&self, went: Went, breaker: Option<&Breaker>, now_ms: u64) -> Option<Change> {
        let breaker = breaker?;
        let open = |pause_ms: u32| Circuit::Open {
            until_ms: now_ms + u64::from(pause_ms),
            pause_ms,
        };
        let (next, change) = match (self.circuit.get(), went) {
            (Circuit::Closed { failures }, Went::Badly) if failures + 1 >= breaker.failures => {
                (open(breaker.open_ms), Some(Change::Opened))
            }
            (Circuit::Closed { failures }, Went::Badly) => {
                let failures = failures + 1;
                (Circuit::Closed { failures }, None)
            }
            (Circuit::Closed { .. }, Went::Well) => (Circuit::Closed { failures: 0 }, None),
            (Circuit::HalfOpen { pause_ms, .. }, Went::Badly) => {
                let pause_ms = pause_ms.saturating_mul(2).min(PAUSE_MAX_MS);
                (open(pause_ms), Some(Change::Opened))
            }
            (Circuit::HalfOpen { good, .. }, Went::Well) if good + 1 >= breaker.trials => {
                self.fit_since_ms.set(now_ms);
                (Circuit::Closed { failures: 0 }, Some(Change::Closed))
            }
            (
                Circuit::HalfOpen {
                    running,
                    good,
                    pause_ms,
                    begun_ms,
                },
                went,
            ) => {
                let running = running.saturating_sub(1);
                let good = good + u32::from(went == Went::Well);
                let next = Circuit::HalfOpen {
                    running,
                    good,
                    pause_ms,
                    begun_ms,
                };
                (next, None)
            }
            // Requests from before it opened tell nothing new.
            (same, _) => (same, None),
        };
        self.circuit.set(next);
        change
    }

    fn look_at_rate(&self, went: Went, rule: &Outlier, may_eject: bool, now_ms: u64) -> bool {
        let mut window = self.window.get();
        if now_ms.saturating_sub(window.begun_ms) >= u64::from(rule.window_ms) {
            if window.requests >= rule.requests_min && window.begun_ms > 0 {
                // A whole window without ejection: the next one is a first one again.
                self.ejections.set(0);
            }
            window = Window {
                begun_ms: now_ms.max(1),
                ..Window::default()
            };
        }
        window.requests += 1;
        window.failures += u32::from(went == Went::Badly);
        let share = u64::from(window.failures) * 100;
        let fails = window.requests >= rule.requests_min
            && share >= u64::from(window.requests) * u64::from(rule.failure_percent);
        if !fails || !may_eject || self.is_ejected(now_ms) {
            self.window.set(window);
            return false;
        }
        let ejections = (self.ejections.get() + 1).min(EJECTIONS_MAX);
        self.ejections.set(ejections);
        self.ejected_until_ms
            .set(now_ms + u64::from(rule.eject_ms) * u64::from(ejections));
        self.window.set(Window::default());
        true
    }

    /// In words, for whoever looks.
    pub fn state(&self, now_ms: u64) -> &'static str {
        match self.circuit.get() {
            Circuit::Open { until_ms, .. } if until_ms > now_ms => "open",
            Circuit::Open { .. } | Circuit::HalfOpen { .. } => "half_open",
            Circuit::Closed { .. } if self.is_ejected(now_ms) => "ejected",
            Circuit::Closed { .. } => "fit",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BREAKER: Breaker = Breaker {
        failures: 3,
        open_ms: 1_000,
        trials: 2,
    };

    fn rules() -> Rules<'static> {
        Rules {
            breaker: Some(&BREAKER),
            outlier: None,
        }
    }

    fn one(fitness: &Fitness, went: Went, now_ms: u64) -> Option<Change> {
        assert!(fitness.admits(rules(), now_ms), "at {now_ms}");
        fitness.begin(now_ms);
        fitness.end(went, rules(), true, now_ms)
    }

    #[test]
    fn failures_in_a_row_open_the_circuit_and_good_trials_close_it() {
        let fitness = Fitness::default();
        for went in [
            Went::Badly,
            Went::Badly,
            Went::Well,
            Went::Badly,
            Went::Badly,
        ] {
            assert_eq!(one(&fitness, went, 10), None);
        }
        assert_eq!(one(&fitness, Went::Badly, 10), Some(Change::Opened));
        assert!(!fitness.admits(rules(), 1_009));
        assert_eq!(one(&fitness, Went::Well, 1_010), None);
        assert_eq!(fitness.state(1_010), "half_open");
        assert_eq!(one(&fitness, Went::Well, 1_011), Some(Change::Closed));
        assert_eq!(fitness.state(1_011), "fit");
    }

    #[test]
    fn a_half_open_circuit_lets_few_through_and_a_bad_trial_doubles_the_pause() {
        let fitness = Fitness::default();
        for _ in 0..3 {
            one(&fitness, Went::Badly, 0);
        }
        fitness.begin(1_000);
        fitness.begin(1_000);
        assert!(!fitness.admits(rules(), 1_000), "two trials run");
        // One whose client left learns nothing and gives its place back.
        assert_eq!(fitness.end(Went::Nowhere, rules(), true, 1_001), None);
        assert!(fitness.admits(rules(), 1_001));
        let opened = fitness.end(Went::Badly, rules(), true, 1_002);
        assert_eq!(opened, Some(Change::Opened));
        assert!(!fitness.admits(rules(), 3_001));
        assert!(fitness.admits(rules(), 3_002), "two seconds, not one");
    }

    #[test]
    fn trials_that_last_for_hours_keep_nobody_away() {
        let fitness = Fitness::default();
        for _ in 0..3 {
            one(&fitness, Went::Badly, 0);
        }
        fitness.begin(1_000);
        fitness.begin(1_500);
        assert!(!fitness.admits(rules(), 2_499));
        assert!(fitness.admits(rules(), 2_500), "a pause after the last one");
        fitness.begin(2_500);
        assert!(!fitness.admits(rules(), 3_499), "one for each pause");
        assert_eq!(fitness.end(Went::Well, rules(), true, 2_600), None);
        let closed = fitness.end(Went::Well, rules(), true, 9_000_000);
        assert_eq!(closed, Some(Change::Closed));
    }

    #[test]
    fn the_pause_is_bounded() {
        let fitness = Fitness::default();
        let mut now_ms = 0;
        for _ in 0..3 {
            one(&fitness, Went::Badly, now_ms);
        }
        for _ in 0..20 {
            now_ms += u64::from(PAUSE_MAX_MS);
            one(&fitness, Went::Badly, now_ms);
        }
        assert!(fitness.admits(rules(), now_ms + u64::from(PAUSE_MAX_MS)));
    }

    const OUTLIER: Outlier = Outlier {
        window_ms: 1_000,
        requests_min: 10,
        failure_percent: 50,
        eject_ms: 5_000,
        ejected_max_percent: 50,
    };

    fn burst(fitness: &Fitness, well: u32, badly: u32, may_eject: bool, now_ms: u64) -> bool {
        let rules = Rules {
            breaker: None,
            outlier: Some(&OUTLIER),
        };
        let wells = std::iter::repeat_n(Went::Well, well as usize);
        let all = wells.chain(std::iter::repeat_n(Went::Badly, badly as usize));
        let mut ejected = false;
        for went in all {
            fitness.begin(now_ms);
            ejected |= fitness.end(went, rules, may_eject, now_ms) == Some(Change::Ejected);
        }
        ejected
    }

    #[test]
    fn a_target_that_fails_too_much_is_out_longer_each_time() {
        let fitness = Fitness::default();
        assert!(!burst(&fitness, 6, 5, true, 1), "below half");
        assert!(burst(&fitness, 0, 1, true, 2), "half of twelve");
        assert!(fitness.is_ejected(5_001) && !fitness.is_ejected(5_002));
        assert!(burst(&fitness, 5, 5, true, 6_000));
        assert!(fitness.is_ejected(15_999) && !fitness.is_ejected(16_000));
    }

    #[test]
    fn few_requests_judge_nobody_and_too_many_are_never_out() {
        assert!(!burst(&Fitness::default(), 0, 9, true, 1));
        assert!(!burst(&Fitness::default(), 0, 50, false, 1));
    }

    #[test]
    fn a_slow_start_ramps_from_a_tenth_to_all() {
        let fitness = Fitness::new(1_000);
        for (now_ms, percent) in [
            (1_000, 10),
            (1_050, 10),
            (1_500, 50),
            (2_000, 100),
            (9_000, 100),
        ] {
            assert_eq!(fitness.percent(1_000, now_ms), percent, "{now_ms}");
        }
        assert_eq!(fitness.percent(0, 1_000), 100);
        assert_eq!(
            Fitness::default().percent(1_000, 5),
            100,
            "there from the start"
        );
    }
}
