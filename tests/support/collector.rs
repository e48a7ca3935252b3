//! A collector of spans: an origin that takes OTLP over HTTP and takes it apart.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1;
use prost::Message as _;

use super::origin::{Origin, Received};
use super::turn::{Flow, Turn};
use super::wait;
use super::wire::Broken;

/// A running collector; ends with the test.
#[derive(Debug)]
pub struct Collector {
    /// What it is made of.
    pub origin: Origin,
}

/// A span as it arrived.
#[derive(Clone, Debug)]
pub struct Span {
    /// Its name.
    pub name: String,
    /// The trace, in hex.
    pub trace: String,
    /// Its id, in hex.
    pub id: String,
    /// Its parent, in hex; empty for none.
    pub parent: String,
    /// `SERVER` or `CLIENT`.
    pub kind: String,
    /// Its status is an error.
    pub is_error: bool,
    /// From begin to end, nanoseconds since 1970.
    pub times: (u64, u64),
    /// What it says, numbers as text.
    pub attributes: BTreeMap<String, String>,
    /// What its resource says.
    pub resource: BTreeMap<String, String>,
}

impl Span {
    /// The attribute called `key`.
    pub fn says(&self, key: &str) -> Option<&str> {
        self.attributes.get(key).map(String::as_str)
    }

    /// Fails the test unless it says all of this.
    #[track_caller]
    pub fn assert_says(&self, said: &[(&str, &str)]) {
        for (key, value) in said {
            assert_eq!(self.says(key), Some(*value), "{key} of {self:#?}");
        }
    }
}

impl Collector {
    /// A collector that takes everything.
    pub fn taking() -> Self {
        Self::scripted(|turn| turn.answer(""))
    }

    /// A collector that answers as `script` says.
    pub fn scripted(
        script: impl Fn(&mut Turn) -> Result<Flow, Broken> + Send + Sync + 'static,
    ) -> Self {
        Self {
            origin: Origin::scripted(script),
        }
    }

    /// The setting that names it.
    pub fn setting(&self) -> String {
        format!("tracing.endpoint = \"http://{}\"", self.origin.address)
    }

    /// All spans that came whole.
    pub fn spans(&self) -> Vec<Span> {
        let received = self.origin.received();
        received
            .iter()
            .filter(|received| received.whole)
            .flat_map(spans)
            .collect()
    }

    /// Waits for `count` spans.
    pub fn wait_for(&self, count: usize) -> Vec<Span> {
        wait::value("spans at the collector", || {
            let spans = self.spans();
            (spans.len() >= count).then_some(spans)
        })
    }
}

fn spans(received: &Received) -> Vec<Span> {
    let head = &received.head;
    assert_eq!(head.line, "POST /v1/traces HTTP/1.1");
    let kind = head.fields.get("content-type");
    assert_eq!(kind, Some("application/x-protobuf"));
    let export = ExportTraceServiceRequest::decode(&received.body[..]).expect("OTLP");
    let mut all = Vec::new();
    for resource in export.resource_spans {
        let who = attributes(&resource.resource.expect("a resource").attributes);
        for scope in resource.scope_spans {
            assert_eq!(scope.scope.expect("a scope").name, "keyway");
            all.extend(scope.spans.into_iter().map(|span| read(span, &who)));
        }
    }
    all
}

fn read(span: v1::Span, resource: &BTreeMap<String, String>) -> Span {
    let kind = span.kind();
    let status = span.status.unwrap_or_default();
    Span {
        name: span.name,
        trace: hex(&span.trace_id),
        id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        kind: kind.as_str_name().replace("SPAN_KIND_", ""),
        is_error: status.code() == v1::status::StatusCode::Error,
        times: (span.start_time_unix_nano, span.end_time_unix_nano),
        attributes: attributes(&span.attributes),
        resource: resource.clone(),
    }
}

fn attributes(all: &[KeyValue]) -> BTreeMap<String, String> {
    let mut read = BTreeMap::new();
    for one in all {
        let before = read.insert(one.key.clone(), text(one.value.as_ref()));
        assert_eq!(before, None, "{} is said twice", one.key);
    }
    read
}

fn text(value: Option<&AnyValue>) -> String {
    match value.and_then(|value| value.value.as_ref()) {
        Some(any_value::Value::StringValue(text)) => text.clone(),
        Some(any_value::Value::IntValue(number)) => number.to_string(),
        other => panic!("an attribute of another kind: {other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
