//! Listening sockets: one per worker and address, side by side through `SO_REUSEPORT`.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd;

use nix::sys::socket::{Shutdown, shutdown};

use super::Stream;

/// Connections that may wait for a worker's accept; the kernel caps it at `somaxconn`.
pub const BACKLOG: i32 = 4_096;

/// A listening socket owned by one worker.
#[derive(Debug)]
pub struct Listener {
    inner: monoio::net::TcpListener,
    /// The same socket, for what waits in its queue when the listening ends.
    queue: TcpListener,
}

impl Listener {
    /// Adopts a bound socket into the calling worker's loop.
    pub fn adopt(socket: TcpListener) -> io::Result<Self> {
        Ok(Self {
            queue: socket.try_clone()?,
            inner: monoio::net::TcpListener::from_std(socket)?,
        })
    }

    /// The next connection. Never drop this future while it waits: a canceled accept leaks the
    /// descriptor it was about to return. [`Listener::stop`] makes it fail instead.
    pub async fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        let (stream, peer) = self.inner.accept().await?;
        Ok((Stream::new(stream), peer))
    }

    /// A connection that waits in the queue; never waits for one itself.
    pub fn accept_waiting(&self) -> Option<(Stream, SocketAddr)> {
        let (stream, peer) = self.queue.accept().ok()?;
        stream.set_nonblocking(true).ok()?;
        let stream = monoio::net::TcpStream::from_std(stream).ok()?;
        Some((Stream::new(stream), peer))
    }

    /// Ends the listening; the kernel resets what still waits in the queue, and a waiting
    /// [`Listener::accept`] fails.
    pub fn stop(&self) {
        // An error here means that it is already down.
        let _ = shutdown(self.inner.as_raw_fd(), Shutdown::Read);
    }
}
