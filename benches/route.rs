//! What finding a route and deciding a request costs: `cargo bench --bench route`.
//!
//! *match* asks the router alone: catalogs of 10 and of 10 000 routes, and requests made to cost as
//! much as a catalog allows. *admit* is the whole decision over a head that is parsed already.
//!
//! Instructions are what moves least between runs. One request of each kind, counted:
//!
//! ```sh
//! valgrind --tool=callgrind --toggle-collect='*find_once*' --toggle-collect='*admit_once*' \
//!     --callgrind-out-file=/dev/null target/release/deps/route-… --test match/10000
//! ```

use std::hint::black_box;
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use keyway::authenticate::digest::Pepper;
use keyway::authenticate::key_form::mint;
use keyway::clock::{Clock, Now};
use keyway::limit::{Bank, Outcome, Shard, ShardSettings};
use keyway::parse::{HeadLimits, RequestHead, Status, parse_request};
use keyway::pipeline::{Bench, Seen, admit};
use keyway::record::request_id::{RequestId, RequestIds};
use keyway::route::balance::Balance;
use keyway::route::{ApiIndex, Asked, Router};
use keyway::snapshot::View;
use keyway::snapshot::catalog::{ApiEntry, Condition, RouteEntry};
use keyway::snapshot::fixture::Fixture;
use keyway::snapshot::record::Environment;

const LIMITS: HeadLimits = HeadLimits {
    head_bytes_max: 16_384,
    target_bytes_max: 8_192,
    headers_max: 100,
};

/// A request with what a usual client sends.
fn request(target: &str, more: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nHost: api.example.com\r\nUser-Agent: curl/8.5.0\r\n\
         Accept: application/json\r\nAccept-Encoding: gzip, br\r\n{more}\r\n"
    )
}

/// Runs `with` over the parsed head of `text`.
fn parsed<T>(text: &str, with: impl FnOnce(&RequestHead<'_, '_>) -> T) -> T {
    let mut slots = [const { MaybeUninit::uninit() }; 100];
    match parse_request(text.as_bytes(), &mut slots, &LIMITS) {
        Ok(Status::Complete((head, _))) => with(&head),
        other => panic!("{other:?} for {text}"),
    }
}

fn route(path: String) -> RouteEntry {
    RouteEntry {
        path,
        ..RouteEntry::default()
    }
}

fn router(routes: Vec<RouteEntry>) -> Router {
    let api = ApiEntry {
        routes,
        ..ApiEntry::default()
    };
    Router::build([(ApiIndex(0), &api)].into_iter()).expect("routes without conflict")
}

/// `count` routes, two a resource.
fn resources(count: usize) -> Vec<RouteEntry> {
    (0..count / 2)
        .flat_map(|place| {
            [
                format!("/orders{place}/{{id}}/lines"),
                format!("/orders{place}/*"),
            ]
        })
        .map(route)
        .collect()
}

/// As many routes as one host, path and method may have, with as many conditions as one may have.
fn conditions() -> Vec<RouteEntry> {
    let condition = |name: usize, value: usize| Condition {
        name: format!("x-condition-{name}"),
        exact: Some(format!("value-{value}")),
        prefix: None,
    };
    (0..64)
        .map(|place| RouteEntry {
            query: (0..8).map(|name| condition(name, place)).collect(),
            ..route("/orders/{id}".to_owned())
        })
        .collect()
}

/// Every mix of literals and parameters, as deep as a catalog may have it.
fn mixes() -> Vec<RouteEntry> {
    let mixed = |mix: u32| {
        let segment = |bit: u32| if mix >> bit & 1 == 0 { "/a" } else { "/{p}" };
        (0..6).map(segment).chain(["/end"]).collect::<String>()
    };
    (0..64).map(|mix| route(mixed(mix))).collect()
}

#[inline(never)]
fn find_once(router: &Router, asked: &Asked<'_>) -> bool {
    router.find(black_box(asked)).is_ok()
}

fn matches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("match");
    for (name, routes, target) in [
        ("10", resources(10), "/orders3/4711/lines".to_owned()),
        ("10000", resources(10_000), "/orders3/4711/lines".to_owned()),
        (
            "literal and parameter at each of 6 segments",
            mixes(),
            "/a".repeat(6) + "/x",
        ),
        (
            "a segment of 8 KB",
            resources(10),
            format!("/{}", "a".repeat(8_000)),
        ),
        ("64 routes, 8 conditions each", conditions(), {
            "/orders/7?".to_owned() + &"x-condition-7=v&".repeat(500)
        }),
    ] {
        let router = router(routes);
        let text = request(&target, "");
        parsed(&text, |head| {
            let asked = Asked::of(head);
            group.bench_function(name, |bencher| bencher.iter(|| find_once(&router, &asked)));
        });
    }
    group.finish();
}

/// What a worker brings to a decision.
struct Stage {
    view: Arc<View>,
    peppers: Vec<Pepper>,
    limits: Shard,
    balance: Balance,
    now: Now,
    id: RequestId,
}

impl Stage {
    fn new(routes: usize) -> (Self, String) {
        let pepper = Pepper::new(1, &[7; 32]).expect("long enough");
        let key = mint(Environment::Live, &[7; 20]);
        let mut fixture = Fixture::new()
            .upstream("origin", &["127.0.0.1:9000"])
            .api("orders", "origin", &["/orders/*"])
            .plan("free", 1_000_000_000, 1_000)
            .app("mobile", &[("orders", "free")])
            .key(pepper.digest(key.as_bytes()));
        fixture.catalog.apis[0].routes.extend(resources(routes));
        let stage = Self {
            view: fixture.view(1),
            peppers: vec![pepper],
            limits: Shard::new(
                Arc::new(Bank::create(1 << 10).expect("maps memory")),
                ShardSettings::for_workers(2),
            ),
            balance: Balance::default(),
            now: Clock::system().now(),
            id: RequestIds::new(7).mint(),
        };
        (stage, key)
    }

    #[inline(never)]
    fn admit_once(&mut self, head: &RequestHead<'_, '_>) -> bool {
        let mut bench = Bench {
            view: &self.view,
            peppers: &self.peppers,
            limits: &mut self.limits,
            balance: &mut self.balance,
            body_bytes_max: u64::MAX,
            head_bytes: 0,
            client: IpAddr::V4(Ipv4Addr::LOCALHOST),
            request_id: self.id,
        };
        let mut seen = Seen::default();
        match admit(&mut bench, black_box(head), self.now, &mut seen) {
            Ok(admission) => {
                if let Some(hold) = admission.hold {
                    self.limits.settle(hold, Outcome::USED);
                }
                true
            }
            Err(_) => false,
        }
    }
}

fn decisions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("admit");
    for (name, routes) in [("plain", 0), ("plain of 10000", 10_000)] {
        let (mut stage, key) = Stage::new(routes);
        let text = request("/orders/4711", &format!("X-API-Key: {key}\r\n"));
        parsed(&text, |head| {
            // The first one fills the limiter's books.
            assert!(stage.admit_once(head));
            group.bench_function(name, |bencher| bencher.iter(|| stage.admit_once(head)));
        });
    }
    group.finish();
}

criterion_group!(benches, matches, decisions);
criterion_main!(benches);
