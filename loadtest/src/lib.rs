//! Load, comparisons, figures and the demo: everything that drives Keyway from outside.
//!
//! The binaries are thin; what they do lives here, one idea a module. Everything runs on loopback,
//! on ports the kernel chose, in a temporary directory, and every process started here ends with
//! its [`process::Child`]: also on an error, on Ctrl-C and on SIGTERM.
//!
//! Absent on purpose: a load generator of our own for requests. They come from `wrk` (or `oha`), so
//! that no figure rests on a tool that only we use; TLS handshakes alone, which neither makes by
//! itself, come from [`handshakes`].

pub mod binaries;
pub mod compare;
pub mod control;
pub mod cpu;
pub mod demo;
pub mod figures;
pub mod files;
pub mod gateway;
pub mod handshakes;
pub mod http;
pub mod keys;
pub mod memory;
pub mod node;
pub mod origin;
pub mod process;
pub mod progress;
pub mod published;
pub mod signals;
pub mod small_disk;
pub mod statistics;
pub mod tools;
pub mod trouble;
pub mod wrk;
