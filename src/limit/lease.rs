//! What one worker holds of one limit: slices of the virtual schedule, spent without asking
//! anyone.
//!
//! Pure: takes times, answers slices. A slice belongs to exactly one holder at a time, which is
//! what the whole limiter rests on; see the proof in [`limit`](super).

use crate::limit::schedule::{Point, Terms};

/// A part `[start, end)` of a virtual schedule; empty if `start == end`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slice {
    /// Where it begins.
    pub start: Point,
    /// Where it ends; never before `start`.
    pub end: Point,
}

impl Slice {
    /// Whether nothing is in it.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.start >= self.end
    }

    /// Takes the slot of one unit at `at`; `None` if no whole slot is left at or after `at`.
    ///
    /// The part before `at` is lost, as the overflow of a full bucket is: a unit spent in a slot
    /// of the past would let a rested worker exceed the burst.
    #[inline]
    pub fn spend(&mut self, interval_x16: u64, at: Point) -> Option<Slice> {
        let start = self.start.max(at);
        let end = start.plus(interval_x16);
        if end > self.end {
            return None;
        }
        self.start = end;
        Some(Slice { start, end })
    }

    /// Whole units left at `at`.
    pub fn units(&self, interval_x16: u64, at: Point) -> u64 {
        self.end.since(self.start.max(at)) / interval_x16
    }

    /// Puts `other` and this slice together if they touch.
    fn join(&mut self, other: Slice) -> bool {
        if other.end == self.start {
            self.start = other.start;
        } else if self.end == other.start {
            self.end = other.end;
        } else {
            return false;
        }
        true
    }
}

/// A worker's share of one limit of one subject.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lease {
    /// What is being spent: the newest slice taken from the shared word.
    pub slice: Slice,
    /// Slots that came back out of order, older than `slice`; spent when `slice` is.
    pub spare: Slice,
}

impl Lease {
    /// Takes back the slot of a unit that was not used after all.
    ///
    /// The newest slot goes back to the slice it came from. An older one is kept aside, joined to
    /// others that it touches, so units that come back in the order they were spent all survive.
    /// Of two that do not touch, the later one lives longer and is kept; the other is lost, which
    /// errs on the safe side.
    pub fn give_back(&mut self, slot: Slice) {
        if slot.end == self.slice.start {
            self.slice.start = slot.start;
        } else if self.spare.is_empty() || !self.spare.join(slot) && self.spare.start < slot.start {
            self.spare = slot;
        }
    }

    /// Joins what came back to the slice if nothing lies between, so that it can be returned to
    /// the shared word with it, and drops what holds no whole unit at `at` anymore.
    pub fn tidy(&mut self, interval_x16: u64, at: Point) {
        if !self.spare.is_empty() && self.spare.end == self.slice.start {
            self.slice.start = self.spare.start;
            self.spare = Slice::default();
        }
        if self.spare.units(interval_x16, at) == 0 {
            self.spare = Slice::default();
        }
    }

    /// Whole units left at `at`.
    pub fn units(&self, terms: Terms, at: Point) -> u64 {
        self.slice.units(terms.interval_x16, at) + self.spare.units(terms.interval_x16, at)
    }
}
