//! Clients that take more than their share: what they get, and that nobody else notices.

mod support;

use support::wait;
use support::{Client, Gateway, Origin, World, post};

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

/// As many clients, each with one request behind it.
fn idle_clients(gateway: &Gateway, count: usize) -> Vec<Client> {
    let one = |_| {
        let mut client = gateway.client();
        client.exchange(&gateway.good()).assert_status(200);
        client
    };
    (0..count).map(one).collect()
}

#[test]
fn an_idle_connection_costs_little_memory() {
    // More for a figure to quote; this many show an idle buffer of 1 KiB.
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
        each < 3 * 1024
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
