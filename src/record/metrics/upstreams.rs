//! What the workers saw of targets.

use super::{Counter, Exposition, Kind, Scrape};
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
    watched(page, scrape);
}

/// What the node finds out by itself.
fn watched(page: &mut Exposition, scrape: &Scrape<'_>) {
    page.single(
        "keyway_health_check_failures_total",
        Kind::Counter,
        "Active checks of targets that were not good.",
        scrape.checks_failed,
    );
    page.single(
        "keyway_name_lookup_failures_total",
        Kind::Counter,
        "Lookups of the names of targets that failed.",
        scrape.lookups_failed,
    );
    let mut upstreams: Vec<_> = scrape.outlook.upstreams.values().collect();
    upstreams.sort_unstable_by(|left, right| left.name.cmp(&right.name));
    if upstreams
        .iter()
        .any(|upstream| !upstream.targets.is_empty())
    {
        let help = "1 for a target whose active checks say that it serves.";
        page.family("keyway_target_healthy", Kind::Gauge, help);
        for upstream in &upstreams {
            for target in &upstream.targets {
                let address = target.endpoint.to_string();
                let labels = [("upstream", &*upstream.name), ("target", &*address)];
                page.sample(&labels, u8::from(target.healthy));
            }
        }
    }
    if upstreams.iter().any(|upstream| !upstream.names.is_empty()) {
        let help = "Addresses that the name of a target has.";
        page.family("keyway_name_addresses", Kind::Gauge, help);
        for upstream in &upstreams {
            for name in &upstream.names {
                let labels = [("upstream", &*upstream.name), ("name", &*name.host)];
                page.sample(&labels, name.addresses.len());
            }
        }
    }
}
