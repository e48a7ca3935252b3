//! Webhooks: what a receiver gets, how it knows who sent it, and what becomes of it if it is down.

use crate::program::Program;
use crate::world::World;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use keyway::clock::{Clock, WallTime};
use keyway_control::alerts::{Deliverer, WebhookTrust, deliver, evaluate_once};
use keyway_control::fixture::{change, segment, this_minute};
use serde_json::{Value, json};
use sha2::Sha256;
use std::io::{Read as _, Write as _};
use std::net::TcpListener as StdListener;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// What a receiver got.
type Got = (HeaderMap, Bytes);

/// Answers the statuses in turn, then 204; hands on what comes.
#[derive(Clone)]
struct Receiver {
    statuses: Arc<Mutex<Vec<StatusCode>>>,
    got: mpsc::UnboundedSender<Got>,
}

async fn take(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> Response {
    drop(receiver.got.send((headers, body)));
    let status = receiver.statuses.lock().expect("no panic").pop();
    let elsewhere = [(header::LOCATION, "/elsewhere")];
    (status.unwrap_or(StatusCode::NO_CONTENT), elsewhere).into_response()
}

/// A receiver on a port of its own; answers its address and what it gets. It gives the last of the
/// statuses first.
async fn receiver(statuses: Vec<StatusCode>) -> (String, mpsc::UnboundedReceiver<Got>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (got, gets) = mpsc::unbounded_channel();
    let statuses = Arc::new(Mutex::new(statuses));
    let router = Router::new()
        .fallback(take)
        .with_state(Receiver { statuses, got });
    tokio::spawn(async move { axum::serve(listener, router).await });
    (format!("http://{address}/alerts"), gets)
}

/// Checks a message as a receiver would, with the words of Standard Webhooks alone.
fn check(secret: &str, (headers, body): &Got) -> Value {
    let header = |name: &str| headers[name].to_str().expect("text").to_owned();
    let key = secret.strip_prefix("whsec_").expect("the prefix");
    let key = STANDARD.decode(key).expect("base64");
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("any length");
    let (id, at) = (header("webhook-id"), header("webhook-timestamp"));
    mac.update(format!("{id}.{at}.").as_bytes());
    mac.update(body);
    let expected = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
    assert_eq!(header("webhook-signature"), expected);
    let sent_s: u64 = at.parse().expect("seconds");
    assert!((Clock::system().wall().0 / 1_000).abs_diff(sent_s) < 60);
    serde_json::from_slice(body).expect("JSON")
}

impl World {
    /// Makes a webhook; answers its secret.
    async fn webhook(&self, name: &str, url: &str) -> String {
        let body = json!({ "name": name, "url": url });
        let made = self.post("/v1/webhooks", body).await.expect(201);
        made["secret"].as_str().expect("shown once").to_owned()
    }

    /// Tells webhooks from now on.
    fn tell(&self, trust: &WebhookTrust) {
        let deliverer = Deliverer::new(trust).expect("trusts somebody");
        let store = self.running.store.clone();
        tokio::spawn(deliver(store, Clock::system(), deliverer));
    }
}

#[tokio::test]
async fn an_alert_is_told_signed_again_after_an_error_and_once_more_when_it_is_over() {
    let world = World::laid_out().await;
    let statuses = vec![
        StatusCode::MOVED_PERMANENTLY,
        StatusCode::INTERNAL_SERVER_ERROR,
    ];
    let (url, mut gets) = receiver(statuses).await;
    let secret = world.webhook("ops", &url).await;
    let rule = json!({ "name": "refused", "when": "refusals", "above": 1, "webhooks": ["ops"] });
    world.post("/v1/alert-rules", rule).await.expect(201);
    let now = this_minute();
    let counted = segment(1, 1, &[(now, None, 4, 9)]);
    let body = counted.encode();
    let added = change(&world.running.store, move |tx| {
        tx.usage_add(&counted, &body)
    });
    added.await.expect("adds up");
    world.tell(&WebhookTrust::Public);
    let look = |minute: u32| {
        let now = WallTime(u64::from(minute) * 60_000);
        evaluate_once(&world.running.store, now)
    };
    look(now).await.expect("looks");

    let first = gets.recv().await.expect("an attempt");
    let raised = check(&secret, &first);
    assert_eq!(raised["type"], "alert.raised");
    assert_eq!(raised["data"]["rule"], "refused");
    assert_eq!(raised["data"]["value"], 9);
    let waiting = |answer: &crate::world::Answer| answer.body["last_error"].is_string();
    let state = world.until("/v1/webhooks/ops", waiting).await.body;
    assert_eq!(state["waiting"], 1, "{state}");
    assert!(state["last_error"].as_str().expect("why").contains("500"));
    for attempt in ["a redirect is followed nowhere", "and tried again"] {
        let again = gets.recv().await.expect(attempt);
        assert_eq!(again.1, first.1, "the same message");
        assert_eq!(again.0["webhook-id"], first.0["webhook-id"]);
        check(&secret, &again);
    }
    let taken = |answer: &crate::world::Answer| answer.body["last_taken_at"].is_string();
    let state = world.until("/v1/webhooks/ops", taken).await.body;
    assert_eq!(
        (&state["waiting"], &state["last_error"]),
        (&json!(0), &json!(null))
    );

    look(now + 30).await.expect("looks");
    let resolved = check(&secret, &gets.recv().await.expect("told"));
    assert_eq!(resolved["type"], "alert.resolved");
    assert!(resolved["data"]["ended_at"].is_string(), "{resolved}");
}

#[tokio::test]
async fn a_receiver_that_hangs_holds_up_no_other() {
    let world = World::empty().await;
    let silent = StdListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("an address");
    world.webhook("silent", &format!("http://{address}/")).await;
    let (url, mut gets) = receiver(Vec::new()).await;
    let secret = world.webhook("ops", &url).await;
    let test = |name: &str| format!("/v1/webhooks/{name}/test");
    let silent_ones = change(&world.running.store, |tx| {
        let name = keyway_control::fixture::name("silent");
        (0..2_000).try_for_each(|_| keyway_control::alerts::tell_test(tx, &name))
    });
    silent_ones.await.expect("waits");
    world.tell(&WebhookTrust::Public);
    world.post(&test("ops"), json!({})).await.expect(200);
    let got = check(&secret, &gets.recv().await.expect("told"));
    assert_eq!(got["type"], "webhook.test");
    drop(silent);
}

#[tokio::test]
async fn https_is_spoken_to_whom_the_authorities_vouch_for() {
    let world = World::empty().await;
    let authority_key = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = params.self_signed(&authority_key).expect("a certificate");
    let issuer = rcgen::Issuer::new(params, authority_key);
    let key = rcgen::KeyPair::generate().expect("a key");
    let names = vec!["127.0.0.1".to_owned()];
    let params = rcgen::CertificateParams::new(names).expect("a name");
    let certificate = params.signed_by(&key, &issuer).expect("signed");
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(
        rustls::crypto::aws_lc_rs::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .expect("versions")
    .with_no_client_auth()
    .with_single_cert(
        vec![certificate.der().clone()],
        key.serialize_der().try_into().expect("a key"),
    )
    .expect("a certificate and its key");
    let config = Arc::new(config);

    let listener = StdListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("https://{}/", listener.local_addr().expect("an address"));
    let (heard, mut hears) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { return };
            let connection = rustls::ServerConnection::new(Arc::clone(&config)).expect("starts");
            let mut stream = rustls::StreamOwned::new(connection, stream);
            let mut bytes = [0; 4_096];
            let read = stream.read(&mut bytes);
            let outcome = read.map(|n| String::from_utf8_lossy(&bytes[..n]).into_owned());
            drop(stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"));
            if heard.send(outcome.ok()).is_err() {
                return;
            }
        }
    });
    world.webhook("ops", &url).await;
    let tested = world.post("/v1/webhooks/ops/test", json!({})).await;
    tested.expect(200);
    let stranger = Deliverer::new(&WebhookTrust::Public).expect("trusts somebody");
    let store = world.running.store.clone();
    let untrusting = tokio::spawn(deliver(store, Clock::system(), stranger));
    assert_eq!(
        hears.recv().await.expect("an attempt"),
        None,
        "no trust, no message"
    );
    let failed = |answer: &crate::world::Answer| answer.body["last_error"].is_string();
    world.until("/v1/webhooks/ops", failed).await;
    untrusting.abort();

    let file = world.directory.path().join("ca.pem");
    std::fs::write(&file, authority.pem()).expect("a file");
    world.tell(&WebhookTrust::File(file.clone()));
    let request = hears.recv().await.expect("an attempt").expect("trust");
    assert!(request.starts_with("POST / HTTP/1.1\r\n"), "{request}");

    std::fs::write(&file, "no certificate").expect("a file");
    let refused = Deliverer::new(&WebhookTrust::File(file)).expect_err("refused");
    assert!(
        refused
            .to_string()
            .contains("ca.pem: it holds no certificate")
    );
}

#[tokio::test]
async fn a_webhook_has_a_safe_address_and_a_secret_that_is_shown_once() {
    let world = World::empty().await;
    let far = json!({ "name": "ops", "url": "http://ops.example.com/" });
    let problem = world.post("/v1/webhooks", far).await;
    let problem = problem.expect_problem(422, "invalid");
    assert_eq!(problem["errors"][0]["path"], "url", "{problem}");
    let secret = world.webhook("ops", "http://127.0.0.1:9/").await;
    let same = json!({ "name": "ops", "url": "http://127.0.0.1:9/" });
    let problem = world.post("/v1/webhooks", same).await;
    problem.expect_problem(409, "exists");
    let bare = secret.strip_prefix("whsec_").expect("the prefix");
    for path in ["/v1/webhooks", "/v1/webhooks/ops", "/v1/audit"] {
        let answer = world.get(path).await;
        assert!(answer.text.contains("ops"), "{path}: {}", answer.text);
        assert!(!answer.text.contains(bare), "{path}");
    }
    world.delete("/v1/webhooks/ops").await.expect(200);
    let test = world.post("/v1/webhooks/ops/test", json!({})).await;
    test.expect_problem(404, "not-found");
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_and_alerts_are_handled_from_the_command_line() {
    let (url, mut gets) = receiver(Vec::new()).await;
    let program = tokio::task::spawn_blocking(move || {
        let program = Program::start();
        let secret = program.run(&["webhooks", "create", "ops", &url, "--quiet"]);
        let secret = secret.expect(0).trim().to_owned();
        let tested = program.run(&["webhooks", "test", "ops"]).expect(0);
        assert_eq!(tested, "webhook ops took the message\n");
        let file = program.file(
            "rules.yaml",
            "alert_rules:\n  - { name: errors, when: errors, by: api, above_share: 0.05, webhooks: [ops] }\n  \
            - { name: quota, when: quota }\n",
        );
        let applied = program.run(&["apply", "-f", &file]).expect(0);
        assert!(applied.contains("errors"), "{applied}");
        let rules = program.run(&["alert-rules", "list"]).expect(0);
        assert!(
            rules.contains("errors by api above 5 % in 5 min"),
            "{rules}"
        );
        assert!(rules.contains("quota at 80, 100 %"), "{rules}");
        let alerts = program.run(&["alerts", "--firing"]).expect(0);
        assert!(alerts.starts_with("NUMBER"), "{alerts}");
        let listed = program.run(&["webhooks", "list", "--json"]).json();
        assert_eq!(listed["waiting"], 0, "{listed}");
        assert!(!listed.to_string().contains(&secret));
        let refused = program.run(&["webhooks", "delete", "ops"]).expect(1);
        assert!(refused.contains("alert rule errors"), "{refused}");
        (program, secret)
    });
    let (_program, secret) = program.await.expect("no panic");
    let got = check(&secret, &gets.recv().await.expect("told"));
    assert_eq!(got["data"], json!(null));
}
