//! A node: one data-plane process, put together, run, drained and ended.
//!
//! Takes [`Settings`]; starts the log thread, the admin listener, the workers and the link thread;
//! then waits for signals. Order matters: whatever can be refused is refused before traffic is
//! accepted, and workers find the first snapshot in their slots. SIGTERM and SIGINT
//! drain, a second one ends at once; SIGHUP opens the access log anew. Absent on purpose:
//! what a worker does, and a reload of settings.

mod listen;
mod notify;
mod signals;

use crate::accept::admission::Admission;
use crate::accept::greet::Greeting;
use crate::accept::tls::store::{TlsError, TlsStore};
use crate::authenticate::digest::{Pepper, PepperError};
use crate::clock::{Clock, Tick};
use crate::limit::Bank;
use crate::link::admin::Admin;
use crate::link::feed::{self, Feed, Link};
use crate::link::loader::Loader;
use crate::link::pages::VERSION;
use crate::link::state::{LinkState, NodeState};
use crate::link::worker_handle::{Doorbell, Shared};
use crate::link::{Phase, PhaseCell, WorkerSeat, WorkerState};
use crate::record::load::Load;
use crate::record::log_thread::{self, LogThread};
use crate::settings::{AccessLog, Settings};
use crate::snapshot::load::LoadPolicy;
use crate::upstream::tls::Trusts;
use crate::worker::WorkerConfig;
use crate::worker::start::{self as workers, Seat, StartError};
use crossbeam::channel::{Receiver, select};
use serde::Serialize;
use signals::{Signal, Signals};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// Most words of the shared limits: one for each limit of each key that was used since the
/// start, 16 bytes each, so at most 1 GiB of memory is ever touched.
const LIMIT_WORDS_MAX: u64 = 1 << 26;

/// How long workers may take from their loop to their first accept, in nanoseconds.
const START_NS: u64 = 10_000_000_000;

/// How long workers may take to close what a drain left open, in nanoseconds.
const CLOSE_NS: u64 = 1_000_000_000;

/// How long control may take to acknowledge the last usage, in nanoseconds.
const LAST_USAGE_NS: u64 = 2_000_000_000;

/// How long the disk may take for the last lines of the access log.
const LAST_LINES: Duration = Duration::from_secs(2);

/// Why a node did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// A pepper cannot be used.
    #[error("pepper {id}: {cause}")]
    Pepper {
        /// Its id.
        id: u8,
        /// The cause.
        cause: PepperError,
    },
    /// An address for traffic cannot be had.
    #[error("listen: cannot listen on {address}: {cause}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The cause.
        cause: io::Error,
    },
    /// The admin address cannot be had.
    #[error("admin.listen: cannot listen on {address}: {cause}")]
    Admin {
        /// The address.
        address: SocketAddr,
        /// The cause.
        cause: io::Error,
    },
    /// The access log cannot be opened.
    #[error("access_log: cannot open {}: {cause}", path.display())]
    Log {
        /// The file.
        path: PathBuf,
        /// The cause.
        cause: io::Error,
    },
    /// The port file cannot be written.
    #[error("--port-file: cannot write {}: {cause}", path.display())]
    PortFile {
        /// The file.
        path: PathBuf,
        /// The cause.
        cause: io::Error,
    },
    /// There is nothing to show over TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// No worker runs.
    #[error(transparent)]
    Workers(#[from] StartError),
    /// The system gave no thread, socket pair or signal handler.
    #[error("the system lacks what the node needs: {0}")]
    System(io::Error),
    /// Every worker ended though nobody asked.
    #[error("every worker has ended; the log above says why")]
    WorkersEnded,
}

/// Runs a node until it is told to end. Writes the addresses it listens on to `port_file` once
/// it accepts.
pub fn run(settings: Settings, port_file: Option<&Path>) -> Result<(), NodeError> {
    // First, so that a signal during a long start is neither lost nor deadly.
    let signals = Signals::catch().map_err(NodeError::System)?;
    if let Some(path) = port_file {
        // One from an earlier run would tell whoever waits for it the wrong ports.
        let _ = std::fs::remove_file(path);
    }
    let node = Node::start(settings)?;
    if let Some(path) = port_file {
        node.write_ports(path)?;
    }
    notify::ready();
    let outcome = node.wait(&signals);
    node.end(&signals);
    outcome
}

/// A running node.
#[derive(Debug)]
pub struct Node {
    settings: Arc<Settings>,
    state: Arc<NodeState>,
    listen: Vec<SocketAddr>,
    admin: Admin,
    log: Option<LogThread>,
    link: Link,
    threads: Vec<JoinHandle<()>>,
    /// Rung when a worker's state changed.
    changed: Receiver<()>,
}

/// What is written to the port file.
#[derive(Debug, Serialize)]
struct Ports<'a> {
    listen: &'a [SocketAddr],
    admin: SocketAddr,
}

impl Node {
    /// Starts all threads; returns once every worker accepts.
    pub fn start(settings: Settings) -> Result<Self, NodeError> {
        let settings = Arc::new(settings);
        let clock = Clock::system();
        let peppers = peppers(&settings)?;
        listen::raise_descriptor_limit(settings.http.connections_max);
        let addresses: Vec<SocketAddr> = settings.listen.iter().map(|one| one.address).collect();
        let sockets = listen::bind(&addresses, settings.workers)?;
        let tls = settings.tls.as_ref().map(TlsStore::read).transpose()?;
        let tls = tls.map(Arc::new);
        let (sink, log) = open_log(&settings.access_log, clock)?;

        let (link_bell, rung) = Doorbell::new();
        let (node_bell, changed) = Doorbell::new();
        let phase = PhaseCell::new();
        let shared = Shared {
            log: sink.clone(),
            phase: phase.clone(),
            link: link_bell,
            node: node_bell,
        };
        let seats = (0..settings.workers)
            .map(|index| WorkerSeat::new(index, &shared))
            .collect::<io::Result<Vec<_>>>()
            .map_err(NodeError::System)?;
        let state = Arc::new(NodeState {
            name: settings.node.clone(),
            clock,
            started: clock.now(),
            workers: seats.iter().map(|seat| Arc::clone(&seat.handle)).collect(),
            phase,
            load: Arc::new(Load::new(settings.workers)),
            log: sink,
            tls: tls.clone(),
            link: LinkState::new(settings.link.socket.is_some()),
        });
        // Before the first load, which may take seconds: an orchestrator asks whether it lives.
        let address = settings.admin.listen;
        let admin = Admin::start(address, Arc::clone(&state))
            .map_err(|cause| NodeError::Admin { address, cause })?;
        let mut feed = new_feed(&settings, &state, &peppers);
        feed.look(None);

        let listen = sockets.addresses.clone();
        let config = WorkerConfig {
            settings: Arc::clone(&settings),
            peppers,
            bank: Arc::new(Bank::create(LIMIT_WORDS_MAX).map_err(NodeError::System)?),
            clock,
            tls: tls.clone(),
            trusts: Arc::new(Trusts::read(&settings.upstream_tls).map_err(TlsError::File)?),
            admission: Arc::new(Admission::new(&settings.http)),
            load: Arc::clone(&state.load),
        };
        let threads = start_workers(&config, seats, sockets)?;
        let link = feed.start(rung).map_err(NodeError::System)?;
        await_workers(&state, &changed);
        tracing::info!(
            version = VERSION,
            node = settings.node,
            listen = ?listen,
            admin = %admin.address(),
            "the node runs"
        );
        Ok(Self {
            settings,
            state,
            listen,
            admin,
            log,
            link,
            threads,
            changed,
        })
    }

    /// Where it takes traffic; ports that were left to the system are filled in.
    pub fn listen(&self) -> &[SocketAddr] {
        &self.listen
    }

    /// Where its admin listener is.
    pub fn admin(&self) -> SocketAddr {
        self.admin.address()
    }

    /// What it knows of itself.
    pub fn state(&self) -> &NodeState {
        &self.state
    }

    /// Writes its addresses, whole or not at all, for whoever waits for the file.
    fn write_ports(&self, path: &Path) -> Result<(), NodeError> {
        let ports = Ports {
            listen: &self.listen,
            admin: self.admin(),
        };
        let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
        serde_json::to_string(&ports)
            .map_err(io::Error::from)
            .and_then(|text| std::fs::write(&temporary, text + "\n"))
            .and_then(|()| std::fs::rename(&temporary, path))
            .map_err(|cause| NodeError::PortFile {
                path: path.to_owned(),
                cause,
            })
    }

    /// Waits until somebody asks for the end, or no worker is left.
    fn wait(&self, signals: &Signals) -> Result<(), NodeError> {
        let mut dead = 0;
        loop {
            select! {
                recv(signals.heard) -> signal => match signal {
                    Ok(Signal::Reopen) => self.reload(),
                    Ok(Signal::End) | Err(_) => return Ok(()),
                },
                recv(self.changed) -> _ => {
                    let ended = self.ended();
                    if ended > dead {
                        dead = ended;
                        tracing::error!(ended, "a worker has ended; the others serve on");
                    }
                    if ended == self.state.workers.len() {
                        return Err(NodeError::WorkersEnded);
                    }
                }
            }
        }
    }

    /// SIGHUP: what lies in files is taken anew.
    fn reload(&self) {
        notify::reloading();
        self.reopen_log();
        self.renew_certificates();
        notify::ready();
    }

    fn renew_certificates(&self) {
        let Some(tls) = &self.state.tls else { return };
        match tls.renew() {
            Ok(()) => tracing::info!(certificates = tls.shown().len(), "certificates are renewed"),
            Err(error) => tracing::error!(
                %error,
                "certificates are not renewed; what was shown before is still shown"
            ),
        }
    }

    fn reopen_log(&self) {
        match &self.log {
            Some(log) => log.reopen(),
            None => tracing::debug!("SIGHUP: there is no access log to open anew"),
        }
    }

    fn ended(&self) -> usize {
        self.state
            .workers
            .iter()
            .filter(|worker| worker.state() == WorkerState::Ended)
            .count()
    }

    /// Drains, and ends everything in the order in which it depends on each other.
    fn end(self, signals: &Signals) {
        let clock = self.state.clock;
        let drain_ns = self
            .settings
            .http
            .drain_timeout_ms
            .saturating_mul(1_000_000);
        notify::stopping();
        tracing::info!(
            drain_timeout_ms = self.settings.http.drain_timeout_ms,
            "draining"
        );
        self.enter(Phase::Draining);
        if !self.wait_for_workers(after(clock, drain_ns), Some(signals)) {
            let open: u64 = self
                .state
                .workers
                .iter()
                .map(|w| w.counters.open_connections())
                .sum();
            tracing::warn!(connections = open, "closing what the drain left open");
            self.enter(Phase::Stopping);
            self.wait_for_workers(after(clock, CLOSE_NS), None);
        }
        let left = self.state.workers.len() - self.ended();
        if left == 0 {
            for thread in self.threads {
                if thread.join().is_err() {
                    tracing::error!("a worker panicked");
                }
            }
        } else {
            tracing::warn!(workers = left, "workers did not end; leaving them");
        }
        // The workers handed over their last counts and lines before they ended.
        self.link.stop(after(clock, LAST_USAGE_NS));
        if let Some(log) = self.log
            && !log.stop(LAST_LINES)
        {
            tracing::warn!("the access log did not take its last lines in time");
        }
        tracing::info!("the node has ended");
    }

    fn enter(&self, phase: Phase) {
        self.state.phase.advance(phase);
        for worker in &self.state.workers {
            worker.wake();
        }
    }

    /// True once every worker has ended; false at the deadline, or when a signal says enough.
    fn wait_for_workers(&self, deadline: Tick, signals: Option<&Signals>) -> bool {
        let never = crossbeam::channel::never();
        let heard = signals.map_or(&never, |signals| &signals.heard);
        while self.ended() < self.state.workers.len() {
            let left = Duration::from_nanos(deadline.since_ns(self.state.clock.tick()));
            if left.is_zero() {
                return false;
            }
            select! {
                recv(self.changed) -> _ => {}
                recv(heard) -> signal => match signal {
                    Ok(Signal::Reopen) => self.reopen_log(),
                    Ok(Signal::End) | Err(_) => return false,
                },
                default(left) => {}
            }
        }
        true
    }
}

/// Returns once every worker accepts, or failed to. Their loops are built already, so this takes
/// no time unless the machine is overloaded; nothing is lost by going on then.
fn await_workers(state: &NodeState, changed: &Receiver<()>) {
    let deadline = after(state.clock, START_NS);
    while state
        .workers
        .iter()
        .any(|worker| worker.state() == WorkerState::Starting)
    {
        let left = Duration::from_nanos(deadline.since_ns(state.clock.tick()));
        if changed.recv_timeout(left).is_err() {
            tracing::warn!("not every worker accepts yet");
            return;
        }
    }
}

fn after(clock: Clock, ns: u64) -> Tick {
    Tick(clock.tick().0.saturating_add(ns))
}

/// Reads every pepper that the settings name.
pub fn peppers(settings: &Settings) -> Result<Arc<[Pepper]>, NodeError> {
    settings
        .peppers
        .iter()
        .map(|entry| {
            Pepper::read(entry.id, &entry.file).map_err(|cause| NodeError::Pepper {
                id: entry.id,
                cause,
            })
        })
        .collect()
}

fn open_log(
    log: &AccessLog,
    clock: Clock,
) -> Result<(crate::record::LogSink, Option<LogThread>), NodeError> {
    log_thread::start(log, clock).map_err(|cause| match log {
        AccessLog::File(path) => NodeError::Log {
            path: path.clone(),
            cause,
        },
        AccessLog::Off | AccessLog::Stdout => NodeError::System(cause),
    })
}

fn new_feed(settings: &Settings, state: &Arc<NodeState>, peppers: &[Pepper]) -> Feed {
    let policy = LoadPolicy {
        keys_lost_max_percent: settings.snapshot.keys_lost_max_percent,
        rollback_secret: peppers.first().map(rollback_secret),
        ..LoadPolicy::default()
    };
    let ids = peppers.iter().map(Pepper::id).collect();
    let loader = Loader::new(
        settings.snapshot.directory.clone(),
        policy,
        ids,
        state.clock,
    );
    Feed::new(
        Arc::clone(state),
        loader,
        settings.link.socket.clone(),
        feed::POLL,
    )
}

/// The secret that a deliberate step back must be signed with: derived from the pepper, which
/// control and its nodes share anyway.
pub fn rollback_secret(pepper: &Pepper) -> [u8; 32] {
    let mut secret = [0; 32];
    let (left, right) = secret.split_at_mut(16);
    left.copy_from_slice(&pepper.digest(b"keyway rollback secret 1, left half").0);
    right.copy_from_slice(&pepper.digest(b"keyway rollback secret 1, right half").0);
    secret
}

fn start_workers(
    config: &WorkerConfig,
    seats: Vec<WorkerSeat>,
    sockets: listen::Sockets,
) -> Result<Vec<JoinHandle<()>>, NodeError> {
    let cores = listen::cores(seats.len());
    let greetings = config.settings.listen.iter().map(|one| Greeting {
        tls: one.tls,
        proxy_protocol: one.proxy_protocol,
    });
    let seats = seats
        .into_iter()
        .zip(sockets.listen()?)
        .zip(cores)
        .map(|((link, listeners), core)| Seat {
            link,
            listeners: listeners.into_iter().zip(greetings.clone()).collect(),
            core,
        })
        .collect();
    let (_, threads) = workers::start(config, seats)?;
    Ok(threads)
}
