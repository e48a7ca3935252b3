//! The check that turns settings as written into [`Settings`]: ranges, references between fields,
//! and a mend for each problem.

use super::raw::{RawAdmin, RawHttp, RawLink, RawPepper, RawSettings, RawSnapshot};
use super::{
    AdminSettings, DriverChoice, HEADERS_CEILING, HttpLimits, LinkSettings, PepperFile, Problem,
    Settings, SettingsError, SnapshotSettings,
};
use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

pub(super) const HOUR_MS: u64 = 3_600_000;
const NODE_BYTES_MAX: usize = 64;

/// What a socket's address has room for, its end included.
const SOCKET_BYTES_MAX: usize = 108;

/// Checks the written form; relative paths start from `directory`.
pub(super) fn check(raw: RawSettings, directory: &Path) -> Result<Settings, SettingsError> {
    let mut check = Check {
        directory,
        problems: Vec::new(),
    };
    let settings = check.settings(raw);
    if check.problems.is_empty() {
        Ok(settings)
    } else {
        Err(SettingsError::Unusable(check.problems))
    }
}

/// Collects problems. A value with a problem is replaced by its default, so that the check goes
/// on and finds the others; nobody sees the result then.
pub(super) struct Check<'d> {
    directory: &'d Path,
    problems: Vec<Problem>,
}

impl Check<'_> {
    fn settings(&mut self, raw: RawSettings) -> Settings {
        let workers = self.workers(raw.workers);
        let listen = self.listen(raw.listen);
        let upstream_tls = self.upstream_tls(raw.trust, raw.identity);
        Settings {
            node: self.node(raw.node),
            workers,
            driver: self.driver(raw.driver),
            tls: self.tls(raw.tls, &listen),
            tracing: self.tracing(raw.tracing, &upstream_tls.trusts),
            upstream_tls,
            listen,
            peppers: self.peppers(raw.pepper),
            admin: self.admin(raw.admin),
            snapshot: self.snapshot(raw.snapshot),
            link: self.link(raw.link),
            state: self.state(raw.state),
            access_log: self.access_log(&raw.access_log),
            log: self.log(&raw.access_log),
            trusted_hops: self.trusted_hops(&raw.http),
            http: self.http(&raw.http, workers),
            overload: self.overload(&raw.overload),
            dns: self.dns(raw.dns),
        }
    }

    fn workers(&mut self, written: Option<u64>) -> usize {
        // Respects the affinity mask and a cgroup's quota.
        let mut workers = std::thread::available_parallelism().map_or(1, usize::from);
        self.size("workers", written, &mut workers, 1..=1_024);
        workers
    }

    fn node(&mut self, written: Option<String>) -> String {
        let Some(name) = written else {
            return host_name();
        };
        if !is_node_name(&name) {
            self.problem(
                "node",
                Some(format!("{name:?}")),
                "must be 1 to 64 letters, digits, dots, underscores or hyphens",
            );
        }
        name
    }

    fn driver(&mut self, written: Option<String>) -> DriverChoice {
        match written.as_deref() {
            None | Some("auto") => DriverChoice::Auto,
            Some("uring") => DriverChoice::Uring,
            Some("epoll") => DriverChoice::Epoll,
            Some(other) => {
                let mend = "must be \"auto\", \"uring\" or \"epoll\"";
                self.problem("driver", Some(format!("{other:?}")), mend);
                DriverChoice::Auto
            }
        }
    }

    fn peppers(&mut self, written: Option<Vec<RawPepper>>) -> Vec<PepperFile> {
        let written = written.unwrap_or_default();
        if written.is_empty() {
            let mend =
                "at least one is needed, such as pepper = [{ id = 1, file = \"pepper.hex\" }]";
            self.problem("pepper", None, mend);
        }
        let mut seen = HashSet::new();
        let mut peppers = Vec::new();
        for (i, entry) in written.into_iter().enumerate() {
            let path = format!("pepper[{i}].id");
            let id = match entry.id.map(|id| (id, u8::try_from(id))) {
                Some((_, Ok(id))) => Some(id),
                Some((id, Err(_))) => {
                    self.problem(&path, Some(id.to_string()), "must be 0 to 255");
                    None
                }
                None => {
                    self.problem(
                        &path,
                        None,
                        "is missing; key records name their pepper by it",
                    );
                    None
                }
            };
            if let Some(id) = id
                && !seen.insert(id)
            {
                self.problem(
                    &path,
                    Some(id.to_string()),
                    "is given twice; ids must differ",
                );
            }
            let path = format!("pepper[{i}].file");
            let file = match entry.file {
                Some(file) => self.path(&path, file),
                None => {
                    self.problem(
                        &path,
                        None,
                        "is missing; name the file with 32 bytes in hex",
                    );
                    None
                }
            };
            if let (Some(id), Some(file)) = (id, file) {
                peppers.push(PepperFile { id, file });
            }
        }
        peppers
    }

    fn admin(&mut self, written: RawAdmin) -> AdminSettings {
        let default = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9_901);
        let Some(text) = written.listen else {
            return AdminSettings { listen: default };
        };
        let listen = self.address("admin.listen", &text).unwrap_or(default);
        if !listen.ip().is_loopback() && !written.allow_remote {
            self.problem(
                "admin.listen",
                Some(format!("{text:?}")),
                "is not a loopback address and this listener asks for no password; use \
                 127.0.0.1, or write admin.allow_remote = true if a firewall guards it",
            );
        }
        AdminSettings { listen }
    }

    fn snapshot(&mut self, written: RawSnapshot) -> SnapshotSettings {
        let directory = match written.directory {
            Some(directory) => self.path("snapshot.directory", directory),
            None => {
                let mend = "is missing; name the directory that control publishes to";
                self.problem("snapshot.directory", None, mend);
                None
            }
        };
        let mut percent = 50;
        let path = "snapshot.keys_lost_max_percent";
        self.number(path, written.keys_lost_max_percent, &mut percent, 0..=100);
        SnapshotSettings {
            directory: directory.unwrap_or_default(),
            keys_lost_max_percent: u8::try_from(percent).unwrap_or(50),
        }
    }

    fn link(&mut self, written: RawLink) -> LinkSettings {
        let socket = written
            .socket
            .and_then(|socket| self.path("link.socket", socket));
        if let Some(path) = &socket
            && path.as_os_str().len() >= SOCKET_BYTES_MAX
        {
            let mend = "is too long for a socket; its whole path must be shorter than 108 bytes";
            self.problem("link.socket", Some(format!("{:?}", path.display())), mend);
        }
        LinkSettings { socket }
    }

    fn http(&mut self, raw: &RawHttp, workers: usize) -> HttpLimits {
        let mut h = HttpLimits {
            body_bytes_max: None,
            ..HttpLimits::default()
        };
        self.http_sizes(raw, workers, &mut h);
        self.http_times(raw, &mut h);
        self.hostile(raw, &mut h);
        h
    }

    fn http_sizes(&mut self, raw: &RawHttp, workers: usize, h: &mut HttpLimits) {
        let heads = 1_024..=1 << 20;
        self.size(
            "http.head_bytes_max",
            raw.head_bytes_max,
            &mut h.head_bytes_max,
            heads,
        );
        // A short head makes for a short target; only a written one can contradict it.
        h.target_bytes_max = h.target_bytes_max.min(h.head_bytes_max);
        let targets = 256..=1 << 20;
        self.size(
            "http.target_bytes_max",
            raw.target_bytes_max,
            &mut h.target_bytes_max,
            targets,
        );
        if h.target_bytes_max > h.head_bytes_max {
            let mend = format!("must not exceed http.head_bytes_max, {}", h.head_bytes_max);
            self.problem(
                "http.target_bytes_max",
                Some(h.target_bytes_max.to_string()),
                &mend,
            );
        }
        let headers = 8..=HEADERS_CEILING;
        self.size(
            "http.headers_max",
            raw.headers_max,
            &mut h.headers_max,
            headers,
        );
        h.body_bytes_max = raw.body_bytes_max.filter(|&bytes| bytes != 0);
        let drains = 0..=16 << 20;
        self.number(
            "http.drain_bytes_max",
            raw.drain_bytes_max,
            &mut h.drain_bytes_max,
            drains,
        );
        let connections = workers..=10_000_000;
        self.size(
            "http.connections_max",
            raw.connections_max,
            &mut h.connections_max,
            connections,
        );
        let idle = 0..=65_536;
        self.size(
            "http.upstream_idle_max",
            raw.upstream_idle_max,
            &mut h.upstream_idle_max,
            idle,
        );
    }

    fn http_times(&mut self, raw: &RawHttp, h: &mut HttpLimits) {
        for (path, written, time) in [
            (
                "http.head_timeout_ms",
                raw.head_timeout_ms,
                &mut h.head_timeout_ms,
            ),
            (
                "http.body_timeout_ms",
                raw.body_timeout_ms,
                &mut h.body_timeout_ms,
            ),
            (
                "http.idle_timeout_ms",
                raw.idle_timeout_ms,
                &mut h.idle_timeout_ms,
            ),
            (
                "http.tunnel_idle_timeout_ms",
                raw.tunnel_idle_timeout_ms,
                &mut h.tunnel_idle_timeout_ms,
            ),
            (
                "http.write_timeout_ms",
                raw.write_timeout_ms,
                &mut h.write_timeout_ms,
            ),
            (
                "http.upstream_idle_timeout_ms",
                raw.upstream_idle_timeout_ms,
                &mut h.upstream_idle_timeout_ms,
            ),
        ] {
            self.number(path, written, time, 1..=HOUR_MS);
        }
        let drains = 0..=HOUR_MS;
        self.number(
            "http.drain_timeout_ms",
            raw.drain_timeout_ms,
            &mut h.drain_timeout_ms,
            drains,
        );
    }

    /// Puts a written value in `place`, which holds the default, if it is allowed.
    pub(super) fn number(
        &mut self,
        path: &str,
        written: Option<u64>,
        place: &mut u64,
        allowed: RangeInclusive<u64>,
    ) {
        let Some(value) = written else { return };
        if allowed.contains(&value) {
            *place = value;
            return;
        }
        let bound = if value < *allowed.start() {
            format!("at least {}", allowed.start())
        } else {
            format!("at most {}", allowed.end())
        };
        let mend = format!("must be {bound}; the default is {place}");
        self.problem(path, Some(value.to_string()), &mend);
    }

    /// [`Check::number`] for what is counted in memory; every allowed range fits `usize`.
    fn size(
        &mut self,
        path: &str,
        written: Option<u64>,
        place: &mut usize,
        allowed: RangeInclusive<usize>,
    ) {
        let wide = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        let mut value = wide(*place);
        self.number(
            path,
            written,
            &mut value,
            wide(*allowed.start())..=wide(*allowed.end()),
        );
        *place = usize::try_from(value).unwrap_or(*place);
    }

    pub(super) fn address(&mut self, path: &str, text: &str) -> Option<SocketAddr> {
        let address = text.parse().ok();
        if address.is_none() {
            let mend =
                "must be an address and a port, such as \"127.0.0.1:8080\" or \"[::1]:8080\"";
            self.problem(path, Some(format!("{text:?}")), mend);
        }
        address
    }

    /// A path as the process uses it: relative ones start from the settings file's directory.
    pub(super) fn path(&mut self, path: &str, written: PathBuf) -> Option<PathBuf> {
        if written.as_os_str().is_empty() {
            self.problem(
                path,
                Some("\"\"".into()),
                "must not be empty; name a file or remove it",
            );
            return None;
        }
        Some(self.directory.join(written))
    }

    pub(super) fn problem(&mut self, path: &str, value: Option<String>, mend: &str) {
        self.problems.push(Problem {
            path: path.to_owned(),
            value,
            mend: mend.to_owned(),
        });
    }
}

fn is_node_name(name: &str) -> bool {
    (1..=NODE_BYTES_MAX).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

/// The machine's host name, or `node` where it has none that could serve.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim_end();
    if is_node_name(name) {
        name.to_owned()
    } else {
        "node".to_owned()
    }
}
