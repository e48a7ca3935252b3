//! Clients that take more than their share: what they get, and that nobody else notices.

mod support;

use support::wait;
use support::{Client, Gateway, Origin, World};

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
