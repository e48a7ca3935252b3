//! What becomes of a request that matched a route, in the form that workers obey.

use std::sync::Arc;

use crate::respond::own::{Location, OwnAnswer};
use crate::route::UpstreamIndex;
use crate::route::edits::Edits;
use crate::route::split::{Share, Split};
use crate::route::template::Template;

use super::check::{self, At, CatalogError, CatalogProblem, TrafficFault};
use super::checked::Places;
use super::traffic::{Answer, VersionPlace};
use super::{ApiEntry, RouteEntry};

/// One route of an API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Its path as written.
    pub pattern: Box<str>,
    /// The methods it lists, as a header lists them; empty for every method.
    pub methods: Box<str>,
    /// Names it in usage: a checksum of its methods and path, so that it stays the same when routes
    /// around it change; never 0.
    pub number: u32,
    /// Who serves it instead of the API's upstream.
    pub upstream: Option<UpstreamIndex>,
    /// The path that the target is asked for; absent: the client's.
    pub path: Option<Template>,
    /// The host that the target is asked for, before the upstream's.
    pub host: Option<Box<str>>,
    /// The gateway's own answer.
    pub answer: Option<OwnAnswer>,
    /// Changes to what the target reads.
    pub request_edits: Edits,
    /// Changes to what the client reads.
    pub response_edits: Edits,
}

/// Compiles the routes of one API.
pub(super) fn routes(
    api: &ApiEntry,
    upstreams: &Places,
    at: &At<'_>,
) -> Result<Vec<Route>, CatalogError> {
    let list = at.field("routes");
    let request = Arc::new(Edits::new(&api.request_headers));
    let response = Arc::new(Edits::new(&api.response_headers));
    let compiled = |(at, entry): (usize, &RouteEntry)| {
        let mut compiled = route(api, entry, upstreams, &list.item(at))?;
        compiled.request_edits = compiled.request_edits.over(&request);
        compiled.response_edits = compiled.response_edits.over(&response);
        Ok(compiled)
    };
    let mut routes: Vec<Route> = Vec::with_capacity(api.routes.len());
    for route in api.routes.iter().enumerate().map(compiled) {
        let mut route = route?;
        route.number = number(&route, &routes);
        routes.push(route);
    }
    Ok(routes)
}

impl Route {
    /// What it is called in usage: `GET, HEAD /orders/*`.
    pub fn name(&self) -> String {
        match self.methods.is_empty() {
            true => self.pattern.to_string(),
            false => format!("{} {}", self.methods, self.pattern),
        }
    }
}

/// The number of a route; routes of one API that agree in their names (they differ in conditions) and
/// those whose checksums fall together take the next free ones, in their order.
fn number(route: &Route, before: &[Route]) -> u32 {
    let mut number = crc32fast::hash(route.name().as_bytes()).max(1);
    while before.iter().any(|other| other.number == number) {
        number = number.wrapping_add(1).max(1);
    }
    number
}

fn route(
    api: &ApiEntry,
    entry: &RouteEntry,
    upstreams: &Places,
    at: &At<'_>,
) -> Result<Route, CatalogError> {
    let template = |text: &str, at: &At<'_>| {
        let before = usize::from(api.version_in == Some(VersionPlace::Path));
        Template::new(text, &entry.path, before)
            .map_err(|fault| at.fail(TrafficFault::Template(fault).into()))
    };
    let upstream = entry
        .upstream
        .map(|number| upstream(number, upstreams, &at.field("upstream")))
        .transpose()?;
    let rewrite = entry.rewrite.as_ref();
    let path = rewrite.and_then(|rewrite| rewrite.path.as_deref());
    let path = path
        .map(|path| template(path, &at.field("rewrite").field("path")))
        .transpose()?;
    let host = rewrite.and_then(|rewrite| rewrite.host.as_deref());
    let answer = match &entry.answer {
        None => None,
        Some(Answer::Respond(respond)) => Some(OwnAnswer::respond(respond)),
        Some(Answer::Redirect(redirect)) => {
            let at = at.field("answer");
            let at = at.field("redirect");
            let location = location(&redirect.location, &template, &at.field("location"))?;
            Some(OwnAnswer::redirect(redirect.status, location))
        }
    };
    Ok(Route {
        pattern: entry.path.as_str().into(),
        methods: listed(&entry.methods).into(),
        number: 0,
        upstream,
        path,
        host: host.map(Into::into),
        answer,
        request_edits: Edits::new(&entry.request_headers),
        response_edits: Edits::new(&entry.response_headers),
    })
}

/// `GET` includes `HEAD`.
fn listed(methods: &[String]) -> String {
    let is = |wanted: &str| methods.iter().any(|method| method == wanted);
    let head = (is("GET") && !is("HEAD")).then_some("HEAD");
    let all: Vec<&str> = methods.iter().map(String::as_str).chain(head).collect();
    all.join(", ")
}

/// Takes a location apart: the authority is checked here, and the path is a template, so that no
/// request can send a client to another host.
fn location(
    text: &str,
    template: &impl Fn(&str, &At<'_>) -> Result<Template, CatalogError>,
    at: &At<'_>,
) -> Result<Location, CatalogError> {
    let schemes = ["http://", "https://"];
    let scheme = schemes.into_iter().find(|scheme| text.starts_with(scheme));
    let Some(scheme) = scheme else {
        return Ok(Location::new("", "", template(text, at)?));
    };
    let rest = &text[scheme.len()..];
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let path = template(if path.is_empty() { "/" } else { path }, at)?;
    match authority.strip_prefix("{host}") {
        // A port behind the request's own host is checked like one behind any other.
        Some(port)
            if port.is_empty()
                || (port.starts_with(':') && check::is_authority(&format!("host{port}"))) =>
        {
            Ok(Location::new(scheme, port, path).at_own_host())
        }
        None if check::is_authority(authority) => Ok(Location::new(scheme, authority, path)),
        _ => Err(at.fail(TrafficFault::Location.into())),
    }
}

/// Compiles an API's split.
pub(super) fn split(
    api: &ApiEntry,
    upstreams: &Places,
    at: &At<'_>,
) -> Result<Option<Split>, CatalogError> {
    let list = at.field("split");
    let mut shares = Vec::new();
    for (at, entry) in api.split.iter().enumerate() {
        let upstream = upstream(entry.upstream, upstreams, &list.item(at).field("upstream"))?;
        if entry.weight > 0 {
            shares.push(Share {
                upstream,
                number: entry.upstream,
                weight: entry.weight,
            });
        }
    }
    Ok(Split::new(shares, api.split_by.clone()))
}

/// The upstream with this number.
pub(super) fn upstream(
    number: u32,
    upstreams: &Places,
    at: &At<'_>,
) -> Result<UpstreamIndex, CatalogError> {
    match upstreams.get(&number) {
        Some(place) => Ok(UpstreamIndex(*place)),
        None => Err(at.fail(CatalogProblem::UpstreamUnknown(number))),
    }
}
