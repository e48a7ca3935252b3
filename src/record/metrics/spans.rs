//! What became of spans.

use super::{Counter, Exposition, Kind, Scrape};
use crate::trace::DropCause;

pub(super) fn spans(page: &mut Exposition, scrape: &Scrape<'_>) {
    let help = "Spans that the collector took.";
    let exported = scrape.spans.exported;
    page.single("keyway_spans_exported_total", Kind::Counter, help, exported);
    let help = "Spans that did not reach the collector, by cause.";
    page.family("keyway_spans_dropped_total", Kind::Counter, help);
    for (cause, by_exporter) in DropCause::ALL.into_iter().zip(scrape.spans.dropped) {
        let by_workers = match cause {
            DropCause::QueueFull => scrape.sum(|all| all.counter(Counter::SpansDropped)),
            _ => 0,
        };
        page.sample(&[("cause", cause.label())], by_exporter + by_workers);
    }
}
