//! Who is let through, who is not, and what each side is told.

mod support;

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use keyway::snapshot::record::{Environment, KeyState};
use support::{Gateway, Origin, Request, Response, World, get, post, request};

fn seconds_since_1970() -> u32 {
    #[expect(
        clippy::disallowed_methods,
        reason = "a key's validity is in real time"
    )]
    let now = SystemTime::now();
    let seconds = now
        .duration_since(UNIX_EPOCH)
        .expect("the clock is set")
        .as_secs();
    u32::try_from(seconds).expect("before 2106")
}

#[test]
fn a_good_key_reaches_the_origin_and_its_answer_comes_back() {
    let origin = Origin::echo();
    let gateway = Gateway::before(&origin);
    let answer = gateway.exchange(&post("/orders/7?full=1", "two eggs").key(&gateway.world.key));
    answer.assert_status(200);
    let echo = answer.json();
    assert_eq!(echo["method"], "POST");
    assert_eq!(echo["target"], "/orders/7?full=1");
    assert_eq!(echo["body_crc32"], support::turn::crc32(b"two eggs"));
    assert_eq!(answer.header("content-type"), Some("application/json"));
}

#[test]
fn the_origin_learns_who_calls_and_what_the_client_claims_is_removed() {
    let origin = Origin::echo();
    let mut gateway = Gateway::before(&origin);
    let key = gateway.world.key.clone();
    let id = gateway.world.id(&key);
    let answer = gateway.exchange(
        &gateway
            .good()
            .header("Keyway-Tenant", "somebody-else")
            .header("keyway-app", "somebody-else")
            .header("KEYWAY-KEY-ID", "key_0000000000000")
            .header("Keyway-Plan", "unlimited")
            .header("Keyway-Environment", "test")
            .header("Keyway-Anything", "at all"),
    );
    for (name, expected) in [
        ("Keyway-Tenant", "acme"),
        ("Keyway-App", "mobile"),
        ("Keyway-Key-Id", id.as_str()),
        ("Keyway-Plan", "free"),
        ("Keyway-Environment", "live"),
    ] {
        assert_eq!(answer.echoed(name), [expected], "{name}");
    }
    assert_eq!(answer.echoed("Keyway-Anything"), [""; 0]);
}

#[test]
fn a_test_key_is_told_from_a_live_one() {
    let origin = Origin::echo();
    let mut world = World::before(&[origin.address]);
    let key = world.mint_as(|record| record.environment = Environment::Test);
    let gateway = Gateway::over(world).start();
    let answer = gateway.exchange(&get("/orders/1").key(&key));
    assert_eq!(answer.echoed("Keyway-Environment"), ["test"]);
}

#[test]
fn the_key_is_taken_out_wherever_it_stands() {
    let origin = Origin::echo();
    let world = World::before(&[origin.address]).with(|world| {
        world.fixture = std::mem::take(&mut world.fixture)
            .api("parts", "origin", &["/parts/*"])
            .api("notes", "origin", &["/notes/*"]);
        world.api("parts").credential.header = Some("X-Parts-Token".into());
        world.api("notes").credential.query = Some("api_key".into());
        world.fixture = std::mem::take(&mut world.fixture).app(
            "all",
            &[("orders", "free"), ("parts", "free"), ("notes", "free")],
        );
        world.key = world.mint();
    });
    let gateway = Gateway::over(world).start();
    let key = &gateway.world.key;
    for sent in [
        get("/orders/1").header("Authorization", &format!("Bearer {key}")),
        get("/orders/1").header("authorization", &format!("bearer  {key}")),
        get("/orders/1").header("X-API-Key", key),
        get("/orders/1").header("x-api-key", key),
        get("/parts/1").header("X-Parts-Token", key),
        get(&format!("/notes/1?api_key={key}")),
        get(&format!("/notes/1?a=1&api_key={key}&b=2")),
    ] {
        let before = origin.requests();
        gateway.exchange(&sent).assert_status(200);
        let got = origin.received().remove(before);
        let text = String::from_utf8_lossy(&got.head.raw).into_owned();
        assert!(
            !text.contains(key.as_str()),
            "the origin got the key of {sent:?}:\n{text}"
        );
    }
    let targets: Vec<String> = origin
        .received()
        .iter()
        .map(|got| got.head.line.clone())
        .skip(5)
        .collect();
    assert_eq!(
        targets,
        ["GET /notes/1 HTTP/1.1", "GET /notes/1?a=1&b=2 HTTP/1.1"]
    );
}

#[test]
fn a_key_in_the_query_counts_only_where_the_api_says_so() {
    let origin = Origin::echo();
    let gateway = Gateway::before(&origin);
    let key = &gateway.world.key;
    for name in ["api_key", "key", "access_token", "apikey"] {
        let answer = gateway.exchange(&get(&format!("/orders/1?{name}={key}")));
        answer.assert_refusal(401, "key-missing");
    }
    assert_eq!(origin.requests(), 0);
}

#[test]
fn an_api_with_a_header_of_its_own_takes_the_key_from_nowhere_else() {
    let origin = Origin::echo();
    let world = World::before(&[origin.address])
        .with(|world| world.api("orders").credential.header = Some("X-Orders".into()));
    let gateway = Gateway::over(world).start();
    gateway
        .exchange(&gateway.good())
        .assert_refusal(401, "key-missing");
    let by_header = get("/orders/1").header("x-orders", &gateway.world.key);
    let answer = gateway.exchange(&by_header.header("Authorization", "Basic b2xkOnNlcnZlcg=="));
    assert_eq!(answer.echoed("Authorization"), ["Basic b2xkOnNlcnZlcg=="]);
}

#[test]
fn an_authorization_that_is_not_ours_passes_beside_x_api_key() {
    let origin = Origin::echo();
    let gateway = Gateway::before(&origin);
    let by_header = get("/orders/1").header("X-API-Key", &gateway.world.key);
    let answer = gateway.exchange(&by_header.header("Authorization", "Bearer for.the.target"));
    assert_eq!(answer.echoed("Authorization"), ["Bearer for.the.target"]);
}

#[test]
fn two_keys_in_one_request_are_refused_and_not_ranked() {
    let origin = Origin::echo();
    let mut world = World::before(&[origin.address]);
    let other = world.mint();
    let gateway = Gateway::over(world).start();
    for sent in [
        gateway.good().key(&other),
        gateway.good().key(&gateway.world.key),
        gateway.good().header("X-API-Key", &other),
        get("/orders/1")
            .header("X-API-Key", &other)
            .header("X-API-Key", &gateway.world.key),
    ] {
        gateway.exchange(&sent).assert_refusal(400, "key-ambiguous");
    }
    assert_eq!(origin.requests(), 0);
}

#[test]
fn every_dead_key_gets_the_same_answer_as_one_that_never_lived() {
    let origin = Origin::echo();
    let mut world = World::before(&[origin.address]);
    let now = seconds_since_1970();
    let mut damaged = world.unpublished();
    damaged.replace_range(10..11, if &damaged[10..11] == "a" { "b" } else { "a" });
    let mut keys = vec![
        world.unpublished(),
        damaged,
        "kw_live_".into(),
        "not-a-key-of-ours".into(),
        world.mint_as(|record| record.state = KeyState::Revoked),
        world.mint_as(|record| record.state = KeyState::Disabled),
        world.mint_as(|record| record.not_after_s = now - 1),
        world.mint_as(|record| record.not_before_s = now + 3_600),
    ];
    world.fixture = std::mem::take(&mut world.fixture).app("closed", &[("orders", "free")]);
    world.fixture.apps.last_mut().expect("just added").enabled = false;
    keys.push(world.mint());
    world.fixture = std::mem::take(&mut world.fixture)
        .tenant("gone")
        .app("app", &[("orders", "free")]);
    world
        .fixture
        .catalog
        .tenants
        .last_mut()
        .expect("just added")
        .enabled = false;
    keys.push(world.mint());
    let gateway = Gateway::over(world).start();
    let mut answers = BTreeSet::new();
    for key in &keys {
        let answer = gateway.exchange(&get("/orders/1").key(key));
        answer.assert_refusal(401, "key-refused");
        answers.insert(without_what_differs(&answer));
    }
    assert_eq!(answers.len(), 1, "probing learns something: {answers:#?}");
    assert_eq!(origin.requests(), 0);
}

/// An answer without its request id and its date.
fn without_what_differs(answer: &Response) -> String {
    let mut text = format!("{:?}{}", answer.head, answer.text());
    let id = answer
        .header("x-request-id")
        .expect("every answer has an id");
    text = text.replace(id, "ID");
    match answer.header("date") {
        Some(date) => text.replace(date, "DATE"),
        None => text,
    }
}

#[test]
fn a_refusal_is_a_problem_that_names_its_request() {
    let origin = Origin::echo();
    let gateway = Gateway::before(&origin);
    let answer = gateway.exchange(&get("/orders/1"));
    answer.assert_refusal(401, "key-missing");
    let problem = answer.json();
    assert_eq!(problem["type"], "urn:keyway:problem:key-missing");
    assert!(
        problem["title"]
            .as_str()
            .is_some_and(|title| title.len() > 10)
    );
    assert_eq!(
        problem["request_id"].as_str(),
        answer.header("x-request-id")
    );
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let line = gateway.wait_for_log(1).remove(0);
    assert_eq!(line["request_id"], problem["request_id"]);
    assert_eq!(line["refusal"], "key_missing");
}

#[test]
fn each_refusal_of_the_decision_tells_the_client_how_to_go_on() {
    let origin = Origin::echo();
    let world = World::before(&[origin.address]).with(|world| {
        world.api("orders").routes[0].methods = vec!["GET".into(), "POST".into()];
        world.fixture = std::mem::take(&mut world.fixture).api("vault", "origin", &["/vault/*"]);
    });
    let gateway = Gateway::over(world).start();
    let key = &gateway.world.key;

    let missing = gateway.exchange(&get("/orders/1"));
    missing.assert_refusal(401, "key-missing");
    assert_eq!(
        missing.header("www-authenticate"),
        Some("Bearer realm=\"keyway\"")
    );

    let unknown = gateway.exchange(&get("/orders/1").key("kw_live_x"));
    unknown.assert_refusal(401, "key-refused");
    let expected = "Bearer realm=\"keyway\", error=\"invalid_token\"";
    assert_eq!(unknown.header("www-authenticate"), Some(expected));

    gateway
        .exchange(&get("/elsewhere").key(key))
        .assert_refusal(404, "route-unknown");
    gateway
        .exchange(&get("/ordersx").key(key))
        .assert_refusal(404, "route-unknown");
    gateway
        .exchange(&get("/vault/1").key(key))
        .assert_refusal(403, "not-entitled");

    let method = gateway.exchange(&request("DELETE", "/orders/1").key(key));
    method.assert_refusal(405, "method-not-allowed");
    let allowed: BTreeSet<&str> = method
        .header("allow")
        .expect("a 405 says so")
        .split(',')
        .map(str::trim)
        .collect();
    assert!(
        allowed.is_superset(&BTreeSet::from(["GET", "POST"])),
        "{allowed:?}"
    );
    assert!(!allowed.contains("DELETE"), "{allowed:?}");

    assert_eq!(origin.requests(), 0);
}

#[test]
fn get_includes_head_and_an_answer_to_head_has_no_body() {
    let origin = Origin::echo();
    let world = World::before(&[origin.address])
        .with(|world| world.api("orders").routes[0].methods = vec!["GET".into()]);
    let gateway = Gateway::over(world).start();
    let mut client = gateway.client();
    let refused = client.exchange(&request("HEAD", "/orders/1"));
    refused.assert_status(401);
    let whole = client.exchange(&get("/orders/1"));
    whole.assert_status(401);
    assert_eq!(
        refused.header("content-length"),
        whole.header("content-length")
    );
    assert!(refused.header("content-length").is_some());
}

#[test]
fn an_imported_key_in_a_form_of_its_own_is_known() {
    let origin = Origin::echo();
    let world =
        World::before(&[origin.address]).with(|world| world.import("sk-from-the-old-gateway"));
    let gateway = Gateway::over(world).start();
    gateway
        .exchange(&get("/orders/1").key("sk-from-the-old-gateway"))
        .assert_status(200);
    gateway
        .exchange(&get("/orders/1").key("sk-from-nowhere"))
        .assert_refusal(401, "key-refused");
    gateway.get().assert_status(200);
}

#[test]
fn what_outgrows_its_limit_is_refused_by_name() {
    let origin = Origin::echo();
    let setup = Gateway::over(World::before(&[origin.address]))
        .http("head_bytes_max = 4096")
        .http("target_bytes_max = 512")
        .http("headers_max = 20")
        .http("body_bytes_max = 1000");
    let gateway = setup.start();
    let good = || gateway.good();
    let many = (0..20).fold(good(), |request, n| request.header(&format!("X-{n}"), "x"));
    let cases: Vec<(Request, u16, &str)> = vec![
        (
            get(&format!("/orders/{}", "x".repeat(600))),
            414,
            "target-too-long",
        ),
        (
            good().header("X-Long", &"x".repeat(5_000)),
            431,
            "head-too-large",
        ),
        (many, 431, "too-many-headers"),
        (
            post("/orders/1", [b'x'; 1_001]).key(&gateway.world.key),
            413,
            "body-too-large",
        ),
        (
            request("TRACE", "/orders/1").key(&gateway.world.key),
            501,
            "method-unsupported",
        ),
        (
            request("CONNECT", "orders:443").key(&gateway.world.key),
            501,
            "method-unsupported",
        ),
        (
            good().header("Transfer-Encoding", "gzip, chunked"),
            501,
            "coding-unsupported",
        ),
        (
            good().header("Expect", "a-miracle"),
            417,
            "expectation-unknown",
        ),
    ];
    for (sent, status, code) in cases {
        gateway.exchange(&sent).assert_refusal(status, code);
    }
    let mut client = gateway.client();
    client.send("GET /orders/1 HTTP/2.0\r\nHost: gateway.test\r\n\r\n");
    client.read().assert_refusal(505, "version-unsupported");
    assert_eq!(origin.requests(), 0);
    gateway
        .exchange(&post("/orders/1", [b'x'; 1_000]).key(&gateway.world.key))
        .assert_status(200);
}

#[test]
fn a_chunked_body_over_the_cap_never_becomes_whole_at_the_origin() {
    let origin = Origin::echo();
    let setup = Gateway::over(World::before(&[origin.address])).http("body_bytes_max = 1000");
    let gateway = setup.start();
    let piece: &[u8] = &[b'x'; 400];
    let sent = request("POST", "/orders/1")
        .key(&gateway.world.key)
        .chunks(&[piece; 3]);
    gateway
        .exchange(&sent)
        .assert_refusal(413, "body-too-large");
    origin.wait_until_free();
    assert!(
        origin.received().iter().all(|got| !got.whole),
        "{:?}",
        origin.received()
    );
}
