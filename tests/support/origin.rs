//! The server behind the gateway: a script on real sockets, one thread a connection.

use std::fmt;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use super::turn::{Flow, Turn};
use super::wait;
use super::wire::{Broken, Head, Wire};

/// A request that an origin got.
#[derive(Clone, Debug)]
pub struct Received {
    /// Its head.
    pub head: Head,
    /// Its body, if the script read it.
    pub body: Vec<u8>,
    /// Field lines behind its body.
    pub trailers: Vec<String>,
    /// The script read the body to its end.
    pub whole: bool,
    /// Which connection it came on, from 1.
    pub connection: usize,
}

type Script = dyn Fn(&mut Turn) -> Result<Flow, Broken> + Send + Sync;

/// What an origin's threads share.
pub struct Shared {
    script: Box<Script>,
    received: Mutex<Vec<Received>>,
    accepted: AtomicUsize,
    open: AtomicUsize,
    stopping: AtomicBool,
    streams: Mutex<Vec<Weak<TcpStream>>>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("open", &self.open)
            .finish_non_exhaustive()
    }
}

/// A running origin; ends with the test.
#[derive(Debug)]
pub struct Origin {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

impl Origin {
    /// Runs `script` once for each request, after its head was read.
    pub fn scripted(
        script: impl Fn(&mut Turn) -> Result<Flow, Broken> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        Self::on(listener, script)
    }

    /// Like [`Origin::scripted`], on a listener that the test made.
    pub fn on(
        listener: TcpListener,
        script: impl Fn(&mut Turn) -> Result<Flow, Broken> + Send + Sync + 'static,
    ) -> Self {
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared {
            script: Box::new(script),
            received: Mutex::default(),
            accepted: AtomicUsize::default(),
            open: AtomicUsize::default(),
            stopping: AtomicBool::default(),
            streams: Mutex::default(),
        });
        let accepting = Arc::clone(&shared);
        let acceptor = thread::spawn(move || accept(&listener, &accepting));
        Self {
            address,
            shared,
            acceptor: Some(acceptor),
        }
    }

    /// Answers each request with itself as JSON.
    pub fn echo() -> Self {
        Self::scripted(Turn::echo)
    }

    /// Answers each request with these bytes, after it was read whole.
    pub fn saying(bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        Self::scripted(move |turn| {
            turn.body()?;
            turn.send(&bytes)?;
            Ok(Flow::Keep)
        })
    }

    /// Answers each request with these bytes and closes.
    pub fn saying_and_closing(bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        Self::scripted(move |turn| {
            turn.body()?;
            turn.send(&bytes)?;
            Ok(Flow::Close)
        })
    }

    /// Reads each request and never answers.
    pub fn hanging() -> Self {
        Self::scripted(Turn::hang)
    }

    /// Resets the connection once a request's head is there.
    pub fn resetting() -> Self {
        Self::scripted(|_| Ok(Flow::Reset))
    }

    /// What it got so far.
    pub fn received(&self) -> Vec<Received> {
        self.shared.received().clone()
    }

    /// How many requests it got so far.
    pub fn requests(&self) -> usize {
        self.shared.received().len()
    }

    /// The only request it got.
    #[track_caller]
    pub fn only(&self) -> Received {
        let received = self.received();
        assert_eq!(received.len(), 1, "{received:?}");
        received[0].clone()
    }

    /// Waits until it has `count` requests.
    pub fn wait_for_requests(&self, count: usize) {
        wait::until("requests at the origin", || self.requests() >= count);
    }

    /// Connections it accepted so far.
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// Connections open at it now.
    pub fn open(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// Waits until the gateway has no connection to it any more.
    pub fn wait_until_free(&self) {
        wait::until("the origin's connections to end", || self.open() == 0);
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        // Wakes the acceptor; it looks at the flag.
        let _ = TcpStream::connect(self.address);
        for stream in lock(&self.shared.streams).drain(..) {
            let _ = stream
                .upgrade()
                .map(|stream| stream.shutdown(Shutdown::Both));
        }
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

impl Shared {
    fn received(&self) -> MutexGuard<'_, Vec<Received>> {
        lock(&self.received)
    }

    fn note(&self, received: Received) -> usize {
        let mut all = self.received();
        all.push(received);
        all.len()
    }

    pub(super) fn note_body(&self, number: usize, body: &[u8]) {
        self.received()[number - 1].body = body.to_vec();
    }

    pub(super) fn note_body_end(&self, number: usize, whole: bool, trailers: &[String]) {
        let received = &mut self.received()[number - 1];
        received.whole = whole;
        received.trailers = trailers.to_vec();
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept() {
        if shared.stopping.load(Ordering::SeqCst) {
            return;
        }
        let connection = shared.accepted.fetch_add(1, Ordering::SeqCst) + 1;
        shared.open.fetch_add(1, Ordering::SeqCst);
        let wire = Wire::new(stream);
        lock(&shared.streams).push(Arc::downgrade(&wire.stream));
        let shared = Arc::clone(shared);
        thread::spawn(move || {
            let _open = Open(&shared.open);
            converse(wire, connection, &shared);
        });
    }
}

struct Open<'a>(&'a AtomicUsize);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn converse(mut wire: Wire, connection: usize, shared: &Arc<Shared>) {
    for place in 1.. {
        let Ok(head) = wire.head() else { return };
        let mut turn = Turn::new(head, connection, place, wire, Arc::clone(shared));
        turn.number = shared.note(turn.received());
        let flow = (shared.script)(&mut turn).unwrap_or(Flow::Close);
        match turn.end(flow) {
            Some(kept) => wire = kept,
            None => return,
        }
    }
}

/// An address where every connection is refused, for as long as the socket lives.
pub fn refusing() -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("descriptors are left");
    socket
        .bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
        .expect("a free port");
    let address = socket
        .local_addr()
        .ok()
        .and_then(|address| address.as_socket());
    (socket, address.expect("it is bound"))
}

/// An address where connections are never answered, for as long as it lives.
#[derive(Debug)]
pub struct Silent {
    /// The address.
    pub address: SocketAddr,
    _listener: Socket,
    _waiting: Vec<TcpStream>,
}

impl Silent {
    /// Listens and fills its own queue, so that the kernel drops whoever comes then.
    pub fn new() -> Self {
        let (listener, address) = refusing();
        listener.listen(0).expect("it is bound");
        let mut waiting = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(100)) {
            waiting.push(stream);
        }
        Self {
            address,
            _listener: listener,
            _waiting: waiting,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
