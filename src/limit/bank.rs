//! The bank: one shared word per limit and subject, holding how far its schedule is debited.
//!
//! An open-addressing table of `{tag, word}` that all workers read and that a worker writes only
//! to take or return a lease. It grows by segments, each twice as long as the one before; a tag
//! lives in the first free slot of its probe sequence, which runs through a short window of every
//! segment in turn. Entries are never removed: their number is bounded by the keys that snapshots
//! named since the start times the limits of their plans, and by `words_max`. So a slot once
//! found stays, and a probe that meets a free slot has seen all places where its tag could be.
//!
//! No lock is on the worker's path, with one exception: the allocation of a new segment, which
//! happens at most 16 times in a process's life, runs once while others wait for it. It is a
//! zeroed mapping of the kernel's, whose pages exist from their first use.
//!
//! All accesses of words and tags are relaxed: each is one cell whose own order of changes decides
//! everything, and no other memory is published through it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crossbeam::utils::CachePadded;
use thiserror::Error;

use crate::limit::schedule::Point;
use crate::limit::tag::Tag;

/// Tag and word; zero is free.
type Slot = [AtomicU64; 2];

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
    segments: [OnceLock<Box<[Slot]>>; SEGMENTS],
    words_max: u64,
    /// Written on the first sight of a subject only, apart from what every lease reads.
    words: CachePadded<AtomicU64>,
}

impl Bank {
    /// A bank of at most `words_max` words (as many more as there are workers, when they insert
    /// at the same time). The first segment, 1 MiB of address space, is mapped now.
    pub fn new(words_max: u64) -> Self {
        let bank = Self {
            segments: [const { OnceLock::new() }; SEGMENTS],
            words_max,
            words: CachePadded::new(AtomicU64::new(0)),
        };
        bank.segment(0);
        bank
    }

    /// Words in use.
    pub fn words(&self) -> u64 {
        self.words.load(Relaxed)
    }

    /// The word of `tag`, if it has one.
    pub fn find(&self, tag: Tag) -> Option<WordIndex> {
        for (number, segment) in self.segments.iter().enumerate() {
            let slots = segment.get()?;
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
            let slots = self.segment(number);
            for at in window(tag, number, slots.len()) {
                let mut found = slots[at][0].load(Relaxed);
                if found == 0 {
                    if self.words.load(Relaxed) >= self.words_max {
                        return Err(BankFull);
                    }
                    match slots[at][0].compare_exchange(0, tag.get(), Relaxed, Relaxed) {
                        Ok(_) => {
                            self.words.fetch_add(1, Relaxed);
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
        &self.segment(number)[at][1]
    }

    fn segment(&self, number: usize) -> &[Slot] {
        self.segments[number]
            .get_or_init(|| bytemuck::zeroed_slice_box((1_usize << FIRST_BITS) << number))
    }
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
    let biased = ((1_usize << FIRST_BITS) << number) + at;
    WordIndex(u32::try_from(biased).expect("sixteen segments fill 32 bits"))
}
