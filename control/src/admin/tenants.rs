//! Tenants: organizations that see nothing of one another.

use super::Admin;
use super::answer::{Answered, Changed, Gone, Shown, WaitQuery, Waiting};
use super::asked::Asked;
use super::body::Nothing;
use super::problem::Problem;
use super::query::{Listed, PageQuery, Path, Query};
use super::time::Moment;
use crate::domain::{Name, Tenant, TenantSpec};
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "name": "acme", "number": 1, "enabled": true, "created_at": "2026-11-21T08:00:00Z"
}))]
pub struct TenantView {
    /// Unique name; never changes.
    pub name: Name,
    /// Stable number.
    pub number: u32,
    /// A disabled tenant's keys are refused.
    pub enabled: bool,
    /// When it was made.
    pub created_at: Moment,
}

impl From<Tenant> for TenantView {
    fn from(tenant: Tenant) -> Self {
        Self {
            name: tenant.name,
            number: tenant.number.0,
            enabled: tenant.enabled,
            created_at: Moment::at_ms(tenant.created_ms),
        }
    }
}

/// A switch.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Switch {
    /// False: its keys are refused.
    pub enabled: bool,
}

/// Lists tenants.
#[utoipa::path(get, path = "/v1/tenants", tag = "tenants", params(PageQuery),
    responses((status = 200, description = "Tenants by number", body = Listed<TenantView>)))]
pub(super) async fn list(
    State(admin): State<Admin>,
    Query(query): Query<PageQuery>,
) -> Result<Shown<Listed<TenantView>>, Problem> {
    let page = query.page()?;
    let tenants = admin
        .control
        .store
        .read(move |rows| rows.tenants(page))
        .await?;
    Ok(Shown(Listed::of(tenants, TenantView::from)))
}

/// Makes a tenant.
#[utoipa::path(post, path = "/v1/tenants", tag = "tenants", params(WaitQuery),
    request_body(content = TenantSpec, example = json!({ "name": "acme" })),
    responses((status = 201, description = "The tenant", body = Changed<TenantView>)))]
pub(super) async fn create(
    State(admin): State<Admin>,
    Waiting(timeout): Waiting,
    asked: Asked<TenantSpec>,
) -> Answered<TenantView> {
    let spec = asked.body;
    let outcome = admin
        .control
        .store
        .write(asked.author, |tx| tx.tenant_create(spec))
        .await?;
    Ok(admin
        .changed(outcome, timeout, TenantView::from)
        .await
        .created())
}

/// Shows a tenant.
#[utoipa::path(get, path = "/v1/tenants/{tenant}", tag = "tenants",
    params(("tenant" = Name, Path, description = "Its name")),
    responses((status = 200, description = "The tenant", body = TenantView)))]
pub(super) async fn show(
    State(admin): State<Admin>,
    Path(name): Path<Name>,
) -> Result<Shown<TenantView>, Problem> {
    let tenant = admin
        .control
        .store
        .read(move |rows| rows.tenant(&name))
        .await?;
    Ok(Shown(tenant.into()))
}

/// Switches a tenant, and with it all its keys, on or off.
#[utoipa::path(patch, path = "/v1/tenants/{tenant}", tag = "tenants",
    params(("tenant" = Name, Path, description = "Its name"), WaitQuery),
    request_body(content = Switch, example = json!({ "enabled": false })),
    responses((status = 200, description = "The tenant", body = Changed<TenantView>)))]
pub(super) async fn update(
    State(admin): State<Admin>,
    Path(name): Path<Name>,
    Waiting(timeout): Waiting,
    asked: Asked<Switch>,
) -> Answered<TenantView> {
    let enabled = asked.body.enabled;
    let store = &admin.control.store;
    let outcome = store
        .write(asked.author, move |tx| {
            tx.tenant_set_enabled(&name, enabled)
        })
        .await?;
    Ok(admin.changed(outcome, timeout, TenantView::from).await)
}

/// Deletes a tenant that has no apps.
#[utoipa::path(delete, path = "/v1/tenants/{tenant}", tag = "tenants",
    params(("tenant" = Name, Path, description = "Its name"), WaitQuery),
    responses((status = 200, description = "It is gone", body = Changed<Gone>)))]
pub(super) async fn delete(
    State(admin): State<Admin>,
    Path(name): Path<Name>,
    Waiting(timeout): Waiting,
    asked: Asked<Nothing>,
) -> Answered<Gone> {
    let outcome = admin
        .control
        .store
        .write(asked.author, move |tx| tx.tenant_delete(&name))
        .await?;
    Ok(admin.changed(outcome, timeout, |()| Gone {}).await)
}
