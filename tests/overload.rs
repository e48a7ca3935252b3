//! A node that has too much to do, or too little to do it with: it says so early, and recovers.

mod support;

use std::fs;
use std::process::Command;
use std::sync::Arc;

use support::wait::{self, Gate};
use support::{Client, Gateway, Origin, World, get, post};

/// Holds every request at `/orders/slow` until the gate opens.
fn gated() -> (Origin, Arc<Gate>) {
    let gate = Arc::new(Gate::default());
    let waiting = Arc::clone(&gate);
    let origin = Origin::scripted(move |turn| {
        if turn.target() == "/orders/slow" {
            waiting.pass();
        }
        turn.echo()
    });
    (origin, gate)
}

fn level(gateway: &Gateway) -> f64 {
    gateway.metrics().sum("keyway_overloaded", &[])
}

#[test]
fn with_too_many_requests_in_flight_further_ones_are_503_before_they_cost_anything() {
    let (origin, gate) = gated();
    let world = World::before(&[origin.address]).limit(1, 3_600_000, 10);
    let gateway = Gateway::over(world)
        .workers(1)
        .setting("overload = { inflight_max = 8 }")
        .start();
    let slow = get("/orders/slow").key(&gateway.world.key).bytes();
    let mut running: Vec<Client> = (0..8).map(|_| gateway.client()).collect();
    for client in &mut running {
        client.send(&slow);
    }
    origin.wait_for_requests(8);
    // Whoever asks: nobody is looked up, and nobody's allowance spent.
    let mut client = gateway.client();
    for _ in 0..5 {
        for sent in [
            gateway.good(),
            get("/orders/1"),
            post("/nowhere", "a body that is read past"),
        ] {
            let answer = client.exchange(&sent);
            answer.assert_refusal(503, "overloaded");
            assert_eq!(answer.header("retry-after"), Some("1"));
            assert_eq!(answer.header("connection"), None);
        }
    }
    assert_eq!(gateway.ask_admin("/healthz").status, 200);
    wait::until("it to be told of", || level(&gateway) == 1.0);
    wait::until("the requests to be counted", || {
        let metrics = gateway.metrics();
        metrics.sum("keyway_requests_in_flight", &[]) == 8.0
            && metrics.sum("keyway_refusals_total", &[("cause", "overloaded")]) == 15.0
            && metrics.sum("keyway_overloads_total", &[]) == 1.0
    });
    gate.open();
    for client in &mut running {
        client.read().assert_status(200);
    }
    // Eight of the ten are spent, and not one more.
    let statuses = [0; 3].map(|_| client.exchange(&gateway.good()).status);
    assert_eq!(statuses, [200, 200, 429]);
    wait::until("it to be over", || level(&gateway) == 0.0);
    let said = gateway.stderr();
    assert_eq!(
        said.matches("overloaded: new requests").count(),
        1,
        "{said}"
    );
    assert_eq!(said.matches("no longer overloaded").count(), 1, "{said}");
}

#[test]
fn the_requests_of_all_workers_count() {
    let (origin, gate) = gated();
    let gateway = Gateway::over(World::before(&[origin.address]))
        .workers(3)
        .setting("overload = { inflight_max = 30 }")
        .start();
    let slow = get("/orders/slow").key(&gateway.world.key).bytes();
    let mut running: Vec<Client> = (0..30).map(|_| gateway.client()).collect();
    for client in &mut running {
        client.send(&slow);
    }
    origin.wait_for_requests(30);
    wait::until("every worker to know of the others", || {
        level(&gateway) == 3.0
    });
    for _ in 0..20 {
        gateway.get().assert_refusal(503, "overloaded");
    }
    gate.open();
    for client in &mut running {
        client.read().assert_status(200);
    }
    wait::until("it to be over", || level(&gateway) == 0.0);
    for _ in 0..20 {
        gateway.get().assert_status(200);
    }
}

#[test]
fn with_far_too_much_memory_not_even_connections_are_taken_and_admin_answers() {
    let origin = Origin::echo();
    let gateway = Gateway::over(World::before(&[origin.address]))
        .setting("overload = { memory_max_bytes = 1000000 }")
        .start();
    wait::until("the memory to be seen", || level(&gateway) == 4.0);
    for _ in 0..10 {
        gateway.client().assert_turned_away();
    }
    wait::until("them to be counted", || {
        let name = "keyway_connections_turned_away_total";
        gateway.metrics().sum(name, &[("cause", "overload")]) == 10.0
    });
    assert!(gateway.stderr().contains("overload.memory_max_bytes"));
}

/// Lets the process have no descriptor beyond those it has; its old limit.
fn without_descriptors(gateway: &Gateway) -> String {
    let pid = gateway.pid();
    // Admin's connections give theirs back a moment after their answer.
    wait::until("admin's threads to end", || {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
        tasks.flatten().all(|task| {
            let name = fs::read_to_string(task.path().join("comm"));
            name.is_ok_and(|name| name.trim_end() != "keyway-admin-c")
        })
    });
    let is_used = |fd: &usize| fs::exists(format!("/proc/{pid}/fd/{fd}")).expect("it runs");
    let lowest_free = (0..).find(|fd| !is_used(fd)).expect("they end");
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).expect("it runs");
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().nth(3));
    set_descriptors(gateway, &lowest_free.to_string());
    soft.expect("it has a limit").to_owned()
}

fn set_descriptors(gateway: &Gateway, soft: &str) {
    let (pid, limit) = (gateway.pid().to_string(), format!("--nofile={soft}:"));
    let status = Command::new("prlimit")
        .args(["--pid", &pid, &limit])
        .status();
    assert!(status.expect("prlimit is installed").success());
}

#[test]
fn without_a_descriptor_for_the_target_the_answer_is_503_and_the_target_is_not_blamed() {
    let origin = Origin::echo();
    let world = World::before(&[origin.address]).limit(1, 3_600_000, 2);
    let gateway = Gateway::over(world).workers(1).start();
    let mut client = gateway.client();
    // Known to be accepted, and no connection to the target yet.
    client
        .exchange(&get("/orders/1"))
        .assert_refusal(401, "key-missing");
    let before = without_descriptors(&gateway);
    for _ in 0..5 {
        let answer = client.exchange(&gateway.good());
        answer.assert_refusal(503, "overloaded");
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
    set_descriptors(&gateway, &before);
    // Nothing was spent by what reached no target.
    let statuses = [0; 3].map(|_| client.exchange(&gateway.good()).status);
    assert_eq!(statuses, [200, 200, 429]);
    wait::until("the causes to be counted", || {
        let metrics = gateway.metrics();
        metrics.sum("keyway_refusals_total", &[("cause", "no_socket")]) == 5.0
            && metrics.sum("keyway_upstream_connects_total", &[]) == 1.0
    });
    let failures = gateway.metrics();
    assert_eq!(
        failures.sum("keyway_upstream_connect_failures_total", &[]),
        0.0
    );
}
