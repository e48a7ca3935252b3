//! What a request and its answer carry on, what stays behind, and what the gateway adds.

mod support;

use support::origin::Received;
use support::turn::answer;
use support::{Flow, Gateway, Origin, World};

/// The one request that `origin` got, after the gateway sent it one like this.
fn forwarded(fields: &[(&str, &str)]) -> Received {
    let origin = Origin::scripted(|turn| turn.answer("ok"));
    let gateway = Gateway::before(&origin);
    let sent = fields.iter().fold(gateway.good(), |sent, (name, value)| {
        sent.header(name, value)
    });
    gateway.exchange(&sent).assert_status(200);
    origin.only()
}

#[test]
fn fields_of_one_hop_do_not_travel_to_the_next() {
    let got = forwarded(&[
        ("Connection", "keep-alive, X-Named, x-also-named"),
        ("X-Named", "1"),
        ("X-Also-Named", "1"),
        ("Keep-Alive", "timeout=5"),
        ("Proxy-Connection", "keep-alive"),
        ("Proxy-Authorization", "Basic eDp5"),
        ("TE", "trailers"),
        ("Upgrade", "h2c"),
        ("HTTP2-Settings", "AAMAAABkAAQCAAAAAAIAAAAA"),
        ("X-End-To-End", "1"),
    ]);
    let fields = &got.head.fields;
    for name in [
        "X-Named",
        "X-Also-Named",
        "Keep-Alive",
        "Proxy-Connection",
        "Proxy-Authorization",
        "Upgrade",
        "Transfer-Encoding",
    ] {
        assert!(!fields.has(name), "{name} went through:\n{:?}", got.head);
    }
    assert_eq!(fields.get("X-End-To-End"), Some("1"));
    // Said anew, for the next hop: an answer's trailers are welcome.
    assert_eq!(fields.get("TE"), Some("trailers"));
    assert_eq!(fields.get("Connection"), Some("TE"));
}

#[test]
fn connection_cannot_name_away_what_the_gateway_itself_says() {
    let got = forwarded(&[(
        "Connection",
        "Keyway-Tenant, X-Forwarded-For, X-Request-Id, Authorization",
    )]);
    for name in ["Keyway-Tenant", "X-Forwarded-For", "X-Request-Id"] {
        assert!(
            got.head.fields.has(name),
            "{name} is missing:\n{:?}",
            got.head
        );
    }
}

#[test]
fn the_origin_learns_where_the_request_came_from_and_not_what_the_client_claims() {
    let got = forwarded(&[
        ("X-Forwarded-For", "203.0.113.9"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "elsewhere.test"),
        ("Forwarded", "for=203.0.113.9"),
        ("X-Real-IP", "203.0.113.9"),
        ("X-Request-Id", "mine"),
    ]);
    let fields = &got.head.fields;
    assert_eq!(fields.get("X-Forwarded-For"), Some("127.0.0.1"));
    assert_eq!(fields.get("X-Forwarded-Proto"), Some("http"));
    assert_eq!(fields.get("X-Forwarded-Host"), Some("gateway.test"));
    let forwarded = fields.get("Forwarded").expect("RFC 7239");
    assert!(
        forwarded.contains("for=127.0.0.1") && forwarded.contains("proto=http"),
        "{forwarded}"
    );
    assert!(!fields.has("X-Real-IP"), "{:?}", got.head);
    assert!(
        fields
            .get("X-Request-Id")
            .is_some_and(|id| id != "mine" && id.len() >= 16)
    );
    assert!(
        fields.get("Via").is_some_and(|via| via.starts_with("1.1 ")),
        "{:?}",
        got.head
    );
}

#[test]
fn client_origin_and_log_know_a_request_by_the_same_id() {
    let origin = Origin::saying(answer(200, &[("X-Request-Id", "the origin's own")], "ok"));
    let gateway = Gateway::before(&origin);
    let answer = gateway.get();
    let id = answer.header("X-Request-Id").expect("every answer has one");
    assert_eq!(origin.only().head.fields.get("X-Request-Id"), Some(id));
    assert_eq!(gateway.wait_for_log(1)[0]["request_id"], id);
    let next = gateway.get();
    assert_ne!(next.header("X-Request-Id"), Some(id));
}

#[test]
fn fields_of_the_origins_hop_do_not_reach_the_client() {
    let origin = Origin::saying_and_closing(answer(
        200,
        &[
            ("Connection", "close, X-Internal"),
            ("X-Internal", "1"),
            ("Keep-Alive", "timeout=5"),
            ("Proxy-Authenticate", "Basic"),
            ("Set-Cookie", "a=1"),
            ("Set-Cookie", "b=2"),
            ("X-End-To-End", "1"),
        ],
        "ok",
    ));
    let gateway = Gateway::before(&origin);
    let mut client = gateway.client();
    let answer = client.exchange(&gateway.good());
    for name in [
        "X-Internal",
        "Keep-Alive",
        "Proxy-Authenticate",
        "Connection",
    ] {
        assert!(
            !answer.fields.has(name),
            "{name} went through:\n{:?}",
            answer.head
        );
    }
    assert_eq!(answer.fields.all("Set-Cookie"), ["a=1", "b=2"]);
    assert_eq!(answer.header("X-End-To-End"), Some("1"));
    // The origin's connection ended, the client's goes on.
    client.exchange(&gateway.good()).assert_status(200);
}

#[test]
fn a_large_head_goes_through_whole() {
    let large = "v".repeat(3_000);
    let origin = Origin::scripted(move |turn| {
        turn.body()?;
        let cookies: Vec<(String, String)> = (0..10)
            .map(|n| ("Set-Cookie".into(), format!("{n}={}", "w".repeat(3_000))))
            .collect();
        let fields: Vec<(&str, &str)> = cookies
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        turn.send(answer(200, &fields, "ok"))?;
        Ok(Flow::Keep)
    });
    let gateway = Gateway::before(&origin);
    let mut client = gateway.client();
    for _ in 0..2 {
        let sent = (0..4).fold(gateway.good(), |sent, n| {
            sent.header(&format!("X-{n}"), &large)
        });
        let answer = client.exchange(&sent);
        assert_eq!(answer.fields.all("Set-Cookie").len(), 10);
    }
    for got in origin.received() {
        for n in 0..4 {
            assert_eq!(got.head.fields.get(&format!("X-{n}")), Some(large.as_str()));
        }
    }
}

#[test]
fn the_order_of_fields_and_bytes_beyond_ascii_are_kept() {
    let origin = Origin::scripted(|turn| turn.answer("ok"));
    let gateway = Gateway::before(&origin);
    let sent = gateway
        .good()
        .header("X-A", "1")
        .header("X-B", "Grüße")
        .header("X-A", "2");
    gateway.exchange(&sent).assert_status(200);
    let got = origin.only();
    let fields: Vec<_> = got
        .head
        .fields
        .0
        .iter()
        .filter(|(name, _)| name.starts_with("X-"))
        .collect();
    let named: Vec<_> = fields
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    assert_eq!(&named[..3], [("X-A", "1"), ("X-B", "Grüße"), ("X-A", "2")]);
}

#[test]
fn a_trusted_proxy_tells_who_the_client_is_and_what_a_client_adds_before_that_is_dropped() {
    let origin = Origin::scripted(|turn| turn.answer("ok"));
    let setup = Gateway::over(World::before(&[origin.address]));
    let gateway = setup
        .http("trusted_proxies = [\"127.0.0.0/8\", \"10.0.0.0/8\"]")
        .start();
    let request = gateway
        .good()
        .header("X-Forwarded-For", "6.6.6.6, 203.0.113.9, 10.1.2.3")
        .header("X-Forwarded-Proto", "https")
        .header("X-Forwarded-Host", "shop.test")
        .header("Forwarded", "for=6.6.6.6");
    gateway.exchange(&request).assert_status(200);
    let got = origin.only();
    let fields = &got.head.fields;
    assert_eq!(
        fields.get("X-Forwarded-For"),
        Some("203.0.113.9, 10.1.2.3, 127.0.0.1")
    );
    assert_eq!(
        fields.get("Forwarded"),
        Some("for=203.0.113.9, for=10.1.2.3, for=127.0.0.1;proto=https;host=\"shop.test\"")
    );
    assert_eq!(fields.get("X-Forwarded-Proto"), Some("https"));
    assert_eq!(fields.get("X-Forwarded-Host"), Some("shop.test"));
    let line = &gateway.wait_for_log(1)[0];
    assert_eq!(line["client"], "203.0.113.9");
    let peer = line["peer"].as_str().unwrap_or_default();
    assert!(peer.starts_with("127.0.0.1:"), "{line}");
}
