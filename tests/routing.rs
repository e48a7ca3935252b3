//! Which API a request is for.

mod support;

use keyway::snapshot::catalog::{Condition, RouteEntry, VersionHeader, VersionPlace};
use support::{Client, Gateway, Origin, Turn, World, get, request};

#[test]
fn a_host_of_its_own_wins_and_is_not_served_under_another_name() {
    let (any, own) = (
        Origin::saying(support::turn::answer(200, &[], "any")),
        Origin::echo(),
    );
    let world = World::before(&[any.address]).with(|world| {
        let target = own.address.to_string();
        world.fixture = std::mem::take(&mut world.fixture)
            .upstream("own", &[&target])
            .api("own", "own", &["/orders/*", "/own/*"])
            .app("both", &[("orders", "free"), ("own", "free")]);
        world.api("own").hosts = vec!["own.test".into()];
        world.key = world.mint();
    });
    let gateway = Gateway::over(world).start();
    let key = gateway.world.key.as_str();
    for host in ["own.test", "OWN.test", "own.test:8080"] {
        let answer = gateway.exchange(&get("/orders/1").host(host).key(key));
        assert_eq!(answer.echoed("Host"), [host]);
    }
    let absolute = gateway.exchange(&get("http://own.test/own/1").host("other.test").key(key));
    assert_eq!(absolute.echoed("Host"), ["own.test"]);
    assert_eq!(
        gateway
            .exchange(&get("/orders/1").host("other.test").key(key))
            .text(),
        "any"
    );
    let elsewhere = gateway.exchange(&get("/own/1").host("other.test").key(key));
    elsewhere.assert_refusal(404, "route-unknown");
}

#[test]
fn the_most_specific_route_wins() {
    let origins =
        ["exact", "one", "all"].map(|name| Origin::saying(support::turn::answer(200, &[], name)));
    let [exact, one, all] = &origins;
    let world = World::before(&[all.address]).with(|world| {
        let (exact, one) = (exact.address.to_string(), one.address.to_string());
        world.fixture = std::mem::take(&mut world.fixture)
            .upstream("exact", &[&exact])
            .upstream("one", &[&one])
            .api("exact", "exact", &["/orders/new"])
            .api("one", "one", &["/orders/{id}"])
            .app(
                "all",
                &[("orders", "free"), ("exact", "free"), ("one", "free")],
            );
        world.key = world.mint();
    });
    let gateway = Gateway::over(world).start();
    for (path, expected) in [
        ("/orders/new", "exact"),
        ("/orders/17", "one"),
        ("/orders/17/lines", "all"),
        ("/orders", "all"),
    ] {
        let answer = gateway.exchange(&get(path).key(&gateway.world.key));
        assert_eq!(answer.text(), expected, "{path}");
    }
}

#[test]
fn routes_of_one_api_may_serve_different_methods() {
    let origin = Origin::echo();
    let world = World::before(&[origin.address]).with(|world| {
        world.api("orders").routes[0].methods = vec!["GET".into()];
        let route = RouteEntry {
            path: "/orders/new".into(),
            methods: vec!["PUT".into()],
            ..RouteEntry::default()
        };
        world.api("orders").routes.push(route);
    });
    let gateway = Gateway::over(world).start();
    let key = gateway.world.key.as_str();
    gateway
        .exchange(&request("PUT", "/orders/new").key(key))
        .assert_status(200);
    gateway
        .exchange(&request("PUT", "/orders/1").key(key))
        .assert_refusal(405, "method-not-allowed");
}

#[test]
fn a_path_that_could_be_misread_is_refused_before_anything_else() {
    let origin = Origin::echo();
    let gateway = Gateway::before(&origin);
    for path in [
        "/orders/../vault/1",
        "/orders/%2e%2e/vault",
        "/orders/..",
        "/orders/./1",
        "/orders//1",
        "//orders/1",
        "/orders/a%2fb",
        "/orders/a%5cb",
        "/orders/a\\b",
        "/orders/a%00b",
        "/orders/%zz",
        "/orders/%2",
    ] {
        let answer = gateway.exchange(&get(path).key(&gateway.world.key));
        answer.assert_status(400);
    }
    assert_eq!(origin.requests(), 0);
}

#[test]
fn an_api_that_asks_for_no_key_serves_anyone_and_names_nobody() {
    let origin = Origin::echo();
    let world = World::before(&[origin.address]).with(|world| {
        world.fixture = std::mem::take(&mut world.fixture).api("open", "origin", &["/open/*"]);
        world.api("open").key_required = false;
    });
    let gateway = Gateway::over(world).start();
    let answer = gateway.exchange(&get("/open/door").header("Keyway-Tenant", "acme"));
    assert_eq!(answer.echoed("Keyway-Tenant"), [""; 0]);
    assert_eq!(answer.echoed("Keyway-Key-Id"), [""; 0]);
}

#[test]
fn a_node_listens_on_every_address_it_is_given_and_reaches_targets_on_ipv6() {
    let listener = std::net::TcpListener::bind("[::1]:0").expect("IPv6 on loopback");
    let origin = Origin::on(listener, Turn::echo);
    let setup = Gateway::over(World::before(&[origin.address]));
    let gateway = setup.listen(&["127.0.0.1:0", "[::1]:0"]).start();
    assert_eq!(gateway.listeners.len(), 2);
    for (address, seen) in [(0, "127.0.0.1"), (1, "[::1]")] {
        let mut client = Client::connect(gateway.listeners[address]);
        let answer = client.exchange(&gateway.good());
        let forwarded = answer.echoed("Forwarded").join(", ");
        assert!(forwarded.contains(seen), "{forwarded}");
    }
}

#[test]
fn a_wildcard_serves_every_name_below_and_the_longest_one_wins() {
    let origins =
        ["wide", "narrow"].map(|name| Origin::saying(support::turn::answer(200, &[], name)));
    let [wide, narrow] = &origins;
    let world = World::before(&[wide.address]).with(|world| {
        let narrow = narrow.address.to_string();
        world.fixture = std::mem::take(&mut world.fixture)
            .upstream("narrow", &[&narrow])
            .api("narrow", "narrow", &["/orders/*"])
            .app("both", &[("orders", "free"), ("narrow", "free")]);
        world.api("orders").hosts = vec!["*.test".into()];
        world.api("narrow").hosts = vec!["*.eu.test".into()];
        world.key = world.mint();
    });
    let gateway = Gateway::over(world).start();
    for (host, expected) in [
        ("shop.test", "wide"),
        ("eu.test", "wide"),
        ("shop.eu.test:8080", "narrow"),
        ("A.Shop.EU.test.", "narrow"),
    ] {
        let answer = gateway.exchange(&get("/orders/1").host(host).key(&gateway.world.key));
        assert_eq!(answer.text(), expected, "{host}");
    }
    let elsewhere = gateway.exchange(&get("/orders/1").host("test").key(&gateway.world.key));
    elsewhere.assert_refusal(404, "route-unknown");
}

fn condition(name: &str, exact: &str) -> Condition {
    Condition {
        name: name.into(),
        exact: Some(exact.into()),
        prefix: None,
    }
}

#[test]
fn conditions_on_headers_and_query_tell_routes_of_one_path_apart() {
    let origins =
        ["plain", "beta", "page"].map(|name| Origin::saying(support::turn::answer(200, &[], name)));
    let [plain, beta, page] = &origins;
    let world = World::before(&[plain.address]).with(|world| {
        let (beta, page) = (beta.address.to_string(), page.address.to_string());
        world.fixture = std::mem::take(&mut world.fixture)
            .upstream("beta", &[&beta])
            .upstream("page", &[&page])
            .api("beta", "beta", &["/orders/*"])
            .api("page", "page", &["/orders/*"])
            .app(
                "all",
                &[("orders", "free"), ("beta", "free"), ("page", "free")],
            );
        world.api("beta").routes[0].headers = vec![condition("X-Ring", "beta")];
        world.api("page").routes[0].query = vec![condition("view", "one page")];
        world.key = world.mint();
    });
    let gateway = Gateway::over(world).start();
    for (target, ring, expected) in [
        ("/orders/1", None, "plain"),
        ("/orders/1", Some("beta"), "beta"),
        ("/orders/1", Some("alpha"), "plain"),
        ("/orders/1?view=one%20page", None, "page"),
        ("/orders/1?a=b&view=one+page", None, "page"),
        ("/orders/1?view=one+page", Some("beta"), "beta"),
        ("/orders/1?view=one+page&view=two", None, "plain"),
    ] {
        let request = get(target).key(&gateway.world.key);
        let request = match ring {
            Some(ring) => request.header("x-ring", ring),
            None => request,
        };
        assert_eq!(gateway.exchange(&request).text(), expected, "{request:?}");
    }
}

#[test]
fn versions_in_a_header_are_chosen_and_an_unknown_one_is_named_as_the_fault() {
    let origins = ["one", "two"].map(|name| Origin::saying(support::turn::answer(200, &[], name)));
    let [one, two] = &origins;
    let in_header = |default| {
        let name = "Api-Version".to_owned();
        Some(VersionPlace::Header(VersionHeader { name, default }))
    };
    let world = World::before(&[one.address]).with(|world| {
        let two = two.address.to_string();
        world.fixture = std::mem::take(&mut world.fixture)
            .upstream("two", &[&two])
            .api("orders-2", "two", &["/orders/*"])
            .app("both", &[("orders", "free"), ("orders-2", "free")]);
        world.api("orders").version_in = in_header(true);
        world.api("orders-2").version_in = in_header(false);
        world.api("orders-2").version = "v2".into();
        world.key = world.mint();
    });
    let gateway = Gateway::over(world).start();
    let asked = |version: &str| gateway.exchange(&gateway.good().header("api-version", version));
    assert_eq!(gateway.get().text(), "one");
    assert_eq!(asked("v1").text(), "one");
    assert_eq!(asked("v2").text(), "two");
    asked("v3").assert_refusal(400, "api-version-unknown");
}

#[test]
fn versions_in_the_path_come_first() {
    let origin = Origin::echo();
    let world = World::before(&[origin.address])
        .with(|world| world.api("orders").version_in = Some(VersionPlace::Path));
    let gateway = Gateway::over(world).start();
    let key = &gateway.world.key;
    let answer = gateway.exchange(&get("/v1/orders/1").key(key));
    assert_eq!(answer.json()["target"], "/v1/orders/1");
    for path in ["/v2/orders/1", "/orders/1"] {
        let answer = gateway.exchange(&get(path).key(key));
        answer.assert_refusal(404, "route-unknown");
    }
}
