//! The life of a key.

use crate::world::{ObedientNode, World, text};
use keyway::authenticate::key_form::{Form, is_ours};
use serde_json::{Value, json};

#[tokio::test]
async fn a_key_is_shown_once_and_never_again() {
    let world = World::laid_out().await;
    let made = world
        .post("/v1/keys", json!({ "tenant": "acme", "app": "mobile" }))
        .await;
    let made = made.expect(201);
    let (id, secret) = (text(&made["id"]), text(&made["secret"]));
    assert_eq!(is_ours(secret.as_bytes()), Form::Native);
    assert!(secret.starts_with("kw_live_"));
    assert_eq!(made["secret_withheld"], false);

    let random = &secret["kw_live_".len()..];
    for path in [
        "/v1/keys".to_owned(),
        format!("/v1/keys/{id}"),
        "/v1/audit".to_owned(),
        "/v1/status".to_owned(),
    ] {
        let answer = world.get(&path).await;
        assert!(!answer.text.contains(random), "{path} shows the key");
        answer.expect(200);
    }
    let files = files_below(world.directory.path());
    assert!(!files.is_empty());
    for file in files {
        let bytes = std::fs::read(&file).unwrap_or_default();
        let found = bytes
            .windows(random.len())
            .any(|window| window == random.as_bytes());
        assert!(!found, "{} holds the key", file.display());
    }
}

fn files_below(directory: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).expect("a directory").flatten() {
        let path = entry.path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else if path.is_file() {
            files.push(path);
        }
    }
    files
}

#[tokio::test]
async fn a_key_has_the_validity_and_attributes_that_were_asked_for() {
    let world = World::laid_out().await;
    let body = json!({
        "tenant": "acme", "app": "mobile", "environment": "test",
        "not_before": "2026-01-01T00:00:00Z", "not_after": "2027-01-01T02:00:00+02:00",
        "attributes": { "name": "ios", "tier": 2, "beta": true },
    });
    let made = world.post("/v1/keys", body).await.expect(201);
    assert!(text(&made["secret"]).starts_with("kw_test_"));
    let shown = world
        .get(&format!("/v1/keys/{}", text(&made["id"])))
        .await
        .expect(200);
    assert_eq!(shown["not_before"], "2026-01-01T00:00:00Z");
    assert_eq!(shown["not_after"], "2027-01-01T00:00:00Z");
    assert_eq!(
        shown["attributes"],
        json!({ "name": "ios", "tier": 2, "beta": true })
    );
    assert_eq!(
        (&shown["tenant"], &shown["app"]),
        (&json!("acme"), &json!("mobile"))
    );
    assert_eq!(
        (&shown["state"], &shown["origin"]),
        (&json!("active"), &json!("issued"))
    );
}

#[tokio::test]
async fn a_patch_changes_what_it_names_and_nothing_else() {
    let world = World::laid_out().await;
    let body = json!({
        "tenant": "acme", "app": "mobile", "not_before": "2026-01-01T00:00:00Z",
        "attributes": { "name": "ios", "tier": 2 },
    });
    let made = world.post("/v1/keys", body).await.expect(201);
    let path = format!("/v1/keys/{}", text(&made["id"]));

    let patch =
        json!({ "not_after": "2027-01-01T00:00:00Z", "attributes": { "tier": null, "x": 1 } });
    let patched = world.patch(&path, patch).await.expect(200);
    assert_eq!(patched["not_before"], "2026-01-01T00:00:00Z");
    assert_eq!(patched["not_after"], "2027-01-01T00:00:00Z");
    assert_eq!(patched["attributes"], json!({ "name": "ios", "x": 1 }));

    let patched = world
        .patch(&path, json!({ "not_before": null }))
        .await
        .expect(200);
    assert_eq!(patched["not_before"], Value::Null);
    assert_eq!(patched["not_after"], "2027-01-01T00:00:00Z");

    let backwards = json!({ "not_before": "2028-01-01T00:00:00Z" });
    world
        .patch(&path, backwards)
        .await
        .expect_problem(422, "invalid");
    world
        .patch(&path, json!({ "state": "active" }))
        .await
        .expect_problem(422, "invalid");
    let many: serde_json::Map<String, Value> =
        (0..33).map(|n| (format!("a{n}"), json!(n))).collect();
    let problem = world.patch(&path, json!({ "attributes": many })).await;
    assert_eq!(
        problem.expect_problem(422, "invalid")["errors"][0]["path"],
        "attributes"
    );
    assert_eq!(
        world.get(&path).await.expect(200)["attributes"],
        json!({ "name": "ios", "x": 1 })
    );
}

#[tokio::test]
async fn a_key_is_switched_off_and_on_until_it_is_revoked() {
    let world = World::laid_out().await;
    let (id, _) = world.key().await;
    let path = format!("/v1/keys/{id}");
    let post = |action: &str| format!("{path}/{action}");
    assert_eq!(
        world.post(&post("disable"), json!({})).await.expect(200)["state"],
        "disabled"
    );
    assert_eq!(
        world.post(&post("enable"), json!({})).await.expect(200)["state"],
        "active"
    );

    let revoked = world.delete(&path).await.expect(200);
    assert_eq!(revoked["state"], "revoked");
    assert!(revoked["revoked_at"].is_string());
    let again = world.delete(&path).await.expect(200);
    assert_eq!(
        again["revoked_at"], revoked["revoked_at"],
        "a revocation is final"
    );

    for action in ["disable", "enable"] {
        world
            .post(&post(action), json!({}))
            .await
            .expect_problem(409, "key-revoked");
    }
    world
        .post(&post("rotate"), json!({ "grace_s": 0 }))
        .await
        .expect_problem(409, "key-revoked");
    world
        .patch(&path, json!({ "not_after": null }))
        .await
        .expect_problem(409, "key-revoked");
    assert_eq!(world.get(&path).await.expect(200)["state"], "revoked");
}

#[tokio::test]
async fn a_rotation_makes_a_new_key_and_ends_the_old_one_after_its_grace() {
    let world = World::laid_out().await;
    let (id, secret) = world.key().await;
    let path = format!("/v1/keys/{id}/rotate");
    let rotated = world
        .post(&path, json!({ "grace_s": 3_600 }))
        .await
        .expect(201);
    assert_ne!(text(&rotated["secret"]), secret);
    assert_eq!(rotated["rotated_from"], id);
    assert_eq!(rotated["not_after"], Value::Null);
    assert_eq!(rotated["replaces"]["id"], id);
    assert!(rotated["replaces"]["not_after"].is_string());
    assert_eq!(rotated["replaces"]["state"], "active");

    world
        .post(&path, json!({}))
        .await
        .expect_problem(422, "invalid");
    let too_long = json!({ "grace_s": 40_000_000 });
    let problem = world
        .post(&path, too_long)
        .await
        .expect_problem(422, "invalid");
    assert_eq!(problem["errors"][0]["path"], "grace_s");
}

#[tokio::test]
async fn a_change_that_is_waited_for_answers_with_who_serves_it() {
    let world = World::laid_out().await;
    let _node = ObedientNode::connect(&world.running.socket, "edge-1").await;
    let made = world
        .post(
            "/v1/keys?wait=enforced",
            json!({ "tenant": "acme", "app": "mobile" }),
        )
        .await
        .expect(201);
    let path = format!("/v1/keys/{}", text(&made["id"]));
    for answer in [
        world
            .post(&format!("{path}/disable?wait=enforced"), json!({}))
            .await,
        world
            .patch(
                &format!("{path}?wait=enforced"),
                json!({ "attributes": { "a": 1 } }),
            )
            .await,
        world
            .delete(&format!("{path}?wait=enforced&timeout_ms=60000"))
            .await,
    ] {
        let answer = answer.expect(200);
        let receipt = &answer["receipt"];
        assert_eq!(receipt["complete"], true, "{answer}");
        let generation = receipt["generation"].as_u64().expect("a number");
        assert!(generation >= answer["generation"].as_u64().expect("a number"));
        assert_eq!(receipt["nodes"][0]["node"], "edge-1");
        assert_eq!(receipt["nodes"][0]["workers"], 2);
        assert!(receipt["nodes"][0]["generation"].as_u64() >= Some(generation));
        assert!(receipt["elapsed_ms"].is_u64());
    }
    let unasked = world.post(&format!("{path}/enable"), json!({})).await;
    unasked.expect_problem(409, "key-revoked");
}

#[tokio::test]
async fn a_receipt_without_any_node_proves_nothing_and_the_change_is_kept() {
    let world = World::laid_out().await;
    let (id, _) = world.key().await;
    let path = format!("/v1/keys/{id}?wait=enforced&timeout_ms=50");
    let answer = world.delete(&path).await.expect(200);
    assert_eq!(answer["receipt"]["complete"], false);
    assert_eq!(answer["state"], "revoked");
    let shown = world.get(&format!("/v1/keys/{id}")).await.expect(200);
    assert_eq!(shown["state"], "revoked");
    assert!(shown.get("receipt").is_none());
}
