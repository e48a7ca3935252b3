//! Upstreams: named sets of servers.

use super::{Invalid, Name, UpstreamNumber};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

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
    pub targets: Vec<SocketAddr>,
    /// Longest time to a connection, 1 ms to one day.
    pub connect_timeout_ms: u32,
    /// Longest time to the answer's head, and between two reads of its body.
    pub response_timeout_ms: u32,
}

/// An upstream as written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RawUpstream {
    /// Unique name.
    pub name: String,
    /// `ip:port` each (`[ip]:port` for IPv6).
    pub targets: Vec<String>,
    /// Default 1000.
    #[serde(default = "connect_timeout_ms")]
    pub connect_timeout_ms: u32,
    /// Default 30000.
    #[serde(default = "response_timeout_ms")]
    pub response_timeout_ms: u32,
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
        for (index, text) in raw.targets.iter().enumerate() {
            let target = check_target(text).map_err(|e| e.within(format!("targets[{index}]")))?;
            if targets.contains(&target) {
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
        })
    }
}

fn check_target(text: &str) -> Result<SocketAddr, Invalid> {
    let target: SocketAddr = text.parse().map_err(|_| {
        Invalid::value("a target is `ip:port`, or `[ip]:port` for IPv6; names are not resolved")
    })?;
    if target.port() == 0 || target.ip().is_unspecified() {
        return Err(Invalid::value(
            "a target has a real address and a port other than 0",
        ));
    }
    Ok(target)
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
