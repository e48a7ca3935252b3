//! The demo, checked: real requests, and a table of what was expected and what was seen.

use crate::demo::Keys;
use crate::gateway::Gateway;
use crate::http::{Answer, Connection};
use crate::keys::mint;
use crate::trouble::{Outcome, Trouble};

/// Requests a minute that plan `free` of the example allows.
const FREE_PER_MINUTE: usize = 5;

/// Longest time until control has what the node counted.
const SHIPPED_WITHIN: std::time::Duration = std::time::Duration::from_secs(20);

/// One row of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// What was asked.
    pub what: &'static str,
    /// What should come.
    pub expected: String,
    /// What came.
    pub seen: String,
}

impl Row {
    /// Whether it came as expected.
    pub fn ok(&self) -> bool {
        self.expected == self.seen
    }
}

/// Sends every request and returns the rows; the gateway's control is stopped by the end.
///
/// # Errors
/// When a connection breaks or a command fails: that is no row but the end.
pub async fn check(gateway: &mut Gateway, keys: &Keys) -> Outcome<Vec<Row>> {
    let mut rows = Vec::new();
    let mut client = Connection::open(gateway.node.address).await?;
    let partner = Some(keys.partner.secret.as_str());
    let free = Some(keys.free.secret.as_str());

    rows.push(through_the_origin(
        "good key",
        &client.get("/orders/42", partner).await?,
    ));
    let wrong = mint(1)?.concat();
    for (what, target, key, expected) in [
        ("no key", "/orders/42", None, "401 key-missing"),
        (
            "wrong key",
            "/orders/42",
            Some(wrong.as_str()),
            "401 key-refused",
        ),
        (
            "path not in the plan",
            "/reports/2026-01",
            free,
            "403 not-entitled",
        ),
        (
            "unknown path",
            "/nothing/here",
            partner,
            "404 route-unknown",
        ),
    ] {
        let answer = client.get(target, key).await?;
        rows.push(Row {
            what,
            expected: expected.into(),
            seen: refusal(&answer),
        });
    }
    rows.push(over_the_limit(&mut client, free).await?);
    rows.push(used(gateway).await?);
    rows.push(loudest(gateway).await?);
    rows.push(logged(gateway).await?);
    rows.push(revoked(gateway, keys, &mut client).await?);
    rows.push(upgraded(gateway, &mut client, partner).await?);
    rows.push(without_control(gateway, partner).await?);
    Ok(rows)
}

/// Status and public code, as `401 key-missing`.
fn refusal(answer: &Answer) -> String {
    let kind = answer.json()["type"].as_str().unwrap_or("").to_owned();
    let code = kind.rsplit(['/', ':']).next().unwrap_or("");
    format!("{} {code}", answer.status)
}

fn through_the_origin(what: &'static str, answer: &Answer) -> Row {
    Row {
        what,
        expected: "200, origin saw /orders/42 from acme/mobile and no key".into(),
        seen: format!("{}, origin saw {}", answer.status, origin_saw(answer)),
    }
}

/// What the echo of the origin tells about the request that reached it.
fn origin_saw(answer: &Answer) -> String {
    let echo = answer.json();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or("nothing").to_owned();
    let headers = &echo["headers"];
    let key = if headers["x-api-key"].is_null() && headers["authorization"].is_null() {
        "no key"
    } else {
        "THE KEY"
    };
    let (tenant, app) = (
        text(&headers["keyway-tenant"]),
        text(&headers["keyway-app"]),
    );
    format!("{} from {tenant}/{app} and {key}", text(&echo["path"]))
}

/// The plan's allowance, and one request more.
async fn over_the_limit(client: &mut Connection, free: Option<&str>) -> Outcome<Row> {
    let mut statuses = Vec::new();
    let mut retry_after = String::new();
    for _ in 0..=FREE_PER_MINUTE {
        let answer = client.get("/orders/42", free).await?;
        statuses.push(answer.status.to_string());
        retry_after = answer.header("retry-after").to_owned();
    }
    let told = match retry_after.parse::<u32>() {
        Ok(1..=60) => "Retry-After within the minute".to_owned(),
        _ => format!("Retry-After `{retry_after}`"),
    };
    Ok(Row {
        what: "over the limit",
        expected: format!(
            "{}429, Retry-After within the minute",
            "200 ".repeat(FREE_PER_MINUTE)
        ),
        seen: format!("{}, {told}", statuses.join(" ")),
    })
}

/// What control counted of the requests above, once the node has shipped it.
async fn used(gateway: &mut Gateway) -> Outcome<Row> {
    let limited = async |gateway: &Gateway| {
        let usage = [
            "usage",
            "--app",
            "acme/prototype",
            "--by",
            "app",
            "--step",
            "hour",
        ];
        let usage = gateway.control.json(&usage).await?;
        let sum = &usage["items"][0];
        Ok::<_, Trouble>((
            sum["by_class"]["2xx"].as_u64().unwrap_or(0),
            sum["refusals"]["limit"].as_u64().unwrap_or(0),
        ))
    };
    let deadline = tokio::time::Instant::now() + SHIPPED_WITHIN;
    let mut seen = limited(gateway).await?;
    while seen.1 == 0 && tokio::time::Instant::now() < deadline {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        seen = limited(gateway).await?;
    }
    let (answered, limited) = seen;
    Ok(Row {
        what: "usage",
        expected: format!("{FREE_PER_MINUTE} answered and 1 limited, counted by app"),
        seen: format!("{answered} answered and {limited} limited, counted by app"),
    })
}

/// Who calls most now, as a person sees it.
async fn loudest(gateway: &Gateway) -> Outcome<Row> {
    let top = gateway
        .control
        .command(&["top", "--by", "app", "--once"])
        .await?;
    println!("{top}");
    let both = ["acme/mobile", "acme/prototype"];
    let shown = both.into_iter().filter(|app| top.contains(app)).count();
    Ok(Row {
        what: "top",
        expected: "2 apps with their rates".into(),
        seen: format!("{shown} apps with their rates"),
    })
}

/// The limited call in the call log, which control looks up on the node.
async fn logged(gateway: &Gateway) -> Outcome<Row> {
    let search = [
        "logs",
        "--app",
        "acme/prototype",
        "--status",
        "429",
        "--since",
        "10m",
    ];
    let deadline = tokio::time::Instant::now() + SHIPPED_WITHIN;
    let mut found = gateway.control.command(&search).await?;
    // Workers hand lines to the log thread in pieces.
    while !found.contains(" 429 ") && tokio::time::Instant::now() < deadline {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        found = gateway.control.command(&search).await?;
    }
    println!("{found}");
    let calls = found.lines().filter(|line| line.contains(" 429 ")).count();
    Ok(Row {
        what: "log search",
        expected: "1 call found".into(),
        seen: format!("{calls} call found"),
    })
}

/// Revokes a key through control's command line and uses it at once.
async fn revoked(gateway: &Gateway, keys: &Keys, client: &mut Connection) -> Outcome<Row> {
    let before = client.get("/orders/42", Some(&keys.doomed.secret)).await?;
    let receipt = gateway.control.revoke_and_wait(&keys.doomed).await?;
    println!("receipt: {receipt}");
    let answer = client.get("/orders/42", Some(&keys.doomed.secret)).await?;
    Ok(Row {
        what: "revoked key",
        expected: "200 before, 401 key-refused once the receipt is there".into(),
        seen: format!(
            "{} before, {} once the receipt is there",
            before.status,
            refusal(&answer)
        ),
    })
}

/// Lets another process of the node take over; who is connected is served to the end, and who comes
/// then is served by the new one.
async fn upgraded(gateway: &Gateway, client: &mut Connection, key: Option<&str>) -> Outcome<Row> {
    let pid = async || Ok::<_, Trouble>(gateway.node.status().await?["pid"].clone());
    let before = pid().await?;
    gateway.node.upgrade().await?;
    let kept = client.get("/orders/42", key).await?;
    let mut fresh = Connection::open(gateway.node.address).await?;
    let fresh = fresh.get("/orders/42", key).await?;
    let another = if pid().await? == before {
        "the same"
    } else {
        "another"
    };
    Ok(Row {
        what: "upgraded",
        expected: "200 on the connection from before, 200 on a new one, by another process".into(),
        seen: format!(
            "{} on the connection from before, {} on a new one, by {another} process",
            kept.status, fresh.status
        ),
    })
}

/// Stops control; the data plane must go on with what it knows.
async fn without_control(gateway: &mut Gateway, key: Option<&str>) -> Outcome<Row> {
    gateway.control.child.stop();
    // Over a fresh connection, so that accepting is shown to work as well.
    let mut client = Connection::open(gateway.node.address).await?;
    Ok(through_the_origin(
        "control stopped",
        &client.get("/orders/42", key).await?,
    ))
}

/// The rows as text for a person.
pub fn table(rows: &[Row]) -> String {
    let mut text = String::new();
    for row in rows {
        let verdict = if row.ok() { "ok    " } else { "DIFFERS" };
        text += &format!("{verdict} {:<22} expected {}\n", row.what, row.expected);
        text += &format!("{:<6} {:<22} seen     {}\n", "", "", row.seen);
    }
    text
}
