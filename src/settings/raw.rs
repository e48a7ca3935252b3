//! The settings as written.
//!
//! Every field is optional here, so that a missing one is reported with its path and its mend
//! beside all other problems, instead of being the first and only error.

use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSettings {
    pub(super) node: Option<String>,
    pub(super) workers: Option<u64>,
    pub(super) driver: Option<String>,
    pub(super) listen: Option<Vec<RawListener>>,
    #[serde(default)]
    pub(super) tls: RawTls,
    #[serde(default)]
    pub(super) trust: Vec<RawTrust>,
    #[serde(default)]
    pub(super) identity: Vec<RawIdentity>,
    pub(super) pepper: Option<Vec<RawPepper>>,
    #[serde(default)]
    pub(super) admin: RawAdmin,
    #[serde(default)]
    pub(super) snapshot: RawSnapshot,
    #[serde(default)]
    pub(super) link: RawLink,
    #[serde(default)]
    pub(super) state: RawState,
    #[serde(default)]
    pub(super) access_log: RawAccessLog,
    #[serde(default)]
    pub(super) http: RawHttp,
    #[serde(default)]
    pub(super) overload: RawOverload,
    #[serde(default)]
    pub(super) dns: RawDns,
    pub(super) tracing: Option<RawTracing>,
}

/// An address, or one with more to say of it.
#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "an address, or { address = \"…\", tls = true, proxy_protocol = true }"
)]
pub(super) enum RawListener {
    Address(String),
    Table(RawListenerTable),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawListenerTable {
    pub(super) address: String,
    #[serde(default)]
    pub(super) tls: bool,
    #[serde(default)]
    pub(super) proxy_protocol: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawTls {
    pub(super) certificates: Option<Vec<RawCertificate>>,
    pub(super) min_version: Option<String>,
    pub(super) handshake_timeout_ms: Option<u64>,
    pub(super) client_ca: Option<PathBuf>,
    pub(super) client_auth: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawTrust {
    pub(super) name: Option<String>,
    pub(super) ca: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawIdentity {
    pub(super) name: Option<String>,
    pub(super) certificate: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawCertificate {
    pub(super) certificate: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
    pub(super) ocsp: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPepper {
    pub(super) id: Option<u64>,
    pub(super) file: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawAdmin {
    pub(super) listen: Option<String>,
    pub(super) allow_remote: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawSnapshot {
    pub(super) directory: Option<PathBuf>,
    pub(super) keys_lost_max_percent: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawLink {
    pub(super) socket: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawState {
    pub(super) directory: Option<PathBuf>,
    pub(super) usage_bytes_max: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawAccessLog {
    pub(super) file: Option<PathBuf>,
    pub(super) stdout: bool,
    pub(super) sample: Option<f64>,
    pub(super) rotate_bytes: Option<u64>,
    pub(super) rotate_files: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawHttp {
    pub(super) head_bytes_max: Option<u64>,
    pub(super) target_bytes_max: Option<u64>,
    pub(super) headers_max: Option<u64>,
    pub(super) head_timeout_ms: Option<u64>,
    pub(super) body_timeout_ms: Option<u64>,
    pub(super) idle_timeout_ms: Option<u64>,
    pub(super) tunnel_idle_timeout_ms: Option<u64>,
    pub(super) write_timeout_ms: Option<u64>,
    pub(super) body_bytes_max: Option<u64>,
    pub(super) trusted_proxies: Option<Vec<String>>,
    pub(super) trusted_proxies_header: Option<String>,
    pub(super) drain_bytes_max: Option<u64>,
    pub(super) drain_timeout_ms: Option<u64>,
    pub(super) body_rate_min_bytes_per_s: Option<u64>,
    pub(super) answer_rate_min_bytes_per_s: Option<u64>,
    pub(super) rate_window_ms: Option<u64>,
    pub(super) connections_max: Option<u64>,
    pub(super) connections_per_address_max: Option<u64>,
    pub(super) upstream_idle_max: Option<u64>,
    pub(super) upstream_idle_timeout_ms: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawTracing {
    pub(super) endpoint: Option<String>,
    pub(super) trust: Option<String>,
    pub(super) timeout_ms: Option<u64>,
    pub(super) sample_ratio: Option<f64>,
    pub(super) trust_parent: bool,
    pub(super) service_name: Option<String>,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) header_files: BTreeMap<String, PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawDns {
    pub(super) servers: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawOverload {
    pub(super) inflight_max: Option<u64>,
    pub(super) lag_max_ms: Option<u64>,
    pub(super) memory_max_bytes: Option<u64>,
}
