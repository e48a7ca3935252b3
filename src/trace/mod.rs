//! Tracing of requests across systems: W3C Trace Context on the wire, OpenTelemetry spans to a
//! collector.
//!
//! A worker's [`Tracer`] takes the caller's `traceparent` ([`parent`], [`state`]), gives the request
//! its own ids, decides by [`sample`] whether it is recorded, and pushes a [`record`](span) of it
//! into a bounded queue. One thread ([`exporter`]) turns records into spans ([`convert`]) and posts
//! them by OTLP ([`collector`]). A collector that is slow or gone costs spans, which are counted,
//! and never a request. Without `[tracing]` in the settings none of it exists, and `traceparent` is
//! a field like any other. Absent on purpose: query strings, fields and credentials in spans.

pub mod collector;
pub mod convert;
pub mod exporter;
pub mod parent;
pub mod sample;
pub mod span;
pub mod state;
pub mod tracer;

pub use exporter::{ExportThread, TraceError};
pub use sample::SampleRatio;
pub use span::{DropCause, SpanSink, SpanStats};
pub use tracer::{CallTrace, Tracer};
