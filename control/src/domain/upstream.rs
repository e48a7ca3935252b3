//! Upstreams: named sets of servers.

use super::{Invalid, Name, UpstreamNumber};
use keyway::io::Endpoint;
use keyway::snapshot::catalog::{
    BalanceEntry, Breaker, HealthCheck, Outlier, Place, Retry, TargetEntry, UpstreamTls,
    is_usual_waiting, usual_waiting,
};
use serde::{Deserialize, Serialize};

/// Most targets in one upstream.
const TARGETS_MAX: usize = 1_000;
/// Longest deadline that may be set, milliseconds: one day.
const TIMEOUT_MS_MAX: u32 = 86_400_000;

/// An upstream as the store keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upstream {
    /// Stable number.
    pub number: UpstreamNumber,
    /// What it is.
    #[serde(flatten)]
    pub spec: UpstreamSpec,
}

/// What a person says an upstream is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawUpstream")]
pub struct UpstreamSpec {
    /// Unique name.
    pub name: Name,
    /// Servers, at least one.
    pub targets: Vec<TargetEntry>,
    /// Longest time to a connection, 1 ms to one day.
    pub connect_timeout_ms: u32,
    /// Longest time to the answer's head, and between two reads of its body.
    pub response_timeout_ms: u32,
    /// Longest time of a whole exchange, retries included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_timeout_ms: Option<u32>,
    /// Host that its targets are asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// How a target is chosen.
    #[serde(skip_serializing_if = "is_usual")]
    pub balance: BalanceEntry,
    /// Most connections of a worker to one target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections_max: Option<u32>,
    /// Most requests of a worker that wait for one of these connections.
    #[serde(skip_serializing_if = "is_usual_waiting")]
    pub waiting_max: u32,
    /// TLS to the targets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<UpstreamTls>,
    /// Active checks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthCheck>,
    /// Ejection by failure rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outlier: Option<Outlier>,
    /// Stop after failures in a row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub breaker: Option<Breaker>,
    /// Time over which a target that became fit gets its full share.
    #[serde(skip_serializing_if = "is_zero")]
    pub slow_start_ms: u32,
    /// Repetitions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
}

fn is_usual(balance: &BalanceEntry) -> bool {
    *balance == BalanceEntry::default()
}

fn is_zero(ms: &u32) -> bool {
    *ms == 0
}

/// An upstream as written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RawUpstream {
    /// Unique name.
    pub name: String,
    /// `ip:port` each (`[ip]:port` for IPv6), `unix:/path`, or `name:port` for every address that the
    /// name has; with a weight, 0 to 1000: `{ "address": "ip:port", "weight": 3 }`.
    pub targets: Vec<TargetEntry>,
    /// Default 1000.
    #[serde(default = "connect_timeout_ms")]
    pub connect_timeout_ms: u32,
    /// Default 30000.
    #[serde(default = "response_timeout_ms")]
    pub response_timeout_ms: u32,
    /// Longest time of a whole exchange, retries included. Default: as long as it moves on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_timeout_ms: Option<u32>,
    /// Host that its targets are asked for. Default: the client's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// `round_robin` (default), `least_inflight`, or `hash` with what binds requests.
    #[serde(default, skip_serializing_if = "is_usual")]
    pub balance: BalanceEntry,
    /// Most connections of a worker to one target. Default: no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections_max: Option<u32>,
    /// Most requests of a worker that wait for one of these connections, each no longer than
    /// `connect_timeout_ms`; 0: none waits. Default: 128.
    #[serde(default = "usual_waiting", skip_serializing_if = "is_usual_waiting")]
    pub waiting_max: u32,
    /// TLS to the targets. Default: plain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<UpstreamTls>,
    /// Asks each target from time to time whether it is fit. Default: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthCheck>,
    /// Ejection by failure rate. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outlier: Option<Outlier>,
    /// Stop after failures in a row. Default: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub breaker: Option<Breaker>,
    /// Time over which a target that became fit gets its full share. Default: at once.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub slow_start_ms: u32,
    /// When a request is sent to another target. Default: only where none has seen it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
}

fn connect_timeout_ms() -> u32 {
    1_000
}

fn response_timeout_ms() -> u32 {
    30_000
}

impl TryFrom<RawUpstream> for UpstreamSpec {
    type Error = Invalid;

    fn try_from(raw: RawUpstream) -> Result<Self, Invalid> {
        if raw.targets.is_empty() || raw.targets.len() > TARGETS_MAX {
            return Err(Invalid::at(
                "targets",
                format!("an upstream has 1 to {TARGETS_MAX} targets"),
            ));
        }
        let mut targets = Vec::with_capacity(raw.targets.len());
        for (index, target) in raw.targets.into_iter().enumerate() {
            check_target(&target).map_err(|e| e.within(format!("targets[{index}]")))?;
            if targets
                .iter()
                .any(|other: &TargetEntry| other.address == target.address)
            {
                return Err(Invalid::at(
                    format!("targets[{index}]"),
                    "this target stands twice",
                ));
            }
            targets.push(target);
        }
        Ok(Self {
            name: raw.name.parse().map_err(|e: Invalid| e.within("name"))?,
            targets,
            connect_timeout_ms: check_timeout("connect_timeout_ms", raw.connect_timeout_ms)?,
            response_timeout_ms: check_timeout("response_timeout_ms", raw.response_timeout_ms)?,
            total_timeout_ms: raw.total_timeout_ms,
            host: raw.host,
            balance: raw.balance,
            connections_max: raw.connections_max,
            waiting_max: raw.waiting_max,
            tls: raw.tls,
            health: raw.health,
            outlier: raw.outlier,
            breaker: raw.breaker,
            slow_start_ms: raw.slow_start_ms,
            retry: raw.retry,
        })
    }
}

fn check_target(target: &TargetEntry) -> Result<(), Invalid> {
    match target.address.parse() {
        Ok(Place::At(Endpoint::Tcp(address))) if address.ip().is_unspecified() => {
            Err(Invalid::value("a target has a real address"))
        }
        Ok(_) => Ok(()),
        Err(problem) => Err(Invalid::value(format!("a target {problem}"))),
    }
}

fn check_timeout(field: &str, value_ms: u32) -> Result<u32, Invalid> {
    if (1..=TIMEOUT_MS_MAX).contains(&value_ms) {
        Ok(value_ms)
    } else {
        Err(Invalid::at(
            field,
            format!("from 1 to {TIMEOUT_MS_MAX} milliseconds"),
        ))
    }
}
