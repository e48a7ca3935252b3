//! What the rest of the process shares with one worker, and how the two wake each other.
//!
//! The link thread offers views through the slot and calls [`WorkerHandle::wake`]; the
//! worker's loop reads the other end of that socket. The worker adopts the view, says so with
//! [`WorkerHandle::adopted`], and the link thread's [`Doorbell`] rings. The node asks for a drain
//! through [`PhaseCell`] and a wake; the worker answers with [`WorkerHandle::report`]. Absent on
//! purpose: locks, and anything touched once per request but the slot's one relaxed load.

use crate::io::Driver;
use crate::ledger::LimitQueue;
use crate::record::usage::UsageQueue;
use crate::record::{LogSink, PublishedCounters};
use crate::snapshot::slot::ViewSlot;
use crossbeam::channel::{Receiver, Sender, bounded};
use std::io::{self, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// What the node as a whole is doing; workers obey it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Phase {
    /// Taking traffic.
    Running = 0,
    /// Accept nothing new; end each connection after the exchange it is in.
    Draining = 1,
    /// The drain's time is over: close everything and end.
    Stopping = 2,
}

/// The node's [`Phase`], shared by all workers; it only moves forward.
#[derive(Clone, Debug, Default)]
pub struct PhaseCell(Arc<AtomicU8>);

impl PhaseCell {
    /// A cell that says [`Phase::Running`].
    pub fn new() -> Self {
        Self::default()
    }

    /// The phase now.
    pub fn get(&self) -> Phase {
        // Relaxed: nothing else is read on the strength of it.
        match self.0.load(Ordering::Relaxed) {
            0 => Phase::Running,
            1 => Phase::Draining,
            _ => Phase::Stopping,
        }
    }

    /// Moves on to `phase`, unless the node is past it.
    pub fn advance(&self, phase: Phase) {
        self.0.fetch_max(phase as u8, Ordering::Relaxed);
    }
}

/// How far one worker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum WorkerState {
    /// Its thread is coming up.
    Starting = 0,
    /// It accepts connections.
    Serving = 1,
    /// It has no connection left and its thread is ending, or it died.
    Ended = 2,
}

/// Rings at a thread that waits on its receiver; rings that nobody heard yet count as one.
#[derive(Clone, Debug)]
pub struct Doorbell(Sender<()>);

impl Doorbell {
    /// A bell and where it is heard.
    pub fn new() -> (Self, Receiver<()>) {
        let (bell, heard) = bounded(1);
        (Self(bell), heard)
    }

    /// Rings. Never waits.
    pub fn ring(&self) {
        // Full: a ring is already waiting. Disconnected: nobody listens any more.
        let _ = self.0.try_send(());
    }
}

/// One worker, as the threads around it see it.
#[derive(Debug)]
pub struct WorkerHandle {
    /// Counts the workers from 0.
    pub index: usize,
    /// Where views are handed over.
    pub slot: Arc<ViewSlot>,
    /// The worker's counters as of its last tick.
    pub counters: Arc<PublishedCounters>,
    /// Usage on its way to the link thread.
    pub usage: Arc<UsageQueue>,
    /// What became of limits, on its way to the ledger.
    pub limits: Arc<LimitQueue>,
    /// Where the worker's access log lines go.
    pub log: LogSink,
    /// What the node wants.
    pub phase: PhaseCell,
    /// The driver the worker runs on, once it does.
    pub driver: OnceLock<Driver>,
    /// Counts the turns of its heart: it is not stuck while this grows.
    pub beats: AtomicU64,
    state: AtomicU8,
    /// The end that is written to; the worker reads the other one.
    wake: UnixStream,
    link: Doorbell,
    node: Doorbell,
}

/// What a worker is started with: its handle, and the end of the wake socket that it reads.
#[derive(Debug)]
pub struct WorkerSeat {
    /// Shared with the link, admin and main threads.
    pub handle: Arc<WorkerHandle>,
    /// Nonblocking; readable when someone called [`WorkerHandle::wake`]. Read it empty, then
    /// look at the slot and the phase.
    pub wake: UnixStream,
}

/// What all handles of a node have in common.
#[derive(Debug)]
pub struct Shared {
    /// Where access log lines go.
    pub log: LogSink,
    /// What the node wants.
    pub phase: PhaseCell,
    /// Rung when a worker adopted a view.
    pub link: Doorbell,
    /// Rung when a worker's state changed.
    pub node: Doorbell,
}

impl WorkerSeat {
    /// The seat of worker `index`. Fails if the system has no descriptors left.
    pub fn new(index: usize, shared: &Shared) -> io::Result<Self> {
        let (tx, rx) = UnixStream::pair()?;
        tx.set_nonblocking(true)?;
        rx.set_nonblocking(true)?;
        let handle = WorkerHandle {
            index,
            slot: Arc::default(),
            counters: Arc::default(),
            usage: Arc::default(),
            limits: Arc::default(),
            log: shared.log.clone(),
            phase: shared.phase.clone(),
            driver: OnceLock::new(),
            beats: AtomicU64::new(0),
            state: AtomicU8::new(WorkerState::Starting as u8),
            wake: tx,
            link: shared.link.clone(),
            node: shared.node.clone(),
        };
        Ok(Self {
            handle: Arc::new(handle),
            wake: rx,
        })
    }
}

impl WorkerHandle {
    /// Makes the worker look at its slot and at the phase. Never waits.
    pub fn wake(&self) {
        // A full socket means wakes are waiting; a closed one that the worker is gone.
        let _ = (&self.wake).write(&[1]);
    }

    /// Says, from the worker, that `slot` serves another generation now.
    pub fn adopted(&self) {
        self.link.ring();
    }

    /// Says, from the worker, how far it is. Its thread reports [`WorkerState::Ended`] however
    /// it ends: hold an [`EndReport`] in it.
    pub fn report(&self, state: WorkerState) {
        self.state.store(state as u8, Ordering::Release);
        self.node.ring();
        self.link.ring();
    }

    /// How far the worker is.
    pub fn state(&self) -> WorkerState {
        match self.state.load(Ordering::Acquire) {
            0 => WorkerState::Starting,
            1 => WorkerState::Serving,
            _ => WorkerState::Ended,
        }
    }
}

/// Reports [`WorkerState::Ended`] when dropped, also by a panic that unwinds the thread.
#[derive(Debug)]
pub struct EndReport(pub Arc<WorkerHandle>);

impl Drop for EndReport {
    fn drop(&mut self) {
        self.0.report(WorkerState::Ended);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    fn seat() -> (WorkerSeat, Receiver<()>, Receiver<()>) {
        let (link, link_heard) = Doorbell::new();
        let (node, node_heard) = Doorbell::new();
        let shared = Shared {
            log: LogSink::off(),
            phase: PhaseCell::new(),
            link,
            node,
        };
        (
            WorkerSeat::new(0, &shared).expect("makes a socket pair"),
            link_heard,
            node_heard,
        )
    }

    #[test]
    fn a_wake_is_readable_at_the_worker_and_many_wakes_never_wait() {
        let (seat, ..) = seat();
        for _ in 0..10_000 {
            seat.handle.wake();
        }
        let mut bytes = [0; 16];
        assert!((&seat.wake).read(&mut bytes).expect("is readable") > 0);
    }

    #[test]
    fn a_wake_after_the_worker_is_gone_is_no_error() {
        let (seat, ..) = seat();
        drop(seat.wake);
        seat.handle.wake();
    }

    #[test]
    fn rings_that_nobody_heard_count_as_one() {
        let (seat, link, _) = seat();
        seat.handle.adopted();
        seat.handle.adopted();
        assert!(link.try_recv().is_ok() && link.try_recv().is_err());
    }

    #[test]
    fn a_thread_that_panics_still_reports_its_end() {
        let (seat, _, node) = seat();
        let handle = Arc::clone(&seat.handle);
        let thread = std::thread::spawn(move || {
            let end = EndReport(handle);
            end.0.report(WorkerState::Serving);
            panic!("on purpose");
        });
        assert!(thread.join().is_err());
        assert_eq!(seat.handle.state(), WorkerState::Ended);
        assert!(node.try_recv().is_ok());
    }

    #[test]
    fn the_phase_only_moves_forward() {
        let phase = PhaseCell::new();
        phase.advance(Phase::Stopping);
        phase.advance(Phase::Draining);
        assert_eq!(phase.get(), Phase::Stopping);
    }
}
