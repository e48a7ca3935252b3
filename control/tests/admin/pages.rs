//! Lists are read page by page.

use crate::world::{World, text};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Every row of a list, read in pages of `limit`.
async fn all(world: &World, path: &str, limit: u32) -> (Vec<Value>, usize) {
    let joint = if path.contains('?') { '&' } else { '?' };
    let (mut items, mut pages, mut cursor) = (Vec::new(), 0, String::new());
    loop {
        let page = world
            .get(&format!("{path}{joint}limit={limit}{cursor}"))
            .await
            .expect(200);
        items.extend(page["items"].as_array().expect("items").clone());
        pages += 1;
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return (items, pages),
        }
    }
}

#[tokio::test]
async fn pages_neither_repeat_nor_skip_while_rows_are_added() {
    let world = World::empty().await;
    for n in 0..25 {
        world
            .post("/v1/tenants", json!({ "name": format!("t{n}") }))
            .await
            .expect(201);
    }
    let (tenants, pages) = all(&world, "/v1/tenants", 10).await;
    assert_eq!((tenants.len(), pages), (25, 3));
    let names: BTreeSet<String> = tenants.iter().map(|tenant| text(&tenant["name"])).collect();
    assert_eq!(names.len(), 25);

    let first = world.get("/v1/tenants?limit=10").await.expect(200);
    world
        .post("/v1/tenants", json!({ "name": "late" }))
        .await
        .expect(201);
    let cursor = text(&first["next_cursor"]);
    let second = world
        .get(&format!("/v1/tenants?limit=10&cursor={cursor}"))
        .await
        .expect(200);
    assert_eq!(second["items"][0]["name"], "t10");
}

#[tokio::test]
async fn a_page_that_is_exactly_full_is_followed_by_none() {
    let world = World::empty().await;
    for n in 0..4 {
        world
            .post("/v1/tenants", json!({ "name": format!("t{n}") }))
            .await
            .expect(201);
    }
    let (tenants, pages) = all(&world, "/v1/tenants", 2).await;
    assert_eq!((tenants.len(), pages), (4, 2));
}

#[tokio::test]
async fn keys_are_filtered_by_tenant_app_state_and_environment() {
    let world = World::laid_out().await;
    world
        .post("/v1/tenants/acme/apps", json!({ "name": "web" }))
        .await
        .expect(201);
    world
        .post("/v1/tenants", json!({ "name": "other" }))
        .await
        .expect(201);
    world
        .post("/v1/tenants/other/apps", json!({ "name": "mobile" }))
        .await
        .expect(201);
    let key = |tenant: &str, app: &str, environment: &str| json!({ "tenant": tenant, "app": app, "environment": environment });
    for body in [
        key("acme", "mobile", "live"),
        key("acme", "mobile", "test"),
        key("acme", "web", "live"),
        key("other", "mobile", "live"),
    ] {
        world.post("/v1/keys", body).await.expect(201);
    }
    let newest = text(&all(&world, "/v1/keys", 100).await.0[3]["id"]);
    world
        .post(&format!("/v1/keys/{newest}/disable"), json!({}))
        .await
        .expect(200);
    for (query, expected) in [
        ("", 4),
        ("?tenant=acme", 3),
        ("?tenant=acme&app=mobile", 2),
        ("?tenant=acme&app=mobile&environment=test", 1),
        ("?environment=live", 3),
        ("?state=disabled", 1),
        ("?state=active&environment=live", 2),
        ("?state=revoked", 0),
    ] {
        let (keys, _) = all(&world, &format!("/v1/keys{query}"), 1).await;
        assert_eq!(keys.len(), expected, "{query}");
    }
    world
        .get("/v1/keys?tenant=nobody")
        .await
        .expect_problem(422, "invalid");
    world
        .get("/v1/keys?tenant=acme&app=none")
        .await
        .expect_problem(422, "invalid");
}

#[tokio::test]
async fn the_audit_log_is_read_newest_first() {
    let world = World::laid_out().await;
    let (id, _) = world.key().await;
    world.delete(&format!("/v1/keys/{id}")).await.expect(200);
    let (entries, _) = all(&world, &format!("/v1/audit?subject=key&subject_id={id}"), 1).await;
    let actions: Vec<String> = entries.iter().map(|entry| text(&entry["action"])).collect();
    assert_eq!(actions, ["revoke", "create"]);
    let revoked = &entries[0];
    assert_eq!(revoked["before"]["state"], "active");
    assert_eq!(revoked["after"]["state"], "revoked");
    assert_eq!(revoked["actor"], "token:ops");
    let (everything, _) = all(&world, "/v1/audit", 3).await;
    let numbers: Vec<u64> = everything
        .iter()
        .map(|entry| entry["number"].as_u64().expect("a number"))
        .collect();
    assert!(numbers.is_sorted_by(|a, b| a > b), "{numbers:?}");
}
