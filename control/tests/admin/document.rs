//! The OpenAPI document tells the truth about the router, and is the one that was reviewed.

use crate::world::World;
use keyway_control::admin;
use serde_json::Value;
use std::collections::BTreeSet;

const REVIEWED: &str = include_str!("../../openapi.json");

fn document() -> Value {
    serde_json::to_value(admin::openapi::document()).expect("JSON")
}

#[test]
fn the_document_names_every_route_and_no_other() {
    let routes: BTreeSet<(String, String)> = admin::listed()
        .into_iter()
        .map(|(method, path)| (method.to_lowercase(), path.to_owned()))
        .collect();
    let document = document();
    let mut documented = BTreeSet::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for method in item.as_object().expect("operations").keys() {
            documented.insert((method.clone(), path.clone()));
        }
    }
    assert_eq!(documented, routes);
}

/// To renew the file after a change that is meant:
/// `KEYWAY_RENEW=1 cargo test -p keyway-control --test admin document`, then look at its diff.
#[test]
fn the_document_is_the_one_that_was_reviewed() {
    let mut now = serde_json::to_string_pretty(&document()).expect("JSON");
    now.push('\n');
    if std::env::var_os("KEYWAY_RENEW").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
        std::fs::write(path, &now).expect("the file is written");
        return;
    }
    let differs = now
        .lines()
        .zip(REVIEWED.lines())
        .position(|(now, reviewed)| now != reviewed);
    assert!(
        now == REVIEWED,
        "the document differs from control/openapi.json from line {} on; if that is meant, run \
         KEYWAY_RENEW=1 cargo test -p keyway-control --test admin document",
        differs.unwrap_or_else(|| REVIEWED.lines().count()) + 1
    );
}

#[test]
fn every_reference_of_the_document_points_somewhere() {
    let document = document();
    let mut references = Vec::new();
    collect(&document, &mut references);
    assert!(references.len() > 50);
    for reference in references {
        let path = reference
            .strip_prefix('#')
            .expect("a reference into this document");
        assert!(
            document.pointer(path).is_some(),
            "{reference} points nowhere"
        );
    }
}

fn collect(value: &Value, references: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match (name.as_str(), value) {
                    ("$ref", Value::String(reference)) => references.push(reference.clone()),
                    _ => collect(value, references),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, references)),
        _ => {}
    }
}

#[test]
fn every_operation_says_how_it_is_refused_and_every_post_how_it_is_repeated() {
    let document = document();
    assert_eq!(document["openapi"], "3.1.0");
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            let shown = format!("{method} {path}");
            let refused = &operation["responses"]["default"]["content"];
            assert!(refused["application/problem+json"].is_object(), "{shown}");
            assert!(
                operation["summary"].as_str().is_some_and(|s| !s.is_empty()),
                "{shown}"
            );
            let parameters = operation["parameters"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            let repeatable = parameters
                .iter()
                .any(|one| one["name"] == "idempotency-key");
            assert_eq!(repeatable, method == "post", "{shown}");
        }
    }
}

#[test]
fn every_operation_has_a_name_of_its_own() {
    let document = document();
    let mut names = BTreeSet::new();
    for item in document["paths"].as_object().expect("paths").values() {
        for operation in item.as_object().expect("operations").values() {
            let name = operation["operationId"]
                .as_str()
                .expect("a name")
                .to_owned();
            assert!(names.insert(name.clone()), "{name} names two operations");
        }
    }
}

/// The example of an operation's body.
fn example_of(document: &Value, method: &str, path: &str) -> Value {
    let content = &document["paths"][path][method]["requestBody"]["content"]["application/json"];
    let found = match content.get("example") {
        Some(example) => Some(example),
        None => {
            let reference = content["schema"]["$ref"]
                .as_str()
                .and_then(|r| r.strip_prefix('#'));
            reference
                .and_then(|pointer| document.pointer(pointer))
                .map(|schema| &schema["example"])
        }
    };
    let example = found.filter(|example| example.is_object());
    example
        .unwrap_or_else(|| panic!("{method} {path} has no example"))
        .clone()
}

#[tokio::test]
async fn the_examples_work_in_the_order_of_a_first_day() {
    let world = World::empty().await;
    let document = document();
    let mut key = String::new();
    for (method, path, expected) in [
        ("post", "/v1/upstreams", 201),
        ("put", "/v1/upstreams/{upstream}", 200),
        ("post", "/v1/apis", 201),
        ("put", "/v1/apis/{api}", 200),
        ("post", "/v1/plans", 201),
        ("put", "/v1/plans/{plan}", 200),
        ("post", "/v1/tenants", 201),
        ("post", "/v1/tenants/{tenant}/apps", 201),
        ("post", "/v1/subscriptions", 201),
        ("patch", "/v1/subscriptions/{subscription}", 200),
        ("post", "/v1/keys", 201),
        ("patch", "/v1/keys/{key}", 200),
        ("post", "/v1/keys/{key}/rotate", 201),
        ("patch", "/v1/tenants/{tenant}/apps/{app}", 200),
        ("patch", "/v1/tenants/{tenant}", 200),
        ("post", "/v1/tokens", 201),
        ("post", "/v1/publish", 200),
        ("post", "/v1/apply", 200),
    ] {
        let filled = path
            .replace("{upstream}", "orders-origin")
            .replace("{api}", "orders")
            .replace("{plan}", "free")
            .replace("{tenant}", "acme")
            .replace("{app}", "mobile")
            .replace("{subscription}", "1")
            .replace("{key}", &key);
        let verb = method.to_uppercase().parse().expect("a method");
        let body = example_of(&document, method, path);
        let answer = world.ask(verb, &filled, Some(body)).await.expect(expected);
        if path == "/v1/keys" {
            key = crate::world::text(&answer["id"]);
        }
    }
}

#[tokio::test]
async fn the_document_is_served() {
    let world = World::empty().await;
    assert_eq!(world.get("/v1/openapi.json").await.expect(200), document());
}
