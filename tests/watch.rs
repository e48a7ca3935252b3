//! What a node finds out about its targets by itself: whether they pass their checks, and where
//! their names point.

mod support;

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use keyway::snapshot::catalog::{HealthCheck, UpstreamTls};
use serde_json::Value;
use support::dns::Said;
use support::origin::refusing;
use support::turn::answer;
use support::{Flow, Gateway, NameServer, Origin, Pki, World, wait};

/// Answers checks with a status that a test sets, and everything else with its name.
struct Checked {
    origin: Origin,
    status: Arc<AtomicU16>,
}

impl Checked {
    fn named(name: &'static str) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").expect("a free port"), name)
    }

    fn on(listener: TcpListener, name: &'static str) -> Self {
        let status = Arc::new(AtomicU16::new(200));
        let told = Arc::clone(&status);
        let origin = Origin::on(listener, move |turn| {
            turn.body()?;
            if turn.target().ends_with("/health") {
                match told.load(Ordering::SeqCst) {
                    0 => return turn.hang(),
                    status => turn.send(answer(status, &[], ""))?,
                }
            } else {
                turn.send(answer(200, &[], name))?;
            }
            Ok(Flow::Keep)
        });
        Self { origin, status }
    }

    fn answer(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }
}

fn checks(path: Option<&str>) -> HealthCheck {
    HealthCheck {
        path: path.map(str::to_owned),
        interval_ms: 100,
        timeout_ms: 100,
        healthy_after: 2,
        unhealthy_after: 2,
        ..HealthCheck::default()
    }
}

fn world(targets: &[SocketAddr], health: HealthCheck) -> World {
    World::before(targets).with(|world| world.upstream().health = Some(health))
}

/// Who answers, of so many requests on each of some connections.
fn who_answers(gateway: &Gateway) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    // Each worker judges for itself, and a connection has one of them.
    for _ in 0..12 {
        let mut client = gateway.client();
        for _ in 0..3 {
            let answer = client.exchange(&gateway.good());
            answer.assert_status(200);
            names.insert(answer.text().to_owned());
        }
    }
    names
}

fn wait_for_answers(gateway: &Gateway, names: &[&str]) {
    let expected: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
    wait::until(&format!("{names:?} to answer"), || {
        who_answers(gateway) == expected
    });
}

fn target(gateway: &Gateway, address: SocketAddr) -> Value {
    let status = gateway.status();
    let targets = status["upstreams"][0]["targets"].as_array().cloned();
    let of = |target: &Value| target["address"] == address.to_string();
    targets
        .unwrap_or_default()
        .into_iter()
        .find(of)
        .unwrap_or_default()
}

#[test]
fn a_target_that_fails_its_checks_gets_nothing_until_it_passes_them() {
    let [left, right] = ["left", "right"].map(Checked::named);
    let targets = [left.origin.address, right.origin.address];
    let gateway = Gateway::over(world(&targets, checks(Some("/health")))).start();
    wait_for_answers(&gateway, &["left", "right"]);

    right.answer(503);
    wait_for_answers(&gateway, &["left"]);
    let told = target(&gateway, targets[1]);
    assert_eq!(
        (&told["healthy"], &told["last_error"]),
        (&false.into(), &"it answers 503".into())
    );
    let metrics = gateway.metrics();
    let labels = [("upstream", "origin"), ("target", &*targets[1].to_string())];
    assert!(
        metrics.sum("keyway_target_healthy", &labels) < 0.5,
        "{}",
        metrics.text
    );
    assert!(metrics.sum("keyway_health_check_failures_total", &[]) >= 2.0);
    assert!(
        gateway.stderr().contains("unhealthy"),
        "{}",
        gateway.stderr()
    );

    right.answer(204);
    wait_for_answers(&gateway, &["left", "right"]);
    assert_eq!(target(&gateway, targets[1])["healthy"], true);
    let checked = right.origin.received();
    let check = checked.iter().find(|one| one.head.line.contains("/health"));
    let check = &check.expect("was checked").head;
    assert_eq!(check.line, "GET /health HTTP/1.1");
    assert_eq!(check.fields.get("host"), Some(&*targets[1].to_string()));
}

#[test]
fn a_check_may_ask_for_statuses_and_a_host_and_does_not_wait_for_ever() {
    let [left, right] = ["left", "right"].map(Checked::named);
    let targets = [left.origin.address, right.origin.address];
    let health = HealthCheck {
        statuses: vec![204, 404],
        host: Some("health.test".into()),
        ..checks(Some("/health"))
    };
    left.answer(404);
    right.answer(200);
    let gateway = Gateway::over(world(&targets, health)).start();
    wait_for_answers(&gateway, &["left"]);
    right.answer(204);
    wait_for_answers(&gateway, &["left", "right"]);
    right.answer(0);
    wait_for_answers(&gateway, &["left"]);
    let told = target(&gateway, targets[1]);
    assert_eq!(told["last_error"], "no answer within 100 ms");
    let asked = left.origin.received();
    let check = asked.iter().find(|one| one.head.line.contains("/health"));
    assert_eq!(
        check.expect("was checked").head.fields.get("host"),
        Some("health.test")
    );
}

#[test]
fn without_a_path_a_connection_is_enough() {
    let left = Checked::named("left");
    let (held, refusing) = refusing();
    let targets = [left.origin.address, refusing];
    let gateway = Gateway::over(world(&targets, checks(None))).start();
    wait::until("the closed port to be noticed", || {
        target(&gateway, refusing)["healthy"] == false
    });
    // A connection alone shows nothing of what is answered on it.
    left.answer(503);
    assert_eq!(who_answers(&gateway), ["left".to_owned()].into());
    held.listen(8).expect("it is bound");
    wait::until("the open port to be noticed", || {
        target(&gateway, refusing)["healthy"] == true
    });
}

#[test]
fn when_all_fail_their_checks_all_are_asked() {
    let [left, right] = ["left", "right"].map(Checked::named);
    let targets = [left.origin.address, right.origin.address];
    left.answer(500);
    right.answer(500);
    let gateway = Gateway::over(world(&targets, checks(Some("/health")))).start();
    wait::until("both to be unhealthy", || {
        targets
            .iter()
            .all(|address| target(&gateway, *address)["healthy"] == false)
    });
    wait_for_answers(&gateway, &["left", "right"]);
}

#[test]
fn checks_speak_tls_to_who_speaks_it() {
    let (pki, other) = (Pki::new(), Pki::new());
    pki.sign("target", &["target.test"]);
    let backend = Checked::named("behind tls");
    // A gateway of our own in front of it is a real TLS server.
    let world_behind = World::before(&[backend.origin.address])
        .with(|world| world.api("orders").key_required = false);
    let front = Gateway::over(world_behind)
        .listen_as(&["{ address = \"127.0.0.1:0\", tls = true }"])
        .setting(&format!("tls.certificates = [{}]", pki.entry("target")))
        .start();
    let health = checks(Some("/orders/health"));
    let over_tls = |trust: &str| {
        world(&[front.listen], health.clone()).with(|world| {
            world.upstream().tls = Some(UpstreamTls {
                server_name: Some("target.test".into()),
                trust: Some(trust.into()),
                identity: None,
            });
        })
    };
    let trusts = [("good", &pki), ("bad", &other)]
        .map(|(name, pki)| format!("{{ name = {name:?}, ca = {:?} }}", pki.path("ca.pem")));
    let setting = format!("trust = [{}]", trusts.join(", "));
    let good = Gateway::over(over_tls("good")).setting(&setting).start();
    wait::until("a check to pass", || {
        backend.origin.requests() > 0 && target(&good, front.listen)["healthy"] == true
    });
    let bad = Gateway::over(over_tls("bad")).setting(&setting).start();
    let told = wait::value("a check to fail", || {
        let told = target(&bad, front.listen);
        (told["healthy"] == false).then_some(told)
    });
    let reason = told["last_error"].as_str().unwrap_or_default();
    assert!(reason.starts_with("no TLS: "), "{reason}");
}

#[test]
fn a_socket_in_the_file_system_is_checked_too() {
    let directory = tempfile::tempdir().expect("makes a directory");
    let path = directory.path().join("app.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).expect("binds");
    let backend = Checked::named("by unix");
    let to = backend.origin.address;
    // Carries each connection on to an origin: what is asked of it comes by the socket.
    std::thread::spawn(move || {
        for near in listener.incoming().flatten() {
            let far = std::net::TcpStream::connect(to).expect("the origin listens");
            let (mut near_again, mut far_again) = (
                near.try_clone().expect("is open"),
                far.try_clone().expect("is open"),
            );
            let (mut near, mut far) = (near, far);
            std::thread::spawn(move || std::io::copy(&mut near, &mut far));
            std::thread::spawn(move || std::io::copy(&mut far_again, &mut near_again));
        }
    });
    let target = format!("unix:{}", path.display());
    let world = world(&[to], checks(Some("/health"))).with(|world| {
        world.upstream().targets = vec![target.as_str().into()];
    });
    let gateway = Gateway::over(world).start();
    let healthy = |gateway: &Gateway| {
        let told = gateway.status()["upstreams"][0]["targets"][0].clone();
        assert!(
            told["address"].is_null() || told["address"] == target,
            "{told}"
        );
        told["healthy"].as_bool()
    };
    backend.answer(500);
    wait::until("a bad check", || healthy(&gateway) == Some(false));
    backend.answer(200);
    wait::until("a good check", || healthy(&gateway) == Some(true));
    let check = backend.origin.received().pop().expect("was checked").head;
    assert_eq!(check.fields.get("host"), Some("localhost"));
}

#[test]
fn what_is_known_of_a_target_survives_a_new_generation() {
    let [left, right] = ["left", "right"].map(Checked::named);
    let targets = [left.origin.address, right.origin.address];
    let mut gateway = Gateway::over(world(&targets, checks(Some("/health")))).start();
    right.answer(503);
    wait_for_answers(&gateway, &["left"]);
    let since = target(&gateway, targets[1])["since"].clone();
    gateway.publish(|world| {
        world.mint();
    });
    assert_eq!(who_answers(&gateway), ["left".to_owned()].into());
    assert_eq!(target(&gateway, targets[1])["since"], since);
    // Without checks nothing is held against it.
    gateway.publish(|world| world.upstream().health = None);
    wait_for_answers(&gateway, &["left", "right"]);
    assert_eq!(gateway.status()["upstreams"], Value::Null);
}

/// Origins on one port of several loopback addresses.
fn beside_each_other<const N: usize>(names: [&'static str; N]) -> [Checked; N] {
    loop {
        let first = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = first.local_addr().expect("it is bound").port();
        let rest = (2..=N).map(|last| TcpListener::bind(format!("127.0.0.{last}:{port}")));
        // Somebody else may have the port on another address.
        let Ok(rest) = rest.collect::<Result<Vec<_>, _>>() else {
            continue;
        };
        let mut listeners = std::iter::once(first).chain(rest);
        return names.map(|name| Checked::on(listeners.next().expect("as many"), name));
    }
}

/// A gateway before `app.test`, asking `names`.
fn before_a_name(
    names: &NameServer,
    port: u16,
    change: impl FnOnce(&mut World),
) -> support::gateway::Setup {
    let world = World::before(&[SocketAddr::from(([127, 0, 0, 1], 1))]).with(|world| {
        world.upstream().targets = vec![format!("app.test:{port}").as_str().into()];
        change(world);
    });
    Gateway::over(world).setting(&format!("dns.servers = [\"{}\"]", names.address))
}

#[test]
fn traffic_follows_a_name_and_stays_where_it_was_while_the_name_is_lost() {
    let [one, two, three] = beside_each_other(["one", "two", "three"]);
    let [first, second, third] = [&one, &two, &three].map(|checked| checked.origin.address);
    let names = NameServer::start();
    names.addresses("app.test", &[first, second]);
    let gateway = before_a_name(&names, first.port(), |_| {}).start();
    // From the first request on: a node that starts waits for its names.
    gateway.get().assert_status(200);
    wait_for_answers(&gateway, &["one", "two"]);

    names.addresses("app.test", &[third]);
    wait_for_answers(&gateway, &["three"]);
    let name = |gateway: &Gateway| gateway.status()["upstreams"][0]["names"][0].clone();
    assert_eq!(
        name(&gateway)["addresses"],
        serde_json::json!(["127.0.0.3"])
    );

    for lost in [
        Said::Code(2),
        Said::Addresses(Vec::new(), 1),
        Said::Bytes(vec![0xff; 400]),
    ] {
        names.say("app.test", lost);
        let asked = names.asked();
        wait::until("it to be asked for again", || names.asked() > asked);
        wait_for_answers(&gateway, &["three"]);
    }
    wait::until("the loss to be told", || {
        name(&gateway)["last_error"].is_string()
    });
    assert!(
        gateway
            .metrics()
            .sum("keyway_name_lookup_failures_total", &[])
            >= 1.0
    );

    names.addresses("app.test", &[first]);
    wait_for_answers(&gateway, &["one"]);
    assert_eq!(name(&gateway)["last_error"], Value::Null);
}

#[test]
fn a_name_that_never_had_an_address_is_no_target() {
    let names = NameServer::start();
    let origin = Checked::named("late");
    let gateway = before_a_name(&names, origin.origin.address.port(), |_| {}).start();
    gateway.get().assert_refusal(503, "no-target");
    names.addresses("app.test", &[origin.origin.address]);
    wait::until("the name to be resolved", || gateway.get().status == 200);
}

#[test]
fn each_address_of_a_name_is_checked_by_itself() {
    let [one, two] = beside_each_other(["one", "two"]);
    let [first, second] = [&one, &two].map(|checked| checked.origin.address);
    let names = NameServer::start();
    names.addresses("app.test", &[first, second]);
    let health = checks(Some("/health"));
    let gateway = before_a_name(&names, first.port(), |world| {
        world.upstream().health = Some(health);
    })
    .start();
    wait_for_answers(&gateway, &["one", "two"]);
    two.answer(503);
    wait_for_answers(&gateway, &["one"]);
    assert_eq!(target(&gateway, second)["healthy"], false);
    let check = one.origin.received();
    let check = check.iter().find(|one| one.head.line.contains("/health"));
    let host = check
        .expect("was checked")
        .head
        .fields
        .get("host")
        .map(str::to_owned);
    assert_eq!(host.as_deref(), Some("app.test"));
}
