//! Limits on the wire: never more than a plan allows, on however many workers.

mod support;

use std::time::Duration;

use support::origin::refusing;
use support::{Gateway, Origin, Response, Traffic, World, get, wait};

/// The parameters of the one item of a structured list, by name.
fn parameters(response: &Response, field: &str) -> Vec<(String, u64)> {
    let value = response
        .header(field)
        .unwrap_or_else(|| panic!("no {field}: {:?}", response.head));
    let (name, parameters) = value.split_once(';').expect("an item with parameters");
    assert_eq!(name, "\"rate\"", "{value}");
    let pair = |text: &str| {
        let (name, number) = text.split_once('=').expect("a parameter has a value");
        (name.to_owned(), number.parse().expect("a number"))
    };
    parameters.split(';').map(pair).collect()
}

fn parameter(response: &Response, field: &str, name: &str) -> u64 {
    let all = parameters(response, field);
    let found = all.iter().find(|(own, _)| own == name);
    found.unwrap_or_else(|| panic!("no {name} in {all:?}")).1
}

#[test]
fn a_burst_is_admitted_and_the_next_request_is_told_when_to_come_back() {
    let origin = Origin::echo();
    let world = World::before(&[origin.address]).limit(6, 60_000, 3);
    let gateway = Gateway::over(world).workers(1).start();
    let mut client = gateway.client();
    for left in [2, 1, 0] {
        let answer = client.exchange(&gateway.good());
        answer.assert_status(200);
        assert_eq!(parameter(&answer, "RateLimit", "r"), left);
        assert_eq!(parameter(&answer, "RateLimit-Policy", "w"), 60);
    }
    let refused = client.exchange(&gateway.good());
    refused.assert_refusal(429, "limit-reached");
    let wait_s: u64 = refused
        .header("retry-after")
        .and_then(|text| text.parse().ok())
        .expect("says");
    assert!(
        (9..=10).contains(&wait_s),
        "one in ten seconds, and it says {wait_s}"
    );
    assert_eq!(parameter(&refused, "RateLimit", "r"), 0);
    assert_eq!(origin.requests(), 3);
    // The connection goes on.
    client
        .exchange(&gateway.good())
        .assert_refusal(429, "limit-reached");
}

#[test]
fn whoever_comes_back_when_told_is_admitted() {
    let origin = Origin::echo();
    let world = World::before(&[origin.address]).limit(1, 1_000, 1);
    let gateway = Gateway::over(world).start();
    let mut client = gateway.client();
    client.exchange(&gateway.good()).assert_status(200);
    let refused = client.exchange(&gateway.good());
    refused.assert_refusal(429, "limit-reached");
    assert_eq!(refused.header("retry-after"), Some("1"));
    let told = wait::now();
    wait::until("the second to pass", || {
        told.elapsed() >= Duration::from_millis(1_100)
    });
    client.exchange(&gateway.good()).assert_status(200);
}

/// Calls as fast as it can on many connections for a while, and says how many were admitted.
#[track_caller]
fn admitted_is_never_above(requests_per_s: u64, burst: u64, time: Duration) {
    let origin = Origin::saying(support::turn::answer(200, &[], "ok"));
    let world = World::before(&[origin.address]).limit(requests_per_s, 1_000, burst);
    let gateway = Gateway::over(world).workers(2).start();
    let began = wait::now();
    let traffic = Traffic::of(gateway.listen, 8, &gateway.good());
    wait::until("the time to pass", || began.elapsed() >= time);
    let tally = traffic.stop();
    let elapsed_ms = u64::try_from(began.elapsed().as_millis()).expect("short") + 1;
    assert_eq!(tally.faults, [""; 0]);
    let admitted = u64::try_from(tally.count(200)).expect("few");
    let allowed = burst + requests_per_s * elapsed_ms / 1_000;
    assert!(
        admitted <= allowed,
        "{admitted} admitted, {allowed} allowed in {elapsed_ms} ms"
    );
    assert_eq!(u64::try_from(origin.requests()).expect("few"), admitted);
    assert_eq!(
        tally.count(200) + tally.count(429),
        tally.statuses.values().sum::<usize>()
    );
    // And not much less, as long as more was asked for than was there.
    if tally.count(429) > 0 {
        assert!(
            admitted * 10 >= allowed * 8,
            "{admitted} admitted, {allowed} allowed"
        );
    }
}

#[test]
fn ten_a_second_over_two_workers_are_never_more() {
    admitted_is_never_above(10, 10, Duration::from_secs(2));
}

#[test]
fn a_thousand_a_second_over_two_workers_are_never_more() {
    admitted_is_never_above(1_000, 100, Duration::from_secs(2));
}

#[test]
fn a_burst_of_one_over_two_workers_is_one() {
    admitted_is_never_above(5, 1, Duration::from_secs(2));
}

#[test]
fn every_key_has_a_limit_of_its_own() {
    let origin = Origin::echo();
    let mut world = World::before(&[origin.address]).limit(1, 3_600_000, 2);
    let other = world.mint();
    let gateway = Gateway::over(world).start();
    for key in [&gateway.world.key, &other] {
        let statuses = [0; 3].map(|_| gateway.exchange(&get("/orders/1").key(key)).status);
        assert_eq!(statuses, [200, 200, 429]);
    }
}

#[test]
fn a_request_refused_before_the_limit_does_not_spend_it() {
    let origin = Origin::echo();
    let world = World::before(&[origin.address])
        .limit(1, 3_600_000, 2)
        .with(|world| {
            world.fixture =
                std::mem::take(&mut world.fixture).api("vault", "origin", &["/vault/*"]);
        });
    let setup = Gateway::over(world).http("body_bytes_max = 10");
    let gateway = setup.start();
    let key = gateway.world.key.as_str();
    for _ in 0..10 {
        gateway
            .exchange(&get("/vault/1").key(key))
            .assert_refusal(403, "not-entitled");
        gateway
            .exchange(&get("/nowhere").key(key))
            .assert_refusal(404, "route-unknown");
        let large = support::post("/orders/1", [b'x'; 11]).key(key);
        gateway
            .exchange(&large)
            .assert_refusal(413, "body-too-large");
    }
    let statuses = [0; 3].map(|_| gateway.get().status);
    assert_eq!(statuses, [200, 200, 429]);
}

#[test]
fn a_request_that_reached_nobody_gets_its_allowance_back() {
    let (_held, refusing) = refusing();
    let world = World::before(&[refusing]).limit(1, 3_600_000, 2);
    let mut gateway = Gateway::over(world).workers(1).start();
    for _ in 0..5 {
        gateway.get().assert_refusal(502, "upstream-unreachable");
    }
    let origin = Origin::echo();
    gateway.publish(|world| world.upstream().targets = vec![origin.address.to_string().into()]);
    let statuses = [0; 3].map(|_| gateway.get().status);
    assert_eq!(statuses, [200, 200, 429]);
}

#[test]
fn a_new_generation_gives_nobody_a_new_allowance() {
    let origin = Origin::echo();
    let world = World::before(&[origin.address]).limit(1, 3_600_000, 2);
    let mut gateway = Gateway::over(world).start();
    let statuses = [0; 3].map(|_| gateway.get().status);
    assert_eq!(statuses, [200, 200, 429]);
    gateway.publish(|_| {});
    gateway.get().assert_refusal(429, "limit-reached");
}

#[test]
fn the_strictest_of_several_limits_decides() {
    let origin = Origin::echo();
    let world = World::before(&[origin.address])
        .limit(1_000, 1_000, 1_000)
        .with(|world| {
            let mut second = world.fixture.catalog.plans[0].limits[0].clone();
            (second.number, second.name) = (77, "daily".into());
            (second.requests, second.period_ms, second.burst) = (2, 86_400_000, 2);
            world.fixture.catalog.plans[0].limits.push(second);
        });
    let gateway = Gateway::over(world).start();
    let answers = [0; 3].map(|_| gateway.get());
    assert_eq!(
        answers.each_ref().map(|answer| answer.status),
        [200, 200, 429]
    );
    let policy = answers[2]
        .header("RateLimit-Policy")
        .expect("both are told");
    assert!(
        policy.contains("\"rate\"") && policy.contains("\"daily\""),
        "{policy}"
    );
}

#[test]
fn a_plan_without_limits_says_nothing_of_them() {
    let origin = Origin::echo();
    let world = World::before(&[origin.address])
        .with(|world| world.fixture.catalog.plans[0].limits.clear());
    let gateway = Gateway::over(world).start();
    let answer = gateway.get();
    answer.assert_status(200);
    assert!(!answer.fields.has("RateLimit") && !answer.fields.has("RateLimit-Policy"));
}
