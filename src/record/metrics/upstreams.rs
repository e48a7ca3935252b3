//! What the workers saw of targets.

use super::{Counter, Exposition, Scrape};
use crate::record::counters::Span;

pub(super) fn upstreams(page: &mut Exposition, scrape: &Scrape<'_>) {
    let help = "From a request's dispatch to the head of the target's answer.";
    scrape.spans(
        page,
        "keyway_upstream_duration_seconds",
        help,
        Span::Upstream,
    );
    for (name, help, counter) in [
        (
            "keyway_upstream_connects_total",
            "Connections made to targets.",
            Counter::UpstreamConnects,
        ),
        (
            "keyway_upstream_connect_failures_total",
            "Connections to targets that could not be made.",
            Counter::UpstreamConnectFailures,
        ),
        (
            "keyway_upstream_reuses_total",
            "Exchanges on a kept connection.",
            Counter::UpstreamReuses,
        ),
        (
            "keyway_upstream_errors_total",
            "Exchanges that a target broke or never answered.",
            Counter::UpstreamErrors,
        ),
        (
            "keyway_upstream_retries_total",
            "Exchanges tried again on another connection.",
            Counter::UpstreamRetries,
        ),
        (
            "keyway_upstream_retries_denied_total",
            "Retries that the budget of an upstream did not allow.",
            Counter::UpstreamRetriesDenied,
        ),
        (
            "keyway_circuits_opened_total",
            "Circuits to targets that opened after failures in a row, by each worker for itself.",
            Counter::CircuitsOpened,
        ),
        (
            "keyway_targets_ejected_total",
            "Targets ejected for their failure rate, by each worker for itself.",
            Counter::TargetsEjected,
        ),
    ] {
        scrape.total(page, name, help, counter);
    }
}
