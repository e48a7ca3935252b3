//! Clients that take more than their share: what they get, and that nobody else notices.

mod support;

use support::turn::head;
use support::wait;
use support::{Client, Gateway, Origin, World, post, request};

/// Whether a connection that was made just now is served.
fn is_served(client: &mut Client, gateway: &Gateway) -> bool {
    let sent = client.try_send(gateway.good().bytes());
    sent.is_ok() && client.try_read().is_ok_and(|answer| answer.status == 200)
}

fn turned_away(gateway: &Gateway, cause: &str) -> f64 {
    let name = "keyway_connections_turned_away_total";
    gateway.metrics().sum(name, &[("cause", cause)])
}

#[test]
fn the_cap_on_connections_is_the_nodes_however_they_spread_over_workers() {
    let origin = Origin::echo();
    let setup = Gateway::over(World::before(&[origin.address])).workers(4);
    let gateway = setup.http("connections_max = 8").start();
    let mut clients: Vec<Client> = (0..8).map(|_| gateway.client()).collect();
    for client in &mut clients {
        client.exchange(&gateway.good()).assert_status(200);
    }
    for _ in 0..20 {
        gateway.client().assert_turned_away();
    }
    // One goes, one may come, and it is the only one.
    drop(clients.pop());
    let mut next = wait::value("room for one", || {
        let mut client = gateway.client();
        is_served(&mut client, &gateway).then_some(client)
    });
    gateway.client().assert_turned_away();
    next.exchange(&gateway.good()).assert_status(200);
    wait::until("the count of those turned away", || {
        turned_away(&gateway, "node") >= 21.0
    });
    let lines = gateway.stderr().matches("turned away").count();
    assert!(lines <= 4 * 2, "{lines} lines in the log");
}

#[test]
fn the_cap_on_connections_of_an_address_holds_across_workers_and_leaves_others_alone() {
    let origin = Origin::echo();
    let setup = Gateway::over(World::before(&[origin.address])).workers(4);
    let gateway = setup.http("connections_per_address_max = 6").start();
    let mut greedy: Vec<Client> = (0..6).map(|_| gateway.client()).collect();
    for client in &mut greedy {
        client.exchange(&gateway.good()).assert_status(200);
    }
    for _ in 0..10 {
        gateway.client().assert_turned_away();
    }
    for last in 2..6 {
        let mut others: Vec<Client> = (0..6)
            .map(|_| Client::connect_from([127, 0, 0, last], gateway.listen))
            .collect();
        for client in &mut others {
            client.exchange(&gateway.good()).assert_status(200);
        }
        Client::connect_from([127, 0, 0, last], gateway.listen).assert_turned_away();
    }
    for client in &mut greedy {
        client.exchange(&gateway.good()).assert_status(200);
    }
    wait::until("the count of those turned away", || {
        turned_away(&gateway, "address") == 14.0
    });
    drop(greedy);
    wait::until("room again", || is_served(&mut gateway.client(), &gateway));
}

#[test]
fn connections_that_come_and_go_leave_no_count_behind() {
    let origin = Origin::echo();
    let setup = Gateway::over(World::before(&[origin.address])).workers(4);
    let gateway = setup
        .http("connections_max = 20")
        .http("connections_per_address_max = 10")
        .start();
    for n in 0..400 {
        let client = gateway.client();
        if n % 2 == 0 {
            client.reset();
        }
    }
    wait::until("all of them to be closed", || {
        gateway.metrics().sum("keyway_connections_open", &[]) == 0.0
    });
    let mut clients: Vec<Client> = (0..10).map(|_| gateway.client()).collect();
    for client in &mut clients {
        client.exchange(&gateway.good()).assert_status(200);
    }
    gateway.client().assert_turned_away();
}

/// Memory of the gateway's process, its own and not the kernel's.
fn resident_bytes(gateway: &Gateway) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid()));
    let status = status.expect("it runs");
    let line = status.lines().find(|line| line.starts_with("RssAnon:"));
    let field = line.and_then(|line| line.split_whitespace().nth(1));
    1024 * field
        .and_then(|field| field.parse::<u64>().ok())
        .expect("in kB")
}

/// As many clients, each with one request behind it, whose head makes a buffer grow.
fn idle_clients(gateway: &Gateway, count: usize) -> Vec<Client> {
    let one = |_| {
        let mut client = gateway.client();
        let sent = gateway.good().header("X-Padding", &"x".repeat(3_000));
        client.exchange(&sent).assert_status(200);
        client
    };
    (0..count).map(one).collect()
}

#[test]
fn an_idle_connection_costs_little_memory() {
    // More for a figure to quote; this many show whether each keeps its buffer, which has grown.
    let count = std::env::var("KEYWAY_TEST_IDLE").map_or(3_000, |text| text.parse().unwrap());
    let origin = Origin::echo();
    let gateway = Gateway::over(World::before(&[origin.address]))
        .workers(1)
        .start();
    let warm = idle_clients(&gateway, 200);
    let before = resident_bytes(&gateway);
    let mut idle = idle_clients(&gateway, count);
    let mut each = 0;
    wait::until("the buffers to be given back", || {
        each = resident_bytes(&gateway).saturating_sub(before) / idle.len() as u64;
        each < 4_600
    });
    println!("{each} bytes for each of {count} idle connections");
    // They are all still there.
    for client in idle.iter_mut().step_by(100) {
        client.exchange(&gateway.good()).assert_status(200);
    }
    drop(warm);
}

#[test]
fn a_request_that_comes_at_the_moment_of_parking_is_answered_whole() {
    let origin = Origin::echo();
    let gateway = Gateway::before(&origin);
    let mut clients = idle_clients(&gateway, 300);
    // The buffer goes about a second after the last answer: the requests are spread around that.
    for round in 0..2 {
        let began = wait::now();
        for (n, client) in clients.iter_mut().enumerate() {
            let due_ms = 850 + n as u128;
            wait::until("its moment", || began.elapsed().as_millis() >= due_ms);
            let sent = post(&format!("/orders/{round}-{n}"), vec![b'x'; 1 + 7 * n]);
            client.send(sent.key(&gateway.world.key).bytes());
        }
        for (n, client) in clients.iter_mut().enumerate() {
            let answer = client.read().json();
            assert_eq!(answer["target"], format!("/orders/{round}-{n}"));
            assert_eq!(answer["body_bytes"], 1 + 7 * n);
        }
    }
}

#[test]
fn a_connection_that_has_parked_is_still_closed_when_its_time_is_over() {
    let origin = Origin::echo();
    let setup = Gateway::over(World::before(&[origin.address]));
    let gateway = setup.http("idle_timeout_ms = 1600").start();
    for mut client in idle_clients(&gateway, 5) {
        client.assert_closed();
    }
    wait::until("the cause to be counted", || {
        let cause = [("cause", "idle_timeout")];
        gateway
            .metrics()
            .sum("keyway_connections_closed_total", &cause)
            == 5.0
    });
}

fn closed_for(gateway: &Gateway, cause: &str) -> f64 {
    let name = "keyway_connections_closed_total";
    gateway.metrics().sum(name, &[("cause", cause)])
}

/// Runs `step` every `pause_ms` until it says enough.
fn steadily(pause_ms: u128, mut step: impl FnMut() -> bool) {
    let began = wait::now();
    let mut due_ms = 0;
    wait::until("it to be enough", || {
        if began.elapsed().as_millis() < due_ms {
            return false;
        }
        due_ms += pause_ms;
        step()
    });
}

#[test]
fn a_body_that_comes_too_slowly_is_408_though_it_never_pauses_for_long() {
    let origin = Origin::echo();
    let setup = Gateway::over(World::before(&[origin.address]))
        .http("body_rate_min_bytes_per_s = 1000")
        .http("rate_window_ms = 600");
    let gateway = setup.start();
    let forwarded = request("POST", "/orders/1").key(&gateway.world.key);
    // Refused, and its body is read past: that must not take for ever either.
    let refused = request("POST", "/orders/1");
    for (sent, answered) in [(forwarded, true), (refused, false)] {
        let mut client = gateway.client();
        client.send(sent.announcing(10_000).bytes());
        let began = wait::now();
        steadily(20, || {
            client.try_send("x").is_err() || began.elapsed().as_millis() > 2_500
        });
        if answered {
            client.read().assert_refusal(408, "body-timeout");
        } else {
            client.read().assert_refusal(401, "key-missing");
        }
        client.finish();
        client.assert_closed();
    }
    origin.wait_until_free();
    wait::until("both to be counted", || {
        closed_for(&gateway, "read_timeout") == 2.0
    });
}

#[test]
fn a_body_at_the_least_pace_is_waited_for_however_long_it_takes() {
    let origin = Origin::echo();
    let setup = Gateway::over(World::before(&[origin.address]))
        .http("body_rate_min_bytes_per_s = 200")
        .http("rate_window_ms = 500");
    let gateway = setup.start();
    let mut client = gateway.client();
    let sent = request("POST", "/orders/1").key(&gateway.world.key);
    client.send(sent.announcing(1_500).bytes());
    let mut left = 30;
    steadily(50, || {
        client.send([b'x'; 50]);
        left -= 1;
        left == 0
    });
    assert_eq!(client.read().json()["body_bytes"], 1_500);
}

/// Sends without end at `/orders/long`.
fn endless() -> Origin {
    Origin::scripted(|turn| {
        turn.send(head(200, &[("Content-Length", "1000000000")]) + "\r\n")?;
        loop {
            turn.send([0; 64 * 1024])?;
        }
    })
}

/// A client with a small window, for whom the gateway's kernel queues megabytes.
fn small_reader(gateway: &Gateway) -> Client {
    let mut client = gateway.client();
    socket2::SockRef::from(client.stream())
        .set_recv_buffer_size(32 * 1024)
        .expect("a socket takes the option");
    client.send(gateway.good().bytes());
    client.read_head();
    client
}

#[test]
fn a_reader_that_takes_a_little_all_the_time_is_cut_off_below_the_least_pace() {
    let origin = endless();
    let setup = Gateway::over(World::before(&[origin.address]))
        .http("answer_rate_min_bytes_per_s = 100000000")
        .http("rate_window_ms = 600");
    let gateway = setup.start();
    let mut client = small_reader(&gateway);
    steadily(10, || {
        client.read_piece(1_000).is_err() || closed_for(&gateway, "write_timeout") == 1.0
    });
    wait::until("the cause to be counted", || {
        closed_for(&gateway, "write_timeout") == 1.0
    });
    origin.wait_until_free();
}

/// The kernel lets a waiting write go on only when a third of what it queues was taken: longer than
/// the deadline of a write, at the pace of this reader.
#[test]
fn a_slow_reader_above_the_least_pace_is_not_taken_for_one_that_takes_nothing() {
    let origin = endless();
    let setup = Gateway::over(World::before(&[origin.address]));
    let gateway = setup.http("write_timeout_ms = 1000").start();
    let mut client = small_reader(&gateway);
    let began = wait::now();
    steadily(50, || {
        client.read_piece(10_000).expect("it goes on");
        began.elapsed().as_secs() >= 6
    });
    assert_eq!(closed_for(&gateway, "write_timeout"), 0.0);
}

/// Bytes that the kernel queues on the gateway's side of `client`'s connection, as `/proc/net/tcp`
/// has it.
fn queued_bytes(gateway: &Gateway, client: &Client) -> u64 {
    let near = gateway.listen.port();
    let far = client
        .stream()
        .local_addr()
        .expect("it is connected")
        .port();
    let ports = |row: &&str| {
        let port = |at: usize| row.split_whitespace().nth(at)?.rsplit(':').next();
        port(1) == Some(&format!("{near:04X}")) && port(2) == Some(&format!("{far:04X}"))
    };
    let table = std::fs::read_to_string("/proc/net/tcp").expect("this is Linux");
    let queues = table.lines().find(ports);
    let queues = queues.and_then(|row| row.split_whitespace().nth(4));
    let sent = queues.and_then(|queues| queues.split(':').next());
    sent.map_or(0, |hex| {
        u64::from_str_radix(hex, 16).expect("it is a number")
    })
}

#[test]
fn what_the_kernel_queues_for_a_client_that_takes_nothing_is_bounded() {
    let origin = endless();
    let setup = Gateway::over(World::before(&[origin.address]));
    let gateway = setup.http("write_timeout_ms = 1000").start();
    let client = small_reader(&gateway);
    let mut most = 0;
    wait::until("it to be cut off", || {
        most = most.max(queued_bytes(&gateway, &client));
        closed_for(&gateway, "write_timeout") == 1.0
    });
    assert!((10_000..512 * 1024).contains(&most), "{most} bytes");
}

#[test]
fn a_client_that_asks_without_end_and_reads_nothing_is_cut_off() {
    let origin = Origin::echo();
    let setup = Gateway::over(World::before(&[origin.address])).workers(1);
    let gateway = setup.http("write_timeout_ms = 1000").start();
    let mut client = gateway.client();
    let breath = gateway.good().bytes().repeat(100);
    let before = resident_bytes(&gateway);
    // Stands still when all queues are full, and fails when the gateway has had enough.
    let sent = (0..100_000).find(|_| client.try_send(&breath).is_err());
    assert!(sent.is_some(), "ten million requests were taken");
    wait::until("the cause to be counted", || {
        closed_for(&gateway, "write_timeout") == 1.0
    });
    let grown = resident_bytes(&gateway).saturating_sub(before);
    assert!(grown < 8 << 20, "{grown} bytes more");
    gateway.get().assert_status(200);
}
