//! A body that nobody reads must never be read as the next request, whoever says no and why.

mod support;

use support::origin::refusing;
use support::{Broken, Client, Flow, Gateway, Origin, Request, World, get, request};

/// A gateway before an echo, the request that is hidden in bodies, and whether it came through.
struct Trap {
    origin: Origin,
    gateway: Gateway,
}

impl Trap {
    fn set() -> Self {
        let origin = Origin::echo();
        let world = World::before(&[origin.address])
            .limit(1_000, 1_000, 1_000)
            .with(|world| {
                world.api("orders").routes[0].methods = vec!["GET".into(), "POST".into()];
                world.fixture =
                    std::mem::take(&mut world.fixture).api("vault", "origin", &["/vault/*"]);
            });
        let gateway = Gateway::over(world).start();
        Self { origin, gateway }
    }

    /// Requests that are refused before their body is read, and with what.
    fn refused(&self) -> Vec<(Request, u16)> {
        let key = self.gateway.world.key.as_str();
        vec![
            (request("POST", "/orders/1"), 401),
            (request("POST", "/orders/1").key("kw_live_x"), 401),
            (request("POST", "/vault/1").key(key), 403),
            (request("POST", "/nowhere").key(key), 404),
            (request("PUT", "/orders/1").key(key), 405),
            (
                request("POST", "/orders/1")
                    .key(key)
                    .header("X-API-Key", key),
                400,
            ),
        ]
    }

    /// The request that must not be served.
    fn hidden(&self) -> Vec<u8> {
        get("/orders/hidden").key(&self.gateway.world.key).bytes()
    }

    /// One that must be, if the connection is still there.
    fn honest(&self) -> Request {
        get("/orders/honest").key(&self.gateway.world.key)
    }

    /// The connection either goes on in step or is closed; the hidden request went nowhere.
    #[track_caller]
    fn is_harmless(&self, client: &mut Client, must_close: bool) {
        let sent = client.try_send(self.honest().bytes());
        match sent.and_then(|()| client.try_read()) {
            Ok(answer) => {
                assert!(!must_close, "it went on: {:?}", answer.head);
                assert_eq!(answer.json()["target"], "/orders/honest");
            }
            Err(end) => assert!(matches!(end, Broken::Closed | Broken::Reset), "{end:?}"),
        }
        let seen = self.origin.received();
        assert!(
            seen.iter().all(|got| !got.head.line.contains("hidden")),
            "{seen:#?}"
        );
    }
}

#[test]
fn a_body_that_comes_with_its_refused_head_is_skipped() {
    let trap = Trap::set();
    for (refused, status) in trap.refused() {
        let mut client = trap.gateway.client();
        client
            .exchange(&refused.body(trap.hidden()))
            .assert_status(status);
        trap.is_harmless(&mut client, false);
    }
}

#[test]
fn a_small_body_costs_no_connection() {
    let trap = Trap::set();
    let mut client = trap.gateway.client();
    for (refused, status) in trap.refused() {
        let answer = client.exchange(&refused.body(trap.hidden()));
        answer.assert_status(status);
        assert!(!answer.fields.has("connection"), "{:?}", answer.head);
    }
    client.exchange(&trap.honest()).assert_status(200);
}

#[test]
fn a_body_that_comes_after_the_refusal_is_skipped() {
    let trap = Trap::set();
    for (refused, status) in trap.refused() {
        let hidden = trap.hidden();
        let mut client = trap.gateway.client();
        client.send(refused.announcing(hidden.len()).bytes());
        client.read().assert_status(status);
        let (first, second) = hidden.split_at(hidden.len() / 2);
        let sent = client
            .try_send(first)
            .and_then(|()| client.try_send(second));
        drop(sent);
        trap.is_harmless(&mut client, false);
    }
}

#[test]
fn a_body_that_is_announced_and_cut_is_no_request() {
    let trap = Trap::set();
    for (refused, status) in trap.refused() {
        let mut client = trap.gateway.client();
        client.send(refused.announcing(50_000).bytes());
        client.send(trap.hidden());
        client.read().assert_status(status);
        client.finish();
        assert!(client.try_read().is_err());
    }
    assert_eq!(trap.origin.requests(), 0);
}

#[test]
fn an_unread_chunked_body_closes_the_connection() {
    let trap = Trap::set();
    for (refused, status) in trap.refused() {
        let hidden = trap.hidden();
        let mut client = trap.gateway.client();
        let answer = client.exchange(&refused.chunks(&[&hidden, &hidden]));
        answer.assert_status(status);
        assert_eq!(answer.header("connection"), Some("close"));
        trap.is_harmless(&mut client, true);
    }
}

#[test]
fn an_unread_body_over_the_cap_closes_the_connection() {
    let trap = Trap::set();
    for (refused, status) in trap.refused() {
        let hidden = trap.hidden().repeat(2_000);
        let mut client = trap.gateway.client();
        client.send(refused.announcing(hidden.len()).bytes());
        // It may close before all of it was taken.
        let sent = client.try_send(&hidden);
        drop(sent);
        if let Ok(answer) = client.try_read() {
            answer.assert_status(status);
            assert_eq!(answer.header("connection"), Some("close"));
        }
        trap.is_harmless(&mut client, true);
    }
}

#[test]
fn a_body_whose_100_was_refused_closes_the_connection() {
    let trap = Trap::set();
    for (refused, status) in trap.refused() {
        let hidden = trap.hidden();
        let mut client = trap.gateway.client();
        let waiting = refused
            .header("Expect", "100-continue")
            .announcing(hidden.len());
        client.send(waiting.bytes());
        let answer = client.read();
        answer.assert_status(status);
        assert_eq!(answer.header("connection"), Some("close"));
        // A client may send it all the same, or may not.
        let sent = client.try_send(&hidden);
        drop(sent);
        trap.is_harmless(&mut client, true);
    }
}

#[test]
fn a_body_for_an_origin_that_cannot_be_reached_is_never_a_request() {
    let (_held, nobody) = refusing();
    let mut trap = Trap::set();
    let origin = trap.origin.address.to_string();
    trap.gateway.publish(|world| {
        world.fixture = std::mem::take(&mut world.fixture)
            .upstream("nobody", &[&nobody.to_string()])
            .api("dead", "nobody", &["/dead/*"])
            .app("both", &[("orders", "free"), ("dead", "free")]);
        world.upstream().targets = vec![origin.into()];
        world.key = world.mint();
    });
    let key = trap.gateway.world.key.clone();
    let hidden = trap.hidden();
    // At once, in two pieces, in chunks.
    let whole = request("POST", "/dead/1").key(&key).body(&hidden);
    let announced = request("POST", "/dead/1")
        .key(&key)
        .announcing(hidden.len());
    let chunked = request("POST", "/dead/1").key(&key).chunks(&[&hidden]);
    for (first, second) in [
        (whole.bytes(), Vec::new()),
        (announced.bytes(), hidden.clone()),
        (
            [announced.bytes(), hidden[..20].to_vec()].concat(),
            hidden[20..].to_vec(),
        ),
        (chunked.bytes(), Vec::new()),
    ] {
        let mut client = trap.gateway.client();
        client.send(first);
        client.read().assert_refusal(502, "upstream-unreachable");
        let sent = client.try_send(second);
        drop(sent);
        trap.is_harmless(&mut client, false);
    }
}

#[test]
fn half_a_request_behind_one_that_failed_upstream_keeps_its_place() {
    // The first fails upstream, the head of the second is there, its body comes later: whatever is
    // forgotten of the second makes a request of its body.
    let origin = Origin::scripted(|turn| {
        if turn.target() == "/orders/bad" {
            Ok(Flow::Reset)
        } else {
            turn.echo()
        }
    });
    let gateway = Gateway::before(&origin);
    let trap = Trap { origin, gateway };
    let key = trap.gateway.world.key.clone();
    let hidden = trap.hidden();
    let mut client = trap.gateway.client();
    let bad = get("/orders/bad").key(&key).bytes();
    let second = request("POST", "/orders/2")
        .key(&key)
        .announcing(hidden.len())
        .bytes();
    client.send([bad, second].concat());
    client.read().assert_refusal(502, "upstream-closed");
    client.send(&hidden);
    let answer = client.read();
    assert_eq!(answer.json()["target"], "/orders/2");
    assert_eq!(answer.json()["body_bytes"], hidden.len());
    trap.is_harmless(&mut client, false);
}

#[test]
fn a_body_that_an_early_answer_made_useless_is_never_a_request() {
    let origin = Origin::scripted(|turn| {
        if turn.target() == "/orders/early" {
            turn.send(support::turn::answer(200, &[], "early"))?;
            return turn.hang();
        }
        turn.echo()
    });
    let gateway = Gateway::before(&origin);
    let trap = Trap { origin, gateway };
    let key = trap.gateway.world.key.clone();
    let hidden = trap.hidden();
    for sent in [
        request("POST", "/orders/early")
            .key(&key)
            .announcing(hidden.len() + 10),
        request("POST", "/orders/early")
            .key(&key)
            .header("Transfer-Encoding", "chunked"),
    ] {
        let mut client = trap.gateway.client();
        client.send(sent.bytes());
        let answer = client.read();
        assert_eq!(answer.text(), "early");
        assert_eq!(answer.header("connection"), Some("close"));
        let sent = client.try_send(&hidden);
        drop(sent);
        trap.is_harmless(&mut client, true);
    }
}

#[test]
fn a_request_over_its_limit_hides_nothing_either() {
    let origin = Origin::echo();
    let world = World::before(&[origin.address]).limit(1, 3_600_000, 1);
    let gateway = Gateway::over(world).start();
    gateway.get().assert_status(200);
    let trap = Trap { origin, gateway };
    let mut client = trap.gateway.client();
    let sent = request("POST", "/orders/1")
        .key(&trap.gateway.world.key)
        .body(trap.hidden());
    client.exchange(&sent).assert_refusal(429, "limit-reached");
    client
        .exchange(&trap.honest())
        .assert_refusal(429, "limit-reached");
    assert_eq!(trap.origin.requests(), 1);
}
