//! TLS at the door: real clients, real certificates.

mod support;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::sync::Arc;

use nix::sys::signal::Signal;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, ProtocolVersion, StreamOwned};
use support::gateway::Setup;
use support::{Gateway, Origin, Pki, World, wait};

type Tls = StreamOwned<ClientConnection, TcpStream>;

/// A gateway with one plain and one TLS listener before `origin`, showing these certificates.
fn gateway(origin: &Origin, pki: &Pki, certificates: &[&str]) -> Setup {
    let entries: Vec<String> = certificates.iter().map(|file| pki.entry(file)).collect();
    Gateway::over(World::before(&[origin.address]))
        .listen_as(&[
            "\"127.0.0.1:0\"",
            "{ address = \"127.0.0.1:0\", tls = true }",
        ])
        .setting(&format!("tls.certificates = [{}]", entries.join(", ")))
}

fn connect(to: SocketAddr, config: &Arc<ClientConfig>, name: &str) -> Tls {
    let socket = TcpStream::connect(to).expect("the gateway takes connections");
    socket
        .set_read_timeout(Some(wait::PATIENCE))
        .expect("a socket");
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let connection = ClientConnection::new(Arc::clone(config), name).expect("a client");
    StreamOwned::new(connection, socket)
}

/// One request that closes its connection; the whole answer.
fn ask(gateway: &Gateway, tls: &mut Tls) -> std::io::Result<String> {
    let request = format!(
        "GET /orders/1 HTTP/1.1\r\nHost: gateway.test\r\nX-API-Key: {}\r\nConnection: close\r\n\r\n",
        gateway.world.key
    );
    tls.write_all(request.as_bytes())?;
    let mut answer = String::new();
    tls.read_to_string(&mut answer)?;
    Ok(answer)
}

/// The first name in the certificate that is shown to who asks for `name`.
fn shown(gateway: &Gateway, config: &Arc<ClientConfig>, name: &str) -> Result<(), String> {
    let mut tls = connect(gateway.listeners[1], config, name);
    ask(gateway, &mut tls)
        .map(|_| ())
        .map_err(|error| error.to_string())
}

#[test]
fn a_request_over_tls_is_like_any_other_and_the_target_learns_of_it() {
    let (origin, pki) = (Origin::echo(), Pki::new());
    pki.sign("gateway", &["gateway.test"]);
    let gateway = gateway(&origin, &pki, &["gateway"]).start();
    let mut tls = connect(
        gateway.listeners[1],
        &Arc::new(pki.client(None)),
        "gateway.test",
    );
    let answer = ask(&gateway, &mut tls).expect("a whole answer, and an announced end");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let got = origin.only();
    assert_eq!(got.head.fields.get("X-Forwarded-Proto"), Some("https"));
    let forwarded = got.head.fields.get("Forwarded").unwrap_or_default();
    assert!(forwarded.contains("proto=https"), "{forwarded}");
    // The plain listener beside it is still plain.
    gateway.get().assert_status(200);
}

#[test]
fn the_name_that_is_asked_for_picks_the_certificate() {
    let (origin, pki) = (Origin::echo(), Pki::new());
    pki.sign("first", &["first.test"]);
    pki.sign("shops", &["*.shop.test"]);
    pki.sign("own", &["own.shop.test"]);
    let gateway = gateway(&origin, &pki, &["first", "shops", "own"]).start();
    let config = Arc::new(pki.client(None));
    for name in ["first.test", "any.shop.test", "own.shop.test"] {
        assert_eq!(shown(&gateway, &config, name), Ok(()), "{name}");
    }
    let refused = shown(&gateway, &config, "elsewhere.test").expect_err("shown the first one");
    assert!(refused.contains("first.test"), "{refused}");
    let status = gateway.status();
    let names = &status["certificates"][2]["names"];
    assert_eq!(names[0], "own.shop.test", "{status}");
    assert!(
        gateway
            .metrics()
            .sum("keyway_tls_certificate_end_seconds", &[])
            > 1e9
    );
}

#[test]
fn sessions_go_on_on_every_worker_in_both_versions() {
    let (origin, pki) = (Origin::echo(), Pki::new());
    pki.sign("gateway", &["gateway.test"]);
    let gateway = gateway(&origin, &pki, &["gateway"]).start();
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .expect("known");
        let mut roots = rustls::RootCertStore::empty();
        let ca = fs::read(pki.path("ca.pem")).expect("it was written");
        let ca = rustls::pki_types::pem::PemObject::from_pem_slice(&ca).expect("a certificate");
        roots.add(ca).expect("an authority");
        let config = Arc::new(builder.with_root_certificates(roots).with_no_client_auth());
        let mut kinds = Vec::new();
        // Ten connections meet both workers.
        for _ in 0..10 {
            let mut tls = connect(gateway.listeners[1], &config, "gateway.test");
            ask(&gateway, &mut tls).expect("an answer");
            assert_eq!(tls.conn.protocol_version(), Some(version.version));
            kinds.push(tls.conn.handshake_kind());
        }
        assert_ne!(kinds[0], Some(HandshakeKind::Resumed));
        assert!(
            kinds[1..]
                .iter()
                .all(|kind| *kind == Some(HandshakeKind::Resumed)),
            "{:?}: {kinds:?}",
            version.version
        );
    }
    wait::until("the handshakes in the metrics", || {
        let handshakes = "keyway_tls_handshakes_total";
        let metrics = gateway.metrics();
        metrics.sum(handshakes, &[("outcome", "good")]) == 20.0
            && metrics.sum(handshakes, &[("outcome", "resumed")]) == 18.0
    });
}

#[test]
fn certificates_are_renewed_under_traffic_and_bad_ones_change_nothing() {
    let (origin, pki) = (Origin::echo(), Pki::new());
    pki.sign("gateway", &["old.test"]);
    let gateway = gateway(&origin, &pki, &["gateway"]).start();
    let config = Arc::new(pki.client(None));
    assert_eq!(shown(&gateway, &config, "old.test"), Ok(()));
    let mut open = connect(gateway.listeners[1], &config, "old.test");
    open.conn.complete_io(&mut open.sock).expect("a handshake");

    fs::write(pki.path("gateway.pem"), "no certificate").expect("it is ours");
    gateway.signal(Signal::SIGHUP);
    wait::until("the reason in the log", || {
        gateway.stderr().contains("gateway.pem: has no certificate")
    });
    assert_eq!(shown(&gateway, &config, "old.test"), Ok(()));

    pki.sign("gateway", &["new.test"]);
    gateway.signal(Signal::SIGHUP);
    wait::until("the new certificate", || {
        shown(&gateway, &config, "new.test").is_ok()
    });
    // What was open before goes on.
    ask(&gateway, &mut open).expect("an answer");
}

#[test]
fn a_client_certificate_is_asked_for_verified_and_recorded() {
    let (origin, pki, strangers) = (Origin::echo(), Pki::new(), Pki::new());
    pki.sign("gateway", &["gateway.test"]);
    pki.sign("caller", &["caller.test"]);
    strangers.sign("stranger", &["stranger.test"]);
    let ca = format!("tls.client_ca = {:?}", pki.path("ca.pem"));
    let start = |auth: &str| {
        gateway(&origin, &pki, &["gateway"])
            .setting(&ca)
            .setting(&format!("tls.client_auth = {auth:?}"))
            .start()
    };
    let stranger = {
        let mut config = pki.client(None);
        config.client_auth_cert_resolver =
            strangers.client(Some("stranger")).client_auth_cert_resolver;
        Arc::new(config)
    };
    let known = Arc::new(pki.client(Some("caller")));
    let nobody = Arc::new(pki.client(None));
    for (auth, without) in [("required", false), ("optional", true)] {
        let gateway = start(auth);
        assert_eq!(shown(&gateway, &known, "gateway.test"), Ok(()), "{auth}");
        let line = &gateway.wait_for_log(1)[0];
        let fingerprint = line["client_cert"].as_str().unwrap_or_default();
        assert_eq!(fingerprint.len(), 64, "{line}");
        assert_eq!(line["tls"], "1.3", "{line}");
        let cipher = line["cipher"].as_str().unwrap_or_default();
        assert!(cipher.starts_with("TLS13_"), "{line}");
        assert!(
            shown(&gateway, &stranger, "gateway.test").is_err(),
            "{auth}"
        );
        assert_eq!(
            shown(&gateway, &nobody, "gateway.test").is_ok(),
            without,
            "{auth}"
        );
    }
}

#[test]
fn a_session_does_not_outlive_the_clients_certificate() {
    let (origin, pki) = (Origin::echo(), Pki::new());
    pki.sign("gateway", &["gateway.test"]);
    // Certificates count whole seconds.
    let clock = keyway::clock::Clock::system();
    let end_s = clock.wall().seconds() + 3;
    let end = std::time::UNIX_EPOCH + std::time::Duration::from_secs(end_s);
    pki.sign_with("caller", &["caller.test"], |params| {
        params.not_after = end.into()
    });
    let gateway = gateway(&origin, &pki, &["gateway"])
        .setting(&format!("tls.client_ca = {:?}", pki.path("ca.pem")))
        .setting("tls.client_auth = \"required\"")
        .start();
    let config = Arc::new(pki.client(Some("caller")));
    let mut tls = connect(gateway.listeners[1], &config, "gateway.test");
    ask(&gateway, &mut tls).expect("an answer");
    let mut tls = connect(gateway.listeners[1], &config, "gateway.test");
    ask(&gateway, &mut tls).expect("an answer");
    assert_eq!(tls.conn.handshake_kind(), Some(HandshakeKind::Resumed));
    wait::until("its end", || clock.wall().seconds() > end_s);
    let mut tls = connect(gateway.listeners[1], &config, "gateway.test");
    assert!(
        ask(&gateway, &mut tls).is_err(),
        "it went on with a certificate that is over"
    );
}

#[test]
fn renewed_certificates_end_the_sessions_of_those_before() {
    let (origin, pki) = (Origin::echo(), Pki::new());
    pki.sign("gateway", &["gateway.test"]);
    let gateway = gateway(&origin, &pki, &["gateway"]).workers(1).start();
    let config = Arc::new(pki.client(None));
    let kind = || {
        let mut tls = connect(gateway.listeners[1], &config, "gateway.test");
        ask(&gateway, &mut tls).expect("an answer");
        tls.conn.handshake_kind()
    };
    assert_ne!(kind(), Some(HandshakeKind::Resumed));
    assert_eq!(kind(), Some(HandshakeKind::Resumed));
    gateway.signal(Signal::SIGHUP);
    wait::until("the renewal", || {
        gateway.stderr().contains("certificates are renewed")
    });
    // With new keys for tickets: one that was given out before is worth nothing.
    assert_ne!(kind(), Some(HandshakeKind::Resumed));
    assert_eq!(kind(), Some(HandshakeKind::Resumed));
}

#[test]
fn a_balancer_tells_of_the_client_before_the_handshake() {
    use ppp::v2::{Builder, Command, Protocol, Version};
    let (origin, pki) = (Origin::echo(), Pki::new());
    pki.sign("gateway", &["gateway.test"]);
    let gateway = gateway(&origin, &pki, &["gateway"])
        .listen_as(&["{ address = \"127.0.0.1:0\", tls = true, proxy_protocol = true }"])
        .start();
    let told: SocketAddr = "203.0.113.7:4711".parse().expect("an address");
    let flags = Version::Two | Command::Proxy;
    let header = Builder::with_addresses(flags, Protocol::Stream, (told, gateway.listen)).build();
    let mut socket = TcpStream::connect(gateway.listen).expect("the gateway takes connections");
    socket
        .set_read_timeout(Some(wait::PATIENCE))
        .expect("a socket");
    socket
        .write_all(&header.expect("a header"))
        .expect("it is read");
    let name = ServerName::try_from("gateway.test").expect("a name");
    let connection = ClientConnection::new(Arc::new(pki.client(None)), name).expect("a client");
    let mut tls = StreamOwned::new(connection, socket);
    ask(&gateway, &mut tls).expect("an answer");
    let got = origin.only();
    assert_eq!(got.head.fields.get("X-Forwarded-For"), Some("203.0.113.7"));
    assert_eq!(got.head.fields.get("X-Forwarded-Proto"), Some("https"));
    // Who begins with a handshake is not believed to be a balancer.
    let mut tls = connect(gateway.listen, &Arc::new(pki.client(None)), "gateway.test");
    assert!(ask(&gateway, &mut tls).is_err());
}

/// What `openssl s_client` says to the TLS listener with these words.
fn openssl(gateway: &Gateway, words: &[&str]) -> String {
    let to = gateway.listeners[1].to_string();
    let mut child = Command::new("openssl")
        .args(["s_client", "-connect", &to, "-servername", "gateway.test"])
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl is installed (scripts/test installs it)");
    // The end of its input ends it.
    drop(child.stdin.take());
    let output = child.wait_with_output().expect("it runs");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

#[test]
fn another_implementation_agrees_on_protocols_and_sees_the_stapled_answer() {
    let (origin, pki) = (Origin::echo(), Pki::new());
    pki.sign("gateway", &["gateway.test"]);
    // Not a real answer: the gateway hands out what is in the file, and the client shows it.
    fs::write(pki.path("ocsp.der"), [0x30, 3, 0x0a, 1, 6]).expect("room for it");
    let entry = pki.entry("gateway");
    let entry = entry.replace(" }", &format!(", ocsp = {:?} }}", pki.path("ocsp.der")));
    let gateway = gateway(&origin, &pki, &[])
        .replace_setting("tls.certificates", &format!("tls.certificates = [{entry}]"))
        .start();
    let said = openssl(&gateway, &["-alpn", "h2,http/1.1", "-status"]);
    assert!(said.contains("ALPN protocol: http/1.1"), "{said}");
    assert!(
        said.contains("OCSP Response Status: unauthorized (0x6)"),
        "{said}"
    );
    let said = openssl(&gateway, &["-alpn", "h2"]);
    assert!(said.contains("no application protocol"), "{said}");
    let said = openssl(&gateway, &["-tls1_1"]);
    assert!(
        !said.contains("Cipher is TLS") && !said.contains("Cipher is ECDHE"),
        "{said}"
    );
}

#[test]
fn garbage_and_silence_cost_a_connection_each_and_nobody_else() {
    let (origin, pki) = (Origin::echo(), Pki::new());
    pki.sign("gateway", &["gateway.test"]);
    let gateway = gateway(&origin, &pki, &["gateway"])
        .setting("tls.handshake_timeout_ms = 300")
        .start();
    let mut garbage = TcpStream::connect(gateway.listeners[1]).expect("it listens");
    garbage
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .expect("sent");
    let mut answer = Vec::new();
    let _ = garbage.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    let mut silent = TcpStream::connect(gateway.listeners[1]).expect("it listens");
    silent
        .set_read_timeout(Some(wait::PATIENCE))
        .expect("a socket");
    let mut answer = Vec::new();
    let _ = silent.read_to_end(&mut answer);
    assert!(answer.is_empty(), "{answer:?}");
    wait::until("the failures in the metrics", || {
        let handshakes = "keyway_tls_handshakes_total";
        gateway.metrics().sum(handshakes, &[("outcome", "failed")]) == 2.0
    });
    let config = Arc::new(pki.client(None));
    assert_eq!(shown(&gateway, &config, "gateway.test"), Ok(()));
}

#[test]
fn a_large_body_goes_up_and_comes_down() {
    let (origin, pki) = (
        Origin::scripted(|turn| {
            let body = turn.body()?;
            turn.send(support::turn::answer(200, &[], body))?;
            Ok(support::Flow::Keep)
        }),
        Pki::new(),
    );
    pki.sign("gateway", &["gateway.test"]);
    let gateway = gateway(&origin, &pki, &["gateway"]).start();
    let mut tls = connect(
        gateway.listeners[1],
        &Arc::new(pki.client(None)),
        "gateway.test",
    );
    let body: Vec<u8> = (0..4_000_000_u32)
        .flat_map(|n| n.to_le_bytes())
        .take(5 << 20)
        .collect();
    let head = format!(
        "POST /orders/1 HTTP/1.1\r\nHost: gateway.test\r\nX-API-Key: {}\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n",
        gateway.world.key,
        body.len()
    );
    tls.write_all(head.as_bytes()).expect("sent");
    tls.write_all(&body).expect("sent");
    let mut answer = Vec::new();
    tls.read_to_end(&mut answer).expect("an announced end");
    assert!(answer.ends_with(&body), "{} bytes", answer.len());
    assert_eq!(tls.conn.protocol_version(), Some(ProtocolVersion::TLSv1_3));
}

#[test]
fn a_key_that_everyone_may_read_and_one_of_another_certificate_are_refused_at_start() {
    let (origin, pki) = (Origin::echo(), Pki::new());
    pki.sign("gateway", &["gateway.test"]);
    pki.sign("other", &["other.test"]);
    let open = fs::Permissions::from_mode(0o644);
    fs::set_permissions(pki.path("gateway.key"), open).expect("it is ours");
    let (status, said) = gateway(&origin, &pki, &["gateway"]).fail();
    assert!(!status.success());
    assert!(
        said.contains("gateway.key: everyone may use it (mode 644)"),
        "{said}"
    );
    fs::copy(pki.path("other.key"), pki.path("gateway.key")).expect("room for it");
    let secret = fs::Permissions::from_mode(0o600);
    fs::set_permissions(pki.path("gateway.key"), secret).expect("it is ours");
    let (_, said) = gateway(&origin, &pki, &["gateway"]).fail();
    assert!(
        said.contains("gateway.key: is not the key of the certificate"),
        "{said}"
    );
}
