//! Apps: what calls APIs, and owns the keys that it calls them with.

use super::Admin;
use super::answer::{Answered, Changed, Gone, Shown, WaitQuery, Waiting};
use super::asked::Asked;
use super::body::Nothing;
use super::problem::Problem;
use super::query::{Listed, PageQuery, Path, Query};
use super::time::Moment;
use crate::domain::{App, AppSpec, Name};
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "name": "mobile", "tenant": "acme", "number": 1, "enabled": true, "unlimited": false,
    "created_at": "2026-11-21T08:00:00Z"
}))]
pub struct AppView {
    /// Unique within its tenant; never changes.
    pub name: Name,
    /// The tenant that it belongs to.
    pub tenant: Name,
    /// Stable number, over all tenants.
    pub number: u32,
    /// A disabled app's keys are refused.
    pub enabled: bool,
    /// True: the limits of its plans do not hold for its keys.
    #[serde(default)]
    pub unlimited: bool,
    /// When it was made.
    pub created_at: Moment,
}

impl From<App> for AppView {
    fn from(app: App) -> Self {
        Self {
            name: app.name,
            tenant: app.tenant_name,
            number: app.number.0,
            enabled: app.enabled,
            unlimited: app.unlimited,
            created_at: Moment::at_ms(app.created_ms),
        }
    }
}

/// What changes of an app; what is left out stays.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AppPatch {
    /// False: its keys are refused.
    #[serde(default)]
    enabled: Option<bool>,
    /// True: the limits of its plans do not hold for its keys.
    #[serde(default)]
    unlimited: Option<bool>,
}

/// Lists the apps of all tenants.
#[utoipa::path(get, path = "/v1/apps", tag = "apps", params(PageQuery),
    responses((status = 200, description = "Apps by number", body = Listed<AppView>)))]
pub(super) async fn list(
    State(admin): State<Admin>,
    Query(query): Query<PageQuery>,
) -> Result<Shown<Listed<AppView>>, Problem> {
    let page = query.page()?;
    let apps = admin
        .control
        .store
        .read(move |rows| rows.apps(None, page))
        .await?;
    Ok(Shown(Listed::of(apps, AppView::from)))
}

/// Lists the apps of a tenant.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/apps", tag = "apps",
    params(("tenant" = Name, Path, description = "Its name"), PageQuery),
    responses((status = 200, description = "Apps by number", body = Listed<AppView>)))]
pub(super) async fn list_of_tenant(
    State(admin): State<Admin>,
    Path(tenant): Path<Name>,
    Query(query): Query<PageQuery>,
) -> Result<Shown<Listed<AppView>>, Problem> {
    let page = query.page()?;
    let apps = admin
        .control
        .store
        .read(move |rows| {
            let tenant = rows.tenant(&tenant)?;
            rows.apps(Some(tenant.number), page)
        })
        .await?;
    Ok(Shown(Listed::of(apps, AppView::from)))
}

/// Makes an app.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/apps", tag = "apps",
    params(("tenant" = Name, Path, description = "Its name"), WaitQuery),
    request_body(content = AppSpec, example = json!({ "name": "mobile" })),
    responses((status = 201, description = "The app", body = Changed<AppView>)))]
pub(super) async fn create(
    State(admin): State<Admin>,
    Path(tenant): Path<Name>,
    Waiting(timeout): Waiting,
    asked: Asked<AppSpec>,
) -> Answered<AppView> {
    let spec = asked.body;
    let store = &admin.control.store;
    let outcome = store
        .write(asked.author, move |tx| tx.app_create(&tenant, spec))
        .await?;
    Ok(admin
        .changed(outcome, timeout, AppView::from)
        .await
        .created())
}

/// Shows an app.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/apps/{app}", tag = "apps",
    params(("tenant" = Name, Path, description = "Its tenant"),
        ("app" = Name, Path, description = "Its name")),
    responses((status = 200, description = "The app", body = AppView)))]
pub(super) async fn show(
    State(admin): State<Admin>,
    Path((tenant, name)): Path<(Name, Name)>,
) -> Result<Shown<AppView>, Problem> {
    let app = admin
        .control
        .store
        .read(move |rows| rows.app(&tenant, &name))
        .await?;
    Ok(Shown(app.into()))
}

/// Switches an app, and with it all its keys, on or off, or lifts it above the limits of plans.
#[utoipa::path(patch, path = "/v1/tenants/{tenant}/apps/{app}", tag = "apps",
    params(("tenant" = Name, Path, description = "Its tenant"),
        ("app" = Name, Path, description = "Its name"), WaitQuery),
    request_body(content = AppPatch, example = json!({ "enabled": false })),
    responses((status = 200, description = "The app", body = Changed<AppView>)))]
pub(super) async fn update(
    State(admin): State<Admin>,
    Path((tenant, name)): Path<(Name, Name)>,
    Waiting(timeout): Waiting,
    asked: Asked<AppPatch>,
) -> Answered<AppView> {
    let patch = asked.body;
    let outcome = admin
        .control
        .store
        .write(asked.author, move |tx| {
            let app = tx.app(&tenant, &name)?;
            if let Some(enabled) = patch.enabled {
                tx.app_set_enabled(app.number, enabled)?;
            }
            if let Some(unlimited) = patch.unlimited {
                tx.app_set_unlimited(app.number, unlimited)?;
            }
            tx.app_numbered(app.number)
        })
        .await?;
    Ok(admin.changed(outcome, timeout, AppView::from).await)
}

/// Deletes an app: revokes its keys for good, cancels its subscriptions and frees its name.
#[utoipa::path(delete, path = "/v1/tenants/{tenant}/apps/{app}", tag = "apps",
    params(("tenant" = Name, Path, description = "Its tenant"),
        ("app" = Name, Path, description = "Its name"), WaitQuery),
    responses((status = 200, description = "It is gone", body = Changed<Gone>)))]
pub(super) async fn delete(
    State(admin): State<Admin>,
    Path((tenant, name)): Path<(Name, Name)>,
    Waiting(timeout): Waiting,
    asked: Asked<Nothing>,
) -> Answered<Gone> {
    let outcome = admin
        .control
        .store
        .write(asked.author, move |tx| {
            let app = tx.app(&tenant, &name)?;
            tx.app_delete(app.number)
        })
        .await?;
    Ok(admin.changed(outcome, timeout, |()| Gone {}).await)
}
