//! Tests of [`Shard`] by example: quotas, requests in flight, bytes, subjects and limits that only
//! watch.

use std::net::IpAddr;
use std::sync::Arc;

use crate::clock::{Now, Tick, WallTime};
use crate::limit::model::{compiled, concurrent, entry, ms, now, of_key, quota};
use crate::limit::{
    Bank, CompiledLimit, Demand, Hold, Outcome, Refused, Shard, ShardSettings, Subjects,
};
use crate::snapshot::catalog::{CalendarUnit, LimitEntry, LimitSubject, LimitUnit};

const HOUR_MS: u64 = 3_600_000;

fn shards<const N: usize>() -> [Shard; N] {
    on_bank(&Arc::new(Bank::create(1_000).unwrap()))
}

fn on_bank<const N: usize>(bank: &Arc<Bank>) -> [Shard; N] {
    let settings = ShardSettings::for_workers(u32::try_from(N).unwrap());
    std::array::from_fn(|_| Shard::new(Arc::clone(bank), settings))
}

fn alone() -> Shard {
    let [shard] = shards();
    shard
}

fn demand<'a>(subjects: Subjects, limits: &'a [CompiledLimit], bytes_in: u64) -> Demand<'a> {
    Demand {
        subjects,
        limits: [limits, &[]],
        bytes_in,
    }
}

fn hold(shard: &mut Shard, limits: &[CompiledLimit], now: Now) -> Result<Hold, Refused> {
    shard.hold(&demand(of_key(1), limits, 0), now)
}

fn admits(shard: &mut Shard, limits: &[CompiledLimit], now: Now) -> bool {
    let held = hold(shard, limits, now);
    held.map(|hold| shard.settle(hold, Outcome::USED)).is_ok()
}

fn admitted(shard: &mut Shard, limits: &[CompiledLimit], now: Now) -> u64 {
    (0..).find(|_| !admits(shard, limits, now)).unwrap()
}

fn wait_of(refused: Result<Hold, Refused>) -> u64 {
    match refused {
        Err(Refused::Spent { retry_after_ns, .. }) => retry_after_ns,
        other => panic!("expected a spent limit, got {other:?}"),
    }
}

/// A moment whose two clocks are told apart.
fn at(tick_ms: u64, wall_ms: u64) -> Now {
    Now {
        tick: ms(tick_ms),
        wall: WallTime(wall_ms),
    }
}

fn hourly(units: u64) -> [CompiledLimit; 1] {
    [compiled(&quota(1, units, CalendarUnit::Hour))]
}

#[test]
fn a_quota_admits_so_many_a_window_and_says_when_the_next_begins() {
    let limits = hourly(5);
    let mut shard = alone();
    let quarter = now(ms(HOUR_MS / 4));
    assert_eq!(admitted(&mut shard, &limits, quarter), 5);
    let wait_ns = wait_of(hold(&mut shard, &limits, quarter));
    assert_eq!(wait_ns, HOUR_MS * 3 / 4 * 1_000_000);
    assert_eq!(admitted(&mut shard, &limits, now(ms(HOUR_MS - 1))), 0);
    assert_eq!(admitted(&mut shard, &limits, now(ms(HOUR_MS))), 5);
    assert_eq!(admitted(&mut shard, &limits, now(ms(100 * HOUR_MS))), 5);
}

#[test]
fn workers_share_a_quota_to_the_last_unit() {
    let limits = hourly(1_000);
    let mut shards = shards::<3>();
    let mut all = 0;
    for turn in 0..1_200 {
        all += u64::from(admits(&mut shards[turn % 3], &limits, now(ms(1))));
    }
    let stranded: u64 = shards
        .iter_mut()
        .map(|shard| {
            shard.reconcile(now(ms(2)));
            admitted(shard, &limits, now(ms(2)))
        })
        .sum();
    assert_eq!(all + stranded, 1_000);
    assert!(all >= 990, "{all}: near the end leases are of one unit");
}

#[test]
fn what_is_leased_of_a_window_cannot_be_spent_in_the_next() {
    let limits = hourly(1_000);
    let [mut here, mut there] = shards();
    assert!(admits(&mut here, &limits, now(ms(0))));
    let next = now(ms(HOUR_MS));
    assert_eq!(admitted(&mut there, &limits, next), 1_000);
    assert_eq!(admitted(&mut here, &limits, next), 0);
}

#[test]
fn a_quota_of_a_lost_worker_is_never_given_twice() {
    let limits = hourly(100);
    let [mut here, mut there] = shards();
    assert!(admits(&mut here, &limits, now(ms(0))));
    drop(here);
    let rest = admitted(&mut there, &limits, now(ms(0)));
    assert!((90..100).contains(&rest), "{rest}");
}

#[test]
fn a_clock_set_back_by_an_hour_brings_no_window_back() {
    let limits = hourly(10);
    let [mut here, mut there] = shards();
    assert_eq!(admitted(&mut here, &limits, at(1, 10 * HOUR_MS)), 10);
    assert_eq!(admitted(&mut here, &limits, at(2, 11 * HOUR_MS)), 10);
    let back = at(3, 10 * HOUR_MS + 1);
    assert_eq!(admitted(&mut here, &limits, back), 0);
    assert_eq!(admitted(&mut there, &limits, back), 0);
    assert_eq!(admitted(&mut there, &limits, at(4, 12 * HOUR_MS)), 10);
}

#[test]
fn a_clock_that_was_years_ahead_locks_nobody_out_for_years() {
    let limits = hourly(10);
    let mut shard = alone();
    assert_eq!(
        admitted(&mut shard, &limits, at(1, 1_000_000 * HOUR_MS)),
        10
    );
    assert_eq!(admitted(&mut shard, &limits, at(2, 10 * HOUR_MS)), 0);
    assert_eq!(admitted(&mut shard, &limits, at(3, 11 * HOUR_MS)), 10);
}

#[test]
fn a_changed_quota_does_not_forgive_what_was_spent() {
    let mut shard = alone();
    assert_eq!(admitted(&mut shard, &hourly(10), now(ms(0))), 10);
    assert_eq!(admitted(&mut shard, &hourly(15), now(ms(1))), 5);
    assert_eq!(admitted(&mut shard, &hourly(3), now(ms(2))), 0);
}

#[test]
fn a_unit_of_a_quota_that_was_not_used_comes_back() {
    let limits = hourly(1);
    let mut shard = alone();
    let held = hold(&mut shard, &limits, now(ms(0))).unwrap();
    assert!(hold(&mut shard, &limits, now(ms(0))).is_err());
    shard.settle(held, Outcome::Unused);
    assert_eq!(admitted(&mut shard, &limits, now(ms(0))), 1);
}

#[test]
fn the_journal_is_told_what_was_spent_and_what_came_back() {
    let limits = hourly(100);
    let mut shard = alone();
    let told = |shard: &mut Shard, tick| {
        shard.reconcile(now(ms(tick)));
        let spent = shard.take_spent();
        spent.iter().map(|spent| spent.units).sum::<i64>()
    };
    let held: Vec<Hold> = (0..10)
        .map(|_| hold(&mut shard, &limits, now(ms(0))).unwrap())
        .collect();
    assert_eq!(told(&mut shard, 1), 10);
    for (at, hold) in held.into_iter().enumerate() {
        let outcome = if at < 3 {
            Outcome::Unused
        } else {
            Outcome::USED
        };
        shard.settle(hold, outcome);
    }
    assert_eq!(told(&mut shard, 2), -3);
    assert_eq!(told(&mut shard, 3), 0);
    // The last of a window is told when the next begins.
    assert!(admits(&mut shard, &limits, now(ms(HOUR_MS - 1))));
    assert!(admits(&mut shard, &limits, now(ms(HOUR_MS))));
    shard.reconcile(now(ms(HOUR_MS)));
    let units: Vec<i64> = shard.take_spent().iter().map(|spent| spent.units).collect();
    assert_eq!(units, [1, 1]);
}

#[test]
fn so_many_requests_run_at_once_and_one_more_when_one_has_ended() {
    let limits = [compiled(&concurrent(1, 3))];
    let [mut here, mut there] = shards();
    let now = now(ms(0));
    let mut held: Vec<Hold> = (0..2)
        .map(|_| hold(&mut here, &limits, now).unwrap())
        .collect();
    let last = hold(&mut there, &limits, now).unwrap();
    assert_eq!(wait_of(hold(&mut here, &limits, now)), 1_000_000_000);
    assert!(hold(&mut there, &limits, now).is_err());
    there.settle(last, Outcome::USED);
    held.push(hold(&mut here, &limits, now).unwrap());
    here.settle(held.remove(0), Outcome::Unused);
    held.push(hold(&mut there, &limits, now).unwrap());
    assert!(hold(&mut here, &limits, now).is_err());
    there.settle(held.pop().unwrap(), Outcome::USED);
    for hold in held {
        here.settle(hold, Outcome::USED);
    }
    assert_eq!((here.held(), there.held()), (0, 0));
}

#[test]
fn places_that_a_worker_keeps_come_back_with_the_reconciliation() {
    let limits = [compiled(&concurrent(1, 1_000))];
    let [mut here, mut there] = shards();
    let held = hold(&mut here, &limits, now(ms(0))).unwrap();
    here.settle(held, Outcome::USED);
    let busy: Vec<Hold> = (0..)
        .map_while(|_| hold(&mut there, &limits, now(ms(0))).ok())
        .collect();
    assert!((980..1_000).contains(&busy.len()), "{}", busy.len());
    here.reconcile(now(ms(100)));
    let rest: Vec<Hold> = (0..)
        .map_while(|_| hold(&mut there, &limits, now(ms(100))).ok())
        .collect();
    assert_eq!(busy.len() + rest.len(), 1_000);
    for hold in busy.into_iter().chain(rest) {
        there.settle(hold, Outcome::USED);
    }
    there.reconcile(now(ms(200)));
    assert_eq!(admitted_at_once(&mut here, &limits), 1_000);
}

fn admitted_at_once(shard: &mut Shard, limits: &[CompiledLimit]) -> usize {
    let held: Vec<Hold> = (0..)
        .map_while(|_| hold(shard, limits, now(ms(300))).ok())
        .collect();
    let count = held.len();
    held.into_iter()
        .for_each(|hold| shard.settle(hold, Outcome::USED));
    shard.reconcile(now(ms(300)));
    count
}

#[test]
fn what_a_killed_process_had_in_flight_is_forgotten_and_nothing_else() {
    let limits = [compiled(&concurrent(1, 10))];
    let old_bank = Arc::new(Bank::create(1_000).unwrap());
    let [mut old] = on_bank(&old_bank);
    let lost: Vec<Hold> = (0..4)
        .map(|_| hold(&mut old, &limits, now(ms(0))).unwrap())
        .collect();
    let file = old_bank.file().try_clone_to_owned().unwrap();
    let new_bank = Arc::new(Bank::adopt(file, 1_000).unwrap());
    let [mut new] = on_bank(&new_bank);
    assert_eq!(admitted_at_once(&mut new, &limits), 6);
    let mine = hold(&mut new, &limits, now(ms(400))).unwrap();
    new_bank.forget_predecessor();
    assert_eq!(admitted_at_once(&mut new, &limits), 9);
    new.settle(mine, Outcome::USED);
    drop(lost);
}

#[test]
fn bytes_of_an_answer_are_counted_at_its_end_and_their_debt_is_waited_for() {
    let limits = [compiled(&LimitEntry {
        unit: LimitUnit::BytesOut,
        ..entry(1, 1_000, 1_000, 5_000)
    })];
    let mut shard = alone();
    let download = |shard: &mut Shard, tick, bytes_out| {
        let held = hold(shard, &limits, now(ms(tick)))?;
        let cost = Outcome::Used {
            bytes_in: 7,
            bytes_out,
        };
        shard.settle(held, cost);
        Ok(())
    };
    assert!(download(&mut shard, 10_000, 3_000).is_ok());
    assert!(
        download(&mut shard, 10_000, 12_000).is_ok(),
        "2 000 were left"
    );
    let refused: Result<(), Refused> = download(&mut shard, 10_000, 1);
    let Err(Refused::Spent { retry_after_ns, .. }) = refused else {
        panic!("15 000 bytes of 5 000: {refused:?}");
    };
    assert_eq!(retry_after_ns, 10_001_000_000);
    assert!(download(&mut shard, 20_000, 1).is_err());
    assert!(download(&mut shard, 20_001, 1).is_ok());
}

#[test]
fn bytes_of_a_body_that_says_its_length_are_held_in_advance() {
    let limits = [compiled(&LimitEntry {
        unit: LimitUnit::BytesIn,
        ..entry(1, 1_000, 1_000, 5_000)
    })];
    let mut shard = alone();
    let mut upload = |announced, sent| {
        let held = shard.hold(&demand(of_key(1), &limits, announced), now(ms(10_000)))?;
        let cost = Outcome::Used {
            bytes_in: sent,
            bytes_out: 9_999,
        };
        shard.settle(held, cost);
        Ok::<(), Refused>(())
    };
    assert!(upload(4_000, 4_000).is_ok());
    assert!(upload(1_001, 1_001).is_err(), "1 000 are left");
    assert!(upload(1_000, 400).is_ok(), "600 were not sent");
    assert!(upload(600, 600).is_ok());
    assert!(upload(1, 1).is_err());
}

#[test]
fn a_body_larger_than_the_burst_waits_for_all_of_it_and_not_for_ever() {
    let limits = [compiled(&LimitEntry {
        unit: LimitUnit::BytesIn,
        ..entry(1, 1_000, 1_000, 5_000)
    })];
    let mut shard = alone();
    let held = shard.hold(&demand(of_key(1), &limits, 50_000), now(ms(10_000)));
    let cost = Outcome::Used {
        bytes_in: 50_000,
        bytes_out: 0,
    };
    shard.settle(held.unwrap(), cost);
    let small = demand(of_key(1), &limits, 1);
    assert_eq!(wait_of(shard.hold(&small, now(ms(10_000)))), 45_001_000_000);
}

#[test]
fn a_quota_of_bytes_is_exact_to_a_kibibyte() {
    let quota = LimitEntry {
        unit: LimitUnit::BytesOut,
        ..quota(1, 1 << 20, CalendarUnit::Day)
    };
    let limits = [compiled(&quota)];
    let [mut here, mut there] = shards();
    let mut sent = 0;
    for turn in 0.. {
        let shard = if turn % 2 == 0 { &mut here } else { &mut there };
        let Ok(held) = hold(shard, &limits, now(ms(turn))) else {
            break;
        };
        let cost = Outcome::Used {
            bytes_in: 0,
            bytes_out: 700,
        };
        shard.settle(held, cost);
        shard.reconcile(now(ms(turn)));
        sent += 700;
    }
    assert!((1 << 20..(1 << 20) + 1_400).contains(&sent), "{sent} bytes");
}

#[test]
fn each_subject_has_its_own_share() {
    let of = |subject| {
        let entry = LimitEntry {
            subject,
            ..entry(1, 1, 1_000, 1)
        };
        [compiled(&entry)]
    };
    let client = |text: &str| -> IpAddr { text.parse().unwrap() };
    let one = Subjects {
        key: 1,
        app: 1,
        tenant: 1,
        api: 1,
        client: client("192.0.2.1"),
    };
    let others = [
        (LimitSubject::Key, Subjects { key: 2, ..one }),
        (LimitSubject::App, Subjects { app: 2, ..one }),
        (LimitSubject::Tenant, Subjects { tenant: 2, ..one }),
        (LimitSubject::Api, Subjects { api: 2, ..one }),
        (
            LimitSubject::Address,
            Subjects {
                client: client("192.0.2.2"),
                ..one
            },
        ),
    ];
    for (subject, other) in others {
        let limits = of(subject);
        let mut shard = alone();
        let mut ask = |subjects| {
            let held = shard.hold(&demand(subjects, &limits, 0), now(ms(1)));
            held.map(|hold| shard.settle(hold, Outcome::USED)).is_ok()
        };
        assert!(ask(one), "{subject:?}");
        for (different, same) in others {
            if different != subject {
                assert!(!ask(same), "{subject:?} is not {different:?}");
            }
        }
        assert!(ask(other), "{subject:?}");
    }
}

#[test]
fn a_limit_that_only_watches_refuses_nobody_and_is_counted() {
    let watching = LimitEntry {
        shadow: true,
        ..entry(1, 1, 60_000, 2)
    };
    let limits = [compiled(&watching), compiled(&entry(2, 1, 60_000, 5))];
    let mut shard = alone();
    assert_eq!(admitted(&mut shard, &limits, now(ms(1))), 5);
    let mut tallies: Vec<_> = shard.take_tallies().collect();
    tallies.sort_by_key(|(number, _)| *number);
    let [(1, watched), (2, held)] = tallies[..] else {
        panic!("{tallies:?}");
    };
    assert_eq!((watched.refused, watched.shadowed), (0, 4));
    assert_eq!((held.refused, held.shadowed), (1, 0));
    assert_eq!(shard.take_tallies().count(), 0);
}

#[test]
fn a_limit_that_becomes_another_shape_begins_anew() {
    let mut shard = alone();
    let rate = [compiled(&entry(1, 1, 60_000, 2))];
    assert_eq!(admitted(&mut shard, &rate, now(ms(1))), 2);
    assert_eq!(admitted(&mut shard, &hourly(3), now(ms(1))), 3);
    assert_eq!(admitted(&mut shard, &rate, now(ms(1))), 0);
}

#[test]
fn limits_of_different_shapes_are_held_together_or_not_at_all() {
    let limits = [
        compiled(&entry(1, 100, 1_000, 100)),
        compiled(&quota(2, 50, CalendarUnit::Day)),
        compiled(&concurrent(3, 2)),
    ];
    let mut shard = alone();
    let first = hold(&mut shard, &limits, now(ms(1))).unwrap();
    let second = hold(&mut shard, &limits, now(ms(1))).unwrap();
    assert!((0..500).all(|_| hold(&mut shard, &limits, now(ms(1))).is_err()));
    shard.settle(first, Outcome::USED);
    shard.settle(second, Outcome::USED);
    assert_eq!(admitted(&mut shard, &limits, now(ms(1))), 48);
    assert_eq!(admitted(&mut shard, &limits[..1], now(ms(1))), 50);
}

#[test]
fn a_standing_tells_of_each_shape() {
    let limits = [
        compiled(&quota(2, 50, CalendarUnit::Hour)),
        compiled(&concurrent(3, 7)),
    ];
    let [mut here, there] = shards();
    let held = hold(&mut here, &limits, now(ms(HOUR_MS / 2))).unwrap();
    let moment = now(ms(HOUR_MS / 2));
    let told = |shard: &Shard, at: usize| {
        let standing = shard.standing(&of_key(1), &limits[at], moment);
        (standing.limit, standing.remaining, standing.reset_s)
    };
    assert_eq!(told(&here, 0), (50, 49, Some(1_800)));
    assert_eq!(told(&here, 1), (7, 6, None));
    here.reconcile(moment);
    assert_eq!(told(&there, 0), (50, 49, Some(1_800)));
    assert_eq!(told(&there, 1), (7, 6, None));
    here.settle(held, Outcome::USED);
    let tick = Tick(moment.tick.0);
    assert_eq!(now(tick).wall, moment.wall);
}
