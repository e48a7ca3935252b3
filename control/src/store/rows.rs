//! Reading: one consistent state, and the questions that belong to no single table.

use super::{StoreError, sql};
use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use std::fmt;

/// One consistent state of the store, for as long as it is borrowed.
pub struct Rows<'c> {
    connection: &'c Connection,
}

impl fmt::Debug for Rows<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows").finish_non_exhaustive()
    }
}

/// How much there is of everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Totals {
    /// Tenants that are not deleted.
    pub tenants: u64,
    /// Apps that are not deleted.
    pub apps: u64,
    /// Keys ever made, in any state.
    pub keys: u64,
    /// Plans.
    pub plans: u64,
    /// APIs.
    pub apis: u64,
    /// Upstreams.
    pub upstreams: u64,
    /// Subscriptions that are not cancelled.
    pub subscriptions: u64,
}

impl<'c> Rows<'c> {
    pub(super) fn new(connection: &'c Connection) -> Self {
        Self { connection }
    }

    pub(super) fn connection(&self) -> &'c Connection {
        self.connection
    }

    /// The last change's generation number; 0 for a new store.
    pub fn generation(&self) -> Result<u64, StoreError> {
        generation(self.connection)
    }

    /// How much there is of everything. Keys are told by their highest number, since their rows
    /// are never deleted: counting ten million rows for a status page would take seconds.
    pub fn totals(&self) -> Result<Totals, StoreError> {
        let counts = "SELECT (SELECT count(*) FROM tenants WHERE deleted_ms IS NULL) AS tenants,
            (SELECT count(*) FROM apps WHERE deleted_ms IS NULL) AS apps,
            (SELECT coalesce(max(number), 0) FROM keys) AS keys,
            (SELECT count(*) FROM plans) AS plans,
            (SELECT count(*) FROM apis) AS apis,
            (SELECT count(*) FROM upstreams) AS upstreams,
            (SELECT count(*) FROM subscriptions WHERE state <> 'cancelled') AS subscriptions";
        let totals = sql::one(self.connection, counts, &[], |row| {
            Ok(Totals {
                tenants: row.get("tenants")?,
                apps: row.get("apps")?,
                keys: row.get("keys")?,
                plans: row.get("plans")?,
                apis: row.get("apis")?,
                upstreams: row.get("upstreams")?,
                subscriptions: row.get("subscriptions")?,
            })
        })?;
        Ok(totals.unwrap_or_default())
    }
}

/// The last change's generation number.
pub(super) fn generation(connection: &Connection) -> Result<u64, StoreError> {
    sql::one(connection, "SELECT generation FROM clock", &[], |row| {
        Ok(row.get(0)?)
    })?
    .ok_or_else(|| StoreError::Corrupt("table `clock` is empty".to_owned()))
}
