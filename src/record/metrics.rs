//! `/metrics`: everything the node counts, as one page for Prometheus.
//!
//! Takes a [`Scrape`], a plain picture of the node at one moment; answers the text. Counters of
//! all workers are added up, except where the point is to see each worker. Names follow
//! Prometheus: base units, `_total` on what only grows, one family a meaning. Absent on
//! purpose: keys, apps and tenants as labels; their number has no bound, usage counts them.

mod limits;
mod spans;
mod spool;
#[cfg(test)]
mod tests;
mod upstreams;

use super::access_log::LogStats;
use super::counters::{CloseCause, Counter, PublishedCounters, REFUSALS, Span};
use super::exposition::{Exposition, Kind, seconds};
use super::histogram::{BOUNDS_US, BUCKETS};
use super::load::Told;
use super::process::ProcessInfo;
use crate::clock::WallTime;
use crate::ledger::tallies::LimitName;
use crate::limit::LimitTally;
use crate::link::state::SnapshotInfo;
use crate::trace::SpanStats;
use crate::watch::outlook::Outlook;
use std::sync::Arc;

/// The node at one moment.
#[derive(Debug)]
pub struct Scrape<'a> {
    /// The program's version.
    pub version: &'a str,
    /// The wall clock now.
    pub now: WallTime,
    /// When the process came up.
    pub started: WallTime,
    /// The node should get traffic.
    pub ready: bool,
    /// All workers.
    pub workers: Vec<WorkerScrape<'a>>,
    /// What the node finds out about targets.
    pub outlook: Arc<Outlook>,
    /// Active checks that were not good.
    pub checks_failed: u64,
    /// Lookups of names that failed.
    pub lookups_failed: u64,
    /// Files of the certificates shown over TLS, and when each ends, seconds since 1970.
    pub certificates: Vec<(String, i64)>,
    /// The log thread.
    pub log: LogStats,
    /// The newest snapshot taken over.
    pub snapshot: Option<SnapshotInfo>,
    /// The link thread.
    pub link: LinkScrape,
    /// What became of limits.
    pub ledger: LedgerScrape,
    /// How usage gets to control.
    pub spool: SpoolScrape,
    /// The exporter of spans.
    pub spans: SpanStats,
    /// The process.
    pub process: ProcessInfo,
}

/// One worker at one moment.
#[derive(Debug)]
pub struct WorkerScrape<'a> {
    /// Its index.
    pub index: usize,
    /// Its counters.
    pub counters: &'a PublishedCounters,
    /// The generation it serves; 0 for none.
    pub generation: u64,
    /// Its driver, once it runs.
    pub driver: Option<&'a str>,
    /// Its load, as of its last beat.
    pub load: Told,
}

/// The link thread at one moment; see [`LinkState`](crate::link::state::LinkState).
#[derive(Clone, Copy, Debug, Default)]
pub struct LinkScrape {
    /// A connection to control stands.
    pub connected: bool,
    /// Connections made to control.
    pub connects: u64,
    /// Snapshots taken over.
    pub loads: u64,
    /// Snapshots that could not be taken over.
    pub load_failures: u64,
    /// Milliseconds of the last load.
    pub load_ms: u64,
    /// Milliseconds until every worker had the newest generation.
    pub enforced_ms: u64,
}

/// What became of limits, at one moment.
#[derive(Clone, Debug, Default)]
pub struct LedgerScrape {
    /// Limits that ever said no.
    pub limits: Vec<(LimitName, LimitTally)>,
    /// Words in use in the bank.
    pub words: u64,
    /// Quotas that are kept on the disk.
    pub quotas: u64,
    /// Failed writes.
    pub errors: u64,
}

/// The spool at one moment; see [`SpoolState`](crate::spool::SpoolState).
#[derive(Clone, Copy, Debug, Default)]
pub struct SpoolScrape {
    /// Rows in the open count.
    pub open_rows: u64,
    /// Segments that control does not have.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When the oldest was sealed, milliseconds since the epoch; 0 for none.
    pub oldest_ms: u64,
    /// Requests whose usage control has.
    pub shipped: u64,
    /// Requests whose usage was dropped.
    pub dropped: u64,
    /// Requests whose usage a process before left behind.
    pub recovered: u64,
    /// Failed reads and writes.
    pub errors: u64,
}

const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// Writes the page.
pub fn render(scrape: &Scrape<'_>) -> String {
    let mut page = Exposition::new();
    node(&mut page, scrape);
    requests(&mut page, scrape);
    connections(&mut page, scrape);
    load(&mut page, scrape);
    upstreams::upstreams(&mut page, scrape);
    limits::limits(&mut page, scrape);
    snapshots(&mut page, scrape);
    spool::spool(&mut page, scrape);
    records(&mut page, scrape);
    spans::spans(&mut page, scrape);
    process(&mut page, &scrape.process, scrape.started);
    page.finish()
}

impl Scrape<'_> {
    fn sum(&self, read: impl Fn(&PublishedCounters) -> u64) -> u64 {
        self.workers
            .iter()
            .map(|worker| read(worker.counters))
            .fold(0, u64::wrapping_add)
    }

    fn total(&self, page: &mut Exposition, name: &'static str, help: &str, counter: Counter) {
        let value = self.sum(|counters| counters.counter(counter));
        page.single(name, Kind::Counter, help, value);
    }

    fn spans(&self, page: &mut Exposition, name: &'static str, help: &str, span: Span) {
        let (mut buckets, mut sum_ns) = ([0u64; BUCKETS], 0u64);
        for worker in &self.workers {
            let (counts, ns) = worker.counters.histogram(span);
            buckets
                .iter_mut()
                .zip(counts)
                .for_each(|(sum, n)| *sum = sum.wrapping_add(n));
            sum_ns = sum_ns.wrapping_add(ns);
        }
        page.family(name, Kind::Histogram, help);
        // Three steps of the nine a decade: enough for quantiles, a third of the series.
        let shown = |bound: u64| {
            matches!(bound / 10u64.pow(bound.ilog10()), 1 | 2 | 5)
                || Some(&bound) == BOUNDS_US.last()
        };
        page.histogram(&BOUNDS_US, &buckets, sum_ns, shown);
    }
}

fn node(page: &mut Exposition, scrape: &Scrape<'_>) {
    page.family(
        "keyway_build_info",
        Kind::Gauge,
        "Constant 1; the version is the label.",
    )
    .sample(&[("version", scrape.version)], 1);
    page.family(
        "keyway_driver_info",
        Kind::Gauge,
        "Workers by their I/O driver.",
    );
    let mut drivers: Vec<&str> = scrape.workers.iter().filter_map(|w| w.driver).collect();
    drivers.sort_unstable();
    for same in drivers.chunk_by(|a, b| a == b) {
        page.sample(&[("driver", same[0])], same.len());
    }
    let help = "1 if the node should get traffic, 0 while it starts or drains.";
    page.single("keyway_ready", Kind::Gauge, help, u8::from(scrape.ready));
    let help = "Panics caught; each cost one connection.";
    scrape.total(page, "keyway_panics_total", help, Counter::Panics);
}

fn requests(page: &mut Exposition, scrape: &Scrape<'_>) {
    let help = "Requests by the class of the status sent; none: the client got no answer.";
    page.family("keyway_requests_total", Kind::Counter, help);
    for (class, label) in (0u8..).zip(CLASSES) {
        page.sample(
            &[("class", label)],
            scrape.sum(|counters| counters.requests(class)),
        );
    }
    let help = "Requests the gateway itself said no to, by cause.";
    page.family("keyway_refusals_total", Kind::Counter, help);
    for refusal in REFUSALS {
        let value = scrape.sum(|counters| counters.refusals(refusal));
        page.sample(&[("cause", refusal.face().label)], value);
    }
    let help = "From a request's first byte to its answer's last; tunnels apart.";
    scrape.spans(page, "keyway_request_duration_seconds", help, Span::Request);
    let help = "Bytes received from clients, heads included.";
    scrape.total(page, "keyway_received_bytes_total", help, Counter::BytesIn);
    let help = "Bytes sent to clients, heads included.";
    scrape.total(page, "keyway_sent_bytes_total", help, Counter::BytesOut);
    let help = "Leases that workers took from the shared limits.";
    scrape.total(
        page,
        "keyway_limit_leases_taken_total",
        help,
        Counter::LeasesTaken,
    );
    let help = "Leases that workers returned with something left.";
    scrape.total(
        page,
        "keyway_limit_leases_returned_total",
        help,
        Counter::LeasesReturned,
    );
}

fn connections(page: &mut Exposition, scrape: &Scrape<'_>) {
    let help = "Client connections open, by worker.";
    page.family("keyway_connections_open", Kind::Gauge, help);
    for worker in &scrape.workers {
        let index = worker.index.to_string();
        page.sample(&[("worker", &index)], worker.counters.open_connections());
    }
    let help = "Client connections accepted.";
    scrape.total(
        page,
        "keyway_connections_accepted_total",
        help,
        Counter::ConnectionsAccepted,
    );
    turned_away(page, scrape);
    let help = "Failed accepts, mostly for want of descriptors.";
    scrape.total(
        page,
        "keyway_accept_errors_total",
        help,
        Counter::AcceptErrors,
    );
    let help = "Client connections that ended, by cause.";
    page.family("keyway_connections_closed_total", Kind::Counter, help);
    for cause in CloseCause::ALL {
        page.sample(
            &[("cause", cause.label())],
            scrape.sum(|counters| counters.closed(cause)),
        );
    }
    let help = "TLS handshakes with clients, by outcome; resumed ones are among the good.";
    page.family("keyway_tls_handshakes_total", Kind::Counter, help);
    for (outcome, counter) in [
        ("good", Counter::TlsHandshakes),
        ("resumed", Counter::TlsHandshakesResumed),
        ("failed", Counter::TlsHandshakesFailed),
    ] {
        let value = scrape.sum(|counters| counters.counter(counter));
        page.sample(&[("outcome", outcome)], value);
    }
    let help = "When a certificate ends, seconds since 1970.";
    page.family("keyway_tls_certificate_end_seconds", Kind::Gauge, help);
    for (file, end_s) in &scrape.certificates {
        page.sample(&[("file", file)], end_s);
    }
    let help = "Connections that did not begin with the PROXY protocol's header where they must.";
    scrape.total(
        page,
        "keyway_proxy_headers_refused_total",
        help,
        Counter::ProxyHeadersRefused,
    );
    let tunnels = |counters: &PublishedCounters| {
        let ended = counters.counter(Counter::TunnelsClosed);
        counters
            .counter(Counter::TunnelsOpened)
            .saturating_sub(ended)
    };
    let help = "Connections that switched protocols (WebSocket) and are open.";
    page.single(
        "keyway_tunnels_open",
        Kind::Gauge,
        help,
        scrape.sum(tunnels),
    );
    let help = "Connections that switched protocols.";
    scrape.total(page, "keyway_tunnels_total", help, Counter::TunnelsOpened);
}

fn load(page: &mut Exposition, scrape: &Scrape<'_>) {
    let loads = || {
        let workers = scrape.workers.iter();
        workers.map(|worker| (worker.index.to_string(), worker.load))
    };
    let help = "Requests between their head and the end of their answer, by worker.";
    page.family("keyway_requests_in_flight", Kind::Gauge, help);
    for (index, load) in loads() {
        page.sample(&[("worker", &index)], load.in_flight);
    }
    let help = "How late a worker's loop is, smoothed.";
    page.family("keyway_loop_lag_seconds", Kind::Gauge, help);
    for (index, load) in loads() {
        page.sample(&[("worker", &index)], seconds(load.lag_us, 1_000_000));
    }
    let help = "1 while a worker refuses new requests, 2 while it turns connections away as well.";
    page.family("keyway_overloaded", Kind::Gauge, help);
    for (index, load) in loads() {
        page.sample(&[("worker", &index)], load.level as u8);
    }
    let help = "Times that a worker became overloaded.";
    scrape.total(page, "keyway_overloads_total", help, Counter::Overloads);
}

fn turned_away(page: &mut Exposition, scrape: &Scrape<'_>) {
    let help =
        "Client connections answered 503 and closed at once, by what there were too many of.";
    page.family("keyway_connections_turned_away_total", Kind::Counter, help);
    for (cause, counter) in [
        ("node", Counter::ConnectionsTurnedAway),
        ("address", Counter::AddressesTurnedAway),
        ("descriptors", Counter::DescriptorsTurnedAway),
        ("overload", Counter::OverloadTurnedAway),
    ] {
        let value = scrape.sum(|counters| counters.counter(counter));
        page.sample(&[("cause", cause)], value);
    }
}

fn snapshots(page: &mut Exposition, scrape: &Scrape<'_>) {
    let help = "Generation that each worker judges requests by; 0 for none.";
    page.family("keyway_worker_generation", Kind::Gauge, help);
    for worker in &scrape.workers {
        page.sample(&[("worker", &worker.index.to_string())], worker.generation);
    }
    let help = "Snapshots adopted, all workers together.";
    scrape.total(
        page,
        "keyway_snapshot_swaps_total",
        help,
        Counter::SnapshotSwaps,
    );
    if let Some(snapshot) = &scrape.snapshot {
        let age_ms = scrape.now.0.saturating_sub(snapshot.created_ms);
        for (name, help, value) in [
            (
                "keyway_snapshot_generation",
                "Newest generation taken over.",
                snapshot.generation,
            ),
            (
                "keyway_snapshot_base_generation",
                "Generation of its base.",
                snapshot.base_generation,
            ),
            ("keyway_snapshot_keys", "Keys in it.", snapshot.keys),
            (
                "keyway_snapshot_memory_bytes",
                "Memory that it holds.",
                snapshot.memory_bytes,
            ),
        ] {
            page.single(name, Kind::Gauge, help, value);
        }
        let help = "Time since it was made.";
        page.single(
            "keyway_snapshot_age_seconds",
            Kind::Gauge,
            help,
            seconds(age_ms, 1_000),
        );
    }
    let link = &scrape.link;
    let help = "Snapshots taken over.";
    page.single(
        "keyway_snapshot_loads_total",
        Kind::Counter,
        help,
        link.loads,
    );
    let help = "Failed attempts to take a snapshot over; the one before serves on.";
    page.single(
        "keyway_snapshot_load_failures_total",
        Kind::Counter,
        help,
        link.load_failures,
    );
    let help = "Time that the last load took.";
    page.single(
        "keyway_snapshot_load_seconds",
        Kind::Gauge,
        help,
        seconds(link.load_ms, 1_000),
    );
    let help = "Time from learning of the newest generation to its adoption by every worker.";
    let value = seconds(link.enforced_ms, 1_000);
    page.single("keyway_snapshot_enforced_seconds", Kind::Gauge, help, value);
}

fn records(page: &mut Exposition, scrape: &Scrape<'_>) {
    let (link, log) = (&scrape.link, &scrape.log);
    let help = "1 while a connection to control stands.";
    page.single(
        "keyway_link_connected",
        Kind::Gauge,
        help,
        u8::from(link.connected),
    );
    let help = "Connections made to control.";
    page.single(
        "keyway_link_connects_total",
        Kind::Counter,
        help,
        link.connects,
    );
    let help = "Access log lines written.";
    page.single(
        "keyway_access_log_written_total",
        Kind::Counter,
        help,
        log.lines_written,
    );
    let help = "Access log lines dropped because the log thread was behind.";
    scrape.total(
        page,
        "keyway_access_log_dropped_total",
        help,
        Counter::LogLinesDropped,
    );
    let help = "Access log lines that the disk did not take.";
    page.single(
        "keyway_access_log_lost_total",
        Kind::Counter,
        help,
        log.lines_lost,
    );
    let help = "Failed writes and reopenings of the access log.";
    page.single(
        "keyway_access_log_errors_total",
        Kind::Counter,
        help,
        log.write_errors,
    );
}

fn process(page: &mut Exposition, process: &ProcessInfo, started: WallTime) {
    let help = "Start of the process since 1970-01-01.";
    let value = seconds(started.0, 1_000);
    page.single("process_start_time_seconds", Kind::Gauge, help, value);
    process.tell(page);
}
