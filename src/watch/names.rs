//! Keeps the addresses of host names, one task a name.
//!
//! A name is asked for again when its answer's time is over (its TTL, within [`TTL_MIN`] and
//! [`TTL_MAX`]); one that cannot be resolved is asked for again sooner and sooner less often.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use tokio::time::{Instant, sleep};

use super::jitter;
use crate::settings::DnsSettings;

/// Nobody is asked more often than this, whatever the TTL.
const TTL_MIN: Duration = Duration::from_secs(1);
/// A move is noticed after this time at the latest, whatever the TTL.
const TTL_MAX: Duration = Duration::from_secs(300);
/// Longest pause after failures.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// Longest time of one question to one server, and how often it is asked.
const QUESTION: Duration = Duration::from_secs(2);
const QUESTIONS: usize = 2;
/// Most addresses of one name that are used; an answer of thousands would make a member of each.
const ADDRESSES_MAX: usize = 64;

/// An answer, or why there is none.
pub(super) type Answer = Result<Vec<IpAddr>, String>;

/// A resolver that asks whom the settings name, or else the system's own servers and its file of
/// hosts.
pub(super) fn resolver(dns: &DnsSettings) -> Result<TokioResolver, String> {
    let mut builder = if dns.servers.is_empty() {
        TokioResolver::builder_tokio().map_err(|error| error.to_string())?
    } else {
        let servers = dns.servers.iter().map(|server| {
            let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
            let connections = connections.map(|mut connection| {
                connection.port = server.port();
                connection
            });
            NameServerConfig::new(server.ip(), true, connections.into())
        });
        let config = ResolverConfig::from_parts(None, Vec::new(), servers.collect());
        TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
    };
    let options = builder.options_mut();
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    options.timeout = QUESTION;
    options.attempts = QUESTIONS;
    // Each name is asked for when its time is over, so a cache would only hide a change.
    options.cache_size = 0;
    builder.build().map_err(|error| error.to_string())
}

/// Asks for `host` again and again, and tells each answer.
pub(super) async fn keep(
    resolver: Arc<Result<TokioResolver, String>>,
    host: Arc<str>,
    tell: impl Fn(Answer),
) {
    let mut failures = 0;
    loop {
        let (answer, lasts) = match &*resolver {
            Ok(resolver) => ask(resolver, &host).await,
            Err(reason) => (Err(reason.clone()), TTL_MIN),
        };
        failures = if answer.is_ok() { 0 } else { failures + 1 };
        tell(answer);
        sleep(jitter(pause(failures, lasts))).await;
    }
}

fn pause(failures: u32, lasts: Duration) -> Duration {
    match failures {
        0 => lasts.clamp(TTL_MIN, TTL_MAX),
        some => TTL_MIN
            .saturating_mul(1 << some.min(6).saturating_sub(1))
            .min(PAUSE_MAX),
    }
}

async fn ask(resolver: &TokioResolver, host: &str) -> (Answer, Duration) {
    match resolver.lookup_ip(host).await {
        Ok(found) => {
            let lasts = Instant::from_std(found.valid_until()).duration_since(Instant::now());
            match usable(found.iter()) {
                addresses if addresses.is_empty() => (Err("it has no address".into()), lasts),
                addresses => (Ok(addresses), lasts),
            }
        }
        Err(error) => (Err(error.to_string()), TTL_MIN),
    }
}

/// Sorted, so that the same set reads the same in whatever order it came.
fn usable(addresses: impl Iterator<Item = IpAddr>) -> Vec<IpAddr> {
    let mut usable: Vec<_> = addresses
        .filter(|address| !address.is_unspecified() && !address.is_multicast())
        .collect();
    usable.sort_unstable();
    usable.dedup();
    usable.truncate(ADDRESSES_MAX);
    usable
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_lasts_as_long_as_it_says_within_reason() {
        let s = Duration::from_secs;
        assert_eq!(pause(0, s(0)), s(1));
        assert_eq!(pause(0, s(60)), s(60));
        assert_eq!(pause(0, s(86_400)), s(300));
    }

    #[test]
    fn failures_are_repeated_ever_later() {
        let pauses = (1..=8).map(|failures| pause(failures, Duration::ZERO).as_secs());
        assert_eq!(pauses.collect::<Vec<_>>(), [1, 2, 4, 8, 16, 30, 30, 30]);
    }

    #[test]
    fn addresses_are_a_bounded_set_without_what_nobody_can_be_reached_at() {
        let text = [
            "10.0.0.2",
            "0.0.0.0",
            "10.0.0.1",
            "224.0.0.1",
            "10.0.0.2",
            "::",
            "::1",
        ];
        let parsed = text.iter().map(|one| one.parse().expect("is an address"));
        let kept: Vec<String> = usable(parsed).iter().map(ToString::to_string).collect();
        assert_eq!(kept, ["10.0.0.1", "10.0.0.2", "::1"]);
        let many = (1..1_000_u32).map(|n| IpAddr::from(n.to_be_bytes()));
        assert_eq!(usable(many).len(), ADDRESSES_MAX);
    }
}
