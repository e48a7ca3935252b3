//! The record of a sampled request, and its bounded way from the workers to the exporter.
//!
//! [`SpanRecord`] owns what it says, for the view it was judged by may be gone when it is exported.
//! A full queue drops the record at hand: memory is bounded, and a worker never waits.

use super::tracer::CallTrace;
use crate::clock::{Tick, WallTime};
use crate::io::Endpoint;
use crate::record::request_id::RequestId;
use crate::refusal::Refusal;
use crate::snapshot::ids::KeyId;
use crate::worker::recorder::Finished;
use crossbeam::queue::ArrayQueue;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Records that may wait for the exporter, each of some kilobyte.
const RECORDS_MAX: usize = 8_192;

const METHOD_BYTES_MAX: usize = 32;
const HOST_BYTES_MAX: usize = 256;
const PATH_BYTES_MAX: usize = 2_048;

/// A sampled request at its end.
#[derive(Clone, Debug)]
pub struct SpanRecord {
    /// Its place in the trace.
    pub trace: CallTrace,
    /// When its head was whole.
    pub begun: WallTime,
    /// From then to the end of its answer, nanoseconds.
    pub duration_ns: u64,
    /// The exchange with the target, if it came to one.
    pub exchange: Option<ExchangeRecord>,
    /// Its id.
    pub request_id: RequestId,
    /// The method; empty if the head could not be read.
    pub method: Box<str>,
    /// The host asked for, without its port.
    pub host: Box<str>,
    /// The path without its query.
    pub path: Box<str>,
    /// It came over TLS.
    pub is_secure: bool,
    /// HTTP/1.0.
    pub http_1_0: bool,
    /// The connection's other end.
    pub peer: SocketAddr,
    /// The client, where a trusted hop told of one.
    pub client: Option<IpAddr>,
    /// The status sent; 0 for none.
    pub status: u16,
    /// Why the gateway itself said no.
    pub refusal: Option<Refusal>,
    /// The path of the route that matched.
    pub route: Option<Box<str>>,
    /// The API.
    pub api: Option<Box<str>>,
    /// The key's tenant.
    pub tenant: Option<Box<str>>,
    /// The key's app.
    pub app: Option<Box<str>>,
    /// The key's public id.
    pub key: Option<KeyId>,
    /// The plan that applied.
    pub plan: Option<Box<str>>,
    /// The snapshot that judged it; 0 for none.
    pub generation: u64,
}

/// All tries of a request at its targets.
#[derive(Clone, Debug)]
pub struct ExchangeRecord {
    /// From the request's begin to the first try, nanoseconds.
    pub offset_ns: u64,
    /// From then to the end, nanoseconds.
    pub duration_ns: u64,
    /// The upstream.
    pub upstream: Option<Box<str>>,
    /// The host that the upstream is asked for, if that is set.
    pub host: Option<Box<str>>,
    /// The server that was asked last.
    pub target: Option<Endpoint>,
}

impl SpanRecord {
    /// The record of a request that ended at `now`.
    pub fn of(trace: CallTrace, finished: &Finished<'_>, now: Tick) -> Box<Self> {
        let Finished {
            call,
            head,
            refusal,
            progress,
            peer,
            ..
        } = finished;
        let view = call.served.as_ref().map(|served| served.view());
        let catalog = view.map(|view| view.catalog());
        let app = call.seen.key.and_then(|key| view?.app(key.app));
        let tenant = app.and_then(|app| catalog?.tenant_by_number(app.tenant));
        let plan = call.seen.plan;
        let plan = plan.and_then(|plan| catalog?.plan_by_number(plan));
        let matched = call.matched();
        Box::new(Self {
            trace,
            begun: call.begun.wall,
            duration_ns: now.since_ns(call.begun.tick),
            exchange: ExchangeRecord::of(finished, now),
            request_id: call.request_id,
            method: cut(call.method.text(head), METHOD_BYTES_MAX),
            host: cut(call.host.text(head), HOST_BYTES_MAX),
            path: cut(without_query(call.path.text(head)), PATH_BYTES_MAX),
            is_secure: peer.is_secure,
            http_1_0: call.http_1_0,
            peer: peer.address,
            client: call.client,
            status: progress.status.get(),
            refusal: *refusal,
            route: matched.map(|(_, route)| cut(&route.pattern, PATH_BYTES_MAX)),
            api: matched.map(|(api, _)| api.name.as_str().into()),
            tenant: tenant.map(|tenant| tenant.name.as_str().into()),
            app: app.map(|app| app.name.into()),
            key: call.seen.key.map(|key| key.id),
            plan: plan.map(|plan| plan.name.as_str().into()),
            generation: view.map_or(0, |view| view.generation()),
        })
    }

    /// How many spans it becomes.
    pub fn spans(&self) -> u64 {
        1 + u64::from(self.exchange.is_some())
    }
}

impl ExchangeRecord {
    fn of(finished: &Finished<'_>, now: Tick) -> Option<Self> {
        let Finished { call, progress, .. } = finished;
        if progress.attempts.get() == 0 {
            return None;
        }
        let asked = progress.decided_at.get();
        let done = progress.done_at.get().unwrap_or(now);
        let catalog = call.served.as_ref().map(|served| served.view().catalog());
        let upstream = call.seen.upstream;
        let upstream = upstream.and_then(|upstream| Some(catalog?.upstream(upstream)));
        Some(Self {
            offset_ns: asked.since_ns(call.begun.tick),
            duration_ns: done.since_ns(asked),
            upstream: upstream.map(|upstream| upstream.name.as_str().into()),
            host: upstream.and_then(|upstream| Some(upstream.host.as_deref()?.into())),
            target: progress.target.borrow().clone(),
        })
    }
}

/// Clients choose how long these are.
fn cut(text: &str, bytes_max: usize) -> Box<str> {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].into()
}

/// A head that could not be read may have its query in the path.
fn without_query(path: &str) -> &str {
    path.split_once('?').map_or(path, |(path, _)| path)
}

/// Why spans did not reach the collector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum DropCause {
    /// They found no room in the queue. Counted by the workers.
    QueueFull,
    /// No connection to the collector, or it broke.
    Unreachable,
    /// No answer in time.
    Timeout,
    /// An answer that says no.
    Refused,
    /// A good answer that says that some were not taken.
    Rejected,
}

impl DropCause {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::QueueFull,
        Self::Unreachable,
        Self::Timeout,
        Self::Refused,
        Self::Rejected,
    ];

    /// Its name in metrics and in the log.
    pub const fn label(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Refused => "refused",
            Self::Rejected => "rejected",
        }
    }
}

/// The way to the exporter, shared by all workers; or to nowhere.
#[derive(Clone, Debug)]
pub struct SpanSink {
    shared: Option<Arc<Shared>>,
}

/// Between the workers and the exporter.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) records: ArrayQueue<Box<SpanRecord>>,
    exported: AtomicU64,
    dropped: [AtomicU64; DropCause::ALL.len()],
}

impl Shared {
    pub(super) fn new() -> Self {
        Self {
            records: ArrayQueue::new(RECORDS_MAX),
            exported: AtomicU64::default(),
            dropped: Default::default(),
        }
    }

    pub(super) fn exported(&self, spans: u64) {
        self.exported.fetch_add(spans, Ordering::Relaxed);
    }

    pub(super) fn dropped(&self, cause: DropCause, spans: u64) {
        self.dropped[cause as usize].fetch_add(spans, Ordering::Relaxed);
    }
}

impl SpanSink {
    /// No tracing.
    pub const fn off() -> Self {
        Self { shared: None }
    }

    pub(super) const fn on(shared: Arc<Shared>) -> Self {
        Self {
            shared: Some(shared),
        }
    }

    /// Hands a record over; how many spans found no room.
    pub fn push(&self, record: Box<SpanRecord>) -> u64 {
        let Some(shared) = &self.shared else { return 0 };
        match shared.records.push(record) {
            Ok(()) => 0,
            Err(record) => record.spans(),
        }
    }

    /// What the exporter did so far.
    pub fn stats(&self) -> SpanStats {
        let Some(shared) = &self.shared else {
            return SpanStats::default();
        };
        SpanStats {
            exported: shared.exported.load(Ordering::Relaxed),
            dropped: std::array::from_fn(|cause| shared.dropped[cause].load(Ordering::Relaxed)),
        }
    }
}

/// What the exporter did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpanStats {
    /// Spans that the collector took.
    pub exported: u64,
    /// Spans that it did not, in the order of [`DropCause::ALL`].
    pub dropped: [u64; DropCause::ALL.len()],
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::convert::tests::record;

    #[test]
    fn a_full_queue_drops_and_tells_how_many_spans() {
        let shared = Arc::new(Shared::new());
        let sink = SpanSink::on(Arc::clone(&shared));
        for _ in 0..RECORDS_MAX {
            assert_eq!(sink.push(Box::new(record())), 0);
        }
        assert_eq!(sink.push(Box::new(record())), 2);
        let refused = SpanRecord {
            exchange: None,
            ..record()
        };
        assert_eq!(sink.push(Box::new(refused.clone())), 1);
        assert!(shared.records.pop().is_some());
        assert_eq!(sink.push(Box::new(refused)), 0);
    }

    #[test]
    fn what_a_client_chose_is_cut_at_a_character() {
        assert_eq!(&*cut("abc", 3), "abc");
        assert_eq!(&*cut("abcd", 3), "abc");
        assert_eq!(&*cut("ab\u{e9}", 3), "ab");
        assert_eq!(without_query("/a?b?c"), "/a");
    }
}
