//! What reading and routing a request costs: `cargo bench --bench parse`.
//!
//! httparse alone stands beside each head: what lies above it is the price of strictness.

use std::hint::black_box;
use std::mem::MaybeUninit;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use keyway::authenticate::digest::Pepper;
use keyway::authenticate::key_form::{is_ours, mint};
use keyway::parse::{ChunkLimits, ChunkedDecoder, HeadLimits, parse_request, parse_response};
use keyway::route::{ApiIndex, Asked, Router};
use keyway::snapshot::catalog::{ApiEntry, RouteEntry};
use keyway::snapshot::record::Environment;

const LIMITS: HeadLimits = HeadLimits {
    head_bytes_max: 16_384,
    target_bytes_max: 8192,
    headers_max: 100,
};

const GET: &str = "GET /orders7/4711/lines?page=2 HTTP/1.1\r\nHost: api.example.com\r\n\
    User-Agent: curl/8.5.0\r\nAccept: application/json\r\n\
    Authorization: Bearer kw_live_08umpsRGMi9hXbwR6pXWz2Ckob6_28WLMK\r\n\
    X-Request-Id: 0f8fad5b-d9cb-469f-a165-70867728950e\r\nAccept-Encoding: gzip, br\r\n\
    Connection: keep-alive\r\n\r\n";

const POST: &str = "POST /orders7/4711/lines HTTP/1.1\r\nHost: api.example.com\r\n\
    User-Agent: python-requests/2.32.3\r\nAccept-Encoding: gzip, deflate\r\nAccept: */*\r\n\
    Connection: keep-alive\r\nX-API-Key: kw_live_08umpsRGMi9hXbwR6pXWz2Ckob6_28WLMK\r\n\
    Content-Type: application/json\r\nContent-Length: 27\r\n\r\n{\"sku\":\"a-1\",\"quantity\":12}";

const RESPONSE: &str = "HTTP/1.1 200 OK\r\nServer: nginx\r\n\
    Date: Mon, 01 Jan 2024 00:00:00 GMT\r\nContent-Type: application/json\r\n\
    Content-Length: 1024\r\nConnection: keep-alive\r\nETag: \"65924d80-400\"\r\n\r\n";

fn heads(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("head");
    for (name, text) in [("get", GET), ("post_with_body", POST)] {
        let bytes = text.as_bytes();
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(BenchmarkId::new("request", name), |bencher| {
            bencher.iter(|| {
                let mut slots = [const { MaybeUninit::uninit() }; 100];
                parse_request(black_box(bytes), &mut slots, &LIMITS).is_ok()
            });
        });
        group.bench_function(BenchmarkId::new("httparse_alone", name), |bencher| {
            bencher.iter(|| {
                let mut slots = [const { MaybeUninit::uninit() }; 100];
                let mut request = httparse::Request::new(&mut []);
                request
                    .parse_with_uninit_headers(black_box(bytes), &mut slots)
                    .is_ok()
            });
        });
    }
    group.throughput(Throughput::Bytes(GET.len() as u64));
    group.bench_function("request/partial", |bencher| {
        let bytes = &GET.as_bytes()[..GET.len() - 3];
        bencher.iter(|| {
            let mut slots = [const { MaybeUninit::uninit() }; 100];
            parse_request(black_box(bytes), &mut slots, &LIMITS).is_ok()
        });
    });
    group.throughput(Throughput::Bytes(RESPONSE.len() as u64));
    group.bench_function("response", |bencher| {
        bencher.iter(|| {
            let mut slots = [const { MaybeUninit::uninit() }; 100];
            parse_response(black_box(RESPONSE.as_bytes()), &mut slots, &LIMITS, false).is_ok()
        });
    });
    group.finish();
}

/// A router with so many routes, two an API.
fn router(routes: u32) -> Router {
    let entry = |path: String, methods: &[&str]| RouteEntry {
        path,
        methods: methods.iter().map(|method| (*method).to_owned()).collect(),
        ..RouteEntry::default()
    };
    let apis: Vec<ApiEntry> = (0..routes / 2)
        .map(|api| {
            let lines = entry(format!("/orders{api}/{{id}}/lines"), &["GET", "POST"]);
            ApiEntry {
                routes: vec![lines, entry(format!("/orders{api}/*"), &[])],
                ..ApiEntry::default()
            }
        })
        .collect();
    Router::build((0..).map(ApiIndex).zip(&apis)).expect("routes without conflict")
}

fn routes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parse_and_route");
    for routes in [10, 10_000] {
        let router = router(routes);
        // Many paths, so that the cache holds no more of the tree than it would in service.
        let requests: Vec<String> = (0..routes / 2)
            .map(|api| GET.replace("/orders7/", &format!("/orders{api}/")))
            .collect();
        let mut next = 0;
        group.bench_function(BenchmarkId::from_parameter(routes), |bencher| {
            bencher.iter(|| {
                next = (next + 7919) % requests.len();
                let mut slots = [const { MaybeUninit::uninit() }; 100];
                let bytes = black_box(requests[next].as_bytes());
                let parsed = parse_request(bytes, &mut slots, &LIMITS);
                let Ok(keyway::parse::Status::Complete((head, _))) = parsed else {
                    return false;
                };
                router.find(&Asked::of(&head)).is_ok()
            });
        });
    }
    group.finish();
}

fn bodies(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("chunked");
    for chunk_bytes in [16, 16_384] {
        let chunk = format!("{chunk_bytes:x}\r\n{}\r\n", "x".repeat(chunk_bytes));
        let body = chunk.repeat(16_384 / chunk_bytes) + "0\r\n\r\n";
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(BenchmarkId::from_parameter(chunk_bytes), |bencher| {
            bencher.iter(|| {
                let mut decoder = ChunkedDecoder::new(ChunkLimits::default());
                let mut rest = black_box(body.as_bytes());
                while !decoder.is_done() {
                    let Ok(step) = decoder.step(rest) else { break };
                    rest = &rest[step.consumed..];
                }
                rest.len()
            });
        });
    }
    group.finish();
}

fn keys(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("key");
    let key = mint(Environment::Live, &[7; 20]);
    group.bench_function("form", |bencher| {
        bencher.iter(|| is_ours(black_box(key.as_bytes())))
    });
    let pepper = Pepper::new(1, &[7; 32]).expect("long enough");
    group.bench_function("digest", |bencher| {
        bencher.iter(|| pepper.digest(black_box(key.as_bytes())));
    });
    group.finish();
}

criterion_group!(benches, heads, routes, bodies, keys);
criterion_main!(benches);
