//! Receipts: proof that every worker judges requests by a generation.
//!
//! Takes what each living worker serves and when a generation was learned of; answers the
//! [`NodeMessage::Serving`] that is due, if any. Pure: time is passed in. A worker that died serves
//! nobody, so the caller leaves it out.

use super::protocol::NodeMessage;
use crate::clock::Tick;
use std::collections::VecDeque;

/// Generations that wait for their receipt. Only the newest matter: a worker skips what it did
/// not adopt in time.
const WAITING_MAX: usize = 64;

/// What was reported, and what is to be.
#[derive(Debug, Default)]
pub struct Receipts {
    learned: VecDeque<(u64, Tick)>,
    reported: Option<Reported>,
}

#[derive(Clone, Copy, Debug)]
struct Reported {
    generation: u64,
    elapsed_ms: u64,
}

impl Receipts {
    /// `generation` was offered to the workers; the node had learned of it at `learned`.
    pub fn offered(&mut self, generation: u64, learned: Tick) {
        if self.learned.len() == WAITING_MAX {
            self.learned.pop_front();
        }
        self.learned.push_back((generation, learned));
    }

    /// The receipt that came due, given the generation each living worker serves.
    pub fn due(&mut self, served: &[u64], now: Tick) -> Option<NodeMessage> {
        let lowest = *served.iter().min()?;
        let before = self.reported.map_or(0, |reported| reported.generation);
        // On a step back the first worker already has the lower generation: wait for the last.
        let mixed = served.iter().any(|&generation| generation != lowest);
        if lowest == before || lowest == 0 || (lowest < before && mixed) {
            return None;
        }
        let at = self
            .learned
            .iter()
            .rposition(|&(generation, _)| generation == lowest);
        let elapsed_ms = match at {
            Some(at) => {
                let (_, learned) = self.learned[at];
                self.learned.drain(..=at);
                now.since_ns(learned) / 1_000_000
            }
            None => 0,
        };
        self.reported = Some(Reported {
            generation: lowest,
            elapsed_ms,
        });
        self.last(served)
    }

    /// The last receipt once more, for a control process that just came.
    pub fn last(&self, served: &[u64]) -> Option<NodeMessage> {
        let Reported {
            generation,
            elapsed_ms,
        } = self.reported?;
        Some(NodeMessage::Serving {
            generation,
            workers: served.to_vec(),
            elapsed_ms,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Tick {
        Tick(ms * 1_000_000)
    }

    fn receipt(generation: u64, workers: &[u64], elapsed_ms: u64) -> Option<NodeMessage> {
        Some(NodeMessage::Serving {
            generation,
            workers: workers.to_vec(),
            elapsed_ms,
        })
    }

    #[test]
    fn a_receipt_is_due_when_the_last_worker_adopted() {
        let mut receipts = Receipts::default();
        receipts.offered(5, ms(100));
        assert_eq!(receipts.due(&[0, 0], ms(101)), None);
        assert_eq!(receipts.due(&[5, 0], ms(102)), None);
        assert_eq!(receipts.due(&[5, 5], ms(103)), receipt(5, &[5, 5], 3));
        assert_eq!(receipts.due(&[5, 5], ms(104)), None, "and only once");
        assert_eq!(receipts.last(&[5, 5]), receipt(5, &[5, 5], 3));
    }

    #[test]
    fn workers_that_run_ahead_do_not_hold_a_receipt_back() {
        let mut receipts = Receipts::default();
        receipts.offered(5, ms(0));
        receipts.offered(6, ms(10));
        assert_eq!(receipts.due(&[6, 5], ms(20)), receipt(5, &[6, 5], 20));
        assert_eq!(receipts.due(&[6, 6], ms(30)), receipt(6, &[6, 6], 20));
    }

    #[test]
    fn a_generation_that_every_worker_skipped_gets_no_receipt() {
        let mut receipts = Receipts::default();
        receipts.offered(5, ms(0));
        receipts.offered(6, ms(10));
        assert_eq!(receipts.due(&[6, 6], ms(20)), receipt(6, &[6, 6], 10));
        assert_eq!(receipts.learned.len(), 0);
    }

    #[test]
    fn a_step_back_is_reported_when_the_last_worker_made_it() {
        let mut receipts = Receipts::default();
        receipts.offered(9, ms(0));
        assert!(receipts.due(&[9, 9], ms(1)).is_some());
        receipts.offered(7, ms(10));
        assert_eq!(receipts.due(&[7, 9], ms(11)), None);
        assert_eq!(receipts.due(&[7, 7], ms(12)), receipt(7, &[7, 7], 2));
    }

    #[test]
    fn without_a_living_worker_there_is_nothing_to_prove() {
        let mut receipts = Receipts::default();
        receipts.offered(5, ms(0));
        assert_eq!(receipts.due(&[], ms(1)), None);
    }

    #[test]
    fn generations_that_wait_are_bounded() {
        let mut receipts = Receipts::default();
        (1..1_000).for_each(|generation| receipts.offered(generation, ms(0)));
        assert_eq!(receipts.learned.len(), WAITING_MAX);
    }
}
