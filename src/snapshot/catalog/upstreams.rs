//! Upstreams in the form that workers read, checked.

use std::net::SocketAddr;
use std::path::Path;

use ahash::RandomState;
use hashbrown::HashSet;
use xxhash_rust::xxh3::xxh3_64;

use super::check::{At, CatalogError, CatalogProblem, within};
use super::{
    BalanceEntry, Breaker, Outlier, Retry, TIMEOUT_MS_MAX, TargetEntry, UpstreamEntry, UpstreamTls,
};
use crate::io::Endpoint;

/// Most targets of one upstream: a choice looks at all.
const TARGETS_MAX: usize = 1_000;
/// The greatest weight of a target.
const WEIGHT_MAX: u32 = 1_000;
/// Longest path of a socket, its end included.
const SOCKET_BYTES_MAX: usize = 107;
const HOUR_MS: u64 = 3_600_000;

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
    /// TLS to the targets, and a number that changes when it does.
    pub tls: Option<(UpstreamTls, u64)>,
    /// Ejection by failure rate.
    pub outlier: Option<Outlier>,
    /// Stop after failures in a row.
    pub breaker: Option<Breaker>,
    /// Time over which a target that became fit gets its full share.
    pub slow_start_ms: u32,
    /// Repetitions.
    pub retry: Option<Retry>,
}

/// One server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Where it is.
    pub endpoint: Endpoint,
    /// Its share; 0 takes it out.
    pub weight: u32,
}

impl Upstream {
    /// Checks an upstream as written.
    pub(super) fn check(entry: &UpstreamEntry, at: &At<'_>) -> Result<Self, CatalogError> {
        if entry.health.is_some() {
            let problem = CatalogProblem::NotYet("active checks");
            return Err(at.field("health").fail(problem));
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
            tls: tls.map(key),
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
            tls: None,
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
        .map(|target| format!("{} {}\n", target.endpoint, target.weight))
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
    let mut seen: HashSet<Endpoint, RandomState> = HashSet::default();
    let mut parsed = Vec::with_capacity(targets.len());
    for (place, target) in targets.iter().enumerate() {
        let at = list.item(place);
        let endpoint = endpoint(&target.address).ok_or_else(|| at.fail(CatalogProblem::Target))?;
        if !seen.insert(endpoint.clone()) {
            return Err(at.fail(CatalogProblem::Taken(target.address.clone())));
        }
        at_most(target.weight, WEIGHT_MAX.into(), &at.field("weight"))?;
        parsed.push(Target {
            endpoint,
            weight: target.weight,
        });
    }
    Ok(parsed)
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
