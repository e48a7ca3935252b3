//! A connection that reads into and writes from buffers it is lent: over TCP or a Unix socket, plain
//! or in TLS.

use std::io;
use std::os::fd::RawFd;
use std::os::unix::net::UnixStream;

use monoio::buf::{IoBuf, IoBufMut, SliceMut};
use monoio::io::AsyncReadRent;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, Shutdown, recv, send, setsockopt, shutdown, sockopt};
use rustls::pki_types::CertificateDer;

use super::descriptor;
use super::parking::{self, Parking};
use super::socket::{self, Endpoint, ReadSocket, WriteSocket};
use super::tls::{Secured, TlsFacts};

/// A connection whose two directions move independently.
#[derive(Debug)]
pub struct Stream {
    /// What the peer sends.
    pub read: ReadHalf,
    /// What the peer gets.
    pub write: WriteHalf,
    fd: RawFd,
}

/// The receiving direction of a [`Stream`].
#[derive(Debug)]
pub struct ReadHalf {
    socket: ReadSocket,
    tls: Option<Secured>,
}

/// The sending direction of a [`Stream`].
#[derive(Debug)]
pub struct WriteHalf {
    socket: WriteSocket,
    tls: Option<Secured>,
}

/// What waits on a TLS connection that nobody asked anything of: tickets, mostly.
const UNASKED_BYTES_MAX: usize = 4 * 1024;

impl Stream {
    pub(super) fn new(inner: monoio::net::TcpStream) -> Self {
        Self::of(socket::split_tcp(inner))
    }

    fn of((read, write, fd): (ReadSocket, WriteSocket, RawFd)) -> Self {
        Self {
            read: ReadHalf {
                socket: read,
                tls: None,
            },
            write: WriteHalf {
                socket: write,
                tls: None,
            },
            fd,
        }
    }

    /// Opens a connection. Dropping the future gives it up.
    pub async fn connect(endpoint: &Endpoint) -> io::Result<Self> {
        socket::connect(endpoint).await.map(Self::of)
    }

    /// The descriptor, for [`shut`] and [`peek`]; valid while the stream lives.
    pub fn fd(&self) -> RawFd {
        self.fd
    }

    pub(super) fn sockets(&mut self) -> (&mut ReadSocket, &mut WriteSocket) {
        (&mut self.read.socket, &mut self.write.socket)
    }

    pub(super) fn secure(&mut self, session: Secured) {
        self.read.tls = Some(session.clone());
        self.write.tls = Some(session);
    }

    /// The certificates that the peer showed in a TLS handshake, its own first.
    pub fn peer_certificates(&self) -> Vec<CertificateDer<'static>> {
        let tls = self.read.tls.as_ref();
        tls.map(Secured::peer_certificates).unwrap_or_default()
    }

    /// How TLS is spoken on it, if it is.
    pub fn tls_facts(&self) -> Option<TlsFacts> {
        self.read.tls.as_ref().and_then(Secured::facts)
    }

    /// Whether its TLS handshake went on from an earlier one.
    pub fn is_resumed(&self) -> bool {
        self.read.tls.as_ref().is_some_and(Secured::is_resumed)
    }

    /// Looks at what waits on a connection that rests, without waiting. What TLS says by itself, such
    /// as a session ticket, does not count; it is taken in.
    pub fn look(&self) -> Peek {
        let seen = peek(self.fd);
        let Some(tls) = &self.read.tls else {
            return seen;
        };
        if tls.holds_bytes() {
            return Peek::Bytes;
        }
        if seen != Peek::Bytes {
            return seen;
        }
        let mut ciphertext = vec![0; UNASKED_BYTES_MAX];
        match recv(self.fd, &mut ciphertext, MsgFlags::MSG_DONTWAIT) {
            Ok(bytes) if (1..UNASKED_BYTES_MAX).contains(&bytes) => {
                ciphertext.truncate(bytes);
                if tls.is_quiet_after(ciphertext) {
                    Peek::Quiet
                } else {
                    Peek::Bytes
                }
            }
            _ => Peek::Gone,
        }
    }

    /// Ends the connection by a reset, so that a peer that counts on the end of the stream as the
    /// end of a message sees that it was cut.
    pub fn reset(self) {
        let at_once = nix::libc::linger {
            l_onoff: 1,
            l_linger: 0,
        };
        // A socket that refuses is already reset.
        let _ = setsockopt(&descriptor::of(&self), sockopt::Linger, &at_once);
        // Together: a write half that is dropped by itself ends its direction in good order, and
        // that is what the peer would see first.
        socket::drop_together(self.read.socket, self.write.socket);
    }
}

// Async functions, and no futures moved into async blocks: those would take their room twice, and
// these are most of what the task of an idle connection holds. What TLS needs is in a box for its
// time.

impl ReadHalf {
    /// Reads into the spare capacity of `buffer`, which must have some: 0 is the peer's end.
    pub async fn read(&mut self, buffer: Vec<u8>) -> (io::Result<usize>, Vec<u8>) {
        self.read_up_to(buffer, None).await
    }

    /// Like [`ReadHalf::read`], but takes at most `bytes_max`, if given.
    pub async fn read_up_to(
        &mut self,
        buffer: Vec<u8>,
        bytes_max: Option<u64>,
    ) -> (io::Result<usize>, Vec<u8>) {
        let Some(tls) = &self.tls else {
            let (outcome, slice) = self.socket.read(spare(buffer, bytes_max)).await;
            return (outcome, slice.into_inner());
        };
        let reading = Box::pin(tls.read(&mut self.socket, buffer, bytes_max, None));
        let (outcome, buffer) = reading.await;
        (outcome.unwrap_or(Ok(0)), buffer)
    }

    /// Like [`ReadHalf::read`], but ends with `None`, without having read anything, when it has
    /// waited for about a second: `parking` wants the buffer back.
    pub async fn read_idle(
        &mut self,
        buffer: Vec<u8>,
        parking: &Parking,
    ) -> (Option<io::Result<usize>>, Vec<u8>) {
        if let Some(tls) = &self.tls {
            let reading = tls.read(&mut self.socket, buffer, None, Some(parking));
            return Box::pin(reading).await;
        }
        let reading = self
            .socket
            .cancelable_read(spare(buffer, None), parking.ticket());
        match reading.await {
            (Err(error), slice) if parking::is_canceled(&error) => (None, slice.into_inner()),
            (outcome, slice) => (Some(outcome), slice.into_inner()),
        }
    }
}

/// The part of `buffer` that a read may fill.
fn spare(buffer: Vec<u8>, bytes_max: Option<u64>) -> SliceMut<Vec<u8>> {
    let (filled, capacity) = (buffer.len(), buffer.capacity());
    debug_assert!(filled < capacity, "a read needs spare capacity");
    let free = capacity - filled;
    let wanted = bytes_max
        .and_then(|max| usize::try_from(max).ok())
        .unwrap_or(free);
    buffer.slice_mut(filled..filled + wanted.min(free))
}

impl WriteHalf {
    /// Writes `buffer[from..]` whole; gives the buffer back.
    pub async fn write_all(
        &mut self,
        buffer: Vec<u8>,
        from: usize,
    ) -> (io::Result<usize>, Vec<u8>) {
        let Some(tls) = &self.tls else {
            let (outcome, slice) = self.socket.write_all(buffer.slice(from..)).await;
            return (outcome, slice.into_inner());
        };
        Box::pin(tls.write_all(&mut self.socket, buffer, from)).await
    }

    /// Ends the sending direction.
    pub async fn finish(&mut self) {
        if let Some(tls) = &self.tls {
            Box::pin(tls.finish(&mut self.socket)).await;
        }
        // An error means that the peer is gone already.
        let _ = self.socket.shutdown().await;
    }
}

/// What a connection holds without anyone reading from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peek {
    /// Open, nothing to read.
    Quiet,
    /// Open, bytes wait.
    Bytes,
    /// Ended or failed.
    Gone,
}

/// Looks at what waits on `fd` without taking it and without waiting.
pub fn peek(fd: RawFd) -> Peek {
    let mut one = [0];
    match recv(fd, &mut one, MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT) {
        Ok(0) => Peek::Gone,
        Ok(_) => Peek::Bytes,
        Err(Errno::EAGAIN | Errno::EINTR) => Peek::Quiet,
        Err(_) => Peek::Gone,
    }
}

/// Sends `bytes` if the socket takes them at once; a last word to a peer that nothing else depends
/// on.
pub fn offer(fd: RawFd, bytes: &[u8]) {
    let _ = send(fd, bytes, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL);
}

/// Takes what has arrived on `fd`, up to a bound, and forgets it: bytes that nobody read would make
/// the close a reset.
pub fn discard(fd: RawFd) {
    let mut scratch = [0; 4096];
    for _ in 0..4 {
        if !recv(fd, &mut scratch, MsgFlags::MSG_DONTWAIT).is_ok_and(|bytes| bytes > 0) {
            return;
        }
    }
}

/// Shuts one or both directions of `fd` down: what waits on it ends, with what has arrived before.
/// This is how a deadline ends an operation that must not be canceled.
pub fn shut(fd: RawFd, how: Shutdown) {
    // An error means that it is down already.
    let _ = shutdown(fd, how);
}

/// The receiving end of a worker's wake-up call.
#[derive(Debug)]
pub struct Wakeup {
    inner: monoio::net::UnixStream,
}

impl Wakeup {
    /// Adopts one end of a socket pair into the calling worker's loop.
    pub fn adopt(end: UnixStream) -> io::Result<Self> {
        end.set_nonblocking(true)?;
        Ok(Self {
            inner: monoio::net::UnixStream::from_std(end)?,
        })
    }

    /// Resolves when the other end wrote; several calls may come as one. False: it is closed.
    pub async fn called(&mut self) -> bool {
        let (outcome, _) = self.inner.read(Vec::with_capacity(64)).await;
        outcome.is_ok_and(|bytes| bytes > 0)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Read;
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;
    use crate::io::{Driver, Runtime};

    /// Runs `test` on every driver that this machine has; epoll is always one.
    pub(in crate::io) fn on_every_driver(test: impl AsyncFn()) {
        for driver in [Driver::UringDeferred, Driver::Uring, Driver::Epoll] {
            match Runtime::build(driver) {
                Ok(mut runtime) => runtime.block_on(test()),
                Err(error) => assert_ne!(driver, Driver::Epoll, "{error}"),
            }
        }
    }

    /// A stream and its far end.
    pub(in crate::io) async fn pair() -> (Stream, std::net::TcpStream) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let near = Stream::connect(&listener.local_addr().unwrap().into())
            .await
            .unwrap();
        (near, listener.accept().unwrap().0)
    }

    #[test]
    fn a_reset_stream_shows_its_peer_a_reset() {
        let far = std::cell::RefCell::new(Vec::new());
        on_every_driver(async || {
            let (near, peer) = pair().await;
            near.reset();
            far.borrow_mut().push(peer);
            // One more turn of the loop, so that the ring closes the descriptor.
            crate::io::sleep(std::time::Duration::from_millis(1)).await;
        });
        for mut peer in far.into_inner() {
            let error = peer.read(&mut [0]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        }
    }

    #[test]
    fn a_read_takes_no_more_than_it_is_allowed() {
        on_every_driver(async || {
            use std::io::Write;
            let (mut near, mut far) = pair().await;
            far.write_all(b"bodyNEXT").unwrap();
            let (outcome, buffer) = near.read.read_up_to(Vec::with_capacity(64), Some(4)).await;
            assert_eq!(outcome.unwrap(), 4);
            let (_, buffer) = near.read.read(buffer).await;
            assert_eq!(buffer, b"bodyNEXT");
        });
    }

    #[test]
    fn a_waiting_read_ends_when_its_socket_is_shut() {
        on_every_driver(async || {
            let (mut near, _far) = pair().await;
            let fd = near.fd();
            crate::io::spawn(async move { shut(fd, Shutdown::Read) });
            let (outcome, _) = near.read.read(Vec::with_capacity(64)).await;
            assert_eq!(outcome.unwrap(), 0);
        });
    }

    #[test]
    fn a_look_tells_quiet_from_waiting_bytes_and_from_the_end() {
        on_every_driver(async || {
            use std::io::Write;
            let (near, mut far) = pair().await;
            assert_eq!(peek(near.fd()), Peek::Quiet);
            far.write_all(b"x").unwrap();
            assert_eq!(peek(near.fd()), Peek::Bytes);
            drop(far);
            assert_ne!(peek(near.fd()), Peek::Quiet);
        });
    }
}
