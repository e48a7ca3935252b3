//! Which API a request is for.

mod support;

use keyway::snapshot::catalog::RouteEntry;
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
