//! Tenants: organizations that see nothing of one another.

use super::{Name, TenantNumber};
use serde::{Deserialize, Serialize};

/// A tenant as the store keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tenant {
    /// Stable number.
    pub number: TenantNumber,
    /// Unique among the tenants that are not deleted; never changes.
    pub name: Name,
    /// A disabled tenant's keys are refused.
    pub enabled: bool,
    /// Milliseconds since the epoch.
    pub created_ms: u64,
}

/// What a person says to make a tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TenantSpec {
    /// Unique name.
    pub name: Name,
    /// True unless said otherwise.
    #[serde(default = "enabled")]
    pub enabled: bool,
}

pub(super) fn enabled() -> bool {
    true
}
