//! Where refused credentials come from: a small table of client addresses and how often each was
//! answered 401.
//!
//! Bounded, since anyone can come from many addresses: when it is full, a new one takes the place
//! of the one with the least, and its count with it (the space-saving algorithm, Metwally et al.
//! 2005). So a count may be too high by as much as that one had, and an address that has many is
//! never missing.

use std::net::{IpAddr, Ipv6Addr};

use super::segment::RefusedClient;

/// Addresses that a worker remembers between two hand-overs.
const CLIENTS_MAX: usize = 64;

/// The table.
#[derive(Debug, Default)]
pub struct RefusedClients(Vec<RefusedClient>);

impl RefusedClients {
    /// Counts one 401.
    pub fn add(&mut self, client: IpAddr, minute: u32) {
        let client = network(client);
        let is_same = |one: &&mut RefusedClient| one.client == client && one.minute == minute;
        if let Some(known) = self.0.iter_mut().find(is_same) {
            known.unauthorized += 1;
        } else if self.0.len() < CLIENTS_MAX {
            self.0.push(RefusedClient {
                minute,
                client,
                unauthorized: 1,
            });
        } else if let Some(least) = self.0.iter_mut().min_by_key(|one| one.unauthorized) {
            *least = RefusedClient {
                minute,
                client,
                unauthorized: least.unauthorized + 1,
            };
        }
    }

    /// What was counted since the last call.
    pub fn take(&mut self) -> Vec<RefusedClient> {
        std::mem::take(&mut self.0)
    }
}

/// An IPv6 host has its whole /64.
fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V4(v4) => v4.into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn addresses_are_counted_by_minute_and_ipv6_by_network() {
        let mut clients = RefusedClients::default();
        clients.add(client("192.0.2.1"), 5);
        clients.add(client("::ffff:192.0.2.1"), 5);
        clients.add(client("192.0.2.1"), 6);
        clients.add(client("2001:db8::1"), 5);
        clients.add(client("2001:db8::2"), 5);
        let counts: Vec<_> = clients
            .take()
            .iter()
            .map(|one| (one.client.to_string(), one.minute, one.unauthorized))
            .collect();
        let expected = [
            ("192.0.2.1", 5, 2),
            ("192.0.2.1", 6, 1),
            ("2001:db8::", 5, 2),
        ];
        assert_eq!(
            counts,
            expected.map(|(text, at, n)| (text.to_owned(), at, n))
        );
        assert!(clients.take().is_empty());
    }

    #[test]
    fn who_has_many_is_not_lost_among_those_who_have_one() {
        let mut clients = RefusedClients::default();
        for host in 0..2_000_u32 {
            clients.add(std::net::Ipv4Addr::from_bits(host).into(), 1);
            if host % 4 == 0 {
                clients.add(client("203.0.113.9"), 1);
            }
        }
        let found = clients.take();
        assert!(found.len() <= CLIENTS_MAX);
        let loud = found.iter().find(|one| one.client == client("203.0.113.9"));
        assert!(loud.expect("is there").unauthorized >= 500);
    }
}
