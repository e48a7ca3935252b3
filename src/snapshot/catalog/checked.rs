//! The catalog in the form that workers read: every reference an index, addresses parsed, routes
//! compiled, nothing left that could be wrong.
//!
//! Made once per generation by [`Catalog::check`] and shared read-only by all workers. Records of
//! apps and keys name tenants, APIs and plans by number, and may be older than the catalog beside
//! them: a number that is not found here was deleted, and the caller refuses.

use ahash::RandomState;
use hashbrown::HashMap;

use crate::limit::CompiledLimit;
use crate::record::log_policy::LogPolicy;
use crate::respond::cors::Cors;
use crate::route::matcher::Router;
use crate::route::split::Split;
use crate::route::{ApiIndex, UpstreamIndex};

use super::check::{self, At, CatalogError, CatalogProblem};
use super::routes::{self, Route};
use super::upstreams::Upstream;
use super::{CatalogFile, KeyFormats, LimitEntry, PlanEntry};

/// Where each stable number stands in its list.
pub(super) type Places = HashMap<u32, u32, RandomState>;

/// One tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// Stable number, at least 1.
    pub number: u32,
    /// Unique name.
    pub name: String,
    /// A disabled tenant's keys are refused.
    pub enabled: bool,
}

/// One plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Stable number, at least 1.
    pub number: u32,
    /// Unique name.
    pub name: String,
    /// Limits that every request under this plan is held to; each value within its bounds.
    pub limits: Vec<LimitEntry>,
    /// The same limits, ready for the decision.
    pub compiled: Vec<CompiledLimit>,
}

/// Where an API takes its key from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credential {
    /// Lower-case name of the header that carries the key instead of `Authorization: Bearer` and
    /// `X-API-Key`.
    pub header: Option<String>,
    /// Query parameter that may carry the key; off when absent.
    pub query: Option<String>,
}

/// One API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Api {
    /// Stable number, at least 1.
    pub number: u32,
    /// Unique name.
    pub name: String,
    /// Version as its owner writes it.
    pub version: String,
    /// False: served to anyone, no key asked.
    pub key_required: bool,
    /// Where its key travels.
    pub credential: Credential,
    /// Who serves it, where neither a route nor the split says otherwise.
    pub upstream: UpstreamIndex,
    /// How its requests are split between upstreams.
    pub split: Option<Split>,
    /// Largest request body; `u64::MAX` for no cap of its own.
    pub body_bytes_max: u64,
    /// Protocols that a client may switch to, in lower case.
    pub upgrades: Vec<String>,
    /// Who may call it from a page of another origin.
    pub cors: Option<Cors>,
    /// What the call log says of its calls.
    pub log: LogPolicy,
    /// Limits that every request to it is held to, ready for the decision.
    pub limits: Vec<CompiledLimit>,
    /// Its routes; what [`RouteMatch::route`](crate::route::RouteMatch::route) counts.
    pub routes: Vec<Route>,
}

impl Api {
    /// The route at an index of this API.
    ///
    /// # Panics
    /// As [`Catalog::api`].
    pub fn route(&self, index: u16) -> &Route {
        &self.routes[usize::from(index)]
    }
}

/// The checked catalog of one generation.
#[derive(Debug)]
pub struct Catalog {
    /// Which forms of keys exist beside Keyway's own.
    pub key_formats: KeyFormats,
    /// All tenants.
    pub tenants: Vec<Tenant>,
    /// All plans.
    pub plans: Vec<Plan>,
    /// All APIs; [`ApiIndex`] counts in this order.
    pub apis: Vec<Api>,
    /// All upstreams; [`UpstreamIndex`] counts in this order.
    pub upstreams: Vec<Upstream>,
    /// Finds the API that serves a host, path and method.
    pub router: Router,
    tenant_places: Places,
    plan_places: Places,
    api_places: Places,
}

impl Catalog {
    /// Checks the meaning of a catalog as written; the error names the place that is wrong.
    pub fn check(file: CatalogFile) -> Result<Self, CatalogError> {
        check::catalog(&file)?;
        let upstream_places = places(file.upstreams.iter().map(|entry| entry.number));
        let router = router(&file)?;
        let apis = apis(&file, &upstream_places)?;
        let upstreams = upstreams(&file)?;
        let tenants: Vec<Tenant> = file
            .tenants
            .into_iter()
            .map(|entry| Tenant {
                number: entry.number,
                name: entry.name,
                enabled: entry.enabled,
            })
            .collect();
        let plans = plans(file.plans)?;
        Ok(Self {
            key_formats: file.key_formats,
            tenant_places: places(tenants.iter().map(|tenant| tenant.number)),
            plan_places: places(plans.iter().map(|plan| plan.number)),
            api_places: places(apis.iter().map(|api| api.number)),
            tenants,
            plans,
            apis,
            upstreams,
            router,
        })
    }

    /// The API at an index of this catalog.
    ///
    /// # Panics
    /// If the index comes from another generation's catalog and is out of range here: an index
    /// lives no longer than the request that found it.
    pub fn api(&self, index: ApiIndex) -> &Api {
        &self.apis[usize_of(index.0)]
    }

    /// The upstream at an index of this catalog.
    ///
    /// # Panics
    /// As [`Catalog::api`].
    pub fn upstream(&self, index: UpstreamIndex) -> &Upstream {
        &self.upstreams[usize_of(index.0)]
    }

    /// The API with this number.
    pub fn api_by_number(&self, number: u32) -> Option<&Api> {
        self.apis.get(usize_of(*self.api_places.get(&number)?))
    }

    /// The plan with this number; `None` if it was deleted after the record that names it.
    pub fn plan_by_number(&self, number: u32) -> Option<&Plan> {
        self.plans.get(usize_of(*self.plan_places.get(&number)?))
    }

    /// The tenant with this number; `None` if it was deleted after the record that names it.
    pub fn tenant_by_number(&self, number: u32) -> Option<&Tenant> {
        self.tenants
            .get(usize_of(*self.tenant_places.get(&number)?))
    }
}

fn usize_of(index: u32) -> usize {
    usize::try_from(index).expect("Keyway runs where an address has at least 32 bits")
}

fn places(numbers: impl Iterator<Item = u32>) -> Places {
    numbers.zip(0..).collect()
}

fn router(file: &CatalogFile) -> Result<Router, CatalogError> {
    let apis = file
        .apis
        .iter()
        .zip(0..)
        .map(|(api, index)| (ApiIndex(index), api));
    Router::build(apis).map_err(|cause| {
        // The router says first where in the catalog the fault is.
        let text = cause.to_string();
        let (path, problem) = text.split_once(": ").unwrap_or(("apis", &text));
        let problem = CatalogProblem::Route(problem.to_owned());
        CatalogError {
            path: path.to_owned(),
            problem,
        }
    })
}

fn plans(entries: Vec<PlanEntry>) -> Result<Vec<Plan>, CatalogError> {
    let list = At::new("plans");
    let mut plans = Vec::with_capacity(entries.len());
    for (at, entry) in entries.into_iter().enumerate() {
        let compiled = limits(&entry.limits, &list.item(at).field("limits"))?;
        let PlanEntry {
            number,
            name,
            limits,
        } = entry;
        plans.push(Plan {
            number,
            name,
            limits,
            compiled,
        });
    }
    Ok(plans)
}

fn limits(entries: &[LimitEntry], list: &At<'_>) -> Result<Vec<CompiledLimit>, CatalogError> {
    let compile = |(at, limit): (usize, &LimitEntry)| {
        let compiled = CompiledLimit::new(limit);
        compiled.map_err(|cause| list.item(at).fail(CatalogProblem::Limit(cause)))
    };
    entries.iter().enumerate().map(compile).collect()
}

fn apis(file: &CatalogFile, upstream_places: &Places) -> Result<Vec<Api>, CatalogError> {
    let mut apis = Vec::with_capacity(file.apis.len());
    for (at, entry) in file.apis.iter().enumerate() {
        let list = At::new("apis");
        let at = list.item(at);
        let upstream = routes::upstream(entry.upstream, upstream_places, &at.field("upstream"))?;
        apis.push(Api {
            number: entry.number,
            name: entry.name.clone(),
            version: entry.version.clone(),
            key_required: entry.key_required,
            credential: Credential {
                header: entry
                    .credential
                    .header
                    .as_deref()
                    .map(str::to_ascii_lowercase),
                query: entry.credential.query.clone(),
            },
            upstream,
            split: routes::split(entry, upstream_places, &at)?,
            body_bytes_max: entry.body_bytes_max.unwrap_or(u64::MAX),
            upgrades: entry.upgrades.clone(),
            cors: entry.cors.as_ref().map(Cors::new),
            log: LogPolicy::new(&entry.log, &entry.credential),
            limits: limits(&entry.limits, &at.field("limits"))?,
            routes: routes::routes(entry, upstream_places, &at)?,
        });
    }
    Ok(apis)
}

fn upstreams(file: &CatalogFile) -> Result<Vec<Upstream>, CatalogError> {
    let mut upstreams = Vec::with_capacity(file.upstreams.len());
    for (at, entry) in file.upstreams.iter().enumerate() {
        upstreams.push(Upstream::check(entry, &At::new("upstreams").item(at))?);
    }
    Ok(upstreams)
}
