//! Limits on the wire: never more than a plan allows, on however many workers.

mod support;

use std::time::Duration;

use keyway::snapshot::catalog::{CalendarUnit, LimitEntry, LimitShape, LimitSubject, LimitUnit};
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
            second.shape = LimitShape::Rate {
                units: 2,
                period_ms: 86_400_000,
                burst: 2,
            };
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

fn limit(number: u32, name: &str, shape: LimitShape) -> LimitEntry {
    LimitEntry {
        number,
        name: name.into(),
        subject: LimitSubject::Key,
        unit: LimitUnit::Requests,
        shape,
        shadow: false,
    }
}

fn quota(units: u64) -> LimitShape {
    LimitShape::Quota {
        units,
        window: CalendarUnit::Month,
        zone: "Europe/Berlin".into(),
    }
}

#[test]
fn a_quota_of_the_month_is_spent_over_two_workers_and_says_when_it_ends() {
    let origin = Origin::echo();
    let world = World::before(&[origin.address]).with(|world| {
        *world.limit_entry() = limit(1, "rate", quota(50));
    });
    let gateway = Gateway::over(world).workers(2).start();
    // Each on a connection of its own, so that both workers have some.
    let answers: Vec<Response> = (0..60).map(|_| gateway.get()).collect();
    let admitted = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!((admitted, origin.requests()), (50, 50));
    let refused = &answers[59];
    refused.assert_refusal(429, "limit-reached");
    let wait_s = parameter(refused, "RateLimit", "t");
    assert!((1..=31 * 86_400 + 3_600).contains(&wait_s), "{wait_s}");
    assert_eq!(parameter(refused, "RateLimit-Policy", "w"), 30 * 86_400);
    let told = refused.header("retry-after").expect("says");
    assert!(told.parse::<u64>().expect("a number").abs_diff(wait_s) <= 1);
}

#[test]
fn requests_in_flight_are_limited_and_end_however_their_clients_do() {
    let origin = Origin::hanging();
    let world = World::before(&[origin.address]).with(|world| {
        *world.limit_entry() = limit(1, "rate", LimitShape::Concurrent { requests: 2 });
    });
    let gateway = Gateway::over(world).workers(2).start();
    let mut clients: Vec<_> = (0..2).map(|_| gateway.client()).collect();
    for client in &mut clients {
        client.send(gateway.good().bytes());
    }
    origin.wait_for_requests(2);
    let refused = gateway.get();
    refused.assert_refusal(429, "limit-reached");
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(
        refused.header("RateLimit-Policy"),
        Some("\"rate\";q=2;qu=\"concurrent-requests\"")
    );
    // They vanish without a word; their places are free again.
    clients.into_iter().for_each(support::Client::reset);
    origin.wait_until_free();
    let mut next = gateway.client();
    wait::until("a place to be free", || {
        next.send(gateway.good().bytes());
        let before = origin.requests();
        // Either it is refused at once or it hangs at the origin.
        let mut refused = false;
        wait::until("an answer or a request", || {
            refused = has_answer(&next);
            refused || origin.requests() > before
        });
        if refused {
            next.read().assert_refusal(429, "limit-reached");
        }
        !refused
    });
}

/// Whether something can be read.
fn has_answer(client: &support::Client) -> bool {
    let stream = client.stream();
    stream.set_nonblocking(true).expect("is a socket");
    let peeked = stream.peek(&mut [0]);
    stream.set_nonblocking(false).expect("is a socket");
    peeked.is_ok_and(|bytes| bytes > 0)
}

#[test]
fn an_api_limits_each_address_also_where_no_key_is_asked() {
    let origin = Origin::echo();
    let per_address = LimitEntry {
        subject: LimitSubject::Address,
        ..limit(
            9,
            "rate",
            LimitShape::Rate {
                units: 1,
                period_ms: 3_600_000,
                burst: 3,
            },
        )
    };
    let world = World::before(&[origin.address])
        .with(|world| world.fixture.catalog.apis[0].key_required = false)
        .api_limit(per_address);
    let gateway = Gateway::over(world)
        .http("trusted_proxies = [\"127.0.0.1\"]")
        .start();
    let from = |client: &str| {
        let request = get("/orders/1").header("X-Forwarded-For", client);
        gateway.exchange(&request).status
    };
    let statuses = [0; 4].map(|_| from("203.0.113.7"));
    assert_eq!(statuses, [200, 200, 200, 429]);
    assert_eq!(from("203.0.113.8"), 200);
    let network = ["2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8::4"];
    assert_eq!(network.map(from), [200, 200, 200, 429]);
}

#[test]
fn a_key_above_its_limits_is_still_held_to_those_of_the_api() {
    let origin = Origin::echo();
    let shared = LimitEntry {
        subject: LimitSubject::Api,
        ..limit(9, "all", quota(5))
    };
    let world = World::before(&[origin.address])
        .limit(1, 3_600_000, 1)
        .api_limit(shared)
        .with(|world| {
            let key = world.key.clone();
            world.record(&key).unlimited = true;
        });
    let gateway = Gateway::over(world).start();
    let statuses = [0; 6].map(|_| gateway.get().status);
    assert_eq!(statuses, [200, 200, 200, 200, 200, 429]);
}

#[test]
fn a_limit_that_only_watches_is_counted_in_the_metrics_and_told_to_nobody() {
    let origin = Origin::echo();
    let world = World::before(&[origin.address])
        .limit(1, 3_600_000, 2)
        .with(|world| world.limit_entry().shadow = true);
    let gateway = Gateway::over(world).start();
    let answers = [0; 5].map(|_| gateway.get());
    for answer in &answers {
        answer.assert_status(200);
        assert!(!answer.fields.has("RateLimit"));
    }
    let labels = [("limit", "rate"), ("of", "plan free")];
    wait::until("the metric", || {
        let metrics = gateway.metrics();
        metrics.sum("keyway_limit_shadow_refusals_total", &labels) == 3.0
            && metrics.sum("keyway_limit_refusals_total", &labels) == 0.0
    });
}

#[test]
fn bytes_of_answers_are_limited() {
    let origin = Origin::saying(support::turn::answer(200, &[], "x".repeat(1_000).as_str()));
    let world = World::before(&[origin.address])
        .limit(1, 1_000, 3_000)
        .with(|world| world.limit_entry().unit = LimitUnit::BytesOut);
    let gateway = Gateway::over(world).workers(1).start();
    let statuses = [0; 4].map(|_| gateway.get().status);
    assert_eq!(statuses, [200, 200, 200, 429]);
}

/// A node with a quota of 20 and a state directory.
fn with_state(origin: &Origin, state: &std::path::Path) -> Gateway {
    let world = World::before(&[origin.address]).with(|world| {
        *world.limit_entry() = limit(1, "rate", quota(20));
    });
    Gateway::over(world)
        .setting(&format!("state.directory = {state:?}"))
        .start()
}

#[test]
fn a_consumed_quota_survives_a_restart() {
    let origin = Origin::echo();
    let state = tempfile::tempdir().expect("a directory");
    let mut gateway = with_state(&origin, state.path());
    (0..15).for_each(|_| gateway.get().assert_status(200));
    gateway.signal(nix::sys::signal::Signal::SIGTERM);
    assert!(gateway.wait_for_exit().success());
    let gateway = gateway.restart();
    let statuses: Vec<u16> = (0..10).map(|_| gateway.get().status).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 5);
}

#[test]
fn a_node_that_is_killed_forgets_at_most_a_second_of_a_quota() {
    let origin = Origin::echo();
    let state = tempfile::tempdir().expect("a directory");
    let gateway = with_state(&origin, state.path());
    (0..15).for_each(|_| gateway.get().assert_status(200));
    // What is older than a second is on the disk.
    let kept = || gateway.metrics().sum("keyway_quotas_kept", &[]) == 1.0;
    wait::until("the quota to be written", kept);
    let asked = wait::now();
    wait::until("a second to pass", || {
        asked.elapsed() >= Duration::from_secs(1)
    });
    gateway.signal(nix::sys::signal::Signal::SIGKILL);
    let gateway = gateway.restart();
    let statuses: Vec<u16> = (0..10).map(|_| gateway.get().status).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 5);
}
