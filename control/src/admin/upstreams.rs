//! Upstreams: named sets of servers.

use super::Admin;
use super::answer::{Answered, Changed, Gone, Shown, WaitQuery, Waiting};
use super::asked::Asked;
use super::body::Nothing;
use super::problem::Problem;
use super::query::{Listed, PageQuery, Path, Query};
use crate::domain::{Name, RawUpstream, Upstream, UpstreamSpec};
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An upstream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "number": 1, "name": "orders-origin", "targets": ["127.0.0.1:9000"],
    "connect_timeout_ms": 1000, "response_timeout_ms": 30000
}))]
pub struct UpstreamView {
    /// Stable number.
    pub number: u32,
    /// What it is.
    #[serde(flatten)]
    #[schema(value_type = RawUpstream)]
    pub spec: UpstreamSpec,
}

impl From<Upstream> for UpstreamView {
    fn from(upstream: Upstream) -> Self {
        Self {
            number: upstream.number.0,
            spec: upstream.spec,
        }
    }
}

/// Lists upstreams.
#[utoipa::path(get, path = "/v1/upstreams", tag = "upstreams", params(PageQuery),
    responses((status = 200, description = "Upstreams by number", body = Listed<UpstreamView>)))]
pub(super) async fn list(
    State(admin): State<Admin>,
    Query(query): Query<PageQuery>,
) -> Result<Shown<Listed<UpstreamView>>, Problem> {
    let page = query.page()?;
    let upstreams = admin
        .control
        .store
        .read(move |rows| rows.upstreams(page))
        .await?;
    Ok(Shown(Listed::of(upstreams, UpstreamView::from)))
}

/// Makes an upstream.
#[utoipa::path(post, path = "/v1/upstreams", tag = "upstreams", params(WaitQuery),
    request_body(content = RawUpstream,
        example = json!({ "name": "orders-origin", "targets": ["127.0.0.1:9000"] })),
    responses((status = 201, description = "The upstream", body = Changed<UpstreamView>)))]
pub(super) async fn create(
    State(admin): State<Admin>,
    Waiting(timeout): Waiting,
    asked: Asked<RawUpstream>,
) -> Answered<UpstreamView> {
    let spec = UpstreamSpec::try_from(asked.body)?;
    let store = &admin.control.store;
    let outcome = store
        .write(asked.author, |tx| tx.upstream_create(spec))
        .await?;
    Ok(admin
        .changed(outcome, timeout, UpstreamView::from)
        .await
        .created())
}

/// Shows an upstream.
#[utoipa::path(get, path = "/v1/upstreams/{upstream}", tag = "upstreams",
    params(("upstream" = Name, Path, description = "Its name")),
    responses((status = 200, description = "The upstream", body = UpstreamView)))]
pub(super) async fn show(
    State(admin): State<Admin>,
    Path(name): Path<Name>,
) -> Result<Shown<UpstreamView>, Problem> {
    let upstream = admin
        .control
        .store
        .read(move |rows| rows.upstream(&name))
        .await?;
    Ok(Shown(upstream.into()))
}

/// Changes an upstream to what is sent; its name stays.
#[utoipa::path(put, path = "/v1/upstreams/{upstream}", tag = "upstreams",
    params(("upstream" = Name, Path, description = "Its name"), WaitQuery),
    request_body(content = RawUpstream, example = json!({
        "name": "orders-origin", "targets": ["127.0.0.1:9000", "127.0.0.1:9001"]
    })),
    responses((status = 200, description = "The upstream", body = Changed<UpstreamView>)))]
pub(super) async fn replace(
    State(admin): State<Admin>,
    Path(name): Path<Name>,
    Waiting(timeout): Waiting,
    asked: Asked<RawUpstream>,
) -> Answered<UpstreamView> {
    let spec = UpstreamSpec::try_from(asked.body)?;
    same_name(&name, &spec.name)?;
    let store = &admin.control.store;
    let outcome = store
        .write(asked.author, |tx| tx.upstream_replace(spec))
        .await?;
    Ok(admin.changed(outcome, timeout, UpstreamView::from).await)
}

/// Deletes an upstream that no API uses.
#[utoipa::path(delete, path = "/v1/upstreams/{upstream}", tag = "upstreams",
    params(("upstream" = Name, Path, description = "Its name"), WaitQuery),
    responses((status = 200, description = "It is gone", body = Changed<Gone>)))]
pub(super) async fn delete(
    State(admin): State<Admin>,
    Path(name): Path<Name>,
    Waiting(timeout): Waiting,
    asked: Asked<Nothing>,
) -> Answered<Gone> {
    let store = &admin.control.store;
    let outcome = store
        .write(asked.author, move |tx| tx.upstream_delete(&name))
        .await?;
    Ok(admin.changed(outcome, timeout, |()| Gone {}).await)
}

/// A replacement carries the name that it is addressed by: names are what others refer to.
pub(super) fn same_name(addressed: &Name, written: &Name) -> Result<(), Problem> {
    if addressed == written {
        Ok(())
    } else {
        Err(Problem::invalid(
            "name",
            format!("a name does not change; write `{addressed}`"),
        ))
    }
}
