//! What becomes of a request that matched: path, host, headers, upstream, size.

mod support;

use std::collections::BTreeMap;

use keyway::snapshot::catalog::{
    Affinity, Field, HeaderEdits, Rewrite, RouteEntry, SplitEntry, VersionPlace,
};
use support::turn::answer;
use support::{Gateway, Origin, World, get, post, request};

fn fields(fields: &[(&str, &str)]) -> Vec<Field> {
    let field = |(name, value): &(&str, &str)| Field {
        name: (*name).into(),
        value: (*value).into(),
    };
    fields.iter().map(field).collect()
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn rewritten(path: &str, to: &str) -> RouteEntry {
    RouteEntry {
        path: path.into(),
        rewrite: Some(Rewrite {
            path: Some(to.into()),
            host: None,
        }),
        ..RouteEntry::default()
    }
}

#[test]
fn the_target_is_asked_for_the_path_that_the_route_makes() {
    let origin = Origin::echo();
    let world = World::before(&[origin.address]).with(|world| {
        world.api("orders").routes = vec![
            rewritten("/api/*", "/*"),
            rewritten("/users/{user}/orders/{order}", "/orders/{order}/of/{user}"),
            rewritten("/old", "/new/"),
        ];
    });
    let gateway = Gateway::over(world).start();
    for (asked, forwarded) in [
        ("/api", "/"),
        ("/api?a=b", "/?a=b"),
        ("/api/", "/"),
        ("/api/a%20b/c?d", "/a%20b/c?d"),
        ("/users/7/orders/%31", "/orders/%31/of/7"),
        ("/old", "/new/"),
    ] {
        let answer = gateway.exchange(&get(asked).key(&gateway.world.key));
        assert_eq!(answer.json()["target"], forwarded, "{asked}");
    }
    // What could be misread is refused before it could be rewritten.
    for path in ["/api/../secret", "/api//evil", "/users/..;/orders/1"] {
        let answer = gateway.exchange(&get(path).key(&gateway.world.key));
        answer.assert_refusal(400, "path-unsafe");
    }
}

#[test]
fn a_version_in_the_path_can_be_left_out_of_what_the_target_reads() {
    let origin = Origin::echo();
    let world = World::before(&[origin.address]).with(|world| {
        world.api("orders").version_in = Some(VersionPlace::Path);
        world.api("orders").routes = vec![rewritten("/orders/*", "/orders/*")];
    });
    let gateway = Gateway::over(world).start();
    let answer = gateway.exchange(&get("/v1/orders/7").key(&gateway.world.key));
    assert_eq!(answer.json()["target"], "/orders/7");
}

#[test]
fn the_target_is_asked_for_the_routes_host_or_the_upstreams_and_told_the_clients() {
    let origin = Origin::echo();
    let world = World::before(&[origin.address]).with(|world| {
        world.upstream().host = Some("inside.test:8443".into());
        let route = RouteEntry {
            path: "/orders/special".into(),
            rewrite: Some(Rewrite {
                path: None,
                host: Some("special.test".into()),
            }),
            ..RouteEntry::default()
        };
        world.api("orders").routes.push(route);
    });
    let gateway = Gateway::over(world).start();
    for (path, host) in [
        ("/orders/1", "inside.test:8443"),
        ("/orders/special", "special.test"),
    ] {
        let answer = gateway.exchange(&get(path).host("api.test:80").key(&gateway.world.key));
        assert_eq!(answer.echoed("Host"), [host], "{path}");
        assert_eq!(answer.echoed("X-Forwarded-Host"), ["api.test:80"], "{path}");
    }
}

#[test]
fn headers_are_changed_on_the_way_to_the_target() {
    let origin = Origin::echo();
    let world = World::before(&[origin.address]).with(|world| {
        world.api("orders").request_headers = HeaderEdits {
            remove: names(&["Cookie", "X-Debug"]),
            set: fields(&[("X-Tier", "api"), ("Authorization", "Basic aW5zaWRl")]),
            add: fields(&[("X-Hop", "edge")]),
        };
        world.api("orders").routes[0].request_headers = HeaderEdits {
            set: fields(&[("x-tier", "route")]),
            ..HeaderEdits::default()
        };
    });
    let gateway = Gateway::over(world).start();
    let sent = gateway
        .good()
        .header("Cookie", "a=b")
        .header("X_Debug", "1")
        .header("x-tier", "mine")
        .header("X-Hop", "mine")
        .header("X-Other", "passes");
    let answer = gateway.exchange(&sent);
    for (name, expected) in [
        ("Cookie", &[][..]),
        ("X-Debug", &[]),
        ("X_Debug", &[]),
        ("X-Tier", &["route"]),
        ("X-Hop", &["mine", "edge"]),
        ("X-Other", &["passes"]),
        ("Authorization", &["Basic aW5zaWRl"]),
        ("Keyway-Tenant", &["acme"]),
    ] {
        assert_eq!(answer.echoed(name), expected, "{name}");
    }
}

#[test]
fn headers_are_changed_on_the_way_back_but_not_those_of_a_refusal() {
    let origin = Origin::saying(answer(
        200,
        &[
            ("Server", "old/1.0"),
            ("X-Powered-By", "php"),
            ("X-Kept", "1"),
        ],
        "",
    ));
    let world = World::before(&[origin.address]).with(|world| {
        world.api("orders").response_headers = HeaderEdits {
            remove: names(&["x-powered-by"]),
            set: fields(&[("Server", "edge")]),
            add: fields(&[("Strict-Transport-Security", "max-age=60")]),
        };
    });
    let gateway = Gateway::over(world).start();
    let answer = gateway.get();
    assert_eq!(answer.header("server"), Some("edge"));
    assert_eq!(answer.header("x-powered-by"), None);
    assert_eq!(answer.header("x-kept"), Some("1"));
    assert_eq!(
        answer.header("strict-transport-security"),
        Some("max-age=60")
    );
    let refused = gateway.exchange(&get("/orders/1"));
    refused.assert_refusal(401, "key-missing");
    assert_eq!(refused.header("server"), None);
}

#[test]
fn a_route_may_have_an_upstream_of_its_own() {
    let origins = ["usual", "special"].map(|name| Origin::saying(answer(200, &[], name)));
    let [usual, special] = &origins;
    let world = World::before(&[usual.address]).with(|world| {
        let special = special.address.to_string();
        world.fixture = std::mem::take(&mut world.fixture).upstream("special", &[&special]);
        let route = RouteEntry {
            path: "/orders/special".into(),
            upstream: Some(2),
            ..RouteEntry::default()
        };
        world.api("orders").routes.push(route);
    });
    let gateway = Gateway::over(world).start();
    assert_eq!(gateway.get().text(), "usual");
    let answer = gateway.exchange(&get("/orders/special").key(&gateway.world.key));
    assert_eq!(answer.text(), "special");
}

/// Two origins that say their names, and a world that splits between them.
fn split(weights: [u32; 2], by: Option<Affinity>) -> ([Origin; 2], World) {
    let origins = ["stable", "canary"].map(|name| Origin::saying(answer(200, &[], name)));
    let world = World::before(&[origins[0].address]).with(|world| {
        let canary = origins[1].address.to_string();
        world.fixture = std::mem::take(&mut world.fixture).upstream("canary", &[&canary]);
        let share = |(upstream, weight)| SplitEntry { upstream, weight };
        world.api("orders").split = (1..).zip(weights).map(share).collect();
        world.api("orders").split_by = by;
    });
    (origins, world)
}

#[test]
fn requests_are_split_by_weight() {
    let (_origins, world) = split([3, 1], None);
    let gateway = Gateway::over(world).start();
    let mut client = gateway.client();
    let mut counts = BTreeMap::new();
    for _ in 0..600 {
        let name = client.exchange(&gateway.good()).text().to_owned();
        *counts.entry(name).or_insert(0) += 1;
    }
    // A quarter of 600, give or take more than five standard deviations.
    assert!((90..=210).contains(&counts["canary"]), "{counts:?}");
}

#[test]
fn a_weight_of_zero_takes_an_upstream_out() {
    let (origins, world) = split([1, 0], None);
    let gateway = Gateway::over(world).start();
    for _ in 0..20 {
        assert_eq!(gateway.get().text(), "stable");
    }
    assert_eq!(origins[1].requests(), 0);
}

#[test]
fn requests_that_agree_go_the_same_way_on_every_worker() {
    for (by, name) in [
        (Affinity::Header("X-User".into()), "X-User"),
        (Affinity::Cookie("user".into()), "Cookie"),
    ] {
        let (_origins, world) = split([1, 1], Some(by));
        let gateway = Gateway::over(world).start();
        let mut seen = BTreeMap::new();
        for user in 0..16 {
            let value = match name {
                "Cookie" => format!("theme=dark; user={user}; a=b"),
                _ => user.to_string(),
            };
            let sent = gateway.good().header(name, &value);
            let first = gateway.exchange(&sent).text().to_owned();
            for _ in 0..5 {
                // Each connection is another chance to land on the other worker.
                assert_eq!(gateway.exchange(&sent).text(), first, "{name} {user}");
            }
            *seen.entry(first).or_insert(0) += 1;
        }
        assert_eq!(seen.len(), 2, "{name}: {seen:?}");
    }
}

#[test]
fn one_key_goes_one_way_and_what_cannot_be_told_is_left_to_chance() {
    let (_origins, world) = split([1, 1], Some(Affinity::Key));
    let gateway = Gateway::over(world).start();
    let first = gateway.get().text().to_owned();
    for _ in 0..10 {
        assert_eq!(gateway.get().text(), first);
    }
    let (origins, world) = split([1, 1], Some(Affinity::Header("X-User".into())));
    let gateway = Gateway::over(world).start();
    let mut client = gateway.client();
    for _ in 0..40 {
        client.exchange(&gateway.good()).assert_status(200);
    }
    assert!(origins.iter().all(|origin| origin.requests() > 0));
}

#[test]
fn an_apis_cap_holds_for_announced_and_for_chunked_bodies() {
    let origin = Origin::echo();
    let world = World::before(&[origin.address])
        .with(|world| world.api("orders").body_bytes_max = Some(10));
    let gateway = Gateway::over(world).start();
    let key = gateway.world.key.as_str();
    let chunked = |bytes: &[u8]| request("POST", "/orders/1").key(key).chunks(&[bytes]);
    gateway
        .exchange(&post("/orders/1", [b'x'; 10]).key(key))
        .assert_status(200);
    gateway.exchange(&chunked(&[b'x'; 10])).assert_status(200);
    let announced = gateway.exchange(&post("/orders/1", [b'x'; 11]).key(key));
    announced.assert_refusal(413, "body-too-large");
    let streamed = gateway.exchange(&chunked(&[b'x'; 11]));
    streamed.assert_refusal(413, "body-too-large");
}

#[test]
fn the_smaller_of_the_nodes_cap_and_the_apis_counts() {
    let origin = Origin::echo();
    let world = World::before(&[origin.address])
        .with(|world| world.api("orders").body_bytes_max = Some(1_000));
    let gateway = Gateway::over(world).http("body_bytes_max = 10").start();
    let answer = gateway.exchange(&post("/orders/1", [b'x'; 11]).key(&gateway.world.key));
    answer.assert_refusal(413, "body-too-large");
}
