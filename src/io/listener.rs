//! Listening sockets: one or more per worker and address, side by side through `SO_REUSEPORT`.
//!
//! A socket may be shared with another process, which goes on listening when this one stops. So
//! nothing here shuts a socket down; what this process holds of it is closed.

use std::cell::RefCell;
use std::io;
use std::net::{SocketAddr, TcpListener};

use monoio::io::{CancelHandle, Canceller};

use super::Stream;

/// Connections that may wait for a worker's accept; the kernel caps it at `somaxconn`.
pub const BACKLOG: i32 = 4_096;

/// A listening socket, accepted from by one worker.
pub struct Listener {
    inner: monoio::net::TcpListener,
    /// The same socket, for what waits in its queue when the listening ends.
    queue: TcpListener,
    /// Gone once it was used.
    canceller: RefCell<Option<Canceller>>,
    handle: CancelHandle,
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.inner.fmt(f)
    }
}

impl Listener {
    /// Adopts a listening socket into the calling worker's loop.
    pub fn adopt(socket: TcpListener) -> io::Result<Self> {
        let canceller = Canceller::new();
        Ok(Self {
            queue: socket.try_clone()?,
            inner: monoio::net::TcpListener::from_std(socket)?,
            handle: canceller.handle(),
            canceller: RefCell::new(Some(canceller)),
        })
    }

    /// The next connection; an error once [`Listener::stop`] was called. Never drop this future
    /// while it waits: a canceled accept leaks the descriptor it was about to return.
    pub async fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        let (stream, peer) = self.inner.cancelable_accept(self.handle.clone()).await?;
        Ok((Stream::new(stream), peer))
    }

    /// A connection that waits in the queue; never waits for one itself.
    pub fn accept_waiting(&self) -> Option<(Stream, SocketAddr)> {
        let (stream, peer) = self.queue.accept().ok()?;
        stream.set_nonblocking(true).ok()?;
        let stream = monoio::net::TcpStream::from_std(stream).ok()?;
        Some((Stream::new(stream), peer))
    }

    /// Ends the accepting: an [`Listener::accept`] that waits fails, or returns the connection that
    /// it has got just now. What waits in the queue is left there.
    pub fn stop(&self) {
        if let Some(canceller) = self.canceller.take() {
            canceller.cancel();
        }
    }
}
