//! How an upstream is reached, chosen from, watched and retried, as a catalog writes it.
//!
//! Every field but an address may be left out. Control shows the same types in its own documents.
//! Absent on purpose: files and secrets. A TLS trust or identity is named here and lies in the
//! settings of each node, so that nothing published can make a node read a file.

use serde::{Deserialize, Serialize};

/// One server of an upstream.
///
/// Written as its address alone where nothing else is said of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "TargetForm", into = "TargetForm")]
pub struct TargetEntry {
    /// `ip:port` (`[ip]:port` for IPv6), `unix:/path`, or `name:port`, which stands for every address
    /// that the name has at the time, each with this weight.
    pub address: String,
    /// Its share beside the others', 0 to 1000; 0 takes it out.
    pub weight: u32,
}

/// The two ways to write a [`TargetEntry`].
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(untagged, deny_unknown_fields)]
enum TargetForm {
    Address(String),
    Weighted { address: String, weight: u32 },
}

const USUAL_WEIGHT: u32 = 1;

impl From<TargetForm> for TargetEntry {
    fn from(form: TargetForm) -> Self {
        match form {
            TargetForm::Address(address) => Self {
                address,
                weight: USUAL_WEIGHT,
            },
            TargetForm::Weighted { address, weight } => Self { address, weight },
        }
    }
}

impl From<TargetEntry> for TargetForm {
    fn from(TargetEntry { address, weight }: TargetEntry) -> Self {
        if weight == USUAL_WEIGHT {
            Self::Address(address)
        } else {
            Self::Weighted { address, weight }
        }
    }
}

#[cfg(feature = "schema")]
impl utoipa::PartialSchema for TargetEntry {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
        TargetForm::schema()
    }
}

#[cfg(feature = "schema")]
impl utoipa::ToSchema for TargetEntry {}

impl From<String> for TargetEntry {
    fn from(address: String) -> Self {
        TargetForm::Address(address).into()
    }
}

impl From<&str> for TargetEntry {
    fn from(address: &str) -> Self {
        address.to_owned().into()
    }
}

/// How a request's target is chosen among those that are fit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum BalanceEntry {
    /// In turns, by weight.
    #[default]
    RoundRobin,
    /// The one with fewer requests in flight of two chosen by chance, by weight.
    LeastInflight,
    /// The same one for the same value, as long as it is fit; few values move when targets come
    /// and go.
    Hash(super::Affinity),
}

/// TLS to the targets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct UpstreamTls {
    /// The name that is asked for and that the certificate must have; none: the target's own name
    /// or address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// Whose certificates are believed: a name from the node's settings; none: the public roots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust: Option<String>,
    /// The certificate that the node shows: a name from its settings; none: it shows none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
}

/// Asks each target from time to time whether it is fit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct HealthCheck {
    /// Path of a `GET`; none: a connection that opens is enough.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Host of the request; none: as for other requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Statuses of a fit target; none: 200 to 399.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub statuses: Vec<u16>,
    /// Time between two checks, 100 ms to one hour.
    pub interval_ms: u32,
    /// Longest time of one, at most the interval.
    pub timeout_ms: u32,
    /// Good checks in a row that make an unfit target fit, 1 to 100.
    pub healthy_after: u32,
    /// Bad checks in a row that make a fit target unfit, 1 to 100.
    pub unhealthy_after: u32,
}

impl Default for HealthCheck {
    fn default() -> Self {
        Self {
            path: None,
            host: None,
            statuses: Vec::new(),
            interval_ms: 5_000,
            timeout_ms: 1_000,
            healthy_after: 2,
            unhealthy_after: 3,
        }
    }
}

/// Ejects a target that fails more than it should, as judged by its answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Outlier {
    /// The time that is looked at, 1 s to one hour.
    pub window_ms: u32,
    /// Fewer requests in a window judge nobody.
    pub requests_min: u32,
    /// Failures (no answer, 500, 502, 503, 504) that eject, in percent of a window's requests.
    pub failure_percent: u32,
    /// How long it is out the first time; each time in a row as much longer, up to ten times.
    pub eject_ms: u32,
    /// Most targets that may be out at once, in percent of all.
    pub ejected_max_percent: u32,
}

impl Default for Outlier {
    fn default() -> Self {
        Self {
            window_ms: 10_000,
            requests_min: 20,
            failure_percent: 50,
            eject_ms: 30_000,
            ejected_max_percent: 50,
        }
    }
}

/// Stops sending to a target after failures in a row, then tries it with few requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Breaker {
    /// Failures in a row that open it.
    pub failures: u32,
    /// How long it stays open before a trial, doubled after each failed one up to one minute.
    pub open_ms: u32,
    /// Trials that may run at once while it is half open; as many good ones close it.
    pub trials: u32,
}

impl Default for Breaker {
    fn default() -> Self {
        Self {
            failures: 5,
            open_ms: 1_000,
            trials: 1,
        }
    }
}

/// When a request is sent to another target instead of being answered with a failure.
///
/// Only what is safe is repeated: nothing went to the client yet, the whole request is still at
/// hand, and either no byte of it can have been acted on or its method is idempotent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Retry {
    /// Tries after the first, 0 to 10.
    pub retries: u32,
    /// Answers that are tried elsewhere, of 500 to 599 and 429.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub statuses: Vec<u16>,
    /// Longest time of one try, if it is shorter than the whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub try_timeout_ms: Option<u32>,
    /// Retries that are allowed, in percent of the requests of the last ten seconds: an upstream
    /// that fails as a whole is not made worse.
    pub budget_percent: u32,
    /// Retries a second that are always allowed.
    pub budget_min_per_s: u32,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            retries: 1,
            statuses: Vec::new(),
            try_timeout_ms: None,
            budget_percent: 20,
            budget_min_per_s: 3,
        }
    }
}
