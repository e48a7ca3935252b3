//! Plans: which APIs are included, and how much of them.

use super::Admin;
use super::answer::{Answered, Changed, Gone, Shown, WaitQuery, Waiting};
use super::asked::Asked;
use super::body::Nothing;
use super::problem::Problem;
use super::query::{Listed, PageQuery, Path, Query};
use super::upstreams::same_name;
use crate::domain::{Name, Plan, PlanSpec, RawPlan, Subject};
use crate::store::StoreError;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "number": 1, "name": "free", "apis": ["orders"],
    "limits": [{ "name": "burst", "requests": 10, "per": "second", "burst": 20 }]
}))]
pub struct PlanView {
    /// Stable number.
    pub number: u32,
    /// What it is.
    #[serde(flatten)]
    #[schema(value_type = RawPlan)]
    pub spec: PlanSpec,
}

impl From<Plan> for PlanView {
    fn from(plan: Plan) -> Self {
        Self {
            number: plan.number.0,
            spec: plan.spec(),
        }
    }
}

/// Lists plans.
#[utoipa::path(get, path = "/v1/plans", tag = "plans", params(PageQuery),
    responses((status = 200, description = "Plans by number", body = Listed<PlanView>)))]
pub(super) async fn list(
    State(admin): State<Admin>,
    Query(query): Query<PageQuery>,
) -> Result<Shown<Listed<PlanView>>, Problem> {
    let page = query.page()?;
    let plans = admin
        .control
        .store
        .read(move |rows| rows.plans(page))
        .await?;
    Ok(Shown(Listed::of(plans, PlanView::from)))
}

/// Makes a plan.
#[utoipa::path(post, path = "/v1/plans", tag = "plans", params(WaitQuery),
    request_body(content = RawPlan, example = json!({
        "name": "free", "apis": ["orders"],
        "limits": [{ "name": "burst", "requests": 10, "per": "second", "burst": 20 }]
    })),
    responses((status = 201, description = "The plan", body = Changed<PlanView>)))]
pub(super) async fn create(
    State(admin): State<Admin>,
    Waiting(timeout): Waiting,
    asked: Asked<RawPlan>,
) -> Answered<PlanView> {
    let spec = PlanSpec::try_from(asked.body)?;
    let store = &admin.control.store;
    let outcome = store
        .write(asked.author, |tx| tx.plan_create(spec))
        .await
        .map_err(of_body)?;
    Ok(admin
        .changed(outcome, timeout, PlanView::from)
        .await
        .created())
}

/// Shows a plan.
#[utoipa::path(get, path = "/v1/plans/{plan}", tag = "plans",
    params(("plan" = Name, Path, description = "Its name")),
    responses((status = 200, description = "The plan", body = PlanView)))]
pub(super) async fn show(
    State(admin): State<Admin>,
    Path(name): Path<Name>,
) -> Result<Shown<PlanView>, Problem> {
    let plan = admin
        .control
        .store
        .read(move |rows| rows.plan(&name))
        .await?;
    Ok(Shown(plan.into()))
}

/// Changes a plan to what is sent; its name stays, and limits go on counting under their names.
#[utoipa::path(put, path = "/v1/plans/{plan}", tag = "plans",
    params(("plan" = Name, Path, description = "Its name"), WaitQuery),
    request_body(content = RawPlan, example = json!({
        "name": "free", "apis": ["orders"],
        "limits": [{ "name": "burst", "requests": 20, "per": "second" }]
    })),
    responses((status = 200, description = "The plan", body = Changed<PlanView>)))]
pub(super) async fn replace(
    State(admin): State<Admin>,
    Path(name): Path<Name>,
    Waiting(timeout): Waiting,
    asked: Asked<RawPlan>,
) -> Answered<PlanView> {
    let spec = PlanSpec::try_from(asked.body)?;
    same_name(&name, &spec.name)?;
    let store = &admin.control.store;
    let outcome = store
        .write(asked.author, |tx| tx.plan_replace(spec))
        .await
        .map_err(of_body)?;
    Ok(admin.changed(outcome, timeout, PlanView::from).await)
}

/// Deletes a plan that no one subscribes to.
#[utoipa::path(delete, path = "/v1/plans/{plan}", tag = "plans",
    params(("plan" = Name, Path, description = "Its name"), WaitQuery),
    responses((status = 200, description = "It is gone", body = Changed<Gone>)))]
pub(super) async fn delete(
    State(admin): State<Admin>,
    Path(name): Path<Name>,
    Waiting(timeout): Waiting,
    asked: Asked<Nothing>,
) -> Answered<Gone> {
    let store = &admin.control.store;
    let outcome = store
        .write(asked.author, move |tx| tx.plan_delete(&name))
        .await?;
    Ok(admin.changed(outcome, timeout, |()| Gone {}).await)
}

fn of_body(error: StoreError) -> Problem {
    Problem::of_body(error, |subject| (subject == Subject::Api).then_some("apis"))
}
