//! Nodes that have connected, so that one that control has to wait for is not forgotten by a
//! restart.

use super::{Rows, StoreError, Tx, sql};
use rusqlite::params;
use serde::{Deserialize, Serialize};

/// A node that has connected before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownNode {
    /// The node's name.
    pub name: String,
    /// How many workers it had.
    pub workers: u32,
    /// When its link went down, milliseconds since the epoch; none: it was up.
    pub gone_ms: Option<u64>,
}

impl Rows<'_> {
    /// All of them, by name.
    pub fn nodes(&self) -> Result<Vec<KnownNode>, StoreError> {
        let select = "SELECT name, workers, gone_ms FROM nodes ORDER BY name";
        sql::all(self.connection(), select, &[], |row| {
            Ok(KnownNode {
                name: row.get("name")?,
                workers: row.get("workers")?,
                gone_ms: row.get("gone_ms")?,
            })
        })
    }
}

impl Tx<'_> {
    /// Notes that a node's link is up or down. No change of what is served: takes no number.
    pub fn node_keep(&mut self, node: &KnownNode) -> Result<(), StoreError> {
        let upsert = "INSERT INTO nodes (name, workers, gone_ms) VALUES (?1, ?2, ?3)
            ON CONFLICT (name) DO UPDATE SET workers = ?2, gone_ms = ?3";
        sql::run(
            self.connection(),
            upsert,
            params![node.name, node.workers, node.gone_ms],
        )?;
        Ok(())
    }

    /// Forgets a node.
    pub fn node_forget(&mut self, name: &str) -> Result<(), StoreError> {
        sql::run(
            self.connection(),
            "DELETE FROM nodes WHERE name = ?1",
            params![name],
        )?;
        Ok(())
    }
}
