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
    /// Whether an address was ever counted.
    pub(super) const ADDRESSES: usize = 6;
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
    /// Mapped when the first address is counted: most nodes never do.
    addresses: OnceLock<Option<Addresses>>,
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
            addresses: OnceLock::new(),
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
        let has_addresses = self.header[header::ADDRESSES][0].load(Relaxed) != 0;
        let addresses = has_addresses.then(|| self.addresses()).flatten();
        let addresses = addresses.map_or(&[][..], Addresses::slots);
        for [tag, word] in segments.flatten().chain(addresses) {
            let tag = Tag::of_word(tag.load(Relaxed));
            if tag.is_some_and(|tag| tag.kind() == Kind::Concurrency) {
                lane.clear(word);
            }
        }
    }

    /// The word of `tag`, if it has one.
    pub fn find(&self, tag: Tag) -> Option<WordIndex> {
        if tag.is_address() {
            return self.addresses()?.find(tag).map(address_index);
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
            let addresses = self.addresses().ok_or(BankFull)?;
            return addresses.find_or_insert(tag, now).map(address_index);
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
            let addresses = self.addresses();
            let addresses = addresses.expect("an index was given out from them");
            return addresses.slot(word.0 & !ADDRESS_BIT);
        }
        let segment_bits = word.0.ilog2();
        let number = (segment_bits - FIRST_BITS) as usize;
        let at = (word.0 - (1 << segment_bits)) as usize;
        let segment = self.segment(number);
        &segment.expect("an index was given out from it")[at]
    }

    fn addresses(&self) -> Option<&Addresses> {
        let addresses = self.addresses.get_or_init(|| {
            let slots = self.memory.map(ADDRESSES_AT, addresses::SLOTS);
            let header = self.memory.map(0, usize_of(HEADER_SLOTS));
            let mapped = slots.and_then(|slots| Ok((slots, header?)));
            if let Err(error) = &mapped {
                tracing::error!(%error, "no memory for limits of addresses; they are refused");
            }
            self.header[header::ADDRESSES][0].store(1, Relaxed);
            let (slots, header) = mapped.ok()?;
            Some(Addresses::new(slots, header, header::LOCKS))
        });
        addresses.as_ref()
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
mod tests;
