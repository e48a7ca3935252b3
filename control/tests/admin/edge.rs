//! What an API can say of its traffic: taken, shown as it was written, and refused by its place.

use crate::world::World;
use serde_json::{Value, json};

fn api() -> Value {
    json!({
        "name": "orders",
        "version": "v2",
        "version_in": { "header": { "name": "API-Version", "default": true } },
        "hosts": ["*.example.com", "example.com"],
        "upstream": "origin",
        "split": [{ "upstream": "origin", "weight": 95 }, { "upstream": "canary", "weight": 5 }],
        "split_by": "key",
        "routes": [
            {
                "path": "/orders/*",
                "rewrite": { "path": "/internal/orders/*" },
                "request_headers": { "set": [{ "name": "X-Route", "value": "all" }] }
            },
            {
                "path": "/orders/{id}",
                "methods": ["GET"],
                "headers": [{ "name": "X-Beta", "exact": "yes" }],
                "query": [{ "name": "full" }],
                "upstream": "canary"
            },
            {
                "path": "/old/*",
                "answer": { "redirect": { "status": 308, "location": "https://{host}/orders/*" } }
            },
            {
                "path": "/orders/sample",
                "answer": { "respond": {
                    "status": 200,
                    "headers": [{ "name": "Content-Type", "value": "application/json" }],
                    "body": "{\"id\":1}"
                } }
            }
        ],
        "body_bytes_max": 1_048_576,
        "upgrades": ["websocket"],
        "response_headers": { "remove": ["X-Powered-By"] },
        "cors": { "origins": ["https://app.example.com"], "credentials": true, "max_age_s": 600 },
        "log": {
            "sample": 0.1, "errors_always": false, "query": true, "mask_query": ["*_private"],
            "headers": ["X-Tenant", "Authorization"], "mask_headers": ["x-t*"]
        }
    })
}

async fn world() -> World {
    let world = World::empty().await;
    for name in ["origin", "canary"] {
        let upstream = json!({ "name": name, "targets": ["127.0.0.1:9000"] });
        world.post("/v1/upstreams", upstream).await.expect(201);
    }
    world
}

#[tokio::test]
async fn what_was_written_is_shown_again_and_makes_no_difference() {
    let world = world().await;
    world.post("/v1/apis", api()).await.expect(201);
    let shown = world.get("/v1/apis/orders").await.expect(200);
    let written = api();
    for (field, value) in written.as_object().expect("an object") {
        if field != "routes" {
            assert_eq!(&shown[field], value, "{field}");
        }
    }
    for (shown, written) in [
        (0, "rewrite"),
        (1, "upstream"),
        (2, "answer"),
        (3, "answer"),
    ]
    .map(|(at, field)| (&shown["routes"][at][field], &written["routes"][at][field]))
    {
        assert_eq!(shown, written);
    }
    let document = json!({ "apis": [api()] });
    let answer = world.post("/v1/apply", document).await.expect(200);
    assert_eq!(answer["changes"], json!([]));
}

#[tokio::test]
async fn an_api_that_says_nothing_of_it_is_shown_without_it() {
    let world = world().await;
    let plain = json!({ "name": "plain", "upstream": "origin", "routes": [{ "path": "/p/*" }] });
    world.post("/v1/apis", plain).await.expect(201);
    let shown = world.get("/v1/apis/plain").await.expect(200);
    for field in [
        "split",
        "cors",
        "upgrades",
        "version_in",
        "request_headers",
        "log",
    ] {
        assert!(shown.get(field).is_none(), "{field}: {shown}");
    }
    assert!(shown["routes"][0].get("rewrite").is_none(), "{shown}");
}

#[tokio::test]
async fn a_change_of_a_split_is_shown_as_one() {
    let world = world().await;
    world.post("/v1/apis", api()).await.expect(201);
    let mut next = api();
    next["split"][0]["weight"] = json!(50);
    next["split"][1]["weight"] = json!(50);
    let document = json!({ "apis": [next] });
    let answer = world
        .post("/v1/apply?dry_run=true", document)
        .await
        .expect(200);
    let fields = answer["changes"][0]["fields"].as_array().expect("fields");
    assert_eq!(fields.len(), 1, "{answer}");
    assert_eq!(fields[0]["path"], "split", "{answer}");
}

#[tokio::test]
async fn an_upstream_with_a_share_or_a_route_only_is_in_use() {
    let world = world().await;
    world.post("/v1/apis", api()).await.expect(201);
    let refused = world.delete("/v1/upstreams/canary").await.expect(409);
    let detail = refused["detail"].as_str().unwrap_or_default();
    assert!(detail.contains("the API `orders`"), "{refused}");
    let mut without = api();
    without["split"] = json!([]);
    without["split_by"] = Value::Null;
    without["routes"][1]["upstream"] = Value::Null;
    world.put("/v1/apis/orders", without).await.expect(200);
    world.delete("/v1/upstreams/canary").await.expect(200);
}

#[tokio::test]
async fn an_upstream_that_is_not_there_is_told_by_its_place() {
    let world = world().await;
    let mut unknown = api();
    unknown["split"][1]["upstream"] = json!("nowhere");
    unknown["routes"][1]["upstream"] = json!("neither");
    let document = json!({ "apis": [unknown] });
    let refused = world.post("/v1/apply", document).await.expect(422);
    let text = refused.to_string();
    for place in ["apis[0].split[1].upstream", "apis[0].routes[1].upstream"] {
        assert!(text.contains(place), "{text}");
    }
}

#[tokio::test]
async fn what_a_node_would_refuse_is_refused_by_the_apis_name_and_place() {
    let world = world().await;
    for (place, change) in [
        (
            "apis[orders].split",
            json!({ "split": [{ "upstream": "canary", "weight": 1 }] }),
        ),
        ("apis[orders].upgrades[0]", json!({ "upgrades": ["h2c"] })),
        (
            "apis[orders].routes[0].rewrite.path",
            json!({ "routes": [{ "path": "/a/*", "rewrite": { "path": "/b/{id}" } }] }),
        ),
        (
            "apis[orders].request_headers.set[0]",
            json!({ "request_headers": { "set": [{ "name": "Content-Length", "value": "0" }] } }),
        ),
        (
            "apis[orders].response_headers.add[0]",
            json!({ "response_headers": { "add": [{ "name": "X", "value": "a\r\nSet-Cookie: b" }] } }),
        ),
        (
            "apis[orders].routes[0].answer",
            json!({ "routes": [{ "path": "/a", "answer": {
                "redirect": { "status": 301, "location": "https://a.test/\r\nX: y" } } }] }),
        ),
        (
            "apis[orders].routes[0].answer",
            json!({ "routes": [{ "path": "/a", "answer": { "respond": { "status": 99 } } }] }),
        ),
        (
            "apis[orders].cors",
            json!({ "cors": { "origins": ["*"], "credentials": true } }),
        ),
        (
            "apis[orders].log.sample",
            json!({ "log": { "sample": 1.5 } }),
        ),
        (
            "apis[orders].log.headers[1]",
            json!({ "log": { "headers": ["X-A", "x-a"] } }),
        ),
        (
            "apis[orders].log.mask_query: masks nothing",
            json!({ "log": { "mask_query": ["a"] } }),
        ),
        (
            "apis[orders].routes[0].headers[0]",
            json!({ "routes": [{ "path": "/a", "headers": [{ "name": "a b" }] }] }),
        ),
    ] {
        let mut bad = api();
        for (field, value) in change.as_object().expect("an object") {
            bad[field] = value.clone();
        }
        let refused = world.post("/v1/apis", bad).await.expect(422);
        assert!(refused.to_string().contains(place), "{place}: {refused}");
    }
    world.get("/v1/apis/orders").await.expect(404);
}

fn upstream() -> Value {
    json!({
        "name": "pool",
        "targets": ["127.0.0.1:9000", { "address": "127.0.0.1:9001", "weight": 3 }, "unix:/run/app.sock"],
        "connect_timeout_ms": 500,
        "response_timeout_ms": 5000,
        "total_timeout_ms": 8000,
        "host": "orders.internal",
        "balance": { "hash": "key" },
        "connections_max": 64, "waiting_max": 7,
        "tls": { "server_name": "orders.internal", "trust": "internal", "identity": "node" },
        "health": { "path": "/healthz", "host": "orders.internal", "statuses": [200], "interval_ms": 2000,
            "timeout_ms": 500, "healthy_after": 2, "unhealthy_after": 3 },
        "outlier": { "window_ms": 10000, "requests_min": 20, "failure_percent": 50, "eject_ms": 30000,
            "ejected_max_percent": 50 },
        "breaker": { "failures": 5, "open_ms": 1000, "trials": 1 },
        "slow_start_ms": 10000,
        "retry": { "retries": 2, "statuses": [503], "try_timeout_ms": 1000, "budget_percent": 20,
            "budget_min_per_s": 3 }
    })
}

#[tokio::test]
async fn what_was_written_of_an_upstream_is_shown_again() {
    let world = world().await;
    world.post("/v1/upstreams", upstream()).await.expect(201);
    let shown = world.get("/v1/upstreams/pool").await.expect(200);
    let written = upstream();
    for (field, value) in written.as_object().expect("an object") {
        assert_eq!(&shown[field], value, "{field}");
    }
    let plain = world.get("/v1/upstreams/origin").await.expect(200);
    for field in ["retry", "breaker", "tls", "balance", "slow_start_ms"] {
        assert!(plain.get(field).is_none(), "{field}: {plain}");
    }
    let answer = world
        .post("/v1/apply", json!({ "upstreams": [upstream()] }))
        .await
        .expect(200);
    assert_eq!(answer["changes"], json!([]));
}

#[tokio::test]
async fn an_upstream_that_a_node_would_refuse_is_refused_by_its_place() {
    let world = world().await;
    for (place, field, value) in [
        ("targets[0]", "targets", json!(["orders..internal:80"])),
        ("health.interval_ms", "health", json!({ "interval_ms": 10 })),
        ("retry.statuses[0]", "retry", json!({ "statuses": [200] })),
        ("retry.retries", "retry", json!({ "retries": 11 })),
        ("breaker.failures", "breaker", json!({ "failures": 0 })),
        (
            "outlier.failure_percent",
            "outlier",
            json!({ "failure_percent": 101 }),
        ),
        ("tls.trust", "tls", json!({ "trust": "../../etc" })),
        ("host", "host", json!("a b")),
        (
            "targets[0].weight",
            "targets",
            json!([{ "address": "127.0.0.1:1", "weight": 1001 }]),
        ),
    ] {
        let mut bad = upstream();
        bad[field] = value;
        let refused = world.post("/v1/upstreams", bad).await.expect(422);
        assert!(refused.to_string().contains(place), "{place}: {refused}");
    }
}
