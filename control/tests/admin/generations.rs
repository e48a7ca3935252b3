//! Publishing, stepping back, and who serves what.

use crate::world::{Answer, ObedientNode, World};
use keyway::link::protocol::NodeMessage;
use keyway::record::UsageRow;
use keyway_control::fixture::FakeNode;
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
    let row = |key: Option<keyway::snapshot::KeyId>, class| UsageRow {
        key,
        api: 1,
        class,
        requests: 3,
        bytes_in: 30,
        bytes_out: 300,
    };
    let rows = vec![row(Some(key), 2), row(None, 4)];
    node.say(&NodeMessage::Usage {
        boot: 7,
        sequence: 1,
        rows,
    })
    .await;
    while !matches!(
        node.hear().await,
        Some(keyway::link::protocol::ControlMessage::UsageAck { .. })
    ) {}
    let usage = world
        .get(&format!("/v1/usage?key={id}&api=orders"))
        .await
        .expect(200);
    let bucket = &usage["items"][0];
    assert_eq!(usage["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(
        (&bucket["api"], &bucket["requests"]),
        (&json!("orders"), &json!(3))
    );
    assert_eq!(bucket["class"], 2);
    assert!(world.get(&format!("/v1/keys/{id}")).await.expect(200)["last_used_at"].is_string());
    let all = world.get("/v1/usage").await.expect(200);
    assert_eq!(all["items"].as_array().map(Vec::len), Some(2));
    world
        .get("/v1/usage?until=2020-01-01T00:00:00Z")
        .await
        .expect(200);
    world
        .get("/v1/usage?api=none")
        .await
        .expect_problem(422, "invalid");
}
