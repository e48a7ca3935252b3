//! What became of limits.

use super::{Exposition, Kind, Scrape};

pub(super) fn limits(page: &mut Exposition, scrape: &Scrape<'_>) {
    let ledger = &scrape.ledger;
    let help = "Requests that a limit refused, by the limit and the plan or API that it is of.";
    page.family("keyway_limit_refusals_total", Kind::Counter, help);
    for (name, tally) in &ledger.limits {
        let labels = [("limit", name.limit.as_str()), ("of", &name.of)];
        page.sample(&labels, tally.refused);
    }
    let help = "Requests that a limit would have refused, did it not only watch.";
    page.family("keyway_limit_shadow_refusals_total", Kind::Counter, help);
    for (name, tally) in &ledger.limits {
        let labels = [("limit", name.limit.as_str()), ("of", &name.of)];
        page.sample(&labels, tally.shadowed);
    }
    let help = "Words in use that limits are counted in, those of client addresses not among them.";
    page.single("keyway_limit_words", Kind::Gauge, help, ledger.words);
    let help = "Quotas with something consumed that are kept on the disk.";
    page.single("keyway_quotas_kept", Kind::Gauge, help, ledger.quotas);
    let help = "Failed writes of consumed quotas.";
    page.single(
        "keyway_quota_write_errors_total",
        Kind::Counter,
        help,
        ledger.errors,
    );
}
