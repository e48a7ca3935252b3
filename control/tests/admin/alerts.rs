//! Alert rules: when they go off, for whom, what they do, and when that is over.

use crate::world::World;
use keyway::clock::WallTime;
use keyway::record::segment::{RefusedClient, Segment};
use keyway::snapshot::KeyId;
use keyway_control::alerts::evaluate_once;
use keyway_control::fixture::{change, segment, this_minute};
use serde_json::{Value, json};

const MINUTE_MS: u64 = 60_000;

impl World {
    /// Counts a segment of usage.
    async fn count(&self, segment: Segment) {
        let body = segment.encode();
        let added = change(&self.running.store, move |tx| tx.usage_add(&segment, &body));
        added.await.expect("adds up");
    }

    /// Looks at all rules as of the end of a minute.
    async fn look(&self, minute: u32) {
        let now = WallTime((u64::from(minute) + 1) * MINUTE_MS - 1);
        evaluate_once(&self.running.store, now)
            .await
            .expect("looks at the rules");
    }

    async fn rule(&self, rule: Value) {
        self.post("/v1/alert-rules", rule).await.expect(201);
    }

    async fn alerts(&self, query: &str) -> Vec<Value> {
        let listed = self.get(&format!("/v1/alerts{query}")).await.expect(200);
        listed["items"].as_array().expect("a list").clone()
    }
}

fn id(text: &str) -> KeyId {
    text.parse().expect("an id")
}

#[tokio::test]
async fn a_rule_goes_off_once_for_each_subject_and_is_over_when_it_is_quiet() {
    let world = World::laid_out().await;
    let key = world.key().await.0;
    let now = this_minute();
    world
        .rule(
            json!({ "name": "errors", "when": "errors", "by": "app", "above_share": 0.05,
            "window_minutes": 5 }),
        )
        .await;
    let counted = |sequence, errors| {
        segment(
            1,
            sequence,
            &[
                (now, Some(id(&key)), 2, 100),
                (now, Some(id(&key)), 5, errors),
            ],
        )
    };
    world.count(counted(1, 5)).await;
    world.look(now).await;
    assert_eq!(world.alerts("").await, Vec::<Value>::new(), "5 of 105");

    world.count(counted(2, 50)).await;
    world.look(now).await;
    world.look(now).await;
    let alerts = world.alerts("?state=firing").await;
    assert_eq!(alerts.len(), 1, "{alerts:?}");
    assert_eq!(alerts[0]["subject"], "acme/mobile");
    assert_eq!(
        (&alerts[0]["value"], &alerts[0]["total"]),
        (&json!(55), &json!(255))
    );

    world.look(now + 4).await;
    assert_eq!(
        world.alerts("?state=firing").await.len(),
        1,
        "in the window"
    );
    world.look(now + 5).await;
    world.look(now + 6).await;
    assert!(world.alerts("?state=firing").await.is_empty());
    let over = world.alerts("?state=resolved&rule=errors").await;
    assert!(over[0]["ended_at"].is_string(), "{over:?}");
}

#[tokio::test]
async fn a_burst_of_401_is_told_by_key_and_by_address() {
    let world = World::laid_out().await;
    let key = world.key().await.0;
    let now = this_minute();
    for by in ["key", "address", "all"] {
        let name = format!("burst-{by}");
        world
            .rule(json!({ "name": name, "when": "unauthorized", "by": by, "above": 9 }))
            .await;
    }
    let mut refused = segment(1, 1, &[(now, Some(id(&key)), 4, 10), (now, None, 4, 7)]);
    refused.refusals = vec!["key_expired".to_owned()];
    refused.refused_clients = vec![
        RefusedClient {
            minute: now,
            client: "192.0.2.7".parse().expect("an address"),
            unauthorized: 12,
        },
        RefusedClient {
            minute: now,
            client: "192.0.2.8".parse().expect("an address"),
            unauthorized: 5,
        },
    ];
    world.count(refused).await;
    // Refused for another cause: no 401.
    world
        .count(segment(1, 2, &[(now, Some(id(&key)), 4, 100)]))
        .await;
    world.look(now).await;
    let subjects: Vec<(Value, Value)> = world
        .alerts("")
        .await
        .iter()
        .map(|alert| (alert["subject"].clone(), alert["value"].clone()))
        .collect();
    assert_eq!(
        subjects,
        [
            (json!(null), json!(17)),
            (json!("192.0.2.7"), json!(12)),
            (json!(key), json!(10)),
        ]
    );
}

#[tokio::test]
async fn a_rule_disables_a_key_by_itself_and_no_more_than_it_may() {
    let world = World::laid_out().await;
    let (first, second) = (world.key().await.0, world.key().await.0);
    let now = this_minute();
    world
        .rule(
            json!({ "name": "stolen", "when": "refusals", "cause": "limit", "by": "key",
            "above": 10, "disable_key": true, "disable_max": 1 }),
        )
        .await;
    let counts = [
        (now, Some(id(&first)), 4, 20),
        (now, Some(id(&second)), 4, 15),
    ];
    world.count(segment(1, 1, &counts)).await;
    world.look(now).await;

    let asked = &world;
    let state = |key: String| async move {
        let key = asked.get(&format!("/v1/keys/{key}")).await.expect(200);
        key["state"].clone()
    };
    assert_eq!(state(first.clone()).await, "disabled");
    assert_eq!(
        state(second).await,
        "active",
        "a rule must not become an outage"
    );
    let actions: Vec<Value> = world
        .alerts("")
        .await
        .iter()
        .map(|alert| alert["action"].clone())
        .collect();
    assert_eq!(actions, ["too_many_disabled", "key_disabled"]);
    let audit = format!("/v1/audit?subject=key&subject_id={first}");
    let rows = world.get(&audit).await.expect(200);
    let row = &rows["items"][0];
    assert_eq!(
        (&row["action"], &row["actor"]),
        (&json!("disable"), &json!("alert:stolen"))
    );

    // Whoever switches it on again knows of the alert that lasts: it is not switched off again.
    world
        .post(&format!("/v1/keys/{first}/enable"), json!({}))
        .await
        .expect(200);
    world.look(now + 1).await;
    assert_eq!(state(first).await, "active");
}

#[tokio::test]
async fn a_quota_is_told_of_at_each_of_its_levels() {
    let world = World::laid_out().await;
    let key = world.key().await.0;
    let now = this_minute();
    let plan = json!({ "name": "free", "apis": ["orders"], "limits": [
        { "name": "monthly", "requests": 10, "calendar": "month", "zone": "Europe/Berlin" },
        { "name": "daily", "subject": "app", "requests": 1000, "calendar": "day" }
    ]});
    world.put("/v1/plans/free", plan).await.expect(200);
    world
        .rule(json!({ "name": "quota", "when": "quota" }))
        .await;
    world
        .count(segment(1, 1, &[(now, Some(id(&key)), 2, 7)]))
        .await;
    // What the gateway refused was not taken from the quota.
    world
        .count(segment(1, 2, &[(now, Some(id(&key)), 4, 100)]))
        .await;
    world.look(now).await;
    assert!(world.alerts("").await.is_empty());

    let mut levels = Vec::new();
    for (sequence, requests) in [(3, 1), (4, 2)] {
        let counts = [(now, Some(id(&key)), 2, requests)];
        world.count(segment(1, sequence, &counts)).await;
        world.look(now).await;
        let newest = world.alerts("").await[0].clone();
        assert_eq!(newest["subject"], key);
        assert_eq!(newest["quota"], "plan free: monthly");
        levels.push((newest["percent"].clone(), newest["value"].clone()));
    }
    assert_eq!(levels, [(json!(80), json!(8)), (json!(100), json!(10))]);
    assert_eq!(world.alerts("").await.len(), 2);

    let unlimited = json!({ "unlimited": true });
    world
        .patch(&format!("/v1/keys/{key}"), unlimited)
        .await
        .expect(200);
    world.look(now + 2).await;
    assert!(world.alerts("?state=firing").await.is_empty());
}

#[tokio::test]
async fn a_rule_is_made_changed_and_deleted_like_everything_else() {
    let world = World::laid_out().await;
    let now = this_minute();
    let rule = json!({ "name": "refused", "when": "refusals", "by": "all", "above": 1,
        "window_minutes": 5 });
    world.rule(rule.clone()).await;
    world
        .post("/v1/alert-rules", rule.clone())
        .await
        .expect_problem(409, "exists");
    assert_eq!(world.get("/v1/alert-rules/refused").await.expect(200), rule);
    let mut told = rule.clone();
    told["webhooks"] = json!(["nobody"]);
    let problem = world.put("/v1/alert-rules/refused", told).await;
    let problem = problem.expect_problem(422, "invalid");
    assert_eq!(problem["errors"][0]["path"], "webhooks", "{problem}");
    let mut wrong = rule.clone();
    wrong["window_minutes"] = json!(0);
    let problem = world.put("/v1/alert-rules/refused", wrong).await;
    let problem = problem.expect_problem(422, "invalid");
    assert_eq!(problem["errors"][0]["path"], "window_minutes", "{problem}");

    world.count(segment(1, 1, &[(now, None, 4, 9)])).await;
    world.look(now).await;
    assert_eq!(world.alerts("?state=firing").await.len(), 1);
    world.delete("/v1/alert-rules/refused").await.expect(200);
    assert!(world.alerts("?state=firing").await.is_empty(), "it ended");
    assert_eq!(world.alerts("?rule=refused").await.len(), 1, "and is known");
}

#[tokio::test]
async fn rules_are_applied_from_a_file() {
    let world = World::laid_out().await;
    let document = |webhooks: Value| {
        json!({ "alert_rules": [
            { "name": "errors", "when": "errors", "above": 10, "webhooks": webhooks },
            { "name": "quota", "when": "quota" }
        ]})
    };
    let refused = world.post("/v1/apply", document(json!(["ops"]))).await;
    let refused = refused.expect_problem(422, "invalid");
    assert_eq!(refused["errors"][0]["path"], "alert_rules[0].webhooks");
    let webhook = json!({ "name": "ops", "url": "http://127.0.0.1:9/" });
    world.post("/v1/webhooks", webhook).await.expect(201);
    world
        .post("/v1/apply", document(json!(["ops"])))
        .await
        .expect(200);
    let again = world
        .post("/v1/apply", document(json!(["ops"])))
        .await
        .expect(200);
    assert_eq!(again["changes"], json!([]), "nothing is left to do");
    world
        .delete("/v1/webhooks/ops")
        .await
        .expect_problem(409, "in-use");
    world
        .post("/v1/apply?prune=true", json!({ "alert_rules": [] }))
        .await
        .expect(200);
    let rules = world.get("/v1/alert-rules").await.expect(200);
    assert_eq!(rules["items"], json!([]));
    world.delete("/v1/webhooks/ops").await.expect(200);
}
