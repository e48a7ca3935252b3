//! Settings: what an operator writes in `keyway.toml`, read and checked once at start.
//!
//! [`Settings::read`] takes a file, [`Settings::parse`] a text and the directory its relative
//! paths start from; both answer the checked form or every problem found, each with its path and
//! its mend. The form as written is private to this module: nothing past it meets an
//! unchecked value. Absent on purpose: reading peppers or snapshots, and any reload; a node
//! keeps the settings it started with.

mod check;
mod check_abuse;
mod check_dns;
mod check_hops;
mod check_listeners;
mod check_log;
mod check_state;
mod check_tracing;
mod raw;
#[cfg(test)]
mod tests;

pub use check_tracing::TracingSettings;
#[cfg(test)]
pub use check_tracing::tests::tracing_for_tests;

use crate::accept::hops::TrustedHops;
use crate::record::log_rotation::Rotation;
use crate::snapshot::catalog::SampleShare;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The most headers a request may be allowed to carry; parsers size their slots with it.
pub const HEADERS_CEILING: usize = 256;

/// The checked settings of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// This node's name in receipts, usage and `/status`, `[A-Za-z0-9._-]{1,64}`.
    pub node: String,
    /// Worker threads, at least 1.
    pub workers: usize,
    /// Which I/O driver the workers may use.
    pub driver: DriverChoice,
    /// Addresses that take traffic, at least one; port 0 lets the system choose.
    pub listen: Vec<ListenerSettings>,
    /// What is shown over TLS; none where nobody listens for it.
    pub tls: Option<TlsSettings>,
    /// Secrets that key digests are made with, at least one, ids unique.
    pub peppers: Vec<PepperFile>,
    /// The admin listener.
    pub admin: AdminSettings,
    /// Where snapshots come from.
    pub snapshot: SnapshotSettings,
    /// The way to control.
    pub link: LinkSettings,
    /// What has to survive the process.
    pub state: StateSettings,
    /// Where access log lines go.
    pub access_log: AccessLog,
    /// How it is written.
    pub log: LogSettings,
    /// Whom it believes over TLS, and what it shows, by names that catalogs use.
    pub upstream_tls: UpstreamTlsSettings,
    /// Caps and deadlines of HTTP.
    pub http: HttpLimits,
    /// When to refuse before everything fails.
    pub overload: OverloadLimits,
    /// Who is asked for the names of targets.
    pub dns: DnsSettings,
    /// Proxies in front of the node that are believed.
    pub trusted_hops: TrustedHops,
    /// Where spans go; none without it, and `traceparent` passes as it is.
    pub tracing: Option<TracingSettings>,
}

/// One entry of `listen`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenerSettings {
    /// Where; port 0 lets the system choose.
    pub address: SocketAddr,
    /// TLS is spoken there, and nothing else.
    pub tls: bool,
    /// Each connection begins with a header of the PROXY protocol, version 2.
    pub proxy_protocol: bool,
}

/// `[tls]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    /// At least one; the first is shown to whoever asks for an unknown name.
    pub certificates: Vec<CertificateFiles>,
    /// TLS 1.2 is not spoken.
    pub tls13_only: bool,
    /// Longest time of a handshake.
    pub handshake_timeout_ms: u64,
    /// Whether clients show certificates.
    pub client: Option<ClientCertificates>,
}

/// One entry of `tls.certificates`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The chain in PEM, its own certificate first.
    pub certificate: PathBuf,
    /// Its private key in PEM, readable by its owner alone.
    pub key: PathBuf,
    /// A stapled OCSP answer in DER.
    pub ocsp: Option<PathBuf>,
}

/// `[[trust]]` and `[[identity]]`: what is named in a catalog and lies on the node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpstreamTlsSettings {
    /// Authorities of targets.
    pub trusts: Vec<Trust>,
    /// Certificates that are shown to targets.
    pub identities: Vec<Identity>,
}

/// One `[[trust]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    /// Its name.
    pub name: String,
    /// Authorities that are believed, in PEM.
    pub ca: PathBuf,
}

/// One `[[identity]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its name.
    pub name: String,
    /// The chain in PEM.
    pub certificate: PathBuf,
    /// Its private key in PEM, readable by its owner alone.
    pub key: PathBuf,
}

/// Certificates of clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificates {
    /// Authorities that are believed, in PEM.
    pub ca: PathBuf,
    /// Who must show one.
    pub auth: ClientAuth,
}

/// `tls.client_auth`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// A client may show a certificate; one that it shows must be good.
    Optional,
    /// No connection without one.
    Required,
}

/// `driver`: which I/O driver to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DriverChoice {
    /// The best one the kernel allows, step by step down to epoll.
    #[default]
    Auto,
    /// `io_uring` or no start.
    Uring,
    /// epoll.
    Epoll,
}

/// One entry of `pepper`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PepperFile {
    /// The id that key records name.
    pub id: u8,
    /// File with 32 bytes in hex, readable by its owner alone.
    pub file: PathBuf,
}

/// `[admin]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminSettings {
    /// Address of `/metrics`, `/healthz`, `/readyz` and `/status`.
    pub listen: SocketAddr,
}

/// `[snapshot]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotSettings {
    /// Directory that holds `CURRENT` and the snapshot files.
    pub directory: PathBuf,
    /// A snapshot that loses a larger share of the keys, in percent, is refused.
    pub keys_lost_max_percent: u8,
}

/// `[link]`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkSettings {
    /// Control's Unix socket; without it the snapshot directory alone is watched.
    pub socket: Option<PathBuf>,
}

/// `[state]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateSettings {
    /// Directory of the node's own: consumed quotas, and usage that control does not have yet.
    /// Without it both live and die with the process.
    pub directory: Option<PathBuf>,
    /// Most bytes of usage that wait for control on the disk.
    pub usage_bytes_max: u64,
}

/// `[access_log]`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AccessLog {
    /// No access log.
    #[default]
    Off,
    /// Appended to this file; SIGHUP reopens it.
    File(PathBuf),
    /// Written to standard output.
    Stdout,
}

/// What else `[access_log]` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogSettings {
    /// The share of calls that is logged where an API says nothing; all if nothing is said.
    pub sample: Option<SampleShare>,
    /// When the node rotates the file itself.
    pub rotation: Option<Rotation>,
}

/// `[http]`: caps and deadlines. Bytes are plain bytes, times are milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpLimits {
    /// Longest request or response head, 1 KiB to 1 MiB.
    pub head_bytes_max: usize,
    /// Longest request target, at most `head_bytes_max`.
    pub target_bytes_max: usize,
    /// Most headers of one message, at most [`HEADERS_CEILING`].
    pub headers_max: usize,
    /// Longest time from a head's first byte to its last.
    pub head_timeout_ms: u64,
    /// Longest pause inside a request body.
    pub body_timeout_ms: u64,
    /// Longest wait for the next request of a connection.
    pub idle_timeout_ms: u64,
    /// Longest time in which nothing moves in a tunnel.
    pub tunnel_idle_timeout_ms: u64,
    /// Longest pause while the client takes nothing of its answer.
    pub write_timeout_ms: u64,
    /// Longest request body; absent means no cap.
    pub body_bytes_max: Option<u64>,
    /// Most bytes of an unread body that are read away to keep the connection.
    pub drain_bytes_max: u64,
    /// Longest time between SIGTERM and the end of the process.
    pub drain_timeout_ms: u64,
    /// Slowest pace at which a client may send a body, measured while it is waited for; 0 for any.
    pub body_rate_min_bytes_per_s: u64,
    /// Slowest pace at which a client may take an answer, measured while it is waited for; 0 for
    /// any.
    pub answer_rate_min_bytes_per_s: u64,
    /// How far a client may fall behind these paces before it is cut off.
    pub rate_window_ms: u64,
    /// Most client connections of the node, at least one a worker.
    pub connections_max: usize,
    /// Most of them from one client address (IPv6: one /64); 0 for any number.
    pub connections_per_address_max: u32,
    /// Most idle connections kept per worker and target; 0 keeps none.
    pub upstream_idle_max: usize,
    /// Longest time an idle connection to a target is kept.
    pub upstream_idle_timeout_ms: u64,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            head_bytes_max: 16_384,
            target_bytes_max: 8_192,
            headers_max: 100,
            head_timeout_ms: 10_000,
            body_timeout_ms: 30_000,
            idle_timeout_ms: 60_000,
            tunnel_idle_timeout_ms: 300_000,
            write_timeout_ms: 30_000,
            body_bytes_max: None,
            drain_bytes_max: 65_536,
            drain_timeout_ms: 30_000,
            body_rate_min_bytes_per_s: 100,
            answer_rate_min_bytes_per_s: 1_000,
            rate_window_ms: 30_000,
            connections_max: 100_000,
            connections_per_address_max: 0,
            upstream_idle_max: 256,
            upstream_idle_timeout_ms: 30_000,
        }
    }
}

/// `[dns]`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DnsSettings {
    /// Servers that are asked; none: those of `/etc/resolv.conf`, after `/etc/hosts`.
    pub servers: Vec<SocketAddr>,
}

/// `[overload]`: from where on new requests are refused; 0 for never.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverloadLimits {
    /// Requests in flight on the node.
    pub inflight_max: u64,
    /// How late a worker's loop may be, smoothed; new connections are turned away at twice this.
    pub lag_max_ms: u64,
    /// Resident memory of the process; new connections are turned away at a tenth more.
    pub memory_max_bytes: u64,
}

impl Default for OverloadLimits {
    fn default() -> Self {
        Self {
            inflight_max: 65_536,
            lag_max_ms: 0,
            memory_max_bytes: 0,
        }
    }
}

impl Settings {
    /// Reads and checks a settings file; its relative paths start from its own directory.
    pub fn read(path: &Path) -> Result<Self, SettingsError> {
        let text = std::fs::read_to_string(path).map_err(|source| SettingsError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        let directory = path.parent().unwrap_or(Path::new(""));
        Self::parse(&text, directory)
    }

    /// Checks settings given as text; relative paths start from `directory`.
    pub fn parse(text: &str, directory: &Path) -> Result<Self, SettingsError> {
        check::check(toml::from_str(text)?, directory)
    }
}

/// Why settings were refused.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file could not be read.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// The settings file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Not TOML, a field of the wrong type, or a field that does not exist.
    #[error("{0}")]
    Malformed(#[from] toml::de::Error),
    /// Values that cannot be used; all of them.
    #[error("{}", lines(.0))]
    Unusable(Vec<Problem>),
}

/// One value that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it stands, such as `http.head_bytes_max`.
    pub path: String,
    /// The value as written; absent when nothing is written.
    pub value: Option<String>,
    /// What is wrong and what to write instead.
    pub mend: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{} = {value}: {}", self.path, self.mend),
            None => write!(f, "{}: {}", self.path, self.mend),
        }
    }
}

fn lines(problems: &[Problem]) -> String {
    problems
        .iter()
        .map(Problem::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}

impl fmt::Display for DriverChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Uring => "uring",
            Self::Epoll => "epoll",
        })
    }
}

impl fmt::Display for ListenerSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)?;
        f.write_str(match (self.proxy_protocol, self.tls) {
            (false, false) => "",
            (false, true) => " (TLS)",
            (true, false) => " (PROXY protocol)",
            (true, true) => " (PROXY protocol, TLS)",
        })
    }
}

/// The summary that `keyway check` prints.
impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let listen = self
            .listen
            .iter()
            .map(ListenerSettings::to_string)
            .collect::<Vec<_>>()
            .join(", ");
        let peppers = self
            .peppers
            .iter()
            .map(|p| format!("{} ({})", p.id, p.file.display()));
        writeln!(f, "node          {}", self.node)?;
        writeln!(f, "workers       {} (driver {})", self.workers, self.driver)?;
        writeln!(f, "traffic       {listen}")?;
        writeln!(f, "admin         {}", self.admin.listen)?;
        writeln!(
            f,
            "peppers       {}",
            peppers.collect::<Vec<_>>().join(", ")
        )?;
        writeln!(f, "snapshots     {}", self.snapshot.directory.display())?;
        match &self.link.socket {
            Some(socket) => writeln!(f, "control       {}", socket.display())?,
            None => writeln!(f, "control       none; the snapshot directory is watched")?,
        }
        match &self.state.directory {
            Some(directory) => writeln!(f, "state         {}", directory.display())?,
            None => writeln!(
                f,
                "state         none; quotas and usage end with the process"
            )?,
        }
        match &self.access_log {
            AccessLog::Off => writeln!(f, "access log    off")?,
            AccessLog::File(path) => match self.log.rotation {
                None => writeln!(f, "access log    {}", path.display())?,
                Some(Rotation { bytes, files }) => writeln!(
                    f,
                    "access log    {}, {files} more of {bytes} bytes behind it",
                    path.display()
                )?,
            },
            AccessLog::Stdout => writeln!(f, "access log    standard output")?,
        }
        if let Some(tracing) = &self.tracing {
            writeln!(f, "tracing       {tracing}")?;
        }
        write!(f, "connections   at most {}", self.http.connections_max)
    }
}
