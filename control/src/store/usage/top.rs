//! Who calls most right now: a few, however many there are.

use super::first_minute;
use crate::store::keys::id_from_sql;
use crate::store::{Rows, StoreError, sql};
use rusqlite::params;

/// One that calls much.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopCaller {
    /// The key's id; empty where apps are asked for.
    pub key: String,
    /// The app, as `tenant/app`; empty where the key is not in the store.
    pub app: String,
    /// Requests.
    pub requests: u64,
    /// Of these, those answered with 5xx or refused by the gateway.
    pub failures: u64,
}

const FAILURES: &str = "sum(CASE WHEN class = 5 OR refusal <> 0 THEN requests ELSE 0 END)";

impl Rows<'_> {
    /// The keys with most requests in the last minutes.
    pub fn usage_top_keys(
        &self,
        now_ms: u64,
        minutes: u32,
        most: u32,
    ) -> Result<Vec<TopCaller>, StoreError> {
        // Names are looked up for the few that are left.
        let select = format!(
            "WITH u AS (SELECT key, sum(requests) AS n, {FAILURES} AS failures FROM usage_minutes
                WHERE at >= ?1 AND key <> 0 GROUP BY key ORDER BY n DESC, key LIMIT ?2)
            SELECT u.key, coalesce(tenants.name || '/' || apps.name, ''), n, failures
            FROM u LEFT JOIN keys ON keys.id = u.key LEFT JOIN apps ON apps.number = keys.app
            LEFT JOIN tenants ON tenants.number = apps.tenant ORDER BY n DESC, u.key"
        );
        let values = params![first_minute(now_ms, minutes), most];
        sql::all(self.connection(), &select, values, |row| {
            Ok(TopCaller {
                key: id_from_sql(row.get(0)?)?.to_string(),
                app: row.get(1)?,
                requests: row.get(2)?,
                failures: row.get(3)?,
            })
        })
    }

    /// The apps with most requests in the last minutes.
    pub fn usage_top_apps(
        &self,
        now_ms: u64,
        minutes: u32,
        most: u32,
    ) -> Result<Vec<TopCaller>, StoreError> {
        let select = format!(
            "SELECT tenants.name || '/' || apps.name AS app, sum(requests) AS n,
            {FAILURES} AS failures FROM usage_minutes AS u JOIN keys ON keys.id = u.key
            JOIN apps ON apps.number = keys.app JOIN tenants ON tenants.number = apps.tenant
            WHERE u.at >= ?1 GROUP BY keys.app ORDER BY n DESC, 1 LIMIT ?2"
        );
        let values = params![first_minute(now_ms, minutes), most];
        sql::all(self.connection(), &select, values, |row| {
            Ok(TopCaller {
                key: String::new(),
                app: row.get(0)?,
                requests: row.get(1)?,
                failures: row.get(2)?,
            })
        })
    }

    /// When each node's usage was added up last, milliseconds since the epoch.
    pub fn usage_segments_last(&self) -> Result<Vec<(String, u64)>, StoreError> {
        let select = "SELECT node, max(at_ms) FROM usage_batches GROUP BY node ORDER BY node";
        sql::all(self.connection(), select, &[], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
    }
}
