//! Puts a node together: everything that can be refused is refused before traffic is accepted.
//!
//! Where a process before this one serves, this one does all it can beside it, and accepts last; a
//! failure on the way leaves the other as it was.

use super::error::NodeError;
use super::predecessor::Predecessor;
use super::sockets::{Group, Inherited};
use super::{Node, after, listen};
use crate::accept::admission::Admission;
use crate::accept::greet::Greeting;
use crate::accept::tls::store::{TlsError, TlsStore};
use crate::authenticate::digest::Pepper;
use crate::clock::Clock;
use crate::ledger::files::Files;
use crate::ledger::{self, Ledger};
use crate::limit::Bank;
use crate::link::admin::Admin;
use crate::link::feed::{self, Feed};
use crate::link::loader::Loader;
use crate::link::pages::VERSION;
use crate::link::state::{LinkState, NodeState};
use crate::link::upgrade::UpgradeState;
use crate::link::worker_handle::{Doorbell, Shared};
use crate::link::{PhaseCell, WorkerSeat, WorkerState};
use crate::record::LogSink;
use crate::record::load::Load;
use crate::record::log_thread::{self, LogThread};
use crate::settings::{AccessLog, Settings};
use crate::snapshot::load::LoadPolicy;
use crate::spool::{Outlet, Spool, SpoolSettings};
use crate::trace::{ExportThread, SpanSink, exporter};
use crate::upstream::tls::Trusts;
use crate::watch::Watch;
use crate::worker::WorkerConfig;
use crate::worker::start::{self as workers, Crew, Seat};
use crossbeam::channel::Receiver;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// How long workers may take from their loop to their first accept, in nanoseconds.
const START_NS: u64 = 10_000_000_000;

/// Most words of the shared limits: one for each limit of each key that was used since the
/// start, 16 bytes each, so at most 1 GiB of memory is ever touched.
const LIMIT_WORDS_MAX: u64 = 1 << 26;

impl Node {
    /// Starts all threads; returns once every worker accepts, and nobody else does.
    ///
    /// `inherited` is what the service manager passed; a predecessor brings its own.
    pub(super) fn start(
        settings: Settings,
        mut inherited: Inherited,
        mut predecessor: Option<Predecessor>,
    ) -> Result<Self, NodeError> {
        if let Some(predecessor) = &mut predecessor {
            inherited = std::mem::take(&mut predecessor.inherited);
        }
        let node = Self::prepare(settings, &mut inherited, predecessor.as_mut());
        match (node, predecessor) {
            (Ok(node), None) => Ok(node),
            (Ok(mut node), Some(predecessor)) => {
                predecessor.relieve(node.state.workers.len(), &node.bank);
                if let Some(socket) = &node.admin_socket {
                    node.admin = Some(serve_admin(socket, &node.state)?);
                }
                Ok(node)
            }
            (Err(error), predecessor) => {
                if let Some(predecessor) = predecessor {
                    predecessor.refuse(&error);
                }
                Err(error)
            }
        }
    }

    fn prepare(
        settings: Settings,
        inherited: &mut Inherited,
        predecessor: Option<&mut Predecessor>,
    ) -> Result<Self, NodeError> {
        let settings = Arc::new(settings);
        let clock = Clock::system();
        let peppers = peppers(&settings)?;
        listen::raise_descriptor_limit(settings.http.connections_max);
        let addresses: Vec<_> = settings.listen.iter().map(|one| one.address).collect();
        let sockets = listen::bind(&addresses, settings.workers, inherited)?;
        let admin_socket = listen::bind_admin(settings.admin.listen, inherited)?;
        let admin_address = admin_socket.local_addr().map_err(NodeError::System)?;
        refuse_unclaimed(inherited, predecessor.is_some())?;
        let tls = settings.tls.as_ref().map(TlsStore::read).transpose()?;
        let tls = tls.map(Arc::new);
        let (sink, log) = open_log(&settings, clock)?;
        let trusts = Arc::new(Trusts::read(&settings.upstream_tls).map_err(TlsError::File)?);
        let watch = start_watch(&settings, &trusts)?;
        let (spans, trace) = start_trace(&settings, &trusts)?;
        let shown = (sink, tls.clone(), watch, spans);
        let (state, seats, bells) = make_state(&settings, shown)?;
        // Before the first load, which may take seconds: an orchestrator asks whether it lives.
        let admin = match predecessor {
            None => Some(serve_admin(&admin_socket, &state)?),
            Some(_) => None,
        };
        let (spool, outlet) = start_spool(&settings, &state)?;
        let mut feed = new_feed(&settings, &state, &peppers, outlet);
        feed.look(None);
        if predecessor.as_ref().is_some_and(|before| before.ready) {
            require_snapshot(&state)?;
        }

        let listen = sockets.addresses();
        let (bank, ledger) = start_ledger(&settings, &state, predecessor)?;
        let config = WorkerConfig {
            settings: Arc::clone(&settings),
            peppers,
            bank,
            clock,
            tls,
            trusts,
            watch: Arc::clone(state.watch.findings()),
            admission: Arc::new(Admission::new(&settings.http)),
            load: Arc::clone(&state.load),
            spans: state.spans.clone(),
        };
        state.watch.await_names();
        let crew = workers::gather(&config, seated(seats))?;
        let (sockets, threads) = go(&settings, crew, sockets)?;
        let link = feed.start(bells.rung).map_err(NodeError::System)?;
        await_workers(&state, &bells.changed);
        tracing::info!(
            version = VERSION,
            node = settings.node,
            listen = ?listen,
            admin = %admin_address,
            "the node runs"
        );
        Ok(Self {
            settings,
            state,
            listen,
            sockets,
            admin_address,
            admin_socket: Some(admin_socket),
            admin,
            bank: config.bank,
            log,
            link,
            ledger,
            spool,
            trace,
            threads,
            changed: bells.changed,
        })
    }
}

/// Where the link and the main thread hear of the workers.
struct Bells {
    rung: Receiver<()>,
    changed: Receiver<()>,
}

fn make_state(
    settings: &Settings,
    (log, tls, watch, spans): (LogSink, Option<Arc<TlsStore>>, Watch, SpanSink),
) -> Result<(Arc<NodeState>, Vec<WorkerSeat>, Bells), NodeError> {
    let clock = Clock::system();
    let (link, rung) = Doorbell::new();
    let (node, changed) = Doorbell::new();
    let phase = PhaseCell::new();
    let shared = Shared {
        log: log.clone(),
        phase: phase.clone(),
        link,
        node,
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
        log,
        tls,
        link: LinkState::new(settings.link.socket.is_some()),
        watch,
        upgrade: UpgradeState::default(),
        ledger: Arc::default(),
        spool: Arc::default(),
        spans,
    });
    Ok((state, seats, Bells { rung, changed }))
}

fn serve_admin(socket: &TcpListener, state: &Arc<NodeState>) -> Result<Admin, NodeError> {
    let socket = socket.try_clone().map_err(NodeError::System)?;
    Admin::start(socket, Arc::clone(state)).map_err(NodeError::System)
}

/// A process before this one may offer what the settings do not name any more. The service manager
/// may not: somebody wrote a socket unit that nothing would serve.
fn refuse_unclaimed(inherited: &Inherited, has_predecessor: bool) -> Result<(), NodeError> {
    for address in inherited.left() {
        if !has_predecessor {
            let what = format!("a socket that listens on {address}");
            return Err(NodeError::Activation { what });
        }
        tracing::info!(%address, "is not listened on any more");
    }
    Ok(())
}

/// The words that limits are counted in: those of the process before, if there is one; else new
/// ones, with the quotas that were consumed before a restart. And the files that tell of these.
fn bank(
    settings: &Settings,
    predecessor: Option<&mut Predecessor>,
) -> Result<(Bank, Option<Files>), NodeError> {
    let directory = settings.state.directory.as_ref();
    let directory = directory.map(|directory| directory.join("quotas"));
    if let Some(predecessor) = predecessor {
        let adopted = predecessor
            .bank
            .take()
            .map(|file| Bank::adopt(file, LIMIT_WORDS_MAX));
        match adopted {
            Some(Ok(bank)) => {
                let files = ledger::continue_in(directory, &bank).map_err(NodeError::State)?;
                return Ok((bank, files));
            }
            Some(Err(error)) => tracing::warn!(%error, "limits begin anew"),
            None => tracing::warn!("limits begin anew: the other version counts in another way"),
        }
    }
    ledger::open(directory, LIMIT_WORDS_MAX, Clock::system()).map_err(NodeError::State)
}

fn start_ledger(
    settings: &Settings,
    state: &NodeState,
    predecessor: Option<&mut Predecessor>,
) -> Result<(Arc<Bank>, Ledger), NodeError> {
    let (bank, files) = bank(settings, predecessor)?;
    let bank = Arc::new(bank);
    let counted = (Arc::clone(&bank), files);
    let shown = Arc::clone(&state.ledger);
    let ledger = Ledger::start(state.workers.clone(), shown, counted, state.clock);
    Ok((bank, ledger.map_err(NodeError::System)?))
}

/// Whoever takes over from a node that serves must be able to.
fn require_snapshot(state: &NodeState) -> Result<(), NodeError> {
    if state.link.snapshot().is_some() {
        return Ok(());
    }
    let reason = state.link.load_error();
    let reason = reason.unwrap_or_else(|| "there is no snapshot".to_owned());
    Err(NodeError::NotReady(reason))
}

fn seated(seats: Vec<WorkerSeat>) -> Vec<Seat> {
    let cores = listen::cores(seats.len());
    seats
        .into_iter()
        .zip(cores)
        .map(|(link, core)| Seat { link, core })
        .collect()
}

/// Opens the sockets and lets the workers accept from them.
fn go(
    settings: &Settings,
    crew: Crew,
    sockets: listen::Sockets,
) -> Result<(Vec<Group>, Vec<JoinHandle<()>>), NodeError> {
    let greeting = |place: usize| {
        let one = &settings.listen[place];
        Greeting {
            tls: one.tls,
            proxy_protocol: one.proxy_protocol,
        }
    };
    let (workers, all) = sockets.listen()?;
    let workers = workers.into_iter().map(|sockets| {
        let greeted = |(place, socket)| (socket, greeting(place));
        sockets.into_iter().map(greeted).collect()
    });
    Ok((all, crew.go(workers.collect())?))
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

fn open_log(settings: &Settings, clock: Clock) -> Result<(LogSink, Option<LogThread>), NodeError> {
    let log = &settings.access_log;
    log_thread::start(log, settings.log, clock).map_err(|cause| match log {
        AccessLog::File(path) => NodeError::Log {
            path: path.clone(),
            cause,
        },
        AccessLog::Off | AccessLog::Stdout => NodeError::System(cause),
    })
}

/// Without control nobody is told, by the operator's own choice, and nothing is kept.
fn start_spool(
    settings: &Settings,
    state: &NodeState,
) -> Result<(Option<Spool>, Outlet), NodeError> {
    if settings.link.socket.is_none() {
        return Ok((None, Outlet::closed()));
    }
    let directory = settings.state.directory.as_ref();
    let kept = SpoolSettings {
        node: settings.node.clone(),
        directory: directory.map(|directory| directory.join("usage")),
        bytes_max: settings.state.usage_bytes_max,
    };
    let shown = Arc::clone(&state.spool);
    let spool = Spool::start(&kept, state.workers.clone(), shown, state.clock);
    let (spool, outlet) = spool.map_err(NodeError::State)?;
    Ok((Some(spool), outlet))
}

fn start_watch(settings: &Settings, trusts: &Arc<Trusts>) -> Result<Watch, NodeError> {
    let watch = Watch::start(Clock::system(), Arc::clone(trusts), settings.dns.clone());
    watch.map_err(NodeError::System)
}

/// The exporter of spans, if the settings ask for one.
fn start_trace(
    settings: &Settings,
    trusts: &Trusts,
) -> Result<(SpanSink, Option<ExportThread>), NodeError> {
    let Some(tracing) = &settings.tracing else {
        return Ok((SpanSink::off(), None));
    };
    let (sink, thread) = exporter::start(tracing, &settings.node, trusts, Clock::system())?;
    Ok((sink, Some(thread)))
}

fn new_feed(
    settings: &Settings,
    state: &Arc<NodeState>,
    peppers: &[Pepper],
    outlet: Outlet,
) -> Feed {
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
        outlet,
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
