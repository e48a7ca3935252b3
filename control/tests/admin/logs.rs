//! Looking for calls in the nodes' logs, with nodes that say what a test has them say.

use crate::world::World;
use axum::body::Body;
use axum::http::{Method, StatusCode};
use keyway::link::protocol::{ControlMessage, NodeMessage};
use keyway_control::fixture::FakeNode;
use serde_json::{Value, json};
use tower::ServiceExt;

fn line(second: u32, path: &str) -> String {
    json!({ "time": format!("2026-11-21T08:00:{second:02}.000Z"), "path": path, "status": 200 })
        .to_string()
}

fn lines(id: u64, lines: &[String], caught_up: bool) -> NodeMessage {
    NodeMessage::LogLines {
        id,
        lines: lines.to_vec(),
        missed: 0,
        caught_up,
    }
}

fn done(id: u64, error: Option<&str>) -> NodeMessage {
    NodeMessage::LogDone {
        id,
        error: error.map(str::to_owned),
        scanned_bytes: 7,
        complete: true,
    }
}

/// Waits until the node is asked; the search's number.
async fn asked(node: &mut FakeNode) -> u64 {
    loop {
        if let ControlMessage::SearchLog { id, .. } = node.hear().await.expect("control speaks") {
            return id;
        }
    }
}

async fn stopped(node: &mut FakeNode, id: u64) {
    while node.hear().await.expect("control speaks") != (ControlMessage::StopLog { id }) {}
}

/// A node that control knows of.
async fn node(world: &World, name: &str, boot: u64) -> FakeNode {
    let mut node = FakeNode::connect(&world.running.socket, name, boot, 0).await;
    node.announced(1).await;
    node
}

#[tokio::test]
async fn lines_of_all_nodes_stand_in_order_of_time_and_a_failed_node_is_named() {
    let world = World::laid_out().await;
    let mut first = node(&world, "edge-1", 1).await;
    let mut second = node(&world, "edge-2", 2).await;
    let mut third = node(&world, "edge-3", 3).await;
    let nodes = async {
        let id = asked(&mut first).await;
        first
            .say(&lines(id, &[line(1, "/a"), line(4, "/d")], false))
            .await;
        first.say(&done(id, None)).await;
        let id = asked(&mut second).await;
        let odd = ["not JSON".to_owned(), "{\"time\":1}".to_owned()];
        second.say(&lines(id, &odd, false)).await;
        second
            .say(&lines(id, &[line(2, "/b"), line(3, "/c")], false))
            .await;
        second.say(&done(id, None)).await;
        let id = asked(&mut third).await;
        third.say(&done(id, Some("it writes no call log"))).await;
        stopped(&mut third, id).await;
    };
    let (answer, ()) = tokio::join!(world.get("/v1/logs?limit=3&status=2xx"), nodes);
    let page = answer.expect(200);
    let paths: Vec<&Value> = page["items"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|i| &i["path"])
        .collect();
    assert_eq!(paths, ["/b", "/c", "/d"], "{page}");
    assert_eq!(page["items"][0]["node"], "edge-2");
    assert_eq!(
        page["nodes"][0],
        json!({ "node": "edge-1", "scanned_bytes": 7, "complete": true, "error": null })
    );
    assert_eq!(page["nodes"][2]["error"], "it writes no call log");
}

#[tokio::test]
async fn nobody_to_ask_and_nobody_who_answers_are_problems_that_say_so() {
    let world = World::laid_out().await;
    let nobody = world.get("/v1/logs").await.expect(503);
    assert_eq!(nobody["code"], "nodes-absent");
    let mut mute = node(&world, "mute", 1).await;
    let late = world.get("/v1/logs?timeout_ms=50").await.expect(502);
    assert_eq!(late["code"], "nodes-failed");
    assert!(
        late["detail"]
            .as_str()
            .expect("text")
            .contains("mute: it did not answer in time")
    );
    let id = asked(&mut mute).await;
    stopped(&mut mute, id).await;
    let (answer, ()) = tokio::join!(world.get("/v1/logs"), async {
        asked(&mut mute).await;
        drop(mute);
    });
    let gone = answer.expect(502);
    assert!(
        gone["detail"]
            .as_str()
            .expect("text")
            .contains("mute: it left meanwhile")
    );
}

#[tokio::test]
async fn what_cannot_be_looked_for_is_refused_before_a_node_hears_of_it() {
    let world = World::laid_out().await;
    let long = format!("path={}", "a".repeat(3_000));
    for (query, field) in [
        ("status=600", "status"),
        ("status=xx", "status"),
        ("client=here", "client"),
        ("method=", "method"),
        ("limit=0", "limit"),
        ("limit=10001", "limit"),
        ("timeout_ms=0", "timeout_ms"),
        (
            "since=2026-11-21T08:00:00Z&until=2026-11-21T08:00:00Z",
            "until",
        ),
        (&long, "path"),
        ("app=%22%7D", "query"),
        ("shell=rm", "query"),
    ] {
        let problem = world.get(&format!("/v1/logs?{query}")).await.expect(422);
        assert_eq!(problem["errors"][0]["path"], field, "{query}: {problem}");
    }
}

#[tokio::test]
async fn a_follower_hears_lines_as_they_come_and_nodes_hear_of_its_end() {
    let world = World::laid_out().await;
    let mut first = node(&world, "edge-1", 1).await;
    let request = world
        .request(Method::GET, "/v1/logs?follow=true&limit=5")
        .body(Body::empty())
        .expect("a request");
    let asked_for = async {
        let id = asked(&mut first).await;
        first.say(&lines(id, &[line(1, "/old")], true)).await;
        id
    };
    let (answer, id) = tokio::join!(world.router.clone().oneshot(request), asked_for);
    let answer = answer.expect("never fails");
    assert_eq!(answer.status(), StatusCode::OK);
    let mut body = answer.into_body();
    assert_eq!(next(&mut body).await[0]["path"], "/old");
    first.say(&lines(id, &[line(2, "/new")], false)).await;
    let told = next(&mut body).await;
    assert_eq!(
        (&told[0]["path"], &told[0]["node"]),
        (&json!("/new"), &json!("edge-1"))
    );
    let missed = NodeMessage::LogLines {
        id,
        lines: vec![line(3, "/later")],
        missed: 12,
        caught_up: false,
    };
    first.say(&missed).await;
    let told = next(&mut body).await;
    assert_eq!(
        told[0],
        json!({ "notice": "missed", "node": "edge-1", "lines": 12 })
    );
    assert_eq!(told[1]["path"], "/later");
    // A node that comes meanwhile is followed too.
    let mut second = node(&world, "edge-2", 2).await;
    assert_eq!(next(&mut body).await[0]["notice"], "joined");
    let id = asked(&mut second).await;
    drop(body);
    stopped(&mut first, id).await;
    stopped(&mut second, id).await;
}

/// The next lines of a streaming answer.
async fn next(body: &mut Body) -> Vec<Value> {
    let frame = http_body_util::BodyExt::frame(body)
        .await
        .expect("goes on")
        .expect("is read");
    let data = frame.into_data().expect("lines");
    let text = std::str::from_utf8(&data).expect("text");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}
