//! The `keyway` binary as an operator meets it: settings, start, signals, files and the admin
//! listener, over real processes and sockets.

use keyway::authenticate::digest::Pepper;
use keyway::snapshot::fixture::Fixture;
use serde_json::Value;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const KEYWAY: &str = env!("CARGO_BIN_EXE_keyway");

/// Nothing here takes longer, unless it is broken.
const PATIENCE: Duration = Duration::from_secs(30);

#[expect(
    clippy::disallowed_methods,
    reason = "a test waits for other processes"
)]
fn until<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = attempt() {
            return value;
        }
        assert!(start.elapsed() < PATIENCE, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A directory with a pepper, an empty snapshot directory and settings.
struct Site(TempDir);

impl Site {
    fn new(lines: &str) -> Self {
        let site = Self(tempfile::tempdir().expect("makes a directory"));
        Pepper::create(1, &site.path("pepper.hex")).expect("makes a pepper");
        fs::create_dir(site.path("snapshots")).expect("makes a directory");
        let settings = format!(
            "listen = [\"127.0.0.1:0\"]\nworkers = 2\nadmin.listen = \"127.0.0.1:0\"\n\
             pepper = [{{ id = 1, file = \"pepper.hex\" }}]\nsnapshot.directory = \"snapshots\"\n\
             access_log.file = \"access.log\"\n{lines}\n"
        );
        fs::write(site.path("keyway.toml"), settings).expect("writes");
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn publish(&self, generation: u64) {
        Fixture::small()
            .publish(&self.path("snapshots"), generation)
            .expect("publishes");
    }

    fn keyway(&self, arguments: &[&str]) -> Output {
        let settings = self.path("keyway.toml");
        Command::new(KEYWAY)
            .args(arguments)
            .arg("--settings")
            .arg(settings)
            .output()
            .expect("runs")
    }

    fn run(&self) -> Node {
        self.run_with(&mut Command::new(KEYWAY))
    }

    fn run_with(&self, command: &mut Command) -> Node {
        let port_file = self.path("ports.json");
        let child = command
            .args(["run", "--settings"])
            .arg(self.path("keyway.toml"))
            .arg("--port-file")
            .arg(&port_file)
            .stderr(fs::File::create(self.path("stderr")).expect("creates"))
            .stdin(Stdio::null())
            .spawn()
            .expect("runs");
        let mut node = Node {
            child,
            listen: None,
            admin: None,
            stderr: self.path("stderr"),
        };
        let ports = until("the node accepts", || {
            let ended = node.child.try_wait().expect("is our child");
            assert!(ended.is_none(), "the node ended: {}", node.log());
            fs::read_to_string(&port_file).ok()
        });
        let ports: Value = serde_json::from_str(&ports).expect("is JSON");
        let address = |value: &Value| value.as_str().and_then(|text| text.parse().ok());
        node.listen = address(&ports["listen"][0]);
        node.admin = address(&ports["admin"]);
        node
    }
}

/// A running node; killed when dropped.
struct Node {
    child: Child,
    listen: Option<SocketAddr>,
    admin: Option<SocketAddr>,
    stderr: PathBuf,
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Node {
    fn log(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap_or_default()
    }

    fn listen(&self) -> SocketAddr {
        self.listen.expect("is in the port file")
    }

    fn admin(&self, path: &str) -> (u16, String) {
        get(self.admin.expect("is in the port file"), path)
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill")
            .args([name, &id])
            .status()
            .expect("runs");
        assert!(sent.success());
    }

    /// Waits for the end; its exit code.
    fn ended(&mut self) -> Option<i32> {
        until("the node ends", || {
            self.child.try_wait().expect("is our child")
        })
        .code()
    }

    fn wait_ready(&self) {
        until("the node is ready", || {
            (self.admin("/readyz").0 == 200).then_some(())
        });
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("connects");
    stream
        .set_read_timeout(Some(PATIENCE))
        .expect("sets a timeout");
    stream
}

/// Status and body of one GET on a connection of its own.
fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = connect(address);
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("writes");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answers");
    let (head, body) = answer.split_once("\r\n\r\n").expect("has a head");
    (head[9..12].parse().expect("is a status"), body.to_owned())
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .map(|line| serde_json::from_str(line).expect("is JSON"))
        .collect()
}

#[test]
fn check_prints_what_usable_settings_come_to() {
    let output = Site::new("node = \"edge-1\"").keyway(&["check"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        text.contains("keyway.toml: usable") && text.contains("edge-1"),
        "{text}"
    );
}

#[test]
fn check_and_run_refuse_unusable_settings_with_every_problem() {
    let site = Site::new("[http]\nhead_bytes_max = 12\nheaders_max = 9999");
    for command in ["check", "run"] {
        let output = site.keyway(&[command]);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1));
        assert!(
            text.contains("keyway: http.head_bytes_max = 12: must be at least 1024"),
            "{text}"
        );
        assert!(
            text.contains("keyway: http.headers_max = 9999: must be at most 256"),
            "{text}"
        );
    }
}

#[test]
fn a_pepper_that_others_may_read_is_refused() {
    let site = Site::new("");
    let pepper = site.path("pepper.hex");
    fs::set_permissions(&pepper, fs::Permissions::from_mode(0o644)).expect("sets the mode");
    for command in ["check", "run"] {
        let output = site.keyway(&[command]);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1));
        assert!(
            text.contains("pepper 1: ") && text.contains("pepper.hex"),
            "{text}"
        );
        let secret = fs::read_to_string(&pepper).expect("reads");
        assert!(
            !text.contains(secret.trim()),
            "the secret is in the message"
        );
    }
}

#[test]
fn an_address_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("binds");
    let address = taken.local_addr().expect("is bound");
    let site = Site::new("");
    let path = site.path("keyway.toml");
    let text = fs::read_to_string(&path).expect("reads");
    fs::write(&path, text.replacen("127.0.0.1:0", &address.to_string(), 1)).expect("writes");
    let ports = site.path("ports.json");
    fs::write(&ports, "of an earlier run").expect("writes");
    let output = site.keyway(&["run", "--port-file", ports.to_str().expect("is text")]);
    assert!(
        !ports.exists(),
        "whoever waits for it would take the wrong ports"
    );
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text.contains(&format!("listen: cannot listen on {address}: ")),
        "{text}"
    );
}

#[test]
fn a_node_without_a_snapshot_lives_but_lets_nobody_pass_until_there_is_one() {
    let site = Site::new("");
    let mut node = site.run();
    assert_eq!(node.admin("/healthz"), (200, "ok\n".into()));
    assert_eq!(node.admin("/readyz").0, 503);
    let (status, body) = get(node.listen(), "/orders/1");
    assert_eq!(status, 503);
    assert!(body.contains("not-ready"), "{body}");

    site.publish(4);
    node.wait_ready();
    assert_eq!(get(node.listen(), "/orders/1").0, 401);
    assert_eq!(get(node.listen(), "/elsewhere").0, 404);
    let (_, status) = node.admin("/status");
    let status: Value = serde_json::from_str(&status).expect("is JSON");
    assert_eq!(status["pid"], node.child.id());
    assert_eq!(status["workers"][1]["generation"], 4);
    assert!(status["driver"].is_string());
    node.signal("-TERM");
    assert_eq!(node.ended(), Some(0), "{}", node.log());
}

#[test]
fn the_access_log_follows_its_name_and_is_whole_after_the_end() {
    let site = Site::new("");
    site.publish(1);
    let mut node = site.run();
    node.wait_ready();
    let log = site.path("access.log");
    assert_eq!(
        get(node.listen(), "/orders/1?api_key=kw_live_secret").0,
        401
    );
    until("the first line is written", || {
        (lines(&log).len() == 1).then_some(())
    });

    fs::rename(&log, site.path("access.log.1")).expect("renames");
    node.signal("-HUP");
    until("the log is opened anew", || log.exists().then_some(()));
    for i in 0..100 {
        assert_eq!(get(node.listen(), &format!("/orders/{i}")).0, 401);
    }
    node.signal("-TERM");
    assert_eq!(node.ended(), Some(0), "{}", node.log());

    let first = &lines(&site.path("access.log.1"))[0];
    assert_eq!(
        (&first["path"], &first["status"]),
        (&"/orders/1".into(), &401.into())
    );
    assert_eq!(first["refusal"], "key_missing");
    assert_eq!(lines(&log).len(), 100);
    assert!(
        !fs::read_to_string(site.path("access.log.1"))
            .expect("reads")
            .contains("secret")
    );
}

#[test]
fn metrics_count_what_was_answered() {
    let site = Site::new("");
    site.publish(1);
    let node = site.run();
    node.wait_ready();
    for _ in 0..3 {
        assert_eq!(get(node.listen(), "/orders/1").0, 401);
    }
    let page = until("the counts are published", || {
        let (_, page) = node.admin("/metrics");
        page.contains("keyway_refusals_total{cause=\"key_missing\"} 3\n")
            .then_some(page)
    });
    assert!(
        page.contains("keyway_requests_total{class=\"4xx\"} 3\n"),
        "{page}"
    );
    assert!(
        page.contains("keyway_worker_generation{worker=\"1\"} 1\n"),
        "{page}"
    );
}

#[test]
fn a_drain_ends_at_its_deadline_and_at_a_second_signal() {
    for (drain_timeout_ms, second) in [(300, false), (600_000, true)] {
        let site = Site::new(&format!("http.drain_timeout_ms = {drain_timeout_ms}"));
        site.publish(1);
        let mut node = site.run();
        node.wait_ready();
        // A request that never ends keeps its connection busy.
        let mut busy = connect(node.listen());
        busy.write_all(b"GET /orders/1 HTTP/1.1\r\nHost: ")
            .expect("writes");
        until("the connection is open", || {
            node.admin("/status")
                .1
                .contains("\"open_connections\": 1")
                .then_some(())
        });
        node.signal("-TERM");
        until("the node drains", || {
            (node.admin("/readyz").0 == 503).then_some(())
        });
        if second {
            node.signal("-TERM");
        }
        assert_eq!(node.ended(), Some(0), "{}", node.log());
    }
}

#[test]
fn with_no_descriptor_left_the_admin_listener_answers_and_the_node_recovers() {
    let site = Site::new("http.connections_max = 1000");
    site.publish(1);
    let limited = format!("ulimit -n 64; exec {KEYWAY} \"$@\"");
    let node = site.run_with(Command::new("sh").args(["-c", &limited, "sh"]));
    node.wait_ready();
    // The kernel completes them all; the node can accept only some.
    let clients: Vec<_> = (0..100).map(|_| connect(node.listen())).collect();
    until("accepts fail", || {
        let (status, page) = node.admin("/metrics");
        assert_eq!(status, 200);
        let line = page
            .lines()
            .find(|line| line.starts_with("keyway_accept_errors_total "));
        (line.expect("is there") != "keyway_accept_errors_total 0").then_some(())
    });
    assert_eq!(node.admin("/healthz").0, 200);
    drop(clients);
    until("traffic is served again", || {
        let mut stream = connect(node.listen());
        stream.write_all(b"GET /orders/1 HTTP/1.0\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        answer.contains(" 40").then_some(())
    });
}
