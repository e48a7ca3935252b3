//! Choices among targets, by count.

use super::*;
use crate::clock::WallTime;
use crate::snapshot::catalog::{Affinity, Breaker, Place, Target};
use crate::watch::outlook::{NameOutlook, TargetOutlook};
use std::net::SocketAddr;

fn upstream(weights: &[u32], balance: BalanceEntry) -> Upstream {
    let target = |(weight, port): (&u32, u16)| Target {
        place: Place::At(SocketAddr::from(([127, 0, 0, 1], port)).into()),
        weight: *weight,
    };
    Upstream {
        shape: xxh3_64(
            &weights
                .iter()
                .flat_map(|w| w.to_le_bytes())
                .collect::<Vec<_>>(),
        ) | 1,
        targets: weights.iter().zip(1..).map(target).collect(),
        balance,
        ..Upstream::for_tests()
    }
}

fn draw(n: u64) -> Draw {
    Draw {
        now_ms: 1,
        bound: None,
        chance: xxh3_64(&n.to_le_bytes()),
    }
}

fn port(member: &Member) -> usize {
    match &member.endpoint {
        Endpoint::Tcp(address) => usize::from(address.port()) - 1,
        Endpoint::Unix(_) => panic!("all are TCP here"),
    }
}

/// How often each target is picked in `picks`, nothing ever ending.
fn counts(balance: &mut Balance, upstream: &Upstream, picks: u64) -> Vec<u64> {
    let mut counts = vec![0; upstream.targets.len()];
    for n in 0..picks {
        let member = balance.pick(upstream, draw(n), &[]).expect("one is fit");
        balance.begin(&member, 1);
        counts[port(&member)] += 1;
    }
    counts
}

#[test]
fn turns_follow_weights_exactly_and_are_spread() {
    let upstream = upstream(&[5, 1, 1, 0], BalanceEntry::RoundRobin);
    let mut balance = Balance::default();
    assert_eq!(counts(&mut balance, &upstream, 700), [500, 100, 100, 0]);
    let few = counts(&mut balance, &upstream, 3);
    assert!(few[0] < 3, "not the heavy one three times: {few:?}");
}

#[test]
fn workers_begin_with_different_targets() {
    let upstream = upstream(&[1, 1], BalanceEntry::RoundRobin);
    let first = |worker| {
        let mut balance = Balance::starting_at(worker);
        port(&balance.pick(&upstream, draw(0), &[]).expect("one"))
    };
    assert_ne!(first(0), first(1));
}

#[test]
fn the_less_busy_of_two_keeps_all_about_as_busy_as_their_weight() {
    let upstream = upstream(&[2, 1, 1], BalanceEntry::LeastInflight);
    let counts = counts(&mut Balance::default(), &upstream, 4_000);
    for (count, expected) in counts.iter().zip([2_000, 1_000, 1_000]) {
        assert!(count.abs_diff(expected) < 60, "{counts:?}");
    }
}

#[test]
fn a_value_keeps_its_target_and_few_move_when_one_goes() {
    let rule = || BalanceEntry::Hash(Affinity::Key);
    let (all, fewer) = (
        upstream(&[1, 1, 1, 1], rule()),
        upstream(&[1, 1, 1, 0], rule()),
    );
    let mut balance = Balance::default();
    let mut at = |upstream: &Upstream, value: u64| {
        let bound = Some(xxh3_64(&value.to_le_bytes()));
        let draw = Draw {
            bound,
            ..draw(value + 7)
        };
        port(&balance.pick(upstream, draw, &[]).expect("one"))
    };
    let before: Vec<usize> = (0..2_000).map(|value| at(&all, value)).collect();
    let again: Vec<usize> = (0..2_000).map(|value| at(&all, value)).collect();
    assert_eq!(before, again);
    for (value, before) in before.iter().enumerate() {
        let after = at(&fewer, value as u64);
        assert!(
            after == *before || *before == 3,
            "only those of the one that went move"
        );
    }
}

#[test]
fn a_target_with_an_open_circuit_gets_nothing_and_one_that_was_tried_neither() {
    let mut upstream = upstream(&[1, 1, 1], BalanceEntry::RoundRobin);
    upstream.breaker = Some(Breaker {
        failures: 1,
        open_ms: 1_000,
        trials: 1,
    });
    let mut balance = Balance::default();
    let bad = balance.pick(&upstream, draw(0), &[]).expect("one");
    balance.begin(&bad, 1);
    assert_eq!(
        balance.end(&upstream, &bad, Went::Badly, 1),
        Some(Change::Opened)
    );
    let mut tried = Vec::new();
    while let Some(next) = balance.pick(&upstream, draw(1), &tried) {
        assert!(!Rc::ptr_eq(&next, &bad));
        tried.push(next);
    }
    assert_eq!(tried.len(), 2);
    assert_eq!(bad.in_flight.get(), 0);
}

#[test]
fn what_was_learned_of_a_target_survives_its_neighbors() {
    let before = upstream(&[1, 1], BalanceEntry::RoundRobin);
    let after = upstream(&[1, 3, 1], BalanceEntry::RoundRobin);
    let mut balance = Balance::default();
    let member = balance.pick(&before, draw(0), &[]).expect("one");
    balance.begin(&member, 1);
    let all: Vec<_> = (0..5)
        .filter_map(|n| balance.pick(&after, draw(n), &[]))
        .collect();
    assert!(
        all.iter()
            .any(|one| Rc::ptr_eq(one, &member) && one.in_flight.get() == 1)
    );
}

#[test]
fn an_upstream_without_weight_has_nobody_to_pick() {
    let none = upstream(&[0, 0], BalanceEntry::RoundRobin);
    assert!(Balance::default().pick(&none, draw(0), &[]).is_none());
}

/// What checks and names say of the upstream.
fn outlook(version: u64, addresses: &[&str], unhealthy: &[Endpoint]) -> Arc<Outlook> {
    let name = NameOutlook {
        host: "app".into(),
        addresses: addresses
            .iter()
            .map(|one| one.parse().expect("is one"))
            .collect(),
        resolved: None,
        last_error: None,
    };
    let target = |endpoint: &Endpoint| TargetOutlook {
        endpoint: endpoint.clone(),
        healthy: false,
        since: WallTime(0),
        last_error: None,
    };
    let targets = unhealthy.iter().map(target).collect();
    let one = UpstreamOutlook::of_names("test", vec![name]).with(version, targets);
    let mut outlook = Outlook::default();
    outlook.upstreams.insert(1, Arc::new(one));
    Arc::new(outlook)
}

/// The addresses that `picks` requests go to.
fn asked(balance: &mut Balance, upstream: &Upstream, now_ms: u64, picks: u64) -> Vec<String> {
    let mut asked: Vec<_> = (0..picks)
        .filter_map(|n| balance.pick(upstream, Draw { now_ms, ..draw(n) }, &[]))
        .map(|member| member.endpoint.to_string())
        .collect();
    asked.sort_unstable();
    asked
}

#[test]
fn a_name_is_all_of_its_addresses_and_each_keeps_what_was_learned_of_it() {
    let upstream = Upstream {
        targets: vec![Target {
            place: "app:80".parse().expect("is a place"),
            weight: 1,
        }],
        ..Upstream::for_tests()
    };
    let mut balance = Balance::default();
    assert_eq!(asked(&mut balance, &upstream, 1, 4), [""; 0]);
    balance.adopt(outlook(1, &["10.0.0.1", "10.0.0.2"], &[]));
    let both = ["10.0.0.1:80", "10.0.0.1:80", "10.0.0.2:80", "10.0.0.2:80"];
    assert_eq!(asked(&mut balance, &upstream, 1, 4), both);
    let first = balance.pick(&upstream, draw(0), &[]).expect("one is fit");
    balance.adopt(outlook(
        2,
        &["10.0.0.3", &first.endpoint.to_string()[..8]],
        &[],
    ));
    let again = (0..4).filter_map(|n| balance.pick(&upstream, draw(n), &[]));
    assert_eq!(again.filter(|member| Rc::ptr_eq(member, &first)).count(), 2);
}

#[test]
fn an_unhealthy_target_gets_nothing_and_begins_slowly_when_it_is_well() {
    let upstream = Upstream {
        slow_start_ms: 1_000,
        ..upstream(&[1, 1], BalanceEntry::RoundRobin)
    };
    let [left, right] = [1, 2].map(|port| SocketAddr::from(([127, 0, 0, 1], port)).into());
    let mut balance = Balance::default();
    balance.adopt(outlook(1, &[], &[Endpoint::clone(&right)]));
    assert_eq!(asked(&mut balance, &upstream, 1, 4), ["127.0.0.1:1"; 4]);
    // All are: then it counts for nothing.
    balance.adopt(outlook(2, &[], &[left, right]));
    let both = asked(&mut balance, &upstream, 2, 4);
    assert!(both.contains(&"127.0.0.1:2".to_owned()), "{both:?}");
    balance.adopt(outlook(3, &[], &[]));
    let right = asked(&mut balance, &upstream, 10_000, 110);
    let right = right.iter().filter(|one| *one == "127.0.0.1:2").count();
    assert_eq!(right, 55, "both begin alike");
    balance.adopt(outlook(
        4,
        &[],
        &[SocketAddr::from(([127, 0, 0, 1], 2)).into()],
    ));
    assert_eq!(
        asked(&mut balance, &upstream, 20_000, 4),
        ["127.0.0.1:1"; 4]
    );
    balance.adopt(outlook(5, &[], &[]));
    let right = asked(&mut balance, &upstream, 20_100, 110);
    let right = right.iter().filter(|one| *one == "127.0.0.1:2").count();
    assert!(
        (8..=12).contains(&right),
        "a tenth of its weight, and it got {right} of 110"
    );
}
