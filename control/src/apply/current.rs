//! What the store holds of the things that a document speaks of.

use super::{ApplyOptions, Gateway, TenantPart};
use crate::domain::{
    AlertRuleSpec, ApiSpec, App, AppNumber, KeyState, Name, PlanSpec, SubscriptionNumber,
    SubscriptionState, Tenant, UpstreamSpec,
};
use crate::store::{KeyFilter, PAGE_ROWS_MAX, Page, Paged, Rows, StoreError, SubscriptionFilter};
use std::collections::{BTreeMap, BTreeSet};

/// The store's side of a difference.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Current {
    /// All of them.
    pub upstreams: BTreeMap<Name, UpstreamSpec>,
    /// All of them.
    pub apis: BTreeMap<Name, ApiSpec>,
    /// All of them.
    pub plans: BTreeMap<Name, PlanSpec>,
    /// Those that the document names; all of them when it prunes tenants.
    pub tenants: BTreeMap<Name, CurrentTenant>,
    /// All of them.
    pub alert_rules: BTreeMap<Name, AlertRuleSpec>,
    /// All of them.
    pub webhooks: BTreeSet<Name>,
}

/// A tenant of the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CurrentTenant {
    /// Whether its keys count.
    pub enabled: bool,
    /// All of them.
    pub apps: BTreeMap<Name, CurrentApp>,
}

/// An app of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CurrentApp {
    /// Whether its keys count.
    pub enabled: bool,
    /// Whether the limits of plans do not hold for its keys.
    pub unlimited: bool,
    /// It has keys that are not revoked. Only looked for if the document would remove it.
    pub has_keys: bool,
    /// By API; those that are not cancelled.
    pub subscriptions: BTreeMap<Name, CurrentSubscription>,
}

/// A subscription of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CurrentSubscription {
    /// Its number.
    pub number: SubscriptionNumber,
    /// Under which plan.
    pub plan: Name,
    /// Where it stands.
    pub state: SubscriptionState,
}

/// Reads what there is. Only what the document speaks of is read, so that a small document is
/// applied quickly to a store with a million tenants.
pub fn current(
    rows: &Rows<'_>,
    desired: &Gateway,
    options: ApplyOptions,
) -> Result<Current, StoreError> {
    let mut current = Current::default();
    for upstream in all(|page| rows.upstreams(page))? {
        current
            .upstreams
            .insert(upstream.spec.name.clone(), upstream.spec);
    }
    for api in all(|page| rows.apis(page))? {
        current.apis.insert(api.spec.name.clone(), api.spec);
    }
    for plan in all(|page| rows.plans(page))? {
        current.plans.insert(plan.name.clone(), plan.spec());
    }
    if desired.alert_rules.is_some() {
        for spec in rows.alert_rules_all()? {
            current.alert_rules.insert(spec.name.clone(), spec);
        }
        for (webhook, _) in all(|page| rows.webhooks(page))? {
            current.webhooks.insert(webhook.name);
        }
    }
    let Some(named) = &desired.tenants else {
        return Ok(current);
    };
    let parts: BTreeMap<&Name, &TenantPart> = named.iter().map(|part| (&part.name, part)).collect();
    let tenants = if options.prune {
        all(|page| rows.tenants(page))?
    } else {
        parts
            .keys()
            .filter_map(|name| found(rows.tenant(name)))
            .collect::<Result<_, _>>()?
    };
    for tenant in tenants {
        let read = read_tenant(rows, &tenant, parts.get(&tenant.name).copied(), options)?;
        current.tenants.insert(tenant.name, read);
    }
    Ok(current)
}

/// `part`: what the document says of it; none: the document would remove it.
fn read_tenant(
    rows: &Rows<'_>,
    tenant: &Tenant,
    part: Option<&TenantPart>,
    options: ApplyOptions,
) -> Result<CurrentTenant, StoreError> {
    let mut apps = BTreeMap::new();
    // Without a word of its apps in the document they stay, whatever they are.
    let kept: Option<BTreeSet<&Name>> = match part {
        None => Some(BTreeSet::new()),
        Some(part) => part
            .apps
            .as_ref()
            .map(|apps| apps.iter().map(|app| &app.name).collect()),
    };
    if let Some(kept) = kept {
        for app in all(|page| rows.apps(Some(tenant.number), page))? {
            let leaves = options.prune && !kept.contains(&app.name);
            let read = read_app(rows, &app, leaves)?;
            apps.insert(app.name, read);
        }
    }
    Ok(CurrentTenant {
        enabled: tenant.enabled,
        apps,
    })
}

fn read_app(rows: &Rows<'_>, app: &App, leaves: bool) -> Result<CurrentApp, StoreError> {
    let filter = SubscriptionFilter {
        app: Some(app.number),
        ..Default::default()
    };
    let subscriptions = all(|page| rows.subscriptions(&filter, page))?
        .into_iter()
        .filter(|subscription| subscription.state != SubscriptionState::Cancelled)
        .map(|subscription| {
            let current = CurrentSubscription {
                number: subscription.number,
                plan: subscription.plan_name,
                state: subscription.state,
            };
            (subscription.api_name, current)
        })
        .collect();
    let has_keys = leaves && has_keys(rows, app.number)?;
    Ok(CurrentApp {
        enabled: app.enabled,
        unlimited: app.unlimited,
        has_keys,
        subscriptions,
    })
}

fn has_keys(rows: &Rows<'_>, app: AppNumber) -> Result<bool, StoreError> {
    for state in [KeyState::Active, KeyState::Disabled] {
        let filter = KeyFilter {
            app: Some(app),
            state: Some(state),
            ..Default::default()
        };
        if !rows.keys(&filter, Page::first(1))?.items.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Every row of a list.
fn all<T>(list: impl Fn(Page) -> Result<Paged<T>, StoreError>) -> Result<Vec<T>, StoreError> {
    let mut rows = Vec::new();
    let mut page = Page::first(PAGE_ROWS_MAX);
    loop {
        let paged = list(page)?;
        rows.extend(paged.items);
        match paged.next {
            Some(next) => page.after = Some(next),
            None => return Ok(rows),
        }
    }
}

/// What is not there is no error here.
fn found<T>(read: Result<T, StoreError>) -> Option<Result<T, StoreError>> {
    match read {
        Err(StoreError::NotFound { .. }) => None,
        other => Some(other),
    }
}
