//! Why routes cannot be compiled, each with its place in the catalog and the mend.

use super::endpoint::CANDIDATES_MAX;
use super::{PLACES_MAX, STEPS_MAX, hosts};
use crate::route::condition::NAMES_MAX;
use crate::route::{ApiIndex, ConditionFault, PatternFault};

/// Why routes cannot be compiled. Its text begins with the fault's place in the catalog.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// A host is neither a lower-case name or address without port nor a wildcard of one.
    #[error("apis[{}].hosts[{host}]: a host is a name in lower case without port, or `*.` before \
             one", api.0)]
    Host {
        /// The API.
        api: ApiIndex,
        /// The host's index in it.
        host: usize,
    },
    /// A path pattern is malformed.
    #[error("apis[{}].routes[{route}].path: {fault}", api.0)]
    Path {
        /// The API.
        api: ApiIndex,
        /// The route's index in it.
        route: usize,
        /// The fault.
        fault: PatternFault,
    },
    /// A method is not an upper-case token, or is never forwarded.
    #[error("apis[{}].routes[{route}].methods[{method}]: a method is upper case, \
             and neither CONNECT nor TRACE", api.0)]
    Method {
        /// The API.
        api: ApiIndex,
        /// The route's index in it.
        route: usize,
        /// The method's index in that.
        method: usize,
    },
    /// Two routes claim the same pattern on the same host with a common method, and no condition
    /// tells them apart.
    #[error("apis[{}].routes[{route}]: claims {path} like apis[{}].routes[{other_route}], \
             with a method and a host in common and no condition that tells them apart",
             api.0, other.0)]
    Conflict {
        /// The API that came second.
        api: ApiIndex,
        /// Its route.
        route: usize,
        /// The API that came first; it may be the same one.
        other: ApiIndex,
        /// Its route.
        other_route: usize,
        /// The pattern as the second one writes it.
        path: String,
    },
    /// More than 65 536 routes in one API.
    #[error("apis[{}].routes: an API has at most 65536 routes", api.0)]
    TooManyRoutes {
        /// The API.
        api: ApiIndex,
    },
    /// A condition is malformed.
    #[error("apis[{}].routes[{route}].{list}[{at}]: {fault}", api.0)]
    Condition {
        /// The API.
        api: ApiIndex,
        /// The route's index in it.
        route: usize,
        /// `headers` or `query`.
        list: &'static str,
        /// The condition's index in that.
        at: usize,
        /// The fault.
        fault: ConditionFault,
    },
    /// A version that cannot stand where `version_in` says.
    #[error("apis[{}].version: {fault}", api.0)]
    Version {
        /// The API.
        api: ApiIndex,
        /// The fault.
        fault: PatternFault,
    },
    /// The header of a version is none.
    #[error("apis[{}].version_in.header.name: {fault}", api.0)]
    VersionHeader {
        /// The API.
        api: ApiIndex,
        /// The fault.
        fault: ConditionFault,
    },
    /// More routes for one host, path and method than a request is compared with.
    #[error("apis[{}].routes[{route}]: more than {CANDIDATES_MAX} routes take the same host, path \
             and method; give some of them a path of their own", api.0)]
    TooManyCandidates {
        /// The API.
        api: ApiIndex,
        /// The route's index in it.
        route: usize,
    },
    /// More different names in the conditions of one pattern than a request is searched for.
    #[error("apis[{}].routes[{route}]: the routes of one path ask for more than {} different \
             headers or query parameters", api.0, NAMES_MAX)]
    TooManyNames {
        /// The API.
        api: ApiIndex,
        /// The route's index in it.
        route: usize,
    },
    /// A request could make the search try too many branches.
    #[error("apis[{}].routes[{route}].path: with the routes before it, one request could be \
             compared in more than {STEPS_MAX} places; use parameters and literals side by side \
             in fewer segments", api.0)]
    TooManySteps {
        /// The API.
        api: ApiIndex,
        /// The route's index in it.
        route: usize,
    },
    /// More memory for routes than a node is asked to have.
    #[error("apis[{}].hosts: with the APIs before it, hosts times routes come to more than \
             {PLACES_MAX}; use a wildcard instead of many hosts", api.0)]
    TooManyPlaces {
        /// The API.
        api: ApiIndex,
    },
    /// More wildcards above one host than a request is searched in.
    #[error("apis[{}].hosts: more than {} wildcards lie within one another", api.0,
            hosts::WILDCARDS_MAX)]
    TooManyWildcards {
        /// The API.
        api: ApiIndex,
    },
}
