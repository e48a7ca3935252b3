//! Publishing, stepping back, and who serves what.

use crate::world::{Answer, ObedientNode, World};
use keyway_control::fixture::FakeNode;
use keyway_control::fixture::{message, segment, this_minute};
use serde_json::json;

#[tokio::test]
async fn a_publish_is_listed_and_proven() {
    let world = World::laid_out().await;
    let _node = ObedientNode::connect(&world.running.socket, "edge-1").await;
    let published = world
        .post("/v1/publish?wait=enforced", json!({ "full": true }))
        .await
        .expect(200);
    assert_eq!(published["receipt"]["complete"], true, "{published}");
    assert_eq!(
        published["base"], published["generation"],
        "a full one is a base"
    );
    let listed = world.get("/v1/generations").await.expect(200);
    assert_eq!(listed["items"][0]["generation"], published["generation"]);
    // It is in force before it is noted as done.
    let noted = |answer: &Answer| answer.body["items"][0]["done_at"].is_string();
    world.until("/v1/generations", noted).await;
    let path = format!("/v1/generations/{}/receipt", published["generation"]);
    let receipt = world.get(&path).await.expect(200);
    assert_eq!(receipt["complete"], true);
    let status = world.get("/v1/status").await.expect(200);
    assert_eq!(status["published"]["generation"], published["generation"]);
    assert_eq!(status["nodes"][0]["node"], "edge-1");
    assert_eq!(status["totals"]["tenants"], 1);
}

#[tokio::test]
async fn a_rollback_steps_the_configuration_back_and_says_that_it_is_held() {
    let world = World::laid_out().await;
    let before = world.post("/v1/publish", json!({})).await.expect(200);
    let other = json!({ "name": "origin", "targets": ["127.0.0.1:9001"] });
    world.put("/v1/upstreams/origin", other).await.expect(200);
    world.post("/v1/publish", json!({})).await.expect(200);
    let back = world
        .post("/v1/rollback", json!({ "to": before["generation"] }))
        .await
        .expect(200);
    assert_eq!(back["configuration"], before["configuration"]);
    assert!(back["generation"].as_u64() > before["generation"].as_u64());
    let held = world.get("/v1/status").await.expect(200)["held_configuration"].clone();
    assert_eq!(held, before["configuration"]);
    world.post("/v1/publish", json!({})).await.expect(200);
    assert!(world.get("/v1/status").await.expect(200)["held_configuration"].is_null());
}

#[tokio::test]
async fn an_empty_store_is_not_published_unless_told_to() {
    let world = World::empty().await;
    world
        .post("/v1/publish", json!({}))
        .await
        .expect_problem(409, "publish-refused");
    world
        .post("/v1/publish", json!({ "allow_shrink": true }))
        .await
        .expect(200);
}

#[tokio::test]
async fn what_nodes_reported_is_listed_by_name() {
    let world = World::laid_out().await;
    let (id, _) = world.key().await;
    let key: keyway::snapshot::KeyId = id.parse().expect("an id");
    let mut node = FakeNode::connect(&world.running.socket, "edge-1", 7, 0).await;
    let now = this_minute();
    let counts = [(now, Some(key), 2, 3), (now, None, 4, 3)];
    node.say(&message(&segment(7, 1, &counts))).await;
    while !matches!(
        node.hear().await,
        Some(keyway::link::protocol::ControlMessage::SegmentAck { .. })
    ) {}
    let usage = world
        .get(&format!("/v1/usage?key={id}&api=orders&by=app&step=hour"))
        .await
        .expect(200);
    let sum = &usage["items"][0];
    assert_eq!(usage["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(
        (&sum["subject"], &sum["requests"], &sum["by_class"]["2xx"]),
        (&json!("acme/mobile"), &json!(3), &json!(3))
    );
    assert_eq!((&sum["p50_us"], &sum["errors"]), (&json!(1_023), &json!(0)));
    assert!(world.get(&format!("/v1/keys/{id}")).await.expect(200)["last_used_at"].is_string());
    let all = world.get("/v1/usage?by=key").await.expect(200);
    assert_eq!(all["items"].as_array().map(Vec::len), Some(2));
    let none = world
        .get("/v1/usage?to=2020-01-01T00:00:00Z")
        .await
        .expect(200);
    assert_eq!(none["items"], json!([]));
    let top = world
        .get("/v1/usage/top?by=route&order=errors")
        .await
        .expect(200);
    assert_eq!(top["items"][0]["subject"], "orders GET /orders/*");
    assert_eq!(top["items"][0]["refusals"], json!({ "limit": 3 }));
    for (query, code) in [
        ("/v1/usage?api=none", 422),
        ("/v1/usage?app=mobile", 422),
        (
            "/v1/usage?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z",
            422,
        ),
        ("/v1/usage/top?limit=0", 422),
    ] {
        world.get(query).await.expect_problem(code, "invalid");
    }
}

#[tokio::test]
async fn usage_is_billed_by_subscription_with_the_price_of_its_plan() {
    let world = World::laid_out().await;
    let (id, _) = world.key().await;
    let plan = json!({ "name": "free", "apis": ["orders"], "limits": [],
        "price": { "currency": "EUR", "base_micro": 5_000_000, "included_requests": 10,
            "per_request_micro": 250 } });
    world.put("/v1/plans/free", plan).await.expect(200);
    let mut node = FakeNode::connect(&world.running.socket, "edge-1", 7, 0).await;
    let key = Some(id.parse().expect("an id"));
    // Refused requests are not paid for.
    let minute = 29_717_000;
    let counts = [
        (minute, key, 2, 30),
        (minute, key, 4, 7),
        (minute, key, 5, 2),
    ];
    node.say(&message(&segment(7, 1, &counts))).await;
    while !matches!(
        node.hear().await,
        Some(keyway::link::protocol::ControlMessage::SegmentAck { .. })
    ) {}
    let period = "from=2026-07-01T00:00:00Z&to=2026-08-01T00:00:00Z";
    let path = format!("/v1/usage/export?{period}&format=json");
    let bill = world.get(&path).await.expect(200);
    assert_eq!(bill["months"], 1);
    let row = &bill["rows"][0];
    assert_eq!(
        (&row["requests"], &row["billable_requests"]),
        (&json!(39), &json!(30))
    );
    assert_eq!(row["amount_micro"], "5005000");
    let rebuilt = json!({ "from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z" });
    let rebuilt = world.post("/v1/usage/rebuild", rebuilt).await.expect(200);
    assert_eq!(
        rebuilt["segments"], 0,
        "of days before the oldest segment nothing is known"
    );
}
