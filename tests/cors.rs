//! Calls from pages of other origins.

mod support;

use keyway::snapshot::catalog::Cors;
use support::turn::answer;
use support::{Gateway, Origin, Request, World, get, request};

const PAGE: &str = "https://app.example.com";

fn usual() -> Cors {
    Cors {
        origins: vec![PAGE.into(), "https://*.example.org".into()],
        expose: vec!["X-Total".into(), "RateLimit".into()],
        max_age_s: Some(600),
        ..Cors::default()
    }
}

fn gateway(origin: &Origin, cors: Cors) -> Gateway {
    let world = World::before(&[origin.address])
        .limit(2, 3_600_000, 2)
        .with(|world| {
            world.api("orders").cors = Some(cors);
            world.api("orders").routes[0].methods = vec!["GET".into(), "PUT".into()];
        });
    Gateway::over(world).workers(1).start()
}

fn preflight(origin: &str, method: &str) -> Request {
    request("OPTIONS", "/orders/1")
        .header("Origin", origin)
        .header("Access-Control-Request-Method", method)
}

#[test]
fn a_preflight_is_answered_without_a_key_and_spends_nothing() {
    let origin = Origin::echo();
    let gateway = gateway(&origin, usual());
    let asked = preflight(PAGE, "PUT").header("Access-Control-Request-Headers", "x-api-key,x-b");
    for _ in 0..5 {
        let answer = gateway.exchange(&asked);
        answer.assert_status(204);
        for (name, expected) in [
            ("access-control-allow-origin", PAGE),
            ("access-control-allow-methods", "GET, PUT, HEAD"),
            ("access-control-allow-headers", "x-api-key,x-b"),
            ("access-control-max-age", "600"),
            (
                "vary",
                "Origin, Access-Control-Request-Method, Access-Control-Request-Headers",
            ),
        ] {
            assert_eq!(answer.header(name), Some(expected), "{name}");
        }
        assert_eq!(answer.header("content-length"), None);
    }
    gateway.get().assert_status(200);
    let line = gateway.wait_for_log(6).remove(0);
    assert_eq!(
        (&line["status"], &line["api"]),
        (&204.into(), &"orders".into())
    );
    assert_eq!(origin.requests(), 1);
}

#[test]
fn a_preflight_for_what_is_not_served_is_no_preflight() {
    let origin = Origin::echo();
    let gateway = gateway(&origin, usual());
    for (asked, status) in [
        (preflight(PAGE, "DELETE"), 405),
        (request("OPTIONS", "/orders/1").header("Origin", PAGE), 405),
        (
            request("OPTIONS", "/orders/1").header("Access-Control-Request-Method", "GET"),
            405,
        ),
        (
            request("OPTIONS", "/nowhere")
                .header("Origin", PAGE)
                .header("Access-Control-Request-Method", "GET"),
            404,
        ),
    ] {
        let answer = gateway.exchange(&asked);
        answer.assert_status(status);
        assert_eq!(answer.header("access-control-allow-methods"), None);
    }
}

#[test]
fn an_origin_that_may_not_gets_nothing_that_allows_it() {
    let origin = Origin::echo();
    let gateway = gateway(&origin, usual());
    for page in [
        "https://evil.test",
        "https://example.org",
        "null",
        "http://app.example.com",
    ] {
        let answer = gateway.exchange(&preflight(page, "GET"));
        answer.assert_status(204);
        assert!(
            !answer
                .fields
                .0
                .iter()
                .any(|(name, _)| name.to_lowercase().starts_with("access-")),
            "{page}"
        );
    }
    // The request itself goes on: it is the browser that keeps the answer from the page.
    let answer = gateway.exchange(&gateway.good().header("Origin", "https://evil.test"));
    answer.assert_status(200);
    assert_eq!(answer.header("access-control-allow-origin"), None);
    assert_eq!(answer.header("vary"), Some("Origin"));
}

#[test]
fn answers_and_refusals_can_be_read_by_a_page_that_may() {
    let origin = Origin::echo();
    let gateway = gateway(&origin, usual());
    let page = "https://shop.example.org";
    let good = gateway.good().header("Origin", page);
    let check = |sent: &Request, status: u16| {
        let answer = gateway.exchange(sent);
        answer.assert_status(status);
        assert_eq!(answer.header("access-control-allow-origin"), Some(page));
        assert_eq!(
            answer.header("access-control-expose-headers"),
            Some("X-Total, RateLimit")
        );
        assert_eq!(answer.header("vary"), Some("Origin"));
    };
    check(&get("/orders/1").header("Origin", page), 401);
    check(&good, 200);
    check(&good, 200);
    check(&good, 429);
}

#[test]
fn the_targets_own_words_on_it_are_replaced() {
    let origin = Origin::saying(answer(
        200,
        &[
            ("Access-Control-Allow-Origin", "*"),
            ("access-control-allow-credentials", "true"),
            ("X-Total", "3"),
        ],
        "",
    ));
    let with = gateway(&origin, usual());
    let answer = with.exchange(&with.good().header("Origin", PAGE));
    assert_eq!(answer.header("access-control-allow-origin"), Some(PAGE));
    assert_eq!(answer.header("access-control-allow-credentials"), None);
    assert_eq!(answer.header("x-total"), Some("3"));
    let without = Gateway::before(&origin);
    let answer = without.exchange(&without.good().header("Origin", PAGE));
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert_eq!(
        answer.header("access-control-allow-credentials"),
        Some("true")
    );
}

#[test]
fn an_api_for_all_origins_says_so_and_one_with_credentials_names_the_origin() {
    let origin = Origin::echo();
    let all = Cors {
        origins: vec!["*".into()],
        methods: vec!["GET".into()],
        headers: vec!["X-API-Key".into()],
        ..Cors::default()
    };
    let open = gateway(&origin, all);
    let answer = open.exchange(&preflight("https://any.test", "GET"));
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert_eq!(answer.header("access-control-allow-methods"), Some("GET"));
    assert_eq!(
        answer.header("access-control-allow-headers"),
        Some("X-API-Key")
    );
    let named = gateway(
        &origin,
        Cors {
            credentials: true,
            ..usual()
        },
    );
    let answer = named.exchange(&named.good().header("Origin", PAGE));
    assert_eq!(answer.header("access-control-allow-origin"), Some(PAGE));
    assert_eq!(
        answer.header("access-control-allow-credentials"),
        Some("true")
    );
}

#[test]
fn header_names_that_could_end_a_line_are_not_echoed() {
    let origin = Origin::echo();
    let gateway = gateway(&origin, usual());
    let asked = preflight(PAGE, "GET").header("Access-Control-Request-Headers", "x-a: b");
    let answer = gateway.exchange(&asked);
    answer.assert_status(204);
    assert_eq!(answer.header("access-control-allow-headers"), None);
}
