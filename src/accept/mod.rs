//! Accept: takes connections and runs their requests one after another.
//!
//! [`listen`] is a worker's accept loop, [`connection`] one connection from its first byte to its
//! end, [`judge`] the synchronous step between: bytes in, a verdict out. [`admission`] says
//! whether a connection may exist at all, with the counts by address in [`per_address`], and
//! [`turn_away`] tells those that may not. Who the client is behind other proxies, [`hops`] reads
//! from the request and [`proxy_protocol`] from what comes before it. [`greet`] is what happens
//! before the first request, [`mod@tls`] the larger part of it.

pub mod admission;
pub mod connection;
#[cfg(debug_assertions)]
mod fault_hook;
pub mod greet;
pub mod hops;
pub mod judge;
pub mod listen;
pub mod per_address;
pub mod proxy_protocol;
mod reserve;
pub mod tls;
pub mod turn_away;

use std::net::SocketAddr;

use crate::io::TlsFacts;
use tls::identity::ClientIdentity;

/// Who is at the other end of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its address; behind the PROXY protocol the one that the balancer tells.
    pub address: SocketAddr,
    /// It speaks TLS.
    pub is_secure: bool,
    /// How it does.
    pub tls: Option<TlsFacts>,
    /// Who it is by its certificate, if it showed one.
    pub identity: Option<Box<ClientIdentity>>,
}
