//! Finds the route for a request, without allocation.
//!
//! What decides, in this order:
//!
//! 1. **Host**: a host's own routes before those of the longest wildcard above it
//!    (`*.eu.example.com`), then the next shorter one, then those of every host. The first of them
//!    in which the path matches decides alone.
//! 2. **Path**: the most specific pattern, read from the left: at each segment a literal before a
//!    parameter before the prefix (`*`) that reaches this far, stepping back where a branch leads
//!    nowhere. It decides alone: if the method or the conditions of its routes do not fit, no less
//!    specific pattern takes over.
//! 3. **Method**: a method that no route of the pattern takes is answered with those that are.
//! 4. **Conditions** on headers and query, API versions in a header among them: of the routes that
//!    are left the one with the most conditions, then with more of them on headers, then with more
//!    exact ones, then with more prefixes, then the first in the catalog. The first whose
//!    conditions all hold is meant. If none is, nothing is served here, or, where only the version
//!    is missing or wrong, no such version is.
//!
//! Literals are compared by what a path's escapes stand for: `/%6frders` is `/orders` here as it
//! is to an upstream, so that a spelling cannot slip past a specific route into a general one. The
//! checks of [`path`](super::path) see to it that no escape moves a segment's boundary.
//!
//! The work for one request is bounded when a catalog is loaded: at most [`STEPS_MAX`] places of a
//! tree are looked at, in at most [`WILDCARDS_MAX`](hosts::WILDCARDS_MAX) + 2 trees, and at most
//! [`CANDIDATES_MAX`](endpoint::CANDIDATES_MAX) routes are compared, whatever the number of
//! routes. Each node counts how far a request could make a search below it go; a route that would
//! take its tree beyond the bound is refused.

mod endpoint;
mod error;
mod hosts;

use std::fmt;

use ahash::RandomState;
use hashbrown::HashTable;
use httparse::Header;

use crate::parse::RequestHead;
use crate::route::ApiIndex;
use crate::route::condition::{self, Conditions};
use crate::route::path::first_octet;
use crate::route::pattern::{self, SEGMENT_BYTES_MAX, SEGMENTS_MAX, Segment};
use crate::snapshot::catalog::{ApiEntry, RouteEntry, VersionPlace};

pub use error::RouteError;

use endpoint::Endpoint;
use hosts::Hosts;

/// Most places of one tree that a search may look at.
pub const STEPS_MAX: u32 = 256;

/// Most routes of all APIs, each counted once for every host it is served on.
const PLACES_MAX: usize = 1 << 18;

/// The route that a request matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteMatch {
    /// The API.
    pub api: ApiIndex,
    /// The route's index in its API.
    pub route: u16,
}

/// What of a request decides its route.
#[derive(Clone, Copy)]
pub struct Asked<'r> {
    /// Without port, in any case.
    pub host: &'r str,
    /// Percent-encoded; passed [`check_path`](crate::route::path::check_path).
    pub path: &'r str,
    /// The method.
    pub method: &'r str,
    /// Without its `?`.
    pub query: Option<&'r str>,
    /// All header lines.
    pub headers: &'r [Header<'r>],
}

impl<'r> Asked<'r> {
    /// What `head` asks for.
    pub fn of(head: &'r RequestHead<'_, 'r>) -> Self {
        Self {
            host: head.host,
            path: head.path,
            method: head.method,
            query: head.query,
            headers: head.headers,
        }
    }
}

/// Shows neither query nor headers: both may hold a key.
impl fmt::Debug for Asked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asked")
            .field("host", &self.host)
            .field("path", &self.path)
            .field("method", &self.method)
            .finish_non_exhaustive()
    }
}

/// Why there is no route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRoute<'r> {
    /// No route matches the host, path and conditions.
    Unknown,
    /// The path is known, the method is not among its methods: the value for `Allow`.
    Method(&'r str),
    /// Only the version that the request names in its header, or fails to name, is in the way.
    Version,
}

/// Index of a [`Node`]; the first one is the root of the tree for every host.
type NodeIndex = usize;
const ANY_HOST: NodeIndex = 0;

/// All routes of a catalog, compiled.
#[derive(Debug)]
pub struct Router {
    hosts: Hosts,
    nodes: Vec<Node>,
    /// The literal branches of all nodes, found by node and text.
    branches: HashTable<Branch>,
    hasher: RandomState,
    /// Routes added so far, once for each host.
    places: usize,
}

/// A place in a tree: the segments from the root to here have matched.
#[derive(Debug, Default)]
struct Node {
    /// A branch for any one segment.
    parameter: Option<NodeIndex>,
    /// Most places that a search may look at behind one literal branch; 0 without any.
    branch_steps: u32,
    /// Most places that a search may look at from here on, this one included.
    steps: u32,
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

impl Default for Router {
    /// A router that knows no route.
    fn default() -> Self {
        // Fixed seeds: only the catalog fills the tables, so no client can make keys collide, and
        // the same catalog behaves the same everywhere.
        let hasher = RandomState::with_seeds(1, 2, 3, 4);
        Self {
            hosts: Hosts::new(hasher.clone()),
            nodes: vec![Node::default()],
            branches: HashTable::new(),
            hasher,
            places: 0,
        }
    }
}

/// A request's path, cut into as many segments as the longest pattern has, and one more.
struct Cut<'r> {
    path: &'r [u8],
    ends: &'r [usize],
    has_escapes: bool,
}

/// Room for the ends of a path's segments.
type Ends = [usize; SEGMENTS_MAX + 2];

impl<'r> Cut<'r> {
    fn new(path: &'r [u8], ends: &'r mut Ends) -> Self {
        let mut count = 0;
        let mut has_escapes = false;
        // Octet by octet: most paths are too short for anything faster to be faster.
        for (place, octet) in path.iter().enumerate() {
            has_escapes |= *octet == b'%';
            if *octet == b'/' {
                let Some(end) = ends.get_mut(count) else {
                    break;
                };
                *end = place;
                count += 1;
            }
        }
        if let Some(end) = ends.get_mut(count) {
            *end = path.len();
            count += 1;
        }
        Self {
            path,
            ends: &ends[..count],
            has_escapes,
        }
    }

    /// The segment at `place`; `None` behind the last one.
    fn segment(&self, place: usize) -> Option<&'r [u8]> {
        let end = *self.ends.get(place)?;
        let start = place
            .checked_sub(1)
            .map_or(0, |before| self.ends[before] + 1);
        Some(&self.path[start..end])
    }
}

impl Router {
    /// Compiles the routes of all APIs, each with its index.
    pub fn build<'a>(
        apis: impl Iterator<Item = (ApiIndex, &'a ApiEntry)>,
    ) -> Result<Self, RouteError> {
        let mut router = Self::default();
        for (api, entry) in apis {
            router.add(api, entry)?;
        }
        if let Some(api) = router.hosts.nested_too_deep() {
            return Err(RouteError::TooManyWildcards { api });
        }
        for node in &mut router.nodes {
            for endpoint in node.exact.iter_mut().chain(&mut node.rest) {
                endpoint.seal()?;
            }
        }
        Ok(router)
    }

    fn add(&mut self, api: ApiIndex, entry: &ApiEntry) -> Result<(), RouteError> {
        let roots = self.roots(api, &entry.hosts)?;
        self.places = self
            .places
            .saturating_add(roots.len().saturating_mul(entry.routes.len()));
        if self.places > PLACES_MAX {
            return Err(RouteError::TooManyPlaces { api });
        }
        let (version, before) = version_of(api, entry)?;
        for (route, written) in entry.routes.iter().enumerate() {
            check_methods(api, route, written)?;
            let number = u16::try_from(route).map_err(|_| RouteError::TooManyRoutes { api })?;
            let segments = pattern::parse(&written.path).map_err(|fault| RouteError::Path {
                api,
                route,
                fault,
            })?;
            let segments: Vec<Segment> = before.iter().cloned().chain(segments).collect();
            let conditions = Conditions::new(&written.headers, &written.query, version.as_ref())
                .map_err(|(list, at, fault)| RouteError::Condition {
                    api,
                    route,
                    list,
                    at,
                    fault,
                })?;
            for root in &roots {
                let endpoint = self.endpoint(*root, &segments);
                let found = RouteMatch { api, route: number };
                endpoint.claim(found, &written.path, &written.methods, &conditions)?;
                if self.nodes[*root].steps > STEPS_MAX {
                    return Err(RouteError::TooManySteps { api, route });
                }
            }
        }
        Ok(())
    }

    /// Finds the route for a request.
    pub fn find(&self, asked: &Asked<'_>) -> Result<RouteMatch, NoRoute<'_>> {
        self.endpoint_of(asked.host, asked.path)
            .ok_or(NoRoute::Unknown)?
            .route_for(asked)
    }

    /// The first route that a preflight (Fetch standard, section 3.2.2) for `asked.method` could
    /// mean and that `is_meant`; its headers are not known yet.
    pub fn preflight(
        &self,
        asked: &Asked<'_>,
        is_meant: impl Fn(RouteMatch) -> bool,
    ) -> Option<RouteMatch> {
        self.endpoint_of(asked.host, asked.path)?
            .preflight(asked, is_meant)
    }

    /// The value of `Allow` for a host and path: empty where every method is served, or none.
    pub fn allow(&self, host: &str, path: &str) -> &str {
        self.endpoint_of(host, path).map_or("", Endpoint::allow)
    }

    fn endpoint_of(&self, host: &str, path: &str) -> Option<&Endpoint> {
        let mut ends: Ends = [0; SEGMENTS_MAX + 2];
        let cut = Cut::new(path.strip_prefix('/')?.as_bytes(), &mut ends);
        self.hosts
            .search(host.as_bytes(), |root| self.descend(root, &cut, 0))
            .or_else(|| self.descend(ANY_HOST, &cut, 0))
    }

    /// The routes of the most specific pattern below `node` for a path from its segment `place`
    /// on. Goes no deeper than the longest pattern.
    fn descend(&self, node: NodeIndex, path: &Cut<'_>, place: usize) -> Option<&Endpoint> {
        let here = &self.nodes[node];
        let Some(segment) = path.segment(place) else {
            return here.exact.as_deref().or(here.rest.as_deref());
        };
        let literal = self
            .literal(node, segment, path.has_escapes)
            .and_then(|node| self.descend(node, path, place + 1));
        let parameter = |node| self.descend(node, path, place + 1);
        literal
            .or_else(|| {
                here.parameter
                    .filter(|_| !segment.is_empty())
                    .and_then(parameter)
            })
            .or(here.rest.as_deref())
    }

    /// Where the literal branch for `segment` leads.
    fn literal(&self, from: NodeIndex, segment: &[u8], has_escapes: bool) -> Option<NodeIndex> {
        if self.nodes[from].branch_steps == 0 {
            return None;
        }
        if !has_escapes {
            // A longer segment is no literal of any pattern, and not worth a hash.
            let is_short = segment.len() <= SEGMENT_BYTES_MAX;
            return is_short.then(|| self.branch(from, segment)).flatten();
        }
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
            if !pattern::is_host_pattern(host) {
                return Err(RouteError::Host { api, host: place });
            }
            let next = self.nodes.len();
            let root = self.hosts.root(host, next, api);
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
        let mut way = vec![root];
        let mut node = root;
        let mut is_rest = false;
        for segment in segments {
            node = match segment {
                Segment::Literal(text) => self.grow_literal(node, text),
                Segment::Parameter(_) => self.grow_parameter(node),
                Segment::Rest => {
                    is_rest = true;
                    break;
                }
            };
            way.push(node);
        }
        self.count_steps(&way);
        let node = &mut self.nodes[node];
        let endpoint = if is_rest {
            &mut node.rest
        } else {
            &mut node.exact
        };
        endpoint.get_or_insert_default()
    }

    /// Counts anew, from the end of `way` to its root, how far a search can go. A request has one
    /// text at each segment, so it goes into one literal branch at most, and into the parameter.
    fn count_steps(&mut self, way: &[NodeIndex]) {
        let mut below: Option<(NodeIndex, u32)> = None;
        for place in way.iter().rev() {
            let parameter = self.nodes[*place].parameter;
            let parameter_steps = parameter.map_or(0, |parameter| self.nodes[parameter].steps);
            let node = &mut self.nodes[*place];
            match below {
                Some((child, steps)) if parameter != Some(child) => {
                    node.branch_steps = node.branch_steps.max(steps);
                }
                _ => {}
            }
            node.steps = node
                .branch_steps
                .saturating_add(parameter_steps)
                .saturating_add(1);
            below = Some((*place, node.steps));
        }
    }

    fn grow_literal(&mut self, from: NodeIndex, text: &[u8]) -> NodeIndex {
        if let Some(to) = self.branch(from, text) {
            return to;
        }
        let to = self.nodes.len();
        self.nodes.push(Node::default());
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

/// What an API's version asks of a request: a condition, or a first segment.
fn version_of(
    api: ApiIndex,
    entry: &ApiEntry,
) -> Result<(Option<condition::Condition>, Option<Segment>), RouteError> {
    match &entry.version_in {
        None => Ok((None, None)),
        Some(VersionPlace::Path) => {
            let segment = pattern::version(&entry.version)
                .map_err(|fault| RouteError::Version { api, fault })?;
            Ok((None, Some(segment)))
        }
        Some(VersionPlace::Header(header)) => {
            let condition =
                condition::Condition::version(&header.name, &entry.version, header.default)
                    .map_err(|fault| RouteError::VersionHeader { api, fault })?;
            Ok((Some(condition), None))
        }
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

#[cfg(test)]
mod model_tests;
#[cfg(test)]
pub(super) mod tests;
