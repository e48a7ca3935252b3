//! The Unix socket to the nodes: announces generations, hears who serves them, takes usage in.
//!
//! Control listens, nodes connect; the messages are the data plane's own
//! ([`keyway::link::protocol`]). Who may connect is decided by the file system: the socket is mode
//! 0600 in the data directory. All the same a peer's bytes are not trusted: lines are capped, the
//! first one has a deadline, and a message that makes no sense ends the connection.
//! Absent on purpose: any way to command a node. It is told that there is something new, and
//! verifies it itself.

mod connection;
mod lines;
mod listen;
mod receipts;

pub use listen::{LinkError, LinkServer};
