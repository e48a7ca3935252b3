//! Keys as they are shown and listed. A key's secret is in one answer only: see
//! [`key_changes`](super::key_changes).

use super::Admin;
use super::answer::Shown;
use super::problem::Problem;
use super::query::{self, Listed, Path, Query};
use super::time::Moment;
use crate::domain::{
    Attributes, Environment, Key, KeyId, KeyOrigin, KeyState, Name, Scalar, Subject,
};
use crate::store::{KeyFilter, Rows, StoreError};
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// A key's public id, as text in the API's document.
#[derive(ToSchema)]
#[schema(as = KeyId, value_type = String, pattern = "^key_[0-9a-hjkmnp-tv-z]{13}$",
    examples("key_06t0q3zkd8v1w"))]
#[expect(
    dead_code,
    reason = "stands for the data plane's KeyId in the OpenAPI document"
)]
pub(super) struct KeyIdText(String);

/// A key, without anything of its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "id": "key_06t0q3zkd8v1w", "number": 1, "tenant": "acme", "app": "mobile",
    "environment": "live", "state": "active", "not_before": null,
    "not_after": "2027-11-21T08:00:00Z", "attributes": { "name": "ios", "tier": 2 },
    "unlimited": false, "origin": "issued", "rotated_from": null, "created_at": "2026-11-21T08:00:00Z",
    "revoked_at": null, "last_used_at": "2026-11-21T08:03:00Z"
}))]
pub struct KeyView {
    /// Public id.
    #[schema(value_type = KeyIdText)]
    pub id: KeyId,
    /// Stable number: the subject that its limits are counted for.
    pub number: u32,
    /// The app's tenant.
    pub tenant: Name,
    /// The app that owns it.
    pub app: Name,
    /// Where it is meant to be used.
    pub environment: Environment,
    /// Whether it may be used, beside its validity.
    pub state: KeyState,
    /// First second of its validity; null: since always.
    pub not_before: Option<Moment>,
    /// First second at which it is no longer valid; null: it never ends.
    pub not_after: Option<Moment>,
    /// The customer's own words about it.
    #[schema(value_type = BTreeMap<String, Scalar>)]
    pub attributes: Attributes,
    /// True: the limits of its plans do not hold for it.
    #[serde(default)]
    pub unlimited: bool,
    /// Whether it was made here or brought.
    pub origin: KeyOrigin,
    /// The key that it takes the place of.
    #[schema(value_type = Option<KeyIdText>)]
    pub rotated_from: Option<KeyId>,
    /// When it was made.
    pub created_at: Moment,
    /// When it was revoked.
    pub revoked_at: Option<Moment>,
    /// The last minute with a request by it, as far as nodes have reported.
    pub last_used_at: Option<Moment>,
}

impl From<Key> for KeyView {
    fn from(key: Key) -> Self {
        Self {
            id: key.id,
            number: key.number.0,
            tenant: key.tenant_name,
            app: key.app_name,
            environment: key.environment,
            state: key.state,
            not_before: key.validity.not_before_s().map(Moment::at_s),
            not_after: key.validity.not_after_s().map(Moment::at_s),
            attributes: key.attributes,
            unlimited: key.unlimited,
            origin: key.origin,
            rotated_from: key.rotated_from,
            created_at: Moment::at_ms(key.created_ms),
            revoked_at: key.revoked_ms.map(Moment::at_ms),
            last_used_at: key.last_used_ms.map(Moment::at_ms),
        }
    }
}

/// Which keys to list; every filter narrows.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct KeyQuery {
    /// Of this tenant.
    tenant: Option<Name>,
    /// Of this app; goes with `tenant`.
    app: Option<Name>,
    /// In this state.
    #[param(inline)]
    state: Option<KeyState>,
    /// In this environment.
    #[param(inline)]
    environment: Option<Environment>,
    /// Rows of the page, 1 to 1000; default 100.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

impl KeyQuery {
    fn filter(&self, rows: &Rows<'_>) -> Result<KeyFilter, StoreError> {
        let mut filter = KeyFilter {
            state: self.state,
            environment: self.environment,
            ..Default::default()
        };
        match (&self.tenant, &self.app) {
            (Some(tenant), Some(app)) => filter.app = Some(rows.app(tenant, app)?.number),
            (Some(tenant), None) => filter.tenant = Some(rows.tenant(tenant)?.number),
            (None, _) => {}
        }
        Ok(filter)
    }
}

/// Lists keys.
#[utoipa::path(get, path = "/v1/keys", tag = "keys", params(KeyQuery),
    responses((status = 200, description = "Keys by number", body = Listed<KeyView>)))]
pub(super) async fn list(
    State(admin): State<Admin>,
    Query(query): Query<KeyQuery>,
) -> Result<Shown<Listed<KeyView>>, Problem> {
    query::app_goes_with_tenant(query.tenant.as_ref(), query.app.as_ref())?;
    let page = query::page(query.limit, query.cursor.as_deref())?;
    let read = move |rows: &Rows<'_>| rows.keys(&query.filter(rows)?, page);
    let keys = admin.control.store.read(read).await.map_err(of_body)?;
    Ok(Shown(Listed::of(keys, KeyView::from)))
}

/// Shows a key.
#[utoipa::path(get, path = "/v1/keys/{key}", tag = "keys",
    params(("key" = KeyIdText, Path, description = "Its id")),
    responses((status = 200, description = "The key", body = KeyView)))]
pub(super) async fn show(
    State(admin): State<Admin>,
    Path(id): Path<KeyId>,
) -> Result<Shown<KeyView>, Problem> {
    let key = admin.control.store.read(move |rows| rows.key(id)).await?;
    Ok(Shown(key.into()))
}

/// A tenant or app that is named in a body or filter and is not there is a fault of the request.
pub(super) fn of_body(error: StoreError) -> Problem {
    Problem::of_body(error, |subject| match subject {
        Subject::Tenant => Some("tenant"),
        Subject::App => Some("app"),
        _ => None,
    })
}
