//! Segments in, exactly once.

use super::functions;
use super::{Step, clamp};
use crate::store::keys::id_to_sql;
use crate::store::{StoreError, Tx, sql};
use keyway::record::segment::{Segment, SegmentRow};
use rusqlite::params;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// How long the last segment of a node's earlier start is remembered: far longer than a node keeps
/// trying to send one.
const BOOTS_KEPT_MS: u64 = 400 * 24 * 3_600 * 1_000;

/// What became of a segment. In each case it may be acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ingested {
    /// Added up.
    Added,
    /// It was added up before.
    Seen,
}

impl Tx<'_> {
    /// Adds a segment up, unless it was before; `body` is the segment as it came.
    pub fn usage_add(&mut self, segment: &Segment, body: &[u8]) -> Result<Ingested, StoreError> {
        let boot = segment.boot.cast_signed();
        let last = "SELECT sequence FROM usage_batches WHERE node = ?1 AND boot = ?2";
        let known = params![segment.node, boot];
        let last: Option<u64> = sql::one(self.connection(), last, known, |row| Ok(row.get(0)?))?;
        if segment.sequence <= last.unwrap_or(0) {
            return Ok(Ingested::Seen);
        }
        self.usage_note(segment, body)?;
        for step in Step::ALL {
            self.usage_sum(segment, step)?;
        }
        self.usage_last_used(&segment.rows)?;
        for client in &segment.refused_clients {
            let add = "INSERT INTO refused_clients (at, client, unauthorized) VALUES (?1, ?2, ?3)
                ON CONFLICT DO UPDATE SET unauthorized = unauthorized + ?3";
            let values = params![
                client.minute,
                client.client.to_string(),
                clamp(client.unauthorized)
            ];
            sql::run(self.connection(), add, values)?;
        }
        if segment.dropped_requests > 0 {
            let add = "INSERT INTO usage_dropped (node, at, requests) VALUES (?1, ?2, ?3)
                ON CONFLICT DO UPDATE SET requests = requests + ?3";
            let minute = segment.sealed_ms / 60_000;
            let dropped = clamp(segment.dropped_requests);
            sql::run(
                self.connection(),
                add,
                params![segment.node, minute, dropped],
            )?;
        }
        Ok(Ingested::Added)
    }

    fn usage_note(&mut self, segment: &Segment, body: &[u8]) -> Result<(), StoreError> {
        let (boot, now_ms) = (segment.boot.cast_signed(), self.now().0);
        let minutes = segment.rows.iter().map(|row| row.counted.minute);
        let (first, last) = (minutes.clone().min(), minutes.max());
        let keep = "INSERT INTO usage_segments
            (node, boot, sequence, received_ms, first_minute, last_minute, body)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        let values = params![
            segment.node,
            boot,
            clamp(segment.sequence),
            now_ms,
            first.unwrap_or(0),
            last.unwrap_or(0),
            body
        ];
        sql::run(self.connection(), keep, values)?;
        let note = "INSERT INTO usage_batches (node, boot, sequence, at_ms)
            VALUES (?1, ?2, ?3, ?4)
            ON CONFLICT (node, boot) DO UPDATE SET sequence = ?3, at_ms = ?4";
        let values = params![segment.node, boot, clamp(segment.sequence), now_ms];
        sql::run(self.connection(), note, values)?;
        let forget = "DELETE FROM usage_batches WHERE node = ?1 AND at_ms < ?2";
        let oldest_ms = now_ms.saturating_sub(BOOTS_KEPT_MS);
        sql::run(self.connection(), forget, params![segment.node, oldest_ms])?;
        for route in &segment.routes {
            let name = "INSERT INTO usage_routes (api, route, name) VALUES (?1, ?2, ?3)
                ON CONFLICT DO UPDATE SET name = ?3 WHERE name <> ?3";
            let values = params![route.api, route.route, route.name];
            sql::run(self.connection(), name, values)?;
        }
        Ok(())
    }

    /// Adds the rows of a segment to the sums of one step.
    pub(super) fn usage_sum(&mut self, segment: &Segment, step: Step) -> Result<(), StoreError> {
        let refusals = self.usage_refusals(segment)?;
        let add = format!(
            "INSERT INTO {} (at, key, api, route, class, refusal, requests, bytes_in, bytes_out,
            latency) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
            ON CONFLICT DO UPDATE SET requests = requests + ?7, bytes_in = bytes_in + ?8,
            bytes_out = bytes_out + ?9, latency = latency_merge(latency, ?10)",
            step.table()
        );
        for row in &segment.rows {
            let counted = &row.counted;
            let values = params![
                u64::from(counted.minute) / step.minutes(),
                counted.key.map_or(0, id_to_sql),
                counted.api,
                counted.route,
                counted.class,
                refusals.get(&counted.refusal).copied().unwrap_or(0),
                clamp(row.requests),
                clamp(row.bytes_in),
                clamp(row.bytes_out),
                functions::write(&row.latency)
            ];
            sql::run(self.connection(), &add, values)?;
        }
        Ok(())
    }

    /// The store's numbers of a segment's refusals, by the segment's.
    fn usage_refusals(&mut self, segment: &Segment) -> Result<HashMap<u8, i64>, StoreError> {
        let mut numbers = HashMap::new();
        for row in &segment.rows {
            let refusal = row.counted.refusal;
            let place = usize::from(refusal).checked_sub(1);
            let label = place.and_then(|place| segment.refusals.get(place));
            let Some(label) = label.filter(|_| !numbers.contains_key(&refusal)) else {
                continue;
            };
            let add = "INSERT OR IGNORE INTO usage_refusals (label) VALUES (?1)";
            sql::run(self.connection(), add, params![label])?;
            let select = "SELECT number FROM usage_refusals WHERE label = ?1";
            let number = sql::number(self.connection(), select, params![label])?;
            numbers.insert(refusal, clamp(number));
        }
        Ok(numbers)
    }

    fn usage_last_used(&mut self, rows: &[SegmentRow]) -> Result<(), StoreError> {
        let mut last: HashMap<i64, u32> = HashMap::new();
        for row in rows {
            if let Some(key) = row.counted.key {
                let minute = last.entry(id_to_sql(key)).or_default();
                *minute = row.counted.minute.max(*minute);
            }
        }
        let used = "INSERT INTO last_used (key, minute_ms) VALUES (?1, ?2)
            ON CONFLICT (key) DO UPDATE SET minute_ms = max(minute_ms, ?2)";
        for (key, minute) in last {
            let minute_ms = u64::from(minute) * 60_000;
            sql::run(self.connection(), used, params![key, minute_ms])?;
        }
        Ok(())
    }
}
