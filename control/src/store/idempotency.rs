//! Requests that were answered already: kept for 24 h in the same transaction as their change, so
//! that a request repeated after a crash is carried out once.

use super::{Idempotency, StoreError, Tx, sql};
use rusqlite::params;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// How long an answer is kept, milliseconds.
const KEPT_MS: u64 = 24 * 3_600 * 1_000;

impl Tx<'_> {
    /// What the same request answered before.
    pub(super) fn recall<T: DeserializeOwned>(
        &self,
        idempotency: &Idempotency,
    ) -> Result<Option<T>, StoreError> {
        let select = "SELECT request, answer FROM idempotency
            WHERE actor = ?1 AND key = ?2 AND at_ms > ?3";
        let oldest_ms = self.now().0.saturating_sub(KEPT_MS);
        let values = params![self.actor().as_str(), idempotency.key, oldest_ms];
        sql::one(self.connection(), select, values, |row| {
            // Before the answer is read: that of another request may have another form.
            let request: [u8; 32] = row.get("request")?;
            if request != idempotency.request {
                return Err(StoreError::IdempotencyMismatch);
            }
            sql::json(row, "answer")
        })
    }

    /// Keeps an answer, and forgets those that are too old.
    pub(super) fn remember<T: Serialize>(
        &mut self,
        idempotency: &Idempotency,
        answer: &T,
    ) -> Result<(), StoreError> {
        let forget = "DELETE FROM idempotency WHERE at_ms <= ?1";
        sql::run(
            self.connection(),
            forget,
            params![self.now().0.saturating_sub(KEPT_MS)],
        )?;
        let insert = "INSERT INTO idempotency (actor, key, request, answer, at_ms)
            VALUES (?1, ?2, ?3, ?4, ?5)";
        let values = params![
            self.actor().as_str(),
            idempotency.key,
            idempotency.request,
            sql::to_json(answer)?,
            self.now().0
        ];
        sql::run(self.connection(), insert, values)?;
        Ok(())
    }
}
