//! Record: what is remembered of a request once it is answered.
//!
//! A worker counts in plain memory of its own ([`Counters`], [`Usage`]) and formats its access
//! log into a buffer of its own ([`LogBuffer`]); on its tick it copies the counters to where
//! others may read them, and hands usage and full buffers over. On the request path
//! nothing is locked and nothing is written that another core reads. Absent on purpose: files
//! and sockets on a worker; they belong to the log thread and to [`link`](crate::link).

pub mod access_log;
pub mod address_text;
pub mod counters;
pub mod diagnostics;
pub mod exposition;
pub mod head_text;
pub mod histogram;
mod json_text;
pub mod latency;
pub mod load;
pub mod log_line;
pub mod log_policy;
pub mod log_rotation;
pub mod log_search;
pub mod log_thread;
mod mask;
pub mod metrics;
pub mod process;
pub mod refused_clients;
pub mod request_id;
pub mod segment;
pub mod throttle;
mod timestamp;
pub mod usage;

pub use access_log::{LogBuffer, LogSink};
pub use counters::{CloseCause, Counter, Counters, PublishedCounters, Span};
pub use log_line::LogLine;
pub use usage::Usage;
