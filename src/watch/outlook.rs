//! What is known of the targets of watched upstreams, as workers choose by it and operators see it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ahash::RandomState;
use hashbrown::{HashMap, HashSet};

use crate::clock::WallTime;
use crate::io::Endpoint;
use crate::snapshot::catalog::{Place, Target};

/// Everything that is known, by the number of the upstream.
#[derive(Clone, Debug, Default)]
pub struct Outlook {
    /// Of upstreams with active checks or named targets.
    pub upstreams: HashMap<u32, Arc<UpstreamOutlook>, RandomState>,
}

/// One upstream.
#[derive(Clone, Debug, Default)]
pub struct UpstreamOutlook {
    /// Its name.
    pub name: String,
    /// Changes when anything does that a worker chooses by.
    pub version: u64,
    /// Its named targets.
    pub names: Vec<NameOutlook>,
    /// What is checked, if anything is.
    pub targets: Vec<TargetOutlook>,
    /// Those of them that get no requests.
    unhealthy: HashSet<Endpoint, RandomState>,
}

/// A host name.
#[derive(Clone, Debug)]
pub struct NameOutlook {
    /// The name.
    pub host: Arc<str>,
    /// The last good answer, sorted; empty before the first.
    pub addresses: Vec<IpAddr>,
    /// When that answer was given, if one was.
    pub resolved: Option<WallTime>,
    /// Why there was no newer one.
    pub last_error: Option<String>,
}

/// A checked target.
#[derive(Clone, Debug)]
pub struct TargetOutlook {
    /// Where it is.
    pub endpoint: Endpoint,
    /// Whether it gets requests.
    pub healthy: bool,
    /// Since when that is so.
    pub since: WallTime,
    /// What was wrong at the last bad check.
    pub last_error: Option<String>,
}

impl UpstreamOutlook {
    /// What is known of the names of an upstream.
    pub fn of_names(name: &str, names: Vec<NameOutlook>) -> Self {
        Self {
            name: name.to_owned(),
            names,
            ..Self::default()
        }
    }

    /// With what is known of its targets.
    pub fn with(mut self, version: u64, targets: Vec<TargetOutlook>) -> Self {
        let unhealthy = targets.iter().filter(|target| !target.healthy);
        self.unhealthy = unhealthy.map(|target| target.endpoint.clone()).collect();
        self.targets = targets;
        self.version = version;
        self
    }

    /// The target's checks say that it serves; also said where there are none.
    pub fn is_healthy(&self, endpoint: &Endpoint) -> bool {
        self.unhealthy.is_empty() || !self.unhealthy.contains(endpoint)
    }

    fn addresses(&self, host: &str) -> &[IpAddr] {
        let name = self.names.iter().find(|name| &*name.host == host);
        name.map_or(&[], |name| &name.addresses)
    }
}

impl Outlook {
    /// What is known of the upstream with this number; nothing, if it is not watched.
    pub fn of(&self, number: u32) -> Option<&UpstreamOutlook> {
        self.upstreams.get(&number).map(Arc::as_ref)
    }
}

/// Where `target` is: itself, or each address of its name.
pub fn endpoints<'t>(
    target: &'t Target,
    outlook: Option<&'t UpstreamOutlook>,
) -> impl Iterator<Item = Endpoint> + 't {
    let (itself, named) = match &target.place {
        Place::At(endpoint) => (Some(endpoint.clone()), None),
        Place::Named { host, port } => (None, Some((host, *port))),
    };
    let named = named.into_iter().flat_map(move |(host, port)| {
        let addresses = outlook.map_or(&[][..], |outlook| outlook.addresses(host));
        let at = move |ip: &IpAddr| Endpoint::Tcp(SocketAddr::new(*ip, port));
        addresses.iter().map(at)
    });
    itself.into_iter().chain(named)
}
