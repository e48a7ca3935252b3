//! `gateway.yaml`, applied.

use crate::world::World;
use serde_json::{Value, json};

fn document() -> Value {
    json!({
        "upstreams": [{ "name": "origin", "targets": ["127.0.0.1:9000"] }],
        "apis": [
            { "name": "orders", "upstream": "origin", "routes": [{ "path": "/orders/*" }] },
            { "name": "stock", "upstream": "origin", "routes": [{ "path": "/stock/*" }] },
        ],
        "plans": [{ "name": "free", "apis": ["orders"],
            "limits": [{ "name": "burst", "requests": 10, "per": "second", "burst": 20 }] }],
        "tenants": [{ "name": "acme", "apps": [{ "name": "mobile",
            "subscriptions": [{ "api": "orders", "plan": "free" }] }] }],
    })
}

/// `action subject id` of each change.
fn told(answer: &Value) -> Vec<String> {
    let word = |change: &Value, field: &str| change[field].as_str().expect("a word").to_owned();
    let changes = answer["changes"].as_array().expect("changes");
    changes
        .iter()
        .map(|c| {
            format!(
                "{} {} {}",
                word(c, "action"),
                word(c, "subject"),
                word(c, "id")
            )
        })
        .collect()
}

fn left(answer: &Value) -> Vec<&str> {
    let left = answer["left_alone"].as_array().expect("a list");
    left.iter()
        .map(|one| one["id"].as_str().expect("an id"))
        .collect()
}

#[tokio::test]
async fn a_document_is_made_true_and_then_makes_no_difference() {
    let world = World::empty().await;
    let first = world.post("/v1/apply", document()).await.expect(200);
    assert_eq!(
        told(&first),
        [
            "create upstream origin",
            "create api orders",
            "create api stock",
            "create plan free",
            "create tenant acme",
            "create app acme/mobile",
            "create subscription acme/mobile -> orders",
        ]
    );
    let second = world
        .post("/v1/apply?prune=true", document())
        .await
        .expect(200);
    assert_eq!(second["changes"], json!([]));
    assert_eq!(second["left_alone"], json!([]));
    let audit = world.get("/v1/audit").await.expect(200);
    let made = audit["items"].as_array().expect("rows").iter();
    assert_eq!(made.filter(|row| row["actor"] == "token:ops").count(), 7);
}

#[tokio::test]
async fn a_dry_run_shows_the_same_and_changes_nothing() {
    let world = World::empty().await;
    let before = world
        .running
        .store
        .read(|rows| rows.generation())
        .await
        .expect("reads");
    let dry = world
        .post("/v1/apply?dry_run=true", document())
        .await
        .expect(200);
    assert_eq!(dry["dry_run"], true);
    let after = world
        .running
        .store
        .read(|rows| rows.generation())
        .await
        .expect("reads");
    assert_eq!(before, after);
    world
        .get("/v1/tenants/acme")
        .await
        .expect_problem(404, "not-found");
    let wet = world.post("/v1/apply", document()).await.expect(200);
    assert_eq!(dry["changes"], wet["changes"]);
}

#[tokio::test]
async fn a_dry_run_finds_what_the_data_plane_would_refuse() {
    let world = World::empty().await;
    let mut twins = document();
    twins["apis"][1]["routes"][0]["path"] = json!("/orders/*");
    for path in ["/v1/apply?dry_run=true", "/v1/apply"] {
        world
            .post(path, twins.clone())
            .await
            .expect_problem(422, "configuration-refused");
    }
    world
        .get("/v1/upstreams/origin")
        .await
        .expect_problem(404, "not-found");
}

#[tokio::test]
async fn a_changed_field_is_told_from_old_to_new() {
    let world = World::empty().await;
    world.post("/v1/apply", document()).await.expect(200);
    let mut other = document();
    other["plans"][0]["limits"][0]["requests"] = json!(20);
    other["upstreams"][0]["targets"] = json!(["127.0.0.1:9001"]);
    let answer = world.post("/v1/apply", other).await.expect(200);
    assert_eq!(
        told(&answer),
        ["change upstream origin", "change plan free"]
    );
    let limit = &answer["changes"][1]["fields"][0];
    assert_eq!(
        *limit,
        json!({ "path": "limits[burst].requests", "old": 10, "new": 20 })
    );
}

#[tokio::test]
async fn what_is_not_in_the_document_goes_only_when_pruned() {
    let world = World::empty().await;
    world.post("/v1/apply", document()).await.expect(200);
    let mut less = document();
    less["apis"].as_array_mut().expect("a list").remove(1);
    less["tenants"][0]["apps"][0]["subscriptions"] = json!([]);
    let kept = world.post("/v1/apply", less.clone()).await.expect(200);
    assert_eq!(kept["changes"], json!([]));
    assert_eq!(left(&kept), ["stock", "acme/mobile -> orders"]);
    world.get("/v1/apis/stock").await.expect(200);

    let pruned = world.post("/v1/apply?prune=true", less).await.expect(200);
    assert_eq!(
        told(&pruned),
        [
            "remove subscription acme/mobile -> orders",
            "remove api stock"
        ]
    );
    world
        .get("/v1/apis/stock")
        .await
        .expect_problem(404, "not-found");
    assert_eq!(
        world.get("/v1/subscriptions/1").await.expect(200)["state"],
        "cancelled"
    );
}

#[tokio::test]
async fn a_section_that_is_not_there_is_left_alone_even_when_pruned() {
    let world = World::empty().await;
    world.post("/v1/apply", document()).await.expect(200);
    let nothing = world
        .post("/v1/apply?prune=true", json!({}))
        .await
        .expect(200);
    assert_eq!(
        (&nothing["changes"], &nothing["left_alone"]),
        (&json!([]), &json!([]))
    );
    let tenants = world
        .post("/v1/apply?prune=true", json!({ "tenants": [] }))
        .await
        .expect(200);
    assert_eq!(
        told(&tenants),
        ["remove app acme/mobile", "remove tenant acme"]
    );
    world.get("/v1/apis/orders").await.expect(200);
}

#[tokio::test]
async fn an_app_with_keys_is_never_pruned() {
    let world = World::empty().await;
    world.post("/v1/apply", document()).await.expect(200);
    let (id, _) = world.key().await;
    let mut without = document();
    without["tenants"][0]["apps"] = json!([]);
    for gone in [without, json!({ "tenants": [] })] {
        let answer = world.post("/v1/apply?prune=true", gone).await.expect(200);
        assert_eq!(answer["changes"], json!([]));
        let reason = answer["left_alone"][0]["reason"]
            .as_str()
            .expect("a reason");
        assert!(reason.contains("revoke them first"), "{answer}");
    }
    assert_eq!(
        world.get(&format!("/v1/keys/{id}")).await.expect(200)["state"],
        "active"
    );
    world.delete(&format!("/v1/keys/{id}")).await.expect(200);
    let answer = world
        .post("/v1/apply?prune=true", json!({ "tenants": [] }))
        .await
        .expect(200);
    assert_eq!(
        told(&answer),
        ["remove app acme/mobile", "remove tenant acme"]
    );
}

#[tokio::test]
async fn what_an_operator_switched_stays_unless_the_document_says_otherwise() {
    let world = World::empty().await;
    world.post("/v1/apply", document()).await.expect(200);
    let off = json!({ "enabled": false });
    world
        .patch("/v1/tenants/acme", off.clone())
        .await
        .expect(200);
    world
        .patch("/v1/tenants/acme/apps/mobile", off)
        .await
        .expect(200);
    world
        .patch("/v1/subscriptions/1", json!({ "state": "suspended" }))
        .await
        .expect(200);
    let same = world.post("/v1/apply", document()).await.expect(200);
    assert_eq!(same["changes"], json!([]));
    let mut loud = document();
    loud["tenants"][0]["enabled"] = json!(true);
    loud["tenants"][0]["apps"][0]["enabled"] = json!(true);
    loud["tenants"][0]["apps"][0]["subscriptions"][0]["state"] = json!("approved");
    let answer = world.post("/v1/apply", loud).await.expect(200);
    assert_eq!(
        told(&answer),
        [
            "change tenant acme",
            "change app acme/mobile",
            "change subscription acme/mobile -> orders"
        ]
    );
}

#[tokio::test]
async fn names_that_point_nowhere_are_all_told_with_their_places() {
    let world = World::empty().await;
    let mut slips = document();
    slips["apis"][0]["upstream"] = json!("nowhere");
    slips["plans"][0]["apis"] = json!(["stock", "no-api"]);
    let problem = world
        .post("/v1/apply", slips)
        .await
        .expect_problem(422, "invalid");
    let faults = problem["errors"].as_array().expect("faults").iter();
    let paths: Vec<&str> = faults
        .map(|fault| fault["path"].as_str().expect("a path"))
        .collect();
    assert_eq!(
        paths,
        [
            "apis[0].upstream",
            "plans[0].apis",
            "tenants[0].apps[0].subscriptions[0].plan"
        ]
    );
    world
        .post("/v1/apply", json!({ "apiz": [] }))
        .await
        .expect_problem(422, "invalid");
}

#[tokio::test]
async fn a_route_moves_from_one_api_to_another_in_one_document() {
    let world = World::empty().await;
    world.post("/v1/apply", document()).await.expect(200);
    let mut swapped = document();
    swapped["apis"][0]["routes"][0]["path"] = json!("/stock/*");
    swapped["apis"][1]["routes"][0]["path"] = json!("/orders/*");
    let answer = world.post("/v1/apply", swapped).await.expect(200);
    assert_eq!(told(&answer), ["change api orders", "change api stock"]);
}

#[tokio::test]
async fn a_document_refers_to_what_is_in_the_store_already() {
    let world = World::empty().await;
    world.post("/v1/apply", document()).await.expect(200);
    let tenant = json!({ "tenants": [{ "name": "beta", "apps": [{ "name": "web",
        "subscriptions": [{ "api": "orders", "plan": "free", "state": "suspended" }] }] }] });
    let answer = world.post("/v1/apply", tenant.clone()).await.expect(200);
    assert_eq!(answer["changes"].as_array().map(Vec::len), Some(3));
    let list = world.get("/v1/subscriptions?tenant=beta").await.expect(200);
    assert_eq!(list["items"][0]["state"], "suspended");
    let again = world.post("/v1/apply", tenant).await.expect(200);
    assert_eq!(again["changes"], json!([]));
}
