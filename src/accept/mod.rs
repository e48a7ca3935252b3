//! Accept: takes connections and runs their requests one after another.
//!
//! [`listen`] is a worker's accept loop, [`connection`] one connection from its first byte to its
//! end, [`judge`] the synchronous step between: bytes in, a verdict out.

pub mod connection;
#[cfg(debug_assertions)]
mod fault_hook;
pub mod judge;
pub mod listen;
