//! Denied by default.

use crate::world::{World, answer_of, text};
use axum::body::Body;
use axum::http::{Request, header};
use keyway_control::admin;
use serde_json::json;

/// A path of each route, its parameters filled in.
fn every_path() -> Vec<(&'static str, String)> {
    let fill = |path: &str| {
        let parts = path.split('/').map(|part| match part {
            "{key}" => "key_0000000000001",
            "{subscription}" | "{generation}" | "{token}" => "1",
            part if part.starts_with('{') => "some",
            part => part,
        });
        parts.collect::<Vec<_>>().join("/")
    };
    let mut paths: Vec<_> = admin::listed()
        .into_iter()
        .map(|(method, path)| (method, fill(path)))
        .collect();
    assert!(
        paths.len() > 40,
        "the walk found only {} routes",
        paths.len()
    );
    // What is no route is refused alike, so that probing learns nothing.
    for (method, path) in [("GET", "/"), ("GET", "/v1/secrets"), ("PUT", "/v1/keys")] {
        paths.push((method, path.to_owned()));
    }
    paths
}

#[tokio::test]
async fn every_route_is_refused_without_a_good_token() {
    let world = World::laid_out().await;
    let almost = format!("Bearer {}0", world.token);
    let twice = format!("Bearer {0}, Bearer {0}", world.token);
    let basic = format!("Basic {}", world.token);
    let bare = world.token.clone();
    let credentials = [
        None,
        Some("Bearer kwa_0000"),
        Some(&almost),
        Some(&twice),
        Some(&basic),
        Some(&bare),
    ];
    let before = world.get("/v1/audit").await.expect(200);
    for (method, path) in every_path() {
        for credential in credentials {
            let mut request = Request::builder().method(method).uri(&path);
            if let Some(credential) = credential {
                request = request.header(header::AUTHORIZATION, credential);
            }
            let request = request.header(header::CONTENT_TYPE, "application/json");
            let answer = answer_of(
                &world.router,
                request.body(Body::from("{}")).expect("a request"),
            )
            .await;
            let shown = format!("{method} {path} with {credential:?}");
            assert!(
                answer.header("www-authenticate").starts_with("Bearer"),
                "{shown}"
            );
            assert_eq!(answer.header("cache-control"), "no-store", "{shown}");
            let body = answer.expect_problem(401, "unauthenticated");
            assert!(!body.to_string().contains(&world.token), "{shown}");
        }
    }
    let after = world.get("/v1/audit").await.expect(200);
    assert_eq!(before, after, "nothing was changed");
}

#[tokio::test]
async fn a_withdrawn_token_opens_nothing_and_the_last_one_stays() {
    let mut world = World::empty().await;
    let made = world
        .post("/v1/tokens", json!({ "label": "ci" }))
        .await
        .expect(201);
    let first = world.get("/v1/tokens").await.expect(200)["items"][0]["number"].clone();
    let (second, secret) = (made["number"].clone(), text(&made["secret"]));
    assert!(secret.starts_with("kwa_"));

    world
        .delete(&format!("/v1/tokens/{first}"))
        .await
        .expect(200);
    world
        .get("/v1/status")
        .await
        .expect_problem(401, "unauthenticated");
    world.token = secret;
    world.get("/v1/status").await.expect(200);
    world
        .delete(&format!("/v1/tokens/{second}"))
        .await
        .expect_problem(409, "in-use");
    let audit = world.get("/v1/audit?subject=token").await.expect(200);
    assert_eq!(audit["items"][0]["actor"], "token:ops");
}
