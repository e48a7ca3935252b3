//! The document: as written, and as checked.

use crate::domain::{
    AlertRuleSpec, ApiSpec, Invalid, Name, PlanSpec, RawAlertRule, RawApi, RawPlan, RawUpstream,
    SubscriptionState, UpstreamSpec,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use utoipa::ToSchema;

/// `gateway.yaml` as written. A section that is not there is left alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "upstreams": [{ "name": "orders-origin", "targets": ["127.0.0.1:9000"] }],
    "apis": [{
        "name": "orders", "upstream": "orders-origin",
        "routes": [{ "path": "/orders/*", "methods": ["GET", "POST"] }]
    }],
    "plans": [{
        "name": "free", "apis": ["orders"],
        "limits": [{ "name": "burst", "requests": 10, "per": "second", "burst": 20 }]
    }],
    "tenants": [{
        "name": "acme",
        "apps": [{ "name": "mobile", "subscriptions": [{ "api": "orders", "plan": "free" }] }]
    }]
}))]
pub struct RawGateway {
    /// Named sets of servers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstreams: Option<Vec<RawUpstream>>,
    /// Published APIs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub apis: Option<Vec<RawApi>>,
    /// Tiers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plans: Option<Vec<RawPlan>>,
    /// Organizations with their apps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenants: Option<Vec<RawTenant>>,
    /// When somebody is told. Webhooks are made beforehand: each has a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alert_rules: Option<Vec<RawAlertRule>>,
}

/// A tenant as written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RawTenant {
    /// Unique name.
    pub name: String,
    /// Default: as it is; true for a new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Its apps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub apps: Option<Vec<RawApp>>,
}

/// An app as written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RawApp {
    /// Unique within its tenant.
    pub name: String,
    /// Default: as it is; true for a new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// True: the limits of its plans do not hold for its keys. Default: as it is; false for a new
    /// one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unlimited: Option<bool>,
    /// What it may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscriptions: Option<Vec<RawSubscription>>,
}

/// A subscription as written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RawSubscription {
    /// Name of an API; an app has one subscription to each.
    pub api: String,
    /// Name of a plan that includes the API.
    pub plan: String,
    /// `requested`, `approved` or `suspended`. Default: as it is; `approved` for a new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<SubscriptionState>,
}

/// The document as checked: each part by itself means something, no name stands twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gateway {
    /// Named sets of servers.
    pub upstreams: Option<Vec<UpstreamSpec>>,
    /// Published APIs.
    pub apis: Option<Vec<ApiSpec>>,
    /// Tiers.
    pub plans: Option<Vec<PlanSpec>>,
    /// Organizations with their apps.
    pub tenants: Option<Vec<TenantPart>>,
    /// When somebody is told.
    pub alert_rules: Option<Vec<AlertRuleSpec>>,
}

/// A tenant of the document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantPart {
    /// Unique name.
    pub name: Name,
    /// None: as it is.
    pub enabled: Option<bool>,
    /// None: not said.
    pub apps: Option<Vec<AppPart>>,
}

/// An app of the document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppPart {
    /// Unique within its tenant.
    pub name: Name,
    /// None: as it is.
    pub enabled: Option<bool>,
    /// None: as it is.
    pub unlimited: Option<bool>,
    /// None: not said.
    pub subscriptions: Option<Vec<SubscriptionPart>>,
}

/// A subscription of the document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriptionPart {
    /// To what.
    pub api: Name,
    /// Under which plan.
    pub plan: Name,
    /// None: as it is.
    pub state: Option<SubscriptionState>,
}

impl RawGateway {
    /// Checks every part by itself; answers all faults at once, each with its path.
    pub fn check(self) -> Result<Gateway, Vec<Invalid>> {
        let mut faults = Vec::new();
        let checked = Gateway {
            upstreams: section(self.upstreams, "upstreams", &mut faults, |raw, _| {
                let spec = UpstreamSpec::try_from(raw)?;
                Ok((spec.name.clone(), spec))
            }),
            apis: section(self.apis, "apis", &mut faults, |raw, _| {
                let spec = ApiSpec::try_from(raw)?;
                Ok((spec.name.clone(), spec))
            }),
            plans: section(self.plans, "plans", &mut faults, |raw, _| {
                let spec = PlanSpec::try_from(raw)?;
                Ok((spec.name.clone(), spec))
            }),
            tenants: section(self.tenants, "tenants", &mut faults, RawTenant::check),
            alert_rules: section(self.alert_rules, "alert_rules", &mut faults, |raw, _| {
                let spec = AlertRuleSpec::try_from(raw)?;
                Ok((spec.name.clone(), spec))
            }),
        };
        if faults.is_empty() {
            Ok(checked)
        } else {
            Err(faults)
        }
    }
}

impl RawTenant {
    fn check(self, faults: &mut Vec<Invalid>) -> Result<(Name, TenantPart), Invalid> {
        let name: Name = self.name.parse().map_err(|e: Invalid| e.within("name"))?;
        let apps = section(self.apps, "apps", faults, RawApp::check);
        Ok((
            name.clone(),
            TenantPart {
                name,
                enabled: self.enabled,
                apps,
            },
        ))
    }
}

impl RawApp {
    fn check(self, faults: &mut Vec<Invalid>) -> Result<(Name, AppPart), Invalid> {
        let name: Name = self.name.parse().map_err(|e: Invalid| e.within("name"))?;
        let check = |raw: RawSubscription, _: &mut Vec<Invalid>| raw.check();
        let subscriptions = section(self.subscriptions, "subscriptions", faults, check);
        Ok((
            name.clone(),
            AppPart {
                name,
                enabled: self.enabled,
                unlimited: self.unlimited,
                subscriptions,
            },
        ))
    }
}

impl RawSubscription {
    /// Known by its API: an app has one subscription to each.
    fn check(self) -> Result<(Name, SubscriptionPart), Invalid> {
        let api: Name = self.api.parse().map_err(|e: Invalid| e.within("api"))?;
        let plan = self.plan.parse().map_err(|e: Invalid| e.within("plan"))?;
        if self.state == Some(SubscriptionState::Cancelled) {
            return Err(Invalid::at(
                "state",
                "leave the subscription out, and apply with prune",
            ));
        }
        Ok((
            api.clone(),
            SubscriptionPart {
                api,
                plan,
                state: self.state,
            },
        ))
    }
}

/// Checks the items of a section. Faults inside an item come without its place, which is added
/// here on the way out.
fn section<R, T>(
    raw: Option<Vec<R>>,
    field: &str,
    faults: &mut Vec<Invalid>,
    check: impl Fn(R, &mut Vec<Invalid>) -> Result<(Name, T), Invalid>,
) -> Option<Vec<T>> {
    let raw = raw?;
    let mut seen = BTreeSet::new();
    let mut items = Vec::with_capacity(raw.len());
    for (index, one) in raw.into_iter().enumerate() {
        let place = format!("{field}[{index}]");
        let mut inner = Vec::new();
        match check(one, &mut inner) {
            Ok((name, item)) => {
                if !seen.insert(name.clone()) {
                    inner.push(Invalid::value(format!("`{name}` stands above already")));
                }
                items.push(item);
            }
            Err(invalid) => inner.push(invalid),
        }
        faults.extend(inner.into_iter().map(|invalid| invalid.within(&place)));
    }
    Some(items)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults_of(document: serde_json::Value) -> Vec<String> {
        let raw: RawGateway = serde_json::from_value(document).expect("well-formed");
        raw.check()
            .expect_err("faulty")
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn all_faults_are_told_at_once_each_with_its_path() {
        let faults = faults_of(serde_json::json!({
            "upstreams": [{ "name": "a", "targets": ["nowhere"] }],
            "plans": [{ "name": "Free" }, { "name": "p" }, { "name": "p" }],
            "tenants": [{ "name": "t", "apps": [{ "name": "x", "subscriptions": [
                { "api": "orders", "plan": "p", "state": "cancelled" }
            ]}]}]
        }));
        let paths: Vec<&str> = faults
            .iter()
            .filter_map(|f| f.split_once(": ").map(|(path, _)| path))
            .collect();
        assert_eq!(
            paths,
            [
                "upstreams[0].targets[0]",
                "plans[0].name",
                "plans[2]",
                "tenants[0].apps[0].subscriptions[0].state"
            ]
        );
    }

    #[test]
    fn an_empty_section_is_not_a_missing_one() {
        let raw: RawGateway = serde_json::from_str(r#"{"apis":[]}"#).expect("well-formed");
        let checked = raw.check().expect("sound");
        assert_eq!((checked.apis, checked.plans), (Some(Vec::new()), None));
    }
}
