//! May this connection exist? One answer for the whole node.
//!
//! [`Admission`] is shared by all workers, and touched once when a connection comes and once when
//! it ends: never by a request. [`Admission::admit`] counts a connection in all, and
//! [`Admitted::admit_address`] among those of its client, whose address a listener behind a load
//! balancer learns later than the connection. Absent on purpose: what the client is told, in
//! [`turn_away`](super::turn_away).

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam::utils::CachePadded;

use super::per_address::{Counted, PerAddress};
use crate::settings::HttpLimits;

/// The node's count of connections.
#[derive(Debug)]
pub struct Admission {
    open: CachePadded<AtomicUsize>,
    connections_max: usize,
    addresses: PerAddress,
}

/// Why a connection may not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// The node has `http.connections_max` of them.
    Node,
    /// The client's address has `http.connections_per_address_max` of them.
    Address,
}

/// A connection's place, given back when dropped.
#[derive(Debug)]
pub struct Admitted {
    admission: Arc<Admission>,
    address: Option<u32>,
}

impl Admission {
    /// As the settings say.
    pub fn new(http: &HttpLimits) -> Self {
        Self {
            open: CachePadded::default(),
            connections_max: http.connections_max,
            addresses: PerAddress::new(http.connections_per_address_max, http.connections_max),
        }
    }

    /// Counts a connection, if the node has room for it.
    pub fn admit(self: &Arc<Self>) -> Result<Admitted, Denied> {
        // Relaxed: the count stands for itself; nothing else is read on the strength of it.
        let counted = self
            .open
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |open| {
                (open < self.connections_max).then_some(open + 1)
            });
        counted.map_err(|_| Denied::Node)?;
        Ok(Admitted {
            admission: Arc::clone(self),
            address: None,
        })
    }

    /// Connections open now, on all workers.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }
}

impl Admitted {
    /// Counts the connection among those of `address` as well, in place of an earlier one.
    pub fn admit_address(&mut self, address: IpAddr) -> Result<(), Denied> {
        self.leave_address();
        match self.admission.addresses.enter(address) {
            Counted::At(at) => self.address = Some(at),
            Counted::Not => {}
            Counted::Full => return Err(Denied::Address),
        }
        Ok(())
    }

    fn leave_address(&mut self) {
        if let Some(at) = self.address.take() {
            self.admission.addresses.leave(at);
        }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.leave_address();
        self.admission.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(connections_max: usize, connections_per_address_max: u32) -> Arc<Admission> {
        Arc::new(Admission::new(&HttpLimits {
            connections_max,
            connections_per_address_max,
            ..HttpLimits::default()
        }))
    }

    #[test]
    fn there_is_room_for_as_many_as_the_settings_say_and_again_when_one_leaves() {
        let admission = admission(2, 0);
        let first = admission.admit().unwrap();
        let _second = admission.admit().unwrap();
        assert_eq!(admission.admit().unwrap_err(), Denied::Node);
        drop(first);
        admission.admit().unwrap();
    }

    #[test]
    fn an_address_that_has_its_share_takes_no_place_of_the_node() {
        let admission = admission(10, 1);
        let address = IpAddr::from([192, 0, 2, 1]);
        let mut first = admission.admit().unwrap();
        first.admit_address(address).unwrap();
        let mut second = admission.admit().unwrap();
        assert_eq!(second.admit_address(address), Err(Denied::Address));
        drop(second);
        assert_eq!(admission.open(), 1);
        drop(first);
        admission.admit().unwrap().admit_address(address).unwrap();
    }

    #[test]
    fn an_address_that_is_learned_later_replaces_the_first() {
        let admission = admission(10, 1);
        let (balancer, client) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let mut first = admission.admit().unwrap();
        first.admit_address(balancer).unwrap();
        first.admit_address(client).unwrap();
        let mut second = admission.admit().unwrap();
        second.admit_address(balancer).unwrap();
        assert_eq!(second.admit_address(client), Err(Denied::Address));
    }
}
