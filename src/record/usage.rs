//! Usage: who called what how often, counted exactly: per minute, key, route, status class and cause
//! of refusal, with bytes and latencies.
//!
//! A worker adds every request to its own [`Usage`] and hands the rows over once a second. The
//! rows are a plain vector beside an index, so the hand-over moves one vector and
//! costs the worker the same at ten rows and at a hundred thousand. The [`spool`](crate::spool) merges
//! them, keeps them and ships them. Absent on purpose: money, windows and time series; control
//! makes those.

use super::latency::Latency;
use super::refused_clients::RefusedClients;
use super::segment::{Counted, RefusedClient, SegmentRow};
use crossbeam::queue::SegQueue;
use hashbrown::HashTable;

/// Rows a worker keeps while nobody fetches them; requests that would need another row are
/// counted as lost. Reached only when the spool stands still: some 40 MiB.
pub const ROWS_MAX: usize = 262_144;

/// Hand-overs that may wait for the spool; further rows stay with the worker and merge.
pub const HANDOVERS_MAX: usize = 4;

/// What a worker hands over.
#[derive(Debug, Default)]
pub struct UsageNews {
    /// The counts; none stands twice.
    pub rows: Vec<SegmentRow>,
    /// Where refused credentials came from.
    pub refused_clients: Vec<RefusedClient>,
}

/// The way from one worker to the spool.
pub type UsageQueue = SegQueue<UsageNews>;

/// Rows with an index: a worker's own count, and the spool's merge of all workers.
#[derive(Debug, Default)]
pub struct Usage {
    rows: Vec<SegmentRow>,
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

    /// Counts one request; a tunnel has no latency.
    pub fn add(
        &mut self,
        counted: Counted,
        bytes_in: u64,
        bytes_out: u64,
        duration_ns: Option<u64>,
    ) {
        let Some(row) = self.row(counted, ROWS_MAX) else {
            self.lost_requests = self.lost_requests.saturating_add(1);
            return;
        };
        row.requests = row.requests.saturating_add(1);
        row.bytes_in = row.bytes_in.saturating_add(bytes_in);
        row.bytes_out = row.bytes_out.saturating_add(bytes_out);
        if let Some(duration_ns) = duration_ns {
            row.latency.add(duration_ns);
        }
    }

    /// Adds a row; once there are `rows_max` different ones, the requests of a new one are counted as
    /// lost.
    pub fn merge(&mut self, other: &SegmentRow, rows_max: usize) {
        let Some(row) = self.row(other.counted, rows_max) else {
            self.lost_requests = self.lost_requests.saturating_add(other.requests);
            return;
        };
        row.requests = row.requests.saturating_add(other.requests);
        row.bytes_in = row.bytes_in.saturating_add(other.bytes_in);
        row.bytes_out = row.bytes_out.saturating_add(other.bytes_out);
        row.latency.merge(&other.latency);
    }

    /// The row that counts this, a new one if need be; `None` if there is no room for it.
    #[inline]
    fn row(&mut self, counted: Counted, rows_max: usize) -> Option<&mut SegmentRow> {
        let hash = self.hasher.hash_one(counted);
        let rows = &self.rows;
        if let Some(&at) = self.index.find(hash, |&at| rows[at].counted == counted) {
            return self.rows.get_mut(at);
        }
        if self.rows.len() >= rows_max {
            return None;
        }
        let at = self.rows.len();
        self.rows.push(SegmentRow {
            counted,
            requests: 0,
            bytes_in: 0,
            bytes_out: 0,
            latency: Latency::default(),
        });
        let (rows, hasher) = (&self.rows, &self.hasher);
        self.index
            .insert_unique(hash, at, |&at| hasher.hash_one(rows[at].counted));
        self.rows.last_mut()
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
    pub fn rows(&self) -> &[SegmentRow] {
        &self.rows
    }

    /// Takes all rows since the last take.
    pub fn take(&mut self) -> Vec<SegmentRow> {
        self.index.clear();
        std::mem::take(&mut self.rows)
    }

    /// Moves the rows into `queue`, unless the spool is behind by [`HANDOVERS_MAX`]: then
    /// they stay and merge, so that a stalled spool costs a bounded amount of memory.
    pub fn hand_over(&mut self, queue: &UsageQueue, refused: &mut RefusedClients) {
        if !self.is_empty() && queue.len() < HANDOVERS_MAX {
            queue.push(UsageNews {
                rows: self.take(),
                refused_clients: refused.take(),
            });
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
    use crate::snapshot::ids::KeyId;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn counted(key: u64, api: u32, class: u8) -> Counted {
        Counted {
            minute: 1,
            key: KeyId::new(key),
            api,
            route: 9,
            class,
            refusal: 0,
        }
    }

    #[test]
    fn requests_that_agree_in_what_is_counted_share_a_row() {
        let mut usage = Usage::new();
        usage.add(counted(7, 1, 2), 100, 1_000, Some(5_000));
        usage.add(counted(7, 1, 2), 10, 100, None);
        usage.add(counted(7, 1, 4), 1, 1, Some(1));
        let rows = usage.take();
        assert_eq!(rows.len(), 2);
        assert_eq!(
            (rows[0].requests, rows[0].bytes_in, rows[0].bytes_out),
            (2, 110, 1_100)
        );
        assert_eq!(rows[0].latency.count(), 1);
        assert!(usage.is_empty());
    }

    #[test]
    fn rows_counted_after_a_take_start_from_zero() {
        let mut usage = Usage::new();
        usage.add(counted(7, 1, 2), 1, 1, None);
        usage.take();
        usage.add(counted(7, 1, 2), 1, 1, None);
        assert_eq!(usage.take()[0].requests, 1);
    }

    #[test]
    fn a_spool_that_is_behind_leaves_the_rows_with_the_worker() {
        let (mut usage, queue) = (Usage::new(), UsageQueue::new());
        for _ in 0..HANDOVERS_MAX + 3 {
            usage.add(counted(7, 1, 2), 1, 1, None);
            usage.hand_over(&queue, &mut RefusedClients::default());
        }
        assert_eq!(queue.len(), HANDOVERS_MAX);
        assert_eq!(usage.take()[0].requests, 3);
    }

    #[test]
    fn a_full_count_says_how_many_requests_it_lost() {
        let mut usage = Usage::new();
        let mut one = Usage::new();
        (0..3).for_each(|_| one.add(counted(0, 1, 2), 0, 0, None));
        let [row] = &one.take()[..] else {
            panic!("one row");
        };
        for key in 0..5 {
            let row = SegmentRow {
                counted: counted(key, 1, 2),
                ..row.clone()
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
        fn every_request_is_counted_once_however_it_is_taken_and_merged(
            calls in prop::collection::vec(
                (0u64..5, 0u32..3, 0u8..6, 0u64..9, prop::bool::weighted(0.1)),
                0..300,
            )
        ) {
            let mut model: BTreeMap<Counted, (u64, u64)> = BTreeMap::new();
            let (mut usage, mut merged) = (Usage::new(), Usage::new());
            for (key, api, class, bytes, take) in calls {
                usage.add(counted(key, api, class), bytes, 0, Some(bytes));
                let entry = model.entry(counted(key, api, class)).or_default();
                *entry = (entry.0 + 1, entry.1 + bytes);
                if take {
                    usage.take().iter().for_each(|row| merged.merge(row, 100));
                }
            }
            usage.take().iter().for_each(|row| merged.merge(row, 100));
            let seen: BTreeMap<_, _> = merged
                .take()
                .into_iter()
                .inspect(|row| assert_eq!(row.latency.count(), row.requests))
                .map(|row| (row.counted, (row.requests, row.bytes_in)))
                .collect();
            prop_assert_eq!(seen, model);
        }
    }
}
