//! How usage gets to control.

use super::{Counter, Exposition, Kind, Scrape, seconds};

pub(super) fn spool(page: &mut Exposition, scrape: &Scrape<'_>) {
    let spool = &scrape.spool;
    let lost = scrape.sum(|counters| counters.counter(Counter::UsageLost));
    let age_ms = match spool.oldest_ms {
        0 => 0,
        oldest_ms => scrape.now.0.saturating_sub(oldest_ms),
    };
    page.single(
        "keyway_usage_waiting_seconds",
        Kind::Gauge,
        "How long the oldest segment of usage has waited for control.",
        seconds(age_ms, 1_000),
    );
    for (name, kind, help, value) in [
        (
            "keyway_usage_open_rows",
            Kind::Gauge,
            "Rows of usage that are not sealed in a segment yet.",
            spool.open_rows,
        ),
        (
            "keyway_usage_waiting_segments",
            Kind::Gauge,
            "Segments of usage that control has not acknowledged.",
            spool.segments,
        ),
        (
            "keyway_usage_waiting_bytes",
            Kind::Gauge,
            "Their bytes.",
            spool.bytes,
        ),
        (
            "keyway_usage_shipped_total",
            Kind::Counter,
            "Requests whose usage control acknowledged.",
            spool.shipped,
        ),
        (
            "keyway_usage_lost_total",
            Kind::Counter,
            "Requests whose usage found no room and is lost.",
            spool.dropped + lost,
        ),
        (
            "keyway_usage_recovered_total",
            Kind::Counter,
            "Requests whose usage a killed process had left on the disk.",
            spool.recovered,
        ),
        (
            "keyway_usage_spool_errors_total",
            Kind::Counter,
            "Failed reads and writes of usage on the disk.",
            spool.errors,
        ),
    ] {
        page.single(name, kind, help, value);
    }
}
