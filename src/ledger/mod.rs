//! Ledger: what outlives a request of its limits: consumed quotas, kept on the disk, and how often
//! each limit said no, for `/metrics`.
//!
//! In: what workers hand over a few times a second ([`LimitQueue`]). Out: a [`journal`] in the
//! node's state directory, from which the next process begins, and [`Tallies`]. One thread of its own
//! does it: a disk that stalls delays no request, and no revocation either. A process that is killed
//! forgets what it consumed since the last turn, which is less than a second; nothing is ever
//! counted twice, because each process writes a file of its own with its own sums, and a file that
//! took others in names them. Absent on purpose: rates and requests in flight; they are worth
//! nothing after a restart.

pub mod files;
pub mod journal;
pub mod tallies;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use crossbeam::queue::SegQueue;

use crate::clock::{Clock, Tick};
use crate::limit::journal::Spent;
use crate::limit::{Bank, LimitTally};
use crate::link::WorkerHandle;
use crate::record::throttle::Throttle;
use files::Files;
use tallies::Tallies;

/// The pause between two turns: with the workers' beat it bounds what a kill forgets.
const TURN: Duration = Duration::from_millis(250);
/// What was written is forced to the disk this often.
const SYNC_NS: u64 = 1_000_000_000;
/// Time between two complaints about the same disk.
const COMPLAINT_PAUSE_MS: u64 = 60_000;
/// Hand-overs of one worker that may wait; further news stays with the worker.
const HANDOVERS_MAX: usize = 8;

/// What a worker hands over.
#[derive(Debug, Default)]
pub struct LimitNews {
    /// What was consumed of quotas.
    pub spent: Vec<Spent>,
    /// How often limits said no, by their numbers.
    pub tallies: Vec<(u32, LimitTally)>,
}

/// The way from one worker to the ledger.
#[derive(Debug, Default)]
pub struct LimitQueue(SegQueue<LimitNews>);

impl LimitQueue {
    /// Whether the ledger is not behind.
    pub fn has_room(&self) -> bool {
        self.0.len() < HANDOVERS_MAX
    }

    /// Hands over.
    pub fn push(&self, news: LimitNews) {
        if !news.spent.is_empty() || !news.tallies.is_empty() {
            self.0.push(news);
        }
    }
}

/// How the ledger stands, for those who show it.
#[derive(Debug, Default)]
pub struct LedgerState {
    /// How often limits said no.
    pub tallies: Tallies,
    /// Quotas with something consumed in a window that is not over.
    pub quotas: AtomicU64,
    /// Words in use in the bank.
    pub words: AtomicU64,
    /// Failed writes.
    pub errors: AtomicU64,
}

/// The running ledger.
#[derive(Debug)]
pub struct Ledger {
    stop: Sender<()>,
    /// Disconnected when the thread is gone.
    gone: Receiver<()>,
}

/// The bank of a node's first process: it begins with what processes before consumed, if
/// there is a directory that says so.
pub fn open(
    directory: Option<PathBuf>,
    words_max: u64,
    clock: Clock,
) -> io::Result<(Bank, Option<Files>)> {
    let Some(directory) = directory else {
        return Ok((Bank::create(words_max)?, None));
    };
    let (files, found) = Files::begin(directory, clock.wall())?;
    let bank = Bank::create_with(words_max, files.seeds())?;
    let mut restored = 0_u64;
    for row in &found {
        match bank.restore(row.tag, row.to_word(), clock.now()) {
            Ok(()) => restored += 1,
            // A request that needs it is refused for the same reason.
            Err(full) => tracing::error!(error = %full, "a consumed quota is not restored"),
        }
    }
    if restored > 0 {
        tracing::info!(quotas = restored, "consumed quotas are restored");
    }
    Ok((bank, Some(files)))
}

/// The files of a process that goes on with the bank of another.
pub fn continue_in(directory: Option<PathBuf>, bank: &Bank) -> io::Result<Option<Files>> {
    let files = directory.map(|directory| Files::beside(directory, bank.seeds()));
    files.transpose()
}

impl Ledger {
    /// Starts the thread.
    pub fn start(
        workers: Vec<Arc<WorkerHandle>>,
        state: Arc<LedgerState>,
        (bank, files): (Arc<Bank>, Option<Files>),
        clock: Clock,
    ) -> io::Result<Self> {
        let (stop, stopped) = bounded(1);
        let (here, gone) = bounded(0);
        let mut keeper = Keeper {
            workers,
            state,
            bank,
            files,
            clock,
            synced: clock.tick(),
            complaints: Throttle::every_ms(COMPLAINT_PAUSE_MS),
        };
        std::thread::Builder::new()
            .name("keyway-ledger".into())
            .spawn(move || {
                let _here: Sender<()> = here;
                keeper.run(&stopped);
            })?;
        Ok(Self { stop, gone })
    }

    /// Has the thread write what is left and end; false if it did not within `patience`.
    pub fn stop(self, patience: Duration) -> bool {
        let _ = self.stop.try_send(());
        self.gone.recv_timeout(patience) == Err(RecvTimeoutError::Disconnected)
    }
}

struct Keeper {
    workers: Vec<Arc<WorkerHandle>>,
    state: Arc<LedgerState>,
    bank: Arc<Bank>,
    files: Option<Files>,
    clock: Clock,
    synced: Tick,
    complaints: Throttle,
}

impl Keeper {
    fn run(&mut self, stopped: &Receiver<()>) {
        loop {
            // Also when its sender is gone: then nobody wants it any longer.
            let ends = stopped.recv_timeout(TURN) != Err(RecvTimeoutError::Timeout);
            self.turn(ends);
            if ends {
                return;
            }
        }
    }

    fn turn(&mut self, sync: bool) {
        let mut spent = Vec::new();
        for worker in &self.workers {
            while let Some(news) = worker.limits.0.pop() {
                spent.extend(news.spent);
                self.state.tallies.add(&news.tallies);
            }
        }
        self.state.words.store(self.bank.words(), Ordering::Relaxed);
        let now = self.clock.now();
        let Some(files) = &mut self.files else { return };
        let mut result = files.append(&spent, now.wall);
        if result.is_ok() && (sync || now.tick.since_ns(self.synced) >= SYNC_NS) {
            self.synced = now.tick;
            result = files.sync();
        }
        let quotas = u64::try_from(files.quotas()).unwrap_or(u64::MAX);
        self.state.quotas.store(quotas, Ordering::Relaxed);
        if let Err(error) = result {
            self.state.errors.fetch_add(1, Ordering::Relaxed);
            self.complain(&error, now.tick);
        }
    }

    fn complain(&mut self, error: &io::Error, now: Tick) {
        if self.complaints.tell(now.millis()).is_none() {
            return;
        }
        tracing::error!(
            %error,
            "consumed quotas cannot be written; a restart would forget them. They are written again \
             as soon as that is possible"
        );
    }
}
