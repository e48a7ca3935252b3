//! Finds the API for a host, path and method.

use crate::route::ApiIndex;
use crate::snapshot::catalog::RouteEntry;

/// All routes of a catalog, compiled.
#[derive(Debug, Default)]
pub struct Router {}

/// The route that a request matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteMatch {
    /// The API.
    pub api: ApiIndex,
    /// The route's index in its API.
    pub route: u16,
}

/// Why there is no route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRoute<'r> {
    /// No API matches the host and path.
    Unknown,
    /// The path is known, the method is not among its methods: the value for `Allow`.
    Method(&'r str),
}

/// Why routes cannot be compiled. Its text begins with the route's place in the catalog.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("apis[{}].routes[{route}]: {cause}", api.0)]
pub struct RouteError {
    /// The API with the fault.
    pub api: ApiIndex,
    /// Its route with the fault.
    pub route: usize,
    /// The fault.
    pub cause: RouteFault,
}

/// What is wrong with a route.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteFault {
    /// Another route claims the same pattern on the same host with a common method.
    #[error("claims the same path and method as apis[{}].routes[{other_route}]", other.0)]
    Conflict {
        /// The API that claimed it first.
        other: ApiIndex,
        /// The route that claimed it first.
        other_route: usize,
    },
}

impl Router {
    /// Compiles the routes of all APIs: each with its index, its hosts (none: every host) and its
    /// routes.
    pub fn build<'a>(
        _apis: impl Iterator<Item = (ApiIndex, &'a [String], &'a [RouteEntry])>,
    ) -> Result<Self, RouteError> {
        unimplemented!()
    }

    /// Finds the route for a request. `host` comes without port, in any case; `path` is
    /// percent-encoded and passed [`check_path`](crate::route::path::check_path).
    pub fn find(&self, _host: &str, _path: &str, _method: &str) -> Result<RouteMatch, NoRoute<'_>> {
        unimplemented!()
    }
}
