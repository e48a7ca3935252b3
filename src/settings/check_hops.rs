//! The check of whom the node believes about its clients.

use super::check::Check;
use super::raw::RawHttp;
use crate::accept::hops::{HopField, TrustedHops};
use ipnet::IpNet;
use std::net::IpAddr;

/// The most networks: each request from a proxy is compared with all.
const NETWORKS_MAX: usize = 256;

impl Check<'_> {
    pub(super) fn trusted_hops(&mut self, raw: &RawHttp) -> TrustedHops {
        let mut networks = Vec::new();
        let written = raw.trusted_proxies.as_deref().unwrap_or_default();
        for (i, text) in written.iter().enumerate() {
            match network(text) {
                Some(network) => networks.push(network),
                None => self.problem(
                    &format!("http.trusted_proxies[{i}]"),
                    Some(format!("{text:?}")),
                    "must be an address or a network, such as \"10.0.0.7\" or \"10.0.0.0/8\"",
                ),
            }
        }
        if written.len() > NETWORKS_MAX {
            self.problem(
                "http.trusted_proxies",
                Some(format!("{} of them", written.len())),
                "at most 256; write them as fewer, larger networks",
            );
        }
        let field = match raw.trusted_proxies_header.as_deref() {
            None | Some("x-forwarded-for") => HopField::XForwardedFor,
            Some("forwarded") => HopField::Forwarded,
            Some(other) => {
                self.problem(
                    "http.trusted_proxies_header",
                    Some(format!("{other:?}")),
                    "must be \"x-forwarded-for\" or \"forwarded\", whichever the proxies write",
                );
                HopField::default()
            }
        };
        TrustedHops { networks, field }
    }
}

fn network(text: &str) -> Option<IpNet> {
    let one = || text.parse::<IpAddr>().ok().map(IpNet::from);
    text.parse::<IpNet>()
        .ok()
        .or_else(one)
        .map(|network| network.trunc())
}
