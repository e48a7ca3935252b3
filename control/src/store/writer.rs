//! The one thread that writes.
//!
//! Jobs come over a bounded channel and run one after the other, so that no change ever meets a
//! locked database. A job that panics loses its transaction and nothing else.

use super::{Committed, StoreError, Tx};
use crate::domain::Actor;
use keyway::clock::{Clock, Tick};
use rusqlite::{Connection, TransactionBehavior};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{mpsc, oneshot, watch};

/// Changes that may wait; the next one makes its caller wait.
const JOBS_WAITING_MAX: usize = 1_024;

/// Commits whose time is remembered, for receipts.
const TIMES_KEPT: usize = 4_096;

/// Runs a change; what it answers is called once its commit was noted.
type Job = Box<dyn FnOnce(&mut Connection) -> Reply + Send>;
type Reply = Box<dyn FnOnce() + Send>;

/// Handle to the writing thread; the thread ends with the last one.
#[derive(Clone, Debug)]
pub(super) struct Writer {
    jobs: mpsc::Sender<Job>,
    commits: watch::Receiver<Committed>,
    times: CommitTimes,
}

/// When the last changes were on disk, oldest first.
#[derive(Clone, Debug, Default)]
struct CommitTimes(Arc<Mutex<VecDeque<Committed>>>);

impl CommitTimes {
    fn note(&self, committed: Committed) {
        let mut times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if times.len() == TIMES_KEPT {
            times.pop_front();
        }
        times.push_back(committed);
    }

    fn of(&self, generation: u64) -> Option<Tick> {
        let times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let first = times.partition_point(|commit| commit.generation < generation);
        // What was forgotten, or was before this start, has no time.
        times
            .get(first)
            .filter(|_| first > 0)
            .map(|commit| commit.at)
    }
}

impl Writer {
    /// Starts the thread on an open, migrated connection.
    pub(super) fn start(mut connection: Connection, clock: Clock) -> Result<Self, StoreError> {
        let generation = super::rows::generation(&connection)?;
        let (told, commits) = watch::channel(Committed {
            generation,
            at: Tick(0),
        });
        let times = CommitTimes::default();
        times.note(Committed {
            generation,
            at: Tick(0),
        });
        let noted = times.clone();
        let (jobs, mut waiting) = mpsc::channel::<Job>(JOBS_WAITING_MAX);
        let run = move || {
            while let Some(job) = waiting.blocking_recv() {
                // The connection stays sound: a transaction that unwinds is rolled back.
                let reply = catch_unwind(AssertUnwindSafe(|| job(&mut connection)));
                let last = *told.borrow();
                if let Some(committed) = newest(&connection, last, clock) {
                    noted.note(committed);
                    told.send_replace(committed);
                }
                match reply {
                    Ok(reply) => reply(),
                    Err(_) => tracing::error!("a change panicked; it was rolled back"),
                }
            }
        };
        std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(run)
            .map_err(|_| StoreError::Closed)?;
        Ok(Self {
            jobs,
            commits,
            times,
        })
    }

    /// Runs `job` on the writing thread.
    pub(super) async fn run<T, F>(&self, job: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            let outcome = job(connection);
            // Nobody may wait any more; the change counts all the same.
            Box::new(move || drop(answer.send(outcome)))
        });
        self.jobs.send(job).await.map_err(|_| StoreError::Closed)?;
        answered.await.map_err(|_| StoreError::Panicked)?
    }

    /// When the change with that number was on disk, if that was since the start and is not too
    /// long ago.
    pub(super) fn committed_at(&self, generation: u64) -> Option<Tick> {
        self.times.of(generation)
    }

    /// Tells of every commit.
    pub(super) fn commits(&self) -> watch::Receiver<Committed> {
        self.commits.clone()
    }
}

/// The newest commit, if it is above `last`.
fn newest(connection: &Connection, last: Committed, clock: Clock) -> Option<Committed> {
    match super::rows::generation(connection) {
        Ok(generation) if generation > last.generation => Some(Committed {
            generation,
            at: clock.tick(),
        }),
        Ok(_) => None,
        Err(error) => {
            tracing::error!(%error, "the store's generation cannot be read");
            None
        }
    }
}

/// Runs `change` in a transaction and commits it; answers the generation number that holds it.
pub(super) fn in_transaction<T>(
    connection: &mut Connection,
    actor: &Actor,
    clock: Clock,
    change: impl FnOnce(&mut Tx<'_>) -> Result<T, StoreError>,
) -> Result<(T, u64), StoreError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut tx = Tx::begin(&transaction, actor, clock.wall())?;
    let value = change(&mut tx)?;
    let generation = tx.finish()?;
    transaction.commit()?;
    Ok((value, generation))
}

/// Runs `change` in a transaction, checks what a commit would check, and takes it all back.
pub(super) fn rehearsed<T>(
    connection: &mut Connection,
    actor: &Actor,
    clock: Clock,
    change: impl FnOnce(&mut Tx<'_>) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut tx = Tx::begin(&transaction, actor, clock.wall())?;
    let value = change(&mut tx)?;
    tx.finish()?;
    transaction.rollback()?;
    Ok(value)
}
