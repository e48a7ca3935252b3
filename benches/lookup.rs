//! What a key's lookup costs a request: `cargo bench --bench lookup`.
//!
//! By default with 100 000 keys; `KEYWAY_BENCH_KEYS=1000000` for another number. Each lookup asks
//! for another key, in an order that no cache foresees, as requests do. *Hit* decodes the record;
//! *miss* is a key that does not exist; *under overlay* has 1 000 changed keys to look through
//! first.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use keyway::snapshot::fixture::{Fixture, digest};
use keyway::snapshot::load::load_bytes;
use keyway::snapshot::{Digest, View};

/// Digests are prepared, so that the benchmark does not measure making them; enough of them that
/// their records do not stay in a cache.
const ASKED: u64 = 1 << 20;

fn keys() -> u64 {
    let set = std::env::var("KEYWAY_BENCH_KEYS").ok();
    set.map_or(100_000, |text| {
        text.parse().expect("KEYWAY_BENCH_KEYS is a number of keys")
    })
}

fn fixture() -> Fixture {
    let mut fixture = Fixture::new()
        .upstream("origin", &["127.0.0.1:9000"])
        .api("orders", "origin", &["/orders/*"])
        .plan("free", 10, 1_000)
        .tenant("acme");
    for app in 0..1_000 {
        fixture = fixture.app(&format!("app-{app}"), &[("orders", "free")]);
    }
    fixture
}

/// Numbers below `below` in an order without a pattern.
fn scattered(below: u64) -> impl Iterator<Item = u64> {
    (0..ASKED).map(move |n| 1 + (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20) % below)
}

fn each(c: &mut Criterion, name: &str, asked: &[Digest], mut ask: impl FnMut(&Digest)) {
    let mut group = c.benchmark_group("lookup");
    group
        .throughput(Throughput::Elements(1))
        .measurement_time(Duration::from_secs(3));
    let mut next = asked.iter().cycle();
    group.bench_function(name, |b| {
        b.iter(|| ask(black_box(next.next().expect("a cycle"))))
    });
    group.finish();
}

fn lookup(c: &mut Criterion) {
    let keys = keys();
    let full = fixture().keys((1..=keys).map(digest));
    let base = full.bytes(1);
    let view = load_bytes(&base, None).expect("whole");
    let hits: Vec<Digest> = scattered(keys).map(digest).collect();
    let misses: Vec<Digest> = scattered(keys).map(|n| digest(n + (1 << 40))).collect();
    let ask = |view: &View, digest: &Digest, found: bool| {
        assert!(black_box(view.key(digest)).is_some() == found);
    };
    each(c, &format!("hit/{keys}"), &hits, |digest| {
        ask(&view, digest, true)
    });
    each(c, &format!("miss/{keys}"), &misses, |digest| {
        ask(&view, digest, false)
    });
    each(c, &format!("hot hit/{keys}"), &hits[..64], |digest| {
        ask(&view, digest, true)
    });

    let changed = fixture()
        .keys((1..=1_000).map(digest))
        .overlay_bytes(&base, 2);
    let over = load_bytes(&base, Some(&changed)).expect("whole");
    each(c, &format!("hit under overlay/{keys}"), &hits, |digest| {
        ask(&over, digest, true)
    });

    let mut group = c.benchmark_group("app");
    let numbers: Vec<u32> = scattered(1_000)
        .map(|n| u32::try_from(n).expect("small"))
        .collect();
    let mut numbers = numbers.into_iter().cycle();
    group.bench_function("app and plan/1000", |b| {
        b.iter(|| {
            let app = view.app(numbers.next().expect("a cycle")).expect("there");
            assert_eq!(black_box(app.plan_for(black_box(1))), Some(1));
        });
    });
    group.finish();
}

/// What happens off the workers, per generation.
fn generation(c: &mut Criterion) {
    let keys = keys();
    let full = fixture().keys((1..=keys).map(digest));
    let base = full.bytes(1);
    let mut group = c.benchmark_group("generation");
    group
        .sample_size(10)
        .throughput(Throughput::Bytes(u64::try_from(base.len()).expect("small")));
    group.bench_function(format!("verify and map/{keys}"), |b| {
        b.iter(|| load_bytes(black_box(&base), None).expect("whole"));
    });
    group.bench_function(format!("sort and write/{keys}"), |b| {
        b.iter(|| full.bytes(1).len())
    });
    group.finish();
}

criterion_group!(benches, lookup, generation);
criterion_main!(benches);
