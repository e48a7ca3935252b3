//! What a well-formed catalog must also mean: numbers and names unique, values within bounds,
//! hosts, headers and addresses that can exist.
//!
//! Each error carries the path of the place that is wrong, in the words of the catalog's JSON
//! (`apis[2].hosts[0]`), so that control can show it to whoever wrote it. A blank or absurd value
//! is refused here and never reaches a worker.

mod call_log;
mod traffic;

use std::fmt;

use ahash::RandomState;
use hashbrown::HashSet;

use crate::limit::LimitError;

use super::{
    ApiEntry, CONCURRENT_MAX, CatalogFile, CredentialEntry, LIMIT_NUMBER_MAX, LIMITS_MAX,
    LimitEntry, LimitShape, LimitUnit, PERIOD_MS_MAX, QUOTA_BYTES_MAX, QUOTA_MAX, REQUESTS_MAX,
    UpstreamEntry,
};

pub use traffic::TrafficFault;
pub(super) use traffic::is_authority;

/// A catalog that may not be served, and the place in it that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {problem}")]
pub struct CatalogError {
    /// Where, in the words of the catalog's JSON: `apis[2].routes[0].path`.
    pub path: String,
    /// What is wrong with it.
    pub problem: CatalogProblem,
}

/// What can be wrong with a place in a catalog.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CatalogProblem {
    /// A stable number is zero.
    #[error("must be at least 1")]
    Zero,
    /// A value below its bound.
    #[error("must be at least {min}")]
    TooSmall {
        /// The least value allowed here.
        min: u64,
    },
    /// A value beyond its bound.
    #[error("must be at most {max}")]
    TooGreat {
        /// The greatest value allowed here.
        max: u64,
    },
    /// A number or name that an earlier entry already has.
    #[error("{0} is already taken by an earlier entry")]
    Taken(String),
    /// A name that is not `[a-z0-9][a-z0-9._-]{0,62}`.
    #[error("must be 1 to 63 of a-z, 0-9, '.', '_', '-', and start with a letter or digit")]
    Name,
    /// A version that cannot be shown.
    #[error("must be 1 to 63 printable ASCII characters")]
    Version,
    /// A host that cannot stand in a `Host` header, or is not lower case, or has a port.
    #[error("must be a host name or address in lower case, without a port, or `*.` before a name")]
    Host,
    /// An API without a route.
    #[error("needs at least one route")]
    NoRoutes,
    /// A method that is not an upper-case token.
    #[error("must be an upper-case method such as GET")]
    Method,
    /// A route that the router refuses: malformed, or claimed by another one too.
    #[error("{0}")]
    Route(String),
    /// A limit that cannot be held exactly.
    #[error("{0}")]
    Limit(LimitError),
    /// More limits than a request is checked against.
    #[error("has more than {LIMITS_MAX} limits")]
    TooManyLimits,
    /// No upstream has this number.
    #[error("no upstream has number {0}")]
    UpstreamUnknown(u32),
    /// A header name that is not a token.
    #[error("must be a header name")]
    Header,
    /// A header that means something else to a gateway.
    #[error("this header cannot carry a key: it belongs to the message itself")]
    HeaderReserved,
    /// A word about traffic that makes no sense.
    #[error("{0}")]
    Traffic(TrafficFault),
    /// A query parameter's name that would need escaping.
    #[error("must be 1 to 63 of a-z, A-Z, 0-9, '.', '_', '-', '~'")]
    Query,
    /// A protocol that cannot be switched to.
    #[error(
        "must be a protocol in lower case such as websocket; neither HTTP nor TLS, in which \
         requests would pass unjudged"
    )]
    Upgrade,
    /// No share of calls.
    #[error("must be from 0 to 1, such as 0.1 for every tenth call")]
    SampleShare,
    /// A mask that matches nothing, or too much to be meant.
    #[error("must be 1 to 64 visible characters, with a `*` only at its ends")]
    MaskPattern,
    /// A mask of what is not logged.
    #[error("masks nothing: `{0}` is not logged")]
    MaskOfNothing(&'static str),
    /// An upstream without a server.
    #[error("needs at least one target")]
    NoTargets,
    /// Not an address with a port.
    #[error(
        "must be an IP address or a host name with a port, such as 127.0.0.1:9000, [::1]:9000 or \
         app.internal:9000, or a socket such as unix:/run/app.sock"
    )]
    Target,
    /// A status that is never tried again.
    #[error("must be 429 or 500 to 599")]
    RetryStatus,
    /// Not a path that a check can ask for.
    #[error("must begin with '/' and have visible characters only, at most 1024")]
    CheckPath,
    /// Not a status that a check can expect.
    #[error("must be 200 to 599")]
    CheckStatus,
    /// Nothing is asked that could have a status.
    #[error("needs a path; without one a connection that opens is enough")]
    StatusesWithoutPath,
}

/// Most protocols of one API.
const UPGRADES_MAX: usize = 8;

/// Headers that frame or route the message, or that the gateway itself writes.
const HEADERS_RESERVED: [&str; 17] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-forwarded-for",
    "x-request-id",
];

/// A place in the catalog's JSON, made into text only when something is wrong there.
#[derive(Clone, Copy, Debug)]
pub(super) struct At<'p> {
    parent: Option<&'p At<'p>>,
    step: Step,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Field(&'static str),
    Item(usize),
}

impl<'p> At<'p> {
    pub(super) fn new(field: &'static str) -> Self {
        Self {
            parent: None,
            step: Step::Field(field),
        }
    }

    pub(super) fn item(&'p self, at: usize) -> At<'p> {
        At {
            parent: Some(self),
            step: Step::Item(at),
        }
    }

    pub(super) fn field(&'p self, name: &'static str) -> At<'p> {
        At {
            parent: Some(self),
            step: Step::Field(name),
        }
    }

    pub(super) fn fail(&self, problem: CatalogProblem) -> CatalogError {
        CatalogError {
            path: self.to_string(),
            problem,
        }
    }
}

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        match (self.step, self.parent) {
            (Step::Field(name), None) => f.write_str(name),
            (Step::Field(name), Some(_)) => write!(f, ".{name}"),
            (Step::Item(at), _) => write!(f, "[{at}]"),
        }
    }
}

/// Numbers and names of one list; refuses the second of each.
#[derive(Debug, Default)]
struct Seen<'c> {
    numbers: HashSet<u32, RandomState>,
    names: HashSet<&'c str, RandomState>,
}

impl<'c> Seen<'c> {
    fn number(&mut self, number: u32, at: &At<'_>) -> Result<(), CatalogError> {
        if number == 0 {
            return Err(at.field("number").fail(CatalogProblem::Zero));
        }
        if !self.numbers.insert(number) {
            return Err(at
                .field("number")
                .fail(CatalogProblem::Taken(number.to_string())));
        }
        Ok(())
    }

    fn name(&mut self, name: &'c str, at: &At<'_>) -> Result<(), CatalogError> {
        if !name_is_well_formed(name) {
            return Err(at.field("name").fail(CatalogProblem::Name));
        }
        if !self.names.insert(name) {
            return Err(at
                .field("name")
                .fail(CatalogProblem::Taken(name.to_owned())));
        }
        Ok(())
    }

    fn entry(&mut self, number: u32, name: &'c str, at: &At<'_>) -> Result<(), CatalogError> {
        self.number(number, at)?;
        self.name(name, at)
    }
}

/// Whether `name` may name a tenant, app, plan, limit, API or upstream:
/// `[a-z0-9][a-z0-9._-]{0,62}`.
pub fn name_is_well_formed(name: &str) -> bool {
    let plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    match name.as_bytes() {
        [first, rest @ ..] => {
            plain(first)
                && rest.len() <= 62
                && rest.iter().all(|byte| plain(byte) || b"._-".contains(byte))
        }
        [] => false,
    }
}

/// Checks all but what needs parsed forms: those the caller makes.
pub(super) fn catalog(file: &CatalogFile) -> Result<(), CatalogError> {
    tenants(file)?;
    // A limit's number names its words in the bank, whichever plan or API it stands in.
    let mut seen_limits = Seen::default();
    plans(file, &mut seen_limits)?;
    let list = At::new("apis");
    let mut seen = Seen::default();
    for (at, entry) in file.apis.iter().enumerate() {
        let at = list.item(at);
        seen.entry(entry.number, &entry.name, &at)?;
        limits(&entry.limits, &mut seen_limits, &at.field("limits"))?;
        api(entry, &at)?;
    }
    let list = At::new("upstreams");
    let mut seen = Seen::default();
    for (at, entry) in file.upstreams.iter().enumerate() {
        let at = list.item(at);
        seen.entry(entry.number, &entry.name, &at)?;
        upstream(entry, &at)?;
    }
    Ok(())
}

fn tenants(file: &CatalogFile) -> Result<(), CatalogError> {
    let list = At::new("tenants");
    let mut seen = Seen::default();
    for (at, entry) in file.tenants.iter().enumerate() {
        seen.entry(entry.number, &entry.name, &list.item(at))?;
    }
    Ok(())
}

fn plans<'c>(file: &'c CatalogFile, limits: &mut Seen<'c>) -> Result<(), CatalogError> {
    let list = At::new("plans");
    let mut seen = Seen::default();
    for (at, entry) in file.plans.iter().enumerate() {
        let at = list.item(at);
        seen.entry(entry.number, &entry.name, &at)?;
        self::limits(&entry.limits, limits, &at.field("limits"))?;
    }
    Ok(())
}

/// Limits of one plan or API. Their numbers name words in the bank, wherever they stand.
fn limits<'c>(
    entries: &'c [LimitEntry],
    seen: &mut Seen<'c>,
    list: &At<'_>,
) -> Result<(), CatalogError> {
    if entries.len() > LIMITS_MAX {
        return Err(list.fail(CatalogProblem::TooManyLimits));
    }
    let mut seen_here = Seen::default();
    for (at, entry) in entries.iter().enumerate() {
        let at = list.item(at);
        seen.number(entry.number, &at)?;
        seen_here.name(&entry.name, &at)?;
        limit(entry, &at)?;
    }
    Ok(())
}

fn limit(entry: &LimitEntry, at: &At<'_>) -> Result<(), CatalogError> {
    let number = u64::from(LIMIT_NUMBER_MAX);
    within(u64::from(entry.number), number, &at.field("number"))?;
    match &entry.shape {
        LimitShape::Rate {
            units,
            period_ms,
            burst,
        } => {
            within(*units, REQUESTS_MAX, &at.field("requests"))?;
            within(*period_ms, PERIOD_MS_MAX, &at.field("period_ms"))?;
            within(*burst, REQUESTS_MAX, &at.field("burst"))
        }
        LimitShape::Quota { units, .. } => {
            let most = match entry.unit {
                LimitUnit::Requests => QUOTA_MAX,
                LimitUnit::BytesIn | LimitUnit::BytesOut => QUOTA_BYTES_MAX,
            };
            within(*units, most, &at.field("requests"))
        }
        LimitShape::Concurrent { requests } => {
            let most = u64::from(CONCURRENT_MAX);
            within(u64::from(*requests), most, &at.field("concurrent"))
        }
    }
}

pub(super) fn within(value: u64, max: u64, at: &At<'_>) -> Result<(), CatalogError> {
    match value {
        0 => Err(at.fail(CatalogProblem::Zero)),
        value if value > max => Err(at.fail(CatalogProblem::TooGreat { max })),
        _ => Ok(()),
    }
}

fn api(entry: &ApiEntry, at: &At<'_>) -> Result<(), CatalogError> {
    let printable = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
    if !(1..=63).contains(&entry.version.len()) || !entry.version.bytes().all(printable) {
        return Err(at.field("version").fail(CatalogProblem::Version));
    }
    hosts(&entry.hosts, &at.field("hosts"))?;
    if entry.routes.is_empty() {
        return Err(at.field("routes").fail(CatalogProblem::NoRoutes));
    }
    let list = at.field("routes");
    for (at, route) in entry.routes.iter().enumerate() {
        let at = list.item(at);
        methods(&route.methods, &at.field("methods"))?;
    }
    credential(&entry.credential, &at.field("credential"))?;
    upgrades(&entry.upgrades, &at.field("upgrades"))?;
    call_log::call_log(&entry.log, &at.field("log"))?;
    traffic::api(entry, at)
}

/// Protocols that a client may switch to. Not to HTTP: requests in it would not be judged.
fn upgrades(upgrades: &[String], list: &At<'_>) -> Result<(), CatalogError> {
    if upgrades.len() > UPGRADES_MAX {
        let max = UPGRADES_MAX as u64;
        return Err(list.fail(CatalogProblem::TooGreat { max }));
    }
    for (at, protocol) in upgrades.iter().enumerate() {
        let plain = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"./-_+".contains(&byte)
        };
        let token = (1..=63).contains(&protocol.len()) && protocol.bytes().all(plain);
        let http = protocol.starts_with("h2") || protocol.starts_with("http");
        if !token || http || protocol.starts_with("tls") {
            return Err(list.item(at).fail(CatalogProblem::Upgrade));
        }
    }
    Ok(())
}

fn hosts(hosts: &[String], list: &At<'_>) -> Result<(), CatalogError> {
    let mut seen: HashSet<&str, RandomState> = HashSet::default();
    for (at, host) in hosts.iter().enumerate() {
        // A wildcard covers the names below a name; an address has none.
        let name = host
            .strip_prefix("*.")
            .filter(|name| !name.starts_with('['));
        if !host_is_well_formed(name.unwrap_or(host)) {
            return Err(list.item(at).fail(CatalogProblem::Host));
        }
        if !seen.insert(host) {
            return Err(list.item(at).fail(CatalogProblem::Taken(host.clone())));
        }
    }
    Ok(())
}

/// A registered name of letters, digits, `-`, `_` and single dots, or an address literal.
fn host_is_well_formed(host: &str) -> bool {
    if let Some(inner) = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        let parsed: Result<std::net::Ipv6Addr, _> = inner.parse();
        return parsed.is_ok() && !inner.bytes().any(|byte| byte.is_ascii_uppercase());
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte)
            })
    };
    host.len() <= 253 && host.split('.').all(label)
}

fn methods(methods: &[String], list: &At<'_>) -> Result<(), CatalogError> {
    let mut seen: HashSet<&str, RandomState> = HashSet::default();
    for (at, method) in methods.iter().enumerate() {
        let upper = |byte: u8| byte.is_ascii_uppercase() || byte == b'-' || byte == b'_';
        if !(1..=32).contains(&method.len()) || !method.bytes().all(upper) {
            return Err(list.item(at).fail(CatalogProblem::Method));
        }
        if !seen.insert(method) {
            return Err(list.item(at).fail(CatalogProblem::Taken(method.clone())));
        }
    }
    Ok(())
}

fn credential(entry: &CredentialEntry, at: &At<'_>) -> Result<(), CatalogError> {
    if let Some(header) = &entry.header {
        // RFC 9110, section 5.6.2: token = 1*tchar
        let tchar = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if !(1..=63).contains(&header.len()) || !header.bytes().all(tchar) {
            return Err(at.field("header").fail(CatalogProblem::Header));
        }
        let lower = header.to_ascii_lowercase();
        if HEADERS_RESERVED.contains(&lower.as_str()) || lower.starts_with("keyway-") {
            return Err(at.field("header").fail(CatalogProblem::HeaderReserved));
        }
    }
    if let Some(query) = &entry.query {
        let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"._-~".contains(&byte);
        if !(1..=63).contains(&query.len()) || !query.bytes().all(unreserved) {
            return Err(at.field("query").fail(CatalogProblem::Query));
        }
    }
    Ok(())
}

fn upstream(entry: &UpstreamEntry, at: &At<'_>) -> Result<(), CatalogError> {
    if entry
        .host
        .as_deref()
        .is_some_and(|host| !is_authority(host))
    {
        return Err(at.field("host").fail(TrafficFault::Host.into()));
    }
    Ok(())
}
