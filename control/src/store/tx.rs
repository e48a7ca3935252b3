//! Changing: one transaction, with its audit rows and its generation number.
//!
//! Each changing function of the other modules writes its own audit row through
//! [`Tx::audit`]; one that finds everything as wished writes nothing and takes no number.

use super::{Rows, StoreError, sql};
use crate::domain::{Actor, Subject};
use keyway::clock::WallTime;
use rusqlite::{Connection, params};
use serde::Serialize;
use std::ops::Deref;

/// A transaction under way. Reads (through [`Rows`]) see its own changes.
#[derive(Debug)]
pub struct Tx<'c> {
    rows: Rows<'c>,
    actor: Actor,
    now: WallTime,
    /// Taken by the first change.
    generation: Option<u64>,
    /// The configuration in force when the transaction began, once it is about to change.
    pub(super) configuration_before: Option<super::Configuration>,
    /// Something changed that stands in the catalog.
    pub(super) catalog_changed: bool,
}

impl<'c> Deref for Tx<'c> {
    type Target = Rows<'c>;

    fn deref(&self) -> &Rows<'c> {
        &self.rows
    }
}

impl<'c> Tx<'c> {
    pub(super) fn begin(
        connection: &'c Connection,
        actor: &Actor,
        now: WallTime,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            rows: Rows::new(connection),
            actor: actor.clone(),
            now,
            generation: None,
            configuration_before: None,
            catalog_changed: false,
        })
    }

    /// Ends the changes, before the commit: checks the whole, answers the generation number.
    pub(super) fn finish(mut self) -> Result<u64, StoreError> {
        self.settle_configuration()?;
        self.generation.map_or_else(|| self.rows.generation(), Ok)
    }

    /// The time that everything in this transaction bears.
    pub(super) fn now(&self) -> WallTime {
        self.now
    }

    /// That time in milliseconds since the epoch.
    pub fn at_ms(&self) -> u64 {
        self.now.0
    }

    pub(super) fn actor(&self) -> &Actor {
        &self.actor
    }

    /// This transaction's own generation number; the first call takes it.
    pub(super) fn stamp(&mut self) -> Result<u64, StoreError> {
        if let Some(generation) = self.generation {
            return Ok(generation);
        }
        let next = "UPDATE clock SET generation = generation + 1 RETURNING generation";
        let generation = sql::one(self.connection(), next, &[], |row| Ok(row.get(0)?))?
            .ok_or_else(|| StoreError::Corrupt("table `clock` is empty".to_owned()))?;
        self.generation = Some(generation);
        Ok(generation)
    }

    /// Moves the generation numbers above `floor`. A store that was restored from a backup is
    /// behind what its nodes serve, and they refuse to go back.
    pub fn outgrow(&mut self, floor: u64) -> Result<(), StoreError> {
        let lift = "UPDATE clock SET generation = max(generation, ?1)";
        sql::run(self.connection(), lift, params![floor])?;
        Ok(())
    }

    /// Writes an audit row.
    pub(super) fn audit<B: Serialize, A: Serialize>(
        &mut self,
        action: &str,
        subject: Subject,
        id: &str,
        before: Option<&B>,
        after: Option<&A>,
    ) -> Result<(), StoreError> {
        let generation = self.stamp()?;
        let before = before.map(sql::to_json).transpose()?;
        let after = after.map(sql::to_json).transpose()?;
        let insert = "INSERT INTO audit
            (generation, at_ms, actor, action, subject, subject_id, before, after)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
        sql::run(
            self.connection(),
            insert,
            params![
                generation,
                self.now.0,
                self.actor.as_str(),
                action,
                subject.word(),
                id,
                before,
                after
            ],
        )?;
        Ok(())
    }

    /// Writes an audit row of something that did not exist before.
    pub(super) fn audit_created<A: Serialize>(
        &mut self,
        subject: Subject,
        id: &str,
        after: &A,
    ) -> Result<(), StoreError> {
        self.audit("create", subject, id, None::<&()>, Some(after))
    }

    /// Writes an audit row of something that is gone.
    pub(super) fn audit_deleted<B: Serialize>(
        &mut self,
        subject: Subject,
        id: &str,
        before: &B,
    ) -> Result<(), StoreError> {
        self.audit("delete", subject, id, Some(before), None::<&()>)
    }
}
