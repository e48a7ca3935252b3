//! The way of a first key, over a real socket: from a tenant to a revocation with its receipt.

use crate::world::{ObedientNode, World};
use serde_json::{Value, json};
use std::time::Duration;
use ureq::Agent;
use ureq::http::Request;

struct Caller {
    agent: Agent,
    url: String,
    token: String,
}

impl Caller {
    fn ask(&self, method: &str, path: &str, body: Value, expected: u16) -> Value {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url))
            .header("authorization", format!("Bearer {}", self.token))
            .header("content-type", "application/json");
        let mut response = match body {
            Value::Null => self.agent.run(request.body(()).expect("a request")),
            body => self
                .agent
                .run(request.body(body.to_string()).expect("a request")),
        }
        .expect("an answer");
        let text = response.body_mut().read_to_string().expect("text");
        assert_eq!(
            response.status().as_u16(),
            expected,
            "{method} {path}: {text}"
        );
        serde_json::from_str(&text).expect("JSON")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn from_a_tenant_to_a_revoked_key() {
    let world = World::empty().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let router = world.router.clone();
    let server = tokio::spawn(async move { axum::serve(listener, router).await });
    let node = ObedientNode::connect(&world.running.socket, "edge-1").await;
    let agent: Agent = Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(60)))
        .build()
        .into();
    let caller = Caller {
        agent,
        url,
        token: world.token.clone(),
    };
    tokio::task::spawn_blocking(move || walk(&caller))
        .await
        .expect("the way is clear");
    drop(node);
    server.abort();
}

fn walk(caller: &Caller) {
    caller.ask("POST", "/v1/tenants", json!({ "name": "acme" }), 201);
    caller.ask(
        "POST",
        "/v1/tenants/acme/apps",
        json!({ "name": "mobile" }),
        201,
    );
    let upstream = json!({ "name": "origin", "targets": ["127.0.0.1:9000"] });
    caller.ask("POST", "/v1/upstreams", upstream, 201);
    let api =
        json!({ "name": "orders", "upstream": "origin", "routes": [{ "path": "/orders/*" }] });
    caller.ask("POST", "/v1/apis", api, 201);
    let plan = json!({ "name": "free", "apis": ["orders"],
        "limits": [{ "name": "burst", "requests": 10, "per": "second" }] });
    caller.ask("POST", "/v1/plans", plan, 201);
    let subscription = json!({ "tenant": "acme", "app": "mobile", "api": "orders", "plan": "free",
        "state": "approved" });
    caller.ask("POST", "/v1/subscriptions", subscription, 201);

    let key = json!({ "tenant": "acme", "app": "mobile" });
    let made = caller.ask("POST", "/v1/keys?wait=enforced", key, 201);
    assert_eq!(made["receipt"]["complete"], true, "{made}");
    let id = made["id"].as_str().expect("an id");
    let rotate = format!("/v1/keys/{id}/rotate?wait=enforced");
    let rotated = caller.ask("POST", &rotate, json!({ "grace_s": 60 }), 201);
    assert_eq!(rotated["receipt"]["complete"], true, "{rotated}");
    let revoked = caller.ask(
        "DELETE",
        &format!("/v1/keys/{id}?wait=enforced"),
        Value::Null,
        200,
    );
    assert_eq!(revoked["state"], "revoked");
    assert_eq!(revoked["receipt"]["complete"], true, "{revoked}");
    assert_eq!(revoked["receipt"]["nodes"][0]["workers"], 2);
    let list = caller.ask("GET", "/v1/keys?state=active", Value::Null, 200);
    assert_eq!(list["items"][0]["id"], rotated["id"]);
}
