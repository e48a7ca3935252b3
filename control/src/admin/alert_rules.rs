//! Alert rules: what is watched, and who is told.

use super::Admin;
use super::answer::{Answered, Changed, Gone, Shown, WaitQuery, Waiting};
use super::asked::Asked;
use super::body::Nothing;
use super::problem::Problem;
use super::query::{Listed, PageQuery, Path, Query};
use super::upstreams::same_name;
use crate::alerts;
use crate::domain::{AlertRuleSpec, Name, RawAlertRule, Subject};
use crate::store::StoreError;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An alert rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "name": "stolen-key", "when": "unauthorized", "by": "key", "above": 100,
    "window_minutes": 1, "webhooks": ["ops"], "disable_key": true, "disable_max": 10
}))]
pub struct AlertRuleView {
    /// What it is.
    #[serde(flatten)]
    #[schema(value_type = RawAlertRule)]
    pub spec: AlertRuleSpec,
}

impl From<AlertRuleSpec> for AlertRuleView {
    fn from(spec: AlertRuleSpec) -> Self {
        Self { spec }
    }
}

/// Lists alert rules.
#[utoipa::path(get, path = "/v1/alert-rules", tag = "alert_rules", params(PageQuery),
    responses((status = 200, description = "In the order in which they were made",
        body = Listed<AlertRuleView>)))]
pub(super) async fn list(
    State(admin): State<Admin>,
    Query(query): Query<PageQuery>,
) -> Result<Shown<Listed<AlertRuleView>>, Problem> {
    let page = query.page()?;
    let store = &admin.control.store;
    let rules = store.read(move |rows| rows.alert_rules(page)).await?;
    Ok(Shown(Listed::of(rules, AlertRuleView::from)))
}

/// Makes an alert rule. It is looked at within seconds.
#[utoipa::path(post, path = "/v1/alert-rules", tag = "alert_rules", params(WaitQuery),
    request_body(content = RawAlertRule, example = json!({
        "name": "errors", "when": "errors", "by": "api", "above_share": 0.05
    })),
    responses((status = 201, description = "The rule", body = Changed<AlertRuleView>)))]
pub(super) async fn create(
    State(admin): State<Admin>,
    Waiting(timeout): Waiting,
    asked: Asked<RawAlertRule>,
) -> Answered<AlertRuleView> {
    let spec = AlertRuleSpec::try_from(asked.body)?;
    let store = &admin.control.store;
    let outcome = store
        .write(asked.author, |tx| tx.alert_rule_create(spec))
        .await
        .map_err(of_body)?;
    let answer = admin.changed(outcome, timeout, AlertRuleView::from);
    Ok(answer.await.created())
}

/// Shows an alert rule.
#[utoipa::path(get, path = "/v1/alert-rules/{rule}", tag = "alert_rules",
    params(("rule" = Name, Path, description = "Its name")),
    responses((status = 200, description = "The rule", body = AlertRuleView)))]
pub(super) async fn show(
    State(admin): State<Admin>,
    Path(name): Path<Name>,
) -> Result<Shown<AlertRuleView>, Problem> {
    let store = &admin.control.store;
    let rule = store.read(move |rows| rows.alert_rule(&name)).await?;
    Ok(Shown(rule.into()))
}

/// Changes an alert rule to what is sent; its name stays, and so does what it went off for, as long
/// as that is found by what it says now.
#[utoipa::path(put, path = "/v1/alert-rules/{rule}", tag = "alert_rules",
    params(("rule" = Name, Path, description = "Its name"), WaitQuery),
    request_body(content = RawAlertRule, example = json!({
        "name": "errors", "when": "errors", "by": "api", "above_share": 0.1
    })),
    responses((status = 200, description = "The rule", body = Changed<AlertRuleView>)))]
pub(super) async fn replace(
    State(admin): State<Admin>,
    Path(name): Path<Name>,
    Waiting(timeout): Waiting,
    asked: Asked<RawAlertRule>,
) -> Answered<AlertRuleView> {
    let spec = AlertRuleSpec::try_from(asked.body)?;
    same_name(&name, &spec.name)?;
    let store = &admin.control.store;
    let outcome = store
        .write(asked.author, |tx| tx.alert_rule_replace(spec))
        .await
        .map_err(of_body)?;
    Ok(admin.changed(outcome, timeout, AlertRuleView::from).await)
}

/// Deletes an alert rule. What it went off for is over, and its webhooks are told so.
#[utoipa::path(delete, path = "/v1/alert-rules/{rule}", tag = "alert_rules",
    params(("rule" = Name, Path, description = "Its name"), WaitQuery),
    responses((status = 200, description = "It is gone", body = Changed<Gone>)))]
pub(super) async fn delete(
    State(admin): State<Admin>,
    Path(name): Path<Name>,
    Waiting(timeout): Waiting,
    asked: Asked<Nothing>,
) -> Answered<Gone> {
    let store = &admin.control.store;
    let outcome = store
        .write(asked.author, move |tx| alerts::delete_rule(tx, &name))
        .await?;
    Ok(admin.changed(outcome, timeout, |()| Gone {}).await)
}

fn of_body(error: StoreError) -> Problem {
    Problem::of_body(error, |subject| {
        (subject == Subject::Webhook).then_some("webhooks")
    })
}
