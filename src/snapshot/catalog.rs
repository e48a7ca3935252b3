//! The small part of a snapshot: tenants, plans, APIs with routes, and upstreams.
//!
//! In the file it is one UTF-8 JSON section of [`CatalogFile`]; unknown fields are refused, since
//! an old node that overlooked a new restriction would fail open. An overlay carries the whole
//! catalog again, so the newest file of a view is the only one whose catalog counts.
//! [`Catalog`] is the checked form: every reference resolved to an index, routes compiled.
//!
//! `number`s are stable: control assigns them once and never reuses them, so that records of a
//! base stay true beside a newer catalog.

use serde::{Deserialize, Serialize};

mod check;
mod checked;

pub use check::{CatalogError, CatalogProblem, name_is_well_formed};
pub use checked::{Api, Catalog, Credential, Plan, Tenant, Upstream};

/// The longest catalog section: beyond it a node refuses the file rather than decode it.
pub const CATALOG_BYTES_MAX: u64 = 64 << 20;
/// The most limits of one plan: each is checked on every request.
pub const LIMITS_MAX: usize = 16;
/// The longest period of a limit: 366 days.
pub const PERIOD_MS_MAX: u64 = 366 * 24 * 60 * 60 * 1_000;
/// The most requests a limit may allow in a period or at once.
pub const REQUESTS_MAX: u64 = 1_000_000_000;
/// The longest deadline of an upstream: one day.
pub const TIMEOUT_MS_MAX: u32 = 24 * 60 * 60 * 1_000;

/// The catalog as written in the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogFile {
    /// Which forms of keys exist, so that garbage is refused before it costs a hash.
    pub key_formats: KeyFormats,
    /// Organizations.
    pub tenants: Vec<TenantEntry>,
    /// Tiers.
    pub plans: Vec<PlanEntry>,
    /// Published APIs.
    pub apis: Vec<ApiEntry>,
    /// Named sets of servers.
    pub upstreams: Vec<UpstreamEntry>,
}

/// Forms of keys that the snapshot holds beside Keyway's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyFormats {
    /// Keys imported in plain text with a form that is not ours: looked up like ours.
    pub foreign: bool,
    /// Keys imported as bare SHA-256: looked up by the keyed digest of the SHA-256.
    pub foreign_sha256: bool,
}

/// One tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TenantEntry {
    /// Stable number, at least 1.
    pub number: u32,
    /// Unique name, `[a-z0-9][a-z0-9._-]{0,62}`.
    pub name: String,
    /// A disabled tenant's keys are refused.
    pub enabled: bool,
}

/// One plan: what is included and how much of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanEntry {
    /// Stable number, at least 1.
    pub number: u32,
    /// Unique name, `[a-z0-9][a-z0-9._-]{0,62}`.
    pub name: String,
    /// Limits that every request under this plan is held to.
    pub limits: Vec<LimitEntry>,
}

/// One rate limit of a plan, counted per key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitEntry {
    /// Stable number over all plans, at least 1: names the limit's words in the bank.
    pub number: u32,
    /// Name in `RateLimit` and `RateLimit-Policy`, `[a-z0-9][a-z0-9._-]{0,62}`.
    pub name: String,
    /// Requests per period, at least 1.
    pub requests: u64,
    /// The period in milliseconds, at least 1.
    pub period_ms: u64,
    /// Requests that may come at once, at least 1.
    pub burst: u64,
}

/// One API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiEntry {
    /// Stable number, at least 1.
    pub number: u32,
    /// Unique name, `[a-z0-9][a-z0-9._-]{0,62}`.
    pub name: String,
    /// Version as its owner writes it; shown, not matched.
    pub version: String,
    /// Hosts it answers on, lower case, without port; empty means every host.
    pub hosts: Vec<String>,
    /// At least one.
    pub routes: Vec<RouteEntry>,
    /// Number of the upstream that serves it.
    pub upstream: u32,
    /// Where its key travels.
    pub credential: CredentialEntry,
    /// False: served to anyone, no key asked.
    pub key_required: bool,
}

/// One route: a path pattern and its methods.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteEntry {
    /// `/orders` matches itself, `/orders/{id}` one whole segment, `/orders/*` the prefix at a
    /// segment boundary (`/orders`, `/orders/` and all below). The most specific one wins.
    pub path: String,
    /// Upper-case methods; empty means every method. `GET` includes `HEAD`.
    pub methods: Vec<String>,
}

/// Where an API takes its key from, beside nothing else.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CredentialEntry {
    /// Header that carries the key instead of `Authorization: Bearer` and `X-API-Key`.
    pub header: Option<String>,
    /// Query parameter that may carry the key; off when absent.
    pub query: Option<String>,
}

/// One upstream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpstreamEntry {
    /// Stable number, at least 1.
    pub number: u32,
    /// Unique name, `[a-z0-9][a-z0-9._-]{0,62}`.
    pub name: String,
    /// Servers as `ip:port` (`[ip]:port` for IPv6).
    pub targets: Vec<String>,
    /// Longest time to a connection.
    pub connect_timeout_ms: u32,
    /// Longest time from the request's last byte to the answer's head, and between two reads of
    /// its body.
    pub response_timeout_ms: u32,
}
