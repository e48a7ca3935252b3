//! Finds the API for a host, path and method, without allocation.
//!
//! A tree of segments a host, and one for the APIs that answer on every host. At each segment the
//! literal branch is tried first, then the parameter, then the prefix (`*`) that reaches this far,
//! stepping back where a branch leads nowhere: so the most specific pattern wins, read from the
//! left. The path alone picks the pattern; only then the method picks among its routes, and a
//! method that none of them lists is answered with those that are listed, never with a less
//! specific pattern. Likewise a host's own tree decides alone once the path matches in it.
//!
//! Literals are compared by what a path's escapes stand for: `/%6frders` is `/orders` here as it
//! is to an upstream, so that a spelling cannot slip past a specific route into a general one. The
//! checks of [`path`](super::path) see to it that no escape moves a segment's boundary.

use ahash::RandomState;
use hashbrown::{HashMap, HashTable};

use crate::route::ApiIndex;
use crate::route::path::first_octet;
use crate::route::pattern::{self, HOST_BYTES_MAX, PatternFault, SEGMENT_BYTES_MAX, Segment};
use crate::snapshot::catalog::RouteEntry;

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

/// Why routes cannot be compiled. Its text begins with the fault's place in the catalog.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// A host is not a lower-case name or address without port.
    #[error("apis[{}].hosts[{host}]: a host is a name in lower case without port", api.0)]
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
    /// Two routes claim the same pattern on the same host with a common method.
    #[error("apis[{}].routes[{route}]: claims {path} like apis[{}].routes[{other_route}], \
             with a method and a host in common", api.0, other.0)]
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
}

/// Index of a [`Node`]; the first one is the root of the tree for every host.
type NodeIndex = usize;
const ANY_HOST: NodeIndex = 0;

/// All routes of a catalog, compiled.
#[derive(Debug)]
pub struct Router {
    /// The roots of the trees of single hosts.
    hosts: HashMap<Box<[u8]>, NodeIndex, RandomState>,
    nodes: Vec<Node>,
    /// The literal branches of all nodes, found by node and text.
    branches: HashTable<Branch>,
    hasher: RandomState,
}

/// A place in a tree: the segments from the root to here have matched.
#[derive(Debug, Default)]
struct Node {
    /// A branch for any one segment.
    parameter: Option<NodeIndex>,
    /// True if there are literal branches.
    branches: bool,
    /// The routes of a path that ends here.
    exact: Option<Box<Endpoint>>,
    /// The routes of a path that ends here or goes on.
    rest: Option<Box<Endpoint>>,
}

#[derive(Debug)]
struct Branch {
    from: NodeIndex,
    text: Box<[u8]>,
    to: NodeIndex,
}

/// The routes of one pattern, told apart by method.
#[derive(Debug, Default)]
struct Endpoint {
    /// The route for every method; then there is no other.
    every: Option<RouteMatch>,
    methods: Vec<(Box<str>, RouteMatch)>,
    /// The methods as the value of `Allow`.
    allow: String,
}

impl Default for Router {
    /// A router that knows no route.
    fn default() -> Self {
        // Fixed seeds: only the catalog fills the tables, so no client can make keys collide, and
        // the same catalog behaves the same everywhere.
        let hasher = RandomState::with_seeds(1, 2, 3, 4);
        Self {
            hosts: HashMap::with_hasher(hasher.clone()),
            nodes: vec![Node::default()],
            branches: HashTable::new(),
            hasher,
        }
    }
}

impl Router {
    /// Compiles the routes of all APIs: each with its index, its hosts (none: every host) and its
    /// routes.
    pub fn build<'a>(
        apis: impl Iterator<Item = (ApiIndex, &'a [String], &'a [RouteEntry])>,
    ) -> Result<Self, RouteError> {
        let mut router = Self::default();
        for (api, hosts, routes) in apis {
            let roots = router.roots(api, hosts)?;
            for (route, entry) in routes.iter().enumerate() {
                check_methods(api, route, entry)?;
                let segments = pattern::parse(&entry.path).map_err(|fault| RouteError::Path {
                    api,
                    route,
                    fault,
                })?;
                let number = u16::try_from(route).map_err(|_| RouteError::TooManyRoutes { api })?;
                for root in &roots {
                    let endpoint = router.endpoint(*root, &segments);
                    endpoint.claim(RouteMatch { api, route: number }, entry)?;
                }
            }
        }
        Ok(router)
    }

    /// Finds the route for a request. `host` comes without port, in any case; `path` is
    /// percent-encoded and passed [`check_path`](crate::route::path::check_path).
    pub fn find(&self, host: &str, path: &str, method: &str) -> Result<RouteMatch, NoRoute<'_>> {
        let Some(relative) = path.strip_prefix('/') else {
            return Err(NoRoute::Unknown);
        };
        let relative = Some(relative.as_bytes());
        self.root_of(host.as_bytes())
            .and_then(|root| self.descend(root, relative))
            .or_else(|| self.descend(ANY_HOST, relative))
            .ok_or(NoRoute::Unknown)?
            .route_for(method)
    }

    /// The tree of a host that has its own.
    fn root_of(&self, host: &[u8]) -> Option<NodeIndex> {
        // RFC 9110, section 4.2.3: "The scheme and host are case-insensitive and normally provided
        // in lowercase". A name may end in the dot of DNS's root and is the same name.
        let host = host.strip_suffix(b".").unwrap_or(host);
        if self.hosts.is_empty() || host.len() > HOST_BYTES_MAX {
            return None;
        }
        if !host.iter().any(u8::is_ascii_uppercase) {
            return self.hosts.get(host).copied();
        }
        let mut lower = [0; HOST_BYTES_MAX];
        let lower = &mut lower[..host.len()];
        lower.copy_from_slice(host);
        lower.make_ascii_lowercase();
        self.hosts.get(&*lower).copied()
    }

    /// The routes of the most specific pattern below `node` for the rest of a path; `None` stands
    /// for its end. Goes no deeper than the longest pattern.
    fn descend(&self, node: NodeIndex, path: Option<&[u8]>) -> Option<&Endpoint> {
        let here = &self.nodes[node];
        let Some(path) = path else {
            return here.exact.as_deref().or(here.rest.as_deref());
        };
        let (segment, behind) = match path.iter().position(|octet| *octet == b'/') {
            Some(end) => (&path[..end], Some(&path[end + 1..])),
            None => (path, None),
        };
        let literal = self
            .literal(node, segment)
            .and_then(|node| self.descend(node, behind));
        let parameter = |node| self.descend(node, behind);
        literal
            .or_else(|| {
                here.parameter
                    .filter(|_| !segment.is_empty())
                    .and_then(parameter)
            })
            .or(here.rest.as_deref())
    }

    /// Where the literal branch for `segment` leads.
    fn literal(&self, from: NodeIndex, segment: &[u8]) -> Option<NodeIndex> {
        if !self.nodes[from].branches {
            return None;
        }
        if !segment.contains(&b'%') {
            return self.branch(from, segment);
        }
        // A longer segment is no literal of any pattern.
        let mut plain = [0; SEGMENT_BYTES_MAX];
        let mut len = 0;
        let mut rest = segment;
        while let Some((octet, behind)) = first_octet(rest) {
            *plain.get_mut(len)? = octet;
            len += 1;
            rest = behind;
        }
        self.branch(from, &plain[..len])
    }

    /// Where the branch for `text` leads.
    fn branch(&self, from: NodeIndex, text: &[u8]) -> Option<NodeIndex> {
        let hash = self.hasher.hash_one((from, text));
        let same = |branch: &Branch| branch.from == from && *branch.text == *text;
        self.branches.find(hash, same).map(|branch| branch.to)
    }

    /// The roots under which an API's routes stand.
    fn roots(&mut self, api: ApiIndex, hosts: &[String]) -> Result<Vec<NodeIndex>, RouteError> {
        if hosts.is_empty() {
            return Ok(vec![ANY_HOST]);
        }
        let mut roots = Vec::with_capacity(hosts.len());
        for (place, host) in hosts.iter().enumerate() {
            if !pattern::is_host(host) {
                return Err(RouteError::Host { api, host: place });
            }
            let next = self.nodes.len();
            let root = *self.hosts.entry(host.as_bytes().into()).or_insert(next);
            if root == next {
                self.nodes.push(Node::default());
            }
            if !roots.contains(&root) {
                roots.push(root);
            }
        }
        Ok(roots)
    }

    /// The routes of a pattern, made if they are new.
    fn endpoint(&mut self, root: NodeIndex, segments: &[Segment]) -> &mut Endpoint {
        let mut node = root;
        for segment in segments {
            node = match segment {
                Segment::Literal(text) => self.grow_literal(node, text),
                Segment::Parameter => self.grow_parameter(node),
                Segment::Rest => return self.nodes[node].rest.get_or_insert_default(),
            };
        }
        self.nodes[node].exact.get_or_insert_default()
    }

    fn grow_literal(&mut self, from: NodeIndex, text: &[u8]) -> NodeIndex {
        if let Some(to) = self.branch(from, text) {
            return to;
        }
        let to = self.nodes.len();
        self.nodes.push(Node::default());
        self.nodes[from].branches = true;
        let Self {
            branches, hasher, ..
        } = self;
        let hash = hasher.hash_one((from, text));
        let branch = Branch {
            from,
            text: text.into(),
            to,
        };
        branches.insert_unique(hash, branch, |branch| {
            hasher.hash_one((branch.from, &*branch.text))
        });
        to
    }

    fn grow_parameter(&mut self, from: NodeIndex) -> NodeIndex {
        if let Some(to) = self.nodes[from].parameter {
            return to;
        }
        let to = self.nodes.len();
        self.nodes.push(Node::default());
        self.nodes[from].parameter = Some(to);
        to
    }
}

fn check_methods(api: ApiIndex, route: usize, entry: &RouteEntry) -> Result<(), RouteError> {
    match entry
        .methods
        .iter()
        .position(|method| !pattern::is_method(method))
    {
        Some(method) => Err(RouteError::Method { api, route, method }),
        None => Ok(()),
    }
}

impl Endpoint {
    /// The route for `method`.
    fn route_for(&self, method: &str) -> Result<RouteMatch, NoRoute<'_>> {
        self.every
            .or_else(|| self.claimed(method))
            .ok_or(NoRoute::Method(self.allow.as_str()))
    }

    fn claimed(&self, method: &str) -> Option<RouteMatch> {
        self.methods
            .iter()
            .find(|(known, _)| **known == *method)
            .map(|(_, route)| *route)
    }

    /// Adds the methods of one route.
    fn claim(&mut self, route: RouteMatch, entry: &RouteEntry) -> Result<(), RouteError> {
        let conflict = |first: RouteMatch| RouteError::Conflict {
            api: route.api,
            route: usize::from(route.route),
            other: first.api,
            other_route: usize::from(first.route),
            path: entry.path.clone(),
        };
        if let Some(first) = self.every {
            return Err(conflict(first));
        }
        if entry.methods.is_empty() {
            if let Some((_, first)) = self.methods.first() {
                return Err(conflict(*first));
            }
            self.every = Some(route);
            return Ok(());
        }
        // RFC 9110, section 9.3.2: "The HEAD method is identical to GET except that the server
        // MUST NOT send content in the response." Whoever may GET may ask for the headers.
        let head = entry
            .methods
            .iter()
            .any(|method| method == "GET")
            .then_some("HEAD");
        for method in entry.methods.iter().map(String::as_str).chain(head) {
            match self.claimed(method) {
                Some(first) if first != route => return Err(conflict(first)),
                Some(_) => {}
                None => self.methods.push((method.into(), route)),
            }
        }
        self.methods
            .sort_by(|(left, _), (right, _)| left.cmp(right));
        let methods: Vec<&str> = self.methods.iter().map(|(method, _)| &**method).collect();
        self.allow = methods.join(", ");
        Ok(())
    }
}

#[cfg(test)]
mod tests;
