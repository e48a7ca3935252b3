//! The bank: one shared word per limit and subject, which says how much of it is taken.
//!
//! An open-addressing table of `{tag, word}` that all workers read and that a worker writes only
//! to take or return a lease. It grows by segments, each twice as long as the one before; a tag
//! lives in the first free slot of its probe sequence, which runs through a short window of every
//! segment in turn. Entries are never removed: their number is bounded by the keys that snapshots
//! named since the start times the limits of their plans, and by `words_max`. So a slot once
//! found stays, and a probe that meets a free slot has seen all places where its tag could be.
//!
//! Client addresses have an area of their own ([`addresses`]), where a word that
//! says nothing any more goes to another address: anyone can have many of them.
//!
//! No lock is on the worker's path, with two exceptions: the mapping of a new segment, which
//! happens at most 15 times in a process's life, runs once while others wait for it; and the first
//! sight of an address takes a lock that is held for some hundred instructions.
//!
//! The table lies in a memory file ([`memory`](super::memory)), so that a process that takes over
//! from another goes on with its words: a limit is as exact across an upgrade as across workers.
//! Nothing in it depends on the process that wrote it but the lanes of concurrency words; tags come
//! from control and points from the machine's clock. Who changes the layout changes [`LAYOUT`].
//!
//! Accesses of words and tags are relaxed where each is one cell whose own order of changes decides
//! everything, and no other memory is published through it.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use thiserror::Error;

use crate::clock::Now;
use crate::limit::addresses::{self, Addresses};
use crate::limit::concurrency;
use crate::limit::memory::{Memory, Pair, Part};
use crate::limit::tag::{AddressHasher, Kind, Tag};

/// The layout of the memory that banks share. Processes with different ones do not.
pub const LAYOUT: u32 = 2;

/// Tag and word; zero is free.
type Slot = Pair;

/// What lies before the first segment, in pages of 256 slots: the header, then the addresses.
const HEADER_SLOTS: u64 = 256;
const ADDRESSES_AT: u64 = HEADER_SLOTS;
const SEGMENTS_AT: u64 = ADDRESSES_AT + addresses::SLOTS as u64;

/// Slots of the header; each pair has a part of a cache line that only rare events write.
mod header {
    /// Words in use outside of the addresses, and segments in use.
    pub(super) const USED: usize = 0;
    /// Processes that had the bank so far.
    pub(super) const PROCESSES: usize = 4;
    /// What the addresses are hashed with.
    pub(super) const SEEDS: usize = 8;
    /// From here on: locks of the addresses.
    pub(super) const LOCKS: usize = 128;
}

/// Slots of the first segment, as a power of two.
const FIRST_BITS: u32 = 16;
/// Segments at most; their slots are then as many as a [`WordIndex`] can name.
const SEGMENTS: usize = 15;
/// Slots of one segment that a tag may live in: 256 bytes, few enough for neighboring cache
/// lines, many enough that a segment is well filled before a tag overflows to the next.
const WINDOW: u64 = 16;
/// Marks the index of an address's word.
const ADDRESS_BIT: u32 = 1 << 31;

/// Every word that could be had is taken: the caller has to refuse, since it cannot count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the bank of limits is full")]
pub struct BankFull;

/// Where a word is: its slot's number over all segments, plus the length of the first, so that
/// the highest bit set tells the segment; or a slot of the addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WordIndex(u32);

/// What came of an attempt to move a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Exchange {
    /// It stands where it was to go.
    Done,
    /// It did not stand where it was expected (any more), or spuriously.
    Moved,
    /// The place belongs to another tag now: look for the word again.
    Gone,
}

/// All shared words of a node.
#[derive(Debug)]
pub struct Bank {
    memory: Memory,
    header: Part,
    addresses: Addresses,
    hasher: AddressHasher,
    lane: concurrency::Lane,
    /// Each mapped at its first use; `None` if the kernel refused.
    segments: [OnceLock<Option<Part>>; SEGMENTS],
    words_max: u64,
}

impl Bank {
    /// An unused bank of at most `words_max` words (as many more as there are workers, when they
    /// insert at the same time).
    pub fn create(words_max: u64) -> io::Result<Self> {
        let random = || getrandom::u64().map_err(io::Error::other);
        Self::create_with(words_max, [random()?, random()?])
    }

    /// An unused bank that hashes addresses with these secret numbers, so that their tags are those
    /// of another bank.
    pub fn create_with(words_max: u64, seeds: [u64; 2]) -> io::Result<Self> {
        let memory = Memory::create(slots_before(SEGMENTS))?;
        let header = memory.map(0, usize_of(HEADER_SLOTS))?;
        for (place, seed) in header[header::SEEDS].iter().zip(seeds) {
            place.store(seed, Relaxed);
        }
        Self::over(memory, header, words_max)
    }

    /// The bank that another process made, from its [`Bank::file`].
    ///
    /// Requests that the fourth process before this one had in flight no longer count: its lane is
    /// this one's now.
    pub fn adopt(file: OwnedFd, words_max: u64) -> io::Result<Self> {
        let memory = Memory::adopt(file, slots_before(SEGMENTS))?;
        let header = memory.map(0, usize_of(HEADER_SLOTS))?;
        let bank = Self::over(memory, header, words_max)?;
        bank.clear_lane(bank.lane);
        Ok(bank)
    }

    fn over(memory: Memory, header: Part, words_max: u64) -> io::Result<Self> {
        let [first, second] = &header[header::SEEDS];
        let hasher = AddressHasher::new([first.load(Relaxed), second.load(Relaxed)]);
        let processes_before = header[header::PROCESSES][0].fetch_add(1, Relaxed);
        Ok(Self {
            addresses: Addresses::new(
                memory.map(ADDRESSES_AT, addresses::SLOTS)?,
                memory.map(0, usize_of(HEADER_SLOTS))?,
                header::LOCKS,
            ),
            header,
            memory,
            hasher,
            lane: concurrency::Lane::of_process(processes_before),
            segments: [const { OnceLock::new() }; SEGMENTS],
            words_max,
        })
    }

    /// What another process adopts.
    pub fn file(&self) -> BorrowedFd<'_> {
        self.memory.file()
    }

    /// What addresses are hashed with.
    pub fn hasher(&self) -> &AddressHasher {
        &self.hasher
    }

    /// What it hashes addresses with.
    pub fn seeds(&self) -> [u64; 2] {
        let [first, second] = &self.header[header::SEEDS];
        [first.load(Relaxed), second.load(Relaxed)]
    }

    /// Sets the word of a quota to what processes before this one consumed; before any worker runs.
    pub fn restore(&self, tag: Tag, word: u64, now: Now) -> Result<(), BankFull> {
        let place = self.find_or_insert(tag, now)?;
        // A quota with words of two windows keeps the later one: the other is over, or will be.
        let newer = |said: u64| (said < word).then_some(word);
        let _ = self.slot(place)[1].fetch_update(Relaxed, Relaxed, newer);
        Ok(())
    }

    /// Where this process counts requests in flight.
    pub(super) fn lane(&self) -> concurrency::Lane {
        self.lane
    }

    /// Words in use, those of addresses not among them.
    pub fn words(&self) -> u64 {
        self.words_used().load(Relaxed)
    }

    fn words_used(&self) -> &AtomicU64 {
        &self.header[header::USED][0]
    }

    /// The process before this one is gone: what it still had in flight, because it was killed, is
    /// no longer.
    pub fn forget_predecessor(&self) {
        self.clear_lane(self.lane.before());
    }

    fn clear_lane(&self, lane: concurrency::Lane) {
        let used = self.header[header::USED][1].load(Relaxed);
        let segments = (0..usize_of(used)).filter_map(|number| self.segment(number));
        let slots = segments.flatten().chain(self.addresses.slots());
        for [tag, word] in slots {
            let tag = Tag::of_word(tag.load(Relaxed));
            if tag.is_some_and(|tag| tag.kind() == Kind::Concurrency) {
                lane.clear(word);
            }
        }
    }

    /// The word of `tag`, if it has one.
    pub fn find(&self, tag: Tag) -> Option<WordIndex> {
        if tag.is_address() {
            return self.addresses.find(tag).map(address_index);
        }
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
    pub fn find_or_insert(&self, tag: Tag, now: Now) -> Result<WordIndex, BankFull> {
        if tag.is_address() {
            return self.addresses.find_or_insert(tag, now).map(address_index);
        }
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
                            self.header[header::USED][1].fetch_max(number as u64 + 1, Relaxed);
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

    /// What a word says.
    #[inline]
    pub fn load(&self, word: WordIndex) -> u64 {
        self.slot(word)[1].load(Relaxed)
    }

    /// What the word of `tag` says; `None` if its place is another's by now.
    pub fn peek(&self, word: WordIndex, tag: Tag) -> Option<u64> {
        let [found, word] = self.slot(word);
        let said = word.load(Relaxed);
        (found.load(Relaxed) == tag.get()).then_some(said)
    }

    /// Moves the word of `tag` from `from` to `to`.
    #[inline]
    pub fn exchange(&self, word: WordIndex, tag: Tag, from: u64, to: u64) -> Exchange {
        if word.0 & ADDRESS_BIT != 0 {
            return addresses::exchange(self.slot(word), tag, from, to);
        }
        let cell = &self.slot(word)[1];
        match cell.compare_exchange_weak(from, to, Relaxed, Relaxed) {
            Ok(_) => Exchange::Done,
            Err(_) => Exchange::Moved,
        }
    }

    #[inline]
    fn slot(&self, word: WordIndex) -> &Slot {
        if word.0 & ADDRESS_BIT != 0 {
            return self.addresses.slot(word.0 & !ADDRESS_BIT);
        }
        let segment_bits = word.0.ilog2();
        let number = (segment_bits - FIRST_BITS) as usize;
        let at = (word.0 - (1 << segment_bits)) as usize;
        let segment = self.segment(number);
        &segment.expect("an index was given out from it")[at]
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

fn usize_of(count: u64) -> usize {
    usize::try_from(count).expect("Keyway runs where an address has 64 bits")
}

fn slots_of(number: usize) -> usize {
    (1_usize << FIRST_BITS) << number
}

/// Slots before the segment `number`, the header's and the addresses' included.
fn slots_before(number: usize) -> u64 {
    SEGMENTS_AT + (((1_u64 << number) - 1) << FIRST_BITS)
}

/// The places of `tag` in the segment `number`, nearest first.
fn window(tag: Tag, number: usize, slots: usize) -> impl Iterator<Item = usize> {
    let mask = slots as u64 - 1;
    let home = tag.scatter(number as u64);
    (0..WINDOW).map(move |step| usize_of(home.wrapping_add(step) & mask))
}

/// The index of slot `at` in the segment `number`.
fn index(number: usize, at: usize) -> WordIndex {
    let biased = slots_of(number) + at;
    WordIndex(u32::try_from(biased).expect("fifteen segments fill 31 bits"))
}

fn address_index(slot: u32) -> WordIndex {
    WordIndex(ADDRESS_BIT | slot)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::num::NonZeroU32;

    use super::*;
    use crate::clock::Tick;
    use crate::limit::model::now;

    fn insert(bank: &Bank, tag: Tag) -> Result<WordIndex, BankFull> {
        bank.find_or_insert(tag, now(Tick(0)))
    }

    fn moves(bank: &Bank, word: WordIndex, from: u64, to: u64) -> bool {
        bank.exchange(word, tag(1), from, to) == Exchange::Done
    }

    fn tag(subject: u32) -> Tag {
        Tag::numbered(Kind::Rate, NonZeroU32::MIN, subject)
    }

    #[test]
    fn a_tag_keeps_its_word_and_shares_it_with_no_other() {
        let bank = Bank::create(1_000).unwrap();
        let first = insert(&bank, tag(1)).unwrap();
        let second = insert(&bank, tag(2)).unwrap();
        assert_ne!(first, second);
        assert!(moves(&bank, first, 0, 7));
        assert_eq!(bank.find(tag(1)), Some(first));
        assert_eq!(insert(&bank, tag(1)), Ok(first));
        assert_eq!((bank.load(first), bank.load(second)), (7, 0));
        assert_eq!(bank.words(), 2);
    }

    #[test]
    fn a_tag_that_was_never_inserted_is_not_found() {
        let bank = Bank::create(1_000).unwrap();
        insert(&bank, tag(1)).unwrap();
        assert_eq!(bank.find(tag(2)), None);
        assert_eq!(bank.words(), 1);
    }

    #[test]
    fn a_word_moves_only_from_where_it_stands() {
        let bank = Bank::create(1).unwrap();
        let word = insert(&bank, tag(1)).unwrap();
        assert!(moves(&bank, word, 0, 5));
        assert!(!moves(&bank, word, 0, 9));
        assert_eq!(bank.load(word), 5);
    }

    #[test]
    fn a_full_bank_says_so_and_still_finds_what_it_has() {
        let bank = Bank::create(10).unwrap();
        for subject in 0..10 {
            insert(&bank, tag(subject)).unwrap();
        }
        assert_eq!(insert(&bank, tag(10)), Err(BankFull));
        assert!(insert(&bank, tag(9)).is_ok());
        assert_eq!(bank.words(), 10);
    }

    #[test]
    fn a_bank_grows_by_segments_and_keeps_every_word() {
        let bank = Bank::create(1 << 20).unwrap();
        let words: Vec<WordIndex> = (0..200_000)
            .map(|subject| insert(&bank, tag(subject)).unwrap())
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
            .map(|subject| insert(&old, tag(subject)).unwrap())
            .collect();
        assert!(moves(&old, words[99_999], 0, 5));
        let file = old.file().try_clone_to_owned().unwrap();
        let new = Bank::adopt(file, 1 << 20).unwrap();
        assert_eq!(new.words(), 100_000);
        assert_eq!(new.find(tag(99_999)), Some(words[99_999]));
        assert_eq!(new.load(words[99_999]), 5);
        // Both go on for a while.
        assert!(moves(&new, words[99_999], 5, 6));
        assert_eq!(old.load(words[99_999]), 6);
        let inserted = insert(&new, tag(100_000)).unwrap();
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
        assert_eq!(last, ADDRESS_BIT - 1);
    }

    #[test]
    fn threads_that_insert_the_same_tags_agree_on_every_word() {
        let bank = Bank::create(1 << 20).unwrap();
        let insert_all = || -> Vec<u32> {
            (0..50_000)
                .map(|subject| insert(&bank, tag(subject)).unwrap().0)
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
        let word = insert(&bank, tag(1)).unwrap();
        let step = || {
            for _ in 0..50_000 {
                loop {
                    let from = bank.load(word);
                    if moves(&bank, word, from, from + 1) {
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
        assert_eq!(bank.load(word), 200_000);
    }
}
