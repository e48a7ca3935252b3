//! Every refusal has one form and names the cause and the place.

use crate::world::World;
use axum::body::Body;
use axum::http::{Method, Request, header};
use serde_json::{Value, json};

fn first_fault(problem: &Value) -> (&str, &str) {
    let fault = &problem["errors"][0];
    (
        fault["path"].as_str().expect("a path"),
        fault["problem"].as_str().expect("a problem"),
    )
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let world = World::laid_out().await;
    for path in [
        "/v1/nothing",
        "/v1/keys/",
        "/v1/tenants/nobody",
        "/v1/tenants/acme/apps/none",
        "/v1/keys/key_0000000000001",
        "/v1/plans/none",
        "/v1/apis/none",
        "/v1/upstreams/none",
        "/v1/subscriptions/99",
        "/v1/subscriptions/many",
        "/v1/generations/99999/receipt",
        "/v1/tenants/Not-A-Name",
    ] {
        world.get(path).await.expect_problem(404, "not-found");
    }
    world
        .delete("/v1/tenants/nobody")
        .await
        .expect_problem(404, "not-found");
    world
        .post("/v1/rollback", json!({ "to": 99_999 }))
        .await
        .expect_problem(404, "not-found");
}

#[tokio::test]
async fn a_key_in_the_place_of_its_id_is_not_repeated() {
    let world = World::laid_out().await;
    let (_, secret) = world.key().await;
    let answer = world.delete(&format!("/v1/keys/{secret}")).await;
    assert!(!answer.text.contains(&secret[..12]), "{}", answer.text);
    answer.expect_problem(404, "not-found");
}

#[tokio::test]
async fn a_method_that_is_not_served_names_those_that_are() {
    let world = World::laid_out().await;
    let answer = world.put("/v1/keys", json!({})).await;
    let allow = answer.header("allow").to_owned();
    answer.expect_problem(405, "method-not-allowed");
    for method in ["GET", "POST"] {
        assert!(allow.contains(method), "{allow}");
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused() {
    let world = World::laid_out().await;
    let body = json!({ "name": "x".repeat(2 << 20) });
    world
        .post("/v1/tenants", body)
        .await
        .expect_problem(413, "body-too-large");
}

#[tokio::test]
async fn a_body_of_another_media_type_is_refused() {
    let world = World::laid_out().await;
    for media in [Some("text/plain"), Some("application/x-ndjson"), None] {
        let mut request = world.request(Method::POST, "/v1/tenants");
        if let Some(media) = media {
            request = request.header(header::CONTENT_TYPE, media);
        }
        let request: Request<Body> = request
            .body(Body::from(r#"{"name":"a"}"#))
            .expect("a request");
        world
            .send(request)
            .await
            .expect_problem(415, "media-type-unsupported");
    }
    let request = world
        .request(Method::POST, "/v1/tenants")
        .header(header::CONTENT_TYPE, "application/json; charset=utf-8")
        .body(Body::from(r#"{"name":"a"}"#))
        .expect("a request");
    world.send(request).await.expect(201);
}

#[tokio::test]
async fn a_body_that_is_no_json_is_malformed() {
    let world = World::laid_out().await;
    for body in ["{", "nonsense", "{\"name\":\"a\"}{}", "\u{0}"] {
        let request = world
            .request(Method::POST, "/v1/tenants")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body))
            .expect("a request");
        world.send(request).await.expect_problem(400, "malformed");
    }
}

/// Bodies that cannot be, and the path of the first fault in each.
fn impossible_values() -> Vec<(&'static str, Value, &'static str)> {
    vec![
        ("/v1/tenants", json!({ "name": "Acme" }), "name"),
        (
            "/v1/tenants",
            json!({ "name": "a", "enabeld": true }),
            "enabeld",
        ),
        (
            "/v1/tenants",
            json!({ "name": "a", "enabled": 1 }),
            "enabled",
        ),
        (
            "/v1/upstreams",
            json!({ "name": "u", "targets": ["127.0.0.1:9000", "nowhere"] }),
            "targets[1]",
        ),
        (
            "/v1/apis",
            json!({ "name": "a", "upstream": "origin", "routes": [{ "path": "no-slash" }] }),
            "routes[0].path",
        ),
        (
            "/v1/apis",
            json!({ "name": "a", "upstream": "none", "routes": [{ "path": "/a" }] }),
            "upstream",
        ),
        (
            "/v1/plans",
            json!({ "name": "p", "limits": [{ "name": "l", "requests": 0, "per": "hour" }] }),
            "limits[0].requests",
        ),
        (
            "/v1/plans",
            json!({ "name": "p", "apis": ["none"] }),
            "apis",
        ),
        (
            "/v1/keys",
            json!({ "tenant": "acme", "app": "none" }),
            "app",
        ),
        (
            "/v1/keys",
            json!({ "tenant": "none", "app": "mobile" }),
            "app",
        ),
        (
            "/v1/keys",
            json!({ "tenant": "acme", "app": "mobile", "not_before": "2027-01-01T00:00:00Z",
                "not_after": "2026-01-01T00:00:00Z" }),
            "not_after",
        ),
        (
            "/v1/keys",
            json!({ "tenant": "acme", "app": "mobile", "not_after": "tomorrow" }),
            "not_after",
        ),
        (
            "/v1/subscriptions",
            json!({ "tenant": "acme", "app": "mobile", "api": "orders", "plan": "none",
                "state": "approved" }),
            "plan",
        ),
        ("/v1/rollback", json!({}), ""),
    ]
}

#[tokio::test]
async fn a_value_that_cannot_be_is_named_by_its_path() {
    let world = World::laid_out().await;
    for (path, body, fault) in impossible_values() {
        let problem = world
            .post(path, body.clone())
            .await
            .expect_problem(422, "invalid");
        assert_eq!(first_fault(&problem).0, fault, "{path} {body}: {problem}");
    }
}

#[tokio::test]
async fn a_query_that_is_not_known_is_refused() {
    let world = World::laid_out().await;
    for path in [
        "/v1/keys?stat=active",
        "/v1/keys?state=dead",
        "/v1/keys?app=mobile",
        "/v1/keys?limit=0",
        "/v1/keys?limit=1001",
        "/v1/keys?cursor=abc",
        "/v1/audit?subject_id=acme",
        "/v1/tenants?wait=enforced",
        "/v1/usage?from=yesterday",
    ] {
        world.get(path).await.expect_problem(422, "invalid");
    }
    for path in [
        "/v1/tenants?wait=soon",
        "/v1/tenants?timeout_ms=5",
        "/v1/tenants?wait=enforced&timeout_ms=0",
        "/v1/tenants?wait=enforced&timeout_ms=60001",
    ] {
        world
            .post(path, json!({ "name": "b" }))
            .await
            .expect_problem(422, "invalid");
    }
    world
        .get("/v1/tenants/b")
        .await
        .expect_problem(404, "not-found");
}

#[tokio::test]
async fn what_is_there_or_in_use_is_a_conflict() {
    let world = World::laid_out().await;
    world
        .post("/v1/tenants", json!({ "name": "acme" }))
        .await
        .expect_problem(409, "exists");
    world
        .post("/v1/tenants/acme/apps", json!({ "name": "mobile" }))
        .await
        .expect_problem(409, "exists");
    for path in [
        "/v1/tenants/acme",
        "/v1/upstreams/origin",
        "/v1/apis/orders",
        "/v1/plans/free",
    ] {
        world.delete(path).await.expect_problem(409, "in-use");
    }
}

#[tokio::test]
async fn a_name_does_not_change_with_a_replacement() {
    let world = World::laid_out().await;
    let body = json!({ "name": "other", "targets": ["127.0.0.1:9000"] });
    let problem = world
        .put("/v1/upstreams/origin", body)
        .await
        .expect_problem(422, "invalid");
    assert_eq!(first_fault(&problem).0, "name");
    let body = json!({ "name": "none", "targets": ["127.0.0.1:9000"] });
    world
        .put("/v1/upstreams/none", body)
        .await
        .expect_problem(404, "not-found");
}

#[tokio::test]
async fn a_configuration_that_the_data_plane_would_refuse_does_not_come_to_be() {
    let world = World::laid_out().await;
    let twin = json!({ "name": "twin", "upstream": "origin", "routes": [{ "path": "/orders/*" }] });
    world
        .post("/v1/apis", twin)
        .await
        .expect_problem(422, "configuration-refused");
    world
        .get("/v1/apis/twin")
        .await
        .expect_problem(404, "not-found");
}

#[tokio::test]
async fn a_subscription_goes_its_ways_and_no_others() {
    let world = World::laid_out().await;
    let path = "/v1/subscriptions/1";
    world
        .patch(path, json!({ "state": "requested" }))
        .await
        .expect_problem(409, "transition-refused");
    assert_eq!(
        world
            .patch(path, json!({ "state": "suspended" }))
            .await
            .expect(200)["state"],
        "suspended"
    );
    assert_eq!(
        world
            .patch(path, json!({ "state": "cancelled" }))
            .await
            .expect(200)["state"],
        "cancelled"
    );
    world
        .patch(path, json!({ "state": "approved" }))
        .await
        .expect_problem(409, "transition-refused");
}
