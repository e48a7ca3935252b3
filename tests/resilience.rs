//! Targets that fail, and what the gateway makes of it: retries, circuits, deadlines, bounds.

mod support;

use std::os::unix::net::UnixListener;
use std::sync::Arc;

use keyway::snapshot::catalog::{
    BalanceEntry, Breaker, Outlier, Retry, UpstreamEntry, UpstreamTls,
};
use support::gateway::Setup;
use support::turn::{answer, crc32};
use support::{Flow, Gateway, Origin, Pki, World, post, request, wait};

fn before(origins: &[&Origin], change: impl FnOnce(&mut UpstreamEntry)) -> Setup {
    let addresses: Vec<_> = origins.iter().map(|origin| origin.address).collect();
    let world = World::before(&addresses).with(|world| change(world.upstream()));
    // One worker: what it learned is then what the next request meets.
    Gateway::over(world).workers(1)
}

fn retry() -> Retry {
    Retry {
        retries: 2,
        statuses: vec![503],
        budget_percent: 100,
        ..Retry::default()
    }
}

fn count(gateway: &Gateway, name: &str) -> f64 {
    gateway.metrics().sum(name, &[])
}

#[test]
fn an_answer_that_is_listed_is_asked_for_elsewhere() {
    let bad = Origin::saying(answer(503, &[], "busy"));
    let good = Origin::saying(answer(200, &[], "here"));
    let gateway = before(&[&bad, &good], |upstream| upstream.retry = Some(retry())).start();
    for _ in 0..6 {
        let answer = gateway.get();
        answer.assert_status(200);
        assert_eq!(answer.text(), "here");
    }
    assert!(bad.requests() >= 2, "it was asked too");
}

#[test]
fn when_all_say_the_same_the_client_hears_it() {
    let bad = Origin::saying(answer(503, &[], "busy"));
    let gateway = before(&[&bad], |upstream| upstream.retry = Some(retry())).start();
    let answer = gateway.get();
    answer.assert_status(503);
    assert_eq!(answer.text(), "busy");
    assert_eq!(bad.requests(), 3, "the first try and two more");
}

#[test]
fn a_target_that_breaks_off_is_passed_over_only_where_that_is_safe() {
    let bad = Origin::resetting();
    let good = Origin::saying(answer(200, &[], "here"));
    let gateway = before(&[&bad, &good], |upstream| upstream.retry = Some(retry())).start();
    for _ in 0..4 {
        gateway.get().assert_status(200);
    }
    let posted = post("/orders/1", b"order").key(&gateway.world.key);
    let statuses: Vec<u16> = (0..4).map(|_| gateway.exchange(&posted).status).collect();
    let broken = statuses.iter().filter(|status| **status == 502).count();
    assert_eq!(broken, 2, "a POST is never sent twice: {statuses:?}");
    let orders = good
        .received()
        .iter()
        .filter(|got| got.head.line.starts_with("POST"))
        .count();
    assert_eq!(orders, 2);
}

#[test]
fn a_short_body_that_comes_late_is_sent_again_with_its_request_and_a_long_one_is_not() {
    let bad = Origin::scripted(|turn| {
        turn.body()?;
        Ok(Flow::Reset)
    });
    let good = Origin::echo();
    let gateway = before(&[&bad, &good], |upstream| upstream.retry = Some(retry())).start();
    let put = |bytes: usize| {
        let mut client = gateway.client();
        let body = vec![b'x'; bytes];
        let sent = request("PUT", "/orders/1")
            .key(&gateway.world.key)
            .body(&body)
            .bytes();
        // The head alone, and the rest in pieces, later.
        let head = sent.len() - bytes;
        client.send(&sent[..head]);
        for piece in sent[head..].chunks(bytes / 3 + 1) {
            client.send(piece);
        }
        client.try_read().map(|answer| (answer.status, answer.body))
    };
    for _ in 0..4 {
        let (status, echo) = put(60_000).expect("a whole answer");
        assert_eq!(status, 200);
        let echo: serde_json::Value = serde_json::from_slice(&echo).expect("is JSON");
        assert_eq!(echo["body_crc32"], crc32(&vec![b'x'; 60_000]));
    }
    assert!(bad.requests() >= 2, "it was asked too");
    let statuses: Vec<_> = (0..4)
        .map(|_| put(70_000).map_or(0, |(status, _)| status))
        .collect();
    assert!(
        statuses.contains(&200) && statuses.iter().any(|status| *status != 200),
        "{statuses:?}"
    );
    // A client that leaves inside such a body has asked nobody.
    let asked = bad.requests() + good.requests();
    let mut client = gateway.client();
    let sent = request("PUT", "/orders/1")
        .key(&gateway.world.key)
        .announcing(1_000)
        .bytes();
    client.send(sent);
    client.finish();
    assert!(client.try_read().is_err());
    assert_eq!(bad.requests() + good.requests(), asked);
}

#[test]
fn retries_stop_where_the_budget_does() {
    let bad = Origin::saying(answer(503, &[], "busy"));
    let rule = Retry {
        budget_percent: 50,
        budget_min_per_s: 0,
        ..retry()
    };
    let gateway = before(&[&bad], |upstream| upstream.retry = Some(rule)).start();
    let mut client = gateway.client();
    for _ in 0..40 {
        client.exchange(&gateway.good()).assert_status(503);
    }
    assert!(bad.requests() <= 60, "{} for 40 requests", bad.requests());
    wait::until("denied retries in the metrics", || {
        count(&gateway, "keyway_upstream_retries_denied_total") > 0.0
    });
}

#[test]
fn a_circuit_opens_spares_its_target_and_closes_after_a_good_trial() {
    let sick = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let is_sick = Arc::clone(&sick);
    let origin = Origin::scripted(move |turn| {
        turn.body()?;
        let status = match is_sick.load(std::sync::atomic::Ordering::SeqCst) {
            true => 500,
            false => 200,
        };
        turn.send(answer(status, &[], "x"))?;
        Ok(Flow::Keep)
    });
    let breaker = Breaker {
        failures: 3,
        open_ms: 200,
        trials: 1,
    };
    let gateway = before(&[&origin], |upstream| upstream.breaker = Some(breaker)).start();
    for _ in 0..3 {
        gateway.get().assert_status(500);
    }
    let refused = gateway.get();
    refused.assert_refusal(503, "no-target");
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(origin.requests(), 3);
    sick.store(false, std::sync::atomic::Ordering::SeqCst);
    wait::until("the circuit to close", || gateway.get().status == 200);
    gateway.get().assert_status(200);
    wait::until("the circuit in the metrics", || {
        count(&gateway, "keyway_circuits_opened_total") >= 1.0
    });
}

#[test]
fn a_target_that_fails_too_much_is_ejected_and_the_other_serves() {
    let bad = Origin::saying(answer(500, &[], "bad"));
    let good = Origin::saying(answer(200, &[], "good"));
    let outlier = Outlier {
        requests_min: 5,
        ..Outlier::default()
    };
    let gateway = before(&[&bad, &good], |upstream| upstream.outlier = Some(outlier)).start();
    wait::until("the ejection", || {
        gateway.get();
        count(&gateway, "keyway_targets_ejected_total") == 1.0
    });
    for _ in 0..10 {
        gateway.get().assert_status(200);
    }
}

#[test]
fn the_time_of_one_try_and_of_the_whole_are_bounded() {
    let slow = Origin::hanging();
    let good = Origin::saying(answer(200, &[], "here"));
    let rule = Retry {
        try_timeout_ms: Some(200),
        ..retry()
    };
    let gateway = before(&[&slow, &good], |upstream| {
        upstream.retry = Some(rule.clone())
    })
    .start();
    for _ in 0..3 {
        gateway.get().assert_status(200);
    }
    let gateway = before(&[&slow], |upstream| {
        upstream.total_timeout_ms = Some(300);
        upstream.retry = Some(Retry {
            retries: 10,
            try_timeout_ms: Some(100),
            ..rule
        });
    })
    .start();
    let begun = slow.requests();
    gateway.get().assert_refusal(504, "upstream-timeout");
    assert!(
        slow.requests() - begun < 6,
        "{} tries",
        slow.requests() - begun
    );
}

#[test]
fn an_answer_longer_than_the_whole_time_is_broken_off_visibly() {
    let origin = Origin::scripted(|turn| {
        turn.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nbegun")?;
        turn.hang()
    });
    let gateway = before(&[&origin], |upstream| upstream.total_timeout_ms = Some(300)).start();
    let mut client = gateway.client();
    client.send(gateway.good().bytes());
    assert!(client.try_read().is_err(), "not a whole answer");
}

#[test]
fn no_more_connections_are_made_than_allowed() {
    let gate = Arc::new(wait::Gate::default());
    let waiting = Arc::clone(&gate);
    let origin = Origin::scripted(move |turn| {
        waiting.pass();
        turn.answer("ok")
    });
    let bounded = |upstream: &mut UpstreamEntry| {
        upstream.connections_max = Some(2);
        upstream.waiting_max = 0;
    };
    let gateway = before(&[&origin], bounded).workers(1).start();
    let mut clients: Vec<_> = (0..2).map(|_| gateway.client()).collect();
    for client in &mut clients {
        client.send(gateway.good().bytes());
    }
    origin.wait_for_requests(2);
    gateway.get().assert_refusal(503, "upstream-busy");
    gate.open();
    for client in &mut clients {
        client.read().assert_status(200);
    }
    gateway.get().assert_status(200);
    assert_eq!(origin.accepted(), 2);
}

#[test]
fn a_request_waits_for_a_connection_as_long_as_it_may_take_to_have_one() {
    let gate = Arc::new(wait::Gate::default());
    let waiting = Arc::clone(&gate);
    let origin = Origin::scripted(move |turn| {
        waiting.pass();
        turn.answer("ok")
    });
    let bounded = |timeout_ms: u32| {
        move |upstream: &mut UpstreamEntry| {
            upstream.connections_max = Some(1);
            upstream.waiting_max = 2;
            upstream.connect_timeout_ms = timeout_ms;
        }
    };
    let mut gateway = before(&[&origin], bounded(60_000)).workers(1).start();
    let mut clients: Vec<_> = (0..3).map(|_| gateway.client()).collect();
    for client in &mut clients {
        client.send(gateway.good().bytes());
    }
    // One is served and two wait; there is no room for a third.
    wait::until("all to be there", || {
        gateway.metrics().sum("keyway_requests_in_flight", &[]) > 2.5
    });
    gateway.get().assert_refusal(503, "upstream-busy");
    // One that leaves makes room.
    drop(clients.pop());
    gate.open();
    for client in &mut clients {
        client.read().assert_status(200);
    }
    gateway.get().assert_status(200);
    assert_eq!(origin.accepted(), 1, "each had the same connection");

    let held = Origin::hanging();
    gateway.publish(|world| {
        world.upstream().targets = vec![held.address.to_string().into()];
        bounded(100)(world.upstream());
    });
    let mut first = gateway.client();
    first.send(gateway.good().bytes());
    held.wait_for_requests(1);
    gateway.get().assert_refusal(503, "upstream-busy");
}

#[test]
fn a_key_stays_with_its_target() {
    let origins = [Origin::echo(), Origin::echo(), Origin::echo()];
    let all: Vec<&Origin> = origins.iter().collect();
    let by_key = BalanceEntry::Hash(keyway::snapshot::catalog::Affinity::Key);
    let gateway = before(&all, |upstream| upstream.balance = by_key)
        .workers(2)
        .start();
    for _ in 0..12 {
        gateway.get().assert_status(200);
    }
    let mut requests: Vec<usize> = origins.iter().map(Origin::requests).collect();
    requests.sort_unstable();
    assert_eq!(requests, [0, 0, 12]);
}

#[test]
fn a_target_may_be_a_socket_in_the_file_system() {
    use std::io::{Read as _, Write as _};
    let directory = tempfile::TempDir::new().expect("room for a directory");
    let path = directory.path().join("app.sock");
    let listener = UnixListener::bind(&path).expect("a socket");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut request = [0; 4096];
            while stream.read(&mut request).is_ok_and(|bytes| bytes > 0) {
                if stream.write_all(&answer(200, &[], "by unix")).is_err() {
                    break;
                }
            }
        }
    });
    let origin = Origin::echo();
    let target = format!("unix:{}", path.display());
    let gateway = before(&[&origin], |upstream| {
        upstream.targets = vec![target.as_str().into()];
    })
    .start();
    for _ in 0..3 {
        assert_eq!(gateway.get().text(), "by unix");
    }
    let line = &gateway.wait_for_log(1)[0];
    assert_eq!(line["target"], target, "{line}");
}

/// A TLS server that answers each request with `secret`, asking for a certificate if told to.
fn tls_origin(pki: &Pki, certificate: &str, client_ca: Option<&Pki>) -> std::net::SocketAddr {
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use std::io::{Read as _, Write as _};
    let chain = CertificateDer::from_pem_file(pki.path(&format!("{certificate}.pem")));
    let key = PrivateKeyDer::from_pem_file(pki.path(&format!("{certificate}.key")));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("known");
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(ca) => {
            let mut roots = rustls::RootCertStore::empty();
            let ca = CertificateDer::from_pem_file(ca.path("ca.pem")).expect("an authority");
            roots.add(ca).expect("an authority");
            let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(
                Arc::new(roots),
                provider,
            );
            builder.with_client_cert_verifier(verifier.build().expect("a verifier"))
        }
    };
    let config = builder.with_single_cert(vec![chain.expect("one")], key.expect("one"));
    let config = Arc::new(config.expect("they match"));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            let config = Arc::clone(&config);
            std::thread::spawn(move || {
                let connection = rustls::ServerConnection::new(config).expect("a server");
                let mut stream = rustls::StreamOwned::new(connection, socket);
                let mut request = [0; 4096];
                while stream.read(&mut request).is_ok_and(|bytes| bytes > 0) {
                    if stream.write_all(&answer(200, &[], "secret")).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

/// A gateway whose upstream is spoken to over TLS, by `tls` and with these settings.
fn over_tls(target: std::net::SocketAddr, tls: UpstreamTls, settings: &[String]) -> Gateway {
    let origin = Origin::echo();
    let setup = before(&[&origin], |upstream| {
        upstream.targets = vec![target.to_string().into()];
        upstream.tls = Some(tls);
    });
    let add = |setup: Setup, line: &String| setup.setting(line);
    settings.iter().fold(setup, add).start()
}

#[test]
fn a_target_over_tls_is_believed_only_by_its_name_and_its_authority() {
    let (pki, strangers) = (Pki::new(), Pki::new());
    pki.sign("origin", &["origin.test"]);
    strangers.sign("origin", &["origin.test"]);
    let trust = [format!(
        "trust = [{{ name = \"own\", ca = {:?} }}]",
        pki.path("ca.pem")
    )];
    let named = |name: &str, trust: Option<&str>| UpstreamTls {
        server_name: Some(name.into()),
        trust: trust.map(Into::into),
        identity: None,
    };
    let good = tls_origin(&pki, "origin", None);
    let gateway = over_tls(good, named("origin.test", Some("own")), &trust);
    let mut client = gateway.client();
    for _ in 0..3 {
        assert_eq!(client.exchange(&gateway.good()).text(), "secret");
    }
    wait::until("kept connections in the metrics", || {
        count(&gateway, "keyway_upstream_reuses_total") == 2.0
    });
    let strange = tls_origin(&strangers, "origin", None);
    for (target, tls) in [
        (good, named("other.test", Some("own"))),
        (good, named("origin.test", None)),
        (good, named("origin.test", Some("unknown"))),
        (strange, named("origin.test", Some("own"))),
    ] {
        let gateway = over_tls(target, tls.clone(), &trust);
        gateway.get().assert_refusal(502, "upstream-unreachable");
    }
}

#[test]
fn a_target_that_asks_for_a_certificate_gets_the_one_that_is_named() {
    let pki = Pki::new();
    pki.sign("origin", &["origin.test"]);
    pki.sign("node", &["node.test"]);
    let target = tls_origin(&pki, "origin", Some(&pki));
    let settings = [
        format!(
            "trust = [{{ name = \"own\", ca = {:?} }}]",
            pki.path("ca.pem")
        ),
        format!(
            "identity = [{{ name = \"node\", certificate = {:?}, key = {:?} }}]",
            pki.path("node.pem"),
            pki.path("node.key")
        ),
    ];
    let with = |identity: Option<&str>| UpstreamTls {
        server_name: Some("origin.test".into()),
        trust: Some("own".into()),
        identity: identity.map(Into::into),
    };
    let gateway = over_tls(target, with(Some("node")), &settings);
    assert_eq!(gateway.get().text(), "secret");
    let gateway = over_tls(target, with(None), &settings);
    assert_eq!(gateway.get().status, 502);
}
