//! The way to the servers behind: which one is asked, what it is told, what its failures become.

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use support::origin::{Silent, refusing};
use support::turn::{answer, crc32, head};
use support::wait::{self, Gate};
use support::{Flow, Gateway, Origin, World, get, post, request};

#[test]
fn targets_take_turns() {
    let names = ["a", "b", "c"];
    let origins = names.map(|name| Origin::saying(answer(200, &[], name)));
    let targets: Vec<_> = origins.iter().map(|origin| origin.address).collect();
    let gateway = Gateway::over(World::before(&targets)).workers(1).start();
    let mut client = gateway.client();
    let mut asked = BTreeMap::new();
    for _ in 0..30 {
        *asked
            .entry(client.exchange(&gateway.good()).text().to_owned())
            .or_insert(0) += 1;
    }
    assert_eq!(asked, names.map(|name| (name.to_owned(), 10)).into());
}

#[test]
fn a_target_that_refuses_is_passed_over() {
    let (_held, refusing) = refusing();
    let origin = Origin::echo();
    let gateway = Gateway::over(World::before(&[refusing, origin.address]))
        .workers(1)
        .start();
    let mut client = gateway.client();
    for n in 0..6 {
        let sent = post("/orders/1", format!("body {n}")).key(&gateway.world.key);
        let echo = client.exchange(&sent).json();
        assert_eq!(echo["body_crc32"], crc32(format!("body {n}").as_bytes()));
    }
    wait::until("the failures to be counted", || {
        gateway
            .metrics()
            .sum("keyway_upstream_connect_failures_total", &[])
            >= 3.0
    });
}

#[test]
fn a_target_that_does_not_answer_the_knock_is_passed_over() {
    let silent = Silent::new();
    let origin = Origin::echo();
    let world = World::before(&[silent.address, origin.address])
        .with(|world| world.upstream().connect_timeout_ms = 200);
    let gateway = Gateway::over(world).workers(1).start();
    for _ in 0..2 {
        gateway.get().assert_status(200);
    }
}

#[test]
fn nobody_to_connect_to_is_502_and_nobody_in_time_504() {
    let (_held, refusing) = refusing();
    let gateway = Gateway::over(World::before(&[refusing])).start();
    let mut client = gateway.client();
    client
        .exchange(&gateway.good())
        .assert_refusal(502, "upstream-unreachable");
    client
        .exchange(&gateway.good())
        .assert_refusal(502, "upstream-unreachable");

    let silent = Silent::new();
    let world =
        World::before(&[silent.address]).with(|world| world.upstream().connect_timeout_ms = 200);
    let gateway = Gateway::over(world).start();
    gateway.get().assert_refusal(504, "upstream-unreachable");
}

#[test]
fn an_origin_that_does_not_answer_in_time_is_504_and_set_free() {
    let origin = Origin::hanging();
    let world =
        World::before(&[origin.address]).with(|world| world.upstream().response_timeout_ms = 300);
    let gateway = Gateway::over(world).start();
    let mut client = gateway.client();
    let began = wait::now();
    client
        .exchange(&gateway.good())
        .assert_refusal(504, "upstream-timeout");
    assert!(began.elapsed().as_millis() >= 300, "{:?}", began.elapsed());
    origin.wait_until_free();
    // The client's connection goes on.
    client
        .exchange(&gateway.good())
        .assert_refusal(504, "upstream-timeout");
}

#[test]
fn the_time_to_answer_runs_from_the_end_of_the_upload() {
    let origin = Origin::echo();
    let world =
        World::before(&[origin.address]).with(|world| world.upstream().response_timeout_ms = 500);
    let gateway = Gateway::over(world).start();
    let mut client = gateway.client();
    client.send(
        request("POST", "/orders/1")
            .key(&gateway.world.key)
            .announcing(10)
            .bytes(),
    );
    let began = wait::now();
    for n in 0..10 {
        wait::until("a tenth of a second more", || {
            began.elapsed().as_millis() > 100 * n
        });
        client.send("x");
    }
    client.read().assert_status(200);
}

#[test]
fn an_answer_that_stalls_is_cut_off_after_its_time() {
    let origin = Origin::scripted(|turn| {
        turn.send(head(200, &[("Content-Length", "100")]) + "\r\nhalf of it")?;
        turn.hang()
    });
    let world =
        World::before(&[origin.address]).with(|world| world.upstream().response_timeout_ms = 300);
    let gateway = Gateway::over(world).start();
    let mut client = gateway.client();
    client.send(gateway.good().bytes());
    let broken = client.try_read().expect_err("only half of it came");
    assert!(broken.is_broken_off(), "{broken:?}");
    origin.wait_until_free();
}

#[test]
fn an_origin_that_fails_before_it_answers_is_502() {
    for (name, origin, code) in [
        ("resets", Origin::resetting(), "upstream-closed"),
        (
            "closes",
            Origin::scripted(|_| Ok(Flow::Close)),
            "upstream-closed",
        ),
        (
            "closes inside its head",
            Origin::saying_and_closing("HTTP/1.1 200 OK\r\nX: "),
            "upstream-closed",
        ),
        (
            "talks garbage",
            Origin::saying_and_closing("\0\x01\x02 garbage \r\n\r\n"),
            "upstream-malformed",
        ),
        (
            "switches unasked",
            Origin::saying("HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n"),
            "upstream-malformed",
        ),
    ] {
        let gateway = Gateway::over(World::before(&[origin.address]))
            .workers(1)
            .start();
        let mut client = gateway.client();
        let answer = client.exchange(&gateway.good());
        assert_eq!(
            answer.status, 502,
            "an origin that {name}: {:?}",
            answer.head
        );
        answer.assert_refusal(502, code);
        // The client is not to blame.
        client.exchange(&gateway.good()).assert_refusal(502, code);
    }
}

#[test]
fn an_endless_head_is_not_read_to_its_end() {
    let origin = Origin::scripted(|turn| {
        turn.send("HTTP/1.1 200 OK\r\n")?;
        loop {
            turn.send("X-More: and more and more and more and more and more\r\n".repeat(100))?;
        }
    });
    let gateway = Gateway::before(&origin);
    gateway.get().assert_refusal(502, "upstream-malformed");
    origin.wait_until_free();
}

#[test]
fn a_worker_keeps_its_connection_to_a_target() {
    let origin = Origin::echo();
    let gateway = Gateway::over(World::before(&[origin.address]))
        .workers(1)
        .start();
    for n in 0..20 {
        let sent = post("/orders/1", format!("{n}")).key(&gateway.world.key);
        gateway.exchange(&sent).assert_status(200);
    }
    assert_eq!(origin.accepted(), 1);
    wait::until("the reuses to be counted", || {
        gateway.metrics().sum("keyway_upstream_reuses_total", &[]) == 19.0
    });
}

#[test]
fn a_connection_that_the_origin_ends_is_not_used_again() {
    for said in [
        answer(200, &[("Connection", "close")], "ok"),
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec(),
        b"HTTP/1.1 200 OK\r\n\r\nuntil the end".to_vec(),
    ] {
        let origin = Origin::saying_and_closing(said);
        let gateway = Gateway::over(World::before(&[origin.address]))
            .workers(1)
            .start();
        for _ in 0..3 {
            gateway.get().assert_status(200);
        }
        assert_eq!(origin.accepted(), 3);
        assert_eq!(origin.requests(), 3);
    }
}

#[test]
fn a_connection_that_rested_too_long_is_closed() {
    let origin = Origin::echo();
    let setup = Gateway::over(World::before(&[origin.address]));
    let gateway = setup.http("upstream_idle_timeout_ms = 100").start();
    gateway.get().assert_status(200);
    assert_eq!(origin.accepted(), 1);
    origin.wait_until_free();
}

#[test]
fn no_connection_is_kept_where_none_may_be() {
    let origin = Origin::echo();
    let setup = Gateway::over(World::before(&[origin.address])).workers(1);
    let gateway = setup.http("upstream_idle_max = 0").start();
    for _ in 0..3 {
        gateway.get().assert_status(200);
    }
    assert_eq!(origin.accepted(), 3);
    origin.wait_until_free();
}

/// Answers the first request of each connection and ends the connection at the second.
fn ends_when_asked_again() -> Origin {
    Origin::scripted(|turn| {
        if turn.place == 1 {
            turn.echo()
        } else {
            Ok(Flow::Close)
        }
    })
}

#[test]
fn a_request_that_may_be_repeated_is_sent_again_when_a_kept_connection_has_ended() {
    for method in ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"] {
        let origin = ends_when_asked_again();
        let gateway = Gateway::over(World::before(&[origin.address]))
            .workers(1)
            .start();
        let mut client = gateway.client();
        client.exchange(&gateway.good()).assert_status(200);
        let sent = request(method, "/orders/2").key(&gateway.world.key);
        client.exchange(&sent).assert_status(200);
        assert_eq!((origin.accepted(), origin.requests()), (2, 3), "{method}");
    }
}

#[test]
fn a_small_body_is_sent_again_with_its_request() {
    let origin = ends_when_asked_again();
    let gateway = Gateway::over(World::before(&[origin.address]))
        .workers(1)
        .start();
    let mut client = gateway.client();
    client.exchange(&gateway.good()).assert_status(200);
    let sent = request("PUT", "/orders/2")
        .key(&gateway.world.key)
        .body("all of it");
    let echo = client.exchange(&sent).json();
    assert_eq!(echo["body_crc32"], crc32(b"all of it"));
}

#[test]
fn a_request_that_may_not_be_repeated_is_sent_once() {
    for method in ["POST", "PATCH", "PURGE"] {
        let origin = ends_when_asked_again();
        let gateway = Gateway::over(World::before(&[origin.address]))
            .workers(1)
            .start();
        let mut client = gateway.client();
        client.exchange(&gateway.good()).assert_status(200);
        let sent = request(method, "/orders/2").key(&gateway.world.key);
        client
            .exchange(&sent)
            .assert_refusal(502, "upstream-closed");
        assert_eq!((origin.accepted(), origin.requests()), (1, 2), "{method}");
    }
}

#[test]
fn a_new_connection_that_ends_is_not_tried_again() {
    let origin = Origin::scripted(|_| Ok(Flow::Close));
    let gateway = Gateway::before(&origin);
    gateway.get().assert_refusal(502, "upstream-closed");
    assert_eq!(origin.requests(), 1);
}

#[test]
fn a_request_whose_answer_began_is_not_sent_again() {
    let origin = Origin::scripted(|turn| {
        if turn.place == 1 {
            return turn.echo();
        }
        turn.send("HTTP/1.1 200 OK\r\nX: ")?;
        Ok(Flow::Close)
    });
    let gateway = Gateway::over(World::before(&[origin.address]))
        .workers(1)
        .start();
    let mut client = gateway.client();
    client.exchange(&gateway.good()).assert_status(200);
    client
        .exchange(&gateway.good())
        .assert_refusal(502, "upstream-closed");
    assert_eq!(origin.requests(), 2);
}

#[test]
fn a_request_whose_body_is_gone_is_not_sent_again() {
    // The body is larger than what the gateway holds: it went by and cannot be repeated.
    let origin = Origin::scripted(|turn| {
        if turn.place == 1 {
            return turn.echo();
        }
        turn.body()?;
        Ok(Flow::Close)
    });
    let gateway = Gateway::over(World::before(&[origin.address]))
        .workers(1)
        .start();
    let mut client = gateway.client();
    client.exchange(&gateway.good()).assert_status(200);
    let sent = request("PUT", "/orders/2")
        .key(&gateway.world.key)
        .body(vec![b'x'; 500_000]);
    client
        .exchange(&sent)
        .assert_refusal(502, "upstream-closed");
    assert_eq!(origin.requests(), 2);
}

#[test]
fn words_that_nobody_asked_for_are_never_taken_for_the_next_answer() {
    let [asked, said] = [(); 2].map(|()| Arc::new(Gate::default()));
    let (asking, saying) = (Arc::clone(&asked), Arc::clone(&said));
    let origin = Origin::scripted(move |turn| {
        let body = format!("answer {}", turn.number);
        turn.answer(body)?;
        if turn.number == 1 {
            asking.pass();
            turn.send(answer(200, &[], "unasked"))?;
            // On loopback they are at the gateway's socket now.
            saying.open();
        }
        Ok(Flow::Keep)
    });
    let gateway = Gateway::over(World::before(&[origin.address]))
        .workers(1)
        .start();
    let mut client = gateway.client();
    assert_eq!(client.exchange(&gateway.good()).text(), "answer 1");
    asked.open();
    said.pass();
    for n in 2..10 {
        let answer = client.exchange(&get("/orders/next").key(&gateway.world.key));
        assert_eq!(answer.text(), format!("answer {n}"));
    }
}
