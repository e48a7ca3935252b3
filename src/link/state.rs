//! What the node knows of itself: written by the link and main threads, read by the admin
//! listener.
//!
//! None of it is touched by a worker while it serves a request, so a lock here holds up nobody
//! but its peers. Absent on purpose: decisions; readiness is the only conclusion drawn.

use super::upgrade::UpgradeState;
use super::worker_handle::{Phase, PhaseCell, WorkerHandle, WorkerState};
use crate::accept::tls::store::{Shown, TlsStore};
use crate::clock::{Clock, Now};
use crate::ledger::LedgerState;
use crate::record::LogSink;
use crate::record::load::Load;
use crate::snapshot::view::View;
use crate::spool::SpoolState;
use crate::trace::SpanSink;
use crate::watch::Watch;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// One node, as its admin listener shows it.
#[derive(Debug)]
pub struct NodeState {
    /// The node's name.
    pub name: String,
    /// Where time comes from.
    pub clock: Clock,
    /// When the process came up.
    pub started: Now,
    /// All workers, by index.
    pub workers: Vec<Arc<WorkerHandle>>,
    /// Running or draining.
    pub phase: PhaseCell,
    /// How loaded it is.
    pub load: Arc<Load>,
    /// The access log.
    pub log: LogSink,
    /// What it shows over TLS.
    pub tls: Option<Arc<TlsStore>>,
    /// What the link thread did.
    pub link: LinkState,
    /// What it finds out about targets.
    pub watch: Watch,
    /// How its upgrades went.
    pub upgrade: UpgradeState,
    /// What became of limits.
    pub ledger: Arc<LedgerState>,
    /// How usage gets to control.
    pub spool: Arc<SpoolState>,
    /// Where spans go.
    pub spans: SpanSink,
}

/// What the link thread did and how it stands.
#[derive(Debug, Default)]
pub struct LinkState {
    /// False where no control socket is set.
    pub configured: bool,
    /// A connection to control stands.
    pub connected: AtomicBool,
    /// Connections made to control.
    pub connects: AtomicU64,
    /// Snapshots taken over.
    pub loads: AtomicU64,
    /// Attempts to take a snapshot over that failed.
    pub load_failures: AtomicU64,
    /// Milliseconds that the last load took.
    pub load_ms: AtomicU64,
    /// Milliseconds from learning of the newest generation to its adoption by every worker.
    pub enforced_ms: AtomicU64,
    notes: Mutex<Notes>,
}

#[derive(Clone, Debug, Default)]
struct Notes {
    snapshot: Option<SnapshotInfo>,
    link_error: Option<String>,
    load_error: Option<String>,
}

/// The newest snapshot taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotInfo {
    /// Its generation.
    pub generation: u64,
    /// The generation of its base.
    pub base_generation: u64,
    /// When it was made, milliseconds since 1970.
    pub created_ms: u64,
    /// Keys in it.
    pub keys: u64,
    /// Bytes of memory that it holds.
    pub memory_bytes: u64,
}

impl SnapshotInfo {
    /// What a view says of itself.
    pub fn of(view: &View) -> Self {
        Self {
            generation: view.generation(),
            base_generation: view.base_generation(),
            created_ms: view.created_ms(),
            keys: view.keys(),
            memory_bytes: u64::try_from(view.memory_bytes()).unwrap_or(u64::MAX),
        }
    }
}

impl LinkState {
    /// Nothing happened yet; `configured` if there is a control socket to connect to.
    pub fn new(configured: bool) -> Self {
        Self {
            configured,
            ..Self::default()
        }
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        // Plain values: a panic while they were held leaves them whole.
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest snapshot taken over.
    pub fn snapshot(&self) -> Option<SnapshotInfo> {
        self.notes().snapshot
    }

    /// Why the last attempt to take a snapshot over failed, until one succeeds.
    pub fn load_error(&self) -> Option<String> {
        self.notes().load_error.clone()
    }

    /// Why control is out of reach, until it is not.
    pub fn link_error(&self) -> Option<String> {
        self.notes().link_error.clone()
    }

    /// A snapshot was taken over.
    pub fn loaded(&self, info: SnapshotInfo, load_ms: u64) {
        self.loads.fetch_add(1, Ordering::Relaxed);
        self.load_ms.store(load_ms, Ordering::Relaxed);
        let mut notes = self.notes();
        notes.snapshot = Some(info);
        notes.load_error = None;
    }

    /// A snapshot could not be taken over.
    pub fn load_failed(&self, reason: String) {
        self.load_failures.fetch_add(1, Ordering::Relaxed);
        self.notes().load_error = Some(reason);
    }

    /// Nothing was published yet.
    pub fn absent(&self, reason: String) {
        self.notes().load_error = Some(reason);
    }

    /// There is nothing wrong with what is published, after all.
    pub fn load_settled(&self) {
        self.notes().load_error = None;
    }

    /// A connection to control stands.
    pub fn connected(&self) {
        self.connected.store(true, Ordering::Relaxed);
        self.connects.fetch_add(1, Ordering::Relaxed);
        self.notes().link_error = None;
    }

    /// There is no connection to control.
    pub fn lost(&self, reason: String) {
        self.connected.store(false, Ordering::Relaxed);
        self.notes().link_error = Some(reason);
    }
}

impl NodeState {
    /// The certificates that are shown over TLS.
    pub fn certificates(&self) -> Vec<Shown> {
        self.tls.as_ref().map(|tls| tls.shown()).unwrap_or_default()
    }

    /// Why the node should get no traffic now; `None` if it should.
    pub fn unready(&self) -> Option<String> {
        if self.phase.get() != Phase::Running {
            return Some("the node is draining".into());
        }
        for worker in &self.workers {
            let index = worker.index;
            match worker.state() {
                WorkerState::Starting => return Some(format!("worker {index} is starting")),
                WorkerState::Ended => return Some(format!("worker {index} has ended")),
                WorkerState::Serving if worker.slot.served() == 0 => {
                    return Some(match self.link.load_error() {
                        Some(error) => format!("worker {index} has no snapshot: {error}"),
                        None => format!("worker {index} has no snapshot yet"),
                    });
                }
                WorkerState::Serving => {}
            }
        }
        None
    }

    /// Seconds since the process came up.
    pub fn uptime_s(&self) -> u64 {
        self.clock.tick().since_ns(self.started.tick) / 1_000_000_000
    }
}
