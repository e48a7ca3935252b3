//! Connections that read while the writer writes.

use super::{Rows, StoreError, schema};
use rusqlite::Connection;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Semaphore;

/// Reads at one time; the next one waits.
const READS_MAX: usize = 4;

/// A pool of reading connections, opened when first needed.
pub(super) struct Readers {
    path: PathBuf,
    permits: Semaphore,
    idle: Mutex<Vec<Connection>>,
}

impl fmt::Debug for Readers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readers")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Readers {
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            permits: Semaphore::new(READS_MAX),
            idle: Mutex::new(Vec::new()),
        }
    }

    /// Runs `read` on a thread that may block, inside one reading transaction.
    pub(super) async fn run<T, F>(self: &Arc<Self>, read: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Rows<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        let _permit = self
            .permits
            .acquire()
            .await
            .map_err(|_| StoreError::Closed)?;
        let readers = Arc::clone(self);
        tokio::task::spawn_blocking(move || read(&readers.pin()?.rows()))
            .await
            .map_err(|_| StoreError::Panicked)?
    }

    /// Begins a reading transaction now. It sees what is committed now, however long it lives.
    pub(super) fn pin(self: &Arc<Self>) -> Result<Pinned, StoreError> {
        let idle = self
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        let connection = match idle {
            Some(connection) => connection,
            None => schema::open_reader(&self.path)?,
        };
        connection.execute_batch("BEGIN DEFERRED")?;
        // SQLite takes its picture at the first read, not at BEGIN.
        super::rows::generation(&connection)?;
        Ok(Pinned {
            connection: Some(connection),
            home: Arc::clone(self),
        })
    }

    fn take_back(&self, connection: Connection) {
        // A connection that cannot end its transaction is closed by being dropped.
        if connection.execute_batch("ROLLBACK").is_ok() {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            if idle.len() < READS_MAX {
                idle.push(connection);
            }
        }
    }
}

/// One consistent state of the store, held until dropped. Keep it no longer than needed: the
/// write-ahead log cannot shrink below it.
pub struct Pinned {
    connection: Option<Connection>,
    home: Arc<Readers>,
}

impl fmt::Debug for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pinned").finish_non_exhaustive()
    }
}

impl Pinned {
    /// The state to read from.
    pub fn rows(&self) -> Rows<'_> {
        Rows::new(self.connection.as_ref().expect("taken back only on drop"))
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.home.take_back(connection);
        }
    }
}
