//! What the end-to-end tests stand on: the real `keyway` binary, scripted origins, raw clients.
//!
//! [`world`] says what is published, [`gateway`] runs the binary over it, [`origin`] is the server
//! behind it and [`client`] the one who calls. [`wire`] reads messages strictly on both sides, so
//! that a test sees what really went over the socket. Everything waits through [`wait`]: on a
//! condition, with a deadline. Absent on purpose: any HTTP library, which would mend what the
//! gateway broke.
#![allow(
    dead_code,
    unused_imports,
    reason = "each test binary uses its own part of this"
)]

pub mod admin;
pub mod client;
pub mod collector;
pub mod control;
pub mod dns;
pub mod gateway;
pub mod origin;
pub mod pki;
pub mod request;
pub mod traffic;
pub mod turn;
pub mod wait;
pub mod wire;
pub mod world;

pub use client::{Client, Response};
pub use collector::Collector;
pub use dns::NameServer;
pub use gateway::Gateway;
pub use origin::Origin;
pub use pki::Pki;
pub use request::{Request, get, post, request};
pub use traffic::Traffic;
pub use turn::{Flow, Turn};
pub use wire::Broken;
pub use world::World;
