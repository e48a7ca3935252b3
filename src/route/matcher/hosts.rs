//! Which trees of routes a host name leads to, the most specific first: its own, then those of the
//! wildcards above it from the longest to the shortest.

use ahash::RandomState;
use hashbrown::HashMap;

use super::{ApiIndex, NodeIndex};
use crate::route::pattern::HOST_BYTES_MAX;

/// Most wildcards that may cover one name: each is another tree to search.
pub(super) const WILDCARDS_MAX: usize = 4;

/// The roots of the trees of hosts.
#[derive(Debug)]
pub(super) struct Hosts {
    exact: HashMap<Box<[u8]>, NodeIndex, RandomState>,
    /// By what stands behind `*.`; with the API that named it first.
    wildcard: HashMap<Box<[u8]>, (NodeIndex, ApiIndex), RandomState>,
    /// Labels of the longest wildcard: longer suffixes of a host need no lookup.
    wildcard_labels_max: usize,
}

impl Hosts {
    pub fn new(hasher: RandomState) -> Self {
        Self {
            exact: HashMap::with_hasher(hasher.clone()),
            wildcard: HashMap::with_hasher(hasher),
            wildcard_labels_max: 0,
        }
    }

    /// The root for `host` as a catalog writes it, `next` if it is new.
    pub fn root(&mut self, host: &str, next: NodeIndex, api: ApiIndex) -> NodeIndex {
        let Some(suffix) = host.strip_prefix("*.") else {
            return *self.exact.entry(host.as_bytes().into()).or_insert(next);
        };
        let labels = suffix.split('.').count();
        self.wildcard_labels_max = self.wildcard_labels_max.max(labels);
        let entry = self.wildcard.entry(suffix.as_bytes().into());
        entry.or_insert((next, api)).0
    }

    /// An API whose wildcard lies within [`WILDCARDS_MAX`] others or more, if there is one.
    pub fn nested_too_deep(&self) -> Option<ApiIndex> {
        let is_too_deep = |suffix: &[u8]| {
            let above = suffixes(suffix).filter(|above| self.wildcard.contains_key(*above));
            above.count() >= WILDCARDS_MAX
        };
        let deep = self
            .wildcard
            .iter()
            .filter(|(suffix, _)| is_too_deep(suffix));
        deep.map(|(_, (_, api))| *api).min()
    }

    /// What `search` finds under the most specific root for `host`.
    pub fn search<T>(
        &self,
        host: &[u8],
        mut search: impl FnMut(NodeIndex) -> Option<T>,
    ) -> Option<T> {
        // RFC 9110, section 4.2.3: "The scheme and host are case-insensitive and normally provided
        // in lowercase". A name may end in the dot of DNS's root and is the same name.
        let host = host.strip_suffix(b".").unwrap_or(host);
        if host.len() > HOST_BYTES_MAX || (self.exact.is_empty() && self.wildcard.is_empty()) {
            return None;
        }
        if !host.iter().any(u8::is_ascii_uppercase) {
            return self.search_lower(host, &mut search);
        }
        let mut lower = [0; HOST_BYTES_MAX];
        let lower = &mut lower[..host.len()];
        lower.copy_from_slice(host);
        lower.make_ascii_lowercase();
        self.search_lower(lower, &mut search)
    }

    fn search_lower<T>(
        &self,
        host: &[u8],
        search: &mut impl FnMut(NodeIndex) -> Option<T>,
    ) -> Option<T> {
        let own = self.exact.get(host).and_then(|root| search(*root));
        if own.is_some() || self.wildcard.is_empty() {
            return own;
        }
        let labels = 1 + memchr::memchr_iter(b'.', host).count();
        let too_long = labels.saturating_sub(1 + self.wildcard_labels_max);
        suffixes(host)
            .skip(too_long)
            .filter_map(|suffix| self.wildcard.get(suffix))
            .find_map(|(root, _)| search(*root))
    }
}

/// What stands behind each dot of a name that has something before it, the longest first.
fn suffixes(host: &[u8]) -> impl Iterator<Item = &[u8]> {
    memchr::memchr_iter(b'.', host)
        .filter(|dot| *dot > 0)
        .map(|dot| &host[dot + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(names: &[&str]) -> Hosts {
        let mut hosts = Hosts::new(RandomState::with_seeds(1, 2, 3, 4));
        for (place, name) in names.iter().enumerate() {
            hosts.root(name, place, ApiIndex(0));
        }
        hosts
    }

    /// The roots that a search goes through.
    fn tried(hosts: &Hosts, host: &str) -> Vec<NodeIndex> {
        let mut tried = Vec::new();
        hosts.search(host.as_bytes(), |root| {
            tried.push(root);
            None::<()>
        });
        tried
    }

    #[test]
    fn the_longest_wildcard_comes_first_and_the_name_itself_before_all() {
        let hosts = hosts(&[
            "*.example.com",
            "*.eu.example.com",
            "a.eu.example.com",
            "*.com",
        ]);
        for (host, expected) in [
            ("a.eu.example.com", &[2, 1, 0, 3][..]),
            ("A.EU.Example.Com.", &[2, 1, 0, 3]),
            ("b.a.eu.example.com", &[1, 0, 3]),
            ("eu.example.com", &[0, 3]),
            ("example.com", &[3]),
            ("com", &[]),
            (".com", &[]),
            (".example.com", &[3]),
            ("aexample.com", &[3]),
            ("example.org", &[]),
            ("", &[]),
        ] {
            assert_eq!(tried(&hosts, host), expected, "{host}");
        }
    }

    #[test]
    fn few_wildcards_may_cover_one_name() {
        let names = ["*.a", "*.a.a", "*.a.a.a", "*.a.a.a.a", "*.a.a.a.a.a"];
        assert_eq!(hosts(&names[..4]).nested_too_deep(), None);
        assert_eq!(hosts(&names).nested_too_deep(), Some(ApiIndex(0)));
    }
}
