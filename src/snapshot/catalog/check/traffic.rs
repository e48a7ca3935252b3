//! What the words of [`traffic`](super::super::traffic) must mean: headers that may be changed,
//! origins that exist, weights that add up, answers that HTTP can carry.
//!
//! Paths made from the one that matched are checked where they are compiled.

use crate::parse::headers::is_hop_by_hop;
use crate::parse::octets::{self, is_token};
use crate::route::edits;
use crate::route::template::TemplateFault;

use super::super::traffic::{Affinity, Answer, Cors, Field, HeaderEdits, Respond};
use super::super::{ApiEntry, RouteEntry};
use super::{At, CatalogError, CatalogProblem, host_is_well_formed, methods};

/// Most upstreams of a split.
pub const SHARES_MAX: usize = 16;
/// The greatest weight.
pub const WEIGHT_MAX: u64 = 1_000;
/// Most names of one list of header edits.
const EDITS_MAX: usize = 32;
const NAME_BYTES_MAX: usize = 128;
const VALUE_BYTES_MAX: usize = 4_096;
/// Most entries of one list of CORS.
const CORS_MAX: usize = 64;
/// The longest fixed body.
const RESPOND_BYTES_MAX: u64 = 1 << 20;
const MAX_AGE_S_MAX: u64 = 86_400;

/// What can be wrong with a word about traffic.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrafficFault {
    /// A header name that is not a token.
    #[error("must be a header name of 1 to {NAME_BYTES_MAX} bytes")]
    HeaderName,
    /// A header that frames the message, or by which a client could pretend to be the gateway.
    #[error("this header may not be changed: it frames the message or is the gateway's own")]
    HeaderFixed,
    /// A header that `cors` writes.
    #[error("`cors` writes this header: say there what it is to be, or leave `cors` out")]
    HeaderOfCors,
    /// The same name twice.
    #[error("is named twice")]
    Repeated,
    /// A list longer than a message is held against.
    #[error("has more than {0} entries")]
    TooMany(usize),
    /// A header value that cannot be sent.
    #[error("must be at most {VALUE_BYTES_MAX} bytes without control characters or spaces around")]
    HeaderValue,
    /// Not an authority.
    #[error("must be a host name or address in lower case, with or without a port")]
    Host,
    /// A path that cannot be made.
    #[error("{0}")]
    Template(TemplateFault),
    /// A location of another form.
    #[error("must be a path, or `http://` or `https://` with a host or `{{host}}` and a path")]
    Location,
    /// A route that is told by a secret.
    #[error("the API's key stands here: routes are not told apart by it")]
    ConditionOnKey,
    /// Two places to go to.
    #[error("redirects, and `response_headers` write a second `Location`: leave that out")]
    SecondLocation,
    /// A status that does not redirect.
    #[error("must be 301, 302, 303, 307 or 308")]
    RedirectStatus,
    /// A status that is no final answer.
    #[error("must be from 200 to 599")]
    RespondStatus,
    /// A body where HTTP has none.
    #[error("must be empty: an answer with status 204, 205 or 304 has no body")]
    BodyForbidden,
    /// What a route that answers itself cannot use.
    #[error("has no effect beside `answer`: no target is asked")]
    NoTargetAsked,
    /// Not an origin.
    #[error(
        "must be `*` or an origin such as https://app.example.com or https://*.example.com, in \
         lower case and without a path"
    )]
    Origin,
    /// Any page could act in the name of whoever looks at it.
    #[error("cannot be true where `origins` has `*`: name the origins")]
    CredentialsForAll,
    /// CORS for nobody.
    #[error("needs at least one origin")]
    NoOrigins,
    /// A split that leaves the API's upstream out.
    #[error("must have an entry for the API's own upstream")]
    SplitWithoutOwn,
    /// A split that sends requests nowhere.
    #[error("needs at least one weight above 0")]
    NoWeight,
    /// Stickiness without anything to stick to.
    #[error("says nothing without `split`")]
    SplitByAlone,
}

impl From<TrafficFault> for CatalogProblem {
    fn from(fault: TrafficFault) -> Self {
        Self::Traffic(fault)
    }
}

fn fail<T>(at: &At<'_>, fault: TrafficFault) -> Result<T, CatalogError> {
    Err(at.fail(fault.into()))
}

/// Checks what an API says of traffic.
pub(super) fn api(entry: &ApiEntry, at: &At<'_>) -> Result<(), CatalogError> {
    split(entry, at)?;
    if let Some(bytes) = entry.body_bytes_max {
        super::within(bytes, u64::MAX, &at.field("body_bytes_max"))?;
    }
    let cors_set = entry.cors.is_some();
    request_edits(&entry.request_headers, &at.field("request_headers"))?;
    response_edits(
        &entry.response_headers,
        cors_set,
        &at.field("response_headers"),
    )?;
    if let Some(entry) = &entry.cors {
        cors(entry, &at.field("cors"))?;
    }
    let list = at.field("routes");
    for (at, route) in entry.routes.iter().enumerate() {
        let at = list.item(at);
        self::route(route, cors_set, &at)?;
        conditions(entry, route, &at)?;
        let redirects = matches!(route.answer, Some(Answer::Redirect(_)));
        let changes = [&entry.response_headers, &route.response_headers];
        if redirects && changes.into_iter().any(writes_location) {
            return fail(&at.field("answer"), TrafficFault::SecondLocation);
        }
    }
    Ok(())
}

/// A key is compared where keys are compared: in constant time, by its digest.
fn conditions(api: &ApiEntry, route: &RouteEntry, at: &At<'_>) -> Result<(), CatalogError> {
    let carries_key = |name: &str, key: &Option<String>| {
        key.as_ref()
            .is_some_and(|key| name.eq_ignore_ascii_case(key))
    };
    let lists = [
        ("headers", &route.headers, &api.credential.header),
        ("query", &route.query, &api.credential.query),
    ];
    for (list, conditions, key) in lists {
        let of_key = conditions
            .iter()
            .position(|one| carries_key(&one.name, key));
        if let Some(place) = of_key {
            let list = at.field(list);
            return fail(
                &list.item(place).field("name"),
                TrafficFault::ConditionOnKey,
            );
        }
    }
    Ok(())
}

fn writes_location(edits: &HeaderEdits) -> bool {
    let mut written = edits.set.iter().chain(&edits.add);
    written.any(|field| edits::is_same(&field.name, "location"))
}

fn route(entry: &RouteEntry, cors_set: bool, at: &At<'_>) -> Result<(), CatalogError> {
    request_edits(&entry.request_headers, &at.field("request_headers"))?;
    response_edits(
        &entry.response_headers,
        cors_set,
        &at.field("response_headers"),
    )?;
    let rewrite_host = entry
        .rewrite
        .as_ref()
        .and_then(|rewrite| rewrite.host.as_deref());
    if rewrite_host.is_some_and(|host| !is_authority(host)) {
        return fail(&at.field("rewrite").field("host"), TrafficFault::Host);
    }
    let Some(answer) = &entry.answer else {
        return Ok(());
    };
    if entry.rewrite.is_some() {
        return fail(&at.field("rewrite"), TrafficFault::NoTargetAsked);
    }
    if entry.upstream.is_some() {
        return fail(&at.field("upstream"), TrafficFault::NoTargetAsked);
    }
    let at = at.field("answer");
    match answer {
        Answer::Redirect(redirect) if !matches!(redirect.status, 301..=303 | 307 | 308) => {
            let at = at.field("redirect");
            fail(&at.field("status"), TrafficFault::RedirectStatus)
        }
        Answer::Redirect(_) => Ok(()),
        Answer::Respond(entry) => respond(entry, cors_set, &at.field("respond")),
    }
}

fn respond(entry: &Respond, cors_set: bool, at: &At<'_>) -> Result<(), CatalogError> {
    if !(200..=599).contains(&entry.status) {
        return fail(&at.field("status"), TrafficFault::RespondStatus);
    }
    let bytes = entry.body.len() as u64;
    if bytes > 0 && matches!(entry.status, 204 | 205 | 304) {
        return fail(&at.field("body"), TrafficFault::BodyForbidden);
    }
    if bytes > RESPOND_BYTES_MAX {
        let problem = CatalogProblem::TooGreat {
            max: RESPOND_BYTES_MAX,
        };
        return Err(at.field("body").fail(problem));
    }
    let may = |name: &str| may_change_response(name, cors_set);
    fields(&entry.headers, may, &at.field("headers"))
}

fn request_edits(edits: &HeaderEdits, at: &At<'_>) -> Result<(), CatalogError> {
    self::edits(edits, may_change_request, at)
}

fn response_edits(edits: &HeaderEdits, cors: bool, at: &At<'_>) -> Result<(), CatalogError> {
    self::edits(edits, |name| may_change_response(name, cors), at)
}

type MayChange = Result<(), TrafficFault>;

fn may_change_request(name: &str) -> MayChange {
    let fixed = matches!(
        name,
        "host" | "expect" | "content-length" | "forwarded" | "via" | "x-real-ip" | "x-request-id"
    );
    let own = name.starts_with("keyway-") || name.starts_with("x-forwarded-");
    match fixed || own || is_hop_by_hop(name) {
        true => Err(TrafficFault::HeaderFixed),
        false => Ok(()),
    }
}

fn may_change_response(name: &str, cors_set: bool) -> MayChange {
    let fixed = matches!(
        name,
        "content-length" | "date" | "x-request-id" | "ratelimit" | "ratelimit-policy"
    );
    match fixed || is_hop_by_hop(name) {
        true => Err(TrafficFault::HeaderFixed),
        false if cors_set && name.starts_with("access-control-") => Err(TrafficFault::HeaderOfCors),
        false => Ok(()),
    }
}

fn edits(
    edits: &HeaderEdits,
    may_change: impl Fn(&str) -> MayChange,
    at: &At<'_>,
) -> Result<(), CatalogError> {
    let list = at.field("remove");
    bounded(edits.remove.len(), EDITS_MAX, &list)?;
    for (place, name) in edits.remove.iter().enumerate() {
        header(name, &may_change).or_else(|fault| fail(&list.item(place), fault))?;
    }
    let list = at.field("set");
    fields(&edits.set, &may_change, &list)?;
    for (place, field) in edits.set.iter().enumerate() {
        let is_known = |earlier: &Field| edits::is_same(&earlier.name, &field.name);
        if edits.set[..place].iter().any(is_known) {
            return fail(&list.item(place).field("name"), TrafficFault::Repeated);
        }
    }
    fields(&edits.add, &may_change, &at.field("add"))
}

fn fields(
    fields: &[Field],
    may_change: impl Fn(&str) -> MayChange,
    list: &At<'_>,
) -> Result<(), CatalogError> {
    bounded(fields.len(), EDITS_MAX, list)?;
    for (at, field) in fields.iter().enumerate() {
        let at = list.item(at);
        header(&field.name, &may_change).or_else(|fault| fail(&at.field("name"), fault))?;
        // RFC 9110, section 5.5: white space around a value is not part of it.
        let value = &field.value;
        let sent = octets::all(value.as_bytes(), octets::FIELD) && value.trim() == value;
        if value.len() > VALUE_BYTES_MAX || !sent {
            return fail(&at.field("value"), TrafficFault::HeaderValue);
        }
    }
    Ok(())
}

fn header(name: &str, may_change: impl Fn(&str) -> MayChange) -> MayChange {
    if name.len() > NAME_BYTES_MAX || !is_token(name.as_bytes()) {
        return Err(TrafficFault::HeaderName);
    }
    // A server that keeps headers in CGI variables reads `_` as `-`.
    may_change(&name.to_ascii_lowercase().replace('_', "-"))
}

fn bounded(count: usize, max: usize, list: &At<'_>) -> Result<(), CatalogError> {
    match count > max {
        true => fail(list, TrafficFault::TooMany(max)),
        false => Ok(()),
    }
}

/// A host with or without a port.
pub(in crate::snapshot::catalog) fn is_authority(authority: &str) -> bool {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let is_port = |port: &str| {
        port.bytes().all(|octet| octet.is_ascii_digit())
            && port.parse::<u16>().is_ok_and(|port| port > 0)
    };
    host_is_well_formed(host) && port.is_none_or(is_port)
}

fn cors(entry: &Cors, at: &At<'_>) -> Result<(), CatalogError> {
    let list = at.field("origins");
    bounded(entry.origins.len(), CORS_MAX, &list)?;
    if entry.origins.is_empty() {
        return fail(&list, TrafficFault::NoOrigins);
    }
    for (at, origin) in entry.origins.iter().enumerate() {
        if origin != "*" && !is_origin(origin) {
            return fail(&list.item(at), TrafficFault::Origin);
        }
    }
    if entry.credentials && entry.origins.iter().any(|origin| origin == "*") {
        return fail(&at.field("credentials"), TrafficFault::CredentialsForAll);
    }
    methods(&entry.methods, &at.field("methods"))?;
    for (field, names) in [("headers", &entry.headers), ("expose", &entry.expose)] {
        let list = at.field(field);
        bounded(names.len(), CORS_MAX, &list)?;
        for (at, name) in names.iter().enumerate() {
            let known = header(name, |_| Ok(()));
            known.or_else(|fault| fail(&list.item(at), fault))?;
        }
    }
    match entry.max_age_s.map(u64::from) {
        Some(seconds) if seconds > MAX_AGE_S_MAX => Err(at
            .field("max_age_s")
            .fail(CatalogProblem::TooGreat { max: MAX_AGE_S_MAX })),
        _ => Ok(()),
    }
}

/// An origin as browsers write it (RFC 6454, section 6.2), or one with `*.` before its host.
fn is_origin(origin: &str) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else {
        return false;
    };
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_lowercase())
        && scheme.bytes().all(|octet| {
            octet.is_ascii_lowercase() || octet.is_ascii_digit() || b"+-.".contains(&octet)
        });
    let below = authority.strip_prefix("*.");
    is_scheme
        && below.is_none_or(|name| !name.starts_with('['))
        && is_authority(below.unwrap_or(authority))
}

fn split(entry: &ApiEntry, at: &At<'_>) -> Result<(), CatalogError> {
    let list = at.field("split");
    if entry.split.is_empty() {
        return match &entry.split_by {
            Some(_) => fail(&at.field("split_by"), TrafficFault::SplitByAlone),
            None => Ok(()),
        };
    }
    bounded(entry.split.len(), SHARES_MAX, &list)?;
    for (place, share) in entry.split.iter().enumerate() {
        let at = list.item(place);
        let is_known = |earlier: &super::super::SplitEntry| earlier.upstream == share.upstream;
        if entry.split[..place].iter().any(is_known) {
            return fail(&at.field("upstream"), TrafficFault::Repeated);
        }
        if u64::from(share.weight) > WEIGHT_MAX {
            let problem = CatalogProblem::TooGreat { max: WEIGHT_MAX };
            return Err(at.field("weight").fail(problem));
        }
    }
    if entry
        .split
        .iter()
        .all(|share| share.upstream != entry.upstream)
    {
        return fail(&list, TrafficFault::SplitWithoutOwn);
    }
    if entry.split.iter().all(|share| share.weight == 0) {
        return fail(&list, TrafficFault::NoWeight);
    }
    match &entry.split_by {
        Some(Affinity::Header(name) | Affinity::Cookie(name)) => {
            let known = header(name, |_| Ok(()));
            known.or_else(|fault| fail(&at.field("split_by"), fault))
        }
        _ => Ok(()),
    }
}
