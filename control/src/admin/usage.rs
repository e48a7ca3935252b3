//! What was called: sums by step and subject, the loudest ones, and what it costs.

use super::Admin;
use super::answer::Shown;
use super::keys::KeyIdText;
use super::problem::Problem;
use super::query::Query;
use super::time::Moment;
use crate::domain::{KeyId, Name, Subject};
use crate::store::{Dimension, Rows, Step, StoreError, UsageFilter, UsageSum};
use axum::extract::State;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::{IntoParams, ToSchema};

/// What a step is where nothing is said: the finest that gives at most so many.
const STEPS_USUAL: u64 = 200;
const HOUR_MS: u64 = 3_600_000;
/// Subjects of a top list.
const TOP_MAX: u32 = 1_000;

/// What was counted of one subject in one step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "at": "2026-11-21T08:00:00Z", "subject": "acme/mobile", "requests": 120, "errors": 3,
    "error_rate": 0.025, "by_class": { "2xx": 117, "4xx": 3 }, "refusals": { "limit": 3 },
    "bytes_in": 18000, "bytes_out": 130000, "p50_us": 350, "p90_us": 700, "p99_us": 2100
}))]
pub struct UsageView {
    /// Start of the step; null: the whole period.
    pub at: Option<Moment>,
    /// Of whom or what; null: of all, or of requests that have none.
    pub subject: Option<String>,
    /// How many.
    pub requests: u64,
    /// Those answered with a status from 400 on, or not at all.
    pub errors: u64,
    /// Their share, 0 to 1.
    pub error_rate: f64,
    /// How many by the first digit of the status; `none`: no answer was sent.
    pub by_class: BTreeMap<String, u64>,
    /// How many the gateway itself refused, by cause.
    pub refusals: BTreeMap<String, u64>,
    /// Bytes from clients.
    pub bytes_in: u64,
    /// Bytes to clients.
    pub bytes_out: u64,
    /// Half of the requests took at most this many microseconds, to within an eighth; null: none
    /// was measured.
    pub p50_us: Option<u64>,
    /// Nine of ten did.
    pub p90_us: Option<u64>,
    /// 99 of 100 did.
    pub p99_us: Option<u64>,
}

/// Usage that a node counted and had to drop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DroppedView {
    /// The node.
    pub node: String,
    /// Requests.
    pub requests: u64,
}

/// Usage of a period.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct UsageReport {
    /// Its beginning.
    pub from: Moment,
    /// Its end.
    pub to: Moment,
    /// The steps that it is told in; null: as a whole.
    pub step: Option<Step>,
    /// The sums, the oldest step first; of a top list, the loudest subject first.
    pub items: Vec<UsageView>,
    /// What is missing from them, because nodes had no room to keep it.
    pub dropped: Vec<DroppedView>,
}

/// Which usage; every filter narrows.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct UsageQuery {
    /// Tell it by this; default: all together.
    by: Option<Dimension>,
    /// Tell it in these steps; default: the finest that makes at most 200 of the period.
    step: Option<Step>,
    /// From this moment on; default: an hour before `to`.
    from: Option<Moment>,
    /// Before this moment; default: now.
    to: Option<Moment>,
    /// By this key.
    #[param(value_type = Option<KeyIdText>)]
    key: Option<KeyId>,
    /// By keys of this tenant.
    tenant: Option<Name>,
    /// By keys of this app; goes with `tenant`.
    app: Option<Name>,
    /// Of this API.
    api: Option<Name>,
}

/// By what a top list is ordered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TopOrder {
    /// Most requests first.
    #[default]
    Requests,
    /// Most errors first.
    Errors,
    /// Highest share of errors first.
    ErrorRate,
    /// Most bytes to clients first.
    BytesOut,
    /// Slowest by the 99th percentile first.
    P99,
}

/// Which top list.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct TopQuery {
    /// Of these; default `key`.
    by: Option<Dimension>,
    /// By this; default `requests`.
    order: Option<TopOrder>,
    /// How many, 1 to 1000; default 10.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// From this moment on; default: an hour before `to`.
    from: Option<Moment>,
    /// Before this moment; default: now.
    to: Option<Moment>,
    /// By keys of this tenant.
    tenant: Option<Name>,
    /// Of this API.
    api: Option<Name>,
}

/// Sums up usage by step and subject.
#[utoipa::path(get, path = "/v1/usage", tag = "usage", params(UsageQuery),
    responses((status = 200, description = "The oldest step first", body = UsageReport)))]
pub(super) async fn report(
    State(admin): State<Admin>,
    Query(query): Query<UsageQuery>,
) -> Result<Shown<UsageReport>, Problem> {
    if query.app.is_some() && query.tenant.is_none() {
        let problem = "goes with `tenant`: two tenants may have apps of one name";
        return Err(Problem::invalid("app", problem));
    }
    let (from_ms, to_ms) = period(&admin, query.from, query.to)?;
    let filter = UsageFilter {
        key: query.key,
        tenant: query.tenant,
        app: query.app,
        api: query.api,
        from_ms,
        to_ms,
    };
    let step = query.step.unwrap_or_else(|| usual_step(from_ms, to_ms));
    let by = query.by;
    let read = move |rows: &Rows<'_>| {
        known(rows, &filter)?;
        let dropped = rows.usage_dropped(from_ms, to_ms)?;
        Ok((rows.usage(&filter, by, step, false)?, dropped))
    };
    let (sums, dropped) = admin.control.store.read(read).await.map_err(misnamed)?;
    Ok(Shown(UsageReport {
        from: Moment::at_ms(from_ms),
        to: Moment::at_ms(to_ms),
        step: Some(step),
        items: sums.into_iter().map(|sum| view(sum, true)).collect(),
        dropped: dropped_views(dropped),
    }))
}

/// Lists the loudest keys, apps, tenants, APIs or routes.
#[utoipa::path(get, path = "/v1/usage/top", tag = "usage", params(TopQuery),
    responses((status = 200, description = "The first by the order", body = UsageReport)))]
pub(super) async fn top(
    State(admin): State<Admin>,
    Query(query): Query<TopQuery>,
) -> Result<Shown<UsageReport>, Problem> {
    let limit = query.limit.unwrap_or(10);
    if !(1..=TOP_MAX).contains(&limit) {
        return Err(Problem::invalid("limit", format!("from 1 to {TOP_MAX}")));
    }
    let (from_ms, to_ms) = period(&admin, query.from, query.to)?;
    let filter = UsageFilter {
        tenant: query.tenant,
        api: query.api,
        from_ms,
        to_ms,
        ..UsageFilter::default()
    };
    // As coarse as the period's ends allow, and no finer than what is kept.
    let step = usual_step(from_ms, to_ms);
    let by = query.by.unwrap_or(Dimension::Key);
    let read = move |rows: &Rows<'_>| {
        known(rows, &filter)?;
        let dropped = rows.usage_dropped(from_ms, to_ms)?;
        Ok((rows.usage(&filter, Some(by), step, true)?, dropped))
    };
    let (sums, dropped) = admin.control.store.read(read).await.map_err(misnamed)?;
    let mut items: Vec<UsageView> = sums.into_iter().map(|sum| view(sum, false)).collect();
    let order = query.order.unwrap_or_default();
    items.sort_by(|one, other| ordered(order, other, one));
    items.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    Ok(Shown(UsageReport {
        from: Moment::at_ms(from_ms),
        to: Moment::at_ms(to_ms),
        step: None,
        items,
        dropped: dropped_views(dropped),
    }))
}

fn ordered(order: TopOrder, one: &UsageView, other: &UsageView) -> std::cmp::Ordering {
    let first = match order {
        TopOrder::Requests => one.requests.cmp(&other.requests),
        TopOrder::Errors => one.errors.cmp(&other.errors),
        TopOrder::ErrorRate => one.error_rate.total_cmp(&other.error_rate),
        TopOrder::BytesOut => one.bytes_out.cmp(&other.bytes_out),
        TopOrder::P99 => one.p99_us.cmp(&other.p99_us),
    };
    first
        .then(one.requests.cmp(&other.requests))
        .then(other.subject.cmp(&one.subject))
}

/// A period as asked for; where nothing is said, the last hour.
pub(super) fn period(
    admin: &Admin,
    from: Option<Moment>,
    to: Option<Moment>,
) -> Result<(u64, u64), Problem> {
    let to_ms = to.map_or_else(|| admin.control.clock.wall().0 + 1, Moment::ms);
    let from_ms = from.map_or(to_ms.saturating_sub(HOUR_MS), Moment::ms);
    if from_ms >= to_ms {
        return Err(Problem::invalid("to", "lies after `from`"));
    }
    Ok((from_ms, to_ms))
}

fn usual_step(from_ms: u64, to_ms: u64) -> Step {
    let fits = |step: &Step| (to_ms - from_ms) / step.ms() <= STEPS_USUAL;
    Step::ALL.into_iter().find(fits).unwrap_or(Step::Day)
}

/// A misspelled name would otherwise look like one that nobody calls.
fn known(rows: &Rows<'_>, filter: &UsageFilter) -> Result<(), StoreError> {
    if let Some(api) = &filter.api {
        rows.api(api)?;
    }
    match (&filter.tenant, &filter.app) {
        (Some(tenant), Some(app)) => rows.app(tenant, app).map(drop),
        (Some(tenant), None) => rows.tenant(tenant).map(drop),
        (None, _) => Ok(()),
    }
}

/// A filter that names nothing is a fault of the question.
fn misnamed(error: StoreError) -> Problem {
    Problem::of_body(error, |subject| match subject {
        Subject::Api => Some("api"),
        Subject::Tenant => Some("tenant"),
        Subject::App => Some("app"),
        _ => None,
    })
}

fn dropped_views(dropped: Vec<(String, u64)>) -> Vec<DroppedView> {
    let view = |(node, requests)| DroppedView { node, requests };
    dropped.into_iter().map(view).collect()
}

#[expect(clippy::cast_precision_loss, reason = "a share, for people")]
fn view(sum: UsageSum, with_time: bool) -> UsageView {
    let errors = sum.by_class[0] + sum.by_class[4] + sum.by_class[5];
    let named = |(class, count): (usize, u64)| {
        let name = match class {
            0 => "none".to_owned(),
            class => format!("{class}xx"),
        };
        (count > 0).then_some((name, count))
    };
    UsageView {
        at: with_time.then(|| Moment::at_ms(sum.at_ms)),
        errors,
        error_rate: if sum.requests == 0 {
            0.0
        } else {
            errors as f64 / sum.requests as f64
        },
        by_class: sum
            .by_class
            .into_iter()
            .enumerate()
            .filter_map(named)
            .collect(),
        requests: sum.requests,
        bytes_in: sum.bytes_in,
        bytes_out: sum.bytes_out,
        p50_us: sum.latency.quantile_us(0.5),
        p90_us: sum.latency.quantile_us(0.9),
        p99_us: sum.latency.quantile_us(0.99),
        refusals: sum.refusals,
        subject: sum.subject,
    }
}
