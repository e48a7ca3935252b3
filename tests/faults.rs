//! What must hold when something breaks: the kernel, an origin, a client, or the rules.

mod support;

use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use support::turn::head;
use support::wait::{self, Gate};
use support::{Broken, Client, Flow, Gateway, Origin, Traffic, World, get, post, request};

/// A command that makes one system call of a program fail and leaves all others alone.
fn failing(inject: &str) -> [&str; 10] {
    let quick = ["--seccomp-bpf", "-e", "trace=io_uring_setup"];
    let [seccomp, e, trace] = quick;
    [
        "strace",
        "-D",
        "-f",
        "-qq",
        "-o/dev/null",
        seccomp,
        e,
        trace,
        e,
        inject,
    ]
}

/// A gateway, traffic through it, and the driver that all its workers run on, where calls of
/// `io_uring_setup` fail as told; each thread counts its own calls.
fn driver_where(fault: Option<&str>) -> String {
    let origin = Origin::echo();
    let mut setup = Gateway::over(World::before(&[origin.address])).driver("auto");
    let inject = format!("inject=io_uring_setup:{}", fault.unwrap_or_default());
    if fault.is_some() {
        setup = setup.under(&failing(&inject));
    }
    let gateway = setup.start();
    let sent = post("/orders/1", vec![b'x'; 300_000]).key(&gateway.world.key);
    let mut clients: Vec<Client> = (0..10).map(|_| gateway.client()).collect();
    for client in &mut clients {
        assert_eq!(client.exchange(&sent).json()["body_bytes"], 300_000);
    }
    let status = gateway.status();
    let workers = status["workers"]
        .as_array()
        .expect("the status lists workers");
    let mut drivers: Vec<_> = workers
        .iter()
        .filter_map(|worker| worker["driver"].as_str())
        .collect();
    assert_eq!(drivers.len(), 2, "{status:#}");
    drivers.dedup();
    assert_eq!(drivers.len(), 1, "all workers use one driver: {status:#}");
    assert!(
        gateway.stderr().contains(&format!("driver={}", drivers[0])),
        "{}",
        gateway.stderr()
    );
    drivers[0].to_owned()
}

#[test]
fn without_io_uring_every_worker_runs_on_epoll() {
    for error in ["ENOMEM", "ENOSYS", "EPERM"] {
        assert_eq!(
            driver_where(Some(&format!("error={error}"))),
            "epoll",
            "{error}"
        );
    }
}

#[test]
fn a_kernel_that_refuses_the_best_flags_still_gives_a_plain_ring() {
    // Where the machine has no rings at all, nothing is left to be refused.
    if driver_where(None) == "uring-deferred" {
        assert_eq!(driver_where(Some("error=EINVAL:when=1")), "uring");
    }
}

#[test]
fn a_node_that_insists_on_io_uring_does_not_start_without_it() {
    let world = World::before(&[([127, 0, 0, 1], 9).into()]);
    let under = failing("inject=io_uring_setup:error=EPERM");
    let (status, said) = Gateway::over(world).driver("uring").under(&under).fail();
    assert!(!status.success());
    assert!(said.contains("driver"), "{said}");
}

#[test]
fn out_of_descriptors_it_neither_spins_nor_goes_deaf_and_recovers() {
    let origin = Origin::echo();
    let gateway = Gateway::over(World::before(&[origin.address]))
        .workers(1)
        .start();
    let mut first = gateway.client();
    first.exchange(&gateway.good()).assert_status(200);
    limit_descriptors(&gateway, descriptors(&gateway) + 8);
    let mut clients: Vec<Client> = (0..40).map(|_| gateway.client()).collect();
    let errors = || gateway.metrics().sum("keyway_accept_errors_total", &[]);
    wait::until("an accept to fail", || errors() > 0.0);
    // Nobody is left waiting in the kernel's queue.
    clients.pop().expect("there are many").assert_turned_away();
    // A second without descriptors: little work, and the operator is answered all the time.
    let (before, cpu_before, began) = (errors(), cpu_ms(&gateway), wait::now());
    wait::until("a second to pass", || {
        assert_eq!(gateway.ask_admin("/healthz").status, 200);
        first.exchange(&gateway.good()).assert_status(200);
        began.elapsed() >= Duration::from_secs(1)
    });
    let seconds = began.elapsed().as_secs_f64();
    let (failed, cpu) = (errors() - before, cpu_ms(&gateway) - cpu_before);
    assert!(
        failed <= 25.0 * seconds + 5.0,
        "{failed} failed accepts in {seconds} s"
    );
    assert!(cpu < 900, "{cpu} ms of work in {seconds} s");
    drop(clients);
    wait::until("it to recover", || {
        let mut client = gateway.client();
        client.exchange(&gateway.good()).status == 200
    });
}

fn descriptors(gateway: &Gateway) -> usize {
    fs::read_dir(format!("/proc/{}/fd", gateway.pid()))
        .expect("it runs")
        .count()
}

fn limit_descriptors(gateway: &Gateway, limit: usize) {
    let pid = gateway.pid().to_string();
    let limit = format!("--nofile={limit}:");
    let status = Command::new("prlimit")
        .args(["--pid", &pid, &limit])
        .status();
    assert!(status.expect("prlimit is installed").success());
}

/// What the process has used of the processor so far.
fn cpu_ms(gateway: &Gateway) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", gateway.pid())).expect("it runs");
    let (_, fields) = stat.rsplit_once(") ").expect("the name is in brackets");
    let ticks = |at: usize| {
        fields
            .split(' ')
            .nth(at)
            .and_then(|text| text.parse::<u64>().ok())
    };
    (ticks(11).expect("user time") + ticks(12).expect("system time")) * 10
}

#[test]
fn an_answer_that_breaks_off_is_never_taken_for_a_whole_one() {
    let chunked = head(200, &[("Transfer-Encoding", "chunked")]) + "\r\n";
    let announced = head(200, &[("Content-Length", "100")]) + "\r\n";
    for (name, said) in [
        ("before the body", announced.clone()),
        ("inside the body", announced.clone() + "half of it"),
        ("before the first chunk", chunked.clone()),
        ("inside a size", chunked.clone() + "1"),
        ("inside a chunk", chunked.clone() + "a\r\nhalf"),
        ("between two chunks", chunked.clone() + "4\r\nhalf\r\n"),
        (
            "before the last empty line",
            chunked.clone() + "4\r\nhalf\r\n0\r\n",
        ),
        ("in garbage", chunked.clone() + "4\r\nhalf\r\nzz\r\n"),
        (
            "after a huge size",
            chunked.clone() + "fffffffffffffffff\r\nhalf",
        ),
    ] {
        for flow in [Flow::Close, Flow::Reset] {
            let said = said.clone();
            let origin = Origin::scripted(move |turn| {
                turn.body()?;
                turn.send(&said)?;
                Ok(flow)
            });
            let gateway = Gateway::over(World::before(&[origin.address]))
                .workers(1)
                .start();
            for sent in [gateway.good(), gateway.good().http_1_0()] {
                let mut client = gateway.client();
                client.send(sent.bytes());
                match client.try_read() {
                    // Nothing had been sent yet: it may still be told in words.
                    Ok(answer) => assert_eq!(answer.status, 502, "{name}, {flow:?}: {answer:?}"),
                    Err(broken) => {
                        let seen = broken.is_broken_off() || broken == Broken::Closed;
                        assert!(seen, "{name}, {flow:?}: {broken:?}");
                    }
                }
            }
            gateway.ask_admin("/healthz").assert_status(200);
        }
    }
}

#[test]
fn an_answer_that_ends_with_its_connection_and_was_reset_is_broken_too() {
    let origin = Origin::scripted(|turn| {
        turn.send(head(200, &[]) + "\r\n" + &"x".repeat(100_000))?;
        // The request stays unread and the close is a reset: no clean end.
        Ok(Flow::Reset)
    });
    let gateway = Gateway::before(&origin);
    for sent in [gateway.good(), gateway.good().http_1_0()] {
        let mut client = gateway.client();
        client.send(sent.bytes());
        if let Ok(answer) = client.try_read() {
            assert_eq!(
                answer.status,
                502,
                "{:?}, {} bytes",
                answer.head,
                answer.body.len()
            );
        }
    }
}

/// A gateway with a limit of three, and room for one aborted request and two more.
fn with_three(origin: &Origin) -> Gateway {
    let world = World::before(&[origin.address]).limit(1, 3_600_000, 3);
    Gateway::over(world).workers(1).start()
}

/// The aborted request has cost its caller exactly one of three; the worker goes on.
#[track_caller]
fn has_two_left(gateway: &Gateway) {
    let statuses = [0; 3].map(|_| gateway.get().status);
    assert_eq!(statuses, [200, 200, 429]);
    wait::until("the connections to be closed", || {
        gateway.metrics().sum("keyway_connections_open", &[]) == 0.0
    });
}

/// Hangs at `/orders/slow`, echoes everything else.
fn slow_or_echo() -> Origin {
    Origin::scripted(|turn| {
        if turn.target() == "/orders/slow" {
            turn.hang()
        } else {
            turn.echo()
        }
    })
}

#[test]
fn a_client_that_leaves_inside_its_upload_sets_the_origin_free() {
    for resets in [false, true] {
        let origin = Origin::echo();
        let gateway = with_three(&origin);
        let mut client = gateway.client();
        let sent = request("POST", "/orders/1")
            .key(&gateway.world.key)
            .announcing(1_000_000);
        client.send(sent.bytes());
        client.send([b'x'; 10_000]);
        origin.wait_for_requests(1);
        if resets {
            client.reset();
        } else {
            drop(client);
        }
        origin.wait_until_free();
        assert!(!origin.only().whole);
        has_two_left(&gateway);
    }
}

#[test]
fn a_client_that_leaves_while_it_waits_sets_the_origin_free() {
    for resets in [false, true] {
        let origin = slow_or_echo();
        let gateway = with_three(&origin);
        let mut client = gateway.client();
        client.send(get("/orders/slow").key(&gateway.world.key).bytes());
        origin.wait_for_requests(1);
        if resets {
            client.reset();
        } else {
            drop(client);
        }
        origin.wait_until_free();
        has_two_left(&gateway);
    }
}

#[test]
fn a_client_that_leaves_inside_its_download_sets_the_origin_free() {
    for resets in [false, true] {
        let origin = Origin::scripted(|turn| {
            if turn.target() != "/orders/long" {
                return turn.echo();
            }
            turn.send(head(200, &[("Content-Length", "1000000000")]) + "\r\n")?;
            loop {
                turn.send([0; 64 * 1024])?;
            }
        });
        let gateway = with_three(&origin);
        let mut client = gateway.client();
        client.send(get("/orders/long").key(&gateway.world.key).bytes());
        client.read_head();
        client.read_piece(100_000).expect("it begins");
        if resets {
            client.reset();
        } else {
            drop(client);
        }
        origin.wait_until_free();
        has_two_left(&gateway);
    }
}

#[test]
fn clients_that_crawl_hold_nobody_up() {
    let gate = Arc::new(Gate::default());
    let waiting = Arc::clone(&gate);
    let origin = Origin::scripted(move |turn| match turn.target() {
        "/orders/slow" => {
            waiting.pass();
            turn.echo()
        }
        "/orders/large" => turn.answer(vec![0; 8 << 20]),
        _ => turn.echo(),
    });
    let gateway = Gateway::over(World::before(&[origin.address]))
        .workers(1)
        .start();
    let key = gateway.world.key.as_str();
    let mut crawling = Vec::new();
    for n in 0..60 {
        let mut client = gateway.client();
        client.send(match n % 4 {
            0 => b"GET /orders/1 HTTP/1.1\r\nHost: ga".to_vec(),
            1 => request("POST", "/orders/1")
                .key(key)
                .announcing(1_000)
                .bytes(),
            2 => get("/orders/slow").key(key).bytes(),
            _ => get("/orders/large").key(key).bytes(),
        });
        crawling.push(client);
    }
    origin.wait_for_requests(45);
    let traffic = Traffic::of(gateway.listen, 2, &gateway.good());
    traffic.wait_for_more(200);
    traffic.stop().assert_all(200);
    gate.open();
}

#[test]
fn a_thousand_clients_that_leave_at_the_worst_moment_leave_nothing_behind() {
    let origin = slow_or_echo();
    let gateway = Gateway::before(&origin);
    let key = gateway.world.key.clone();
    gateway.get().assert_status(200);
    let before = descriptors(&gateway);
    let whole = post("/orders/1", "0123456789").key(&key).bytes();
    for n in 0..1_000 {
        let mut client = gateway.client();
        client.send(&whole[..1 + n % whole.len()]);
        if n % 2 == 0 {
            client.reset();
        }
    }
    wait::until("all of it to be given back", || {
        gateway.metrics().sum("keyway_connections_open", &[]) == 0.0
    });
    // Idle connections to the origin may be kept; nothing else may.
    wait::until("descriptors to come back", || {
        descriptors(&gateway) <= before + origin.open() + 8
    });
    assert_eq!(gateway.metrics().sum("keyway_panics_total", &[]), 0.0);
    gateway.get().assert_status(200);
}

#[test]
fn many_headers_of_many_clients_cost_bounded_memory() {
    let origin = Origin::echo();
    let gateway = Gateway::before(&origin);
    let mut clients = Vec::new();
    for _ in 0..300 {
        let mut client = gateway.client();
        client.send("GET /orders/1 HTTP/1.1\r\nHost: gateway.test\r\nX-Endless: ");
        clients.push(client);
    }
    for client in &mut clients {
        // It may have been refused by now; that is the point.
        let _ = client.try_send(vec![b'x'; 100_000]);
    }
    for client in &mut clients {
        if let Ok(answer) = client.try_read() {
            answer.assert_refusal(431, "head-too-large");
        }
    }
    gateway.get().assert_status(200);
}

#[test]
fn an_origin_that_stops_taking_an_upload_is_504_and_set_free() {
    // It reads the head and nothing more.
    let gate = Arc::new(Gate::default());
    let waiting = Arc::clone(&gate);
    let origin = Origin::scripted(move |_| {
        waiting.pass();
        Ok(Flow::Close)
    });
    let gateway = Gateway::over(World::before(&[origin.address]))
        .http("write_timeout_ms = 500")
        .start();
    let mut client = gateway.client();
    let sent = request("POST", "/orders/1")
        .key(&gateway.world.key)
        .announcing(64 << 20);
    client.send(sent.bytes());
    let piece = vec![b'x'; 1 << 20];
    // More than all queues on the way hold; the gateway stops reading when the origin does.
    for _ in 0..64 {
        if client.try_send(&piece).is_err() {
            break;
        }
    }
    if let Ok(answer) = client.try_read() {
        answer.assert_refusal(504, "upstream-timeout");
    }
    wait::until("the cause to be counted", || {
        let cause = [("cause", "timeout")];
        gateway.metrics().sum("keyway_refusals_total", &cause) == 1.0
    });
    gate.open();
    origin.wait_until_free();
    gateway.ask_admin("/healthz").assert_status(200);
}
