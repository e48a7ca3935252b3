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

/// All entries of one worker.
#[derive(Debug)]
pub(super) struct Book {
    table: HashTable<Entry>,
    ring: VecDeque<Tag>,
    entries_max: usize,
}

impl Book {
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
    pub(super) fn find(&self, tag: Tag) -> Option<&Entry> {
        self.table.find(tag.scatter(0), |entry| entry.tag() == tag)
    }

    #[inline]
    pub(super) fn find_mut(&mut self, tag: Tag) -> Option<&mut Entry> {
        self.table
            .find_mut(tag.scatter(0), |entry| entry.tag() == tag)
    }

    /// Adds an entry whose tag is not in the book yet.
    pub(super) fn insert(&mut self, entry: Entry) -> &mut Entry {
        let tag = entry.tag();
        debug_assert!(self.find(tag).is_none(), "the ring would name it twice");
        self.ring.push_back(tag);
        let hasher = |entry: &Entry| entry.tag().scatter(0);
        self.table
            .insert_unique(tag.scatter(0), entry, hasher)
            .into_mut()
    }

    /// Passes the entry that was passed longest ago; the verdict decides whether it stays.
    pub(super) fn pass_oldest(&mut self, judge: impl FnOnce(&mut Entry) -> Verdict) {
        let Some(tag) = self.ring.pop_front() else {
            return;
        };
        let found = self
            .table
            .find_entry(tag.scatter(0), |entry| entry.tag() == tag);
        let mut entry = found.expect("the ring names entries of the table");
        match judge(entry.get_mut()) {
            Verdict::Keep => self.ring.push_back(tag),
            Verdict::Forget => drop(entry.remove()),
        }
    }
}
