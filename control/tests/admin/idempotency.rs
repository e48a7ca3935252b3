//! A POST with an `Idempotency-Key` is carried out once.

use crate::world::{Answer, World, text};
use axum::http::Method;
use serde_json::{Value, json};

async fn post_once(world: &World, path: &str, body: Value, key: &str) -> Answer {
    world
        .ask_with(Method::POST, path, Some(body), &[("Idempotency-Key", key)])
        .await
}

#[tokio::test]
async fn the_same_request_is_answered_again_and_not_carried_out_again() {
    let world = World::empty().await;
    let body = json!({ "name": "acme" });
    let first = post_once(&world, "/v1/tenants", body.clone(), "k1").await;
    assert_eq!(first.header("idempotent-replayed"), "");
    let again = post_once(&world, "/v1/tenants", body.clone(), "k1").await;
    assert_eq!(again.header("idempotent-replayed"), "true");
    assert_eq!(first.status, again.status);
    assert_eq!(first.body["name"], again.body["name"]);
    assert_eq!(first.body["number"], again.body["number"]);
    post_once(&world, "/v1/tenants", body, "k2")
        .await
        .expect_problem(409, "exists");
    let audit = world.get("/v1/audit?subject=tenant").await.expect(200);
    assert_eq!(audit["items"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn another_request_under_the_same_key_is_refused() {
    let world = World::empty().await;
    post_once(&world, "/v1/tenants", json!({ "name": "a" }), "k1")
        .await
        .expect(201);
    for (path, body) in [
        ("/v1/tenants", json!({ "name": "b" })),
        (
            "/v1/tenants?wait=enforced&timeout_ms=1",
            json!({ "name": "a" }),
        ),
        ("/v1/tokens", json!({ "label": "a" })),
    ] {
        post_once(&world, path, body, "k1")
            .await
            .expect_problem(422, "idempotency-key-reused");
    }
    post_once(&world, "/v1/tenants", json!({ "name": "c" }), "bad key")
        .await
        .expect_problem(400, "malformed");
}

#[tokio::test]
async fn a_refused_request_may_be_mended_under_the_same_key() {
    let world = World::empty().await;
    post_once(&world, "/v1/tenants", json!({ "name": "Bad" }), "k1")
        .await
        .expect_problem(422, "invalid");
    post_once(&world, "/v1/tenants", json!({ "name": "good" }), "k1")
        .await
        .expect(201);
}

#[tokio::test]
async fn a_replay_answers_the_key_without_its_secret_and_says_so() {
    let world = World::laid_out().await;
    let body = json!({ "tenant": "acme", "app": "mobile" });
    let first = post_once(&world, "/v1/keys", body.clone(), "k1")
        .await
        .expect(201);
    let again = post_once(&world, "/v1/keys", body, "k1").await.expect(201);
    assert_eq!(first["id"], again["id"]);
    assert!(first["secret"].is_string());
    assert_eq!(
        (&again["secret"], &again["secret_withheld"]),
        (&Value::Null, &json!(true))
    );
    let keys = world.get("/v1/keys").await.expect(200);
    assert_eq!(keys["items"].as_array().map(Vec::len), Some(1));

    let path = format!("/v1/keys/{}/rotate", text(&first["id"]));
    let first = post_once(&world, &path, json!({ "grace_s": 60 }), "k2")
        .await
        .expect(201);
    let again = post_once(&world, &path, json!({ "grace_s": 60 }), "k2")
        .await
        .expect(201);
    assert_eq!(
        (&first["id"], &again["secret"]),
        (&again["id"], &Value::Null)
    );
    assert_eq!(first["replaces"], again["replaces"]);
}

#[tokio::test]
async fn each_token_has_keys_of_its_own() {
    let mut world = World::empty().await;
    let made = world
        .post("/v1/tokens", json!({ "label": "ci" }))
        .await
        .expect(201);
    post_once(&world, "/v1/tenants", json!({ "name": "a" }), "k1")
        .await
        .expect(201);
    world.token = text(&made["secret"]);
    post_once(&world, "/v1/tenants", json!({ "name": "b" }), "k1")
        .await
        .expect(201);
}

#[tokio::test]
async fn a_request_whose_twin_is_under_way_is_told_to_come_again() {
    let world = World::laid_out().await;
    let (router, token) = (world.router.clone(), world.token.clone());
    // Nobody proves anything here, so the first one waits for its whole minute.
    let path = "/v1/tenants?wait=enforced&timeout_ms=60000";
    let slow = tokio::spawn(async move {
        let request = axum::http::Request::builder()
            .method(Method::POST)
            .uri(path)
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json")
            .header("idempotency-key", "k1")
            .body(axum::body::Body::from(r#"{"name":"slow"}"#))
            .expect("a request");
        crate::world::answer_of(&router, request).await
    });
    let there = |answer: &Answer| answer.status.as_u16() == 200;
    world.until("/v1/tenants/slow", there).await;
    let body = json!({ "name": "slow" });
    let busy = post_once(&world, path, body.clone(), "k1").await;
    assert_eq!(busy.header("retry-after"), "1");
    busy.expect_problem(409, "idempotency-key-busy");
    slow.abort();
    assert!(slow.await.expect_err("ended").is_cancelled());
    let path = "/v1/tenants/slow";
    assert_eq!(world.get(path).await.expect(200)["name"], "slow");
    post_once(&world, "/v1/tenants", body, "k1")
        .await
        .expect_problem(422, "idempotency-key-reused");
}

#[tokio::test]
async fn a_publication_is_not_repeated_either() {
    let world = World::laid_out().await;
    let first = post_once(&world, "/v1/publish", json!({ "full": true }), "k1")
        .await
        .expect(200);
    let again = post_once(&world, "/v1/publish", json!({ "full": true }), "k1").await;
    assert_eq!(again.header("idempotent-replayed"), "true");
    assert_eq!(first, again.expect(200));
    let third = world
        .post("/v1/publish", json!({ "full": true }))
        .await
        .expect(200);
    assert!(third["generation"].as_u64() > first["generation"].as_u64());
}
