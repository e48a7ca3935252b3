//! Functions that SQL knows of: histograms of latency, merged where they lie.

use keyway::record::latency::Latency;
use rusqlite::Connection;
use rusqlite::functions::{Aggregate, Context, FunctionFlags};

/// `latency_merge(one, other)` and the aggregate `latency_sum(one)`.
pub(in crate::store) fn register(connection: &Connection) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    connection.create_scalar_function("latency_merge", 2, flags, |cx| {
        let mut merged = read(cx.get_raw(0).as_blob().unwrap_or(&[]));
        merged.merge(&read(cx.get_raw(1).as_blob().unwrap_or(&[])));
        Ok(write(&merged))
    })?;
    connection.create_aggregate_function("latency_sum", 1, flags, LatencySum)
}

struct LatencySum;

impl Aggregate<Latency, Vec<u8>> for LatencySum {
    fn init(&self, _: &mut Context<'_>) -> rusqlite::Result<Latency> {
        Ok(Latency::default())
    }

    fn step(&self, cx: &mut Context<'_>, sum: &mut Latency) -> rusqlite::Result<()> {
        sum.merge(&read(cx.get_raw(0).as_blob().unwrap_or(&[])));
        Ok(())
    }

    fn finalize(&self, _: &mut Context<'_>, sum: Option<Latency>) -> rusqlite::Result<Vec<u8>> {
        Ok(write(&sum.unwrap_or_default()))
    }
}

/// A histogram as a column holds it. One that is none is empty: a count of requests is worth more
/// than an error about their latencies.
pub(super) fn read(bytes: &[u8]) -> Latency {
    postcard::from_bytes(bytes).unwrap_or_default()
}

/// A histogram for a column.
pub(super) fn write(latency: &Latency) -> Vec<u8> {
    postcard::to_stdvec(latency).unwrap_or_default()
}
