//! The thread behind the spool: collects, writes, seals, offers, forgets.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, TrySendError, select};

use super::cut::{encoded, merge_clients, pieces};
use super::files::{Files, Found, Id};
use super::journal;
use super::{Sealed, SpoolSettings, SpoolState};
use crate::clock::{Clock, Now, Tick};
use crate::link::WorkerHandle;
use crate::record::Usage;
use crate::record::segment::{RefusedClient, Segment, SegmentRow};
use crate::record::throttle::Throttle;

/// Time between two looks at the workers' queues.
const TURN_NS: u64 = 250_000_000;
/// Time between two looks at the directory, for what another process left.
pub(super) const SEARCH_NS: u64 = 5_000_000_000;
/// How long the open count grows while control takes segments, and while it does not.
const OPEN_NS: u64 = 1_000_000_000;
const OPEN_WHILE_AWAY_NS: u64 = 60_000_000_000;
/// Rows of the open count: at most some 200 MiB. Further ones are counted as dropped.
const OPEN_ROWS_MAX: usize = 1 << 20;
/// Time between two complaints about the same disk.
const COMPLAINT_PAUSE_MS: u64 = 60_000;
/// Time between two words on segments that are dropped.
const DROPS_PAUSE_MS: u64 = 10_000;

/// What the keeper is told.
#[derive(Debug)]
pub(super) enum Order {
    /// Control has this segment.
    Shipped { boot: u64, sequence: u64 },
    /// Seal what there is, then say so.
    Seal(Sender<()>),
    /// End.
    Stop,
}

/// A sealed segment that waits.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) found: Found,
    /// Where the disk does not have it.
    pub(super) in_memory: Option<Sealed>,
}

pub(super) struct Keeper {
    node: String,
    boot: u64,
    workers: Vec<Arc<WorkerHandle>>,
    pub(super) state: Arc<SpoolState>,
    pub(super) clock: Clock,
    pub(super) files: Option<Files>,
    pub(super) bytes_max: u64,
    open: Usage,
    refused_clients: Vec<RefusedClient>,
    /// When the first row came into the open count.
    opened: Option<Tick>,
    /// The journal may say less than the open count.
    journal_is_behind: bool,
    /// The number of the next segment.
    sequence: u64,
    pub(super) waiting: VecDeque<Waiting>,
    pub(super) waiting_bytes: u64,
    /// The first of those that wait is with the link.
    pub(super) offered: bool,
    pub(super) dropped_requests: u64,
    /// How many of them the journal tells of.
    dropped_in_journal: u64,
    complaints: Throttle,
    /// What is said of segments that are dropped.
    pub(super) drops: Throttle,
    /// When the workers' queues are looked at next, and the directory.
    next_turn: Tick,
    pub(super) next_search: Tick,
}

impl Keeper {
    pub(super) fn new(
        settings: &SpoolSettings,
        workers: Vec<Arc<WorkerHandle>>,
        state: Arc<SpoolState>,
        clock: Clock,
    ) -> io::Result<Self> {
        // Below 2^53, so that any JSON reader keeps it.
        let boot = getrandom::u64().map_err(io::Error::other)? >> 11;
        let directory = settings.directory.clone();
        let files = match directory.map(|directory| Files::take(directory, boot)) {
            // A full disk is no reason not to serve.
            Some(Err(error)) if error.kind() == io::ErrorKind::StorageFull => {
                state.errors.fetch_add(1, Ordering::Relaxed);
                tracing::error!(%error, "usage is kept in memory only until the next start");
                None
            }
            files => files.transpose()?,
        };
        let mut keeper = Self {
            node: settings.node.clone(),
            boot,
            workers,
            state,
            clock,
            files,
            bytes_max: settings.bytes_max,
            open: Usage::new(),
            refused_clients: Vec::new(),
            opened: None,
            journal_is_behind: false,
            sequence: 1,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            offered: false,
            dropped_requests: 0,
            dropped_in_journal: 0,
            complaints: Throttle::every_ms(COMPLAINT_PAUSE_MS),
            drops: Throttle::every_ms(DROPS_PAUSE_MS),
            next_turn: clock.tick(),
            next_search: clock.tick(),
        };
        keeper.recover();
        Ok(keeper)
    }

    pub(super) fn run(&mut self, orders: &Receiver<Order>, offer: &Sender<Sealed>) {
        loop {
            self.offer(offer);
            // By the clock and not after a silence: a backlog that drains is never silent.
            let now = self.clock.tick();
            if now >= self.next_turn {
                self.next_turn = Tick(now.0.saturating_add(TURN_NS));
                self.turn();
                self.show();
                continue;
            }
            let pause = Duration::from_nanos(self.next_turn.since_ns(now));
            select! {
                recv(orders) -> order => match order {
                    Ok(Order::Shipped { boot, sequence }) => self.shipped(Id { boot, sequence }),
                    Ok(Order::Seal(done)) => {
                        self.collect();
                        self.seal(self.clock.now());
                        self.offer(offer);
                        // Before the word: whoever waits for it looks at what is shown.
                        self.show();
                        let _ = done.send(());
                    }
                    Ok(Order::Stop) | Err(_) => return self.end(),
                },
                default(pause) => {}
            }
            self.show();
        }
    }

    fn end(&mut self) {
        self.collect();
        self.seal(self.clock.now());
        self.write_what_memory_has();
        self.show();
        let in_memory = self.waiting.iter().filter_map(|one| one.in_memory.as_ref());
        let requests: u64 = in_memory.map(|sealed| sealed.requests).sum();
        if requests > 0 {
            tracing::warn!(requests, "usage that control never acknowledged is lost");
        }
    }

    fn turn(&mut self) {
        self.collect();
        let now = self.clock.now();
        if now.tick >= self.next_search {
            self.write_what_memory_has();
            // A predecessor may have ended since, and left what control did not take.
            self.recover();
        }
        let Some(opened) = self.opened else { return };
        // Nothing waits: control takes what it is given.
        let patience_ns = match self.waiting.is_empty() {
            true => OPEN_NS,
            false => OPEN_WHILE_AWAY_NS,
        };
        let is_full = self.open.len() >= OPEN_ROWS_MAX / 2;
        if is_full || now.tick.since_ns(opened) >= patience_ns {
            self.seal(now);
        }
    }

    /// Tries the disk again for segments that it did not take, from the last to the first as a seal
    /// does.
    fn write_what_memory_has(&mut self) {
        let Some(files) = &self.files else { return };
        let mut failed = None;
        for waiting in self.waiting.iter_mut().rev() {
            let Some(sealed) = &waiting.in_memory else {
                continue;
            };
            match files.write_segment(waiting.found.id, waiting.found.first, &sealed.bytes) {
                Ok(()) => waiting.in_memory = None,
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        if let Some(error) = failed {
            self.complain(&error, self.clock.tick());
        }
    }

    /// Takes what the workers handed over into the open count and its journal.
    fn collect(&mut self) {
        let mut fresh = Usage::new();
        let mut clients = Vec::new();
        for worker in &self.workers {
            while let Some(news) = worker.usage.pop() {
                for row in &news.rows {
                    fresh.merge(row, OPEN_ROWS_MAX);
                    self.open.merge(row, OPEN_ROWS_MAX);
                }
                clients.extend(news.refused_clients);
            }
        }
        let lost = self.open.take_lost();
        self.drop_requests(lost);
        let now = self.clock.now();
        if fresh.is_empty() {
            return self.journal_drops(now);
        }
        self.opened.get_or_insert(now.tick);
        self.refused_clients.extend(clients.iter().cloned());
        self.journal(fresh.take(), clients, now);
    }

    /// Tells the journal of what was dropped, so that a kill does not hide it.
    pub(super) fn journal_drops(&mut self, now: Now) {
        if self.dropped_requests > self.dropped_in_journal {
            self.journal(Vec::new(), Vec::new(), now);
        }
    }

    fn journal(&mut self, rows: Vec<SegmentRow>, clients: Vec<RefusedClient>, now: Now) {
        let Some(files) = &mut self.files else { return };
        let whole = self.journal_is_behind;
        let (rows, clients, told) = match whole {
            true => (self.open.rows().to_vec(), self.refused_clients.clone(), 0),
            false => (rows, clients, self.dropped_in_journal),
        };
        let dropped = self.dropped_requests;
        let segment = Segment {
            node: self.node.clone(),
            boot: self.boot,
            sequence: self.sequence,
            sealed_ms: now.wall.0,
            dropped_requests: dropped.saturating_sub(told),
            refused_clients: clients,
            ..self.state.names.segment(rows)
        };
        let mut bytes = Vec::new();
        journal::append(&mut bytes, &segment);
        let written = match whole {
            true => files.rewrite(self.sequence, &bytes),
            false => files.append(self.sequence, &bytes),
        };
        self.journal_is_behind = written.is_err();
        match written {
            Ok(()) => self.dropped_in_journal = dropped,
            Err(error) => self.complain(&error, now.tick),
        }
    }

    /// Seals the open count.
    fn seal(&mut self, now: Now) {
        self.opened = None;
        if self.open.is_empty() && self.dropped_requests == 0 {
            return;
        }
        let mut clients = std::mem::take(&mut self.refused_clients);
        merge_clients(&mut clients);
        let segment = Segment {
            node: self.node.clone(),
            boot: self.boot,
            sealed_ms: now.wall.0,
            dropped_requests: std::mem::take(&mut self.dropped_requests),
            refused_clients: clients,
            ..self.state.names.segment(self.open.take())
        };
        self.dropped_in_journal = 0;
        let pieces = pieces(segment, self.sequence);
        self.sequence += pieces.len() as u64;
        let on_disk = self.seal_as(self.boot, pieces, now);
        // Whatever became of the old journal, the next one is begun from what is open then.
        self.journal_is_behind = self.files.is_some() && !on_disk;
        self.keep_within_bounds();
    }

    /// Writes segments in place of the journal that they were, and lets them wait; false if they are
    /// in memory only.
    pub(super) fn seal_as(&mut self, boot: u64, pieces: Vec<Segment>, now: Now) -> bool {
        let Some(first) = pieces.first().map(|piece| piece.sequence) else {
            return true;
        };
        let bytes = encoded(&pieces);
        let sealed = self
            .files
            .as_mut()
            .map(|files| files.seal(boot, first, &bytes));
        let on_disk = matches!(sealed, Some(Ok(())));
        if let Some(Err(error)) = sealed {
            self.complain(&error, now.tick);
        }
        for (piece, bytes) in pieces.iter().zip(bytes) {
            let found = Found {
                id: Id {
                    boot,
                    sequence: piece.sequence,
                },
                first,
                bytes: bytes.len() as u64,
                written_ms: now.wall.0,
            };
            let sealed = Sealed {
                boot,
                sequence: piece.sequence,
                requests: piece.requests(),
                dropped_requests: piece.dropped_requests,
                bytes: bytes.into(),
            };
            self.wait(found, (!on_disk).then_some(sealed));
        }
        on_disk
    }

    pub(super) fn wait(&mut self, found: Found, in_memory: Option<Sealed>) {
        self.waiting_bytes += found.bytes;
        self.waiting.push_back(Waiting { found, in_memory });
    }

    /// Gives the link the oldest segment, once it has told of the one before.
    fn offer(&mut self, offer: &Sender<Sealed>) {
        while !self.offered {
            let Some(first) = self.waiting.front() else {
                return;
            };
            match self.read(first) {
                Some(sealed) => match offer.try_send(sealed) {
                    Ok(()) => self.offered = true,
                    // The link has not taken one that was told of already; it will look again.
                    Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => return,
                },
                None => {
                    // Nobody can read it here: it must not be in the way of those behind it.
                    let lost = self.waiting.pop_front();
                    if let (Some(lost), Some(files)) = (lost, &self.files) {
                        self.waiting_bytes -= lost.found.bytes;
                        let _ = files.set_aside(lost.found);
                    }
                }
            }
        }
    }

    pub(super) fn read(&self, waiting: &Waiting) -> Option<Sealed> {
        if let Some(sealed) = &waiting.in_memory {
            return Some(sealed.clone());
        }
        let id = waiting.found.id;
        let read = self.files.as_ref()?.read(waiting.found);
        if let Err(error) = &read
            && error.kind() == io::ErrorKind::NotFound
        {
            // Another process of this node took it over too, and has shipped it.
            return None;
        }
        let decoded = read.map_err(|error| error.to_string()).and_then(|bytes| {
            let segment = Segment::decode(&bytes).map_err(|error| error.to_string())?;
            Ok((bytes, segment))
        });
        match decoded {
            Ok((bytes, segment)) => Some(Sealed {
                boot: id.boot,
                sequence: id.sequence,
                requests: segment.requests(),
                dropped_requests: segment.dropped_requests,
                bytes: bytes.into(),
            }),
            Err(error) => {
                self.state.errors.fetch_add(1, Ordering::Relaxed);
                tracing::error!(
                    error,
                    ?id,
                    "a usage segment cannot be read; it is set aside"
                );
                None
            }
        }
    }

    fn shipped(&mut self, id: Id) {
        let is_it = |waiting: &Waiting| waiting.found.id == id;
        if self.offered && self.waiting.front().is_some_and(is_it) {
            self.offered = false;
            if let Some(shipped) = self.waiting.pop_front() {
                self.waiting_bytes -= shipped.found.bytes;
                self.forget(shipped.found);
            }
        }
    }

    pub(super) fn forget(&mut self, found: Found) {
        // One that only the memory had has no file, which is no error.
        let Some(files) = &self.files else { return };
        if let Err(error) = files.forget(found) {
            // Control has it: shipped again it counts nothing.
            self.complain(&error, self.clock.tick());
        }
    }

    pub(super) fn complain(&mut self, error: &io::Error, now: Tick) {
        self.state.errors.fetch_add(1, Ordering::Relaxed);
        if self.complaints.tell(now.millis()).is_none() {
            return;
        }
        tracing::error!(
            %error,
            "usage cannot be written; it is kept in memory, and lost if the process is killed"
        );
    }

    pub(super) fn show(&self) {
        let set = |cell: &std::sync::atomic::AtomicU64, value: u64| {
            cell.store(value, Ordering::Relaxed);
        };
        set(&self.state.open_rows, self.open.len() as u64);
        set(&self.state.segments, self.waiting.len() as u64);
        set(&self.state.bytes, self.waiting_bytes);
        let oldest = self.waiting.front();
        let oldest_ms = oldest.map_or(0, |waiting| waiting.found.written_ms);
        set(&self.state.oldest_ms, oldest_ms);
    }
}

#[cfg(test)]
mod tests;
