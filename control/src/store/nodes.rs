//! Nodes that are connected, so that one that control has to wait for is not forgotten by a restart.

use super::{Rows, StoreError, Tx, sql};
use rusqlite::params;
use serde::{Deserialize, Serialize};

/// One start of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownNode {
    /// The node's name.
    pub name: String,
    /// Random number of its start.
    pub boot: u64,
    /// How many workers it has.
    pub workers: u32,
    /// Its process, if the kernel named one.
    pub pid: Option<u32>,
    /// When that process started, in the kernel's clock ticks: tells it from a later process with
    /// the same number.
    pub started: Option<u64>,
}

impl Rows<'_> {
    /// All of them, by name.
    pub fn nodes(&self) -> Result<Vec<KnownNode>, StoreError> {
        let select = "SELECT name, boot, workers, pid, started FROM nodes ORDER BY name, boot";
        sql::all(self.connection(), select, &[], |row| {
            Ok(KnownNode {
                name: row.get("name")?,
                boot: row.get::<_, i64>("boot")?.cast_unsigned(),
                workers: row.get("workers")?,
                pid: row.get("pid")?,
                started: row.get("started")?,
            })
        })
    }
}

impl Tx<'_> {
    /// Keeps a node. No change of what is served: takes no number.
    pub fn node_keep(&mut self, node: &KnownNode) -> Result<(), StoreError> {
        let upsert = "INSERT INTO nodes (name, boot, workers, pid, started)
            VALUES (?1, ?2, ?3, ?4, ?5)
            ON CONFLICT (name, boot) DO UPDATE SET workers = ?3, pid = ?4, started = ?5";
        let boot = node.boot.cast_signed();
        let values = params![node.name, boot, node.workers, node.pid, node.started];
        sql::run(self.connection(), upsert, values)?;
        Ok(())
    }

    /// Forgets a node.
    pub fn node_forget(&mut self, name: &str, boot: u64) -> Result<(), StoreError> {
        let delete = "DELETE FROM nodes WHERE name = ?1 AND boot = ?2";
        sql::run(self.connection(), delete, params![name, boot.cast_signed()])?;
        Ok(())
    }
}
