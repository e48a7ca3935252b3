//! The thread behind the spool: collects, writes, seals, offers, forgets.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, select};

use super::files::{Files, Found, Id};
use super::journal::{self, Journal};
use super::{Sealed, SpoolSettings, SpoolState};
use crate::clock::{Clock, Now, Tick};
use crate::link::WorkerHandle;
use crate::record::Usage;
use crate::record::segment::{RefusedClient, SEGMENT_BYTES_MAX, Segment, SegmentRow};

/// The pause between two looks at the workers' queues.
const TURN: Duration = Duration::from_millis(250);
/// How long the open count grows while control takes segments, and while it does not.
const OPEN_NS: u64 = 1_000_000_000;
const OPEN_WHILE_AWAY_NS: u64 = 60_000_000_000;
/// Rows of the open count: at most some 200 MiB. Further ones are counted as dropped.
const OPEN_ROWS_MAX: usize = 1 << 20;
/// Bytes of segments that wait in memory where there is no disk, or it does not work.
const MEMORY_BYTES_MAX: u64 = 64 << 20;
/// Addresses in one segment.
const REFUSED_CLIENTS_MAX: usize = 100;
/// Time between two complaints about the same disk.
const COMPLAINT_NS: u64 = 60_000_000_000;

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
struct Waiting {
    found: Found,
    /// Where the disk does not have it.
    in_memory: Option<Sealed>,
}

pub(super) struct Keeper {
    node: String,
    boot: u64,
    workers: Vec<Arc<WorkerHandle>>,
    state: Arc<SpoolState>,
    clock: Clock,
    files: Option<Files>,
    bytes_max: u64,
    open: Usage,
    refused_clients: Vec<RefusedClient>,
    /// When the first row came into the open count.
    opened: Option<Tick>,
    /// The journal may say less than the open count.
    journal_is_behind: bool,
    /// The number of the next segment.
    sequence: u64,
    waiting: VecDeque<Waiting>,
    waiting_bytes: u64,
    /// The first of those that wait is with the link.
    offered: bool,
    dropped_requests: u64,
    complained: Option<Tick>,
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
        let files = directory.map(|directory| Files::take(directory, boot));
        let mut keeper = Self {
            node: settings.node.clone(),
            boot,
            workers,
            state,
            clock,
            files: files.transpose()?,
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
            complained: None,
        };
        keeper.recover()?;
        Ok(keeper)
    }

    /// Takes over what processes before this one left.
    fn recover(&mut self) -> io::Result<()> {
        let Some(files) = &mut self.files else {
            return Ok(());
        };
        let left = files.leftovers()?;
        let mut recovered = Vec::new();
        for id in left.journals {
            let mut journal = Journal::decode(&files.read_journal(id)?);
            let (requests, torn) = (requests(journal.usage.rows()), journal.torn_bytes > 0);
            tracing::info!(
                requests,
                torn,
                last_written_ms = journal.written_ms,
                "usage of a process that was killed is recovered; what it counted after its last \
                 write, at most some two seconds, is lost"
            );
            self.state.recovered.fetch_add(requests, Ordering::Relaxed);
            let segment = Segment {
                node: journal.node.clone(),
                boot: id.boot,
                sealed_ms: journal.written_ms,
                routes: std::mem::take(&mut journal.routes),
                refusals: std::mem::take(&mut journal.refusals),
                refused_clients: std::mem::take(&mut journal.refused_clients),
                rows: journal.usage.take(),
                ..Segment::default()
            };
            let pieces = pieces(segment, id.sequence);
            files.seal(id.boot, id.sequence, &encoded(&pieces))?;
            recovered.push(id);
        }
        let sealed = match recovered.is_empty() {
            true => left.sealed,
            false => files.leftovers()?.sealed,
        };
        for found in sealed {
            self.wait(found, None);
        }
        self.show();
        Ok(())
    }

    pub(super) fn run(&mut self, orders: &Receiver<Order>, offer: &Sender<Sealed>) {
        loop {
            self.offer(offer);
            select! {
                recv(orders) -> order => match order {
                    Ok(Order::Shipped { boot, sequence }) => self.shipped(Id { boot, sequence }),
                    Ok(Order::Seal(done)) => {
                        self.collect();
                        self.seal(self.clock.now());
                        self.offer(offer);
                        let _ = done.send(());
                    }
                    Ok(Order::Stop) | Err(_) => {
                        self.collect();
                        self.seal(self.clock.now());
                        self.show();
                        return;
                    }
                },
                default(TURN) => self.turn(),
            }
            self.show();
        }
    }

    fn turn(&mut self) {
        self.collect();
        let now = self.clock.now();
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

    /// Takes what the workers handed over into the open count and its journal.
    pub(super) fn collect(&mut self) {
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
        if fresh.is_empty() {
            return;
        }
        let now = self.clock.now();
        self.opened.get_or_insert(now.tick);
        self.refused_clients.extend(clients.iter().cloned());
        self.journal(fresh.take(), clients, now);
    }

    fn journal(&mut self, rows: Vec<SegmentRow>, clients: Vec<RefusedClient>, now: Now) {
        let Some(files) = &mut self.files else { return };
        let whole = self.journal_is_behind;
        let (rows, clients) = match whole {
            true => (self.open.rows().to_vec(), self.refused_clients.clone()),
            false => (rows, clients),
        };
        let segment = Segment {
            node: self.node.clone(),
            boot: self.boot,
            sequence: self.sequence,
            sealed_ms: now.wall.0,
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
        if let Err(error) = written {
            self.complain(&error, now.tick);
        }
    }

    /// Seals the open count.
    pub(super) fn seal(&mut self, now: Now) {
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
        let first = self.sequence;
        let pieces = pieces(segment, first);
        let bytes = encoded(&pieces);
        self.sequence += pieces.len() as u64;
        let on_disk = match &mut self.files {
            None => false,
            Some(files) => match files.seal(self.boot, first, &bytes) {
                Ok(()) => true,
                Err(error) => {
                    self.complain(&error, now.tick);
                    false
                }
            },
        };
        // Whatever became of the old journal, the next one is begun from what is open then.
        self.journal_is_behind = self.files.is_some() && !on_disk;
        for (piece, bytes) in pieces.iter().zip(bytes) {
            let found = Found {
                id: Id {
                    boot: self.boot,
                    sequence: piece.sequence,
                },
                bytes: bytes.len() as u64,
                written_ms: now.wall.0,
            };
            let sealed = Sealed {
                boot: self.boot,
                sequence: piece.sequence,
                requests: piece.requests(),
                dropped_requests: piece.dropped_requests,
                bytes: bytes.into(),
            };
            self.wait(found, (!on_disk).then_some(sealed));
        }
        self.keep_within_bounds();
    }

    fn wait(&mut self, found: Found, in_memory: Option<Sealed>) {
        self.waiting_bytes += found.bytes;
        self.waiting.push_back(Waiting { found, in_memory });
    }

    /// Drops the oldest segments beyond the bound; one that is with the link stays.
    fn keep_within_bounds(&mut self) {
        let bytes_max = match self.files {
            Some(_) => self.bytes_max,
            None => self.bytes_max.min(MEMORY_BYTES_MAX),
        };
        while self.waiting_bytes > bytes_max && self.waiting.len() > 1 {
            let at = usize::from(self.offered);
            let Some(oldest) = self.waiting.remove(at) else {
                return;
            };
            self.waiting_bytes -= oldest.found.bytes;
            let sealed = self.read(&oldest);
            // What it would have told has to be told by the next one.
            let told = sealed.as_ref().map_or(0, |sealed| sealed.dropped_requests);
            self.dropped_requests = self.dropped_requests.saturating_add(told);
            let requests = sealed.map_or(0, |sealed| sealed.requests);
            tracing::warn!(
                requests,
                sealed_ms = oldest.found.written_ms,
                "usage is dropped: more than state.usage_bytes_max waits for control"
            );
            self.drop_requests(requests);
            self.forget(oldest.found.id);
        }
    }

    fn drop_requests(&mut self, requests: u64) {
        self.dropped_requests = self.dropped_requests.saturating_add(requests);
        self.state.dropped.fetch_add(requests, Ordering::Relaxed);
    }

    /// Gives the link the oldest segment, once it has told of the one before.
    fn offer(&mut self, offer: &Sender<Sealed>) {
        if self.offered {
            return;
        }
        if let Some(sealed) = self.next()
            && offer.try_send(sealed).is_ok()
        {
            self.offered = true;
        }
    }

    /// The oldest segment that waits.
    pub(super) fn next(&mut self) -> Option<Sealed> {
        loop {
            if let Some(sealed) = self.read(self.waiting.front()?) {
                return Some(sealed);
            }
            // Nobody can read it here: it must not be in the way of those behind it.
            let lost = self.waiting.pop_front()?;
            self.waiting_bytes -= lost.found.bytes;
            if let Some(files) = &self.files {
                let _ = files.set_aside(lost.found.id);
            }
        }
    }

    /// What the link does once control has a segment.
    #[cfg(test)]
    pub(super) fn acknowledge(&mut self, sealed: &Sealed) {
        self.offered = true;
        self.shipped(Id {
            boot: sealed.boot,
            sequence: sealed.sequence,
        });
    }

    fn read(&self, waiting: &Waiting) -> Option<Sealed> {
        if let Some(sealed) = &waiting.in_memory {
            return Some(sealed.clone());
        }
        let id = waiting.found.id;
        let read = self.files.as_ref()?.read(id);
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
            }
            self.forget(id);
        }
    }

    fn forget(&mut self, id: Id) {
        // One that only the memory had has no file, which is no error.
        let Some(files) = &self.files else { return };
        if let Err(error) = files.forget(id) {
            // Control has it: shipped again it counts nothing.
            self.complain(&error, self.clock.tick());
        }
    }

    fn complain(&mut self, error: &io::Error, now: Tick) {
        self.state.errors.fetch_add(1, Ordering::Relaxed);
        let silent = |last: Tick| now.since_ns(last) < COMPLAINT_NS;
        if self.complained.is_some_and(silent) {
            return;
        }
        self.complained = Some(now);
        tracing::error!(
            %error,
            "usage cannot be written; it is kept in memory, and lost if the process is killed"
        );
    }

    fn show(&self) {
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

fn requests(rows: &[SegmentRow]) -> u64 {
    let sum = |sum: u64, row: &SegmentRow| sum.saturating_add(row.requests);
    rows.iter().fold(0, sum)
}

/// One row an address and minute, the loudest ones.
fn merge_clients(clients: &mut Vec<RefusedClient>) {
    clients.sort_unstable_by_key(|one| (one.minute, one.client));
    clients.dedup_by(|later, first| {
        let is_same = (later.minute, later.client) == (first.minute, first.client);
        if is_same {
            first.unauthorized = first.unauthorized.saturating_add(later.unauthorized);
        }
        is_same
    });
    clients.sort_unstable_by_key(|one| std::cmp::Reverse(one.unauthorized));
    clients.truncate(REFUSED_CLIENTS_MAX);
}

/// Cuts a segment into such as fit the link, numbered from `sequence` on.
fn pieces(mut segment: Segment, sequence: u64) -> Vec<Segment> {
    segment.sequence = sequence;
    if segment.rows.len() < 2 || segment.encode().len() <= SEGMENT_BYTES_MAX {
        return vec![segment];
    }
    let later = segment.rows.split_off(segment.rows.len() / 2);
    let rest = Segment {
        rows: later,
        refused_clients: Vec::new(),
        dropped_requests: 0,
        ..segment.clone_without_rows()
    };
    let mut all = pieces(segment, sequence);
    let next = sequence + all.len() as u64;
    all.extend(pieces(rest, next));
    all
}

fn encoded(pieces: &[Segment]) -> Vec<Vec<u8>> {
    pieces.iter().map(Segment::encode).collect()
}
