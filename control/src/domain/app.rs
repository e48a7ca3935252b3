//! Apps: what calls APIs, and owns the keys that it calls them with.

use super::{AppNumber, Name, TenantNumber};
use serde::{Deserialize, Serialize};

/// An app as the store keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct App {
    /// Stable number, over all tenants.
    pub number: AppNumber,
    /// The tenant it belongs to.
    pub tenant: TenantNumber,
    /// That tenant's name.
    pub tenant_name: Name,
    /// Unique within its tenant; never changes.
    pub name: Name,
    /// A disabled app's keys are refused.
    pub enabled: bool,
    /// The limits of its plans do not hold for its keys.
    #[serde(default)]
    pub unlimited: bool,
    /// Milliseconds since the epoch.
    pub created_ms: u64,
}

/// What a person says to make an app inside a tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AppSpec {
    /// Unique within the tenant.
    pub name: Name,
    /// True unless said otherwise.
    #[serde(default = "super::tenant::enabled")]
    pub enabled: bool,
    /// True: the limits of its plans do not hold for its keys. Default: false.
    #[serde(default)]
    pub unlimited: bool,
}
