//! The one thread that writes.
//!
//! Jobs come over a bounded channel and run one after the other, so that no change ever meets a
//! locked database. A job that panics loses its transaction and nothing else.

use super::{Committed, StoreError, Tx};
use crate::domain::Actor;
use keyway::clock::{Clock, Tick};
use rusqlite::{Connection, TransactionBehavior};
use std::panic::{AssertUnwindSafe, catch_unwind};
use tokio::sync::{mpsc, oneshot, watch};

/// Changes that may wait; the next one makes its caller wait.
const JOBS_WAITING_MAX: usize = 1_024;

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// Handle to the writing thread; the thread ends with the last one.
#[derive(Clone, Debug)]
pub(super) struct Writer {
    jobs: mpsc::Sender<Job>,
    commits: watch::Receiver<Committed>,
}

impl Writer {
    /// Starts the thread on an open, migrated connection.
    pub(super) fn start(mut connection: Connection, clock: Clock) -> Result<Self, StoreError> {
        let generation = super::rows::generation(&connection)?;
        let (told, commits) = watch::channel(Committed {
            generation,
            at: Tick(0),
        });
        let (jobs, mut waiting) = mpsc::channel::<Job>(JOBS_WAITING_MAX);
        let run = move || {
            while let Some(job) = waiting.blocking_recv() {
                // The connection stays sound: a transaction that unwinds is rolled back.
                if catch_unwind(AssertUnwindSafe(|| job(&mut connection))).is_err() {
                    tracing::error!("a change panicked; it was rolled back");
                }
                tell(&connection, &told, clock);
            }
        };
        std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(run)
            .map_err(|_| StoreError::Closed)?;
        Ok(Self { jobs, commits })
    }

    /// Runs `job` on the writing thread.
    pub(super) async fn run<T, F>(&self, job: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            // Nobody may wait any more; the change counts all the same.
            let _ = answer.send(job(connection));
        });
        self.jobs.send(job).await.map_err(|_| StoreError::Closed)?;
        answered.await.map_err(|_| StoreError::Panicked)?
    }

    /// Tells of every commit.
    pub(super) fn commits(&self) -> watch::Receiver<Committed> {
        self.commits.clone()
    }
}

/// Tells the listeners of the newest generation number, if it grew.
fn tell(connection: &Connection, told: &watch::Sender<Committed>, clock: Clock) {
    match super::rows::generation(connection) {
        Ok(generation) => {
            let at = clock.tick();
            told.send_if_modified(|last| {
                let newer = generation > last.generation;
                if newer {
                    *last = Committed { generation, at };
                }
                newer
            });
        }
        Err(error) => tracing::error!(%error, "the store's generation cannot be read"),
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
