//! Answers that a route gives itself: redirects and fixed responses.

mod support;

use keyway::snapshot::catalog::{Answer, Field, HeaderEdits, Redirect, Respond, RouteEntry};
use support::{Gateway, Origin, World, get, post, request};

fn redirect(path: &str, status: u16, location: &str) -> RouteEntry {
    RouteEntry {
        path: path.into(),
        answer: Some(Answer::Redirect(Redirect {
            status,
            location: location.into(),
        })),
        ..RouteEntry::default()
    }
}

fn respond(path: &str, status: u16, body: &str) -> RouteEntry {
    RouteEntry {
        path: path.into(),
        answer: Some(Answer::Respond(Respond {
            status,
            headers: vec![Field {
                name: "Content-Type".into(),
                value: "application/json".into(),
            }],
            body: body.into(),
        })),
        ..RouteEntry::default()
    }
}

fn gateway(origin: &Origin, routes: Vec<RouteEntry>) -> Gateway {
    let world = World::before(&[origin.address]).with(|world| {
        world.api("orders").routes = routes;
    });
    Gateway::over(world).start()
}

#[test]
fn a_redirect_leads_where_the_catalog_says_and_takes_the_query_along() {
    let origin = Origin::echo();
    let gateway = gateway(
        &origin,
        vec![
            redirect("/old/*", 308, "/new/*"),
            redirect(
                "/moved/{id}",
                301,
                "https://elsewhere.test:8443/things/{id}",
            ),
            redirect("/secure/*", 307, "https://{host}/*"),
            redirect("/port", 302, "http://{host}:8080"),
        ],
    );
    for (target, status, location) in [
        ("/old/a/b?c=d&e", 308, "/new/a/b?c=d&e"),
        ("/old", 308, "/new"),
        ("/moved/7", 301, "https://elsewhere.test:8443/things/7"),
        ("/secure/a%0aa?b", 400, ""),
        ("/secure/a%20a?b", 307, "https://Gateway.Test/a%20a?b"),
        ("/port", 302, "http://Gateway.Test:8080/"),
        // No path makes a location that names another host.
        ("/secure//evil.test", 400, ""),
        ("/old/%2f%2fevil.test", 400, ""),
        ("/old/%5cevil.test", 400, ""),
        ("/old/@evil.test", 308, "/new/@evil.test"),
    ] {
        let sent = get(target)
            .host("Gateway.Test:9000")
            .key(&gateway.world.key);
        let answer = gateway.exchange(&sent);
        answer.assert_status(status);
        assert_eq!(
            answer.header("location").unwrap_or(""),
            location,
            "{target}"
        );
    }
    assert_eq!(origin.requests(), 0);
}

#[test]
fn a_key_in_the_query_does_not_go_along() {
    let origin = Origin::echo();
    let world = World::before(&[origin.address]).with(|world| {
        world.api("orders").routes = vec![redirect("/old", 302, "https://other.test/new")];
        world.api("orders").credential.query = Some("api_key".into());
    });
    let gateway = Gateway::over(world).start();
    let key = &gateway.world.key;
    let answer = gateway.exchange(&get(&format!("/old?a=1&api_key={key}&b=2")));
    assert_eq!(
        answer.header("location"),
        Some("https://other.test/new?a=1&b=2")
    );
}

#[test]
fn a_fixed_answer_comes_after_key_and_limit_and_asks_no_target() {
    let origin = Origin::echo();
    let world = World::before(&[origin.address])
        .limit(2, 3_600_000, 2)
        .with(|world| {
            world.api("orders").routes = vec![respond("/mock", 201, "{\"a\":1}")];
        });
    let gateway = Gateway::over(world).workers(1).start();
    let key = gateway.world.key.as_str();
    gateway
        .exchange(&get("/mock"))
        .assert_refusal(401, "key-missing");
    let answer = gateway.exchange(&get("/mock").key(key));
    answer.assert_status(201);
    assert_eq!(answer.reason, "Created");
    assert_eq!(answer.text(), "{\"a\":1}");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert!(answer.header("ratelimit").is_some());
    assert!(answer.header("x-request-id").is_some());
    let head = gateway.exchange(&request("HEAD", "/mock").key(key));
    head.assert_status(201);
    assert_eq!(
        (head.header("content-length"), head.text()),
        (Some("7"), "")
    );
    let refused = gateway.exchange(&get("/mock").key(key));
    refused.assert_refusal(429, "limit-reached");
    assert_eq!(origin.requests(), 0);
}

#[test]
fn a_fixed_answer_is_in_the_log_and_in_the_metrics() {
    let origin = Origin::echo();
    let gateway = gateway(&origin, vec![respond("/mock", 410, "gone")]);
    gateway
        .exchange(&get("/mock").key(&gateway.world.key))
        .assert_status(410);
    let line = gateway.wait_for_log(1).remove(0);
    assert_eq!(line["status"], 410);
    assert_eq!(line["route"], "/mock");
    assert_eq!(line["app"], "mobile");
    assert!(
        line["refusal"].is_null() && line["target"].is_null(),
        "{line}"
    );
}

#[test]
fn the_body_of_a_request_that_is_answered_here_is_read_past_or_the_connection_ends() {
    let origin = Origin::echo();
    let gateway = gateway(&origin, vec![respond("/mock", 200, "here")]);
    let key = gateway.world.key.as_str();
    let mut client = gateway.client();
    for _ in 0..3 {
        let answer = client.exchange(&post("/mock", [b'x'; 5_000]).key(key));
        assert_eq!(answer.text(), "here");
    }
    // Nobody knows where a chunked body ends unless it is read.
    let sent = request("POST", "/mock")
        .key(key)
        .chunks(&[b"GET /mock HTTP/1.1\r\n\r\n"]);
    let answer = client.exchange(&sent);
    assert_eq!(
        (answer.text(), answer.header("connection")),
        ("here", Some("close"))
    );
}

#[test]
fn an_answer_without_a_body_has_no_length_and_leaves_the_connection_usable() {
    let origin = Origin::echo();
    let mut route = respond("/nothing", 204, "");
    let Some(Answer::Respond(answer)) = &mut route.answer else {
        unreachable!("it was made so")
    };
    answer.headers.clear();
    let gateway = gateway(&origin, vec![route]);
    let mut client = gateway.client();
    for _ in 0..2 {
        let answer = client.exchange(&get("/nothing").key(&gateway.world.key));
        answer.assert_status(204);
        assert_eq!(answer.header("content-length"), None);
    }
}

#[test]
fn the_changes_of_a_route_hold_for_its_own_answer() {
    let origin = Origin::echo();
    let mut route = respond("/mock", 200, "{}");
    route.response_headers = HeaderEdits {
        set: vec![Field {
            name: "content-type".into(),
            value: "text/plain".into(),
        }],
        ..HeaderEdits::default()
    };
    let gateway = gateway(&origin, vec![route]);
    let answer = gateway.exchange(&get("/mock").key(&gateway.world.key));
    assert_eq!(answer.header("content-type"), Some("text/plain"));
}

#[test]
fn a_client_that_names_no_host_is_sent_to_a_path() {
    let origin = Origin::echo();
    let gateway = gateway(
        &origin,
        vec![redirect("/old/*", 307, "https://{host}/new/*")],
    );
    let sent = get("/old/a").key(&gateway.world.key).http_1_0();
    let answer = gateway.exchange(&sent);
    assert_eq!(answer.header("location"), Some("/new/a"));
}
