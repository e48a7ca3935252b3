//! Truth: the only module that speaks SQL.
//!
//! One SQLite file in WAL mode with `synchronous=FULL`: what was acknowledged survives a power
//! cut. One thread owns the one writing connection and runs changes one after the other, each a
//! closure in one transaction; a few threads own reading connections. The async side never blocks.
//!
//! ```text
//! store.write(author, |tx| tx.key_revoke(id)).await  → Outcome { value, generation, replayed }
//! store.read(|rows| rows.key(id)).await              → the row, from one consistent snapshot
//! ```
//!
//! Invariants:
//! - A change, its audit rows, its generation number and its idempotency record commit together
//!   or not at all. Generation numbers only grow.
//! - A change after which the data plane would refuse the catalog does not commit: one bad API
//!   must never stand in the way of the next revocation.
//! - Numbers are given once. A key's row outlives its key.

mod author;
mod error;
mod page;
mod rows;
mod tx;

pub use author::{Author, Idempotency, Outcome};
pub use error::StoreError;
pub use page::{PAGE_ROWS_MAX, Page, Paged};
pub use rows::{
    AdminToken, AuditFilter, KeyFilter, Publication, Rows, SubscriptionFilter, Totals, UsageBucket,
    UsageFilter,
};
pub use tx::{ImportLine, Tx};

use keyway::clock::Clock;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::Path;

/// Handle to the store; cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {}

impl Store {
    /// Opens or creates the database and brings it to the newest schema. Blocks; for the start.
    pub fn open(path: &Path, clock: Clock) -> Result<Self, StoreError> {
        let _ = (path, clock);
        unimplemented!()
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
        let _ = (author, change);
        unimplemented!()
    }

    /// Runs `change` like [`Store::write`], checks included, and takes it all back: a dry run.
    pub async fn rehearse<T, F>(&self, author: Author, change: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        let _ = (author, change);
        unimplemented!()
    }

    /// Runs `read` against one consistent state.
    pub async fn read<T, F>(&self, read: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Rows<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        let _ = read;
        unimplemented!()
    }
}
