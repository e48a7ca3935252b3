//! The bank's words for client addresses: as many as there is room for, and each handed on once it
//! says nothing any more.
//!
//! Keys are as many as control issued; addresses are as many as someone cares to use. So their
//! words live in a table of fixed size, in groups of sixteen, and an address that is new to a full
//! group gets the place of one whose word is *past*: a schedule behind the clock, a window that is
//! over, nobody in flight. Such a word admits exactly what a fresh one does, so nothing is
//! forgotten. Where no word of the group is past, the address cannot be counted and is refused.
//! The groups are chosen by a keyed hash, so nobody can fill one on purpose.
//!
//! # Why a word is never moved by the wrong hand
//!
//! Workers remember where the word of an address is. A worker that moves it looks at the tag
//! before and after ([`exchange`]); whoever hands a place on marks the tag, then looks whether the
//! word is still past, and only then zeroes it and writes the new tag. Both in the order that all
//! see (SeqCst), so at least one of the two sees the other: either the place is left alone, or the
//! worker learns that it is gone, and looks for its word again. Inserting is under a lock of the
//! group, so an address never gets two words. A holder that dies with the lock (a killed
//! process) is overruled after a second.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use crate::clock::Now;
use crate::limit::bank::{BankFull, Exchange};
use crate::limit::concurrency;
use crate::limit::memory::{Pair, Part};
use crate::limit::quota;
use crate::limit::schedule::Point;
use crate::limit::tag::{Kind, Tag};

/// Words for addresses; 16 MiB once all were used.
pub(super) const SLOTS: usize = 1 << 20;
/// Slots of a group: four cache lines, found without a lock.
const GROUP: usize = 16;
/// Locks, each for the groups whose number ends alike.
const LOCKS: usize = 128;
/// A lock held for longer belongs to a process that died in it.
const LOCK_MS_MAX: u64 = 1_000;
/// Turns of waiting for a lock, some 100 µs: its holder needs less than one, unless it was
/// preempted, and then the request is refused rather than every other one delayed.
const TURNS_MAX: u32 = 10_000;
/// The tag of a place that changes hands: no tag has this kind.
const CHANGING: u64 = u64::MAX;

/// The table.
#[derive(Debug)]
pub(super) struct Addresses {
    slots: Part,
    header: Part,
    first_lock: usize,
}

impl Addresses {
    /// Over `slots`, with the locks in `header` from `first_lock` on.
    pub(super) fn new(slots: Part, header: Part, first_lock: usize) -> Self {
        debug_assert!(slots.len() == SLOTS && header.len() >= first_lock + LOCKS);
        Self {
            slots,
            header,
            first_lock,
        }
    }

    pub(super) fn slots(&self) -> &[Pair] {
        &self.slots
    }

    #[inline]
    pub(super) fn slot(&self, at: u32) -> &Pair {
        &self.slots[at as usize]
    }

    /// Where the word of `tag` is, if it has one.
    pub(super) fn find(&self, tag: Tag) -> Option<u32> {
        let first = group(tag) * GROUP;
        let slots = &self.slots[first..first + GROUP];
        let at = slots
            .iter()
            .position(|[owner, _]| owner.load(SeqCst) == tag.get())?;
        u32::try_from(first + at).ok()
    }

    /// Where the word of `tag` is; it gets one if it has none.
    pub(super) fn find_or_insert(&self, tag: Tag, now: Now) -> Result<u32, BankFull> {
        if let Some(found) = self.find(tag) {
            return Ok(found);
        }
        let group = group(tag);
        let lock = &self.header[self.first_lock + group % LOCKS][0];
        let mine = acquire(lock, now).ok_or(BankFull)?;
        // Another worker may have been faster.
        let found = self.find(tag).or_else(|| self.take_place(group, tag, now));
        // Not if it was overruled: then the lock is another's.
        let _ = lock.compare_exchange(mine, 0, SeqCst, Relaxed);
        found.ok_or(BankFull)
    }

    fn take_place(&self, group: usize, tag: Tag, now: Now) -> Option<u32> {
        let first = group * GROUP;
        let free = (first..first + GROUP).find(|at| self.slots[*at][0].load(SeqCst) == 0);
        let place = free.or_else(|| (first..first + GROUP).find(|at| self.vacate(*at, now)))?;
        self.slots[place][0].store(tag.get(), SeqCst);
        u32::try_from(place).ok()
    }

    /// Takes a place from an address whose word is past; its tag is then [`CHANGING`] and its word
    /// zero.
    fn vacate(&self, at: usize, now: Now) -> bool {
        let [owner, word] = &self.slots[at];
        let before = owner.load(SeqCst);
        // A place left in change belonged to a process that died over it.
        let is_past = || match Tag::of_word(before) {
            Some(tag) => is_past(tag.kind(), word.load(SeqCst), now),
            None => true,
        };
        if !is_past() {
            return false;
        }
        owner.store(CHANGING, SeqCst);
        if is_past() {
            word.store(0, SeqCst);
            return true;
        }
        owner.store(before, SeqCst);
        false
    }
}

/// Moves the word of `tag` in `slot`, unless the place is another's.
pub(super) fn exchange(slot: &Pair, tag: Tag, from: u64, to: u64) -> Exchange {
    let [owner, word] = slot;
    if owner.load(SeqCst) != tag.get() {
        return Exchange::Gone;
    }
    if word.compare_exchange(from, to, SeqCst, SeqCst).is_err() {
        return Exchange::Moved;
    }
    if owner.load(SeqCst) == tag.get() {
        return Exchange::Done;
    }
    // What was just taken was taken from whoever has the place now. Usually nobody saw it; else
    // a rate or a quota stays a little short for once, but nobody may stay in flight forever.
    if word.compare_exchange(to, from, SeqCst, SeqCst).is_err() && tag.kind() == Kind::Concurrency {
        concurrency::take_back(word, to.saturating_sub(from));
    }
    Exchange::Gone
}

/// Whether a word admits exactly what a fresh one does.
fn is_past(kind: Kind, word: u64, now: Now) -> bool {
    match kind {
        Kind::Rate => Point(word) < Point::of(now.tick),
        Kind::Quota => quota::is_past(word, now.wall),
        Kind::Concurrency => word == 0,
    }
}

fn group(tag: Tag) -> usize {
    let groups = (SLOTS / GROUP) as u64;
    usize::try_from(tag.scatter(0) % groups).unwrap_or_default()
}

/// Takes a lock; what it says while it is held.
fn acquire(lock: &AtomicU64, now: Now) -> Option<u64> {
    let mine = now.tick.millis().max(1);
    for _ in 0..TURNS_MAX {
        let held = lock.load(Relaxed);
        let is_free = held == 0 || held.saturating_add(LOCK_MS_MAX) < mine;
        if is_free && lock.compare_exchange(held, mine, SeqCst, Relaxed).is_ok() {
            return Some(mine);
        }
        std::hint::spin_loop();
    }
    None
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::clock::WallTime;
    use crate::limit::bank::Bank;
    use crate::limit::model::ms;
    use crate::limit::tag::AddressHasher;

    fn at(tick_ms: u64, wall_hour: u64) -> Now {
        Now {
            tick: ms(tick_ms),
            wall: WallTime(wall_hour * 3_600_000),
        }
    }

    /// Tags of one kind that all belong to the same group.
    fn neighbors(kind: Kind, count: usize) -> Vec<Tag> {
        let hasher = AddressHasher::new([3, 4]);
        let tag = |host: u32| {
            let client = std::net::Ipv4Addr::from_bits(host).into();
            Tag::of_address(kind, NonZeroU32::MIN, client, &hasher)
        };
        let same = (0..).map(tag).filter(|found| group(*found) == 7);
        same.take(count).collect()
    }

    #[test]
    fn an_address_keeps_its_word_while_it_says_something() {
        let bank = Bank::create(1).unwrap();
        let tags = neighbors(Kind::Rate, GROUP + 1);
        let now = at(1_000, 0);
        let words: Vec<_> = tags[..GROUP]
            .iter()
            .map(|tag| bank.find_or_insert(*tag, now).unwrap())
            .collect();
        let ahead = Point::of(ms(2_000)).0;
        for (tag, word) in tags.iter().zip(&words) {
            assert_eq!(bank.exchange(*word, *tag, 0, ahead), Exchange::Done);
        }
        assert_eq!(bank.find_or_insert(tags[GROUP], now), Err(BankFull));
        assert_eq!(bank.find(tags[3]), Some(words[3]));
        // Once the schedules are behind the clock, one of them goes to the new address.
        let word = bank.find_or_insert(tags[GROUP], at(2_001, 0)).unwrap();
        assert_eq!(bank.load(word), 0);
        let lost = words.iter().position(|old| *old == word).unwrap();
        assert_eq!(bank.find(tags[lost]), None);
        assert_eq!(bank.exchange(word, tags[lost], 0, 5), Exchange::Gone);
        assert_eq!((bank.peek(word, tags[lost]), bank.load(word)), (None, 0));
        assert_eq!(bank.words(), 0, "addresses are not counted with the keys");
    }

    #[test]
    fn a_quota_is_past_when_its_window_must_be_and_a_place_when_nobody_has_it() {
        let window = |hour: u64| hour << 43 | 5;
        let (early, late) = (at(0, 1_000), at(0, 1_000 + 33 * 24));
        assert!(!is_past(Kind::Quota, window(1_000), early));
        assert!(is_past(Kind::Quota, window(1_000), late));
        assert!(is_past(Kind::Concurrency, 0, early));
        assert!(!is_past(Kind::Concurrency, 1 << 16, late));
    }

    #[test]
    fn threads_that_see_the_same_new_addresses_agree_on_their_words() {
        let bank = Bank::create(1).unwrap();
        let tags = neighbors(Kind::Rate, 200);
        for round in 0..50_u64 {
            // Each round's words are past in the next one.
            let now = at(1_000 + round * 10, 0);
            let tags = &tags[usize::try_from(round % 12).unwrap() * 16..][..16];
            let see = || -> Vec<_> {
                tags.iter()
                    .map(|tag| {
                        let word = bank.find_or_insert(*tag, now).unwrap();
                        let ahead = Point::of(now.tick).plus(16).0;
                        let _ = bank.exchange(word, *tag, bank.load(word), ahead);
                        word
                    })
                    .collect()
            };
            let all: Vec<_> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..4).map(|_| scope.spawn(see)).collect();
                threads.into_iter().map(|one| one.join().unwrap()).collect()
            });
            assert!(all.iter().all(|words| *words == all[0]), "round {round}");
        }
    }

    #[test]
    fn a_lock_whose_holder_died_is_overruled_after_a_second() {
        let lock = AtomicU64::new(0);
        assert_eq!(acquire(&lock, at(5_000, 0)), Some(5_000));
        assert_eq!(acquire(&lock, at(5_500, 0)), None);
        assert_eq!(acquire(&lock, at(6_001, 0)), Some(6_001));
    }
}
