//! What one worker holds of one limit: slices of the virtual schedule, spent without asking
//! anyone.
//!
//! Pure: takes times, answers slices. A slice belongs to exactly one holder at a time, which is
//! what the whole limiter rests on; see the proof in [`limit`](super).

use crate::limit::schedule::{Point, Terms};

/// A part `[start, end)` of a virtual schedule; empty if `start == end`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
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

    /// Takes slots of this span at `at`; `None` if so much is not left at or after `at`.
    ///
    /// The part before `at` is lost, as the overflow of a full bucket is: a unit spent in a slot
    /// of the past would let a rested worker exceed the burst.
    #[inline]
    pub fn spend(&mut self, span_x16: u64, at: Point) -> Option<Slice> {
        let start = self.start.max(at);
        let end = start.plus(span_x16);
        if end > self.end {
            return None;
        }
        self.start = end;
        Some(Slice { start, end })
    }

    /// Takes at most `span_x16` of what is left at or after `at`; says how much.
    pub fn take_span(&mut self, span_x16: u64, at: Point) -> u64 {
        let start = self.start.max(at);
        let taken_x16 = span_x16.min(self.end.since(start));
        if taken_x16 > 0 {
            self.start = start.plus(taken_x16);
        }
        taken_x16
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
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

#[cfg(test)]
mod tests {
    use super::*;

    const T: u64 = 10;

    fn slice(start: u64, end: u64) -> Slice {
        Slice {
            start: Point(start),
            end: Point(end),
        }
    }

    fn lease(start: u64, end: u64) -> Lease {
        Lease {
            slice: slice(start, end),
            spare: Slice::default(),
        }
    }

    #[test]
    fn a_slice_is_spent_unit_by_unit_from_its_start() {
        let mut lease = slice(100, 125);
        assert_eq!(lease.spend(T, Point(50)), Some(slice(100, 110)));
        assert_eq!(lease.spend(T, Point(110)), Some(slice(110, 120)));
        assert_eq!(
            lease.spend(T, Point(110)),
            None,
            "five are left, a unit takes ten"
        );
    }

    #[test]
    fn the_past_part_of_a_slice_is_lost() {
        let mut lease = slice(100, 130);
        assert_eq!(lease.units(T, Point(105)), 2);
        assert_eq!(lease.spend(T, Point(115)), Some(slice(115, 125)));
        assert_eq!(lease.spend(T, Point(121)), None);
    }

    #[test]
    fn the_newest_unit_goes_back_to_where_it_came_from() {
        let mut lease = lease(100, 130);
        let first = lease.slice.spend(T, Point(0)).unwrap();
        let second = lease.slice.spend(T, Point(0)).unwrap();
        lease.give_back(second);
        lease.give_back(first);
        assert_eq!(lease.slice, slice(100, 130));
        assert!(lease.spare.is_empty());
    }

    #[test]
    fn units_that_come_back_in_order_all_survive() {
        let mut lease = lease(100, 140);
        let slots: Vec<Slice> = (0..3)
            .map(|_| lease.slice.spend(T, Point(0)).unwrap())
            .collect();
        lease.give_back(slots[0]);
        lease.give_back(slots[1]);
        assert_eq!(lease.spare, slice(100, 120));
        lease.give_back(slots[2]);
        assert_eq!(lease.slice, slice(120, 140));
        lease.tidy(T, Point(0));
        assert_eq!(
            (lease.slice, lease.spare),
            (slice(100, 140), Slice::default())
        );
    }

    #[test]
    fn of_two_units_that_do_not_touch_the_later_one_is_kept() {
        let mut lease = lease(100, 150);
        let slots: Vec<Slice> = (0..4)
            .map(|_| lease.slice.spend(T, Point(0)).unwrap())
            .collect();
        lease.give_back(slots[0]);
        lease.give_back(slots[2]);
        assert_eq!(lease.spare, slots[2]);
        lease.give_back(slots[0]);
        assert_eq!(lease.spare, slots[2]);
    }

    #[test]
    fn what_came_back_is_dropped_once_it_is_past() {
        let mut lease = Lease {
            slice: slice(200, 230),
            spare: slice(100, 120),
        };
        lease.tidy(T, Point(109));
        assert_eq!(lease.spare, slice(100, 120), "one unit still fits");
        lease.tidy(T, Point(111));
        assert!(lease.spare.is_empty());
    }
}
