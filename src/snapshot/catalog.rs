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

mod call_log;
mod check;
mod checked;
mod limits;
mod routes;
mod servers;
mod traffic;
mod upstreams;

pub use call_log::{CallLog, SampleShare};
pub use check::{CatalogError, CatalogProblem, TrafficFault, name_is_well_formed};
pub use checked::{Api, Catalog, Credential, Plan, Tenant};
pub use limits::{CalendarUnit, LimitEntry, LimitShape, LimitSubject, LimitUnit, NoShape};
pub use routes::Route;
pub use servers::{BalanceEntry, Breaker, HealthCheck, Outlier, Retry, TargetEntry, UpstreamTls};
pub use traffic::{
    Affinity, Answer, Condition, Cors, Field, HeaderEdits, Redirect, Respond, Rewrite, SplitEntry,
    VersionHeader, VersionPlace,
};
pub use upstreams::{Place, Target, Upstream};

/// The longest catalog section: beyond it a node refuses the file rather than decode it.
pub const CATALOG_BYTES_MAX: u64 = 64 << 20;
/// The most limits of one plan: each is checked on every request.
pub const LIMITS_MAX: usize = 16;
/// The longest period of a limit: 366 days.
pub const PERIOD_MS_MAX: u64 = 366 * 24 * 60 * 60 * 1_000;
/// The most units a rate may allow in a period or at once.
pub const REQUESTS_MAX: u64 = 1_000_000_000;
/// The most requests a quota may allow in a window.
pub const QUOTA_MAX: u64 = 1 << 42;
/// The most bytes a quota may allow in a window: 4 PiB.
pub const QUOTA_BYTES_MAX: u64 = 1 << 52;
/// The most requests in flight that a limit may allow.
pub const CONCURRENT_MAX: u32 = 10_000;
/// The highest number of a limit: what a word's tag has room for.
pub const LIMIT_NUMBER_MAX: u32 = (1 << 29) - 1;
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

/// One API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiEntry {
    /// Stable number, at least 1.
    pub number: u32,
    /// Unique name, `[a-z0-9][a-z0-9._-]{0,62}`.
    pub name: String,
    /// Version as its owner writes it; matched only where `version_in` says so.
    pub version: String,
    /// Where requests tell the version; absent: the version is only shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_in: Option<VersionPlace>,
    /// Hosts it answers on, lower case, without port: `api.example.com`, or `*.example.com` for
    /// every name below. Empty means every host.
    pub hosts: Vec<String>,
    /// At least one.
    pub routes: Vec<RouteEntry>,
    /// Number of the upstream that serves it.
    pub upstream: u32,
    /// Upstreams that requests are split between, by weight; `upstream` is one of them. Empty:
    /// `upstream` gets all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub split: Vec<SplitEntry>,
    /// Requests that agree in this take the same way of the split; absent: chance decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split_by: Option<Affinity>,
    /// Where its key travels.
    pub credential: CredentialEntry,
    /// False: served to anyone, no key asked.
    pub key_required: bool,
    /// Limits that every request to it is held to, before those of its caller's plan.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<LimitEntry>,
    /// Largest request body, if smaller than the node's; absent: the node's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_bytes_max: Option<u64>,
    /// Protocols that a client may switch to (RFC 9110, section 7.8), in lower case. `websocket`
    /// where nothing is said.
    #[serde(default = "usual_upgrades")]
    pub upgrades: Vec<String>,
    /// Changes to what the target reads.
    #[serde(default, skip_serializing_if = "HeaderEdits::is_empty")]
    pub request_headers: HeaderEdits,
    /// Changes to what the client reads.
    #[serde(default, skip_serializing_if = "HeaderEdits::is_empty")]
    pub response_headers: HeaderEdits,
    /// Calls from pages of other origins; absent: the gateway says nothing of them, and a
    /// preflight is a request like any other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cors: Option<Cors>,
    /// How its calls are logged.
    #[serde(default, skip_serializing_if = "CallLog::is_usual")]
    pub log: CallLog,
}

/// What [`ApiEntry::upgrades`] is where nothing is said.
pub fn usual_upgrades() -> Vec<String> {
    vec!["websocket".to_owned()]
}

impl Default for ApiEntry {
    /// An API without a name or a route: a start for one, not yet one.
    fn default() -> Self {
        Self {
            number: 0,
            name: String::new(),
            version: "v1".to_owned(),
            version_in: None,
            hosts: Vec::new(),
            routes: Vec::new(),
            upstream: 0,
            split: Vec::new(),
            split_by: None,
            credential: CredentialEntry::default(),
            key_required: true,
            limits: Vec::new(),
            body_bytes_max: None,
            upgrades: usual_upgrades(),
            request_headers: HeaderEdits::default(),
            response_headers: HeaderEdits::default(),
            cors: None,
            log: CallLog::default(),
        }
    }
}

/// One route: what it matches, and what becomes of what matched.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteEntry {
    /// `/orders` matches itself, `/orders/{id}` one whole segment, `/orders/*` the prefix at a
    /// segment boundary (`/orders`, `/orders/` and all below). The most specific one wins.
    pub path: String,
    /// Upper-case methods; empty means every method. `GET` includes `HEAD`.
    pub methods: Vec<String>,
    /// Headers that must be as said; all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<Condition>,
    /// Query parameters that must be as said; all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub query: Vec<Condition>,
    /// Number of the upstream that serves this route instead of the API's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<u32>,
    /// What the target is asked instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rewrite: Option<Rewrite>,
    /// The gateway's own answer; no target is asked then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Answer>,
    /// Changes to what the target reads, after the API's.
    #[serde(default, skip_serializing_if = "HeaderEdits::is_empty")]
    pub request_headers: HeaderEdits,
    /// Changes to what the client reads, after the API's.
    #[serde(default, skip_serializing_if = "HeaderEdits::is_empty")]
    pub response_headers: HeaderEdits,
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
    /// Its servers.
    pub targets: Vec<TargetEntry>,
    /// Longest time to a connection.
    pub connect_timeout_ms: u32,
    /// Longest time from the request's last byte to the answer's head, and between two reads of
    /// its body.
    pub response_timeout_ms: u32,
    /// Longest time of a whole exchange, retries included; absent: as long as it moves on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_timeout_ms: Option<u32>,
    /// Host that its targets are asked for; absent: the client's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// How a target is chosen.
    #[serde(default)]
    pub balance: BalanceEntry,
    /// Most connections to one target, idle ones included, per worker; absent: no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections_max: Option<u32>,
    /// Most requests of a worker that wait for a connection to one target when there are
    /// `connections_max`, each no longer than `connect_timeout_ms`; 0: none waits.
    #[serde(default = "usual_waiting", skip_serializing_if = "is_usual_waiting")]
    pub waiting_max: u32,
    /// TLS to the targets; absent: plain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<UpstreamTls>,
    /// Active checks; absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthCheck>,
    /// Ejection by failure rate; absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outlier: Option<Outlier>,
    /// Stop after failures in a row; absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub breaker: Option<Breaker>,
    /// Time over which a target that became fit gets its full share; 0: at once.
    #[serde(default)]
    pub slow_start_ms: u32,
    /// Repetitions; absent: only what no target has seen is sent again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
}

/// Requests that wait for a connection where nothing is said.
pub fn usual_waiting() -> u32 {
    128
}

/// Whether nothing needs to be said.
pub fn is_usual_waiting(waiting: &u32) -> bool {
    *waiting == usual_waiting()
}

impl Default for UpstreamEntry {
    /// An upstream without a name or a target, with the usual deadlines.
    fn default() -> Self {
        Self {
            number: 0,
            name: String::new(),
            targets: Vec::new(),
            connect_timeout_ms: 1_000,
            response_timeout_ms: 30_000,
            total_timeout_ms: None,
            host: None,
            balance: BalanceEntry::default(),
            connections_max: None,
            waiting_max: usual_waiting(),
            tls: None,
            health: None,
            outlier: None,
            breaker: None,
            slow_start_ms: 0,
            retry: None,
        }
    }
}
