//! Limits on requests in flight: a count that is taken when a request comes and given back when it
//! ends.
//!
//! The shared word counts what workers have taken. A worker far from the limit takes a few at once
//! and keeps those that came back until the next reconciliation; near the limit it takes one at a
//! time and gives it back at once, so that the last free place is not asleep in a worker that needs
//! it least.
//!
//! A process that is killed cannot give back. So a word has four *lanes* of 16 bits, and each process
//! that has the bank counts in the next one: when one is known to be gone, its lane is cleared.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use crate::limit::bank::{Bank, Exchange, WordIndex};
use crate::limit::entry::{Context, Denied, Entry, coarse};
use crate::limit::schedule::Point;
use crate::limit::tag::Tag;

const LANES: u64 = 4;
const LANE_BITS: u64 = 16;
const LANE_MAX: u64 = (1 << LANE_BITS) - 1;

/// Places that a worker takes at most beyond the one it needs.
const SPARE_MAX: u64 = 16;
/// How long a request that found no place is told to wait: nobody knows when one ends.
pub(super) const WAIT_NS: u64 = 1_000_000_000;

/// Where one process counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lane(u64);

impl Lane {
    /// The lane of the process that had so many before it.
    pub(super) fn of_process(processes_before: u64) -> Self {
        Self(processes_before % LANES)
    }

    /// The lane of the process before this one.
    pub(super) fn before(self) -> Self {
        Self((self.0 + LANES - 1) % LANES)
    }

    /// One in this lane.
    fn one(self) -> u64 {
        1 << (self.0 * LANE_BITS)
    }

    fn count(self, word: u64) -> u64 {
        (word >> (self.0 * LANE_BITS)) & LANE_MAX
    }

    /// Forgets what a process that is gone had in flight.
    pub(super) fn clear(self, word: &AtomicU64) {
        let cleared = |said: u64| Some(said & !(LANE_MAX << (self.0 * LANE_BITS)));
        // It never fails: the closure always has an answer.
        let _ = word.fetch_update(SeqCst, Relaxed, cleared);
    }
}

/// Requests in flight, of all processes.
pub(super) fn total(word: u64) -> u64 {
    (0..LANES).map(|lane| Lane(lane).count(word)).sum()
}

/// Takes `taken`, a difference of two words, out of a word that it was added to by mistake; of a
/// lane that does not hold it, it takes nothing.
pub(super) fn take_back(word: &AtomicU64, taken: u64) {
    let without = |said: u64| {
        let holds = |lane| Lane(lane).count(said) >= Lane(lane).count(taken);
        (0..LANES).all(holds).then(|| said - taken)
    };
    let _ = word.fetch_update(SeqCst, Relaxed, without);
}

/// One limit of one subject, as one worker remembers it.
#[derive(Debug)]
pub(super) struct ConcurrencyEntry {
    tag: Tag,
    word: WordIndex,
    used: u32,
    /// Places taken from the shared word.
    taken: u64,
    /// Those of them in which a request runs.
    running: u64,
}

impl ConcurrencyEntry {
    pub(super) fn new(tag: Tag, word: WordIndex, at: Point) -> Self {
        Self {
            tag,
            word,
            used: coarse(at),
            taken: 0,
            running: 0,
        }
    }

    /// Takes a place.
    #[inline]
    pub(super) fn take(&mut self, cx: &mut Context<'_>, most: u32) -> Result<(), Denied> {
        self.used = coarse(cx.at);
        if self.running < self.taken && u64::from(most) >= self.taken {
            self.running += 1;
            return Ok(());
        }
        self.renew(cx, u64::from(most))
    }

    fn renew(&mut self, cx: &mut Context<'_>, most: u64) -> Result<(), Denied> {
        let lane = cx.bank.lane();
        loop {
            let word = cx.bank.load(self.word);
            let free = most.min(LANE_MAX).saturating_sub(total(word));
            if self.running < self.taken && free > 0 {
                self.running += 1;
                return Ok(());
            }
            if free == 0 {
                return Err(Denied::spent(WAIT_NS));
            }
            let spare = ((free - 1) / (8 * cx.share.workers)).min(SPARE_MAX);
            let places = 1 + spare;
            match cx.exchange(self.word, self.tag, word, word + places * lane.one()) {
                Exchange::Done => {
                    cx.counts.leases_taken += 1;
                    self.taken += places;
                    self.running += 1;
                    return Ok(());
                }
                Exchange::Moved => {}
                Exchange::Gone => self.word = cx.bank.find_or_insert(self.tag, cx.now)?,
            }
        }
    }

    /// A request has ended.
    #[inline]
    pub(super) fn end(&mut self, cx: &mut Context<'_>, most: u32) {
        debug_assert!(self.running > 0, "a place is given back once");
        self.running = self.running.saturating_sub(1);
        // A relaxed look: near the limit others may be waiting for just this place.
        if total(cx.bank.load(self.word)) * 2 >= u64::from(most) {
            self.release(cx);
        }
    }

    /// Requests in flight as the shared word says, less the places that this worker has to spare.
    pub(super) fn in_flight(&self, bank: &Bank) -> u64 {
        let word = bank.peek(self.word, self.tag).unwrap_or(0);
        total(word).saturating_sub(self.taken - self.running)
    }
}

impl Entry for ConcurrencyEntry {
    fn tag(&self) -> Tag {
        self.tag
    }

    fn used(&self) -> u32 {
        self.used
    }

    /// Gives back the places in which nothing runs.
    fn release(&mut self, cx: &mut Context<'_>) {
        let spare = self.taken - self.running;
        if spare == 0 {
            return;
        }
        let lane = cx.bank.lane();
        loop {
            let word = cx.bank.load(self.word);
            // A word that says less was cleared by someone who took this process for dead.
            let given = spare.min(lane.count(word));
            let exchanged = cx.exchange(self.word, self.tag, word, word - given * lane.one());
            // Gone: a place in use is never handed on, so there is nothing to give back.
            if exchanged != Exchange::Moved {
                cx.counts.leases_returned += 1;
                self.taken = self.running;
                return;
            }
        }
    }

    fn is_spent(&self, _at: Point) -> bool {
        self.taken == 0
    }

    /// A running request comes back to this very entry.
    fn may_go(&self) -> bool {
        self.taken == 0
    }
}
