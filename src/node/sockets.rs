//! Listening sockets that the process was given instead of having bound them: by the process before
//! it, or by the service manager.

use std::net::SocketAddr;

use socket2::Socket;

/// All sockets of one address.
#[derive(Debug)]
pub(super) struct Group {
    /// The address as the settings of the giver have it; its port may be 0.
    pub(super) written: SocketAddr,
    /// The address itself.
    pub(super) bound: SocketAddr,
    /// One for each queue.
    pub(super) sockets: Vec<Socket>,
}

impl Group {
    /// None yet.
    pub(super) fn empty(address: SocketAddr) -> Self {
        Self {
            written: address,
            bound: address,
            sockets: Vec::new(),
        }
    }
}

/// What is left of what was given.
#[derive(Debug, Default)]
pub(super) struct Inherited {
    /// For traffic, in the order of the giver's settings; whatever the service manager passes.
    pub(super) traffic: Vec<Group>,
    /// For the admin listener.
    pub(super) admin: Vec<Group>,
}

impl Inherited {
    /// The sockets for traffic at `address`.
    pub(super) fn take_traffic(&mut self, address: SocketAddr) -> Option<Group> {
        take(&mut self.traffic, address)
    }

    /// The socket for the admin listener at `address`.
    pub(super) fn take_admin(&mut self, address: SocketAddr) -> Option<Group> {
        take(&mut self.admin, address).or_else(|| take(&mut self.traffic, address))
    }

    /// Addresses that nobody asked for.
    pub(super) fn left(&self) -> impl Iterator<Item = SocketAddr> {
        let all = self.traffic.iter().chain(&self.admin);
        all.map(|group| group.bound)
    }
}

fn take(groups: &mut Vec<Group>, address: SocketAddr) -> Option<Group> {
    let at = groups
        .iter()
        .position(|group| group.written == address || group.bound == address)?;
    Some(groups.remove(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(written: &str, bound: &str) -> Group {
        Group {
            written: written.parse().expect("is an address"),
            bound: bound.parse().expect("is an address"),
            sockets: Vec::new(),
        }
    }

    #[test]
    fn an_address_is_found_as_it_was_written_or_as_it_came_to_be_in_order() {
        let any = "127.0.0.1:0";
        let mut inherited = Inherited {
            traffic: vec![group(any, "127.0.0.1:1001"), group(any, "127.0.0.1:1002")],
            admin: vec![group(any, "127.0.0.1:1003")],
        };
        let port = |group: Option<Group>| group.map(|group| group.bound.port());
        let address = |text: &str| text.parse().expect("is an address");
        assert_eq!(port(inherited.take_admin(address(any))), Some(1003));
        assert_eq!(port(inherited.take_traffic(address(any))), Some(1001));
        assert_eq!(
            port(inherited.take_traffic(address("127.0.0.1:1002"))),
            Some(1002)
        );
        assert_eq!(port(inherited.take_traffic(address(any))), None);
        assert_eq!(inherited.left().count(), 0);
    }

    #[test]
    fn what_nobody_asked_for_is_left() {
        let mut inherited = Inherited {
            traffic: vec![group("[::1]:80", "[::1]:80")],
            admin: Vec::new(),
        };
        assert!(
            inherited
                .take_traffic("[::1]:81".parse().expect("is"))
                .is_none()
        );
        assert_eq!(inherited.left().count(), 1);
        assert!(
            inherited
                .take_admin("[::1]:80".parse().expect("is"))
                .is_some()
        );
    }
}
