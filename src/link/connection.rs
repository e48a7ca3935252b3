//! The connection to control: connects, reads lines, writes lines, comes again.
//!
//! One thread connects and reads, a second one writes, so that a control process that reads
//! nothing never holds up a message from it. The link thread gets an [`Event`] for all that
//! happens and sends through the [`Outbox`] of the connection that stands. Absent on purpose: what the
//! messages mean; a lost connection loses the messages in it, and the link thread sends
//! anew what matters.

use super::backoff::Backoff;
use super::protocol::{ControlMessage, LINE_BYTES_MAX, NodeMessage, read_line, write_line};
use crossbeam::channel::{
    Receiver, RecvTimeoutError, SendTimeoutError, Sender, TryRecvError, TrySendError, bounded,
    select_biased,
};
use socket2::{Domain, SockAddr, Socket, Type};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Messages that may wait for control to read them. A control process that lags behind by more
/// is taken for dead.
const OUTBOX_MAX: usize = 256;

/// Messages of searches that may wait; a search waits then, and nothing else does.
const FINDINGS_MAX: usize = 4;

/// How long a search waits before it looks whether it is still wanted.
const FINDINGS_PAUSE: Duration = Duration::from_millis(50);

/// Longest time that one line may take to write.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// What happened on the connection.
#[derive(Debug)]
pub enum Event {
    /// A connection stands; say hello.
    Connected(Outbox),
    /// Control said something.
    Message(ControlMessage),
    /// No connection could be made, or the one that stood is gone.
    Lost(String),
}

/// The way out of one connection.
#[derive(Clone, Debug)]
pub struct Outbox {
    lines: Sender<NodeMessage>,
    findings: Sender<NodeMessage>,
    stream: Arc<UnixStream>,
}

impl Outbox {
    /// Queues a message. If control is too far behind the connection is ended: it comes again.
    pub fn send(&self, message: NodeMessage) {
        if let Err(TrySendError::Full(_)) = self.lines.try_send(message) {
            let _ = self.stream.shutdown(Shutdown::Both);
        }
    }

    /// Queues what a search found, behind everything else, and waits for room; false if nobody will
    /// read it. Never called by the link thread.
    pub fn find(&self, message: NodeMessage, stopped: &AtomicBool) -> bool {
        let mut message = message;
        while !stopped.load(Ordering::Relaxed) {
            match self.findings.send_timeout(message, FINDINGS_PAUSE) {
                Ok(()) => return true,
                Err(SendTimeoutError::Timeout(back)) => message = back,
                Err(SendTimeoutError::Disconnected(_)) => return false,
            }
        }
        false
    }
}

/// The threads that keep the connection.
#[derive(Debug)]
pub struct Connection {
    thread: JoinHandle<()>,
    stop: Sender<()>,
    current: Arc<Current>,
}

/// The stream that stands, if any, so that a stop can end the read of it.
#[derive(Debug, Default)]
struct Current(Mutex<Option<Arc<UnixStream>>>);

impl Current {
    fn set(&self, stream: Option<Arc<UnixStream>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = stream;
    }

    fn end(&self) {
        if let Some(stream) = &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Connection {
    /// Starts to connect to control's socket at `path`, again and again.
    pub fn start(path: PathBuf, events: Sender<Event>) -> io::Result<Self> {
        let (stop, stopped) = bounded(1);
        let current = Arc::new(Current::default());
        let keeper = Keeper {
            path,
            events,
            stopped,
            current: Arc::clone(&current),
        };
        let thread = std::thread::Builder::new()
            .name("keyway-control".into())
            .spawn(|| keeper.run())?;
        Ok(Self {
            thread,
            stop,
            current,
        })
    }

    /// Ends the connection and its threads. The caller must have dropped, or go on to empty, the
    /// receiver of the events.
    pub fn stop(self) {
        drop(self.stop);
        self.current.end();
        // It catches its own panics in tests only; there is nothing to do about one here.
        let _ = self.thread.join();
    }
}

struct Keeper {
    path: PathBuf,
    events: Sender<Event>,
    stopped: Receiver<()>,
    current: Arc<Current>,
}

impl Keeper {
    fn run(self) {
        let mut backoff = Backoff::default();
        loop {
            let lost = match connect(&self.path) {
                Ok(stream) => self.serve(stream, &mut backoff),
                Err(error) => format!("cannot connect to {}: {error}", self.path.display()),
            };
            if self.is_stopped() || self.events.send(Event::Lost(lost)).is_err() {
                return;
            }
            let pause = Duration::from_millis(backoff.pause_ms(random()));
            match self.stopped.recv_timeout(pause) {
                Err(RecvTimeoutError::Timeout) => {}
                _ => return,
            }
        }
    }

    fn is_stopped(&self) -> bool {
        matches!(self.stopped.try_recv(), Err(TryRecvError::Disconnected))
    }

    /// Reads one connection to its end; says why it ended.
    fn serve(&self, stream: UnixStream, backoff: &mut Backoff) -> String {
        let stream = Arc::new(stream);
        self.current.set(Some(Arc::clone(&stream)));
        // A stop between the connect and the line above found no stream to end.
        if self.is_stopped() {
            return "stopping".into();
        }
        let (lines, queued) = bounded(OUTBOX_MAX);
        let (findings, found) = bounded(FINDINGS_MAX);
        // Dropped when the connection is over. The writer cannot learn that from its queue: the
        // link thread holds the other end of it until it hears of the loss.
        let (over, is_over) = bounded::<()>(0);
        let writer = {
            let stream = Arc::clone(&stream);
            std::thread::Builder::new()
                .name("keyway-control-out".into())
                .spawn(move || write_lines(&stream, (&queued, &found), &is_over))
        };
        let writer = match writer {
            Ok(writer) => writer,
            Err(error) => return format!("cannot start a thread: {error}"),
        };
        let outbox = Outbox {
            lines,
            findings,
            stream: Arc::clone(&stream),
        };
        let lost = match self.events.send(Event::Connected(outbox)) {
            Ok(()) => self.read_lines(&stream, backoff),
            Err(_) => "stopping".into(),
        };
        self.current.set(None);
        // Ends a write that control never reads.
        let _ = stream.shutdown(Shutdown::Both);
        drop(over);
        let _ = writer.join();
        lost
    }

    fn read_lines(&self, stream: &UnixStream, backoff: &mut Backoff) -> String {
        let mut reader = BufReader::with_capacity(4_096, stream);
        let mut line = Vec::new();
        loop {
            line.clear();
            let cap = u64::try_from(LINE_BYTES_MAX).unwrap_or(u64::MAX);
            match reader.by_ref().take(cap).read_until(b'\n', &mut line) {
                Ok(_) if line.last() == Some(&b'\n') => {}
                Ok(_) if line.len() == LINE_BYTES_MAX => {
                    return format!("control sent a line of more than {LINE_BYTES_MAX} bytes");
                }
                Ok(_) => return "control closed the connection".into(),
                Err(error) => return format!("reading from control: {error}"),
            }
            // What control sent is not repeated in the reason: it goes to logs.
            let Ok(message) = read_line(&line) else {
                return "control sent a line that is no message".into();
            };
            backoff.reset();
            if self.events.send(Event::Message(message)).is_err() {
                return "stopping".into();
            }
        }
    }
}

/// Writes messages until the connection is over; what searches found, only when nothing else waits.
fn write_lines(
    mut stream: &UnixStream,
    (queued, found): (&Receiver<NodeMessage>, &Receiver<NodeMessage>),
    is_over: &Receiver<()>,
) {
    let mut line = Vec::new();
    loop {
        let message = select_biased! {
            recv(is_over) -> _ => return,
            recv(queued) -> message => message,
            recv(found) -> message => message,
        };
        let Ok(message) = message else { return };
        line.clear();
        let written = write_line(&message, &mut line)
            .map_err(io::Error::from)
            .and_then(|()| stream.write_all(&line));
        if written.is_err() {
            // Ends the reader's read as well.
            let _ = stream.shutdown(Shutdown::Both);
            return;
        }
        // The room of a large batch is not kept for the connection's life.
        line.shrink_to(4_096);
    }
}

/// Connects without waiting: a control process that accepts nothing has a full backlog, and a
/// blocking connect would stand there until it comes round.
fn connect(path: &Path) -> io::Result<UnixStream> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.connect(&SockAddr::unix(path)?)?;
    socket.set_nonblocking(false)?;
    socket.set_write_timeout(Some(WRITE_TIMEOUT))?;
    Ok(UnixStream::from(OwnedFd::from(socket)))
}

/// Any number; zero where the system has none to give, which only costs the jitter.
fn random() -> u64 {
    getrandom::u64().unwrap_or_default()
}
