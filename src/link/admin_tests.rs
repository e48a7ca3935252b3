//! The admin listener over real sockets: scrapers, people, and clients that mean no good.

use super::admin::{Admin, CONNECTIONS_MAX};
use super::testing::{Bench, FakeNode, until};
use super::worker_handle::Phase;
use crate::record::exposition::parser::Page;
use crate::snapshot::fixture::Fixture;
use serde_json::Value;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

struct Site {
    directory: TempDir,
    node: FakeNode,
    admin: Admin,
}

impl Site {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("makes a directory");
        let node = Bench::new(directory.path(), 2, None).start();
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = TcpListener::bind(any).expect("binds");
        let admin = Admin::start(listener, Arc::clone(&node.state)).expect("listens");
        Self {
            directory,
            node,
            admin,
        }
    }

    fn ready() -> Self {
        let site = Self::new();
        Fixture::small()
            .publish(site.directory.path(), 7)
            .expect("publishes");
        until("the node is ready", || site.node.state.unready().is_none());
        site
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.admin.address()).expect("connects");
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .expect("sets a timeout");
        stream
    }

    /// The whole answer to raw bytes, after which this end writes no more.
    fn raw(&self, request: &[u8]) -> String {
        let mut stream = self.connect();
        stream.write_all(request).expect("writes");
        answer(stream)
    }

    /// Status and body of a GET.
    fn get(&self, path: &str) -> (u16, String) {
        split(&self.raw(format!("GET {path} HTTP/1.1\r\nHost: admin\r\n\r\n").as_bytes()))
    }
}

fn answer(mut stream: TcpStream) -> String {
    let mut text = String::new();
    stream
        .read_to_string(&mut text)
        .expect("answers and closes");
    text
}

fn split(answer: &str) -> (u16, String) {
    let (head, body) = answer.split_once("\r\n\r\n").expect("has a head");
    let length = format!("\r\nContent-Length: {}\r\n", body.len());
    assert!(head.contains(&length), "{head}");
    assert!(head.contains("\r\nConnection: close"), "{head}");
    (head[9..12].parse().expect("is a status"), body.to_owned())
}

#[test]
fn a_node_is_alive_before_it_is_ready() {
    let site = Site::new();
    assert_eq!(site.get("/healthz"), (200, "ok\n".into()));
    let (status, reason) = site.get("/readyz");
    assert_eq!(status, 503);
    assert!(
        reason.starts_with("not ready: worker 0 has no snapshot"),
        "{reason}"
    );
    Fixture::small()
        .publish(site.directory.path(), 1)
        .expect("publishes");
    until("the node is ready", || site.get("/readyz").0 == 200);
}

#[test]
fn a_draining_node_asks_for_no_traffic() {
    let site = Site::ready();
    assert_eq!(site.get("/readyz"), (200, "ready\n".into()));
    site.node.state.phase.advance(Phase::Draining);
    assert_eq!(
        site.get("/readyz"),
        (503, "not ready: the node is draining\n".into())
    );
    assert_eq!(site.get("/healthz").0, 200);
}

#[test]
fn metrics_are_what_a_scraper_reads() {
    let site = Site::ready();
    let (status, body) = site.get("/metrics?collect[]=all");
    assert_eq!(status, 200);
    let page = Page::read(&body);
    assert_eq!(
        page.value("keyway_worker_generation", &[("worker", "1")]),
        7.0
    );
    assert_eq!(
        page.value("keyway_driver_info", &[("driver", "epoll")]),
        2.0
    );
    assert_eq!(page.value("keyway_snapshot_keys", &[]), 1.0);
    assert_eq!(page.value("keyway_ready", &[]), 1.0);
}

#[test]
fn status_tells_scripts_all_about_the_node() {
    let site = Site::ready();
    let (status, body) = site.get("/status");
    assert_eq!(status, 200);
    let value: Value = serde_json::from_str(&body).expect("is JSON");
    assert_eq!(value["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(value["node"], "edge-1");
    assert_eq!(value["pid"], std::process::id());
    assert_eq!(value["driver"], "epoll");
    assert_eq!(value["ready"], true);
    assert_eq!(value["workers"][1]["index"], 1);
    assert_eq!(value["workers"][1]["generation"], 7);
    assert_eq!(value["workers"][1]["open_connections"], 0);
    assert_eq!(value["snapshot"]["generation"], 7);
    assert_eq!(value["snapshot"]["base"], 7);
    assert_eq!(value["snapshot"]["keys"], 1);
    assert_eq!(value["link"]["configured"], false);
    assert!(
        value["snapshot"]["created"]
            .as_str()
            .expect("is text")
            .ends_with('Z')
    );
}

#[test]
fn a_head_request_gets_no_body() {
    let site = Site::new();
    let text = site.raw(b"HEAD /healthz HTTP/1.1\r\n\r\n");
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
    assert!(
        text.contains("Content-Length: 3\r\n") && text.ends_with("\r\n\r\n"),
        "{text}"
    );
}

#[test]
fn nothing_else_is_served() {
    let site = Site::new();
    assert_eq!(site.get("/").0, 404);
    assert_eq!(site.get("/metrics/../status").0, 404);
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"] {
        let text = site.raw(format!("{method} /status HTTP/1.1\r\n\r\n").as_bytes());
        assert!(text.starts_with("HTTP/1.1 405 ") && text.contains("\r\nAllow: GET, HEAD\r\n"));
    }
}

#[test]
fn garbage_is_answered_and_closed() {
    let site = Site::new();
    for (request, status) in [
        (&b"\x16\x03\x01\x02\x00\x01\x00"[..], "400"),
        (b"GET /healthz SPDY/9\r\n\r\n", "400"),
        (b"GET  /healthz HTTP/1.1\r\n\r\n", "400"),
        (b"GET /healthz HTTP/1.1\r\nno colon\r\n\r\n", "400"),
    ] {
        let text = site.raw(request);
        assert!(
            text.starts_with(&format!("HTTP/1.1 {status} ")),
            "{request:?}: {text}"
        );
    }
    let endless = [b"GET / HTTP/1.1\r\nA: ".to_vec(), vec![b'a'; 20_000]].concat();
    assert!(site.raw(&endless).starts_with("HTTP/1.1 431 "));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(100));
    assert!(site.raw(many.as_bytes()).starts_with("HTTP/1.1 431 "));
    assert_eq!(site.get("/healthz").0, 200, "and the next one is served");
}

#[test]
fn a_client_that_says_nothing_and_leaves_costs_nothing() {
    let site = Site::new();
    for _ in 0..CONNECTIONS_MAX * 3 {
        let stream = site.connect();
        stream.shutdown(Shutdown::Both).expect("closes");
    }
    assert_eq!(site.get("/healthz").0, 200);
}

#[test]
fn slow_clients_are_cut_off_at_their_deadline_and_then_others_get_their_turn() {
    let site = Site::new();
    let mut slow: Vec<_> = (0..CONNECTIONS_MAX).map(|_| site.connect()).collect();
    for stream in &mut slow {
        stream.write_all(b"GET /hea").expect("writes");
    }
    // All seats are taken, so this one waits for the deadline of one of them.
    assert_eq!(site.get("/healthz").0, 200);
    for mut stream in slow {
        let mut rest = Vec::new();
        // Closed or reset; what matters is that it ends without an answer.
        let _ = stream.read_to_end(&mut rest);
        assert!(rest.is_empty());
    }
}

#[test]
fn a_request_that_comes_byte_by_byte_is_served() {
    let site = Site::new();
    let mut stream = site.connect();
    stream.set_nodelay(true).expect("sets an option");
    for byte in b"GET /healthz HTTP/1.0\r\n\r\n" {
        stream.write_all(&[*byte]).expect("writes");
    }
    assert_eq!(split(&answer(stream)).0, 200);
}

#[test]
fn a_listener_that_is_dropped_is_gone() {
    let site = Site::new();
    let address = site.admin.address();
    drop(site.admin);
    assert!(TcpStream::connect(address).is_err());
}
