//! Listeners behind a load balancer that speaks the PROXY protocol.

mod support;

use std::net::SocketAddr;

use support::gateway::Setup;
use support::{Client, Gateway, Origin, World, wait};

fn before(origin: &Origin) -> Setup {
    Gateway::over(World::before(&[origin.address]))
        .listen_as(&["{ address = \"127.0.0.1:0\", proxy_protocol = true }"])
}

fn header(client: &str) -> Vec<u8> {
    use ppp::v2::{Builder, Command, Protocol, Version};
    let client: SocketAddr = client.parse().expect("an address");
    let own = SocketAddr::from(([127, 0, 0, 1], 80));
    let flags = Version::Two | Command::Proxy;
    let builder = Builder::with_addresses(flags, Protocol::Stream, (client, own));
    builder.build().expect("a header")
}

#[test]
fn the_balancers_client_is_the_client() {
    let origin = Origin::echo();
    let gateway = before(&origin).start();
    let mut client = gateway.client();
    client.send([header("203.0.113.7:4711"), gateway.good().bytes()].concat());
    let answer = client.read();
    assert_eq!(answer.echoed("X-Forwarded-For"), ["203.0.113.7"]);
    // And so it is for the next request of the connection.
    let answer = client.exchange(&gateway.good());
    assert_eq!(answer.echoed("X-Forwarded-For"), ["203.0.113.7"]);
    let line = &gateway.wait_for_log(1)[0];
    assert_eq!(line["client"], "203.0.113.7:4711", "{line}");
}

#[test]
fn a_header_may_come_byte_by_byte() {
    let origin = Origin::echo();
    let gateway = before(&origin).start();
    let mut client = gateway.client();
    for byte in header("203.0.113.7:4711") {
        client.send([byte]);
    }
    let answer = client.exchange(&gateway.good());
    assert_eq!(answer.echoed("X-Forwarded-For"), ["203.0.113.7"]);
}

#[test]
fn a_balancer_that_asks_for_itself_is_its_own_client() {
    let origin = Origin::echo();
    let gateway = before(&origin).start();
    let mut client = gateway.client();
    client.send(b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0");
    let answer = client.exchange(&gateway.good());
    assert_eq!(answer.echoed("X-Forwarded-For"), ["127.0.0.1"]);
}

#[test]
fn whoever_does_not_speak_the_protocol_is_not_heard() {
    let origin = Origin::echo();
    let gateway = before(&origin).http("head_timeout_ms = 300").start();
    for first in [
        gateway.good().bytes(),
        b"PROXY TCP4 203.0.113.7 127.0.0.1 4711 80\r\n".to_vec(),
        header("203.0.113.7:4711")[..20].to_vec(),
    ] {
        let mut client = gateway.client();
        client.send(first);
        client.assert_closed();
    }
    assert_eq!(origin.requests(), 0);
    wait::until("the refusals in the metrics", || {
        gateway
            .metrics()
            .sum("keyway_proxy_headers_refused_total", &[])
            == 3.0
    });
}

#[test]
fn connections_are_counted_by_the_client_and_not_by_the_balancer() {
    let origin = Origin::echo();
    let gateway = before(&origin)
        .http("connections_per_address_max = 2")
        .start();
    let open = |client: &str| {
        let mut connection = Client::connect(gateway.listen);
        connection.send([header(client), gateway.good().bytes()].concat());
        connection
    };
    let mut kept: Vec<Client> = ["203.0.113.7:1", "203.0.113.7:2", "203.0.113.8:1"]
        .map(open)
        .into();
    for client in &mut kept {
        client.read().assert_status(200);
    }
    open("203.0.113.7:3").assert_closed();
}
