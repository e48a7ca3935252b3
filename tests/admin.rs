//! What an operator sees: the admin listener, the access log, and `keyway check`.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};

use support::gateway::KEYWAY;
use support::{Client, Gateway, Origin, World, get, post, request, wait};
use tempfile::TempDir;

#[test]
fn health_readiness_and_status_are_told() {
    let origin = Origin::echo();
    let gateway = Gateway::before(&origin);
    gateway.ask_admin("/healthz").assert_status(200);
    gateway.ask_admin("/readyz").assert_status(200);
    let status = gateway.status();
    assert_eq!(status["node"], "edge-test");
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["phase"], "running");
    assert_eq!(status["ready"], true);
    assert_eq!(status["pid"].as_i64(), Some(gateway.pid().as_raw().into()));
    assert_eq!(status["snapshot"]["generation"], 1);
    assert_eq!(status["snapshot"]["keys"], 1);
    let workers = status["workers"].as_array().expect("a list");
    assert_eq!(workers.len(), 2);
    for worker in workers {
        assert_eq!(
            (&worker["generation"], &worker["state"]),
            (&1.into(), &"serving".into())
        );
        assert_eq!(
            worker["driver"], status["driver"],
            "all workers use the same"
        );
    }
}

#[test]
fn the_admin_listener_changes_nothing_and_serves_nothing_else() {
    let origin = Origin::echo();
    let gateway = Gateway::before(&origin);
    for path in ["/", "/orders/1", "/metrics/", "/statusx", "/../status"] {
        assert_eq!(gateway.ask_admin(path).status, 404, "{path}");
    }
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        let answer = Client::connect(gateway.admin).exchange(&request(method, "/status"));
        answer.assert_status(405);
    }
    let head = Client::connect(gateway.admin).exchange(&request("HEAD", "/metrics"));
    head.assert_status(200);
    // And the traffic listener serves nothing of it.
    gateway
        .exchange(&get("/metrics"))
        .assert_refusal(404, "route-unknown");
    gateway
        .exchange(&get("/status"))
        .assert_refusal(404, "route-unknown");
}

#[test]
fn a_client_that_stalls_at_the_admin_listener_holds_nobody_up() {
    let origin = Origin::echo();
    let gateway = Gateway::before(&origin);
    let mut stalled = Vec::new();
    for _ in 0..5 {
        let mut client = Client::connect(gateway.admin);
        client.send("GET /metrics HTTP/1.1\r\nHo");
        stalled.push(client);
    }
    gateway.ask_admin("/healthz").assert_status(200);
    gateway.get().assert_status(200);
}

#[test]
fn metrics_count_what_happened() {
    let origin = Origin::echo();
    let gateway = Gateway::before(&origin);
    let mut client = gateway.client();
    for _ in 0..3 {
        client
            .exchange(&post("/orders/1", [b'x'; 1_000]).key(&gateway.world.key))
            .assert_status(200);
    }
    client
        .exchange(&get("/orders/1"))
        .assert_refusal(401, "key-missing");
    client
        .exchange(&get("/nowhere"))
        .assert_refusal(404, "route-unknown");
    let metrics = wait::value("the requests to be counted", || {
        let metrics = gateway.metrics();
        (metrics.sum("keyway_requests_total", &[]) == 5.0).then_some(metrics)
    });
    for (name, labels, expected) in [
        ("keyway_requests_total", [("class", "2xx")].as_slice(), 3.0),
        ("keyway_requests_total", &[("class", "4xx")], 2.0),
        ("keyway_refusals_total", &[("cause", "key_missing")], 1.0),
        ("keyway_refusals_total", &[("cause", "route")], 1.0),
        ("keyway_refusals_total", &[], 2.0),
        ("keyway_request_duration_seconds_count", &[], 5.0),
        ("keyway_upstream_duration_seconds_count", &[], 3.0),
        ("keyway_connections_accepted_total", &[], 1.0),
        ("keyway_connections_open", &[], 1.0),
        ("keyway_ready", &[], 1.0),
        ("keyway_worker_generation", &[("worker", "1")], 1.0),
        ("keyway_snapshot_keys", &[], 1.0),
        ("keyway_panics_total", &[], 0.0),
    ] {
        assert_eq!(
            metrics.sum(name, labels),
            expected,
            "{name} {labels:?}\n{}",
            metrics.text
        );
    }
    assert!(metrics.sum("keyway_received_bytes_total", &[]) > 3_000.0);
    assert!(metrics.sum("keyway_sent_bytes_total", &[]) > 500.0);
}

#[test]
fn the_access_log_tells_who_asked_what_and_how_it_ended() {
    let origin = Origin::echo();
    let mut gateway = Gateway::before(&origin);
    let key = gateway.world.key.clone();
    let sent = post("/orders/7?secret=1", "12345").key(&key);
    let answer = gateway.exchange(&sent);
    answer.assert_status(200);
    gateway.exchange(&get("/nowhere")).assert_status(404);
    let lines = gateway.wait_for_log(2);
    let line = lines
        .iter()
        .find(|line| line["status"] == 200)
        .expect("the good one");
    for (field, expected) in [
        ("method", "POST"),
        ("path", "/orders/7"),
        ("host", "gateway.test"),
        ("tenant", "acme"),
        ("app", "mobile"),
        ("plan", "free"),
        ("api", "orders"),
        ("route", "/orders/*"),
        ("upstream", "origin"),
        ("target", &origin.address.to_string()),
        ("key", &gateway.world.id(&key)),
        (
            "request_id",
            answer.header("x-request-id").unwrap_or_default(),
        ),
    ] {
        assert_eq!(line[field], expected, "{field} in {line:#}");
    }
    assert_eq!(line["generation"], 1);
    assert_eq!(line["bytes_in"], sent.bytes().len());
    assert_eq!(line["bytes_out"], answer.head.raw.len() + answer.body.len());
    assert!(
        line["client"]
            .as_str()
            .is_some_and(|client| client.starts_with("127.0.0.1"))
    );
    assert!(
        line["time"]
            .as_str()
            .is_some_and(|time| time.ends_with('Z'))
    );
    assert!(line["duration_us"].as_u64() >= line["upstream_us"].as_u64());
    assert!(line["refusal"].is_null());
    let refused = lines
        .iter()
        .find(|line| line["status"] == 404)
        .expect("the other");
    assert_eq!(refused["refusal"], "route");
    assert!(refused["upstream"].is_null() && refused["target"].is_null());
}

#[test]
fn a_request_that_never_became_one_is_in_the_log_too() {
    let origin = Origin::echo();
    let gateway = Gateway::before(&origin);
    let mut client = gateway.client();
    client.send("GET /\u{1} HTTP/1.1\r\n\r\n");
    client.read().assert_refusal(400, "head-malformed");
    let line = gateway.wait_for_log(1).remove(0);
    assert_eq!(
        (&line["status"], &line["refusal"]),
        (&400.into(), &"head".into())
    );
    // What can be read of it helps whoever looks for it; a query never is in the log.
    let mut client = gateway.client();
    client.send("PUT /orders/7?key=hidden HTTP/1.1\r\nHost: a\r\nBad header: 1\r\n\r\n");
    client.read().assert_refusal(400, "head-malformed");
    let line = gateway.wait_for_log(2).remove(1);
    assert_eq!(
        (&line["method"], &line["path"]),
        (&"PUT".into(), &"/orders/7".into())
    );
    assert!(!line.to_string().contains("hidden"), "{line}");
}

/// Runs `keyway` in a directory with these settings.
fn keyway(arguments: &[&str], settings: &str) -> (Output, TempDir) {
    let directory = TempDir::new().expect("room for a directory");
    fs::write(directory.path().join("keyway.toml"), settings).expect("room for it");
    let pepper = directory.path().join("pepper.hex");
    fs::write(&pepper, "5a".repeat(32)).expect("room for it");
    fs::set_permissions(&pepper, fs::Permissions::from_mode(0o600)).expect("it is ours");
    fs::create_dir(directory.path().join("snapshots")).expect("room for it");
    let output = Command::new(KEYWAY)
        .args(arguments)
        .current_dir(directory.path())
        .output()
        .expect("the binary runs");
    (output, directory)
}

const USABLE: &str = "listen = [\"127.0.0.1:0\"]\npepper = [{ id = 1, file = \"pepper.hex\" }]\n\
                      snapshot.directory = \"snapshots\"\n";

#[test]
fn usable_settings_pass_the_check() {
    let (output, _directory) = keyway(&["check", "--settings", "keyway.toml"], USABLE);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        shown.contains("pepper.hex") && shown.contains("127.0.0.1:0"),
        "{shown}"
    );
    assert!(
        !shown.contains("5a5a"),
        "the check shows the pepper: {shown}"
    );
}

#[test]
fn a_setting_that_cannot_be_used_is_named_with_its_mend() {
    for (settings, named) in [
        ("", vec!["listen", "pepper", "snapshot.directory"]),
        ("driver = \"kqueue\"\n", vec!["driver", "auto", "epoll"]),
        ("workers = 0\n", vec!["workers", "at least 1"]),
        ("colour = \"red\"\n", vec!["colour"]),
        (
            "[http]\nhead_bytes_max = 10\n",
            vec!["http.head_bytes_max", "at least"],
        ),
        (
            "[http]\nhead_bytes_maximum = 10\n",
            vec!["head_bytes_maximum"],
        ),
        (
            "[admin]\nlisten = \"0.0.0.0:9901\"\n",
            vec!["admin.listen", "allow_remote"],
        ),
        (
            "[access_log]\nfile = \"a\"\nstdout = true\n",
            vec!["access_log.stdout"],
        ),
        ("workers = \"many\"\n", vec!["workers"]),
        ("workers = \n", vec!["keyway.toml"]),
    ] {
        let whole = if settings.is_empty() {
            String::new()
        } else {
            USABLE.to_owned() + settings
        };
        for verb in ["check", "run"] {
            let (output, _directory) = keyway(&[verb, "--settings", "keyway.toml"], &whole);
            assert_eq!(output.status.code(), Some(1), "{verb} with {settings:?}");
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            for word in &named {
                let expected = said.contains(word) || *word == "keyway.toml";
                assert!(expected, "{verb} does not say {word:?}: {said}");
            }
        }
    }
}

#[test]
fn a_pepper_that_others_can_read_is_refused() {
    let (output, directory) = keyway(&["check", "--settings", "keyway.toml"], USABLE);
    assert!(output.status.success());
    let pepper = directory.path().join("pepper.hex");
    for (mode, text, named) in [
        (0o640, "5a".repeat(32), "chmod"),
        (0o600, "5a".repeat(31), "64 hexadecimal"),
        (0o600, "zz".repeat(32), "64 hexadecimal"),
    ] {
        fs::write(&pepper, text).expect("room for it");
        fs::set_permissions(&pepper, fs::Permissions::from_mode(mode)).expect("it is ours");
        let output = Command::new(KEYWAY)
            .args(["check", "--settings", "keyway.toml"])
            .current_dir(directory.path())
            .output()
            .expect("the binary runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(named) && said.contains("pepper"), "{said}");
    }
}

#[test]
fn an_address_that_is_taken_is_named() {
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let address = taken.local_addr().expect("it is bound").to_string();
    let settings = USABLE.replace("127.0.0.1:0", &address);
    let (output, _directory) = keyway(&["run", "--settings", "keyway.toml"], &settings);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    assert!(said.contains("listen") && said.contains(&address), "{said}");
}

#[test]
fn a_snapshot_file_can_be_looked_at_and_verified() {
    let origin = Origin::echo();
    let gateway = Gateway::over(World::before(&[origin.address])).start();
    let (base, _) = gateway.live_files();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(KEYWAY);
        command.arg("snapshot").args(arguments).arg(&base);
        command.output().expect("the binary runs")
    };
    let shown = run(&["inspect", "--json"]);
    assert!(shown.status.success());
    let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).expect("JSON");
    assert_eq!(shown["generation"], 1);
    assert!(run(&["verify"]).status.success());
    let mut bytes = fs::read(&base).expect("it is there");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&base, bytes).expect("room for it");
    assert!(!run(&["verify"]).status.success());
}
