//! A worker's part in tracing: where a request stands in its trace, and the record of it.

use super::parent::{Parent, SpanId, TraceId};
use super::sample::SampleRatio;
use super::span::{SpanRecord, SpanSink};
use super::state;
use crate::clock::Tick;
use crate::settings::TracingSettings;
use crate::worker::recorder::Finished;
use httparse::Header;
use rand::rngs::SmallRng;
use rand::{RngCore as _, SeedableRng as _};
use std::cell::RefCell;

/// Where one request stands in its trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallTrace {
    /// The trace: the caller's, or a new one.
    pub trace: TraceId,
    /// The caller's span, if it told of one.
    pub parent: Option<SpanId>,
    /// The gateway's span of the whole request.
    pub span: SpanId,
    /// The gateway's span of the exchange with the target, which the target takes for its parent.
    pub exchange: SpanId,
    /// It is recorded.
    pub is_sampled: bool,
}

impl CallTrace {
    /// Appends the field lines that a target reads, in place of those in `headers`.
    pub fn write(&self, headers: &[Header<'_>], out: &mut Vec<u8>) {
        let told = Parent {
            trace: self.trace,
            span: self.exchange,
            sampled: self.is_sampled,
        };
        out.extend_from_slice(b"traceparent: ");
        told.write(out);
        out.extend_from_slice(b"\r\n");
        if self.parent.is_some() {
            write_state(headers, out);
        }
    }
}

/// A `tracestate` says something only beside the `traceparent` that it came with.
fn write_state(headers: &[Header<'_>], out: &mut Vec<u8>) {
    let begun = out.len();
    let lines = headers.iter().filter(|header| is_state(header.name));
    out.extend_from_slice(b"tracestate: ");
    if state::write(lines.map(|header| header.value), out) {
        out.extend_from_slice(b"\r\n");
    } else {
        out.truncate(begun);
    }
}

/// Fields that the gateway writes anew where it traces.
pub fn is_trace_field(name: &str) -> bool {
    is_parent(name) || is_state(name)
}

fn is_parent(name: &str) -> bool {
    name.eq_ignore_ascii_case("traceparent")
}

fn is_state(name: &str) -> bool {
    name.eq_ignore_ascii_case("tracestate")
}

/// One worker's source of ids and its way to the exporter.
#[derive(Debug)]
pub struct Tracer {
    ratio: SampleRatio,
    trust_parent: bool,
    sink: SpanSink,
    ids: RefCell<SmallRng>,
}

impl Tracer {
    /// A tracer with randomness of its own; without any from the system, of `seed`.
    pub fn new(settings: &TracingSettings, sink: SpanSink, seed: u64) -> Self {
        let mut full = <SmallRng as rand::SeedableRng>::Seed::default();
        let ids = match getrandom::fill(&mut full) {
            Ok(()) => SmallRng::from_seed(full),
            Err(_) => SmallRng::seed_from_u64(seed),
        };
        Self {
            ratio: settings.sample_ratio,
            trust_parent: settings.trust_parent,
            sink,
            ids: RefCell::new(ids),
        }
    }

    /// Where a request with these field lines stands; none, if its head could not be read.
    pub fn begin(&self, headers: &[Header<'_>]) -> CallTrace {
        let parent = parent(headers);
        let mut ids = self.ids.borrow_mut();
        let trace = parent.map_or_else(|| new_trace(&mut ids), |parent| parent.trace);
        let is_sampled = match parent {
            Some(parent) if self.trust_parent => parent.sampled,
            _ => self.ratio.takes(trace),
        };
        CallTrace {
            trace,
            parent: parent.map(|parent| parent.span),
            span: new_span(&mut ids),
            exchange: new_span(&mut ids),
            is_sampled,
        }
    }

    /// Hands over the record of a request that ended at `now`, if it is sampled; how many spans
    /// found no room.
    pub fn record(&self, finished: &Finished<'_>, now: Tick) -> u64 {
        let sampled = finished.call.trace.filter(|trace| trace.is_sampled);
        let Some(trace) = sampled else { return 0 };
        self.sink.push(SpanRecord::of(trace, finished, now))
    }
}

/// The parent that a request tells of. Two field lines are none: nobody knows which one counts.
fn parent(headers: &[Header<'_>]) -> Option<Parent> {
    let mut lines = headers.iter().filter(|header| is_parent(header.name));
    match (lines.next(), lines.next()) {
        (Some(only), None) => Parent::parse(only.value),
        _ => None,
    }
}

fn new_trace(ids: &mut SmallRng) -> TraceId {
    loop {
        let mut bytes = [0; 16];
        ids.fill_bytes(&mut bytes);
        if let Some(id) = TraceId::new(bytes) {
            return id;
        }
    }
}

fn new_span(ids: &mut SmallRng) -> SpanId {
    loop {
        if let Some(id) = SpanId::new(ids.next_u64().to_be_bytes()) {
            return id;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::tracing_for_tests;

    const PARENT: &[u8] = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn tracer(ratio: f64, trust_parent: bool) -> Tracer {
        let settings = TracingSettings {
            sample_ratio: SampleRatio::new(ratio).expect("a ratio"),
            trust_parent,
            ..tracing_for_tests()
        };
        Tracer::new(&settings, SpanSink::off(), 1)
    }

    fn headers<'a>(lines: &[(&'a str, &'a [u8])]) -> Vec<Header<'a>> {
        let lines = lines.iter();
        lines.map(|&(name, value)| Header { name, value }).collect()
    }

    fn told(trace: &CallTrace, headers: &[Header<'_>]) -> String {
        let mut out = Vec::new();
        trace.write(headers, &mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn a_trace_goes_on_with_the_gateways_span_as_the_parent() {
        let sent = headers(&[
            ("TraceParent", PARENT),
            ("tracestate", b"a=1"),
            ("Tracestate", b"b=2"),
        ]);
        let trace = tracer(0.0, true).begin(&sent);
        let parent = Parent::parse(PARENT).expect("valid");
        assert_eq!(
            (trace.trace, trace.parent),
            (parent.trace, Some(parent.span))
        );
        assert!(trace.is_sampled && trace.span != trace.exchange && trace.span != parent.span);
        let span = String::from_utf8(trace.exchange.hex().to_vec()).expect("digits");
        let text = format!(
            "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-{span}-01\r\ntracestate: a=1,b=2\r\n"
        );
        assert_eq!(told(&trace, &sent), text);
    }

    #[test]
    fn without_one_valid_parent_a_new_trace_begins_and_no_state_passes() {
        for lines in [
            &[("tracestate", &b"a=1"[..])][..],
            &[("traceparent", b"00-0-0-0"), ("tracestate", b"a=1")],
            &[
                ("traceparent", PARENT),
                ("traceparent", PARENT),
                ("tracestate", b"a=1"),
            ],
        ] {
            let sent = headers(lines);
            let tracer = tracer(0.0, true);
            let trace = tracer.begin(&sent);
            assert_eq!((trace.parent, trace.is_sampled), (None, false));
            assert!(!told(&trace, &sent).contains("tracestate"));
            assert_ne!(tracer.begin(&sent).trace, trace.trace);
        }
    }

    #[test]
    fn a_parent_decides_only_where_it_is_trusted() {
        let (sampled, unsampled) = (PARENT.to_vec(), [&PARENT[..54], b"0"].concat());
        for (ratio, trust, value, expected) in [
            (0.0, true, &sampled, true),
            (1.0, true, &unsampled, false),
            (0.0, false, &sampled, false),
            (1.0, false, &unsampled, true),
        ] {
            let sent = headers(&[("traceparent", value)]);
            assert_eq!(tracer(ratio, trust).begin(&sent).is_sampled, expected);
        }
    }

    #[test]
    fn the_share_of_new_traces_that_is_sampled_is_the_ratio() {
        let tracer = tracer(0.25, true);
        let sampled = (0..20_000).filter(|_| tracer.begin(&[]).is_sampled);
        assert!((4_500..5_500).contains(&sampled.count()));
    }
}
