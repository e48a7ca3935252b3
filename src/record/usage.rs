//! Usage: who called what how often, counted exactly, per key, API and status class.
//!
//! A worker adds every answered request to its own [`Usage`] and hands the rows over once a
//! second. The rows are a plain vector beside an index, so the hand-over moves one vector and
//! costs the worker the same at ten rows and at a hundred thousand. [`link`](crate::link) merges
//! and ships them. Absent on purpose: money, windows and time series; control makes those.

use crate::snapshot::ids::KeyId;
use crossbeam::queue::SegQueue;
use hashbrown::HashTable;
use serde::{Deserialize, Serialize};

/// Rows a worker keeps while nobody fetches them; requests that would need another row are
/// counted as lost. Reached only when the link thread stands still: some 10 MiB.
pub const ROWS_MAX: usize = 262_144;

/// Hand-overs that may wait for the link thread; further rows stay with the worker and merge.
pub const HANDOVERS_MAX: usize = 4;

/// The way from one worker to the link thread.
pub type UsageQueue = SegQueue<Vec<UsageRow>>;

/// What is counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UsageKey {
    /// The key's public id; absent for requests without a key.
    pub key: Option<KeyId>,
    /// The API's number.
    pub api: u32,
    /// Status class 1 to 5; 0 when no answer was sent.
    pub class: u8,
}

/// One count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageRow {
    /// The key's public id; absent for requests without a key.
    pub key: Option<KeyId>,
    /// The API's number.
    pub api: u32,
    /// Status class 1 to 5; 0 when no answer was sent.
    pub class: u8,
    /// Requests.
    pub requests: u64,
    /// Bytes received from clients, heads included.
    pub bytes_in: u64,
    /// Bytes sent to clients, heads included.
    pub bytes_out: u64,
}

impl UsageRow {
    /// What this row counts together.
    pub const fn counted(&self) -> UsageKey {
        UsageKey {
            key: self.key,
            api: self.api,
            class: self.class,
        }
    }

    /// Adds another row of the same [`UsageKey`].
    pub fn add(&mut self, other: &UsageRow) {
        self.requests = self.requests.saturating_add(other.requests);
        self.bytes_in = self.bytes_in.saturating_add(other.bytes_in);
        self.bytes_out = self.bytes_out.saturating_add(other.bytes_out);
    }
}

/// Rows with an index; a worker's own count, and the link thread's merge of all workers.
#[derive(Debug, Default)]
pub struct Usage {
    rows: Vec<UsageRow>,
    /// Positions in `rows`.
    index: HashTable<usize>,
    hasher: ahash::RandomState,
    lost_requests: u64,
}

impl Usage {
    /// An empty count.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts one request.
    pub fn add(&mut self, counted: UsageKey, bytes_in: u64, bytes_out: u64) {
        let UsageKey { key, api, class } = counted;
        self.merge(
            &UsageRow {
                key,
                api,
                class,
                requests: 1,
                bytes_in,
                bytes_out,
            },
            ROWS_MAX,
        );
    }

    /// Adds a row; once there are `rows_max` different ones, a new one is counted as lost.
    pub fn merge(&mut self, row: &UsageRow, rows_max: usize) {
        let counted = row.counted();
        let hash = self.hasher.hash_one(counted);
        let rows = &self.rows;
        if let Some(&at) = self.index.find(hash, |&at| rows[at].counted() == counted) {
            self.rows[at].add(row);
        } else if self.rows.len() >= rows_max {
            self.lost_requests = self.lost_requests.saturating_add(row.requests);
        } else {
            let at = self.rows.len();
            self.rows.push(*row);
            let (rows, hasher) = (&self.rows, &self.hasher);
            self.index
                .insert_unique(hash, at, |&at| hasher.hash_one(rows[at].counted()));
        }
    }

    /// Different rows held.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// True if nothing was counted since the last take.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// All rows since the last take.
    pub fn take(&mut self) -> Vec<UsageRow> {
        self.index.clear();
        std::mem::take(&mut self.rows)
    }

    /// At most `rows_max` rows, the ones counted first last; the others stay.
    pub fn take_some(&mut self, rows_max: usize) -> Vec<UsageRow> {
        if self.rows.len() <= rows_max {
            return self.take();
        }
        let some = self.rows.split_off(self.rows.len() - rows_max);
        for (i, row) in some.iter().enumerate() {
            let at = self.rows.len() + i;
            let hash = self.hasher.hash_one(row.counted());
            if let Ok(entry) = self.index.find_entry(hash, |&found| found == at) {
                entry.remove();
            }
        }
        some
    }

    /// Moves the rows into `queue`, unless the link thread is behind by [`HANDOVERS_MAX`]: then
    /// they stay and merge, so that a stalled link thread costs a bounded amount of memory.
    pub fn hand_over(&mut self, queue: &UsageQueue) {
        if !self.is_empty() && queue.len() < HANDOVERS_MAX {
            queue.push(self.take());
        }
    }

    /// Requests that found no row since the last call of this function.
    pub fn take_lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost_requests)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn row(key: u64, api: u32, class: u8) -> UsageKey {
        UsageKey {
            key: KeyId::new(key),
            api,
            class,
        }
    }

    #[test]
    fn requests_of_one_key_api_and_class_share_a_row() {
        let mut usage = Usage::new();
        usage.add(row(7, 1, 2), 100, 1_000);
        usage.add(row(7, 1, 2), 10, 100);
        usage.add(row(7, 1, 4), 1, 1);
        let rows = usage.take();
        assert_eq!(rows.len(), 2);
        assert_eq!(
            (rows[0].requests, rows[0].bytes_in, rows[0].bytes_out),
            (2, 110, 1_100)
        );
        assert!(usage.is_empty());
    }

    #[test]
    fn rows_counted_after_a_take_start_from_zero() {
        let mut usage = Usage::new();
        usage.add(row(7, 1, 2), 1, 1);
        usage.take();
        usage.add(row(7, 1, 2), 1, 1);
        assert_eq!(usage.take()[0].requests, 1);
    }

    #[test]
    fn a_link_thread_that_is_behind_leaves_the_rows_with_the_worker() {
        let (mut usage, queue) = (Usage::new(), UsageQueue::new());
        for _ in 0..HANDOVERS_MAX + 3 {
            usage.add(row(7, 1, 2), 1, 1);
            usage.hand_over(&queue);
        }
        assert_eq!(queue.len(), HANDOVERS_MAX);
        assert_eq!(usage.take()[0].requests, 3);
    }

    #[test]
    fn a_full_count_says_how_many_requests_it_lost() {
        let mut usage = Usage::new();
        for key in (0..5).map(KeyId::new) {
            let row = UsageRow {
                key,
                api: 1,
                class: 2,
                requests: 3,
                bytes_in: 0,
                bytes_out: 0,
            };
            usage.merge(&row, 4);
        }
        assert_eq!(
            (usage.len(), usage.take_lost(), usage.take_lost()),
            (4, 3, 0)
        );
    }

    proptest! {
        #[test]
        fn every_request_is_counted_once_however_it_is_taken(
            calls in prop::collection::vec(
                (0u64..5, 0u32..3, 0u8..6, 0u64..9, prop::option::of(0..40usize)),
                0..300,
            )
        ) {
            let mut model: BTreeMap<UsageKey, (u64, u64)> = BTreeMap::new();
            let mut seen: BTreeMap<UsageKey, (u64, u64)> = BTreeMap::new();
            let mut usage = Usage::new();
            let mut collect = |rows: Vec<UsageRow>| for row in rows {
                let entry = seen.entry(row.counted()).or_default();
                *entry = (entry.0 + row.requests, entry.1 + row.bytes_in);
            };
            for (key, api, class, bytes, take) in calls {
                usage.add(row(key, api, class), bytes, 0);
                let entry = model.entry(row(key, api, class)).or_default();
                *entry = (entry.0 + 1, entry.1 + bytes);
                if let Some(rows_max) = take {
                    let rows = usage.take_some(rows_max);
                    prop_assert!(rows.len() <= rows_max);
                    collect(rows);
                }
            }
            collect(usage.take());
            prop_assert_eq!(seen, model);
        }
    }
}
