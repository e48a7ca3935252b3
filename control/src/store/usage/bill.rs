//! Usage by subscription, for billing.

use super::{Step, clamp};
use crate::domain::{Name, Price};
use crate::store::{Rows, StoreError, sql};
use rusqlite::params;

/// What one subscription used in a period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BilledUsage {
    /// The app's tenant.
    pub tenant: Name,
    /// The app.
    pub app: Name,
    /// The API.
    pub api: Name,
    /// The plan that it has now.
    pub plan: Name,
    /// What that plan costs.
    pub price: Option<Price>,
    /// All requests.
    pub requests: u64,
    /// Those that count: answered by a target, with a status below 500.
    pub billable: u64,
    /// Bytes from clients.
    pub bytes_in: u64,
    /// Bytes to clients.
    pub bytes_out: u64,
}

impl Rows<'_> {
    /// What each subscription in force used from one hour to another.
    pub fn usage_billed(&self, from_ms: u64, to_ms: u64) -> Result<Vec<BilledUsage>, StoreError> {
        let select = "WITH used AS (
                SELECT keys.app AS app, u.api AS api, sum(requests) AS requests,
                sum(CASE WHEN refusal = 0 AND class BETWEEN 1 AND 4 THEN requests ELSE 0 END)
                AS billable, sum(bytes_in) AS bytes_in, sum(bytes_out) AS bytes_out
                FROM usage_hours AS u JOIN keys ON keys.id = u.key
                WHERE u.at >= ?1 AND u.at < ?2 GROUP BY keys.app, u.api)
            SELECT tenants.name AS tenant, apps.name AS app, apis.name AS api, plans.name AS plan,
            plans.price AS price, coalesce(used.requests, 0) AS requests,
            coalesce(used.billable, 0) AS billable, coalesce(used.bytes_in, 0) AS bytes_in,
            coalesce(used.bytes_out, 0) AS bytes_out
            FROM subscriptions AS s JOIN apps ON apps.number = s.app
            JOIN tenants ON tenants.number = apps.tenant JOIN apis ON apis.number = s.api
            JOIN plans ON plans.number = s.plan
            LEFT JOIN used ON used.app = s.app AND used.api = s.api
            WHERE s.state IN ('approved', 'suspended') AND apps.deleted_ms IS NULL
            ORDER BY tenants.name, apps.name, apis.name";
        let hour = Step::Hour.ms();
        let values = params![clamp(from_ms / hour), clamp(to_ms.div_ceil(hour))];
        sql::all(self.connection(), select, values, |row| {
            let price: Option<String> = row.get("price")?;
            Ok(BilledUsage {
                tenant: sql::word(row, "tenant")?,
                app: sql::word(row, "app")?,
                api: sql::word(row, "api")?,
                plan: sql::word(row, "plan")?,
                price: price.map(|_| sql::json(row, "price")).transpose()?,
                requests: row.get("requests")?,
                billable: row.get("billable")?,
                bytes_in: row.get("bytes_in")?,
                bytes_out: row.get("bytes_out")?,
            })
        })
    }
}
