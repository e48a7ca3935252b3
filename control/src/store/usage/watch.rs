//! What alert rules ask: who is above a bound, and how much of a quota is used. The bound goes into
//! the question, so that of a million keys only those come back that are told of.

use super::{Dimension, Step, clamp, first_minute};
use crate::domain::{Bound, CountedBy, LimitSpec, Shape, Watched};
use crate::store::keys::id_from_sql;
use crate::store::{Finding, Rows, StoreError, sql};
use keyway::limit::Calendar;
use keyway::record::counters::REFUSALS;
use keyway::snapshot::catalog::{LimitSubject, LimitUnit};
use rusqlite::types::Value;
use rusqlite::{Row, params};

/// Most findings of one question.
pub const FINDINGS_MAX: u32 = 10_000;

/// A question of a rule that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watch {
    /// What is counted; never a quota.
    pub watched: Watched,
    /// Only refusals with this label.
    pub cause: Option<&'static str>,
    /// Whose.
    pub by: CountedBy,
    /// From where on it is told.
    pub bound: Bound,
    /// How many minutes back, the running one included.
    pub minutes: u32,
}

/// Whose limit a quota is, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuotaOwner {
    /// A plan's.
    Plan(u32),
    /// An API's.
    Api(u32),
}

impl Watch {
    /// The condition on a row that is counted.
    fn condition(&self) -> String {
        match (self.watched, self.cause) {
            (Watched::Errors, _) => "class = 5".to_owned(),
            (Watched::Unauthorized, _) => {
                let is_401 = |label: &&str| REFUSALS.iter().any(|r| is_label_of_401(r, label));
                let labels = REFUSALS.iter().map(|refusal| refusal.face().label);
                let labels: Vec<String> = labels.filter(is_401).map(quoted).collect();
                format!(
                    "coalesce(usage_refusals.label, '') IN ({})",
                    labels.join(", ")
                )
            }
            (_, Some(label)) => {
                format!("coalesce(usage_refusals.label, '') = {}", quoted(label))
            }
            (_, None) => "u.refusal <> 0".to_owned(),
        }
    }

    fn subject(&self) -> &'static str {
        match self.by {
            CountedBy::All | CountedBy::Address => "''",
            CountedBy::Key => Dimension::Key.expression(),
            CountedBy::App => Dimension::App.expression(),
            CountedBy::Tenant => Dimension::Tenant.expression(),
            CountedBy::Api => Dimension::Api.expression(),
            CountedBy::Route => Dimension::Route.expression(),
        }
    }
}

fn is_label_of_401(refusal: &keyway::refusal::Refusal, label: &str) -> bool {
    let face = refusal.face();
    face.status == 401 && face.label == label
}

/// A label of ours as SQL writes it: letters and underscores.
fn quoted(label: &str) -> String {
    format!("'{label}'")
}

impl Rows<'_> {
    /// Subjects above a bound in the last minutes, the highest first; at most [`FINDINGS_MAX`].
    pub fn usage_above(&self, watch: &Watch, now_ms: u64) -> Result<Vec<Finding>, StoreError> {
        let first = first_minute(now_ms, watch.minutes);
        let above = watch.bound.above.map_or(0, clamp);
        if watch.by == CountedBy::Address {
            let select = "SELECT client AS subject, sum(unauthorized) AS value,
                sum(unauthorized) AS total FROM refused_clients WHERE at >= ?1
                GROUP BY client HAVING value > ?2 ORDER BY value DESC, 1 LIMIT ?3";
            let values = params![first, above, FINDINGS_MAX];
            return sql::all(self.connection(), select, values, finding);
        }
        let select = format!(
            "SELECT {} AS subject, sum(CASE WHEN {} THEN requests ELSE 0 END) AS value,
            sum(requests) AS total FROM usage_minutes AS u
            LEFT JOIN keys ON keys.id = u.key LEFT JOIN apps ON apps.number = keys.app
            LEFT JOIN tenants ON tenants.number = apps.tenant
            LEFT JOIN apis ON apis.number = u.api
            LEFT JOIN usage_routes ON usage_routes.api = u.api AND usage_routes.route = u.route
            LEFT JOIN usage_refusals ON usage_refusals.number = u.refusal
            WHERE u.at >= ?1 GROUP BY 1 HAVING subject IS NOT NULL AND value > ?2
            AND total >= ?3 AND value * 1000000.0 > total * ?4
            ORDER BY value DESC, 1 LIMIT ?5",
            watch.subject(),
            watch.condition()
        );
        let share = watch
            .bound
            .above_share
            .map_or(0, |share| share.millionths());
        let requests_min = clamp(watch.bound.requests_min);
        let values = params![first, above, requests_min, share, FINDINGS_MAX];
        sql::all(self.connection(), &select, values, finding)
    }

    /// Subjects that have used up at least so many per cent of a calendar quota in the window that
    /// runs, the highest first; at most [`FINDINGS_MAX`]. None for another limit, and for one of
    /// addresses, which are not counted one by one.
    ///
    /// Usage is kept by the hour (UTC): where a zone's days begin at half an hour, the whole hour
    /// counts.
    pub fn quota_above(
        &self,
        owner: QuotaOwner,
        limit: &LimitSpec,
        percent: u32,
        now_ms: u64,
    ) -> Result<Vec<Finding>, StoreError> {
        let (
            Shape::Quota {
                units,
                window,
                zone,
            },
            Some(subject),
        ) = (&limit.shape, quota_subject(limit.subject))
        else {
            return Ok(Vec::new());
        };
        let calendar = Calendar::new(*window, zone)
            .map_err(|error| StoreError::Corrupt(format!("limit `{}`: {error}", limit.name)))?;
        let (begins_ms, ends_ms) = calendar.bounds_ms(keyway::clock::WallTime(now_ms));
        let used = match limit.unit {
            // As a hold counts: what the gateway let through, and what failed behind it.
            LimitUnit::Requests => {
                "CASE WHEN u.refusal = 0 OR u.class = 5 THEN requests ELSE 0 END"
            }
            LimitUnit::BytesIn => "bytes_in",
            LimitUnit::BytesOut => "bytes_out",
        };
        let (whose, owner) = match owner {
            QuotaOwner::Plan(plan) => (
                "JOIN subscriptions AS s ON s.app = keys.app AND s.api = u.api
                AND s.plan = ?1 AND s.state = 'approved'
                WHERE keys.unlimited = 0 AND apps.unlimited = 0",
                plan,
            ),
            QuotaOwner::Api(api) => ("WHERE u.api = ?1", api),
        };
        let select = format!(
            "WITH u AS (
                SELECT key, api, class, refusal, requests, bytes_in, bytes_out FROM usage_days
                WHERE at >= ?4 AND at < ?5 UNION ALL
                SELECT key, api, class, refusal, requests, bytes_in, bytes_out FROM usage_hours
                WHERE (at >= ?6 AND at < ?7) OR (at >= ?8 AND at < ?9))
            SELECT coalesce({subject}, 'no key') AS subject, sum({used}) AS value, ?2 AS total
            FROM u LEFT JOIN keys ON keys.id = u.key LEFT JOIN apps ON apps.number = keys.app
            LEFT JOIN tenants ON tenants.number = apps.tenant
            LEFT JOIN apis ON apis.number = u.api {whose}
            GROUP BY 1 HAVING value > 0 AND value * 100.0 >= ?2 * ?3
            ORDER BY value DESC, 1 LIMIT {FINDINGS_MAX}"
        );
        let [days, before, after] = parts(begins_ms, ends_ms);
        let values = params![
            owner,
            clamp(*units),
            percent,
            days.0,
            days.1,
            before.0,
            before.1,
            after.0,
            after.1
        ];
        sql::all(self.connection(), &select, values, finding)
    }
}

/// A window as whole days, the hours before them and those after them, each from and to.
fn parts(begins_ms: u64, ends_ms: u64) -> [(u64, u64); 3] {
    let hours = (
        begins_ms / Step::Hour.ms(),
        ends_ms.div_ceil(Step::Hour.ms()),
    );
    let days = (hours.0.div_ceil(24), hours.1 / 24);
    match days.0 < days.1 {
        true => [days, (hours.0, days.0 * 24), (days.1 * 24, hours.1)],
        false => [(0, 0), hours, (0, 0)],
    }
}

fn quota_subject(subject: LimitSubject) -> Option<&'static str> {
    Some(match subject {
        LimitSubject::Key => Dimension::Key.expression(),
        LimitSubject::App => Dimension::App.expression(),
        LimitSubject::Tenant => Dimension::Tenant.expression(),
        LimitSubject::Api => Dimension::Api.expression(),
        LimitSubject::Address => return None,
    })
}

fn finding(row: &Row<'_>) -> Result<Finding, StoreError> {
    Ok(Finding {
        subject: match row.get("subject")? {
            Value::Integer(key) => id_from_sql(key)?.to_string(),
            Value::Text(name) => name,
            _ => return Err(StoreError::Corrupt("column `subject`".to_owned())),
        },
        quota: String::new(),
        level: 0,
        value: row.get("value")?,
        total: row.get("total")?,
    })
}

#[cfg(test)]
mod tests {
    use super::parts;

    const HOUR: u64 = 3_600_000;

    #[test]
    fn a_window_is_cut_into_days_and_the_hours_around_them() {
        assert_eq!(
            parts(48 * HOUR, 96 * HOUR),
            [(2, 4), (48, 48), (96, 96)],
            "whole days"
        );
        assert_eq!(
            parts(22 * HOUR, 70 * HOUR),
            [(1, 2), (22, 24), (48, 70)],
            "a zone east of Greenwich"
        );
        assert_eq!(parts(22 * HOUR, 46 * HOUR), [(0, 0), (22, 46), (0, 0)]);
        assert_eq!(parts(5 * HOUR, 6 * HOUR), [(0, 0), (5, 6), (0, 0)]);
        let half = HOUR / 2;
        assert_eq!(parts(5 * HOUR + half, 6 * HOUR + half)[1], (5, 7));
    }
}
