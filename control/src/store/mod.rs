//! Truth: the only module that speaks SQL.
//!
//! One SQLite file in WAL mode with `synchronous=FULL`: what was acknowledged survives a power
//! cut. One thread owns the one writing connection and runs changes one after the other, each a
//! closure in one transaction; a few connections read beside it. The async side never blocks.
//!
//! ```text
//! store.write(author, |tx| tx.key_revoke(id)).await  → Outcome { value, generation, replayed }
//! store.read(move |rows| rows.key(id)).await         → the row, from one consistent state
//! ```
//!
//! Invariants:
//! - A change, its audit rows, its generation number and its idempotency record commit together
//!   or not at all. Generation numbers only grow.
//! - A change after which the data plane would refuse the catalog does not commit: one bad API
//!   must never stand in the way of the next revocation.
//! - Numbers are given once. A key's row outlives its key.

mod alert_rules;
mod alerts;
mod apis;
mod apps;
mod audit;
mod author;
mod configuration;
mod deliveries;
mod error;
mod idempotency;
mod imports;
mod keys;
mod limits;
mod nodes;
mod page;
mod plans;
mod publications;
mod readers;
mod rows;
mod schema;
mod snapshot;
mod sql;
mod subscriptions;
mod tenants;
mod tokens;
mod tx;
mod upstreams;
mod usage;
mod webhooks;
mod writer;

#[cfg(test)]
mod tests;

pub use alerts::{Alert, AlertAction, AlertFilter, Finding};
pub use audit::AuditFilter;
pub use author::{Author, Idempotency, Outcome};
pub use configuration::Configuration;
pub use deliveries::Delivery;
pub use error::StoreError;
pub use imports::{IMPORT_KEYS_MAX, ImportLine};
pub use keys::KeyFilter;
pub use nodes::KnownNode;
pub use page::{PAGE_ROWS_MAX, Page, Paged};
pub use publications::{NewPublication, NodeDone, Publication};
pub use readers::Pinned;
pub use rows::{Rows, Totals};
pub use snapshot::{RETIRED_KEPT_S, SnapshotHead};
pub use subscriptions::SubscriptionFilter;
pub use tokens::AdminToken;
pub use tx::Tx;
pub use usage::{
    BilledUsage, Dimension, FINDINGS_MAX, Ingested, QuotaOwner, Retention, Step, TopCaller,
    UsageFilter, UsageSum, Watch,
};
pub use webhooks::WebhookState;

use keyway::clock::Clock;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::watch;

/// The last committed change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Its generation number; 0 in a new store.
    pub generation: u64,
    /// When it was on disk, on the process's monotonic clock; zero for one before this start.
    pub at: keyway::clock::Tick,
}

/// Handle to the store; cheap to clone. The database closes with the last one.
#[derive(Clone, Debug)]
pub struct Store {
    writer: writer::Writer,
    readers: Arc<readers::Readers>,
    clock: Clock,
}

impl Store {
    /// Opens or creates the database and brings it to the newest schema. Blocks; for the start.
    pub fn open(path: &Path, clock: Clock) -> Result<Self, StoreError> {
        let connection = schema::open_writer(path)?;
        let readers = Arc::new(readers::Readers::new(path));
        let writer = writer::Writer::start(connection, clock)?;
        Ok(Self {
            writer,
            readers,
            clock,
        })
    }

    /// Runs `change` in one transaction. It commits if `change` answers `Ok`, and is on disk when
    /// this returns. Publishing follows by itself.
    ///
    /// With an idempotency key `T` is also kept, as JSON, to be answered again for 24 h: so `T`
    /// holds no secret.
    pub async fn write<T, F>(&self, author: Author, change: F) -> Result<Outcome<T>, StoreError>
    where
        T: Serialize + DeserializeOwned + Send + 'static,
        F: FnOnce(&mut Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        let clock = self.clock;
        let job = move |connection: &mut _| {
            writer::in_transaction(connection, &author.actor, clock, |tx| {
                let Some(idempotency) = &author.idempotency else {
                    let value = change(tx)?;
                    return Ok((value, false));
                };
                if let Some(first) = tx.recall(idempotency)? {
                    return Ok((first, true));
                }
                let value = change(tx)?;
                tx.remember(idempotency, &value)?;
                Ok((value, false))
            })
        };
        let ((value, replayed), generation) = self.writer.run(job).await?;
        Ok(Outcome {
            value,
            generation,
            replayed,
        })
    }

    /// Runs `change` like [`Store::write`], checks included, and takes it all back: a dry run.
    pub async fn rehearse<T, F>(&self, author: Author, change: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        let clock = self.clock;
        let job = move |connection: &mut _| {
            writer::rehearsed(connection, &author.actor, clock, |tx| change(tx))
        };
        self.writer.run(job).await
    }

    /// Runs `read` against one consistent state.
    pub async fn read<T, F>(&self, read: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Rows<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        self.readers.run(read).await
    }

    /// Runs `change` and pins the state right after it, before any later change, for a reading
    /// that may take its time: what a publication is built from.
    pub async fn write_and_pin<T, F>(
        &self,
        author: Author,
        change: F,
    ) -> Result<(T, Pinned), StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        let (clock, readers) = (self.clock, Arc::clone(&self.readers));
        let job = move |connection: &mut _| {
            let (value, _) = writer::in_transaction(connection, &author.actor, clock, change)?;
            let pinned = readers.pin()?;
            Ok((value, pinned))
        };
        self.writer.run(job).await
    }

    /// When the change with that generation number was on disk; none if that was before this start
    /// or thousands of changes ago.
    pub fn committed_at(&self, generation: u64) -> Option<keyway::clock::Tick> {
        self.writer.committed_at(generation)
    }

    /// Tells of every commit: what wakes the publisher.
    pub fn commits(&self) -> watch::Receiver<Committed> {
        self.writer.commits()
    }
}
