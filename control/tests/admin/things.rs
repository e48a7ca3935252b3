//! Tenants, apps, plans, APIs, upstreams and subscriptions: made, shown, changed, deleted.

use crate::world::World;
use serde_json::json;

#[tokio::test]
async fn a_tenant_and_its_apps_come_and_go() {
    let world = World::empty().await;
    let tenant = world
        .post("/v1/tenants", json!({ "name": "acme" }))
        .await
        .expect(201);
    assert_eq!(
        (&tenant["name"], &tenant["enabled"]),
        (&json!("acme"), &json!(true))
    );
    assert!(
        tenant["created_at"]
            .as_str()
            .is_some_and(|at| at.ends_with('Z'))
    );
    let app = world
        .post("/v1/tenants/acme/apps", json!({ "name": "mobile" }))
        .await
        .expect(201);
    assert_eq!(
        (&app["tenant"], &app["name"]),
        (&json!("acme"), &json!("mobile"))
    );

    let off = json!({ "enabled": false });
    let path = "/v1/tenants/acme/apps/mobile";
    assert_eq!(
        world
            .patch("/v1/tenants/acme", off.clone())
            .await
            .expect(200)["enabled"],
        false
    );
    assert_eq!(world.patch(path, off).await.expect(200)["enabled"], false);
    assert_eq!(
        world.get("/v1/apps").await.expect(200)["items"][0]["enabled"],
        false
    );
    assert_eq!(
        world.get("/v1/tenants/acme/apps").await.expect(200)["items"][0]["name"],
        "mobile"
    );

    world.delete(path).await.expect(200);
    world.get(path).await.expect_problem(404, "not-found");
    world.delete("/v1/tenants/acme").await.expect(200);
    world
        .get("/v1/tenants/acme")
        .await
        .expect_problem(404, "not-found");
}

#[tokio::test]
async fn an_app_that_goes_takes_its_keys_along() {
    let world = World::laid_out().await;
    let (id, _) = world.key().await;
    world
        .delete("/v1/tenants/acme/apps/mobile")
        .await
        .expect(200);
    let key = world.get(&format!("/v1/keys/{id}")).await.expect(200);
    assert_eq!(key["state"], "revoked");
}

#[tokio::test]
async fn what_is_replaced_is_shown_as_it_was_sent() {
    let world = World::laid_out().await;
    let upstream = json!({ "name": "origin", "targets": ["127.0.0.1:9001", "[::1]:9001"],
        "connect_timeout_ms": 5, "response_timeout_ms": 6 });
    let api = json!({ "name": "orders", "version": "v2", "hosts": ["api.example.com"],
        "upstream": "origin", "routes": [{ "path": "/o/{id}", "methods": ["GET"] }],
        "credential": { "header": "x-key", "query": null }, "key_required": false });
    let plan = json!({ "name": "free", "apis": ["orders"],
        "limits": [{ "name": "burst", "requests": 7, "per": "hour", "burst": 9 }] });
    for (path, sent) in [
        ("/v1/upstreams/origin", upstream),
        ("/v1/apis/orders", api),
        ("/v1/plans/free", plan),
    ] {
        world.put(path, sent.clone()).await.expect(200);
        let mut shown = world.get(path).await.expect(200);
        let number = shown
            .as_object_mut()
            .and_then(|shown| shown.remove("number"));
        assert_eq!(number, Some(json!(1)));
        assert_eq!(shown, sent, "{path}");
    }
}

#[tokio::test]
async fn a_replacement_by_the_same_changes_nothing() {
    let world = World::laid_out().await;
    let same = json!({ "name": "origin", "targets": ["127.0.0.1:9000"] });
    world.put("/v1/upstreams/origin", same).await.expect(200);
    let path = "/v1/audit?subject=upstream&subject_id=origin";
    let audit = world.get(path).await.expect(200);
    assert_eq!(audit["items"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn what_nobody_uses_can_be_deleted() {
    let world = World::laid_out().await;
    world
        .patch("/v1/subscriptions/1", json!({ "state": "cancelled" }))
        .await
        .expect(200);
    for path in ["/v1/plans/free", "/v1/apis/orders", "/v1/upstreams/origin"] {
        world.delete(path).await.expect(200);
        world.get(path).await.expect_problem(404, "not-found");
    }
}

#[tokio::test]
async fn a_subscription_is_requested_approved_and_moved() {
    let world = World::laid_out().await;
    world
        .post("/v1/tenants/acme/apps", json!({ "name": "web" }))
        .await
        .expect(201);
    let limits = json!([{ "name": "burst", "requests": 100, "per": "second" }]);
    let paid = json!({ "name": "paid", "apis": ["orders"], "limits": limits });
    world.post("/v1/plans", paid).await.expect(201);
    world
        .post("/v1/plans", json!({ "name": "bare" }))
        .await
        .expect(201);
    let body = json!({ "tenant": "acme", "app": "web", "api": "orders", "plan": "free",
        "state": "requested" });
    let made = world
        .post("/v1/subscriptions", body.clone())
        .await
        .expect(201);
    world
        .post("/v1/subscriptions", body)
        .await
        .expect_problem(409, "exists");
    let path = format!("/v1/subscriptions/{}", made["number"]);
    let moved = world
        .patch(&path, json!({ "plan": "paid", "state": "approved" }))
        .await;
    let moved = moved.expect(200);
    assert_eq!(
        (&moved["plan"], &moved["state"]),
        (&json!("paid"), &json!("approved"))
    );
    let problem = world
        .patch(&path, json!({ "plan": "bare" }))
        .await
        .expect_problem(422, "invalid");
    assert_eq!(problem["errors"][0]["path"], "plan");
    for (query, expected) in [
        ("?tenant=acme", 2),
        ("?tenant=acme&app=web", 1),
        ("?api=orders&state=approved", 2),
        ("?state=suspended", 0),
    ] {
        let list = world
            .get(&format!("/v1/subscriptions{query}"))
            .await
            .expect(200);
        assert_eq!(
            list["items"].as_array().map(Vec::len),
            Some(expected),
            "{query}"
        );
    }
}
