//! That words do not overlap, and what is seen of them when.

use super::*;
use std::collections::HashSet;

fn published(counters: &Counters) -> PublishedCounters {
    let published = PublishedCounters::new();
    counters.publish(&published);
    published
}

#[test]
fn every_refusal_has_a_slot_and_a_label_of_its_own() {
    let labels: HashSet<_> = REFUSALS.iter().map(|r| r.face().label).collect();
    assert_eq!(labels.len(), REFUSAL_COUNT);
    for (i, refusal) in REFUSALS.into_iter().enumerate() {
        assert_eq!(refusal_slot(refusal), i, "{refusal:?}");
    }
}

#[test]
fn every_close_cause_has_a_slot_and_a_label_of_its_own() {
    let labels: HashSet<_> = CloseCause::ALL.iter().map(|c| c.label()).collect();
    assert_eq!(labels.len(), CLOSES);
    assert!(
        CloseCause::ALL
            .iter()
            .enumerate()
            .all(|(i, c)| *c as usize == i)
    );
}

#[test]
fn no_two_groups_of_words_overlap() {
    assert_eq!(Counter::UsageLost as usize, NAMED - 1);
    let mut counters = Counters::new();
    counters.refused(Refusal::Internal);
    counters.closed(CloseCause::Client);
    counters.took(Span::Request, u64::MAX >> 1);
    counters.took(Span::Upstream, 1);
    let seen = published(&counters);
    assert_eq!(seen.refusals(Refusal::Internal), 1);
    assert_eq!(seen.closed(CloseCause::Client), 1);
    assert_eq!(seen.histogram(Span::Request).0[BUCKETS - 1], 1);
    assert_eq!(seen.histogram(Span::Request).1, u64::MAX >> 1);
    assert_eq!(seen.histogram(Span::Upstream).0[0], 1);
    assert_eq!(seen.counter(Counter::UsageLost), 0);
    assert_eq!((0..6).map(|class| seen.requests(class)).sum::<u64>(), 0);
}

#[test]
fn a_finished_request_counts_its_class_its_bytes_and_its_time() {
    let mut counters = Counters::new();
    for status in [200, 204, 404, 0, 999] {
        counters.finished(status, 10, 100, 1_500);
    }
    let seen = published(&counters);
    assert_eq!(
        (seen.requests(2), seen.requests(4), seen.requests(0)),
        (2, 1, 2)
    );
    assert_eq!(seen.counter(Counter::BytesIn), 50);
    assert_eq!(seen.counter(Counter::BytesOut), 500);
    assert_eq!(seen.histogram(Span::Request).0[1], 5);
}

#[test]
fn a_tunnel_counts_its_bytes_but_no_time() {
    let mut counters = Counters::new();
    counters.finished(101, 10, 100, 3_600_000_000_000);
    let seen = published(&counters);
    assert_eq!(seen.requests(1), 1);
    assert_eq!(seen.counter(Counter::BytesOut), 100);
    assert_eq!(seen.histogram(Span::Request).0, [0; BUCKETS]);
}

#[test]
fn connections_are_open_until_they_are_closed_for_some_cause() {
    let mut counters = Counters::new();
    counters.add(Counter::ConnectionsAccepted, 3);
    counters.closed(CloseCause::IdleTimeout);
    counters.closed(CloseCause::Drain);
    assert_eq!(counters.open_connections(), 1);
    assert_eq!(published(&counters).open_connections(), 1);
}

#[test]
fn nothing_is_seen_before_it_is_published() {
    let published = PublishedCounters::new();
    let mut counters = Counters::new();
    counters.count(Counter::Panics);
    assert_eq!(published.counter(Counter::Panics), 0);
    counters.publish(&published);
    assert_eq!(published.counter(Counter::Panics), 1);
}
