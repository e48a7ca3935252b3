//! The routes of one pattern on one host, told apart by method and conditions.
//!
//! For each method there is one list of candidates, the most special first; the first whose
//! conditions hold is the route. Lists are short by [`CANDIDATES_MAX`], and what they ask of a
//! request is read once for all of them.

use super::{Asked, NoRoute, RouteError, RouteMatch};
use crate::route::condition::{Bound, Conditions, Names, Rank, Values};

/// Most routes for one host, path and method.
pub(super) const CANDIDATES_MAX: usize = 64;

/// The routes of one pattern.
#[derive(Debug, Default)]
pub(super) struct Endpoint {
    claims: Vec<Claim>,
    /// Those for a method that none lists, as places in `claims`.
    every: Vec<usize>,
    /// Those for the methods that some list, in the order of methods.
    methods: Vec<(Box<str>, Vec<usize>)>,
    /// The methods as the value of `Allow`.
    allow: String,
    names: Names,
}

/// One route's claim on the pattern.
#[derive(Debug)]
struct Claim {
    route: RouteMatch,
    /// None: every method.
    methods: Vec<Box<str>>,
    conditions: Conditions,
    bound: Box<[Bound]>,
}

impl Claim {
    fn takes(&self, method: &str) -> bool {
        self.methods.is_empty() || self.lists(method)
    }

    fn lists(&self, method: &str) -> bool {
        self.methods.iter().any(|listed| **listed == *method)
    }

    fn meets(&self, other: &Self) -> bool {
        self.methods.is_empty()
            || other.methods.is_empty()
            || self.methods.iter().any(|method| other.lists(method))
    }
}

impl Endpoint {
    /// Adds a route; `path` is its pattern as written.
    pub fn claim(
        &mut self,
        route: RouteMatch,
        path: &str,
        methods: &[String],
        conditions: &Conditions,
    ) -> Result<(), RouteError> {
        // RFC 9110, section 9.3.2: "The HEAD method is identical to GET except that the server
        // MUST NOT send content in the response." Whoever may GET may ask for the headers.
        let head = methods
            .iter()
            .any(|method| method == "GET")
            .then_some("HEAD");
        let listed = methods.iter().map(String::as_str).chain(head);
        let mut methods: Vec<Box<str>> = listed.map(Into::into).collect();
        methods.sort();
        methods.dedup();
        let (api, number) = (route.api, usize::from(route.route));
        let Some(bound) = conditions.bind(&mut self.names) else {
            return Err(RouteError::TooManyNames { api, route: number });
        };
        let claim = Claim {
            route,
            methods,
            conditions: conditions.clone(),
            bound,
        };
        let rival = self
            .claims
            .iter()
            .find(|other| other.conditions.collide(conditions) && other.meets(&claim));
        if let Some(rival) = rival {
            return Err(RouteError::Conflict {
                api,
                route: number,
                other: rival.route.api,
                other_route: usize::from(rival.route.route),
                path: path.to_owned(),
            });
        }
        self.claims.push(claim);
        Ok(())
    }

    /// Makes the lists of candidates, once all routes are there.
    pub fn seal(&mut self) -> Result<(), RouteError> {
        let mut listed: Vec<Box<str>> = self
            .claims
            .iter()
            .flat_map(|claim| claim.methods.iter().cloned())
            .collect();
        listed.sort();
        listed.dedup();
        self.allow = listed.join(", ");
        self.every = self.candidates(|claim| claim.methods.is_empty())?;
        for method in listed {
            let candidates = self.candidates(|claim| claim.takes(&method))?;
            self.methods.push((method, candidates));
        }
        Ok(())
    }

    /// The claims that `are` meant, the most special first, else in the catalog's order.
    fn candidates(&self, are: impl Fn(&Claim) -> bool) -> Result<Vec<usize>, RouteError> {
        let places = (0..self.claims.len()).filter(|place| are(&self.claims[*place]));
        let mut candidates: Vec<usize> = places.collect();
        if let Some(place) = candidates.get(CANDIDATES_MAX) {
            let route = self.claims[*place].route;
            return Err(RouteError::TooManyCandidates {
                api: route.api,
                route: usize::from(route.route),
            });
        }
        let rank = |place: &usize| -> Rank { self.claims[*place].conditions.rank() };
        candidates.sort_by_key(|place| std::cmp::Reverse(rank(place)));
        Ok(candidates)
    }

    fn candidates_for(&self, method: &str) -> &[usize] {
        let listed = self
            .methods
            .binary_search_by(|(listed, _)| (**listed).cmp(method));
        listed.map_or(&self.every, |place| &self.methods[place].1)
    }

    /// The route for a request whose host and path have led here.
    pub fn route_for(&self, asked: &Asked<'_>) -> Result<RouteMatch, NoRoute<'_>> {
        let candidates = self.candidates_for(asked.method);
        match candidates.first().map(|place| &self.claims[*place]) {
            None => Err(NoRoute::Method(&self.allow)),
            Some(best) if best.bound.is_empty() => Ok(best.route),
            Some(_) => self.choose(candidates, asked),
        }
    }

    fn choose(&self, candidates: &[usize], asked: &Asked<'_>) -> Result<RouteMatch, NoRoute<'_>> {
        let values = Values::read(&self.names, asked.headers, asked.query);
        let mut cause = NoRoute::Unknown;
        for claim in candidates.iter().map(|place| &self.claims[*place]) {
            let mut missed = claim.bound.iter().filter(|bound| !bound.holds(&values));
            match (missed.next(), missed.next()) {
                (None, _) => return Ok(claim.route),
                (Some(only), None) if only.is_version() => cause = NoRoute::Version,
                _ => {}
            }
        }
        Err(cause)
    }

    /// The first route for `asked.method` that `is_meant`. A preflight says which headers will
    /// come but not their values: conditions on headers do not count.
    pub fn preflight(
        &self,
        asked: &Asked<'_>,
        is_meant: impl Fn(RouteMatch) -> bool,
    ) -> Option<RouteMatch> {
        let values = Values::read(&self.names, &[], asked.query);
        let could_be = |claim: &&Claim| {
            let holds = |bound: &Bound| bound.is_header() || bound.holds(&values);
            claim.bound.iter().all(holds) && is_meant(claim.route)
        };
        self.candidates_for(asked.method)
            .iter()
            .map(|place| &self.claims[*place])
            .find(could_be)
            .map(|claim| claim.route)
    }

    /// The value of `Allow`.
    pub fn allow(&self) -> &str {
        &self.allow
    }
}
