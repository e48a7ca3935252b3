//! What is to be watched, as a catalog says it.

use crate::snapshot::catalog::{Catalog, HealthCheck, Target, Upstream, UpstreamTls};

/// The upstreams that are to be watched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) upstreams: Vec<Watched>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Watched {
    pub(super) number: u32,
    pub(super) name: String,
    pub(super) targets: Vec<Target>,
    pub(super) health: Option<HealthCheck>,
    /// Host that requests ask for.
    pub(super) host: Option<Box<str>>,
    pub(super) tls: Option<UpstreamTls>,
}

impl Plan {
    /// Those with active checks or named targets.
    pub(super) fn of(catalog: &Catalog) -> Self {
        let named = |upstream: &&Upstream| {
            let named = |target: &Target| target.place.host().is_some();
            upstream.health.is_some() || upstream.targets.iter().any(named)
        };
        let watched = catalog.upstreams.iter().filter(named);
        Self {
            upstreams: watched.map(Watched::of).collect(),
        }
    }

    /// Whether any target is a name.
    pub(super) fn has_names(&self) -> bool {
        self.upstreams
            .iter()
            .any(|one| one.hosts().next().is_some())
    }
}

impl Watched {
    fn of(upstream: &Upstream) -> Self {
        Self {
            number: upstream.number,
            name: upstream.name.clone(),
            targets: upstream.targets.clone(),
            health: upstream.health.clone(),
            host: upstream.host.clone(),
            tls: upstream.tls.as_ref().map(|(tls, _)| tls.clone()),
        }
    }

    /// The names of its targets, some perhaps more than once.
    pub(super) fn hosts(&self) -> impl Iterator<Item = &std::sync::Arc<str>> {
        self.targets.iter().filter_map(|target| target.place.host())
    }
}
