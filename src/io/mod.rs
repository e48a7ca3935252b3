//! The only place that names the runtime: rings, streams, buffers, timers.
//!
//! Everything above speaks of a [`Stream`] that reads into and writes from owned buffers, of
//! [`sleep`] and [`spawn`]; which driver works below is decided once, in [`driver`]. Absent on
//! purpose: dropping what is pending. A pending read owns its buffer, and dropping it loses bytes
//! that have already arrived, so an operation is ended by shutting its socket down (see
//! [`deadline`](crate::worker::deadline)), or canceled and then awaited ([`Parking`]), and dropped
//! only together with its connection.

mod buffers;
mod descriptor;
pub mod driver;
mod listener;
mod parking;
mod race;
mod socket;
mod stream;
pub mod tls;

pub use buffers::{BUFFER_BYTES, Buffers};
pub use descriptor::{duplicate, unsent_bytes};
pub use driver::{Driver, Runtime};
pub use listener::{BACKLOG, Listener};
pub use nix::sys::socket::Shutdown;
pub use parking::Parking;
pub use race::{Either, race};
pub use socket::Endpoint;
pub use stream::{Peek, ReadHalf, Stream, Wakeup, WriteHalf, discard, offer, peek, shut};
pub use tls::TlsFacts;

use std::future::Future;
use std::time::Duration;

/// Runs `task` on this worker's loop, beside its caller.
pub fn spawn(task: impl Future<Output = ()> + 'static) {
    drop(monoio::spawn(task));
}

/// Resolves after `delay`.
pub async fn sleep(delay: Duration) {
    monoio::time::sleep(delay).await;
}

/// Resolves with `work`'s output, or with `None` after `delay`; then `work` is dropped, so it must
/// be something whose loss loses nothing (a connect, never a read).
pub async fn within<T>(delay: Duration, work: impl Future<Output = T>) -> Option<T> {
    monoio::time::timeout(delay, work).await.ok()
}
