//! The entries that one worker remembers: found by tag, and passed in turn.
//!
//! Bounded and never rehashed: the table has its full size from the start, as address space that
//! becomes memory where it is touched. At most half of it is ever full, which also keeps it free
//! of the tombstones that would make it rehash in place, and a worker stall.
//!
//! Invariant: the ring names every entry exactly once.

use std::collections::VecDeque;

use hashbrown::HashTable;

use crate::limit::entry::Entry;
use crate::limit::tag::Tag;

/// Whether an entry stays in the book.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It goes to the end of the ring.
    Keep,
    /// It is dropped.
    Forget,
}

/// Entries that are looked at to make room for another.
const ROOM_TRIES: usize = 16;

/// All entries of one worker, of one shape.
#[derive(Debug)]
pub(super) struct Book<E> {
    table: HashTable<E>,
    ring: VecDeque<Tag>,
    entries_max: usize,
}

impl<E: Entry> Book<E> {
    /// A book of at most `entries_max` entries, at least 1.
    pub(super) fn new(entries_max: usize) -> Self {
        let entries_max = entries_max.max(1);
        Self {
            table: HashTable::with_capacity(entries_max + entries_max / 4 * 3),
            ring: VecDeque::with_capacity(entries_max),
            entries_max,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.len() >= self.entries_max
    }

    #[inline]
    pub(super) fn find(&self, tag: Tag) -> Option<&E> {
        self.table.find(tag.scatter(0), |entry| entry.tag() == tag)
    }

    #[inline]
    pub(super) fn find_mut(&mut self, tag: Tag) -> Option<&mut E> {
        self.table
            .find_mut(tag.scatter(0), |entry| entry.tag() == tag)
    }

    /// Adds an entry whose tag is not in the book yet.
    pub(super) fn insert(&mut self, entry: E) -> &mut E {
        let tag = entry.tag();
        debug_assert!(self.find(tag).is_none(), "the ring would name it twice");
        self.ring.push_back(tag);
        let hasher = |entry: &E| entry.tag().scatter(0);
        self.table
            .insert_unique(tag.scatter(0), entry, hasher)
            .into_mut()
    }

    /// Forgets one of the few entries that were passed longest ago, of which `may_go` says that it
    /// may be forgotten; false if none may.
    pub(super) fn make_room(&mut self, mut may_go: impl FnMut(&mut E) -> bool) -> bool {
        let len = self.len();
        for _ in 0..ROOM_TRIES.min(len) {
            self.pass_oldest(|entry| match may_go(entry) {
                true => Verdict::Forget,
                false => Verdict::Keep,
            });
            if self.len() < len {
                return true;
            }
        }
        false
    }

    /// Passes the entry that was passed longest ago; the verdict decides whether it stays.
    pub(super) fn pass_oldest(&mut self, judge: impl FnOnce(&mut E) -> Verdict) {
        let Some(tag) = self.ring.pop_front() else {
            return;
        };
        let found = self
            .table
            .find_entry(tag.scatter(0), |entry| entry.tag() == tag);
        let mut entry = found.ok().expect("the ring names entries of the table");
        match judge(entry.get_mut()) {
            Verdict::Keep => self.ring.push_back(tag),
            Verdict::Forget => drop(entry.remove()),
        }
    }
}
