//! What goes in comes out, once, however it is asked for.

use super::*;
use crate::domain::KeyId;
use crate::fixture::{change, segment, store_with_key, this_minute};
use crate::store::{Ingested, Store};
use keyway::record::segment::Segment;
use proptest::prelude::*;
use std::collections::BTreeMap;

async fn add(store: &Store, segment: Segment) -> Ingested {
    let body = segment.encode();
    let added = change(store, move |tx| tx.usage_add(&segment, &body)).await;
    added.expect("adds").value
}

async fn sums(store: &Store, by: Option<Dimension>, step: Step) -> Vec<UsageSum> {
    let filter = UsageFilter {
        to_ms: u64::MAX >> 12,
        ..UsageFilter::default()
    };
    let read = store.read(move |rows| rows.usage(&filter, by, step, false));
    read.await.expect("reads")
}

async fn total(store: &Store) -> u64 {
    let sums = sums(store, None, Step::Minute).await;
    sums.iter().map(|sum| sum.requests).sum()
}

#[tokio::test]
async fn a_segment_counts_once_however_often_it_comes() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, key) = store_with_key(directory.path()).await;
    let now = this_minute();
    let one =
        |boot, sequence, requests| segment(boot, sequence, &[(now, Some(key.id), 2, requests)]);
    let generation = store.read(|rows| rows.generation()).await.expect("reads");
    for (segment, expected) in [
        (one(u64::MAX, 1, 5), Ingested::Added),
        (one(u64::MAX, 1, 5), Ingested::Seen),
        (one(u64::MAX, 2, 7), Ingested::Added),
        (one(u64::MAX, 1, 5), Ingested::Seen),
        (one(1, 1, 100), Ingested::Added),
        // Segments between them were dropped by the node.
        (one(1, 4, 1_000), Ingested::Added),
        (one(1, 3, 1), Ingested::Seen),
    ] {
        assert_eq!(add(&store, segment).await, expected);
    }
    let after = store.read(|rows| rows.generation()).await.expect("reads");
    assert_eq!(after, generation, "usage publishes nothing");
    assert_eq!(total(&store).await, 1_112);
    let id = key.id;
    let key = store.read(move |rows| rows.key(id)).await.expect("the key");
    assert_eq!(key.last_used_ms, Some(u64::from(now) * 60_000));
}

#[tokio::test]
async fn each_dimension_and_step_tells_the_same_requests() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, key) = store_with_key(directory.path()).await;
    let counts = [
        (1_000_000, Some(key.id), 2, 3),
        (1_000_001, Some(key.id), 4, 2),
        (1_000_090, None, 5, 4),
    ];
    add(&store, segment(1, 1, &counts)).await;
    let subjects = |by| {
        let store = store.clone();
        async move {
            let sums = sums(&store, Some(by), Step::Day).await;
            let told = |sum: UsageSum| (sum.subject.unwrap_or_default(), sum.requests);
            sums.into_iter().map(told).collect::<Vec<_>>()
        }
    };
    let none = (String::new(), 4);
    let named = |name: &str| vec![none.clone(), (name.to_owned(), 5)];
    assert_eq!(subjects(Dimension::Key).await, named(&key.id.to_string()));
    assert_eq!(subjects(Dimension::App).await, named("acme/mobile"));
    assert_eq!(subjects(Dimension::Tenant).await, named("acme"));
    assert_eq!(subjects(Dimension::Api).await, [("orders".to_owned(), 9)]);
    let route = "orders GET /orders/*".to_owned();
    assert_eq!(subjects(Dimension::Route).await, [(route, 9)]);
    let steps = |step| {
        let store = store.clone();
        async move { sums(&store, None, step).await.len() }
    };
    assert_eq!(steps(Step::Minute).await, 3);
    assert_eq!(steps(Step::Hour).await, 2);
    assert_eq!(steps(Step::Day).await, 1);
    let [day] = &sums(&store, None, Step::Day).await[..] else {
        panic!("one day");
    };
    assert_eq!(day.by_class, [0, 0, 3, 0, 2, 4]);
    assert_eq!(day.refusals, BTreeMap::from([("limit".to_owned(), 2)]));
    assert_eq!((day.bytes_in, day.bytes_out), (90, 900));
    assert_eq!(
        (day.latency.count(), day.latency.quantile_us(0.5)),
        (9, Some(1_023))
    );
}

#[tokio::test]
async fn sums_made_again_are_the_same_and_mend_what_was_bent() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, key) = store_with_key(directory.path()).await;
    let now = this_minute();
    for sequence in 1..=20_u32 {
        let minute = now + 1_440 + sequence * 60;
        let counts = [(minute, Some(key.id), 2, 3), (minute, None, 4, 1)];
        add(&store, segment(1, u64::from(sequence), &counts)).await;
    }
    let before = sums(&store, Some(Dimension::Key), Step::Hour).await;
    let bend = |tx: &mut crate::store::Tx<'_>| {
        let connection = tx.connection();
        Ok(connection.execute("UPDATE usage_hours SET requests = requests + 1", [])?)
    };
    change(&store, bend).await.expect("bends");
    assert_ne!(sums(&store, Some(Dimension::Key), Step::Hour).await, before);
    let (from_ms, to_ms) = (0, u64::from(now) * 60_000 + 10 * 86_400_000);
    let rebuilt = change(&store, move |tx| tx.usage_rebuild(from_ms, to_ms)).await;
    assert_eq!(rebuilt.expect("rebuilds").value, 20);
    assert_eq!(sums(&store, Some(Dimension::Key), Step::Hour).await, before);
    assert_eq!(total(&store).await, 80);
}

#[tokio::test]
async fn what_is_too_old_is_forgotten_a_little_at_a_time() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, key) = store_with_key(directory.path()).await;
    let now = this_minute();
    let counts: Vec<_> = (0..6_000).map(|at| (at, Some(key.id), 2, 1)).collect();
    add(&store, segment(1, 1, &counts)).await;
    add(&store, segment(1, 2, &[(now, Some(key.id), 2, 1)])).await;
    let retention = Retention::default();
    let forget = || change(&store, move |tx| tx.usage_forget(&retention));
    assert!(forget().await.expect("forgets").value, "there is more");
    assert!(!forget().await.expect("forgets").value);
    assert_eq!(total(&store).await, 1);
    assert_eq!(sums(&store, None, Step::Day).await.len(), 1);
}

fn any_counts() -> impl Strategy<Value = Vec<(u32, u64, u8, u64)>> {
    prop::collection::vec((0..5_000_u32, 0..3_u64, 0..6_u8, 1..50_u64), 0..20)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn segments_in_any_order_sum_up_to_what_was_counted(
        segments in prop::collection::vec(any_counts(), 1..6),
        again in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(async {
            let directory = tempfile::tempdir().expect("a directory");
            let (store, _) = store_with_key(directory.path()).await;
            let mut model: BTreeMap<u64, u64> = BTreeMap::new();
            let made: Vec<Segment> = (1..)
                .zip(&segments)
                .map(|(boot, counts)| {
                    let counts: Vec<_> = counts
                        .iter()
                        .map(|(minute, key, class, n)| (*minute, KeyId::new(*key), *class, *n))
                        .collect();
                    segment(boot, 1, &counts)
                })
                .collect();
            for row in made.iter().flat_map(|segment| &segment.rows) {
                *model.entry(u64::from(row.counted.minute) / 60).or_default() += row.requests;
            }
            for segment in &made {
                assert_eq!(add(&store, segment.clone()).await, Ingested::Added);
            }
            for index in &again {
                assert_eq!(add(&store, index.get(&made).clone()).await, Ingested::Seen);
            }
            let hours = sums(&store, None, Step::Hour).await;
            let told: BTreeMap<u64, u64> = hours
                .iter()
                .map(|sum| (sum.at_ms / Step::Hour.ms(), sum.requests))
                .collect();
            assert_eq!(told, model);
            for sum in hours {
                assert_eq!(sum.latency.count(), sum.requests);
            }
        });
    }
}
