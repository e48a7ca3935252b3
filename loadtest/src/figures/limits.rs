//! How exact limits are, and what they cost: one key far above its limit on two workers, beside
//! nginx, HAProxy and, where it is installed, Envoy with the same limit; the limiter alone; and the
//! memory and the scrape of a node with very many keys.
//!
//! The error of a limit is what was admitted, less its burst, against rate times time, by the load
//! generator's own clock: above zero is too much.

use std::hint::black_box;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use keyway::clock::{Now, Tick, WallTime};
use keyway::limit::{Bank, CompiledLimit, Demand, Outcome as Cost, Shard, ShardSettings, Subjects};
use keyway::snapshot::catalog::{LimitEntry, LimitShape, LimitSubject, LimitUnit};
use tokio::time::Instant;

use super::Figure;
use crate::compare::stage::free_port;
use crate::gateway::start_origin;
use crate::http::{Ask, once};
use crate::memory::Memory;
use crate::node::{Node, NodeSettings};
use crate::process::{Child, Program};
use crate::progress::Progress;
use crate::statistics::median;
use crate::tools::{self, Tool};
use crate::trouble::{Outcome, Trouble};
use crate::wrk::{self, Load, Measured};
use crate::{files, keys, published};

/// Requests a second, the most that less than all of them may be, in percent, and the figures' names.
const RATES: [(u64, f64, [&str; 2]); 3] = [
    (10, 3.0, ["keyway_10/s_over", "keyway_10/s_under"]),
    (1_000, 1.0, ["keyway_1000/s_over", "keyway_1000/s_under"]),
    (20_000, 1.0, ["keyway_20000/s_over", "keyway_20000/s_under"]),
];
const NGINX: [&str; 3] = [
    "nginx_10/s_error",
    "nginx_1000/s_error",
    "nginx_20000/s_error",
];
const HAPROXY: [&str; 3] = [
    "haproxy_10/s_error",
    "haproxy_1000/s_error",
    "haproxy_20000/s_error",
];
const ENVOY: [&str; 3] = [
    "envoy_10/s_error",
    "envoy_1000/s_error",
    "envoy_20000/s_error",
];

/// Most requests at once: a tenth of a second's, so that the burst is a small part of what is counted.
const fn burst(rate: u64) -> u64 {
    if rate < 10 { 1 } else { rate / 10 }
}

/// Measures it.
///
/// # Errors
/// When a program is missing, does not start, or tells nothing that can be read.
pub async fn measure(quick: bool, progress: Progress) -> Outcome<Vec<Figure>> {
    tools::need(&[Tool::Wrk, Tool::Nginx, Tool::Haproxy])?;
    progress.say("the limiter alone");
    let mut figures = vec![Figure::at_most(
        "hold_and_settle",
        hold_and_settle_ns()?,
        "ns",
        25.0,
    )];
    let seconds = if quick { 5 } else { 20 };
    for (at, (rate, under, names)) in RATES.into_iter().enumerate() {
        progress.say(format!("{rate}/s: Keyway"));
        let error = keyway(rate, seconds).await?;
        figures.push(Figure::at_most(names[0], error.max(0.0), "%", 0.0));
        figures.push(Figure::at_most(names[1], (-error).max(0.0), "%", under));
        progress.say(format!("{rate}/s: nginx"));
        figures.push(Figure::told(NGINX[at], nginx(rate, seconds).await?, "%"));
        progress.say(format!("{rate}/s: HAProxy"));
        figures.push(Figure::told(
            HAPROXY[at],
            haproxy(rate, seconds).await?,
            "%",
        ));
        if let Some(error) = envoy(rate, seconds).await? {
            figures.push(Figure::told(ENVOY[at], error, "%"));
        }
    }
    figures.extend(many_keys(quick, progress).await?);
    Ok(figures)
}

/// The error in percent of what `wrk` counted.
fn error_percent(measured: Measured, rate: u64, burst: u64) -> f64 {
    let admitted = (measured.requests - measured.errors.status) as f64;
    let allowed = rate as f64 * measured.elapsed_us as f64 / 1e6;
    (admitted - burst as f64) / allowed * 100.0 - 100.0
}

/// Nanoseconds of a hold and its settlement from a lease in hand, the best of some rounds.
fn hold_and_settle_ns() -> Outcome<f64> {
    const TURNS: u64 = 2_000_000;
    let entry = LimitEntry {
        number: 1,
        name: "limit".into(),
        subject: LimitSubject::Key,
        unit: LimitUnit::Requests,
        shape: LimitShape::Rate {
            units: 1_000_000,
            period_ms: 1_000,
            burst: 1_000_000,
        },
        shadow: false,
    };
    let failed = |error: String| Trouble::wrong("the limiter", error);
    let limit = CompiledLimit::new(&entry).map_err(|error| failed(error.to_string()))?;
    let bank = Bank::create(1 << 10).map_err(Trouble::io("map the bank"))?;
    let mut shard = Shard::new(Arc::new(bank), ShardSettings::for_workers(8));
    let mut tick = 1_000_000_000;
    let mut rounds = Vec::new();
    for _ in 0..7 {
        let begun = Instant::now();
        for _ in 0..TURNS {
            tick += 2_000;
            let now = Now {
                tick: Tick(tick),
                wall: WallTime(1_767_225_600_000),
            };
            let demand = Demand {
                subjects: black_box(Subjects {
                    key: 1,
                    app: 1,
                    tenant: 1,
                    api: 1,
                    ..Subjects::default()
                }),
                limits: [&[], std::slice::from_ref(&limit)],
                bytes_in: 300,
            };
            if let Ok(hold) = shard.hold(&demand, now) {
                shard.settle(black_box(hold), Cost::USED);
            }
        }
        rounds.push(begun.elapsed().as_secs_f64() * 1e9 / TURNS as f64);
    }
    Ok(rounds.into_iter().fold(f64::INFINITY, f64::min))
}

/// One key's load on `to`, far above any limit.
async fn load(to: SocketAddr, key: &str, seconds: u64, here: &Path) -> Outcome<Measured> {
    let file = here.join("key.txt");
    keys::write(&file, &[key.to_owned()], |_, key| key.to_owned())?;
    let load = Load {
        to,
        tls: false,
        path: "/orders/1".into(),
        keys: file,
        connections: 32,
        seconds,
        seed: 1,
        cores: None,
    };
    wrk::run(&load, here).await
}

async fn keyway(rate: u64, seconds: u64) -> Outcome<f64> {
    let directory = files::scratch("limits")?;
    let here = directory.path();
    let (_origin, address) = start_origin(here).await?;
    let minted = keys::mint(1)?;
    let published = published::publish_limited(here, &minted, address, (rate, burst(rate)))?;
    let node = Node::start(&NodeSettings::plain(here, published)?).await?;
    let measured = load(node.address, &minted[0], seconds, here).await?;
    Ok(error_percent(measured, rate, burst(rate)))
}

/// Starts a rival with its configuration and loads it with one key.
async fn rival(
    (tool, arguments): (PathBuf, &[&str]),
    configuration: impl FnOnce(SocketAddr, SocketAddr, &Path) -> (&'static str, String),
    (rate, seconds): (u64, u64),
) -> Outcome<f64> {
    let directory = files::scratch("limits")?;
    let here = directory.path();
    let (_origin, origin) = start_origin(here).await?;
    let address = free_port()?;
    let (name, text) = configuration(address, origin, here);
    let file = here.join(name);
    files::write(&file, text)?;
    let program = Program::new(name, tool)
        .with(arguments.iter().map(|argument| (*argument).to_owned()))
        .with([file.display().to_string()]);
    let mut child = Child::start(&program, &here.join("output.log"))?;
    crate::compare::stage::answers(&mut child, address, "/orders/1", 200).await?;
    // What the question above took of the burst is there again.
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let measured = load(address, "a-key", seconds, here).await?;
    Ok(error_percent(measured, rate, burst(rate)))
}

fn path_of(tool: Tool) -> Outcome<PathBuf> {
    let missing = || Trouble::wrong(tool.name(), "is not installed");
    tool.path().ok_or_else(missing)
}

/// Two workers, a zone that they share.
async fn nginx(rate: u64, seconds: u64) -> Outcome<f64> {
    let burst = burst(rate);
    let configuration = |address, origin, here: &Path| {
        let here = here.display();
        let text = format!(
            "daemon off;
worker_processes 2;
pid {here}/nginx.pid;
error_log {here}/error.log crit;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {here}/body;
    proxy_temp_path {here}/proxy;
    fastcgi_temp_path {here}/fastcgi;
    uwsgi_temp_path {here}/uwsgi;
    scgi_temp_path {here}/scgi;
    keepalive_requests 1000000000;
    limit_req_zone $http_x_api_key zone=keys:1m rate={rate}r/s;
    limit_req_status 429;
    upstream origin {{ server {origin}; keepalive 64; }}
    server {{
        listen {address} reuseport;
        location / {{
            limit_req zone=keys burst={burst} nodelay;
            proxy_pass http://origin;
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
        }}
    }}
}}
"
        );
        ("nginx.conf", text)
    };
    rival(
        (path_of(Tool::Nginx)?, &["-e", "stderr", "-c"]),
        configuration,
        (rate, seconds),
    )
    .await
}

/// Two threads, a stick table that they share; its window is a sliding estimate.
async fn haproxy(rate: u64, seconds: u64) -> Outcome<f64> {
    let configuration = |address, origin, _: &Path| {
        let text = format!(
            "global
    nbthread 2
    maxconn 4096
defaults
    mode http
    http-reuse always
    timeout connect 1s
    timeout client 60s
    timeout server 30s
backend limits
    stick-table type string len 24 size 10k expire 10s store http_req_rate(1s)
frontend gateway
    bind {address}
    http-request track-sc0 req.hdr(x-api-key) table limits if {{ req.hdr(x-api-key) -m found }}
    http-request deny deny_status 429 if {{ sc_http_req_rate(0,limits) gt {rate} }}
    default_backend origin
backend origin
    server origin {origin}
"
        );
        ("haproxy.cfg", text)
    };
    rival(
        (path_of(Tool::Haproxy)?, &["-db", "-f"]),
        configuration,
        (rate, seconds),
    )
    .await
}

/// Two workers and a local token bucket, which is one for all callers; `None` without Envoy.
async fn envoy(rate: u64, seconds: u64) -> Outcome<Option<f64>> {
    let Some(path) = Tool::Envoy.path() else {
        return Ok(None);
    };
    let burst = burst(rate);
    // Buckets fill every 50 ms at the fastest, by whole tokens.
    let (fill, every_ms) = if rate >= 20 {
        (rate / 20, 50)
    } else {
        (1, 1_000 / rate)
    };
    let configuration = |address: SocketAddr, origin: SocketAddr, _: &Path| {
        let listener = serde_json::json!({
            "name": "gateway",
            "address": socket(address),
            "filter_chains": [{ "filters": [{
                "name": "envoy.filters.network.http_connection_manager",
                "typed_config": {
                    "@type": typed("filters.network.http_connection_manager.v3.HttpConnectionManager"),
                    "stat_prefix": "gateway",
                    "route_config": { "virtual_hosts": [{ "name": "all", "domains": ["*"],
                        "routes": [{ "match": { "prefix": "/" }, "route": { "cluster": "origin" } }] }] },
                    "http_filters": [
                        { "name": "limit", "typed_config": {
                            "@type": typed("filters.http.local_ratelimit.v3.LocalRateLimit"),
                            "stat_prefix": "limit",
                            "token_bucket": { "max_tokens": burst.max(fill),
                                "tokens_per_fill": fill,
                                "fill_interval": format!("{}.{:03}s", every_ms / 1_000, every_ms % 1_000) },
                            "filter_enabled": full(), "filter_enforced": full() } },
                        { "name": "router", "typed_config": {
                            "@type": typed("filters.http.router.v3.Router") } }
                    ]
                }
            }] }]
        });
        let cluster = serde_json::json!({
            "name": "origin", "type": "STATIC", "load_assignment": { "cluster_name": "origin",
                "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": socket(origin) } }] }] }
        });
        let resources = serde_json::json!({ "static_resources": { "listeners": [listener], "clusters": [cluster] } });
        ("envoy.json", resources.to_string())
    };
    let arguments = ["--concurrency", "2", "--log-level", "error", "-c"];
    let error = rival((path, &arguments), configuration, (rate, seconds)).await?;
    Ok(Some(error))
}

fn typed(name: &str) -> String {
    format!("type.googleapis.com/envoy.extensions.{name}")
}

fn full() -> serde_json::Value {
    serde_json::json!({ "default_value": { "numerator": 100, "denominator": "HUNDRED" } })
}

fn socket(address: SocketAddr) -> serde_json::Value {
    let (address, port) = (address.ip().to_string(), address.port());
    serde_json::json!({ "socket_address": { "address": address, "port_value": port } })
}

/// Very many keys, many of them active: memory, and what a scrape takes and does to traffic.
async fn many_keys(quick: bool, progress: Progress) -> Outcome<Vec<Figure>> {
    let (count, active) = if quick {
        (100_000, 5_000)
    } else {
        (1_000_000, 50_000)
    };
    progress.say(format!("{count} keys, {active} of them active"));
    let directory = files::scratch("limits")?;
    let here = directory.path();
    let (_origin, address) = start_origin(here).await?;
    let minted = keys::mint(count)?;
    let file = here.join("keys.txt");
    keys::write(&file, &minted[..active], |_, key| key.to_owned())?;
    let published = published::publish_limited(here, &minted, address, (1_000, 1_000))?;
    let node = Node::start(&NodeSettings::plain(here, published)?).await?;
    let before = Memory::of(node.child.pid())?;
    let load = |seconds| Load {
        to: node.address,
        tls: false,
        path: "/orders/1".into(),
        keys: file.clone(),
        connections: 32,
        seconds,
        seed: 1,
        cores: None,
    };
    let alone = wrk::run(&load(if quick { 5 } else { 20 }), here).await?;
    let beside_load = load(if quick { 3 } else { 10 });
    let (beside, scrapes) = tokio::join!(wrk::run(&beside_load, here), scrapes(node.admin, 20));
    let (beside, scrapes) = (beside?, scrapes?);
    let after = Memory::of(node.child.pid())?;
    let grown = after.total_kib().saturating_sub(before.total_kib());
    Ok(vec![
        Figure::told("keys", count as f64, ""),
        Figure::told("keys_active", active as f64, ""),
        Figure::told("memory_before", before.total_kib() as f64 / 1024.0, "MiB"),
        Figure::told("limits_and_usage", grown as f64 / 1024.0, "MiB"),
        Figure::at_most("metrics_scrape", median(&scrapes), "ms", 100.0),
        Figure::told("p99_alone", alone.p99_us as f64 / 1e3, "ms"),
        Figure::told("p99_while_scraped", beside.p99_us as f64 / 1e3, "ms"),
    ])
}

/// Milliseconds that each of some scrapes took.
async fn scrapes(admin: SocketAddr, count: usize) -> Outcome<Vec<f64>> {
    let mut times_ms = Vec::new();
    for _ in 0..count {
        let begun = Instant::now();
        once(admin, Ask::get("/metrics")).await?;
        times_ms.push(begun.elapsed().as_secs_f64() * 1e3);
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    Ok(times_ms)
}
