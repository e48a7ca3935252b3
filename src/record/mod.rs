//! Record: what is remembered of a request once it is answered.
//!
//! A worker counts in plain memory of its own ([`Counters`], [`Usage`](usage::Usage)) and formats
//! copies the counters to where others may read them, and hands usage and full buffers over.
//! On the request path nothing is locked and nothing is written that another core reads.
//! Absent on purpose: files and sockets on a worker; they belong to the log thread and to
//! [`link`](crate::link).

pub mod counters;
pub mod histogram;
pub mod usage;

pub use counters::{CloseCause, Counter, Counters, PublishedCounters};
pub use usage::{Usage, UsageRow};
