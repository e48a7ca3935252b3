//! Client connections: how long they live, what runs over them, how they end.

mod support;

use std::fs;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;
use support::turn::{answer, head};
use support::wait::{self, Gate};
use support::wire::Framing;
use support::{Broken, Client, Flow, Gateway, Origin, World, get, post, request};

#[test]
fn a_connection_serves_request_after_request() {
    let origin = Origin::echo();
    let gateway = Gateway::before(&origin);
    let mut client = gateway.client();
    for n in 0..50 {
        let target = format!("/orders/{n}");
        let answer = client.exchange(&get(&target).key(&gateway.world.key));
        assert_eq!(answer.json()["target"], target);
        assert!(!answer.fields.has("connection"), "{:?}", answer.head);
    }
}

#[test]
fn refusals_leave_the_connection_open() {
    let origin = Origin::echo();
    let gateway = Gateway::before(&origin);
    let mut client = gateway.client();
    for _ in 0..3 {
        client
            .exchange(&get("/orders/1"))
            .assert_refusal(401, "key-missing");
        client
            .exchange(&get("/nowhere"))
            .assert_refusal(404, "route-unknown");
        client
            .exchange(&post("/orders/1", "unread"))
            .assert_refusal(401, "key-missing");
        client.exchange(&gateway.good()).assert_status(200);
    }
}

#[test]
fn requests_in_one_breath_are_answered_in_order() {
    let origin = Origin::echo();
    let gateway = Gateway::before(&origin);
    let key = gateway.world.key.as_str();
    let mut breath = Vec::new();
    for n in 0..100 {
        let target = format!("/orders/{n}");
        breath.extend(match n % 4 {
            0 => get(&target).key(key).bytes(),
            1 => post(&target, "a body").key(key).bytes(),
            2 => request("PUT", &target)
                .key(key)
                .chunks(&[b"in", b"chunks"])
                .bytes(),
            _ => post(&target, "nobody reads this").bytes(),
        });
    }
    let mut client = gateway.client();
    client.send(&breath);
    for n in 0..100 {
        let answer = client.read();
        if n % 4 == 3 {
            answer.assert_refusal(401, "key-missing");
        } else {
            assert_eq!(answer.json()["target"], format!("/orders/{n}"));
        }
    }
}

#[test]
fn a_request_behind_one_that_failed_upstream_is_still_answered() {
    let origin = Origin::scripted(|turn| {
        if turn.target() == "/orders/bad" {
            Ok(Flow::Reset)
        } else {
            turn.echo()
        }
    });
    let gateway = Gateway::before(&origin);
    let key = gateway.world.key.as_str();
    let breath = [
        get("/orders/bad").key(key).bytes(),
        post("/orders/good", "with a body").key(key).bytes(),
        get("/orders/last").key(key).bytes(),
    ];
    let mut client = gateway.client();
    client.send(breath.concat());
    client.read().assert_refusal(502, "upstream-closed");
    assert_eq!(client.read().json()["target"], "/orders/good");
    assert_eq!(client.read().json()["target"], "/orders/last");
}

#[test]
fn a_client_that_asks_to_close_is_closed_after_its_answer() {
    let origin = Origin::echo();
    let gateway = Gateway::before(&origin);
    let mut client = gateway.client();
    let answer = client.exchange(&gateway.good().header("Connection", "close"));
    answer.assert_status(200);
    assert_eq!(answer.header("connection"), Some("close"));
    client.assert_closed();

    let mut client = gateway.client();
    let refused = client.exchange(&get("/orders/1").header("Connection", "Close"));
    refused.assert_refusal(401, "key-missing");
    assert_eq!(refused.header("connection"), Some("close"));
    client.assert_closed();
}

#[test]
fn an_http_1_0_connection_closes_unless_asked_to_stay() {
    let origin = Origin::echo();
    let gateway = Gateway::before(&origin);
    let mut client = gateway.client();
    let sent = gateway.good().http_1_0();
    client.exchange(&sent).assert_status(200);
    client.assert_closed();

    let mut client = gateway.client();
    for _ in 0..3 {
        let answer = client.exchange(&sent.clone().header("Connection", "keep-alive"));
        answer.assert_status(200);
        assert_eq!(answer.header("connection"), Some("keep-alive"));
        assert!(matches!(answer.framing, Framing::Length(_)));
    }
    let seen = origin.received();
    assert!(
        seen.iter().all(|got| got.head.line.ends_with(" HTTP/1.1")),
        "{seen:?}"
    );
}

#[test]
fn an_empty_line_before_a_request_is_overlooked() {
    let origin = Origin::echo();
    let gateway = Gateway::before(&origin);
    let mut client = gateway.client();
    for _ in 0..2 {
        client.send("\r\n");
        client.exchange(&gateway.good()).assert_status(200);
    }
}

#[test]
fn several_workers_all_take_connections() {
    let origin = Origin::echo();
    let gateway = Gateway::over(World::before(&[origin.address]))
        .workers(3)
        .start();
    let mut clients: Vec<Client> = (0..90).map(|_| gateway.client()).collect();
    for client in &mut clients {
        client.exchange(&gateway.good()).assert_status(200);
    }
    wait::until("every worker to have connections", || {
        let metrics = gateway.metrics();
        let open = |worker| metrics.sum("keyway_connections_open", &[("worker", worker)]);
        let open = [open("0"), open("1"), open("2")];
        open.iter().all(|open| *open > 0.0) && open.iter().sum::<f64>() == 90.0
    });
    drop(clients);
    wait::until("the ends to be counted", || {
        let metrics = gateway.metrics();
        metrics.sum("keyway_connections_open", &[]) == 0.0
            && metrics.sum("keyway_connections_closed_total", &[("cause", "client")]) == 90.0
    });
}

#[test]
fn a_connection_that_rests_too_long_is_closed_without_a_word() {
    let origin = Origin::echo();
    let setup = Gateway::over(World::before(&[origin.address])).http("idle_timeout_ms = 300");
    let gateway = setup.start();
    let mut client = gateway.client();
    client.exchange(&gateway.good()).assert_status(200);
    let began = wait::now();
    client.assert_closed();
    assert!(
        began.elapsed() >= Duration::from_millis(250),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn a_connection_that_never_speaks_is_closed_after_the_time_for_a_head() {
    let origin = Origin::echo();
    let setup = Gateway::over(World::before(&[origin.address])).http("head_timeout_ms = 300");
    let gateway = setup.start();
    gateway.client().assert_closed();
}

#[test]
fn a_slow_head_is_408_however_steadily_it_drips() {
    let origin = Origin::echo();
    let setup = Gateway::over(World::before(&[origin.address])).http("head_timeout_ms = 500");
    let gateway = setup.start();
    let mut client = gateway.client();
    client.exchange(&gateway.good()).assert_status(200);
    client.send("GET /orders/1 HTTP/1.1\r\nHost: gateway.test\r\nX-Slow: ");
    let began = wait::now();
    let mut next = Duration::ZERO;
    wait::until("the gateway to lose patience", || {
        if began.elapsed() >= next {
            next += Duration::from_millis(50);
            return client.try_send("x").is_err() || began.elapsed() > Duration::from_secs(1);
        }
        false
    });
    client.read().assert_refusal(408, "head-timeout");
    client.finish();
    client.assert_closed();
}

#[test]
fn a_body_that_stops_is_408_and_the_origin_is_set_free() {
    let origin = Origin::echo();
    let setup = Gateway::over(World::before(&[origin.address])).http("body_timeout_ms = 300");
    let gateway = setup.start();
    for sent in [
        request("POST", "/orders/1")
            .key(&gateway.world.key)
            .announcing(100),
        request("POST", "/orders/1")
            .key(&gateway.world.key)
            .header("Transfer-Encoding", "chunked"),
    ] {
        let mut client = gateway.client();
        client.send(sent.bytes());
        client.send("5\r\nabcde");
        let answer = client.read();
        answer.assert_refusal(408, "body-timeout");
        assert_eq!(answer.header("connection"), Some("close"));
        client.finish();
        client.assert_closed();
        origin.wait_until_free();
    }
    assert!(origin.received().iter().all(|got| !got.whole));
}

#[test]
fn a_body_that_drips_steadily_is_waited_for() {
    let origin = Origin::echo();
    let setup = Gateway::over(World::before(&[origin.address])).http("body_timeout_ms = 400");
    let gateway = setup.start();
    let mut client = gateway.client();
    client.send(
        request("POST", "/orders/1")
            .key(&gateway.world.key)
            .announcing(10)
            .bytes(),
    );
    let began = wait::now();
    for n in 1..=10 {
        wait::until("a little more", || began.elapsed().as_millis() > 100 * n);
        client.send("x");
    }
    client.read().assert_status(200);
}

#[test]
fn a_client_that_takes_nothing_of_its_answer_is_cut_off_and_the_origin_is_set_free() {
    let origin = Origin::scripted(|turn| {
        turn.send(head(200, &[("Content-Length", "1000000000")]) + "\r\n")?;
        loop {
            turn.send([0; 64 * 1024])?;
        }
    });
    let setup = Gateway::over(World::before(&[origin.address])).http("write_timeout_ms = 300");
    let gateway = setup.start();
    let mut client = gateway.client();
    client.send(gateway.good().bytes());
    origin.wait_for_requests(1);
    origin.wait_until_free();
    let broken = client.try_read().expect_err("most of it is missing");
    assert!(broken.is_broken_off(), "{broken:?}");
    wait::until("the cause to be counted", || {
        let cause = [("cause", "write_timeout")];
        gateway
            .metrics()
            .sum("keyway_connections_closed_total", &cause)
            == 1.0
    });
}

#[test]
fn connections_beyond_the_cap_are_turned_away_and_there_is_room_again_later() {
    let origin = Origin::echo();
    let setup = Gateway::over(World::before(&[origin.address])).workers(1);
    let gateway = setup.http("connections_max = 3").start();
    let mut clients: Vec<Client> = (0..3).map(|_| gateway.client()).collect();
    for client in &mut clients {
        client.exchange(&gateway.good()).assert_status(200);
    }
    gateway.client().assert_turned_away();
    for client in &mut clients {
        client.exchange(&gateway.good()).assert_status(200);
    }
    drop(clients);
    wait::until("room", || {
        let mut client = gateway.client();
        client.try_send(gateway.good().bytes()).is_ok()
            && client.try_read().is_ok_and(|answer| answer.status == 200)
    });
}

#[test]
fn sigterm_lets_what_runs_finish_and_takes_nothing_new() {
    let gate = Arc::new(Gate::default());
    let waiting = Arc::clone(&gate);
    let origin = Origin::scripted(move |turn| {
        if turn.target() == "/orders/slow" {
            turn.body()?;
            waiting.pass();
        }
        turn.echo()
    });
    let mut gateway = Gateway::before(&origin);
    let mut idle = gateway.client();
    idle.exchange(&gateway.good()).assert_status(200);
    let mut fresh = gateway.client();
    let mut running = gateway.client();
    running.send(get("/orders/slow").key(&gateway.world.key).bytes());
    origin.wait_for_requests(2);
    gateway.signal(Signal::SIGTERM);
    idle.assert_closed();
    fresh.assert_closed();
    wait::until("new connections to be refused", || {
        TcpStream::connect_timeout(&gateway.listen, Duration::from_secs(1)).is_err()
    });
    assert!(gateway.runs(), "it left before its last answer");
    let ready = gateway.ask_admin("/readyz");
    assert_eq!(ready.status, 503, "{}", ready.text());
    gate.open();
    let answer = running.read();
    answer.assert_status(200);
    assert_eq!(answer.header("connection"), Some("close"));
    running.assert_closed();
    assert!(gateway.wait_for_exit().success());
    assert_eq!(gateway.log().len(), 2, "what was served is in the log");
}

#[test]
fn sigterm_serves_those_who_wait_to_be_accepted() {
    let origin = Origin::echo();
    let mut gateway = Gateway::before(&origin);
    gateway.signal(Signal::SIGSTOP);
    wait::until("the gateway to stand still", || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", gateway.pid()));
        stat.is_ok_and(|stat| stat.contains(") T "))
    });
    // The kernel takes these connections; nobody has accepted them yet.
    let mut waiting: Vec<_> = (0..40).map(|_| gateway.client()).collect();
    for client in &mut waiting {
        client.send(gateway.good().bytes());
    }
    gateway.signal(Signal::SIGTERM);
    gateway.signal(Signal::SIGCONT);
    for client in &mut waiting {
        client.read().assert_status(200);
    }
    assert!(gateway.wait_for_exit().success());
}

#[test]
fn a_drain_that_takes_too_long_is_cut_short() {
    let origin = Origin::hanging();
    let setup = Gateway::over(World::before(&[origin.address])).http("drain_timeout_ms = 400");
    let mut gateway = setup.start();
    let mut running = gateway.client();
    running.send(gateway.good().bytes());
    origin.wait_for_requests(1);
    let began = wait::now();
    gateway.signal(Signal::SIGTERM);
    gateway.wait_for_exit();
    assert!(
        began.elapsed() >= Duration::from_millis(350),
        "{:?}",
        began.elapsed()
    );
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    assert!(running.try_read().is_err());
}

#[test]
fn sighup_lets_the_log_be_moved_away() {
    let origin = Origin::echo();
    let mut gateway = Gateway::before(&origin);
    gateway.get().assert_status(200);
    gateway.wait_for_log(1);
    let moved = gateway.path("access.log.1");
    fs::rename(gateway.path("access.log"), &moved).expect("it is there");
    gateway.signal(Signal::SIGHUP);
    wait::until("a new log", || gateway.path("access.log").exists());
    gateway
        .exchange(&get("/orders/after").key(&gateway.world.key))
        .assert_status(200);
    let lines = gateway.wait_for_log(1);
    assert_eq!(lines[0]["path"], "/orders/after");
    let before = fs::read_to_string(moved).expect("it is there");
    assert_eq!(before.lines().count(), 1);
    assert!(gateway.runs());
}

#[test]
fn a_client_that_half_closes_still_gets_its_answer() {
    let origin = Origin::echo();
    let gateway = Gateway::before(&origin);
    let mut client = gateway.client();
    client.send(gateway.good().bytes());
    client.finish();
    client.read().assert_status(200);
    client.assert_closed();
}

#[test]
fn an_unread_body_over_the_cap_costs_the_connection_and_not_the_answer() {
    let origin = Origin::saying(answer(200, &[], "ok"));
    let setup = Gateway::over(World::before(&[origin.address])).http("drain_bytes_max = 1000");
    let gateway = setup.start();
    let mut client = gateway.client();
    let answer = client.exchange(&post("/orders/1", vec![b'x'; 5_000]));
    answer.assert_refusal(401, "key-missing");
    assert_eq!(answer.header("connection"), Some("close"));
    client.finish();
    let (rest, end) = client.read_rest();
    assert_eq!((rest.as_slice(), end), (&b""[..], Broken::Closed));
}
