//! `/metrics`: what a scraper reads, with a token that can do nothing else.

use crate::program::Program;
use crate::world::{Answer, World, answer_of};
use axum::body::Body;
use axum::http::{Method, Request};
use keyway::snapshot::KeyId;
use keyway_control::fixture::{change, segment, this_minute};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

const DASHBOARD: &str = include_str!("../../../scripts/monitoring/grafana.json");
const ALERTS: &str = include_str!("../../../scripts/monitoring/alerts.yaml");

impl World {
    async fn ask_as(&self, token: &str, method: Method, path: &str) -> Answer {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {token}"));
        answer_of(
            &self.router,
            request.body(Body::empty()).expect("a request"),
        )
        .await
    }
}

/// Samples by name and labels, checked to stand under their family.
fn samples(page: &str) -> BTreeMap<String, f64> {
    let (mut family, mut samples) = (String::new(), BTreeMap::new());
    for line in page.lines() {
        if let Some(about) = line.strip_prefix("# TYPE ") {
            family = about.split(' ').next().expect("a name").to_owned();
        } else if !line.starts_with('#') {
            let (name, value) = line.rsplit_once(' ').expect("a value");
            assert_eq!(name.split('{').next(), Some(family.as_str()), "{line}");
            let twice = samples.insert(name.to_owned(), value.parse().expect("a number"));
            assert_eq!(twice, None, "{line} stands twice");
        }
    }
    samples
}

#[tokio::test]
async fn control_tells_of_itself_and_of_the_few_that_call_most() {
    let world = World::laid_out().await;
    let mut ids: Vec<KeyId> = Vec::new();
    for _ in 0..3 {
        ids.push(world.key().await.0.parse().expect("an id"));
    }
    let now = this_minute();
    let counts = [
        (now, Some(ids[0]), 2, 5),
        (now, Some(ids[1]), 2, 30),
        (now, Some(ids[1]), 5, 1),
        (now - 1, Some(ids[2]), 4, 20),
        (now - 10, Some(ids[0]), 2, 1_000),
        (now, None, 4, 1_000),
    ];
    let counted = segment(1, 1, &counts);
    let body = counted.encode();
    let added = change(&world.running.store, move |tx| {
        tx.usage_add(&counted, &body)
    });
    added.await.expect("adds up");
    world
        .post("/v1/alert-rules", json!({ "name": "r", "when": "quota" }))
        .await
        .expect(201);
    world
        .post(
            "/v1/webhooks",
            json!({ "name": "w", "url": "http://127.0.0.1:9/" }),
        )
        .await
        .expect(201);

    let answer = world.get("/metrics").await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert!(
        answer
            .header("content-type")
            .starts_with("text/plain; version=0.0.4")
    );
    let samples = samples(&answer.text);
    let of = |name: &str| samples.get(name).copied();
    let key = |family: &str, id: KeyId| {
        of(&format!(
            "keyway_control_top_key_{family}{{key=\"{id}\",app=\"acme/mobile\"}}"
        ))
    };
    assert_eq!(key("requests", ids[1]), Some(31.0));
    assert_eq!(key("failures", ids[1]), Some(1.0));
    assert_eq!(key("failures", ids[2]), Some(20.0));
    assert_eq!(key("requests", ids[0]), None, "two have series here");
    let app = of("keyway_control_top_app_requests{app=\"acme/mobile\"}");
    assert_eq!(app, Some(56.0));
    assert_eq!(of("keyway_control_alerts{rule=\"r\"}"), Some(0.0));
    assert_eq!(
        of("keyway_control_webhook_waiting{webhook=\"w\"}"),
        Some(0.0)
    );
    assert_eq!(of("keyway_control_things{kind=\"key\"}"), Some(3.0));
    assert!(of("keyway_control_admin_requests_total{class=\"2xx\"}") > Some(5.0));
    assert!(of("process_resident_memory_bytes") > Some(0.0));
}

#[tokio::test]
async fn the_dashboard_and_the_rules_speak_of_what_control_tells() {
    let world = World::laid_out().await;
    world.get("/metrics").await;
    let answer = world.get("/metrics").await;
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let told: BTreeSet<&str> = answer
        .text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .collect();
    let words = DASHBOARD
        .split(|c| !is_word(c))
        .chain(ALERTS.split(|c| !is_word(c)));
    let spoken_of: BTreeSet<&str> = words.filter(|w| w.starts_with("keyway_control_")).collect();
    assert!(spoken_of.len() > 5, "{spoken_of:?}");
    for name in spoken_of {
        assert!(
            told.contains(name),
            "the dashboard or the rules speak of {name}"
        );
    }
}

#[tokio::test]
async fn a_scrapers_token_reads_metrics_and_nothing_else() {
    let world = World::empty().await;
    let body = json!({ "label": "prometheus", "role": "metrics" });
    let made = world.post("/v1/tokens", body).await.expect(201);
    assert_eq!(made["role"], "metrics");
    let token = made["secret"].as_str().expect("shown once").to_owned();
    let page = world.ask_as(&token, Method::GET, "/metrics").await;
    assert_eq!(page.status, 200, "{}", page.text);
    for (method, path) in keyway_control::admin::listed() {
        if path == "/metrics" {
            continue;
        }
        let path = path.replace(['{', '}'], "");
        let method: Method = method.parse().expect("a method");
        let answer = world.ask_as(&token, method, &path).await;
        answer.expect_problem(403, "forbidden");
    }
    let answer = world.ask_as(&token, Method::POST, "/metrics").await;
    answer.expect_problem(403, "forbidden");
    let answer = world.ask_as("kwa_unknown", Method::GET, "/metrics").await;
    answer.expect_problem(401, "unauthenticated");
    // It does not stand in for the last token that may do everything, and may always be withdrawn.
    let answer = world.delete("/v1/tokens/1").await;
    answer.expect_problem(409, "in-use");
    world.delete("/v1/tokens/2").await.expect(200);
    let answer = world.ask_as(&token, Method::GET, "/metrics").await;
    answer.expect_problem(401, "unauthenticated");
}

#[test]
fn a_scrapers_token_is_made_on_the_command_line() {
    let program = Program::start();
    let secret = program.run(&[
        "tokens",
        "create",
        "prometheus",
        "--role",
        "metrics",
        "--quiet",
    ]);
    let secret = secret.expect(0);
    let environment = [
        ("KEYWAY_URL", program.url.as_str()),
        ("KEYWAY_TOKEN", secret.trim()),
    ];
    let refused = crate::program::run(&["status"], &environment, "").expect(1);
    assert!(
        refused.contains("reads /metrics and nothing else"),
        "{refused}"
    );
    let listed = program.run(&["tokens", "list"]).expect(0);
    assert!(listed.contains("metrics"), "{listed}");
}
