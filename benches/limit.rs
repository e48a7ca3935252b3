//! What a limit costs a request: `cargo bench --bench limit`.
//!
//! Each figure is a hold and its settlement. The lease hit is what most requests of a busy key
//! pay; the others say what the rest pays.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use keyway::clock::{Clock, Now, Tick, WallTime};
use keyway::limit::{
    Bank, CompiledLimit, Demand, Outcome, Shard, ShardSettings, Subjects, headers,
};
use keyway::snapshot::catalog::{CalendarUnit, LimitEntry, LimitShape, LimitSubject, LimitUnit};

fn limit(number: u32, requests: u64, burst: u64) -> CompiledLimit {
    let name = format!("limit-{number}");
    let entry = LimitEntry {
        number,
        name,
        subject: LimitSubject::Key,
        unit: LimitUnit::Requests,
        shape: LimitShape::Rate {
            units: requests,
            period_ms: 1_000,
            burst,
        },
        shadow: false,
    };
    CompiledLimit::new(&entry).expect("a limit that can be held")
}

fn shard(workers: u32) -> Shard {
    let bank = Arc::new(Bank::create(1 << 20).expect("maps memory"));
    Shard::new(bank, ShardSettings::for_workers(workers))
}

/// A clock that ticks with the requests.
struct Ticks {
    now_ns: u64,
    step_ns: u64,
}

impl Ticks {
    fn every(step_ns: u64) -> Self {
        Self {
            now_ns: 1_000_000_000,
            step_ns,
        }
    }

    fn next(&mut self) -> Now {
        self.now_ns += self.step_ns;
        Now {
            tick: Tick(self.now_ns),
            wall: WallTime(1_767_225_600_000 + self.now_ns / 1_000_000),
        }
    }
}

fn of_key(key: u32) -> Subjects {
    Subjects {
        key,
        app: 1,
        tenant: 1,
        api: 1,
        ..Subjects::default()
    }
}

fn hold_and_settle(shard: &mut Shard, key: u32, limits: &[CompiledLimit], now: Now) -> bool {
    let demand = Demand {
        subjects: of_key(black_box(key)),
        limits: [&[], limits],
        bytes_in: 300,
    };
    match shard.hold(&demand, now) {
        Ok(hold) => {
            shard.settle(black_box(hold), Outcome::USED);
            true
        }
        Err(_) => false,
    }
}

fn one_key(c: &mut Criterion, name: &str, limits: &[CompiledLimit], step_ns: u64) {
    let mut shard = shard(8);
    let mut ticks = Ticks::every(step_ns);
    c.bench_function(name, |b| {
        b.iter(|| hold_and_settle(&mut shard, 1, limits, ticks.next()));
    });
    assert_eq!(shard.held(), 0);
}

fn many_keys(c: &mut Criterion, name: &str, keys: u32) {
    let limits = [limit(1, 1_000_000, 1_000_000)];
    let mut shard = shard(8);
    let mut ticks = Ticks::every(1_000);
    let mut subject = 0_u32;
    for subject in 0..keys {
        hold_and_settle(&mut shard, subject, &limits, ticks.next());
    }
    c.bench_function(name, |b| {
        b.iter(|| {
            // A step that visits all keys in no order the prefetcher knows.
            subject = (subject + 1_640_531) % keys;
            hold_and_settle(&mut shard, subject, &limits, ticks.next())
        });
    });
}

fn holds(c: &mut Criterion) {
    let fast = limit(1, 1_000_000, 1_000_000);
    one_key(c, "lease hit", std::slice::from_ref(&fast), 2_000);
    let two = [fast.clone(), limit(2, 2_000_000, 1_000_000)];
    one_key(c, "lease hit, two limits", &two, 2_000);
    let of_shape = |number, shape| {
        let entry = LimitEntry {
            number,
            name: "other".into(),
            subject: LimitSubject::Key,
            unit: LimitUnit::Requests,
            shape,
            shadow: false,
        };
        [CompiledLimit::new(&entry).expect("a limit that can be held")]
    };
    let quota = of_shape(
        3,
        LimitShape::Quota {
            units: 1 << 40,
            window: CalendarUnit::Month,
            zone: "UTC".into(),
        },
    );
    one_key(c, "quota hit", &quota, 2_000);
    let concurrent = of_shape(4, LimitShape::Concurrent { requests: 10_000 });
    one_key(c, "place hit", &concurrent, 2_000);
    one_key(
        c,
        "lease of one unit each time",
        &[limit(1, 10, 20)],
        200_000_000,
    );
    one_key(c, "refused", &[limit(1, 1, 1)], 1);
    many_keys(c, "lease hit or new lease, 10 000 keys", 10_000);
    many_keys(c, "lease hit or new lease, 100 000 keys", 100_000);
}

fn around(c: &mut Criterion) {
    let limits = [limit(1, 1_000, 1_000)];
    let mut shard = shard(8);
    let mut ticks = Ticks::every(1_000);
    hold_and_settle(&mut shard, 1, &limits, ticks.next());
    c.bench_function("standing", |b| {
        b.iter(|| shard.standing(&of_key(black_box(1)), &limits[0], ticks.next()));
    });
    let standing = shard.standing(&of_key(1), &limits[0], ticks.next());
    c.bench_function("RateLimit and RateLimit-Policy", |b| {
        let mut out = Vec::with_capacity(256);
        b.iter(|| {
            out.clear();
            headers::append_policy(&mut out, limits.iter());
            let standings = limits.iter().map(|limit| (limit, black_box(standing)));
            headers::append_binding(&mut out, standings);
            out.len()
        });
    });
}

/// One call on a worker with 50 000 keys, each of which has a lease to return: a call visits a
/// bounded part of them.
fn reconciliation(c: &mut Criterion) {
    const KEYS: u32 = 50_000;
    let limits = [limit(1, 1_000_000, 1_000_000)];
    let clock = Clock::system();
    let mut ticks = Ticks::every(100);
    let mut shard = shard(8);
    c.bench_function("reconcile, 50 000 active keys", |b| {
        b.iter_custom(|calls| {
            let mut elapsed_ns = 0;
            for call in 0..calls {
                if call % 40 == 0 {
                    let now = ticks.next();
                    (0..KEYS).for_each(|subject| {
                        hold_and_settle(&mut shard, subject, &limits, now);
                    });
                }
                let before = clock.tick();
                shard.reconcile(ticks.next());
                elapsed_ns += clock.tick().since_ns(before);
            }
            Duration::from_nanos(elapsed_ns)
        });
    });
}

criterion_group!(benches, holds, around, reconciliation);
criterion_main!(benches);
