//! Connections that switch protocols: real WebSockets through the gateway, and what must not pass.

mod support;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use keyway::snapshot::record::KeyState;
use nix::sys::signal::Signal;
use support::gateway::Setup;
use support::{Flow, Gateway, Origin, World, get, wait};
use tungstenite::client::IntoClientRequest as _;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Message, WebSocket};

/// A server that echoes every message of every WebSocket.
fn echo_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || {
                let Ok(mut socket) = tungstenite::accept(stream) else {
                    return;
                };
                while let Ok(message) = socket.read() {
                    if (message.is_text() || message.is_binary()) && socket.send(message).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

fn before(address: SocketAddr) -> Setup {
    Gateway::over(World::before(&[address]))
}

/// A WebSocket through the gateway, with the first key.
fn open(gateway: &Gateway) -> WebSocket<TcpStream> {
    let url = format!("ws://{}/orders/live", gateway.listen);
    let mut request = url.into_client_request().expect("a good URL");
    let key = gateway.world.key.parse().expect("a key is a header value");
    request.headers_mut().insert("X-API-Key", key);
    let stream = TcpStream::connect(gateway.listen).expect("the gateway takes connections");
    stream
        .set_read_timeout(Some(wait::PATIENCE))
        .expect("a socket");
    let (socket, answer) = tungstenite::client(request, stream).expect("it is opened");
    assert_eq!(answer.status(), 101);
    assert!(answer.headers().contains_key("X-Request-Id"));
    socket
}

fn echoes(socket: &mut WebSocket<TcpStream>, text: &str) {
    socket.send(Message::text(text)).expect("it is sent");
    assert_eq!(socket.read().expect("it comes back"), Message::text(text));
}

/// How the gateway ended a WebSocket: the close code, or 0 if the connection just broke.
fn end_of(socket: &mut WebSocket<TcpStream>) -> u16 {
    loop {
        match socket.read() {
            Ok(Message::Close(frame)) => return frame.map_or(0, |frame| frame.code.into()),
            Ok(_) => {}
            Err(_) => return 0,
        }
    }
}

fn tunnels(gateway: &Gateway) -> f64 {
    gateway.metrics().sum("keyway_tunnels_open", &[])
}

#[test]
fn messages_of_any_size_go_both_ways_and_the_tunnel_is_recorded_at_its_end() {
    let gateway = before(echo_server()).start();
    let mut socket = open(&gateway);
    echoes(&mut socket, "hello");
    let large = "x".repeat(3 << 20);
    echoes(&mut socket, &large);
    wait::until("the tunnel in the metrics", || tunnels(&gateway) == 1.0);
    socket.close(None).expect("it closes");
    while socket.read().is_ok() {}
    drop(socket);
    let line = &gateway.wait_for_log(1)[0];
    assert_eq!(line["status"], 101, "{line}");
    for bytes in ["bytes_in", "bytes_out"] {
        assert!(line[bytes].as_u64().is_some_and(|n| n > 3 << 20), "{line}");
    }
    wait::until("the end in the metrics", || tunnels(&gateway) == 0.0);
}

#[test]
fn a_tunnel_that_rests_wakes_up_again() {
    let gateway = before(echo_server()).start();
    let mut socket = open(&gateway);
    echoes(&mut socket, "before");
    // Longer than a direction keeps its buffer while nothing comes.
    let began = wait::now();
    wait::until("rest", || began.elapsed().as_millis() > 2_500);
    echoes(&mut socket, "after");
}

/// Opens a WebSocket, changes what is published, and expects to be told that the policy has changed.
fn closed_by(change: impl FnOnce(&mut World)) {
    let mut gateway = before(echo_server()).start();
    let mut socket = open(&gateway);
    echoes(&mut socket, "hello");
    gateway.publish(change);
    assert_eq!(end_of(&mut socket), u16::from(CloseCode::Policy));
    let line = &gateway.wait_for_log(1)[0];
    assert_eq!(line["status"], 101, "{line}");
    wait::until("the cause in the metrics", || {
        let closed = "keyway_connections_closed_total";
        gateway.metrics().sum(closed, &[("cause", "key_refused")]) == 1.0
    });
}

#[test]
fn a_revoked_key_closes_its_tunnels() {
    closed_by(|world| {
        let key = world.key.clone();
        world.record(&key).state = KeyState::Revoked;
    });
}

#[test]
fn a_disabled_key_closes_its_tunnels() {
    closed_by(|world| {
        let key = world.key.clone();
        world.record(&key).state = KeyState::Disabled;
    });
}

#[test]
fn a_disabled_app_closes_its_tunnels() {
    closed_by(|world| world.fixture.apps[0].enabled = false);
}

#[test]
fn a_disabled_tenant_closes_its_tunnels() {
    closed_by(|world| world.fixture.catalog.tenants[0].enabled = false);
}

#[test]
fn a_grant_that_is_taken_back_closes_its_tunnels() {
    closed_by(|world| world.fixture.apps[0].grants.clear());
}

#[test]
fn a_key_that_ends_by_the_clock_closes_its_tunnels() {
    closed_by(|world| {
        let key = world.key.clone();
        let record = world.record(&key);
        // After the workers have taken it over, so that the clock alone ends it.
        record.not_after_s = u32::try_from(now_s() + 4).expect("before 2106");
    });
}

fn now_s() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "tests run in real time")]
    let now = std::time::SystemTime::now();
    let since = now.duration_since(std::time::UNIX_EPOCH);
    since.expect("after 1970").as_secs()
}

#[test]
fn another_key_and_another_generation_leave_a_tunnel_open() {
    let mut gateway = before(echo_server()).start();
    let mut socket = open(&gateway);
    gateway.publish(|world| {
        let other = world.mint();
        world.record(&other).state = KeyState::Revoked;
    });
    echoes(&mut socket, "still here");
}

#[test]
fn a_tunnel_in_which_nothing_moves_is_closed() {
    let gateway = before(echo_server())
        .http("tunnel_idle_timeout_ms = 300")
        .start();
    let mut socket = open(&gateway);
    echoes(&mut socket, "hello");
    end_of(&mut socket);
    wait::until("the cause in the metrics", || {
        let closed = "keyway_connections_closed_total";
        gateway.metrics().sum(closed, &[("cause", "tunnel_idle")]) == 1.0
    });
}

#[test]
fn a_tunnel_goes_on_while_the_node_drains_and_ends_with_its_time() {
    let mut gateway = before(echo_server())
        .http("drain_timeout_ms = 1500")
        .start();
    let mut socket = open(&gateway);
    gateway.signal(Signal::SIGTERM);
    wait::until("the listener to be gone", || {
        TcpStream::connect(gateway.listen).is_err()
    });
    echoes(&mut socket, "still here");
    end_of(&mut socket);
    assert!(gateway.wait_for_exit().success());
}

const UPGRADE: [(&str, &str); 4] = [
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

#[test]
fn without_a_key_no_tunnel_opens() {
    let gateway = before(echo_server()).start();
    let request = UPGRADE
        .iter()
        .fold(get("/orders/live"), |request, (name, value)| {
            request.header(name, value)
        });
    let mut client = gateway.client();
    client.exchange(&request).assert_refusal(401, "key-missing");
    // And what follows is a request like any other.
    client.exchange(&request).assert_refusal(401, "key-missing");
}

/// What `origin` got of an upgrade to `protocol`, and the status that the client got.
fn upgrade_to(origin: &Origin, protocol: &str, allowed: &[&str]) -> u16 {
    let world = World::before(&[origin.address]).with(|world| {
        let allowed = allowed.iter().map(|one| (*one).to_owned());
        world.api("orders").upgrades = allowed.collect();
    });
    let gateway = Gateway::over(world).start();
    let request = gateway
        .good()
        .header("Connection", "Upgrade, HTTP2-Settings")
        .header("Upgrade", protocol)
        .header("HTTP2-Settings", "AAMAAABkAAQCAAAAAAIAAAAA");
    gateway.exchange(&request).status
}

#[test]
fn a_protocol_that_the_api_does_not_allow_is_not_passed_on() {
    for (protocol, allowed) in [
        ("h2c", &["websocket"][..]),
        ("h2c", &[]),
        ("websocket", &[]),
        ("spdy", &["websocket"]),
    ] {
        let origin = Origin::scripted(|turn| turn.answer("ok"));
        assert_eq!(upgrade_to(&origin, protocol, allowed), 200);
        let head = origin.only().head;
        for field in ["Upgrade", "Connection", "HTTP2-Settings"] {
            assert!(!head.fields.has(field), "{protocol}: {head:?}");
        }
    }
}

#[test]
fn a_switch_that_nobody_asked_for_is_no_answer() {
    for granted in ["h2c", "websocket, h2c", "other"] {
        let head = format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: {granted}\r\n\r\n"
        );
        let origin = Origin::scripted(move |turn| {
            turn.send(&head)?;
            Ok(Flow::Close)
        });
        assert_eq!(upgrade_to(&origin, "websocket", &["websocket"]), 502);
    }
    let origin = Origin::saying_and_closing(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    );
    let gateway = Gateway::before(&origin);
    gateway.get().assert_refusal(502, "upstream-malformed");
}

#[test]
fn what_the_client_sends_too_early_reaches_the_target_only_behind_its_101() {
    let origin = Origin::scripted(|turn| {
        turn.send(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        )?;
        turn.body_part(5)?;
        turn.send("got it")?;
        Ok(Flow::Close)
    });
    let gateway = Gateway::before(&origin);
    let request = UPGRADE
        .iter()
        .fold(gateway.good(), |request, (name, value)| {
            request.header(name, value)
        });
    let mut client = gateway.client();
    client.send([request.bytes().as_slice(), b"early"].concat());
    assert_eq!(client.read_head().line, "HTTP/1.1 101 Switching Protocols");
    assert_eq!(client.read_rest().0, b"got it");
}

#[test]
fn an_upgrade_that_the_target_ignores_is_an_ordinary_request() {
    let origin = Origin::scripted(|turn| turn.answer("plain"));
    let gateway = Gateway::before(&origin);
    let request = UPGRADE
        .iter()
        .fold(gateway.good(), |request, (name, value)| {
            request.header(name, value)
        });
    let mut client = gateway.client();
    let answer = client.exchange(&request);
    answer.assert_status(200);
    assert_eq!(answer.text(), "plain");
    client.exchange(&gateway.good()).assert_status(200);
    let got = origin.received();
    assert_eq!(got[0].head.fields.get("Connection"), Some("Upgrade"));
    assert_eq!(got[0].head.fields.get("Upgrade"), Some("websocket"));
    assert!(!got[1].head.fields.has("Upgrade"), "{:?}", got[1].head);
}

#[test]
fn tunnels_that_rest_do_not_count_as_requests_in_flight() {
    let gateway = before(echo_server())
        .workers(1)
        .setting("overload = { inflight_max = 2 }")
        .start();
    let mut sockets: Vec<_> = (0..6).map(|_| open(&gateway)).collect();
    for socket in &mut sockets {
        echoes(socket, "still there");
    }
}
