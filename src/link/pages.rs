//! What the admin listener shows: `/metrics`, `/healthz`, `/readyz` and `/status`.
//!
//! Takes a method and a path, answers a [`Page`]; no socket in sight. Absent on purpose: anything
//! that changes the node, and anything secret.

use super::state::{NodeState, SnapshotInfo};
use super::upgrade::Upgrades;
use super::worker_handle::{Phase, WorkerState};
use crate::clock::WallTime;
use crate::record::metrics::{self, LedgerScrape, LinkScrape, Scrape, SpoolScrape, WorkerScrape};
use crate::record::process::ProcessInfo;
use crate::watch::outlook::{Outlook, UpstreamOutlook};
use serde::Serialize;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

/// The program's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Page {
    /// HTTP status code.
    pub status: u16,
    /// Media type of the body.
    pub media_type: &'static str,
    /// The body.
    pub body: String,
}

const TEXT: &str = "text/plain; charset=utf-8";

/// Answers one request; `path` is without its query.
pub fn answer(state: &NodeState, method: &str, path: &str) -> Page {
    if !matches!(method, "GET" | "HEAD") {
        return text(405, "only GET and HEAD are served here\n");
    }
    match path {
        "/metrics" => Page {
            status: 200,
            media_type: "text/plain; version=0.0.4; charset=utf-8",
            body: metrics::render(&scrape(state)),
        },
        "/healthz" => text(200, "ok\n"),
        "/readyz" => match state.unready() {
            None => text(200, "ready\n"),
            Some(reason) => text(503, &format!("not ready: {reason}\n")),
        },
        "/status" => {
            let mut body = serde_json::to_string_pretty(&Status::of(state)).unwrap_or_default();
            body.push('\n');
            Page {
                status: 200,
                media_type: "application/json",
                body,
            }
        }
        _ => text(404, "served here: /metrics /healthz /readyz /status\n"),
    }
}

/// A plain page.
pub fn text(status: u16, body: &str) -> Page {
    Page {
        status,
        media_type: TEXT,
        body: body.to_owned(),
    }
}

fn scrape(state: &NodeState) -> Scrape<'_> {
    let link = &state.link;
    let read = |word: &AtomicU64| word.load(Ordering::Relaxed);
    Scrape {
        version: VERSION,
        now: state.clock.wall(),
        started: state.started.wall,
        ready: state.unready().is_none(),
        workers: state
            .workers
            .iter()
            .map(|worker| WorkerScrape {
                index: worker.index,
                counters: &worker.counters,
                generation: worker.slot.served(),
                driver: worker.driver.get().map(|driver| driver.name()),
                load: state.load.of(worker.index),
            })
            .collect(),
        certificates: state
            .certificates()
            .into_iter()
            .map(|shown| (shown.file, shown.not_after_s))
            .collect(),
        log: state.log.stats(),
        outlook: state.watch.findings().outlook.newest(),
        checks_failed: read(&state.watch.findings().checks_failed),
        lookups_failed: read(&state.watch.findings().lookups_failed),
        snapshot: link.snapshot(),
        link: LinkScrape {
            connected: link.connected.load(Ordering::Relaxed),
            connects: read(&link.connects),
            loads: read(&link.loads),
            load_failures: read(&link.load_failures),
            load_ms: read(&link.load_ms),
            enforced_ms: read(&link.enforced_ms),
        },
        spool: SpoolScrape {
            open_rows: read(&state.spool.open_rows),
            segments: read(&state.spool.segments),
            bytes: read(&state.spool.bytes),
            oldest_ms: read(&state.spool.oldest_ms),
            shipped: read(&state.spool.shipped),
            dropped: read(&state.spool.dropped),
            recovered: read(&state.spool.recovered),
            errors: read(&state.spool.errors),
        },
        ledger: LedgerScrape {
            limits: state.ledger.tallies.all(),
            words: read(&state.ledger.words),
            quotas: read(&state.ledger.quotas),
            errors: read(&state.ledger.errors),
        },
        spans: state.spans.stats(),
        process: ProcessInfo::read(),
    }
}

/// `/status`: for people and scripts; fields are only ever added.
#[derive(Serialize)]
struct Status<'a> {
    version: &'a str,
    node: &'a str,
    pid: u32,
    uptime_s: u64,
    phase: &'static str,
    ready: bool,
    /// Why not.
    unready: Option<String>,
    driver: Option<&'static str>,
    workers: Vec<WorkerStatus>,
    snapshot: Option<SnapshotStatus>,
    /// Why the newest publication was refused.
    snapshot_error: Option<String>,
    link: LinkStatus,
    /// Of this process to another.
    upgrade: Upgrades,
    /// What the node finds out about targets by itself: names and active checks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    upstreams: Vec<UpstreamStatus>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    certificates: Vec<CertificateStatus>,
}

/// A certificate that is shown over TLS.
#[derive(Serialize)]
struct CertificateStatus {
    file: String,
    names: Vec<String>,
    /// RFC 3339.
    not_after: String,
}

/// A watched upstream.
#[derive(Serialize)]
struct UpstreamStatus {
    name: String,
    names: Vec<NameStatus>,
    targets: Vec<TargetStatus>,
}

#[derive(Serialize)]
struct NameStatus {
    name: String,
    addresses: Vec<IpAddr>,
    /// When the addresses were told, RFC 3339.
    resolved: Option<String>,
    last_error: Option<String>,
}

#[derive(Serialize)]
struct TargetStatus {
    address: String,
    healthy: bool,
    /// RFC 3339.
    since: String,
    last_error: Option<String>,
}

impl UpstreamStatus {
    fn all(outlook: &Outlook) -> Vec<Self> {
        let mut all: Vec<_> = outlook
            .upstreams
            .values()
            .map(|one| Self::of(one))
            .collect();
        all.sort_unstable_by(|left, right| left.name.cmp(&right.name));
        all
    }

    fn of(upstream: &UpstreamOutlook) -> Self {
        let names = upstream.names.iter().map(|name| NameStatus {
            name: name.host.to_string(),
            addresses: name.addresses.clone(),
            resolved: name.resolved.map(rfc_3339),
            last_error: name.last_error.clone(),
        });
        let targets = upstream.targets.iter().map(|target| TargetStatus {
            address: target.endpoint.to_string(),
            healthy: target.healthy,
            since: rfc_3339(target.since),
            last_error: target.last_error.clone(),
        });
        Self {
            name: upstream.name.clone(),
            names: names.collect(),
            targets: targets.collect(),
        }
    }
}

#[derive(Serialize)]
struct WorkerStatus {
    index: usize,
    state: &'static str,
    driver: Option<&'static str>,
    generation: u64,
    open_connections: u64,
}

#[derive(Serialize)]
struct SnapshotStatus {
    generation: u64,
    base: u64,
    /// RFC 3339.
    created: String,
    age_s: u64,
    keys: u64,
    memory_bytes: u64,
}

#[derive(Serialize)]
struct LinkStatus {
    configured: bool,
    connected: bool,
    last_error: Option<String>,
    /// Rows of usage that are not sealed in a segment yet, and segments that control does not have.
    usage_rows_open: u64,
    usage_segments_waiting: u64,
    usage_bytes_waiting: u64,
    usage_requests_lost: u64,
}

impl<'a> Status<'a> {
    fn of(state: &'a NodeState) -> Self {
        let link = &state.link;
        let unready = state.unready();
        let workers: Vec<_> = state
            .workers
            .iter()
            .map(|worker| WorkerStatus {
                index: worker.index,
                state: match worker.state() {
                    WorkerState::Starting => "starting",
                    WorkerState::Serving => "serving",
                    WorkerState::Ended => "ended",
                },
                driver: worker.driver.get().map(|driver| driver.name()),
                generation: worker.slot.served(),
                open_connections: worker.counters.open_connections(),
            })
            .collect();
        Self {
            version: VERSION,
            node: &state.name,
            pid: std::process::id(),
            uptime_s: state.uptime_s(),
            phase: match state.phase.get() {
                Phase::Running => "running",
                Phase::Draining => "draining",
                Phase::Stopping => "stopping",
            },
            ready: unready.is_none(),
            unready,
            // All workers have the same, or none started.
            driver: workers.first().and_then(|worker| worker.driver),
            workers,
            snapshot: link
                .snapshot()
                .map(|info| SnapshotStatus::of(info, state.clock.wall().0)),
            snapshot_error: link.load_error(),
            link: LinkStatus {
                configured: link.configured,
                connected: link.connected.load(Ordering::Relaxed),
                last_error: link.link_error(),
                usage_rows_open: state.spool.open_rows.load(Ordering::Relaxed),
                usage_segments_waiting: state.spool.segments.load(Ordering::Relaxed),
                usage_bytes_waiting: state.spool.bytes.load(Ordering::Relaxed),
                usage_requests_lost: state.spool.dropped.load(Ordering::Relaxed),
            },
            upgrade: state.upgrade.now(),
            upstreams: UpstreamStatus::all(&state.watch.findings().outlook.newest()),
            certificates: state
                .certificates()
                .into_iter()
                .map(|shown| CertificateStatus {
                    file: shown.file,
                    names: shown.names,
                    not_after: jiff::Timestamp::from_second(shown.not_after_s)
                        .map_or_else(|_| String::new(), |time| time.to_string()),
                })
                .collect(),
        }
    }
}

fn rfc_3339(time: WallTime) -> String {
    i64::try_from(time.0)
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
        .map_or_else(String::new, |time| time.to_string())
}

impl SnapshotStatus {
    fn of(info: SnapshotInfo, now_ms: u64) -> Self {
        Self {
            generation: info.generation,
            base: info.base_generation,
            created: rfc_3339(WallTime(info.created_ms)),
            age_s: now_ms.saturating_sub(info.created_ms) / 1_000,
            keys: info.keys,
            memory_bytes: info.memory_bytes,
        }
    }
}
