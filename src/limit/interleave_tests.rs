//! Every interleaving of a few workers on one shared word, step by step.
//!
//! A worker's step is one access of the word: a load, or a compare-and-swap with what it loaded
//! before. The transitions are the limiter's own pure functions; only the loop around them is
//! spelled here, so that it can be stopped between two accesses.

use std::collections::HashSet;

use crate::limit::lease::{Lease, Slice};
use crate::limit::schedule::{Point, Share, Terms, debit};

const TERMS: Terms = Terms {
    interval_x16: 10,
    capacity_x16: 60,
};
const SHARE: Share = Share {
    span_x16: 30,
    parts: 2,
    units_max: 3,
    workers: 2,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Deed {
    /// Admit one request at this time, if the limit allows.
    Spend(u64),
    /// Give back the unit admitted last, if any is left.
    Unspend,
    /// Return what is left of the lease.
    Return,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Worker {
    deeds: Vec<Deed>,
    next: usize,
    lease: Lease,
    /// What the first half of a deed loaded.
    loaded: Option<Point>,
    /// Slots of admitted requests, and when.
    slots: Vec<(Slice, Point)>,
}

impl Worker {
    fn new(deeds: &[Deed]) -> Self {
        Self {
            deeds: deeds.to_vec(),
            next: 0,
            lease: Lease::default(),
            loaded: None,
            slots: Vec::new(),
        }
    }

    fn is_done(&self) -> bool {
        self.next == self.deeds.len()
    }

    fn step(&mut self, word: &mut Point) {
        let done = match self.deeds[self.next] {
            Deed::Spend(at) => self.step_of_spending(word, Point(at)),
            Deed::Unspend => {
                if let Some((slot, _)) = self.slots.pop() {
                    self.lease.give_back(slot);
                }
                true
            }
            Deed::Return => {
                let slice = self.lease.slice;
                if !slice.is_empty() && *word == slice.end {
                    *word = slice.start;
                    self.lease.slice.end = slice.start;
                }
                true
            }
        };
        self.next += usize::from(done);
    }

    fn step_of_spending(&mut self, word: &mut Point, at: Point) -> bool {
        let interval_x16 = TERMS.interval_x16;
        let Some(loaded) = self.loaded else {
            let in_hand = self.lease.slice.spend(interval_x16, at);
            if let Some(slot) = in_hand.or_else(|| self.lease.spare.spend(interval_x16, at)) {
                self.slots.push((slot, at));
                return true;
            }
            self.loaded = Some(*word);
            return false;
        };
        self.loaded = None;
        let Ok(mut slice) = debit(loaded, self.lease.slice, TERMS, &SHARE, at, 1) else {
            return true;
        };
        if *word != loaded {
            return false;
        }
        *word = slice.end;
        self.slots
            .push((slice.spend(interval_x16, at).unwrap(), at));
        self.lease.slice = slice;
        true
    }
}

/// Runs every order of steps; answers how many different states they pass through.
fn explore(word: Point, workers: Vec<Worker>) -> usize {
    let mut seen = HashSet::new();
    let mut open = vec![(word, workers)];
    while let Some((word, workers)) = open.pop() {
        check(&workers);
        for index in 0..workers.len() {
            if !workers[index].is_done() {
                let mut next = (word, workers.clone());
                next.1[index].step(&mut next.0);
                if seen.insert(next.clone()) {
                    open.push(next);
                }
            }
        }
    }
    seen.len()
}

fn check(workers: &[Worker]) {
    let mut slots: Vec<_> = workers
        .iter()
        .flat_map(|worker| worker.slots.clone())
        .collect();
    slots.sort_by_key(|(slot, _)| slot.start);
    for (slot, at) in &slots {
        assert_eq!(slot.end.since(slot.start), TERMS.interval_x16);
        assert!(*at <= slot.start, "a slot of the past: {workers:?}");
        assert!(
            slot.end <= at.plus(TERMS.capacity_x16),
            "beyond the burst: {workers:?}"
        );
    }
    for pair in slots.windows(2) {
        assert!(
            pair[0].0.end <= pair[1].0.start,
            "slots overlap: {workers:?}"
        );
    }
}

use Deed::{Return, Spend, Unspend};

#[test]
fn two_workers_never_spend_the_same_slot() {
    let first = Worker::new(&[Spend(100), Spend(101), Return, Spend(125), Return]);
    let second = Worker::new(&[Spend(100), Return, Spend(103), Spend(140), Return]);
    let states = explore(Point(0), vec![first, second]);
    assert!(states > 100, "{states}");
}

#[test]
fn three_workers_with_different_readings_of_the_clock_never_spend_the_same_slot() {
    let first = Worker::new(&[Spend(100), Return, Spend(118)]);
    let second = Worker::new(&[Spend(97), Spend(111), Return]);
    let third = Worker::new(&[Spend(130), Return]);
    let states = explore(Point(0), vec![first, second, third]);
    assert!(states > 1_000, "{states}");
}

#[test]
fn units_given_back_are_spent_once() {
    let first = Worker::new(&[Spend(100), Spend(100), Unspend, Return, Unspend, Spend(100)]);
    let second = Worker::new(&[Spend(100), Unspend, Return, Spend(104)]);
    let states = explore(Point(95), vec![first, second]);
    assert!(states > 100, "{states}");
}
