//! Tests of [`Shard`] by example: what a caller of one plan meets, on one worker and on two.

use std::sync::Arc;

use crate::clock::Tick;
use crate::limit::model::{ask, limit, ms, now as now_of, ns, standing as standing_of};
use crate::limit::{
    Bank, BankFull, CompiledLimit, Hold, Outcome, Refused, Shard, ShardSettings, Standing,
};

const KEY: u32 = 7;

fn shards<const N: usize>() -> [Shard; N] {
    let bank = Arc::new(Bank::create(1_000).unwrap());
    let settings = ShardSettings::for_workers(u32::try_from(N).unwrap());
    std::array::from_fn(|_| Shard::new(Arc::clone(&bank), settings))
}

fn alone() -> Shard {
    let [shard] = shards();
    shard
}

/// Holds and settles as used; whether it was admitted.
fn admits(shard: &mut Shard, limits: &[CompiledLimit], now: Tick) -> bool {
    let hold = ask(shard, KEY, limits, now);
    hold.map(|hold| shard.settle(hold, Outcome::USED)).is_ok()
}

fn admitted(shard: &mut Shard, limits: &[CompiledLimit], now: Tick) -> u64 {
    (0..).find(|_| !admits(shard, limits, now)).unwrap()
}

fn held(shard: &mut Shard, limits: &[CompiledLimit], now: Tick) -> Hold {
    ask(shard, KEY, limits, now).unwrap()
}

#[test]
fn a_rested_key_may_send_its_burst_and_then_its_rate() {
    let limits = [limit(1, 10, 1_000, 20)];
    let mut shard = alone();
    assert_eq!(admitted(&mut shard, &limits, ms(5_000)), 20);
    assert_eq!(admitted(&mut shard, &limits, ms(5_099)), 0);
    assert_eq!(admitted(&mut shard, &limits, ms(5_100)), 1);
    assert_eq!(admitted(&mut shard, &limits, ms(5_350)), 2);
    assert_eq!(admitted(&mut shard, &limits, ms(60_000)), 20);
}

#[test]
fn a_refusal_names_the_limit_and_the_wait_and_spends_nothing() {
    let limits = [limit(1, 10, 1_000, 1)];
    let mut shard = alone();
    assert!(admits(&mut shard, &limits, ms(1_000)));
    for _ in 0..3 {
        let refused = ask(&mut shard, KEY, &limits, ms(1_030)).unwrap_err();
        assert_eq!(
            refused,
            Refused::Spent {
                limit: 0,
                retry_after_ns: 70_000_000
            }
        );
    }
    assert!(!admits(&mut shard, &limits, ns(1_099_999_999)));
    assert!(admits(&mut shard, &limits, ms(1_100)));
    assert_eq!(shard.counts().refused_spent, 4);
}

#[test]
fn a_plan_without_limits_admits_everything() {
    let mut shard = alone();
    assert!((0..1_000).all(|_| admits(&mut shard, &[], ms(0))));
    assert_eq!((shard.entries(), shard.held()), (0, 0));
}

#[test]
fn subjects_and_limits_do_not_share() {
    let [first, second] = [[limit(1, 1, 1_000, 1)], [limit(2, 1, 1_000, 1)]];
    let mut shard = alone();
    for subject in [1, 2] {
        for limits in [&first, &second] {
            let hold = ask(&mut shard, subject, limits, ms(0)).unwrap();
            shard.settle(hold, Outcome::USED);
            assert!(ask(&mut shard, subject, limits, ms(0)).is_err());
        }
    }
}

#[test]
fn limits_of_a_plan_are_held_together_or_not_at_all() {
    let wide = limit(1, 100, 1_000, 100);
    let narrow = limit(2, 1, 1_000, 2);
    let both = [wide.clone(), narrow];
    let mut shard = alone();
    assert_eq!(admitted(&mut shard, &both, ms(0)), 2);
    assert!((0..50).all(|_| !admits(&mut shard, &both, ms(0))));
    assert_eq!(
        admitted(&mut shard, &[wide], ms(0)),
        98,
        "refusals must not spend the wide limit"
    );
}

#[test]
fn a_plan_may_have_more_limits_than_a_hold_carries_in_itself() {
    let mut limits: Vec<CompiledLimit> = (1..=9).map(|n| limit(n, 1, 1_000, 5)).collect();
    limits.push(limit(10, 1, 1_000, 1));
    let mut shard = alone();
    let hold = held(&mut shard, &limits, ms(0));
    assert!((0..20).all(|_| !admits(&mut shard, &limits, ms(0))));
    assert_eq!(
        admitted(&mut shard, &limits[..9], ms(0)),
        4,
        "refusals spend nothing"
    );
    shard.settle(hold, Outcome::Unused);
    assert_eq!(admitted(&mut shard, &limits[9..], ms(0)), 1);
}

#[test]
fn of_several_spent_limits_the_one_that_lasts_longest_is_named() {
    let limits = [
        limit(1, 10, 1_000, 1),
        limit(2, 1, 60_000, 1),
        limit(3, 1, 1_000, 1),
    ];
    let mut shard = alone();
    assert!(admits(&mut shard, &limits, ms(0)));
    let refused = ask(&mut shard, KEY, &limits, ms(0)).unwrap_err();
    assert_eq!(
        refused,
        Refused::Spent {
            limit: 1,
            retry_after_ns: 60_000_000_000
        }
    );
}

#[test]
fn a_hold_settled_unused_gives_its_unit_back() {
    let limits = [limit(1, 1, 60_000, 3), limit(2, 1, 1_000, 3)];
    let mut shard = alone();
    let holds: Vec<Hold> = (0..3).map(|_| held(&mut shard, &limits, ms(0))).collect();
    assert_eq!(shard.held(), 3);
    assert!(ask(&mut shard, KEY, &limits, ms(0)).is_err());
    for hold in holds {
        shard.settle(hold, Outcome::Unused);
    }
    assert_eq!(shard.held(), 0);
    assert_eq!(admitted(&mut shard, &limits, ms(0)), 3);
}

#[test]
fn a_unit_given_back_reaches_other_workers_with_the_reconciliation() {
    let limits = [limit(1, 1, 60_000, 1)];
    let [mut here, mut there] = shards();
    let hold = held(&mut here, &limits, ms(0));
    here.settle(hold, Outcome::Unused);
    assert!(!admits(&mut there, &limits, ms(50)));
    here.reconcile(now_of(ms(100)));
    assert!(admits(&mut there, &limits, ms(100)));
    assert!(!admits(&mut here, &limits, ms(100)));
}

#[test]
fn an_unsettled_hold_shows() {
    let limits = [limit(1, 1, 1_000, 1)];
    let mut shard = alone();
    let hold = held(&mut shard, &limits, ms(0));
    shard.reconcile(now_of(ms(60_000)));
    assert_eq!(shard.held(), 1);
    shard.settle(hold, Outcome::USED);
    assert_eq!(shard.held(), 0);
}

#[test]
fn most_requests_of_a_key_below_its_limit_touch_no_shared_word() {
    let limits = [limit(1, 10_000, 1_000, 10_000)];
    let [mut shard, _other] = shards();
    for millis in 0..1_000 {
        assert!((0..5).all(|_| admits(&mut shard, &limits, ms(millis))));
        if millis % 100 == 0 {
            shard.reconcile(now_of(ms(millis)));
        }
    }
    assert!(
        shard.counts().leases_taken < 5_000 / 50,
        "{:?}",
        shard.counts()
    );
}

#[test]
fn near_the_limit_a_worker_leaves_the_rest_to_the_others() {
    let limits = [limit(1, 1_000, 1_000, 40)];
    let mut shards = shards::<4>();
    let all: u64 = shards
        .iter_mut()
        .map(|shard| admitted(shard, &limits, ms(0)))
        .sum();
    assert_eq!(all, 40);
    let mut interleaved = 0;
    for turn in 0..400 {
        interleaved += u64::from(admits(&mut shards[turn % 4], &limits, ms(1_000)));
    }
    assert_eq!(
        interleaved, 40,
        "whatever lies in a lease is spent by the worker that has it"
    );
}

#[test]
fn what_a_lost_worker_held_is_never_given_twice() {
    let limits = [limit(1, 1_000, 1_000, 1_000)];
    let [mut here, mut there] = shards();
    assert!(admits(&mut here, &limits, ms(0)));
    assert!(here.counts().leases_taken == 1);
    drop(here);
    let rest = admitted(&mut there, &limits, ms(0));
    assert!(
        (970..1_000).contains(&rest),
        "{rest}: a lease of a few units is lost"
    );
    assert_eq!(
        admitted(&mut there, &limits, ms(5_000)),
        1_000,
        "and heals with time"
    );
}

#[test]
fn a_changed_rate_does_not_forgive_what_was_spent() {
    let before = [limit(1, 10, 1_000, 10)];
    let after = [limit(1, 20, 1_000, 10)];
    let [mut here, mut there] = shards();
    assert_eq!(admitted(&mut here, &before, ms(0)), 10);
    for shard in [&mut here, &mut there] {
        assert!(!admits(shard, &after, ms(0)));
    }
    // The word stands a second ahead; the new burst is worth half a second.
    assert!(!admits(&mut there, &after, ms(549)));
    assert!(admits(&mut there, &after, ms(550)));
}

#[test]
fn a_smaller_burst_holds_at_once_also_for_leases_in_hand() {
    let before = [limit(1, 1_000, 1_000, 1_000)];
    let after = [limit(1, 1_000, 1_000, 1)];
    let [mut here, mut there] = shards();
    assert!((0..500).all(|_| admits(&mut there, &before, ms(0))));
    assert!(admits(&mut here, &before, ms(0)));
    assert_ne!(
        admitted(&mut there, &before, ms(0)),
        499,
        "the rest of a lease is still here"
    );
    assert!((0..5).all(|_| !admits(&mut here, &after, ms(0))));
}

#[test]
fn a_limit_changed_from_hours_to_seconds_locks_nobody_out() {
    let before = [limit(1, 10, 3_600_000, 100)];
    let after = [limit(1, 10, 1_000, 10)];
    let mut shard = alone();
    assert_eq!(admitted(&mut shard, &before, ms(0)), 100);
    let refused = ask(&mut shard, KEY, &after, ms(1_000)).unwrap_err();
    assert_eq!(
        refused,
        Refused::Spent {
            limit: 0,
            retry_after_ns: 100_000_000
        }
    );
    assert_eq!(
        admitted(&mut shard, &after, ms(1_100)),
        1,
        "ten hours of debt became a burst"
    );
}

#[test]
fn a_full_bank_refuses_instead_of_not_counting() {
    let limits = [limit(1, 10, 1_000, 10)];
    let bank = Arc::new(Bank::create(2).unwrap());
    let mut shard = Shard::new(bank, ShardSettings::for_workers(1));
    let mut hold = |subject| ask(&mut shard, subject, &limits, ms(0));
    let first = hold(1).unwrap();
    let second = hold(2).unwrap();
    assert_eq!(hold(3).unwrap_err(), Refused::Bank(BankFull));
    assert_eq!(shard.counts().refused_bank_full, 1);
    shard.settle(first, Outcome::USED);
    shard.settle(second, Outcome::USED);
    assert_eq!(shard.held(), 0);
}

#[test]
fn a_standing_tells_what_is_left_and_when_there_is_more() {
    let limits = [limit(1, 10, 10_000, 3)];
    let mut shard = alone();
    let standing = |shard: &Shard, now| standing_of(shard, KEY, &limits[0], now);
    let expected = |remaining, reset_s| Standing {
        limit: 10,
        remaining,
        reset_s: Some(reset_s),
    };
    assert_eq!(standing(&shard, ms(0)), expected(3, 0));
    assert!(admits(&mut shard, &limits, ms(0)));
    assert_eq!(standing(&shard, ms(0)), expected(2, 1));
    assert_eq!(admitted(&mut shard, &limits, ms(0)), 2);
    assert_eq!(standing(&shard, ms(0)), expected(0, 1));
    assert_eq!(standing(&shard, ms(1_500)), expected(1, 1));
    assert_eq!(standing(&shard, ms(60_000)), expected(3, 0));
}

#[test]
fn a_standing_on_a_worker_that_never_saw_the_key_reads_the_shared_word() {
    let limits = [limit(1, 1, 10_000, 2)];
    let [mut here, there] = shards();
    assert_eq!(admitted(&mut here, &limits, ms(0)), 2);
    let standing = standing_of(&there, KEY, &limits[0], ms(0));
    assert_eq!(
        standing,
        Standing {
            limit: 1,
            remaining: 0,
            reset_s: Some(10)
        }
    );
}

#[test]
fn an_idle_key_is_forgotten_and_an_active_one_is_not() {
    let limits = [limit(1, 10, 1_000, 10)];
    let mut shard = alone();
    let hold = ask(&mut shard, 1, &limits, ms(0)).unwrap();
    shard.settle(hold, Outcome::USED);
    for second in 0..60 {
        assert!(admits(&mut shard, &limits, ms(second * 1_000)));
        shard.reconcile(now_of(ms(second * 1_000)));
    }
    assert_eq!((shard.entries(), shard.counts().forgotten), (1, 1));
}

#[test]
fn an_entry_is_kept_while_a_unit_that_came_back_can_be_spent() {
    let limits = [limit(1, 1, 3_600_000, 2)];
    let [mut here, mut there] = shards();
    // Its slot is the second hour; the other worker takes the third before it comes back.
    assert!(admits(&mut there, &limits, ms(0)));
    let hold = held(&mut here, &limits, ms(0));
    assert_eq!(admitted(&mut there, &limits, ms(3_590_000)), 0);
    assert_eq!(admitted(&mut there, &limits, ms(3_600_000)), 1);
    here.settle(hold, Outcome::Unused);
    here.reconcile(now_of(ms(3_600_000)));
    assert_eq!(
        here.entries(),
        1,
        "nothing could be returned: the other worker debited after"
    );
    assert!(admits(&mut here, &limits, ms(3_600_000)));
    here.reconcile(now_of(ms(3_700_000)));
    assert_eq!(here.entries(), 0);
}

#[test]
fn a_shard_remembers_no_more_than_it_may_and_stays_exact() {
    let limits = [limit(1, 1, 3_600_000, 2)];
    let bank = Arc::new(Bank::create(1_000).unwrap());
    let settings = ShardSettings {
        entries_max: 8,
        ..ShardSettings::for_workers(1)
    };
    let mut shard = Shard::new(bank, settings);
    for round in 0..4 {
        let admitted = (0..100)
            .filter_map(|subject| ask(&mut shard, subject, &limits, ms(round)).ok())
            .collect::<Vec<Hold>>();
        assert_eq!(admitted.len(), if round < 2 { 100 } else { 0 });
        for hold in admitted {
            shard.settle(hold, Outcome::USED);
        }
        assert!(shard.entries() <= 8);
    }
}

#[test]
fn a_reconciliation_visits_a_bounded_part_and_all_parts_in_turn() {
    let limits = [limit(1, 1_000, 1_000, 1_000)];
    let [mut here, _there] = {
        let bank = Arc::new(Bank::create(100_000).unwrap());
        std::array::from_fn::<_, 2, _>(|_| {
            Shard::new(Arc::clone(&bank), ShardSettings::for_workers(2))
        })
    };
    for subject in 0..3_000 {
        let hold = ask(&mut here, subject, &limits, ms(0)).unwrap();
        here.settle(hold, Outcome::USED);
    }
    here.reconcile(now_of(ms(1)));
    let first = here.counts().leases_returned;
    assert!((1..=1_024).contains(&first), "{first}");
    here.reconcile(now_of(ms(1)));
    here.reconcile(now_of(ms(1)));
    assert_eq!(here.counts().leases_returned, 3_000);
}
