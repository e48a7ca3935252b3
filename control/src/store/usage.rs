//! Usage: batches added up exactly once, by minute.

use super::keys::{id_from_sql, id_to_sql};
use super::sql::{self, Conditions, Order};
use super::{Page, Paged, Rows, StoreError, Tx};
use crate::domain::{KeyId, Name};
use keyway::record::UsageRow;
use rusqlite::{Row, params};
use serde::{Deserialize, Serialize};

const MINUTE_MS: u64 = 60_000;
/// How long the last batch of a node's earlier start is remembered: far longer than a node keeps
/// trying to send one.
const BOOTS_KEPT_MS: u64 = 30 * 24 * 3_600 * 1_000;

const SELECT: &str = "SELECT number, minute_ms, key, api, class, requests, bytes_in, bytes_out
    FROM usage";

/// Which usage to list; every field narrows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageFilter {
    /// By this key.
    pub key: Option<KeyId>,
    /// Of this API.
    pub api: Option<Name>,
    /// From this minute on, milliseconds since the epoch.
    pub from_ms: Option<u64>,
    /// Before this minute.
    pub until_ms: Option<u64>,
}

/// Requests of one key to one API with one class of answer, in one minute of control's clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageBucket {
    /// Start of the minute, milliseconds since the epoch.
    pub minute_ms: u64,
    /// The key; none: no key was asked, or none was good.
    pub key: Option<KeyId>,
    /// Number of the API; 0: none was matched.
    pub api: u32,
    /// First digit of the status: 2 for 200 to 299.
    pub class: u8,
    /// How many.
    pub requests: u64,
    /// Bytes from the clients.
    pub bytes_in: u64,
    /// Bytes to the clients.
    pub bytes_out: u64,
}

/// One batch of one start of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageBatch {
    /// The node's name.
    pub node: String,
    /// Random number of the node's start.
    pub boot: u64,
    /// Counts the batches of that start, from 1, without gaps.
    pub sequence: u64,
    /// What was counted.
    pub rows: Vec<UsageRow>,
}

/// What became of a batch. In each case it may be acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ingested {
    /// Added up.
    Added,
    /// It was added up before.
    Seen,
    /// Added up, but batches before it never came: this store was restored from an older copy.
    AddedAfterGap,
}

fn bucket(row: &Row<'_>) -> Result<(u64, UsageBucket), StoreError> {
    let key: i64 = row.get("key")?;
    let bucket = UsageBucket {
        minute_ms: row.get("minute_ms")?,
        key: if key == 0 {
            None
        } else {
            Some(id_from_sql(key)?)
        },
        api: row.get("api")?,
        class: row.get("class")?,
        requests: row.get("requests")?,
        bytes_in: row.get("bytes_in")?,
        bytes_out: row.get("bytes_out")?,
    };
    Ok((row.get("number")?, bucket))
}

/// SQLite's integers end at 2^63.
fn clamp(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

impl Rows<'_> {
    /// Minutes of usage, newest first.
    pub fn usage(
        &self,
        filter: &UsageFilter,
        page: Page,
    ) -> Result<Paged<UsageBucket>, StoreError> {
        let mut conditions = Conditions::default();
        conditions.add_if("key = ?", filter.key.map(id_to_sql));
        let api = filter.api.as_ref().map(|name| name.to_string());
        conditions.add_if("api = (SELECT number FROM apis WHERE name = ?)", api);
        conditions.add_if("minute_ms >= ?", filter.from_ms.map(clamp));
        conditions.add_if("minute_ms < ?", filter.until_ms.map(clamp));
        let order = Order::NewestFirst;
        sql::paged(
            self.connection(),
            SELECT,
            "number",
            order,
            conditions,
            page,
            bucket,
        )
    }
}

impl Tx<'_> {
    /// Adds a batch up, unless it was before.
    pub fn usage_add(&mut self, batch: &UsageBatch) -> Result<Ingested, StoreError> {
        let boot = batch.boot.cast_signed();
        let last = "SELECT sequence FROM usage_batches WHERE node = ?1 AND boot = ?2";
        let last: Option<u64> =
            sql::one(self.connection(), last, params![batch.node, boot], |row| {
                Ok(row.get(0)?)
            })?;
        let last = last.unwrap_or(0);
        if batch.sequence <= last {
            return Ok(Ingested::Seen);
        }
        let now_ms = self.now().0;
        for row in &batch.rows {
            self.usage_add_row(row, now_ms - now_ms % MINUTE_MS)?;
        }
        let note = "INSERT INTO usage_batches (node, boot, sequence, at_ms)
            VALUES (?1, ?2, ?3, ?4)
            ON CONFLICT (node, boot) DO UPDATE SET sequence = ?3, at_ms = ?4";
        sql::run(
            self.connection(),
            note,
            params![batch.node, boot, batch.sequence, now_ms],
        )?;
        let forget = "DELETE FROM usage_batches WHERE node = ?1 AND at_ms < ?2";
        let oldest_ms = now_ms.saturating_sub(BOOTS_KEPT_MS);
        sql::run(self.connection(), forget, params![batch.node, oldest_ms])?;
        Ok(if batch.sequence == last + 1 {
            Ingested::Added
        } else {
            Ingested::AddedAfterGap
        })
    }

    fn usage_add_row(&mut self, row: &UsageRow, minute_ms: u64) -> Result<(), StoreError> {
        let add = "INSERT INTO usage (minute_ms, key, api, class, requests, bytes_in, bytes_out)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
            ON CONFLICT (minute_ms, key, api, class) DO UPDATE SET
            requests = requests + ?5, bytes_in = bytes_in + ?6, bytes_out = bytes_out + ?7";
        let key = row.key.map_or(0, id_to_sql);
        let values = params![
            minute_ms,
            key,
            row.api,
            row.class,
            clamp(row.requests),
            clamp(row.bytes_in),
            clamp(row.bytes_out)
        ];
        sql::run(self.connection(), add, values)?;
        if key != 0 {
            let used = "INSERT INTO last_used (key, minute_ms) VALUES (?1, ?2)
                ON CONFLICT (key) DO UPDATE SET minute_ms = max(minute_ms, ?2)";
            sql::run(self.connection(), used, params![key, minute_ms])?;
        }
        Ok(())
    }
}
