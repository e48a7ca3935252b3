//! Whose requests are counted: everything that a request's limits can be about.

use std::net::{IpAddr, Ipv4Addr};

use crate::limit::compiled::CompiledLimit;
use crate::limit::tag::{AddressHasher, Tag};
use crate::snapshot::catalog::LimitSubject;

/// The subjects of one request, by their stable numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subjects {
    /// Number of the key; 0 where none was asked.
    pub key: u32,
    /// Number of its app.
    pub app: u32,
    /// Number of the app's tenant.
    pub tenant: u32,
    /// Number of the API.
    pub api: u32,
    /// The client, as trusted hops tell it.
    pub client: IpAddr,
}

impl Default for Subjects {
    fn default() -> Self {
        Self {
            key: 0,
            app: 0,
            tenant: 0,
            api: 0,
            client: Ipv4Addr::UNSPECIFIED.into(),
        }
    }
}

impl Subjects {
    /// Where `limit` counts this request.
    #[inline]
    pub(super) fn tag(&self, limit: &CompiledLimit, hasher: &AddressHasher) -> Tag {
        let (kind, number) = (limit.kind(), limit.number);
        match limit.subject {
            LimitSubject::Key => Tag::numbered(kind, number, self.key),
            LimitSubject::App => Tag::numbered(kind, number, self.app),
            LimitSubject::Tenant => Tag::numbered(kind, number, self.tenant),
            LimitSubject::Api => Tag::numbered(kind, number, self.api),
            LimitSubject::Address => Tag::of_address(kind, number, self.client, hasher),
        }
    }
}

/// What a request asks of its limits.
#[derive(Clone, Copy, Debug)]
pub struct Demand<'a> {
    /// Whose request it is.
    pub subjects: Subjects,
    /// Limits that apply: of the API, and of the caller's plan.
    pub limits: [&'a [CompiledLimit]; 2],
    /// Bytes of its head and, where it says so in advance, of its body.
    pub bytes_in: u64,
}

impl<'a> Demand<'a> {
    /// All limits, in order.
    #[inline]
    pub fn all(&self) -> impl Iterator<Item = &'a CompiledLimit> + use<'a> {
        let [first, second] = self.limits;
        first.iter().chain(second)
    }
}
