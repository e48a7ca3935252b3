//! From a record to OpenTelemetry spans: names, attributes and status after the stable semantic
//! conventions of HTTP.
//!
//! A request becomes a span of kind SERVER; its exchange with a target, whatever number of tries it
//! took, a child of kind CLIENT. What is the gateway's own stands under `keyway.`.

use super::span::{ExchangeRecord, SpanRecord};
use crate::io::Endpoint;
use crate::link::pages::VERSION;
use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue, Value};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SpanData;
use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Methods that may stand in a name; clients can make up others without end.
const METHODS: [&str; 9] = [
    "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "QUERY", "TRACE",
];

/// Who speaks: the same for all spans of a process.
pub fn resource(service: &str, node: &str) -> Resource {
    Resource::builder_empty()
        .with_attributes([
            KeyValue::new("service.name", service.to_owned()),
            KeyValue::new("service.version", VERSION),
            KeyValue::new("service.instance.id", node.to_owned()),
        ])
        .build()
}

/// What made the spans.
pub fn scope() -> InstrumentationScope {
    InstrumentationScope::builder("keyway")
        .with_version(VERSION)
        .build()
}

/// Appends the spans of `record`.
pub fn push(record: &SpanRecord, scope: &InstrumentationScope, batch: &mut Vec<SpanData>) {
    let begun = UNIX_EPOCH + Duration::from_millis(record.begun.0);
    batch.push(server(record, begun, scope));
    if let Some(exchange) = &record.exchange {
        batch.push(client(record, exchange, begun, scope));
    }
}

/// Attributes in the making.
#[derive(Default)]
struct Attributes(Vec<KeyValue>);

impl Attributes {
    fn add(&mut self, key: &'static str, value: impl Into<Value>) {
        self.0.push(KeyValue::new(key, value));
    }

    fn text(&mut self, key: &'static str, value: Option<&str>) {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            self.add(key, value.to_owned());
        }
    }

    fn peer(&mut self, peer: SocketAddr) {
        self.add("network.peer.address", peer.ip().to_string());
        self.add("network.peer.port", i64::from(peer.port()));
    }

    /// "If the HTTP request method is not known to instrumentation, it MUST set the attribute to
    /// `_OTHER`."
    fn method(&mut self, method: &str) {
        if METHODS.contains(&method) {
            self.add("http.request.method", method.to_owned());
        } else {
            self.add("http.request.method", "_OTHER");
            self.text("http.request.method_original", Some(method));
        }
    }

    fn error(&mut self, record: &SpanRecord, status_from: u16) {
        if let Some(refusal) = record.refusal {
            self.add("error.type", refusal.face().label);
        } else if record.status >= status_from {
            self.add("error.type", record.status.to_string());
        }
    }
}

fn server(record: &SpanRecord, begun: SystemTime, scope: &InstrumentationScope) -> SpanData {
    let mut said = Attributes::default();
    said.method(&record.method);
    said.text("url.path", Some(&record.path));
    said.add(
        "url.scheme",
        if record.is_secure { "https" } else { "http" },
    );
    said.add(
        "network.protocol.version",
        if record.http_1_0 { "1.0" } else { "1.1" },
    );
    said.text("http.route", record.route.as_deref());
    if record.status > 0 {
        said.add("http.response.status_code", i64::from(record.status));
    }
    said.text("server.address", Some(&record.host));
    said.peer(record.peer);
    let client = record.client.unwrap_or(record.peer.ip());
    said.add("client.address", client.to_string());
    said.error(record, 500);
    said.add("keyway.request_id", record.request_id.as_str().to_owned());
    said.text("keyway.tenant", record.tenant.as_deref());
    said.text("keyway.app", record.app.as_deref());
    if let Some(key) = record.key {
        said.add("keyway.key_id", key.to_string());
    }
    said.text("keyway.api", record.api.as_deref());
    said.text("keyway.plan", record.plan.as_deref());
    said.add(
        "keyway.generation",
        i64::try_from(record.generation).unwrap_or(i64::MAX),
    );
    let refusal = record.refusal.map(|refusal| refusal.face().label);
    said.text("keyway.refusal", refusal);
    let trace = &record.trace;
    SpanData {
        parent_span_id: trace
            .parent
            .map_or(SpanId::INVALID, |parent| SpanId::from_bytes(parent.bytes())),
        parent_span_is_remote: trace.parent.is_some(),
        name: name(record),
        ..span(
            record,
            (trace.span.bytes(), SpanKind::Server),
            (begun, record.duration_ns),
            (said, record.status >= 500),
            scope,
        )
    }
}

fn client(
    record: &SpanRecord,
    exchange: &ExchangeRecord,
    begun: SystemTime,
    scope: &InstrumentationScope,
) -> SpanData {
    let mut said = Attributes::default();
    said.method(&record.method);
    match &exchange.target {
        Some(Endpoint::Tcp(target)) => {
            let address = target.ip().to_string();
            said.add(
                "server.address",
                exchange.host.as_deref().map_or(address, str::to_owned),
            );
            said.add("server.port", i64::from(target.port()));
            said.peer(*target);
        }
        Some(Endpoint::Unix(path)) => {
            said.add("server.address", path.display().to_string());
            said.add("network.transport", "unix");
        }
        None => said.text("server.address", exchange.host.as_deref()),
    }
    if record.refusal.is_none() && record.status > 0 {
        said.add("http.response.status_code", i64::from(record.status));
    }
    said.error(record, 400);
    said.text("keyway.upstream", exchange.upstream.as_deref());
    let failed = record.refusal.is_some() || record.status >= 400;
    SpanData {
        parent_span_id: SpanId::from_bytes(record.trace.span.bytes()),
        name: Cow::Owned(method(record).to_owned()),
        ..span(
            record,
            (record.trace.exchange.bytes(), SpanKind::Client),
            (
                begun + Duration::from_nanos(exchange.offset_ns),
                exchange.duration_ns,
            ),
            (said, failed),
            scope,
        )
    }
}

/// What both kinds have in common.
fn span(
    record: &SpanRecord,
    (id, span_kind): ([u8; 8], SpanKind),
    (start_time, duration_ns): (SystemTime, u64),
    (said, failed): (Attributes, bool),
    scope: &InstrumentationScope,
) -> SpanData {
    SpanData {
        span_context: SpanContext::new(
            TraceId::from_bytes(record.trace.trace.bytes()),
            SpanId::from_bytes(id),
            TraceFlags::SAMPLED,
            false,
            TraceState::NONE,
        ),
        parent_span_id: SpanId::INVALID,
        parent_span_is_remote: false,
        span_kind,
        name: Cow::Borrowed(""),
        start_time,
        end_time: start_time + Duration::from_nanos(duration_ns),
        attributes: said.0,
        dropped_attributes_count: 0,
        events: Default::default(),
        links: Default::default(),
        // The status code says it all: "Don't set the span status description".
        status: if failed {
            Status::error("")
        } else {
            Status::Unset
        },
        instrumentation_scope: scope.clone(),
    }
}

fn method(record: &SpanRecord) -> &str {
    let known = METHODS.contains(&&*record.method);
    if known { &record.method } else { "HTTP" }
}

/// "HTTP span names SHOULD be `{method} {target}`", the target being the route, which has few
/// values, and never the path.
fn name(record: &SpanRecord) -> Cow<'static, str> {
    Cow::Owned(match &record.route {
        Some(route) => format!("{} {route}", method(record)),
        None => method(record).to_owned(),
    })
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::clock::WallTime;
    use crate::record::request_id::RequestIds;
    use crate::refusal::Refusal;
    use crate::snapshot::ids::KeyId;
    use crate::trace::CallTrace;
    use crate::trace::parent;

    /// A request that went well.
    pub fn record() -> SpanRecord {
        let span = |n| parent::SpanId::new([n; 8]).expect("not zero");
        SpanRecord {
            trace: CallTrace {
                trace: parent::TraceId::new([7; 16]).expect("not zero"),
                parent: Some(span(1)),
                span: span(2),
                exchange: span(3),
                is_sampled: true,
            },
            begun: WallTime(5_000),
            duration_ns: 900_000,
            exchange: Some(ExchangeRecord {
                offset_ns: 100_000,
                duration_ns: 700_000,
                upstream: Some("origin".into()),
                host: None,
                target: Some(SocketAddr::from(([10, 0, 0, 9], 8_080)).into()),
            }),
            request_id: RequestIds::new(1).mint(),
            method: "GET".into(),
            host: "api.example".into(),
            path: "/orders/1".into(),
            is_secure: true,
            http_1_0: false,
            peer: SocketAddr::from(([10, 0, 0, 1], 5_000)),
            client: Some([203, 0, 113, 9].into()),
            status: 200,
            refusal: None,
            route: Some("/orders/{id}".into()),
            api: Some("orders".into()),
            tenant: Some("acme".into()),
            app: Some("mobile".into()),
            key: KeyId::new(7),
            plan: Some("free".into()),
            generation: 12,
        }
    }

    fn spans(record: &SpanRecord) -> Vec<SpanData> {
        let mut batch = Vec::new();
        push(record, &scope(), &mut batch);
        assert_eq!(batch.len() as u64, record.spans());
        batch
    }

    fn said(span: &SpanData, key: &str) -> Option<String> {
        let mut all = span.attributes.iter();
        let found = all.find(|one| one.key.as_str() == key);
        found.map(|one| one.value.to_string())
    }

    #[test]
    fn a_request_and_its_exchange_are_two_spans_one_within_the_other() {
        let both = spans(&record());
        let (server, client) = (&both[0], &both[1]);
        assert_eq!(server.parent_span_id, SpanId::from_bytes([1; 8]));
        assert!(server.parent_span_is_remote && !client.parent_span_is_remote);
        assert_eq!(client.parent_span_id, server.span_context.span_id());
        assert_eq!(client.span_context.span_id(), SpanId::from_bytes([3; 8]));
        assert!(server.start_time < client.start_time && client.end_time < server.end_time);
        assert_eq!((&*server.name, &*client.name), ("GET /orders/{id}", "GET"));
        for (span, key, value) in [
            (server, "http.request.method", "GET"),
            (server, "url.path", "/orders/1"),
            (server, "url.scheme", "https"),
            (server, "http.route", "/orders/{id}"),
            (server, "http.response.status_code", "200"),
            (server, "server.address", "api.example"),
            (server, "network.peer.address", "10.0.0.1"),
            (server, "client.address", "203.0.113.9"),
            (server, "keyway.tenant", "acme"),
            (server, "keyway.app", "mobile"),
            (server, "keyway.key_id", "key_0000000000007"),
            (server, "keyway.api", "orders"),
            (server, "keyway.plan", "free"),
            (server, "keyway.generation", "12"),
            (client, "server.address", "10.0.0.9"),
            (client, "server.port", "8080"),
            (client, "network.peer.address", "10.0.0.9"),
            (client, "http.response.status_code", "200"),
            (client, "keyway.upstream", "origin"),
        ] {
            assert_eq!(said(span, key).as_deref(), Some(value), "{key}");
        }
        for span in &both {
            assert_eq!(span.status, Status::Unset);
            assert_eq!(said(span, "error.type"), None);
        }
    }

    #[test]
    fn a_refusal_of_the_client_is_no_error_of_the_server() {
        let refused = SpanRecord {
            exchange: None,
            status: 401,
            refusal: Some(Refusal::KeyMissing),
            ..record()
        };
        let only = &spans(&refused)[0];
        assert_eq!(only.status, Status::Unset);
        let label = Refusal::KeyMissing.face().label;
        assert_eq!(said(only, "error.type").as_deref(), Some(label));
        assert_eq!(said(only, "keyway.refusal").as_deref(), Some(label));
    }

    #[test]
    fn a_target_that_fails_is_an_error_of_both_and_one_that_says_no_of_the_client_alone() {
        let broken = SpanRecord {
            status: 502,
            refusal: Some(Refusal::UpstreamClosed),
            ..record()
        };
        let both = spans(&broken);
        assert!(
            both.iter()
                .all(|span| matches!(span.status, Status::Error { .. }))
        );
        assert_eq!(said(&both[1], "http.response.status_code"), None);
        for (status, server_fails) in [(404, false), (503, true)] {
            let both = spans(&SpanRecord { status, ..record() });
            assert_eq!(both[0].status != Status::Unset, server_fails);
            assert_ne!(both[1].status, Status::Unset);
            let text = status.to_string();
            assert_eq!(said(&both[1], "error.type"), Some(text.clone()));
            assert_eq!(said(&both[0], "error.type"), server_fails.then_some(text));
        }
    }

    #[test]
    fn a_method_that_a_client_made_up_is_in_no_name() {
        let odd = SpanRecord {
            method: "BREW".into(),
            route: None,
            ..record()
        };
        let both = spans(&odd);
        assert_eq!(both[0].name, "HTTP");
        assert_eq!(
            said(&both[0], "http.request.method").as_deref(),
            Some("_OTHER")
        );
        let original = said(&both[0], "http.request.method_original");
        assert_eq!(original.as_deref(), Some("BREW"));
    }
}
