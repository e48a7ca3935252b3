//! The keeper against a naive book: however it is sealed, killed, acknowledged and bounded, each
//! request is counted once, or counted as dropped.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crossbeam::channel::bounded;
use proptest::prelude::*;

use super::*;
use crate::link::testing::Bench;
use crate::record::refused_clients::RefusedClients;
use crate::record::segment::Counted;
use crate::snapshot::ids::KeyId;

#[derive(Clone, Debug)]
enum Step {
    Count(u64, u8),
    Collect,
    Seal,
    /// Control hears the next segment; the word that it has it may get lost.
    Ship(bool),
    /// Killed, and begun again; perhaps in the midst of a write to its journal.
    Kill(bool),
    /// Killed with nothing new to write down; only where the disk works.
    Crash,
    /// The disk fails, or works again.
    Disk(bool),
}

/// With a bound, what was dropped must not come back: so nothing is said there of words that get lost
/// and of a disk that keeps a journal which it does not let go.
fn step(bounded: bool) -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1..9u64, 1..5u8).prop_map(|(key, times)| Step::Count(key, times)),
        4 => Just(Step::Collect),
        3 => Just(Step::Seal),
        3 => any::<bool>().prop_map(move |heard| Step::Ship(heard || bounded)),
        1 => any::<bool>().prop_map(Step::Kill),
        1 => Just(if bounded { Step::Crash } else { Step::Collect }),
        2 => any::<bool>().prop_map(move |works| Step::Disk(works || bounded)),
    ]
}

struct Life {
    /// Keeps the workers' handles.
    bench: Bench,
    root: tempfile::TempDir,
    bytes_max: u64,
    keeper: Keeper,
    offer: Sender<Sealed>,
    next: Receiver<Sealed>,
    traveling: Option<Sealed>,
    counted: u64,
    disk_failed: bool,
    book: BTreeMap<(u64, u64), Sealed>,
}

fn keeper(bench: &Bench, directory: PathBuf, bytes_max: u64) -> Keeper {
    let settings = SpoolSettings {
        node: "edge-1".to_owned(),
        directory: Some(directory),
        bytes_max,
    };
    let state = Arc::clone(&bench.state.spool);
    let clock = bench.state.clock;
    Keeper::new(&settings, bench.state.workers.clone(), state, clock).expect("starts")
}

impl Life {
    fn new(bytes_max: u64) -> Self {
        let root = tempfile::tempdir().expect("a directory");
        let bench = Bench::new(root.path(), 1, None);
        let (offer, next) = bounded(1);
        Self {
            keeper: keeper(&bench, root.path().join("usage"), bytes_max),
            bench,
            root,
            bytes_max,
            offer,
            next,
            traveling: None,
            counted: 0,
            disk_failed: false,
            book: BTreeMap::new(),
        }
    }

    fn count(&mut self, key: u64, times: u8) {
        let queue = &self.bench.state.workers[0].usage;
        if queue.len() >= crate::record::usage::HANDOVERS_MAX {
            return;
        }
        let mut usage = Usage::new();
        for _ in 0..times {
            let counted = Counted {
                minute: 1,
                key: KeyId::new(key),
                api: 1,
                route: 2,
                class: 2,
                refusal: 0,
            };
            usage.add(counted, 1, 1, Some(1_000));
        }
        usage.hand_over(queue, &mut RefusedClients::default());
        self.counted += u64::from(times);
    }

    fn disk(&mut self, works: bool) {
        let (there, away) = (self.path("usage"), self.path("away"));
        let (from, to) = if works { (away, there) } else { (there, away) };
        if from.exists() {
            std::fs::rename(from, to).expect("moves");
        }
        // An open journal would go on in the directory that is away.
        self.keeper.journal_is_behind |= !works;
        self.disk_failed |= !works;
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn ship(&mut self, heard: bool) {
        self.keeper.offer(&self.offer);
        if self.traveling.is_none() {
            self.traveling = self.next.try_recv().ok();
        }
        let Some(sealed) = self.traveling.clone() else {
            return;
        };
        let (boot, sequence) = (sealed.boot, sealed.sequence);
        // As control does: what comes again is not looked at.
        let known = self.book.entry((boot, sequence)).or_insert(sealed.clone());
        assert!(self.disk_failed || known.bytes == sealed.bytes);
        if heard {
            self.traveling = None;
            self.keeper.shipped(Id { boot, sequence });
        }
    }

    fn kill(&mut self, torn: bool) {
        // What only the memory has is lost with it, and is not what this is about.
        self.disk(true);
        self.keeper.write_what_memory_has();
        self.count(1, 1);
        self.keeper.collect();
        if torn {
            tear(&self.path("usage"));
        }
        self.begin_again();
    }

    /// Killed with nothing new to write down, on a disk that works.
    fn crash(&mut self) {
        self.keeper.collect();
        self.begin_again();
    }

    fn begin_again(&mut self) {
        // The old one's lock goes with it, as when the process is killed.
        let idle = keeper(&self.bench, self.path("idle"), 1);
        drop(std::mem::replace(&mut self.keeper, idle));
        self.keeper = keeper(&self.bench, self.path("usage"), self.bytes_max);
        (self.offer, self.next) = bounded(1);
        self.traveling = None;
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Count(key, times) => self.count(key, times),
            Step::Collect => self.keeper.collect(),
            Step::Seal => self.keeper.seal(self.bench.state.clock.now()),
            Step::Ship(heard) => self.ship(heard),
            Step::Kill(torn) => self.kill(torn),
            Step::Crash => self.crash(),
            Step::Disk(works) => self.disk(works),
        }
    }

    /// All that is left gets to control; what it counted, and what was dropped.
    fn end(&mut self) -> (u64, u64) {
        self.kill(false);
        self.keeper.seal(self.bench.state.clock.now());
        while !self.keeper.waiting.is_empty() {
            self.ship(true);
            // What was dropped meanwhile is told by one more.
            self.keeper.seal(self.bench.state.clock.now());
        }
        let left = std::fs::read_dir(self.path("usage")).expect("is there");
        assert_eq!(left.count(), 1, "the lock alone is left");
        let counted = self.book.values().map(|sealed| sealed.requests).sum();
        let told = self
            .book
            .values()
            .map(|sealed| sealed.dropped_requests)
            .sum();
        let dropped = self.bench.state.spool.dropped.load(Ordering::Relaxed);
        assert_eq!(dropped, told, "control is told of all that was dropped");
        (counted, told)
    }
}

/// Half a record at the end of each journal.
fn tear(directory: &Path) {
    use std::io::Write as _;
    for entry in std::fs::read_dir(directory).expect("is there") {
        let path = entry.expect("is there").path();
        if path
            .extension()
            .is_some_and(|extension| extension == "open")
        {
            let mut file = std::fs::OpenOptions::new()
                .append(true)
                .open(path)
                .expect("opens");
            file.write_all(&[90, 0, 0, 0, b'K', b'W']).expect("writes");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn each_request_is_counted_once_whatever_happens(
        steps in prop::collection::vec(step(false), 1..60)
    ) {
        let mut life = Life::new(1 << 30);
        steps.iter().for_each(|step| life.take(step));
        prop_assert_eq!(life.end(), (life.counted, 0));
    }

    #[test]
    fn what_finds_no_room_is_counted_as_dropped(
        steps in prop::collection::vec(step(true), 1..60)
    ) {
        let mut life = Life::new(300);
        steps.iter().for_each(|step| life.take(step));
        let (counted, dropped) = life.end();
        prop_assert_eq!(counted + dropped, life.counted);
    }
}

/// Three segments of one journal, killed after each step of their seal.
#[test]
fn a_kill_at_each_step_of_a_seal_counts_once() {
    for steps_done in 0..5 {
        let mut life = Life::new(1 << 30);
        let directory = life.path("usage");
        let dead = 77;
        let mut old = Files::take(directory, dead).expect("takes it");
        let piece = |sequence| {
            let mut usage = Usage::new();
            let counted = Counted {
                minute: 1,
                key: KeyId::new(sequence),
                api: 0,
                route: 0,
                class: 4,
                refusal: 0,
            };
            usage.add(counted, 1, 1, None);
            Segment {
                boot: dead,
                sequence,
                rows: usage.take(),
                ..Segment::default()
            }
        };
        let all: Vec<Segment> = (4..7).map(piece).collect();
        let mut journal = Vec::new();
        all.iter()
            .for_each(|one| journal::append(&mut journal, one));
        old.append(4, &journal).expect("writes");
        // Sealed earlier, and not a part of this journal.
        let other = |sequence| Id {
            boot: dead,
            sequence,
        };
        old.write_segment(other(3), 3, &piece(3).encode())
            .expect("writes");
        for one in all.iter().rev().take(steps_done) {
            old.write_segment(other(one.sequence), 4, &one.encode())
                .expect("writes");
        }
        if steps_done == 4 {
            old.forget_journal(other(4)).expect("removes");
        }
        drop(old);
        assert_eq!(life.end(), (4 + 1, 0), "after {steps_done} steps");
    }
}

#[test]
fn what_a_living_process_has_is_left_to_it_until_it_ends() {
    let mut life = Life::new(1 << 30);
    let mut other = keeper(&life.bench, life.path("usage"), 1 << 30);
    life.count(1, 5);
    other.collect();
    other.seal(life.bench.state.clock.now());
    life.keeper.recover();
    assert!(life.keeper.waiting.is_empty());
    drop(other);
    life.keeper.recover();
    assert_eq!(life.keeper.waiting.len(), 1);
    assert_eq!(life.end(), (life.counted, 0));
}

#[test]
fn a_kill_hides_nothing_of_what_was_dropped() {
    let mut life = Life::new(300);
    for key in 1..9 {
        life.count(key, 1);
        life.take(&Step::Collect);
        life.take(&Step::Seal);
    }
    let dropped = life.bench.state.spool.dropped.load(Ordering::Relaxed);
    assert!(dropped > 0, "there is no room for all of it");
    life.crash();
    let (counted, told) = life.end();
    assert_eq!(counted + told, life.counted);
}
