//! `/metrics`: control as Prometheus reads it. Names begin with `keyway_control_`.
//!
//! Series have a bounded number: per node, per rule, per webhook, and per key and app only for the
//! few that call most, so that a million keys do not explode a time series database.

use super::Admin;
use super::problem::Problem;
use crate::publish::PublishStatus;
use crate::store::{Rows, Store, StoreError, TopCaller, Totals, WebhookState};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use keyway::record::exposition::{Exposition, Kind, seconds};
use keyway::record::process::ProcessInfo;
use std::sync::atomic::{AtomicU64, Ordering};

/// The text form's media type.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Minutes over which those who call most are looked for, the running one included.
pub const TOP_MINUTES: u32 = 5;
/// Most rules and webhooks that have series.
const SERIES_MAX: usize = 1_000;

/// Requests to the admin API since the start, by the first digit of the status.
#[derive(Debug, Default)]
pub(super) struct Requests([AtomicU64; 6]);

impl Requests {
    pub(super) fn note(&self, status: axum::http::StatusCode) {
        if let Some(count) = self.0.get(usize::from(status.as_u16() / 100)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// What the store tells.
struct Stored {
    totals: Totals,
    /// Rules with the alerts of theirs that last.
    alerts: Vec<(String, u64)>,
    webhooks: Vec<(String, WebhookState)>,
    /// Nodes with the time of their last segment, milliseconds since the epoch.
    segments: Vec<(String, u64)>,
    /// Nodes with the requests that they had to drop.
    dropped: Vec<(String, u64)>,
    keys: Vec<TopCaller>,
    apps: Vec<TopCaller>,
}

impl Stored {
    fn read(rows: &Rows<'_>, now_ms: u64, top: u32) -> Result<Self, StoreError> {
        let webhooks = rows.webhooks(crate::store::Page::first(crate::store::PAGE_ROWS_MAX))?;
        let mut alerts = rows.alerts_counted()?;
        alerts.truncate(SERIES_MAX);
        Ok(Self {
            totals: rows.totals()?,
            alerts,
            webhooks: webhooks
                .items
                .into_iter()
                .map(|(webhook, state)| (webhook.name.to_string(), state))
                .collect(),
            segments: rows.usage_segments_last()?,
            dropped: rows.usage_dropped(0, now_ms.saturating_add(60_000))?,
            keys: rows.usage_top_keys(now_ms, TOP_MINUTES, top)?,
            apps: rows.usage_top_apps(now_ms, TOP_MINUTES, top)?,
        })
    }
}

/// Shows metrics in the text form of Prometheus. A token of the role `metrics` may read them, and
/// nothing else.
#[utoipa::path(get, path = "/metrics", tag = "metrics",
    responses((status = 200, description = "Text form 0.0.4", body = String,
        content_type = "text/plain")))]
pub(super) async fn show(State(admin): State<Admin>) -> Result<Response, Problem> {
    let now_ms = admin.control.clock.wall().0;
    let top = admin.control.metrics_top;
    let store: &Store = &admin.control.store;
    let stored = store
        .read(move |rows| Stored::read(rows, now_ms, top))
        .await?;
    let page = page(&stored, &admin.control.publisher.status(), &admin.requests);
    Ok(([(header::CONTENT_TYPE, TEXT)], page).into_response())
}

fn page(stored: &Stored, status: &PublishStatus, requests: &Requests) -> String {
    let mut page = Exposition::new();
    let help = "1; its label tells the version.";
    page.family("keyway_control_build_info", Kind::Gauge, help)
        .sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);
    ProcessInfo::read().tell(&mut page);
    admin_api(&mut page, requests);
    published(&mut page, status);
    nodes(&mut page, status);
    totals(&mut page, &stored.totals);
    usage(&mut page, stored);
    alerts(&mut page, stored);
    page.finish()
}

fn admin_api(page: &mut Exposition, requests: &Requests) {
    let help = "Requests to the admin API, by the class of their status.";
    let family = page.family("keyway_control_admin_requests_total", Kind::Counter, help);
    for (class, count) in ["2xx", "3xx", "4xx", "5xx"].iter().zip(&requests.0[2..]) {
        family.sample(&[("class", class)], count.load(Ordering::Relaxed));
    }
}

fn published(page: &mut Exposition, status: &PublishStatus) {
    let help = "Generation number of the last change.";
    let name = "keyway_control_store_generation";
    page.single(name, Kind::Gauge, help, status.store_generation);
    if let Some(published) = &status.published {
        let help = "Generation published last.";
        let name = "keyway_control_published_generation";
        page.single(name, Kind::Gauge, help, published.generation);
        let help = "Generation of the base that is published.";
        let name = "keyway_control_base_generation";
        page.single(name, Kind::Gauge, help, published.base);
    }
    let help = "1: the newest state cannot be published; `status` says why.";
    let name = "keyway_control_publish_stuck";
    page.single(name, Kind::Gauge, help, u8::from(status.problem.is_some()));
    let help = "1: plans, APIs and upstreams are held at an earlier generation.";
    let held = u8::from(status.held_configuration.is_some());
    page.single("keyway_control_configuration_held", Kind::Gauge, help, held);
}

fn nodes(page: &mut Exposition, status: &PublishStatus) {
    let newest = status.published.map_or(0, |published| published.generation);
    let help = "1: the node's link is up.";
    let family = page.family("keyway_control_node_up", Kind::Gauge, help);
    for node in &status.nodes {
        family.sample(&[("node", &node.node)], u8::from(node.connected));
    }
    let help = "Generation that every worker of the node serves.";
    let family = page.family("keyway_control_node_generation", Kind::Gauge, help);
    for node in &status.nodes {
        family.sample(&[("node", &node.node)], node.generation);
    }
    let help = "1: the node serves less than what is published.";
    let family = page.family("keyway_control_node_behind", Kind::Gauge, help);
    for node in &status.nodes {
        let behind = u8::from(node.generation < newest);
        family.sample(&[("node", &node.node)], behind);
    }
    let help = "1: the node refused a newer generation.";
    let family = page.family("keyway_control_node_refuses", Kind::Gauge, help);
    for node in &status.nodes {
        let refuses = u8::from(node.refused.is_some());
        family.sample(&[("node", &node.node)], refuses);
    }
}

fn totals(page: &mut Exposition, totals: &Totals) {
    let help = "What there is: keys in any state, the rest as far as it is in force.";
    let family = page.family("keyway_control_things", Kind::Gauge, help);
    for (kind, count) in [
        ("tenant", totals.tenants),
        ("app", totals.apps),
        ("key", totals.keys),
        ("plan", totals.plans),
        ("api", totals.apis),
        ("upstream", totals.upstreams),
        ("subscription", totals.subscriptions),
    ] {
        family.sample(&[("kind", kind)], count);
    }
}

fn usage(page: &mut Exposition, stored: &Stored) {
    let help = "When usage of the node was added up last.";
    let name = "keyway_control_usage_received_timestamp_seconds";
    let family = page.family(name, Kind::Gauge, help);
    for (node, at_ms) in &stored.segments {
        family.sample(&[("node", node)], seconds(*at_ms, 1_000));
    }
    let help = "Requests that the node counted and had to drop.";
    let name = "keyway_control_usage_dropped_requests_total";
    let family = page.family(name, Kind::Counter, help);
    for (node, requests) in &stored.dropped {
        family.sample(&[("node", node)], requests);
    }
    let help = "Requests of the last five minutes, of the keys that call most.";
    let family = page.family("keyway_control_top_key_requests", Kind::Gauge, help);
    for top in &stored.keys {
        let labels = [("key", top.key.as_str()), ("app", &top.app)];
        family.sample(&labels, top.requests);
    }
    let help = "Of these, those answered with 5xx or refused.";
    let family = page.family("keyway_control_top_key_failures", Kind::Gauge, help);
    for top in &stored.keys {
        let labels = [("key", top.key.as_str()), ("app", &top.app)];
        family.sample(&labels, top.failures);
    }
    let help = "Requests of the last five minutes, of the apps that call most.";
    let family = page.family("keyway_control_top_app_requests", Kind::Gauge, help);
    for top in &stored.apps {
        family.sample(&[("app", &top.app)], top.requests);
    }
    let help = "Of these, those answered with 5xx or refused.";
    let family = page.family("keyway_control_top_app_failures", Kind::Gauge, help);
    for top in &stored.apps {
        family.sample(&[("app", &top.app)], top.failures);
    }
}

fn alerts(page: &mut Exposition, stored: &Stored) {
    let help = "Alerts of the rule that last.";
    let family = page.family("keyway_control_alerts", Kind::Gauge, help);
    for (rule, count) in &stored.alerts {
        family.sample(&[("rule", rule)], count);
    }
    let help = "Messages that wait for their next attempt.";
    let family = page.family("keyway_control_webhook_waiting", Kind::Gauge, help);
    for (webhook, state) in &stored.webhooks {
        family.sample(&[("webhook", webhook)], state.waiting);
    }
    let help = "Messages of the last seven days that were given up.";
    let family = page.family("keyway_control_webhook_given_up", Kind::Gauge, help);
    for (webhook, state) in &stored.webhooks {
        family.sample(&[("webhook", webhook)], state.given_up);
    }
}
