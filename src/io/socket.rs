//! The two kinds of sockets that a stream runs on: TCP, and Unix on the same machine.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::path::Path;
use std::sync::Arc;

use monoio::buf::{IoBuf, IoBufMut};
use monoio::io::{
    AsyncReadRent, AsyncWriteRent, AsyncWriteRentExt, CancelHandle, CancelableAsyncReadRent,
    OwnedReadHalf, OwnedWriteHalf, Splitable,
};
use monoio::net::{TcpStream, UnixStream};

/// Where a connection goes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// An address of the internet.
    Tcp(SocketAddr),
    /// A socket in the file system.
    Unix(Arc<Path>),
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// The receiving direction.
#[derive(Debug)]
pub(super) enum ReadSocket {
    Tcp(OwnedReadHalf<TcpStream>),
    Unix(OwnedReadHalf<UnixStream>),
}

/// The sending direction.
#[derive(Debug)]
pub(super) enum WriteSocket {
    Tcp(OwnedWriteHalf<TcpStream>),
    Unix(OwnedWriteHalf<UnixStream>),
}

/// Both directions of a TCP connection, and its descriptor.
pub(super) fn split_tcp(inner: TcpStream) -> (ReadSocket, WriteSocket, RawFd) {
    // Every write is a whole message part; waiting to fill a segment only adds latency.
    // A socket that refuses the option is already dead, and the first read says so.
    let _ = inner.set_nodelay(true);
    let fd = inner.as_raw_fd();
    let (read, write) = inner.into_split();
    (ReadSocket::Tcp(read), WriteSocket::Tcp(write), fd)
}

/// Opens a connection. Dropping the future gives it up.
pub(super) async fn connect(endpoint: &Endpoint) -> io::Result<(ReadSocket, WriteSocket, RawFd)> {
    match endpoint {
        Endpoint::Tcp(address) => TcpStream::connect_addr(*address).await.map(split_tcp),
        Endpoint::Unix(path) => {
            let inner = UnixStream::connect(path).await?;
            let fd = inner.as_raw_fd();
            let (read, write) = inner.into_split();
            Ok((ReadSocket::Unix(read), WriteSocket::Unix(write), fd))
        }
    }
}

impl ReadSocket {
    pub(super) async fn read<B: IoBufMut>(&mut self, buffer: B) -> (io::Result<usize>, B) {
        match self {
            Self::Tcp(half) => half.read(buffer).await,
            Self::Unix(half) => half.read(buffer).await,
        }
    }

    /// A read that `handle` can end; it must still be awaited then.
    pub(super) async fn cancelable_read<B: IoBufMut>(
        &mut self,
        buffer: B,
        handle: CancelHandle,
    ) -> (io::Result<usize>, B) {
        match self {
            Self::Tcp(half) => half.cancelable_read(buffer, handle).await,
            Self::Unix(half) => half.cancelable_read(buffer, handle).await,
        }
    }
}

impl WriteSocket {
    pub(super) async fn write_all<B: IoBuf + 'static>(
        &mut self,
        buffer: B,
    ) -> (io::Result<usize>, B) {
        match self {
            Self::Tcp(half) => half.write_all(buffer).await,
            Self::Unix(half) => half.write_all(buffer).await,
        }
    }

    pub(super) async fn shutdown(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(half) => half.shutdown().await,
            Self::Unix(half) => half.shutdown().await,
        }
    }
}

/// Drops both directions at once: a write half that is dropped by itself ends its direction in good
/// order.
pub(super) fn drop_together(read: ReadSocket, write: WriteSocket) {
    match (read, write) {
        (ReadSocket::Tcp(read), WriteSocket::Tcp(write)) => drop(read.reunite(write)),
        (ReadSocket::Unix(read), WriteSocket::Unix(write)) => drop(read.reunite(write)),
        // Never: the halves of a stream are of one kind.
        both => drop(both),
    }
}
