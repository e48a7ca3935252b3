//! Keys made elsewhere.

use crate::world::{Answer, World, text};
use axum::body::Body;
use axum::http::{Method, header};
use serde_json::{Value, json};

async fn import_lines(world: &World, body: String) -> Answer {
    let request = world
        .request(Method::POST, "/v1/keys/import")
        .header(header::CONTENT_TYPE, "application/x-ndjson")
        .body(Body::from(body))
        .expect("a request");
    world.send(request).await
}

fn plain(n: u32) -> Value {
    json!({ "tenant": "acme", "app": "mobile", "key": format!("sk-0123456789abcdef-{n}") })
}

fn lines(keys: impl IntoIterator<Item = Value>) -> String {
    keys.into_iter().map(|key| format!("{key}\n")).collect()
}

#[tokio::test]
async fn keys_come_in_as_lines_or_as_a_list_in_both_forms() {
    let world = World::laid_out().await;
    let hashed = json!({ "tenant": "acme", "app": "mobile", "sha256": "ab".repeat(32),
        "environment": "test", "attributes": { "from": "legacy" } });
    let first = import_lines(&world, lines([plain(1), hashed.clone()]))
        .await
        .expect(200);
    assert_eq!(
        (&first["created"], &first["existing"]),
        (&json!(2), &json!(0))
    );

    let second = world
        .post("/v1/keys/import", json!([plain(1), plain(2)]))
        .await
        .expect(200);
    assert_eq!(
        (&second["created"], &second["existing"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(
        second["keys"][0]["id"], first["keys"][0]["id"],
        "the same key, the same id"
    );
    assert_eq!(second["keys"][0]["created"], false);

    let id = text(&first["keys"][1]["id"]);
    let shown = world.get(&format!("/v1/keys/{id}")).await.expect(200);
    assert_eq!(
        (&shown["origin"], &shown["environment"]),
        (&json!("imported_sha256"), &json!("test"))
    );
    assert_eq!(shown["attributes"]["from"], "legacy");
}

#[tokio::test]
async fn a_faulty_import_takes_nothing_in_and_names_each_fault() {
    let world = World::laid_out().await;
    let cases = [
        (
            json!({ "tenant": "acme", "app": "mobile", "key": "short" }),
            "[1].key",
        ),
        (
            json!({ "tenant": "acme", "app": "mobile", "sha256": "xyz" }),
            "[1].sha256",
        ),
        (json!({ "tenant": "acme", "app": "mobile" }), "[1]"),
        (
            json!({ "tenant": "acme", "app": "mobile", "key": "a".repeat(20), "sha256": "ab".repeat(32) }),
            "[1]",
        ),
        (
            json!({ "tenant": "acme", "app": "none", "key": "a".repeat(20) }),
            "[1].app",
        ),
        (
            json!({ "tenant": "acme", "app": "mobile", "kee": 1 }),
            "[1].kee",
        ),
    ];
    for (bad, path) in cases {
        for answer in [
            import_lines(&world, lines([plain(1), bad.clone()])).await,
            world.post("/v1/keys/import", json!([plain(1), bad])).await,
        ] {
            let problem = answer.expect_problem(422, "invalid");
            assert_eq!(problem["errors"][0]["path"], path, "{bad}: {problem}");
        }
    }
    let keys = world.get("/v1/keys").await.expect(200);
    assert_eq!(keys["items"], json!([]));
}

#[tokio::test]
async fn a_refused_import_does_not_repeat_the_keys() {
    let world = World::laid_out().await;
    let secret = "kw_live_0000000000000000000000000000_000000";
    let bad = json!({ "tenant": "acme", "app": "mobile", "key": secret });
    let answer = import_lines(&world, lines([bad])).await;
    assert!(!answer.text.contains(secret), "{}", answer.text);
    answer.expect_problem(422, "invalid");
}

#[tokio::test]
async fn more_than_ten_thousand_keys_are_refused_at_once() {
    let world = World::laid_out().await;
    let answer = import_lines(&world, lines((0..10_001).map(plain))).await;
    answer.expect_problem(422, "invalid");
}
