//! Upstreams in the form that workers read, checked.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use ahash::RandomState;
use hashbrown::HashSet;
use xxhash_rust::xxh3::xxh3_64;

use super::check::{At, CatalogError, CatalogProblem, within};
use super::{
    BalanceEntry, Breaker, HealthCheck, Outlier, Retry, TIMEOUT_MS_MAX, TargetEntry, UpstreamEntry,
    UpstreamTls,
};
use crate::io::Endpoint;

/// Most targets of one upstream: a choice looks at all.
const TARGETS_MAX: usize = 1_000;
/// The greatest weight of a target.
const WEIGHT_MAX: u32 = 1_000;
/// Longest path of a socket, its end included.
const SOCKET_BYTES_MAX: usize = 107;
const HOUR_MS: u64 = 3_600_000;
/// Checks come no closer than this.
const CHECK_INTERVAL_MS_MIN: u32 = 100;

/// One upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// Stable number, at least 1.
    pub number: u32,
    /// Unique name.
    pub name: String,
    /// At least one server, none twice.
    pub targets: Vec<Target>,
    /// Changes when `targets` do; never 0.
    pub shape: u64,
    /// Host that its targets are asked for; absent: the client's.
    pub host: Option<Box<str>>,
    /// Longest time to a connection, in milliseconds, at least 1.
    pub connect_timeout_ms: u32,
    /// Longest time from the request's last byte to the answer's head, and between two reads of
    /// its body, in milliseconds, at least 1.
    pub response_timeout_ms: u32,
    /// Longest time of a whole exchange, tries included.
    pub total_timeout_ms: Option<u32>,
    /// How a target is chosen.
    pub balance: BalanceEntry,
    /// Most connections of a worker to one target.
    pub connections_max: Option<u32>,
    /// Most requests of a worker that wait for a connection to one target.
    pub waiting_max: u32,
    /// TLS to the targets, and a number that changes when it does.
    pub tls: Option<(UpstreamTls, u64)>,
    /// Active checks.
    pub health: Option<HealthCheck>,
    /// Ejection by failure rate.
    pub outlier: Option<Outlier>,
    /// Stop after failures in a row.
    pub breaker: Option<Breaker>,
    /// Time over which a target that became fit gets its full share.
    pub slow_start_ms: u32,
    /// Repetitions.
    pub retry: Option<Retry>,
}

/// One server, or all that have one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Where it is.
    pub place: Place,
    /// Its share; 0 takes it out.
    pub weight: u32,
}

/// Where a target is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// There.
    At(Endpoint),
    /// At every address that the name has.
    Named {
        /// The name, in lower case.
        host: Arc<str>,
        /// At each address.
        port: u16,
    },
}

impl Place {
    /// The name, if it is one.
    pub fn host(&self) -> Option<&Arc<str>> {
        match self {
            Self::At(_) => None,
            Self::Named { host, .. } => Some(host),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(endpoint) => endpoint.fmt(f),
            Self::Named { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

impl Upstream {
    /// Checks an upstream as written.
    pub(super) fn check(entry: &UpstreamEntry, at: &At<'_>) -> Result<Self, CatalogError> {
        if let Some(health) = &entry.health {
            check_health(health, &at.field("health"))?;
        }
        let timeouts = [
            ("connect_timeout_ms", Some(entry.connect_timeout_ms)),
            ("response_timeout_ms", Some(entry.response_timeout_ms)),
            ("total_timeout_ms", entry.total_timeout_ms),
        ];
        for (field, value) in timeouts {
            bounded(value, TIMEOUT_MS_MAX.into(), &at.field(field))?;
        }
        bounded(entry.connections_max, 1 << 20, &at.field("connections_max"))?;
        at_most(entry.waiting_max, 1 << 20, &at.field("waiting_max"))?;
        at_most(entry.slow_start_ms, HOUR_MS, &at.field("slow_start_ms"))?;
        if let Some(outlier) = &entry.outlier {
            check_outlier(outlier, &at.field("outlier"))?;
        }
        if let Some(breaker) = &entry.breaker {
            let at = at.field("breaker");
            bounded(Some(breaker.failures), 1_000_000, &at.field("failures"))?;
            bounded(Some(breaker.open_ms), 60_000, &at.field("open_ms"))?;
            bounded(Some(breaker.trials), 1_000, &at.field("trials"))?;
        }
        if let Some(retry) = &entry.retry {
            check_retry(retry, &at.field("retry"))?;
        }
        let tls = entry.tls.as_ref();
        if let Some(tls) = tls {
            check_tls(tls, &at.field("tls"))?;
        }
        let key = |tls: &UpstreamTls| {
            let text = format!("{:?}/{:?}/{:?}", tls.server_name, tls.trust, tls.identity);
            (tls.clone(), xxh3_64(text.as_bytes()) | 1)
        };
        let targets = targets(&entry.targets, at)?;
        Ok(Self {
            number: entry.number,
            name: entry.name.clone(),
            shape: shape(&targets),
            targets,
            host: entry.host.as_deref().map(Into::into),
            connect_timeout_ms: entry.connect_timeout_ms,
            response_timeout_ms: entry.response_timeout_ms,
            total_timeout_ms: entry.total_timeout_ms,
            balance: entry.balance.clone(),
            connections_max: entry.connections_max,
            waiting_max: entry.waiting_max,
            tls: tls.map(key),
            health: entry.health.clone(),
            outlier: entry.outlier.clone(),
            breaker: entry.breaker.clone(),
            slow_start_ms: entry.slow_start_ms,
            retry: entry.retry.clone(),
        })
    }

    /// What a pooled connection must have in common with a new one beside its address; 0: no TLS.
    pub fn tls_key(&self) -> u64 {
        self.tls.as_ref().map_or(0, |(_, key)| *key)
    }

    /// One without targets.
    #[cfg(test)]
    pub fn for_tests() -> Self {
        Self {
            number: 1,
            name: "test".into(),
            targets: Vec::new(),
            shape: 1,
            host: None,
            connect_timeout_ms: 1_000,
            response_timeout_ms: 1_000,
            total_timeout_ms: None,
            balance: BalanceEntry::RoundRobin,
            connections_max: None,
            waiting_max: 0,
            tls: None,
            health: None,
            outlier: None,
            breaker: None,
            slow_start_ms: 0,
            retry: None,
        }
    }
}

fn shape(targets: &[Target]) -> u64 {
    let text: String = targets
        .iter()
        .map(|target| format!("{} {}\n", target.place, target.weight))
        .collect();
    xxh3_64(text.as_bytes()) | 1
}

fn bounded(value: Option<u32>, max: u64, at: &At<'_>) -> Result<(), CatalogError> {
    value.map_or(Ok(()), |value| within(value.into(), max, at))
}

fn at_most(value: u32, max: u64, at: &At<'_>) -> Result<(), CatalogError> {
    if u64::from(value) > max {
        return Err(at.fail(CatalogProblem::TooGreat { max }));
    }
    Ok(())
}

fn check_health(health: &HealthCheck, at: &At<'_>) -> Result<(), CatalogError> {
    let interval_ms = health.interval_ms.into();
    if health.interval_ms < CHECK_INTERVAL_MS_MIN {
        let min = CHECK_INTERVAL_MS_MIN.into();
        return Err(at
            .field("interval_ms")
            .fail(CatalogProblem::TooSmall { min }));
    }
    at_most(health.interval_ms, HOUR_MS, &at.field("interval_ms"))?;
    bounded(
        Some(health.timeout_ms),
        interval_ms,
        &at.field("timeout_ms"),
    )?;
    bounded(Some(health.healthy_after), 100, &at.field("healthy_after"))?;
    bounded(
        Some(health.unhealthy_after),
        100,
        &at.field("unhealthy_after"),
    )?;
    let visible = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    let path = health.path.as_deref();
    if path.is_some_and(|path| !path.starts_with('/') || !visible(path) || path.len() > 1_024) {
        return Err(at.field("path").fail(CatalogProblem::CheckPath));
    }
    if health
        .host
        .as_deref()
        .is_some_and(|host| host.is_empty() || !visible(host))
    {
        return Err(at.field("host").fail(CatalogProblem::Host));
    }
    let list = at.field("statuses");
    for (place, status) in health.statuses.iter().enumerate() {
        if !(200..=599).contains(status) {
            return Err(list.item(place).fail(CatalogProblem::CheckStatus));
        }
    }
    if path.is_none() && !health.statuses.is_empty() {
        return Err(list.fail(CatalogProblem::StatusesWithoutPath));
    }
    Ok(())
}

fn check_outlier(outlier: &Outlier, at: &At<'_>) -> Result<(), CatalogError> {
    bounded(Some(outlier.window_ms), HOUR_MS, &at.field("window_ms"))?;
    bounded(
        Some(outlier.requests_min),
        1_000_000,
        &at.field("requests_min"),
    )?;
    bounded(
        Some(outlier.failure_percent),
        100,
        &at.field("failure_percent"),
    )?;
    bounded(Some(outlier.eject_ms), HOUR_MS, &at.field("eject_ms"))?;
    bounded(
        Some(outlier.ejected_max_percent),
        100,
        &at.field("ejected_max_percent"),
    )
}

fn check_retry(retry: &Retry, at: &At<'_>) -> Result<(), CatalogError> {
    at_most(retry.retries, 10, &at.field("retries"))?;
    bounded(
        retry.try_timeout_ms,
        TIMEOUT_MS_MAX.into(),
        &at.field("try_timeout_ms"),
    )?;
    at_most(retry.budget_percent, 100, &at.field("budget_percent"))?;
    at_most(retry.budget_min_per_s, 1_000, &at.field("budget_min_per_s"))?;
    let list = at.field("statuses");
    for (place, status) in retry.statuses.iter().enumerate() {
        if !(500..=599).contains(status) && *status != 429 {
            return Err(list.item(place).fail(CatalogProblem::RetryStatus));
        }
    }
    Ok(())
}

fn check_tls(tls: &UpstreamTls, at: &At<'_>) -> Result<(), CatalogError> {
    if let Some(name) = &tls.server_name
        && rustls::pki_types::ServerName::try_from(name.as_str()).is_err()
    {
        return Err(at.field("server_name").fail(CatalogProblem::Host));
    }
    for (field, name) in [("trust", &tls.trust), ("identity", &tls.identity)] {
        let named = name.as_deref().is_none_or(super::name_is_well_formed);
        if !named {
            return Err(at.field(field).fail(CatalogProblem::Name));
        }
    }
    Ok(())
}

/// Parses the servers of one upstream.
fn targets(targets: &[TargetEntry], at: &At<'_>) -> Result<Vec<Target>, CatalogError> {
    let list = at.field("targets");
    if targets.is_empty() {
        return Err(list.fail(CatalogProblem::NoTargets));
    }
    if targets.len() > TARGETS_MAX {
        let max = TARGETS_MAX as u64;
        return Err(list.fail(CatalogProblem::TooGreat { max }));
    }
    let mut seen: HashSet<Place, RandomState> = HashSet::default();
    let mut parsed = Vec::with_capacity(targets.len());
    for (place, target) in targets.iter().enumerate() {
        let at = list.item(place);
        let place: Place = target.address.parse().map_err(|problem| at.fail(problem))?;
        if !seen.insert(place.clone()) {
            return Err(at.fail(CatalogProblem::Taken(target.address.clone())));
        }
        at_most(target.weight, WEIGHT_MAX.into(), &at.field("weight"))?;
        parsed.push(Target {
            place,
            weight: target.weight,
        });
    }
    Ok(parsed)
}

impl FromStr for Place {
    type Err = CatalogProblem;

    /// Reads `ip:port`, `[ip]:port`, `unix:/path` or `name:port`.
    fn from_str(text: &str) -> Result<Self, CatalogProblem> {
        let place = endpoint(text).map(Place::At).or_else(|| named(text));
        place.ok_or(CatalogProblem::Target)
    }
}

/// A host name with a port: labels of letters, digits, `-` and `_` (RFC 1123, section 2.1; the last
/// one is in use for services). Its last label is no number, or what is meant is an address.
fn named(text: &str) -> Option<Place> {
    let (host, port) = text.rsplit_once(':')?;
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let port = port.parse().ok().filter(|port| digits && *port != 0)?;
    let labels = host.strip_suffix('.').unwrap_or(host);
    let well_formed = |label: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        let edge = label.starts_with('-') || label.ends_with('-');
        (1..=63).contains(&label.len()) && label.bytes().all(plain) && !edge
    };
    let is_number = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    let is_address = labels.rsplit('.').next().is_none_or(is_number);
    let good = labels.len() <= 253 && labels.split('.').all(well_formed) && !is_address;
    good.then(|| Place::Named {
        host: host.to_ascii_lowercase().into(),
        port,
    })
}

fn endpoint(text: &str) -> Option<Endpoint> {
    if let Some(path) = text.strip_prefix("unix:") {
        let plain = path.starts_with('/') && !path.contains('\0');
        let fits = path.len() <= SOCKET_BYTES_MAX;
        return (plain && fits).then(|| Endpoint::Unix(Path::new(path).into()));
    }
    let address: SocketAddr = text.parse().ok()?;
    (address.port() != 0).then_some(Endpoint::Tcp(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_an_address_a_socket_or_a_name_and_nothing_between() {
        let long = "a".repeat(63);
        let longer = "a".repeat(64);
        for (text, expected) in [
            ("127.0.0.1:80", Some("127.0.0.1:80")),
            ("[::1]:80", Some("[::1]:80")),
            ("unix:/run/a.sock", Some("unix:/run/a.sock")),
            ("App.Internal:80", Some("app.internal:80")),
            ("app.internal.:80", Some("app.internal.:80")),
            ("_http.app:8080", Some("_http.app:8080")),
            ("app-1:65535", Some("app-1:65535")),
            (&format!("{long}:80"), Some(&*format!("{long}:80"))),
            (&format!("{longer}:80"), None),
            (&format!("{}:80", [&*long; 4].join(".")), None),
            ("app:0", None),
            ("app:65536", None),
            ("app:+80", None),
            ("app", None),
            (":80", None),
            (".:80", None),
            ("app..internal:80", None),
            ("-app:80", None),
            ("app-:80", None),
            ("a b:80", None),
            ("ap\u{f6}:80", None),
            // Meant as addresses, and none.
            ("127.0.0.256:80", None),
            ("127.1:80", None),
            ("10:80", None),
            ("::1:80", None),
        ] {
            let place = text.parse::<Place>().ok().map(|place| place.to_string());
            assert_eq!(place.as_deref(), expected, "{text}");
        }
    }
}
