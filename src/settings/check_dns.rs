//! The check of `[dns]`.

use super::DnsSettings;
use super::check::Check;
use super::raw::RawDns;

/// Nobody has more, and each may be asked in turn.
const SERVERS_MAX: usize = 8;

impl Check<'_> {
    pub(super) fn dns(&mut self, raw: RawDns) -> DnsSettings {
        let mut servers = Vec::new();
        for (place, text) in raw.servers.iter().enumerate() {
            let path = format!("dns.servers[{place}]");
            match text.parse::<std::net::SocketAddr>() {
                Ok(address) if address.port() != 0 => servers.push(address),
                _ => self.problem(
                    &path,
                    Some(format!("\"{text}\"")),
                    "must be ip:port, such as \"10.0.0.2:53\"",
                ),
            }
        }
        if raw.servers.len() > SERVERS_MAX {
            let count = raw.servers.len().to_string();
            self.problem("dns.servers", Some(count), "must be at most 8");
        }
        DnsSettings { servers }
    }
}
