//! The spool against a naive ledger: whatever crashes, comes twice or finds no room, each request
//! counts once, and what does not is told.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;

use super::files::Files;
use super::keeper::Keeper;
use super::{Sealed, SpoolSettings, SpoolState};
use crate::clock::Clock;
use crate::link::worker_handle::{Doorbell, Shared};
use crate::link::{PhaseCell, WorkerHandle, WorkerSeat};
use crate::record::LogSink;
use crate::record::latency::Latency;
use crate::record::segment::{Counted, Segment, SegmentRow};
use crate::record::usage::UsageNews;

fn worker() -> Arc<WorkerHandle> {
    let shared = Shared {
        log: LogSink::off(),
        phase: PhaseCell::new(),
        link: Doorbell::new().0,
        node: Doorbell::new().0,
    };
    WorkerSeat::new(0, &shared).unwrap().handle
}

fn keeper(directory: Option<&Path>, worker: &Arc<WorkerHandle>, bytes_max: u64) -> Keeper {
    let settings = SpoolSettings {
        node: "edge-1".into(),
        directory: directory.map(Path::to_owned),
        bytes_max,
    };
    let state = Arc::<SpoolState>::default();
    Keeper::new(&settings, vec![Arc::clone(worker)], state, Clock::system()).unwrap()
}

fn push(worker: &WorkerHandle, minute: u32, requests: u64) {
    let counted = Counted {
        minute,
        key: None,
        api: 1,
        route: 0,
        class: 2,
        refusal: 0,
    };
    worker.usage.push(UsageNews {
        rows: vec![SegmentRow {
            counted,
            requests,
            bytes_in: 0,
            bytes_out: 0,
            latency: Latency::default(),
        }],
        refused_clients: Vec::new(),
    });
}

/// Control, as the protocol asks for it.
#[derive(Default)]
struct Ledger {
    last: BTreeMap<u64, u64>,
    requests: u64,
    dropped: u64,
}

impl Ledger {
    fn hear(&mut self, sealed: &Sealed) {
        let last = self.last.entry(sealed.boot).or_default();
        if sealed.sequence <= *last {
            return;
        }
        *last = sealed.sequence;
        let segment = Segment::decode(&sealed.bytes).unwrap();
        assert_eq!(
            (segment.boot, segment.sequence),
            (sealed.boot, sealed.sequence)
        );
        assert_eq!(segment.node, "edge-1");
        self.requests += segment.requests();
        self.dropped += segment.dropped_requests;
    }

    fn hear_all(&mut self, keeper: &mut Keeper) {
        while let Some(sealed) = keeper.next() {
            self.hear(&sealed);
            keeper.acknowledge(&sealed);
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Count(u32, u64),
    Collect,
    Seal,
    /// The process is killed and another begins.
    Kill,
    Ship {
        acknowledged: bool,
    },
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..3_u32, 1..50_u64).prop_map(|(minute, n)| Step::Count(minute, n)),
        4 => Just(Step::Collect),
        2 => Just(Step::Seal),
        1 => Just(Step::Kill),
        3 => any::<bool>().prop_map(|acknowledged| Step::Ship { acknowledged }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_request_that_was_written_counts_once_whatever_crashes(
        steps in prop::collection::vec(any_step(), 0..60),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let worker = worker();
        let mut spool = keeper(Some(directory.path()), &worker, 1 << 30);
        let (mut ledger, mut written, mut pending) = (Ledger::default(), 0, 0);
        for step in steps {
            match step {
                Step::Count(minute, requests) => {
                    push(&worker, minute, requests);
                    pending += requests;
                }
                Step::Collect => {
                    spool.collect();
                    written += std::mem::take(&mut pending);
                }
                Step::Seal => {
                    spool.collect();
                    written += std::mem::take(&mut pending);
                    spool.seal(Clock::system().now());
                }
                Step::Kill => {
                    // What the workers still hold dies with them.
                    while worker.usage.pop().is_some() {}
                    pending = 0;
                    drop(spool);
                    spool = keeper(Some(directory.path()), &worker, 1 << 30);
                }
                Step::Ship { acknowledged } => {
                    if let Some(sealed) = spool.next() {
                        ledger.hear(&sealed);
                        if acknowledged {
                            spool.acknowledge(&sealed);
                        }
                    }
                }
            }
        }
        spool.collect();
        written += pending;
        spool.seal(Clock::system().now());
        ledger.hear_all(&mut spool);
        prop_assert_eq!((ledger.requests, ledger.dropped), (written, 0));
        drop(spool);
        let left = std::fs::read_dir(directory.path()).unwrap().count();
        prop_assert_eq!(left, 0, "what control has is gone from the disk");
    }
}

#[test]
fn a_crash_between_any_two_segments_of_a_count_neither_loses_nor_doubles() {
    // As many rows as need several segments.
    let fill = |worker: &WorkerHandle| (0..120_000).for_each(|minute| push(worker, minute, 1));
    let directory = tempfile::tempdir().unwrap();
    let worker = worker();
    fill(&worker);
    let mut spool = keeper(Some(directory.path()), &worker, 1 << 30);
    spool.collect();
    let names = |directory: &Path| {
        let entries = std::fs::read_dir(directory).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let journal = names(directory.path())
        .into_iter()
        .find(|name| name.to_string_lossy().ends_with(".open"))
        .unwrap();
    let journal_bytes = std::fs::read(directory.path().join(&journal)).unwrap();
    spool.seal(Clock::system().now());
    drop(spool);
    let segments = names(directory.path());
    assert!(segments.len() > 1, "{segments:?}");
    // They come to the disk from the last to the first.
    for there in 0..=segments.len() {
        let crashed = tempfile::tempdir().unwrap();
        for name in &segments[segments.len() - there..] {
            let (from, to) = (directory.path().join(name), crashed.path().join(name));
            std::fs::copy(from, to).unwrap();
        }
        std::fs::write(crashed.path().join(&journal), &journal_bytes).unwrap();
        let mut next = keeper(Some(crashed.path()), &worker, 1 << 30);
        let mut ledger = Ledger::default();
        ledger.hear_all(&mut next);
        assert_eq!(
            ledger.requests,
            120_000,
            "{there} of {} there",
            segments.len()
        );
    }
}

#[test]
fn a_torn_end_of_a_journal_costs_no_more_than_itself() {
    let directory = tempfile::tempdir().unwrap();
    let worker = worker();
    let mut spool = keeper(Some(directory.path()), &worker, 1 << 30);
    push(&worker, 1, 5);
    spool.collect();
    push(&worker, 2, 7);
    spool.collect();
    drop(spool);
    let entries = std::fs::read_dir(directory.path()).unwrap();
    let journal = entries.map(|entry| entry.unwrap().path()).next().unwrap();
    let bytes = std::fs::read(&journal).unwrap();
    std::fs::write(&journal, &bytes[..bytes.len() - 3]).unwrap();
    let mut next = keeper(Some(directory.path()), &worker, 1 << 30);
    let mut ledger = Ledger::default();
    ledger.hear_all(&mut next);
    assert_eq!(ledger.requests, 5);
}

#[test]
fn beyond_the_bound_the_oldest_are_dropped_counted_and_told() {
    let directory = tempfile::tempdir().unwrap();
    let worker = worker();
    let mut spool = keeper(Some(directory.path()), &worker, 2_000);
    for minute in 0..200 {
        push(&worker, minute, 3);
        spool.collect();
        spool.seal(Clock::system().now());
    }
    push(&worker, 500, 3);
    spool.collect();
    spool.seal(Clock::system().now());
    let mut ledger = Ledger::default();
    ledger.hear_all(&mut spool);
    assert!(ledger.requests > 0 && ledger.dropped > 0);
    // What was dropped with the last of them is told with the next.
    spool.seal(Clock::system().now());
    ledger.hear_all(&mut spool);
    assert_eq!(ledger.requests + ledger.dropped, 603);
}

#[test]
fn without_a_disk_that_works_it_is_kept_in_memory_and_shipped_all_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let worker = worker();
    let mut spool = keeper(Some(directory.path()), &worker, 1 << 30);
    std::fs::remove_dir_all(directory.path()).unwrap();
    push(&worker, 1, 5);
    spool.collect();
    spool.seal(Clock::system().now());
    push(&worker, 2, 7);
    spool.collect();
    // It works again: from here on the journal says all that is open.
    std::fs::create_dir(directory.path()).unwrap();
    push(&worker, 3, 11);
    spool.collect();
    let mut ledger = Ledger::default();
    ledger.hear_all(&mut spool);
    assert_eq!(ledger.requests, 5);
    drop(spool);
    let mut next = keeper(Some(directory.path()), &worker, 1 << 30);
    ledger.hear_all(&mut next);
    assert_eq!(ledger.requests, 23);
}

#[test]
fn what_a_living_process_holds_is_left_to_it() {
    let directory = tempfile::tempdir().unwrap();
    let worker = worker();
    let mut old = keeper(Some(directory.path()), &worker, 1 << 30);
    push(&worker, 1, 5);
    old.collect();
    let mut new = keeper(Some(directory.path()), &worker, 1 << 30);
    assert!(new.next().is_none());
    old.seal(Clock::system().now());
    let mut ledger = Ledger::default();
    ledger.hear_all(&mut old);
    ledger.hear_all(&mut new);
    assert_eq!(ledger.requests, 5);
}

#[test]
fn a_file_that_is_no_segment_is_set_aside() {
    let directory = tempfile::tempdir().unwrap();
    let worker = worker();
    let name = "0000000000000001-0000000000000001.segment";
    std::fs::write(directory.path().join(name), "hello").unwrap();
    let mut spool = keeper(Some(directory.path()), &worker, 1 << 30);
    assert!(spool.next().is_none());
    let aside = directory.path().join(name).with_extension("unreadable");
    assert_eq!(std::fs::read(aside).unwrap(), b"hello");
    assert!(Files::take(directory.path().to_owned(), 7).is_ok());
}
