//! The bank: one shared word per limit and subject, holding how far its schedule is debited.
//!
//! An open-addressing table of `{tag, word}` that all workers read and that a worker writes only
//! to take or return a lease. It grows by segments, each twice as long as the one before; a tag
//! lives in the first free slot of its probe sequence, which runs through a short window of every
//! segment in turn. Entries are never removed: their number is bounded by the keys that snapshots
//! named since the start times the limits of their plans, and by `words_max`. So a slot once
//! found stays, and a probe that meets a free slot has seen all places where its tag could be.
//!
//! No lock is on the worker's path, with one exception: the mapping of a new segment, which
//! happens at most 16 times in a process's life, runs once while others wait for it.
//!
//! The table lies in a memory file ([`memory`](super::memory)), so that a process that takes over
//! from another goes on with its words: a limit is as exact across an upgrade as across workers.
//! Nothing in it depends on the process that wrote it; tags come from control and points from the
//! machine's clock. Who changes the layout changes [`LAYOUT`].
//!
//! All accesses of words and tags are relaxed: each is one cell whose own order of changes decides
//! everything, and no other memory is published through it.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use thiserror::Error;

use crate::limit::memory::{Memory, Pair, Part};
use crate::limit::schedule::Point;
use crate::limit::tag::Tag;

/// The layout of the memory that banks share. Processes with different ones do not.
pub const LAYOUT: u32 = 1;

/// Tag and word; zero is free.
type Slot = Pair;

/// What lies before the first segment: one page, whose first word counts those in use. It is
/// written on the first sight of a subject only, and has a cache line of its own.
const HEADER_SLOTS: u64 = 256;

/// Slots of the first segment, as a power of two.
const FIRST_BITS: u32 = 16;
/// Segments at most; their slots are then as many as a [`WordIndex`] can name.
const SEGMENTS: usize = 16;
/// Slots of one segment that a tag may live in: 256 bytes, few enough for neighboring cache
/// lines, many enough that a segment is well filled before a tag overflows to the next.
const WINDOW: u64 = 16;

/// Every word that could be had is taken: the caller has to refuse, since it cannot count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the bank of limits is full")]
pub struct BankFull;

/// Where a word is: its slot's number over all segments, plus the length of the first, so that
/// the highest bit set tells the segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WordIndex(u32);

/// All shared words of a node.
#[derive(Debug)]
pub struct Bank {
    memory: Memory,
    header: Part,
    /// Each mapped at its first use; `None` if the kernel refused.
    segments: [OnceLock<Option<Part>>; SEGMENTS],
    words_max: u64,
}

impl Bank {
    /// An unused bank of at most `words_max` words (as many more as there are workers, when they
    /// insert at the same time).
    pub fn create(words_max: u64) -> io::Result<Self> {
        Self::over(Memory::create(slots_before(SEGMENTS))?, words_max)
    }

    /// The bank that another process made, from its [`Bank::file`].
    pub fn adopt(file: OwnedFd, words_max: u64) -> io::Result<Self> {
        Self::over(Memory::adopt(file, slots_before(SEGMENTS))?, words_max)
    }

    fn over(memory: Memory, words_max: u64) -> io::Result<Self> {
        Ok(Self {
            header: memory.map(0, 1)?,
            memory,
            segments: [const { OnceLock::new() }; SEGMENTS],
            words_max,
        })
    }

    /// What another process adopts.
    pub fn file(&self) -> BorrowedFd<'_> {
        self.memory.file()
    }

    /// Words in use.
    pub fn words(&self) -> u64 {
        self.words_used().load(Relaxed)
    }

    fn words_used(&self) -> &AtomicU64 {
        &self.header[0][0]
    }

    /// The word of `tag`, if it has one.
    pub fn find(&self, tag: Tag) -> Option<WordIndex> {
        for number in 0..SEGMENTS {
            let slots = self.segment(number)?;
            for at in window(tag, number, slots.len()) {
                match slots[at][0].load(Relaxed) {
                    0 => return None,
                    found if found == tag.get() => return Some(index(number, at)),
                    _ => {}
                }
            }
        }
        None
    }

    /// The word of `tag`, which gets one if it has none: a new word stands at zero, so its limit
    /// is unspent.
    pub fn find_or_insert(&self, tag: Tag) -> Result<WordIndex, BankFull> {
        for number in 0..SEGMENTS {
            let slots = self.segment(number).ok_or(BankFull)?;
            for at in window(tag, number, slots.len()) {
                let mut found = slots[at][0].load(Relaxed);
                if found == 0 {
                    if self.words() >= self.words_max {
                        return Err(BankFull);
                    }
                    match slots[at][0].compare_exchange(0, tag.get(), Relaxed, Relaxed) {
                        Ok(_) => {
                            self.words_used().fetch_add(1, Relaxed);
                            return Ok(index(number, at));
                        }
                        Err(winner) => found = winner,
                    }
                }
                if found == tag.get() {
                    return Ok(index(number, at));
                }
            }
        }
        Err(BankFull)
    }

    /// Where the schedule of a word stands.
    #[inline]
    pub fn load(&self, word: WordIndex) -> Point {
        Point(self.cell(word).load(Relaxed))
    }

    /// Moves a word from `from` to `to`; false if it does not stand at `from` (anymore), or
    /// spuriously.
    #[inline]
    pub fn exchange(&self, word: WordIndex, from: Point, to: Point) -> bool {
        self.cell(word)
            .compare_exchange_weak(from.0, to.0, Relaxed, Relaxed)
            .is_ok()
    }

    fn cell(&self, word: WordIndex) -> &AtomicU64 {
        let segment_bits = word.0.ilog2();
        let number = (segment_bits - FIRST_BITS) as usize;
        let at = (word.0 - (1 << segment_bits)) as usize;
        let segment = self.segment(number);
        &segment.expect("an index was given out from it")[at][1]
    }

    fn segment(&self, number: usize) -> Option<&[Slot]> {
        let part = self.segments[number].get_or_init(|| {
            let mapped = self.memory.map(slots_before(number), slots_of(number));
            if let Err(error) = &mapped {
                tracing::error!(%error, "no more memory for limits; their requests are refused");
            }
            mapped.ok()
        });
        part.as_deref()
    }
}

fn slots_of(number: usize) -> usize {
    (1_usize << FIRST_BITS) << number
}

/// Slots before the segment `number`, the header's included.
fn slots_before(number: usize) -> u64 {
    HEADER_SLOTS + (((1_u64 << number) - 1) << FIRST_BITS)
}

/// The places of `tag` in the segment `number`, nearest first.
fn window(tag: Tag, number: usize, slots: usize) -> impl Iterator<Item = usize> {
    let mask = slots as u64 - 1;
    let home = tag.scatter(number as u64);
    (0..WINDOW).map(move |step| {
        let at = home.wrapping_add(step) & mask;
        usize::try_from(at).expect("masked by a slice's length")
    })
}

/// The index of slot `at` in the segment `number`.
fn index(number: usize, at: usize) -> WordIndex {
    let biased = slots_of(number) + at;
    WordIndex(u32::try_from(biased).expect("sixteen segments fill 32 bits"))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::num::NonZeroU32;

    use super::*;

    fn tag(subject: u32) -> Tag {
        Tag::new(NonZeroU32::MIN, subject)
    }

    #[test]
    fn a_tag_keeps_its_word_and_shares_it_with_no_other() {
        let bank = Bank::create(1_000).unwrap();
        let first = bank.find_or_insert(tag(1)).unwrap();
        let second = bank.find_or_insert(tag(2)).unwrap();
        assert_ne!(first, second);
        assert!(bank.exchange(first, Point(0), Point(7)));
        assert_eq!(bank.find(tag(1)), Some(first));
        assert_eq!(bank.find_or_insert(tag(1)), Ok(first));
        assert_eq!((bank.load(first), bank.load(second)), (Point(7), Point(0)));
        assert_eq!(bank.words(), 2);
    }

    #[test]
    fn a_tag_that_was_never_inserted_is_not_found() {
        let bank = Bank::create(1_000).unwrap();
        bank.find_or_insert(tag(1)).unwrap();
        assert_eq!(bank.find(tag(2)), None);
        assert_eq!(bank.words(), 1);
    }

    #[test]
    fn a_word_moves_only_from_where_it_stands() {
        let bank = Bank::create(1).unwrap();
        let word = bank.find_or_insert(tag(1)).unwrap();
        assert!(bank.exchange(word, Point(0), Point(5)));
        assert!(!bank.exchange(word, Point(0), Point(9)));
        assert_eq!(bank.load(word), Point(5));
    }

    #[test]
    fn a_full_bank_says_so_and_still_finds_what_it_has() {
        let bank = Bank::create(10).unwrap();
        for subject in 0..10 {
            bank.find_or_insert(tag(subject)).unwrap();
        }
        assert_eq!(bank.find_or_insert(tag(10)), Err(BankFull));
        assert!(bank.find_or_insert(tag(9)).is_ok());
        assert_eq!(bank.words(), 10);
    }

    #[test]
    fn a_bank_grows_by_segments_and_keeps_every_word() {
        let bank = Bank::create(1 << 20).unwrap();
        let words: Vec<WordIndex> = (0..200_000)
            .map(|subject| bank.find_or_insert(tag(subject)).unwrap())
            .collect();
        let grown = bank
            .segments
            .iter()
            .filter(|segment| segment.get().is_some_and(Option::is_some))
            .count();
        assert!(
            (2..=4).contains(&grown),
            "{grown} segments for 200 000 words"
        );
        let different: HashSet<u32> = words.iter().map(|word| word.0).collect();
        assert_eq!(different.len(), words.len());
        for (subject, word) in (0..).zip(&words) {
            assert_eq!(bank.find(tag(subject)), Some(*word));
        }
    }

    #[test]
    fn who_adopts_a_bank_goes_on_with_its_words() {
        let old = Bank::create(1 << 20).unwrap();
        let words: Vec<_> = (0..100_000)
            .map(|subject| old.find_or_insert(tag(subject)).unwrap())
            .collect();
        assert!(old.exchange(words[99_999], Point(0), Point(5)));
        let file = old.file().try_clone_to_owned().unwrap();
        let new = Bank::adopt(file, 1 << 20).unwrap();
        assert_eq!(new.words(), 100_000);
        assert_eq!(new.find(tag(99_999)), Some(words[99_999]));
        assert_eq!(new.load(words[99_999]), Point(5));
        // Both go on for a while.
        assert!(new.exchange(words[99_999], Point(5), Point(6)));
        assert_eq!(old.load(words[99_999]), Point(6));
        let inserted = new.find_or_insert(tag(100_000)).unwrap();
        assert_eq!(old.find(tag(100_000)), Some(inserted));
        assert_eq!(old.words(), 100_001);
    }

    #[test]
    fn every_slot_of_every_segment_has_its_own_index() {
        let mut last = (1_u32 << FIRST_BITS) - 1;
        for number in 0..SEGMENTS {
            let slots = slots_of(number);
            assert_eq!(index(number, 0).0, last + 1);
            last = index(number, slots - 1).0;
        }
        assert_eq!(last, u32::MAX);
    }

    #[test]
    fn threads_that_insert_the_same_tags_agree_on_every_word() {
        let bank = Bank::create(1 << 20).unwrap();
        let insert_all = || -> Vec<u32> {
            (0..50_000)
                .map(|subject| bank.find_or_insert(tag(subject)).unwrap().0)
                .collect()
        };
        let all = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(insert_all)).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect::<Vec<_>>()
        });
        assert!(all.iter().all(|words| *words == all[0]));
        assert_eq!(bank.words(), 50_000);
    }

    #[test]
    fn threads_that_move_one_word_lose_no_step() {
        let bank = Bank::create(1).unwrap();
        let word = bank.find_or_insert(tag(1)).unwrap();
        let step = || {
            for _ in 0..50_000 {
                loop {
                    let from = bank.load(word);
                    if bank.exchange(word, from, from.plus(1)) {
                        break;
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(step);
            }
        });
        assert_eq!(bank.load(word), Point(200_000));
    }
}
