//! The simulator: many shards on one bank, a clock that it moves, traffic from a seed.
//!
//! A run plays requests of one key to workers, settles their holds a while later, reconciles each
//! worker in its turn, and may kill workers. What was admitted is replayed through the
//! [`Ideal`] limiter, so that every interval is checked, and counted against what the ideal one
//! admits of the same requests. A run drains to `held == 0`.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::clock::Tick;
use crate::limit::model::{
    Dice, Ideal, ask, assert_conforms, compiled, entry, ms, now as now_of, numbers,
};
use crate::limit::{Bank, CompiledLimit, Hold, Outcome, Shard, ShardSettings};
use crate::snapshot::catalog::LimitEntry;

const KEY: u32 = 1;
const RECONCILE_MS: u64 = 100;
/// A request keeps its hold for this long.
const SERVICE_NS: u64 = 20_000_000;

/// Who asks when.
#[derive(Clone, Copy, Debug)]
enum Traffic {
    /// Any worker, at random gaps.
    Uniform,
    /// One worker only; the others had their part of the first moments.
    OneCore,
    /// All is quiet, then everybody asks at once.
    Bursty,
    /// Leases are laid on every worker, left to grow old, and all spent in one moment; then the
    /// bucket rests until it is nearly full, and again.
    Adversarial,
}

struct Running {
    worker: usize,
    /// Of the worker's lives, which one.
    life: u32,
    ends: Tick,
    started: Tick,
    hold: Hold,
}

struct Simulation {
    entry: LimitEntry,
    limits: [CompiledLimit; 1],
    bank: Arc<Bank>,
    settings: ShardSettings,
    shards: Vec<Shard>,
    lives: Vec<u32>,
    next_reconcile: Vec<Tick>,
    running: VecDeque<Running>,
    ideal: Ideal,
    dice: Dice,
    now: Tick,
    unused_percent: u64,
    deaths_per_thousand: u64,
    admitted: Vec<Tick>,
    admitted_by_ideal: u64,
}

impl Simulation {
    fn new(entry: &LimitEntry, workers: usize, seed: u64) -> Self {
        let bank = Arc::new(Bank::create(16).unwrap());
        let workers_u32 = u32::try_from(workers).unwrap();
        let settings = ShardSettings {
            entries_max: 4,
            ..ShardSettings::for_workers(workers_u32)
        };
        Self {
            entry: entry.clone(),
            limits: [compiled(entry)],
            shards: (0..workers)
                .map(|_| Shard::new(Arc::clone(&bank), settings))
                .collect(),
            bank,
            settings,
            lives: vec![0; workers],
            next_reconcile: (0..workers as u64).map(|worker| ms(worker * 7)).collect(),
            running: VecDeque::new(),
            ideal: Ideal::exact(entry),
            dice: Dice::of(seed),
            now: ms(1_000),
            unused_percent: 0,
            deaths_per_thousand: 0,
            admitted: Vec::new(),
            admitted_by_ideal: 0,
        }
    }

    fn wait(&mut self, ns: u64) {
        self.now = Tick(self.now.0 + ns);
        while self
            .running
            .front()
            .is_some_and(|running| running.ends <= self.now)
        {
            self.settle_oldest();
        }
        for worker in 0..self.shards.len() {
            if self.next_reconcile[worker] <= self.now {
                self.shards[worker].reconcile(now_of(self.now));
                self.next_reconcile[worker] = Tick(self.now.0 + RECONCILE_MS * 1_000_000);
                if self.dice.below(1_000) < self.deaths_per_thousand {
                    self.kill(worker);
                }
            }
        }
    }

    fn kill(&mut self, worker: usize) {
        self.shards[worker] = Shard::new(Arc::clone(&self.bank), self.settings);
        self.lives[worker] += 1;
    }

    fn settle_oldest(&mut self) {
        let Some(running) = self.running.pop_front() else {
            return;
        };
        let dead = self.lives[running.worker] != running.life;
        let unused = !dead && self.dice.below(100) < self.unused_percent;
        if !unused {
            self.admitted.push(running.started);
        }
        if !dead {
            let outcome = if unused {
                Outcome::Unused
            } else {
                Outcome::USED
            };
            self.shards[running.worker].settle(running.hold, outcome);
        }
    }

    fn ask(&mut self, worker: usize) {
        self.admitted_by_ideal += u64::from(self.ideal.admits(self.now));
        if let Ok(hold) = ask(&mut self.shards[worker], KEY, &self.limits, self.now) {
            self.running.push_back(Running {
                worker,
                life: self.lives[worker],
                ends: Tick(self.now.0 + SERVICE_NS),
                started: self.now,
                hold,
            });
        }
    }

    /// Plays `traffic` for about `seconds`, asking about `demand` times the rate.
    fn play(&mut self, traffic: Traffic, seconds: u64, demand: u64) {
        let (requests, period_ms, burst) = numbers(&self.entry);
        let gap_ns = period_ms * 1_000_000 / (requests * demand);
        let end = Tick(self.now.0 + seconds * 1_000_000_000);
        let all = self.shards.len();
        let per_burst = 2 * burst + 10;
        while self.now < end {
            match traffic {
                Traffic::Uniform => {
                    let worker = self.dice.one_of(all);
                    self.ask(worker);
                    let gap_ns = self.dice.below(2 * gap_ns);
                    self.wait(gap_ns);
                }
                Traffic::OneCore => {
                    let early = self.admitted.len() < 2 * all;
                    let worker = if early { self.dice.one_of(all) } else { 0 };
                    self.ask(worker);
                    self.wait(gap_ns);
                }
                Traffic::Bursty => {
                    for _ in 0..per_burst {
                        let worker = self.dice.one_of(all);
                        self.ask(worker);
                        self.wait(10_000);
                    }
                    let quiet_ns = self.dice.below(2 * per_burst * gap_ns);
                    self.wait(quiet_ns);
                }
                Traffic::Adversarial => self.play_against(per_burst, gap_ns),
            }
        }
    }

    fn play_against(&mut self, per_burst: u64, gap_ns: u64) {
        let all = self.shards.len();
        for worker in 0..all {
            self.ask(worker);
        }
        let ripening_ns = self.dice.below(2 * RECONCILE_MS * 1_000_000);
        self.wait(ripening_ns);
        for turn in 0..per_burst.max(4 * all as u64) {
            let worker = usize::try_from(turn).unwrap() % all;
            self.ask(worker);
            if self.dice.below(16) == 0 {
                self.wait(gap_ns);
            }
        }
        let (requests, period_ms, burst) = numbers(&self.entry);
        let emission_ns = period_ms * 1_000_000 / requests;
        let rest_ns = self.dice.below(emission_ns * (burst + 1));
        self.wait(rest_ns);
    }

    /// Ends every request; answers what was admitted, in parts of what the ideal admits.
    fn finish(mut self) -> f64 {
        while !self.running.is_empty() {
            self.settle_oldest();
        }
        let held: u64 = self.shards.iter().map(Shard::held).sum();
        assert_eq!(held, 0, "every hold is settled");
        let admitted = self.admitted.len();
        assert_conforms(&self.entry, self.admitted);
        admitted as f64 / self.admitted_by_ideal as f64
    }
}

const WORKERS: [usize; 4] = [1, 2, 8, 32];
const TRAFFIC: [Traffic; 4] = [
    Traffic::Uniform,
    Traffic::OneCore,
    Traffic::Bursty,
    Traffic::Adversarial,
];

#[test]
fn no_traffic_on_any_number_of_workers_exceeds_the_limit_over_any_interval() {
    let limits = [
        (1_000, 50),
        (1_000, 1),
        (10_000, 2_000),
        (10, 20),
        (10, 1),
        (7, 3),
    ];
    for (seed, (requests, burst)) in (1..).zip(limits) {
        for workers in WORKERS {
            for traffic in TRAFFIC {
                let entry = entry(1, requests, 1_000, burst);
                let mut run = Simulation::new(&entry, workers, seed);
                run.unused_percent = 10;
                run.deaths_per_thousand = 20;
                run.play(traffic, (5_000 / requests).clamp(1, 60), 4);
                let _ = run.finish();
            }
        }
    }
}

fn utilizations(requests: u64, burst: u64, seconds: u64) -> Vec<(String, f64)> {
    let mut all = Vec::new();
    for workers in WORKERS {
        for traffic in TRAFFIC {
            let entry = entry(1, requests, 1_000, burst);
            let mut run = Simulation::new(&entry, workers, 42);
            run.play(traffic, seconds, 10);
            let label = format!("{requests}/s, burst {burst}, {workers} workers, {traffic:?}");
            all.push((label, run.finish()));
        }
    }
    all
}

fn assert_utilized(requests: u64, burst: u64, seconds: u64, least: f64) {
    for (label, utilization) in utilizations(requests, burst, seconds) {
        println!("{label}: {utilization:.4}");
        assert!(
            utilization >= least,
            "{label}: {utilization:.4} is below {least}"
        );
    }
}

#[test]
fn a_key_that_wants_more_than_its_fast_limit_gets_nearly_all_of_it() {
    assert_utilized(1_000, 100, 5, 0.99);
    assert_utilized(10_000, 1_000, 1, 0.99);
}

#[test]
fn a_key_that_wants_more_than_its_slow_limit_gets_nearly_all_of_it() {
    assert_utilized(10, 20, 120, 0.97);
}
