//! What is to be told to webhooks: kept until it was taken, so that a restart loses nothing.

use super::{Rows, StoreError, Tx, sql};
use crate::domain::{Invalid, Name, WebhookSecret, WebhookUrl};
use rusqlite::{Row, params};

/// How long messages are kept that were taken or given up.
const KEPT_MS: u64 = 7 * 24 * 3_600 * 1_000;
/// Most messages that wait for one webhook; beyond it new ones are given up at once.
const WAITING_MAX: u64 = 10_000;

/// A message, and where it goes.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Ever-growing.
    pub number: u64,
    /// The webhook's name.
    pub webhook: Name,
    /// Where.
    pub url: WebhookUrl,
    /// What it is signed with.
    pub secret: WebhookSecret,
    /// Its id, the same in every attempt.
    pub message: String,
    /// What is told.
    pub body: String,
    /// Attempts so far.
    pub attempts: u32,
}

fn delivery(row: &Row<'_>) -> Result<Delivery, StoreError> {
    let (url, secret): (String, Vec<u8>) = (row.get("url")?, row.get("secret")?);
    let no_url = |_: Invalid| StoreError::Corrupt("column `url`".to_owned());
    let no_secret = || StoreError::Corrupt("column `secret`".to_owned());
    Ok(Delivery {
        number: row.get("number")?,
        webhook: sql::word(row, "name")?,
        url: WebhookUrl::try_from(url).map_err(no_url)?,
        secret: WebhookSecret::kept(&secret).ok_or_else(no_secret)?,
        message: row.get("message")?,
        body: row.get("body")?,
        attempts: row.get("attempts")?,
    })
}

impl Rows<'_> {
    /// What is due of each webhook, the longest due first: a few of each, so that one with
    /// thousands that it does not take stands in nobody's way.
    pub fn deliveries_due(&self, now_ms: u64, of_each: u32) -> Result<Vec<Delivery>, StoreError> {
        let select = "SELECT d.number AS number, name, url, secret, message, body, attempts
            FROM (SELECT *, row_number() OVER (PARTITION BY webhook ORDER BY next_ms, number)
                AS place FROM deliveries WHERE done_ms IS NULL AND next_ms <= ?1) AS d
            JOIN webhooks ON webhooks.number = d.webhook
            WHERE place <= ?2 ORDER BY next_ms, d.number";
        sql::all(
            self.connection(),
            select,
            params![now_ms, of_each],
            delivery,
        )
    }
}

impl Tx<'_> {
    /// Leaves a message for a webhook, due now. Answers false, and leaves none, if too many wait.
    pub fn delivery_add(
        &mut self,
        webhook: &Name,
        message: &str,
        body: &str,
    ) -> Result<bool, StoreError> {
        let number = self.webhook_number(webhook)?;
        let waiting = "SELECT count(*) FROM deliveries WHERE webhook = ?1 AND done_ms IS NULL";
        if sql::number(self.connection(), waiting, params![number])? >= WAITING_MAX {
            return Ok(false);
        }
        let insert = "INSERT INTO deliveries (webhook, message, body, made_ms, attempts, next_ms)
            VALUES (?1, ?2, ?3, ?4, 0, ?4)";
        let values = params![number, message, body, self.now().0];
        sql::run(self.connection(), insert, values)?;
        Ok(true)
    }

    /// Notes that a message was taken.
    pub fn delivery_taken(&mut self, number: u64) -> Result<(), StoreError> {
        let update = "UPDATE deliveries SET done_ms = ?2, attempts = attempts + 1, error = NULL
            WHERE number = ?1";
        let values = params![number, self.now().0];
        sql::run(self.connection(), update, values).map(drop)
    }

    /// Notes that an attempt failed, and when the next one is; none: it is given up.
    pub fn delivery_failed(
        &mut self,
        number: u64,
        error: &str,
        again_in_ms: Option<u64>,
    ) -> Result<(), StoreError> {
        let now_ms = self.now().0;
        let update = "UPDATE deliveries SET attempts = attempts + 1, error = ?2, next_ms = ?3,
            done_ms = ?4 WHERE number = ?1";
        let next_ms = again_in_ms.map_or(now_ms, |wait_ms| now_ms.saturating_add(wait_ms));
        let done_ms = again_in_ms.is_none().then_some(now_ms);
        let values = params![number, error, next_ms, done_ms];
        sql::run(self.connection(), update, values).map(drop)
    }

    pub(super) fn deliveries_forget(&mut self) -> Result<(), StoreError> {
        let forget = "DELETE FROM deliveries WHERE done_ms < ?1";
        let oldest_ms = self.now().0.saturating_sub(KEPT_MS);
        sql::run(self.connection(), forget, params![oldest_ms]).map(drop)
    }
}
