//! The bank by itself: words that are found, moved, shared and adopted.

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
