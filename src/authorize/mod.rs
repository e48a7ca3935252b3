//! Authorize: may this caller do this?
//!
//! In: a [`Caller`] and the matched API. Out: a [`Permit`], which is
//! made only here, so that whatever asks for one has been through this stage.

use crate::authenticate::Caller;
use crate::refusal::Refusal;
use crate::snapshot::catalog::{Api, Plan, Tenant};
use crate::snapshot::{App, KeyRecord, View};

/// Evidence that a caller may use an API, and under which plan.
#[derive(Clone, Copy, Debug)]
pub struct Permit<'v> {
    key: KeyRecord,
    app: App<'v>,
    tenant: &'v Tenant,
    plan: &'v Plan,
}

impl<'v> Permit<'v> {
    /// The key that was shown.
    pub fn key(&self) -> &KeyRecord {
        &self.key
    }

    /// The key's app.
    pub fn app(&self) -> App<'v> {
        self.app
    }

    /// The app's tenant.
    pub fn tenant(&self) -> &'v Tenant {
        self.tenant
    }

    /// Whether the limits of the plan do not hold for this caller.
    pub fn is_unlimited(&self) -> bool {
        self.key.unlimited || self.app.unlimited
    }

    /// The plan under which the app may use the API.
    pub fn plan(&self) -> &'v Plan {
        self.plan
    }
}

/// Grants `api` to `caller`, if its app is enabled and has a grant for it.
///
/// A record that names an app, a tenant or a plan that the view does not hold grants nothing: a
/// gap in a snapshot must never open a door.
pub fn permit<'v>(view: &'v View, caller: Caller, api: &Api) -> Result<Permit<'v>, Refusal> {
    let key = caller.key;
    let app = view.app(key.app).ok_or(Refusal::KeyDisabled)?;
    let tenant = view
        .catalog()
        .tenant_by_number(app.tenant)
        .ok_or(Refusal::KeyDisabled)?;
    if !app.enabled || !tenant.enabled {
        return Err(Refusal::KeyDisabled);
    }
    let plan = app
        .plan_for(api.number)
        .and_then(|number| view.catalog().plan_by_number(number))
        .ok_or(Refusal::NotEntitled)?;
    Ok(Permit {
        key,
        app,
        tenant,
        plan,
    })
}
