//! The simulator for quotas and requests in flight: many shards on one bank, traffic and trouble
//! from a seed.
//!
//! A quota's run moves the wall clock forth and back and kills workers; no window may admit more
//! than the quota, and a run without trouble admits all of it. A concurrency run kills whole
//! processes and lets the next one take over; never may more requests run than the limit says.

use std::collections::HashMap;
use std::sync::Arc;

use crate::clock::{Now, WallTime};
use crate::limit::hold::Claimed;
use crate::limit::model::{Dice, compiled, concurrent, ms, of_key, quota};
use crate::limit::{Bank, CompiledLimit, Demand, Hold, Outcome, Shard, ShardSettings};
use crate::snapshot::catalog::CalendarUnit;

const WORKERS: [usize; 4] = [1, 2, 8, 32];
const HOUR_MS: u64 = 3_600_000;

fn shard(bank: &Arc<Bank>, workers: usize) -> Shard {
    let settings = ShardSettings {
        entries_max: 4,
        ..ShardSettings::for_workers(u32::try_from(workers).unwrap())
    };
    Shard::new(Arc::clone(bank), settings)
}

fn ask(shard: &mut Shard, limits: &[CompiledLimit], now: Now) -> Option<Hold> {
    let demand = Demand {
        subjects: of_key(1),
        limits: [limits, &[]],
        bytes_in: 0,
    };
    shard.hold(&demand, now).ok()
}

fn window_of(shard: &Shard, hold: &Hold) -> u32 {
    match shard.claims(hold).iter().next().map(|claim| claim.claimed) {
        Some(Claimed::Units(taken, _)) => taken.window(),
        other => panic!("expected units of a window, got {other:?}"),
    }
}

/// How troublesome a run is.
#[derive(Clone, Copy, Debug)]
struct Trouble {
    clock_steps_per_thousand: u64,
    deaths_per_thousand: u64,
    unused_percent: u64,
}

const NONE: Trouble = Trouble {
    clock_steps_per_thousand: 0,
    deaths_per_thousand: 0,
    unused_percent: 0,
};

/// Plays requests for a few windows; answers how many each admitted for good.
fn play(units: u64, workers: usize, one_core: bool, trouble: Trouble, seed: u64) -> Vec<u64> {
    let limits = [compiled(&quota(1, units, CalendarUnit::Hour))];
    let bank = Arc::new(Bank::create(16).unwrap());
    let mut shards: Vec<Shard> = (0..workers).map(|_| shard(&bank, workers)).collect();
    let mut dice = Dice::of(seed);
    let mut admitted: HashMap<u32, u64> = HashMap::new();
    let (mut tick_ms, mut off_ms) = (1_000, 0);
    let step_ms = (3 * HOUR_MS) / (units * 12).clamp(1, 20_000);
    for turn in 0_u64..(units * 12).min(20_000) {
        tick_ms += dice.below(2 * step_ms);
        if dice.below(1_000) < trouble.clock_steps_per_thousand {
            // The clock is set, forth or back, and never a whole window from where it was.
            off_ms = dice.below(HOUR_MS);
        }
        let wall_ms = 500_000 * HOUR_MS + tick_ms + off_ms;
        let now = Now {
            tick: ms(tick_ms),
            wall: WallTime(wall_ms),
        };
        let worker = if one_core { 0 } else { dice.one_of(workers) };
        if let Some(hold) = ask(&mut shards[worker], &limits, now) {
            let window = window_of(&shards[worker], &hold);
            let unused = dice.below(100) < trouble.unused_percent;
            let outcome = if unused {
                Outcome::Unused
            } else {
                Outcome::USED
            };
            shards[worker].settle(hold, outcome);
            *admitted.entry(window).or_default() += u64::from(!unused);
        }
        let resting = usize::try_from(turn).unwrap() % workers;
        shards[resting].reconcile(now);
        if dice.below(1_000) < trouble.deaths_per_thousand {
            shards[resting] = shard(&bank, workers);
        }
    }
    assert!(shards.iter().all(|shard| shard.held() == 0));
    for (window, count) in &admitted {
        assert!(
            *count <= units,
            "{count} of {units} in window {window}, {workers} workers, {trouble:?}, seed {seed}"
        );
    }
    let mut counts: Vec<_> = admitted.into_iter().collect();
    counts.sort_unstable();
    counts.into_iter().map(|(_, count)| count).collect()
}

#[test]
fn no_window_admits_more_than_its_quota_whatever_happens() {
    let trouble = Trouble {
        clock_steps_per_thousand: 5,
        deaths_per_thousand: 10,
        unused_percent: 10,
    };
    for seed in 1..=6 {
        for workers in WORKERS {
            for units in [1, 7, 100, 1_500] {
                play(units, workers, seed % 2 == 0, trouble, seed);
            }
        }
    }
}

#[test]
fn a_window_in_which_more_is_wanted_gives_all_of_its_quota() {
    for workers in WORKERS {
        for one_core in [false, true] {
            for units in [10, 1_000] {
                let counts = play(units, workers, one_core, NONE, 42);
                // The first and the last window were not asked for long enough.
                for count in &counts[1..counts.len() - 1] {
                    assert_eq!(*count, units, "{workers} workers, one core: {one_core}");
                }
            }
        }
    }
}

/// One process of a node: its bank, its workers and what they have in flight.
struct Process {
    bank: Arc<Bank>,
    shards: Vec<Shard>,
    running: Vec<(usize, Hold)>,
}

impl Process {
    fn first(workers: usize) -> Self {
        Self::on(Bank::create(16).unwrap(), workers)
    }

    fn after(before: &Self, workers: usize) -> Self {
        let file = before.bank.file().try_clone_to_owned().unwrap();
        Self::on(Bank::adopt(file, 16).unwrap(), workers)
    }

    fn on(bank: Bank, workers: usize) -> Self {
        let bank = Arc::new(bank);
        Self {
            shards: (0..workers).map(|_| shard(&bank, workers)).collect(),
            bank,
            running: Vec::new(),
        }
    }
}

#[test]
fn never_do_more_requests_run_than_the_limit_says() {
    for (seed, most) in (1..).zip([1, 2, 10, 100, 1_000]) {
        for workers in [1, 2, 8] {
            let limits = [compiled(&concurrent(1, most))];
            let mut dice = Dice::of(seed);
            let mut process = Process::first(workers);
            let mut full = 0;
            for turn in 0..20_000_u64 {
                let now = Now {
                    tick: ms(1_000 + turn * 5),
                    wall: WallTime(turn * 5),
                };
                let worker = dice.one_of(workers);
                // Sometimes many come, sometimes many go.
                let rush = (turn / 500).is_multiple_of(2);
                if dice.below(10) < if rush { 8 } else { 2 } {
                    match ask(&mut process.shards[worker], &limits, now) {
                        Some(hold) => process.running.push((worker, hold)),
                        None => full += 1,
                    }
                } else if !process.running.is_empty() {
                    let ends = dice.one_of(process.running.len());
                    let (worker, hold) = process.running.swap_remove(ends);
                    process.shards[worker].settle(hold, Outcome::USED);
                }
                assert!(process.running.len() <= usize::try_from(most).unwrap());
                if turn.is_multiple_of(20) {
                    process.shards[worker].reconcile(now);
                }
                if dice.below(2_000) == 0 {
                    // Killed with all it had; the next one learns of it.
                    let next = Process::after(&process, workers);
                    next.bank.forget_predecessor();
                    process = next;
                }
            }
            assert!(most >= 1_000 || full > 0, "{most} was never reached");
            for (worker, hold) in process.running.drain(..) {
                process.shards[worker].settle(hold, Outcome::USED);
            }
            let later = Now {
                tick: ms(1_000_000),
                wall: WallTime(1),
            };
            process
                .shards
                .iter_mut()
                .for_each(|shard| shard.reconcile(later));
            let all: Vec<_> = (0..)
                .map_while(|_| ask(&mut process.shards[0], &limits, later))
                .collect();
            assert_eq!(
                all.len(),
                usize::try_from(most).unwrap(),
                "no place is lost"
            );
            for hold in all {
                process.shards[0].settle(hold, Outcome::USED);
            }
        }
    }
}
