//! Usage on its way to control, counted exactly once.
//!
//! Rows of all workers are merged while they wait. One batch at a time travels; it keeps
//! its rows and its sequence until control acknowledges it, through any number of connections, so
//! control can tell a batch it has seen from a new one. Rows that wait are bounded by
//! [`PENDING_ROWS_MAX`]; what finds no room is counted. Absent on purpose: a disk. What
//! waits when the process dies is lost with it.

use super::protocol::{NodeMessage, USAGE_ROWS_MAX};
use crate::record::usage::UsageQueue;
use crate::record::{Usage, UsageRow};

/// Different rows kept while control is away: at most some 64 MiB.
pub const PENDING_ROWS_MAX: usize = 1 << 20;

/// The state of the shipment.
#[derive(Debug)]
pub struct Shipper {
    boot: u64,
    waiting: Usage,
    traveling: Option<Batch>,
    /// The sequence of the last batch made.
    sequence: u64,
    rows_max: usize,
}

#[derive(Debug)]
struct Batch {
    sequence: u64,
    rows: Vec<UsageRow>,
}

impl Shipper {
    /// Nothing to ship yet; `boot` names this process's start.
    pub fn new(boot: u64) -> Self {
        Self::with_rows_max(boot, PENDING_ROWS_MAX)
    }

    fn with_rows_max(boot: u64, rows_max: usize) -> Self {
        Self {
            boot,
            waiting: Usage::new(),
            traveling: None,
            sequence: 0,
            rows_max,
        }
    }

    /// Takes in what a worker handed over; returns the requests that found no room.
    pub fn collect(&mut self, queue: &UsageQueue) -> u64 {
        while let Some(rows) = queue.pop() {
            for row in &rows {
                self.waiting.merge(row, self.rows_max);
            }
        }
        self.waiting.take_lost()
    }

    /// The next batch to send: none while one travels or nothing waits.
    pub fn next(&mut self) -> Option<NodeMessage> {
        if self.traveling.is_some() || self.waiting.is_empty() {
            return None;
        }
        self.sequence += 1;
        let rows = self.waiting.take_some(USAGE_ROWS_MAX);
        self.traveling = Some(Batch {
            sequence: self.sequence,
            rows,
        });
        self.again()
    }

    /// The batch that travels, to be sent again on a new connection.
    pub fn again(&self) -> Option<NodeMessage> {
        let batch = self.traveling.as_ref()?;
        let (sequence, rows) = (batch.sequence, batch.rows.clone());
        Some(NodeMessage::Usage {
            boot: self.boot,
            sequence,
            rows,
        })
    }

    /// Control has the batch. Returns its requests; zero for an acknowledgment of anything else.
    pub fn acknowledged(&mut self, boot: u64, sequence: u64) -> u64 {
        match self
            .traveling
            .take_if(|batch| boot == self.boot && batch.sequence == sequence)
        {
            Some(batch) => batch.rows.iter().map(|row| row.requests).sum(),
            None => 0,
        }
    }

    /// Rows that control has not acknowledged.
    pub fn rows(&self) -> usize {
        self.waiting.len() + self.traveling.as_ref().map_or(0, |batch| batch.rows.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::ids::KeyId;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, HashSet};

    fn row(key: u64, requests: u64) -> UsageRow {
        let key = KeyId::new(key);
        UsageRow {
            key,
            api: 1,
            class: 2,
            requests,
            bytes_in: requests,
            bytes_out: 0,
        }
    }

    fn queue(rows: impl IntoIterator<Item = UsageRow>) -> UsageQueue {
        let queue = UsageQueue::new();
        queue.push(rows.into_iter().collect());
        queue
    }

    fn sent(message: Option<NodeMessage>) -> (u64, Vec<UsageRow>) {
        match message {
            Some(NodeMessage::Usage {
                boot: 9,
                sequence,
                rows,
            }) => (sequence, rows),
            other => panic!("expected usage, got {other:?}"),
        }
    }

    #[test]
    fn a_batch_is_the_same_until_it_is_acknowledged() {
        let mut shipper = Shipper::new(9);
        shipper.collect(&queue([row(1, 5)]));
        let first = sent(shipper.next());
        shipper.collect(&queue([row(1, 7)]));
        assert!(shipper.next().is_none(), "one batch at a time");
        assert_eq!(sent(shipper.again()), first);
        assert_eq!(shipper.acknowledged(9, first.0), 5);
        assert_eq!(sent(shipper.next()), (first.0 + 1, vec![row(1, 7)]));
    }

    #[test]
    fn an_acknowledgment_of_another_batch_or_boot_changes_nothing() {
        let mut shipper = Shipper::new(9);
        shipper.collect(&queue([row(1, 5)]));
        shipper.next();
        assert_eq!(
            (shipper.acknowledged(9, 2), shipper.acknowledged(8, 1)),
            (0, 0)
        );
        assert!(shipper.again().is_some());
    }

    #[test]
    fn rows_beyond_the_bound_are_counted_as_lost() {
        let mut shipper = Shipper::with_rows_max(9, 2);
        let lost = shipper.collect(&queue([row(1, 1), row(2, 1), row(3, 4), row(1, 1)]));
        assert_eq!((lost, shipper.rows()), (4, 2));
    }

    #[test]
    fn many_rows_travel_in_several_batches() {
        let mut shipper = Shipper::new(9);
        let total = USAGE_ROWS_MAX * 2 + 1;
        let keys = 1..=u64::try_from(total).expect("is small");
        shipper.collect(&queue(keys.map(|key| row(key, 1))));
        let mut batches = 0;
        while let Some(NodeMessage::Usage { sequence, rows, .. }) = shipper.next() {
            assert!(rows.len() <= USAGE_ROWS_MAX);
            batches += 1;
            shipper.acknowledged(9, sequence);
        }
        assert_eq!((batches, shipper.rows()), (3, 0));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Count(u64, u64),
        Send { arrives: bool, ack_arrives: bool },
        Reconnect { arrives: bool, ack_arrives: bool },
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (1u64..9, 1u64..100).prop_map(|(key, n)| Step::Count(key, n)),
            any::<(bool, bool)>().prop_map(|(a, b)| Step::Send {
                arrives: a,
                ack_arrives: b
            }),
            any::<(bool, bool)>().prop_map(|(a, b)| Step::Reconnect {
                arrives: a,
                ack_arrives: b
            }),
        ]
    }

    /// Control as the protocol asks for it: adds a sequence it has not seen, acknowledges all.
    #[derive(Default)]
    struct Ledger {
        seen: HashSet<u64>,
        sums: BTreeMap<u64, u64>,
    }

    impl Ledger {
        fn receive(&mut self, message: Option<NodeMessage>) -> Option<u64> {
            let (sequence, rows) = sent(Some(message?));
            if self.seen.insert(sequence) {
                for row in rows {
                    *self
                        .sums
                        .entry(row.key.expect("has a key").get())
                        .or_default() += row.requests;
                }
            }
            Some(sequence)
        }
    }

    proptest! {
        #[test]
        fn every_request_reaches_the_ledger_once_whatever_gets_lost(
            steps in prop::collection::vec(step(), 0..200)
        ) {
            let (mut shipper, mut ledger) = (Shipper::new(9), Ledger::default());
            let mut counted: BTreeMap<u64, u64> = BTreeMap::new();
            for step in steps {
                let (message, arrives, ack_arrives) = match step {
                    Step::Count(key, n) => {
                        *counted.entry(key).or_default() += n;
                        shipper.collect(&queue([row(key, n)]));
                        continue;
                    }
                    Step::Send { arrives, ack_arrives } => (shipper.next(), arrives, ack_arrives),
                    Step::Reconnect { arrives, ack_arrives } => (shipper.again(), arrives, ack_arrives),
                };
                if arrives && let Some(sequence) = ledger.receive(message) && ack_arrives {
                    shipper.acknowledged(9, sequence);
                }
            }
            if let Some(sequence) = ledger.receive(shipper.again()) {
                shipper.acknowledged(9, sequence);
            }
            while let Some(sequence) = ledger.receive(shipper.next()) {
                shipper.acknowledged(9, sequence);
            }
            prop_assert_eq!(ledger.sums, counted);
        }
    }
}
