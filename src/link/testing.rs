//! Stand-ins for tests: a control process on a real socket, and workers that adopt views.

use super::feed::{Feed, Link};
use super::loader::Loader;
use super::protocol::{ControlMessage, NodeMessage, read_line, write_line};
use super::state::{LinkState, NodeState};
use super::upgrade::UpgradeState;
use super::worker_handle::{
    Doorbell, EndReport, Phase, PhaseCell, Shared, WorkerHandle, WorkerSeat, WorkerState,
};
use crate::clock::{Clock, Tick};
use crate::io::Driver;
use crate::record::LogSink;
use crate::record::load::Load;
use crate::snapshot::load::LoadPolicy;
use crate::snapshot::view::View;
use crate::spool::{Outlet, Spool, SpoolSettings};
use crate::trace::SpanSink;
use crate::watch::Watch;
use crossbeam::channel::Receiver;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// Nothing here takes longer, unless it is broken.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `condition` holds.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let clock = Clock::system();
    let begun = clock.tick();
    while !condition() {
        let waited_ns = clock.tick().since_ns(begun);
        assert!(waited_ns < 20_000_000_000, "never happened: {what}");
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

/// A control process that does what a test says.
#[derive(Debug)]
pub struct FakeControl(UnixListener);

impl FakeControl {
    /// Listens on a socket at `path`.
    pub fn listen(path: &Path) -> Self {
        Self(UnixListener::bind(path).expect("binds"))
    }

    /// The next connection of a node.
    pub fn accept(&self) -> FakeSession {
        let mut ready = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        let patience = PollTimeout::try_from(PATIENCE).expect("is short");
        assert_eq!(poll(&mut ready, patience), Ok(1), "no node came");
        let (stream, _) = self.0.accept().expect("accepts");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("sets a timeout");
        FakeSession(BufReader::new(stream))
    }
}

/// One connection of a node.
#[derive(Debug)]
pub struct FakeSession(BufReader<UnixStream>);

impl FakeSession {
    /// The node's next message.
    pub fn read(&mut self) -> NodeMessage {
        let mut line = Vec::new();
        self.0
            .read_until(b'\n', &mut line)
            .expect("the node speaks");
        assert!(line.ends_with(b"\n"), "the node closed");
        read_line(&line).expect("is a message")
    }

    /// The node's next message that is not a `Hello`.
    pub fn message(&mut self) -> NodeMessage {
        loop {
            match self.read() {
                NodeMessage::Hello { .. } => {}
                message => return message,
            }
        }
    }

    /// Says a message.
    pub fn say(&mut self, message: &ControlMessage) {
        let mut line = Vec::new();
        write_line(message, &mut line).expect("writes to memory");
        self.say_raw(&line);
    }

    /// Announces a generation.
    pub fn announce(&mut self, generation: u64) {
        self.say(&ControlMessage::Announce { generation });
    }

    /// Says anything. The node may have closed, so errors are no failure.
    pub fn say_raw(&mut self, bytes: &[u8]) {
        let _ = self.0.get_mut().write_all(bytes);
    }

    /// Reads until the node closes.
    pub fn read_to_end(&mut self) {
        let mut rest = Vec::new();
        // A reset is an end too.
        let ended = self.0.read_to_end(&mut rest);
        let timed_out = ended.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
        assert!(!timed_out, "the node did not close");
    }
}

/// A thread that does to its slot what a worker does, and nothing else.
#[derive(Debug)]
pub struct FakeWorker {
    /// Its handle.
    pub handle: Arc<WorkerHandle>,
    thread: JoinHandle<()>,
}

impl FakeWorker {
    /// Takes a seat; adopts a view at each wake, and ends at a drain.
    pub fn start(seat: WorkerSeat) -> Self {
        let handle = Arc::clone(&seat.handle);
        let thread = std::thread::spawn(move || fake_work(&seat));
        until("the worker starts", || {
            handle.state() != WorkerState::Starting
        });
        Self { handle, thread }
    }

    /// Waits for its end.
    pub fn join(self) {
        self.thread.join().expect("ends well");
    }
}

fn fake_work(seat: &WorkerSeat) {
    let handle = &seat.handle;
    let _end = EndReport(Arc::clone(handle));
    seat.wake.set_nonblocking(false).expect("can block");
    handle.driver.set(Driver::Epoll).expect("is set once");
    let mut current: Option<Arc<View>> = None;
    loop {
        if handle.slot.adopt(&mut current) {
            handle.adopted();
        }
        handle.report(WorkerState::Serving);
        if handle.phase.get() != Phase::Running {
            break;
        }
        let mut wakes = [0; 64];
        if (&seat.wake).read(&mut wakes).expect("is open") == 0 {
            break;
        }
    }
    if let Some(view) = current {
        handle.slot.retire(view);
    }
}

/// A node around a directory: its state, the seats of its workers, its link not started yet.
#[derive(Debug)]
pub struct Bench {
    /// Shared with everything.
    pub state: Arc<NodeState>,
    /// The workers' seats, until taken.
    pub seats: Vec<WorkerSeat>,
    /// The link.
    pub feed: Feed,
    /// What the link hears.
    pub rung: Receiver<()>,
    spool: Option<Spool>,
}

impl Bench {
    /// A node with this many workers, the pepper 1, and maybe a control socket.
    pub fn new(directory: &Path, workers: usize, socket: Option<&Path>) -> Self {
        Self::polling(directory, workers, socket, Duration::from_millis(20))
    }

    /// [`Bench::new`] with a pause of its own between two looks that nobody asked for.
    pub fn polling(
        directory: &Path,
        workers: usize,
        socket: Option<&Path>,
        poll: Duration,
    ) -> Self {
        let (link, rung) = Doorbell::new();
        let (node, _) = Doorbell::new();
        let phase = PhaseCell::new();
        let shared = Shared {
            log: LogSink::off(),
            phase: phase.clone(),
            link,
            node,
        };
        let seats: Vec<_> = (0..workers)
            .map(|i| WorkerSeat::new(i, &shared).expect("has a seat"))
            .collect();
        let clock = Clock::system();
        let state = Arc::new(NodeState {
            tls: None,
            name: "edge-1".into(),
            clock,
            started: clock.now(),
            workers: seats.iter().map(|seat| Arc::clone(&seat.handle)).collect(),
            phase,
            load: Arc::new(Load::new(workers)),
            log: LogSink::off(),
            link: LinkState::new(socket.is_some()),
            watch: Watch::idle(),
            upgrade: UpgradeState::default(),
            ledger: Arc::default(),
            spool: Arc::default(),
            spans: SpanSink::off(),
        });
        let loader = Loader::new(directory.to_owned(), LoadPolicy::default(), vec![1], clock);
        let (spool, outlet) = match socket {
            None => (None, Outlet::closed()),
            Some(_) => {
                let kept = SpoolSettings {
                    node: state.name.clone(),
                    directory: None,
                    bytes_max: 1 << 20,
                };
                let shown = Arc::clone(&state.spool);
                let spool = Spool::start(&kept, state.workers.clone(), shown, clock);
                let (spool, outlet) = spool.expect("starts");
                (Some(spool), outlet)
            }
        };
        let socket = socket.map(Path::to_owned);
        let feed = Feed::new(Arc::clone(&state), loader, socket, outlet, poll);
        Self {
            spool,
            state,
            seats,
            feed,
            rung,
        }
    }

    /// Starts the workers and the link.
    pub fn start(self) -> FakeNode {
        let workers = self.seats.into_iter().map(FakeWorker::start).collect();
        let link = self.feed.start(self.rung).expect("starts");
        FakeNode {
            state: self.state,
            workers,
            link,
            spool: self.spool,
        }
    }
}

/// A running node without sockets for traffic.
#[derive(Debug)]
pub struct FakeNode {
    /// Shared with everything.
    pub state: Arc<NodeState>,
    /// Its workers.
    pub workers: Vec<FakeWorker>,
    link: Link,
    spool: Option<Spool>,
}

impl FakeNode {
    /// Drains the workers, then ends the link, giving it `patience_ms` for its last words.
    pub fn stop(self, patience_ms: u64) {
        self.state.phase.advance(Phase::Draining);
        for worker in self.workers {
            worker.handle.wake();
            worker.join();
        }
        if let Some(spool) = &self.spool {
            spool.seal();
        }
        let now = self.state.clock.tick();
        self.link.stop(Tick(now.0 + patience_ms * 1_000_000));
    }
}
