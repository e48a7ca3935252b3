//! The call log: what it tells, what each API has logged, its rotation, and how control looks into it.

mod support;

use keyway::link::protocol::{ControlMessage, NodeMessage};
use keyway::record::log_search::LogFilter;
use keyway::snapshot::catalog::{CallLog, SampleShare};
use serde_json::Value;
use support::control::{Control, NodeLine};
use support::{Flow, Gateway, Origin, World, get, wait};

/// A gateway whose API `orders` is logged like this.
fn logged(origin: &Origin, log: CallLog) -> Gateway {
    let world = World::before(&[origin.address]).with(|world| world.api("orders").log = log);
    Gateway::over(world).start()
}

#[test]
fn a_line_tells_each_stage_of_a_call_and_who_made_it() {
    let origin = Origin::echo();
    let gateway = Gateway::before(&origin);
    gateway.exchange(&gateway.good().header("User-Agent", "tester/1"));
    let line = gateway.wait_for_log(1).remove(0);
    assert_eq!(line["user_agent"], "tester/1");
    for (field, expected) in [("method", "GET"), ("path", "/orders/1"), ("app", "mobile")] {
        assert_eq!(line[field], expected, "{line}");
    }
    let us = |field: &str| {
        line[field]
            .as_u64()
            .unwrap_or_else(|| panic!("{field}: {line}"))
    };
    let stages: u64 = ["decide_us", "connect_us", "upstream_us", "body_us"]
        .map(us)
        .iter()
        .sum();
    // Each is cut to whole microseconds.
    assert!(
        stages <= us("duration_us") + 4 && us("connect_us") > 0,
        "{line}"
    );
    for absent in ["head_us", "attempts", "query", "headers", "sample", "tls"] {
        assert!(line[absent].is_null(), "{absent}: {line}");
    }
}

#[test]
fn the_time_of_a_head_that_comes_in_parts_is_told() {
    let origin = Origin::echo();
    let gateway = Gateway::before(&origin);
    let mut client = gateway.client();
    let bytes = gateway.good().bytes();
    client.send(&bytes[..10]);
    let before = wait::now();
    wait::until("time to pass", || before.elapsed().as_millis() >= 20);
    client.send(&bytes[10..]);
    client.read().assert_status(200);
    let line = gateway.wait_for_log(1).remove(0);
    let head_us = line["head_us"].as_u64().expect("it came in parts");
    assert!(head_us > 1_000, "{line}");
}

#[test]
fn an_api_has_its_query_and_headers_logged_and_secrets_masked() {
    let origin = Origin::echo();
    let gateway = logged(
        &origin,
        CallLog {
            query: true,
            mask_query: vec!["*_private".into()],
            headers: ["X-Tenant", "Authorization", "Cookie"]
                .map(String::from)
                .into(),
            ..CallLog::default()
        },
    );
    let request = get("/orders/1?page=2&a_private=HIDDEN&to%6ben=HIDDEN")
        .key(&gateway.world.key)
        .header("X-Tenant", "acme")
        .header("Cookie", "session=HIDDEN");
    gateway.exchange(&request).assert_status(200);
    let line = gateway.wait_for_log(1).remove(0);
    assert_eq!(line["query"], "page=2&a_private=***&to%6ben=***");
    let headers = serde_json::json!({
        "x-tenant": "acme", "authorization": "***", "cookie": "***"
    });
    assert_eq!(line["headers"], headers);
}

#[test]
fn an_api_is_switched_off_or_sampled_but_its_errors_are_kept() {
    let origin = Origin::scripted(|turn| match turn.target() {
        "/orders/bad" => {
            turn.send("HTTP/1.1 500 Bad\r\nContent-Length: 0\r\n\r\n")?;
            Ok(Flow::Close)
        }
        _ => turn.answer("good"),
    });
    let mut gateway = logged(
        &origin,
        CallLog {
            sample: Some(SampleShare::from(0.0)),
            ..CallLog::default()
        },
    );
    let key = gateway.world.key.clone();
    gateway
        .exchange(&get("/orders/good").key(&key))
        .assert_status(200);
    gateway.exchange(&get("/orders/refused"));
    // Two workers may serve two calls, and their lines are in no order of each other.
    gateway.wait_for_log(1);
    gateway
        .exchange(&get("/orders/bad").key(&key))
        .assert_status(500);
    let lines = gateway.wait_for_log(2);
    let paths = |lines: &[Value]| {
        lines
            .iter()
            .map(|line| line["path"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(paths(&lines), ["/orders/refused", "/orders/bad"]);
    gateway.publish(|world| {
        world.api("orders").log = CallLog {
            off: true,
            ..CallLog::default()
        };
    });
    gateway.exchange(&get("/orders/off"));
    gateway.exchange(&get("/nowhere"));
    let lines = gateway.wait_for_log(3);
    assert_eq!(paths(&lines)[2..], ["/nowhere"]);
}

#[test]
fn a_share_of_calls_is_logged_and_says_what_it_stands_for() {
    let origin = Origin::echo();
    let world = World::before(&[origin.address]);
    let gateway = Gateway::over(world).access_log("sample = 0.25").start();
    let mut client = gateway.client();
    for _ in 0..400 {
        client.exchange(&gateway.good()).assert_status(200);
    }
    // A refusal is always told, and comes last.
    client.exchange(&get("/orders/last"));
    wait::until("the last line", || {
        gateway
            .log()
            .last()
            .is_some_and(|line| line["path"] == "/orders/last")
    });
    let lines = gateway.log();
    let drawn = lines.iter().filter(|line| line["sample"] == 0.25).count();
    assert!(
        (50..160).contains(&drawn) && lines.len() == drawn + 1,
        "{drawn} of 400"
    );
}

#[test]
fn no_line_is_lost_to_rotation_under_load() {
    let origin = Origin::echo();
    let world = World::before(&[origin.address]);
    let gateway = Gateway::over(world)
        .access_log("rotate_bytes = 65536\nrotate_files = 200")
        .start();
    let key = gateway.world.key.clone();
    let (clients, each) = (8, 250);
    std::thread::scope(|scope| {
        for client in 0..clients {
            let (gateway, key) = (&gateway, &key);
            scope.spawn(move || {
                let mut connection = gateway.client();
                for call in 0..each {
                    let path = format!("/orders/{client}-{call}");
                    connection.exchange(&get(&path).key(key)).assert_status(200);
                }
            });
        }
    });
    let path = gateway.path("access.log");
    let read = || -> Option<Vec<String>> {
        let mut files = vec![path.clone()];
        files.extend((1..=200).map(|place| gateway.path(&format!("access.log.{place}"))));
        files.retain(|file| file.exists());
        let texts = files
            .iter()
            .map(|file| std::fs::read_to_string(file).expect("is text"));
        let text: String = texts.collect();
        (text.lines().count() >= clients * each && files.len() > 3)
            .then(|| text.lines().map(str::to_owned).collect())
    };
    let mut paths: Vec<String> = wait::value("every line", read)
        .iter()
        .map(|line| serde_json::from_str::<Value>(line).unwrap_or_else(|_| panic!("torn: {line}")))
        .map(|line| line["path"].as_str().expect("has one").to_owned())
        .collect();
    paths.sort();
    paths.dedup();
    assert_eq!(paths.len(), clients * each);
}

/// What a search brings: lines, and the last word of it if it is over.
fn found(line: &mut NodeLine, wanted: usize) -> (Vec<Value>, Option<NodeMessage>) {
    let mut all = Vec::new();
    while all.len() < wanted.max(1) {
        let last = line.hear_until(|message| match message {
            NodeMessage::LogLines { lines, .. } => Some(Ok(lines)),
            NodeMessage::LogDone { .. } => Some(Err(message)),
            _ => None,
        });
        match last {
            Ok(lines) => all.extend(
                lines
                    .iter()
                    .map(|line| serde_json::from_str::<Value>(line).expect("is a line")),
            ),
            Err(done) => return (all, Some(done)),
        }
    }
    (all, None)
}

fn search(id: u64, filter: LogFilter, follow: bool) -> ControlMessage {
    ControlMessage::SearchLog {
        id,
        filter: Box::new(filter),
        limit: 10,
        follow,
    }
}

#[test]
fn control_finds_calls_and_follows_them_until_it_says_stop() {
    let origin = Origin::echo();
    let world = World::before(&[origin.address]);
    let setup = Gateway::over(world).setting("link.socket = \"control.sock\"");
    let gateway = setup.start();
    let control = Control::at(&gateway.path("control.sock"));
    let mut line = control.accept();
    for path in ["/orders/1", "/orders/2", "/nowhere"] {
        gateway.exchange(&get(path).key(&gateway.world.key));
    }
    gateway.wait_for_log(3);
    let filter = LogFilter {
        status: Some("2xx".into()),
        ..LogFilter::default()
    };
    line.say(&search(1, filter.clone(), false));
    let (lines, done) = found(&mut line, usize::MAX);
    let paths: Vec<&Value> = lines.iter().map(|line| &line["path"]).collect();
    assert_eq!(paths, ["/orders/1", "/orders/2"]);
    assert!(matches!(
        done,
        Some(NodeMessage::LogDone { id: 1, error: None, complete: true, scanned_bytes }) if scanned_bytes > 0
    ));
    line.say(&search(2, filter, true));
    assert_eq!(found(&mut line, 2).0.len(), 2);
    gateway.exchange(&get("/nowhere"));
    gateway.exchange(&get("/orders/3").key(&gateway.world.key));
    assert_eq!(found(&mut line, 1).0[0]["path"], "/orders/3");
    let bad = LogFilter {
        status: Some("teapot".into()),
        ..LogFilter::default()
    };
    line.say(&search(3, bad, false));
    let (_, done) = found(&mut line, usize::MAX);
    assert!(matches!(
        done,
        Some(NodeMessage::LogDone {
            id: 3,
            error: Some(_),
            ..
        })
    ));
    line.say(&ControlMessage::StopLog { id: 2 });
    wait::until("the search to end", || {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", gateway.pid())).expect("it lives");
        tasks.flatten().all(|task| {
            let name = std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
            name.trim() != "keyway-search"
        })
    });
}
