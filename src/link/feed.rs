//! The link thread: one loop that carries snapshots in, and receipts and usage out.
//!
//! It waits for whichever comes first: control's word, a worker's ring, the second's tick, the
//! node's end. An announced generation is loaded, offered to every worker and the workers are woken; each
//! rings when it adopted the view, and the receipt goes out with the last ring. The directory is
//! looked at every second too, so that a node without control, or with a deaf one, still follows
//! it. Views that workers gave back are dropped here. Absent on purpose: sockets
//! ([`connection`](super::connection)) and files ([`loader`](super::loader)).

use super::connection::{Connection, Event, Outbox};
use super::loader::{Loader, Outcome};
use super::pages::VERSION;
use super::protocol::{ControlMessage, NodeMessage, PROTOCOL};
use super::receipts::Receipts;
use super::searches::{Asked, Searches};
use super::shipper::Shipper;
use super::state::{NodeState, SnapshotInfo};
use super::worker_handle::WorkerState;
use crate::clock::Tick;
use crate::record::process;
use crate::snapshot::view::View;
use crate::spool::{Outlet, Sealed};
use crossbeam::channel::{Receiver, Sender, bounded, never, select};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

/// How often the directory is looked at without being asked.
pub const POLL: Duration = Duration::from_secs(1);

/// Events of the connection that may wait while a snapshot is loaded; the reader waits then.
const EVENTS_MAX: usize = 64;

/// The link before its thread runs; also loads the first snapshot, so that workers find one.
#[derive(Debug)]
pub struct Feed {
    state: Arc<NodeState>,
    loader: Loader,
    receipts: Receipts,
    shipper: Shipper,
    boot: u64,
    socket: Option<PathBuf>,
    poll: Duration,
    outbox: Option<Outbox>,
    searches: Searches,
    last_lost: Option<String>,
}

/// The running link thread.
#[derive(Debug)]
pub struct Link {
    thread: JoinHandle<()>,
    stop: Sender<Tick>,
}

impl Link {
    /// Ends the thread: it ships the last usage and gives control until `deadline` to
    /// acknowledge it.
    pub fn stop(self, deadline: Tick) {
        let _ = self.stop.send(deadline);
        if self.thread.join().is_err() {
            tracing::error!("the link thread panicked");
        }
    }
}

impl Feed {
    /// A link for the workers of `state`; `socket` is control's, if there is one, and `poll` the
    /// pause between two looks that nobody asked for, [`POLL`] outside of tests.
    pub fn new(
        state: Arc<NodeState>,
        loader: Loader,
        socket: Option<PathBuf>,
        outlet: Outlet,
        poll: Duration,
    ) -> Self {
        let boot = boot(&state);
        Self {
            state,
            loader,
            receipts: Receipts::default(),
            shipper: Shipper::new(outlet),
            boot,
            socket,
            poll,
            outbox: None,
            searches: Searches::default(),
            last_lost: None,
        }
    }

    /// Looks for a snapshot and offers it to the workers, if there is a new one. `announced` says
    /// when control asked for it, if it did.
    pub fn look(&mut self, announced: Option<Tick>) {
        let urgent = announced.is_some();
        let learned = announced.unwrap_or_else(|| self.state.clock.tick());
        match self.loader.look(urgent) {
            Outcome::Unchanged if self.loader.failure().is_some() => {}
            Outcome::Unchanged => self.state.link.load_settled(),
            Outcome::Absent { reason } => {
                if self.state.link.load_error().as_ref() != Some(&reason) {
                    tracing::warn!(reason, "no snapshot; the node is not ready");
                }
                self.state.link.absent(reason);
            }
            Outcome::Loaded { view, load_ms } => self.offer(&view, load_ms, learned),
            Outcome::Failed {
                generation,
                reason,
                news,
            } => {
                self.state.link.load_failed(reason.clone());
                if news || urgent {
                    tracing::error!(
                        generation,
                        reason,
                        "snapshot refused; the last one serves on"
                    );
                    self.send(NodeMessage::Refused { generation, reason });
                }
            }
        }
    }

    fn offer(&mut self, view: &Arc<View>, load_ms: u64, learned: Tick) {
        let info = SnapshotInfo::of(view);
        let SnapshotInfo {
            generation,
            base_generation: base,
            keys,
            ..
        } = info;
        // Overlays may come many times a second; a base is an event.
        if self
            .state
            .link
            .snapshot()
            .is_none_or(|before| before.base_generation != base)
        {
            tracing::info!(generation, base, keys, load_ms, "snapshot loaded");
        } else {
            tracing::debug!(generation, base, keys, load_ms, "overlay loaded");
        }
        self.state.link.loaded(info, load_ms);
        self.state.watch.follow(view.catalog());
        self.state.ledger.tallies.follow(view.catalog());
        self.state.spool.names.follow(view.catalog());
        // Before the first offer: a worker may adopt it before this function ends.
        self.receipts.offered(generation, learned);
        for worker in &self.state.workers {
            // A replaced view that nobody came for is dropped here, not on a worker.
            drop(worker.slot.offer(Arc::clone(view)));
            worker.wake();
        }
    }

    /// Starts the thread. `rung` hears the workers' [`Doorbell`](super::worker_handle::Doorbell).
    pub fn start(mut self, rung: Receiver<()>) -> io::Result<Link> {
        let (stop, stopped) = bounded(1);
        let (events, happened) = bounded(EVENTS_MAX);
        let connection = match self.socket.take() {
            Some(socket) => Some((Connection::start(socket, events)?, happened)),
            None => None,
        };
        let thread = std::thread::Builder::new()
            .name("keyway-link".into())
            .spawn(move || self.run(connection, &rung, &stopped))?;
        Ok(Link { thread, stop })
    }

    fn run(
        &mut self,
        connection: Option<(Connection, Receiver<Event>)>,
        rung: &Receiver<()>,
        stopped: &Receiver<Tick>,
    ) {
        let mut happened = connection
            .as_ref()
            .map_or_else(never, |(_, happened)| happened.clone());
        let poll_ns = u64::try_from(self.poll.as_nanos()).unwrap_or(u64::MAX);
        let mut due = self.state.clock.tick();
        loop {
            let now = self.state.clock.tick();
            if now >= due {
                due = Tick(now.0.saturating_add(poll_ns));
                self.look(None);
                self.drop_unwanted_usage();
                self.measure_memory();
            }
            self.report();
            self.drop_retired();
            let ready = self.ready();
            let pause = Duration::from_nanos(due.since_ns(self.state.clock.tick()));
            select! {
                recv(happened) -> event => match event {
                    Ok(event) => self.hear(event),
                    // Its thread is gone: listening on would spin.
                    Err(_) => happened = never(),
                },
                // Its thread ends after this one.
                recv(ready) -> sealed => if let Ok(sealed) = sealed { self.ship(sealed) },
                // Never disconnected: the handles in the state hold its other end.
                recv(rung) -> _ => {}
                recv(stopped) -> deadline => {
                    self.finish(&happened, deadline.unwrap_or_default());
                    break;
                }
                default(pause) => {}
            }
        }
        drop(happened);
        if let Some((connection, happened)) = connection {
            // Before the stop: the reader may stand at a full channel.
            drop(happened);
            connection.stop();
        }
    }

    /// Workers ask for no file: what the process holds is read here for them.
    fn measure_memory(&self) {
        if let Some(bytes) = process::resident_bytes() {
            self.state.load.note_resident(bytes);
        }
    }

    fn hear(&mut self, event: Event) {
        match event {
            Event::Connected(outbox) => {
                tracing::info!("connected to control");
                self.state.link.connected();
                self.last_lost = None;
                self.outbox = Some(outbox);
                self.greet();
            }
            Event::Lost(reason) => {
                self.outbox = None;
                self.searches.stop_all();
                // Each attempt fails alike while control is down; once is enough to say so.
                if self.last_lost.as_ref() != Some(&reason) {
                    tracing::warn!(reason, "no connection to control; serving on");
                    self.last_lost = Some(reason.clone());
                }
                self.state.link.lost(reason);
            }
            Event::Message(ControlMessage::Announce { generation }) => {
                if generation != self.loader.generation() {
                    self.look(Some(self.state.clock.tick()));
                }
            }
            Event::Message(ControlMessage::SegmentAck { boot, sequence }) => {
                let requests = self.shipper.acknowledged(boot, sequence);
                let shipped = &self.state.spool.shipped;
                shipped.fetch_add(requests, Ordering::Relaxed);
            }
            Event::Message(ControlMessage::SearchLog {
                id,
                filter,
                limit,
                follow,
            }) => {
                if let Some(outbox) = &self.outbox {
                    let asked = Asked {
                        id,
                        filter: *filter,
                        limit,
                        follow,
                    };
                    self.searches.begin(asked, self.state.log.file(), outbox);
                }
            }
            Event::Message(ControlMessage::StopLog { id }) => self.searches.stop(id),
            Event::Message(ControlMessage::Unknown) => {}
        }
    }

    /// The first words on a connection: who this is, what it serves, and what may have been lost
    /// with the connection before.
    fn greet(&mut self) {
        let served = self.served();
        self.send(NodeMessage::Hello {
            protocol: PROTOCOL,
            node: self.state.name.clone(),
            version: VERSION.to_owned(),
            boot: self.boot,
            workers: u32::try_from(self.state.workers.len()).unwrap_or(u32::MAX),
            driver: self.driver().to_owned(),
            generation: served.iter().copied().min().unwrap_or(0),
        });
        if let Some(receipt) = self.receipts.last(&served) {
            self.send(receipt);
        }
        if let Some((generation, reason)) = self.loader.failure() {
            self.send(NodeMessage::Refused {
                generation,
                reason: reason.to_owned(),
            });
        }
        if let Some(segment) = self.shipper.again() {
            self.send(segment);
        }
    }

    fn driver(&self) -> &'static str {
        let driver = self
            .state
            .workers
            .first()
            .and_then(|worker| worker.driver.get());
        driver.map_or("", |driver| driver.name())
    }

    fn send(&self, message: NodeMessage) {
        if let Some(outbox) = &self.outbox {
            outbox.send(message);
        }
    }

    /// The generation of each worker that lives; a dead one serves nobody.
    fn served(&self) -> Vec<u64> {
        let living = self
            .state
            .workers
            .iter()
            .filter(|w| w.state() != WorkerState::Ended);
        living.map(|worker| worker.slot.served()).collect()
    }

    fn report(&mut self) {
        let Some(receipt) = self.receipts.due(&self.served(), self.state.clock.tick()) else {
            return;
        };
        if let NodeMessage::Serving {
            generation,
            elapsed_ms,
            ..
        } = &receipt
        {
            self.state
                .link
                .enforced_ms
                .store(*elapsed_ms, Ordering::Relaxed);
            tracing::info!(
                generation,
                elapsed_ms,
                "every worker serves this generation"
            );
        }
        self.send(receipt);
    }

    fn drop_retired(&self) {
        for worker in &self.state.workers {
            worker.slot.drop_retired();
        }
    }

    /// Without control there is nobody to tell, by the operator's own choice.
    fn drop_unwanted_usage(&self) {
        if !self.state.link.configured {
            for worker in &self.state.workers {
                while worker.usage.pop().is_some() {}
            }
        }
    }

    /// Where the next segment is heard of: nowhere while control does not listen.
    fn ready(&self) -> Receiver<Sealed> {
        match self.outbox {
            Some(_) => self.shipper.ready(),
            None => never(),
        }
    }

    fn ship(&mut self, sealed: Sealed) {
        let segment = self.shipper.take(sealed);
        self.send(segment);
    }

    /// The workers are done, and the spool has sealed what they counted last: ship it.
    fn finish(&mut self, happened: &Receiver<Event>, deadline: Tick) {
        self.report();
        while self.outbox.is_some() && self.has_usage() {
            let left = Duration::from_nanos(deadline.since_ns(self.state.clock.tick()));
            let ready = self.ready();
            select! {
                recv(happened) -> event => match event {
                    Ok(event) => self.hear(event),
                    Err(_) => break,
                },
                recv(ready) -> sealed => if let Ok(sealed) = sealed { self.ship(sealed) },
                default(left) => break,
            }
        }
        self.drop_retired();
    }

    fn has_usage(&self) -> bool {
        let waiting = self.state.spool.segments.load(Ordering::Relaxed);
        self.shipper.is_traveling() || waiting > 0
    }
}

/// A number for this start of the process, below 2^53 so that any JSON reader keeps it whole.
fn boot(state: &NodeState) -> u64 {
    const MASK: u64 = (1 << 53) - 1;
    // Without randomness the clock must do; two starts never share a millisecond.
    getrandom::u64().unwrap_or(state.started.wall.0) & MASK
}
