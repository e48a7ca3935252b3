//! Generations that were published, or begun, and who serves them.
//!
//! A generation's number is on disk here before its first file is: after a crash no number is
//! given to two different contents.

use super::sql::{self, Conditions, Order};
use super::{Page, Paged, Rows, StoreError, Tx};
use rusqlite::{Row, params};
use serde::{Deserialize, Serialize};

/// Publications that are kept.
const KEPT: u64 = 1_000;

const SELECT: &str = "SELECT generation, base, configuration, begun_ms, done_ms, keys, bytes,
    rollback FROM publications";

/// One published generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publication {
    /// The generation.
    pub generation: u64,
    /// The generation of its base; the same for a base.
    pub base: u64,
    /// The generation whose configuration (plans, APIs, upstreams) it carries.
    pub configuration: u64,
    /// When it was begun, milliseconds since the epoch.
    pub begun_ms: u64,
    /// When its manifest was in place; none: it never was.
    pub done_ms: Option<u64>,
    /// Key records in the file.
    pub keys: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// True: it stepped the configuration back.
    pub rollback: bool,
}

/// A publication about to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewPublication {
    /// The base it will lie over; none: it is one.
    pub base: Option<u64>,
    /// It steps the configuration back.
    pub rollback: bool,
}

/// A node's word that all its workers serve a generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeDone {
    /// The node's name.
    pub node: String,
    /// How many workers it has.
    pub workers: u32,
    /// Milliseconds from the publication's beginning to its last worker.
    pub elapsed_ms: u64,
}

fn publication(row: &Row<'_>) -> Result<Publication, StoreError> {
    Ok(Publication {
        generation: row.get("generation")?,
        base: row.get("base")?,
        configuration: row.get("configuration")?,
        begun_ms: row.get("begun_ms")?,
        done_ms: row.get("done_ms")?,
        keys: row.get("keys")?,
        bytes: row.get("bytes")?,
        rollback: row.get("rollback")?,
    })
}

impl Rows<'_> {
    /// Generations, newest first, those that were begun and never done too.
    pub fn publications(&self, page: Page) -> Result<Paged<Publication>, StoreError> {
        let (conditions, order) = (Conditions::default(), Order::NewestFirst);
        sql::paged(
            self.connection(),
            SELECT,
            "generation",
            order,
            conditions,
            page,
            |row| {
                let publication = publication(row)?;
                Ok((publication.generation, publication))
            },
        )
    }

    /// The publication of that generation, if it was done and is kept.
    pub fn publication(&self, generation: u64) -> Result<Option<Publication>, StoreError> {
        let select = format!("{SELECT} WHERE generation = ?1 AND done_ms IS NOT NULL");
        sql::one(self.connection(), &select, params![generation], publication)
    }

    /// The publication of that generation, done or not.
    pub fn publication_begun(&self, generation: u64) -> Result<Option<Publication>, StoreError> {
        let select = format!("{SELECT} WHERE generation = ?1");
        sql::one(self.connection(), &select, params![generation], publication)
    }

    /// Who said that they serve that generation.
    pub fn receipts(&self, generation: u64) -> Result<Vec<NodeDone>, StoreError> {
        let select =
            "SELECT node, workers, elapsed_ms FROM receipts WHERE generation = ?1 ORDER BY node";
        sql::all(self.connection(), select, params![generation], |row| {
            Ok(NodeDone {
                node: row.get("node")?,
                workers: row.get("workers")?,
                elapsed_ms: row.get("elapsed_ms")?,
            })
        })
    }
}

impl Tx<'_> {
    /// Takes the number of a generation that is about to be written. It holds every change with a
    /// number up to it.
    pub fn publication_begin(&mut self, new: NewPublication) -> Result<u64, StoreError> {
        let generation = self.stamp()?;
        let (configuration, _) = self.configuration_in_force()?;
        let insert = "INSERT INTO publications
            (generation, base, configuration, begun_ms, keys, bytes, rollback)
            VALUES (?1, ?2, ?3, ?4, 0, 0, ?5)";
        let base = new.base.unwrap_or(generation);
        let values = params![generation, base, configuration, self.now().0, new.rollback];
        sql::run(self.connection(), insert, values)?;
        let forget = "DELETE FROM publications WHERE generation NOT IN
            (SELECT generation FROM publications ORDER BY generation DESC LIMIT ?1)";
        sql::run(self.connection(), forget, params![KEPT])?;
        Ok(generation)
    }

    /// Notes that the manifest names `generation` now.
    pub fn publication_done(
        &mut self,
        generation: u64,
        keys: u64,
        bytes: u64,
    ) -> Result<(), StoreError> {
        let update = "UPDATE publications SET done_ms = ?2, keys = ?3, bytes = ?4
            WHERE generation = ?1";
        sql::run(
            self.connection(),
            update,
            params![generation, self.now().0, keys, bytes],
        )?;
        Ok(())
    }

    /// Keeps what nodes said about a generation.
    pub fn receipts_keep(&mut self, generation: u64, done: &[NodeDone]) -> Result<(), StoreError> {
        let insert = "INSERT INTO receipts (generation, node, workers, elapsed_ms)
            SELECT ?1, ?2, ?3, ?4 WHERE EXISTS
                (SELECT 1 FROM publications WHERE generation = ?1)
            ON CONFLICT (generation, node) DO NOTHING";
        for node in done {
            let values = params![generation, node.node, node.workers, node.elapsed_ms];
            sql::run(self.connection(), insert, values)?;
        }
        Ok(())
    }
}
