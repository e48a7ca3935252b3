//! The dashboard and the alert rules speak of metrics that there are.

mod support;

use std::collections::BTreeSet;

use keyway::record::counters::REFUSALS;
use support::{Gateway, Origin, World};

const DASHBOARD: &str = include_str!("../scripts/monitoring/grafana.json");
const ALERTS: &str = include_str!("../scripts/monitoring/alerts.yaml");

/// Names of metrics in a text.
fn names(text: &str) -> BTreeSet<String> {
    let word = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
    // Control's are held to what it tells by its own tests.
    let ours = |name: &&str| {
        (name.starts_with("keyway_") && !name.starts_with("keyway_control_"))
            || name.starts_with("process_")
    };
    text.split(word).filter(ours).map(str::to_owned).collect()
}

/// The name of the family that a sample is of.
fn family(name: &str) -> &str {
    let parts = ["_bucket", "_sum", "_count"];
    let of_histogram = parts.iter().find_map(|part| name.strip_suffix(part));
    match of_histogram {
        Some(family) if family.ends_with("_seconds") => family,
        _ => name,
    }
}

#[test]
fn every_metric_of_the_dashboard_and_the_alerts_is_told_by_a_node() {
    let origin = Origin::echo();
    let world = World::before(&[origin.address]).with(|world| {
        // Whose check makes the node tell of targets.
        let check = serde_json::json!({ "path": "/health" });
        world.upstream().health = serde_json::from_value(check).expect("a check");
    });
    let gateway = Gateway::over(world).start();
    gateway.get().assert_status(200);
    let page = gateway.metrics().text;
    let told: BTreeSet<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .collect();
    assert!(told.len() > 40, "{told:?}");
    for (file, text) in [("grafana.json", DASHBOARD), ("alerts.yaml", ALERTS)] {
        let spoken_of = names(text);
        assert!(spoken_of.len() > 10, "{file}: {spoken_of:?}");
        for name in &spoken_of {
            assert!(told.contains(family(name)), "{file} speaks of {name}");
        }
    }
}

#[test]
fn the_dashboard_is_json_and_every_panel_asks_something() {
    let dashboard: serde_json::Value = serde_json::from_str(DASHBOARD).expect("is JSON");
    let panels = dashboard["panels"].as_array().expect("has panels");
    let asking = panels.iter().filter(|panel| panel["type"] != "row");
    for panel in asking {
        let targets = panel["targets"].as_array().expect("has targets");
        assert!(!targets.is_empty(), "{}", panel["title"]);
        for target in targets {
            let expression = target["expr"].as_str().expect("is an expression");
            let asks = expression.contains("keyway_control_") || !names(expression).is_empty();
            assert!(asks, "{expression}");
            let (open, close) = (expression.matches('('), expression.matches(')'));
            assert_eq!(open.count(), close.count(), "{expression}");
        }
    }
}

#[test]
fn causes_that_alerts_speak_of_are_causes_of_refusals() {
    let causes: BTreeSet<&str> = REFUSALS.iter().map(|one| one.face().label).collect();
    let mut found = 0;
    for part in ALERTS.split("cause=").skip(1) {
        let quoted = part.split('"').nth(1).expect("is quoted");
        for cause in quoted.split('|') {
            assert!(causes.contains(cause), "{cause} is no cause: {causes:?}");
            found += 1;
        }
    }
    assert!(found >= 3);
}
