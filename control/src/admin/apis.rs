//! APIs: what is published, where it answers and where its key travels.

use super::Admin;
use super::answer::{Answered, Changed, Gone, Shown, WaitQuery, Waiting};
use super::asked::Asked;
use super::body::Nothing;
use super::problem::Problem;
use super::query::{Listed, PageQuery, Path, Query};
use super::upstreams::same_name;
use crate::domain::{Api, ApiSpec, Name, RawApi, Subject};
use crate::store::StoreError;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "number": 1, "name": "orders", "version": "v1", "hosts": [], "upstream": "orders-origin",
    "routes": [{ "path": "/orders/*", "methods": ["GET", "POST"] }],
    "credential": { "header": null, "query": null }, "key_required": true
}))]
pub struct ApiView {
    /// Stable number.
    pub number: u32,
    /// What it is.
    #[serde(flatten)]
    #[schema(value_type = RawApi)]
    pub spec: ApiSpec,
}

impl From<Api> for ApiView {
    fn from(api: Api) -> Self {
        Self {
            number: api.number.0,
            spec: api.spec,
        }
    }
}

/// Lists APIs.
#[utoipa::path(get, path = "/v1/apis", tag = "apis", params(PageQuery),
    responses((status = 200, description = "APIs by number", body = Listed<ApiView>)))]
pub(super) async fn list(
    State(admin): State<Admin>,
    Query(query): Query<PageQuery>,
) -> Result<Shown<Listed<ApiView>>, Problem> {
    let page = query.page()?;
    let apis = admin
        .control
        .store
        .read(move |rows| rows.apis(page))
        .await?;
    Ok(Shown(Listed::of(apis, ApiView::from)))
}

/// Publishes a new API.
#[utoipa::path(post, path = "/v1/apis", tag = "apis", params(WaitQuery),
    request_body(content = RawApi, example = json!({
        "name": "orders", "upstream": "orders-origin",
        "routes": [{ "path": "/orders/*", "methods": ["GET", "POST"] }]
    })),
    responses((status = 201, description = "The API", body = Changed<ApiView>)))]
pub(super) async fn create(
    State(admin): State<Admin>,
    Waiting(timeout): Waiting,
    asked: Asked<RawApi>,
) -> Answered<ApiView> {
    let spec = ApiSpec::try_from(asked.body)?;
    let store = &admin.control.store;
    let outcome = store
        .write(asked.author, |tx| tx.api_create(spec))
        .await
        .map_err(of_body)?;
    Ok(admin
        .changed(outcome, timeout, ApiView::from)
        .await
        .created())
}

/// Shows an API.
#[utoipa::path(get, path = "/v1/apis/{api}", tag = "apis",
    params(("api" = Name, Path, description = "Its name")),
    responses((status = 200, description = "The API", body = ApiView)))]
pub(super) async fn show(
    State(admin): State<Admin>,
    Path(name): Path<Name>,
) -> Result<Shown<ApiView>, Problem> {
    let api = admin
        .control
        .store
        .read(move |rows| rows.api(&name))
        .await?;
    Ok(Shown(api.into()))
}

/// Changes an API to what is sent; its name stays.
#[utoipa::path(put, path = "/v1/apis/{api}", tag = "apis",
    params(("api" = Name, Path, description = "Its name"), WaitQuery),
    request_body(content = RawApi, example = json!({
        "name": "orders", "version": "v2", "upstream": "orders-origin",
        "routes": [{ "path": "/orders/*" }]
    })),
    responses((status = 200, description = "The API", body = Changed<ApiView>)))]
pub(super) async fn replace(
    State(admin): State<Admin>,
    Path(name): Path<Name>,
    Waiting(timeout): Waiting,
    asked: Asked<RawApi>,
) -> Answered<ApiView> {
    let spec = ApiSpec::try_from(asked.body)?;
    same_name(&name, &spec.name)?;
    let store = &admin.control.store;
    let outcome = store
        .write(asked.author, |tx| tx.api_replace(spec))
        .await
        .map_err(of_body)?;
    Ok(admin.changed(outcome, timeout, ApiView::from).await)
}

/// Deletes an API that no plan includes and no one subscribes to.
#[utoipa::path(delete, path = "/v1/apis/{api}", tag = "apis",
    params(("api" = Name, Path, description = "Its name"), WaitQuery),
    responses((status = 200, description = "It is gone", body = Changed<Gone>)))]
pub(super) async fn delete(
    State(admin): State<Admin>,
    Path(name): Path<Name>,
    Waiting(timeout): Waiting,
    asked: Asked<Nothing>,
) -> Answered<Gone> {
    let store = &admin.control.store;
    let outcome = store
        .write(asked.author, move |tx| tx.api_delete(&name))
        .await?;
    Ok(admin.changed(outcome, timeout, |()| Gone {}).await)
}

fn of_body(error: StoreError) -> Problem {
    Problem::of_body(error, |subject| {
        (subject == Subject::Upstream).then_some("upstream")
    })
}
