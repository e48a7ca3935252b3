//! Properties of [`Shard`] against the naive limiter, over scripts that proptest makes and
//! shrinks.

use std::sync::Arc;

use proptest::prelude::*;

use crate::clock::{Clock, Tick};
use crate::limit::model::{
    Ideal, ask, assert_conforms, compiled, entry, ms, now as now_of, numbers, rate,
};
use crate::limit::{Bank, CompiledLimit, Hold, Outcome, Shard, ShardSettings};
use crate::snapshot::catalog::LimitEntry;

const KEY: u32 = 1;

fn shards(workers: usize) -> Vec<Shard> {
    shards_on_bank(workers).2
}

fn shards_on_bank(workers: usize) -> (Arc<Bank>, ShardSettings, Vec<Shard>) {
    let bank = Arc::new(Bank::create(16).unwrap());
    let workers_u32 = u32::try_from(workers).unwrap();
    let settings = ShardSettings {
        entries_max: 4,
        ..ShardSettings::for_workers(workers_u32)
    };
    let shards = (0..workers)
        .map(|_| Shard::new(Arc::clone(&bank), settings))
        .collect();
    (bank, settings, shards)
}

fn any_limit() -> impl Strategy<Value = LimitEntry> {
    let requests = prop_oneof![1_u64..20, 500_u64..2_000, Just(1_000_000)];
    let period_ms = prop_oneof![Just(1_000_u64), Just(60_000), 1_u64..5_000];
    let burst = prop_oneof![Just(1_u64), 2_u64..30, 1_000_u64..2_000];
    (requests, period_ms, burst)
        .prop_map(|(requests, period_ms, burst)| entry(1, requests, period_ms, burst))
}

/// What happens next, and how long after the step before, in thousandths of an emission interval.
#[derive(Clone, Copy, Debug)]
enum Step {
    Ask { worker: usize },
    SettleOldest { used: bool },
    SettleNewest { used: bool },
    Reconcile { worker: usize },
    Die { worker: usize },
}

fn any_step(workers: usize) -> impl Strategy<Value = Step> {
    let outcome = prop::bool::weighted(0.5);
    prop_oneof![
        12 => (0..workers).prop_map(|worker| Step::Ask { worker }),
        3 => outcome.prop_map(|used| Step::SettleOldest { used }),
        3 => outcome.prop_map(|used| Step::SettleNewest { used }),
        2 => (0..workers).prop_map(|worker| Step::Reconcile { worker }),
        1 => (0..workers).prop_map(|worker| Step::Die { worker }),
    ]
}

fn any_gap() -> impl Strategy<Value = u64> {
    prop_oneof![6 => Just(0_u64), 3 => 1_u64..1_500, 1 => 1_500_u64..30_000]
}

/// A gap in thousandths of the limit's emission interval, in nanoseconds.
fn gap_ns(entry: &LimitEntry, gap: u64) -> u64 {
    let emission_ns = {
        let (requests, period_ms, _) = numbers(entry);
        period_ms * 1_000_000 / requests
    };
    emission_ns * gap / 1_000
}

struct Running {
    worker: usize,
    started: Tick,
    hold: Hold,
}

/// Plays a script; answers when the requests that count were admitted.
fn play(entry: &LimitEntry, workers: usize, script: &[(u64, Step)]) -> Vec<Tick> {
    let limits = [compiled(entry)];
    let (bank, settings, mut shards) = shards_on_bank(workers);
    let mut running: Vec<Running> = Vec::new();
    let mut counted = Vec::new();
    let mut now = ms(10);
    for (gap, step) in script {
        now = Tick(now.0 + gap_ns(entry, *gap));
        let (ended, used) = match *step {
            Step::Ask { worker } => {
                if let Ok(hold) = ask(&mut shards[worker], KEY, &limits, now) {
                    running.push(Running {
                        worker,
                        started: now,
                        hold,
                    });
                }
                (None, true)
            }
            Step::SettleOldest { used } if !running.is_empty() => (Some(running.remove(0)), used),
            Step::SettleNewest { used } => (running.pop(), used),
            Step::SettleOldest { .. } => (None, true),
            Step::Reconcile { worker } => {
                shards[worker].reconcile(now_of(now));
                (None, true)
            }
            Step::Die { worker } => {
                // The requests of a dead worker may have been served: they count.
                running.retain(|running| {
                    if running.worker == worker {
                        counted.push(running.started);
                    }
                    running.worker != worker
                });
                shards[worker] = Shard::new(Arc::clone(&bank), settings);
                (None, true)
            }
        };
        if let Some(Running {
            worker,
            started,
            hold,
        }) = ended
        {
            let outcome = if used { Outcome::USED } else { Outcome::Unused };
            shards[worker].settle(hold, outcome);
            if used {
                counted.push(started);
            }
        }
    }
    for Running {
        worker,
        started,
        hold,
    } in running
    {
        shards[worker].settle(hold, Outcome::USED);
        counted.push(started);
    }
    assert!(shards.iter().all(|shard| shard.held() == 0));
    counted
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn one_worker_admits_exactly_what_the_naive_limiter_admits(
        entry in any_limit(),
        script in prop::collection::vec((any_gap(), prop::bool::weighted(0.1)), 1..400),
    ) {
        let limits = [compiled(&entry)];
        let mut shard = shards(1).remove(0);
        let mut naive = Ideal::rounded(&limits[0]);
        let mut now = ms(10);
        for (gap, reconciles) in script {
            now = Tick(now.0 + gap_ns(&entry, gap));
            if reconciles {
                shard.reconcile(now_of(now));
            }
            let hold = ask(&mut shard, KEY, &limits, now);
            prop_assert_eq!(hold.is_ok(), naive.admits(now));
            if let Ok(hold) = hold {
                shard.settle(hold, Outcome::USED);
            }
        }
    }

    #[test]
    fn no_script_of_several_workers_exceeds_the_limit_over_any_interval(
        entry in any_limit(),
        script in prop::collection::vec((any_gap(), any_step(3)), 1..400),
    ) {
        let counted = play(&entry, 3, &script);
        assert_conforms(&entry, counted);
    }

    /// What is refused for now is never lost for good.
    #[test]
    fn after_a_rest_any_worker_may_spend_the_whole_burst(
        entry in any_limit(),
        asks in prop::collection::vec((any_gap(), 0_usize..3), 1..200),
    ) {
        let limits = [compiled(&entry)];
        let mut shards = shards(3);
        let mut now = ms(10);
        for (gap, worker) in asks {
            now = Tick(now.0 + gap_ns(&entry, gap));
            if let Ok(hold) = ask(&mut shards[worker], KEY, &limits, now) {
                shards[worker].settle(hold, Outcome::USED);
            }
        }
        let rested = Tick(now.0 + rate(&limits[0]).terms.capacity_x16.div_ceil(16));
        for _ in 0..numbers(&entry).2 {
            let hold = ask(&mut shards[0], KEY, &limits, rested);
            prop_assert!(hold.is_ok());
            if let Ok(hold) = hold {
                shards[0].settle(hold, Outcome::USED);
            }
        }
        prop_assert!(ask(&mut shards[0], KEY, &limits, rested).is_err());
    }

    #[test]
    fn a_refused_request_is_admitted_after_the_wait_it_was_told(
        entry in any_limit(),
        asks in prop::collection::vec((any_gap(), 0_usize..3), 1..100),
    ) {
        let limits = [compiled(&entry)];
        let mut shards = shards(3);
        let mut now = ms(10);
        for (gap, worker) in asks {
            now = Tick(now.0 + gap_ns(&entry, gap));
            let told = ask(&mut shards[worker], KEY, &limits, now);
            match told {
                Ok(hold) => shards[worker].settle(hold, Outcome::USED),
                Err(crate::limit::Refused::Spent { retry_after_ns, .. }) => {
                    now = Tick(now.0 + retry_after_ns);
                    let hold = ask(&mut shards[worker], KEY, &limits, now);
                    prop_assert!(hold.is_ok(), "not after {} ns", retry_after_ns);
                    shards[worker].settle(hold.unwrap(), Outcome::USED);
                }
                Err(refused) => prop_assert!(false, "{}", refused),
            }
        }
    }
}

/// Real threads, a real clock: what they admit by their own readings of it conforms.
#[test]
fn threads_on_one_bank_never_exceed_the_limit_over_any_interval() {
    let clock = Clock::system();
    for entry in [entry(1, 100_000, 1_000, 500), entry(1, 1_000, 1_000, 1)] {
        let limits = [compiled(&entry)];
        let play = |shard: &mut Shard| -> Vec<Tick> {
            let mut admitted = Vec::new();
            for turn in 0..20_000 {
                let now = clock.tick();
                if let Ok(hold) = ask(shard, KEY, &limits, now) {
                    shard.settle(hold, Outcome::USED);
                    admitted.push(now);
                }
                if turn % 100 == 0 {
                    shard.reconcile(now_of(now));
                }
            }
            admitted
        };
        let mut shards = shards(4);
        let admitted: Vec<Tick> = std::thread::scope(|scope| {
            let threads: Vec<_> = shards
                .iter_mut()
                .map(|shard| scope.spawn(move || play(shard)))
                .collect();
            threads
                .into_iter()
                .flat_map(|thread| thread.join().unwrap())
                .collect()
        });
        assert!(!admitted.is_empty());
        assert_conforms(&entry, admitted);
    }
}

/// Every hold is a compare-and-swap of the same word at the same time, so a lost one would show.
#[test]
fn threads_that_ask_in_the_same_moment_get_exactly_the_burst() {
    const BURST: u64 = 40_000;
    let limits = [CompiledLimit::new(&entry(1, 1, 1_000, BURST)).unwrap()];
    let (bank, settings, _) = shards_on_bank(4);
    let ask = || {
        let mut shard = Shard::new(Arc::clone(&bank), settings);
        let mut admitted = 0;
        for _ in 0..20_000 {
            if let Ok(hold) = ask(&mut shard, KEY, &limits, ms(1)) {
                shard.settle(hold, Outcome::USED);
                admitted += 1;
            }
        }
        (admitted, shard.counts().contentions)
    };
    let counts: Vec<(u64, u64)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert_eq!(
        counts.iter().map(|(admitted, _)| admitted).sum::<u64>(),
        BURST
    );
}
