//! The admin listener: a very small HTTP server for one request a connection.
//!
//! Apart from traffic, on blocking threads of its own, at most [`CONNECTIONS_MAX`] at once;
//! each connection has [`DEADLINE`] from its first byte to its last. What it serves stands in
//! [`pages`]. Absent on purpose: keep-alive, bodies, TLS and passwords; it listens on
//! loopback unless its operator said otherwise. Its socket may be shared with a process that takes
//! over, so the end of this listener closes it and does not shut it down.

use super::pages::{self, Page};
use super::state::NodeState;
use crate::clock::{Clock, Tick};
use crossbeam::channel::{Receiver, Sender, bounded};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// Connections served at once; further ones wait in the listener's backlog.
pub const CONNECTIONS_MAX: usize = 8;

/// Longest life of one connection.
pub const DEADLINE: Duration = Duration::from_secs(5);

/// Longest wait for the other end to close once it has its answer.
const LINGER_NS: u64 = 500_000_000;

/// Longest request head.
const HEAD_BYTES_MAX: usize = 8 * 1_024;

const HEADERS_MAX: usize = 64;

/// Pause after a failed accept, so that a lasting failure does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The running listener; dropping it ends the listener, not the connections it serves.
#[derive(Debug)]
pub struct Admin {
    address: SocketAddr,
    /// Closed, it ends the thread.
    end: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

impl Admin {
    /// Serves `state` to whoever connects to `listener`.
    pub fn start(listener: TcpListener, state: Arc<NodeState>) -> io::Result<Self> {
        // The thread waits for more than this socket, so it never waits in an accept.
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (end, ended) = UnixStream::pair()?;
        let (free, seats) = bounded(CONNECTIONS_MAX);
        for _ in 0..CONNECTIONS_MAX {
            free.send(()).expect("the other end is right here");
        }
        let server = Server {
            listener,
            ended,
            state,
            free,
            seats,
            spare: File::open("/dev/null").ok(),
        };
        let thread = std::thread::Builder::new()
            .name("keyway-admin".into())
            .spawn(|| server.run())?;
        Ok(Self {
            address,
            end: Some(end),
            thread: Some(thread),
        })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Server {
    listener: TcpListener,
    /// Readable once the listener is dropped.
    ended: UnixStream,
    state: Arc<NodeState>,
    /// Where a connection puts its seat back.
    free: Sender<()>,
    /// One message for each connection that may still be taken.
    seats: Receiver<()>,
    /// Given up to take a connection when the process has no other descriptor left: an operator
    /// needs the metrics most just then.
    spare: Option<File>,
}

impl Server {
    fn run(mut self) {
        loop {
            let seat = self.seats.recv_timeout(ACCEPT_PAUSE).is_ok();
            if !self.wait(seat) {
                return;
            }
            if !seat {
                continue;
            }
            match self.listener.accept() {
                Ok((stream, _)) => self.hand_over(stream),
                Err(error) => {
                    self.put_back();
                    // Another process with the same socket was faster.
                    if error.kind() != io::ErrorKind::WouldBlock {
                        self.accept_failed(&error);
                    }
                }
            }
        }
    }

    /// False if the listener ends. Else returns when a connection waits, if there is a `seat` for
    /// it; at once if there is none.
    fn wait(&self, seat: bool) -> bool {
        let ended = PollFd::new(self.ended.as_fd(), PollFlags::POLLIN);
        let waiting = PollFd::new(self.listener.as_fd(), PollFlags::POLLIN);
        let mut both = [ended, waiting];
        let (watched, patience) = if seat {
            (&mut both[..], PollTimeout::NONE)
        } else {
            (&mut both[..1], PollTimeout::ZERO)
        };
        if let Err(error) = poll(watched, patience)
            && error != Errno::EINTR
        {
            tracing::warn!(%error, "the admin listener cannot wait");
            pause(ACCEPT_PAUSE);
        }
        both[0].any() != Some(true)
    }

    fn hand_over(&self, stream: TcpStream) {
        let seat = Seat(self.free.clone());
        let state = Arc::clone(&self.state);
        let spawned = std::thread::Builder::new()
            .name("keyway-admin-c".into())
            .spawn(move || {
                let _seat = seat;
                serve(stream, &state);
            });
        // Without a thread the closure is dropped: the stream closes, the seat is free again.
        if let Err(error) = spawned {
            tracing::warn!(%error, "no thread for an admin connection");
        }
    }

    fn accept_failed(&mut self, error: &io::Error) {
        let exhausted = [Errno::EMFILE, Errno::ENFILE].map(|errno| Some(errno as i32));
        if exhausted.contains(&error.raw_os_error()) && self.spare.take().is_some() {
            if let Ok((stream, _)) = self.listener.accept() {
                // On this thread: the descriptor must come back before the next is taken.
                serve(stream, &self.state);
            }
            self.spare = File::open("/dev/null").ok();
        } else {
            tracing::warn!(%error, "the admin listener cannot accept");
            pause(ACCEPT_PAUSE);
            self.spare = self.spare.take().or_else(|| File::open("/dev/null").ok());
        }
    }

    fn put_back(&self) {
        // There is room for every seat that was ever taken.
        let _ = self.free.try_send(());
    }
}

/// A connection's place among [`CONNECTIONS_MAX`], free again when dropped.
struct Seat(Sender<()>);

impl Drop for Seat {
    fn drop(&mut self) {
        let _ = self.0.try_send(());
    }
}

#[expect(clippy::disallowed_methods, reason = "the admin thread may block")]
fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// A stream whose reads and writes end at a deadline, however slowly its other end goes.
struct Timed<'s> {
    stream: &'s TcpStream,
    clock: Clock,
    end: Tick,
}

impl Timed<'_> {
    fn left(&self) -> io::Result<Option<Duration>> {
        match self.end.since_ns(self.clock.tick()) {
            0 => Err(io::ErrorKind::TimedOut.into()),
            // A timeout of zero means none at all.
            ns => Ok(Some(Duration::from_nanos(ns.max(1_000_000)))),
        }
    }
}

impl Read for Timed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        self.stream.read(buffer)
    }
}

impl Write for Timed<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        self.stream.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Serves one request. Errors end the connection: there is nobody else to tell.
fn serve(stream: TcpStream, state: &NodeState) {
    let clock = state.clock;
    let deadline_ns = u64::try_from(DEADLINE.as_nanos()).unwrap_or(u64::MAX);
    let end = Tick(clock.tick().0.saturating_add(deadline_ns));
    let mut timed = Timed {
        stream: &stream,
        clock,
        end,
    };
    let _ = exchange(&mut timed, state).and_then(|()| linger(&mut timed));
}

fn exchange(timed: &mut Timed<'_>, state: &NodeState) -> io::Result<()> {
    let mut head = Vec::new();
    let (page, is_head) = loop {
        match parse(&head) {
            Parsed::Request { method, path } => {
                break (pages::answer(state, method, path), method == "HEAD");
            }
            Parsed::Bad(page) => break (page, false),
            Parsed::Partial => {
                let mut chunk = [0; 1_024];
                match timed.read(&mut chunk)? {
                    0 => return Ok(()),
                    n => head.extend_from_slice(&chunk[..n]),
                }
            }
        }
    };
    timed.write_all(&written(&page, is_head))
}

enum Parsed<'h> {
    Partial,
    Request { method: &'h str, path: &'h str },
    Bad(Page),
}

fn parse(head: &[u8]) -> Parsed<'_> {
    let mut slots = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut slots);
    match request.parse(head) {
        Ok(httparse::Status::Complete(_)) => {
            let target = request.path.unwrap_or_default();
            let path = target.split_once('?').map_or(target, |(path, _)| path);
            Parsed::Request {
                method: request.method.unwrap_or_default(),
                path,
            }
        }
        Ok(httparse::Status::Partial) if head.len() < HEAD_BYTES_MAX => Parsed::Partial,
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            Parsed::Bad(pages::text(431, "the request head is too large\n"))
        }
        Err(_) => Parsed::Bad(pages::text(400, "this is no HTTP/1.1 request\n")),
    }
}

fn written(page: &Page, is_head: bool) -> Vec<u8> {
    let reason = match page.status {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        431 => "Request Header Fields Too Large",
        _ => "Service Unavailable",
    };
    let allow = if page.status == 405 {
        "Allow: GET, HEAD\r\n"
    } else {
        ""
    };
    let mut bytes = format!(
        "HTTP/1.1 {} {reason}\r\nContent-Type: {}\r\nContent-Length: {}\r\n{allow}\
         Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n",
        page.status,
        page.media_type,
        page.body.len(),
    )
    .into_bytes();
    if !is_head {
        bytes.extend_from_slice(page.body.as_bytes());
    }
    bytes
}

/// Waits a little until the other end closed: closing over unread bytes resets the
/// connection, and the answer could be lost with it (RFC 9112, section 9.6).
fn linger(timed: &mut Timed<'_>) -> io::Result<()> {
    timed.stream.shutdown(Shutdown::Write)?;
    timed.end = timed
        .end
        .min(Tick(timed.clock.tick().0.saturating_add(LINGER_NS)));
    let mut sink = [0; 1_024];
    while timed.read(&mut sink)? > 0 {}
    Ok(())
}
