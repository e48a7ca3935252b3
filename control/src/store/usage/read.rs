//! Sums out: who called what how often, by any dimension.

use super::functions;
use super::{Step, clamp};
use crate::domain::{KeyId, Name};
use crate::store::keys::{id_from_sql, id_to_sql};
use crate::store::{Rows, StoreError, sql};
use keyway::record::latency::Latency;
use rusqlite::types::Value;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Most rows that one question reads; beyond it, it has to be narrowed.
const ROWS_MAX: usize = 200_000;

/// What usage is told by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Dimension {
    /// Each key, by its id.
    Key,
    /// Each app, as `tenant/app`.
    App,
    /// Each tenant.
    Tenant,
    /// Each API.
    Api,
    /// Each route, as `api METHODS path`.
    Route,
}

impl Dimension {
    /// The expression that names it; null where a request had none.
    pub(super) const fn expression(self) -> &'static str {
        match self {
            Self::Key => "nullif(u.key, 0)",
            Self::App => "tenants.name || '/' || apps.name",
            Self::Tenant => "tenants.name",
            Self::Api => "coalesce(apis.name, '#' || nullif(u.api, 0))",
            Self::Route => {
                "coalesce(apis.name, '#' || nullif(u.api, 0)) || ' ' || coalesce(usage_routes.name, '')"
            }
        }
    }
}

/// Which usage; every field narrows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageFilter {
    /// By this key.
    pub key: Option<KeyId>,
    /// By keys of this tenant.
    pub tenant: Option<Name>,
    /// By keys of this app of the tenant.
    pub app: Option<Name>,
    /// Of this API.
    pub api: Option<Name>,
    /// From this moment on, milliseconds since the epoch; the step that it is in counts whole.
    pub from_ms: u64,
    /// Before this moment.
    pub to_ms: u64,
}

/// What was counted of one subject in one step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageSum {
    /// Start of the step, milliseconds since the epoch; 0 where all steps are summed up.
    pub at_ms: u64,
    /// Of what; none: of all, or of what has none.
    pub subject: Option<String>,
    /// Requests.
    pub requests: u64,
    /// Requests by the first digit of their status, 0 for no answer.
    pub by_class: [u64; 6],
    /// Requests that the gateway refused, by cause.
    pub refusals: BTreeMap<String, u64>,
    /// Bytes from clients.
    pub bytes_in: u64,
    /// Bytes to clients.
    pub bytes_out: u64,
    /// Latencies.
    pub latency: Latency,
}

impl UsageSum {
    /// Adds what another one counted.
    pub fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
        for (sum, count) in self.by_class.iter_mut().zip(other.by_class) {
            *sum += count;
        }
        for (label, count) in &other.refusals {
            *self.refusals.entry(label.clone()).or_default() += count;
        }
        self.latency.merge(&other.latency);
    }
}

impl Rows<'_> {
    /// Usage by step and dimension, the oldest first; with `whole`, all steps in one.
    pub fn usage(
        &self,
        filter: &UsageFilter,
        by: Option<Dimension>,
        step: Step,
        whole: bool,
    ) -> Result<Vec<UsageSum>, StoreError> {
        let at = if whole { "0" } else { "u.at" };
        let subject = by.map_or("NULL", Dimension::expression);
        let (conditions, values) = conditions(filter, step);
        let select = format!(
            "SELECT {at} AS at, {subject} AS subject, class, coalesce(usage_refusals.label, '') AS label,
            sum(requests) AS requests, sum(bytes_in) AS bytes_in, sum(bytes_out) AS bytes_out,
            latency_sum(latency) AS latency FROM {} AS u
            LEFT JOIN keys ON keys.id = u.key LEFT JOIN apps ON apps.number = keys.app
            LEFT JOIN tenants ON tenants.number = apps.tenant
            LEFT JOIN apis ON apis.number = u.api
            LEFT JOIN usage_routes ON usage_routes.api = u.api AND usage_routes.route = u.route
            LEFT JOIN usage_refusals ON usage_refusals.number = u.refusal
            WHERE {conditions} GROUP BY 1, 2, class, u.refusal ORDER BY 1, 2",
            step.table()
        );
        let mut statement = self.connection().prepare_cached(&select)?;
        let mut rows = statement.query(rusqlite::params_from_iter(values))?;
        let mut sums: Vec<UsageSum> = Vec::new();
        let mut read = 0;
        while let Some(row) = rows.next()? {
            read += 1;
            if read > ROWS_MAX {
                return Err(StoreError::TooMuch);
            }
            let at: u64 = row.get("at")?;
            let subject = match row.get("subject")? {
                Value::Null => None,
                Value::Integer(key) => Some(id_from_sql(key)?.to_string()),
                Value::Text(name) => Some(name),
                _ => return Err(StoreError::Corrupt("column `subject`".to_owned())),
            };
            let at_ms = at * step.ms();
            let is_same = |sum: &&mut UsageSum| sum.at_ms == at_ms && sum.subject == subject;
            if sums.last_mut().filter(is_same).is_none() {
                sums.push(UsageSum {
                    at_ms,
                    subject,
                    ..UsageSum::default()
                });
            }
            let Some(sum) = sums.last_mut() else { continue };
            sum.add(&one(row)?);
        }
        Ok(sums)
    }

    /// Requests that nodes counted and had to drop, by node.
    pub fn usage_dropped(
        &self,
        from_ms: u64,
        to_ms: u64,
    ) -> Result<Vec<(String, u64)>, StoreError> {
        let select = "SELECT node, sum(requests) FROM usage_dropped WHERE at >= ?1 AND at < ?2
            GROUP BY node ORDER BY node";
        let values = rusqlite::params![clamp(from_ms / 60_000), clamp(to_ms.div_ceil(60_000))];
        sql::all(self.connection(), select, values, |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
    }

    /// Where refused credentials came from, the loudest first.
    pub fn refused_clients(
        &self,
        from_ms: u64,
        to_ms: u64,
        rows_max: u32,
    ) -> Result<Vec<(String, u64)>, StoreError> {
        let select = "SELECT client, sum(unauthorized) AS n FROM refused_clients
            WHERE at >= ?1 AND at < ?2 GROUP BY client ORDER BY n DESC, client LIMIT ?3";
        let values = rusqlite::params![
            clamp(from_ms / 60_000),
            clamp(to_ms.div_ceil(60_000)),
            rows_max
        ];
        sql::all(self.connection(), select, values, |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
    }
}

fn conditions(filter: &UsageFilter, step: Step) -> (String, Vec<Value>) {
    let mut conditions = vec!["u.at >= ?", "u.at < ?"];
    let mut values: Vec<Value> = vec![
        clamp(filter.from_ms / step.ms()).into(),
        clamp(filter.to_ms.div_ceil(step.ms())).into(),
    ];
    if let Some(key) = filter.key {
        conditions.push("u.key = ?");
        values.push(id_to_sql(key).into());
    }
    for (condition, name) in [
        ("tenants.name = ?", &filter.tenant),
        ("apps.name = ?", &filter.app),
        ("apis.name = ?", &filter.api),
    ] {
        if let Some(name) = name {
            conditions.push(condition);
            values.push(name.to_string().into());
        }
    }
    (conditions.join(" AND "), values)
}

fn one(row: &rusqlite::Row<'_>) -> Result<UsageSum, StoreError> {
    let requests: u64 = row.get("requests")?;
    let (class, label): (usize, String) = (row.get("class")?, row.get("label")?);
    let latency = row.get_ref("latency")?;
    let mut sum = UsageSum {
        requests,
        bytes_in: row.get("bytes_in")?,
        bytes_out: row.get("bytes_out")?,
        latency: functions::read(latency.as_blob().unwrap_or(&[])),
        ..UsageSum::default()
    };
    if let Some(count) = sum.by_class.get_mut(class) {
        *count = requests;
    }
    if !label.is_empty() {
        sum.refusals.insert(label, requests);
    }
    Ok(sum)
}
