//! APIs: what is published, where it answers and where its key travels.
//!
//! Only the form of each field is checked here. Whether routes of two APIs collide is a question
//! about all of them together, which the store asks the data plane's own catalog before it
//! commits a change.

use super::limit::{self, LimitSpec, RawLimit};
use super::{ApiNumber, Invalid, Name};
use keyway::snapshot::catalog::{
    Affinity, Answer, CallLog, Condition, Cors, HeaderEdits, Rewrite, VersionPlace,
};
use serde::{Deserialize, Serialize};

/// Most routes of one API.
const ROUTES_MAX: usize = 1_000;
/// Most hosts of one API.
const HOSTS_MAX: usize = 100;
/// Most upstreams that one API is split between.
const SPLIT_MAX: usize = 100;
/// Longest path pattern, bytes.
const PATH_BYTES_MAX: usize = 1_024;

/// An API as the store keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Api {
    /// Stable number.
    pub number: ApiNumber,
    /// What it is.
    #[serde(flatten)]
    pub spec: ApiSpec,
}

/// What a person says an API is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawApi")]
pub struct ApiSpec {
    /// Unique name.
    pub name: Name,
    /// Version as its owner writes it; matched only where `version_in` says so.
    pub version: String,
    /// Where requests tell the version; none: it is only shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version_in: Option<VersionPlace>,
    /// Hosts it answers on, lower case, without port, `*.` for all below; empty: every host.
    pub hosts: Vec<String>,
    /// Name of the upstream that serves it.
    pub upstream: Name,
    /// Upstreams that requests are split between, by weight; `upstream` is one of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub split: Vec<Share>,
    /// Requests that agree in this go the same way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split_by: Option<Affinity>,
    /// At least one.
    pub routes: Vec<Route>,
    /// Where its key travels.
    pub credential: CredentialPlaces,
    /// False: served to anyone, no key asked.
    pub key_required: bool,
    /// Limits of all its callers, before those of their plans; none twice by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<LimitSpec>,
    /// Largest request body, if smaller than the node's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_bytes_max: Option<u64>,
    /// Protocols that a client may switch to; none said: `websocket`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upgrades: Option<Vec<String>>,
    /// Changes to what the target reads.
    #[serde(skip_serializing_if = "HeaderEdits::is_empty")]
    pub request_headers: HeaderEdits,
    /// Changes to what the client reads.
    #[serde(skip_serializing_if = "HeaderEdits::is_empty")]
    pub response_headers: HeaderEdits,
    /// Calls from pages of other origins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cors: Option<Cors>,
    /// How its calls are logged.
    #[serde(skip_serializing_if = "CallLog::is_usual")]
    pub log: CallLog,
}

/// One upstream's share of an API's requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// Its name.
    pub upstream: Name,
    /// Its weight beside the others'.
    pub weight: u32,
}

impl ApiSpec {
    /// Every upstream that it sends requests to, with the field that says so.
    pub fn upstreams(&self) -> impl Iterator<Item = (String, &Name)> {
        let own = ("upstream".to_owned(), &self.upstream);
        let split = self.split.iter().enumerate();
        let split = split.map(|(i, share)| (format!("split[{i}].upstream"), &share.upstream));
        let routes = self.routes.iter().enumerate().filter_map(|(i, route)| {
            let name = route.upstream.as_ref()?;
            Some((format!("routes[{i}].upstream"), name))
        });
        std::iter::once(own).chain(split).chain(routes)
    }
}

/// A path pattern and its methods.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// `/orders`, `/orders/{id}` or `/orders/*`.
    pub path: String,
    /// Upper case; empty: every method.
    pub methods: Vec<String>,
    /// Headers that must be as said.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub headers: Vec<Condition>,
    /// Query parameters that must be as said.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub query: Vec<Condition>,
    /// Name of the upstream that serves it instead of the API's.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub upstream: Option<Name>,
    /// What the target is asked instead.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rewrite: Option<Rewrite>,
    /// The gateway's own answer.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub answer: Option<Answer>,
    /// Changes to what the target reads, after the API's.
    #[serde(skip_serializing_if = "HeaderEdits::is_empty", default)]
    pub request_headers: HeaderEdits,
    /// Changes to what the client reads, after the API's.
    #[serde(skip_serializing_if = "HeaderEdits::is_empty", default)]
    pub response_headers: HeaderEdits,
}

/// Where an API takes its key from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialPlaces {
    /// Lower-case header instead of `Authorization: Bearer` and `X-API-Key`.
    pub header: Option<String>,
    /// Query parameter; none: off.
    pub query: Option<String>,
}

/// An API as written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RawApi {
    /// Unique name.
    pub name: String,
    /// Default `v1`.
    #[serde(default = "version")]
    pub version: String,
    /// `path`: the version is the path's first segment; `header`: a header names it. Default: the
    /// version is only shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_in: Option<VersionPlace>,
    /// `api.example.com`, or `*.example.com` for every name below. Default: every host.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// Name of an upstream.
    pub upstream: String,
    /// Upstreams that requests are split between, by weight; `upstream` must be one of them. Default:
    /// `upstream` gets all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub split: Vec<RawShare>,
    /// Requests that agree in this take the same way of the split. Default: chance decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split_by: Option<Affinity>,
    /// At least one.
    pub routes: Vec<RawRoute>,
    /// Default: `Authorization: Bearer` and `X-API-Key`.
    #[serde(default)]
    pub credential: RawCredential,
    /// Default true.
    #[serde(default = "key_required")]
    pub key_required: bool,
    /// Limits that every request to it is held to, before those of its caller's plan; also where no
    /// key is asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<RawLimit>,
    /// Largest request body in bytes, if smaller than the node's `http.body_bytes_max`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_bytes_max: Option<u64>,
    /// Protocols that a client may switch to. Default: `websocket`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgrades: Option<Vec<String>>,
    /// Changes to the headers that the target reads.
    #[serde(default, skip_serializing_if = "HeaderEdits::is_empty")]
    pub request_headers: HeaderEdits,
    /// Changes to the headers that the client reads.
    #[serde(default, skip_serializing_if = "HeaderEdits::is_empty")]
    pub response_headers: HeaderEdits,
    /// Which pages of other origins may call it from a browser. Default: none is told so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cors: Option<Cors>,
    /// How its calls are logged. Default: all of them, without query and headers.
    #[serde(default, skip_serializing_if = "CallLog::is_usual")]
    pub log: CallLog,
}

/// One upstream's share, as written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RawShare {
    /// Name of an upstream.
    pub upstream: String,
    /// Its share is its weight divided by the sum of all; 0 takes it out.
    pub weight: u32,
}

/// A route as written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RawRoute {
    /// Path pattern.
    pub path: String,
    /// Default: every method.
    #[serde(default)]
    pub methods: Vec<String>,
    /// Headers that must be as said, all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<Condition>,
    /// Query parameters that must be as said, all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub query: Vec<Condition>,
    /// Name of the upstream that serves this route. Default: the API's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<String>,
    /// What the target is asked instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rewrite: Option<Rewrite>,
    /// The gateway's own answer, `redirect` or `respond`; no target is asked then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Answer>,
    /// Changes to the headers that the target reads, after the API's.
    #[serde(default, skip_serializing_if = "HeaderEdits::is_empty")]
    pub request_headers: HeaderEdits,
    /// Changes to the headers that the client reads, after the API's.
    #[serde(default, skip_serializing_if = "HeaderEdits::is_empty")]
    pub response_headers: HeaderEdits,
}

/// Where a key travels, as written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RawCredential {
    /// Header name.
    #[serde(default)]
    pub header: Option<String>,
    /// Query parameter name.
    #[serde(default)]
    pub query: Option<String>,
}

fn version() -> String {
    "v1".to_owned()
}

fn key_required() -> bool {
    true
}

impl TryFrom<RawApi> for ApiSpec {
    type Error = Invalid;

    fn try_from(raw: RawApi) -> Result<Self, Invalid> {
        bounded("hosts", raw.hosts.len(), 0, HOSTS_MAX)?;
        bounded("routes", raw.routes.len(), 1, ROUTES_MAX)?;
        let route = |(index, raw): (usize, RawRoute)| {
            check_route(raw).map_err(|e| e.within(format!("routes[{index}]")))
        };
        bounded("split", raw.split.len(), 0, SPLIT_MAX)?;
        let share = |(index, raw): (usize, RawShare)| {
            let name = raw.upstream.parse();
            let at = format!("split[{index}].upstream");
            Ok(Share {
                upstream: name.map_err(|e: Invalid| e.within(at))?,
                weight: raw.weight,
            })
        };
        let host = |(index, raw): (usize, String)| {
            check_host(raw).map_err(|e| e.within(format!("hosts[{index}]")))
        };
        Ok(Self {
            name: raw.name.parse().map_err(|e: Invalid| e.within("name"))?,
            version: check_version(raw.version).map_err(|e| e.within("version"))?,
            hosts: raw
                .hosts
                .into_iter()
                .enumerate()
                .map(host)
                .collect::<Result<_, _>>()?,
            upstream: raw
                .upstream
                .parse()
                .map_err(|e: Invalid| e.within("upstream"))?,
            routes: raw
                .routes
                .into_iter()
                .enumerate()
                .map(route)
                .collect::<Result<_, _>>()?,
            credential: check_credential(raw.credential).map_err(|e| e.within("credential"))?,
            key_required: raw.key_required,
            version_in: raw.version_in,
            split: raw
                .split
                .into_iter()
                .enumerate()
                .map(share)
                .collect::<Result<_, Invalid>>()?,
            split_by: raw.split_by,
            limits: limit::limits(raw.limits)?,
            body_bytes_max: raw.body_bytes_max,
            upgrades: raw.upgrades,
            request_headers: raw.request_headers,
            response_headers: raw.response_headers,
            cors: raw.cors,
            log: raw.log,
        })
    }
}

fn bounded(field: &str, count: usize, min: usize, max: usize) -> Result<(), Invalid> {
    if (min..=max).contains(&count) {
        Ok(())
    } else {
        Err(Invalid::at(field, format!("from {min} to {max} of them")))
    }
}

fn check_version(version: String) -> Result<String, Invalid> {
    let letter = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if version.is_empty() || version.len() > 32 || !version.bytes().all(letter) {
        return Err(Invalid::value(
            "a version has 1 to 32 of A-Z, a-z, 0-9, '.', '_', '-'",
        ));
    }
    Ok(version)
}

fn check_host(host: String) -> Result<String, Invalid> {
    let host = host.to_ascii_lowercase();
    let letter = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-');
    let inside_brackets = |b: u8| b.is_ascii_hexdigit() || matches!(b, b':' | b'.');
    let named = host.strip_prefix("*.").unwrap_or(&host);
    let well_formed = match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        Some(address) => !address.is_empty() && address.bytes().all(inside_brackets),
        None => !named.is_empty() && named.bytes().all(letter),
    };
    if well_formed && host.len() <= 253 {
        Ok(host)
    } else {
        Err(Invalid::value(
            "a host is a name or an address without scheme and port; `*.example.com` stands for all \
             names below one",
        ))
    }
}

fn check_route(raw: RawRoute) -> Result<Route, Invalid> {
    check_path(&raw.path).map_err(|e| e.within("path"))?;
    let mut methods = Vec::with_capacity(raw.methods.len());
    for (index, method) in raw.methods.into_iter().enumerate() {
        let at = format!("methods[{index}]");
        let method = method.to_ascii_uppercase();
        if method.is_empty() || method.len() > 32 || !method.bytes().all(is_token) {
            return Err(Invalid::at(at, "a method is a word such as GET"));
        }
        if matches!(method.as_str(), "CONNECT" | "TRACE") {
            return Err(Invalid::at(
                at,
                "a gateway does not forward CONNECT and TRACE",
            ));
        }
        if methods.contains(&method) {
            return Err(Invalid::at(at, "this method stands twice"));
        }
        methods.push(method);
    }
    let upstream = raw.upstream.map(|name| name.parse()).transpose();
    Ok(Route {
        path: raw.path,
        methods,
        headers: raw.headers,
        query: raw.query,
        upstream: upstream.map_err(|e: Invalid| e.within("upstream"))?,
        rewrite: raw.rewrite,
        answer: raw.answer,
        request_headers: raw.request_headers,
        response_headers: raw.response_headers,
    })
}

fn check_path(path: &str) -> Result<(), Invalid> {
    let well_formed = path.starts_with('/')
        && path.len() <= PATH_BYTES_MAX
        && path
            .bytes()
            .all(|b| b.is_ascii_graphic() && !matches!(b, b'?' | b'#' | b'\\' | b'"'))
        && !path.contains("//")
        && path
            .split('/')
            .all(|segment| !matches!(segment, "." | ".."));
    if !well_formed {
        return Err(Invalid::value(
            "a path begins with '/', is printable ASCII without '?', '#' or '\\', and has no \
             empty and no dot segments",
        ));
    }
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    for (index, segment) in segments.iter().enumerate() {
        let last = index + 1 == segments.len();
        let parameter = segment.strip_prefix('{').and_then(|s| s.strip_suffix('}'));
        let literal = parameter.is_none() && *segment != "*";
        if literal && segment.contains(['{', '}', '*']) {
            return Err(Invalid::value(
                "'{name}' and '*' each stand for a whole segment",
            ));
        }
        if *segment == "*" && !last {
            return Err(Invalid::value("'*' stands at the end only"));
        }
        if parameter.is_some_and(|name| name.is_empty() || !name.bytes().all(is_word)) {
            return Err(Invalid::value(
                "a parameter's name has only letters, digits and '_'",
            ));
        }
    }
    Ok(())
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// RFC 9110, section 5.6.2: the characters of a token.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn check_credential(raw: RawCredential) -> Result<CredentialPlaces, Invalid> {
    // A key in one of these would be cut out of the request and break its framing or routing.
    const TAKEN: [&str; 8] = [
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "te",
        "trailer",
        "upgrade",
        "expect",
    ];
    let header = raw.header.map(|h| h.to_ascii_lowercase());
    if let Some(name) = &header {
        let token = !name.is_empty() && name.len() <= 64 && name.bytes().all(is_token);
        if !token || TAKEN.contains(&name.as_str()) {
            return Err(Invalid::at(
                "header",
                "a header's name that HTTP itself does not need",
            ));
        }
    }
    let unreserved = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'~');
    if let Some(name) = &raw.query
        && (name.is_empty() || name.len() > 64 || !name.bytes().all(unreserved))
    {
        return Err(Invalid::at(
            "query",
            "a parameter has 1 to 64 of A-Z, a-z, 0-9, '.', '_', '-'",
        ));
    }
    Ok(CredentialPlaces {
        header,
        query: raw.query,
    })
}
