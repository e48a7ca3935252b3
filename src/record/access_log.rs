//! The access log on the worker's side: one JSON line a request, formatted into the worker's own
//! buffer and handed to the log thread in pieces.
//!
//! [`LogLine`] borrows all it says; [`LogBuffer`] collects lines; [`LogSink`] is the bounded way to the
//! [log thread](super::log_thread). A full sink drops whole buffers and counts their lines: a slow
//! disk costs lines, never a request. Absent on purpose: query strings, headers and keys. A
//! path is cut at its first `?`, should anyone pass a whole target.

use super::address_text::{push_address, push_ip};
use super::counters::{Counter, Counters};
use super::json_text::write_string;
use super::timestamp::Timestamps;
use crate::accept::tls::identity::ClientIdentity;
use crate::clock::WallTime;
use crate::io::Endpoint;
use crate::refusal::Refusal;
use crate::snapshot::ids::KeyId;
use crossbeam::queue::ArrayQueue;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;

/// A worker's buffer is handed over once it holds this much, or on the tick.
const BUFFER_BYTES: usize = 32 * 1_024;

/// Buffers that may wait for the log thread: with [`BUFFER_BYTES`] at most some 32 MiB.
const BUFFERS_MAX: usize = 1_024;

const PATH_BYTES_MAX: usize = 2_048;
const HOST_BYTES_MAX: usize = 256;
const WORD_BYTES_MAX: usize = 128;

/// One request as the access log tells it. Absent fields are left out of the line.
#[derive(Clone, Copy, Debug)]
pub struct LogLine<'a> {
    /// When the request's first byte was read.
    pub time: WallTime,
    /// What `X-Request-Id` said, or what was made up for it.
    pub request_id: &'a [u8],
    /// The connection's other end.
    pub peer: SocketAddr,
    /// Who the client is by its certificate.
    pub client_certificate: Option<&'a ClientIdentity>,
    /// The client, where a trusted hop told of one.
    pub client: Option<IpAddr>,
    /// The method; empty when the head could not be read.
    pub method: &'a [u8],
    /// The host asked for; empty when the head could not be read.
    pub host: &'a [u8],
    /// The path without its query; empty when the head could not be read.
    pub path: &'a [u8],
    /// The status sent; 0 when no answer was sent.
    pub status: u16,
    /// Why the gateway itself said no.
    pub refusal: Option<Refusal>,
    /// The key's tenant.
    pub tenant: Option<&'a str>,
    /// The key's app.
    pub app: Option<&'a str>,
    /// The key's public id.
    pub key: Option<KeyId>,
    /// The plan that was applied.
    pub plan: Option<&'a str>,
    /// The API matched.
    pub api: Option<&'a str>,
    /// The path of its route, as the catalog writes it.
    pub route: Option<&'a str>,
    /// The upstream that it went to.
    pub upstream: Option<&'a str>,
    /// The target that was asked.
    pub target: Option<&'a Endpoint>,
    /// Bytes received from the client for this request, head included.
    pub bytes_in: u64,
    /// Bytes sent to the client for this request, head included.
    pub bytes_out: u64,
    /// From the request's first byte to the answer's last, in microseconds.
    pub duration_us: u64,
    /// From the dispatch to the target to the head of its answer, in microseconds.
    pub upstream_us: Option<u64>,
    /// The snapshot that judged it; 0 for none.
    pub generation: u64,
}

impl LogLine<'_> {
    /// Appends the line, newline included.
    pub fn write(&self, timestamps: &mut Timestamps, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"time\":\"");
        out.extend_from_slice(timestamps.text(self.time));
        out.push(b'"');
        text(out, "request_id", self.request_id, WORD_BYTES_MAX);
        match self.client {
            None => address(out, "client", Some(self.peer)),
            Some(client) => {
                field(out, "client");
                out.push(b'"');
                push_ip(out, client);
                out.push(b'"');
                address(out, "peer", Some(self.peer));
            }
        }
        if let Some(identity) = self.client_certificate {
            text(
                out,
                "client_cert",
                &identity.fingerprint_hex(),
                WORD_BYTES_MAX,
            );
        }
        text(out, "method", self.method, WORD_BYTES_MAX);
        text(out, "host", self.host, HOST_BYTES_MAX);
        text(out, "path", without_query(self.path), PATH_BYTES_MAX);
        number(out, "status", u64::from(self.status));
        name(
            out,
            "refusal",
            self.refusal.map(|refusal| refusal.face().label),
        );
        name(out, "tenant", self.tenant);
        name(out, "app", self.app);
        if let Some(key) = self.key {
            text(out, "key", &key.encode(), WORD_BYTES_MAX);
        }
        name(out, "plan", self.plan);
        name(out, "api", self.api);
        if let Some(route) = self.route {
            text(out, "route", route.as_bytes(), PATH_BYTES_MAX);
        }
        name(out, "upstream", self.upstream);
        match self.target {
            Some(Endpoint::Tcp(target)) => address(out, "target", Some(*target)),
            Some(Endpoint::Unix(path)) => {
                let path = path.as_os_str().as_encoded_bytes();
                text(out, "target", &[b"unix:", path].concat(), PATH_BYTES_MAX);
            }
            None => {}
        }
        number(out, "bytes_in", self.bytes_in);
        number(out, "bytes_out", self.bytes_out);
        number(out, "duration_us", self.duration_us);
        if let Some(us) = self.upstream_us {
            number(out, "upstream_us", us);
        }
        number(out, "generation", self.generation);
        out.extend_from_slice(b"}\n");
    }
}

fn without_query(path: &[u8]) -> &[u8] {
    memchr::memchr(b'?', path).map_or(path, |at| &path[..at])
}

fn field(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

/// A field from outside; left out when empty.
fn text(out: &mut Vec<u8>, label: &str, value: &[u8], bytes_max: usize) {
    if !value.is_empty() {
        field(out, label);
        write_string(value, bytes_max, out);
    }
}

fn name(out: &mut Vec<u8>, label: &str, value: Option<&str>) {
    if let Some(value) = value {
        text(out, label, value.as_bytes(), WORD_BYTES_MAX);
    }
}

fn number(out: &mut Vec<u8>, label: &str, value: u64) {
    field(out, label);
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

fn address(out: &mut Vec<u8>, label: &str, value: Option<SocketAddr>) {
    if let Some(value) = value {
        field(out, label);
        out.push(b'"');
        push_address(out, value);
        out.push(b'"');
    }
}

/// One worker's lines on their way to the sink.
#[derive(Debug)]
pub struct LogBuffer {
    sink: LogSink,
    bytes: Vec<u8>,
    lines: u64,
    timestamps: Timestamps,
}

impl LogBuffer {
    /// An empty buffer before `sink`.
    pub fn new(sink: LogSink) -> Self {
        Self {
            sink,
            bytes: Vec::new(),
            lines: 0,
            timestamps: Timestamps::default(),
        }
    }

    /// False when there is no access log: then nobody need gather what a line says.
    pub fn is_on(&self) -> bool {
        self.sink.is_on()
    }

    /// Adds a line; hands the buffer over when it is full.
    pub fn add(&mut self, line: &LogLine<'_>, counters: &mut Counters) {
        if !self.is_on() {
            return;
        }
        if self.bytes.capacity() == 0 {
            self.bytes = self.sink.buffer();
        }
        line.write(&mut self.timestamps, &mut self.bytes);
        self.lines += 1;
        if self.bytes.len() >= BUFFER_BYTES {
            self.flush(counters);
        }
    }

    /// Hands over what there is; lines that find no room are counted as dropped. Called on the
    /// worker's tick.
    pub fn flush(&mut self, counters: &mut Counters) {
        if self.lines == 0 {
            return;
        }
        let lines = std::mem::take(&mut self.lines);
        if let Err(mut rejected) = self.sink.push(std::mem::take(&mut self.bytes)) {
            counters.add(Counter::LogLinesDropped, lines);
            rejected.clear();
            self.bytes = rejected;
        }
    }
}

/// The way to the log thread, shared by all workers; or to nowhere.
#[derive(Clone, Debug)]
pub struct LogSink {
    shared: Option<Arc<Shared>>,
}

/// Between the workers and the log thread.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) filled: ArrayQueue<Vec<u8>>,
    /// Written buffers on their way back to the workers, so that they need not allocate.
    pub(super) emptied: ArrayQueue<Vec<u8>>,
    pub(super) thread: OnceLock<Thread>,
    pub(super) reopen: AtomicBool,
    pub(super) stop: AtomicBool,
    pub(super) lines_written: AtomicU64,
    pub(super) lines_lost: AtomicU64,
    pub(super) write_errors: AtomicU64,
}

impl Shared {
    pub(super) fn new() -> Self {
        Self {
            filled: ArrayQueue::new(BUFFERS_MAX),
            emptied: ArrayQueue::new(64),
            thread: OnceLock::new(),
            reopen: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            lines_written: AtomicU64::new(0),
            lines_lost: AtomicU64::new(0),
            write_errors: AtomicU64::new(0),
        }
    }

    /// Wakes the log thread if it sleeps; costs no system call if it does not.
    pub(super) fn ring(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }
}

impl LogSink {
    /// No access log.
    pub const fn off() -> Self {
        Self { shared: None }
    }

    pub(super) const fn on(shared: Arc<Shared>) -> Self {
        Self {
            shared: Some(shared),
        }
    }

    /// False when there is no access log.
    pub const fn is_on(&self) -> bool {
        self.shared.is_some()
    }

    /// What the log thread did so far.
    pub fn stats(&self) -> LogStats {
        let read = |word: fn(&Shared) -> &AtomicU64| {
            self.shared
                .as_deref()
                .map_or(0, |shared| word(shared).load(Ordering::Relaxed))
        };
        LogStats {
            lines_written: read(|shared| &shared.lines_written),
            lines_lost: read(|shared| &shared.lines_lost),
            write_errors: read(|shared| &shared.write_errors),
        }
    }

    fn buffer(&self) -> Vec<u8> {
        self.shared
            .as_ref()
            .and_then(|shared| shared.emptied.pop())
            // Room for one more line, so that the last one seldom makes it grow.
            .unwrap_or_else(|| Vec::with_capacity(BUFFER_BYTES + 1_024))
    }

    fn push(&self, buffer: Vec<u8>) -> Result<(), Vec<u8>> {
        let Some(shared) = &self.shared else {
            return Err(buffer);
        };
        shared.filled.push(buffer)?;
        shared.ring();
        Ok(())
    }
}

/// What the log thread did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogStats {
    /// Lines written whole.
    pub lines_written: u64,
    /// Lines that the disk did not take.
    pub lines_lost: u64,
    /// Failed writes and reopenings.
    pub write_errors: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn target() -> &'static Endpoint {
        static TARGET: OnceLock<Endpoint> = OnceLock::new();
        TARGET.get_or_init(|| SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 9_000)).into())
    }

    fn line<'a>(path: &'a [u8], host: &'a [u8]) -> LogLine<'a> {
        LogLine {
            time: WallTime(1_000),
            request_id: b"req-1",
            peer: SocketAddr::from(([127, 0, 0, 1], 5_000)),
            client: None,
            client_certificate: None,
            method: b"GET",
            host,
            path,
            status: 200,
            refusal: None,
            tenant: Some("acme"),
            app: Some("mobile"),
            key: KeyId::new(7),
            plan: Some("free"),
            api: Some("orders"),
            route: Some("/orders/{id}"),
            upstream: Some("origin"),
            target: Some(target()),
            bytes_in: 100,
            bytes_out: 2_000,
            duration_us: 350,
            upstream_us: Some(300),
            generation: 12,
        }
    }

    fn written(line: &LogLine<'_>) -> String {
        let mut out = Vec::new();
        line.write(&mut Timestamps::default(), &mut out);
        String::from_utf8(out).expect("a line is UTF-8")
    }

    #[test]
    fn a_line_tells_who_asked_what_and_how_it_went() {
        assert_eq!(
            written(&line(b"/orders/1", b"api.example")),
            "{\"time\":\"1970-01-01T00:00:01.000Z\",\"request_id\":\"req-1\",\
             \"client\":\"127.0.0.1:5000\",\"method\":\"GET\",\"host\":\"api.example\",\
             \"path\":\"/orders/1\",\"status\":200,\"tenant\":\"acme\",\"app\":\"mobile\",\
             \"key\":\"key_0000000000007\",\"plan\":\"free\",\"api\":\"orders\",\
             \"route\":\"/orders/{id}\",\"upstream\":\"origin\",\"target\":\"[::1]:9000\",\"bytes_in\":100,\"bytes_out\":2000,\
             \"duration_us\":350,\"upstream_us\":300,\"generation\":12}\n"
        );
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let refused = LogLine {
            method: b"",
            host: b"",
            path: b"",
            status: 400,
            refusal: Some(Refusal::HeadMalformed),
            tenant: None,
            app: None,
            key: None,
            plan: None,
            api: None,
            route: None,
            upstream: None,
            target: None,
            upstream_us: None,
            ..line(b"", b"")
        };
        assert_eq!(
            written(&refused),
            "{\"time\":\"1970-01-01T00:00:01.000Z\",\"request_id\":\"req-1\",\
             \"client\":\"127.0.0.1:5000\",\"status\":400,\"refusal\":\"head\",\
             \"bytes_in\":100,\"bytes_out\":2000,\"duration_us\":350,\"generation\":12}\n"
        );
    }

    #[test]
    fn a_query_never_reaches_the_log() {
        let text = written(&line(b"/orders?api_key=kw_live_secret", b"h"));
        assert!(text.contains("\"path\":\"/orders\","), "{text}");
        assert!(!text.contains("secret"), "{text}");
    }

    #[test]
    fn a_full_sink_drops_the_buffer_and_counts_its_lines() {
        let shared = Arc::new(Shared::new());
        while shared.filled.push(Vec::new()).is_ok() {}
        let mut buffer = LogBuffer::new(LogSink::on(Arc::clone(&shared)));
        let mut counters = Counters::new();
        buffer.add(&line(b"/", b"h"), &mut counters);
        buffer.add(&line(b"/", b"h"), &mut counters);
        buffer.flush(&mut counters);
        let published = super::super::PublishedCounters::new();
        counters.publish(&published);
        assert_eq!(published.counter(Counter::LogLinesDropped), 2);

        shared.filled.pop().expect("is full");
        buffer.add(&line(b"/again", b"h"), &mut counters);
        buffer.flush(&mut counters);
        let last = std::iter::from_fn(|| shared.filled.pop())
            .last()
            .expect("was pushed");
        assert!(last.starts_with(b"{\"time\"") && last.ends_with(b"}\n"));
        assert_eq!(last.iter().filter(|&&b| b == b'\n').count(), 1);
    }

    #[test]
    fn a_full_buffer_is_handed_over_without_waiting_for_the_tick() {
        let shared = Arc::new(Shared::new());
        let mut buffer = LogBuffer::new(LogSink::on(Arc::clone(&shared)));
        let mut counters = Counters::new();
        let mut lines = 0;
        while shared.filled.is_empty() {
            buffer.add(&line(b"/", b"h"), &mut counters);
            lines += 1;
        }
        assert!((50..=500).contains(&lines), "{lines} lines");
    }

    proptest! {
        #[test]
        fn a_parser_accepts_the_line_of_any_bytes(path: Vec<u8>, host: Vec<u8>, id: Vec<u8>) {
            let text = written(&LogLine { request_id: &id, ..line(&path, &host) });
            prop_assert_eq!(text.matches('\n').count(), 1);
            let value: Value = serde_json::from_str(&text).expect("valid JSON");
            let shown = without_query(&path);
            if !shown.is_empty() && shown.len() <= PATH_BYTES_MAX {
                prop_assert_eq!(value["path"].as_str(), Some(&*String::from_utf8_lossy(shown)));
            }
            prop_assert_eq!(value["status"].as_u64(), Some(200));
            prop_assert_eq!(value["generation"].as_u64(), Some(12));
        }
    }
}
